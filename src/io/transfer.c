/* SPDX-License-Identifier: Apache-2.0 */
#include "io/transfer.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "base/team.h"
#include "io/gather.h"
#include "io/os.h"
#include "io/transfer_budget.h"

const unsigned char *st__transfer_memory(const st__transfer *transfer)
{
    const st__route *route = transfer->route;
    bool mapped = route->choice.io == ST_IO_MAP || route->choice.io == ST_IO_POPULATE;
    return mapped && route->memory ? route->memory + (size_t)transfer->offset : NULL;
}

void st__transfer_populate(const st__transfer *transfer, const unsigned char *at, size_t size)
{
    if (transfer->route->choice.io == ST_IO_POPULATE)
        st__os_populate((void *)(uintptr_t)at, size, false);
}

/* What the threads of one load share. */
typedef struct load {
    const st__transfer *transfer;
    unsigned char *dst;
    uint64_t head; /* length of unit 0, after which units are aligned */
    uint64_t unit;
    uint64_t units;
    st__gather *gathers; /* one per worker */
} load;

static uint64_t unit_start(const load *l, uint64_t i)
{
    return i == 0 ? 0 : st__min_u64(l->head + (i - 1) * l->unit, l->transfer->runs->size);
}

static st_status load_unit(void *ctx, uint32_t worker, uint64_t unit, st_error *error)
{
    load *l = ctx;
    uint64_t from = unit_start(l, unit);
    return st__gather_range(&l->gathers[worker], from, unit_start(l, unit + 1),
                            l->dst + (size_t)from, error);
}

/* Cuts where pieces end, or, where all is one piece, where pages of the file do. */
static void load_divide(load *l, uint64_t work, uint32_t threads)
{
    const st__runs *runs = l->transfer->runs;
    const st__choice *choice = &l->transfer->route->choice;
    /* What a thread takes at a time: a request, or as many as keep all of its ring busy for a while. */
    uint64_t taken = choice->depth > 1 ? (uint64_t)choice->unit * choice->depth * 4 : choice->unit;
    uint64_t parts = work / taken + 1, unit = runs->size / parts + 1;
    if (threads == 1) {
        l->units = 1;
        l->head = l->unit = runs->size;
        return;
    }
    uint64_t grain = runs->depth && runs->piece < unit ? runs->piece : 4096;
    l->unit = unit / grain * grain + grain;
    l->head = l->unit;
    if (runs->depth == 0)
        l->head -= (l->transfer->offset + runs->offset) % grain;
    l->units = runs->size <= l->head ? 1 : 1 + (runs->size - l->head + l->unit - 1) / l->unit;
}

static st_status load_with(load *l, uint32_t threads, size_t stage_size, st_error *error)
{
    st_context *context = l->transfer->context;
    const st__shared_work work = {l->units, load_unit, l};
    for (uint32_t i = 0; i < threads; i++)
        st__gather_init(&l->gathers[i], l->transfer, stage_size);
    st_status status = st__team_share(context, threads, &work, error);
    for (uint32_t i = 0; i < threads; i++)
        st__gather_release(&l->gathers[i]);
    return status;
}

st_status st__transfer_read(const st__transfer *transfer, void *dst, st_error *error)
{
    st__gather alone;
    load l = {.transfer = transfer, .dst = dst, .gathers = &alone};
    if (transfer->runs->size == 0)
        return ST_OK;
    uint64_t work = st__transfer_work(transfer);
    uint32_t threads = st__transfer_readers(transfer, work);
    size_t stage_size = st__transfer_stage(transfer, work);
    load_divide(&l, work, threads);
    if (l.units < threads)
        threads = (uint32_t)l.units;
    if (threads == 1)
        return load_with(&l, 1, stage_size, error);
    size_t size = threads * sizeof *l.gathers;
    l.gathers = st__alloc(transfer->context, size);
    if (!l.gathers)
        return st__fail_nomem(error, size);
    st_status status = load_with(&l, threads, stage_size, error);
    st__free(transfer->context, l.gathers, size);
    return status;
}
