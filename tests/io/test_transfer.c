/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: whatever the strategy, the threads and the budget, the same bytes arrive. What the runs
 * are is proven by format.region; here they are the oracle. */
#include "io/transfer_sample.h"
#include "support/oom.h"

/* ------------------------------------------------------------------------------------- tests */

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
        sample s;
        sample_make(&s, &slice_cases[i], NULL);
        for (size_t k = 0; k < 16; k++) {
            plant_source plant = {.bad = {0, 0}};
            st_source *source = plant_open(&plant);
            st_context *context = context_of(budgets[k / 4].threads, budgets[k / 4].memory);
            st__transfer t = transfer_of(source, &s, context);
            t.latency = latencies[k % 4];
            /* Every distance between the pages of destination and source. */
            unsigned char *got = s.got + (k * 5) % 64;
            memset(s.got, 0, s.runs.size + 64);
            CHECK_OK(st__transfer_read(&t, got, &error));
            assert_memory_equal(got, s.want, s.runs.size);
            if (k == 0 && slice_cases[i].most_reads) {
                print_message("%s: %u reads\n", slice_cases[i].text, (unsigned)plant.reads);
                assert_in_range(plant.reads, slice_cases[i].least_reads, slice_cases[i].most_reads);
            }
            if (budgets[k / 4].threads == 1)
                assert_int_equal(plant.most_in_flight, 1);
            t.memory = data + OFFSET;
            memset(s.got, 0, s.runs.size + 64);
            CHECK_OK(st__transfer_read(&t, got, &error));
            assert_memory_equal(got, s.want, s.runs.size);
            st_context_release(context);
            st_source_release(source);
        }
        sample_drop(&s);
    }
}

/* Copies to a few bytes ahead of the source, modulo a page, take a detour that changes nothing. */
static void test_phases(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    unsigned char *block = malloc(s.runs.size + 8192);
    for (unsigned ahead = 0; ahead < 20; ahead++) {
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        st__transfer t = transfer_of(source, &s, NULL);
        uintptr_t at = ((uintptr_t)block + 4095) / 4096 * 4096;
        unsigned char *got = block + (at - (uintptr_t)block) + (OFFSET + ahead) % 4096;
        CHECK_OK(st__transfer_read(&t, got, &error));
        assert_memory_equal(got, s.want, s.runs.size);
        st_source_release(source);
    }
    free(block);
    sample_drop(&s);
}

/* One read at a time where the source asks for it, whatever the context would allow. */
static void test_parallelism(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    plant_source plant = {.bad = {0, 0}};
    st_source *source = plant_open(&plant);
    st_context *context = context_of(4, 0);
    st__transfer t = transfer_of(source, &s, context);
    t.parallelism = 1;
    CHECK_OK(st__transfer_read(&t, s.got, &error));
    assert_int_equal(plant.most_in_flight, 1);
    st_context_release(context);
    st_source_release(source);
    sample_drop(&s);
}

/* Of two failures the lower one is told, however the threads run. */
static void test_first_failure(void **state)
{
    (void)state;
    static const size_t cases[] = {0, 8};
    for (size_t i = 0; i < 2; i++) {
        sample s;
        sample_make(&s, &slice_cases[cases[i]], NULL);
        for (int round = 0; round < 40; round++) {
            uint64_t low = OFFSET + 100 + (s.tensor.end / 64) * (uint64_t)round / 131072 * 131072;
            plant_source plant = {.bad = {low, OFFSET + s.tensor.end / 64 * 63 + 100}};
            st_source *source = plant_open(&plant);
            st_context *context = context_of(4, 0);
            st__transfer t = transfer_of(source, &s, context);
            CHECK_ERR(st__transfer_read(&t, s.got, &error), ST_ERR_IO, low);
            assert_int_equal(st__transfer_read(&t, s.got, NULL), ST_ERR_IO);
            st_context_release(context);
            st_source_release(source);
        }
        sample_drop(&s);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLICE_CASES; i++) {
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        ST_OOM_LOOP(context, status)
        {
            sample s;
            sample_make(&s, &slice_cases[i], NULL);
            st__transfer t = transfer_of(source, &s, context);
            status = st__transfer_read(&t, s.got, NULL);
            sample_drop(&s);
        }
        st_source_release(source);
    }
}

/* The same with threads: which one is refused is chance, not what comes of it. */
static void test_out_of_memory_together(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i], NULL);
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        bool refused = true;
        for (uint64_t n = 1; refused; n++) {
            tally memory = {.fail_at = n};
            st_context *context = tally_context(&memory, 4, 0);
            st__transfer t = transfer_of(source, &s, context);
            st_status status = st__transfer_read(&t, s.got, NULL);
            refused = atomic_load(&memory.calls) >= n;
            assert_int_equal(status, refused ? ST_ERR_NOMEM : ST_OK);
            assert_int_equal(atomic_load(&memory.out), 0);
            st_context_release(context);
        }
        assert_memory_equal(s.got, s.want, s.runs.size);
        st_source_release(source);
        sample_drop(&s);
    }
}

/* Staging stays within the budget, whatever is read. */
static void test_memory_bound(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLICE_CASES; i++) {
        oom_allocator oom = {0};
        st_context *context = oom_context_new(&oom);
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        sample s;
        sample_make(&s, &slice_cases[i], NULL);
        st__transfer t = transfer_of(source, &s, context);
        CHECK_OK(st__transfer_read(&t, s.got, &error));
        assert_true(oom.peak <= (1u << 20));
        sample_drop(&s);
        st_source_release(source);
        st_context_release(context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strategies),    cmocka_unit_test(test_phases),
        cmocka_unit_test(test_parallelism),   cmocka_unit_test(test_first_failure),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_out_of_memory_together),
        cmocka_unit_test(test_memory_bound),
    };
    return cmocka_run_group_tests_name("transfer", tests, data_make, data_drop);
}
