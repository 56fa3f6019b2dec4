/* SPDX-License-Identifier: Apache-2.0 */
/* A process that saves is killed before each of its system calls in turn: the path then holds the old
 * bytes or the new ones, whole, and what has no name yet leaves nothing behind. */
#include "io/os_faults.h"
#include "io/scratch_folder.h"

#include <signal.h>
#include <sys/wait.h>

static unsigned char old_bytes[3000], new_bytes[9000];
static bool unnamed_refused;
static unsigned kill_at, kill_steps;

static int group_make(void **state)
{
    memset(old_bytes, 'o', sizeof old_bytes);
    for (size_t i = 0; i < sizeof new_bytes; i++)
        new_bytes[i] = (unsigned char)(i * 7 + i / 256);
    return scratch_folder_make(state);
}

/* Every call but those that only look comes through here first. */
static void step(void)
{
    if (++kill_steps == kill_at)
        raise(SIGKILL);
}

static int kill_openat(int directory, const char *path, int flags, mode_t mode)
{
    step();
    if (unnamed_refused && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return openat(directory, path, flags, mode);
}

static ssize_t kill_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    step();
    return pwritev(fd, pieces, count, offset);
}

static int kill_fallocate(int fd, int mode, off_t offset, off_t size)
{
    step();
    return fallocate(fd, mode, offset, size);
}

static int kill_fchmod(int fd, mode_t mode)
{
    step();
    return fchmod(fd, mode);
}

static int kill_fsync(int fd)
{
    step();
    return fsync(fd);
}

static int kill_close(int fd)
{
    step();
    return close(fd);
}

static int kill_linkat(int from, const char *from_path, int to, const char *to_path, int flags)
{
    step();
    return linkat(from, from_path, to, to_path, flags);
}

static int kill_renameat(int from, const char *from_path, int to, const char *to_path)
{
    step();
    return renameat(from, from_path, to, to_path);
}

static int kill_renameat2(int from, const char *from_path, int to, const char *to_path,
                          unsigned flags)
{
    step();
    return renameat2(from, from_path, to, to_path, flags);
}

static void calls_arm(void)
{
    st__os_calls.openat = kill_openat;
    st__os_calls.pwritev = kill_pwritev;
    st__os_calls.fallocate = kill_fallocate;
    st__os_calls.fchmod = kill_fchmod;
    st__os_calls.fsync = kill_fsync;
    st__os_calls.close = kill_close;
    st__os_calls.linkat = kill_linkat;
    st__os_calls.renameat = kill_renameat;
    st__os_calls.renameat2 = kill_renameat2;
}

/* Tells whether the process was killed; it saved all otherwise. */
static bool killed_at(unsigned n, const st_sink_options *options)
{
    int result = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        calls_arm();
        kill_at = n;
        kill_steps = 0;
        st_status status = save(in_scratch("file"), options, new_bytes, sizeof new_bytes, NULL);
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
            put_file(path, old_bytes, sizeof old_bytes);
        killed = killed_at(++n, options);
        bool is_new = file_is(path, new_bytes, sizeof new_bytes);
        bool is_old =
            existed ? file_is(path, old_bytes, sizeof old_bytes) : access(path, F_OK) != 0;
        assert_true(is_new != is_old);
        /* Once it is there it stays there. */
        assert_true(is_new || !was_new);
        assert_true(killed || is_new);
        was_new = is_new;
        olds += is_old;
        news += is_new && killed;
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
    for (int refused = 0; refused < 2; refused++) {
        unnamed_refused = refused;
        for (uint32_t durability = ST_DURABLE_NAME; durability <= ST_DURABLE_NONE; durability++) {
            kill_everywhere(false, &(st_sink_options){.durability = durability});
            kill_everywhere(true, &(st_sink_options){.durability = durability});
            kill_everywhere(false,
                            &(st_sink_options){.durability = durability, .flags = ST_SINK_NEW});
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests_name("replace_kill", tests, group_make, scratch_folder_drop);
}
