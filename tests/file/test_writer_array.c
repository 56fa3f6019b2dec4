/* SPDX-License-Identifier: Apache-2.0 */
/* Writing arrays of any strides, against a loop over their elements. */
#include "file/probe_sink.h"

/* Memory that arrays look into: `byte_at` at every offset. */
#define POOL ((size_t)1 << 20)
static unsigned char pool[POOL];

static int pool_fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < POOL; i++)
        pool[i] = (unsigned char)(i * 197 + i / 256 * 31 + i / 65536);
    return 0;
}

static st_array array_of(st_dtype dtype, uint32_t ndim, const uint64_t *shape,
                         const int64_t *strides, size_t start)
{
    return (st_array){
        .data = pool + start, .shape = shape, .strides = strides, .ndim = ndim, .dtype = dtype};
}

static st_writer *writer_for(probe_sink *probe, const st_array *array, st_context *context)
{
    st_writer_options options = {.context = context};
    st_tensor tensor = {.name = "w", .name_len = 1, .dtype = array->dtype};
    st_writer *writer;
    tensor.shape = array->shape;
    tensor.ndim = array->ndim;
    CHECK_OK(st_writer_new(&options, &writer, &error));
    CHECK_OK(st_writer_add(writer, &tensor, NULL, &error));
    st_sink *sink = probe_sink_new(probe, NULL);
    CHECK_OK(st_writer_begin(writer, sink, &error));
    st_sink_release(sink);
    return writer;
}

/* The bytes of an array of whole-byte elements, one element after the other. */
static size_t naive_pack(const st_array *array, unsigned char *out)
{
    size_t unit = st_dtype_bits(array->dtype) / 8, done = 0;
    uint64_t count = 1, at[8] = {0};
    for (uint32_t d = 0; d < array->ndim; d++)
        count *= array->shape[d];
    for (uint64_t k = 0; k < count; k++) {
        const unsigned char *from = array->data;
        for (uint32_t d = 0; d < array->ndim; d++)
            from += (int64_t)at[d] * array->strides[d];
        memcpy(out + done, from, unit);
        done += unit;
        for (uint32_t d = array->ndim; d-- > 0 && ++at[d] == array->shape[d];)
            at[d] = 0;
    }
    return done;
}

static void check_array(const st_array *array, bool sequential, st_context *context)
{
    static unsigned char want[POOL * 8];
    probe_sink probe = {.sequential = sequential};
    st_writer *writer = writer_for(&probe, array, context);
    size_t size = naive_pack(array, want);
    CHECK_OK(st_writer_write_array(writer, 0, array, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    assert_int_equal(probe.size - st_writer_data_offset(writer), size);
    assert_memory_equal(probe.data + st_writer_data_offset(writer), want, size);
    st_writer_free(writer);
    free(probe.data);
}

typedef struct stride_case {
    uint32_t ndim;
    uint64_t shape[4];
    int64_t strides[4]; /* in elements */
} stride_case;

static const stride_case stride_cases[] = {
    {0, {0}, {0}},                       /* a scalar */
    {1, {100}, {1}},                     /* packed */
    {1, {100}, {3}},                     /* every third */
    {1, {100}, {-1}},                    /* backwards */
    {1, {100}, {0}},                     /* one element, repeated */
    {1, {0}, {5}},                       /* none */
    {2, {30, 40}, {40, 1}},              /* packed */
    {2, {30, 40}, {1, 30}},              /* transposed */
    {2, {30, 40}, {64, 1}},              /* rows with gaps */
    {2, {30, 40}, {-64, -1}},            /* both backwards */
    {2, {300, 200}, {1, 300}},           /* a large one, transposed */
    {2, {3, 0}, {7, 9}},                 /* none */
    {3, {5, 6, 7}, {1, 35, 5}},          /* permuted */
    {3, {5, 1, 7}, {7, -1000, 1}},       /* a dimension of one has any stride */
    {4, {3, 4, 5, 6}, {120, -30, 0, 1}}, /* of every kind */
    {4, {2, 3, 4, 5}, {1, -2, 6, -24}},
};

static void test_strides(void **state)
{
    (void)state;
    static const st_dtype dtypes[] = {ST_U8, ST_BF16, ST_F32, ST_C64};
    st_context *small;
    CHECK_OK(st_context_new(&(st_context_options){.max_memory = 4096}, &small, &error));
    for (size_t i = 0; i < sizeof stride_cases / sizeof *stride_cases; i++) {
        for (size_t k = 0; k < 4; k++) {
            const stride_case *c = &stride_cases[i];
            int64_t strides[4], unit = st_dtype_bits(dtypes[k]) / 8;
            for (uint32_t d = 0; d < 4; d++)
                strides[d] = c->strides[d] * unit;
            /* Also from an address that is no multiple of the element's size. */
            st_array array = array_of(dtypes[k], c->ndim, c->shape, strides, POOL / 4 + k);
            check_array(&array, k % 2, NULL);
            check_array(&array, false, small);
        }
    }
    st_context_release(small);
}

/* Without strides the array is packed; what lies together goes in one call. */
static void test_packed(void **state)
{
    (void)state;
    uint64_t shape[] = {2, 100000};
    st_array array = array_of(ST_F16, 2, shape, NULL, 1);
    probe_sink probe = {0};
    st_writer *writer = writer_for(&probe, &array, NULL);
    CHECK_OK(st_writer_write_array(writer, 0, &array, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    assert_int_equal(probe.writes, 1);
    assert_memory_equal(probe.data + st_writer_data_offset(writer), pool + 1, 400000);
    st_writer_free(writer);
    free(probe.data);
}

/* Rows of whole bytes may lie anywhere; others can only be packed. */
static void test_sub_byte(void **state)
{
    (void)state;
    uint64_t shape[] = {3, 8};
    int64_t strides[] = {-20, 0};
    st_array array = array_of(ST_F4, 2, shape, strides, 100);
    probe_sink probe = {0};
    st_writer *writer = writer_for(&probe, &array, NULL);
    CHECK_OK(st_writer_write_array(writer, 0, &array, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    for (size_t r = 0; r < 3; r++)
        assert_memory_equal(probe.data + st_writer_data_offset(writer) + r * 4, pool + 100 - r * 20,
                            4);
    st_writer_free(writer);
    free(probe.data);

    uint64_t odd[] = {4, 3};
    array = array_of(ST_F4, 2, odd, strides, 100);
    probe = (probe_sink){0};
    writer = writer_for(&probe, &array, NULL);
    CHECK_ERR_TEXT(st_writer_write_array(writer, 0, &array, &error), ST_ERR_INDEX_MISALIGNED,
                   ST_NO_OFFSET, "probe: tensor \"w\": ");
    array.strides = NULL;
    CHECK_OK(st_writer_write_array(writer, 0, &array, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    assert_memory_equal(probe.data + st_writer_data_offset(writer), pool + 100, 6);
    st_writer_free(writer);
    free(probe.data);
}

static void test_refused(void **state)
{
    (void)state;
    uint64_t shape[] = {2, 3}, other[] = {2, 4};
    int64_t wide[] = {INT64_MAX, 1};
    st_array array = array_of(ST_U8, 2, shape, NULL, 0), bad = array;
    probe_sink probe = {0};
    st_writer *writer = writer_for(&probe, &array, NULL);
    bad.device = 1;
    CHECK_ERR_TEXT(st_writer_write_array(writer, 0, &bad, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "probe: tensor \"w\": the array lies on device 1");
    bad = array;
    bad.dtype = ST_I8;
    CHECK_ERR_TEXT(st_writer_write_array(writer, 0, &bad, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "the array's dtype is I8, and U8 was added");
    bad.dtype = 99;
    CHECK_ERR_TEXT(st_writer_write_array(writer, 0, &bad, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "the array's dtype is unknown, and U8 was added");
    bad = array;
    bad.ndim = 1;
    CHECK_ERR_TEXT(st_writer_write_array(writer, 0, &bad, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "the array has 1 dimensions, and 2 were added");
    bad = array;
    bad.shape = other;
    CHECK_ERR_TEXT(st_writer_write_array(writer, 0, &bad, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "the array's dimension 1 has 4 elements, and 3 were added");
    bad = array;
    bad.strides = wide;
    CHECK_ERR(st_writer_write_array(writer, 0, &bad, &error), ST_ERR_OVERFLOW, ST_NO_OFFSET);
    CHECK_ERR(st_writer_write_array(writer, 1, &array, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_OK(st_writer_write_array(writer, 0, &array, &error));
    CHECK_ERR(st_writer_write_array(writer, 0, &array, &error), ST_ERR_WRITTEN_TWICE,
              st_writer_data_offset(writer));
    CHECK_OK(st_writer_finish(writer, &error));
    st_writer_free(writer);
    free(probe.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strides),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_sub_byte),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("writer_array", tests, pool_fill, NULL);
}
