/* SPDX-License-Identifier: Apache-2.0 */
/* Checking a checkpoint: its files one by one, and what its index says against what is in them. */
#ifndef CLI_CHECK_INDEX_H
#define CLI_CHECK_INDEX_H

#include <safetensors/inspect.h>

#include "verb.h"

/* A finding about the index, or, where there is none, about the folder. */
struct index_finding {
    const st_rule *rule;
    uint64_t offset; /* in the index, or ST_NO_OFFSET */
    char *message;
};

struct index_check {
    const char *path; /* a folder's, or an index's */
    const struct common *common;
    void (*file)(void *ctx, const char *path); /* checks a shard */
    void *ctx;
    /* Set by index_check_run, released by index_check_release. */
    char *index; /* its path; NULL: there is none */
    struct index_finding *findings;
    size_t count;
    size_t room;
    uint64_t size;    /* of the index */
    uint64_t tensors; /* that are in it, or in the files of a folder without one */
    uint64_t files;
};

/* The rules of checkpoints, beside those of files. */
size_t index_rule_count(void);
const st_rule *index_rule_at(size_t at);

/* Has each shard that is there checked, then compares. Gives ST_ERR_IO, ST_ERR_NOT_FOUND, ST_ERR_ARGUMENT for what
 * cannot be looked at. */
st_status index_check_run(struct index_check *check, st_error *error);
void index_check_release(struct index_check *check);

#endif
