/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the statistics share. stats.c checks the request and runs the readings;
 * stats_counts.c counts the codes of dtypes of up to 16 bits, stats_wide.c goes by values; stats_chunk.c and
 * stats_measure.c hold the inner loops, stats_kernels.c what some processors have faster ones for;
 * stats_order.c finds order statistics, stats_values.c what follows from them. */
#ifndef ST_INSPECT_STATS_H
#define ST_INSPECT_STATS_H

#include "file/file.h"

#include <safetensors/inspect.h>

/* Up to so many elements are kept and sorted: one reading, and no tables to clear. */
#define ST__STATS_SMALL 16384u

/* ---------------------------------------------------------------------------- one request */

/* The bins of a histogram. Bin i is [edges[i], edges[i + 1]); the last one has its upper edge in it. */
typedef struct st__bins {
    uint32_t count; /* 0: none wanted, or nothing known of the range yet */
    double low;
    double high;
    double *edges; /* count + 1 of them */
    double width;  /* high - low, or half of it */
    bool halved;   /* where all of it is out of a double's range */
    double scale;  /* bins per unit; 0 where that is too large or too coarse to find a bin by */
} st__bins;

typedef struct st__kernels st__kernels;

typedef struct st__stats_run {
    const st_file *file;
    const st_tensor *tensor;
    st_context *context;
    const st_stats_options *options;
    st__reading *reading;
    const st__kernels *kernels;
    st_kind kind;
    uint32_t bits;
    uint64_t count; /* elements */
    uint64_t total; /* bytes that all readings will deliver */
    atomic_uint_fast64_t done;
    uint32_t workers; /* of the next scan */
    st_stats *out;
    double *quantiles; /* the result's, as are these */
    uint64_t *bin_counts;
    st__bins bins;
} st__stats_run;

/* The two ways; both fill run->out but for what the request itself says. */
st_status st__stats_narrow(st__stats_run *run, st_error *error);
st_status st__stats_wide(st__stats_run *run, st_error *error);

/* Who takes what a reading delivers: whole elements, the first of them number `first`. */
typedef struct st__stats_pass {
    void (*block)(void *ctx, uint32_t worker, uint64_t first, const unsigned char *data,
                  size_t size);
    void *ctx;
} st__stats_pass;

/* How many workers the readings get if each needs `memory` bytes of its own; sets that limit. */
uint32_t st__stats_workers(st__stats_run *run, uint64_t memory);
/* One reading, with progress. */
st_status st__stats_scan(st__stats_run *run, const st__stats_pass *pass, st_error *error);

/* ------------------------------------------------------------------------------- counters */

/* Tables of 32 bits stay in the nearest caches; before one can overflow it is carried over to 64. */
typedef struct st__counters {
    uint32_t *counts;
    uint64_t *carried; /* NULL where no counter can overflow */
    size_t entries;
    uint64_t since; /* counted since the last carry */
} st__counters;

/* `most`: as much as will be counted in all. False where there is no memory. */
bool st__counters_init(st__counters *counters, st_context *context, size_t entries, uint64_t most);
void st__counters_release(st__counters *counters, st_context *context);
/* To be called before counting `count` things, fewer than 2^31 of them. */
void st__counters_expect(st__counters *counters, uint64_t count);
static inline uint64_t st__counters_at(const st__counters *counters, size_t i)
{
    return counters->counts[i] + (counters->carried ? counters->carried[i] : 0);
}

/* ------------------------------------------------------------------------------ quantiles */

/* The order statistics next to a probability, and how far it is from the first to the second. */
typedef struct st__rank {
    uint64_t first;
    uint64_t second;
    double gamma; /* 0 to 1 */
} st__rank;

/* `count` is not 0. */
st__rank st__rank_of(uint64_t count, double probability);
/* Interpolates as NumPy does: from the nearer end. */
double st__rank_mix(double first, double second, double gamma);

/* Sorts by the low `bytes` bytes; `spare` holds as many. */
void st__keys_sort(uint64_t *keys, uint64_t *spare, size_t count, uint32_t bytes);

/* ------------------------------------------------------------------------------ histogram */

/* Sets the range, widened where it is a single point, and computes the edges. */
st_status st__bins_init(st__bins *bins, st__stats_run *run, double low, double high,
                        st_error *error);
void st__bins_release(st__bins *bins, st_context *context);
/* Where values fall: the bins, and what lies outside of them. */
typedef struct st__histogram {
    uint64_t *counts;
    uint64_t below;
    uint64_t above;
} st__histogram;

/* Counts a value that is `times` there, unless it is not finite. */
void st__histogram_add(st__histogram *histogram, const st__bins *bins, double value,
                       uint64_t times);

/* A place clearly inside of a bin, that is so far from its ends, need not be compared with edges: where
 * `scale` is used, rounding moves neither it nor an edge by more than 1/5000 of a bin. */
#define ST__BIN_MARGIN 0.001
/* Counts each of many, neighbours in different tables, so that runs of one bin do not wait for the counter's last
 * store: there are ST__BIN_LANES tables at `counts`, one behind the other. */
#define ST__BIN_LANES 4u
void st__histogram_add_all(st__histogram *histogram, const st__bins *bins,
                           const st__kernels *kernels, const double *values, size_t count);

/* The square root of a number that is not negative. */
double st__square_root(double value);

#endif
