/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles io/os.c into the including test with its system calls replaceable, in place of the library's
 * own: the n-th call, of all kinds together, goes wrong in a given way. One including file each. */
#ifndef TESTS_IO_OS_FAULTS_H
#define TESTS_IO_OS_FAULTS_H

#define ST_FAULTS
#include "io/os.c"

typedef enum os_fault {
    OS_NONE,
    OS_EIO,    /* the call fails with EIO */
    OS_EINTR,  /* the call is interrupted, once */
    OS_SHORT,  /* a read gives one byte, once */
    OS_END,    /* a read finds the end of the file, from then on */
    OS_RETOUCH /* fstat tells of another change time, from then on */
} os_fault;

static struct {
    os_fault fault;
    unsigned at; /* the number of the call, from 1; 0: none */
    unsigned calls;
    bool hit;
} os_state;

static void os_plant(os_fault fault, unsigned at)
{
    os_state.fault = fault;
    os_state.at = at;
    os_state.calls = 0;
    os_state.hit = false;
}

/* Counts a call; true where it shall fail, with errno set. */
static bool os_fails(void)
{
    bool now = ++os_state.calls == os_state.at;
    os_state.hit |= now;
    if (!now || (os_state.fault != OS_EIO && os_state.fault != OS_EINTR))
        return false;
    errno = os_state.fault == OS_EIO ? EIO : EINTR;
    return true;
}

static int fault_open(const char *path, int flags)
{
    return os_fails() ? -1 : open(path, flags);
}

static int fault_fstat(int fd, struct stat *out)
{
    /* fstat is never interrupted. */
    if (os_fails() && os_state.fault == OS_EIO)
        return -1;
    int result = fstat(fd, out);
    if (os_state.hit && os_state.fault == OS_RETOUCH)
        out->st_ctim.tv_nsec ^= 1;
    return result;
}

static ssize_t fault_preadv(int fd, const struct iovec *segments, int count, off_t offset)
{
    if (os_fails())
        return -1;
    if (os_state.hit && os_state.fault == OS_END)
        return 0;
    if (os_state.calls == os_state.at && os_state.fault == OS_SHORT) {
        struct iovec one = {segments[0].iov_base, 1};
        return preadv(fd, &one, 1, offset);
    }
    return preadv(fd, segments, count, offset);
}

static void *fault_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    if (os_fails() && os_state.fault == OS_EIO)
        return MAP_FAILED;
    return mmap(at, size, prot, flags, fd, offset);
}

static ssize_t fault_getrandom(void *out, size_t size, unsigned flags)
{
    /* Failing here changes nothing but the source of randomness. */
    return getrandom(out, size, flags);
}

st__os_call_table st__os_calls = {
    .open = fault_open,
    .fstat = fault_fstat,
    .preadv = fault_preadv,
    .mmap = fault_mmap,
    .getrandom = fault_getrandom,
};

#endif
