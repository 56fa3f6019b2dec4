/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka, and assertions about statuses that say what was reported instead. In the calls given to the
 * macros the st_error is `&error`, which the macros declare. */
#ifndef TESTS_SUPPORT_CHECK_H
#define TESTS_SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <safetensors/safetensors.h>

/* Where a check stands and what it called. */
typedef struct check_place {
    const char *file;
    int line;
    const char *call;
} check_place;

#define CHECK_PLACE(call) (&(check_place){__FILE__, __LINE__, call})

/* Succeeds: CHECK_OK(st_file_open(path, NULL, &file, &error)). */
#define CHECK_OK(call_) CHECK_ERR_TEXT(call_, ST_OK, 0, NULL)

/* Fails with this status at this byte of the file (or ST_NO_OFFSET). */
#define CHECK_ERR(call_, status_, offset_) CHECK_ERR_TEXT(call_, status_, offset_, NULL)

/* The same, and the message holds this text. */
#define CHECK_ERR_TEXT(call_, status_, offset_, text_)                                    \
 do {                                                                                     \
  st_error error = {0};                                                                   \
  st_status check_status_ = (call_);                                                      \
  check_error(CHECK_PLACE(#call_), check_status_, &error, (status_), (offset_), (text_)); \
 } while (0)

/* What the macros call. A failure must have filled the error; a success must have left it alone.
 * `text` may be NULL. */
void check_error(const check_place *place, st_status got, const st_error *error, st_status status,
                 uint64_t offset, const char *text);

#endif
