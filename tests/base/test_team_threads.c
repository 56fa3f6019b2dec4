/* SPDX-License-Identifier: Apache-2.0 */
/* Teams: who runs, what gets done, and which failure is told. */
#include "support/check.h"
#include "support/oom.h"

#include "base/context.h"
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
    for (uint64_t at = 1; at <= 2; at++) { /* one is needed; the second is not reached */
        oom_allocator oom = {.fail_at = at, .threads = 3};
        st_context *context = oom_context_new(&oom);
        roll r = {.caller = pthread_self()};
        assert_int_equal(st__team_run(context, 3, roll_run, &r, NULL),
                         at == 1 ? ST_ERR_NOMEM : ST_OK);
        /* All or nothing. */
        assert_int_equal(r.runs[0], at == 2);
        assert_int_equal(r.runs[1] + r.runs[2], at == 2 ? 2 : 0);
        assert_int_equal(oom.calls, 1);
        /* Nothing of the budget is lost. */
        assert_int_equal(st__context_take_threads(context, 8), 2);
        st__context_give_threads(context, 2);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
    for (uint64_t at = 1; at <= 3; at++) {
        oom_allocator oom = {.fail_at = at, .threads = 3};
        st_context *context = oom_context_new(&oom);
        tasks t = {.fail_from = UNITS};
        const st__shared_work work = {UNITS, tasks_unit, &t};
        assert_int_equal(st__team_share(context, 3, &work, NULL), at < 3 ? ST_ERR_NOMEM : ST_OK);
        assert_int_equal(t.done[0], at == 3);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
    oom_allocator oom = {.fail_at = 1};
    st_context *context = oom_context_new(&oom);
    tasks t = {.fail_from = UNITS};
    const st__shared_work work = {UNITS, tasks_unit, &t};
    CHECK_OK(st__team_share(context, 1, &work, &error));
    CHECK_ERR(st__team_share(context, 2, &work, &error), ST_ERR_NOMEM, ST_NO_OFFSET);
    st_context_release(context);
}

static st_context *context_of(uint32_t threads)
{
    st_context *context;
    st_context_options options = {.max_threads = threads};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

/* Holds its workers until the test lets them go. */
typedef struct gate {
    st__lock lock;
    st__signal moved;
    uint32_t inside;
    bool open;
    atomic_uint numbers; /* a bit for each worker that came */
} gate;

static void gate_init(gate *g)
{
    memset(g, 0, sizeof *g);
    atomic_init(&g->numbers, 0);
    assert_true(st__lock_init(&g->lock));
    assert_true(st__signal_init(&g->moved));
}

static void gate_release(gate *g)
{
    st__signal_release(&g->moved);
    st__lock_release(&g->lock);
}

static void gate_run(void *ctx, uint32_t worker)
{
    gate *g = ctx;
    atomic_fetch_or(&g->numbers, 1u << worker);
    st__lock_take(&g->lock);
    g->inside++;
    st__signal_wake_all(&g->moved);
    while (!g->open)
        st__signal_wait(&g->moved, &g->lock);
    st__lock_drop(&g->lock);
}

static void gate_await(gate *g, uint32_t inside)
{
    st__lock_take(&g->lock);
    while (g->inside < inside)
        st__signal_wait(&g->moved, &g->lock);
    st__lock_drop(&g->lock);
}

static void gate_open(gate *g)
{
    st__lock_take(&g->lock);
    g->open = true;
    st__signal_wake_all(&g->moved);
    st__lock_drop(&g->lock);
}

static void test_crew(void **state)
{
    (void)state;
    st__crew none;
    memset(&none, 0, sizeof none);
    st__crew_join(&none);
    for (int shared = 0; shared < 2; shared++) {
        st_context *context = shared ? context_of(5) : NULL;
        gate g;
        st__crew crew;
        gate_init(&g);
        CHECK_OK(st__crew_start(&crew, context, 4, gate_run, &g, &error));
        assert_int_equal(crew.count, 4);
        gate_await(&g, 4); /* they work while the caller does not wait for them */
        gate_open(&g);
        st__crew_join(&crew);
        assert_int_equal(g.numbers, 0xf);
        st__crew_join(&crew);
        gate_release(&g);
        st_context_release(context);
    }
    roll r = {.caller = pthread_self()};
    st__crew crew;
    CHECK_OK(st__crew_start(&crew, NULL, 0, roll_run, &r, &error));
    assert_int_equal(crew.count, 0);
    st__crew_join(&crew);
    assert_int_equal(r.runs[0], 0);
}

static void test_crew_out_of_memory(void **state)
{
    (void)state;
    oom_allocator oom = {.fail_at = 1, .threads = 4};
    st_context *context = oom_context_new(&oom);
    roll r = {.caller = pthread_self()};
    st__crew crew;
    CHECK_ERR(st__crew_start(&crew, context, 3, roll_run, &r, &error), ST_ERR_NOMEM, ST_NO_OFFSET);
    assert_int_equal(r.runs[0], 0);
    assert_int_equal(st__context_take_threads(context, 9), 3);
    st__context_give_threads(context, 3);
    st_context_release(context);
    assert_int_equal(oom.blocks, 0);
}

/* A team runs with what a crew and another team of the same context leave it. */
static void test_budget_is_shared(void **state)
{
    (void)state;
    st_context *context = context_of(6);
    gate first, second;
    st__crew one, two;
    gate_init(&first);
    gate_init(&second);
    CHECK_OK(st__crew_start(&one, context, 3, gate_run, &first, &error));
    assert_int_equal(one.count, 3);
    CHECK_OK(st__crew_start(&two, context, 3, gate_run, &second, &error));
    assert_int_equal(two.count, 2);
    roll r = {.caller = pthread_self()};
    CHECK_OK(st__team_run(context, 8, roll_run, &r, &error));
    assert_int_equal(r.runs[0], 1);
    for (uint32_t i = 1; i < 8; i++)
        assert_int_equal(r.runs[i], 0);
    tasks t = {.fail_from = UNITS};
    const st__shared_work work = {UNITS, tasks_unit, &t};
    CHECK_OK(st__team_share(context, 8, &work, &error)); /* the caller does it all */
    for (uint64_t i = 0; i < UNITS; i++)
        assert_int_equal(t.done[i], 1);
    gate_open(&second);
    st__crew_join(&two);
    roll rest = {.caller = pthread_self()};
    CHECK_OK(st__team_run(context, 8, roll_run, &rest, &error));
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(rest.runs[i], i <= 2);
    gate_open(&first);
    st__crew_join(&one);
    assert_int_equal(st__context_take_threads(context, 9), 5);
    st__context_give_threads(context, 5);
    gate_release(&first);
    gate_release(&second);
    st_context_release(context);
}

/* Calls within calls, from several threads at once: never more at work than the budget says. */
typedef struct crowd {
    st_context *context;
    atomic_int at_work;
    atomic_int most;
    atomic_uint runs;
} crowd;

static void crowd_inner(void *ctx, uint32_t worker)
{
    crowd *c = ctx;
    /* Worker 0 is the thread of the call itself, counted by whoever made it. */
    int now = worker ? atomic_fetch_add(&c->at_work, 1) + 1 : atomic_load(&c->at_work);
    int most = atomic_load(&c->most);
    while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now))
        continue;
    atomic_fetch_add(&c->runs, 1);
    if (worker)
        atomic_fetch_sub(&c->at_work, 1);
}

static void crowd_outer(void *ctx, uint32_t worker)
{
    crowd *c = ctx;
    if (worker)
        atomic_fetch_add(&c->at_work, 1);
    for (int i = 0; i < 50; i++)
        if (st__team_run(c->context, 4, crowd_inner, c, NULL) != ST_OK)
            atomic_store(&c->most, 1000);
    if (worker)
        atomic_fetch_sub(&c->at_work, 1);
}

static void test_budget_holds_for_all_calls(void **state)
{
    (void)state;
    crowd c = {.context = context_of(4)};
    CHECK_OK(st__team_run(c.context, 3, crowd_outer, &c, &error));
    assert_in_range(c.most, 0, 3);
    assert_in_range(c.runs, 50, 3 * 50 * 4);
    assert_int_equal(st__context_take_threads(c.context, 9), 3);
    st__context_give_threads(c.context, 3);
    st_context_release(c.context);
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
        cmocka_unit_test(test_crew),
        cmocka_unit_test(test_crew_out_of_memory),
        cmocka_unit_test(test_budget_is_shared),
        cmocka_unit_test(test_budget_holds_for_all_calls),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests_name("team_threads", tests, NULL, NULL);
}
