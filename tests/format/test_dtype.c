/* SPDX-License-Identifier: Apache-2.0 */
#include <safetensors/safetensors.h>

#include "format/dtype.h"
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

/* The format's table, written down a second time. */
static const struct row {
    const char *code;
    st_dtype dtype;
    uint32_t bits;
    st_kind kind;
} rows[] = {
    {"BOOL", 1, 8, ST_KIND_BOOL},
    {"U8", 2, 8, ST_KIND_UINT},
    {"I8", 3, 8, ST_KIND_INT},
    {"U16", 4, 16, ST_KIND_UINT},
    {"I16", 5, 16, ST_KIND_INT},
    {"U32", 6, 32, ST_KIND_UINT},
    {"I32", 7, 32, ST_KIND_INT},
    {"U64", 8, 64, ST_KIND_UINT},
    {"I64", 9, 64, ST_KIND_INT},
    {"F16", 10, 16, ST_KIND_FLOAT},
    {"BF16", 11, 16, ST_KIND_FLOAT},
    {"F32", 12, 32, ST_KIND_FLOAT},
    {"F64", 13, 64, ST_KIND_FLOAT},
    {"C64", 14, 64, ST_KIND_COMPLEX},
    {"F8_E4M3", 15, 8, ST_KIND_FLOAT},
    {"F8_E5M2", 16, 8, ST_KIND_FLOAT},
    {"F8_E8M0", 17, 8, ST_KIND_FLOAT},
    {"F8_E4M3FNUZ", 18, 8, ST_KIND_FLOAT},
    {"F8_E5M2FNUZ", 19, 8, ST_KIND_FLOAT},
    {"F6_E2M3", 20, 6, ST_KIND_FLOAT},
    {"F6_E3M2", 21, 6, ST_KIND_FLOAT},
    {"F4", 22, 4, ST_KIND_FLOAT},
};

#define ROWS (sizeof rows / sizeof *rows)

/* What the table above says of a text. */
static st_dtype expected_dtype(const char *code, size_t len)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strlen(rows[i].code) == len && memcmp(rows[i].code, code, len) == 0)
            return rows[i].dtype;
    return 0;
}

/* Looks a text up in a block of just its size, so that a sanitizer sees a byte read beyond it. */
static void check_find(const char *code, size_t len)
{
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, code, len);
    st_dtype found = st_dtype_find(copy, len);
    if (found != expected_dtype(code, len))
        print_error("st_dtype_find(\"%.*s\", %zu) is %d\n", (int)len, code, len, (int)found);
    assert_int_equal(found, expected_dtype(code, len));
    free(copy);
}

static void facts_match_the_table(void **state)
{
    (void)state;
    assert_int_equal(ROWS, ST_DTYPE_COUNT);
    for (size_t i = 0; i < ROWS; i++) {
        assert_string_equal(st_dtype_code(rows[i].dtype), rows[i].code);
        assert_int_equal(st_dtype_bits(rows[i].dtype), rows[i].bits);
        assert_int_equal(st_dtype_kind(rows[i].dtype), rows[i].kind);
    }
}

static void unknown_numbers_have_no_facts(void **state)
{
    (void)state;
    static const st_dtype unknown[] = {0, 23, -1, INT32_MIN, INT32_MAX, ST_DTYPE_UNKNOWN};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_null(st_dtype_code(unknown[i]));
        assert_int_equal(st_dtype_bits(unknown[i]), 0);
        assert_int_equal(st_dtype_kind(unknown[i]), 0);
    }
}

static void find_compares_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        char text[16] = {0};
        size_t len = strlen(rows[i].code);
        memcpy(text, rows[i].code, len);
        assert_int_equal(st_dtype_find(text, len), rows[i].dtype);
        for (size_t cut = 0; cut <= len + 2; cut++) /* longer ones end in NUL */
            check_find(text, cut);
        for (size_t at = 0; at < len; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                text[at] = (char)byte;
                check_find(text, len);
            }
            text[at] = rows[i].code[at];
        }
    }
}

static void find_refuses_other_texts(void **state)
{
    (void)state;
    static const char *const others[] = {
        "",           "f32",          "F 32", " F32", "F32 ", "bool",    "F8_E4M4",    "F8_E4M3FN",
        "F8_E4M3FNU", "F8_E5M2FNUZZ", "I4",   "U4",   "C128", "float32", "F8_E4M3FNUX"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(st_dtype_find(others[i], strlen(others[i])), 0);
    char longest[300];
    memset(longest, 'F', sizeof longest);
    for (size_t len = 0; len < sizeof longest; len++)
        assert_int_equal(st_dtype_find(longest, len), 0);
}

static void count_is_the_product_of_the_shape(void **state)
{
    (void)state;
    static const struct {
        uint32_t ndim;
        uint64_t shape[3];
        uint64_t count;
    } cases[] = {
        {0, {0}, 1},
        {1, {7}, 7},
        {1, {0}, 0},
        {3, {2, 3, 5}, 30},
        {3, {0, UINT64_MAX, UINT64_MAX}, 0},
        {3, {UINT64_MAX, UINT64_MAX, 0}, 0},
        {2, {UINT64_MAX, 1}, UINT64_MAX},
        {2, {UINT64_C(1) << 32, UINT64_C(1) << 31}, UINT64_C(1) << 63},
        {2, {UINT64_C(1) << 32, UINT64_C(1) << 32}, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        st_tensor tensor = {.shape = cases[i].shape, .ndim = cases[i].ndim, .dtype = ST_U8};
        assert_true(st_tensor_count(&tensor) == cases[i].count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_match_the_table),
        cmocka_unit_test(unknown_numbers_have_no_facts),
        cmocka_unit_test(find_compares_every_byte),
        cmocka_unit_test(find_refuses_other_texts),
        cmocka_unit_test(count_is_the_product_of_the_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
