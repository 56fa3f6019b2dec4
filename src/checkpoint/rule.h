/* SPDX-License-Identifier: Apache-2.0 */
/* The rules an index can break, or a folder without one, and the sink that receives the deviations. Opening and
 * checking differ in the sink only. */
#ifndef ST_CHECKPOINT_RULE_H
#define ST_CHECKPOINT_RULE_H

#include "base/error.h"

#include <safetensors/finding.h>

/* X(NAME, "id", severity, status, text) */
#define ST_INDEX_RULE_MAP(X)                                                                     \
 X(JSON, "index-json", ST_SEVERITY_ERROR, ST_ERR_JSON,                                           \
   "an index is a JSON object that names the file of each tensor")                               \
 X(NAME_DUPLICATE, "index-duplicate", ST_SEVERITY_ERROR, ST_ERR_NAME_DUPLICATE,                  \
   "a tensor is in one file, and stands in an index once")                                       \
 X(METADATA_DUPLICATE, "index-metadata-duplicate", ST_SEVERITY_ERROR, ST_ERR_METADATA_DUPLICATE, \
   "a metadata key stands in an index once")                                                     \
 X(SHARD_NAME, "index-shard-name", ST_SEVERITY_ERROR, ST_ERR_SHARD_NAME,                         \
   "an index names .safetensors files in its own folder or below")                               \
 X(SHARD_MISSING, "index-shard-missing", ST_SEVERITY_ERROR, ST_ERR_IO,                           \
   "a file that an index names is there")                                                        \
 X(TENSOR_MISSING, "index-tensor-missing", ST_SEVERITY_ERROR, ST_ERR_SHARD_TENSOR,               \
   "a file holds the tensors that an index says it holds")                                       \
 X(SEVERAL, "index-several", ST_SEVERITY_ERROR, ST_ERR_ARGUMENT,                                 \
   "a folder that is opened as one checkpoint has one index at most")                            \
 X(OVERFLOW, "index-overflow", ST_SEVERITY_ERROR, ST_ERR_OVERFLOW,                               \
   "the bytes of all tensors together fit 64 bits")                                              \
 X(TENSOR_UNLISTED, "index-tensor-unlisted", ST_SEVERITY_WARNING, ST_OK,                         \
   "an index names every tensor in its files: readers pass over the others")                     \
 X(TOTAL_SIZE, "index-total-size", ST_SEVERITY_WARNING, ST_OK,                                   \
   "total_size is the bytes of all tensors that an index names")                                 \
 X(NUMBER_MISSING, "index-number-missing", ST_SEVERITY_WARNING, ST_OK,                           \
   "of files numbered -00001-of-00003 all are there, in a folder without an index")

typedef enum st__index_rule {
#define INDEX_RULE_ENUM(name, id, severity, status, text) ST__INDEX_RULE_##name,
    ST_INDEX_RULE_MAP(INDEX_RULE_ENUM)
#undef INDEX_RULE_ENUM
        ST__INDEX_RULE_COUNT
} st__index_rule;

/* Where a deviation is. */
typedef struct st__index_place {
    uint64_t offset;  /* in the index, or ST_NO_OFFSET */
    const char *name; /* the tensor's, or NULL */
    size_t name_len;
} st__index_place;

/* Receives findings in the order met; false ends the check. */
typedef struct st__index_sink {
    bool (*report)(void *ctx, const st_finding *finding);
    void *ctx;
} st__index_sink;

/* Who is told. Without a sink the first deviation of severity error is the error. */
typedef struct st__index_judge {
    const char *name; /* of the index or the folder, for messages */
    const st__index_sink *sink;
    st_error *error;
} st__index_judge;

/* Tells of a deviation. The message is to be what follows the tensor's name. Gives ST_OK to go on; the rule's status, or
 * ST_ERR_STOPPED. */
st_status st__index_deviate(const st__index_judge *judge, st__index_rule rule,
                            const st__index_place *place, const char *format, ...)
    ST__PRINTF(4, 5) ST__COLD;

/* Hands what the library has said of an index to the sink, which there is, as a deviation. */
st_status st__index_deviate_by(const st__index_judge *judge, st__index_rule rule,
                               const st_error *error);

/* Why no shard may have this name, or NULL. It has to stay below the folder of its index, on any system: Windows takes
 * a backslash for a slash, and "c:x" for a place on a drive. */
const char *st__shard_name_fault(const char *name, size_t len);

#endif
