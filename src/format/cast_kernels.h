/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions of a block of floats, by way of F32, which holds every narrower format exactly.
 *
 * All loops run over a whole block, whatever part of it is in use, and have no branches: compilers turn them into
 * vector instructions as they are. No arithmetic is done on floats; that an int32_t of up to 24 bits becomes a float, and a
 * power of two an int32_t, is exact whatever the rounding mode. */
#ifndef ST_FORMAT_CAST_KERNELS_H
#define ST_FORMAT_CAST_KERNELS_H

#include <safetensors/safetensors.h>

enum { ST__CAST_BLOCK = 256 };

/* What fills a block up: 1 becomes 1 everywhere, and counts as nothing. */
#define ST__CAST_FILLER UINT32_C(0x3f800000)

/* From F32 to a format with a sign, of less range or precision, and more than one mantissa code. */
typedef struct st__narrowing {
    int32_t first;   /* exponent field of F32 from which on numbers are normal in the format */
    uint32_t rebias; /* what normal numbers have more in F32 */
    uint32_t shift;  /* bits of the mantissa that go */
    uint32_t end;    /* the least magnitude beyond the finite ones */
    uint32_t over;   /* what they and infinity become */
    uint32_t nan;    /* what NaN becomes; for a negative one turned round by `beyond` */
    uint32_t sign;   /* its bit, for what is finite and not 0 */
    uint32_t zeros;  /* the same, for 0 */
    uint32_t beyond; /* the same, for what is not finite any more */
} st__narrowing;

st__narrowing st__narrowing_of(st_dtype to);

/* Codes of F32 to those of a narrower format, in place. What could not be kept is added to the report. */
void st__block_narrow(const st__narrowing *to, uint32_t *words, st_cast_report *report);
void st__block_narrow_bf16(uint32_t *words, st_cast_report *report);
void st__block_narrow_e8m0(uint32_t *words, st_cast_report *report);
/* Codes of 16 bits, out of words. */
void st__block_halve(const uint32_t *words, uint16_t *halves);
/* Makes every NaN the one that st_element_encode knows. */
void st__block_settle(uint32_t *words);

/* Codes to those of F32; of F64, with the least bit set where any bit was lost ("rounded to odd"), so that the next
 * rounding, to fewer bits by two or more, comes out as if it were the only one. */
void st__block_widen_f16(const uint16_t *halves, uint32_t *words);
void st__block_widen_bf16(const uint16_t *halves, uint32_t *words);
void st__block_odd_f64(const uint64_t *doubles, uint32_t *words);
/* The same, rounded to nearest. */
void st__block_round_f64(const uint64_t *doubles, uint32_t *words, st_cast_report *report);
/* Codes of F32 to those of F64. */
void st__block_widen_f32(const uint32_t *words, uint64_t *doubles);

#endif
