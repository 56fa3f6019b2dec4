/* SPDX-License-Identifier: Apache-2.0 */
/* The check of a whole file: several faults in one, flags, stopping, and what fails around it. What
 * each rule finds is tested by tests/cases. */
#include <safetensors/inspect.h>

#include "support/check.h"
#include "support/fault.h"
#include "support/oom.h"

#include <stdio.h>
#include <string.h>

typedef struct finding_log {
    char ids[1024]; /* "rule@offset " for each */
    char names[256];
    uint64_t count;
    uint64_t stop_at; /* the finding that ends the check; 0: none */
    int32_t severity; /* of the last one */
    st_status status;
    char message[512];
} finding_log;

static bool log_finding(void *ctx, const st_finding *finding)
{
    finding_log *log = ctx;
    size_t used = strlen(log->ids);
    snprintf(log->ids + used, sizeof log->ids - used, "%s@%llu ", finding->rule->id,
             (unsigned long long)finding->offset);
    used = strlen(log->names);
    if (finding->name)
        snprintf(log->names + used, sizeof log->names - used, "%.*s ", (int)finding->name_len,
                 finding->name);
    log->severity = finding->severity;
    log->status = finding->status;
    snprintf(log->message, sizeof log->message, "%s", finding->message);
    return ++log->count != log->stop_at;
}

/* A file in memory: N, the text, and `data` bytes of 'x'. */
typedef struct sample {
    unsigned char bytes[2048];
    size_t size;
} sample;

static sample sample_of(const char *text, size_t data)
{
    sample made;
    size_t n = strlen(text);
    assert_true(8 + n + data <= sizeof made.bytes);
    for (int i = 0; i < 8; i++)
        made.bytes[i] = (unsigned char)((uint64_t)n >> (8 * i));
    memcpy(made.bytes + 8, text, n);
    memset(made.bytes + 8 + n, 'x', data);
    made.size = 8 + n + data;
    return made;
}

static st_source *source_of(const sample *file)
{
    st_source *source = NULL;
    st_memory memory = {.data = (void *)(uintptr_t)file->bytes, .size = file->size};
    CHECK_OK(st_source_open_memory(&memory, NULL, &source, &error));
    return source;
}

static const char several[] =
    " {\"__metadata__\":{\"k\":1,\"j\":\"v\"},\"a\":5,\"b\":{\"dtype\":\"U9\",\"shape\":[-1],"
    "\"data_offsets\":[0,4]},\"c\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,8],\"x\":0}"
    ","
    "\"d\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[6,8]}}";

static uint64_t offset_in(const char *text, const char *part)
{
    const char *at = strstr(text, part);
    assert_non_null(at);
    return 8 + (uint64_t)(at - text);
}

/* Every fault of one file is found, each with its place. */
static void test_goes_on(void **state)
{
    (void)state;
    sample file = sample_of(several, 8);
    st_source *source = source_of(&file);
    finding_log log = {.count = 0};
    st_check_summary summary;
    CHECK_OK(st_check(source, NULL, log_finding, &log, &summary, &error));
    struct {
        const char *rule, *part;
        uint64_t ahead;
    } expected[] = {
        {"leading-space", " {", 0},    {"metadata-type", "1,", 0},
        {"entry-type", "5,\"b", 0},    {"dtype-unknown", "\"U9\"", 0},
        {"shape-type", "-1", 0},       {"field-unknown", "\"x\"", 0},
        {"size-mismatch", "[4,8]", 0}, {"layout-overlap", "[6,8]", 0},
        {"size-bits", "[6,8]", 0},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s@%llu ", expected[i].rule,
                 (unsigned long long)offset_in(several, expected[i].part));
        if (!strstr(log.ids, text))
            fail_msg("%s is not among %s", text, log.ids);
    }
    assert_int_equal(summary.errors, 7);
    assert_int_equal(summary.warnings, 2);
    assert_int_equal(summary.errors + summary.warnings + summary.notes, log.count);
    assert_int_equal(summary.file_size, file.size);
    assert_int_equal(summary.header_size, strlen(several));
    assert_int_equal(summary.data_size, 8);
    assert_int_equal(summary.tensors, 2);
    assert_int_equal(summary.metadata, 1);
    assert_non_null(strstr(log.names, "a b b c c d d "));
    st_source_release(source);
}

static void test_good_file(void **state)
{
    (void)state;
    sample file = sample_of("{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"U8\",\"shape\":[4],"
                            "\"data_offsets\":[0,4]}}  ",
                            4);
    st_source *source = source_of(&file);
    finding_log log = {.count = 0};
    st_check_summary summary;
    CHECK_OK(st_check(source, NULL, log_finding, &log, &summary, &error));
    assert_string_equal(log.ids, "");
    assert_int_equal(summary.errors + summary.warnings + summary.notes, 0);
    assert_int_equal(summary.tensors, 1);
    assert_int_equal(summary.metadata, 1);
    assert_int_equal(summary.data_size, 4);
    /* Neither a callback nor a summary is needed. */
    CHECK_OK(st_check(source, NULL, NULL, NULL, NULL, &error));
    st_source_release(source);
}

/* No header at all: what can be said is said. */
static void test_short_files(void **state)
{
    (void)state;
    for (size_t size = 0; size < 9; size++) {
        sample file = {.bytes = {1}, .size = size};
        st_source *source = source_of(&file);
        finding_log log = {.count = 0};
        st_check_summary summary;
        CHECK_OK(st_check(source, NULL, log_finding, &log, &summary, &error));
        assert_string_equal(log.ids, size < 8 ? "file-too-small@0 " : "header-length@0 ");
        assert_int_equal(summary.errors, 1);
        assert_int_equal(summary.tensors, 0);
        assert_int_equal(summary.file_size, size);
        assert_int_equal(log.status, size < 8 ? ST_ERR_HEADER_TOO_SMALL : ST_ERR_HEADER_LENGTH);
        st_source_release(source);
    }
}

/* What a flag accepts is a warning without a status. */
static void test_flags(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t data;
        const char *rule;
        uint32_t flag;
        st_status status;
    } rows[] = {
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}  ",
         1, "name-duplicate@61 ", ST_OPEN_UPSTREAM, ST_ERR_NAME_DUPLICATE},
        {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}      ", 0, "metadata-duplicate@33 ",
         ST_OPEN_UPSTREAM, ST_ERR_METADATA_DUPLICATE},
        {"{\"a\":[\"U8\",[1],[0,1]]}  ", 1, "entry-array@13 ", ST_OPEN_UPSTREAM, ST_ERR_ENTRY_TYPE},
        {"{\"a\":{\"dtype\":{\"U8\":null},\"shape\":[1],\"data_offsets\":[0,1]}}    ", 1,
         "dtype-object@22 ", ST_OPEN_UPSTREAM, ST_ERR_DTYPE_TYPE},
        {"{\"a\":{\"dtype\":\"U9\",\"shape\":[1],\"data_offsets\":[0,1]}}    ", 1,
         "dtype-unknown@22 ", ST_OPEN_UNKNOWN_DTYPES, ST_ERR_DTYPE_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sample file = sample_of(rows[i].text, rows[i].data);
        st_source *source = source_of(&file);
        for (uint32_t flags = 0; flags < 4; flags++) {
            bool accepted = (flags & rows[i].flag) != 0;
            finding_log log = {.count = 0};
            st_open_options options = {.flags = flags};
            st_check_summary summary;
            CHECK_OK(st_check(source, &options, log_finding, &log, &summary, &error));
            if (!strstr(log.ids, rows[i].rule))
                fail_msg("%s, not %s", log.ids, rows[i].rule);
            assert_int_equal(summary.errors, accepted ? 0 : 1);
            assert_int_equal(summary.warnings, accepted ? 1 : 0);
            if (log.count == 1) {
                assert_int_equal(log.severity, accepted ? ST_SEVERITY_WARNING : ST_SEVERITY_ERROR);
                assert_int_equal(log.status, accepted ? ST_OK : rows[i].status);
            }
        }
        st_source_release(source);
    }
}

/* The callback's false ends the check at once, wherever it is. */
static void test_stop(void **state)
{
    (void)state;
    sample file = sample_of(several, 8);
    st_source *source = source_of(&file);
    finding_log all = {.count = 0};
    CHECK_OK(st_check(source, NULL, log_finding, &all, NULL, &error));
    assert_true(all.count >= 9);
    for (uint64_t stop = 1; stop <= all.count; stop++) {
        finding_log log = {.stop_at = stop};
        st_check_summary summary = {.errors = 77};
        CHECK_ERR(st_check(source, NULL, log_finding, &log, &summary, &error), ST_ERR_STOPPED,
                  ST_NO_OFFSET);
        assert_int_equal(log.count, stop);
        assert_int_equal(summary.errors, 77);
    }
    st_source_release(source);
}

static void test_arguments(void **state)
{
    (void)state;
    sample file = sample_of("{}      ", 0);
    st_source *source = source_of(&file);
    st_open_options reserved = {.reserved = {0, 1}}, flags = {.flags = 0x80000000u};
    CHECK_ERR(st_check(source, &reserved, NULL, NULL, NULL, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_check(source, &flags, NULL, NULL, NULL, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_source_release(source);
}

/* A smaller limit is the caller's, and reported as the format's own. */
static void test_limit(void **state)
{
    (void)state;
    sample file = sample_of("{}      ", 0);
    st_source *source = source_of(&file);
    finding_log log = {.count = 0};
    st_open_options options = {.max_header_size = 7};
    CHECK_OK(st_check(source, &options, log_finding, &log, NULL, &error));
    assert_string_equal(log.ids, "header-too-large@0 ");
    options.max_header_size = 8;
    log = (finding_log){.count = 0};
    CHECK_OK(st_check(source, &options, log_finding, &log, NULL, &error));
    assert_string_equal(log.ids, "");
    st_source_release(source);
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < st_rule_count(); i++) {
        const st_rule *rule = st_rule_at(i);
        assert_ptr_equal(st_rule_find(rule->id, strlen(rule->id)), rule);
        assert_int_equal(rule->status == ST_OK, rule->severity != ST_SEVERITY_ERROR);
        assert_true(strlen(rule->text) > 0);
    }
    assert_null(st_rule_at(st_rule_count()));
    assert_null(st_rule_find("", 0));
    assert_null(st_rule_find("layout-hole", 10));
    assert_non_null(st_rule_find("layout-hole-and-more", 11));
}

/* A message is one line, whatever a name holds. */
static void test_hostile_name(void **state)
{
    (void)state;
    sample file = sample_of("{\"\\u001b[2J\\n\\u202e\":5}", 0);
    st_source *source = source_of(&file);
    finding_log log = {.count = 0};
    CHECK_OK(st_check(source, NULL, log_finding, &log, NULL, &error));
    assert_null(strpbrk(log.message, "\n\r\x1b"));
    assert_null(strstr(log.message, "\xe2\x80\xae"));
    st_source_release(source);
}

static void test_memory(void **state)
{
    (void)state;
    sample file = sample_of(several, 8);
    st_source *source = source_of(&file);
    ST_OOM_LOOP(context, status)
    {
        st_open_options options = {.context = context};
        status = st_check(source, &options, NULL, NULL, NULL, NULL);
    }
    st_source_release(source);
}

static void test_reads(void **state)
{
    (void)state;
    static const fault_kind kinds[] = {FAULT_EIO, FAULT_SHORT};
    sample file = sample_of(several, 8);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        ST_FAULT_LOOP(source, status, kinds[i], file.bytes, file.size)
        {
            status = st_check(source, NULL, NULL, NULL, NULL, NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goes_on),      cmocka_unit_test(test_good_file),
        cmocka_unit_test(test_short_files),  cmocka_unit_test(test_flags),
        cmocka_unit_test(test_stop),         cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_limit),        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_hostile_name), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
