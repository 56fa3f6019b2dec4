/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pool.h"
#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "base/thread.h"
#include "io/os.h"

#include <string.h>

/* Below this memory comes from the context's allocator. */
#define LARGE_FROM ((size_t)1 << 20)
#define SLAB_PAGE  ((size_t)4096)
/* A piece is taken for a size that is smaller by an eighth at most. */
#define SLACK_PART ((size_t)8)
#define POOL_SLABS 64u

typedef struct slab_pool {
    st__attachment attachment; /* first */
    st_context *context;       /* which this is attached to */
    st__lock lock;
    uint32_t count;
    uint64_t bytes;
    st__slab slabs[POOL_SLABS]; /* the one given back longest ago first */
} slab_pool;

static void pool_free(void *self)
{
    slab_pool *pool = self;
    for (uint32_t i = 0; i < pool->count; i++)
        st__os_memory_give(pool->slabs[i].memory, pool->slabs[i].memory_size);
    st__lock_release(&pool->lock);
    st__free(pool->context, pool, sizeof *pool);
}

static st__attachment *pool_make(st_context *context)
{
    slab_pool *pool = st__alloc_zeroed(context, 1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->attachment = (st__attachment){pool_free, &pool->lock};
    pool->context = context;
    if (st__lock_init(&pool->lock))
        return &pool->attachment;
    st__free(context, pool, sizeof *pool);
    return NULL;
}

static slab_pool *pool_of(st_context *context)
{
    return (slab_pool *)(void *)st__context_attached(context, ST__ATTACHED_MEMORY, pool_make);
}

/* Takes slab `i` out; the order of the others stays. */
static st__slab pool_remove(slab_pool *pool, uint32_t i)
{
    st__slab slab = pool->slabs[i];
    pool->count--;
    pool->bytes -= slab.size;
    memmove(&pool->slabs[i], &pool->slabs[i + 1], (pool->count - i) * sizeof slab);
    return slab;
}

/* The smallest that is large enough and not much too large. */
static bool pool_find(slab_pool *pool, size_t size, st__slab *out)
{
    uint32_t best = POOL_SLABS;
    st__lock_take(&pool->lock);
    for (uint32_t i = 0; i < pool->count; i++) {
        const st__slab *slab = &pool->slabs[i];
        if (slab->size >= size && slab->size - size <= slab->size / SLACK_PART &&
            (best == POOL_SLABS || slab->size < pool->slabs[best].size))
            best = i;
    }
    if (best < POOL_SLABS)
        *out = pool_remove(pool, best);
    st__lock_drop(&pool->lock);
    return best < POOL_SLABS;
}

static st_status slab_small(st_context *context, size_t size, st__slab *out, st_error *error)
{
    size_t memory_size = size + SLAB_PAGE;
    unsigned char *memory = st__alloc(context, memory_size);
    if (!memory)
        return st__fail_nomem(error, memory_size);
    size_t past = (size_t)((uintptr_t)memory % SLAB_PAGE);
    *out = (st__slab){memory + (past ? SLAB_PAGE - past : 0), size, true, memory, memory_size};
    return ST_OK;
}

st_status st__slab_take(st_context *context, size_t size, st__slab *out, st_error *error)
{
    if (size < LARGE_FROM)
        return slab_small(context, size, out, error);
    slab_pool *pool = pool_of(context);
    if (context && !pool)
        return st__fail_nomem(error, sizeof *pool);
    if (pool && pool_find(pool, size, out))
        return ST_OK;
    void *memory;
    int failed = st__os_memory_take(size, &memory);
    if (failed)
        return st__fail_nomem(error, size);
    *out = (st__slab){memory, size, false, memory, size};
    return ST_OK;
}

/* Keeps a slab; those that have to go for it are moved to `gone`. Gives how many. */
static uint32_t pool_keep(slab_pool *pool, const st__slab *slab, st__slab gone[POOL_SLABS])
{
    uint32_t count = 0;
    st__lock_take(&pool->lock);
    while (pool->count && (pool->count == POOL_SLABS || pool->bytes + slab->size > ST__POOL_KEEPS))
        gone[count++] = pool_remove(pool, 0);
    pool->slabs[pool->count++] = *slab;
    pool->bytes += slab->size;
    st__lock_drop(&pool->lock);
    return count;
}

void st__slab_give(st_context *context, const st__slab *slab)
{
    if (slab->size < LARGE_FROM) {
        st__free(context, slab->memory, slab->memory_size);
        return;
    }
    st__slab gone[POOL_SLABS];
    uint32_t count = 1;
    slab_pool *pool = slab->size <= ST__POOL_KEEPS ? pool_of(context) : NULL;
    if (pool)
        count = pool_keep(pool, slab, gone);
    else
        gone[0] = *slab;
    for (uint32_t i = 0; i < count; i++)
        st__os_memory_give(gone[i].memory, gone[i].memory_size);
}
