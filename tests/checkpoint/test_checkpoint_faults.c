/* SPDX-License-Identifier: Apache-2.0 */
/* The n-th system call goes wrong, for every n, while a checkpoint is opened, split, merged, and salvaged. */
#include "checkpoint/model.h"

#include "io/os_faults.h"

#include <sys/wait.h>

/* One thread, so that the n-th call is the same one each time. */
static st_context *single_context(void)
{
    st_context *context;
    st_context_options options = {.max_threads = 1, .max_descriptors = 1};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

static const char *fault_folder = "";

static st_status open_and_read(st_context *context, st_error *said)
{
    st_open_options options = {.context = context};
    st_checkpoint *checkpoint;
    st_status status = st_checkpoint_open(model_path(fault_folder), &options, &checkpoint, said);
    if (status != ST_OK)
        return status;
    assert_string_equal(model_list(checkpoint), "0/a 0/b 1/c");
    st_checkpoint_tensor found = st_checkpoint_at(checkpoint, 2);
    char got[4];
    status = st_file_read(found.file, found.tensor, NULL, got, 4, said);
    if (status == ST_OK)
        assert_memory_equal(got, "cccc", 4);
    st_checkpoint_close(checkpoint);
    return status;
}

/* Of a fault that is told of a file makes what it is where it is returned. */
static bool unreadable_keep(void *ctx, const st_checkpoint_shard *shard)
{
    if (!shard->source && ((st_error *)ctx)->status == ST_OK)
        *(st_error *)ctx = *shard->why;
    return true;
}

static st_status check_it(st_context *context, const st_checkpoint_observer *observer,
                          st_error *said)
{
    st_open_options options = {.context = context};
    st_checkpoint_summary summary;
    st_status status =
        st_checkpoint_check(model_path(fault_folder), &options, observer, &summary, said);
    if (status == ST_OK) {
        assert_int_equal(summary.errors + summary.files_refused, 0);
        assert_int_equal(summary.tensors, 3);
        assert_int_equal(summary.files, 2);
    }
    return status;
}

static st_status check_alone(st_context *context, st_error *said)
{
    return check_it(context, NULL, said);
}

/* The same faults are told of files, if not returned. */
static st_status check_on(st_context *context, st_error *said)
{
    st_error of_file = {.status = ST_OK};
    const st_checkpoint_observer observer = {.shard = unreadable_keep, .ctx = &of_file};
    st_open_options options = {.context = context};
    st_status status =
        st_checkpoint_check(model_path(fault_folder), &options, &observer, NULL, said);
    if (status != ST_OK || of_file.status == ST_OK)
        return status;
    *said = of_file;
    return of_file.status;
}

static bool cleans;

/* Makes the folder, writes shards of this size, and their index. */
static st_status open_and_split_by(uint64_t size, st_context *context, st_error *said)
{
    st_open_options options = {.context = context};
    st_split_options how = {.max_shard_size = size, .clean = cleans, .context = context};
    st_checkpoint *checkpoint;
    st_split *split = NULL;
    st_status status = st_checkpoint_open(model_path(""), &options, &checkpoint, said);
    if (status != ST_OK)
        return status;
    status = st_split_new(checkpoint, &how, &split, said);
    if (status == ST_OK)
        status = st_split_write(split, model_path("out"), said);
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    return status;
}

static st_status open_and_split(st_context *context, st_error *said)
{
    return open_and_split_by(5, context, said);
}

/* Beside a shard of an older split, which is there until all is written. */
static st_status open_and_clean(st_context *context, st_error *said)
{
    static const char stale[] = "out/model-00009-of-00009.safetensors";
    unsigned at = os_state.at;
    os_state.at = 0;
    (void)mkdir(model_path("out"), 0777);
    model_tensors(stale, "z:1", NULL);
    os_state.at = at;
    cleans = true;
    st_status status = open_and_split_by(5, context, said);
    cleans = false;
    os_state.at = 0;
    assert_true(status != ST_OK || !model_has(stale));
    assert_true(model_has(stale) || model_has("out/model.safetensors.index.json"));
    if (status != ST_OK && !model_has("out/model.safetensors.index.json"))
        (void)unlink(model_path(stale));
    return status;
}

static st_status open_and_index(st_context *context, st_error *said)
{
    st_open_options options = {.context = context};
    st_checkpoint *checkpoint;
    st_status status = st_checkpoint_open(model_path(""), &options, &checkpoint, said);
    if (status != ST_OK)
        return status;
    status = st_checkpoint_index_write(checkpoint, model_path("index.json"), NULL, said);
    st_checkpoint_close(checkpoint);
    return status;
}

static st_status open_and_join(st_context *context, st_error *said)
{
    return open_and_split_by(0, context, said);
}

/* Whatever failed, all shards and their index are there or none, if not at once then by the list that was left. What could
 * not be removed may be left besides. */
static void check_left(st_status status)
{
    bool stray = strcmp(os_state.last, "fault_unlinkat") == 0;
    os_plant(OS_NONE, 0);
    if (model_has("out"))
        CHECK_OK(st_checkpoint_recover(model_path("out"), NULL, NULL, &error));
    bool one = model_has("out/model.safetensors");
    bool index = model_has("out/model.safetensors.index.json");
    if (index || one) {
        st_checkpoint *checkpoint = model_open("out");
        assert_string_equal(model_list(checkpoint), one ? "0/a 0/b 0/c" : "0/a 0/b 1/c");
        st_checkpoint_close(checkpoint);
    } else {
        assert_int_not_equal(status, ST_OK);
    }
    if (model_has("out")) {
        DIR *list = opendir(model_path("out"));
        assert_non_null(list);
        for (struct dirent *entry; (entry = readdir(list));)
            assert_true(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                        (strncmp(entry->d_name, "model", 5) == 0 && (index || one)) ||
                        (stray && strstr(entry->d_name, "-part.")));
        closedir(list);
        model_empty(model_path("out"));
        assert_int_equal(rmdir(model_path("out")), 0);
    }
}

/* Every fault is told as it is, of a file that is named, or does not matter. */
static void faults_try(st_status (*call)(st_context *context, st_error *said), bool writes)
{
    for (int fault = OS_EIO; fault <= OS_SHORT; fault++) {
        unsigned n = 0, failed = 0;
        bool hit;
        do {
            st_error said = {.status = ST_OK};
            st_context *context = single_context();
            os_plant((os_fault)fault, ++n);
            st_status status = call(context, &said);
            hit = os_state.hit;
            failed += status != ST_OK;
            const char *last = os_state.last;
            if (status != ST_OK &&
                (fault != OS_EIO || status != ST_ERR_IO || said.status != status ||
                 said.sys_errno != EIO || !strstr(said.message, model_folder)))
                fail_msg("fault %d at call %u, %s: %s, %s", fault, n, last, st_status_name(status),
                         said.message);
            st_context_release(context);
            if (writes)
                check_left(status);
        } while (hit);
        assert_true(n > 8);
        assert_true((failed > 4) == (fault == OS_EIO));
        os_plant(OS_NONE, 0);
    }
}

static int faults_setup(void **state)
{
    (void)model_setup(state);
    model_tensors("m-1.safetensors", "a:2 b:3", NULL);
    model_tensors("m-2.safetensors", "c:4", NULL);
    return 0;
}

static void test_open(void **state)
{
    (void)state;
    faults_try(open_and_read, false);
    model_text("m.safetensors.index.json",
               "{\"weight_map\":{\"c\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\",\"b\":"
               "\"m-1.safetensors\"}}");
    faults_try(open_and_read, false);
    fault_folder = "m.safetensors.index.json";
    faults_try(open_and_read, false);
}

static void test_check(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        fault_folder = i == 2 ? "m.safetensors.index.json" : "";
        faults_try(check_alone, false);
        faults_try(check_on, false);
        model_text("m.safetensors.index.json",
                   "{\"metadata\":{\"total_size\":9},\"weight_map\":{\"c\":\"m-2.safetensors\","
                   "\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\"}}");
    }
    fault_folder = "";
}

static void test_split(void **state)
{
    (void)state;
    faults_try(open_and_split, true);
    faults_try(open_and_join, true);
    faults_try(open_and_clean, true);
    faults_try(open_and_index, false);
    size_t size;
    char *text = model_read("index.json", &size);
    assert_non_null(strstr(text, "weight_map"));
    free(text);
}

static st_status salvage_it(st_context *context, st_error *said)
{
    st_open_options options = {.context = context};
    st_checkpoint_salvage_summary summary;
    st_status status = st_checkpoint_salvage(model_path(fault_folder), &options, model_path("out"),
                                             NULL, &summary, said);
    os_state.at = 0; /* what follows is not to fail */
    assert_int_equal(model_has("out"), status == ST_OK);
    if (status != ST_OK)
        return status;
    assert_int_equal(summary.files, 2);
    assert_int_equal(summary.sum.saved, 3);
    st_checkpoint *checkpoint = model_open("out");
    assert_string_equal(model_list(checkpoint), "0/a 0/b 1/c");
    assert_int_equal(st_checkpoint_index(checkpoint) != NULL,
                     model_has("m.safetensors.index.json"));
    st_checkpoint_close(checkpoint);
    model_empty(model_path("out"));
    assert_int_equal(rmdir(model_path("out")), 0);
    return status;
}

/* Whatever fails, all is there, or nothing of it. */
static void test_salvage(void **state)
{
    (void)state;
    static const char *const indices[] = {
        NULL,
        "{\"weight_map\":{\"c\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\",\"b\":"
        "\"m-1.safetensors\"}}",
        "{\"weight_map\":",
    };
    for (size_t i = 0; i < 3; i++) {
        fault_folder = i == 2 ? "m.safetensors.index.json" : "";
        if (indices[i])
            model_text("m.safetensors.index.json", indices[i]);
        faults_try(salvage_it, false);
    }
    fault_folder = "";
}

/* Of a file that cannot be read to its end the others are saved, if that is asked for. */
static ssize_t second_unreadable(int fd, const struct iovec *segments, int count, off_t offset)
{
    char link[64], path[512] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len > 0 && strstr(path, "m-2.safetensors") && !strstr(path, "/out/") &&
        offset + (off_t)segments[0].iov_len > 60) {
        errno = EIO;
        return -1;
    }
    return preadv(fd, segments, count, offset);
}

static ssize_t no_copying(int from, off_t *from_at, int to, off_t *to_at, size_t size,
                          unsigned flags)
{
    (void)from;
    (void)from_at;
    (void)to;
    (void)to_at;
    (void)size;
    (void)flags;
    errno = EOPNOTSUPP;
    return -1;
}

static int no_sharing(int fd, unsigned long request, void *arg)
{
    (void)fd;
    (void)request;
    (void)arg;
    errno = EOPNOTSUPP;
    return -1;
}

static bool failed_keep(void *ctx, const st_checkpoint_salvage_part *part)
{
    if (part->why)
        *(st_error *)ctx = *part->why;
    return true;
}

static void test_salvage_of_bad_blocks(void **state)
{
    (void)state;
    st_checkpoint_salvage_summary summary;
    st_error said = {.status = ST_OK}, told = {.status = ST_OK};
    st_context *context = single_context();
    const st_open_options options = {.context = context};
    const st_checkpoint_salvage_options how = {.end = failed_keep, .ctx = &told};
    st__os_call_table calls = st__os_calls;
    os_plant(OS_NONE, 0);
    st__os_calls.preadv = second_unreadable;
    st__os_calls.copy_file_range = no_copying;
    st__os_calls.ioctl = no_sharing;
    assert_int_equal(
        st_checkpoint_salvage(model_path(""), &options, model_path("out"), NULL, &summary, &said),
        ST_ERR_IO);
    assert_false(model_has("out"));
    CHECK_OK(
        st_checkpoint_salvage(model_path(""), &options, model_path("out"), &how, &summary, &error));
    st__os_calls = calls;
    assert_int_equal(told.status, ST_ERR_IO);
    assert_int_equal(told.sys_errno, EIO);
    assert_int_equal(summary.files, 1);
    assert_int_equal(summary.files_failed, 1);
    assert_true(model_has("out/m-1.safetensors") && !model_has("out/m-2.safetensors"));
    /* What cannot be written ends it whatever is said. */
    model_empty(model_path("out"));
    unsigned full = 0;
    for (unsigned n = 1; n == 1 || os_state.hit; n++) {
        os_plant_errno(ENOSPC, n);
        st_status status = st_checkpoint_salvage(model_path(""), &options, model_path("out"), &how,
                                                 &summary, &said);
        bool written = strstr(os_state.last, "pwritev") || strstr(os_state.last, "allocate");
        if (os_state.hit && written && status != ST_OK) {
            assert_int_equal(said.sys_errno, ENOSPC);
            full++;
        }
        os_state.at = 0;
        if (status != ST_OK &&
            (model_has("out/m-1.safetensors") || model_has("out/m-2.safetensors")))
            fail_msg("call %u, %s: %s", n, os_state.last, said.message);
        model_empty(model_path("out"));
    }
    assert_true(full > 0);
    st_context_release(context);
}

/* A full disk is told. */
static void test_full_disk(void **state)
{
    (void)state;
    unsigned n = 0, full = 0;
    bool hit;
    do {
        st_error said = {.status = ST_OK};
        st_context *context = single_context();
        os_plant_errno(ENOSPC, ++n);
        st_status status = open_and_split(context, &said);
        hit = os_state.hit;
        full += status == ST_ERR_IO && said.sys_errno == ENOSPC;
        st_context_release(context);
        check_left(status);
    } while (hit);
    assert_true(full > 4);
}

/* Two shards; by a limit of 9 bytes the tensor c moves from the second into the first. */
static void replaced_make(void)
{
    model_tensors("model-00001-of-00002.safetensors", "a:3 b:3", NULL);
    model_tensors("model-00002-of-00002.safetensors", "c:3 d:3 e:3", NULL);
    model_text("model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\",\"b\":\"model-00001-of-"
               "00002.safetensors\",\"c\":\"model-00002-of-00002.safetensors\",\"d\":\"model-00002-"
               "of-00002.safetensors\",\"e\":\"model-00002-of-00002.safetensors\"}}");
}

/* One file, which is put in order, beside an index that leads elsewhere and goes then. */
static void stale_make(void)
{
    model_tensors("model.safetensors", "b:3 a:3", NULL);
    model_tensors("other.safetensors", "z:3", NULL);
    model_text("model.safetensors.index.json", "{\"weight_map\":{\"z\":\"other.safetensors\"}}");
}

static const struct {
    void (*make)(void);
    const char *name;
    uint64_t size;
    const char *lists[2]; /* the old one and the new */
} replacing[] = {
    {replaced_make, "", 9, {"0/a 0/b 1/c 1/d 1/e", "0/a 0/b 0/c 1/d 1/e"}},
    {stale_make, "model.safetensors", 0, {"0/z", "0/a 0/b 1/z"}},
};

static void replaced_split(size_t which)
{
    st_context *context = single_context();
    st_open_options options = {.context = context};
    st_split_options how = {.max_shard_size = replacing[which].size, .context = context};
    st_checkpoint *checkpoint = NULL;
    st_split *split = NULL;
    st_status status =
        st_checkpoint_open(model_path(replacing[which].name), &options, &checkpoint, NULL);
    if (status == ST_OK)
        status = st_split_new(checkpoint, &how, &split, NULL);
    if (status == ST_OK)
        status = st_split_write(split, model_path(""), NULL);
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    st_context_release(context);
    _exit(status != ST_OK);
}

/* All that the folder holds is right: the new checkpoint, or the old one. */
static bool is_new_split(size_t which)
{
    st_checkpoint *checkpoint = model_open("");
    bool is_new = strcmp(model_list(checkpoint), replacing[which].lists[1]) == 0;
    assert_string_equal(model_list(checkpoint), replacing[which].lists[is_new]);
    for (size_t i = 0; i < st_checkpoint_count(checkpoint); i++) {
        st_checkpoint_tensor one = st_checkpoint_at(checkpoint, i);
        char got[3];
        CHECK_OK(st_file_read(one.file, one.tensor, NULL, got, 3, &error));
        for (size_t b = 0; b < 3; b++)
            assert_int_equal(got[b], one.tensor->name[0]);
    }
    st_checkpoint_close(checkpoint);
    return is_new;
}

/* Killed at any call, shards that take the places of their own files are all of them there, or none, once that was
 * recovered. */
static void killed_try(size_t which)
{
    int how = 0;
    unsigned olds = 0, news = 0, forward = 0;
    for (unsigned n = 1; n == 1 || WIFSIGNALED(how); n++) {
        bool changed;
        replacing[which].make();
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            os_plant_kill(n);
            replaced_split(which);
        }
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) || (WEXITSTATUS(how) == 0 && n > 20));
        CHECK_OK(st_checkpoint_recover(model_path(""), NULL, &changed, &error));
        bool is_new = is_new_split(which);
        assert_true(is_new || (!changed && news == 0));
        olds += !is_new;
        news += is_new;
        forward += changed;
        assert_false(model_has("model.safetensors.index.json.st-journal"));
        model_empty(model_folder);
    }
    assert_true(olds > 20 && news > 5 && forward > 3);
}

static void test_killed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof replacing / sizeof *replacing; i++)
        killed_try(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, faults_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_check, faults_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_split, faults_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_salvage, faults_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_salvage_of_bad_blocks, faults_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, faults_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_killed, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("checkpoint_faults", tests, NULL, NULL);
}
