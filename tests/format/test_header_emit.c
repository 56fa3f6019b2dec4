/* SPDX-License-Identifier: Apache-2.0 */
/* Headers as upstream writes them, and everything that is emitted read back. */
#include "format/emission.h"
#include "support/oom.h"
#include "support/random.h"

#include "format/dtype.h"

#include <stdio.h>
#include <stdlib.h>

/* The text is `expected` and `blanks` spaces behind it. */
static void emits(const st__emission *emission, const char *expected, size_t blanks)
{
    unsigned char *bytes = NULL;
    size_t size = emit(emission, &bytes), len = strlen(expected);
    if (size != 8 + len + blanks || memcmp(bytes + 8, expected, len) != 0)
        fail_msg("emitted %.*s\nexpected %s and %zu blanks", (int)size - 8, bytes + 8, expected,
                 blanks);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(bytes[i], (uint64_t)(size - 8) >> 8 * i & 255);
    for (size_t i = 8 + len; i < size; i++)
        assert_int_equal(bytes[i], ' ');
    st__free(emission->context, bytes, size);
}

/* ------------------------------------------------------------------------------------ bytes */

/* Headers that upstream 0.8.0 wrote. */
static void test_upstream_bytes(void **state)
{
    (void)state;
    const st_metadata framework = entry_of("framework", "pt");
    struct {
        const char *label;
        st_tensor tensors[2];
        size_t count;
        bool framework;
        uint64_t size; /* N */
        size_t blanks;
        const char *text;
    } rows[] = {
        {"nothing", {{0}}, 0, false, 8, 6, "{}"},
        {"metadata alone", {{0}}, 0, true, 40, 5, "{\"__metadata__\":{\"framework\":\"pt\"}}"},
        {"F32",
         {tensor_of("attn.0", ST_F32, SHAPE(1, 2, 3))},
         1,
         false,
         64,
         0,
         "{\"attn.0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}"},
        {"F4",
         {tensor_of("attn.0", ST_F4, SHAPE(1, 2))},
         1,
         false,
         64,
         4,
         "{\"attn.0\":{\"dtype\":\"F4\",\"shape\":[1,2],\"data_offsets\":[0,1]}}"},
        {"one more than a multiple of 8",
         {tensor_of("attn0", ST_F32, SHAPE(1, 1, 2, 3))},
         1,
         false,
         72,
         7,
         "{\"attn0\":{\"dtype\":\"F32\",\"shape\":[1,1,2,3],\"data_offsets\":[0,24]}}"},
        {"I32",
         {tensor_of("test", ST_I32, SHAPE(2, 2))},
         1,
         false,
         64,
         4,
         "{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}"},
        {"two dtypes",
         {tensor_of("test2", ST_F16, SHAPE(2, 2)), tensor_of("test1", ST_I32, SHAPE(2, 2))},
         2,
         false,
         128,
         6,
         "{\"test1\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
         "\"test2\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[16,24]}}"},
        {"metadata first",
         {tensor_of("test1", ST_I32, SHAPE(2, 2))},
         1,
         true,
         96,
         1,
         "{\"__metadata__\":{\"framework\":\"pt\"},"
         "\"test1\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}"},
        {"BF16",
         {tensor_of("test", ST_BF16, SHAPE(2, 2))},
         1,
         false,
         64,
         4,
         "{\"test\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}"},
        {"C64",
         {tensor_of("test", ST_C64, SHAPE(2, 2))},
         1,
         false,
         64,
         4,
         "{\"test\":{\"dtype\":\"C64\",\"shape\":[2,2],\"data_offsets\":[0,32]}}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        st__emission emission = emission_of(rows[i].tensors, rows[i].count);
        emission.metadata = &framework;
        emission.metadata_count = rows[i].framework;
        emission.has_metadata = rows[i].framework;
        emits(&emission, rows[i].text, rows[i].blanks);
        assert_int_equal(strlen(rows[i].text) + rows[i].blanks, rows[i].size);
    }
}

static void test_metadata(void **state)
{
    (void)state;
    st__emission emission = emission_of(NULL, 0);
    emission.has_metadata = true;
    emits(&emission, "{\"__metadata__\":{}}", 5);
    st_metadata entries[] = {entry_of("b", ""), entry_of("a", "\n"), entry_of("", "x"),
                             entry_of("\xc3\xa9", "\xf0\x9f\x98\x80"), entry_of("ab", "/\x7f")};
    emission.metadata = entries;
    emission.metadata_count = COUNT(entries);
    for (int i = 0; i < 2; i++, emission.has_metadata = false)
        emits(&emission,
              "{\"__metadata__\":{\"\":\"x\",\"a\":\"\\n\",\"ab\":\"/\x7f\",\"b\":\"\","
              "\"\xc3\xa9\":\"\xf0\x9f\x98\x80\"}}",
              1);
    st_tensor t = tensor_of("a", ST_U8, SHAPE(0));
    emission = emission_of(&t, 1);
    emission.has_metadata = true;
    emits(&emission,
          "{\"__metadata__\":{},\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 1);
}

static void test_escapes(void **state)
{
    (void)state;
    char name[128];
    for (int i = 0; i < 128; i++)
        name[i] = (char)i;
    st_tensor t = {.name = name, .name_len = 128, .dtype = ST_U8, .shape = (uint64_t[]){0}};
    st__emission emission = emission_of(&t, 1);
    emits(&emission,
          "{\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e"
          "\\u000f\\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a"
          "\\u001b\\u001c\\u001d\\u001e\\u001f !\\\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQ"
          "RSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f\":{\"dtype\":\"U8\",\"shape\":[],"
          "\"data_offsets\":[0,1]}}",
          7);
}

/* ------------------------------------------------------------------------------------ order */

/* The names of a parsed header's tensors in data order, a blank behind each. */
static void order_is(const st__emission *emission, const char *expected)
{
    unsigned char *bytes = NULL;
    size_t size = emit(emission, &bytes), len = 0;
    uint64_t data_size = 0;
    char names[1024];
    for (size_t i = 0; i < emission->count; i++)
        data_size += st_tensor_size(&emission->tensors[i]);
    st_open_options options = {.flags = ST_OPEN_UNKNOWN_DTYPES};
    st_header *header = NULL;
    CHECK_OK(st_header_parse(bytes, size, size + data_size, &options, &header, &error));
    for (size_t i = 0; i < st_header_count(header); i++)
        len +=
            (size_t)snprintf(names + len, sizeof names - len, "%s ", st_header_at(header, i)->name);
    names[len ? len - 1 : 0] = '\0';
    assert_string_equal(names, expected);
    st_header_release(header);
    st__free(NULL, bytes, size);
}

static void test_order_of_dtypes(void **state)
{
    (void)state;
    uint64_t shape[] = {4};
    st_tensor tensors[ST_DTYPE_COUNT];
    bool ranks[ST_DTYPE_COUNT] = {false};
    for (int i = 0; i < ST_DTYPE_COUNT; i++) {
        tensors[i] = tensor_of(st_dtype_code(i + 1), i + 1, shape, 1);
        assert_true(st__dtype_ranks[i + 1] < ST_DTYPE_COUNT);
        assert_false(ranks[st__dtype_ranks[i + 1]]);
        ranks[st__dtype_ranks[i + 1]] = true;
    }
    st__emission emission = emission_of(tensors, COUNT(tensors));
    order_is(&emission,
             "U64 I64 F64 C64 F32 U32 I32 BF16 F16 U16 I16 F8_E5M2FNUZ F8_E4M3FNUZ F8_E8M0 F8_E4M3 "
             "F8_E5M2 I8 U8 F6_E3M2 F6_E2M3 F4 BOOL");
    emission.order = ST_ORDER_ADDED;
    order_is(&emission,
             "BOOL U8 I8 U16 I16 U32 I32 U64 I64 F16 BF16 F32 F64 C64 F8_E4M3 F8_E5M2 F8_E8M0 "
             "F8_E4M3FNUZ F8_E5M2FNUZ F6_E2M3 F6_E3M2 F4");
}

static void test_order_of_names(void **state)
{
    (void)state;
    uint64_t shape[] = {2};
    const char *names[] = {"\xf0\x9f\x98\x80", "b", "\xef\xbd\xb1", "a2",
                           "abcdefgh1",        "Z", "a10",          "\xc3\xa9",
                           "abcdefgh",         "a", "abcdefg"};
    st_tensor tensors[COUNT(names) + 1];
    for (size_t i = 0; i < COUNT(names); i++)
        tensors[i] = tensor_of(names[i], ST_F32, shape, 1);
    tensors[COUNT(names)] = tensor_of("A", ST_BOOL, shape, 1);
    st__emission emission = emission_of(tensors, COUNT(tensors));
    order_is(&emission, "Z a a10 a2 abcdefg abcdefgh abcdefgh1 b \xc3\xa9 \xef\xbd\xb1 "
                        "\xf0\x9f\x98\x80 A");
    for (size_t i = 0; i < COUNT(names); i++)
        assert_int_equal(tensors[i].end - tensors[i].begin, 8);
    assert_int_equal(tensors[5].begin, 0);
    assert_int_equal(tensors[9].begin, 8);
    tensors[1].name_len = 0;
    emission = emission_of(tensors, COUNT(tensors));
    order_is(&emission, " Z a a10 a2 abcdefg abcdefgh abcdefgh1 \xc3\xa9 \xef\xbd\xb1 "
                        "\xf0\x9f\x98\x80 A");
}

/* Behind all known ones, by code, then by name; twice gives the same again. */
static void test_unknown_dtypes(void **state)
{
    (void)state;
    uint64_t shape[] = {3, 5};
    st_tensor tensors[12];
    const char *names[] = {"l", "k", "j", "i", "h", "g", "f", "e", "d", "c", "b", "a"};
    for (int i = 0; i < 12; i++) {
        tensors[i] = tensor_of(names[i], i < 2 ? ST_BOOL : ST_DTYPE_UNKNOWN + i % 5, shape, 2);
        tensors[i].begin = 1000 * (uint64_t)i;
        tensors[i].end = tensors[i].begin + 7 + (uint64_t)i;
    }
    st__emission emission = emission_of(tensors, 12);
    emission.dtype_code = unknown_code;
    for (int i = 0; i < 2; i++) {
        order_is(&emission, "k l a f c h b g e j d i");
        assert_int_equal(tensors[0].end, 30);
        assert_int_equal(tensors[11].begin, 30);
        assert_int_equal(tensors[6].begin, 30 + 18);
        assert_int_equal(tensors[6].end, 30 + 18 + 13);
    }
    emission.order = ST_ORDER_ADDED;
    order_is(&emission, "l k j i h g f e d c b a");
}

/* ---------------------------------------------------------------------------------- padding */

static void test_padding(void **state)
{
    (void)state;
    static const uint64_t reserves[] = {0, 1, 7, 8, 9, 55, 56, 57, 100, 4095, 4096, 100000};
    st_tensor t = tensor_of("attn.0", ST_F32, SHAPE(1, 2, 3)); /* 64 bytes of text */
    for (uint32_t alignment = 8; alignment <= 4096; alignment *= 2) {
        for (size_t i = 0; i < COUNT(reserves); i++) {
            st__emission emission = emission_of(&t, 1);
            emission.alignment = alignment;
            emission.reserve = reserves[i];
            unsigned char *bytes = NULL;
            size_t size = emit(&emission, &bytes);
            assert_int_equal(size % alignment, 0);
            assert_true(size >= 8 + 64 + reserves[i]);
            assert_true(size < 8 + 64 + reserves[i] + alignment);
            assert_int_equal(bytes[8 + 63], '}');
            for (size_t j = 8 + 64; j < size; j++)
                assert_int_equal(bytes[j], ' ');
            st__free(NULL, bytes, size);
        }
    }
}

/* ------------------------------------------------------------------------------- round trips */

/* A random string of UTF-8 of up to 40 bytes; mostly plain. */
static size_t random_text(char *out)
{
    static const char *const pieces[] = {"layers.",
                                         "a",
                                         "0",
                                         ".weight",
                                         "\"",
                                         "\\",
                                         "\n",
                                         "\x01",
                                         "\xc3\xa9",
                                         "\xef\xbf\xbd",
                                         "\xf0\x9f\x98\x80",
                                         "\x7f"};
    size_t len = 0, count = random_below(6), kinds = random_below(3) ? 4 : COUNT(pieces);
    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[random_below(kinds)];
        memcpy(out + len, piece, strlen(piece));
        len += strlen(piece);
    }
    if (!random_below(8))
        out[len++] = '\0';
    return len;
}

#define RANDOM_MAX 40

typedef struct sample {
    st_tensor tensors[RANDOM_MAX];
    st_metadata metadata[RANDOM_MAX];
    char names[RANDOM_MAX][64], keys[RANDOM_MAX][64], values[RANDOM_MAX][64];
    uint64_t shapes[RANDOM_MAX][4];
    st__emission emission;
} sample;

static void sample_make(sample *s)
{
    st__emission *e = &s->emission;
    *e = emission_of(s->tensors, random_below(RANDOM_MAX));
    for (size_t i = 0; i < e->count; i++) {
        size_t len = random_text(s->names[i]);
        /* A number in the middle makes it unique. */
        len += (size_t)sprintf(s->names[i] + len, "%u", (unsigned)i * 7919u % 101u);
        uint32_t ndim = (uint32_t)random_below(5);
        for (uint32_t d = 0; d < ndim; d++)
            s->shapes[i][d] =
                random_below(9) ? 4 * random_below(9) : UINT64_C(1) << random_below(50);
        st_tensor *t = &s->tensors[i];
        *t = (st_tensor){.name = s->names[i],
                         .name_len = (uint32_t)len,
                         .shape = s->shapes[i],
                         .ndim = ndim,
                         .dtype = (st_dtype)(1 + random_below(ST_DTYPE_COUNT))};
        if (!random_below(10)) {
            t->dtype = ST_DTYPE_UNKNOWN + (st_dtype)random_below(COUNT(unknown_codes));
            t->begin = random_next() >> 8;
            t->end = t->begin + (random_next() >> random_below(64) >> 8);
        }
        uint64_t size;
        if (st__emission_check(t, "", &size, &t->reserved, NULL) != ST_OK || size >> 57)
            s->shapes[i][0] = t->ndim = 0, t->dtype = ST_F32, t->reserved = 0; /* a scalar */
        else if (t->dtype < ST_DTYPE_UNKNOWN)
            t->end = size;
    }
    e->checked = random_below(2);
    e->metadata = s->metadata;
    e->metadata_count = random_below(3) ? random_below(4) : random_below(RANDOM_MAX);
    for (size_t i = 0; i < e->metadata_count; i++) {
        size_t len = random_text(s->keys[i]), value_len = random_text(s->values[i]);
        len += (size_t)sprintf(s->keys[i] + len, "%u", (unsigned)i * 7919u % 101u);
        s->metadata[i] =
            (st_metadata){s->keys[i], (uint32_t)len, (uint32_t)value_len, s->values[i]};
    }
    e->has_metadata = random_below(2);
    e->order = (uint32_t)random_below(2);
    e->alignment = 8u << random_below(10);
    e->reserve = random_below(3) ? 0 : random_below(5000);
    e->dtype_code = unknown_code;
}

/* The order that the header's tensors must stand in: by bucket, by name; or as they were. */
static bool sample_in_order(const sample *s, const st_tensor *a, const st_tensor *b)
{
    if (s->emission.order == ST_ORDER_ADDED)
        return a < b;
    bool known_a = a->dtype < ST_DTYPE_UNKNOWN, known_b = b->dtype < ST_DTYPE_UNKNOWN;
    if (known_a != known_b)
        return known_a;
    if (known_a && a->dtype != b->dtype)
        return st__dtype_ranks[a->dtype] > st__dtype_ranks[b->dtype];
    if (a->dtype != b->dtype) {
        size_t len;
        return strcmp(unknown_code(NULL, a->dtype, &len), unknown_code(NULL, b->dtype, &len)) < 0;
    }
    size_t shorter = a->name_len < b->name_len ? a->name_len : b->name_len;
    int order = memcmp(a->name, b->name, shorter);
    return order ? order < 0 : a->name_len < b->name_len;
}

static void test_round_trips(void **state)
{
    (void)state;
    sample *s = malloc(sizeof *s);
    random_state = 5;
    for (int round = 0; round < 3000; round++) {
        sample_make(s);
        unsigned char *bytes = NULL;
        size_t size = emit(&s->emission, &bytes);
        assert_int_equal(size % s->emission.alignment, 0);
        for (size_t i = 0; i < s->emission.count; i++) {
            for (size_t j = 0; j < s->emission.count; j++) {
                const st_tensor *a = &s->tensors[i], *b = &s->tensors[j];
                if (i == j || !sample_in_order(s, a, b))
                    continue;
                assert_true(a->end <= b->begin);
            }
        }
        st__free(NULL, bytes, size);
    }
    free(s);
}

static void test_many_tensors(void **state)
{
    (void)state;
    enum { MANY = 30000 };
    st_tensor *tensors = malloc(MANY * sizeof *tensors);
    char(*names)[32] = malloc(MANY * sizeof *names);
    uint64_t shape[] = {2, 3};
    random_state = 6;
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t j = (uint32_t)random_below(i + 1);
        sprintf(names[i], "model.layers.%u.weight", i);
        tensors[i] = tensors[j];
        tensors[j] = tensor_of(names[i], i % 3 ? ST_F16 : ST_F32, shape, 2);
    }
    st__emission emission = emission_of(tensors, MANY);
    for (emission.order = 0; emission.order < 2; emission.order++) {
        unsigned char *bytes = NULL;
        size_t size = emit(&emission, &bytes);
        st__free(NULL, bytes, size);
    }
    free(names);
    free(tensors);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st_tensor tensors[] = {tensor_of("b", ST_F32, SHAPE(1)),
                               tensor_of("a", ST_F64, SHAPE(2)),
                               {.name = "c", .name_len = 1, .dtype = ST_DTYPE_UNKNOWN, .end = 9}};
        tensors[2].shape = tensors[0].shape;
        st_metadata entries[] = {entry_of("k", "v")};
        st__emission emission = emission_of(tensors, COUNT(tensors));
        emission.context = context;
        emission.metadata = entries;
        emission.metadata_count = 1;
        emission.dtype_code = unknown_code;
        unsigned char *bytes = NULL;
        size_t size = 0;
        status = st__header_emit(&emission, &bytes, &size, NULL);
        if (status == ST_OK) {
            read_back(&emission, bytes, size);
            st__free(context, bytes, size);
        } else {
            assert_null(bytes);
            assert_int_equal(tensors[2].end - tensors[2].begin, 9);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upstream_bytes), cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_escapes),        cmocka_unit_test(test_order_of_dtypes),
        cmocka_unit_test(test_order_of_names), cmocka_unit_test(test_unknown_dtypes),
        cmocka_unit_test(test_padding),        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_many_tensors),   cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
