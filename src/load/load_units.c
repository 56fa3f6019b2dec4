/* SPDX-License-Identifier: Apache-2.0 */
/* The units of one file: each kind of item in a pass of its own, then all in the order of the file. */
#include "load/load_units.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#include <string.h>

/* Units are cut at multiples of this: of a page, and of what devices read at a time. */
#define CUT UINT64_C(65536)
/* Of a gathered item, and of what is shown in a mapping. */
#define GATHER_UNIT   (UINT64_C(4) << 20)
#define POPULATE_UNIT (UINT64_C(16) << 20)

/* One pass over the items of one file. */
typedef struct pass {
    st__load_plan *plan;
    const st__load_facts *facts;
    const uint32_t *order;
    uint32_t count;
    uint32_t file;
    uint32_t unit;  /* that takes more; ST__LOAD_NONE: none does */
    uint64_t bytes; /* of it */
} pass;

static st__load_entry *entry_of(const pass *p, uint32_t i)
{
    return &p->plan->entries[p->order[i]];
}

/* -------------------------------------------------------------------------------- lists */

static st_status unit_begin(pass *p, uint8_t kind, uint64_t at, uint32_t block, st_error *error)
{
    st__load_plan *plan = p->plan;
    if (plan->unit_count == plan->unit_room) {
        void *list = plan->units;
        ST_TRY(st__load_list_grow(plan, &list, &plan->unit_room, sizeof *plan->units, error));
        plan->units = list;
    }
    p->unit = plan->unit_count++;
    p->bytes = 0;
    plan->units[p->unit] = (st__load_unit){.at = at,
                                           .member = plan->member_count,
                                           .extent = plan->extent_count,
                                           .file = p->file,
                                           .block = block,
                                           .kind = kind};
    return ST_OK;
}

static bool unit_takes(const pass *p, uint64_t bytes, uint64_t limit, uint32_t block)
{
    return p->unit != ST__LOAD_NONE && p->plan->units[p->unit].block == block &&
           p->plan->units[p->unit].extents < ST__LOAD_EXTENTS && bytes <= limit &&
           p->bytes <= limit - bytes;
}

/* Adds an item to the unit, unless it was the last one added. */
static st_status member_add(pass *p, uint32_t item, st_error *error)
{
    st__load_plan *plan = p->plan;
    st__load_unit *unit = &plan->units[p->unit];
    if (unit->count && plan->members[plan->member_count - 1] == item)
        return ST_OK;
    if (plan->member_count == plan->member_room) {
        void *list = plan->members;
        ST_TRY(st__load_list_grow(plan, &list, &plan->member_room, sizeof *plan->members, error));
        plan->members = list;
    }
    plan->members[plan->member_count++] = item;
    plan->entries[item].left++;
    unit->count++;
    return ST_OK;
}

static st_status extent_add(pass *p, const st__load_extent *extent, st_error *error)
{
    st__load_plan *plan = p->plan;
    if (plan->extent_count == plan->extent_room) {
        void *list = plan->extents;
        ST_TRY(st__load_list_grow(plan, &list, &plan->extent_room, sizeof *plan->extents, error));
        plan->extents = list;
    }
    plan->extents[plan->extent_count++] = *extent;
    plan->units[p->unit].extents++;
    p->bytes += extent->size;
    return ST_OK;
}

/* Where a unit that begins at `from` ends: no crumbs are left. */
static uint64_t cut_end(uint64_t from, uint64_t end, uint64_t unit)
{
    if (end - from <= unit + unit / 4)
        return end;
    return (from + unit) / CUT * CUT;
}

/* ---------------------------------------------------------------------------- in place */

/* Items [i, end) of one stretch, those of another kind among them left out. */
typedef struct stretch {
    uint32_t i;
    uint32_t end;
    uint32_t items;
    uint64_t low;
    uint64_t high;
} stretch;

static st_status stretch_cut(pass *p, const stretch *s, const st__load_room *room, st_error *error)
{
    uint64_t from = s->low, end = s->high, align = p->facts->align;
    uint32_t i = s->i;
    if (align > 1 && st__load_phased(room->size)) { /* the block has room for whole device blocks */
        from -= from % align;
        end = end % align ? st__min_u64(end - end % align + align, p->facts->size) : end;
    }
    for (uint64_t to; from < end; from = to) {
        to = cut_end(from, end, p->facts->unit);
        if (!unit_takes(p, to - from, p->facts->unit, room->block))
            ST_TRY(unit_begin(p, ST__LOAD_PLACED, from, room->block, error));
        const st__load_extent extent = {from, to - from, NULL, room->place + from - s->low};
        ST_TRY(extent_add(p, &extent, error));
        for (; i < s->end; i++) {
            const st__load_entry *entry = entry_of(p, i);
            if (entry->kind != ST__LOAD_PLACED)
                continue;
            if (entry->offset >= to)
                break;
            ST_TRY(member_add(p, p->order[i], error));
            if (entry->offset + entry->size > to)
                break;
        }
    }
    return ST_OK;
}

static st_status stretch_place(pass *p, const stretch *s, st_error *error)
{
    st__load_room room = {
        .offset = s->low, .size = s->high - s->low, .items = s->items, .phased = true};
    ST_TRY(st__load_place(p->plan, p->facts, &room, error));
    for (uint32_t i = s->i; i < s->end; i++) {
        st__load_entry *entry = entry_of(p, i);
        if (entry->kind != ST__LOAD_PLACED)
            continue;
        entry->block = room.block;
        entry->place = room.place + (entry->offset - s->low);
    }
    return stretch_cut(p, s, &room, error);
}

static st_status placed_pass(pass *p, st_error *error)
{
    stretch s = {.items = 0};
    for (uint32_t i = 0; i < p->count; i++) {
        const st__load_entry *entry = entry_of(p, i);
        if (entry->kind != ST__LOAD_PLACED)
            continue;
        uint64_t end = entry->offset + entry->size;
        if (s.items &&
            (!st__load_near(p->facts, entry, s.low, s.high) || end - s.low > p->plan->block_size)) {
            ST_TRY(stretch_place(p, &s, error));
            s.items = 0;
        }
        if (s.items == 0)
            s = (stretch){.i = i, .low = entry->offset};
        s.items++;
        s.end = i + 1;
        s.high = end;
    }
    return s.items ? stretch_place(p, &s, error) : ST_OK;
}

/* Gives an item room of its own, unless it has a destination. */
static st_status entry_place(pass *p, st__load_entry *entry, bool phased, st_error *error)
{
    st__load_room room = {
        .offset = entry->offset, .size = entry->size, .items = 1, .phased = phased, .apart = true};
    if (entry->dst)
        return ST_OK;
    ST_TRY(st__load_place(p->plan, p->facts, &room, error));
    entry->block = room.block;
    entry->place = room.place;
    return ST_OK;
}

static st_status singles_pass(pass *p, st_error *error)
{
    p->unit = ST__LOAD_NONE;
    for (uint32_t i = 0; i < p->count; i++) {
        st__load_entry *entry = entry_of(p, i);
        if (entry->kind != ST__LOAD_SINGLE)
            continue;
        ST_TRY(entry_place(p, entry, entry->offset % entry->align == 0, error));
        uint64_t end = entry->offset + entry->size;
        for (uint64_t to, from = entry->offset; from < end; from = to) {
            to = cut_end(from, end, p->facts->unit);
            if (!unit_takes(p, to - from, p->facts->unit, entry->block))
                ST_TRY(unit_begin(p, ST__LOAD_SINGLE, from, entry->block, error));
            uint64_t done = from - entry->offset;
            const st__load_extent extent = {from, to - from,
                                            entry->dst ? entry->dst + (size_t)done : NULL,
                                            entry->place + done};
            ST_TRY(extent_add(p, &extent, error));
            ST_TRY(member_add(p, p->order[i], error));
        }
    }
    return ST_OK;
}

/* ------------------------------------------------------------------------------ together */

static uint64_t packed(uint64_t size)
{
    return (size + 63) / 64 * 64;
}

/* The small items of `s`, one read and a copy each. */
static st_status small_add(pass *p, const stretch *s, uint64_t packed_size, st_error *error)
{
    st__load_room room = {.size = packed_size, .apart = true, .block = ST__LOAD_NONE};
    for (uint32_t i = s->i; i < s->end; i++)
        if (entry_of(p, i)->kind == ST__LOAD_SMALL)
            room.items += !entry_of(p, i)->dst;
    if (packed_size)
        ST_TRY(st__load_place(p->plan, p->facts, &room, error));
    ST_TRY(unit_begin(p, ST__LOAD_SMALL, s->low, room.block, error));
    p->plan->units[p->unit].from = s->low;
    p->plan->units[p->unit].to = s->high;
    for (uint32_t i = s->i; i < s->end; i++) {
        st__load_entry *entry = entry_of(p, i);
        if (entry->kind != ST__LOAD_SMALL)
            continue;
        if (!entry->dst) {
            entry->block = room.block;
            entry->place = room.place;
            room.place += packed(entry->size);
        }
        ST_TRY(member_add(p, p->order[i], error));
    }
    return ST_OK;
}

static st_status smalls_pass(pass *p, st_error *error)
{
    stretch s = {.items = 0};
    uint64_t packed_size = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const st__load_entry *entry = entry_of(p, i);
        if (entry->kind != ST__LOAD_SMALL)
            continue;
        uint64_t end = entry->offset + entry->size, room = entry->dst ? 0 : packed(entry->size);
        if (s.items && (!st__load_joins(p->facts, entry, s.low, s.high) ||
                        packed_size + room > p->plan->block_size)) {
            ST_TRY(small_add(p, &s, packed_size, error));
            s.items = 0;
        }
        if (s.items == 0) {
            s = (stretch){.i = i, .low = entry->offset};
            packed_size = 0;
        }
        s.items++;
        s.end = i + 1;
        s.high = end > s.high ? end : s.high;
        packed_size += room;
    }
    return s.items ? small_add(p, &s, packed_size, error) : ST_OK;
}

/* Cuts one item's destination, or, of a view, its bytes in the file. */
static st_status alone_add(pass *p, uint32_t i, uint64_t unit, uint64_t grain, st_error *error)
{
    const st__load_entry *entry = entry_of(p, i);
    uint64_t base = entry->kind == ST__LOAD_VIEW ? entry->offset : 0;
    unit = (unit + grain - 1) / grain * grain;
    for (uint64_t to, from = 0; from < entry->size; from = to) {
        to = entry->size - from <= unit + unit / 4 ? entry->size : from + unit;
        ST_TRY(unit_begin(p, entry->kind, entry->offset + from, entry->block, error));
        p->plan->units[p->unit].from = base + from;
        p->plan->units[p->unit].to = base + to;
        ST_TRY(member_add(p, p->order[i], error));
    }
    p->unit = ST__LOAD_NONE;
    return ST_OK;
}

static st_status strided_pass(pass *p, st_error *error)
{
    uint64_t unit = st__min_u64(p->facts->unit, GATHER_UNIT);
    p->unit = ST__LOAD_NONE;
    for (uint32_t i = 0; i < p->count; i++) {
        st__load_entry *entry = entry_of(p, i);
        if (entry->kind != ST__LOAD_STRIDED)
            continue;
        ST_TRY(entry_place(p, entry, false, error));
        if (entry->size > unit) {
            ST_TRY(alone_add(p, i, unit, entry->piece < unit ? entry->piece : CUT, error));
            continue;
        }
        if (!unit_takes(p, entry->size, unit, entry->block))
            ST_TRY(unit_begin(p, ST__LOAD_STRIDED, entry->offset, entry->block, error));
        p->plan->units[p->unit].to = entry->size;
        p->bytes += entry->size;
        ST_TRY(member_add(p, p->order[i], error));
    }
    return ST_OK;
}

/* Views are there already, or where the mapping is filled first. */
static st_status views_pass(pass *p, st_error *error)
{
    p->unit = ST__LOAD_NONE;
    for (uint32_t i = 0; p->facts->populates && i < p->count; i++) {
        const st__load_entry *entry = entry_of(p, i);
        if (entry->kind != ST__LOAD_VIEW)
            continue;
        uint64_t end = entry->offset + entry->size;
        if (entry->size > POPULATE_UNIT) {
            ST_TRY(alone_add(p, i, POPULATE_UNIT, CUT, error));
            continue;
        }
        if (p->unit == ST__LOAD_NONE || end - p->plan->units[p->unit].from > POPULATE_UNIT ||
            (entry->offset > p->plan->units[p->unit].to &&
             entry->offset - p->plan->units[p->unit].to > CUT)) {
            ST_TRY(unit_begin(p, ST__LOAD_VIEW, entry->offset, ST__LOAD_NONE, error));
            p->plan->units[p->unit].from = entry->offset;
        }
        if (end > p->plan->units[p->unit].to)
            p->plan->units[p->unit].to = end;
        ST_TRY(member_add(p, p->order[i], error));
    }
    return ST_OK;
}

/* ------------------------------------------------------------------------------------- all */

/* Where each unit belongs: where it reads, or, where memory is bounded, where the first unit of its block does. A
 * block whose units were spread over the file would wait, half full, for room that others have. */
static void units_key(const st__load_plan *plan, uint32_t first, st__load_key *keys)
{
    const st__load_unit *units = plan->units + first;
    uint32_t count = plan->unit_count - first;
    for (uint32_t i = 0; i < count; i++)
        keys[i] = (st__load_key){units[i].at, 0, i};
    if (!plan->bounded)
        return;
    for (uint32_t i = 0; i < count; i++)
        if (units[i].block != ST__LOAD_NONE && units[i].at < plan->blocks[units[i].block].at)
            plan->blocks[units[i].block].at = units[i].at;
    for (uint32_t i = 0; i < count; i++)
        if (units[i].block != ST__LOAD_NONE)
            keys[i].offset = plan->blocks[units[i].block].at;
}

/* Several passes' units into one order. */
static st_status units_order(st__load_plan *plan, uint32_t first, st_error *error)
{
    uint32_t count = plan->unit_count - first;
    st__load_unit *units = plan->units + first;
    size_t key_size = 2 * count * sizeof(st__load_key), size = count * sizeof *units;
    st__load_key *keys = st__alloc(plan->context, key_size);
    st__load_unit *copy = st__alloc(plan->context, size);
    st_status status = keys && copy ? ST_OK : st__fail_nomem(error, key_size + size);
    if (status == ST_OK) {
        memcpy(copy, units, size);
        units_key(plan, first, keys);
        const st__load_key *sorted = st__load_keys_sort(keys, keys + count, count);
        for (uint32_t i = 0; i < count; i++)
            units[i] = copy[sorted[i].item];
    }
    st__free(plan->context, keys, key_size);
    st__free(plan->context, copy, size);
    return status;
}

st_status st__load_units_add(st__load_plan *plan, const uint32_t *order, uint32_t count,
                             st_error *error)
{
    uint32_t first = plan->unit_count, file = plan->entries[order[0]].file;
    pass p = {.plan = plan,
              .facts = &plan->files[file],
              .order = order,
              .count = count,
              .file = file,
              .unit = ST__LOAD_NONE};
    ST_TRY(views_pass(&p, error));
    p.unit = ST__LOAD_NONE;
    ST_TRY(placed_pass(&p, error));
    ST_TRY(smalls_pass(&p, error));
    ST_TRY(singles_pass(&p, error));
    ST_TRY(strided_pass(&p, error));
    return plan->unit_count > first ? units_order(plan, first, error) : ST_OK;
}
