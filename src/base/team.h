/* SPDX-License-Identifier: Apache-2.0 */
/* Several threads at one piece of work, the caller's among them, joined before the call returns. */
#ifndef ST_BASE_TEAM_H
#define ST_BASE_TEAM_H

#include <safetensors/safetensors.h>

/* Calls run(ctx, worker) once for each worker 0, 1, ... of up to `threads`: worker 0 on the caller's thread, always,
 * the others as the context has threads to spare and the system grants them. The work must be taken from a common
 * store, so that it gets done by however many there are. ST_ERR_NOMEM where not even the list of threads could be
 * made; nothing has run then. */
st_status st__team_run(st_context *context, uint32_t threads,
                       void (*run)(void *ctx, uint32_t worker), void *ctx, st_error *error);

/* Work in units 0, 1, ..., taken in this order by whoever is free. */
typedef struct st__shared_work {
    uint64_t units;
    st_status (*unit)(void *ctx, uint32_t worker, uint64_t unit, st_error *error);
    void *ctx;
} st__shared_work;

/* Does all units. After a failure no unit is begun; of several failures that of the lowest unit is told, which
 * is the one that a single thread would have met. With one thread no memory is taken. */
st_status st__team_share(st_context *context, uint32_t threads, const st__shared_work *work,
                         st_error *error);

/* Threads that work while the caller does something else, until they are joined. */
typedef struct st__crew {
    st_context *context;
    struct st__crew_member *members;
    uint32_t count;   /* that were started */
    uint32_t granted; /* out of the context's share */
} st__crew;

/* Starts up to `threads` threads, each of which calls run(ctx, worker), worker 0, 1, ...; as many as the context
 * has to spare and the system grants, which may be none. ST_ERR_NOMEM; nothing runs then. */
st_status st__crew_start(st__crew *crew, st_context *context, uint32_t threads,
                         void (*run)(void *ctx, uint32_t worker), void *ctx, st_error *error);
/* Waits for all to return. A zeroed crew, and one that was joined, are fine. */
void st__crew_join(st__crew *crew);

#endif
