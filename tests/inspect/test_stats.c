/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics of every dtype against an oracle, known ones by hand, and the requests refused. */
#include "inspect/stats_sample.h"
#include "io/transfer.h"

#include <float.h>

static const double probabilities[] = {0, 0.001, 0.25, 0.5, 0.5, 0.75, 0.9999, 1};

static const st_stats_options everything = {
    .quantiles = probabilities,
    .quantile_count = sizeof probabilities / sizeof *probabilities,
    .bin_count = 7,
};

/* No quantiles and no histogram: values of 8 and 16 bits are not counted then, but measured. */
static const st_stats_options plain = {0};

/* What the library says of a sample. */
static st_stats read_stats(const stats_sample *sample, const st_stats_options *options)
{
    st_stats stats = {0};
    st_file *file = stats_sample_open(sample, NULL);
    CHECK_OK(st_stats_read(file, stats_sample_tensor(file), NULL, options, &stats, &error));
    st_file_close(file);
    return stats;
}

static void check_sample(const stats_sample *sample, const st_stats_options *options)
{
    oracle o = oracle_new(sample->dtype, sample->data, sample->count);
    st_stats stats = read_stats(sample, options);
    check_stats(&stats, &o, options);
    st_stats_release(&stats);
    oracle_free(&o);
}

/* A tensor of doubles, encoded. */
static stats_sample sample_of(st_dtype dtype, const double *values, uint64_t count)
{
    stats_sample sample = stats_sample_new(dtype, count);
    for (uint64_t i = 0; i < count; i++) {
        st_value value = {.kind = ST_KIND_FLOAT, .as = {.f = {values[i]}}};
        st_element_encode(dtype, sample.data, i, &value);
    }
    return sample;
}

/* ---------------------------------------------------------------------------- every dtype */

/* Sizes around all boundaries: none, one, the tails of the loops, sorted or counted, one block or two. */
static void test_every_dtype_and_size(void **state)
{
    (void)state;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        const uint64_t block = ST__SCAN_BLOCK * 8 / st_dtype_bits(dtype);
        const uint64_t counts[] = {0, 4, 12, 2048, 2052, 16384, 16388, block, block + 4};
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            stats_sample sample = stats_sample_new(dtype, counts[i]);
            stats_sample_bits(&sample, (uint64_t)dtype);
            check_sample(&sample, &everything);
            check_sample(&sample, &plain);
            stats_sample_free(&sample);
        }
    }
}

static void test_normal_values(void **state)
{
    (void)state;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        for (uint64_t count = 1000; count <= 20000; count += 19000) {
            stats_sample sample = stats_sample_new(dtype, count);
            stats_sample_normal(&sample, dtype == ST_U64 || dtype == ST_I64 ? 0x1p62 : 50);
            check_sample(&sample, &everything);
            check_sample(&sample, &plain);
            stats_sample_free(&sample);
        }
    }
}

/* Single elements and odd numbers of them, where bytes are whole. */
static void test_few_elements(void **state)
{
    (void)state;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        for (uint64_t count = 1; st_dtype_bits(dtype) % 8 == 0 && count < 12; count++) {
            stats_sample sample = stats_sample_new(dtype, count);
            stats_sample_bits(&sample, count);
            check_sample(&sample, &everything);
            check_sample(&sample, &plain);
            stats_sample_free(&sample);
        }
    }
}

/* One value throughout: every quantile is it, and the histogram has a range nevertheless. */
static void test_constant(void **state)
{
    (void)state;
    const double values[] = {1, 0, -0.0, 3, 0.5};
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            for (uint64_t count = 8; count <= 20000; count += 19992) {
                stats_sample sample = stats_sample_new(dtype, count);
                st_value value = {.kind = ST_KIND_FLOAT, .as = {.f = {values[v]}}};
                for (uint64_t i = 0; i < count; i++)
                    st_element_encode(dtype, sample.data, i, &value);
                check_sample(&sample, &everything);
                check_sample(&sample, &plain);
                st_stats stats = read_stats(&sample, &everything);
                assert_true(stats.high - stats.low == 1);
                assert_true(stats.std == 0 || stats.nan == count); /* E8M0 has no zero */
                st_stats_release(&stats);
                stats_sample_free(&sample);
            }
        }
    }
}

/* ------------------------------------------------------------------------------- by hand */

/* A C64 with a NaN is NaN, whatever its other part is: its absolute value alone would be infinite. */
static void test_complex_of_both(void **state)
{
    (void)state;
    const struct {
        double re, im;
    } values[] = {{INFINITY, NAN}, {NAN, -INFINITY}, {NAN, 1},
                  {-INFINITY, 1},  {2, INFINITY},    {3, 4}};
    stats_sample sample = stats_sample_new(ST_C64, 6);
    for (uint64_t i = 0; i < 6; i++) {
        st_value value = {.kind = ST_KIND_COMPLEX, .as = {.f = {values[i].re, values[i].im}}};
        st_element_encode(ST_C64, sample.data, i, &value);
    }
    st_stats stats = read_stats(&sample, NULL);
    assert_int_equal(stats.nan, 3);
    assert_int_equal(stats.positive_infinity, 2);
    assert_int_equal(stats.negative_infinity, 0);
    assert_int_equal(stats.finite, 1);
    assert_true(stats.min.as.f[0] == 5 && stats.max.as.f[0] == 5);
    st_stats_release(&stats);
    stats_sample_free(&sample);
}

static void test_by_hand(void **state)
{
    (void)state;
    const double values[] = {4, 1, -INFINITY, 3, NAN, 2, -0.0, INFINITY, -10, NAN};
    const double half[] = {0.5, 0.1};
    const st_dtype dtypes[] = {ST_F16, ST_BF16, ST_F32, ST_F64, ST_F8_E5M2};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        stats_sample sample = sample_of(dtypes[d], values, sizeof values / sizeof *values);
        st_stats_options options = {
            .quantiles = half, .quantile_count = 2, .bin_count = 4, .low = -1, .high = 3};
        st_stats stats = read_stats(&sample, &options);
        assert_int_equal(stats.count, 10);
        assert_int_equal(stats.finite, 6);
        assert_int_equal(stats.nan, 2);
        assert_int_equal(stats.positive_infinity, 1);
        assert_int_equal(stats.negative_infinity, 1);
        assert_int_equal(stats.zeros, 1);
        assert_int_equal(stats.negatives, 2);
        assert_true(stats.min.as.f[0] == -10 && stats.max.as.f[0] == 4);
        assert_true(stats.mean == 0);
        check_same_double("std", stats.std, sqrt(130.0 / 6), 1e-15);
        assert_true(stats.quantiles[0] == 1.5 && stats.quantiles[1] == -5);
        assert_true(stats.low == -1 && stats.high == 3);
        assert_int_equal(stats.below, 1);
        assert_int_equal(stats.above, 1);
        assert_int_equal(stats.bins[0], 0);
        assert_int_equal(stats.bins[1], 1);
        assert_int_equal(stats.bins[2], 1);
        assert_int_equal(stats.bins[3], 2);
        st_stats_release(&stats);
        stats_sample_free(&sample);
    }
}

static void test_nothing_finite(void **state)
{
    (void)state;
    const double values[] = {NAN, -INFINITY, NAN, NAN};
    const st_dtype dtypes[] = {ST_F16, ST_F32, ST_F64, ST_C64};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        for (uint64_t count = 0; count <= 4; count += 4) {
            stats_sample sample = sample_of(dtypes[d], values, count);
            st_stats stats = read_stats(&sample, &everything);
            assert_int_equal(stats.finite, 0);
            assert_int_equal(stats.nan, count / 4 * 3);
            assert_int_equal(stats.min.kind, 0);
            assert_int_equal(stats.max.kind, 0);
            assert_true(isnan(stats.mean) && isnan(stats.std));
            assert_true(isnan(stats.quantiles[0]) && isnan(stats.quantiles[7]));
            assert_int_equal(stats.bin_count, 7);
            assert_int_equal(stats.bins[0], 0);
            assert_true(stats.low == 0 && stats.high == 1);
            st_stats_release(&stats);
            stats_sample_free(&sample);
        }
    }
}

/* Integers beyond what a double can tell apart. */
static void test_huge_integers(void **state)
{
    (void)state;
    const double middle[] = {0, 0.5, 1};
    const st_stats_options options = {.quantiles = middle, .quantile_count = 3};
    for (uint64_t count = 5; count <= 20005; count += 20000) {
        stats_sample sample = stats_sample_new(ST_I64, count);
        for (uint64_t i = 0; i < count; i++) {
            st_value value = {.kind = ST_KIND_INT};
            value.as.i = i == 3 ? INT64_MIN + 1 : i == 4 ? INT64_MAX - 1 : (int64_t)i - 3;
            st_element_encode(ST_I64, sample.data, i, &value);
        }
        st_stats stats = read_stats(&sample, &options);
        assert_true(stats.min.kind == ST_KIND_INT && stats.min.as.i == INT64_MIN + 1);
        assert_true(stats.max.as.i == INT64_MAX - 1);
        assert_true(stats.quantiles[0] == -0x1p63 && stats.quantiles[2] == 0x1p63);
        assert_true(stats.quantiles[1] == (count == 5 ? -2 : 10000));
        st_stats_release(&stats);
        stats_sample_free(&sample);

        sample = stats_sample_new(ST_U64, count);
        for (uint64_t i = 0; i < count; i++) {
            st_value value = {.kind = ST_KIND_UINT, .as = {.u = UINT64_MAX - (i * 7919) % count}};
            st_element_encode(ST_U64, sample.data, i, &value);
        }
        stats = read_stats(&sample, &options);
        assert_true(stats.min.as.u == UINT64_MAX - (count - 1) && stats.max.as.u == UINT64_MAX);
        assert_true(stats.quantiles[1] == (double)(UINT64_MAX - count / 2));
        st_stats_release(&stats);
        stats_sample_free(&sample);
    }
}

/* Sums, squares and distances that no double holds. */
static void test_out_of_range_of_double(void **state)
{
    (void)state;
    const double values[] = {DBL_MAX, DBL_MAX, -DBL_MAX, DBL_MAX, DBL_MAX, 0};
    const double places[] = {0.1, 0.9};
    stats_sample sample = sample_of(ST_F64, values, 6);
    st_stats_options options = {.quantiles = places, .quantile_count = 2, .bin_count = 3};
    st_stats stats = read_stats(&sample, &options);
    check_same_double("mean", stats.mean, DBL_MAX / 2, DBL_MAX * 1e-15);
    assert_true(isinf(stats.std));
    check_same_double("quantile", stats.quantiles[0], -DBL_MAX / 2, DBL_MAX * 1e-15);
    assert_true(stats.quantiles[1] == DBL_MAX);
    assert_true(stats.low == -DBL_MAX && stats.high == DBL_MAX);
    assert_int_equal(stats.bins[0], 1);
    assert_int_equal(stats.bins[1], 1);
    assert_int_equal(stats.bins[2], 4);
    st_stats_release(&stats);
    stats_sample_free(&sample);

    /* One point far out, where half a unit is nothing. */
    const double far[] = {DBL_MAX, DBL_MAX};
    sample = sample_of(ST_F64, far, 2);
    stats = read_stats(&sample, &options);
    assert_true(stats.low < stats.high && isfinite(stats.low) && isfinite(stats.high));
    assert_int_equal(stats.bins[0] + stats.bins[1] + stats.bins[2], 2);
    st_stats_release(&stats);
    stats_sample_free(&sample);

    /* A range of a few of the least numbers there are: bins narrower than the numbers' distance. */
    const double least[] = {0, 5e-324, 1e-323, 0};
    sample = sample_of(ST_F64, least, 4);
    options.bin_count = 1000;
    stats = read_stats(&sample, &options);
    assert_true(stats.low == 0 && stats.high == least[2]);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 1000; i++)
        sum += stats.bins[i];
    assert_int_equal(sum, 4);
    assert_int_equal(stats.bins[999], 1);
    st_stats_release(&stats);
    stats_sample_free(&sample);
}

/* -------------------------------------------------------------------------------- regions */

static void test_regions(void **state)
{
    (void)state;
    const char *const texts[] = {":0", "5", "3:9", "::2", "::-3", "100:18000:7", "-17000:"};
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        stats_sample sample = stats_sample_new(dtype, 20000);
        stats_sample_bits(&sample, 9);
        st_file *file = stats_sample_open(&sample, NULL);
        const st_tensor *tensor = stats_sample_tensor(file);
        for (size_t i = 0; i < sizeof texts / sizeof *texts && st_dtype_bits(dtype) % 8 == 0; i++) {
            st_region region;
            st_stats stats;
            CHECK_OK(st_region_parse(&region, NULL, tensor, texts[i], strlen(texts[i]), &error));
            unsigned char *packed = malloc((size_t)region.size + 1);
            CHECK_OK(st_file_read(file, tensor, &region, packed, (size_t)region.size, &error));
            oracle o = oracle_new(dtype, packed, region.count);
            CHECK_OK(st_stats_read(file, tensor, &region, &everything, &stats, &error));
            check_stats(&stats, &o, &everything);
            st_stats_release(&stats);
            oracle_free(&o);
            free(packed);
            st_region_release(&region);
        }
        st_file_close(file);
        stats_sample_free(&sample);
    }
}

/* ------------------------------------------------------------------------------ histograms */

static void test_histogram_range_given(void **state)
{
    (void)state;
    const struct {
        double low, high;
        uint32_t bins;
    } cases[] = {{-1, 1, 10}, {0, 3, 3}, {2, 2, 5}, {-1e30, -1e29, 2}, {-7, 60, 65}, {0.1, 0.7, 6}};
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            for (uint64_t count = 600; count <= 20000; count += 19400) {
                stats_sample sample = stats_sample_new(dtype, count);
                stats_sample_normal(&sample, c % 2 ? 20 : 1);
                st_stats_options options = {
                    .bin_count = cases[c].bins, .low = cases[c].low, .high = cases[c].high};
                check_sample(&sample, &options);
                stats_sample_free(&sample);
            }
        }
    }
}

/* Elements that are edges: tenths, whose multiples are not what is computed for the edges. */
static void test_histogram_edges(void **state)
{
    (void)state;
    stats_sample sample = stats_sample_new(ST_F64, 1001);
    for (uint64_t i = 0; i < 1001; i++) {
        st_value value = {.kind = ST_KIND_FLOAT, .as = {.f = {(double)i * 0.1}}};
        st_element_encode(ST_F64, sample.data, i, &value);
    }
    for (uint32_t bins = 1; bins <= 1000; bins += 111) {
        st_stats_options options = {.bin_count = bins};
        check_sample(&sample, &options);
    }
    stats_sample_free(&sample);
}

/* The range is found in an order of values in which the two zeros are apart. */
static void test_histogram_from_zero(void **state)
{
    (void)state;
    const st_stats_options options = {.bin_count = 4};
    for (uint64_t count = 100; count <= 20000; count += 19900) {
        stats_sample sample = stats_sample_new(ST_F32, count);
        for (uint64_t i = 0; i < count; i++) {
            st_value value = {.kind = ST_KIND_FLOAT, .as = {.f = {(double)(i % 5)}}};
            st_element_encode(ST_F32, sample.data, i, &value);
        }
        st_stats stats = read_stats(&sample, &options);
        assert_true(stats.low == 0 && !signbit(stats.low));
        st_stats_release(&stats);
        stats_sample_free(&sample);
    }
}

/* -------------------------------------------------------------------------------- quantiles */

/* As many as there may be, so that the counters are shared among many intervals. */
static void test_many_quantiles(void **state)
{
    (void)state;
    static double places[1024];
    for (size_t i = 0; i < 1024; i++)
        places[i] = (double)(i * 389 % 1024) / 1023;
    const st_stats_options options = {.quantiles = places, .quantile_count = 1024};
    const st_dtype dtypes[] = {ST_BF16, ST_F32, ST_F64, ST_I32, ST_I64, ST_C64};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        stats_sample sample = stats_sample_new(dtypes[d], 60000);
        stats_sample_bits(&sample, d);
        check_sample(&sample, &options);
        stats_sample_normal(&sample, 1e6);
        check_sample(&sample, &options);
        stats_sample_free(&sample);
    }
}

/* Zeros of both signs, and values that differ in their last bits only. */
static void test_close_values(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        stats_sample sample = stats_sample_new(wide ? ST_F64 : ST_F32, 30000);
        for (uint64_t i = 0; i < sample.count; i++) {
            const double step = wide ? DBL_EPSILON : (double)FLT_EPSILON;
            st_value value = {.kind = ST_KIND_FLOAT};
            value.as.f[0] = i % 3 == 0 ? (i % 2 ? -0.0 : 0.0) : 1 + (double)(i % 5) * step;
            st_element_encode(sample.dtype, sample.data, i, &value);
        }
        check_sample(&sample, &everything);
        stats_sample_free(&sample);
    }
}

/* -------------------------------------------------------------------------------- requests */

static void check_refused(const st_stats_options *options, const char *text)
{
    stats_sample sample = stats_sample_new(ST_F32, 4);
    st_file *file = stats_sample_open(&sample, NULL);
    st_stats stats;
    memset(&stats, 0x55, sizeof stats);
    const st_stats before = stats;
    CHECK_ERR_TEXT(st_stats_read(file, stats_sample_tensor(file), NULL, options, &stats, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, text);
    assert_memory_equal(&stats, &before, sizeof stats);
    st_file_close(file);
    stats_sample_free(&sample);
}

static void test_requests_refused(void **state)
{
    (void)state;
    static const double low[] = {0.5, -0.001}, high[] = {1.0000001}, none[] = {NAN};
    static double many[1025];
    check_refused(&(st_stats_options){.quantiles = low, .quantile_count = 2}, "quantile 1 is");
    check_refused(&(st_stats_options){.quantiles = high, .quantile_count = 1}, "quantile 0 is");
    check_refused(&(st_stats_options){.quantiles = none, .quantile_count = 1}, "quantile 0 is");
    check_refused(&(st_stats_options){.quantiles = many, .quantile_count = 1025}, "1025 quantiles");
    check_refused(&(st_stats_options){.quantile_count = 1}, "1 quantiles in no array");
    check_refused(&(st_stats_options){.bin_count = 65537}, "65537 bins");
    check_refused(&(st_stats_options){.bin_count = 1, .low = 1, .high = 0},
                  "1 to 0; it must be finite, and not fall");
    check_refused(&(st_stats_options){.bin_count = 1, .low = NAN, .high = 0}, "range");
    check_refused(&(st_stats_options){.bin_count = 1, .low = 0, .high = NAN}, "range");
    check_refused(&(st_stats_options){.bin_count = 1, .low = -INFINITY, .high = 0}, "range");
    check_refused(&(st_stats_options){.bin_count = 1, .low = 0, .high = INFINITY}, "range");
    check_refused(&(st_stats_options){.reserved = {[7] = 1}}, "st_stats_options");
}

static void test_most_that_may_be_asked(void **state)
{
    (void)state;
    static double places[1024];
    stats_sample sample = stats_sample_new(ST_I32, 100);
    st_stats_options options = {.quantiles = places, .quantile_count = 1024, .bin_count = 65536};
    st_stats stats = read_stats(&sample, &options);
    assert_int_equal(stats.bin_count, 65536);
    assert_int_equal(stats.bins[32768], 100);
    st_stats_release(&stats);
    stats_sample_free(&sample);
}

static void test_default_options(void **state)
{
    (void)state;
    stats_sample sample = stats_sample_new(ST_F32, 40000);
    stats_sample_normal(&sample, 3);
    oracle o = oracle_new(ST_F32, sample.data, sample.count);
    st_stats stats = read_stats(&sample, NULL);
    check_stats_counts(&stats, &o);
    assert_null(stats.quantiles);
    assert_null(stats.bins);
    assert_int_equal(stats.quantile_count + stats.bin_count, 0);
    assert_true(stats.low == 0 && stats.high == 0);
    st_stats_release(&stats);
    st_stats_release(&stats);
    st_stats_release(NULL);
    oracle_free(&o);
    stats_sample_free(&sample);
}

static void test_unknown_dtype(void **state)
{
    (void)state;
    static const char text[] = "{\"t\":{\"dtype\":\"I4\",\"shape\":[2],\"data_offsets\":[0,1]}}";
    unsigned char bytes[sizeof text + 8] = {sizeof text - 1};
    memcpy(bytes + 8, text, sizeof text);
    st_memory memory = {.data = bytes, .size = sizeof bytes};
    st_open_options options = {.flags = ST_OPEN_UNKNOWN_DTYPES};
    st_file *file;
    st_stats stats;
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    CHECK_ERR_TEXT(st_stats_read(file, stats_sample_tensor(file), NULL, NULL, &stats, &error),
                   ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET, "tensor \"t\"");
    st_file_close(file);
}

static void test_region_of_another_tensor(void **state)
{
    (void)state;
    stats_sample sample = stats_sample_new(ST_F32, 4), other = stats_sample_new(ST_F32, 9);
    st_file *file = stats_sample_open(&sample, NULL), *other_file = stats_sample_open(&other, NULL);
    st_region region;
    st_stats stats;
    CHECK_OK(st_region_parse(&region, NULL, stats_sample_tensor(other_file), "7:", 2, &error));
    CHECK_ERR(st_stats_read(file, stats_sample_tensor(file), &region, NULL, &stats, &error),
              ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_region_release(&region);
    st_file_close(file);
    st_file_close(other_file);
    stats_sample_free(&sample);
    stats_sample_free(&other);
}

/* -------------------------------------------------------------------------------- progress */

typedef struct progress_log {
    uint64_t calls;
    uint64_t done;
    uint64_t total;
    uint64_t stop_at; /* the call that says no; 0: none */
} progress_log;

static bool log_progress(void *ctx, uint64_t done, uint64_t total)
{
    progress_log *log = ctx;
    assert_true(done >= log->done && done <= total);
    log->done = done;
    log->total = total;
    return ++log->calls != log->stop_at;
}

/* Of all readings, to the end; stopped at every call there is. */
static void test_progress(void **state)
{
    (void)state;
    const st_dtype dtypes[] = {ST_BF16, ST_I8, ST_F32, ST_I64};
    const uint64_t readings[] = {1, 1, 2, 2};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        stats_sample sample = stats_sample_new(dtypes[d], 130000);
        stats_sample_bits(&sample, 5);
        st_file *file = stats_sample_open(&sample, NULL);
        const st_tensor *tensor = stats_sample_tensor(file);
        progress_log log = {0};
        st_stats_options options = everything;
        options.progress = (st_progress){log_progress, &log};
        st_stats stats;
        CHECK_OK(st_stats_read(file, tensor, NULL, &options, &stats, &error));
        assert_true(log.calls >= 2);
        assert_int_equal(log.done, log.total);
        assert_int_equal(log.total, readings[d] * sample.data_size);
        st_stats_release(&stats);
        for (uint64_t stop = log.calls; stop > 0; stop--) {
            log = (progress_log){.stop_at = stop};
            CHECK_ERR_TEXT(st_stats_read(file, tensor, NULL, &options, &stats, &error),
                           ST_ERR_STOPPED, ST_NO_OFFSET, "tensor \"t\": stopped");
            assert_int_equal(log.calls, stop);
        }
        st_file_close(file);
        stats_sample_free(&sample);
    }
}

/* A reading is not made that nothing needs: a range that was given, quantiles of a constant. */
static void test_no_needless_reading(void **state)
{
    (void)state;
    stats_sample sample = stats_sample_new(ST_F64, 50000);
    progress_log log = {0};
    st_stats_options options = {.bin_count = 3, .high = 1, .progress = {log_progress, &log}};
    st_stats stats = read_stats(&sample, &options);
    assert_int_equal(log.done, sample.data_size);
    assert_int_equal(log.total, sample.data_size);
    st_stats_release(&stats);
    log = (progress_log){0};
    options = everything;
    options.bin_count = 0;
    options.progress = (st_progress){log_progress, &log};
    stats = read_stats(&sample, &options);
    assert_int_equal(log.done, sample.data_size);
    assert_int_equal(log.total, sample.data_size);
    st_stats_release(&stats);
    stats_sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype_and_size),
        cmocka_unit_test(test_normal_values),
        cmocka_unit_test(test_few_elements),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_complex_of_both),
        cmocka_unit_test(test_nothing_finite),
        cmocka_unit_test(test_huge_integers),
        cmocka_unit_test(test_out_of_range_of_double),
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_histogram_range_given),
        cmocka_unit_test(test_histogram_edges),
        cmocka_unit_test(test_histogram_from_zero),
        cmocka_unit_test(test_many_quantiles),
        cmocka_unit_test(test_close_values),
        cmocka_unit_test(test_requests_refused),
        cmocka_unit_test(test_most_that_may_be_asked),
        cmocka_unit_test(test_default_options),
        cmocka_unit_test(test_unknown_dtype),
        cmocka_unit_test(test_region_of_another_tensor),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_no_needless_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
