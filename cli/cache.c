/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <safetensors/json.h>
#include <stdlib.h>
#include <string.h>
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

/* Reads a file of a number, or the number after `key` in it. UINT64_MAX where there is none. */
static uint64_t figure_read(const char *path, const char *key)
{
    char text[4096];
    uint64_t figure;
    FILE *stream = fopen(path, "r");
    if (!stream)
        return UINT64_MAX;
    size_t len = fread(text, 1, sizeof text - 1, stream);
    fclose(stream);
    text[len] = '\0';
    const char *at = strstr(text, key);
    if (!at)
        return UINT64_MAX;
    at += strlen(key);
    at += strspn(at, " ");
    return st_json_parse_u64(at, strspn(at, "0123456789"), &figure) ? figure : UINT64_MAX;
}

uint64_t cache_memory(void)
{
    uint64_t kib = figure_read("/proc/meminfo", "MemAvailable:");
    uint64_t most = figure_read("/sys/fs/cgroup/memory.max", "");
    uint64_t used = figure_read("/sys/fs/cgroup/memory.current", "");
    uint64_t memory = kib < UINT64_MAX / 1024 ? kib * 1024 : UINT64_MAX;
    if (memory == UINT64_MAX) {
        long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
        memory = pages > 0 && page > 0 ? (uint64_t)pages / 2 * (uint64_t)page : memory;
    }
    if (most != UINT64_MAX && used != UINT64_MAX) {
        uint64_t left = most > used ? most - used : 0;
        memory = left < memory ? left : memory;
    }
    return memory;
}
