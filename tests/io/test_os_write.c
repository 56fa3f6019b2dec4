/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of the system's calls, well and failing. */
#include "support/check.h"

#include "io/os_faults.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static char folder[64];
static int directory;
static unsigned char bytes[5000];

static int folder_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/st_test_os_write.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    return st__os_open_directory(ST__OS_HERE, folder, &directory);
}

static int folder_drop(void **state)
{
    (void)state;
    st__os_close(directory);
    return rmdir(folder);
}

static int scratch_create(const char *name)
{
    int fd = -1;
    assert_int_equal(st__os_create(directory, name, 0600, &fd), 0);
    return fd;
}

static void scratch_remove(const char *name, int fd)
{
    st__os_close(fd);
    assert_int_equal(st__os_remove(directory, name), 0);
}

static void check_bytes(int fd, off_t offset, const void *wanted, size_t size)
{
    unsigned char got[sizeof bytes];
    assert_int_equal(pread(fd, got, size, offset), size);
    assert_memory_equal(got, wanted, size);
}

static void test_create(void **state)
{
    (void)state;
    int fd = -1, other = -1;
    char target[ST__OS_PATH];
    os_plant(OS_EINTR, 1);
    assert_int_equal(st__os_create(directory, "a", 0640, &fd), 0);
    assert_true(os_state.hit && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_create(directory, "a", 0640, &other), EEXIST);
    assert_int_equal(st__os_link_target(directory, "a", target), EINVAL);
    assert_int_equal(st__os_link_target(directory, "none", target), ENOENT);
    assert_int_equal(symlinkat("where", directory, "link"), 0);
    assert_int_equal(st__os_link_target(directory, "link", target), 0);
    assert_string_equal(target, "where");
    assert_int_equal(st__os_create(directory, "link", 0640, &other), EEXIST);
    assert_int_equal(st__os_remove(directory, "link"), 0);
    assert_int_equal(st__os_remove(directory, "link"), ENOENT);
    assert_int_equal(st__os_open_directory(directory, "a", &other), ENOTDIR);
    scratch_remove("a", fd);
}

static void test_unnamed(void **state)
{
    (void)state;
    int fd = -1;
    st__os_info info;
    for (unsigned n = 1; n <= 3; n++) { /* open, and the two looks at what /proc leads to */
        os_plant(OS_EIO, n);
        assert_true(st__os_create_unnamed(directory, 0600, false, &fd) != 0);
        assert_true(os_state.hit && fd == -1);
    }
    os_plant(OS_NONE, 0);
    int failed = st__os_create_unnamed(directory, 0600, true, &fd);
    if (failed)
        failed = st__os_create_unnamed(directory, 0600, false, &fd);
    if (failed) {
        print_message("no files without a name here: errno %d\n", failed);
        skip();
    }
    assert_int_equal(st__os_info_at(directory, "name", false, &info), ENOENT);
    assert_int_equal(st__os_name(fd, directory, "name"), 0);
    assert_int_equal(st__os_info_at(directory, "name", false, &info), 0);
    assert_int_equal(st__os_name(fd, directory, "name"), EEXIST);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_name(fd, directory, "other"), EIO);
    os_plant(OS_NONE, 0);
    scratch_remove("name", fd);
}

static void test_rename(void **state)
{
    (void)state;
    st__os_info a, info;
    int fd = scratch_create("a"), other = scratch_create("b");
    assert_int_equal(st__os_info_fd(fd, &a), 0);
    assert_int_equal(st__os_rename_new(directory, "a", "b"), EEXIST);
    assert_int_equal(st__os_rename(directory, "a", "b"), 0);
    assert_int_equal(st__os_info_at(directory, "b", false, &info), 0);
    assert_int_equal(info.inode, a.inode);
    assert_int_equal(st__os_rename(directory, "a", "b"), ENOENT);
    assert_int_equal(st__os_rename_new(directory, "b", "a"), 0);
    st__os_close(other);
    /* Where the system cannot rename so, a link and a removal do the same. */
    static const int refusals[] = {EINVAL, ENOSYS, ENOTSUP, EPERM};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        other = scratch_create("b");
        os_plant_errno(refusals[i], 1);
        assert_int_equal(st__os_rename_new(directory, "a", "b"), EEXIST);
        scratch_remove("b", other);
        os_plant_errno(refusals[i], 1);
        assert_int_equal(st__os_rename_new(directory, "a", "b"), 0);
        assert_int_equal(st__os_info_at(directory, "a", false, &info), ENOENT);
        assert_int_equal(st__os_rename(directory, "b", "a"), 0);
    }
    os_plant_errno(EROFS, 1);
    assert_int_equal(st__os_rename_new(directory, "a", "b"), EROFS);
    os_plant(OS_NONE, 0);
    scratch_remove("a", fd);
}

/* More pieces than one call takes, some of them empty. */
static void test_write(void **state)
{
    (void)state;
    static const os_fault faults[] = {OS_NONE, OS_EINTR, OS_SHORT};
    st_bytes pieces[150];
    size_t done = 0, total = 0;
    int fd = scratch_create("a");
    for (size_t i = 0; i < 150; i++) {
        pieces[i] = (st_bytes){bytes + total, i % 7 == 0 ? 0 : 30};
        total += pieces[i].size;
    }
    for (size_t f = 0; f < 3; f++) {
        assert_int_equal(ftruncate(fd, 0), 0);
        os_plant(faults[f], 2);
        assert_int_equal(st__os_write(fd, 123, pieces, 150, &done), 0);
        assert_true(os_state.calls >= 2);
        assert_int_equal(done, total);
        check_bytes(fd, 123, bytes, total);
    }
    os_plant_errno(ENOSPC, 2);
    assert_int_equal(st__os_write(fd, 0, pieces, 150, &done), ENOSPC);
    assert_true(done > 0 && done < total);
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_write(fd, UINT64_C(1) << 63, pieces, 150, &done), EOVERFLOW);
    assert_int_equal(st__os_write(fd, 0, NULL, 0, &done), 0);
    assert_int_equal(done, 0);
    scratch_remove("a", fd);
}

static ssize_t takes_nothing(int fd, const struct iovec *pieces, int count, off_t offset)
{
    (void)fd;
    (void)pieces;
    (void)count;
    (void)offset;
    return 0;
}

static void test_write_nothing(void **state)
{
    (void)state;
    st_bytes piece = {bytes, 10};
    size_t done;
    int fd = scratch_create("a");
    st__os_calls.pwritev = takes_nothing;
    assert_int_equal(st__os_write(fd, 0, &piece, 1, &done), EIO);
    os_calls_restore();
    scratch_remove("a", fd);
}

static void *drain(void *arg)
{
    static unsigned char got[1 << 20];
    size_t *size = arg;
    int fd = (int)*size;
    *size = 0;
    for (ssize_t n; (n = read(fd, got, sizeof got)) > 0;)
        *size += (size_t)n;
    return NULL;
}

/* Through a descriptor that does not block, into one that is full again and again. */
static void stream_through(int in, int out, int kind)
{
    static const os_fault faults[] = {OS_NONE, OS_EINTR, OS_SHORT};
    st_bytes pieces[400];
    size_t done = 0, drained = (size_t)in, total = 0;
    pthread_t reader;
    for (size_t i = 0; i < 400; i++)
        pieces[i] = (st_bytes){bytes, sizeof bytes};
    assert_int_equal(fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK), 0);
    assert_int_equal(pthread_create(&reader, NULL, drain, &drained), 0);
    for (size_t f = 0; f < 3; f++) {
        os_plant(faults[f], 2);
        assert_int_equal(st__os_write_stream(out, kind, pieces, 400, &done), 0);
        assert_int_equal(done, 400 * sizeof bytes);
        total += done;
    }
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_write_stream(out, kind, pieces, 1, &done), EIO);
    os_plant(OS_NONE, 0);
    close(out);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(drained, total);
    close(in);
}

static void test_stream(void **state)
{
    (void)state;
    int ends[2];
    st_bytes piece = {bytes, 10};
    size_t done;
    assert_int_equal(pipe(ends), 0);
    stream_through(ends[0], ends[1], ST__OS_FIFO);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    stream_through(ends[0], ends[1], ST__OS_SOCKET);
    /* No signal, which would end this program. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    close(ends[0]);
    assert_int_equal(st__os_write_stream(ends[1], ST__OS_SOCKET, &piece, 1, &done), EPIPE);
    close(ends[1]);
}

static void test_allocate(void **state)
{
    (void)state;
    static const int refusals[] = {EOPNOTSUPP, ENOSYS, EINVAL};
    static const int answers[] = {ENOSPC, EDQUOT, EFBIG, EIO};
    st__os_info info;
    int fd = scratch_create("a");
    os_plant(OS_EINTR, 1);
    assert_int_equal(st__os_allocate(fd, 0, 1000, 0), 0);
    assert_int_equal(st__os_info_fd(fd, &info), 0);
    assert_int_equal(info.size, 1000);
    assert_int_equal(st__os_allocate(fd, 500, 1000, ST__OS_KEEP_SIZE), 0);
    assert_int_equal(st__os_allocate(fd, 0, 0, 0), 0);
    assert_int_equal(st__os_info_fd(fd, &info), 0);
    assert_int_equal(info.size, 1000);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        os_plant_errno(refusals[i], 1);
        assert_int_equal(st__os_allocate(fd, 1000, 1000 * (i + 1), 0), 0);
        assert_int_equal(st__os_info_fd(fd, &info), 0);
        assert_int_equal(info.size, 1000 + 1000 * (i + 1));
        os_plant_errno(refusals[i], 1);
        assert_int_equal(st__os_allocate(fd, 0, 99999, ST__OS_KEEP_SIZE), 0);
    }
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        os_plant_errno(answers[i], 1);
        assert_int_equal(st__os_allocate(fd, 0, 99999, 0), answers[i]);
    }
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_allocate(fd, 0, UINT64_MAX, 0), EFBIG);
    assert_int_equal(st__os_allocate(fd, UINT64_MAX, 1, 0), EFBIG);
    assert_true(st__os_free_space(fd) > 0);
    assert_true(st__os_free_space(-1) == UINT64_MAX);
    assert_true(st__os_block_size(fd) >= 512);
    assert_int_equal(st__os_block_size(-1), 4096);
    scratch_remove("a", fd);
}

static int refuses_fallocate(int fd, int mode, off_t offset, off_t size)
{
    (void)fd;
    (void)mode;
    (void)offset;
    (void)size;
    os_state.calls++;
    errno = os_state.error;
    return -1;
}

static int refuses_ftruncate(int fd, off_t size)
{
    (void)fd;
    (void)size;
    errno = os_state.at ? (int)os_state.at : EPERM;
    return -1;
}

/* Neither the space nor the size can be had: that is no error, unless there is none to be had. */
static void test_allocate_nothing(void **state)
{
    (void)state;
    int fd = scratch_create("a");
    st__os_calls.fallocate = refuses_fallocate;
    st__os_calls.ftruncate = refuses_ftruncate;
    os_plant_errno(EOPNOTSUPP, 0);
    assert_int_equal(st__os_allocate(fd, 0, 1000, 0), 0);
    os_plant_errno(EOPNOTSUPP, ENOSPC);
    assert_int_equal(st__os_allocate(fd, 0, 1000, 0), ENOSPC);
    /* Interrupted for ever. */
    os_plant_errno(EINTR, 0);
    assert_int_equal(st__os_allocate(fd, 0, 1000, 0), 0);
    assert_int_equal(os_state.calls, 64 + 1); /* and an fstat */
    os_calls_restore();
    os_plant(OS_EIO, 2);
    st__os_calls.fallocate = refuses_fallocate;
    os_state.error = EINVAL;
    assert_int_equal(st__os_allocate(fd, 0, 1000, 0), EINVAL); /* of fstat, the second call */
    os_calls_restore();
    os_plant(OS_NONE, 0);
    scratch_remove("a", fd);
}

/* The limit is told, and no signal comes. */
static void test_limit(void **state)
{
    (void)state;
    struct rlimit old;
    int fd = scratch_create("a");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit small = {1000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int over = st__os_allocate(fd, 1, 1000, 0), within = st__os_allocate(fd, 0, 1000, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(over, EFBIG);
    assert_int_equal(within, 0);
    scratch_remove("a", fd);
}

static void test_copy(void **state)
{
    (void)state;
    static const int refusals[] = {EXDEV, EINVAL, EOPNOTSUPP, ENOSYS,
                                   EBADF, EPERM,  ETXTBSY,    EOVERFLOW};
    static const int answers[] = {EIO, ENOSPC, EDQUOT, EFBIG};
    uint64_t done = 99;
    int from = scratch_create("a"), to = scratch_create("b");
    assert_int_equal(pwrite(from, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(st__os_allocate(to, 0, 6000, 0), 0);
    static const os_fault faults[] = {OS_NONE, OS_EINTR, OS_SHORT};
    for (size_t f = 0; f < 3; f++) {
        os_plant(faults[f], 1);
        assert_int_equal(st__os_copy(from, 10, to, 500 + f, 4000, &done), 0);
        assert_int_equal(done, 4000);
        check_bytes(to, (off_t)(500 + f), bytes + 10, 4000);
    }
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_copy(from, 4900, to, 0, 4000, &done), 0);
    assert_int_equal(done, 100); /* the source ends */
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        os_plant_errno(refusals[i], 1);
        assert_int_equal(st__os_copy(from, 0, to, 0, 4000, &done), 0);
        assert_int_equal(done, 0);
    }
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        os_plant_errno(answers[i], 1);
        assert_int_equal(st__os_copy(from, 0, to, 0, 4000, &done), answers[i]);
    }
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_copy(from, UINT64_MAX, to, 0, 1, &done), EOVERFLOW);
    assert_int_equal(st__os_copy(from, 0, to, INT64_MAX, 1, &done), EOVERFLOW);
    os_plant_errno(EXDEV, 1);
    assert_int_equal(st__os_clone(from, 0, to, 0, 4096), EXDEV);
    os_plant(OS_NONE, 0);
    scratch_remove("a", from);
    scratch_remove("b", to);
}

static void test_sync(void **state)
{
    (void)state;
    int ends[2];
    int fd = scratch_create("a");
    os_plant(OS_EINTR, 1);
    assert_int_equal(st__os_sync(fd), 0);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_sync(fd), EIO);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_sync_directory(directory), EIO);
    os_plant_errno(EINVAL, 1);
    assert_int_equal(st__os_sync_directory(directory), 0);
    os_plant_errno(EBADF, 1);
    assert_int_equal(st__os_sync_directory(directory), 0);
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_sync_directory(directory), 0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(st__os_sync(ends[1]), 0);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(st__os_sync(ends[1]), EBADF);
    st__os_write_back(fd);
    os_plant(OS_EINTR, 1);
    assert_int_equal(st__os_flush(fd), 0);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_flush(fd), EIO);
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_flush(ends[1]), EBADF);
    scratch_remove("a", fd);
}

static void test_state(void **state)
{
    (void)state;
    bool writable = false, appends = true;
    uint64_t position = 0;
    int fd = scratch_create("a");
    assert_int_equal(st__os_seek(fd, 77), 0);
    assert_int_equal(st__os_write_state(fd, &writable, &appends, &position), 0);
    assert_true(writable && !appends && position == 77);
    assert_int_equal(st__os_seek(fd, UINT64_MAX), EOVERFLOW);
    int path = openat(directory, "a", O_PATH), reads = openat(directory, "a", O_RDONLY);
    int append = openat(directory, "a", O_WRONLY | O_APPEND);
    assert_int_equal(st__os_write_state(path, &writable, &appends, &position), 0);
    assert_false(writable);
    assert_int_equal(st__os_write_state(reads, &writable, &appends, &position), 0);
    assert_false(writable);
    assert_int_equal(st__os_write_state(append, &writable, &appends, &position), 0);
    assert_true(writable && appends);
    close(path);
    close(reads);
    close(append);
    assert_int_equal(st__os_write_state(append, &writable, &appends, &position), EBADF);
    assert_int_equal(st__os_seek(append, 0), EBADF);
    scratch_remove("a", fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),        cmocka_unit_test(test_unnamed),
        cmocka_unit_test(test_rename),        cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_nothing), cmocka_unit_test(test_stream),
        cmocka_unit_test(test_allocate),      cmocka_unit_test(test_allocate_nothing),
        cmocka_unit_test(test_limit),         cmocka_unit_test(test_copy),
        cmocka_unit_test(test_sync),          cmocka_unit_test(test_state),
    };
    return cmocka_run_group_tests_name("os_write", tests, folder_make, folder_drop);
}
