/* SPDX-License-Identifier: Apache-2.0 */
/* Writing in pieces: what is refused, how small writes are combined, streams, progress, memory. */
#include "file/probe_sink.h"
#include "support/oom.h"

#include <stdio.h>

static unsigned char byte_at(uint64_t i)
{
    return (unsigned char)(i * 131 + i / 256 * 7);
}

static void add_bytes(st_writer *writer, const char *name, uint64_t size)
{
    st_tensor tensor = {.name = name, .shape = &size, .ndim = 1, .dtype = ST_U8};
    tensor.name_len = (uint32_t)strlen(name);
    CHECK_OK(st_writer_add(writer, &tensor, NULL, &error));
}

/* A writer of one tensor "w" of `size` bytes, begun. */
static st_writer *writer_of(probe_sink *probe, uint64_t size, st_context *context,
                            st_progress_fn fn, void *ctx)
{
    st_writer_options options = {.context = context, .progress = {fn, ctx}};
    st_writer *writer;
    CHECK_OK(st_writer_new(&options, &writer, &error));
    add_bytes(writer, "w", size);
    st_sink *sink = probe_sink_new(probe, NULL);
    assert_non_null(sink);
    CHECK_OK(st_writer_begin(writer, sink, &error));
    st_sink_release(sink);
    return writer;
}

static st_status write_part(st_writer *writer, uint64_t from, uint64_t to, st_error *error)
{
    unsigned char *bytes = malloc((size_t)(to - from) + 1);
    assert_non_null(bytes);
    for (uint64_t i = from; i < to; i++)
        bytes[i - from] = byte_at(i);
    st_status status = st_writer_write(writer, 0, from, bytes, (size_t)(to - from), error);
    free(bytes);
    return status;
}

static void finish_and_check(st_writer *writer, probe_sink *probe)
{
    uint64_t offset = st_writer_data_offset(writer);
    CHECK_OK(st_writer_finish(writer, &error));
    assert_true(probe->finished);
    assert_int_equal(probe->bytes, probe->size);
    for (uint64_t i = offset; i < probe->size; i++)
        assert_int_equal(probe->data[i], byte_at(i - offset));
    st_writer_free(writer);
    free(probe->data);
}

/* --------------------------------------------------------------------------------- refusals */

static void test_refused(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        probe_sink probe = {.sequential = stream};
        st_writer *writer = writer_of(&probe, 100, NULL, NULL, NULL);
        uint64_t data = st_writer_data_offset(writer);
        CHECK_ERR_TEXT(st_writer_write(writer, 1, 0, "", 0, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                       "probe: there is no tensor 1; 1 were added");
        CHECK_ERR_TEXT(write_part(writer, 90, 101, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                       "probe: tensor \"w\": 11 bytes from its byte 90 on reach past its 100");
        CHECK_ERR(st_writer_write(writer, 0, UINT64_MAX, "ab", 2, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
        CHECK_OK(st_writer_write(writer, 0, 100, NULL, 0, &error));
        CHECK_ERR_TEXT(st_writer_finish(writer, &error), ST_ERR_INCOMPLETE, data,
                       "probe: tensor \"w\": bytes 0 to 100 of its 100 were not written; 100 "
                       "bytes of 1 tensors are missing in all");
        CHECK_OK(write_part(writer, 40, 60, &error));
        CHECK_ERR_TEXT(write_part(writer, 59, 70, &error), ST_ERR_WRITTEN_TWICE, data + 59,
                       "probe: tensor \"w\": its byte 59 was written before");
        CHECK_ERR(write_part(writer, 0, 100, &error), ST_ERR_WRITTEN_TWICE, data + 40);
        CHECK_ERR(write_part(writer, 50, 51, &error), ST_ERR_WRITTEN_TWICE, data + 50);
        CHECK_OK(write_part(writer, 0, 40, &error));
        CHECK_ERR_TEXT(st_writer_finish(writer, &error), ST_ERR_INCOMPLETE, data + 60,
                       "bytes 60 to 100 of its 100 were not written; 40 bytes of 1 tensors");
        /* None of which spoiled anything. */
        CHECK_OK(write_part(writer, 60, 100, &error));
        finish_and_check(writer, &probe);
    }
}

/* What was written in one go is refused like pieces are, and so are pieces of it. */
static void test_refused_whole(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        probe_sink probe = {.sequential = stream};
        st_writer *writer = writer_of(&probe, 100, NULL, NULL, NULL);
        uint64_t data = st_writer_data_offset(writer);
        CHECK_OK(write_part(writer, 0, 100, &error));
        CHECK_ERR_TEXT(write_part(writer, 0, 100, &error), ST_ERR_WRITTEN_TWICE, data,
                       "probe: tensor \"w\": its byte 0 was written before");
        CHECK_ERR_TEXT(write_part(writer, 70, 71, &error), ST_ERR_WRITTEN_TWICE, data + 70,
                       "probe: tensor \"w\": its byte 70 was written before");
        CHECK_OK(st_writer_write(writer, 0, 70, NULL, 0, &error));
        finish_and_check(writer, &probe);
    }
}

static void test_incomplete_counts(void **state)
{
    (void)state;
    probe_sink probe = {0};
    st_writer_options options = {.order = ST_ORDER_ADDED};
    st_writer *writer;
    CHECK_OK(st_writer_new(&options, &writer, &error));
    add_bytes(writer, "none", 0);
    add_bytes(writer, "a", 10);
    add_bytes(writer, "b", 20);
    add_bytes(writer, "c", 30);
    st_sink *sink = probe_sink_new(&probe, NULL);
    CHECK_OK(st_writer_begin(writer, sink, &error));
    st_sink_release(sink);
    static const unsigned char zeros[30];
    CHECK_OK(st_writer_write(writer, 1, 0, zeros, 10, &error));
    CHECK_OK(st_writer_write(writer, 2, 5, zeros, 2, &error));
    CHECK_ERR_TEXT(st_writer_finish(writer, &error), ST_ERR_INCOMPLETE,
                   st_writer_data_offset(writer) + 10,
                   "probe: tensor \"b\": bytes 0 to 5 of its 20 were not written; 48 bytes of 2 "
                   "tensors are missing in all");
    assert_false(probe.finished);
    st_writer_free(writer);
    assert_true(probe.freed);
    free(probe.data);
}

/* -------------------------------------------------------------------------------- combining */

/* Pieces of `piece` bytes, `step` further each time. */
static void pieces_write(st_writer *writer, uint64_t size, uint64_t piece, uint64_t step)
{
    uint64_t count = (size + piece - 1) / piece;
    for (uint64_t k = 0; k < count; k++) {
        uint64_t from = k * step % count * piece;
        CHECK_OK(write_part(writer, from, from + piece < size ? from + piece : size, &error));
    }
}

static void test_pieces(void **state)
{
    (void)state;
    /* 1009 is a prime and no divisor of any count below, so that each piece comes once. */
    static const uint64_t pieces[] = {1000, 4096, 65535, 65536, 65537, 300000};
    static const uint64_t steps[] = {1, 1009};
    for (int stream = 0; stream < 2; stream++) {
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            for (size_t s = 0; s < 2; s++) {
                probe_sink probe = {.sequential = stream};
                st_writer *writer = writer_of(&probe, 3000001, NULL, NULL, NULL);
                pieces_write(writer, 3000001, pieces[p], steps[s]);
                finish_and_check(writer, &probe);
            }
        }
        /* Backwards: the header, and all else once its first byte is there. */
        probe_sink probe = {.sequential = stream};
        st_writer *writer = writer_of(&probe, 100000, NULL, NULL, NULL);
        pieces_write(writer, 100000, 10, 9999);
        finish_and_check(writer, &probe);
    }
}

/* Ten thousand small tensors take few calls: in order, from eight places at once, and in an order in which
 * neighbours come long after each other. */
static void test_few_calls(void **state)
{
    (void)state;
    enum { COUNT = 10000, SIZE = 300 };
    for (int run = 0; run < 6; run++) {
        probe_sink probe = {.sequential = run % 2};
        st_writer_options options = {.order = ST_ORDER_ADDED};
        st_writer *writer;
        unsigned char bytes[SIZE];
        CHECK_OK(st_writer_new(&options, &writer, &error));
        for (unsigned i = 0; i < COUNT; i++) {
            char name[32];
            snprintf(name, sizeof name, "layer.%u.weight", i);
            add_bytes(writer, name, SIZE);
        }
        st_sink *sink = probe_sink_new(&probe, NULL);
        CHECK_OK(st_writer_begin(writer, sink, &error));
        st_sink_release(sink);
        for (unsigned k = 0; k < COUNT; k++) {
            unsigned i = run < 2 ? k : run < 4 ? k % 8 * (COUNT / 8) + k / 8 : k * 3001 % COUNT;
            memset(bytes, (int)(i % 251), SIZE);
            CHECK_OK(st_writer_write(writer, i, 0, bytes, SIZE, &error));
        }
        CHECK_OK(st_writer_finish(writer, &error));
        assert_int_equal(probe.bytes, probe.size);
        for (unsigned i = 0; i < COUNT; i++)
            assert_int_equal(probe.data[st_writer_data_offset(writer) + i * SIZE + SIZE / 2],
                             i % 251);
        if (run < 2 || run % 2 == 0)
            assert_true(probe.writes < 60); /* of 64 KiB each, and the header */
        else /* a stream gathers what was kept into calls of some dozens */
            assert_true(probe.writes < COUNT / 32);
        st_writer_free(writer);
        free(probe.data);
    }
}

/* A small file is one call, with the header. */
static void test_one_call(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        probe_sink probe = {.sequential = stream};
        st_writer *writer = writer_of(&probe, 5000, NULL, NULL, NULL);
        assert_int_equal(probe.writes, 0);
        pieces_write(writer, 5000, 100, 1);
        CHECK_OK(st_writer_finish(writer, &error));
        assert_int_equal(probe.writes, 1);
        st_writer_free(writer);
        free(probe.data);
    }
}

/* ----------------------------------------------------------------------------------- memory */

static st_context *context_of(uint64_t memory)
{
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_memory = memory}, &context, &error));
    return context;
}

/* Too little for windows, or for small ones only: the bytes are the same. */
static void test_small_budget(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {1, 1000, 5000, 20000, 100000};
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        st_context *context = context_of(budgets[i]);
        probe_sink probe = {0};
        st_writer *writer = writer_of(&probe, 200000, context, NULL, NULL);
        pieces_write(writer, 200000, 777, 101);
        finish_and_check(writer, &probe);
        probe = (probe_sink){.sequential = true};
        writer = writer_of(&probe, 200000, context, NULL, NULL);
        pieces_write(writer, 200000, 777, 1);
        finish_and_check(writer, &probe);
        st_context_release(context);
    }
}

/* A sink that is written to once more while it writes. */
typedef struct nested_sink {
    unsigned char data[6000];
    st_writer *writer;
    unsigned calls;
    unsigned nest_at; /* the call in which bytes 3000 to 3100 are written; 0: none */
} nested_sink;

static st_status nested_write(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                              st_error *told)
{
    nested_sink *to = self;
    bool nests = ++to->calls == to->nest_at;
    for (size_t i = 0; i < count; offset += pieces[i++].size)
        memcpy(to->data + offset, pieces[i].data, pieces[i].size);
    if (!nests)
        return ST_OK;
    CHECK_ERR_TEXT(st_writer_finish(to->writer, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "<sink>: st_writer_finish while 1 writing calls go on");
    return write_part(to->writer, 3000, 3100, told);
}

static void nested_free(void *self)
{
    (void)self;
}

/* Whoever finds the only window being written writes past it. */
static void test_window_taken(void **state)
{
    (void)state;
    st_context *context = context_of(600);
    nested_sink to = {.nest_at = 1};
    st_sink_vtable vtable = {.size = sizeof vtable, .write = nested_write, .free = nested_free};
    st_writer_options options = {.context = context};
    st_sink *sink;
    CHECK_OK(st_writer_new(&options, &to.writer, &error));
    add_bytes(to.writer, "w", 5000);
    CHECK_OK(st_sink_new(&vtable, &to, NULL, &sink, &error));
    CHECK_OK(st_writer_begin(to.writer, sink, &error));
    st_sink_release(sink);
    uint64_t data = st_writer_data_offset(to.writer);
    CHECK_OK(write_part(to.writer, 0, 100, &error));
    assert_int_equal(to.calls, 0);
    CHECK_OK(write_part(to.writer, 2000, 2100, &error)); /* the first block has to go */
    assert_int_equal(to.calls, 2);
    for (size_t i = 3000; i < 3100; i++)
        assert_int_equal(to.data[data + i], byte_at(i));
    CHECK_OK(write_part(to.writer, 100, 2000, &error));
    CHECK_OK(write_part(to.writer, 2100, 3000, &error));
    CHECK_OK(write_part(to.writer, 3100, 5000, &error));
    CHECK_OK(st_writer_finish(to.writer, &error));
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(to.data[data + i], byte_at(i));
    st_writer_free(to.writer);
    st_context_release(context);
}

static void test_stream_too_big(void **state)
{
    (void)state;
    st_context *context = context_of(UINT64_C(1) << 20);
    probe_sink probe = {.sequential = true};
    st_writer *writer = writer_of(&probe, 2 << 20, context, NULL, NULL);
    uint64_t data = st_writer_data_offset(writer);
    CHECK_OK(write_part(writer, 1 << 20, (1 << 20) + 300000, &error));
    CHECK_ERR_TEXT(write_part(writer, 100, 1 << 20, &error), ST_ERR_TOO_BIG, data + 100,
                   "probe: tensor \"w\": 1048476 bytes came before their turn");
    /* Its bytes are lost, so the file cannot be finished any more. */
    CHECK_ERR_TEXT(write_part(writer, 0, 1, &error), ST_ERR_TOO_BIG, data + 100,
                   "probe: tensor \"w\": 1048476 bytes came before their turn");
    CHECK_ERR(st_writer_finish(writer, &error), ST_ERR_TOO_BIG, data + 100);
    st_writer_free(writer);
    assert_false(probe.finished);
    free(probe.data);
    st_context_release(context);
}

/* A gigabyte goes through in the memory that the windows take: 128 of 72 KiB, where large writes leave blocks
 * incomplete. */
static void test_constant_memory(void **state)
{
    (void)state;
    static unsigned char block[1 << 20];
    const uint64_t size = UINT64_C(1) << 30;
    for (int stream = 0; stream < 2; stream++) {
        oom_allocator oom = {0};
        st_context *context = oom_context_new(&oom);
        probe_sink probe = {.sequential = stream, .forgets = true};
        st_writer *writer = writer_of(&probe, size, context, NULL, NULL);
        for (uint64_t at = 0; at < size;) {
            size_t part = at / sizeof block % 2 ? sizeof block : 32768;
            if (part > size - at)
                part = (size_t)(size - at);
            CHECK_OK(st_writer_write(writer, 0, at, block, part, &error));
            at += part;
        }
        CHECK_OK(st_writer_finish(writer, &error));
        assert_int_equal(probe.bytes, probe.size);
        assert_true(oom.peak < UINT64_C(1048576) * (stream ? 1 : 10));
        st_writer_free(writer);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
}

/* A hundred thousand tensors take their texts and a few dozen allocations. */
static void test_many_adds(void **state)
{
    (void)state;
    oom_allocator oom = {0};
    st_context *context = oom_context_new(&oom);
    st_writer_options options = {.context = context};
    st_writer *writer;
    CHECK_OK(st_writer_new(&options, &writer, &error));
    for (unsigned i = 0; i < 100000; i++) {
        char name[48];
        snprintf(name, sizeof name, "model.layers.%u.self_attn.q_proj.weight", i);
        add_bytes(writer, name, i % 7);
    }
    assert_true(oom.calls < 60);
    uint64_t size;
    CHECK_OK(st_writer_size(writer, &size, &error));
    assert_int_equal(st_writer_count(writer), 100000);
    assert_string_equal(st_writer_at(writer, 77)->name, "model.layers.77.self_attn.q_proj.weight");
    st_writer_free(writer);
    st_context_release(context);
    assert_int_equal(oom.blocks, 0);
}

/* Out-of-order writes to more blocks than there are windows need no more memory than these, and an order in
 * which blocks are completed one after the other needs two. */
static void test_window_memory(void **state)
{
    (void)state;
    enum { SIZE = 20000000, PIECE = 5000, COUNT = SIZE / PIECE };
    static const struct {
        unsigned step;
        uint64_t peak;
    } orders[] = {{1, 2 * 73728 + 8192}, {1009, 10 << 20}};
    static unsigned char piece[PIECE];
    for (size_t o = 0; o < 2; o++) {
        oom_allocator oom = {0};
        st_context *context = oom_context_new(&oom);
        probe_sink probe = {.forgets = true};
        st_writer *writer = writer_of(&probe, SIZE, context, NULL, NULL);
        uint64_t before = oom.outstanding;
        for (unsigned k = 0; k < COUNT; k++)
            CHECK_OK(st_writer_write(writer, 0, (uint64_t)(k * orders[o].step % COUNT) * PIECE,
                                     piece, PIECE, &error));
        CHECK_OK(st_writer_finish(writer, &error));
        assert_int_equal(probe.bytes, probe.size);
        assert_true(oom.peak - before < orders[o].peak);
        st_writer_free(writer);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
}

/* --------------------------------------------------------------------------------- progress */

typedef struct watched {
    unsigned calls;
    unsigned stop_at;
    uint64_t last;
    uint64_t total;
} watched;

static bool watch(void *ctx, uint64_t done, uint64_t total)
{
    watched *w = ctx;
    assert_true(done >= w->last && done <= total);
    w->last = done;
    w->total = total;
    return ++w->calls != w->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        const uint64_t size = (UINT64_C(200) << 20) + 5;
        unsigned char *bytes = calloc(1, (size_t)size);
        probe_sink probe = {.sequential = stream, .forgets = true};
        watched w = {0};
        st_writer *writer = writer_of(&probe, size, NULL, watch, &w);
        CHECK_OK(st_writer_write(writer, 0, 0, bytes, (size_t)size - 5, &error));
        assert_int_equal(w.calls, 4); /* every 64 MiB */
        CHECK_OK(st_writer_write(writer, 0, size - 5, bytes, 5, &error));
        CHECK_OK(st_writer_finish(writer, &error));
        assert_int_equal(w.last, size);
        assert_int_equal(w.total, size);
        st_writer_free(writer);

        probe = (probe_sink){.sequential = stream, .forgets = true};
        w = (watched){.stop_at = 2};
        writer = writer_of(&probe, size, NULL, watch, &w);
        CHECK_ERR_TEXT(st_writer_write(writer, 0, 0, bytes, (size_t)size, &error), ST_ERR_STOPPED,
                       ST_NO_OFFSET, "probe: stopped by the caller after 134217728 of 209715205");
        CHECK_ERR(st_writer_finish(writer, &error), ST_ERR_STOPPED, ST_NO_OFFSET);
        assert_int_equal(w.calls, 2);
        assert_false(probe.finished);
        st_writer_free(writer);

        /* At the very last, when what waited is written. */
        probe = (probe_sink){.sequential = stream, .forgets = true};
        w = (watched){.stop_at = stream ? 1 : 2};
        writer = writer_of(&probe, 200000, NULL, watch, &w);
        CHECK_OK(st_writer_write(writer, 0, 60000, bytes, 140000, &error));
        CHECK_OK(st_writer_write(writer, 0, 0, bytes, 30000, &error));
        if (stream)
            CHECK_ERR(st_writer_write(writer, 0, 30000, bytes, 30000, &error), ST_ERR_STOPPED,
                      ST_NO_OFFSET);
        else
            CHECK_OK(st_writer_write(writer, 0, 30000, bytes, 30000, &error));
        CHECK_ERR(st_writer_finish(writer, &error), ST_ERR_STOPPED, ST_NO_OFFSET);
        assert_false(probe.finished);
        st_writer_free(writer);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_incomplete_counts),
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_few_calls),
        cmocka_unit_test(test_one_call),       cmocka_unit_test(test_small_budget),
        cmocka_unit_test(test_stream_too_big), cmocka_unit_test(test_constant_memory),
        cmocka_unit_test(test_many_adds),      cmocka_unit_test(test_refused_whole),
        cmocka_unit_test(test_window_memory),  cmocka_unit_test(test_window_taken),
        cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests_name("writer_write", tests, NULL, NULL);
}
