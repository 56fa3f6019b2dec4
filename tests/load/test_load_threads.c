/* SPDX-License-Identifier: Apache-2.0 */
/* Loads of several threads: of one context with fewer threads than they want, buffers given back by others, and
 * ended from outside. */
#include "files.h"

#include "base/thread.h"

#include <stdatomic.h>

/* 44 MiB: enough for memory to be made ahead of the reads. */
static const shape shapes_big[] = {
    {"F32", 32, 1024, 1024}, {"F32", 32, 6000, 1000}, {"U8", 8, 10, 7},
    {"BF16", 16, 800, 1000}, {"F32", 32, 3500, 1000},
};
enum { COUNT = 5 };

static sample big;

static int samples_make(void **state)
{
    (void)state;
    random_state = 3;
    sample_make(&big, shapes_big, COUNT, 0);
    return 0;
}

static int samples_drop(void **state)
{
    (void)state;
    sample_drop(&big);
    return 0;
}

static st_context *context_of(uint32_t threads)
{
    st_context *context = NULL;
    st_context_options options = {.max_threads = threads};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

static void items_fill(st_load_item items[COUNT], const st_file *file)
{
    for (size_t i = 0; i < COUNT; i++)
        items[i] = (st_load_item){.file = file, .tensor = st_file_at(file, i)};
}

/* ----------------------------------------------------------------------------- side by side */

typedef struct loader {
    st__thread thread;
    const st_file *file;
    st_context *context;
    uint32_t io;
    uint64_t max_ahead;
    atomic_uint right; /* items */
    st_status status;
} loader;

static void *loader_run(void *arg)
{
    loader *me = arg;
    st_load_item items[COUNT];
    st_load_options options = {.io = me->io, .context = me->context, .max_ahead = me->max_ahead};
    st_load *load = NULL;
    st_loaded got = {.item = 0};
    items_fill(items, me->file);
    me->status = st_load_start(items, COUNT, &options, &load, NULL);
    while (me->status == ST_OK && got.item != ST_LOAD_END) {
        me->status = st_load_next(load, &got, NULL);
        if (me->status != ST_OK || got.item == ST_LOAD_END)
            break;
        me->right += item_is_right(&items[got.item], &big, got.data);
        st_buffer_release(got.buffer);
    }
    st_load_free(load);
    return NULL;
}

static void test_side_by_side(void **state)
{
    (void)state;
    static const uint32_t ways[] = {ST_IO_AUTO, ST_IO_DIRECT, ST_IO_URING, ST_IO_POPULATE};
    for (size_t way = 0; way < 4; way++)
        for (uint32_t threads = 1; threads <= 4; threads += 1 + threads / 2) {
            st_context *context = context_of(threads);
            st_file *file = sample_open(&big, ways[way], context);
            loader loaders[3];
            for (size_t i = 0; i < 3; i++) {
                loaders[i] =
                    (loader){.file = file, .context = context, .max_ahead = i == 1 ? 5 << 20 : 0};
                assert_true(st__thread_start(&loaders[i].thread, loader_run, &loaders[i]));
            }
            for (size_t i = 0; i < 3; i++) {
                st__thread_join(&loaders[i].thread);
                assert_int_equal(loaders[i].status, ST_OK);
                assert_int_equal(loaders[i].right, COUNT);
            }
            st_file_close(file);
            st_context_release(context);
        }
}

/* Two loads in the hands of one thread, of a context that has none to spare. */
static void test_in_turn(void **state)
{
    (void)state;
    st_context *context = context_of(1);
    st_file *file = sample_open(&big, ST_IO_AUTO, context);
    st_load_item items[COUNT];
    st_load_options options = {.context = context, .max_ahead = 1 << 20};
    st_load *loads[2];
    items_fill(items, file);
    for (size_t i = 0; i < 2; i++)
        CHECK_OK(st_load_start(items, COUNT, &options, &loads[i], &error));
    for (size_t i = 0; i < 2 * COUNT; i++) {
        st_loaded got;
        CHECK_OK(st_load_next(loads[i % 2], &got, &error));
        assert_true(item_is_right(&items[got.item], &big, got.data));
        st_buffer_release(got.buffer);
    }
    for (size_t i = 0; i < 2; i++)
        st_load_free(loads[i]);
    st_file_close(file);
    st_context_release(context);
}

/* ------------------------------------------------------------------------------ given back */

/* Buffers on their way to another thread, which lets them go. */
typedef struct giver {
    st__thread thread;
    _Atomic(st_buffer *) slots[COUNT];
    atomic_bool done;
} giver;

static void *giver_run(void *arg)
{
    giver *me = arg;
    bool done;
    do {
        done = atomic_load(&me->done);
        for (size_t i = 0; i < COUNT; i++)
            st_buffer_release(atomic_exchange(&me->slots[i], NULL));
    } while (!done);
    return NULL;
}

static void test_given_back_elsewhere(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        st_context *context = context_of(threads);
        st_file *file = sample_open(&big, ST_IO_AUTO, context);
        st_load_item items[COUNT];
        st_load_options options = {.context = context, .max_ahead = 8 << 20};
        st_load *load = NULL;
        giver other = {.done = false};
        items_fill(items, file);
        assert_true(st__thread_start(&other.thread, giver_run, &other));
        CHECK_OK(st_load_start(items, COUNT, &options, &load, &error));
        for (size_t i = 0; i < COUNT; i++) {
            st_loaded got;
            CHECK_OK(st_load_next(load, &got, &error));
            assert_true(item_is_right(&items[got.item], &big, got.data));
            atomic_store(&other.slots[i], got.buffer);
        }
        st_load_free(load); /* maybe before the last buffer goes */
        atomic_store(&other.done, true);
        st__thread_join(&other.thread);
        st_file_close(file);
        st_context_release(context);
    }
}

/* ----------------------------------------------------------------------------------- ended */

static void *cancel_run(void *arg)
{
    st_load_cancel(arg);
    return NULL;
}

static void test_cancelled_from_outside(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++)
        for (size_t after = 0; after < COUNT; after++) {
            st_context *context = context_of(threads);
            st_file *file = sample_open(&big, after % 2 ? ST_IO_DIRECT : ST_IO_AUTO, context);
            st_load_item items[COUNT];
            st_load_options options = {.context = context};
            st_load *load = NULL;
            st__thread thread;
            st_status status = ST_OK;
            items_fill(items, file);
            CHECK_OK(st_load_start(items, COUNT, &options, &load, &error));
            for (size_t i = 0; i < COUNT && status == ST_OK; i++) {
                st_loaded got;
                if (i == after)
                    assert_true(st__thread_start(&thread, cancel_run, load));
                status = st_load_next(load, &got, NULL);
                if (status == ST_OK) {
                    assert_true(item_is_right(&items[got.item], &big, got.data));
                    st_buffer_release(got.buffer);
                }
            }
            assert_true(status == ST_OK || status == ST_ERR_STOPPED);
            st__thread_join(&thread);
            CHECK_ERR(st_load_next(load, &(st_loaded){.item = 0}, &error), ST_ERR_STOPPED,
                      ST_NO_OFFSET);
            st_load_free(load);
            st_file_close(file);
            st_context_release(context);
        }
}

/* With nobody to take anything: free ends the threads, those that wait for room among them. */
static void test_freed_while_waiting(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        st_context *context = context_of(4);
        st_file *file = sample_open(&big, io, context);
        st_load_item items[COUNT];
        st_load_options options = {.context = context, .max_ahead = 1 << 20};
        st_load *load = NULL;
        st_loaded got;
        items_fill(items, file);
        CHECK_OK(st_load_start(items, COUNT, &options, &load, &error));
        CHECK_OK(st_load_next(load, &got, &error));
        st_load_free(load);
        assert_true(item_is_right(&items[got.item], &big, got.data));
        st_buffer_release(got.buffer);
        st_file_close(file);
        st_context_release(context);
    }
}

/* ----------------------------------------------------------------------------- step by step */

typedef struct step {
    st_load *load;
    const st_load_item *items;
    bool ended;
} step;

static void *step_run(void *arg)
{
    step *s = arg;
    st_loaded got;
    CHECK_OK(st_load_next(s->load, &got, NULL));
    s->ended = got.item == ST_LOAD_END;
    if (!s->ended)
        assert_true(item_is_right(&s->items[got.item], &big, got.data));
    st_buffer_release(got.buffer);
    return NULL;
}

/* A load without threads of its own, each step of it taken by another thread: what serves the first serves all. */
static void test_stepped_in_turn(void **state)
{
    (void)state;
    st_context *context = context_of(1);
    st_file *file = sample_open(&big, ST_IO_URING, context);
    st_load_item items[COUNT];
    st_load_options options = {.context = context, .max_ahead = 1 << 20};
    step s = {.items = items};
    st_explanation first, last;
    items_fill(items, file);
    CHECK_OK(st_load_start(items, COUNT, &options, &s.load, &error));
    step_run(&s);
    st_load_explain(s.load, 0, &first);
    for (bool mine = false; !s.ended; mine = !mine) {
        st__thread other;
        if (mine || !st__thread_start(&other, step_run, &s))
            step_run(&s);
        else
            st__thread_join(&other);
    }
    st_load_explain(s.load, 0, &last);
    assert_int_equal(last.io, first.io);
    st_load_free(s.load);
    st_file_close(file);
    st_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_side_by_side),         cmocka_unit_test(test_in_turn),
        cmocka_unit_test(test_given_back_elsewhere), cmocka_unit_test(test_cancelled_from_outside),
        cmocka_unit_test(test_freed_while_waiting),  cmocka_unit_test(test_stepped_in_turn),
    };
    return cmocka_run_group_tests(tests, samples_make, samples_drop);
}
