/* SPDX-License-Identifier: Apache-2.0 */
/* Headers that a context keeps: what a second open costs, when a header is read again, and that nothing keeps a
 * context alive. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "file/sample.h"
#include "file/settled.h"

#include "format/header.h"
#include "support/oom.h"

#include <fcntl.h>
#include <sys/stat.h>

#define OTHER_HEADER "{\"n\":{\"dtype\":\"U8\",\"shape\":[4256],\"data_offsets\":[0,4256]}}"
#define NFS_MAGIC    0x6969

static struct {
    unsigned opens, reads, stats, path_stats;
} count;
static int64_t mtime_before_now, ctime_before_now; /* 0: settled */
static int mtime_moved, ctime_moved;               /* seconds */
static int size_moved;
static bool on_network;

static int counted_open(const char *path, int flags)
{
    count.opens++;
    return fault_open(path, flags);
}

static ssize_t counted_preadv(int fd, const struct iovec *segments, int n, off_t offset)
{
    count.reads++;
    return fault_preadv(fd, segments, n, offset);
}

static void stamp(struct timespec *time, int64_t before_now)
{
    int64_t at = st__os_clock_ns() - before_now;
    if (before_now)
        *time = (struct timespec){(time_t)(at / 1000000000), (long)(at % 1000000000)};
}

static int counted_fstat(int fd, struct stat *out)
{
    count.stats++;
    if (os_fails_whole(__func__))
        return -1;
    int result = settled_fstat(fd, out);
    out->st_mtim.tv_sec += mtime_moved;
    out->st_size += size_moved;
    out->st_ctim.tv_sec += ctime_moved;
    stamp(&out->st_mtim, mtime_before_now);
    stamp(&out->st_ctim, ctime_before_now);
    return result;
}

static int counted_fstatat(int directory, const char *path, struct stat *out, int flags)
{
    count.path_stats++;
    if (os_fails_whole(__func__))
        return -1;
    int result = settled_fstatat(directory, path, out, flags);
    out->st_mtim.tv_sec += mtime_moved;
    out->st_size += size_moved;
    out->st_ctim.tv_sec += ctime_moved;
    return result;
}

static int network_fstatfs(int fd, struct statfs *out)
{
    int result = fault_fstatfs(fd, out);
    if (on_network)
        out->f_type = NFS_MAGIC;
    return result;
}

static sample_file samples[3];

static int samples_make(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        sample_frame(&samples[i], SAMPLE_HEADER);
        sample_store(&samples[i]);
    }
    st__os_calls.open = counted_open;
    st__os_calls.preadv = counted_preadv;
    st__os_calls.fstat = counted_fstat;
    st__os_calls.fstatat = counted_fstatat;
    st__os_calls.fstatfs = network_fstatfs;
    return 0;
}

static int samples_drop(void **state)
{
    (void)state;
    return unlink(samples[0].path) | unlink(samples[1].path) | unlink(samples[2].path);
}

/* Writes other bytes into the file that is there. */
static void rewrite(sample_file *sample, const char *header)
{
    char path[sizeof sample->path];
    memcpy(path, sample->path, sizeof path);
    sample_frame(sample, header);
    memcpy(sample->path, path, sizeof path);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, sample->bytes, sample->size), sample->size);
    close(fd);
}

static st_context *context_of(uint64_t max_header_memory)
{
    st_context *context;
    st_context_options options = {.max_header_memory = max_header_memory};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

static st_file *opened(const char *path, st_context *context)
{
    st_file *file;
    st_open_options options = {.context = context};
    memset(&count, 0, sizeof count);
    os_plant(OS_NONE, 0);
    CHECK_OK(st_file_open(path, &options, &file, &error));
    return file;
}

/* Opens and closes; whether anything was read for it. */
static bool is_parsed(const char *path, st_context *context)
{
    st_file_close(opened(path, context));
    return count.reads > 0;
}

static void check_x(const st_file *file)
{
    unsigned char got[4000];
    CHECK_OK(st_file_read(file, sample_find(file, "x"), NULL, got, 4000, &error));
    for (size_t i = 0; i < 4000; i++)
        assert_int_equal(got[i], sample_byte(256 + i));
}

static void test_a_hit_costs_one_call(void **state)
{
    (void)state;
    st_context *context = context_of(0);
    st_file *first = opened(samples[0].path, context);
    assert_int_equal(count.opens, 1);
    assert_int_equal(count.path_stats, 0); /* of a path that was never seen nothing is asked */
    assert_true(count.reads > 0);
    st_file *second = opened(samples[0].path, context);
    assert_int_equal(os_state.calls, 1);
    assert_int_equal(count.path_stats, 1);
    assert_ptr_equal(st_file_header(first), st_file_header(second));
    assert_int_equal(st_file_size(second), samples[0].size);
    assert_string_equal(st_file_name(second), samples[0].path);

    /* It reads as any other does. */
    check_x(second);
    assert_int_equal(count.opens, 1);
    check_x(second);
    assert_int_equal(count.opens, 1);
    check_x(first);
    st_source_info one, two;
    CHECK_OK(st_source_query(st_file_source(first), &one, &error));
    CHECK_OK(st_source_query(st_file_source(second), &two, &error));
    assert_memory_equal(&one, &two, sizeof one);
    st_file_close(first);
    st_buffer *buffer;
    st_file *third = opened(samples[0].path, context);
    CHECK_OK(st_file_map(third, ST_MAP_SHARED, &buffer, &error));
    assert_memory_equal(st_buffer_data(buffer), samples[0].bytes, samples[0].size);
    st_buffer_release(buffer);
    st_file_close(third);
    st_file_close(second);
    st_context_release(context);
}

static void test_without_a_context(void **state)
{
    (void)state;
    assert_true(is_parsed(samples[0].path, NULL));
    assert_true(is_parsed(samples[0].path, NULL));
    assert_int_equal(count.path_stats, 0);
    st_context *one = context_of(0), *other = context_of(0);
    assert_true(is_parsed(samples[0].path, one));
    assert_true(is_parsed(samples[0].path, other));
    assert_false(is_parsed(samples[0].path, one));
    st_context_release(one);
    st_context_release(other);
}

static void test_by_descriptor_and_by_source(void **state)
{
    (void)state;
    st_context *context = context_of(0);
    st_open_options options = {.context = context};
    st_file *file;
    st_source *source;
    int fd = open(samples[0].path, O_RDONLY);
    CHECK_OK(st_file_open_fd(fd, &options, &file, &error));
    const st_header *header = st_file_header(file);
    st_file_close(file);
    memset(&count, 0, sizeof count);
    CHECK_OK(st_file_open_fd(fd, &options, &file, &error));
    close(fd);
    assert_int_equal(count.reads, 0);
    assert_ptr_equal(st_file_header(file), header);
    check_x(file);
    st_file_close(file);
    /* A path that was not seen is opened, and found to be a file that was. */
    file = opened(samples[0].path, context);
    assert_int_equal(count.opens, 1);
    assert_int_equal(count.reads, 0);
    st_file_close(file);
    CHECK_OK(st_source_open(samples[0].path, NULL, &source, &error));
    memset(&count, 0, sizeof count);
    CHECK_OK(st_file_open_source(source, &options, &file, &error));
    assert_int_equal(count.reads, 0);
    assert_ptr_equal(st_file_header(file), header);
    st_source_release(source);
    st_file_close(file);
    /* Memory has no identity. */
    st_memory memory = {samples[0].bytes, samples[0].size, NULL, NULL};
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    assert_ptr_not_equal(st_file_header(file), header);
    st_file_close(file);
    st_context_release(context);
}

static void test_a_changed_file_is_parsed_anew(void **state)
{
    (void)state;
    st_context *context = context_of(0);
    st_file *old = opened(samples[0].path, context);
    rewrite(&samples[0], OTHER_HEADER);
    st_file *now = opened(samples[0].path, context);
    assert_int_equal(count.path_stats, 1);
    assert_true(count.reads > 0);
    assert_non_null(st_file_find(now, "n", 1));
    assert_null(st_file_find(now, "x", 1));
    assert_non_null(st_file_find(old, "x", 1));
    unsigned char got[8];
    CHECK_ERR(st_file_read(old, sample_find(old, "s"), NULL, got, 8, &error), ST_ERR_CHANGED,
              ST_NO_OFFSET);
    st_file_close(old);
    st_file_close(now);
    assert_false(is_parsed(samples[0].path, context));

    /* The same bytes, at another time. */
    mtime_moved = 1;
    assert_true(is_parsed(samples[0].path, context));
    assert_false(is_parsed(samples[0].path, context));
    mtime_moved = 0;
    assert_true(is_parsed(samples[0].path, context));
    /* Who sets the time back cannot set the change time. */
    ctime_moved = 1;
    assert_true(is_parsed(samples[0].path, context));
    assert_false(is_parsed(samples[0].path, context));
    ctime_moved = 0;
    assert_true(is_parsed(samples[0].path, context));

    /* Other bytes within the same times: what is parsed then is not what is there. */
    st_file *none = NULL;
    st_open_options options = {.context = context};
    size_moved = 1;
    assert_int_not_equal(st_file_open(samples[0].path, &options, &none, NULL), ST_OK);
    size_moved = 0;
    assert_false(is_parsed(samples[0].path, context));

    /* Another file in its place, and none. */
    assert_int_equal(rename(samples[1].path, samples[0].path), 0);
    assert_true(is_parsed(samples[0].path, context));
    assert_int_equal(unlink(samples[0].path), 0);
    CHECK_ERR_TEXT(st_file_open(samples[0].path, &options, &none, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "cannot be opened");
    assert_null(none);
    assert_int_equal(mkdir(samples[0].path, 0755), 0);
    CHECK_ERR(st_file_open(samples[0].path, &options, &none, &error), ST_ERR_NOT_REGULAR,
              ST_NO_OFFSET);
    assert_int_equal(rmdir(samples[0].path), 0);
    st_context_release(context);
    sample_frame(&samples[0], SAMPLE_HEADER);
    sample_store(&samples[0]);
    sample_store(&samples[1]);
}

static void test_between_the_open_and_the_read(void **state)
{
    (void)state;
    st_context *context = context_of(0);
    assert_true(is_parsed(samples[0].path, context));
    st_file *file = opened(samples[0].path, context);
    assert_int_equal(count.opens, 0);
    assert_int_equal(rename(samples[1].path, samples[0].path), 0);
    unsigned char got[4000];
    CHECK_ERR_TEXT(st_file_read(file, sample_find(file, "x"), NULL, got, 4000, &error),
                   ST_ERR_CHANGED, ST_NO_OFFSET, "another file");
    st_file_close(file);
    st_context_release(context);
    sample_store(&samples[1]);
}

/* Written so shortly before that it may be written again at the same time. */
static void test_within_the_grain_of_the_clock(void **state)
{
    (void)state;
    int64_t cases[3][2] = {{1000000000, 0}, {0, 1000000000}, {-5000000000, -5000000000}};
    for (int i = 0; i < 3; i++) {
        st_context *context = context_of(0);
        mtime_before_now = cases[i][0];
        ctime_before_now = cases[i][1];
        assert_true(is_parsed(samples[0].path, context));
        mtime_before_now = ctime_before_now = 0;
        st_file *file = opened(samples[0].path, context);
        assert_int_equal(count.path_stats, 0); /* nothing was kept */
        assert_true(count.reads > 0);
        st_file_close(file);
        assert_false(is_parsed(samples[0].path, context));
        st_context_release(context);
    }
}

static void test_what_changes_parsing_is_part_of_the_key(void **state)
{
    (void)state;
    st_context *context = context_of(0);
    st_open_options options[] = {{.context = context},
                                 {.context = context, .flags = ST_OPEN_UPSTREAM},
                                 {.context = context, .flags = ST_OPEN_UNKNOWN_DTYPES},
                                 {.context = context, .max_header_size = 100000}};
    const st_header *headers[4];
    for (int i = 0; i < 8; i++) {
        st_file *file;
        memset(&count, 0, sizeof count);
        CHECK_OK(st_file_open(samples[0].path, &options[i % 4], &file, &error));
        assert_int_equal(count.reads == 0, i >= 4);
        if (i >= 4)
            assert_ptr_equal(st_file_header(file), headers[i - 4]);
        else
            headers[i] = st_file_header(file);
        st_file_close(file);
    }
    st_file *none;
    st_open_options small = {.context = context, .max_header_size = 10};
    CHECK_ERR(st_file_open(samples[0].path, &small, &none, &error), ST_ERR_HEADER_TOO_LARGE, 0);
    st_context_release(context);
}

static void test_the_longest_unused_goes(void **state)
{
    (void)state;
    st_file *file = opened(samples[0].path, NULL);
    uint64_t one = st__header_memory(st_file_header(file));
    st_file_close(file);
    assert_in_range(one, 500, 1 << 20);            /* least on 32 bits */
    st_context *context = context_of(one * 5 / 2); /* two, with what each takes beside */
    for (int i = 0; i < 3; i++)
        assert_true(is_parsed(samples[i].path, context));
    assert_false(is_parsed(samples[1].path, context));
    assert_true(is_parsed(samples[0].path, context)); /* and 2 goes */
    assert_false(is_parsed(samples[1].path, context));
    assert_true(is_parsed(samples[2].path, context));
    st_file *held = opened(samples[1].path, context);
    assert_true(is_parsed(samples[0].path, context));
    assert_true(is_parsed(samples[2].path, context)); /* 1 is gone, but for its user */
    check_x(held);
    st_file_close(held);
    st_context_release(context);

    context = context_of(one); /* not even one */
    assert_true(is_parsed(samples[0].path, context));
    assert_true(is_parsed(samples[0].path, context));
    assert_int_equal(count.path_stats, 0);
    st_context_release(context);
}

/* Of a file whose header had to go no more is asked than of one that was never seen. */
static void test_what_is_gone_is_forgotten(void **state)
{
    (void)state;
    char before[4096], folder[] = "/tmp/st_test_forgotten.XXXXXX";
    st_file *file = opened(samples[0].path, NULL);
    uint64_t one = st__header_memory(st_file_header(file));
    st_file_close(file);
    st_context *context = context_of(one * 3 / 2);
    assert_non_null(getcwd(before, sizeof before));
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    /* Names of our own, so that it is known that no two look alike. */
    assert_int_equal(link(samples[0].path, "a"), 0);
    assert_int_equal(link(samples[1].path, "b"), 0);
    assert_true(is_parsed("a", context));
    assert_false(is_parsed("a", context));
    assert_int_equal(count.path_stats, 1);
    assert_true(is_parsed("b", context));
    assert_int_equal(count.path_stats, 0);
    assert_true(is_parsed("a", context));
    assert_int_equal(count.path_stats, 0);
    assert_false(is_parsed("a", context));
    assert_int_equal(unlink("a") | unlink("b"), 0);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rmdir(folder), 0);
    st_context_release(context);
}

static void test_a_network_is_asked(void **state)
{
    (void)state;
    /* A network's file system may tell the times of a while ago for a path: it is opened, but not read. */
    st_context *context = context_of(0);
    on_network = true;
    assert_true(is_parsed(samples[0].path, context));
    st_file *file = opened(samples[0].path, context);
    assert_int_equal(count.opens, 1);
    assert_int_equal(count.reads, 0);
    check_x(file);
    st_file_close(file);
    on_network = false;
    st_context_release(context);
}

static void test_failures_of_the_short_way(void **state)
{
    (void)state;
    st_context *context = context_of(0);
    assert_true(is_parsed(samples[0].path, context));
    st_open_options options = {.context = context};
    st_file *file;
    os_plant(OS_EIO, 1); /* of the path's stat: the long way tells */
    memset(&count, 0, sizeof count);
    CHECK_OK(st_file_open(samples[0].path, &options, &file, &error));
    assert_true(os_state.hit);
    assert_int_equal(count.opens, 1);
    st_file_close(file);
    /* A path that cannot be made absolute. */
    char before[4096], folder[] = "/tmp/st_test_gone.XXXXXX", path[80];
    assert_non_null(getcwd(before, sizeof before));
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(rmdir(folder), 0);
    snprintf(path, sizeof path, "../%s", strrchr(samples[0].path, '/') + 1);
    assert_false(is_parsed(path, context));
    for (int i = 0; i < 2; i++) {
        file = opened(path, context);
        assert_int_equal(count.opens, 1);
        assert_int_equal(count.reads, 0);
        check_x(file);
        st_file_close(file);
    }
    assert_int_equal(chdir(before), 0);
    st_context_release(context);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context};
        st_file *files[3];
        int n = 0;
        while (status == ST_OK && n < 3)
            if ((status = st_file_open(samples[n / 2].path, &options, &files[n], NULL)) == ST_OK)
                n++;
        if (status == ST_OK)
            assert_ptr_equal(st_file_header(files[0]), st_file_header(files[1]));
        while (n)
            st_file_close(files[--n]);
    }
}

static void test_nothing_keeps_the_context_alive(void **state)
{
    (void)state;
    oom_allocator oom = {0};
    st_context *context = oom_context_new(&oom);
    assert_true(is_parsed(samples[0].path, context));
    assert_false(is_parsed(samples[0].path, context));
    assert_true(oom.blocks > 1);
    st_context_release(context);
    assert_int_equal(oom.blocks, 0);

    /* A header that was retained lives on, with what it needs of the context. */
    oom = (oom_allocator){0};
    context = oom_context_new(&oom);
    st_file *file = opened(samples[0].path, context);
    st_file_close(opened(samples[1].path, context));
    st_header *header = st_header_retain((st_header *)(uintptr_t)st_file_header(file));
    st_context_release(context);
    assert_false(is_parsed(samples[0].path, context)); /* which the file still has */
    st_file_close(file);
    assert_non_null(st_header_find(header, "x", 1));
    assert_non_null(st_header_retain(header));
    st_header_release(header);
    assert_non_null(st_header_find(header, "x", 1));
    assert_true(oom.blocks > 0);
    st_header_release(header);
    assert_int_equal(oom.blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hit_costs_one_call),
        cmocka_unit_test(test_without_a_context),
        cmocka_unit_test(test_by_descriptor_and_by_source),
        cmocka_unit_test(test_a_changed_file_is_parsed_anew),
        cmocka_unit_test(test_between_the_open_and_the_read),
        cmocka_unit_test(test_within_the_grain_of_the_clock),
        cmocka_unit_test(test_what_changes_parsing_is_part_of_the_key),
        cmocka_unit_test(test_the_longest_unused_goes),
        cmocka_unit_test(test_what_is_gone_is_forgotten),
        cmocka_unit_test(test_a_network_is_asked),
        cmocka_unit_test(test_failures_of_the_short_way),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_nothing_keeps_the_context_alive),
    };
    return cmocka_run_group_tests_name("header_cache", tests, samples_make, samples_drop);
}
