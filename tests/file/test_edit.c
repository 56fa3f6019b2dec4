/* SPDX-License-Identifier: Apache-2.0 */
/* The changes of an edit, each alone and several together: what the new file holds, and what is refused. */
#include "file/edited.h"

static sample_file sample;

static st_edit *edit_of(const st_file *file, const st_edit_options *options)
{
    st_edit *edit = NULL;
    CHECK_OK(st_edit_new(file, options, &edit, &error));
    return edit;
}

/* Without a change the tensors lie as they did, and the header is as our writer makes it. */
static void test_nothing(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    for (int sequential = 0; sequential < 2; sequential++) {
        st_edit *edit = edit_of(file, NULL);
        edited got;
        edited_make(&got, edit, sequential);
        size_t text = strlen(SAMPLE_HEADER);
        assert_memory_equal(got.probe.data + 8, SAMPLE_HEADER, text);
        assert_memory_equal(got.probe.data + (text + 15) / 8 * 8, sample.bytes + 8 + text,
                            SAMPLE_DATA);
        assert_int_equal(got.summary.moved, SAMPLE_DATA);
        assert_int_equal(got.summary.written, 0);
        assert_int_equal(got.summary.header, text);
        assert_int_equal(got.summary.room, text);
        assert_true(got.summary.in_place);
        edited_close(&got);
        st_edit_free(edit);
    }
    st_edit_free(NULL);
    st_file_close(file);
}

static void test_rename(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    const st_tensor *m = sample_find(file, "m"), *x = sample_find(file, "x");
    st_edit *edit = edit_of(file, NULL);
    edited got;
    CHECK_OK(st_edit_rename(edit, m, "first", 5, &error));
    CHECK_OK(st_edit_rename(edit, m, "", 0, &error)); /* an empty name is one */
    CHECK_OK(st_edit_rename(edit, m, "layer\n\xc3\xa9", 8, &error));
    CHECK_OK(st_edit_rename(edit, sample_find(file, "s"), "s", 1, &error)); /* its own */
    edited_make(&got, edit, false);
    assert_string_equal(edited_names(&got), "layer\n\xc3\xa9 e s q x ");
    check_unchanged(&got, "layer\n\xc3\xa9", &sample, m);
    check_unchanged(&got, "x", &sample, x);
    assert_int_equal(got.summary.renamed, 1);
    edited_close(&got);
    /* Names are exchanged; in between two tensors have one. */
    st_edit_summary summary;
    CHECK_OK(st_edit_rename(edit, m, "x", 1, &error));
    CHECK_ERR_TEXT(
        st_edit_look(edit, &summary, &error), ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
        "sample: tensor \"x\": two tensors have this name, now \"m\" and \"x\"; rename or "
        "drop one of them");
    CHECK_OK(st_edit_rename(edit, x, "m", 1, &error));
    edited_make(&got, edit, true);
    assert_string_equal(edited_names(&got), "x e s q m ");
    check_unchanged(&got, "x", &sample, m);
    check_unchanged(&got, "m", &sample, x);
    assert_int_equal(got.summary.renamed, 2);
    edited_close(&got);
    st_edit_free(edit);
    st_file_close(file);
}

static void test_rename_refused(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    st_file *other = bytes_open(sample.bytes, sample.size, "other");
    const st_tensor *m = sample_find(file, "m");
    st_edit *edit = edit_of(file, NULL);
    CHECK_ERR_TEXT(st_edit_rename(edit, m, "\xff", 1, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "sample: tensor \"\\xff\": the name is not UTF-8");
    CHECK_ERR_TEXT(st_edit_rename(edit, m, "__metadata__", 12, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "no tensor may have this name");
    CHECK_ERR_TEXT(st_edit_rename(edit, sample_find(other, "m"), "n", 1, &error), ST_ERR_NOT_FOUND,
                   ST_NO_OFFSET, "sample: the tensor is of no file of this edit");
    st_tensor copy = *m;
    CHECK_ERR(st_edit_drop(edit, &copy, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET);
    CHECK_ERR(st_edit_drop(edit, (const st_tensor *)(const void *)((const char *)m + 8), &error),
              ST_ERR_NOT_FOUND, ST_NO_OFFSET);
    CHECK_ERR(st_edit_drop(edit, m + 5, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET);
    CHECK_OK(st_edit_drop(edit, m, &error));
    CHECK_ERR_TEXT(st_edit_rename(edit, m, "n", 1, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET,
                   "sample: tensor \"m\": it was dropped");
    CHECK_ERR(st_edit_drop(edit, m, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET);
    CHECK_ERR(st_edit_cast(edit, m, ST_BF16, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET);
    CHECK_ERR(st_edit_replace(edit, m, &(st_array){.dtype = ST_U8}, &error), ST_ERR_NOT_FOUND,
              ST_NO_OFFSET);
    st_edit_free(edit);
    st_file_close(other);
    st_file_close(file);
}

static void test_rename_all(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    st_edit *edit = edit_of(file, NULL);
    st_name_rule *rule;
    uint64_t matched = 9;
    edited got;
    CHECK_OK(st_edit_drop(edit, sample_find(file, "e"), &error));
    CHECK_OK(st_name_rule_new("[mqe]", "t.\\0", ST_NAME_REGEX, NULL, &rule, &error));
    CHECK_OK(st_edit_rename_all(edit, rule, &matched, &error));
    assert_int_equal(matched, 2);
    st_name_rule_free(rule);
    CHECK_OK(
        st_name_rule_new("t.*", "*", ST_NAME_GLOB, NULL, &rule, &error)); /* as called by now */
    CHECK_OK(st_edit_rename_all(edit, rule, NULL, &error));
    st_name_rule_free(rule);
    CHECK_OK(st_name_rule_new("x", "y", ST_NAME_GLOB, NULL, &rule, &error));
    CHECK_OK(st_edit_rename_all(edit, rule, NULL, &error));
    CHECK_OK(st_edit_rename_all(edit, rule, &matched, &error));
    assert_int_equal(matched, 0);
    st_name_rule_free(rule);
    edited_make(&got, edit, false);
    assert_string_equal(edited_names(&got), "m s q y ");
    assert_int_equal(got.summary.renamed, 1);
    edited_close(&got);
    /* All or none. */
    matched = 9;
    CHECK_OK(st_name_rule_new("q|y|(s)", "__metadata__", ST_NAME_REGEX, NULL, &rule, &error));
    CHECK_ERR(st_edit_rename_all(edit, rule, &matched, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_name_rule_free(rule);
    CHECK_OK(st_name_rule_new("*", NULL, ST_NAME_GLOB, NULL, &rule, &error));
    CHECK_ERR_TEXT(st_edit_rename_all(edit, rule, &matched, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "it only matches");
    st_name_rule_free(rule);
    assert_int_equal(matched, 9);
    edited_make(&got, edit, false);
    assert_string_equal(edited_names(&got), "m s q y ");
    edited_close(&got);
    st_edit_free(edit);
    st_file_close(file);
}

static void test_drop(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    st_edit *edit = edit_of(file, NULL);
    edited got;
    CHECK_OK(st_edit_drop(edit, sample_find(file, "s"), &error));
    edited_make(&got, edit, false);
    assert_string_equal(edited_names(&got), "m e q x ");
    check_unchanged(&got, "q", &sample, sample_find(file, "q"));
    check_unchanged(&got, "x", &sample, sample_find(file, "x"));
    assert_int_equal(got.summary.dropped, 1);
    assert_false(got.summary.in_place);
    edited_close(&got);
    for (size_t i = 0; i < 5; i++)
        if (i != 2)
            CHECK_OK(st_edit_drop(edit, st_file_at(file, i), &error));
    edited_make(&got, edit, true);
    assert_int_equal(got.summary.count, 0);
    assert_int_equal(got.summary.dropped, 5);
    assert_null(st_edit_at(edit, 0));
    edited_close(&got);
    st_edit_free(edit);
    st_file_close(file);
}

/* -------------------------------------------------------------------------------- metadata */

static void check_metadata(st_edit *edit, const char *text)
{
    edited got;
    char json[400], *at = json;
    edited_make(&got, edit, false);
    const st_header *header = st_file_header(got.file);
    *at = '\0';
    if (st_header_has_metadata(header))
        at += sprintf(at, "{");
    for (size_t i = 0; i < st_header_metadata_count(header); i++)
        at += sprintf(at, "%s=%s ", st_header_metadata_at(header, i)->key,
                      st_header_metadata_at(header, i)->value);
    assert_string_equal(json, text);
    edited_close(&got);
}

static void put(st_edit *edit, const char *key, const char *value)
{
    st_metadata entry = {key, (uint32_t)strlen(key), (uint32_t)strlen(value), value};
    CHECK_OK(st_edit_set_metadata(edit, &entry, &error));
}

static void test_metadata(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    st_edit *edit = edit_of(file, NULL);
    st_metadata bad_key = {"\xff", 1, 1, "v"}, bad_value = {"key", 3, 1, "\xff"};
    check_metadata(edit, "{k=v ");
    put(edit, "b", "");
    put(edit, "a", "1");
    put(edit, "k", "new");
    put(edit, "a", "2");
    check_metadata(edit, "{a=2 b= k=new ");
    CHECK_OK(st_edit_remove_metadata(edit, "k", 1, &error));
    CHECK_ERR_TEXT(st_edit_remove_metadata(edit, "k", 1, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET,
                   "sample: there is no metadata key \"k\"");
    CHECK_ERR(st_edit_remove_metadata(edit, "kk", 2, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_edit_set_metadata(edit, &bad_key, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "sample: metadata key \"\\xff\" is not UTF-8");
    CHECK_ERR_TEXT(st_edit_set_metadata(edit, &bad_value, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "sample: the value of metadata key \"key\" is not UTF-8");
    check_metadata(edit, "{a=2 b= ");
    put(edit, "k", "again");
    CHECK_OK(st_edit_remove_metadata(edit, "a", 1, &error));
    CHECK_OK(st_edit_remove_metadata(edit, "b", 1, &error));
    check_metadata(edit, "{k=again ");
    CHECK_OK(st_edit_remove_metadata(edit, "k", 1, &error));
    check_metadata(edit, "{"); /* there, and empty */
    st_edit_clear_metadata(edit);
    check_metadata(edit, "");
    CHECK_ERR(st_edit_remove_metadata(edit, "k", 1, &error), ST_ERR_NOT_FOUND, ST_NO_OFFSET);
    put(edit, "z", "y");
    check_metadata(edit, "{z=y ");
    st_edit_free(edit);
    st_file_close(file);
    edit = edit_of(NULL, NULL);
    check_metadata(edit, "");
    st_edit_free(edit);
}

/* More than any list begins with; every second one goes, and some come back. */
static void test_many_metadata(void **state)
{
    enum { MANY = 5000 };
    char key[20];
    (void)state;
    st_file *file = sample_open(&sample);
    st_edit *edit = edit_of(file, NULL);
    edited got;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MANY; i++) {
            sprintf(key, "key%d", i);
            put(edit, key, key);
            if (i % 2)
                CHECK_OK(st_edit_remove_metadata(edit, key, strlen(key), &error));
        }
    put(edit, "key1", "back");
    edited_make(&got, edit, false);
    const st_header *header = st_file_header(got.file);
    assert_int_equal(st_header_metadata_count(header), MANY / 2 + 2);
    assert_non_null(st_header_metadata_find(header, "key4998", 7));
    assert_null(st_header_metadata_find(header, "key4999", 7));
    assert_string_equal(st_header_metadata_find(header, "key1", 4)->value, "back");
    edited_close(&got);
    st_edit_free(edit);
    st_file_close(file);
}

/* ------------------------------------------------------------------------------ other bytes */

static void test_replace(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    st_edit *edit = edit_of(file, NULL);
    const st_tensor *s = sample_find(file, "s");
    unsigned char bytes[24];
    uint64_t shape[2] = {2, 3};
    int64_t strides[2] = {1, 2};
    st_array array = {.data = bytes, .shape = shape, .ndim = 2, .dtype = ST_U16};
    st_array turned = {.data = bytes, .shape = shape, .strides = strides, .ndim = 2};
    edited got;
    for (unsigned char i = 0; i < sizeof bytes; i++)
        bytes[i] = i;
    turned.dtype = ST_U8;
    CHECK_OK(st_edit_replace(edit, s, &turned, &error));
    CHECK_OK(st_edit_replace(edit, s, &array, &error)); /* the last one counts */
    CHECK_OK(st_edit_replace(edit, sample_find(file, "x"), &turned, &error));
    shape[0] = 77; /* the description was copied, the memory was not */
    strides[0] = 77;
    bytes[0] = 99;
    for (int sequential = 0; sequential < 2; sequential++) {
        edited_make(&got, edit, sequential);
        assert_string_equal(edited_names(&got), "m e s q x ");
        const unsigned char *at = edited_bytes(&got, "s", ST_U16, 12);
        assert_memory_equal(at, bytes, 12);
        assert_int_equal(sample_find(got.file, "s")->shape[1], 3);
        assert_memory_equal(edited_bytes(&got, "x", ST_U8, 6), "\x63\2\4\1\3\5", 6);
        check_unchanged(&got, "q", &sample, sample_find(file, "q"));
        assert_int_equal(got.summary.replaced, 2);
        assert_int_equal(got.summary.written, 18);
        assert_int_equal(got.summary.moved, 248);
        edited_close(&got);
    }
    st_edit_free(edit);
    st_file_close(file);
}

static void test_array_refused(void **state)
{
    (void)state;
    st_file *file = sample_open(&sample);
    st_edit *edit = edit_of(file, NULL);
    const st_tensor *s = sample_find(file, "s");
    uint64_t shape[2] = {3, UINT64_MAX};
    int64_t strides[2] = {1, 1};
    st_array array = {.data = shape, .shape = shape, .ndim = 1, .dtype = ST_F4};
    CHECK_ERR_TEXT(st_edit_replace(edit, s, &array, &error), ST_ERR_MISALIGNED, ST_NO_OFFSET,
                   "sample: tensor \"s\": its 3 elements of 4 bits");
    array.dtype = 99;
    CHECK_ERR_TEXT(st_edit_replace(edit, s, &array, &error), ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET,
                   "sample: tensor \"s\": the array's dtype is none");
    array.dtype = ST_DTYPE_UNKNOWN;
    CHECK_ERR(st_edit_add(edit, "new", 3, &array, &error), ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET);
    array.dtype = ST_U8;
    array.device = 1;
    CHECK_ERR_TEXT(st_edit_add(edit, "new", 3, &array, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "sample: tensor \"new\": the array lies on a device");
    array.device = 0;
    array.ndim = 2;
    CHECK_ERR_TEXT(st_edit_add(edit, "new", 3, &array, &error), ST_ERR_OVERFLOW, ST_NO_OFFSET,
                   "tensor \"new\"");
    shape[1] = 3;
    array.dtype = ST_F4;
    array.strides = strides;
    shape[0] = 2;
    CHECK_ERR_TEXT(st_edit_replace(edit, s, &array, &error), ST_ERR_INDEX_MISALIGNED, ST_NO_OFFSET,
                   "sample: tensor \"s\": ");
    array.dtype = ST_U8;
    CHECK_ERR(st_edit_add(edit, "\xff", 1, &array, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_edit_add(edit, "__metadata__", 12, &array, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_edit_summary summary;
    CHECK_OK(st_edit_look(edit, &summary, &error));
    assert_int_equal(summary.written + summary.added + summary.replaced, 0);
    st_edit_free(edit);
    st_file_close(file);
}

static void count_release(void *ctx, void *data, size_t size)
{
    (void)data;
    (void)size;
    ++*(int *)ctx;
}

/* Out of memory into a file that begins with nothing; a buffer that comes with an array is kept. */
static void test_add(void **state)
{
    (void)state;
    int released = 0;
    unsigned char bytes[8] = "abcdefgh";
    st_memory memory = {bytes, sizeof bytes, count_release, &released};
    st_buffer *buffer;
    CHECK_OK(st_buffer_new(NULL, &memory, &buffer, &error));
    uint64_t shape = 8;
    st_array array = {.data = bytes, .shape = &shape, .ndim = 1, .dtype = ST_U8, .buffer = buffer};
    st_edit *edit = edit_of(NULL, NULL);
    edited got;
    CHECK_OK(st_edit_add(edit, "b", 1, &array, &error));
    st_buffer_release(buffer);
    array.buffer = NULL;
    array.ndim = 0;
    CHECK_OK(st_edit_add(edit, "a", 1, &array, &error));
    edited_make(&got, edit, false);
    assert_int_equal(released, 0);
    assert_string_equal(edited_names(&got), "b a ");
    assert_memory_equal(edited_bytes(&got, "b", ST_U8, 8), "abcdefgh", 8);
    assert_memory_equal(edited_bytes(&got, "a", ST_U8, 1), "a", 1);
    assert_int_equal(got.summary.added, 2);
    assert_int_equal(got.summary.room, 0);
    assert_false(got.summary.in_place);
    edited_close(&got);
    st_edit_free(edit);
    assert_int_equal(released, 1);
}

static void test_include(void **state)
{
    (void)state;
    sample_file second;
    st_file *file = sample_open(&sample), *other;
    sample_frame(&second, "{\"m\":{\"dtype\":\"U8\",\"shape\":[256],\"data_offsets\":[0,256]},"
                          "\"n\":{\"dtype\":\"U8\",\"shape\":[4000],\"data_offsets\":[256,4256]}}");
    other = bytes_open(second.bytes, second.size, "other");
    const st_tensor *m = sample_find(other, "m"), *n = sample_find(other, "n");
    st_edit *edit = edit_of(file, NULL);
    edited got;
    CHECK_OK(st_edit_include(edit, other, n, NULL, 0, &error));
    CHECK_OK(st_edit_include(edit, other, m, "m2", 2, &error));
    CHECK_ERR_TEXT(st_edit_include(edit, other, m, "m3", 2, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "sample: tensor \"m\": it is in already");
    CHECK_ERR(st_edit_include(edit, file, st_file_at(file, 0), "m3", 2, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_edit_include(edit, other, st_file_at(file, 0), "m3", 2, &error),
                   ST_ERR_NOT_FOUND, ST_NO_OFFSET,
                   "sample: the tensor to take in is none of other");
    for (int sequential = 0; sequential < 2; sequential++) {
        edited_make(&got, edit, sequential);
        assert_string_equal(edited_names(&got), "m e s q x n m2 ");
        check_unchanged(&got, "n", &second, n);
        check_unchanged(&got, "m2", &second, m);
        check_unchanged(&got, "m", &sample, sample_find(file, "m"));
        assert_int_equal(got.summary.added, 2);
        assert_int_equal(got.summary.renamed, 0);
        assert_int_equal(got.summary.moved, 2 * SAMPLE_DATA);
        edited_close(&got);
    }
    /* They are changed as the file's own, and what was dropped comes back as it was at first. */
    CHECK_OK(st_edit_rename(edit, n, "n2", 2, &error));
    CHECK_OK(st_edit_drop(edit, m, &error));
    CHECK_OK(st_edit_rename(edit, sample_find(file, "s"), "gone", 4, &error));
    CHECK_OK(st_edit_drop(edit, sample_find(file, "s"), &error));
    CHECK_OK(st_edit_include(edit, file, sample_find(file, "s"), NULL, 0, &error));
    CHECK_ERR(st_edit_include(edit, other, n, "\xff", 1, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    edited_make(&got, edit, false);
    assert_string_equal(edited_names(&got), "m e q x n2 s ");
    check_unchanged(&got, "s", &sample, sample_find(file, "s"));
    check_unchanged(&got, "n2", &second, n);
    assert_int_equal(got.summary.added, 2);
    assert_int_equal(got.summary.dropped, 1);
    edited_close(&got);
    st_edit_free(edit);
    st_file_close(other);
    st_file_close(file);
}

/* Tensors of many files, some of them empty, are told apart. */
static void test_many_files(void **state)
{
    enum { FILES = 60 };
    (void)state;
    static sample_file samples[FILES];
    st_file *files[FILES];
    char header[200], name[20];
    st_edit *edit = edit_of(NULL, NULL);
    edited got;
    for (size_t i = 0; i < FILES; i++) {
        sprintf(header,
                "{\"t\":{\"dtype\":\"U8\",\"shape\":[%u],\"data_offsets\":[0,%u]},"
                "\"u\":{\"dtype\":\"U8\",\"shape\":[%u],\"data_offsets\":[%u,%u]}}",
                (unsigned)i, (unsigned)i, SAMPLE_DATA - (unsigned)i, (unsigned)i, SAMPLE_DATA);
        sample_frame(&samples[i], header);
        files[i] = bytes_open(samples[i].bytes, samples[i].size, "one");
    }
    for (size_t i = 0; i < FILES; i++) {
        size_t k = i * 7 % FILES;
        sprintf(name, "t%02zu", k);
        CHECK_OK(st_edit_include(edit, files[k], st_file_at(files[k], 0), name, 3, &error));
    }
    for (size_t i = 0; i < FILES; i++) {
        CHECK_ERR(st_edit_drop(edit, st_file_at(files[i], 1), &error), ST_ERR_NOT_FOUND,
                  ST_NO_OFFSET);
        if (i % 3 == 0)
            CHECK_OK(st_edit_drop(edit, st_file_at(files[i], 0), &error));
    }
    edited_make(&got, edit, false);
    assert_int_equal(got.summary.count, FILES * 2 / 3);
    assert_int_equal(got.summary.added, FILES * 2 / 3);
    assert_int_equal(got.summary.dropped, 0);
    for (size_t i = 0; i < FILES; i++) {
        sprintf(name, "t%02zu", i);
        if (i % 3)
            check_unchanged(&got, name, &samples[i], st_file_at(files[i], 0));
        else
            assert_null(st_file_find(got.file, name, 3));
    }
    edited_close(&got);
    st_edit_free(edit);
    for (size_t i = 0; i < FILES; i++)
        st_file_close(files[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),        cmocka_unit_test(test_rename),
        cmocka_unit_test(test_rename_refused), cmocka_unit_test(test_rename_all),
        cmocka_unit_test(test_drop),           cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_many_metadata),  cmocka_unit_test(test_replace),
        cmocka_unit_test(test_array_refused),  cmocka_unit_test(test_add),
        cmocka_unit_test(test_include),        cmocka_unit_test(test_many_files),
    };
    return cmocka_run_group_tests_name("edit", tests, NULL, NULL);
}
