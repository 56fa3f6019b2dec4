/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint/split_rule.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/heap.h"

/* In place of a number, for those of the shard being filled. */
#define SHARD_OPEN UINT32_MAX

/* Numbers what lies in the shard being filled, whose first tensor is `from`. */
static void open_number(uint32_t *shard, size_t from, size_t to, size_t number)
{
    for (size_t i = from; shard && i < to; i++)
        if (shard[i] == SHARD_OPEN)
            shard[i] = (uint32_t)number;
}

/* Gives what has no bytes the shard of the first such. */
static void empty_follow(const uint64_t *sizes, size_t count, size_t first, uint32_t *shard)
{
    for (size_t i = first; shard && i < count; i++)
        if (sizes[i] == 0)
            shard[i] = shard[first];
}

size_t st__split_assign(const uint64_t *sizes, size_t count, uint64_t limit, uint32_t *shard)
{
    size_t shards = 0, from = 0, first_empty = count;
    uint64_t filled = 0;
    bool open = false;
    for (size_t i = 0; i < count; i++) {
        uint64_t size = sizes[i];
        if (size > limit) {
            if (shard)
                shard[i] = (uint32_t)shards;
            shards++;
            continue;
        }
        if (size == 0 && first_empty < count) {
            if (shard)
                shard[i] = 0; /* until it is known */
            continue;
        }
        if (size == 0)
            first_empty = i;
        if (open && size > limit - filled) {
            open_number(shard, from, i, shards++);
            open = false;
        }
        if (!open) {
            from = i;
            filled = 0;
            open = true;
        }
        if (shard)
            shard[i] = SHARD_OPEN;
        filled += size;
    }
    if (open)
        open_number(shard, from, count, shards++);
    if (first_empty < count)
        empty_follow(sizes, count, first_empty, shard);
    return shards;
}

/* ------------------------------------------------------------------------ the least limit */

/* A larger limit does not always make fewer shards: [1,5,1,5,1] are 3 by a limit of 4, which leaves the fives aside,
 * and 5 by one of 5. As long as the same tensors are above the limit it does; so each stretch of limits between two sizes
 * that follow each other is looked at by itself, from the lowest. */
typedef struct limit_search {
    const uint64_t *sizes;
    size_t count;
    uint64_t shards;     /* wanted at most */
    st__heap_item *heap; /* of the sizes that are above the stretch at hand */
    size_t above;
    uint64_t below; /* bytes of the others */
} limit_search;

/* The limit within [low, high]. */
static uint64_t stretch_search(const limit_search *s, uint64_t low, uint64_t high)
{
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (st__split_assign(s->sizes, s->count, middle, NULL) <= s->shards)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Whether there may be few enough shards by any limit up to `high`, without looking closer: those above it have one
 * each, and no other holds more than it. */
static bool stretch_promises(const limit_search *s, uint64_t high)
{
    if (s->above > s->shards)
        return false;
    uint64_t others = s->below / high + (s->below % high != 0);
    return others <= s->shards - s->above;
}

/* Passes all tensors of up to this size. */
static void sizes_pass(limit_search *s, uint64_t size)
{
    while (s->above && s->heap[0].place <= size)
        s->below += st__heap_pop(s->heap, s->above--).place;
}

static uint64_t limit_search_run(limit_search *s)
{
    uint64_t low = 1;
    sizes_pass(s, 0);
    while (s->above) {
        uint64_t next = s->heap[0].place, high = next - 1;
        if (high >= low && stretch_promises(s, high) &&
            st__split_assign(s->sizes, s->count, high, NULL) <= s->shards)
            return stretch_search(s, low, high);
        sizes_pass(s, next);
        low = next;
    }
    return stretch_search(s, low, s->below > low ? s->below : low);
}

st_status st__split_limit_find(st_context *context, const uint64_t *sizes, size_t count,
                               uint64_t shards, uint64_t *out, st_error *error)
{
    limit_search s = {.sizes = sizes, .count = count, .shards = shards};
    s.heap = st__alloc_zeroed(context, count, sizeof *s.heap);
    if (!s.heap)
        return st__fail_nomem(error, (uint64_t)count * sizeof *s.heap);
    for (size_t i = 0; i < count; i++)
        st__heap_push(s.heap, s.above++, (st__heap_item){sizes[i], NULL, 0});
    *out = limit_search_run(&s);
    st__free(context, s.heap, count * sizeof *s.heap);
    return ST_OK;
}
