/* SPDX-License-Identifier: Apache-2.0 */
/* The text form of an index, as between NumPy's brackets:
 *
 *     text  = [ "[" ] [ "()" | item *( "," item ) [ "," ] ] [ "]" ]     blanks anywhere between tokens
 *     item  = "..." | "None" | "newaxis" | int | [ int ] ":" [ int ] [ ":" [ int ] ]
 *     int   = [ "+" | "-" ] 1*digit
 *
 * Integers beyond int64 become its ends, which lie outside every dimension that has elements. */
#include "format/region.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

typedef struct index_text {
    const char *text;
    size_t len;
    size_t at;
    bool bracket;
    const st_tensor *tensor;
    st_error *error;
} index_text;

static st_status text_fail(const index_text *in, const char *what)
{
    st__quoted name = st__quote(in->tensor->name, in->tensor->name_len);
    st__quoted text = st__quote(in->text, in->len);
    if (in->at == in->len)
        return st__fail(in->error, ST_ERR_INDEX, ST_NO_OFFSET, "tensor %s: index %s: %s at its end",
                        name.text, text.text, what);
    size_t rest = in->len - in->at;
    uint32_t c;
    size_t n = st__utf8_decode((const unsigned char *)in->text + in->at, rest, &c);
    return st__fail(in->error, ST_ERR_INDEX, ST_NO_OFFSET,
                    "tensor %s: index %s: %s at character %zu, %s", name.text, text.text, what,
                    in->at + 1, st__quote(in->text + in->at, n ? n : 1).text);
}

static void blanks_skip(index_text *in)
{
    while (in->at < in->len && (in->text[in->at] == ' ' || in->text[in->at] == '\t'))
        in->at++;
}

/* Takes a token and the blanks behind it. */
static bool token_take(index_text *in, const char *token)
{
    size_t n = strlen(token);
    if (n > in->len - in->at || memcmp(in->text + in->at, token, n) != 0)
        return false;
    in->at += n;
    blanks_skip(in);
    return true;
}

static bool digit_here(const index_text *in)
{
    return in->at < in->len && in->text[in->at] >= '0' && in->text[in->at] <= '9';
}

/* An integer, if there is one; `*has` gets `flag`. */
static st_status integer_take(index_text *in, int64_t *out, uint32_t flag, uint32_t *has)
{
    bool negative = in->at < in->len && in->text[in->at] == '-';
    bool sign = negative || (in->at < in->len && in->text[in->at] == '+');
    in->at += sign;
    if (!digit_here(in))
        return sign ? text_fail(in, "a digit is missing") : ST_OK;
    uint64_t limit = (uint64_t)INT64_MAX + negative, value = 0;
    for (; digit_here(in); in->at++) {
        uint64_t digit = (uint64_t)(in->text[in->at] - '0');
        value = value > (limit - digit) / 10 ? limit : value * 10 + digit;
    }
    blanks_skip(in);
    *out = negative ? -(int64_t)(value - (value > 0)) - (value > 0) : (int64_t)value;
    *has |= flag;
    return ST_OK;
}

static st_status item_take(index_text *in, st_index *out)
{
    *out = (st_index){.kind = ST_INDEX_SLICE};
    if (token_take(in, "..."))
        out->kind = ST_INDEX_ELLIPSIS;
    else if (token_take(in, "None") || token_take(in, "newaxis"))
        out->kind = ST_INDEX_NEWAXIS;
    if (out->kind != ST_INDEX_SLICE)
        return ST_OK;
    ST_TRY(integer_take(in, &out->start, ST_INDEX_START, &out->has));
    if (!token_take(in, ":")) {
        if (!out->has)
            return text_fail(in, "an integer, a slice, ... or None is expected");
        out->kind = ST_INDEX_INTEGER;
        out->has = 0;
        return ST_OK;
    }
    ST_TRY(integer_take(in, &out->stop, ST_INDEX_STOP, &out->has));
    if (token_take(in, ":"))
        ST_TRY(integer_take(in, &out->step, ST_INDEX_STEP, &out->has));
    return ST_OK;
}

static bool list_over(const index_text *in)
{
    return in->at == in->len || (in->bracket && in->text[in->at] == ']');
}

static st_status list_take(index_text *in, st_index *items, size_t *n)
{
    *n = 0;
    if (token_take(in, "(")) {
        if (!token_take(in, ")"))
            return text_fail(in, "a closing ) is expected");
    } else {
        while (!list_over(in)) {
            ST_TRY(item_take(in, &items[(*n)++]));
            if (!list_over(in) && !token_take(in, ","))
                return text_fail(in, "a comma is expected");
        }
    }
    if (in->bracket && !token_take(in, "]"))
        return text_fail(in, "a closing ] is expected");
    return in->at == in->len ? ST_OK : text_fail(in, "nothing more is expected");
}

st_status st_region_parse(st_region *region, st_context *context, const st_tensor *tensor,
                          const char *text, size_t text_len, st_error *error)
{
    index_text in = {text, text_len, 0, false, tensor, error};
    size_t most = 1, n, size;
    for (size_t i = 0; i < text_len; i++)
        most += text[i] == ',';
    if (!st__mul_size(most, sizeof(st_index), &size))
        return st__fail_nomem(error, UINT64_MAX);
    st_index *items = st__alloc(context, size);
    if (!items)
        return st__fail_nomem(error, size);
    blanks_skip(&in);
    in.bracket = token_take(&in, "[");
    st_status status = list_take(&in, items, &n);
    if (status == ST_OK)
        status = st_region_init(region, context, tensor, items, n, error);
    st__free(context, items, size);
    return status;
}
