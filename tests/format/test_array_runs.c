/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays of any strides against a gather that goes element by element. */
#include "support/check.h"
#include "support/oom.h"
#include "support/random.h"

#include "format/region.h"
#include "io/copy.h"

#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------- oracle */

#define DIMS_MAX  9
#define BYTES_MAX 8192

/* Packs an array of whole bytes, or of rows of `row` bytes instead of its last dimension. */
static size_t gather(const st_array *array, size_t row, unsigned char *out)
{
    uint32_t ndim = array->ndim - (row > 0);
    size_t piece = row ? row : st_dtype_bits(array->dtype) / 8, size = 0;
    uint64_t count = 1;
    for (uint32_t d = 0; d < ndim; d++)
        count *= array->shape[d];
    for (uint64_t i = 0; i < count; i++, size += piece) {
        const unsigned char *from = array->data;
        uint64_t rest = i;
        for (uint32_t d = ndim; d-- > 0; rest /= array->shape[d])
            from += (int64_t)(rest % array->shape[d]) * array->strides[d];
        assert_true(size + piece <= BYTES_MAX);
        memcpy(out + size, from, piece);
    }
    return size;
}

/* Walks from byte `at` on in runs of at most `limit` bytes. */
static void walk(const st__runs *runs, const unsigned char *base, uint64_t at, uint64_t limit,
                 unsigned char *out)
{
    st__cursor cursor;
    st__run run;
    CHECK_OK(st__cursor_init(&cursor, runs, at, &error));
    while (st__cursor_next(&cursor, limit, &run)) {
        assert_true(run.length > 0 && run.pieces > 0);
        assert_true(run.length * run.pieces <= limit);
        st__copy_run(out + at, base + run.offset, &run);
        at += run.length * run.pieces;
        assert_int_equal(cursor.at, at);
    }
    assert_int_equal(at, runs->size);
    st__cursor_release(&cursor);
}

/* Plans, walks in several ways, and compares with the `size` bytes of `expected`; gives the depth. */
static uint32_t packs(const st_array *array, const unsigned char *expected, uint64_t size)
{
    unsigned char out[BYTES_MAX];
    st__runs runs;
    uint64_t below = 77;
    CHECK_OK(st__runs_init_array(&runs, NULL, array, &below, &error));
    assert_int_equal(runs.size, size);
    const unsigned char *base = (const unsigned char *)array->data - below;
    for (int i = 0; i < 4; i++) {
        uint64_t at = i ? random_below(size + 1) : 0;
        memset(out, 0xee, sizeof out);
        walk(&runs, base, at, i == 1 ? 1 + random_below(7) : 1 + random_below(2 * size + 1), out);
        assert_memory_equal(out + at, expected + at, (size_t)(size - at));
    }
    st__runs_release(&runs);
    return runs.depth;
}

/* --------------------------------------------------------------------------------- examples */

typedef struct example {
    const char *label;
    uint32_t ndim;
    uint64_t shape[4];
    int64_t strides[4];
    uint64_t below;
    uint64_t piece;
    uint32_t depth;
} example;

static void test_plans(void **state)
{
    (void)state;
    static const example rows[] = {
        {"packed", 3, {2, 3, 4}, {48, 16, 4}, 0, 96, 0},
        {"rows apart", 2, {3, 4}, {20, 4}, 0, 16, 1},
        {"transposed", 2, {3, 4}, {4, 12}, 0, 4, 2},
        {"columns merged over rows", 3, {2, 3, 4}, {96, 32, 8}, 0, 4, 1},
        {"outer dimensions merged", 3, {2, 3, 4}, {60, 20, 4}, 0, 16, 1},
        {"reversed", 1, {5}, {-4}, 16, 4, 1},
        {"reversed twice", 2, {2, 5}, {-20, -4}, 36, 4, 1},
        {"rows reversed", 2, {3, 4}, {-16, 4}, 32, 16, 1},
        {"repeated", 2, {3, 4}, {0, 4}, 0, 16, 1},
        {"one element repeated", 3, {3, 4, 2}, {0, 0, 0}, 0, 4, 1},
        {"overlapping", 2, {3, 4}, {4, 4}, 0, 16, 1},
        {"overlapping by a byte", 1, {5}, {1}, 0, 4, 1},
        {"size 1, odd strides", 4, {1, 3, 1, 4}, {INT64_MIN, 16, 3, 4}, 0, 48, 0},
        {"size 0, wild strides", 3, {2, 0, 4}, {INT64_MAX, INT64_MIN, 7}, 0, 0, 0},
        {"a scalar", 0, {0}, {0}, 0, 4, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char memory[512], expected[BYTES_MAX];
        for (size_t j = 0; j < sizeof memory; j++)
            memory[j] = (unsigned char)(j * 37 + j / 256);
        st_array array = {.data = memory + 256,
                          .shape = rows[i].shape,
                          .strides = rows[i].strides,
                          .ndim = rows[i].ndim,
                          .dtype = ST_F32};
        st__runs runs;
        uint64_t below = 77;
        CHECK_OK(st__runs_init_array(&runs, NULL, &array, &below, &error));
        if (below != rows[i].below || runs.piece != rows[i].piece || runs.depth != rows[i].depth)
            fail_msg("%s: %u below, pieces of %u, depth %u", rows[i].label, (unsigned)below,
                     (unsigned)runs.piece, (unsigned)runs.depth);
        st__runs_release(&runs);
        packs(&array, expected, gather(&array, 0, expected));
    }
}

/* Without strides, of every dtype; sub-byte rows need not end between bytes then. */
static void test_packed(void **state)
{
    (void)state;
    uint64_t shape[] = {4, 3, 1};
    unsigned char memory[96];
    for (size_t i = 0; i < sizeof memory; i++)
        memory[i] = (unsigned char)i;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        st_array array = {.data = memory, .shape = shape, .ndim = 3, .dtype = dtype};
        assert_int_equal(packs(&array, memory, 12 * st_dtype_bits(dtype) / 8), 0);
    }
    st_array scalar = {.data = memory, .dtype = ST_F64};
    packs(&scalar, memory, 8);
    st_array empty = {.data = memory, .shape = (uint64_t[]){0}, .ndim = 1, .dtype = ST_F4};
    packs(&empty, memory, 0);
}

static void test_sub_byte_rows(void **state)
{
    (void)state;
    unsigned char memory[256], expected[BYTES_MAX];
    for (size_t i = 0; i < sizeof memory; i++)
        memory[i] = (unsigned char)(i * 91);
    uint64_t shape[] = {2, 3, 8};
    int64_t strides[] = {-40, 12, 12345}; /* the last one is not looked at */
    st_array array = {.data = memory + 100, .shape = shape, .strides = strides, .ndim = 3};
    array.dtype = ST_F4;
    assert_int_equal(packs(&array, expected, gather(&array, 4, expected)), 2);
    array.dtype = ST_F6_E2M3;
    assert_int_equal(packs(&array, expected, gather(&array, 6, expected)), 2);
    strides[0] = 18;
    strides[1] = 6;
    assert_int_equal(packs(&array, expected, gather(&array, 6, expected)), 0);
    array.ndim = 1;
    array.shape = shape + 2;
    array.strides = strides + 2;
    assert_int_equal(packs(&array, expected, gather(&array, 6, expected)), 0);
}

/* --------------------------------------------------------------------------------- refusals */

static void refused(const st_array *array, st_status status, const char *text)
{
    st__runs runs;
    uint64_t below = 77;
    CHECK_ERR_TEXT(st__runs_init_array(&runs, NULL, array, &below, &error), status, ST_NO_OFFSET,
                   text);
    assert_int_equal(st__runs_init_array(&runs, NULL, array, &below, NULL), status);
    assert_int_equal(below, 77);
}

static void test_misaligned(void **state)
{
    (void)state;
    unsigned char memory[64] = {0};
    int64_t strides[] = {2, 1};
    st_array array = {.data = memory, .strides = strides, .ndim = 2, .dtype = ST_F4};
    array.shape = (uint64_t[]){2, 3};
    refused(&array, ST_ERR_INDEX_MISALIGNED,
            "the array's rows of 3 elements of 4 bits do not end at byte boundaries");
    array.shape = (uint64_t[]){4, 2};
    array.dtype = ST_F6_E3M2;
    refused(&array, ST_ERR_INDEX_MISALIGNED, "rows of 2 elements of 6 bits");
    array.shape = (uint64_t[]){1, 3};
    refused(&array, ST_ERR_INDEX_MISALIGNED, "elements of 6 bits do not fill whole bytes");
    array.strides = NULL;
    refused(&array, ST_ERR_INDEX_MISALIGNED, "elements of 6 bits do not fill whole bytes");
    array.strides = strides;
    array.ndim = 0;
    refused(&array, ST_ERR_INDEX_MISALIGNED, "elements of 6 bits do not fill whole bytes");
}

static void test_dtypes_without_a_size(void **state)
{
    (void)state;
    unsigned char memory[4] = {0};
    st_array array = {.data = memory};
    static const st_dtype dtypes[] = {0, -1, ST_DTYPE_COUNT + 1, ST_DTYPE_UNKNOWN};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        array.dtype = dtypes[i];
        refused(&array, ST_ERR_DTYPE_UNKNOWN, "an array of dtype ");
    }
}

#define BIG UINT64_MAX

static void test_overflow(void **state)
{
    (void)state;
    unsigned char memory[64] = {0};
    static const struct {
        uint64_t shape[3];
        int64_t strides[3];
        const char *text;
    } rows[] = {
        {{BIG, 2, 1}, {0, 0, 0}, "the product of the array's 3 dimensions and 32 bits exceeds 64"},
        {{BIG / 32 + 1, 1, 1}, {0, 0, 0}, "exceeds 64 bits"},
        {{BIG, 2, 0}, {0, 0, 0}, "exceeds 64 bits"},
        {{2, 1, 1}, {INT64_MAX, 0, 0}, "the array reaches further than memory does"},
        {{2, 1, 1}, {INT64_MIN, 0, 0}, "further than memory"},
        {{3, 3, 1}, {INT64_MAX, INT64_MAX, 0}, "further than memory"},
        {{3, 3, 3}, {INT64_MIN, INT64_MIN, INT64_MIN}, "further than memory"},
        {{1 << 30, 2, 1}, {INT64_C(1) << 40, 4, 0}, "further than memory"},
        {{2, 2, 1}, {INT64_C(1) << 60, -(INT64_C(1) << 60), 0}, "further than memory"},
        {{BIG / 32, 1, 1}, {8, 0, 0}, "further than memory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        st_array array = {.data = memory,
                          .shape = rows[i].shape,
                          .strides = rows[i].strides,
                          .ndim = 3,
                          .dtype = ST_F32};
        refused(&array, ST_ERR_OVERFLOW, rows[i].text);
    }
    /* Addresses wrap round neither at 0 nor at the top. */
    st_array array = {.shape = (uint64_t[]){3}, .ndim = 1, .dtype = ST_F32};
    array.strides = (int64_t[]){-4};
    array.data = (void *)(uintptr_t)7;
    refused(&array, ST_ERR_OVERFLOW, "further than memory");
    array.strides = NULL;
    array.data = (void *)(UINTPTR_MAX - 7);
    refused(&array, ST_ERR_OVERFLOW, "further than memory");
}

/* A repeated element may make more bytes than memory has: their size is what counts. */
static void test_huge_repetition(void **state)
{
    (void)state;
    unsigned char memory[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    st_array array = {.data = memory,
                      .shape = (uint64_t[]){UINT64_C(1) << 40, 1 << 16, 2},
                      .strides = (int64_t[]){0, 0, 4},
                      .ndim = 3,
                      .dtype = ST_F32};
    st__runs runs;
    st__cursor cursor;
    st__run run;
    uint64_t below = 77;
    CHECK_OK(st__runs_init_array(&runs, NULL, &array, &below, &error));
    assert_int_equal(runs.size, UINT64_C(1) << 59);
    assert_int_equal(runs.depth, 1);
    CHECK_OK(st__cursor_init(&cursor, &runs, runs.size - 13, &error));
    uint64_t left = 13;
    while (st__cursor_next(&cursor, 100, &run)) {
        assert_true(run.offset + run.length <= 8);
        left -= run.length * run.pieces;
    }
    assert_int_equal(left, 0);
    st__cursor_release(&cursor);
    st__runs_release(&runs);
}

/* -------------------------------------------------------------------------------- properties */

typedef struct strided {
    st_array array;
    uint64_t shape[DIMS_MAX];
    int64_t strides[DIMS_MAX];
    size_t row; /* bytes of a sub-byte row; 0: whole bytes */
} strided;

/* Random shape and strides within `room` bytes on either side of the element 0. */
static void strided_make(strided *s, unsigned char *middle, uint64_t room)
{
    static const st_dtype dtypes[] = {ST_U8, ST_F16, ST_F32, ST_C64, ST_F4, ST_F6_E2M3};
    st_array *a = &s->array;
    *a = (st_array){.data = middle, .shape = s->shape, .strides = s->strides};
    a->dtype = dtypes[random_below(6)];
    uint32_t bits = st_dtype_bits(a->dtype);
    a->ndim = (uint32_t)random_below(DIMS_MAX + 1);
    if (bits % 8 && a->ndim == 0)
        a->ndim = 1;
    uint64_t elements = 1, packed = bits / 8;
    for (uint32_t d = a->ndim; d-- > 0;) {
        uint64_t most = elements > 60 ? 2 : a->ndim > 5 ? 3 : 6;
        s->shape[d] = random_below(40) ? 1 + random_below(most) : 0;
        if (bits % 8 && d + 1 == a->ndim) {
            s->shape[d] = 4 * random_below(4);
            packed = s->row = (size_t)(s->shape[d] * bits / 8);
            s->strides[d] = (int64_t)random_next();
        } else {
            uint64_t reach = s->shape[d] > 1 ? room / (s->shape[d] - 1) / DIMS_MAX : UINT64_MAX / 2;
            uint64_t distance = random_below(3) ? packed : random_below(reach + 1);
            distance = distance > reach ? random_below(reach + 1) : distance;
            s->strides[d] = random_below(4) ? (int64_t)distance : -(int64_t)distance;
            if (!random_below(12))
                s->strides[d] = 0;
            packed = distance * s->shape[d];
        }
        elements *= s->shape[d];
    }
    if (bits % 8 == 0)
        s->row = 0;
}

static void test_against_a_gather(void **state)
{
    (void)state;
    enum { ROOM = 1200 };
    unsigned char *memory = malloc(2 * ROOM + 64), *expected = malloc(BYTES_MAX);
    uint32_t depths[DIMS_MAX + 1] = {0};
    random_state = 7;
    for (size_t i = 0; i < 2 * ROOM + 64; i++)
        memory[i] = (unsigned char)random_next();
    for (int round = 0; round < 20000; round++) {
        strided s;
        strided_make(&s, memory + ROOM, ROOM);
        uint64_t count = 1, bits = st_dtype_bits(s.array.dtype);
        for (uint32_t d = 0; d < s.array.ndim; d++)
            count *= s.shape[d];
        if (count * bits / 8 > BYTES_MAX)
            continue;
        if (count > 0)
            assert_int_equal(gather(&s.array, s.row, expected), count * bits / 8);
        depths[packs(&s.array, expected, count * bits / 8)]++;
    }
    for (uint32_t depth = 0; depth < DIMS_MAX - 1; depth++) /* the draw reaches them all */
        assert_true(depths[depth] > 0);
    free(expected);
    free(memory);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    unsigned char memory[4096] = {0};
    uint64_t shape[] = {2, 2, 2, 2, 2, 2, 2, 2};
    int64_t strides[] = {1, 4, 16, 64, 256, 1024, 3, 13};
    st_array array = {
        .data = memory, .shape = shape, .strides = strides, .ndim = 8, .dtype = ST_U8};
    ST_OOM_LOOP(context, status)
    {
        st__runs runs;
        st__cursor cursor;
        uint64_t below;
        status = st__runs_init_array(&runs, context, &array, &below, NULL);
        if (status == ST_OK) {
            assert_int_equal(runs.depth, 8);
            status = st__cursor_init(&cursor, &runs, 3, NULL);
            if (status == ST_OK)
                st__cursor_release(&cursor);
            st__runs_release(&runs);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_sub_byte_rows),
        cmocka_unit_test(test_misaligned),
        cmocka_unit_test(test_dtypes_without_a_size),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_huge_repetition),
        cmocka_unit_test(test_against_a_gather),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
