/* SPDX-License-Identifier: Apache-2.0 */
#include "format/json.h"
#include "base/endian.h"
#include "base/error.h"

#include <string.h>

#if defined(__SSE2__) && !defined(ST_NO_SIMD)
# include <emmintrin.h>
#endif

bool st__json_fail(st__json *json, int fault, const unsigned char *at, const char *what)
{
    if (!json->fault) {
        json->fault = fault;
        json->at = at;
        json->what = at >= json->end ? "the text ends too early" : what;
    }
    return false;
}

#if defined(__SSE2__) && !defined(ST_NO_SIMD)

const unsigned char *st__json_plain(const unsigned char *p, const unsigned char *limit,
                                    unsigned char *out)
{
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');
    for (; p < limit; p += 16, out += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        _mm_storeu_si128((__m128i *)(void *)out, v);
        /* Signed, so that bytes from 0x80 on count as below a space. */
        __m128i stop = _mm_or_si128(_mm_cmplt_epi8(v, space), _mm_cmpeq_epi8(v, quote));
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(v, backslash));
        unsigned mask = (unsigned)_mm_movemask_epi8(stop);
        if (mask)
            return p + __builtin_ctz(mask);
    }
    return p;
}

#else

/* Sets the top bit of each byte of `v` that is zero; bytes above a zero one may be set wrongly. */
static inline uint64_t zero_bytes(uint64_t v)
{
    return (v - UINT64_C(0x0101010101010101)) & ~v & UINT64_C(0x8080808080808080);
}

const unsigned char *st__json_plain(const unsigned char *p, const unsigned char *limit,
                                    unsigned char *out)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones * 0x80;
    for (; p < limit; p += 8, out += 8) {
        uint64_t v = st__load_le64(p);
        st__store_le64(out, v);
        uint64_t stop = zero_bytes(v ^ ones * '"') | zero_bytes(v ^ ones * '\\');
        stop |= ((v - ones * ' ') & ~v & tops) | (v & tops);
        if (stop) {
            while (*p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\')
                p++;
            return p;
        }
    }
    return p;
}

#endif

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits at `p`. */
static bool hex4(st__json *json, const unsigned char *p, uint32_t *out)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return st__json_fail(json, ST__JSON_SYNTAX, p + i,
                                 "\\u is not followed by four hexadecimal digits");
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return true;
}

static size_t utf8_encode(uint32_t c, unsigned char out[4])
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (unsigned char)(0xc0 | c >> 6);
        out[1] = (unsigned char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xe0 | c >> 12);
        out[1] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (unsigned char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | c >> 18);
    out[1] = (unsigned char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (unsigned char)(0x80 | (c & 0x3f));
    return 4;
}

/* A \u escape whose backslash is at `p`, a surrogate pair taken together. Gives the bytes taken, 0 on a fault. */
static size_t unicode_escape(st__json *json, const unsigned char *p, uint32_t *out)
{
    if (!hex4(json, p + 2, out))
        return 0;
    if (*out < 0xd800 || *out > 0xdfff)
        return 6;
    uint32_t low = 0;
    if (*out > 0xdbff) {
        st__json_fail(json, ST__JSON_SYNTAX, p, "lone low surrogate escape");
        return 0;
    }
    if (p[6] != '\\' || p[7] != 'u') {
        const unsigned char *next = p + 6 + (p[6] == '\\');
        st__json_fail(json, ST__JSON_SYNTAX, next >= json->end ? next : p,
                      "lone high surrogate escape");
        return 0;
    }
    if (!hex4(json, p + 8, &low))
        return 0;
    if (low < 0xdc00 || low > 0xdfff) {
        st__json_fail(json, ST__JSON_SYNTAX, p, "high surrogate escape without a low one");
        return 0;
    }
    *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

/* One escape at json->p; its character goes to `out`. Gives the bytes written, 0 on a fault. */
static size_t escape(st__json *json, unsigned char out[4])
{
    const unsigned char *p = json->p;
    uint32_t c = 0;
    size_t taken = 2;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/': c = p[1]; break;
    case 'b': c = '\b'; break;
    case 'f': c = '\f'; break;
    case 'n': c = '\n'; break;
    case 'r': c = '\r'; break;
    case 't': c = '\t'; break;
    case 'u':
        taken = unicode_escape(json, p, &c);
        if (!taken)
            return 0;
        break;
    default: st__json_fail(json, ST__JSON_SYNTAX, p + 1, "unknown escape"); return 0;
    }
    json->p += taken;
    return utf8_encode(c, out);
}

/* What st__json_plain stopped at, other than the closing quote; the bytes written, 0 on a fault. */
static size_t string_special(st__json *json, unsigned char out[4])
{
    const unsigned char *p = json->p;
    if (*p == '\\')
        return escape(json, out);
    if (*p < 0x20) {
        st__json_fail(json, ST__JSON_SYNTAX, p, "control character in a string");
        return 0;
    }
    uint32_t c;
    size_t n = st__utf8_decode(p, (size_t)(json->end - p), &c);
    if (n == 0) {
        /* A sequence cut off by the end of the window lies within ST__JSON_EDGE of it. */
        st__json_fail(json, ST__JSON_UTF8, p, "invalid UTF-8");
        return 0;
    }
    memcpy(out, p, n);
    json->p += n;
    return n;
}

bool st__json_string(st__json *json, unsigned char *out, size_t *len)
{
    unsigned char *at = out;
    unsigned char scrap[16];
    json->p++;
    for (;;) {
        const unsigned char *p = json->p;
        if (out) {
            json->p = st__json_plain(p, json->end + 1, at);
            at += json->p - p;
        } else {
            while (*json->p >= ' ' && *json->p < 0x80 && *json->p != '"' && *json->p != '\\')
                json->p++;
        }
        if (*json->p == '"') {
            json->p++;
            *len = out ? (size_t)(at - out) : 0;
            return true;
        }
        size_t n = string_special(json, scrap);
        if (n == 0)
            return false;
        if (out) {
            memcpy(at, scrap, n);
            at += n;
        }
    }
}

bool st__json_u64(st__json *json, uint64_t *out)
{
    const unsigned char *p = json->p;
    unsigned digit = (unsigned)*p - '0';
    if (digit > 9)
        return false;
    uint64_t value = digit;
    p++;
    if (digit != 0) {
        for (; (digit = (unsigned)*p - '0') <= 9; p++) {
            if (value > (UINT64_MAX - digit) / 10)
                return false;
            value = value * 10 + digit;
        }
    }
    if ((unsigned)*p - '0' <= 9 || *p == '.' || *p == 'e' || *p == 'E')
        return false;
    json->p = p;
    *out = value;
    return true;
}

/* Skips the digits at `p`; a fault if there is none. */
static const unsigned char *digits(st__json *json, const unsigned char *p)
{
    if ((unsigned)*p - '0' > 9) {
        st__json_fail(json, ST__JSON_SYNTAX, p, "a digit is missing in a number");
        return NULL;
    }
    while ((unsigned)*p - '0' <= 9)
        p++;
    return p;
}

/* The first 40 significant digits of the least decimal that rounds to infinity, 1.797693134862315807937...e308. */
static const char overflow_digits[] = "1797693134862315807937289714053034150799";

/* Tells whether digits `p`..`mantissa_end` (a point among them) times 10^exponent overflow a double. */
static bool overflows(const unsigned char *p, const unsigned char *mantissa_end, int64_t exponent)
{
    int64_t magnitude = exponent - 1; /* of the first significant digit, once it is found */
    bool fraction = false;
    const unsigned char *first = NULL;
    for (const unsigned char *q = p; q < mantissa_end; q++) {
        if (*q == '.') {
            fraction = true;
            continue;
        }
        if (!first && *q != '0')
            first = q;
        if (fraction) {
            if (!first)
                magnitude--;
        } else if (first) {
            magnitude++;
        }
    }
    if (!first || magnitude < 308)
        return false;
    if (magnitude > 308)
        return true;
    size_t i = 0;
    for (const unsigned char *q = first; i < sizeof overflow_digits - 1; q++) {
        if (q < mantissa_end && *q == '.')
            continue;
        char digit = q < mantissa_end ? (char)*q : '0';
        if (digit != overflow_digits[i])
            return digit > overflow_digits[i];
        i++;
    }
    return true;
}

bool st__json_number(st__json *json)
{
    const unsigned char *first = json->p, *p = first + (*first == '-');
    const unsigned char *mantissa = p;
    if (*p == '0' && (unsigned)p[1] - '0' <= 9)
        return st__json_fail(json, ST__JSON_SYNTAX, p + 1, "leading zero in a number");
    p = digits(json, p);
    if (p && *p == '.')
        p = digits(json, p + 1);
    if (!p)
        return false;
    const unsigned char *mantissa_end = p;
    int64_t exponent = 0;
    if (*p == 'e' || *p == 'E') {
        bool negative = p[1] == '-';
        const unsigned char *q = p + 1 + (p[1] == '-' || p[1] == '+');
        p = digits(json, q);
        if (!p)
            return false;
        for (; q < p; q++)
            if (exponent < INT64_C(1000000000000))
                exponent = exponent * 10 + (*q - '0');
        exponent = negative ? -exponent : exponent;
    }
    if (overflows(mantissa, mantissa_end, exponent))
        return st__json_fail(json, ST__JSON_SYNTAX, first, "number out of range");
    json->p = p;
    return true;
}

bool st__json_literal(st__json *json, const char *word)
{
    const unsigned char *p = json->p;
    for (; *word; word++, p++)
        if (*p != (unsigned char)*word)
            return st__json_fail(json, ST__JSON_SYNTAX, p, "misspelled literal");
    json->p = p;
    return true;
}

/* A value that is no container. */
static bool skip_scalar(st__json *json)
{
    size_t len;
    switch (*json->p) {
    case '"': return st__json_string(json, NULL, &len);
    case 't': return st__json_literal(json, "true");
    case 'f': return st__json_literal(json, "false");
    case 'n': return st__json_literal(json, "null");
    default:
        if (*json->p == '-' || (unsigned)*json->p - '0' <= 9)
            return st__json_number(json);
        return st__json_fail(json, ST__JSON_SYNTAX, json->p, "expected a value");
    }
}

/* A member's key and colon. */
static bool skip_key(st__json *json)
{
    size_t len;
    st__json_space(json);
    if (*json->p != '"')
        return st__json_fail(json, ST__JSON_SYNTAX, json->p, "expected a key");
    if (!st__json_string(json, NULL, &len))
        return false;
    st__json_space(json);
    return st__json_take(json, ':', "expected ':'");
}

/* Containers are walked without recursion: one bit per level tells objects from arrays. */
bool st__json_skip(st__json *json, unsigned depth)
{
    unsigned char is_object[ST__JSON_DEPTH + 1];
    unsigned level = depth;
    for (;;) {
        st__json_space(json);
        unsigned char c = *json->p;
        if (c == '{' || c == '[') {
            if (level >= ST__JSON_DEPTH)
                return st__json_fail(json, ST__JSON_TOO_DEEP, json->p,
                                     "nested deeper than 127 levels");
            json->p++;
            st__json_space(json);
            if (*json->p != (c == '{' ? '}' : ']')) {
                is_object[level++] = c == '{';
                if (c == '{' && !skip_key(json))
                    return false;
                continue;
            }
            json->p++;
        } else if (!skip_scalar(json)) {
            return false;
        }
        for (;;) { /* a value is complete: close what it ends */
            if (level == depth)
                return true;
            st__json_space(json);
            if (*json->p == ',')
                break;
            if (*json->p != (is_object[level - 1] ? '}' : ']'))
                return st__json_fail(json, ST__JSON_SYNTAX, json->p,
                                     is_object[level - 1] ? "expected ',' or '}'"
                                                          : "expected ',' or ']'");
            json->p++;
            level--;
        }
        json->p++;
        if (is_object[level - 1] && !skip_key(json))
            return false;
    }
}
