/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes where the system refuses, fails, is interrupted or stops short: right bytes, or an error that tells
 * where; what is refused for good is remembered of the mount, and nothing is leaked. */
#include "io/os_faults.h"

#include "base/context.h"
#include "io/lane_sample.h"

#define PAST_CACHE (ST__IO_BIT(ST_IO_DIRECT) | ST__IO_BIT(ST_IO_URING))

static st_context *context_make(void)
{
    st_context *context;
    CHECK_OK(st_context_new(NULL, &context, &error));
    return context;
}

/* A few extents of each kind: in place, through the block, at the end of the file. */
static void list_make(extent_list *list)
{
    list->count = 0;
    extent_add(list, 88, (2 << 20) + 1000, 0);
    extent_add(list, 5000, (2 << 20) + 5, 8);
    extent_add(list, 12345, 20, 600);
    extent_add(list, LANE_FILE - 3000, 3000, 0);
}

static unsigned fd_count(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* What came of a read: the strategy it ended with, and what is remembered. */
typedef struct outcome {
    st_status status;
    uint32_t io;
    uint32_t refused;
    st_error error;
} outcome;

static outcome read_all(uint32_t io)
{
    outcome out = {.io = io};
    unsigned before = fd_count();
    st_context *context = context_make();
    lane_trial t;
    extent_list list;
    list_make(&list);
    out.status = lane_open(&t, "lane", io, context, &out.error);
    if (out.status == ST_OK) {
        out.status = st__lane_read(&t.lane, list.at, list.count, &out.error);
        out.io = atomic_load(&t.route.io);
        out.refused = st__context_refused(context, t.route.device);
        if (out.status == ST_OK)
            extents_check(&list);
        lane_close(&t);
    }
    extents_drop(&list);
    st_context_release(context);
    assert_int_equal(fd_count(), before);
    return out;
}

/* ------------------------------------------------------------------------------ the n-th call */

static const uint32_t strategies[] = {ST_IO_PREAD, ST_IO_DIRECT, ST_IO_URING, ST_IO_DONTCACHE,
                                      ST_IO_POPULATE};

/* Each call fails in turn. What stands in for it may only fail where there is no way around it: where the file
 * itself is opened, looked at, or read as it always could be; which is all there is where the system has nothing
 * of what is asked for. */
static void check_errno(int error)
{
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++) {
        os_plant(OS_NONE, 0);
        bool hit = true, plain = read_all(strategies[i]).io == ST_IO_PREAD;
        for (unsigned n = 1; hit; n++) {
            os_plant_errno(error, n);
            outcome out = read_all(strategies[i]);
            hit = os_state.hit;
            bool vital = plain || strcmp(os_state.last, "fault_open") == 0 ||
                         strcmp(os_state.last, "fault_openat") == 0 ||
                         strcmp(os_state.last, "fault_fstat") == 0;
            if (out.status != ST_OK && strcmp(os_state.last, "fault_mmap") == 0) {
                assert_int_equal(out.status, ST_ERR_NOMEM); /* of the lane's block */
            } else if (out.status != ST_OK) {
                assert_true(hit && vital);
                assert_int_equal(out.status, ST_ERR_IO);
                assert_int_equal(out.error.sys_errno, error);
            }
        }
    }
    os_plant(OS_NONE, 0);
}

static void test_failures(void **state)
{
    (void)state;
    static const int errors[] = {EIO,    EINVAL, EFAULT, EOPNOTSUPP, EPERM,
                                 ENOSYS, ENOMEM, EMFILE, ENOTSUP};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        check_errno(errors[i]);
}

static void test_interruptions(void **state)
{
    (void)state;
    static const os_fault faults[] = {OS_EINTR, OS_SHORT};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof strategies / sizeof *strategies; k++) {
            bool hit = true;
            for (unsigned n = 1; hit; n++) {
                os_plant(faults[i], n);
                assert_int_equal(read_all(strategies[k]).status, ST_OK);
                hit = os_state.hit;
            }
        }
    os_plant(OS_NONE, 0);
}

/* From some read on the file has nothing more to give. */
static void test_ends(void **state)
{
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        bool hit = true, told = false;
        for (unsigned n = 1; hit; n++) {
            os_plant(OS_END, n);
            outcome out = read_all(strategies[k]);
            hit = os_state.hit;
            if (out.status == ST_OK)
                continue;
            assert_int_equal(out.status, ST_ERR_SHORT_READ);
            if (out.error.offset < 88)
                print_error("%s %u: %s: %s\n", st_io_name(strategies[k]), n, os_state.last,
                            out.error.message);
            assert_in_range(out.error.offset, 88, LANE_FILE);
            told = true;
        }
        assert_true(told);
    }
    os_plant(OS_NONE, 0);
}

/* ----------------------------------------------------------------------------- refused for good */

static int refused_error; /* what the calls below fail with */

static bool is_direct(int fd)
{
    return (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
}

static int direct_refuse_openat(int directory, const char *path, int flags, mode_t mode)
{
    if (flags & O_DIRECT) {
        errno = refused_error;
        return -1;
    }
    return openat(directory, path, flags, mode);
}

static ssize_t direct_refuse_preadv(int fd, const struct iovec *segments, int count, off_t offset)
{
    if (is_direct(fd)) {
        errno = refused_error;
        return -1;
    }
    return preadv(fd, segments, count, offset);
}

static ssize_t refuse_preadv2(int fd, const struct iovec *segments, int count, off_t offset,
                              int flags)
{
    (void)fd;
    (void)segments;
    (void)count;
    (void)offset;
    (void)flags;
    errno = refused_error;
    return -1;
}

static void *refuse_dlopen(const char *library, int flags)
{
    (void)library;
    (void)flags;
    return NULL;
}

static void calls_restore(void)
{
    st__os_calls = os_calls_planted;
}

/* Whether reading by `io` works here at all. */
static bool is_granted(uint32_t io)
{
    return read_all(io).io == io;
}

static void test_open_refused(void **state)
{
    (void)state;
    if (!is_granted(ST_IO_DIRECT))
        skip(); /* refused before anything is opened */
    st__os_calls.openat = direct_refuse_openat;
    for (uint32_t io = ST_IO_DIRECT; io <= ST_IO_URING; io++) {
        refused_error = EINVAL;
        outcome out = read_all(io);
        assert_int_equal(out.status, ST_OK);
        assert_true(out.io == ST_IO_DONTCACHE || out.io == ST_IO_PREAD);
        assert_int_equal(out.refused & PAST_CACHE, PAST_CACHE);
        /* Out of descriptors is no property of a file system. */
        refused_error = EMFILE;
        out = read_all(io);
        assert_int_equal(out.status, ST_OK);
        assert_true(out.io == ST_IO_DONTCACHE || out.io == ST_IO_PREAD);
        assert_int_equal(out.refused & PAST_CACHE, 0);
    }
    calls_restore();
}

static void test_reads_refused(void **state)
{
    (void)state;
    static const struct {
        int error;
        bool remembered;
    } rows[] = {{EINVAL, true}, {EOPNOTSUPP, true}, {EFAULT, false}, {EIO, false}};
    if (!is_granted(ST_IO_DIRECT))
        skip();
    for (size_t i = 0; i < 4; i++) {
        refused_error = rows[i].error;
        st__os_calls.preadv = direct_refuse_preadv;
        outcome out = read_all(ST_IO_DIRECT);
        calls_restore();
        assert_int_equal(out.status, ST_OK);
        assert_true(out.io == ST_IO_DONTCACHE || out.io == ST_IO_PREAD);
        assert_int_equal((out.refused & ST__IO_BIT(ST_IO_DIRECT)) != 0, rows[i].remembered);
    }
}

static void test_uncached_refused(void **state)
{
    (void)state;
    static const int errors[] = {EOPNOTSUPP, EINVAL};
    for (size_t i = 0; i < 2; i++) {
        refused_error = errors[i];
        st__os_calls.preadv2 = refuse_preadv2;
        outcome out = read_all(ST_IO_DONTCACHE);
        calls_restore();
        assert_int_equal(out.status, ST_OK);
        assert_int_equal(out.io, ST_IO_PREAD);
        assert_int_equal(out.refused, ST__IO_BIT(ST_IO_DONTCACHE));
    }
}

static void test_ring_refused(void **state)
{
    (void)state;
    st__os_calls.dlopen = refuse_dlopen;
    outcome out = read_all(ST_IO_URING);
    calls_restore();
    assert_int_equal(out.status, ST_OK);
    assert_true(out.io != ST_IO_URING);
    if (is_granted(ST_IO_DIRECT)) {
        assert_int_equal(out.io, ST_IO_DIRECT);
        assert_int_equal(out.refused, ST__IO_BIT(ST_IO_URING));
    }
}

/* A ring that brings nothing is closed, and what was asked of it comes another way, as does all that follows. */
static void test_ring_stalls(void **state)
{
    (void)state;
    if (!is_granted(ST_IO_URING))
        skip();
    os_plant_stall(ETIME);
    outcome out = read_all(ST_IO_URING);
    assert_int_equal(out.status, ST_OK);
    assert_int_equal(out.io, os_state.hit ? ST_IO_DIRECT : ST_IO_URING);
    assert_int_equal(out.refused, os_state.hit ? ST__IO_BIT(ST_IO_URING) : 0);
    os_plant(OS_NONE, 0);
}

/* What one route was refused, the next of the same mount and context does not try again. */
static void test_remembered(void **state)
{
    (void)state;
    st_context *context = context_make();
    lane_trial t;
    CHECK_OK(lane_open(&t, "lane", ST_IO_URING, context, &error));
    st__context_refuse(context, t.route.device, PAST_CACHE);
    lane_close(&t);
    st__os_calls.openat = direct_refuse_openat;
    refused_error = EIO;
    CHECK_OK(lane_open(&t, "lane", ST_IO_URING, context, &error));
    assert_int_equal(t.route.choice.io, ST_IO_DONTCACHE);
    assert_int_equal(t.route.direct_fd, -1);
    st_explanation said;
    st__route_explain(&t.route, &said);
    assert_non_null(strstr(said.text, "not to be had: direct, uring"));
    lane_close(&t);
    calls_restore();
    st_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures),      cmocka_unit_test(test_interruptions),
        cmocka_unit_test(test_ends),          cmocka_unit_test(test_open_refused),
        cmocka_unit_test(test_reads_refused), cmocka_unit_test(test_uncached_refused),
        cmocka_unit_test(test_ring_refused),  cmocka_unit_test(test_ring_stalls),
        cmocka_unit_test(test_remembered),
    };
    return cmocka_run_group_tests_name("lane_faults", tests, lane_make, lane_drop);
}
