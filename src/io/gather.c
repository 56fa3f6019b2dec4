/* SPDX-License-Identifier: Apache-2.0 */
#include "io/gather.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/copy.h"
#include "io/pool.h"

/* Bytes keep their place within a page of the file: the kernel copies by pages, and direct reads land. */
#define PHASE 4096u
/* Strided reads of a mapping: up to this distance all that is between is made present at once. */
#define POPULATE_DISTANCE 65536u
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
    uint64_t cost = gather->transfer->route->choice.gap;
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
    if (distance - runs->piece + runs->piece / 2 > transfer->route->choice.gap)
        return 1;
    return distance / runs->piece ? distance / runs->piece : 1;
}

void st__gather_init(st__gather *gather, const st__transfer *transfer, size_t stage_size)
{
    gather->transfer = transfer;
    st__lane_init(&gather->lane, transfer->route);
    gather->stage = NULL;
    gather->slab.memory = NULL;
    gather->stage_size = stage_size;
    gather->walking = false;
    gather->count = gather->extents = 0;
}

void st__gather_release(st__gather *gather)
{
    gather->slab.present = true;
    if (gather->slab.memory)
        st__slab_give(gather->transfer->context, &gather->slab);
    gather->slab.memory = NULL;
    st__lane_release(&gather->lane);
    if (gather->walking)
        st__cursor_release(&gather->cursor);
    gather->walking = false;
}

static st_status stage_open(st__gather *gather, st_error *error)
{
    if (gather->slab.memory)
        return ST_OK;
    ST_TRY(
        st__slab_take(gather->transfer->context, gather->stage_size + PHASE, &gather->slab, error));
    gather->stage = gather->slab.data;
    return ST_OK;
}

/* Where in the staging block the bytes of `low` go: at their place within a page of the file. */
static unsigned char *stage_at(const st__gather *gather, uint64_t low)
{
    return gather->stage + (gather->transfer->offset + low) % PHASE;
}

static st_status batch_flush(st__gather *gather, st_error *error)
{
    size_t count = gather->extents;
    gather->extents = 0;
    return count ? st__lane_read(&gather->lane, gather->batch, count, error) : ST_OK;
}

static st_status batch_add(st__gather *gather, uint64_t offset, unsigned char *dst, uint64_t size,
                           st_error *error)
{
    gather->batch[gather->extents++] =
        (st__extent){gather->transfer->offset + offset, dst, (size_t)size};
    return gather->extents == ST__GATHER_BATCH ? batch_flush(gather, error) : ST_OK;
}

static st_status pending_flush(st__gather *gather, st_error *error)
{
    const st__transfer *t = gather->transfer;
    const uint32_t count = gather->count;
    gather->count = 0;
    if (count == 0)
        return ST_OK;
    if (count == 1 && gather->pending[0].run.pieces == 1)
        return batch_add(gather, gather->low, gather->pending[0].dst, gather->pending[0].run.length,
                         error);
    ST_TRY(stage_open(gather, error));
    unsigned char *stage = stage_at(gather, gather->low);
    const st__extent window = {t->offset + gather->low, stage,
                               (size_t)(gather->high - gather->low)};
    ST_TRY(st__lane_read(&gather->lane, &window, 1, error));
    for (uint32_t i = 0; i < count; i++)
        st__copy_run(gather->pending[i].dst,
                     stage + (size_t)(gather->pending[i].run.offset - gather->low),
                     &gather->pending[i].run);
    return ST_OK;
}

/* Pieces of a run that still fit one read with what is pending; 0: flush first. The window grows to
 * either side, as runs may descend. */
static uint64_t window_pieces(const st__gather *gather, const st__run *run)
{
    uint64_t low = run->offset, high = run->offset + run->length;
    if (gather->count) {
        uint64_t cost = gather->transfer->route->choice.gap;
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

static st_status pieces_read(st__gather *gather, st__run run, unsigned char *dst, st_error *error)
{
    for (; run.pieces; run_skip(&run, 1), dst += run.length)
        ST_TRY(batch_add(gather, run.offset, dst, run.length, error));
    return ST_OK;
}

/* A mapping that is to be filled ahead is copied in parts, each of them made present before. */
static void run_copy(const st__gather *gather, const unsigned char *memory, st__run run,
                     unsigned char *dst)
{
    const uint64_t distance = distance_of(run.stride);
    while (run.pieces) {
        st__run part = run;
        part.pieces = st__min_u64(run.pieces, ST__POPULATE_STEP / (distance + 1) + 1);
        uint64_t reach = (part.pieces - 1) * distance;
        const unsigned char *first = memory + (size_t)part.offset;
        if (distance <= POPULATE_DISTANCE)
            st__transfer_populate(gather->transfer, run.stride < 0 ? first - (size_t)reach : first,
                                  (size_t)(reach + part.length));
        st__copy_run(dst, first, &part);
        dst += (size_t)(part.pieces * part.length);
        run_skip(&run, part.pieces);
    }
}

static st_status run_gather(st__gather *gather, st__run run, unsigned char *dst, st_error *error)
{
    const unsigned char *memory = st__transfer_memory(gather->transfer);
    bool populated = gather->transfer->route->choice.io == ST_IO_POPULATE;
    if (memory && populated && run.pieces == 1)
        return batch_add(gather, run.offset, dst, run.length, error);
    if (memory && populated) {
        run_copy(gather, memory, run, dst);
        return ST_OK;
    }
    if (memory) {
        st__copy_run(dst, memory + (size_t)run.offset, &run);
        return ST_OK;
    }
    if (direct_pays(gather, run.length, run.pieces, run.stride))
        return pieces_read(gather, run, dst, error);
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
    gather->count = gather->extents = 0; /* a failed range may have left some */
    if (cursor->at != from)
        st__cursor_seek(cursor, from);
    while (cursor->at < to) {
        uint64_t at = cursor->at;
        if (!st__cursor_next(cursor, to - at, &run))
            break;
        ST_TRY(run_gather(gather, run, dst + (size_t)(at - from), error));
    }
    ST_TRY(pending_flush(gather, error));
    return batch_flush(gather, error);
}
