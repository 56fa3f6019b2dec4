/* SPDX-License-Identifier: Apache-2.0 */
#include "base/room.h"
#include "base/alloc.h"
#include "base/checked.h"

#define ROOM_LEAST ((size_t)16)

bool st__room_make(st_context *context, void **records, size_t size, size_t count, size_t *room,
                   size_t *wanted)
{
    size_t grown = *room ? *room * 2 : ROOM_LEAST, bytes;
    if (count < *room)
        return true;
    *wanted = SIZE_MAX;
    if (!st__mul_size(grown, size, &bytes))
        return false;
    *wanted = bytes;
    void *moved = st__realloc(context, *records, *room * size, bytes);
    if (!moved)
        return false;
    *records = moved;
    *room = grown;
    return true;
}
