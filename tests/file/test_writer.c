/* SPDX-License-Identifier: Apache-2.0 */
/* What a writer makes: the bytes, in every way out of it, and what it refuses. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "file/probe_sink.h"

#include <stdio.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------- ways to write */

typedef enum way { WAY_MEMORY, WAY_PATH, WAY_FD, WAY_PIPE, WAY_OWN, WAY_OWN_STREAM, WAYS } way;

/* Where a file went. */
typedef struct outlet {
    way by;
    st_sink *sink;
    char path[64];
    int fd;
    int pipe[2];
    probe_sink probe;
    unsigned char *memory;
    size_t size;
} outlet;

static void outlet_open(outlet *o, way by, uint64_t size)
{
    *o = (outlet){.by = by, .fd = -1, .size = (size_t)size};
    snprintf(o->path, sizeof o->path, "/tmp/st_test_writer.XXXXXX");
    o->memory = malloc(o->size + 1);
    assert_non_null(o->memory);
    switch (by) {
    case WAY_MEMORY:
        CHECK_OK(st_sink_open_memory(o->memory, o->size, NULL, &o->sink, &error));
        break;
    case WAY_PATH:
    case WAY_FD:
        o->fd = mkstemp(o->path);
        assert_true(o->fd >= 0);
        if (by == WAY_FD)
            CHECK_OK(st_sink_open_fd(o->fd, NULL, &o->sink, &error));
        else
            CHECK_OK(st_sink_open(o->path, NULL, &o->sink, &error));
        break;
    case WAY_PIPE:
        assert_int_equal(pipe(o->pipe), 0);
        CHECK_OK(st_sink_open_fd(o->pipe[1], NULL, &o->sink, &error));
        break;
    default:
        o->probe.sequential = by == WAY_OWN_STREAM;
        o->sink = probe_sink_new(&o->probe, NULL);
        assert_non_null(o->sink);
    }
}

/* Gives what was written; the outlet owns it. */
static const unsigned char *outlet_take(outlet *o)
{
    st_sink_release(o->sink);
    o->sink = NULL;
    if (o->by == WAY_MEMORY)
        return o->memory;
    if (o->by == WAY_OWN || o->by == WAY_OWN_STREAM) {
        assert_true(o->probe.finished && o->probe.freed);
        assert_int_equal(o->probe.bytes, o->size);
        return o->probe.data;
    }
    int fd = o->pipe[0];
    if (o->by == WAY_PIPE) {
        close(o->pipe[1]);
    } else {
        FILE *f = fopen(o->path, "rb");
        assert_non_null(f);
        fd = dup(fileno(f));
        fclose(f);
    }
    size_t got = 0;
    ssize_t n;
    while ((n = read(fd, o->memory + got, o->size + 1 - got)) > 0)
        got += (size_t)n;
    assert_int_equal(got, o->size);
    close(fd);
    return o->memory;
}

static void outlet_close(outlet *o)
{
    st_sink_release(o->sink);
    if (o->fd >= 0) {
        close(o->fd);
        unlink(o->path);
    }
    free(o->probe.data);
    free(o->memory);
}

/* ---------------------------------------------------------------------------- golden vectors */

static const unsigned char zeros[32];

static void add(st_writer *writer, const char *name, st_dtype dtype, const uint64_t *shape,
                uint32_t ndim)
{
    size_t index;
    size_t before = st_writer_count(writer);
    st_tensor tensor = {.name = name,
                        .name_len = (uint32_t)strlen(name),
                        .dtype = dtype,
                        .shape = shape,
                        .ndim = ndim};
    CHECK_OK(st_writer_add(writer, &tensor, &index, &error));
    assert_int_equal(index, before);
}

static void add_text(st_writer *writer, const char *key, const char *value)
{
    st_metadata entry = {key, (uint32_t)strlen(key), (uint32_t)strlen(value), value};
    CHECK_OK(st_writer_add_metadata(writer, &entry, &error));
}

typedef struct golden_tensor {
    const char *name;
    st_dtype dtype;
    uint32_t ndim;
    uint64_t shape[4];
    const void *data;
    size_t size;
} golden_tensor;

typedef struct golden {
    const char *metadata; /* the value of "framework", or NULL */
    const char *text;     /* the header, padding included */
    golden_tensor tensors[2];
} golden;

#define I32_TEST "{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}"

static const golden goldens[] = {
    {NULL, "{}      ", {{0}}},
    {"pt", "{\"__metadata__\":{\"framework\":\"pt\"}}     ", {{0}}},
    {NULL,
     "{\"attn.0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}",
     {{"attn.0",
       ST_F32,
       3,
       {1, 2, 3},
       "\0\0\0\0\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40\0\0\xa0\x40",
       24}}},
    {NULL,
     "{\"attn.0\":{\"dtype\":\"F4\",\"shape\":[1,2],\"data_offsets\":[0,1]}}    ",
     {{"attn.0", ST_F4, 2, {1, 2}, zeros, 1}}},
    {NULL,
     "{\"attn0\":{\"dtype\":\"F32\",\"shape\":[1,1,2,3],\"data_offsets\":[0,24]}}       ",
     {{"attn0", ST_F32, 4, {1, 1, 2, 3}, zeros, 24}}},
    {NULL, "{\"test\":" I32_TEST "}    ", {{"test", ST_I32, 2, {2, 2}, zeros, 16}}},
    {NULL,
     "{\"test1\":" I32_TEST
     ",\"test2\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[16,24]}}      ",
     {{"test1", ST_I32, 2, {2, 2}, zeros, 16},
      {"test2", ST_F16, 2, {2, 2}, "\1\2\3\4\5\6\7\10", 8}}},
    {"pt",
     "{\"__metadata__\":{\"framework\":\"pt\"},\"test1\":" I32_TEST "} ",
     {{"test1", ST_I32, 2, {2, 2}, zeros, 16}}},
    {NULL,
     "{\"test\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}    ",
     {{"test", ST_BF16, 2, {2, 2}, "\x10\x40\x80\x3f\x80\x3f\x80\x3f", 8}}},
    {NULL,
     "{\"test\":{\"dtype\":\"C64\",\"shape\":[2,2],\"data_offsets\":[0,32]}}    ",
     {{"test",
       ST_C64,
       2,
       {2, 2},
       "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80\xbf\0\0\x80\x3f",
       32}}},
};
static const uint32_t golden_sizes[] = {8, 40, 64, 64, 72, 64, 128, 96, 64, 64};

static void golden_write(const golden *g, way by)
{
    st_writer *writer;
    outlet o;
    uint64_t size;
    size_t count = 0, text_len = strlen(g->text);
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    if (g->metadata)
        add_text(writer, "framework", g->metadata);
    for (; count < 2 && g->tensors[count].name; count++)
        add(writer, g->tensors[count].name, g->tensors[count].dtype, g->tensors[count].shape,
            g->tensors[count].ndim);
    CHECK_OK(st_writer_size(writer, &size, &error));
    assert_int_equal(st_writer_data_offset(writer), 8 + text_len);
    outlet_open(&o, by, size);
    CHECK_OK(st_writer_begin(writer, o.sink, &error));
    /* The last one first, for the sake of the streams. */
    for (size_t i = count; i-- > 0;)
        CHECK_OK(st_writer_write(writer, i, 0, g->tensors[i].data, g->tensors[i].size, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    st_writer_free(writer);
    const unsigned char *got = outlet_take(&o);
    assert_int_equal(got[0], text_len);
    assert_memory_equal(got + 1, zeros, 7);
    assert_memory_equal(got + 8, g->text, text_len);
    size_t at = 8 + text_len;
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(got + at, g->tensors[i].data, g->tensors[i].size);
        at += g->tensors[i].size;
    }
    assert_int_equal(at, size);
    outlet_close(&o);
}

static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        assert_int_equal(strlen(goldens[i].text), golden_sizes[i]);
        for (int by = 0; by < WAYS; by++)
            golden_write(&goldens[i], (way)by);
    }
}

/* -------------------------------------------------------------------------------- round trip */

static unsigned char pattern(size_t tensor, size_t i)
{
    return (unsigned char)(tensor * 37 + i * 11 + i / 256);
}

/* Every dtype with shapes of every class that it can have. */
typedef struct shape_class {
    uint32_t ndim;
    uint64_t shape[4];
} shape_class;

static const shape_class shapes[] = {{0, {0}},          {1, {0}},       {1, {8}},
                                     {2, {4, 0}},       {2, {3, 8}},    {3, {2, 1, 4}},
                                     {4, {2, 3, 2, 2}}, {3, {0, 9, 9}}, {1, {500}}};

enum { SHAPES = sizeof shapes / sizeof *shapes, MOST = ST_DTYPE_COUNT * SHAPES };

static size_t add_all(st_writer *writer, char names[MOST][8])
{
    size_t count = 0;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        for (size_t s = 0; s < SHAPES; s++) {
            /* A scalar of 4 or 6 bits fills no byte. */
            if (shapes[s].ndim == 0 && st_dtype_bits(dtype) < 8)
                continue;
            snprintf(names[count], 8, "t%zu", (count * 71) % MOST);
            add(writer, names[count], dtype, shapes[s].shape, shapes[s].ndim);
            count++;
        }
    }
    return count;
}

static void check_all(const unsigned char *bytes, size_t size, size_t count, char names[MOST][8],
                      bool added)
{
    st_memory memory = {(void *)(uintptr_t)bytes, size, NULL, NULL};
    st_file *file;
    CHECK_OK(st_file_open_memory(&memory, NULL, &file, &error));
    assert_int_equal(st_file_count(file), count);
    uint64_t last = 0;
    for (size_t i = 0; i < count; i++) {
        const st_tensor *t = st_file_find(file, names[i], strlen(names[i]));
        assert_non_null(t);
        if (added)
            assert_true(t->begin >= last);
        last = t->begin;
        if (!added && st_dtype_bits(t->dtype) >= 8)
            assert_int_equal(st_file_offset(file, t) % (st_dtype_bits(t->dtype) / 8), 0);
        unsigned char got[8192];
        CHECK_OK(st_file_read(file, t, NULL, got, (size_t)st_tensor_size(t), &error));
        for (size_t b = 0; b < st_tensor_size(t); b++)
            assert_int_equal(got[b], pattern(i, b));
    }
    st_file_close(file);
}

/* Tensors in an order of their own, `step` further each time, in pieces of `piece` bytes. */
static void write_all(st_writer *writer, size_t count, size_t step, size_t piece)
{
    for (size_t k = 0; k < count; k++) {
        size_t i = k * step % count;
        size_t size = (size_t)st_tensor_size(st_writer_at(writer, i));
        unsigned char bytes[8192];
        for (size_t b = 0; b < size; b++)
            bytes[b] = pattern(i, b);
        for (size_t at = size; at > 0;) {
            size_t part = at % piece ? at % piece : piece;
            at -= part;
            CHECK_OK(st_writer_write(writer, i, at, bytes + at, part, &error));
        }
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    static char names[MOST][8];
    for (uint32_t run = 0; run < WAYS * 2; run++) {
        st_writer_options options = {.order = run % 2};
        st_writer *writer;
        uint64_t size;
        outlet o;
        CHECK_OK(st_writer_new(&options, &writer, &error));
        size_t count = add_all(writer, names);
        CHECK_OK(st_writer_size(writer, &size, &error));
        assert_true(size < 60000); /* what a pipe holds */
        outlet_open(&o, (way)(run / 2), size);
        CHECK_OK(st_writer_begin(writer, o.sink, &error));
        write_all(writer, count, 7, run % 2 ? 8192 : 5);
        CHECK_OK(st_writer_finish(writer, &error));
        for (size_t i = 0; i < count; i++)
            assert_string_equal(st_writer_at(writer, i)->name, names[i]);
        st_writer_free(writer);
        check_all(outlet_take(&o), (size_t)size, count, names, options.order == ST_ORDER_ADDED);
        outlet_close(&o);
    }
}

/* ------------------------------------------------------------------------ metadata, options */

static void begin_in(st_writer *writer, probe_sink *probe)
{
    st_sink *sink = probe_sink_new(probe, NULL);
    assert_non_null(sink);
    CHECK_OK(st_writer_begin(writer, sink, &error));
    st_sink_release(sink);
}

static void test_metadata(void **state)
{
    (void)state;
    static const char want[] = "{\"__metadata__\":{\"A\":\"1\",\"a\":\"\",\"a\\u0000\":\"\\n\","
                               "\"\xc3\xa9\":\"\xe6\x97\xa5\"}}";
    st_writer *writer;
    probe_sink probe = {0};
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    add_text(writer, "\xc3\xa9", "\xe6\x97\xa5");
    CHECK_OK(st_writer_add_metadata(writer, &(st_metadata){"a\0", 2, 1, "\n"}, &error));
    add_text(writer, "a", "");
    add_text(writer, "A", "1");
    begin_in(writer, &probe);
    CHECK_OK(st_writer_finish(writer, &error));
    assert_memory_equal(probe.data + 8, want, strlen(want));
    st_writer_free(writer);
    free(probe.data);

    /* None, but to be there. */
    probe = (probe_sink){0};
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_OK(st_writer_add_metadata(writer, NULL, &error));
    begin_in(writer, &probe);
    assert_int_equal(probe.finished, false);
    CHECK_OK(st_writer_finish(writer, &error));
    assert_memory_equal(probe.data + 8, "{\"__metadata__\":{}}", 19);
    st_writer_free(writer);
    free(probe.data);
}

static void test_alignment(void **state)
{
    (void)state;
    for (uint32_t alignment = 0; alignment <= 4096; alignment = alignment ? alignment * 2 : 8) {
        st_writer_options options = {.alignment = alignment, .reserve = alignment * 3};
        st_writer *writer;
        probe_sink probe = {0};
        uint64_t size;
        CHECK_OK(st_writer_new(&options, &writer, &error));
        add(writer, "w", ST_U8, (uint64_t[]){3}, 1);
        CHECK_OK(st_writer_size(writer, &size, &error));
        uint64_t offset = st_writer_data_offset(writer);
        assert_int_equal(offset % (alignment ? alignment : 8), 0);
        assert_int_equal(size, offset + 3);
        begin_in(writer, &probe);
        assert_int_equal(probe.size, size);
        CHECK_OK(st_writer_write(writer, 0, 0, "abc", 3, &error));
        CHECK_OK(st_writer_finish(writer, &error));
        size_t blanks = 0;
        while (probe.data[offset - 1 - blanks] == ' ')
            blanks++;
        assert_true(blanks >= options.reserve);
        assert_memory_equal(probe.data + offset, "abc", 3);
        st_writer_free(writer);
        free(probe.data);
    }
}

static void test_options_refused(void **state)
{
    (void)state;
    st_writer *writer = NULL;
    CHECK_ERR_TEXT(st_writer_new(&(st_writer_options){.order = 2}, &writer, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "st_writer_options: unknown order 2");
    static const uint32_t alignments[] = {1, 4, 7, 24, 8192};
    for (size_t i = 0; i < 5; i++)
        CHECK_ERR_TEXT(
            st_writer_new(&(st_writer_options){.alignment = alignments[i]}, &writer, &error),
            ST_ERR_ARGUMENT, ST_NO_OFFSET, "is no power of 2 from 8 to 4096");
    CHECK_ERR_TEXT(
        st_writer_new(&(st_writer_options){.max_header_size = UINT32_MAX}, &writer, &error),
        ST_ERR_ARGUMENT, ST_NO_OFFSET, "max_header_size 4294967295 is above 4294901759");
    CHECK_ERR_TEXT(st_writer_new(&(st_writer_options){.reserved = {[7] = 1}}, &writer, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "reserved words must be zero");
    assert_null(writer);
    st_writer_free(NULL);
}

/* ----------------------------------------------------------------------------- what is refused */

static st_status add_one(st_writer *writer, const char *name, uint32_t len, st_dtype dtype,
                         st_error *error)
{
    static const uint64_t shape[] = {3, UINT64_C(1) << 62};
    st_tensor tensor = {.name = name, .name_len = len, .dtype = dtype, .shape = shape, .ndim = 1};
    if (dtype == ST_U64)
        tensor.ndim = 2;
    return st_writer_add(writer, &tensor, NULL, error);
}

static void test_add_refused(void **state)
{
    (void)state;
    st_writer *writer;
    uint64_t size;
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_ERR_TEXT(add_one(writer, "__metadata__", 12, ST_U8, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "<new file>: tensor \"__metadata__\"");
    CHECK_ERR_TEXT(add_one(writer, "\xff", 1, ST_U8, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "<new file>: tensor \"\\xff\"");
    CHECK_ERR_TEXT(add_one(writer, "w", 1, 23, &error), ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET,
                   "<new file>: tensor \"w\"");
    CHECK_ERR_TEXT(add_one(writer, "w", 1, ST_DTYPE_UNKNOWN, &error), ST_ERR_DTYPE_UNKNOWN,
                   ST_NO_OFFSET, "is none that st_writer_add_dtype gave");
    CHECK_ERR_TEXT(add_one(writer, "w", 1, ST_U64, &error), ST_ERR_OVERFLOW, ST_NO_OFFSET,
                   "<new file>: tensor \"w\"");
    CHECK_ERR_TEXT(add_one(writer, "w", 1, ST_F4, &error), ST_ERR_MISALIGNED, ST_NO_OFFSET,
                   "<new file>: tensor \"w\"");
    assert_int_equal(st_writer_count(writer), 0);
    /* None of which leaves a trace. */
    CHECK_OK(st_writer_size(writer, &size, &error));
    assert_int_equal(size, 16);
    CHECK_OK(add_one(writer, "w", 1, ST_U8, &error));
    CHECK_OK(st_writer_size(writer, &size, &error));
    CHECK_OK(add_one(writer, "w", 1, ST_I8, &error));
    CHECK_ERR(st_writer_size(writer, &size, &error), ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET);
    st_writer_free(writer);

    CHECK_OK(st_writer_new(NULL, &writer, &error));
    add_text(writer, "k", "1");
    add_text(writer, "k", "1");
    CHECK_ERR(st_writer_size(writer, &size, &error), ST_ERR_METADATA_DUPLICATE, ST_NO_OFFSET);
    st_writer_free(writer);
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    add_text(writer, "k", "\x80");
    CHECK_ERR(st_writer_size(writer, &size, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_writer_free(writer);
}

static void test_limits(void **state)
{
    (void)state;
    st_writer_options options = {.max_header_size = 64};
    st_writer *writer;
    uint64_t size;
    probe_sink probe = {0};
    CHECK_OK(st_writer_new(&options, &writer, &error));
    add(writer, "test", ST_I32, (uint64_t[]){2, 2}, 2);
    CHECK_OK(st_writer_size(writer, &size, &error));
    assert_int_equal(size, 8 + 64 + 16);
    add(writer, "x", ST_U8, (uint64_t[]){1}, 1);
    st_sink *sink = probe_sink_new(&probe, NULL);
    CHECK_ERR_TEXT(st_writer_begin(writer, sink, &error), ST_ERR_HEADER_TOO_LARGE, ST_NO_OFFSET,
                   "probe");
    assert_false(probe.begun);
    st_sink_release(sink);
    st_writer_free(writer);
    /* Each size is allowed, and their sum is not. */
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    static const uint64_t largest = UINT64_MAX / 8; /* in bits it just fits 64 */
    for (char name[2] = "a"; name[0] < 'i'; name[0]++)
        add(writer, name, ST_U8, &largest, 1);
    CHECK_ERR_TEXT(st_writer_size(writer, &size, &error), ST_ERR_OVERFLOW, ST_NO_OFFSET,
                   "bytes of header and 18446744073709551608 of data exceed 64 bits");
    add(writer, "i", ST_U8, &largest, 1);
    CHECK_ERR(st_writer_size(writer, &size, &error), ST_ERR_OVERFLOW, ST_NO_OFFSET);
    assert_int_equal(st_writer_data_offset(writer), 0);
    st_writer_free(writer);
}

static void test_wrong_order(void **state)
{
    (void)state;
    st_writer *writer;
    probe_sink probe = {0}, other = {0};
    st_array array = {.data = (void *)(uintptr_t)zeros, .shape = (uint64_t[]){3}, .ndim = 1};
    st_dtype dtype;
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_OK(add_one(writer, "w", 1, ST_U8, &error));
    array.dtype = ST_U8;
    CHECK_ERR(st_writer_write(writer, 0, 0, zeros, 3, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_writer_write_array(writer, 0, &array, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_writer_copy_from(writer, NULL, NULL, 0, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_writer_finish(writer, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "<new file>: nothing can be written before st_writer_begin");
    begin_in(writer, &probe);
    CHECK_ERR_TEXT(add_one(writer, "x", 1, ST_U8, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "probe: st_writer_add comes before");
    CHECK_ERR(st_writer_add_metadata(writer, NULL, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_writer_add_dtype(writer, "X1", 2, &dtype, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_sink *sink = probe_sink_new(&other, NULL);
    CHECK_ERR(st_writer_begin(writer, sink, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    assert_false(other.begun);
    CHECK_OK(st_writer_write(writer, 0, 0, zeros, 3, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    assert_true(probe.finished);
    CHECK_ERR_TEXT(st_writer_write(writer, 0, 0, zeros, 3, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "probe: the file is finished");
    CHECK_ERR(st_writer_finish(writer, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_writer_begin(writer, sink, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_writer_free(writer);

    /* A sink takes one file, a writer another sink after one that refused. */
    st_writer *second;
    CHECK_OK(st_writer_new(NULL, &second, &error));
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    CHECK_ERR_TEXT(st_writer_begin(second, sink, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "was used before");
    free(probe.data);
    probe = (probe_sink){0};
    begin_in(second, &probe);
    CHECK_OK(st_writer_finish(second, &error));
    st_writer_free(second);
    st_writer_free(writer);
    st_sink_release(sink);
    free(probe.data);
    free(other.data);
}

/* ----------------------------------------------------------------------------- dtypes by code */

static void test_add_dtype(void **state)
{
    (void)state;
    st_writer *writer;
    st_dtype a, b, again;
    probe_sink probe = {0};
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    CHECK_ERR(st_writer_add_dtype(writer, "F32", 3, &a, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_writer_add_dtype(writer, "", 0, &a, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_writer_add_dtype(writer, "\xc0", 1, &a, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_OK(st_writer_add_dtype(writer, "X2", 2, &a, &error));
    CHECK_OK(st_writer_add_dtype(writer, "X\"", 2, &b, &error));
    CHECK_OK(st_writer_add_dtype(writer, "X2", 2, &again, &error));
    assert_int_equal(a, again);
    assert_int_not_equal(a, b);
    for (unsigned i = 2; i < 64; i++) {
        char code[8];
        int len = snprintf(code, sizeof code, "Y%u", i);
        CHECK_OK(st_writer_add_dtype(writer, code, (size_t)len, &again, &error));
    }
    CHECK_ERR_TEXT(st_writer_add_dtype(writer, "Z", 1, &again, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "the dtype code \"Z\" is one more than the 64");
    uint64_t shape = 5;
    st_tensor t = {.name = "q", .name_len = 1, .shape = &shape, .ndim = 1, .begin = 4, .end = 7};
    t.dtype = b;
    CHECK_OK(st_writer_add(writer, &t, NULL, &error));
    add(writer, "z", ST_BOOL, (uint64_t[]){2}, 1);
    begin_in(writer, &probe);
    assert_int_equal(st_writer_at(writer, 0)->begin, 2);
    assert_int_equal(st_writer_at(writer, 0)->end, 5);
    st_array array = {.data = &shape, .dtype = b, .shape = &shape, .ndim = 1};
    CHECK_ERR_TEXT(st_writer_write_array(writer, 0, &array, &error), ST_ERR_UNSUPPORTED,
                   ST_NO_OFFSET, "probe: tensor \"q\": its dtype is unknown");
    CHECK_OK(st_writer_write(writer, 0, 0, "qqq", 3, &error));
    CHECK_OK(st_writer_write(writer, 1, 0, "zz", 2, &error));
    CHECK_OK(st_writer_finish(writer, &error));
    st_writer_free(writer);
    st_memory memory = {probe.data, (size_t)probe.size, NULL, NULL};
    st_open_options unknown = {.flags = ST_OPEN_UNKNOWN_DTYPES};
    st_file *file;
    CHECK_OK(st_file_open_memory(&memory, &unknown, &file, &error));
    const st_tensor *q = st_file_find(file, "q", 1);
    assert_string_equal(st_header_dtype_code(st_file_header(file), q->dtype, NULL), "X\"");
    char got[3];
    CHECK_OK(st_file_read(file, q, NULL, got, 3, &error));
    assert_memory_equal(got, "qqq", 3);
    st_file_close(file);
    free(probe.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),          cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_metadata),        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_options_refused), cmocka_unit_test(test_add_refused),
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_wrong_order),
        cmocka_unit_test(test_add_dtype),
    };
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
