/* SPDX-License-Identifier: Apache-2.0 */
/* Elements as the numbers that they stand for, and as keys that are ordered as these are; by chunks that stay
 * in the nearest caches, so that going over one several times costs little. */
#ifndef ST_INSPECT_STATS_CHUNK_H
#define ST_INSPECT_STATS_CHUNK_H

#include <safetensors/safetensors.h>

/* Elements: 32 KiB as doubles. */
#define ST__CHUNK 4096u

/* What elements are. Those of C64 are measured by their absolute values, which are F64. */
typedef enum st__number {
    ST__NUMBER_NONE,
    ST__NUMBER_F32,
    ST__NUMBER_F64,
    ST__NUMBER_I32,
    ST__NUMBER_U32,
    ST__NUMBER_I64,
    ST__NUMBER_U64,
    /* Of these there are keys of values only: those of F64. */
    ST__NUMBER_F16,
    ST__NUMBER_BF16,
    ST__NUMBER_I8,
    ST__NUMBER_U8
} st__number;

/* ST__NUMBER_NONE for dtypes that are none of these. */
st__number st__number_of(st_dtype dtype);
/* Bytes of an element, and of its key. */
uint32_t st__number_size(st__number number);

/* What elements count as. 64-bit integers are rounded. */
void st__chunk_values(st__number number, const unsigned char *data, size_t count, double *values);
/* The absolute values of C64, as stored F64. */
void st__chunk_absolutes(const unsigned char *data, size_t count, double *absolutes);

/* Keys are unsigned integers that are ordered as the elements' values are; -0.0 comes before 0.0, NaN is at
 * one end or the other. */
void st__chunk_keys(st__number number, const unsigned char *data, size_t count, uint64_t *keys);
uint64_t st__key_at(st__number number, const unsigned char *data, size_t i);
double st__key_value(st__number number, uint64_t key);
/* Of a value that st__key_value gives. */
uint64_t st__key_of(st__number number, double value);

/* Tops: the highest 16 bits of elements as they are stored, which takes fewer steps than those of their keys
 * and tells as much. */
void st__chunk_count_tops(st__number number, const unsigned char *data, size_t count,
                          uint32_t *counts);
/* Lists the elements whose top has the mark 1, not 0; gives their number. */
size_t st__chunk_list_tops(st__number number, const unsigned char *data, size_t count,
                           const unsigned char *marks, uint16_t *list);
/* The top of elements whose key has these as its highest 16 bits. */
uint32_t st__top_of_key(st__number number, uint32_t high);

#endif
