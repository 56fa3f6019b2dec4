/* SPDX-License-Identifier: Apache-2.0 */
/* A heap: from an array of items, always the one with the lowest place next. */
#ifndef ST_BASE_HEAP_H
#define ST_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct st__heap_item {
    uint64_t place;
    const void *data; /* the caller's, as is `size` */
    size_t size;
} st__heap_item;

/* Adds to a heap of `count`, behind which there is room for one more. */
void st__heap_push(st__heap_item *items, size_t count, st__heap_item added);
/* Takes the lowest out of a heap of `count`, at least 1. */
st__heap_item st__heap_pop(st__heap_item *items, size_t count);

#endif
