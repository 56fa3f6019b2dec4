/* SPDX-License-Identifier: Apache-2.0 */
#include "support/oom.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/thread.h"

#include <string.h>

static void test_options_are_judged(void **state)
{
    (void)state;
    st_context *context = NULL;
    st_context_options reserved = {.reserved = {0, 0, 1}};
    CHECK_ERR_TEXT(st_context_new(&reserved, &context, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "reserved");
    st_allocator half = {0};
    st_context_options incomplete = {.allocator = &half};
    CHECK_ERR_TEXT(st_context_new(&incomplete, &context, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "alloc");
    assert_null(context);
    CHECK_OK(st_context_new(NULL, &context, &error));
    assert_ptr_equal(st_context_retain(context), context);
    st_context_release(context);
    st_context_release(context);
    st_context_release(NULL);
    assert_null(st_context_retain(NULL));
}

static void *refuse(void *ctx, size_t size)
{
    (void)ctx;
    (void)size;
    return NULL;
}

static void *refuse_realloc(void *ctx, void *memory, size_t old_size, size_t size)
{
    (void)ctx;
    (void)memory;
    (void)old_size;
    (void)size;
    return NULL;
}

static void free_nothing(void *ctx, void *memory, size_t size)
{
    (void)ctx;
    (void)memory;
    (void)size;
}

static void test_no_memory_for_a_context(void **state)
{
    (void)state;
    st_allocator none = {refuse, refuse_realloc, free_nothing, NULL};
    st_context_options options = {.allocator = &none};
    st_context *context = NULL;
    CHECK_ERR(st_context_new(&options, &context, &error), ST_ERR_NOMEM, ST_NO_OFFSET);
    assert_null(context);
}

static void test_budgets(void **state)
{
    (void)state;
    st_context_options options = {.max_threads = 3, .max_memory = 12345};
    st_context *context;
    CHECK_OK(st_context_new(&options, &context, &error));
    assert_int_equal(st__context_threads(context), 3);
    assert_int_equal(st__context_memory(context), 12345);
    assert_in_range(st__context_threads(NULL), 1, 8);
    assert_int_equal(st__context_memory(NULL), 64 << 20);
    assert_true(st__cpu_count() >= 1);
    st_context_release(context);
}

typedef struct released {
    int times;
    void *data;
    size_t size;
} released;

static void note_release(void *ctx, void *data, size_t size)
{
    released *note = ctx;
    note->times++;
    note->data = data;
    note->size = size;
}

static void test_buffer_releases_once(void **state)
{
    (void)state;
    char bytes[7];
    released note = {0};
    st_memory memory = {bytes, sizeof bytes, note_release, &note};
    st_buffer *buffer;
    CHECK_OK(st_buffer_new(NULL, &memory, &buffer, &error));
    assert_ptr_equal(st_buffer_data(buffer), bytes);
    assert_int_equal(st_buffer_size(buffer), sizeof bytes);
    assert_ptr_equal(st_buffer_retain(buffer), buffer);
    st_buffer_release(buffer);
    assert_int_equal(note.times, 0);
    st_buffer_release(buffer);
    assert_int_equal(note.times, 1);
    assert_ptr_equal(note.data, bytes);
    assert_int_equal(note.size, sizeof bytes);
    st_buffer_release(NULL);
    assert_null(st_buffer_retain(NULL));
}

static void test_buffer_without_memory_keeps_the_callers(void **state)
{
    (void)state;
    released note = {0};
    ST_OOM_LOOP(context, status)
    {
        st_memory memory = {&note, sizeof note, note_release, &note};
        st_buffer *buffer = NULL;
        note.times = 0;
        status = st_buffer_new(context, &memory, &buffer, NULL);
        assert_int_equal(note.times, 0);
        st_buffer_release(buffer);
        assert_int_equal(note.times, status == ST_OK);
    }
}

static void test_checked_arithmetic(void **state)
{
    (void)state;
    uint64_t u;
    size_t z;
    assert_true(st__add_u64(UINT64_MAX - 1, 1, &u) && u == UINT64_MAX);
    assert_false(st__add_u64(UINT64_MAX, 1, &u));
    assert_true(st__mul_u64(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &u));
    assert_false(st__mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &u));
    assert_true(st__mul_u64(0, UINT64_MAX, &u) && u == 0);
    assert_false(st__add_size(SIZE_MAX, 1, &z));
    assert_false(st__mul_size(SIZE_MAX / 2 + 1, 2, &z));
    assert_true(st__mul_size(SIZE_MAX / 2, 2, &z));
    assert_true(st__u64_to_size(SIZE_MAX, &z));
    assert_int_equal(st__u64_to_size(UINT64_MAX, &z), sizeof z == 8);
    assert_null(st__alloc_zeroed(NULL, SIZE_MAX, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_are_judged),
        cmocka_unit_test(test_no_memory_for_a_context),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_buffer_releases_once),
        cmocka_unit_test(test_buffer_without_memory_keeps_the_callers),
        cmocka_unit_test(test_checked_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
