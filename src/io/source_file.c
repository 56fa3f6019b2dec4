/* SPDX-License-Identifier: Apache-2.0 */
/* A source over a descriptor of its own. */
#include "io/source.h"
#include "io/os.h"
#include "base/context.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int fd_of(const void *self)
{
    return ((const st_source *)self)->fd;
}

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

static st_status file_info(void *self, st_source_info *out, st_error *error)
{
    st__os_info info;
    int failed = st__os_info_fd(fd_of(self), &info);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              ((st_source *)self)->name);
    out->size = info.size;
    out->device = info.device;
    out->inode = info.inode;
    out->mtime_ns = info.mtime_ns;
    out->ctime_ns = info.ctime_ns;
    out->latency = ST_LATENCY_LOCAL;
    return ST_OK;
}

static st_status file_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                           st_error *error)
{
    const char *name = ((st_source *)self)->name;
    uint64_t size = 0;
    size_t done;
    for (size_t i = 0; i < count; i++)
        size += segments[i].size;
    int failed = st__os_read(fd_of(self), offset, segments, count, &done);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, offset + done,
                              "%s: cannot be read at byte %" PRIu64, name, offset + done);
    if (done < size) {
        /* A read that begins behind the end does not tell where that is. */
        st__os_info info;
        uint64_t end = offset + done;
        if (done == 0 && st__os_info_fd(fd_of(self), &info) == 0 && info.size < end)
            end = info.size;
        return st__fail(error, ST_ERR_SHORT_READ, end,
                        "%s: the file ends at byte %" PRIu64
                        ", and was to be read up to byte %" PRIu64
                        "; it was cut off after it was opened",
                        name, end, offset + size);
    }
    return ST_OK;
}

static void mapping_release(void *ctx, void *data, size_t size)
{
    (void)ctx;
    st__os_unmap(data, size);
}

static st_status file_map(void *self, uint32_t mode, st_context *context, st_buffer **out,
                          st_error *error)
{
    const char *name = ((st_source *)self)->name;
    st_source_info info = {0};
    ST_TRY(file_info(self, &info, error));
    st_memory memory = {NULL, 0, mapping_release, NULL};
    if (!st__u64_to_size(info.size, &memory.size))
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                        "%s: %" PRIu64 " bytes do not fit this process's address space", name,
                        info.size);
    if (memory.size == 0)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "%s: an empty file cannot be mapped", name);
    int failed = st__os_map(fd_of(self), memory.size, mode, &memory.data);
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

static void file_prefetch(void *self, uint64_t offset, uint64_t size)
{
    st__os_prefetch(fd_of(self), offset, size);
}

static intptr_t file_native(void *self)
{
    return fd_of(self);
}

static void file_free(void *self)
{
    st__os_close(fd_of(self));
}

static const st_source_vtable file_vtable = {
    .size = sizeof(st_source_vtable),
    .info = file_info,
    .read = file_read,
    .map = file_map,
    .prefetch = file_prefetch,
    .native = file_native,
    .free = file_free,
};

static st_status not_regular(const char *name, int kind, st_error *error)
{
    return st__fail(error, ST_ERR_NOT_REGULAR, ST_NO_OFFSET,
                    "%s: is %s, not a regular file; pass the file itself", name,
                    st__kind_text(kind));
}

/* Takes the descriptor over on success. */
static st_status source_over(int fd, const char *name, const st_open_options *options,
                             st_source **out, st_error *error)
{
    st__os_info info;
    int failed = st__os_info_fd(fd, &info);
    const char *shown = options && options->name ? options->name : name;
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              shown);
    if (info.kind != ST__OS_REGULAR)
        return not_regular(shown, info.kind, error);
    ST_TRY(st__source_wrap(&file_vtable, NULL, name, options, out, error));
    (*out)->self = *out;
    (*out)->fd = fd;
    return ST_OK;
}

st_status st_source_open(const char *path, const st_open_options *options, st_source **out,
                         st_error *error)
{
    ST_TRY(st__options_check(options, error));
    const char *name = options && options->name ? options->name : path;
    int fd = -1;
    int failed = st__os_open(path, &fd);
    st__os_info info;
    /* A socket, or a device without a driver, refuses to be opened at all. */
    if (failed && st__os_info_at(ST__OS_HERE, path, true, &info) == 0 &&
        info.kind != ST__OS_REGULAR && (failed == ENXIO || failed == ENODEV || failed == EISDIR))
        return not_regular(name, info.kind, error);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be opened", name);
    st_status status = source_over(fd, path, options, out, error);
    if (status != ST_OK)
        st__os_close(fd);
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
    st_status status = source_over(copy, name, options, out, error);
    if (status != ST_OK)
        st__os_close(copy);
    return status;
}
