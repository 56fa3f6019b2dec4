/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics by values, of dtypes of 32 and 64 bits and of others that need no quantiles and no histogram:
 * measured by one reading; what quantiles and histogram need of further ones. Results per block are joined in
 * the blocks' order, so that they are the same whatever the number of threads. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "inspect/stats_measure.h"
#include "inspect/stats_order.h"

#include <string.h>

typedef struct wide_worker {
    double values[ST__CHUNK];
    double absolutes[ST__CHUNK]; /* of C64 */
    st__measure measure;
    uint64_t least; /* keys, of 64-bit integers only: theirs are not those of rounded values */
    uint64_t most;
    st__histogram histogram;
} wide_worker;

typedef struct wide {
    st__stats_run *run;
    st__number number;
    uint32_t workers;
    wide_worker *worker;
    uint64_t *bin_counts; /* of all workers */
    st__moments *blocks;
    size_t block_count;
    uint64_t *keys; /* of a small tensor, and room to sort them */
    st__order order;
    bool measuring; /* the first reading */
    bool ordering;  /* keys are counted */
    bool binning;   /* values are put into bins */
} wide;

/* --------------------------------------------------------------------------------- reading */

static bool wide_integer(const wide *w)
{
    return w->run->kind != ST_KIND_FLOAT && w->run->kind != ST_KIND_COMPLEX;
}

static bool wide_rounded(const wide *w)
{
    return w->number == ST__NUMBER_I64 || w->number == ST__NUMBER_U64;
}

static void wide_range(const wide *w, wide_worker *mine, const unsigned char *data, size_t count)
{
    uint64_t least = mine->least, most = mine->most;
    for (size_t i = 0; i < count; i++) {
        uint64_t key = st__key_at(w->number, data, i);
        least = key < least ? key : least;
        most = key > most ? key : most;
    }
    mine->least = least;
    mine->most = most;
}

static void wide_chunk(wide *w, uint32_t worker, uint64_t first, const unsigned char *data,
                       size_t count, st__moments *moments)
{
    wide_worker *mine = &w->worker[worker];
    const st__kernels *kernels = w->run->kernels;
    if (w->run->kind == ST_KIND_COMPLEX) {
        st__chunk_absolutes(data, count, mine->absolutes);
        data = (const unsigned char *)mine->absolutes;
    }
    if (w->binning) {
        st__chunk_values(w->number, data, count, mine->values);
        st__histogram_add_all(&mine->histogram, &w->run->bins, kernels, mine->values, count);
    }
    if (w->measuring) {
        const st__measuring how = {kernels, w->number, mine->values};
        st__chunk_measure(&how, data, count, &mine->measure, moments);
    }
    if (w->measuring && wide_rounded(w))
        wide_range(w, mine, data, count);
    if (w->keys)
        st__chunk_keys(w->number, data, count, w->keys + (size_t)first);
    else if (w->ordering)
        st__order_count(&w->order, worker, data, count);
}

static void wide_block(void *ctx, uint32_t worker, uint64_t first, const unsigned char *data,
                       size_t size)
{
    wide *w = ctx;
    const uint32_t bytes = w->run->bits / 8;
    const size_t count = size / bytes;
    st__moments moments = {0};
    for (size_t i = 0; i < count; i += ST__CHUNK) {
        size_t n = count - i < ST__CHUNK ? count - i : ST__CHUNK;
        wide_chunk(w, worker, first + i, data + i * bytes, n, &moments);
    }
    if (w->measuring)
        w->blocks[(size_t)(first / (ST__SCAN_BLOCK / bytes))] = moments;
}

/* -------------------------------------------------------------------------------- results */

static st_value wide_value(const wide *w, uint64_t key)
{
    double value = st__key_value(w->number, key);
    st_value result = {.kind = w->run->kind};
    switch (w->run->kind) {
    case ST_KIND_INT:
        result.as.i =
            w->number == ST__NUMBER_I64 ? (int64_t)(key ^ (uint64_t)INT64_MIN) : (int64_t)value;
        break;
    case ST_KIND_UINT: result.as.u = w->number == ST__NUMBER_U64 ? key : (uint64_t)value; break;
    default: result.kind = ST_KIND_FLOAT; result.as.f[0] = value + 0.0; /* no negative zero */
    }
    return result;
}

/* Joins what the workers and the blocks gave; sets the range of keys. */
static void wide_measured(wide *w)
{
    st_stats *out = w->run->out;
    st__measure sum;
    st__moments moments = {0};
    wide_worker *range = &w->worker[0];
    st__measure_init(&sum);
    for (uint32_t i = 0; i < w->workers; i++) {
        st__measure_add(&sum, &w->worker[i].measure);
        range->least = w->worker[i].least < range->least ? w->worker[i].least : range->least;
        range->most = w->worker[i].most > range->most ? w->worker[i].most : range->most;
    }
    for (size_t i = 0; i < w->block_count; i++)
        st__moments_add(&moments, &w->blocks[i]);
    out->finite = sum.finite;
    out->nan = sum.nan;
    out->positive_infinity = sum.positive_infinity;
    out->negative_infinity = sum.negative_infinity;
    out->zeros = sum.zeros;
    out->negatives = sum.negatives;
    if (!sum.finite)
        return;
    out->mean = moments.mean;
    out->std = st__square_root(moments.squares / (double)moments.count);
    if (!wide_rounded(w)) {
        range->least = st__key_of(w->number, sum.min == 0 ? -0.0 : sum.min);
        range->most = st__key_of(w->number, sum.max);
    }
    out->min = wide_value(w, range->least);
    out->max = wide_value(w, range->most);
}

static st_status wide_bins_find(wide *w, st_error *error)
{
    st__stats_run *run = w->run;
    if (!run->options->bin_count || run->bins.count || !run->out->finite)
        return ST_OK;
    return st__bins_init(&run->bins, run, st__key_value(w->number, w->worker[0].least),
                         st__key_value(w->number, w->worker[0].most), error);
}

static void wide_bins_join(wide *w)
{
    st__stats_run *run = w->run;
    for (uint32_t i = 0; i < w->workers; i++) {
        const st__histogram *h = &w->worker[i].histogram;
        const uint32_t bins = run->options->bin_count;
        for (uint32_t k = 0; k < bins * ST__BIN_LANES; k++)
            run->bin_counts[k % bins] += h->counts[k];
        run->out->below += h->below;
        run->out->above += h->above;
    }
}

/* Interpolates between two keys. The distance of integers is taken before it is rounded. */
static double wide_mix(const wide *w, uint64_t first, uint64_t second, double gamma)
{
    double low = st__key_value(w->number, first), high = st__key_value(w->number, second);
    if (!wide_integer(w))
        return st__rank_mix(low, high, gamma);
    double distance = (double)(second - first);
    return gamma < 0.5 ? low + distance * gamma : high - distance * (1 - gamma);
}

/* ------------------------------------------------------------------------------ small tensors */

/* All keys are there: sorted, those that count lie between the least and the most. */
static st_status wide_small_finish(wide *w, st_error *error)
{
    st__stats_run *run = w->run;
    const size_t count = (size_t)run->count, finite = (size_t)run->out->finite;
    size_t from = 0;
    st__keys_sort(w->keys, w->keys + count, count, st__number_size(w->number));
    while (from + finite < count && w->keys[from] < w->worker[0].least)
        from++;
    const uint64_t *keys = w->keys + from;
    for (uint32_t i = 0; i < run->options->quantile_count; i++) {
        st__rank rank = st__rank_of(finite, run->options->quantiles[i]);
        run->quantiles[i] = wide_mix(w, keys[rank.first], keys[rank.second], rank.gamma);
    }
    if (!run->options->bin_count || run->bins.count)
        return ST_OK;
    ST_TRY(wide_bins_find(w, error));
    for (size_t i = 0; i < finite; i++)
        st__histogram_add(&w->worker[0].histogram, &run->bins, st__key_value(w->number, keys[i]),
                          1);
    return ST_OK;
}

/* ------------------------------------------------------------------------------- all others */

/* Sets how much all readings deliver, when so many are still to come. */
static void wide_plan(wide *w, uint32_t readings)
{
    st__stats_run *run = w->run;
    run->total =
        atomic_load_explicit(&run->done, memory_order_relaxed) + readings * run->reading->runs.size;
}

static void wide_quantiles(wide *w)
{
    st__stats_run *run = w->run;
    for (uint32_t i = 0; i < run->options->quantile_count; i++) {
        st__rank rank = st__rank_of(run->out->finite, run->options->quantiles[i]);
        run->quantiles[i] = wide_mix(w, st__order_key(&w->order, rank.first),
                                     st__order_key(&w->order, rank.second), rank.gamma);
    }
}

/* The further readings. */
static st_status wide_go_on(wide *w, const st__stats_pass *pass, st_error *error)
{
    st__stats_run *run = w->run;
    w->binning = run->options->bin_count && !run->bins.count;
    ST_TRY(wide_bins_find(w, error));
    if (w->ordering)
        ST_TRY(st__order_start(&w->order, w->worker[0].least, w->worker[0].most, error));
    for (;;) {
        uint32_t readings = w->ordering ? st__order_readings(&w->order) : 0;
        w->ordering = readings > 0;
        readings = readings ? readings : w->binning;
        wide_plan(w, readings);
        if (!readings)
            return ST_OK;
        ST_TRY(st__stats_scan(run, pass, error));
        w->binning = false;
        if (w->ordering)
            ST_TRY(st__order_go_on(&w->order, error));
    }
}

/* --------------------------------------------------------------------------------- request */

static st_status wide_init(wide *w, st_error *error)
{
    st__stats_run *run = w->run;
    const uint64_t size = run->reading->runs.size;
    const st_stats_options *o = run->options;
    const bool small = run->count <= ST__STATS_SMALL;
    w->measuring = true;
    w->binning = run->bins.count != 0;
    w->ordering = o->quantile_count && !small;
    const bool sorting = small && (o->quantile_count || (o->bin_count && !w->binning));
    const size_t bins = (size_t)o->bin_count * ST__BIN_LANES,
                 order_size = w->ordering ? sizeof(uint32_t) << 16 : 0;
    w->workers =
        st__stats_workers(run, sizeof *w->worker + bins * sizeof *w->bin_counts + order_size);
    const uint64_t blocks = size / ST__SCAN_BLOCK + 1, keys = sorting ? 2 * run->count : 0;
    if (!st__u64_to_size(blocks, &w->block_count))
        return st__fail_nomem(error, blocks * sizeof *w->blocks);
    w->worker = st__alloc(run->context, w->workers * sizeof *w->worker);
    w->blocks = st__alloc_zeroed(run->context, w->block_count, sizeof *w->blocks);
    w->bin_counts = st__alloc_zeroed(run->context, w->workers * bins, sizeof *w->bin_counts);
    if (sorting)
        w->keys = st__alloc(run->context, (size_t)keys * sizeof *w->keys);
    if (!w->worker || !w->blocks || !w->bin_counts || (sorting && !w->keys))
        return st__fail_nomem(
            error, w->workers * (sizeof *w->worker + (uint64_t)bins * sizeof *w->bin_counts) +
                       blocks * sizeof *w->blocks + keys * sizeof *w->keys);
    for (uint32_t i = 0; i < w->workers; i++) {
        st__measure_init(&w->worker[i].measure);
        w->worker[i].least = UINT64_MAX;
        w->worker[i].most = 0;
        w->worker[i].histogram = (st__histogram){.counts = w->bin_counts + i * bins};
    }
    if (w->ordering)
        return st__order_init(&w->order, run, w->number, w->workers, error);
    return ST_OK;
}

static void wide_release(wide *w)
{
    st__stats_run *run = w->run;
    st__free(run->context, w->worker, w->workers * sizeof *w->worker);
    st__free(run->context, w->blocks, w->block_count * sizeof *w->blocks);
    st__free(run->context, w->bin_counts,
             w->workers * (size_t)run->options->bin_count * ST__BIN_LANES * sizeof *w->bin_counts);
    st__free(run->context, w->keys, 2 * (size_t)run->count * sizeof *w->keys);
    st__order_release(&w->order);
}

static st_status wide_run(wide *w, st_error *error)
{
    st__stats_run *run = w->run;
    const st_stats_options *o = run->options;
    const st__stats_pass pass = {wide_block, w};
    uint32_t more = o->bin_count && !run->bins.count;
    if (o->quantile_count)
        more = st__number_size(w->number) == 4 ? 1 : 3;
    wide_plan(w, 1 + (w->keys ? 0 : more));
    ST_TRY(st__stats_scan(run, &pass, error));
    wide_measured(w);
    w->measuring = false;
    w->binning = false;
    if (run->out->finite && w->keys)
        ST_TRY(wide_small_finish(w, error));
    if (run->out->finite && !w->keys)
        ST_TRY(wide_go_on(w, &pass, error));
    if (run->out->finite && !w->keys)
        wide_quantiles(w);
    wide_bins_join(w);
    return ST_OK;
}

st_status st__stats_wide(st__stats_run *run, st_error *error)
{
    wide w = {.run = run, .number = st__number_of(run->tensor->dtype)};
    st_status status = wide_init(&w, error);
    if (status == ST_OK)
        status = wide_run(&w, error);
    wide_release(&w);
    return status;
}
