/* SPDX-License-Identifier: Apache-2.0 */
/* Gathering runs into memory, for one thread by its lane: straight into place, many pieces at a time, or through
 * a staging block where pieces lie so close that reading what is between costs less than another request. What
 * it needs for that is made by the first range. */
#ifndef ST_IO_GATHER_H
#define ST_IO_GATHER_H

#include "io/lane.h"
#include "io/transfer.h"

#define ST__GATHER_PENDING 64u
#define ST__GATHER_BATCH   128u

/* Runs, or parts of them, that one read of [low, high) will serve, and pieces that are read each by itself.
 * Offsets count from the tensor's. */
typedef struct st__gather {
    const st__transfer *transfer;
    st__lane lane;
    unsigned char *stage; /* page-aligned; allocated when first needed */
    st__slab slab;        /* what the stage lies in */
    size_t stage_size;    /* bytes one read may take; the block has a page more for the phase */
    st__cursor cursor;
    bool walking; /* the cursor was made */
    uint64_t low;
    uint64_t high;
    uint32_t count;
    struct {
        st__run run;
        unsigned char *dst;
    } pending[ST__GATHER_PENDING];
    uint32_t extents; /* in the batch */
    st__extent batch[ST__GATHER_BATCH];
} st__gather;

void st__gather_init(st__gather *gather, const st__transfer *transfer, size_t stage_size);
void st__gather_release(st__gather *gather);

/* Delivers bytes `from` to `to` of the destination, the first of them at `dst`. */
st_status st__gather_range(st__gather *gather, uint64_t from, uint64_t to, unsigned char *dst,
                           st_error *error);

/* Bytes that must be read for each byte delivered, at least 1, by the inner loop of a plan. */
uint64_t st__gather_factor(const st__transfer *transfer);

#endif
