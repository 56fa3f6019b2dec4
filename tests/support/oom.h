/* SPDX-License-Identifier: Apache-2.0 */
/* An allocator that fails where told, counts what is out, and checks the sizes given back. The pointers
 * it gives lie 64 bytes into their block, so that a stray free() of one crashes. */
#ifndef TESTS_SUPPORT_OOM_H
#define TESTS_SUPPORT_OOM_H

#include "support/check.h"

typedef struct oom_allocator {
    uint64_t fail_at;     /* the number of the allocation that fails, from 1; 0: none */
    uint64_t calls;       /* allocations asked for so far, growing and shrinking ones included */
    uint64_t outstanding; /* bytes out */
    uint64_t peak;        /* the most that was out at once */
    uint64_t blocks;      /* blocks out */
    uint32_t threads;     /* max_threads of its context; 0: 1 */
} oom_allocator;

/* Gives a context over this allocator, which must outlive it; never fails. Its own memory is counted
 * but not as a call. One thread at a time: max_threads is 1, unless only the caller's thread will allocate. */
st_context *oom_context_new(oom_allocator *oom);

/* The body runs with `context` set, failing its allocation 1, 2, 3, … until a run needs none that
 * fails. The body must leave in `status` what the call under test returned and free what it made.
 * Checked: each failure is ST_ERR_NOMEM, the last run succeeds, nothing leaks.
 *
 *     ST_OOM_LOOP(context, status)
 *     {
 *         st_header *header;
 *         status = st_header_parse(..., &(st_open_options){.context = context}, &header, NULL);
 *         if (status == ST_OK)
 *             st_header_release(header);
 *     }
 */
#define ST_OOM_LOOP(context, status)                                                           \
 for (oom_loop oom_loop_ = {0}; oom_loop_next(&oom_loop_, CHECK_PLACE("ST_OOM_LOOP"));)        \
  for (st_status status = ST_OK; oom_loop_begin(&oom_loop_); oom_loop_end(&oom_loop_, status)) \
   for (st_context *context = oom_loop_.context; oom_loop_.stage == 1; oom_loop_.stage = 2)

typedef struct oom_loop {
    oom_allocator oom;
    st_context *context;
    const check_place *place;
    uint64_t run;
    st_status status;
    int stage; /* 0: before the body, 1: in it, 2: behind it */
} oom_loop;

bool oom_loop_next(oom_loop *loop, const check_place *place);
bool oom_loop_begin(oom_loop *loop);
void oom_loop_end(oom_loop *loop, st_status status);

#endif
