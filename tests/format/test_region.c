/* SPDX-License-Identifier: Apache-2.0 */
/* Regions against an oracle that walks element by element, with Python's own rule for slices. */
#include "support/check.h"
#include "support/oom.h"
#include "support/random.h"

#include "format/region.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t random_from(int64_t low, int64_t high)
{
    return low + (int64_t)random_below((uint64_t)(high - low) + 1);
}

/* ---------------------------------------------------------------------------------- tensors */

#define DIMS_MAX  5
#define BYTES_MAX 4096

typedef struct sample {
    st_tensor tensor;
    uint64_t shape[DIMS_MAX];
    uint64_t strides[DIMS_MAX]; /* in elements */
    uint64_t count;
    unsigned char data[BYTES_MAX];
} sample;

static void sample_make(sample *s, st_dtype dtype, const uint64_t *shape, uint32_t ndim)
{
    memset(&s->tensor, 0, sizeof s->tensor);
    s->count = 1;
    for (uint32_t d = ndim; d-- > 0; s->count *= shape[d]) {
        s->shape[d] = shape[d];
        s->strides[d] = s->count;
    }
    s->tensor.name = "w";
    s->tensor.name_len = 1;
    s->tensor.shape = s->shape;
    s->tensor.ndim = ndim;
    s->tensor.dtype = dtype;
    s->tensor.end = s->count * st_dtype_bits(dtype) / 8;
    assert_true(s->tensor.end <= BYTES_MAX);
    for (size_t i = 0; i < BYTES_MAX; i++)
        s->data[i] = (unsigned char)random_next();
}

static bool bit_at(const unsigned char *data, uint64_t i)
{
    return (data[i / 8] >> (i % 8)) & 1;
}

/* ----------------------------------------------------------------------------------- oracle */

/* The elements that a list of positions per dimension selects, in order. */
typedef struct selection {
    uint64_t at[DIMS_MAX][64];
    uint32_t n[DIMS_MAX];
    uint64_t *elements;
    uint64_t count;
} selection;

static void selection_expand(selection *sel, const sample *s)
{
    sel->count = 1;
    for (uint32_t d = 0; d < s->tensor.ndim; d++)
        sel->count *= sel->n[d];
    sel->elements = calloc(sel->count + 1, sizeof *sel->elements);
    for (uint64_t i = 0; i < sel->count; i++) {
        uint64_t rest = i;
        for (uint32_t d = s->tensor.ndim; d-- > 0; rest /= sel->n[d])
            sel->elements[i] += sel->at[d][rest % sel->n[d]] * s->strides[d];
    }
}

/* Whether each maximal run of neighbouring elements starts and ends between bytes. */
static bool selection_aligned(const selection *sel, uint32_t bits)
{
    for (uint64_t i = 0; i < sel->count; i++) {
        bool starts = i == 0 || sel->elements[i] != sel->elements[i - 1] + 1;
        bool ends = i + 1 == sel->count || sel->elements[i + 1] != sel->elements[i] + 1;
        if (starts && sel->elements[i] * bits % 8)
            return false;
        if (ends && (sel->elements[i] + 1) * bits % 8)
            return false;
    }
    return true;
}

static void selection_pack(const selection *sel, const sample *s, unsigned char *out)
{
    uint32_t bits = st_dtype_bits(s->tensor.dtype);
    memset(out, 0, (size_t)(sel->count * bits / 8));
    for (uint64_t i = 0; i < sel->count; i++)
        for (uint32_t b = 0; b < bits; b++)
            if (bit_at(s->data, sel->elements[i] * bits + b))
                out[(i * bits + b) / 8] |= (unsigned char)(1u << ((i * bits + b) % 8));
}

/* PySlice_AdjustIndices, and the loop it is for. */
static void python_slice(selection *sel, uint32_t d, const st_index *index, int64_t dim)
{
    int64_t step = index->has & ST_INDEX_STEP ? index->step : 1;
    int64_t start = step > 0 ? 0 : dim - 1, stop = step > 0 ? dim : -1;
    if (index->has & ST_INDEX_START) {
        start = index->start < 0 ? index->start + dim : index->start;
        if (start < 0)
            start = step < 0 ? -1 : 0;
        if (start >= dim)
            start = step < 0 ? dim - 1 : dim;
    }
    if (index->has & ST_INDEX_STOP) {
        stop = index->stop < 0 ? index->stop + dim : index->stop;
        if (stop < 0)
            stop = step < 0 ? -1 : 0;
        if (stop >= dim)
            stop = step < 0 ? dim - 1 : dim;
    }
    sel->n[d] = 0;
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step)
        sel->at[d][sel->n[d]++] = (uint64_t)i;
}

/* Resolves an index; false where NumPy raises. */
static bool oracle_resolve(selection *sel, const sample *s, const st_index *index, size_t n,
                           uint64_t *shape, uint32_t *out_ndim)
{
    uint32_t taken = 0, d = 0;
    bool ellipsis = false;
    *out_ndim = 0;
    for (size_t i = 0; i < n; i++) {
        taken += index[i].kind == ST_INDEX_INTEGER || index[i].kind == ST_INDEX_SLICE;
        if (index[i].kind == ST_INDEX_ELLIPSIS && ellipsis)
            return false;
        ellipsis |= index[i].kind == ST_INDEX_ELLIPSIS;
    }
    if (taken > s->tensor.ndim)
        return false;
    st_index whole = {.kind = ST_INDEX_SLICE};
    for (size_t i = 0; i <= n; i++) {
        uint32_t rest = i == n ? s->tensor.ndim - d : s->tensor.ndim - taken;
        if (i == n || index[i].kind == ST_INDEX_ELLIPSIS) {
            for (; rest > 0; rest--, d++) {
                python_slice(sel, d, &whole, (int64_t)s->shape[d]);
                shape[(*out_ndim)++] = s->shape[d];
            }
        } else if (index[i].kind == ST_INDEX_NEWAXIS) {
            shape[(*out_ndim)++] = 1;
        } else if (index[i].kind == ST_INDEX_SLICE) {
            if (index[i].has & ST_INDEX_STEP && index[i].step == 0)
                return false;
            python_slice(sel, d, &index[i], (int64_t)s->shape[d]);
            shape[(*out_ndim)++] = sel->n[d++];
        } else {
            int64_t at = index[i].start, dim = (int64_t)s->shape[d];
            if (at < -dim || at >= dim)
                return false;
            sel->at[d][0] = (uint64_t)(at < 0 ? at + dim : at);
            sel->n[d++] = 1;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------ comparisons */

/* Delivers [from, to) of the destination by runs of at most `limit` bytes. */
static void cursor_deliver(st__cursor *cursor, const sample *s, uint64_t to, uint64_t limit,
                           unsigned char *out)
{
    st__run run;
    while (cursor->at < to) {
        uint64_t at = cursor->at, most = limit < to - at ? limit : to - at;
        assert_true(st__cursor_next(cursor, most, &run));
        assert_true(run.pieces > 0 && run.length > 0 && run.pieces * run.length <= most);
        assert_int_equal(cursor->at - at, run.pieces * run.length);
        for (uint64_t i = 0; i < run.pieces; i++) {
            uint64_t offset = run.offset + i * (uint64_t)run.stride;
            assert_true(offset + run.length <= s->tensor.end);
            memcpy(out + at + i * run.length, s->data + offset, (size_t)run.length);
        }
    }
}

/* The bytes that all runs together lie between. */
static void span_check(const st__runs *runs)
{
    uint64_t low = 0, high = 0, least = UINT64_MAX, most = 0;
    st__cursor cursor;
    CHECK_OK(st__cursor_init(&cursor, runs, 0, &error));
    for (st__run run; st__cursor_next(&cursor, UINT64_MAX, &run);)
        for (uint64_t i = 0; i < run.pieces; i++) {
            uint64_t offset = run.offset + i * (uint64_t)run.stride;
            least = offset < least ? offset : least;
            most = offset + run.length > most ? offset + run.length : most;
        }
    st__cursor_release(&cursor);
    st__runs_span(runs, &low, &high);
    if (runs->size == 0)
        assert_int_equal(low, high);
    else {
        assert_int_equal(low, least);
        assert_int_equal(high, most);
    }
}

static void region_compare(const st_region *region, const sample *s, const selection *sel)
{
    unsigned char want[BYTES_MAX * 8], got[BYTES_MAX * 8];
    st__runs runs;
    st__cursor cursor;
    assert_true(region->size <= sizeof want);
    selection_pack(sel, s, want);
    assert_int_equal(region->count, sel->count);
    assert_int_equal(region->size, sel->count * st_dtype_bits(s->tensor.dtype) / 8);
    CHECK_OK(st__region_check(region, &s->tensor, &error));
    CHECK_OK(st__runs_init(&runs, NULL, &s->tensor, region, &error));
    span_check(&runs);
    CHECK_OK(st__cursor_init(&cursor, &runs, 0, &error));
    memset(got, 0xa5, sizeof got);
    cursor_deliver(&cursor, s, region->size, UINT64_MAX, got);
    assert_memory_equal(got, want, region->size);
    memset(got, 0x5a, sizeof got);
    cursor_deliver(&cursor, s, region->size, UINT64_MAX, got);
    /* In parts, backwards, with limits that cut pieces. */
    for (uint64_t to = region->size; to > 0;) {
        uint64_t from = to - (1 + random_below(to));
        st__cursor_seek(&cursor, from);
        cursor_deliver(&cursor, s, to, 1 + random_below(40), got);
        to = from;
    }
    assert_memory_equal(got, want, region->size);
    st__run run;
    st__cursor_seek(&cursor, region->size);
    assert_false(st__cursor_next(&cursor, 1, &run));
    st__cursor_release(&cursor);
    st__runs_release(&runs);
}

static void random_shape(uint64_t *shape, uint32_t ndim, uint64_t most)
{
    for (uint32_t d = 0; d < ndim; d++)
        shape[d] = random_below(8) == 0 ? random_below(2) : 1 + random_below(most);
}

static st_dtype random_dtype(void)
{
    return (st_dtype)(random_below(2) ? 1 + random_below(ST_DTYPE_COUNT)
                                      : ST_F6_E2M3 + random_below(3));
}

/* A tensor whose size is whole bytes. */
static void sample_random(sample *s)
{
    uint64_t shape[DIMS_MAX];
    uint32_t ndim = (uint32_t)random_below(DIMS_MAX + 1);
    st_dtype dtype = random_dtype();
    random_shape(shape, ndim, ndim < 3 ? 12 : 4);
    if (st_dtype_bits(dtype) % 8 && ndim)
        shape[random_below(ndim)] = 4;
    uint64_t count = 1;
    for (uint32_t d = 0; d < ndim; d++)
        count *= shape[d];
    if (count * st_dtype_bits(dtype) % 8 || count * 8 > BYTES_MAX)
        dtype = ST_U8;
    sample_make(s, dtype, shape, ndim);
}

static st_index random_item(uint64_t dim)
{
    int64_t reach = (int64_t)dim + 2;
    st_index item = {.kind = ST_INDEX_SLICE, .has = (uint32_t)random_below(8)};
    uint64_t kind = random_below(16);
    if (kind == 0)
        item.kind = ST_INDEX_ELLIPSIS;
    else if (kind == 1)
        item.kind = ST_INDEX_NEWAXIS;
    else if (kind < 5)
        item.kind = ST_INDEX_INTEGER;
    item.start = random_from(-reach, reach);
    item.stop = random_from(-reach, reach);
    item.step = random_from(-4, 4);
    if (item.kind == ST_INDEX_INTEGER && random_below(8))
        item.start = dim ? random_from(-(int64_t)dim, (int64_t)dim - 1) : 0;
    if (item.step == 0 && random_below(16))
        item.step = 1;
    return item;
}

static void test_random_indices(void **state)
{
    (void)state;
    static sample s;
    uint64_t tally[3] = {0, 0, 0};
    random_state = 1;
    for (int i = 0; i < 30000; i++) {
        st_index index[DIMS_MAX + 3];
        sample_random(&s);
        size_t n = (size_t)random_below(s.tensor.ndim + 2);
        for (size_t k = 0; k < n; k++)
            index[k] = random_item(k < s.tensor.ndim ? s.shape[k] : 3);
        selection sel;
        uint64_t shape[2 * DIMS_MAX + 3];
        uint32_t out_ndim;
        st_region region;
        uint32_t bits = st_dtype_bits(s.tensor.dtype);
        if (!oracle_resolve(&sel, &s, index, n, shape, &out_ndim)) {
            CHECK_ERR(st_region_init(&region, NULL, &s.tensor, index, n, &error), ST_ERR_INDEX,
                      ST_NO_OFFSET);
            tally[0]++;
            continue;
        }
        selection_expand(&sel, &s);
        if (!selection_aligned(&sel, bits)) {
            CHECK_ERR(st_region_init(&region, NULL, &s.tensor, index, n, &error),
                      ST_ERR_INDEX_MISALIGNED, ST_NO_OFFSET);
            tally[1]++;
        } else {
            CHECK_OK(st_region_init(&region, NULL, &s.tensor, index, n, &error));
            assert_int_equal(region.ndim, s.tensor.ndim);
            assert_int_equal(region.out_ndim, out_ndim);
            assert_memory_equal(region.shape, shape, out_ndim * sizeof *shape);
            region_compare(&region, &s, &sel);
            st_region_release(&region);
            tally[2]++;
        }
        free(sel.elements);
    }
    print_message("%" PRIu64 " refused, %" PRIu64 " misaligned, %" PRIu64 " taken\n", tally[0],
                  tally[1], tally[2]);
    /* The mixture must hold all three outcomes, or the test says nothing. */
    assert_true(tally[0] > 1000 && tally[1] > 500 && tally[2] > 10000);
}

/* Several slices per dimension, which no index makes but plans do. */
static void test_random_lists(void **state)
{
    (void)state;
    static sample s;
    uint64_t tally[2] = {0, 0};
    random_state = 2;
    for (int i = 0; i < 20000; i++) {
        st_slice slices[DIMS_MAX][4];
        st_slices dims[DIMS_MAX];
        selection sel;
        sample_random(&s);
        uint32_t bits = st_dtype_bits(s.tensor.dtype);
        for (uint32_t d = 0; d < s.tensor.ndim; d++) {
            dims[d] = (st_slices){slices[d], (uint32_t)random_below(4) + (s.shape[d] > 0), 0};
            sel.n[d] = 0;
            uint64_t next = 0;
            for (uint32_t k = 0; k < dims[d].count; k++) {
                uint64_t dim = s.shape[d];
                /* Often right behind the last, so that there is something to join. */
                uint64_t at = random_below(2) && next < dim ? next : dim ? random_below(dim) : 0;
                int64_t step = random_below(2) ? 1 : random_from(-3, 3);
                step = step ? step : 1;
                uint64_t room = step > 0 ? dim - 1 - at : at,
                         far = (uint64_t)(step > 0 ? step : -step);
                uint64_t count = dim ? random_below(room / far + 2) : 0;
                if (count == 2 && bits % 8)
                    step = at + 1 < dim ? 1 : -1, count = step == 1 ? 2 : 1;
                slices[d][k] = (st_slice){at, count, step};
                for (uint64_t j = 0; j < count; j++)
                    sel.at[d][sel.n[d]++] = at + j * (uint64_t)step;
                if (count)
                    next = sel.at[d][sel.n[d] - 1] + 1;
            }
        }
        selection_expand(&sel, &s);
        st_region region = {.dims = dims, .ndim = s.tensor.ndim, .count = sel.count};
        region.size = sel.count * bits / 8;
        if (sel.count * bits > BYTES_MAX * 8) {
            free(sel.elements);
            continue;
        }
        if (selection_aligned(&sel, bits)) {
            region_compare(&region, &s, &sel);
            tally[0]++;
        } else {
            CHECK_ERR(st__region_check(&region, &s.tensor, &error), ST_ERR_INDEX_MISALIGNED,
                      ST_NO_OFFSET);
            tally[1]++;
        }
        free(sel.elements);
    }
    assert_true(tally[0] > 5000 && tally[1] > 200);
}

/* ------------------------------------------------------------------------------------ plans */

typedef struct plan_case {
    const char *text;
    uint32_t ndim;
    uint64_t shape[4];
    st_dtype dtype;
    uint64_t runs;
    st__run first;
} plan_case;

/* What is adjacent is merged: the number of runs and the first of them. */
static void test_plans(void **state)
{
    (void)state;
    static const plan_case cases[] = {
        {"", 3, {4, 5, 6}, ST_F32, 1, {0, 480, 1, 0}},
        {"...", 0, {0}, ST_F64, 1, {0, 8, 1, 0}},
        {"1:3", 3, {4, 5, 6}, ST_F32, 1, {120, 240, 1, 0}},
        {":, 2:4", 2, {1000, 8}, ST_F16, 1, {4, 4, 1000, 16}},
        {":, :, 2:4", 3, {30, 40, 8}, ST_F16, 1, {4, 4, 1200, 16}},
        {":, :, ::2", 3, {30, 40, 8}, ST_F16, 1, {0, 2, 4800, 4}},
        {":, ::2", 2, {30, 7}, ST_F16, 30, {0, 2, 4, 4}},
        {"::-1", 1, {7}, ST_I32, 1, {24, 4, 7, -4}},
        {"::-1, ::-1", 2, {7, 3}, ST_I32, 1, {80, 4, 21, -4}},
        {"::-1", 2, {7, 3}, ST_I32, 1, {72, 12, 7, -12}},
        {":, 0", 2, {7, 3}, ST_I32, 1, {0, 4, 7, 12}},
        {"3", 2, {7, 3}, ST_I32, 1, {36, 12, 1, 0}},
        {":, 0, 1:2", 3, {7, 1, 3}, ST_I32, 1, {4, 4, 7, 12}},
        {"1:2, :, 1:3", 3, {7, 2, 4}, ST_U8, 1, {9, 2, 2, 4}},
        {":, 1:3, :", 3, {5, 4, 6}, ST_U8, 1, {6, 12, 5, 24}},
        {"::2, 1:3, :", 3, {5, 4, 6}, ST_U8, 1, {6, 12, 3, 48}},
        {"::2, 1:3, 1:2", 3, {5, 4, 6}, ST_U8, 3, {7, 1, 2, 6}},
        {":, 2:4", 2, {3, 4}, ST_F4, 1, {1, 1, 3, 2}},
        {"1:2, 1:3", 2, {2, 3}, ST_F4, 1, {2, 1, 1, 0}},
        {"0:0", 2, {2, 3}, ST_F4, 0, {0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static sample s;
        const plan_case *c = &cases[i];
        st_region region;
        st__runs runs;
        st__cursor cursor;
        st__run run = {0, 0, 0, 0}, first = run;
        uint64_t count = 0;
        print_message("%s\n", c->text);
        sample_make(&s, ST_U8, c->shape, 0);
        s.tensor.ndim = c->ndim;
        s.tensor.shape = c->shape;
        s.tensor.dtype = c->dtype;
        CHECK_OK(st_region_parse(&region, NULL, &s.tensor, c->text, strlen(c->text), &error));
        s.tensor.end = UINT64_MAX; /* only regions say where to look */
        CHECK_OK(st__runs_init(&runs, NULL, &s.tensor, &region, &error));
        CHECK_OK(st__cursor_init(&cursor, &runs, 0, &error));
        for (; st__cursor_next(&cursor, UINT64_MAX, &run); count++)
            if (count == 0)
                first = run;
        assert_int_equal(count, c->runs);
        assert_memory_equal(&first, &c->first, sizeof first);
        st__cursor_release(&cursor);
        st__runs_release(&runs);
        st_region_release(&region);
    }
}

/* More levels than fit without memory. */
static void test_many_dimensions(void **state)
{
    (void)state;
    enum { NDIM = 40 };
    uint64_t shape[NDIM];
    st_index index[NDIM];
    for (int d = 0; d < NDIM; d++) {
        shape[d] = d % 4 == 0 ? 3 : 1;
        index[d] = (st_index){.kind = ST_INDEX_SLICE, .has = ST_INDEX_STEP, .step = 2};
    }
    st_tensor tensor = {.name = "deep",
                        .name_len = 4,
                        .shape = shape,
                        .ndim = NDIM,
                        .dtype = ST_U16,
                        .end = 2 * 59049};
    ST_OOM_LOOP(context, status)
    {
        st_region region;
        st__runs runs;
        st__cursor cursor;
        status = st_region_init(&region, context, &tensor, index, NDIM, NULL);
        if (status != ST_OK)
            continue;
        assert_int_equal(region.count, 1024);
        status = st__runs_init(&runs, context, &tensor, &region, NULL);
        if (status == ST_OK) {
            status = st__cursor_init(&cursor, &runs, 2 * 1023, NULL);
            if (status == ST_OK) {
                st__run run;
                assert_true(st__cursor_next(&cursor, UINT64_MAX, &run));
                assert_int_equal(run.offset, 2 * 59048);
                st__cursor_release(&cursor);
            }
            st__runs_release(&runs);
        }
        st_region_release(&region);
    }
}

static void test_huge_dimensions(void **state)
{
    (void)state;
    /* 2^60 bytes; the offsets of the last column. */
    uint64_t shape[2] = {UINT64_C(1) << 50, 1024};
    st_tensor tensor = {.name = "w",
                        .name_len = 1,
                        .shape = shape,
                        .ndim = 2,
                        .dtype = ST_U8,
                        .end = UINT64_C(1) << 60};
    st_region region;
    st__runs runs;
    st__cursor cursor;
    st__run run;
    CHECK_OK(st_region_parse(&region, NULL, &tensor, "::-1, -1", 8, &error));
    assert_int_equal(region.size, UINT64_C(1) << 50);
    CHECK_OK(st__runs_init(&runs, NULL, &tensor, &region, &error));
    CHECK_OK(st__cursor_init(&cursor, &runs, 0, &error));
    assert_true(st__cursor_next(&cursor, UINT64_MAX, &run));
    assert_int_equal(run.offset, (UINT64_C(1) << 60) - 1);
    assert_int_equal(run.pieces, UINT64_C(1) << 50);
    assert_int_equal(run.stride, -1024);
    st__cursor_seek(&cursor, (UINT64_C(1) << 50) - 1);
    assert_true(st__cursor_next(&cursor, UINT64_MAX, &run));
    assert_int_equal(run.offset, 1023);
    st__cursor_release(&cursor);
    st__runs_release(&runs);
    st_region_release(&region);

    /* An empty tensor may have dimensions whose product is nobody's business. */
    uint64_t empty[3] = {0, UINT64_MAX, UINT64_MAX};
    tensor.shape = empty;
    tensor.ndim = 3;
    tensor.end = 0;
    CHECK_OK(st_region_parse(&region, NULL, &tensor, ":, 5:-3, ::-2", 13, &error));
    assert_int_equal(region.shape[1], UINT64_MAX - 8);
    assert_int_equal(region.shape[2], UINT64_C(1) << 63);
    assert_int_equal(region.size, 0);
    st_region_release(&region);
    st_index least = {.kind = ST_INDEX_SLICE, .has = ST_INDEX_STEP, .step = INT64_MIN};
    st_index index[3] = {
        {.kind = ST_INDEX_ELLIPSIS}, least, {.kind = ST_INDEX_INTEGER, .start = -1}};
    CHECK_OK(st_region_init(&region, NULL, &tensor, index, 3, &error));
    assert_int_equal(region.shape[1], 2);
    assert_int_equal(region.dims[2].at[0].start, UINT64_MAX - 1);
    st_region_release(&region);

    /* A shape that no valid tensor has. */
    uint64_t wide[2] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    tensor.shape = wide;
    tensor.ndim = 2;
    CHECK_ERR(st_region_init(&region, NULL, &tensor, NULL, 0, &error), ST_ERR_OVERFLOW,
              ST_NO_OFFSET);
}

/* --------------------------------------------------------------------------------- failures */

static void test_unknown_dtype(void **state)
{
    (void)state;
    uint64_t shape[2] = {4, 5};
    st_tensor tensor = {.name = "w",
                        .name_len = 1,
                        .shape = shape,
                        .ndim = 2,
                        .dtype = ST_DTYPE_UNKNOWN,
                        .begin = 10,
                        .end = 17};
    st_region region;
    CHECK_OK(st_region_parse(&region, NULL, &tensor, "..., None", 9, &error));
    assert_int_equal(region.size, 7);
    st_region_release(&region);
    CHECK_ERR(st_region_parse(&region, NULL, &tensor, "1:", 2, &error), ST_ERR_DTYPE_UNKNOWN,
              ST_NO_OFFSET);
    CHECK_ERR(st_region_parse(&region, NULL, &tensor, "::-1", 4, &error), ST_ERR_DTYPE_UNKNOWN,
              ST_NO_OFFSET);
}

static void test_bad_items(void **state)
{
    (void)state;
    uint64_t shape[1] = {4};
    st_tensor tensor = {
        .name = "w", .name_len = 1, .shape = shape, .ndim = 1, .dtype = ST_U8, .end = 4};
    st_index index = {.kind = 9};
    st_region region;
    CHECK_ERR(st_region_init(&region, NULL, &tensor, &index, 1, &error), ST_ERR_INDEX,
              ST_NO_OFFSET);
}

/* Regions that somebody filled for another tensor, or wrongly. */
static void test_check(void **state)
{
    (void)state;
    uint64_t shape[2] = {4, 5};
    st_tensor tensor = {
        .name = "w", .name_len = 1, .shape = shape, .ndim = 2, .dtype = ST_U8, .end = 20};
    static const struct {
        st_slice slice;
        uint64_t count;
        st_status status;
    } cases[] = {
        {{0, 5, 1}, 20, ST_OK},
        {{4, 2, -4}, 8, ST_OK},
        {{4, 1, INT64_MIN}, 4, ST_OK},
        {{9, 0, 0}, 0, ST_OK},
        {{5, 1, 1}, 4, ST_ERR_ARGUMENT},
        {{1, 5, 1}, 20, ST_ERR_ARGUMENT},
        {{0, 2, 0}, 8, ST_ERR_ARGUMENT},
        {{3, 2, -4}, 8, ST_ERR_ARGUMENT},
        {{0, 3, INT64_MAX}, 12, ST_ERR_ARGUMENT},
        {{4, 3, INT64_MIN}, 12, ST_ERR_ARGUMENT},
        {{0, UINT64_MAX, 1}, 20, ST_ERR_ARGUMENT},
        {{0, 5, 1}, 19, ST_ERR_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        st_slice all = {0, 4, 1};
        st_slices dims[2] = {{&all, 1, 0}, {&cases[i].slice, 1, 0}};
        st_region region = {
            .dims = dims, .ndim = 2, .count = cases[i].count, .size = cases[i].count};
        print_message("case %zu\n", i);
        CHECK_ERR(st__region_check(&region, &tensor, &error), cases[i].status, ST_NO_OFFSET);
        region.ndim = 1;
        CHECK_ERR(st__region_check(&region, &tensor, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_indices),  cmocka_unit_test(test_random_lists),
        cmocka_unit_test(test_plans),           cmocka_unit_test(test_many_dimensions),
        cmocka_unit_test(test_huge_dimensions), cmocka_unit_test(test_unknown_dtype),
        cmocka_unit_test(test_bad_items),       cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
