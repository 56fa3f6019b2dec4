/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes past the page cache, where the test's folder lets them; and what is refused. */
#include "support/check.h"

#include "io/os_faults.h"
#include "io/scratch_folder.h"

#define SIZE 100001u
#define ROOM (SIZE / 65536u * 65536u + 65536u)

static unsigned char sample[SIZE];
static _Alignas(65536) unsigned char room[ROOM];

static int folder_make(void **state)
{
    for (size_t i = 0; i < SIZE; i++)
        sample[i] = (unsigned char)(i * 13 + i / 251);
    if (scratch_folder_make(state) != 0)
        return -1;
    put_file(in_scratch("sample"), sample, SIZE);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    st__os_calls = os_calls_planted;
    os_plant(OS_NONE, 0);
    return 0;
}

static int sample_open(void)
{
    int fd = open(in_scratch("sample"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Opens past the cache, or skips the test where the folder's file system has nothing of the kind. */
static int direct_open(int fd, bool writing, uint32_t *align)
{
    int direct = -1;
    int failed = st__os_open_direct(fd, writing, &direct, align);
    if (failed) {
        assert_true(failed == EINVAL || failed == EOPNOTSUPP);
        close(fd);
        skip();
    }
    return direct;
}

static void test_reading(void **state)
{
    (void)state;
    uint32_t align = 0;
    int fd = sample_open(), direct = direct_open(fd, false, &align);
    size_t done;
    assert_true(direct != fd);
    assert_in_range(align, 512, 65536);
    assert_int_equal(align & (align - 1), 0);
    assert_true(fcntl(direct, F_GETFL) & O_DIRECT);
    assert_int_equal(fcntl(direct, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
    assert_true(fcntl(direct, F_GETFD) & FD_CLOEXEC);
    assert_false(fcntl(fd, F_GETFL) & O_DIRECT);

    st_segment whole = {room, ROOM}, part = {room, align};
    memset(room, 0, ROOM);
    assert_int_equal(st__os_read(direct, 0, &whole, 1, &done), 0);
    assert_int_equal(done, SIZE); /* the end need not be aligned */
    assert_memory_equal(room, sample, SIZE);
    assert_int_equal(st__os_read(direct, align, &part, 1, &done), 0);
    assert_memory_equal(room, sample + align, done);
    close(direct);
    close(fd);
}

static void test_writing(void **state)
{
    (void)state;
    uint32_t align = 0;
    int fd = open(in_scratch("written"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int direct = direct_open(fd, true, &align);
    size_t done;
    assert_int_equal(fcntl(direct, F_GETFL) & O_ACCMODE, O_WRONLY);
    memcpy(room, sample, align);
    st_bytes block = {room, align};
    assert_int_equal(st__os_write(direct, 0, &block, 1, &done), 0);
    assert_int_equal(done, align);
    close(direct);
    close(fd);
    assert_true(file_is(in_scratch("written"), sample, align));
}

/* The name may be gone, or belong to another file. */
static void test_without_name(void **state)
{
    (void)state;
    uint32_t align = 0;
    put_file(in_scratch("moved"), sample, SIZE);
    int fd = open(in_scratch("moved"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(rename(in_scratch("moved"), in_scratch("elsewhere")), 0);
    put_file(in_scratch("moved"), sample + 1, 1);
    int direct = direct_open(fd, false, &align);
    size_t done;
    st_segment whole = {room, ROOM};
    assert_int_equal(st__os_read(direct, 0, &whole, 1, &done), 0);
    assert_int_equal(done, SIZE);
    close(direct);
    assert_int_equal(unlink(in_scratch("elsewhere")), 0);
    assert_int_equal(st__os_open_direct(fd, false, &direct, &align), 0);
    assert_int_equal(st__os_read(direct, 0, &whole, 1, &done), 0);
    assert_memory_equal(room, sample, SIZE);
    close(direct);
    close(fd);
}

/* ------------------------------------------------------------------------------- refusals */

static uint32_t told_mask, told_memory, told_offsets;

static long told_statx(long number, ...)
{
    unsigned char *out = NULL;
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 4; i++)
        (void)va_arg(arguments, long);
    out = va_arg(arguments, unsigned char *);
    va_end(arguments);
    memcpy(out, &told_mask, 4);
    memcpy(out + 152, &told_memory, 4);
    memcpy(out + 156, &told_offsets, 4);
    return 0;
}

static void test_alignment(void **state)
{
    (void)state;
    static const struct {
        uint32_t mask, memory, offsets;
        int failed;
        uint32_t align;
    } cases[] = {
        {0x2000, 512, 512, 0, 512},      {0x2000, 4, 512, 0, 512},
        {0x2000, 4, 4096, 0, 4096},      {0x2000, 4096, 512, 0, 4096},
        {0x2000, 4, 65536, 0, 65536},    {0x2fff, 1, 1, 0, 512},
        {0x2000, 0, 0, EOPNOTSUPP, 0},   {0x2000, 4, 131072, EOPNOTSUPP, 0},
        {0x2000, 3, 768, EOPNOTSUPP, 0}, {0x07ff, 4, 512, 0, 4096},
        {0x07ff, 0, 0, 0, 4096},
    };
    uint32_t align = 0;
    int fd = sample_open();
    close(direct_open(fd, false, &align));
    st__os_calls.syscall = told_statx;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int direct = -1;
        align = 0;
        told_mask = cases[i].mask;
        told_memory = cases[i].memory;
        told_offsets = cases[i].offsets;
        assert_int_equal(st__os_open_direct(fd, false, &direct, &align), cases[i].failed);
        assert_int_equal(align, cases[i].align);
        if (direct >= 0)
            close(direct);
    }
    close(fd);
}

static int refused_openat(int directory, const char *path, int flags, mode_t mode)
{
    (void)directory;
    (void)path;
    (void)mode;
    assert_true(flags & O_DIRECT);
    errno = EINVAL;
    return -1;
}

/* A /proc that is a folder like any other. */
static int other_openat(int directory, const char *path, int flags, mode_t mode)
{
    (void)path;
    return openat(directory, "/dev/null", flags & ~O_DIRECT, mode);
}

static void test_refused(void **state)
{
    (void)state;
    int fd = sample_open(), direct = 7, ends[2];
    uint32_t align = 7;
    unsigned before = count_descriptors();
    told_mask = 0;
    st__os_calls.syscall = told_statx;
    st__os_calls.openat = refused_openat;
    assert_int_equal(st__os_open_direct(fd, false, &direct, &align), EINVAL);
    st__os_calls.openat = other_openat;
    assert_int_equal(st__os_open_direct(fd, false, &direct, &align), ESTALE);
    assert_int_equal(count_descriptors(), before);
    st__os_calls.openat = os_calls_planted.openat;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(st__os_open_direct(ends[0], false, &direct, &align), EINVAL);
    close(ends[0]);
    close(ends[1]);
    close(fd);
    assert_int_equal(st__os_open_direct(fd, false, &direct, &align), EBADF);
    assert_int_equal(direct, 7);
    assert_int_equal(align, 7);
}

static void test_faults(void **state)
{
    (void)state;
    uint32_t align = 0;
    int fd = sample_open();
    close(direct_open(fd, false, &align));
    unsigned before = count_descriptors();
    for (unsigned at = 1;; at++) {
        int direct = -1;
        os_plant(OS_EIO, at);
        int failed = st__os_open_direct(fd, false, &direct, &align);
        if (!os_state.hit) {
            assert_int_equal(at, 5); /* statx, fstat, openat, fstat */
            close(direct);
            break;
        }
        /* Without statx the alignment is the usual one. */
        assert_int_equal(failed, at == 1 ? 0 : EIO);
        assert_true(at > 1 || align == 4096);
        if (!failed)
            close(direct);
        assert_int_equal(count_descriptors(), before);
    }
    os_plant(OS_EINTR, 3);
    int direct = -1;
    assert_int_equal(st__os_open_direct(fd, false, &direct, &align), 0);
    assert_true(os_state.hit);
    close(direct);
    close(fd);
}

/* -------------------------------------------------------------------------------- uncached */

/* Skips where the kernel or the file system does not know it. */
static int uncached_open(void)
{
    int fd = sample_open();
    st_segment one = {room, 1};
    size_t done = 0;
    int failed = st__os_read_uncached(fd, 0, &one, 1, &done);
    if (failed) {
        assert_true(failed == EINVAL || failed == EOPNOTSUPP || failed == ENOSYS);
        assert_int_equal(done, 0);
        close(fd);
        skip();
    }
    return fd;
}

static void test_uncached(void **state)
{
    (void)state;
    int fd = uncached_open();
    size_t done = 0;
    uint64_t cached = 0;
    bool on_disk = st__os_storage(fd) == ST_LATENCY_LOCAL;
    st_segment parts[] = {{room, 100}, {room + 100, 0}, {room + 100, ROOM - 100}};
    assert_int_equal(fsync(fd), 0);
    st__os_drop(fd, 0, 0);
    memset(room, 0, ROOM);
    assert_int_equal(st__os_read_uncached(fd, 0, parts, 3, &done), 0);
    assert_int_equal(done, SIZE);
    assert_memory_equal(room, sample, SIZE);
    if (on_disk && st__os_resident(fd, 0, SIZE, &cached) == 0)
        assert_true(cached < SIZE / 2);
    assert_int_equal(st__os_read_uncached(fd, SIZE - 9, parts, 1, &done), 0);
    assert_int_equal(done, 9);
    assert_memory_equal(room, sample + SIZE - 9, 9);
    close(fd);
}

static void test_uncached_faults(void **state)
{
    (void)state;
    int fd = uncached_open();
    size_t done = 7;
    st_segment parts[] = {{room, 100}, {room + 100, 400}};
    static const os_fault kinds[] = {OS_EINTR, OS_SHORT};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        memset(room, 0, 500);
        os_plant(kinds[i], 1);
        assert_int_equal(st__os_read_uncached(fd, 50, parts, 2, &done), 0);
        assert_true(os_state.hit);
        assert_int_equal(done, 500);
        assert_memory_equal(room, sample + 50, 500);
    }
    os_plant_errno(EOPNOTSUPP, 1);
    assert_int_equal(st__os_read_uncached(fd, 50, parts, 2, &done), EOPNOTSUPP);
    assert_int_equal(done, 0);
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_read_uncached(fd, UINT64_MAX, parts, 2, &done), EOVERFLOW);
    close(fd);
    assert_int_equal(st__os_read_uncached(fd, 0, parts, 2, &done), EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_reading, restore),
        cmocka_unit_test_teardown(test_writing, restore),
        cmocka_unit_test_teardown(test_without_name, restore),
        cmocka_unit_test_teardown(test_alignment, restore),
        cmocka_unit_test_teardown(test_refused, restore),
        cmocka_unit_test_teardown(test_faults, restore),
        cmocka_unit_test_teardown(test_uncached, restore),
        cmocka_unit_test_teardown(test_uncached_faults, restore),
    };
    return cmocka_run_group_tests(tests, folder_make, scratch_folder_drop);
}
