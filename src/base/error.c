/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int32_t st_version(void)
{
    return ST_VERSION;
}

const char *st_status_name(st_status status)
{
    switch (status) {
#define STATUS_NAME(name, number, text) \
 case name: return #name;
        ST_STATUS_MAP(STATUS_NAME)
#undef STATUS_NAME
    default: return "?";
    }
}

const char *st_status_text(st_status status)
{
    switch (status) {
#define STATUS_TEXT(name, number, text) \
 case name: return text;
        ST_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    default: return "unknown status";
    }
}

size_t st__utf8_cut(const char *text, size_t len)
{
    size_t start = len;
    while (start > 0 && len - start < 4) {
        unsigned char byte = (unsigned char)text[--start];
        if (byte < 0x80)
            return len;
        if (byte >= 0xc0) {
            size_t need = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
            return len - start >= need ? len : start;
        }
    }
    return len;
}

size_t st__utf8_decode(const unsigned char *text, size_t len, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = text[0];
    size_t need = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (need == 1) {
        *out = first;
        return 1;
    }
    if (need == 0 || first > 0xf4 || need > len)
        return 0;
    uint32_t c = first & (0x7fu >> need);
    for (size_t i = 1; i < need; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        c = (c << 6) | (text[i] & 0x3fu);
    }
    if (c < least[need] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *out = c;
    return need;
}

static ST__PRINTF(2, 0) void message_fill(st_error *error, const char *format, va_list args)
{
    int printed = vsnprintf(error->message, sizeof error->message, format, args);
    if (printed < 0)
        error->message[0] = '\0';
    else if ((size_t)printed >= sizeof error->message)
        error->message[st__utf8_cut(error->message, sizeof error->message - 1)] = '\0';
}

st_status st__fail(st_error *error, st_status status, uint64_t offset, const char *format, ...)
{
    if (error) {
        error->status = status;
        error->sys_errno = 0;
        error->offset = offset;
        va_list args;
        va_start(args, format);
        message_fill(error, format, args);
        va_end(args);
    }
    return status;
}

st_status st__fail_errno(st_error *error, st_status status, int sys_errno, uint64_t offset,
                         const char *format, ...)
{
    if (!error)
        return status;
    error->status = status;
    error->sys_errno = sys_errno;
    error->offset = offset;
    va_list args;
    va_start(args, format);
    message_fill(error, format, args);
    va_end(args);

    char reason[128];
    /* strerror_r comes in two incompatible kinds; strerror's own race only garbles a text that glibc
     * keeps per thread anyway. */
    snprintf(reason, sizeof reason, ": %s", strerror(sys_errno));
    size_t len = strlen(error->message), room = sizeof error->message - 1 - len;
    size_t take = strlen(reason);
    if (take > room)
        take = st__utf8_cut(reason, room);
    memcpy(error->message + len, reason, take);
    error->message[len + take] = '\0';
    return status;
}

st_status st__fail_nomem(st_error *error, uint64_t size)
{
    return st__fail(error, ST_ERR_NOMEM, ST_NO_OFFSET, "out of memory: %" PRIu64 " bytes", size);
}

st_status st__error_locate(st_error *error, st_status status, const char *file_name,
                           const st_tensor *tensor)
{
    if (status == ST_OK || !error)
        return status;
    char said[sizeof error->message];
    const char *rest = said;
    size_t name_len = strlen(file_name);
    memcpy(said, error->message, sizeof said);
    if (strncmp(said, file_name, name_len) == 0 && said[name_len] == ':' &&
        said[name_len + 1] == ' ')
        rest = said + name_len + 2;
    int32_t sys_errno = error->sys_errno;
    if (!tensor || strncmp(rest, "tensor ", 7) == 0)
        (void)st__fail(error, status, error->offset, "%s: %s", file_name, rest);
    else
        (void)st__fail(error, status, error->offset, "%s: tensor %s: %s", file_name,
                       st__quote(tensor->name, tensor->name_len).text, rest);
    error->sys_errno = sys_errno;
    return status;
}

bool st__char_hidden(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || c == 0x180e ||
           (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
           (c >= 0xe0000 && c <= 0xe0fff);
}

/* Writes one character's printable form; returns its length, and how many bytes it took in `used`. */
static size_t quote_one(const char *string, size_t len, char out[16], size_t *used)
{
    uint32_t c = 0;
    size_t n = st__utf8_decode((const unsigned char *)string, len, &c);
    *used = n ? n : 1;
    if (!n)
        return (size_t)snprintf(out, 16, "\\x%02x", (unsigned char)string[0]);
    if (c == '"' || c == '\\')
        return (size_t)snprintf(out, 16, "\\%c", (char)c);
    if (c == '\n' || c == '\t' || c == '\r')
        return (size_t)snprintf(out, 16, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    if (st__char_hidden(c))
        return (size_t)snprintf(out, 16, c > 0xffff ? "\\U%08" PRIx32 : "\\u%04" PRIx32, c);
    memcpy(out, string, n);
    return n;
}

st__quoted st__quote(const char *string, size_t len)
{
    st__quoted quoted;
    char *at = quoted.text;
    char *limit =
        quoted.text + sizeof quoted.text - 6; /* the closing quote, "...", the terminator */
    *at++ = '"';
    size_t i = 0;
    while (i < len) {
        char piece[16];
        size_t used = 0, n = quote_one(string + i, len - i, piece, &used);
        if (n > (size_t)(limit - at))
            break;
        memcpy(at, piece, n);
        at += n;
        i += used;
    }
    *at++ = '"';
    if (i < len) {
        memcpy(at, "...", 3);
        at += 3;
    }
    *at = '\0';
    return quoted;
}
