/* SPDX-License-Identifier: Apache-2.0 */
/* The writer, as its own files see it.
 *
 * A writing call enters, claims the bytes it will write (so that no byte is written twice), puts them, and
 * leaves. Putting combines small writes: they gather in windows, each a block of the file, which are
 * written once they are full. A sink that is a stream has one window, at its head; what comes before its
 * turn is kept until then. One lock is over all of that, and dropped while the sink is called. */
#ifndef ST_FILE_WRITER_H
#define ST_FILE_WRITER_H

#include "base/arena.h"
#include "base/error.h"
#include "base/heap.h"
#include "base/ranges.h"
#include "base/thread.h"
#include "format/scan.h"
#include "io/sink.h"

/* Places in the file at which small writes are combined at once: some threads, each with tensors of its
 * own; tensors that come in another order than the file's, "layer.10" behind "layer.9". */
#define ST__WRITER_WINDOWS 128u
/* A write of this many bytes or fewer is combined with its neighbours. Above, what the system call costs
 * no longer counts beside the copying. */
#define ST__WRITER_SMALL ((size_t)32 << 10)
/* Between two calls of the progress callback at most so many bytes are moved. */
#define ST__WRITER_PIECE ((size_t)64 << 20)

enum { ST__WRITER_ADDING = 0, ST__WRITER_WRITING, ST__WRITER_FINISHED };

typedef struct st__writer_code {
    char *text;
    size_t len;
} st__writer_code;

/* Which bytes of a tensor were claimed. */
enum { ST__CLAIMED_NONE = 0, ST__CLAIMED_PIECES, ST__CLAIMED_WHOLE };

/* Bytes that wait to be written together: a block of the file with what there is of it, or a stream's
 * next ones, which follow each other. Behind a block's memory there is a bit for each of its bytes, set for
 * those that are there. */
typedef struct st__window {
    unsigned char *data;     /* NULL: no memory yet */
    uint64_t offset;         /* in the file */
    size_t used;             /* bytes that are there */
    uint64_t turn;           /* when it was used last */
    struct st__window *next; /* in the list that it is in */
} st__window;

struct st_writer {
    st_context *context;
    uint32_t order;
    uint32_t alignment;
    uint32_t page, page_offset; /* as st__emission's; 0 unless somebody sets them */
    uint64_t reserve;
    uint64_t max_header_size;
    st_progress progress;
    const char *name; /* the caller's: for messages before there is a sink; NULL: none */

    st_tensor *tensors;
    size_t count;
    size_t room;
    st_metadata *metadata;
    size_t metadata_count;
    size_t metadata_room;
    bool has_metadata;
    st__writer_code codes[ST__UNKNOWN_DTYPES_MAX]; /* as many as a reader takes */
    size_t code_count;
    st__arena texts; /* what names, shapes and texts lie in */

    bool laid_out;
    uint32_t *
        placed; /* the caller's: receives the tensors' numbers in the order of the file; NULL: nobody asks */
    unsigned char *header; /* until it is written */
    size_t header_size;
    uint64_t data_size;

    st_sink *sink;
    bool sequential;
    size_t window_size; /* a power of 2; 0: no memory for windows */
    uint64_t budget;    /* bytes that may be kept for a stream */

    st__lock lock; /* over all that follows */
    st__signal turn;
    int state; /* ST__WRITER_… */
    uint32_t in_flight;
    st_error failure;      /* the first one; ST_OK: none */
    unsigned char *claims; /* ST__CLAIMED_… of each tensor; NULL before st_writer_begin */
    st__ranges pieces;     /* of the data section: what was claimed in pieces */
    uint64_t claimed;      /* bytes, in all */
    uint64_t done;         /* bytes of the data section that were taken */
    st__window windows[ST__WRITER_WINDOWS];
    st__window *filling[ST__WRITER_WINDOWS]; /* those with bytes, hashed by block */
    st__window *idle;                        /* those without, the one last written first */
    uint64_t turns;
    bool pumping;        /* a thread writes to the stream */
    st__heap_item *kept; /* a stream's bytes that came before their turn, a heap by offset */
    size_t kept_count;
    size_t kept_room;
    uint64_t kept_bytes;
};

/* ST_ERR_ARGUMENT for options that are out of range; `name` is what a message calls them. */
st_status st__writer_options_check(const st_writer_options *options, const char *name,
                                   st_error *error);
/* The sink's name, or what stands for it before there is one. */
const char *st__writer_name(const st_writer *writer);
/* Makes an error from below say which file and tensor (NULL: the one at the error's offset) it is about. */
st_status st__writer_locate(const st_writer *writer, const st_tensor *tensor, st_status status,
                            st_error *error);

/* ST_ERR_NOMEM for `size` bytes, told of the file and, unless it is NULL, the tensor. */
st_status st__writer_nomem(const st_writer *writer, const st_tensor *tensor, uint64_t size,
                           st_error *error) ST__COLD;

/* Starts a writing call: ST_ERR_ARGUMENT in the wrong state, the failure of an earlier call. On success
 * the lock is held, as all calls below want it, unless they say otherwise; `error` is never NULL there. */
st_status st__writer_enter(st_writer *writer, st_error *error);
/* Ends it, handing on what was said about a failure, and drops the lock. `error` may be NULL. */
st_status st__writer_leave(st_writer *writer, st_status status, const st_error *said,
                           st_error *error);
/* ST_ERR_WRITTEN_TWICE, ST_ERR_NOMEM; `offset` counts from the tensor's first byte. */
st_status st__writer_claim(st_writer *writer, size_t index, uint64_t offset, uint64_t size,
                           st_error *error);
/* Takes back that all of a tensor was claimed. */
void st__writer_unclaim(st_writer *writer, size_t index);
/* Writes bytes of the file that were claimed. A failure is the writer's from then on. */
st_status st__writer_put(st_writer *writer, uint64_t offset, const void *data, size_t size,
                         st_error *error);
/* The same for one who does not hold the lock: at `*at`, which moves on. */
st_status st__writer_put_next(st_writer *writer, uint64_t *at, const void *data, size_t size,
                              st_error *error);
/* Counts bytes that were taken and, if `tell`, tells the progress. */
st_status st__writer_count(st_writer *writer, uint64_t size, bool tell, st_error *error);
/* Counts and tells, for one who does not hold the lock. */
st_status st__writer_count_moved(st_writer *writer, uint64_t size, st_error *error);
/* Makes a failure the writer's own, unless it has one. `said` has been filled. */
st_status st__writer_spoil(st_writer *writer, st_status status, const st_error *said);
/* Tells the failure that the writer has. */
st_status st__writer_told(const st_writer *writer, st_error *error);
/* Writes what waits. */
st_status st__writer_flush(st_writer *writer, st_error *error);

/* The windows over blocks. `*moved`: the sink was called. */
void st__windows_init(st_writer *writer, size_t count);
void st__windows_release(st_writer *writer);
st_status st__windows_put(st_writer *writer, uint64_t offset, st_bytes bytes, bool *moved,
                          st_error *error);
st_status st__windows_flush(st_writer *writer, bool *moved, st_error *error);

/* The window and the kept bytes of a stream. */
void st__stream_release(st_writer *writer);
st_status st__stream_put(st_writer *writer, uint64_t offset, st_bytes bytes, bool *moved,
                         st_error *error);
st_status st__stream_flush(st_writer *writer, bool *moved, st_error *error);

/* A new window always has room left behind a small write. */
static inline bool st__writer_combines(const st_writer *writer, size_t size)
{
    return size <= ST__WRITER_SMALL && size < writer->window_size;
}

#endif
