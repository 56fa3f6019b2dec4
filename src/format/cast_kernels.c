/* SPDX-License-Identifier: Apache-2.0 */
#include "format/cast_kernels.h"
#include "format/float.h"

#include <string.h>

/* Each loop is written once and compiled twice, where the compiler can be told so: for any processor, and for those
 * with AVX2, whose vectors have twice the lanes, and can be shifted by another number of bits in each. */
#if defined(__GNUC__)
# define CAST_INLINE __attribute__((always_inline, unused))
#else
# define CAST_INLINE
#endif
#if defined(__GNUC__) && defined(__x86_64__) && !defined(ST_NO_SIMD)
# define CAST_KERNEL_OF(name, loop, avx2_loop, parameters, arguments) \
  static __attribute__((target("avx2"))) void name##_avx2 parameters  \
  {                                                                   \
   avx2_loop arguments;                                               \
  }                                                                   \
  void st__block_##name parameters                                    \
  {                                                                   \
   if (__builtin_cpu_supports("avx2"))                                \
    name##_avx2 arguments;                                            \
   else                                                               \
    loop arguments;                                                   \
  }
#else
# define CAST_KERNEL_OF(name, loop, avx2_loop, parameters, arguments) \
  void st__block_##name parameters                                    \
  {                                                                   \
   loop arguments;                                                    \
  }
#endif
#define CAST_KERNEL(name, parameters, arguments) \
 CAST_KERNEL_OF(name, name##_loop, name##_loop, parameters, arguments)

#define F32_INFINITE  UINT32_C(0x7f800000)
#define F32_QUIET_NAN UINT32_C(0x7fc00000)
#define F32_MAGNITUDE UINT32_C(0x7fffffff)
#define F32_IMPLICIT  UINT32_C(0x00800000)

/* All bits, or none. */
static inline uint32_t mask_of(bool set)
{
    return 0 - (uint32_t)set;
}

static inline uint64_t wide_mask_of(bool set)
{
    return 0 - (uint64_t)set;
}

static inline uint32_t pick(uint32_t mask, uint32_t set, uint32_t unset)
{
    return (mask & set) | (~mask & unset);
}

/* -------------------------------------------------------------------------------- narrower */

/* Found by encoding, so that what becomes of numbers that a format lacks is said in one place. */
static uint32_t special_code(const st__float_format *format, uint8_t what, bool negative)
{
    return (uint32_t)st__float_encode(format, (st__binary){.what = what, .negative = negative});
}

st__narrowing st__narrowing_of(st_dtype to)
{
    const st__float_format *f = &st__float_formats[to];
    st__narrowing n = {.first = 128 - f->bias,
                       .rebias = (uint32_t)(127 - f->bias) << 23,
                       .shift = (uint32_t)(23 - f->mantissa_bits),
                       .sign = UINT32_C(1) << (f->exponent_bits + f->mantissa_bits)};
    n.over = special_code(f, ST__BINARY_INFINITE, false);
    n.nan = special_code(f, ST__BINARY_NAN, false);
    n.beyond = n.over ^ special_code(f, ST__BINARY_INFINITE, true);
    n.zeros = special_code(f, ST__BINARY_FINITE, true);
    n.end = n.over < n.sign ? n.over : n.sign;
    if (f->rule == ST__FLOAT_FINITE)
        n.end = n.over + 1;
    return n;
}

/* 2^k for k of 0 to 30: a shift by as many bits, but by a multiplication, which SSE2 can do with another k per lane. */
static inline uint32_t power_of_two(int32_t k)
{
    uint32_t bits = (uint32_t)(127 + k) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return (uint32_t)(int32_t)power;
}

/* Drops `shift` bits, of which the least that stays tells whether any was set. */
static inline uint32_t shift_to_odd(uint32_t value, uint32_t shift)
{
    uint32_t mask = (UINT32_C(1) << shift) - 1;
    return value >> shift | ((value & mask) + mask) >> shift;
}

/* A number below the least normal one of the new format, as if exponents went on: the significand moved down by
 * `depth` bits, 15 of them standing for all more. The format's mantissa has at most 10 bits. */
static inline uint32_t subnormal_align(uint32_t magnitude, int32_t depth, bool shifts)
{
    uint32_t significand = (magnitude & (F32_IMPLICIT - 1)) | F32_IMPLICIT; /* 24 bits */
    if (shifts) {
        uint32_t low = significand >> depth;
        return low | (low << depth != significand);
    }
    uint32_t odd = shift_to_odd(significand, 7); /* 17 bits */
    return shift_to_odd(odd * power_of_two(15 - depth), 8);
}

static inline CAST_INLINE void narrow_by(const st__narrowing *to, uint32_t *words,
                                         st_cast_report *report, bool shifts)
{
    const st__narrowing n = *to;
    const uint32_t below_half = (UINT32_C(1) << (n.shift - 1)) - 1;
    const uint32_t nan = n.nan ^ n.over, beyond_sign = n.beyond ^ n.sign, zeros = n.zeros ^ n.sign;
    uint32_t overflowed = 0, underflowed = 0;
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        uint32_t magnitude = words[i] & F32_MAGNITUDE, negative = mask_of(words[i] >> 31);
        int32_t depth = n.first - (int32_t)(magnitude >> 23);
        depth = depth < 0 ? 0 : depth;
        depth = depth > 15 ? 15 : depth;
        uint32_t low = subnormal_align(magnitude, depth, shifts);
        uint32_t value = depth ? low : magnitude - n.rebias;
        uint32_t rounded = (value + below_half + (value >> n.shift & 1)) >> n.shift;

        uint32_t beyond = mask_of((int32_t)rounded >= (int32_t)n.end), zero = mask_of(rounded == 0);
        uint32_t special = n.over ^ (nan & mask_of((int32_t)magnitude > (int32_t)F32_INFINITE));
        uint32_t sign = n.sign ^ (beyond_sign & beyond) ^ (zeros & zero);
        words[i] = pick(beyond, special, rounded) ^ (sign & negative);
        overflowed -= beyond & mask_of((int32_t)magnitude < (int32_t)F32_INFINITE);
        underflowed -= zero & mask_of((int32_t)magnitude > 0);
    }
    report->overflowed += overflowed;
    report->underflowed += underflowed;
}

static inline CAST_INLINE void narrow_loop(const st__narrowing *to, uint32_t *words,
                                           st_cast_report *report)
{
    narrow_by(to, words, report, false);
}

static inline CAST_INLINE void narrow_shifting_loop(const st__narrowing *to, uint32_t *words,
                                                    st_cast_report *report)
{
    narrow_by(to, words, report, true);
}
CAST_KERNEL_OF(narrow, narrow_loop, narrow_shifting_loop,
               (const st__narrowing *to, uint32_t *words, st_cast_report *report),
               (to, words, report))

/* The range of F32, and its upper half: the subnormal numbers need no care, and nothing but NaN does. */
static inline CAST_INLINE void narrow_bf16_loop(uint32_t *words, st_cast_report *report)
{
    uint32_t overflowed = 0, underflowed = 0;
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        uint32_t magnitude = words[i] & F32_MAGNITUDE, sign = words[i] >> 16 & 0x8000;
        uint32_t rounded = (magnitude + 0x7fff + (magnitude >> 16 & 1)) >> 16;
        uint32_t nan = mask_of((int32_t)magnitude > (int32_t)F32_INFINITE);
        words[i] = pick(nan, F32_QUIET_NAN >> 16, rounded) | sign;
        overflowed -= mask_of(rounded == F32_INFINITE >> 16) &
                      mask_of((int32_t)magnitude < (int32_t)F32_INFINITE);
        underflowed -= mask_of(rounded == 0) & mask_of((int32_t)magnitude > 0);
    }
    report->overflowed += overflowed;
    report->underflowed += underflowed;
}
CAST_KERNEL(narrow_bf16, (uint32_t * words, st_cast_report *report), (words, report))

/* See encode_power in float.c. Numbers that are not positive are out of its range, too. */
static inline CAST_INLINE void narrow_e8m0_loop(uint32_t *words, st_cast_report *report)
{
    uint32_t overflowed = 0;
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        int32_t word = (int32_t)words[i], half = (int32_t)(F32_IMPLICIT >> 1);
        int32_t exponent = word >> 23, mantissa = word & (int32_t)(F32_IMPLICIT - 1);
        int32_t up = exponent ? mantissa >= half : mantissa > half;
        int32_t rounded = exponent + up;
        bool beyond = (word <= 0) | (rounded >= 0xff);
        words[i] = beyond ? 0xff : (uint32_t)rounded;
        overflowed += beyond & ((word & (int32_t)F32_MAGNITUDE) < (int32_t)F32_INFINITE);
    }
    report->overflowed += overflowed;
}
CAST_KERNEL(narrow_e8m0, (uint32_t * words, st_cast_report *report), (words, report))

static inline CAST_INLINE void settle_loop(uint32_t *words)
{
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        uint32_t magnitude = words[i] & F32_MAGNITUDE, sign = words[i] & ~F32_MAGNITUDE;
        words[i] = (int32_t)magnitude > (int32_t)F32_INFINITE ? F32_QUIET_NAN | sign : words[i];
    }
}
CAST_KERNEL(settle, (uint32_t * words), (words))

static inline CAST_INLINE void halve_loop(const uint32_t *words, uint16_t *halves)
{
    for (int i = 0; i < ST__CAST_BLOCK; i++)
        halves[i] = (uint16_t)words[i];
}
CAST_KERNEL(halve, (const uint32_t *words, uint16_t *halves), (words, halves))

/* ---------------------------------------------------------------------------------- wider */

static inline CAST_INLINE void widen_f16_loop(const uint16_t *halves, uint32_t *words)
{
    const uint32_t rebias = (uint32_t)(127 - 15) << 23;
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        uint32_t magnitude = halves[i] & 0x7fffu, sign = (uint32_t)(halves[i] >> 15) << 31;
        /* Infinity and NaN have the highest exponent again. */
        uint32_t normal = (magnitude << 13) + rebias + (mask_of(magnitude > 0x7bff) & rebias), low;
        /* A subnormal one is its mantissa times 2^-24. */
        float mantissa = (float)(int32_t)magnitude;
        memcpy(&low, &mantissa, sizeof low);
        low = (low - (UINT32_C(24) << 23)) & mask_of(magnitude != 0);
        words[i] = pick(mask_of(magnitude < 0x400), low, normal) | sign;
    }
}
CAST_KERNEL(widen_f16, (const uint16_t *halves, uint32_t *words), (halves, words))

static inline CAST_INLINE void widen_bf16_loop(const uint16_t *halves, uint32_t *words)
{
    for (int i = 0; i < ST__CAST_BLOCK; i++)
        words[i] = (uint32_t)halves[i] << 16;
}
CAST_KERNEL(widen_bf16, (const uint16_t *halves, uint32_t *words), (halves, words))

static inline CAST_INLINE void widen_f32_loop(const uint32_t *words, uint64_t *doubles)
{
    const uint64_t rebias = (uint64_t)(1023 - 127) << 52;
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        uint32_t magnitude = words[i] & F32_MAGNITUDE;
        uint64_t special = wide_mask_of(magnitude >= F32_INFINITE), low;
        uint64_t normal = ((uint64_t)magnitude << 29) + rebias + (special & rebias);
        double mantissa = (double)(int32_t)(magnitude & (F32_IMPLICIT - 1)); /* times 2^-149 */
        memcpy(&low, &mantissa, sizeof low);
        low = (low - (UINT64_C(149) << 52)) & wide_mask_of(magnitude != 0);
        uint64_t subnormal = wide_mask_of(magnitude < F32_IMPLICIT);
        uint64_t nan = wide_mask_of(magnitude > F32_INFINITE);
        uint64_t code = (subnormal & low) | (~subnormal & normal);
        code = (nan & (UINT64_C(0x7ff8) << 48)) | (~nan & code);
        doubles[i] = code | (uint64_t)(words[i] >> 31) << 63;
    }
}
CAST_KERNEL(widen_f32, (const uint32_t *words, uint64_t *doubles), (words, doubles))

/* ------------------------------------------------------------------------------ from F64 */

/* The magnitude of a finite F64 with the exponents of F32: the code of F32, and behind it 29 bits of rest. */
static inline uint64_t f64_align(uint64_t magnitude)
{
    int64_t exponent = (int64_t)(magnitude >> 52) - (1023 - 127);
    if (exponent > 0)
        return magnitude - ((uint64_t)(1023 - 127) << 52);
    /* Below the least normal F32: moved down, and from 63 bits on nothing is left but that it is not 0. */
    uint64_t implicit = UINT64_C(1) << 52, significand = (magnitude & (implicit - 1)) | implicit;
    int64_t depth = 1 - exponent;
    if (depth > 62)
        return magnitude != 0;
    return significand >> depth | ((significand & ((UINT64_C(1) << depth) - 1)) != 0);
}

#define F64_MAGNITUDE (UINT64_MAX >> 1)
#define F64_INFINITE  (UINT64_C(0x7ff) << 52)
#define F64_REST      ((UINT64_C(1) << 29) - 1)

static inline uint32_t f64_special(uint64_t magnitude)
{
    return magnitude > F64_INFINITE ? F32_QUIET_NAN : F32_INFINITE;
}

void st__block_odd_f64(const uint64_t *doubles, uint32_t *words)
{
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        uint64_t magnitude = doubles[i] & F64_MAGNITUDE, aligned = f64_align(magnitude);
        uint64_t code = aligned >> 29 | ((aligned & F64_REST) != 0);
        /* What is beyond F32 is still finite, and beyond every narrower format. */
        uint32_t finite = code < F32_INFINITE ? (uint32_t)code : F32_INFINITE - 1;
        uint32_t sign = (uint32_t)(doubles[i] >> 63) << 31;
        words[i] = (magnitude < F64_INFINITE ? finite : f64_special(magnitude)) | sign;
    }
}

void st__block_round_f64(const uint64_t *doubles, uint32_t *words, st_cast_report *report)
{
    for (int i = 0; i < ST__CAST_BLOCK; i++) {
        uint64_t magnitude = doubles[i] & F64_MAGNITUDE, aligned = f64_align(magnitude);
        uint64_t code = (aligned + (F64_REST >> 1) + (aligned >> 29 & 1)) >> 29;
        uint32_t sign = (uint32_t)(doubles[i] >> 63) << 31;
        bool beyond = code >= F32_INFINITE;
        words[i] = (beyond ? f64_special(magnitude) : (uint32_t)code) | sign;
        report->overflowed += beyond & (magnitude < F64_INFINITE);
        report->underflowed += (code == 0) & (magnitude != 0);
    }
}
