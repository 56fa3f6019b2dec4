/* SPDX-License-Identifier: Apache-2.0 */
/* Prints bytes as hexdump -C does, block after block. */
#ifndef CLI_HEX_H
#define CLI_HEX_H

#include "out.h"

/* Zeroed but for `out`. */
struct hex {
    struct out *out;
    uint64_t offset; /* of the line being filled */
    unsigned char line[16];
    unsigned char before[16];
    size_t fill;
    bool has_before; /* a line that the next one may repeat */
    bool squeezed;
};

/* Takes the next bytes: a st_block_fn. */
st_status hex_block(void *ctx, const void *data, size_t size, st_error *error);
/* Prints the last line, and the number of bytes. */
void hex_end(struct hex *hex);

#endif
