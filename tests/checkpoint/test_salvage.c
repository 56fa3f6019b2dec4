/* SPDX-License-Identifier: Apache-2.0 */
/* What is saved of damaged checkpoints: the files that are there, and an index of what is in them then. */
#include "checkpoint/model.h"
#include "support/oom.h"

#include <errno.h>

#define FIRST  "m-1.safetensors"
#define SECOND "m-2.safetensors"
#define INDEX  "m.safetensors.index.json"
#define MAP    "\"weight_map\":{\"a\":\"" FIRST "\",\"b\":\"" FIRST "\",\"c\":\"" SECOND "\"}"

/* What was told, in words: "+NAME item item -saved/lost" for each part, "!status" for one that failed. */
typedef struct part_log {
    char text[2048];
    unsigned calls;
    unsigned stop_at; /* the number of the call that says so; 0: none */
    bool goes_on;     /* without what failed */
} part_log;

static bool log_count(part_log *log)
{
    return ++log->calls != log->stop_at;
}

static void log_put(part_log *log, const char *text)
{
    size_t len = strlen(log->text);
    snprintf(log->text + len, sizeof log->text - len, "%s%s", len ? " " : "", text);
}

static const char *name_in(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool part_begin(void *ctx, const st_checkpoint_salvage_part *part)
{
    part_log *log = ctx;
    char text[300];
    snprintf(text, sizeof text, "+%s", name_in(part->path));
    log_put(log, text);
    assert_null(part->summary);
    assert_null(part->why);
    assert_int_equal(part->index, strstr(part->path, ".json") != NULL);
    if (part->target)
        assert_string_equal(name_in(part->target), name_in(part->path));
    return log_count(log);
}

static bool part_item(void *ctx, const st_salvage_item *item)
{
    static const char *const kinds[] = {"", "saved:", "changed:", "lost:"};
    part_log *log = ctx;
    char text[300];
    assert_true(strlen(item->message) > 0);
    snprintf(text, sizeof text, "%s%s", kinds[item->kind],
             item->rule ? item->rule->id : item->new_name);
    log_put(log, text);
    return log_count(log);
}

static bool part_end(void *ctx, const st_checkpoint_salvage_part *part)
{
    part_log *log = ctx;
    char text[300];
    assert_true((part->summary == NULL) == (part->why != NULL));
    if (part->why)
        snprintf(text, sizeof text, "!%s", st_status_name(part->why->status));
    else
        snprintf(text, sizeof text, "-%u/%u", (unsigned)part->summary->saved,
                 (unsigned)part->summary->lost);
    log_put(log, text);
    return log_count(log) && (!part->why || log->goes_on);
}

static bool part_progress(void *ctx, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    return log_count(ctx);
}

static st_status run_of(const char *from, const char *to, part_log *log,
                        st_checkpoint_salvage_summary *out, st_error *said)
{
    const st_checkpoint_salvage_options how = {
        .begin = part_begin, .item = part_item, .end = part_end, .ctx = log};
    return st_checkpoint_salvage(model_path(from), NULL, model_path(to), log ? &how : NULL, out,
                                 said);
}

static void check_text(const char *name, const char *wanted)
{
    size_t size;
    char *text = model_read(name, &size);
    assert_string_equal(text, wanted);
    free(text);
}

static void out_remove(void)
{
    model_empty(model_path("out"));
    assert_int_equal(rmdir(model_path("out")), 0);
}

static void check_refused(const char *from, const char *to, st_status status, const char *what)
{
    st_error said = {.status = ST_OK};
    st_checkpoint_salvage_summary out, before;
    memset(&out, 0x55, sizeof out);
    before = out;
    if (run_of(from, to, NULL, &out, &said) != status || said.status != status ||
        said.offset != ST_NO_OFFSET || !strstr(said.message, what))
        fail_msg("%s, %s", st_status_name(said.status), said.message);
    assert_memory_equal(&out, &before, sizeof out);
}

/* A model in the folder "in": its first shard lacks the end of its tensor b. */
static void damaged_model(const char *metadata)
{
    char index[1024];
    (void)mkdir(model_path("in"), 0777);
    model_tensors("in/" FIRST, "a:2 b:3", "{\"k\":\"v\",\"format\":\"pt\",\"s\":\"shards\"}");
    model_tensors("in/" SECOND, "c:4", "{\"k\":\"v\",\"format\":\"pt\",\"s\":\"shards\"}");
    struct stat info;
    assert_int_equal(stat(model_path("in/" FIRST), &info), 0);
    assert_int_equal(truncate(model_path("in/" FIRST), info.st_size - 1), 0);
    snprintf(index, sizeof index, "{%s%s}", metadata, MAP);
    model_text("in/" INDEX, index);
}

#define NEW_MAP                \
 "  \"weight_map\": {\n"       \
 "    \"a\": \"" FIRST "\",\n" \
 "    \"c\": \"" SECOND "\"\n  }\n}"

static void test_index(void **state)
{
    (void)state;
    st_checkpoint_salvage_summary out;
    damaged_model("\"metadata\":{\"total_size\":8,\"total_parameters\":9,\"k\":\"index\","
                  "\"n\":1.50,\"o\":{\"p\": [null, \"\\u00e9\"]},\"format\":\"x\"},");
    for (int by_index = 0; by_index < 2; by_index++) {
        part_log log = {.calls = 0};
        CHECK_OK(run_of(by_index ? "in/" INDEX : "in", "out", &log, &out, &error));
        assert_string_equal(log.text, "+" FIRST " saved:a lost:file-truncated -1/1 +" SECOND
                                      " saved:c -1/0 +" INDEX " -0/0");
        assert_int_equal(out.files, 2);
        assert_int_equal(out.files_lost + out.files_failed, 0);
        assert_true(out.index);
        assert_int_equal(out.sum.saved, 2);
        assert_int_equal(out.sum.lost, 1);
        assert_int_equal(out.sum.errors, 1);
        assert_int_equal(out.sum.bytes, 6);
        assert_int_equal(out.sum.metadata, 6);
        check_text("out/" INDEX, "{\n  \"metadata\": {\n    \"total_size\": 6,\n"
                                 "    \"s\": \"shards\",\n    \"k\": \"index\",\n"
                                 "    \"n\": 1.50,\n    \"o\": {\"p\": [null, \"\\u00e9\"]},\n"
                                 "    \"format\": \"x\"\n  },\n" NEW_MAP);
        st_checkpoint_summary checked;
        CHECK_OK(st_checkpoint_check(model_path("out"), NULL, NULL, &checked, &error));
        assert_int_equal(checked.errors + checked.warnings + checked.files_refused, 0);
        st_checkpoint *saved = model_open("out");
        assert_string_equal(model_list(saved), "0/a 1/c");
        st_checkpoint_close(saved);
        out_remove();
    }
}

/* Of what is wrong with the old index as much is taken over as its parser makes of it. */
static void test_index_metadata(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        const char *metadata; /* behind total_size, and what all shards have */
        const char *told;
    } cases[] = {
        {"{\"metadata\":{\"total_parameters\":3,\"x\":\"1\"},\"weight_map\":{\"a\":\"" FIRST
         "\",\"c\":\"" SECOND "\"}}",
         "\"k\": \"v\",\n    \"s\": \"shards\",\n    \"total_parameters\": 3,\n    \"x\": \"1\"",
         "-0/0"},
        {"{\"metadata\":{\"total_parameters\":\"3\"},\"weight_map\":{\"a\":\"" FIRST
         "\",\"c\":\"" SECOND "\"}}",
         "\"k\": \"v\",\n    \"s\": \"shards\"", "-0/0"},
        {"{\"metadata\":{\"total_parameters\":3},\"weight_map\":{\"a\":\"" FIRST "\"}}",
         "\"k\": \"v\",\n    \"s\": \"shards\",\n    \"total_parameters\": 3", "-0/0"},
        {"{\"metadata\":{\"x\":\"1\",\"y\":2,\"x\":3,\"x\":\"\\n\"}," MAP "}",
         "\"k\": \"v\",\n    \"s\": \"shards\",\n    \"x\": \"\\n\",\n    \"y\": 2",
         "lost:index-metadata-duplicate lost:index-metadata-duplicate -0/2"},
        {"{\"metadata\":[1]," MAP "}", "\"k\": \"v\",\n    \"s\": \"shards\"",
         "lost:index-json -0/1"},
        {"{\"metadata\":{\"x\":\"1\"}," MAP ",\"n\":", "\"k\": \"v\",\n    \"s\": \"shards\"",
         "lost:index-json -0/1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        part_log log = {.calls = 0};
        char wanted[1024];
        damaged_model("");
        model_text("in/" INDEX, cases[i].index);
        CHECK_OK(run_of(i % 2 ? "in" : "in/" INDEX, "out", &log, NULL, &error));
        bool both = strstr(cases[i].index, SECOND) != NULL;
        snprintf(wanted, sizeof wanted,
                 "{\n  \"metadata\": {\n    \"total_size\": %d,\n    %s\n  },\n%s", both ? 6 : 2,
                 cases[i].metadata,
                 both ? NEW_MAP : "  \"weight_map\": {\n    \"a\": \"" FIRST "\"\n  }\n}");
        assert_non_null(strstr(log.text, cases[i].told));
        check_text("out/" INDEX, wanted);
        out_remove();
    }
}

static void test_no_index(void **state)
{
    (void)state;
    part_log log = {.calls = 0};
    st_checkpoint_salvage_summary out;
    damaged_model("");
    assert_int_equal(unlink(model_path("in/" INDEX)), 0);
    assert_int_equal(mkdir(model_path("out"), 0777), 0);
    CHECK_OK(run_of("in", "out", &log, &out, &error));
    assert_string_equal(log.text,
                        "+" FIRST " saved:a lost:file-truncated -1/1 +" SECOND " saved:c -1/0");
    assert_false(out.index);
    assert_true(model_has("out/" FIRST) && model_has("out/" SECOND));
    out_remove();
    CHECK_OK(st_checkpoint_salvage(model_path("in/" SECOND), NULL, model_path("out"), NULL, &out,
                                   &error));
    assert_int_equal(out.files, 1);
    assert_true(model_has("out/" SECOND) && !model_has("out/" FIRST));
}

static void test_dry_run(void **state)
{
    (void)state;
    st_checkpoint_salvage_summary told, done;
    damaged_model("");
    for (int named = 0; named < 2; named++) {
        part_log log = {.calls = 0};
        const st_checkpoint_salvage_options how = {
            .begin = part_begin, .item = part_item, .end = part_end, .ctx = &log, .dry_run = true};
        CHECK_OK(st_checkpoint_salvage(model_path("in"), NULL, named ? model_path("out") : NULL,
                                       &how, &told, &error));
        assert_false(model_has("out"));
    }
    CHECK_OK(run_of("in", "out", NULL, &done, &error));
    assert_memory_equal(&told, &done, sizeof told);
    st_error said;
    const st_checkpoint_salvage_options how = {.dry_run = true};
    assert_int_equal(
        st_checkpoint_salvage(model_path("in"), NULL, model_path("out"), &how, NULL, &said),
        ST_ERR_ARGUMENT);
}

static void test_refusals(void **state)
{
    (void)state;
    st_error said;
    damaged_model("");
    check_refused("in", "in", ST_ERR_ARGUMENT, "is not empty; name a new folder");
    check_refused("in", "in/" FIRST, ST_ERR_IO, "cannot be listed");
    check_refused("in", "none/out", ST_ERR_IO, "none/out");
    check_refused("none", "out", ST_ERR_IO, "none");
    model_text("in/n.safetensors.index.json", "{\"weight_map\":{}}");
    check_refused("in", "out", ST_ERR_ARGUMENT, "in: holds 2 indices; name the one to be saved");
    model_text("in/n.safetensors.index.json", "{\"weight_map\":{\"a\":\"gone.safetensors\"}}");
    check_refused("in/n.safetensors.index.json", "out", ST_ERR_NOT_FOUND,
                  "index.json: none of its files is there");
    assert_int_equal(mkdir(model_path("in/sub"), 0777), 0);
    model_tensors("in/sub/" SECOND, "d:1", NULL);
    model_text("in/n.safetensors.index.json",
               "{\"weight_map\":{\"c\":\"" SECOND "\",\"d\":\"sub/" SECOND "\"}}");
    check_refused("in/n.safetensors.index.json", "out", ST_ERR_ARGUMENT,
                  "\"" SECOND "\" and \"sub/" SECOND "\" would be one file; save them one by one");
    assert_int_equal(st_checkpoint_salvage(model_path("in"), NULL, NULL, NULL, NULL, &said),
                     ST_ERR_ARGUMENT);
    assert_non_null(strstr(said.message, "needs a folder"));
    const st_checkpoint_salvage_options wrong[] = {{.durability = 77}, {.reserved = {[7] = 1}}};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(st_checkpoint_salvage(model_path("in"), NULL, model_path("out"), &wrong[i],
                                               NULL, &said),
                         ST_ERR_ARGUMENT);
    const st_open_options unknown = {.flags = UINT32_C(1) << 31};
    assert_int_equal(
        st_checkpoint_salvage(model_path("in"), &unknown, model_path("out"), NULL, NULL, &said),
        ST_ERR_ARGUMENT);
    assert_false(model_has("out"));
}

/* A folder that was there stays, one that would be made does not. */
static void test_nothing_to_save(void **state)
{
    (void)state;
    st_checkpoint_salvage_summary out;
    damaged_model("");
    model_text("in/" FIRST, "short");
    model_text("in/" SECOND, "short");
    for (int there = 0; there < 2; there++) {
        if (there)
            assert_int_equal(mkdir(model_path("out"), 0777), 0);
        CHECK_OK(run_of("in", "out", NULL, &out, &error));
        assert_int_equal(out.files, 0);
        assert_int_equal(out.files_lost, 2);
        assert_false(out.index);
        assert_int_equal(model_has("out"), there);
    }
    out_remove();
}

/* What cannot be read: the others are saved if that is asked for. */
static void test_unreadable(void **state)
{
    (void)state;
    st_checkpoint_salvage_summary out;
    st_error said;
    damaged_model("");
    assert_int_equal(unlink(model_path("in/" SECOND)), 0);
    assert_int_equal(mkdir(model_path("in/" SECOND), 0777), 0);
    check_refused("in", "out", ST_ERR_NOT_REGULAR, SECOND);
    part_log log = {.goes_on = false};
    assert_int_equal(run_of("in", "out", &log, &out, &said), ST_ERR_NOT_REGULAR);
    assert_false(model_has("out"));
    log = (part_log){.goes_on = true};
    CHECK_OK(run_of("in", "out", &log, &out, &error));
    assert_non_null(strstr(log.text, "+" SECOND " !ST_ERR_NOT_REGULAR +" INDEX));
    assert_int_equal(out.files, 1);
    assert_int_equal(out.files_failed, 1);
    assert_int_equal(out.files_lost, 0);
    assert_true(model_has("out/" INDEX) && !model_has("out/" SECOND));
}

/* Two files have a tensor of one name, of which an index could name one only. */
static void test_name_twice(void **state)
{
    (void)state;
    st_checkpoint_salvage_summary out;
    st_error said = {.status = ST_OK};
    damaged_model("");
    model_tensors("in/" SECOND, "a:1 c:4", NULL);
    part_log log = {.goes_on = true};
    CHECK_OK(run_of("in", "out", &log, &out, &error));
    assert_non_null(strstr(log.text, "!ST_ERR_NAME_DUPLICATE"));
    assert_false(out.index);
    assert_int_equal(out.files_failed, 0);
    assert_true(model_has("out/" FIRST) && model_has("out/" SECOND) && !model_has("out/" INDEX));
    out_remove();
    log = (part_log){.goes_on = false};
    assert_int_equal(run_of("in", "out", &log, &out, &said), ST_ERR_NAME_DUPLICATE);
    assert_non_null(strstr(said.message, "tensor \"a\""));
    assert_false(model_has("out"));
}

/* Ended by each call in turn, it leaves nothing. */
static void test_stops(void **state)
{
    (void)state;
    damaged_model("\"metadata\":{\"total_size\":1},");
    for (int there = 0; there < 2; there++) {
        st_status status = ST_ERR_STOPPED;
        for (unsigned n = 1; status != ST_OK; n++) {
            part_log log = {.stop_at = n};
            st_error said = {.status = ST_OK};
            const st_checkpoint_salvage_options how = {.begin = part_begin,
                                                       .item = part_item,
                                                       .end = part_end,
                                                       .ctx = &log,
                                                       .progress = {part_progress, &log}};
            if (there && !model_has("out"))
                assert_int_equal(mkdir(model_path("out"), 0777), 0);
            status =
                st_checkpoint_salvage(model_path("in"), NULL, model_path("out"), &how, NULL, &said);
            if (status == ST_OK) {
                assert_true(n > 12);
                out_remove();
                break;
            }
            assert_int_equal(status, ST_ERR_STOPPED);
            assert_in_range(log.calls, n, n + 1); /* the end of what was stopped is told */
            assert_int_equal(model_has("out"), there);
            if (there)
                assert_int_equal(rmdir(model_path("out")), 0);
        }
    }
}

static void test_oom(void **state)
{
    (void)state;
    damaged_model("\"metadata\":{\"total_size\":1,\"x\":\"y\",\"total_parameters\":1},");
    ST_OOM_LOOP(context, status)
    {
        const st_open_options options = {.context = context};
        st_error said = {.status = ST_OK};
        status =
            st_checkpoint_salvage(model_path("in"), &options, model_path("out"), NULL, NULL, &said);
        assert_int_equal(model_has("out"), status == ST_OK);
        if (status == ST_OK)
            out_remove();
        else
            assert_non_null(strstr(said.message, model_folder));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_index, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_index_metadata, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_no_index, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_dry_run, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_to_save, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_name_twice, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_stops, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(test_oom, model_setup, model_teardown),
    };
    return cmocka_run_group_tests_name("checkpoint_salvage", tests, NULL, NULL);
}
