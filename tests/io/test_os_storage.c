/* SPDX-License-Identifier: Apache-2.0 */
/* What lies below a file, and how much of it is in the page cache: by the system's word, and by what is done
 * where it gives none. */
#include "support/check.h"

#include "io/os_faults.h"
#include "io/scratch_folder.h"

#include <sys/wait.h>

#define PAGE  4096u
#define PAGES 512u

static unsigned char sample_page[PAGE];

/* A file of PAGES pages in memory, of which the first `present` are there and the rest are a hole. */
static int memory_file(unsigned present)
{
    int fd = memfd_create("sample", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)PAGES * PAGE), 0);
    for (unsigned i = 0; i < present; i++)
        assert_int_equal(pwrite(fd, sample_page, PAGE, (off_t)i * PAGE), PAGE);
    return fd;
}

/* A file on the disk, all of it in the page cache and none of it dirty; -1 where the folder is in memory, so
 * that there is nothing to be dropped. */
static int disk_file(const char *name, unsigned pages)
{
    int fd = open(in_scratch(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < pages; i++)
        assert_int_equal(write(fd, sample_page, PAGE), PAGE);
    assert_int_equal(fsync(fd), 0);
    if (st__os_storage(fd) == ST_LATENCY_LOCAL)
        return fd;
    close(fd);
    return -1;
}

static int restore(void **state)
{
    (void)state;
    st__os_calls = os_calls_planted;
    os_plant(OS_NONE, 0);
    return 0;
}

/* ------------------------------------------------------------------------------- storage */

static uint32_t told_magic;

static int told_fstatfs(int fd, struct statfs *out)
{
    (void)fd;
    memset(out, 0, sizeof *out);
    memcpy(&out->f_type, &told_magic, sizeof told_magic);
    if (sizeof out->f_type > sizeof told_magic)
        out->f_type = (__typeof__(out->f_type))told_magic;
    return 0;
}

static void test_storage(void **state)
{
    (void)state;
    static const struct {
        uint32_t magic, latency;
    } cases[] = {
        {0x01021994, ST_LATENCY_MEMORY},  {0x858458f6, ST_LATENCY_MEMORY},
        {0x958458f6, ST_LATENCY_MEMORY},  {0xef53, ST_LATENCY_LOCAL},
        {0x58465342, ST_LATENCY_LOCAL},   {0x9123683e, ST_LATENCY_LOCAL},
        {0xf2f52010, ST_LATENCY_LOCAL},   {0x2fc12fc1, ST_LATENCY_LOCAL},
        {0x794c7630, ST_LATENCY_LOCAL},   {0xca451a4e, ST_LATENCY_LOCAL},
        {0x6969, ST_LATENCY_NETWORK},     {0xff534d42, ST_LATENCY_NETWORK},
        {0xfe534d42, ST_LATENCY_NETWORK}, {0x65735546, ST_LATENCY_NETWORK},
        {0x0bd00bd0, ST_LATENCY_NETWORK}, {0x00c36400, ST_LATENCY_NETWORK},
        {0x01021997, ST_LATENCY_NETWORK}, {0x5346414f, ST_LATENCY_NETWORK},
        {0x47504653, ST_LATENCY_NETWORK}, {0x12345678, ST_LATENCY_UNKNOWN},
    };
    st__os_calls.fstatfs = told_fstatfs;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        told_magic = cases[i].magic;
        assert_int_equal(st__os_storage(0), cases[i].latency);
    }
}

static void test_storage_here(void **state)
{
    (void)state;
    int fd = memory_file(1);
    assert_int_equal(st__os_storage(fd), ST_LATENCY_MEMORY);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__os_storage(fd), ST_LATENCY_UNKNOWN);
    assert_true(os_state.hit);
    close(fd);
    os_plant(OS_NONE, 0);
    assert_int_equal(st__os_storage(fd), ST_LATENCY_UNKNOWN);
    fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    assert_int_equal(st__os_storage(fd), ST_LATENCY_UNKNOWN);
    close(fd);
}

/* ----------------------------------------------------------------------------- residency */

static uint64_t resident(int fd, uint64_t offset, uint64_t size)
{
    uint64_t found = UINT64_MAX;
    assert_int_equal(st__os_resident(fd, offset, size, &found), 0);
    return found;
}

/* Whichever call is asked. */
static void check_resident(int fd)
{
    assert_int_equal(resident(fd, 0, (uint64_t)PAGES * PAGE), 100u * PAGE);
    assert_int_equal(resident(fd, 10 * PAGE, 20 * PAGE), 20 * PAGE);
    assert_int_equal(resident(fd, 100 * PAGE, 20 * PAGE), 0);
    assert_int_equal(resident(fd, 99 * PAGE, 2 * PAGE), PAGE);
    /* Never more than was asked for, whatever part of a page it is. */
    assert_int_equal(resident(fd, 17, 5), 5);
    assert_int_equal(resident(fd, PAGE - 2, 4), 4);
    assert_int_equal(resident(fd, 0, 0), 0);
}

static void test_resident(void **state)
{
    (void)state;
    if (sysconf(_SC_PAGESIZE) != PAGE)
        skip();
    int fd = memory_file(100);
    check_resident(fd);
    close(fd);
}

static int refused_error;

static long refused_syscall(long number, ...)
{
    (void)number;
    errno = refused_error;
    return -1;
}

static int refused_mincore(void *at, size_t size, unsigned char *out)
{
    (void)at;
    (void)size;
    (void)out;
    errno = ENOMEM;
    return -1;
}

static void test_resident_without_cachestat(void **state)
{
    (void)state;
    if (sysconf(_SC_PAGESIZE) != PAGE)
        skip();
    int fd = memory_file(100);
    static const int errors[] = {ENOSYS, EPERM, EOPNOTSUPP};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        st__os_calls.syscall = refused_syscall;
        refused_error = errors[i];
        check_resident(fd);
    }
    close(fd);
}

/* The pages below this are said to be present, by mincore through what was mapped last, and by reads that do
 * not wait. */
static uint64_t told_present, told_mapped;
static unsigned told_asked;

static void *told_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
    told_mapped = (uint64_t)offset / PAGE;
    return mmap(at, size, prot, flags, fd, offset);
}

static int told_mincore(void *at, size_t size, unsigned char *out)
{
    (void)at;
    told_asked++;
    for (size_t i = 0; i < (size + PAGE - 1) / PAGE; i++)
        out[i] = (unsigned char)(0xfe | (told_mapped + i < told_present));
    return 0;
}

static ssize_t told_preadv2(int fd, const struct iovec *segments, int count, off_t offset,
                            int flags)
{
    (void)fd;
    told_asked++;
    assert_int_equal(count, 1);
    assert_int_equal(segments->iov_len, 1);
    assert_int_equal(flags, RWF_NOWAIT);
    errno = EAGAIN;
    return (uint64_t)offset / PAGE < told_present ? 1 : -1;
}

/* A file that is too large to be looked at whole: 3 GiB, of which nothing takes space. */
static void check_sampled(int fd, uint64_t size, unsigned percent)
{
    uint64_t pages = size / PAGE;
    static const unsigned shares[] = {0, 25, 50, 90, 100};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        told_present = pages * shares[i] / 100;
        told_asked = 0;
        uint64_t found = resident(fd, 0, size);
        unsigned low = shares[i] > percent ? shares[i] - percent : 0;
        assert_in_range(found, size / 100 * low, size / 100 * (shares[i] + percent));
        assert_true(shares[i] < 100 || found == size);
        assert_in_range(told_asked, 2, 64);
    }
}

static void test_resident_sampled(void **state)
{
    (void)state;
    const uint64_t size = (uint64_t)3 << 30;
    if (sysconf(_SC_PAGESIZE) != PAGE)
        skip();
    int fd = memfd_create("sample", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    st__os_calls.syscall = refused_syscall;
    st__os_calls.mmap = told_mmap;
    st__os_calls.mincore = told_mincore;
    st__os_calls.preadv2 = told_preadv2;
    check_sampled(fd, size, 2);
    st__os_calls.mincore = refused_mincore;
    check_sampled(fd, size, 6);
    close(fd);
}

static ssize_t waiting_preadv2(int fd, const struct iovec *segments, int count, off_t offset,
                               int flags)
{
    (void)fd;
    (void)segments;
    (void)count;
    (void)offset;
    (void)flags;
    errno = EOPNOTSUPP;
    return -1;
}

static void test_resident_refused(void **state)
{
    (void)state;
    uint64_t found = 7;
    int fd = memory_file(1);
    assert_int_equal(st__os_resident(fd, 1, UINT64_MAX, &found), EOVERFLOW);
    assert_int_equal(st__os_resident(fd, UINT64_MAX, 1, &found), EOVERFLOW);
    assert_int_equal(st__os_resident(fd, INT64_MAX, 1, &found), EOVERFLOW);
    st__os_calls.syscall = refused_syscall;
    st__os_calls.mincore = refused_mincore;
    st__os_calls.preadv2 = waiting_preadv2;
    assert_int_equal(st__os_resident(fd, 0, PAGE, &found), EOPNOTSUPP);
    close(fd);
    st__os_calls = os_calls_planted;
    int failed = st__os_resident(fd, 0, PAGE, &found);
    assert_true(failed == EBADF || failed == EOPNOTSUPP); /* the latter of emulators */
    assert_int_equal(found, 7);
}

/* Each call of the three ways fails in turn; another way answers. */
static void test_resident_faults(void **state)
{
    (void)state;
    if (sysconf(_SC_PAGESIZE) != PAGE)
        skip();
    int fd = memory_file(100);
    for (unsigned at = 1;; at++) {
        uint64_t found = UINT64_MAX;
        st__os_calls.syscall = refused_syscall;
        st__os_calls.preadv2 = told_preadv2;
        told_present = 100;
        os_plant(OS_EIO, at);
        assert_int_equal(st__os_resident(fd, 0, 100 * PAGE, &found), 0);
        assert_int_equal(found, 100 * PAGE);
        if (!os_state.hit) {
            assert_in_range(at, 4, 10); /* fstat, mmap, mincore */
            break;
        }
    }
    close(fd);
}

/* Linux tells a stranger nothing by cachestat (6.14 on), and something untrue by mincore. */
static void test_resident_of_others(void **state)
{
    (void)state;
    int fd = geteuid() == 0 ? disk_file("theirs", PAGES) : -1, status = 0;
    if (fd < 0)
        skip();
    st__os_drop(fd, 0, 0);
    close(fd);
    fd = open(in_scratch("theirs"), O_RDONLY | O_CLOEXEC);
    st__os_calls.preadv2 = told_preadv2;
    told_present = 0;
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t found = 1;
        bool told = setresuid(65534, 65534, 65534) == 0 &&
                    st__os_resident(fd, 0, (uint64_t)PAGES * PAGE, &found) == 0;
        _exit(told && found == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd);
}

static void test_drop(void **state)
{
    (void)state;
    int fd = disk_file("dropped", PAGES);
    if (fd < 0)
        skip();
    uint64_t size = (uint64_t)PAGES * PAGE, half = size / 2;
    assert_int_equal(resident(fd, 0, size), size);
    st__os_drop(fd, UINT64_MAX, 1); /* nonsense does nothing */
    st__os_drop(fd, 0, half);
    /* valgrind reads the head of whatever is mapped, as a look by mincore does. */
    assert_true(resident(fd, 0, half) <= 4 * PAGE);
    assert_int_equal(resident(fd, half, half), half);
    st__os_drop(fd, 0, 0);
    assert_true(resident(fd, 0, size) <= 4 * PAGE);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_storage, restore),
        cmocka_unit_test_teardown(test_storage_here, restore),
        cmocka_unit_test_teardown(test_resident, restore),
        cmocka_unit_test_teardown(test_resident_without_cachestat, restore),
        cmocka_unit_test_teardown(test_resident_sampled, restore),
        cmocka_unit_test_teardown(test_resident_refused, restore),
        cmocka_unit_test_teardown(test_resident_faults, restore),
        cmocka_unit_test_teardown(test_resident_of_others, restore),
        cmocka_unit_test_teardown(test_drop, restore),
    };
    return cmocka_run_group_tests(tests, scratch_folder_make, scratch_folder_drop);
}
