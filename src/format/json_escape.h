/* SPDX-License-Identifier: Apache-2.0 */
/* Strings as JSON writes them, as serde_json does: quotes, backslashes and characters below U+0020 are
 * escaped, and nothing else. */
#ifndef ST_FORMAT_JSON_ESCAPE_H
#define ST_FORMAT_JSON_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gives how many bytes from the first on stand for themselves: up to the end, to what must be escaped, or to
 * what is no UTF-8. */
size_t st__json_plain_len(const char *text, size_t len);

/* Writes what stands for a quote, a backslash or a control character; gives its length, 2 or 6. */
size_t st__json_escape(unsigned char c, char out[6]);

/* Gives the size of a string with its quotes; false if it is no UTF-8. */
bool st__json_quoted_size(const char *text, size_t len, uint64_t *out);

/* Writes a string of UTF-8 with its quotes; gives where it ends. */
char *st__json_quote(char *out, const char *text, size_t len);

#endif
