/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of a context that has few descriptors: closed between two reads, opened again, and only if it is still the
 * same file. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "io/os_faults.h"
#include "io/scratch_folder.h"
#include "io/source.h"
#include "support/oom.h"

#include <sys/resource.h>

static unsigned opens, storages;
static char opened[1024]; /* the path opened last */

static int counted_open(const char *path, int flags)
{
    opens++;
    snprintf(opened, sizeof opened, "%s", path);
    return fault_open(path, flags);
}

static int counted_fstatfs(int fd, struct statfs *out)
{
    storages++;
    return fault_fstatfs(fd, out);
}

static int size_moved;

static int moved_fstat(int fd, struct stat *out)
{
    int result = fault_fstat(fd, out);
    out->st_size += size_moved;
    return result;
}

/* Files "a", "b", ...: each holds its name eight times. */
static void put_letter(char name)
{
    char text[9], file[2] = {name, '\0'};
    memset(text, name, 8);
    put_file(in_scratch(file), text, 8);
}

static int letters_make(void **state)
{
    int failed = scratch_folder_make(state);
    st__os_calls.open = counted_open;
    st__os_calls.fstat = moved_fstat;
    st__os_calls.fstatfs = counted_fstatfs;
    for (char name = 'a'; !failed && name <= 'e'; name++)
        put_letter(name);
    return failed;
}

static st_context *context_of(uint32_t max_descriptors)
{
    st_context *context;
    st_context_options options = {.max_descriptors = max_descriptors};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

static st_source *source_of(st_context *context, char name)
{
    char file[2] = {name, '\0'};
    st_source *source;
    st_open_options options = {.context = context};
    CHECK_OK(st_source_open(in_scratch(file), &options, &source, &error));
    return source;
}

static void check_reads(st_source *source, char name)
{
    char got[8], want[8];
    memset(want, name, 8);
    CHECK_OK(st_source_read(source, 0, got, 8, &error));
    assert_memory_equal(got, want, 8);
}

/* Reads, and tells how often something was opened for it. */
static unsigned opens_to_read(st_source *source, char name)
{
    unsigned before = opens;
    check_reads(source, name);
    return opens - before;
}

static void test_one_of_three(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    st_context *context = context_of(1);
    st_source *sources[3];
    for (int i = 0; i < 3; i++) {
        sources[i] = source_of(context, (char)('a' + i));
        assert_int_equal(count_descriptors(), before + 1);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            st_source_info info;
            assert_int_equal(opens_to_read(sources[i], (char)('a' + i)), 1);
            assert_int_equal(opens_to_read(sources[i], (char)('a' + i)), 0);
            CHECK_OK(st_source_query(sources[i], &info, &error));
            assert_int_equal(info.size, 8);
            assert_int_equal(count_descriptors(), before + 1);
        }
    }
    for (int i = 0; i < 3; i++)
        st_source_release(sources[i]);
    assert_int_equal(count_descriptors(), before);
    st_context_release(context);
}

static void test_the_longest_unused_is_closed(void **state)
{
    (void)state;
    st_context *context = context_of(2);
    st_source *a = source_of(context, 'a'), *b = source_of(context, 'b');
    assert_int_equal(opens_to_read(a, 'a'), 0);
    st_source *c = source_of(context, 'c');
    assert_int_equal(opens_to_read(a, 'a'), 0);
    assert_int_equal(opens_to_read(c, 'c'), 0);
    assert_int_equal(opens_to_read(b, 'b'), 1);
    assert_int_equal(opens_to_read(c, 'c'), 0);
    st_source_release(c); /* makes room */
    assert_int_equal(opens_to_read(a, 'a'), 1);
    assert_int_equal(opens_to_read(b, 'b'), 0);
    st_source_release(a);
    st_source_release(b);
    st_context_release(context);
}

static void test_what_is_held_stays_open(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    st_context *context = context_of(1);
    st_source *a = source_of(context, 'a'), *b = source_of(context, 'b');
    int first, second;
    char got[1];
    CHECK_OK(st__source_hold(a, &first, &error));
    CHECK_OK(st__source_hold(a, &second, &error));
    assert_int_equal(first, second);
    /* No other can be closed for it. */
    check_reads(b, 'b');
    st__source_let_go(a);
    check_reads(b, 'b');
    assert_int_equal(pread(first, got, 1, 0), 1);
    assert_int_equal(got[0], 'a');
    assert_int_equal(opens_to_read(a, 'a'), 0);
    st__source_let_go(a);
    assert_int_equal(count_descriptors(), before + 1);
    assert_int_equal(opens_to_read(b, 'b'), 1);
    st_source_release(a);
    st_source_release(b);
    assert_int_equal(count_descriptors(), before);
    st_context_release(context);
}

static void test_budget_is_exceeded_by_what_is_held(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    st_context *context = context_of(2);
    st_source *sources[5];
    int fd;
    for (int i = 0; i < 5; i++)
        sources[i] = source_of(context, (char)('a' + i));
    assert_int_equal(count_descriptors(), before + 2);
    for (int i = 0; i < 5; i++)
        CHECK_OK(st__source_hold(sources[i], &fd, &error));
    assert_int_equal(count_descriptors(), before + 5);
    /* One opened now that could make no room for itself does not stay. */
    st_source *sixth = source_of(context, 'a');
    assert_int_equal(count_descriptors(), before + 5);
    assert_int_equal(opens_to_read(sixth, 'a'), 1);
    assert_int_equal(count_descriptors(), before + 5);
    st_source_release(sixth);
    for (int i = 0; i < 5; i++)
        st__source_let_go(sources[i]);
    assert_int_equal(count_descriptors(), before + 2);
    for (int i = 0; i < 5; i++)
        st_source_release(sources[i]);
    st_context_release(context);
}

static void test_descriptors_of_the_caller_stay(void **state)
{
    (void)state;
    st_context *context = context_of(1);
    st_open_options options = {.context = context};
    unsigned before = opens;
    int given = open(in_scratch("a"), O_RDONLY), fd;
    st_source *by_fd, *own;
    CHECK_OK(st_source_open_fd(given, &options, &by_fd, &error));
    close(given);
    st_source *b = source_of(context, 'b'), *c = source_of(context, 'c');
    check_reads(b, 'b');
    check_reads(c, 'c');
    assert_int_equal(opens - before, 4);
    check_reads(by_fd, 'a');
    assert_int_equal(opens - before, 4);
    st_source_release(by_fd);

    /* Nor is anything of the kind done without a context. */
    own = source_of(NULL, 'd');
    CHECK_OK(st__source_hold(own, &fd, &error));
    st__source_let_go(own);
    check_reads(b, 'b');
    assert_int_equal(opens_to_read(own, 'd'), 0);
    st_source_release(own);
    st_source_release(b);
    st_source_release(c);
    st_context_release(context);
}

static st_status info_only(void *self, st_source_info *out, st_error *error)
{
    (void)self;
    (void)error;
    out->size = 1;
    return ST_OK;
}

static st_status read_nothing(void *self, uint64_t offset, const st_segment *segments, size_t count,
                              st_error *error)
{
    (void)self;
    (void)offset;
    (void)segments;
    (void)count;
    (void)error;
    return ST_OK;
}

static intptr_t native_seven(void *self)
{
    (void)self;
    return 7;
}

static void free_nothing(void *self)
{
    (void)self;
}

static void test_hold_of_other_sources(void **state)
{
    (void)state;
    st_source *source;
    int fd = 0;
    char byte = 'x';
    CHECK_OK(st_source_open_memory(&(st_memory){&byte, 1, NULL, NULL}, NULL, &source, &error));
    CHECK_OK(st__source_hold(source, &fd, &error));
    assert_int_equal(fd, -1);
    st__source_let_go(source);
    st_source_release(source);
    st_source_vtable vtable = {.size = sizeof vtable,
                               .info = info_only,
                               .read = read_nothing,
                               .native = native_seven,
                               .free = free_nothing};
    CHECK_OK(st_source_new(&vtable, NULL, NULL, &source, &error));
    CHECK_OK(st__source_hold(source, &fd, &error));
    assert_int_equal(fd, 7);
    st__source_let_go(source);
    st_source_release(source);
}

/* Opens "a" and closes it again. */
static st_source *closed_source(st_context *context, st_source **other)
{
    st_source *a = source_of(context, 'a');
    *other = source_of(context, 'b');
    return a;
}

static void test_another_file(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    st_context *context = context_of(1);
    st_source *b, *a = closed_source(context, &b);
    st_source_info info;
    char got[1];
    int fd = -1;
    put_file(in_scratch("new"), "aaaaaaaa", 8);
    assert_int_equal(rename(in_scratch("new"), in_scratch("a")), 0);
    CHECK_ERR_TEXT(st_source_read(a, 0, got, 1, &error), ST_ERR_CHANGED, ST_NO_OFFSET,
                   "is another file now");
    CHECK_ERR_TEXT(st_source_query(a, &info, &error), ST_ERR_CHANGED, ST_NO_OFFSET,
                   in_scratch("a"));
    CHECK_ERR(st__source_hold(a, &fd, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    assert_int_equal(fd, -1);
    assert_int_equal(st_source_read(a, 0, got, 1, NULL), ST_ERR_CHANGED);
    st_buffer *buffer;
    CHECK_ERR(st__source_map(a, ST_MAP_SHARED, &buffer, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    a->vtable.prefetch(a->self, 0, 8);
    /* What was closed for it was closed for nothing, and comes back. */
    assert_int_equal(count_descriptors(), before);
    check_reads(b, 'b');
    st_source_release(a);

    a = source_of(context, 'a');
    check_reads(b, 'b');
    int grown = open(in_scratch("a"), O_WRONLY | O_APPEND);
    assert_int_equal(write(grown, "!", 1), 1);
    close(grown);
    CHECK_ERR_TEXT(st_source_read(a, 0, got, 1, &error), ST_ERR_CHANGED, ST_NO_OFFSET,
                   "was changed since it was opened");
    st_source_release(a);

    a = source_of(context, 'a');
    check_reads(b, 'b');
    struct timespec times[2] = {{1, 0}, {1, 0}};
    assert_int_equal(utimensat(AT_FDCWD, in_scratch("a"), times, 0), 0);
    CHECK_ERR(st_source_read(a, 0, got, 1, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    st_source_release(a);

    /* Grown within the grain of the clock. */
    a = source_of(context, 'a');
    check_reads(b, 'b');
    size_moved = 1;
    CHECK_ERR(st_source_read(a, 0, got, 1, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    size_moved = 0;
    CHECK_OK(st_source_read(a, 0, got, 1, &error));
    check_reads(b, 'b');
    /* The change time counts too, though it may only be of another name or mode. */
    st_source_release(a);
    a = source_of(context, 'a');
    check_reads(b, 'b');
    assert_int_equal(chmod(in_scratch("a"), 0600), 0);
    CHECK_ERR(st_source_read(a, 0, got, 1, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    st_source_release(a);
    a = source_of(context, 'a');

    check_reads(b, 'b');
    assert_int_equal(unlink(in_scratch("a")), 0);
    CHECK_ERR_TEXT(st_source_read(a, 0, got, 1, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "cannot be opened again");
    st_source_release(a);
    put_letter('a');
    st_source_release(b);
    st_context_release(context);
}

static void test_working_directory_may_change(void **state)
{
    (void)state;
    char before[4096];
    st_context *context = context_of(1);
    st_open_options options = {.context = context};
    st_source *a, *later;
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(scratch), 0);
    CHECK_OK(st_source_open("./a", &options, &a, &error));
    assert_string_equal(opened, "./a"); /* as it was said, while that is enough */
    CHECK_OK(st__source_open_later("c", &options, &a->descriptor.first, ST_LATENCY_LOCAL, &later,
                                   &error));
    assert_int_equal(chdir("/"), 0);
    st_source *b = source_of(context, 'b');
    assert_int_equal(opens_to_read(a, 'a'), 1);
    assert_int_equal(opened[0], '/');
    assert_string_equal(st_source_name(a), "./a");
    check_reads(b, 'b');
    char got[1];
    CHECK_ERR(st_source_read(later, 0, got, 1, &error), ST_ERR_CHANGED, ST_NO_OFFSET);
    assert_string_equal(opened + strlen(opened) - 2, "/c");
    st_source_release(later);
    st_source_release(a);
    st_source_release(b);
    st_context_release(context);
    assert_int_equal(chdir(before), 0);
}

/* In a directory that is gone no path can be made absolute. */
static void test_without_a_working_directory(void **state)
{
    (void)state;
    char before[4096];
    st_context *context = context_of(1);
    st_open_options options = {.context = context};
    st_source *a, *later = NULL;
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(mkdir(in_scratch("gone"), 0755), 0);
    assert_int_equal(chdir(in_scratch("gone")), 0);
    assert_int_equal(rmdir(in_scratch("gone")), 0);
    CHECK_OK(st_source_open("../a", &options, &a, &error));
    st_source *b = source_of(context, 'b'), *c = source_of(context, 'c');
    check_reads(b, 'b');
    check_reads(c, 'c');
    assert_int_equal(opens_to_read(a, 'a'), 0);
    CHECK_ERR(st__source_open_later("../a", &options, &a->descriptor.first, ST_LATENCY_LOCAL,
                                    &later, &error),
              ST_ERR_UNSUPPORTED, ST_NO_OFFSET);
    assert_null(later);
    assert_int_equal(chdir(before), 0);
    st_source_release(a);
    st_source_release(b);
    st_source_release(c);
    st_context_release(context);
}

static void test_limit_of_the_process(void **state)
{
    (void)state;
    st_context *context = context_of(3);
    st_source *a = source_of(context, 'a'), *b = source_of(context, 'b'), *none = NULL;
    st_open_options options = {.context = context};
    int fd;
    CHECK_OK(st__source_hold(b, &fd, &error));
    /* The call fails once; "a" is closed, and it does not fail again. */
    os_plant_errno(EMFILE, 1);
    st_source *c = source_of(context, 'c');
    assert_true(os_state.hit);
    assert_int_equal(opens_to_read(c, 'c'), 0);
    CHECK_OK(st__source_hold(c, &fd, &error));
    os_plant_errno(ENFILE, 1);
    CHECK_ERR_TEXT(st_source_read(a, 0, &(char){0}, 1, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "cannot be opened again");
    os_plant_errno(EMFILE, 1);
    CHECK_ERR_TEXT(st_source_open(in_scratch("d"), &options, &none, &error), ST_ERR_IO,
                   ST_NO_OFFSET, "cannot be opened");
    assert_null(none);
    st__source_let_go(c);
    os_plant_errno(ENFILE, 1);
    st_source *d = source_of(context, 'd');
    assert_int_equal(opens_to_read(c, 'c'), 1);
    st_source_release(d);
    /* Nor is anything closed for another failure. */
    os_plant_errno(EACCES, 1);
    CHECK_ERR(st_source_open(in_scratch("d"), &options, &none, &error), ST_ERR_IO, ST_NO_OFFSET);
    os_plant(OS_NONE, 0);
    assert_int_equal(opens_to_read(c, 'c'), 0);
    assert_int_equal(opens_to_read(a, 'a'), 1);
    st__source_let_go(b);
    st_source_release(a);
    st_source_release(b);
    st_source_release(c);
    st_context_release(context);
}

static void test_default_is_half_of_the_limit(void **state)
{
    (void)state;
    struct rlimit before, few;
    st_source *sources[40];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 40;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    unsigned had = count_descriptors();
    st_context *context = context_of(0);
    for (int i = 0; i < 40; i++)
        sources[i] = source_of(context, (char)('a' + i % 5));
    assert_int_equal(count_descriptors(), had + 20);
    for (int i = 0; i < 40; i++) {
        check_reads(sources[i], (char)('a' + i % 5));
        st_source_release(sources[i]);
    }
    st_context_release(context);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void test_failures_while_opening_again(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    st_context *context = context_of(1);
    st_source *b, *a = closed_source(context, &b);
    char got[1];
    os_plant(OS_EIO, 1);
    CHECK_ERR_TEXT(st_source_read(a, 0, got, 1, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "cannot be opened again");
    os_plant(OS_EIO, 2);
    CHECK_ERR_TEXT(st_source_read(a, 0, got, 1, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "cannot be examined");
    os_plant(OS_EIO, 3);
    CHECK_ERR_TEXT(st_source_read(a, 0, got, 1, &error), ST_ERR_IO, 0, "cannot be read");
    os_plant(OS_EINTR, 1);
    check_reads(b, 'b');
    os_plant(OS_NONE, 0);
    check_reads(a, 'a');
    assert_int_equal(count_descriptors(), before + 1);
    st_source_release(a);
    st_source_release(b);
    assert_int_equal(count_descriptors(), before);
    st_context_release(context);
}

static void test_storage_is_asked_for_once(void **state)
{
    (void)state;
    st_context *context = context_of(0);
    st_source_info info;
    int fd = open(in_scratch("a"), O_RDONLY);
    uint32_t latency = st__os_storage(fd);
    close(fd);
    assert_int_not_equal(latency, ST_LATENCY_UNKNOWN);
    unsigned before = storages;
    st_source *a = source_of(context, 'a'), *b = source_of(context, 'b');
    CHECK_OK(st_source_query(a, &info, &error));
    assert_int_equal(info.latency, latency);
    CHECK_OK(st_source_query(b, &info, &error));
    assert_int_equal(info.latency, latency);
    assert_int_equal(storages - before, 1);
    st_source *own = source_of(NULL, 'a');
    CHECK_OK(st_source_query(own, &info, &error));
    assert_int_equal(info.latency, latency);
    assert_int_equal(storages - before, 2);
    st_source_release(a);
    st_source_release(b);
    st_source_release(own);
    st_context_release(context);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context};
        st_source *source, *later;
        status = st_source_open(in_scratch("a"), &options, &source, NULL);
        assert_int_equal(count_descriptors(), before + (status == ST_OK));
        if (status == ST_OK) {
            status = st__source_open_later(in_scratch("b"), &options, &source->descriptor.first,
                                           ST_LATENCY_LOCAL, &later, NULL);
            if (status == ST_OK)
                st_source_release(later);
            st_source_release(source);
        }
        assert_int_equal(count_descriptors(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_of_three),
        cmocka_unit_test(test_the_longest_unused_is_closed),
        cmocka_unit_test(test_what_is_held_stays_open),
        cmocka_unit_test(test_budget_is_exceeded_by_what_is_held),
        cmocka_unit_test(test_descriptors_of_the_caller_stay),
        cmocka_unit_test(test_hold_of_other_sources),
        cmocka_unit_test(test_another_file),
        cmocka_unit_test(test_working_directory_may_change),
        cmocka_unit_test(test_without_a_working_directory),
        cmocka_unit_test(test_limit_of_the_process),
        cmocka_unit_test(test_default_is_half_of_the_limit),
        cmocka_unit_test(test_failures_while_opening_again),
        cmocka_unit_test(test_storage_is_asked_for_once),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("descriptors", tests, letters_make, scratch_folder_drop);
}
