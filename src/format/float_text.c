/* SPDX-License-Identifier: Apache-2.0 */
#include "format/float_text.h"
#include "format/decimal.h"

#include <string.h>

static const uint64_t powers_of_ten[20] = {
    1u,
    10u,
    100u,
    1000u,
    10000u,
    100000u,
    1000000u,
    10000000u,
    100000000u,
    1000000000u,
    UINT64_C(10000000000),
    UINT64_C(100000000000),
    UINT64_C(1000000000000),
    UINT64_C(10000000000000),
    UINT64_C(100000000000000),
    UINT64_C(1000000000000000),
    UINT64_C(10000000000000000),
    UINT64_C(100000000000000000),
    UINT64_C(1000000000000000000),
    UINT64_C(10000000000000000000),
};

size_t st__integer_digits(uint64_t value)
{
    size_t n = 1;
    while (n < 20 && value >= powers_of_ten[n])
        n++;
    return n;
}

size_t st__integer_print(uint64_t magnitude, bool negative, char text[21])
{
    static const char pairs[] = "0001020304050607080910111213141516171819"
                                "2021222324252627282930313233343536373839"
                                "4041424344454647484950515253545556575859"
                                "6061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    size_t len = st__integer_digits(magnitude) + negative, at = len;
    if (negative)
        text[0] = '-';
    text[len] = '\0';
    for (; magnitude >= 10; magnitude /= 100)
        memcpy(text + (at -= 2), pairs + magnitude % 100 * 2, 2);
    if (at > negative)
        text[at - 1] = (char)('0' + magnitude);
    return len;
}

/* d.ddde[-]x */
static size_t scientific_print(const st__decimal *d, char *text)
{
    size_t len = 0;
    text[len++] = (char)('0' + d->digits[0]);
    if (d->count > 1)
        text[len++] = '.';
    for (int32_t i = 1; i < d->count; i++)
        text[len++] = (char)('0' + d->digits[i]);
    text[len++] = 'e';
    int32_t exponent = d->point - 1;
    uint64_t magnitude = (uint64_t)(exponent < 0 ? -exponent : exponent);
    return len + st__integer_print(magnitude, exponent < 0, text + len);
}

/* ddd.ddd, or 0.00ddd. Digits that end before the point are followed by those of `exact`, which
 * is as long and says more: 448, not 450. */
static size_t positional_print(const st__decimal *d, const st__decimal *exact, char *text)
{
    if (d->count < d->point)
        d = exact;
    size_t len = 0;
    if (d->point <= 0) {
        memcpy(text, "0.0000", 6);
        len = 2 + (size_t)-d->point;
    }
    int32_t end = d->count > d->point ? d->count : d->point;
    for (int32_t i = 0; i < end; i++) {
        if (i > 0 && i == d->point)
            text[len++] = '.';
        text[len++] = (char)('0' + (i < d->count ? d->digits[i] : 0));
    }
    text[len] = '\0';
    return len;
}

/* Positional from 0.0001 to 9999999, and beyond where all digits before the point are needed. */
static size_t digits_print(const st__decimal *d, const st__decimal *exact, char *text)
{
    int32_t exponent = d->point - 1;
    if (exponent < -4 || (exponent > 6 && d->count <= exponent))
        return scientific_print(d, text);
    return positional_print(d, exact, text);
}

size_t st__float_print(const st__float_format *format, uint64_t code,
                       char text[ST__FLOAT_TEXT_SIZE])
{
    st__binary value = st__float_split(format, code);
    if (value.what == ST__BINARY_NAN) {
        memcpy(text, "nan", 4);
        return 3;
    }
    size_t len = 0;
    if (value.negative)
        text[len++] = '-';
    if (value.what == ST__BINARY_INFINITE) {
        memcpy(text + len, "inf", 4);
        return len + 3;
    }
    if (value.significand == 0) {
        memcpy(text + len, "0", 2);
        return len + 1;
    }
    value.negative = false;
    st__float_interval interval = st__float_interval_of(format, st__float_encode(format, value));
    st__decimal exact, shortest;
    st__decimal_init(&exact, value);
    st__decimal_shortest(&exact, &interval, &shortest);
    return len + digits_print(&shortest, &exact, text + len);
}

size_t st__double_print(double value, char text[ST__FLOAT_TEXT_SIZE])
{
    const st__float_format *format = &st__float_formats[ST_F64];
    return st__float_print(format, st__float_encode(format, st__double_split(value)), text);
}
