/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a lane share: reads of single extents, and the block. */
#ifndef ST_IO_LANE_PARTS_H
#define ST_IO_LANE_PARTS_H

#include "io/lane.h"

/* Makes the block hold `size` bytes, of which less than `least` is of no use; what it held is lost. It may be
 * larger, and where the lane's limit is lower, smaller. */
st_status st__lane_block(st__lane *lane, size_t size, size_t least, st_error *error);

/* Reads through the source itself: what it says of a failure is what is told. */
st_status st__lane_read_plain(st__lane *lane, const st__extent *extent, st_error *error);

/* Reads as many of the extents as it can by the ring, from `*done` on: all of them, or, with ST_OK, those
 * before the ring was refused, which is told to the route. */
st_status st__lane_read_ring(st__lane *lane, const st__extent *extents, size_t count, size_t *done,
                             st_error *error);

#endif
