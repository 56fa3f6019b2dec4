/* SPDX-License-Identifier: Apache-2.0 */
#include <safetensors/json.h>

#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void u64_is_read_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } valid[] = {{"0", 0},
                 {"7", 7},
                 {"18446744073709551615", UINT64_MAX},
                 {"9007199254740993", UINT64_C(9007199254740993)}};
    static const char *const invalid[] = {"",
                                          "-0",
                                          "-1",
                                          "+1",
                                          "01",
                                          "00",
                                          "1.0",
                                          "1e3",
                                          "18446744073709551616",
                                          " 1",
                                          "1 ",
                                          "a",
                                          "0x1",
                                          "1a",
                                          "/",
                                          ":",
                                          "99999999999999999999",
                                          "184467440737095516150"};
    uint64_t value = 99;
    for (size_t i = 0; i < COUNT(valid); i++) {
        assert_true(st_json_parse_u64(valid[i].text, strlen(valid[i].text), &value));
        assert_true(value == valid[i].value);
    }
    value = 99;
    for (size_t i = 0; i < COUNT(invalid); i++)
        assert_false(st_json_parse_u64(invalid[i], strlen(invalid[i]), &value));
    assert_true(value == 99);
    assert_true(st_json_parse_u64("123", 2, &value) && value == 12);
}

/* Gives the number's bits, or all ones if it is refused. */
static uint64_t double_bits(const char *text)
{
    double value = 5;
    size_t len = strlen(text);
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    uint64_t bits = UINT64_MAX;
    if (st_json_parse_double(copy, len, &value))
        memcpy(&bits, &value, sizeof bits);
    else
        assert_true(value == 5);
    free(copy);
    return bits;
}

static void doubles_are_rounded_correctly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bits;
    } cases[] = {
        {"0", 0},
        {"-0", UINT64_C(0x8000000000000000)},
        {"0.000e9999999999999999999999999", 0},
        {"1", UINT64_C(0x3ff0000000000000)},
        {"0.1", UINT64_C(0x3fb999999999999a)},
        {"-1.5E+1", UINT64_C(0xc02e000000000000)},
        {"1e23", UINT64_C(0x44b52d02c7e14af6)},
        /* Half way between two doubles: to even, then just beyond. */
        {"9007199254740993", UINT64_C(0x4340000000000000)},
        {"9007199254740993.00000000000000000000000000000000000000001",
         UINT64_C(0x4340000000000001)},
        {"9007199254740995", UINT64_C(0x4340000000000002)},
        {"4.9e-324", 1},
        {"2.4703282292062327208e-324", 0},
        {"2.4703282292062327209e-324", 1},
        {"2.2250738585072011e-308", UINT64_C(0x000fffffffffffff)},
        {"2.2250738585072012e-308", UINT64_C(0x0010000000000000)},
        {"1.7976931348623157e308", UINT64_C(0x7fefffffffffffff)},
        {"1.7976931348623158e308", UINT64_C(0x7fefffffffffffff)},
        {"1.7976931348623159e308", UINT64_MAX},
        {"1e309", UINT64_MAX},
        {"-1e309", UINT64_MAX},
        {"1e99999999999999999999999999999", UINT64_MAX},
        {"1e-99999999999999999999999999999", 0},
        {"", UINT64_MAX},
        {"-", UINT64_MAX},
        {"+1", UINT64_MAX},
        {"01", UINT64_MAX},
        {"1.", UINT64_MAX},
        {".1", UINT64_MAX},
        {"1e", UINT64_MAX},
        {"1e+", UINT64_MAX},
        {"1e1.5", UINT64_MAX},
        {"1,5", UINT64_MAX},
        {"0x1", UINT64_MAX},
        {"nan", UINT64_MAX},
        {"inf", UINT64_MAX},
        {"1 ", UINT64_MAX},
        {" 1", UINT64_MAX},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        if (double_bits(cases[i].text) != cases[i].bits)
            fail_msg("%s: 0x%llx", cases[i].text, (unsigned long long)double_bits(cases[i].text));
}

/* The point between the least subnormal and 0 has 751 digits; the one that counts may come after
 * them. */
static void digits_count_however_many_there_are(void **state)
{
    (void)state;
    static char text[3000];
    char half[1100];
    snprintf(half, sizeof half, "%.1075f", 0x1p-1074);
    /* Halved by hand, digit by digit. */
    unsigned rest = 0;
    for (char *p = half; *p; p++) {
        if (*p == '.')
            continue;
        unsigned digit = rest * 10 + (unsigned)(*p - '0');
        *p = (char)('0' + digit / 2);
        rest = digit % 2;
    }
    assert_int_equal(rest, 0);
    assert_true(double_bits(half) == 0);
    size_t len = strlen(half);
    memcpy(text, half, len);
    memset(text + len, '0', 1000);
    text[len + 1000] = '\0';
    assert_true(double_bits(text) == 0);
    strcpy(text + len + 1000, "1");
    assert_true(double_bits(text) == 1);

    memset(text, '9', 309);
    strcpy(text + 309, ".5");
    assert_true(double_bits(text) == UINT64_MAX);
    memset(text, '1', 1);
    memset(text + 1, '0', 2000);
    strcpy(text + 2001, "e-2000");
    assert_true(double_bits(text) == UINT64_C(0x3ff0000000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(u64_is_read_exactly),
        cmocka_unit_test(doubles_are_rounded_correctly),
        cmocka_unit_test(digits_count_however_many_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
