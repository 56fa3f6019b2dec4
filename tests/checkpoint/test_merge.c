/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint as one file again. */
#include "checkpoint/model.h"
#include "support/oom.h"

static st_status merge_into(const st_checkpoint *checkpoint, const st_edit_options *options,
                            const char *name, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    st_sink_options how = {.context = context};
    st_edit *edit = NULL;
    st_sink *sink = NULL;
    st_status status = st_checkpoint_merge(checkpoint, options, &edit, error);
    if (status == ST_OK)
        status = st_sink_open(model_path(name), &how, &sink, error);
    if (status == ST_OK)
        status = st_edit_write(edit, sink, NULL, error);
    st_sink_release(sink);
    st_edit_free(edit);
    return status;
}

static void split_by(const char *name, const char *folder, uint64_t size)
{
    st_checkpoint *checkpoint = model_open(name);
    st_split_options options = {.max_shard_size = size};
    st_split *split;
    CHECK_OK(st_split_new(checkpoint, &options, &split, &error));
    CHECK_OK(st_split_write(split, model_path(folder), &error));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

/* The canonical file, split and merged, is the same to the byte, whatever the shards. */
static void test_round_trip(void **state)
{
    (void)state;
    static const st_edit_options canonical = {.order = ST_EDIT_ORDER_CANONICAL};
    model_tensors("in.safetensors", "e:9 b:3 a:1 d:0 c:7 f:0",
                  "{\"format\":\"pt\",\"z\":\"\",\"a\":\"\\u00e9\"}");
    st_checkpoint *checkpoint = model_open("in.safetensors");
    CHECK_OK(merge_into(checkpoint, &canonical, "one.safetensors", &error));
    st_checkpoint_close(checkpoint);
    for (uint64_t size = 1; size <= 21; size++) {
        size_t size_a, size_b;
        split_by("one.safetensors", "out", size);
        checkpoint = model_open("out");
        CHECK_OK(merge_into(checkpoint, &canonical, "back.safetensors", &error));
        st_checkpoint_close(checkpoint);
        char *a = model_read("one.safetensors", &size_a);
        char *b = model_read("back.safetensors", &size_b);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(a, b, size_a);
        free(a);
        free(b);
        model_empty(model_path("out"));
    }
}

static void test_order(void **state)
{
    (void)state;
    model_tensors("m-1.safetensors", "z:1 b:2", NULL);
    model_tensors("m-2.safetensors", "y:3 a:4", "{\"lost\":\"1\"}");
    st_checkpoint *checkpoint = model_open("");
    CHECK_OK(merge_into(checkpoint, NULL, "one", &error));
    st_checkpoint_close(checkpoint);
    checkpoint = model_open("one");
    assert_string_equal(model_list(checkpoint), "0/z 0/b 0/y 0/a");
    assert_int_equal(st_checkpoint_metadata_count(checkpoint), 0);
    st_edit *edit;
    CHECK_ERR(st_checkpoint_merge(checkpoint, &(st_edit_options){.order = 7}, &edit, &error),
              ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_checkpoint_close(checkpoint);
}

static void test_oom(void **state)
{
    (void)state;
    model_tensors("m-1.safetensors", "a:1 b:2", "{\"format\":\"pt\"}");
    model_tensors("m-2.safetensors", "c:3", "{\"format\":\"pt\"}");
    st_checkpoint *checkpoint = model_open("");
    ST_OOM_LOOP(context, status)
    {
        st_edit_options options = {.context = context};
        status = merge_into(checkpoint, &options, "out", NULL);
    }
    st_checkpoint_close(checkpoint);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, model_setup, model_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {EACH(test_round_trip), EACH(test_order), EACH(test_oom)};
    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
