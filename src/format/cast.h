/* SPDX-License-Identifier: Apache-2.0 */
/* A cast from one float dtype to another that is made ready once, for elements in many pieces. */
#ifndef ST_FORMAT_CAST_H
#define ST_FORMAT_CAST_H

#include "format/cast_kernels.h"

typedef struct st__cast {
    st_dtype from;
    st_dtype to;
    uint32_t from_bits;
    uint32_t to_bits;
    st__narrowing narrowing;
    bool direct; /* `table` holds codes of `to`, and all elements can be kept */
    /* By the code of an element of at most 8 bits: that of F32. */
    uint32_t table[ST__CAST_BLOCK];
} st__cast;

/* st_dtype_casts(from, to), and they differ. Takes microseconds. */
void st__cast_init(st__cast *cast, st_dtype from, st_dtype to);
/* As st_elements_cast; any thread may. */
void st__cast_elements(const st__cast *cast, const void *src, void *dst, uint64_t count,
                       st_cast_report *report);

#endif
