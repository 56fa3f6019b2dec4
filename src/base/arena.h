/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for many small things that live as long as each other, given back all at once. */
#ifndef ST_BASE_ARENA_H
#define ST_BASE_ARENA_H

#include <safetensors/safetensors.h>

/* Zeroed but for the context it holds nothing yet. */
typedef struct st__arena {
    st_context *context; /* not retained */
    struct st__arena_chunk *chunks;
} st__arena;

/* Gives memory aligned for a uint64_t; NULL: there is none. */
void *st__arena_take(st__arena *arena, size_t size);
/* Copies text, terminated; NULL: out of memory. */
char *st__arena_text(st__arena *arena, const char *text, size_t len);
void st__arena_release(st__arena *arena);

#endif
