/* SPDX-License-Identifier: Apache-2.0 */
/* Memory in large pieces, and how much there is of it, on a machine of the test's making. */
#include "support/check.h"

#include "io/os_faults.h"
#include "io/scratch_folder.h"

#include <sys/resource.h>

#define HUGE  ((size_t)2 << 20)
#define MIB   ((uint64_t)1 << 20)
#define LIMIT "memory.max"
/* Pages that an emulator takes or gives back for itself meanwhile; far fewer than a huge page has. */
#define NOISE 128

static int restore(void **state)
{
    (void)state;
    st__os_calls = os_calls_planted;
    os_plant(OS_NONE, 0);
    return 0;
}

/* Pages of this process's address space. */
static unsigned long long mapped_pages(void)
{
    char text[128] = {0};
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return strtoull(text, NULL, 10);
}

static void test_take(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, 100000, HUGE - 1, HUGE, 3 * HUGE + 5};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    mapped_pages(); /* what the first call brings along */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned long long before = mapped_pages();
        unsigned char *at = NULL;
        assert_int_equal(st__os_memory_take(sizes[i], (void **)&at), 0);
        assert_int_equal((uintptr_t)at % HUGE, 0);
        unsigned long long pages = mapped_pages() - before;
        unsigned long long exact = (sizes[i] + page - 1) / page;
        assert_in_range(pages + NOISE, exact, exact + 2 * NOISE);
        assert_int_equal(at[0] | at[sizes[i] / 2] | at[sizes[i] - 1], 0);
        memset(at, 0xa5, sizes[i]);
        st__os_memory_give(at, sizes[i]);
        assert_in_range(mapped_pages() + NOISE, before, before + 2 * NOISE);
    }
    st__os_memory_give(NULL, 0);
}

static void test_take_refused(void **state)
{
    (void)state;
    void *at = &at;
    assert_int_equal(st__os_memory_take(SIZE_MAX, &at), ENOMEM);
    assert_int_equal(st__os_memory_take(SIZE_MAX / 2 + 1, &at), ENOMEM);
    if (sizeof(size_t) > 4)
        assert_int_not_equal(st__os_memory_take(SIZE_MAX / 2, &at), 0);
    os_plant_errno(ENOMEM, 1);
    assert_int_equal(st__os_memory_take(1, &at), ENOMEM);
    assert_ptr_equal(at, &at);
    /* Small pages do as well. */
    os_plant_errno(EINVAL, 2);
    assert_int_equal(st__os_memory_take(HUGE, &at), 0);
    assert_true(os_state.hit);
    memset(at, 1, HUGE);
    st__os_memory_give(at, HUGE);
}

/* ------------------------------------------------------------------------------- populate */

static int told_advice[4];
static unsigned told_count;
static uintptr_t told_at;
static size_t told_size;

static int told_madvise(void *at, size_t size, int advice)
{
    told_at = (uintptr_t)at;
    told_size = size;
    if (told_count < 4)
        told_advice[told_count++] = advice;
    errno = EINVAL;
    return -1;
}

static void test_populate(void **state)
{
    (void)state;
    unsigned char *at, present[2] = {0, 0};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(st__os_memory_take(4 * page, (void **)&at), 0);
    st__os_populate(at + 7, 2 * page - 7, true);
    assert_int_equal(mincore(at, 2 * page, present), 0);
    if (!(present[0] & 1))
        print_message("no MADV_POPULATE_WRITE here\n");
    else
        assert_true(present[1] & 1);
    at[0] = 5;
    st__os_populate(at, 4 * page, true);
    assert_int_equal(at[0], 5);
    st__os_populate(at, 0, true);
    st__os_memory_give(at, 4 * page);
}

/* Whole pages are asked for; an old kernel at least reads a mapping ahead. */
static void test_populate_calls(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *base = (unsigned char *)(16 * page);
    st__os_calls.madvise = told_madvise;
    told_count = 0;
    st__os_populate(base + 10, 100, true);
    assert_int_equal(told_count, 1);
    assert_int_equal(told_advice[0], 23);
    assert_int_equal(told_at, 16 * page);
    assert_int_equal(told_size, 110);
    st__os_populate(base, 0, true);
    assert_int_equal(told_count, 1);
    st__os_populate(base, 3 * page, false);
    assert_int_equal(told_count, 3);
    assert_int_equal(told_advice[1], 22);
    assert_int_equal(told_advice[2], MADV_WILLNEED);
}

/* ------------------------------------------------------------------------------ available */

/* The files of a machine lie in the folder, under the names they have there. */
static unsigned told_opens;

static int folder_open(const char *path, int flags)
{
    char here[1024];
    told_opens++;
    if (snprintf(here, sizeof here, "%s%s", scratch, path) >= (int)sizeof here) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(here, flags);
}

/* One file of the machine, with the folders above it. */
static void tell(const char *path, const char *text)
{
    char command[400];
    const char *slash = strrchr(path, '/');
    snprintf(command, sizeof command, "mkdir -p %s%.*s", scratch, (int)(slash - path), path);
    assert_int_equal(system(command), 0);
    put_file(in_scratch(path), text, strlen(text));
}

/* A limit, what is used of it, and of that the file cache; in MiB. */
static void tell_group(const char *group, unsigned limit, unsigned usage, unsigned cache)
{
    char path[300], text[200];
    static const char *const names[] = {LIMIT, "memory.current"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", group, names[i]);
        snprintf(text, sizeof text, "%llu\n", (unsigned long long)(i == 0 ? limit : usage) * MIB);
        tell(path, i == 0 && limit == 0 ? "max\n" : text);
    }
    snprintf(path, sizeof path, "%s/memory.stat", group);
    snprintf(text, sizeof text, "anon 77\nactive_inactive_file 5\ninactive_file %llu\nslab 3\n",
             (unsigned long long)cache * MIB);
    tell(path, text);
}

static void machine_begin(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s/proc %s/sys", scratch, scratch);
    assert_int_equal(system(command), 0);
    os_plant(OS_NONE, 0);
    st__os_calls.open = folder_open;
    tell("/proc/meminfo",
         "MemTotal:       99999999 kB\nMemFree:  1 kB\nMemAvailable:   8388608 kB\n"
         "Cached: 5 kB\n");
}

static void test_machine(void **state)
{
    (void)state;
    machine_begin();
    assert_int_equal(st__os_memory_available(), 8192 * MIB);
    static const char *const strange[] = {
        "",
        "MemTotal: 5 kB\n",
        "MemAvailable: lots\n",
        "MemAvailable:",
        "MemAvailable: 18446744073709551615 kB\n",
        "MemAvailable: 99999999999999999999999 kB\n",
        "NotMemAvailable: 5 kB\n",
    };
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        tell("/proc/meminfo", strange[i]);
        assert_true(st__os_memory_available() == UINT64_MAX);
    }
    assert_int_equal(unlink(in_scratch("proc/meminfo")), 0);
    assert_true(st__os_memory_available() == UINT64_MAX);
}

static void test_unified_groups(void **state)
{
    (void)state;
    machine_begin();
    tell("/proc/self/cgroup", "0::/shop/worker\n");
    assert_int_equal(st__os_memory_available(), 8192 * MIB);
    tell_group("/sys/fs/cgroup/shop/worker", 1000, 600, 0);
    assert_int_equal(st__os_memory_available(), 400 * MIB);
    /* File pages that nobody uses will be given up. */
    tell_group("/sys/fs/cgroup/shop/worker", 1000, 600, 500);
    assert_int_equal(st__os_memory_available(), 900 * MIB);
    /* The group above has its own limit. */
    tell_group("/sys/fs/cgroup/shop", 800, 700, 30);
    assert_int_equal(st__os_memory_available(), 130 * MIB);
    tell_group("/sys/fs/cgroup/shop", 0, 700, 30);
    assert_int_equal(st__os_memory_available(), 900 * MIB);
    tell_group("/sys/fs/cgroup/shop/worker", 1000, 1300, 100);
    assert_int_equal(st__os_memory_available(), 0);
    tell_group("/sys/fs/cgroup/shop/worker", 100, 10, 20);
    assert_int_equal(st__os_memory_available(), 100 * MIB);
    tell_group("/sys/fs/cgroup/shop/worker", 99999, 10, 0);
    assert_int_equal(st__os_memory_available(), 8192 * MIB);
    /* Without memory.stat no cache is known. */
    tell_group("/sys/fs/cgroup/shop/worker", 1000, 600, 500);
    assert_int_equal(unlink(in_scratch("sys/fs/cgroup/shop/worker/memory.stat")), 0);
    assert_int_equal(st__os_memory_available(), 400 * MIB);
    assert_int_equal(unlink(in_scratch("sys/fs/cgroup/shop/worker/memory.current")), 0);
    assert_int_equal(st__os_memory_available(), 8192 * MIB);
}

/* A container may see its own group as the root, with or without knowing its path outside. */
static void test_groups_in_container(void **state)
{
    (void)state;
    static const char *const lines[] = {"0::/\n", "0::/docker/0123456789\n", "0::/", "0::/../..\n"};
    machine_begin();
    tell_group("/sys/fs/cgroup", 300, 100, 50);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        tell("/proc/self/cgroup", lines[i]);
        assert_int_equal(st__os_memory_available(), 250 * MIB);
    }
    /* Two lists and the three files of the root, each once. */
    tell("/proc/self/cgroup", lines[0]);
    told_opens = 0;
    assert_int_equal(st__os_memory_available(), 250 * MIB);
    assert_int_equal(told_opens, 5);
    tell("/proc/self/cgroup", "\n0:\nnonsense\n0::\n");
    assert_int_equal(st__os_memory_available(), 250 * MIB);
    tell("/proc/self/cgroup", "\n0:\nnonsense\n");
    assert_int_equal(st__os_memory_available(), 8192 * MIB);
}

static void test_old_groups(void **state)
{
    (void)state;
    machine_begin();
    tell("/proc/self/cgroup",
         "12:cpu,cpuacct:/a\n11:memoryless:/a\n9:hugetlb,memory:/jobs/one\n0::/b\n");
    tell("/sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes", "1048576000\n");
    tell("/sys/fs/cgroup/memory/jobs/one/memory.usage_in_bytes", "524288000\n");
    tell("/sys/fs/cgroup/memory/jobs/one/memory.stat",
         "inactive_file 1\ntotal_inactive_file 104857600\n");
    /* Of another group, by the looks of it. */
    tell("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "5\n");
    tell("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1\n");
    assert_int_equal(st__os_memory_available(), 600 * MIB);
    /* What stands there for no limit. */
    tell("/sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(st__os_memory_available(), 8192 * MIB);
    tell_group("/sys/fs/cgroup/b", 70, 20, 0);
    assert_int_equal(st__os_memory_available(), 50 * MIB);
}

static void test_long_paths(void **state)
{
    (void)state;
    static char line[ST__OS_PATH + 100];
    machine_begin();
    tell_group("/sys/fs/cgroup", 300, 100, 50);
    memset(line, 'x', sizeof line - 1);
    memcpy(line, "0::/", 4);
    tell("/proc/self/cgroup", line); /* longer than any path: not looked at */
    assert_int_equal(st__os_memory_available(), 8192 * MIB);
    line[ST__OS_PATH] = '\n';
    line[ST__OS_PATH + 1] = '\0';
    tell("/proc/self/cgroup", line);
    assert_int_equal(st__os_memory_available(), 250 * MIB);
}

static void test_address_space(void **state)
{
    (void)state;
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    if (old.rlim_cur != RLIM_INFINITY)
        skip();
    machine_begin();
    tell("/proc/self/statm", "1000 5 5 5 0 5 0\n");
    uint64_t taken = 1000 * (uint64_t)sysconf(_SC_PAGESIZE);
    limit = old;
    limit.rlim_cur = (rlim_t)mapped_pages() * (rlim_t)sysconf(_SC_PAGESIZE) + 64 * MIB;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    struct rlimit set = old;
    (void)getrlimit(RLIMIT_AS, &set);
    if (set.rlim_cur != limit.rlim_cur)
        skip(); /* an emulator that keeps its own */
    uint64_t low = st__os_memory_available();
    tell("/proc/self/statm", "99999999999 5 5 5 0 5 0\n");
    uint64_t none = st__os_memory_available();
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
    uint64_t left = (uint64_t)limit.rlim_cur - taken;
    assert_true(low == (left < 8192 * MIB ? left : 8192 * MIB));
    assert_true(none == 0);
}

/* Whatever cannot be read leaves the rest. */
static void test_available_faults(void **state)
{
    (void)state;
    machine_begin();
    tell("/proc/self/cgroup", "0::/shop\n");
    tell_group("/sys/fs/cgroup/shop", 1000, 600, 100);
    st__os_calls.open = folder_open;
    for (unsigned at = 1;; at++) {
        os_plant(OS_EIO, at);
        uint64_t found = st__os_memory_available();
        assert_true(found == 500 * MIB || found == 400 * MIB || found == 8192 * MIB);
        if (!os_state.hit) {
            assert_true(at > 10);
            break;
        }
    }
}

static void test_available_here(void **state)
{
    (void)state;
    uint64_t found = st__os_memory_available();
    assert_true(found > MIB);
    assert_true(found <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* -------------------------------------------------------------------------------- process */

static void test_clock(void **state)
{
    (void)state;
    st__os_info info;
    int64_t before = st__os_clock_ns();
    assert_true(before > INT64_C(1700000000000000000));
    put_file(in_scratch("now"), "x", 1);
    assert_int_equal(st__os_info_at(ST__OS_HERE, in_scratch("now"), true, &info), 0);
    assert_true(info.mtime_ns >= before);
}

static void test_descriptor_limit(void **state)
{
    (void)state;
    struct rlimit old, lower;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    lower = old;
    lower.rlim_cur = 123;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    uint64_t found = st__os_descriptor_limit();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(found, 123);
}

static void test_working_directory(void **state)
{
    (void)state;
    char path[ST__OS_PATH], expected[ST__OS_PATH];
    int back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdir(in_scratch("here"), 0700), 0);
    assert_non_null(realpath(in_scratch("here"), expected));
    assert_int_equal(chdir(in_scratch("here")), 0);
    assert_int_equal(st__os_working_directory(path), 0);
    assert_string_equal(path, expected);
    assert_int_equal(rmdir(expected), 0);
    assert_int_equal(st__os_working_directory(path), ENOENT);
    assert_int_equal(fchdir(back), 0);
    close(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_take, restore),
        cmocka_unit_test_teardown(test_take_refused, restore),
        cmocka_unit_test_teardown(test_populate, restore),
        cmocka_unit_test_teardown(test_populate_calls, restore),
        cmocka_unit_test_teardown(test_machine, restore),
        cmocka_unit_test_teardown(test_unified_groups, restore),
        cmocka_unit_test_teardown(test_groups_in_container, restore),
        cmocka_unit_test_teardown(test_old_groups, restore),
        cmocka_unit_test_teardown(test_long_paths, restore),
        cmocka_unit_test_teardown(test_address_space, restore),
        cmocka_unit_test_teardown(test_available_faults, restore),
        cmocka_unit_test_teardown(test_available_here, restore),
        cmocka_unit_test_teardown(test_clock, restore),
        cmocka_unit_test_teardown(test_descriptor_limit, restore),
        cmocka_unit_test_teardown(test_working_directory, restore),
    };
    return cmocka_run_group_tests(tests, scratch_folder_make, scratch_folder_drop);
}
