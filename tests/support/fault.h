/* SPDX-License-Identifier: Apache-2.0 */
/* A source over memory whose n-th call goes wrong in a given way. */
#ifndef TESTS_SUPPORT_FAULT_H
#define TESTS_SUPPORT_FAULT_H

#include "support/check.h"

typedef enum fault_kind {
    FAULT_EIO,    /* the call fails with ST_ERR_IO, EIO */
    FAULT_SHORT,  /* a read ends half way: ST_ERR_SHORT_READ at the byte where it did */
    FAULT_SHRINK, /* from this call on the source is half as long, and its times differ */
    FAULT_TOUCH   /* from this call on the change time differs */
} fault_kind;

/* Set up by the test, which keeps it alive as long as the source. */
typedef struct fault_source {
    const void *data;
    size_t size;
    fault_kind kind;
    uint64_t at;    /* the number of the call that goes wrong, from 1; 0: none. Calls are info and
                       read; for FAULT_SHORT read only */
    uint64_t calls; /* so far */
    uint64_t reads; /* so far */
    uint64_t end;   /* one past the last byte ever asked for */
    bool hit;       /* the fault has come */
    bool freed;
} fault_source;

/* Gives a source named "fault". One thread at a time: use a context with max_threads 1 for it. */
st_source *fault_source_new(fault_source *fault);

/* The body runs with `source` failing at its call 1, 2, 3, … until a run needs none that fails. It must
 * leave in `status` what the call under test returned and release what it made of the source.
 * Checked: a fault is reported with a status that fits it, a run without one succeeds, and the
 * source is freed with its last reference. What only opens need not see FAULT_SHRINK and FAULT_TOUCH:
 * a body that reads must itself assert that they are seen.
 *
 *     ST_FAULT_LOOP(source, status, FAULT_EIO, bytes, sizeof bytes)
 *     {
 *         st_file *file;
 *         status = st_file_open_source(source, NULL, &file, NULL);
 *         if (status == ST_OK)
 *             st_file_close(file);
 *     }
 */
#define ST_FAULT_LOOP(source, status, kind_, data_, size_)                                     \
 for (fault_loop fault_loop_ = {.fault = {.data = (data_), .size = (size_), .kind = (kind_)}}; \
      fault_loop_next(&fault_loop_, CHECK_PLACE("ST_FAULT_LOOP(" #kind_ ")"));)                \
  for (st_status status = ST_OK; fault_loop_begin(&fault_loop_);                               \
       fault_loop_end(&fault_loop_, status))                                                   \
   for (st_source *source = fault_loop_.source; fault_loop_.stage == 1; fault_loop_.stage = 2)

typedef struct fault_loop {
    fault_source fault;
    st_source *source;
    const check_place *place;
    uint64_t run;
    int stage;
} fault_loop;

bool fault_loop_next(fault_loop *loop, const check_place *place);
bool fault_loop_begin(fault_loop *loop);
void fault_loop_end(fault_loop *loop, st_status status);

#endif
