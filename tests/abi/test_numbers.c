/* SPDX-License-Identifier: Apache-2.0 */
/* The numbers of the public constants: they are in compiled programs and never change. */
#include "support/check.h"

#include <safetensors/checkpoint.h>
#include <safetensors/inspect.h>
#include <safetensors/json.h>
#include <safetensors/load.h>
#include <string.h>

typedef struct number {
    const char *name;
    int64_t is;
    int64_t must_be;
} number;

static const struct {
    st_status status;
    int32_t number;
    const char *name;
} statuses[] = {
    {ST_OK, 0, "ST_OK"},
    {ST_ERR_NOMEM, 1, "ST_ERR_NOMEM"},
    {ST_ERR_IO, 2, "ST_ERR_IO"},
    {ST_ERR_NOT_REGULAR, 3, "ST_ERR_NOT_REGULAR"},
    {ST_ERR_SHORT_READ, 4, "ST_ERR_SHORT_READ"},
    {ST_ERR_CHANGED, 5, "ST_ERR_CHANGED"},
    {ST_ERR_UNSUPPORTED, 6, "ST_ERR_UNSUPPORTED"},
    {ST_ERR_TOO_BIG, 7, "ST_ERR_TOO_BIG"},
    {ST_ERR_HEADER_TOO_SMALL, 20, "ST_ERR_HEADER_TOO_SMALL"},
    {ST_ERR_HEADER_TOO_LARGE, 21, "ST_ERR_HEADER_TOO_LARGE"},
    {ST_ERR_HEADER_LENGTH, 22, "ST_ERR_HEADER_LENGTH"},
    {ST_ERR_HEADER_UTF8, 23, "ST_ERR_HEADER_UTF8"},
    {ST_ERR_HEADER_JSON, 24, "ST_ERR_HEADER_JSON"},
    {ST_ERR_HEADER_DEPTH, 25, "ST_ERR_HEADER_DEPTH"},
    {ST_ERR_HEADER_TYPE, 26, "ST_ERR_HEADER_TYPE"},
    {ST_ERR_METADATA_TYPE, 27, "ST_ERR_METADATA_TYPE"},
    {ST_ERR_METADATA_TWICE, 28, "ST_ERR_METADATA_TWICE"},
    {ST_ERR_METADATA_DUPLICATE, 29, "ST_ERR_METADATA_DUPLICATE"},
    {ST_ERR_ENTRY_TYPE, 30, "ST_ERR_ENTRY_TYPE"},
    {ST_ERR_FIELD_MISSING, 31, "ST_ERR_FIELD_MISSING"},
    {ST_ERR_FIELD_DUPLICATE, 32, "ST_ERR_FIELD_DUPLICATE"},
    {ST_ERR_DTYPE_TYPE, 33, "ST_ERR_DTYPE_TYPE"},
    {ST_ERR_DTYPE_UNKNOWN, 34, "ST_ERR_DTYPE_UNKNOWN"},
    {ST_ERR_SHAPE_TYPE, 35, "ST_ERR_SHAPE_TYPE"},
    {ST_ERR_OFFSETS_TYPE, 36, "ST_ERR_OFFSETS_TYPE"},
    {ST_ERR_NAME_DUPLICATE, 37, "ST_ERR_NAME_DUPLICATE"},
    {ST_ERR_OFFSETS, 38, "ST_ERR_OFFSETS"},
    {ST_ERR_OVERFLOW, 39, "ST_ERR_OVERFLOW"},
    {ST_ERR_MISALIGNED, 40, "ST_ERR_MISALIGNED"},
    {ST_ERR_SIZE_MISMATCH, 41, "ST_ERR_SIZE_MISMATCH"},
    {ST_ERR_FILE_TRUNCATED, 42, "ST_ERR_FILE_TRUNCATED"},
    {ST_ERR_TRAILING_BYTES, 43, "ST_ERR_TRAILING_BYTES"},
    {ST_ERR_JSON, 50, "ST_ERR_JSON"},
    {ST_ERR_SHARD_NAME, 51, "ST_ERR_SHARD_NAME"},
    {ST_ERR_SHARD_TENSOR, 52, "ST_ERR_SHARD_TENSOR"},
    {ST_ERR_JOURNAL, 53, "ST_ERR_JOURNAL"},
    {ST_ERR_NOT_FOUND, 60, "ST_ERR_NOT_FOUND"},
    {ST_ERR_ARGUMENT, 61, "ST_ERR_ARGUMENT"},
    {ST_ERR_INDEX, 62, "ST_ERR_INDEX"},
    {ST_ERR_INDEX_MISALIGNED, 63, "ST_ERR_INDEX_MISALIGNED"},
    {ST_ERR_BUFFER_SIZE, 64, "ST_ERR_BUFFER_SIZE"},
    {ST_ERR_STOPPED, 65, "ST_ERR_STOPPED"},
    {ST_ERR_INCOMPLETE, 66, "ST_ERR_INCOMPLETE"},
    {ST_ERR_WRITTEN_TWICE, 67, "ST_ERR_WRITTEN_TWICE"},
    {ST_ERR_NO_ROOM, 68, "ST_ERR_NO_ROOM"},
};

static const struct {
    st_dtype dtype;
    int32_t number;
    const char *code;
    uint32_t bits;
    st_kind kind;
} dtypes[] = {
    {ST_BOOL, 1, "BOOL", 8, ST_KIND_BOOL},
    {ST_U8, 2, "U8", 8, ST_KIND_UINT},
    {ST_I8, 3, "I8", 8, ST_KIND_INT},
    {ST_U16, 4, "U16", 16, ST_KIND_UINT},
    {ST_I16, 5, "I16", 16, ST_KIND_INT},
    {ST_U32, 6, "U32", 32, ST_KIND_UINT},
    {ST_I32, 7, "I32", 32, ST_KIND_INT},
    {ST_U64, 8, "U64", 64, ST_KIND_UINT},
    {ST_I64, 9, "I64", 64, ST_KIND_INT},
    {ST_F16, 10, "F16", 16, ST_KIND_FLOAT},
    {ST_BF16, 11, "BF16", 16, ST_KIND_FLOAT},
    {ST_F32, 12, "F32", 32, ST_KIND_FLOAT},
    {ST_F64, 13, "F64", 64, ST_KIND_FLOAT},
    {ST_C64, 14, "C64", 64, ST_KIND_COMPLEX},
    {ST_F8_E4M3, 15, "F8_E4M3", 8, ST_KIND_FLOAT},
    {ST_F8_E5M2, 16, "F8_E5M2", 8, ST_KIND_FLOAT},
    {ST_F8_E8M0, 17, "F8_E8M0", 8, ST_KIND_FLOAT},
    {ST_F8_E4M3FNUZ, 18, "F8_E4M3FNUZ", 8, ST_KIND_FLOAT},
    {ST_F8_E5M2FNUZ, 19, "F8_E5M2FNUZ", 8, ST_KIND_FLOAT},
    {ST_F6_E2M3, 20, "F6_E2M3", 6, ST_KIND_FLOAT},
    {ST_F6_E3M2, 21, "F6_E3M2", 6, ST_KIND_FLOAT},
    {ST_F4, 22, "F4", 4, ST_KIND_FLOAT},
};

#define ROW(constant, number)              \
 {                                         \
#  constant, (int64_t)(constant), (number) \
 }

static const number numbers[] = {
    ROW(ST_DTYPE_COUNT, 22),
    ROW(ST_DTYPE_UNKNOWN, 1073741824),
    ROW(ST_KIND_BOOL, 1),
    ROW(ST_KIND_UINT, 2),
    ROW(ST_KIND_INT, 3),
    ROW(ST_KIND_FLOAT, 4),
    ROW(ST_KIND_COMPLEX, 5),
    ROW(ST_ELEMENT_TEXT_SIZE, 64),
    ROW(ST_HEADER_MAX, 100000000),
    ROW(ST_OPEN_UPSTREAM, 1),
    ROW(ST_OPEN_UNKNOWN_DTYPES, 2),
    ROW(ST_IO_AUTO, 0),
    ROW(ST_IO_PREAD, 1),
    ROW(ST_IO_MAP, 2),
    ROW(ST_IO_DIRECT, 3),
    ROW(ST_IO_URING, 4),
    ROW(ST_IO_DONTCACHE, 5),
    ROW(ST_IO_POPULATE, 6),
    ROW(ST_LOAD_VIEWS, 1),
    ROW(ST_INDEX_INTEGER, 1),
    ROW(ST_INDEX_SLICE, 2),
    ROW(ST_INDEX_ELLIPSIS, 3),
    ROW(ST_INDEX_NEWAXIS, 4),
    ROW(ST_INDEX_START, 1),
    ROW(ST_INDEX_STOP, 2),
    ROW(ST_INDEX_STEP, 4),
    ROW(ST_LATENCY_UNKNOWN, 0),
    ROW(ST_LATENCY_MEMORY, 1),
    ROW(ST_LATENCY_LOCAL, 2),
    ROW(ST_LATENCY_NETWORK, 3),
    ROW(ST_MAP_SHARED, 1),
    ROW(ST_MAP_PRIVATE, 2),
    ROW(ST_DURABLE_NAME, 0),
    ROW(ST_DURABLE_FILE, 1),
    ROW(ST_DURABLE_NONE, 2),
    ROW(ST_CACHE_AUTO, 0),
    ROW(ST_CACHE_KEEP, 1),
    ROW(ST_CACHE_DROP, 2),
    ROW(ST_SINK_NEW, 1),
    ROW(ST_SINK_SEQUENTIAL, 1),
    ROW(ST_ORDER_CANONICAL, 0),
    ROW(ST_ORDER_ADDED, 1),
    ROW(ST_EDIT_ORDER_FILE, 0),
    ROW(ST_EDIT_ORDER_CANONICAL, 1),
    ROW(ST_EDIT_ORDER_NAME, 2),
    ROW(ST_CAT_METADATA_SAME, 0),
    ROW(ST_CAT_METADATA_FIRST, 1),
    ROW(ST_CAT_METADATA_NONE, 2),
    ROW(ST_RECOVERY_NONE, 0),
    ROW(ST_RECOVERY_UNFINISHED, 1),
    ROW(ST_RECOVERY_FOREIGN, 2),
    ROW(ST_RECOVERY_FORWARD, 3),
    ROW(ST_RECOVERY_BACK, 4),
    ROW(ST_NAME_GLOB, 0),
    ROW(ST_NAME_REGEX, 1),
    ROW(ST_NAME_TEXT, 2),
    ROW(ST_NAME_IGNORE_CASE, 0x100),
    ROW(ST_JSON_END, 0),
    ROW(ST_JSON_OBJECT_BEGIN, 1),
    ROW(ST_JSON_OBJECT_END, 2),
    ROW(ST_JSON_ARRAY_BEGIN, 3),
    ROW(ST_JSON_ARRAY_END, 4),
    ROW(ST_JSON_KEY, 5),
    ROW(ST_JSON_STRING, 6),
    ROW(ST_JSON_NUMBER, 7),
    ROW(ST_JSON_TRUE, 8),
    ROW(ST_JSON_FALSE, 9),
    ROW(ST_JSON_NULL, 10),
    ROW(ST_SEVERITY_ERROR, 1),
    ROW(ST_SEVERITY_WARNING, 2),
    ROW(ST_SEVERITY_NOTE, 3),
    ROW(ST_HASH_SHA256, 1),
    ROW(ST_HASH_XXH3, 2),
    ROW(ST_HASH_XXH128, 3),
    ROW(ST_HASH_FILE, 1),
    ROW(ST_HASH_DATA, 2),
    ROW(ST_HASH_TENSORS, 4),
    ROW(ST_DIFFERENCE_SIZE, 1),
    ROW(ST_DIFFERENCE_FILE, 2),
    ROW(ST_DIFFERENCE_DATA, 3),
    ROW(ST_DIFFERENCE_MISSING, 4),
    ROW(ST_DIFFERENCE_EXTRA, 5),
    ROW(ST_DIFFERENCE_DTYPE, 6),
    ROW(ST_DIFFERENCE_SHAPE, 7),
    ROW(ST_DIFFERENCE_TENSOR, 8),
    ROW(ST_COMPARE_METADATA, 1),
    ROW(ST_COMPARE_TENSORS, 2),
    ROW(ST_COMPARE_VALUES, 4),
    ROW(ST_COMPARE_CLOSE, 1),
    ROW(ST_COMPARE_EQUAL_NAN, 2),
    ROW(ST_COMPARE_CAST, 4),
    ROW(ST_COMPARE_PLACES, 8),
    ROW(ST_COMPARE_RENAMES, 16),
    ROW(ST_COMPARE_BRIEF, 32),
    ROW(ST_DEVIATION_BYTES, 1),
    ROW(ST_CHANGE_REMOVED, 1),
    ROW(ST_CHANGE_ADDED, 2),
    ROW(ST_CHANGE_RENAMED, 3),
    ROW(ST_CHANGE_CHANGED, 4),
    ROW(ST_APART_DTYPE, 1),
    ROW(ST_APART_SHAPE, 2),
    ROW(ST_APART_VALUES, 4),
    ROW(ST_APART_OFFSET, 8),
    ROW(ST_APART_ORDER, 16),

    ROW(ST_SALVAGE_SAVED, 1),
    ROW(ST_SALVAGE_CHANGED, 2),
    ROW(ST_SALVAGE_LOST, 3),
    ROW(ST_SEARCH_NAMES, 1),
    ROW(ST_SEARCH_KEYS, 2),
    ROW(ST_SEARCH_VALUES, 4),
};

#undef ROW

static void test_statuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        assert_int_equal(statuses[i].status, statuses[i].number);
        assert_string_equal(st_status_name(statuses[i].number), statuses[i].name);
        assert_true(strlen(st_status_text(statuses[i].number)) > 0);
    }
}

/* A status that the map gains must gain a row here. */
static void test_no_status_is_unlisted(void **state)
{
    (void)state;
    size_t named = 0;
    for (st_status status = -1; status < 1000; status++)
        named += strcmp(st_status_name(status), "?") != 0;
    assert_int_equal(named, sizeof statuses / sizeof *statuses);
}

static void test_dtypes(void **state)
{
    (void)state;
    assert_int_equal(sizeof dtypes / sizeof *dtypes, ST_DTYPE_COUNT);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        assert_int_equal(dtypes[i].dtype, dtypes[i].number);
        assert_int_equal(st_dtype_find(dtypes[i].code, strlen(dtypes[i].code)), dtypes[i].number);
        assert_string_equal(st_dtype_code(dtypes[i].number), dtypes[i].code);
        assert_int_equal(st_dtype_bits(dtypes[i].number), dtypes[i].bits);
        assert_int_equal(st_dtype_kind(dtypes[i].number), dtypes[i].kind);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].is != numbers[i].must_be)
            fail_msg("%s is %lld, must be %lld", numbers[i].name, (long long)numbers[i].is,
                     (long long)numbers[i].must_be);
}

static void test_version(void **state)
{
    (void)state;
    assert_int_equal(st_version(), ST_VERSION);
    assert_int_equal(ST_VERSION,
                     ST_VERSION_MAJOR * 10000 + ST_VERSION_MINOR * 100 + ST_VERSION_PATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses), cmocka_unit_test(test_no_status_is_unlisted),
        cmocka_unit_test(test_dtypes),   cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
