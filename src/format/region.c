/* SPDX-License-Identifier: Apache-2.0 */
/* From NumPy's basic indices to slices. Dimensions reach 2^64-1 and indices are int64, so positions are
 * kept unsigned and never pass through a signed sum. */
#include "format/region.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

static uint64_t magnitude_of(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

/* --------------------------------------------------------------------------- lists of slices */

/* Appends `next` to `slice` where it goes on at the same pace. */
static bool slice_join(st_slice *slice, const st_slice *next)
{
    uint64_t last = slice->start + (slice->count - 1) * (uint64_t)slice->step;
    uint64_t step = next->start - last; /* modulo 2^64, as slices' own steps are below */
    uint64_t distance = next->start > last ? step : 0 - step;
    if (distance == 0 || distance > (uint64_t)INT64_MAX)
        return false;
    if (slice->count > 1 && step != (uint64_t)slice->step)
        return false;
    if (next->count > 1 && step != (uint64_t)next->step)
        return false;
    slice->step = next->start > last ? (int64_t)distance : -(int64_t)distance;
    slice->count += next->count;
    return true;
}

bool st__slices_next(const st_slices *slices, uint32_t *i, st_slice *out)
{
    while (*i < slices->count && slices->at[*i].count == 0)
        ++*i;
    if (*i == slices->count)
        return false;
    *out = slices->at[(*i)++];
    if (out->count == 1)
        out->step = 1;
    for (; *i < slices->count; ++*i)
        if (slices->at[*i].count && !slice_join(out, &slices->at[*i]))
            break;
    return true;
}

/* True for a list that takes all of a dimension, in order. */
static bool slices_full(const st_slices *slices, uint64_t dim)
{
    st_slice all;
    uint32_t i = 0;
    return st__slices_next(slices, &i, &all) && i == slices->count && all.start == 0 &&
           all.count == dim && (all.step == 1 || dim == 1);
}

static bool slice_inside(const st_slice *slice, uint64_t dim)
{
    if (slice->count == 0)
        return true;
    if (slice->start >= dim)
        return false;
    if (slice->count == 1)
        return true;
    uint64_t room = slice->step > 0 ? dim - 1 - slice->start : slice->start;
    return slice->step != 0 && (slice->count - 1) <= room / magnitude_of(slice->step);
}

/* ------------------------------------------------------------------------------ measuring */

static bool shape_is_empty(const st_tensor *tensor)
{
    for (uint32_t d = 0; d < tensor->ndim; d++)
        if (tensor->shape[d] == 0)
            return true;
    return false;
}

/* The product of the shape; false where it does not fit, which no valid tensor shows. */
static bool shape_product(const uint64_t *shape, uint32_t ndim, uint64_t *out)
{
    *out = 1;
    for (uint32_t d = 0; d < ndim; d++)
        if (!st__mul_u64(*out, shape[d], out))
            return false;
    return true;
}

/* Elements that the slices take. Lists may take a position many times, so this can overflow. */
static bool region_count(const st_slices *dims, uint32_t ndim, uint64_t *out)
{
    bool fits = true, empty = false;
    uint64_t product = 1;
    for (uint32_t d = 0; d < ndim; d++) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < dims[d].count; i++)
            fits &= st__add_u64(sum, dims[d].at[i].count, &sum);
        empty |= sum == 0;
        fits &= st__mul_u64(product, sum, &product);
    }
    *out = empty ? 0 : product;
    return empty || fits;
}

/* Whether all positions of an outer dimension are at the same bit of a byte. All arithmetic here is
 * modulo 8, which divides 2^64. */
static bool outer_congruent(const st_slices *slices, uint64_t unit, uint64_t first)
{
    uint32_t i = 0;
    for (st_slice s; st__slices_next(slices, &i, &s);)
        if (((s.start - first) * unit) % 8 || (s.count > 1 && ((uint64_t)s.step * unit) % 8))
            return false;
    return true;
}

/* The same for where contiguous pieces start and end in the innermost dimension that is cut. */
static bool inner_congruent(const st_slices *slices, uint64_t unit, uint64_t first)
{
    uint32_t i = 0;
    for (st_slice s; st__slices_next(slices, &i, &s);) {
        uint64_t length = s.step == 1 ? s.count : 1;
        if ((length * unit) % 8 || ((s.start - first) * unit) % 8)
            return false;
    }
    return true;
}

static uint64_t slices_first(const st_slices *slices)
{
    st_slice s = {0, 0, 1};
    uint32_t i = 0;
    (void)st__slices_next(slices, &i, &s);
    return s.start;
}

/* Whether every contiguous piece of a region that is not empty starts and ends between bytes. */
static bool region_aligned(const st_slices *dims, const st_tensor *tensor, uint32_t bits)
{
    bool cut = false;
    uint64_t unit = bits, start = 0;
    for (uint32_t d = tensor->ndim; d-- > 0; unit *= tensor->shape[d]) {
        if (!cut && slices_full(&dims[d], tensor->shape[d]))
            continue;
        uint64_t first = slices_first(&dims[d]);
        if (cut ? !outer_congruent(&dims[d], unit, first) : !inner_congruent(&dims[d], unit, first))
            return false;
        cut = true;
        start += first * unit;
    }
    return cut ? start % 8 == 0 : unit % 8 == 0;
}

static bool region_whole(const st_slices *dims, const st_tensor *tensor)
{
    for (uint32_t d = 0; d < tensor->ndim; d++)
        if (tensor->shape[d] ? !slices_full(&dims[d], tensor->shape[d]) : dims[d].count != 1)
            return false;
    return true;
}

/* Count and size of what the slices take, all of which lie within the tensor. */
static st_status region_measure(const st_slices *dims, const st_tensor *tensor, uint64_t *count,
                                uint64_t *size, st_error *error)
{
    uint32_t bits = st_dtype_bits(tensor->dtype);
    uint64_t all, all_bits, n, n_bits;
    bool empty = shape_is_empty(tensor);
    if (!empty && (!shape_product(tensor->shape, tensor->ndim, &all) ||
                   !st__mul_u64(all, bits ? bits : 1, &all_bits)))
        return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                        "tensor %s: its size in bits exceeds 64 bits",
                        st__quote(tensor->name, tensor->name_len).text);
    if (!region_count(dims, tensor->ndim, &n) || !st__mul_u64(n, bits ? bits : 1, &n_bits))
        return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                        "tensor %s: the region's size in bits exceeds 64 bits",
                        st__quote(tensor->name, tensor->name_len).text);
    if (!bits && !region_whole(dims, tensor))
        return st__fail(error, ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET,
                        "tensor %s: a tensor of unknown dtype can only be taken whole",
                        st__quote(tensor->name, tensor->name_len).text);
    if (bits % 8 && n && !region_aligned(dims, tensor, bits))
        return st__fail(error, ST_ERR_INDEX_MISALIGNED, ST_NO_OFFSET,
                        "tensor %s: the slice cuts %" PRIu32 "-bit elements inside a byte; "
                        "start and end it where elements end at a byte boundary",
                        st__quote(tensor->name, tensor->name_len).text, bits);
    *count = n;
    *size = bits ? n_bits / 8 : st_tensor_size(tensor);
    return ST_OK;
}

static st_status region_mismatch(const st_tensor *tensor, const char *what, st_error *error)
{
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                    "tensor %s: the region was made for another shape: %s",
                    st__quote(tensor->name, tensor->name_len).text, what);
}

st_status st__region_check(const st_region *region, const st_tensor *tensor, st_error *error)
{
    if (region->ndim != tensor->ndim)
        return region_mismatch(tensor, "the number of dimensions differs", error);
    for (uint32_t d = 0; d < tensor->ndim; d++)
        for (uint32_t i = 0; i < region->dims[d].count; i++)
            if (!slice_inside(&region->dims[d].at[i], tensor->shape[d]))
                return region_mismatch(tensor, "a slice reaches past its dimension", error);
    uint64_t count, size;
    ST_TRY(region_measure(region->dims, tensor, &count, &size, error));
    if (count != region->count || size != region->size)
        return region_mismatch(tensor, "its count or size disagrees with its slices", error);
    return ST_OK;
}

/* ------------------------------------------------------------------------------- indices */

static uint64_t rising_bound(int64_t bound, uint64_t dim)
{
    if (bound >= 0)
        return st__min_u64((uint64_t)bound, dim);
    uint64_t back = magnitude_of(bound);
    return back > dim ? 0 : dim - back;
}

static st_slice slice_rising(const st_index *index, uint64_t dim, uint64_t step)
{
    uint64_t start = index->has & ST_INDEX_START ? rising_bound(index->start, dim) : 0;
    uint64_t stop = index->has & ST_INDEX_STOP ? rising_bound(index->stop, dim) : dim;
    uint64_t count = start < stop ? (stop - start - 1) / step + 1 : 0;
    return (st_slice){start, count, (int64_t)step};
}

/* Positions one higher than NumPy's, so that "before the first" is 0. */
static uint64_t falling_bound(int64_t bound, uint64_t dim)
{
    if (bound >= 0)
        return (uint64_t)bound < dim ? (uint64_t)bound + 1 : dim;
    uint64_t back = magnitude_of(bound);
    return back > dim ? 0 : dim - back + 1;
}

static st_slice slice_falling(const st_index *index, uint64_t dim)
{
    uint64_t start = index->has & ST_INDEX_START ? falling_bound(index->start, dim) : dim;
    uint64_t stop = index->has & ST_INDEX_STOP ? falling_bound(index->stop, dim) : 0;
    uint64_t count = start > stop ? (start - stop - 1) / magnitude_of(index->step) + 1 : 0;
    return (st_slice){start - 1, count, index->step};
}

static st_status index_fail(const st_tensor *tensor, st_error *error, const char *what)
{
    return st__fail(error, ST_ERR_INDEX, ST_NO_OFFSET, "tensor %s: %s",
                    st__quote(tensor->name, tensor->name_len).text, what);
}

/* One integer or slice against dimension `d`. */
static st_status index_resolve(const st_index *index, const st_tensor *tensor, uint32_t d,
                               st_slice *out, st_error *error)
{
    uint64_t dim = tensor->shape[d];
    if (index->kind == ST_INDEX_INTEGER) {
        uint64_t back = magnitude_of(index->start);
        bool negative = index->start < 0;
        if (negative ? back > dim : back >= dim)
            return st__fail(error, ST_ERR_INDEX, ST_NO_OFFSET,
                            "tensor %s: index %" PRId64 " is out of range for dimension %" PRIu32
                            " of size %" PRIu64,
                            st__quote(tensor->name, tensor->name_len).text, index->start, d, dim);
        *out = (st_slice){negative ? dim - back : back, 1, 1};
        return ST_OK;
    }
    bool stepped = index->has & ST_INDEX_STEP;
    if (stepped && index->step == 0)
        return index_fail(tensor, error, "the step of a slice cannot be 0");
    if (stepped && index->step < 0)
        *out = slice_falling(index, dim);
    else
        *out = slice_rising(index, dim, stepped ? (uint64_t)index->step : 1);
    if (out->count == 0)
        out->start = 0;
    if (out->count <= 1)
        out->step = 1;
    return ST_OK;
}

typedef struct index_tally {
    uint64_t taken; /* integers and slices */
    uint64_t added; /* newaxis */
    uint64_t dropped;
    bool ellipsis;
} index_tally;

static st_status index_count(const st_tensor *tensor, const st_index *index, size_t n,
                             index_tally *out, st_error *error)
{
    index_tally tally = {0, 0, 0, false};
    for (size_t i = 0; i < n; i++) {
        switch (index[i].kind) {
        case ST_INDEX_INTEGER:
            tally.dropped++;
            tally.taken++;
            break;
        case ST_INDEX_SLICE: tally.taken++; break;
        case ST_INDEX_NEWAXIS: tally.added++; break;
        case ST_INDEX_ELLIPSIS:
            if (tally.ellipsis)
                return index_fail(tensor, error, "an index has at most one ellipsis (...)");
            tally.ellipsis = true;
            break;
        default: return index_fail(tensor, error, "an index item is of no known kind");
        }
    }
    if (tally.taken > tensor->ndim)
        return st__fail(error, ST_ERR_INDEX, ST_NO_OFFSET,
                        "tensor %s: too many indices: it has %" PRIu32 " dimensions, and %" PRIu64
                        " are indexed",
                        st__quote(tensor->name, tensor->name_len).text, tensor->ndim, tally.taken);
    *out = tally;
    return ST_OK;
}

/* The region's one block of memory, and where its parts are while they are filled. */
typedef struct region_parts {
    st_slices *dims;
    st_slice *slices;
    uint64_t *shape;
    uint32_t out_ndim;
    size_t size;
} region_parts;

static st_status parts_alloc(st_context *context, uint32_t ndim, const index_tally *tally,
                             region_parts *out, st_error *error)
{
    uint64_t out_ndim = ndim + tally->added - tally->dropped;
    uint64_t size = 0, shape_size = 0;
    size_t memory_size;
    if (out_ndim > UINT32_MAX)
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                        "an index makes %" PRIu64 " dimensions, more than %" PRIu32, out_ndim,
                        UINT32_MAX);
    if (!st__mul_u64(ndim, sizeof(st_slices) + sizeof(st_slice), &size) ||
        !st__mul_u64(out_ndim, sizeof(uint64_t), &shape_size) ||
        !st__add_u64(size, shape_size, &size) || !st__u64_to_size(size, &memory_size))
        return st__fail_nomem(error, size);
    /* Slices and shape come first: they need 8-byte alignment where pointers may need only 4. */
    unsigned char *memory = st__alloc(context, memory_size);
    if (!memory)
        return st__fail_nomem(error, memory_size);
    out->slices = (st_slice *)(void *)memory;
    out->shape = (uint64_t *)(void *)(memory + ndim * sizeof(st_slice));
    out->dims = (st_slices *)(void *)(memory + ndim * sizeof(st_slice) + (size_t)shape_size);
    out->out_ndim = 0;
    out->size = memory_size;
    return ST_OK;
}

static void parts_whole(region_parts *parts, const st_tensor *tensor, uint32_t from, uint32_t n)
{
    for (uint32_t d = from; d < from + n; d++) {
        parts->slices[d] = (st_slice){0, tensor->shape[d], 1};
        parts->shape[parts->out_ndim++] = tensor->shape[d];
    }
}

static st_status parts_fill(region_parts *parts, const st_tensor *tensor, const st_index *index,
                            size_t n, const index_tally *tally, st_error *error)
{
    uint32_t rest = tensor->ndim - (uint32_t)tally->taken, d = 0;
    for (size_t i = 0; i < n; i++) {
        if (index[i].kind == ST_INDEX_ELLIPSIS) {
            parts_whole(parts, tensor, d, rest);
            d += rest;
        } else if (index[i].kind == ST_INDEX_NEWAXIS) {
            parts->shape[parts->out_ndim++] = 1;
        } else {
            ST_TRY(index_resolve(&index[i], tensor, d, &parts->slices[d], error));
            if (index[i].kind == ST_INDEX_SLICE)
                parts->shape[parts->out_ndim++] = parts->slices[d].count;
            d++;
        }
    }
    parts_whole(parts, tensor, d, tensor->ndim - d);
    for (d = 0; d < tensor->ndim; d++)
        parts->dims[d] = (st_slices){&parts->slices[d], 1, 0};
    return ST_OK;
}

st_status st_region_init(st_region *region, st_context *context, const st_tensor *tensor,
                         const st_index *index, size_t n, st_error *error)
{
    index_tally tally = {0, 0, 0, false};
    region_parts parts = {NULL, NULL, NULL, 0, 0};
    uint64_t count = 0, size = 0;
    ST_TRY(index_count(tensor, index, n, &tally, error));
    ST_TRY(parts_alloc(context, tensor->ndim, &tally, &parts, error));
    st_status status = parts_fill(&parts, tensor, index, n, &tally, error);
    if (status == ST_OK)
        status = region_measure(parts.dims, tensor, &count, &size, error);
    if (status != ST_OK) {
        st__free(context, parts.slices, parts.size);
        return status;
    }
    *region = (st_region){.dims = parts.dims,
                          .shape = parts.shape,
                          .ndim = tensor->ndim,
                          .out_ndim = parts.out_ndim,
                          .count = count,
                          .size = size,
                          .memory = parts.slices,
                          .memory_size = parts.size,
                          .context = st_context_retain(context)};
    return ST_OK;
}

void st_region_release(st_region *region)
{
    if (!region)
        return;
    st__free(region->context, region->memory, region->memory_size);
    st_context_release(region->context);
    memset(region, 0, sizeof *region);
}
