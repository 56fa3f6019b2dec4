/* SPDX-License-Identifier: Apache-2.0 */
/* One thread's way to any part of what a transfer delivers: out of memory without a copy where it lies there as it
 * is wanted, else into a block of its own. Nothing is made before the first range. */
#ifndef ST_IO_FETCHER_H
#define ST_IO_FETCHER_H

#include "io/gather.h"
#include "io/transfer_budget.h"

typedef struct st__fetcher {
    const st__transfer *transfer;
    st__gather gather;
    st__block_memory block;
    size_t size; /* of the block */
} st__fetcher;

/* `size`: bytes of a range, at most. */
void st__fetcher_init(st__fetcher *fetcher, const st__transfer *transfer, size_t size);
void st__fetcher_release(st__fetcher *fetcher);

/* Gives bytes `from` to `to` of what is delivered, until the next range is asked for. */
st_status st__fetcher_range(st__fetcher *fetcher, uint64_t from, uint64_t to,
                            const unsigned char **data, st_error *error);

#endif
