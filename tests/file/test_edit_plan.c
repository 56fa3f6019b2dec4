/* SPDX-License-Identifier: Apache-2.0 */
/* What an edit comes to before anything is written: order, alignment, reserve, the summary, and whether it can be
 * made in place. */
#include "file/edit.h"
#include "file/edited.h"

#include <inttypes.h>

static sample_file sample;

static st_edit *edit_of(const st_file *file, const st_edit_options *options)
{
    st_edit *edit = NULL;
    CHECK_OK(st_edit_new(file, options, &edit, &error));
    return edit;
}

static void test_order(void **state)
{
    static const char *const names[] = {"m e s q x a ", "s e m a x q ", "a e m q s x "};
    uint64_t shape = 2;
    unsigned char bytes[2] = "ab";
    st_array array = {.data = bytes, .shape = &shape, .ndim = 1, .dtype = ST_U8};
    (void)state;
    st_file *file = sample_open(&sample);
    for (uint32_t order = ST_EDIT_ORDER_FILE; order <= ST_EDIT_ORDER_NAME; order++) {
        st_edit_options options = {.order = order};
        st_edit *edit = edit_of(file, &options);
        st_edit_summary summary;
        edited got;
        CHECK_OK(st_edit_add(edit, "a", 1, &array, &error));
        CHECK_OK(st_edit_look(edit, &summary, &error));
        for (int sequential = 0; sequential < 2; sequential++) {
            edited_make(&got, edit, sequential);
            assert_string_equal(edited_names(&got), names[order]);
            for (size_t i = 0; i < 6; i++) {
                const st_tensor *told = st_edit_at(edit, i), *is = st_file_at(got.file, i);
                assert_string_equal(told->name, is->name);
                assert_int_equal(told->dtype, is->dtype);
                assert_int_equal(told->ndim, is->ndim);
                assert_int_equal(told->begin, is->begin);
                assert_int_equal(told->end, is->end);
                const st_file *from = NULL;
                const st_tensor *origin = st_edit_origin(edit, i, &from);
                assert_ptr_equal(origin, st_file_find(file, is->name, 1));
                assert_ptr_equal(from, origin ? file : NULL);
                if (origin)
                    check_unchanged(&got, origin->name, &sample, origin);
            }
            assert_null(st_edit_at(edit, 6));
            assert_null(st_edit_origin(edit, 6, NULL));
            assert_memory_equal(edited_bytes(&got, "a", ST_U8, 2), "ab", 2);
            edited_close(&got);
        }
        CHECK_OK(st_edit_drop(edit, st_file_at(file, 0), &error));
        assert_null(st_edit_at(edit, 0)); /* until it is looked again */
        st_edit_free(edit);
    }
    st_file_close(file);
}

static void test_alignment_and_reserve(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    st_edit_options options = {.alignment = 4096, .reserve = 5000};
    st_edit *edit = edit_of(file, &options);
    edited got;
    edited_make(&got, edit, false);
    uint64_t start = st_header_data_offset(st_file_header(got.file));
    assert_int_equal(start, 8192);
    assert_int_equal(got.summary.size, start + SAMPLE_DATA);
    assert_int_equal(got.summary.header, strlen(SAMPLE_HEADER));
    /* Of that one the header has room. */
    st_edit *second = edit_of(got.file, &options);
    st_edit_summary summary;
    CHECK_OK(st_edit_look(second, &summary, &error));
    assert_int_equal(summary.room, 8184);
    assert_true(summary.in_place);
    st_edit_free(second);
    edited_close(&got);
    st_edit_free(edit);
    st_file_close(file);
}

/* Where the data of a file, so many bytes that begin at `start`, begin once its metadata are others. */
static uint64_t start_after_edit(uint64_t bytes, size_t start, const st_edit_options *options)
{
    static const st_metadata entry = {"key", 3, 5, "value"};
    char header[8192];
    int len = sprintf(header,
                      "{\"t\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64
                      "],\"data_offsets\":[0,%" PRIu64 "]}}",
                      bytes, bytes);
    size_t size = start - 8, all = start + (size_t)bytes;
    unsigned char *whole = calloc(1, all);
    st_edit_summary summary;
    memset(header + len, ' ', size - (size_t)len);
    whole[0] = (unsigned char)(size & 0xff);
    whole[1] = (unsigned char)(size >> 8);
    memcpy(whole + 8, header, size);
    st_file *file = bytes_open(whole, all, "file");
    st_edit *edit = edit_of(file, options);
    CHECK_OK(st_edit_set_metadata(edit, &entry, &error));
    CHECK_OK(st_edit_look(edit, &summary, &error));
    st_edit_free(edit);
    st_file_close(file);
    free(whole);
    return summary.size - bytes;
}

/* The data stay where file systems can share their blocks, if they are worth it. */
static void test_place_in_page(void **state)
{
    enum { LARGE = 1 << 20, TEXT = 8 + 65 }; /* bytes before the data, but for blanks */
    const st_edit_options reserved = {.reserve = 4000}, aligned = {.alignment = 16},
                          narrow = {.max_header_size = 200};
    (void)state;
    for (size_t start = 80; start < 5000; start += 56) {
        uint64_t now = start_after_edit(LARGE, start, NULL);
        assert_int_equal(now % 4096, start % 4096);
        assert_in_range(now, TEXT, TEXT + 40 + 4096);
        now = start_after_edit(LARGE, start, &reserved);
        assert_int_equal(now % 4096, start % 4096);
        assert_in_range(now, TEXT + 4000, TEXT + 4000 + 40 + 4096);
    }
    assert_int_equal(start_after_edit(LARGE, 80, &aligned), 112);
    assert_int_equal(start_after_edit(LARGE, 80, &narrow), 104); /* there is no room for more */
    assert_int_equal(start_after_edit(LARGE, 81, NULL), 104);    /* data begin at multiples of 8 */
    assert_int_equal(start_after_edit(100, 80, NULL), 96);
    assert_int_equal(start_after_edit(100, 4096, NULL), 4096);
}

static void test_options_refused(void **state)
{
    st_edit *edit;
    (void)state;
    CHECK_ERR_TEXT(st_edit_new(NULL, &(st_edit_options){.order = 3}, &edit, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "st_edit_options: unknown order 3");
    CHECK_ERR_TEXT(st_edit_new(NULL, &(st_edit_options){.alignment = 12}, &edit, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "st_edit_options: alignment 12 is no power of 2");
    CHECK_ERR_TEXT(
        st_edit_new(NULL, &(st_edit_options){.max_header_size = UINT64_MAX}, &edit, &error),
        ST_ERR_ARGUMENT, ST_NO_OFFSET, "st_edit_options: max_header_size");
    CHECK_ERR_TEXT(st_edit_new(NULL, &(st_edit_options){.reserved[7] = 1}, &edit, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "st_edit_options");
    st_file *file = sample_open(&sample);
    edit = edit_of(file, &(st_edit_options){.max_header_size = 200});
    st_edit_summary summary;
    CHECK_ERR_TEXT(st_edit_look(edit, &summary, &error), ST_ERR_HEADER_TOO_LARGE, ST_NO_OFFSET,
                   "sample: the header would take");
    st_edit_free(edit);
    st_file_close(file);
}

/* Everything at once. */
static void test_summary(void **state)
{
    sample_file second;
    (void)state;
    st_file *file = sample_open(&sample);
    sample_frame(&second, "{\"n\":{\"dtype\":\"U8\",\"shape\":[4256],\"data_offsets\":[0,4256]}}");
    st_file *other = bytes_open(second.bytes, second.size, "other");
    st_edit *edit = edit_of(file, NULL);
    st_edit_summary summary;
    uint64_t shape = 5;
    unsigned char bytes[5] = {0};
    st_array array = {.data = bytes, .shape = &shape, .ndim = 1, .dtype = ST_U8};
    CHECK_OK(st_edit_rename(edit, sample_find(file, "x"), "y", 1, &error));
    CHECK_OK(st_edit_rename(edit, sample_find(file, "m"), "l", 1, &error));
    CHECK_OK(st_edit_cast(edit, sample_find(file, "m"), ST_BF16, &error));
    CHECK_OK(st_edit_cast(edit, sample_find(file, "q"), ST_F16, &error));
    CHECK_OK(st_edit_cast(edit, sample_find(file, "q"), ST_F4, &error)); /* undone */
    CHECK_OK(st_edit_replace(edit, sample_find(file, "s"), &array, &error));
    CHECK_OK(st_edit_drop(edit, sample_find(file, "e"), &error));
    CHECK_OK(st_edit_include(edit, other, st_file_at(other, 0), NULL, 0, &error));
    CHECK_OK(st_edit_add(edit, "o", 1, &array, &error));
    CHECK_OK(st_edit_look(edit, &summary, &error));
    assert_int_equal(summary.count, 6);
    assert_int_equal(summary.renamed, 2);
    assert_int_equal(summary.dropped, 1);
    assert_int_equal(summary.cast, 1);
    assert_int_equal(summary.replaced, 1);
    assert_int_equal(summary.added, 2);
    assert_int_equal(summary.moved, 8 + 4000 + 4256);
    assert_int_equal(summary.written, 120 + 5 + 5);
    assert_false(summary.in_place);
    assert_int_equal(summary.overflowed + summary.underflowed, 0);
    assert_string_equal(st_edit_at(edit, 0)->name, "l");
    assert_int_equal(st_edit_at(edit, 0)->dtype, ST_BF16);
    st_edit_free(edit);
    st_file_close(other);
    st_file_close(file);
}

/* --------------------------------------------------------------------------------- in place */

#define CHECK_NO_ROOM(edit, text)                                                                 \
 do {                                                                                             \
  st_edit_summary no_room_;                                                                       \
  CHECK_OK(st_edit_look(edit, &no_room_, &error));                                                \
  assert_false(no_room_.in_place);                                                                \
  CHECK_ERR_TEXT(st__edit_in_place(edit, &error), ST_ERR_NO_ROOM, ST_NO_OFFSET, "sample: " text); \
 } while (0)

static void test_in_place_refused(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    uint64_t shape = 8;
    unsigned char bytes[9] = {0};
    st_array array = {.data = bytes, .shape = &shape, .ndim = 1, .dtype = ST_U8};
    st_edit *edit = edit_of(file, NULL);
    CHECK_OK(st_edit_rename(edit, sample_find(file, "x"), "xy", 2, &error));
    char text[100];
    snprintf(text, sizeof text, "sample: the header needs %zu bytes and has room for %zu",
             strlen(SAMPLE_HEADER) + 1, strlen(SAMPLE_HEADER));
    CHECK_NO_ROOM(edit, "the header needs");
    CHECK_ERR_TEXT(st__edit_in_place(edit, &error), ST_ERR_NO_ROOM, ST_NO_OFFSET, text);
    CHECK_OK(st_edit_remove_metadata(edit, "k", 1, &error)); /* makes room */
    CHECK_OK(st_edit_replace(edit, sample_find(file, "s"), &array, &error));
    st_edit_summary summary;
    CHECK_OK(st_edit_look(edit, &summary, &error));
    assert_true(summary.in_place);
    shape = 9;
    CHECK_OK(st_edit_replace(edit, sample_find(file, "s"), &array, &error));
    CHECK_NO_ROOM(edit, "tensor \"q\": its data would have to move from byte 248 of the data "
                        "section to byte 249");
    CHECK_OK(st_edit_drop(edit, sample_find(file, "s"), &error));
    CHECK_OK(st_edit_include(edit, file, sample_find(file, "s"), NULL, 0, &error));
    CHECK_NO_ROOM(edit, "tensor \"q\": its data would have to move from byte 248 of the data "
                        "section to byte 240");
    st_edit_free(edit);
    edit = edit_of(file, NULL);
    CHECK_OK(st_edit_cast(edit, sample_find(file, "m"), ST_F16, &error));
    CHECK_NO_ROOM(edit, "tensor \"m\": it is to be cast");
    st_edit_free(edit);
    edit = edit_of(file, NULL);
    CHECK_OK(st_edit_drop(edit, sample_find(file, "x"), &error));
    CHECK_NO_ROOM(edit, "the data would take 256 bytes and take 4256 now");
    st_edit_free(edit);
    edit = edit_of(file, &(st_edit_options){.reserve = 1});
    CHECK_NO_ROOM(edit, "the header needs");
    st_edit_free(edit);
    edit = edit_of(file, &(st_edit_options){.reserve = UINT64_MAX - 1});
    CHECK_ERR(st_edit_look(edit, &summary, &error), ST_ERR_HEADER_TOO_LARGE, ST_NO_OFFSET);
    st_edit_free(edit);
    edit = edit_of(file, &(st_edit_options){.alignment = 1024});
    CHECK_NO_ROOM(edit, "the data start at byte");
    st_edit_free(edit);
    st_file_close(file);
}

/* One that takes the place of another of as many bytes, out of another file or out of memory. */
static void test_in_place_exchanged(void **state)
{
    sample_file second;
    (void)state;
    st_file *file = sample_open(&sample);
    sample_frame(&second, "{\"n\":{\"dtype\":\"U8\",\"shape\":[4000],\"data_offsets\":[0,4000]},"
                          "\"o\":{\"dtype\":\"U8\",\"shape\":[256],\"data_offsets\":[4000,4256]}}");
    st_file *other = bytes_open(second.bytes, second.size, "other");
    st_edit *edit = edit_of(file, NULL);
    CHECK_OK(st_edit_drop(edit, sample_find(file, "x"), &error));
    CHECK_OK(st_edit_include(edit, other, st_file_at(other, 0), NULL, 0, &error));
    CHECK_NO_ROOM(edit, "tensor \"n\": it is taken in from other");
    CHECK_OK(st_edit_drop(edit, st_file_at(other, 0), &error));
    uint64_t shape = 4000;
    st_array array = {.data = second.bytes, .shape = &shape, .ndim = 1, .dtype = ST_U8};
    CHECK_OK(st_edit_add(edit, "n", 1, &array, &error));
    st_edit_summary summary;
    CHECK_OK(st_edit_look(edit, &summary, &error));
    assert_true(summary.in_place);
    st_edit_free(edit);
    st_file_close(other);
    st_file_close(file);
}

/* A header of as many bytes as the file has, whatever their number, with which the data read as before. */
static void test_header_in_place(void **state)
{
    (void)state;
    for (size_t blanks = 0; blanks < 20; blanks++) {
        char header[1000];
        snprintf(header, sizeof header, "%s%*s", SAMPLE_HEADER, (int)blanks, "");
        sample_frame(&sample, header);
        st_file *file = bytes_open(sample.bytes, sample.size, "sample");
        st_edit *edit = edit_of(file, NULL);
        const st_tensor *x = sample_find(file, "x");
        unsigned char *bytes;
        size_t size;
        CHECK_OK(st_edit_rename(edit, x, "xxxxxxxxxxxxxxxxxxxx", 1 + blanks, &error));
        CHECK_OK(st__edit_lay_out(edit, &error));
        CHECK_OK(st__edit_in_place(edit, &error));
        CHECK_OK(st__edit_header_emit(edit, &bytes, &size, &error));
        assert_int_equal(size, sample.data_offset);
        sample_file now = sample;
        memcpy(now.bytes, bytes, size);
        st_file *again = bytes_open(now.bytes, now.size, "again");
        const st_tensor *moved = st_file_find(again, "xxxxxxxxxxxxxxxxxxxx", 1 + blanks);
        assert_non_null(moved);
        assert_int_equal(moved->begin, x->begin);
        assert_int_equal(moved->end, x->end);
        st_file_close(again);
        free(bytes);
        st_edit_free(edit);
        st_file_close(file);
    }
}

/* ------------------------------------------------------------------------------------- others */

static void test_unknown_dtypes(void **state)
{
    static const char header[] =
        "{\"p\":{\"dtype\":\"F3_X\",\"shape\":[7,3],\"data_offsets\":[0,9]},"
        "\"q\":{\"dtype\":\"I2\",\"shape\":[16],\"data_offsets\":[9,13]},"
        "\"r\":{\"dtype\":\"U8\",\"shape\":[4243],\"data_offsets\":[13,4256]}}";
    (void)state;
    sample_file second;
    sample_frame(&sample, header);
    st_file *file = bytes_open(sample.bytes, sample.size, "sample");
    sample_frame(&second, "{\"i\":{\"dtype\":\"I2\",\"shape\":[1],\"data_offsets\":[0,4256]}}");
    st_file *other = bytes_open(second.bytes, second.size, "other");
    for (uint32_t order = ST_EDIT_ORDER_FILE; order <= ST_EDIT_ORDER_NAME; order++) {
        st_edit_options options = {.order = order};
        st_edit *edit = edit_of(file, &options);
        edited got;
        CHECK_OK(st_edit_rename(edit, sample_find(file, "p"), "z", 1, &error));
        CHECK_OK(st_edit_include(edit, other, st_file_at(other, 0), NULL, 0, &error));
        CHECK_ERR_TEXT(st_edit_cast(edit, sample_find(file, "p"), ST_F32, &error),
                       ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                       "sample: tensor \"p\": F3_X cannot be cast to F32");
        edited_make(&got, edit, false);
        const st_header *h = st_file_header(got.file);
        const st_tensor *z = sample_find(got.file, "z");
        assert_string_equal(st_header_dtype_code(h, z->dtype, NULL), "F3_X");
        assert_int_equal(z->shape[1], 3);
        assert_memory_equal(got.probe.data + st_file_offset(got.file, z),
                            sample.bytes + sample.data_offset, 9);
        const st_tensor *q = sample_find(got.file, "q"), *i = sample_find(got.file, "i");
        assert_string_equal(st_header_dtype_code(h, q->dtype, NULL), "I2");
        assert_int_equal(q->dtype, i->dtype);
        assert_memory_equal(got.probe.data + st_file_offset(got.file, i),
                            second.bytes + second.data_offset, SAMPLE_DATA);
        check_unchanged(&got, "r", &sample, sample_find(file, "r"));
        edited_close(&got);
        st_edit_free(edit);
    }
    st_file_close(other);
    st_file_close(file);
}

/* A hundred thousand tensors, half of them under a new name, a tenth dropped. */
static void test_large(void **state)
{
    enum { MANY = 100000 };
    char name[40];
    uint64_t shape = 1;
    unsigned char byte = 7;
    st_array array = {.data = &byte, .shape = &shape, .ndim = 1, .dtype = ST_U8};
    (void)state;
    st_edit *made = edit_of(NULL, NULL), *edit;
    edited first, got;
    for (unsigned i = 0; i < MANY; i++) {
        sprintf(name, "model.layers.%u.weight", i);
        CHECK_OK(st_edit_add(made, name, strlen(name), &array, &error));
    }
    edited_make(&first, made, false);
    edit = edit_of(first.file, &(st_edit_options){.order = ST_EDIT_ORDER_NAME});
    for (unsigned i = 0; i < MANY; i++) {
        const st_tensor *tensor = st_file_at(first.file, i);
        sprintf(name, "blk.%u.w", i);
        if (i % 2)
            CHECK_OK(st_edit_rename(edit, tensor, name, strlen(name), &error));
        if (i % 10 == 0)
            CHECK_OK(st_edit_drop(edit, tensor, &error));
    }
    edited_make(&got, edit, false);
    assert_int_equal(got.summary.renamed, MANY / 2);
    assert_int_equal(got.summary.count, MANY / 10 * 9);
    assert_non_null(st_file_find(got.file, "blk.99999.w", 11));
    assert_null(st_file_find(got.file, "model.layers.99990.weight", 25));
    assert_non_null(st_file_find(got.file, "model.layers.99992.weight", 25));
    edited_close(&got);
    st_edit_free(edit);
    st_edit_free(made);
    edited_close(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_alignment_and_reserve),
        cmocka_unit_test(test_place_in_page),
        cmocka_unit_test(test_options_refused),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_in_place_refused),
        cmocka_unit_test(test_in_place_exchanged),
        cmocka_unit_test(test_header_in_place),
        cmocka_unit_test(test_unknown_dtypes),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests_name("edit_plan", tests, NULL, NULL);
}
