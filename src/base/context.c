/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/ref.h"
#include "base/thread.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Mounts that a process meets are few; with more than these the one learned of first is forgotten. */
#define MOUNTS 16u

typedef struct mount_facts {
    uint64_t device;
    bool known; /* false: the place is free */
    uint32_t refused;
    uint32_t latency;
} mount_facts;

struct st_context {
    st__ref ref;
    st_allocator allocator;
    uint32_t max_threads;
    uint32_t max_descriptors;
    uint64_t max_memory;
    uint64_t max_header_memory;

    st__lock lock;         /* over the next three, and over attaching */
    uint32_t threads_lent; /* beside the callers' own */
    mount_facts mounts[MOUNTS];
    uint32_t next_mount;

    /* Asked for at every open: no lock for what is set once. */
    _Atomic(st__attachment *) attached[ST__ATTACHED_COUNT];
};

#define DEFAULT_MAX_MEMORY        (UINT64_C(64) << 20)
#define DEFAULT_MAX_HEADER_MEMORY (UINT64_C(64) << 20)
#define DEFAULT_MAX_THREADS       8u

static void *libc_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void *libc_realloc(void *ctx, void *memory, size_t old_size, size_t size)
{
    (void)ctx;
    (void)old_size;
    return realloc(memory, size);
}

static void libc_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}

static const st_allocator libc_allocator = {libc_alloc, libc_realloc, libc_free, NULL};

static const st_allocator *allocator_of(const st_context *context)
{
    return context ? &context->allocator : &libc_allocator;
}

/* An allocator may answer NULL to size 0; callers need not care. */
static size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

void *st__alloc(st_context *context, size_t size)
{
    const st_allocator *a = allocator_of(context);
    return a->alloc(a->ctx, at_least_one(size));
}

void *st__realloc(st_context *context, void *memory, size_t old_size, size_t size)
{
    const st_allocator *a = allocator_of(context);
    if (!memory)
        return a->alloc(a->ctx, at_least_one(size));
    return a->realloc(a->ctx, memory, at_least_one(old_size), at_least_one(size));
}

void st__free(st_context *context, void *memory, size_t size)
{
    const st_allocator *a = allocator_of(context);
    if (memory)
        a->free(a->ctx, memory, at_least_one(size));
}

void *st__alloc_zeroed(st_context *context, size_t count, size_t size)
{
    size_t bytes;
    if (!st__mul_size(count, size, &bytes))
        return NULL;
    void *memory = st__alloc(context, bytes);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

st_status st__reserved_check(const uint64_t *words, size_t count, const char *options_name,
                             st_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (words[i])
            return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                            "%s: reserved words must be zero; initialise the struct with {0}",
                            options_name);
    return ST_OK;
}

st_status st__options_check(const st_open_options *options, st_error *error)
{
    const uint32_t known = ST_OPEN_UPSTREAM | ST_OPEN_UNKNOWN_DTYPES;
    const uint32_t largest = UINT32_MAX - 65536; /* with its padding it still counts in 32 bits */
    if (!options)
        return ST_OK;
    if (options->flags & ~known)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_open_options: unknown flags 0x%" PRIx32, options->flags & ~known);
    if (options->io > ST_IO_POPULATE)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_open_options: unknown io strategy %" PRIu32, options->io);
    if (options->max_header_size > largest)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_open_options: max_header_size %" PRIu64 " is above %" PRIu32,
                        options->max_header_size, largest);
    return st__reserved_check(options->reserved, 8, "st_open_options", error);
}

st_status st_context_new(const st_context_options *options, st_context **out, st_error *error)
{
    static const st_context_options defaults;
    const st_context_options *o = options ? options : &defaults;
    ST_TRY(st__reserved_check(o->reserved, 7, "st_context_options", error));
    const st_allocator *a = o->allocator ? o->allocator : &libc_allocator;
    if (!a->alloc || !a->realloc || !a->free)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_allocator: alloc, realloc and free must all be set");
    st_context *context = a->alloc(a->ctx, sizeof *context);
    if (!context)
        return st__fail_nomem(error, sizeof *context);
    memset(context, 0, sizeof *context);
    if (!st__lock_init(&context->lock)) {
        a->free(a->ctx, context, sizeof *context);
        return st__fail(error, ST_ERR_NOMEM, ST_NO_OFFSET,
                        "st_context_new: the system has no more locks");
    }
    st__ref_init(&context->ref);
    context->allocator = *a;
    context->max_threads = o->max_threads;
    context->max_descriptors = o->max_descriptors;
    context->max_memory = o->max_memory;
    context->max_header_memory = o->max_header_memory;
    for (size_t i = 0; i < ST__ATTACHED_COUNT; i++)
        atomic_init(&context->attached[i], NULL);
    *out = context;
    return ST_OK;
}

st_context *st_context_retain(st_context *context)
{
    if (context)
        st__ref_retain(&context->ref);
    return context;
}

void st_context_release(st_context *context)
{
    if (!context || !st__ref_release(&context->ref))
        return;
    for (size_t i = 0; i < ST__ATTACHED_COUNT; i++) {
        st__attachment *attached =
            atomic_load_explicit(&context->attached[i], memory_order_acquire);
        if (attached)
            attached->free(attached);
    }
    st__lock_release(&context->lock);
    st_allocator a = context->allocator;
    a.free(a.ctx, context, sizeof *context);
}

/* -------------------------------------------------------------------------------- budgets */

uint32_t st__context_threads(const st_context *context)
{
    if (context && context->max_threads)
        return context->max_threads;
    uint32_t cpus = st__cpu_count();
    return cpus < DEFAULT_MAX_THREADS ? cpus : DEFAULT_MAX_THREADS;
}

uint64_t st__context_memory(const st_context *context)
{
    return context && context->max_memory ? context->max_memory : DEFAULT_MAX_MEMORY;
}

uint64_t st__context_header_memory(const st_context *context)
{
    if (!context)
        return 0;
    return context->max_header_memory ? context->max_header_memory : DEFAULT_MAX_HEADER_MEMORY;
}

uint32_t st__context_descriptors(const st_context *context)
{
    return context ? context->max_descriptors : 0;
}

uint32_t st__context_take_threads(st_context *context, uint32_t wanted)
{
    if (!context || wanted == 0)
        return wanted;
    uint32_t shared = st__context_threads(context) - 1;
    st__lock_take(&context->lock);
    /* The default is the CPUs that may be used now, which may be fewer than those lent. */
    uint32_t spare = shared > context->threads_lent ? shared - context->threads_lent : 0;
    uint32_t taken = wanted < spare ? wanted : spare;
    context->threads_lent += taken;
    st__lock_drop(&context->lock);
    return taken;
}

void st__context_give_threads(st_context *context, uint32_t count)
{
    if (!context || count == 0)
        return;
    st__lock_take(&context->lock);
    assert(count <= context->threads_lent);
    context->threads_lent -= count;
    st__lock_drop(&context->lock);
}

/* --------------------------------------------------------------------- what was learned */

/* These want the lock. */

static mount_facts *mount_find(st_context *context, uint64_t device)
{
    for (size_t i = 0; i < MOUNTS; i++)
        if (context->mounts[i].known && context->mounts[i].device == device)
            return &context->mounts[i];
    return NULL;
}

static mount_facts *mount_get(st_context *context, uint64_t device)
{
    mount_facts *found = mount_find(context, device);
    if (found)
        return found;
    found = &context->mounts[context->next_mount];
    context->next_mount = (context->next_mount + 1) % MOUNTS;
    *found = (mount_facts){.device = device, .known = true, .latency = ST_LATENCY_UNKNOWN};
    return found;
}

static mount_facts mount_copy(st_context *context, uint64_t device)
{
    static const mount_facts nothing = {.latency = ST_LATENCY_UNKNOWN};
    if (!context)
        return nothing;
    st__lock_take(&context->lock);
    const mount_facts *found = mount_find(context, device);
    mount_facts copy = found ? *found : nothing;
    st__lock_drop(&context->lock);
    return copy;
}

uint32_t st__context_refused(st_context *context, uint64_t device)
{
    return mount_copy(context, device).refused;
}

void st__context_refuse(st_context *context, uint64_t device, uint32_t bits)
{
    if (!context || bits == 0)
        return;
    st__lock_take(&context->lock);
    mount_get(context, device)->refused |= bits;
    st__lock_drop(&context->lock);
}

uint32_t st__context_latency(st_context *context, uint64_t device)
{
    return mount_copy(context, device).latency;
}

void st__context_latency_learn(st_context *context, uint64_t device, uint32_t latency)
{
    if (!context)
        return;
    st__lock_take(&context->lock);
    mount_get(context, device)->latency = latency;
    st__lock_drop(&context->lock);
}

/* ---------------------------------------------------------------------------- attachments */

st__attachment *st__context_attached(st_context *context, uint32_t slot,
                                     st__attachment *(*make)(st_context *context))
{
    assert(slot < ST__ATTACHED_COUNT);
    if (!context)
        return NULL;
    st__attachment *there = atomic_load_explicit(&context->attached[slot], memory_order_acquire);
    if (there)
        return there;
    st__attachment *made = make(context);
    if (!made)
        return NULL;
    /* Another thread may have been first: its own stays. With the lock, so that nothing comes while a fork has
     * it. */
    st__lock_take(&context->lock);
    there = atomic_load_explicit(&context->attached[slot], memory_order_relaxed);
    if (!there)
        atomic_store_explicit(&context->attached[slot], made, memory_order_release);
    st__lock_drop(&context->lock);
    if (!there)
        return made;
    made->free(made);
    return there;
}

/* ------------------------------------------------------------------------------------ fork */

static st__lock *attached_lock(st_context *context, uint32_t slot)
{
    st__attachment *there = atomic_load_explicit(&context->attached[slot], memory_order_acquire);
    return there ? there->lock : NULL;
}

void st_context_fork_begin(st_context *context)
{
    if (!context)
        return;
    /* The context's own is first: with it nothing more is attached. In this order for the sake of threads that
     * fork at once; all others take one at a time. */
    st__lock_take(&context->lock);
    for (uint32_t i = 0; i < ST__ATTACHED_COUNT; i++) {
        st__lock *lock = attached_lock(context, i);
        if (lock)
            st__lock_take(lock);
    }
}

void st_context_fork_end(st_context *context, bool child)
{
    if (!context)
        return;
    if (child)
        context->threads_lent = 0;
    for (uint32_t i = ST__ATTACHED_COUNT; i-- > 0;) {
        st__lock *lock = attached_lock(context, i);
        if (lock)
            st__lock_drop(lock);
    }
    st__lock_drop(&context->lock);
}
