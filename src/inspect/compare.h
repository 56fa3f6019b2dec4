/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the comparison share. compare.c has the calls; compare_match.c finds what belongs together by its
 * name, compare_renames.c by what it holds; compare_tensors.c goes through the tensors and tells of them in order;
 * compare_values.c compares the bytes and values of two, compare_chunk.c their elements, as compare_operand.c
 * makes numbers of them. */
#ifndef ST_INSPECT_COMPARE_H
#define ST_INSPECT_COMPARE_H

#include "base/map.h"
#include "file/file.h"
#include "inspect/compare_chunk.h"

#include <safetensors/inspect.h>

/* What one thread compares with. */
typedef struct st__compare_worker {
    st__compare_room room;
    st__tally tally;
} st__compare_worker;

/* What all pairs of one call share. */
typedef struct st__comparer {
    st_context *context;
    const char *name; /* for messages */
    st_progress progress;
    uint64_t total; /* bytes that will be read of both sides */
    atomic_uint_fast64_t done;
    st__compare_worker *workers;
    uint32_t worker_count;
} st__comparer;

/* As many workers as `bytes` are worth, within the context's budgets. ST_ERR_NOMEM. */
st_status st__comparer_init(st__comparer *comparer, uint64_t bytes, st_error *error);
void st__comparer_release(st__comparer *comparer);
/* Counts bytes read, and tells of them on the caller's thread, worker 0's. */
st_status st__comparer_tell(st__comparer *comparer, uint32_t worker, uint64_t size,
                            st_error *error);

/* Two tensors of one shape. */
typedef struct st__pair {
    const st_side_tensor *sides[2];
    const st_compare_options *options;
} st__pair;

/* Which threads compare a pair: workers first .. first + count - 1. */
typedef struct st__pair_team {
    uint32_t first;
    uint32_t count;
} st__pair_team;

/* The dtypes are known, or the same and as many bytes. Under ST_COMPARE_BRIEF only `same` is certain. */
st_status st__pair_compare(st__comparer *comparer, const st__pair *pair, st__pair_team team,
                           st_deviation *out, st_error *error);

/* The code of a tensor's dtype; numbers of unknown ones mean nothing outside of their header. */
const char *st__side_dtype(const st_side_tensor *tensor, size_t *len);
/* ST_APART_DTYPE, ST_APART_SHAPE. */
uint32_t st__side_apart(const st_side_tensor *a, const st_side_tensor *b);

/* Where the tensors of two sides have their partners: per tensor 1 + the other's index; 0: it has none. */
typedef struct st__partners {
    const st_side *sides[2];
    uint32_t *at[2];
} st__partners;

/* Pairs off tensors without partners that hold the same. Those of side a are marked in `renamed`. */
st_status st__renames_find(st__comparer *comparer, const st__partners *partners,
                           unsigned char *renamed, st_error *error);

/* One call of st_sides_compare. */
typedef struct st__compare_run {
    const st_side *sides[2];
    const st_compare_options *options;
    uint32_t parts;
    st_compare_summary summary;
    st__comparer comparer;
    st__partners partners;
    unsigned char *apart;   /* per tensor of a: ST_APART_… of what headers tell */
    unsigned char *renamed; /* per tensor of a: its partner has another name */
    st_deviation *window;
    bool ended; /* a difference was found, and no more is asked for */
} st__compare_run;

/* Counts a change and hands it on; one that is no difference only where all is asked for. */
st_status st__change_tell(st__compare_run *run, const st_change *change, st_error *error);

st_status st__metadata_compare(st__compare_run *run, st_error *error);
/* Fills `partners` and `apart`. */
st_status st__partners_make(st__compare_run *run, st_error *error);
st_status st__side_tensors_compare(st__compare_run *run, st_error *error);

#endif
