/* SPDX-License-Identifier: Apache-2.0 */
/* The set of ranges against a bitmap. */
#include "support/check.h"
#include "support/oom.h"
#include "support/random.h"

#include "base/ranges.h"

#include <stdlib.h>
#include <string.h>

static void add_ok(st__ranges *ranges, uint64_t begin, uint64_t end)
{
    uint64_t at = 77;
    assert_int_equal(st__ranges_add(ranges, begin, end, &at), ST_OK);
    assert_int_equal(at, 77);
}

static void add_twice(st__ranges *ranges, uint64_t begin, uint64_t end, uint64_t expected)
{
    uint64_t at = 77, size = ranges->size;
    size_t count = ranges->count;
    assert_int_equal(st__ranges_add(ranges, begin, end, &at), ST_ERR_WRITTEN_TWICE);
    assert_int_equal(at, expected);
    assert_int_equal(ranges->size, size);
    assert_int_equal(ranges->count, count);
}

static void gap_is(const st__ranges *ranges, uint64_t from, uint64_t to, uint64_t begin,
                   uint64_t end)
{
    uint64_t got_begin = 0, got_end = 0;
    assert_true(st__ranges_gap(ranges, from, to, &got_begin, &got_end));
    assert_int_equal(got_begin, begin);
    assert_int_equal(got_end, end);
}

static void no_gap(const st__ranges *ranges, uint64_t from, uint64_t to)
{
    uint64_t begin = 77, end = 77;
    assert_false(st__ranges_gap(ranges, from, to, &begin, &end));
    assert_int_equal(begin, 77);
    assert_int_equal(end, 77);
}

static void test_neighbours_are_joined(void **state)
{
    (void)state;
    st__ranges ranges;
    st__ranges_init(&ranges, NULL);
    gap_is(&ranges, 0, 5, 0, 5);
    no_gap(&ranges, 5, 5);
    add_ok(&ranges, 10, 20);
    add_ok(&ranges, 20, 30); /* behind the last */
    assert_int_equal(ranges.count, 1);
    add_ok(&ranges, 5, 10); /* before it */
    assert_int_equal(ranges.count, 1);
    add_ok(&ranges, 40, 50);
    assert_int_equal(ranges.count, 2);
    gap_is(&ranges, 0, 100, 0, 5);
    gap_is(&ranges, 5, 100, 30, 40);
    gap_is(&ranges, 35, 100, 35, 40);
    gap_is(&ranges, 35, 38, 35, 38);
    gap_is(&ranges, 45, 100, 50, 100);
    no_gap(&ranges, 5, 30);
    no_gap(&ranges, 41, 50);
    add_ok(&ranges, 30, 40); /* between the two */
    assert_int_equal(ranges.count, 1);
    assert_int_equal(ranges.size, 45);
    add_ok(&ranges, 0, 5);
    no_gap(&ranges, 0, 50);
    st__ranges_release(&ranges);
    assert_int_equal(ranges.count, 0);
    gap_is(&ranges, 0, 50, 0, 50);
}

static void test_what_is_there_is_refused(void **state)
{
    (void)state;
    st__ranges ranges;
    st__ranges_init(&ranges, NULL);
    add_ok(&ranges, 10, 20);
    add_ok(&ranges, 30, 40);
    add_twice(&ranges, 10, 20, 10);
    add_twice(&ranges, 0, 11, 10);
    add_twice(&ranges, 19, 21, 19);
    add_twice(&ranges, 20, 31, 30);
    add_twice(&ranges, 0, 100, 10);
    add_twice(&ranges, 12, 13, 12);
    add_twice(&ranges, 39, 50, 39);
    /* A refusal forgets nothing of where the last addition was. */
    add_ok(&ranges, 40, 50);
    add_twice(&ranges, 49, 60, 49);
    add_ok(&ranges, 25, 30);
    add_ok(&ranges, 50, 50); /* nothing */
    assert_int_equal(ranges.size, 35);
    assert_int_equal(ranges.count, 2);
    st__ranges_release(&ranges);
}

/* Going on behind the last addition must see what lies ahead, also where that came or went meanwhile. */
static void test_going_on_meets_the_next(void **state)
{
    (void)state;
    st__ranges ranges;
    st__ranges_init(&ranges, NULL);
    add_ok(&ranges, 100, 200);
    add_ok(&ranges, 0, 10);
    add_ok(&ranges, 10, 20);
    add_twice(&ranges, 20, 101, 100);
    add_ok(&ranges, 20, 99);
    add_ok(&ranges, 99, 100);
    assert_int_equal(ranges.count, 1);
    add_ok(&ranges, 200, 300);
    add_ok(&ranges, 400, 500);
    add_ok(&ranges, 350, 400); /* joins what is behind, beyond which nothing is */
    add_ok(&ranges, 600, 700);
    add_ok(&ranges, 550, 600);
    add_ok(&ranges, 500, 520);
    add_twice(&ranges, 520, 551, 550);
    add_ok(&ranges, 520, 550);
    add_ok(&ranges, 700, 800);
    assert_int_equal(ranges.count, 2);
    no_gap(&ranges, 350, 800);
    gap_is(&ranges, 0, 800, 300, 350);
    st__ranges_release(&ranges);
}

static void test_the_highest_integers(void **state)
{
    (void)state;
    st__ranges ranges;
    st__ranges_init(&ranges, NULL);
    add_ok(&ranges, UINT64_MAX - 10, UINT64_MAX - 5);
    add_ok(&ranges, UINT64_MAX - 5, UINT64_MAX);
    assert_int_equal(ranges.count, 1);
    add_twice(&ranges, UINT64_MAX - 1, UINT64_MAX, UINT64_MAX - 1);
    add_ok(&ranges, 0, UINT64_MAX - 10);
    assert_int_equal(ranges.size, UINT64_MAX);
    assert_int_equal(ranges.count, 1);
    no_gap(&ranges, 0, UINT64_MAX);
    add_twice(&ranges, 0, UINT64_MAX, 0);
    st__ranges_release(&ranges);
}

/* ----------------------------------------------------------------------------------- oracle */

#define WIDTH 300

typedef struct bitmap {
    bool has[WIDTH];
} bitmap;

/* The lowest integer of [begin, end) that is there (`there`) or is not; `end`: none. */
static uint64_t bitmap_first(const bitmap *map, uint64_t begin, uint64_t end, bool there)
{
    while (begin < end && map->has[begin] != there)
        begin++;
    return begin;
}

static void bitmap_compare(const bitmap *map, const st__ranges *ranges, uint64_t base)
{
    uint64_t size = 0;
    size_t count = 0;
    for (uint64_t i = 0; i < WIDTH; i++) {
        size += map->has[i];
        count += map->has[i] && (i == 0 || !map->has[i - 1]);
    }
    assert_int_equal(ranges->size, size);
    assert_int_equal(ranges->count, count);
    for (int i = 0; i < 4; i++) {
        uint64_t from = random_below(WIDTH), to = from + random_below(WIDTH - from + 1);
        uint64_t begin = bitmap_first(map, from, to, false);
        if (begin == to)
            no_gap(ranges, base + from, base + to);
        else
            gap_is(ranges, base + from, base + to, base + begin,
                   base + bitmap_first(map, begin, to, true));
    }
}

static void oracle_add(bitmap *map, st__ranges *ranges, uint64_t base, uint64_t begin, uint64_t end)
{
    uint64_t twice = bitmap_first(map, begin, end, true);
    if (twice < end) {
        add_twice(ranges, base + begin, base + end, base + twice);
        return;
    }
    add_ok(ranges, base + begin, base + end);
    for (uint64_t i = begin; i < end; i++)
        map->has[i] = true;
}

static void test_against_a_bitmap(void **state)
{
    (void)state;
    random_state = 4;
    for (int round = 0; round < 2000; round++) {
        uint64_t base = round % 2 ? UINT64_MAX - WIDTH : 0, last = 0;
        uint64_t longest = 1 + random_below(round % 3 ? 6 : 40);
        st__ranges ranges;
        bitmap map = {{false}};
        oom_allocator oom = {0};
        st_context *context = oom_context_new(&oom);
        st__ranges_init(&ranges, context);
        for (int i = 0; i < 120; i++) {
            uint64_t begin = random_below(3) ? random_below(WIDTH) : last, end;
            if (!random_below(4)) /* a gap, filled exactly */
                begin = bitmap_first(&map, begin, WIDTH, false);
            end = random_below(8) ? begin + random_below(longest + 1)
                                  : bitmap_first(&map, begin, WIDTH, true);
            end = end > WIDTH ? WIDTH : end;
            oracle_add(&map, &ranges, base, begin, end);
            last = end % WIDTH;
            bitmap_compare(&map, &ranges, base);
        }
        st__ranges_release(&ranges);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
}

/* ------------------------------------------------------------------------------------ scale */

/* Orders in which a search tree without balance, or a list, takes minutes. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    uint32_t *order = malloc(COUNT * sizeof *order);
    random_state = 9;
    for (int kind = 0; kind < 3; kind++) {
        st__ranges ranges;
        st__ranges_init(&ranges, NULL);
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t j = kind == 0 ? (uint32_t)random_below(i + 1) : i;
            order[i] = order[j];
            order[j] = kind == 1 ? COUNT - 1 - i : i;
        }
        /* Every other one first, so that no two touch. */
        for (uint64_t odd = 0; odd < 2; odd++) {
            for (size_t i = 0; i < COUNT; i++)
                add_ok(&ranges, 14 * (uint64_t)order[i] + 7 * odd,
                       14 * (uint64_t)order[i] + 7 * odd + 7);
            if (!odd)
                assert_int_equal(ranges.count, COUNT);
        }
        assert_int_equal(ranges.count, 1);
        assert_int_equal(ranges.size, 14 * (uint64_t)COUNT);
        st__ranges_release(&ranges);
    }
    free(order);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st__ranges ranges;
        uint64_t at = 0;
        st__ranges_init(&ranges, context);
        for (uint64_t i = 0; i < 20 && status == ST_OK; i++) {
            uint64_t size = ranges.size, count = ranges.count;
            status = st__ranges_add(&ranges, i * 7 % 20 * 10, i * 7 % 20 * 10 + 4, &at);
            if (status == ST_OK)
                continue;
            /* What failed can be tried again. */
            assert_int_equal(ranges.size, size);
            assert_int_equal(ranges.count, count);
            add_ok(&ranges, i * 7 % 20 * 10, i * 7 % 20 * 10 + 4);
        }
        st__ranges_release(&ranges);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours_are_joined),
        cmocka_unit_test(test_what_is_there_is_refused),
        cmocka_unit_test(test_going_on_meets_the_next),
        cmocka_unit_test(test_the_highest_integers),
        cmocka_unit_test(test_against_a_bitmap),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
