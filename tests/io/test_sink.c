/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks other than a path's: memory, descriptors, streams, the caller's own. */
#include "io/os_faults.h"
#include "io/scratch_folder.h"
#include "support/oom.h"

#include <pthread.h>
#include <signal.h>

static char path[64];
static unsigned char bytes[70000];

static int scratch_make(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 256);
    snprintf(path, sizeof path, "/tmp/st_test_sink.XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int scratch_drop(void **state)
{
    (void)state;
    return unlink(path);
}

static int scratch_open(int flags)
{
    int fd = open(path, flags);
    assert_true(fd >= 0);
    return fd;
}

/* The bytes in three calls, the middle one last unless they must come in order, in pieces. */
static st_status write_all(st_sink *sink, st_error *error)
{
    bool ordered = st__sink_is_sequential(sink);
    st_bytes head[] = {{bytes, 8}, {bytes + 8, 0}, {bytes + 8, 992}};
    st_bytes middle = {bytes + 1000, 60000}, tail = {bytes + 61000, 9000};
    st_status status = st__sink_begin(sink, sizeof bytes, error);
    if (!status)
        status = st__sink_write(sink, 0, head, 3, error);
    if (!status && ordered)
        status = st__sink_write(sink, 1000, &middle, 1, error);
    if (!status)
        status = st__sink_write(sink, 61000, &tail, 1, error);
    if (!status && !ordered)
        status = st__sink_write(sink, 1000, &middle, 1, error);
    return status ? status : st__sink_finish(sink, error);
}

static void check_file(off_t offset)
{
    static unsigned char got[sizeof bytes];
    int fd = scratch_open(O_RDONLY);
    memset(got, 0, sizeof got);
    assert_int_equal(pread(fd, got, sizeof got, offset), sizeof got);
    assert_memory_equal(got, bytes, sizeof bytes);
    close(fd);
}

static void test_memory(void **state)
{
    (void)state;
    static unsigned char memory[sizeof bytes + 10];
    st_sink *sink;
    CHECK_OK(st_sink_open_memory(memory, sizeof memory, NULL, &sink, &error));
    assert_string_equal(st_sink_name(sink), "<memory>");
    CHECK_OK(write_all(sink, &error));
    assert_memory_equal(memory, bytes, sizeof bytes);
    st_bytes over = {bytes, 11};
    CHECK_ERR(st__sink_write(sink, sizeof bytes, &over, 1, &error), ST_ERR_BUFFER_SIZE,
              sizeof bytes);
    CHECK_ERR(st__sink_write(sink, UINT64_MAX, &over, 1, &error), ST_ERR_BUFFER_SIZE, UINT64_MAX);
    CHECK_ERR_TEXT(st__sink_begin(sink, 1, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET, "used before");
    assert_ptr_equal(st_sink_retain(sink), sink);
    st_sink_release(sink);
    st_sink_release(sink);
    st_sink_release(NULL);
    assert_null(st_sink_retain(NULL));
    CHECK_OK(st_sink_open_memory(memory, 99, &(st_sink_options){.name = "m"}, &sink, &error));
    CHECK_ERR_TEXT(write_all(sink, &error), ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                   "m: holds 99 bytes, and the file has 70000");
    st_sink_release(sink);
    CHECK_OK(st_sink_open_memory(NULL, 0, NULL, &sink, &error));
    CHECK_OK(st__sink_begin(sink, 0, &error));
    CHECK_OK(st__sink_finish(sink, &error));
    st_sink_release(sink);
}

static void test_options(void **state)
{
    (void)state;
    st_sink *sink = NULL;
    const st_sink_options bad[] = {{.durability = 3},
                                   {.flags = 2},
                                   {.reserved = {0, 0, 0, 0, 0, 0, 1}},
                                   {.cache = 3},
                                   {.reserved0 = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_ERR(st_sink_open(path, &bad[i], &sink, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
        CHECK_ERR(st_sink_open_fd(1, &bad[i], &sink, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
        CHECK_ERR(st_sink_open_memory(bytes, 1, &bad[i], &sink, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
        assert_null(sink);
    }
}

static void test_regular(void **state)
{
    (void)state;
    st_sink *sink;
    struct stat s;
    int fd = scratch_open(O_RDWR | O_TRUNC);
    /* What lies before and behind is left alone. */
    assert_int_equal(pwrite(fd, "before", 6, 0), 6);
    assert_int_equal(pwrite(fd, "behind", 6, 100000), 6);
    assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
    CHECK_OK(st_sink_open_fd(fd, NULL, &sink, &error));
    assert_non_null(strstr(st_sink_name(sink), "descriptor"));
    assert_false(st__sink_is_sequential(sink));
    CHECK_OK(write_all(sink, &error));
    st_sink_release(sink);
    check_file(5);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 5 + sizeof bytes);
    assert_int_equal(fstat(fd, &s), 0);
    assert_int_equal(s.st_size, 100006);
    /* What fails leaves what was written, and no more. */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    CHECK_OK(st_sink_open_fd(fd, NULL, &sink, &error));
    CHECK_OK(st__sink_begin(sink, sizeof bytes, &error));
    CHECK_OK(st__sink_write(sink, 0, &(st_bytes){bytes, 500}, 1, &error));
    st_sink_release(sink);
    assert_int_equal(fstat(fd, &s), 0);
    assert_int_equal(s.st_size, 500);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    close(fd);
}

static void test_refused(void **state)
{
    (void)state;
    st_sink *sink = NULL;
    const st_sink_options named = {.name = "given"};
    int fd = scratch_open(O_RDONLY);
    CHECK_ERR_TEXT(st_sink_open_fd(fd, NULL, &sink, &error), ST_ERR_IO, ST_NO_OFFSET,
                   "not open for writing");
    CHECK_ERR_TEXT(st_sink_open_fd(fd, &named, &sink, &error), ST_ERR_IO, ST_NO_OFFSET, "given: ");
    close(fd);
    CHECK_ERR(st_sink_open_fd(fd, NULL, &sink, &error), ST_ERR_IO, ST_NO_OFFSET);
    CHECK_ERR_TEXT(st_sink_open_fd(-1, &named, &sink, &error), ST_ERR_IO, ST_NO_OFFSET, "given: ");
    assert_null(sink);
}

/* A file opened for appending takes bytes in order only. */
static void test_append(void **state)
{
    (void)state;
    st_sink *sink;
    int fd = scratch_open(O_WRONLY | O_TRUNC | O_APPEND);
    assert_int_equal(write(fd, "ab", 2), 2);
    CHECK_OK(st_sink_open_fd(fd, NULL, &sink, &error));
    assert_true(st__sink_is_sequential(sink));
    CHECK_OK(write_all(sink, &error));
    CHECK_ERR_TEXT(st__sink_write(sink, 5, &(st_bytes){bytes, 1}, 1, &error), ST_ERR_ARGUMENT, 5,
                   "byte 70000 is next");
    st_sink_release(sink);
    close(fd);
    check_file(2);
}

typedef struct listener {
    int fd;
    bool same;
} listener;

static void *listen_to(void *arg)
{
    listener *l = arg;
    l->same = reads_as(l->fd, bytes, sizeof bytes);
    return NULL;
}

/* Writes to one end, which `nonblocking` or not must make no difference, and hears the other. */
static void through(int in, int out, bool nonblocking)
{
    st_sink *sink;
    pthread_t thread;
    listener l = {.fd = in};
    if (nonblocking)
        assert_int_equal(fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK), 0);
    assert_int_equal(pthread_create(&thread, NULL, listen_to, &l), 0);
    CHECK_OK(st_sink_open_fd(out, NULL, &sink, &error));
    assert_true(st__sink_is_sequential(sink));
    CHECK_OK(write_all(sink, &error));
    st_sink_release(sink);
    close(out);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(l.same);
    close(in);
}

static void test_streams(void **state)
{
    (void)state;
    int ends[2];
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        assert_int_equal(pipe(ends), 0);
        through(ends[0], ends[1], nonblocking);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        through(ends[0], ends[1], nonblocking);
    }
}

static void test_broken(void **state)
{
    (void)state;
    st_sink *sink;
    int ends[2];
    for (int kind = 0; kind < 2; kind++) {
        void (*before)(int) = signal(SIGPIPE, kind ? SIG_DFL : SIG_IGN);
        assert_int_equal(kind ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends), 0);
        close(ends[0]);
        CHECK_OK(st_sink_open_fd(ends[1], NULL, &sink, &error));
        st_error said = {0};
        assert_int_equal(write_all(sink, &said), ST_ERR_IO);
        assert_int_equal(said.sys_errno, EPIPE);
        assert_int_equal(said.offset, 0);
        assert_non_null(strstr(said.message, "the reader stopped at byte 0"));
        st_sink_release(sink);
        close(ends[1]);
        signal(SIGPIPE, before);
    }
}

static int open_fds(void)
{
    int count = 0, lowest = dup(0);
    close(lowest);
    for (int fd = 0; fd < lowest + 16; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Every call of a save, on a regular file and on one for appending, fails once. */
static void test_faults(void **state)
{
    (void)state;
    int before = open_fds();
    for (int append = 0; append < 2; append++) {
        for (int fault = OS_EIO; fault <= OS_SHORT; fault++) {
            unsigned n = 0, failed = 0;
            do {
                st_sink *sink = NULL;
                st_error error = {.status = ST_OK};
                int fd = scratch_open(O_WRONLY | O_TRUNC | (append ? O_APPEND : 0));
                os_plant((os_fault)fault, ++n);
                st_status status = st_sink_open_fd(fd, NULL, &sink, &error);
                if (status == ST_OK)
                    status = write_all(sink, &error);
                bool hit = os_state.hit;
                os_plant(OS_NONE, 0);
                st_sink_release(sink);
                assert_int_equal(status, hit && fault == OS_EIO ? ST_ERR_IO : ST_OK);
                failed += status != ST_OK;
                if (status == ST_OK)
                    check_file(0);
                else
                    assert_true(error.status == ST_ERR_IO && error.sys_errno == EIO);
                close(fd);
                if (!hit)
                    break;
            } while (n < 1000);
            assert_true(n > 5 && n < 1000);
            assert_true(fault != OS_EIO || failed == n - 1);
        }
    }
    assert_int_equal(open_fds(), before);
}

static void test_no_memory(void **state)
{
    (void)state;
    static unsigned char memory[sizeof bytes];
    int fd = scratch_open(O_WRONLY | O_TRUNC), ends[2];
    assert_int_equal(pipe(ends), 0);
    int targets[] = {fd, ends[1], -1};
    for (size_t i = 0; i < 3; i++) {
        ST_OOM_LOOP(context, status)
        {
            st_sink *sink = NULL;
            st_sink_options options = {.context = context};
            status = targets[i] < 0
                         ? st_sink_open_memory(memory, sizeof memory, &options, &sink, NULL)
                         : st_sink_open_fd(targets[i], &options, &sink, NULL);
            if (status == ST_OK && targets[i] != ends[1])
                status = write_all(sink, NULL);
            st_sink_release(sink);
        }
    }
    close(fd);
    close(ends[0]);
    close(ends[1]);
}

static void test_copy(void **state)
{
    (void)state;
    st_sink *sink;
    st_source *source, *memory;
    uint64_t done = 99;
    char other[] = "/tmp/st_test_sink_from.XXXXXX";
    int fd = scratch_open(O_RDWR | O_TRUNC), from = mkstemp(other);
    assert_int_equal(write(from, bytes, sizeof bytes), sizeof bytes);
    CHECK_OK(st_source_open(other, NULL, &source, &error));
    CHECK_OK(st_source_open_memory(&(st_memory){bytes, sizeof bytes, NULL, NULL}, NULL, &memory,
                                   &error));
    assert_int_equal(lseek(fd, 7, SEEK_SET), 7);
    CHECK_OK(st_sink_open_fd(fd, NULL, &sink, &error));
    CHECK_OK(st__sink_begin(sink, sizeof bytes, &error));
    CHECK_OK(st__sink_copy(sink, 0, &(st__stretch){memory, 0, 100}, &done, &error));
    assert_int_equal(done, 0); /* no descriptor to copy from */
    CHECK_OK(st__sink_copy(sink, 0, &(st__stretch){source, 0, 0}, &done, &error));
    assert_int_equal(done, 0);
    CHECK_OK(st__sink_copy(sink, UINT64_MAX, &(st__stretch){source, 0, 10}, &done, &error));
    assert_int_equal(done, 0);
    for (uint64_t at = 0; at < sizeof bytes; at += done) {
        uint64_t size = sizeof bytes - at < 9999 ? sizeof bytes - at : 9999;
        CHECK_OK(st__sink_copy(sink, at, &(st__stretch){source, at, size}, &done, &error));
        if (done == 0) { /* not on this file system */
            CHECK_OK(st__sink_write(sink, at, &(st_bytes){bytes + at, (size_t)size}, 1, &error));
            done = size;
        }
    }
    st_error said = {0};
    /* The calls before the copy itself have a way round. */
    for (unsigned n = 1; said.status == ST_OK && n < 20; n++) {
        os_plant_errno(ENOSPC, n);
        (void)st__sink_copy(sink, 0, &(st__stretch){source, 3, 5000}, &done, &said);
    }
    os_plant(OS_NONE, 0);
    assert_int_equal(said.status, ST_ERR_IO);
    assert_int_equal(said.sys_errno, ENOSPC);
    assert_non_null(strstr(said.message, "bytes are free"));
    CHECK_OK(st__sink_write(sink, 0, &(st_bytes){bytes, 6000}, 1, &error));
    CHECK_OK(st__sink_finish(sink, &error));
    st_sink_release(sink);
    st_source_release(source);
    st_source_release(memory);
    close(fd);
    close(from);
    unlink(other);
    check_file(7);
}

/* The disk is full from this byte of the file on. */
static off_t disk_end;

static ssize_t fills_disk(int fd, const struct iovec *pieces, int count, off_t offset)
{
    struct iovec fits = {pieces[0].iov_base, (size_t)(disk_end - offset)};
    assert_int_equal(count, 1);
    if (offset < disk_end)
        return pwritev(fd, &fits, 1, offset);
    errno = ENOSPC;
    return -1;
}

static ssize_t copies_to_disk_end(int from, off_t *from_at, int to, off_t *to_at, size_t size,
                                  unsigned flags)
{
    unsigned char got[100];
    (void)size;
    (void)flags;
    if (*to_at < disk_end) /* by hand: not every file system copies */
        return pwrite(to, got, (size_t)pread(from, got, sizeof got, *from_at), *to_at);
    errno = ENOSPC;
    return -1;
}

/* Bytes in errors count from where the sink began, as those of the calls do. */
static void test_place_told(void **state)
{
    (void)state;
    st_sink *sink;
    st_source *source;
    uint64_t done = 0;
    int fd = scratch_open(O_RDWR | O_TRUNC);
    assert_int_equal(write(fd, bytes, 5000), 5000);
    CHECK_OK(st_source_open(path, NULL, &source, &error));
    CHECK_OK(st_sink_open_fd(fd, NULL, &sink, &error));
    CHECK_OK(st__sink_begin(sink, 10000, &error));
    st__os_calls.pwritev = fills_disk;
    disk_end = 6100;
    CHECK_ERR_TEXT(st__sink_write(sink, 1000, &(st_bytes){bytes, 500}, 1, &error), ST_ERR_IO, 1100,
                   "cannot be written at byte 1100, ");
    CHECK_ERR(st__sink_write(sink, UINT64_MAX - 9, &(st_bytes){bytes, 5}, 1, &error), ST_ERR_IO,
              UINT64_MAX - 9);
    st__os_calls.copy_file_range = copies_to_disk_end;
    disk_end = 7200;
    CHECK_ERR_TEXT(st__sink_copy(sink, 2000, &(st__stretch){source, 0, 300}, &done, &error),
                   ST_ERR_IO, 2200, "cannot be written at byte 2200, ");
    os_calls_restore();
    st_sink_release(sink);
    st_source_release(source);
    close(fd);
}

/* ---------------------------------------------------------------------- the caller's own */

typedef struct own_sink {
    bool begun, finished, freed;
    st_status fails;
    bool says;
} own_sink;

static st_status own_begin(void *self, uint64_t size, st_error *error)
{
    own_sink *own = self;
    own->begun = size == sizeof bytes;
    (void)error;
    return ST_OK;
}

static st_status own_write(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                           st_error *error)
{
    own_sink *own = self;
    (void)offset;
    (void)pieces;
    (void)count;
    if (own->says)
        *error = (st_error){.status = own->fails, .offset = 5, .message = "own words"};
    return own->fails;
}

static st_status own_finish(void *self, st_error *error)
{
    ((own_sink *)self)->finished = true;
    (void)error;
    return ST_OK;
}

static void own_free(void *self)
{
    ((own_sink *)self)->freed = true;
}

static void test_own(void **state)
{
    (void)state;
    st_sink_vtable vtable = {.size = sizeof vtable, .write = own_write, .free = own_free};
    own_sink own = {.freed = false};
    st_sink *sink = NULL;
    CHECK_OK(st_sink_new(&vtable, &own, &(st_sink_options){.name = "a\nb"}, &sink, &error));
    assert_string_equal(st_sink_name(sink), "a?b");
    CHECK_OK(write_all(sink, &error));
    own.fails = ST_ERR_UNSUPPORTED;
    CHECK_ERR_TEXT(st__sink_write(sink, 1, NULL, 0, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "a?b: not supported");
    own.says = true;
    CHECK_ERR_TEXT(st__sink_write(sink, 1, NULL, 0, &error), ST_ERR_UNSUPPORTED, 5, "own words");
    assert_int_equal(st__sink_write(sink, 1, NULL, 0, NULL), ST_ERR_UNSUPPORTED);
    st_sink_release(sink);
    assert_true(own.freed);
    own = (own_sink){.freed = false};
    vtable.begin = own_begin;
    vtable.finish = own_finish;
    vtable.flags = ST_SINK_SEQUENTIAL;
    CHECK_OK(st_sink_new(&vtable, &own, NULL, &sink, &error));
    CHECK_OK(write_all(sink, &error));
    assert_true(st__sink_is_sequential(sink) && own.begun && own.finished && !own.freed);
    st_sink_release(sink);
    assert_true(own.freed);

    st_sink_vtable bad[5] = {vtable, vtable, vtable, vtable, vtable};
    bad[0].size = 8;
    bad[1].write = NULL;
    bad[2].free = NULL;
    bad[3].flags = 2;
    bad[4].reserved = 1;
    sink = NULL;
    for (size_t i = 0; i < 5; i++)
        CHECK_ERR(st_sink_new(&bad[i], &own, NULL, &sink, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    assert_null(sink);
    ST_OOM_LOOP(context, status)
    {
        status = st_sink_new(&vtable, &own, &(st_sink_options){.context = context}, &sink, NULL);
        if (status == ST_OK)
            st_sink_release(sink);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_options),
        cmocka_unit_test(test_regular), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_append),  cmocka_unit_test(test_streams),
        cmocka_unit_test(test_broken),  cmocka_unit_test(test_faults),
        cmocka_unit_test(test_copy),    cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_own),     cmocka_unit_test(test_place_told),
    };
    return cmocka_run_group_tests_name("sink", tests, scratch_make, scratch_drop);
}
