/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing files and sides: what is told, in which order, what of it counts, and what is summed up. */
#include <safetensors/inspect.h>

#include "inspect/image.h"

/* What was told, a line each: "-t name", "~m key", and of tensors that changed the parts that are apart, behind ! where
 * that is a difference. */
typedef struct told {
    char text[16384];
    size_t stop_at; /* 0: never */
    size_t calls;
} told;

static void told_add(told *t, const char *text, size_t len)
{
    const size_t used = strlen(t->text);
    assert_true(used + len + 1 < sizeof t->text);
    memcpy(t->text + used, text, len);
    t->text[used + len] = '\0';
}

static void told_tensor(told *t, const st_change *change)
{
    static const char parts[] = "dsvop"; /* dtype, shape, values, offset, place in order */
    const st_side_tensor *side = change->a ? change->a : change->b;
    told_add(t, side->tensor->name, side->tensor->name_len);
    if (change->kind == ST_CHANGE_RENAMED) {
        told_add(t, ">", 1);
        told_add(t, change->b->tensor->name, change->b->tensor->name_len);
    }
    if (change->kind != ST_CHANGE_CHANGED)
        return;
    told_add(t, change->differs ? " !" : " ", change->differs ? 2 : 1);
    for (size_t i = 0; i < 5; i++)
        if (change->parts & 1u << i)
            told_add(t, &parts[i], 1);
}

static bool told_take(void *ctx, const st_change *change)
{
    static const char signs[] = " -+>~";
    told *t = ctx;
    const st_metadata *a = change->metadata_a, *b = change->metadata_b, *entry = a ? a : b;
    told_add(t, &signs[change->kind], 1);
    told_add(t, entry ? "m " : "t ", 2);
    assert_true(!entry == (change->a || change->b));
    if (entry)
        told_add(t, entry->key, entry->key_len);
    else
        told_tensor(t, change);
    told_add(t, "\n", 1);
    return ++t->calls != t->stop_at;
}

/* One file in memory; data are the bytes of `data`. */
typedef struct part {
    image im;
    st_file *file;
} part;

static void part_open(part *p, const char *header, const char *data, size_t size, uint32_t flags)
{
    image_frame(&p->im, header, size);
    memcpy(p->im.bytes + p->im.data_offset, data, size);
    st_memory memory = {.data = p->im.bytes, .size = p->im.size};
    const st_open_options options = {.flags = flags, .name = "part"};
    CHECK_OK(st_file_open_memory(&memory, &options, &p->file, &error));
}

static void part_close(part *p)
{
    st_file_close(p->file);
    image_free(&p->im);
}

static st_compare_summary compare(const part *a, const part *b, st_compare_options o,
                                  const char *expected)
{
    told t = {.text = ""};
    st_compare_summary summary;
    o.change = told_take;
    o.ctx = &t;
    memset(&summary, 0x77, sizeof summary);
    CHECK_OK(st_files_compare(a->file, b->file, &o, &summary, &error));
    assert_string_equal(t.text, expected);
    return summary;
}

#define FIRST                                                          \
 "{\"__metadata__\":{\"k\":\"v\",\"gone\":\"1\",\"same\":\"\"},"       \
 "\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"      \
 "\"old\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[4,8]},"   \
 "\"cast\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[8,10]},"  \
 "\"form\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[10,12]}," \
 "\"same\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[12,13]}}"
#define FIRST_DATA "abcd\1\0\2\0\7\x09xyS"
#define SECOND                                                         \
 "{\"__metadata__\":{\"new\":\"2\",\"same\":\"\",\"k\":\"w\"},"        \
 "\"same\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"   \
 "\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[1,5]},"      \
 "\"young\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[5,9]}," \
 "\"cast\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[9,13]}," \
 "\"form\":{\"dtype\":\"U8\",\"shape\":[2,1],\"data_offsets\":[13,15]}}"
#define SECOND_DATA "Sabcf\1\0\2\0\7\0\x09\0xy"

static part first, second;

static int parts_open(void **state)
{
    (void)state;
    part_open(&first, FIRST, FIRST_DATA, 13, 0);
    part_open(&second, SECOND, SECOND_DATA, 15, 0);
    return 0;
}

static int parts_close(void **state)
{
    (void)state;
    part_close(&first);
    part_close(&second);
    return 0;
}

static void test_all(void **state)
{
    (void)state;
    const st_compare_summary s = compare(&first, &second, (st_compare_options){0},
                                         "~m k\n-m gone\n+m new\n~t w !vop\n-t old\n~t cast "
                                         "!dop\n~t form !sop\n~t same op\n+t young\n");
    assert_int_equal(s.differences, 8);
    assert_int_equal(s.same, 1);
    assert_int_equal(s.changed, 3);
    assert_int_equal(s.removed, 1);
    assert_int_equal(s.added, 1);
    assert_int_equal(s.renamed, 0);
    assert_int_equal(s.moved, 4);
    assert_int_equal(s.metadata_same, 1);
    assert_int_equal(s.metadata_changed, 1);
    assert_int_equal(s.metadata_removed, 1);
    assert_int_equal(s.metadata_added, 1);
    assert_int_equal(s.elements, 5);
    assert_int_equal(s.different, 1);
    assert_int_equal(s.beyond, 1);
}

static void test_with_itself(void **state)
{
    (void)state;
    const st_compare_options all = {.flags = ST_COMPARE_PLACES | ST_COMPARE_RENAMES};
    const st_compare_summary s = compare(&first, &first, all, "");
    assert_int_equal(s.differences, 0);
    assert_int_equal(s.same, 5);
    assert_int_equal(s.metadata_same, 3);
}

static void test_parts(void **state)
{
    (void)state;
    const st_compare_summary m =
        compare(&first, &second, (st_compare_options){.parts = ST_COMPARE_METADATA},
                "~m k\n-m gone\n+m new\n");
    assert_int_equal(m.differences, 3);
    assert_int_equal(m.same + m.changed + m.removed + m.added, 0);
    const st_compare_summary t =
        compare(&first, &second, (st_compare_options){.parts = ST_COMPARE_TENSORS},
                "~t w op\n-t old\n~t cast !dop\n~t form !sop\n~t same op\n+t young\n");
    assert_int_equal(t.differences, 4);
    assert_int_equal(t.elements, 0);
    compare(&first, &second, (st_compare_options){.parts = ST_COMPARE_VALUES},
            "~t w !vop\n-t old\n~t cast !dop\n~t form !sop\n~t same op\n+t young\n");
}

static void test_flags(void **state)
{
    (void)state;
    const uint32_t parts = ST_COMPARE_VALUES;
    compare(&first, &second, (st_compare_options){.parts = parts, .flags = ST_COMPARE_PLACES},
            "~t w !vop\n-t old\n~t cast !dop\n~t form !sop\n~t same !op\n+t young\n");
    compare(&first, &second, (st_compare_options){.parts = parts, .flags = ST_COMPARE_CAST},
            "~t w !vop\n-t old\n~t cast dop\n~t form !sop\n~t same op\n+t young\n");
    compare(&first, &second,
            (st_compare_options){.parts = parts, .flags = ST_COMPARE_CLOSE, .atol = 2},
            "~t w vop\n-t old\n~t cast !dop\n~t form !sop\n~t same op\n+t young\n");
    const st_compare_summary s =
        compare(&first, &second, (st_compare_options){.parts = parts, .flags = ST_COMPARE_RENAMES},
                "~t w !vop\n>t old>young\n~t cast !dop\n~t form !sop\n~t same op\n");
    assert_int_equal(s.renamed, 1);
    assert_int_equal(s.removed + s.added, 0);
    assert_int_equal(s.differences, 4);
}

/* The first difference of the cheapest kind, and no more. */
static void test_brief(void **state)
{
    (void)state;
    const uint32_t brief = ST_COMPARE_BRIEF, renames = brief | ST_COMPARE_RENAMES;
    assert_int_equal(
        compare(&first, &second, (st_compare_options){.flags = brief}, "~m k\n").differences, 1);
    compare(&first, &second, (st_compare_options){.flags = renames, .parts = ST_COMPARE_VALUES},
            "-t old\n");
    part a, b;
    const char *header = "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                         "\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]}}";
    part_open(&a, header, "abcde", 5, 0);
    part_open(&b, header, "abcXY", 5, 0);
    compare(&a, &b, (st_compare_options){.flags = brief}, "~t w !v\n");
    const st_compare_summary s = compare(&a, &a, (st_compare_options){.flags = brief}, "");
    assert_int_equal(s.differences, 0);
    assert_int_equal(s.same, 2);
    part_close(&b);
    part_open(&b, "{\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "abcX", 4, 0);
    compare(&b, &a, (st_compare_options){.flags = brief}, "+t x\n");
    part_close(&a);
    part_close(&b);
}

static void test_stopped(void **state)
{
    (void)state;
    for (size_t at = 1; at <= 9; at++) {
        told t = {.stop_at = at};
        st_compare_summary s = {.same = 77};
        const st_compare_options o = {.change = told_take, .ctx = &t};
        CHECK_ERR_TEXT(st_files_compare(first.file, second.file, &o, &s, &error), ST_ERR_STOPPED,
                       ST_NO_OFFSET, "part: the comparing was stopped");
        assert_int_equal(t.calls, at);
        assert_int_equal(s.same, 77);
    }
}

/* ------------------------------------------------------------------------------- renames */

/* Several of one dtype and shape: by their bytes, in their order; equal ones one to one. */
static void test_renames(void **state)
{
    (void)state;
    part a, b;
    part_open(&a,
              "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
              "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
              "\"c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]},"
              "\"d\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[6,8]},"
              "\"e\":{\"dtype\":\"U8\",\"shape\":[2,1],\"data_offsets\":[8,10]}}",
              "112211xxyy", 10, 0);
    part_open(&b,
              "{\"p\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
              "\"q\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
              "\"r\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]},"
              "\"s\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]},"
              "\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[8,10]}}",
              "yy2211xx11", 10, 0);
    const st_compare_options o = {.flags = ST_COMPARE_RENAMES};
    const st_compare_summary s =
        compare(&a, &b, o, ">t a>r\n>t b>q\n>t c>t\n-t d\n-t e\n+t p\n+t s\n");
    assert_int_equal(s.renamed, 3);
    compare(&b, &a, o, "-t p\n>t q>b\n>t r>a\n-t s\n>t t>c\n+t d\n+t e\n");
    part_close(&a);
    part_close(&b);
}

/* -------------------------------------------------------------------------------- dtypes */

/* Numbers of unknown dtypes are their file's own: the codes decide. */
static void test_unknown_dtypes(void **state)
{
    (void)state;
    part a, b;
    part_open(&a,
              "{\"a\":{\"dtype\":\"X1\",\"shape\":[2],\"data_offsets\":[0,2]},"
              "\"b\":{\"dtype\":\"X2\",\"shape\":[2],\"data_offsets\":[2,4]},"
              "\"c\":{\"dtype\":\"X1\",\"shape\":[1],\"data_offsets\":[4,6]},"
              "\"r\":{\"dtype\":\"X1\",\"shape\":[1],\"data_offsets\":[6,8]}}",
              "aabbccrr", 8, ST_OPEN_UNKNOWN_DTYPES);
    part_open(&b,
              "{\"b\":{\"dtype\":\"X2\",\"shape\":[2],\"data_offsets\":[0,2]},"
              "\"a\":{\"dtype\":\"X1\",\"shape\":[2],\"data_offsets\":[2,4]},"
              "\"c\":{\"dtype\":\"X1\",\"shape\":[1],\"data_offsets\":[4,5]},"
              "\"s\":{\"dtype\":\"X1\",\"shape\":[1],\"data_offsets\":[5,7]}}",
              "bbaXcrr", 7, ST_OPEN_UNKNOWN_DTYPES);
    const uint32_t flags = ST_COMPARE_CAST | ST_COMPARE_RENAMES;
    compare(&a, &b, (st_compare_options){.flags = flags}, "~t a !vop\n~t b op\n~t c !vo\n>t r>s\n");
    part_close(&b);
    part_open(&b,
              "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
              "\"b\":{\"dtype\":\"X1\",\"shape\":[2],\"data_offsets\":[2,4]}}",
              "aabb", 4, ST_OPEN_UNKNOWN_DTYPES);
    compare(&a, &b, (st_compare_options){.flags = flags}, "~t a !d\n~t b !d\n-t c\n-t r\n");
    part_close(&a);
    part_close(&b);
}

/* --------------------------------------------------------------------------------- sides */

/* A side out of two files, as a checkpoint in shards is one. */
static void test_side_of_two_files(void **state)
{
    (void)state;
    part a, b, both;
    part_open(&a, "{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", "xx", 2, 0);
    part_open(&b, "{\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", "yy", 2, 0);
    part_open(&both,
              "{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
              "\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
              "xxyy", 4, 0);
    const st_side_tensor shards[] = {{a.file, st_file_at(a.file, 0)},
                                     {b.file, st_file_at(b.file, 0)}};
    const st_side_tensor whole[] = {{both.file, st_file_at(both.file, 0)},
                                    {both.file, st_file_at(both.file, 1)}};
    const st_metadata entry = {.key = "k", .key_len = 1, .value = "v", .value_len = 1};
    const st_side from = {.name = "shards", .tensors = shards, .tensor_count = 2};
    st_side to = {.name = "whole", .tensors = whole, .tensor_count = 2};
    st_compare_summary s;
    CHECK_OK(st_sides_compare(&from, &to, NULL, &s, &error));
    assert_int_equal(s.differences, 0);
    assert_int_equal(s.same, 2);
    assert_int_equal(s.moved, 1);
    to.metadata = &entry;
    to.metadata_count = 1;
    CHECK_OK(st_sides_compare(&from, &to, NULL, &s, &error));
    assert_int_equal(s.metadata_added, 1);
    const st_side empty = {.name = "empty"};
    CHECK_OK(st_sides_compare(&empty, &empty, NULL, &s, &error));
    assert_int_equal(s.differences, 0);
    CHECK_OK(st_sides_compare(&empty, &to, NULL, &s, &error));
    assert_int_equal(s.added, 2);
    part_close(&a);
    part_close(&b);
    part_close(&both);
}

static void test_names_twice(void **state)
{
    (void)state;
    const st_tensor *w = st_file_at(first.file, 0);
    const st_side_tensor twice[] = {{first.file, w}, {first.file, w}};
    const st_metadata entries[] = {{"k", 1, 1, "v"}, {"k", 1, 1, "w"}};
    const st_side one = {.name = "one", .tensors = twice, .tensor_count = 1};
    const st_side two = {.name = "two", .tensors = twice, .tensor_count = 2};
    const st_side keys = {.name = "keys", .metadata = entries, .metadata_count = 2};
    st_compare_summary s = {.same = 77};
    CHECK_ERR_TEXT(st_sides_compare(&one, &two, NULL, &s, &error), ST_ERR_NAME_DUPLICATE,
                   ST_NO_OFFSET, "two: tensor \"w\": it is there twice");
    CHECK_ERR_TEXT(st_sides_compare(&two, &one, NULL, &s, &error), ST_ERR_NAME_DUPLICATE,
                   ST_NO_OFFSET, "two: tensor \"w\"");
    CHECK_ERR_TEXT(st_sides_compare(&keys, &one, NULL, &s, &error), ST_ERR_NAME_DUPLICATE,
                   ST_NO_OFFSET, "keys: metadata key \"k\"");
    CHECK_ERR_TEXT(st_sides_compare(&one, &keys, NULL, &s, &error), ST_ERR_NAME_DUPLICATE,
                   ST_NO_OFFSET, "keys: metadata key \"k\"");
    const st_side reserved = {.name = "r", .reserved = {0, 1}};
    CHECK_ERR_TEXT(st_sides_compare(&reserved, &one, NULL, &s, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "st_side");
    CHECK_ERR_TEXT(st_sides_compare(&one, &reserved, NULL, &s, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "st_side");
    assert_int_equal(s.same, 77);
}

/* More than are compared before they are told of, with a large one among them: in their order all the same. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 700, LARGE = 300 };
    static size_t sizes[COUNT];
    image a, b;
    for (size_t i = 0; i < COUNT; i++)
        sizes[i] = i == LARGE ? (size_t)3 << 20 : i % 5;
    image_make(&a, sizes, COUNT);
    image_make(&b, sizes, COUNT);
    for (size_t i = b.data_offset; i < b.size; i++)
        b.bytes[i] ^= 1;
    st_file *x = image_open(&a, NULL), *y = image_open(&b, NULL);
    st_compare_summary s;
    told t = {.text = ""};
    const st_compare_options o = {.change = told_take, .ctx = &t};
    CHECK_OK(st_files_compare(x, y, &o, &s, &error));
    assert_int_equal(s.changed, COUNT - COUNT / 5 + 1);
    assert_int_equal(s.same, COUNT / 5 - 1);
    const char *at = t.text;
    for (size_t i = 0; i < COUNT; i++) {
        char line[32];
        snprintf(line, sizeof line, "~t t%zu !v\n", i);
        if (sizes[i] == 0)
            continue;
        assert_memory_equal(at, line, strlen(line));
        at += strlen(line);
    }
    assert_string_equal(at, "");
    st_file_close(x);
    st_file_close(y);
    image_free(&a);
    image_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_with_itself),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_brief),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_renames),
        cmocka_unit_test(test_unknown_dtypes),
        cmocka_unit_test(test_side_of_two_files),
        cmocka_unit_test(test_names_twice),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, parts_open, parts_close);
}
