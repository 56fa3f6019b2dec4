/* SPDX-License-Identifier: Apache-2.0 */
/* Small files that are not safetensors: read whole. */
#ifndef CLI_CONTENT_H
#define CLI_CONTENT_H

#include <safetensors/safetensors.h>

struct content {
    char *text; /* freed with free() */
    size_t len;
};

/* Reads a file, or standard input where `path` is -. Gives ST_ERR_IO, or ST_ERR_TOO_BIG for what could be no
 * metadata, each of its characters escaped. */
st_status content_read(const char *path, struct content *out, st_error *error);

#endif
