/* SPDX-License-Identifier: Apache-2.0 */
/* Casts by several threads: the same bytes, numbers and failures whatever their count; the caller's thread alone is
 * told how far they are, and can end them. */
#include "file/edited.h"
#include "support/oom.h"

#include <pthread.h>

/* Bytes of "a", which one thread casts alone, and of "b" and "c": whole elements of every size, no whole blocks. */
#define SHORT_BYTES ((size_t)192 * 21)
#define LONG_BYTES  ((size_t)192 * 27308)
#define DATA_BYTES  (SHORT_BYTES + 2 * LONG_BYTES)

static unsigned char *image;
static size_t image_size, data_offset;

/* A file of three tensors of one dtype; all bits occur, and numbers out of range of what is narrower. */
static void image_make(st_dtype dtype)
{
    char header[400];
    const char *code = st_dtype_code(dtype);
    size_t bits = st_dtype_bits(dtype), few = SHORT_BYTES * 8 / bits, many = LONG_BYTES * 8 / bits;
    int len = sprintf(header,
                      "{\"a\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]},"
                      "\"b\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]},"
                      "\"c\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}}",
                      code, few, SHORT_BYTES, code, many, SHORT_BYTES, SHORT_BYTES + LONG_BYTES,
                      code, many, SHORT_BYTES + LONG_BYTES, DATA_BYTES);
    uint32_t state = 7;
    data_offset = 8 + (size_t)len;
    image_size = data_offset + DATA_BYTES;
    image = calloc(1, image_size);
    assert_non_null(image);
    image[0] = (unsigned char)len;
    image[1] = (unsigned char)(len >> 8);
    memcpy(image + 8, header, (size_t)len);
    for (size_t i = data_offset; i < image_size; i++) {
        state = state * 1664525 + 1013904223;
        image[i] = (unsigned char)(state >> 24);
    }
}

static st_context *context_of(uint32_t threads)
{
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = threads}, &context, &error));
    return context;
}

/* ----------------------------------------------------------------------------- source and sink */

/* Bytes that are not known to lie in memory, of which some may be missing. */
typedef struct pierced_source {
    uint64_t bad[2]; /* that cannot be read, in rising order; 0: none */
} pierced_source;

static st_status pierced_info(void *self, st_source_info *out, st_error *error)
{
    (void)self;
    (void)error;
    out->size = image_size;
    return ST_OK;
}

static st_status pierced_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                              st_error *error)
{
    const pierced_source *pierced = self;
    for (size_t i = 0; i < count; i++) {
        for (int b = 0; b < 2; b++) {
            uint64_t bad = pierced->bad[b];
            if (!bad || bad < offset || bad - offset >= segments[i].size)
                continue;
            if (error)
                *error = (st_error){ST_ERR_IO, EIO, bad, "planted"};
            return ST_ERR_IO;
        }
        memcpy(segments[i].data, image + offset, segments[i].size);
        offset += segments[i].size;
    }
    return ST_OK;
}

static void pierced_free(void *self)
{
    (void)self;
}

static st_file *pierced_open(pierced_source *pierced, st_context *context)
{
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = pierced_info, .read = pierced_read, .free = pierced_free};
    st_open_options options = {.context = context, .name = "pierced"};
    st_source *source;
    st_file *file;
    CHECK_OK(st_source_new(&vtable, pierced, &options, &source, &error));
    CHECK_OK(st_file_open_source(source, &options, &file, &error));
    st_source_release(source);
    return file;
}

/* Takes what the caller's thread writes of "b" no further until another thread has written. */
typedef struct meeting_sink {
    unsigned char *data;
    uint64_t from; /* where that begins */
    pthread_t caller;
    pthread_mutex_t lock;
    pthread_cond_t other_wrote;
    bool met;
} meeting_sink;

static st_status meeting_write(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                               st_error *error)
{
    meeting_sink *meeting = self;
    bool here = pthread_equal(meeting->caller, pthread_self());
    (void)error;
    pthread_mutex_lock(&meeting->lock);
    if (!here) {
        meeting->met = true;
        pthread_cond_broadcast(&meeting->other_wrote);
    }
    while (here && offset >= meeting->from && !meeting->met)
        pthread_cond_wait(&meeting->other_wrote, &meeting->lock);
    pthread_mutex_unlock(&meeting->lock);
    for (size_t i = 0; i < count; i++) {
        memcpy(meeting->data + offset, pieces[i].data, pieces[i].size);
        offset += pieces[i].size;
    }
    return ST_OK;
}

static void meeting_free(void *self)
{
    (void)self;
}

/* --------------------------------------------------------------------------------------- edits */

typedef struct casts_told {
    uint64_t overflowed[3], underflowed[3];
    size_t count;
    pthread_t caller;
} casts_told;

static bool cast_note(void *ctx, const st_tensor *tensor, uint64_t overflowed, uint64_t underflowed)
{
    casts_told *told = ctx;
    assert_true(pthread_equal(told->caller, pthread_self()));
    assert_int_equal(tensor->name[0], 'a' + told->count);
    told->overflowed[told->count] = overflowed;
    told->underflowed[told->count] = underflowed;
    told->count++;
    return true;
}

static st_edit *edit_of(const st_file *file, const st_edit_options *options, st_dtype to)
{
    st_edit *edit;
    CHECK_OK(st_edit_new(file, options, &edit, &error));
    for (size_t i = 0; i < 3; i++)
        CHECK_OK(st_edit_cast(edit, st_file_at(file, i), to, &error));
    return edit;
}

/* What the new file's data has to be. */
static unsigned char *casts_expect(st_dtype from, st_dtype to, casts_told *told)
{
    const uint64_t starts[] = {0, SHORT_BYTES, SHORT_BYTES + LONG_BYTES, DATA_BYTES};
    uint64_t from_bits = st_dtype_bits(from), to_bits = st_dtype_bits(to);
    unsigned char *expected = malloc(DATA_BYTES / from_bits * to_bits);
    *told = (casts_told){.count = 3};
    for (int i = 0; i < 3; i++) {
        st_cast_report report = {0};
        CHECK_OK(st_elements_cast(from, image + data_offset + starts[i], to,
                                  expected + starts[i] / from_bits * to_bits,
                                  (starts[i + 1] - starts[i]) * 8 / from_bits, &report));
        told->overflowed[i] = report.overflowed;
        told->underflowed[i] = report.underflowed;
    }
    return expected;
}

static void check_casts(st_file *file, st_context *context, st_dtype to, bool sequential)
{
    st_dtype from = st_file_at(file, 0)->dtype;
    casts_told told = {.caller = pthread_self()}, wanted;
    unsigned char *expected = casts_expect(from, to, &wanted);
    uint64_t size = DATA_BYTES / st_dtype_bits(from) * st_dtype_bits(to);
    st_edit *edit = edit_of(file, &(st_edit_options){.context = context}, to);
    st_edit_on_cast(edit, cast_note, &told);
    edited made;
    edited_make(&made, edit, sequential);
    assert_memory_equal(made.probe.data + made.probe.size - size, expected, size);
    assert_int_equal(told.count, 3);
    assert_memory_equal(told.overflowed, wanted.overflowed, sizeof told.overflowed);
    assert_memory_equal(told.underflowed, wanted.underflowed, sizeof told.underflowed);
    assert_int_equal(made.summary.overflowed,
                     told.overflowed[0] + told.overflowed[1] + told.overflowed[2]);
    assert_int_equal(made.summary.underflowed,
                     told.underflowed[0] + told.underflowed[1] + told.underflowed[2]);
    edited_close(&made);
    st_edit_free(edit);
    free(expected);
}

/* ---------------------------------------------------------------------------------------- tests */

static void test_number_of_threads(void **state)
{
    (void)state;
    static const st_dtype pairs[][2] = {{ST_F32, ST_F16},     {ST_F32, ST_F8_E4M3},
                                        {ST_F64, ST_F6_E2M3}, {ST_BF16, ST_F64},
                                        {ST_F6_E3M2, ST_F16}, {ST_F4, ST_BF16}};
    static const uint32_t threads[] = {1, 2, 7};
    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
        image_make(pairs[p][0]);
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            st_context *context = context_of(threads[t]);
            pierced_source sound = {{0, 0}};
            st_file *file = pierced_open(&sound, context);
            check_casts(file, context, pairs[p][1], false);
            check_casts(file, context, pairs[p][1], true);
            check_casts(file, NULL, pairs[p][1], false);
            st_file_close(file);
            st_context_release(context);
        }
        free(image);
    }
}

/* Without a second thread this would not end. */
static void test_threads_take_part(void **state)
{
    (void)state;
    static const st_sink_vtable vtable = {
        .size = sizeof vtable, .write = meeting_write, .free = meeting_free};
    image_make(ST_F32);
    st_context *context = context_of(2);
    pierced_source sound = {{0, 0}};
    st_file *file = pierced_open(&sound, context);
    st_edit *edit = edit_of(file, &(st_edit_options){.context = context}, ST_BF16);
    st_edit_summary summary;
    casts_told told;
    unsigned char *expected = casts_expect(ST_F32, ST_BF16, &told);
    CHECK_OK(st_edit_look(edit, &summary, &error));
    meeting_sink meeting = {.data = malloc((size_t)summary.size),
                            .from = summary.size - LONG_BYTES,
                            .caller = pthread_self()};
    pthread_mutex_init(&meeting.lock, NULL);
    pthread_cond_init(&meeting.other_wrote, NULL);
    st_sink *sink;
    CHECK_OK(st_sink_new(&vtable, &meeting, NULL, &sink, &error));
    CHECK_OK(st_edit_write(edit, sink, NULL, &error));
    assert_true(meeting.met);
    assert_memory_equal(meeting.data + summary.size - DATA_BYTES / 2, expected, DATA_BYTES / 2);
    st_sink_release(sink);
    pthread_cond_destroy(&meeting.other_wrote);
    pthread_mutex_destroy(&meeting.lock);
    free(meeting.data);
    free(expected);
    st_edit_free(edit);
    st_file_close(file);
    st_context_release(context);
    free(image);
}

typedef struct progress_log {
    pthread_t caller;
    unsigned calls;
    unsigned stop_at; /* the call that says no, from 1; 0: none */
    uint64_t last;
} progress_log;

static bool progress_note(void *ctx, uint64_t done, uint64_t total)
{
    progress_log *log = ctx;
    assert_true(pthread_equal(log->caller, pthread_self()));
    assert_true(done >= log->last && done <= total && total == DATA_BYTES / 2);
    log->last = done;
    return ++log->calls != log->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    image_make(ST_F32);
    st_context *context = context_of(7);
    pierced_source sound = {{0, 0}};
    st_file *file = pierced_open(&sound, context);
    progress_log log = {.caller = pthread_self()};
    st_edit_options options = {.context = context, .progress = {progress_note, &log}};
    st_edit *edit = edit_of(file, &options, ST_BF16);
    edited made;
    edited_make(&made, edit, false);
    assert_true(log.calls >= 2); /* once for each tensor of several threads, at least */
    assert_int_equal(log.last, DATA_BYTES / 2);
    edited_close(&made);
    for (unsigned stop_at = 1; stop_at <= 2; stop_at++) {
        probe_sink probe = {0};
        st_sink *sink = probe_sink_new(&probe, NULL);
        log = (progress_log){.caller = pthread_self(), .stop_at = stop_at};
        CHECK_ERR_TEXT(st_edit_write(edit, sink, NULL, &error), ST_ERR_STOPPED, ST_NO_OFFSET,
                       "probe: stopped by the caller after");
        st_sink_release(sink);
        assert_int_equal(log.calls, stop_at); /* and not asked again */
        assert_false(probe.finished);
        free(probe.data);
    }
    st_edit_free(edit);
    st_file_close(file);
    st_context_release(context);
    free(image);
}

/* Of two tensors that cannot be read, each at two bytes, the first byte of the first is told. */
static void test_unreadable(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 2, 7};
    image_make(ST_F32);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        st_context *context = context_of(threads[t]);
        pierced_source pierced = {{0, 0}};
        st_file *file = pierced_open(&pierced, context);
        for (int round = 0; round < 4; round++) {
            uint64_t b = data_offset + SHORT_BYTES;
            probe_sink probe = {0};
            casts_told told = {.caller = pthread_self()};
            st_edit *edit = edit_of(file, &(st_edit_options){.context = context}, ST_F8_E4M3);
            st_edit_on_cast(edit, cast_note, &told);
            pierced.bad[0] = b + 2000000;
            pierced.bad[1] = round % 2 ? b + LONG_BYTES + 5 : b + 2300000;
            st_sink *sink = probe_sink_new(&probe, NULL);
            CHECK_ERR_TEXT(st_edit_write(edit, sink, NULL, &error), ST_ERR_IO, pierced.bad[0],
                           "pierced: tensor \"b\": planted");
            st_sink_release(sink);
            assert_int_equal(told.count, 1);
            assert_false(probe.finished);
            free(probe.data);
            st_edit_free(edit);
        }
        st_file_close(file);
        st_context_release(context);
    }
    free(image);
}

/* The sink fails on whichever thread: the failure is told once, and none that it brings about. */
static void test_unwritable(void **state)
{
    (void)state;
    image_make(ST_F32);
    st_context *context = context_of(7);
    pierced_source sound = {{0, 0}};
    st_file *file = pierced_open(&sound, context);
    st_edit *edit = edit_of(file, &(st_edit_options){.context = context}, ST_BF16);
    for (unsigned n = 4; n < 40; n += 5) {
        probe_sink probe = {.fail_at = n};
        st_sink *sink = probe_sink_new(&probe, NULL);
        st_error error = {.status = ST_OK};
        assert_int_equal(st_edit_write(edit, sink, NULL, &error), ST_ERR_IO);
        assert_int_equal(error.status, ST_ERR_IO);
        assert_int_equal(error.sys_errno, EIO);
        const char *said = strstr(error.message, "planted");
        assert_non_null(said);
        assert_string_equal(said, "planted");
        assert_int_equal(strncmp(error.message, "probe: ", 7), 0);
        assert_true(error.offset < probe.size);
        st_sink_release(sink);
        assert_false(probe.finished);
        assert_true(probe.freed);
        free(probe.data);
    }
    st_edit_free(edit);
    st_file_close(file);
    st_context_release(context);
    free(image);
}

/* Out of memory, which no thread but the caller's takes without the writer's lock. */
static void test_out_of_memory(void **state)
{
    (void)state;
    image_make(ST_F32);
    for (oom_allocator oom = {.fail_at = 1, .threads = 3};; oom.fail_at++) {
        oom.calls = 0;
        st_context *context = oom_context_new(&oom);
        st_memory memory = {image, image_size, NULL, NULL};
        st_file *file = NULL;
        st_error error;
        st_status status =
            st_file_open_memory(&memory, &(st_open_options){.context = context}, &file, &error);
        st_edit *edit = NULL;
        if (status == ST_OK)
            status = st_edit_new(file, &(st_edit_options){.context = context}, &edit, &error);
        for (size_t i = 0; i < 3 && status == ST_OK; i++)
            status = st_edit_cast(edit, st_file_at(file, i), ST_F16, &error);
        probe_sink probe = {.forgets = true};
        st_sink *sink = probe_sink_new(&probe, NULL);
        if (status == ST_OK)
            status = st_edit_write(edit, sink, NULL, &error);
        st_sink_release(sink);
        st_edit_free(edit);
        st_file_close(file);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
        assert_int_equal(status, oom.calls < oom.fail_at ? ST_OK : ST_ERR_NOMEM);
        assert_int_equal(probe.finished, status == ST_OK);
        if (status == ST_OK)
            break;
    }
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_of_threads), cmocka_unit_test(test_threads_take_part),
        cmocka_unit_test(test_progress),          cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_unwritable),        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("edit_threads", tests, NULL, NULL);
}
