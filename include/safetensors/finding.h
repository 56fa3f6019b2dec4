/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What a check says: rules, and findings, which are deviations from them. st_check of inspect.h finds them in a file,
 * st_checkpoint_check of checkpoint.h in the index of many.
 */
#ifndef SAFETENSORS_FINDING_H
#define SAFETENSORS_FINDING_H

#include <safetensors/safetensors.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ST_SEVERITY_ERROR = 1, /**< opening refuses it, with the finding's status */
    ST_SEVERITY_WARNING =
        2,               /**< accepted, but another reader may refuse it or read it differently */
    ST_SEVERITY_NOTE = 3 /**< accepted everywhere; worth knowing */
};

/** One rule that a file or an index can break. The identifiers are stable; docs/format.md lists those of files. */
typedef struct st_rule {
    const char *id;   /**< "layout-hole" */
    int32_t severity; /**< ST_SEVERITY_…, under the default flags */
    st_status status; /**< what opening returns; ST_OK unless an error */
    const char *text; /**< what the rule says, one line */
} st_rule;

/** The rules of files: their number, and each one by its index, 0 .. count-1. */
ST_API size_t st_rule_count(void);
ST_API const st_rule *st_rule_at(size_t index);
/** Finds a rule by its identifier; NULL if there is none. */
ST_API const st_rule *st_rule_find(const char *id, size_t id_len);

/** One deviation found. Valid during the callback. */
typedef struct st_finding {
    const st_rule *rule;
    int32_t severity; /**< the rule's, unless the flags judge otherwise */
    st_status status; /**< the rule's, or ST_OK where the flags accept it */
    uint64_t offset;  /**< absolute byte offset in the file, or ST_NO_OFFSET */
    const char *name; /**< the tensor's, or NULL */
    size_t name_len;
    const char *message; /**< one line, terminated: as st_error's, without the file's name */
    uint64_t reserved[4];
} st_finding;

/** Receives one finding; false ends the check. Called on the caller's thread. */
typedef bool (*st_finding_fn)(void *ctx, const st_finding *finding);

/** What a check saw. */
typedef struct st_check_summary {
    uint64_t errors;
    uint64_t warnings;
    uint64_t notes;
    uint64_t tensors;  /**< entries that could be read */
    uint64_t metadata; /**< metadata entries */
    uint64_t file_size;
    uint64_t header_size; /**< N, or 0 where the file is too short to have one */
    uint64_t data_size;   /**< bytes after the header */
    uint64_t reserved[8];
} st_check_summary;

#ifdef __cplusplus
}
#endif

#endif
