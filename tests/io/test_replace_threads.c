/* SPDX-License-Identifier: Apache-2.0 */
/* Saving to a path from several threads at once, and more at a time than the disk is made to wait for. */
#include "io/scratch_folder.h"

#include <pthread.h>
#include <sys/stat.h>

#define SIZE ((size_t)20 << 20)

typedef struct slice {
    st_sink *sink;
    const unsigned char *data;
    unsigned worker;
    st_status status;
} slice;

static void *slice_write(void *arg)
{
    slice *s = arg;
    const size_t step = 65537 * 3;
    for (size_t at = s->worker * step; at < SIZE / 2 && !s->status; at += 4 * step) {
        size_t size = SIZE / 2 - at < step ? SIZE / 2 - at : step;
        s->status = st__sink_write(s->sink, at, &(st_bytes){s->data + at, size}, 1, NULL);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    st_sink *sink;
    pthread_t threads[4];
    slice slices[4];
    unsigned char *data = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (unsigned char)(i * 31 + (i >> 13));
    CHECK_OK(st_sink_open(in_scratch("file"), NULL, &sink, &error));
    CHECK_OK(st__sink_begin(sink, SIZE, &error));
    for (unsigned i = 0; i < 4; i++) {
        slices[i] = (slice){sink, data, i, ST_OK};
        assert_int_equal(pthread_create(&threads[i], NULL, slice_write, &slices[i]), 0);
    }
    st_bytes parts[] = {
        {data + SIZE / 2, 5}, {data + SIZE / 2 + 5, SIZE / 2 - 6}, {data + SIZE - 1, 1}};
    CHECK_OK(st__sink_write(sink, SIZE / 2, parts, 3, &error));
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(slices[i].status, ST_OK);
    }
    CHECK_OK(st__sink_finish(sink, &error));
    st_sink_release(sink);
    assert_true(file_is(in_scratch("file"), data, SIZE));
    free(data);
}

typedef struct saver {
    const char *path;
    unsigned char byte;
    st_error error;
} saver;

static void *save_often(void *arg)
{
    saver *s = arg;
    st_sink_options quick = {.durability = ST_DURABLE_NONE};
    unsigned char data[64];
    memset(data, s->byte, sizeof data);
    for (int i = 0; i < 200 && s->error.status == ST_OK; i++) {
        st_sink *sink = NULL;
        if (st_sink_open(s->path, &quick, &sink, &s->error) == ST_OK &&
            st__sink_begin(sink, sizeof data, &s->error) == ST_OK &&
            st__sink_write(sink, 0, &(st_bytes){data, sizeof data}, 1, &s->error) == ST_OK)
            (void)st__sink_finish(sink, &s->error);
        st_sink_release(sink);
    }
    return NULL;
}

/* All of them succeed, whoever replaces whose file between which two calls. */
static void test_one_name(void **state)
{
    (void)state;
    char path[4096];
    pthread_t threads[4];
    saver savers[4];
    snprintf(path, sizeof path, "%s", in_scratch("same"));
    for (unsigned i = 0; i < 4; i++) {
        savers[i] = (saver){.path = path, .byte = (unsigned char)('a' + i)};
        assert_int_equal(pthread_create(&threads[i], NULL, save_often, &savers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_string_equal(savers[i].error.message, "");
    }
    struct stat at;
    assert_int_equal(stat(path, &at), 0);
    assert_int_equal(at.st_size, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_one_name)};
    return cmocka_run_group_tests_name("replace_threads", tests, scratch_folder_make,
                                       scratch_folder_drop);
}
