/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing by several threads: the same digests however many there are, progress on the caller's thread
 * alone, stopping, failures, and several callers on one file. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include <safetensors/inspect.h>

#include "inspect/image.h"

#include <errno.h>
#include <pthread.h>

#define CALLERS 4

static image im;
static char path[64];

static int sample_setup(void **state)
{
    (void)state;
    /* Tensors of every kind of task, several long ones, and more small ones than one task takes. */
    static size_t sizes[400];
    for (size_t i = 0; i < 400; i++)
        sizes[i] = i * 113 % 9000;
    sizes[3] = 1500000;
    sizes[50] = (4u << 20) + 1;
    sizes[51] = 2u << 20;
    sizes[399] = 1u << 20;
    image_make(&im, sizes, 400);
    image_store(&im, path);
    return 0;
}

static int sample_teardown(void **state)
{
    (void)state;
    image_free(&im);
    return unlink(path);
}

static st_file *sample_open(uint32_t threads, uint64_t memory, uint32_t io)
{
    st_context_options options = {.max_threads = threads, .max_memory = memory};
    st_context *context;
    st_file *file;
    CHECK_OK(st_context_new(&options, &context, &error));
    CHECK_OK(st_file_open(path, &(st_open_options){.context = context, .io = io}, &file, &error));
    st_context_release(context);
    return file;
}

static bool same_hashes(const st_hashes *a, const st_hashes *b)
{
    return a->count == b->count && memcmp(&a->file, &b->file, sizeof a->file) == 0 &&
           memcmp(&a->data, &b->data, sizeof a->data) == 0 &&
           (a->count == 0 || memcmp(a->tensors, b->tensors, a->count * sizeof *a->tensors) == 0);
}

/* By one thread, as all others must have it. */
static st_hashes sample_hashes(const st_hash_options *options)
{
    st_hashes hashes;
    st_file *file = sample_open(1, 0, ST_IO_AUTO);
    CHECK_OK(st_hashes_read(file, options, &hashes, &error));
    st_file_close(file);
    return hashes;
}

static void test_same_digests(void **state)
{
    (void)state;
    for (uint32_t parts = 1; parts <= 7; parts++) {
        st_hash_options options = {.hash = ST_HASH_XXH3, .parts = parts};
        st_hashes wanted = sample_hashes(&options), hashes;
        for (uint32_t threads = 2; threads <= 9; threads += parts % 2 + 2) {
            st_file *file = sample_open(threads, 0, threads % 2 ? ST_IO_PREAD : ST_IO_MAP);
            CHECK_OK(st_hashes_read(file, &options, &hashes, &error));
            assert_true(same_hashes(&wanted, &hashes));
            st_hashes_release(&hashes);
            st_file_close(file);
        }
        st_hashes_release(&wanted);
    }
}

/* Budgets that allow fewer threads, or hardly anything at all. */
static void test_small_budgets(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {1, 100000, 1 << 20, 3 << 20};
    st_hash_options options = {.hash = ST_HASH_XXH128, .parts = 7};
    st_hashes wanted = sample_hashes(&options), hashes;
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        st_file *file = sample_open(4, budgets[i], ST_IO_AUTO);
        CHECK_OK(st_hashes_read(file, &options, &hashes, &error));
        assert_true(same_hashes(&wanted, &hashes));
        st_hashes_release(&hashes);
        st_file_close(file);
    }
    st_hashes_release(&wanted);
}

/* --------------------------------------------------------------------------------- progress */

typedef struct progress_log {
    pthread_t thread;
    uint64_t last;
    uint64_t total;
    unsigned calls;
    unsigned stop_at; /* the call that ends it; 0: none */
    unsigned faults;
} progress_log;

static bool note_progress(void *ctx, uint64_t done, uint64_t total)
{
    progress_log *log = ctx;
    log->faults += !pthread_equal(pthread_self(), log->thread);
    log->faults += done < log->last || done > total || (log->calls && total != log->total);
    log->last = done;
    log->total = total;
    return ++log->calls != log->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        progress_log log = {.thread = pthread_self()};
        st_hash_options options = {
            .hash = ST_HASH_XXH3, .parts = 7, .progress = {note_progress, &log}};
        st_hashes hashes;
        st_file *file = sample_open(threads, 0, ST_IO_AUTO);
        CHECK_OK(st_hashes_read(file, &options, &hashes, &error));
        assert_int_equal(log.faults, 0);
        assert_true(log.calls > 10);
        assert_int_equal(log.total, im.size + 2 * (im.size - im.data_offset));
        assert_int_equal(log.last, log.total);
        st_hashes_release(&hashes);
        st_file_close(file);
    }
}

/* Of a file without bytes to hash it is told once. */
static void test_progress_of_nothing(void **state)
{
    (void)state;
    image empty;
    image_frame(&empty, "{}", 0);
    st_file *file = image_open(&empty, NULL);
    progress_log log = {.thread = pthread_self()};
    st_hash_options options = {
        .hash = ST_HASH_XXH3, .parts = ST_HASH_TENSORS, .progress = {note_progress, &log}};
    st_hashes hashes;
    CHECK_OK(st_hashes_read(file, &options, &hashes, &error));
    assert_int_equal(log.calls, 1);
    assert_int_equal(log.total, 0);
    st_hashes_release(&hashes);
    log.stop_at = 2;
    CHECK_ERR(st_hashes_read(file, &options, &hashes, &error), ST_ERR_STOPPED, ST_NO_OFFSET);
    st_file_close(file);
    image_free(&empty);
}

static void test_stopping(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        st_file *file = sample_open(threads, 0, ST_IO_AUTO);
        for (unsigned at = 1; at <= 10; at++) {
            progress_log log = {.thread = pthread_self(), .stop_at = at};
            st_hash_options options = {
                .hash = ST_HASH_XXH3, .parts = 7, .progress = {note_progress, &log}};
            st_hashes hashes = {.count = 77};
            CHECK_ERR_TEXT(st_hashes_read(file, &options, &hashes, &error), ST_ERR_STOPPED,
                           ST_NO_OFFSET, "stopped");
            assert_int_equal(log.calls, at);
            assert_int_equal(log.faults, 0);
            assert_int_equal(hashes.count, 77);
        }
        st_file_close(file);
    }
}

/* --------------------------------------------------------------------------------- failures */

/* A source of which some bytes cannot be read; for any thread. */
typedef struct bad_source {
    uint64_t from;
    uint64_t to;
    uint32_t parallelism;
} bad_source;

static st_status bad_info(void *self, st_source_info *out, st_error *error)
{
    const bad_source *bad = self;
    (void)error;
    *out = (st_source_info){.size = im.size, .parallelism = bad->parallelism};
    return ST_OK;
}

static st_status bad_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                          st_error *error)
{
    const bad_source *bad = self;
    for (size_t i = 0; i < count; i++) {
        uint64_t end = offset + segments[i].size;
        if (offset < bad->to && end > bad->from) {
            *error = (st_error){
                .status = ST_ERR_IO, .sys_errno = EIO, .offset = bad->from, .message = "bad block"};
            return ST_ERR_IO;
        }
        memcpy(segments[i].data, im.bytes + offset, segments[i].size);
        offset = end;
    }
    return ST_OK;
}

static void bad_free(void *self)
{
    (void)self;
}

static st_file *bad_open(bad_source *bad, uint32_t threads)
{
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = bad_info, .read = bad_read, .free = bad_free};
    st_context *context;
    st_source *source;
    st_file *file;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = threads}, &context, &error));
    st_open_options options = {.context = context, .name = "bad"};
    CHECK_OK(st_source_new(&vtable, bad, &options, &source, &error));
    CHECK_OK(st_file_open_source(source, &options, &file, &error));
    st_source_release(source);
    st_context_release(context);
    return file;
}

/* Whichever thread meets the fault, it is told, with the tensor's name and the byte. */
static void test_failures(void **state)
{
    (void)state;
    st_hash_options options = {.hash = ST_HASH_XXH3, .parts = ST_HASH_TENSORS};
    st_hashes hashes;
    for (uint32_t threads = 1; threads <= 5; threads++) {
        bad_source bad = {.parallelism = threads};
        st_file *file = bad_open(&bad, threads);
        static const char *const names[] = {"t3", "t50", "t51", "t399"};
        for (size_t i = 0; i < 4; i++) {
            char said[32];
            const st_tensor *tensor = st_file_find(file, names[i], strlen(names[i]));
            bad.from = st_file_offset(file, tensor) + 700000;
            bad.to = bad.from + 1;
            snprintf(said, sizeof said, "tensor \"%s\": bad block", names[i]);
            CHECK_ERR_TEXT(st_hashes_read(file, &options, &hashes, &error), ST_ERR_IO, bad.from,
                           said);
        }
        /* A small one among its neighbours. */
        bad.from = st_file_offset(file, st_file_find(file, "t200", 4));
        bad.to = bad.from + 1;
        CHECK_ERR_TEXT(st_hashes_read(file, &options, &hashes, &error), ST_ERR_IO, bad.from,
                       "bad: tensor \"t200\": bad block");
        st_file_close(file);
    }
}

/* ---------------------------------------------------------------------------------- callers */

typedef struct caller {
    pthread_t thread;
    const st_file *file;
    const st_hash_options *options;
    const st_hashes *wanted;
    unsigned faults; /* of this thread: cmocka's assertions belong to the main one */
} caller;

static void *caller_run(void *arg)
{
    caller *c = arg;
    st_hashes hashes;
    if (st_hashes_read(c->file, c->options, &hashes, NULL) != ST_OK) {
        c->faults++;
        return NULL;
    }
    c->faults += !same_hashes(c->wanted, &hashes);
    st_hashes_release(&hashes);
    return NULL;
}

static void test_callers(void **state)
{
    (void)state;
    st_hash_options options = {.hash = ST_HASH_XXH128, .parts = ST_HASH_FILE | ST_HASH_TENSORS};
#if ST_OPENSSL
    options.hash = ST_HASH_SHA256;
#endif
    st_hashes wanted = sample_hashes(&options);
    st_file *file = sample_open(3, 0, ST_IO_AUTO);
    caller callers[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (caller){.file = file, .options = &options, .wanted = &wanted};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, caller_run, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].faults, 0);
    }
    st_file_close(file);
    st_hashes_release(&wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_digests), cmocka_unit_test(test_small_budgets),
        cmocka_unit_test(test_progress),     cmocka_unit_test(test_progress_of_nothing),
        cmocka_unit_test(test_stopping),     cmocka_unit_test(test_failures),
        cmocka_unit_test(test_callers),
    };
    return cmocka_run_group_tests_name("hashes_threads", tests, sample_setup, sample_teardown);
}
