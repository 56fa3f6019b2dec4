/* SPDX-License-Identifier: Apache-2.0 */
/* The order of names against a comparison byte by byte. */
#include "support/check.h"
#include "support/oom.h"
#include "support/random.h"

#include "format/order.h"

#include <stdlib.h>
#include <string.h>

#define MANY     600
#define TEXT_MAX 48

typedef struct record {
    st__key key;
    char text[TEXT_MAX];
} record;

static int compare(const record *a, const record *b)
{
    uint32_t shorter = a->key.len < b->key.len ? a->key.len : b->key.len;
    int order = memcmp(a->text, b->text, shorter);
    return order ? order : (a->key.len > b->key.len) - (a->key.len < b->key.len);
}

static void check_order(const record *records, size_t count)
{
    uint32_t out[MANY + 1];
    bool seen[MANY] = {false};
    memset(out, 0xee, sizeof out);
    CHECK_OK(st__order_by_text(NULL, records, sizeof *records, count, out, &error));
    for (size_t i = 0; i < count; i++) {
        assert_true(out[i] < count);
        assert_false(seen[out[i]]);
        seen[out[i]] = true;
        int order = i ? compare(&records[out[i - 1]], &records[out[i]]) : -1;
        assert_true(order < 0 || (order == 0 && out[i - 1] < out[i]));
    }
    assert_int_equal(out[count], 0xeeeeeeee);
}

/* Few letters and lengths, so that beginnings, whole names and ends in zeros meet often. */
static void record_make(record *r, unsigned letters, uint32_t longest)
{
    r->key = (st__key){r->text, (uint32_t)random_below(longest + 1), 0};
    for (uint32_t i = 0; i < r->key.len; i++)
        r->text[i] = (char)(random_below(12) ? 0xff * random_below(letters) / letters : 'a');
}

static int compare_items(const void *a, const void *b)
{
    return compare(a, b);
}

static void test_against_comparing(void **state)
{
    (void)state;
    record *records = malloc(MANY * sizeof *records);
    random_state = 3;
    for (int round = 0; round < 3000; round++) {
        size_t count = random_below(round % 10 ? 40 : MANY + 1);
        uint32_t longest = (uint32_t)random_below(TEXT_MAX + 1);
        for (size_t i = 0; i < count; i++)
            record_make(&records[i], 1 + (unsigned)random_below(3), longest);
        /* Now and then some ascending runs, as files have. */
        for (size_t i = 0, runs = random_below(20); runs > 0 && runs < 12 && i < count;) {
            size_t n = 1 + random_below(count - i);
            qsort(records + i, n, sizeof *records, compare_items);
            i += n;
        }
        for (size_t i = 0; i < count; i++)
            records[i].key.text = records[i].text;
        check_order(records, count);
    }
    free(records);
}

/* Names that differ late, or only in length. */
static void test_long_beginnings(void **state)
{
    (void)state;
    enum { COUNT = 50, LONG = 20000 };
    record records[COUNT];
    char *text = malloc(LONG + COUNT);
    memset(text, 'x', LONG + COUNT);
    for (size_t i = 0; i < COUNT; i++)
        records[i].key = (st__key){text, (uint32_t)(LONG + i * 7 % COUNT), 0};
    uint32_t out[COUNT];
    CHECK_OK(st__order_by_text(NULL, records, sizeof *records, COUNT, out, &error));
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(out[i] * 7 % COUNT, i);
    free(text);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    record records[40];
    random_state = 8;
    for (size_t i = 0; i < 40; i++)
        record_make(&records[i], 3, 20);
    for (size_t count = 4; count <= 40; count += 36) { /* a few runs; many */
        ST_OOM_LOOP(context, status)
        {
            uint32_t out[40];
            status = st__order_by_text(context, records, sizeof *records, count, out, NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_comparing),
        cmocka_unit_test(test_long_beginnings),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
