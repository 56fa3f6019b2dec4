/* SPDX-License-Identifier: Apache-2.0 */
/* A sink over what takes bytes in order only: pipes, sockets, terminals, files opened for appending. */
#include "io/sink.h"
#include "io/os.h"
#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

typedef struct stream_sink {
    int fd;
    int kind; /* ST__OS_… */
    uint64_t at;
    st_sink *sink; /* not counted: it owns this */
} stream_sink;

static st_status stream_write(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                              st_error *error)
{
    stream_sink *to = self;
    size_t done = 0;
    if (offset != to->at)
        return st__fail(error, ST_ERR_ARGUMENT, offset,
                        "%s: a stream; byte %" PRIu64 " is next, not %" PRIu64, to->sink->name,
                        to->at, offset);
    int failed = st__os_write_stream(to->fd, to->kind, pieces, count, &done);
    to->at += done;
    if (failed == EPIPE)
        return st__fail_errno(error, ST_ERR_IO, failed, to->at,
                              "%s: the reader stopped at byte %" PRIu64, to->sink->name, to->at);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, to->at,
                              "%s: cannot be written at byte %" PRIu64, to->sink->name, to->at);
    return ST_OK;
}

static st_status stream_finish(void *self, st_error *error)
{
    const stream_sink *to = self;
    return st__sink_settle(to->sink, to->fd, error);
}

static void stream_free(void *self)
{
    stream_sink *to = self;
    st__os_close(to->fd);
    st__free(to->sink->context, to, sizeof *to);
}

static const st_sink_vtable stream_vtable = {
    .size = sizeof(st_sink_vtable),
    .flags = ST_SINK_SEQUENTIAL,
    .write = stream_write,
    .finish = stream_finish,
    .free = stream_free,
};

st_status st__sink_stream(int fd, int kind, const char *name, const st_sink_options *options,
                          st_sink **out, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    stream_sink *to = st__alloc_zeroed(context, 1, sizeof *to);
    if (!to)
        return st__fail_nomem(error, sizeof *to);
    to->fd = fd;
    to->kind = kind;
    st_status status = st__sink_wrap(&stream_vtable, to, name, options, &to->sink, error);
    if (status != ST_OK) {
        st__free(context, to, sizeof *to);
        return status;
    }
    *out = to->sink;
    return ST_OK;
}
