/* SPDX-License-Identifier: Apache-2.0 */
/* Files past the page cache. */
#include "io/os_system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
# include <sys/syscall.h>
#endif

#if defined(__linux__) && defined(O_DIRECT)

/* What is asked of files whose file system does not say. */
# define DIRECT_ALIGN     4096u
# define DIRECT_ALIGN_MAX 65536u

/* Of struct statx, which headers before Linux 6.1 lack in part: where its fields lie, and what is asked for. */
# define ANSWER_SIZE    256
# define ANSWER_MASK    0
# define ANSWER_MEMORY  152
# define ANSWER_OFFSETS 156
# define DIRECT_WANTED  0x2000u

static uint32_t statx_field(const unsigned char *from, size_t at)
{
    uint32_t value;
    memcpy(&value, from + at, sizeof value);
    return value;
}

/* What the file system says of alignment; EOPNOTSUPP where it says that there is no such reading. */
static int direct_align(int fd, uint32_t *align)
{
    unsigned char answer[ANSWER_SIZE];
    memset(answer, 0, sizeof answer);
    *align = DIRECT_ALIGN;
# if defined(SYS_statx)
    if (OS_CALL(syscall)(SYS_statx, (long)fd, "", (long)AT_EMPTY_PATH, (long)DIRECT_WANTED,
                         answer) != 0)
        return 0;
# endif
    if (!(statx_field(answer, ANSWER_MASK) & DIRECT_WANTED))
        return 0;
    uint32_t offsets = statx_field(answer, ANSWER_OFFSETS);
    uint32_t memory = statx_field(answer, ANSWER_MEMORY);
    uint32_t both = offsets > memory ? offsets : memory;
    /* Both are powers of 2, so that the larger is a multiple of the other. */
    if (offsets == 0 || both > DIRECT_ALIGN_MAX || (both & (both - 1)) != 0)
        return EOPNOTSUPP;
    *align = both < 512 ? 512 : both;
    return 0;
}

/* Through /proc the file is found whatever has become of its name. */
static int open_again(int fd, int flags, int *out)
{
    char path[40]; /* for "/proc/self/fd/" and a number */
    struct stat one, other;
    int again = -1;
    if (OS_CALL(fstat)(fd, &one) != 0)
        return errno;
    /* Opening a FIFO would wait, and opening a terminal change it. */
    if (!S_ISREG(one.st_mode) && !S_ISBLK(one.st_mode))
        return EINVAL;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int failed = st__os_open_at(ST__OS_HERE, path, flags, 0, &again);
    if (failed)
        return failed;
    if (OS_CALL(fstat)(again, &other) != 0)
        failed = errno;
    else if (one.st_dev != other.st_dev || one.st_ino != other.st_ino)
        failed = ESTALE; /* what is at /proc is not the kernel's */
    if (failed)
        st__os_close(again);
    else
        *out = again;
    return failed;
}

int st__os_open_direct(int fd, bool writing, int *out, uint32_t *align)
{
    uint32_t needed = 0;
    int failed = direct_align(fd, &needed);
    if (!failed)
        failed = open_again(fd, (writing ? O_WRONLY : O_RDONLY) | O_DIRECT | O_NOCTTY, out);
    if (!failed)
        *align = needed;
    return failed;
}

#else

int st__os_open_direct(int fd, bool writing, int *out, uint32_t *align)
{
    (void)fd;
    (void)writing;
    (void)out;
    (void)align;
    return EOPNOTSUPP;
}

#endif

/* ------------------------------------------------------------------------ uncached reads */

/* The C library shows preadv2 together with its flags; this one came with Linux 6.14. */
#if defined(__linux__) && defined(RWF_NOWAIT)

# define UNCACHED_FLAG 0x80

int st__os_read_uncached(int fd, uint64_t offset, const st_segment *segments, size_t count,
                         size_t *done)
{
    st__os_batch rest;
    *done = 0;
    for (int n; (n = st__os_segments_rest(segments, count, *done, &rest)) > 0;) {
        if (offset + *done > (uint64_t)INT64_MAX || offset + *done < offset)
            return EOVERFLOW;
        ssize_t got = OS_CALL(preadv2)(fd, rest.parts, n, (off_t)(offset + *done), UNCACHED_FLAG);
        if (got == 0)
            return 0;
        if (got > 0)
            *done += (size_t)got;
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

#else

int st__os_read_uncached(int fd, uint64_t offset, const st_segment *segments, size_t count,
                         size_t *done)
{
    (void)fd;
    (void)offset;
    (void)segments;
    (void)count;
    *done = 0;
    return EOPNOTSUPP;
}

#endif
