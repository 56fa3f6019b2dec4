/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for what is loaded: large pieces come from the system in huge pages, and are kept in the context for the
 * next load, because making their pages present takes about as long as filling them. */
#ifndef ST_IO_POOL_H
#define ST_IO_POOL_H

#include <safetensors/safetensors.h>

/* Bytes that a context keeps. */
#define ST__POOL_KEEPS (UINT64_C(256) << 20)

typedef struct st__slab {
    unsigned char *data; /* aligned to a page of 4096 bytes, large ones to 2 MiB */
    size_t size;         /* at least what was asked for */
    bool present;        /* its pages were written before */
    void *memory;        /* as it was taken */
    size_t memory_size;
} st__slab;

/* Takes memory of any contents; size > 0. ST_ERR_NOMEM. */
st_status st__slab_take(st_context *context, size_t size, st__slab *out, st_error *error);
/* Gives it back, from any thread; `present` tells whether its pages were written meanwhile. */
void st__slab_give(st_context *context, const st__slab *slab);

#endif
