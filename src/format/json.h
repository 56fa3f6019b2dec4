/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON lexer: the one place that reads JSON, for headers and for every other text.
 *
 * A cursor walks over a window of text that the caller owns and has padded: *end is NUL and
 * ST__JSON_PAD bytes from `end` on are readable, so that nothing here checks bounds byte by byte.
 * A fault is recorded once, with the place; every function then returns false and the cursor is spent.
 * A fault within ST__JSON_EDGE bytes of the end may only mean that the window ends there. */
#ifndef ST_FORMAT_JSON_H
#define ST_FORMAT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ST__JSON_PAD   64
#define ST__JSON_EDGE  16
#define ST__JSON_DEPTH 127 /* containers, the outermost included */

enum { ST__JSON_SYNTAX = 1, ST__JSON_UTF8, ST__JSON_TOO_DEEP };

typedef struct st__json {
    const unsigned char *p;     /* next byte */
    const unsigned char *end;   /* one past the last */
    const unsigned char *start; /* first byte of the window */
    uint64_t base;              /* offset in the file of `start` */
    int fault;                  /* 0: none; ST__JSON_SYNTAX, … */
    const char *what;           /* what was wrong, for messages */
    const unsigned char *at;    /* the byte at fault; `end` where the text is over too early */
} st__json;

static inline uint64_t st__json_offset(const st__json *json, const unsigned char *p)
{
    return json->base + (uint64_t)(p - json->start);
}

/* Records a fault at the byte that cannot be where it is; always false. The first one stays. */
bool st__json_fail(st__json *json, int fault, const unsigned char *at, const char *what);

/* Skips blanks: space, tab, CR, LF. */
static inline void st__json_space(st__json *json)
{
    const unsigned char *p = json->p;
    while (*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    json->p = p;
}

/* Expects and takes one byte; `what` is the fault's text. */
static inline bool st__json_take(st__json *json, unsigned char byte, const char *what)
{
    if (*json->p != byte || json->p == json->end)
        return st__json_fail(json, ST__JSON_SYNTAX, json->p, what);
    json->p++;
    return true;
}

/* Copies plain ASCII up to the first byte that ends or complicates a string: a quote, a backslash, a
 * control (the NUL at the end is one) or non-ASCII. Gives that byte's place, or one at or up to 15 bytes behind
 * `limit` if there is none before it. Copies up to 15 bytes more than it scans, so `out` needs that much room. */
const unsigned char *st__json_plain(const unsigned char *p, const unsigned char *limit,
                                    unsigned char *out);

/* Decodes a string whose opening quote is the next byte, without a terminator. `out` has room for 16 bytes
 * more than the window still holds; NULL only checks. Decoded text is never longer than its source. */
bool st__json_string(st__json *json, unsigned char *out, size_t *len);

/* An integer from 0 to 2^64-1: false without a fault, and with the cursor unmoved, if the next value is
 * anything else. */
bool st__json_u64(st__json *json, uint64_t *out);

/* Checks and passes a number; one that overflows a double is a fault. */
bool st__json_number(st__json *json);

/* Checks and passes `true`, `false` or `null`, given whole. */
bool st__json_literal(st__json *json, const char *word);

/* Checks and passes any one value, blanks before it included. `depth`: containers open around it. */
bool st__json_skip(st__json *json, unsigned depth);

#endif
