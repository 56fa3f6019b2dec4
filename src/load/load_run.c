/* SPDX-License-Identifier: Apache-2.0 */
/* The units of a load, one after the other, by as many threads as there are. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/os.h"
#include "io/transfer_budget.h"
#include "load/load.h"

#include <string.h>

/* -------------------------------------------------------------------------- who reads what */

/* What was gathered went along the worker's own lane, so that its ring serves all items. */
static void gather_leave(st__load_worker *worker)
{
    if (worker->item == ST__LOAD_NONE)
        return;
    worker->lane = worker->gather.lane;
    st__lane_init(&worker->gather.lane, worker->lane.route);
    st__gather_release(&worker->gather);
    st__runs_release(&worker->runs);
    worker->item = ST__LOAD_NONE;
}

static void file_leave(st__load_worker *worker)
{
    if (worker->file == ST__LOAD_NONE)
        return;
    gather_leave(worker);
    st__lane_release(&worker->lane);
    st__load_route_part(worker->load, worker->file);
    worker->file = ST__LOAD_NONE;
}

static st_status file_enter(st__load_worker *worker, uint32_t file, st_error *error)
{
    if (worker->file == file)
        return ST_OK;
    file_leave(worker);
    ST_TRY(st__load_route_join(worker->load, file, error));
    st__lane_init(&worker->lane, &worker->load->files[file].route);
    worker->file = file;
    return ST_OK;
}

void st__load_worker_release(st__load_worker *worker)
{
    file_leave(worker);
    st__free(worker->load->context, worker->stage_memory, worker->stage_memory_size);
    worker->stage_memory = NULL;
    worker->stage_memory_size = 0;
}

static unsigned char *entry_data(const st_load *load, const st__load_entry *entry)
{
    if (entry->dst)
        return entry->dst;
    return (unsigned char *)st_buffer_data(load->memory[entry->block].buffer) +
           (size_t)entry->place;
}

/* ----------------------------------------------------------------------------- kinds of units */

static st_status extents_read(st__load_worker *worker, const st__load_unit *unit, st_error *error)
{
    const st_load *load = worker->load;
    const st__load_extent *from = &load->plan.extents[unit->extent];
    unsigned char *base = NULL;
    gather_leave(worker);
    if (unit->block != ST__LOAD_NONE)
        base = st_buffer_data(load->memory[unit->block].buffer);
    for (uint32_t i = 0; i < unit->extents; i++)
        worker->extents[i] =
            (st__extent){from[i].offset, from[i].dst ? from[i].dst : base + (size_t)from[i].place,
                         (size_t)from[i].size};
    return st__lane_read(&worker->lane, worker->extents, unit->extents, error);
}

/* Room for [from, to) of the file, at its place within a block of the device. */
static st_status stage_make(st__load_worker *worker, uint64_t size, size_t align, st_error *error)
{
    st_context *context = worker->load->context;
    size_t needed = (size_t)size + 2 * align;
    if (worker->stage_memory_size < needed) {
        st__free(context, worker->stage_memory, worker->stage_memory_size);
        worker->stage_memory_size = 0;
        worker->stage_memory = st__alloc(context, needed);
        if (!worker->stage_memory)
            return st__fail_nomem(error, needed);
        worker->stage_memory_size = needed;
    }
    size_t past = (size_t)((uintptr_t)worker->stage_memory % align);
    worker->stage = (unsigned char *)worker->stage_memory + (past ? align - past : 0);
    return ST_OK;
}

/* One read of small items and what is between them, and a copy of each. */
static st_status smalls_read(st__load_worker *worker, const st__load_unit *unit, st_error *error)
{
    const st_load *load = worker->load;
    const st__load_facts *facts = &load->facts[unit->file];
    uint64_t from = unit->from, to = unit->to;
    size_t align = facts->align > 4096 ? facts->align : 4096;
    gather_leave(worker);
    if (facts->align > 1) {
        from -= from % align;
        to = st__min_u64((to + align - 1) / align * align, facts->size);
    }
    ST_TRY(stage_make(worker, to - from, align, error));
    unsigned char *stage = worker->stage + (size_t)(from % align);
    const st__extent extent = {from, stage, (size_t)(to - from)};
    ST_TRY(st__lane_read(&worker->lane, &extent, 1, error));
    for (uint32_t i = 0; i < unit->count; i++) {
        const st__load_entry *entry = &load->plan.entries[load->plan.members[unit->member + i]];
        memcpy(entry_data(load, entry), stage + (size_t)(entry->offset - from),
               (size_t)entry->size);
    }
    return ST_OK;
}

static st_status gather_enter(st__load_worker *worker, uint32_t item, st_error *error)
{
    const st_load *load = worker->load;
    const st__load_entry *entry = &load->plan.entries[item];
    if (worker->item == item)
        return ST_OK;
    gather_leave(worker);
    ST_TRY(st__runs_init(&worker->runs, load->context, entry->tensor, entry->region, error));
    worker->transfer = (st__transfer){.route = worker->lane.route,
                                      .runs = &worker->runs,
                                      .offset = entry->offset,
                                      .context = load->context};
    st__gather_init(&worker->gather, &worker->transfer,
                    st__transfer_stage(&worker->transfer, entry->size));
    worker->gather.lane = worker->lane;
    worker->item = item;
    return ST_OK;
}

static st_status strided_read(st__load_worker *worker, const st__load_unit *unit, st_error *error)
{
    const st_load *load = worker->load;
    for (uint32_t i = 0; i < unit->count; i++) {
        uint32_t item = load->plan.members[unit->member + i];
        const st__load_entry *entry = &load->plan.entries[item];
        uint64_t from = unit->count == 1 ? unit->from : 0;
        uint64_t to = unit->count == 1 ? unit->to : entry->size;
        ST_TRY(gather_enter(worker, item, error));
        ST_TRY(st__gather_range(&worker->gather, from, to, entry_data(load, entry) + (size_t)from,
                                error));
    }
    return ST_OK;
}

static void view_fill(const st_load *load, const st__load_unit *unit)
{
    unsigned char *view = st_buffer_data(load->files[unit->file].view);
    st__os_populate(view + (size_t)unit->from, (size_t)(unit->to - unit->from), false);
}

/* -------------------------------------------------------------------------------- one unit */

/* The tensor that a failure is about: the one with the byte at fault, else the first. */
static const st_tensor *tensor_at(const st_load *load, const st__load_unit *unit, uint64_t offset)
{
    const st__load_plan *plan = &load->plan;
    for (uint32_t i = 0; i < unit->count && offset != ST_NO_OFFSET; i++) {
        const st__load_entry *entry = &plan->entries[plan->members[unit->member + i]];
        uint64_t size = entry->region ? st_tensor_size(entry->tensor) : entry->size;
        if (offset < entry->offset + size)
            return entry->tensor;
    }
    return unit->count ? plan->entries[plan->members[unit->member]].tensor : NULL;
}

static st_status unit_read(st__load_worker *worker, const st__load_unit *unit, st_error *error)
{
    ST_TRY(file_enter(worker, unit->file, error));
    if (unit->block != ST__LOAD_NONE)
        ST_TRY(st__load_block_need(worker->load, unit->block, error));
    switch (unit->kind) {
    case ST__LOAD_VIEW: view_fill(worker->load, unit); break;
    case ST__LOAD_SMALL: ST_TRY(smalls_read(worker, unit, error)); break;
    case ST__LOAD_STRIDED: ST_TRY(strided_read(worker, unit, error)); break;
    default: ST_TRY(extents_read(worker, unit, error));
    }
    return st__load_file_check(&worker->load->files[unit->file], error);
}

/* Under the lock. */
static void members_done(st_load *load, const st__load_unit *unit)
{
    const uint32_t *members = &load->plan.members[unit->member];
    for (uint32_t i = 0; i < unit->count; i++)
        if (--load->plan.entries[members[i]].left == 0)
            load->ready[load->ready_end++] = members[i];
}

/* Does a unit that was counted as running. */
static void unit_do(st__load_worker *worker, uint32_t number)
{
    st_load *load = worker->load;
    const st__load_unit *unit = &load->plan.units[number];
    st_error error = {.offset = ST_NO_OFFSET};
    st_status status = unit_read(worker, unit, &error);
    if (status != ST_OK)
        (void)st__error_locate(&error, status, st_file_name(load->files[unit->file].file),
                               tensor_at(load, unit, error.offset));
    st__lock_take(&load->gate->lock);
    load->running--;
    load->files[unit->file].units--;
    if (status == ST_OK) {
        members_done(load, unit);
    } else if (load->status == ST_OK) {
        load->status = status;
        load->failure = error;
    }
    st__signal_wake_all(&load->gate->signal);
    st__lock_drop(&load->gate->lock);
}

/* Under the lock: whether the next unit may begin. It must where the caller waits and nothing else would wake
 * him: what he holds is more than he allowed. */
static bool unit_may_begin(const st_load *load)
{
    const st__load_unit *unit = &load->plan.units[load->next_unit];
    if (unit->block == ST__LOAD_NONE || st__load_block_fits(load, unit->block))
        return true;
    return load->waiting && load->running == 0 && load->ready_first == load->ready_end;
}

static bool is_ended(const st_load *load)
{
    return load->cancelled || load->status != ST_OK || load->next_unit == load->plan.unit_count;
}

/* Takes the next unit; false: there is none. */
static bool unit_take(st_load *load, uint32_t *number)
{
    st__load_gate *gate = load->gate;
    st__lock_take(&gate->lock);
    while (!is_ended(load) && !unit_may_begin(load))
        st__signal_wait(&gate->signal, &gate->lock);
    bool taken = !is_ended(load);
    if (taken) {
        *number = load->next_unit++;
        load->running++;
    }
    st__lock_drop(&gate->lock);
    return taken;
}

void st__load_work(st__load_worker *worker)
{
    uint32_t number;
    while (unit_take(worker->load, &number))
        unit_do(worker, number);
    st__load_worker_release(worker);
}

void st__load_step(st__load_worker *worker)
{
    uint32_t number;
    if (unit_take(worker->load, &number))
        unit_do(worker, number);
}
