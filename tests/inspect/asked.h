/* SPDX-License-Identifier: Apache-2.0 */
/* An allocator that fails where told and knows how much was asked for there: what a message says of it is to
 * be as much at least, for one message may speak of several allocations. */
#ifndef TESTS_INSPECT_ASKED_H
#define TESTS_INSPECT_ASKED_H

#include "support/check.h"

#include <stdlib.h>
#include <string.h>

typedef struct asked_allocator {
    uint64_t fail_at; /* the number of the allocation that fails, from 1 */
    uint64_t calls;
    uint64_t size; /* of the one that failed; 0: none has */
} asked_allocator;

static bool asked_refuses(asked_allocator *asked, size_t size)
{
    if (++asked->calls != asked->fail_at)
        return false;
    asked->size = size;
    return true;
}

static void *asked_alloc(void *ctx, size_t size)
{
    return asked_refuses(ctx, size) ? NULL : malloc(size);
}

static void *asked_realloc(void *ctx, void *memory, size_t old_size, size_t size)
{
    (void)old_size;
    return asked_refuses(ctx, size) ? NULL : realloc(memory, size);
}

static void asked_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)size;
    free(memory);
}

/* Begins run `fail_at`, with a context of its own. */
static st_context *asked_begin(asked_allocator *asked, uint64_t fail_at)
{
    const st_allocator allocator = {asked_alloc, asked_realloc, asked_free, asked};
    st_context *context;
    *asked = (asked_allocator){.fail_at = 0};
    CHECK_OK(st_context_new(&(st_context_options){.allocator = &allocator, .max_threads = 1},
                            &context, &error));
    *asked = (asked_allocator){.fail_at = fail_at};
    return context;
}

/* Ends it; gives whether an allocation has failed, so that there is another run. */
static bool asked_end(const asked_allocator *asked, st_context *context, st_status status,
                      const st_error *error)
{
    static const char before[] = "out of memory: ";
    st_context_release(context);
    assert_int_equal(status, asked->size ? ST_ERR_NOMEM : ST_OK);
    if (status == ST_OK)
        return false;
    const char *said = strstr(error->message, before);
    assert_non_null(said);
    char *end;
    const unsigned long long bytes = strtoull(said + strlen(before), &end, 10);
    if (bytes < asked->size)
        fail_msg("%llu bytes were asked for: %s", (unsigned long long)asked->size, error->message);
    assert_memory_equal(end, " bytes", 6);
    return true;
}

#endif
