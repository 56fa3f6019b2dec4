/* SPDX-License-Identifier: Apache-2.0 */
#include "support/oom.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SHIFT 64u

static bool oom_refuses(oom_allocator *oom)
{
    oom->calls++;
    return oom->calls == oom->fail_at;
}

static void *oom_take(oom_allocator *oom, size_t size)
{
    unsigned char *block = malloc(size + SHIFT);
    if (!block)
        return NULL;
    memset(block, 0xa5, size + SHIFT);
    memcpy(block, &size, sizeof size);
    oom->outstanding += size;
    oom->blocks++;
    if (oom->outstanding > oom->peak)
        oom->peak = oom->outstanding;
    return block + SHIFT;
}

static void oom_give_back(oom_allocator *oom, void *memory, size_t size)
{
    unsigned char *block = (unsigned char *)memory - SHIFT;
    size_t taken;
    memcpy(&taken, block, sizeof taken);
    if (taken != size)
        fail_msg("%zu bytes were taken, %zu given back", taken, size);
    oom->outstanding -= size;
    oom->blocks--;
    /* Whoever still reads it finds nonsense, and not only under a sanitizer. */
    memset(block, 0x5a, size + SHIFT);
    free(block);
}

static void *oom_alloc(void *ctx, size_t size)
{
    oom_allocator *oom = ctx;
    return oom_refuses(oom) ? NULL : oom_take(oom, size);
}

static void *oom_realloc(void *ctx, void *memory, size_t old_size, size_t size)
{
    oom_allocator *oom = ctx;
    if (oom_refuses(oom))
        return NULL;
    void *moved = oom_take(oom, size);
    if (!moved)
        return NULL;
    memcpy(moved, memory, old_size < size ? old_size : size);
    oom_give_back(oom, memory, old_size);
    return moved;
}

static void oom_free(void *ctx, void *memory, size_t size)
{
    oom_give_back(ctx, memory, size);
}

st_context *oom_context_new(oom_allocator *oom)
{
    st_allocator allocator = {oom_alloc, oom_realloc, oom_free, oom};
    st_context_options options = {.allocator = &allocator,
                                  .max_threads = oom->threads ? oom->threads : 1};
    uint64_t fail_at = oom->fail_at;
    st_context *context = NULL;
    oom->fail_at = 0;
    CHECK_OK(st_context_new(&options, &context, &error));
    oom->fail_at = fail_at;
    oom->calls = 0;
    return context;
}

bool oom_loop_next(oom_loop *loop, const check_place *place)
{
    /* A run in which the failing allocation never came was complete. */
    if (loop->run > 0 && loop->oom.calls < loop->oom.fail_at)
        return false;
    loop->run++;
    loop->place = place;
    loop->oom = (oom_allocator){.fail_at = loop->run};
    loop->context = oom_context_new(&loop->oom);
    loop->stage = 0;
    return true;
}

bool oom_loop_begin(oom_loop *loop)
{
    if (loop->stage != 0)
        return false;
    loop->stage = 1;
    return true;
}

void oom_loop_end(oom_loop *loop, st_status status)
{
    bool refused = loop->oom.calls >= loop->oom.fail_at;
    st_context_release(loop->context);
    if (status != (refused ? ST_ERR_NOMEM : ST_OK)) {
        print_error("%s, with allocation %" PRIu64 " %s\n", st_status_name(status),
                    loop->oom.fail_at, refused ? "failing" : "not reached");
        _fail(loop->place->file, loop->place->line);
    }
    if (loop->oom.blocks != 0) {
        print_error("%" PRIu64 " bytes in %" PRIu64 " blocks leak when allocation %" PRIu64
                    " fails\n",
                    loop->oom.outstanding, loop->oom.blocks, loop->oom.fail_at);
        _fail(loop->place->file, loop->place->line);
    }
}
