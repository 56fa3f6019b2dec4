/* SPDX-License-Identifier: Apache-2.0 */
/* Telling what interrupted edits have left, which changes nothing. */
#include "checkpoint/list.h"
#include "checkpoint/seen.h"
#include "support/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

static void check_seen(const char *name, unsigned action, uint64_t files, uint64_t left)
{
    left_seen seen = seen_by(name);
    seen_check(&seen, action, CHANGES_INDEX);
    assert_int_equal(seen.last.files, files);
    assert_int_equal(seen.last.left, left);
}

static void test_nothing(void **state)
{
    (void)state;
    changes_model();
    assert_int_equal(seen_by("").count, 0);
    assert_int_equal(seen_by(CHANGES_INDEX).count, 0);
    assert_int_equal(seen_by("m-1.safetensors").count, 0);
    /* An index need not be readable. */
    model_text("other.json", "none");
    assert_int_equal(seen_by("other.json").count, 0);
    CHECK_OK(st_checkpoint_recovery_look(model_path(""), NULL, NULL, NULL, &error));
}

/* From the first file that takes its place to the last that goes. */
static void test_forward(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    list_store(&list);
    for (int by_index = 0; by_index < 2; by_index++)
        check_seen(by_index ? CHANGES_INDEX : "", ST_RECOVERY_FORWARD, 3, 3);
    assert_int_equal(rename(model_path(ASIDE), model_path("m-1.safetensors")), 0);
    check_seen("", ST_RECOVERY_FORWARD, 3, 2);
    assert_int_equal(rename(model_path(INDEX_ASIDE), model_path(CHANGES_INDEX)), 0);
    check_seen(CHANGES_INDEX, ST_RECOVERY_FORWARD, 3, 1);
    assert_int_equal(unlink(model_path("m-3.safetensors")), 0);
    check_seen("", ST_RECOVERY_FORWARD, 3, 0);
    CHECK_OK(st_checkpoint_recover(model_path(""), NULL, NULL, &error));
    assert_int_equal(seen_by("").count, 0);
}

/* Not finished, empty, or given up. */
static void test_unfinished(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    const size_t sizes[] = {list.mark, ST__EXCHANGE_HEAD, 0};
    for (size_t i = 0; i < 3; i++) {
        list.size = sizes[i];
        list_store(&list);
        check_seen(i % 2 ? CHANGES_INDEX : "", ST_RECOVERY_UNFINISHED, i == 0 ? 3 : 0, 0);
    }
    list_of_model(&list);
    list_store(&list);
    assert_int_equal(unlink(model_path(ASIDE)), 0);
    assert_int_equal(unlink(model_path(INDEX_ASIDE)), 0);
    check_seen("", ST_RECOVERY_UNFINISHED, 3, 0);
}

/* Looks at what cannot be recovered. */
static void check_why(st_status status, uint64_t offset, const char *text)
{
    left_seen seen = seen_by("");
    seen_check(&seen, SEEN_WHY, CHANGES_INDEX);
    assert_true(seen.last.files == 0 && seen.last.left == 0);
    check_error(CHECK_PLACE("why"), seen.why.status, &seen.why, status, offset, text);
}

static void test_why(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    list.bytes[ST__EXCHANGE_HEAD] ^= 0x80;
    list_store(&list);
    check_why(ST_ERR_JOURNAL, ST__EXCHANGE_HEAD, LIST);
    model_text(LIST, "something else that somebody keeps here");
    check_why(ST_ERR_JOURNAL, 0, "no list of an edit");
    list_of_model(&list);
    list_store(&list);
    model_tensors("m-1.safetensors", "a:3 c:5", NULL);
    check_why(ST_ERR_JOURNAL, ST_NO_OFFSET, "was changed by something else");
    list_of_model(&list);
    list.size = list.mark;
    list_store(&list);
    assert_int_equal(rename(model_path(ASIDE), model_path("m-1.safetensors")), 0);
    check_why(ST_ERR_JOURNAL, ST_NO_OFFSET, "it has no end");
    assert_int_equal(unlink(model_path(LIST)), 0);
    assert_int_equal(symlink("elsewhere", model_path(LIST)), 0);
    check_why(ST_ERR_JOURNAL, ST_NO_OFFSET, "symbolic link");
}

/* An edit that is under way looks like one that was interrupted, or says that it is. */
static void test_under_way(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    list_store(&list);
    int fd = open(model_path(LIST), O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    check_seen("", ST_RECOVERY_FORWARD, 3, 3);
    assert_int_equal(unlink(model_path(ASIDE)), 0);
    check_why(ST_ERR_IO, ST_NO_OFFSET, "is under way");
    left_seen seen = seen_by("");
    assert_int_equal(seen.why.sys_errno, EAGAIN);
    close(fd);
    check_why(ST_ERR_JOURNAL, ST_NO_OFFSET, "was changed by something else");
}

/* Looking leaves nothing locked. */
static void test_no_lock_is_left(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    list_store(&list);
    check_seen("", ST_RECOVERY_FORWARD, 3, 3);
    model_tensors("m-1.safetensors", "a:3 c:5", NULL);
    check_why(ST_ERR_JOURNAL, ST_NO_OFFSET, "was changed by something else");
    int fd = open(model_path(LIST), O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

/* Lists come first, then files; one that cannot be recovered does not end it. */
static void test_order(void **state)
{
    (void)state;
    changes_model();
    model_text(LIST, "");
    model_text("a.json.st-journal", "what somebody keeps here, and no edit has made");
    model_text("m-1.safetensors.st-journal", "what somebody keeps here, and no edit has made");
    model_text("m-2.safetensors.st-journal", "");
    model_text("gone.safetensors.st-journal", "");
    model_text("file.st-journal", "");
    left_seen seen = seen_by("");
    assert_int_equal(seen.count, 4);
    const char *wanted[] = {"*a.json:100", "*" CHANGES_INDEX ":1", "m-1.safetensors:100",
                            "m-2.safetensors:1"};
    const char *at[4];
    for (size_t i = 0; i < 4; i++) {
        at[i] = strstr(seen.all, wanted[i]);
        assert_non_null(at[i]);
    }
    assert_true((at[0] < at[2] && at[1] < at[2]) && (at[0] < at[3] && at[1] < at[3]));
    seen = seen_by(CHANGES_INDEX);
    assert_string_equal(seen.all, "*" CHANGES_INDEX ":1 m-1.safetensors:100 m-2.safetensors:1");
    seen = seen_by("m-2.safetensors");
    assert_string_equal(seen.all, "m-2.safetensors:1");
    assert_false(seen.last.several);
    assert_string_equal(seen.path, model_path("m-2.safetensors"));
    /* A file may be called as anything. */
    model_tensors("file", "a:3", NULL);
    assert_string_equal(seen_by("file").all, "file:1");
}

/* Of a folder it is called as the folder was; of an index the files may lie in folders below. */
static void test_paths(void **state)
{
    (void)state;
    list_bytes list;
    changes_shards();
    model_tensors(ASIDE, "x:3 b:5", NULL);
    st__exchange_record first = takes("m-1.safetensors", ASIDE);
    list_start(&list);
    list_record(&list, &first);
    list_mark(&list);
    model_store("checkpoint.st-journal", list.bytes, list.size);
    left_seen seen = seen_by("");
    seen_check(&seen, ST_RECOVERY_FORWARD, "");
    assert_true(seen.last.files == 1 && seen.last.left == 1);
    model_empty(model_folder);
    assert_int_equal(mkdir(model_path("below"), 0777), 0);
    model_tensors("below/m.safetensors", "a:3", NULL);
    model_text("below/m.safetensors.st-journal", "");
    model_text("map", "{\"a\":\"below/m.safetensors\"}");
    model_text("map.st-journal", "");
    /* What is not called as an index, and has no list that tells otherwise, is a file. */
    assert_string_equal(seen_by("map").all, "map:1");
    assert_int_equal(rename(model_path("map"), model_path("map.json")), 0);
    assert_string_equal(seen_by("map.json").all, "m.safetensors:1");
}

/* Of a folder: files that its names lead to, or those that its index has, and what else has a journal in it. */
static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *journal, *seen;
    } cases[] = {
        {"links", "real/x.safetensors.st-journal", "x.safetensors:1"},
        {"shards", "shards/a/x.safetensors.st-journal", "x.safetensors:1"},
        {"shards", "shards/alone.safetensors.st-journal", "alone.safetensors:1"},
        {"other", "other/model.st.st-journal", "model.st:1"},
        {"other", "other/checkpoint.st-journal", "checkpoint:1"},
        {"other", "real/x.safetensors.st-journal", ""},
    };
    static const char *const folders[] = {"real", "links", "shards", "shards/a", "other"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(mkdir(model_path(folders[i]), 0777), 0);
    model_tensors("real/x.safetensors", "a:3", NULL);
    assert_int_equal(symlink("../real/x.safetensors", model_path("links/x.safetensors")), 0);
    assert_int_equal(symlink("nowhere", model_path("links/y.safetensors")), 0);
    model_tensors("shards/a/x.safetensors", "a:3", NULL);
    model_tensors("shards/alone.safetensors", "a:3", NULL);
    model_text("shards/" CHANGES_INDEX, "{\"weight_map\":{\"a\":\"a/x.safetensors\"}}");
    model_tensors("other/model.st", "a:3", NULL);
    model_tensors("other/checkpoint", "a:3", NULL);
    assert_int_equal(mkdir(model_path("other/folder.safetensors"), 0777), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = model_path(cases[i].folder);
        model_text(cases[i].journal, "");
        assert_string_equal(seen_by(cases[i].folder).all, cases[i].seen);
        /* Nobody need be told. */
        CHECK_OK(st_checkpoint_recovery_look(path, NULL, NULL, NULL, &error));
        assert_true(model_has(cases[i].journal));
        CHECK_OK(st_checkpoint_recover(path, NULL, NULL, &error));
        assert_int_equal(model_has(cases[i].journal), cases[i].seen[0] == '\0');
    }
}

static void test_refusals(void **state)
{
    (void)state;
    left_seen seen = {.stop_at = 1};
    static const char *const none[] = {"none/x", "none/m.json", "none.safetensors", "none.json",
                                       "none"};
    for (size_t i = 0; i < 5; i++) {
        const char *path = model_path(none[i]);
        st_error said;
        assert_int_equal(st_checkpoint_recover(path, NULL, NULL, &said), ST_ERR_IO);
        assert_int_equal(said.sys_errno, ENOENT);
        CHECK_ERR_TEXT(st_checkpoint_recovery_look(path, NULL, seen_take, &seen, &error), ST_ERR_IO,
                       ST_NO_OFFSET, model_folder);
        assert_int_equal(st_checkpoint_recovery_look(path, NULL, seen_take, &seen, NULL),
                         ST_ERR_IO);
    }
    assert_int_equal(seen.count, 0);
    changes_model();
    model_text(LIST, "");
    model_text("m-1.safetensors.st-journal", "");
    for (unsigned stop = 1; stop < 4; stop++) {
        seen = (left_seen){.stop_at = stop};
        if (stop < 3)
            CHECK_ERR_TEXT(
                st_checkpoint_recovery_look(model_path(""), NULL, seen_take, &seen, &error),
                ST_ERR_STOPPED, ST_NO_OFFSET, model_folder);
        else
            CHECK_OK(st_checkpoint_recovery_look(model_path(""), NULL, seen_take, &seen, &error));
        assert_int_equal(seen.count, stop < 3 ? stop : 2);
    }
}

static void test_oom(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    list_store(&list);
    CHECK_OK(st_checkpoint_recovery_look(model_path(""), NULL, NULL, NULL, &error));
    assert_string_equal(model_names(""), ALL_NAMES);
    model_text("m-2.safetensors.st-journal", "");
    for (int i = 0; i < 3; i++) {
        const char *name = i == 0 ? "" : i == 1 ? CHANGES_INDEX : "m-2.safetensors";
        ST_OOM_LOOP(context, status)
        {
            left_seen seen = {.count = 0};
            st_error said = {.status = ST_OK};
            status =
                st_checkpoint_recovery_look(model_path(name), context, seen_take, &seen, &said);
            if (status != ST_OK)
                assert_non_null(strstr(said.message, model_folder));
            else
                assert_int_equal(seen.count, i < 2 ? 2 : 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_forward, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_unfinished, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_why, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_under_way, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_no_lock_is_left, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_order, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_paths, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_files, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_oom, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("checkpoint_recover", tests, NULL, NULL);
}
