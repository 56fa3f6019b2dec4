/* SPDX-License-Identifier: Apache-2.0 */
/* The text of an index after an edit, to the byte; and a new one. */
#include "checkpoint/changes.h"

static void check_index(const char *before, const char *changes, const char *after)
{
    model_empty(model_folder);
    changes_shards();
    model_text(CHANGES_INDEX, before);
    changes_do("", changes);
    check_text(CHANGES_INDEX, after);
    st_checkpoint *checkpoint = model_open("");
    st_checkpoint_close(checkpoint);
}

#define ONE   "m-1.safetensors"
#define TWO   "m-2.safetensors"
#define THREE "m-3.safetensors"

/* As huggingface_hub writes it. */
static void test_hub(void **state)
{
    (void)state;
    check_index(CHANGES_TEXT, "r:a=x r:c=\xc3\xa9\xf0\x9f\x98\x80 n:new",
                "{\n  \"metadata\": {\n    \"total_size\": 18,\n    \"total_parameters\": 104,\n"
                "    \"x\": 1.50\n  },\n  \"weight_map\": {\n    \"d\": \"" THREE "\",\n"
                "    \"x\": \"" ONE "\",\n    \"\\u00e9\\ud83d\\ude00\": \"" TWO "\",\n"
                "    \"b\": \"" ONE "\",\n    \"new\": \"" ONE "\"\n  },\n"
                "  \"other\": [1, {\"y\": 2}]\n}\n");
    check_index(CHANGES_TEXT, "d:d d:b",
                "{\n  \"metadata\": {\n    \"total_size\": 7,\n    \"total_parameters\": 93,\n"
                "    \"x\": 1.50\n  },\n  \"weight_map\": {\n    \"a\": \"" ONE "\",\n"
                "    \"c\": \"" TWO "\"\n  },\n  \"other\": [1, {\"y\": 2}]\n}\n");
    /* What takes the name of one that went stands where that one stood. */
    check_index(CHANGES_TEXT, "v:d d:b r:a=b",
                "{\n  \"metadata\": {\n    \"total_size\": 9,\n    \"total_parameters\": 95,\n"
                "    \"x\": 1.50\n  },\n  \"weight_map\": {\n    \"d\": \"" ONE "\",\n"
                "    \"b\": \"" ONE "\",\n    \"c\": \"" TWO "\"\n  },\n"
                "  \"other\": [1, {\"y\": 2}]\n}\n");
}

/* Whatever its blanks and escapes are. */
static void test_other_forms(void **state)
{
    (void)state;
    check_index("{\"weight_map\":{\"\\u0061\":\"" ONE "\",\"b\":\"" ONE "\",\"c\":\"" TWO "\"}}",
                "d:b n:new",
                "{\"weight_map\":{\"\\u0061\":\"" ONE "\",\"c\":\"" TWO "\",\"new\":\"" ONE "\"}}");
    check_index("{\"weight_map\":{\"a\":\"" ONE "\"}}", "n:new",
                "{\"weight_map\":{\"a\":\"" ONE "\",\"new\":\"" ONE "\"}}");
    check_index("{\"weight_map\": { \"a\" : \"" ONE "\" , \"c\" : \"m-\\u0032.safetensors\" } } ",
                "d:a n:\"q",
                "{\"weight_map\": { \"c\" : \"m-\\u0032.safetensors\" , \"\\\"q\" : "
                "\"" ONE "\" } } ");
    check_index("{\"weight_map\": {\n\t\"c\": \"" TWO "\",\n\t\"a\":  \"" ONE
                "\"\n}, \"metadata\": null}\r\n",
                "v:c",
                "{\"weight_map\": {\n\t\"c\": \"" ONE "\",\n\t\"a\":  \"" ONE
                "\"\n}, \"metadata\": null}\r\n");
}

static void test_emptied(void **state)
{
    (void)state;
    check_index(CHANGES_TEXT, "d:a d:b d:c d:d",
                "{\n  \"metadata\": {\n    \"total_size\": 0,\n    \"total_parameters\": 86,\n"
                "    \"x\": 1.50\n  },\n  \"weight_map\": {},\n  \"other\": [1, {\"y\": 2}]\n}\n");
    assert_string_equal(model_names(""), CHANGES_INDEX);
    check_index("{\"weight_map\":{\"c\":\"" TWO "\"}}", "d:c", "{\"weight_map\":{}}");
    /* Without weight_map it would be no index any more. */
    changes_shards();
    model_text(CHANGES_INDEX, "{\"c\":\"" TWO "\"}");
    changes_way way = {.in_place = false};
    CHECK_ERR_TEXT(changes_apply("", "d:c", &way, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "no weight_map");
    assert_string_equal(model_names(""), CHANGES_NAMES);
    changes_do("", "r:c=e");
    check_text(CHANGES_INDEX, "{\"e\":\"" TWO "\"}");
}

/* Numbers of the metadata: what counts bytes is put right, what counts elements moves along, if it is a whole number. */
static void test_metadata(void **state)
{
    (void)state;
#define WITH(metadata) "{\"metadata\":" metadata ",\"weight_map\":{\"c\":\"" TWO "\"}}"
#define THEN(metadata) "{\"metadata\":" metadata ",\"weight_map\":{\"e\":\"" TWO "\"}}"
    check_index(WITH("{}"), "r:c=e", THEN("{}"));
    check_index(WITH("{\"total_size\":\"4\"}"), "r:c=e", THEN("{\"total_size\":4}"));
    check_index(WITH("{\"total_size\":4.0}"), "r:c=e", THEN("{\"total_size\":4}"));
    check_index(WITH("{\"total_size\":9,\"n\":{\"total_size\":1}}"), "r:c=e",
                THEN("{\"total_size\":4,\"n\":{\"total_size\":1}}"));
    check_index(WITH("{\"total_size\":null}"), "r:c=e", THEN("{\"total_size\":null}"));
    check_index(WITH("{\"total_parameters\":1.5}"), "r:c=e", THEN("{\"total_parameters\":1.5}"));
    check_index(WITH("{\"total_parameters\":\"7\"}"), "r:c=e",
                THEN("{\"total_parameters\":\"7\"}"));
    check_index("{\"metadata\":{\"total_parameters\":1},\"weight_map\":{\"a\":\"" ONE
                "\",\"c\":\"" TWO "\"}}",
                "d:c",
                "{\"metadata\":{\"total_parameters\":0},\"weight_map\":{\"a\":\"" ONE "\"}}");
    check_index("{\"metadata\":{\"total_parameters\":18446744073709551615},\"weight_map\":{\"a\":"
                "\"" ONE "\"}}",
                "n:y",
                "{\"metadata\":{\"total_parameters\":18446744073709551615},\"weight_map\":{\"a\":"
                "\"" ONE "\",\"y\":\"" ONE "\"}}");
#undef WITH
#undef THEN
}

/* A new index says what that of a split does. */
static void test_new_index(void **state)
{
    (void)state;
    changes_shards();
    st_checkpoint *checkpoint = model_open("");
    CHECK_OK(st_checkpoint_index_write(checkpoint, model_path(CHANGES_INDEX), NULL, &error));
    check_text(CHANGES_INDEX,
               "{\n  \"metadata\": {\n    \"total_size\": 14\n  },\n  \"weight_map\": {\n"
               "    \"a\": \"" ONE "\",\n    \"b\": \"" ONE "\",\n    \"c\": \"" TWO "\",\n"
               "    \"d\": \"" THREE "\"\n  }\n}");
    st_sink_options only_new = {.flags = ST_SINK_NEW};
    CHECK_ERR(st_checkpoint_index_write(checkpoint, model_path(CHANGES_INDEX), &only_new, &error),
              ST_ERR_IO, ST_NO_OFFSET);
    st_split_options options = {.shard_count = 2};
    st_split *split;
    CHECK_OK(st_split_new(checkpoint, &options, &split, &error));
    CHECK_OK(st_split_write(split, model_path("out"), &error));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    size_t size;
    char *text = model_read("out/model.safetensors.index.json", &size);
    checkpoint = model_open("out");
    CHECK_OK(st_checkpoint_index_write(checkpoint, model_path("out/again.json"), NULL, &error));
    check_text("out/again.json", text);
    free(text);
    st_checkpoint_close(checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hub, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_other_forms, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_emptied, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_metadata, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_new_index, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("checkpoint_edit_index", tests, NULL, NULL);
}
