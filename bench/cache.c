/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Linux 6.5; the same number on all architectures. */
#ifndef SYS_cachestat
# define SYS_cachestat 451
#endif
#define COLD_AT_MOST 0.01
enum { TRIES = 100 };

/* As the kernel has them. */
typedef struct cache_range {
    uint64_t offset, size; /* size 0: to the end */
} cache_range;

typedef struct cache_counts {
    uint64_t cached, dirty, writeback, evicted, recently_evicted; /* pages */
} cache_counts;

static int file_open(const char *path, uint64_t *size)
{
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts))
        bench_fail("cannot open %s: %s", path, strerror(errno));
    *size = (uint64_t)facts.st_size;
    return fd;
}

/* For kernels without cachestat. */
static uint64_t pages_in_core(int fd, uint64_t size, size_t page)
{
    static unsigned char seen[1 << 16];
    uint64_t pages = 0;
    for (uint64_t at = 0; at < size; at += sizeof seen * page) {
        size_t part = size - at < sizeof seen * page ? (size_t)(size - at) : sizeof seen * page;
        void *map = mmap(NULL, part, PROT_READ, MAP_SHARED, fd, (off_t)at);
        if (map == MAP_FAILED || mincore(map, part, seen))
            bench_fail("cannot tell what is in the page cache: %s", strerror(errno));
        for (size_t i = 0; i < (part + page - 1) / page; i++)
            pages += seen[i] & 1u;
        munmap(map, part);
    }
    return pages;
}

static uint64_t pages_cached(int fd, uint64_t size, size_t page)
{
    cache_range range = {0, 0};
    cache_counts counts;
    if (syscall(SYS_cachestat, fd, &range, &counts, 0u) == 0)
        return counts.cached;
    return pages_in_core(fd, size, page);
}

double bench_cache_share(const char *const *paths, size_t count)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t cached = 0, all = 0, size;
    for (size_t i = 0; i < count; i++) {
        int fd = file_open(paths[i], &size);
        cached += pages_cached(fd, size, page);
        all += (size + page - 1) / page;
        close(fd);
    }
    return all ? (double)cached / (double)all : 0;
}

double bench_cache_drop(const char *const *paths, size_t count)
{
    const struct timespec pause = {0, 20 * 1000 * 1000};
    double share = 1;
    uint64_t size;
    for (unsigned turn = 0; turn < TRIES; turn++) {
        for (size_t i = 0; i < count; i++) {
            int fd = file_open(paths[i], &size);
            if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
                bench_fail("cannot drop %s from the page cache", paths[i]);
            close(fd);
        }
        share = bench_cache_share(paths, count);
        if (share < COLD_AT_MOST)
            return share;
        nanosleep(&pause, NULL);
    }
    bench_fail("%.1f %% of %s stays in the page cache: somebody has it mapped", share * 100,
               paths[0]);
}

void bench_cache_fill(const char *const *paths, size_t count)
{
    static unsigned char block[1 << 20];
    uint64_t size;
    if (bench_cache_share(paths, count) > 1 - COLD_AT_MOST / 10)
        return;
    for (size_t i = 0; i < count; i++) {
        int fd = file_open(paths[i], &size);
        for (uint64_t at = 0; at < size; at += sizeof block) {
            if (pread(fd, block, sizeof block, (off_t)at) <= 0)
                bench_fail("cannot read %s: %s", paths[i], strerror(errno));
        }
        close(fd);
    }
}
