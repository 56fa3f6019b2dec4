/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads save into one file past the page cache: each its own part, or by turns the next piece. */
#include "io/scratch_folder.h"
#include "support/random.h"

#include <pthread.h>
#include <stdatomic.h>

#define MIB     ((size_t)1 << 20)
#define SIZE    (24 * MIB + 777)
#define THREADS 12u

static unsigned char *sample; /* at a page */

static int sample_make(void **state)
{
    void *memory;
    if (posix_memalign(&memory, 65536, SIZE + 8))
        return -1;
    sample = memory;
    random_state = 9;
    for (size_t i = 0; i < SIZE; i += 8) {
        uint64_t word = random_next();
        memcpy(sample + i, &word, 8);
    }
    return scratch_folder_make(state);
}

static int sample_drop(void **state)
{
    free(sample);
    return scratch_folder_drop(state);
}

typedef struct saving {
    st_sink *sink;
    const unsigned char *data;
    size_t size;
    size_t piece;     /* 0: each thread has a part of its own */
    atomic_uint next; /* the next piece, or thread */
    atomic_uint failed;
} saving;

static void range_write(saving *s, size_t from, size_t to)
{
    st_bytes piece = {s->data + from, to - from};
    if (from < to && st__sink_write(s->sink, from, &piece, 1, NULL) != ST_OK)
        atomic_fetch_add(&s->failed, 1);
}

static void *saving_run(void *arg)
{
    saving *s = arg;
    if (s->piece) {
        for (size_t at; (at = atomic_fetch_add(&s->next, 1) * s->piece) < s->size;)
            range_write(s, at, at + s->piece < s->size ? at + s->piece : s->size);
        return NULL;
    }
    unsigned number = atomic_fetch_add(&s->next, 1);
    size_t from = s->size / THREADS * number;
    size_t to = number + 1 == THREADS ? s->size : from + s->size / THREADS;
    uint64_t seed = number;
    while (from < to) {
        size_t rest = to - from, cut = random_step(&seed) % (500 << 10) + 1;
        range_write(s, from, from + (cut < rest ? cut : rest));
        from += cut < rest ? cut : rest;
    }
    return NULL;
}

static unsigned all_write(saving *s)
{
    pthread_t threads[THREADS];
    atomic_init(&s->next, 0);
    atomic_init(&s->failed, 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, saving_run, s), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    return atomic_load(&s->failed);
}

static st_sink *sink_begin(st_context *context, size_t size)
{
    st_sink *sink = NULL;
    const st_sink_options options = {
        .durability = ST_DURABLE_NONE, .context = context, .cache = ST_CACHE_DROP};
    CHECK_OK(st_sink_open(in_scratch("file"), &options, &sink, &error));
    CHECK_OK(st__sink_begin(sink, size, &error));
    return sink;
}

/* With a thread of the sink's own and without, with much memory and little. */
static void test_all(void **state)
{
    (void)state;
    static const size_t pieces[] = {0, 40001, 65536, 1000000, 9 * MIB};
    for (unsigned i = 0; i < 4; i++) {
        st_context *context;
        st_context_options options = {.max_threads = i % 2 ? 1 : 3,
                                      .max_memory = i < 2 ? 0 : 512 << 10};
        CHECK_OK(st_context_new(&options, &context, &error));
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
            saving s = {.data = sample + k % 2, .size = SIZE - 1, .piece = pieces[k]};
            s.sink = sink_begin(context, s.size);
            assert_int_equal(all_write(&s), 0);
            CHECK_OK(st__sink_finish(s.sink, &error));
            st_sink_release(s.sink);
            assert_true(file_is(in_scratch("file"), s.data, s.size));
        }
        st_context_release(context);
    }
}

/* What was written and is dropped unfinished leaves neither file nor thread. */
static void test_dropped(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        st_context *context;
        CHECK_OK(st_context_new(&(st_context_options){.max_threads = threads}, &context, &error));
        unlink(in_scratch("file"));
        saving s = {.data = sample, .size = SIZE, .piece = 3 * MIB};
        s.sink = sink_begin(context, s.size + MIB);
        assert_int_equal(all_write(&s), 0);
        st_sink_release(s.sink);
        st_context_release(context);
        assert_int_equal(count_in_scratch(), 0);
    }
    assert_int_equal(count_descriptors(), before);
}

/* Several sinks of one context, which has one thread to spare among them. */
static void *sink_run(void *arg)
{
    saving *s = arg;
    saving_run(s);
    if (st__sink_finish(s->sink, NULL) != ST_OK)
        atomic_fetch_add(&s->failed, 1);
    st_sink_release(s->sink);
    return NULL;
}

static void test_many_sinks(void **state)
{
    (void)state;
    enum { SINKS = 4 };
    st_context *context;
    saving all[SINKS];
    pthread_t threads[SINKS];
    char name[32];
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 2}, &context, &error));
    for (int i = 0; i < SINKS; i++) {
        const st_sink_options options = {
            .durability = ST_DURABLE_NONE, .context = context, .cache = ST_CACHE_DROP};
        saving *s = &all[i];
        *s = (saving){.data = sample + i, .size = 9 * MIB, .piece = 100000};
        atomic_init(&s->next, 0);
        atomic_init(&s->failed, 0);
        snprintf(name, sizeof name, "file%d", i);
        CHECK_OK(st_sink_open(in_scratch(name), &options, &s->sink, &error));
        CHECK_OK(st__sink_begin(s->sink, s->size, &error));
        assert_int_equal(pthread_create(&threads[i], NULL, sink_run, s), 0);
    }
    for (int i = 0; i < SINKS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(atomic_load(&all[i].failed), 0);
        snprintf(name, sizeof name, "file%d", i);
        assert_true(file_is(in_scratch(name), all[i].data, all[i].size));
    }
    st_context_release(context);
}

/* The file may not grow so far: all threads are told, and none waits for ever. */
static void test_full(void **state)
{
    (void)state;
    if (!direct_works())
        skip();
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        st_context *context;
        CHECK_OK(st_context_new(&(st_context_options){.max_threads = threads}, &context, &error));
        saving s = {.data = sample, .size = SIZE, .piece = 700000};
        st_sink *sink = sink_begin(context, s.size);
        s.sink = sink;
        /* Beyond what any file holds. */
        st_bytes far = {sample, 9 * MIB};
        CHECK_ERR(st__sink_write(sink, ((uint64_t)1 << 63) - 16 * MIB, &far, 1, &error), ST_ERR_IO,
                  ((uint64_t)1 << 63) - 16 * MIB);
        assert_true(all_write(&s) > 0);
        st_error error = {.status = ST_OK};
        assert_int_equal(st__sink_finish(sink, &error), ST_ERR_IO);
        st_sink_release(sink);
        st_context_release(context);
        assert_int_equal(access(in_scratch("file"), F_OK), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_many_sinks),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests_name("output_direct_threads", tests, sample_make, sample_drop);
}
