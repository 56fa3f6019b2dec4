/* SPDX-License-Identifier: Apache-2.0 */
/* The only door to the operating system's files and mappings: a port replaces os*.c. Functions return 0
 * or an errno; but for streams none blocks on anything but a disk. */
#ifndef ST_IO_OS_H
#define ST_IO_OS_H

#include <safetensors/safetensors.h>

/* What kind of thing a descriptor is. */
enum {
    ST__OS_REGULAR = 0,
    ST__OS_DIRECTORY,
    ST__OS_FIFO,
    ST__OS_SOCKET,
    ST__OS_CHARACTER,
    ST__OS_BLOCK,
    ST__OS_OTHER
};

/* Room for a path, and for one name, each with its end. */
#define ST__OS_PATH 4096
#define ST__OS_NAME 256

typedef struct st__os_info {
    uint64_t size;
    uint64_t device;
    uint64_t inode;
    int64_t mtime_ns;
    int64_t ctime_ns;
    int kind; /* ST__OS_… */
} st__os_info;

/* Opens for reading, close-on-exec, without waiting for a FIFO's writer and without taking a terminal. */
int st__os_open(const char *path, int *out);
/* Duplicates a descriptor, close-on-exec. */
int st__os_duplicate(int fd, int *out);
void st__os_close(int fd);
int st__os_info_fd(int fd, st__os_info *out);
/* The path by which an open file is to be found now, terminated. An errno where that cannot be told; where it has been
 * removed, or lies outside of what the process sees, another file or none may be there. */
int st__os_path_fd(int fd, char out[ST__OS_PATH]);

/* Fills the segments from `offset` on, through interruptions and short reads. `*done` is the bytes read,
 * fewer than asked for only at the end of the file or on an error. */
int st__os_read(int fd, uint64_t offset, const st_segment *segments, size_t count, size_t *done);

/* Maps from the start of the file. `mode` is ST_MAP_SHARED or ST_MAP_PRIVATE. */
int st__os_map(int fd, size_t size, uint32_t mode, void **out);
void st__os_unmap(void *data, size_t size);

/* Starts reading a range into the page cache, if the system likes. */
void st__os_prefetch(int fd, uint64_t offset, uint64_t size);

/* -------------------------------------------------------- storage, page cache and memory */

/* Where the file lies: ST_LATENCY_MEMORY (tmpfs and the like), _LOCAL, _NETWORK (NFS, SMB, FUSE, ...), or
 * _UNKNOWN. */
uint32_t st__os_storage(int fd);
/* Bytes of the range that are in the page cache; of more than 64 MiB by samples of it. An errno where that cannot be
 * told. */
int st__os_resident(int fd, uint64_t offset, uint64_t size, uint64_t *out);
/* Drops what is clean of a range from the page cache, if the system likes; size 0: all from `offset` on. */
void st__os_drop(int fd, uint64_t offset, uint64_t size);
/* Opens the file behind a descriptor once more, close-on-exec, to read or write past the page cache. `*align`
 * receives what offsets, sizes and addresses must be multiples of, a power of 2, at most 65536. An errno where
 * that cannot be had. */
int st__os_open_direct(int fd, bool writing, int *out, uint32_t *align);
/* As st__os_read, but what was not in the page cache before is not in it afterwards. EOPNOTSUPP or EINVAL where
 * the system or the file system has no such thing. */
int st__os_read_uncached(int fd, uint64_t offset, const st_segment *segments, size_t count,
                         size_t *done);

/* Fresh zeroed memory, at a multiple of 2 MiB and in huge pages from there on, of any size > 0; nothing of it
 * takes memory before it is written. An errno. */
int st__os_memory_take(size_t size, void **out);
void st__os_memory_give(void *memory, size_t size);
/* Makes the pages of a range present, of a mapping (`write` false) or of memory that is to be written, in the
 * calling thread. Hints: failures are not told. */
void st__os_populate(void *at, size_t size, bool write);
/* Bytes that this process may still take before the machine or its control group runs out; UINT64_MAX where that
 * cannot be told. */
uint64_t st__os_memory_available(void);
/* Nanoseconds since 1970, of the clock that file systems stamp files by. */
int64_t st__os_clock_ns(void);
/* Descriptors this process may have open. */
uint64_t st__os_descriptor_limit(void);
/* The working directory's path, terminated. An errno. */
int st__os_working_directory(char out[ST__OS_PATH]);

/* ------------------------------------------------------------------------------ writing */

/* Names below are relative to the directory of a descriptor, so that neither a change of the working
 * directory nor a renamed parent comes between the steps of a save. */

/* The working directory, where a directory's descriptor is asked for. */
#define ST__OS_HERE (-1)
/* Opens a directory, close-on-exec; one that may be searched but not listed will do. */
int st__os_open_directory(int at, const char *path, int *out);
/* What a name stands for; of a symbolic link the link itself, unless it is to be followed. */
int st__os_info_at(int directory, const char *name, bool follow, st__os_info *out);
/* Reads a symbolic link, terminated: EINVAL if it is none. */
int st__os_link_target(int directory, const char *name, char out[ST__OS_PATH]);

/* Opens a FIFO or a device for writing, close-on-exec; waits for a FIFO's reader. */
int st__os_open_stream(const char *path, int *out);
/* What a descriptor is open for: writing, appending; and its position, 0 where it has none. */
int st__os_write_state(int fd, bool *writable, bool *appends, uint64_t *position);
int st__os_seek(int fd, uint64_t position);

/* Opens a file for reading, or to change what is in it; close-on-exec, without waiting for a FIFO's other end. ELOOP
 * for a link. */
int st__os_open_name(int directory, const char *name, bool change, int *out);
/* Keeps out whoever asks for the same of this file, until it is unlocked or closed. EAGAIN while somebody has it; 0
 * as well where the file system has no locks. */
int st__os_lock(int fd);
/* The same, beside others that ask for no more than this; keeps out who asks for the other. */
int st__os_lock_shared(int fd);
void st__os_unlock(int fd);
/* Tells whether a file may be trusted by one who writes to `other`: it is the owner's of that one, this process's own,
 * or the system's. */
bool st__os_trusted(int fd, int other);
/* Tells whether the number of an inode stays the same when its file system is mounted again. An errno. */
int st__os_inode_lasts(int fd, bool *out);
/* Creates a file for reading and writing, close-on-exec: EEXIST if the name is taken, be it by a link. */
int st__os_create(int directory, const char *name, uint32_t mode, int *out);
/* Creates a file without a name, which st__os_name can give it; an errno where the file system has no
 * such files, they could not be named, or, if `durable`, a sync before the naming may not be enough. */
int st__os_create_unnamed(int directory, uint32_t mode, bool durable, int *out);
/* Names it; EEXIST if the name is taken. */
int st__os_name(int fd, int directory, const char *name);
int st__os_rename(int directory, const char *from, const char *to);
/* The same unless `to` is there: EEXIST. Where it succeeds `from` may still be there, a second name. */
int st__os_rename_new(int directory, const char *from, const char *to);
int st__os_remove(int directory, const char *name);
/* Makes a directory, of a mode that follows the umask; EEXIST if the name is taken. */
int st__os_make_directory(int at, const char *path);
/* Removes an empty directory. */
int st__os_remove_directory(int at, const char *path);
/* Tells the names in a directory, but for "." and "..", in any order, until told to end by another answer than 0,
 * which is given back. An errno otherwise. */
int st__os_list(const char *path, int (*each)(void *ctx, const char *name), void *ctx);

/* Writes all pieces from `offset` on, through interruptions and short writes. */
int st__os_write(int fd, uint64_t offset, const st_bytes *pieces, size_t count, size_t *done);
/* The same to a stream of kind ST__OS_…; waits where the descriptor does not block. A socket whose other
 * end is gone is EPIPE and no signal; for a pipe SIGPIPE is the caller's to ignore. */
int st__os_write_stream(int fd, int kind, const st_bytes *pieces, size_t count, size_t *done);

enum {
    ST__OS_KEEP_SIZE = 1 /* the file does not grow; nothing happens where that cannot be had */
};

/* Sets space aside for [offset, offset + size) and makes the file reach there. ENOSPC, EDQUOT and EFBIG
 * tell that there is none; a file system that cannot tell only gets the file's size set, or not even
 * that. */
int st__os_allocate(int fd, uint64_t offset, uint64_t size, uint32_t flags);
/* Shares blocks of another file (reflink): whole ones, at whole places; an errno where it cannot be done. */
int st__os_clone(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t size);
/* Copies within the kernel; `*done` bytes have been, fewer with no errno where it goes no further. */
int st__os_copy(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t size, uint64_t *done);
/* Bytes in a block of the file's file system, a power of 2. */
uint64_t st__os_block_size(int fd);
/* Starts writing all of the file back to the disk, if the system likes. */
void st__os_write_back(int fd);
/* Waits until the file with its data is on the disk. */
int st__os_sync(int fd);
/* Waits until the names of a directory are on the disk; 0 where that cannot be asked for. */
int st__os_sync_directory(int directory);
/* Asks what file systems say only when a descriptor is closed (NFS, FUSE, quotas), and leaves it open. */
int st__os_flush(int fd);

/* Free bytes for this user on a file's file system; UINT64_MAX where that cannot be told. */
uint64_t st__os_free_space(int fd);
/* Hands owner, mode, access control list and extended attributes of the file `name` on to `to_fd`, an empty
 * file of our own with mode 0600, as far as the process may: of a file that it may not read the last two
 * are lost, and of one that is gone all. Where the group or the list cannot be kept, neither group nor others
 * may do more than both could. An errno where the old file cannot be looked at for another reason, or the new
 * one could not be kept from more users than it; ENOMEM. */
int st__os_copy_attributes(int directory, const char *name, int to_fd, st_context *context);

/* Unpredictable bytes; falls back to clock and addresses where the system has none to give. */
void st__os_random(void *out, size_t size);
size_t st__os_page_size(void);

/* Opens a library that may be there or not, under its soname; it stays mapped. ENOSYS. */
int st__os_library_open(const char *name, void **out);
/* Finds one of its functions, or data: `out` is a pointer to a pointer. False: it has none of this name. */
bool st__os_library_find(void *library, const char *name, void *out);
void st__os_library_close(void *library);

#if defined(ST_FAULTS)
/* The calls that a test may make fail; each stands for the system call of its name. Tests define
 * st__os_calls and compile os*.c into themselves; the library knows nothing of it. */
# include <dirent.h>
# include <sys/socket.h>
# include <sys/stat.h>
# include <sys/types.h>
# include <sys/uio.h>
struct statfs;
typedef struct st__os_call_table {
    int (*open)(const char *path, int flags);
    int (*openat)(int directory, const char *path, int flags, mode_t mode);
    int (*fstat)(int fd, struct stat *out);
    int (*fstatat)(int directory, const char *path, struct stat *out, int flags);
    ssize_t (*readlinkat)(int directory, const char *path, char *out, size_t size);
    ssize_t (*preadv)(int fd, const struct iovec *segments, int count, off_t offset);
    void *(*mmap)(void *at, size_t size, int prot, int flags, int fd, off_t offset);
    int (*pipe2)(int ends[2], int flags);
    ssize_t (*getrandom)(void *out, size_t size, unsigned flags);
    ssize_t (*pwritev)(int fd, const struct iovec *pieces, int count, off_t offset);
    ssize_t (*writev)(int fd, const struct iovec *pieces, int count);
    ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
    int (*fallocate)(int fd, int mode, off_t offset, off_t size);
    int (*ftruncate)(int fd, off_t size);
    ssize_t (*copy_file_range)(int from, off_t *from_at, int to, off_t *to_at, size_t size,
                               unsigned flags);
    int (*ioctl)(int fd, unsigned long request, void *arg);
    int (*fsync)(int fd);
    int (*close)(int fd);
    int (*linkat)(int from, const char *from_path, int to, const char *to_path, int flags);
    int (*renameat)(int from, const char *from_path, int to, const char *to_path);
    int (*renameat2)(int from, const char *from_path, int to, const char *to_path, unsigned flags);
    int (*unlinkat)(int directory, const char *path, int flags);
    int (*mkdirat)(int directory, const char *path, mode_t mode);
    struct dirent *(*readdir)(DIR *folder);
    int (*fchown)(int fd, uid_t user, gid_t group);
    int (*fchmod)(int fd, mode_t mode);
    int (*flock)(int fd, int operation);
    int (*madvise)(void *at, size_t size, int advice);
    int (*mincore)(void *at, size_t size, unsigned char *out);
    ssize_t (*preadv2)(int fd, const struct iovec *segments, int count, off_t offset, int flags);
    int (*fstatfs)(int fd, struct statfs *out);
    /* cachestat and statx, which older C libraries lack */
    long (*syscall)(long number, ...);
    /* What it finds may in turn be made to fail, call by call. */
    void *(*dlopen)(const char *library, int flags);
    void *(*dlsym)(void *library, const char *name);
} st__os_call_table;
extern st__os_call_table st__os_calls;
#endif

#endif
