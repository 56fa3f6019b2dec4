/* SPDX-License-Identifier: Apache-2.0 */
/* Emitted text, as a target takes it from the library. */
#ifndef FUZZ_OUTPUT_H
#define FUZZ_OUTPUT_H

#include "target.h"

#include <safetensors/json.h>

#include <string.h>

/* Begins as zeros; `text` is for free(). */
typedef struct output {
    char *text;
    size_t len, room;
} output;

/* An st_json_write_fn, whose context is an output. */
static inline st_status output_write(void *ctx, const char *text, size_t len, st_error *error)
{
    output *out = ctx;
    (void)error;
    if (out->room - out->len < len) {
        out->room = (out->len + len) * 2;
        out->text = realloc(out->text, out->room);
        require(out->text != NULL);
    }
    memcpy(out->text + out->len, text, len);
    out->len += len;
    return ST_OK;
}

#endif
