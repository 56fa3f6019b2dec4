/* SPDX-License-Identifier: Apache-2.0 */
/* The system's calls, well and failing. */
#include "support/check.h"

#include "io/os_faults.h"

#include <stdio.h>
#include <stdlib.h>

static char scratch_path[64];
static unsigned char scratch_bytes[5000];

static int scratch_make(void **state)
{
    (void)state;
    snprintf(scratch_path, sizeof scratch_path, "/tmp/st_test_os.XXXXXX");
    int fd = mkstemp(scratch_path);
    if (fd < 0)
        return -1;
    for (size_t i = 0; i < sizeof scratch_bytes; i++)
        scratch_bytes[i] = (unsigned char)(i * 7 + i / 256);
    bool written = write(fd, scratch_bytes, sizeof scratch_bytes) == (ssize_t)sizeof scratch_bytes;
    close(fd);
    return written ? 0 : -1;
}

static int scratch_drop(void **state)
{
    (void)state;
    return unlink(scratch_path);
}

static int scratch_open(void)
{
    int fd = -1;
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_open(scratch_path, &fd), 0);
    return fd;
}

static void test_open(void **state)
{
    (void)state;
    int fd = -1;
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_open("/nonexistent/file", &fd), ENOENT);
    os_plant(OS_EINTR, 1);
    assert_int_equal(st__os_open(scratch_path, &fd), 0);
    assert_true(os_state.hit);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int copy = -1;
    assert_int_equal(st__os_duplicate(fd, &copy), 0);
    assert_true(copy != fd && (fcntl(copy, F_GETFD) & FD_CLOEXEC));
    st__os_close(fd);
    assert_int_equal(st__os_duplicate(fd, &copy), EBADF);
    st__os_close(copy);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_open(scratch_path, &fd), EIO);
}

static void test_info(void **state)
{
    (void)state;
    st__os_info info, again;
    int fd = scratch_open();
    assert_int_equal(st__os_info_fd(fd, &info), 0);
    assert_int_equal(info.size, sizeof scratch_bytes);
    assert_int_equal(info.kind, ST__OS_REGULAR);
    assert_int_equal(st__os_info_at(ST__OS_HERE, scratch_path, true, &again), 0);
    assert_int_equal(again.inode, info.inode);
    assert_int_equal(again.mtime_ns, info.mtime_ns);
    assert_int_equal(again.ctime_ns, info.ctime_ns);
    assert_int_equal(st__os_info_at(ST__OS_HERE, "/tmp", true, &again), 0);
    assert_int_equal(again.kind, ST__OS_DIRECTORY);
    assert_int_equal(st__os_info_at(ST__OS_HERE, "/dev/zero", true, &again), 0);
    assert_int_equal(again.kind, ST__OS_CHARACTER);
    assert_int_equal(st__os_info_at(ST__OS_HERE, "/nonexistent", true, &again), ENOENT);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_info_fd(fd, &info), EIO);
    st__os_close(fd);
}

/* More segments than one call takes, some of them empty. */
static void test_read(void **state)
{
    (void)state;
    static const os_fault faults[] = {OS_NONE, OS_EINTR, OS_SHORT};
    unsigned char got[sizeof scratch_bytes];
    st_segment segments[160];
    int fd = scratch_open();
    for (size_t i = 0; i < 160; i++)
        segments[i] = (st_segment){got + i * 30, i % 7 == 0 ? 0 : 30};
    for (size_t f = 0; f < 3; f++) {
        size_t done = 0, total = 0;
        memset(got, 0, sizeof got);
        os_plant(faults[f], 2);
        assert_int_equal(st__os_read(fd, 123, segments, 160, &done), 0);
        assert_true(os_state.calls > 2);
        for (size_t i = 0; i < 160; i++) {
            assert_memory_equal(segments[i].data, scratch_bytes + 123 + total, segments[i].size);
            total += segments[i].size;
        }
        assert_int_equal(done, total);
    }
    st__os_close(fd);
}

static void test_read_failing(void **state)
{
    (void)state;
    unsigned char got[100];
    st_segment segment = {got, sizeof got};
    size_t done = 99;
    int fd = scratch_open();
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_read(fd, 0, &segment, 1, &done), EIO);
    assert_int_equal(done, 0);
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_read(fd, sizeof scratch_bytes - 30, &segment, 1, &done), 0);
    assert_int_equal(done, 30);
    assert_memory_equal(got, scratch_bytes + sizeof scratch_bytes - 30, 30);
    assert_int_equal(st__os_read(fd, UINT64_C(1) << 63, &segment, 1, &done), EOVERFLOW);
    assert_int_equal(st__os_read(fd, 0, NULL, 0, &done), 0);
    assert_int_equal(done, 0);
    st__os_close(fd);
}

static void test_map(void **state)
{
    (void)state;
    int fd = scratch_open();
    void *shared, *private;
    assert_int_equal(st__os_map(fd, sizeof scratch_bytes, ST_MAP_SHARED, &shared), 0);
    assert_int_equal(st__os_map(fd, sizeof scratch_bytes, ST_MAP_PRIVATE, &private), 0);
    ((unsigned char *)private)[0] ^= 1;
    assert_memory_equal(shared, scratch_bytes, sizeof scratch_bytes);
    st__os_unmap(shared, sizeof scratch_bytes);
    st__os_unmap(private, sizeof scratch_bytes);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_map(fd, sizeof scratch_bytes, ST_MAP_SHARED, &shared), EIO);
    st__os_prefetch(fd, 0, sizeof scratch_bytes);
    st__os_prefetch(fd, UINT64_MAX, UINT64_MAX);
    st__os_close(fd);
    size_t page = st__os_page_size();
    assert_true(page >= 512 && (page & (page - 1)) == 0);
}

static ssize_t no_random(void *out, size_t size, unsigned flags)
{
    (void)out;
    (void)size;
    (void)flags;
    errno = ENOSYS;
    return -1;
}

static void test_random(void **state)
{
    (void)state;
    static const unsigned char zeros[24];
    unsigned char a[24] = {0}, b[24] = {0};
    st__os_random(a, sizeof a);
    st__os_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    st__os_calls.getrandom = no_random;
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    st__os_random(a, sizeof a);
    st__os_random(b, sizeof b);
    assert_memory_not_equal(a, zeros, sizeof a);
    assert_memory_not_equal(a, b, sizeof a);
    st__os_calls.getrandom = fault_getrandom;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open), cmocka_unit_test(test_info),
        cmocka_unit_test(test_read), cmocka_unit_test(test_read_failing),
        cmocka_unit_test(test_map),  cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests_name("os", tests, scratch_make, scratch_drop);
}
