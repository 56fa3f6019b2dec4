/* SPDX-License-Identifier: Apache-2.0 */
/* Teams: who runs, what gets done, and which failure is told. */
#include "support/check.h"
#include "support/oom.h"

#include "base/team.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define UNITS 1000u

typedef struct roll {
    pthread_t caller;
    atomic_uint runs[8];
    atomic_uint faults;
} roll;

static void roll_run(void *ctx, uint32_t worker)
{
    roll *r = ctx;
    bool is_caller = pthread_equal(r->caller, pthread_self()) != 0;
    atomic_fetch_add(&r->faults, is_caller != (worker == 0));
    atomic_fetch_add(&r->runs[worker], 1);
}

static void test_run(void **state)
{
    (void)state;
    for (uint32_t threads = 0; threads <= 8; threads++) {
        roll r = {.caller = pthread_self()};
        CHECK_OK(st__team_run(NULL, threads, roll_run, &r, &error));
        assert_int_equal(r.faults, 0);
        assert_int_equal(r.runs[0], 1);
        for (uint32_t i = 1; i < 8; i++)
            assert_int_equal(r.runs[i], i < threads);
    }
}

typedef struct tasks {
    atomic_uint done[UNITS];
    uint64_t fail_from; /* units from here on fail */
    atomic_uint failed;
} tasks;

static st_status tasks_unit(void *ctx, uint32_t worker, uint64_t unit, st_error *error)
{
    tasks *t = ctx;
    (void)worker;
    if (unit < t->fail_from) {
        atomic_fetch_add(&t->done[unit], 1);
        return ST_OK;
    }
    atomic_fetch_add(&t->failed, 1);
    if (error)
        *error = (st_error){ST_ERR_IO, 0, unit, "planted"};
    return ST_ERR_IO;
}

static void test_share(void **state)
{
    (void)state;
    for (uint64_t fail_from = 0; fail_from <= UNITS; fail_from += 25) {
        for (uint32_t threads = 1; threads <= 8; threads++) {
            tasks t = {.fail_from = fail_from};
            const st__shared_work work = {UNITS, tasks_unit, &t};
            if (fail_from == UNITS)
                CHECK_OK(st__team_share(NULL, threads, &work, &error));
            else
                CHECK_ERR_TEXT(st__team_share(NULL, threads, &work, &error), ST_ERR_IO, fail_from,
                               "planted");
            for (uint64_t i = 0; i < UNITS; i++)
                assert_int_equal(t.done[i], i < fail_from);
            assert_true(t.failed <= threads);
            if (fail_from < UNITS)
                assert_int_equal(st__team_share(NULL, threads, &work, NULL), ST_ERR_IO);
        }
    }
    tasks none = {.fail_from = 0};
    CHECK_OK(st__team_share(NULL, 4, &(st__shared_work){0, tasks_unit, &none}, &error));
    assert_int_equal(none.failed, 0);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        roll r = {.caller = pthread_self()};
        status = st__team_run(context, 3, roll_run, &r, NULL);
        /* All or nothing. */
        assert_int_equal(r.runs[0], status == ST_OK);
        assert_int_equal(r.runs[1] + r.runs[2], status == ST_OK ? 2 : 0);
    }
    ST_OOM_LOOP(context, status)
    {
        tasks t = {.fail_from = UNITS};
        status = st__team_share(context, 3, &(st__shared_work){UNITS, tasks_unit, &t}, NULL);
        assert_int_equal(t.done[0], status == ST_OK);
    }
    oom_allocator oom = {.fail_at = 1};
    st_context *context = oom_context_new(&oom);
    tasks t = {.fail_from = UNITS};
    const st__shared_work work = {UNITS, tasks_unit, &t};
    CHECK_OK(st__team_share(context, 1, &work, &error));
    CHECK_ERR(st__team_share(context, 2, &work, &error), ST_ERR_NOMEM, ST_NO_OFFSET);
    st_context_release(context);
}

/* A number goes back and forth between two threads under the lock. */
typedef struct rally {
    st__lock lock;
    st__signal turned;
    unsigned turns;
} rally;

static void rally_run(void *ctx, uint32_t worker)
{
    rally *r = ctx;
    st__lock_take(&r->lock);
    while (r->turns < 2000) {
        if (r->turns % 2 == worker) {
            r->turns++;
            st__signal_wake_all(&r->turned);
        } else {
            st__signal_wait(&r->turned, &r->lock);
        }
    }
    st__lock_drop(&r->lock);
}

static void test_signals(void **state)
{
    (void)state;
    rally r = {.turns = 0};
    assert_true(st__lock_init(&r.lock));
    assert_true(st__signal_init(&r.turned));
    CHECK_OK(st__team_run(NULL, 2, rally_run, &r, &error));
    assert_int_equal(r.turns, 2000);
    st__signal_release(&r.turned);
    st__lock_release(&r.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests_name("team_threads", tests, NULL, NULL);
}
