/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in order: the same bytes on the caller's thread, with and without others reading ahead, and what
 * failures there are is told when their turn comes. */
#include "io/transfer_sample.h"

#include "base/context.h"

#include <pthread.h>
#include <stdio.h>

typedef struct block_log {
    const unsigned char *want;
    uint64_t size;
    uint64_t done;
    uint64_t calls;
    uint64_t largest;
    uint64_t stop_at; /* the call that says stop */
    pthread_t thread; /* the caller's */
} block_log;

static block_log log_of(const sample *s)
{
    return (block_log){.want = s->want, .size = s->runs.size, .thread = pthread_self()};
}

static st_status block_note(void *ctx, const void *block, size_t size, st_error *error)
{
    block_log *log = ctx;
    assert_true(pthread_equal(log->thread, pthread_self()));
    assert_true(size > 0 && size <= log->size - log->done);
    assert_memory_equal(block, log->want + log->done, size);
    log->done += size;
    assert_true(size % ST__BLOCK_GRAIN == 0 || log->done == log->size);
    if (size > log->largest)
        log->largest = size;
    if (++log->calls != log->stop_at)
        return ST_OK;
    if (error)
        *error = (st_error){.status = ST_ERR_STOPPED, .message = "enough"};
    return ST_ERR_STOPPED;
}

typedef struct block_budget {
    uint32_t threads;
    uint64_t memory;
} block_budget;

static void check_blocks(const sample *s, const block_budget *b, uint32_t latency, bool mapped)
{
    trial t;
    trial_make(&t, s, context_of(b->threads, b->memory));
    trial_way(&t, latency, mapped);
    block_log log = log_of(s);
    CHECK_OK(st__transfer_blocks(&t.transfer, b->threads, block_note, &log, &error));
    assert_int_equal(log.done, s->runs.size);
    if (b->memory >= 2 * ST__BLOCK_GRAIN && !mapped)
        assert_true(log.largest <= b->memory);
    if (b->memory == 0 && latency != ST_LATENCY_NETWORK)
        assert_int_equal(log.calls, (s->runs.size + ST__SCAN_BLOCK - 1) / ST__SCAN_BLOCK);
    if (b->threads == 1 && !mapped)
        assert_int_equal(t.plant.most_in_flight, 1);
    trial_drop(&t);
}

static void test_blocks(void **state)
{
    (void)state;
    static const block_budget budgets[] = {
        {1, 0}, {2, 0}, {3, 0}, {4, 0},       {5, 0},       {6, 0},       {7, 0},
        {8, 0}, {4, 1}, {1, 1}, {4, 192},     {4, 100000},  {1, 100000},  {4, 800000},
        {1, 9}, {2, 9}, {8, 9}, {4, 2 << 20}, {8, 3 << 20}, {8, 5 << 20}, {3, 700000},
    };
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        for (size_t k = 0; k < sizeof budgets / sizeof *budgets; k++) {
            /* Tiny budgets make many reads: once on the small cases is enough. */
            if (budgets[k].memory > 0 && budgets[k].memory < 200 && s.runs.size > 300000)
                continue;
            check_blocks(&s, &budgets[k], ST_LATENCY_LOCAL, false);
            check_blocks(&s, &budgets[k], ST_LATENCY_NETWORK, false);
            check_blocks(&s, &budgets[k], ST_LATENCY_MEMORY, true);
        }
        sample_drop(&s);
    }
}

static void test_nothing(void **state)
{
    (void)state;
    sample s;
    trial t;
    sample_make(&s, &slice_cases[0]);
    s.runs.size = 0;
    trial_make(&t, &s, NULL);
    for (int mapped = 0; mapped < 2; mapped++) {
        trial_way(&t, ST_LATENCY_LOCAL, mapped);
        block_log log = log_of(&s);
        CHECK_OK(st__transfer_blocks(&t.transfer, 4, block_note, &log, &error));
        assert_int_equal(log.calls, 0);
    }
    assert_int_equal(t.plant.reads, 0);
    trial_drop(&t);
    sample_drop(&s);
}

/* Not more reads at once than the source wants, and still others than the caller's thread. */
static void test_blocks_parallelism(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0]);
    for (uint32_t parallelism = 1; parallelism < 4; parallelism++) {
        trial t;
        trial_make(&t, &s, NULL);
        t.info.parallelism = parallelism;
        trial_route(&t);
        block_log log = log_of(&s);
        CHECK_OK(st__transfer_blocks(&t.transfer, 4, block_note, &log, &error));
        assert_int_equal(log.done, s.runs.size);
        assert_in_range(t.plant.most_in_flight, 1, parallelism);
        trial_drop(&t);
    }
    sample_drop(&s);
}

/* A consumer that says stop at its n-th block gets n blocks, whatever was read ahead. */
static void test_blocks_stopped(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0]);
    uint64_t blocks = (s.runs.size + ST__SCAN_BLOCK - 1) / ST__SCAN_BLOCK;
    for (uint64_t n = 1; n <= blocks; n++) {
        for (uint32_t k = 0; k < 3; k++) {
            trial t;
            trial_make(&t, &s, NULL);
            /* What cannot be read lies behind. */
            t.plant.bad[0] = OFFSET + n * ST__SCAN_BLOCK + 5;
            trial_way(&t, ST_LATENCY_LOCAL, k == 2);
            block_log log = log_of(&s);
            log.stop_at = n;
            CHECK_ERR_TEXT(st__transfer_blocks(&t.transfer, k ? 4 : 1, block_note, &log, &error),
                           ST_ERR_STOPPED, 0, "enough");
            assert_int_equal(log.calls, n);
            trial_drop(&t);
        }
    }
    sample_drop(&s);
}

/* The offset in the source of byte `at` of what is delivered. */
static uint64_t origin_of(const sample *s, uint64_t at)
{
    st__cursor cursor;
    st__run run;
    CHECK_OK(st__cursor_init(&cursor, &s->runs, at, &error));
    assert_true(st__cursor_next(&cursor, 1, &run));
    st__cursor_release(&cursor);
    return OFFSET + run.offset;
}

/* A block that cannot be read is told when all before it were delivered, whatever is wrong behind it. */
static void check_unreadable(const sample *s, uint64_t n, uint32_t threads)
{
    uint64_t blocks = (s->runs.size + ST__SCAN_BLOCK - 1) / ST__SCAN_BLOCK;
    trial t;
    trial_make(&t, s, NULL);
    t.plant.bad[0] = origin_of(s, n * ST__SCAN_BLOCK);
    t.plant.bad[1] = n + 1 < blocks ? origin_of(s, (n + 1) * ST__SCAN_BLOCK) : 0;
    block_log log = log_of(s);
    CHECK_ERR(st__transfer_blocks(&t.transfer, threads, block_note, &log, &error), ST_ERR_IO,
              t.plant.bad[0]);
    assert_int_equal(log.done, n * ST__SCAN_BLOCK);
    log = log_of(s);
    assert_int_equal(st__transfer_blocks(&t.transfer, threads, block_note, &log, NULL), ST_ERR_IO);
    trial_drop(&t);
}

static void test_blocks_unreadable(void **state)
{
    (void)state;
    static const size_t cases[] = {0, 2}; /* read into place, and through staging */
    for (size_t i = 0; i < 2; i++) {
        sample s;
        sample_make(&s, &slice_cases[cases[i]]);
        for (uint64_t n = 0; n * ST__SCAN_BLOCK < s.runs.size; n++)
            for (uint32_t threads = 1; threads <= 4; threads++)
                check_unreadable(&s, n, threads);
        sample_drop(&s);
    }
}

static st_status run_blocks(const st__transfer *transfer, const sample *s)
{
    block_log log = log_of(s);
    uint32_t threads = st__context_threads(transfer->context);
    st_status status = st__transfer_blocks(transfer, threads, block_note, &log, NULL);
    if (status == ST_OK)
        assert_int_equal(log.done, log.size);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    check_out_of_memory(run_blocks);
    check_out_of_memory_together(run_blocks);
}

/* Notes how much was wanted where memory is refused. */
typedef struct refusing {
    tally memory;
    atomic_size_t refused;
} refusing;

static void *refusing_alloc(void *ctx, size_t size)
{
    refusing *r = ctx;
    void *memory = tally_alloc(&r->memory, size);
    if (!memory)
        atomic_store(&r->refused, size);
    return memory;
}

static void refusing_free(void *ctx, void *memory, size_t size)
{
    tally_free(&((refusing *)ctx)->memory, memory, size);
}

/* What is told is what was wanted, whichever allocation it was. Gives how many there are, and one. */
static uint64_t check_told(const sample *s)
{
    uint64_t n = 0;
    for (bool refused = true; refused;) {
        refusing r = {.memory = {.fail_at = 0}};
        st_allocator allocator = {refusing_alloc, tally_realloc, refusing_free, &r};
        st_context_options options = {.allocator = &allocator, .max_threads = 4};
        st_context *context;
        CHECK_OK(st_context_new(&options, &context, &error));
        r.memory.fail_at = atomic_load(&r.memory.calls) + ++n;
        trial t;
        trial_make(&t, s, context);
        block_log log = log_of(s);
        st_error said = {.status = ST_OK};
        st_status status = st__transfer_blocks(&t.transfer, 4, block_note, &log, &said);
        refused = atomic_load(&r.refused) > 0;
        assert_int_equal(status, refused ? ST_ERR_NOMEM : ST_OK);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "out of memory: %zu bytes", atomic_load(&r.refused));
        assert_true(!refused || strstr(said.message, wanted));
        trial_drop(&t);
    }
    return n;
}

static void test_out_of_memory_told(void **state)
{
    (void)state;
    uint64_t most = 0;
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        uint64_t n = check_told(&s);
        most = n > most ? n : most;
        sample_drop(&s);
    }
    assert_true(most > 3); /* with blocks, readers and threads */
}

/* Blocks and staging stay within the budget, but for what little there must be. */
static void test_memory_bound(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {300000, 800000, 1 << 20, 3 << 20, 6 << 20, 64 << 20};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        for (size_t k = 0; k < sizeof budgets / sizeof *budgets; k++) {
            uint64_t budget = budgets[k];
            uint64_t limit = (budget < 1000000 ? budget * 3 / 2 : budget) + 65536;
            uint64_t local = memory_peak(&s, 8, budget, ST_LATENCY_LOCAL, run_blocks);
            assert_in_range(local, 1, limit);
            assert_in_range(memory_peak(&s, 8, budget, ST_LATENCY_NETWORK, run_blocks), 1, limit);
            if (budget == 64 << 20)
                assert_in_range(local, 1, 6 << 20);
        }
        sample_drop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_blocks_parallelism),
        cmocka_unit_test(test_blocks_stopped),
        cmocka_unit_test(test_blocks_unreadable),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_out_of_memory_told),
        cmocka_unit_test(test_memory_bound),
    };
    return cmocka_run_group_tests_name("transfer_blocks", tests, data_make, data_drop);
}
