/* SPDX-License-Identifier: Apache-2.0 */
/* The browser's tensors without a terminal: tree and list, filter, order, groups that open and close. */
#include "support/check.h"

#include "view_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tensor's name, where it lies, and its bytes. */
struct spec {
    const char *name;
    uint64_t begin;
    uint64_t size;
    uint32_t file;
};

#define SPECS_MAX 16

struct fixture {
    st_tensor tensors[SPECS_MAX];
    struct view_entry entries[SPECS_MAX];
    struct view_model model;
};

static const uint64_t no_shape[1];

static void fixture_init(struct fixture *fixture, const struct spec *specs, size_t count)
{
    assert_true(count <= SPECS_MAX);
    for (size_t i = 0; i < count; i++) {
        fixture->tensors[i] = (st_tensor){.name = specs[i].name,
                                          .name_len = (uint32_t)strlen(specs[i].name),
                                          .shape = no_shape,
                                          .dtype = ST_U8,
                                          .begin = specs[i].begin,
                                          .end = specs[i].begin + specs[i].size};
        fixture->entries[i] = (struct view_entry){&fixture->tensors[i], specs[i].file};
    }
    view_model_init(&fixture->model, fixture->entries, count);
}

/* The rows as text: a line for each, "+" before a closed group, "-" before an open one, ">" at the cursor; behind it
 * the tensors and bytes that it stands for. */
static const char *rows_text(const struct view_model *model)
{
    static char text[4096];
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t row = 0; row < model->row_count; row++) {
        const struct view_node *node = view_model_at(model, row);
        char mark = node->span == 1 ? ' ' : view_model_is_open(model, node) ? '-' : '+';
        len += (size_t)snprintf(
            text + len, sizeof text - len, "%s%*s%c%.*s %u %u\n", row == model->cursor ? ">" : " ",
            model->flat ? 0 : (int)(2 * node->depth), "", mark, (int)node->label_len, node->label,
            (unsigned)node->tensors, (unsigned)node->bytes);
    }
    return text;
}

#define assert_rows(model, text) assert_string_equal(rows_text(model), text)

static const struct spec model_specs[] = {
    {"layers.10.bias", 60, 1, 0}, {"layers.10.weight", 0, 20, 0},
    {"layers.2.bias", 61, 1, 0},  {"layers.2.weight", 20, 20, 0},
    {"embed.weight", 100, 50, 0}, {"layers.2", 40, 4, 0},
    {"norm", 62, 8, 0},
};
#define MODEL_COUNT (sizeof model_specs / sizeof model_specs[0])

static int model_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture_init(fixture, model_specs, MODEL_COUNT);
    *state = fixture;
    return 0;
}

static int model_teardown(void **state)
{
    struct fixture *fixture = *state;
    view_model_release(&fixture->model);
    free(fixture);
    return 0;
}

static struct view_model *model_of(void **state)
{
    return &((struct fixture *)*state)->model;
}

static void filter(struct view_model *model, const char *text)
{
    view_model_filter(model, text, strlen(text));
}

/* ------------------------------------------------------------------------------------ tree */

static void test_closed_at_first(void **state)
{
    struct view_model *model = model_of(state);
    assert_rows(model, "> embed.weight 1 50\n"
                       " +layers 5 46\n"
                       "  norm 1 8\n");
    assert_int_equal(model->tensors, 7);
}

static void test_open_and_close(void **state)
{
    struct view_model *model = model_of(state);
    assert_false(view_model_open(model, true)); /* a tensor */
    model->cursor = 1;
    assert_true(view_model_open(model, true));
    assert_false(view_model_open(model, true));
    /* Numbers by their value; "layers.2" is a tensor and a group. */
    assert_rows(model, "  embed.weight 1 50\n"
                       ">-layers 5 46\n"
                       "   +2 3 25\n"
                       "   +10 2 21\n"
                       "  norm 1 8\n");
    model->cursor = 2;
    assert_true(view_model_open(model, true));
    assert_non_null(view_model_here(model)->tensor);
    model->cursor = 4;
    assert_rows(model, "  embed.weight 1 50\n"
                       " -layers 5 46\n"
                       "   -2 3 25\n"
                       "      bias 1 1\n"
                       ">     weight 1 20\n"
                       "   +10 2 21\n"
                       "  norm 1 8\n");
    assert_true(view_model_leave(model));
    assert_int_equal(model->cursor, 2);
    assert_true(view_model_leave(model));
    assert_int_equal(model->cursor, 1);
    assert_false(view_model_leave(model));
    assert_true(view_model_open(model, false));
    assert_rows(model, "  embed.weight 1 50\n"
                       ">+layers 5 46\n"
                       "  norm 1 8\n");
    /* What was open below is still. */
    assert_true(view_model_open(model, true));
    assert_int_equal(model->row_count, 7);
}

static void test_open_all(void **state)
{
    struct view_model *model = model_of(state);
    model->cursor = 2;
    view_model_open_all(model, true);
    assert_rows(model, "  embed.weight 1 50\n"
                       " -layers 5 46\n"
                       "   -2 3 25\n"
                       "      bias 1 1\n"
                       "      weight 1 20\n"
                       "   -10 2 21\n"
                       "      bias 1 1\n"
                       "      weight 1 20\n"
                       "> norm 1 8\n");
    model->cursor = 4;
    view_model_open_all(model, false);
    assert_rows(model, "  embed.weight 1 50\n"
                       ">+layers 5 46\n"
                       "  norm 1 8\n");
}

static void test_open_rows(void **state)
{
    struct view_model *model = model_of(state);
    view_model_open_rows(model, 2);
    assert_int_equal(model->row_count, 3);
    view_model_open_rows(model, 4);
    assert_int_equal(model->row_count, 3);
    view_model_open_rows(model, 5);
    assert_int_equal(model->row_count, 5);
    view_model_open_rows(model, 9);
    assert_int_equal(model->row_count, 9);
    view_model_open_rows(model, 1000);
    assert_int_equal(model->row_count, 9);
}

static void test_one_group_at_the_top_is_open(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture,
                 (struct spec[]){{"m.a.x", 0, 1, 0}, {"m.a.y", 1, 1, 0}, {"m.b", 2, 1, 0}}, 3);
    view_model_open_rows(&fixture.model, 1);
    assert_rows(&fixture.model, ">-m 3 3\n"
                                "   +a 2 2\n"
                                "    b 1 1\n");
    view_model_release(&fixture.model);
}

static void test_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, model_specs, 0);
    struct view_model *model = &fixture.model;
    view_model_open_rows(model, 20);
    filter(model, "x");
    view_model_sort(model, VIEW_BY_SIZE);
    view_model_flatten(model, true);
    view_model_open_all(model, true);
    assert_rows(model, "");
    assert_null(view_model_here(model));
    assert_false(view_model_open(model, true));
    assert_false(view_model_leave(model));
    assert_false(view_model_find(model, true));
    assert_false(view_model_step(model, false));
    view_model_release(model);
}

/* ---------------------------------------------------------------------------------- filter */

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *name;
        bool matches;
    } cases[] = {
        {"", "anything", true},
        {"  ", "anything", true},
        {"thing", "anything", true},
        {"things", "anything", false},
        {"thing any", "anything", true},
        {" thing  any ", "anything", true},
        {"thing none", "anything", false},
        {"query", "Self.Query", true},
        {"Query", "Self.Query", true},
        {"Query", "self.query", false},
        {"QUERY", "Self.Query", false},
        {"a.b", "a.b", true},
        {"a.b.c", "a.b", false},
        {"\xc3\xa9", "caf\xc3\xa9", true},
        {"\xc3\xa9", "cafe", false},
        {"x", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct view_words words;
        view_words_init(&words, cases[i].text, strlen(cases[i].text));
        assert_int_equal(view_words_match(&words, cases[i].name, strlen(cases[i].name)),
                         cases[i].matches);
    }
}

static void test_words_have_limits(void **state)
{
    (void)state;
    char text[2 * VIEW_FILTER_MAX];
    struct view_words words;
    memset(text, 'a', sizeof text);
    view_words_init(&words, text, sizeof text);
    assert_int_equal(words.len, VIEW_FILTER_MAX);
    assert_int_equal(words.count, 1);
    for (size_t i = 1; i < sizeof text; i += 2)
        text[i] = ' ';
    view_words_init(&words, text, sizeof text);
    assert_int_equal(words.count, VIEW_WORDS_MAX);
    assert_true(view_words_match(&words, "a", 1));
    /* A name may hold NUL. */
    view_words_init(&words, "b", 1);
    assert_true(view_words_match(&words, "a\0b", 3));
    view_words_init(&words, "B", 1);
    assert_true(view_words_match(&words, "a\0B", 3));
}

static void test_filter(void **state)
{
    struct view_model *model = model_of(state);
    /* Groups with something in them open; the cursor goes to the first tensor. */
    filter(model, "w");
    assert_rows(model, "> embed.weight 1 50\n"
                       " -layers 2 40\n"
                       "   -2 1 20\n"
                       "      weight 1 20\n"
                       "   -10 1 20\n"
                       "      weight 1 20\n");
    filter(model, "weight layers");
    assert_rows(model, " -layers 2 40\n"
                       "   -2 1 20\n"
                       ">     weight 1 20\n"
                       "   -10 1 20\n"
                       "      weight 1 20\n");
    model->cursor = 3;
    assert_true(view_model_open(model, false));
    filter(model, "weight layers 1");
    assert_rows(model, " -layers 1 20\n"
                       ">  +10 1 20\n"); /* closed it stays while more is typed */
    filter(model, "weight layers 1z");
    assert_rows(model, "");
    assert_null(view_model_here(model));
    filter(model, "weight layers 1");
    assert_rows(model, " -layers 1 20\n"
                       "   -10 1 20\n"
                       ">     weight 1 20\n");
    /* Without a filter it is where it was, in the whole tree. */
    filter(model, "");
    assert_rows(model, "  embed.weight 1 50\n"
                       " -layers 5 46\n"
                       "   +2 3 25\n"
                       "   -10 2 21\n"
                       "      bias 1 1\n"
                       ">     weight 1 20\n"
                       "  norm 1 8\n");
}

static void test_filter_of_a_tensor_that_is_a_group(void **state)
{
    struct view_model *model = model_of(state);
    filter(model, "layers.2");
    assert_rows(model, " -layers 3 25\n"
                       ">  -2 3 25\n"
                       "      bias 1 1\n"
                       "      weight 1 20\n");
    filter(model, "layers.2.b");
    assert_rows(model, " -layers 1 1\n"
                       ">  -2 1 1\n" /* a group now: its own tensor does not pass */
                       "      bias 1 1\n");
}

static void test_find(void **state)
{
    struct view_model *model = model_of(state);
    assert_false(view_model_find(model, true));
    filter(model, "bias");
    filter(model, "");
    view_model_open_all(model, false);
    model->cursor = 0;
    /* The last filter still counts, and groups open for what is found. */
    assert_true(view_model_find(model, true));
    assert_rows(model, "  embed.weight 1 50\n"
                       " -layers 5 46\n"
                       "   -2 3 25\n"
                       ">     bias 1 1\n"
                       "      weight 1 20\n"
                       "   +10 2 21\n"
                       "  norm 1 8\n");
    assert_true(view_model_find(model, true));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.10.bias");
    assert_true(view_model_find(model, true)); /* around the end */
    assert_string_equal(view_model_here(model)->tensor->name, "layers.2.bias");
    assert_true(view_model_find(model, false));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.10.bias");
    assert_true(view_model_find(model, false));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.2.bias");
    filter(model, "nothing");
    filter(model, "");
    assert_false(view_model_find(model, true));
}

static void test_step(void **state)
{
    static const char *const names[] = {"layers.2",       "layers.2.bias",    "layers.2.weight",
                                        "layers.10.bias", "layers.10.weight", "norm",
                                        "embed.weight"};
    struct view_model *model = model_of(state);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_true(view_model_step(model, true));
        assert_string_equal(view_model_here(model)->tensor->name, names[i]);
    }
    for (size_t i = sizeof names / sizeof names[0] - 1; i-- > 0;) {
        assert_true(view_model_step(model, false));
        assert_string_equal(view_model_here(model)->tensor->name, names[i]);
    }
    /* Only among those that pass. */
    filter(model, "layers.10");
    assert_true(view_model_step(model, true));
    assert_true(view_model_step(model, true));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.10.bias");
}

/* ----------------------------------------------------------------------------------- order */

static void test_sort(void **state)
{
    struct view_model *model = model_of(state);
    view_model_open_all(model, true);
    model->cursor = 8;
    view_model_sort(model, VIEW_BY_SIZE);
    assert_rows(model, "  embed.weight 1 50\n"
                       " -layers 5 46\n"
                       "   -2 3 25\n"
                       "      weight 1 20\n"
                       "      bias 1 1\n"
                       "   -10 2 21\n"
                       "      weight 1 20\n"
                       "      bias 1 1\n"
                       "> norm 1 8\n");
    view_model_sort(model, VIEW_BY_OFFSET);
    assert_rows(model, " -layers 5 46\n"
                       "   -10 2 21\n"
                       "      weight 1 20\n"
                       "      bias 1 1\n"
                       "   -2 3 25\n"
                       "      weight 1 20\n"
                       "      bias 1 1\n"
                       "> norm 1 8\n"
                       "  embed.weight 1 50\n");
    /* n goes by what is on the screen. */
    model->cursor = 2;
    assert_true(view_model_step(model, true));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.10.bias");
    assert_true(view_model_step(model, true));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.2");
    view_model_sort(model, VIEW_BY_NAME);
    assert_string_equal(view_model_here(model)->tensor->name, "layers.2");
    assert_int_equal(model->cursor, 2);
}

static void test_list(void **state)
{
    struct view_model *model = model_of(state);
    model->cursor = 1;
    view_model_flatten(model, true);
    /* Of the group at hand the first tensor. */
    assert_rows(model, "  embed.weight 1 50\n"
                       ">+2 3 25\n"
                       "  bias 1 1\n"
                       "  weight 1 20\n"
                       "  bias 1 1\n"
                       "  weight 1 20\n"
                       "  norm 1 8\n");
    view_model_sort(model, VIEW_BY_SIZE);
    assert_string_equal(view_model_at(model, 0)->tensor->name, "embed.weight");
    assert_string_equal(view_model_at(model, 1)->tensor->name, "layers.2.weight");
    assert_string_equal(view_model_at(model, 2)->tensor->name, "layers.10.weight");
    assert_string_equal(view_model_at(model, 3)->tensor->name, "norm");
    assert_string_equal(view_model_here(model)->tensor->name, "layers.2");
    view_model_sort(model, VIEW_BY_OFFSET);
    assert_string_equal(view_model_at(model, 6)->tensor->name, "embed.weight");
    assert_false(view_model_open(model, true));
    assert_false(view_model_leave(model));
    filter(model, "bias");
    assert_int_equal(model->row_count, 2);
    assert_int_equal(model->cursor, 0);
    assert_string_equal(view_model_here(model)->tensor->name, "layers.10.bias");
    assert_true(view_model_find(model, true));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.2.bias");
    assert_true(view_model_step(model, true));
    assert_string_equal(view_model_here(model)->tensor->name, "layers.10.bias");
    filter(model, "");
    view_model_flatten(model, false);
    /* In the tree the groups above it are open. */
    assert_string_equal(view_model_here(model)->tensor->name, "layers.10.bias");
}

static void test_several_files(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture,
                 (struct spec[]){{"a.x", 50, 1, 1},
                                 {"b.x", 10, 2, 0},
                                 {"a.y", 0, 4, 2},
                                 {"b.y", 0, 8, 1},
                                 {"c", 0, 16, 0}},
                 5);
    struct view_model *model = &fixture.model;
    view_model_open_all(model, true);
    for (uint32_t row = 0; row < model->row_count; row++) {
        const struct view_node *node = view_model_at(model, row);
        for (size_t i = 0; i < 5; i++)
            if (node->tensor == fixture.entries[i].tensor)
                assert_int_equal(node->file, fixture.entries[i].file);
    }
    /* First by file, then by where they lie in it; a group where its first tensor does. */
    view_model_sort(model, VIEW_BY_OFFSET);
    assert_rows(model, "  c 1 16\n"
                       " -b 2 10\n"
                       "    x 1 2\n"
                       "    y 1 8\n"
                       ">-a 2 5\n"
                       "    x 1 1\n"
                       "    y 1 4\n");
    view_model_release(model);
}

int main(void)
{
#define MODEL_TEST(test) cmocka_unit_test_setup_teardown(test, model_setup, model_teardown)
    const struct CMUnitTest tests[] = {
        MODEL_TEST(test_closed_at_first),
        MODEL_TEST(test_open_and_close),
        MODEL_TEST(test_open_all),
        MODEL_TEST(test_open_rows),
        cmocka_unit_test(test_one_group_at_the_top_is_open),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_words_have_limits),
        MODEL_TEST(test_filter),
        MODEL_TEST(test_filter_of_a_tensor_that_is_a_group),
        MODEL_TEST(test_find),
        MODEL_TEST(test_step),
        MODEL_TEST(test_sort),
        MODEL_TEST(test_list),
        cmocka_unit_test(test_several_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
