/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the index of a checkpoint, tensor by tensor, for who compares it with the files. */
#ifndef CLI_INDEX_TEXT_H
#define CLI_INDEX_TEXT_H

#include <safetensors/safetensors.h>

struct index_entry {
    char *name;
    size_t name_len;
    char *shard;     /* terminated; names with a NUL are no shard's */
    uint64_t offset; /* of the tensor's name in the index */
};

struct index_text {
    struct index_entry *entries; /* ordered by shard, then by name */
    size_t count;
    size_t room;
    bool mapped; /* they come out of "weight_map", not out of the object around it */
    bool has_total;
    uint64_t total; /* total_size */
    uint64_t total_offset;
};

/* Finds the index of a folder, or gives the path itself if it is no folder's; freed with free(). NULL where there is
 * none. ST_ERR_IO. */
st_status index_text_find(const char *path, char **out, st_error *error);
/* Reads an index. What is not as it should be is passed over: st_checkpoint_open tells of it. ST_ERR_JSON. */
st_status index_text_read(struct index_text *text, const char *bytes, size_t len, const char *name,
                          st_error *error);
/* Tells whether one of `count` entries of a shard is that of a tensor. */
bool index_text_has(const struct index_entry *entries, size_t count, const char *name, size_t len);
void index_text_release(struct index_text *text);

#endif
