/* SPDX-License-Identifier: Apache-2.0 */
#include "format/float_text.h"
#include "format/decimal.h"

#include <string.h>

size_t st__integer_print(uint64_t magnitude, bool negative, char text[21])
{
    char reversed[20];
    size_t n = 0, len = 0;
    do {
        reversed[n++] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude);
    if (negative)
        text[len++] = '-';
    while (n)
        text[len++] = reversed[--n];
    text[len] = '\0';
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
