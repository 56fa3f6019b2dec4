/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing elements chunk by chunk: what they count as, how far they are apart, and how many of which kind. */
#ifndef ST_INSPECT_COMPARE_CHUNK_H
#define ST_INSPECT_COMPARE_CHUNK_H

#include "inspect/stats_chunk.h"

#include <safetensors/inspect.h>

/* Elements; four arrays of as many doubles, or of twice as many for a C64's parts, stay in the second-level cache. */
#define ST__COMPARE_CHUNK 2048u

/* By what elements are compared. */
typedef enum st__compare_form {
    ST__COMPARE_BYTES,    /* by nothing but their bytes: the dtype is unknown */
    ST__COMPARE_DOUBLES,  /* each is a double exactly */
    ST__COMPARE_INTEGERS, /* integers, of which some need 64 bits */
    ST__COMPARE_MIXED     /* 64-bit integers with floats: a double and what rounding left */
} st__compare_form;

/* How one side's elements become numbers. */
typedef struct st__operand {
    st_dtype dtype;
    st_kind kind;
    uint32_t bits;
    st__number number; /* ST__NUMBER_NONE: by the table, or as 16-bit integers */
    double table[256]; /* by code, of dtypes of up to 8 bits */
} st__operand;

/* What is compared, and how; the same for all threads. */
typedef struct st__comparing {
    st__operand operands[2];
    st__compare_form form;
    bool same_dtype;
    bool equal_nan;
    bool close;
    uint32_t parts; /* of an element: 2 where one side is complex */
    double atol;
    double rtol;
} st__comparing;

/* Sets it up for two dtypes, known ones unless they are the same. */
void st__comparing_init(st__comparing *comparing, st_dtype a, st_dtype b,
                        const st_compare_options *options);

/* Room for one thread. */
typedef struct st__compare_room {
    double values[2][2 * ST__COMPARE_CHUNK];
    double rests[2][2 * ST__COMPARE_CHUNK]; /* of ST__COMPARE_MIXED; else the distances */
    unsigned char codes[2][ST__COMPARE_CHUNK];
} st__compare_room;

/* Gives sub-byte elements a byte each, in `codes`; others as they are. Chunks of them begin and end with whole bytes. */
const unsigned char *st__operand_unpack(const st__operand *operand, const unsigned char *data,
                                        size_t count, unsigned char *codes);
/* Fills what the form needs of a side's values and rests, out of elements of whole bytes. */
void st__operand_values(const st__comparing *comparing, st__compare_room *room, int side,
                        const unsigned char *data, size_t count);

/* The largest error so far and where it is first. */
typedef struct st__error_peak {
    uint64_t integer; /* of integers, exactly */
    double value;
    uint64_t at; /* UINT64_MAX: there is none */
} st__error_peak;

/* What was counted; the order of counting does not matter. */
typedef struct st__tally {
    uint64_t different;
    uint64_t beyond;
    uint64_t nan[2];
    uint64_t nan_both;
    uint64_t infinite;
    uint64_t first;
    st__error_peak absolute;
    st__error_peak relative;
} st__tally;

void st__tally_init(st__tally *tally);
void st__tally_add(st__tally *into, const st__tally *from);
/* Whether what was counted makes no difference. */
bool st__tally_same(const st__comparing *comparing, const st__tally *tally);

/* Compares up to ST__COMPARE_CHUNK elements, the first of them number `first`. Gives the sum of the absolute
 * errors. */
double st__chunk_compare(const st__comparing *comparing, st__compare_room *room,
                         const unsigned char *const data[2], size_t count, st__tally *tally,
                         uint64_t first);

#endif
