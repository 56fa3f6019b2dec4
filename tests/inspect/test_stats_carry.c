/* SPDX-License-Identifier: Apache-2.0 */
/* Counters that would overflow: those of 32 bits are carried over early, so that a small tensor shows it. */
#define COUNTERS_CARRY_AT 100000u
#include "inspect/stats_values.c"

#include "inspect/stats_sample.h"

static const double probabilities[] = {0, 0.3, 0.5, 1};

static void test_carried_counters(void **state)
{
    (void)state;
    const st_stats_options options = {.quantiles = probabilities, .quantile_count = 4};
    const st_dtype dtypes[] = {ST_BF16, ST_U8, ST_F4, ST_F6_E3M2, ST_F32, ST_U64};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        stats_sample sample = stats_sample_new(dtypes[d], 1000000);
        stats_sample_normal(&sample, 10);
        oracle o = oracle_new(dtypes[d], sample.data, sample.count);
        st_file *file = stats_sample_open(&sample, NULL);
        st_stats stats;
        CHECK_OK(st_stats_read(file, stats_sample_tensor(file), NULL, &options, &stats, &error));
        check_stats(&stats, &o, &options);
        st_stats_release(&stats);
        st_file_close(file);
        oracle_free(&o);
        stats_sample_free(&sample);
    }
}

/* Nothing is lost at the moment of carrying, and a table that cannot overflow has nothing to carry to. */
static void test_when_counters_are_carried(void **state)
{
    (void)state;
    st__counters counters = {0};
    assert_true(st__counters_init(&counters, NULL, 2, COUNTERS_CARRY_AT));
    assert_null(counters.carried);
    st__counters_release(&counters, NULL);
    assert_true(st__counters_init(&counters, NULL, 2, COUNTERS_CARRY_AT + 1));
    st__counters_expect(&counters, COUNTERS_CARRY_AT);
    counters.counts[1] = COUNTERS_CARRY_AT;
    assert_int_equal(counters.carried[1], 0);
    st__counters_expect(&counters, 1);
    assert_int_equal(counters.counts[1], 0);
    counters.counts[1]++;
    assert_int_equal(st__counters_at(&counters, 1), COUNTERS_CARRY_AT + 1);
    assert_int_equal(st__counters_at(&counters, 0), 0);
    st__counters_release(&counters, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_carried_counters),
        cmocka_unit_test(test_when_counters_are_carried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
