/* SPDX-License-Identifier: Apache-2.0 */
/* Digests recorded in a file's own metadata: the text made, what it finds, and what it takes no notice of. */
#include <safetensors/inspect.h>

#include "file/edited.h"
#include "inspect/image.h"
#include "support/fault.h"
#include "support/oom.h"

#define KEY "st.hash.xxh3"

static const char plain[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                            "\"a\":{\"dtype\":\"F4\",\"shape\":[2,1],\"data_offsets\":[2,3]}}";

static st_status hashes_of(const st_file *file, st_hash hash, st_hashes *out)
{
    return st_hashes_read(file, &(st_hash_options){.hash = hash, .parts = ST_HASH_TENSORS}, out,
                          NULL);
}

static st_status record_of(const st_file *file, st_hash_record *out, st_error *error)
{
    st_hashes hashes;
    st_status status = hashes_of(file, ST_HASH_XXH3, &hashes);
    if (status != ST_OK)
        return status;
    status = st_hash_record_init(out, file, &hashes, error);
    st_hashes_release(&hashes);
    return status;
}

/* Makes a file of the same tensors, in another order, whose metadata have these values: of our key, or NULL, and of
 * another one. */
static image with_record(const st_file *file, const st_metadata *record, const char *other)
{
    image out = {0};
    st_writer *writer = NULL;
    st_sink *sink = NULL;
    uint64_t size = 0;
    st_metadata format = {"format", 6, (uint32_t)strlen(other), other};
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    for (size_t i = 0; i < st_file_count(file); i++)
        CHECK_OK(st_writer_add(writer, st_file_at(file, i), NULL, &error));
    CHECK_OK(st_writer_add_metadata(writer, &format, &error));
    if (record)
        CHECK_OK(st_writer_add_metadata(writer, record, &error));
    CHECK_OK(st_writer_size(writer, &size, &error));
    out.size = (size_t)size;
    out.bytes = malloc(out.size);
    assert_non_null(out.bytes);
    CHECK_OK(st_sink_open_memory(out.bytes, out.size, NULL, &sink, &error));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    for (size_t i = 0; i < st_file_count(file); i++)
        CHECK_OK(
            st_writer_copy_from(writer, file, &(st_copy){i, st_file_at(file, i), NULL}, 1, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    out.data_offset = (size_t)st_writer_data_offset(writer);
    st_writer_free(writer);
    st_sink_release(sink);
    return out;
}

typedef struct differences {
    char text[1024];
    uint64_t stop_at;
    uint64_t count;
} differences;

static bool difference_log(void *ctx, const st_difference *difference)
{
    differences *log = ctx;
    size_t used = strlen(log->text);
    snprintf(log->text + used, sizeof log->text - used, "%d:%.*s ", difference->kind,
             (int)difference->name_len, difference->name ? difference->name : "");
    assert_null(strstr(difference->message, "manifest"));
    return ++log->count != log->stop_at;
}

static void check_verify(const image *im, uint64_t records, const char *wanted)
{
    differences log = {.count = 0};
    uint64_t found = 77, count = 77;
    st_verify_options options = {.difference = difference_log, .ctx = &log};
    st_file *file = image_open(im, NULL);
    CHECK_OK(st_hash_record_verify(file, &options, &found, &count, &error));
    st_file_close(file);
    assert_string_equal(log.text, wanted);
    assert_int_equal(found, records);
    assert_int_equal(count, log.count);
}

static void test_text(void **state)
{
    (void)state;
    image im;
    char a[40], b[40], wanted[512];
    st_hashes hashes;
    st_hash_record record;
    image_frame(&im, plain, 3);
    st_file *file = image_open(&im, NULL);
    assert_int_equal(hashes_of(file, ST_HASH_XXH3, &hashes), ST_OK);
    st_digest_format(&hashes.tensors[0], b, sizeof b);
    st_digest_format(&hashes.tensors[1], a, sizeof a);
    CHECK_OK(st_hash_record_init(&record, file, &hashes, &error));
    snprintf(wanted, sizeof wanted,
             "{\"a\":{\"dtype\":\"F4\",\"shape\":[2,1],\"digest\":\"%s\"},"
             "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"digest\":\"%s\"}}",
             a, b);
    assert_string_equal(record.entry.key, KEY);
    assert_int_equal(record.entry.key_len, strlen(KEY));
    assert_string_equal(record.entry.value, wanted);
    assert_int_equal(record.entry.value_len, strlen(wanted));
    assert_true(st_hash_record_is(record.entry.key, record.entry.key_len));
    assert_true(st_hash_record_is("st.hash.new", 11));
    assert_false(st_hash_record_is("st.hash.", 8));
    assert_false(st_hash_record_is("st.hasher", 9));
    st_hash_record_release(&record);
    st_hash_record_release(&record);
    hashes.parts = ST_HASH_FILE;
    CHECK_ERR(st_hash_record_init(&record, file, &hashes, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    hashes.parts = ST_HASH_TENSORS;
    hashes.count--;
    CHECK_ERR(st_hash_record_init(&record, file, &hashes, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    hashes.count++;
    st_hashes_release(&hashes);
    st_file_close(file);
    image_free(&im);
}

static void test_no_tensors(void **state)
{
    (void)state;
    image im;
    st_hash_record record = {.memory = NULL};
    image_frame(&im, "{}", 0);
    st_file *file = image_open(&im, NULL);
    CHECK_OK(record_of(file, &record, &error));
    assert_string_equal(record.entry.value, "{}");
    image recorded = with_record(file, &record.entry, "x");
    check_verify(&recorded, 1, "");
    check_verify(&im, 0, "");
    st_hash_record_release(&record);
    st_file_close(file);
    image_free(&recorded);
    image_free(&im);
}

/* A changed byte is found, by the tensor that it is in; other metadata and the order of the data do not matter. */
static void test_verify(void **state)
{
    (void)state;
    image im;
    st_hash_record record = {.memory = NULL};
    image_frame(&im, plain, 3);
    st_file *file = image_open(&im, NULL);
    CHECK_OK(record_of(file, &record, &error));
    image recorded = with_record(file, &record.entry, "anything");
    check_verify(&recorded, 1, "");
    for (size_t i = 0; i < 3; i++) {
        recorded.bytes[recorded.data_offset + i] ^= 1;
        st_file *changed = image_open(&recorded, NULL);
        const st_tensor *a = st_file_find(changed, "a", 1);
        bool in_a = i >= a->begin && i < a->end;
        st_file_close(changed);
        check_verify(&recorded, 1, in_a ? "8:a " : "8:b ");
        recorded.bytes[recorded.data_offset + i] ^= 1;
    }
    st_hash_record_release(&record);
    st_file_close(file);
    image_free(&recorded);
    image_free(&im);
}

static void test_other_tensors(void **state)
{
    (void)state;
    static const char value[] =
        "{\"b\":{\"dtype\":\"I8\",\"shape\":[2],\"digest\":\"2d06800538d394c2\"},"
        "\"c\":{\"dtype\":\"U8\",\"shape\":[0],\"digest\":\"2d06800538d394c2\"}}";
    st_metadata entry = {KEY, sizeof KEY - 1, sizeof value - 1, value};
    image im;
    image_frame(&im, plain, 3);
    st_file *file = image_open(&im, NULL);
    image recorded = with_record(file, &entry, "x");
    check_verify(&recorded, 1, "6:b 4:c 5:a ");
    differences log = {.stop_at = 2};
    st_verify_options options = {.difference = difference_log, .ctx = &log};
    uint64_t records = 77, count = 77;
    st_file *open = image_open(&recorded, NULL);
    CHECK_ERR(st_hash_record_verify(open, &options, &records, &count, &error), ST_ERR_STOPPED,
              ST_NO_OFFSET);
    assert_int_equal(log.count, 2);
    assert_int_equal(count, 77);
    options.reserved[3] = 1;
    CHECK_ERR(st_hash_record_verify(open, &options, &records, &count, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    st_file_close(open);
    st_file_close(file);
    image_free(&recorded);
    image_free(&im);
}

/* An algorithm that is not known is no record to verify by; text that is none of ours is an error with its place. */
static void test_bad_records(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        st_status status;
        uint64_t offset;
    } rows[] = {
        {"st.hash.md5", "?", ST_OK, 0},
        {KEY, "", ST_ERR_JSON, 0},
        {KEY, "[]", ST_ERR_JSON, 0},
        {KEY, "{} x", ST_ERR_JSON, 3},
        {KEY, "{\"b\":5}", ST_ERR_JSON, 5},
        {KEY, "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"digest\":\"00\"}}", ST_ERR_JSON, 40},
        {KEY, "{\"b\":{\"dtype\":\"U8\",\"shape\":[2]}}", ST_ERR_JSON, 5},
    };
    image im;
    image_frame(&im, plain, 3);
    st_file *file = image_open(&im, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        st_metadata entry = {rows[i].key, (uint32_t)strlen(rows[i].key),
                             (uint32_t)strlen(rows[i].value), rows[i].value};
        image recorded = with_record(file, &entry, "x");
        st_file *open = image_open(&recorded, NULL);
        uint64_t records = 77, count = 77;
        CHECK_ERR_TEXT(st_hash_record_verify(open, NULL, &records, &count, &error), rows[i].status,
                       rows[i].offset, rows[i].status ? "metadata " KEY : NULL);
        assert_int_equal(records, rows[i].status ? 77 : 0);
        st_file_close(open);
        image_free(&recorded);
    }
    st_file_close(file);
    image_free(&im);
}

static void test_memory(void **state)
{
    (void)state;
    image im;
    st_hash_record record = {.memory = NULL};
    image_frame(&im, plain, 3);
    st_file *file = image_open(&im, NULL);
    CHECK_OK(record_of(file, &record, &error));
    image recorded = with_record(file, &record.entry, "x");
    st_hash_record_release(&record);
    st_file_close(file);
    ST_OOM_LOOP(context, status)
    {
        st_memory memory = {.data = recorded.bytes, .size = recorded.size};
        uint64_t records, count;
        status = st_file_open_memory(&memory, &(st_open_options){.context = context}, &file, NULL);
        if (status == ST_OK) {
            status = record_of(file, &record, NULL);
            if (status == ST_OK)
                st_hash_record_release(&record);
            if (status == ST_OK)
                status = st_hash_record_verify(file, NULL, &records, &count, NULL);
            st_file_close(file);
        }
    }
    image_free(&recorded);
    image_free(&im);
}

static void test_reads(void **state)
{
    (void)state;
    static const fault_kind kinds[] = {FAULT_EIO, FAULT_SHORT};
    image im;
    st_hash_record record = {.memory = NULL};
    st_context *context = NULL;
    image_frame(&im, plain, 3);
    st_file *file = image_open(&im, NULL);
    CHECK_OK(record_of(file, &record, &error));
    image recorded = with_record(file, &record.entry, "x");
    st_hash_record_release(&record);
    st_file_close(file);
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    for (size_t i = 0; i < 2; i++) {
        ST_FAULT_LOOP(source, status, kinds[i], recorded.bytes, recorded.size)
        {
            uint64_t records, count;
            status =
                st_file_open_source(source, &(st_open_options){.context = context}, &file, NULL);
            if (status == ST_OK) {
                status = st_hash_record_verify(file, NULL, &records, &count, NULL);
                st_file_close(file);
            }
        }
    }
    st_context_release(context);
    image_free(&recorded);
    image_free(&im);
}

/* A record takes the place of all that there are, also where the edit has removed them. */
static void test_set(void **state)
{
    (void)state;
    sample_file sample;
    sample_frame(&sample,
                 "{\"__metadata__\":{\"st.hash.old\":\"1\",\"st.hash.xxh3\":\"2\",\"k\":\"v\"},"
                 "\"x\":{\"dtype\":\"U8\",\"shape\":[4256],\"data_offsets\":[0,4256]}}");
    for (int removed = 0; removed < 2; removed++) {
        st_file *file = bytes_open(sample.bytes, sample.size, "sample");
        st_hash_record record = {.memory = NULL};
        st_edit *edit;
        edited made;
        CHECK_OK(record_of(file, &record, &error));
        CHECK_OK(st_edit_new(file, NULL, &edit, &error));
        if (removed)
            CHECK_OK(st_edit_remove_metadata(edit, "st.hash.old", 11, &error));
        CHECK_OK(st_hash_record_set(&record, file, edit, &error));
        edited_make(&made, edit, false);
        const st_header *header = st_file_header(made.file);
        assert_int_equal(st_header_metadata_count(header), 2);
        assert_non_null(st_header_metadata_find(header, "k", 1));
        const st_metadata *now = st_header_metadata_find(header, "st.hash.xxh3", 12);
        assert_non_null(now);
        assert_int_equal(now->value_len, record.entry.value_len);
        assert_memory_equal(now->value, record.entry.value, now->value_len);
        edited_close(&made);
        st_edit_free(edit);
        st_hash_record_release(&record);
        st_file_close(file);
    }
}

static void test_difference_names(void **state)
{
    static const char *const names[] = {NULL,    "size",  "file",  "data",   "missing",
                                        "extra", "dtype", "shape", "tensor", NULL};
    (void)state;
    for (int32_t kind = 0; kind < 10; kind++) {
        const char *name = st_difference_name(kind);
        assert_true(name ? names[kind] && strcmp(name, names[kind]) == 0 : !names[kind]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),         cmocka_unit_test(test_difference_names),
        cmocka_unit_test(test_text),        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_verify),      cmocka_unit_test(test_other_tensors),
        cmocka_unit_test(test_bad_records), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
