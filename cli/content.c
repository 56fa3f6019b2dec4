/* SPDX-License-Identifier: Apache-2.0 */
#include "content.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "out.h"

/* As much as a header may have, each byte of it written as \u00xx. */
#define LIMIT ((size_t)(6 * ST_HEADER_MAX))

static st_status stream_read(FILE *stream, const char *name, struct content *content,
                             st_error *error)
{
    size_t room = 0;
    for (;;) {
        content->text = memory_grow(content->text, &room, content->len + 4096, 1);
        size_t got = fread(content->text + content->len, 1, room - content->len, stream);
        content->len += got;
        if (got == 0)
            return ferror(stream) ? io_error(name, error) : ST_OK;
        if (content->len > LIMIT)
            return error_fill(error, ST_ERR_TOO_BIG,
                              "%.300s: more than %zu bytes, too much for "
                              "metadata",
                              name, LIMIT);
    }
}

st_status content_read(const char *path, struct content *out, st_error *error)
{
    struct content content = {0};
    bool piped = strcmp(path, "-") == 0;
    const char *name = piped ? "standard input" : path;
    FILE *stream = piped ? stdin : fopen(path, "rb");
    if (!stream)
        return io_error(name, error);
    errno = 0;
    st_status status = stream_read(stream, name, &content, error);
    if (!piped)
        fclose(stream);
    if (status == ST_OK)
        *out = content;
    else
        free(content.text);
    return status;
}
