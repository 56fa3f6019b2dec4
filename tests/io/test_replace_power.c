/* SPDX-License-Identifier: Apache-2.0 */
/* The power fails before each call of a save in turn. The calls are recorded; for each beginning of the
 * record all states are built that the disk may then be in, and the path must hold the old bytes or the new
 * ones, whole, in each of them.
 *
 * The disk's rules: what was written to a file since its last sync has each reached the disk or not, in any
 * choice, and reads as zeros where it has not; its size may be unknown to the disk, too. What was done to
 * names since the directory's last sync has happened up to some point, in order, as a journal has it. */
#include "io/replacing.h"

#define STEPS 40
#define FILES 3 /* the directory, the old file, the new one */

enum { DIRECTORY, OLD, NEW };

enum { CREATE, GROW, WRITE, SYNC, LINK, RENAME, REMOVE };

typedef struct recorded {
    int kind;
    int file; /* of CREATE, GROW, WRITE, SYNC and LINK */
    uint64_t offset, size;
    char from[64], to[64]; /* names */
} recorded;

static struct {
    recorded steps[STEPS];
    unsigned count;
    int directory, fd, direct; /* descriptors of the save */
    bool past_cache;
} record;

/* ------------------------------------------------------------------------------ recording */

static recorded *note(int kind)
{
    assert_true(record.count < STEPS);
    recorded *step = &record.steps[record.count++];
    memset(step, 0, sizeof *step);
    step->kind = kind;
    step->file = NEW;
    return step;
}

static int note_openat(int directory, const char *path, int flags, mode_t mode)
{
    bool unnamed = (flags & O_TMPFILE) == O_TMPFILE;
    int fd = refuses_open(flags) ? -1 : openat(directory, path, flags, mode);
    if (fd >= 0 && (unnamed || (flags & O_CREAT))) {
        recorded *step = note(CREATE);
        if (!unnamed)
            snprintf(step->to, sizeof step->to, "%s", path);
        record.fd = fd;
        record.directory = directory;
    }
    if ((flags & O_DIRECT) == O_DIRECT)
        record.direct = fd;
    return fd;
}

static int note_fallocate(int fd, int mode, off_t offset, off_t size)
{
    assert_int_equal(fd, record.fd);
    note(GROW)->size = (uint64_t)(offset + size);
    return fallocate(fd, mode, offset, size);
}

static ssize_t note_pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    assert_true(fd == record.fd || fd == record.direct);
    record.past_cache |= fd == record.direct;
    ssize_t put = pwritev(fd, pieces, count, offset);
    if (put > 0) {
        recorded *step = note(WRITE);
        step->offset = (uint64_t)offset;
        step->size = (uint64_t)put;
    }
    return put;
}

static int note_fsync(int fd)
{
    assert_true(fd == record.fd || fd == record.directory);
    note(SYNC)->file = fd == record.fd ? NEW : DIRECTORY;
    return fsync(fd);
}

static int note_linkat(int from, const char *from_path, int to, const char *to_path, int flags)
{
    int result = linkat(from, from_path, to, to_path, flags);
    if (result == 0)
        snprintf(note(LINK)->to, sizeof record.steps[0].to, "%s", to_path);
    return result;
}

static int note_renameat2(int from, const char *from_path, int to, const char *to_path,
                          unsigned flags)
{
    int result = renameat2(from, from_path, to, to_path, flags);
    if (result == 0) {
        recorded *step = note(RENAME);
        snprintf(step->from, sizeof step->from, "%s", from_path);
        snprintf(step->to, sizeof step->to, "%s", to_path);
    }
    return result;
}

static int note_renameat(int from, const char *from_path, int to, const char *to_path)
{
    return note_renameat2(from, from_path, to, to_path, 0);
}

static int note_unlinkat(int directory, const char *path, int flags)
{
    snprintf(note(REMOVE)->from, sizeof record.steps[0].from, "%s", path);
    return unlinkat(directory, path, flags);
}

static void save_recorded(bool existed, const st_sink_options *options)
{
    const char *path = in_scratch("file");
    unlink(path);
    if (existed)
        put_old(path);
    record.count = 0;
    record.fd = record.directory = record.direct = -2;
    st__os_calls.openat = note_openat;
    st__os_calls.fallocate = note_fallocate;
    st__os_calls.pwritev = note_pwritev;
    st__os_calls.fsync = note_fsync;
    st__os_calls.linkat = note_linkat;
    st__os_calls.renameat = note_renameat;
    st__os_calls.renameat2 = note_renameat2;
    st__os_calls.unlinkat = note_unlinkat;
    CHECK_OK(save_new(path, options, &error));
    os_calls_restore();
    assert_true(is_new(path));
}

/* -------------------------------------------------------------------------- the disk */

/* Which file a name leads to after the first `steps`, of which names only count up to `names`. */
static int file_at(const char *name, bool existed, unsigned names)
{
    char found[64];
    int file = existed ? OLD : -1;
    snprintf(found, sizeof found, "%s", name);
    for (unsigned i = 0; i < names; i++) {
        const recorded *step = &record.steps[i];
        bool gives = step->kind == CREATE || step->kind == LINK || step->kind == RENAME;
        if (gives && strcmp(step->to, found) == 0)
            file = NEW; /* all names but the old file's own are the new one's */
        if ((step->kind == RENAME || step->kind == REMOVE) && strcmp(step->from, found) == 0)
            file = -1;
    }
    return file;
}

/* Index behind the last sync of a file among the first steps; 0: none. */
static unsigned last_sync(int file, unsigned steps)
{
    for (unsigned i = steps; i > 0; i--)
        if (record.steps[i - 1].kind == SYNC && record.steps[i - 1].file == file)
            return i;
    return 0;
}

/* Whether the new file reads as it should, if of the writes since its sync those in `reached` did reach
 * the disk, and its size did or did not. */
static bool new_is_whole(unsigned steps, unsigned synced, unsigned long reached, bool size_known)
{
    static unsigned char disk[sizeof new_bytes];
    uint64_t size = 0;
    unsigned number = 0;
    memset(disk, 0, sizeof disk);
    for (unsigned i = 0; i < steps; i++) {
        const recorded *step = &record.steps[i];
        uint64_t end = step->offset + step->size;
        if (step->kind != GROW && step->kind != WRITE)
            continue;
        bool there = i < synced;
        if (there || size_known)
            size = end > size ? end : size;
        if (step->kind == WRITE && !there)
            there = (reached >> number++) & 1;
        if (step->kind == WRITE && there)
            memcpy(disk + step->offset, new_bytes + step->offset, (size_t)step->size);
    }
    return size == new_size && memcmp(disk, new_bytes, new_size) == 0;
}

typedef struct outcome {
    unsigned states, torn, missing, old, new;
} outcome;

static unsigned writes_between(unsigned from, unsigned to)
{
    unsigned writes = 0;
    for (unsigned i = from; i < to; i++)
        writes += record.steps[i].kind == WRITE;
    return writes;
}

/* Adds up what the path may read as when the power fails after so many steps. */
static void power_cut(bool existed, unsigned steps, outcome *out)
{
    unsigned first = last_sync(DIRECTORY, steps), synced = last_sync(NEW, steps);
    for (unsigned names = first; names <= steps; names++) {
        int file = file_at("file", existed, names);
        if (file != NEW) {
            out->states++;
            out->old += file == OLD;
            out->missing += file < 0;
            continue;
        }
        unsigned long choices = 1ul << writes_between(synced, steps);
        for (unsigned long reached = 0; reached < choices; reached++) {
            for (int size_known = 0; size_known < 2; size_known++) {
                bool whole = new_is_whole(steps, synced, reached, size_known);
                out->states++;
                out->new += whole;
                out->torn += !whole;
            }
        }
    }
}

static void check_save(bool existed, const st_sink_options *options)
{
    outcome all = {.states = 0}, end = {.states = 0};
    save_recorded(existed, options);
    for (unsigned steps = 0; steps <= record.count; steps++)
        power_cut(existed, steps, &all);
    power_cut(existed, record.count, &end);
    assert_true(all.states > record.count && all.new > 0);
    if (options->durability == ST_DURABLE_NONE) {
        assert_true(all.torn > 0); /* or the model could not tell */
        return;
    }
    assert_int_equal(all.torn, 0);
    assert_true(existed ? all.missing == 0 : all.old == 0);
    if (options->durability == ST_DURABLE_NAME)
        assert_int_equal(end.new, end.states);
    else
        assert_true(end.new < end.states);
}

static void test_power(void **state)
{
    (void)state;
    check_saves(check_save, SAVE_CACHED);
    assert_false(record.past_cache);
}

/* A ring's writes are not seen here: they are done with before a sync as others are (test_output_direct). */
static void test_power_past_cache(void **state)
{
    (void)state;
    int fd = open(in_scratch("probe"), O_RDWR | O_CREAT, 0644), direct = -1;
    uint32_t align;
    bool works = st__os_storage(fd) == ST_LATENCY_LOCAL &&
                 st__os_open_direct(fd, true, &direct, &align) == 0;
    close(direct);
    close(fd);
    check_saves(check_save, SAVE_BY_CALLER);
    assert_int_equal(record.past_cache, works);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_power),
                                       cmocka_unit_test(test_power_past_cache)};
    return cmocka_run_group_tests_name("replace_power", tests, group_make, scratch_folder_drop);
}
