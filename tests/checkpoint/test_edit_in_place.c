/* SPDX-License-Identifier: Apache-2.0 */
/* Edits of checkpoints where their files are. */
#include "checkpoint/changes.h"
#include "support/oom.h"

static void test_in_place(void **state)
{
    (void)state;
    changes_model();
    changes_way way = {.in_place = true};
    ino_t before = inode_of("m-3.safetensors");
    CHECK_OK(changes_apply("", "p:a p:d", &way, &error));
    assert_true(inode_of("m-3.safetensors") == before);
    check_bytes("", "a", '!', 3);
    check_bytes("", "b", 'b', 5);
    check_bytes("", "d", '!', 2);
    assert_int_equal(way.done.replaced, 2);
    assert_string_equal(model_names(""), CHANGES_NAMES);
    CHECK_ERR_TEXT(changes_apply("", "p:d r:a=x", &way, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "write them anew");
    /* The last file has no room: the first is not changed. */
    CHECK_ERR_TEXT(changes_apply("", "p:b d:d", &way, &error), ST_ERR_NO_ROOM, ST_NO_OFFSET,
                   "m-3.safetensors");
    check_bytes("", "b", 'b', 5);
    check_text(CHANGES_INDEX, CHANGES_TEXT);
    /* Without an index names may change. */
    assert_int_equal(unlink(model_path(CHANGES_INDEX)), 0);
    CHECK_OK(changes_apply("", "r:a=x r:c=y", &way, &error));
    check_list("", "0/x 0/b 1/y 2/d");
    told all = {.calls = 0};
    way.edit.progress = (st_progress){tell, &all};
    CHECK_OK(changes_apply("", "p:x p:y", &way, &error));
    assert_int_equal(all.done, 7);
    assert_int_equal(all.total, 7);
}

/* As many bytes can be another number of elements, which only some indices count. */
static void test_in_place_elements(void **state)
{
    (void)state;
    static const uint16_t numbers[] = {0x2121, 0x2121};
    uint64_t count = 2;
    st_array array = {
        .data = (void *)(uintptr_t)numbers, .shape = &count, .ndim = 1, .dtype = ST_U16};
    changes_way room = {.edit.reserve = 64};
    changes_model();
    CHECK_OK(changes_apply("", "", &room, &error));
    for (int counted = 1; counted >= 0; counted--) {
        st_checkpoint_edit *edit;
        if (!counted)
            model_text(CHANGES_INDEX, "{\"c\":\"m-2.safetensors\"}");
        st_checkpoint *checkpoint = model_open("");
        st_checkpoint_tensor c = tensor_of(checkpoint, "c", 1);
        CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
        CHECK_OK(
            st_edit_replace(st_checkpoint_edit_at(edit, c.file_index), c.tensor, &array, &error));
        CHECK_OK(
            st_edit_rename(st_checkpoint_edit_at(edit, c.file_index), c.tensor, "c", 1, &error));
        st_edit_summary done;
        if (counted)
            CHECK_ERR_TEXT(in_place_apply(edit, &done, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                           "the number of elements");
        else
            CHECK_OK(in_place_apply(edit, &done, &error));
        st_checkpoint_edit_free(edit);
        st_checkpoint_close(checkpoint);
    }
}

/* To look takes nothing but memory, and changes nothing. */
static void test_look(void **state)
{
    (void)state;
    changes_model();
    model_text("m-2.safetensors.st-journal", "no journal");
    st_checkpoint *checkpoint = model_open("");
    st_checkpoint_tensor a = tensor_of(checkpoint, "a", 1), c = tensor_of(checkpoint, "c", 1);
    uint64_t count = 3;
    char bytes[] = "!!!";
    st_array array = {.data = bytes, .shape = &count, .ndim = 1, .dtype = ST_U8};
    st_edit_summary looked = {0};
    ST_OOM_LOOP(context, status)
    {
        st_checkpoint_edit *edit = NULL;
        status =
            st_checkpoint_edit_new(checkpoint, &(st_edit_options){.context = context}, &edit, NULL);
        if (status == ST_OK)
            status =
                st_edit_replace(st_checkpoint_edit_at(edit, a.file_index), a.tensor, &array, NULL);
        if (status == ST_OK)
            status = st_checkpoint_edit_look_in_place(edit, &looked, NULL);
        st_checkpoint_edit_free(edit);
    }
    assert_true(looked.in_place);
    assert_int_equal(looked.replaced, 1);
    st_checkpoint_edit *edit;
    CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
    CHECK_OK(st_checkpoint_edit_look_in_place(edit, NULL, &error));
    CHECK_OK(st_edit_rename(st_checkpoint_edit_at(edit, c.file_index), c.tensor, "a", 1, &error));
    CHECK_ERR(st_checkpoint_edit_look_in_place(edit, &looked, &error), ST_ERR_NAME_DUPLICATE,
              ST_NO_OFFSET);
    assert_int_equal(looked.replaced, 1);
    st_checkpoint_edit_free(edit);
    st_checkpoint_close(checkpoint);
    check_bytes("", "a", 'a', 3);
    check_text(CHANGES_INDEX, CHANGES_TEXT);
}

/* A failure says what was changed before it. */
static void test_in_place_fails(void **state)
{
    (void)state;
    changes_model();
    model_text("m-2.safetensors.st-journal", "no journal");
    changes_way way = {.in_place = true};
    CHECK_ERR_TEXT(changes_apply("", "p:a p:c", &way, &error), ST_ERR_JOURNAL, 0,
                   "; changed before it, 1: \"m-1.safetensors\"");
    check_bytes("", "a", '!', 3);
    check_bytes("", "c", 'c', 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_place, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_in_place_elements, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_look, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_in_place_fails, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("checkpoint_edit_in_place", tests, NULL, NULL);
}
