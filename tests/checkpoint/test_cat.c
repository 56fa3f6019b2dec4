/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints, one behind the other, as one file. */
#include "checkpoint/model.h"
#include "support/oom.h"

#include "io/os_faults.h"

#define INPUTS 3

/* What is put together: as many as have a path, each with its prefix. */
typedef struct cat_parts {
    const char *paths[INPUTS];
    const char *prefixes[INPUTS];
    st_cat_options how;
} cat_parts;

/* Opens each, with nothing shared but a context that is given; gives how many are open. */
static st_status parts_open(const cat_parts *parts, st_context *context, st_checkpoint **opened,
                            st_cat_input *inputs, size_t *count, st_error *said)
{
    const st_open_options options = {.context = context};
    st_status status = ST_OK;
    for (*count = 0; *count < INPUTS && parts->paths[*count]; ++*count) {
        const char *prefix = parts->prefixes[*count];
        status =
            st_checkpoint_open(model_path(parts->paths[*count]), &options, &opened[*count], said);
        if (status != ST_OK)
            return status;
        inputs[*count] = (st_cat_input){.checkpoint = opened[*count],
                                        .prefix = prefix,
                                        .prefix_len = prefix ? strlen(prefix) : 0};
    }
    return status;
}

static st_status edit_save(st_edit *edit, st_context *context, st_error *said)
{
    const st_sink_options how = {.context = context};
    st_sink *sink;
    st_status status = st_sink_open(model_path("out"), &how, &sink, said);
    if (status != ST_OK)
        return status;
    status = st_edit_write(edit, sink, NULL, said);
    st_sink_release(sink);
    return status;
}

/* Makes "out" of them. */
static st_status cat_by(const cat_parts *parts, const st_edit_options *options, st_context *opening,
                        st_error *said)
{
    st_checkpoint *opened[INPUTS] = {NULL};
    st_cat_input inputs[INPUTS];
    st_edit *edit = NULL;
    size_t count;
    st_status status = parts_open(parts, opening, opened, inputs, &count, said);
    if (status == ST_OK)
        status = st_checkpoint_cat(inputs, count, &parts->how, options, &edit, said);
    assert_true((edit != NULL) == (status == ST_OK));
    if (status == ST_OK)
        status = edit_save(edit, options ? options->context : NULL, said);
    st_edit_free(edit);
    for (size_t i = 0; i < INPUTS; i++)
        st_checkpoint_close(opened[i]);
    return status;
}

/* Tells the metadata of "out" as "key=value key=value". */
static const char *metadata_list(void)
{
    static char text[1024];
    size_t at = 0;
    text[0] = '\0';
    st_checkpoint *checkpoint = model_open("out");
    for (size_t i = 0; i < st_checkpoint_metadata_count(checkpoint); i++) {
        const st_metadata *entry = st_checkpoint_metadata_at(checkpoint, i);
        at +=
            (size_t)snprintf(text + at, sizeof text - at, "%s%.*s=%.*s", i ? " " : "",
                             (int)entry->key_len, entry->key, (int)entry->value_len, entry->value);
    }
    st_checkpoint_close(checkpoint);
    return text;
}

static const char *names_list(void)
{
    st_checkpoint *checkpoint = model_open("out");
    const char *list = model_list(checkpoint);
    st_checkpoint_close(checkpoint);
    return list;
}

static int cat_setup(void **state)
{
    (void)model_setup(state);
    model_tensors("a.safetensors", "w:3 b:2 e:0", "{\"format\":\"pt\",\"z\":\"1\",\"who\":\"a\"}");
    model_tensors("b.safetensors", "w:4 c:1", "{\"a\":\"\\u00e9\",\"format\":\"pt\"}");
    assert_int_equal(mkdir(model_path("model"), 0777), 0);
    model_tensors("model/1.safetensors", "x:1", "{\"who\":\"m\"}");
    model_tensors("model/2.safetensors", "y:2", "{\"who\":\"m\"}");
    return 0;
}

/* One behind the other, each in its own order; of a folder all files. */
static void test_order(void **state)
{
    (void)state;
    const cat_parts parts = {.paths = {"model", "a.safetensors"},
                             .how = {.metadata = ST_CAT_METADATA_FIRST}};
    CHECK_OK(cat_by(&parts, NULL, NULL, &error));
    assert_string_equal(names_list(), "0/x 0/y 0/w 0/b 0/e");
    assert_string_equal(metadata_list(), "format=pt who=m z=1");
    st_checkpoint *checkpoint = model_open("out");
    char bytes[3];
    st_checkpoint_tensor found = st_checkpoint_at(checkpoint, 2);
    CHECK_OK(st_file_read(found.file, found.tensor, NULL, bytes, 3, &error));
    assert_memory_equal(bytes, "www", 3);
    st_checkpoint_close(checkpoint);
}

static void test_prefixes(void **state)
{
    (void)state;
    cat_parts parts = {.paths = {"a.safetensors", "b.safetensors"}, .prefixes = {"a.", ""}};
    CHECK_OK(cat_by(&parts, NULL, NULL, &error));
    assert_string_equal(names_list(), "0/a.w 0/a.b 0/a.e 0/w 0/c");
    assert_string_equal(metadata_list(), "a=\xc3\xa9 format=pt who=a z=1");
    parts.paths[1] = "a.safetensors";
    parts.prefixes[1] = "\xc3\xa9/";
    CHECK_OK(cat_by(&parts, NULL, NULL, &error));
    assert_string_equal(names_list(), "0/a.w 0/a.b 0/a.e 0/\xc3\xa9/w 0/\xc3\xa9/b 0/\xc3\xa9/e");
}

/* It can be changed before it is written. */
static void test_further(void **state)
{
    (void)state;
    st_checkpoint *a = model_open("a.safetensors"), *model = model_open("model");
    const st_cat_input inputs[] = {{.checkpoint = model},
                                   {.checkpoint = a, .prefix = "a.", .prefix_len = 2}};
    const st_cat_options none = {.metadata = ST_CAT_METADATA_NONE};
    st_checkpoint_tensor found;
    st_edit *edit;
    CHECK_OK(st_checkpoint_cat(inputs, 2, &none, &(st_edit_options){.order = ST_EDIT_ORDER_NAME},
                               &edit, &error));
    assert_true(st_checkpoint_find(a, "b", 1, &found));
    CHECK_OK(st_edit_drop(edit, found.tensor, &error));
    assert_true(st_checkpoint_find(model, "x", 1, &found));
    CHECK_OK(st_edit_rename(edit, found.tensor, "0", 1, &error));
    CHECK_OK(edit_save(edit, NULL, &error));
    assert_string_equal(names_list(), "0/0 0/a.e 0/a.w 0/y");
    assert_string_equal(metadata_list(), "");
    st_edit_free(edit);
    st_checkpoint_close(a);
    st_checkpoint_close(model);
}

static void test_nothing(void **state)
{
    (void)state;
    const cat_parts none = {.paths = {NULL}};
    CHECK_OK(cat_by(&none, NULL, NULL, &error));
    assert_string_equal(names_list(), "");
    /* Without any options. */
    st_edit *edit;
    CHECK_OK(st_checkpoint_cat(NULL, 0, NULL, NULL, &edit, &error));
    st_edit_free(edit);
}

/* The message has the paths of two inputs, and between and behind them these texts. */
static void cat_refuse(const cat_parts *parts, st_status status, const char *const between[4])
{
    char wanted[512];
    snprintf(wanted, sizeof wanted, "%s%s%s%s", model_path(between[0]), between[1],
             model_path(between[2]), between[3]);
    CHECK_ERR_TEXT(cat_by(parts, NULL, NULL, &error), status, ST_NO_OFFSET, wanted);
    assert_false(model_has("out"));
}

static void test_names_clash(void **state)
{
    (void)state;
    static const char hint[] = " too; prefixes make two names of it";
    cat_parts parts = {.paths = {"model", "a.safetensors", "b.safetensors"}};
    parts.how.metadata = ST_CAT_METADATA_NONE;
    cat_refuse(
        &parts, ST_ERR_NAME_DUPLICATE,
        (const char *[]){"b.safetensors", ": tensor \"w\": stands in ", "a.safetensors", hint});
    /* By a prefix alone; and of several that clash the first one is named. */
    parts = (cat_parts){.paths = {"b.safetensors", "a.safetensors", "model"},
                        .prefixes = {"", "x.", ""}};
    model_tensors("model/3.safetensors", "x.b:1 x.w:1", NULL);
    cat_refuse(&parts, ST_ERR_NAME_DUPLICATE,
               (const char *[]){"model", ": tensor \"x.b\": stands in ", "a.safetensors", hint});
    /* Before what their metadata have. */
    model_tensors("b.safetensors", "w:1", "{\"who\":\"b\"}");
    parts = (cat_parts){.paths = {"a.safetensors", "b.safetensors"}};
    cat_refuse(
        &parts, ST_ERR_NAME_DUPLICATE,
        (const char *[]){"b.safetensors", ": tensor \"w\": stands in ", "a.safetensors", hint});
}

static void test_values_clash(void **state)
{
    (void)state;
    cat_parts parts = {.paths = {"b.safetensors", "model", "a.safetensors"}, .prefixes = {"b."}};
    cat_refuse(&parts, ST_ERR_METADATA_DUPLICATE,
               (const char *[]){"a.safetensors",
                                ": the metadata have another \"who\" than those of ", "model",
                                "; metadata \"first\" takes the first"});
    parts.how.metadata = ST_CAT_METADATA_FIRST;
    CHECK_OK(cat_by(&parts, NULL, NULL, &error));
    assert_string_equal(metadata_list(), "a=\xc3\xa9 format=pt who=m z=1");
    parts.how.metadata = ST_CAT_METADATA_NONE;
    CHECK_OK(cat_by(&parts, NULL, NULL, &error));
    assert_string_equal(metadata_list(), "");
}

/* Of paths that do not fit beside each other each is cut, between two characters; the name and what to do are there. */
static void test_long_paths(void **state)
{
    (void)state;
    char folder[256] = "", path[300];
    st_error said;
    for (int i = 0; i < 60; i++)
        strcat(folder, "\xe2\x82\xac");
    assert_int_equal(mkdir(model_path(folder), 0777), 0);
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    model_tensors(path, "w:1", NULL);
    const cat_parts parts = {.paths = {path, path}};
    assert_int_equal(cat_by(&parts, NULL, NULL, &said), ST_ERR_NAME_DUPLICATE);
    const char *behind = strchr(said.message, ':');
    assert_non_null(behind);
    size_t len = (size_t)(behind - said.message);
    assert_in_range(len, 138, 140);
    assert_int_equal((len - strlen(model_folder) - 1) % 3, 0);
    assert_non_null(strstr(behind, ": tensor \"w\": stands in /tmp/"));
    assert_non_null(strstr(behind, " too; prefixes make two names of it"));
}

static void arguments_refuse(const st_cat_input *inputs, const st_cat_options *how,
                             const st_edit_options *options, const char *text)
{
    st_edit *edit = NULL;
    CHECK_ERR_TEXT(st_checkpoint_cat(inputs, 2, how, options, &edit, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, text);
    assert_null(edit);
}

static void test_refused_options(void **state)
{
    (void)state;
    st_checkpoint *a = model_open("a.safetensors"), *b = model_open("b.safetensors");
    st_cat_input inputs[] = {{.checkpoint = a}, {.checkpoint = b, .prefix = "2", .prefix_len = 1}};
    arguments_refuse(inputs, &(st_cat_options){.metadata = 3}, NULL,
                     "st_cat_options: unknown metadata rule 3");
    arguments_refuse(inputs, &(st_cat_options){.reserved = {[7] = 1}}, NULL, "st_cat_options");
    arguments_refuse(inputs, NULL, &(st_edit_options){.order = 7}, "unknown order 7");
    inputs[1].prefix = "\xff";
    arguments_refuse(inputs, NULL, NULL, "tensor");
    inputs[1].prefix_len = UINT32_MAX - 1; /* not looked at */
    arguments_refuse(inputs, NULL, NULL, "tensor \"w\": a prefix of 4294967294 bytes is too long");
    inputs[1].reserved[1] = 1;
    arguments_refuse(inputs, NULL, NULL, "st_cat_input");
    /* The same tensor under two names. */
    inputs[1] = (st_cat_input){.checkpoint = a, .prefix = "2", .prefix_len = 1};
    arguments_refuse(inputs, NULL, NULL, "tensor \"w\": it is in already");
    st_checkpoint_close(a);
    st_checkpoint_close(b);
}

static void test_oom(void **state)
{
    (void)state;
    const cat_parts parts = {.paths = {"a.safetensors", "b.safetensors", "model"},
                             .prefixes = {"a.", "b.", ""},
                             .how = {.metadata = ST_CAT_METADATA_FIRST}};
    ST_OOM_LOOP(context, status)
    {
        const st_edit_options options = {.context = context};
        status = cat_by(&parts, &options, NULL, NULL);
    }
    assert_string_equal(names_list(), "0/a.w 0/a.b 0/a.e 0/b.w 0/b.c 0/x 0/y");
}

/* Each call goes wrong in turn: it is told, and nothing is written, or it does not matter. */
static void test_faults(void **state)
{
    (void)state;
    const cat_parts parts = {.paths = {"model", "a.safetensors"},
                             .prefixes = {"m."},
                             .how = {.metadata = ST_CAT_METADATA_FIRST}};
    for (int fault = OS_EIO; fault <= OS_SHORT; fault++) {
        unsigned n = 0, failed = 0;
        bool hit;
        do {
            st_error said = {.status = ST_OK};
            st_context *context;
            st_context_options one = {.max_threads = 1, .max_descriptors = 1};
            CHECK_OK(st_context_new(&one, &context, &error));
            os_plant((os_fault)fault, ++n);
            st_status status =
                cat_by(&parts, &(st_edit_options){.context = context}, context, &said);
            hit = os_state.hit;
            os_plant(OS_NONE, 0);
            failed += status != ST_OK;
            assert_true(status == ST_OK ||
                        (fault == OS_EIO && status == ST_ERR_IO && said.sys_errno == EIO &&
                         strstr(said.message, model_folder)));
            st_context_release(context);
            if (model_has("out")) {
                assert_string_equal(names_list(), "0/m.x 0/m.y 0/w 0/b 0/e");
                assert_int_equal(unlink(model_path("out")), 0);
            } else {
                assert_int_not_equal(status, ST_OK);
            }
        } while (hit);
        assert_true(n > 8);
        assert_true((failed > 4) == (fault == OS_EIO));
    }
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, cat_setup, model_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {EACH(test_order),       EACH(test_prefixes),
                                       EACH(test_further),     EACH(test_nothing),
                                       EACH(test_names_clash), EACH(test_values_clash),
                                       EACH(test_long_paths),  EACH(test_refused_options),
                                       EACH(test_oom),         EACH(test_faults)};
    return cmocka_run_group_tests_name("cat", tests, NULL, NULL);
}
