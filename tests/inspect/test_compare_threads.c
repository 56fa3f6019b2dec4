/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing by several threads: the same to the last bit, whatever their number, the memory budget, and the strategies
 * of reading. */
#include "inspect/compare_sample.h"
#include "support/oom.h"
#include "support/watched.h"

#include <unistd.h>

/* Above what one thread does alone, and no whole number of blocks. */
#define BYTES ((size_t)24 * 218700)

typedef struct stored_sample {
    stats_sample sample;
    char path[64];
} stored_sample;

static stored_sample store(st_dtype dtype, uint64_t seed)
{
    stored_sample stored = {.path = "/tmp/st_test_compare.XXXXXX"};
    stored.sample = stats_sample_new(dtype, BYTES * 8 / st_dtype_bits(dtype));
    if (seed % 2)
        stats_sample_bits(&stored.sample, seed);
    else
        stats_sample_normal(&stored.sample, (double)seed);
    int fd = mkstemp(stored.path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, stored.sample.bytes, stored.sample.size), stored.sample.size);
    close(fd);
    return stored;
}

static void store_free(stored_sample *stored)
{
    unlink(stored->path);
    stats_sample_free(&stored->sample);
}

static st_file *stored_open(const stored_sample *stored, st_context *context, uint32_t io)
{
    st_file *file;
    const st_open_options options = {.context = context, .io = io_here(io)};
    CHECK_OK(st_file_open(stored->path, &options, &file, &error));
    return file;
}

static st_deviation compare_by(const stored_sample *a, const stored_sample *b, st_context *context,
                               const uint32_t io[2])
{
    st_deviation d;
    st_file *x = stored_open(a, context, io[0]), *y = stored_open(b, context, io[1]);
    const st_compare_options o = {.flags = ST_COMPARE_CLOSE, .rtol = 0.01};
    const st_side_tensor sides[2] = {sample_tensor(x), sample_tensor(y)};
    CHECK_OK(st_tensors_compare(&sides[0], &sides[1], &o, &d, &error));
    st_file_close(x);
    st_file_close(y);
    return d;
}

static void check_dtypes(st_dtype first, st_dtype second, uint64_t seed)
{
    static const uint32_t ways[][2] = {{ST_IO_PREAD, ST_IO_PREAD},
                                       {ST_IO_MAP, ST_IO_PREAD},
                                       {ST_IO_PREAD, ST_IO_DIRECT},
                                       {ST_IO_URING, ST_IO_MAP},
                                       {ST_IO_MAP, ST_IO_MAP}};
    static const struct {
        uint32_t threads;
        uint64_t memory;
    } budgets[] = {{2, 0}, {3, 1}, {5, UINT64_C(2) << 20}, {8, UINT64_C(1) << 30}, {1, 1}};
    stored_sample a = store(first, seed), b = store(second, seed + 2);
    st_context *alone = stats_context(1, 0);
    const st_deviation one = compare_by(&a, &b, alone, ways[0]);
    assert_int_equal(one.count, a.sample.count < b.sample.count ? a.sample.count : b.sample.count);
    assert_true(one.different > 0);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        st_context *context = stats_context(budgets[i].threads, budgets[i].memory);
        const st_deviation d = compare_by(&a, &b, context, ways[i]);
        assert_memory_equal(&d, &one, sizeof d);
        st_context_release(context);
    }
    st_context_release(alone);
    store_free(&a);
    store_free(&b);
}

static void test_number_of_threads(void **state)
{
    (void)state;
    check_dtypes(ST_BF16, ST_BF16, 4);
    check_dtypes(ST_F6_E2M3, ST_F6_E2M3, 3);
    check_dtypes(ST_F32, ST_F32, 3);
    check_dtypes(ST_F32, ST_F32, 4);
    check_dtypes(ST_I64, ST_I64, 3);
    check_dtypes(ST_C64, ST_C64, 4);
    check_dtypes(ST_F64, ST_F64, 3);
    check_dtypes(ST_F16, ST_BF16, 4);
    check_dtypes(ST_U8, ST_U8, 3);
}

/* What is allocated stays near the budget, however large the tensors are. */
static void test_memory_is_bounded(void **state)
{
    (void)state;
    const uint32_t io[2] = {ST_IO_PREAD, ST_IO_PREAD};
    stored_sample a = store(ST_F32, 4), b = store(ST_F32, 6);
    oom_allocator oom = {0};
    st_context *context = oom_context_new(&oom);
    (void)compare_by(&a, &b, context, io);
    assert_true(oom.peak < (UINT64_C(3) << 20));
    st_context_release(context);
    store_free(&a);
    store_free(&b);
}

typedef struct watcher {
    uint64_t calls;
    uint64_t stop_at;
    uint64_t done;
    uint64_t total;
} watcher;

static bool watch(void *ctx, uint64_t done, uint64_t total)
{
    watcher *w = ctx;
    assert_true(done <= total && done >= w->done);
    w->done = done;
    w->total = total;
    return ++w->calls != w->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    stored_sample a = store(ST_F32, 4), b = store(ST_F32, 6);
    st_context *context = stats_context(4, 0);
    st_file *x = stored_open(&a, context, ST_IO_PREAD), *y = stored_open(&b, context, ST_IO_PREAD);
    watcher w = {.calls = 0};
    st_compare_options o = {.flags = ST_COMPARE_RENAMES, .progress = {watch, &w}};
    st_compare_summary s;
    CHECK_OK(st_files_compare(x, y, &o, &s, &error));
    assert_int_equal(s.changed, 1);
    assert_int_equal(w.total, 2 * BYTES);
    assert_int_equal(w.done, w.total);
    w = (watcher){.stop_at = 1};
    s = (st_compare_summary){.same = 77};
    CHECK_ERR_TEXT(st_files_compare(x, y, &o, &s, &error), ST_ERR_STOPPED, ST_NO_OFFSET,
                   "the comparing was stopped");
    assert_int_equal(w.calls, 1);
    assert_int_equal(s.same, 77);
    st_file_close(x);
    st_file_close(y);
    st_context_release(context);
    store_free(&a);
    store_free(&b);
}

/* The first difference ends it: the rest of two large tensors is not read. */
static void test_brief_reads_little(void **state)
{
    (void)state;
    stored_sample a = store(ST_F32, 4), b = store(ST_F32, 6);
    for (uint32_t threads = 1; threads <= 4; threads += 3) {
        st_context *context = stats_context(threads, 0);
        st_file *x = stored_open(&a, context, ST_IO_PREAD);
        st_file *y = stored_open(&b, context, ST_IO_PREAD);
        watcher w = {.calls = 0};
        const st_compare_options o = {.flags = ST_COMPARE_BRIEF, .progress = {watch, &w}};
        st_compare_summary s;
        CHECK_OK(st_files_compare(x, y, &o, &s, &error));
        assert_int_equal(s.differences, 1);
        assert_true(w.done < BYTES);
        st_file_close(x);
        st_file_close(y);
        st_context_release(context);
    }
    store_free(&a);
    store_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_of_threads),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_brief_reads_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
