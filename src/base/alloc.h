/* SPDX-License-Identifier: Apache-2.0 */
/* Memory from a context's allocator (NULL: the C library's). Sizes are given back on release, so that
 * an allocator need not store them; each returns NULL when there is none. */
#ifndef ST_BASE_ALLOC_H
#define ST_BASE_ALLOC_H

#include <safetensors/safetensors.h>

void *st__alloc(st_context *context, size_t size);
/* The old block stays valid on failure. A NULL block of size 0 is an allocation. */
void *st__realloc(st_context *context, void *memory, size_t old_size, size_t size);
void st__free(st_context *context, void *memory, size_t size);

/* `count` zeroed elements; NULL on overflow too. */
void *st__alloc_zeroed(st_context *context, size_t count, size_t size);

#endif
