/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: whatever the strategy, the threads and the budget, the same bytes arrive. What the runs
 * are is proven by format.region; here they are the oracle. */
#include "io/transfer_sample.h"

static void check_read(const st__transfer *transfer, const sample *s, unsigned char *got)
{
    memset(s->got, 0, s->runs.size + 64);
    CHECK_OK(st__transfer_read(transfer, got, &error));
    assert_memory_equal(got, s->want, s->runs.size);
}

/* Every case, by every latency, several thread counts and budgets, and out of memory. */
static void test_strategies(void **state)
{
    (void)state;
    static const uint32_t latencies[] = {ST_LATENCY_LOCAL, ST_LATENCY_UNKNOWN, ST_LATENCY_MEMORY,
                                         ST_LATENCY_NETWORK};
    static const struct {
        uint32_t threads;
        uint64_t memory;
    } budgets[] = {{1, 0}, {4, 0}, {3, 20000}, {1, 1}};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        const slice_case *c = &slice_cases[i];
        sample s;
        sample_make(&s, c);
        for (size_t k = 0; k < 16; k++) {
            trial t;
            trial_make(&t, &s, context_of(budgets[k / 4].threads, budgets[k / 4].memory));
            trial_way(&t, latencies[k % 4], false);
            /* Every distance between the pages of destination and source. */
            unsigned char *got = s.got + (k * 5) % 64;
            check_read(&t.transfer, &s, got);
            if (k == 0 && c->most_reads) {
                print_message("%s: %u reads\n", c->text, (unsigned)t.plant.reads);
                assert_in_range(t.plant.reads, c->least_reads, c->most_reads);
            }
            if (budgets[k / 4].threads == 1)
                assert_int_equal(t.plant.most_in_flight, 1);
            trial_way(&t, ST_LATENCY_MEMORY, true);
            check_read(&t.transfer, &s, got);
            trial_drop(&t);
        }
        sample_drop(&s);
    }
}

/* Copies to a few bytes ahead of the source, modulo a page, take a detour that changes nothing. */
static void test_phases(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0]);
    unsigned char *block = malloc(s.runs.size + 8192);
    for (unsigned ahead = 0; ahead < 20; ahead++) {
        trial t;
        trial_make(&t, &s, NULL);
        uintptr_t at = ((uintptr_t)block + 4095) / 4096 * 4096;
        unsigned char *got = block + (at - (uintptr_t)block) + (OFFSET + ahead) % 4096;
        CHECK_OK(st__transfer_read(&t.transfer, got, &error));
        assert_memory_equal(got, s.want, s.runs.size);
        trial_drop(&t);
    }
    free(block);
    sample_drop(&s);
}

/* One read at a time where the source asks for it, whatever the context would allow. */
static void test_parallelism(void **state)
{
    (void)state;
    sample s;
    trial t;
    sample_make(&s, &slice_cases[0]);
    trial_make(&t, &s, context_of(4, 0));
    t.info.parallelism = 1;
    trial_route(&t);
    CHECK_OK(st__transfer_read(&t.transfer, s.got, &error));
    assert_int_equal(t.plant.most_in_flight, 1);
    trial_drop(&t);
    sample_drop(&s);
}

/* Of two failures the lower one is told, however the threads run. */
static void test_first_failure(void **state)
{
    (void)state;
    static const size_t cases[] = {0, 8};
    for (size_t i = 0; i < 2; i++) {
        sample s;
        sample_make(&s, &slice_cases[cases[i]]);
        for (int round = 0; round < 40; round++) {
            trial t;
            trial_make(&t, &s, context_of(4, 0));
            t.plant.bad[0] = OFFSET + 100 + (s.tensor.end / 64) * (uint64_t)round / 131072 * 131072;
            t.plant.bad[1] = OFFSET + s.tensor.end / 64 * 63 + 100;
            CHECK_ERR(st__transfer_read(&t.transfer, s.got, &error), ST_ERR_IO, t.plant.bad[0]);
            assert_int_equal(st__transfer_read(&t.transfer, s.got, NULL), ST_ERR_IO);
            trial_drop(&t);
        }
        sample_drop(&s);
    }
}

static st_status run_read(const st__transfer *transfer, const sample *s)
{
    st_status status = st__transfer_read(transfer, s->got, NULL);
    if (status == ST_OK)
        assert_memory_equal(s->got, s->want, s->runs.size);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    check_out_of_memory(run_read);
    check_out_of_memory_together(run_read);
}

/* Staging stays within the budget, whatever is read. */
static void test_memory_bound(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        assert_true(memory_peak(&s, 1, 0, ST_LATENCY_LOCAL, run_read) <= (1u << 20));
        sample_drop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strategies),    cmocka_unit_test(test_phases),
        cmocka_unit_test(test_parallelism),   cmocka_unit_test(test_first_failure),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_memory_bound),
    };
    return cmocka_run_group_tests_name("transfer", tests, data_make, data_drop);
}
