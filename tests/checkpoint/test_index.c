/* SPDX-License-Identifier: Apache-2.0 */
/* What of an index is refused, and with which offset. */
#include "checkpoint/model.h"
#include "checkpoint/index.h"
#include "support/oom.h"

static const char good_index[] =
    "{\"metadata\":{\"total_size\":8},"
    "\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}";

/* Writes the index and opens it; the offset is where `mark` stands in the text, plus `more`. */
static void check_index(const char *text, st_status status, const char *mark, size_t more,
                        const char *says)
{
    const char *at = mark ? strstr(text, mark) : NULL;
    uint64_t offset = at ? (uint64_t)(at - text) + more : strlen(text);
    st_checkpoint *checkpoint = NULL;
    model_text("i.json", text);
    CHECK_ERR_TEXT(st_checkpoint_open(model_path("i.json"), NULL, &checkpoint, &error), status,
                   offset, says);
    assert_null(checkpoint);
}

static int index_setup(void **state)
{
    (void)model_setup(state);
    model_tensors("one.safetensors", "a:6 x:3", NULL);
    model_tensors("two.safetensors", "b:2", NULL);
    return 0;
}

static void test_json(void **state)
{
    (void)state;
    check_index("", ST_ERR_JSON, NULL, 0, "i.json: ");
    check_index("{", ST_ERR_JSON, NULL, 0, NULL);
    check_index("{\"weight_map\":{}}x", ST_ERR_JSON, "x", 0, "more text");
    check_index("{\"weight_map\":{\"a\" \"b\"}}", ST_ERR_JSON, "\"b\"", 0, NULL);
    check_index("{\"weight_map\":{\"a\":\"\xff\"}}", ST_ERR_JSON, "\xff", 0, NULL);
    check_index("[]", ST_ERR_JSON, "[", 0, "an object");
    check_index("{}", ST_ERR_JSON, "{", 0, "no weight_map");
    check_index("{\"hidden_size\":7}", ST_ERR_JSON, "7", 0, "no weight_map");
    check_index("{\"metadata\":{\"a\":\"b.safetensors\"}}", ST_ERR_JSON, "{\"a\"", 0,
                "no weight_map");
    check_index("{\"weight_map\":7}", ST_ERR_JSON, "7", 0, "not an object");
    check_index("{\"weight_map\":{\"a\":7}}", ST_ERR_JSON, "7", 0, "not a string");
    check_index("{\"weight_map\":{\"a\":[\"one.safetensors\"]}}", ST_ERR_JSON, "[", 0, NULL);
    check_index("{\"weight_map\":{},\"weight_map\":{}}", ST_ERR_JSON, ",\"w", 1, "twice");
    check_index("{\"metadata\":{},\"weight_map\":{},\"metadata\":{}}", ST_ERR_JSON, ",\"m", 1,
                "twice");
    check_index("{\"metadata\":[],\"weight_map\":{}}", ST_ERR_JSON, "[", 0, "metadata");
    check_index("{\"metadata\":{\"a\":\"1\",\"a\":\"1\"},\"weight_map\":{}}",
                ST_ERR_METADATA_DUPLICATE, ",\"a", 1, "\"a\" twice");
    check_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\","
                "\"\\u0061\":\"one.safetensors\"}}",
                ST_ERR_NAME_DUPLICATE, "\"\\u0061", 0, "tensor \"a\"");
}

static void test_shard_names(void **state)
{
    (void)state;
    static const struct {
        const char *name; /* as it stands in the text */
        const char *says;
    } names[] = {
        {"", "is empty"},
        {"/etc/a.safetensors", "is absolute"},
        {"//server/share/a.safetensors", "is absolute"},
        {"\\\\\\\\server\\\\a.safetensors", "backslash"},
        {"..\\\\a.safetensors", "backslash"},
        {"C:a.safetensors", "drive"},
        {"c:/a.safetensors", "drive"},
        {"../a.safetensors", "climbs"},
        {"x/../../a.safetensors", "climbs"},
        {"x/..", "climbs"},
        {"a.safetensors/..", "climbs"},
        {"a\\u0000.safetensors", "NUL"},
        {"one.bin", "does not end in .safetensors"},
        {"one.safetensors.bin", "does not end in .safetensors"},
        {"one.SAFETENSORS", "does not end in .safetensors"},
        {"one.safetensors ", "does not end in .safetensors"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"weight_map\":{\"w\":\"one.safetensors\",\"t\":\"%s\"}}",
                 names[i].name);
        check_index(text, ST_ERR_SHARD_NAME, "\"t\":", 4, names[i].says);
        check_index(text, ST_ERR_SHARD_NAME, "\"t\":", 4, "tensor \"t\"");
    }
    assert_null(st__shard_name_fault("a..b/..c/d..safetensors", 23));
    assert_null(st__shard_name_fault("ab:c.safetensors", 16));
    assert_null(st__shard_name_fault(".safetensors", 12));
}

static void test_shards(void **state)
{
    (void)state;
    check_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"q\":\"two.safetensors\"}}",
                ST_ERR_SHARD_TENSOR, "\"q\"", 0, "is not in \"two.safetensors\", where");
    check_index("{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}",
                ST_ERR_SHARD_TENSOR, "\"b\"", 0, "tensor \"b\"");
    st_checkpoint *checkpoint;
    model_text("i.json", "{\"weight_map\":{\"a\":\"gone.safetensors\"}}");
    st_error said;
    assert_int_equal(st_checkpoint_open(model_path("i.json"), NULL, &checkpoint, &said), ST_ERR_IO);
    assert_int_equal(said.sys_errno, 2);
    assert_non_null(strstr(said.message, "/gone.safetensors: "));
    assert_non_null(strstr(said.message, "/i.json names it"));
    model_text("i.json", "{\"weight_map\":{\"a\":\"bad.safetensors\"}}");
    model_text("bad.safetensors", "1234567");
    CHECK_ERR_TEXT(st_checkpoint_open(model_path("i.json"), NULL, &checkpoint, &error),
                   ST_ERR_HEADER_TOO_SMALL, 0, "/bad.safetensors: ");
}

static void test_too_long(void **state)
{
    (void)state;
    st_checkpoint *checkpoint;
    st_open_options options = {.max_header_size = sizeof good_index - 2};
    model_text("i.json", good_index);
    CHECK_ERR_TEXT(st_checkpoint_open(model_path("i.json"), &options, &checkpoint, &error),
                   ST_ERR_JSON, sizeof good_index - 2, "too many for an index");
    options.max_header_size = 200;
    CHECK_OK(st_checkpoint_open(model_path("i.json"), &options, &checkpoint, &error));
    st_checkpoint_close(checkpoint);
}

/* Many files, in no order: each is found by its name while the list of them grows. */
static void test_parse(void **state)
{
    (void)state;
    static char text[40000];
    size_t len = (size_t)sprintf(text, "{");
    for (unsigned i = 0; i < 500; i++)
        len += (size_t)sprintf(text + len, "%s\"t%u\":\"f%u.safetensors\"", i ? "," : "", i,
                               i * 77 % 100);
    len += (size_t)sprintf(text + len, "}");
    st__arena kept = {0};
    st__index index = {.kept = &kept};
    CHECK_OK(
        st__index_parse(&index, text, len, &(st__index_judge){.name = "index", .error = &error}));
    assert_int_equal(index.count, 500);
    assert_int_equal(index.file_count, 100);
    for (unsigned i = 0; i < 500; i++) {
        char name[32];
        sprintf(name, "f%u.safetensors", i * 77 % 100);
        assert_string_equal(index.files[index.entries[i].file].name.text, name);
        sprintf(name, "t%u", i);
        assert_int_equal(st__map_find(&index.names, name, strlen(name)), i);
    }
    st__index_release(&index);
    st__arena_release(&kept);
}

static void test_parse_oom(void **state)
{
    (void)state;
    static const char text[] =
        "{\"metadata\":{\"k\":\"v\",\"n\":[1,{}],\"total_size\":{}},\"weight_map\":{"
        "\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}";
    ST_OOM_LOOP(context, status)
    {
        st__arena kept = {.context = context};
        st__index index = {.context = context, .kept = &kept};
        st_error error;
        status = st__index_parse(&index, text, sizeof text - 1,
                                 &(st__index_judge){.name = "index", .error = &error});
        assert_true(status == ST_OK || strncmp(error.message, "index: ", 7) == 0);
        st__index_release(&index);
        st__arena_release(&kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),   cmocka_unit_test(test_shard_names),
        cmocka_unit_test(test_shards), cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_parse),  cmocka_unit_test(test_parse_oom),
    };
    return cmocka_run_group_tests_name("index", tests, index_setup, model_teardown);
}
