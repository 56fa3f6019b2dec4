/* SPDX-License-Identifier: Apache-2.0 */
/* One thread's way along a route: reads extents of the source into memory, by whatever strategy the route has.
 * Holds what the strategy needs for one thread: an aligned block, a ring. All of it is made when first
 * needed. */
#ifndef ST_IO_LANE_H
#define ST_IO_LANE_H

#include "io/pool.h"
#include "io/ring.h"
#include "io/route.h"

typedef struct st__extent {
    uint64_t offset; /* in the source */
    void *data;
    size_t size;
} st__extent;

typedef struct st__lane {
    st__route *route;
    st__ring *ring;
    unsigned char
        *block; /* `block_size` bytes, aligned as direct reads want it, to 4096 at least */
    size_t block_size;
    st__slab
        slab; /* what the block lies in: in huge pages, into which direct reads are twice as fast */
    size_t limit; /* bytes the block may take, but for what a single aligned read needs */
} st__lane;

void st__lane_init(st__lane *lane, st__route *route);
void st__lane_release(st__lane *lane);

/* Makes what can be refused only when it is used: for st__route_explain. */
void st__lane_prepare(st__lane *lane);

/* Fills all extents, in any order, or fails: ST_ERR_SHORT_READ with the offset where the source ends,
 * ST_ERR_IO, ST_ERR_NOMEM. With a ring they are in flight together, in requests of up to the choice's `unit`, as
 * many at a time as its `depth`. Where memory and offset of an extent are congruent modulo the route's `align`,
 * the whole blocks of it are read in place, else through the lane's block. */
st_status st__lane_read(st__lane *lane, const st__extent *extents, size_t count, st_error *error);

#endif
