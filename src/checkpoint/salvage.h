/* SPDX-License-Identifier: Apache-2.0 */
/* What is there of a damaged checkpoint. */
#ifndef ST_CHECKPOINT_SALVAGE_H
#define ST_CHECKPOINT_SALVAGE_H

#include "checkpoint/checkpoint.h"

typedef struct st__damaged_file {
    st__key name; /* first; the last part of its path */
    const char *path;
    const char *shown; /* its name in the checkpoint's folder */
    uint64_t size;     /* in bytes; 0 where it cannot be told */
    char *target;      /* once it was saved */
} st__damaged_file;

typedef struct st__damaged {
    st_context *context;
    const char *path;
    st_open_options options;
    st_progress progress;
    st__arena texts;
    st__damaged_file *files; /* `count` of `room` */
    size_t count;
    size_t room;
    uint64_t total;       /* bytes of the files */
    st_finding *findings; /* of the index, without names; `finding_count` of `finding_room` */
    size_t finding_count;
    size_t finding_room;
    const char *index; /* its path; NULL: there is none */
    st_status status;  /* of what went wrong in a callback of the check */
    st_error *error;
} st__damaged;

/* Finds the files, by the index where it can be read. All but the first four members are zeros; to be released in both
 * cases. As st_checkpoint_salvage. */
st_status st__damaged_find(st__damaged *found, st_error *error);
void st__damaged_release(st__damaged *found);

/* ST_ERR_NOMEM, and ST_ERR_STOPPED, that name the checkpoint. */
st_status st__damaged_nomem(const st__damaged *found, uint64_t size, st_error *error) ST__COLD;
st_status st__damaged_stopped(const st__damaged *found, st_error *error) ST__COLD;

#endif
