/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "memory.h"
#include "out.h"

#define BLOCK ((size_t)1 << 20)

st_status cache_drop(const char *path, st_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error(path, error);
#if defined(POSIX_FADV_DONTNEED)
    /* Dirty pages are not dropped. */
    (void)fdatasync(fd);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#endif
    close(fd);
    return ST_OK;
}

static st_status bytes_read(int fd, char *block, const char *path, st_error *error)
{
    uint64_t at = 0;
    for (;;) {
        ssize_t got = pread(fd, block, BLOCK, (off_t)at);
        if (progress_signal())
            return error_fill(error, ST_ERR_STOPPED, "%.300s: stopped by a signal", path);
        if (got < 0 && errno != EINTR)
            return io_error(path, error);
        if (got == 0)
            return ST_OK;
        at += got > 0 ? (uint64_t)got : 0;
    }
}

st_status cache_fill(const char *path, st_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error(path, error);
    char *block = memory_new(BLOCK, 1);
    st_status status = bytes_read(fd, block, path, error);
    free(block);
    close(fd);
    return status;
}
