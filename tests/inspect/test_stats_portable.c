/* SPDX-License-Identifier: Apache-2.0 */
/* What a processor without kernels computes. */
#undef ST_NO_SIMD
#define ST_NO_SIMD
#include "inspect/stats_kernels.c"

#include "inspect/stats_sample.h"

static const double probabilities[] = {0, 0.3, 0.5, 1};

static const st_stats_options everything = {
    .quantiles = probabilities, .quantile_count = 4, .bin_count = 20};
static const st_stats_options nothing = {0};

static void check_sample(const stats_sample *sample)
{
    oracle o = oracle_new(sample->dtype, sample->data, sample->count);
    st_file *file = stats_sample_open(sample, NULL);
    const st_stats_options *ways[] = {&everything, &nothing};
    for (size_t i = 0; i < 2; i++) {
        st_stats stats;
        CHECK_OK(st_stats_read(file, stats_sample_tensor(file), NULL, ways[i], &stats, &error));
        check_stats(&stats, &o, ways[i]);
        st_stats_release(&stats);
    }
    st_file_close(file);
    oracle_free(&o);
}

static void test_portable(void **state)
{
    (void)state;
    assert_ptr_equal(st__kernels_here(), &st__kernels_portable);
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        for (uint64_t count = 400; count <= 100400; count += 100000) {
            stats_sample sample = stats_sample_new(dtype, count);
            stats_sample_bits(&sample, count);
            check_sample(&sample);
            stats_sample_normal(&sample, 30);
            check_sample(&sample);
            stats_sample_free(&sample);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_portable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
