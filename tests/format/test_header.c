/* SPDX-License-Identifier: Apache-2.0 */
/* The parser where its own machinery shows: the window that moves over the header, the pattern learned from
 * entries, the order of tensors, memory and reading that fail. What a header may say is tests/cases'. */
#include "support/oom.h"
#include "format/header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------- making headers */

typedef struct text {
    char *at;
    size_t len;
    size_t room;
} text;

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(text *t, const char *format, ...)
{
    va_list args;
    if (t->room - t->len < 131072) {
        t->room = t->room * 2 + 262144;
        t->at = realloc(t->at, t->room);
        assert_non_null(t->at);
    }
    va_start(args, format);
    t->len += (size_t)vsnprintf(t->at + t->len, t->room - t->len, format, args);
    va_end(args);
}

/* A file's first bytes: the length, the text; the caller frees. */
static unsigned char *framed(const text *t, size_t *size)
{
    unsigned char *bytes = malloc(t->len + 8);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)t->len >> 8 * i);
    memcpy(bytes + 8, t->at, t->len);
    *size = t->len + 8;
    return bytes;
}

typedef struct form {
    const char *label;
    const char *open;
    const char *entry; /* name, dtype, first dim, begin, end */
    const char *comma;
    const char *close;
} form;

static const form forms[] = {
    {"canonical", "{",
     "\"t.%05d.weight\":{\"dtype\":\"%s\",\"shape\":[%d,2],\"data_offsets\":[%d,%d]}", ",", "}"},
    {"json.dumps", "{",
     "\"t.%05d.weight\": {\"dtype\": \"%s\", \"shape\": [%d, 2], \"data_offsets\": [%d, %d]}", ", ",
     "}"},
    {"indented", "{\n  ",
     "\"t.%05d.weight\": {\n    \"dtype\": \"%s\",\n    \"shape\": [\n      %d,\n      2\n    ],\n"
     "    \"data_offsets\": [\n      %d,\n      %d\n    ]\n  }",
     ",\n  ", "\n}\n"},
    {"unknown field", "{",
     "\"t.%05d.weight\":{\"x\":[{}],\"dtype\":\"%s\",\"shape\":[%d,2],\"data_offsets\":[%d,%d]}",
     ",", "}"},
    {"escapes", "{",
     "\"t\\u002e%05d\\/weight\":{\"dtyp\\u0065\":\"%s\",\"shape\":[%d,2],\"data_offsets\":[%d,%d]}",
     ",", "}"},
    {"non-ASCII", "{",
     "\"\xe5\xb1\x82.%05d.\xf0\x9f\x98\x80\":{\"dtype\":\"%s\",\"shape\":[%d,2],\"data_offsets\":[%"
     "d,%d]}",
     ",", "}"},
};

static const char *const codes[] = {"F8_E4M3",     "U8", "F8_E4M3FNUZ", "BOOL",
                                    "F8_E5M2FNUZ", "I8", "F8_E8M0"};

/* `count` tensors of 2 * (1 + i % 9) bytes each. */
static uint64_t make_header(const form *f, int count, text *out)
{
    int offset = 0;
    add(out, "%s", f->open);
    for (int i = 0; i < count; i++) {
        int dim = 1 + i % 9;
        if (i)
            add(out, "%s", f->comma);
#if defined(__GNUC__)
# pragma GCC diagnostic push
# pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
        add(out, f->entry, i, codes[i / 3 % 7], dim, offset, offset + 2 * dim);
#if defined(__GNUC__)
# pragma GCC diagnostic pop
#endif
        offset += 2 * dim;
    }
    add(out, "%s", f->close);
    return (uint64_t)offset;
}

static void check_header(const st_header *header, int count)
{
    int offset = 0;
    assert_int_equal(st_header_count(header), count);
    for (int i = 0; i < count; i++) {
        const st_tensor *t = st_header_at(header, (size_t)i);
        int dim = 1 + i % 9;
        char number[16];
        snprintf(number, sizeof number, "%05d", i);
        assert_non_null(strstr(t->name, number));
        assert_int_equal(strlen(t->name), t->name_len);
        assert_string_equal(st_dtype_code(t->dtype), codes[i / 3 % 7]);
        assert_int_equal(t->ndim, 2);
        assert_int_equal(t->shape[0], dim);
        assert_int_equal(t->shape[1], 2);
        assert_int_equal(t->begin, offset);
        assert_int_equal(t->end, offset + 2 * dim);
        assert_ptr_equal(st_header_find(header, t->name, t->name_len), t);
        assert_int_equal(st_header_index(header, t), i);
        offset += 2 * dim;
    }
    assert_null(st_header_find(header, "t.", 2));
    assert_int_equal(st_header_data_size(header), offset);
}

/* A reader whose n-th call fails, and who counts what and how far it was asked. */
typedef struct reader {
    const unsigned char *bytes;
    uint64_t end;
    uint64_t fail_at;
    uint64_t calls;
    uint64_t total;
} reader;

static st_status reader_read(void *ctx, uint64_t offset, void *dst, size_t size, st_error *error)
{
    reader *r = ctx;
    if (++r->calls == r->fail_at) {
        *error = (st_error){.status = ST_ERR_IO, .sys_errno = 5, .offset = offset};
        return ST_ERR_IO;
    }
    memcpy(dst, r->bytes + offset, size);
    r->total += size;
    if (offset + size > r->end)
        r->end = offset + size;
    return ST_OK;
}

/* ---------------------------------------------------------------------------- the window */

static void test_every_form_is_read(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 3, 30, 200, 1500, 25000};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            text t = {0};
            size_t size;
            uint64_t data = make_header(&forms[f], counts[c], &t);
            unsigned char *bytes = framed(&t, &size);
            st_header *header;
            CHECK_OK(st_header_parse(bytes, size, size + data, NULL, &header, &error));
            check_header(header, counts[c]);
            assert_int_equal(st_header_size(header), t.len);
            assert_int_equal(st_header_data_offset(header), size);
            st_header_release(header);
            free(bytes);
            free(t.at);
        }
    }
}

/* Blanks in front shift every token over the window's edge at some shift; the header is read once. */
static void test_units_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        text plain = {0};
        uint64_t data = make_header(&forms[f], 1300, &plain);
        for (int shift = 0; shift < 200; shift++) {
            text t = {0};
            size_t size;
            add(&t, "%*s", shift, "");
            for (size_t at = 0; at < plain.len; at += 60000)
                add(&t, "%.*s", (int)(plain.len - at < 60000 ? plain.len - at : 60000),
                    plain.at + at);
            unsigned char *bytes = framed(&t, &size);
            reader r = {.bytes = bytes};
            st__header_input input = {.read = reader_read,
                                      .ctx = &r,
                                      .file_size = size + data,
                                      .first = size,
                                      .name = "r"};
            st_header *header;
            CHECK_OK(st__header_read(&input, NULL, &header, &error));
            assert_int_equal(r.total, size); /* no second look */
            check_header(header, 1300);
            st_header_release(header);
            free(bytes);
            free(t.at);
        }
        free(plain.at);
    }
}

/* Metadata and names longer than the window and its headroom. */
static void test_units_longer_than_the_window(void **state)
{
    (void)state;
    static const int lengths[] = {8000, 8192, 16300, 40960, 65536, 81000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        text t = {0};
        size_t size;
        int len = lengths[i];
        add(&t, "{\"__metadata__\":{\"a\":\"%0*d\",\"b\":\"2\"},", len, 1);
        add(&t, "\"%0*d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},", len, 2);
        add(&t, "\"z\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}");
        unsigned char *bytes = framed(&t, &size);
        st_header *header;
        CHECK_OK(st_header_parse(bytes, size, size + 2, NULL, &header, &error));
        assert_int_equal(st_header_metadata_count(header), 2);
        assert_int_equal(st_header_metadata_find(header, "a", 1)->value_len, len);
        assert_string_equal(st_header_metadata_find(header, "b", 1)->value, "2");
        assert_null(st_header_metadata_find(header, "c", 1));
        assert_int_equal(st_header_at(header, 0)->name_len, len);
        assert_int_equal(st_header_find(header, "z", 1)->end, 2);
        st_header_release(header);
        free(bytes);
        free(t.at);
    }
}

/* A fault is found at the same byte wherever the window happens to end. */
static void test_faults_at_every_window_position(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\"x\":{\"dtype\":\"U8\",\"shape\":[01],\"data_offsets\":[0,1]}}",
        "\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}]",
        "\"x\\q\":{}}",
        "\"x\n\":{}}",
        "nul}",
        "}",
        "\"x\":{\"a\":1e999}}"};
    static const int at[] = {28, 51, 3, 2, 0, 0, 9};
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        for (int shift = 0; shift < 90; shift++) {
            text t = {0};
            size_t size;
            add(&t, "%*s", shift, "");
            make_header(&(form){"", "{", forms[0].entry, ",", ","}, 205, &t);
            size_t offset = 8 + t.len + (size_t)at[b];
            add(&t, "%s", bad[b]);
            unsigned char *bytes = framed(&t, &size);
            st_header *header;
            CHECK_ERR(st_header_parse(bytes, size, size + 10000, NULL, &header, &error),
                      ST_ERR_HEADER_JSON, offset);
            free(bytes);
            free(t.at);
        }
    }
}

/* What was learned from one entry must not hide a fault in front of the next, whatever stood between. */
static void test_faults_between_learned_entries(void **state)
{
    (void)state;
    static const char *const between[] = {
        "\"__metadata__\":{\"k\":\"v\"},", "\"__metadata__\":null,",
        "\"e\":{\"shape\":[0],\"dtype\":\"U8\",\"data_offsets\":[2,2]},", ""};
    for (size_t b = 0; b < sizeof between / sizeof *between; b++) {
        for (int letter = 0; letter < 3; letter++) {
            text t = {0};
            size_t size;
            add(&t,
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},%s",
                between[b]);
            size_t offset = 8 + t.len;
            add(&t, "%cc\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
                "X{\\"[letter]);
            unsigned char *bytes = framed(&t, &size);
            st_header *header;
            CHECK_ERR(st_header_parse(bytes, size, size + 3, NULL, &header, &error),
                      ST_ERR_HEADER_JSON, offset);
            free(bytes);
            free(t.at);
        }
    }
}

/* Large headers in memory are read where they lie; a fault anywhere in them must be found, and nothing read
 * behind their end. */
static void test_large_headers_in_memory(void **state)
{
    (void)state;
    static const char *const bad[] = {"X\"c\":{},", "\"c", "\"\\q",
                                      "\"t\":{\"dtype\":\"U8\",\"shape\":[9999", "}"};
    text t = {0};
    size_t size;
    uint64_t data = make_header(&forms[0], 16000, &t);
    unsigned char *bytes = framed(&t, &size);
    assert_true(size > 1 << 20);
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        for (size_t at = 1000; at < size; at += size / 9 + at % 7) {
            size_t start = at;
            while (start < size && memcmp(bytes + start, "\"t.", 3) != 0)
                start++;
            if (start == size)
                break;
            unsigned char *cut = malloc(start + strlen(bad[b]));
            assert_non_null(cut);
            memcpy(cut, bytes, start);
            memcpy(cut + start, bad[b], strlen(bad[b]));
            uint64_t n = start + strlen(bad[b]) - 8;
            for (int i = 0; i < 8; i++)
                cut[i] = (unsigned char)(n >> 8 * i);
            st_header *header;
            size_t fault = b == 0 || b == 4 ? start : b == 2 ? start + 2 : start + strlen(bad[b]);
            CHECK_ERR(st_header_parse(cut, (size_t)n + 8, n + 8 + data, NULL, &header, &error),
                      ST_ERR_HEADER_JSON, fault);
            free(cut);
        }
    }
    free(bytes);
    free(t.at);
}

/* ------------------------------------------------------------------------------- the order */

static void test_entries_out_of_order(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    text t = {0};
    size_t size;
    add(&t, "{");
    for (int i = 0; i < COUNT; i++) {
        int k = i * 1009 % COUNT; /* a permutation */
        add(&t, "%s\"n%d\":{\"dtype\":\"U16\",\"shape\":[%d],\"data_offsets\":[%d,%d]}",
            i ? "," : "", k, k % 3 ? 4 : 0,
            (k + 2) / 3 * 16 - (k % 3 == 2 ? 8 : 0) - (k % 3 == 1 ? 16 : 0) + (k % 3 == 2 ? 0 : 0),
            (k + 2) / 3 * 16 - (k % 3 == 2 ? 8 : 0) - (k % 3 == 1 ? 16 : 0) + (k % 3 ? 8 : 0));
    }
    add(&t, "}");
    unsigned char *bytes = framed(&t, &size);
    st_header *header;
    CHECK_OK(st_header_parse(bytes, size, size + COUNT / 3 * 16, NULL, &header, &error));
    uint64_t end = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const st_tensor *tensor = st_header_at(header, i);
        assert_int_equal(tensor->begin, end);
        end = tensor->end;
        assert_ptr_equal(st_header_find(header, tensor->name, tensor->name_len), tensor);
        assert_int_equal(tensor->shape[0] * 2, st_tensor_size(tensor));
    }
    st_header_release(header);
    free(bytes);
    free(t.at);
}

static void test_sorted_by_name(void **state)
{
    (void)state;
    static const char *const sorted[] = {
        "", "Z", "a", "a10", "a2", "b", "\xc3\xa9", "\xef\xbd\xb1", "\xf0\x9f\x98\x80"};
    enum { COUNT = 9 };
    for (unsigned seed = 0; seed < 500; seed++) {
        unsigned order[COUNT], random = seed * 2654435761u + 12345;
        text t = {0};
        size_t size;
        for (unsigned i = 0; i < COUNT; i++) {
            random = random * 1664525u + 1013904223u;
            unsigned j = (random >> 16) % (i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        add(&t, "{");
        for (unsigned i = 0; i < COUNT; i++)
            add(&t, "%s\"%s\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[%u,%u]}",
                i ? "," : "", sorted[order[i]], i, i + 1);
        add(&t, "}");
        unsigned char *bytes = framed(&t, &size);
        st_header *header;
        uint32_t out[COUNT];
        CHECK_OK(st_header_parse(bytes, size, size + COUNT, NULL, &header, &error));
        CHECK_OK(st_header_sort(header, out, &error));
        for (unsigned i = 0; i < COUNT; i++)
            assert_string_equal(st_header_at(header, out[i])->name, sorted[i]);
        st_header_release(header);
        free(bytes);
        free(t.at);
    }
}

/* ----------------------------------------------------------------------------- the flags */

static st_header *parse_text(const char *json, uint64_t data, uint32_t flags, st_status expected,
                             uint64_t offset)
{
    text t = {0};
    size_t size;
    st_header *header = NULL;
    st_open_options options = {.flags = flags};
    add(&t, "%s", json);
    unsigned char *bytes = framed(&t, &size);
    CHECK_ERR(st_header_parse(bytes, size, size + data, &options, &header, &error), expected,
              offset);
    free(bytes);
    free(t.at);
    return header;
}

static void test_upstream_takes_the_last(void **state)
{
    (void)state;
    const char *json = "{\"__metadata__\":{\"k\":\"1\",\"j\":\"0\",\"k\":\"2\"},"
                       "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                       "\"b\":[{\"I8\":null},[2],[4,6]],"
                       "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    parse_text(json, 6, 0, ST_ERR_ENTRY_TYPE, 8 + 98);
    st_header *header = parse_text(json, 6, ST_OPEN_UPSTREAM, ST_OK, 0);
    assert_int_equal(st_header_count(header), 2);
    assert_int_equal(st_header_find(header, "a", 1)->dtype, ST_F32);
    assert_int_equal(st_header_find(header, "b", 1)->dtype, ST_I8);
    assert_int_equal(st_header_metadata_count(header), 2);
    assert_string_equal(st_header_metadata_find(header, "k", 1)->value, "2");
    st_header_release(header);
}

static void test_unknown_dtypes_are_listed(void **state)
{
    (void)state;
    const char *json = "{\"a\":{\"dtype\":\"I4\",\"shape\":[3],\"data_offsets\":[0,2]},"
                       "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
                       "\"c\":{\"dtype\":\"C128\",\"shape\":[],\"data_offsets\":[3,19]},"
                       "\"d\":{\"dtype\":\"I4\",\"shape\":[2],\"data_offsets\":[19,20]}}";
    size_t len;
    parse_text(json, 20, 0, ST_ERR_DTYPE_UNKNOWN, 8 + 14);
    st_header *header = parse_text(json, 20, ST_OPEN_UNKNOWN_DTYPES, ST_OK, 0);
    const st_tensor *a = st_header_find(header, "a", 1), *c = st_header_find(header, "c", 1);
    assert_true(a->dtype >= ST_DTYPE_UNKNOWN && c->dtype > a->dtype);
    assert_int_equal(st_header_find(header, "d", 1)->dtype, a->dtype);
    assert_string_equal(st_header_dtype_code(header, a->dtype, &len), "I4");
    assert_int_equal(len, 2);
    assert_string_equal(st_header_dtype_code(header, c->dtype, NULL), "C128");
    assert_string_equal(st_header_dtype_code(header, ST_U8, &len), "U8");
    st_header_release(header);
}

static void test_too_many_unknown_dtypes(void **state)
{
    (void)state;
    text t = {0};
    size_t at = 0;
    add(&t, "{");
    for (int i = 0; i < 65; i++) {
        add(&t, "%s", i ? "," : "");
        at = t.len;
        add(&t, "\"n%d\":{\"dtype\":\"Q%d\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i, i, i,
            i + 1);
    }
    add(&t, "}");
    parse_text(t.at, 65, ST_OPEN_UNKNOWN_DTYPES, ST_ERR_ENTRY_TYPE, 8 + at);
    free(t.at);
}

static void test_options_are_judged(void **state)
{
    (void)state;
    const unsigned char bytes[10] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    st_header *header = NULL;
    uint64_t n = 0;
    st_open_options flags = {.flags = 128}, io = {.io = 9}, reserved = {.reserved = {1}};
    st_open_options limit = {.max_header_size = 1}, huge = {.max_header_size = UINT32_MAX};
    CHECK_ERR(st_header_parse(bytes, 10, 10, &flags, &header, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_ERR(st_header_parse(bytes, 10, 10, &io, &header, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_header_parse(bytes, 10, 10, &reserved, &header, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_ERR(st_header_parse(bytes, 10, 10, &huge, &header, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_ERR(st_header_parse(bytes, 10, 10, &limit, &header, &error), ST_ERR_HEADER_TOO_LARGE, 0);
    CHECK_ERR(st_header_length(bytes, 10, 10, &limit, &n, &error), ST_ERR_HEADER_TOO_LARGE, 0);
    CHECK_ERR(st_header_length(bytes, 10, 9, NULL, &n, &error), ST_ERR_HEADER_LENGTH, 0);
    CHECK_ERR(st_header_length(bytes, 3, 3, NULL, &n, &error), ST_ERR_HEADER_TOO_SMALL, 0);
    CHECK_ERR(st_header_length(bytes, 3, 10, NULL, &n, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_header_parse(bytes, 3, 10, NULL, &header, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_header_parse(bytes, 9, 10, NULL, &header, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    assert_null(header);
    CHECK_OK(st_header_length(bytes, 10, 10, NULL, &n, &error));
    assert_int_equal(n, 2);
    CHECK_OK(st_header_parse(bytes, 10, 10, NULL, &header, &error));
    assert_ptr_equal(st_header_retain(header), header);
    assert_false(st_header_has_metadata(header));
    st_header_release(header);
    st_header_release(header);
    st_header_release(NULL);
}

/* ------------------------------------------------------------------- what may fail outside */

static const char *const awkward[] = {
    "{}",
    "{\"__metadata__\":{\"k\":\"v\",\"l\":\"w\"},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_"
    "offsets\":[0,1]}}",
    "{\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]},"
    "\"a\":{\"dtype\":\"I4\",\"shape\":[1],\"data_offsets\":[0,1]}}",
    "{\"__metadata__\":{\"k\":\"v\",\"k\":\"w\"},\"a\":[{\"U8\":null},[1],[0,1]],"
    "\"a\":[{\"U8\":null},[1],[0,1]]}",
};

static void test_memory_fails_anywhere(void **state)
{
    (void)state;
    static const uint64_t data[] = {0, 1, 1, 1};
    for (size_t i = 0; i < sizeof awkward / sizeof *awkward; i++) {
        text t = {0};
        size_t size;
        add(&t, "%s", awkward[i]);
        unsigned char *bytes = framed(&t, &size);
        ST_OOM_LOOP(context, status)
        {
            st_open_options options = {.context = context,
                                       .flags = ST_OPEN_UPSTREAM | ST_OPEN_UNKNOWN_DTYPES};
            st_header *header = NULL;
            status = st_header_parse(bytes, size, size + data[i], &options, &header, NULL);
            if (status == ST_OK) {
                uint32_t order[2];
                status = st_header_sort(header, order, NULL);
                st_header_release(header);
            }
        }
        free(bytes);
        free(t.at);
    }
}

static void test_memory_fails_for_a_long_header(void **state)
{
    (void)state;
    text t = {0};
    size_t size;
    add(&t, "{\"__metadata__\":{");
    for (int i = 0; i < 100; i++)
        add(&t, "%s\"k%d\":\"v\"", i ? "," : "", i);
    add(&t, "},\"%09000d\":{\"dtype\":\"U8\",\"shape\":[", 1);
    for (int i = 0; i < 200; i++)
        add(&t, "1,");
    add(&t, "1],\"data_offsets\":[0,1]}}");
    unsigned char *bytes = framed(&t, &size);
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context};
        st_header *header = NULL;
        status = st_header_parse(bytes, size, size + 1, &options, &header, NULL);
        if (status == ST_OK) {
            assert_int_equal(st_header_at(header, 0)->ndim, 201);
            assert_int_equal(st_header_metadata_count(header), 100);
        }
        st_header_release(header);
    }
    free(bytes);
    free(t.at);
}

static void test_reading_fails_anywhere(void **state)
{
    (void)state;
    static const uint64_t lies[] = {0, 7}; /* the second needs the second look */
    for (size_t lie = 0; lie < 2; lie++) {
        text t = {0};
        size_t size;
        uint64_t data = make_header(&forms[1], 5000, &t);
        unsigned char *bytes = framed(&t, &size);
        uint64_t calls = 1;
        for (uint64_t n = 1; n <= calls; n++) {
            reader r = {.bytes = bytes, .fail_at = n};
            st__header_input input = {
                .read = reader_read, .ctx = &r, .file_size = size + data + lies[lie], .name = "r"};
            st_header *header = NULL;
            st_error error = {0};
            st_status status = st__header_read(&input, NULL, &header, &error);
            if (r.calls >= n) {
                calls = n + 1;
                assert_int_equal(status, ST_ERR_IO);
                assert_int_equal(error.sys_errno, 5);
                assert_null(header);
            } else {
                assert_int_equal(status, lie ? ST_ERR_TRAILING_BYTES : ST_OK);
                st_header_release(header);
            }
        }
        assert_true(calls > 4);
        free(bytes);
        free(t.at);
    }
}

static void test_reads_little_beyond_the_header(void **state)
{
    (void)state;
    static const int counts[] = {1, 100, 200, 1000};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        text t = {0};
        size_t size;
        uint64_t data = make_header(&forms[0], counts[i], &t);
        unsigned char *bytes = framed(&t, &size);
        bytes = realloc(bytes, size + data);
        assert_non_null(bytes);
        memset(bytes + size, 0, data);
        reader r = {.bytes = bytes};
        st__header_input input = {
            .read = reader_read, .ctx = &r, .file_size = size + data, .name = "r"};
        st_header *header;
        CHECK_OK(st__header_read(&input, NULL, &header, &error));
        assert_true(r.end <= (size < ST__HEADER_BLOCK ? ST__HEADER_BLOCK : size));
        st_header_release(header);
        free(bytes);
        free(t.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form_is_read),
        cmocka_unit_test(test_units_cut_at_every_byte),
        cmocka_unit_test(test_units_longer_than_the_window),
        cmocka_unit_test(test_faults_at_every_window_position),
        cmocka_unit_test(test_faults_between_learned_entries),
        cmocka_unit_test(test_large_headers_in_memory),
        cmocka_unit_test(test_entries_out_of_order),
        cmocka_unit_test(test_sorted_by_name),
        cmocka_unit_test(test_upstream_takes_the_last),
        cmocka_unit_test(test_unknown_dtypes_are_listed),
        cmocka_unit_test(test_too_many_unknown_dtypes),
        cmocka_unit_test(test_options_are_judged),
        cmocka_unit_test(test_memory_fails_anywhere),
        cmocka_unit_test(test_memory_fails_for_a_long_header),
        cmocka_unit_test(test_reading_fails_anywhere),
        cmocka_unit_test(test_reads_little_beyond_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
