/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/stats_measure.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Where the mean is farther from zero than so many (squared) standard deviations, the sum of squares says too
 * little about these: it would lose more than 10 of 53 bits. */
#define SQUARES_MOST 1024

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

/* ----------------------------------------------------------------------------------- lanes */

static double lanes_join(const double *lanes)
{
    double a = lanes[0] + lanes[4], b = lanes[1] + lanes[5];
    double c = lanes[2] + lanes[6], d = lanes[3] + lanes[7];
    return (a + c) + (b + d);
}

#if defined(__GNUC__)
/* Vectors that a compiler makes of what any processor has. */
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_mask __attribute__((vector_size(16)));

typedef struct pair_extremes {
    pair min;
    pair max;
    pair_mask zeros;
    pair_mask negatives;
} pair_extremes;

/* Statements of one operation each: a compiler may fuse those of one expression. Comparisons give 0 or -1. */
static inline void pair_add(const double *values, pair *sum, pair *squares, pair_extremes *e)
{
    const pair zero = {0};
    pair x;
    memcpy(&x, values, sizeof x);
    const pair square = x * x;
    *sum += x;
    *squares += square;
    const pair_mask less = (pair_mask)(x < e->min), more = (pair_mask)(x > e->max);
    e->min = (pair)((less & (pair_mask)x) | (~less & (pair_mask)e->min));
    e->max = (pair)((more & (pair_mask)x) | (~more & (pair_mask)e->max));
    e->zeros -= (pair_mask)(x == zero);
    e->negatives -= (pair_mask)(x < zero);
}

static size_t lanes_add_pairs(st__lanes *lanes, const double *values, size_t count)
{
    pair sum[ST__LANES / 2], squares[ST__LANES / 2];
    pair_extremes e = {{lanes->min, lanes->min}, {lanes->max, lanes->max}, {0}, {0}};
    size_t i = 0;
    memcpy(sum, lanes->sum, sizeof sum);
    memcpy(squares, lanes->squares, sizeof squares);
    for (; count - i >= ST__LANES; i += ST__LANES) {
        pair_add(values + i, &sum[0], &squares[0], &e);
        pair_add(values + i + 2, &sum[1], &squares[1], &e);
        pair_add(values + i + 4, &sum[2], &squares[2], &e);
        pair_add(values + i + 6, &sum[3], &squares[3], &e);
    }
    memcpy(lanes->sum, sum, sizeof sum);
    memcpy(lanes->squares, squares, sizeof squares);
    lanes->min = e.min[0] < e.min[1] ? e.min[0] : e.min[1];
    lanes->max = e.max[0] > e.max[1] ? e.max[0] : e.max[1];
    lanes->zeros += (uint64_t)(e.zeros[0] + e.zeros[1]);
    lanes->negatives += (uint64_t)(e.negatives[0] + e.negatives[1]);
    return i;
}
#else
static size_t lanes_add_pairs(st__lanes *lanes, const double *values, size_t count)
{
    (void)lanes;
    (void)values;
    (void)count;
    return 0;
}
#endif

static void lanes_add(st__lanes *lanes, const double *values, size_t count)
{
    for (size_t i = lanes_add_pairs(lanes, values, count); i < count; i++) {
        double x = values[i], square = x * x;
        lanes->sum[i % ST__LANES] += x;
        lanes->squares[i % ST__LANES] += square;
        lanes->min = x < lanes->min ? x : lanes->min;
        lanes->max = x > lanes->max ? x : lanes->max;
        lanes->zeros += x == 0;
        lanes->negatives += x < 0;
    }
}

/* By how often each code occurs, neighbours in different tables; nothing is rounded. */
static void lanes_add_bytes(st__lanes *lanes, bool is_signed, const unsigned char *data,
                            size_t count)
{
    uint32_t counts[4][256] = {{0}};
    for (size_t i = 0; i < count; i++)
        counts[i % 4][data[i]]++;
    for (int code = 0; code < 256; code++) {
        const double x = is_signed ? (int8_t)code : code;
        const uint32_t n = counts[0][code] + counts[1][code] + counts[2][code] + counts[3][code];
        if (!n)
            continue;
        lanes->sum[0] += n * x;
        lanes->squares[0] += n * x * x;
        lanes->min = x < lanes->min ? x : lanes->min;
        lanes->max = x > lanes->max ? x : lanes->max;
        lanes->zeros += x == 0 ? n : 0;
        lanes->negatives += x < 0 ? n : 0;
    }
}

static st__lanes_kernel kernel_of(const st__kernels *kernels, st__number number)
{
    switch (number) {
    case ST__NUMBER_F64: return kernels->f64;
    case ST__NUMBER_F32: return kernels->f32;
    case ST__NUMBER_F16: return kernels->f16;
    case ST__NUMBER_BF16: return kernels->bf16;
    case ST__NUMBER_I8: return kernels->i8;
    case ST__NUMBER_U8: return kernels->u8;
    default: return NULL;
    }
}

/* Kernels take whole rounds of lanes, so that what they leave begins with the first lane. Where there are any,
 * values in memory are as stored F64. */
static void lanes_of_values(const st__kernels *kernels, const double *values, size_t count,
                            st__lanes *out)
{
    *out = (st__lanes){.min = HUGE_VAL, .max = -HUGE_VAL};
    size_t done = kernels->f64 ? kernels->f64((const unsigned char *)values, count, out) : 0;
    lanes_add(out, values + done, count - done);
}

static void lanes_of_elements(const st__measuring *how, const unsigned char *data, size_t count,
                              st__lanes *out)
{
    const st__number number = how->number;
    st__lanes_kernel kernel = kernel_of(how->kernels, number);
    *out = (st__lanes){.min = HUGE_VAL, .max = -HUGE_VAL};
    size_t done = kernel ? kernel(data, count, out) : 0;
    data += done * st__number_size(number);
    if (number == ST__NUMBER_I8 || number == ST__NUMBER_U8) {
        lanes_add_bytes(out, number == ST__NUMBER_I8, data, count - done);
        return;
    }
    st__chunk_values(number, data, count - done, how->room);
    if (kernel)
        lanes_add(out, how->room, count - done);
    else
        lanes_of_values(how->kernels, how->room, count, out);
}

/* ----------------------------------------------------------------------------------- chunk */

static double values_squares(const double *values, size_t count, double mean)
{
    double sums[ST__LANES] = {0};
    size_t i = 0;
    for (; count - i >= ST__LANES; i += ST__LANES) {
        for (size_t k = 0; k < ST__LANES; k++) {
            double distance = values[i + k] - mean, square = distance * distance;
            sums[k] += square;
        }
    }
    for (; i < count; i++) {
        double distance = values[i] - mean, square = distance * distance;
        sums[i % ST__LANES] += square;
    }
    return lanes_join(sums);
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

/* The sum may be too large for a double; its parts are not. */
static double values_mean(const double *values, size_t count, double sum)
{
    if (isfinite(sum))
        return sum / (double)count;
    double mean = 0;
    for (size_t i = 0; i < count; i++)
        mean += values[i] / (double)count;
    return mean;
}

/* A sum that is not finite tells that a value may not be: only then is each one looked at. Squares too large
 * for a double, or so small that they lose digits, are no help either. */
void st__chunk_measure(const st__measuring *how, const unsigned char *data, size_t count,
                       st__measure *measure, st__moments *moments)
{
    double *room = how->room;
    st__measure m;
    st__lanes lanes;
    st__measure_init(&m);
    lanes_of_elements(how, data, count, &lanes);
    double sum = lanes_join(lanes.sum);
    const bool sifted = !isfinite(sum);
    if (sifted) {
        st__chunk_values(how->number, data, count, room);
        count = values_sift(room, count, &m);
        lanes_of_values(how->kernels, room, count, &lanes);
        sum = lanes_join(lanes.sum);
    }
    m.min = lanes.min;
    m.max = lanes.max;
    m.zeros = lanes.zeros;
    m.negatives = lanes.negatives + m.negative_infinity;
    m.finite = count;
    st__measure_add(measure, &m);
    if (!count)
        return;
    st__moments next = {count, sum / (double)count, 0};
    const double squares = lanes_join(lanes.squares), shift = sum * next.mean;
    next.squares = squares - shift;
    bool precise =
        next.squares * SQUARES_MOST >= squares && squares >= DBL_MIN * 0x1p60 && squares <= DBL_MAX;
    if (!precise && lanes.zeros != count) {
        if (!sifted)
            st__chunk_values(how->number, data, count, room);
        next.mean = values_mean(room, count, sum);
        next.squares = values_squares(room, count, next.mean);
    }
    st__moments_add(moments, &next);
}
