/* SPDX-License-Identifier: Apache-2.0 */
#include "raw.h"
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef BENCH_LIBURING
# include <liburing.h>
#endif

#define MIB  ((size_t)1 << 20)
#define HUGE (2 * MIB)
enum { PAGE = 4096, FILES_MAX = 64, READ_DEPTH = 32, WRITE_DEPTH = 16 };

unsigned char *bench_pages_new(size_t size)
{
    size_t rounded = (size + HUGE - 1) / HUGE * HUGE;
    unsigned char *room = mmap(NULL, rounded + HUGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        bench_fail("no memory for %zu bytes", size);
    size_t before = (HUGE - (uintptr_t)room % HUGE) % HUGE;
    if (before)
        munmap(room, before);
    munmap(room + before + rounded, HUGE - before);
    (void)madvise(room + before, rounded, MADV_HUGEPAGE);
    return room + before;
}

void bench_pages_free(unsigned char *pages, size_t size)
{
    munmap(pages, (size + HUGE - 1) / HUGE * HUGE);
}

static int direct_open(const char *path, uint64_t *size)
{
    struct stat facts;
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts))
        bench_fail("cannot open %s past the page cache: %s", path, strerror(errno));
    *size = (uint64_t)facts.st_size;
    return fd;
}

void bench_raw_read(const char *const *paths, size_t count)
{
    unsigned char *block = bench_pages_new(16 * MIB);
    for (size_t i = 0; i < count; i++) {
        uint64_t size;
        int fd = direct_open(paths[i], &size);
        for (uint64_t at = 0; at < size;) {
            ssize_t got = pread(fd, block, 16 * MIB, (off_t)at);
            if (got <= 0)
                bench_fail("cannot read %s: %s", paths[i], strerror(errno));
            at += (uint64_t)got;
        }
        close(fd);
    }
    bench_pages_free(block, 16 * MIB);
}

void bench_raw_write(int fd, const unsigned char *data, uint64_t size)
{
    for (uint64_t at = 0; at < size;) {
        size_t part = size - at < 16 * MIB ? (size_t)(size - at) : 16 * MIB;
        ssize_t put = pwrite(fd, data + at, part, (off_t)at);
        if (put <= 0 || put % PAGE)
            bench_fail("cannot write past the page cache: %s", strerror(errno));
        at += (uint64_t)put;
    }
}

#ifdef BENCH_LIBURING

static void ring_open(struct io_uring *ring, unsigned depth)
{
    struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN |
                                              IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    int failed = io_uring_queue_init_params(depth, ring, &params);
    if (failed == -EINVAL)
        failed = io_uring_queue_init(depth, ring, 0);
    if (failed)
        bench_fail("no io_uring: %s", strerror(-failed));
}

bool bench_raw_ring(void)
{
    struct io_uring ring;
    if (io_uring_queue_init(1, &ring, 0))
        return false;
    io_uring_queue_exit(&ring);
    return true;
}

/* Waits for one request, and gives its number. */
static unsigned request_done(struct io_uring *ring, size_t *bytes)
{
    struct io_uring_cqe *done;
    int failed;
    do {
        failed = io_uring_submit_and_wait(ring, 1);
    } while (failed == -EINTR);
    if (failed < 0 || io_uring_peek_cqe(ring, &done) || done->res <= 0)
        bench_fail("a request of io_uring failed");
    unsigned number = (unsigned)(uintptr_t)io_uring_cqe_get_data(done);
    *bytes = (size_t)done->res;
    io_uring_cqe_seen(ring, done);
    return number;
}

/* Where the next request goes. */
typedef struct file_cursor {
    int fds[FILES_MAX];
    uint64_t sizes[FILES_MAX];
    size_t count, file;
    uint64_t at;
} file_cursor;

static bool read_add(struct io_uring *ring, file_cursor *from, unsigned char *blocks, unsigned slot)
{
    while (from->file < from->count && from->at >= from->sizes[from->file]) {
        from->file++;
        from->at = 0;
    }
    if (from->file == from->count)
        return false;
    struct io_uring_sqe *request = io_uring_get_sqe(ring);
    io_uring_prep_read(request, from->fds[from->file], blocks + slot * MIB, MIB, from->at);
    io_uring_sqe_set_data(request, (void *)(uintptr_t)slot);
    from->at += MIB;
    return true;
}

void bench_raw_read_ring(const char *const *paths, size_t count)
{
    struct io_uring ring;
    file_cursor from = {.count = count};
    unsigned char *blocks = bench_pages_new(READ_DEPTH * MIB);
    uint64_t left = 0;
    unsigned flying = 0;
    if (count > FILES_MAX)
        bench_fail("more than %d files", FILES_MAX);
    for (size_t i = 0; i < count; i++) {
        from.fds[i] = direct_open(paths[i], &from.sizes[i]);
        left += from.sizes[i];
    }
    ring_open(&ring, READ_DEPTH);
    while (flying < READ_DEPTH && read_add(&ring, &from, blocks, flying))
        flying++;
    while (flying) {
        size_t bytes;
        unsigned slot = request_done(&ring, &bytes);
        left -= bytes;
        if (!read_add(&ring, &from, blocks, slot))
            flying--;
    }
    if (left)
        bench_fail("io_uring read less than there is");
    io_uring_queue_exit(&ring);
    for (size_t i = 0; i < count; i++)
        close(from.fds[i]);
    bench_pages_free(blocks, READ_DEPTH * MIB);
}

static void write_add(struct io_uring *ring, int fd, const unsigned char *data, uint64_t size,
                      uint64_t *at)
{
    unsigned part = size - *at < MIB ? (unsigned)(size - *at) : (unsigned)MIB;
    struct io_uring_sqe *request = io_uring_get_sqe(ring);
    io_uring_prep_write(request, fd, data + *at, part, *at);
    io_uring_sqe_set_data(request, (void *)(uintptr_t)part);
    *at += part;
}

void bench_raw_write_ring(int fd, const unsigned char *data, uint64_t size)
{
    struct io_uring ring;
    uint64_t at = 0;
    unsigned flying = 0;
    ring_open(&ring, WRITE_DEPTH);
    for (; flying < WRITE_DEPTH && at < size; flying++)
        write_add(&ring, fd, data, size, &at);
    while (flying) {
        size_t bytes;
        if (request_done(&ring, &bytes) != bytes)
            bench_fail("io_uring wrote less than it was given");
        if (at < size)
            write_add(&ring, fd, data, size, &at);
        else
            flying--;
    }
    io_uring_queue_exit(&ring);
}

#else

bool bench_raw_ring(void)
{
    return false;
}

void bench_raw_read_ring(const char *const *paths, size_t count)
{
    (void)paths, (void)count;
    bench_fail("built without liburing");
}

void bench_raw_write_ring(int fd, const unsigned char *data, uint64_t size)
{
    (void)fd, (void)data, (void)size;
    bench_fail("built without liburing");
}

#endif
