/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "memory.h"
#include "out.h"

#define BLOCK ((size_t)1 << 20)

bool cache_drop(int fd)
{
#if defined(POSIX_FADV_DONTNEED)
    /* Dirty pages are not dropped. */
    (void)fdatasync(fd);
    return posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
#else
    (void)fd;
    return false;
#endif
}

st_status cache_fill(int fd, const char *path, st_error *error)
{
    char *block = memory_new(BLOCK, 1);
    st_status status = ST_OK;
    uint64_t at = 0;
    for (;;) {
        ssize_t got = pread(fd, block, BLOCK, (off_t)at);
        if (progress_signal())
            status = error_fill(error, ST_ERR_STOPPED, "%.300s: stopped by a signal", path);
        else if (got < 0 && errno != EINTR)
            status = io_error(path, error);
        if (got == 0 || status != ST_OK)
            break;
        at += got > 0 ? (uint64_t)got : 0;
    }
    free(block);
    return status;
}
