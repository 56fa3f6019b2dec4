/* SPDX-License-Identifier: Apache-2.0 */
/* What an edit in place changes, what it refuses, and what becomes of journals that are not its own. */
#include "file/in_place.h"

#include "io/journal.h"
#include "file/settled.h"

#include <sys/file.h>

/* -------------------------------------------------------------------------------- changes */

/* An edit of the file at the path, open. */
typedef struct opened {
    st_file *file;
    st_edit *edit;
} opened;

static opened edit_open(void)
{
    opened o;
    CHECK_OK(st_file_open(edited_path(), NULL, &o.file, &error));
    CHECK_OK(st_edit_new(o.file, NULL, &o.edit, &error));
    return o;
}

static void edit_close(opened *o)
{
    st_edit_free(o->edit);
    st_file_close(o->file);
}

static void metadata_set(opened *o, const char *value, uint32_t len)
{
    st_metadata pair = {.key = "k", .key_len = 1, .value = value, .value_len = len};
    CHECK_OK(st_edit_set_metadata(o->edit, &pair, &error));
}

static void test_all_at_once(void **state)
{
    (void)state;
    put_edited();
    struct stat before, after;
    assert_int_equal(stat(edited_path(), &before), 0);
    st_file *file;
    st_edit *edit;
    st_edit_summary looked = {0}, done = {0};
    CHECK_OK(st_file_open(edited_path(), NULL, &file, &error));
    CHECK_OK(edit_make(file, NULL, &edit, &error));
    CHECK_OK(st_edit_look(edit, &looked, &error));
    assert_true(looked.in_place);
    assert_int_equal(looked.room, IN_PLACE_HEADER);
    assert_true(looked.header < IN_PLACE_HEADER);
    CHECK_OK(st_edit_look_in_place(edit, NULL, &error));
    CHECK_OK(st_edit_look_in_place(edit, &looked, &error));
    assert_true(is_old());
    CHECK_OK(st_edit_write_in_place(edit, edited_path(), &done, &error));
    assert_memory_equal(&looked, &done, sizeof done);
    assert_true(is_new());
    assert_int_equal(count_in_scratch(), 1);
    assert_int_equal(done.size, IN_PLACE_SIZE);
    assert_int_equal(done.replaced, 2);
    assert_int_equal(done.renamed, 1);
    assert_int_equal(done.written, 1400);
    assert_int_equal(done.moved, 100);
    assert_int_equal(stat(edited_path(), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(before.st_mode, after.st_mode);
    assert_true(after.st_mtim.tv_sec > before.st_mtim.tv_sec);
    /* The file that the edit was made of is another one now. */
    unsigned char got[100];
    CHECK_ERR(st_file_read(file, st_file_find(file, "b", 1), NULL, got, 100, &error),
              ST_ERR_CHANGED, ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_edit_write_in_place(edit, edited_path(), NULL, &error), ST_ERR_CHANGED,
                   ST_NO_OFFSET, "changed since it was opened");
    st_edit_free(edit);
    st_file_close(file);
    CHECK_OK(st_file_open(edited_path(), NULL, &file, &error));
    assert_non_null(st_file_find(file, "bias", 4));
    st_file_close(file);
}

static unsigned writes;

static ssize_t counted_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    writes++;
    return fault_pwritev(fd, pieces, count, offset);
}

static void test_nothing_to_change(void **state)
{
    (void)state;
    put_edited();
    opened o = edit_open();
    st__os_calls.pwritev = counted_pwritev;
    writes = 0;
    CHECK_OK(st_edit_write_in_place(o.edit, edited_path(), NULL, &error));
    assert_int_equal(writes, 0);
    assert_true(is_old());
    assert_int_equal(count_in_scratch(), 1);
    edit_close(&o);
}

/* To the last byte of the room, and one more. */
static void test_room(void **state)
{
    (void)state;
    put_edited();
    static char value[IN_PLACE_HEADER];
    memset(value, 'v', sizeof value);
    opened o = edit_open();
    st_edit_summary summary = {0};
    metadata_set(&o, value, 1);
    CHECK_OK(st_edit_look(o.edit, &summary, &error));
    uint32_t fits = 1 + IN_PLACE_HEADER - (uint32_t)summary.header;
    metadata_set(&o, value, fits + 1);
    CHECK_OK(st_edit_look(o.edit, &summary, &error));
    assert_false(summary.in_place);
    assert_int_equal(summary.header, IN_PLACE_HEADER + 1);
    CHECK_ERR_TEXT(st_edit_write_in_place(o.edit, edited_path(), NULL, &error), ST_ERR_NO_ROOM,
                   ST_NO_OFFSET, "401 bytes and has room for 400");
    assert_true(is_old());
    metadata_set(&o, value, fits);
    CHECK_OK(st_edit_look(o.edit, &summary, &error));
    assert_true(summary.in_place);
    CHECK_OK(st_edit_write_in_place(o.edit, edited_path(), NULL, &error));
    edit_close(&o);
    /* And back to what is much shorter: blanks fill the rest. */
    o = edit_open();
    assert_int_equal(st_header_size(st_file_header(o.file)), IN_PLACE_HEADER);
    metadata_set(&o, "v", 1);
    CHECK_OK(st_edit_write_in_place(o.edit, edited_path(), NULL, &error));
    edit_close(&o);
    assert_true(is_old());
}

typedef void (*change_fn)(opened *o);

static const st_tensor *named(const opened *o, const char *name)
{
    const st_tensor *tensor = st_file_find(o->file, name, strlen(name));
    assert_non_null(tensor);
    return tensor;
}

static void change_drop_first(opened *o)
{
    CHECK_OK(st_edit_drop(o->edit, named(o, "a"), &error));
}

static void change_drop_last(opened *o)
{
    CHECK_OK(st_edit_drop(o->edit, named(o, "c"), &error));
}

/* To as many bytes. */
static void change_cast(opened *o)
{
    CHECK_OK(st_edit_cast(o->edit, named(o, "b"), ST_BF16, &error));
}

static void change_size(opened *o)
{
    static const uint64_t shape[] = {999};
    st_array array = {.data = new_a, .shape = shape, .ndim = 1, .dtype = ST_U8};
    CHECK_OK(st_edit_replace(o->edit, named(o, "a"), &array, &error));
}

static void change_add(opened *o)
{
    static const uint64_t shape[] = {1};
    st_array array = {.data = new_a, .shape = shape, .ndim = 1, .dtype = ST_U8};
    CHECK_OK(st_edit_add(o->edit, "z", 1, &array, &error));
}

/* The same is told when it is only looked at. */
static void check_refused(st_edit *edit, st_status status)
{
    st_edit_summary untouched = {.size = 1};
    st_error looked = {.status = ST_OK}, written = {.status = ST_OK};
    assert_int_equal(st_edit_look_in_place(edit, &untouched, &looked), status);
    assert_int_equal(st_edit_write_in_place(edit, edited_path(), &untouched, &written), status);
    assert_int_equal(untouched.size, 1);
    assert_string_equal(looked.message, written.message);
    assert_true(looked.offset == ST_NO_OFFSET && written.offset == ST_NO_OFFSET);
}

static void test_what_would_move_is_refused(void **state)
{
    (void)state;
    static const change_fn changes[] = {change_drop_first, change_drop_last, change_cast,
                                        change_size, change_add};
    put_edited();
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        opened o = edit_open();
        st_edit_summary summary = {0};
        changes[i](&o);
        CHECK_OK(st_edit_look(o.edit, &summary, &error));
        assert_false(summary.in_place);
        check_refused(o.edit, ST_ERR_NO_ROOM);
        assert_true(is_old());
        assert_int_equal(count_in_scratch(), 1);
        edit_close(&o);
    }
}

static void test_strided_array(void **state)
{
    (void)state;
    put_edited();
    static unsigned char wide[400][3];
    static const uint64_t shape[] = {400};
    static const int64_t strides[] = {-3};
    for (size_t i = 0; i < 400; i++)
        wide[399 - i][0] = new_c[i];
    st_array array = {
        .data = wide[399], .shape = shape, .strides = strides, .ndim = 1, .dtype = ST_U8};
    opened o = edit_open();
    CHECK_OK(st_edit_replace(o.edit, named(&o, "c"), &array, &error));
    CHECK_OK(st_edit_write_in_place(o.edit, edited_path(), NULL, &error));
    edit_close(&o);
    unsigned char expected[IN_PLACE_SIZE];
    memcpy(expected, old_file, sizeof expected);
    memcpy(expected + 8 + IN_PLACE_HEADER + 1100, new_c, 400);
    assert_true(file_is(edited_path(), expected, sizeof expected));
}

/* ------------------------------------------------------------------------------- progress */

static uint64_t told_done, told_total;

static bool tell(void *ctx, uint64_t done, uint64_t total)
{
    told_done = done;
    told_total = total;
    return ctx == NULL;
}

static void test_progress(void **state)
{
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        st_edit_options options = {.progress = {tell, stops ? &options : NULL}};
        static const uint64_t shape[] = {1000};
        st_array a = {.data = new_a, .shape = shape, .ndim = 1, .dtype = ST_U8};
        opened o;
        put_edited();
        CHECK_OK(st_file_open(edited_path(), NULL, &o.file, &error));
        CHECK_OK(st_edit_new(o.file, &options, &o.edit, &error));
        CHECK_OK(st_edit_replace(o.edit, named(&o, "a"), &a, &error));
        told_done = told_total = 0;
        CHECK_ERR(st_edit_write_in_place(o.edit, edited_path(), NULL, &error),
                  stops ? ST_ERR_STOPPED : ST_OK, stops ? ST_NO_OFFSET : 0);
        assert_int_equal(told_total, 1000);
        assert_int_equal(told_done, 1000);
        assert_int_equal(is_old(), stops);
        assert_int_equal(count_in_scratch(), 1);
        edit_close(&o);
    }
}

/* -------------------------------------------------------------------------------- refusals */

static void test_another_file(void **state)
{
    (void)state;
    put_edited();
    opened o = edit_open();
    metadata_set(&o, "w", 1);
    put_file(in_scratch("other"), old_file, sizeof old_file);
    CHECK_ERR_TEXT(st_edit_write_in_place(o.edit, in_scratch("other"), NULL, &error),
                   ST_ERR_CHANGED, ST_NO_OFFSET, "another file");
    assert_true(file_is(in_scratch("other"), old_file, sizeof old_file));
    CHECK_ERR(st_edit_write_in_place(o.edit, in_scratch("none"), NULL, &error), ST_ERR_IO,
              ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_edit_write_in_place(o.edit, scratch, NULL, &error), ST_ERR_UNSUPPORTED,
                   ST_NO_OFFSET, "a directory");
    edit_close(&o);
}

static void test_an_edit_of_no_file(void **state)
{
    (void)state;
    st_edit *edit;
    put_edited();
    CHECK_OK(st_edit_new(NULL, NULL, &edit, &error));
    CHECK_ERR(st_edit_write_in_place(edit, edited_path(), NULL, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_edit_look_in_place(edit, NULL, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "made of no file");
    st_edit_free(edit);
    assert_true(is_old());
}

static void test_locked(void **state)
{
    (void)state;
    put_edited();
    int fd = open(edited_path(), O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    st_error error = {.status = ST_OK};
    assert_int_equal(edit_all(NULL, &error), ST_ERR_IO);
    assert_int_equal(error.sys_errno, EAGAIN);
    assert_non_null(strstr(error.message, "under way"));
    put_file(journal_path(), "", 0);
    assert_int_equal(st_edit_recover(edited_path(), NULL, NULL, &error), ST_ERR_IO);
    assert_int_equal(error.sys_errno, EAGAIN);
    assert_true(journal_exists());
    close(fd);
    assert_int_equal(edit_all(NULL, &error), ST_OK);
    assert_true(is_new());
}

static int no_locks(int fd, int operation)
{
    (void)fd;
    (void)operation;
    errno = ENOLCK;
    return -1;
}

static void test_a_file_system_without_locks(void **state)
{
    (void)state;
    put_edited();
    st__os_calls.flock = no_locks;
    CHECK_OK(edit_all(NULL, &error));
    assert_true(is_new());
}

static void test_a_long_name(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'n', 255);
    name[250] = '\0';
    put_file(in_scratch(name), old_file, sizeof old_file);
    opened o;
    bool recovered = true;
    CHECK_OK(st_file_open(in_scratch(name), NULL, &o.file, &error));
    CHECK_OK(st_edit_new(o.file, NULL, &o.edit, &error));
    metadata_set(&o, "w", 1);
    CHECK_ERR_TEXT(st_edit_write_in_place(o.edit, in_scratch(name), NULL, &error), ST_ERR_IO,
                   ST_NO_OFFSET, "cannot be created");
    CHECK_OK(st_edit_recover(in_scratch(name), NULL, &recovered, &error));
    assert_false(recovered);
    assert_true(file_is(in_scratch(name), old_file, sizeof old_file));
    edit_close(&o);
}

/* Somebody who does not ask for the lock acts when the journal is whole, and before anything is overwritten. */
static void (*unlocked)(void);

static int meddling_fsync(int fd)
{
    struct stat s;
    int result = fault_fsync(fd);
    if (fstat(fd, &s) == 0 && S_ISDIR(s.st_mode) && unlocked) {
        void (*act)(void) = unlocked;
        unlocked = NULL;
        act();
    }
    return result;
}

static void replace_it(void)
{
    put_file(in_scratch("copy"), "another", 7);
    assert_int_equal(rename(in_scratch("copy"), edited_path()), 0);
}

static void replace_journal(void)
{
    int fd = open(in_scratch("keeps the number"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(unlink(journal_path()), 0);
    put_file(journal_path(), "another", 7);
    close(fd);
}

static void remove_journal(void)
{
    assert_int_equal(unlink(journal_path()), 0);
}

static void check_meddled(void (*act)(void), const char *text)
{
    put_edited();
    (void)unlink(in_scratch("kept"));
    assert_int_equal(link(edited_path(), in_scratch("kept")), 0);
    unlocked = act;
    st__os_calls.fsync = meddling_fsync;
    CHECK_ERR_TEXT(edit_all(NULL, &error), ST_ERR_CHANGED, ST_NO_OFFSET, text);
    assert_true(file_is(in_scratch("kept"), old_file, sizeof old_file));
}

static void test_meddled_with_before(void **state)
{
    (void)state;
    check_meddled(replace_it, "replaced at this moment");
    assert_true(file_is(edited_path(), "another", 7));
    assert_false(journal_exists());
    check_meddled(remove_journal, "removed it at this moment");
    assert_true(is_old() && !journal_exists());
    check_meddled(replace_journal, "removed it at this moment");
    assert_true(is_old() && file_is(journal_path(), "another", 7));
}

/* The same when the first bytes were overwritten. */
static ssize_t meddling_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    struct stat s, edited;
    ssize_t result = fault_pwritev(fd, pieces, count, offset);
    if (fstat(fd, &s) == 0 && stat(edited_path(), &edited) == 0 && s.st_ino == edited.st_ino)
        replace_it();
    return result;
}

static void test_replaced_meanwhile(void **state)
{
    (void)state;
    put_edited();
    assert_int_equal(link(edited_path(), in_scratch("kept")), 0);
    st__os_calls.pwritev = meddling_pwritev;
    CHECK_ERR_TEXT(edit_all(NULL, &error), ST_ERR_CHANGED, ST_NO_OFFSET, "is left");
    os_calls_restore();
    assert_true(file_is(edited_path(), "another", 7));
    assert_true(file_is(in_scratch("kept"), new_file, sizeof new_file));
    st_recovery found;
    CHECK_OK(st_recovery_look(edited_path(), NULL, &found, &error));
    assert_int_equal(found.action, ST_RECOVERY_FOREIGN);
}

/* Bytes of tensors only: what the header says stays said as it was. */
static void test_a_header_of_others(void **state)
{
    (void)state;
    static const char spaced[] = "{ \"a\" : {\"shape\":[2, 2], \"data_offsets\":[0, 4], "
                                 "\"dtype\" : \"U8\"} }       ";
    unsigned char bytes[8 + sizeof spaced - 1 + 4] = {sizeof spaced - 1};
    static const uint64_t square[] = {2, 2}, row[] = {4};
    char new_data[] = "new!";
    st_array array = {.data = new_data, .shape = square, .ndim = 2, .dtype = ST_U8};
    memcpy(bytes + 8, spaced, sizeof spaced - 1);
    memcpy(bytes + 8 + sizeof spaced - 1, "old!", 4);
    put_file(edited_path(), bytes, sizeof bytes);
    opened o = edit_open();
    CHECK_OK(st_edit_replace(o.edit, st_file_at(o.file, 0), &array, &error));
    CHECK_OK(st_edit_rename(o.edit, st_file_at(o.file, 0), "a", 1, &error));
    CHECK_OK(st_edit_write_in_place(o.edit, edited_path(), NULL, &error));
    edit_close(&o);
    memcpy(bytes + 8 + sizeof spaced - 1, "new!", 4);
    assert_true(file_is(edited_path(), bytes, sizeof bytes));
    /* Of another shape it says so. */
    array.shape = row;
    array.ndim = 1;
    o = edit_open();
    CHECK_OK(st_edit_replace(o.edit, st_file_at(o.file, 0), &array, &error));
    CHECK_OK(st_edit_write_in_place(o.edit, edited_path(), NULL, &error));
    edit_close(&o);
    assert_false(file_is(edited_path(), bytes, sizeof bytes));
    o = edit_open();
    assert_int_equal(st_file_at(o.file, 0)->ndim, 1);
    edit_close(&o);
}

/* The journal stands beside the file that a link leads to. */
static void test_links(void **state)
{
    (void)state;
    put_edited();
    assert_int_equal(mkdir(in_scratch("elsewhere"), 0755), 0);
    assert_int_equal(symlink("../model.safetensors", in_scratch("elsewhere/link")), 0);
    put_file(journal_path(), "", 0);
    st_recovery found;
    CHECK_OK(st_recovery_look(in_scratch("elsewhere/link"), NULL, &found, &error));
    assert_int_equal(found.action, ST_RECOVERY_UNFINISHED);
    opened o;
    CHECK_OK(st_file_open(in_scratch("elsewhere/link"), NULL, &o.file, &error));
    CHECK_OK(edit_make(o.file, NULL, &o.edit, &error));
    CHECK_OK(st_edit_write_in_place(o.edit, in_scratch("elsewhere/link"), NULL, &error));
    edit_close(&o);
    assert_true(is_new());
    assert_false(journal_exists());
}

static void test_the_store_of_a_hub_cache(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_scratch("blobs"), 0755), 0);
    assert_int_equal(mkdir(in_scratch("snapshots"), 0755), 0);
    put_file(in_scratch("blobs/digest"), old_file, sizeof old_file);
    assert_int_equal(symlink("../blobs/digest", in_scratch("snapshots/model")), 0);
    opened o;
    CHECK_OK(st_file_open(in_scratch("snapshots/model"), NULL, &o.file, &error));
    CHECK_OK(edit_make(o.file, NULL, &o.edit, &error));
    CHECK_ERR_TEXT(st_edit_write_in_place(o.edit, in_scratch("snapshots/model"), NULL, &error),
                   ST_ERR_UNSUPPORTED, ST_NO_OFFSET, "hub cache");
    edit_close(&o);
    CHECK_OK(st_file_open(in_scratch("blobs/digest"), NULL, &o.file, &error));
    CHECK_OK(edit_make(o.file, NULL, &o.edit, &error));
    CHECK_ERR_TEXT(st_edit_write_in_place(o.edit, in_scratch("blobs/digest"), NULL, &error),
                   ST_ERR_UNSUPPORTED, ST_NO_OFFSET, "hub cache");
    edit_close(&o);
    assert_true(file_is(in_scratch("blobs/digest"), old_file, sizeof old_file));
    bool recovered = true; /* there can be nothing */
    CHECK_OK(st_edit_recover(in_scratch("snapshots/model"), NULL, &recovered, &error));
    assert_false(recovered);
}

/* ---------------------------------------------------------------------------- the journal's rights */

static mode_t journal_mode;
static unsigned journal_seen;

static ssize_t looking_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    struct stat s;
    if (lstat(journal_path(), &s) == 0) {
        journal_mode = s.st_mode & 0777;
        journal_seen++;
    }
    return fault_pwritev(fd, pieces, count, offset);
}

/* It holds bytes of the file: who may not read that one may not read it, and who shares the file can recover it. */
static void test_rights(void **state)
{
    (void)state;
    static const mode_t modes[] = {0600, 0640, 0664};
    for (int i = 0; i < 3; i++) {
        put_edited();
        assert_int_equal(chmod(edited_path(), modes[i]), 0);
        st__os_calls.pwritev = looking_pwritev;
        journal_seen = 0;
        CHECK_OK(edit_all(NULL, &error));
        assert_true(journal_seen > 5);
        assert_int_equal(journal_mode, modes[i]);
    }
}

/* -------------------------------------------------------------------------- the header cache */

static void test_the_header_cache(void **state)
{
    (void)state;
    st_context *context;
    st_file *file;
    put_edited();
    CHECK_OK(st_context_new(NULL, &context, &error));
    st_open_options options = {.context = context};
    st__os_calls.fstat = settled_fstat;
    st__os_calls.fstatat = settled_fstatat;
    CHECK_OK(st_file_open(edited_path(), &options, &file, &error));
    const st_header *header = st_file_header(file);
    st_file_close(file);
    CHECK_OK(st_file_open(edited_path(), &options, &file, &error));
    assert_ptr_equal(st_file_header(file), header);
    st_file_close(file);
    CHECK_OK(edit_all(context, &error));
    CHECK_OK(st_file_open(edited_path(), &options, &file, &error));
    assert_non_null(st_file_find(file, "bias", 4));
    st_file_close(file);
    st_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_all_at_once),
        CLEANED(test_nothing_to_change),
        CLEANED(test_room),
        CLEANED(test_what_would_move_is_refused),
        CLEANED(test_strided_array),
        CLEANED(test_progress),
        CLEANED(test_another_file),
        CLEANED(test_an_edit_of_no_file),
        CLEANED(test_locked),
        CLEANED(test_a_file_system_without_locks),
        CLEANED(test_a_long_name),
        CLEANED(test_meddled_with_before),
        CLEANED(test_replaced_meanwhile),
        CLEANED(test_a_header_of_others),
        CLEANED(test_links),
        CLEANED(test_the_store_of_a_hub_cache),
        CLEANED(test_rights),
        CLEANED(test_the_header_cache),
    };
    return cmocka_run_group_tests_name("edit_in_place", tests, in_place_make, scratch_folder_drop);
}
