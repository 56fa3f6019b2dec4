/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/stats_order.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"

/* The first counting, and at most what another takes of each interval. */
#define ORDER_BITS 16u
/* A worker's counters: at least those of the first counting, at most what a second-level cache may hold. */
#define LIMIT_LEAST ((size_t)1 << ORDER_BITS)
#define LIMIT_MOST  ((size_t)1 << 20)
#define SLOTS       ((size_t)1 << 15)
#define SLOT_NONE   UINT16_MAX

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

st_status st__order_init(st__order *order, const st__stats_run *run, uint32_t key_bits,
                         uint32_t workers, st_error *error)
{
    const uint64_t share = st__context_memory(run->context) / 2 / workers / sizeof(uint32_t);
    const size_t capacity = 2 * (size_t)run->options->quantile_count;
    *order = (st__order){.run = run, .context = run->context, .key_bits = key_bits};
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
    if (!order->counters || !order->open || !order->spare || !order->ranks || !order->keys ||
        !order->slots)
        return st__fail_nomem(error, capacity * sizeof *order->open);
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
}

/* ------------------------------------------------------------------------------- counting */

static void count_all(const st__order *order, uint32_t *counts, const uint64_t *keys, size_t count)
{
    const uint32_t shift = order->key_bits - ORDER_BITS;
    for (size_t i = 0; i < count; i++)
        counts[keys[i] >> shift]++;
}

static void count_open(const st__order *order, uint32_t *counts, const uint64_t *keys, size_t count)
{
    const st__interval *open = order->open, *end = open + order->open_count;
    const uint16_t *slots = order->slots;
    const uint64_t lowest = open->low, span = order->span;
    const uint32_t shift = order->slot_shift;
    for (size_t i = 0; i < count; i++) {
        uint64_t key = keys[i], distance = key - lowest;
        if (distance > span)
            continue;
        uint32_t slot = slots[distance >> shift];
        if (slot == SLOT_NONE)
            continue;
        const st__interval *at = open + slot;
        while (at < end && at->high < key)
            at++;
        if (at < end && at->low <= key)
            counts[at->start + (uint32_t)((key - at->low) >> at->shift)]++;
    }
}

bool st__order_count_tops(st__order *order, uint32_t worker, st__wide wide,
                          const unsigned char *data, size_t count)
{
    st__counters *counters = &order->counters[worker];
    if (wide == ST__WIDE_C64)
        return false;
    st__counters_expect(counters, count);
    st__chunk_tops(wide, data, count, counters->counts);
    return true;
}

void st__order_count(st__order *order, uint32_t worker, const uint64_t *keys, size_t count)
{
    st__counters *counters = &order->counters[worker];
    st__counters_expect(counters, count);
    if (order->rank_count)
        count_open(order, counters->counts, keys, count);
    else
        count_all(order, counters->counts, keys, count);
}

/* -------------------------------------------------------------------------------- dividing */

static uint64_t counter_sum(const st__order *order, uint32_t i)
{
    uint64_t sum = 0;
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
                return st__fail(
                    error, ST_ERR_CHANGED, ST_NO_OFFSET,
                    "%s: tensor %s: it was changed while it was read; read it again",
                    st_file_name(order->run->file),
                    st__quote(order->run->tensor->name, order->run->tensor->name_len).text);
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

/* Takes the parts that were found for the next intervals, and shares the counters out among them. */
static st_status order_prepare(st__order *order, st_error *error)
{
    st__interval *open = order->spare;
    size_t start = 0;
    order->spare = order->open;
    order->open = open;
    order_counters_release(order);
    if (!order->open_count)
        return ST_OK;
    order->bits = bit_length(order->limit / order->open_count) - 1;
    if (order->bits > ORDER_BITS)
        order->bits = ORDER_BITS;
    for (size_t i = 0; i < order->open_count; i++) {
        uint32_t length = bit_length(open[i].high - open[i].low);
        open[i].shift = length > order->bits ? length - order->bits : 0;
        open[i].start = (uint32_t)start;
        start += (size_t)((open[i].high - open[i].low) >> open[i].shift) + 1;
    }
    order_slots_fill(order);
    return order_counters_init(order, start, error);
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
    order->open_count = 0;
    for (size_t i = 0; i < count; i++) {
        while (order->ranks[rank] < order->open[i].below)
            rank++;
        ST_TRY(interval_divide(order, &order->open[i], 0, &rank, error));
    }
    return order_prepare(order, error);
}

uint32_t st__order_readings(const st__order *order)
{
    uint32_t readings = 0;
    for (size_t i = 0; i < order->open_count; i++) {
        uint32_t length = bit_length(order->open[i].high - order->open[i].low);
        uint32_t needed = (length + order->bits - 1) / order->bits;
        readings = needed > readings ? needed : readings;
    }
    return readings;
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
