/* SPDX-License-Identifier: Apache-2.0 */
#include <safetensors/json.h>

#include "support/check.h"
#include "support/oom.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Collects what an emitter writes. */
typedef struct collected {
    char text[20000];
    size_t len;
    size_t largest; /* piece */
    size_t calls;
    size_t fail_at; /* the number of the call that fails, from 1; 0: none */
} collected;

static st_status collect(void *ctx, const char *text, size_t len, st_error *error)
{
    collected *c = ctx;
    if (++c->calls == c->fail_at) {
        error->status = ST_ERR_IO;
        error->sys_errno = 28;
        snprintf(error->message, sizeof error->message, "no room");
        return ST_ERR_IO;
    }
    assert_true(len <= sizeof c->text - 1 - c->len);
    memcpy(c->text + c->len, text, len);
    c->len += len;
    c->text[c->len] = '\0';
    if (len > c->largest)
        c->largest = len;
    return ST_OK;
}

static st_json_emitter *emitter_open(uint32_t indent, collected *c)
{
    st_json_emitter *emitter;
    memset(c, 0, sizeof *c);
    CHECK_OK(st_json_emitter_new(NULL, indent, collect, c, &emitter, &error));
    return emitter;
}

static void emit_sample(st_json_emitter *e)
{
    st_json_emit_object_begin(e);
    st_json_emit_key(e, "a", 1);
    st_json_emit_array_begin(e);
    st_json_emit_u64(e, UINT64_MAX);
    st_json_emit_i64(e, INT64_MIN);
    st_json_emit_i64(e, 0);
    st_json_emit_double(e, 0.1);
    st_json_emit_array_end(e);
    st_json_emit_key(e, "b", 1);
    st_json_emit_object_begin(e);
    st_json_emit_object_end(e);
    st_json_emit_key(e, "c", 1);
    st_json_emit_array_begin(e);
    st_json_emit_array_end(e);
    st_json_emit_key(e, "", 0);
    st_json_emit_bool(e, true);
    st_json_emit_key(e, "b", 1);
    st_json_emit_bool(e, false);
    st_json_emit_key(e, "n", 1);
    st_json_emit_null(e);
    st_json_emit_object_end(e);
}

static void layout_is_compact_or_indented(void **state)
{
    (void)state;
    static const struct {
        uint32_t indent;
        const char *text;
    } cases[] = {
        {0, "{\"a\":[18446744073709551615,-9223372036854775808,0,0.1],\"b\":{},\"c\":[],\"\":true,"
            "\"b\":false,\"n\":null}"},
        {2, "{\n  \"a\": [\n    18446744073709551615,\n    -9223372036854775808,\n    0,\n    0.1\n"
            "  ],\n  \"b\": {},\n  \"c\": [],\n  \"\": true,\n  \"b\": false,\n  \"n\": null\n}"},
    };
    collected c;
    for (size_t i = 0; i < COUNT(cases); i++) {
        st_json_emitter *emitter = emitter_open(cases[i].indent, &c);
        emit_sample(emitter);
        CHECK_OK(st_json_emitter_finish(emitter, &error));
        assert_string_equal(c.text, cases[i].text);
        st_json_emitter_free(emitter);
    }
}

static void strings_escape_what_upstream_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
        const char *json;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain / text", 12, "\"plain / text\""},
        {"\"\\\b\f\n\r\t", 7, "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
        {"\0\x01\x0b\x1f", 4, "\"\\u0000\\u0001\\u000b\\u001f\""},
        {"\x7f \xc2\x80 \xe2\x80\xa8 \xf0\x9f\x98\x80", 13,
         "\"\x7f \xc2\x80 \xe2\x80\xa8 \xf0\x9f\x98\x80\""},
        {"a\xff"
         "b\xc3",
         4,
         "\"a\xef\xbf\xbd"
         "b\xef\xbf\xbd\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    collected c;
    for (size_t i = 0; i < COUNT(cases); i++) {
        st_json_emitter *emitter = emitter_open(0, &c);
        st_json_emit_string(emitter, cases[i].text, cases[i].len);
        CHECK_OK(st_json_emitter_finish(emitter, &error));
        assert_string_equal(c.text, cases[i].json);
        st_json_emitter_free(emitter);
    }
}

static void doubles_are_emitted_in_the_fewest_digits(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *json;
    } cases[] = {{0, "0"},           {-0.0, "-0"},
                 {1, "1"},           {0x1.3333333333334p-2, "0.30000000000000004"},
                 {1e15, "1e15"},     {-123456.75, "-123456.75"},
                 {5e-324, "5e-324"}, {1.7976931348623157e308, "1.7976931348623157e308"},
                 {NAN, "null"},      {INFINITY, "null"},
                 {-INFINITY, "null"}};
    collected c;
    for (size_t i = 0; i < COUNT(cases); i++) {
        st_json_emitter *emitter = emitter_open(0, &c);
        st_json_emit_double(emitter, cases[i].value);
        CHECK_OK(st_json_emitter_finish(emitter, &error));
        assert_string_equal(c.text, cases[i].json);
        st_json_emitter_free(emitter);
    }
}

/* One letter per call; see misuse_apply. */
static const char *const misuses[] = {
    "",            /* nothing at all */
    "{",           /* left open */
    "[",    "11",  /* a second value */
    "{}1",  "k",   /* a key outside of an object */
    "[k]",  "{1}", /* a value without a key */
    "{kk}", "{k}", /* a key without a value */
    "}",    "]",   "[}", "{]", "{k1]", "[]]", "{{",
};

static void misuse_apply(st_json_emitter *emitter, const char *calls)
{
    for (; *calls; calls++) {
        switch (*calls) {
        case '{': st_json_emit_object_begin(emitter); break;
        case '}': st_json_emit_object_end(emitter); break;
        case '[': st_json_emit_array_begin(emitter); break;
        case ']': st_json_emit_array_end(emitter); break;
        case 'k': st_json_emit_key(emitter, "k", 1); break;
        default: st_json_emit_u64(emitter, 1);
        }
    }
}

static void wrong_orders_of_calls_are_errors(void **state)
{
    (void)state;
    collected c;
    for (size_t i = 0; i < COUNT(misuses); i++) {
        st_json_emitter *emitter = emitter_open(0, &c);
        misuse_apply(emitter, misuses[i]);
        CHECK_ERR_TEXT(st_json_emitter_finish(emitter, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                       "JSON emitter: ");
        /* What comes later makes nothing good. */
        misuse_apply(emitter, "{k1}");
        CHECK_ERR(st_json_emitter_finish(emitter, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
        st_json_emitter_free(emitter);
    }
    st_json_emitter *emitter = emitter_open(0, &c);
    st_json_emit_null(emitter);
    CHECK_OK(st_json_emitter_finish(emitter, &error));
    CHECK_OK(st_json_emitter_finish(emitter, &error));
    st_json_emit_null(emitter);
    CHECK_ERR(st_json_emitter_finish(emitter, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    assert_string_equal(c.text, "null");
    st_json_emitter_free(emitter);
}

static void emitted_nesting_is_bounded(void **state)
{
    (void)state;
    collected c;
    for (unsigned depth = 127; depth <= 128; depth++) {
        st_json_emitter *emitter = emitter_open(0, &c);
        for (unsigned i = 0; i < depth; i++)
            st_json_emit_array_begin(emitter);
        for (unsigned i = 0; i < depth; i++)
            st_json_emit_array_end(emitter);
        CHECK_ERR(st_json_emitter_finish(emitter, &error), depth > 127 ? ST_ERR_ARGUMENT : ST_OK,
                  ST_NO_OFFSET);
        st_json_emitter_free(emitter);
        assert_int_equal(c.len, depth == 127 ? 254 : 0);
    }
}

/* 1000 strings of 10 bytes, which take several pieces. */
static void emit_long(st_json_emitter *emitter)
{
    st_json_emit_array_begin(emitter);
    for (int i = 0; i < 1000; i++)
        st_json_emit_string(emitter, "0123456789", 10);
    st_json_emit_array_end(emitter);
}

static void failed_writes_stick(void **state)
{
    (void)state;
    collected c;
    st_json_emitter *emitter = emitter_open(0, &c);
    emit_long(emitter);
    CHECK_OK(st_json_emitter_finish(emitter, &error));
    st_json_emitter_free(emitter);
    assert_int_equal(c.len, 1 + 1000 * 13);
    assert_true(c.largest <= 4096);
    size_t calls = c.calls;
    assert_true(calls > 2);
    for (size_t at = 1; at <= calls; at++) {
        emitter = emitter_open(0, &c);
        c.fail_at = at;
        emit_long(emitter);
        st_error error = {0};
        assert_int_equal(st_json_emitter_finish(emitter, &error), ST_ERR_IO);
        assert_int_equal(error.sys_errno, 28);
        assert_string_equal(error.message, "no room");
        assert_int_equal(c.calls, at);
        assert_int_equal(st_json_emitter_finish(emitter, NULL), ST_ERR_IO);
        assert_int_equal(c.calls, at);
        st_json_emitter_free(emitter);
    }
}

static st_status refuse(void *ctx, const char *text, size_t len, st_error *error)
{
    (void)ctx;
    (void)text;
    (void)len;
    (void)error;
    return ST_ERR_STOPPED;
}

static void a_write_may_fail_without_a_message(void **state)
{
    (void)state;
    st_json_emitter *emitter;
    CHECK_OK(st_json_emitter_new(NULL, 0, refuse, NULL, &emitter, &error));
    st_json_emit_null(emitter);
    CHECK_ERR_TEXT(st_json_emitter_finish(emitter, &error), ST_ERR_STOPPED, ST_NO_OFFSET,
                   "stopped by the caller");
    st_json_emitter_free(emitter);
}

/* Emits every token of a text again. */
static void copy_tokens(st_json_reader *reader, st_json_emitter *emitter)
{
    for (;;) {
        st_json_token token;
        double number;
        uint64_t integer;
        CHECK_OK(st_json_reader_next(reader, &token, &error));
        switch (token.kind) {
        case ST_JSON_END: return;
        case ST_JSON_OBJECT_BEGIN: st_json_emit_object_begin(emitter); break;
        case ST_JSON_OBJECT_END: st_json_emit_object_end(emitter); break;
        case ST_JSON_ARRAY_BEGIN: st_json_emit_array_begin(emitter); break;
        case ST_JSON_ARRAY_END: st_json_emit_array_end(emitter); break;
        case ST_JSON_KEY: st_json_emit_key(emitter, token.text, token.len); break;
        case ST_JSON_STRING: st_json_emit_string(emitter, token.text, token.len); break;
        case ST_JSON_NUMBER:
            if (st_json_parse_u64(token.text, token.len, &integer)) {
                st_json_emit_u64(emitter, integer);
            } else {
                assert_true(st_json_parse_double(token.text, token.len, &number));
                st_json_emit_double(emitter, number);
            }
            break;
        case ST_JSON_NULL: st_json_emit_null(emitter); break;
        default: st_json_emit_bool(emitter, token.kind == ST_JSON_TRUE);
        }
    }
}

static void canonical_text_survives_a_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"a\":[1,-1,0.5,1e300,18446744073709551615],\"\\u0001\":\"caf\xc3\xa9\\n\",\"a\":{}}",
        "[[[]],[{}],null,true,false,\"\"]",
        "-0",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        collected c;
        st_json_reader *reader;
        CHECK_OK(st_json_reader_new(NULL, texts[i], strlen(texts[i]), NULL, &reader, &error));
        st_json_emitter *emitter = emitter_open(0, &c);
        copy_tokens(reader, emitter);
        CHECK_OK(st_json_emitter_finish(emitter, &error));
        assert_string_equal(c.text, texts[i]);
        st_json_emitter_free(emitter);
        st_json_reader_free(reader);
    }
}

static void emitters_survive_want_of_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        collected c = {.len = 0};
        st_json_emitter *emitter;
        status = st_json_emitter_new(context, 2, collect, &c, &emitter, NULL);
        if (status == ST_OK) {
            emit_sample(emitter);
            status = st_json_emitter_finish(emitter, NULL);
            st_json_emitter_free(emitter);
        }
    }
    st_json_emitter_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_compact_or_indented),
        cmocka_unit_test(strings_escape_what_upstream_escapes),
        cmocka_unit_test(doubles_are_emitted_in_the_fewest_digits),
        cmocka_unit_test(wrong_orders_of_calls_are_errors),
        cmocka_unit_test(emitted_nesting_is_bounded),
        cmocka_unit_test(failed_writes_stick),
        cmocka_unit_test(a_write_may_fail_without_a_message),
        cmocka_unit_test(canonical_text_survives_a_round_trip),
        cmocka_unit_test(emitters_survive_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
