/* SPDX-License-Identifier: Apache-2.0 */
/* How much of everything a transfer gets: threads, staging, blocks. */
#ifndef ST_IO_TRANSFER_BUDGET_H
#define ST_IO_TRANSFER_BUDGET_H

#include "io/pool.h"
#include "io/transfer.h"

/* Bytes that must be read or copied, at least those delivered. */
uint64_t st__transfer_work(const st__transfer *transfer);
/* Threads that read that much as the route has it; at least 1. */
uint32_t st__transfer_readers(const st__transfer *transfer, uint64_t work);
/* Threads that also do something with it, when each needs `memory` bytes beside its staging block; at least 1. */
uint32_t st__transfer_threads(const st__transfer *transfer, uint64_t work, uint64_t memory);
/* Bytes of a staging block. */
size_t st__transfer_stage(const st__transfer *transfer, uint64_t work);

/* Bytes of the blocks that are read at a time: ST__SCAN_BLOCK, or a multiple of it where each read is a trip. */
size_t st__transfer_reach(const st__transfer *transfer);

/* Memory for a block of `size` bytes that can lie within its pages as its bytes do in the file. */
typedef struct st__block_memory {
    /* Where a block goes whose bytes are at the plan's first byte, modulo a page; NULL: nowhere. */
    unsigned char *data;
    st__slab slab;
} st__block_memory;

st_status st__block_memory_init(st__block_memory *block, const st__transfer *transfer, size_t size,
                                st_error *error);
void st__block_memory_release(st__block_memory *block, st_context *context);

#endif
