/* SPDX-License-Identifier: Apache-2.0 */
/* Tests under valgrind: what the kernel writes into memory by a ring, valgrind 3.19 does not see. */
#ifndef TESTS_SUPPORT_WATCHED_H
#define TESTS_SUPPORT_WATCHED_H

#include <safetensors/safetensors.h>

#include <stdlib.h>
#include <string.h>

static inline bool under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

/* A strategy that can be watched, or, where the choice may fall on a ring, one that was not chosen. */
static inline uint32_t io_here(uint32_t io)
{
    return (io == ST_IO_URING || io == ST_IO_AUTO) && under_valgrind() ? ST_IO_DIRECT : io;
}

#endif
