/* SPDX-License-Identifier: Apache-2.0 */
/* Files of one tensor in memory, and what their statistics must be, computed the slow way: each element
 * decoded by itself, all of them sorted. */
#ifndef TESTS_INSPECT_STATS_SAMPLE_H
#define TESTS_INSPECT_STATS_SAMPLE_H

#include <safetensors/inspect.h>

#include "support/check.h"
#include "support/random.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct stats_sample {
    unsigned char *bytes; /* the file */
    size_t size;
    unsigned char *data; /* the tensor, in the file */
    size_t data_size;
    st_dtype dtype;
    uint64_t count;
} stats_sample;

/* A tensor "t" of zeros. */
static inline stats_sample stats_sample_new(st_dtype dtype, uint64_t count)
{
    stats_sample sample = {.dtype = dtype, .count = count};
    char header[256];
    sample.data_size = (size_t)(count * st_dtype_bits(dtype) / 8);
    int len =
        snprintf(header, sizeof header,
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[%" PRIu64 "],\"data_offsets\":[0,%zu]}}",
                 st_dtype_code(dtype), count, sample.data_size);
    sample.size = 8 + (size_t)len + sample.data_size;
    sample.bytes = calloc(sample.size, 1);
    assert_non_null(sample.bytes);
    sample.bytes[0] = (unsigned char)len;
    memcpy(sample.bytes + 8, header, (size_t)len);
    sample.data = sample.bytes + 8 + len;
    return sample;
}

static inline void stats_sample_free(stats_sample *sample)
{
    free(sample->bytes);
}

/* Numbers around 0, of both signs, most of them different. */
static inline void stats_sample_normal(stats_sample *sample, double scale)
{
    uint64_t state = 1;
    for (uint64_t i = 0; i < sample->count; i++) {
        double sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (double)(random_step(&state) >> 11) * 0x1p-53 - 0.5;
        st_value value = {.kind = ST_KIND_COMPLEX, .as = {.f = {sum * scale, sum * sum}}};
        st_element_encode(sample->dtype, sample->data, i, &value);
    }
}

/* Any bits: NaN, infinities, subnormals, zeros of both signs. Of F64 only numbers whose squares a double
 * can hold, and those. */
static inline void stats_sample_bits(stats_sample *sample, uint64_t seed)
{
    uint64_t state = seed;
    for (size_t i = 0; i < sample->data_size; i++)
        sample->data[i] = (unsigned char)random_step(&state);
    for (uint64_t i = 0; sample->dtype == ST_F64 && i < sample->count; i++) {
        unsigned char *p = sample->data + 8 * i;
        unsigned exponent = (unsigned)p[7] << 8 | p[6];
        unsigned plain = (exponent & 0x800f) | (1023 - 200 + (exponent >> 4) % 400) << 4;
        switch (random_step(&state) % 16) {
        case 0: plain = exponent | 0x7ff0; break;
        case 1: plain = exponent & 0x800f; break;
        case 2: memset(p, 0, 6), plain = exponent & 0x8000; break;
        case 3: memset(p, 0, 6), plain = (exponent & 0x8000) | 0x7ff0; break;
        default: break;
        }
        p[7] = (unsigned char)(plain >> 8);
        p[6] = (unsigned char)plain;
    }
}

static inline st_file *stats_sample_open(const stats_sample *sample, st_context *context)
{
    st_file *file = NULL;
    st_memory memory = {.data = sample->bytes, .size = sample->size};
    st_open_options options = {.context = context};
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    return file;
}

static inline const st_tensor *stats_sample_tensor(const st_file *file)
{
    const st_tensor *tensor = st_file_find(file, "t", 1);
    assert_non_null(tensor);
    return tensor;
}

static inline st_context *stats_context(uint32_t threads, uint64_t memory)
{
    st_context *context = NULL;
    st_context_options options = {.max_threads = threads, .max_memory = memory};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

/* ---------------------------------------------------------------------------------- oracle */

/* One finite element. Integers are compared as such: `key` rises with them. */
typedef struct oracle_item {
    double value;
    uint64_t key;
} oracle_item;

typedef struct oracle {
    st_stats stats;
    oracle_item *items;
    bool integer;
    double mean_slack; /* how far a mean may be off */
    double std_slack;
} oracle;

static inline int oracle_compare(const void *a, const void *b)
{
    const oracle_item *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key;
}

static inline double oracle_magnitude(const st_value *value)
{
    if (isnan(value->as.f[0]) || isnan(value->as.f[1]))
        return NAN;
    return hypot(value->as.f[0], value->as.f[1]);
}

static inline void oracle_take(oracle *o, const st_value *value)
{
    oracle_item item = {0};
    st_stats *s = &o->stats;
    switch (value->kind) {
    case ST_KIND_BOOL: item.key = value->as.u != 0, item.value = (double)item.key; break;
    case ST_KIND_UINT: item.key = value->as.u, item.value = (double)value->as.u; break;
    case ST_KIND_INT:
        item.key = (uint64_t)value->as.i + UINT64_C(0x8000000000000000);
        item.value = (double)value->as.i;
        break;
    case ST_KIND_FLOAT: item.value = value->as.f[0]; break;
    default: item.value = oracle_magnitude(value);
    }
    s->count++;
    s->zeros += item.value == 0;
    s->negatives += item.value < 0;
    if (isnan(item.value))
        s->nan++;
    else if (isinf(item.value))
        *(item.value < 0 ? &s->negative_infinity : &s->positive_infinity) += 1;
    else
        o->items[s->finite++] = item;
}

static inline st_value oracle_extreme(const oracle *o, const oracle_item *item)
{
    st_value value = {.kind = st_dtype_kind(o->stats.dtype)};
    if (!o->integer) {
        value.kind = ST_KIND_FLOAT;
        value.as.f[0] = item->value;
    } else if (value.kind == ST_KIND_INT) {
        value.as.i = (int64_t)(item->key - UINT64_C(0x8000000000000000));
    } else {
        value.as.u = item->key;
    }
    return value;
}

static inline void oracle_moments(oracle *o)
{
    st_stats *s = &o->stats;
    long double sum = 0, sizes = 0, squares = 0;
    for (uint64_t i = 0; i < s->finite; i++) {
        sum += o->items[i].value;
        sizes += fabs(o->items[i].value);
    }
    long double mean = sum / s->finite;
    for (uint64_t i = 0; i < s->finite; i++)
        squares += (o->items[i].value - mean) * (o->items[i].value - mean);
    s->mean = (double)mean;
    s->std = (double)sqrtl(squares / s->finite);
    /* Under valgrind a long double is no longer than a double. */
    o->mean_slack = (double)(sizes / s->finite) * 1e-12;
    o->std_slack = s->std * 1e-11 + o->mean_slack;
}

/* The definition of numpy.quantile(method="linear"). */
static inline double oracle_quantile(const oracle *o, double probability)
{
    const double n = (double)(o->stats.finite - 1), place = n * probability;
    const uint64_t i = (uint64_t)floor(place);
    if (place >= n)
        return o->items[o->stats.finite - 1].value;
    const oracle_item *a = &o->items[i], *b = a + 1;
    double t = place - floor(place);
    double distance = o->integer ? (double)(b->key - a->key) : b->value - a->value;
    return t >= 0.5 ? b->value - distance * (1 - t) : a->value + distance * t;
}

/* The definition of numpy.histogram. */
static inline uint64_t oracle_bin(const oracle *o, uint32_t bins, uint32_t bin)
{
    const double low = o->stats.low, high = o->stats.high, step = (high - low) / bins;
    const double from = low + bin * step, to = bin == bins - 1 ? high : low + (bin + 1) * step;
    uint64_t count = 0;
    for (uint64_t i = 0; i < o->stats.finite; i++) {
        double value = o->items[i].value;
        count += value >= from && (bin == bins - 1 ? value <= to : value < to);
    }
    return count;
}

static inline oracle oracle_new(st_dtype dtype, const void *data, uint64_t count)
{
    oracle o = {.stats = {.dtype = dtype}};
    o.integer = st_dtype_kind(dtype) != ST_KIND_FLOAT && st_dtype_kind(dtype) != ST_KIND_COMPLEX;
    o.items = malloc((size_t)(count + 1) * sizeof *o.items);
    assert_non_null(o.items);
    for (uint64_t i = 0; i < count; i++) {
        st_value value = st_element_decode(dtype, data, i);
        oracle_take(&o, &value);
    }
    qsort(o.items, (size_t)o.stats.finite, sizeof *o.items, oracle_compare);
    if (o.stats.finite) {
        o.stats.min = oracle_extreme(&o, &o.items[0]);
        o.stats.max = oracle_extreme(&o, &o.items[o.stats.finite - 1]);
        oracle_moments(&o);
    } else {
        o.stats.mean = o.stats.std = NAN;
    }
    return o;
}

static inline void oracle_free(oracle *o)
{
    free(o->items);
}

/* ---------------------------------------------------------------------------------- compare */

static inline void check_same_double(const char *what, double got, double want, double slack)
{
    if (isnan(want) ? isnan(got) : fabs(got - want) <= slack)
        return;
    fail_msg("%s: %.17g, not %.17g", what, got, want);
}

static inline void check_same_value(const char *what, const st_value *got, const st_value *want)
{
    assert_int_equal(got->kind, want->kind);
    if (want->kind == ST_KIND_FLOAT) {
        check_same_double(what, got->as.f[0], want->as.f[0], 0);
        assert_true(got->as.f[0] != 0 || !signbit(got->as.f[0]));
    } else if (got->as.u != want->as.u) {
        fail_msg("%s: %" PRIu64 ", not %" PRIu64, what, got->as.u, want->as.u);
    }
}

/* Absolute values may differ from hypot's in the last place. */
static inline double oracle_slack(const oracle *o, double value)
{
    return o->stats.dtype == ST_C64 && isfinite(value) ? fabs(value) * 0x1p-51 : 0;
}

static inline void check_stats_counts(const st_stats *got, const oracle *o)
{
    const st_stats *want = &o->stats;
    assert_int_equal(got->dtype, want->dtype);
    assert_int_equal(got->count, want->count);
    assert_int_equal(got->finite, want->finite);
    assert_int_equal(got->nan, want->nan);
    assert_int_equal(got->positive_infinity, want->positive_infinity);
    assert_int_equal(got->negative_infinity, want->negative_infinity);
    assert_int_equal(got->zeros, want->zeros);
    assert_int_equal(got->negatives, want->negatives);
    if (want->dtype == ST_C64 && want->finite) {
        assert_int_equal(got->min.kind, ST_KIND_FLOAT);
        check_same_double("min", got->min.as.f[0], want->min.as.f[0],
                          oracle_slack(o, want->min.as.f[0]));
        check_same_double("max", got->max.as.f[0], want->max.as.f[0],
                          oracle_slack(o, want->max.as.f[0]));
    } else {
        check_same_value("min", &got->min, &want->min);
        check_same_value("max", &got->max, &want->max);
    }
    check_same_double("mean", got->mean, want->mean, o->mean_slack);
    check_same_double("std", got->std, want->std, o->std_slack);
}

/* Bins of absolute values are not compared one by one, because a value may lie on an edge, nor bins that are
 * hardly wider than the distance of two doubles. */
static inline bool oracle_knows_bins(const oracle *o, uint32_t bins)
{
    double far = fmax(fabs(o->stats.low), fabs(o->stats.high));
    return o->stats.dtype != ST_C64 && (o->stats.high - o->stats.low) / bins > far * 1e-12;
}

static inline void check_stats(const st_stats *got, oracle *o, const st_stats_options *options)
{
    uint64_t below = 0, above = 0, binned = 0;
    check_stats_counts(got, o);
    assert_int_equal(got->quantile_count, options->quantile_count);
    assert_int_equal(got->bin_count, options->bin_count);
    for (uint32_t i = 0; i < options->quantile_count; i++) {
        double want = o->stats.finite ? oracle_quantile(o, options->quantiles[i]) : NAN;
        check_same_double("quantile", got->quantiles[i], want, oracle_slack(o, want));
    }
    if (!options->bin_count)
        return;
    o->stats.low = got->low;
    o->stats.high = got->high;
    for (uint64_t i = 0; i < o->stats.finite; i++) {
        below += o->items[i].value < got->low;
        above += o->items[i].value > got->high;
    }
    for (uint32_t bin = 0; bin < options->bin_count; bin++) {
        binned += got->bins[bin];
        if (oracle_knows_bins(o, options->bin_count))
            assert_int_equal(got->bins[bin], oracle_bin(o, options->bin_count, bin));
    }
    if (got->dtype != ST_C64) {
        assert_int_equal(got->below, below);
        assert_int_equal(got->above, above);
    }
    assert_int_equal(binned + got->below + got->above, got->finite);
}

#endif
