/* SPDX-License-Identifier: Apache-2.0 */
/* A split, as its own files see it. */
#ifndef ST_CHECKPOINT_SPLIT_H
#define ST_CHECKPOINT_SPLIT_H

#include "checkpoint/checkpoint.h"

struct st_split {
    st_context *context;
    const st_checkpoint *checkpoint;
    uint32_t durability;
    uint32_t flags;
    uint32_t alignment;
    bool clean;
    st_progress progress;
    st__arena texts;
    uint32_t *order;  /* the checkpoint's tensors, shard by shard, `tensor_count` */
    st_shard *shards; /* `count` */
    size_t count;
    size_t tensor_count;
    const char *pattern;
    const char *index_name; /* of the file; named after one shard too */
    char *index;            /* its text; NULL for one shard */
    size_t index_len;
    size_t index_size; /* of the memory */
};

/* Makes the index's text, as Python's json writes it with an indent of 2. ST_ERR_NOMEM. */
st_status st__split_index_make(st_split *split, st_error *error);

/* Tells a name that the pattern makes of one of several shards, however many. */
bool st__split_is_numbered(const st_split *split, const char *name);
/* Tells whether it is one of these shards. */
bool st__split_has(const st_split *split, const char *name);

/* The names of shards that an older split has left, in their order. Begins as zeros. */
typedef struct st__stale {
    st__arena texts;
    st__key *names; /* `count` of `room` */
    size_t count;
    size_t room;
} st__stale;

/* Finds them in a folder, which need not be there. To be released in both cases. ST_ERR_IO; ST_ERR_NOMEM. */
st_status st__stale_find(const st_split *split, const char *folder, st__stale *out,
                         st_error *error);
void st__stale_release(const st_split *split, st__stale *stale);

/* Tells a metadata entry that goes into every shard rather than into the index. */
bool st__split_is_of_shards(const st_metadata *entry);

#endif
