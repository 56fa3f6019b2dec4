/* SPDX-License-Identifier: Apache-2.0 */
#include "io/transfer.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "base/thread.h"
#include "io/gather.h"

#include <stdatomic.h>

/* A load below this is done by the caller's thread alone: starting and joining others costs as much as
 * copying a few hundred KiB each. */
#define THREADS_FROM (UINT64_C(4) << 20)
/* What a thread takes at a time, in bytes read: enough to hide the taking, little enough that all end
 * together. */
#define UNIT_WORK   (UINT64_C(1) << 20)
#define THREADS_MAX 64u
/* A staging block is to stay in the second-level cache between being read and being copied out of. Where
 * that holds 1 MiB, 512 KiB was best of 48 KiB to 512 KiB by 10 to 30 % (bench/slice). */
#define STAGE_SIZE  ((size_t)512 << 10)
#define STAGE_LEAST ((size_t)4 << 10)
/* Blocks hold whole elements (of 1, 2, 4, 8 bytes and of 3 for four F6) and whole pages of the file. */
#define BLOCK_UNIT ((size_t)3 * 4096)
#define BLOCK_SIZE (21 * BLOCK_UNIT)

/* What the threads of one load share. */
typedef struct load {
    const st__transfer *transfer;
    unsigned char *dst;
    uint64_t head; /* length of unit 0, after which units are aligned */
    uint64_t unit;
    uint64_t units;
    size_t stage_size;
    atomic_uint_fast64_t next;
    atomic_bool failed;
} load;

typedef struct load_worker {
    load *load;
    st__thread thread;
    bool started;
    st_status status;
    uint64_t failed_unit;
    st_error error;
    st__cursor cursor;
    st__gather gather;
} load_worker;

static uint64_t unit_start(const load *l, uint64_t i)
{
    return i == 0 ? 0 : st__min_u64(l->head + (i - 1) * l->unit, l->transfer->runs->size);
}

/* Units are handed out in rising order and each that was taken is finished or fails, so the lowest
 * failure is found whatever the threads' pace. */
static st_status worker_units(load_worker *w)
{
    load *l = w->load;
    while (!atomic_load_explicit(&l->failed, memory_order_relaxed)) {
        uint64_t i = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
        if (i >= l->units)
            break;
        uint64_t from = unit_start(l, i);
        w->failed_unit = i;
        ST_TRY(st__gather_range(&w->gather, &w->cursor, from, unit_start(l, i + 1),
                                l->dst + (size_t)from, &w->error));
    }
    return ST_OK;
}

static void *worker_run(void *arg)
{
    load_worker *w = arg;
    w->failed_unit = 0;
    w->status = st__cursor_init(&w->cursor, w->load->transfer->runs, 0, &w->error);
    if (w->status == ST_OK) {
        st__gather_init(&w->gather, w->load->transfer, w->load->stage_size);
        w->status = worker_units(w);
        st__gather_release(&w->gather);
        st__cursor_release(&w->cursor);
    }
    if (w->status != ST_OK)
        atomic_store_explicit(&w->load->failed, true, memory_order_relaxed);
    return NULL;
}

static uint64_t load_work(const st__transfer *transfer)
{
    uint64_t work;
    if (!st__mul_u64(transfer->runs->size, st__gather_factor(transfer), &work))
        return UINT64_MAX;
    return work;
}

static uint32_t load_threads(const st__transfer *transfer, uint64_t work)
{
    uint64_t threads = st__context_threads(transfer->context);
    if (work < THREADS_FROM)
        return 1;
    threads = st__min_u64(threads, work / (THREADS_FROM / 4));
    threads = st__min_u64(threads, THREADS_MAX);
    if (transfer->parallelism)
        threads = st__min_u64(threads, transfer->parallelism);
    threads = st__min_u64(threads, st__context_memory(transfer->context) / STAGE_SIZE);
    return threads ? (uint32_t)threads : 1;
}

static size_t stage_size(const st__transfer *transfer, uint64_t work)
{
    uint64_t size = st__min_u64(STAGE_SIZE, st__context_memory(transfer->context));
    size = st__min_u64(size, work);
    return size < STAGE_LEAST ? STAGE_LEAST : (size_t)size;
}

/* Cuts where pieces end, or, where all is one piece, where pages of the file do. */
static void load_divide(load *l, uint64_t work, uint32_t threads)
{
    const st__runs *runs = l->transfer->runs;
    uint64_t parts = work / UNIT_WORK + 1, unit = runs->size / parts + 1;
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

static st_status load_alone(load *l, st_error *error)
{
    load_worker w;
    w.load = l;
    worker_run(&w);
    if (w.status != ST_OK && error)
        *error = w.error;
    return w.status;
}

static st_status load_together(load *l, uint32_t threads, st_error *error)
{
    st_context *context = l->transfer->context;
    size_t size = threads * sizeof(load_worker);
    load_worker *workers = st__alloc(context, size);
    if (!workers)
        return st__fail_nomem(error, size);
    for (uint32_t i = 0; i < threads; i++)
        workers[i].load = l;
    for (uint32_t i = 1; i < threads; i++)
        workers[i].started = st__thread_start(&workers[i].thread, worker_run, &workers[i]);
    worker_run(&workers[0]);
    const load_worker *lowest = workers[0].status != ST_OK ? &workers[0] : NULL;
    for (uint32_t i = 1; i < threads; i++) {
        if (!workers[i].started)
            continue;
        st__thread_join(&workers[i].thread);
        if (workers[i].status != ST_OK && (!lowest || workers[i].failed_unit < lowest->failed_unit))
            lowest = &workers[i];
    }
    st_status status = lowest ? lowest->status : ST_OK;
    if (lowest && error)
        *error = lowest->error;
    st__free(context, workers, size);
    return status;
}

st_status st__transfer_read(const st__transfer *transfer, void *dst, st_error *error)
{
    load l = {.transfer = transfer, .dst = dst};
    if (transfer->runs->size == 0)
        return ST_OK;
    uint64_t work = load_work(transfer);
    uint32_t threads = load_threads(transfer, work);
    l.stage_size = stage_size(transfer, work);
    atomic_init(&l.next, 0);
    atomic_init(&l.failed, false);
    load_divide(&l, work, threads);
    if (l.units < threads)
        threads = (uint32_t)l.units;
    return threads == 1 ? load_alone(&l, error) : load_together(&l, threads, error);
}

/* Memory that holds the bytes as they are wanted is handed out without a copy. */
static st_status blocks_direct(const st__transfer *transfer, st_block_fn block, void *ctx,
                               st_error *error)
{
    const st__runs *runs = transfer->runs;
    const unsigned char *at = transfer->memory + (size_t)runs->offset;
    for (uint64_t done = 0; done < runs->size;) {
        size_t size = (size_t)st__min_u64(BLOCK_SIZE, runs->size - done);
        ST_TRY(block(ctx, at + (size_t)done, size, error));
        done += size;
    }
    return ST_OK;
}

static st_status blocks_gather(const st__transfer *transfer, size_t block_size,
                               unsigned char *memory, st_block_fn block, void *ctx, st_error *error)
{
    st__cursor cursor;
    st__gather gather;
    uint64_t size = transfer->runs->size;
    ST_TRY(st__cursor_init(&cursor, transfer->runs, 0, error));
    st__gather_init(&gather, transfer, stage_size(transfer, load_work(transfer)));
    st_status status = ST_OK;
    for (uint64_t at = 0; at < size && status == ST_OK;) {
        uint64_t to = size - at < block_size ? size : at + block_size;
        status = st__gather_range(&gather, &cursor, at, to, memory, error);
        if (status == ST_OK)
            status = block(ctx, memory, (size_t)(to - at), error);
        at = to;
    }
    st__gather_release(&gather);
    st__cursor_release(&cursor);
    return status;
}

st_status st__transfer_blocks(const st__transfer *transfer, st_block_fn block, void *ctx,
                              st_error *error)
{
    const st__runs *runs = transfer->runs;
    if (transfer->memory && runs->piece == runs->size)
        return blocks_direct(transfer, block, ctx, error);
    uint64_t budget = st__context_memory(transfer->context) / 2;
    size_t size = (size_t)st__min_u64(BLOCK_SIZE, runs->size);
    if (size > budget)
        size = budget < 24 ? 24 : (size_t)(budget - budget % 24);
    /* A page more, so that the block can lie as its bytes do in the file. */
    size_t memory_size = size + 2 * 4096;
    unsigned char *memory = st__alloc(transfer->context, memory_size);
    if (!memory)
        return st__fail_nomem(error, memory_size);
    size_t phase = (size_t)((transfer->offset + runs->offset) % 4096);
    size_t skip = (phase + 4096 - (size_t)((uintptr_t)memory % 4096)) % 4096;
    st_status status = blocks_gather(transfer, size, memory + skip, block, ctx, error);
    st__free(transfer->context, memory, memory_size);
    return status;
}
