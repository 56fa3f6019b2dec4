/* SPDX-License-Identifier: Apache-2.0 */
/* The text of an index: which shard each tensor lies in. No I/O. */
#ifndef ST_CHECKPOINT_INDEX_H
#define ST_CHECKPOINT_INDEX_H

#include "base/arena.h"
#include "base/map.h"
#include "checkpoint/rule.h"

/* A tensor that the index names. */
typedef struct st__index_entry {
    st__key tensor;  /* first, as st__map wants it */
    uint64_t offset; /* of its name in the text */
    uint32_t file;   /* index into st__index.files */
    bool found;      /* for who looks for it in the shard */
    bool passed;     /* another of the same name stands behind it: readers of JSON take the last */
} st__index_entry;

typedef struct st__index_file {
    st__key name;
    uint64_t offset; /* in the text, of the value that names it first */
} st__index_file;

typedef struct st__index_pair {
    st_metadata pair;
    uint64_t offset; /* of its key */
    bool string;     /* the value is one */
    bool passed;     /* as an entry's: its value stands where the key stood first */
} st__index_pair;

typedef struct st__index {
    st_context *context;
    st__arena texts;          /* of names */
    st__index_entry *entries; /* `count`, in the order of the text */
    size_t count;
    size_t room;
    st__map names; /* of the entries */
    st__index_file *files;
    size_t file_count;
    size_t file_room;
    st__map file_names; /* of the files, with places for `file_mapped` */
    size_t file_mapped;
    st__arena *kept; /* where the texts of the metadata go */
    st__index_pair
        *pairs; /* without what only counts the tensors; what is no string as it stands there */
    size_t pair_count;
    size_t pair_room;
    st__map keys; /* of the pairs */
    st__hash_key hash_key;
    bool has_total;
    uint64_t total; /* total_size, where it is a whole number */
    uint64_t total_offset;
    st__key parameters; /* total_parameters, where it is a number, as it stands there */
    /* Of a text whose deviations went into a sink: */
    bool broken;  /* there is nothing that could be compared with files */
    bool partial; /* entries were left out */
} st__index;

/* A text of fewer bytes than this is read. */
#define ST__INDEX_MAX UINT64_C(4294901760)

/* Reads a text. `index` is zeroed but for `context` and `kept`, and to be released whatever comes of it. Without a sink
 * ST_ERR_JSON; ST_ERR_SHARD_NAME; ST_ERR_NAME_DUPLICATE; ST_ERR_METADATA_DUPLICATE; all with the offset. With one it
 * receives these, and what cannot be used of the text is left out. ST_ERR_STOPPED; ST_ERR_NOMEM. */
st_status st__index_parse(st__index *index, const char *text, size_t len,
                          const st__index_judge *judge);
void st__index_release(st__index *index);

#endif
