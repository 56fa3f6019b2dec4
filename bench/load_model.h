/* SPDX-License-Identifier: Apache-2.0 */
/* What bench_load loads: so many tensors of F32 of equal size, in so many files of a folder. */
#ifndef BENCH_LOAD_MODEL_H
#define BENCH_LOAD_MODEL_H

#include <stddef.h>
#include <stdint.h>

enum { LOAD_FILES_MAX = 16, LOAD_PATH_SIZE = 4096 };

typedef struct load_model {
    size_t tensors, files;
    size_t tensor_size;
    uint64_t bytes; /* of all tensors */
    uint64_t sum;   /* of them as 64-bit words: what touching them must come to */
    char folder[LOAD_PATH_SIZE - 64];
    const char *paths[LOAD_FILES_MAX];
    char names[LOAD_FILES_MAX][LOAD_PATH_SIZE];
} load_model;

/* Makes the files that are not there below `root`, of `bytes` at most, and leaves none of them dirty. */
void load_model_make(load_model *model, const char *root, size_t tensors, size_t files,
                     uint64_t bytes);

#endif
