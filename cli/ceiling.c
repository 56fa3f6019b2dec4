/* SPDX-License-Identifier: Apache-2.0 */
#include "ceiling.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "out.h"

/* Huge pages' size; also as large an alignment as any device asks for. */
#define ALIGNMENT  ((size_t)2 << 20)
#define DISK_BLOCK ((size_t)16 << 20)
/* While one wakes up, the other's requests are under way. */
#define DISK_THREADS 2
/* More than the caches of a CPU hold, as the page cache is. */
#define MEMORY_SOURCE ((size_t)64 << 20)
/* What is copied between two looks at the signals. */
#define MEMORY_ROUND ((size_t)1 << 30)
#define THREADS_MAX  64

static st_status stopped(st_error *error)
{
    return error_fill(error, ST_ERR_STOPPED, "stopped by a signal");
}

static bool told(const struct ceiling *ceiling, uint64_t done)
{
    return ceiling->progress->fn(ceiling->progress->ctx, ceiling->before + done,
                                 ceiling->before + ceiling->bytes);
}

/* Asks for huge pages: a device takes few pieces of memory at once. */
static void huge_ask(void *memory, size_t size)
{
#if defined(MADV_HUGEPAGE)
    (void)madvise(memory, size, MADV_HUGEPAGE);
#else
    (void)memory, (void)size;
#endif
}

/* Gives memory that was not touched yet; NULL with the errno. */
static char *fresh_new(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    huge_ask(memory, size);
    return memory;
}

/* ---------------------------------------------------------------------------------- the disk */

static int direct_open(const char *path)
{
#if defined(O_DIRECT)
    return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
#else
    (void)path;
    errno = ENOTSUP;
    return -1;
#endif
}

/* Every so manieth block of the file, for one thread. */
struct stripe {
    pthread_t thread;
    bool started;
    const struct ceiling *ceiling;
    int fd;
    char *block; /* DISK_BLOCK bytes */
    uint64_t first;
    bool tells; /* how far it has come */
    int failed; /* an errno */
};

/* Reads the block at `at`, or what the file has of it. */
static int block_read(const struct stripe *stripe, uint64_t at)
{
    uint64_t left = stripe->ceiling->bytes - at;
    size_t size = left < DISK_BLOCK ? (size_t)left : DISK_BLOCK;
    for (size_t done = 0; done < size;) {
        ssize_t got =
            pread(stripe->fd, stripe->block + done, DISK_BLOCK - done, (off_t)(at + done));
        if (got < 0 && errno != EINTR)
            return errno;
        if (got == 0)
            return ENODATA; /* it is shorter now */
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static void *stripe_read(void *ctx)
{
    struct stripe *stripe = ctx;
    uint64_t step = DISK_THREADS * DISK_BLOCK;
    for (uint64_t at = stripe->first; at < stripe->ceiling->bytes && !progress_signal();
         at += step) {
        stripe->failed = block_read(stripe, at);
        if (stripe->failed)
            break;
        if (stripe->tells)
            told(stripe->ceiling,
                 at + step < stripe->ceiling->bytes ? at + step : stripe->ceiling->bytes);
    }
    return NULL;
}

static st_status stripes_read(const struct ceiling *ceiling, int fd, char *blocks, st_error *error)
{
    struct stripe stripes[DISK_THREADS];
    for (unsigned i = 0; i < DISK_THREADS; i++) {
        uint64_t first = i * DISK_BLOCK;
        stripes[i] = (struct stripe){.ceiling = ceiling, .fd = fd, .block = blocks + first};
        stripes[i].first = first;
        stripes[i].tells = i == 0;
        if (i > 0)
            stripes[i].started =
                pthread_create(&stripes[i].thread, NULL, stripe_read, &stripes[i]) == 0;
    }
    for (unsigned i = 0; i < DISK_THREADS; i++)
        if (!stripes[i].started)
            stripe_read(&stripes[i]);
    for (unsigned i = 0; i < DISK_THREADS; i++)
        if (stripes[i].started)
            pthread_join(stripes[i].thread, NULL);
    if (progress_signal())
        return stopped(error);
    for (unsigned i = 0; i < DISK_THREADS; i++)
        if (stripes[i].failed) {
            errno = stripes[i].failed;
            return io_error("O_DIRECT", error);
        }
    return ST_OK;
}

st_status ceiling_disk(struct ceiling *ceiling, const char *path, st_error *error)
{
    void *blocks = NULL;
    off_t size;
    st_status status;
    int fd = direct_open(path);
    if (fd < 0)
        return io_error("O_DIRECT", error);
    size = lseek(fd, 0, SEEK_END);
    if (size >= 0)
        errno = posix_memalign(&blocks, ALIGNMENT, DISK_THREADS * DISK_BLOCK);
    if (size < 0 || !blocks) {
        status = io_error("O_DIRECT", error);
    } else {
        huge_ask(blocks, DISK_THREADS * DISK_BLOCK);
        memset(blocks, 1, DISK_THREADS * DISK_BLOCK);
        ceiling->bytes = (uint64_t)size;
        stopwatch_start(&ceiling->watch);
        status = stripes_read(ceiling, fd, blocks, error);
        stopwatch_stop(&ceiling->watch);
    }
    free(blocks);
    close(fd);
    return status;
}

/* -------------------------------------------------------------------------------- the memory */

/* A part of a round, for one thread. */
struct share {
    pthread_t thread;
    bool started;
    char *to;
    size_t size;
    const char *from; /* MEMORY_SOURCE bytes */
};

static void *share_copy(void *ctx)
{
    const struct share *share = ctx;
    for (size_t at = 0; at < share->size;) {
        size_t part = share->size - at < MEMORY_SOURCE ? share->size - at : MEMORY_SOURCE;
        memcpy(share->to + at, share->from, part);
        at += part;
    }
    return NULL;
}

/* Copies into `to`; a thread that cannot be had is stood in for by this one. */
static void round_copy(char *to, size_t size, const char *from, unsigned threads)
{
    struct share shares[THREADS_MAX];
    /* Whole huge pages for each, so that hardly two touch the same one. */
    size_t each = (size / threads + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, at = 0;
    for (unsigned i = 0; i < threads; i++) {
        size_t part = size - at < each ? size - at : each;
        shares[i] = (struct share){.to = to + at, .size = part, .from = from};
        at += part;
        if (i > 0)
            shares[i].started =
                pthread_create(&shares[i].thread, NULL, share_copy, &shares[i]) == 0;
    }
    for (unsigned i = 0; i < threads; i++)
        if (!shares[i].started)
            share_copy(&shares[i]);
    for (unsigned i = 0; i < threads; i++)
        if (shares[i].started)
            pthread_join(shares[i].thread, NULL);
}

/* Fills `size` bytes of fresh memory, `done` bytes into the whole. */
static st_status fresh_fill(const struct ceiling *ceiling, char *fresh, size_t size, uint64_t done,
                            const char *source, unsigned threads)
{
    for (size_t at = 0; at < size;) {
        size_t part = size - at < MEMORY_ROUND ? size - at : MEMORY_ROUND;
        round_copy(fresh + at, part, source, threads);
        at += part;
        if (!told(ceiling, done + at))
            return ST_ERR_STOPPED;
    }
    return ST_OK;
}

/* Copies piece by piece, into the same memory from the second piece on. */
static st_status memory_copy(struct ceiling *ceiling, size_t most, const char *source,
                             unsigned threads, st_error *error)
{
    size_t room = ceiling->bytes < most ? (size_t)ceiling->bytes : most;
    st_status status = ST_OK;
    stopwatch_start(&ceiling->watch);
    char *fresh = fresh_new(room);
    if (!fresh)
        return io_error("memory", error);
    for (uint64_t done = 0; done < ceiling->bytes && status == ST_OK;) {
        uint64_t left = ceiling->bytes - done;
        size_t size = left < room ? (size_t)left : room;
        status = fresh_fill(ceiling, fresh, size, done, source, threads);
        done += size;
    }
    stopwatch_stop(&ceiling->watch);
    munmap(fresh, room);
    return status == ST_OK ? ST_OK : stopped(error);
}

st_status ceiling_memory(struct ceiling *ceiling, uint64_t most, unsigned threads, st_error *error)
{
    char *source = fresh_new(MEMORY_SOURCE);
    if (!source)
        return io_error("memory", error);
    memset(source, 1, MEMORY_SOURCE);
    if (most > SIZE_MAX / 2)
        most = SIZE_MAX / 2;
    st_status status = memory_copy(ceiling, (size_t)most, source,
                                   threads < THREADS_MAX ? threads : THREADS_MAX, error);
    munmap(source, MEMORY_SOURCE);
    return status;
}
