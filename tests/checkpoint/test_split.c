/* SPDX-License-Identifier: Apache-2.0 */
/* Plans of shards, and writing them: names, index, what each file holds, and what a failure leaves. */
#include "checkpoint/changes.h"
#include "support/oom.h"

#include <errno.h>

static st_split *split_of(const st_checkpoint *checkpoint, const st_split_options *options)
{
    st_split *split = NULL;
    CHECK_OK(st_split_new(checkpoint, options, &split, &error));
    return split;
}

/* Tells a plan as "name=a,b name=c". */
static const char *split_text(const st_split *split)
{
    static char text[4096];
    size_t at = 0;
    text[0] = '\0';
    for (size_t s = 0, first = 0; s < st_split_count(split); s++) {
        st_shard shard = st_split_at(split, s);
        uint64_t size = 0;
        assert_int_equal(shard.first, first);
        first += shard.count;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s=", s ? " " : "", shard.name);
        for (size_t t = 0; t < shard.count; t++) {
            const st_tensor *tensor = st_split_tensor(split, shard.first + t).tensor;
            size += st_tensor_size(tensor);
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", t ? "," : "", tensor->name);
        }
        assert_int_equal(size, shard.size);
    }
    return text;
}

/* Opens a file of the folder, splits it into a folder of it, and closes it. */
static void split_into(const char *name, const char *folder, const st_split_options *options)
{
    st_checkpoint *checkpoint = model_open(name);
    st_split *split = split_of(checkpoint, options);
    CHECK_OK(st_split_write(split, model_path(folder), &error));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

static void check_same(const char *a, const char *b)
{
    size_t size_a, size_b;
    char *bytes_a = model_read(a, &size_a), *bytes_b = model_read(b, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(bytes_a, bytes_b, size_a);
    free(bytes_a);
    free(bytes_b);
}

static const char golden_index[] =
    "{\n"
    "  \"metadata\": {\n"
    "    \"total_size\": 24,\n"
    "    \"k\\u00e9\\ud83d\\ude00\\\"\\\\\\n\\t\\b\\f\\r\\u0001\\u007f\": \"v/~\"\n"
    "  },\n"
    "  \"weight_map\": {\n"
    "    \"a\": \"model-00001-of-00003.safetensors\",\n"
    "    \"b\": \"model-00002-of-00003.safetensors\",\n"
    "    \"c\": \"model-00002-of-00003.safetensors\",\n"
    "    \"d\": \"model-00003-of-00003.safetensors\",\n"
    "    \"e\": \"model-00003-of-00003.safetensors\",\n"
    "    \"f\": \"model-00003-of-00003.safetensors\"\n"
    "  }\n"
    "}";

#define SIX "a:6 b:6 c:2 d:6 e:2 f:2"
#define STRANGE \
 "{\"format\":\"pt\",\"k\\u00e9\\ud83d\\ude00\\\"\\\\\\n\\t\\b\\f\\r\\u0001\\u007f\":\"v/~\"}"

static void test_plan(void **state)
{
    (void)state;
    model_tensors("in.safetensors", SIX, STRANGE);
    st_checkpoint *checkpoint = model_open("in.safetensors");
    st_split *split = split_of(checkpoint, &(st_split_options){.max_shard_size = 10});
    assert_string_equal(split_text(split), "model-00001-of-00003.safetensors=a "
                                           "model-00002-of-00003.safetensors=b,c "
                                           "model-00003-of-00003.safetensors=d,e,f");
    size_t len = 0;
    const char *text = st_split_index_text(split, &len);
    assert_string_equal(text, golden_index);
    assert_int_equal(len, strlen(golden_index));
    assert_string_equal(st_split_index_name(split), "model.safetensors.index.json");
    st_split_free(split);

    split = split_of(checkpoint, NULL);
    assert_string_equal(split_text(split), "model.safetensors=a,b,c,d,e,f");
    assert_null(st_split_index_name(split));
    assert_null(st_split_index_text(split, &len));
    st_split_free(split);
    st_split_free(NULL);

    split = split_of(checkpoint, &(st_split_options){.shard_count = 2});
    assert_int_equal(st_split_count(split), 2);
    assert_string_equal(split_text(split), "model-00001-of-00002.safetensors=a,b "
                                           "model-00002-of-00002.safetensors=c,d,e,f");
    st_split_free(split);
    split = split_of(checkpoint, &(st_split_options){.shard_count = 100});
    assert_int_equal(st_split_count(split), 6);
    st_split_free(split);
    split = split_of(checkpoint, &(st_split_options){.max_shard_size = 15,
                                                     .pattern = "x{suffix}y{suffix}.safetensors"});
    assert_string_equal(split_text(split), "x-00001-of-00002y-00001-of-00002.safetensors=a,b,c "
                                           "x-00002-of-00002y-00002-of-00002.safetensors=d,e,f");
    assert_string_equal(st_split_index_name(split), "xy.safetensors.index.json");
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *says;
    } patterns[] = {
        {"model.safetensors", "no {suffix}"},
        {"../m{suffix}.safetensors", "another folder"},
        {"a/m{suffix}.safetensors", "another folder"},
        {"a\\m{suffix}.safetensors", "backslash"},
        {"c:{suffix}.safetensors", "drive"},
        {"m{suffix}{x}.safetensors", "braces"},
        {"m{{suffix}}.safetensors", "braces"},
        {"m{suffix}.bin", "does not end in .safetensors"},
        {"m.safetensors{suffix}", "does not end in .safetensors"},
    };
    st_split *split = NULL;
    model_tensors("in.safetensors", SIX, NULL);
    st_checkpoint *checkpoint = model_open("in.safetensors");
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        CHECK_ERR_TEXT(st_split_new(checkpoint, &(st_split_options){.pattern = patterns[i].pattern},
                                    &split, &error),
                       ST_ERR_ARGUMENT, ST_NO_OFFSET, patterns[i].says);
    const st_split_options options[] = {
        {.max_shard_size = 1, .shard_count = 1},
        {.durability = 3},
        {.flags = 2},
        {.alignment = 3},
        {.reserved = {1}},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        CHECK_ERR(st_split_new(checkpoint, &options[i], &split, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
    assert_null(split);
    st_checkpoint_close(checkpoint);
}

static void test_write(void **state)
{
    (void)state;
    model_tensors("in.safetensors", SIX, STRANGE);
    split_into("in.safetensors", "out", &(st_split_options){.max_shard_size = 10});
    check_text("out/model.safetensors.index.json", golden_index);
    st_checkpoint *whole = model_open("out");
    assert_string_equal(model_list(whole), "0/a 1/b 1/c 2/d 2/e 2/f");
    assert_int_equal(st_checkpoint_metadata_count(whole), 2);
    assert_string_equal(st_checkpoint_metadata_at(whole, 0)->key, "format");
    for (size_t i = 0; i < 6; i++) {
        char got[8];
        st_checkpoint_tensor one = st_checkpoint_at(whole, i);
        size_t size = (size_t)st_tensor_size(one.tensor);
        CHECK_OK(st_file_read(one.file, one.tensor, NULL, got, size, &error));
        for (size_t b = 0; b < size; b++)
            assert_int_equal(got[b], "abcdef"[i]);
        assert_int_equal(st_header_metadata_count(st_file_header(one.file)), 1);
    }
    st_checkpoint_close(whole);

    /* A sharded one split again, into one file, and its alignment. */
    split_into("out", "one/", &(st_split_options){.alignment = 4096});
    whole = model_open("one/model.safetensors");
    assert_string_equal(model_list(whole), "0/a 0/b 0/c 0/d 0/e 0/f");
    assert_int_equal(st_checkpoint_metadata_count(whole), 2);
    assert_int_equal(st_header_data_offset(st_file_header(st_checkpoint_file(whole, 0))), 4096);
    st_checkpoint_close(whole);
    assert_false(model_has("one/model.safetensors.index.json"));
    split_into("one/model.safetensors", "again", &(st_split_options){.max_shard_size = 10});
    check_same("out/model-00002-of-00003.safetensors", "again/model-00002-of-00003.safetensors");
    check_same("out/model.safetensors.index.json", "again/model.safetensors.index.json");
}

/* Tensors without bytes go with the first of them; a file without tensors stays one. */
static void test_empty(void **state)
{
    (void)state;
    model_tensors("in.safetensors", "a:3 e:0 b:3 f:0 c:3 g:0", NULL);
    st_checkpoint *checkpoint = model_open("in.safetensors");
    st_split *split = split_of(checkpoint, &(st_split_options){.max_shard_size = 4});
    assert_string_equal(split_text(split), "model-00001-of-00003.safetensors=a,e,f,g "
                                           "model-00002-of-00003.safetensors=b "
                                           "model-00003-of-00003.safetensors=c");
    CHECK_OK(st_split_write(split, model_path("out"), &error));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    checkpoint = model_open("out");
    assert_int_equal(st_checkpoint_count(checkpoint), 6);
    st_checkpoint_close(checkpoint);

    model_tensors("none.safetensors", "", "{\"k\":\"v\"}");
    for (unsigned count = 0; count < 2; count++)
        split_into("none.safetensors", "none", &(st_split_options){.shard_count = count});
    checkpoint = model_open("none");
    assert_int_equal(st_checkpoint_file_count(checkpoint), 1);
    assert_int_equal(st_checkpoint_count(checkpoint), 0);
    assert_int_equal(st_checkpoint_metadata_count(checkpoint), 1);
    st_checkpoint_close(checkpoint);
}

static void test_unknown_dtype(void **state)
{
    (void)state;
    static const char header[] = "{\"w\":{\"dtype\":\"I3\",\"shape\":[2],\"data_offsets\":[0,3]},"
                                 "\"v\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}";
    unsigned char bytes[8 + sizeof header - 1 + 5] = {(unsigned char)(sizeof header - 1)};
    st_open_options options = {.flags = ST_OPEN_UNKNOWN_DTYPES};
    st_checkpoint *checkpoint;
    memcpy(bytes + 8, header, sizeof header - 1);
    memcpy(bytes + sizeof bytes - 5, "12345", 5);
    model_store("in.safetensors", bytes, sizeof bytes);
    CHECK_OK(st_checkpoint_open(model_path("in.safetensors"), &options, &checkpoint, &error));
    st_split *split = split_of(checkpoint, &(st_split_options){.max_shard_size = 3});
    CHECK_OK(st_split_write(split, model_path("out"), &error));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    CHECK_OK(st_checkpoint_open(model_path("out"), &options, &checkpoint, &error));
    st_checkpoint_tensor found;
    char got[3];
    size_t len;
    assert_true(st_checkpoint_find(checkpoint, "w", 1, &found));
    assert_string_equal(st_header_dtype_code(st_file_header(found.file), found.tensor->dtype, &len),
                        "I3");
    CHECK_OK(st_file_read(found.file, found.tensor, NULL, got, 3, &error));
    assert_memory_equal(got, "123", 3);
    st_checkpoint_close(checkpoint);
}

/* ------------------------------------------------------------------ what is there already */

static void test_new_only(void **state)
{
    (void)state;
    static const char *const names[] = {"model-00003-of-00003.safetensors",
                                        "model.safetensors.index.json"};
    model_tensors("in.safetensors", SIX, NULL);
    st_checkpoint *checkpoint = model_open("in.safetensors");
    st_split *split =
        split_of(checkpoint, &(st_split_options){.max_shard_size = 10, .flags = ST_SINK_NEW});
    assert_int_equal(mkdir(model_path("out"), 0777), 0);
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        st_error said;
        snprintf(path, sizeof path, "out/%s", names[i]);
        model_text(path, "mine");
        assert_int_equal(st_split_write(split, model_path("out"), &said), ST_ERR_IO);
        assert_int_equal(said.sys_errno, EEXIST);
        assert_non_null(strstr(said.message, names[i]));
        assert_false(model_has("out/model-00001-of-00003.safetensors"));
        check_text(path, "mine");
        unlink(model_path(path));
    }
    CHECK_OK(st_split_write(split, model_path("out"), &error));
    CHECK_ERR(st_split_write(split, model_path("out"), &error), ST_ERR_IO, ST_NO_OFFSET);
    st_split_free(split);
    /* Of one file the index that would go. */
    split = split_of(checkpoint, &(st_split_options){.clean = true, .flags = ST_SINK_NEW});
    CHECK_ERR_TEXT(st_split_write(split, model_path("out"), &error), ST_ERR_IO, ST_NO_OFFSET,
                   "index.json: cannot be written");
    assert_true(model_has("out/model-00001-of-00003.safetensors"));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

/* The only file of a checkpoint takes its own place; the index that is then out of date goes. */
static void test_in_place(void **state)
{
    (void)state;
    model_tensors("model.safetensors", "b:3 a:3", NULL);
    model_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"gone.safetensors\"}}");
    split_into("model.safetensors", "", NULL);
    assert_false(model_has("model.safetensors.index.json"));
    st_checkpoint *checkpoint = model_open("");
    assert_string_equal(model_list(checkpoint), "0/a 0/b");
    st_checkpoint_close(checkpoint);
}

/* One file has no index: beside numbered shards of its name it would be no checkpoint. Others do not matter. */
static void test_strays(void **state)
{
    (void)state;
    static const char *const others[] = {
        "out/model-1-of-00002.safetensors", "out/model-00001.of-00002.safetensors",
        "out/model-00001-of-2.safetensors", "out/model-00001-of-00002.safetensors.old",
        "out/other-00001-of-00002.safetensors"};
    static const char *const strays[] = {"out/model-00004-of-00004.safetensors",
                                         "out/model-100000-of-123456.safetensors"};
    model_tensors("in.safetensors", "a:3 b:3", NULL);
    split_into("in.safetensors", "out", NULL);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        model_text(others[i], "x");
    split_into("in.safetensors", "out", NULL);
    st_checkpoint *checkpoint = model_open("in.safetensors");
    st_split *split = split_of(checkpoint, NULL);
    st_split *of_x = split_of(checkpoint, &(st_split_options){.pattern = "x{suffix}.{suffix}y"
                                                                         ".safetensors"});
    for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++) {
        model_text(strays[i], "x");
        model_text("out/model.safetensors", "old");
        CHECK_ERR_TEXT(st_split_write(split, model_path("out"), &error), ST_ERR_ARGUMENT,
                       ST_NO_OFFSET, strays[i] + strlen("out/"));
        check_text("out/model.safetensors", "old");
        CHECK_OK(st_split_write(of_x, model_path("out"), &error));
        unlink(model_path(strays[i]));
    }
    model_text("out/x-00001-of-00002.-00001-of-00002y.safetensors", "x");
    CHECK_ERR_TEXT(st_split_write(of_x, model_path("out"), &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "into another folder");
    CHECK_OK(st_split_write(split, model_path("out"), &error));
    st_split_free(of_x);
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    /* With an index they are no part of it. */
    model_text(strays[0], "x");
    split_into("in.safetensors", "out", &(st_split_options){.max_shard_size = 3});
    checkpoint = model_open("out");
    assert_string_equal(model_list(checkpoint), "0/a 1/b");
    st_checkpoint_close(checkpoint);
}

typedef struct stale_log {
    char text[512];
    unsigned count;
    unsigned stop_at;
} stale_log;

static bool stale_log_name(void *ctx, const char *name)
{
    stale_log *log = ctx;
    size_t len = strlen(log->text);
    snprintf(log->text + len, sizeof log->text - len, "%s%s", len ? " " : "", name);
    return ++log->count != log->stop_at;
}

static void check_stale(const char *from, const st_split_options *options, const char *wanted)
{
    stale_log log = {.stop_at = 0};
    st_checkpoint *checkpoint = model_open(from);
    st_split *split = split_of(checkpoint, options);
    CHECK_OK(st_split_stale(split, model_path("out"), stale_log_name, &log, &error));
    assert_string_equal(log.text, wanted);
    if (log.count) {
        st_error said = {.status = ST_OK};
        log = (stale_log){.stop_at = log.count};
        assert_int_equal(st_split_stale(split, model_path("out"), stale_log_name, &log, &said),
                         ST_ERR_STOPPED);
        assert_int_equal(said.status, ST_ERR_STOPPED);
    }
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

/* Shards of older splits go, and nothing else does. */
static void test_clean(void **state)
{
    (void)state;
    static const char *const others[] = {"out/model.safetensors",
                                         "out/model-1-of-00002.safetensors",
                                         "out/model-00001.of-00002.safetensors",
                                         "out/model-00001-of-2.safetensors",
                                         "out/model-00001-of-00002.safetensors.old",
                                         "out/other-00001-of-00002.safetensors",
                                         "out/other.safetensors.index.json",
                                         "out/amodel-00001-of-00003.safetensors"};
    static const char *const strays[] = {"out/model-00001-of-00003.safetensors",
                                         "out/model-00003-of-00002.safetensors",
                                         "out/model-100000-of-123456.safetensors"};
    const st_split_options two = {.max_shard_size = 3, .clean = true}, one = {.clean = true};
    model_tensors("in.safetensors", "a:3 b:3", NULL);
    check_stale("in.safetensors", &two, "");
    assert_int_equal(mkdir(model_path("out"), 0777), 0);
    assert_int_equal(mkdir(model_path("out/model-00007-of-00009.safetensors"), 0777), 0);
    for (size_t to_one = 0; to_one < 2; to_one++) {
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
            model_text(others[i], "x");
        for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++)
            model_text(strays[i], "x");
        model_text("kept", "x");
        assert_int_equal(
            symlink(model_path("kept"), model_path("out/model-00009-of-00009.safetensors")), 0);
        check_stale("in.safetensors", to_one ? &one : &two,
                    to_one ? "model-00001-of-00002.safetensors model-00001-of-00003.safetensors "
                             "model-00002-of-00002.safetensors model-00003-of-00002.safetensors "
                             "model-00009-of-00009.safetensors model-100000-of-123456.safetensors"
                           : "model-00001-of-00003.safetensors model-00003-of-00002.safetensors "
                             "model-00009-of-00009.safetensors model-100000-of-123456.safetensors");
        split_into("in.safetensors", "out", to_one ? &one : &two);
        check_stale("in.safetensors", to_one ? &one : &two, "");
        for (size_t i = to_one; i < sizeof others / sizeof others[0]; i++)
            check_text(others[i], "x");
        for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++)
            assert_false(model_has(strays[i]));
        check_text("kept", "x");
        assert_false(model_has("out/model-00009-of-00009.safetensors"));
        assert_true(model_has("out/model-00007-of-00009.safetensors"));
        st_checkpoint *checkpoint =
            model_open(to_one ? "out/model.safetensors" : "out/model.safetensors.index.json");
        assert_string_equal(model_list(checkpoint), to_one ? "0/a 0/b" : "0/a 1/b");
        st_checkpoint_close(checkpoint);
    }
    assert_false(model_has("out/model.safetensors.index.json"));
}

/* The shards that are split anew in their own folder are old ones then. */
static void test_clean_own(void **state)
{
    (void)state;
    model_tensors("in.safetensors", "a:3 b:3 c:3", NULL);
    split_into("in.safetensors", "out", &(st_split_options){.max_shard_size = 3});
    assert_true(model_has("out/model-00003-of-00003.safetensors"));
    split_into("out", "out", &(st_split_options){.max_shard_size = 6, .clean = true});
    assert_false(model_has("out/model-00001-of-00003.safetensors"));
    assert_false(model_has("out/model-00003-of-00003.safetensors"));
    st_checkpoint *checkpoint = model_open("out");
    assert_string_equal(model_list(checkpoint), "0/a 0/b 1/c");
    st_checkpoint_close(checkpoint);
    /* What cannot be written removes nothing. */
    st_error said;
    checkpoint = model_open("out");
    st_split *split = split_of(
        checkpoint, &(st_split_options){.max_shard_size = 3, .clean = true, .flags = ST_SINK_NEW});
    assert_int_equal(st_split_write(split, model_path("out"), &said), ST_ERR_IO);
    assert_int_equal(said.sys_errno, EEXIST);
    assert_true(model_has("out/model-00001-of-00002.safetensors"));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

/* Shards that take the places of the files they are made of: shard 1 takes a tensor out of file 2. */
static void test_replaced(void **state)
{
    (void)state;
    model_tensors("model-00001-of-00002.safetensors", "a:3 b:3", NULL);
    model_tensors("model-00002-of-00002.safetensors", "c:3 d:3 e:3", NULL);
    model_text("model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\",\"b\":\"model-00001-of-"
               "00002.safetensors\",\"c\":\"model-00002-of-00002.safetensors\",\"d\":\"model-00002-"
               "of-00002.safetensors\",\"e\":\"model-00002-of-00002.safetensors\"}}");
    split_into("", "", &(st_split_options){.max_shard_size = 9});
    st_checkpoint *checkpoint = model_open("");
    assert_string_equal(model_list(checkpoint), "0/a 0/b 0/c 1/d 1/e");
    st_checkpoint_tensor found;
    char got[3];
    assert_true(st_checkpoint_find(checkpoint, "c", 1, &found));
    CHECK_OK(st_file_read(found.file, found.tensor, NULL, got, 3, &error));
    assert_memory_equal(got, "ccc", 3);
    assert_int_equal(st_file_count(st_checkpoint_file(checkpoint, 1)), 2);
    st_checkpoint_close(checkpoint);
}

/* Shards that replace, through links, the files they are made of: first one that is made of both, then two of which each
 * is made of the other's. */
static void test_circle(void **state)
{
    (void)state;
    model_tensors("model-00001-of-00002.safetensors", "a:1 z:9", NULL);
    model_tensors("model-00002-of-00002.safetensors", "c:2", NULL);
    model_text("i.json",
               "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\",\"z\":\"model-"
               "00001-of-00002.safetensors\",\"c\":\"model-00002-of-00002.safetensors\"}}");
    assert_int_equal(mkdir(model_path("links"), 0777), 0);
    for (int i = 1; i <= 2; i++) {
        char to[64], path[64];
        snprintf(to, sizeof to, "../model-0000%d-of-00002.safetensors", i);
        snprintf(path, sizeof path, "links/model-0000%d-of-00002.safetensors", i);
        assert_int_equal(symlink(to, model_path(path)), 0);
    }
    st_checkpoint *checkpoint = model_open("i.json");
    st_split *split = split_of(checkpoint, &(st_split_options){.max_shard_size = 4});
    assert_string_equal(split_text(split), "model-00001-of-00002.safetensors=z "
                                           "model-00002-of-00002.safetensors=a,c");
    CHECK_OK(st_split_write(split, model_path("links"), &error));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    checkpoint = model_open("links");
    assert_string_equal(model_list(checkpoint), "0/z 1/a 1/c");
    st_checkpoint_close(checkpoint);

    model_tensors("model-00001-of-00002.safetensors", "b:1 c:2", NULL);
    model_tensors("model-00002-of-00002.safetensors", "z:9", NULL);
    model_text("i.json",
               "{\"weight_map\":{\"b\":\"model-00001-of-00002.safetensors\",\"c\":\"model-"
               "00001-of-00002.safetensors\",\"z\":\"model-00002-of-00002.safetensors\"}}");
    checkpoint = model_open("i.json");
    split = split_of(checkpoint, &(st_split_options){.max_shard_size = 4});
    assert_string_equal(split_text(split), "model-00001-of-00002.safetensors=z "
                                           "model-00002-of-00002.safetensors=b,c");
    unlink(model_path("links/model.safetensors.index.json"));
    CHECK_OK(st_split_write(split, model_path("links"), &error));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    for (int i = 0; i < 2; i++) {
        checkpoint = model_open(i ? "links" : "model-00002-of-00002.safetensors");
        assert_string_equal(model_list(checkpoint), i ? "0/z 1/b 1/c" : "0/b 0/c");
        st_checkpoint_close(checkpoint);
    }
    struct stat info;
    assert_int_equal(lstat(model_path("links/model-00001-of-00002.safetensors"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

/* Two shards would be one file. */
static void test_one_place(void **state)
{
    (void)state;
    model_tensors("in.safetensors", SIX, NULL);
    assert_int_equal(mkdir(model_path("out"), 0777), 0);
    assert_int_equal(symlink("model-00003-of-00003.safetensors",
                             model_path("out/model-00001-of-00003.safetensors")),
                     0);
    st_checkpoint *checkpoint = model_open("in.safetensors");
    st_split *split = split_of(checkpoint, &(st_split_options){.max_shard_size = 10});
    CHECK_ERR_TEXT(st_split_write(split, model_path("out"), &error), ST_ERR_UNSUPPORTED,
                   ST_NO_OFFSET, "under another name");
    assert_string_equal(model_names("out"), "model-00001-of-00003.safetensors");
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

/* -------------------------------------------------------------------------------- the rest */

static void test_folders(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        int reason;
    } folders[] = {{"no/such", ENOENT}, {"in.safetensors", ENOTDIR}, {"in.safetensors/x", ENOTDIR}};
    model_tensors("in.safetensors", SIX, NULL);
    st_checkpoint *checkpoint = model_open("in.safetensors");
    st_split *split = split_of(checkpoint, NULL);
    for (size_t i = 0; i < 3; i++) {
        st_error said;
        assert_int_equal(st_split_write(split, model_path(folders[i].folder), &said), ST_ERR_IO);
        assert_int_equal(said.sys_errno, folders[i].reason);
        assert_non_null(strstr(said.message, folders[i].folder));
    }
    CHECK_ERR(st_split_write(split, "", &error), ST_ERR_IO, ST_NO_OFFSET);
    char before[1024];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(model_folder), 0);
    CHECK_OK(st_split_write(split, "here", &error));
    CHECK_OK(st_split_write(split, ".", &error));
    assert_int_equal(chdir(before), 0);
    assert_true(model_has("here/model.safetensors") && model_has("model.safetensors"));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

static bool progress_note(void *ctx, uint64_t done, uint64_t total)
{
    told *t = ctx;
    assert_int_equal(total, 24);
    assert_true(done >= t->done && done <= total);
    t->done = done;
    t->calls++;
    return t->stop_at == 0 || done < t->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    model_tensors("in.safetensors", SIX, NULL);
    told t = {.done = 0};
    st_split_options options = {.max_shard_size = 10, .progress = {progress_note, &t}};
    split_into("in.safetensors", "out", &options);
    assert_int_equal(t.done, 24);
    assert_true(t.calls >= 3);
    t = (told){.stop_at = 14};
    st_checkpoint *checkpoint = model_open("in.safetensors");
    st_split *split = split_of(checkpoint, &options);
    CHECK_ERR(st_split_write(split, model_path("stopped"), &error), ST_ERR_STOPPED, ST_NO_OFFSET);
    assert_string_equal(model_names("stopped"), "");
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

static void test_oom(void **state)
{
    (void)state;
    model_tensors("in.safetensors", SIX, "{\"format\":\"pt\",\"k\":\"v\"}");
    st_checkpoint *checkpoint = model_open("in.safetensors");
    for (int to_one = 0; to_one < 2; to_one++) {
        ST_OOM_LOOP(context, status)
        {
            st_split_options options = {
                .shard_count = to_one ? 1 : 3, .clean = true, .context = context};
            st_split *split = NULL;
            stale_log log = {.stop_at = 0};
            st_error said = {.status = ST_OK};
            if (model_has("out"))
                model_text("out/model-00009-of-00009.safetensors", "x");
            status = st_split_new(checkpoint, &options, &split, NULL);
            if (status == ST_OK)
                status = st_split_stale(split, model_path("out"), stale_log_name, &log, &said);
            if (status == ST_OK)
                status = st_split_write(split, model_path("out"), &said);
            if (split && status == ST_ERR_NOMEM)
                assert_non_null(strstr(said.message, "out of memory"));
            st_split_free(split);
        }
        assert_false(model_has("out/model-00009-of-00009.safetensors"));
    }
    st_checkpoint_close(checkpoint);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, model_setup, model_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_plan),          EACH(test_refused),   EACH(test_write),    EACH(test_empty),
        EACH(test_unknown_dtype), EACH(test_new_only),  EACH(test_in_place), EACH(test_replaced),
        EACH(test_circle),        EACH(test_one_place), EACH(test_strays),   EACH(test_folders),
        EACH(test_progress),      EACH(test_oom),       EACH(test_clean),    EACH(test_clean_own),
    };
    return cmocka_run_group_tests_name("split", tests, NULL, NULL);
}
