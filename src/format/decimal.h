/* SPDX-License-Identifier: Apache-2.0 */
/* Exact decimal numbers, for the way from text to binary and back. libc's own depends on the
 * locale, which another thread may change, and knows no formats beyond float and double.
 *
 * A decimal holds every digit of any double, and of the halfway points between two: 768 at most.
 * Multiplying and dividing by powers of two is all the arithmetic there is. */
#ifndef ST_FORMAT_DECIMAL_H
#define ST_FORMAT_DECIMAL_H

#include "format/float.h"

#define ST__DECIMAL_DIGITS 800

/* 0.d1d2d3... * 10^point, without zeros at either end; no digits at all: 0. */
typedef struct st__decimal {
    int32_t count;
    int32_t point;
    bool truncated;                     /* digits other than 0 beyond the last were lost */
    uint8_t digits[ST__DECIMAL_DIGITS]; /* 0 .. 9 */
} st__decimal;

/* Takes a finite number, its sign aside. */
void st__decimal_init(st__decimal *decimal, st__binary value);
/* Multiplies by 2^shift. */
void st__decimal_scale(st__decimal *decimal, int32_t shift);
/* The number with its 64 highest bits. Uses the decimal up. |point| < 100,000. */
st__binary st__decimal_split(st__decimal *decimal);

/* The fewest digits of any decimal in `interval`, and of those the one nearest to `exact`, which
 * lies in it. */
void st__decimal_shortest(const st__decimal *exact, const st__float_interval *interval,
                          st__decimal *out);

#endif
