/* SPDX-License-Identifier: Apache-2.0 */
/* The only door to the operating system's files and mappings: a port replaces os.c. Functions return 0
 * or an errno; none blocks on anything but a disk. */
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
int st__os_info_path(const char *path, st__os_info *out);

/* Fills the segments from `offset` on, through interruptions and short reads. `*done` is the bytes read,
 * fewer than asked for only at the end of the file or on an error. */
int st__os_read(int fd, uint64_t offset, const st_segment *segments, size_t count, size_t *done);

/* Maps from the start of the file. `mode` is ST_MAP_SHARED or ST_MAP_PRIVATE. */
int st__os_map(int fd, size_t size, uint32_t mode, void **out);
void st__os_unmap(void *data, size_t size);

/* Starts reading a range into the page cache, if the system likes. */
void st__os_prefetch(int fd, uint64_t offset, uint64_t size);

/* Unpredictable bytes; falls back to clock and addresses where the system has none to give. */
void st__os_random(void *out, size_t size);
size_t st__os_page_size(void);

#if defined(ST_FAULTS)
/* The calls that a test may make fail; each stands for the system call of its name. Tests define
 * st__os_calls and compile os.c into themselves; the library knows nothing of it. */
# include <sys/stat.h>
# include <sys/types.h>
# include <sys/uio.h>
typedef struct st__os_call_table {
    int (*open)(const char *path, int flags);
    int (*fstat)(int fd, struct stat *out);
    ssize_t (*preadv)(int fd, const struct iovec *segments, int count, off_t offset);
    void *(*mmap)(void *at, size_t size, int prot, int flags, int fd, off_t offset);
    ssize_t (*getrandom)(void *out, size_t size, unsigned flags);
} st__os_call_table;
extern st__os_call_table st__os_calls;
#endif

#endif
