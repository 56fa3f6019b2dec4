/* SPDX-License-Identifier: Apache-2.0 */
/* What is not emitted: tensors and metadata that no header may have, and headers that are too large. */
#include "format/emission.h"

/* Fails, without a place in a file, and leaves the outputs alone. */
#define EMIT_FAILS(emission_, status_, text_)                                                \
 do {                                                                                        \
  unsigned char *bytes_ = NULL;                                                              \
  size_t size_ = 77;                                                                         \
  CHECK_ERR_TEXT(st__header_emit(emission_, &bytes_, &size_, &error), status_, ST_NO_OFFSET, \
                 text_);                                                                     \
  assert_null(bytes_);                                                                       \
  assert_int_equal(size_, 77);                                                               \
 } while (0)

static void test_limit(void **state)
{
    (void)state;
    st_tensor t = tensor_of("attn.0", ST_F32, SHAPE(1, 2, 3));
    st__emission emission = emission_of(&t, 1);
    unsigned char *bytes = NULL;
    emission.max_size = 64;
    size_t size = emit(&emission, &bytes);
    assert_int_equal(size, 72);
    st__free(NULL, bytes, size);
    emission.max_size = 63;
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE,
               "out.safetensors: the header would take 64 bytes, more than the limit of 63");
    emission.max_size = 71;
    emission.reserve = 1; /* the alignment asks for the rest */
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE,
               "would take 72 bytes, more than the limit of 71");
    emission.max_size = ST_HEADER_MAX;
    emission.reserve = ST_HEADER_MAX - 64;
    size = emit(&emission, &bytes);
    assert_int_equal(size, 8 + ST_HEADER_MAX);
    st__free(NULL, bytes, size);
    emission.reserve++;
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE,
               "would take 100000001 bytes, more than the limit of 100000000");
    emission.reserve = UINT64_MAX;
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE,
               "would take 18446744073709551615 bytes, more than the limit of 100000000");
    emission.reserve = UINT64_MAX - 64;
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE, "18446744073709551615 bytes");
}

/* Counts that cannot be, with nothing behind them. */
static void test_too_many(void **state)
{
    (void)state;
    st__emission emission = emission_of(NULL, UINT32_MAX / 48 + 1);
    emission.max_size = 4294901759u;
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE,
               "take at least 4294967328 bytes, more than the limit of 4294901759");
    emission.count = SIZE_MAX;
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE, "at least");
    emission.count = 0;
    emission.metadata_count = UINT32_MAX / 6 + 1;
    EMIT_FAILS(&emission, ST_ERR_HEADER_TOO_LARGE, "take at least 4294967298 bytes");
}

static void test_duplicates(void **state)
{
    (void)state;
    for (uint32_t order = 0; order < 2; order++) {
        st_tensor tensors[] = {tensor_of("b", ST_F32, SHAPE(1)), tensor_of("a\n", ST_F32, SHAPE(1)),
                               tensor_of("a", ST_F32, SHAPE(1)), tensor_of("a\n", ST_U8, SHAPE(1))};
        st__emission emission = emission_of(tensors, COUNT(tensors));
        emission.order = order;
        EMIT_FAILS(&emission, ST_ERR_NAME_DUPLICATE,
                   "out.safetensors: tensor \"a\\n\": two tensors have this name, number 1 and "
                   "number 3");
    }
    st_metadata entries[] = {entry_of("b\t", ""), entry_of("a", ""), entry_of("b\t", "")};
    st__emission emission = emission_of(NULL, 0);
    emission.metadata = entries;
    emission.metadata_count = COUNT(entries);
    EMIT_FAILS(&emission, ST_ERR_METADATA_DUPLICATE,
               "out.safetensors: metadata key \"b\\t\" is given twice");
}

static void test_what_is_not_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "abcdefghijk\xffxyz"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint64_t size = 77;
        uint32_t name_size = 78;
        st_tensor t = tensor_of(bad[i], ST_F32, SHAPE(1));
        CHECK_ERR_TEXT(st__emission_check(&t, "o", &size, &name_size, &error), ST_ERR_ARGUMENT,
                       ST_NO_OFFSET, ": the name is not UTF-8");
        assert_int_equal(size, 77);
        assert_int_equal(name_size, 78);
        st__emission emission = emission_of(&t, 1);
        EMIT_FAILS(&emission, ST_ERR_ARGUMENT, ": the name is not UTF-8");
        st_metadata entries[] = {entry_of("good", "good"), entry_of(bad[i], "good")};
        emission = emission_of(NULL, 0);
        emission.metadata = entries;
        emission.metadata_count = 2;
        EMIT_FAILS(&emission, ST_ERR_ARGUMENT, "out.safetensors: metadata key \"");
        entries[1] = entry_of("k", bad[i]);
        EMIT_FAILS(&emission, ST_ERR_ARGUMENT,
                   "out.safetensors: the value of metadata key \"k\" is not UTF-8");
    }
}

static const char *bad_code(void *ctx, st_dtype dtype, size_t *code_len)
{
    (void)dtype;
    *code_len = strlen(ctx);
    return ctx;
}

static void test_code_that_is_not_utf8(void **state)
{
    (void)state;
    char code[] = "F\xff";
    st_tensor t = tensor_of("w", ST_DTYPE_UNKNOWN, SHAPE(1));
    st__emission emission = emission_of(&t, 1);
    emission.dtype_code = bad_code;
    emission.ctx = code;
    EMIT_FAILS(&emission, ST_ERR_ARGUMENT,
               "tensor \"w\": the code of its dtype, \"F\\xff\", is not UTF-8");
}

#define BIG UINT64_MAX

static void test_check(void **state)
{
    (void)state;
    const struct {
        st_tensor tensor;
        st_status status;
        uint64_t size;
        const char *text;
    } rows[] = {
        {tensor_of("w", ST_F32, SHAPE(2, 3)), ST_OK, 24, NULL},
        {tensor_of("", ST_F64, SHAPE(1)), ST_OK, 8, NULL},
        {tensor_of("__metadata", ST_F64, SHAPE(0)), ST_OK, 0, NULL},
        {tensor_of("__metadata___", ST_F4, SHAPE(2, 1)), ST_OK, 1, NULL},
        {tensor_of("w", ST_U8, SHAPE(BIG / 8)), ST_OK, BIG / 8, NULL},
        {tensor_of("w", ST_U8, SHAPE(0, BIG, BIG)), ST_OK, 0, NULL},
        {{.name = "w", .name_len = 1, .dtype = ST_DTYPE_UNKNOWN + 63, .begin = 7, .end = 17},
         ST_OK,
         10,
         NULL},
        {tensor_of("__metadata__", ST_F32, SHAPE(1)), ST_ERR_ARGUMENT, 0,
         "f: tensor \"__metadata__\": no tensor may have this name"},
        {tensor_of("w", 0, SHAPE(1)), ST_ERR_DTYPE_UNKNOWN, 0, "f: tensor \"w\": 0 is no dtype"},
        {tensor_of("w", -1, SHAPE(1)), ST_ERR_DTYPE_UNKNOWN, 0, "-1 is no dtype"},
        {tensor_of("w", ST_DTYPE_COUNT + 1, SHAPE(1)), ST_ERR_DTYPE_UNKNOWN, 0, "23 is no dtype"},
        {tensor_of("w", ST_DTYPE_UNKNOWN + 64, SHAPE(1)), ST_ERR_DTYPE_UNKNOWN, 0,
         "f: tensor \"w\": 1073741888 is none of the 64 unknown dtypes that a file may have"},
        {{.name = "w", .name_len = 1, .dtype = ST_DTYPE_UNKNOWN, .begin = 17, .end = 7},
         ST_ERR_ARGUMENT,
         0,
         "f: tensor \"w\": it ends at 7, before it begins at 17"},
        {tensor_of("w\n", ST_U8, SHAPE(BIG / 8 + 1)), ST_ERR_OVERFLOW, 0,
         "f: tensor \"w\\n\": the product of its 1 dimensions and 8 bits exceeds 64 bits"},
        {tensor_of("w", ST_U8, SHAPE(BIG, 2, 0)), ST_ERR_OVERFLOW, 0, "3 dimensions and 8 bits"},
        {tensor_of("w", ST_F4, SHAPE(3, 1)), ST_ERR_MISALIGNED, 0,
         "f: tensor \"w\": its 3 elements of 4 bits do not fill whole bytes; make them a multiple "
         "of 2"},
        {tensor_of("w", ST_F6_E2M3, SHAPE(2, 3)), ST_ERR_MISALIGNED, 0,
         "its 6 elements of 6 bits do not fill whole bytes; make them a multiple of 4"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t size = 77;
        uint32_t name_size = 78;
        st_tensor t = rows[i].tensor;
        CHECK_ERR_TEXT(st__emission_check(&t, "f", &size, &name_size, &error), rows[i].status,
                       ST_NO_OFFSET, rows[i].text);
        assert_int_equal(size, rows[i].status == ST_OK ? rows[i].size : 77);
        assert_int_equal(name_size, rows[i].status == ST_OK ? t.name_len + 2 : 78);
        assert_int_equal(st__emission_check(&t, "f", &size, &name_size, NULL), rows[i].status);
        st__emission emission = emission_of(&t, 1);
        emission.name = "f";
        if (rows[i].status != ST_OK)
            EMIT_FAILS(&emission, rows[i].status, rows[i].text);
    }
}

static void test_sums_that_overflow(void **state)
{
    (void)state;
    st_tensor tensors[9];
    char names[9][2] = {{0}};
    uint64_t shape[] = {UINT64_C(1) << 60};
    for (int i = 0; i < 9; i++) {
        names[i][0] = (char)('a' + i);
        tensors[i] = tensor_of(names[i], ST_U8, shape, 1);
        tensors[i].dtype = ST_DTYPE_UNKNOWN + i % 2;
        tensors[i].end = UINT64_C(1) << 61;
    }
    st__emission emission = emission_of(tensors, 8);
    emission.dtype_code = unknown_code;
    EMIT_FAILS(&emission, ST_ERR_OVERFLOW,
               "out.safetensors: tensor \"g\": its 2305843009213693952 bytes, behind "
               "16140901064495857664 of others, exceed 64 bits");
    /* Up to the last byte that a file can have, and one more. */
    for (uint64_t more = 0; more < 2; more++) {
        unsigned char *bytes = NULL;
        emission = emission_of(tensors, 1);
        emission.dtype_code = unknown_code;
        tensors[0].begin = 0;
        tensors[0].end = UINT64_MAX - 104 + more;
        if (more) {
            EMIT_FAILS(&emission, ST_ERR_OVERFLOW,
                       "out.safetensors: 104 bytes of header and 18446744073709551512 of data "
                       "exceed 64 bits");
        } else {
            assert_int_equal(emit(&emission, &bytes), 104);
            st__free(NULL, bytes, 104);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_what_is_not_utf8),
        cmocka_unit_test(test_code_that_is_not_utf8),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_sums_that_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
