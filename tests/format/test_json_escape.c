/* SPDX-License-Identifier: Apache-2.0 */
/* Strings of every length up to some words, with something special at every place. */
#include "support/check.h"

#include "format/json_escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct piece {
    const char *text;
    const char *quoted; /* NULL: no UTF-8 */
} piece;

static const piece pieces[] = {
    {" ", " "},
    {"!", "!"},
    {"#", "#"},
    {"[", "["},
    {"]", "]"},
    {"/", "/"},
    {"\x7f", "\x7f"},
    {"\"", "\\\""},
    {"\\", "\\\\"},
    {"\b", "\\b"},
    {"\f", "\\f"},
    {"\n", "\\n"},
    {"\r", "\\r"},
    {"\t", "\\t"},
    {"\x01", "\\u0001"},
    {"\x0b", "\\u000b"},
    {"\x1f", "\\u001f"},
    {"\xc2\x80", "\xc2\x80"},
    {"\xe2\x80\xa8", "\xe2\x80\xa8"},
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
    {"\x80", NULL},
    {"\xc2", NULL},
    {"\xe2\x80", NULL},
    {"\xf4\x90\x80\x80", NULL},
    {"\xff", NULL},
};

/* The memory is as large as what it holds, so that a sanitizer sees any step beyond. */
static void check_text(const char *text, size_t len, const char *quoted)
{
    char *exact = malloc(len + (len == 0));
    memcpy(exact, text, len);
    uint64_t size = 77;
    assert_int_equal(st__json_quoted_size(exact, len, &size), quoted != NULL);
    assert_int_equal(size, quoted ? strlen(quoted) : 77);
    if (quoted) {
        char *out = malloc((size_t)size);
        assert_ptr_equal(st__json_quote(out, exact, len), out + size);
        assert_memory_equal(out, quoted, (size_t)size);
        free(out);
    }
    free(exact);
}

static void test_every_place(void **state)
{
    (void)state;
    enum { LONGEST = 27 };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (int before = 0; before <= LONGEST; before++) {
            for (int behind = 0; behind <= LONGEST; behind++) {
                char text[2 * LONGEST + 8], quoted[2 * LONGEST + 16];
                const char *plain = "abcdefghijklmnopqrstuvwxyz0";
                int len = snprintf(text, sizeof text, "%.*s%s%.*s", before, plain, pieces[i].text,
                                   behind, plain);
                snprintf(quoted, sizeof quoted, "\"%.*s%s%.*s\"", before, plain,
                         pieces[i].quoted ? pieces[i].quoted : "", behind, plain);
                check_text(text, (size_t)len, pieces[i].quoted ? quoted : NULL);
                assert_int_equal(
                    st__json_plain_len(text, (size_t)len),
                    pieces[i].quoted && !strcmp(pieces[i].text, pieces[i].quoted) ? len : before);
            }
        }
    }
    check_text("", 0, "\"\"");
    check_text("a\0b", 3, "\"a\\u0000b\"");
    check_text("\"\\\n\"\\\n\"\\\n", 9, "\"\\\"\\\\\\n\\\"\\\\\\n\\\"\\\\\\n\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
