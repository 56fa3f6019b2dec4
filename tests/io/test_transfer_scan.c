/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in any order on several threads: each block once, the same blocks whatever the threads, and the
 * failure of the lowest block told. */
#include "io/transfer_sample.h"

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

/* A scan of a trial's, whose consumer refuses all from byte `stop_from` on. */
static st_status scan_all(trial *t, const sample *s, scan_log *log, uint64_t stop_from,
                          bool *stopped, st_error *error)
{
    log_init(log, s, &t->transfer);
    log->stop_from = stop_from;
    return st__transfer_scan(&t->transfer, &(st__consumer){scan_note, log, 0}, stopped, error);
}

/* Everything comes. */
static void check_scans(trial *t, const sample *s, scan_log *log)
{
    bool stopped = true;
    CHECK_OK(scan_all(t, s, log, UINT64_MAX, &stopped, &error));
    assert_false(stopped);
    check_seen(log, s->runs.size);
}

/* A consumer that has room for one worker is called by the caller's thread alone. */
static void check_one_worker(trial *t, const sample *s, scan_log *log)
{
    bool stopped = true;
    log_init(log, s, &t->transfer);
    log->stop_from = UINT64_MAX;
    log->workers = 1;
    CHECK_OK(st__transfer_scan(&t->transfer, &(st__consumer){scan_note, log, 1}, &stopped, &error));
    assert_false(stopped);
    check_seen(log, s->runs.size);
}

static void check_scan(const sample *s, uint32_t threads, uint64_t memory, uint32_t latency)
{
    trial t;
    scan_log log;
    trial_make(&t, s, context_of(threads, memory));
    const bool mapped = latency == ST_LATENCY_MEMORY;
    trial_way(&t, latency, mapped);
    check_scans(&t, s, &log);
    assert_in_range(log.workers, 1, threads);
    check_one_worker(&t, s, &log);
    if (mapped)
        assert_int_equal(t.plant.reads, 0);
    if (threads == 1 && !mapped)
        assert_int_equal(t.plant.most_in_flight, 1);
    trial_drop(&t);
}

static void test_scan(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {0, 1, 100000, 2 << 20};
    static const uint32_t ways[] = {ST_LATENCY_LOCAL, ST_LATENCY_NETWORK, ST_LATENCY_MEMORY};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        for (uint32_t threads = 1; threads <= 8; threads++)
            for (size_t k = 0; k < 12; k++)
                if (budgets[k / 3] == 0 || threads % 3 == 1)
                    check_scan(&s, threads, budgets[k / 3], ways[k % 3]);
        sample_drop(&s);
    }
}

static void test_scan_nothing(void **state)
{
    (void)state;
    sample s;
    trial t;
    scan_log log;
    sample_make(&s, &slice_cases[0]);
    s.runs.size = 0;
    trial_make(&t, &s, NULL);
    check_scans(&t, &s, &log);
    assert_int_equal(t.plant.reads, 0);
    trial_drop(&t);
    sample_drop(&s);
}

/* Few large reads where each is a trip; as many at once as the source wants. */
static void test_scan_reads(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0]);
    for (uint32_t parallelism = 1; parallelism < 4; parallelism++) {
        trial t;
        scan_log log;
        trial_make(&t, &s, context_of(4, 0));
        t.info.parallelism = parallelism;
        trial_way(&t, ST_LATENCY_NETWORK, false);
        check_scans(&t, &s, &log);
        assert_in_range(t.plant.reads, 3, 3);
        assert_in_range(t.plant.most_in_flight, 1, parallelism);
        trial_drop(&t);
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
    trial t;
    tally memory = {.fail_at = 0};
    atomic_uint faults = 0;
    bool stopped;
    sample_make(&s, &slice_cases[0]);
    trial_make(&t, &s, tally_context(&memory, 4, 0));
    trial_way(&t, ST_LATENCY_LOCAL, true);
    CHECK_OK(st__transfer_scan(&t.transfer, &(st__consumer){address_check, &faults, 0}, &stopped,
                               &error));
    assert_int_equal(faults, 0);
    assert_in_range(atomic_load(&memory.peak), 0, ST__SCAN_BLOCK / 4);
    trial_drop(&t);
    sample_drop(&s);
}

/* A consumer that refuses all from block n on: block n is told, those before it have come, and each thread
 * is refused no more than once. */
static void test_scan_stopped(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0]);
    for (uint64_t at = 0; at < s.runs.size; at += ST__SCAN_BLOCK) {
        for (uint32_t k = 0; k < 4; k++) {
            trial t;
            scan_log log;
            bool stopped = false;
            trial_make(&t, &s, context_of(k == 0 ? 1 : 4, 0));
            t.plant.bad[0] = OFFSET + at + ST__SCAN_BLOCK + 7;
            trial_way(&t, ST_LATENCY_LOCAL, k == 2);
            CHECK_ERR_TEXT(scan_all(&t, &s, &log, at, &stopped, &error), ST_ERR_STOPPED, at,
                           "refused");
            assert_true(stopped);
            check_seen(&log, at);
            assert_in_range(log.refused, 1, log.workers);
            assert_int_equal(scan_all(&t, &s, &log, at, &stopped, NULL), ST_ERR_STOPPED);
            trial_drop(&t);
        }
    }
    sample_drop(&s);
}

/* Two blocks cannot be read: the lower one is told, and all before it have come. */
static void test_scan_unreadable(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0]);
    for (uint64_t at = 0; at < s.runs.size; at += ST__SCAN_BLOCK) {
        for (uint32_t threads = 1; threads <= 4; threads++) {
            uint64_t behind = at + ST__SCAN_BLOCK;
            trial t;
            scan_log log;
            bool stopped = true;
            trial_make(&t, &s, context_of(threads, 0));
            t.plant.bad[0] = OFFSET + at + 100;
            t.plant.bad[1] = OFFSET + behind + 100;
            CHECK_ERR(scan_all(&t, &s, &log, behind, &stopped, &error), ST_ERR_IO, t.plant.bad[0]);
            assert_false(stopped);
            check_seen(&log, at);
            trial_drop(&t);
        }
    }
    sample_drop(&s);
}

static st_status run_scan(const st__transfer *transfer, const sample *s)
{
    scan_log log;
    bool stopped = true;
    log_init(&log, s, transfer);
    st_status status =
        st__transfer_scan(transfer, &(st__consumer){scan_note, &log, 0}, &stopped, NULL);
    assert_false(stopped);
    if (status == ST_OK)
        check_seen(&log, s->runs.size);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    check_out_of_memory(run_scan);
    check_out_of_memory_together(run_scan);
}

/* Blocks and staging stay within the budget, but for the one block that there must be. */
static void test_memory_bound(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {1, 800000, 3 << 20, 64 << 20};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        for (size_t k = 0; k < 8; k++) {
            uint64_t budget = budgets[k / 2];
            uint64_t least = ST__SCAN_BLOCK + (budget < 524288 ? budget : 524288);
            uint64_t limit = (budget > least ? budget : least) + 131072;
            uint32_t latency = k % 2 ? ST_LATENCY_NETWORK : ST_LATENCY_LOCAL;
            assert_in_range(memory_peak(&s, 8, budget, latency, run_scan), 1, limit);
        }
        sample_drop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),          cmocka_unit_test(test_scan_nothing),
        cmocka_unit_test(test_scan_reads),    cmocka_unit_test(test_scan_direct),
        cmocka_unit_test(test_scan_stopped),  cmocka_unit_test(test_scan_unreadable),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_memory_bound),
    };
    return cmocka_run_group_tests_name("transfer_scan", tests, data_make, data_drop);
}
