/* SPDX-License-Identifier: Apache-2.0 */
#include "values.h"

#include <stdlib.h>

#include "memory.h"

/* No shape whose product fits 64 bits has more dimensions that are not 1. */
#define AXES_MAX 64

/* ---------------------------------------------------------------------------- all of them */

struct stream {
    st_dtype dtype;
    value_fn value;
    void *ctx;
};

static void values_decode(const struct stream *stream, const void *data, uint64_t first,
                          uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        st_value value = st_element_decode(stream->dtype, data, i);
        stream->value(stream->ctx, &value);
    }
}

static st_status block_decode(void *ctx, const void *data, size_t size, st_error *error)
{
    const struct stream *stream = ctx;
    (void)error;
    /* Blocks hold whole elements; 64 bits hold the bits of any block there is. */
    values_decode(stream, data, 0, (uint64_t)size * 8 / st_dtype_bits(stream->dtype));
    return ST_OK;
}

st_status values_each(const struct values *values, value_fn value, void *ctx, st_error *error)
{
    struct stream stream = {values->tensor->dtype, value, ctx};
    return st_file_read_blocks(values->file, values->tensor, values->region, block_decode, &stream,
                               error);
}

/* ----------------------------------------------------------------------------- the edges */

/* A dimension of the tensor of which the region takes other than one index. Those that it takes one
 * of, and new axes, change nothing about which value comes after which. */
struct axis {
    uint32_t dim;
    st_slice slice;
    uint64_t shown; /* positions */
    uint64_t at;    /* 0 .. shown - 1 */
};

struct edges {
    const struct values *values;
    struct stream stream;
    uint64_t edge;
    struct axis axes[AXES_MAX];
    size_t count;
    st_index *index; /* one item per dimension of the tensor */
};

/* Gives the position within the axis of the one shown as number `at`. */
static uint64_t axis_position(const struct axis *axis, uint64_t at, uint64_t edge)
{
    uint64_t skipped = axis->slice.count - axis->shown;
    return skipped && at >= edge ? at + skipped : at;
}

/* Gives the index in the tensor's dimension. */
static uint64_t axis_index(const struct axis *axis, uint64_t position)
{
    return axis->slice.start + position * (uint64_t)axis->slice.step;
}

/* Gives false where the region is none of basic indexing. */
static bool axes_init(struct edges *edges)
{
    const st_region *region = edges->values->region;
    for (uint32_t d = 0; d < region->ndim; d++) {
        if (region->dims[d].count != 1)
            return false;
        st_slice slice = region->dims[d].at[0];
        edges->index[d] = (st_index){.kind = ST_INDEX_INTEGER, .start = (int64_t)slice.start};
        if (slice.count == 1)
            continue;
        bool all = slice.count / 2 < edges->edge ||
                   (slice.count / 2 == edges->edge && slice.count % 2 == 0);
        edges->axes[edges->count++] =
            (struct axis){.dim = d, .slice = slice, .shown = all ? slice.count : 2 * edges->edge};
    }
    return true;
}

/* Tells whether the ends of rows of a sub-byte dtype can be read by themselves. */
static bool rows_are_aligned(const struct edges *edges)
{
    const st_tensor *tensor = edges->values->tensor;
    const struct axis *row = &edges->axes[edges->count - 1];
    uint32_t bits = st_dtype_bits(tensor->dtype);
    if (bits % 8 == 0)
        return true;
    return row->dim == tensor->ndim - 1 && row->slice.step == 1 &&
           tensor->shape[row->dim] % 8 * bits % 8 == 0 && row->slice.start % 8 * bits % 8 == 0;
}

/* Reads `count` values of a row from position `first` on, and hands them over from `skip` on. */
static st_status chunk_read(struct edges *edges, uint64_t first, uint64_t count, uint64_t skip,
                            uint64_t take, st_error *error)
{
    const struct values *values = edges->values;
    const struct axis *row = &edges->axes[edges->count - 1];
    int64_t step = row->slice.step;
    uint64_t last = axis_index(row, first + count - 1);
    st_index *item = &edges->index[row->dim];
    *item = (st_index){.kind = ST_INDEX_SLICE,
                       .has = ST_INDEX_START | ST_INDEX_STEP,
                       .start = (int64_t)axis_index(row, first),
                       .step = step};
    if (step > 0 || last > 0) { /* a stop of -1 would count from the end */
        item->has |= ST_INDEX_STOP;
        item->stop = (int64_t)last + (step > 0 ? 1 : -1);
    }
    st_region region = {0};
    st_status status =
        st_region_init(&region, NULL, values->tensor, edges->index, values->tensor->ndim, error);
    if (status != ST_OK)
        return status;
    void *data = memory_new((size_t)region.size, 1);
    status = st_file_read(values->file, values->tensor, &region, data, (size_t)region.size, error);
    if (status == ST_OK)
        values_decode(&edges->stream, data, skip, take);
    free(data);
    st_region_release(&region);
    return status;
}

/* Hands over the values from position `first` to `end` of a row, reading from byte boundaries. */
static st_status row_part(struct edges *edges, uint64_t first, uint64_t end, st_error *error)
{
    uint32_t bits = st_dtype_bits(edges->values->tensor->dtype);
    uint64_t unit = bits % 8 == 0 ? 1 : bits % 4 == 0 ? 2 : 4;
    uint64_t count = edges->axes[edges->count - 1].slice.count;
    uint64_t from = first - first % unit, to = end;
    while (to % unit && to < count)
        to++;
    return chunk_read(edges, from, to - from, first - from, end - first, error);
}

static st_status row_read(struct edges *edges, st_error *error)
{
    const struct axis *row = &edges->axes[edges->count - 1];
    uint64_t count = row->slice.count;
    for (size_t i = 0; i + 1 < edges->count; i++) {
        const struct axis *axis = &edges->axes[i];
        edges->index[axis->dim].start =
            (int64_t)axis_index(axis, axis_position(axis, axis->at, edges->edge));
    }
    if (row->shown == count)
        return row_part(edges, 0, count, error);
    st_status status = row_part(edges, 0, edges->edge, error);
    if (status == ST_OK)
        status = row_part(edges, count - edges->edge, count, error);
    return status;
}

/* Moves to the next row shown; false after the last. */
static bool row_next(struct edges *edges)
{
    for (size_t i = edges->count - 1; i-- > 0;) {
        if (++edges->axes[i].at < edges->axes[i].shown)
            return true;
        edges->axes[i].at = 0;
    }
    return false;
}

/* Passes on those of all values that are shown. Here `at` counts positions. */
static void edges_pass(void *ctx, const st_value *value)
{
    struct edges *edges = ctx;
    bool shown = true;
    for (size_t i = 0; i < edges->count && shown; i++) {
        const struct axis *axis = &edges->axes[i];
        shown = axis->shown == axis->slice.count || axis->at < edges->edge ||
                axis->at >= axis->slice.count - edges->edge;
    }
    if (shown)
        edges->stream.value(edges->stream.ctx, value);
    for (size_t i = edges->count; i-- > 0;) {
        if (++edges->axes[i].at < edges->axes[i].slice.count)
            return;
        edges->axes[i].at = 0;
    }
}

st_status values_edges(const struct values *values, uint64_t edge, value_fn value, void *ctx,
                       st_error *error)
{
    struct edges edges = {.values = values, .edge = edge};
    edges.stream = (struct stream){values->tensor->dtype, value, ctx};
    edges.index = memory_new(values->tensor->ndim, sizeof *edges.index);
    st_status status = ST_OK;
    if (!axes_init(&edges) || edges.count == 0)
        status = values_each(values, value, ctx, error);
    else if (!rows_are_aligned(&edges))
        status = values_each(values, edges_pass, &edges, error);
    else
        do
            status = row_read(&edges, error);
        while (status == ST_OK && row_next(&edges));
    free(edges.index);
    return status;
}
