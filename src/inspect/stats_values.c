/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, order statistics, and histograms. */
#include "base/alloc.h"
#include "base/error.h"
#include "inspect/stats_kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__SSE2__)
# include <emmintrin.h>
#endif

/* A test sets this lower to see the carrying. */
#ifndef COUNTERS_CARRY_AT
# define COUNTERS_CARRY_AT UINT32_MAX
#endif

/* ------------------------------------------------------------------------------- counters */

bool st__counters_init(st__counters *counters, st_context *context, size_t entries, uint64_t most)
{
    counters->entries = entries;
    counters->counts = st__alloc_zeroed(context, entries, sizeof *counters->counts);
    if (counters->counts && most > COUNTERS_CARRY_AT)
        counters->carried = st__alloc_zeroed(context, entries, sizeof *counters->carried);
    if (counters->counts && (most <= COUNTERS_CARRY_AT || counters->carried))
        return true;
    st__counters_release(counters, context);
    return false;
}

void st__counters_release(st__counters *counters, st_context *context)
{
    st__free(context, counters->counts, counters->entries * sizeof *counters->counts);
    st__free(context, counters->carried, counters->entries * sizeof *counters->carried);
    *counters = (st__counters){0};
}

void st__counters_expect(st__counters *counters, uint64_t count)
{
    counters->since += count;
    if (!counters->carried || counters->since <= COUNTERS_CARRY_AT)
        return;
    for (size_t i = 0; i < counters->entries; i++)
        counters->carried[i] += counters->counts[i];
    memset(counters->counts, 0, counters->entries * sizeof *counters->counts);
    counters->since = count;
}

/* ------------------------------------------------------------------------------ quantiles */

st__rank st__rank_of(uint64_t count, double probability)
{
    const double last = (double)(count - 1), place = last * probability;
    st__rank rank = {count - 1, count - 1, 0};
    if (place >= last)
        return rank;
    rank.first = (uint64_t)place;
    rank.second = rank.first + 1;
    rank.gamma = place - (double)rank.first;
    return rank;
}

double st__rank_mix(double first, double second, double gamma)
{
    double distance = second - first;
    if (!isfinite(distance)) /* where NumPy says inf */
        return first * (1 - gamma) + second * gamma;
    double value = gamma < 0.5 ? first + distance * gamma : second - distance * (1 - gamma);
    return value + 0.0; /* no negative zero */
}

/* Radix sort by bytes, the lowest first; a byte that is the same in all keys costs no move. */
void st__keys_sort(uint64_t *keys, uint64_t *spare, size_t count, uint32_t bytes)
{
    uint64_t *from = keys, *to = spare;
    for (uint32_t shift = 0; shift < bytes * 8; shift += 8) {
        size_t starts[256] = {0};
        for (size_t i = 0; i < count; i++)
            starts[from[i] >> shift & 0xff]++;
        if (count == 0 || starts[from[0] >> shift & 0xff] == count)
            continue;
        size_t start = 0;
        for (size_t digit = 0; digit < 256; digit++) {
            size_t size = starts[digit];
            starts[digit] = start;
            start += size;
        }
        for (size_t i = 0; i < count; i++)
            to[starts[from[i] >> shift & 0xff]++] = from[i];
        uint64_t *other = from;
        from = to;
        to = other;
    }
    if (from != keys)
        memcpy(keys, from, count * sizeof *keys);
}

/* ------------------------------------------------------------------------------ histogram */

/* Half a unit on either side of a point, as NumPy does, or as much more as a double of its size needs. */
static void bins_widen(double *low, double *high)
{
    const double point = *low;
    double half = 0.5, below = point - half, above = point + half;
    while (below >= above) {
        half *= 2;
        below = point - half;
        above = point + half;
    }
    *low = below < -DBL_MAX ? -DBL_MAX : below;
    *high = above > DBL_MAX ? DBL_MAX : above;
}

/* As numpy.linspace computes them, but where the range is wider than a double is. */
static void bins_edges(st__bins *bins)
{
    const double n = bins->count, width = bins->high - bins->low, step = width / n;
    for (uint32_t i = 0; i < bins->count; i++) {
        if (!isfinite(width))
            bins->edges[i] = bins->low * (1 - i / n) + bins->high * (i / n);
        else
            bins->edges[i] = (step != 0 ? i * step : i / n * width) + bins->low;
    }
    bins->edges[bins->count] = bins->high;
}

st_status st__bins_init(st__bins *bins, st__stats_run *run, double low, double high,
                        st_error *error)
{
    const uint32_t count = run->options->bin_count;
    const size_t size = ((size_t)count + 1) * sizeof *bins->edges;
    if (low == high)
        bins_widen(&low, &high);
    bins->edges = st__alloc(run->context, size);
    if (!bins->edges)
        return st__fail_nomem(error, size);
    bins->count = count;
    bins->low = low + 0.0; /* an edge at zero has no sign */
    bins->high = high + 0.0;
    bins->width = high - low;
    bins->halved = !isfinite(bins->width);
    if (bins->halved)
        bins->width = high / 2 - low / 2;
    double scale = count / bins->width, far = fabs(low) > fabs(high) ? fabs(low) : fabs(high);
    bool plain = !bins->halved && isfinite(scale) && bins->width / count > far * 1e-12;
    bins->scale = plain ? scale : 0;
    bins_edges(bins);
    return ST_OK;
}

void st__bins_release(st__bins *bins, st_context *context)
{
    st__free(context, bins->edges, ((size_t)bins->count + 1) * sizeof *bins->edges);
    bins->edges = NULL;
}

/* A guess, and then what the edges say. Where bins are hardly wider than the distance of two doubles, the
 * guess must be NumPy's own to find the same bin. */
static uint32_t bins_find(const st__bins *bins, double value)
{
    double place = (value - bins->low) * bins->scale;
    if (bins->scale == 0)
        place = (bins->halved ? value / 2 - bins->low / 2 : value - bins->low) / bins->width *
                bins->count;
    uint32_t last = bins->count - 1, i = place < last ? (uint32_t)(int32_t)place : last;
    if (i > 0 && value < bins->edges[i])
        i--;
    if (i < last && value >= bins->edges[i + 1])
        i++;
    return i;
}

void st__histogram_add(st__histogram *histogram, const st__bins *bins, double value, uint64_t times)
{
    if (value >= bins->low && value <= bins->high)
        histogram->counts[bins_find(bins, value)] += times;
    else if (value < bins->low && value >= -DBL_MAX)
        histogram->below += times;
    else if (value > bins->high && value <= DBL_MAX)
        histogram->above += times;
}

void st__histogram_add_all(st__histogram *histogram, const st__bins *bins,
                           const st__kernels *kernels, const double *values, size_t count)
{
    const double low = bins->low, scale = bins->scale, end = bins->count;
    uint64_t *counts = histogram->counts;
    size_t i = kernels->bins ? kernels->bins(histogram, bins, values, count) : 0;
    for (; i < count; i++) {
        double place = (values[i] - low) * scale;
        if (place > 0 && place < end) {
            int32_t bin = (int32_t)place;
            double within = place - bin;
            if (within > ST__BIN_MARGIN && within < 1 - ST__BIN_MARGIN) {
                counts[i % ST__BIN_LANES * bins->count + (uint32_t)bin]++;
                continue;
            }
        }
        st__histogram_add(histogram, bins, values[i], 1);
    }
}

/* ------------------------------------------------------------------------------------ root */

/* The C library's sqrt is in a library of its own, which nothing else here needs. */
double st__square_root(double value)
{
#if defined(__SSE2__)
    const __m128d v = _mm_set_sd(value);
    return _mm_cvtsd_f64(_mm_sqrt_sd(v, v));
#else
    if (!(value > 0) || value > DBL_MAX)
        return value;
    double scale = 1;
    for (; value < 0x1p-100; value *= 0x1p100)
        scale *= 0x1p-50;
    for (; value >= 0x1p100; value *= 0x1p-100)
        scale *= 0x1p50;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits >> 1) + (UINT64_C(0x3ff) << 51); /* halves the exponent: right to 6 % */
    double root;
    memcpy(&root, &bits, sizeof root);
    for (int i = 0; i < 5; i++) /* Newton: each step doubles the right digits */
        root = 0.5 * (root + value / root);
    return root * scale;
#endif
}
