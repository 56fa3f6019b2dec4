/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics by several threads: the same to the last bit, whatever their number and the memory budget. */
#include "inspect/stats_sample.h"
#include "support/oom.h"

#include <unistd.h>

/* Above what one thread does alone, and no whole number of blocks. */
#define BYTES ((size_t)24 * 218700)

static const double probabilities[] = {0, 0.01, 0.5, 0.999, 1};

static const st_stats_options everything = {
    .quantiles = probabilities,
    .quantile_count = sizeof probabilities / sizeof *probabilities,
    .bin_count = 100,
};

typedef struct stored_sample {
    stats_sample sample;
    char path[64];
} stored_sample;

static stored_sample store(st_dtype dtype)
{
    stored_sample stored = {.path = "/tmp/st_test_stats.XXXXXX"};
    stored.sample = stats_sample_new(dtype, BYTES * 8 / st_dtype_bits(dtype));
    stats_sample_bits(&stored.sample, 77);
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

static st_stats stats_by(const stored_sample *stored, st_context *context, uint32_t io,
                         const st_stats_options *options)
{
    st_file *file;
    st_stats stats;
    st_open_options open_options = {.context = context, .io = io};
    CHECK_OK(st_file_open(stored->path, &open_options, &file, &error));
    CHECK_OK(st_stats_read(file, stats_sample_tensor(file), NULL, options, &stats, &error));
    st_file_close(file);
    return stats;
}

static void check_identical(const st_stats *a, const st_stats *b)
{
    assert_int_equal(a->memory_size, b->memory_size);
    if (a->memory_size)
        assert_memory_equal(a->memory, b->memory, a->memory_size);
    st_stats x = *a, y = *b;
    x.quantiles = y.quantiles = NULL;
    x.bins = y.bins = NULL;
    x.memory = y.memory = NULL;
    x.context = y.context = NULL;
    assert_memory_equal(&x, &y, sizeof x);
}

static void check_number_of_threads(const st_stats_options *options)
{
    const st_dtype dtypes[] = {ST_BF16, ST_F6_E2M3, ST_F32, ST_I64, ST_C64, ST_F64, ST_I8};
    const uint32_t threads[] = {2, 3, 5, 8};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        stored_sample stored = store(dtypes[d]);
        st_context *alone = stats_context(1, 0);
        st_stats first = stats_by(&stored, alone, ST_IO_PREAD, options);
        assert_int_equal(first.count, stored.sample.count);
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            st_context *context = stats_context(threads[t], 0);
            st_stats stats = stats_by(&stored, context, t % 2 ? ST_IO_MAP : ST_IO_PREAD, options);
            check_identical(&first, &stats);
            st_stats_release(&stats);
            st_context_release(context);
        }
        st_stats_release(&first);
        st_context_release(alone);
        store_free(&stored);
    }
}

static void test_number_of_threads(void **state)
{
    (void)state;
    const st_stats_options plain = {0};
    check_number_of_threads(&everything);
    check_number_of_threads(&plain);
}

/* Little memory means fewer threads and more readings, never another result. */
static void test_memory_budget(void **state)
{
    (void)state;
    static double places[300];
    for (size_t i = 0; i < 300; i++)
        places[i] = (double)i / 299;
    const st_stats_options options = {.quantiles = places, .quantile_count = 300};
    const uint64_t budgets[] = {1, UINT64_C(1) << 20, UINT64_C(3) << 20};
    const st_dtype dtypes[] = {ST_BF16, ST_F64};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        stored_sample stored = store(dtypes[d]);
        st_context *plenty = stats_context(4, UINT64_C(1) << 30);
        st_stats first = stats_by(&stored, plenty, ST_IO_PREAD, &options);
        for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
            st_context *context = stats_context(4, budgets[b]);
            st_stats stats = stats_by(&stored, context, ST_IO_PREAD, &options);
            check_identical(&first, &stats);
            st_stats_release(&stats);
            st_context_release(context);
        }
        st_stats_release(&first);
        st_context_release(plenty);
        store_free(&stored);
    }
}

/* What is allocated stays near the budget, however large the tensor is. */
static void test_memory_is_bounded(void **state)
{
    (void)state;
    const st_dtype dtypes[] = {ST_BF16, ST_F32};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        stored_sample stored = store(dtypes[d]);
        oom_allocator oom = {0};
        st_context *context = oom_context_new(&oom);
        st_stats stats = stats_by(&stored, context, ST_IO_PREAD, &everything);
        assert_true(oom.peak < (UINT64_C(4) << 20));
        st_stats_release(&stats);
        st_context_release(context);
        store_free(&stored);
    }
}

typedef struct stopper {
    uint64_t calls;
    uint64_t at;
} stopper;

static bool stop_at(void *ctx, uint64_t done, uint64_t total)
{
    stopper *s = ctx;
    assert_true(done <= total);
    return ++s->calls != s->at;
}

static void test_stopped_among_threads(void **state)
{
    (void)state;
    stored_sample stored = store(ST_F32);
    st_context *context = stats_context(4, 0);
    st_file *file;
    st_stats stats;
    st_open_options open_options = {.context = context};
    CHECK_OK(st_file_open(stored.path, &open_options, &file, &error));
    stopper s = {.at = 1};
    st_stats_options options = everything;
    options.progress = (st_progress){stop_at, &s};
    CHECK_ERR(st_stats_read(file, stats_sample_tensor(file), NULL, &options, &stats, &error),
              ST_ERR_STOPPED, ST_NO_OFFSET);
    assert_int_equal(s.calls, 1);
    st_file_close(file);
    st_context_release(context);
    store_free(&stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_of_threads),
        cmocka_unit_test(test_memory_budget),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_stopped_among_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
