/* SPDX-License-Identifier: Apache-2.0 */
/* A source of memory: `self` is the st_source itself, which holds the memory. */
#include "io/source.h"
#include "base/context.h"
#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

static st_status memory_source_info(void *self, st_source_info *out, st_error *error)
{
    const st_source *source = self;
    (void)error;
    out->size = source->memory.size;
    out->latency = ST_LATENCY_MEMORY;
    return ST_OK;
}

static st_status memory_source_read(void *self, uint64_t offset, const st_segment *segments,
                                    size_t count, st_error *error)
{
    const st_source *source = self;
    const unsigned char *data = source->memory.data;
    uint64_t size = source->memory.size;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].size == 0)
            continue;
        if (offset > size || segments[i].size > size - offset)
            return st__fail(error, ST_ERR_SHORT_READ, size,
                            "%s: the memory ends at byte %" PRIu64
                            ", before the %zu bytes at byte %" PRIu64,
                            source->name, size, segments[i].size, offset);
        memcpy(segments[i].data, data + offset, segments[i].size);
        offset += segments[i].size;
    }
    return ST_OK;
}

static void source_unpin(void *ctx, void *data, size_t size)
{
    (void)data;
    (void)size;
    st_source_release(ctx);
}

/* The buffer keeps the source, and so the memory. */
static st_status memory_source_map(void *self, uint32_t mode, st_context *context, st_buffer **out,
                                   st_error *error)
{
    st_source *source = self;
    if (mode != ST_MAP_SHARED)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "%s: memory cannot be mapped privately; copy it instead", source->name);
    st_memory view = {source->memory.data, source->memory.size, source_unpin, source};
    ST_TRY(st_buffer_new(context, &view, out, error));
    (void)st_source_retain(source);
    return ST_OK;
}

static void memory_source_free(void *self)
{
    st_memory *m = &((st_source *)self)->memory;
    if (m->release)
        m->release(m->ctx, m->data, m->size);
}

static const st_source_vtable memory_source_vtable = {
    .size = sizeof(st_source_vtable),
    .info = memory_source_info,
    .read = memory_source_read,
    .map = memory_source_map,
    .free = memory_source_free,
};

st_status st__source_borrow(const st_memory *memory, const st_open_options *options,
                            st_source **out, st_error *error)
{
    ST_TRY(st__options_check(options, error));
    st_source *source;
    ST_TRY(st__source_wrap(&memory_source_vtable, NULL, "<memory>", options, &source, error));
    source->self = source;
    source->memory = *memory;
    source->memory.release = NULL;
    *out = source;
    return ST_OK;
}

void st__source_own(st_source *source, void (*release)(void *ctx, void *data, size_t size))
{
    source->memory.release = release;
}

st_status st_source_open_memory(const st_memory *memory, const st_open_options *options,
                                st_source **out, st_error *error)
{
    ST_TRY(st__source_borrow(memory, options, out, error));
    st__source_own(*out, memory->release);
    return ST_OK;
}
