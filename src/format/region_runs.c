/* SPDX-License-Identifier: Apache-2.0 */
/* Regions as runs. Offsets are kept modulo 2^64: a valid tensor has fewer than 2^61 bytes, so what is
 * delivered is exact, and strides of either sign need no case of their own. */
#include "format/region.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

/* ------------------------------------------------------------------------------- planning */

/* A step of positions `unit` bits apart, in bytes. */
static int64_t stride_of(int64_t step, uint64_t unit)
{
    uint64_t distance = step < 0 ? 0 - (uint64_t)step : (uint64_t)step;
    int64_t bytes = (int64_t)(distance * unit / 8);
    return step < 0 ? -bytes : bytes;
}

void st__runs_repeat(st__runs *runs, uint64_t count, int64_t stride)
{
    st__level *inner = runs->depth ? &runs->levels[runs->depth - 1] : NULL;
    if (inner && !inner->slices && (uint64_t)inner->stride * inner->count == (uint64_t)stride)
        inner->count *= count;
    else
        runs->levels[runs->depth++] = (st__level){.count = count, .stride = stride};
}

/* Wraps what there is so far into `count` repetitions `step` positions of `unit` bits apart, or widens
 * it where they follow densely. Products stay below the tensor's bits; strides in bits are multiples
 * of 8 wherever a level is made, by the rule of alignment. */
static void runs_slice(st__runs *runs, uint64_t *piece_bits, const st_slice *s, uint64_t unit)
{
    if (s->count == 1)
        return;
    if (runs->depth == 0 && s->step == 1 && unit == *piece_bits)
        *piece_bits *= s->count;
    else
        st__runs_repeat(runs, s->count, stride_of(s->step, unit));
}

static void runs_list(st__runs *runs, const st_slices *slices, uint64_t first, uint64_t unit)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < slices->count; i++)
        count += slices->at[i].count;
    runs->levels[runs->depth++] =
        (st__level){.count = count, .slices = slices, .unit = unit, .first = first};
}

static void runs_plan(st__runs *runs, const st_tensor *tensor, const st_region *region)
{
    uint64_t unit = st_dtype_bits(tensor->dtype), piece_bits = unit, start = 0;
    for (uint32_t d = tensor->ndim; d-- > 0; unit *= tensor->shape[d]) {
        st_slice s = {0, 0, 1};
        uint32_t i = 0;
        (void)st__slices_next(&region->dims[d], &i, &s);
        start += s.start * unit;
        if (i == region->dims[d].count)
            runs_slice(runs, &piece_bits, &s, unit);
        else
            runs_list(runs, &region->dims[d], s.start, unit);
    }
    runs->piece_bits = piece_bits;
    runs->piece = runs->depth == 0 ? runs->size : piece_bits < 8 ? 1 : piece_bits / 8;
    runs->start_bits = start;
    runs->offset = start / 8;
}

st_status st__runs_init(st__runs *runs, st_context *context, const st_tensor *tensor,
                        const st_region *region, st_error *error)
{
    runs->size = region ? region->size : st_tensor_size(tensor);
    runs->offset = 0;
    runs->start_bits = 0;
    runs->piece = runs->size;
    runs->piece_bits = 0;
    runs->depth = 0;
    runs->levels = runs->room;
    runs->context = context;
    runs->memory_size = 0;
    if (!region || runs->size == 0 || !st_dtype_bits(tensor->dtype))
        return ST_OK;
    if (tensor->ndim > ST__RUNS_INLINE) {
        if (!st__mul_size(tensor->ndim, sizeof(st__level), &runs->memory_size))
            return st__fail_nomem(error, UINT64_MAX);
        runs->levels = st__alloc(context, runs->memory_size);
        if (!runs->levels)
            return st__fail_nomem(error, runs->memory_size);
    }
    runs_plan(runs, tensor, region);
    return ST_OK;
}

void st__runs_release(st__runs *runs)
{
    if (runs->memory_size)
        st__free(runs->context, runs->levels, runs->memory_size);
    runs->memory_size = 0;
}

/* How far a level reaches below its first position, and above, in bits. */
static void level_reach(const st__level *level, uint64_t *below, uint64_t *above)
{
    *below = *above = 0;
    if (!level->slices) {
        uint64_t reach = (level->count - 1) * (uint64_t)level->stride * 8;
        *(level->stride < 0 ? below : above) = level->stride < 0 ? 0 - reach : reach;
        return;
    }
    uint64_t least = level->first, most = level->first;
    uint32_t i = 0;
    for (st_slice s; st__slices_next(level->slices, &i, &s);) {
        uint64_t last = s.start + (s.count - 1) * (uint64_t)s.step;
        least = st__min_u64(least, st__min_u64(s.start, last));
        last = s.start > last ? s.start : last;
        most = most > last ? most : last;
    }
    *below = (level->first - least) * level->unit;
    *above = (most - level->first) * level->unit;
}

void st__runs_span(const st__runs *runs, uint64_t *low, uint64_t *high)
{
    uint64_t first = runs->start_bits, end = first + runs->piece_bits;
    if (runs->depth == 0 || runs->size == 0) {
        *low = runs->offset;
        *high = runs->offset + runs->size;
        return;
    }
    for (uint32_t i = 0; i < runs->depth; i++) {
        uint64_t below, above;
        level_reach(&runs->levels[i], &below, &above);
        first -= below;
        end += above;
    }
    *low = first / 8;
    *high = end / 8 + (end % 8 != 0);
}

/* -------------------------------------------------------------------------------- walking */

/* Where a level's current position lies relative to its first, in bits. */
static uint64_t place_offset(const st__level *level, const st__place *place)
{
    if (!level->slices)
        return place->index * (uint64_t)level->stride * 8;
    const st_slice *s = &level->slices->at[place->slice];
    return (s->start + place->index * (uint64_t)s->step - level->first) * level->unit;
}

/* Goes `n` positions on; true, and back at the first, when that passes the last. */
static bool place_advance(const st__level *level, st__place *place, uint64_t n)
{
    place->index += n;
    if (!level->slices) {
        if (place->index < level->count)
            return false;
        place->index = 0;
        return true;
    }
    bool wrapped = false;
    while (place->index >= level->slices->at[place->slice].count) {
        place->index -= level->slices->at[place->slice].count;
        if (++place->slice < level->slices->count)
            continue;
        place->slice = 0;
        if (wrapped)
            break;
        wrapped = true;
    }
    return wrapped;
}

/* Goes `n` pieces on within the innermost level, at most to its end, and carries outwards. */
static void cursor_advance(st__cursor *cursor, uint64_t n)
{
    const st__runs *runs = cursor->runs;
    for (uint32_t j = 0; j < runs->depth; j++, n = 1) {
        uint64_t before = place_offset(&runs->levels[j], &cursor->places[j]);
        bool wrapped = place_advance(&runs->levels[j], &cursor->places[j], n);
        cursor->offset_bits += place_offset(&runs->levels[j], &cursor->places[j]) - before;
        if (!wrapped)
            return;
    }
}

void st__cursor_seek(st__cursor *cursor, uint64_t at)
{
    const st__runs *runs = cursor->runs;
    cursor->at = at;
    if (runs->depth == 0)
        return;
    cursor->offset_bits = runs->start_bits;
    cursor->within_bits = at * 8 % runs->piece_bits;
    uint64_t rest = at * 8 / runs->piece_bits;
    for (uint32_t j = 0; j < runs->depth; j++) {
        const st__level *level = &runs->levels[j];
        cursor->places[j] = (st__place){0, 0};
        (void)place_advance(level, &cursor->places[j], rest % level->count);
        rest /= level->count;
        cursor->offset_bits += place_offset(level, &cursor->places[j]);
    }
}

st_status st__cursor_init(st__cursor *cursor, const st__runs *runs, uint64_t at, st_error *error)
{
    cursor->runs = runs;
    cursor->places = cursor->room;
    if (runs->depth > ST__RUNS_INLINE) {
        cursor->places = st__alloc(runs->context, runs->depth * sizeof(st__place));
        if (!cursor->places)
            return st__fail_nomem(error, runs->depth * sizeof(st__place));
    }
    st__cursor_seek(cursor, at);
    return ST_OK;
}

void st__cursor_release(st__cursor *cursor)
{
    if (cursor->places != cursor->room)
        st__free(cursor->runs->context, cursor->places, cursor->runs->depth * sizeof(st__place));
    cursor->places = cursor->room;
}

/* How the innermost level goes on from where it stands. */
typedef struct ahead {
    uint64_t pieces;
    int64_t stride; /* bytes from one to the next */
    bool dense;     /* they touch each other */
} ahead;

/* The pieces up to the next change of pace. A level of one stride is never dense: it would have been
 * made part of the piece. */
static ahead cursor_ahead(const st__cursor *cursor)
{
    const st__level *level = &cursor->runs->levels[0];
    const st__place *place = &cursor->places[0];
    if (!level->slices)
        return (ahead){level->count - place->index, level->stride, false};
    st_slice s = {0, 0, 1};
    uint32_t i = place->slice;
    (void)st__slices_next(level->slices, &i, &s);
    return (ahead){s.count - place->index, stride_of(s.step, level->unit),
                   s.step == 1 && level->unit == cursor->runs->piece_bits};
}

/* Takes up to `limit` bytes out of `pieces` that touch each other. They are whole bytes together, though
 * a single one, of sub-byte elements, need not be. */
static void take_dense(st__cursor *cursor, uint64_t pieces, uint64_t limit, st__run *out)
{
    uint64_t piece = cursor->runs->piece_bits;
    uint64_t length = st__min_u64(limit, (pieces * piece - cursor->within_bits) / 8);
    uint64_t taken = cursor->within_bits + length * 8;
    *out = (st__run){(cursor->offset_bits + cursor->within_bits) / 8, length, 1, 0};
    cursor->at += length;
    cursor->within_bits = taken % piece;
    if (taken >= piece)
        cursor_advance(cursor, taken / piece);
}

bool st__cursor_next(st__cursor *cursor, uint64_t limit, st__run *out)
{
    const st__runs *runs = cursor->runs;
    limit = st__min_u64(limit, runs->size - cursor->at);
    if (limit == 0)
        return false;
    if (runs->depth == 0) {
        *out = (st__run){runs->offset + cursor->at, limit, 1, 0};
        cursor->at += limit;
        return true;
    }
    ahead next = cursor_ahead(cursor);
    if (next.dense) {
        take_dense(cursor, next.pieces, limit, out);
    } else if (cursor->within_bits || limit < runs->piece) {
        take_dense(cursor, 1, limit, out);
    } else {
        uint64_t n = st__min_u64(next.pieces, limit / runs->piece);
        *out = (st__run){cursor->offset_bits / 8, runs->piece, n, n > 1 ? next.stride : 0};
        cursor->at += n * runs->piece;
        cursor_advance(cursor, n);
    }
    return true;
}
