/* SPDX-License-Identifier: Apache-2.0 */
/* The power fails before each call of an edit in place, and of a recovery, in turn. The calls are recorded; for each
 * beginning of the record all states are built that the disk may then be in, and recovering from each of them must give
 * the old bytes or the new ones.
 *
 * The disk's rules: what was written to a file since its last sync has each reached the disk or not, in any choice, or
 * as far as one of its sectors; what did not reads as it did before, or as zeros. What a file grew by may be known or
 * not. What was done to names since the directory's last sync has happened up to some point, in order. */
#include "file/in_place.h"

#define STEPS_MAX  64
#define SECTOR     512u
#define WRITES_MAX 12 /* that may not have reached the disk */

enum { EDITED, JOURNAL, FOLDER };
enum { CREATE, WRITE, SYNC, REMOVE };

typedef struct recorded {
    int kind;
    int file;
    size_t offset, size;
    unsigned char data[1100];
} recorded;

static struct {
    recorded steps[STEPS_MAX];
    unsigned count;
} record;

/* What is on the disk. */
typedef struct disk {
    unsigned char file[IN_PLACE_SIZE];
    unsigned char journal[16384];
    size_t journal_size;
    bool has_journal;
} disk;

static recorded *step_add(int kind, int file)
{
    assert_true(record.count < STEPS_MAX);
    recorded *step = &record.steps[record.count++];
    step->kind = kind;
    step->file = file;
    return step;
}

static int file_of(int fd)
{
    struct stat s, edited;
    assert_int_equal(fstat(fd, &s), 0);
    assert_int_equal(stat(edited_path(), &edited), 0);
    return S_ISDIR(s.st_mode) ? FOLDER : s.st_ino == edited.st_ino ? EDITED : JOURNAL;
}

static int recording_openat(int directory, const char *path, int flags, mode_t mode)
{
    int fd = openat(directory, path, flags, mode);
    if (fd >= 0 && (flags & O_CREAT))
        step_add(CREATE, JOURNAL);
    return fd;
}

static ssize_t recording_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    recorded *step = step_add(WRITE, file_of(fd));
    assert_int_equal(count, 1);
    assert_true(pieces[0].iov_len <= sizeof step->data);
    step->offset = (size_t)offset;
    step->size = pieces[0].iov_len;
    memcpy(step->data, pieces[0].iov_base, step->size);
    return pwritev(fd, pieces, count, offset);
}

static int recording_fsync(int fd)
{
    step_add(SYNC, file_of(fd));
    return 0;
}

static int recording_unlinkat(int directory, const char *path, int flags)
{
    step_add(REMOVE, JOURNAL);
    return unlinkat(directory, path, flags);
}

static int no_fsync(int fd)
{
    (void)fd;
    return 0;
}

static void recording_begin(void)
{
    record.count = 0;
    st__os_calls.openat = recording_openat;
    st__os_calls.pwritev = recording_pwritev;
    st__os_calls.fsync = recording_fsync;
    st__os_calls.unlinkat = recording_unlinkat;
}

static void recording_end(void)
{
    /* The journal does not come back. */
    const recorded *last = &record.steps[record.count - 1];
    assert_true(last->kind == SYNC && last->file == FOLDER && last[-1].kind == REMOVE);
    os_calls_restore();
    st__os_calls.fsync = no_fsync; /* of what is built here nothing need survive */
}

/* ---------------------------------------------------------------------------- what may be there */

static unsigned last_sync(int file, unsigned steps)
{
    while (steps > 0 &&
           (record.steps[steps - 1].kind != SYNC || record.steps[steps - 1].file != file))
        steps--;
    return steps;
}

/* How much of a write reaches the disk. */
enum { NOTHING, ALL, FIRST_SECTORS, LAST_SECTORS, WAYS };

/* Applies a write, or the sectors of it that come through; tells whether that is more than nothing and less than all. */
static void write_apply(disk *d, const recorded *step, int way)
{
    unsigned char *to = step->file == EDITED ? d->file : d->journal;
    size_t from = step->offset, end = step->offset + step->size;
    size_t first_end = (from / SECTOR + 1) * SECTOR, last_begin = (end - 1) / SECTOR * SECTOR;
    if (way == FIRST_SECTORS)
        end = first_end < end ? first_end : from;
    if (way == LAST_SECTORS)
        from = last_begin > from ? last_begin : end;
    if (way == NOTHING || from >= end)
        return;
    memcpy(to + from, step->data + (from - step->offset), end - from);
    if (step->file == JOURNAL && end > d->journal_size)
        d->journal_size = end;
}

/* A number that counts through the ways of all writes of a file between two steps; false behind the last. */
typedef struct choice {
    int ways[WRITES_MAX];
    unsigned count;
} choice;

static choice choice_of(int file, unsigned synced, unsigned steps)
{
    choice c = {{0}, 0};
    for (unsigned i = synced; i < steps; i++)
        c.count += record.steps[i].kind == WRITE && record.steps[i].file == file;
    assert_true(c.count <= WRITES_MAX);
    return c;
}

/* The parts of a write are tried where there are few of them; where there are many, whether each came through. */
static bool choice_next(choice *c)
{
    int ways = c->count <= 4 ? WAYS : 2;
    for (unsigned i = 0; i < c->count; i++) {
        if (++c->ways[i] < ways)
            return true;
        c->ways[i] = 0;
    }
    return false;
}

static void choice_apply(disk *d, int file, unsigned synced, unsigned steps, const choice *c)
{
    unsigned number = 0;
    for (unsigned i = 0; i < steps; i++) {
        const recorded *step = &record.steps[i];
        if (step->kind == WRITE && step->file == file)
            write_apply(d, step, i < synced ? ALL : c->ways[number++]);
    }
}

/* Whether there is a journal after the names' first changes; `before`: at the beginning. */
static bool journal_named(bool before, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        if (record.steps[i].kind == CREATE || record.steps[i].kind == REMOVE)
            before = record.steps[i].kind == CREATE;
    }
    return before;
}

/* ----------------------------------------------------------------------------------- the check */

static struct {
    unsigned states, old, new, torn;
} seen;

/* Puts the state where the library finds it, in the same inode, and recovers. */
static void state_check(const disk *d)
{
    put_file(edited_path(), d->file, sizeof d->file);
    (void)unlink(journal_path());
    if (d->has_journal)
        put_file(journal_path(), d->journal, d->journal_size);
    seen.torn += !is_old() && !is_new();
    CHECK_OK(st_edit_recover(edited_path(), NULL, NULL, &error));
    assert_false(journal_exists());
    assert_true(is_old() || is_new());
    seen.old += is_old();
    seen.new += is_new();
    seen.states++;
}

/* The states of one of the names' points and one choice of the file's writes, for all of the journal's. */
static void journal_states(const disk *base, unsigned steps, bool named)
{
    unsigned synced = last_sync(JOURNAL, steps);
    size_t all = base->journal_size;
    choice c = choice_of(JOURNAL, synced, steps);
    for (unsigned i = 0; i < steps; i++) {
        const recorded *step = &record.steps[i];
        if (step->kind == WRITE && step->file == JOURNAL && step->offset + step->size > all)
            all = step->offset + step->size;
    }
    do {
        disk d = *base;
        d.has_journal = named;
        choice_apply(&d, JOURNAL, synced, steps, &c);
        state_check(&d);
        d.journal_size = all; /* the rest reads as zeros */
        if (named)
            state_check(&d);
    } while (named && choice_next(&c));
}

static void power_cut(const disk *base, unsigned steps)
{
    unsigned synced = last_sync(EDITED, steps);
    for (unsigned names = last_sync(FOLDER, steps); names <= steps; names++) {
        bool named = journal_named(base->has_journal, names);
        if (names < steps && named == journal_named(base->has_journal, names + 1))
            continue;
        choice c = choice_of(EDITED, synced, steps);
        do {
            disk d = *base;
            choice_apply(&d, EDITED, synced, steps, &c);
            journal_states(&d, steps, named);
        } while (choice_next(&c));
    }
}

static void test_edit(void **state)
{
    (void)state;
    static disk base;
    put_edited();
    recording_begin();
    CHECK_OK(edit_all(NULL, &error));
    recording_end();
    memset(&base, 0, sizeof base);
    memcpy(base.file, old_file, sizeof base.file);
    memset(&seen, 0, sizeof seen);
    for (unsigned steps = 0; steps <= record.count; steps++)
        power_cut(&base, steps);
    assert_true(seen.states > 1000 && seen.torn > 20 && seen.old > 100 && seen.new > 0);
    /* Once the edit has said that all is well, it is. */
    memset(&seen, 0, sizeof seen);
    power_cut(&base, record.count);
    assert_int_equal(seen.new, seen.states);
    assert_int_equal(seen.torn, 0);
}

static size_t bytes_of(const char *path, unsigned char *out, size_t room)
{
    int fd = open(path, O_RDONLY);
    ssize_t got = read(fd, out, room);
    assert_true(got > 0);
    close(fd);
    return (size_t)got;
}

/* What a crash in the middle of an edit leaves. */
static void disk_torn(disk *out)
{
    memset(out, 0, sizeof *out);
    put_torn();
    assert_int_equal(bytes_of(edited_path(), out->file, sizeof out->file), sizeof out->file);
    out->journal_size = bytes_of(journal_path(), out->journal, sizeof out->journal);
    out->has_journal = true;
}

static void test_recovery(void **state)
{
    (void)state;
    static disk base;
    disk_torn(&base);
    recording_begin();
    CHECK_OK(st_edit_recover(edited_path(), NULL, NULL, &error));
    recording_end();
    memset(&seen, 0, sizeof seen);
    for (unsigned steps = 0; steps <= record.count; steps++)
        power_cut(&base, steps);
    assert_true(seen.states > 30 && seen.torn > 10);
    assert_int_equal(seen.old, seen.states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {CLEANED(test_edit), CLEANED(test_recovery)};
    return cmocka_run_group_tests_name("edit_in_place_power", tests, in_place_make,
                                       scratch_folder_drop);
}
