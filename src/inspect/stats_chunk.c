/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/stats_chunk.h"
#include "base/endian.h"
#include "inspect/stats.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__SSE2__)
# include <emmintrin.h>
#endif

#define SIGN32 UINT32_C(0x80000000)
#define SIGN64 UINT64_C(0x8000000000000000)

st__wide st__wide_of(st_kind kind, uint32_t bits)
{
    switch (kind) {
    case ST_KIND_COMPLEX: return ST__WIDE_C64;
    case ST_KIND_FLOAT: return bits == 32 ? ST__WIDE_F32 : ST__WIDE_F64;
    case ST_KIND_INT: return bits == 32 ? ST__WIDE_I32 : ST__WIDE_I64;
    default: return bits == 32 ? ST__WIDE_U32 : ST__WIDE_U64;
    }
}

uint32_t st__wide_size(st__wide wide)
{
    return wide == ST__WIDE_C64 ? 8 : st__wide_key_size(wide);
}

uint32_t st__wide_key_size(st__wide wide)
{
    return wide == ST__WIDE_F32 || wide == ST__WIDE_I32 || wide == ST__WIDE_U32 ? 4 : 8;
}

/* ---------------------------------------------------------------------------------- values */

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void values_f32(const unsigned char *data, size_t count, double *values)
{
    size_t i = 0;
#if defined(__SSE2__)
    for (; count - i >= 4; i += 4) {
        __m128 x = _mm_loadu_ps((const float *)(const void *)(data + 4 * i));
        _mm_storeu_pd(values + i, _mm_cvtps_pd(x));
        _mm_storeu_pd(values + i + 2, _mm_cvtps_pd(_mm_movehl_ps(x, x)));
    }
#endif
    for (; i < count; i++)
        values[i] = float_of(st__load_le32(data + 4 * i));
}

/* Squares of floats neither overflow nor vanish in a double. An infinite part beside a NaN makes NaN. */
static void values_c64(const unsigned char *data, size_t count, double *values)
{
    size_t i = 0;
#if defined(__SSE2__)
    for (; count - i >= 2; i += 2) {
        __m128 x = _mm_loadu_ps((const float *)(const void *)(data + 8 * i));
        __m128d a = _mm_cvtps_pd(x), b = _mm_cvtps_pd(_mm_movehl_ps(x, x));
        a = _mm_mul_pd(a, a);
        b = _mm_mul_pd(b, b);
        a = _mm_add_pd(_mm_unpacklo_pd(a, b), _mm_unpackhi_pd(a, b));
        _mm_storeu_pd(values + i, _mm_sqrt_pd(a));
    }
#endif
    for (; i < count; i++) {
        double re = float_of(st__load_le32(data + 8 * i));
        double im = float_of(st__load_le32(data + 8 * i + 4));
        values[i] = st__square_root(re * re + im * im);
    }
}

static void values_f64(const unsigned char *data, size_t count, double *values)
{
    if (!ST__BIG_ENDIAN) {
        memcpy(values, data, count * sizeof *values);
        return;
    }
    for (size_t i = 0; i < count; i++)
        values[i] = double_of(st__load_le64(data + 8 * i));
}

void st__chunk_values(st__wide wide, const unsigned char *data, size_t count, double *values)
{
    switch (wide) {
    case ST__WIDE_F32: values_f32(data, count, values); break;
    case ST__WIDE_C64: values_c64(data, count, values); break;
    case ST__WIDE_F64: values_f64(data, count, values); break;
    case ST__WIDE_I32:
        for (size_t i = 0; i < count; i++)
            values[i] = (int32_t)st__load_le32(data + 4 * i);
        break;
    case ST__WIDE_U32:
        for (size_t i = 0; i < count; i++)
            values[i] = st__load_le32(data + 4 * i);
        break;
    case ST__WIDE_I64:
        for (size_t i = 0; i < count; i++)
            values[i] = (double)(int64_t)st__load_le64(data + 8 * i);
        break;
    case ST__WIDE_U64:
        for (size_t i = 0; i < count; i++)
            values[i] = (double)st__load_le64(data + 8 * i);
    }
}

/* ------------------------------------------------------------------------------------ keys */

/* Turns all bits of negative numbers round, of others the sign. */
static uint32_t key_f32(uint32_t bits)
{
    return bits ^ (SIGN32 | (0 - (bits >> 31)));
}

static uint64_t key_f64(uint64_t bits)
{
    return bits ^ (SIGN64 | (0 - (bits >> 63)));
}

static void keys_c64(const unsigned char *data, size_t count, uint64_t *keys)
{
    double values[64];
    for (size_t i = 0; i < count; i += 64) {
        size_t n = count - i < 64 ? count - i : 64;
        values_c64(data + 8 * i, n, values);
        for (size_t k = 0; k < n; k++)
            keys[i + k] = key_f64(bits_of(values[k]));
    }
}

void st__chunk_keys(st__wide wide, const unsigned char *data, size_t count, uint64_t *keys)
{
    switch (wide) {
    case ST__WIDE_F32:
        for (size_t i = 0; i < count; i++)
            keys[i] = key_f32(st__load_le32(data + 4 * i));
        break;
    case ST__WIDE_F64:
        for (size_t i = 0; i < count; i++)
            keys[i] = key_f64(st__load_le64(data + 8 * i));
        break;
    case ST__WIDE_C64: keys_c64(data, count, keys); break;
    case ST__WIDE_I32:
    case ST__WIDE_U32:
        for (size_t i = 0; i < count; i++)
            keys[i] = st__load_le32(data + 4 * i) ^ (wide == ST__WIDE_I32 ? SIGN32 : 0);
        break;
    case ST__WIDE_I64:
    case ST__WIDE_U64:
        for (size_t i = 0; i < count; i++)
            keys[i] = st__load_le64(data + 8 * i) ^ (wide == ST__WIDE_I64 ? SIGN64 : 0);
    }
}

/* Turning bits round works on the highest ones as on all. */
void st__chunk_tops(st__wide wide, const unsigned char *data, size_t count, uint32_t *counts)
{
    const uint32_t bytes = st__wide_size(wide);
    const unsigned char *top = data + bytes - 2;
    switch (wide) {
    case ST__WIDE_F32:
    case ST__WIDE_F64:
        for (size_t i = 0; i < count; i++) {
            uint32_t code = st__load_le16(top + i * bytes);
            counts[code ^ (code & 0x8000 ? 0xffffu : 0x8000u)]++;
        }
        break;
    case ST__WIDE_I32:
    case ST__WIDE_I64:
        for (size_t i = 0; i < count; i++)
            counts[st__load_le16(top + i * bytes) ^ 0x8000u]++;
        break;
    case ST__WIDE_U32:
    case ST__WIDE_U64:
        for (size_t i = 0; i < count; i++)
            counts[st__load_le16(top + i * bytes)]++;
        break;
    default: break; /* only the value of a C64 tells its key */
    }
}

double st__key_value(st__wide wide, uint64_t key)
{
    switch (wide) {
    case ST__WIDE_F32: return float_of((uint32_t)key ^ (key & SIGN32 ? SIGN32 : UINT32_MAX));
    case ST__WIDE_I32: return (double)((int64_t)key - (int64_t)SIGN32);
    case ST__WIDE_I64: return (double)(int64_t)(key ^ SIGN64);
    case ST__WIDE_U32:
    case ST__WIDE_U64: return (double)key;
    default: return double_of(key ^ (key & SIGN64 ? SIGN64 : UINT64_MAX));
    }
}

uint64_t st__key_of(st__wide wide, double value)
{
    float narrow;
    uint32_t bits;
    switch (wide) {
    case ST__WIDE_F32:
        narrow = (float)value;
        memcpy(&bits, &narrow, sizeof bits);
        return key_f32(bits);
    case ST__WIDE_I32: return (uint64_t)((int64_t)value + (int64_t)SIGN32);
    case ST__WIDE_I64: return (uint64_t)(int64_t)value ^ SIGN64;
    case ST__WIDE_U32:
    case ST__WIDE_U64: return (uint64_t)value;
    default: return key_f64(bits_of(value));
    }
}

/* --------------------------------------------------------------------------------- measure */

void st__measure_init(st__measure *measure)
{
    *measure = (st__measure){.min = HUGE_VAL, .max = -HUGE_VAL};
}

/* Zeros of both signs are equal: which one stands here must not depend on the order. */
void st__measure_add(st__measure *into, const st__measure *from)
{
    into->finite += from->finite;
    into->nan += from->nan;
    into->positive_infinity += from->positive_infinity;
    into->negative_infinity += from->negative_infinity;
    into->zeros += from->zeros;
    into->negatives += from->negatives;
    into->min = (from->min < into->min ? from->min : into->min) + 0.0;
    into->max = (from->max > into->max ? from->max : into->max) + 0.0;
}

/* The mean of two is taken by weights where their distance is out of a double's range. */
void st__moments_add(st__moments *into, const st__moments *next)
{
    if (!next->count)
        return;
    if (!into->count) {
        *into = *next;
        return;
    }
    const double a = (double)into->count, b = (double)next->count, n = a + b;
    const double distance = next->mean - into->mean;
    into->count += next->count;
    if (isfinite(distance))
        into->mean += distance * (b / n);
    else
        into->mean = into->mean * (a / n) + next->mean * (b / n);
    into->squares += next->squares + distance * distance * (a * (b / n));
}

static double values_sum(const double *values, size_t count, st__measure *m)
{
    double sum = 0;
    size_t i = 0;
#if defined(__SSE2__)
    const __m128d zero = _mm_setzero_pd();
    __m128d sum0 = zero, sum1 = zero;
    __m128d min0 = _mm_set1_pd(m->min), min1 = min0, max0 = _mm_set1_pd(m->max), max1 = max0;
    __m128i zeros0 = _mm_setzero_si128(), zeros1 = zeros0, less0 = zeros0, less1 = zeros0;
    for (; count - i >= 4; i += 4) {
        __m128d x = _mm_loadu_pd(values + i), y = _mm_loadu_pd(values + i + 2);
        sum0 = _mm_add_pd(sum0, x);
        sum1 = _mm_add_pd(sum1, y);
        min0 = _mm_min_pd(x, min0);
        min1 = _mm_min_pd(y, min1);
        max0 = _mm_max_pd(x, max0);
        max1 = _mm_max_pd(y, max1);
        /* A comparison gives 0 or -1. */
        zeros0 = _mm_sub_epi64(zeros0, _mm_castpd_si128(_mm_cmpeq_pd(x, zero)));
        zeros1 = _mm_sub_epi64(zeros1, _mm_castpd_si128(_mm_cmpeq_pd(y, zero)));
        less0 = _mm_sub_epi64(less0, _mm_castpd_si128(_mm_cmplt_pd(x, zero)));
        less1 = _mm_sub_epi64(less1, _mm_castpd_si128(_mm_cmplt_pd(y, zero)));
    }
    double two[2];
    uint64_t counts[2];
    _mm_storeu_pd(two, _mm_add_pd(sum0, sum1));
    sum = two[0] + two[1];
    _mm_storeu_pd(two, _mm_min_pd(min0, min1));
    m->min = two[0] < two[1] ? two[0] : two[1];
    _mm_storeu_pd(two, _mm_max_pd(max0, max1));
    m->max = two[0] > two[1] ? two[0] : two[1];
    _mm_storeu_si128((__m128i *)(void *)counts, _mm_add_epi64(zeros0, zeros1));
    m->zeros += counts[0] + counts[1];
    _mm_storeu_si128((__m128i *)(void *)counts, _mm_add_epi64(less0, less1));
    m->negatives += counts[0] + counts[1];
#endif
    for (; i < count; i++) {
        double x = values[i];
        sum += x;
        m->min = x < m->min ? x : m->min;
        m->max = x > m->max ? x : m->max;
        m->zeros += x == 0;
        m->negatives += x < 0;
    }
    return sum;
}

static double values_squares(const double *values, size_t count, double mean)
{
    double sum = 0;
    size_t i = 0;
#if defined(__SSE2__)
    const __m128d middle = _mm_set1_pd(mean);
    __m128d sum0 = _mm_setzero_pd(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (; count - i >= 8; i += 8) {
        __m128d a = _mm_sub_pd(_mm_loadu_pd(values + i), middle);
        __m128d b = _mm_sub_pd(_mm_loadu_pd(values + i + 2), middle);
        __m128d c = _mm_sub_pd(_mm_loadu_pd(values + i + 4), middle);
        __m128d d = _mm_sub_pd(_mm_loadu_pd(values + i + 6), middle);
        sum0 = _mm_add_pd(sum0, _mm_mul_pd(a, a));
        sum1 = _mm_add_pd(sum1, _mm_mul_pd(b, b));
        sum2 = _mm_add_pd(sum2, _mm_mul_pd(c, c));
        sum3 = _mm_add_pd(sum3, _mm_mul_pd(d, d));
    }
    double two[2];
    _mm_storeu_pd(two, _mm_add_pd(_mm_add_pd(sum0, sum1), _mm_add_pd(sum2, sum3)));
    sum = two[0] + two[1];
#endif
    for (; i < count; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return sum;
}

/* Moves the finite values to the front and counts the others. */
static size_t values_sift(double *values, size_t count, st__measure *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        double x = values[i];
        values[kept] = x;
        kept += x >= -DBL_MAX && x <= DBL_MAX;
        m->nan += x != x;
        m->positive_infinity += x > DBL_MAX;
        m->negative_infinity += x < -DBL_MAX;
    }
    return kept;
}

/* A sum that is not finite tells that a value may not be: only then is each one looked at. */
void st__chunk_measure(double *values, size_t count, st__measure *measure, st__moments *moments)
{
    st__measure m;
    st__measure_init(&m);
    double sum = values_sum(values, count, &m);
    if (!isfinite(sum)) {
        st__measure_init(&m);
        count = values_sift(values, count, &m);
        sum = values_sum(values, count, &m);
        m.negatives += m.negative_infinity;
    }
    m.finite = count;
    st__measure_add(measure, &m);
    if (!count)
        return;
    st__moments next = {count, sum / (double)count, 0};
    if (!isfinite(sum)) { /* the sum is too large for a double; its parts are not */
        next.mean = 0;
        for (size_t i = 0; i < count; i++)
            next.mean += values[i] / (double)count;
    }
    next.squares = values_squares(values, count, next.mean);
    st__moments_add(moments, &next);
}
