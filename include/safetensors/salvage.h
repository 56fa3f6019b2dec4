/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What can be saved of a damaged file: a new one that is valid, and a list of what became of each thing. docs/salvage.md
 * says what becomes of each kind of damage. st_checkpoint_salvage of checkpoint.h does the same for many files.
 */
#ifndef SAFETENSORS_SALVAGE_H
#define SAFETENSORS_SALVAGE_H

#include <safetensors/finding.h>
#include <safetensors/safetensors.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ST_SALVAGE_SAVED = 1,   /**< a tensor is in the new file, its bytes as they were */
    ST_SALVAGE_CHANGED = 2, /**< something is otherwise in the new file, and nothing is missing */
    ST_SALVAGE_LOST = 3     /**< something is not in the new file */
};

/** One thing to tell of a damaged file. Valid during the callback. */
typedef struct st_salvage_item {
    int32_t kind;        /**< ST_SALVAGE_… */
    int32_t severity;    /**< ST_SEVERITY_… of the rule; 0 for what is as it should be */
    const st_rule *rule; /**< that the file breaks; NULL for ST_SALVAGE_SAVED */
    const char *name;    /**< the tensor's in the damaged file, or NULL */
    size_t name_len;
    const char
        *new_name; /**< in the new file; NULL where it is not there, or it is about no tensor */
    size_t new_name_len;
    uint64_t
        offset; /**< in the damaged file: of a saved tensor's bytes, else of the byte at fault, or ST_NO_OFFSET */
    uint64_t
        size; /**< of a saved tensor, or of a stretch of data that was dropped, in bytes; else 0 */
    const char *message; /**< one line, terminated, without the file's name */
    uint64_t reserved[4];
} st_salvage_item;

/** Receives one item; false ends the salvage. Called on the caller's thread. */
typedef bool (*st_salvage_fn)(void *ctx, const st_salvage_item *item);

/** How to salvage. Zero-initialise; NULL means the same. */
typedef struct st_salvage_options {
    st_salvage_fn item; /**< NULL: only count */
    void *ctx;
    st_progress progress; /**< bytes of the new data section */
    uint64_t reserved[8];
} st_salvage_options;

/** What was saved of a file. */
typedef struct st_salvage_summary {
    uint64_t saved; /**< tensors */
    uint64_t changed;
    uint64_t lost;
    uint64_t
        errors; /**< changed or lost, for rules by which st_file_open refuses a file; 0: nothing was wrong */
    uint64_t bytes;    /**< of the tensors saved */
    uint64_t metadata; /**< entries saved */
    uint64_t size;     /**< of the new file, in bytes; 0: nothing can be saved */
    uint64_t reserved[8];
} st_salvage_summary;

/**
 * Saves what can be saved of a damaged file, by a new one that is valid. Every tensor in it is a stretch of the damaged
 * file's bytes; what is not there is not made up. What the file's header says is judged as st_check does, and:
 *
 * - where the header's length is wrong, but text and sizes account for every byte of the file, they count;
 * - where a stretch of the header cannot be read, the entries before and behind it are saved;
 * - an entry whose values cannot be read, or disagree, is lost; so is a tensor of which bytes are missing, and one of an
 *   unknown dtype unless the options' flags have ST_OPEN_UNKNOWN_DTYPES;
 * - bytes that belong to no tensor are dropped, and tensors that share bytes get each a copy;
 * - of several tensors of one name the last keeps it, as upstream reads it, and the others are named "NAME.duplicate-1"
 *   and so on; entries that are the same in all are one;
 * - metadata that is no string is kept as its JSON text, of a key given again the last value.
 *
 * @param sink  NULL: only tells. Where nothing can be saved nothing is written to it.
 * @param out   may be NULL.
 * @return ST_OK when the file was looked through, whatever was found; ST_ERR_STOPPED by a callback; as st_source_read,
 *         st_writer_begin and st_writer_finish; ST_ERR_HEADER_TOO_LARGE where longer names do not fit.
 */
ST_API ST_WARN_UNUSED st_status st_salvage(st_source *source, const st_open_options *options,
                                           st_sink *sink, const st_salvage_options *salvage,
                                           st_salvage_summary *out, st_error *error);

#ifdef __cplusplus
}
#endif

#endif
