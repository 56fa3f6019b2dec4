/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/alloc.h"
#include "base/checked.h"

#include <string.h>

typedef struct st__arena_chunk {
    struct st__arena_chunk *next;
    size_t size; /* of the whole allocation */
    size_t used;
} st__arena_chunk;

#define ARENA_HEAD  ((sizeof(st__arena_chunk) + 7) / 8 * 8)
#define ARENA_LEAST ((size_t)4 << 10)
#define ARENA_MOST  ((size_t)1 << 20)

void *st__arena_take(st__arena *arena, size_t size)
{
    st__arena_chunk *chunk = arena->chunks;
    size_t whole;
    if (!st__add_size(size, 7, &size))
        return NULL;
    size = size / 8 * 8;
    if (!chunk || size > chunk->size - chunk->used) {
        size_t next = chunk ? chunk->size * 2 : ARENA_LEAST;
        next = next < ARENA_MOST ? next : ARENA_MOST;
        if (!st__add_size(size, ARENA_HEAD, &whole))
            return NULL;
        if (whole < next)
            whole = next;
        st__arena_chunk *added = st__alloc(arena->context, whole);
        if (!added)
            return NULL;
        *added = (st__arena_chunk){chunk, whole, ARENA_HEAD};
        arena->chunks = chunk = added;
    }
    void *out = (unsigned char *)chunk + chunk->used;
    chunk->used += size;
    return out;
}

char *st__arena_text(st__arena *arena, const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? st__arena_take(arena, len + 1) : NULL;
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void st__arena_release(st__arena *arena)
{
    for (st__arena_chunk *chunk = arena->chunks; chunk;) {
        st__arena_chunk *next = chunk->next;
        st__free(arena->context, chunk, chunk->size);
        chunk = next;
    }
    arena->chunks = NULL;
}
