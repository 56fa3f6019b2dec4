/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/ref.h"
#include "base/thread.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct st_context {
    st__ref ref;
    st_allocator allocator;
    uint32_t max_threads;
    uint64_t max_memory;
};

#define DEFAULT_MAX_MEMORY  (UINT64_C(64) << 20)
#define DEFAULT_MAX_THREADS 8u

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
    if (options->io > ST_IO_MAP)
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
    ST_TRY(st__reserved_check(o->reserved, 8, "st_context_options", error));
    const st_allocator *a = o->allocator ? o->allocator : &libc_allocator;
    if (!a->alloc || !a->realloc || !a->free)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_allocator: alloc, realloc and free must all be set");
    st_context *context = a->alloc(a->ctx, sizeof *context);
    if (!context)
        return st__fail_nomem(error, sizeof *context);
    st__ref_init(&context->ref);
    context->allocator = *a;
    context->max_threads = o->max_threads;
    context->max_memory = o->max_memory;
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
    if (context && st__ref_release(&context->ref)) {
        st_allocator a = context->allocator;
        a.free(a.ctx, context, sizeof *context);
    }
}

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
