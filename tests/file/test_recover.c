/* SPDX-License-Identifier: Apache-2.0 */
/* Every row of the table in docs/journal.md: which journals are played back over which files, and which are not. */
#include "file/left.h"

#include "base/checksum.h"
#include "base/endian.h"

#define CHECK_ACTION(action) check_action(CHECK_PLACE(#action), action)

/* What is seen is what is done; what is left then is no journal, and the second time there is nothing to do. */
static void check_action(const check_place *place, uint32_t action)
{
    st_recovery found;
    st_error error = {.status = ST_OK};
    bool recovered = false;
    st_status status = st_recovery_look(edited_path(), NULL, &found, &error);
    check_error(place, status, &error, ST_OK, 0, NULL);
    if (found.action != action)
        _fail(place->file, place->line);
    bool knows = action >= ST_RECOVERY_FORWARD;
    assert_int_equal(found.stretches, knows ? 2 : 0);
    assert_int_equal(found.size, knows ? FIRST_SIZE + SECOND_SIZE : 0);
    assert_int_equal(action != ST_RECOVERY_NONE, journal_exists());
    status = st_edit_recover(edited_path(), NULL, &recovered, &error);
    check_error(place, status, &error, ST_OK, 0, NULL);
    assert_int_equal(recovered, action == ST_RECOVERY_BACK);
    assert_false(journal_exists());
    assert_int_equal(st_edit_recover(edited_path(), NULL, &recovered, NULL), ST_OK);
    assert_false(recovered);
}

#define CHECK_REFUSED(offset, text) check_refused(CHECK_PLACE(text), offset, text)

/* Both stay as they are. */
static void check_refused(const check_place *place, uint64_t offset, const char *text)
{
    st_recovery found = {.action = 99};
    bool recovered = true;
    st_error looked = {.status = ST_OK}, error = {.status = ST_OK};
    st_status status = st_recovery_look(edited_path(), NULL, &found, &looked);
    check_error(place, status, &looked, ST_ERR_JOURNAL, offset, text);
    status = st_edit_recover(edited_path(), NULL, &recovered, &error);
    check_error(place, status, &error, ST_ERR_JOURNAL, offset, text);
    assert_int_equal(found.action, 99);
    assert_true(recovered && journal_exists());
}

/* ------------------------------------------------------------------------- what the file holds */

static void test_nothing_there(void **state)
{
    (void)state;
    put_file(edited_path(), was, sizeof was);
    CHECK_ACTION(ST_RECOVERY_NONE);
    assert_true(file_holds(was));
    assert_int_equal(unlink(edited_path()), 0);
    CHECK_ERR(st_edit_recover(edited_path(), NULL, NULL, &error), ST_ERR_IO, ST_NO_OFFSET);
    /* A file that was moved away may come back: its journal waits. */
    put_file(journal_path(), "", 0);
    CHECK_ERR(st_edit_recover(edited_path(), NULL, NULL, &error), ST_ERR_IO, ST_NO_OFFSET);
    assert_true(journal_exists());
}

static void test_same_file(void **state)
{
    (void)state;
    put_left(HOLDS_OLD);
    CHECK_ACTION(ST_RECOVERY_BACK);
    assert_true(file_holds(was));
    put_left(HOLDS_MIXED);
    CHECK_ACTION(ST_RECOVERY_BACK);
    assert_true(file_holds(was));
    put_left(HOLDS_NEW);
    CHECK_ACTION(ST_RECOVERY_FORWARD);
    assert_true(file_holds(becomes));
    /* A new file in the old inode, of the same size: its bytes are not the journal's to overwrite. */
    put_left(HOLDS_OTHER);
    CHECK_REFUSED(ST_NO_OFFSET, "changed by something else");
    assert_true(file_holds(holds));
    assert_int_equal(truncate(edited_path(), FILE_SIZE - 1), 0);
    CHECK_REFUSED(ST_NO_OFFSET, "another size");
    assert_true(file_is(edited_path(), holds, FILE_SIZE - 1));
}

static void test_another_inode(void **state)
{
    (void)state;
    static const int harmless[] = {HOLDS_OLD, HOLDS_NEW, HOLDS_OTHER};
    put_left(HOLDS_MIXED);
    change_inode();
    assert_int_equal(truncate(edited_path(), FILE_SIZE - 1), 0);
    CHECK_ACTION(ST_RECOVERY_FOREIGN);
    assert_true(file_is(edited_path(), holds, FILE_SIZE - 1));
    for (int i = 0; i < 3; i++) {
        put_left(harmless[i]);
        change_inode();
        CHECK_ACTION(ST_RECOVERY_FOREIGN);
        assert_true(file_holds(holds));
    }
    put_left(HOLDS_MIXED);
    change_inode();
    CHECK_REFUSED(ST_NO_OFFSET, "another file");
    assert_true(file_holds(holds));
}

static int fat_fstatfs(int fd, struct statfs *out)
{
    int result = fault_fstatfs(fd, out);
    out->f_type = 0x4d44;
    return result;
}

/* Where inodes get new numbers with every mount, only the bytes count. */
static void test_numbers_that_do_not_last(void **state)
{
    (void)state;
    st__os_calls.fstatfs = fat_fstatfs;
    put_left(HOLDS_MIXED);
    change_inode();
    CHECK_ACTION(ST_RECOVERY_BACK);
    assert_true(file_holds(was));
    put_left(HOLDS_OTHER);
    change_inode();
    CHECK_REFUSED(ST_NO_OFFSET, "changed by something else");
    assert_true(file_holds(holds));
}

/* ---------------------------------------------------------------------- what the journal holds */

static unsigned char journal[FILE_SIZE * 3];
static size_t journal_size;

static void journal_load(void)
{
    int fd = open(journal_path(), O_RDONLY);
    ssize_t got = read(fd, journal, sizeof journal);
    assert_true(got > 0 && (size_t)got < sizeof journal);
    close(fd);
    journal_size = (size_t)got;
}

static void journal_store(size_t size)
{
    put_file(journal_path(), journal, size);
}

static void sum_store(size_t at, size_t size)
{
    st__store_le64(journal + at + size, st__checksum(ST__CHECKSUM_NONE, journal + at, size));
}

/* One byte of it is another: everywhere in what describes, and here and there in what is described. */
static void test_any_damage_is_seen(void **state)
{
    (void)state;
    put_left(HOLDS_MIXED);
    journal_load();
    const size_t second = 64 + 40 + 2 * FIRST_SIZE;
    unsigned tried = 0;
    for (size_t i = 0; i < journal_size; i++) {
        if (i >= second + 40 && i < journal_size - 32 && i % 4001 != 0)
            continue;
        st_error error = {.status = ST_OK};
        journal[i] ^= 0x20;
        journal_store(journal_size);
        if (st_edit_recover(edited_path(), NULL, NULL, &error) != ST_ERR_JOURNAL)
            fail_msg("byte %zu: %s", i, st_status_name(error.status));
        assert_true(journal_exists());
        journal[i] ^= 0x20;
        tried++;
    }
    assert_true(tried > 200);
    assert_true(file_holds(holds));
    journal_store(journal_size);
    CHECK_ACTION(ST_RECOVERY_BACK);
    assert_true(file_holds(was));
}

/* A beginning of it is one that was not finished. */
static void test_cut_off(void **state)
{
    (void)state;
    put_left(HOLDS_OLD);
    journal_load();
    for (size_t size = 0; size < journal_size;
         size += size < 300 || size + 50 > journal_size ? 1 : 997) {
        journal_store(size);
        CHECK_ACTION(ST_RECOVERY_UNFINISHED);
    }
    /* As long as it should be, but the mark did not reach the disk; and not even the head. */
    memset(journal + journal_size - 32, 0, 32);
    journal_store(journal_size);
    CHECK_ACTION(ST_RECOVERY_UNFINISHED);
    memset(journal, 0, journal_size);
    journal_store(journal_size);
    CHECK_ACTION(ST_RECOVERY_UNFINISHED);
    assert_true(file_holds(was));
}

static void test_what_is_no_journal(void **state)
{
    (void)state;
    put_left(HOLDS_MIXED);
    journal_load();
    journal_store(journal_size + 1);
    CHECK_REFUSED(journal_size, "bytes behind its end");
    st__store_le32(journal + 8, 2);
    sum_store(0, 56);
    journal_store(journal_size);
    CHECK_REFUSED(8, "version 2");
    put_file(journal_path(), "notes of mine", 13);
    CHECK_REFUSED(0, "no journal");
    put_file(journal_path(), "n", 1);
    CHECK_REFUSED(0, "no journal");
    assert_int_equal(unlink(journal_path()), 0);
    assert_int_equal(symlink("elsewhere", journal_path()), 0);
    CHECK_REFUSED(ST_NO_OFFSET, "symbolic link");
    assert_int_equal(unlink(journal_path()), 0);
    assert_int_equal(mkfifo(journal_path(), 0600), 0);
    CHECK_REFUSED(ST_NO_OFFSET, "no regular file");
    assert_int_equal(unlink(journal_path()), 0);
    assert_int_equal(mkdir(journal_path(), 0700), 0);
    CHECK_REFUSED(ST_NO_OFFSET, "no regular file");
    assert_true(file_holds(holds));
}

/* Writes a field of a record or of the head, with all sums right but those of the bytes. */
static void forge(size_t at, uint64_t value)
{
    const size_t second = 64 + 40 + 2 * FIRST_SIZE;
    put_left(HOLDS_MIXED);
    journal_load();
    st__store_le64(journal + at, value);
    sum_store(0, 56);
    sum_store(64, 32);
    sum_store(second, 32);
    size_t mark = journal_size - 32;
    uint64_t chain = st__checksum(ST__CHECKSUM_NONE, journal + 64, 40);
    st__store_le64(journal + mark + 16, st__checksum(chain, journal + second, 40));
    sum_store(mark, 24);
    journal_store(journal_size);
}

static void test_forged(void **state)
{
    (void)state;
    const size_t second = 64 + 40 + 2 * FIRST_SIZE;
    const size_t end_of_records = second + 40 + 2 * SECOND_SIZE;
    forge(64, FIRST_AT); /* as it was */
    CHECK_ACTION(ST_RECOVERY_BACK);
    forge(64, FILE_SIZE - FIRST_SIZE + 1);
    CHECK_REFUSED(64, "not of the file");
    forge(64, UINT64_MAX - 2);
    CHECK_REFUSED(64, "not of the file");
    forge(second, FIRST_AT + FIRST_SIZE - 1);
    CHECK_REFUSED(second, "not of the file");
    forge(64 + 8, 0);
    CHECK_REFUSED(64, "longer than the journal");
    forge(64 + 8, UINT64_MAX);
    CHECK_REFUSED(64, "longer than the journal");
    forge(second + 8, SECOND_SIZE + 2);
    CHECK_REFUSED(second, "longer than the journal");
    forge(second + 8, SECOND_SIZE - 1);
    CHECK_REFUSED(second + 40, "bytes of a record");
    forge(24, 1);
    CHECK_REFUSED(second, "more than its records");
    forge(24, 3);
    CHECK_REFUSED(end_of_records, "record is missing");
    forge(16, journal_size + 1);
    CHECK_REFUSED(0, "head is damaged");
    forge(32, FILE_SIZE + 1);
    CHECK_REFUSED(ST_NO_OFFSET, "another size");
    assert_true(file_holds(holds));
    forge(64, FIRST_AT); /* what fills the space before the mark is zeros */
    assert_int_equal(journal[journal_size - 33], 0);
    journal[journal_size - 33] = 1;
    journal_store(journal_size);
    CHECK_REFUSED(end_of_records, "more than its records");
    forge(64, FIRST_AT);
    st__store_le64(journal + journal_size - 16, 1);
    sum_store(journal_size - 32, 24);
    journal_store(journal_size);
    CHECK_REFUSED(end_of_records, "mark is not of its records");
}

static struct stat foreign; /* what belongs to somebody else */

static int foreign_fstat(int fd, struct stat *out)
{
    int result = fault_fstat(fd, out);
    if (out->st_ino == foreign.st_ino && out->st_dev == foreign.st_dev)
        out->st_uid = geteuid() + 4711;
    return result;
}

static void test_of_another_user(void **state)
{
    (void)state;
    put_left(HOLDS_MIXED);
    assert_int_equal(stat(journal_path(), &foreign), 0);
    st__os_calls.fstat = foreign_fstat;
    CHECK_REFUSED(ST_NO_OFFSET, "another user");
    assert_true(file_holds(holds));
    /* The file's owner may have made it. */
    assert_int_equal(stat(edited_path(), &foreign), 0);
    CHECK_ACTION(ST_RECOVERY_BACK);
    assert_true(file_holds(was));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_nothing_there),      CLEANED(test_same_file),
        CLEANED(test_another_inode),      CLEANED(test_numbers_that_do_not_last),
        CLEANED(test_any_damage_is_seen), CLEANED(test_cut_off),
        CLEANED(test_what_is_no_journal), CLEANED(test_forged),
        CLEANED(test_of_another_user),
    };
    return cmocka_run_group_tests_name("recover", tests, bytes_make, scratch_folder_drop);
}
