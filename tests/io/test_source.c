/* SPDX-License-Identifier: Apache-2.0 */
/* Sources: what they accept, what they refuse, and who frees what. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "support/check.h"
#include "support/fault.h"
#include "support/oom.h"

#include "io/os.h"
#include "io/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[64];
static char path[128];
static const char text[] = "0123456789abcdef";

static int folder_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/st_test_source.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    FILE *f = fopen(path, "wb");
    bool written = f && fwrite(text, 1, 16, f) == 16;
    return f && fclose(f) == 0 && written ? 0 : -1;
}

static int folder_drop(void **state)
{
    (void)state;
    return unlink(path) || rmdir(folder);
}

static const char *path_in(const char *name)
{
    static char out[128];
    snprintf(out, sizeof out, "%s/%s", folder, name);
    return out;
}

static void test_path(void **state)
{
    (void)state;
    st_source *source;
    st_source_info info;
    char got[8] = {0};
    int fd;
    CHECK_OK(st_source_open(path, NULL, &source, &error));
    assert_string_equal(st_source_name(source), path);
    CHECK_OK(st_source_query(source, &info, &error));
    assert_int_equal(info.size, 16);
    assert_true(info.inode != 0 && info.mtime_ns != 0 && info.ctime_ns != 0);
    CHECK_OK(st__source_hold(source, &fd, &error));
    assert_int_equal(info.latency, st__os_storage(fd));
    st__source_let_go(source);
    CHECK_OK(st_source_read(source, 3, got, 4, &error));
    assert_string_equal(got, "3456");
    CHECK_OK(st_source_read(source, 999, got, 0, &error));
    CHECK_ERR_TEXT(st_source_read(source, 14, got, 5, &error), ST_ERR_SHORT_READ, 16,
                   "ends at byte 16, and was to be read up to byte 19");
    CHECK_ERR_TEXT(st_source_read(source, 99, got, 5, &error), ST_ERR_SHORT_READ, 16,
                   "ends at byte 16, and was to be read up to byte 104");
    assert_ptr_equal(st_source_retain(source), source);
    st_source_release(source);
    st_source_release(source);
    st_source_release(NULL);
}

static void test_descriptor(void **state)
{
    (void)state;
    st_source *source;
    char got[8] = {0};
    int fd = open(path, O_RDONLY);
    assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
    CHECK_OK(st_source_open_fd(fd, NULL, &source, &error));
    assert_non_null(strstr(st_source_name(source), "descriptor"));
    CHECK_OK(st_source_read(source, 0, got, 4, &error));
    assert_string_equal(got, "0123");
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 5);
    close(fd);
    CHECK_OK(st_source_read(source, 12, got, 4, &error));
    assert_string_equal(got, "cdef");
    st_source_release(source);
    CHECK_ERR(st_source_open_fd(-1, NULL, &source, &error), ST_ERR_IO, ST_NO_OFFSET);
    fd = open(path, O_WRONLY);
    CHECK_OK(st_source_open_fd(fd, NULL, &source, &error));
    CHECK_ERR(st_source_read(source, 2, got, 4, &error), ST_ERR_IO, 2);
    st_source_release(source);
    close(fd);
}

/* Nothing here may hang, which is what most of these do when opened carelessly. */
static void test_not_regular(void **state)
{
    (void)state;
    st_source *source;
    st_open_options named = {.name = "given"};
    CHECK_ERR_TEXT(st_source_open(folder, NULL, &source, &error), ST_ERR_NOT_REGULAR, ST_NO_OFFSET,
                   "is a directory");
    CHECK_ERR_TEXT(st_source_open("/dev/zero", NULL, &source, &error), ST_ERR_NOT_REGULAR,
                   ST_NO_OFFSET, "is a character device");
    assert_int_equal(mkfifo(path_in("fifo"), 0600), 0);
    CHECK_ERR_TEXT(st_source_open(path_in("fifo"), NULL, &source, &error), ST_ERR_NOT_REGULAR,
                   ST_NO_OFFSET, "is a pipe");
    unlink(path_in("fifo"));

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path_in("socket"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_ERR_TEXT(st_source_open(path_in("socket"), NULL, &source, &error), ST_ERR_NOT_REGULAR,
                   ST_NO_OFFSET, "is a socket");
    CHECK_ERR_TEXT(st_source_open_fd(s, &named, &source, &error), ST_ERR_NOT_REGULAR, ST_NO_OFFSET,
                   "given: is a socket");
    close(s);
    unlink(path_in("socket"));

    int ends[2];
    assert_int_equal(pipe(ends), 0);
    CHECK_ERR(st_source_open_fd(ends[0], NULL, &source, &error), ST_ERR_NOT_REGULAR, ST_NO_OFFSET);
    close(ends[0]);
    close(ends[1]);
}

static void test_missing(void **state)
{
    (void)state;
    st_source *source = NULL;
    st_error error = {0};
    assert_int_equal(st_source_open(path_in("none"), NULL, &source, &error), ST_ERR_IO);
    assert_int_equal(error.sys_errno, ENOENT);
    assert_non_null(strstr(error.message, path_in("none")));
    assert_null(source);
    assert_int_equal(st_source_open(path_in("none"), NULL, &source, NULL), ST_ERR_IO);
}

static void test_options(void **state)
{
    (void)state;
    st_source *source;
    const st_open_options bad[] = {
        {.flags = 4}, {.io = ST_IO_POPULATE + 1}, {.reserved = {0, 0, 0, 1}}};
    st_memory memory = {(void *)(uintptr_t)text, 16, NULL, NULL};
    for (size_t i = 0; i < 3; i++) {
        CHECK_ERR(st_source_open(path, &bad[i], &source, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
        CHECK_ERR(st_source_open_fd(0, &bad[i], &source, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
        CHECK_ERR(st_source_open_memory(&memory, &bad[i], &source, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
    }
    /* Names stand in messages of one line of UTF-8. */
    st_open_options named = {.name = "a\x1b[31m\nb\xff\xc3\xa4"};
    CHECK_OK(st_source_open(path, &named, &source, &error));
    assert_string_equal(st_source_name(source), "a?[31m?b?\xc3\xa4");
    st_source_release(source);
}

static void count_release(void *ctx, void *data, size_t size)
{
    assert_ptr_equal(data, text);
    assert_int_equal(size, 16);
    ++*(int *)ctx;
}

static void test_memory(void **state)
{
    (void)state;
    int released = 0;
    st_source *source;
    st_source_info info;
    char got[8] = {0};
    st_memory memory = {(void *)(uintptr_t)text, 16, count_release, &released};
    CHECK_OK(st_source_open_memory(&memory, NULL, &source, &error));
    CHECK_OK(st_source_query(source, &info, &error));
    assert_int_equal(info.size, 16);
    assert_int_equal(info.latency, ST_LATENCY_MEMORY);
    CHECK_OK(st_source_read(source, 10, got, 6, &error));
    assert_string_equal(got, "abcdef");
    CHECK_ERR_TEXT(st_source_read(source, 10, got, 7, &error), ST_ERR_SHORT_READ, 16, "byte 16");
    CHECK_ERR(st_source_read(source, UINT64_MAX, got, 7, &error), ST_ERR_SHORT_READ, 16);
    st_source_release(source);
    assert_int_equal(released, 1);
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context};
        int before = released;
        status = st_source_open_memory(&memory, &options, &source, NULL);
        if (status == ST_OK)
            st_source_release(source);
        assert_int_equal(released - before, status == ST_OK);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    int fd = open(path, O_RDONLY), lowest = dup(fd);
    close(lowest);
    for (int by_path = 0; by_path < 2; by_path++) {
        ST_OOM_LOOP(context, status)
        {
            st_open_options options = {.context = context};
            st_source *source;
            status = by_path ? st_source_open(path, &options, &source, NULL)
                             : st_source_open_fd(fd, &options, &source, NULL);
            if (status == ST_OK)
                st_source_release(source);
        }
    }
    /* No descriptor was left behind. */
    assert_int_equal(dup(fd), lowest);
    close(lowest);
    close(fd);
}

/* ------------------------------------------------------------------------- the caller's own */

static int own_freed;

static st_status own_info(void *self, st_source_info *out, st_error *error)
{
    (void)error;
    assert_int_equal(out->size, 0);
    out->size = *(uint64_t *)self;
    return *(uint64_t *)self == 13 ? ST_ERR_IO : ST_OK;
}

static st_status own_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                          st_error *error)
{
    (void)self;
    (void)segments;
    (void)count;
    (void)error;
    (void)offset;
    return ST_ERR_UNSUPPORTED;
}

static void own_free(void *self)
{
    (void)self;
    own_freed++;
}

static void test_own(void **state)
{
    (void)state;
    st_source_vtable vtable = {
        .size = sizeof vtable, .info = own_info, .read = own_read, .free = own_free};
    uint64_t self = 7;
    st_source *source;
    st_source_info info = {0};
    char byte;
    own_freed = 0;
    CHECK_OK(st_source_new(&vtable, &self, NULL, &source, &error));
    CHECK_OK(st_source_query(source, &info, &error));
    assert_int_equal(info.size, 7);
    /* A failure without a word gets one, even where an older error lies in the struct. */
    st_error old = {.status = ST_ERR_IO, .message = "old"};
    self = 13;
    assert_int_equal(st_source_query(source, &info, &old), ST_ERR_IO);
    assert_string_equal(old.message, "<source>: the operating system reported an error");
    assert_int_equal(info.size, 7);
    CHECK_ERR_TEXT(st_source_read(source, 0, &byte, 1, &error), ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                   "not supported");
    assert_int_equal(st_source_read(source, 0, &byte, 1, NULL), ST_ERR_UNSUPPORTED);
    st_source_release(source);
    assert_int_equal(own_freed, 1);

    st_source_vtable bad[4] = {vtable, vtable, vtable, vtable};
    bad[0].size = 8;
    bad[1].info = NULL;
    bad[2].read = NULL;
    bad[3].free = NULL;
    for (size_t i = 0; i < 4; i++)
        CHECK_ERR(st_source_new(&bad[i], &self, NULL, &source, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context};
        status = st_source_new(&vtable, &self, &options, &source, NULL);
        if (status == ST_OK)
            st_source_release(source);
    }
    assert_int_equal(own_freed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),          cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_not_regular),   cmocka_unit_test(test_missing),
        cmocka_unit_test(test_options),       cmocka_unit_test(test_memory),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_own),
    };
    return cmocka_run_group_tests_name("source", tests, folder_make, folder_drop);
}
