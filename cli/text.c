/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <inttypes.h>
#include <safetensors/json.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <wchar.h>

size_t text_decode(const char *text, size_t len, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    unsigned char first = at[0];
    if (first < 0x80) {
        *out = first;
        return 1;
    }
    size_t need = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (need == 0 || need > len)
        return 0;
    uint32_t c = first & (0x7fu >> need);
    for (size_t i = 1; i < need; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        c = (c << 6) | (at[i] & 0x3fu);
    }
    if (c < least[need] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *out = c;
    return need;
}

bool text_is_suspect(uint32_t c)
{
    /* Controls; then what Unicode lists as default-ignorable, bidirectional or a line separator. */
    static const uint32_t ranges[][2] = {
        {0x00, 0x1f},       {0x7f, 0x9f},       {0xad, 0xad},       {0x34f, 0x34f},
        {0x61c, 0x61c},     {0x115f, 0x1160},   {0x17b4, 0x17b5},   {0x180b, 0x180f},
        {0x200b, 0x200f},   {0x2028, 0x202e},   {0x2060, 0x206f},   {0x3164, 0x3164},
        {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb},
        {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
    };
    if (c >= 0x20 && c < 0x7f)
        return false;
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

static void piece_set(struct text_piece *piece, const char *text)
{
    piece->len = piece->width = strlen(text);
    memcpy(piece->text, text, piece->len);
}

static void piece_set_hex(struct text_piece *piece, char letter, int digits, uint32_t value)
{
    int len = snprintf(piece->text, sizeof piece->text, "\\%c%0*" PRIx32, letter, digits, value);
    piece->len = piece->width = (size_t)len;
}

/* Gives the short escape of a character under `flags`, or NULL. */
static const char *escape_short(uint32_t c, unsigned flags)
{
    switch (c) {
    case '\\': return flags & TEXT_KEEP_BACKSLASH ? NULL : "\\\\";
    case '\n': return flags & TEXT_KEEP_LINES ? NULL : "\\n";
    case '\t': return flags & TEXT_KEEP_LINES ? NULL : "\\t";
    case '\r': return "\\r";
    default: return NULL;
    }
}

size_t text_escape(const char *text, size_t len, unsigned flags, struct text_piece *piece)
{
    uint32_t c = 0;
    size_t used = text_decode(text, len, &c);
    if (used == 0) {
        piece_set_hex(piece, 'x', 2, (unsigned char)text[0]);
        return 1;
    }
    const char *escape = escape_short(c, flags);
    if (escape) {
        piece_set(piece, escape);
        return used;
    }
    bool line = (c == '\n' || c == '\t') && (flags & TEXT_KEEP_LINES);
    if ((text_is_suspect(c) && !line) || (c >= 0x80 && (flags & TEXT_ASCII))) {
        piece_set_hex(piece, c > 0xffff ? 'U' : 'u', c > 0xffff ? 8 : 4, c);
        return used;
    }
    memcpy(piece->text, text, used);
    piece->len = used;
    int width = used > 1 ? wcwidth((wchar_t)c) : 1;
    piece->width = width < 0 ? 1 : (size_t)width;
    return used;
}

size_t text_plain_len(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && text[n] >= 0x20 && text[n] < 0x7f && text[n] != '\\')
        n++;
    return n;
}

size_t text_width(const char *text, size_t len, unsigned flags)
{
    size_t width = 0;
    struct text_piece piece;
    for (size_t i = 0; i < len;) {
        size_t plain = text_plain_len(text + i, len - i);
        i += plain;
        width += plain;
        if (i < len) {
            i += text_escape(text + i, len - i, flags, &piece);
            width += piece.width;
        }
    }
    return width;
}

static size_t utf8_put(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out[0] = (char)((0xff00u >> (more + 1)) | (c >> (6 * more)));
    for (size_t i = 1; i <= more; i++)
        out[i] = (char)(0x80 | ((c >> (6 * (more - i))) & 0x3f));
    return more + 1;
}

/* Reads `digits` hexadecimal digits; false where they are not there. */
static bool hex_read(const char *text, size_t len, size_t digits, uint32_t *out)
{
    static const char hex[] = "0123456789abcdef";
    uint32_t value = 0;
    if (len < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        const char *at = text[i] ? strchr(hex, text[i] | 0x20) : NULL;
        if (!at)
            return false;
        value = value << 4 | (uint32_t)(at - hex);
    }
    *out = value;
    return true;
}

size_t text_unescape(char *text, size_t len)
{
    static const char letters[] = "\\ntr", meanings[] = "\\\n\t\r";
    size_t to = 0;
    for (size_t i = 0; i < len; i++) {
        const char *rest = text + i + 1;
        size_t left = len - i - 1;
        if (text[i] != '\\' || left == 0) {
            text[to++] = text[i];
            continue;
        }
        const char *letter = *rest ? strchr(letters, *rest) : NULL;
        size_t digits = *rest == 'x' ? 2 : *rest == 'u' ? 4 : *rest == 'U' ? 8 : 0;
        uint32_t c = 0;
        if (letter) {
            text[to++] = meanings[letter - letters];
            i++;
        } else if (digits && hex_read(rest + 1, left - 1, digits, &c) && c <= 0x10ffff) {
            if (digits == 2)
                text[to++] = (char)c;
            else
                to += utf8_put(text + to, c);
            i += 1 + digits;
        } else {
            text[to++] = text[i];
        }
    }
    return to;
}

struct text_quoted text_quote(const char *text, size_t len)
{
    struct text_quoted quoted;
    struct text_piece piece;
    size_t limit = sizeof quoted.text - 5, at = 0, i = 0; /* room for the quote, "...", and 0 */
    quoted.text[at++] = '"';
    while (i < len) {
        size_t used = text_escape(text + i, len - i, 0, &piece);
        if (at + piece.len > limit)
            break;
        memcpy(quoted.text + at, piece.text, piece.len);
        at += piece.len;
        i += used;
    }
    memcpy(quoted.text + at, i < len ? "...\"" : "\"", i < len ? 5 : 2);
    return quoted;
}

static struct text_short number_shorten(uint64_t number, double base, const char *const units[])
{
    struct text_short text;
    double value = (double)number;
    size_t unit = 0;
    /* 999.95 and above would print as 1000.0. */
    while (value >= base - 0.05 * base / 1000 && units[unit + 1]) {
        value /= base;
        unit++;
    }
    if (unit == 0)
        snprintf(text.text, sizeof text.text, "%" PRIu64 "%s", number, units[0]);
    else
        snprintf(text.text, sizeof text.text, "%.*f%s", value < 99.95 ? 1 : 0, value, units[unit]);
    return text;
}

struct text_short text_bytes(uint64_t bytes)
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", NULL};
    return number_shorten(bytes, 1024, units);
}

bool text_read_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    size_t digits = strspn(text, "0123456789");
    const char *unit = text + digits;
    uint64_t number, factor = 1, base = 1024;
    if (!st_json_parse_u64(text, digits, &number))
        return false;
    const char *found = *unit ? strchr(units, *unit & ~0x20) : NULL;
    if (found) {
        unit++;
        if (strcasecmp(unit, "B") == 0)
            base = 1000;
        else if (strcasecmp(unit, "iB") != 0 && *unit)
            return false;
        for (const char *at = units; at <= found; at++)
            factor *= base;
    } else if (*unit && strcasecmp(unit, "B") != 0) {
        return false;
    }
    if (number > UINT64_MAX / factor)
        return false;
    *out = number * factor;
    return true;
}

struct text_short text_count(uint64_t count)
{
    static const char *const units[] = {"", "K", "M", "B", "T", "Q", NULL};
    return number_shorten(count, 1000, units);
}

struct text_short text_percent(uint64_t part, uint64_t whole)
{
    struct text_short text = {"0%"};
    double percent = whole ? 100.0 * (double)part / (double)whole : 0;
    if (part && percent < 0.1)
        strcpy(text.text, "<0.1%");
    else if (part && part < whole && percent > 99.9)
        strcpy(text.text, ">99.9%");
    else if (part)
        snprintf(text.text, sizeof text.text, "%.*f%%", part == whole ? 0 : 1, percent);
    return text;
}
