/* SPDX-License-Identifier: Apache-2.0 */
/* Names matched and rewritten: by patterns, by regular expressions, and what is refused. */
#include "format/glob.h"
#include "support/oom.h"
#include "support/random.h"

#include <fnmatch.h>
#include <safetensors/edit.h>
#include <stdlib.h>
#include <string.h>

/* What becomes of a name; NULL: it does not match. */
typedef struct rewriting {
    const char *pattern, *replacement, *name, *result;
} rewriting;

static st_name_rule *rule_of(const char *pattern, const char *replacement, uint32_t kind)
{
    st_name_rule *rule = NULL;
    CHECK_OK(st_name_rule_new(pattern, replacement, kind, NULL, &rule, &error));
    return rule;
}

static void check_one(const rewriting *r, uint32_t kind)
{
    char text[100];
    size_t size = sizeof text, asked = 0;
    bool matches;
    st_name_rule *rule = rule_of(r->pattern, r->replacement, kind);
    CHECK_OK(st_name_rule_match(rule, r->name, strlen(r->name), &matches, &error));
    if (matches != (r->result != NULL))
        fail_msg("%s with %s", r->pattern, r->name);
    if (r->result) {
        CHECK_OK(st_name_rule_apply(rule, r->name, strlen(r->name), text, &size, &error));
        assert_string_equal(text, r->result);
        assert_int_equal(size, strlen(r->result));
        CHECK_ERR(st_name_rule_apply(rule, r->name, strlen(r->name), NULL, &asked, &error),
                  ST_ERR_BUFFER_SIZE, ST_NO_OFFSET);
        assert_int_equal(asked, size);
        CHECK_ERR(st_name_rule_apply(rule, r->name, strlen(r->name), text, &asked, &error),
                  ST_ERR_BUFFER_SIZE, ST_NO_OFFSET); /* none is left for the terminator */
    } else {
        CHECK_ERR_TEXT(st_name_rule_apply(rule, r->name, strlen(r->name), text, &size, &error),
                       ST_ERR_NOT_FOUND, ST_NO_OFFSET, "does not match");
        assert_int_equal(size, sizeof text);
    }
    st_name_rule_free(rule);
}

static void test_globs(void **state)
{
    static const rewriting all[] = {
        {"a", "b", "a", "b"},
        {"a", "b", "aa", NULL},
        {"a", "b", "", NULL},
        {"", "x", "", "x"},
        {"", "x", "a", NULL},
        {"*", "m.*", "", "m."},
        {"*", "m.*", "a.b", "m.a.b"},
        {"a*", "*", "abc", "bc"},
        {"*c", "*", "abcc", "abc"},
        {"*.*", "*-*", "a.b.c", "a-b.c"}, /* the first as little as there can be */
        {"model.*.q_proj.*", "blk.*.attn_q.*", "model.layers.0.q_proj.weight",
         "blk.layers.0.attn_q.weight"},
        {"*ab*ab", "<*|*>", "aababab", "<a|ab>"},
        {"*ab*ab", "<*|*>", "aabababx", NULL},
        {"a*b*c", "*,*", "abbc", ",b"},
        {"**", "*|*", "xy", "|xy"},
        {"*.*", "*", "a.b", "a"}, /* the later ones may be left out */
        {"*.*", "\\*\\\\*", "a.b", "*\\a"},
        {"a?c", "x", "abc", "x"},
        {"a?c", "x",
         "a\xc3\xa9"
         "c",
         "x"}, /* one character, of two bytes */
        {"a?c", "x", "a\xffz", NULL},
        {"a?c", "x",
         "a\xff"
         "c",
         "x"},
        {"?", "x", "", NULL},
        {"l[0-2]", "x", "l1", "x"},
        {"l[0-2]", "x", "l3", NULL},
        {"l[!0-2]", "x", "l3", "x"},
        {"l[^0-2]", "x", "l1", NULL},
        {"l[]a]", "x", "l]", "x"},
        {"l[!]a]", "x", "l]", NULL},
        {"l[a-]", "x", "l-", "x"},
        {"l[\\]]*", "*", "l]b", "b"},
        {"l[\xc3\xa0-\xc3\xaf]", "x", "l\xc3\xa9", "x"},
        {"l[*]*", "*", "l*b", "b"},
        {"l[1", "x", "l[1", "x"},   /* no class: it has no end */
        {"w[0]", "x", "w[0]", "x"}, /* the very text */
        {"w[0]*", "<*>", "w[0]*", "<*>"},
        {"w[0]", "x", "w0", "x"},
        {"a\\*b", "x", "a*b", "x"},
        {"a\\*b", "x", "axb", NULL},
        {"a\\", "x", "a\\", "x"},
        {"a", "b\\", "a", "b\\"},
        {"*\xc3\xa9*", "*+*", "\xc3\xa8\xc3\xa9\xc3\xa9", "\xc3\xa8+\xc3\xa9"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_one(&all[i], ST_NAME_GLOB);
}

static void test_expressions(void **state)
{
    static const rewriting all[] = {
        {"\\.", "_", "a.b.c", "a_b_c"},
        {"^model\\.", "", "model.a.model.b", "a.model.b"},
        {"^(a|b)\\.([0-9]+)", "\\2.\\1", "b.17.w", "17.b.w"},
        {"(x)|(y)", "<\\1\\2>", "xyz", "<x><y>z"}, /* a group that took no part is empty */
        {"weight$", "w", "a.weight", "a.w"},
        {"weight$", "w", "weight.a", NULL},
        {".*", "[\\0]", "ab", "[ab]"},
        {"x*", "-", "abxd", "-a-b-d-"},
        {"$", "!", "ab", "ab!"},
        {"^", "!", "ab", "!ab"},
        {"b", "\\\\\\&", "abc", "a\\&c"},
        {"b", "\\", "abc", "a\\c"},
        {"^b", "x", "ab", NULL},
        {"^b", "x", "bb", "xb"}, /* what follows a match is no beginning */
        {"a", "aa", "aaa", "aaaaaa"},
        {"", "x", "", "x"},
        /* Characters stay whole. */
        {"x*", "-", "\xc3\xa9", "-\xc3\xa9-"},
        {"x*", "-", "a\xf0\x9f\x98\x80x\xc3\xa9", "-a-\xf0\x9f\x98\x80-\xc3\xa9-"},
#if defined(__GLIBC__) /* matches at every byte, without a locale */
        {"\\B", "|", "\xc3\xa9", "|\xc3\xa9|"},
#endif
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_one(&all[i], ST_NAME_REGEX);
}

static void test_texts(void **state)
{
    static const rewriting all[] = {
        {"a.b", "x", "za.ba.b", "zxx"},
        {"a.b", "x", "axb", NULL},
        {"\\.[]()*+?{}^$|", "<\\0>", "w\\.[]()*+?{}^$|w", "w<\\.[]()*+?{}^$|>w"},
        {"", "-", "ab", "-a-b-"},
        {"\xc3\xa9", "e", "\xc3\xa9\xc3\xa8", "e\xc3\xa8"},
        {"A", "x", "a", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_one(&all[i], ST_NAME_TEXT);
}

static void test_either_case(void **state)
{
    static const struct {
        uint32_t kind;
        rewriting rewriting;
    } all[] = {
        {ST_NAME_TEXT, {"A.b", "x", "ya.By", "yxy"}},
        {ST_NAME_TEXT, {"A.b", "x", "yaxBy", NULL}},
        {ST_NAME_REGEX, {"^q[a-c]", "x", "QBc", "xc"}},
        {ST_NAME_GLOB, {"Q*.w", "*", "q1.W", "1"}},
        {ST_NAME_GLOB, {"[a-c]", "x", "B", "x"}},
        {ST_NAME_GLOB, {"[A-C]", "x", "b", "x"}},
        {ST_NAME_GLOB, {"[!A-C]", "x", "b", NULL}},
        {ST_NAME_GLOB, {"[!A-C]", "x", "D", "x"}},
        {ST_NAME_GLOB, {"[@]", "x", "`", NULL}}, /* as far apart as letters are */
        {ST_NAME_GLOB, {"@", "x", "`", NULL}},
        {ST_NAME_GLOB, {"w[0]", "x", "W[0]", "x"}},
        {ST_NAME_GLOB, {"w[0]@", "x", "W[0]`", NULL}},
        {ST_NAME_GLOB, {"\xc3\x89", "x", "\xc3\xa9", NULL}}, /* no letter of ASCII */
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_one(&all[i].rewriting, all[i].kind | ST_NAME_IGNORE_CASE);
}

/* Text of a few letters that mean something in patterns. */
static void text_draw(const char *letters, char *text, size_t most)
{
    size_t len = (size_t)random_below(most + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = letters[(size_t)random_below(strlen(letters))];
    text[len] = '\0';
}

/* What matches is what matches for the C library, with which the other verbs look. */
static void test_like_fnmatch(void **state)
{
    enum { RUNS = 200000 };
    unsigned matched = 0;
    char pattern[12], name[12];
    st__span stars[ST__GLOB_STARS_MAX];
    (void)state;
    random_state = 7;
    for (unsigned i = 0; i < RUNS; i++) {
        text_draw("ab*?[]!-\\", pattern, 8);
        text_draw("aabb-]!", name, 6);
        bool matches = st__glob_match(pattern, name, strlen(name), false, stars);
        if (matches != (fnmatch(pattern, name, 0) == 0))
            fail_msg("%s with %s: %d", pattern, name, matches);
        matched += matches;
    }
    assert_true(matched > RUNS / 100);
}

/* A NUL is kept where it is, and an expression sees another character there. */
static void test_nul(void **state)
{
    char text[10];
    size_t size = sizeof text;
    bool matches;
    (void)state;
    st_name_rule *rule = rule_of("a(.)b", "<\\1>", ST_NAME_REGEX);
    CHECK_OK(st_name_rule_apply(rule, "a\0b", 3, text, &size, &error));
    assert_int_equal(size, 3);
    assert_memory_equal(text, "<\0>", 4);
    st_name_rule_free(rule);
    rule = rule_of("a\1", NULL, ST_NAME_REGEX);
    CHECK_OK(st_name_rule_match(rule, "a\0", 2, &matches, &error));
    assert_true(matches);
    st_name_rule_free(rule);
}

/* A name of no end of stars costs no more than the product of the lengths. */
static void test_long(void **state)
{
    enum { LEN = 20000 };
    char *name = malloc(LEN + 1);
    const char *pattern = "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b";
    bool matches = true;
    (void)state;
    memset(name, 'a', LEN);
    name[LEN] = '\0';
    st_name_rule *rule = rule_of(pattern, NULL, ST_NAME_GLOB);
    CHECK_OK(st_name_rule_match(rule, name, LEN, &matches, &error));
    assert_false(matches);
    st_name_rule_free(rule);
    rule = rule_of("a$", "b", ST_NAME_REGEX);
    size_t size = LEN + 1;
    CHECK_OK(st_name_rule_apply(rule, name, LEN, name, &size, &error));
    assert_int_equal(size, LEN);
    assert_int_equal(name[LEN - 1], 'b');
    st_name_rule_free(rule);
    free(name);
}

static void test_refused(void **state)
{
    st_name_rule *rule;
    char stars[80];
    size_t size = 0;
    (void)state;
    CHECK_ERR_TEXT(st_name_rule_new("a", "b", 3, NULL, &rule, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "unknown kind 3");
    CHECK_ERR_TEXT(st_name_rule_new("a", "b", 0x200, NULL, &rule, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "unknown kind 512");
    CHECK_ERR_TEXT(st_name_rule_new("a", "\\1", ST_NAME_TEXT, NULL, &rule, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "it refers to a group");
    CHECK_ERR_TEXT(st_name_rule_new("a*", "*b*", ST_NAME_GLOB, NULL, &rule, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "the replacement \"*b*\": it has more * than the pattern");
    CHECK_ERR_TEXT(st_name_rule_new("[*]\\*", "*", ST_NAME_GLOB, NULL, &rule, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "it has more *");
    memset(stars, '*', 33);
    stars[33] = '\0';
    CHECK_ERR_TEXT(st_name_rule_new(stars, "", ST_NAME_GLOB, NULL, &rule, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "more than 32 *");
    CHECK_ERR_TEXT(st_name_rule_new("(a", "b", ST_NAME_REGEX, NULL, &rule, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "the expression \"(a\": ");
    CHECK_ERR_TEXT(st_name_rule_new("(a)", "\\1\\2", ST_NAME_REGEX, NULL, &rule, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "it refers to a group");
    CHECK_OK(st_name_rule_new(stars + 1, "*", ST_NAME_GLOB, NULL, &rule, &error));
    st_name_rule_free(rule);
    CHECK_OK(st_name_rule_new("a", NULL, ST_NAME_GLOB, NULL, &rule, &error));
    CHECK_ERR_TEXT(st_name_rule_apply(rule, "a", 1, NULL, &size, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "it only matches");
    st_name_rule_free(rule);
    st_name_rule_free(NULL);
}

static void test_out_of_memory(void **state)
{
    char name[1000], text[1100];
    (void)state;
    memset(name, 'n', sizeof name);
    for (uint32_t kind = ST_NAME_GLOB; kind <= ST_NAME_TEXT; kind++) {
        ST_OOM_LOOP(context, status)
        {
            st_name_rule *rule = NULL;
            bool matches = false;
            size_t size = sizeof text;
            status = st_name_rule_new(kind == ST_NAME_TEXT ? "n" : "n*", "x", kind, context, &rule,
                                      NULL);
            if (status == ST_OK)
                status = st_name_rule_match(rule, name, sizeof name, &matches, NULL);
            if (status == ST_OK)
                status = st_name_rule_apply(rule, name, sizeof name, text, &size, NULL);
            if (status == ST_OK)
                assert_int_equal(text[0], 'x');
            st_name_rule_free(rule);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_globs),         cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_texts),         cmocka_unit_test(test_either_case),
        cmocka_unit_test(test_like_fnmatch),  cmocka_unit_test(test_nul),
        cmocka_unit_test(test_long),          cmocka_unit_test(test_refused),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("name_rule", tests, NULL, NULL);
}
