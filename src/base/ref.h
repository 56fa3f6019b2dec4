/* SPDX-License-Identifier: Apache-2.0 */
/* A reference count that any thread may change. */
#ifndef ST_BASE_REF_H
#define ST_BASE_REF_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef struct st__ref {
    atomic_uint count;
} st__ref;

static inline void st__ref_init(st__ref *ref)
{
    atomic_init(&ref->count, 1);
}

static inline void st__ref_retain(st__ref *ref)
{
    unsigned before = atomic_fetch_add_explicit(&ref->count, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
}

/* True for the caller who must free: everything other threads did before their release is visible. */
static inline bool st__ref_release(st__ref *ref)
{
    unsigned before = atomic_fetch_sub_explicit(&ref->count, 1, memory_order_acq_rel);
    assert(before > 0);
    return before == 1;
}

#endif
