/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one writer: to a sink that takes bytes anywhere and to a stream. */
#include "file/probe_sink.h"
#include "file/writer.h"
#include "support/fault.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>

enum { THREADS = 6, TENSORS = 600, SMALL = 777, LARGE = 150001 };

static uint64_t size_of(size_t i)
{
    return i % 50 == 7 ? LARGE : i % 40 == 3 ? 0 : SMALL;
}

static unsigned char byte_of(size_t i, size_t b)
{
    return (unsigned char)(i * 41 + b * 5 + b / 300);
}

typedef struct worker {
    pthread_t thread;
    st_writer *writer;
    const st_file *file; /* copies from it, where there is one */
    atomic_size_t
        *next; /* shared: the tensors are taken in turn; NULL: each has a part of its own */
    size_t number;
    unsigned failures;
    st_status last;
} worker;

static st_status tensor_write(worker *w, size_t i, unsigned char *bytes)
{
    size_t size = (size_t)size_of(i), half = size / 3;
    char name[16];
    int len = snprintf(name, sizeof name, "t%zu", i);
    if (w->file && i % 3 == 0) {
        st_copy copy = {i, st_file_find(w->file, name, (size_t)len), NULL};
        return st_writer_copy_from(w->writer, w->file, &copy, 1, NULL);
    }
    for (size_t b = 0; b < size; b++)
        bytes[b] = byte_of(i, b);
    if (i % 2 == 0)
        return st_writer_write(w->writer, i, 0, bytes, size, NULL);
    st_status status = st_writer_write(w->writer, i, half, bytes + half, size - half, NULL);
    return status == ST_OK ? st_writer_write(w->writer, i, 0, bytes, half, NULL) : status;
}

static void *worker_run(void *arg)
{
    worker *w = arg;
    unsigned char *bytes = malloc(LARGE);
    size_t own = w->number * (TENSORS / THREADS);
    for (size_t k = 0;; k++) {
        size_t i = w->next ? atomic_fetch_add(w->next, 1) : own + k;
        if (w->next ? i >= TENSORS : k >= TENSORS / THREADS)
            break;
        st_status status = tensor_write(w, i, bytes);
        w->failures += status != ST_OK;
        if (status != ST_OK)
            w->last = status;
    }
    free(bytes);
    return NULL;
}

static st_writer *writer_begin(probe_sink *probe, st_context *context)
{
    st_writer_options options = {.order = ST_ORDER_ADDED, .context = context};
    st_writer *writer;
    CHECK_OK(st_writer_new(&options, &writer, &error));
    for (size_t i = 0; i < TENSORS; i++) {
        char name[16];
        uint64_t size = size_of(i);
        st_tensor t = {.name = name, .shape = &size, .ndim = 1, .dtype = ST_U8};
        t.name_len = (uint32_t)snprintf(name, sizeof name, "t%zu", i);
        CHECK_OK(st_writer_add(writer, &t, NULL, &error));
    }
    st_sink *sink = probe_sink_new(probe, NULL);
    CHECK_OK(st_writer_begin(writer, sink, &error));
    st_sink_release(sink);
    return writer;
}

/* Gives how many calls failed. */
static unsigned workers_run(st_writer *writer, const st_file *file, bool in_turn,
                            worker workers[THREADS])
{
    atomic_size_t next = 0;
    unsigned failures = 0;
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){.writer = writer, .file = file, .number = i};
        workers[i].next = in_turn ? &next : NULL;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        failures += workers[i].failures;
    }
    return failures;
}

static void check_written(const probe_sink *probe, const st_writer *writer)
{
    const unsigned char *data = probe->data + st_writer_data_offset(writer);
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t b = 0; b < size_of(i); b++)
            assert_int_equal(data[st_writer_at(writer, i)->begin + b], byte_of(i, b));
}

static void test_workers(void **state)
{
    (void)state;
    worker workers[THREADS];
    probe_sink first = {0};
    st_writer *writer = writer_begin(&first, NULL);
    assert_int_equal(workers_run(writer, NULL, true, workers), 0);
    CHECK_OK(st_writer_finish(writer, &error));
    check_written(&first, writer);
    st_writer_free(writer);
    st_memory memory = {first.data, (size_t)first.size, NULL, NULL};
    st_file *file;
    CHECK_OK(st_file_open_memory(&memory, NULL, &file, &error));

    for (int run = 0; run < 8; run++) {
        /* Where it can, in turn with all windows and with four, of which threads take others' away. */
        st_context *context = NULL;
        probe_sink probe = {.sequential = run % 2};
        if (run % 4 == 2)
            CHECK_OK(st_context_new(&(st_context_options){.max_memory = 2400}, &context, &error));
        writer = writer_begin(&probe, context);
        st_context_release(context);
        assert_int_equal(workers_run(writer, run / 4 ? file : NULL, run / 2 % 2, workers), 0);
        CHECK_OK(st_writer_finish(writer, &error));
        assert_int_equal(probe.bytes, probe.size);
        check_written(&probe, writer);
        st_writer_free(writer);
        free(probe.data);
    }
    st_file_close(file);
    free(first.data);
}

/* A stream with hardly any memory: it may be too much, but then every call says so. */
static void test_stream_small_budget(void **state)
{
    (void)state;
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_memory = 400000}, &context, &error));
    for (int run = 0; run < 10; run++) {
        worker workers[THREADS];
        probe_sink probe = {.sequential = true};
        st_writer *writer = writer_begin(&probe, context);
        unsigned failures = workers_run(writer, NULL, true, workers);
        if (failures) {
            for (size_t i = 0; i < THREADS; i++)
                assert_true(!workers[i].failures || workers[i].last == ST_ERR_TOO_BIG);
            assert_int_equal(st_writer_finish(writer, NULL), ST_ERR_TOO_BIG);
        } else {
            CHECK_OK(st_writer_finish(writer, &error));
            check_written(&probe, writer);
        }
        assert_int_equal(probe.finished, failures == 0);
        st_writer_free(writer);
        free(probe.data);
    }
    st_context_release(context);
}

/* The first failure is everybody's; nobody waits for a stream that has died. */
static void test_failure(void **state)
{
    (void)state;
    for (int run = 0; run < 6; run++) {
        worker workers[THREADS];
        probe_sink probe = {.sequential = run % 2, .fail_at = 3 + (unsigned)run};
        st_writer *writer = writer_begin(&probe, NULL);
        assert_true(workers_run(writer, NULL, true, workers) > 0);
        for (size_t i = 0; i < THREADS; i++)
            assert_true(!workers[i].failures || workers[i].last == ST_ERR_IO);
        CHECK_ERR_TEXT(st_writer_finish(writer, &error), ST_ERR_IO, error.offset, "planted");
        assert_false(probe.finished);
        st_writer_free(writer);
        free(probe.data);
    }
}

/* Of two that write the same byte one is told. */
static void test_written_twice(void **state)
{
    (void)state;
    for (int run = 0; run < 2; run++) {
        worker workers[THREADS];
        probe_sink probe = {.sequential = run};
        st_writer *writer = writer_begin(&probe, NULL);
        assert_int_equal(workers_run(writer, NULL, true, workers), 0);
        assert_true(workers_run(writer, NULL, true, workers) > TENSORS * 9 / 10);
        for (size_t i = 0; i < THREADS; i++)
            assert_true(!workers[i].failures || workers[i].last == ST_ERR_WRITTEN_TWICE);
        CHECK_OK(st_writer_finish(writer, &error));
        check_written(&probe, writer);
        st_writer_free(writer);
        free(probe.data);
    }
}

/* ------------------------------------------------------------------------- one failure for all */

enum { SIDE = 400 }; /* of a square of bytes, more than the writer may keep */

/* A stream whose first write of data waits until it is let go. */
typedef struct slow_sink {
    sem_t inside, go;
    bool held;
} slow_sink;

static st_status slow_write(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                            st_error *error)
{
    slow_sink *slow = self;
    size_t size = 0;
    (void)offset;
    (void)error;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    if (size >= SIDE * SIDE && !slow->held) {
        slow->held = true;
        sem_post(&slow->inside);
        sem_wait(&slow->go);
    }
    return ST_OK;
}

static void slow_free(void *self)
{
    (void)self;
}

typedef struct waiter {
    pthread_t thread;
    st_writer *writer;
    size_t index;
    bool transposed;
    st_status status;
    st_error error;
} waiter;

static void *waiter_run(void *arg)
{
    static unsigned char square[SIDE * SIDE];
    waiter *w = arg;
    const uint64_t shape[] = {SIDE, SIDE};
    const int64_t strides[] = {1, SIDE};
    const st_array array = {
        .data = square, .shape = shape, .strides = strides, .ndim = 2, .dtype = ST_U8};
    w->status = w->transposed
                    ? st_writer_write_array(w->writer, w->index, &array, &w->error)
                    : st_writer_write(w->writer, w->index, 0, square, sizeof square, &w->error);
    return NULL;
}

static st_writer *slow_begin(st_context *context, slow_sink *slow)
{
    const uint64_t square[] = {SIDE, SIDE}, few[] = {SMALL};
    const st_sink_vtable vtable = {
        .size = sizeof vtable, .flags = ST_SINK_SEQUENTIAL, .write = slow_write, .free = slow_free};
    const st_writer_options options = {.order = ST_ORDER_ADDED, .context = context};
    const st_tensor tensors[] = {
        {.name = "first", .name_len = 5, .shape = square, .ndim = 2, .dtype = ST_U8},
        {.name = "copied", .name_len = 6, .shape = few, .ndim = 1, .dtype = ST_U8},
        {.name = "last", .name_len = 4, .shape = square, .ndim = 2, .dtype = ST_U8},
    };
    st_writer *writer;
    st_sink *sink;
    CHECK_OK(st_writer_new(&options, &writer, &error));
    for (size_t i = 0; i < 3; i++)
        CHECK_OK(st_writer_add(writer, &tensors[i], NULL, &error));
    CHECK_OK(st_sink_new(&vtable, slow, &(st_sink_options){.name = "slow"}, &sink, &error));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    st_sink_release(sink);
    return writer;
}

/* Both are in their calls: the first in the sink; the last, which holds the lock until then, waits its turn or
 * makes the blocks for which it will. */
static void calls_await(st_writer *writer, uint32_t count)
{
    for (bool there = false; !there; sched_yield()) {
        st__lock_take(&writer->lock);
        there = writer->in_flight == count;
        st__lock_drop(&writer->lock);
    }
}

/* A copy cannot read its source while another call waits its turn: both tell of that file and tensor, and of
 * no other. */
static void check_told(bool transposed)
{
    static unsigned char from[SMALL + 200];
    static const char header[] =
        "{\"y\":{\"dtype\":\"U8\",\"shape\":[777],\"data_offsets\":[0,777]}}";
    fault_source fault = {.data = from, .size = 8 + sizeof header - 1 + SMALL};
    slow_sink slow = {.held = false};
    st_context *context;
    st_file *file;
    st_error told = {.status = ST_OK};
    from[0] = sizeof header - 1;
    memcpy(from + 8, header, sizeof header - 1);
    sem_init(&slow.inside, 0, 0);
    sem_init(&slow.go, 0, 0);
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1, .max_memory = 128 << 10},
                            &context, &error));
    st_source *source = fault_source_new(&fault);
    CHECK_OK(st_file_open_source(source, NULL, &file, &error));
    st_writer *writer = slow_begin(context, &slow);
    waiter first = {.writer = writer, .index = 0};
    waiter last = {.writer = writer, .index = 2, .transposed = transposed};
    assert_int_equal(pthread_create(&first.thread, NULL, waiter_run, &first), 0);
    sem_wait(&slow.inside);
    assert_int_equal(pthread_create(&last.thread, NULL, waiter_run, &last), 0);
    calls_await(writer, 2);
    fault.at = fault.calls + 2; /* after the look at its times */
    st_copy copy = {1, st_file_find(file, "y", 1), NULL};
    assert_int_equal(st_writer_copy_from(writer, file, &copy, 1, &told), ST_ERR_IO);
    assert_true(strncmp(told.message, "fault: tensor \"y\": ", 19) == 0);
    sem_post(&slow.go);
    pthread_join(first.thread, NULL);
    pthread_join(last.thread, NULL);
    assert_int_equal(first.status, ST_OK);
    assert_int_equal(last.status, ST_ERR_IO);
    assert_string_equal(last.error.message, told.message);
    assert_int_equal(last.error.offset, told.offset);
    st_writer_free(writer);
    st_file_close(file);
    st_source_release(source);
    st_context_release(context);
}

static void test_told_alike(void **state)
{
    (void)state;
    check_told(false);
    check_told(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers),    cmocka_unit_test(test_stream_small_budget),
        cmocka_unit_test(test_failure),    cmocka_unit_test(test_written_twice),
        cmocka_unit_test(test_told_alike),
    };
    return cmocka_run_group_tests_name("writer_threads", tests, NULL, NULL);
}
