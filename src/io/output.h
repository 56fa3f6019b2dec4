/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes on their way into a regular file, at any offset and from any thread. */
#ifndef ST_IO_OUTPUT_H
#define ST_IO_OUTPUT_H

#include "io/os.h"
#include "io/output_direct.h"
#include "io/sink.h"

#include <stdatomic.h>

typedef struct st__output {
    const st_sink *sink;        /* whose name is in messages */
    int fd;                     /* not the output's own */
    uint64_t base;              /* where in the file byte 0 goes */
    uint64_t size;              /* of what will be written */
    atomic_uint dirty;          /* bytes given to the page cache, wrapping */
    atomic_bool shares_nothing; /* the file system refused to share blocks with another file */
    st__direct *direct;         /* NULL: all goes through the page cache */
} st__output;

void st__output_init(st__output *output, int fd, uint64_t base, const st_sink *sink);

/* Sets space aside for what will be written, and chooses the way; `flags` as for st__os_allocate. */
st_status st__output_begin(st__output *output, uint64_t size, uint32_t flags, st_error *error);
st_status st__output_write(st__output *output, uint64_t offset, const st_bytes *pieces,
                           size_t count, st_error *error);
/* As st__sink_copy. */
st_status st__output_copy(st__output *output, uint64_t offset, const st__stretch *stretch,
                          uint64_t *done, st_error *error);
/* Nothing more will be written: makes it as durable, and as little cached, as the sink's options say. */
st_status st__output_finish(st__output *output, st_error *error);
/* Gives back, before the descriptor is closed; what was not finished need not have been written. */
void st__output_release(st__output *output);

#endif
