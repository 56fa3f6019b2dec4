/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/stats_order.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"

#include <string.h>

/* The first counting, and at most what another takes of each interval. */
#define ORDER_BITS 16u
/* A worker's counters: at least those of the first counting, at most what a second-level cache may hold. */
#define LIMIT_LEAST ((size_t)1 << ORDER_BITS)
#define LIMIT_MOST  ((size_t)1 << 20)
#define SLOTS       ((size_t)1 << 15)
#define SLOT_NONE   UINT16_MAX
#define TOPS        ((size_t)1 << 16)

static uint32_t bit_length(uint64_t value)
{
    uint32_t bits = 0;
    for (; value; value >>= 1)
        bits++;
    return bits;
}

/* -------------------------------------------------------------------------------- memory */

static void order_counters_release(st__order *order)
{
    for (uint32_t i = 0; order->counters && i < order->workers; i++)
        st__counters_release(&order->counters[i], order->context);
}

static st_status order_counters_init(st__order *order, size_t entries, st_error *error)
{
    for (uint32_t i = 0; i < order->workers; i++)
        if (!st__counters_init(&order->counters[i], order->context, entries, order->run->count))
            return st__fail_nomem(error, entries * sizeof(uint32_t));
    return ST_OK;
}

st_status st__order_init(st__order *order, const st__stats_run *run, st__number number,
                         uint32_t workers, st_error *error)
{
    const uint64_t share = st__context_memory(run->context) / 2 / workers / sizeof(uint32_t);
    const size_t capacity = 2 * (size_t)run->options->quantile_count;
    *order = (st__order){.run = run, .context = run->context, .number = number, .first = true};
    order->key_bits = st__number_size(number) * 8;
    order->limit = (size_t)st__min_u64(share, LIMIT_MOST);
    if (order->limit < LIMIT_LEAST)
        order->limit = LIMIT_LEAST;
    order->capacity = capacity;
    order->counters = st__alloc_zeroed(order->context, workers, sizeof *order->counters);
    order->workers = workers;
    order->open = st__alloc(order->context, capacity * sizeof *order->open);
    order->spare = st__alloc(order->context, capacity * sizeof *order->spare);
    order->ranks = st__alloc(order->context, capacity * sizeof *order->ranks);
    order->keys = st__alloc(order->context, capacity * sizeof *order->keys);
    order->slots = st__alloc(order->context, SLOTS * sizeof *order->slots);
    order->marks = st__alloc(order->context, TOPS);
    if (!order->counters || !order->open || !order->spare || !order->ranks || !order->keys ||
        !order->slots || !order->marks)
        return st__fail_nomem(
            error,
            workers * sizeof *order->counters + TOPS + SLOTS * sizeof *order->slots +
                capacity * (2 * sizeof *order->open + sizeof *order->ranks + sizeof *order->keys));
    return order_counters_init(order, (size_t)1 << ORDER_BITS, error);
}

/* Also after a failure of st__order_init, or where all is zero. */
void st__order_release(st__order *order)
{
    order_counters_release(order);
    st__free(order->context, order->counters, order->workers * sizeof *order->counters);
    st__free(order->context, order->open, order->capacity * sizeof *order->open);
    st__free(order->context, order->spare, order->capacity * sizeof *order->spare);
    st__free(order->context, order->ranks, order->capacity * sizeof *order->ranks);
    st__free(order->context, order->keys, order->capacity * sizeof *order->keys);
    st__free(order->context, order->slots, SLOTS * sizeof *order->slots);
    st__free(order->context, order->marks, TOPS);
    st__free(order->context, order->kept, 2 * order->kept_size * sizeof *order->kept);
}

/* ------------------------------------------------------------------------------- counting */

/* The open interval that a key lies in, or NULL. */
static const st__interval *interval_of(const st__order *order, uint64_t key)
{
    const st__interval *at, *end = order->open + order->open_count;
    const uint64_t distance = key - order->open->low;
    if (distance > order->span)
        return NULL;
    uint32_t slot = order->slots[distance >> order->slot_shift];
    if (slot == SLOT_NONE)
        return NULL;
    for (at = order->open + slot; at < end && at->high < key;)
        at++;
    return at < end && at->low <= key ? at : NULL;
}

/* Keys come in any order, and in no larger number than there is room for, whatever the file has become. */
static void order_keep(st__order *order, const unsigned char *data, uint16_t *list, size_t listed)
{
    size_t count = 0;
    for (size_t i = 0; i < listed; i++) {
        list[count] = list[i];
        count += interval_of(order, st__key_at(order->number, data, list[i])) != NULL;
    }
    size_t at = atomic_fetch_add_explicit(&order->kept_count, count, memory_order_relaxed);
    for (size_t i = 0; i < count && at + i < order->kept_size; i++)
        order->kept[at + i] = st__key_at(order->number, data, list[i]);
}

void st__order_count(st__order *order, uint32_t worker, const unsigned char *data, size_t count)
{
    st__counters *counters = &order->counters[worker];
    uint16_t list[ST__CHUNK];
    st__counters_expect(counters, count);
    if (order->first) {
        st__chunk_count_tops(order->number, data, count, counters->counts);
        return;
    }
    size_t listed = st__chunk_list_tops(order->number, data, count, order->marks, list);
    if (order->kept) {
        order_keep(order, data, list, listed);
        return;
    }
    for (size_t i = 0; i < listed; i++) {
        uint64_t key = st__key_at(order->number, data, list[i]);
        const st__interval *open = interval_of(order, key);
        if (open)
            counters->counts[open->start + (uint32_t)((key - open->low) >> open->shift)]++;
    }
}

/* -------------------------------------------------------------------------------- dividing */

/* Those of the first reading are in the order of stored elements, later ones in that of keys. */
static uint64_t counter_sum(const st__order *order, uint32_t i)
{
    uint64_t sum = 0;
    if (order->first)
        i = st__top_of_key(order->number, i);
    for (uint32_t w = 0; w < order->workers; w++)
        sum += st__counters_at(&order->counters[w], i);
    return sum;
}

/* The part of an interval that a counter stands for. */
static st__interval interval_part(const st__order *order, const st__interval *whole, uint32_t part)
{
    const uint64_t width = (UINT64_C(1) << whole->shift) - 1;
    uint64_t low = whole->low + ((uint64_t)part << whole->shift);
    uint64_t high = whole->high - low < width ? whole->high : low + width;
    /* No key that counts lies outside. */
    low = low < order->least ? order->least : low;
    high = high > order->most ? order->most : high;
    return (st__interval){.low = low, .high = high};
}

static st_status order_changed(const st__order *order, st_error *error)
{
    const st_tensor *tensor = order->run->tensor;
    return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                    "%s: tensor %s: it was changed while it was read; read it again",
                    st_file_name(order->run->file), st__quote(tensor->name, tensor->name_len).text);
}

/* Finds in which parts of one interval the wanted ranks lie, beginning with counter `part`. `*rank` is the
 * first rank in it, and moves behind its last one. */
static st_status interval_divide(st__order *order, const st__interval *whole, uint32_t part,
                                 size_t *rank, st_error *error)
{
    uint64_t parts = (whole->high - whole->low) >> whole->shift;
    uint64_t below = whole->below, here = counter_sum(order, whole->start + part);
    for (; *rank < order->rank_count; ++*rank) {
        uint64_t wanted = order->ranks[*rank];
        if (wanted - whole->below >= whole->count)
            break;
        for (; below + here <= wanted; here = counter_sum(order, whole->start + part)) {
            below += here;
            if (part++ >= parts)
                return order_changed(order, error);
        }
        st__interval next = interval_part(order, whole, part);
        next.below = below;
        next.count = here;
        if (next.low == next.high)
            order->keys[*rank] = next.low;
        else if (order->open_count == 0 || order->spare[order->open_count - 1].low != next.low)
            order->spare[order->open_count++] = next;
    }
    return ST_OK;
}

/* Which interval a key may lie in, by where it is between the lowest and the highest. */
static void order_slots_fill(st__order *order)
{
    const st__interval *open = order->open;
    const uint64_t lowest = open->low;
    size_t i = 0;
    order->span = open[order->open_count - 1].high - lowest;
    order->slot_shift = 0;
    while (order->span >> order->slot_shift >= SLOTS)
        order->slot_shift++;
    const uint64_t width = (UINT64_C(1) << order->slot_shift) - 1;
    for (size_t slot = 0; slot <= order->span >> order->slot_shift; slot++) {
        uint64_t low = (uint64_t)slot << order->slot_shift;
        while (i < order->open_count && open[i].high - lowest < low)
            i++;
        bool reached = i < order->open_count && open[i].low - lowest <= low + width;
        order->slots[slot] = reached ? (uint16_t)i : SLOT_NONE;
    }
}

/* Marks the tops of elements that an open interval may hold. */
static void order_marks_set(st__order *order)
{
    const uint32_t shift = order->key_bits - 16;
    memset(order->marks, 0, TOPS);
    for (size_t i = 0; i < order->open_count; i++) {
        const st__interval *open = &order->open[i];
        for (uint64_t high = open->low >> shift; high <= open->high >> shift; high++)
            order->marks[st__top_of_key(order->number, (uint32_t)high)] = 1;
    }
}

uint32_t st__order_readings(const st__order *order)
{
    uint32_t readings = order->kept && order->open_count ? 1 : 0;
    for (size_t i = 0; !order->kept && i < order->open_count; i++) {
        uint32_t length = bit_length(order->open[i].high - order->open[i].low);
        uint32_t needed = (length + order->bits - 1) / order->bits;
        readings = needed > readings ? needed : readings;
    }
    return readings;
}

/* Shares the counters out among the open intervals. */
static st_status order_counters_share(st__order *order, st_error *error)
{
    size_t start = 0;
    for (size_t i = 0; i < order->open_count; i++) {
        st__interval *open = &order->open[i];
        uint32_t length = bit_length(open->high - open->low);
        open->shift = length > order->bits ? length - order->bits : 0;
        open->start = (uint32_t)start;
        start += (size_t)((open->high - open->low) >> open->shift) + 1;
    }
    return order_counters_init(order, start, error);
}

/* Takes the parts that were found for the next intervals. They are counted where that needs one reading, or
 * where they hold too many keys to be kept. */
static st_status order_prepare(st__order *order, st_error *error)
{
    st__interval *open = order->spare;
    uint64_t keys = 0;
    order->spare = order->open;
    order->open = open;
    order->first = false;
    order_counters_release(order);
    if (!order->open_count)
        return ST_OK;
    order->bits = bit_length(order->limit / order->open_count) - 1;
    if (order->bits > ORDER_BITS)
        order->bits = ORDER_BITS;
    order_slots_fill(order);
    order_marks_set(order);
    for (size_t i = 0; i < order->open_count; i++)
        keys += open[i].count;
    if (st__order_readings(order) == 1 || keys > order->limit / 4)
        return order_counters_share(order, error);
    order->kept_size = (size_t)keys;
    atomic_init(&order->kept_count, 0);
    const size_t size = 2 * order->kept_size * sizeof *order->kept;
    order->kept = st__alloc(order->context, size);
    return order->kept ? ST_OK : st__fail_nomem(error, size);
}

/* All keys of the open intervals are there, one interval's behind the other's once they are sorted. */
static st_status order_kept_take(st__order *order, st_error *error)
{
    const uint64_t *keys = order->kept;
    size_t rank = 0;
    if (atomic_load_explicit(&order->kept_count, memory_order_relaxed) != order->kept_size)
        return order_changed(order, error);
    st__keys_sort(order->kept, order->kept + order->kept_size, order->kept_size, sizeof *keys);
    for (size_t i = 0; i < order->open_count; i++) {
        const st__interval *open = &order->open[i];
        if (keys[0] < open->low || keys[open->count - 1] > open->high)
            return order_changed(order, error);
        while (order->ranks[rank] < open->below)
            rank++;
        for (; rank < order->rank_count && order->ranks[rank] - open->below < open->count; rank++)
            order->keys[rank] = keys[order->ranks[rank] - open->below];
        keys += open->count;
    }
    order->open_count = 0;
    return ST_OK;
}

/* Which ranks are wanted, in rising order, each once. */
static void order_ranks_find(st__order *order)
{
    const st_stats_options *o = order->run->options;
    size_t count = 0;
    for (uint32_t i = 0; i < o->quantile_count; i++) {
        st__rank rank = st__rank_of(order->run->out->finite, o->quantiles[i]);
        order->ranks[count++] = rank.first;
        order->ranks[count++] = rank.second;
    }
    st__keys_sort(order->ranks, order->keys, count, sizeof *order->ranks);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || order->ranks[i] != order->ranks[i - 1])
            order->ranks[order->rank_count++] = order->ranks[i];
}

st_status st__order_start(st__order *order, uint64_t least, uint64_t most, st_error *error)
{
    const uint32_t shift = order->key_bits - ORDER_BITS;
    const st__interval all = {
        .high = UINT64_MAX >> (64 - order->key_bits),
        .count = order->run->out->finite,
        .shift = shift,
    };
    size_t rank = 0;
    order->least = least;
    order->most = most;
    order_ranks_find(order);
    /* What comes before the least key are NaN and infinities. */
    ST_TRY(interval_divide(order, &all, (uint32_t)(least >> shift), &rank, error));
    return order_prepare(order, error);
}

st_status st__order_go_on(st__order *order, st_error *error)
{
    const size_t count = order->open_count;
    size_t rank = 0;
    if (order->kept)
        return order_kept_take(order, error);
    order->open_count = 0;
    for (size_t i = 0; i < count; i++) {
        while (order->ranks[rank] < order->open[i].below)
            rank++;
        ST_TRY(interval_divide(order, &order->open[i], 0, &rank, error));
    }
    return order_prepare(order, error);
}

uint64_t st__order_key(const st__order *order, uint64_t rank)
{
    size_t low = 0, high = order->rank_count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (order->ranks[middle] >= rank)
            high = middle;
        else
            low = middle + 1;
    }
    return order->keys[low];
}
