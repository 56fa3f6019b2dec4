/* SPDX-License-Identifier: Apache-2.0 */
/* Filling st_error, and text of bounded size with untrusted names in it. */
#ifndef ST_BASE_ERROR_H
#define ST_BASE_ERROR_H

#include <safetensors/safetensors.h>
#include <stdarg.h>

#if defined(__GNUC__)
# define ST__PRINTF(text, first) __attribute__((format(printf, text, first)))
# define ST__COLD                __attribute__((cold, noinline))
#else
# define ST__PRINTF(text, first)
# define ST__COLD
#endif

/* Hands a failure up unchanged. */
#define ST_TRY(expr)          \
 do {                         \
  st_status st__try = (expr); \
  if (st__try != ST_OK)       \
   return st__try;            \
 } while (0)

/* Fills `error` unless it is NULL, and returns `status`. The message is cut on a UTF-8 boundary. */
st_status st__fail(st_error *error, st_status status, uint64_t offset, const char *format, ...)
    ST__PRINTF(4, 5) ST__COLD;

/* The same with an errno, whose text is appended to the message. */
st_status st__fail_errno(st_error *error, st_status status, int sys_errno, uint64_t offset,
                         const char *format, ...) ST__PRINTF(5, 6) ST__COLD;

/* ST_ERR_NOMEM for `size` bytes. */
st_status st__fail_nomem(st_error *error, uint64_t size) ST__COLD;

/* Makes the message of an error from below, whose status is `status`, begin with the file and, unless it is
 * NULL or the message has one, the tensor; what stands there already is not said twice. Gives `status`. */
st_status st__error_locate(st_error *error, st_status status, const char *file_name,
                           const st_tensor *tensor);

/* An untrusted string as it may be printed: quoted, with controls, bidirectional overrides, quotes and
 * backslashes escaped, invalid UTF-8 as \xNN, and the middle cut out where it is long. Use
 * it inside one expression: st__quote(name, len).text */
typedef struct st__quoted {
    char text[112];
} st__quoted;

st__quoted st__quote(const char *string, size_t len);

/* Tells whether a character is a control or hides or reorders text on a terminal. */
bool st__char_hidden(uint32_t c);

/* Gives the largest length <= len at which UTF-8 text may be cut. */
size_t st__utf8_cut(const char *text, size_t len);

/* Decodes one character; 0 if the bytes are no valid UTF-8, else its length, 1 to 4. */
size_t st__utf8_decode(const unsigned char *text, size_t len, uint32_t *out);

#endif
