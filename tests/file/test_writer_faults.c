/* SPDX-License-Identifier: Apache-2.0 */
/* What fails below a writer: each call of the sink, each allocation, each call of a source. A failure is
 * told by the call that met it and by every one after; the sink is not finished, and given back. */
#include "file/probe_sink.h"
#include "support/fault.h"
#include "support/oom.h"

#include "io/os_faults.h"

#include <stdio.h>

/* A little of everything: small and large tensors, pieces out of order, an array, copies. */
enum { SMALL = 100, LARGE = 200000 };

typedef struct script {
    const st_file *file; /* what to copy from, or NULL */
    st_context *context;
    probe_sink *probe;
} script;

static unsigned char bytes[LARGE];

static st_status add_tensor(st_writer *writer, const char *name, uint64_t size, st_error *error)
{
    st_tensor t = {.name = name, .name_len = (uint32_t)strlen(name), .shape = &size, .ndim = 1};
    t.dtype = ST_U8;
    return st_writer_add(writer, &t, NULL, error);
}

static st_status all_add(st_writer *writer, st_error *error)
{
    st_dtype dtype;
    st_status status = st_writer_add_dtype(writer, "X7", 2, &dtype, error);
    st_metadata entry = {"key", 3, 5, "value"};
    for (unsigned i = 0; i < 20 && status == ST_OK; i++) {
        char name[2] = {(char)('a' + i), 0};
        status = add_tensor(writer, name, i < 18 ? SMALL : LARGE, error);
    }
    return status == ST_OK ? st_writer_add_metadata(writer, &entry, error) : status;
}

static st_status all_write(const script *s, st_writer *writer, st_error *error)
{
    uint64_t shape = SMALL;
    int64_t stride = 3;
    st_array array = {.data = bytes, .shape = &shape, .strides = &stride, .ndim = 1};
    array.dtype = ST_U8;
    st_status status = st_writer_write(writer, 18, 100000, bytes, LARGE - 100000, error);
    for (size_t i = 0; i < 18 && status == ST_OK; i++) {
        const st_tensor *from = s->file && i < 5 ? st_file_at(s->file, 0) : NULL;
        if (from)
            status = st_writer_copy_from(writer, s->file, &(st_copy){i, from, NULL}, 1, error);
        else if (i % 2)
            status = st_writer_write(writer, i, 0, bytes, SMALL, error);
        else
            status = st_writer_write_array(writer, i, &array, error);
    }
    if (status == ST_OK)
        status = st_writer_write(writer, 18, 0, bytes, 100000, error);
    if (status == ST_OK)
        status = s->file
                     ? st_writer_copy_from(writer, s->file,
                                           &(st_copy){19, st_file_at(s->file, 1), NULL}, 1, error)
                     : st_writer_write(writer, 19, 0, bytes, LARGE, error);
    return status;
}

/* Runs it all, and checks that a failure stays. */
static st_status script_run(const script *s, st_error *error)
{
    st_writer_options options = {.context = s->context};
    st_writer *writer;
    st_status status = st_writer_new(&options, &writer, error);
    if (status != ST_OK)
        return status;
    st_sink *sink = NULL;
    status = all_add(writer, error);
    if (status == ST_OK) {
        sink = probe_sink_new(s->probe, s->context);
        status = sink ? st_writer_begin(writer, sink, error) : ST_ERR_NOMEM;
    }
    bool begun = status == ST_OK;
    if (begun)
        status = all_write(s, writer, error);
    if (status == ST_OK)
        status = st_writer_finish(writer, error);
    else if (begun)
        assert_int_not_equal(st_writer_finish(writer, NULL), ST_OK);
    assert_int_equal(s->probe->finished, status == ST_OK);
    bool had_sink = sink != NULL;
    st_writer_free(writer);
    st_sink_release(sink);
    assert_int_equal(s->probe->freed, had_sink);
    free(s->probe->data);
    return status;
}

static void test_every_call_of_the_sink(void **state)
{
    (void)state;
    for (int run = 0; run < 4; run++) {
        bool sequential = run % 2, silent = run / 2;
        unsigned n = 0, calls;
        do {
            probe_sink probe = {.sequential = sequential, .silent = silent, .fail_at = ++n};
            st_error error = {.status = ST_OK};
            st_status status = script_run(&(script){.probe = &probe}, &error);
            calls = probe.calls;
            if (calls < n) {
                assert_int_equal(status, ST_OK);
                break;
            }
            assert_int_equal(status, ST_ERR_IO);
            assert_int_equal(error.status, ST_ERR_IO);
            assert_int_equal(error.sys_errno, silent ? 0 : EIO);
            assert_int_equal(strncmp(error.message, "probe: ", 7), 0);
            assert_int_equal(calls, n); /* nothing is tried after a failure */
        } while (true);
        assert_true(n > 4);
    }
}

/* The message of a failed write names the tensor whose bytes it had. */
static void test_tensor_named(void **state)
{
    (void)state;
    probe_sink probe = {.fail_at = 3};
    st_writer *writer;
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_OK(add_tensor(writer, "a", 200000, &error));
    CHECK_OK(add_tensor(writer, "b", 200000, &error));
    st_sink *sink = probe_sink_new(&probe, NULL);
    CHECK_OK(st_writer_begin(writer, sink, &error));
    uint64_t at = st_writer_data_offset(writer) + st_writer_at(writer, 1)->begin;
    CHECK_OK(st_writer_write(writer, 0, 0, bytes, LARGE, &error));
    CHECK_ERR_TEXT(st_writer_write(writer, 1, 0, bytes, LARGE, &error), ST_ERR_IO, at,
                   "probe: tensor \"b\": planted");
    CHECK_ERR_TEXT(st_writer_write(writer, 1, 0, NULL, 0, &error), ST_ERR_IO, at,
                   "probe: tensor \"b\": planted");
    CHECK_ERR_TEXT(st_writer_copy_from(writer, NULL, NULL, 0, &error), ST_ERR_IO, at, "planted");
    CHECK_ERR_TEXT(st_writer_finish(writer, &error), ST_ERR_IO, at, "planted");
    st_writer_free(writer);
    st_sink_release(sink);
    free(probe.data);
}

/* The disk is full from this byte of the file on. */
static off_t disk_end;

static ssize_t fills_disk(int fd, const struct iovec *pieces, int count, off_t offset)
{
    size_t size = pieces[0].iov_len, room = offset < disk_end ? (size_t)(disk_end - offset) : 0;
    struct iovec fits = {pieces[0].iov_base, size < room ? size : room};
    (void)count;
    if (room)
        return pwritev(fd, &fits, 1, offset);
    errno = ENOSPC;
    return -1;
}

/* The same where the sink does not begin at its file's first byte. */
static void test_tensor_named_behind(void **state)
{
    (void)state;
    enum { BEGIN = 100000, FITS = 150000 };
    char path[] = "/tmp/st_test_writer.XXXXXX";
    int fd = mkstemp(path);
    st_writer *writer;
    st_sink *sink;
    assert_true(fd >= 0);
    assert_int_equal(lseek(fd, BEGIN, SEEK_SET), BEGIN);
    CHECK_OK(st_sink_open_fd(fd, &(st_sink_options){.name = "file"}, &sink, &error));
    CHECK_OK(st_writer_new(&(st_writer_options){.order = ST_ORDER_ADDED}, &writer, &error));
    CHECK_OK(add_tensor(writer, "first", LARGE, &error));
    CHECK_OK(add_tensor(writer, "later", LARGE, &error));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    uint64_t at = st_writer_data_offset(writer) + FITS;
    st__os_calls.pwritev = fills_disk;
    disk_end = BEGIN + (off_t)at;
    CHECK_ERR_TEXT(st_writer_write(writer, 0, 0, bytes, LARGE, &error), ST_ERR_IO, at,
                   "file: tensor \"first\": cannot be written at byte ");
    CHECK_ERR_TEXT(st_writer_finish(writer, &error), ST_ERR_IO, at, "tensor \"first\"");
    os_calls_restore();
    st_writer_free(writer);
    st_sink_release(sink);
    close(fd);
    unlink(path);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        probe_sink probe = {0};
        status = script_run(&(script){.context = context, .probe = &probe}, NULL);
    }
    ST_OOM_LOOP(context, status)
    {
        probe_sink probe = {.sequential = true};
        status = script_run(&(script){.context = context, .probe = &probe}, NULL);
    }
}

/* What is told is the table that could not grow, not one record of it. */
static void test_table_told(void **state)
{
    (void)state;
    oom_allocator oom = {0};
    st_context *context = oom_context_new(&oom);
    st_writer *writer;
    st_metadata entry = {"key", 3, 5, "value"};
    char told[80];
    CHECK_OK(st_writer_new(&(st_writer_options){.context = context}, &writer, &error));
    for (size_t room = 16; room <= 32; room *= 2) {
        snprintf(told, sizeof told, "tensor \"t\": out of memory: %zu bytes",
                 room * sizeof(st_tensor));
        oom.fail_at = oom.calls + 1;
        CHECK_ERR_TEXT(add_tensor(writer, "t", SMALL, &error), ST_ERR_NOMEM, ST_NO_OFFSET, told);
        snprintf(told, sizeof told, "<new file>: out of memory: %zu bytes",
                 room * sizeof(st_metadata));
        oom.fail_at = oom.calls + 1;
        CHECK_ERR_TEXT(st_writer_add_metadata(writer, &entry, &error), ST_ERR_NOMEM, ST_NO_OFFSET,
                       told);
        for (size_t i = 0; i < 16; i++) {
            CHECK_OK(add_tensor(writer, "t", SMALL, &error));
            CHECK_OK(st_writer_add_metadata(writer, &entry, &error));
        }
    }
    st_writer_free(writer);
    st_context_release(context);
    assert_int_equal(oom.blocks, 0);
}

/* Memory that is lacking is told like any other failure: of which file, and tensor. */
static void test_out_of_memory_told(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        ST_OOM_LOOP(context, status)
        {
            probe_sink probe = {.sequential = stream};
            st_error error = {.status = ST_OK};
            status = script_run(&(script){.context = context, .probe = &probe}, &error);
            if (error.status != ST_OK)
                assert_true(strncmp(error.message, "probe: ", 7) == 0 ||
                            strncmp(error.message, "<new file>: ", 12) == 0);
        }
        oom_allocator oom = {0};
        st_context *context = oom_context_new(&oom);
        st_writer_options options = {.context = context, .order = ST_ORDER_ADDED};
        probe_sink probe = {.sequential = stream};
        st_writer *writer;
        CHECK_OK(st_writer_new(&options, &writer, &error));
        oom.fail_at = oom.calls + 1;
        CHECK_ERR_TEXT(add_tensor(writer, "a", LARGE, &error), ST_ERR_NOMEM, ST_NO_OFFSET,
                       "<new file>: tensor \"a\": out of memory");
        oom.fail_at = oom.calls + 2; /* the record has its memory, the name has none */
        CHECK_ERR_TEXT(add_tensor(writer, "a", LARGE, &error), ST_ERR_NOMEM, ST_NO_OFFSET,
                       "<new file>: tensor \"a\": out of memory");
        CHECK_OK(add_tensor(writer, "a", LARGE, &error));
        st_metadata entry = {"key", 3, LARGE, (const char *)bytes};
        oom.fail_at = oom.calls + 2;
        CHECK_ERR_TEXT(st_writer_add_metadata(writer, &entry, &error), ST_ERR_NOMEM, ST_NO_OFFSET,
                       "<new file>: out of memory");
        CHECK_OK(add_tensor(writer, "b", SMALL, &error));
        st_sink *sink = probe_sink_new(&probe, NULL);
        CHECK_OK(st_writer_begin(writer, sink, &error));
        st_sink_release(sink);
        uint64_t data = st_writer_data_offset(writer);
        oom.fail_at = oom.calls + 1;
        CHECK_ERR_TEXT(st_writer_write(writer, 0, 1, bytes, SMALL, &error), ST_ERR_NOMEM,
                       ST_NO_OFFSET, "probe: tensor \"a\": out of memory for the list");
        oom.fail_at = oom.calls + 1;
        CHECK_ERR_TEXT(st_writer_write(writer, 1, 0, bytes, SMALL, &error), ST_ERR_NOMEM,
                       data + LARGE, "probe: tensor \"b\": out of memory");
        st_writer_free(writer);
        free(probe.data);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
}

/* ------------------------------------------------------------------------------ of the source */

static unsigned char *input;
static size_t input_size;

/* A file of two tensors, of SMALL and LARGE bytes. */
static int input_make(void **state)
{
    (void)state;
    st_writer *writer;
    uint64_t size;
    st_sink *sink;
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_OK(add_tensor(writer, "a", SMALL, &error));
    CHECK_OK(add_tensor(writer, "b", LARGE, &error));
    CHECK_OK(st_writer_size(writer, &size, &error));
    input_size = (size_t)size;
    input = malloc(input_size);
    CHECK_OK(st_sink_open_memory(input, input_size, NULL, &sink, &error));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    CHECK_OK(st_writer_write(writer, 0, 0, bytes, SMALL, &error));
    CHECK_OK(st_writer_write(writer, 1, 0, bytes, LARGE, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    st_writer_free(writer);
    st_sink_release(sink);
    return 0;
}

static int input_drop(void **state)
{
    (void)state;
    free(input);
    return 0;
}

static st_status copy_all(st_source *source, st_context *context)
{
    st_open_options options = {.context = context};
    probe_sink probe = {0};
    st_file *file;
    st_status status = st_file_open_source(source, &options, &file, NULL);
    if (status != ST_OK)
        return status;
    status = script_run(&(script){.context = context, .probe = &probe, .file = file}, NULL);
    st_file_close(file);
    return status;
}

static void test_every_call_of_the_source(void **state)
{
    (void)state;
    st_context *context;
    unsigned changed = 0;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    ST_FAULT_LOOP(source, status, FAULT_EIO, input, input_size)
    {
        status = copy_all(source, context);
    }
    ST_FAULT_LOOP(source, status, FAULT_SHORT, input, input_size)
    {
        status = copy_all(source, context);
    }
    ST_FAULT_LOOP(source, status, FAULT_SHRINK, input, input_size)
    {
        status = copy_all(source, context);
    }
    ST_FAULT_LOOP(source, status, FAULT_TOUCH, input, input_size)
    {
        status = copy_all(source, context);
        changed += status == ST_ERR_CHANGED;
    }
    assert_true(changed > 6);
    st_context_release(context);
}

static void test_out_of_memory_copying(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        fault_source plain = {.data = input, .size = input_size};
        st_source *source = fault_source_new(&plain);
        status = copy_all(source, context);
        st_source_release(source);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_of_the_sink),
        cmocka_unit_test(test_tensor_named),
        cmocka_unit_test(test_tensor_named_behind),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_table_told),
        cmocka_unit_test(test_out_of_memory_told),
        cmocka_unit_test(test_every_call_of_the_source),
        cmocka_unit_test(test_out_of_memory_copying),
    };
    return cmocka_run_group_tests_name("writer_faults", tests, input_make, input_drop);
}
