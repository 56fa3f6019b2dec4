/* SPDX-License-Identifier: Apache-2.0 */
/* A source over a descriptor of its own, which may be closed between two reads where it was opened by its path with a
 * context. */
#include "io/source.h"
#include "io/os.h"
#include "base/context.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

const char *st__kind_text(int kind)
{
    switch (kind) {
    case ST__OS_DIRECTORY: return "a directory";
    case ST__OS_FIFO: return "a pipe (FIFO)";
    case ST__OS_SOCKET: return "a socket";
    case ST__OS_CHARACTER: return "a character device";
    case ST__OS_BLOCK: return "a block device";
    default: return "something else";
    }
}

void st__source_info_fill(const st_source *source, const st__os_info *info, st_source_info *out)
{
    out->size = info->size;
    out->device = info->device;
    out->inode = info->inode;
    out->mtime_ns = info->mtime_ns;
    out->ctime_ns = info->ctime_ns;
    out->latency = source->latency;
}

static st_status examined(const st_source *source, int fd, st__os_info *out, st_error *error)
{
    int failed = st__os_info_fd(fd, out);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              source->name);
    return ST_OK;
}

static st_status file_info(void *self, st_source_info *out, st_error *error)
{
    st_source *source = self;
    st__os_info info;
    int fd;
    ST_TRY(st__source_hold(source, &fd, error));
    st_status status = examined(source, fd, &info, error);
    st__source_let_go(source);
    if (status == ST_OK)
        st__source_info_fill(source, &info, out);
    return status;
}

static st_status descriptor_read(const char *name, int fd, uint64_t offset,
                                 const st_segment *segments, size_t count, st_error *error)
{
    uint64_t size = 0;
    size_t done;
    for (size_t i = 0; i < count; i++)
        size += segments[i].size;
    int failed = st__os_read(fd, offset, segments, count, &done);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, offset + done,
                              "%s: cannot be read at byte %" PRIu64, name, offset + done);
    if (done < size) {
        /* A read that begins behind the end does not tell where that is. */
        st__os_info info;
        uint64_t end = offset + done;
        if (done == 0 && st__os_info_fd(fd, &info) == 0 && info.size < end)
            end = info.size;
        return st__fail(error, ST_ERR_SHORT_READ, end,
                        "%s: the file ends at byte %" PRIu64
                        ", and was to be read up to byte %" PRIu64
                        "; it was cut off after it was opened",
                        name, end, offset + size);
    }
    return ST_OK;
}

static st_status file_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                           st_error *error)
{
    st_source *source = self;
    int fd;
    ST_TRY(st__source_hold(source, &fd, error));
    st_status status = descriptor_read(source->name, fd, offset, segments, count, error);
    st__source_let_go(source);
    return status;
}

static void mapping_release(void *ctx, void *data, size_t size)
{
    (void)ctx;
    st__os_unmap(data, size);
}

static st_status descriptor_map(const st_source *source, int fd, uint32_t mode, st_context *context,
                                st_buffer **out, st_error *error)
{
    const char *name = source->name;
    st__os_info info = {0};
    ST_TRY(examined(source, fd, &info, error));
    st_memory memory = {NULL, 0, mapping_release, NULL};
    if (!st__u64_to_size(info.size, &memory.size))
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                        "%s: %" PRIu64 " bytes do not fit this process's address space", name,
                        info.size);
    if (memory.size == 0)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "%s: an empty file cannot be mapped", name);
    int failed = st__os_map(fd, memory.size, mode, &memory.data);
    if (failed == ENODEV)
        return st__fail_errno(error, ST_ERR_UNSUPPORTED, failed, ST_NO_OFFSET,
                              "%s: its file system cannot map files; read it instead", name);
    if (failed) /* ENOMEM is about addresses here, not about memory */
        return st__fail_errno(error, failed == ENOMEM ? ST_ERR_TOO_BIG : ST_ERR_IO, failed,
                              ST_NO_OFFSET, "%s: cannot be mapped", name);
    st_status status = st_buffer_new(context, &memory, out, error);
    if (status != ST_OK)
        st__os_unmap(memory.data, memory.size);
    return status;
}

static st_status file_map(void *self, uint32_t mode, st_context *context, st_buffer **out,
                          st_error *error)
{
    st_source *source = self;
    int fd;
    ST_TRY(st__source_hold(source, &fd, error));
    st_status status = descriptor_map(source, fd, mode, context, out, error);
    st__source_let_go(source);
    return status;
}

static void file_prefetch(void *self, uint64_t offset, uint64_t size)
{
    int fd;
    if (st__source_hold(self, &fd, NULL) != ST_OK)
        return; /* the read that follows tells why */
    st__os_prefetch(fd, offset, size);
    st__source_let_go(self);
}

static void file_free(void *self)
{
    st__descriptor_leave(&((st_source *)self)->descriptor);
}

static const st_source_vtable file_vtable = {
    .size = sizeof(st_source_vtable),
    .info = file_info,
    .read = file_read,
    .map = file_map,
    .prefetch = file_prefetch,
    .free = file_free,
};

static st_status not_regular(const char *name, int kind, st_error *error)
{
    return st__fail(error, ST_ERR_NOT_REGULAR, ST_NO_OFFSET,
                    "%s: is %s, not a regular file; pass the file itself", name,
                    st__kind_text(kind));
}

/* What lies on a local disk is asked once per mount. Others' numbers go to the next mount when one is gone. */
static uint32_t latency_of(st_context *context, int fd, uint64_t device)
{
    uint32_t latency = st__context_latency(context, device);
    if (latency == ST_LATENCY_UNKNOWN) {
        latency = st__os_storage(fd);
        if (latency == ST_LATENCY_LOCAL)
            st__context_latency_learn(context, device, latency);
    }
    return latency;
}

/* Makes a source whose descriptor is not open yet. */
static st_status source_around(const char *name, const st_open_options *options,
                               const st__os_info *info, st_source **out, st_error *error)
{
    st_source *source;
    ST_TRY(st__source_wrap(&file_vtable, NULL, name, options, &source, error));
    source->self = source;
    source->is_file = true;
    source->descriptor.fd = -1;
    source->descriptor.first = *info;
    source->descriptor.name = source->name;
    *out = source;
    return ST_OK;
}

/* Takes the descriptor over on success; `all` is NULL, or what it was opened among by this path. */
static st_status source_over(int fd, const char *name, st__descriptors *all,
                             const st_open_options *options, st_source **out, st_error *error)
{
    st__os_info info;
    st_source *source;
    int failed = st__os_info_fd(fd, &info);
    const char *shown = options && options->name ? options->name : name;
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              shown);
    if (info.kind != ST__OS_REGULAR)
        return not_regular(shown, info.kind, error);
    ST_TRY(source_around(name, options, &info, &source, error));
    source->latency = latency_of(source->context, fd, info.device);
    source->descriptor.fd = fd;
    st_status status = all ? st__descriptor_join(&source->descriptor, all, name, error) : ST_OK;
    if (status != ST_OK) {
        source->descriptor.fd = -1; /* stays the caller's */
        st_source_release(source);
        return status;
    }
    *out = source;
    return ST_OK;
}

static st_status descriptors_get(const st_open_options *options, st__descriptors **out,
                                 st_error *error)
{
    st_context *context = options ? options->context : NULL;
    *out = st__descriptors_of(context);
    return context && !*out ? st__fail_nomem(error, sizeof(st_source)) : ST_OK;
}

st_status st_source_open(const char *path, const st_open_options *options, st_source **out,
                         st_error *error)
{
    st__descriptors *all;
    ST_TRY(st__options_check(options, error));
    ST_TRY(descriptors_get(options, &all, error));
    const char *name = options && options->name ? options->name : path;
    int fd = -1;
    int failed = all ? st__descriptors_open(all, path, &fd) : st__os_open(path, &fd);
    st__os_info info;
    /* A socket, or a device without a driver, refuses to be opened at all. */
    if (failed && st__os_info_at(ST__OS_HERE, path, true, &info) == 0 &&
        info.kind != ST__OS_REGULAR && (failed == ENXIO || failed == ENODEV || failed == EISDIR))
        return not_regular(name, info.kind, error);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be opened", name);
    st_status status = source_over(fd, path, all, options, out, error);
    if (status == ST_OK)
        return ST_OK;
    if (all)
        st__descriptors_close(all, fd);
    else
        st__os_close(fd);
    return status;
}

st_status st__source_open_later(const char *path, const st_open_options *options,
                                const st__os_info *first, uint32_t latency, st_source **out,
                                st_error *error)
{
    st__descriptors *all;
    st_source *source;
    ST_TRY(descriptors_get(options, &all, error));
    ST_TRY(source_around(path, options, first, &source, error));
    source->latency = latency;
    st_status status = st__descriptor_join(&source->descriptor, all, path, error);
    if (status == ST_OK)
        *out = source;
    else
        st_source_release(source);
    return status;
}

st_status st__descriptor_duplicate(int fd, const char *shown, char name[32], int *out,
                                   st_error *error)
{
    (void)snprintf(name, 32, "<descriptor %d>", fd);
    int failed = st__os_duplicate(fd, out);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be duplicated",
                              shown ? shown : name);
    return ST_OK;
}

st_status st_source_open_fd(int fd, const st_open_options *options, st_source **out,
                            st_error *error)
{
    ST_TRY(st__options_check(options, error));
    char name[32];
    int copy = -1;
    ST_TRY(st__descriptor_duplicate(fd, options ? options->name : NULL, name, &copy, error));
    st_status status = source_over(copy, name, NULL, options, out, error);
    if (status != ST_OK)
        st__os_close(copy);
    return status;
}
