/* SPDX-License-Identifier: Apache-2.0 */
/* A process that saves is killed before each of its system calls in turn: the path then holds the old
 * bytes or the new ones, whole, and what has no name yet leaves nothing behind. */
#include "io/replacing.h"

#include <sys/wait.h>

/* Tells whether the process was killed; it saved all otherwise. */
static bool killed_at(unsigned n, const st_sink_options *options)
{
    int result = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        unnamed_allow(!unnamed_refused);
        os_plant_kill(n);
        st_status status = save_new(in_scratch("file"), options, NULL);
        _exit(status == ST_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &result, 0), pid);
    if (WIFSIGNALED(result)) {
        assert_int_equal(WTERMSIG(result), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(result), 0);
    return false;
}

static bool unnamed_works(void)
{
    int directory = -1, fd = -1;
    assert_int_equal(st__os_open_directory(ST__OS_HERE, scratch, &directory), 0);
    bool works = !unnamed_refused && st__os_create_unnamed(directory, 0600, true, &fd) == 0;
    if (works)
        st__os_close(fd);
    st__os_close(directory);
    return works;
}

static void kill_everywhere(bool existed, const st_sink_options *options)
{
    const char *path = in_scratch("file");
    bool unnamed = unnamed_works(), was_new = false;
    unsigned n = 0, olds = 0, news = 0, litter = 0;
    for (bool killed = true; killed;) {
        unsigned temporary;
        unlink(path);
        if (existed)
            put_old(path);
        killed = killed_at(++n, options);
        bool now_new = is_new(path), now_old = existed ? is_old(path) : access(path, F_OK) != 0;
        assert_true(now_new != now_old);
        /* Once it is there it stays there. */
        assert_true(now_new || !was_new);
        assert_true(killed || now_new);
        was_new = now_new;
        olds += now_old;
        news += now_new && killed;
        count_names(scratch, &temporary);
        assert_true(temporary <= 1 && (killed || temporary == 0));
        litter += temporary;
        char command[200];
        snprintf(command, sizeof command, "rm -f %s/.file-part.*", scratch);
        assert_int_equal(system(command), 0);
    }
    assert_true(olds > 5);
    assert_true(options->durability != ST_DURABLE_NAME || news > 0);
    if (unnamed) /* between the link and the rename */
        assert_int_equal(litter, existed ? 1 : 0);
}

static void test_kill(void **state)
{
    (void)state;
    check_saves(kill_everywhere, SAVE_CACHED);
    check_saves(kill_everywhere, SAVE_BY_CALLER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests_name("replace_kill", tests, group_make, scratch_folder_drop);
}
