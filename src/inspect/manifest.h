/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest in memory: its files, their tensors, and one chain of memory for all their text and shapes. */
#ifndef ST_INSPECT_MANIFEST_H
#define ST_INSPECT_MANIFEST_H

#include "base/map.h"
#include <safetensors/inspect.h>
#include <safetensors/json.h>

#define ST__MANIFEST_FORMAT  "safetensors-manifest"
#define ST__MANIFEST_VERSION 1u

typedef struct st__manifest_tensor {
    st__key name; /* first, as st__map wants it */
    const char *dtype;
    const uint64_t *shape;
    uint32_t dtype_len;
    uint32_t ndim;
    st_digest digest;
} st__manifest_tensor;

typedef struct st__manifest_entry {
    st__key name;
    st_manifest_file file;
    st__manifest_tensor *tensors; /* `file.tensor_count` of them, in an array of `room` */
    size_t room;
} st__manifest_entry;

/* Memory that is given back all at once. */
typedef struct st__manifest_chunk {
    struct st__manifest_chunk *next;
    size_t size;
    size_t used; /* both of `bytes` */
    uint64_t bytes[];
} st__manifest_chunk;

struct st_manifest {
    st_context *context;
    st_hash hash;
    bool recorded;               /* it stands for what a file's own metadata say */
    st__manifest_entry *entries; /* `count` of them, in an array of `room` */
    size_t count;
    size_t room;
    st__map names; /* of the entries, with slots for `room` */
    st__hash_key key;
    st__manifest_chunk *chunks;
};

/* Copies bytes into the manifest, aligned for shapes and with a terminator behind; NULL: ST_ERR_NOMEM. */
void *st__manifest_keep(st_manifest *manifest, const void *data, size_t size, st_error *error);

/* How many records an array of `room` grows to. */
static inline size_t st__manifest_grown(size_t room)
{
    return room ? room * 2 : 4;
}

/* Makes sure that one more record fits an array of records, and its index of names (NULL: none) knows it. False:
 * out of memory, and nothing has changed. */
bool st__manifest_reserve(const st_manifest *manifest, void **records, size_t stride, size_t count,
                          size_t *room, st__map *names);

/* Why a file of this name cannot be added, or NULL. */
const char *st__manifest_refuses(const st_manifest *manifest, const char *name, size_t name_len);
/* Adds a file whose `name` the manifest keeps and does not refuse, and takes its tensors over; ST_ERR_NOMEM leaves
 * them. */
st_status st__manifest_insert(st_manifest *manifest, const st__manifest_entry *entry,
                              st_error *error);

/* One member of a file's `tensors`. */
void st__manifest_emit_tensor(st_json_emitter *emitter, const st__manifest_tensor *tensor);
/* Makes a manifest of one file, of which the text is the `tensors`; as st_manifest_parse. */
st_status st__manifest_parse_tensors(st_context *context, st_hash hash, const st_metadata *entry,
                                     const char *name, st_manifest **out, st_error *error);

#endif
