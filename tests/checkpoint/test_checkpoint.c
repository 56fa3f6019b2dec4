/* SPDX-License-Identifier: Apache-2.0 */
/* Opening files, indices and folders as one, and finding tensors in them. */
#include "checkpoint/model.h"
#include "support/oom.h"

#include <errno.h>
#include <inttypes.h>

static int each_setup(void **state)
{
    return model_setup(state);
}

static void check_metadata(const st_checkpoint *checkpoint, const char *expected)
{
    char text[512] = "";
    size_t at = 0;
    for (size_t i = 0; i < st_checkpoint_metadata_count(checkpoint); i++) {
        const st_metadata *entry = st_checkpoint_metadata_at(checkpoint, i);
        assert_int_equal(strlen(entry->key), entry->key_len);
        assert_int_equal(strlen(entry->value), entry->value_len);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s=%s;", entry->key, entry->value);
    }
    assert_string_equal(text, expected);
}

static void check_read(const st_checkpoint *checkpoint, const char *name, size_t size)
{
    char got[64];
    st_checkpoint_tensor found;
    assert_true(st_checkpoint_find(checkpoint, name, strlen(name), &found));
    assert_string_equal(found.tensor->name, name);
    assert_int_equal(st_tensor_size(found.tensor), size);
    CHECK_OK(st_file_read(found.file, found.tensor, NULL, got, size, &error));
    for (size_t i = 0; i < size; i++)
        assert_int_equal(got[i], name[0]);
}

static void test_file(void **state)
{
    (void)state;
    model_tensors("one.safetensors", "b:4 a:2", "{\"k\":\"v\",\"total_size\":\"7\"}");
    st_checkpoint *checkpoint = model_open("one.safetensors");
    assert_string_equal(st_checkpoint_name(checkpoint), model_path("one.safetensors"));
    assert_null(st_checkpoint_index(checkpoint));
    assert_int_equal(st_checkpoint_file_count(checkpoint), 1);
    assert_string_equal(st_checkpoint_file_name(checkpoint, 0), "one.safetensors");
    assert_string_equal(st_file_name(st_checkpoint_file(checkpoint, 0)),
                        model_path("one.safetensors"));
    assert_string_equal(model_list(checkpoint), "0/b 0/a");
    assert_int_equal(st_checkpoint_count(checkpoint), 2);
    assert_int_equal(st_checkpoint_data_size(checkpoint), 6);
    check_metadata(checkpoint, "k=v;total_size=7;");
    check_read(checkpoint, "a", 2);
    st_checkpoint_tensor found = {.file_index = 77};
    assert_false(st_checkpoint_find(checkpoint, "c", 1, &found));
    assert_int_equal(found.file_index, 77);
    st_checkpoint_close(checkpoint);
    st_checkpoint_close(NULL);

    st_open_options options = {.name = "shown"};
    CHECK_OK(st_checkpoint_open(model_path("one.safetensors"), &options, &checkpoint, &error));
    assert_string_equal(st_file_name(st_checkpoint_file(checkpoint, 0)), "shown");
    st_checkpoint_close(checkpoint);
}

/* The files are ordered by name, whatever the index says first; what it does not name is no part. */
static void test_index(void **state)
{
    (void)state;
    model_tensors("m-2.safetensors", "d:4 stale:9 c:3", "{\"format\":\"pt\",\"k\":\"file\"}");
    model_tensors("m-1.safetensors", "b:2 d:1", "{\"k\":\"file\",\"format\":\"pt\"}");
    model_tensors("a.safetensors", "b:5", NULL);
    model_text(
        "m.safetensors.index.json",
        "{\"weight_map\":{\"c\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\",\"d\":"
        "\"m-2.safetensors\"},\"more\":[1,{\"weight_map\":2}],\"metadata\":{\"total_size\":9,"
        "\"total_parameters\":3,\"k\":\"index\",\"n\":-1.50,\"yes\":true,\"no\":false,"
        "\"nothing\":null,\"list\":[1, {\"a\":[]}],\"text\":\"x\\u00e9\"}}");
    for (int way = 0; way < 2; way++) {
        st_checkpoint *checkpoint = model_open(way ? "" : "m.safetensors.index.json");
        assert_string_equal(st_checkpoint_index(checkpoint),
                            model_path("m.safetensors.index.json"));
        assert_string_equal(model_list(checkpoint), "0/b 1/d 1/c");
        assert_int_equal(st_checkpoint_data_size(checkpoint), 9);
        assert_string_equal(st_checkpoint_file_name(checkpoint, 0), "m-1.safetensors");
        assert_string_equal(st_checkpoint_file_name(checkpoint, 1), "m-2.safetensors");
        check_metadata(checkpoint, "format=pt;k=index;n=-1.50;yes=true;no=false;nothing=null;"
                                   "list=[1, {\"a\":[]}];text=x\xc3\xa9;");
        check_read(checkpoint, "d", 4);
        st_checkpoint_tensor found;
        assert_false(st_checkpoint_find(checkpoint, "stale", 5, &found));
        st_checkpoint_close(checkpoint);
    }
}

static void test_bare_map(void **state)
{
    (void)state;
    assert_int_equal(mkdir(model_path("sub"), 0777), 0);
    model_tensors("sub/one.safetensors", "a:1", NULL);
    model_text("index", " \n{\"a\":\"sub/one.safetensors\"}");
    st_checkpoint *checkpoint = model_open("index");
    assert_string_equal(st_checkpoint_index(checkpoint), model_path("index"));
    assert_string_equal(model_list(checkpoint), "0/a");
    check_metadata(checkpoint, "");
    st_checkpoint_close(checkpoint);
    model_text("i.json", "{\"weight_map\":{},\"metadata\":null}");
    checkpoint = model_open("i.json");
    assert_int_equal(st_checkpoint_count(checkpoint), 0);
    assert_int_equal(st_checkpoint_file_count(checkpoint), 0);
    st_checkpoint_close(checkpoint);
}

/* What does not end in .safetensors is looked at: a header of 123 bytes begins with a brace too. */
static void test_looks_like_json(void **state)
{
    (void)state;
    unsigned char bytes[8 + 123] = {123};
    memset(bytes + 8, ' ', 123);
    memcpy(bytes + 8, "{}", 2);
    model_store("model.bin", bytes, sizeof bytes);
    st_checkpoint *checkpoint = model_open("model.bin");
    assert_null(st_checkpoint_index(checkpoint));
    st_checkpoint_close(checkpoint);
    model_text("model.safetensors", "{\"weight_map\":{}}");
    CHECK_ERR(st_checkpoint_open(model_path("model.safetensors"), NULL, &checkpoint, &error),
              ST_ERR_HEADER_TOO_LARGE, 0);
    model_text("short", "{}");
    CHECK_ERR(st_checkpoint_open(model_path("short"), NULL, &checkpoint, &error), ST_ERR_JSON, 0);
    model_text("empty", "");
    CHECK_ERR(st_checkpoint_open(model_path("empty"), NULL, &checkpoint, &error),
              ST_ERR_HEADER_TOO_SMALL, 0);
}

static void test_folder(void **state)
{
    (void)state;
    st_checkpoint *checkpoint;
    CHECK_ERR_TEXT(st_checkpoint_open(model_folder, NULL, &checkpoint, &error), ST_ERR_NOT_FOUND,
                   ST_NO_OFFSET, "holds no .safetensors");
    model_tensors("z.safetensors", "a:1", "{\"same\":\"1\",\"other\":\"2\",\"first\":\"\"}");
    model_tensors("y.safetensors", "b:2 c:3", "{\"other\":\"3\",\"same\":\"1\"}");
    model_text("config.json", "{\"hidden_size\":7}");
    model_text("y.safetensors.bak", "x");
    model_text(".x.safetensors", "x");
    model_text(".x.safetensors.index.json", "x");
    checkpoint = model_open("");
    assert_null(st_checkpoint_index(checkpoint));
    assert_string_equal(model_list(checkpoint), "0/b 0/c 1/a");
    check_metadata(checkpoint, "same=1;");
    check_read(checkpoint, "a", 1);
    st_checkpoint_close(checkpoint);
    char slash[128];
    snprintf(slash, sizeof slash, "%s/", model_folder);
    CHECK_OK(st_checkpoint_open(slash, NULL, &checkpoint, &error));
    assert_string_equal(st_file_name(st_checkpoint_file(checkpoint, 0)),
                        model_path("y.safetensors"));
    st_checkpoint_close(checkpoint);

    model_tensors("x.safetensors", "q:1 c:3", NULL);
    CHECK_ERR_TEXT(st_checkpoint_open(model_folder, NULL, &checkpoint, &error),
                   ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
                   "tensor \"c\": stands in \"x.safetensors\" and in \"y.safetensors\"");
}

static void test_indices(void **state)
{
    (void)state;
    st_checkpoint *checkpoint;
    model_tensors("m.safetensors", "a:1", NULL);
    model_text("m.safetensors.index.fp16.json", "{\"weight_map\":{\"a\":\"m.safetensors\"}}");
    checkpoint = model_open("");
    assert_string_equal(st_checkpoint_index(checkpoint),
                        model_path("m.safetensors.index.fp16.json"));
    st_checkpoint_close(checkpoint);
    model_text("b.safetensors.index.json", "{}");
    CHECK_ERR_TEXT(st_checkpoint_open(model_folder, NULL, &checkpoint, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET,
                   "2 indices, \"b.safetensors.index.json\", \"m.safetensors.index.fp16.json\";");
    for (int i = 0; i < 40; i++) {
        char name[64];
        snprintf(name, sizeof name, "%d.safetensors.index.json", i);
        model_text(name, "{}");
    }
    CHECK_ERR_TEXT(st_checkpoint_open(model_folder, NULL, &checkpoint, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, ", ...; open the one that is meant");
}

static void test_refused(void **state)
{
    (void)state;
    st_checkpoint *checkpoint;
    st_error said;
    assert_int_equal(st_checkpoint_open(model_path("none"), NULL, &checkpoint, &said), ST_ERR_IO);
    assert_int_equal(said.sys_errno, ENOENT);
    assert_non_null(strstr(said.message, "/none: cannot be opened"));
    assert_int_equal(mkfifo(model_path("pipe"), 0600), 0);
    CHECK_ERR(st_checkpoint_open(model_path("pipe"), NULL, &checkpoint, &error), ST_ERR_NOT_REGULAR,
              ST_NO_OFFSET);
    assert_int_equal(mkdir(model_path("d.safetensors"), 0777), 0);
    CHECK_ERR(st_checkpoint_open(model_folder, NULL, &checkpoint, &error), ST_ERR_NOT_REGULAR,
              ST_NO_OFFSET);
    st_open_options options = {.flags = 1u << 31};
    CHECK_ERR(st_checkpoint_open(model_path("none"), &options, &checkpoint, &error),
              ST_ERR_ARGUMENT, ST_NO_OFFSET);
}

/* Makes a sparse file of three tensors of `size` bytes where files may be so large, and a link to it in the folder; false
 * where they may not. */
static bool sparse_make(unsigned number, uint64_t size, char path[64])
{
    char header[512], name[32];
    size_t len = 0;
    unsigned char length[8] = {0};
    for (unsigned i = 0; i < 3; i++)
        len += (size_t)snprintf(header + len, sizeof header - len,
                                "%c\"t%u.%u\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64
                                "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                                i ? ',' : '{', number, i, size, i * size, (i + 1) * size);
    header[len++] = '}';
    length[0] = (unsigned char)(len & 255);
    length[1] = (unsigned char)(len >> 8);
    strcpy(path, "/dev/shm/st_test_sparse.XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return false;
    bool made = write(fd, length, 8) == 8 && write(fd, header, len) == (ssize_t)len &&
                ftruncate(fd, (off_t)(3 * size + 8 + len)) == 0;
    close(fd);
    snprintf(name, sizeof name, "%u.safetensors", number);
    return made && symlink(path, model_path(name)) == 0;
}

static bool finding_note(void *ctx, const char *path, const st_finding *finding)
{
    assert_string_equal(path, model_folder);
    assert_int_equal(finding->status, ST_ERR_OVERFLOW);
    assert_true(finding->offset == ST_NO_OFFSET);
    snprintf(ctx, 32, "%s", finding->rule->id);
    return true;
}

/* Files whose sizes together are beyond 64 bits. */
static void test_overflow(void **state)
{
    (void)state;
    char paths[3][64] = {"", "", ""};
    st_checkpoint *checkpoint = NULL;
    st_error said = {.status = ST_OK};
    st_status status = ST_OK;
    bool made = true;
    char found[32] = "";
    const st_checkpoint_observer observer = {.finding = finding_note, .ctx = found};
    st_checkpoint_summary summary;
    for (unsigned i = 0; i < 3 && made; i++)
        made = sparse_make(i, (UINT64_C(1) << 61) - 1, paths[i]);
    if (made)
        status = st_checkpoint_open(model_folder, NULL, &checkpoint, &said);
    if (made)
        CHECK_OK(st_checkpoint_check(model_folder, NULL, &observer, &summary, &error));
    for (unsigned i = 0; i < 3; i++)
        unlink(paths[i]);
    if (!made)
        skip();
    assert_string_equal(found, "index-overflow");
    assert_int_equal(summary.errors, 1);
    assert_int_equal(status, ST_ERR_OVERFLOW);
    assert_non_null(strstr(said.message, "all tensors together"));
    assert_null(checkpoint);
}

static size_t descriptors_open(void)
{
    size_t count = 0;
    DIR *list = opendir("/proc/self/fd");
    if (!list)
        skip();
    while (readdir(list))
        count++;
    closedir(list);
    return count;
}

/* Three hundred shards by eight descriptors, read one after the other and back. */
static void test_descriptors(void **state)
{
    (void)state;
    enum { SHARDS = 300, BUDGET = 8 };
    static char index[SHARDS * 64];
    size_t at = (size_t)sprintf(index, "{\"weight_map\":{");
    for (unsigned i = 0; i < SHARDS; i++) {
        char name[32], tensor[32];
        snprintf(name, sizeof name, "s%03u.safetensors", i);
        snprintf(tensor, sizeof tensor, "%c%u:10", 'a' + (int)(i % 26), i);
        model_tensors(name, tensor, NULL);
        at += (size_t)sprintf(index + at, "%s\"%.*s\":\"%s\"", i ? "," : "",
                              (int)strcspn(tensor, ":"), tensor, name);
    }
    sprintf(index + at, "}}");
    model_text("model.safetensors.index.json", index);

    size_t before = descriptors_open();
    st_context *context;
    st_checkpoint *checkpoint;
    st_context_options options = {.max_descriptors = BUDGET, .max_threads = 1};
    CHECK_OK(st_context_new(&options, &context, &error));
    CHECK_OK(st_checkpoint_open(model_folder, &(st_open_options){.context = context}, &checkpoint,
                                &error));
    assert_int_equal(st_checkpoint_file_count(checkpoint), SHARDS);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < SHARDS; i++) {
            st_checkpoint_tensor one = st_checkpoint_at(checkpoint, round ? SHARDS - 1 - i : i);
            check_read(checkpoint, one.tensor->name, 10);
            assert_true(descriptors_open() <= before + BUDGET);
        }
    st_checkpoint_close(checkpoint);
    st_context_release(context);
    assert_int_equal(descriptors_open(), before);
}

static void test_oom(void **state)
{
    (void)state;
    model_tensors("m-1.safetensors", "a:1 b:2", "{\"format\":\"pt\"}");
    model_tensors("m-2.safetensors", "c:1", "{\"format\":\"pt\"}");
    for (int indexed = 0; indexed < 2; indexed++) {
        ST_OOM_LOOP(context, status)
        {
            st_checkpoint *checkpoint;
            status = st_checkpoint_open(model_folder, &(st_open_options){.context = context},
                                        &checkpoint, NULL);
            if (status == ST_OK) {
                assert_string_equal(model_list(checkpoint), "0/a 0/b 1/c");
                st_checkpoint_close(checkpoint);
            }
        }
        model_text("m.safetensors.index.json",
                   "{\"metadata\":{\"k\":\"v\"},\"weight_map\":{\"c\":\"m-2.safetensors\",\"a\":"
                   "\"m-1.safetensors\",\"b\":\"m-1.safetensors\"}}");
    }
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, each_setup, model_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_file),        EACH(test_index),   EACH(test_bare_map), EACH(test_looks_like_json),
        EACH(test_folder),      EACH(test_indices), EACH(test_refused),  EACH(test_overflow),
        EACH(test_descriptors), EACH(test_oom),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
