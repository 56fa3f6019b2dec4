/* SPDX-License-Identifier: Apache-2.0 */
/* A process that edits a checkpoint is killed before each of its system calls in turn, or in the middle of each of its
 * writes, and then each process that recovers it: in the end all old files are there, or all new ones. And each call
 * fails in turn. */
#include "checkpoint/changes.h"
#include "checkpoint/seen.h"

#include "io/os_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

#define CHANGES "r:a=x r:d=y n:new d:c"
#define LIST    CHANGES_INDEX ".st-journal"

static const char *const names[] = {"m-1.safetensors", "m-2.safetensors", "m-3.safetensors",
                                    CHANGES_INDEX};
enum { NAMES = 4 };

/* Images of all files; NULL: it is not there. */
static char *images[2][NAMES];
static size_t image_sizes[2][NAMES];

static void images_take(int which)
{
    for (size_t i = 0; i < NAMES; i++)
        images[which][i] =
            model_has(names[i]) ? model_read(names[i], &image_sizes[which][i]) : NULL;
}

static bool image_is(int which, size_t i)
{
    size_t size;
    if (!images[which][i] || !model_has(names[i]))
        return !images[which][i] && !model_has(names[i]);
    char *now = model_read(names[i], &size);
    bool same = size == image_sizes[which][i] && memcmp(now, images[which][i], size) == 0;
    free(now);
    return same;
}

static bool all_are(int which)
{
    bool same = true;
    for (size_t i = 0; i < NAMES; i++)
        same &= image_is(which, i);
    return same;
}

/* One thread, so that the n-th call is the same one each time. */
static st_context *lone_context(void)
{
    st_context *context = NULL;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    return context;
}

static st_status model_edit(st_error *error)
{
    st_context *context = lone_context();
    changes_way way = {.edit.context = context};
    st_status status = changes_apply("", CHANGES, &way, error);
    st_context_release(context);
    return status;
}

static st_status model_recover(bool *changed, st_error *error)
{
    st_context *context = lone_context();
    st_status status = st_checkpoint_recover(model_path(""), context, changed, error);
    st_context_release(context);
    return status;
}

/* Does it in a process that is killed; false: it was not. */
static bool killed_at(unsigned n, int cut, bool recovers)
{
    int how = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (cut)
            os_plant_cut(cut, n);
        else
            os_plant_kill(n);
        bool changed;
        _exit((recovers ? model_recover(&changed, NULL) : model_edit(NULL)) != ST_OK);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    if (WIFSIGNALED(how)) {
        assert_int_equal(WTERMSIG(how), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(how), 0);
    return false;
}

/* Removes files that had no name in any list yet; how many. */
static unsigned strays_remove(void)
{
    unsigned count = 0;
    DIR *list = opendir(model_folder);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list));)
        if (strstr(entry->d_name, "-part.")) {
            assert_int_equal(unlinkat(dirfd(list), entry->d_name, 0), 0);
            count++;
        }
    closedir(list);
    return count;
}

static void model_reset(void)
{
    model_empty(model_folder);
    changes_model();
}

static int group_setup(void **state)
{
    os_plant(OS_NONE, 0);
    (void)model_setup(state);
    changes_model();
    images_take(0);
    CHECK_OK(model_edit(&error));
    images_take(1);
    assert_false(all_are(0));
    assert_true(all_are(1));
    return 0;
}

static int group_teardown(void **state)
{
    for (size_t i = 0; i < 2 * NAMES; i++)
        free(images[i / NAMES][i % NAMES]);
    return model_teardown(state);
}

/* ------------------------------------------------------------------------------------ killed */

static unsigned olds, news, mixes;

/* What is there after a kill is the old checkpoint, or recovering makes it one of the two. */
static bool check_recovery(bool was_new, bool kills)
{
    bool changed = false, done = all_are(1);
    bool mixed = !done && !all_are(0);
    mixes += mixed;
    unsigned n = 1;
    while (kills && killed_at(n, 0, true))
        n++;
    CHECK_OK(model_recover(&changed, &error));
    bool is_new = all_are(1);
    assert_true(changed == (is_new && !done && !kills));
    assert_true(is_new || all_are(0));
    assert_true(!mixed || is_new);
    assert_true(is_new || !was_new);
    assert_true(strays_remove() <= 1);
    assert_string_equal(model_names(""),
                        is_new ? "m-1.safetensors m-3.safetensors " CHANGES_INDEX : CHANGES_NAMES);
    olds += !is_new;
    news += is_new;
    return is_new;
}

static void test_killed(void **state)
{
    (void)state;
    bool killed = true, is_new = false;
    olds = news = mixes = 0;
    for (unsigned n = 1; killed; n++) {
        model_reset();
        killed = killed_at(n, 0, false);
        /* Before the list holds recovering does little: some of those are enough. */
        is_new = check_recovery(is_new, model_has(LIST) && (n % 4 == 0 || !all_are(0)));
    }
    assert_true(is_new);
    assert_true(olds > 60);
    assert_true(news > 10);
    assert_true(mixes > 4);
}

/* Writes that come through in part, of which the list's matter. */
static void test_cut(void **state)
{
    (void)state;
    for (int cut = OS_CUT_BYTE; cut <= OS_CUT_BUT_ONE; cut += OS_CUT_BUT_ONE - OS_CUT_BYTE) {
        bool killed = true, is_new = false;
        olds = news = mixes = 0;
        for (unsigned n = 1; killed; n++) {
            model_reset();
            killed = killed_at(n, cut, false);
            is_new = check_recovery(is_new, false);
        }
        assert_true(is_new && olds > 60 && news > 10);
    }
}

/* The number of a call before which a kill leaves some new files and some old ones. */
static unsigned mixed_find(void)
{
    unsigned n = 0;
    do {
        model_reset();
        assert_true(killed_at(++n, 0, false));
    } while (all_are(0) || all_are(1));
    return n;
}

/* ------------------------------------------------------------------------------------- failing */

/* What failed before the list held leaves nothing; afterwards it is left, and leads to the new files. */
static void test_failing(void **state)
{
    (void)state;
    static const os_fault faults[] = {OS_EIO, OS_EINTR, OS_SHORT};
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        unsigned failed = 0, left = 0;
        bool hit = true;
        for (unsigned n = 1; hit; n++) {
            st_error said = {.status = ST_OK};
            model_reset();
            os_plant(faults[f], n);
            st_status status = model_edit(&said);
            hit = os_state.hit;
            const char *last = os_state.last;
            os_plant(OS_NONE, 0);
            if (status != ST_OK && (faults[f] != OS_EIO || said.status != status ||
                                    (status != ST_ERR_IO && status != ST_ERR_CHANGED) ||
                                    !strstr(said.message, model_folder)))
                fail_msg("fault %d at call %u, %s: %s, %s", faults[f], n, last,
                         st_status_name(status), said.message);
            failed += status != ST_OK;
            bool list = model_has(LIST);
            left += list;
            assert_true(all_are(0) || all_are(1) || list);
            assert_true(status != ST_OK || all_are(1));
            if (list && all_are(0) == false && all_are(1) == false)
                assert_non_null(strstr(said.message, ".st-journal is left"));
            CHECK_OK(model_recover(NULL, &error));
            assert_true(all_are(0) || all_are(1));
            assert_true(strays_remove() == 0 || strcmp(last, "fault_unlinkat") == 0);
        }
        assert_true((failed > 60) == (faults[f] == OS_EIO));
        assert_true((left > 3) == (faults[f] == OS_EIO));
    }
}

/* A full disk is told, and leaves the old files and nothing else. */
static void test_full_disk(void **state)
{
    (void)state;
    unsigned full = 0;
    bool hit = true;
    for (unsigned n = 1; hit; n++) {
        st_error said = {.status = ST_OK};
        model_reset();
        os_plant_errno(ENOSPC, n);
        st_status status = model_edit(&said);
        hit = os_state.hit;
        os_plant(OS_NONE, 0);
        full += status == ST_ERR_IO && said.sys_errno == ENOSPC && all_are(0);
    }
    assert_true(full > 20);
}

/* Recovering fails at each call in turn, and can be done again. */
static void test_recovery_failing(void **state)
{
    (void)state;
    bool hit = true;
    unsigned failed = 0, kill_at = mixed_find();
    for (unsigned n = 1; hit; n++) {
        st_error said = {.status = ST_OK};
        model_reset();
        assert_true(killed_at(kill_at, 0, false));
        os_plant(OS_EIO, n);
        st_status status = model_recover(NULL, &said);
        hit = os_state.hit;
        os_plant(OS_NONE, 0);
        failed += status != ST_OK;
        assert_true(status == ST_OK ||
                    (said.status == status && strstr(said.message, model_folder)));
        CHECK_OK(model_recover(NULL, &error));
        assert_true(all_are(1));
        assert_string_equal(model_names(""), "m-1.safetensors m-3.safetensors " CHANGES_INDEX);
    }
    assert_true(failed > 10);
}

/* So does telling what it would do, which says it, or that of the one list or journal. */
static void test_look_failing(void **state)
{
    (void)state;
    bool hit = true;
    unsigned failed = 0, why = 0;
    (void)mixed_find();
    st_context *context = lone_context();
    char before[4096], after[4096];
    seen_names(before, sizeof before);
    for (unsigned n = 1; hit; n++) {
        left_seen seen = {.count = 0};
        st_error said = {.status = ST_OK};
        os_plant(OS_EIO, n);
        st_status status =
            st_checkpoint_recovery_look(model_path(""), context, seen_take, &seen, &said);
        hit = os_state.hit;
        os_plant(OS_NONE, 0);
        failed += status != ST_OK;
        why += seen.last.why != NULL;
        if (status != ST_OK) {
            assert_true(status == ST_ERR_IO && strstr(said.message, model_folder));
        } else {
            char list[64];
            snprintf(list, sizeof list, "*%s:%u", CHANGES_INDEX, (unsigned)ST_RECOVERY_FORWARD);
            if (seen.count == 1)
                seen_check(&seen, seen.last.why ? SEEN_WHY : ST_RECOVERY_FORWARD, CHANGES_INDEX);
            else /* a file of it could not be looked at */
                assert_true(strstr(seen.all, list) == seen.all && seen.count == 2 &&
                            !seen.last.several && seen.last.why);
            assert_true(!seen.last.why ||
                        (seen.why.status == ST_ERR_IO && strstr(seen.why.message, model_folder)));
        }
    }
    seen_names(after, sizeof after);
    assert_string_equal(before, after);
    assert_true(failed > 1 && why > 10);
    st_context_release(context);
}

/* The next edit recovers first, and then is of what is no more. */
static void test_next_edit(void **state)
{
    (void)state;
    unsigned n = mixed_find();
    for (int in_place = 0; in_place < 2; in_place++) {
        st_checkpoint_edit *edit;
        model_reset();
        st_checkpoint *checkpoint = model_open("");
        CHECK_OK(st_checkpoint_edit_new(checkpoint, NULL, &edit, &error));
        CHECK_OK(changes_list(edit, checkpoint, "p:b", &error));
        assert_true(killed_at(n, 0, false));
        assert_false(all_are(0) || all_are(1));
        if (in_place)
            CHECK_ERR(st_checkpoint_edit_write_in_place(edit, NULL, &error), ST_ERR_CHANGED,
                      ST_NO_OFFSET);
        else
            CHECK_ERR(st_checkpoint_edit_write(edit, NULL, NULL, NULL, &error), ST_ERR_CHANGED,
                      ST_NO_OFFSET);
        assert_true(all_are(1));
        assert_string_equal(model_names(""), "m-1.safetensors m-3.safetensors " CHANGES_INDEX);
        st_checkpoint_edit_free(edit);
        st_checkpoint_close(checkpoint);
    }
}

/* By the folder, and by the index, whose shards may be of two edits. */
static void test_recovered_by_index(void **state)
{
    (void)state;
    unsigned n = mixed_find();
    for (int i = 0; i < 2; i++) {
        bool changed = false;
        model_reset();
        assert_true(killed_at(n, 0, false));
        if (i == 0)
            CHECK_OK(st_checkpoint_recover(model_path(CHANGES_INDEX), NULL, &changed, &error));
        else
            CHECK_OK(st_checkpoint_recover(model_path(""), NULL, &changed, &error));
        assert_true(changed && all_are(1));
    }
    CHECK_ERR(st_checkpoint_recover(model_path("none/" CHANGES_INDEX), NULL, NULL, &error),
              ST_ERR_IO, ST_NO_OFFSET);
    CHECK_ERR(st_checkpoint_recover(model_path("none"), NULL, NULL, &error), ST_ERR_IO,
              ST_NO_OFFSET);
}

static unsigned journals_count(void)
{
    unsigned count = 0;
    for (size_t i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.st-journal", names[i]);
        count += model_has(name);
    }
    return count;
}

/* What edits in place have left of the files is ended as well. */
static void test_in_place_killed(void **state)
{
    (void)state;
    bool killed = true;
    unsigned recovered = 0;
    for (unsigned n = 1; killed; n++) {
        int how;
        model_reset();
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            st_context *context = lone_context();
            changes_way way = {.in_place = true, .edit.context = context};
            os_plant_kill(n);
            _exit(changes_apply("", "p:a p:c", &way, NULL) != ST_OK);
        }
        assert_int_equal(waitpid(child, &how, 0), child);
        killed = WIFSIGNALED(how);
        bool changed = false;
        CHECK_OK(
            st_checkpoint_recover(model_path(n % 2 ? "" : CHANGES_INDEX), NULL, &changed, &error));
        recovered += changed;
        assert_int_equal(journals_count(), 0);
        st_checkpoint *checkpoint = model_open("");
        assert_string_equal(model_list(checkpoint), "0/a 0/b 1/c 2/d");
        char a[3], c[4];
        st_checkpoint_tensor found = tensor_of(checkpoint, "a", 1);
        CHECK_OK(st_file_read(found.file, found.tensor, NULL, a, 3, &error));
        found = tensor_of(checkpoint, "c", 1);
        CHECK_OK(st_file_read(found.file, found.tensor, NULL, c, 4, &error));
        assert_true(memcmp(c, "cccc", 4) == 0 ||
                    (memcmp(c, "!!!!", 4) == 0 && memcmp(a, "!!!", 3) == 0));
        assert_true(memcmp(a, "aaa", 3) == 0 || memcmp(a, "!!!", 3) == 0);
        st_checkpoint_close(checkpoint);
    }
    assert_true(recovered > 2);
}

/* ------------------------------------------------------------------------------- file systems */

/* As NFS has it: who cannot write a file cannot have it locked. */
static int nfs_flock(int fd, int operation)
{
    if ((operation & LOCK_EX) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    return flock(fd, operation);
}

static bool read_only;

static int mounted_openat(int directory, const char *path, int flags, mode_t mode)
{
    if (read_only && (flags & O_ACCMODE) != O_RDONLY) {
        errno = EROFS;
        return -1;
    }
    return openat(directory, path, flags, mode);
}

static void test_network(void **state)
{
    (void)state;
    st__os_call_table planted = st__os_calls;
    unsigned n = mixed_find();
    for (int strange = 0; strange < 2; strange++) {
        model_reset();
        assert_true(killed_at(n, 0, false));
        if (strange)
            model_tensors("m-3.safetensors", "e:2", NULL);
        st__os_calls.flock = nfs_flock;
        st__os_calls.openat = mounted_openat;
        for (int mount = 0; mount < 2; mount++) {
            read_only = mount;
            left_seen seen = seen_by("");
            seen_check(&seen, strange ? SEEN_WHY : ST_RECOVERY_FORWARD, CHANGES_INDEX);
            assert_int_equal(strange ? seen.why.status : ST_OK, strange ? ST_ERR_JOURNAL : ST_OK);
        }
        if (!strange)
            CHECK_ERR(st_checkpoint_recover(model_path(""), NULL, NULL, &error), ST_ERR_IO,
                      ST_NO_OFFSET);
        read_only = false;
        if (!strange) {
            CHECK_OK(st_checkpoint_recover(model_path(""), NULL, NULL, &error));
            assert_true(all_are(1));
        }
        st__os_calls = planted;
    }
}

/* In folders of which the names are the same in capitals. */
static char *folded(const char *path)
{
    static char lowered[4][4096];
    static unsigned next;
    char *name = lowered[next++ % 4];
    size_t i = 0;
    for (; path[i]; i++)
        name[i] = (char)(path[i] >= 'A' && path[i] <= 'Z' ? path[i] + 'a' - 'A' : path[i]);
    name[i] = '\0';
    return name;
}

static int folding_openat(int directory, const char *path, int flags, mode_t mode)
{
    return openat(directory, directory == AT_FDCWD ? path : folded(path), flags, mode);
}

static int folding_fstatat(int directory, const char *path, struct stat *out, int flags)
{
    return fstatat(directory, directory == AT_FDCWD ? path : folded(path), out, flags);
}

static int folding_linkat(int from, const char *from_path, int to, const char *to_path, int flags)
{
    return linkat(from, from_path, to, folded(to_path), flags);
}

static int folding_renameat(int from, const char *from_path, int to, const char *to_path)
{
    return renameat(from, folded(from_path), to, folded(to_path));
}

static int folding_unlinkat(int directory, const char *path, int flags)
{
    return unlinkat(directory, directory == AT_FDCWD ? path : folded(path), flags);
}

static void test_capitals(void **state)
{
    (void)state;
    st__os_call_table planted = st__os_calls;
    model_empty(model_folder);
    model_tensors("one.safetensors", "a:3 b:5", NULL);
    model_tensors("ONE.safetensors", "c:4", NULL);
    for (int folds = 1; folds >= 0; folds--) {
        changes_way way = {.folder = model_path("out")};
        if (folds) {
            st__os_calls.fstatat = folding_fstatat;
            st__os_calls.linkat = folding_linkat;
            st__os_calls.renameat = folding_renameat;
            st__os_calls.unlinkat = folding_unlinkat;
            st__os_calls.openat = folding_openat;
        }
        st_error said;
        st_status status = changes_apply("", "r:a=x", &way, &said);
        st__os_calls = planted;
        assert_int_equal(status, folds ? ST_ERR_UNSUPPORTED : ST_OK);
        if (folds)
            assert_non_null(strstr(said.message, "under another name"));
        assert_string_equal(model_names("out"), folds ? "" : "ONE.safetensors one.safetensors");
    }
}

/* -------------------------------------------------------------------------------------- order */

/* What waits for the disk, as the calls come. */
static struct {
    unsigned writes, syncs, renames;
    bool unsynced;        /* bytes of the list, or of a new file */
    bool folder_unsynced; /* names */
    bool none;            /* nothing is to be waited for */
} order;

static ssize_t order_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    order.writes++;
    order.unsynced = true;
    return pwritev(fd, pieces, count, offset);
}

static int order_fsync(int fd)
{
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    order.syncs++;
    if (S_ISDIR(info.st_mode))
        order.folder_unsynced = false;
    else
        order.unsynced = false;
    return fsync(fd);
}

static int order_linkat(int from, const char *from_path, int to, const char *to_path, int flags)
{
    order.folder_unsynced = true;
    return linkat(from, from_path, to, to_path, flags);
}

/* Everything is on the disk before the first file takes its place. */
static int order_renameat(int from, const char *from_path, int to, const char *to_path)
{
    if (order.renames++ == 0)
        assert_true(order.none || (!order.unsynced && !order.folder_unsynced));
    order.folder_unsynced = true;
    return renameat(from, from_path, to, to_path);
}

/* And all places are taken there before the list goes. */
static int order_unlinkat(int directory, const char *path, int flags)
{
    if (strcmp(path, LIST) == 0)
        assert_true(order.none || !order.folder_unsynced);
    order.folder_unsynced = true;
    return unlinkat(directory, path, flags);
}

static void test_order(void **state)
{
    (void)state;
    static const uint32_t durabilities[] = {ST_DURABLE_NAME, ST_DURABLE_FILE, ST_DURABLE_NONE};
    st__os_call_table planted = st__os_calls;
    for (size_t i = 0; i < 3; i++) {
        st_context *context = lone_context();
        changes_way way = {.edit.context = context, .sink.durability = durabilities[i]};
        model_reset();
        memset(&order, 0, sizeof order);
        order.none = durabilities[i] == ST_DURABLE_NONE;
        st__os_calls.pwritev = order_pwritev;
        st__os_calls.fsync = order_fsync;
        st__os_calls.linkat = order_linkat;
        st__os_calls.renameat = order_renameat;
        st__os_calls.unlinkat = order_unlinkat;
        CHECK_OK(changes_apply("", CHANGES, &way, &error));
        st__os_calls = planted;
        assert_true(all_are(1));
        assert_int_equal(order.renames, 3);
        assert_true(order.writes > 6);
        assert_true(order.none ? order.syncs == 0 : order.syncs > 8 && !order.folder_unsynced);
        st_context_release(context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),           cmocka_unit_test(test_cut),
        cmocka_unit_test(test_failing),          cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_recovery_failing), cmocka_unit_test(test_look_failing),
        cmocka_unit_test(test_next_edit),        cmocka_unit_test(test_recovered_by_index),
        cmocka_unit_test(test_in_place_killed),  cmocka_unit_test(test_network),
        cmocka_unit_test(test_capitals),         cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests_name("checkpoint_exchange_kill", tests, group_setup,
                                       group_teardown);
}
