/* SPDX-License-Identifier: Apache-2.0 */
/* The writer, as its own files see it.
 *
 * A writing call enters, claims the bytes it will write (so that no byte is written twice), puts them, and
 * leaves. Putting combines small writes: they gather in windows, each a block of the file, which are taken
 * out under the lock and written without it. A sink that is a stream has one window, at its head; what
 * comes before its turn is kept until then. */
#ifndef ST_FILE_WRITER_H
#define ST_FILE_WRITER_H

#include "base/ranges.h"
#include "base/thread.h"
#include "format/scan.h"
#include "io/sink.h"

/* Places in the file at which small writes are combined at once: some threads, each with tensors of its
 * own; tensors that come in another order than the file's, "layer.10" behind "layer.9". */
#define ST__WRITER_WINDOWS 16u
/* A write of this many bytes or fewer is combined with its neighbours. Above, what the system call costs
 * no longer counts beside the copying. */
#define ST__WRITER_SMALL ((size_t)64 << 10)
/* Between two calls of the progress callback at most so many bytes are moved. */
#define ST__WRITER_PIECE ((size_t)64 << 20)

enum { ST__WRITER_ADDING = 0, ST__WRITER_WRITING, ST__WRITER_FINISHED };

typedef struct st__writer_code {
    char *text;
    size_t len;
} st__writer_code;

/* Bytes that wait to be written together: a block of the file with what there is of it, or a stream's
 * next ones, which follow each other. */
typedef struct st__window {
    unsigned char *data; /* NULL: none */
    uint64_t offset;     /* in the file */
    size_t used;         /* bytes that are there */
    uint64_t turn;       /* when it was used last */
    st__ranges filled;   /* of a block: which ones, by their place in the file */
} st__window;

/* Bytes that came before their turn. */
typedef struct st__kept {
    uint64_t offset;
    unsigned char *data;
    size_t size;
} st__kept;

struct st_writer {
    st_context *context;
    uint32_t order;
    uint32_t alignment;
    uint64_t reserve;
    uint64_t max_header_size;
    st_progress progress;

    st_tensor *tensors;
    size_t count;
    size_t room;
    st_metadata *metadata;
    size_t metadata_count;
    size_t metadata_room;
    bool has_metadata;
    st__writer_code codes[ST__UNKNOWN_DTYPES_MAX]; /* as many as a reader takes */
    size_t code_count;
    struct st__writer_chunk *chunks; /* what names, shapes and texts are carved from */

    bool laid_out;
    unsigned char *header; /* until it is written */
    size_t header_size;
    uint64_t data_size;

    st_sink *sink;
    bool sequential;
    size_t window_size; /* 0: no memory for windows */
    uint64_t budget;    /* bytes that may be kept for a stream */

    st__lock lock; /* over all that follows */
    st__signal turn;
    int state; /* ST__WRITER_… */
    uint32_t in_flight;
    st_error failure; /* the first one; ST_OK: none */
    st__ranges written;
    uint64_t done; /* bytes of the data section that were taken */
    st__window windows[ST__WRITER_WINDOWS];
    uint64_t turns;
    unsigned char *spare; /* a window's memory without a window */
    bool pumping;         /* a thread writes to the stream */
    st__kept *kept;       /* a heap, the lowest offset first */
    size_t kept_count;
    size_t kept_room;
    uint64_t kept_bytes;
};

/* The sink's name, or what stands for it before there is one. */
const char *st__writer_name(const st_writer *writer);
/* Makes an error from below say which file and tensor (NULL: the one at the error's offset) it is about. */
st_status st__writer_locate(const st_writer *writer, const st_tensor *tensor, st_status status,
                            st_error *error);

/* Starts a writing call: ST_ERR_ARGUMENT in the wrong state, the failure of an earlier call. */
st_status st__writer_enter(st_writer *writer, st_error *error);
/* Ends it, handing on what was said about a failure. */
st_status st__writer_leave(st_writer *writer, st_status status, const st_error *said,
                           st_error *error);
/* ST_ERR_WRITTEN_TWICE, ST_ERR_NOMEM; `begin` counts from the start of the data section. */
st_status st__writer_claim(st_writer *writer, uint64_t begin, uint64_t size, st_error *error);
/* Writes bytes of the file that were claimed. A failure is the writer's from then on. */
st_status st__writer_put(st_writer *writer, uint64_t offset, const void *data, size_t size,
                         st_error *error);
/* Counts bytes that went past st__writer_put, and tells the progress. */
st_status st__writer_count_moved(st_writer *writer, uint64_t size, st_error *error);
/* Makes a failure the writer's own, unless it has one. `said` has been filled. */
st_status st__writer_spoil(st_writer *writer, st_status status, const st_error *said);
/* Writes what the windows hold. */
st_status st__writer_flush(st_writer *writer, st_error *error);

#endif
