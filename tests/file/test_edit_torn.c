/* SPDX-License-Identifier: Apache-2.0 */
/* New files made of one of which an edit in place was interrupted or is under way, or in the place of one that something
 * else changed meanwhile: neither is lost. */
#include "file/in_place.h"

#include <sys/file.h>

/* An edit of the file at the path, and the sink that its new file goes to. */
typedef struct streamed {
    st_file *file;
    st_edit *edit;
    st_sink *sink;
} streamed;

/* What any state of the file has can be edited. */
static st_status edit_begin(streamed *s, st_error *error)
{
    st_metadata pair = {.key = "made", .key_len = 4, .value = "anew", .value_len = 4};
    st_status status = st_edit_new(s->file, NULL, &s->edit, error);
    return status == ST_OK ? st_edit_set_metadata(s->edit, &pair, error) : status;
}

static st_status streamed_begin(streamed *s, const char *to, const st_open_options *options,
                                st_error *error)
{
    *s = (streamed){.sink = NULL};
    st_status status = st_file_open(edited_path(), options, &s->file, error);
    if (status == ST_OK)
        status = edit_begin(s, error);
    if (status == ST_OK)
        status = st_sink_open(to, NULL, &s->sink, error);
    return status;
}

static void streamed_end(streamed *s)
{
    st_sink_release(s->sink);
    st_edit_free(s->edit);
    st_file_close(s->file);
}

static st_status stream(const char *to, st_error *error)
{
    streamed s;
    st_status status = streamed_begin(&s, to, NULL, error);
    if (status == ST_OK)
        status = st_edit_write(s.edit, s.sink, NULL, error);
    streamed_end(&s);
    return status;
}

/* --------------------------------------------------------------------------- torn sources */

static bool exists(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0;
}

static void copy_is_refused(const st_open_options *options)
{
    streamed s;
    const char *to = in_scratch("other");
    CHECK_OK(streamed_begin(&s, to, options, &error));
    CHECK_ERR_TEXT(st_edit_write(s.edit, s.sink, NULL, &error), ST_ERR_JOURNAL, ST_NO_OFFSET,
                   "recover the file");
    streamed_end(&s);
    assert_true(!exists(to) && journal_exists() && !is_old() && !is_new());
}

static ssize_t no_proc(int directory, const char *path, char *out, size_t size)
{
    if (strncmp(path, "/proc/", 6) != 0)
        return fault_readlinkat(directory, path, out, size);
    errno = ENOENT;
    return -1;
}

static void test_nothing_is_made_of_a_torn_file(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    put_torn();
    copy_is_refused(NULL);
    copy_is_refused(&(st_open_options){.name = "a name of the caller's"});
    st__os_calls.readlinkat = no_proc;
    copy_is_refused(NULL);
    os_calls_restore();
    /* Nor by the writer alone. */
    st_file *file;
    st_writer *writer;
    st_sink *sink;
    size_t index;
    CHECK_OK(st_file_open(edited_path(), NULL, &file, &error));
    CHECK_OK(st_writer_new(NULL, &writer, &error));
    const st_tensor *tensor = st_file_at(file, 0);
    CHECK_OK(st_writer_add(writer, tensor, &index, &error));
    CHECK_OK(st_sink_open(in_scratch("other"), NULL, &sink, &error));
    CHECK_OK(st_writer_begin(writer, sink, &error));
    CHECK_ERR_TEXT(
        st_writer_copy_from(writer, file, &(st_copy){.index = index, .tensor = tensor}, 1, &error),
        ST_ERR_JOURNAL, ST_NO_OFFSET, "recover the file");
    st_sink_release(sink);
    st_writer_free(writer);
    st_file_close(file);
    assert_int_equal(count_descriptors(), before);
    CHECK_OK(st_edit_recover(edited_path(), NULL, NULL, &error));
    CHECK_OK(stream(in_scratch("other"), &error));
    assert_true(is_old() && exists(in_scratch("other")));
}

/* It is put right, and is no longer what was opened. */
static void test_a_torn_file_is_not_replaced(void **state)
{
    (void)state;
    put_torn();
    CHECK_ERR(stream(edited_path(), &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    assert_true(is_old() && !journal_exists());
    CHECK_OK(stream(edited_path(), &error));
    assert_false(is_old());
}

/* What is left of a journal keeps nobody from reading. */
static void test_needless_journals(void **state)
{
    (void)state;
    put_edited();
    put_file(journal_path(), "", 0);
    CHECK_OK(stream(in_scratch("other"), &error));
    put_file(journal_path(), "notes", 5);
    CHECK_OK(stream(in_scratch("other"), &error));
    assert_true(is_old() && journal_exists());
    assert_int_equal(unlink(in_scratch("other")), 0);
}

static unsigned streams, busy;

/* Somebody makes a new file of it, in its place, while it is being edited. */
static ssize_t streaming_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    st_error error = {.status = ST_OK};
    st__os_calls.pwritev = fault_pwritev;
    st_status status = stream(edited_path(), &error);
    assert_int_not_equal(status, ST_OK);
    busy += status == ST_ERR_IO && error.sys_errno == EAGAIN;
    streams++;
    st__os_calls.pwritev = streaming_pwritev;
    return fault_pwritev(fd, pieces, count, offset);
}

static void test_while_it_is_edited_in_place(void **state)
{
    (void)state;
    put_edited();
    streams = busy = 0;
    st__os_calls.pwritev = streaming_pwritev;
    CHECK_OK(edit_all(NULL, &error));
    assert_true(streams > 5 && busy > 2);
    assert_true(is_new() && !journal_exists());
    assert_int_equal(count_in_scratch(), 1);
}

/* ------------------------------------------------------------------------- changed places */

enum { MEDDLE_REPLACE, MEDDLE_IN_PLACE, MEDDLE_REMOVE, MEDDLE_WAYS };

static void meddle(int way)
{
    if (way == MEDDLE_IN_PLACE) {
        CHECK_OK(edit_all(NULL, &error));
        return;
    }
    put_file(in_scratch("copy"), new_file, sizeof new_file);
    assert_int_equal(rename(in_scratch("copy"), edited_path()), 0);
    if (way == MEDDLE_REMOVE)
        assert_int_equal(unlink(edited_path()), 0);
}

static void check_meddled(int way)
{
    assert_true(way == MEDDLE_REMOVE ? !exists(edited_path()) : is_new());
    assert_int_equal(count_in_scratch(), way != MEDDLE_REMOVE);
}

/* The first one's changes would be lost. */
static void test_two_edits(void **state)
{
    (void)state;
    streamed s;
    for (int way = 0; way < MEDDLE_WAYS; way++) {
        /* When the sink is open. */
        put_edited();
        CHECK_OK(streamed_begin(&s, edited_path(), NULL, &error));
        meddle(way);
        CHECK_ERR(st_edit_write(s.edit, s.sink, NULL, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
        streamed_end(&s);
        check_meddled(way);
        /* Before that. */
        put_edited();
        CHECK_OK(st_file_open(edited_path(), NULL, &s.file, &error));
        CHECK_OK(edit_begin(&s, &error));
        meddle(way);
        CHECK_OK(st_sink_open(edited_path(), NULL, &s.sink, &error));
        CHECK_ERR(st_edit_write(s.edit, s.sink, NULL, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
        streamed_end(&s);
        check_meddled(way);
    }
}

static int meddling;

/* At the last moment. */
static int meddling_flock(int fd, int operation)
{
    int way = meddling;
    meddling = -1;
    if (way >= 0)
        meddle(way);
    return fault_flock(fd, operation);
}

static void test_changed_at_the_end(void **state)
{
    (void)state;
    for (int way = 0; way < MEDDLE_WAYS; way++) {
        put_edited();
        meddling = way;
        st__os_calls.flock = meddling_flock;
        CHECK_ERR_TEXT(stream(edited_path(), &error), ST_ERR_CHANGED, ST_NO_OFFSET,
                       "by something else");
        os_calls_restore();
        check_meddled(way);
    }
}

/* A new file goes anywhere else as before. */
static void test_names_that_are_alike(void **state)
{
    (void)state;
    st_open_options named = {.name = "model"};
    st_sink_options to_named = {.name = "model"};
    streamed s = {.sink = NULL};
    put_edited();
    CHECK_OK(st_file_open(edited_path(), &named, &s.file, &error));
    CHECK_OK(edit_begin(&s, &error));
    CHECK_OK(st_sink_open(in_scratch("other"), &to_named, &s.sink, &error));
    CHECK_OK(st_edit_write(s.edit, s.sink, NULL, &error));
    streamed_end(&s);
    assert_true(is_old() && exists(in_scratch("other")));
}

/* ---------------------------------------------------------------------------------- locks */

/* As NFS does: what is locked for one alone has to be open for writing. */
static int nfs_flock(int fd, int operation)
{
    if ((operation & LOCK_EX) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    return fault_flock(fd, operation);
}

static void test_locks(void **state)
{
    (void)state;
    st_error said = {.status = ST_OK};
    for (int nfs = 0; nfs < 2; nfs++) {
        put_edited();
        if (nfs)
            st__os_calls.flock = nfs_flock;
        /* Two that make a new one of it each cannot both replace it at this moment. */
        int fd = open(edited_path(), O_RDONLY);
        assert_int_equal(flock(fd, LOCK_SH), 0);
        assert_int_equal(stream(edited_path(), &said), ST_ERR_IO);
        assert_int_equal(said.sys_errno, EAGAIN);
        assert_true(is_old());
        close(fd);
        CHECK_OK(stream(edited_path(), &error));
        assert_false(is_old());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_nothing_is_made_of_a_torn_file),
        CLEANED(test_a_torn_file_is_not_replaced),
        CLEANED(test_needless_journals),
        CLEANED(test_while_it_is_edited_in_place),
        CLEANED(test_two_edits),
        CLEANED(test_changed_at_the_end),
        CLEANED(test_names_that_are_alike),
        CLEANED(test_locks),
    };
    return cmocka_run_group_tests_name("edit_torn", tests, in_place_make, scratch_folder_drop);
}
