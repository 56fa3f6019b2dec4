/* SPDX-License-Identifier: Apache-2.0 */
/* The half of the door that writes. */
#include "io/os_system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#if defined(__linux__)
# include <linux/fs.h>
# include <sys/ioctl.h>
# include <sys/vfs.h>
#endif

#if !defined(O_PATH)
# define O_PATH 0
#endif

/* ------------------------------------------------------------------------------- opening */

int st__os_open_at(int directory, const char *path, int flags, uint32_t mode, int *out)
{
    int fd;
    if (directory == ST__OS_HERE)
        directory = AT_FDCWD;
    do
        fd = OS_CALL(openat)(directory, path, flags | O_CLOEXEC, (mode_t)mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return errno;
    *out = fd;
    return 0;
}

int st__os_open_directory(int at, const char *path, int *out)
{
    int failed = st__os_open_at(at, path, O_RDONLY | O_DIRECTORY, 0, out);
    if (failed == EACCES && O_PATH != 0)
        failed = st__os_open_at(at, path, O_PATH | O_DIRECTORY, 0, out);
    return failed;
}

int st__os_link_target(int directory, const char *name, char out[ST__OS_PATH])
{
    ssize_t size = OS_CALL(readlinkat)(directory, name, out, ST__OS_PATH);
    if (size < 0)
        return errno;
    if (size >= ST__OS_PATH)
        return ENAMETOOLONG;
    out[size] = '\0';
    return size == 0 ? ENOENT : 0;
}

int st__os_open_stream(const char *path, int *out)
{
    return st__os_open_at(ST__OS_HERE, path, O_WRONLY | O_NOCTTY, 0, out);
}

int st__os_write_state(int fd, bool *writable, bool *appends, uint64_t *position)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return errno;
    int mode = flags & O_ACCMODE;
    *writable = (mode == O_WRONLY || mode == O_RDWR) && (O_PATH == 0 || !(flags & O_PATH));
    *appends = (flags & O_APPEND) != 0;
    off_t at = lseek(fd, 0, SEEK_CUR);
    *position = at > 0 ? (uint64_t)at : 0;
    return 0;
}

int st__os_seek(int fd, uint64_t position)
{
    if (position > (uint64_t)INT64_MAX)
        return EOVERFLOW;
    return lseek(fd, (off_t)position, SEEK_SET) < 0 ? errno : 0;
}

int st__os_open_name(int directory, const char *name, bool change, int *out)
{
    int flags = (change ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    return st__os_open_at(directory, name, flags, 0, out);
}

/* Of the open file, not of the process, as fcntl's are: those are gone once any descriptor of the file is closed. */
static int open_file_lock(int fd, int operation)
{
    int result;
    do
        result = OS_CALL(flock)(fd, operation | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result == 0 || errno == ENOSYS || errno == ENOTSUP || errno == ENOLCK || errno == EINVAL)
        return 0;
    return errno == EWOULDBLOCK ? EAGAIN : errno;
}

int st__os_lock(int fd)
{
    return open_file_lock(fd, LOCK_EX);
}

int st__os_lock_shared(int fd)
{
    return open_file_lock(fd, LOCK_SH);
}

void st__os_unlock(int fd)
{
    (void)OS_CALL(flock)(fd, LOCK_UN);
}

bool st__os_trusted(int fd, int other)
{
    struct stat s, o;
    if (OS_CALL(fstat)(fd, &s) != 0 || OS_CALL(fstat)(other, &o) != 0)
        return false;
    return s.st_uid == o.st_uid || s.st_uid == geteuid() || s.st_uid == 0;
}

/* -------------------------------------------------------------------------------- naming */

int st__os_create(int directory, const char *name, uint32_t mode, int *out)
{
    return st__os_open_at(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode, out);
}

#if defined(__linux__)

/* Room for "/proc/self/fd/" and a number. */
# define PROC_PATH 40

static void proc_path(int fd, char out[PROC_PATH])
{
    (void)snprintf(out, PROC_PATH, "/proc/self/fd/%d", fd);
}

/* Whether a path, links followed, leads to an open file. */
static bool leads_to(const char *path, int fd)
{
    struct stat there, here;
    return OS_CALL(fstatat)(AT_FDCWD, path, &there, 0) == 0 && OS_CALL(fstat)(fd, &here) == 0 &&
           there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

/* Whether syncing a file without a name and naming it then is as good as the other way round. It is where
 * one journal keeps the order of all changes. Btrfs, for one, logs nothing of such a file when it is synced,
 * and may log a name given later without the size. */
static bool journal_orders(int directory)
{
    struct statfs s;
    if (fstatfs(directory, &s) != 0)
        return false;
    /* The numbers of linux/magic.h: ext2 to ext4, XFS, tmpfs. */
    return (uint32_t)s.f_type == 0xef53u || (uint32_t)s.f_type == 0x58465342u ||
           (uint32_t)s.f_type == 0x01021994u;
}

int st__os_create_unnamed(int directory, uint32_t mode, bool durable, int *out)
{
    char path[PROC_PATH];
    int fd = -1;
    if (durable && !journal_orders(directory))
        return ENOTSUP;
    int failed = st__os_open_at(directory, ".", O_RDWR | O_TMPFILE, mode, &fd);
    if (failed)
        return failed;
    /* It will be named through /proc, which a chroot may lack; better to know now. */
    proc_path(fd, path);
    if (!leads_to(path, fd)) {
        st__os_close(fd);
        return ENOTSUP;
    }
    *out = fd;
    return 0;
}

int st__os_path_fd(int fd, char out[ST__OS_PATH])
{
    char path[PROC_PATH];
    proc_path(fd, path);
    return st__os_link_target(ST__OS_HERE, path, out);
}

int st__os_name(int fd, int directory, const char *name)
{
    char path[PROC_PATH];
    proc_path(fd, path);
    return OS_CALL(linkat)(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

#else

int st__os_path_fd(int fd, char out[ST__OS_PATH])
{
    (void)fd;
    (void)out;
    return ENOTSUP;
}

int st__os_create_unnamed(int directory, uint32_t mode, bool durable, int *out)
{
    (void)directory;
    (void)mode;
    (void)durable;
    (void)out;
    return ENOTSUP;
}

int st__os_name(int fd, int directory, const char *name)
{
    (void)fd;
    (void)directory;
    (void)name;
    return ENOTSUP;
}

#endif

int st__os_rename(int directory, const char *from, const char *to)
{
    return OS_CALL(renameat)(directory, from, directory, to) == 0 ? 0 : errno;
}

int st__os_rename_new(int directory, const char *from, const char *to)
{
#if defined(RENAME_NOREPLACE)
    if (OS_CALL(renameat2)(directory, from, directory, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP && errno != EPERM)
        return errno;
#endif
    /* A second name, which fails where the first stands, and away with the old one. */
    if (OS_CALL(linkat)(directory, from, directory, to, 0) != 0)
        return errno;
    (void)OS_CALL(unlinkat)(directory, from, 0);
    return 0;
}

int st__os_remove(int directory, const char *name)
{
    if (directory == ST__OS_HERE)
        directory = AT_FDCWD;
    return OS_CALL(unlinkat)(directory, name, 0) == 0 ? 0 : errno;
}

/* ------------------------------------------------------------------------------- writing */

/* As st__os_segments_rest. */
static int pieces_rest(const st_bytes *pieces, size_t count, size_t moved, st__os_batch *out)
{
    size_t i = 0;
    st__os_batch_init(out, moved);
    while (i < count && st__os_batch_add(out, pieces[i].data, pieces[i].size))
        i++;
    return out->count;
}

int st__os_write(int fd, uint64_t offset, const st_bytes *pieces, size_t count, size_t *done)
{
    st__os_batch rest;
    *done = 0;
    for (int n; (n = pieces_rest(pieces, count, *done, &rest)) > 0;) {
        if (offset + *done > (uint64_t)INT64_MAX || offset + *done < offset)
            return EOVERFLOW;
        ssize_t put = OS_CALL(pwritev)(fd, rest.parts, n, (off_t)(offset + *done));
        if (put > 0)
            *done += (size_t)put;
        else if (put == 0)
            return EIO; /* a file system that takes nothing would be asked for ever */
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

static ssize_t stream_send(int fd, int kind, struct iovec *rest, int n)
{
#if defined(MSG_NOSIGNAL)
    if (kind == ST__OS_SOCKET) {
        struct msghdr message;
        memset(&message, 0, sizeof message);
        message.msg_iov = rest;
        message.msg_iovlen = (unsigned)n;
        return OS_CALL(sendmsg)(fd, &message, MSG_NOSIGNAL);
    }
#endif
    (void)kind;
    return OS_CALL(writev)(fd, rest, n);
}

int st__os_write_stream(int fd, int kind, const st_bytes *pieces, size_t count, size_t *done)
{
    st__os_batch rest;
    *done = 0;
    for (int n; (n = pieces_rest(pieces, count, *done, &rest)) > 0;) {
        ssize_t put = stream_send(fd, kind, rest.parts, n);
        if (put > 0) {
            *done += (size_t)put;
        } else if (put == 0) {
            return EIO;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd ready = {fd, POLLOUT, 0};
            if (poll(&ready, 1, -1) < 0 && errno != EINTR)
                return errno;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------------------- allocating */

static bool is_full(int failed)
{
    return failed == ENOSPC || failed == EDQUOT || failed == EFBIG;
}

/* Past the limit the kernel would not only refuse but send SIGXFSZ, whose default is death. */
static bool exceeds_limit(uint64_t end)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           end > (uint64_t)limit.rlim_cur;
}

static int space_reserve(int fd, uint64_t offset, uint64_t size, uint32_t flags)
{
#if defined(__linux__)
    int mode = (flags & ST__OS_KEEP_SIZE) != 0 ? FALLOC_FL_KEEP_SIZE : 0;
    int failed = EINTR;
    /* Some file systems start anew after a signal, so that one that comes often could keep us here. */
    for (int tries = 0; failed == EINTR && tries < 64; tries++)
        failed = OS_CALL(fallocate)(fd, mode, (off_t)offset, (off_t)size) == 0 ? 0 : errno;
    return failed;
#else
    (void)fd;
    (void)offset;
    (void)size;
    (void)flags;
    return ENOTSUP;
#endif
}

int st__os_allocate(int fd, uint64_t offset, uint64_t size, uint32_t flags)
{
    struct stat s;
    if (offset > (uint64_t)INT64_MAX || size > (uint64_t)INT64_MAX - offset ||
        exceeds_limit(offset + size))
        return EFBIG;
    if (size == 0)
        return 0;
    int failed = space_reserve(fd, offset, size, flags);
    if (failed == 0 || failed == EIO || is_full(failed))
        return failed;
    if ((flags & ST__OS_KEEP_SIZE) != 0)
        return 0;
    if (OS_CALL(fstat)(fd, &s) != 0)
        return errno;
    if ((uint64_t)s.st_size >= offset + size || OS_CALL(ftruncate)(fd, (off_t)(offset + size)) == 0)
        return 0;
    return errno == EIO || is_full(errno) ? errno : 0;
}

uint64_t st__os_free_space(int fd)
{
    struct statvfs s;
    if (fstatvfs(fd, &s) != 0 || s.f_bavail > UINT64_MAX / (s.f_frsize ? s.f_frsize : 1))
        return UINT64_MAX;
    return (uint64_t)s.f_bavail * s.f_frsize;
}

uint64_t st__os_block_size(int fd)
{
    struct stat s;
    if (OS_CALL(fstat)(fd, &s) != 0 || s.st_blksize < 512 || (s.st_blksize & (s.st_blksize - 1)))
        return 4096;
    return (uint64_t)s.st_blksize;
}

/* ------------------------------------------------------------------------------- copying */

int st__os_clone(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t size)
{
#if defined(FICLONERANGE)
    struct file_clone_range range = {from_fd, from, size, to};
    int result;
    do
        result = OS_CALL(ioctl)(to_fd, FICLONERANGE, &range);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
#else
    (void)from_fd;
    (void)from;
    (void)to_fd;
    (void)to;
    (void)size;
    return ENOTSUP;
#endif
}

int st__os_copy(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t size, uint64_t *done)
{
    *done = 0;
    if (from > (uint64_t)INT64_MAX - size || to > (uint64_t)INT64_MAX - size ||
        size > (uint64_t)INT64_MAX)
        return EOVERFLOW;
#if defined(__linux__)
    while (*done < size) {
        off_t from_at = (off_t)(from + *done), to_at = (off_t)(to + *done);
        uint64_t rest = size - *done;
        ssize_t copied = OS_CALL(copy_file_range)(
            from_fd, &from_at, to_fd, &to_at, rest < ST__OS_BYTES ? (size_t)rest : ST__OS_BYTES, 0);
        if (copied > 0)
            *done += (uint64_t)copied;
        else if (copied == 0) /* the source's end; or files that claim to be empty, as in /proc */
            return 0;
        else if (errno == EIO || is_full(errno))
            return errno;
        else if (errno !=
                 EINTR) /* EXDEV, EINVAL, ENOSYS, EPERM, ETXTBSY, ...: not between these two */
            return 0;
    }
#else
    (void)from_fd;
    (void)to_fd;
#endif
    return 0;
}

/* ------------------------------------------------------------------------------- syncing */

void st__os_write_back(int fd)
{
#if defined(SYNC_FILE_RANGE_WRITE)
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
#else
    (void)fd;
#endif
}

static int sync_call(int fd)
{
    int result;
    do
        result = OS_CALL(fsync)(fd);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

int st__os_sync(int fd)
{
    int failed = sync_call(fd);
    /* Pipes, terminals and the like have nothing to wait for. */
    return failed == EINVAL || failed == ENOTSUP || failed == EROFS ? 0 : failed;
}

int st__os_sync_directory(int directory)
{
    /* EBADF: it could be opened for its names only. */
    int failed = st__os_sync(directory);
    return failed == EBADF ? 0 : failed;
}

int st__os_flush(int fd)
{
    /* Closing any descriptor of the file asks. After EINTR it is closed as well. */
    int copy = -1;
    int failed = st__os_duplicate(fd, &copy);
    if (failed)
        return failed;
    return OS_CALL(close)(copy) == 0 || errno == EINTR ? 0 : errno;
}
