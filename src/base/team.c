/* SPDX-License-Identifier: Apache-2.0 */
#include "base/team.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/thread.h"

#include <stdatomic.h>

typedef struct team_member {
    st__thread thread;
    bool started;
    uint32_t number;
    void (*run)(void *ctx, uint32_t worker);
    void *ctx;
} team_member;

static void *member_main(void *arg)
{
    team_member *member = arg;
    member->run(member->ctx, member->number);
    return NULL;
}

st_status st__team_run(st_context *context, uint32_t threads,
                       void (*run)(void *ctx, uint32_t worker), void *ctx, st_error *error)
{
    uint32_t others = threads > 1 ? threads - 1 : 0;
    if (others == 0) {
        run(ctx, 0);
        return ST_OK;
    }
    size_t size;
    team_member *members = NULL;
    if (st__mul_size(others, sizeof *members, &size))
        members = st__alloc(context, size);
    if (!members)
        return st__fail_nomem(error, (uint64_t)others * sizeof *members);
    for (uint32_t i = 0; i < others; i++) {
        members[i].number = i + 1;
        members[i].run = run;
        members[i].ctx = ctx;
        members[i].started = st__thread_start(&members[i].thread, member_main, &members[i]);
    }
    run(ctx, 0);
    for (uint32_t i = 0; i < others; i++)
        if (members[i].started)
            st__thread_join(&members[i].thread);
    st__free(context, members, size);
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
