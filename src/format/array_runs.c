/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays in memory as runs: what region_runs.c walks, planned from strides in bytes. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/region.h"
#include "format/scan.h"

#include <inttypes.h>

/* No object is larger; and offsets are kept in bits. */
#define REACH_MAX st__min_u64(PTRDIFF_MAX, UINT64_MAX >> 3)

/* The bytes of all elements together. */
static st_status array_size(const st_array *array, uint64_t *out, st_error *error)
{
    uint32_t bits = st_dtype_bits(array->dtype);
    if (!bits)
        return st__fail(error, ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET,
                        "an array of dtype %" PRId32 ", whose elements' size is not known",
                        array->dtype);
    switch (st__tensor_bytes(array->dtype, array->shape, array->ndim, out)) {
    case ST_ERR_OVERFLOW:
        return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                        "the product of the array's %" PRIu32 " dimensions and %" PRIu32
                        " bits exceeds 64 bits",
                        array->ndim, bits);
    case ST_ERR_MISALIGNED:
        return st__fail(error, ST_ERR_INDEX_MISALIGNED, ST_NO_OFFSET,
                        "the array's elements of %" PRIu32 " bits do not fill whole bytes", bits);
    default: return ST_OK;
    }
}

/* Bytes of what is contiguous by definition: an element, the last dimension of sub-byte ones, along which they
 * are packed, or all. `*ndim` receives the dimensions around it. */
static st_status array_piece(const st_array *array, uint64_t size, uint64_t *piece, uint32_t *ndim,
                             st_error *error)
{
    uint64_t bits = st_dtype_bits(array->dtype);
    *ndim = array->strides ? array->ndim : 0;
    *piece = array->strides ? bits / 8 : size;
    if (!array->strides || bits % 8 == 0)
        return ST_OK;
    /* One element alone has been refused: it fills no byte. */
    uint64_t row = array->shape[--*ndim];
    if (row * bits % 8)
        return st__fail(error, ST_ERR_INDEX_MISALIGNED, ST_NO_OFFSET,
                        "the array's rows of %" PRIu64 " elements of %" PRIu64
                        " bits do not end at byte boundaries",
                        row, bits);
    *piece = row * bits / 8;
    return ST_OK;
}

/* How far the array reaches below and above the first byte of its element 0, and whether there can be memory
 * there. `*levels`: the dimensions that repeat anything. */
static st_status array_reach(const st_array *array, uint32_t ndim, uint64_t piece, uint64_t *below,
                             uint32_t *levels)
{
    uint64_t sides[2] = {0, piece}, all;
    *levels = 0;
    for (uint32_t d = 0; d < ndim; d++) {
        int64_t stride = array->strides[d];
        uint64_t distance = stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
        uint64_t *side = &sides[stride >= 0];
        *levels += array->shape[d] > 1;
        if (!st__mul_u64(array->shape[d] - 1, distance, &distance) ||
            !st__add_u64(*side, distance, side))
            return ST_ERR_OVERFLOW;
    }
    if (!st__add_u64(sides[0], sides[1], &all) || all > REACH_MAX ||
        sides[0] > (uintptr_t)array->data || sides[1] > UINTPTR_MAX - (uintptr_t)array->data)
        return ST_ERR_OVERFLOW;
    *below = sides[0];
    return ST_OK;
}

static st_status array_levels(st__runs *runs, uint32_t levels, st_error *error)
{
    if (levels <= ST__RUNS_INLINE)
        return ST_OK;
    size_t bytes = levels * sizeof(st__level); /* fewer than 64: each doubles the size at least */
    runs->levels = st__alloc(runs->context, bytes);
    if (!runs->levels)
        return st__fail_nomem(error, bytes);
    runs->memory_size = bytes;
    return ST_OK;
}

/* An array with elements. */
static st_status array_plan(st__runs *runs, const st_array *array, uint64_t *below, st_error *error)
{
    uint64_t piece, low = 0;
    uint32_t ndim, levels;
    ST_TRY(array_piece(array, runs->size, &piece, &ndim, error));
    if (array_reach(array, ndim, piece, &low, &levels) != ST_OK)
        return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                        "the array reaches further than memory does: %" PRIu64
                        " bytes, or its strides",
                        runs->size);
    ST_TRY(array_levels(runs, levels, error));
    for (uint32_t d = ndim; d-- > 0;) {
        if (array->shape[d] == 1)
            continue;
        if (runs->depth == 0 && (uint64_t)array->strides[d] == piece)
            piece *= array->shape[d];
        else
            st__runs_repeat(runs, array->shape[d], array->strides[d]);
    }
    runs->piece = piece;
    runs->piece_bits = piece * 8;
    runs->offset = low;
    runs->start_bits = low * 8;
    *below = low;
    return ST_OK;
}

st_status st__runs_init_array(st__runs *runs, st_context *context, const st_array *array,
                              uint64_t *below, st_error *error)
{
    uint64_t size = 0;
    ST_TRY(array_size(array, &size, error));
    runs->size = size;
    runs->offset = 0;
    runs->piece = 0;
    runs->piece_bits = 0;
    runs->start_bits = 0;
    runs->depth = 0;
    runs->levels = runs->room;
    runs->context = context;
    runs->memory_size = 0;
    if (size > 0)
        return array_plan(runs, array, below, error);
    *below = 0;
    return ST_OK;
}
