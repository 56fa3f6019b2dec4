/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ST_FILE_FILE_H
#define ST_FILE_FILE_H

#include "io/source.h"

#include <stdatomic.h>

struct st_file {
    st_context *context;
    st_source *source;
    st_header *header;
    uint32_t io;             /* ST_IO_… */
    st_source_info identity; /* at the open; `etag` is the file's own copy */
    size_t etag_size;
    _Atomic(st_buffer *) mapping; /* of ST_IO_MAP, made by the first read */
};

/* ST_ERR_CHANGED unless the source is what it was at the open, as far as size, times of its contents and
 * identity tell. The change time may differ: it also moves when the file is renamed over, linked or given
 * another mode, and its bytes are still those that the header describes. `now` receives all of it. */
st_status st__file_unchanged(const st_file *file, st_source_info *now, st_error *error);

#endif
