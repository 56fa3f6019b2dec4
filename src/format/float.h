/* SPDX-License-Identifier: Apache-2.0 */
/* Binary floating-point formats from F4 to F64, told apart by a table row and nothing else.
 *
 * A code is an element's bits: sign, exponent, mantissa from the top down. Between formats,
 * integers and decimal text stands st__binary, which holds any of them exactly, so that each
 * conversion rounds once. No floating-point arithmetic is done: x87 registers and rounding modes
 * cannot matter. */
#ifndef ST_FORMAT_FLOAT_H
#define ST_FORMAT_FLOAT_H

#include <safetensors/safetensors.h>

enum { ST__BINARY_FINITE = 0, ST__BINARY_INFINITE, ST__BINARY_NAN };

/* (-1)^negative * (significand + e) * 2^exponent, with 0 < e < 1 if `inexact`, else e = 0. */
typedef struct st__binary {
    uint64_t significand;
    int32_t exponent;
    uint8_t what; /* ST__BINARY_… */
    bool negative;
    bool inexact;
} st__binary;

/* What the codes at the top of the range mean. */
enum {
    ST__FLOAT_IEEE = 1, /* highest exponent: infinity, or NaN where the mantissa is not 0 */
    ST__FLOAT_FN,       /* no infinity; NaN is all ones */
    ST__FLOAT_FNUZ,     /* no infinity, no -0; NaN is what would be -0 */
    ST__FLOAT_FINITE,   /* neither infinity nor NaN */
    ST__FLOAT_POWER     /* powers of two: no sign, no zero; NaN is all ones */
};

typedef struct st__float_format {
    uint8_t exponent_bits;
    uint8_t mantissa_bits;
    uint8_t rule; /* ST__FLOAT_… */
    int16_t bias;
} st__float_format;

/* By dtype; C64 has the format of its halves, dtypes that hold no floats an empty row. */
extern const st__float_format st__float_formats[ST_DTYPE_COUNT + 1];

st__binary st__float_split(const st__float_format *format, uint64_t code);
st__binary st__double_split(double value);

double st__float_decode(const st__float_format *format, uint64_t code);
/* Rounds to nearest, ties to even (powers of two: up); see st_element_encode for the rest. */
uint64_t st__float_encode(const st__float_format *format, st__binary value);

/* The numbers that encode to one code: those between two bounds, themselves in or out. */
typedef struct st__float_interval {
    st__binary low, high;
    bool low_in, high_in;
} st__float_interval;

/* `code` is finite, positive and not 0. For the largest one, only as far as its rounding would
 * reach were the format to go on. */
st__float_interval st__float_interval_of(const st__float_format *format, uint64_t code);

#endif
