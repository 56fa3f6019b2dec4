/* SPDX-License-Identifier: Apache-2.0 */
/* Saving to a path with each call and each allocation failing in turn. */
#include "support/oom.h"

#include "io/replacing.h"

static bool contents_fit(const char *path, st_status status, const st_error *error, bool existed)
{
    if (status == ST_OK)
        return is_new(path);
    if (strstr(error->message, "the new file is in place"))
        return is_new(path);
    return existed ? is_old(path) : access(path, F_OK) != 0;
}

/* Every call of a save fails once, in each way: the file is the old or the new one, and that is what is
 * said. */
static void faults_in(const st_sink_options *options, bool existed, os_fault fault,
                      int error_number)
{
    const char *path = in_scratch("file");
    unsigned n = 0, failed = 0, before = count_descriptors();
    for (;;) {
        st_error error = {.status = ST_OK};
        unlink(path);
        if (existed)
            put_old(path);
        os_plant(fault, ++n);
        os_state.error = error_number;
        st_status status = save_new(path, options, &error);
        bool hit = os_state.hit;
        const char *call = os_state.last;
        os_plant(OS_NONE, 0);
        if (!contents_fit(path, status, &error, existed) ||
            (status != ST_OK && (status != ST_ERR_IO || error.sys_errno != error_number ||
                                 !strstr(error.message, path))) ||
            ((fault != OS_EIO || !hit) && status != ST_OK))
            fail_msg("%s, call %u: %s, %s", call, n, st_status_name(status), error.message);
        failed += status != ST_OK;
        assert_int_equal(count_in_scratch(), existed || status == ST_OK || is_new(path));
        assert_int_equal(count_descriptors(), before);
        if (!hit)
            break;
    }
    assert_true(n > 9);
    assert_true(fault != OS_EIO || failed >= 6);
}

static void test_faults(void **state)
{
    (void)state;
    for (uint32_t durability = ST_DURABLE_NAME; durability <= ST_DURABLE_NONE; durability++) {
        for (int i = 0; i < 8; i++) {
            bool existed = i & 1;
            st_sink_options options = {.durability = durability,
                                       .flags = !existed && (i & 2) ? ST_SINK_NEW : 0};
            unnamed_allow(i & 4);
            faults_in(&options, existed, OS_EIO, EIO);
            faults_in(&options, existed, OS_EIO, ENOSPC);
            faults_in(&options, existed, OS_EINTR, EIO);
            faults_in(&options, existed, OS_SHORT, EIO);
        }
    }
}

/* The last step: the new file stays, and the message says so. */
static void test_directory_sync(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    unsigned told = 0;
    for (unsigned n = 1; n < 60; n++) {
        st_error error = {.status = ST_OK};
        put_old(path);
        os_plant(OS_EIO, n);
        if (save_new(path, NULL, &error) == ST_OK || strcmp(os_state.last, "fault_fsync") != 0)
            continue;
        if (is_new(path)) {
            assert_non_null(strstr(error.message, "the new file is in place"));
            told++;
        } else {
            assert_non_null(strstr(error.message, "reach the disk"));
            assert_true(is_old(path));
        }
    }
    assert_int_equal(told, 1);
}

static int cannot_keep_old(int from, const char *from_path, int to, const char *to_path,
                           unsigned flags)
{
    (void)from;
    (void)from_path;
    (void)to;
    (void)to_path;
    (void)flags;
    errno = EINVAL;
    return -1;
}

static unsigned removals;

static int removes_later(int folder, const char *path, int flags)
{
    if (removals++ > 0)
        return fault_unlinkat(folder, path, flags);
    errno = EIO;
    return -1;
}

/* A link in place of the rename gives the file a second name, and the first one cannot be removed at once. */
static void test_second_name(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    unnamed_allow(false);
    st__os_calls.renameat2 = cannot_keep_old;
    st__os_calls.unlinkat = removes_later;
    removals = 0;
    CHECK_OK(save_new(path, &(st_sink_options){.flags = ST_SINK_NEW}, &error));
    assert_true(is_new(path));
    assert_int_equal(count_in_scratch(), 1);
}

static void test_no_memory(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    for (int existed = 0; existed < 2; existed++) {
        unsigned before = count_descriptors();
        ST_OOM_LOOP(context, status)
        {
            unlink(path);
            if (existed)
                put_old(path);
            status = save_new(path, &(st_sink_options){.context = context}, NULL);
            assert_true(status == ST_OK ? is_new(path) : existed ? is_old(path) : !is_new(path));
            assert_int_equal(count_in_scratch(), existed || status == ST_OK);
        }
        assert_int_equal(count_descriptors(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_faults),
        CLEANED(test_directory_sync),
        CLEANED(test_second_name),
        CLEANED(test_no_memory),
    };
    return cmocka_run_group_tests_name("replace_faults", tests, group_make, scratch_folder_drop);
}
