/* SPDX-License-Identifier: Apache-2.0 */
/* How ls prints the tensors of one file, or of a checkpoint, as text. */
#ifndef CLI_LISTING_H
#define CLI_LISTING_H

#include <safetensors/safetensors.h>

#include "input.h"
#include "out.h"

struct totals {
    st_dtype dtype; /* 0: of all dtypes */
    uint64_t tensors;
    uint64_t elements;
    uint64_t bytes;
};

struct listing {
    const char *file; /* as the command line names it */
    const struct input
        *input; /* NULL: as of a file, and no lines are printed, only trees and totals */
    const st_header *header;
    const st_tensor **tensors; /* those picked, in the order wanted */
    size_t count;
    bool exact; /* sizes in bytes rather than in MiB */
};

/* Adds up the tensors per dtype, the one with the most bytes first; `all` receives the sum. Gives
 * the dtypes' totals, `*count` of them, to be freed with free(). */
struct totals *listing_sum(const struct listing *listing, struct totals *all, size_t *count);

/* The file's name, or that of the index and how many files there are. */
void listing_print_title(const struct listing *listing, struct out *out);
/* One line per tensor; between tabs where no person reads it. Of a checkpoint the shard stands at the end. */
void listing_print_flat(const struct listing *listing, struct out *out);
/* The tree, under the file's name. Changes the order of the tensors. */
void listing_print_tree(const struct listing *listing, struct out *out);
void listing_print_totals(const struct listing *listing, struct out *out);

/* Writes "[2,3]"; listing_shape_width gives its columns. */
void listing_print_shape(struct out *out, const uint64_t *shape, size_t ndim);
size_t listing_shape_width(const uint64_t *shape, size_t ndim);

#endif
