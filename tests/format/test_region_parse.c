/* SPDX-License-Identifier: Apache-2.0 */
/* Indices as text: what they mean, and where a fault is pointed at. */
#include "support/check.h"
#include "support/oom.h"

#include <string.h>

typedef struct text_case {
    const char *text;
    st_status status;
    const char *message;
} text_case;

static void test_texts(void **state)
{
    (void)state;
    static const text_case cases[] = {
        {"", ST_OK, NULL},
        {"  ", ST_OK, NULL},
        {"[]", ST_OK, NULL},
        {"()", ST_OK, NULL},
        {" [ ( ) ] ", ST_OK, NULL},
        {"1:3, ..., ::-1, None", ST_OK, NULL},
        {"[1:3,...,newaxis]", ST_OK, NULL},
        {"\t- 1", ST_ERR_INDEX, "a digit is missing at character 3, \" \""},
        {"1 , +1 ,", ST_OK, NULL},
        {"99999999999999999999:-99999999999999999999:-99999999999999999999", ST_OK, NULL},
        {"9223372036854775807", ST_ERR_INDEX, "index 9223372036854775807 is out of range"},
        {"9223372036854775808", ST_ERR_INDEX, "index 9223372036854775807 is out of range"},
        {"-9223372036854775808", ST_ERR_INDEX, "index -9223372036854775808 is out of range"},
        {"-9223372036854775809", ST_ERR_INDEX, "index -9223372036854775808 is out of range"},
        {",", ST_ERR_INDEX, "is expected at character 1, \",\""},
        {"1,,2", ST_ERR_INDEX, "is expected at character 3, \",\""},
        {"1 2", ST_ERR_INDEX, "a comma is expected at character 3, \"2\""},
        {"x", ST_ERR_INDEX, "\"x\""},
        {"1:2:3:4", ST_ERR_INDEX, "a comma is expected at character 6, \":\""},
        {"1:\xc3\xa4", ST_ERR_INDEX, "at character 3, \"\xc3\xa4\""},
        {"1:\x1b", ST_ERR_INDEX, "at character 3, \"\\u001b\""},
        {"[1", ST_ERR_INDEX, "a closing ] is expected at its end"},
        {"1]", ST_ERR_INDEX, "a comma is expected at character 2"},
        {"[1]]", ST_ERR_INDEX, "nothing more is expected at character 4"},
        {"(1)", ST_ERR_INDEX, "a closing ) is expected at character 2"},
        {"() 1", ST_ERR_INDEX, "nothing more is expected at character 4"},
        {"1-", ST_ERR_INDEX, "a comma is expected at character 2"},
        {"1:-", ST_ERR_INDEX, "a digit is missing at its end"},
        {"..", ST_ERR_INDEX, "an integer, a slice, ... or None is expected at character 1"},
        {"..., ...", ST_ERR_INDEX, "at most one ellipsis"},
        {"::0", ST_ERR_INDEX, "step of a slice cannot be 0"},
        {"0, 0, 0, 0", ST_ERR_INDEX, "it has 3 dimensions, and 4 are indexed"},
        {"0, 5", ST_ERR_INDEX, "index 5 is out of range for dimension 1 of size 5"},
        {"0, -6", ST_ERR_INDEX, "index -6 is out of range for dimension 1 of size 5"},
    };
    uint64_t shape[3] = {4, 5, 6};
    st_tensor tensor = {
        .name = "w", .name_len = 1, .shape = shape, .ndim = 3, .dtype = ST_U8, .end = 120};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        st_region region = {0};
        print_message("%s\n", cases[i].text);
        CHECK_ERR_TEXT(
            st_region_parse(&region, NULL, &tensor, cases[i].text, strlen(cases[i].text), &error),
            cases[i].status, ST_NO_OFFSET, cases[i].message);
        st_region_release(&region);
    }
    st_region_release(NULL);
    st_region none = {0};
    CHECK_OK(st_region_parse(&none, NULL, &tensor, NULL, 0, &error));
    assert_int_equal(none.count, 120);
    st_region_release(&none);
}

/* A text and the index it stands for give the same region. */
static void test_text_values(void **state)
{
    (void)state;
    uint64_t shape[3] = {4, 5, 6};
    st_tensor tensor = {
        .name = "w", .name_len = 1, .shape = shape, .ndim = 3, .dtype = ST_U8, .end = 120};
    st_region region;
    CHECK_OK(st_region_parse(&region, NULL, &tensor, "[ -1 , None, 4 : 0 : -2, ... ]", 30, &error));
    assert_int_equal(region.out_ndim, 3);
    assert_int_equal(region.shape[0], 1);
    assert_int_equal(region.shape[1], 2);
    assert_int_equal(region.shape[2], 6);
    assert_int_equal(region.dims[0].at[0].start, 3);
    assert_int_equal(region.dims[1].at[0].start, 4);
    assert_int_equal(region.dims[1].at[0].step, -2);
    assert_int_equal(region.dims[2].at[0].count, 6);
    st_region_release(&region);
}

static void test_memory(void **state)
{
    (void)state;
    uint64_t shape[2] = {4, 5};
    st_tensor tensor = {
        .name = "w", .name_len = 1, .shape = shape, .ndim = 2, .dtype = ST_U8, .end = 20};
    ST_OOM_LOOP(context, status)
    {
        st_region region;
        status = st_region_parse(&region, context, &tensor, "1:, None, ::2", 13, NULL);
        if (status == ST_OK)
            st_region_release(&region);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_text_values),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests_name("region_parse", tests, NULL, NULL);
}
