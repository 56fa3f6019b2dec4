/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of planning share. */
#ifndef ST_LOAD_LOAD_UNITS_H
#define ST_LOAD_LOAD_UNITS_H

#include "load/load_plan.h"

/* A place in the files, and whose it is. */
typedef struct st__load_key {
    uint64_t offset;
    uint32_t file;
    uint32_t item;
} st__load_key;

/* Sorts by file and offset, equal ones as they stand: n log n, and n where all is in order already. `spare` is
 * as large; gives which of the two holds the result. */
st__load_key *st__load_keys_sort(st__load_key *keys, st__load_key *spare, size_t count);

/* Room in a block for bytes of the file at `offset`, and what was found. */
typedef struct st__load_room {
    uint64_t offset;
    uint64_t size;
    uint32_t items;
    bool phased; /* to lie within its page as in the file, where that is worth it */
    bool apart;  /* in the blocks of what is placed apart */
    uint32_t block;
    uint64_t place;
} st__load_room;

st_status st__load_place(st__load_plan *plan, const st__load_facts *facts, st__load_room *room,
                         st_error *error);

/* Whether a stretch of this size lies within its pages as in the file: for less, the padding would cost more. */
static inline bool st__load_phased(uint64_t size)
{
    return size >= UINT64_C(65536);
}

/* Whether an item, behind a stretch, is to become part of it. */
bool st__load_near(const st__load_facts *facts, const st__load_entry *entry, uint64_t low,
                   uint64_t high);
/* Whether a small item is read together with those of [low, high), none of which begins behind it. */
bool st__load_joins(const st__load_facts *facts, const st__load_entry *entry, uint64_t low,
                    uint64_t high);

/* Makes the units of one file, whose items' kinds are settled. */
st_status st__load_units_add(st__load_plan *plan, const uint32_t *order, uint32_t count,
                             st_error *error);

/* Makes one of the plan's lists larger. */
st_status st__load_list_grow(const st__load_plan *plan, void **list, uint32_t *room, size_t width,
                             st_error *error);

#endif
