/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in any order on several threads: each block once, the same blocks whatever the threads, and the
 * failure of the lowest block told. */
#include "io/transfer_sample.h"
#include "support/oom.h"

#include <pthread.h>

#define BLOCKS_MAX 64u

/* What the consumer saw. It runs on many threads, so faults are counted and asserted on at the end. */
typedef struct scan_log {
    const unsigned char *want;
    uint64_t size;
    uint64_t stop_from; /* blocks from this offset on are refused */
    uint32_t workers;
    pthread_t thread; /* the caller's */
    atomic_uint faults;
    atomic_uint refused;
    atomic_uint seen[BLOCKS_MAX];
    atomic_bool busy[64]; /* by worker */
} scan_log;

static void log_init(scan_log *log, const sample *s, const st__transfer *t)
{
    memset(log, 0, sizeof *log);
    log->want = s->want;
    log->size = s->runs.size;
    log->stop_from = UINT64_MAX;
    log->workers = st__transfer_workers(t);
    log->thread = pthread_self();
    assert_in_range(log->workers, 1, 64);
    assert_true(log->size / ST__SCAN_BLOCK < BLOCKS_MAX);
}

static bool is_right(const scan_log *log, uint32_t worker, uint64_t offset, size_t size)
{
    if (worker >= log->workers || offset % ST__SCAN_BLOCK || offset >= log->size)
        return false;
    if ((pthread_equal(log->thread, pthread_self()) != 0) != (worker == 0))
        return false;
    uint64_t rest = log->size - offset;
    return size == (rest < ST__SCAN_BLOCK ? rest : ST__SCAN_BLOCK);
}

static st_status scan_note(void *ctx, uint32_t worker, uint64_t offset, const void *block,
                           size_t size, st_error *error)
{
    scan_log *log = ctx;
    if (!is_right(log, worker, offset, size)) {
        atomic_fetch_add(&log->faults, 1);
        return ST_OK;
    }
    atomic_fetch_add(&log->faults, atomic_exchange(&log->busy[worker], true));
    atomic_fetch_add(&log->faults, memcmp(block, log->want + offset, size) != 0);
    atomic_fetch_add(&log->seen[offset / ST__SCAN_BLOCK], 1);
    atomic_store(&log->busy[worker], false);
    if (offset < log->stop_from)
        return ST_OK;
    atomic_fetch_add(&log->refused, 1);
    if (error)
        *error = (st_error){ST_ERR_STOPPED, 0, offset, "refused"};
    return ST_ERR_STOPPED;
}

/* Every block below byte `to` was seen once, and none was seen twice or wrong. */
static void check_seen(const scan_log *log, uint64_t to)
{
    assert_int_equal(log->faults, 0);
    for (uint64_t i = 0; i < BLOCKS_MAX; i++) {
        assert_true(log->seen[i] <= 1);
        if (i * ST__SCAN_BLOCK < to)
            assert_int_equal(log->seen[i], 1);
    }
}

static void check_scan(const sample *s, uint32_t threads, uint64_t memory, const st__transfer *how)
{
    plant_source plant = {.bad = {0, 0}};
    st_source *source = plant_open(&plant);
    st_context *context = context_of(threads, memory);
    st__transfer t = transfer_of(source, s, context);
    t.latency = how->latency;
    t.memory = how->memory;
    scan_log log;
    log_init(&log, s, &t);
    assert_in_range(log.workers, 1, threads);
    bool stopped = true;
    CHECK_OK(st__transfer_scan(&t, &(st__consumer){scan_note, &log}, &stopped, &error));
    assert_false(stopped);
    check_seen(&log, s->runs.size);
    if (t.memory)
        assert_int_equal(plant.reads, 0);
    if (threads == 1 && !t.memory)
        assert_int_equal(plant.most_in_flight, 1);
    st_context_release(context);
    st_source_release(source);
}

static void test_scan(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {0, 1, 100000, 2 << 20};
    const st__transfer ways[] = {{.latency = ST_LATENCY_LOCAL},
                                 {.latency = ST_LATENCY_NETWORK},
                                 {.latency = ST_LATENCY_MEMORY, .memory = data + OFFSET}};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i], NULL);
        for (uint32_t threads = 1; threads <= 8; threads++)
            for (size_t k = 0; k < 12; k++)
                if (budgets[k / 3] == 0 || threads % 3 == 1)
                    check_scan(&s, threads, budgets[k / 3], &ways[k % 3]);
        sample_drop(&s);
    }
}

static void test_scan_nothing(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    plant_source plant = {.bad = {0, 0}};
    st_source *source = plant_open(&plant);
    s.runs.size = 0;
    st__transfer t = transfer_of(source, &s, NULL);
    scan_log log;
    log_init(&log, &s, &t);
    bool stopped = true;
    CHECK_OK(st__transfer_scan(&t, &(st__consumer){scan_note, &log}, &stopped, &error));
    assert_false(stopped);
    check_seen(&log, 0);
    assert_int_equal(plant.reads, 0);
    st_source_release(source);
    sample_drop(&s);
}

/* Few large reads where each is a trip; as many at once as the source wants. */
static void test_scan_reads(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    for (uint32_t parallelism = 1; parallelism < 4; parallelism++) {
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        st_context *context = context_of(4, 0);
        st__transfer t = transfer_of(source, &s, context);
        t.latency = ST_LATENCY_NETWORK;
        t.parallelism = parallelism;
        scan_log log;
        log_init(&log, &s, &t);
        bool stopped;
        CHECK_OK(st__transfer_scan(&t, &(st__consumer){scan_note, &log}, &stopped, &error));
        check_seen(&log, s.runs.size);
        assert_in_range(plant.reads, 3, 3);
        assert_in_range(plant.most_in_flight, 1, parallelism);
        st_context_release(context);
        st_source_release(source);
    }
    sample_drop(&s);
}

/* Memory that has the bytes as they are wanted is shown to the consumer itself. */
static st_status address_check(void *ctx, uint32_t worker, uint64_t offset, const void *block,
                               size_t size, st_error *error)
{
    atomic_uint *faults = ctx;
    (void)worker;
    (void)size;
    (void)error;
    atomic_fetch_add(faults, block != data + OFFSET + offset);
    return ST_OK;
}

static void test_scan_direct(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    plant_source plant = {.bad = {0, 0}};
    st_source *source = plant_open(&plant);
    tally memory = {.fail_at = 0};
    st_context *context = tally_context(&memory, 4, 0);
    st__transfer t = transfer_of(source, &s, context);
    t.memory = data + OFFSET;
    atomic_uint faults = 0;
    bool stopped;
    CHECK_OK(st__transfer_scan(&t, &(st__consumer){address_check, &faults}, &stopped, &error));
    assert_int_equal(faults, 0);
    assert_in_range(atomic_load(&memory.peak), 0, ST__SCAN_BLOCK / 4);
    st_context_release(context);
    st_source_release(source);
    sample_drop(&s);
}

/* A consumer that refuses all from block n on: block n is told, those before it have come, and each thread
 * is refused no more than once. */
static void test_scan_stopped(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    for (uint64_t at = 0; at < s.runs.size; at += ST__SCAN_BLOCK) {
        for (uint32_t k = 0; k < 4; k++) {
            plant_source plant = {.bad = {OFFSET + at + ST__SCAN_BLOCK + 7, 0}};
            st_source *source = plant_open(&plant);
            st_context *context = context_of(k == 0 ? 1 : 4, 0);
            st__transfer t = transfer_of(source, &s, context);
            t.memory = k == 2 ? data + OFFSET : NULL;
            scan_log log;
            log_init(&log, &s, &t);
            log.stop_from = at;
            bool stopped = false;
            const st__consumer consumer = {scan_note, &log};
            CHECK_ERR_TEXT(st__transfer_scan(&t, &consumer, &stopped, &error), ST_ERR_STOPPED, at,
                           "refused");
            assert_true(stopped);
            check_seen(&log, at);
            assert_in_range(log.refused, 1, log.workers);
            log_init(&log, &s, &t);
            log.stop_from = at;
            assert_int_equal(st__transfer_scan(&t, &consumer, &stopped, NULL), ST_ERR_STOPPED);
            st_context_release(context);
            st_source_release(source);
        }
    }
    sample_drop(&s);
}

/* Two blocks cannot be read: the lower one is told, and all before it have come. */
static void test_scan_unreadable(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    for (uint64_t at = 0; at < s.runs.size; at += ST__SCAN_BLOCK) {
        for (uint32_t threads = 1; threads <= 4; threads++) {
            uint64_t bad = OFFSET + at + 100;
            plant_source plant = {.bad = {bad, bad + ST__SCAN_BLOCK}};
            st_source *source = plant_open(&plant);
            st_context *context = context_of(threads, 0);
            st__transfer t = transfer_of(source, &s, context);
            scan_log log;
            log_init(&log, &s, &t);
            log.stop_from = at + ST__SCAN_BLOCK;
            bool stopped = true;
            const st__consumer consumer = {scan_note, &log};
            CHECK_ERR(st__transfer_scan(&t, &consumer, &stopped, &error), ST_ERR_IO, bad);
            assert_false(stopped);
            check_seen(&log, at);
            st_context_release(context);
            st_source_release(source);
        }
    }
    sample_drop(&s);
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
            scan_log log;
            log_init(&log, &s, &t);
            bool stopped = true;
            status = st__transfer_scan(&t, &(st__consumer){scan_note, &log}, &stopped, NULL);
            assert_false(stopped);
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
            scan_log log;
            log_init(&log, &s, &t);
            bool stopped = true;
            st_status status =
                st__transfer_scan(&t, &(st__consumer){scan_note, &log}, &stopped, NULL);
            refused = atomic_load(&memory.calls) >= n;
            assert_int_equal(status, refused ? ST_ERR_NOMEM : ST_OK);
            assert_false(stopped);
            assert_int_equal(atomic_load(&memory.out), 0);
            st_context_release(context);
        }
        st_source_release(source);
        sample_drop(&s);
    }
}

/* Blocks and staging stay within the budget, but for the one block that there must be. */
static void test_memory_bound(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {1, 800000, 3 << 20, 64 << 20};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        for (size_t k = 0; k < 8; k++) {
            tally memory = {.fail_at = 0};
            uint64_t budget = budgets[k / 2];
            st_context *context = tally_context(&memory, 8, budget);
            plant_source plant = {.bad = {0, 0}};
            st_source *source = plant_open(&plant);
            sample s;
            sample_make(&s, &slice_cases[i], NULL);
            st__transfer t = transfer_of(source, &s, context);
            t.latency = k % 2 ? ST_LATENCY_NETWORK : ST_LATENCY_LOCAL;
            scan_log log;
            log_init(&log, &s, &t);
            bool stopped;
            CHECK_OK(st__transfer_scan(&t, &(st__consumer){scan_note, &log}, &stopped, &error));
            uint64_t least = ST__SCAN_BLOCK + (budget < 524288 ? budget : 524288);
            uint64_t limit = budget > least ? budget : least;
            assert_in_range(atomic_load(&memory.peak), 1, limit + 131072);
            sample_drop(&s);
            st_source_release(source);
            st_context_release(context);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),          cmocka_unit_test(test_scan_nothing),
        cmocka_unit_test(test_scan_reads),    cmocka_unit_test(test_scan_direct),
        cmocka_unit_test(test_scan_stopped),  cmocka_unit_test(test_scan_unreadable),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_out_of_memory_together),
        cmocka_unit_test(test_memory_bound),
    };
    return cmocka_run_group_tests_name("transfer_scan", tests, data_make, data_drop);
}
