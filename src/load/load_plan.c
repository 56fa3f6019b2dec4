/* SPDX-License-Identifier: Apache-2.0 */
/* How each item is read, and where it goes. */
#include "load/load_plan.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "load/load_units.h"

#include <inttypes.h>

/* Up to here copying once more costs less than another read. */
#define SMALL_ITEM (UINT64_C(64) << 10)
#define PHASE      UINT64_C(4096)
/* From here on a block begins within its huge page as its bytes do in the file. */
#define HUGE_FROM (UINT64_C(8) << 20)
#define HUGE      (UINT64_C(2) << 20)
/* What is placed apart begins at a multiple of this. */
#define APART UINT64_C(64)
/* Large blocks come in steps, so that one can take another's memory over. */
#define BLOCK_STEP (UINT64_C(4) << 20)

/* -------------------------------------------------------------------------------- classes */

static bool is_aligned(const st__load_entry *entry)
{
    return entry->offset % entry->align == 0;
}

/* Between a stretch and the next item lies at most what memory may be spent on. */
bool st__load_near(const st__load_facts *facts, const st__load_entry *entry, uint64_t low,
                   uint64_t high)
{
    return entry->offset - high <= st__min_u64(facts->gap, PHASE + (high - low) / 8);
}

bool st__load_joins(const st__load_facts *facts, const st__load_entry *entry, uint64_t low,
                    uint64_t high)
{
    uint64_t end = entry->offset + entry->size;
    if (entry->offset > high && entry->offset - high > facts->gap)
        return false;
    return (end > high ? end : high) - low <= facts->stage;
}

static uint64_t small_limit(const st__load_facts *facts)
{
    return st__min_u64(SMALL_ITEM, facts->stage);
}

/* What an item is for itself; ST__LOAD_PLACED may still change by its neighbours. */
static uint8_t class_alone(const st__load_entry *entry, const st__load_facts *facts)
{
    if (entry->kind == ST__LOAD_STRIDED)
        return ST__LOAD_STRIDED;
    if (!entry->dst && facts->views)
        return ST__LOAD_VIEW;
    if (!entry->dst && is_aligned(entry))
        return ST__LOAD_PLACED;
    return entry->size <= small_limit(facts) ? ST__LOAD_SMALL : ST__LOAD_SINGLE;
}

/* Items that share bytes with one before are read apart, and so are small ones among larger gaps that are yet
 * worth reading over: in place, the gaps would stay in memory. */
static void classes_settle(st__load_plan *plan, const uint32_t *order, uint32_t count)
{
    uint64_t low = 0, high = 0, last = 0;
    bool began = false;
    for (uint32_t i = 0; i < count; i++) {
        st__load_entry *entry = &plan->entries[order[i]];
        const st__load_facts *facts = &plan->files[entry->file];
        uint64_t end = entry->offset + entry->size;
        entry->kind = class_alone(entry, facts);
        if (entry->kind == ST__LOAD_PLACED && began) {
            bool overlaps = entry->offset < high;
            bool near = !overlaps && st__load_near(facts, entry, low, high);
            bool sparse = !overlaps && !near && entry->offset >= last &&
                          entry->offset - last <= facts->gap && entry->size <= small_limit(facts);
            if (overlaps || sparse)
                entry->kind = entry->size <= small_limit(facts) ? ST__LOAD_SMALL : ST__LOAD_SINGLE;
            else if (!near)
                low = entry->offset;
        } else if (entry->kind == ST__LOAD_PLACED) {
            low = entry->offset;
            began = true;
        }
        if (entry->kind == ST__LOAD_PLACED)
            high = end;
        last = end > last ? end : last;
    }
}

/* A small item that has no other near enough to be read with it is read into place. */
static void smalls_settle(st__load_plan *plan, const uint32_t *order, uint32_t count)
{
    st__load_entry *first = NULL; /* of a group */
    uint64_t low = 0, high = 0;
    bool alone = false;
    for (uint32_t i = 0; i < count; i++) {
        st__load_entry *entry = &plan->entries[order[i]];
        if (entry->kind != ST__LOAD_SMALL)
            continue;
        if (first && st__load_joins(&plan->files[entry->file], entry, low, high)) {
            alone = false;
        } else {
            if (alone)
                first->kind = ST__LOAD_SINGLE;
            first = entry;
            alone = true;
            low = high = entry->offset;
        }
        uint64_t end = entry->offset + entry->size;
        high = end > high ? end : high;
    }
    if (alone)
        first->kind = ST__LOAD_SINGLE;
}

/* -------------------------------------------------------------------------------- placement */

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

st_status st__load_list_grow(const st__load_plan *plan, void **list, uint32_t *room, size_t width,
                             st_error *error)
{
    uint64_t wanted = *room ? (uint64_t)*room * 2 : 16;
    size_t size;
    if (wanted > UINT32_MAX || !st__mul_size((size_t)wanted, width, &size))
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET, "too many items for one load");
    void *grown = st__realloc(plan->context, *list, *room * width, size);
    if (!grown)
        return st__fail_nomem(error, size);
    *list = grown;
    *room = (uint32_t)wanted;
    return ST_OK;
}

static st_status block_add(st__load_plan *plan, uint32_t *out, st_error *error)
{
    if (plan->block_count == plan->block_room) {
        void *list = plan->blocks;
        ST_TRY(st__load_list_grow(plan, &list, &plan->block_room, sizeof *plan->blocks, error));
        plan->blocks = list;
    }
    *out = plan->block_count++;
    plan->blocks[*out] = (st__load_block){.at = UINT64_MAX};
    return ST_OK;
}

/* Where in memory at the end of a block bytes go that are at `offset` of the file. */
static uint64_t place_at(const st__load_block *block, uint64_t offset, const st__load_room *room,
                         const st__load_facts *facts)
{
    uint64_t grain = APART;
    if (!room->phased)
        return round_up(block->size, grain);
    if (st__load_phased(room->size))
        grain = facts->align > PHASE ? facts->align : PHASE;
    if (block->size == 0 && room->size >= HUGE_FROM)
        grain = HUGE;
    return round_up(block->size, grain) + offset % grain;
}

st_status st__load_place(st__load_plan *plan, const st__load_facts *facts, st__load_room *room,
                         st_error *error)
{
    uint32_t *open = &plan->open[room->apart];
    if (*open != ST__LOAD_NONE && plan->blocks[*open].payload + room->size > plan->block_size)
        *open = ST__LOAD_NONE;
    if (*open == ST__LOAD_NONE)
        ST_TRY(block_add(plan, open, error));
    st__load_block *block = &plan->blocks[*open];
    uint64_t end, place = place_at(block, room->offset, room, facts);
    uint64_t grain = facts->align > APART ? facts->align : APART; /* reads may go to its end */
    if (!st__add_u64(place, room->size, &end) || end > SIZE_MAX - BLOCK_STEP - grain)
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                        "%" PRIu64
                        " bytes do not fit this process's address space; load it in parts",
                        room->size);
    room->block = *open;
    room->place = place;
    block->size = round_up(end, grain);
    block->payload += room->size;
    block->items += room->items;
    block->fresh |= facts->fresh;
    return ST_OK;
}

static void blocks_settle(st__load_plan *plan)
{
    for (uint32_t i = 0; i < plan->block_count; i++)
        if (plan->blocks[i].size >= 2 * BLOCK_STEP)
            plan->blocks[i].size = round_up(plan->blocks[i].size, BLOCK_STEP);
}

/* ------------------------------------------------------------------------------------- all */

st_status st__load_plan_make(st__load_plan *plan, st_error *error)
{
    plan->open[0] = plan->open[1] = ST__LOAD_NONE;
    for (uint32_t i = 0; i < plan->order_count;) {
        uint32_t file = plan->entries[plan->order[i]].file, end = i;
        while (end < plan->order_count && plan->entries[plan->order[end]].file == file)
            end++;
        if (plan->bounded)
            plan->open[0] = plan->open[1] = ST__LOAD_NONE;
        classes_settle(plan, plan->order + i, end - i);
        smalls_settle(plan, plan->order + i, end - i);
        ST_TRY(st__load_units_add(plan, plan->order + i, end - i, error));
        i = end;
    }
    blocks_settle(plan);
    return ST_OK;
}

void st__load_plan_release(st__load_plan *plan)
{
    st_context *context = plan->context;
    st__free(context, plan->order, plan->count * sizeof *plan->order);
    st__free(context, plan->units, plan->unit_room * sizeof *plan->units);
    st__free(context, plan->blocks, plan->block_room * sizeof *plan->blocks);
    st__free(context, plan->extents, plan->extent_room * sizeof *plan->extents);
    st__free(context, plan->members, plan->member_room * sizeof *plan->members);
    *plan = (st__load_plan){.context = context};
}
