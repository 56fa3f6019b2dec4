/* SPDX-License-Identifier: Apache-2.0 */
/* Saves past the page cache: the bytes of any other way, whatever is refused on it. */
#include "io/direct_output.h"
#include "io/output.h"

#include <pthread.h>

/* ------------------------------------------------------------------------------- recording */

/* What was written, by which way: a bit for each page of the file. */
enum { CACHED = 1, DIRECT = 2 };

static struct {
    unsigned char pages[SAMPLE_SIZE / 4096 + 200];
    unsigned direct, cached;
    bool in_place; /* some came from the caller's own memory */
    unsigned opened;
    int refusal;    /* the errno that direct writes get; 0: they are let through */
    size_t longest; /* of one direct write */
} seen;

static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t noting_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    bool direct = is_direct(fd), in_place = false;
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        const unsigned char *data = pieces[i].iov_base;
        size += pieces[i].iov_len;
        in_place |= direct && data >= sample && data < sample + SAMPLE_SIZE;
    }
    if (direct && seen.refusal) {
        errno = seen.refusal;
        return -1;
    }
    pthread_mutex_lock(&seen_lock);
    for (size_t page = (size_t)offset / 4096; page * 4096 < (size_t)offset + size; page++)
        seen.pages[page] |= direct ? DIRECT : CACHED;
    *(direct ? &seen.direct : &seen.cached) += 1;
    if (direct && size > seen.longest)
        seen.longest = size;
    seen.in_place |= in_place;
    pthread_mutex_unlock(&seen_lock);
    return pwritev(fd, pieces, count, offset);
}

static int noting_openat(int directory, const char *path, int flags, mode_t mode)
{
    seen.opened += (flags & O_DIRECT) == O_DIRECT;
    return openat(directory, path, flags, mode);
}

static void note_all(void)
{
    memset(&seen, 0, sizeof seen);
    st__os_calls.pwritev = noting_pwritev;
    st__os_calls.openat = noting_openat;
}

/* ----------------------------------------------------------------------------------- tests */

/* No page is written in both ways. */
static void check_pages(void)
{
    for (size_t i = 0; i < sizeof seen.pages; i++)
        assert_true(seen.pages[i] != (CACHED | DIRECT));
}

static void test_same(void **state)
{
    (void)state;
    static const off_t positions[] = {0, 1, 4095, 4096, 12345, 70000};
    static const size_t sizes[] = {MIB, MIB + 1, 3 * MIB - 7, 2 * MIB, 9 * MIB + 4097};
    static const size_t shifts[] = {0, 1, 512, 4096};
    bool direct = direct_works();
    const char *path = in_scratch("file");
    for (int way = 0; way < WAYS; way++) {
        for (size_t i = 0; i < 30; i++) {
            off_t position = positions[i % 6];
            size_t size = sizes[i % 5];
            const unsigned char *data = sample + shifts[i / 4 % 4] + (i % 2 ? position % 512 : 0);
            unsigned cuts = i % 3 == 0 ? 0 : i % 3 == 1 ? 9 : PIECES_MOST - 1;
            restore_calls();
            st_context *context = way_context(way);
            note_all();
            random_state = i + 1;
            st_sink *sink = sink_at(path, position, dropping(context));
            CHECK_OK(write_cut(sink, data, size, cuts, i % 4 < 2, &error));
            CHECK_OK(st__sink_finish(sink, &error));
            st_sink_release(sink);
            check_at(path, position, data, size);
            check_pages();
            assert_int_equal(seen.opened, direct);
            assert_true(!direct || way == BY_RING || seen.direct > 0);
            st_context_release(context);
        }
    }
}

/* Memory that lies as its place in the file does is written from where it lies. */
static void test_in_place(void **state)
{
    (void)state;
    static const struct {
        off_t position;
        size_t shift, size;
        bool in_place;
    } cases[] = {
        {0, 0, 9 * MIB, true},      {4096, 0, 9 * MIB, true},
        {4097, 1, 9 * MIB, true},   {4097, 0, 9 * MIB, false},
        {0, 256, 9 * MIB, false},   {0, 0, 8 * MIB - 1, false},
        {100, 100, 8 * MIB, false}, {100, 100, 8 * MIB + 4096, true},
        {100, 612, 9 * MIB, true}, /* or not: below */
    };
    const char *path = in_scratch("file");
    if (!direct_works())
        skip();
    st_context *context = way_context(BY_CALLER);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        note_all();
        st_sink *sink = sink_at(path, cases[i].position, dropping(context));
        st_bytes piece = {sample + cases[i].shift, cases[i].size};
        const st__output *output = sink->self; /* first of what is behind a descriptor's sink */
        bool in_place = cases[i].in_place;
        CHECK_OK(st__sink_begin(sink, cases[i].size, &error));
        assert_non_null(output->direct);
        if (cases[i].shift == 612)
            in_place = output->direct->align <= 512;
        CHECK_OK(st__sink_write(sink, 0, &piece, 1, &error));
        CHECK_OK(st__sink_finish(sink, &error));
        st_sink_release(sink);
        assert_int_equal(seen.in_place, in_place);
        check_at(path, cases[i].position, piece.data, piece.size);
        check_pages();
    }
    st_context_release(context);
}

/* Which files go past the cache: what the sink is asked, looked at before a byte is written. */
static void test_policy(void **state)
{
    (void)state;
    static const struct {
        uint32_t cache, durability;
        uint64_t size;
        bool direct;
    } cases[] = {
        {ST_CACHE_AUTO, ST_DURABLE_NAME, 256 * MIB, true},
        {ST_CACHE_AUTO, ST_DURABLE_FILE, 256 * MIB, true},
        {ST_CACHE_AUTO, ST_DURABLE_NONE, 256 * MIB, false},
        {ST_CACHE_AUTO, ST_DURABLE_NAME, 256 * MIB - 1, false},
        {ST_CACHE_KEEP, ST_DURABLE_NAME, 256 * MIB, false},
        {ST_CACHE_DROP, ST_DURABLE_NAME, MIB, true},
        {ST_CACHE_DROP, ST_DURABLE_NONE, MIB, true},
        {ST_CACHE_DROP, ST_DURABLE_NAME, MIB - 1, false},
    };
    bool works = direct_works();
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        st_sink *sink;
        size_t n = i / 2;
        const st_sink_options options = {.durability = cases[n].durability,
                                         .cache = cases[n].cache};
        note_all();
        if (i % 2)
            sink = sink_at(in_scratch("file"), 10, &options);
        else
            CHECK_OK(st_sink_open(in_scratch("file"), &options, &sink, &error));
        CHECK_OK(st__sink_begin(sink, cases[n].size, &error));
        assert_int_equal(seen.opened, works && cases[n].direct);
        st_sink_release(sink);
        unlink(in_scratch("file"));
    }
}

static uint64_t cached_of(const char *path)
{
    uint64_t cached = 0;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    if (st__os_resident(fd, 0, SAMPLE_SIZE, &cached) != 0)
        skip();
    close(fd);
    return cached;
}

/* What is dropped is not in the cache afterwards, be it written through it; what is kept is. */
static void test_left_in_cache(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    if (!direct_works())
        skip();
    for (int way = 0; way < WAYS; way++) {
        for (int durable = 0; durable < 2; durable++) {
            st_context *context = way_context(way);
            st_sink_options options = *dropping(context);
            options.durability = durable ? ST_DURABLE_FILE : ST_DURABLE_NONE;
            CHECK_OK(save(path, &options, sample, SAMPLE_SIZE, &error));
            assert_true(cached_of(path) < MIB);
            st_context_release(context);
        }
    }
    st_sink_options options = {.cache = ST_CACHE_KEEP};
    CHECK_OK(save(path, &options, sample, SAMPLE_SIZE, &error));
    assert_true(cached_of(path) >= SAMPLE_SIZE);
    /* A context whose memory is too small for blocks. */
    st_context *small;
    CHECK_OK(st_context_new(&(st_context_options){.max_memory = 500000}, &small, &error));
    options = (st_sink_options){.context = small, .cache = ST_CACHE_DROP};
    note_all();
    CHECK_OK(save(path, &options, sample, SAMPLE_SIZE, &error));
    assert_int_equal(seen.direct, 0);
    assert_true(cached_of(path) < MIB);
    st_context_release(small);
}

/* Little memory makes blocks small, and few places make them change hands. */
static void test_small_blocks(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        st_context *context;
        st_context_options options = {.max_memory = 512 << 10, .max_threads = way ? 2 : 1};
        st_context_release(way_context(way));
        CHECK_OK(st_context_new(&options, &context, &error));
        note_all();
        for (unsigned cuts = 0; cuts < 100; cuts += 33) {
            st_sink *sink = sink_at(in_scratch("file"), 77, dropping(context));
            CHECK_OK(write_cut(sink, sample + 3, MIB, cuts, true, &error));
            CHECK_OK(st__sink_finish(sink, &error));
            st_sink_release(sink);
            check_at(in_scratch("file"), 77, sample + 3, MIB);
        }
        if (direct_works() && way != BY_RING)
            assert_in_range(seen.longest, 4096, 65536);
        st_context_release(context);
        restore_calls();
    }
}

/* ------------------------------------------------------------------------------- refusals */

static int no_direct_openat(int directory, const char *path, int flags, mode_t mode)
{
    if ((flags & O_DIRECT) != O_DIRECT)
        return noting_openat(directory, path, flags, mode);
    errno = EINVAL;
    return -1;
}

static int far_fstatfs(int fd, struct statfs *out)
{
    int result = fstatfs(fd, out);
    out->f_type = 0x6969; /* NFS */
    return result;
}

static void check_refused(int way, unsigned direct)
{
    st_context *context = way_context(way);
    for (int i = 0; i < 4; i++) {
        random_state = (uint64_t)i + 1;
        st_sink *sink = sink_at(in_scratch("file"), i * 100, dropping(context));
        CHECK_OK(write_cut(sink, sample, 2 * MIB, (unsigned)i * 20, i > 2, &error));
        CHECK_OK(st__sink_finish(sink, &error));
        st_sink_release(sink);
        check_at(in_scratch("file"), i * 100, sample, 2 * MIB);
    }
    assert_int_equal(seen.direct, direct);
    assert_true(seen.cached > 0);
    st_context_release(context);
}

static void test_refused(void **state)
{
    (void)state;
    static const int refusals[] = {EINVAL, EOPNOTSUPP, EFAULT, EAGAIN, ENOMEM};
    for (int way = 0; way < BY_RING; way++) {
        note_all();
        st__os_calls.openat = no_direct_openat;
        check_refused(way, 0);
        note_all();
        st__os_calls.fstatfs = far_fstatfs;
        check_refused(way, 0);
        assert_int_equal(seen.opened, 0);
        restore_calls();
        for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
            note_all();
            seen.refusal = refusals[i];
            check_refused(way, 0);
            restore_calls();
        }
    }
}

#if defined(ST_LIBURING)

static void test_ring_refused(void **state)
{
    (void)state;
    static const int results[] = {-EINVAL, -EOPNOTSUPP, -EAGAIN, -EFAULT, -EINTR, 0, 1, 4096, 5000};
    if (!ring_works() || !direct_works())
        skip();
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        for (unsigned at = 0; at < 4; at++) {
            st_context *context = way_context(BY_RING);
            note_all();
            st__os_calls.dlsym = dlsym_planted;
            memset(&planted, 0, sizeof planted);
            planted.at = at;
            planted.result = results[i];
            st_sink *sink = sink_at(in_scratch("file"), 100, dropping(context));
            CHECK_OK(write_cut(sink, sample + 7, 3 * MIB, 3, false, &error));
            CHECK_OK(st__sink_finish(sink, &error));
            st_sink_release(sink);
            assert_true(planted.hit);
            check_at(in_scratch("file"), 100, sample + 7, 3 * MIB);
            st_context_release(context);
            restore_calls();
        }
    }
}

#else

static void test_ring_refused(void **state)
{
    (void)state;
    skip();
}

#endif

/* The kernel copies between what is written past the cache. */
static void test_copies(void **state)
{
    (void)state;
    const size_t from = 5 * MIB + 100, to = 11 * MIB + 4000;
    st_source *source;
    put_file(in_scratch("source"), sample, SAMPLE_SIZE);
    CHECK_OK(st_source_open(in_scratch("source"), NULL, &source, &error));
    for (int way = 0; way < WAYS; way++) {
        st_context *context = way_context(way);
        st_sink *sink = sink_at(in_scratch("file"), way * 96, dropping(context));
        uint64_t moved = 0;
        CHECK_OK(st__sink_begin(sink, SAMPLE_SIZE, &error));
        CHECK_OK(st__sink_write(sink, 0, &(st_bytes){sample, from}, 1, &error));
        CHECK_OK(
            st__sink_copy(sink, from, &(st__stretch){source, from, to - from}, &moved, &error));
        size_t rest = from + (size_t)moved;
        CHECK_OK(
            st__sink_write(sink, rest, &(st_bytes){sample + rest, SAMPLE_SIZE - rest}, 1, &error));
        CHECK_OK(st__sink_finish(sink, &error));
        st_sink_release(sink);
        check_at(in_scratch("file"), way * 96, sample, SAMPLE_SIZE);
        st_context_release(context);
        restore_calls();
    }
    st_source_release(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RESTORED(test_same),          RESTORED(test_in_place),     RESTORED(test_policy),
        RESTORED(test_left_in_cache), RESTORED(test_small_blocks), RESTORED(test_refused),
        RESTORED(test_ring_refused),  RESTORED(test_copies),
    };
    return cmocka_run_group_tests_name("output_direct", tests, sample_make, sample_drop);
}
