/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing and validating a header, without I/O of its own: bytes come through a callback. */
#ifndef ST_FORMAT_HEADER_H
#define ST_FORMAT_HEADER_H

#include "format/rule.h"

/* Where a header comes from. */
typedef struct st__header_input {
    /* Copies exactly `size` bytes of the file at `offset`; called in rising order, except that a header
     * may be read a second time from its start. Never asks past `file_size`, and past the header by
     * less than one speculative block (ST__HEADER_BLOCK). */
    st_status (*read)(void *ctx, uint64_t offset, void *dst, size_t size, st_error *error);
    void *ctx;
    /* The same bytes where they lie in memory, if they do: `memory_size` from the file's start on. */
    const unsigned char *memory;
    size_t memory_size;
    uint64_t file_size;
    uint64_t
        first; /* bytes that the first reading may ask for, if below ST__HEADER_BLOCK; 0: that */
    const char *name; /* the file's, for messages */
    /* Random words that key the hash of names, so that no file can be made to collide; all 0: derived
     * from addresses. */
    uint64_t hash_key[3];
} st__header_input;

#define ST__HEADER_BLOCK 16384u

/* Reads, parses and validates a header: the fast path, and on any deviation a second look that finds the
 * fault that counts. `options` may be NULL. */
st_status st__header_read(const st__header_input *input, const st_open_options *options,
                          st_header **out, st_error *error);

/* References that do not keep the header's context alive: of what the context itself keeps, and drops no later than
 * it is freed. */
void st__header_keep(st_header *header);
void st__header_drop(st_header *header);
/* Bytes that it has allocated. */
uint64_t st__header_memory(const st_header *header);

/* Reports every deviation to `sink` and goes on as far as it can. `summary` is filled but for its counts
 * of findings. @return ST_OK when the header was looked through; ST_ERR_STOPPED; a failure to read. */
st_status st__header_check(const st__header_input *input, const st_open_options *options,
                           const st__sink *sink, st_check_summary *summary, st_error *error);

#endif
