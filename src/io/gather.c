/* SPDX-License-Identifier: Apache-2.0 */
#include "io/gather.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/copy.h"

#include <string.h>

/* The kernel copies out of the page cache by pages; phases are kept modulo this, whatever the page. */
#define PHASE 4096u
/* Below this a second copy costs more than the phase. */
#define DETOUR_FROM 65536u

/* What one more read costs, in bytes that could have been copied meanwhile: a system call, or a round
 * trip. */
static uint64_t read_cost(const st__transfer *transfer)
{
    switch (transfer->latency) {
    case ST_LATENCY_MEMORY: return 64;
    case ST_LATENCY_LOCAL: return 8192;
    case ST_LATENCY_NETWORK: return UINT64_C(1) << 20;
    default: return 32768;
    }
}

static uint64_t distance_of(int64_t stride)
{
    return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

/* Whether pieces are better read one by one into place. Staging reads the gaps too, and copies each
 * piece once more within the cache, at about half the price of the read. */
static bool direct_pays(const st__gather *gather, uint64_t length, uint64_t pieces, int64_t stride)
{
    if (length >= gather->stage_size)
        return true;
    uint64_t cost = read_cost(gather->transfer);
    if (pieces == 1)
        return length >= 4 * cost;
    return distance_of(stride) - length + length / 2 > cost;
}

uint64_t st__gather_factor(const st__transfer *transfer)
{
    const st__runs *runs = transfer->runs;
    const st__level *level = runs->depth ? &runs->levels[0] : NULL;
    if (!level || level->slices || runs->piece == 0)
        return 1;
    uint64_t distance = distance_of(level->stride);
    if (distance - runs->piece + runs->piece / 2 > read_cost(transfer))
        return 1;
    return distance / runs->piece ? distance / runs->piece : 1;
}

void st__gather_init(st__gather *gather, const st__transfer *transfer, size_t stage_size)
{
    gather->transfer = transfer;
    gather->stage = NULL;
    gather->stage_memory = NULL;
    gather->stage_size = stage_size;
    gather->walking = false;
    gather->count = 0;
}

static size_t stage_memory_size(const st__gather *gather)
{
    return gather->stage_size + 2 * PHASE;
}

void st__gather_release(st__gather *gather)
{
    st__free(gather->transfer->context, gather->stage_memory, stage_memory_size(gather));
    gather->stage_memory = NULL;
    if (gather->walking)
        st__cursor_release(&gather->cursor);
    gather->walking = false;
}

static st_status stage_open(st__gather *gather, st_error *error)
{
    if (gather->stage_memory)
        return ST_OK;
    size_t size = stage_memory_size(gather);
    gather->stage_memory = st__alloc(gather->transfer->context, size);
    if (!gather->stage_memory)
        return st__fail_nomem(error, size);
    uintptr_t at = (uintptr_t)gather->stage_memory;
    gather->stage = (unsigned char *)gather->stage_memory + (PHASE - at % PHASE) % PHASE;
    return ST_OK;
}

/* Where in the staging block the bytes of `low` go: at their place within a page of the file. */
static unsigned char *stage_at(const st__gather *gather, uint64_t low)
{
    return gather->stage + (gather->transfer->offset + low) % PHASE;
}

static st_status pending_flush(st__gather *gather, st_error *error)
{
    const st__transfer *t = gather->transfer;
    if (gather->count == 0)
        return ST_OK;
    if (gather->count == 1 && gather->pending[0].run.pieces == 1) {
        gather->count = 0;
        return st_source_read(t->source, t->offset + gather->low, gather->pending[0].dst,
                              (size_t)gather->pending[0].run.length, error);
    }
    ST_TRY(stage_open(gather, error));
    unsigned char *stage = stage_at(gather, gather->low);
    ST_TRY(st_source_read(t->source, t->offset + gather->low, stage,
                          (size_t)(gather->high - gather->low), error));
    for (uint32_t i = 0; i < gather->count; i++)
        st__copy_run(gather->pending[i].dst,
                     stage + (size_t)(gather->pending[i].run.offset - gather->low),
                     &gather->pending[i].run);
    gather->count = 0;
    return ST_OK;
}

/* Pieces of a run that still fit one read with what is pending; 0: flush first. The window grows to
 * either side, as runs may descend. */
static uint64_t window_pieces(const st__gather *gather, const st__run *run)
{
    uint64_t low = run->offset, high = run->offset + run->length;
    if (gather->count) {
        uint64_t cost = read_cost(gather->transfer);
        if (gather->count == ST__GATHER_PENDING ||
            (low > gather->high && low - gather->high > cost) ||
            (high < gather->low && gather->low - high > cost))
            return 0;
        low = st__min_u64(low, gather->low);
        high = high > gather->high ? high : gather->high;
    }
    if (high - low > gather->stage_size)
        return 0;
    uint64_t room = gather->stage_size - (high - low), distance = distance_of(run->stride);
    if (run->pieces == 1 || distance == 0)
        return 1;
    /* What lies between the piece and the window's far edge is there to be used, too. */
    room += run->stride > 0 ? high - (run->offset + run->length) : run->offset - low;
    return st__min_u64(run->pieces, 1 + room / distance);
}

static void window_add(st__gather *gather, const st__run *run, uint64_t pieces, unsigned char *dst)
{
    uint64_t reach = (pieces - 1) * distance_of(run->stride);
    uint64_t low = run->stride < 0 ? run->offset - reach : run->offset;
    uint64_t high = run->offset + run->length + (run->stride > 0 ? reach : 0);
    if (gather->count == 0) {
        gather->low = low;
        gather->high = high;
    }
    gather->low = st__min_u64(gather->low, low);
    gather->high = gather->high > high ? gather->high : high;
    gather->pending[gather->count].run = *run;
    gather->pending[gather->count].run.pieces = pieces;
    gather->pending[gather->count++].dst = dst;
}

static void run_skip(st__run *run, uint64_t pieces)
{
    run->pieces -= pieces;
    run->offset += pieces * (uint64_t)run->stride;
}

/* Several x86 CPUs copy by pages three times slower to addresses that are 1 to 15 bytes ahead of the
 * source's, modulo a page (measured on Zen 4: 2.4 against 5.7 GB/s). */
static bool phase_unlucky(const unsigned char *dst, uint64_t offset)
{
    uint64_t ahead = ((uint64_t)(uintptr_t)dst - offset) % PHASE;
    return ahead > 0 && ahead < 16;
}

/* Such a piece goes through the staging block, at a place that is unlucky for neither copy. */
static st_status detour_read(st__gather *gather, const st__run *run, unsigned char *dst,
                             st_error *error)
{
    const st__transfer *t = gather->transfer;
    ST_TRY(stage_open(gather, error));
    for (uint64_t done = 0; done < run->length;) {
        uint64_t from = run->offset + done;
        size_t size = (size_t)st__min_u64(gather->stage_size, run->length - done);
        unsigned char *stage = stage_at(gather, from + PHASE / 2);
        ST_TRY(st_source_read(t->source, t->offset + from, stage, size, error));
        memcpy(dst + (size_t)done, stage, size);
        done += size;
    }
    return ST_OK;
}

static st_status direct_read(st__gather *gather, st__run run, unsigned char *dst, st_error *error)
{
    const st__transfer *t = gather->transfer;
    for (; run.pieces; run_skip(&run, 1), dst += run.length) {
        uint64_t offset = t->offset + run.offset;
        if (run.length >= DETOUR_FROM && t->latency == ST_LATENCY_LOCAL &&
            phase_unlucky(dst, offset))
            ST_TRY(detour_read(gather, &run, dst, error));
        else
            ST_TRY(st_source_read(t->source, offset, dst, (size_t)run.length, error));
    }
    return ST_OK;
}

static st_status run_gather(st__gather *gather, st__run run, unsigned char *dst, st_error *error)
{
    const st__transfer *t = gather->transfer;
    if (t->memory) {
        st__copy_run(dst, t->memory + (size_t)run.offset, &run);
        return ST_OK;
    }
    if (direct_pays(gather, run.length, run.pieces, run.stride))
        return direct_read(gather, run, dst, error);
    while (run.pieces) {
        uint64_t pieces = window_pieces(gather, &run);
        if (pieces == 0) {
            ST_TRY(pending_flush(gather, error));
            continue;
        }
        window_add(gather, &run, pieces, dst);
        dst += (size_t)(pieces * run.length);
        run_skip(&run, pieces);
    }
    return ST_OK;
}

st_status st__gather_range(st__gather *gather, uint64_t from, uint64_t to, unsigned char *dst,
                           st_error *error)
{
    st__cursor *cursor = &gather->cursor;
    st__run run;
    if (!gather->walking) {
        ST_TRY(st__cursor_init(cursor, gather->transfer->runs, from, error));
        gather->walking = true;
    }
    gather->count = 0; /* a failed range may have left some */
    if (cursor->at != from)
        st__cursor_seek(cursor, from);
    while (cursor->at < to) {
        uint64_t at = cursor->at;
        if (!st__cursor_next(cursor, to - at, &run))
            break;
        ST_TRY(run_gather(gather, run, dst + (size_t)(at - from), error));
    }
    return pending_flush(gather, error);
}
