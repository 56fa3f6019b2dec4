/* SPDX-License-Identifier: Apache-2.0 */
/* Small pieces of memory, given back all at once. */
#include "base/arena.h"
#include "support/oom.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_pieces(void **state)
{
    (void)state;
    st__arena arena = {0};
    char *texts[2000];
    for (size_t i = 0; i < 2000; i++) {
        char text[32];
        snprintf(text, sizeof text, "%zu", i * 7919);
        uint64_t *aligned = st__arena_take(&arena, 1 + i % 50);
        assert_non_null(aligned);
        assert_int_equal((uintptr_t)aligned % sizeof(uint64_t), 0);
        memset(aligned, 0xff, 1 + i % 50);
        texts[i] = st__arena_text(&arena, text, strlen(text));
    }
    for (size_t i = 0; i < 2000; i++)
        assert_int_equal(strtoul(texts[i], NULL, 10), i * 7919);
    /* Larger than any chunk; and what holds a NUL. */
    char *large = st__arena_take(&arena, (size_t)3 << 20);
    assert_non_null(large);
    memset(large, 1, (size_t)3 << 20);
    assert_memory_equal(st__arena_text(&arena, "a\0b", 3), "a\0b", 4);
    assert_memory_equal(st__arena_text(&arena, NULL, 0), "", 1);
    assert_null(st__arena_take(&arena, SIZE_MAX));
    assert_null(st__arena_take(&arena, SIZE_MAX - 10));
    assert_null(st__arena_text(&arena, "", SIZE_MAX));
    st__arena_release(&arena);
    st__arena_release(&arena);
}

static void test_oom(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st__arena arena = {.context = context};
        status = ST_OK;
        for (size_t i = 0; i < 400 && status == ST_OK; i++)
            status = st__arena_take(&arena, 100) ? ST_OK : ST_ERR_NOMEM;
        st__arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_oom)};
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
