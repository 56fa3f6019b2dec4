/* SPDX-License-Identifier: Apache-2.0 */
/* What the comparison of two tensors must come to, found the slow way: element by element, decoded each by itself. */
#ifndef TESTS_INSPECT_COMPARE_SAMPLE_H
#define TESTS_INSPECT_COMPARE_SAMPLE_H

#include "inspect/stats_sample.h"

#include <float.h>

static inline bool naive_integer(st_dtype dtype)
{
    const st_kind kind = st_dtype_kind(dtype);
    return kind == ST_KIND_BOOL || kind == ST_KIND_INT || kind == ST_KIND_UINT;
}

/* An integer's distance from another, of either kind, capped. */
static inline uint64_t naive_distance(const st_value *a, const st_value *b)
{
    uint64_t size[2];
    bool negative[2];
    for (int side = 0; side < 2; side++) {
        const st_value *v = side ? b : a;
        negative[side] = v->kind == ST_KIND_INT && v->as.i < 0;
        size[side] = v->kind == ST_KIND_BOOL ? v->as.u != 0 : v->as.u;
    }
    if (negative[0] == negative[1]) /* of two negative ones the codes are in order, too */
        return size[0] > size[1] ? size[0] - size[1] : size[1] - size[0];
    const uint64_t up = negative[0] ? size[1] : size[0];
    const uint64_t down = 0 - (negative[0] ? size[0] : size[1]);
    return up > UINT64_MAX - down ? UINT64_MAX : up + down;
}

/* A part as a long double, whose 64 bits of significand hold every value of every dtype. */
static inline long double naive_part(const st_value *value, int part)
{
    switch (value->kind) {
    case ST_KIND_BOOL: return part ? 0 : value->as.u != 0;
    case ST_KIND_UINT: return part ? 0 : (long double)value->as.u;
    case ST_KIND_INT: return part ? 0 : (long double)value->as.i;
    case ST_KIND_FLOAT: return part ? 0 : value->as.f[0];
    default: return value->as.f[part];
    }
}

/* The distance of two parts that are not the same: of doubles the rounded difference, of a 64-bit integer and a double
 * with what rounding the integer to a double left. */
static inline double naive_gap(long double x, long double y)
{
    const double left = (double)(x - (long double)(double)x) - (double)(y - (long double)(double)y);
    volatile double difference = (double)x - (double)y;
    return fabs(difference + left);
}

/* Whether two elements have the same bits; of sub-byte dtypes by what they decode to, which is one to one. */
static inline bool naive_bits(const stats_sample *a, const stats_sample *b, uint64_t i)
{
    const uint32_t bits = st_dtype_bits(a->dtype);
    if (bits % 8 == 0)
        return memcmp(a->data + i * bits / 8, b->data + i * bits / 8, bits / 8) == 0;
    const double x = st_element_decode(a->dtype, a->data, i).as.f[0];
    const double y = st_element_decode(a->dtype, b->data, i).as.f[0];
    return x == y && !signbit(x) == !signbit(y);
}

static inline bool naive_within(const st_compare_options *o, long double distance, long double size)
{
    volatile double tolerance = o->rtol * (double)size;
    tolerance = o->atol + tolerance;
    return distance <= tolerance;
}

/* One element that is not the same: adds it. */
static inline void naive_take(st_deviation *d, const st_value values[2], uint64_t i,
                              const st_compare_options *o)
{
    bool nan[2] = {false, false}, infinite = false, beyond = false;
    long double absolute = 0;
    double relative = 0;
    const bool integers = values[0].kind <= ST_KIND_INT && values[1].kind <= ST_KIND_INT;
    for (int part = 0; part < 2; part++) {
        const long double x = naive_part(&values[0], part), y = naive_part(&values[1], part);
        nan[0] |= isnan(x);
        nan[1] |= isnan(y);
        if (x == y || isnan(x) || isnan(y))
            continue;
        if (isinf(x) || isinf(y)) {
            infinite = true;
            continue;
        }
        const long double distance = integers ? (long double)naive_distance(&values[0], &values[1])
                                              : (long double)naive_gap(x, y);
        absolute = distance > absolute ? distance : absolute;
        beyond |= !naive_within(o, distance, fabsl(y));
        if (y != 0 && (double)distance / fabs((double)y) > relative)
            relative = (double)distance / fabs((double)y);
    }
    if (nan[0] || nan[1]) {
        d->nan_both += nan[0] && nan[1];
        d->nan_a += nan[0] && !nan[1];
        d->nan_b += nan[1] && !nan[0];
        d->beyond += !(nan[0] && nan[1] && (o->flags & ST_COMPARE_EQUAL_NAN));
        return;
    }
    d->beyond += beyond || infinite;
    d->infinite += infinite;
    if (infinite)
        return;
    const uint64_t exact = integers ? naive_distance(&values[0], &values[1]) : 0;
    if (integers ? exact > d->max_integer : (double)absolute > d->max_absolute) {
        d->max_integer = exact;
        d->max_absolute = integers ? (double)exact : (double)absolute;
        d->max_absolute_at = i;
    }
    if (relative > d->max_relative) {
        d->max_relative = relative;
        d->max_relative_at = i;
    }
}

/* All but the mean, of which `sum` receives what it is of. */
static inline st_deviation naive_compare(const stats_sample *a, const stats_sample *b,
                                         const st_compare_options *o, long double *sum)
{
    st_deviation d = {.count = a->count,
                      .first = UINT64_MAX,
                      .max_absolute_at = UINT64_MAX,
                      .max_relative_at = UINT64_MAX};
    *sum = 0;
    for (uint64_t i = 0; i < a->count; i++) {
        const st_value values[2] = {st_element_decode(a->dtype, a->data, i),
                                    st_element_decode(b->dtype, b->data, i)};
        bool alike = true;
        long double error = 0;
        for (int part = 0; part < 2; part++) {
            const long double x = naive_part(&values[0], part), y = naive_part(&values[1], part);
            const long double distance = x == y ? 0 : fabsl(x - y);
            alike &= x == y;
            error = distance > error || isnan(distance) ? distance : error;
        }
        if (a->dtype == b->dtype ? naive_bits(a, b, i) : alike)
            continue;
        d.different++;
        d.first = i < d.first ? i : d.first;
        naive_take(&d, values, i, o);
        if (naive_integer(a->dtype) && naive_integer(b->dtype)) /* capped, as it is told */
            error = (long double)naive_distance(&values[0], &values[1]);
        *sum += isfinite(error) ? error : 0;
    }
    const uint64_t nan = o->flags & ST_COMPARE_EQUAL_NAN ? d.nan_both : 0;
    d.same = o->flags & ST_COMPARE_CLOSE ? d.beyond == 0 : d.different == nan;
    return d;
}

static inline st_side_tensor sample_tensor(const st_file *file)
{
    return (st_side_tensor){file, stats_sample_tensor(file)};
}

/* Compares two samples in memory. */
static inline st_deviation sample_compare(const stats_sample *a, const stats_sample *b,
                                          const st_compare_options *options)
{
    st_file *x = stats_sample_open(a, NULL), *y = stats_sample_open(b, NULL);
    const st_side_tensor sides[2] = {sample_tensor(x), sample_tensor(y)};
    st_deviation deviation;
    memset(&deviation, 0x55, sizeof deviation);
    CHECK_OK(st_tensors_compare(&sides[0], &sides[1], options, &deviation, &error));
    st_file_close(x);
    st_file_close(y);
    return deviation;
}

/* Compares two samples, and that with the naive one. */
static inline st_deviation check_naive(const stats_sample *a, const stats_sample *b,
                                       const st_compare_options *options)
{
    long double sum;
    st_deviation naive = naive_compare(a, b, options, &sum), got = sample_compare(a, b, options);
    const double measured =
        (double)(naive.count - naive.nan_a - naive.nan_b - naive.nan_both - naive.infinite);
    if (measured == 0) {
        assert_true(isnan(got.mean_absolute));
    } else if (isfinite((double)sum)) {
        const double mean = (double)(sum / measured);
        assert_true(fabs(got.mean_absolute - mean) <= 1e-12 * mean);
    } else {
        assert_true(isinf(got.mean_absolute));
    }
    naive.mean_absolute = got.mean_absolute;
    assert_memory_equal(&naive, &got, sizeof got);
    return got;
}

#endif
