/* SPDX-License-Identifier: Apache-2.0 */
/* A process that edits in place is killed before each of its system calls in turn, and in the middle of each of its
 * writes. What is left then is put right: by st_edit_recover, by the next edit in place, or by one of them that was
 * itself killed before. The file holds the old bytes, or the new ones, and never anything else. */
#include "file/in_place.h"

#include <sys/wait.h>

/* Runs `work` in a process of its own with a fault planted; tells whether that killed it. */
static bool is_killed(st_status (*work)(void), int cut, unsigned n)
{
    int result = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (cut)
            os_plant_cut(cut, n);
        else
            os_plant_kill(n);
        _exit(work() == ST_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &result, 0), pid);
    if (WIFSIGNALED(result)) {
        assert_int_equal(WTERMSIG(result), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(result), 0);
    return false;
}

static st_status edit_work(void)
{
    return edit_all(NULL, NULL);
}

static st_status recover_work(void)
{
    return st_edit_recover(edited_path(), NULL, NULL, NULL);
}

/* How often each thing was found to be done: by the names of ST_RECOVERY_…. */
static unsigned seen[5];

static void kill_everywhere(int cut)
{
    bool was_new = false;
    unsigned n = 0;
    for (bool killed = true; killed;) {
        put_edited();
        killed = is_killed(edit_work, cut, ++n);
        uint32_t action = recover_fully();
        seen[action]++;
        /* Once all is overwritten it stays so. */
        assert_true(is_new() || !was_new);
        assert_true(killed || (is_new() && action == ST_RECOVERY_NONE));
        was_new = is_new();
    }
    assert_true(n > 20);
}

static void test_kill(void **state)
{
    (void)state;
    memset(seen, 0, sizeof seen);
    kill_everywhere(0);
    assert_true(seen[ST_RECOVERY_NONE] > 3 && seen[ST_RECOVERY_UNFINISHED] > 5);
    assert_true(seen[ST_RECOVERY_BACK] > 3 && seen[ST_RECOVERY_FORWARD] > 0);
    assert_int_equal(seen[ST_RECOVERY_FOREIGN], 0);
}

static void test_writes_cut_short(void **state)
{
    (void)state;
    for (int cut = OS_CUT_NOTHING; cut <= OS_CUT_ALL; cut++)
        kill_everywhere(cut);
}

/* The edit that comes next was made before the crash: it recovers, and then finds that its file has changed. */
static void test_next_edit(void **state)
{
    (void)state;
    unsigned changed = 0, went_on = 0, n = 0;
    for (bool killed = true; killed;) {
        st_file *file;
        st_edit *edit;
        put_edited();
        CHECK_OK(st_file_open(edited_path(), NULL, &file, &error));
        CHECK_OK(edit_make(file, NULL, &edit, &error));
        killed = is_killed(edit_work, OS_CUT_HALF, ++n);
        bool touched = !is_old();
        st_status status = st_edit_write_in_place(edit, edited_path(), NULL, NULL);
        if (status == ST_ERR_CHANGED)
            assert_true(is_old() || is_new());
        else
            assert_true(status == ST_OK && !touched && is_new());
        changed += status == ST_ERR_CHANGED;
        went_on += status == ST_OK;
        assert_false(journal_exists());
        st_edit_free(edit);
        st_file_close(file);
    }
    assert_true(changed > 5 && went_on > 5);
}

/* -------------------------------------------------------------------- killed while recovering */

static unsigned char left_file[IN_PLACE_SIZE], left_journal[16384];
static size_t left_size; /* of the journal */

static size_t bytes_of(const char *path, unsigned char *out, size_t room)
{
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, out, room);
    assert_true(got >= 0 && (size_t)got < room + (room == IN_PLACE_SIZE));
    if (fd >= 0)
        close(fd);
    return (size_t)got;
}

/* As it was left, in the same inode. */
static void put_left(void)
{
    put_file(edited_path(), left_file, sizeof left_file);
    put_file(journal_path(), left_journal, left_size);
}

static void recover_killed(int cut)
{
    unsigned m = 0;
    for (bool killed = true; killed;) {
        put_left();
        killed = is_killed(recover_work, cut, ++m);
        (void)recover_fully();
        assert_true(is_old());
    }
    assert_true(m > 20);
}

static void test_killed_while_recovering(void **state)
{
    (void)state;
    unsigned n = 0, tried = 0;
    for (bool killed = true; killed;) {
        st_recovery found;
        put_edited();
        killed = is_killed(edit_work, OS_CUT_HALF, ++n);
        CHECK_OK(st_recovery_look(edited_path(), NULL, &found, &error));
        if (found.action != ST_RECOVERY_BACK || is_old())
            continue;
        assert_int_equal(bytes_of(edited_path(), left_file, sizeof left_file), IN_PLACE_SIZE);
        left_size = bytes_of(journal_path(), left_journal, sizeof left_journal);
        assert_int_equal(found.stretches, 3);
        for (int cut = 0; cut <= OS_CUT_BUT_ONE; cut++)
            recover_killed(cut);
        tried++;
    }
    assert_true(tried >= 3);
}

/* ------------------------------------------------------------------------- killed while replacing */

static unsigned char streamed_file[2 * IN_PLACE_SIZE];
static size_t streamed_size;

/* Makes a new file in the place of the one that was left. */
static st_status stream_work(void)
{
    st_file *file = NULL;
    st_edit *edit = NULL;
    st_sink *sink = NULL;
    st_status status = st_sink_open(edited_path(), NULL, &sink, NULL);
    if (status == ST_OK)
        status = st_file_open(edited_path(), NULL, &file, NULL);
    if (status == ST_OK)
        status = edit_make(file, NULL, &edit, NULL);
    if (status == ST_OK)
        status = st_edit_write(edit, sink, NULL, NULL);
    st_edit_free(edit);
    st_file_close(file);
    st_sink_release(sink);
    return status;
}

static bool is_streamed(void)
{
    return streamed_size > 0 && file_is(edited_path(), streamed_file, streamed_size);
}

/* Whatever is left of a new file before it took the place has another name. */
static void litter_clear(void)
{
    char command[200];
    snprintf(command, sizeof command, "rm -f %s/.model.safetensors-part.*", scratch);
    assert_int_equal(system(command), 0);
}

static void replace_killed(int cut)
{
    unsigned m = 0, streamed = 0;
    for (bool killed = true; killed;) {
        put_torn();
        killed = is_killed(stream_work, cut, ++m);
        litter_clear();
        if (is_streamed()) {
            assert_false(journal_exists());
            streamed++;
            continue;
        }
        assert_true(killed && streamed == 0);
        (void)recover_fully();
        assert_true(is_old());
    }
    assert_true(m > 40);
}

/* A file that an edit in place has left torn is put right before anything is made of it, or in its place. */
static void test_killed_while_replacing(void **state)
{
    (void)state;
    put_edited();
    assert_int_equal(stream_work(), ST_OK);
    streamed_size = bytes_of(edited_path(), streamed_file, sizeof streamed_file);
    for (int cut = 0; cut <= OS_CUT_BUT_ONE; cut++)
        replace_killed(cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_kill),
        CLEANED(test_writes_cut_short),
        CLEANED(test_next_edit),
        CLEANED(test_killed_while_recovering),
        CLEANED(test_killed_while_replacing),
    };
    return cmocka_run_group_tests_name("edit_in_place_kill", tests, in_place_make,
                                       scratch_folder_drop);
}
