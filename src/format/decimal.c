/* SPDX-License-Identifier: Apache-2.0 */
#include "format/decimal.h"

#include <string.h>

/* 9 * 2^60 plus a carry below 2^60 fits 64 bits, and so does 10 * (2^60 - 1) + 9. */
#define SCALE_MAX 60

static void digits_trim(st__decimal *d)
{
    while (d->count > 0 && d->digits[d->count - 1] == 0)
        d->count--;
}

/* Puts a digit at the place `index`, or notes its loss. */
static void digit_put(st__decimal *d, int32_t index, uint64_t digit)
{
    if (index < ST__DECIMAL_DIGITS)
        d->digits[index] = (uint8_t)digit;
    else if (digit)
        d->truncated = true;
}

/* Multiplies by 2^shift, 1 .. SCALE_MAX: from the last digit to the first, moved right to make
 * room for the digits that the number gains. */
static void multiply(st__decimal *d, int32_t shift)
{
    int32_t room = shift * 1233 / 4096 + 1; /* more than shift * log10(2) */
    uint64_t carry = 0;
    for (int32_t i = d->count + room - 1; i >= 0; i--) {
        if (i >= room)
            carry += (uint64_t)d->digits[i - room] << shift;
        digit_put(d, i, carry % 10);
        carry /= 10;
    }
    d->count = d->count + room < ST__DECIMAL_DIGITS ? d->count + room : ST__DECIMAL_DIGITS;
    d->point += room;
    int32_t zeros = 0;
    while (zeros < d->count && d->digits[zeros] == 0)
        zeros++;
    memmove(d->digits, d->digits + zeros, (size_t)(d->count - zeros));
    d->count -= zeros;
    d->point -= zeros;
    digits_trim(d);
}

/* Divides by 2^shift, 1 .. SCALE_MAX: long division from the first digit on. */
static void divide(st__decimal *d, int32_t shift)
{
    const uint64_t mask = (UINT64_C(1) << shift) - 1;
    uint64_t rest = 0;
    int32_t in = 0, out = 0;
    for (; in < d->count || rest; in++) {
        rest = rest * 10 + (in < d->count ? d->digits[in] : 0);
        if (out == 0 && rest >> shift == 0) {
            d->point--;
            continue;
        }
        digit_put(d, out++, rest >> shift);
        rest &= mask;
    }
    d->count = out < ST__DECIMAL_DIGITS ? out : ST__DECIMAL_DIGITS;
    digits_trim(d);
}

void st__decimal_scale(st__decimal *d, int32_t shift)
{
    int32_t left = d->count == 0 ? 0 : shift < 0 ? -shift : shift;
    while (left > 0) {
        int32_t step = left < SCALE_MAX ? left : SCALE_MAX;
        if (shift > 0)
            multiply(d, step);
        else
            divide(d, step);
        left -= step;
    }
}

void st__decimal_init(st__decimal *d, st__binary value)
{
    uint8_t reversed[20];
    int32_t n = 0;
    for (uint64_t rest = value.significand; rest; rest /= 10)
        reversed[n++] = (uint8_t)(rest % 10);
    d->count = d->point = n;
    d->truncated = false;
    for (int32_t i = 0; i < n; i++)
        d->digits[i] = reversed[n - 1 - i];
    digits_trim(d);
    st__decimal_scale(d, value.exponent);
}

/* The digits before the point; false if they are 2^64 or more. */
static bool integer_part(const st__decimal *d, uint64_t *out)
{
    uint64_t value = 0;
    for (int32_t i = 0; i < d->point; i++) {
        unsigned digit = i < d->count ? d->digits[i] : 0;
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* Scales to an integer part of 64 bits, first by digits: 2^63 and 2^64 have 19 and 20, and 2^3
 * is less than 10, so that no step goes too far. */
st__binary st__decimal_split(st__decimal *d)
{
    st__binary value = {0};
    if (d->count == 0)
        return value;
    while (d->point > 20 || d->point < 19) {
        int32_t shift = d->point > 20 ? (20 - d->point) * 3 : (19 - d->point) * 3;
        st__decimal_scale(d, shift);
        value.exponent -= shift;
    }
    for (;;) {
        int32_t shift = 1;
        if (!integer_part(d, &value.significand))
            shift = -1;
        else if (value.significand >> 63)
            break;
        st__decimal_scale(d, shift);
        value.exponent -= shift;
    }
    value.inexact = d->count > d->point || d->truncated;
    return value;
}

static int decimal_compare(const st__decimal *a, const st__decimal *b)
{
    if (a->point != b->point)
        return a->point < b->point ? -1 : 1;
    int32_t common = a->count < b->count ? a->count : b->count;
    int order = memcmp(a->digits, b->digits, (size_t)common);
    return order ? order : a->count - b->count;
}

/* The bounds of an interval as decimals. */
typedef struct bounds {
    st__decimal low, high;
    bool low_in, high_in;
} bounds;

static bool within(const bounds *b, const st__decimal *d)
{
    int low = decimal_compare(d, &b->low), high = decimal_compare(d, &b->high);
    return (low > 0 || (low == 0 && b->low_in)) && (high < 0 || (high == 0 && b->high_in));
}

/* The first `n` digits, as they are or one more in the last place. */
static void digits_cut(const st__decimal *exact, int32_t n, bool up, st__decimal *out)
{
    memcpy(out->digits, exact->digits, (size_t)n);
    out->count = n;
    out->point = exact->point;
    out->truncated = false;
    if (up) {
        while (out->count > 0 && out->digits[out->count - 1] == 9)
            out->count--;
        if (out->count == 0) {
            out->digits[out->count++] = 0;
            out->point++;
        }
        out->digits[out->count - 1]++;
    }
    digits_trim(out);
}

/* Tells whether the first `n` digits are better rounded up; half goes to the even digit. */
static bool nearer_up(const st__decimal *d, int32_t n)
{
    if (d->digits[n] != 5 || d->count > n + 1)
        return d->digits[n] >= 5;
    return d->digits[n - 1] % 2 != 0;
}

void st__decimal_shortest(const st__decimal *exact, const st__float_interval *interval,
                          st__decimal *out)
{
    bounds b = {.low_in = interval->low_in, .high_in = interval->high_in};
    st__decimal_init(&b.low, interval->low);
    st__decimal_init(&b.high, interval->high);
    for (int32_t n = 1; n < exact->count; n++) {
        bool up = nearer_up(exact, n);
        for (int tries = 0; tries < 2; tries++, up = !up) {
            digits_cut(exact, n, up, out);
            if (within(&b, out))
                return;
        }
    }
    digits_cut(exact, exact->count, false, out);
}
