/* SPDX-License-Identifier: Apache-2.0 */
#include "io/os_system.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
# include <sys/random.h>
#endif

int st__os_open(const char *path, int *out)
{
    int fd;
    do
        fd = OS_CALL(open)(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return errno;
    *out = fd;
    return 0;
}

int st__os_duplicate(int fd, int *out)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return errno;
    *out = copy;
    return 0;
}

void st__os_close(int fd)
{
    /* Not repeated after EINTR: Linux has closed the descriptor by then. */
    (void)close(fd);
}

static int kind_of(mode_t mode)
{
    if (S_ISREG(mode))
        return ST__OS_REGULAR;
    if (S_ISDIR(mode))
        return ST__OS_DIRECTORY;
    if (S_ISFIFO(mode))
        return ST__OS_FIFO;
    if (S_ISSOCK(mode))
        return ST__OS_SOCKET;
    if (S_ISCHR(mode))
        return ST__OS_CHARACTER;
    return S_ISBLK(mode) ? ST__OS_BLOCK : ST__OS_OTHER;
}

static int64_t nanoseconds_of(const struct timespec *t)
{
    /* Seconds beyond 2262 wrap; the number is only ever compared. */
    return (int64_t)((uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec);
}

static void info_fill(st__os_info *out, const struct stat *s)
{
    out->size = s->st_size > 0 ? (uint64_t)s->st_size : 0;
    out->device = (uint64_t)s->st_dev;
    out->inode = (uint64_t)s->st_ino;
#if defined(__APPLE__)
    out->mtime_ns = nanoseconds_of(&s->st_mtimespec);
    out->ctime_ns = nanoseconds_of(&s->st_ctimespec);
#else
    out->mtime_ns = nanoseconds_of(&s->st_mtim);
    out->ctime_ns = nanoseconds_of(&s->st_ctim);
#endif
    out->kind = kind_of(s->st_mode);
}

int st__os_info_fd(int fd, st__os_info *out)
{
    struct stat s;
    if (OS_CALL(fstat)(fd, &s) != 0)
        return errno;
    info_fill(out, &s);
    return 0;
}

int st__os_info_at(int directory, const char *name, bool follow, st__os_info *out)
{
    struct stat s;
    if (directory == ST__OS_HERE)
        directory = AT_FDCWD;
    if (OS_CALL(fstatat)(directory, name, &s, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    info_fill(out, &s);
    return 0;
}

int st__os_segments_rest(const st_segment *segments, size_t count, size_t moved, st__os_batch *out)
{
    size_t i = 0;
    st__os_batch_init(out, moved);
    while (i < count && st__os_batch_add(out, segments[i].data, segments[i].size))
        i++;
    return out->count;
}

int st__os_read(int fd, uint64_t offset, const st_segment *segments, size_t count, size_t *done)
{
    st__os_batch rest;
    *done = 0;
    for (int n; (n = st__os_segments_rest(segments, count, *done, &rest)) > 0;) {
        if (offset + *done > (uint64_t)INT64_MAX || offset + *done < offset)
            return EOVERFLOW;
        ssize_t got = OS_CALL(preadv)(fd, rest.parts, n, (off_t)(offset + *done));
        if (got == 0)
            return 0;
        if (got > 0)
            *done += (size_t)got;
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

int st__os_map(int fd, size_t size, uint32_t mode, void **out)
{
    int prot = mode == ST_MAP_PRIVATE ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags = mode == ST_MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
#if defined(MAP_NORESERVE)
    if (mode == ST_MAP_PRIVATE)
        flags |= MAP_NORESERVE;
#endif
    void *data = OS_CALL(mmap)(NULL, size, prot, flags, fd, 0);
    if (data == MAP_FAILED)
        return errno;
    *out = data;
    return 0;
}

void st__os_unmap(void *data, size_t size)
{
    (void)munmap(data, size);
}

void st__os_prefetch(int fd, uint64_t offset, uint64_t size)
{
#if defined(POSIX_FADV_WILLNEED)
    if (offset <= (uint64_t)INT64_MAX && size <= (uint64_t)INT64_MAX - offset)
        (void)posix_fadvise(fd, (off_t)offset, (off_t)size, POSIX_FADV_WILLNEED);
#else
    (void)fd;
    (void)offset;
    (void)size;
#endif
}

#if defined(__linux__)
static bool random_system(void *out, size_t size)
{
    /* Without waiting for the pool of a machine that has just started. */
    return OS_CALL(getrandom)(out, size, GRND_NONBLOCK) == (ssize_t)size;
}
#else
static bool random_system(void *out, size_t size)
{
    return getentropy(out, size) == 0;
}
#endif

void st__os_random(void *out, size_t size)
{
    if (size <= 256 && random_system(out, size))
        return;
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    /* splitmix64 over what an attacker's file cannot know: time, process, layout of memory. */
    uint64_t state = (uint64_t)nanoseconds_of(&now) ^ ((uint64_t)getpid() << 40) ^
                     (uint64_t)(uintptr_t)&now ^ ((uint64_t)(uintptr_t)&st__os_random << 20);
    unsigned char *to = out;
    for (size_t i = 0; i < size; i++) {
        uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        to[i] = (unsigned char)(z >> 56);
    }
}

size_t st__os_page_size(void)
{
    long size = sysconf(_SC_PAGESIZE);
    return size > 0 ? (size_t)size : 4096;
}
