/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of edits over several files that are damaged, or say what no edit says: nothing is changed by them. */
#include "checkpoint/list.h"
#include "checkpoint/seen.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

static bool is_carried_out(void)
{
    return strcmp(model_names(""), "m-1.safetensors m-2.safetensors " CHANGES_INDEX) == 0;
}

static void test_whole(void **state)
{
    (void)state;
    list_bytes list;
    bool changed = false;
    list_of_model(&list);
    list_store(&list);
    assert_string_equal(model_names(""), ALL_NAMES);
    CHECK_OK(st_checkpoint_recover(model_path(CHANGES_INDEX), NULL, &changed, &error));
    assert_true(changed);
    assert_true(is_carried_out());
    check_text(CHANGES_INDEX, "{\"weight_map\":{\"x\":\"m-1.safetensors\"}}");
    CHECK_OK(st_checkpoint_recover(model_path(CHANGES_INDEX), NULL, &changed, &error));
    assert_false(changed);
}

/* Recovers by a list that is not as it was written; true: it was refused. */
static bool damaged_try(const list_bytes *damaged, st_error *said)
{
    bool changed = false;
    list_store(damaged);
    left_seen seen = seen_by("");
    st_status status = st_checkpoint_recover(model_path(""), NULL, &changed, said);
    check_text(CHANGES_INDEX, CHANGES_TEXT);
    assert_false(changed);
    assert_true(status == ST_OK || status == ST_ERR_JOURNAL);
    assert_true(model_has(LIST) == (status != ST_OK));
    seen_check(&seen, status != ST_OK ? SEEN_WHY : ST_RECOVERY_UNFINISHED, CHANGES_INDEX);
    if (status != ST_OK) {
        assert_int_equal(seen.why.status, said->status);
        assert_true(seen.why.offset == said->offset);
        assert_string_equal(seen.why.message, said->message);
    }
    return status != ST_OK;
}

/* Any byte of it is another one. */
static void test_damaged(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    for (size_t at = 0; at < 3 * list.size; at++) {
        static const unsigned char masks[] = {0x80, 0x20};
        st_error said = {.status = ST_OK};
        list_bytes damaged = list;
        damaged.bytes[at / 3] ^= (unsigned char)(at % 3 < 2 ? masks[at % 3] : 1u << at / 3 % 8);
        assert_true(damaged_try(&damaged, &said));
        assert_true(said.offset <= at / 3);
        assert_string_equal(model_names(""), ALL_NAMES);
    }
}

/* It ends anywhere: it never held. What it still names is gone with it. */
static void test_cut_short(void **state)
{
    (void)state;
    list_bytes list;
    st_error said;
    list_of_model(&list);
    const st__exchange_record of = {.name = key_of("m-1.safetensors"), .aside = key_of(ASIDE)};
    const size_t second = ST__EXCHANGE_HEAD + st__exchange_record_size(&of);
    for (size_t size = 0; size < list.mark + ST__EXCHANGE_MARK; size++) {
        list_of_model(&list);
        list.size = size;
        assert_false(damaged_try(&list, &said));
        assert_true(model_has(ASIDE) == (size < second));
    }
    /* Nothing of what comes behind reached the disk. */
    for (size_t size = 0; size < list.mark; size += 8) {
        list_of_model(&list);
        memset(list.bytes + size, 0, list.size - size);
        list_store(&list);
        bool whole = size % ST__EXCHANGE_UNIT == 0 && (size <= ST__EXCHANGE_HEAD || size == second);
        st_status status = st_checkpoint_recover(model_path(""), NULL, NULL, &said);
        assert_true(whole ? status == ST_OK : status == ST_OK || status == ST_ERR_JOURNAL);
        check_text(CHANGES_INDEX, CHANGES_TEXT);
    }
}

/* Bytes behind the mark, and a mark of other records, with right sums. */
static void test_mark(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    list.bytes[list.size] = 0;
    list.size++;
    list_store(&list);
    CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL,
                   list.size - 1, "behind its end");
    list.size--;
    st__exchange_mark_emit(2, st__checksum(ST__CHECKSUM_NONE, list.bytes, list.mark),
                           list.bytes + list.mark);
    list_store(&list);
    CHECK_ERR(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL, list.mark);
    /* Of another version. */
    list_start(&list);
    list.bytes[8] = 2;
    st__store_le64(list.bytes + 24, st__checksum(ST__CHECKSUM_NONE, list.bytes, 24));
    list_store(&list);
    CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL, 8,
                   "version");
    model_text(LIST, "something else that somebody keeps here");
    CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL, 0,
                   "no list of an edit");
    assert_string_equal(model_names(""), ALL_NAMES);
}

/* What a list of a stranger's may say, with right sums: a path out of the folder, a file that is no new one of an edit. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *aside;
    } bad[] = {{"../m-1.safetensors", ASIDE},
               {"/tmp/m-1.safetensors", ASIDE},
               {"m-1.txt", ASIDE},
               {"..", ASIDE},
               {"other.safetensors.index.json", ASIDE},
               {"m-1.safetensors", "m-2.safetensors"},
               {"m-1.safetensors", "../" ASIDE},
               {"m-1.safetensors", ".m-1-part.0123456789abcdeg.tmp"},
               {"m-1.safetensors", ".m-1-part.0123456789ABCDEF.tmp"},
               {"m-1.safetensors", ".x/-part.0123456789abcdef.tmp"},
               {"m-1.safetensors", ""}};
    list_bytes list;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        list_of_model(&list);
        st__exchange_record record = takes(bad[i].name, bad[i].aside);
        list_start(&list);
        list_record(&list, &record);
        list_mark(&list);
        list_store(&list);
        CHECK_ERR(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL,
                  ST__EXCHANGE_HEAD);
        assert_string_equal(model_names(""), ALL_NAMES);
    }
}

/* Records that no edit puts so, with right sums. */
static void test_records(void **state)
{
    (void)state;
    list_bytes list;
    for (int i = 0; i < 5; i++) {
        list_of_model(&list);
        st__exchange_record first = takes("m-1.safetensors", ASIDE), second = first;
        if (i == 1) {
            first = takes(CHANGES_INDEX, INDEX_ASIDE); /* behind which nothing takes a place */
        } else if (i == 2) {
            first.kind = ST__EXCHANGE_GOES; /* and has a new file */
        } else if (i == 3) {
            first = (st__exchange_record){.name = key_of("m-3.safetensors"),
                                          .kind = ST__EXCHANGE_GOES,
                                          .old = known_of("m-3.safetensors")};
        } else if (i == 4) {
            first.kind = 3;
        }
        list_start(&list);
        list_record(&list, &first);
        size_t at = i == 2 || i == 4 ? ST__EXCHANGE_HEAD : list.size;
        list_record(&list, &second);
        if (i == 0)
            at = list.size; /* a place twice */
        list_mark(&list);
        if (i == 0)
            at = list.size;
        list_store(&list);
        CHECK_ERR(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL, at);
        assert_string_equal(model_names(""), ALL_NAMES);
    }
}

/* A list of a stranger's, which leads out of the folder through a link of his. */
static void test_goes_behind_link(void **state)
{
    (void)state;
    list_bytes list;
    changes_model();
    assert_int_equal(mkdir(model_path("mine"), 0777), 0);
    assert_int_equal(mkdir(model_path("below"), 0777), 0);
    model_tensors("mine/m.safetensors", "a:3", NULL);
    model_tensors("below/m.safetensors", "a:3", NULL);
    assert_int_equal(symlink("mine", model_path("sub")), 0);
    for (int i = 0; i < 2; i++) {
        st__exchange_record record = {.name =
                                          key_of(i ? "below/m.safetensors" : "sub/m.safetensors"),
                                      .kind = ST__EXCHANGE_GOES};
        record.old = known_of(record.name.text);
        list_start(&list);
        list_record(&list, &record);
        list_mark(&list);
        list_store(&list);
        if (i)
            CHECK_OK(st_checkpoint_recover(model_path(""), NULL, NULL, &error));
        else
            CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error),
                           ST_ERR_JOURNAL, ST_NO_OFFSET, "behind a link");
        assert_string_equal(model_names("mine"), "m.safetensors");
    }
    assert_string_equal(model_names("below"), "");
}

/* Two places that are one, by a link or by other names of one folder. */
static void test_one_place(void **state)
{
    (void)state;
    static const char *const names[] = {"m-2.safetensors", "./m-1.safetensors"};
    list_bytes list;
    list_of_model(&list);
    assert_int_equal(unlink(model_path("m-2.safetensors")), 0);
    assert_int_equal(symlink("m-1.safetensors", model_path("m-2.safetensors")), 0);
    for (size_t i = 0; i < 2; i++) {
        st__exchange_record first = takes("m-1.safetensors", ASIDE),
                            second = takes(names[i], ASIDE);
        list_start(&list);
        list_record(&list, &first);
        list_record(&list, &second);
        list_mark(&list);
        list_store(&list);
        CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL,
                       ST_NO_OFFSET, "lead to one file");
        assert_string_equal(model_names(""), ALL_NAMES);
    }
}

/* What is left under another name may be of the same files: it is ended before any edit, which then finds others. */
static void test_other_lists(void **state)
{
    (void)state;
    list_bytes list;
    for (int i = 0; i < 3; i++) {
        st_checkpoint_edit *edit;
        st_error said;
        list_of_model(&list);
        st_checkpoint *checkpoint = model_open("m-2.safetensors");
        CHECK_OK(st_checkpoint_index_write(checkpoint, model_path("other.json"), NULL, &error));
        st_checkpoint_close(checkpoint);
        checkpoint = model_open("other.json");
        model_text("strange.json.st-journal", "what somebody keeps here, and no edit has made");
        CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
        CHECK_OK(changes_list(edit, checkpoint, i ? "p:c" : "r:c=y", &error));
        list_store(&list);
        int fd = open(model_path(LIST), O_RDONLY);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        for (int locked = 1; locked >= 0; locked--) {
            st_status status = i == 1 ? st_checkpoint_edit_write_in_place(edit, NULL, &said)
                                      : st_checkpoint_edit_write(edit, NULL, NULL, NULL, &said);
            assert_int_equal(status, locked ? ST_ERR_IO : ST_OK);
            assert_true(!locked || said.sys_errno == EAGAIN);
            assert_int_equal(model_has(LIST), locked);
            assert_int_equal(model_has(ASIDE), locked);
            if (locked)
                close(fd);
        }
        check_text(CHANGES_INDEX, "{\"weight_map\":{\"x\":\"m-1.safetensors\"}}");
        check_list("other.json", i ? "0/c" : "0/y");
        st_checkpoint_edit_free(edit);
        st_checkpoint_close(checkpoint);
        model_empty(model_folder);
    }
}

/* Files that are not those that the list knows. */
static void test_strange_files(void **state)
{
    (void)state;
    list_bytes list;
    for (int i = 0; i < 6; i++) {
        list_of_model(&list);
        list_store(&list);
        const struct timespec times[2] = {{1000, 0}, {1000, 0}};
        switch (i) {
        case 0: model_tensors("m-1.safetensors", "a:3 c:5", NULL); break;
        case 1: model_tensors(ASIDE, "x:3 c:5", NULL); break;
        case 2: model_tensors("m-3.safetensors", "e:2", NULL); break;
        case 3: /* its bytes may be other ones behind the header */
            assert_int_equal(utimensat(AT_FDCWD, model_path("m-1.safetensors"), times, 0), 0);
            break;
        case 4: assert_int_equal(unlink(model_path("m-1.safetensors")), 0); break;
        default: assert_int_equal(unlink(model_path(INDEX_ASIDE)), 0); break;
        }
        char before[1024];
        strcpy(before, model_names(""));
        CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL,
                       ST_NO_OFFSET, "was changed by something else");
        assert_string_equal(model_names(""), before);
        check_text(CHANGES_INDEX, CHANGES_TEXT);
        if (i == 0) {
            changes_way way = {.in_place = false};
            CHECK_ERR(changes_apply("m-2.safetensors", "r:c=y", &way, &error), ST_OK, 0);
        }
        model_empty(model_folder);
    }
}

/* Lists that are to be left alone. */
static void test_strange_lists(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    model_store("elsewhere", list.bytes, list.size);
    assert_int_equal(symlink("elsewhere", model_path(LIST)), 0);
    CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL,
                   ST_NO_OFFSET, "symbolic link");
    assert_int_equal(unlink(model_path(LIST)), 0);
    assert_int_equal(mkdir(model_path(LIST), 0777), 0);
    CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL,
                   ST_NO_OFFSET, "no regular file");
    assert_int_equal(rmdir(model_path(LIST)), 0);
    /* An edit that is under way has it locked. */
    list_store(&list);
    int fd = open(model_path(LIST), O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_IO,
                   ST_NO_OFFSET, "is under way");
    changes_way way = {.in_place = false};
    CHECK_ERR_TEXT(changes_apply("", "r:a=q", &way, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "is under way");
    close(fd);
    CHECK_OK(st_checkpoint_recover(model_path(""), NULL, NULL, &error));
    assert_int_equal(unlink(model_path("elsewhere")), 0);
    assert_true(is_carried_out());
}

/* Given up: the new files are gone, and the list came back. */
static void test_untouched(void **state)
{
    (void)state;
    list_bytes list;
    bool changed = true;
    list_of_model(&list);
    list_store(&list);
    assert_int_equal(unlink(model_path(ASIDE)), 0);
    assert_int_equal(unlink(model_path(INDEX_ASIDE)), 0);
    CHECK_OK(st_checkpoint_recover(model_path(""), NULL, &changed, &error));
    assert_false(changed);
    assert_string_equal(model_names(""), CHANGES_NAMES);
    check_text(CHANGES_INDEX, CHANGES_TEXT);
}

/* One without an end, of which a file took its place all the same, was not left so by an edit. */
static void test_end_missing(void **state)
{
    (void)state;
    list_bytes list;
    list_of_model(&list);
    list.size = list.mark;
    list_store(&list);
    assert_int_equal(rename(model_path(ASIDE), model_path("m-1.safetensors")), 0);
    CHECK_ERR_TEXT(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_JOURNAL,
                   ST_NO_OFFSET, "it has no end");
    assert_true(model_has(LIST) && model_has(INDEX_ASIDE));
}

/* A folder without an index has its list under a name of its own. */
static void test_without_an_index(void **state)
{
    (void)state;
    list_bytes list;
    bool changed = false;
    changes_shards();
    model_tensors(ASIDE, "x:3 b:5", NULL);
    st__exchange_record first = takes("m-1.safetensors", ASIDE);
    list_start(&list);
    list_record(&list, &first);
    list_mark(&list);
    model_store("checkpoint.st-journal", list.bytes, list.size);
    CHECK_OK(st_checkpoint_recover(model_path(""), NULL, &changed, &error));
    assert_true(changed);
    assert_string_equal(model_names(""), "m-1.safetensors m-2.safetensors m-3.safetensors");
}

/* An index may be called as anything; a file of such a name may have a journal. */
static void test_other_names(void **state)
{
    (void)state;
    list_bytes list;
    bool changed = false;
    changes_shards();
    model_tensors(ASIDE, "x:3 b:5", NULL);
    st__exchange_record first = takes("m-1.safetensors", ASIDE);
    list_start(&list);
    list_record(&list, &first);
    list_mark(&list);
    model_text("map", "{\"c\":\"m-2.safetensors\"}");
    model_store("map.st-journal", list.bytes, list.size);
    CHECK_OK(st_checkpoint_recover(model_path("map"), NULL, &changed, &error));
    assert_true(changed && !model_has("map.st-journal"));
    model_tensors("file", "a:3", NULL);
    model_text("file.st-journal", "");
    for (int i = 0; i < 2; i++) {
        model_text("file.st-journal", "");
        CHECK_OK(st_checkpoint_recover(model_path(i ? "file" : ""), NULL, &changed, &error));
        assert_true(!changed && !model_has("file.st-journal"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_damaged, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_cut_short, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_mark, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_names, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_records, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_goes_behind_link, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_one_place, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_other_lists, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_strange_files, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_strange_lists, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_untouched, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_end_missing, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_other_names, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_without_an_index, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("checkpoint_exchange", tests, NULL, NULL);
}
