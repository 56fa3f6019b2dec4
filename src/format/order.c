/* SPDX-License-Identifier: Apache-2.0 */
/* Two ways. Files are written in a few ascending runs, one per dtype: those are merged. Anything else is sorted
 * by radix: names share long beginnings and lie anywhere in memory, so that comparing two of them is dear;
 * eight bytes of each are fetched at a time and sorted as numbers, and what is then still equal goes on
 * with the next eight. */
#include "format/order.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/endian.h"
#include "base/error.h"

#include <string.h>

typedef struct order_table {
    const unsigned char *records;
    size_t stride;
    size_t count;
    uint32_t *out;
} order_table;

static inline st__key order_key(const order_table *table, size_t index)
{
    st__key key;
    memcpy(&key, table->records + index * table->stride, sizeof key);
    return key;
}

/* --------------------------------------------------------------------------------- merging */

enum { RUNS_MAX = 8 }; /* beyond, the other way is faster */

static inline bool text_before(const order_table *table, size_t a, size_t b)
{
    st__key x = order_key(table, a), y = order_key(table, b);
    size_t shorter = x.len < y.len ? x.len : y.len;
    if (shorter >= 8) {
        /* The last step may look at bytes known to be equal once more. */
        for (size_t i = 0;; i = i + 16 <= shorter ? i + 8 : shorter - 8) {
            uint64_t u = st__load_le64(x.text + i), v = st__load_le64(y.text + i);
            if (u != v)
                return st__swap64(u) < st__swap64(v);
            if (i + 8 == shorter)
                return x.len < y.len;
        }
    }
    int order = memcmp(x.text, y.text, shorter);
    return order < 0 || (order == 0 && x.len < y.len);
}

/* Gives the number of runs, whose ends are stored; RUNS_MAX + 1 for any more. */
static size_t runs_find(const order_table *table, size_t ends[RUNS_MAX])
{
    size_t runs = 0;
    for (size_t i = 1; i <= table->count; i++) {
        if (i < table->count && !text_before(table, i, i - 1))
            continue;
        if (runs == RUNS_MAX)
            return RUNS_MAX + 1;
        ends[runs++] = i;
    }
    return runs;
}

static void merge_runs(const order_table *table, const uint32_t *from, uint32_t *to, size_t middle,
                       size_t end)
{
    size_t a = 0, b = middle;
    for (size_t i = 0; i < end; i++) {
        bool second = a == middle || (b < end && text_before(table, from[b], from[a]));
        to[i] = from[second ? b++ : a++];
    }
}

static st_status order_merge(st_context *context, const order_table *table, size_t *ends,
                             size_t runs, st_error *error)
{
    size_t bytes = table->count * sizeof(uint32_t);
    uint32_t *spare = st__alloc(context, bytes), *from = table->out, *to = spare;
    if (!spare)
        return st__fail_nomem(error, bytes);
    while (runs > 1) {
        size_t merged = 0, start = 0;
        for (size_t r = 0; r < runs; r += 2) {
            size_t middle = ends[r], end = r + 1 < runs ? ends[r + 1] : middle;
            merge_runs(table, from + start, to + start, middle - start, end - start);
            ends[merged++] = end;
            start = end;
        }
        runs = merged;
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != table->out)
        memcpy(table->out, from, bytes);
    st__free(context, spare, bytes);
    return ST_OK;
}

/* ----------------------------------------------------------------------------------- radix */

enum { STEP = 8, SMALL = 8 };

typedef struct order_item {
    uint64_t word;  /* the bytes in hand, the first one highest; 0 behind the text */
    uint32_t rest;  /* bytes of the text from there on; STEP + 1: more than the word holds */
    uint32_t index; /* of the record */
} order_item;

/* Items that are equal so far. */
typedef struct order_group {
    uint32_t end;
    uint32_t depth; /* in steps, of the bytes that may tell them apart */
} order_group;

static inline bool item_before(const order_item *a, const order_item *b)
{
    return a->word < b->word || (a->word == b->word && a->rest < b->rest);
}

static void items_load(const order_table *table, order_item *items, size_t count, size_t depth)
{
    for (size_t i = 0; i < count; i++) {
        st__key key = order_key(table, items[i].index);
        size_t at = depth * STEP, rest = key.len - at;
        unsigned char bytes[STEP] = {0};
        const void *from = key.text + at;
        if (rest < STEP)
            from = memcpy(bytes, from, rest);
        items[i].word = st__swap64(st__load_le64(from));
        items[i].rest = rest > STEP ? STEP + 1 : (uint32_t)rest;
    }
}

static void items_insert(order_item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        order_item item = items[i];
        size_t at = i;
        for (; at > 0 && item_before(&item, &items[at - 1]); at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

static void items_merge(const order_item *from, order_item *to, size_t middle, size_t end)
{
    size_t a = 0, b = middle;
    for (size_t i = 0; i < end; i++) {
        bool second = a == middle || (b < end && item_before(&from[b], &from[a]));
        to[i] = from[second ? b++ : a++];
    }
}

/* Sorts stably; the result is in `items`. */
static void items_sort(order_item *items, order_item *spare, size_t count)
{
    size_t sorted = 1;
    while (sorted < count && !item_before(&items[sorted], &items[sorted - 1]))
        sorted++;
    if (sorted == count)
        return;
    for (size_t i = 0; i < count; i += SMALL)
        items_insert(items + i, count - i < SMALL ? count - i : SMALL);
    order_item *from = items, *to = spare;
    for (size_t width = SMALL; width < count; width *= 2) {
        for (size_t i = 0; i < count; i += 2 * width) {
            size_t end = count - i < 2 * width ? count - i : 2 * width;
            items_merge(from + i, to + i, end < width ? end : width, end);
        }
        order_item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, count * sizeof *items);
}

/* Makes groups of what is equal and goes on; what has ended stands where it stays, before what goes on. */
static void group_split(const order_item *items, order_group *groups, size_t begin,
                        const order_group *group)
{
    for (size_t i = begin, end; i < group->end; i = end) {
        end = i + 1;
        if (items[i].rest > STEP)
            while (end < group->end && items[end].word == items[i].word)
                end++;
        groups[i] = (order_group){(uint32_t)end, group->depth + 1};
    }
}

static st_status order_radix(st_context *context, const order_table *table, st_error *error)
{
    size_t count = table->count, bytes;
    if (!st__mul_size(2 * sizeof(order_item) + sizeof(order_group), count, &bytes))
        return st__fail_nomem(error, UINT64_MAX);
    order_item *items = st__alloc(context, bytes);
    if (!items)
        return st__fail_nomem(error, bytes);
    order_item *spare = items + count;
    order_group *groups =
        (order_group *)(void *)(spare + count); /* each at its first item's index */
    for (size_t i = 0; i < count; i++)
        items[i].index = (uint32_t)i;
    groups[0] = (order_group){(uint32_t)count, 0};
    for (size_t i = 0; i < count;) {
        order_group group = groups[i];
        size_t members = group.end - i;
        if (members == 1) {
            table->out[i] = items[i].index;
            i++;
            continue;
        }
        items_load(table, items + i, members, group.depth);
        items_sort(items + i, spare, members);
        group_split(items, groups, i, &group);
    }
    st__free(context, items, bytes);
    return ST_OK;
}

st_status st__order_by_text(st_context *context, const void *records, size_t stride, size_t count,
                            uint32_t *out, st_error *error)
{
    const order_table table = {records, stride, count, out};
    size_t ends[RUNS_MAX], runs = runs_find(&table, ends);
    if (runs > RUNS_MAX)
        return order_radix(context, &table, error);
    for (size_t i = 0; i < count; i++)
        out[i] = (uint32_t)i;
    return runs > 1 ? order_merge(context, &table, ends, runs, error) : ST_OK;
}
