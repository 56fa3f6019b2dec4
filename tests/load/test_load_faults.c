/* SPDX-License-Identifier: Apache-2.0 */
/* Loads in a world that fails: the n-th system call, read or allocation; files cut off or replaced while they are
 * read; cancelling at every step. Nothing wrong is handed out, nothing leaks, and what was handed out stays. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "files.h"
#include "support/fault.h"
#include "support/oom.h"

#include "io/os_faults.h"

static const shape shapes_small[] = {
    {"F32", 32, 100, 100}, {"U8", 8, 1, 3}, {"F64", 64, 30, 50}, {"U16", 16, 400, 300}};
enum { SMALL = 4 };
/* Large enough for several units: as many as tensors, and then some. */
static const shape shapes_large[] = {
    {"F32", 32, 1024, 1024}, {"F32", 32, 1024, 1024}, {"F32", 32, 1024, 1024}, {"U8", 8, 1, 77}};
enum { LARGE = 4 };

static sample small, large;

static int samples_make(void **state)
{
    (void)state;
    random_state = 2;
    sample_make(&small, shapes_small, SMALL, 5);
    sample_make(&large, shapes_large, LARGE, 0);
    return 0;
}

static int samples_drop(void **state)
{
    (void)state;
    sample_drop(&small);
    sample_drop(&large);
    return 0;
}

/* A context in which everything happens on this thread, and so in the same order each time. */
static st_context *alone(void)
{
    st_context *context = NULL;
    st_context_options options = {.max_threads = 1};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

/* ------------------------------------------------------------------------------- whole loads */

#define ITEMS 12u

/* All tensors of a file, whole, in part and, every other one, to memory of the caller's. */
typedef struct asking {
    st_load_item items[ITEMS];
    st_region regions[ITEMS];
    unsigned char *rooms[ITEMS];
    size_t count;
} asking;

static void asking_begin(asking *ask, const st_file *file)
{
    *ask = (asking){.count = 0};
    for (size_t i = 0; i < 2 * st_file_count(file); i++) {
        st_load_item *item = &ask->items[ask->count];
        *item = (st_load_item){.file = file, .tensor = st_file_at(file, i / 2)};
        if (i % 2) {
            st_region *region = &ask->regions[ask->count];
            CHECK_OK(st_region_parse(region, NULL, item->tensor, ":, ::2", 6, &error));
            item->region = region;
        }
        if (i % 4 > 1) {
            item->size = item_bytes(item);
            item->dst = ask->rooms[ask->count] = malloc(item->size + 1);
        }
        ask->count++;
    }
}

static void asking_end(asking *ask)
{
    for (size_t i = 0; i < ask->count; i++) {
        st_region_release(&ask->regions[i]);
        free(ask->rooms[i]);
    }
}

/* Takes all that there is; whatever is handed out must be right. */
static st_status take_all(st_load *load, const asking *ask, const sample *s, st_error *said)
{
    st_loaded got;
    st_status status;
    do {
        status = st_load_next(load, &got, said);
        if (status != ST_OK || got.item == ST_LOAD_END)
            return status;
        assert_true(item_is_right(&ask->items[got.item], s, got.data));
        st_buffer_release(got.buffer);
    } while (true);
}

static st_status load_all(const asking *ask, const sample *s, const st_load_options *options,
                          st_error *said)
{
    st_load *load = NULL;
    st_status status = st_load_start(ask->items, ask->count, options, &load, said);
    if (status == ST_OK) {
        st_loaded got;
        status = take_all(load, ask, s, said);
        if (status != ST_OK) { /* and again */
            CHECK_ERR(st_load_next(load, &got, &error), status, said ? said->offset : 0);
        }
    }
    st_load_free(load);
    return status;
}

/* ------------------------------------------------------------------------------- memory, source */

static void test_out_of_memory(void **state)
{
    (void)state;
    st_file *file = sample_open_memory(&small, ST_IO_PREAD);
    asking ask;
    asking_begin(&ask, file);
    ST_OOM_LOOP(context, status)
    {
        st_load_options options = {.context = context};
        st_error said = {.status = ST_OK};
        status = load_all(&ask, &small, &options, &said);
    }
    asking_end(&ask);
    st_file_close(file);
}

/* Takes whatever comes, and gives how it ended. */
static st_status take_blindly(const st_load_item *items, const st_load_options *options)
{
    st_load *load = NULL;
    st_loaded got = {.item = 0};
    st_status status = st_load_start(items, LARGE, options, &load, NULL);
    while (status == ST_OK && got.item != ST_LOAD_END) {
        status = st_load_next(load, &got, NULL);
        if (status == ST_OK && got.item != ST_LOAD_END)
            assert_true(item_is_right(&items[got.item], &large, got.data));
        st_buffer_release(status == ST_OK ? got.buffer : NULL);
    }
    st_load_free(load);
    return status;
}

/* Some memory can be done without: that of a ring, and what is kept for the next load. */
static void test_out_of_memory_of_files(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        st_file *file = sample_open(&large, ST_IO_AUTO, NULL);
        st_load_item items[LARGE];
        unsigned failed = 0;
        bool hit = true;
        for (size_t i = 0; i < LARGE; i++)
            items[i] = (st_load_item){.file = file, .tensor = st_file_at(file, i)};
        for (uint64_t n = 1; hit; n++) {
            oom_allocator oom = {.fail_at = 0};
            st_context *context = oom_context_new(&oom);
            st_load_options options = {.io = io_here(io),
                                       .context = context,
                                       .flags = ST_LOAD_VIEWS,
                                       .max_ahead = 1 << 20};
            oom.fail_at = n;
            st_status status = take_blindly(items, &options);
            hit = oom.calls >= n;
            assert_true(status == ST_OK || (hit && status == ST_ERR_NOMEM));
            failed += status != ST_OK;
            st_context_release(context);
            assert_int_equal(oom.outstanding, 0);
        }
        assert_true(failed > 8);
        st_file_close(file);
    }
}

static st_status load_source(st_source *source, st_error *said)
{
    st_context *context = alone();
    st_file *file = NULL;
    st_status status = st_file_open_source(source, NULL, &file, said);
    if (status == ST_OK) {
        asking ask;
        st_load_options options = {.context = context};
        asking_begin(&ask, file);
        status = load_all(&ask, &small, &options, said);
        asking_end(&ask);
        st_file_close(file);
    }
    st_context_release(context);
    return status;
}

static void test_source_fails(void **state)
{
    (void)state;
    for (int kind = FAULT_EIO; kind <= FAULT_TOUCH; kind++) {
        unsigned seen = 0;
        ST_FAULT_LOOP(source, status, (fault_kind)kind, small.bytes, small.size)
        {
            st_error said = {.status = ST_OK};
            status = load_source(source, &said);
            if (status != ST_OK)
                assert_non_null(strstr(said.message, "fault"));
            seen += status != ST_OK;
        }
        assert_true(seen > 3);
    }
}

/* ----------------------------------------------------------------------------------- system */

static st_status load_file(const sample *s, uint32_t io, uint32_t flags, st_error *said)
{
    st_context *context = alone();
    st_open_options open_options = {.context = context};
    st_file *file = NULL;
    st_status status = st_file_open(s->path, &open_options, &file, said);
    if (status == ST_OK) {
        asking ask;
        st_load_options options = {.io = io_here(io), .flags = flags, .context = context};
        asking_begin(&ask, file);
        status = load_all(&ask, s, &options, said);
        asking_end(&ask);
        st_file_close(file);
    }
    st_context_release(context);
    return status;
}

static bool fits(os_fault fault, st_status status, const st_error *error)
{
    if (status != ST_OK && (error->status != status || !strstr(error->message, small.path)))
        return false;
    switch (fault) {
    /* What is refused is replaced; memory that is refused is ST_ERR_NOMEM. */
    case OS_EIO:
        if (strcmp(os_state.last, "fault_mmap") == 0)
            return status == ST_OK || status == ST_ERR_NOMEM;
        return status == ST_OK || (status == ST_ERR_IO && error->sys_errno == EIO);
    case OS_EINTR:
    case OS_SHORT: return status == ST_OK;
    case OS_END: return status == ST_ERR_SHORT_READ || status == ST_OK;
    case OS_RETOUCH: return status == ST_ERR_CHANGED || status == ST_OK;
    case OS_STALL:
    case OS_NONE: break;
    }
    return false;
}

static void test_every_call(void **state)
{
    (void)state;
    for (int fault = OS_EIO; fault <= OS_RETOUCH; fault++)
        for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
            unsigned failed = 0, n = 0;
            do {
                st_error error = {.status = ST_OK};
                os_plant((os_fault)fault, ++n);
                st_status status = load_file(&small, io, io % 2 ? ST_LOAD_VIEWS : 0, &error);
                failed += status != ST_OK;
                if (os_state.hit && !fits((os_fault)fault, status, &error))
                    fail_msg("fault %d at call %u (%s) with io %u: %s, %s", fault, n, os_state.last,
                             io, st_status_name(status), error.message);
                if (!os_state.hit)
                    assert_int_equal(status, ST_OK);
            } while (os_state.hit);
            os_plant(OS_NONE, 0);
            if (fault == OS_EIO || fault == OS_RETOUCH)
                assert_true(failed > 1);
        }
}

/* A failure names tensor and byte, ends the load, and takes nothing back. */
static void test_failure_is_told(void **state)
{
    (void)state;
    st_context *context = alone();
    st_open_options open_options = {.context = context};
    st_file *file = NULL;
    asking ask = {.count = 3};
    CHECK_OK(st_file_open(large.path, &open_options, &file, &error));
    for (size_t i = 0; i < 3; i++)
        ask.items[i] = (st_load_item){.file = file, .tensor = st_file_at(file, i)};
    st_load_options options = {.io = ST_IO_PREAD, .context = context};
    st_load *load = NULL;
    st_loaded got;
    CHECK_OK(st_load_start(ask.items, 3, &options, &load, &error));
    CHECK_OK(st_load_next(load, &got, &error));
    assert_int_equal(got.item, 0);
    os_plant(OS_EIO, 1);
    st_error said = {.status = ST_OK};
    assert_int_equal(st_load_next(load, &(st_loaded){.item = 0}, &said), ST_ERR_IO);
    os_plant(OS_NONE, 0);
    uint64_t at = st_file_offset(file, ask.items[1].tensor);
    assert_in_range(said.offset, at, at + (4 << 20) - 1);
    assert_int_equal(said.sys_errno, EIO);
    assert_non_null(strstr(said.message, "tensor \"t1\""));
    assert_non_null(strstr(said.message, large.path));
    CHECK_ERR_TEXT(st_load_next(load, &(st_loaded){.item = 0}, &error), ST_ERR_IO, said.offset,
                   "t1");
    st_load_free(load);
    assert_true(item_is_right(&ask.items[0], &large, got.data));
    st_buffer_release(got.buffer);
    st_file_close(file);
    st_context_release(context);
}

/* --------------------------------------------------------------------------------- the world */

/* Loads the first tensor of a file of its own, lets `change` happen, and gives what comes next. */
static st_status load_amid(uint32_t io, void (*change)(const sample *s), st_error *said)
{
    st_context *context = alone();
    sample s;
    st_load_item items[3];
    st_load *load = NULL;
    st_loaded got;
    sample_make(&s, shapes_large, LARGE, 0);
    st_file *file = sample_open(&s, ST_IO_AUTO, context);
    for (size_t i = 0; i < 3; i++)
        items[i] = (st_load_item){.file = file, .tensor = st_file_at(file, i)};
    st_load_options options = {.io = io_here(io), .context = context, .max_ahead = 1};
    CHECK_OK(st_load_start(items, 3, &options, &load, &error));
    CHECK_OK(st_load_next(load, &got, &error));
    assert_true(item_is_right(&items[got.item], &s, got.data));
    st_buffer_release(got.buffer);
    change(&s);
    st_status status = st_load_next(load, &got, said);
    if (status == ST_OK)
        st_buffer_release(got.buffer);
    st_load_free(load);
    st_file_close(file);
    sample_drop(&s);
    st_context_release(context);
    return status;
}

static void cut_off(const sample *s)
{
    assert_int_equal(truncate(s->path, (off_t)(s->data_offset + (5 << 20))), 0);
}

static void replace(const sample *s)
{
    char other[80];
    snprintf(other, sizeof other, "%s.new", s->path);
    FILE *f = fopen(other, "wb");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(other, s->path), 0);
}

static void touch(const sample *s)
{
    FILE *f = fopen(s->path, "r+b");
    struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_non_null(f);
    assert_int_equal(futimens(fileno(f), times), 0);
    assert_int_equal(fclose(f), 0);
}

static void test_world_changes(void **state)
{
    (void)state;
    static const uint32_t ways[] = {ST_IO_PREAD, ST_IO_DIRECT, ST_IO_URING, ST_IO_DONTCACHE};
    for (size_t i = 0; i < 4; i++) {
        st_error said = {.status = ST_OK};
        assert_int_equal(load_amid(ways[i], cut_off, &said), ST_ERR_SHORT_READ);
        assert_true(said.offset > (4 << 20) && said.offset < (9 << 20));
        assert_non_null(strstr(said.message, "tensor \"t1\""));
        assert_int_equal(load_amid(ways[i], replace, &said), ST_ERR_CHANGED);
        assert_non_null(strstr(said.message, "/tmp/st_test_load"));
        assert_int_equal(load_amid(ways[i], touch, &said), ST_ERR_CHANGED);
    }
}

/* ------------------------------------------------------------------------------------ ending */

static void test_cancelled_at_every_step(void **state)
{
    (void)state;
    st_context *context = alone();
    st_file *file = sample_open(&large, ST_IO_AUTO, context);
    st_load_item items[LARGE];
    for (size_t i = 0; i < LARGE; i++)
        items[i] = (st_load_item){.file = file, .tensor = st_file_at(file, i)};
    for (size_t after = 0; after <= LARGE; after++) {
        st_load_options options = {.context = context};
        st_load *load = NULL;
        st_loaded got;
        CHECK_OK(st_load_start(items, LARGE, &options, &load, &error));
        for (size_t i = 0; i < after; i++) {
            CHECK_OK(st_load_next(load, &got, &error));
            st_buffer_release(got.buffer);
        }
        st_load_cancel(load);
        st_load_cancel(load);
        CHECK_ERR_TEXT(st_load_next(load, &got, &error), ST_ERR_STOPPED, ST_NO_OFFSET, "cancelled");
        CHECK_ERR(st_load_next(load, &got, &error), ST_ERR_STOPPED, ST_NO_OFFSET);
        st_load_free(load);
    }
    st_file_close(file);
    st_context_release(context);
}

static void test_freed_without_next(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        st_file *file = sample_open(&large, io, NULL);
        st_load_item items[LARGE];
        st_load *load = NULL;
        for (size_t i = 0; i < LARGE; i++)
            items[i] = (st_load_item){.file = file, .tensor = st_file_at(file, i)};
        CHECK_OK(st_load_start(items, LARGE, NULL, &load, &error));
        st_load_free(load);
        st_file_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_out_of_memory_of_files),
        cmocka_unit_test(test_source_fails),
        cmocka_unit_test(test_every_call),
        cmocka_unit_test(test_failure_is_told),
        cmocka_unit_test(test_world_changes),
        cmocka_unit_test(test_cancelled_at_every_step),
        cmocka_unit_test(test_freed_without_next),
    };
    return cmocka_run_group_tests(tests, samples_make, samples_drop);
}
