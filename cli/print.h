/* SPDX-License-Identifier: Apache-2.0 */
/* Prints values in brackets as NumPy prints arrays: columns aligned, long rows broken, and the
 * middle of long dimensions left out. The values are handed over twice: print_fit sees all that
 * will be printed, then print_put prints them. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <safetensors/safetensors.h>

#include "out.h"

#define PRINT_DIMS 64

struct print_dim {
    uint64_t shown; /* positions, without the gap */
    uint64_t gap;   /* the position after which the middle is left out; 0: nowhere */
    uint64_t at;
};

struct print {
    struct out *out;
    st_dtype dtype;
    struct print_dim dims[PRINT_DIMS];
    size_t ndim;
    size_t before; /* the decimal point: the most columns */
    size_t after;  /* and from it on */
    size_t column;
    size_t owed; /* blanks after the last value, not written where its line ends */
    bool begun;
};

/* `shape` is that of what is printed. Dimensions of more than 2 * edge are cut, unless `edge` is
 * 0. */
void print_init(struct print *print, struct out *out, st_dtype dtype, const st_region *region,
                uint64_t edge);
void print_fit(void *print, const st_value *value);
void print_put(void *print, const st_value *value);
/* Closes the brackets, and the line. */
void print_end(struct print *print);

#endif
