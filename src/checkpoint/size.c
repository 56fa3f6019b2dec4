/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes as people write them, in our reading and in huggingface_hub's. */
#include "base/checked.h"
#include "base/error.h"

#include <safetensors/checkpoint.h>
#include <safetensors/json.h>

#include <inttypes.h>
#include <string.h>

typedef struct size_unit {
    const char *name; /* in capitals */
    uint64_t bytes;
} size_unit;

static const size_unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"KB", UINT64_C(1000)},
    {"MB", UINT64_C(1000000)},
    {"GB", UINT64_C(1000000000)},
    {"TB", UINT64_C(1000000000000)},
    {"KIB", UINT64_C(1) << 10},
    {"MIB", UINT64_C(1) << 20},
    {"GIB", UINT64_C(1) << 30},
    {"TIB", UINT64_C(1) << 40},
};
/* Those that huggingface_hub knows. */
enum { HUB_FIRST = 2, HUB_LAST = 5 };

static ST__COLD st_status size_refuse(const char *text, size_t len, const char *why,
                                      st_error *error)
{
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "the size %s %s",
                    st__quote(text, len).text, why);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_decimal(char c)
{
    return c >= '0' && c <= '9';
}

static void blanks_trim(const char **text, size_t *len)
{
    while (*len && is_blank(**text)) {
        ++*text;
        --*len;
    }
    while (*len && is_blank((*text)[*len - 1]))
        --*len;
}

/* Tells whether a text is this unit, in any case. */
static bool is_unit(const char *text, size_t len, const char *name)
{
    if (strlen(name) != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (c != name[i])
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------ ours */

static const size_unit *unit_find(const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof size_units / sizeof *size_units; i++)
        if (is_unit(text, len, size_units[i].name))
            return &size_units[i];
    return NULL;
}

/* Gives the whole bytes that the digits behind the point are of a unit: exactly, from the last digit to the first. */
static uint64_t fraction_bytes(const char *digits, size_t count, uint64_t unit)
{
    uint64_t bytes = 0;
    while (count-- > 0)
        bytes = ((uint64_t)(digits[count] - '0') * unit + bytes) / 10;
    return bytes;
}

/* What a size is made of: digits, digits behind a point, a unit. */
typedef struct size_parts {
    const char *whole;
    size_t whole_len;
    const char *fraction;
    size_t fraction_len;
    const char *unit;
    size_t unit_len;
} size_parts;

static size_t digits_len(const char *text, size_t len)
{
    size_t count = 0;
    while (count < len && is_decimal(text[count]))
        count++;
    return count;
}

/* Gives what is wrong with it, or NULL. */
static const char *size_take_apart(const char *text, size_t len, size_parts *out)
{
    blanks_trim(&text, &len);
    *out = (size_parts){.whole = text, .whole_len = digits_len(text, len)};
    size_t at = out->whole_len;
    if (at == 0)
        return "does not begin with a digit";
    out->fraction = text + at;
    if (at < len && text[at] == '.') {
        out->fraction = text + ++at;
        out->fraction_len = digits_len(text + at, len - at);
        if (out->fraction_len == 0)
            return "has no digits behind its point";
        at += out->fraction_len;
    }
    out->unit = text + at;
    out->unit_len = len - at;
    blanks_trim(&out->unit, &out->unit_len);
    return NULL;
}

static st_status size_read_ours(const char *text, size_t len, uint64_t *out, st_error *error)
{
    size_parts parts;
    const char *fault = size_take_apart(text, len, &parts);
    const size_unit *unit = fault ? NULL : unit_find(parts.unit, parts.unit_len);
    uint64_t total = 0;
    bool fits = true;
    if (!fault && !unit)
        fault = "has a unit that is none of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB";
    if (!fault && parts.unit_len == 2 && parts.unit[1] == 'b')
        fault = "may mean bits: write a capital B for bytes, as in GB";
    if (fault)
        return size_refuse(text, len, fault, error);
    for (size_t i = 0; i < parts.whole_len && fits; i++)
        fits = st__mul_u64(total, 10, &total) &&
               st__add_u64(total, (uint64_t)(parts.whole[i] - '0'), &total);
    uint64_t rest = fraction_bytes(parts.fraction, parts.fraction_len, unit->bytes);
    if (!fits || !st__mul_u64(total, unit->bytes, &total) || !st__add_u64(total, rest, &total))
        return size_refuse(text, len, "is beyond 2^64 bytes", error);
    *out = total;
    return ST_OK;
}

/* ----------------------------------------------------------------------------------- hub's */

/* A number as Python's float() takes it, made one that JSON has: no sign, digits on both sides of the point,
 * no underscores between them. False: it is none, or longer than anybody writes. */
typedef struct hub_number {
    char text[400];
    size_t len;
    bool negative;
} hub_number;

static bool number_put(hub_number *number, char c)
{
    if (number->len == sizeof number->text)
        return false;
    number->text[number->len++] = c;
    return true;
}

/* Takes digits, with single underscores between; gives how many, and where they end. */
static bool digits_take(hub_number *number, const char **at, const char *end, size_t *count)
{
    const char *p = *at;
    *count = 0;
    for (; p < end; p++) {
        if (*p == '_' && *count && p + 1 < end && is_decimal(p[1]))
            continue;
        if (!is_decimal(*p))
            break;
        ++*count;
        if (!number_put(number, *p))
            return false;
    }
    *at = p;
    return true;
}

/* Drops zeros before the first other digit of what was put so far, which JSON does not have, and makes no digits one
 * zero. */
static void whole_trim(hub_number *number)
{
    size_t zeros = 0;
    while (zeros + 1 < number->len && number->text[zeros] == '0')
        zeros++;
    memmove(number->text, number->text + zeros, number->len - zeros);
    number->len -= zeros;
    if (number->len == 0)
        number->text[number->len++] = '0';
}

static bool exponent_take(hub_number *number, const char **at, const char *end)
{
    size_t digits;
    if (*at == end || (**at != 'e' && **at != 'E'))
        return true;
    ++*at;
    if (!number_put(number, 'e'))
        return false;
    if (*at < end && (**at == '+' || **at == '-')) {
        if (!number_put(number, **at))
            return false;
        ++*at;
    }
    return digits_take(number, at, end, &digits) && digits > 0;
}

static bool hub_number_read(hub_number *number, const char *text, size_t len)
{
    const char *at = text, *end = text + len;
    size_t whole, fraction = 0;
    number->len = 0;
    number->negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (!digits_take(number, &at, end, &whole))
        return false;
    whole_trim(number);
    if (at < end && *at == '.') {
        at++;
        if (!number_put(number, '.') || !digits_take(number, &at, end, &fraction) ||
            (fraction == 0 && !number_put(number, '0')))
            return false;
    }
    return (whole || fraction) && exponent_take(number, &at, end) && at == end;
}

static st_status size_read_hub(const char *text, size_t len, uint64_t *out, st_error *error)
{
    const char *shown = text;
    const size_t shown_len = len;
    const size_unit *unit = NULL;
    hub_number number;
    double value;
    blanks_trim(&text, &len);
    for (size_t i = HUB_FIRST; len >= 2 && i <= HUB_LAST; i++)
        if (is_unit(text + len - 2, 2, size_units[i].name))
            unit = &size_units[i];
    if (!unit)
        return size_refuse(shown, shown_len, "has a unit that is none of KB, MB, GB, TB", error);
    len -= 2;
    blanks_trim(&text, &len);
    if (!hub_number_read(&number, text, len) ||
        !st_json_parse_double(number.text, number.len, &value))
        return size_refuse(shown, shown_len, "has no number before its unit", error);
    value *= (double)unit->bytes;
    if (number.negative && value >= 1)
        return size_refuse(shown, shown_len, "is negative", error);
    if (value >= 18446744073709551616.0)
        return size_refuse(shown, shown_len, "is beyond 2^64 bytes", error);
    *out = number.negative ? 0 : (uint64_t)value;
    return ST_OK;
}

st_status st_size_parse(const char *text, size_t len, uint32_t flags, uint64_t *out,
                        st_error *error)
{
    if (flags & ~(uint32_t)ST_SIZE_HUB)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_size_parse: unknown flags 0x%" PRIx32, flags & ~(uint32_t)ST_SIZE_HUB);
    return flags & ST_SIZE_HUB ? size_read_hub(text, len, out, error)
                               : size_read_ours(text, len, out, error);
}
