/* SPDX-License-Identifier: Apache-2.0 */
/* The n-th system call goes wrong, for every n, below the public calls on a real file. */
#include "file/sample.h"

#include "io/os_faults.h"

static sample_file sample;

static int sample_setup(void **state)
{
    (void)state;
    sample_frame(&sample, SAMPLE_HEADER);
    sample_store(&sample);
    return 0;
}

static int sample_teardown(void **state)
{
    (void)state;
    return unlink(sample.path);
}

static st_status drop_block(void *ctx, const void *data, size_t size, st_error *error)
{
    (void)data;
    (void)error;
    *(size_t *)ctx += size;
    return ST_OK;
}

static void check_data(const unsigned char *got, size_t at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(got[i], sample_byte(at + i));
}

/* Uses every call that does I/O; whatever says success must have delivered the right bytes. */
static st_status use_all_in(st_context *context, uint32_t io, st_error *said)
{
    unsigned char got[4000];
    st_open_options options = {.io = io, .context = context};
    st_file *file;
    st_buffer *buffer;
    size_t done = 0;
    st_status status = st_file_open(sample.path, &options, &file, said);
    if (status != ST_OK)
        return status;
    const st_tensor *x = sample_find(file, "x");
    status = st_file_read(file, x, NULL, got, 4000, said);
    if (status == ST_OK) {
        st_region region;
        check_data(got, 256, 4000);
        CHECK_OK(st_region_parse(&region, NULL, x, ":, 3:5", 6, &error));
        status = st_file_read(file, x, &region, got, 200, said);
        st_region_release(&region);
    }
    if (status == ST_OK) {
        check_data(got, 256 + 3, 2);
        check_data(got + 198, 256 + 99 * 40 + 3, 2);
        status = st_file_read_blocks(file, x, NULL, drop_block, &done, said);
    }
    if (status == ST_OK) {
        assert_int_equal(done, 4000);
        status = st_file_map(file, ST_MAP_SHARED, &buffer, said);
    }
    if (status == ST_OK)
        st_buffer_release(buffer);
    st_file_close(file);
    return status;
}

/* In a context that knows nothing yet and has one thread, so that the n-th call is the same one each time. */
static st_status use_all(uint32_t io, st_error *said)
{
    st_context *single;
    st_context_options options = {.max_threads = 1};
    CHECK_OK(st_context_new(&options, &single, &error));
    st_status status = use_all_in(single, io, said);
    st_context_release(single);
    return status;
}

static bool fits(os_fault fault, uint32_t io, st_status status, const st_error *error)
{
    if (status != ST_OK && (error->status != status || !strstr(error->message, sample.path)))
        return false;
    switch (fault) {
    /* Where the mapping is refused, the bytes are read; and it need not be known where the file lies. */
    case OS_EIO:
        if (strcmp(os_state.last, "fault_fstatfs") == 0)
            return status == ST_OK;
        return (status == ST_ERR_IO && error->sys_errno == EIO) || (io == ST_IO_MAP && !status);
    case OS_EINTR:
    case OS_SHORT: return status == ST_OK;
    /* Not reached by calls that read nothing any more. */
    case OS_END: return status == ST_ERR_SHORT_READ || status == ST_OK;
    case OS_RETOUCH: return status == ST_ERR_CHANGED || status == ST_OK;
    case OS_STALL:
    case OS_NONE: break;
    }
    return false;
}

static void test_every_call(void **state)
{
    (void)state;
    for (int fault = OS_EIO; fault <= OS_RETOUCH; fault++) {
        for (uint32_t io = ST_IO_AUTO; io <= ST_IO_MAP; io++) {
            unsigned failed = 0, n = 0;
            do {
                st_error error = {.status = ST_OK};
                os_plant((os_fault)fault, ++n);
                st_status status = use_all(io, &error);
                failed += status != ST_OK;
                if (os_state.hit && !fits((os_fault)fault, io, status, &error))
                    fail_msg("fault %d at call %u with io %u: %s, %s", fault, n, io,
                             st_status_name(status), error.message);
                if (!os_state.hit)
                    assert_int_equal(status, ST_OK);
            } while (os_state.hit);
            assert_true(n > 6);
            if (fault == OS_EIO || fault == OS_END || fault == OS_RETOUCH)
                assert_true(failed > 2 || (fault == OS_END && io == ST_IO_MAP && failed > 1));
            os_plant(OS_NONE, 0);
        }
    }
}

/* No descriptor is left behind by an open that fails late. */
static void test_descriptors(void **state)
{
    (void)state;
    int lowest = dup(0);
    close(lowest);
    for (unsigned n = 1; n < 5; n++) {
        os_plant(OS_EIO, n);
        st_error error;
        (void)use_all(ST_IO_AUTO, &error);
        int next = dup(0);
        assert_int_equal(next, lowest);
        close(next);
    }
    os_plant(OS_NONE, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call),
        cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests_name("file_faults", tests, sample_setup, sample_teardown);
}
