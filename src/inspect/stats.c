/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics of a tensor: the request, the readings, the result. */
#include "inspect/stats_chunk.h"
#include "inspect/stats_kernels.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static st_status stats_fail(const st_file *file, const st_tensor *tensor, st_status status,
                            const char *text, st_error *error)
{
    return st__fail(error, status, ST_NO_OFFSET, "%s: tensor %s: %s", st_file_name(file),
                    st__quote(tensor->name, tensor->name_len).text, text);
}

/* ------------------------------------------------------------------------------- request */

/* NaN is refused by asking what must hold, not what must not. */
static st_status stats_options_check(const st_stats_options *o, st_error *error)
{
    ST_TRY(st__reserved_check(o->reserved, sizeof o->reserved / sizeof *o->reserved,
                              "st_stats_options", error));
    if (o->quantile_count > ST_QUANTILES_MAX || (o->quantile_count && !o->quantiles))
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_stats_options: %" PRIu32 " quantiles%s; at most %d", o->quantile_count,
                        o->quantiles ? "" : " in no array", ST_QUANTILES_MAX);
    for (uint32_t i = 0; i < o->quantile_count; i++)
        if (!(o->quantiles[i] >= 0 && o->quantiles[i] <= 1))
            return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                            "st_stats_options: quantile %" PRIu32
                            " is %g; probabilities lie between 0 and 1",
                            i, o->quantiles[i]);
    if (o->bin_count > ST_BINS_MAX)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_stats_options: %" PRIu32 " bins; at most %d", o->bin_count,
                        ST_BINS_MAX);
    if (o->bin_count && !(o->low <= o->high && isfinite(o->low) && isfinite(o->high)))
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_stats_options: the range of the histogram is %g to %g; it must be "
                        "finite, and not fall",
                        o->low, o->high);
    return ST_OK;
}

/* ------------------------------------------------------------------------------- readings */

uint32_t st__stats_workers(st__stats_run *run, uint64_t memory)
{
    uint64_t workers = st__reading_workers(run->reading);
    uint64_t most = st__context_memory(run->context) / 2 / memory;
    workers = st__min_u64(workers, most);
    workers = workers ? workers : 1;
    run->workers = (uint32_t)workers;
    return run->workers;
}

typedef struct stats_scanner {
    st__stats_run *run;
    const st__stats_pass *pass;
} stats_scanner;

static st_status stats_tell(st__stats_run *run, uint64_t done, st_error *error)
{
    const st_progress *progress = &run->options->progress;
    if (!progress->fn || progress->fn(progress->ctx, done, run->total))
        return ST_OK;
    return stats_fail(run->file, run->tensor, ST_ERR_STOPPED, "stopped by the caller", error);
}

static st_status stats_block(void *ctx, uint32_t worker, uint64_t offset, const void *data,
                             size_t size, st_error *error)
{
    const stats_scanner *scanner = ctx;
    st__stats_run *run = scanner->run;
    /* Eight elements of any dtype fill whole bytes, and offset is a multiple of their size. */
    scanner->pass->block(scanner->pass->ctx, worker, offset / run->bits * 8, data, size);
    uint64_t done = size + atomic_fetch_add_explicit(&run->done, size, memory_order_relaxed);
    return worker == 0 ? stats_tell(run, done, error) : ST_OK;
}

st_status st__stats_scan(st__stats_run *run, const st__stats_pass *pass, st_error *error)
{
    stats_scanner scanner = {run, pass};
    const st__consumer consumer = {stats_block, &scanner, run->workers};
    return st__reading_scan(run->reading, &consumer, error);
}

/* --------------------------------------------------------------------------------- result */

/* One block: the quantiles, then the bins. */
static st_status stats_result_init(st_stats *out, const st_stats_options *o, st_error *error)
{
    size_t quantiles = o->quantile_count * sizeof(double);
    out->quantile_count = o->quantile_count;
    out->bin_count = o->bin_count;
    out->memory_size = quantiles + o->bin_count * sizeof(uint64_t);
    if (!out->memory_size)
        return ST_OK;
    out->memory = st__alloc_zeroed(out->context, out->memory_size, 1);
    if (!out->memory)
        return st__fail_nomem(error, out->memory_size);
    unsigned char *memory = out->memory;
    if (o->quantile_count)
        out->quantiles = (const double *)(void *)memory;
    if (o->bin_count)
        out->bins = (const uint64_t *)(void *)(memory + quantiles);
    return ST_OK;
}

/* What holds of a tensor without finite values; the rest is zero already. */
static void stats_result_blank(st__stats_run *run)
{
    st_stats *out = run->out;
    out->dtype = run->tensor->dtype;
    out->count = run->count;
    out->mean = NAN;
    out->std = NAN;
    for (uint32_t i = 0; i < out->quantile_count; i++)
        run->quantiles[i] = NAN;
}

static bool stats_range_given(const st_stats_options *o)
{
    return o->low != 0 || o->high != 0;
}

/* Whether to count codes. Where no table of them is asked for, values of 16 bits and integers are measured
 * faster than counted. */
static bool stats_counting(const st__stats_run *run)
{
    const bool plain = !run->options->quantile_count && !run->options->bin_count;
    return run->bits <= 16 && !(plain && st__number_of(run->tensor->dtype) != ST__NUMBER_NONE);
}

static st_status stats_run_all(st__stats_run *run, st_error *error)
{
    const st_stats_options *o = run->options;
    stats_result_blank(run);
    if (o->bin_count && stats_range_given(o))
        ST_TRY(st__bins_init(&run->bins, run, o->low, o->high, error));
    ST_TRY(stats_counting(run) ? st__stats_narrow(run, error) : st__stats_wide(run, error));
    /* Nothing finite, so nothing to find a range from: NumPy takes 0 to 1 for it. */
    if (o->bin_count && !run->bins.count)
        ST_TRY(st__bins_init(&run->bins, run, 0, 1, error));
    run->out->low = run->bins.low;
    run->out->high = run->bins.high;
    return stats_tell(run, atomic_load_explicit(&run->done, memory_order_relaxed), error);
}

static st_status stats_run_reading(st__stats_run *run, const st_region *region, st_error *error)
{
    st__reading reading;
    ST_TRY(st__reading_open(&reading, run->file, run->tensor, region, error));
    run->reading = &reading;
    st_status status = stats_run_all(run, error);
    st__bins_release(&run->bins, run->context);
    return st__reading_close(&reading, status, error);
}

st_status st_stats_read(const st_file *file, const st_tensor *tensor, const st_region *region,
                        const st_stats_options *options, st_stats *out, st_error *error)
{
    static const st_stats_options defaults = {0};
    if (!options)
        options = &defaults;
    ST_TRY(stats_options_check(options, error));
    uint32_t bits = st_dtype_bits(tensor->dtype);
    if (!bits)
        return stats_fail(file, tensor, ST_ERR_DTYPE_UNKNOWN,
                          "its dtype is unknown, and so what its bytes stand for", error);
    st_stats stats = {.context = file->context};
    st__stats_run run = {
        .file = file,
        .tensor = tensor,
        .context = file->context,
        .options = options,
        .kernels = st__kernels_here(),
        .kind = st_dtype_kind(tensor->dtype),
        .bits = bits,
        .count = region ? region->count : st_tensor_count(tensor),
        .out = &stats,
    };
    atomic_init(&run.done, 0);
    st_status status = stats_result_init(&stats, options, error);
    run.quantiles = (double *)(uintptr_t)stats.quantiles;
    run.bin_counts = (uint64_t *)(uintptr_t)stats.bins;
    if (status == ST_OK)
        status = stats_run_reading(&run, region, error);
    if (status != ST_OK) {
        st__free(stats.context, stats.memory, stats.memory_size);
        return st__error_locate(error, status, st_file_name(file), tensor);
    }
    if (stats.context)
        (void)st_context_retain(stats.context);
    *out = stats;
    return ST_OK;
}

void st_stats_release(st_stats *stats)
{
    if (!stats)
        return;
    st__free(stats->context, stats->memory, stats->memory_size);
    st_context_release(stats->context);
    memset(stats, 0, sizeof *stats);
}
