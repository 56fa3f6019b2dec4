/* SPDX-License-Identifier: Apache-2.0 */
/* Counted sinks around a vtable. */
#include "io/sink.h"
#include "io/os.h"
#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

st_status st__sink_options_check(const st_sink_options *options, st_error *error)
{
    if (!options)
        return ST_OK;
    if (options->durability > ST_DURABLE_NONE)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_sink_options: unknown durability %" PRIu32, options->durability);
    if (options->flags & ~(uint32_t)ST_SINK_NEW)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_sink_options: unknown flags 0x%" PRIx32,
                        options->flags & ~(uint32_t)ST_SINK_NEW);
    if (options->cache > ST_CACHE_DROP || options->reserved0)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_sink_options: unknown cache policy %" PRIu32
                        ", or reserved0 is not zero",
                        options->cache);
    return st__reserved_check(options->reserved, 7, "st_sink_options", error);
}

st_status st__sink_wrap(const st_sink_vtable *vtable, void *self, const char *name,
                        const st_sink_options *options, st_sink **out, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    bool named = options && options->name;
    if (named)
        name = options->name;
    size_t name_size = strlen(name) + 1;
    st_sink *sink = st__alloc_zeroed(context, 1, sizeof *sink);
    if (!sink)
        return st__fail_nomem(error, sizeof *sink);
    sink->name = st__alloc(context, name_size);
    if (!sink->name) {
        st__free(context, sink, sizeof *sink);
        return st__fail_nomem(error, name_size);
    }
    st__ref_init(&sink->ref);
    sink->context = st_context_retain(context);
    sink->vtable = *vtable;
    sink->self = self;
    sink->named = named;
    sink->durability = options ? options->durability : ST_DURABLE_NAME;
    sink->cache = options ? options->cache : ST_CACHE_AUTO;
    sink->name_size = name_size;
    st__name_copy(sink->name, name, name_size - 1);
    *out = sink;
    return ST_OK;
}

st_status st_sink_new(const st_sink_vtable *vtable, void *self, const st_sink_options *options,
                      st_sink **out, st_error *error)
{
    ST_TRY(st__sink_options_check(options, error));
    if (vtable->size < sizeof *vtable || !vtable->write || !vtable->free)
        return st__fail(
            error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
            "st_sink_vtable: size must be that of the struct, and write and free be set");
    if ((vtable->flags & ~(uint32_t)ST_SINK_SEQUENTIAL) || vtable->reserved)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_sink_vtable: unknown flags 0x%" PRIx32 ", or reserved is not zero",
                        vtable->flags);
    ST_TRY(st__sink_wrap(vtable, self, "<sink>", options, out, error));
    (*out)->foreign = true;
    return ST_OK;
}

st_sink *st_sink_retain(st_sink *sink)
{
    if (sink)
        st__ref_retain(&sink->ref);
    return sink;
}

void st_sink_release(st_sink *sink)
{
    if (!sink || !st__ref_release(&sink->ref))
        return;
    st_context *context = sink->context;
    sink->vtable.free(sink->self);
    st__free(context, sink->name, sink->name_size);
    st__free(context, sink, sizeof *sink);
    st_context_release(context);
}

const char *st_sink_name(const st_sink *sink)
{
    return sink->name;
}

st_status st__sink_begin(st_sink *sink, uint64_t size, st_error *error)
{
    if (sink->begun)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: this sink was used before; a sink takes one file", sink->name);
    sink->begun = true;
    if (!sink->vtable.begin)
        return ST_OK;
    if (!sink->foreign)
        return sink->vtable.begin(sink->self, size, error);
    st_error said = {.status = ST_OK};
    return st__foreign_settle(sink->name, sink->vtable.begin(sink->self, size, &said), &said,
                              error);
}

st_status st__sink_write(st_sink *sink, uint64_t offset, const st_bytes *pieces, size_t count,
                         st_error *error)
{
    if (!sink->foreign)
        return sink->vtable.write(sink->self, offset, pieces, count, error);
    st_error said = {.status = ST_OK};
    st_status status = sink->vtable.write(sink->self, offset, pieces, count, &said);
    return st__foreign_settle(sink->name, status, &said, error);
}

st_status st__sink_copy(st_sink *sink, uint64_t offset, const st__stretch *stretch, uint64_t *done,
                        st_error *error)
{
    uint64_t moved = 0;
    if (sink->copy && stretch->size > 0)
        ST_TRY(sink->copy(sink->self, offset, stretch, &moved, error));
    *done = moved;
    return ST_OK;
}

st_status st__sink_finish(st_sink *sink, st_error *error)
{
    if (!sink->vtable.finish)
        return ST_OK;
    if (!sink->foreign)
        return sink->vtable.finish(sink->self, error);
    st_error said = {.status = ST_OK};
    return st__foreign_settle(sink->name, sink->vtable.finish(sink->self, &said), &said, error);
}

st_status st__sink_settle(const st_sink *sink, int fd, st_error *error)
{
    int failed = sink->durability == ST_DURABLE_NONE ? 0 : st__os_sync(fd);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: cannot be made to reach the disk", sink->name);
    failed = st__os_flush(fd);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be closed",
                              sink->name);
    return ST_OK;
}
