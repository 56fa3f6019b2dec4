/* SPDX-License-Identifier: Apache-2.0 */
/* The check of a checkpoint: each rule with its status and its place, that it agrees with opening, and who is told. */
#include "checkpoint/model.h"
#include "support/oom.h"

#include <safetensors/inspect.h>

#include <inttypes.h>
#include <unistd.h>

/* What was told, a line for each: "rule@offset name" of a finding, "+shard" of a file, "=path" of an end. */
typedef struct told {
    char lines[4096];
    uint64_t calls;
    uint64_t stop_at; /* the call that ends the check; 0: none */
    bool keeps_on;    /* after a file that cannot be read */
    st_status why;    /* of the last one that something is wrong with */
    bool held;        /* a status of an error was this: */
    st_status wanted;
    size_t descriptors; /* the most that were open */
} told;

static size_t descriptors_open(void)
{
    size_t count = 0;
    DIR *list = opendir("/proc/self/fd");
    while (list && readdir(list))
        count++;
    if (list)
        closedir(list);
    return count;
}

static bool told_add(told *log, const char *line)
{
    size_t used = strlen(log->lines);
    snprintf(log->lines + used, sizeof log->lines - used, "%s\n", line);
    return ++log->calls != log->stop_at;
}

static bool take_finding(void *ctx, const char *path, const st_finding *finding)
{
    told *log = ctx;
    char line[256], offset[32] = "-";
    assert_true(strncmp(path, model_folder, strlen(model_folder)) == 0);
    assert_int_equal(finding->severity, finding->rule->severity);
    assert_int_equal(finding->status, finding->rule->status);
    assert_true((finding->severity == ST_SEVERITY_ERROR) == (finding->status != ST_OK));
    assert_null(strstr(finding->message, path));
    log->held |= finding->status != ST_OK && finding->status == log->wanted;
    if (finding->offset != ST_NO_OFFSET)
        snprintf(offset, sizeof offset, "%" PRIu64, finding->offset);
    snprintf(line, sizeof line, "%s@%s %.*s", finding->rule->id, offset, (int)finding->name_len,
             finding->name ? finding->name : "");
    return told_add(log, line);
}

static bool take_shard(void *ctx, const st_checkpoint_shard *shard)
{
    told *log = ctx;
    char line[256];
    assert_true(strncmp(shard->path, model_folder, strlen(model_folder)) == 0);
    assert_null(strstr(shard->path, "/.."));
    size_t open = descriptors_open();
    if (open > log->descriptors)
        log->descriptors = open;
    if (shard->source)
        assert_string_equal(st_source_name(shard->source), shard->path);
    if (shard->why) {
        assert_int_not_equal(shard->why->status, ST_OK);
        log->why = shard->why->status;
        log->held |= log->why == log->wanted;
    }
    snprintf(line, sizeof line, "+%s%s", shard->name,
             !shard->why     ? ""
             : shard->source ? " bad"
                             : " unreadable");
    return told_add(log, line) && (shard->source || log->keeps_on);
}

static bool take_end(void *ctx, const char *path, const st_checkpoint_summary *summary)
{
    char line[512];
    const char *name = path + strlen(model_folder);
    snprintf(line, sizeof line,
             "=%s errors %" PRIu64 " warnings %" PRIu64 " indices %" PRIu64 " files %" PRIu64
             " bad %" PRIu64 " tensors %" PRIu64,
             name, summary->errors, summary->warnings, summary->indices, summary->files,
             summary->files_refused, summary->tensors);
    return told_add(ctx, line);
}

static st_checkpoint_observer observer_of(told *log)
{
    return (st_checkpoint_observer){
        .finding = take_finding, .shard = take_shard, .end = take_end, .ctx = log};
}

/* Checks what is called so in the folder, and compares the outcome with that of opening it. */
static st_checkpoint_summary check_of(const char *name, told *log)
{
    st_checkpoint_summary summary, counted;
    st_checkpoint *checkpoint;
    st_error said = {.status = ST_OK};
    *log = (told){.wanted = st_checkpoint_open(model_path(name), NULL, &checkpoint, &said)};
    const st_checkpoint_observer observer = observer_of(log);
    if (log->wanted == ST_OK)
        st_checkpoint_close(checkpoint);
    CHECK_OK(st_checkpoint_check(model_path(name), NULL, &observer, &summary, &error));
    assert_true((summary.errors == 0 && summary.files_refused == 0) == (log->wanted == ST_OK));
    assert_true(log->held == (log->wanted != ST_OK));
    CHECK_OK(st_checkpoint_check(model_path(name), NULL, NULL, &counted, &error));
    assert_memory_equal(&counted, &summary, sizeof counted);
    return summary;
}

static void expect_told(const told *log, const char *lines)
{
    assert_string_equal(log->lines, lines);
}

static int check_setup(void **state)
{
    (void)model_setup(state);
    model_tensors("one.safetensors", "a:6 x:3", NULL);
    model_tensors("two.safetensors", "b:2", NULL);
    return 0;
}

/* ---------------------------------------------------------------------------------- indices */

#define MAP_OF(entries) "{\"weight_map\":{" entries "}}"
#define A               "\"a\":\"one.safetensors\""
#define X               "\"x\":\"one.safetensors\""
#define B               "\"b\":\"two.safetensors\""
#define ALL             A "," X "," B
#define METADATA_OF(of) "{\"metadata\":" of ",\"weight_map\":{" ALL "}}"
#define BOTH            "+one.safetensors\n+two.safetensors\n"

/* Each deviation of an index: where it is, what is told of it and of the files, in this order. `mark` is where the offset
 * of the "@" in `lines` is, from behind it on. */
static const struct {
    const char *text;
    const char *lines;
    const char *mark;
    size_t more;
    uint64_t errors, warnings;
} indices[] = {
    {MAP_OF(ALL), BOTH, NULL, 0, 0, 0},
    {"{" ALL "}", BOTH, NULL, 0, 0, 0},
    {METADATA_OF("{\"total_size\":11}"), BOTH, NULL, 0, 0, 0},
    {METADATA_OF("{\"total_size\":11.0,\"k\":[]}"), BOTH, NULL, 0, 0, 0},
    {METADATA_OF("null"), BOTH, NULL, 0, 0, 0},
    {"", "index-json@0 \n", NULL, 0, 1, 0},
    {"{", "index-json@1 \n", NULL, 0, 1, 0},
    {"[]", "index-json@0 \n", NULL, 0, 1, 0},
    {"{}", "index-json@0 \n", NULL, 0, 1, 0},
    {MAP_OF(A) "x", "index-json@@ \n", "}x", 1, 1, 0},
    {"{\"weight_map\":7}", "index-json@@ \n", "7", 0, 1, 0},
    {"{\"weight_map\":[{}]}", "index-json@@ \n", "[", 0, 1, 0},
    {"{\"hidden_size\":7,\"n\":8}", "index-json@@ \n", "7", 0, 1, 0},
    {"{\"metadata\":{\"a\":\"b.safetensors\"}}", "index-json@@ \n", "{\"a\"", 0, 1, 0},
    {METADATA_OF("[{}]"), "index-json@@ \n" BOTH, "[", 0, 1, 0},
    {METADATA_OF("{},\"metadata\":{}"), "index-json@@ \n" BOTH, "\"metadata\":{},\"w", 0, 1, 0},
    {MAP_OF(A "," X "},\"weight_map\":{" B), "index-json@@ \n" BOTH, ",\"weight", 1, 1, 0},
    {MAP_OF("\"c\":[{},7]," ALL), "index-json@@ \n" BOTH, "[", 0, 1, 0},
    {MAP_OF(ALL ",\"c\":\"/etc/a.safetensors\""), "index-shard-name@@ c\n" BOTH, "\"/etc", 0, 1, 0},
    {MAP_OF(ALL ",\"c\":\"../one.safetensors\""), "index-shard-name@@ c\n" BOTH, "\"..", 0, 1, 0},
    {MAP_OF(ALL ",\"c\":\"\""), "index-shard-name@@ c\n" BOTH, "\"\"", 0, 1, 0},
    {MAP_OF(ALL ",\"b\":\"two.safetensors\""), "index-duplicate@@ b\n" BOTH,
     ",\"b\":\"two.safetensors\"}", 1, 1, 0},
    {METADATA_OF("{\"k\":1,\"k\":{}}"), "index-metadata-duplicate@@ \n" BOTH, ",\"k", 1, 1, 0},
    {MAP_OF(ALL ",\"c\":\"gone.safetensors\",\"d\":\"gone.safetensors\""),
     "index-shard-missing@@ \n" BOTH, "\"c\"", 0, 1, 0},
    {MAP_OF(ALL ",\"c\":\"one.safetensors/x.safetensors\""),
     "+one.safetensors\nindex-shard-missing@@ \n+two.safetensors\n", "\"c\"", 0, 1, 0},
    {MAP_OF(ALL ",\"q\":\"two.safetensors\""), BOTH "index-tensor-missing@@ q\n", "\"q\"", 0, 1, 0},
    {MAP_OF(A "," B), "+one.safetensors\nindex-tensor-unlisted@- x\n+two.safetensors\n", NULL, 0, 0,
     1},
    {METADATA_OF("{\"total_size\":12}"), BOTH "index-total-size@@ \n", "12", 0, 0, 1},
    {METADATA_OF("{\"total_size\":11.5}"), "index-total-size@@ \n" BOTH, "11.5", 0, 0, 1},
    {METADATA_OF("{\"total_size\":-11}"), "index-total-size@@ \n" BOTH, "-11", 0, 0, 1},
    {METADATA_OF("{\"total_size\":1e300}"), "index-total-size@@ \n" BOTH, "1e300", 0, 0, 1},
    {METADATA_OF("{\"total_size\":[\"11\"]}"), "index-total-size@@ \n" BOTH, "[", 0, 0, 1},
    /* The sum of what is not there is not known. */
    {"{\"metadata\":{\"total_size\":12},\"weight_map\":{" ALL ",\"q\":\"two.safetensors\"}}",
     BOTH "index-tensor-missing@@ q\n", "\"q\"", 0, 1, 0},
    {"{\"metadata\":{\"total_size\":12},\"weight_map\":{" ALL ",\"q\":\"../two.safetensors\"}}",
     "index-shard-name@@ q\n" BOTH, "\"..", 0, 1, 0},
};

/* Puts the offset where "@@" is. */
static void lines_fill(char out[512], const char *lines, const char *text, const char *mark,
                       size_t more)
{
    const char *at = strstr(lines, "@@");
    if (!at) {
        strcpy(out, lines);
        return;
    }
    const char *place = strstr(text, mark);
    assert_non_null(place);
    snprintf(out, 512, "%.*s@%zu%s", (int)(at - lines), lines, (size_t)(place - text) + more,
             at + 2);
}

static void test_indices(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) {
        char expected[512];
        told log;
        model_text("i.json", indices[i].text);
        st_checkpoint_summary summary = check_of("i.json", &log);
        lines_fill(expected, indices[i].lines, indices[i].text, indices[i].mark, indices[i].more);
        char *end = strchr(log.lines, '=');
        assert_non_null(end);
        *end = '\0';
        if (strcmp(log.lines, expected) != 0 || summary.errors != indices[i].errors ||
            summary.warnings != indices[i].warnings)
            fail_msg("%s\n%s", indices[i].text, log.lines);
        assert_int_equal(summary.index_size, strlen(indices[i].text));
        assert_int_equal(summary.indices, 1);
    }
}

/* All of them, each where it is; of two entries of one name the last is the one that counts. */
static void test_goes_on(void **state)
{
    (void)state;
    told log;
    model_tensors("bad.safetensors", "e:1", NULL);
    assert_int_equal(truncate(model_path("bad.safetensors"), 20), 0);
    model_text("i.json",
               "{\"metadata\":{\"total_size\":true},\"weight_map\":{"
               "\"b\":\"one.safetensors\",\"a\":1,\"b\":\"two.safetensors\",\"u\":\"x\","
               "\"b\":\"two.safetensors\",\"e\":\"bad.safetensors\",\"c\":\"gone.safetensors\","
               "\"q\":\"two.safetensors\"}}");
    (void)check_of("i.json", &log);
    expect_told(&log, "index-total-size@26 \n"
                      "index-json@72 \n"
                      "index-shard-name@100 u\n"
                      "index-duplicate@74 b\n"
                      "index-duplicate@104 b\n"
                      "+bad.safetensors bad\n"
                      "index-shard-missing@148 \n"
                      "+one.safetensors\n"
                      "index-tensor-unlisted@- a\n"
                      "index-tensor-unlisted@- x\n"
                      "+two.safetensors\n"
                      "index-tensor-missing@171 q\n"
                      "=/i.json errors 6 warnings 3 indices 1 files 4 bad 1 tensors 6\n");
}

static void test_too_long(void **state)
{
    (void)state;
    told log = {.calls = 0};
    const st_checkpoint_observer observer = observer_of(&log);
    st_open_options options = {.max_header_size = 100};
    char text[200];
    memset(text, ' ', sizeof text);
    memcpy(text, "{}", 2);
    model_store("i.json", text, sizeof text);
    CHECK_OK(st_checkpoint_check(model_path("i.json"), &options, &observer, NULL, &error));
    expect_told(&log, "index-json@100 \n"
                      "=/i.json errors 1 warnings 0 indices 1 files 0 bad 0 tensors 0\n");
}

/* Names that only findings are made of: many, none of them there. */
static void test_many(void **state)
{
    (void)state;
    static char text[400000];
    size_t len = (size_t)sprintf(text, "{");
    for (unsigned i = 0; i < 10000; i++)
        len += (size_t)sprintf(text + len, "%s\"t%u\":\"f%u.safetensors\"", i ? "," : "", i, i);
    strcpy(text + len, "}");
    model_text("i.json", text);
    st_checkpoint_summary summary;
    CHECK_OK(st_checkpoint_check(model_path("i.json"), NULL, NULL, &summary, &error));
    assert_int_equal(summary.errors, 10000);
    assert_int_equal(summary.files, 10000);
    assert_int_equal(summary.tensors, 10000);
}

/* --------------------------------------------------------------------------------- folders */

static void test_folder(void **state)
{
    (void)state;
    told log;
    model_empty(model_folder);
    CHECK_ERR_TEXT(st_checkpoint_check(model_folder, NULL, NULL, NULL, &error), ST_ERR_NOT_FOUND,
                   ST_NO_OFFSET, "holds no .safetensors");
    model_tensors("y.safetensors", "b:2 c:3", NULL);
    model_tensors("z.safetensors", "a:1", NULL);
    (void)check_of("", &log);
    expect_told(&log, "+y.safetensors\n+z.safetensors\n"
                      "= errors 0 warnings 0 indices 0 files 2 bad 0 tensors 3\n");
    model_tensors("x.safetensors", "c:3 a:1", NULL);
    model_tensors("w.safetensors", "c:3", NULL);
    model_text("v.safetensors", "short");
    (void)check_of("", &log);
    expect_told(&log, "+v.safetensors bad\n+w.safetensors\n+x.safetensors\n+y.safetensors\n"
                      "+z.safetensors\nindex-duplicate@- c\nindex-duplicate@- c\n"
                      "index-duplicate@- a\n"
                      "= errors 3 warnings 0 indices 0 files 5 bad 1 tensors 6\n");
    (void)check_of("x.safetensors", &log);
    expect_told(&log, "+x.safetensors\n=/x.safetensors errors 0 warnings 0 indices 0 files 1 bad 0 "
                      "tensors 2\n");
    (void)check_of("v.safetensors", &log);
    assert_int_equal(log.why, ST_ERR_HEADER_TOO_SMALL);
}

/* What is numbered in a folder without an index. */
static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *names[3];
        unsigned missing; /* how many findings */
    } cases[] = {
        {{"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"}, 0},
        {{"m-00002-of-00002.safetensors"}, 1},
        {{"m-1-of-3.fp16.safetensors", "m-3-of-3.fp16.safetensors"}, 1},
        {{"m-1-of-2.a.safetensors", "m-1-of-2.b.safetensors", "n-1-of-1.safetensors"}, 2},
        {{"a-1-of-1.safetensors", "m-of-2.safetensors", "m1-of-2.safetensors"}, 0},
        {{"-of-.safetensors", "m-1-of-.safetensors", "m-1-of-0.safetensors"}, 0},
        {{"m-1-of-2.safetensors", "m-1-of-3.safetensors", "m-2-of-2.safetensors"}, 0},
        {{"a-of-b-1-of-2.safetensors", "z.safetensors"}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        told log;
        char tensor[] = "a:1";
        unsigned found = 0;
        model_empty(model_folder);
        for (size_t k = 0; k < 3 && cases[i].names[k]; k++, tensor[0]++)
            model_tensors(cases[i].names[k], tensor, NULL);
        st_checkpoint_summary summary = check_of("", &log);
        for (const char *at = log.lines; (at = strstr(at, "index-number-missing@- \n")); at++)
            found++;
        assert_int_equal(found, cases[i].missing);
        assert_int_equal(summary.warnings, cases[i].missing);
        assert_int_equal(summary.errors, 0);
        /* One file by itself may have any name. */
        summary = check_of(cases[i].names[0], &log);
        assert_int_equal(summary.warnings, 0);
    }
}

static void test_several(void **state)
{
    (void)state;
    told log;
    model_empty(model_folder);
    model_tensors("one.safetensors", "a:6 x:3", NULL);
    model_text("m.safetensors.index.json", MAP_OF(A "," X));
    (void)check_of("", &log);
    expect_told(&log, "+one.safetensors\n=/m.safetensors.index.json errors 0 warnings 0 indices 1 "
                      "files 1 bad 0 tensors 2\n");
    model_text("m.safetensors.index.fp16.json", MAP_OF(A));
    (void)check_of("", &log);
    expect_told(&log, "index-several@- \n"
                      "= errors 1 warnings 0 indices 0 files 0 bad 0 tensors 0\n"
                      "+one.safetensors\n"
                      "index-tensor-unlisted@- x\n"
                      "=/m.safetensors.index.fp16.json errors 0 warnings 1 indices 1 files 1 bad 0 "
                      "tensors 1\n"
                      "+one.safetensors\n"
                      "=/m.safetensors.index.json errors 0 warnings 0 indices 1 files 1 bad 0 "
                      "tensors 2\n");
}

/* ------------------------------------------------------------------------------------ files */

/* What cannot be read ends the check, unless who is told of it goes on. */
static void test_unreadable(void **state)
{
    (void)state;
    told log = {.keeps_on = true};
    st_checkpoint_observer observer = observer_of(&log);
    assert_int_equal(mkdir(model_path("dir.safetensors"), 0777), 0);
    model_text("i.json", MAP_OF(ALL ",\"c\":\"dir.safetensors\""));
    for (int folder = 0; folder < 2; folder++) {
        const char *path = folder ? model_folder : model_path("i.json");
        CHECK_ERR(st_checkpoint_check(path, NULL, NULL, NULL, &error), ST_ERR_NOT_REGULAR,
                  ST_NO_OFFSET);
        log = (told){.keeps_on = false};
        CHECK_ERR(st_checkpoint_check(path, NULL, &observer, NULL, &error), ST_ERR_NOT_REGULAR,
                  ST_NO_OFFSET);
        expect_told(&log, "+dir.safetensors unreadable\n");
        log = (told){.keeps_on = true};
        CHECK_OK(st_checkpoint_check(path, NULL, &observer, NULL, &error));
        assert_int_equal(log.why, ST_ERR_NOT_REGULAR);
        assert_non_null(strstr(log.lines, "+dir.safetensors unreadable\n" BOTH "="));
    }
    CHECK_ERR(st_checkpoint_check(model_path("dir.json"), NULL, &observer, NULL, &error), ST_ERR_IO,
              ST_NO_OFFSET);
}

/* A shard's source is what st_check takes, and is the only one that is open. */
static bool shard_check(void *ctx, const st_checkpoint_shard *shard)
{
    st_check_summary summary;
    CHECK_OK(st_check(shard->source, NULL, NULL, NULL, &summary, &error));
    assert_int_equal(summary.errors, shard->why != NULL);
    return take_shard(ctx, shard);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    size_t before = descriptors_open();
    told log = {.calls = 0};
    st_checkpoint_observer observer = observer_of(&log);
    char text[4096] = "{";
    for (int i = 0; i < 50; i++) {
        char name[32], tensor[16];
        snprintf(name, sizeof name, "s%d.safetensors", i);
        snprintf(tensor, sizeof tensor, "t%d:4", i);
        if (i % 10)
            model_tensors(name, tensor, NULL);
        else
            model_text(name, "short");
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s\"t%d\":\"%s\"", i ? "," : "", i, name);
    }
    strcat(text, "}");
    model_text("i.json", text);
    observer.shard = shard_check;
    st_checkpoint_summary summary;
    CHECK_OK(st_checkpoint_check(model_path("i.json"), NULL, &observer, &summary, &error));
    assert_int_equal(summary.files_refused, 5);
    assert_int_equal(summary.errors, 0);
    assert_true(log.descriptors <= before + 1);
    assert_int_equal(descriptors_open(), before);
}

/* Whoever is told may end it, whatever of. */
static void test_stopped(void **state)
{
    (void)state;
    told log = {.calls = 0};
    const st_checkpoint_observer observer = observer_of(&log);
    st_checkpoint_summary summary = {.errors = 77};
    model_text("i.json", METADATA_OF("{\"total_size\":1,\"k\":1,\"k\":2}"));
    model_text("b.safetensors.index.json", MAP_OF("\"b\":7,\"y\":\"gone.safetensors\"," A));
    model_text("c.safetensors.index.json",
               MAP_OF("\"b\":\"../x\",\"y\":\"one.safetensors\"," A "," A));
    static const char *const names[] = {"", "i.json"};
    for (size_t i = 0; i < 2; i++) {
        log = (told){.calls = 0};
        CHECK_OK(st_checkpoint_check(model_path(names[i]), NULL, &observer, NULL, &error));
        uint64_t all = log.calls;
        assert_true(all >= (i ? 5 : 13));
        for (uint64_t n = 1; n <= all; n++) {
            log = (told){.stop_at = n};
            CHECK_ERR_TEXT(
                st_checkpoint_check(model_path(names[i]), NULL, &observer, &summary, &error),
                ST_ERR_STOPPED, ST_NO_OFFSET, "stopped");
            assert_int_equal(log.calls, n);
            assert_int_equal(summary.errors, 77);
        }
    }
}

static void test_rules(void **state)
{
    (void)state;
    size_t count = st_checkpoint_rule_count();
    assert_int_equal(count, 11);
    assert_null(st_checkpoint_rule_at(count));
    for (size_t i = 0; i < count; i++) {
        const st_rule *rule = st_checkpoint_rule_at(i);
        assert_true(strncmp(rule->id, "index-", 6) == 0);
        assert_null(st_rule_find(rule->id, strlen(rule->id)));
        assert_true((rule->severity == ST_SEVERITY_ERROR) == (rule->status != ST_OK));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rule->id, st_checkpoint_rule_at(j)->id);
    }
}

static void test_options(void **state)
{
    (void)state;
    st_open_options options = {.flags = 1u << 31};
    CHECK_ERR(st_checkpoint_check(model_folder, &options, NULL, NULL, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    assert_int_equal(st_checkpoint_check(model_path("none"), NULL, NULL, NULL, NULL), ST_ERR_IO);
    options.flags = 0;
    options.name = "shown";
    CHECK_OK(st_checkpoint_check(model_folder, &options, NULL, NULL, &error));
}

static void test_oom(void **state)
{
    (void)state;
    static const char *const names[] = {"", "i.json", "one.safetensors"};
    model_text("m.safetensors.index.json",
               METADATA_OF("{\"total_size\":1,\"k\":1,\"k\":2},\"metadata\":{}"));
    model_text("n.safetensors.index.json", MAP_OF(B "," B ",\"q\":\"two.safetensors\""));
    model_text("i.json", MAP_OF(A ",\"c\":\"gone.safetensors\",\"d\":\"../x\",\"e\":7," B));
    for (size_t i = 0; i < 4; i++) {
        if (i == 3)
            (void)(unlink(model_path("m.safetensors.index.json")) +
                   unlink(model_path("n.safetensors.index.json")));
        ST_OOM_LOOP(context, status)
        {
            st_error said;
            st_open_options options = {.context = context};
            status = st_checkpoint_check(model_path(names[i % 3]), &options, NULL, NULL, &said);
            assert_true(status == ST_OK || strstr(said.message, model_folder) ||
                        strstr(said.message, "memory"));
        }
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, check_setup, model_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_indices),       TEST(test_goes_on), TEST(test_too_long), TEST(test_many),
        TEST(test_folder),        TEST(test_several), TEST(test_stopped),  TEST(test_unreadable),
        TEST(test_one_at_a_time), TEST(test_rules),   TEST(test_options),  TEST(test_oom),
        TEST(test_numbers),
    };
    return cmocka_run_group_tests_name("checkpoint_check", tests, NULL, NULL);
}
