/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts and rounding: the OCP 8-bit (OFP8) and microscaling (MX) specifications for F8, F6, F4
 * and E8M0, ml_dtypes for FNUZ and for what becomes of values that a format lacks. */
#include "format/float.h"

#include <string.h>

const st__float_format st__float_formats[ST_DTYPE_COUNT + 1] = {
    [ST_F16] = {5, 10, ST__FLOAT_IEEE, 15},       [ST_BF16] = {8, 7, ST__FLOAT_IEEE, 127},
    [ST_F32] = {8, 23, ST__FLOAT_IEEE, 127},      [ST_F64] = {11, 52, ST__FLOAT_IEEE, 1023},
    [ST_C64] = {8, 23, ST__FLOAT_IEEE, 127},      [ST_F8_E4M3] = {4, 3, ST__FLOAT_FN, 7},
    [ST_F8_E5M2] = {5, 2, ST__FLOAT_IEEE, 15},    [ST_F8_E8M0] = {8, 0, ST__FLOAT_POWER, 127},
    [ST_F8_E4M3FNUZ] = {4, 3, ST__FLOAT_FNUZ, 8}, [ST_F8_E5M2FNUZ] = {5, 2, ST__FLOAT_FNUZ, 16},
    [ST_F6_E2M3] = {2, 3, ST__FLOAT_FINITE, 1},   [ST_F6_E3M2] = {3, 2, ST__FLOAT_FINITE, 3},
    [ST_F4] = {2, 1, ST__FLOAT_FINITE, 1},
};

/* The sign's bit; for powers of two, which have none, the bit above the code. */
static uint64_t sign_bit(const st__float_format *f)
{
    return UINT64_C(1) << (f->exponent_bits + f->mantissa_bits);
}

/* The code of infinity, or of the least code beyond the finite ones. */
static uint64_t finite_end(const st__float_format *f)
{
    uint64_t end = sign_bit(f);
    switch (f->rule) {
    case ST__FLOAT_IEEE: return end - (UINT64_C(1) << f->mantissa_bits);
    case ST__FLOAT_FN:
    case ST__FLOAT_POWER: return end - 1;
    default: return end;
    }
}

/* The NaN that a NaN, or a value out of range in a format without infinity, becomes. */
static uint64_t nan_code(const st__float_format *f, bool negative)
{
    uint64_t sign = sign_bit(f);
    switch (f->rule) {
    case ST__FLOAT_IEEE:
        return (negative ? sign : 0) | finite_end(f) | UINT64_C(1) << (f->mantissa_bits - 1);
    case ST__FLOAT_FN: return (negative ? sign : 0) | finite_end(f);
    case ST__FLOAT_FNUZ: return sign;
    case ST__FLOAT_POWER: return finite_end(f);
    default: return negative ? 0 : sign; /* as ml_dtypes: zero with the sign turned round */
    }
}

static uint64_t overflow_code(const st__float_format *f, bool negative)
{
    uint64_t sign = negative ? sign_bit(f) : 0;
    switch (f->rule) {
    case ST__FLOAT_IEEE: return sign | finite_end(f);
    case ST__FLOAT_FINITE: return sign | (finite_end(f) - 1);
    default: return nan_code(f, negative);
    }
}

st__binary st__float_split(const st__float_format *f, uint64_t code)
{
    uint64_t magnitude = code & (sign_bit(f) - 1);
    uint64_t mantissa = magnitude & ((UINT64_C(1) << f->mantissa_bits) - 1);
    int32_t exponent = (int32_t)(magnitude >> f->mantissa_bits);
    st__binary value = {.negative = (code & sign_bit(f)) != 0};
    if (f->rule == ST__FLOAT_POWER) {
        value.what = magnitude == finite_end(f) ? ST__BINARY_NAN : ST__BINARY_FINITE;
        value.significand = 1;
        value.exponent = exponent - f->bias;
        return value;
    }
    if (f->rule == ST__FLOAT_FNUZ && code == sign_bit(f)) {
        value.what = ST__BINARY_NAN;
        return value;
    }
    if (magnitude >= finite_end(f)) {
        bool infinite = f->rule == ST__FLOAT_IEEE && mantissa == 0;
        value.what = infinite ? ST__BINARY_INFINITE : ST__BINARY_NAN;
        return value;
    }
    bool subnormal = exponent == 0;
    value.significand = mantissa | (uint64_t)!subnormal << f->mantissa_bits;
    value.exponent = exponent + subnormal - f->bias - f->mantissa_bits;
    return value;
}

static double double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

st__binary st__double_split(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return st__float_split(&st__float_formats[ST_F64], bits);
}

double st__float_decode(const st__float_format *f, uint64_t code)
{
    uint64_t magnitude = code & (sign_bit(f) - 1);
    /* Nearly every element is normal: its bits only move. (Of powers of two all but the least.) */
    if (magnitude >> f->mantissa_bits && magnitude < finite_end(f)) {
        uint64_t rebias = (uint64_t)(1023 - f->bias) << 52;
        uint64_t sign = (uint64_t)((code & sign_bit(f)) != 0) << 63;
        return double_of_bits(sign | ((magnitude << (52 - f->mantissa_bits)) + rebias));
    }
    return double_of_bits(st__float_encode(&st__float_formats[ST_F64], st__float_split(f, code)));
}

/* Moves the significand, which is not 0, up to bit 63. An inexact one keeps e within one unit
 * only where it has 64 bits already. */
static void normalize(st__binary *value)
{
    for (int32_t shift = 32; shift; shift >>= 1) {
        if (value->significand >> (64 - shift) == 0) {
            value->significand <<= shift;
            value->exponent -= shift;
        }
    }
}

/* The nearest power of two. Below the least normal F32, 2^-126, ml_dtypes rounds everything above
 * 2^-127 up and everything else to 2^-127; scales must come out the same as with it. */
static uint64_t encode_power(const st__float_format *f, st__binary value)
{
    if (value.negative || value.significand == 0)
        return nan_code(f, false);
    normalize(&value);
    int32_t exponent = value.exponent + 63 + f->bias;
    bool above = value.significand << 1 != 0 || value.inexact;
    bool up = exponent == 0 ? above : value.significand >> 62 == 3;
    if (exponent < 0)
        return 0;
    exponent += up;
    return (uint64_t)exponent >= finite_end(f) ? nan_code(f, false) : (uint64_t)exponent;
}

/* Rounds a significand with its top bit in bit 63 to its `keep` highest bits, -1 or less .. 53. */
static uint64_t round_to_even(const st__binary *value, int32_t keep)
{
    if (keep < 0)
        return 0;
    uint64_t half = UINT64_C(1) << (63 - keep);
    uint64_t kept = keep ? value->significand >> (64 - keep) : 0;
    uint64_t rest = keep ? value->significand << keep >> keep : value->significand;
    bool up = rest > half || (rest == half && (value->inexact || (kept & 1)));
    return kept + up;
}

uint64_t st__float_encode(const st__float_format *f, st__binary value)
{
    if (value.what == ST__BINARY_NAN)
        return nan_code(f, value.negative);
    if (value.what == ST__BINARY_INFINITE)
        return overflow_code(f, value.negative);
    if (f->rule == ST__FLOAT_POWER)
        return encode_power(f, value);

    uint64_t code = 0;
    if (value.significand) {
        normalize(&value);
        int32_t exponent = value.exponent + 63 + f->bias; /* the exponent field, if normal */
        if (exponent >= 1 << f->exponent_bits)
            return overflow_code(f, value.negative);
        int32_t keep = f->mantissa_bits + (exponent > 0 ? 1 : exponent);
        /* A normal significand's leading 1 adds 1 to the field, as does a carry out of rounding. */
        uint64_t field = exponent > 0 ? (uint64_t)(exponent - 1) : 0;
        code = (field << f->mantissa_bits) + round_to_even(&value, keep);
        if (code >= finite_end(f))
            return overflow_code(f, value.negative);
    }
    if (value.negative && (code || f->rule != ST__FLOAT_FNUZ))
        code |= sign_bit(f);
    return code;
}

st__float_interval st__float_interval_of(const st__float_format *f, uint64_t code)
{
    st__binary value = st__float_split(f, code);
    uint64_t m = value.significand;
    st__float_interval interval;
    interval.low = interval.high = value;
    interval.high.significand = 2 * m + 1;
    interval.high.exponent = value.exponent - 1;
    interval.low_in = interval.high_in = code % 2 == 0;
    /* Below a power of two, numbers lie twice as close, but for the least normal one. */
    bool closer = f->rule == ST__FLOAT_POWER ||
                  (m == UINT64_C(1) << f->mantissa_bits && code >> f->mantissa_bits > 1);
    interval.low.significand = closer ? 4 * m - 1 : 2 * m - 1;
    interval.low.exponent = value.exponent - (closer ? 2 : 1);
    if (f->rule == ST__FLOAT_POWER) {
        interval.low_in = code != 1;
        interval.high_in = code == 0;
        if (code == 0)
            interval.high = value;
        if (code == 1) { /* see encode_power */
            interval.low.significand = 1;
            interval.low.exponent = value.exponent - 1;
        }
    }
    return interval;
}
