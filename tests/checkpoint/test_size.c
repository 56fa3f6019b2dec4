/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes as people write them. What huggingface_hub makes of a text is compared with it in
 * tests/differential/test_split.py. */
#include "support/check.h"

#include <safetensors/checkpoint.h>

#include <string.h>

typedef struct size_case {
    const char *text;
    uint64_t bytes;
} size_case;

static void check_size(uint32_t flags, const size_case *one)
{
    uint64_t bytes = 1;
    CHECK_OK(st_size_parse(one->text, strlen(one->text), flags, &bytes, &error));
    if (bytes != one->bytes)
        fail_msg("%s: %llu", one->text, (unsigned long long)bytes);
}

static void check_refused(uint32_t flags, const char *text, const char *why)
{
    uint64_t bytes = 77;
    CHECK_ERR_TEXT(st_size_parse(text, strlen(text), flags, &bytes, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, why);
    assert_int_equal(bytes, 77);
}

static void test_ours(void **state)
{
    (void)state;
    static const size_case cases[] = {
        {"0", 0},
        {"5", 5},
        {"5B", 5},
        {"5b", 5},
        {"007", 7},
        {"5KB", 5000},
        {"5kB", 5000},
        {"5MB", 5000000},
        {"5GB", 5000000000},
        {"5TB", 5000000000000},
        {"5KiB", 5120},
        {"5kib", 5120},
        {"5MIB", 5242880},
        {"5GiB", 5368709120},
        {"5TiB", 5497558138880},
        {"1.5GB", 1500000000},
        {"0.29KB", 290},
        {"1.005KB", 1005},
        {"1.0009KB", 1000},
        {"0.9B", 0},
        {"0.00000000000090949470177292823791503906250TiB", 1},
        {"0.00000000000090949470177292823791503906249TiB", 0},
        {" \t5 GB\n", 5000000000},
        {"18446744073709551615", UINT64_MAX},
        {"18446744073709551.615KB", UINT64_MAX},
        {"16777215.99999999999999999999999TiB", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_size(0, &cases[i]);
}

static void test_ours_refused(void **state)
{
    (void)state;
    static const char *const bits[] = {"5Gb", "5kb", "5mb", "5tb", "5.5 Tb"};
    static const char *const units[] = {"5G",  "5K",    "5PB",   "5GBs",  "5iB", "5 G B",
                                        "5e3", "1_000", "5GiBB", "5.5.5", "5-"};
    static const char *const numbers[] = {"", " ", "GB", ".5GB", "-5GB", "+5", "five", "\xff"};
    static const char *const large[] = {"18446744073709551616", "16777216TiB",
                                        "18446744073709551.616KB",
                                        "99999999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        check_refused(0, bits[i], "may mean bits");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        check_refused(0, units[i], "unit");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        check_refused(0, numbers[i], "does not begin with a digit");
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        check_refused(0, large[i], "2^64");
    check_refused(0, "5.GB", "behind its point");
    check_refused(2, "5GB", "flags");
    CHECK_ERR(st_size_parse("5GB\0", 4, 0, &(uint64_t){0}, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
}

static void test_hub(void **state)
{
    (void)state;
    static const size_case cases[] = {
        {"5GB", 5000000000},
        {"5gb", 5000000000},
        {"5Gb", 5000000000},
        {" 5 tB ", 5000000000000},
        {"5.KB", 5000},
        {".5KB", 500},
        {"1e3KB", 1000000},
        {"1_000kb", 1000000},
        {"+5KB", 5000},
        {"-0KB", 0},
        {"-0.0001KB", 0},
        {"0.29KB", 290},
        {"1.005KB", 1004}, /* as 1.005 * 1000 is in doubles */
        {"007KB", 7000},
        {"1.0e-3KB", 1},
        {"18446744073GB", 18446744072999999488u},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_size(ST_SIZE_HUB, &cases[i]);
}

static void test_hub_refused(void **state)
{
    (void)state;
    static const char *const units[] = {"5GiB", "5", "5B", "", "B", "5G", "5PB"};
    static const char *const numbers[] = {"GB",      "xGB",     "1__0GB", "_1GB", "1_GB",  "1e GB",
                                          ".GB",     "infGB",   "nanGB",  "1eGB", "0x5GB", "1 2GB",
                                          "1e400GB", "1.2.3GB", "e5GB",   "+-5GB"};
    static const char *const large[] = {"18446744074GB", "1e300GB", "1e20KB"};
    char longest[600];
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        check_refused(ST_SIZE_HUB, units[i], "unit");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        check_refused(ST_SIZE_HUB, numbers[i], "no number");
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        check_refused(ST_SIZE_HUB, large[i], "2^64");
    check_refused(ST_SIZE_HUB, "-5GB", "negative");
    memset(longest, '1', sizeof longest);
    memcpy(longest + sizeof longest - 3, "KB", 3);
    check_refused(ST_SIZE_HUB, longest, "no number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours),
        cmocka_unit_test(test_ours_refused),
        cmocka_unit_test(test_hub),
        cmocka_unit_test(test_hub_refused),
    };
    return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
