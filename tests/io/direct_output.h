/* SPDX-License-Identifier: Apache-2.0 */
/* Saves past the page cache: a large sample, ways of doing it, and what tells them apart. */
#ifndef TESTS_IO_DIRECT_OUTPUT_H
#define TESTS_IO_DIRECT_OUTPUT_H

#include "io/os_faults.h"
#include "io/scratch_folder.h"
#include "support/random.h"

#include <stdatomic.h>

#define MIB         ((size_t)1 << 20)
#define SAMPLE_SIZE (20 * MIB + 12345)

static unsigned char *sample; /* at a page */

/* Who writes: the callers themselves, a thread of the sink's own, that thread with a ring. */
enum { BY_CALLER, BY_THREAD, BY_RING, WAYS };

static void *no_library(const char *library, int flags)
{
    (void)library;
    (void)flags;
    return NULL;
}

static inline void restore_calls(void)
{
    os_calls_restore();
    os_plant(OS_NONE, 0);
}

static inline int restore(void **state)
{
    (void)state;
    restore_calls();
    return scratch_folder_drop(state) || mkdir(scratch, 0755);
}

static inline st_context *way_context(int way)
{
    st_context_options options = {.max_threads = way == BY_CALLER ? 1 : 4};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&options, &context, &error));
    if (way != BY_RING)
        st__os_calls.dlopen = no_library;
    return context;
}

static inline int sample_make(void **state)
{
    void *memory;
    if (posix_memalign(&memory, 65536, SAMPLE_SIZE + 65536))
        return -1;
    sample = memory;
    random_state = 5;
    for (size_t i = 0; i < SAMPLE_SIZE; i += 8) {
        uint64_t word = random_next();
        memcpy(sample + i, &word, 8);
    }
    return scratch_folder_make(state);
}

static inline int sample_drop(void **state)
{
    free(sample);
    return scratch_folder_drop(state);
}

static inline bool is_direct(int fd)
{
    return (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
}

static inline const st_sink_options *dropping(st_context *context)
{
    static st_sink_options options;
    options = (st_sink_options){
        .durability = ST_DURABLE_NONE, .context = context, .cache = ST_CACHE_DROP};
    return &options;
}

enum { PIECES_MOST = 300 };

/* Writes `size` bytes from `data` on, cut at random places, in order or not, one to three pieces a call. */
static inline st_status write_cut(st_sink *sink, const unsigned char *data, size_t size,
                                  unsigned cuts, bool shuffled, st_error *error)
{
    size_t at[PIECES_MOST + 1] = {0};
    unsigned order[PIECES_MOST], count = cuts + 1;
    st_status status = st__sink_begin(sink, size, error);
    for (unsigned i = 1; i < count; i++) {
        /* Sorted as they come: each cut is put in its place. */
        size_t cut = (size_t)random_below(size + 1);
        unsigned place = i;
        for (; place > 1 && at[place - 1] > cut; place--)
            at[place] = at[place - 1];
        at[place] = cut;
    }
    at[count] = size;
    for (unsigned i = 0; i < count; i++)
        order[i] = i;
    for (unsigned i = count; shuffled && i-- > 1;) {
        unsigned other = (unsigned)random_below(i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (unsigned i = 0; i < count && status == ST_OK; i++) {
        size_t from = at[order[i]], to = at[order[i] + 1], middle = from + (to - from) / 3;
        st_bytes pieces[3] = {
            {data + from, middle - from}, {data, 0}, {data + middle, to - middle}};
        status = random_below(2)
                     ? st__sink_write(sink, from, pieces, 3, error)
                     : st__sink_write(sink, from, &(st_bytes){data + from, to - from}, 1, error);
    }
    return status;
}

/* Opens a sink over an empty file's byte `position` and the bytes before it. */
static inline st_sink *sink_at(const char *path, off_t position, const st_sink_options *options)
{
    st_sink *sink = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, sample, (size_t)position, 0), position);
    assert_int_equal(lseek(fd, position, SEEK_SET), position);
    CHECK_OK(st_sink_open_fd(fd, options, &sink, &error));
    close(fd);
    return sink;
}

/* The file holds `position` bytes from before and then `size` of `data`. */
static inline void check_at(const char *path, off_t position, const unsigned char *data,
                            size_t size)
{
    struct stat s;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &s), 0);
    assert_int_equal(s.st_size, (size_t)position + size);
    unsigned char *got = malloc((size_t)s.st_size);
    for (size_t at = 0; at < (size_t)s.st_size;) {
        ssize_t n = pread(fd, got + at, (size_t)s.st_size - at, (off_t)at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_memory_equal(got, sample, (size_t)position);
    assert_memory_equal(got + position, data, size);
    free(got);
    close(fd);
}

#if defined(ST_LIBURING)

/* What the ring's n-th write comes back with. */
static struct {
    unsigned at, count; /* from 1; 0: all */
    int result;
    bool hit;
} planted;

static inline unsigned peek_planted(struct io_uring *ring, struct io_uring_cqe **out,
                                    unsigned count)
{
    unsigned got = os_uring.peek(ring, out, count);
    for (unsigned i = 0; i < got; i++) {
        if (++planted.count != planted.at && planted.at != 0)
            continue;
        planted.hit = true;
        out[i]->res = planted.result;
    }
    return got;
}

static inline void *dlsym_planted(void *library, const char *name)
{
    void *found = fault_dlsym(library, name);
    return found && strcmp(name, "io_uring_peek_batch_cqe") == 0 ? (void *)(uintptr_t)peek_planted
                                                                 : found;
}

static inline bool ring_works(void)
{
    st__ring *ring = NULL;
    bool works = st__ring_open(4, NULL, &ring) == 0;
    if (works)
        st__ring_close(ring);
    return works;
}

#endif

#define RESTORED(test) cmocka_unit_test_teardown(test, restore)

#endif
