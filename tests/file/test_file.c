/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a file by each of its ways, reading from it and mapping it; and files that change. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "file/sample.h"
#include "support/fault.h"
#include "support/oom.h"

#include <fcntl.h>
#include <sys/stat.h>

static sample_file sample;

static int sample_setup(void **state)
{
    (void)state;
    sample_frame(&sample, SAMPLE_HEADER);
    sample_store(&sample);
    return 0;
}

static int sample_teardown(void **state)
{
    (void)state;
    return unlink(sample.path);
}

/* ------------------------------------------------------------------------------------- ways */

typedef struct released {
    int count;
} released;

static void note_release(void *ctx, void *data, size_t size)
{
    assert_ptr_equal(data, sample.bytes);
    assert_int_equal(size, sample.size);
    ((released *)ctx)->count++;
}

typedef enum way { WAY_PATH, WAY_FD, WAY_MEMORY, WAY_SOURCE, WAYS } way;

static fault_source own_source;
static released own_released;

static st_status open_by(way by, const st_open_options *options, st_file **out, st_error *error)
{
    st_memory memory = {sample.bytes, sample.size, note_release, &own_released};
    st_status status;
    switch (by) {
    case WAY_PATH: return st_file_open(sample.path, options, out, error);
    case WAY_FD: {
        int fd = open(sample.path, O_RDONLY);
        assert_true(fd >= 0);
        status = st_file_open_fd(fd, options, out, error);
        close(fd);
        return status;
    }
    case WAY_MEMORY: return st_file_open_memory(&memory, options, out, error);
    default: {
        own_source = (fault_source){.data = sample.bytes, .size = sample.size};
        st_source *source = fault_source_new(&own_source);
        status = st_file_open_source(source, options, out, error);
        st_source_release(source);
        return status;
    }
    }
}

static void check_bytes(const void *got, size_t at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(((const unsigned char *)got)[i], sample_byte(at + i));
}

static st_status note_block(void *ctx, const void *data, size_t size, st_error *error)
{
    size_t *done = ctx;
    (void)error;
    check_bytes(data, 256 + *done, size);
    *done += size;
    return ST_OK;
}

static void check_column(const st_file *file)
{
    const st_tensor *x = sample_find(file, "x");
    unsigned char got[300];
    st_region region;
    CHECK_OK(st_region_parse(&region, NULL, x, "::-1, 5:8", 9, &error));
    CHECK_OK(st_file_read(file, x, &region, got, 300, &error));
    for (size_t r = 0; r < 100; r++)
        check_bytes(got + r * 3, 256 + (99 - r) * 40 + 5, 3);
    st_region_release(&region);
}

/* Each way by each strategy: getters, whole reads, a slice, blocks. */
static void test_ways(void **state)
{
    (void)state;
    for (int i = 0; i < WAYS * 3; i++) {
        st_open_options options = {.io = (uint32_t)(i % 3)};
        st_file *file;
        unsigned char got[4000];
        own_released.count = 0;
        CHECK_OK(open_by((way)(i / 3), &options, &file, &error));
        assert_int_equal(st_file_count(file), 5);
        assert_int_equal(st_file_size(file), sample.size);
        assert_ptr_equal(st_file_header(file), st_file_header(file));
        assert_string_equal(st_file_name(file), st_source_name(st_file_source(file)));
        assert_ptr_equal(st_file_at(file, 0), sample_find(file, "m"));
        assert_null(st_file_find(file, "none", 4));
        const st_tensor *x = sample_find(file, "x");
        assert_int_equal(st_file_offset(file, x), sample.data_offset + 256);
        CHECK_OK(st_file_read(file, x, NULL, got, 4000, &error));
        check_bytes(got, 256, 4000);
        CHECK_OK(st_file_read(file, sample_find(file, "s"), NULL, got, 8, &error));
        check_bytes(got, 240, 8);
        CHECK_OK(st_file_read(file, sample_find(file, "e"), NULL, NULL, 0, &error));
        check_column(file);
        size_t done = 0;
        CHECK_OK(st_file_read_blocks(file, x, NULL, note_block, &done, &error));
        assert_int_equal(done, 4000);
        done = 0;
        CHECK_OK(
            st_file_read_blocks(file, sample_find(file, "e"), NULL, note_block, &done, &error));
        assert_int_equal(done, 0);
        st_file_close(file);
        assert_int_equal(own_released.count, i / 3 == WAY_MEMORY);
    }
    st_file_close(NULL);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[WAYS] = {NULL, "<descriptor", "<memory>", "fault"};
    for (int i = 0; i < WAYS; i++) {
        st_file *file;
        st_open_options named = {.name = "given"};
        CHECK_OK(open_by((way)i, NULL, &file, &error));
        assert_non_null(strstr(st_file_name(file), names[i] ? names[i] : sample.path));
        st_file_close(file);
        CHECK_OK(open_by((way)i, &named, &file, &error));
        if (i != WAY_SOURCE)
            assert_string_equal(st_file_name(file), "given");
        st_file_close(file);
    }
}

static void test_open_failures(void **state)
{
    (void)state;
    st_file *file = NULL;
    st_open_options bad = {.io = 9};
    CHECK_ERR(st_file_open("/nonexistent", NULL, &file, &error), ST_ERR_IO, ST_NO_OFFSET);
    CHECK_ERR(st_file_open("/", NULL, &file, &error), ST_ERR_NOT_REGULAR, ST_NO_OFFSET);
    CHECK_ERR(st_file_open("/dev/null", NULL, &file, &error), ST_ERR_NOT_REGULAR, ST_NO_OFFSET);
    CHECK_ERR(st_file_open_fd(-1, NULL, &file, &error), ST_ERR_IO, ST_NO_OFFSET);
    for (int i = 0; i < WAYS; i++) {
        own_released.count = 0;
        CHECK_ERR(open_by((way)i, &bad, &file, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
        assert_int_equal(own_released.count, 0);
    }
    /* On failure the memory stays the caller's. */
    st_memory memory = {sample.bytes, sample.size - 1, note_release, &own_released};
    CHECK_ERR_TEXT(st_file_open_memory(&memory, NULL, &file, &error), ST_ERR_FILE_TRUNCATED,
                   sample.size - 1, "<memory>");
    assert_int_equal(own_released.count, 0);
    assert_null(file);
}

/* ---------------------------------------------------------------------------------- requests */

static void test_request_failures(void **state)
{
    (void)state;
    st_file *file;
    unsigned char got[4000];
    st_region region, other = {0};
    CHECK_OK(st_file_open(sample.path, &(st_open_options){.name = "f"}, &file, &error));
    const st_tensor *x = sample_find(file, "x"), *q = sample_find(file, "q");
    CHECK_ERR_TEXT(st_file_read(file, x, NULL, got, 3999, &error), ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                   "f: tensor \"x\": the buffer has 3999 bytes, and 4000 are to be read");
    CHECK_OK(st_region_parse(&region, NULL, x, "::2", 3, &error));
    CHECK_ERR(st_file_read(file, x, &region, got, 4000, &error), ST_ERR_BUFFER_SIZE, ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_file_read(file, sample_find(file, "m"), &region, got, 2000, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "f: tensor \"m\": the region was made for another");
    CHECK_ERR_TEXT(
        st_file_read_blocks(file, sample_find(file, "s"), &region, note_block, NULL, &error),
        ST_ERR_ARGUMENT, ST_NO_OFFSET, "f: tensor \"s\": the region was made for another");
    st_region_release(&region);
    /* A region that would cut inside bytes, made by hand. */
    st_slice rows = {0, 4, 1}, column = {1, 1, 1};
    st_slices dims[2] = {{&rows, 1, 0}, {&column, 1, 0}};
    other = (st_region){.dims = dims, .ndim = 2, .count = 4, .size = 2};
    CHECK_ERR(st_file_read(file, q, &other, got, 2, &error), ST_ERR_INDEX_MISALIGNED, ST_NO_OFFSET);
    st_file_close(file);
}

static st_status stop_block(void *ctx, const void *data, size_t size, st_error *error)
{
    (void)data;
    (void)size;
    if (ctx)
        *error = *(st_error *)ctx;
    return ST_ERR_STOPPED;
}

static void test_stopped(void **state)
{
    (void)state;
    st_file *file;
    st_error said = {.status = ST_ERR_STOPPED, .offset = 7, .message = "why"};
    char told[100];
    snprintf(told, sizeof told, "%s: stopped by the caller", sample.path);
    CHECK_OK(st_file_open(sample.path, NULL, &file, &error));
    const st_tensor *x = sample_find(file, "x");
    CHECK_ERR_TEXT(st_file_read_blocks(file, x, NULL, stop_block, &said, &error), ST_ERR_STOPPED, 7,
                   "why");
    CHECK_ERR_TEXT(st_file_read_blocks(file, x, NULL, stop_block, NULL, &error), ST_ERR_STOPPED,
                   ST_NO_OFFSET, told);
    assert_int_equal(st_file_read_blocks(file, x, NULL, stop_block, &said, NULL), ST_ERR_STOPPED);
    st_file_close(file);
}

static void test_unknown_dtype(void **state)
{
    (void)state;
    static sample_file odd;
    sample_frame(&odd, "{\"u\":{\"dtype\":\"U7\",\"shape\":[3,3],\"data_offsets\":[0,4256]}}");
    st_memory memory = {odd.bytes, odd.size, NULL, NULL};
    st_open_options options = {.flags = ST_OPEN_UNKNOWN_DTYPES};
    st_file *file;
    unsigned char got[SAMPLE_DATA];
    for (int io = ST_IO_AUTO; io <= ST_IO_PREAD; io++) {
        st_region region;
        options.io = (uint32_t)io;
        CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
        const st_tensor *u = sample_find(file, "u");
        CHECK_OK(st_file_read(file, u, NULL, got, SAMPLE_DATA, &error));
        check_bytes(got, 0, SAMPLE_DATA);
        CHECK_OK(st_region_parse(&region, NULL, u, "None, ...", 9, &error));
        memset(got, 0, sizeof got);
        CHECK_OK(st_file_read(file, u, &region, got, SAMPLE_DATA, &error));
        check_bytes(got, 0, SAMPLE_DATA);
        st_region_release(&region);
        CHECK_ERR(st_region_parse(&region, NULL, u, "0", 1, &error), ST_ERR_DTYPE_UNKNOWN,
                  ST_NO_OFFSET);
        st_file_close(file);
    }
}

/* ----------------------------------------------------------------------------------- mapping */

static void test_map(void **state)
{
    (void)state;
    st_file *file, *again;
    st_buffer *shared, *private;
    unsigned char byte;
    CHECK_OK(st_file_open(sample.path, NULL, &file, &error));
    const st_tensor *x = sample_find(file, "x");
    size_t at = (size_t)st_file_offset(file, x);
    CHECK_OK(st_file_map(file, ST_MAP_SHARED, &shared, &error));
    CHECK_OK(st_file_map(file, ST_MAP_PRIVATE, &private, &error));
    CHECK_ERR(st_file_map(file, 3, &shared, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    assert_int_equal(st_buffer_size(shared), sample.size);
    assert_memory_equal(st_buffer_data(shared), sample.bytes, sample.size);
    /* What is done to a private map never changes a later read. */
    memset((unsigned char *)st_buffer_data(private) + at, 0xee, 4000);
    st_region region;
    CHECK_OK(st_region_parse(&region, NULL, x, "0, 0", 4, &error));
    CHECK_OK(st_file_read(file, x, &region, &byte, 1, &error));
    assert_int_equal(byte, sample_byte(256));
    CHECK_OK(st_file_open(sample.path, &(st_open_options){.io = ST_IO_MAP}, &again, &error));
    CHECK_OK(st_file_read(again, x, &region, &byte, 1, &error));
    assert_int_equal(byte, sample_byte(256));
    st_region_release(&region);
    st_file_close(again);
    /* Maps outlive the file. */
    st_file_close(file);
    assert_int_equal(((unsigned char *)st_buffer_data(shared))[at], sample_byte(256));
    assert_int_equal(((unsigned char *)st_buffer_data(private))[at], 0xee);
    st_buffer_release(shared);
    st_buffer_release(private);
}

static void test_map_others(void **state)
{
    (void)state;
    st_file *file;
    st_buffer *buffer;
    own_released.count = 0;
    CHECK_OK(open_by(WAY_MEMORY, NULL, &file, &error));
    CHECK_ERR(st_file_map(file, ST_MAP_PRIVATE, &buffer, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET);
    CHECK_OK(st_file_map(file, ST_MAP_SHARED, &buffer, &error));
    assert_ptr_equal(st_buffer_data(buffer), sample.bytes);
    st_file_close(file);
    assert_int_equal(own_released.count, 0);
    st_buffer_release(buffer);
    assert_int_equal(own_released.count, 1);
    CHECK_OK(open_by(WAY_SOURCE, NULL, &file, &error));
    CHECK_ERR(st_file_map(file, ST_MAP_SHARED, &buffer, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET);
    st_file_close(file);
}

/* ------------------------------------------------------------------------------- changing files */

/* Cut, grown, touched or overwritten between the open and the read. */
static void test_changed_files(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        st_status read, map, mapped_read;
    } cases[] = {
        {"cut", ST_ERR_SHORT_READ, ST_ERR_CHANGED, ST_ERR_CHANGED},
        {"grown", ST_ERR_CHANGED, ST_ERR_CHANGED, ST_ERR_CHANGED},
        {"rewritten", ST_ERR_CHANGED, ST_OK, ST_ERR_CHANGED},
    };
    for (size_t i = 0; i < 3; i++) {
        sample_file own = sample;
        st_file *file, *mapped;
        st_buffer *buffer = NULL;
        unsigned char got[4000];
        sample_store(&own);
        CHECK_OK(st_file_open(own.path, NULL, &file, &error));
        CHECK_OK(st_file_open(own.path, &(st_open_options){.io = ST_IO_MAP}, &mapped, &error));
        const st_tensor *x = sample_find(file, "x");
        CHECK_OK(st_file_read(mapped, x, NULL, got, 4000, &error));
        if (i == 0) {
            assert_int_equal(truncate(own.path, (off_t)own.size - 1000), 0);
        } else if (i == 1) {
            assert_int_equal(truncate(own.path, (off_t)own.size + 1), 0);
        } else {
            struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1234567, .tv_nsec = 8}};
            assert_int_equal(utimensat(AT_FDCWD, own.path, times, 0), 0);
        }
        print_message("%s\n", cases[i].what);
        CHECK_ERR_TEXT(st_file_read(file, x, NULL, got, 4000, &error), cases[i].read,
                       i == 0 ? own.size - 1000 : ST_NO_OFFSET, "tensor \"x\": ");
        CHECK_ERR(st_file_map(file, ST_MAP_SHARED, &buffer, &error), cases[i].map, ST_NO_OFFSET);
        st_buffer_release(buffer);
        CHECK_ERR(st_file_read(mapped, x, NULL, got, 4000, &error), cases[i].mapped_read,
                  ST_NO_OFFSET);
        size_t done = 0;
        CHECK_ERR(st_file_read_blocks(file, x, NULL, note_block, &done, &error), cases[i].read,
                  i == 0 ? own.size - 1000 : ST_NO_OFFSET);
        st_file_close(file);
        st_file_close(mapped);
        unlink(own.path);
    }
}

/* A file put in the place of the open one is another file: the bytes of the open one stay, though losing its
 * name moves its change time. */
static void test_replaced_file(void **state)
{
    (void)state;
    sample_file own = sample, other = sample;
    st_file *file;
    unsigned char got[8];
    sample_store(&own);
    sample_store(&other);
    CHECK_OK(st_file_open(own.path, NULL, &file, &error));
    usleep(20000); /* past the grain of the clock that stamps files */
    assert_int_equal(rename(other.path, own.path), 0);
    CHECK_OK(st_file_read(file, sample_find(file, "s"), NULL, got, 8, &error));
    check_bytes(got, 240, 8);
    st_file_close(file);
    unlink(own.path);
}

static void test_short_message(void **state)
{
    (void)state;
    sample_file own = sample;
    st_file *file;
    char got[240], want[200];
    sample_store(&own);
    CHECK_OK(st_file_open(own.path, &(st_open_options){.name = "f"}, &file, &error));
    assert_int_equal(truncate(own.path, (off_t)own.data_offset + 200), 0);
    snprintf(want, sizeof want,
             "f: tensor \"m\": the file ends at byte %zu, and was to be read up to byte %zu; it "
             "was cut off after it "
             "was opened",
             own.data_offset + 200, own.data_offset + 240);
    CHECK_ERR_TEXT(st_file_read(file, sample_find(file, "m"), NULL, got, 240, &error),
                   ST_ERR_SHORT_READ, own.data_offset + 200, want);
    st_file_close(file);
    unlink(own.path);
}

/* ------------------------------------------------------------------------------------- loops */

/* Reads a whole tensor, a slice, and by blocks; the first failure is returned. */
static st_status use_file(st_file *file, st_context *context)
{
    unsigned char got[4000];
    const st_tensor *x = sample_find(file, "x");
    st_region region;
    size_t done = 0;
    st_status status = st_file_read(file, x, NULL, got, 4000, NULL);
    if (status == ST_OK)
        status = st_region_parse(&region, context, x, "::3, ::2", 8, NULL);
    if (status == ST_OK) {
        status = st_file_read(file, x, &region, got, 34 * 20, NULL);
        st_region_release(&region);
    }
    if (status == ST_OK)
        status = st_file_read_blocks(file, x, NULL, note_block, &done, NULL);
    return status;
}

static st_status map_file(st_file *file)
{
    st_buffer *buffer;
    st_status status = st_file_map(file, ST_MAP_SHARED, &buffer, NULL);
    if (status == ST_OK)
        st_buffer_release(buffer);
    return status == ST_ERR_UNSUPPORTED ? ST_OK : status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (int i = 0; i < WAYS * 3; i++) {
        own_released.count = 0;
        int opened = 0;
        ST_OOM_LOOP(context, status)
        {
            st_open_options options = {.context = context, .io = (uint32_t)(i % 3)};
            st_file *file;
            status = open_by((way)(i / 3), &options, &file, NULL);
            if (status == ST_OK) {
                opened++;
                status = use_file(file, context);
                if (status == ST_OK)
                    status = map_file(file);
                st_file_close(file);
            }
        }
        if (i / 3 == WAY_MEMORY)
            assert_int_equal(own_released.count, opened);
    }
}

static void test_faults(void **state)
{
    (void)state;
    static const fault_kind kinds[] = {FAULT_EIO, FAULT_SHORT, FAULT_SHRINK, FAULT_TOUCH};
    for (size_t i = 0; i < 4; i++) {
        st_context *context = NULL;
        st_context_options one = {.max_threads = 1};
        CHECK_OK(st_context_new(&one, &context, &error));
        ST_FAULT_LOOP(source, status, kinds[i], sample.bytes, sample.size)
        {
            st_file *file;
            st_open_options options = {.context = context};
            status = st_file_open_source(source, &options, &file, NULL);
            if (status == ST_OK) {
                status = use_file(file, context);
                /* The identity is told at every read, so a change after the open is always seen. */
                if (fault_loop_.fault.hit && fault_loop_.fault.at > 1)
                    assert_int_not_equal(status, ST_OK);
                st_file_close(file);
            }
        }
        st_context_release(context);
    }
}

/* -------------------------------------------------------------------------------------- etag */

typedef struct remote {
    const char *etag;
} remote;

static st_status remote_info(void *self, st_source_info *out, st_error *error)
{
    (void)error;
    out->size = sample.size;
    out->etag = ((remote *)self)->etag;
    return ST_OK;
}

static st_status remote_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                             st_error *error)
{
    (void)self;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        memcpy(segments[i].data, sample.bytes + offset, segments[i].size);
        offset += segments[i].size;
    }
    return ST_OK;
}

static st_status remote_map(void *self, uint32_t mode, st_context *context, st_buffer **out,
                            st_error *error)
{
    st_memory memory = {sample.bytes, sample.size - 1, NULL, NULL};
    (void)self;
    (void)mode;
    return st_buffer_new(context, &memory, out, error);
}

static void remote_free(void *self)
{
    (void)self;
}

static void test_etag(void **state)
{
    (void)state;
    char tag[] = "v1", same[] = "v1";
    remote self = {tag};
    st_source_vtable vtable = {.size = sizeof vtable,
                               .info = remote_info,
                               .read = remote_read,
                               .map = remote_map,
                               .free = remote_free};
    st_source *source;
    st_file *file;
    st_buffer *buffer;
    unsigned char got[8];
    CHECK_OK(st_source_new(&vtable, &self, NULL, &source, &error));
    CHECK_OK(st_file_open_source(source, NULL, &file, &error));
    const st_tensor *s = sample_find(file, "s");
    self.etag = same;
    tag[1] = '2'; /* the file must have kept a copy */
    CHECK_OK(st_file_read(file, s, NULL, got, 8, &error));
    same[1] = '3';
    CHECK_ERR(st_file_read(file, s, NULL, got, 8, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    self.etag = NULL;
    CHECK_ERR(st_file_read(file, s, NULL, got, 8, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    CHECK_ERR(st_file_map(file, ST_MAP_SHARED, &buffer, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    st_file_close(file);
    self.etag = "x";
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context};
        status = st_file_open_source(source, &options, &file, NULL);
        if (status == ST_OK)
            st_file_close(file);
    }
    st_source_release(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),          cmocka_unit_test(test_names),
        cmocka_unit_test(test_open_failures), cmocka_unit_test(test_request_failures),
        cmocka_unit_test(test_stopped),       cmocka_unit_test(test_unknown_dtype),
        cmocka_unit_test(test_map),           cmocka_unit_test(test_map_others),
        cmocka_unit_test(test_changed_files), cmocka_unit_test(test_replaced_file),
        cmocka_unit_test(test_short_message), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_faults),        cmocka_unit_test(test_etag),
    };
    return cmocka_run_group_tests_name("file", tests, sample_setup, sample_teardown);
}
