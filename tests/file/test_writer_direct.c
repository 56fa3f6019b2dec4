/* SPDX-License-Identifier: Apache-2.0 */
/* Files saved past the page cache: the bytes of any other way, and of what fails the tensor that it hit. */
#include "io/direct_output.h"

enum { TENSORS = 40 };

/* Of all sizes from nothing to more than a block, 18 MiB in all. */
static size_t size_of(size_t i)
{
    return i % 10 == 9 ? 4 * MIB + 100001 : i % 3 == 0 ? 700 * i : 60001 * (i % 5);
}

static const unsigned char *bytes_of(size_t i)
{
    return sample + 1000 * i;
}

static st_writer *writer_new(st_context *context)
{
    const st_writer_options options = {.order = ST_ORDER_ADDED, .context = context};
    st_writer *writer;
    CHECK_OK(st_writer_new(&options, &writer, &error));
    for (size_t i = 0; i < TENSORS; i++) {
        char name[16];
        const uint64_t size = size_of(i);
        st_tensor t = {.name = name, .shape = &size, .ndim = 1, .dtype = ST_U8};
        t.name_len = (uint32_t)snprintf(name, sizeof name, "t%zu", i);
        CHECK_OK(st_writer_add(writer, &t, NULL, &error));
    }
    return writer;
}

/* In the order of the file, backwards, or each in two pieces. */
static st_status all_write(st_writer *writer, int order, st_error *error)
{
    st_status status = ST_OK;
    for (size_t k = 0; k < TENSORS && status == ST_OK; k++) {
        size_t i = order == 1 ? TENSORS - 1 - k : k, size = size_of(i);
        size_t half = order == 2 ? size / 3 : size;
        status = st_writer_write(writer, i, 0, bytes_of(i), half, error);
        if (status == ST_OK && half < size)
            status = st_writer_write(writer, i, half, bytes_of(i) + half, size - half, error);
    }
    return status == ST_OK ? st_writer_finish(writer, error) : status;
}

static st_status file_save(st_context *context, uint32_t cache, int order, st_error *error)
{
    const st_sink_options options = {
        .durability = ST_DURABLE_FILE, .context = context, .cache = cache};
    st_writer *writer = writer_new(context);
    st_sink *sink = NULL;
    st_status status = st_sink_open(in_scratch("file"), &options, &sink, error);
    if (status == ST_OK)
        status = st_writer_begin(writer, sink, error);
    if (status == ST_OK)
        status = all_write(writer, order, error);
    st_writer_free(writer);
    st_sink_release(sink);
    return status;
}

static void check_file(void)
{
    st_file *file;
    static unsigned char got[5 * MIB];
    CHECK_OK(st_file_open(in_scratch("file"), NULL, &file, &error));
    for (size_t i = 0; i < TENSORS; i++) {
        char name[16];
        size_t len = (size_t)snprintf(name, sizeof name, "t%zu", i);
        const st_tensor *tensor = st_file_find(file, name, len);
        assert_non_null(tensor);
        assert_int_equal(st_tensor_size(tensor), size_of(i));
        CHECK_OK(st_file_read(file, tensor, NULL, got, size_of(i), &error));
        assert_memory_equal(got, bytes_of(i), size_of(i));
    }
    st_file_close(file);
}

static void test_same(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        for (int order = 0; order < 3; order++) {
            st_context *context = way_context(way);
            CHECK_OK(file_save(context, ST_CACHE_DROP, order, &error));
            check_file();
            st_context_release(context);
            restore_calls();
        }
    }
}

static off_t bad_from, bad_to; /* bytes of the file that cannot be written */

static ssize_t bad_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    off_t end = offset;
    for (int i = 0; i < count; i++)
        end += (off_t)pieces[i].iov_len;
    if (end > bad_from && offset < bad_to) {
        errno = EIO;
        return -1;
    }
    return pwritev(fd, pieces, count, offset);
}

/* A bad place in the middle of each tensor in turn: it is told, or one that is written in one go with it, and no
 * file is left. */
static void test_tensor_told(void **state)
{
    (void)state;
    for (int way = 0; way < BY_RING; way++) {
        st_context *context = way_context(way);
        st_writer *plain = writer_new(context);
        uint64_t size;
        CHECK_OK(st_writer_size(plain, &size, &error));
        for (size_t i = 0; i < TENSORS; i += 3) {
            const st_tensor *tensor = st_writer_at(plain, i);
            if (st_tensor_size(tensor) == 0)
                continue;
            st_error error = {.status = ST_OK};
            char told[64];
            bad_from = (off_t)(st_writer_data_offset(plain) + (tensor->begin + tensor->end) / 2);
            bad_to = bad_from + 1;
            st__os_calls.pwritev = bad_pwritev;
            assert_int_equal(file_save(context, ST_CACHE_DROP, (int)(i % 3), &error), ST_ERR_IO);
            assert_int_equal(error.sys_errno, EIO);
            assert_true(error.offset <= (uint64_t)bad_from);
            assert_true(error.offset + 4 * MIB > (uint64_t)bad_from);
            const st_tensor *hit = NULL;
            for (size_t k = 0; k < TENSORS; k++) {
                const st_tensor *other = st_writer_at(plain, k);
                uint64_t data = st_writer_data_offset(plain);
                if (error.offset >= data + other->begin && error.offset < data + other->end)
                    hit = other;
            }
            if (hit)
                snprintf(told, sizeof told, "file: tensor \"%s\": cannot be written at byte ",
                         hit->name);
            else
                snprintf(told, sizeof told, "file: cannot be written at byte ");
            if (!strstr(error.message, told))
                fail_msg("%s, not %s", error.message, told);
            assert_int_equal(count_in_scratch(), 0);
        }
        st_writer_free(plain);
        st_context_release(context);
        restore_calls();
    }
}

/* Copies between files, with tensors that are written in between. */
static void test_copies(void **state)
{
    (void)state;
    st_file *file;
    CHECK_OK(file_save(NULL, ST_CACHE_KEEP, 0, &error));
    assert_int_equal(rename(in_scratch("file"), in_scratch("from")), 0);
    CHECK_OK(st_file_open(in_scratch("from"), NULL, &file, &error));
    for (int way = 0; way < WAYS; way++) {
        st_context *context = way_context(way);
        const st_sink_options options = {.context = context, .cache = ST_CACHE_DROP};
        st_writer *writer = writer_new(context);
        st_sink *sink;
        CHECK_OK(st_sink_open(in_scratch("file"), &options, &sink, &error));
        CHECK_OK(st_writer_begin(writer, sink, &error));
        for (size_t i = 0; i < TENSORS; i++) {
            const char *name = st_writer_at(writer, i)->name;
            const st_copy copy = {i, st_file_find(file, name, strlen(name)), NULL};
            if (i % 4 == 1 || i % 10 == 9)
                CHECK_OK(st_writer_copy_from(writer, file, &copy, 1, &error));
            else
                CHECK_OK(st_writer_write(writer, i, 0, bytes_of(i), size_of(i), &error));
        }
        CHECK_OK(st_writer_finish(writer, &error));
        st_writer_free(writer);
        st_sink_release(sink);
        check_file();
        st_context_release(context);
        restore_calls();
    }
    st_file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RESTORED(test_same),
        RESTORED(test_tensor_told),
        RESTORED(test_copies),
    };
    return cmocka_run_group_tests_name("writer_direct", tests, sample_make, sample_drop);
}
