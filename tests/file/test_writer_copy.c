/* SPDX-License-Identifier: Apache-2.0 */
/* Copying tensors out of other files: neighbours together, regions, unknown dtypes, a file onto itself. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "file/probe_sink.h"
#include "support/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of COUNT tensors "t0" ..., the i-th of SIZE(i) bytes, all of byte_of(i, b). */
enum { COUNT = 40 };
#define SIZE(i) ((i) % 9 == 4 ? 0u : (i) % 11 == 5 ? 300000u + (unsigned)(i) : 16u * (unsigned)(i))

static char path[64];
static unsigned char *image;
static size_t image_size;

static unsigned char byte_of(size_t i, size_t b)
{
    return (unsigned char)(i * 57 + b * 3 + b / 1000);
}

static void add_named(st_writer *writer, size_t i, uint64_t size)
{
    char name[16];
    snprintf(name, sizeof name, "t%zu", i);
    uint64_t shape[2] = {size / 16, 16};
    st_tensor t = {.name = name, .name_len = (uint32_t)strlen(name), .shape = shape, .ndim = 2};
    t.dtype = ST_U8;
    if (size % 16) {
        shape[0] = size;
        t.ndim = 1;
    }
    CHECK_OK(st_writer_add(writer, &t, NULL, &error));
}

static int files_make(void **state)
{
    (void)state;
    st_writer *writer;
    st_sink *sink;
    uint64_t size;
    CHECK_OK(st_writer_new(&(st_writer_options){.order = ST_ORDER_ADDED}, &writer, &error));
    for (size_t i = 0; i < COUNT; i++)
        add_named(writer, i, SIZE(i));
    CHECK_OK(st_writer_size(writer, &size, &error));
    image_size = (size_t)size;
    image = malloc(image_size);
    CHECK_OK(st_sink_open_memory(image, image_size, NULL, &sink, &error));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    unsigned char *bytes = malloc(400000);
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t b = 0; b < SIZE(i); b++)
            bytes[b] = byte_of(i, b);
        CHECK_OK(st_writer_write(writer, i, 0, bytes, SIZE(i), &error));
    }
    free(bytes);
    CHECK_OK(st_writer_finish(writer, &error));
    st_writer_free(writer);
    st_sink_release(sink);
    snprintf(path, sizeof path, "/tmp/st_test_copy.XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, image, image_size) != (ssize_t)image_size)
        return -1;
    return close(fd);
}

static int files_remove(void **state)
{
    (void)state;
    free(image);
    return unlink(path);
}

/* Opens the file by its path, or the image in memory. */
static st_file *input_open(bool by_path, uint32_t io)
{
    st_open_options options = {.io = io, .name = "input"};
    st_memory memory = {image, image_size, NULL, NULL};
    st_file *file;
    if (by_path)
        CHECK_OK(st_file_open(path, &options, &file, &error));
    else
        CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    return file;
}

static const st_tensor *tensor_of(const st_file *file, size_t i)
{
    char name[16];
    snprintf(name, sizeof name, "t%zu", i);
    const st_tensor *t = st_file_find(file, name, strlen(name));
    assert_non_null(t);
    return t;
}

static void check_copied(const unsigned char *data, const st_writer *writer)
{
    for (size_t i = 0; i < COUNT; i++) {
        const st_tensor *t = st_writer_at(writer, i);
        const unsigned char *at = data + st_writer_data_offset(writer) + t->begin;
        for (size_t b = 0; b < SIZE(i); b++)
            assert_int_equal(at[b], byte_of(i, b));
    }
}

static st_writer *writer_like(uint32_t order, st_sink *sink, st_context *context)
{
    st_writer *writer;
    st_writer_options options = {.order = order, .context = context};
    CHECK_OK(st_writer_new(&options, &writer, &error));
    for (size_t i = 0; i < COUNT; i++)
        add_named(writer, i, SIZE(i));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    return writer;
}

/* All tensors, the list in an order of its own: by each way in and out, neighbours and strangers. */
static void test_whole(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 3 * 2 * 2 * 2; run++) {
        bool by_path = run % 3 > 0, sequential = run / 3 % 2;
        uint32_t order = run / 6 % 2, io = run % 3 == 2 ? ST_IO_MAP : ST_IO_AUTO;
        st_file *file = input_open(by_path, io);
        probe_sink probe = {.sequential = sequential};
        st_sink *sink = probe_sink_new(&probe, NULL);
        st_writer *writer = writer_like(order, sink, NULL);
        st_copy copies[COUNT];
        size_t step = run / 12 ? 7 : 1;
        for (size_t k = 0; k < COUNT; k++)
            copies[k] = (st_copy){k * step % COUNT, tensor_of(file, k * step % COUNT), NULL};
        CHECK_OK(st_writer_copy_from(writer, file, copies, COUNT, &error));
        CHECK_OK(st_writer_finish(writer, &error));
        check_copied(probe.data, writer);
        st_writer_free(writer);
        st_sink_release(sink);
        free(probe.data);
        st_file_close(file);
    }
}

/* Whole files go in one piece, whatever the list's order: by few reads of the source. */
static void test_together(void **state)
{
    (void)state;
    fault_source counted = {.data = image, .size = image_size};
    st_source *source = fault_source_new(&counted);
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    st_open_options options = {.context = context};
    st_file *file;
    CHECK_OK(st_file_open_source(source, &options, &file, &error));
    uint64_t before = counted.reads;
    probe_sink probe = {0};
    st_sink *sink = probe_sink_new(&probe, NULL);
    st_writer *writer = writer_like(ST_ORDER_ADDED, sink, context);
    st_copy copies[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        copies[i] = (st_copy){COUNT - 1 - i, tensor_of(file, COUNT - 1 - i), NULL};
    CHECK_OK(st_writer_copy_from(writer, file, copies, COUNT, &error));
    assert_true(counted.reads - before < 16);
    CHECK_OK(st_writer_finish(writer, &error));
    check_copied(probe.data, writer);
    st_writer_free(writer);
    st_sink_release(sink);
    st_file_close(file);
    st_source_release(source);
    st_context_release(context);
    free(probe.data);
}

/* Through real files, where the kernel may copy; then onto itself while it is mapped. */
static void test_files(void **state)
{
    (void)state;
    char other[80];
    snprintf(other, sizeof other, "%s.copy", path);
    for (int itself = 0; itself < 2; itself++) {
        const char *from = itself ? other : path;
        st_open_options options = {.io = itself ? ST_IO_MAP : ST_IO_AUTO};
        st_file *file;
        st_buffer *map;
        st_sink *sink;
        CHECK_OK(st_file_open(from, &options, &file, &error));
        CHECK_OK(st_file_map(file, ST_MAP_SHARED, &map, &error));
        CHECK_OK(
            st_sink_open(other, &(st_sink_options){.durability = ST_DURABLE_NONE}, &sink, &error));
        st_writer *writer = writer_like(ST_ORDER_CANONICAL, sink, NULL);
        st_copy copies[COUNT];
        for (size_t i = 0; i < COUNT; i++)
            copies[i] = (st_copy){i, tensor_of(file, i), NULL};
        CHECK_OK(st_writer_copy_from(writer, file, copies, COUNT, &error));
        CHECK_OK(st_writer_finish(writer, &error));
        st_writer_free(writer);
        st_sink_release(sink);
        /* Whoever has the old one mapped keeps its bytes. */
        const unsigned char *mapped = st_buffer_data(map);
        const st_tensor *t = tensor_of(file, 5);
        for (size_t b = 0; b < SIZE(5); b++)
            assert_int_equal(mapped[st_file_offset(file, t) + b], byte_of(5, b));
        st_buffer_release(map);
        st_file_close(file);
        unsigned char *got = malloc(400000);
        CHECK_OK(st_file_open(other, NULL, &file, &error));
        for (size_t i = 0; i < COUNT; i++) {
            CHECK_OK(st_file_read(file, tensor_of(file, i), NULL, got, SIZE(i), &error));
            for (size_t b = 0; b < SIZE(i); b++)
                assert_int_equal(got[b], byte_of(i, b));
        }
        st_file_close(file);
        free(got);
    }
    unlink(other);
}

/* Rows are a stretch of the file, columns lie scattered in it. */
static void test_regions(void **state)
{
    (void)state;
    for (int by_path = 0; by_path < 2; by_path++) {
        st_file *file = input_open(by_path, ST_IO_AUTO);
        const st_tensor *from = tensor_of(file, 37);
        assert_int_equal(from->end - from->begin, 592);
        st_region rows, columns;
        CHECK_OK(st_region_parse(&rows, NULL, from, "30:", 3, &error));
        CHECK_OK(st_region_parse(&columns, NULL, from, ":, ::-2", 7, &error));
        st_writer *writer;
        probe_sink probe = {0};
        CHECK_OK(st_writer_new(&(st_writer_options){.order = ST_ORDER_ADDED}, &writer, &error));
        add_named(writer, 1, 296);
        add_named(writer, 2, 112);
        st_sink *sink = probe_sink_new(&probe, NULL);
        CHECK_OK(st_writer_begin(writer, sink, &error));
        st_copy copies[] = {{0, from, &columns}, {1, from, &rows}};
        CHECK_OK(st_writer_copy_from(writer, file, copies, 2, &error));
        CHECK_OK(st_writer_finish(writer, &error));
        const unsigned char *got = probe.data + st_writer_data_offset(writer);
        for (size_t k = 0; k < 296; k++)
            assert_int_equal(got[k], byte_of(37, k / 8 * 16 + 15 - k % 8 * 2));
        for (size_t k = 0; k < 112; k++)
            assert_int_equal(got[296 + k], byte_of(37, 30 * 16 + k));
        st_region_release(&rows);
        st_region_release(&columns);
        st_writer_free(writer);
        st_sink_release(sink);
        st_file_close(file);
        free(probe.data);
    }
}

static void test_unknown_dtype(void **state)
{
    (void)state;
    static const char text[] =
        "{\"q\":{\"dtype\":\"F3_X\",\"shape\":[7,3],\"data_offsets\":[0,8]}}       ";
    unsigned char bytes[8 + sizeof text - 1 + 8] = {sizeof text - 1};
    memcpy(bytes + 8, text, sizeof text - 1);
    memcpy(bytes + 8 + sizeof text - 1, "abcdefgh", 8);
    st_memory memory = {bytes, sizeof bytes, NULL, NULL};
    st_open_options unknown = {.flags = ST_OPEN_UNKNOWN_DTYPES};
    st_file *file;
    CHECK_OK(st_file_open_memory(&memory, &unknown, &file, &error));
    st_tensor q = *st_file_at(file, 0);
    size_t len;
    const char *code = st_header_dtype_code(st_file_header(file), q.dtype, &len);
    st_writer *writer;
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_OK(st_writer_add_dtype(writer, code, len, &q.dtype, &error));
    CHECK_OK(st_writer_add(writer, &q, NULL, &error));
    probe_sink probe = {0};
    st_sink *sink = probe_sink_new(&probe, NULL);
    CHECK_OK(st_writer_begin(writer, sink, &error));
    CHECK_OK(
        st_writer_copy_from(writer, file, &(st_copy){0, st_file_at(file, 0), NULL}, 1, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    const unsigned char *data = probe.data + st_writer_data_offset(writer);
    assert_memory_equal(data, "abcdefgh", 8);
    assert_memory_equal(probe.data + 8, text, strcspn(text, " "));
    st_writer_free(writer);
    st_sink_release(sink);
    st_file_close(file);
    free(probe.data);
}

/* All are judged before anything is moved, and nothing that is refused spoils the writer. */
static void test_refused(void **state)
{
    (void)state;
    st_file *file = input_open(false, ST_IO_AUTO);
    probe_sink probe = {0};
    st_sink *sink = probe_sink_new(&probe, NULL);
    st_writer *writer = writer_like(ST_ORDER_ADDED, sink, NULL);
    st_tensor outside = *tensor_of(file, 3);
    outside.begin += 1 << 30;
    outside.end += 1 << 30;
    st_region region, own;
    CHECK_OK(st_region_parse(&region, NULL, tensor_of(file, 3), ":2", 2, &error));
    CHECK_OK(st_region_parse(&own, NULL, tensor_of(file, 7), ":2", 2, &error));
    st_copy copies[] = {{0, tensor_of(file, 0), NULL}, {COUNT, tensor_of(file, 1), NULL}};
    CHECK_ERR_TEXT(st_writer_copy_from(writer, file, copies, 2, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "probe: tensor \"t1\" of input is to fill a tensor that was not");
    copies[1] = (st_copy){3, &outside, NULL};
    CHECK_ERR_TEXT(st_writer_copy_from(writer, file, copies, 2, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "probe: tensor \"t3\" of input does not lie in that file");
    copies[1] = (st_copy){2, tensor_of(file, 1), NULL};
    CHECK_ERR_TEXT(st_writer_copy_from(writer, file, copies, 2, &error), ST_ERR_BUFFER_SIZE,
                   ST_NO_OFFSET,
                   "probe: tensor \"t2\" has 32 bytes, and 16 of input are to be copied to it");
    copies[1] = (st_copy){2, tensor_of(file, 38), &region}; /* of one dimension */
    CHECK_ERR_TEXT(st_writer_copy_from(writer, file, copies, 2, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "probe: tensor \"t38\": the region was made for another");
    copies[1] = (st_copy){7, tensor_of(file, 7), &own};
    CHECK_ERR(st_writer_copy_from(writer, file, copies, 2, &error), ST_ERR_BUFFER_SIZE,
              ST_NO_OFFSET);
    copies[0] = copies[1] = (st_copy){2, tensor_of(file, 2), NULL};
    uint64_t place = st_writer_data_offset(writer) + st_writer_at(writer, 2)->begin;
    CHECK_ERR(st_writer_copy_from(writer, file, copies, 2, &error), ST_ERR_WRITTEN_TWICE, place);
    CHECK_OK(st_writer_copy_from(writer, file, copies, 1, &error));
    copies[0] = (st_copy){5, tensor_of(file, 5), NULL};
    CHECK_ERR_TEXT(st_writer_copy_from(writer, file, copies, 2, &error), ST_ERR_WRITTEN_TWICE,
                   place, "probe: tensor \"t2\": its byte 0 was written before");
    CHECK_OK(st_writer_copy_from(writer, file, NULL, 0, &error));
    for (size_t i = 0; i < COUNT; i++) {
        copies[0] = (st_copy){i, tensor_of(file, i), NULL};
        if (i != 2)
            CHECK_OK(st_writer_copy_from(writer, file, copies, 1, &error));
    }
    CHECK_OK(st_writer_finish(writer, &error));
    check_copied(probe.data, writer);
    st_region_release(&region);
    st_region_release(&own);
    st_writer_free(writer);
    st_sink_release(sink);
    st_file_close(file);
    free(probe.data);
}

/* Copies some tensors of a file that is cut off to `size` bytes once it is open, into a sink's file or, if
 * `other` is NULL, into memory. */
static st_status copy_cut(off_t size, size_t first, size_t last, const char *other, st_error *said)
{
    char cut[80];
    probe_sink probe = {0};
    st_file *file;
    st_sink *sink = NULL;
    snprintf(cut, sizeof cut, "%s.cut", path);
    int fd = open(cut, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, image, image_size), image_size);
    CHECK_OK(st_file_open(cut, &(st_open_options){.name = "input"}, &file, &error));
    if (other)
        CHECK_OK(st_sink_open(other, NULL, &sink, &error));
    else
        sink = probe_sink_new(&probe, NULL);
    st_writer *writer = writer_like(ST_ORDER_ADDED, sink, NULL);
    st_copy copies[COUNT];
    for (size_t i = first; i <= last; i++)
        copies[i - first] = (st_copy){i, tensor_of(file, i), NULL};
    assert_int_equal(ftruncate(fd, size), 0);
    st_status status = st_writer_copy_from(writer, file, copies, last - first + 1, said);
    st_writer_free(writer);
    st_sink_release(sink);
    st_file_close(file);
    free(probe.data);
    close(fd);
    unlink(cut);
    return status;
}

/* Which tensor cannot be read is told, of those that go together and of one alone, small or large. */
static void test_cut_off(void **state)
{
    (void)state;
    char other[80];
    snprintf(other, sizeof other, "%s.copy", path);
    st_file *file = input_open(false, ST_IO_AUTO);
    for (int stored = 0; stored < 2; stored++) {
        const char *to = stored ? other : NULL;
        uint64_t end = st_file_offset(file, tensor_of(file, 16)) + 200000;
        CHECK_ERR_TEXT(copy_cut((off_t)end, 0, COUNT - 1, to, &error), ST_ERR_SHORT_READ, end,
                       "input: tensor \"t16\": the file ends at byte ");
        /* It ends before the tensor. */
        end = st_header_data_offset(st_file_header(file)) + 9;
        CHECK_ERR_TEXT(copy_cut((off_t)end, 7, 7, to, &error), ST_ERR_SHORT_READ, end,
                       "input: tensor \"t7\": the file ends at byte ");
        CHECK_ERR_TEXT(copy_cut((off_t)end, 27, 27, to, &error), ST_ERR_SHORT_READ, end,
                       "input: tensor \"t27\": the file ends at byte ");
    }
    st_file_close(file);
    unlink(other);
}

/* A sink's failures are not the source's. */
static void test_sink_blamed(void **state)
{
    (void)state;
    unsigned failed = 0;
    st_file *file = input_open(true, ST_IO_PREAD);
    for (unsigned n = 2; failed == n - 2; n++) { /* the first call is begin */
        probe_sink probe = {.fail_at = n};
        st_sink *sink = probe_sink_new(&probe, NULL);
        st_writer *writer = writer_like(ST_ORDER_ADDED, sink, NULL);
        st_error said = {.status = ST_OK};
        st_status status = ST_OK;
        for (size_t i = COUNT; i-- > 0 && status == ST_OK;) {
            st_copy copy = {i, tensor_of(file, i), NULL};
            status = st_writer_copy_from(writer, file, &copy, 1, &said);
        }
        if (status != ST_OK) {
            assert_int_equal(status, ST_ERR_IO);
            assert_int_equal(strncmp(said.message, "probe: ", 7), 0);
            failed++;
        }
        st_writer_free(writer);
        st_sink_release(sink);
        free(probe.data);
    }
    assert_true(failed > 4);
    st_file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),         cmocka_unit_test(test_together),
        cmocka_unit_test(test_files),         cmocka_unit_test(test_regions),
        cmocka_unit_test(test_unknown_dtype), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cut_off),       cmocka_unit_test(test_sink_blamed),
    };
    return cmocka_run_group_tests_name("writer_copy", tests, files_make, files_remove);
}
