/* SPDX-License-Identifier: Apache-2.0 */
/* A sink over the caller's memory. */
#include "io/sink.h"
#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

typedef struct memory_sink {
    unsigned char *data;
    size_t size;
    st_sink *sink; /* not counted: it owns this */
} memory_sink;

static st_status memory_sink_begin(void *self, uint64_t size, st_error *error)
{
    const memory_sink *to = self;
    if (size > to->size)
        return st__fail(error, ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                        "%s: holds %zu bytes, and the file has %" PRIu64
                        "; ask st_writer_size how much is needed",
                        to->sink->name, to->size, size);
    return ST_OK;
}

static st_status memory_sink_write(void *self, uint64_t offset, const st_bytes *pieces,
                                   size_t count, st_error *error)
{
    const memory_sink *to = self;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size == 0)
            continue;
        if (offset > to->size || pieces[i].size > to->size - offset)
            return st__fail(error, ST_ERR_BUFFER_SIZE, offset,
                            "%s: holds %zu bytes, and %zu are to go to byte %" PRIu64,
                            to->sink->name, to->size, pieces[i].size, offset);
        memcpy(to->data + (size_t)offset, pieces[i].data, pieces[i].size);
        offset += pieces[i].size;
    }
    return ST_OK;
}

static void memory_sink_free(void *self)
{
    memory_sink *to = self;
    st__free(to->sink->context, to, sizeof *to);
}

static const st_sink_vtable memory_sink_vtable = {
    .size = sizeof(st_sink_vtable),
    .begin = memory_sink_begin,
    .write = memory_sink_write,
    .free = memory_sink_free,
};

st_status st_sink_open_memory(void *data, size_t size, const st_sink_options *options,
                              st_sink **out, st_error *error)
{
    ST_TRY(st__sink_options_check(options, error));
    st_context *context = options ? options->context : NULL;
    memory_sink *to = st__alloc(context, sizeof *to);
    if (!to)
        return st__fail_nomem(error, sizeof *to);
    to->data = data;
    to->size = size;
    st_status status =
        st__sink_wrap(&memory_sink_vtable, to, "<memory>", options, &to->sink, error);
    if (status != ST_OK) {
        st__free(context, to, sizeof *to);
        return status;
    }
    *out = to->sink;
    return ST_OK;
}
