/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as a tensor's shape and an index of it, or as lists of slices. A region that is taken
 * lies within its tensor, counts right, and gives the same bytes whole, in parts and from the middle. */
#include "target.h"

#include "format/region.h"

#include <string.h>

#define DIMS      5u
#define LISTS     3u
#define WALK_MOST 65536u

/* The input, byte by byte; zeros behind its end. */
typedef struct input {
    const uint8_t *data;
    size_t size;
    size_t at;
} input;

static uint8_t input_byte(input *in)
{
    return in->at < in->size ? in->data[in->at++] : 0;
}

/* Mostly small, sometimes as large as can be. */
static uint64_t input_size(input *in)
{
    uint8_t byte = input_byte(in);
    return byte < 240 ? byte % 12 : UINT64_MAX >> (byte % 16 * 4);
}

/* False where no such tensor exists. */
static bool tensor_read(input *in, uint64_t *shape, st_tensor *out)
{
    *out = (st_tensor){.name = "w", .name_len = 1, .shape = shape};
    out->dtype = (st_dtype)(input_byte(in) % ST_DTYPE_COUNT) + 1;
    out->ndim = input_byte(in) % (DIMS + 1);
    uint64_t bits = st_dtype_bits(out->dtype);
    bool fits = true, empty = false;
    for (uint32_t d = 0; d < out->ndim; d++) {
        shape[d] = input_size(in);
        empty |= shape[d] == 0;
        fits &= shape[d] == 0 || bits <= UINT64_MAX / shape[d];
        bits *= shape[d];
    }
    out->end = empty ? 0 : bits / 8;
    return empty || (fits && bits % 8 == 0);
}

/* Notes for each byte of the destination where it comes from, from `at` on, by runs of `limit`. */
static void walk_note(const st__runs *runs, const st_tensor *tensor, uint64_t at, uint64_t limit,
                      uint64_t *from)
{
    st__cursor cursor;
    st__run run;
    require(st__cursor_init(&cursor, runs, at, NULL) == ST_OK);
    while (st__cursor_next(&cursor, limit, &run)) {
        require(run.length > 0 && run.pieces > 0 && run.pieces <= limit / run.length);
        for (uint64_t i = 0; i < run.pieces * run.length; i++) {
            uint64_t offset = run.offset + i / run.length * (uint64_t)run.stride + i % run.length;
            require(offset < st_tensor_size(tensor) && at < runs->size);
            from[at++] = offset;
        }
    }
    require(at == runs->size);
    st__cursor_release(&cursor);
}

static void region_walk(const st_region *region, const st_tensor *tensor, input *in)
{
    st__runs runs;
    require(st__runs_init(&runs, NULL, tensor, region, NULL) == ST_OK);
    require(runs.size == region->size);
    if (runs.size <= WALK_MOST) {
        size_t room = (size_t)runs.size * sizeof(uint64_t) + 1;
        uint64_t *whole = malloc(room), *parts = malloc(room);
        require(whole && parts);
        walk_note(&runs, tensor, 0, UINT64_MAX, whole);
        walk_note(&runs, tensor, 0, 1 + input_byte(in) % 32u, parts);
        require(memcmp(whole, parts, (size_t)runs.size * sizeof *whole) == 0);
        uint64_t middle = runs.size * input_byte(in) / 256;
        walk_note(&runs, tensor, middle, UINT64_MAX, parts);
        require(memcmp(whole, parts, (size_t)runs.size * sizeof *whole) == 0);
        free(whole);
        free(parts);
    } else {
        st__cursor cursor;
        st__run run;
        require(st__cursor_init(&cursor, &runs, runs.size / 256 * input_byte(in), NULL) == ST_OK);
        for (int i = 0; i < 100 && st__cursor_next(&cursor, UINT64_MAX, &run); i++) {
            uint64_t reach = (run.pieces - 1) * (uint64_t)run.stride;
            require(run.offset < st_tensor_size(tensor));
            require(run.length <= st_tensor_size(tensor) - run.offset);
            require(run.offset + reach <= st_tensor_size(tensor) - run.length);
        }
        st__cursor_release(&cursor);
    }
    st__runs_release(&runs);
}

static void text_take(const st_tensor *tensor, input *in)
{
    st_region region;
    st_error error;
    const char *text = (const char *)in->data + in->at;
    st_status status = st_region_parse(&region, NULL, tensor, text, in->size - in->at, &error);
    if (status != ST_OK) {
        require(status == ST_ERR_INDEX || status == ST_ERR_INDEX_MISALIGNED);
        require(error.status == status && error.message[0]);
        return;
    }
    uint64_t count = 1;
    for (uint32_t d = 0; d < region.out_ndim; d++)
        count = region.count ? count * region.shape[d] : 0;
    require(count == region.count);
    require(st__region_check(&region, tensor, NULL) == ST_OK);
    region_walk(&region, tensor, in);
    st_region_release(&region);
}

static void lists_take(const st_tensor *tensor, input *in)
{
    st_slice slices[DIMS][LISTS];
    st_slices dims[DIMS];
    st_region region = {.dims = dims, .ndim = tensor->ndim, .count = 1};
    for (uint32_t d = 0; d < tensor->ndim; d++) {
        uint64_t sum = 0;
        dims[d] = (st_slices){slices[d], input_byte(in) % (LISTS + 1), 0};
        for (uint32_t i = 0; i < dims[d].count; i++) {
            uint64_t start = input_size(in), count = input_size(in);
            slices[d][i] = (st_slice){start, count, (int8_t)input_byte(in)};
            sum += count;
        }
        region.count *= sum;
    }
    region.size = region.count * st_dtype_bits(tensor->dtype) / 8;
    if (st__region_check(&region, tensor, NULL) == ST_OK)
        region_walk(&region, tensor, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, size, 0};
    uint64_t shape[DIMS];
    st_tensor tensor;
    bool lists = input_byte(&in) & 1;
    if (!tensor_read(&in, shape, &tensor))
        return 0;
    if (lists)
        lists_take(&tensor, &in);
    else
        text_take(&tensor, &in);
    return 0;
}
