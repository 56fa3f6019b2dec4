/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"
#include "support/check.h"

enum { MOST = 600 };

/* What comes out is in order, and is what went in. */
static void test_order(void **state)
{
    (void)state;
    st__heap_item items[MOST];
    for (size_t count = 0; count <= MOST; count += count < 20 ? 1 : 145) {
        /* Rising, falling, all mixed up, and only seven places. */
        for (unsigned run = 0; run < 4; run++) {
            uint64_t out = 0, last = 0, wanted = 0, given = 0;
            for (size_t i = 0; i < count; i++) {
                uint64_t place = run == 0   ? i
                                 : run == 1 ? count - i
                                 : run == 2 ? i * 2654435761u % 1021
                                            : i % 7;
                st__heap_push(items, i, (st__heap_item){place, &items[i], (size_t)place + i});
                wanted += place * 3 + i;
            }
            for (size_t left = count; left > 0; left--, out++) {
                st__heap_item item = st__heap_pop(items, left);
                assert_true(item.place >= last);
                size_t number = (size_t)((const st__heap_item *)item.data - items);
                assert_int_equal(item.size, item.place + number);
                last = item.place;
                given += item.place * 3 + number;
            }
            assert_int_equal(out, count);
            assert_int_equal(given, wanted);
        }
    }
}

/* Pushed and popped in turn, as a stream does. */
static void test_turns(void **state)
{
    (void)state;
    st__heap_item items[MOST];
    size_t count = 0;
    uint64_t next = 0;
    for (uint64_t round = 0; round < 100; round++) {
        for (uint64_t i = 5; i-- > 0;)
            st__heap_push(items, count++, (st__heap_item){round * 5 + i, NULL, 0});
        for (int i = 0; i < 4; i++)
            assert_int_equal(st__heap_pop(items, count--).place, next++);
    }
    while (count > 0)
        assert_int_equal(st__heap_pop(items, count--).place, next++);
    assert_int_equal(next, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_turns),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
