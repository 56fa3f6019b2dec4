/* SPDX-License-Identifier: Apache-2.0 */
/* The rule by which tensors go into shards, against a plain one, and the least limit for a number of shards. */
#include "checkpoint/split_rule.h"
#include "support/check.h"
#include "support/oom.h"
#include "support/random.h"

#include <stdio.h>
#include <string.h>

#define MOST 40

/* As huggingface_hub describes it: lists of shards, each filled until something does not fit. */
static size_t plain_assign(const uint64_t *sizes, size_t count, uint64_t limit, uint32_t *shard)
{
    size_t shards = 0, open[MOST], opened = 0, empty = count;
    uint64_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] == 0 && empty < count)
            continue;
        if (sizes[i] == 0)
            empty = i;
        if (sizes[i] > limit) {
            shard[i] = (uint32_t)shards++;
            continue;
        }
        if (filled + sizes[i] > limit) {
            for (size_t j = 0; j < opened; j++)
                shard[open[j]] = (uint32_t)shards;
            shards++;
            opened = 0;
            filled = 0;
        }
        open[opened++] = i;
        filled += sizes[i];
    }
    for (size_t j = 0; j < opened; j++)
        shard[open[j]] = (uint32_t)shards;
    for (size_t i = empty; i < count; i++)
        if (sizes[i] == 0)
            shard[i] = shard[empty];
    return shards + (opened > 0);
}

static void check_golden(const char *sizes_text, uint64_t limit, const char *expected)
{
    uint64_t sizes[MOST] = {0};
    uint32_t shard[MOST];
    char text[256] = "";
    size_t count = 0;
    for (const char *p = sizes_text; *p; p++)
        if (*p != ' ')
            sizes[count++] = (uint64_t)(*p - '0');
    size_t shards = st__split_assign(sizes, count, limit, shard);
    for (size_t i = 0; i < count; i++) {
        assert_true(shard[i] < shards);
        sprintf(text + strlen(text), "%s%u", i ? " " : "", shard[i]);
    }
    assert_string_equal(text, expected);
}

static void test_golden(void **state)
{
    (void)state;
    check_golden("", 10, "");
    check_golden("6 6 2 6 2 2", 10, "0 1 1 2 2 2");
    check_golden("5 5", 10, "0 0");
    check_golden("5 5 1", 10, "0 0 1");
    check_golden("1 9 1 9 1", 4, "2 0 2 1 2"); /* the large ones come first */
    check_golden("1 9 4 1", 4, "1 0 2 3");
    check_golden("9", 4, "0");
    check_golden("0 5 0", 5, "0 0 0");
    check_golden("0 9 0", 5, "1 0 1");
    check_golden("3 3 0 3 0", 5, "0 1 1 2 1");
    check_golden("0 5 5 0", 5, "0 0 1 0");
}

static void test_random(void **state)
{
    (void)state;
    random_state = 1;
    for (int round = 0; round < 20000; round++) {
        uint64_t sizes[MOST] = {0}, most = 1 + random_below(12);
        uint32_t got[MOST], expected[MOST];
        size_t count = (size_t)random_below(MOST);
        uint64_t limit = 1 + random_below(16);
        for (size_t i = 0; i < count; i++)
            sizes[i] = random_below(most);
        size_t shards = st__split_assign(sizes, count, limit, got);
        assert_int_equal(shards, plain_assign(sizes, count, limit, expected));
        assert_int_equal(shards, st__split_assign(sizes, count, limit, NULL));
        assert_memory_equal(got, expected, count * sizeof *got);
    }
}

/* The first limit of all that does. */
static void test_limit(void **state)
{
    (void)state;
    random_state = 2;
    for (int round = 0; round < 4000; round++) {
        uint64_t sizes[MOST] = {0}, limit, least = 1, most = 1 + random_below(12);
        size_t count = (size_t)random_below(MOST);
        uint64_t shards = 1 + random_below(MOST);
        for (size_t i = 0; i < count; i++)
            sizes[i] = random_below(most);
        CHECK_OK(st__split_limit_find(NULL, sizes, count, shards, &limit, &error));
        while (st__split_assign(sizes, count, least, NULL) > shards)
            least++;
        assert_int_equal(limit, least);
    }
    /* More shards by a larger limit. */
    static const uint64_t grows[] = {1, 5, 1, 5, 1};
    uint64_t limit;
    CHECK_OK(st__split_limit_find(NULL, grows, 5, 3, &limit, &error));
    assert_int_equal(limit, 3);
    assert_int_equal(st__split_assign(grows, 5, 5, NULL), 5);
    static const uint64_t huge[] = {UINT64_MAX - 5, 2, 3};
    CHECK_OK(st__split_limit_find(NULL, huge, 3, 1, &limit, &error));
    assert_int_equal(limit, UINT64_MAX);
    CHECK_OK(st__split_limit_find(NULL, huge, 3, 2, &limit, &error));
    assert_int_equal(limit, 5);
}

/* Each limit is tried in one pass, and those that cannot be it are not tried. */
static void test_limit_many(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    static uint64_t sizes[MANY];
    uint64_t limit;
    for (size_t i = 0; i < MANY; i++)
        sizes[i] = i + 1;
    CHECK_OK(st__split_limit_find(NULL, sizes, MANY, 50, &limit, &error));
    assert_true(st__split_assign(sizes, MANY, limit, NULL) <= 50);
    assert_true(st__split_assign(sizes, MANY, limit - 1, NULL) > 50);
    CHECK_OK(st__split_limit_find(NULL, sizes, MANY, MANY, &limit, &error));
    assert_int_equal(limit, 1);
}

static void test_limit_oom(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 5, 1};
    ST_OOM_LOOP(context, status)
    {
        uint64_t limit;
        status = st__split_limit_find(context, sizes, 3, 2, &limit, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),    cmocka_unit_test(test_random),
        cmocka_unit_test(test_limit),     cmocka_unit_test(test_limit_many),
        cmocka_unit_test(test_limit_oom),
    };
    return cmocka_run_group_tests_name("split_rule", tests, NULL, NULL);
}
