/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which a load reads. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "load/load_units.h"

#include <string.h>

static bool key_behind(const st__load_key *a, const st__load_key *b)
{
    return a->file != b->file ? a->file > b->file : a->offset > b->offset;
}

/* Where the ordered stretch from `from` on ends. */
static size_t ordered_end(const st__load_key *keys, size_t from, size_t count)
{
    size_t end = from + 1;
    while (end < count && !key_behind(&keys[end - 1], &keys[end]))
        end++;
    return end;
}

static void keys_merge(st__load_key *to, const st__load_key *a, const st__load_key *a_end,
                       const st__load_key *b_end)
{
    const st__load_key *b = a_end;
    while (a < a_end && b < b_end)
        *to++ = key_behind(a, b) ? *b++ : *a++;
    memcpy(to, a, (size_t)(a_end - a) * sizeof *a);
    memcpy(to + (a_end - a), b, (size_t)(b_end - b) * sizeof *b);
}

/* Merges ordered stretches two by two, until one is left. */
st__load_key *st__load_keys_sort(st__load_key *keys, st__load_key *spare, size_t count)
{
    while (ordered_end(keys, 0, count) < count) {
        for (size_t at = 0; at < count;) {
            size_t middle = ordered_end(keys, at, count);
            size_t end = middle < count ? ordered_end(keys, middle, count) : middle;
            keys_merge(spare + at, keys + at, keys + middle, keys + end);
            at = end;
        }
        st__load_key *sorted = spare;
        spare = keys;
        keys = sorted;
    }
    return keys;
}

static uint32_t keys_fill(const st__load_plan *plan, st__load_key *keys)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        const st__load_entry *entry = &plan->entries[i];
        if (entry->size)
            keys[count++] = (st__load_key){entry->offset, entry->file, i};
    }
    return count;
}

st_status st__load_plan_sort(st__load_plan *plan, st_error *error)
{
    size_t size;
    st__load_key *keys = NULL;
    plan->order = st__alloc_zeroed(plan->context, plan->count, sizeof *plan->order);
    if (st__mul_size(plan->count, 2 * sizeof *keys, &size))
        keys = st__alloc(plan->context, size);
    if (!plan->order || !keys) {
        st__free(plan->context, keys, size);
        return st__fail_nomem(error, (uint64_t)plan->count * 2 * sizeof *keys);
    }
    plan->order_count = keys_fill(plan, keys);
    if (plan->order_count) {
        const st__load_key *sorted =
            st__load_keys_sort(keys, keys + plan->order_count, plan->order_count);
        for (uint32_t i = 0; i < plan->order_count; i++)
            plan->order[i] = sorted[i].item;
    }
    st__free(plan->context, keys, size);
    return ST_OK;
}
