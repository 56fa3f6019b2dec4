/* SPDX-License-Identifier: Apache-2.0 */
#include "base/team.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "base/thread.h"

#include <stdatomic.h>

typedef struct st__crew_member {
    st__thread thread;
    bool started;
    uint32_t number;
    void (*run)(void *ctx, uint32_t worker);
    void *ctx;
} st__crew_member;

static void *member_main(void *arg)
{
    st__crew_member *member = arg;
    member->run(member->ctx, member->number);
    return NULL;
}

/* Starts a thread for each of `members`, whose numbers begin at `first`. Gives how many came to be. */
static uint32_t members_start(st__crew_member *members, uint32_t count, uint32_t first,
                              void (*run)(void *ctx, uint32_t worker), void *ctx)
{
    uint32_t started = 0;
    for (uint32_t i = 0; i < count; i++) {
        members[i].number = first + started;
        members[i].run = run;
        members[i].ctx = ctx;
        members[i].started = st__thread_start(&members[i].thread, member_main, &members[i]);
        started += members[i].started;
    }
    return started;
}

static void members_join(st__crew_member *members, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (members[i].started)
            st__thread_join(&members[i].thread);
}

/* Takes threads out of the context's share, and memory for them. ST_ERR_NOMEM: neither. */
static st_status crew_gather(st__crew *crew, st_context *context, uint32_t threads, st_error *error)
{
    size_t size;
    *crew = (st__crew){.context = context};
    crew->granted = st__context_take_threads(context, threads);
    if (crew->granted == 0)
        return ST_OK;
    if (st__mul_size(crew->granted, sizeof *crew->members, &size))
        crew->members = st__alloc(context, size);
    if (crew->members)
        return ST_OK;
    uint64_t wanted = (uint64_t)crew->granted * sizeof *crew->members;
    st__context_give_threads(context, crew->granted);
    crew->granted = 0;
    return st__fail_nomem(error, wanted);
}

st_status st__crew_start(st__crew *crew, st_context *context, uint32_t threads,
                         void (*run)(void *ctx, uint32_t worker), void *ctx, st_error *error)
{
    ST_TRY(crew_gather(crew, context, threads, error));
    crew->count = members_start(crew->members, crew->granted, 0, run, ctx);
    return ST_OK;
}

void st__crew_join(st__crew *crew)
{
    members_join(crew->members, crew->granted);
    st__free(crew->context, crew->members, crew->granted * sizeof *crew->members);
    st__context_give_threads(crew->context, crew->granted);
    *crew = (st__crew){.context = NULL};
}

st_status st__team_run(st_context *context, uint32_t threads,
                       void (*run)(void *ctx, uint32_t worker), void *ctx, st_error *error)
{
    st__crew others;
    ST_TRY(crew_gather(&others, context, threads > 1 ? threads - 1 : 0, error));
    others.count = members_start(others.members, others.granted, 1, run, ctx);
    run(ctx, 0);
    st__crew_join(&others);
    return ST_OK;
}

typedef struct failure {
    uint64_t unit;
    st_error error; /* its status is ST_OK where there was none */
} failure;

typedef struct sharing {
    const st__shared_work *work;
    failure *failures; /* one per worker */
    atomic_uint_fast64_t next;
    atomic_bool failed;
} sharing;

/* Units are handed out in rising order and each that was taken is finished or fails, so the lowest failure
 * is found whatever the threads' pace. */
static void sharing_run(void *ctx, uint32_t worker)
{
    sharing *s = ctx;
    failure *mine = &s->failures[worker];
    while (!atomic_load_explicit(&s->failed, memory_order_relaxed)) {
        uint64_t unit = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
        if (unit >= s->work->units)
            break;
        st_status status = s->work->unit(s->work->ctx, worker, unit, &mine->error);
        if (status == ST_OK)
            continue;
        mine->unit = unit;
        mine->error.status = status;
        atomic_store_explicit(&s->failed, true, memory_order_relaxed);
    }
}

static st_status share_alone(const st__shared_work *work, st_error *error)
{
    for (uint64_t unit = 0; unit < work->units; unit++)
        ST_TRY(work->unit(work->ctx, 0, unit, error));
    return ST_OK;
}

st_status st__team_share(st_context *context, uint32_t threads, const st__shared_work *work,
                         st_error *error)
{
    if (threads > work->units)
        threads = (uint32_t)work->units;
    if (threads <= 1)
        return share_alone(work, error);
    sharing s = {.work = work};
    s.failures = st__alloc_zeroed(context, threads, sizeof *s.failures);
    if (!s.failures)
        return st__fail_nomem(error, (uint64_t)threads * sizeof *s.failures);
    atomic_init(&s.next, 0);
    atomic_init(&s.failed, false);
    st_status status = st__team_run(context, threads, sharing_run, &s, error);
    const failure *lowest = NULL;
    for (uint32_t i = 0; status == ST_OK && i < threads; i++)
        if (s.failures[i].error.status != ST_OK && (!lowest || s.failures[i].unit < lowest->unit))
            lowest = &s.failures[i];
    if (lowest) {
        status = lowest->error.status;
        if (error)
            *error = lowest->error;
    }
    st__free(context, s.failures, threads * sizeof *s.failures);
    return status;
}
