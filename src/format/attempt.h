/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt at reading a header: what its first bytes say, the block that holds it, and the scan over it.
 * header_read.c makes attempts that only open and that check, header_salvage.c those that save what they can. */
#ifndef ST_FORMAT_ATTEMPT_H
#define ST_FORMAT_ATTEMPT_H

#include "format/header.h"
#include "format/scan.h"

typedef struct st__attempt {
    const st__header_input *input;
    const st_open_options *options;
    st__scan scan;
    unsigned char *block;
    size_t block_size;
    uint64_t size;   /* N */
    uint64_t offset; /* of the first byte that no window has held yet */
    unsigned char
        *chunk; /* where a window's new bytes go, a page's first byte; the headroom is before it */
    size_t chunk_size;
} st__attempt;

/* A file's first bytes, and what they say. */
typedef struct st__frame {
    const unsigned char *bytes;
    size_t len;
    uint64_t file_size;
    uint64_t limit;
    uint64_t size;    /* out: N */
    st_error verdict; /* out: the message, where a rule is broken */
} st__frame;

/* The most that N may be. */
uint64_t st__header_limit(const st_open_options *options);

/* Judges the length in the first bytes of a file. Gives the rule broken, or -1. */
int st__frame_judge(st__frame *frame);

/* Reads all of a header of `attempt->size` bytes into one block, and sets the window to it. */
st_status st__attempt_read(st__attempt *attempt, st_error *error);

/* Begins to parse into a new header; false: out of memory. */
bool st__attempt_begin(st__attempt *attempt, const st__sink *sink);

/* Parses units until the window is used up or something happens. */
st__unit st__attempt_scan(st__scan *scan);

/* Frees what it holds, the header included unless it was taken out. */
void st__attempt_release(st__attempt *attempt);

#endif
