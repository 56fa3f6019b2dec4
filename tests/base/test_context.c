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
    assert_int_equal(st__context_header_memory(context), 64 << 20);
    assert_int_equal(st__context_header_memory(NULL), 0);
    assert_int_equal(st__context_descriptors(context), 0);
    assert_int_equal(st__context_descriptors(NULL), 0);
    st_context_release(context);
    st_context_options own = {.max_descriptors = 7, .max_header_memory = 99};
    CHECK_OK(st_context_new(&own, &context, &error));
    assert_int_equal(st__context_header_memory(context), 99);
    assert_int_equal(st__context_descriptors(context), 7);
    assert_int_equal(st__context_threads(context), st__context_threads(NULL));
    st_context_release(context);
}

static void test_threads_are_shared(void **state)
{
    (void)state;
    st_context_options options = {.max_threads = 5};
    st_context *context;
    CHECK_OK(st_context_new(&options, &context, &error));
    assert_int_equal(st__context_take_threads(context, 0), 0);
    assert_int_equal(st__context_take_threads(context, 3), 3);
    assert_int_equal(st__context_take_threads(context, 3), 1);
    assert_int_equal(st__context_take_threads(context, 3), 0);
    st__context_give_threads(context, 2);
    assert_int_equal(st__context_take_threads(context, UINT32_MAX), 2);
    st__context_give_threads(context, 0);
    st__context_give_threads(context, 4);
    assert_int_equal(st__context_take_threads(context, 4), 4);
    st__context_give_threads(context, 4);
    st_context_release(context);
    /* Nothing is shared without a context. */
    assert_int_equal(st__context_take_threads(NULL, 3), 3);
    assert_int_equal(st__context_take_threads(NULL, 60), 60);
    st__context_give_threads(NULL, 63);
    st_context_options one = {.max_threads = 1};
    CHECK_OK(st_context_new(&one, &context, &error));
    assert_int_equal(st__context_take_threads(context, 9), 0);
    st_context_release(context);
}

static void test_mounts_are_remembered(void **state)
{
    (void)state;
    st_context *context, *other;
    CHECK_OK(st_context_new(NULL, &context, &error));
    CHECK_OK(st_context_new(NULL, &other, &error));
    assert_int_equal(st__context_refused(context, 0), 0);
    st__context_refuse(context, 0, 0);
    st__context_refuse(context, 0, 8);
    st__context_refuse(context, 0, 16);
    st__context_refuse(context, 5, 1);
    assert_int_equal(st__context_refused(context, 0), 24);
    assert_int_equal(st__context_refused(context, 5), 1);
    assert_int_equal(st__context_refused(context, 6), 0);
    assert_int_equal(st__context_refused(other, 5), 0);
    assert_int_equal(st__context_latency(context, 5), ST_LATENCY_UNKNOWN);
    st__context_latency_learn(context, 5, ST_LATENCY_NETWORK);
    st__context_latency_learn(context, 7, ST_LATENCY_LOCAL);
    assert_int_equal(st__context_latency(context, 5), ST_LATENCY_NETWORK);
    assert_int_equal(st__context_latency(context, 7), ST_LATENCY_LOCAL);
    assert_int_equal(st__context_refused(context, 5), 1);
    assert_int_equal(st__context_refused(context, 7), 0);
    /* Of many mounts the last ones are known, and nothing grows. */
    for (uint64_t device = 100; device < 1100; device++)
        st__context_refuse(context, device, (uint32_t)device);
    assert_int_equal(st__context_refused(context, 0), 0);
    assert_int_equal(st__context_refused(context, 100), 0);
    for (uint64_t device = 1084; device < 1100; device++)
        assert_int_equal(st__context_refused(context, device), device);
    /* Without a context nothing is. */
    st__context_refuse(NULL, 5, 1);
    st__context_latency_learn(NULL, 5, ST_LATENCY_LOCAL);
    assert_int_equal(st__context_refused(NULL, 5), 0);
    assert_int_equal(st__context_latency(NULL, 5), ST_LATENCY_UNKNOWN);
    st_context_release(context);
    st_context_release(other);
}

typedef struct attached {
    st__attachment attachment;
    st_context *context;
    unsigned *frees;
} attached;

static unsigned makes, frees;

static void attached_free(void *self)
{
    attached *a = self;
    ++*a->frees;
    st__free(a->context, a, sizeof *a); /* what it was made of is still there */
}

static st__attachment *attached_make(st_context *context)
{
    attached *a = st__alloc(context, sizeof *a);
    makes++;
    if (!a)
        return NULL;
    *a = (attached){{attached_free, NULL}, context, &frees};
    return &a->attachment;
}

static st__attachment *other_first; /* what another thread attaches meanwhile */

static st__attachment *overtaken_make(st_context *context)
{
    other_first = st__context_attached(context, ST__ATTACHED_MEMORY, attached_make);
    return attached_make(context);
}

static void test_attachments(void **state)
{
    (void)state;
    oom_allocator oom = {.fail_at = 1};
    st_context *context = oom_context_new(&oom);
    makes = frees = 0;
    assert_null(st__context_attached(NULL, ST__ATTACHED_HEADERS, attached_make));
    assert_int_equal(makes, 0);
    assert_null(st__context_attached(context, ST__ATTACHED_HEADERS, attached_make));
    st__attachment *first = st__context_attached(context, ST__ATTACHED_HEADERS, attached_make);
    assert_non_null(first);
    assert_ptr_equal(st__context_attached(context, ST__ATTACHED_HEADERS, attached_make), first);
    assert_int_equal(makes, 2);
    st__attachment *second = st__context_attached(context, ST__ATTACHED_DESCRIPTORS, attached_make);
    assert_ptr_not_equal(first, second);
    /* The one that is there first stays. */
    st__attachment *third = st__context_attached(context, ST__ATTACHED_MEMORY, overtaken_make);
    assert_ptr_equal(third, other_first);
    assert_int_equal(makes, 5);
    assert_int_equal(frees, 1);
    st_context_release(st_context_retain(context));
    assert_int_equal(frees, 1);
    st_context_release(context);
    assert_int_equal(frees, 4);
    assert_int_equal(oom.blocks, 0);
}

typedef struct locked {
    st__attachment attachment;
    st_context *context;
    st__lock lock;
} locked;

static void locked_free(void *self)
{
    locked *l = self;
    st__lock_release(&l->lock);
    st__free(l->context, l, sizeof *l);
}

static st__attachment *locked_make(st_context *context)
{
    locked *l = st__alloc(context, sizeof *l);
    assert_non_null(l);
    l->attachment = (st__attachment){locked_free, &l->lock};
    l->context = context;
    assert_true(st__lock_init(&l->lock));
    return &l->attachment;
}

static bool is_taken(st__attachment *attachment)
{
    bool free = pthread_mutex_trylock(&attachment->lock->mutex) == 0;
    if (free)
        st__lock_drop(attachment->lock);
    return !free;
}

static void test_fork_takes_every_lock(void **state)
{
    (void)state;
    st_context_options options = {.max_threads = 5};
    st_context *context;
    st__attachment *with[2];
    CHECK_OK(st_context_new(&options, &context, &error));
    with[0] = st__context_attached(context, ST__ATTACHED_HEADERS, locked_make);
    assert_non_null(st__context_attached(context, ST__ATTACHED_DESCRIPTORS, attached_make));
    with[1] = st__context_attached(context, ST__ATTACHED_MEMORY, locked_make);
    assert_int_equal(st__context_take_threads(context, 3), 3);
    for (int child = 0; child < 2; child++) {
        st_context_fork_begin(context);
        assert_true(is_taken(with[0]) && is_taken(with[1]));
        st_context_fork_end(context, child);
        assert_false(is_taken(with[0]) || is_taken(with[1]));
        /* The child has none of its parent's threads. */
        assert_int_equal(st__context_take_threads(context, 9), child ? 4 : 1);
    }
    st__context_give_threads(context, 4);
    st_context_release(context);
    st_context_fork_begin(NULL);
    st_context_fork_end(NULL, true);
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
        cmocka_unit_test(test_threads_are_shared),
        cmocka_unit_test(test_mounts_are_remembered),
        cmocka_unit_test(test_attachments),
        cmocka_unit_test(test_fork_takes_every_lock),
        cmocka_unit_test(test_buffer_releases_once),
        cmocka_unit_test(test_buffer_without_memory_keeps_the_callers),
        cmocka_unit_test(test_checked_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
