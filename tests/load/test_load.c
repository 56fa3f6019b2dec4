/* SPDX-License-Identifier: Apache-2.0 */
/* Loads: the right bytes of every kind of item by every strategy, each once, at places that fit them; progress,
 * options, and what is explained. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "files.h"

#include "load/load.h"

static const shape shapes_a[] = {
    {"F32", 32, 10, 6},  {"U8", 8, 1, 3},        {"F64", 64, 0, 5},   {"BF16", 16, 300, 400},
    {"F4", 4, 6, 4},     {"F32", 32, 2300, 512}, {"I64", 64, 1, 1},   {"C64", 64, 17, 3},
    {"U8", 8, 700, 601}, {"F16", 16, 1, 1001},   {"F32", 32, 90, 70}, {"F64", 64, 500, 400},
};
static const shape shapes_b[] = {
    {"U8", 8, 1, 1},     {"F32", 32, 50, 50},     {"F32", 32, 900, 90},
    {"U16", 16, 200, 9}, {"F6_E2M3", 6, 40, 400}, {"F64", 64, 300, 200},
};
enum { COUNT_A = 12, COUNT_B = 6 };

static sample a, b;

static int samples_make(void **state)
{
    (void)state;
    random_state = 1;
    sample_make(&a, shapes_a, COUNT_A, 0);
    sample_make(&b, shapes_b, COUNT_B, 3);
    return 0;
}

static int samples_drop(void **state)
{
    (void)state;
    sample_drop(&a);
    sample_drop(&b);
    return 0;
}

/* ------------------------------------------------------------------------------------- wishes */

#define ITEMS_MAX 64u

/* A list of items, with what stands behind them. */
typedef struct wishes {
    st_file *files[2];
    st_load_item items[ITEMS_MAX];
    const sample *from[ITEMS_MAX];
    st_region regions[ITEMS_MAX];
    void *rooms[ITEMS_MAX];
    size_t count;
} wishes;

static st_load_item *wish(wishes *w, int which, const char *name, const char *index)
{
    size_t i = w->count++;
    st_load_item *item = &w->items[i];
    w->from[i] = which ? &b : &a;
    item->file = w->files[which];
    item->tensor = st_file_find(item->file, name, strlen(name));
    assert_non_null(item->tensor);
    if (index) {
        CHECK_OK(st_region_parse(&w->regions[i], NULL, item->tensor, index, strlen(index), &error));
        item->region = &w->regions[i];
    }
    return item;
}

/* The same, to memory of the caller's, at an odd address. */
static void wish_into(wishes *w, int which, const char *name, const char *index)
{
    st_load_item *item = wish(w, which, name, index);
    size_t i = w->count - 1;
    item->size = item_bytes(item);
    w->rooms[i] = malloc(item->size + 1);
    assert_non_null(w->rooms[i]);
    item->dst = (char *)w->rooms[i] + 1;
}

static void wishes_begin(wishes *w, uint32_t io, st_context *context)
{
    memset(w, 0, sizeof *w);
    w->files[0] = sample_open(&a, io, context);
    w->files[1] = sample_open(&b, io, context);
}

/* A bit of everything: files in turn, parts, copies, twice the same, empty. */
static void wishes_mix(wishes *w)
{
    char name[8];
    for (int i = COUNT_A - 1; i >= 0; i--) {
        snprintf(name, sizeof name, "t%d", i);
        wish(w, 0, name, NULL);
        if (i < COUNT_B) {
            wish(w, 1, name, NULL);
            wish_into(w, 1, name, NULL);
        }
    }
    wish(w, 0, "t5", "100:200");
    wish(w, 0, "t5", ":, ::7");
    wish_into(w, 0, "t5", "::-3, 5:1000");
    wish(w, 0, "t3", ":, 10:20");
    wish(w, 0, "t10", "::2");
    wish(w, 0, "t0", "3:3");
    wish_into(w, 0, "t5", NULL);
    wish(w, 0, "t11", NULL);
    wish(w, 0, "t8", "5:600");
    wish_into(w, 0, "t2", NULL);
    wish(w, 1, "t4", "10:30");
}

static void wishes_end(wishes *w)
{
    for (size_t i = 0; i < w->count; i++) {
        st_region_release(&w->regions[i]);
        free(w->rooms[i]);
    }
    st_file_close(w->files[0]);
    st_file_close(w->files[1]);
}

/* How one load is gone through. */
typedef struct walk {
    st_buffer *kept[ITEMS_MAX];
    bool seen[ITEMS_MAX];
    size_t count;
    uint64_t done;
    uint64_t total;
} walk;

static void walk_item(walk *walked, const wishes *w, const st_loaded *got, bool views)
{
    assert_true(got->item < w->count);
    const st_load_item *item = &w->items[got->item];
    uint32_t bits = st_dtype_bits(item->tensor->dtype);
    assert_false(walked->seen[got->item]);
    walked->seen[got->item] = true;
    assert_int_equal(got->size, item_bytes(item));
    assert_true(item_is_right(item, w->from[got->item], got->data));
    if (item->dst) {
        assert_ptr_equal(got->data, item->dst);
        assert_null(got->buffer);
    } else if (got->size) {
        assert_non_null(got->buffer);
        const unsigned char *data = got->data, *start = st_buffer_data(got->buffer);
        assert_true(data >= start && data + got->size <= start + st_buffer_size(got->buffer));
        if (!views && bits >= 8)
            assert_int_equal((uintptr_t)data % (bits / 8), 0);
        if (!views) /* of which two may show the same bytes */
            memset(got->data, 0x55, got->size);
    }
    walked->done += got->size;
    assert_int_equal(got->done, walked->done);
    assert_int_equal(got->total, walked->total);
}

static void check_load(const wishes *w, const st_load_options *options, bool keep)
{
    walk walked = {.count = 0};
    st_load *load = NULL;
    st_loaded got;
    bool views = options && options->flags & ST_LOAD_VIEWS;
    for (size_t i = 0; i < w->count; i++)
        walked.total += item_bytes(&w->items[i]);
    CHECK_OK(st_load_start(w->items, w->count, options, &load, &error));
    for (;;) {
        CHECK_OK(st_load_next(load, &got, &error));
        if (got.item == ST_LOAD_END)
            break;
        walk_item(&walked, w, &got, views);
        walked.kept[walked.count++] = got.buffer;
        if (!keep)
            st_buffer_release(walked.kept[--walked.count]);
    }
    assert_int_equal(got.done, walked.total);
    for (size_t i = 0; i < w->count; i++)
        assert_true(walked.seen[i]);
    CHECK_OK(st_load_next(load, &got, &error)); /* the end stays */
    assert_true(got.item == ST_LOAD_END);
    st_load_free(load);
    while (walked.count) { /* buffers live on */
        st_buffer *kept = walked.kept[--walked.count];
        if (kept)
            memset(st_buffer_data(kept), 1, 1);
        st_buffer_release(kept);
    }
}

static st_context *context_of(uint32_t threads)
{
    st_context *context = NULL;
    st_context_options options = {.max_threads = threads};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

/* ------------------------------------------------------------------------------------- tests */

static void test_every_strategy(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 4};
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++)
        for (uint32_t i = 0; i < 4; i++) {
            st_context *context = context_of(threads[i % 2]);
            st_load_options options = {
                .io = io_here(io), .flags = i / 2 ? ST_LOAD_VIEWS : 0, .context = context};
            wishes w;
            wishes_begin(&w, ST_IO_AUTO, context);
            wishes_mix(&w);
            check_load(&w, &options, i % 2);
            wishes_end(&w);
            st_context_release(context);
        }
}

static void test_without_options(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        wishes w;
        wishes_begin(&w, io, NULL);
        wishes_mix(&w);
        check_load(&w, NULL, true);
        wishes_end(&w);
    }
}

/* What the caller holds counts; what he waits for comes all the same. */
static void test_ahead(void **state)
{
    (void)state;
    static const uint64_t ahead[] = {1, 4096, 1 << 20, 64 << 20};
    for (uint32_t i = 0; i < 16; i++) {
        st_context *context = context_of(i / 8 ? 4 : 1);
        st_load_options options = {
            .io = i % 2 ? ST_IO_DIRECT : 0, .max_ahead = ahead[i / 2 % 4], .context = context};
        wishes w;
        wishes_begin(&w, ST_IO_AUTO, context);
        wishes_mix(&w);
        check_load(&w, &options, false);
        check_load(&w, &options, true);
        wishes_end(&w);
        st_context_release(context);
    }
}

/* Whoever releases what he takes never has more in memory than he allowed, or than one block of one item. */
static void test_ahead_is_kept_to(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        st_context *context = context_of(threads);
        st_load_options options = {.max_ahead = 400000, .context = context};
        st_load *load = NULL;
        st_loaded got = {.item = 0};
        uint64_t largest = options.max_ahead, most = 0;
        wishes w;
        wishes_begin(&w, ST_IO_AUTO, NULL);
        wishes_mix(&w);
        CHECK_OK(st_load_start(w.items, w.count, &options, &load, &error));
        for (uint32_t i = 0; i < load->plan.block_count; i++)
            if (load->plan.blocks[i].payload > largest)
                largest = load->plan.blocks[i].payload;
        while (got.item != ST_LOAD_END) {
            CHECK_OK(st_load_next(load, &got, &error));
            st__lock_take(&load->gate->lock);
            most = load->gate->live > most ? load->gate->live : most;
            st__lock_drop(&load->gate->lock);
            st_buffer_release(got.buffer);
        }
        assert_in_range(most, 1, largest);
        assert_int_equal(load->gate->live, 0);
        st_load_free(load);
        wishes_end(&w);
        st_context_release(context);
    }
}

static void test_from_memory(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        wishes w = {.count = 0};
        st_load_options options = {.io = io_here(io), .flags = io % 2 ? ST_LOAD_VIEWS : 0};
        w.files[0] = sample_open_memory(&a, ST_IO_AUTO);
        w.files[1] = sample_open_memory(&b, ST_IO_PREAD);
        wishes_mix(&w);
        check_load(&w, &options, false);
        assert_memory_equal(a.bytes + 8, "{\"t0\"", 5);
        wishes_end(&w);
    }
}

/* Views show the file, and writing to one changes neither the file nor another load's. */
static void check_views(uint32_t io, st_context *context)
{
    wishes w;
    st_load_options options = {.io = io, .flags = ST_LOAD_VIEWS, .context = context};
    wishes_begin(&w, ST_IO_AUTO, NULL);
    wish(&w, 0, "t5", NULL);
    wish(&w, 0, "t3", "10:20");
    wish(&w, 0, "t8", ":, 3:5");
    st_load *load = NULL;
    st_loaded got[3];
    st_explanation told;
    CHECK_OK(st_load_start(w.items, 3, &options, &load, &error));
    st_load_explain(load, 0, &told);
    assert_int_equal(told.io, io);
    for (int i = 0; i < 3; i++)
        CHECK_OK(st_load_next(load, &got[i], &error));
    assert_int_equal(got[0].item, 1); /* in the order of the file */
    assert_int_equal(got[1].item, 0);
    assert_int_equal(got[2].item, 2);
    assert_ptr_equal(got[0].buffer, got[1].buffer);
    assert_int_equal(st_buffer_size(got[0].buffer), a.size);
    assert_ptr_not_equal(got[2].buffer, got[0].buffer);
    for (int i = 0; i < 3; i++) {
        memset(got[i].data, 0x55, got[i].size);
        st_buffer_release(got[i].buffer);
    }
    st_load_free(load);
    check_load(&w, &options, true);
    wishes_end(&w);
}

static void test_views(void **state)
{
    (void)state;
    st_context *context = context_of(1);
    check_views(ST_IO_MAP, context);
    check_views(ST_IO_POPULATE, context);
    st_context_release(context);
}

/* Twice the same tensor is two copies. */
static void test_twice(void **state)
{
    (void)state;
    wishes w;
    st_load *load = NULL;
    st_loaded got[2];
    wishes_begin(&w, ST_IO_AUTO, NULL);
    wish(&w, 0, "t5", NULL);
    wish(&w, 0, "t5", NULL);
    CHECK_OK(st_load_start(w.items, 2, NULL, &load, &error));
    CHECK_OK(st_load_next(load, &got[0], &error));
    CHECK_OK(st_load_next(load, &got[1], &error));
    assert_true((char *)got[0].data >= (char *)got[1].data + got[1].size ||
                (char *)got[1].data >= (char *)got[0].data + got[0].size);
    st_load_free(load);
    assert_memory_equal(got[0].data, got[1].data, got[0].size);
    st_buffer_release(got[0].buffer);
    st_buffer_release(got[1].buffer);
    wishes_end(&w);
}

static void test_order(void **state)
{
    (void)state;
    wishes w;
    st_context *context = context_of(1);
    st_load_options options = {.context = context};
    st_load *load = NULL;
    st_loaded got;
    wishes_begin(&w, ST_IO_AUTO, NULL);
    wish(&w, 1, "t5", NULL);
    wish(&w, 0, "t11", NULL);
    wish(&w, 1, "t2", NULL);
    wish(&w, 0, "t3", NULL);
    CHECK_OK(st_load_start(w.items, w.count, &options, &load, &error));
    assert_int_equal(st_load_file_count(load), 2);
    static const size_t order[] = {2, 0, 3, 1}; /* files as named, tensors as they lie */
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(st_load_next(load, &got, &error));
        assert_int_equal(got.item, order[i]);
        st_buffer_release(got.buffer);
    }
    st_load_free(load);
    st_context_release(context);
    wishes_end(&w);
}

static void test_nothing_to_load(void **state)
{
    (void)state;
    st_load *load = NULL;
    st_loaded got;
    CHECK_OK(st_load_start(NULL, 0, NULL, &load, &error));
    assert_int_equal(st_load_file_count(load), 0);
    CHECK_OK(st_load_next(load, &got, &error));
    assert_true(got.item == ST_LOAD_END);
    assert_int_equal(got.done + got.total, 0);
    st_load_free(load);
    st_load_free(NULL);
}

static void test_explain(void **state)
{
    (void)state;
    static const uint32_t forced[] = {ST_IO_PREAD, ST_IO_MAP, ST_IO_DIRECT};
    wishes w;
    wishes_begin(&w, ST_IO_AUTO, NULL);
    wish(&w, 1, "t5", NULL);
    wish(&w, 0, "t5", NULL);
    for (size_t i = 0; i < 3; i++) {
        st_load_options options = {.io = forced[i]};
        st_load *load = NULL;
        CHECK_OK(st_load_start(w.items, w.count, &options, &load, &error));
        for (size_t k = 0; k < 2; k++) {
            st_explanation told;
            st_load_explain(load, k, &told);
            if (forced[i] != ST_IO_DIRECT) /* which a file system may refuse */
                assert_int_equal(told.io, forced[i]);
            assert_int_equal(told.bytes, item_bytes(&w.items[k]));
            assert_true(told.threads >= 1 && told.depth >= 1);
            assert_non_null(strstr(told.text, st_io_name(told.io)));
        }
        st_load_free(load);
    }
    wishes_end(&w);
}

/* More files than are asked about and kept open at once. */
static void test_many_files(void **state)
{
    (void)state;
    enum { FILES = 40 };
    static const shape small[] = {{"F32", 32, 30, 30}, {"F32", 32, 300, 70}};
    sample samples[FILES];
    st_load_item items[2 * FILES] = {{.file = NULL}};
    st_context_options limits = {.max_descriptors = 4, .max_threads = 3};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&limits, &context, &error));
    for (size_t i = 0; i < FILES; i++) {
        sample_make(&samples[i], small, 2, 0);
        items[2 * i].file = items[2 * i + 1].file =
            sample_open(&samples[i], i % 2 ? ST_IO_DIRECT : ST_IO_AUTO, context);
        items[2 * i].tensor = st_file_at(items[2 * i].file, 1);
        items[2 * i + 1].tensor = st_file_at(items[2 * i].file, 0);
    }
    st_load_options options = {.context = context};
    st_load *load = NULL;
    st_loaded got;
    CHECK_OK(st_load_start(items, 2 * FILES, &options, &load, &error));
    assert_int_equal(st_load_file_count(load), FILES);
    for (size_t i = 0; i < 2 * FILES; i++) {
        CHECK_OK(st_load_next(load, &got, &error));
        assert_true(item_is_right(&items[got.item], &samples[got.item / 2], got.data));
        st_buffer_release(got.buffer);
    }
    st_explanation told;
    st_load_explain(load, FILES - 1, &told);
    assert_int_equal(told.bytes, (30 * 30 + 300 * 70) * 4);
    st_load_free(load);
    for (size_t i = 0; i < FILES; i++) {
        st_file_close((st_file *)(uintptr_t)items[2 * i].file);
        sample_drop(&samples[i]);
    }
    st_context_release(context);
}

/* ---------------------------------------------------------------------------------- refusals */

static st_load *no_load;

static void test_refused_options(void **state)
{
    (void)state;
    CHECK_ERR_TEXT(st_load_start(NULL, 0, &(st_load_options){.io = 7}, &no_load, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "unknown io strategy 7");
    CHECK_ERR_TEXT(st_load_start(NULL, 0, &(st_load_options){.flags = 2}, &no_load, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "unknown flags 0x2");
    CHECK_ERR_TEXT(st_load_start(NULL, 0, &(st_load_options){.reserved = {0, 1}}, &no_load, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "reserved");
    assert_null(no_load);
}

static void test_refused_items(void **state)
{
    (void)state;
    wishes w;
    char room[240];
    wishes_begin(&w, ST_IO_AUTO, NULL);
    st_load_item *item = wish(&w, 0, "t0", NULL);
    item->dst = room;
    item->size = sizeof room - 1;
    CHECK_ERR_TEXT(st_load_start(item, 1, NULL, &no_load, &error), ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                   "tensor \"t0\": the buffer has 239 bytes, and 240 are to be loaded");
    item->dst = NULL;
    CHECK_ERR_TEXT(st_load_start(item, 1, NULL, &no_load, &error), ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                   "without a buffer its size is 0");
    item->size = 0;
    item->reserved[2] = 1;
    CHECK_ERR_TEXT(st_load_start(item, 1, NULL, &no_load, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "st_load_item");
    item->reserved[2] = 0;
    st_load_item *part = wish(&w, 0, "t10", "::2");
    part->tensor = item->tensor;
    CHECK_ERR_TEXT(st_load_start(part, 1, NULL, &no_load, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "tensor \"t0\"");
#if SIZE_MAX > UINT32_MAX
    CHECK_ERR_TEXT(st_load_start(item, (size_t)UINT32_MAX, NULL, &no_load, &error), ST_ERR_TOO_BIG,
                   ST_NO_OFFSET, "too many for one load");
#endif
    assert_null(no_load);
    wishes_end(&w);
}

static void test_changed_before(void **state)
{
    (void)state;
    static const shape one[] = {{"U8", 8, 10, 10}};
    sample s;
    sample_make(&s, one, 1, 0);
    st_file *file = sample_open(&s, ST_IO_AUTO, NULL);
    st_load_item item = {.file = file, .tensor = st_file_at(file, 0)};
    assert_int_equal(truncate(s.path, (off_t)s.size - 1), 0);
    CHECK_ERR_TEXT(st_load_start(&item, 1, NULL, &no_load, &error), ST_ERR_CHANGED, ST_NO_OFFSET,
                   s.path);
    assert_null(no_load);
    st_file_close(file);
    sample_drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_strategy),  cmocka_unit_test(test_without_options),
        cmocka_unit_test(test_ahead),           cmocka_unit_test(test_ahead_is_kept_to),
        cmocka_unit_test(test_from_memory),     cmocka_unit_test(test_views),
        cmocka_unit_test(test_twice),           cmocka_unit_test(test_order),
        cmocka_unit_test(test_nothing_to_load), cmocka_unit_test(test_explain),
        cmocka_unit_test(test_many_files),      cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_refused_items),   cmocka_unit_test(test_changed_before),
    };
    return cmocka_run_group_tests(tests, samples_make, samples_drop);
}
