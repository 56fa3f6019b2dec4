/* SPDX-License-Identifier: Apache-2.0 */
/* One open file: a source, and the header that was read from it. */
#include "file/file.h"
#include "base/context.h"
#include "base/alloc.h"
#include "base/error.h"
#include "file/header_cache.h"
#include "format/header.h"
#include "io/os.h"

#include <inttypes.h>
#include <string.h>

/* -------------------------------------------------------------------------------- identity */

static bool etag_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

st_status st__file_unchanged(const st_file *file, st_source_info *now, st_error *error)
{
    const st_source_info *then = &file->identity;
    ST_TRY(st_source_query(file->source, now, error));
    if (now->size != then->size)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: its size went from %" PRIu64 " to %" PRIu64
                        " bytes since it was opened; open it again",
                        file->source->name, then->size, now->size);
    if (now->mtime_ns != then->mtime_ns || now->device != then->device ||
        now->inode != then->inode || !etag_equal(now->etag, then->etag))
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: it was changed since it was opened; open it again",
                        file->source->name);
    return ST_OK;
}

static st_status identity_keep(st_file *file, const st_source_info *info, st_error *error)
{
    file->identity = *info;
    file->identity.etag = NULL;
    if (!info->etag)
        return ST_OK;
    file->etag_size = strlen(info->etag) + 1;
    char *etag = st__alloc(file->context, file->etag_size);
    if (!etag)
        return st__fail_nomem(error, file->etag_size);
    file->identity.etag = memcpy(etag, info->etag, file->etag_size);
    return ST_OK;
}

/* --------------------------------------------------------------------------------- opening */

static st_status input_read(void *ctx, uint64_t offset, void *dst, size_t size, st_error *error)
{
    return st_source_read(ctx, offset, dst, size, error);
}

static st_status header_read(st_file *file, const st_open_options *options, st_error *error)
{
    st__header_input input = {.read = input_read,
                              .ctx = file->source,
                              .file_size = file->identity.size,
                              .memory = file->source->memory.data,
                              .memory_size = file->source->memory.size,
                              .name = file->source->name};
    st__os_random(input.hash_key, sizeof input.hash_key);
    return st__header_read(&input, options, &file->header, error);
}

/* Takes the header of a file that was opened before, or reads it and keeps it for the next time; `path` may be
 * NULL. `now` is the clock before the identity was asked for. */
static st_status header_get(st_file *file, const char *path, const st_open_options *options,
                            int64_t now, st_error *error)
{
    const st_source_info *id = &file->identity;
    st__os_info state = {id->size,     id->device,   id->inode,
                         id->mtime_ns, id->ctime_ns, ST__OS_REGULAR};
    st__header_key key;
    st__header_key_fill(&key, &state, options);
    st__header_found found = st__header_cache_find(file->context, &key);
    file->header = found.header;
    if (found.header)
        return ST_OK;
    ST_TRY(header_read(file, options, error));
    found = (st__header_found){file->header, id->latency};
    return st__header_cache_put(file->context, &key, path, &found, now, error);
}

/* Makes a file without a header. Takes the caller's reference to the source over on success. */
static st_status file_new(st_source *source, const st_source_info *info,
                          const st_open_options *options, st_file **out, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    st_file *file = st__alloc_zeroed(context, 1, sizeof *file);
    if (!file)
        return st__fail_nomem(error, sizeof *file);
    file->context = st_context_retain(context);
    file->io = options ? options->io : ST_IO_AUTO;
    file->source = source;
    atomic_init(&file->mapping, NULL);
    st_status status = identity_keep(file, info, error);
    if (status == ST_OK) {
        *out = file;
        return ST_OK;
    }
    file->source = NULL;
    st_file_close(file);
    return status;
}

st_status st__file_over(st_source *source, const st_source_info *info, st_header *header,
                        const st_open_options *options, st_file **out, st_error *error)
{
    ST_TRY(file_new(source, info, options, out, error));
    (void)st_source_retain(source);
    (*out)->header = st_header_retain(header);
    return ST_OK;
}

/* Takes the caller's reference to the source over on success. `path`: as above. */
static st_status file_over(st_source *source, const char *path, const st_open_options *options,
                           st_file **out, st_error *error)
{
    st_source_info info;
    st_file *file;
    bool keeps = source->is_file && options && options->context;
    int64_t now = keeps ? st__os_clock_ns() : 0;
    ST_TRY(st_source_query(source, &info, error));
    ST_TRY(file_new(source, &info, options, &file, error));
    st_status status =
        keeps ? header_get(file, path, options, now, error) : header_read(file, options, error);
    if (status != ST_OK) {
        file->source = NULL;
        st_file_close(file);
        return status;
    }
    *out = file;
    return ST_OK;
}

static st_status file_over_or_drop(st_source *source, const char *path,
                                   const st_open_options *options, st_file **out, st_error *error)
{
    st_status status = file_over(source, path, options, out, error);
    if (status != ST_OK)
        st_source_release(source);
    return status;
}

/* Makes a file of a header that is known; its descriptor is opened when it is read. */
static st_status file_known(const char *path, const st_open_options *options,
                            const st__os_info *state, const st__header_found *found, st_file **out,
                            st_error *error)
{
    st_source *source;
    st_source_info info = {0};
    ST_TRY(st__source_open_later(path, options, state, found->latency, &source, error));
    st__source_info_fill(source, state, &info);
    st_status status = file_new(source, &info, options, out, error);
    if (status == ST_OK)
        (*out)->header = st_header_retain(found->header);
    else
        st_source_release(source);
    return status;
}

/* Opens a file whose header is known without opening anything. ST_ERR_UNSUPPORTED where that cannot be. What a
 * network's file system says of a path may be older than what it says of a file that is opened now. */
static st_status file_recall(const char *path, const st_open_options *options, st_file **out,
                             st_error *error)
{
    st__os_info state;
    st__header_key key;
    if (!options || !st__header_cache_may_have(options->context, path) ||
        st__os_info_at(ST__OS_HERE, path, true, &state) != 0 || state.kind != ST__OS_REGULAR)
        return ST_ERR_UNSUPPORTED;
    st__header_key_fill(&key, &state, options);
    st__header_found found = st__header_cache_find(options->context, &key);
    st_status status = ST_ERR_UNSUPPORTED;
    st_error said = {.status = ST_OK};
    if (found.header && (found.latency == ST_LATENCY_LOCAL || found.latency == ST_LATENCY_MEMORY))
        status = file_known(path, options, &state, &found, out, &said);
    st_header_release(found.header);
    if (status != ST_OK && status != ST_ERR_UNSUPPORTED && error)
        *error = said;
    return status;
}

st_status st_file_open(const char *path, const st_open_options *options, st_file **out,
                       st_error *error)
{
    st_source *source;
    ST_TRY(st__options_check(options, error));
    st_status status = file_recall(path, options, out, error);
    if (status != ST_ERR_UNSUPPORTED)
        return status;
    ST_TRY(st_source_open(path, options, &source, error));
    return file_over_or_drop(source, path, options, out, error);
}

st_status st_file_open_fd(int fd, const st_open_options *options, st_file **out, st_error *error)
{
    st_source *source;
    ST_TRY(st_source_open_fd(fd, options, &source, error));
    return file_over_or_drop(source, NULL, options, out, error);
}

st_status st_file_open_memory(const st_memory *memory, const st_open_options *options,
                              st_file **out, st_error *error)
{
    st_source *source;
    ST_TRY(st__source_borrow(memory, options, &source, error));
    ST_TRY(file_over_or_drop(source, NULL, options, out, error));
    st__source_own(source, memory->release);
    return ST_OK;
}

st_status st_file_open_source(st_source *source, const st_open_options *options, st_file **out,
                              st_error *error)
{
    ST_TRY(st__options_check(options, error));
    return file_over_or_drop(st_source_retain(source), NULL, options, out, error);
}

void st_file_close(st_file *file)
{
    if (!file)
        return;
    st_context *context = file->context;
    st_buffer_release(atomic_load_explicit(&file->mapping, memory_order_acquire));
    st_header_release(file->header);
    st_source_release(file->source);
    /* Made by identity_keep, for this file alone. */
    st__free(context, (void *)(uintptr_t)file->identity.etag, file->etag_size);
    st__free(context, file, sizeof *file);
    st_context_release(context);
}

/* --------------------------------------------------------------------------------- getters */

const char *st_file_name(const st_file *file)
{
    return st_source_name(file->source);
}

const st_header *st_file_header(const st_file *file)
{
    return file->header;
}

st_source *st_file_source(const st_file *file)
{
    return file->source;
}

uint64_t st_file_size(const st_file *file)
{
    return file->identity.size;
}

size_t st_file_count(const st_file *file)
{
    return st_header_count(file->header);
}

const st_tensor *st_file_at(const st_file *file, size_t index)
{
    return st_header_at(file->header, index);
}

const st_tensor *st_file_find(const st_file *file, const char *name, size_t name_len)
{
    return st_header_find(file->header, name, name_len);
}

uint64_t st_file_offset(const st_file *file, const st_tensor *tensor)
{
    return st_header_data_offset(file->header) + tensor->begin;
}
