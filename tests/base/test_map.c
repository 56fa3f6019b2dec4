/* SPDX-License-Identifier: Apache-2.0 */
#include "support/oom.h"
#include "base/map.h"

#include <stdio.h>
#include <string.h>

static const st__hash_key key = {
    {UINT64_C(0x8f1bbcdc5a827999), UINT64_C(0x3c6ef372a54ff53a), UINT64_C(0x510e527f9b05688c)}};

enum { COUNT = 5000, ROOM = 40 };

typedef struct names {
    st__key keys[COUNT];
    char texts[COUNT][ROOM];
} names;

static names many;

static void names_fill(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        int len = snprintf(many.texts[i], ROOM, "%zu%.*s", i, (int)(i % 33),
                           "abcdefghijklmnopqrstuvwxyzABCDEFG");
        many.keys[i] = (st__key){many.texts[i], (uint32_t)len, 0};
    }
}

static void test_finds_every_name_and_no_other(void **state)
{
    (void)state;
    st__map map;
    names_fill();
    assert_true(st__map_init(&map, NULL, many.keys, sizeof *many.keys, COUNT, &key));
    assert_int_equal(st__map_insert_all(&map, COUNT, false), ST__MAP_NONE);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(st__map_find(&map, many.texts[i], many.keys[i].len), i);
        char first = many.texts[i][0];
        many.texts[i][0] = 'x';
        assert_int_equal(st__map_find(&map, many.texts[i], many.keys[i].len), ST__MAP_NONE);
        many.texts[i][0] = first;
    }
    st__map_release(&map, NULL);
}

static void test_first_repetition_is_named(void **state)
{
    (void)state;
    st__map map;
    names_fill();
    many.keys[4321] = many.keys[17];
    many.keys[4999] = many.keys[3];
    assert_true(st__map_init(&map, NULL, many.keys, sizeof *many.keys, COUNT, &key));
    assert_int_equal(st__map_insert_all(&map, COUNT, false), 4321);
    st__map_release(&map, NULL);
}

static void test_records_of_any_stride(void **state)
{
    (void)state;
    st_tensor tensors[3];
    memset(tensors, 0, sizeof tensors);
    const char *texts[3] = {"", "a", "a\0b"};
    const uint32_t lens[3] = {0, 1, 3};
    for (size_t i = 0; i < 3; i++) {
        tensors[i].name = texts[i];
        tensors[i].name_len = lens[i];
        tensors[i].reserved = st__hash(&key, texts[i], lens[i]);
    }
    st__map map;
    assert_true(st__map_init(&map, NULL, tensors, sizeof *tensors, 3, &key));
    assert_int_equal(st__map_insert_all(&map, 3, true), ST__MAP_NONE);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(st__map_find(&map, texts[i], lens[i]), i);
    assert_int_equal(st__map_find(&map, "a\0c", 3), ST__MAP_NONE);
    st__map_release(&map, NULL);
}

/* A search for what is not there ends in a map of any size. */
static void test_absent_names_in_maps_of_every_size(void **state)
{
    (void)state;
    names_fill();
    for (size_t count = 1; count < 300; count++) {
        st__map map;
        assert_true(st__map_init(&map, NULL, many.keys, sizeof *many.keys, count, &key));
        assert_int_equal(st__map_insert_all(&map, count, false), ST__MAP_NONE);
        assert_true(map.mask >= count);
        for (size_t i = 0; i < count + 50; i++)
            assert_int_equal(st__map_find(&map, many.texts[i], many.keys[i].len),
                             i < count ? i : ST__MAP_NONE);
        st__map_release(&map, NULL);
    }
}

static void test_empty_map_finds_nothing(void **state)
{
    (void)state;
    st__map map = {0};
    assert_int_equal(st__map_find(&map, "a", 1), ST__MAP_NONE);
    assert_true(st__map_init(&map, NULL, NULL, sizeof(st__key), 0, &key));
    assert_int_equal(st__map_find(&map, "a", 1), ST__MAP_NONE);
    st__map_release(&map, NULL);
}

/* Every byte of a name and every word of the key must matter, at each length around the blocks of 16. */
static void test_hash_depends_on_all(void **state)
{
    (void)state;
    char text[64];
    for (size_t len = 1; len <= sizeof text; len++) {
        memset(text, 'q', sizeof text);
        uint32_t plain = st__hash(&key, text, len);
        for (size_t i = 0; i < len; i++) {
            text[i] ^= 1;
            assert_int_not_equal(st__hash(&key, text, len), plain);
            text[i] ^= 1;
        }
        assert_int_not_equal(st__hash(&key, text, len - 1), plain);
        for (int word = 0; word < 3; word++) {
            st__hash_key other = key;
            other.words[word] ^= UINT64_C(1) << 40;
            assert_int_not_equal(st__hash(&other, text, len), plain);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_every_name_and_no_other),
        cmocka_unit_test(test_first_repetition_is_named),
        cmocka_unit_test(test_records_of_any_stride),
        cmocka_unit_test(test_absent_names_in_maps_of_every_size),
        cmocka_unit_test(test_empty_map_finds_nothing),
        cmocka_unit_test(test_hash_depends_on_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
