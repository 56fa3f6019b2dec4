/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint, as its own files see it. */
#ifndef ST_CHECKPOINT_CHECKPOINT_H
#define ST_CHECKPOINT_CHECKPOINT_H

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"
#include "checkpoint/index.h"

#include <safetensors/checkpoint.h>

typedef struct st__checkpoint_file {
    st__key name; /* within the folder */
    st_file *file;
} st__checkpoint_file;

typedef struct st__checkpoint_entry {
    st__key name; /* the tensor's own, first */
    const st_tensor *tensor;
    uint32_t file;
} st__checkpoint_entry;

struct st_checkpoint {
    st_context *context;
    st__arena texts;
    const char *name;              /* the path that was given */
    const char *index;             /* NULL: none */
    st_source_info index_identity; /* as it was when it was read; without an etag */
    const char *folder; /* what comes before the names of the files; ends in a slash, or is empty */
    st__checkpoint_file *files; /* `file_count` of `file_room` */
    size_t file_count;
    size_t file_room;
    st__checkpoint_entry *entries;
    size_t count;
    size_t room; /* how many there is memory for */
    st__map names;
    st_metadata *metadata;
    size_t metadata_count;
    size_t metadata_room;
    uint64_t data_size;
};

/* Lists a folder: finds the one index in it, whose path `*index` receives (NULL: there is none, and the files are those
 * of the checkpoint, with names and not opened). */
st_status st__folder_look(st_checkpoint *checkpoint, const char **index, st_error *error);

/* Makes the metadata out of the files' and the index's own (NULL: there is none). */
st_status st__checkpoint_metadata_make(st_checkpoint *checkpoint, const st__index *index,
                                       st_error *error);

/* Adds a file of this name, not opened. */
st_status st__checkpoint_file_add(st_checkpoint *checkpoint, const char *name, size_t len,
                                  st_error *error);
/* ST_ERR_NOMEM that names the checkpoint. */
st_status st__checkpoint_nomem(const st_checkpoint *checkpoint, uint64_t size,
                               st_error *error) ST__COLD;

#endif
