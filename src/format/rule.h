/* SPDX-License-Identifier: Apache-2.0 */
/* The rules a header can break, in the order in which they are judged, and the sink that receives the
 * deviations. One parser serves open, check and repair; they differ in the sink only. */
#ifndef ST_FORMAT_RULE_H
#define ST_FORMAT_RULE_H

#include <safetensors/finding.h>

/* X(NAME, "id", stage, severity, status, text). Stages are the order of judgement: of several faults
 * the one of the lowest stage is the file's, and within a stage the first. */
#define ST_RULE_MAP(X)                                                                            \
 X(FILE_TOO_SMALL, "file-too-small", 0, ST_SEVERITY_ERROR, ST_ERR_HEADER_TOO_SMALL,               \
   "a file has at least 8 bytes")                                                                 \
 X(HEADER_TOO_LARGE, "header-too-large", 0, ST_SEVERITY_ERROR, ST_ERR_HEADER_TOO_LARGE,           \
   "the header length is at most 100,000,000")                                                    \
 X(HEADER_LENGTH, "header-length", 0, ST_SEVERITY_ERROR, ST_ERR_HEADER_LENGTH,                    \
   "the header ends within the file")                                                             \
 X(HEADER_UTF8, "header-utf8", 1, ST_SEVERITY_ERROR, ST_ERR_HEADER_UTF8, "the header is UTF-8")   \
 X(JSON_SYNTAX, "json-syntax", 2, ST_SEVERITY_ERROR, ST_ERR_HEADER_JSON,                          \
   "the header is one JSON text")                                                                 \
 X(JSON_DEPTH, "json-depth", 2, ST_SEVERITY_ERROR, ST_ERR_HEADER_DEPTH,                           \
   "nesting is at most 127 deep")                                                                 \
 X(HEADER_TYPE, "header-type", 2, ST_SEVERITY_ERROR, ST_ERR_HEADER_TYPE,                          \
   "the header is an object")                                                                     \
 X(METADATA_TYPE, "metadata-type", 2, ST_SEVERITY_ERROR, ST_ERR_METADATA_TYPE,                    \
   "__metadata__ is an object of strings, or null")                                               \
 X(METADATA_TWICE, "metadata-twice", 2, ST_SEVERITY_ERROR, ST_ERR_METADATA_TWICE,                 \
   "__metadata__ appears once")                                                                   \
 X(ENTRY_TYPE, "entry-type", 3, ST_SEVERITY_ERROR, ST_ERR_ENTRY_TYPE,                             \
   "a tensor's entry is an object")                                                               \
 X(ENTRY_ARRAY, "entry-array", 3, ST_SEVERITY_ERROR, ST_ERR_ENTRY_TYPE,                           \
   "a tensor's entry is an object, not an array of its three values")                             \
 X(FIELD_DUPLICATE, "field-duplicate", 3, ST_SEVERITY_ERROR, ST_ERR_FIELD_DUPLICATE,              \
   "a field appears once in an entry")                                                            \
 X(FIELD_MISSING, "field-missing", 3, ST_SEVERITY_ERROR, ST_ERR_FIELD_MISSING,                    \
   "an entry has dtype, shape and data_offsets")                                                  \
 X(DTYPE_TYPE, "dtype-type", 3, ST_SEVERITY_ERROR, ST_ERR_DTYPE_TYPE, "dtype is a string")        \
 X(DTYPE_OBJECT, "dtype-object", 3, ST_SEVERITY_ERROR, ST_ERR_DTYPE_TYPE,                         \
   "dtype is a string, not an object with the code as its key")                                   \
 X(DTYPE_UNKNOWN, "dtype-unknown", 3, ST_SEVERITY_ERROR, ST_ERR_DTYPE_UNKNOWN,                    \
   "dtype is one of the 22 codes")                                                                \
 X(SHAPE_TYPE, "shape-type", 3, ST_SEVERITY_ERROR, ST_ERR_SHAPE_TYPE,                             \
   "shape is an array of integers from 0 to 2^64-1")                                              \
 X(OFFSETS_TYPE, "offsets-type", 3, ST_SEVERITY_ERROR, ST_ERR_OFFSETS_TYPE,                       \
   "data_offsets is an array of two integers from 0 to 2^64-1")                                   \
 X(METADATA_DUPLICATE, "metadata-duplicate", 4, ST_SEVERITY_ERROR, ST_ERR_METADATA_DUPLICATE,     \
   "a metadata key appears once")                                                                 \
 X(NAME_DUPLICATE, "name-duplicate", 4, ST_SEVERITY_ERROR, ST_ERR_NAME_DUPLICATE,                 \
   "a tensor name appears once")                                                                  \
 X(LAYOUT_REVERSED, "layout-reversed", 5, ST_SEVERITY_ERROR, ST_ERR_OFFSETS,                      \
   "a tensor's end is not before its begin")                                                      \
 X(LAYOUT_HOLE, "layout-hole", 5, ST_SEVERITY_ERROR, ST_ERR_OFFSETS,                              \
   "each tensor begins where the one before it ends, the first at 0")                             \
 X(LAYOUT_OVERLAP, "layout-overlap", 5, ST_SEVERITY_ERROR, ST_ERR_OFFSETS,                        \
   "no two tensors share a byte")                                                                 \
 X(SIZE_OVERFLOW, "size-overflow", 5, ST_SEVERITY_ERROR, ST_ERR_OVERFLOW,                         \
   "a tensor's size in bits fits 64 bits, multiplied from left to right")                         \
 X(SIZE_BITS, "size-bits", 5, ST_SEVERITY_ERROR, ST_ERR_MISALIGNED,                               \
   "a tensor's size in bits is a multiple of 8")                                                  \
 X(SIZE_MISMATCH, "size-mismatch", 5, ST_SEVERITY_ERROR, ST_ERR_SIZE_MISMATCH,                    \
   "data_offsets span just the bytes that dtype and shape imply")                                 \
 X(FILE_TRUNCATED, "file-truncated", 6, ST_SEVERITY_ERROR, ST_ERR_FILE_TRUNCATED,                 \
   "the file holds all bytes of the last tensor")                                                 \
 X(TRAILING_BYTES, "trailing-bytes", 6, ST_SEVERITY_ERROR, ST_ERR_TRAILING_BYTES,                 \
   "the file ends with the last tensor")                                                          \
 X(LEADING_SPACE, "leading-space", 7, ST_SEVERITY_WARNING, ST_OK, "the header's first byte is {") \
 X(PADDING, "padding", 7, ST_SEVERITY_WARNING, ST_OK, "the header is padded with spaces only")    \
 X(METADATA_NULL, "metadata-null", 7, ST_SEVERITY_WARNING, ST_OK,                                 \
   "__metadata__ is left out rather than null")                                                   \
 X(FIELD_UNKNOWN, "field-unknown", 7, ST_SEVERITY_WARNING, ST_OK,                                 \
   "an entry has no other fields than dtype, shape and data_offsets")                             \
 X(NAME_SUSPECT, "name-suspect", 7, ST_SEVERITY_WARNING, ST_OK,                                   \
   "a name is not empty and holds no control, invisible or reordering characters")                \
 X(METADATA_SUSPECT, "metadata-suspect", 7, ST_SEVERITY_WARNING, ST_OK,                           \
   "a metadata key holds no control, invisible or reordering characters")                         \
 X(HEADER_ALIGNMENT, "header-alignment", 7, ST_SEVERITY_NOTE, ST_OK,                              \
   "the data section starts at a multiple of 8")                                                  \
 X(TENSOR_ALIGNMENT, "tensor-alignment", 7, ST_SEVERITY_NOTE, ST_OK,                              \
   "a tensor starts at a multiple of its element's size")                                         \
 X(HEADER_ORDER, "header-order", 7, ST_SEVERITY_NOTE, ST_OK,                                      \
   "entries stand in the order of their data")

typedef enum st__rule {
#define RULE_ENUM(name, id, stage, severity, status, text) ST__RULE_##name,
    ST_RULE_MAP(RULE_ENUM)
#undef RULE_ENUM
        ST__RULE_COUNT
} st__rule;

enum { ST__STAGES = 8 };

/* The rule with its stage. */
typedef struct st__rule_info {
    st_rule rule;
    int stage;
} st__rule_info;

extern const st__rule_info st__rules[ST__RULE_COUNT];

/* One deviation. The message names tensor and numbers, not the file. */
typedef struct st__deviation {
    st__rule rule;
    uint64_t offset;  /* absolute, or ST_NO_OFFSET */
    const char *name; /* the tensor's, or NULL */
    size_t name_len;
    char message[352];
} st__deviation;

/* Receives deviations in the order met; false ends the parse with ST_ERR_STOPPED. */
typedef struct st__sink {
    bool (*report)(void *ctx, const st__deviation *deviation);
    void *ctx;
    int below; /* only rules of lower stages are reported; ST__STAGES for all */
    /* What can be read is to be kept: all entries of one name, metadata that is no string as its text. */
    bool salvages;
    /* Where it salvages: told behind the deviations of an entry that cannot be used, of which entry that was. */
    bool (*lost)(void *ctx, const char *name, size_t name_len, uint64_t offset);
} st__sink;

/* Tells what `flags` (ST_OPEN_…) make of a rule: its severity, WARNING where they accept it. */
int32_t st__rule_severity(st__rule rule, uint32_t flags);

#endif
