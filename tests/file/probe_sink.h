/* SPDX-License-Identifier: Apache-2.0 */
/* A sink of the tests' own: memory (or nothing), counted, in order if asked, failing at its n-th call. */
#ifndef TESTS_FILE_PROBE_SINK_H
#define TESTS_FILE_PROBE_SINK_H

#include "support/check.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Set up by the test, which keeps it alive as long as the sink and frees `data`. */
typedef struct probe_sink {
    unsigned char *data; /* made by begin, unless `forgets` */
    uint64_t size;       /* announced */
    bool forgets;        /* keeps no bytes */
    bool silent;         /* fails without a message */
    unsigned fail_at;    /* the number of the call that fails with EIO, from 1; 0: none */
    atomic_uint calls;
    atomic_uint writes;
    atomic_uint inside;         /* threads that write just now */
    atomic_uint most;           /* the most there ever were */
    atomic_uint_fast64_t bytes; /* written */
    uint64_t next;              /* where a stream goes on */
    bool sequential;
    bool begun;
    bool finished;
    bool freed;
} probe_sink;

static inline st_status probe_fails(probe_sink *probe, uint64_t offset, st_error *error)
{
    if (atomic_fetch_add(&probe->calls, 1) + 1 != probe->fail_at)
        return ST_OK;
    if (!probe->silent) {
        *error = (st_error){.status = ST_ERR_IO, .sys_errno = EIO, .offset = offset};
        strcpy(error->message, "probe: planted");
    }
    return ST_ERR_IO;
}

static inline st_status probe_begin(void *self, uint64_t size, st_error *error)
{
    probe_sink *probe = self;
    probe->size = size;
    probe->begun = true;
    if (!probe->forgets)
        probe->data = calloc(1, (size_t)size + 1);
    return probe_fails(probe, ST_NO_OFFSET, error);
}

static inline st_status probe_write(void *self, uint64_t offset, const st_bytes *pieces,
                                    size_t count, st_error *error)
{
    probe_sink *probe = self;
    unsigned inside = atomic_fetch_add(&probe->inside, 1) + 1;
    if (inside > atomic_load(&probe->most))
        atomic_store(&probe->most, inside);
    st_status status = probe_fails(probe, offset, error);
    /* Faults of the writer; a thread other than the first must not use cmocka's assertions. */
    if (!probe->begun || count == 0 || (probe->sequential && (offset != probe->next || inside > 1)))
        abort();
    for (size_t i = 0; i < count && status == ST_OK; i++) {
        if (pieces[i].size == 0 || offset > probe->size || pieces[i].size > probe->size - offset)
            abort();
        if (!probe->forgets)
            memcpy(probe->data + offset, pieces[i].data, pieces[i].size);
        offset += pieces[i].size;
        atomic_fetch_add(&probe->bytes, pieces[i].size);
    }
    if (probe->sequential)
        probe->next = offset;
    atomic_fetch_add(&probe->writes, 1);
    atomic_fetch_sub(&probe->inside, 1);
    return status;
}

static inline st_status probe_finish(void *self, st_error *error)
{
    probe_sink *probe = self;
    st_status status = probe_fails(probe, ST_NO_OFFSET, error);
    probe->finished = status == ST_OK;
    return status;
}

static inline void probe_free(void *self)
{
    probe_sink *probe = self;
    if (probe->freed)
        abort();
    probe->freed = true;
}

/* Gives a sink named "probe". */
static inline st_sink *probe_sink_new(probe_sink *probe, st_context *context)
{
    st_sink_vtable vtable = {.size = sizeof vtable,
                             .flags = probe->sequential ? ST_SINK_SEQUENTIAL : 0,
                             .begin = probe_begin,
                             .write = probe_write,
                             .finish = probe_finish,
                             .free = probe_free};
    st_sink_options options = {.name = "probe", .context = context};
    st_sink *sink = NULL;
    return st_sink_new(&vtable, probe, &options, &sink, NULL) == ST_OK ? sink : NULL;
}

#endif
