/* SPDX-License-Identifier: Apache-2.0 */
#include "support/check.h"
#include "base/error.h"

#include <errno.h>
#include <string.h>

static void test_null_error_is_fine(void **state)
{
    (void)state;
    assert_int_equal(st__fail(NULL, ST_ERR_IO, 3, "x"), ST_ERR_IO);
    assert_int_equal(st__fail_errno(NULL, ST_ERR_IO, EIO, 3, "x"), ST_ERR_IO);
}

static void test_long_messages_are_cut_between_characters(void **state)
{
    (void)state;
    st_error error;
    char text[3 * sizeof error.message];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        st__fail(&error, ST_ERR_IO, 0, "%s", text);
        size_t len = strlen(error.message);
        assert_true(len < sizeof error.message && len + 3 >= sizeof error.message - 1);
        assert_int_equal((len - shift) % 3, 0);
        st__fail_errno(&error, ST_ERR_IO, ENOSPC, 0, "%s", text);
        assert_true(strlen(error.message) < sizeof error.message);
    }
}

static void test_errno_text_is_appended(void **state)
{
    (void)state;
    st_error error;
    assert_int_equal(st__fail_errno(&error, ST_ERR_IO, ENOENT, 9, "model"), ST_ERR_IO);
    assert_int_equal(error.sys_errno, ENOENT);
    assert_int_equal(error.offset, 9);
    assert_string_equal(error.message, "model: No such file or directory");
}

static void test_file_and_tensor_are_said_once(void **state)
{
    (void)state;
    const st_tensor tensor = {.name = "w\n", .name_len = 2};
    st_error error;
    (void)st__fail_errno(&error, ST_ERR_IO, EIO, 7, "a.st: bad");
    assert_int_equal(st__error_locate(&error, ST_ERR_IO, "a.st", &tensor), ST_ERR_IO);
    char first[sizeof error.message];
    memcpy(first, error.message, sizeof first);
    assert_non_null(strstr(first, "a.st: tensor \"w\\n\": bad: "));
    assert_int_equal(error.sys_errno, EIO);
    assert_int_equal(error.offset, 7);
    assert_int_equal(st__error_locate(&error, ST_ERR_IO, "a.st", &tensor), ST_ERR_IO);
    assert_string_equal(error.message, first);
    (void)st__fail(&error, ST_ERR_NOMEM, ST_NO_OFFSET, "none left");
    (void)st__error_locate(&error, ST_ERR_NOMEM, "a.st", NULL);
    assert_string_equal(error.message, "a.st: none left");
    assert_int_equal(st__error_locate(&error, ST_OK, "b.st", NULL), ST_OK);
    assert_string_equal(error.message, "a.st: none left");
    assert_int_equal(st__error_locate(NULL, ST_ERR_IO, "a.st", NULL), ST_ERR_IO);
}

static void test_quoting(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *expected;
    } rows[] = {
        {"w", 1, "\"w\""},
        {"", 0, "\"\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"\x1b[31m", 5, "\"\\u001b[31m\""},
        {"\"\\", 2, "\"\\\"\\\\\""},
        {"\n\r\t", 3, "\"\\n\\r\\t\""},
        {"\xe2\x80\xae"
         "x",
         4, "\"\\u202ex\""},
        {"\xf3\xa0\x80\x81", 4, "\"\\U000e0001\""},
        {"\xc3\xa9", 2, "\"\xc3\xa9\""},
        {"\xc3", 1, "\"\\xc3\""},
        {"\xed\xa0\x80", 3, "\"\\xed\\xa0\\x80\""},
        {"\xc0\x80", 2, "\"\\xc0\\x80\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(st__quote(rows[i].text, rows[i].len).text, rows[i].expected);
    char longer[500];
    memset(longer, 'n', sizeof longer);
    st__quoted quoted = st__quote(longer, sizeof longer);
    assert_true(strlen(quoted.text) < sizeof quoted.text);
    assert_string_equal(quoted.text + strlen(quoted.text) - 5, "n\"...");
}

static void test_every_status_has_name_and_text(void **state)
{
    (void)state;
#define STATUS_ROW(name, number, text)             \
 assert_string_equal(st_status_name(name), #name); \
 assert_string_equal(st_status_text(name), text);  \
 assert_int_equal(name, number);
    ST_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
    assert_string_equal(st_status_name(-1), "?");
    assert_string_equal(st_status_text(9999), "unknown status");
    assert_int_equal(st_version(), ST_VERSION);
}

static void test_utf8_decoding(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        size_t used;
        uint32_t c;
    } rows[] = {
        {"a", 1, 1, 'a'},
        {"\x7f", 1, 1, 0x7f},
        {"\xc2\x80", 2, 2, 0x80},
        {"\xdf\xbf", 2, 2, 0x7ff},
        {"\xe0\xa0\x80", 3, 3, 0x800},
        {"\xef\xbf\xbf", 3, 3, 0xffff},
        {"\xf0\x90\x80\x80", 4, 4, 0x10000},
        {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
        {"\x80", 1, 0, 0},
        {"\xc1\xbf", 2, 0, 0},
        {"\xe0\x9f\xbf", 3, 0, 0},
        {"\xed\xa0\x80", 3, 0, 0},
        {"\xf0\x8f\xbf\xbf", 4, 0, 0},
        {"\xf4\x90\x80\x80", 4, 0, 0},
        {"\xf5\x80\x80\x80", 4, 0, 0},
        {"\xe2\x82", 2, 0, 0},
        {"\xc3(", 2, 0, 0},
        {"\xff", 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t c = 0;
        size_t used = st__utf8_decode((const unsigned char *)rows[i].text, rows[i].len, &c);
        assert_int_equal(used, rows[i].used);
        if (used)
            assert_int_equal(c, rows[i].c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_error_is_fine),
        cmocka_unit_test(test_long_messages_are_cut_between_characters),
        cmocka_unit_test(test_errno_text_is_appended),
        cmocka_unit_test(test_file_and_tensor_are_said_once),
        cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_every_status_has_name_and_text),
        cmocka_unit_test(test_utf8_decoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
