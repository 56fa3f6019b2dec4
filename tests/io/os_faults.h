/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles io/os*.c into the including test with its system calls replaceable, in place of the library's
 * own: the n-th call, of all kinds together, goes wrong in a given way. One including file each. */
#ifndef TESTS_IO_OS_FAULTS_H
#define TESTS_IO_OS_FAULTS_H

#define ST_FAULTS
#include "io/os.c"
#include "io/os_write.c"
#include "io/os_attributes.c"
#include "io/os_direct.c"
#include "io/os_folder.c"
#include "io/os_library.c"
#include "io/os_memory.c"
#include "io/os_ring.c"
#include "io/os_storage.c"

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>

typedef enum os_fault {
    OS_NONE,
    OS_EIO,     /* the call fails with EIO, or what os_plant_errno says */
    OS_EINTR,   /* the call is interrupted, once */
    OS_SHORT,   /* a read or write moves one byte, once */
    OS_END,     /* a read finds the end of the file, from then on */
    OS_RETOUCH, /* fstat tells of another change time, from then on */
    OS_STALL    /* nothing is ever done of what a ring was given, as far as all waits tell */
} os_fault;

/* How much of a write comes through before the process is killed. */
enum { OS_CUT_NOTHING = 1, OS_CUT_BYTE, OS_CUT_HALF, OS_CUT_BUT_ONE, OS_CUT_ALL };

static struct {
    os_fault fault;
    unsigned at; /* the number of the call, from 1; 0: none */
    unsigned calls;
    bool hit;
    bool kills; /* the process, in the call's place */
    int cut; /* OS_CUT_…: a write in the call's place is cut there, and the process killed; 0: no */
    bool stays; /* all calls from then on fail */
    int error;
    const char *last; /* the call that was hit */
} os_state;

static void os_plant(os_fault fault, unsigned at)
{
    os_state.fault = fault;
    os_state.at = at;
    os_state.calls = 0;
    os_state.hit = false;
    os_state.kills = false;
    os_state.cut = 0;
    os_state.stays = false;
    os_state.error = EIO;
    os_state.last = "none";
}

static inline void os_plant_errno(int error, unsigned at)
{
    os_plant(OS_EIO, at);
    os_state.error = error;
}

/* Every wait for a ring fails, with ETIME as one that has taken its time. */
static inline void os_plant_stall(int error)
{
    os_plant(OS_STALL, 0);
    os_state.error = error;
}

static inline void os_plant_kill(unsigned at)
{
    os_plant(OS_NONE, at);
    os_state.kills = true;
}

/* What is no write is killed before it. */
static inline void os_plant_cut(int cut, unsigned at)
{
    os_plant(OS_NONE, at);
    os_state.cut = cut;
}

/* Counts a call; true where it shall fail, with errno set. */
static bool os_fails_in(const char *name)
{
    bool now = ++os_state.calls == os_state.at || (os_state.stays && os_state.hit);
    os_state.hit |= now;
    if (now)
        os_state.last = name;
    if (now && (os_state.kills || (os_state.cut && strcmp(name, "fault_pwritev") != 0)))
        raise(SIGKILL);
    if (!now || (os_state.fault != OS_EIO && os_state.fault != OS_EINTR))
        return false;
    errno = os_state.fault == OS_EIO ? os_state.error : EINTR;
    return true;
}

#define os_fails() os_fails_in(__func__)

/* The same for a call that is never interrupted. */
static bool os_fails_whole(const char *name)
{
    return os_fails_in(name) && os_state.fault == OS_EIO;
}

static bool os_is_short(void)
{
    return os_state.calls == os_state.at && os_state.fault == OS_SHORT;
}

static int fault_open(const char *path, int flags)
{
    return os_fails() ? -1 : open(path, flags);
}

static int fault_openat(int directory, const char *path, int flags, mode_t mode)
{
    return os_fails() ? -1 : openat(directory, path, flags, mode);
}

static int fault_fstat(int fd, struct stat *out)
{
    if (os_fails_whole(__func__))
        return -1;
    int result = fstat(fd, out);
    if (os_state.hit && os_state.fault == OS_RETOUCH)
        out->st_ctim.tv_nsec ^= 1;
    return result;
}

static int fault_fstatat(int directory, const char *path, struct stat *out, int flags)
{
    return os_fails_whole(__func__) ? -1 : fstatat(directory, path, out, flags);
}

static ssize_t fault_readlinkat(int directory, const char *path, char *out, size_t size)
{
    return os_fails_whole(__func__) ? -1 : readlinkat(directory, path, out, size);
}

static ssize_t fault_preadv(int fd, const struct iovec *segments, int count, off_t offset)
{
    if (os_fails())
        return -1;
    if (os_state.hit && os_state.fault == OS_END)
        return 0;
    if (os_is_short()) {
        struct iovec one = {segments[0].iov_base, 1};
        return preadv(fd, &one, 1, offset);
    }
    return preadv(fd, segments, count, offset);
}

static void *fault_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    return os_fails_whole(__func__) ? MAP_FAILED : mmap(at, size, prot, flags, fd, offset);
}

static int fault_pipe2(int ends[2], int flags)
{
    return os_fails_whole(__func__) ? -1 : pipe2(ends, flags);
}

static ssize_t fault_getrandom(void *out, size_t size, unsigned flags)
{
    /* Failing here changes nothing but the source of randomness. */
    return getrandom(out, size, flags);
}

/* Writes as much as is to come through, and no more ever. */
static void os_cut_write(int fd, const struct iovec *pieces, int count, off_t offset)
{
    size_t total = 0, keep, at = 0;
    for (int i = 0; i < count; i++)
        total += pieces[i].iov_len;
    keep = os_state.cut == OS_CUT_ALL       ? total
           : os_state.cut == OS_CUT_BUT_ONE ? total - 1
           : os_state.cut == OS_CUT_HALF    ? total / 2
           : os_state.cut == OS_CUT_BYTE    ? 1
                                            : 0;
    for (int i = 0; i < count && at < keep; at += pieces[i++].iov_len) {
        size_t size = pieces[i].iov_len < keep - at ? pieces[i].iov_len : keep - at;
        if (pwrite(fd, pieces[i].iov_base, size, offset + (off_t)at) != (ssize_t)size)
            abort();
    }
    raise(SIGKILL);
}

static ssize_t fault_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    if (os_fails())
        return -1;
    if (os_state.cut && os_state.calls == os_state.at)
        os_cut_write(fd, pieces, count, offset);
    struct iovec one = {pieces[0].iov_base, 1};
    return os_is_short() ? pwritev(fd, &one, 1, offset) : pwritev(fd, pieces, count, offset);
}

static ssize_t fault_writev(int fd, const struct iovec *pieces, int count)
{
    if (os_fails())
        return -1;
    struct iovec one = {pieces[0].iov_base, 1};
    return os_is_short() ? writev(fd, &one, 1) : writev(fd, pieces, count);
}

static ssize_t fault_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (os_fails())
        return -1;
    struct iovec one = {message->msg_iov[0].iov_base, 1};
    struct msghdr shorter = *message;
    shorter.msg_iov = &one;
    shorter.msg_iovlen = 1;
    return sendmsg(fd, os_is_short() ? &shorter : message, flags);
}

static int fault_fallocate(int fd, int mode, off_t offset, off_t size)
{
    return os_fails() ? -1 : fallocate(fd, mode, offset, size);
}

static int fault_ftruncate(int fd, off_t size)
{
    return os_fails() ? -1 : ftruncate(fd, size);
}

static ssize_t fault_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size,
                                     unsigned flags)
{
    if (os_fails())
        return -1;
    return copy_file_range(from, from_at, to, to_at, os_is_short() ? 1 : size, flags);
}

static int fault_ioctl(int fd, unsigned long request, void *arg)
{
    return os_fails() ? -1 : ioctl(fd, request, arg);
}

static int fault_fsync(int fd)
{
    return os_fails() ? -1 : fsync(fd);
}

/* Like the kernel's, closes even where it fails. */
static int fault_close(int fd)
{
    bool fails = os_fails();
    int error = errno;
    int result = close(fd);
    errno = fails ? error : errno;
    return fails ? -1 : result;
}

static int fault_linkat(int from, const char *from_path, int to, const char *to_path, int flags)
{
    return os_fails_whole(__func__) ? -1 : linkat(from, from_path, to, to_path, flags);
}

static int fault_renameat(int from, const char *from_path, int to, const char *to_path)
{
    return os_fails_whole(__func__) ? -1 : renameat(from, from_path, to, to_path);
}

static int fault_renameat2(int from, const char *from_path, int to, const char *to_path,
                           unsigned flags)
{
    return os_fails_whole(__func__) ? -1 : renameat2(from, from_path, to, to_path, flags);
}

static int fault_unlinkat(int directory, const char *path, int flags)
{
    return os_fails_whole(__func__) ? -1 : unlinkat(directory, path, flags);
}

static int fault_mkdirat(int directory, const char *path, mode_t mode)
{
    return os_fails_whole(__func__) ? -1 : mkdirat(directory, path, mode);
}

static struct dirent *fault_readdir(DIR *folder)
{
    return os_fails_whole(__func__) ? NULL : readdir(folder);
}

static int fault_fchown(int fd, uid_t user, gid_t group)
{
    return os_fails_whole(__func__) ? -1 : fchown(fd, user, group);
}

static int fault_fchmod(int fd, mode_t mode)
{
    return os_fails_whole(__func__) ? -1 : fchmod(fd, mode);
}

static int fault_flock(int fd, int operation)
{
    return os_fails() ? -1 : flock(fd, operation);
}

static int fault_madvise(void *at, size_t size, int advice)
{
    return os_fails_whole(__func__) ? -1 : madvise(at, size, advice);
}

static int fault_mincore(void *at, size_t size, unsigned char *out)
{
    return os_fails_whole(__func__) ? -1 : mincore(at, size, out);
}

static ssize_t fault_preadv2(int fd, const struct iovec *segments, int count, off_t offset,
                             int flags)
{
    if (os_fails())
        return -1;
    if (os_state.hit && os_state.fault == OS_END)
        return 0;
    struct iovec one = {segments[0].iov_base, 1};
    return os_is_short() ? preadv2(fd, &one, 1, offset, flags)
                         : preadv2(fd, segments, count, offset, flags);
}

static int fault_fstatfs(int fd, struct statfs *out)
{
    return os_fails_whole(__func__) ? -1 : fstatfs(fd, out);
}

/* All arguments are of the size of a long. */
static long fault_syscall(long number, ...)
{
    long given[5] = {0};
    int count = number == SYS_statx ? 5 : 4;
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < count; i++)
        given[i] = va_arg(arguments, long);
    va_end(arguments);
    if (os_fails_whole(__func__))
        return -1;
    return syscall(number, given[0], given[1], given[2], given[3], given[4]);
}

static void *fault_dlopen(const char *library, int flags)
{
    return os_fails_whole(__func__) ? NULL : dlopen(library, flags);
}

#if defined(ST_LIBURING)

/* liburing's own, as fault_dlsym found them; and the calls that go there. */
static ring_library os_uring;

static int fault_uring_init(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
    return os_fails_whole(__func__) ? -errno : os_uring.init(entries, ring, params);
}

static int fault_uring_register_files(struct io_uring *ring, const int *files, unsigned count)
{
    return os_fails_whole(__func__) ? -errno : os_uring.register_files(ring, files, count);
}

static int fault_uring_submit(struct io_uring *ring)
{
    return os_fails() ? -errno : os_uring.submit(ring);
}

static int fault_uring_wait(struct io_uring *ring, struct io_uring_cqe **out, unsigned count,
                            struct __kernel_timespec *limit, sigset_t *signals)
{
    if (os_state.fault == OS_STALL) {
        os_state.hit = true;
        /* Whoever waits gives a disk the time to be reset, and no more than so many minutes. */
        return limit && limit->tv_sec > 30 && limit->tv_sec <= 600 ? -os_state.error : -EDEADLK;
    }
    return os_fails() ? -errno : os_uring.wait(ring, out, count, limit, signals);
}

/* Each completion counts as a call, of which the fault is the result. */
static unsigned fault_uring_peek(struct io_uring *ring, struct io_uring_cqe **out, unsigned count)
{
    unsigned got = os_uring.peek(ring, out, count);
    for (unsigned i = 0; i < got; i++) {
        if (os_fails())
            out[i]->res = -errno;
        else if (os_state.hit && os_state.fault == OS_END)
            out[i]->res = 0;
        else if (os_is_short() && out[i]->res > 1)
            out[i]->res = 1;
    }
    return got;
}

/* Puts our own in the place of a function of liburing; NULL where it is to be taken as it is. */
static void *uring_replaced(const char *name, void *found)
{
    static const struct {
        const char *name;
        void *real; /* where in os_uring */
        uintptr_t ours;
    } calls[] = {
        {"io_uring_queue_init_params", &os_uring.init, (uintptr_t)fault_uring_init},
        {"io_uring_register_files", &os_uring.register_files,
         (uintptr_t)fault_uring_register_files},
        {"io_uring_submit", &os_uring.submit, (uintptr_t)fault_uring_submit},
        {"io_uring_wait_cqes", &os_uring.wait, (uintptr_t)fault_uring_wait},
        {"io_uring_peek_batch_cqe", &os_uring.peek, (uintptr_t)fault_uring_peek},
    };
    for (size_t i = 0; found && i < sizeof calls / sizeof *calls; i++) {
        if (strcmp(name, calls[i].name) == 0) {
            memcpy(calls[i].real, &found, sizeof found);
            return (void *)calls[i].ours;
        }
    }
    return found;
}

#else

static void *uring_replaced(const char *name, void *found)
{
    (void)name;
    return found;
}

#endif

static void *fault_dlsym(void *library, const char *name)
{
    return os_fails_whole(__func__) ? NULL : uring_replaced(name, dlsym(library, name));
}

static const st__os_call_table os_calls_planted = {
    .open = fault_open,
    .openat = fault_openat,
    .fstat = fault_fstat,
    .fstatat = fault_fstatat,
    .readlinkat = fault_readlinkat,
    .preadv = fault_preadv,
    .mmap = fault_mmap,
    .pipe2 = fault_pipe2,
    .getrandom = fault_getrandom,
    .pwritev = fault_pwritev,
    .writev = fault_writev,
    .sendmsg = fault_sendmsg,
    .fallocate = fault_fallocate,
    .ftruncate = fault_ftruncate,
    .copy_file_range = fault_copy_file_range,
    .ioctl = fault_ioctl,
    .fsync = fault_fsync,
    .close = fault_close,
    .linkat = fault_linkat,
    .renameat = fault_renameat,
    .renameat2 = fault_renameat2,
    .unlinkat = fault_unlinkat,
    .mkdirat = fault_mkdirat,
    .readdir = fault_readdir,
    .fchown = fault_fchown,
    .fchmod = fault_fchmod,
    .flock = fault_flock,
    .madvise = fault_madvise,
    .mincore = fault_mincore,
    .preadv2 = fault_preadv2,
    .fstatfs = fault_fstatfs,
    .syscall = fault_syscall,
    .dlopen = fault_dlopen,
    .dlsym = fault_dlsym,
};

st__os_call_table st__os_calls;

/* Before main, so that no test need think of it; one that puts calls of its own there puts them back. */
__attribute__((constructor)) static void os_calls_restore(void)
{
    st__os_calls = os_calls_planted;
}

#endif
