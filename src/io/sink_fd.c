/* SPDX-License-Identifier: Apache-2.0 */
/* A sink over a descriptor of the caller's: a regular file from its position on, or a stream.
 *
 * What lies behind the bytes written stays as it was, as with write(2); a caller who wants the file to
 * end there truncates it before. The space is set aside without making the file longer, so that what a
 * failure leaves is not longer than what was written. */
#include "io/sink.h"
#include "io/output.h"
#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

typedef struct fd_sink {
    st__output output;
    uint64_t size;
    st_sink *sink; /* not counted: it owns this */
} fd_sink;

static st_status fd_begin(void *self, uint64_t size, st_error *error)
{
    fd_sink *to = self;
    to->size = size;
    return st__output_begin(&to->output, size, ST__OS_KEEP_SIZE, error);
}

static st_status fd_write(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                          st_error *error)
{
    fd_sink *to = self;
    return st__output_write(&to->output, offset, pieces, count, error);
}

static st_status fd_copy(void *self, uint64_t offset, const st__stretch *stretch, uint64_t *done,
                         st_error *error)
{
    fd_sink *to = self;
    return st__output_copy(&to->output, offset, stretch, done, error);
}

static st_status fd_finish(void *self, st_error *error)
{
    fd_sink *to = self;
    ST_TRY(st__output_finish(&to->output, error));
    int failed = st__os_seek(to->output.fd, to->output.base + to->size);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: its position cannot be moved", to->sink->name);
    return ST_OK;
}

static void fd_free(void *self)
{
    fd_sink *to = self;
    st__output_release(&to->output);
    st__os_close(to->output.fd);
    st__free(to->sink->context, to, sizeof *to);
}

static const st_sink_vtable fd_vtable = {
    .size = sizeof(st_sink_vtable),
    .begin = fd_begin,
    .write = fd_write,
    .finish = fd_finish,
    .free = fd_free,
};

static st_status fd_regular(int fd, uint64_t position, const char *name,
                            const st_sink_options *options, st_sink **out, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    fd_sink *to = st__alloc_zeroed(context, 1, sizeof *to);
    if (!to)
        return st__fail_nomem(error, sizeof *to);
    st_status status = st__sink_wrap(&fd_vtable, to, name, options, &to->sink, error);
    if (status != ST_OK) {
        st__free(context, to, sizeof *to);
        return status;
    }
    st__output_init(&to->output, fd, position, to->sink);
    to->sink->copy = fd_copy;
    *out = to->sink;
    return ST_OK;
}

/* Takes the descriptor over on success. */
static st_status sink_over(int fd, const char *name, const st_sink_options *options, st_sink **out,
                           st_error *error)
{
    st__os_info info;
    bool writable = false, appends = false;
    uint64_t position = 0;
    const char *shown = options && options->name ? options->name : name;
    int failed = st__os_info_fd(fd, &info);
    if (!failed)
        failed = st__os_write_state(fd, &writable, &appends, &position);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              shown);
    if (!writable)
        return st__fail_errno(error, ST_ERR_IO, EBADF, ST_NO_OFFSET, "%s: not open for writing",
                              shown);
    if (info.kind == ST__OS_REGULAR && !appends)
        return fd_regular(fd, position, name, options, out, error);
    return st__sink_stream(fd, info.kind, name, options, out, error);
}

st_status st_sink_open_fd(int fd, const st_sink_options *options, st_sink **out, st_error *error)
{
    ST_TRY(st__sink_options_check(options, error));
    char name[32];
    int copy = -1;
    ST_TRY(st__descriptor_duplicate(fd, options ? options->name : NULL, name, &copy, error));
    st_status status = sink_over(copy, name, options, out, error);
    if (status != ST_OK)
        st__os_close(copy);
    return status;
}
