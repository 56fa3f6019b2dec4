/* SPDX-License-Identifier: Apache-2.0 */
/* Files of F32 weights to be edited, compared, and split. */
#ifndef BENCH_WEIGHTS_H
#define BENCH_WEIGHTS_H

#include <safetensors/safetensors.h>

#include <stddef.h>
#include <stdint.h>

enum {
    BENCH_WEIGHTS_NAME = 64,
    BENCH_WEIGHTS_TENSOR = 8 << 20, /* bytes of a tensor */
    BENCH_WEIGHTS_COUNT = BENCH_WEIGHTS_TENSOR / 4,
    BENCH_WEIGHTS_FEWER = 8
};

typedef enum bench_weights_change {
    BENCH_WEIGHTS_SAME,
    BENCH_WEIGHTS_FEW, /* one value of every BENCH_WEIGHTS_FEWER-th tensor is another */
    BENCH_WEIGHTS_ALL  /* every value but 0 is, by a 4096th of its size */
} bench_weights_change;

/* Makes a file of `bytes`, a multiple of BENCH_WEIGHTS_TENSOR, in tensors of that size, and has it on the disk when it
 * returns. The first value of each tensor is its number; the others are spread as weights are, and the same in
 * all. The file's pages stay in the page cache. Gives its size. */
uint64_t bench_weights_make(const char *path, uint64_t bytes, bench_weights_change change);
/* Writes the name of tensor `index`. Gives its length. */
size_t bench_weights_name(size_t index, char *name);

/* Ends the program unless it is a ST_OK. */
void bench_check(st_status status, const st_error *error);

#endif
