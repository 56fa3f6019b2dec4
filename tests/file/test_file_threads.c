/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one handle, small reads and reads that use threads of their own. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "support/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS    3000u
#define COLUMNS 2048u
#define SIZE    (ROWS * COLUMNS)
#define READERS 6

static char path[64];
static unsigned char *want;

static int sample_setup(void **state)
{
    (void)state;
    char header[128];
    int len = snprintf(header, sizeof header,
                       "{\"w\":{\"dtype\":\"U8\",\"shape\":[%u,%u],\"data_offsets\":[0,%u]}}", ROWS,
                       COLUMNS, SIZE);
    unsigned char prefix[8] = {(unsigned char)len};
    want = malloc(SIZE);
    for (size_t i = 0; want && i < SIZE; i++)
        want[i] = (unsigned char)(i * 13 + i / 2048);
    snprintf(path, sizeof path, "/tmp/st_test_threads.XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || !want)
        return -1;
    FILE *f = fdopen(fd, "wb");
    bool written = fwrite(prefix, 1, 8, f) == 8 &&
                   fwrite(header, 1, (size_t)len, f) == (size_t)len &&
                   fwrite(want, 1, SIZE, f) == SIZE;
    return fclose(f) == 0 && written ? 0 : -1;
}

static int sample_teardown(void **state)
{
    (void)state;
    free(want);
    return unlink(path);
}

typedef struct reader {
    pthread_t thread;
    const st_file *file;
    unsigned number;
    unsigned faults; /* of this thread: cmocka's assertions belong to the main one */
} reader;

static st_status compare_block(void *ctx, const void *data, size_t size, st_error *error)
{
    size_t *done = ctx;
    (void)error;
    st_status status = memcmp(data, want + *done, size) ? ST_ERR_STOPPED : ST_OK;
    *done += size;
    return status;
}

static void *reader_run(void *arg)
{
    reader *r = arg;
    const st_tensor *w = st_file_find(r->file, "w", 1);
    unsigned char *got = malloc(SIZE);
    unsigned from = r->number * 100;
    char text[64];
    st_region region;
    int len = snprintf(text, sizeof text, ":, %u:%u", from, from + 700);
    for (int round = 0; round < 4; round++) {
        r->faults += st_file_read(r->file, w, NULL, got, SIZE, NULL) != ST_OK;
        r->faults += memcmp(got, want, SIZE) != 0;
        if (st_region_parse(&region, NULL, w, text, (size_t)len, NULL) != ST_OK) {
            r->faults++;
            break;
        }
        r->faults += st_file_read(r->file, w, &region, got, ROWS * 700u, NULL) != ST_OK;
        for (size_t i = 0; i < ROWS; i++)
            r->faults += memcmp(got + i * 700, want + i * COLUMNS + from, 700) != 0;
        st_region_release(&region);
        size_t done = 0;
        r->faults += st_file_read_blocks(r->file, w, NULL, compare_block, &done, NULL) != ST_OK;
        r->faults += done != SIZE;
        st_buffer *buffer;
        if (st_file_map(r->file, ST_MAP_SHARED, &buffer, NULL) == ST_OK)
            st_buffer_release(buffer);
        else
            r->faults++;
    }
    free(got);
    return NULL;
}

static void test_readers(void **state)
{
    (void)state;
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 4}, &context, &error));
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_MAP; io++) {
        st_open_options options = {.io = io, .context = context};
        reader readers[READERS];
        st_file *file;
        CHECK_OK(st_file_open(path, &options, &file, &error));
        for (unsigned i = 0; i < READERS; i++) {
            readers[i] = (reader){.file = file, .number = i};
            assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]), 0);
        }
        for (unsigned i = 0; i < READERS; i++) {
            pthread_join(readers[i].thread, NULL);
            assert_int_equal(readers[i].faults, 0);
        }
        st_file_close(file);
    }
    st_context_release(context);
}

/* The last reference to a source may go in any thread. */
static void *source_drop(void *arg)
{
    st_source_release(arg);
    return NULL;
}

static void test_references(void **state)
{
    (void)state;
    st_source *source;
    pthread_t threads[READERS];
    CHECK_OK(st_source_open(path, NULL, &source, &error));
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, source_drop, st_source_retain(source)),
                         0);
    st_source_release(source);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_references),
    };
    return cmocka_run_group_tests_name("file_threads", tests, sample_setup, sample_teardown);
}
