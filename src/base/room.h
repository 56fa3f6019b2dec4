/* SPDX-License-Identifier: Apache-2.0 */
/* Lists that grow. */
#ifndef ST_BASE_ROOM_H
#define ST_BASE_ROOM_H

#include <safetensors/safetensors.h>

/* Makes room for one more record of `size` bytes behind `count`; where there is none `*records` and `*room` stay as
 * they were, and `*wanted` receives the bytes that could not be had. */
bool st__room_make(st_context *context, void **records, size_t size, size_t count, size_t *room,
                   size_t *wanted);

#endif
