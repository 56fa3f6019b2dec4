/* SPDX-License-Identifier: Apache-2.0 */
/* A new index, by itself or of a split, over what an edit has left that was interrupted, or is under way. */
#include "checkpoint/list.h"
#include "support/oom.h"

#include <fcntl.h>
#include <sys/file.h>

#define M_INDEX "m.safetensors.index.json"

/* A model of two shards, and the list of an edit of the first and of the index that holds, and is not carried out: by
 * the index, or of a folder without one. */
static void left_model(bool indexed)
{
    list_bytes list;
    model_tensors("m-00001-of-00002.safetensors", "a:3 b:5", NULL);
    model_tensors("m-00002-of-00002.safetensors", "c:4", NULL);
    model_tensors(ASIDE, "x:3 b:5", NULL);
    list_start(&list);
    st__exchange_record first = {.name = key_of("m-00001-of-00002.safetensors"),
                                 .aside = key_of(ASIDE),
                                 .kind = ST__EXCHANGE_TAKES,
                                 .old = known_of("m-00001-of-00002.safetensors"),
                                 .fresh = known_of(ASIDE)};
    list_record(&list, &first);
    if (indexed) {
        model_text(M_INDEX, "{\"weight_map\":{\"b\":\"m-00001-of-00002.safetensors\",\"c\":"
                            "\"m-00002-of-00002.safetensors\"}}");
        model_text(INDEX_ASIDE, "{\"weight_map\":{\"x\":\"m-00001-of-00002.safetensors\",\"b\":"
                                "\"m-00001-of-00002.safetensors\",\"c\":"
                                "\"m-00002-of-00002.safetensors\"}}");
        st__exchange_record index = {.name = key_of(M_INDEX),
                                     .aside = key_of(INDEX_ASIDE),
                                     .kind = ST__EXCHANGE_TAKES,
                                     .old = known_of(M_INDEX),
                                     .fresh = known_of(INDEX_ASIDE)};
        list_record(&list, &index);
    }
    list_mark(&list);
    model_store(indexed ? M_INDEX ".st-journal" : "checkpoint.st-journal", list.bytes, list.size);
}

/* What an interrupted edit has left is ended before a new index comes, and then the checkpoint is no more what is open;
 * while one is under way, or cannot be recovered, nothing is written. */
static void left_try(const char *pattern, bool indexed)
{
    left_model(indexed);
    st_checkpoint *checkpoint = model_open("");
    st_split_options options = {.max_shard_size = 4, .pattern = pattern};
    st_split *split = NULL;
    if (pattern)
        CHECK_OK(st_split_new(checkpoint, &options, &split, &error));
    const char *list = indexed ? M_INDEX ".st-journal" : "checkpoint.st-journal";
    for (int i = 0; i < 3; i++) {
        static const st_status wanted[] = {ST_ERR_IO, ST_ERR_JOURNAL, ST_ERR_CHANGED};
        char before[1024];
        size_t size;
        char *aside = model_read(ASIDE, &size);
        int fd = open(model_path(list), O_RDONLY);
        if (i == 0)
            assert_int_equal(flock(fd, LOCK_EX), 0);
        else if (i == 1)
            model_tensors(ASIDE, "x:3 c:5", NULL);
        strcpy(before, model_names(""));
        st_status status =
            split ? st_split_write(split, model_path(""), NULL)
                  : st_checkpoint_index_write(checkpoint, model_path(M_INDEX), NULL, NULL);
        assert_int_equal(status, wanted[i]);
        if (i < 2)
            assert_string_equal(model_names(""), before);
        close(fd);
        if (i < 2)
            model_store(ASIDE, aside, size);
        free(aside);
    }
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    check_list("", "0/x 0/b 1/c");
    assert_string_equal(model_names(""),
                        indexed
                            ? "m-00001-of-00002.safetensors m-00002-of-00002.safetensors " M_INDEX
                            : "m-00001-of-00002.safetensors m-00002-of-00002.safetensors");
    model_empty(model_folder);
}

static void test_left(void **state)
{
    (void)state;
    for (int indexed = 0; indexed < 2; indexed++) {
        left_try("m{suffix}.safetensors", indexed);
        left_try("other{suffix}.safetensors", indexed);
        left_try(NULL, indexed);
    }
}

static void test_refused(void **state)
{
    (void)state;
    changes_shards();
    st_checkpoint *checkpoint = model_open("");
    const st_sink_options bad = {.durability = 9};
    CHECK_ERR(st_checkpoint_index_write(checkpoint, model_path(M_INDEX), &bad, &error),
              ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_checkpoint_index_write(checkpoint, model_path("none/" M_INDEX), NULL, &error),
              ST_ERR_IO, ST_NO_OFFSET);
    CHECK_ERR(st_checkpoint_index_write(checkpoint, "", NULL, &error), ST_ERR_IO, ST_NO_OFFSET);
    assert_int_equal(mkdir(model_path(M_INDEX), 0777), 0);
    CHECK_ERR_TEXT(st_checkpoint_index_write(checkpoint, model_path(M_INDEX), NULL, &error),
                   ST_ERR_UNSUPPORTED, ST_NO_OFFSET, "no regular file");
    st_checkpoint_close(checkpoint);
    assert_string_equal(model_names(""),
                        "m-1.safetensors m-2.safetensors m-3.safetensors " M_INDEX);
}

static void test_oom(void **state)
{
    (void)state;
    changes_shards();
    st_checkpoint *checkpoint = model_open("");
    ST_OOM_LOOP(context, status)
    {
        st_error said = {.status = ST_OK};
        const st_sink_options options = {.context = context};
        status = st_checkpoint_index_write(checkpoint, model_path("i.json"), &options, &said);
        if (status != ST_OK)
            assert_non_null(strstr(said.message, model_folder));
        assert_int_equal(model_has("i.json"), status == ST_OK);
    }
    st_checkpoint_close(checkpoint);
    assert_string_equal(model_names(""), "i.json m-1.safetensors m-2.safetensors m-3.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_left, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_refused, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_oom, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("index_write", tests, NULL, NULL);
}
