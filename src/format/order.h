/* SPDX-License-Identifier: Apache-2.0 */
/* The order of names: by code point, which is that of the bytes of UTF-8. */
#ifndef ST_FORMAT_ORDER_H
#define ST_FORMAT_ORDER_H

#include "base/map.h"

/* Gives the indices of `count` records, `stride` bytes apart, each of which starts with an st__key, in the
 * order of their texts; equal ones in that of the records. Fewer than 2^32. */
st_status st__order_by_text(st_context *context, const void *records, size_t stride, size_t count,
                            uint32_t *out, st_error *error);

#endif
