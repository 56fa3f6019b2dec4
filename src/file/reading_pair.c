/* SPDX-License-Identifier: Apache-2.0 */
/* Two readings in lockstep: a block of the one beside the block of the other that belongs to it. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/team.h"
#include "file/file.h"
#include "io/fetcher.h"

typedef struct pair_worker {
    st__fetcher fetchers[2];
} pair_worker;

typedef struct pair_scan {
    st__reading *const *readings;
    const st__pair_consumer *consumer;
    pair_worker *workers;
    uint64_t reach; /* blocks that are read at a time */
} pair_scan;

/* As many blocks as either reading asks for at a time, so that neither reads more at once than it would alone,
 * but for a block that is larger than that. */
static uint64_t pair_reach(st__reading *const readings[2], const uint64_t sizes[2])
{
    uint64_t reach = UINT64_MAX;
    for (int side = 0; side < 2; side++)
        reach = st__min_u64(reach, st__transfer_reach(&readings[side]->transfer) / sizes[side]);
    return reach ? reach : 1;
}

uint32_t st__reading_pair_workers(st__reading *const readings[2], const uint64_t sizes[2],
                                  uint64_t memory)
{
    const uint64_t reach = pair_reach(readings, sizes);
    uint32_t workers = UINT32_MAX;
    memory += reach * (sizes[0] + sizes[1]);
    for (int side = 0; side < 2; side++) {
        const st__transfer *transfer = &readings[side]->transfer;
        uint32_t threads = st__transfer_threads(transfer, st__transfer_work(transfer), memory);
        workers = threads < workers ? threads : workers;
    }
    return workers;
}

/* Gives what lies at block `number` of one side, `reach` blocks or what is left. */
static st_status pair_fetch(const pair_scan *s, pair_worker *w, int side, uint64_t number,
                            st_bytes *out, st_error *error)
{
    const st__reading *reading = s->readings[side];
    const uint64_t from = number * s->consumer->sizes[side], rest = reading->runs.size - from;
    const uint64_t size = st__min_u64(s->reach * s->consumer->sizes[side], rest);
    const unsigned char *data;
    st_status status = st__fetcher_range(&w->fetchers[side], from, from + size, &data, error);
    if (status != ST_OK)
        return st__error_locate(error, status, st_file_name(reading->file), reading->tensor);
    *out = (st_bytes){data, (size_t)size};
    return ST_OK;
}

static st_status pair_unit(void *ctx, uint32_t worker, uint64_t unit, st_error *error)
{
    const pair_scan *s = ctx;
    const st__pair_consumer *consumer = s->consumer;
    const uint64_t first = unit * s->reach;
    st_bytes all[2], block[2];
    for (int side = 0; side < 2; side++)
        ST_TRY(pair_fetch(s, &s->workers[worker], side, first, &all[side], error));
    for (uint64_t i = 0; i < s->reach && i * consumer->sizes[0] < all[0].size; i++) {
        for (int side = 0; side < 2; side++) {
            const size_t at = (size_t)(i * consumer->sizes[side]);
            block[side].data = (const unsigned char *)all[side].data + at;
            block[side].size = (size_t)st__min_u64(consumer->sizes[side], all[side].size - at);
        }
        ST_TRY(consumer->block(consumer->ctx, worker, first + i, block, error));
    }
    return ST_OK;
}

static uint64_t blocks_of(const st__reading *reading, uint64_t size)
{
    return reading->runs.size / size + (reading->runs.size % size != 0);
}

st_status st__reading_scan_pair(st__reading *const readings[2], uint32_t threads,
                                const st__pair_consumer *consumer, st_error *error)
{
    st_context *context = readings[0]->file->context;
    pair_scan s = {readings, consumer, NULL, pair_reach(readings, consumer->sizes)};
    const uint64_t blocks = blocks_of(readings[0], consumer->sizes[0]);
    const st__shared_work work = {blocks / s.reach + (blocks % s.reach != 0), pair_unit, &s};
    if (threads > work.units)
        threads = (uint32_t)work.units;
    if (threads == 0)
        return ST_OK;
    s.workers = st__alloc(context, threads * sizeof *s.workers);
    if (!s.workers)
        return st__fail_nomem(error, (uint64_t)threads * sizeof *s.workers);
    for (uint32_t i = 0; i < threads; i++)
        for (int side = 0; side < 2; side++)
            st__fetcher_init(&s.workers[i].fetchers[side], &readings[side]->transfer,
                             (size_t)(s.reach * consumer->sizes[side]));
    st_status status = st__team_share(context, threads, &work, error);
    for (uint32_t i = 0; i < threads; i++)
        for (int side = 0; side < 2; side++)
            st__fetcher_release(&s.workers[i].fetchers[side]);
    st__free(context, s.workers, threads * sizeof *s.workers);
    return status;
}
