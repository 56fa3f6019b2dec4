/* SPDX-License-Identifier: Apache-2.0 */
/* What a load's caller sees of it. */
#include "load/load.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"

#include <assert.h>
#include <inttypes.h>

/* A load below this, of files that are at hand, is not worth a thread. */
#define THREADS_FROM (UINT64_C(4) << 20)
/* Blocks of memory, where nothing bounds them, and how many there are at most, about. */
#define OWN_BLOCK (UINT64_C(64) << 20)
#define BLOCKS    UINT64_C(4096)
/* From here on fresh memory is worth a thread that makes its pages present. */
#define POPULATE_FROM (UINT64_C(32) << 20)

/* ------------------------------------------------------------------------------------ starting */

static st_status load_options_check(const st_load_options *options, st_error *error)
{
    if (!options)
        return ST_OK;
    if (options->flags & ~(uint32_t)ST_LOAD_VIEWS)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_load_options: unknown flags 0x%" PRIx32,
                        options->flags & ~(uint32_t)ST_LOAD_VIEWS);
    if (options->io >= ST__IO_COUNT)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_load_options: unknown io strategy %" PRIu32, options->io);
    return st__reserved_check(options->reserved, 8, "st_load_options", error);
}

static uint64_t block_size_of(const st_load *load)
{
    uint64_t size = load->total / BLOCKS;
    if (load->max_ahead)
        return load->max_ahead / 4 ? load->max_ahead / 4 : 1;
    return size > OWN_BLOCK ? size : OWN_BLOCK;
}

/* What needs no reading is complete at once: what is empty, and views that are as they are. */
static void ready_begin(st_load *load)
{
    const st__load_plan *plan = &load->plan;
    for (uint32_t i = 0; i < plan->count; i++)
        if (plan->entries[i].size == 0)
            load->ready[load->ready_end++] = i;
    for (uint32_t i = 0; i < plan->order_count; i++)
        if (plan->entries[plan->order[i]].left == 0)
            load->ready[load->ready_end++] = plan->order[i];
    for (uint32_t i = 0; i < plan->unit_count; i++)
        load->files[plan->units[i].file].units++;
}

static st_status memory_begin(st_load *load, st_error *error)
{
    const st__load_plan *plan = &load->plan;
    load->memory = st__alloc_zeroed(load->context, plan->block_count, sizeof *load->memory);
    if (!load->memory)
        return st__fail_nomem(error, (uint64_t)plan->block_count * sizeof *load->memory);
    for (uint32_t i = 0; i < plan->block_count; i++)
        load->memory[i].items = plan->blocks[i].items;
    return ST_OK;
}

static st_status everything_plan(st_load *load, const st_load_item *items, size_t count,
                                 const st_load_options *options, st_error *error)
{
    ST_TRY(st__load_list(load, items, count, options ? options->io : ST_IO_AUTO, error));
    ST_TRY(st__load_routes(load, options, error));
    load->plan.block_size = block_size_of(load);
    load->plan.bounded = load->max_ahead != 0;
    ST_TRY(st__load_plan_make(&load->plan, error));
    ST_TRY(memory_begin(load, error));
    ready_begin(load);
    return ST_OK;
}

/* Files read through the page cache add up; of those past it, one alone keeps its device busy. */
static uint32_t readers_wanted(const st_load *load)
{
    uint64_t sum = 0, most = 0, allowed = st__context_threads(load->context);
    bool near = load->total < THREADS_FROM;
    for (uint32_t i = 0; i < load->plan.file_count; i++) {
        const st__load_file *file = &load->files[i];
        const st__choice *choice = &file->route.choice;
        near &= file->route.facts.latency == ST_LATENCY_LOCAL ||
                file->route.facts.latency == ST_LATENCY_MEMORY;
        if (choice->io == ST_IO_URING)
            most = choice->threads > most ? choice->threads : most;
        else
            sum += file->units ? choice->threads : 0;
    }
    if (near)
        return 0;
    sum = st__min_u64(sum, allowed);
    return (uint32_t)st__min_u64(sum > most ? sum : most, load->plan.unit_count);
}

static bool is_fresh(const st_load *load)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < load->plan.block_count; i++)
        size += load->plan.blocks[i].fresh ? load->plan.blocks[i].size : 0;
    return size >= POPULATE_FROM;
}

static void crew_run(void *ctx, uint32_t worker)
{
    st_load *load = ctx;
    if (worker < load->worker_count)
        st__load_work(&load->workers[worker]);
    else
        st__load_populate(load);
}

static st_status crew_begin(st_load *load, st_error *error)
{
    uint32_t wanted = readers_wanted(load), count = wanted ? wanted : 1;
    load->workers = st__alloc_zeroed(load->context, count, sizeof *load->workers);
    if (!load->workers)
        return st__fail_nomem(error, (uint64_t)count * sizeof *load->workers);
    load->worker_count = count;
    for (uint32_t i = 0; i < count; i++) {
        load->workers[i].load = load;
        load->workers[i].file = ST__LOAD_NONE;
        load->workers[i].item = ST__LOAD_NONE;
    }
    if (wanted == 0)
        return ST_OK;
    ST_TRY(
        st__crew_start(&load->crew, load->context, wanted + is_fresh(load), crew_run, load, error));
    load->readers = load->crew.count < wanted ? load->crew.count : wanted;
    return ST_OK;
}

st_status st_load_start(const st_load_item *items, size_t count, const st_load_options *options,
                        st_load **out, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    ST_TRY(load_options_check(options, error));
    st_load *load = st__alloc_zeroed(context, 1, sizeof *load);
    if (!load)
        return st__fail_nomem(error, sizeof *load);
    load->context = load->plan.context = st_context_retain(context);
    load->max_ahead = options ? options->max_ahead : 0;
    st_status status = st__load_gate_new(context, &load->gate, error);
    if (status == ST_OK)
        status = everything_plan(load, items, count, options, error);
    if (status == ST_OK)
        status = crew_begin(load, error);
    if (status == ST_OK)
        *out = load;
    else
        st_load_free(load);
    return status;
}

/* -------------------------------------------------------------------------------- handing out */

/* Where what is empty lies. */
static const uint64_t nothing[2] = {0};

/* Under the lock: fills `out` with an item that is complete. Gives the buffer that the load itself no longer
 * needs, or NULL. */
static st_buffer *ready_take(st_load *load, st_loaded *out)
{
    uint32_t item = load->ready[load->ready_first++];
    const st__load_entry *entry = &load->plan.entries[item];
    st_buffer *spent = NULL;
    *out = (st_loaded){.item = item, .size = (size_t)entry->size, .data = entry->dst};
    if (entry->block != ST__LOAD_NONE) {
        const st__load_memory *memory = &load->memory[entry->block];
        out->buffer = st_buffer_retain(memory->buffer);
        out->data = (unsigned char *)st_buffer_data(memory->buffer) + (size_t)entry->place;
        spent = st__load_block_leave(load, entry->block);
    } else if (!entry->dst && entry->size) {
        st_buffer *view = load->files[entry->file].view;
        out->buffer = st_buffer_retain(view);
        out->data = (unsigned char *)st_buffer_data(view) + (size_t)entry->offset;
    } else if (!entry->dst) {
        out->data = (void *)(uintptr_t)nothing;
    }
    load->done += entry->size;
    out->done = load->done;
    out->total = load->total;
    return spent;
}

/* Under the lock, which is dropped meanwhile. */
static void item_wait(st_load *load)
{
    st__load_gate *gate = load->gate;
    load->waiting = true;
    if (load->readers) {
        st__signal_wake_all(&gate->signal); /* a unit that had no room may begin now */
        st__signal_wait(&gate->signal, &gate->lock);
    } else {
        st__lock_drop(&gate->lock);
        st__load_step(&load->workers[0]);
        st__lock_take(&gate->lock);
    }
    load->waiting = false;
}

static st_status item_next(st_load *load, st_loaded *out, st_buffer **spent, st_error *error)
{
    for (;;) {
        if (load->status != ST_OK) {
            if (error)
                *error = load->failure;
            return load->status;
        }
        if (load->cancelled)
            return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET,
                            "the load was cancelled at %" PRIu64 " of %" PRIu64 " bytes",
                            load->done, load->total);
        if (load->ready_first < load->ready_end) {
            *spent = ready_take(load, out);
            return ST_OK;
        }
        if (load->ready_first == load->plan.count) {
            *out = (st_loaded){.item = ST_LOAD_END, .done = load->done, .total = load->total};
            return ST_OK;
        }
        item_wait(load);
    }
}

st_status st_load_next(st_load *load, st_loaded *out, st_error *error)
{
    st_buffer *spent = NULL;
    st__lock_take(&load->gate->lock);
    st_status status = item_next(load, out, &spent, error);
    st__lock_drop(&load->gate->lock);
    st_buffer_release(spent);
    return status;
}

/* -------------------------------------------------------------------------------------- ending */

void st_load_cancel(st_load *load)
{
    st__lock_take(&load->gate->lock);
    load->cancelled = true;
    st__signal_wake_all(&load->gate->signal);
    st__lock_drop(&load->gate->lock);
}

void st_load_free(st_load *load)
{
    if (!load)
        return;
    st_context *context = load->context;
    uint32_t files = load->plan.file_count, blocks = load->plan.block_count;
    if (load->gate)
        st_load_cancel(load);
    st__crew_join(&load->crew);
    for (uint32_t i = 0; i < load->worker_count; i++)
        st__load_worker_release(&load->workers[i]);
    st__load_routes_release(load);
    for (uint32_t i = 0; load->memory && i < blocks; i++)
        st_buffer_release(load->memory[i].buffer);
    st__free(context, load->workers, load->worker_count * sizeof *load->workers);
    st__free(context, load->memory, blocks * sizeof *load->memory);
    st__free(context, load->files, files * sizeof *load->files);
    st__free(context, load->facts, files * sizeof *load->facts);
    st__free(context, load->ready, load->plan.count * sizeof *load->ready);
    st__free(context, load->plan.entries, load->plan.count * sizeof *load->plan.entries);
    st__load_plan_release(&load->plan);
    st__load_gate_release(load->gate, context);
    st__free(context, load, sizeof *load);
    st_context_release(context);
}

/* ---------------------------------------------------------------------------------- explaining */

size_t st_load_file_count(const st_load *load)
{
    return load->plan.file_count;
}

void st_load_explain(const st_load *load, size_t index, st_explanation *out)
{
    assert(index < load->plan.file_count);
    const st__load_file *file = &load->files[index];
    st__lock_take(&load->gate->lock);
    if (file->state == ST__LOAD_READY)
        st__route_explain(&file->route, out);
    else
        *out = file->explanation;
    st__lock_drop(&load->gate->lock);
}
