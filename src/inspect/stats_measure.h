/* SPDX-License-Identifier: Apache-2.0 */
/* What the values of a tensor are measured by: counts, extremes, and moments. */
#ifndef ST_INSPECT_STATS_MEASURE_H
#define ST_INSPECT_STATS_MEASURE_H

#include "inspect/stats_chunk.h"
#include "inspect/stats_kernels.h"

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

/* How to measure. The kernels do not show in the results. */
typedef struct st__measuring {
    const st__kernels *kernels;
    st__number number;
    double *room; /* for ST__CHUNK values */
} st__measuring;

/* Measures up to ST__CHUNK elements. */
void st__chunk_measure(const st__measuring *how, const unsigned char *data, size_t count,
                       st__measure *measure, st__moments *moments);

#endif
