/* SPDX-License-Identifier: Apache-2.0 */
/* Counted sources around a vtable. */
#include "io/source.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

void st__name_copy(char *to, const char *name, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = st__utf8_decode((const unsigned char *)name + i, len - i, &c);
        if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0)) {
            *to++ = '?';
            i += n ? n : 1;
            continue;
        }
        memcpy(to, name + i, n);
        to += n;
        i += n;
    }
    *to = '\0';
}

st_status st__source_wrap(const st_source_vtable *vtable, void *self, const char *name,
                          const st_open_options *options, st_source **out, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    bool named = options && options->name;
    if (named)
        name = options->name;
    size_t name_size = strlen(name) + 1;
    st_source *source = st__alloc_zeroed(context, 1, sizeof *source);
    if (!source)
        return st__fail_nomem(error, sizeof *source);
    source->name = st__alloc(context, name_size);
    if (!source->name) {
        st__free(context, source, sizeof *source);
        return st__fail_nomem(error, name_size);
    }
    st__ref_init(&source->ref);
    source->context = st_context_retain(context);
    source->vtable = *vtable;
    source->self = self;
    source->named = named;
    source->name_size = name_size;
    st__name_copy(source->name, name, name_size - 1);
    *out = source;
    return ST_OK;
}

st_status st_source_new(const st_source_vtable *vtable, void *self, const st_open_options *options,
                        st_source **out, st_error *error)
{
    ST_TRY(st__options_check(options, error));
    if (vtable->size < sizeof *vtable || !vtable->info || !vtable->read || !vtable->free)
        return st__fail(
            error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
            "st_source_vtable: size must be that of the struct, and info, read and free "
            "be set");
    ST_TRY(st__source_wrap(vtable, self, "<source>", options, out, error));
    (*out)->foreign = 1;
    return ST_OK;
}

st_source *st_source_retain(st_source *source)
{
    if (source)
        st__ref_retain(&source->ref);
    return source;
}

void st_source_release(st_source *source)
{
    if (!source || !st__ref_release(&source->ref))
        return;
    st_context *context = source->context;
    source->vtable.free(source->self);
    st__free(context, source->name, source->name_size);
    st__free(context, source, sizeof *source);
    st_context_release(context);
}

const char *st_source_name(const st_source *source)
{
    return source->name;
}

st_status st__foreign_settle(const char *name, st_status status, const st_error *said,
                             st_error *error)
{
    if (status == ST_OK || !error)
        return status;
    if (said->status == status && said->message[0]) {
        *error = *said;
        error->message[sizeof error->message - 1] = '\0';
        return status;
    }
    return st__fail(error, status, ST_NO_OFFSET, "%s: %s", name, st_status_text(status));
}

st_status st_source_query(st_source *source, st_source_info *out, st_error *error)
{
    st_source_info info;
    memset(&info, 0, sizeof info);
    st_error said = {.status = ST_OK};
    st_error *hears = source->foreign ? &said : error;
    st_status status = source->vtable.info(source->self, &info, hears);
    if (source->foreign)
        status = st__foreign_settle(source->name, status, &said, error);
    if (status == ST_OK)
        *out = info;
    return status;
}

st_status st__source_hold(st_source *source, int *fd, st_error *error)
{
    if (source->is_file)
        return st__descriptor_hold(&source->descriptor, fd, error);
    *fd = source->vtable.native ? (int)source->vtable.native(source->self) : -1;
    return ST_OK;
}

void st__source_let_go(st_source *source)
{
    if (source->is_file)
        st__descriptor_let_go(&source->descriptor);
}

st_status st__source_readv(st_source *source, uint64_t offset, const st_segment *segments,
                           size_t count, st_error *error)
{
    if (!source->foreign)
        return source->vtable.read(source->self, offset, segments, count, error);
    st_error said = {.status = ST_OK};
    st_status status = source->vtable.read(source->self, offset, segments, count, &said);
    return st__foreign_settle(source->name, status, &said, error);
}

st_status st_source_read(st_source *source, uint64_t offset, void *dst, size_t size,
                         st_error *error)
{
    st_segment segment = {dst, size};
    if (size == 0)
        return ST_OK;
    return st__source_readv(source, offset, &segment, 1, error);
}

st_status st__source_map(st_source *source, uint32_t mode, st_buffer **out, st_error *error)
{
    if (!source->vtable.map)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "%s: this source cannot be mapped; read it instead", source->name);
    if (!source->foreign)
        return source->vtable.map(source->self, mode, source->context, out, error);
    st_error said = {.status = ST_OK};
    st_buffer *buffer = NULL;
    st_status status = source->vtable.map(source->self, mode, source->context, &buffer, &said);
    if (status == ST_OK)
        *out = buffer;
    return st__foreign_settle(source->name, status, &said, error);
}
