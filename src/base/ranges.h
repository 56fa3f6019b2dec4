/* SPDX-License-Identifier: Apache-2.0 */
/* A set of integers from 0 to 2^64-2, kept as disjoint ranges that do not touch: which bytes have been
 * written. Adding to the end of the range added to last costs O(1), anything else O(log n). */
#ifndef ST_BASE_RANGES_H
#define ST_BASE_RANGES_H

#include <safetensors/safetensors.h>

typedef struct st__ranges {
    struct st__range_node *root;
    struct st__range_node *last; /* where the last addition ended up; NULL: nowhere */
    uint64_t limit; /* where the range behind `last` begins; UINT64_MAX: there is none */
    uint64_t size;  /* integers in the set */
    size_t count;   /* ranges */
    uint32_t seed;
    st_context *context;
} st__ranges;

/* The context must outlive the set. */
void st__ranges_init(st__ranges *ranges, st_context *context);
void st__ranges_release(st__ranges *ranges);

/* Adds [begin, end), begin <= end. ST_ERR_WRITTEN_TWICE (without a message; `*at` is the lowest integer that
 * was there already) leaves the set as it was; so does ST_ERR_NOMEM. */
st_status st__ranges_add(st__ranges *ranges, uint64_t begin, uint64_t end, uint64_t *at);

/* Finds the first gap in [from, to): false if there is none. */
bool st__ranges_gap(const st__ranges *ranges, uint64_t from, uint64_t to, uint64_t *begin,
                    uint64_t *end);

#endif
