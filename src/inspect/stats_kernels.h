/* SPDX-License-Identifier: Apache-2.0 */
/* The loops that some processors have faster instructions for than the compiler may use everywhere.
 *
 * A kernel does the same as the portable code that it stands in for, to the last bit: it takes elements from
 * the front, a whole number of its steps, and returns how many; the portable code takes the rest. */
#ifndef ST_INSPECT_STATS_KERNELS_H
#define ST_INSPECT_STATS_KERNELS_H

#include "inspect/stats.h"

#define ST__LANES 8u

/* Sums of elements and of their squares: element i is in lane i % ST__LANES, and elements of a lane are added
 * in their order. Of integers up to 8 bits all sums are exact, so that their lanes do not matter.
 * NaN is neither least nor most; which zero stands in `min` and `max` is not told. */
typedef struct st__lanes {
    double sum[ST__LANES];
    double squares[ST__LANES];
    double min;
    double max;
    uint64_t zeros;
    uint64_t negatives;
} st__lanes;

/* Adds elements, up to ST__CHUNK of them, to lanes. */
typedef size_t (*st__lanes_kernel)(const unsigned char *data, size_t count, st__lanes *lanes);

/* NULL: there is none. All data are little-endian. */
struct st__kernels {
    st__lanes_kernel f64;
    st__lanes_kernel f32;
    st__lanes_kernel f16;
    st__lanes_kernel bf16;
    st__lanes_kernel i8;
    st__lanes_kernel u8;
    /* Counts values by bins. */
    size_t (*bins)(st__histogram *histogram, const st__bins *bins, const double *values,
                   size_t count);
};

/* None at all. */
extern const st__kernels st__kernels_portable;
/* Those that the processor can run. */
const st__kernels *st__kernels_here(void);

#endif
