/* SPDX-License-Identifier: Apache-2.0 */
/* Casts and mixed changes as they are written: every block border, streams and files, a path onto itself, who is
 * told, and what stops it. */
#include "file/edited.h"

#include <fcntl.h>
#include <sys/stat.h>

static sample_file sample;

static st_edit *edit_of(const st_file *file, const st_edit_options *options)
{
    st_edit *edit = NULL;
    CHECK_OK(st_edit_new(file, options, &edit, &error));
    return edit;
}

/* ------------------------------------------------------------------------------------ casting */

static const st_dtype floats[] = {ST_F64,         ST_F32,     ST_F16,     ST_BF16,
                                  ST_F8_E4M3,     ST_F8_E5M2, ST_F8_E8M0, ST_F8_E4M3FNUZ,
                                  ST_F8_E5M2FNUZ, ST_F6_E2M3, ST_F6_E3M2, ST_F4};
enum { FLOATS = sizeof floats / sizeof *floats };

/* A source over memory that the library does not know to be memory. */
static const unsigned char *pieces_of;

static st_status pieces_info(void *self, st_source_info *out, st_error *error)
{
    (void)error;
    *out = (st_source_info){.size = *(size_t *)self};
    return ST_OK;
}

static st_status pieces_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                             st_error *error)
{
    (void)self;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        memcpy(segments[i].data, pieces_of + offset, segments[i].size);
        offset += segments[i].size;
    }
    return ST_OK;
}

static void pieces_free(void *self)
{
    (void)self;
}

/* A file of one tensor "t" of `count` elements of any bits, behind a source that is no memory, read with a budget of
 * few bytes, so that its blocks are many. `*image` is freed by the caller. */
static st_file *floats_open(st_dtype dtype, size_t count, size_t memory, unsigned char **image,
                            size_t *size)
{
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = pieces_info, .read = pieces_read, .free = pieces_free};
    size_t bytes = count * st_dtype_bits(dtype) / 8;
    char header[200];
    int len = sprintf(header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}",
                      st_dtype_code(dtype), count, bytes);
    *size = 8 + (size_t)len + bytes;
    *image = calloc(1, *size);
    (*image)[0] = (unsigned char)len;
    memcpy(*image + 8, header, (size_t)len);
    for (size_t i = 0; i < bytes; i++)
        (*image)[8 + (size_t)len + i] = (unsigned char)(i * 167 + i / 251 + i / 7);
    pieces_of = *image;
    st_source *source;
    st_context *context;
    st_file *file;
    st_context_options options = {.max_memory = memory, .max_threads = 2};
    CHECK_OK(st_context_new(&options, &context, &error));
    CHECK_OK(st_source_new(&vtable, size, &(st_open_options){.name = "floats", .context = context},
                           &source, &error));
    CHECK_OK(st_file_open_source(source, &(st_open_options){.context = context}, &file, &error));
    st_source_release(source);
    st_context_release(context);
    return file;
}

/* The elements one by one. */
static void check_cast(const unsigned char *from, st_dtype dtype, const unsigned char *got,
                       st_dtype to, size_t count)
{
    unsigned char *wanted = calloc(1, count * 8 + 8);
    for (size_t i = 0; i < count; i++) {
        st_value value = st_element_decode(dtype, from, i);
        st_element_encode(to, wanted, i, &value);
    }
    assert_memory_equal(got, wanted, count * st_dtype_bits(to) / 8);
    free(wanted);
}

static void test_cast_each(void **state)
{
    (void)state;
    for (size_t a = 0; a < FLOATS; a++)
        for (size_t b = 0; b < FLOATS; b++) {
            if (a == b)
                continue;
            size_t count = 70004, size;
            unsigned char *image;
            st_file *file = floats_open(floats[a], count, 4096, &image, &size);
            st_edit *edit = edit_of(file, NULL);
            edited got;
            CHECK_OK(st_edit_cast(edit, st_file_at(file, 0), floats[b], &error));
            edited_make(&got, edit, (a + b) % 2);
            uint64_t bytes = count * st_dtype_bits(floats[b]) / 8;
            check_cast(image + st_header_data_offset(st_file_header(file)), floats[a],
                       edited_bytes(&got, "t", floats[b], bytes), floats[b], count);
            assert_int_equal(got.summary.cast, 1);
            assert_int_equal(got.summary.written, bytes);
            edited_close(&got);
            st_edit_free(edit);
            st_file_close(file);
            free(image);
        }
}

/* Tensors of no element, of few, and of as many as a chunk has and a few more. */
static void test_cast_sizes(void **state)
{
    static const size_t counts[] = {0, 4, 8, 12, 1000, 32764, 32768, 32772, 65536, 65540, 100000};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int narrow = 0; narrow < 2; narrow++) {
            st_dtype from = narrow ? ST_F6_E3M2 : ST_F32, to = narrow ? ST_F32 : ST_F6_E2M3;
            size_t size;
            unsigned char *image;
            st_file *file = floats_open(from, counts[i], 1024, &image, &size);
            st_edit *edit = edit_of(file, NULL);
            edited got;
            CHECK_OK(st_edit_cast(edit, st_file_at(file, 0), to, &error));
            edited_make(&got, edit, false);
            check_cast(image + st_header_data_offset(st_file_header(file)), from,
                       edited_bytes(&got, "t", to, counts[i] * st_dtype_bits(to) / 8), to,
                       counts[i]);
            edited_close(&got);
            st_edit_free(edit);
            st_file_close(file);
            free(image);
        }
}

static void test_cast_refused(void **state)
{
    (void)state;
    sample_frame(&sample, "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
                          "\"i\":{\"dtype\":\"I32\",\"shape\":[1061],\"data_offsets\":[12,4256]}}");
    st_file *file = bytes_open(sample.bytes, sample.size, "sample");
    const st_tensor *a = sample_find(file, "a"), *i = sample_find(file, "i");
    st_edit *edit = edit_of(file, NULL);
    uint64_t shape = 2;
    st_array array = {.data = &shape, .shape = &shape, .ndim = 1, .dtype = ST_F32};
    CHECK_ERR_TEXT(st_edit_cast(edit, a, ST_F4, &error), ST_ERR_MISALIGNED, ST_NO_OFFSET,
                   "sample: tensor \"a\": its 3 elements of 4 bits");
    CHECK_ERR_TEXT(st_edit_cast(edit, a, ST_I32, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "sample: tensor \"a\": F32 cannot be cast to I32");
    CHECK_ERR_TEXT(st_edit_cast(edit, i, ST_F32, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "tensor \"i\": I32 cannot be cast to F32");
    CHECK_ERR_TEXT(st_edit_cast(edit, a, 99, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "cannot be cast to a dtype that is none");
    CHECK_OK(st_edit_cast(edit, i, ST_I32, &error)); /* to what it is */
    CHECK_OK(st_edit_cast(edit, a, ST_F16, &error));
    CHECK_OK(st_edit_replace(edit, a, &array, &error)); /* ends the cast */
    CHECK_ERR_TEXT(st_edit_cast(edit, a, ST_F16, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "its data are replaced");
    edited got;
    edited_make(&got, edit, false);
    (void)edited_bytes(&got, "a", ST_F32, 8);
    assert_int_equal(got.summary.cast, 0);
    edited_close(&got);
    st_edit_free(edit);
    st_file_close(file);
}

/* Bytes that a context has out, and the most there were. */
static struct {
    size_t now, most;
} taken;

static void *counted_realloc(void *ctx, void *memory, size_t old_size, size_t size)
{
    (void)ctx;
    taken.now += size - old_size;
    taken.most = taken.now > taken.most ? taken.now : taken.most;
    return realloc(memory, size);
}

static void *counted_alloc(void *ctx, size_t size)
{
    return counted_realloc(ctx, NULL, 0, size);
}

static void counted_free(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    taken.now -= size;
    free(memory);
}

/* Sixteen megabytes are cast, and as many of an array packed, in the memory that the budget gives. */
static void test_memory(void **state)
{
    (void)state;
    const size_t count = (size_t)4 << 20;
    size_t size;
    unsigned char *image;
    st_file *file = floats_open(ST_F32, count, 1 << 20, &image, &size);
    st_allocator allocator = {counted_alloc, counted_realloc, counted_free, NULL};
    st_context_options options = {.allocator = &allocator, .max_memory = 1 << 20, .max_threads = 1};
    st_context *context;
    uint64_t shape[2] = {1024, 4096};
    int64_t strides[2] = {4, 4096};
    st_array array = {.data = image, .shape = shape, .strides = strides, .ndim = 2};
    array.dtype = ST_F32;
    CHECK_OK(st_context_new(&options, &context, &error));
    st_edit *edit = edit_of(file, &(st_edit_options){.context = context});
    CHECK_OK(st_edit_cast(edit, st_file_at(file, 0), ST_F64, &error));
    CHECK_OK(st_edit_add(edit, "array", 5, &array, &error));
    for (int sequential = 0; sequential < 2; sequential++) {
        probe_sink probe = {.forgets = true, .sequential = sequential};
        st_sink *sink = probe_sink_new(&probe, NULL);
        CHECK_OK(st_edit_write(edit, sink, NULL, &error));
        st_sink_release(sink);
        assert_true(probe.finished && probe.bytes > count * 12);
    }
    assert_true(taken.most > 0 && taken.most < (size_t)3 << 20);
    st_edit_free(edit);
    st_context_release(context);
    assert_int_equal(taken.now, 0);
    st_file_close(file);
    free(image);
}

/* ------------------------------------------------------------------------------- who is told */

static struct {
    const st_tensor *tensors[4];
    uint64_t overflowed[4], underflowed[4];
    size_t count;
    size_t refuse; /* the call that says no, from 1; 0: none */
} told;

static bool cast_note(void *ctx, const st_tensor *tensor, uint64_t overflowed, uint64_t underflowed)
{
    assert_ptr_equal(ctx, &told);
    told.tensors[told.count] = tensor;
    told.overflowed[told.count] = overflowed;
    told.underflowed[told.count] = underflowed;
    return ++told.count != told.refuse;
}

static void test_cast_told(void **state)
{
    (void)state;
    /* a: 1, 100000, -1e-10, 0; b: 1e-30, inf, 2, -70000; c: 1, 1, 1, 1 */
    static const float values[12] = {1, 100000, -1e-10f, 0, 1e-30f, 0, 2, -70000, 1, 1, 1, 1};
    sample_frame(&sample, "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
                          "\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,32]},"
                          "\"c\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[32,48]},"
                          "\"i\":{\"dtype\":\"U8\",\"shape\":[4208],\"data_offsets\":[48,4256]}}");
    for (size_t i = 0; i < 12; i++) {
        st_value value = {.kind = ST_KIND_FLOAT, .as.f[0] = (double)values[i]};
        st_element_encode(ST_F32, sample.bytes + sample.data_offset, i, &value);
    }
    sample.bytes[sample.data_offset + 22] = 0x80; /* infinity does not overflow */
    sample.bytes[sample.data_offset + 23] = 0x7f;
    st_file *file = bytes_open(sample.bytes, sample.size, "sample");
    st_edit *edit = edit_of(file, NULL);
    st_edit_on_cast(edit, cast_note, &told);
    for (size_t i = 0; i < 3; i++)
        CHECK_OK(st_edit_cast(edit, st_file_at(file, i), ST_F16, &error));
    CHECK_OK(st_edit_rename(edit, st_file_at(file, 0), "other", 5, &error));
    edited got;
    edited_make(&got, edit, false);
    assert_int_equal(told.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(told.tensors[i], st_file_at(file, i));
    assert_int_equal(told.overflowed[0], 1);
    assert_int_equal(told.overflowed[1], 1);
    assert_int_equal(told.overflowed[2], 0);
    assert_int_equal(told.underflowed[0], 1);
    assert_int_equal(told.underflowed[1], 1);
    assert_int_equal(got.summary.overflowed, 2);
    assert_int_equal(got.summary.underflowed, 2);
    edited_close(&got);
    for (told.refuse = 1; told.refuse <= 3; told.refuse++) {
        told.count = 0;
        probe_sink probe = {0};
        st_sink *sink = probe_sink_new(&probe, NULL);
        st_edit_summary summary = {.size = 77};
        CHECK_ERR_TEXT(st_edit_write(edit, sink, &summary, &error), ST_ERR_STOPPED, ST_NO_OFFSET,
                       "stopped by the caller: of its elements");
        st_sink_release(sink);
        assert_false(probe.finished);
        assert_true(probe.freed);
        assert_int_equal(summary.size, 77);
        free(probe.data);
    }
    st_edit_free(edit);
    st_file_close(file);
}

static bool stop_at(void *ctx, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    return done < *(uint64_t *)ctx;
}

static void test_stopped(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    for (uint64_t limit = 0; limit < 2; limit++) {
        probe_sink probe = {0};
        st_edit_options options = {.progress = {stop_at, &limit}};
        st_edit *edit = edit_of(file, &options);
        st_sink *sink = probe_sink_new(&probe, NULL);
        CHECK_ERR_TEXT(st_edit_write(edit, sink, NULL, &error), ST_ERR_STOPPED, ST_NO_OFFSET,
                       "probe: stopped by the caller after");
        st_sink_release(sink);
        assert_false(probe.finished);
        free(probe.data);
        st_edit_free(edit);
    }
    st_file_close(file);
}

/* -------------------------------------------------------------------------------------- mixed */

/* Copies of three files, casts and arrays, one between the other: each written as a stream and as a file, and both
 * the same. A stream gets no more memory than for one block. */
static void test_mixed(void **state)
{
    sample_file samples[3];
    st_file *files[3];
    uint64_t shape = 300;
    int64_t stride = -2;
    static unsigned char bytes[600];
    st_array array = {.data = bytes + 598, .shape = &shape, .strides = &stride, .ndim = 1};
    st_context *context;
    (void)state;
    array.dtype = ST_U8;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 13);
    for (size_t k = 0; k < 3; k++) {
        files[k] = sample_open(&samples[k]);
        for (size_t i = 0; i < SAMPLE_DATA; i++)
            samples[k].bytes[samples[k].data_offset + i] ^= (unsigned char)(k * 85);
    }
    CHECK_OK(st_context_new(&(st_context_options){.max_memory = 8192}, &context, &error));
    st_edit *edit = edit_of(files[0], &(st_edit_options){.context = context});
    char name[10];
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 1; k < 3; k++) {
            int len = sprintf(name, "%zu%s", k, st_file_at(files[k], i)->name);
            CHECK_OK(st_edit_include(edit, files[k], st_file_at(files[k], i), name, (size_t)len,
                                     &error));
            sprintf(name, "+%zu%zu", i, k);
            CHECK_OK(st_edit_add(edit, name, 3, &array, &error));
        }
    CHECK_OK(st_edit_cast(edit, sample_find(files[1], "m"), ST_F64, &error));
    CHECK_OK(st_edit_cast(edit, sample_find(files[0], "q"), ST_BF16, &error));
    CHECK_OK(st_edit_replace(edit, sample_find(files[2], "x"), &array, &error));
    edited got[2];
    for (int sequential = 0; sequential < 2; sequential++) {
        edited_make(&got[sequential], edit, sequential);
        check_unchanged(&got[sequential], "x", &samples[0], sample_find(files[0], "x"));
        check_unchanged(&got[sequential], "1x", &samples[1], sample_find(files[1], "x"));
        check_unchanged(&got[sequential], "2m", &samples[2], sample_find(files[2], "m"));
        const unsigned char *at = edited_bytes(&got[sequential], "+31", ST_U8, 300);
        for (size_t i = 0; i < 300; i++)
            assert_int_equal(at[i], bytes[598 - 2 * i]);
        check_cast(samples[1].bytes + samples[1].data_offset, ST_F32,
                   edited_bytes(&got[sequential], "1m", ST_F64, 480), ST_F64, 60);
    }
    assert_int_equal(got[0].probe.size, got[1].probe.size);
    assert_memory_equal(got[0].probe.data, got[1].probe.data, got[0].probe.size);
    edited_close(&got[0]);
    edited_close(&got[1]);
    st_edit_free(edit);
    st_context_release(context);
    for (size_t k = 0; k < 3; k++)
        st_file_close(files[k]);
}

/* The path that is read is the one that is written, again and again; who has the old file open keeps it. */
static void test_same_path(void **state)
{
    (void)state;
    sample_file before;
    sample_frame(&before, SAMPLE_HEADER);
    sample_store(&before);
    chmod(before.path, 0640);
    for (int round = 0; round < 3; round++) {
        st_file *file;
        st_sink *sink;
        char name[8];
        CHECK_OK(st_file_open(before.path, NULL, &file, &error));
        st_edit *edit = edit_of(file, NULL);
        const st_tensor *m = st_file_at(file, 0);
        int len = sprintf(name, "round%d", round);
        CHECK_OK(st_edit_rename(edit, m, name, (size_t)len, &error));
        CHECK_OK(st_edit_cast(edit, m, round == 1 ? ST_F32 : ST_F64, &error));
        CHECK_OK(st_sink_open(before.path, &(st_sink_options){.durability = ST_DURABLE_NONE}, &sink,
                              &error));
        CHECK_OK(st_edit_write(edit, sink, NULL, &error));
        st_sink_release(sink);
        unsigned char still[240], *bytes = malloc(480);
        if (round == 0)
            CHECK_OK(st_file_read(file, m, NULL, still, sizeof still, &error));
        st_edit_free(edit);
        st_file_close(file);
        CHECK_OK(st_file_open(before.path, NULL, &file, &error));
        assert_string_equal(st_file_at(file, 0)->name, name);
        const st_tensor *now = st_file_at(file, 0);
        assert_int_equal(st_tensor_size(now), round == 1 ? 240 : 480);
        CHECK_OK(st_file_read(file, now, NULL, bytes, (size_t)st_tensor_size(now), &error));
        check_cast(before.bytes + before.data_offset, ST_F32, bytes, now->dtype, 60);
        unsigned char x[4000];
        CHECK_OK(st_file_read(file, sample_find(file, "x"), NULL, x, sizeof x, &error));
        assert_memory_equal(x, before.bytes + before.data_offset + 256, 4000);
        st_file_close(file);
        free(bytes);
    }
    struct stat after;
    assert_int_equal(stat(before.path, &after), 0);
    assert_int_equal(after.st_mode & 0777, 0640);
    unlink(before.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cast_each),    cmocka_unit_test(test_cast_sizes),
        cmocka_unit_test(test_cast_refused), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_cast_told),    cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_mixed),        cmocka_unit_test(test_same_path),
    };
    return cmocka_run_group_tests_name("edit_write", tests, NULL, NULL);
}
