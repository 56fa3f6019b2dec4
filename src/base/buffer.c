/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/ref.h"

struct st_buffer {
    st__ref ref;
    st_context *context;
    st_memory memory;
};

st_status st_buffer_new(st_context *context, const st_memory *memory, st_buffer **out,
                        st_error *error)
{
    st_buffer *buffer = st__alloc(context, sizeof *buffer);
    if (!buffer)
        return st__fail_nomem(error, sizeof *buffer);
    st__ref_init(&buffer->ref);
    buffer->context = st_context_retain(context);
    buffer->memory = *memory;
    *out = buffer;
    return ST_OK;
}

st_buffer *st_buffer_retain(st_buffer *buffer)
{
    if (buffer)
        st__ref_retain(&buffer->ref);
    return buffer;
}

void st_buffer_release(st_buffer *buffer)
{
    if (!buffer || !st__ref_release(&buffer->ref))
        return;
    const st_memory *m = &buffer->memory;
    if (m->release)
        m->release(m->ctx, m->data, m->size);
    st_context *context = buffer->context;
    st__free(context, buffer, sizeof *buffer);
    st_context_release(context);
}

void *st_buffer_data(const st_buffer *buffer)
{
    return buffer->memory.data;
}

size_t st_buffer_size(const st_buffer *buffer)
{
    return buffer->memory.size;
}
