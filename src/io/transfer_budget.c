/* SPDX-License-Identifier: Apache-2.0 */
#include "io/transfer_budget.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "io/gather.h"

/* A load below this is done by the caller's thread alone: starting and joining others costs as much as
 * copying a few hundred KiB each. */
#define THREADS_FROM (UINT64_C(4) << 20)
/* A staging block is to stay in the second-level cache between being read and being copied out of. Where
 * that holds 1 MiB, 512 KiB was best of 48 KiB to 512 KiB by 10 to 30 % (bench/slice). Reads that wait for a
 * disk are the better the larger they are: 8 MiB (strided reads of 1 GiB past the page cache: 0.46 to 0.6 s). */
#define STAGE_SIZE      ((size_t)512 << 10)
#define STAGE_SIZE_DISK ((size_t)8 << 20)
#define STAGE_LEAST     ((size_t)4 << 10)
/* Blocks worth a trip over a network: 3 MiB; and those of which a few at a time keep a disk busy: 7.5 MiB. */
#define TRIP_BLOCKS 16u
#define DISK_BLOCKS 40u
/* The kernel copies by pages of this size at least. */
#define PAGE 4096u

uint64_t st__transfer_work(const st__transfer *transfer)
{
    uint64_t work;
    if (!st__mul_u64(transfer->runs->size, st__gather_factor(transfer), &work))
        return UINT64_MAX;
    return work;
}

/* Whether each read waits for something, and so is better long. */
static bool reads_wait(const st__transfer *transfer)
{
    return st__strategy_is_direct(transfer->route->choice.io) ||
           transfer->route->facts.latency == ST_LATENCY_NETWORK;
}

static uint32_t threads_bounded(const st__transfer *transfer, uint64_t threads, uint64_t work,
                                uint64_t memory)
{
    const uint32_t parallelism = transfer->route->facts.parallelism;
    if (work < THREADS_FROM)
        return 1;
    threads = st__min_u64(threads, work / (THREADS_FROM / 4));
    if (parallelism)
        threads = st__min_u64(threads, parallelism);
    threads = st__min_u64(threads, st__context_memory(transfer->context) / (STAGE_SIZE + memory));
    return threads ? (uint32_t)threads : 1;
}

uint32_t st__transfer_readers(const st__transfer *transfer, uint64_t work)
{
    return threads_bounded(transfer, transfer->route->choice.threads, work, 0);
}

uint32_t st__transfer_threads(const st__transfer *transfer, uint64_t work, uint64_t memory)
{
    return threads_bounded(transfer, transfer->route->facts.threads, work, memory);
}

size_t st__transfer_stage(const st__transfer *transfer, uint64_t work)
{
    uint64_t memory = st__context_memory(transfer->context);
    uint64_t size = st__min_u64(STAGE_SIZE, memory);
    uint64_t share = memory / 4 / transfer->route->facts.threads;
    if (reads_wait(transfer) && share > size)
        size = st__min_u64(STAGE_SIZE_DISK, share);
    size = st__min_u64(size, work);
    return size < STAGE_LEAST ? STAGE_LEAST : (size_t)size;
}

size_t st__transfer_reach(const st__transfer *transfer)
{
    uint64_t blocks = st__context_memory(transfer->context) / 8 / ST__SCAN_BLOCK;
    if (!reads_wait(transfer) || blocks == 0)
        return ST__SCAN_BLOCK;
    blocks = st__min_u64(blocks, st__strategy_is_direct(transfer->route->choice.io) ? DISK_BLOCKS
                                                                                    : TRIP_BLOCKS);
    return (size_t)blocks * ST__SCAN_BLOCK;
}

st_status st__block_memory_init(st__block_memory *block, const st__transfer *transfer, size_t size,
                                st_error *error)
{
    ST_TRY(st__slab_take(transfer->context, size + 2 * PAGE, &block->slab, error));
    block->data = block->slab.data + (transfer->offset + transfer->runs->offset) % PAGE;
    return ST_OK;
}

void st__block_memory_release(st__block_memory *block, st_context *context)
{
    if (block->data)
        st__slab_give(context, &block->slab);
    block->data = NULL;
}
