/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of two tensors in lockstep, and the values of those blocks whose bytes differ. What a block comes to is
 * joined by rules for which the order does not matter, but for the sums: they are kept by block, and added in
 * the blocks' order. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "inspect/compare.h"

#include <math.h>
#include <string.h>

/* Elements whose errors have a sum of their own; whole bytes of any dtype, whole pages. */
#define BLOCK_ELEMENTS UINT64_C(16384)
#define COMPARERS_MAX  64u
/* Bytes that make another thread worth its start. */
#define COMPARER_SHARE (UINT64_C(1) << 20)

/* ------------------------------------------------------------------------------- comparer */

st_status st__comparer_init(st__comparer *comparer, uint64_t bytes, st_error *error)
{
    const uint64_t memory = st__context_memory(comparer->context);
    uint64_t workers = st__context_threads(comparer->context);
    workers = st__min_u64(workers, COMPARERS_MAX);
    workers = st__min_u64(workers, bytes / COMPARER_SHARE + 1);
    workers = st__min_u64(workers, memory / 4 / sizeof *comparer->workers + 1);
    comparer->worker_count = (uint32_t)workers;
    comparer->workers =
        st__alloc(comparer->context, comparer->worker_count * sizeof *comparer->workers);
    if (!comparer->workers)
        return st__fail_nomem(error, workers * sizeof *comparer->workers);
    return ST_OK;
}

void st__comparer_release(st__comparer *comparer)
{
    st__free(comparer->context, comparer->workers,
             comparer->worker_count * sizeof *comparer->workers);
    comparer->workers = NULL;
}

st_status st__comparer_tell(st__comparer *comparer, uint32_t worker, uint64_t size, st_error *error)
{
    uint64_t done = size + atomic_fetch_add_explicit(&comparer->done, size, memory_order_relaxed);
    const st_progress *progress = &comparer->progress;
    if (worker != 0 || !progress->fn ||
        progress->fn(progress->ctx, st__min_u64(done, comparer->total), comparer->total))
        return ST_OK;
    return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the comparing was stopped",
                    comparer->name);
}

/* ------------------------------------------------------------------------------- one pair */

typedef struct pair_run {
    st__comparer *comparer;
    const st__comparing *comparing;
    st__pair_team team;
    uint64_t count;   /* elements, or bytes of an unknown dtype */
    uint64_t size[2]; /* bytes of a block */
    double *sums;     /* one per block */
    size_t blocks;
    bool brief;
    atomic_bool found; /* a difference, and no more is asked for */
} pair_run;

static st_status block_values(pair_run *run, st__compare_worker *w, uint64_t number,
                              const st_bytes sides[2])
{
    const st__comparing *c = run->comparing;
    const uint64_t first = number * BLOCK_ELEMENTS;
    const size_t count = (size_t)st__min_u64(BLOCK_ELEMENTS, run->count - first);
    double sum = 0;
    for (size_t i = 0; i < count; i += ST__COMPARE_CHUNK) {
        const size_t n = count - i < ST__COMPARE_CHUNK ? count - i : ST__COMPARE_CHUNK;
        const unsigned char *data[2];
        for (int side = 0; side < 2; side++)
            data[side] = (const unsigned char *)sides[side].data + i * c->operands[side].bits / 8;
        sum += st__chunk_compare(c, &w->room, data, n, &w->tally, first + i);
    }
    run->sums[(size_t)number] = sum;
    if (!run->brief || st__tally_same(c, &w->tally))
        return ST_OK;
    atomic_store_explicit(&run->found, true, memory_order_relaxed);
    return ST_ERR_STOPPED;
}

/* That a pair is known to differ ends its scan like a failure would. */
static st_status pair_block(void *ctx, uint32_t worker, uint64_t number, const st_bytes sides[2],
                            st_error *error)
{
    pair_run *run = ctx;
    worker += run->team.first;
    if (atomic_load_explicit(&run->found, memory_order_relaxed))
        return ST_ERR_STOPPED;
    bool same =
        run->comparing->same_dtype && memcmp(sides[0].data, sides[1].data, sides[0].size) == 0;
    if (!same)
        ST_TRY(block_values(run, &run->comparer->workers[worker], number, sides));
    return st__comparer_tell(run->comparer, worker, (uint64_t)sides[0].size + sides[1].size, error);
}

static st_status pair_scan_run(pair_run *run, st__reading *const readings[2], st_error *error)
{
    const st__pair_consumer consumer = {
        .sizes = {run->size[0], run->size[1]}, .block = pair_block, .ctx = run};
    uint32_t threads =
        st__reading_pair_workers(readings, run->size, sizeof *run->comparer->workers);
    threads = threads < run->team.count ? threads : run->team.count;
    for (uint32_t i = 0; i < run->team.count; i++)
        st__tally_init(&run->comparer->workers[run->team.first + i].tally);
    st_error why; /* a pair known to differ is none */
    st_status status = st__reading_scan_pair(readings, threads, &consumer, &why);
    if (status == ST_ERR_STOPPED && atomic_load_explicit(&run->found, memory_order_relaxed))
        return ST_OK;
    if (status != ST_OK && error)
        *error = why;
    return status;
}

static st_status pair_read(pair_run *run, const st__pair *pair, st_error *error)
{
    st__reading a, b;
    st__reading *const readings[2] = {&a, &b};
    ST_TRY(st__reading_open(&a, pair->sides[0]->file, pair->sides[0]->tensor, NULL, error));
    st_status status =
        st__reading_open(&b, pair->sides[1]->file, pair->sides[1]->tensor, NULL, error);
    if (status == ST_OK) {
        status = pair_scan_run(run, readings, error);
        status = st__reading_close(&b, status, error);
    }
    return st__reading_close(&a, status, error);
}

/* Joins what workers and blocks came to. */
static void pair_result(const pair_run *run, st_deviation *out)
{
    const st__comparing *c = run->comparing;
    st__tally all;
    double sum = 0;
    st__tally_init(&all);
    for (uint32_t i = 0; i < run->team.count; i++)
        st__tally_add(&all, &run->comparer->workers[run->team.first + i].tally);
    for (size_t i = 0; i < run->blocks; i++)
        sum += run->sums[i];
    const uint64_t measured = run->count - all.nan[0] - all.nan[1] - all.nan_both - all.infinite;
    const bool bytes = c->form == ST__COMPARE_BYTES;
    const bool integers =
        !bytes && c->operands[0].kind <= ST_KIND_INT && c->operands[1].kind <= ST_KIND_INT;
    *out = (st_deviation){
        .count = run->count,
        .different = all.different,
        .beyond = all.beyond,
        .nan_a = all.nan[0],
        .nan_b = all.nan[1],
        .nan_both = all.nan_both,
        .infinite = all.infinite,
        .first = all.first,
        .max_absolute = all.absolute.value,
        .max_absolute_at = all.absolute.at,
        .mean_absolute = measured && !bytes ? sum / (double)measured : NAN,
        .max_relative = all.relative.value,
        .max_relative_at = all.relative.at,
        .flags = bytes ? ST_DEVIATION_BYTES : 0,
        .same = st__tally_same(c, &all),
    };
    if (c->form == ST__COMPARE_INTEGERS)
        out->max_integer = all.absolute.integer;
    else if (integers)
        out->max_integer = (uint64_t)all.absolute.value;
}

st_status st__pair_compare(st__comparer *comparer, const st__pair *pair, st__pair_team team,
                           st_deviation *out, st_error *error)
{
    const st_tensor *a = pair->sides[0]->tensor, *b = pair->sides[1]->tensor;
    st__comparing comparing;
    size_t len;
    pair_run run = {.comparer = comparer,
                    .comparing = &comparing,
                    .team = team,
                    .brief = pair->options->flags & ST_COMPARE_BRIEF};
    atomic_init(&run.found, false);
    /* Unknown dtypes may have two numbers and yet be the same. */
    const bool unknown = a->dtype >= ST_DTYPE_UNKNOWN;
    st__comparing_init(&comparing, a->dtype, unknown ? a->dtype : b->dtype, pair->options);
    run.count = unknown ? st_tensor_size(a) : st_tensor_count(a);
    for (int side = 0; side < 2; side++)
        run.size[side] = BLOCK_ELEMENTS * comparing.operands[side].bits / 8;
    const uint64_t blocks = run.count / BLOCK_ELEMENTS + (run.count % BLOCK_ELEMENTS != 0);
    if (!st__u64_to_size(blocks, &run.blocks) || !st__mul_size(run.blocks, sizeof *run.sums, &len))
        return st__fail_nomem(error, UINT64_MAX);
    run.sums = st__alloc_zeroed(comparer->context, run.blocks, sizeof *run.sums);
    if (!run.sums)
        return st__fail_nomem(error, len);
    st_status status = pair_read(&run, pair, error);
    if (status == ST_OK)
        pair_result(&run, out);
    st__free(comparer->context, run.sums, len);
    return status;
}
