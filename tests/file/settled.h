/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of a test's files: all that it makes was written long ago, as far as the library can tell. */
#ifndef TESTS_FILE_SETTLED_H
#define TESTS_FILE_SETTLED_H

#include "io/os_faults.h"

#define SETTLED_SECONDS 1000

static inline void settled_shift(struct stat *s)
{
    s->st_mtim.tv_sec -= SETTLED_SECONDS;
    s->st_ctim.tv_sec -= SETTLED_SECONDS;
}

static inline int settled_fstat(int fd, struct stat *out)
{
    int result = fstat(fd, out);
    settled_shift(out);
    return result;
}

static inline int settled_fstatat(int directory, const char *path, struct stat *out, int flags)
{
    int result = fstatat(directory, path, out, flags);
    settled_shift(out);
    return result;
}

static inline int plain_open(const char *path, int flags)
{
    return open(path, flags);
}

static inline ssize_t plain_preadv(int fd, const struct iovec *segments, int count, off_t offset)
{
    return preadv(fd, segments, count, offset);
}

static inline int plain_fstatfs(int fd, struct statfs *out)
{
    return fstatfs(fd, out);
}

/* Without the counting of the planted calls, which is for one thread; and old enough for their headers to be kept. */
static inline void calls_settle(void)
{
    st__os_calls.open = plain_open;
    st__os_calls.preadv = plain_preadv;
    st__os_calls.fstat = settled_fstat;
    st__os_calls.fstatat = settled_fstatat;
    st__os_calls.fstatfs = plain_fstatfs;
}

#endif
