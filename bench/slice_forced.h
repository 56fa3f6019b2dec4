/* SPDX-License-Identifier: Apache-2.0 */
/* Column slices of the file of bench_slice, cold and warm, by each strategy in turn; and what two processes
 * read of a tensor of which each wants a half. */
#ifndef BENCH_SLICE_FORCED_H
#define BENCH_SLICE_FORCED_H

#include <stdint.h>

/* The file: a header of this size, and a tensor "w" of bytes. */
#define SLICE_DATA_SIZE (UINT64_C(1) << 30)
enum { SLICE_HEADER_SIZE = 4096 };

/* Writes the header anew, for rows of so many bytes. */
void slice_header_write(const char *path, uint64_t row_size);

/* Prints rows of bench_slice's CSV. `to` and `from` have half of SLICE_DATA_SIZE, and are warm. Nobody may have
 * the file mapped. */
void slice_forced_run(const char *path, unsigned char *to, unsigned char *from, unsigned runs);

#endif
