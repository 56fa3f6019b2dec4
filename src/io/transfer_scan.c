/* SPDX-License-Identifier: Apache-2.0 */
/* Delivering blocks in any order from several threads at once. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/team.h"
#include "io/fetcher.h"

typedef struct scan_worker {
    st__fetcher fetcher;
    uint64_t failed; /* the unit that failed; UINT64_MAX: none */
    bool stopped;    /* it was the consumer that failed */
} scan_worker;

typedef struct scan {
    const st__transfer *transfer;
    const st__consumer *consumer;
    scan_worker *workers;
    size_t reach; /* bytes that are read at a time, whole blocks */
} scan;

uint32_t st__transfer_workers(const st__transfer *transfer)
{
    const size_t reach = st__transfer_reach(transfer);
    const uint64_t units = transfer->runs->size / reach;
    uint32_t threads = st__transfer_threads(transfer, st__transfer_work(transfer), reach);
    return units < threads ? (uint32_t)units + 1 : threads;
}

static st_status scan_unit(void *ctx, uint32_t worker, uint64_t unit, st_error *error)
{
    scan *s = ctx;
    const st__consumer *consumer = s->consumer;
    const unsigned char *data;
    uint64_t from = unit * s->reach;
    uint64_t to = from + st__min_u64(s->reach, s->transfer->runs->size - from);
    scan_worker *w = &s->workers[worker];
    st_status status = st__fetcher_range(&w->fetcher, from, to, &data, error);
    for (uint64_t at = from; status == ST_OK && at < to; at += ST__SCAN_BLOCK) {
        size_t size = (size_t)st__min_u64(ST__SCAN_BLOCK, to - at);
        status =
            consumer->block(consumer->ctx, worker, at, data + (size_t)(at - from), size, error);
        w->stopped = status != ST_OK;
    }
    if (status != ST_OK)
        w->failed = unit;
    return status;
}

/* Whether the lowest failure, which is the one that is told, is the consumer's. */
static bool scan_stopped(const scan *s, uint32_t threads)
{
    const scan_worker *lowest = &s->workers[0];
    for (uint32_t i = 1; i < threads; i++)
        if (s->workers[i].failed < lowest->failed)
            lowest = &s->workers[i];
    return lowest->stopped;
}

st_status st__transfer_scan(const st__transfer *transfer, const st__consumer *consumer,
                            bool *stopped, st_error *error)
{
    st_context *context = transfer->context;
    const uint64_t size = transfer->runs->size;
    scan s = {transfer, consumer, NULL, st__transfer_reach(transfer)};
    const st__shared_work work = {size / s.reach + (size % s.reach != 0), scan_unit, &s};
    *stopped = false;
    if (size == 0)
        return ST_OK;
    uint32_t threads = st__transfer_workers(transfer);
    if (consumer->workers && consumer->workers < threads)
        threads = consumer->workers;
    s.workers = st__alloc_zeroed(context, threads, sizeof *s.workers);
    if (!s.workers)
        return st__fail_nomem(error, (uint64_t)threads * sizeof *s.workers);
    for (uint32_t i = 0; i < threads; i++) {
        st__fetcher_init(&s.workers[i].fetcher, transfer, s.reach);
        s.workers[i].failed = UINT64_MAX;
    }
    st_status status = st__team_share(context, threads, &work, error);
    *stopped = scan_stopped(&s, threads);
    for (uint32_t i = 0; i < threads; i++)
        st__fetcher_release(&s.workers[i].fetcher);
    st__free(context, s.workers, threads * sizeof *s.workers);
    return status;
}
