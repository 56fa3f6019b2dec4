/* SPDX-License-Identifier: Apache-2.0 */
/* Large files made to hurt: headers at the limit, bombs of nesting, rank, names and duplicates.
 * Each must end with its status and within a bound of memory. Nothing is timed; what is quadratic
 * does not end within the test's limit. */
#include <safetensors/inspect.h>

#include "support/check.h"
#include "support/oom.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A text being written behind room for its length. */
typedef struct text {
    char *bytes;
    size_t size, room;
} text;

static void text_add(text *t, const char *part, size_t len)
{
    if (t->room - t->size < len) {
        t->room = (t->size + len) * 2;
        t->bytes = realloc(t->bytes, t->room);
        assert_non_null(t->bytes);
    }
    memcpy(t->bytes + t->size, part, len);
    t->size += len;
}

static text text_new(void)
{
    text t = {NULL, 0, 0};
    text_add(&t, "\0\0\0\0\0\0\0\0", 8);
    return t;
}

#define ADD(t, literal) text_add(t, literal, sizeof(literal) - 1)

static void add_repeated(text *t, const char *part, size_t count)
{
    size_t len = strlen(part);
    for (size_t i = 0; i < count; i++)
        text_add(t, part, len);
}

static void add_entry(text *t, const char *name, uint64_t begin, uint64_t end)
{
    char entry[160];
    int len = snprintf(entry, sizeof entry,
                       "\"%s\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64 "],\"data_offsets\":[%" PRIu64
                       ",%" PRIu64 "]}",
                       name, end - begin, begin, end);
    text_add(t, entry, (size_t)len);
}

static void text_end(text *t)
{
    uint64_t n = t->size - 8;
    for (int i = 0; i < 8; i++)
        t->bytes[i] = (char)(unsigned char)(n >> (8 * i));
}

/* Windows and tables of fixed size. Room for the rest is reserved by the size of the header, so the
 * bounds count addresses, of which most are never touched; a header that is refused is looked at
 * twice, with more room. */
enum { SLACK = 256 * 1024 };
#define ACCEPTED 6.0
#define REFUSED  16.0
#define KEPT     5.0

/* Parses and expects; the memory taken at most is `factor` times the header. Frees the text. */
static void expect(text *t, uint64_t data_size, st_status status, uint64_t offset, double factor)
{
    oom_allocator oom = {0};
    st_context *context = oom_context_new(&oom);
    st_open_options options = {.context = context};
    st_header *header = NULL;
    text_end(t);
    if (status == ST_OK) {
        CHECK_OK(
            st_header_parse(t->bytes, t->size, t->size + data_size, &options, &header, &error));
        if ((double)oom.outstanding > KEPT * (double)t->size + SLACK)
            fail_msg("%" PRIu64 " bytes kept for a header of %zu", oom.outstanding, t->size);
        st_header_release(header);
    } else {
        CHECK_ERR(
            st_header_parse(t->bytes, t->size, t->size + data_size, &options, &header, &error),
            status, offset);
    }
    if ((double)oom.peak > factor * (double)t->size + SLACK)
        fail_msg("%" PRIu64 " bytes at once for a header of %zu", oom.peak, t->size);
    st_context_release(context);
    assert_true(oom.outstanding == 0);
    free(t->bytes);
}

static void test_brackets(void **state)
{
    (void)state;
    text t = text_new();
    ADD(&t, "{\"a\":");
    add_repeated(&t, "[", 20000000);
    expect(&t, 0, ST_ERR_HEADER_DEPTH, 8 + 5 + 126, REFUSED);
    t = text_new();
    add_repeated(&t, "[", 20000000);
    expect(&t, 0, ST_ERR_HEADER_TYPE, 8, REFUSED);
    t = text_new();
    add_repeated(&t, "{\"a\":", 4000000);
    expect(&t, 0, ST_ERR_HEADER_DEPTH, 8 + 127 * 5, REFUSED);
}

static void test_blanks(void **state)
{
    (void)state;
    text t = text_new();
    add_repeated(&t, " ", 20000000);
    expect(&t, 0, ST_ERR_HEADER_JSON, 8 + 20000000, REFUSED);
    t = text_new();
    add_repeated(&t, "\n", 10000000);
    ADD(&t, "{}");
    add_repeated(&t, " \t\r\n", 2500000);
    expect(&t, 0, ST_OK, 0, ACCEPTED);
}

/* One tensor of five million dimensions, and one whose sizes do not fit 64 bits at the last. */
static void test_rank(void **state)
{
    (void)state;
    text t = text_new();
    ADD(&t, "{\"a\":{\"dtype\":\"U8\",\"shape\":[");
    add_repeated(&t, "1,", 4999999);
    ADD(&t, "1],\"data_offsets\":[0,1]}}");
    expect(&t, 1, ST_OK, 0, ACCEPTED + 4);
    t = text_new();
    ADD(&t, "{\"a\":{\"dtype\":\"U8\",\"shape\":[");
    add_repeated(&t, "1,", 1000000);
    ADD(&t, "18446744073709551615],\"data_offsets\":");
    uint64_t offsets = t.size;
    ADD(&t, "[0,1]}}");
    expect(&t, 1, ST_ERR_OVERFLOW, offsets, REFUSED + 4);
}

static void test_many_tensors(void **state)
{
    (void)state;
    text t = text_new();
    ADD(&t, "{");
    for (unsigned i = 0; i < 500000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%x", i);
        if (i)
            ADD(&t, ",");
        add_entry(&t, name, i, i + 1);
    }
    ADD(&t, "}");
    expect(&t, 500000, ST_OK, 0, ACCEPTED);
}

/* A million tensors that claim the same bytes. */
static void test_same_range(void **state)
{
    (void)state;
    text t = text_new();
    uint64_t second = 0;
    ADD(&t, "{");
    for (unsigned i = 0; i < 1000000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%x", i);
        if (i)
            ADD(&t, ",");
        if (i == 1)
            second = t.size + strlen("\"1\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":");
        add_entry(&t, name, 0, 1);
    }
    ADD(&t, "}");
    expect(&t, 1, ST_ERR_OFFSETS, second, REFUSED);
}

/* A million times one name, and one million metadata keys of which the last two are equal. */
static void test_duplicates(void **state)
{
    (void)state;
    text t = text_new();
    ADD(&t, "{");
    for (unsigned i = 0; i < 1000000; i++) {
        if (i)
            ADD(&t, ",");
        add_entry(&t, "a", 0, 1);
    }
    ADD(&t, "}");
    expect(&t, 1, ST_ERR_NAME_DUPLICATE,
           9 + strlen("\"a\":{\"dtype\":\"U8\",\"shape\":[1],"
                      "\"data_offsets\":[0,1]},"),
           REFUSED);
    t = text_new();
    ADD(&t, "{\"__metadata__\":{");
    for (unsigned i = 0; i < 1000000; i++) {
        char pair[32];
        text_add(&t, pair, (size_t)snprintf(pair, sizeof pair, "\"%x\":\"\",", i));
    }
    uint64_t last = t.size;
    ADD(&t, "\"f423f\":\"\"}}");
    expect(&t, 0, ST_ERR_METADATA_DUPLICATE, last, REFUSED);
}

/* Names that are all equal under h * 31 + c, the hash that everybody knows. */
static void test_colliding_names(void **state)
{
    (void)state;
    text t = text_new();
    ADD(&t, "{");
    for (unsigned i = 0; i < 1 << 16; i++) {
        char name[33];
        for (unsigned bit = 0; bit < 16; bit++)
            memcpy(name + 2 * bit, i >> bit & 1 ? "Aa" : "BB", 2);
        name[32] = '\0';
        if (i)
            ADD(&t, ",");
        add_entry(&t, name, i, i + 1);
    }
    ADD(&t, "}");
    expect(&t, 1 << 16, ST_OK, 0, ACCEPTED);
}

static void test_long_strings(void **state)
{
    (void)state;
    text t = text_new();
    ADD(&t, "{\"");
    add_repeated(&t, "n", 20000000);
    ADD(&t, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    expect(&t, 0, ST_OK, 0, ACCEPTED);
    t = text_new();
    ADD(&t, "{\"__metadata__\":{\"k\":\"");
    add_repeated(&t, "\\u00e9", 4000000);
    ADD(&t, "\"}}");
    expect(&t, 0, ST_OK, 0, ACCEPTED);
    t = text_new();
    ADD(&t, "{\"");
    add_repeated(&t, "n", 20000000);
    expect(&t, 0, ST_ERR_HEADER_JSON, 8 + 2 + 20000000, REFUSED);
}

static void test_ignored_value(void **state)
{
    (void)state;
    text t = text_new();
    ADD(&t, "{\"a\":{\"x\":[");
    add_repeated(&t, "{\"y\":[1.5e3,null,\"\\n\"]},", 800000);
    ADD(&t, "0],\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    expect(&t, 0, ST_OK, 0, ACCEPTED);
    t = text_new();
    ADD(&t, "{\"a\":{\"x\":1");
    add_repeated(&t, "0", 20000000);
    ADD(&t, "e-20000000,\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    expect(&t, 0, ST_OK, 0, ACCEPTED);
}

/* Where the reader's window ends: it ends at every byte of some members, with and without escapes. */
static void test_window_ends(void **state)
{
    (void)state;
    static const size_t ends[] = {16384, 2 * 16384};
    static const char *const names[] = {"plain", "\\u0065\\n\\ud83d\\ude00",
                                        "\xc3\xa9\xf0\x9f\x98\x80"};
    for (size_t e = 0; e < 2; e++) {
        for (size_t back = 0; back < 160; back++) {
            text t = text_new();
            ADD(&t, "{");
            for (unsigned i = 0; t.size + 400 < ends[e]; i++) {
                char name[16];
                snprintf(name, sizeof name, "f%u", i);
                add_entry(&t, name, 0, 0);
                ADD(&t, ",");
            }
            add_repeated(&t, " ", ends[e] - back - t.size);
            for (size_t i = 0; i < 3; i++) {
                add_entry(&t, names[i], 7 * i, 7 * i + 7);
                ADD(&t, ",");
            }
            ADD(&t, "\"__metadata__\":{\"key\":\"value\"}} \n");
            text_end(&t);
            st_header *header = NULL;
            CHECK_OK(st_header_parse(t.bytes, t.size, t.size + 21, NULL, &header, &error));
            const st_tensor *found = st_header_find(header, "e\n\xf0\x9f\x98\x80", 6);
            assert_non_null(found);
            assert_true(found->begin == 7 && found->end == 14);
            assert_non_null(st_header_find(header, "\xc3\xa9\xf0\x9f\x98\x80", 6));
            assert_non_null(st_header_metadata_find(header, "key", 3));
            st_header_release(header);
            free(t.bytes);
        }
    }
}

/* A file that says it has a header of 100 MB and holds only zeros, which no disk need store. */
static void test_sparse_file(void **state)
{
    (void)state;
    FILE *stream = tmpfile();
    assert_non_null(stream);
    int fd = fileno(stream);
    static const unsigned char length[8] = {0x00, 0xe1, 0xf5, 0x05}; /* 100,000,000 */
    assert_int_equal(pwrite(fd, length, 8, 0), 8);
    assert_int_equal(ftruncate(fd, 8 + 100000000), 0);
    st_file *file = NULL;
    CHECK_ERR(st_file_open_fd(fd, NULL, &file, &error), ST_ERR_HEADER_JSON, 8);
    st_open_options options = {.max_header_size = 1 << 20};
    oom_allocator oom = {0};
    options.context = oom_context_new(&oom);
    CHECK_ERR(st_file_open_fd(fd, &options, &file, &error), ST_ERR_HEADER_TOO_LARGE, 0);
    assert_true(oom.peak < SLACK);
    st_context_release(options.context);
    fclose(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brackets),
        cmocka_unit_test(test_blanks),
        cmocka_unit_test(test_rank),
        cmocka_unit_test(test_many_tensors),
        cmocka_unit_test(test_same_range),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_colliding_names),
        cmocka_unit_test(test_long_strings),
        cmocka_unit_test(test_ignored_value),
        cmocka_unit_test(test_window_ends),
        cmocka_unit_test(test_sparse_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
