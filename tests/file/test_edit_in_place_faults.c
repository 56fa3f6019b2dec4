/* SPDX-License-Identifier: Apache-2.0 */
/* Edits in place, and recoveries, with each system call and each allocation failing in turn. */
#include "support/oom.h"

#include "file/in_place.h"

/* What an edit that failed says is what there is. */
static void outcome_check(st_status status, const st_error *error)
{
    bool old = is_old(), new = is_new();
    if (status == ST_OK) {
        assert_true(new && !journal_exists());
        return;
    }
    if (strstr(error->message, "the new bytes are in place"))
        assert_true(new);
    else if (strstr(error->message, "is left: recover"))
        assert_true(journal_exists());
    else
        assert_true(old);
    assert_int_equal(error->status, status);
}

/* Every call fails once, or all do from there on; what is left then can be recovered from. */
static void edit_with_faults(os_fault fault, int error_number, bool stays)
{
    unsigned n = 0, failed = 0, before = count_descriptors();
    bool hit = true;
    while (hit) {
        st_error error = {.status = ST_OK};
        put_edited();
        os_plant(fault, ++n);
        os_state.error = error_number;
        os_state.stays = stays;
        st_status status = edit_all(NULL, &error);
        hit = os_state.hit;
        const char *call = os_state.last;
        os_plant(OS_NONE, 0);
        if (status != ST_OK && (status != ST_ERR_IO || error.sys_errno != error_number ||
                                !strstr(error.message, edited_path())))
            fail_msg("%s, call %u: %s, %s", call, n, st_status_name(status), error.message);
        if (fault != OS_EIO && status != ST_OK)
            fail_msg("%s, call %u: %s, %s", call, n, st_status_name(status), error.message);
        outcome_check(status, &error);
        failed += status != ST_OK;
        assert_int_equal(count_descriptors(), before);
        bool was_new = is_new();
        (void)recover_fully();
        assert_true(!was_new || is_new());
    }
    assert_true(n > 20);
    assert_true(fault != OS_EIO || failed > 15);
}

static void test_faults(void **state)
{
    (void)state;
    edit_with_faults(OS_EIO, EIO, false);
    edit_with_faults(OS_EIO, ENOSPC, false);
    edit_with_faults(OS_EINTR, EIO, false);
    edit_with_faults(OS_SHORT, EIO, false);
}

/* The disk is gone for good. */
static void test_all_fail_from_there_on(void **state)
{
    (void)state;
    edit_with_faults(OS_EIO, EIO, true);
}

static void test_faults_while_recovering(void **state)
{
    (void)state;
    static const os_fault faults[] = {OS_EIO, OS_EIO, OS_EINTR, OS_SHORT};
    unsigned before = count_descriptors();
    for (int kind = 0; kind < 4; kind++) {
        unsigned n = 0, failed = 0;
        for (bool hit = true; hit;) {
            st_error error = {.status = ST_OK};
            bool recovered = false;
            put_torn();
            os_plant(faults[kind], ++n);
            os_state.stays = kind == 1;
            st_status status = st_edit_recover(edited_path(), NULL, &recovered, &error);
            hit = os_state.hit;
            os_plant(OS_NONE, 0);
            if (status == ST_OK) {
                assert_true(recovered && is_old() && !journal_exists());
            } else {
                assert_int_equal(faults[kind], OS_EIO);
                assert_true(status == ST_ERR_IO || status == ST_ERR_JOURNAL);
                assert_false(recovered);
                assert_true(is_old() || journal_exists());
            }
            failed += status != ST_OK;
            assert_int_equal(count_descriptors(), before);
            (void)recover_fully();
            assert_true(is_old());
        }
        assert_true(n > 20);
        assert_true(faults[kind] != OS_EIO || failed > 15);
    }
}

static void test_faults_while_looking(void **state)
{
    (void)state;
    put_torn();
    unsigned n = 0, failed = 0, before = count_descriptors();
    for (bool hit = true; hit;) {
        st_recovery found;
        os_plant(OS_EIO, ++n);
        st_status status = st_recovery_look(edited_path(), NULL, &found, NULL);
        hit = os_state.hit;
        os_plant(OS_NONE, 0);
        if (status == ST_OK)
            assert_int_equal(found.action, ST_RECOVERY_BACK);
        failed += status != ST_OK;
        assert_int_equal(count_descriptors(), before);
        assert_true(journal_exists() && !is_old());
    }
    assert_true(failed > 10);
    (void)recover_fully();
}

static const char other_bytes[] = "what is saved over it";

static bool is_other(void)
{
    return file_is(edited_path(), other_bytes, sizeof other_bytes);
}

/* The torn file is put right before the new one takes its place: what fails leaves the one or the other, or the torn
 * one with its journal. */
static void test_faults_while_replacing(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    for (int stays = 0; stays < 2; stays++) {
        unsigned n = 0, failed = 0;
        for (bool hit = true; hit;) {
            st_error error = {.status = ST_OK};
            put_torn();
            os_plant(OS_EIO, ++n);
            os_state.stays = stays;
            st_status status = save(edited_path(), NULL, other_bytes, sizeof other_bytes, &error);
            hit = os_state.hit;
            os_plant(OS_NONE, 0);
            failed += status != ST_OK;
            assert_true(status == ST_ERR_IO || status == ST_ERR_JOURNAL || is_other());
            assert_int_equal(count_descriptors(), before);
            if (is_other())
                continue;
            (void)recover_fully();
            assert_true(is_old());
        }
        assert_true(n > 40 && failed > 30);
    }
    put_torn();
    ST_OOM_LOOP(context, status)
    {
        st_sink_options options = {.context = context};
        if (!is_other())
            put_torn();
        status = save(edited_path(), &options, other_bytes, sizeof other_bytes, NULL);
        assert_true(status == ST_OK ? is_other() : is_old() || journal_exists());
    }
    assert_int_equal(count_descriptors(), before);
}

/* Of what is copied while it is torn nothing is made. */
static void test_faults_while_copying(void **state)
{
    (void)state;
    unsigned n = 0, before = count_descriptors();
    put_torn();
    for (bool hit = true; hit;) {
        st_file *file;
        st_edit *edit = NULL;
        st_sink *sink = NULL;
        os_plant(OS_EIO, ++n);
        st_status status = st_file_open(edited_path(), NULL, &file, NULL);
        if (status == ST_OK) {
            status = st_edit_new(file, NULL, &edit, NULL);
            if (status == ST_OK)
                status = st_sink_open(in_scratch("other"), NULL, &sink, NULL);
            if (status == ST_OK)
                status = st_edit_write(edit, sink, NULL, NULL);
            st_sink_release(sink);
            st_edit_free(edit);
            st_file_close(file);
        }
        hit = os_state.hit;
        os_plant(OS_NONE, 0);
        if (strcmp(os_state.last, "fault_readlinkat") != 0)
            assert_true(status == ST_ERR_IO || status == ST_ERR_JOURNAL);
        assert_int_equal(count_descriptors(), before);
        assert_true(journal_exists() && access(in_scratch("other"), F_OK) != 0);
    }
    assert_true(n > 20);
    (void)recover_fully();
}

static void test_no_memory(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    ST_OOM_LOOP(context, status)
    {
        put_edited();
        status = edit_all(context, NULL);
        assert_true(status == ST_OK ? is_new() : is_old());
        assert_false(journal_exists());
    }
    ST_OOM_LOOP(context, status)
    {
        bool recovered = false;
        st_recovery found;
        put_torn();
        status = st_recovery_look(edited_path(), context, &found, NULL);
        if (status == ST_OK)
            status = st_edit_recover(edited_path(), context, &recovered, NULL);
        assert_int_equal(recovered, status == ST_OK);
        assert_true(status == ST_OK ? is_old() : journal_exists());
    }
    assert_int_equal(count_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_faults),
        CLEANED(test_all_fail_from_there_on),
        CLEANED(test_faults_while_recovering),
        CLEANED(test_faults_while_looking),
        CLEANED(test_faults_while_replacing),
        CLEANED(test_faults_while_copying),
        CLEANED(test_no_memory),
    };
    return cmocka_run_group_tests_name("edit_in_place_faults", tests, in_place_make,
                                       scratch_folder_drop);
}
