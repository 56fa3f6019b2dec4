/* SPDX-License-Identifier: Apache-2.0 */
/* Readings: tensors, regions and ranges of a file, by each kind of source and strategy, to one thread and to
 * several; and how their failures are told. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "support/check.h"
#include "support/fault.h"
#include "support/oom.h"

#include "file/file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS    3000u
#define COLUMNS 2048u
#define SIZE    (ROWS * COLUMNS)

static char path[64];
static unsigned char *bytes; /* of the whole file */
static size_t file_size;
static size_t data_offset;

static int sample_setup(void **state)
{
    (void)state;
    char header[128];
    int len = snprintf(header, sizeof header,
                       "{\"w\":{\"dtype\":\"U8\",\"shape\":[%u,%u],\"data_offsets\":[0,%u]}}", ROWS,
                       COLUMNS, SIZE);
    data_offset = 8 + (size_t)len;
    file_size = data_offset + SIZE;
    bytes = calloc(1, file_size);
    if (!bytes)
        return -1;
    bytes[0] = (unsigned char)len;
    memcpy(bytes + 8, header, (size_t)len);
    for (size_t i = 0; i < SIZE; i++)
        bytes[data_offset + i] = (unsigned char)(i * 13 + i / 2048);
    snprintf(path, sizeof path, "/tmp/st_test_reading.XXXXXX");
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!f)
        return -1;
    bool written = fwrite(bytes, 1, file_size, f) == file_size;
    return fclose(f) == 0 && written ? 0 : -1;
}

static int sample_teardown(void **state)
{
    (void)state;
    free(bytes);
    return unlink(path);
}

/* ------------------------------------------------------------------------------------- files */

/* A source of the caller's own that any thread may read, and that may fail at one byte. */
typedef struct own_source {
    uint64_t bad; /* 0: none */
} own_source;

static st_status own_info(void *self, st_source_info *out, st_error *error)
{
    (void)self;
    (void)error;
    out->size = file_size;
    return ST_OK;
}

static st_status own_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                          st_error *error)
{
    const own_source *own = self;
    for (size_t i = 0; i < count; i++) {
        if (own->bad && own->bad >= offset && own->bad - offset < segments[i].size) {
            if (error)
                *error = (st_error){ST_ERR_IO, 5, own->bad, "planted"};
            return ST_ERR_IO;
        }
        memcpy(segments[i].data, bytes + offset, segments[i].size);
        offset += segments[i].size;
    }
    return ST_OK;
}

static void own_free(void *self)
{
    (void)self;
}

static st_file *open_own(own_source *own, st_context *context)
{
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = own_info, .read = own_read, .free = own_free};
    st_open_options options = {.context = context, .name = "own"};
    st_source *source = NULL;
    st_file *file = NULL;
    CHECK_OK(st_source_new(&vtable, own, &options, &source, &error));
    CHECK_OK(st_file_open_source(source, &options, &file, &error));
    st_source_release(source);
    return file;
}

enum { WAY_PATH, WAY_MEMORY, WAY_SOURCE, WAYS };

static own_source sound;

static st_file *open_by(int way, uint32_t io, st_context *context)
{
    st_open_options options = {.io = io, .context = context};
    st_memory memory = {bytes, file_size, NULL, NULL};
    st_file *file = NULL;
    if (way == WAY_SOURCE)
        return open_own(&sound, context);
    if (way == WAY_PATH)
        CHECK_OK(st_file_open(path, &options, &file, &error));
    else
        CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    return file;
}

/* ---------------------------------------------------------------------------------- consumers */

/* The bytes that are wanted: `rows` of `length` bytes, `stride` apart, from byte `at` of the file on. */
typedef struct wanted {
    size_t at;
    size_t length;
    size_t stride;
    uint64_t size;
    uint64_t done;            /* by blocks */
    atomic_uint_fast64_t sum; /* of the sizes, by a scan */
    atomic_uint faults;
} wanted;

static bool is_wanted(const wanted *w, uint64_t offset, const void *data, size_t size)
{
    const unsigned char *got = data;
    if (offset > w->size || size > w->size - offset)
        return false;
    while (size) {
        size_t within = (size_t)(offset % w->length), n = w->length - within;
        n = n < size ? n : size;
        if (memcmp(got, bytes + w->at + (size_t)(offset / w->length) * w->stride + within, n))
            return false;
        got += n;
        offset += n;
        size -= n;
    }
    return true;
}

static st_status take_block(void *ctx, const void *data, size_t size, st_error *error)
{
    wanted *w = ctx;
    (void)error;
    atomic_fetch_add(&w->faults, !is_wanted(w, w->done, data, size));
    w->done += size;
    return ST_OK;
}

static st_status take_scan(void *ctx, uint32_t worker, uint64_t offset, const void *data,
                           size_t size, st_error *error)
{
    wanted *w = ctx;
    (void)worker;
    (void)error;
    atomic_fetch_add(&w->faults, !is_wanted(w, offset, data, size));
    atomic_fetch_add(&w->sum, size);
    return ST_OK;
}

/* Delivers an opened reading in every way and closes it. */
static void check_reading(st__reading *reading, uint32_t threads, wanted *w)
{
    assert_in_range(st__reading_workers(reading), 1, threads);
    CHECK_OK(st__reading_blocks(reading, threads, take_block, w, &error));
    assert_int_equal(w->done, w->size);
    CHECK_OK(st__reading_scan(reading, &(st__consumer){take_scan, w, 0}, &error));
    assert_int_equal(w->sum, w->size);
    unsigned char *got = malloc((size_t)w->size + 1);
    CHECK_OK(st__reading_read(reading, got, &error));
    assert_true(is_wanted(w, 0, got, (size_t)w->size));
    free(got);
    assert_int_equal(w->faults, 0);
    CHECK_OK(st__reading_close(reading, ST_OK, &error));
}

/* ------------------------------------------------------------------------------------- tests */

static void check_file(const st_file *file, uint32_t threads)
{
    const st_tensor *w = st_file_find(file, "w", 1);
    st__reading reading;
    CHECK_OK(st__reading_open(&reading, file, w, NULL, &error));
    check_reading(&reading, threads,
                  &(wanted){.at = data_offset, .length = SIZE, .stride = SIZE, .size = SIZE});
    st_region region;
    CHECK_OK(st_region_parse(&region, NULL, w, "1:, 5:1700", 10, &error));
    CHECK_OK(st__reading_open(&reading, file, w, &region, &error));
    check_reading(&reading, threads,
                  &(wanted){.at = data_offset + COLUMNS + 5,
                            .length = 1695,
                            .stride = COLUMNS,
                            .size = (ROWS - 1) * 1695});
    st_region_release(&region);
    const struct {
        size_t from;
        size_t size;
    } ranges[] = {{0, file_size}, {0, 8},         {3, file_size - 4}, {data_offset, SIZE},
                  {0, 0},         {file_size, 0}, {file_size - 1, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        CHECK_OK(st__reading_open_range(&reading, file, ranges[i].from, ranges[i].size, &error));
        check_reading(&reading, threads,
                      &(wanted){.at = ranges[i].from,
                                .length = file_size,
                                .stride = file_size,
                                .size = ranges[i].size});
    }
}

static void test_ways(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++)
        for (uint32_t io = ST_IO_AUTO; io <= ST_IO_MAP; io++)
            for (uint32_t threads = 1; threads <= 8; threads += threads < 4 ? 1 : 4) {
                st_context *context = NULL;
                st_context_options options = {.max_threads = threads,
                                              .max_memory = threads == 3 ? 100000 : 0};
                CHECK_OK(st_context_new(&options, &context, &error));
                st_file *file = open_by(way, io, context);
                check_file(file, threads);
                st_file_close(file);
                st_context_release(context);
            }
}

static void test_ranges_outside(void **state)
{
    (void)state;
    st__reading reading;
    st_file *file = open_by(WAY_PATH, ST_IO_AUTO, NULL);
    CHECK_ERR_TEXT(st__reading_open_range(&reading, file, 0, file_size + 1, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, path);
    CHECK_ERR(st__reading_open_range(&reading, file, file_size + 1, 0, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_ERR(st__reading_open_range(&reading, file, 1, UINT64_MAX, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    st_file_close(file);
}

/* What cannot be read is told with file and tensor, or the file alone for a range. */
static void test_unreadable(void **state)
{
    (void)state;
    own_source own = {.bad = 0};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 4}, &context, &error));
    st_file *file = open_own(&own, context);
    const st_tensor *w = st_file_find(file, "w", 1);
    own.bad = data_offset + (3u << 20);
    wanted all = {.at = data_offset, .length = SIZE, .stride = SIZE, .size = SIZE};
    const st__consumer consumer = {take_scan, &all, 0};
    st__reading reading;
    CHECK_OK(st__reading_open(&reading, file, w, NULL, &error));
    CHECK_ERR_TEXT(st__reading_scan(&reading, &consumer, &error), ST_ERR_IO, own.bad,
                   "own: tensor \"w\": planted");
    CHECK_ERR_TEXT(st__reading_blocks(&reading, 4, take_block, &all, &error), ST_ERR_IO, own.bad,
                   "own: tensor \"w\": planted");
    assert_int_equal(all.done, (3u << 20) / ST__SCAN_BLOCK * ST__SCAN_BLOCK);
    CHECK_ERR(st__reading_close(&reading, st__reading_scan(&reading, &consumer, &error), &error),
              ST_ERR_IO, own.bad);
    CHECK_OK(st__reading_open_range(&reading, file, data_offset, SIZE, &error));
    CHECK_ERR_TEXT(st__reading_scan(&reading, &consumer, &error), ST_ERR_IO, own.bad,
                   "own: planted");
    assert_int_equal(st__reading_scan(&reading, &consumer, NULL), ST_ERR_IO);
    assert_int_equal(st__reading_close(&reading, ST_ERR_IO, NULL), ST_ERR_IO);
    assert_int_equal(all.faults, 0);
    st_file_close(file);
    st_context_release(context);
}

/* --------------------------------------------------------------------------- consumers' failures */

typedef struct refusal {
    uint64_t from; /* the byte from which on all is refused */
    uint64_t done;
    bool says;
} refusal;

static st_status refuse(const refusal *r, uint64_t offset, size_t size, st_error *error)
{
    if (offset + size <= r->from)
        return ST_OK;
    if (r->says)
        *error = (st_error){ST_ERR_STOPPED, 0, offset, "my own words"};
    return ST_ERR_STOPPED;
}

static st_status refuse_block(void *ctx, const void *data, size_t size, st_error *error)
{
    refusal *r = ctx;
    (void)data;
    r->done += size;
    return refuse(r, r->done - size, size, error);
}

static st_status refuse_scan(void *ctx, uint32_t worker, uint64_t offset, const void *data,
                             size_t size, st_error *error)
{
    (void)worker;
    (void)data;
    return refuse(ctx, offset, size, error);
}

static void check_exact(st_status status, const st_error *error, const char *message)
{
    assert_int_equal(status, ST_ERR_STOPPED);
    assert_int_equal(error->status, ST_ERR_STOPPED);
    assert_string_equal(error->message, message);
}

/* A consumer's own words pass as they are, and where it has none its status speaks, of the file. */
static void test_refused(void **state)
{
    (void)state;
    own_source own = {.bad = 0};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 4}, &context, &error));
    st_file *file = open_own(&own, context);
    const st_tensor *w = st_file_find(file, "w", 1);
    own.bad = data_offset + SIZE - 1;
    for (unsigned i = 0; i < 60; i++) {
        refusal r = {.from = i / 2 * 140000, .says = i % 2 == 0};
        const char *message = r.says ? "my own words" : "own: stopped by the caller";
        st_error said;
        st__reading reading;
        CHECK_OK(st__reading_open(&reading, file, w, NULL, &error));
        check_exact(st__reading_blocks(&reading, i % 4 + 1, refuse_block, &r, &said), &said,
                    message);
        assert_int_equal(r.done / ST__SCAN_BLOCK, r.from / ST__SCAN_BLOCK + 1);
        const st__consumer consumer = {refuse_scan, &r, 0};
        check_exact(st__reading_scan(&reading, &consumer, &said), &said, message);
        if (r.says)
            assert_int_equal(said.offset, r.from / ST__SCAN_BLOCK * ST__SCAN_BLOCK);
        assert_int_equal(st__reading_scan(&reading, &consumer, NULL), ST_ERR_STOPPED);
        assert_int_equal(st__reading_close(&reading, ST_ERR_STOPPED, NULL), ST_ERR_STOPPED);
    }
    st_file_close(file);
    st_context_release(context);
}

/* ------------------------------------------------------------------------------------- faults */

/* Opens, scans and reads; a change of the source must not go unseen once bytes were delivered. */
static st_status use_all(st_source *source, st_context *context, st_error *error)
{
    st_open_options options = {.context = context};
    st_file *file;
    st_status status = st_file_open_source(source, &options, &file, error);
    if (status != ST_OK)
        return status;
    wanted all = {.at = data_offset, .length = SIZE, .stride = SIZE, .size = SIZE};
    wanted whole = {.at = 0, .length = file_size, .stride = file_size, .size = file_size};
    st__reading reading;
    status = st__reading_open(&reading, file, st_file_at(file, 0), NULL, error);
    if (status == ST_OK) {
        status = st__reading_scan(&reading, &(st__consumer){take_scan, &all, 0}, error);
        status = st__reading_close(&reading, status, error);
    }
    if (status == ST_OK)
        status = st__reading_open_range(&reading, file, 0, file_size, error);
    if (status == ST_OK) {
        status = st__reading_blocks(&reading, 1, take_block, &whole, error);
        status = st__reading_close(&reading, status, error);
    }
    if (status == ST_OK)
        assert_int_equal(all.faults + whole.faults, 0);
    st_file_close(file);
    return status;
}

static void test_faults(void **state)
{
    (void)state;
    st_context *single = NULL;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &single, &error));
    ST_FAULT_LOOP(source, status, FAULT_EIO, bytes, file_size)
    {
        status = use_all(source, single, NULL);
    }
    ST_FAULT_LOOP(source, status, FAULT_SHORT, bytes, file_size)
    {
        status = use_all(source, single, NULL);
    }
    unsigned seen = 0;
    ST_FAULT_LOOP(source, status, FAULT_TOUCH, bytes, file_size)
    {
        status = use_all(source, single, NULL);
        seen += status == ST_ERR_CHANGED;
    }
    /* Each read that something follows, and the last look. */
    assert_true(seen > 2 * (SIZE / ST__SCAN_BLOCK));
    st_context_release(single);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        ST_OOM_LOOP(context, status)
        {
            st_open_options options = {.context = context};
            fault_source fault = {.data = bytes, .size = file_size};
            st_source *source = NULL;
            if (way == WAY_PATH)
                status = st_source_open(path, &options, &source, NULL);
            else if (way == WAY_MEMORY)
                status = st_source_open_memory(&(st_memory){bytes, file_size, NULL, NULL}, &options,
                                               &source, NULL);
            else
                source = fault_source_new(&fault);
            if (status == ST_OK) {
                status = use_all(source, context, NULL);
                st_source_release(source);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),       cmocka_unit_test(test_ranges_outside),
        cmocka_unit_test(test_unreadable), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_faults),     cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("reading_threads", tests, sample_setup, sample_teardown);
}
