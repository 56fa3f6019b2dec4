/* SPDX-License-Identifier: Apache-2.0 */
#include <safetensors/json.h>

#include "format/decimal.h"

#include <string.h>

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

bool st_json_parse_u64(const char *text, size_t len, uint64_t *out)
{
    uint64_t value = 0;
    if (len == 0 || (len > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* A number's text taken apart. */
typedef struct number_text {
    const char *digits, *digits_end; /* a point among them, perhaps */
    int64_t exponent;
    bool negative;
} number_text;

/* Beyond this no count of digits that fits memory brings a number back into a double's range. */
#define EXPONENT_MAX (INT64_C(1) << 61)

/* Passes one digit or more; NULL if there is none. */
static const char *digits_pass(const char *p, const char *end)
{
    if (p == end || !is_digit((unsigned char)*p))
        return NULL;
    while (p < end && is_digit((unsigned char)*p))
        p++;
    return p;
}

static bool exponent_parse(const char *p, const char *end, int64_t *out)
{
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (digits_pass(p, end) != end)
        return false;
    int64_t value = 0;
    for (; p < end; p++)
        value = value < EXPONENT_MAX / 16 ? value * 10 + (*p - '0') : EXPONENT_MAX;
    *out = negative ? -value : value;
    return true;
}

/* The grammar of RFC 8259, section 6. */
static bool number_split(const char *p, const char *end, number_text *out)
{
    out->exponent = 0;
    out->negative = p < end && *p == '-';
    p += out->negative;
    out->digits = p;
    const char *whole_end = digits_pass(p, end);
    if (!whole_end || (*p == '0' && whole_end > p + 1))
        return false;
    p = whole_end;
    if (p < end && *p == '.') {
        p = digits_pass(p + 1, end);
        if (!p)
            return false;
    }
    out->digits_end = p;
    if (p == end)
        return true;
    return (*p == 'e' || *p == 'E') && exponent_parse(p + 1, end, &out->exponent);
}

/* The digits without zeros at either end, and the place of the point. */
static int64_t digits_read(const number_text *number, st__decimal *out)
{
    int64_t point = number->exponent;
    bool fraction = false;
    out->count = 0;
    out->truncated = false;
    for (const char *p = number->digits; p < number->digits_end; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        bool leading = out->count == 0 && *p == '0';
        if (leading ? fraction : !fraction)
            point += leading ? -1 : 1;
        if (leading)
            continue;
        if (out->count < ST__DECIMAL_DIGITS)
            out->digits[out->count++] = (uint8_t)(*p - '0');
        else if (*p != '0')
            out->truncated = true;
    }
    while (out->count > 0 && out->digits[out->count - 1] == 0)
        out->count--;
    return point;
}

bool st_json_parse_double(const char *text, size_t len, double *out)
{
    const st__float_format *format = &st__float_formats[ST_F64];
    number_text number;
    if (!number_split(text, text + len, &number))
        return false;
    st__decimal decimal;
    st__binary value = {0};
    int64_t point = digits_read(&number, &decimal);
    /* The largest double is 0.17...e309, and anything below 0.24e-323 rounds to 0. */
    if (decimal.count && point > 309)
        return false;
    if (decimal.count && point >= -323) {
        decimal.point = (int32_t)point;
        value = st__decimal_split(&decimal);
    }
    value.negative = number.negative;
    uint64_t code = st__float_encode(format, value);
    if (st__float_split(format, code).what != ST__BINARY_FINITE)
        return false;
    *out = st__float_decode(format, code);
    return true;
}
