/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is there or ends the program: a command has nothing better to do without it. */
#ifndef CLI_MEMORY_H
#define CLI_MEMORY_H

#include <stddef.h>

/* Gives zeroed room for `count` items of `size` bytes; freed with free(). */
void *memory_new(size_t count, size_t size);

/* Makes room for at least `need` items, at least doubling; `room` is kept up to date. */
void *memory_grow(void *memory, size_t *room, size_t need, size_t size);

#endif
