/* SPDX-License-Identifier: Apache-2.0 */
/* A process that edits a file onto its own path is killed before each of its system calls in turn, and each of them
 * fails in turn: the path then holds the old file or the new one, whole, and after a failure nothing else is there. */
#include "io/os_faults.h"
#include "io/scratch_folder.h"

#include <safetensors/edit.h>
#include <sys/wait.h>

/* Enough for the kernel to copy (32 KiB and more), for windows to be filled, and for several writes. */
enum { WORDS = 30000, COPIED = 200000 };

static unsigned char *old_image, *new_image;
static size_t old_size, new_size;

static st_status tensor_add(st_edit *edit, const char *name, st_dtype dtype, uint64_t count,
                            const void *data)
{
    st_array array = {.data = (void *)(uintptr_t)data, .shape = &count, .ndim = 1, .dtype = dtype};
    return st_edit_add(edit, name, strlen(name), &array, NULL);
}

/* The change: one is renamed, one cast, one replaced, two stay. */
static st_status file_edit(const char *path, const char *out, st_error *error)
{
    static const unsigned char bytes[5000] = {1, 2, 3};
    uint64_t count = sizeof bytes;
    st_array array = {.data = (void *)(uintptr_t)bytes, .shape = &count, .ndim = 1};
    st_sink_options options = {.durability = ST_DURABLE_NAME};
    st_context *context = NULL;
    st_file *file = NULL;
    st_edit *edit = NULL;
    st_sink *sink = NULL;
    array.dtype = ST_U8;
    st_status status = st_context_new(&(st_context_options){.max_threads = 1}, &context, error);
    options.context = context;
    if (status == ST_OK)
        status = st_file_open(path, &(st_open_options){.context = context}, &file, error);
    if (status == ST_OK)
        status = st_edit_new(file, &(st_edit_options){.context = context}, &edit, error);
    if (status == ST_OK)
        status = st_edit_rename(edit, st_file_find(file, "words", 5), "w", 1, error);
    if (status == ST_OK)
        status = st_edit_cast(edit, st_file_find(file, "words", 5), ST_BF16, error);
    if (status == ST_OK)
        status = st_edit_replace(edit, st_file_find(file, "small", 5), &array, error);
    if (status == ST_OK)
        status = st_sink_open(out, &options, &sink, error);
    if (status == ST_OK)
        status = st_edit_write(edit, sink, NULL, error);
    st_sink_release(sink);
    st_edit_free(edit);
    st_file_close(file);
    st_context_release(context);
    return status;
}

static unsigned char *file_load(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY);
    struct stat s;
    assert_int_equal(fstat(fd, &s), 0);
    *size = (size_t)s.st_size;
    unsigned char *bytes = malloc(*size);
    assert_int_equal(read(fd, bytes, *size), s.st_size);
    close(fd);
    return bytes;
}

static int group_make(void **state)
{
    static unsigned char data[COPIED];
    st_edit *edit;
    st_sink *sink;
    os_plant(OS_NONE, 0);
    if (scratch_folder_make(state))
        return -1;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + i / 256);
    CHECK_OK(st_edit_new(NULL, NULL, &edit, &error));
    CHECK_OK(tensor_add(edit, "stays", ST_U8, COPIED, data));
    CHECK_OK(tensor_add(edit, "words", ST_F32, WORDS, data));
    CHECK_OK(tensor_add(edit, "small", ST_U8, 10, data));
    CHECK_OK(tensor_add(edit, "other", ST_U8, COPIED / 2, data));
    CHECK_OK(st_sink_open(in_scratch("file"), NULL, &sink, &error));
    CHECK_OK(st_edit_write(edit, sink, NULL, &error));
    st_sink_release(sink);
    st_edit_free(edit);
    old_image = file_load(in_scratch("file"), &old_size);
    CHECK_OK(file_edit(in_scratch("file"), in_scratch("new"), &error));
    new_image = file_load(in_scratch("new"), &new_size);
    unlink(in_scratch("new"));
    return 0;
}

static int group_drop(void **state)
{
    free(old_image);
    free(new_image);
    return scratch_folder_drop(state);
}

/* Whether the path holds the new file; the old one otherwise. */
static bool check_whole(const char *path)
{
    bool is_new = file_is(path, new_image, new_size);
    assert_true(is_new || file_is(path, old_image, old_size));
    return is_new;
}

static void test_kill(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    bool killed = true, was_new = false;
    unsigned n = 0, olds = 0, news = 0;
    while (killed) {
        put_file(path, old_image, old_size);
        pid_t pid = fork();
        int result = 0;
        assert_true(pid >= 0);
        n++;
        if (pid == 0) {
            os_plant_kill(n);
            _exit(file_edit(path, path, NULL) == ST_OK ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &result, 0), pid);
        killed = WIFSIGNALED(result);
        assert_true(killed ? WTERMSIG(result) == SIGKILL : WEXITSTATUS(result) == 0);
        bool is_new = check_whole(path);
        assert_true(is_new || !was_new); /* once it is there it stays there */
        assert_true(killed || is_new);
        was_new = is_new;
        olds += !is_new;
        news += is_new && killed;
        char command[200];
        snprintf(command, sizeof command, "rm -f %s/.file-part.*", scratch);
        assert_int_equal(system(command), 0);
        assert_int_equal(count_in_scratch(), 1);
    }
    assert_true(olds > 10);
    assert_true(news > 0); /* the folder is made durable behind the rename */
}

/* The same by failures, after which the process cleans up. */
static void test_fail(void **state)
{
    (void)state;
    const char *path = in_scratch("file");
    static const os_fault faults[] = {OS_EIO, OS_EINTR, OS_SHORT};
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        bool hit = true;
        unsigned failed = 0;
        for (unsigned n = 1; hit; n++) {
            st_error error = {.status = ST_OK};
            put_file(path, old_image, old_size);
            unsigned descriptors = count_descriptors();
            os_plant(faults[f], n);
            st_status status = file_edit(path, path, &error);
            hit = os_state.hit;
            os_plant(OS_NONE, 0);
            bool is_new = check_whole(path);
            assert_true(is_new || status != ST_OK);
            if (status != ST_OK) {
                assert_int_equal(faults[f], OS_EIO);
                assert_int_equal(error.status, status);
                failed++;
            }
            assert_int_equal(count_in_scratch(), 1);
            assert_int_equal(count_descriptors(), descriptors);
        }
        assert_true(failed > 5 || faults[f] != OS_EIO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill), cmocka_unit_test(test_fail)};
    return cmocka_run_group_tests_name("edit_kill", tests, group_make, group_drop);
}
