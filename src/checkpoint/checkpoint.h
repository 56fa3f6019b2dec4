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

/* Makes one that holds nothing yet; takes the caller's reference to `context` over on success. */
st_status st__checkpoint_new(st_context *context, const char *path, st_checkpoint **out,
                             st_error *error);

typedef enum st__checkpoint_kind { ST__OF_FILE, ST__OF_FOLDER, ST__OF_INDEX } st__checkpoint_kind;

/* Finds out what its path is, and keeps the folder that the names of its files begin in. A single file is added. */
st_status st__checkpoint_look(st_checkpoint *checkpoint, const st_open_options *options,
                              st__checkpoint_kind *out, st_error *error);
/* The names of the indices in a folder, in their order. Begins as zeros. */
typedef struct st__folder {
    st__key *indices; /* `count` of `room` */
    size_t count;
    size_t room;
} st__folder;

/* Tells an index, and a file, by the name that it has in a folder. */
bool st__folder_has_index(const char *name);
bool st__folder_has_file(const char *name);
/* Lists the folder. Where no index is in it the files are those of the checkpoint, with names and not opened;
 * ST_ERR_NOT_FOUND: there are none either. `folder` is to be released whatever comes of it. */
st_status st__folder_look(st_checkpoint *checkpoint, st__folder *folder, st_error *error);
void st__folder_release(const st_checkpoint *checkpoint, st__folder *folder);
/* Tells of several indices. */
st_status st__folder_judge(const st__folder *folder, const st__index_judge *judge);

/* Reads all of an index of at most so many bytes, to be freed with st__free, and what the source is. ST_ERR_JSON: it has
 * more. */
st_status st__index_bytes_read(const char *path, const st_open_options *options, uint64_t most,
                               st_memory *out, st_source_info *info, st_error *error);
/* The same of one that may be as long as a header, and keeps its identity. */
st_status st__index_text_read(st_checkpoint *checkpoint, const char *path,
                              const st_open_options *options, st_memory *out, st_error *error);
/* Takes the index's files over in the order of their names, and tells its entries their new numbers. */
st_status st__index_files_take(st_checkpoint *checkpoint, st__index *index, st_error *error);

/* Finds the entry of a tensor that lies in this file; NULL: the index does not put it there. */
st__index_entry *st__index_find(const st__index *index, const st_tensor *tensor, size_t file);
/* Tells of an entry whose file does not hold its tensor. */
st_status st__index_tensor_miss(const st_checkpoint *checkpoint, const st__index_entry *entry,
                                const st__index_judge *judge) ST__COLD;

/* Takes the tensors of all files that are open, and makes the map of their names. */
st_status st__checkpoint_take_all(st_checkpoint *checkpoint, const st__index_judge *judge);
/* Adds a tensor's bytes to those of all; what is too much is told once. */
st_status st__checkpoint_size_add(st_checkpoint *checkpoint, uint64_t size,
                                  const st__index_judge *judge);

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
