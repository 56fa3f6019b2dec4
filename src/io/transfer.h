/* SPDX-License-Identifier: Apache-2.0 */
/* The one engine that moves tensor bytes: runs of a source to memory, or block by block to a consumer.
 *
 * How bytes get into memory is the route's; one of some size is divided over threads, which take parts of the
 * destination in turn, each by a lane of its own, and are joined before the call returns. Of several failures
 * the one lowest in the destination is told. */
#ifndef ST_IO_TRANSFER_H
#define ST_IO_TRANSFER_H

#include "format/region.h"
#include "io/route.h"

typedef struct st__transfer {
    st__route *route;
    const st__runs *runs;
    uint64_t offset; /* in the source, or in the route's memory, of the tensor's first byte */
    st_context *context;
} st__transfer;

/* The tensor's first byte, where it is to be copied out of memory; NULL: it is read. */
const unsigned char *st__transfer_memory(const st__transfer *transfer);

/* Makes part of that memory present before it is used, where that is the strategy. */
void st__transfer_populate(const st__transfer *transfer, const unsigned char *at, size_t size);
/* How much of it at a time: enough to be worth the call, little enough not to run far ahead of the copy. */
#define ST__POPULATE_STEP ((size_t)16 << 20)

/* Fills `dst`, which holds all `runs->size` bytes. */
st_status st__transfer_read(const st__transfer *transfer, void *dst, st_error *error);

/* Blocks are multiples of this, but for the last one: four elements of any size. */
#define ST__BLOCK_GRAIN ((size_t)96)
/* Delivers the same bytes in order, in blocks, on the caller's thread. Others read ahead, unless `threads` is 1
 * or the load is small. */
st_status st__transfer_blocks(const st__transfer *transfer, uint32_t threads, st_block_fn block,
                              void *ctx, st_error *error);

/* Who takes blocks on several threads at once. */
typedef struct st__consumer {
    /* `offset` counts from the start of what is delivered and is a multiple of ST__SCAN_BLOCK; a block is
     * that long, but for the last one. `worker` is 0 on the caller's thread. A failure ends the scan. */
    st_status (*block)(void *ctx, uint32_t worker, uint64_t offset, const void *data, size_t size,
                       st_error *error);
    void *ctx;
    uint32_t workers; /* at most so many; 0: as many as st__transfer_workers says */
} st__consumer;

/* Whole elements of every size, whole pages: 3 * 2^16 bytes. */
#define ST__SCAN_BLOCK ((size_t)3 << 16)

/* How many workers a scan of this will have at most. */
uint32_t st__transfer_workers(const st__transfer *transfer);

/* Delivers the same bytes in blocks that are the same whatever the number of threads, in any order, from
 * up to st__transfer_workers threads at once. `*stopped` tells whether the failure is the consumer's own. */
st_status st__transfer_scan(const st__transfer *transfer, const st__consumer *consumer,
                            bool *stopped, st_error *error);

#endif
