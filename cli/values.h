/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the values of a tensor, or of a region of it, in bounded memory. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include <safetensors/safetensors.h>

struct values {
    const st_file *file;
    const st_tensor *tensor;
    const st_region *region;
};

typedef void (*value_fn)(void *ctx, const st_value *value);

/* Hands all values to `value`, in row-major order. */
st_status values_each(const struct values *values, value_fn value, void *ctx, st_error *error);

/* Hands over, in the same order, only those that are among the first or the last `edge` of each
 * dimension of more than 2 * edge. Reads no more than their rows' ends, but for sub-byte dtypes
 * whose rows do not start at byte boundaries: these are read whole. */
st_status values_edges(const struct values *values, uint64_t edge, value_fn value, void *ctx,
                       st_error *error);

#endif
