/* SPDX-License-Identifier: Apache-2.0 */
#include "format/json_escape.h"
#include "base/endian.h"
#include "base/error.h"

#include <string.h>

#define ONES UINT64_C(0x0101010101010101)
#define TOPS UINT64_C(0x8080808080808080)

/* Sets the top bit of the lowest byte that is not plain ASCII, and maybe of others above it. */
static inline uint64_t special_bytes(uint64_t v)
{
    uint64_t quote = v ^ ONES * '"', backslash = v ^ ONES * '\\';
    return ((quote - ONES) | (backslash - ONES) | (v - ONES * ' ') | v) & TOPS;
}

/* The next bytes of a text, at most eight of the `left`, blanks behind them. */
static inline uint64_t next_bytes(const unsigned char *at, size_t left, bool have_before)
{
    if (left >= 8)
        return st__load_le64(at);
    if (have_before) /* loaded together with those before it */
        return st__load_le64(at + left - 8) >> (64 - 8 * left) | ONES * ' ' << 8 * left;
    uint64_t v = ONES * ' ';
    for (size_t i = left; i-- > 0;)
        v = v << 8 | at[i];
    return v;
}

size_t st__json_plain_len(const char *text, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t i = 0;
    while (i < len) {
        uint64_t special = special_bytes(next_bytes(bytes + i, len - i, len >= 8));
        if (!special) {
            i += 8;
            continue;
        }
        i += st__ctz64(special) / 8;
        uint32_t c = bytes[i];
        size_t n = c < 0x80 ? 0 : st__utf8_decode(bytes + i, len - i, &c);
        if (n == 0)
            return i;
        i += n;
    }
    return len;
}

size_t st__json_escape(unsigned char c, char out[6])
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                  ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    out[0] = '\\';
    out[1] = shorts[c];
    if (out[1])
        return 2;
    memcpy(out, "\\u00", 4);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

bool st__json_quoted_size(const char *text, size_t len, uint64_t *out)
{
    uint64_t size = 2;
    char escape[6];
    for (size_t i = 0; i < len; i++) {
        size_t plain = st__json_plain_len(text + i, len - i);
        size += plain;
        i += plain;
        if (i == len)
            break;
        if ((unsigned char)text[i] >= 0x80)
            return false;
        size += st__json_escape((unsigned char)text[i], escape);
    }
    *out = size;
    return true;
}

char *st__json_quote(char *out, const char *text, size_t len)
{
    *out++ = '"';
    for (size_t i = 0; i < len; i++) {
        size_t plain = st__json_plain_len(text + i, len - i);
        memcpy(out, text + i, plain);
        out += plain;
        i += plain;
        if (i < len)
            out += st__json_escape((unsigned char)text[i], out);
    }
    *out++ = '"';
    return out;
}
