/* SPDX-License-Identifier: Apache-2.0 */
/* Names and metadata by a rule: what is found where, in which order, in long texts too, and what ends a search. */
#include "support/oom.h"

#include <safetensors/inspect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text of a search's results: "NAME@2-5; key=value@0-1,3-4; ". */
typedef struct telling {
    char text[1000];
    size_t len;
    uint64_t most; /* then it ends the search; 0: never */
    uint64_t seen;
} telling;

static void match_add(telling *out, char sign, const st_match *match)
{
    out->len += (size_t)snprintf(out->text + out->len, sizeof out->text - out->len, "%c%u-%u", sign,
                                 (unsigned)match->begin, (unsigned)match->end);
    assert_true(out->len < sizeof out->text);
}

static void text_add(telling *out, const char *text, size_t len)
{
    assert_true(out->len + len < sizeof out->text);
    memcpy(out->text + out->len, text, len);
    out->len += len;
}

static bool found_tell(void *ctx, const st_found *found)
{
    telling *out = ctx;
    assert_true((found->tensor == NULL) != (found->metadata == NULL));
    if (found->tensor) {
        assert_int_equal(found->parts, ST_SEARCH_NAMES);
        text_add(out, found->tensor->name, found->tensor->name_len);
    } else {
        text_add(out, found->metadata->key, found->metadata->key_len);
        text_add(out, "=", 1);
    }
    if (found->parts & (ST_SEARCH_NAMES | ST_SEARCH_KEYS))
        match_add(out, '@', &found->name);
    else
        assert_int_equal(found->name.begin + found->name.end, 0);
    if (found->parts & ST_SEARCH_VALUES)
        match_add(out, '=', &found->value);
    else
        assert_int_equal(found->value.begin + found->value.end, 0);
    text_add(out, ";", 1);
    out->seen++;
    return out->seen != out->most;
}

/* Gives the header of a text. */
static st_header *header_of(const char *text, size_t len, uint64_t data)
{
    st_header *header = NULL;
    unsigned char *bytes = malloc(8 + len);
    assert_non_null(bytes);
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)len >> (8 * i));
    memcpy(bytes + 8, text, len);
    CHECK_OK(st_header_parse(bytes, 8 + len, 8 + len + data, NULL, &header, &error));
    free(bytes);
    return header;
}

static st_header *sample(void)
{
    static const char text[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"Author\":\"Zo\\u00eb q.w\",\"n\":\"a\\u0000b\"},"
        "\"b.q.w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
        "\"a.q.w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
        "\"norm\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}";
    return header_of(text, strlen(text), 3);
}

static st_name_rule *rule_of(const char *pattern, uint32_t kind)
{
    st_name_rule *rule = NULL;
    CHECK_OK(st_name_rule_new(pattern, NULL, kind, NULL, &rule, &error));
    return rule;
}

static void test_found(void **state)
{
    static const struct {
        const char *pattern;
        uint32_t kind;
        uint32_t parts;
        uint64_t max;
        const char *told;
    } all[] = {
        {"q.w", ST_NAME_REGEX, 0, 0, "a.q.w@2-5;b.q.w@2-5;Author==5-8;"},
        {"q.w", ST_NAME_REGEX, ST_SEARCH_NAMES, 0, "a.q.w@2-5;b.q.w@2-5;"},
        {"q.w", ST_NAME_REGEX, ST_SEARCH_VALUES, 0, "Author==5-8;"},
        {"o", ST_NAME_REGEX, 0, 0, "norm@1-2;format=@1-2;Author=@4-5=1-2;"},
        {"o", ST_NAME_REGEX, ST_SEARCH_KEYS, 0, "format=@1-2;Author=@4-5;"},
        {"o", ST_NAME_REGEX, ST_SEARCH_NAMES | ST_SEARCH_VALUES, 0, "norm@1-2;Author==1-2;"},
        {"o", ST_NAME_REGEX, 0, 2, "norm@1-2;format=@1-2;"},
        {"o|r", ST_NAME_REGEX, ST_SEARCH_NAMES, 1, "norm@1-2;"}, /* the first, not the last */
        {"q.*", ST_NAME_REGEX, ST_SEARCH_NAMES, 1, "a.q.w@2-5;"},
        {"^a|w$", ST_NAME_REGEX, 0, 0, "a.q.w@0-1;b.q.w@4-5;Author==7-8;n==0-1;"},
        {"a.b", ST_NAME_REGEX, 0, 0, "n==0-3;"}, /* a NUL is a character */
        {"^b", ST_NAME_REGEX, ST_SEARCH_VALUES, 0, ""},
        {"", ST_NAME_TEXT, ST_SEARCH_NAMES, 0, "a.q.w@0-0;b.q.w@0-0;norm@0-0;"},
        {".W", ST_NAME_TEXT, 0, 0, ""},
        {".W", ST_NAME_TEXT | ST_NAME_IGNORE_CASE, 0, 0, "a.q.w@3-5;b.q.w@3-5;Author==6-8;"},
        {"q.w", ST_NAME_GLOB, 0, 0, ""},
        {"?.q*", ST_NAME_GLOB, 0, 0, "a.q.w@0-5;b.q.w@0-5;"},
        {"*O*", ST_NAME_GLOB | ST_NAME_IGNORE_CASE, 0, 0, "norm@0-4;format=@0-6;Author=@0-6=0-8;"},
    };
    st_header *header = sample();
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        telling told = {.len = 0};
        uint64_t count = 99;
        st_name_rule *rule = rule_of(all[i].pattern, all[i].kind);
        st_search_options options = {
            .found = found_tell, .ctx = &told, .max = all[i].max, .parts = all[i].parts};
        CHECK_OK(st_header_search(header, rule, &options, &count, &error));
        assert_string_equal(told.text, all[i].told);
        assert_int_equal(count, told.seen);
        options.found = NULL;
        CHECK_OK(st_header_search(header, rule, &options, &count, &error));
        assert_int_equal(count, told.seen);
        st_name_rule_free(rule);
    }
    st_header_release(header);
}

/* ------------------------------------------------------------------------------ long texts */

/* Gives the header of one entry "k" whose value is `fill` repeated to `size` bytes, `text` standing in it at `at`. */
static st_header *long_of(const char *fill, size_t size, const char *text, size_t at)
{
    static const char before[] = "{\"__metadata__\":{\"k\":\"", behind[] = "\"}}";
    size_t len = strlen(before) + size + strlen(behind);
    char *json = malloc(len + 1);
    assert_non_null(json);
    memcpy(json, before, strlen(before));
    for (size_t i = 0; i < size; i++)
        json[strlen(before) + i] = fill[i % strlen(fill)];
    memcpy(json + strlen(before) + at, text, strlen(text));
    memcpy(json + strlen(before) + size, behind, strlen(behind));
    st_header *header = header_of(json, len, 0);
    free(json);
    return header;
}

static st_match long_search(const st_header *header, const char *pattern, uint32_t kind)
{
    telling told = {.len = 0};
    st_match match = {0, 0};
    unsigned begin, end;
    st_name_rule *rule = rule_of(pattern, kind);
    const st_search_options options = {
        .found = found_tell, .ctx = &told, .parts = ST_SEARCH_VALUES};
    CHECK_OK(st_header_search(header, rule, &options, NULL, &error));
    if (sscanf(told.text, "k==%u-%u;", &begin, &end) == 2)
        match = (st_match){begin, end};
    st_name_rule_free(rule);
    return match;
}

/* At every place of a text that stretches could cut, and at its ends. */
static void test_long_texts(void **state)
{
    enum { SIZE = 300001 };
    static const size_t places[] = {0,     1,     8191,  8192,  8193,  16377,    16378,
                                    16383, 16384, 24575, 32762, 32768, SIZE - 7, SIZE - 6};
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t at = places[i];
        st_header *header = long_of("z", SIZE, "needle", at);
        st_match match = long_search(header, "ne+dl.", ST_NAME_REGEX);
        assert_int_equal(match.begin, at);
        assert_int_equal(match.end, at + 6);
        match = long_search(header, "NEEDLE", ST_NAME_TEXT | ST_NAME_IGNORE_CASE);
        assert_int_equal(match.begin, at);
        match = long_search(header, "*needle*", ST_NAME_GLOB);
        assert_int_equal(match.end, SIZE);
        /* Stretches are no texts: nothing begins or ends with them. */
        match = long_search(header, "^needle", ST_NAME_REGEX);
        assert_int_equal(match.end, at == 0 ? 6 : 0);
        match = long_search(header, "^z|z$", ST_NAME_REGEX);
        assert_int_equal(match.begin, at == 0 ? SIZE - 1 : 0);
        match = long_search(header, "needle$", ST_NAME_REGEX);
        assert_int_equal(match.begin, at == SIZE - 6 ? at : 0);
        st_header_release(header);
    }
}

/* The longest of the first matches, wherever a stretch ends in it. */
static void test_long_matches(void **state)
{
    enum { SIZE = 200000, RUN = 8000 };
    static const size_t places[] = {0, 1, 8191, 8192, 9000, 16000, 16384, 90000, SIZE - RUN};
    static char run[RUN + 1];
    (void)state;
    memset(run, 'x', RUN);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        st_header *header = long_of("\xc3\xa9", SIZE, run, places[i] & ~(size_t)1);
        st_match match = long_search(header, "x+", ST_NAME_REGEX);
        assert_int_equal(match.begin, places[i] & ~(size_t)1);
        assert_int_equal(match.end, match.begin + RUN);
        st_header_release(header);
    }
    /* One of a stretch, and no more of it. */
    st_header *header = long_of("x", SIZE, "y", 0);
    st_match match = long_search(header, "x+", ST_NAME_REGEX);
    assert_int_equal(match.begin, 1);
    assert_int_equal(match.end, 16385);
    st_header_release(header);
}

/* ----------------------------------------------------------------------------- what ends it */

typedef struct watching {
    uint64_t calls;
    uint64_t end_at; /* the call that ends it */
    uint64_t done;
    uint64_t total;
} watching;

static bool progress_watch(void *ctx, uint64_t done, uint64_t total)
{
    watching *self = ctx;
    assert_true(done > self->done && done <= total);
    assert_true(self->calls == 0 || done - self->done <= 16384);
    self->done = done;
    self->total = total;
    return ++self->calls != self->end_at;
}

static void test_progress(void **state)
{
    enum { SIZE = 200000 };
    st_header *header = long_of("z", SIZE, "", 0);
    st_name_rule *rule = rule_of("a|zy", ST_NAME_REGEX);
    watching watch = {.end_at = 0};
    uint64_t count = 99;
    st_search_options options = {.progress = {progress_watch, &watch}};
    (void)state;
    CHECK_OK(st_header_search(header, rule, &options, &count, &error));
    assert_int_equal(count, 0);
    assert_int_equal(watch.total, SIZE + 1); /* the key too */
    assert_true(watch.calls >= SIZE / 16384 && watch.done + 8192 > SIZE);
    uint64_t calls = watch.calls;
    for (uint64_t end = 1; end <= calls; end++) {
        watch = (watching){.end_at = end};
        count = 99;
        CHECK_ERR_TEXT(st_header_search(header, rule, &options, &count, &error), ST_ERR_STOPPED,
                       ST_NO_OFFSET, "stopped");
        assert_int_equal(watch.calls, end);
        assert_int_equal(count, 99);
    }
    options.parts = ST_SEARCH_NAMES;
    watch = (watching){.end_at = 1};
    CHECK_OK(
        st_header_search(header, rule, &options, NULL, &error)); /* there is nothing to search */
    st_name_rule_free(rule);
    st_header_release(header);
}

static void test_callback_ends(void **state)
{
    st_header *header = sample();
    st_name_rule *rule = rule_of("o", ST_NAME_TEXT);
    (void)state;
    for (uint64_t most = 1; most <= 3; most++) {
        telling told = {.most = most};
        uint64_t count = 99;
        const st_search_options options = {.found = found_tell, .ctx = &told};
        CHECK_ERR(st_header_search(header, rule, &options, &count, &error), ST_ERR_STOPPED,
                  ST_NO_OFFSET);
        assert_int_equal(told.seen, most);
        assert_int_equal(count, 99);
    }
    st_name_rule_free(rule);
    st_header_release(header);
}

static void test_refused(void **state)
{
    st_header *header = sample();
    st_name_rule *rule = rule_of("o", ST_NAME_TEXT);
    uint64_t count = 0;
    st_search_options options = {.parts = 8};
    (void)state;
    CHECK_ERR_TEXT(st_header_search(header, rule, &options, NULL, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "unknown parts 0x8");
    options = (st_search_options){.reserved = {[7] = 1}};
    CHECK_ERR_TEXT(st_header_search(header, rule, &options, NULL, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "st_search_options");
    CHECK_OK(st_header_search(header, rule, NULL, &count, &error));
    assert_int_equal(count, 3);
    CHECK_OK(st_header_search(header, rule, NULL, NULL, &error));
    st_name_rule_free(rule);
    st_header_release(header);
}

static void test_out_of_memory(void **state)
{
    st_header *header = long_of("z", 200000, "needle", 100000);
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st_name_rule *rule = NULL;
        uint64_t count = 99;
        status = st_name_rule_new("needle$|nee", NULL, ST_NAME_REGEX, context, &rule, NULL);
        if (status == ST_OK)
            status = st_header_search(header, rule, NULL, &count, NULL);
        assert_int_equal(count, status == ST_OK ? 1 : 99);
        st_name_rule_free(rule);
    }
    st_header_release(header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),         cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_long_matches),  cmocka_unit_test(test_progress),
        cmocka_unit_test(test_callback_ends), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("search", tests, NULL, NULL);
}
