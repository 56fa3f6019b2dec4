/* SPDX-License-Identifier: Apache-2.0 */
#include <safetensors/json.h>

#include "support/check.h"
#include "support/oom.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A reader over a block of just the text's size, so that a sanitizer sees a byte read beyond it. */
typedef struct exact_reader {
    char *text;
    st_json_reader *json;
} exact_reader;

static void exact_open(exact_reader *reader, const char *text, size_t len)
{
    reader->text = malloc(len ? len : 1);
    assert_non_null(reader->text);
    memcpy(reader->text, text, len);
    CHECK_OK(st_json_reader_new(NULL, reader->text, len, "sample", &reader->json, &error));
}

static void exact_close(exact_reader *reader)
{
    st_json_reader_free(reader->json);
    free(reader->text);
}

/* Reads to the end or to the first fault. */
static st_status read_all(st_json_reader *json, st_error *error)
{
    st_json_token token = {.kind = ST_JSON_NULL};
    while (token.kind != ST_JSON_END) {
        st_status status = st_json_reader_next(json, &token, error);
        if (status != ST_OK)
            return status;
        if (token.text)
            assert_int_equal(token.text[token.len], '\0');
    }
    return ST_OK;
}

/* Reads the text as tokens, and again as one value skipped. `offset` counts on failure only. */
static void check_text(const char *text, size_t len, st_status status, uint64_t offset)
{
    exact_reader reader;
    exact_open(&reader, text, len);
    CHECK_ERR(read_all(reader.json, &error), status, offset);
    /* The end and a fault are both reported for as long as one asks. */
    CHECK_ERR(read_all(reader.json, &error), status, offset);
    exact_close(&reader);

    exact_open(&reader, text, len);
    st_error error = {0};
    st_status skipped = st_json_reader_skip(reader.json, &error);
    if (skipped == ST_OK)
        skipped = read_all(reader.json, &error);
    assert_int_equal(skipped, status);
    if (status != ST_OK)
        assert_true(error.offset == offset);
    exact_close(&reader);
}

static void valid_texts_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "null",
        " \t\r\n true \n",
        "false",
        "0",
        "-0",
        "10",
        "-9",
        "9",
        "-1.5e+10",
        "1E-5",
        "0.25",
        "0e999999999999999999999999",
        "1e-999999999999999999999999",
        "1.7976931348623157e308",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,[2,{\"a\":[]}],null]",
        " { \"a\" : 1 , \"b\" : { \"c\" : [ true , false ] } } ",
        "\"\"",
        "\"\\u0000\\u001f\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\ud83d\\uDE00 \xf0\x9f\x98\x80 \x7f \xc3\xa9 \xed\x9f\xbf \xee\x80\x80\"",
        "{\"a\":1,\"a\":2}",
        "{\"\":\"a string that is longer than one or two vectors of sixteen bytes, or four\"}",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        check_text(texts[i], strlen(texts[i]), ST_OK, 0);
}

static void invalid_texts_are_refused_where_they_err(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t offset;
    } cases[] = {
        {"", 0},
        {"  ", 2},
        {"\xef\xbb\xbf{}", 0},
        {"{} {}", 3},
        {"[1]]", 3},
        {"1 2", 2},
        {"nul", 3},
        {"nulL", 3},
        {"True", 0},
        {"trues", 4},
        {"NaN", 0},
        {"Infinity", 0},
        {"+1", 0},
        {"-", 1},
        {"-a", 1},
        {"01", 1},
        {"-01", 2},
        {".5", 0},
        {"1.", 2},
        {"1.e5", 2},
        {"1e", 2},
        {"1e+", 3},
        {"0x10", 1},
        {"[1e400]", 1},
        {"[-1.8e308]", 1},
        {"[", 1},
        {"[1", 2},
        {"[1,", 3},
        {"[1,]", 3},
        {"[,1]", 1},
        {"[1 2]", 3},
        {"[1}", 2},
        {"]", 0},
        {"{", 1},
        {"{\"a\"", 4},
        {"{\"a\":", 5},
        {"{\"a\":1", 6},
        {"{\"a\":1,", 7},
        {"{\"a\":1,}", 7},
        {"{\"a\" 1}", 5},
        {"{\"a\":}", 5},
        {"{,}", 1},
        {"{a:1}", 1},
        {"{1:1}", 1},
        {"{'a':1}", 1},
        {"{\"a\":1 \"b\":2}", 7},
        {"{\"a\":1]", 6},
        {"[1/*x*/]", 2},
        {"//x\n1", 0},
        {"'a'", 0},
        {"\"", 1},
        {"\"abc", 4},
        {"\"a\nb\"", 2},
        {"\"a\tb\"", 2},
        {"\"\\", 2},
        {"\"\\x\"", 2},
        {"\"\\u12", 5},
        {"\"\\u12g4\"", 5},
        {"\"\\ud800\"", 1},
        {"\"\\ud800\\n\"", 1},
        {"\"\\ud800\\ud800\"", 1},
        {"\"\\udc00\"", 1},
        {"\"a\x80\"", 2},
        {"\"\xc0\xaf\"", 1},
        {"\"\xed\xa0\x80\"", 1},
        {"\"\xf4\x90\x80\x80\"", 1},
        {"\"\xff\"", 1},
        {"{\"\xc3\":1}", 2},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_text(cases[i].text, strlen(cases[i].text), ST_ERR_JSON, cases[i].offset);
    check_text("[1,\0]", 5, ST_ERR_JSON, 3);
    check_text("\"a\0b\"", 5, ST_ERR_JSON, 2);
    check_text("1\0", 2, ST_ERR_JSON, 1);
}

static void messages_say_what_and_where(void **state)
{
    (void)state;
    exact_reader reader;
    exact_open(&reader, "{\"a\" 1}", 7);
    CHECK_ERR_TEXT(read_all(reader.json, &error), ST_ERR_JSON, 5,
                   "sample: expected ':', at byte 5");
    exact_close(&reader);
}

/* `depth` arrays and objects in turn, one in the other. */
static size_t nested_text(char *text, unsigned depth)
{
    size_t len = 0;
    for (unsigned i = 0; i < depth; i++) {
        memcpy(text + len, i % 2 ? "{\"k\":" : "[", i % 2 ? 5 : 1);
        len += i % 2 ? 5 : 1;
    }
    text[len++] = '7';
    for (unsigned i = depth; i-- > 0;)
        text[len++] = i % 2 ? '}' : ']';
    return len;
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char text[1024];
    check_text(text, nested_text(text, 127), ST_OK, 0);
    /* The 128th container's begin: 64 arrays and 63 objects stand before it. */
    check_text(text, nested_text(text, 128), ST_ERR_JSON, 64 + 63 * 5);
    size_t million = 1000000;
    char *brackets = malloc(million);
    assert_non_null(brackets);
    memset(brackets, '[', million);
    check_text(brackets, million, ST_ERR_JSON, 127);
    free(brackets);
}

static void tokens_tell_kind_depth_text_and_place(void **state)
{
    (void)state;
    static const char text[] = " {\"a\\u0000b\":[1.50, \"\\u00e9\"],\"\":{},\"t\":true,\"f\":false,"
                               "\"n\":null}";
    static const struct {
        int32_t kind;
        uint32_t depth;
        uint64_t offset;
        size_t len;
        const char *text;
    } tokens[] = {
        {ST_JSON_OBJECT_BEGIN, 0, 1, 0, NULL},
        {ST_JSON_KEY, 1, 2, 3, "a\0b"},
        {ST_JSON_ARRAY_BEGIN, 1, 13, 0, NULL},
        {ST_JSON_NUMBER, 2, 14, 4, "1.50"},
        {ST_JSON_STRING, 2, 20, 2, "\xc3\xa9"},
        {ST_JSON_ARRAY_END, 1, 28, 0, NULL},
        {ST_JSON_KEY, 1, 30, 0, ""},
        {ST_JSON_OBJECT_BEGIN, 1, 33, 0, NULL},
        {ST_JSON_OBJECT_END, 1, 34, 0, NULL},
        {ST_JSON_KEY, 1, 36, 1, "t"},
        {ST_JSON_TRUE, 1, 40, 0, NULL},
        {ST_JSON_KEY, 1, 45, 1, "f"},
        {ST_JSON_FALSE, 1, 49, 0, NULL},
        {ST_JSON_KEY, 1, 55, 1, "n"},
        {ST_JSON_NULL, 1, 59, 0, NULL},
        {ST_JSON_OBJECT_END, 0, 63, 0, NULL},
        {ST_JSON_END, 0, 64, 0, NULL},
        {ST_JSON_END, 0, 64, 0, NULL},
    };
    exact_reader reader;
    exact_open(&reader, text, sizeof text - 1);
    for (size_t i = 0; i < COUNT(tokens); i++) {
        st_json_token token;
        CHECK_OK(st_json_reader_next(reader.json, &token, &error));
        assert_int_equal(token.kind, tokens[i].kind);
        assert_int_equal(token.depth, tokens[i].depth);
        assert_int_equal(token.offset, tokens[i].offset);
        assert_int_equal(token.len, tokens[i].len);
        if (tokens[i].text)
            assert_memory_equal(token.text, tokens[i].text, tokens[i].len + 1);
        else
            assert_null(token.text);
    }
    exact_close(&reader);
}

static const char sample[] = "{\"name\":\"\\ud83d\\ude00 caf\xc3\xa9 \\n\",\"n\":[0,-1.5e3,1e-7],"
                             "\"o\":{\"t\":true,\"f\":false,\"z\":null},\"e\":[[],{}]}";

/* Every proper prefix ends too early, which is found at its end and nowhere else. The two
 * exceptions lie inside a character, whose first byte is reported. */
static void prefixes_end_too_early(void **state)
{
    (void)state;
    size_t inside_character = (size_t)(strchr(sample, '\xc3') - sample) + 1;
    for (size_t len = 0; len < sizeof sample - 1; len++)
        check_text(sample, len, ST_ERR_JSON, len == inside_character ? len - 1 : len);
    check_text(sample, sizeof sample - 1, ST_OK, 0);
}

/* Long strings, with the character that needs care at each place relative to the lexer's
 * vectors. */
static void strings_decode_at_every_alignment(void **state)
{
    (void)state;
    for (size_t before = 0; before < 70; before++) {
        char text[256], expected[256];
        size_t n = 0;
        text[n++] = '"';
        memset(text + n, 'x', before);
        memset(expected, 'x', sizeof expected);
        n += before;
        memcpy(text + n, "\\n\xe2\x82\xac\\u20ac", 11);
        n += 11;
        memset(text + n, 'x', 40);
        n += 40;
        text[n++] = '"';
        memcpy(expected + before, "\n\xe2\x82\xac\xe2\x82\xac", 7);
        exact_reader reader;
        exact_open(&reader, text, n);
        st_json_token token;
        CHECK_OK(st_json_reader_next(reader.json, &token, &error));
        assert_int_equal(token.len, before + 7 + 40);
        assert_memory_equal(token.text, expected, token.len);
        exact_close(&reader);
    }
}

static void skip_passes_one_value(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,{\"b\":2}],\"c\":[10,[20],30],\"d\":4}";
    exact_reader reader;
    st_json_token token;
    exact_open(&reader, text, sizeof text - 1);
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    CHECK_ERR_TEXT(st_json_reader_skip(reader.json, &error), ST_ERR_ARGUMENT, 1, "a key");
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    CHECK_OK(st_json_reader_skip(reader.json, &error));
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    assert_int_equal(token.kind, ST_JSON_KEY);
    assert_string_equal(token.text, "c");
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    CHECK_OK(st_json_reader_skip(reader.json, &error));
    CHECK_OK(st_json_reader_skip(reader.json, &error));
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    assert_string_equal(token.text, "30");
    CHECK_ERR_TEXT(st_json_reader_skip(reader.json, &error), ST_ERR_ARGUMENT, 32,
                   "the end of a container");
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    assert_int_equal(token.kind, ST_JSON_ARRAY_END);
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    CHECK_OK(st_json_reader_skip(reader.json, &error));
    CHECK_OK(st_json_reader_next(reader.json, &token, &error));
    assert_int_equal(token.kind, ST_JSON_OBJECT_END);
    CHECK_ERR_TEXT(st_json_reader_skip(reader.json, &error), ST_ERR_ARGUMENT, sizeof text - 1,
                   "the end of the text");
    exact_close(&reader);
}

static void readers_survive_want_of_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st_json_reader *reader;
        status = st_json_reader_new(context, sample, sizeof sample - 1, "sample", &reader, NULL);
        if (status == ST_OK) {
            status = read_all(reader, NULL);
            st_json_reader_free(reader);
        }
    }
    st_json_reader_free(NULL);
}

/* A call that found no memory moves nothing: made again, it gives the token. */
static void reading_goes_on_after_want_of_memory(void **state)
{
    (void)state;
    for (uint64_t fail_at = 4; fail_at < 7; fail_at++) {
        oom_allocator oom = {.fail_at = fail_at};
        st_context *context = oom_context_new(&oom);
        static const char text[] = "[\"a\",1234567890123456789012345678901234567890123456789,"
                                   "\"0123456789012345678901234567890123456789012345678901234567"
                                   "890123456789012345678901234567890123456789\"]";
        st_json_reader *reader;
        st_json_token token = {.kind = ST_JSON_NULL};
        CHECK_OK(st_json_reader_new(context, text, sizeof text - 1, NULL, &reader, &error));
        unsigned failures = 0, tokens = 0;
        while (token.kind != ST_JSON_END) {
            st_status status = st_json_reader_next(reader, &token, NULL);
            assert_true(status == ST_OK || status == ST_ERR_NOMEM);
            failures += status != ST_OK;
            tokens += status == ST_OK;
        }
        assert_int_equal(failures, 1);
        assert_int_equal(tokens, 6);
        st_json_reader_free(reader);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts_are_read),
        cmocka_unit_test(invalid_texts_are_refused_where_they_err),
        cmocka_unit_test(messages_say_what_and_where),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(tokens_tell_kind_depth_text_and_place),
        cmocka_unit_test(prefixes_end_too_early),
        cmocka_unit_test(strings_decode_at_every_alignment),
        cmocka_unit_test(skip_passes_one_value),
        cmocka_unit_test(readers_survive_want_of_memory),
        cmocka_unit_test(reading_goes_on_after_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
