/* SPDX-License-Identifier: Apache-2.0 */
/* Saves over files of which an edit in place was interrupted, or is under way. */
#include "file/left.h"

#include <sys/file.h>

static unsigned char was_at_rename[FILE_SIZE];
static bool journal_at_rename;

/* What is in the place when a new file comes. */
static int looking_renameat(int from, const char *from_path, int to, const char *to_path)
{
    int fd = open(edited_path(), O_RDONLY);
    assert_int_equal(read(fd, was_at_rename, FILE_SIZE), FILE_SIZE);
    close(fd);
    journal_at_rename = journal_exists();
    return fault_renameat(from, from_path, to, to_path);
}

static st_status replace_all(void)
{
    return save(edited_path(), NULL, old_file, sizeof old_file, NULL);
}

static void test_a_new_file_has_no_journal(void **state)
{
    (void)state;
    st__os_calls.renameat = looking_renameat;
    /* Whose bytes were not all new is put right first. */
    put_left(HOLDS_MIXED);
    assert_int_equal(replace_all(), ST_OK);
    assert_memory_equal(was_at_rename, was, FILE_SIZE);
    assert_false(journal_at_rename || journal_exists());
    assert_true(is_old());
    put_left(HOLDS_NEW);
    assert_int_equal(replace_all(), ST_OK);
    assert_memory_equal(was_at_rename, becomes, FILE_SIZE);
    assert_true(journal_at_rename && !journal_exists());
    assert_true(is_old());
    put_left(HOLDS_OTHER);
    change_inode();
    assert_int_equal(replace_all(), ST_OK);
    assert_true(is_old() && !journal_exists());
    put_left(HOLDS_OLD);
    put_file(journal_path(), "", 0);
    assert_int_equal(replace_all(), ST_OK);
    assert_true(is_old() && !journal_exists());
    /* Nor one that takes the place of none. */
    put_left(HOLDS_MIXED);
    assert_int_equal(unlink(edited_path()), 0);
    assert_int_equal(replace_all(), ST_OK);
    assert_false(journal_exists());
    /* What could not be saved leaves the old one, whole. */
    put_left(HOLDS_MIXED);
    st_sink *sink;
    CHECK_OK(st_sink_open(edited_path(), NULL, &sink, &error));
    st_sink_release(sink);
    assert_true(file_holds(was) && !journal_exists());
}

static st_status finish(st_sink *sink, st_error *error)
{
    st_status status = sink_fill(sink, old_file, sizeof old_file, error);
    if (status == ST_OK)
        status = st__sink_finish(sink, error);
    st_sink_release(sink);
    return status;
}

/* The edit that was interrupted came after the sink was opened. */
static void test_a_needed_journal_keeps_its_file(void **state)
{
    (void)state;
    st_sink *sink;
    unsigned before = count_descriptors();
    for (int what = HOLDS_OLD; what <= HOLDS_OTHER; what++) {
        put_left(what);
        assert_int_equal(unlink(journal_path()), 0);
        CHECK_OK(st_sink_open(edited_path(), NULL, &sink, &error));
        put_left(what);
        if (what == HOLDS_NEW) {
            CHECK_OK(finish(sink, &error));
            assert_true(is_old() && !journal_exists());
            continue;
        }
        CHECK_ERR_TEXT(finish(sink, &error), ST_ERR_JOURNAL, ST_NO_OFFSET,
                       what == HOLDS_OTHER ? "changed by something else" : "recover the file");
        assert_true(file_holds(holds) && journal_exists());
    }
    assert_int_equal(count_descriptors(), before);
    /* It cannot be told whether a damaged one is needed. */
    put_left(HOLDS_MIXED);
    int fd = open(journal_path(), O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, 70), 1);
    close(fd);
    CHECK_ERR(st_sink_open(edited_path(), NULL, &sink, &error), ST_ERR_JOURNAL, 64);
    assert_true(file_holds(holds) && journal_exists());
    assert_int_equal(count_descriptors(), before);
}

/* An edit over several files has a list of that name beside their index, and anybody may have a file. */
static void test_what_is_no_journal_is_left(void **state)
{
    (void)state;
    static const char *const texts[] = {"notes of mine", "\x89STX\r\n\x1a\n and so on"};
    for (int i = 0; i < 2; i++) {
        put_edited();
        put_file(journal_path(), texts[i], strlen(texts[i]));
        assert_int_equal(replace_all(), ST_OK);
        assert_true(file_is(journal_path(), texts[i], strlen(texts[i])));
    }
    assert_int_equal(unlink(journal_path()), 0);
    assert_int_equal(symlink("nowhere", journal_path()), 0);
    assert_int_equal(replace_all(), ST_OK);
    assert_true(journal_exists());
}

/* Who edits in place has it to himself. */
static void test_locked(void **state)
{
    (void)state;
    st_error said = {.status = ST_OK};
    put_left(HOLDS_MIXED);
    int fd = open(edited_path(), O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    st_sink *sink = NULL;
    assert_int_equal(st_sink_open(edited_path(), NULL, &sink, &said), ST_ERR_IO);
    assert_int_equal(said.sys_errno, EAGAIN);
    assert_true(file_holds(holds) && journal_exists());
    /* Such a journal may be of an edit that began when the sink was open already. */
    assert_int_equal(rename(journal_path(), in_scratch("kept")), 0);
    CHECK_OK(st_sink_open(edited_path(), NULL, &sink, &error));
    assert_int_equal(rename(in_scratch("kept"), journal_path()), 0);
    CHECK_ERR_TEXT(finish(sink, &error), ST_ERR_JOURNAL, ST_NO_OFFSET, "under way");
    assert_true(file_holds(holds) && journal_exists());
    /* Without one it is locked for reasons of its owner's, or by somebody who replaces it, too. */
    assert_int_equal(unlink(journal_path()), 0);
    unsigned before = count_descriptors();
    assert_int_equal(replace_all(), ST_OK);
    assert_int_equal(count_descriptors(), before);
    assert_true(is_old());
    close(fd);
}

static unsigned locked;

/* Another file comes between the opening of the old one and its lock. */
static int late_flock(int fd, int operation)
{
    if (locked++ < 3) {
        put_file(in_scratch("copy"), holds, sizeof holds);
        assert_int_equal(rename(in_scratch("copy"), edited_path()), 0);
    }
    return fault_flock(fd, operation);
}

static int always_late_flock(int fd, int operation)
{
    locked = 0;
    return late_flock(fd, operation);
}

static void test_replaced_before_it_is_locked(void **state)
{
    (void)state;
    holds_fill(HOLDS_OLD);
    unsigned before = count_descriptors();
    put_edited();
    locked = 0;
    st__os_calls.flock = late_flock;
    assert_int_equal(replace_all(), ST_OK);
    assert_true(locked >= 4 && is_old());
    st__os_calls.flock = always_late_flock;
    st_error error = {.status = ST_OK};
    assert_int_equal(save(edited_path(), NULL, new_file, sizeof new_file, &error), ST_ERR_IO);
    assert_int_equal(error.sys_errno, ESTALE);
    assert_true(file_holds(was));
    assert_int_equal(count_descriptors(), before);
}

/* The old file may be written to by all, and read by nobody. */
static int unreadable_openat(int directory, const char *path, int flags, mode_t mode)
{
    if (strcmp(path, "model.safetensors") == 0) {
        errno = EACCES;
        return -1;
    }
    return fault_openat(directory, path, flags, mode);
}

static void test_what_cannot_be_opened(void **state)
{
    (void)state;
    put_left(HOLDS_MIXED);
    st_sink *sink;
    st__os_calls.openat = unreadable_openat;
    CHECK_ERR(st_sink_open(edited_path(), NULL, &sink, &error), ST_ERR_IO, ST_NO_OFFSET);
    os_calls_restore();
    assert_int_equal(unlink(journal_path()), 0);
    CHECK_OK(st_sink_open(edited_path(), NULL, &sink, &error));
    put_left(HOLDS_MIXED);
    st__os_calls.openat = unreadable_openat;
    CHECK_ERR_TEXT(finish(sink, &error), ST_ERR_IO, ST_NO_OFFSET, "whether it is needed");
    assert_true(file_holds(holds) && journal_exists());
    os_calls_restore();
    assert_int_equal(unlink(journal_path()), 0);
    CHECK_OK(st_sink_open(edited_path(), NULL, &sink, &error));
    st__os_calls.openat = unreadable_openat;
    CHECK_OK(finish(sink, &error));
    os_calls_restore();
    assert_true(is_old());
}

/* An edit of the new file begins the moment that it is there. */
static int renameat_and_edit(int from, const char *from_path, int to, const char *to_path)
{
    int result = fault_renameat(from, from_path, to, to_path);
    unlink(journal_path());
    int other = open(in_scratch("keeps the number"), O_WRONLY | O_CREAT, 0600);
    put_file(journal_path(), "", 0);
    close(other);
    return result;
}

static void test_a_journal_that_came_meanwhile_stays(void **state)
{
    (void)state;
    put_left(HOLDS_MIXED);
    st__os_calls.renameat = renameat_and_edit;
    assert_int_equal(replace_all(), ST_OK);
    assert_true(journal_exists());
    assert_true(is_old());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_a_new_file_has_no_journal),
        CLEANED(test_a_journal_that_came_meanwhile_stays),
        CLEANED(test_a_needed_journal_keeps_its_file),
        CLEANED(test_what_is_no_journal_is_left),
        CLEANED(test_locked),
        CLEANED(test_replaced_before_it_is_locked),
        CLEANED(test_what_cannot_be_opened),
    };
    return cmocka_run_group_tests_name("takeover", tests, bytes_make, scratch_folder_drop);
}
