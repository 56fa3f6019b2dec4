/* SPDX-License-Identifier: Apache-2.0 */
/* The one engine that moves tensor bytes: runs of a source to memory, or block by block to a consumer.
 *
 * Strategies: copies out of memory where the bytes are mapped or were memory all along, else positioned
 * reads. A load of some size is divided over threads, which take parts of the destination in turn and
 * are joined before the call returns. Of several failures the one lowest in the destination is told. */
#ifndef ST_IO_TRANSFER_H
#define ST_IO_TRANSFER_H

#include "format/region.h"
#include "io/source.h"

typedef struct st__transfer {
    st_source *source;
    const st__runs *runs;
    uint64_t offset;             /* in the source, of the tensor's first byte */
    const unsigned char *memory; /* the tensor's first byte, or NULL: read it */
    st_context *context;
    uint32_t latency;     /* ST_LATENCY_… of the source */
    uint32_t parallelism; /* reads in flight that help, as the source says; 0: unknown */
} st__transfer;

/* Fills `dst`, which holds all `runs->size` bytes. */
st_status st__transfer_read(const st__transfer *transfer, void *dst, st_error *error);

/* Delivers the same bytes in order, in blocks of whole elements. */
st_status st__transfer_blocks(const st__transfer *transfer, st_block_fn block, void *ctx,
                              st_error *error);

#endif
