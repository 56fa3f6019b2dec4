/* SPDX-License-Identifier: Apache-2.0 */
/* Delivering blocks in order on the caller's thread, out of memory, out of one block that is filled again and
 * again, or out of a ring of blocks that other threads fill ahead. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "base/team.h"
#include "base/thread.h"
#include "io/gather.h"
#include "io/transfer_budget.h"

/* A load below this is over before other threads are of use. */
#define AHEAD_FROM (UINT64_C(4) << 20)
/* 1 GiB in the page cache, 4 cores, against one thread: 3 times as fast to a consumer that does next to nothing,
 * where half the slots gave 2.6 times, and to a slow one all the reading is hidden. Four times the memory
 * gave nothing more. */
#define AHEAD_SLOTS   16u
#define AHEAD_READERS 3u

/* Where blocks go. */
typedef struct taker {
    st_block_fn block;
    void *ctx;
} taker;

/* ------------------------------------------------------------------------------ one thread */

/* Memory that holds the bytes as they are wanted is handed out without a copy. */
static st_status blocks_direct(const st__transfer *transfer, const unsigned char *memory,
                               const taker *to, st_error *error)
{
    const st__runs *runs = transfer->runs;
    const unsigned char *at = memory + (size_t)runs->offset;
    const size_t ahead = ST__POPULATE_STEP / ST__SCAN_BLOCK * ST__SCAN_BLOCK;
    for (uint64_t done = 0; done < runs->size;) {
        size_t size = (size_t)st__min_u64(ST__SCAN_BLOCK, runs->size - done);
        if (done % ahead == 0)
            st__transfer_populate(transfer, at + (size_t)done,
                                  (size_t)st__min_u64(ahead, runs->size - done));
        ST_TRY(to->block(to->ctx, at + (size_t)done, size, error));
        done += size;
    }
    return ST_OK;
}

static st_status blocks_gather(const st__transfer *transfer, size_t block_size,
                               unsigned char *memory, const taker *to, st_error *error)
{
    st__gather gather;
    uint64_t size = transfer->runs->size;
    st__gather_init(&gather, transfer, st__transfer_stage(transfer, st__transfer_work(transfer)));
    st_status status = ST_OK;
    for (uint64_t at = 0; at < size && status == ST_OK;) {
        uint64_t end = size - at < block_size ? size : at + block_size;
        status = st__gather_range(&gather, at, end, memory, error);
        if (status == ST_OK)
            status = to->block(to->ctx, memory, (size_t)(end - at), error);
        at = end;
    }
    st__gather_release(&gather);
    return status;
}

static st_status blocks_alone(const st__transfer *transfer, const taker *to, st_error *error)
{
    uint64_t budget = st__context_memory(transfer->context) / 2;
    size_t size = (size_t)st__min_u64(st__transfer_reach(transfer), transfer->runs->size);
    if (size > budget)
        size = budget < ST__BLOCK_GRAIN ? ST__BLOCK_GRAIN
                                        : (size_t)(budget - budget % ST__BLOCK_GRAIN);
    st__block_memory memory = {0};
    ST_TRY(st__block_memory_init(&memory, transfer, size, error));
    st_status status = blocks_gather(transfer, size, memory.data, to, error);
    st__block_memory_release(&memory, transfer->context);
    return status;
}

/* ----------------------------------------------------------------------------- read ahead */

/* Blocks are taken for reading in order, as long as their slots are free, and delivered in order. All that
 * changes does so under the lock, which is held neither while reading nor while delivering. */
typedef struct ring {
    const st__transfer *transfer;
    const taker *to;
    st__gather *gathers; /* one per worker */
    unsigned char *memory;
    size_t block_size;
    uint32_t slots;
    uint32_t readers_max; /* reads in flight at most */
    uint32_t readers;
    bool full[AHEAD_SLOTS];
    bool left;          /* nothing will be delivered any more */
    uint64_t next;      /* the block to be read next */
    uint64_t delivered; /* blocks */
    uint64_t end;       /* one past the last block, or the lowest that could not be read */
    st_status status;   /* why it could not */
    st_error failure;
    st__lock lock;
    st__signal filled;
    st__signal freed;
} ring;

/* The next block to read, if one may be read now. */
static bool ring_take(ring *r, uint64_t *block)
{
    if (r->next >= r->end || r->next - r->delivered >= r->slots || r->readers >= r->readers_max)
        return false;
    *block = r->next++;
    r->readers++;
    return true;
}

/* Drops the lock meanwhile. */
static void ring_fill(ring *r, uint32_t worker, uint64_t block)
{
    st_error error;
    uint64_t from = block * r->block_size, size = r->transfer->runs->size;
    uint64_t to = size - from < r->block_size ? size : from + r->block_size;
    uint32_t slot = (uint32_t)(block % r->slots);
    st__lock_drop(&r->lock);
    st_status status =
        st__gather_range(&r->gathers[worker], from, to, r->memory + slot * r->block_size, &error);
    st__lock_take(&r->lock);
    if (r->readers-- == r->readers_max || status != ST_OK)
        st__signal_wake_all(&r->freed);
    r->full[slot] = status == ST_OK;
    if (status != ST_OK && block < r->end && !r->left) {
        r->end = block;
        r->status = status;
        r->failure = error;
    }
    st__signal_wake_all(&r->filled);
}

static void ring_read(ring *r, uint32_t worker)
{
    uint64_t block;
    while (!r->left && r->next < r->end) {
        if (ring_take(r, &block))
            ring_fill(r, worker, block);
        else
            st__signal_wait(&r->freed, &r->lock);
    }
}

static st_status ring_hand_out(ring *r, st_error *error)
{
    uint32_t slot = (uint32_t)(r->delivered % r->slots);
    uint64_t from = r->delivered * r->block_size;
    size_t size = (size_t)st__min_u64(r->block_size, r->transfer->runs->size - from);
    st__lock_drop(&r->lock);
    st_status status = r->to->block(r->to->ctx, r->memory + slot * r->block_size, size, error);
    st__lock_take(&r->lock);
    r->full[slot] = false;
    r->delivered++;
    /* A reader is not woken for each block: where the consumer is slow, that took a fifth of its time. */
    if (r->next - r->delivered <= r->slots / 2)
        st__signal_wake_all(&r->freed);
    return status;
}

/* Rather than wait, the caller's thread reads too, so that it all gets done with no other thread at all. */
static void ring_deliver(ring *r)
{
    uint64_t block;
    st_status status = ST_OK;
    st_error error = {.status = ST_OK};
    while (status == ST_OK && r->delivered < r->end) {
        if (r->full[r->delivered % r->slots])
            status = ring_hand_out(r, &error);
        else if (ring_take(r, &block))
            ring_fill(r, 0, block);
        else
            st__signal_wait(&r->filled, &r->lock);
    }
    if (status != ST_OK) {
        r->status = status;
        r->failure = error;
    }
    r->left = true;
    st__signal_wake_all(&r->freed);
}

static void ring_run(void *ctx, uint32_t worker)
{
    ring *r = ctx;
    st__lock_take(&r->lock);
    if (worker == 0)
        ring_deliver(r);
    else
        ring_read(r, worker);
    st__lock_drop(&r->lock);
}

static st_status ring_start(ring *r, uint32_t threads, st_error *error)
{
    st_status status = ST_ERR_NOMEM;
    bool ready = false;
    if (st__lock_init(&r->lock)) {
        if (st__signal_init(&r->filled)) {
            ready = st__signal_init(&r->freed);
            if (ready) {
                status = st__team_run(r->transfer->context, threads, ring_run, r, error);
                st__signal_release(&r->freed);
            }
            st__signal_release(&r->filled);
        }
        st__lock_release(&r->lock);
    }
    if (!ready)
        return st__fail_nomem(error, sizeof *r);
    if (status != ST_OK)
        return status;
    if (r->status != ST_OK && error)
        *error = r->failure;
    return r->status;
}

static st_status blocks_ahead(ring *r, uint32_t threads, st_error *error)
{
    const st__transfer *t = r->transfer;
    st__block_memory memory = {0};
    size_t size = threads * sizeof *r->gathers;
    r->end = (t->runs->size + r->block_size - 1) / r->block_size;
    ST_TRY(st__block_memory_init(&memory, t, r->slots * r->block_size, error));
    r->memory = memory.data;
    r->gathers = st__alloc(t->context, size);
    st_status status = ST_ERR_NOMEM;
    if (r->gathers) {
        for (uint32_t i = 0; i < threads; i++)
            st__gather_init(&r->gathers[i], t, st__transfer_stage(t, st__transfer_work(t)));
        status = ring_start(r, threads, error);
        for (uint32_t i = 0; i < threads; i++)
            st__gather_release(&r->gathers[i]);
        st__free(t->context, r->gathers, size);
    } else {
        (void)st__fail_nomem(error, size);
    }
    st__block_memory_release(&memory, t->context);
    return status;
}

/* How many threads there are to be, and how many blocks for them to fill ahead: half of the budget is for
 * blocks, half for staging. 1: none but the caller's. */
static uint32_t ahead_threads(const st__transfer *transfer, uint32_t threads, ring *r)
{
    uint64_t budget = st__context_memory(transfer->context) / 2;
    uint64_t work = st__transfer_work(transfer), stage = st__transfer_stage(transfer, work);
    r->block_size = st__transfer_reach(transfer);
    r->slots = (uint32_t)st__min_u64(AHEAD_SLOTS, budget / r->block_size);
    if (threads < 2 || work < AHEAD_FROM || r->slots < 2 || budget / stage < 2)
        return 1;
    const uint32_t parallelism = transfer->route->facts.parallelism;
    r->readers_max = parallelism ? parallelism : AHEAD_READERS + 1;
    uint64_t others = st__min_u64(AHEAD_READERS, threads - 1);
    others = st__min_u64(others, r->readers_max);
    return (uint32_t)st__min_u64(others, budget / stage - 1) + 1;
}

st_status st__transfer_blocks(const st__transfer *transfer, uint32_t threads, st_block_fn block,
                              void *ctx, st_error *error)
{
    const st__runs *runs = transfer->runs;
    const taker to = {block, ctx};
    ring r = {.transfer = transfer, .to = &to};
    const unsigned char *memory = st__transfer_memory(transfer);
    if (memory && runs->piece == runs->size)
        return blocks_direct(transfer, memory, &to, error);
    threads = ahead_threads(transfer, threads, &r);
    return threads == 1 ? blocks_alone(transfer, &to, error) : blocks_ahead(&r, threads, error);
}
