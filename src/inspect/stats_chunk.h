/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops over elements of 32 and 64 bits. They work on chunks that stay in the first-level cache,
 * so that going over one several times costs little. */
#ifndef ST_INSPECT_STATS_CHUNK_H
#define ST_INSPECT_STATS_CHUNK_H

#include <safetensors/safetensors.h>

/* Elements: 16 KiB as doubles. */
#define ST__CHUNK 2048u

typedef enum st__wide {
    ST__WIDE_F32 = 1,
    ST__WIDE_F64,
    ST__WIDE_C64,
    ST__WIDE_I32,
    ST__WIDE_U32,
    ST__WIDE_I64,
    ST__WIDE_U64
} st__wide;

st__wide st__wide_of(st_kind kind, uint32_t bits);
/* Bytes of an element; of its key. */
uint32_t st__wide_size(st__wide wide);
uint32_t st__wide_key_size(st__wide wide);

/* What elements count as. 64-bit integers are rounded. */
void st__chunk_values(st__wide wide, const unsigned char *data, size_t count, double *values);

/* Keys are unsigned integers that are ordered as the elements' values are; -0.0 comes before 0.0, NaN is at
 * one end or the other. */
void st__chunk_keys(st__wide wide, const unsigned char *data, size_t count, uint64_t *keys);
/* Counts keys by their highest 16 bits; not for C64. */
void st__chunk_tops(st__wide wide, const unsigned char *data, size_t count, uint32_t *counts);
double st__key_value(st__wide wide, uint64_t key);
/* Of a value that st__key_value gives. */
uint64_t st__key_of(st__wide wide, double value);

/* What was counted; the order of counting does not matter. */
typedef struct st__measure {
    uint64_t finite;
    uint64_t nan;
    uint64_t positive_infinity;
    uint64_t negative_infinity;
    uint64_t zeros;
    uint64_t negatives;
    double min; /* infinite, and max negative infinite, where nothing is finite */
    double max;
} st__measure;

void st__measure_init(st__measure *measure);
void st__measure_add(st__measure *into, const st__measure *from);

/* Of the finite values so far: their number, mean, and squared distances from the mean. */
typedef struct st__moments {
    uint64_t count;
    double mean;
    double squares;
} st__moments;

/* Joins what follows to what came before (Chan, Golub and LeVeque). */
void st__moments_add(st__moments *into, const st__moments *next);

/* Measures up to ST__CHUNK values, which it may move. */
void st__chunk_measure(double *values, size_t count, st__measure *measure, st__moments *moments);

#endif
