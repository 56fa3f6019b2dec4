/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>

#include "out.h"

static void memory_fail(void)
{
    complain("out of memory");
    exit(EXIT_UNREADABLE);
}

void *memory_new(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        memory_fail();
    return memory;
}

void *memory_grow(void *memory, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return memory;
    size_t more = *room < SIZE_MAX / 2 ? *room * 2 : SIZE_MAX;
    if (more < 16)
        more = 16;
    if (more < need)
        more = need;
    if (more > SIZE_MAX / size)
        memory_fail();
    void *grown = realloc(memory, more * size);
    if (!grown)
        memory_fail();
    *room = more;
    return grown;
}
