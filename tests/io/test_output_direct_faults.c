/* SPDX-License-Identifier: Apache-2.0 */
/* Saves past the page cache that go wrong: what is said is what is there. */
#include "io/direct_output.h"
#include "support/oom.h"

#if defined(ST_LIBURING)

/* The error tells the first byte of the request that failed, and nothing is left. */
static void test_ring_fails(void **state)
{
    (void)state;
    if (!ring_works() || !direct_works())
        skip();
    for (unsigned at = 1; at <= 5; at++) {
        st_error error = {.status = ST_OK};
        unsigned before = count_descriptors();
        st_context *context = way_context(BY_RING);
        st__os_calls.dlsym = dlsym_planted;
        memset(&planted, 0, sizeof planted);
        planted.at = at;
        planted.result = at % 2 ? -ENOSPC : -EIO;
        const st_sink_options *options = dropping(context);
        assert_int_equal(save(in_scratch("file"), options, sample + 1, SAMPLE_SIZE - 1, &error),
                         ST_ERR_IO);
        assert_true(planted.hit);
        assert_int_equal(error.sys_errno, at % 2 ? ENOSPC : EIO);
        assert_true(error.offset % 4096 == 0 && error.offset < SAMPLE_SIZE);
        assert_non_null(strstr(error.message, "cannot be written at byte"));
        assert_int_equal(count_in_scratch(), 0);
        assert_int_equal(count_descriptors(), before);
        st_context_release(context);
        restore_calls();
    }
}

#else

static void test_ring_fails(void **state)
{
    (void)state;
    skip();
}

#endif

/* What a ring that stalled was given is written once more, when the ring is certain to write it no more. */
static void test_ring_stalls(void **state)
{
    (void)state;
    st_context *context = way_context(BY_RING);
    unsigned before = count_descriptors();
    os_plant_stall(ETIME);
    CHECK_OK(save(in_scratch("file"), dropping(context), sample + 1, SAMPLE_SIZE - 1, &error));
    os_plant(OS_NONE, 0);
    check_at(in_scratch("file"), 0, sample + 1, SAMPLE_SIZE - 1);
    assert_int_equal(count_descriptors(), before);
    st_context_release(context);
}

static off_t disk_end; /* of the file: nothing can be written from there on */

static ssize_t fills_disk(int fd, const struct iovec *pieces, int count, off_t offset)
{
    struct iovec fits = {pieces[0].iov_base, pieces[0].iov_len};
    (void)count;
    if (offset + (off_t)fits.iov_len > disk_end) {
        fits.iov_len = offset < disk_end ? (size_t)(disk_end - offset) : 0;
        if (is_direct(fd))
            fits.iov_len = fits.iov_len / 4096 * 4096;
    }
    if (fits.iov_len > 0)
        return pwritev(fd, &fits, 1, offset);
    errno = ENOSPC;
    return -1;
}

/* Offsets in errors count from where the sink begins. */
static void test_place_told(void **state)
{
    (void)state;
    if (!direct_works())
        skip();
    for (int way = 0; way < BY_RING; way++) {
        for (int i = 0; i < 6; i++) {
            static const off_t ends[] = {100, 5000, 4096, 3 << 20, 12345678, 20 << 20};
            const off_t position = i % 2 ? 0 : 50;
            const uint64_t wanted = (uint64_t)(ends[i] - position);
            st_error error = {.status = ST_OK};
            st_context *context = way_context(way);
            st_sink *sink = sink_at(in_scratch("file"), position, dropping(context));
            st__os_calls.pwritev = fills_disk;
            disk_end = ends[i];
            st_status status = write_cut(sink, sample, SAMPLE_SIZE, 5, false, &error);
            if (status == ST_OK)
                status = st__sink_finish(sink, &error);
            assert_int_equal(status, ST_ERR_IO);
            assert_int_equal(error.sys_errno, ENOSPC);
            assert_non_null(strstr(error.message, "bytes are free"));
            /* A whole unit of the file, or what of it could be written through the cache. */
            assert_in_range(error.offset, wanted < 4096 ? 0 : wanted - 4096, wanted);
            st_error again = {.status = ST_OK};
            assert_int_equal(
                st__sink_write(sink, SAMPLE_SIZE - 1, &(st_bytes){sample, 1}, 1, &again),
                ST_ERR_IO);
            assert_int_equal(again.offset, error.offset);
            assert_int_equal(st__sink_finish(sink, &again), ST_ERR_IO);
            st_sink_release(sink);
            st_context_release(context);
            restore_calls();
        }
    }
}

/* Every call of a save fails once, in each way: what is said is what is there. */
static void test_faults(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    for (int way = 0; way < WAYS; way++) {
        for (int fault = OS_EIO; fault <= OS_SHORT; fault++) {
            unsigned n = 0, failed = 0, before = count_descriptors();
            for (bool hit = true; hit;) {
                st_error error = {.status = ST_OK};
                st_context *context = way_context(way);
                os_plant((os_fault)fault, ++n);
                st_sink_options options = *dropping(context);
                options.durability = ST_DURABLE_FILE;
                st_status status = save(path, &options, sample + 1, MIB + 5, &error);
                hit = os_state.hit;
                os_plant(OS_NONE, 0);
                assert_int_equal(count_in_scratch(), status == ST_OK);
                if (status == ST_OK)
                    check_at(path, 0, sample + 1, MIB + 5);
                else if (status != ST_ERR_NOMEM) /* no memory could be mapped */
                    assert_true(status == ST_ERR_IO && error.sys_errno == EIO);
                assert_true(status == ST_OK || fault == OS_EIO);
                failed += status != ST_OK;
                unlink(path);
                st_context_release(context);
                restore_calls();
                assert_int_equal(count_descriptors(), before);
            }
            assert_true(n > 9);
            assert_true(fault != OS_EIO || failed >= 6);
        }
    }
}

static int whole_at_sync;

static int looking_fsync(int fd)
{
    unsigned char *got = malloc(SAMPLE_SIZE);
    size_t at = 0;
    for (ssize_t n; at < SAMPLE_SIZE; at += (size_t)n) {
        n = pread(fd, got + at, SAMPLE_SIZE - at, (off_t)at);
        if (n <= 0)
            break;
    }
    whole_at_sync += at == SAMPLE_SIZE && memcmp(got, sample, SAMPLE_SIZE) == 0;
    free(got);
    return fsync(fd);
}

/* All is written when the disk is waited for. */
static void test_written_before_sync(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        st_context *context = way_context(way);
        st_sink_options options = *dropping(context);
        options.durability = ST_DURABLE_FILE;
        st__os_calls.fsync = looking_fsync;
        whole_at_sync = 0;
        CHECK_OK(save(in_scratch("file"), &options, sample, SAMPLE_SIZE, &error));
        assert_int_equal(whole_at_sync, 1);
        st_context_release(context);
        restore_calls();
    }
}

/* A sink may go at any time; what is in flight is waited for, and nothing of the file remains. */
static void test_not_finished(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    for (int way = 0; way < WAYS; way++) {
        for (size_t size = 0; size <= SAMPLE_SIZE; size += 3 * MIB + 1000) {
            st_sink *sink;
            st_context *context = way_context(way);
            CHECK_OK(st_sink_open(in_scratch("file"), dropping(context), &sink, &error));
            CHECK_OK(st__sink_begin(sink, SAMPLE_SIZE, &error));
            /* From memory that is gone right after. */
            unsigned char *data = malloc(size + 1);
            memcpy(data, sample, size);
            CHECK_OK(st__sink_write(sink, 17, &(st_bytes){data, size}, 1, &error));
            free(data);
            st_sink_release(sink);
            st_context_release(context);
            assert_int_equal(count_in_scratch(), 0);
            restore_calls();
        }
    }
    assert_int_equal(count_descriptors(), before);
}

static void test_no_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        status = save(in_scratch("file"), dropping(context), sample, MIB, NULL);
        assert_int_equal(count_in_scratch(), status == ST_OK);
    }
    check_at(in_scratch("file"), 0, sample, MIB);
    /* With a thread, whose memory the caller takes; there is no ring, which is done without where it has none. */
    for (uint64_t fail_at = 1;; fail_at++) {
        oom_allocator oom = {.fail_at = fail_at, .threads = 2};
        st_context *context = oom_context_new(&oom);
        st__os_calls.dlopen = no_library;
        st_status status = save(in_scratch("file"), dropping(context), sample, MIB, NULL);
        assert_true(status == ST_OK || status == ST_ERR_NOMEM);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
        if (oom.calls < fail_at)
            break;
    }
    check_at(in_scratch("file"), 0, sample, MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RESTORED(test_ring_fails), RESTORED(test_ring_stalls),         RESTORED(test_place_told),
        RESTORED(test_faults),     RESTORED(test_written_before_sync), RESTORED(test_not_finished),
        RESTORED(test_no_memory),
    };
    return cmocka_run_group_tests_name("output_direct_faults", tests, sample_make, sample_drop);
}
