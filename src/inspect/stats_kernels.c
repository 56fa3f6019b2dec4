/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels for x86 with AVX2, FMA and F16C. A multiplication is fused with an addition only where the product
 * is exact: there this rounds as two operations do. */
#include "inspect/stats_kernels.h"
#include "inspect/stats_chunk.h"

const st__kernels st__kernels_portable = {0};

/* Where the x87 computes, portable code rounds otherwise. */
#if defined(__GNUC__) && defined(__SSE2_MATH__) && !defined(ST_NO_SIMD)
# include <cpuid.h>
# include <immintrin.h>

_Static_assert(ST__BIN_LANES == 4, "the bins' kernel counts four values at a time");

# define WITH_AVX2   __attribute__((target("avx2")))
# define INLINE_AVX2 __attribute__((always_inline, target("avx2")))
/* For floats only: squares of doubles are not exact, and compilers may fuse what they see. */
# define WITH_FMA   __attribute__((target("avx2,fma,f16c")))
# define INLINE_FMA __attribute__((always_inline, target("avx2,fma,f16c")))

/* ---------------------------------------------------------------------------------- floats */

/* Lanes in registers. Comparisons give 0 or -1, which the counters add up. */
typedef struct float_lanes {
    __m256d sum[2];
    __m256d squares[2];
    __m256 min;
    __m256 max;
    __m256i zeros;
    __m256i negatives;
} float_lanes;

static inline INLINE_FMA void float_lanes_load(float_lanes *l, const st__lanes *lanes)
{
    for (int i = 0; i < 2; i++) {
        l->sum[i] = _mm256_loadu_pd(lanes->sum + 4 * i);
        l->squares[i] = _mm256_loadu_pd(lanes->squares + 4 * i);
    }
    l->min = _mm256_set1_ps((float)lanes->min);
    l->max = _mm256_set1_ps((float)lanes->max);
    l->zeros = _mm256_setzero_si256();
    l->negatives = _mm256_setzero_si256();
}

static inline INLINE_FMA uint32_t counts_32(__m256i counts)
{
    uint32_t each[8], sum = 0;
    _mm256_storeu_si256((__m256i *)(void *)each, counts);
    for (int i = 0; i < 8; i++)
        sum += each[i];
    return 0 - sum;
}

static inline INLINE_FMA void float_lanes_store(const float_lanes *l, st__lanes *lanes)
{
    float min[8], max[8];
    for (int i = 0; i < 2; i++) {
        _mm256_storeu_pd(lanes->sum + 4 * i, l->sum[i]);
        _mm256_storeu_pd(lanes->squares + 4 * i, l->squares[i]);
    }
    _mm256_storeu_ps(min, l->min);
    _mm256_storeu_ps(max, l->max);
    for (int i = 0; i < 8; i++) {
        lanes->min = min[i] < lanes->min ? min[i] : lanes->min;
        lanes->max = max[i] > lanes->max ? max[i] : lanes->max;
    }
    lanes->zeros += counts_32(l->zeros);
    lanes->negatives += counts_32(l->negatives);
}

static inline INLINE_FMA void float_lanes_add(float_lanes *l, __m256 x)
{
    const __m256 zero = _mm256_setzero_ps();
    const __m256d half[2] = {_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                             _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
    for (int i = 0; i < 2; i++) {
        l->sum[i] = _mm256_add_pd(l->sum[i], half[i]);
        l->squares[i] = _mm256_fmadd_pd(half[i], half[i], l->squares[i]);
    }
    l->min = _mm256_min_ps(x, l->min);
    l->max = _mm256_max_ps(x, l->max);
    __m256 is_zero = _mm256_cmp_ps(x, zero, _CMP_EQ_OQ), less = _mm256_cmp_ps(x, zero, _CMP_LT_OQ);
    l->zeros = _mm256_add_epi32(l->zeros, _mm256_castps_si256(is_zero));
    l->negatives = _mm256_add_epi32(l->negatives, _mm256_castps_si256(less));
}

static WITH_FMA size_t f32_avx2(const unsigned char *data, size_t count, st__lanes *lanes)
{
    float_lanes l;
    size_t i = 0;
    float_lanes_load(&l, lanes);
    for (; count - i >= 8; i += 8)
        float_lanes_add(&l, _mm256_loadu_ps((const float *)(const void *)(data + 4 * i)));
    float_lanes_store(&l, lanes);
    return i;
}

static WITH_FMA size_t f16_avx2(const unsigned char *data, size_t count, st__lanes *lanes)
{
    float_lanes l;
    size_t i = 0;
    float_lanes_load(&l, lanes);
    for (; count - i >= 8; i += 8) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(data + 2 * i));
        float_lanes_add(&l, _mm256_cvtph_ps(x));
    }
    float_lanes_store(&l, lanes);
    return i;
}

static WITH_FMA size_t bf16_avx2(const unsigned char *data, size_t count, st__lanes *lanes)
{
    float_lanes l;
    size_t i = 0;
    float_lanes_load(&l, lanes);
    for (; count - i >= 8; i += 8) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(data + 2 * i));
        __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16);
        float_lanes_add(&l, _mm256_castsi256_ps(wide));
    }
    float_lanes_store(&l, lanes);
    return i;
}

/* --------------------------------------------------------------------------------- doubles */

static WITH_AVX2 size_t f64_avx2(const unsigned char *data, size_t count, st__lanes *lanes)
{
    const __m256d zero = _mm256_setzero_pd();
    __m256d sum[2], squares[2], min[2], max[2];
    __m256i zeros = _mm256_setzero_si256(), negatives = zeros;
    size_t i = 0;
    for (int k = 0; k < 2; k++) {
        sum[k] = _mm256_loadu_pd(lanes->sum + 4 * k);
        squares[k] = _mm256_loadu_pd(lanes->squares + 4 * k);
        min[k] = _mm256_set1_pd(lanes->min);
        max[k] = _mm256_set1_pd(lanes->max);
    }
    for (; count - i >= 8; i += 8) {
        for (size_t k = 0; k < 2; k++) {
            const unsigned char *at = data + 8 * i + 32 * k;
            __m256d x = _mm256_loadu_pd((const double *)(const void *)at);
            sum[k] = _mm256_add_pd(sum[k], x);
            squares[k] = _mm256_add_pd(squares[k], _mm256_mul_pd(x, x));
            min[k] = _mm256_min_pd(x, min[k]);
            max[k] = _mm256_max_pd(x, max[k]);
            __m256d is_zero = _mm256_cmp_pd(x, zero, _CMP_EQ_OQ);
            __m256d less = _mm256_cmp_pd(x, zero, _CMP_LT_OQ);
            zeros = _mm256_sub_epi64(zeros, _mm256_castpd_si256(is_zero));
            negatives = _mm256_sub_epi64(negatives, _mm256_castpd_si256(less));
        }
    }
    double least[4], most[4];
    uint64_t zero_counts[4], negative_counts[4];
    _mm256_storeu_pd(least, _mm256_min_pd(min[0], min[1]));
    _mm256_storeu_pd(most, _mm256_max_pd(max[0], max[1]));
    _mm256_storeu_si256((__m256i *)(void *)zero_counts, zeros);
    _mm256_storeu_si256((__m256i *)(void *)negative_counts, negatives);
    for (int k = 0; k < 4; k++) {
        lanes->min = least[k] < lanes->min ? least[k] : lanes->min;
        lanes->max = most[k] > lanes->max ? most[k] : lanes->max;
        lanes->zeros += zero_counts[k];
        lanes->negatives += negative_counts[k];
    }
    for (int k = 0; k < 2; k++) {
        _mm256_storeu_pd(lanes->sum + 4 * k, sum[k]);
        _mm256_storeu_pd(lanes->squares + 4 * k, squares[k]);
    }
    return i;
}

/* -------------------------------------------------------------------------------- integers */

/* Counters of 8 bits: a chunk gives each of them at most that many. */
_Static_assert(ST__CHUNK / 32 <= 255, "counters of 8 bits would overflow");

typedef struct byte_lanes {
    __m256i sum;     /* of 64 bits */
    __m256i squares; /* of 32 bits: at most 2^18 are added at a time */
    __m256i min;     /* unsigned, of 8 bits, as are all below */
    __m256i max;
    __m256i zeros;
    __m256i negatives;
} byte_lanes;

static inline INLINE_AVX2 void byte_lanes_init(byte_lanes *l)
{
    l->sum = l->squares = l->max = l->zeros = l->negatives = _mm256_setzero_si256();
    l->min = _mm256_set1_epi8(-1);
}

/* `lifted`: the elements as unsigned ones of the same order; `low` and `high`: half of them each, in 16 bits. */
static inline INLINE_AVX2 void byte_lanes_add(byte_lanes *l, __m256i x, __m256i lifted, __m256i low,
                                              __m256i high)
{
    const __m256i zero = _mm256_setzero_si256();
    l->sum = _mm256_add_epi64(l->sum, _mm256_sad_epu8(lifted, zero));
    l->squares = _mm256_add_epi32(
        l->squares, _mm256_add_epi32(_mm256_madd_epi16(low, low), _mm256_madd_epi16(high, high)));
    l->min = _mm256_min_epu8(l->min, lifted);
    l->max = _mm256_max_epu8(l->max, lifted);
    l->zeros = _mm256_sub_epi8(l->zeros, _mm256_cmpeq_epi8(x, zero));
}

/* `lift`: what was added to each of `count` elements. */
static inline INLINE_AVX2 void byte_lanes_store(const byte_lanes *l, int lift, size_t count,
                                                st__lanes *lanes)
{
    const __m256i zero = _mm256_setzero_si256();
    uint64_t sums[4], zeros[4], negatives[4], sum = 0;
    uint32_t squares[8];
    unsigned char min[32], max[32];
    _mm256_storeu_si256((__m256i *)(void *)sums, l->sum);
    _mm256_storeu_si256((__m256i *)(void *)squares, l->squares);
    _mm256_storeu_si256((__m256i *)(void *)min, l->min);
    _mm256_storeu_si256((__m256i *)(void *)max, l->max);
    _mm256_storeu_si256((__m256i *)(void *)zeros, _mm256_sad_epu8(l->zeros, zero));
    _mm256_storeu_si256((__m256i *)(void *)negatives, _mm256_sad_epu8(l->negatives, zero));
    for (int i = 0; i < 4; i++) {
        sum += sums[i];
        lanes->zeros += zeros[i];
        lanes->negatives += negatives[i];
    }
    lanes->sum[0] += (double)sum - (double)lift * (double)count;
    for (int i = 0; i < 8; i++)
        lanes->squares[i] += squares[i];
    for (int i = 0; i < 32; i++) {
        lanes->min = min[i] - lift < lanes->min ? min[i] - lift : lanes->min;
        lanes->max = max[i] - lift > lanes->max ? max[i] - lift : lanes->max;
    }
}

static WITH_AVX2 size_t i8_avx2(const unsigned char *data, size_t count, st__lanes *lanes)
{
    const __m256i sign = _mm256_set1_epi8(-128);
    byte_lanes l;
    size_t i = 0;
    byte_lanes_init(&l);
    for (; count - i >= 32; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(data + i));
        __m256i low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(x));
        __m256i high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(x, 1));
        byte_lanes_add(&l, x, _mm256_xor_si256(x, sign), low, high);
        __m256i less = _mm256_cmpgt_epi8(_mm256_setzero_si256(), x);
        l.negatives = _mm256_sub_epi8(l.negatives, less);
    }
    if (i)
        byte_lanes_store(&l, 128, i, lanes);
    return i;
}

static WITH_AVX2 size_t u8_avx2(const unsigned char *data, size_t count, st__lanes *lanes)
{
    const __m256i zero = _mm256_setzero_si256();
    byte_lanes l;
    size_t i = 0;
    byte_lanes_init(&l);
    for (; count - i >= 32; i += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(data + i));
        byte_lanes_add(&l, x, x, _mm256_unpacklo_epi8(x, zero), _mm256_unpackhi_epi8(x, zero));
    }
    if (i)
        byte_lanes_store(&l, 0, i, lanes);
    return i;
}

/* ------------------------------------------------------------------------------------ bins */

static WITH_AVX2 size_t bins_avx2(st__histogram *histogram, const st__bins *bins,
                                  const double *values, size_t count)
{
    const __m256d low = _mm256_set1_pd(bins->low), scale = _mm256_set1_pd(bins->scale);
    const __m256d end = _mm256_set1_pd(bins->count), zero = _mm256_setzero_pd();
    const __m256d near = _mm256_set1_pd(ST__BIN_MARGIN), far = _mm256_set1_pd(1 - ST__BIN_MARGIN);
    uint64_t *lane0 = histogram->counts, *lane1 = lane0 + bins->count;
    uint64_t *lane2 = lane1 + bins->count, *lane3 = lane2 + bins->count;
    size_t i = 0;
    for (; count - i >= 4; i += 4) {
        __m256d place = _mm256_sub_pd(_mm256_loadu_pd(values + i), low);
        place = _mm256_mul_pd(place, scale);
        __m128i bin = _mm256_cvttpd_epi32(place);
        __m256d within = _mm256_sub_pd(place, _mm256_cvtepi32_pd(bin));
        __m256d inside = _mm256_and_pd(_mm256_cmp_pd(place, zero, _CMP_GT_OQ),
                                       _mm256_cmp_pd(place, end, _CMP_LT_OQ));
        __m256d clear = _mm256_and_pd(_mm256_cmp_pd(within, near, _CMP_GT_OQ),
                                      _mm256_cmp_pd(within, far, _CMP_LT_OQ));
        if (_mm256_movemask_pd(_mm256_and_pd(inside, clear)) != 0xf) {
            for (size_t k = i; k < i + 4; k++)
                st__histogram_add(histogram, bins, values[k], 1);
            continue;
        }
        lane0[_mm_extract_epi32(bin, 0)]++;
        lane1[_mm_extract_epi32(bin, 1)]++;
        lane2[_mm_extract_epi32(bin, 2)]++;
        lane3[_mm_extract_epi32(bin, 3)]++;
    }
    return i;
}

/* --------------------------------------------------------------------------------- which */

static const st__kernels kernels_avx2 = {
    .f64 = f64_avx2,
    .f32 = f32_avx2,
    .f16 = f16_avx2,
    .bf16 = bf16_avx2,
    .i8 = i8_avx2,
    .u8 = u8_avx2,
    .bins = bins_avx2,
};

const st__kernels *st__kernels_here(void)
{
    unsigned a, b, c, d;
    const unsigned wanted = bit_FMA | bit_F16C;
    bool both = __get_cpuid(1, &a, &b, &c, &d) && (c & wanted) == wanted;
    return both && __builtin_cpu_supports("avx2") ? &kernels_avx2 : &st__kernels_portable;
}

#else

const st__kernels *st__kernels_here(void)
{
    return &st__kernels_portable;
}

#endif
