/* SPDX-License-Identifier: Apache-2.0 */
/* Runs tests/cases against the library, and compares the tables of docs/format.md with its own. */
#include <safetensors/inspect.h>
#include <safetensors/json.h>

#include "format/rule.h"
#include "support/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------ manifest */

/* A JSON value; the children of an object have keys. */
typedef struct node {
    int32_t kind; /* ST_JSON_OBJECT_BEGIN, _ARRAY_BEGIN, or a scalar's */
    char *key;
    size_t key_len;
    char *text;
    size_t len;
    struct node *first, *last, *next;
} node;

static char *copy_text(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

static node *node_append(node *parent)
{
    node *fresh = calloc(1, sizeof *fresh);
    assert_non_null(fresh);
    if (parent && parent->last)
        parent->last->next = fresh;
    else if (parent)
        parent->first = fresh;
    if (parent)
        parent->last = fresh;
    return fresh;
}

static void node_free(node *value)
{
    while (value) {
        node *next = value->next;
        node_free(value->first);
        free(value->key);
        free(value->text);
        free(value);
        value = next;
    }
}

/* Reads the value that `token` begins into `value`. */
static void node_read(st_json_reader *reader, st_json_token token, node *value)
{
    value->kind = token.kind;
    if (token.text) {
        value->text = copy_text(token.text, token.len);
        value->len = token.len;
    }
    if (token.kind != ST_JSON_OBJECT_BEGIN && token.kind != ST_JSON_ARRAY_BEGIN)
        return;
    for (;;) {
        CHECK_OK(st_json_reader_next(reader, &token, &error));
        if (token.kind == ST_JSON_OBJECT_END || token.kind == ST_JSON_ARRAY_END)
            return;
        node *child = node_append(value);
        if (token.kind == ST_JSON_KEY) {
            child->key = copy_text(token.text, token.len);
            child->key_len = token.len;
            CHECK_OK(st_json_reader_next(reader, &token, &error));
        }
        node_read(reader, token, child);
    }
}

static const node *member(const node *object, const char *key)
{
    for (const node *child = object->first; child; child = child->next)
        if (child->key && strcmp(child->key, key) == 0)
            return child;
    fail_msg("no member %s", key);
    return NULL;
}

static const char *member_text(const node *object, const char *key)
{
    return member(object, key)->text;
}

static uint64_t node_u64(const node *value)
{
    uint64_t number = 0;
    assert_int_equal(value->kind, ST_JSON_NUMBER);
    assert_true(st_json_parse_u64(value->text, value->len, &number));
    return number;
}

static size_t node_count(const node *array)
{
    size_t count = 0;
    for (const node *child = array->first; child; child = child->next)
        count++;
    return count;
}

static char *read_whole(const char *folder, const char *path, size_t *size)
{
    char full[4096];
    snprintf(full, sizeof full, "%s/%s", folder, path);
    FILE *stream = fopen(full, "rb");
    if (!stream)
        fail_msg("cannot open %s", full);
    size_t capacity = 1 << 20, used = 0, got;
    char *data = malloc(capacity + 1);
    assert_non_null(data);
    while ((got = fread(data + used, 1, capacity - used, stream)) > 0)
        used += got;
    assert_true(used < capacity);
    fclose(stream);
    data[used] = '\0';
    *size = used;
    return data;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        fail_msg("%s is not set", name);
    return value;
}

static const char *cases_folder;
static node *manifest;

static int manifest_load(void **state)
{
    (void)state;
    cases_folder = environment("ST_TEST_CASES");
    size_t size;
    char *text = read_whole(cases_folder, "manifest.json", &size);
    st_json_reader *reader = NULL;
    st_json_token token;
    CHECK_OK(st_json_reader_new(NULL, text, size, "manifest.json", &reader, &error));
    CHECK_OK(st_json_reader_next(reader, &token, &error));
    manifest = node_append(NULL);
    node_read(reader, token, manifest);
    CHECK_OK(st_json_reader_next(reader, &token, &error));
    assert_int_equal(token.kind, ST_JSON_END);
    st_json_reader_free(reader);
    free(text);
    return 0;
}

static int manifest_free(void **state)
{
    (void)state;
    node_free(manifest);
    return 0;
}

/* -------------------------------------------------------------------------- one file read */

static void compare_shape(const st_tensor *tensor, const node *shape)
{
    assert_int_equal(tensor->ndim, node_count(shape));
    uint32_t i = 0;
    for (const node *dim = shape->first; dim; dim = dim->next)
        assert_true(tensor->shape[i++] == node_u64(dim));
}

static void compare_bytes(const st_file *file, const st_tensor *tensor, const char *hex)
{
    unsigned char bytes[64];
    char text[2 * sizeof bytes + 1] = "";
    size_t size = (size_t)st_tensor_size(tensor);
    assert_true(size <= sizeof bytes);
    CHECK_OK(st_file_read(file, tensor, NULL, bytes, size, &error));
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, hex);
}

static void compare_header(const st_header *header, const st_file *file, const node *expected)
{
    const node *tensors = member(expected, "tensors");
    assert_int_equal(st_header_count(header), node_count(tensors));
    size_t index = 0;
    for (const node *row = tensors->first; row; row = row->next, index++) {
        const st_tensor *tensor = st_header_at(header, index);
        const node *name = member(row, "name"), *dtype = member(row, "dtype");
        assert_int_equal(tensor->name_len, name->len);
        assert_memory_equal(tensor->name, name->text, name->len + 1);
        assert_ptr_equal(st_header_find(header, name->text, name->len), tensor);
        assert_int_equal(st_header_index(header, tensor), index);
        size_t code_len;
        const char *code = st_header_dtype_code(header, tensor->dtype, &code_len);
        assert_int_equal(code_len, dtype->len);
        assert_memory_equal(code, dtype->text, dtype->len + 1);
        compare_shape(tensor, member(row, "shape"));
        assert_true(tensor->begin == node_u64(member(row, "begin")));
        assert_true(tensor->end == node_u64(member(row, "end")));
        if (file && st_tensor_size(tensor) <= 64)
            compare_bytes(file, tensor, member_text(row, "hex"));
    }
    const node *metadata = member(expected, "metadata");
    assert_int_equal(st_header_has_metadata(header), metadata->kind != ST_JSON_NULL);
    assert_int_equal(st_header_metadata_count(header), node_count(metadata));
    for (const node *pair = metadata->first; pair; pair = pair->next) {
        const node *key = pair->first, *value = key->next;
        const st_metadata *entry = st_header_metadata_find(header, key->text, key->len);
        assert_non_null(entry);
        assert_int_equal(entry->key_len, key->len);
        assert_memory_equal(entry->key, key->text, key->len + 1);
        assert_int_equal(entry->value_len, value->len);
        assert_memory_equal(entry->value, value->text, value->len + 1);
    }
}

/* Opens from the disk and parses from memory: both must say the same. `expected`: the case, if the
 * flags make the file valid. */
static void compare_open(const char *path, const char *data, size_t size, uint32_t flags,
                         const node *expected)
{
    st_open_options options = {.flags = flags};
    st_file *file = NULL;
    st_header *header = NULL;
    char full[4096];
    snprintf(full, sizeof full, "%s/%s", cases_folder, path);
    CHECK_OK(st_file_open(full, &options, &file, &error));
    compare_header(st_file_header(file), file, expected);
    st_file_close(file);
    CHECK_OK(st_header_parse(data, size, size, &options, &header, &error));
    compare_header(header, NULL, expected);
    st_header_release(header);
}

static void compare_refusal(const char *path, const char *data, size_t size, uint32_t flags,
                            const node *expected)
{
    st_open_options options = {.flags = flags};
    st_error from_disk = {0}, from_memory = {0};
    st_file *file = NULL;
    st_header *header = NULL;
    char full[4096];
    snprintf(full, sizeof full, "%s/%s", cases_folder, path);
    st_status status = st_file_open(full, &options, &file, &from_disk);
    assert_int_not_equal(status, ST_OK);
    assert_null(file);
    assert_int_equal(st_header_parse(data, size, size, &options, &header, &from_memory), status);
    assert_null(header);
    assert_true(from_memory.offset == from_disk.offset);
    if (!expected)
        return;
    if (strcmp(st_status_name(status), member_text(expected, "status")) != 0 ||
        from_disk.offset != node_u64(member(expected, "offset")))
        fail_msg("%s at %" PRIu64 ": %s", st_status_name(status), from_disk.offset,
                 from_disk.message);
}

/* ------------------------------------------------------------------------------- findings */

typedef struct seen_finding {
    const st_rule *rule;
    int32_t severity;
    st_status status;
    uint64_t offset;
    bool matched;
} seen_finding;

typedef struct seen_findings {
    seen_finding at[256];
    size_t count;
} seen_findings;

static bool finding_keep(void *ctx, const st_finding *finding)
{
    seen_findings *seen = ctx;
    assert_true(seen->count < sizeof seen->at / sizeof *seen->at);
    assert_non_null(finding->message);
    assert_true(strlen(finding->message) > 0);
    assert_null(strpbrk(finding->message, "\n\r\x1b"));
    seen->at[seen->count++] =
        (seen_finding){finding->rule, finding->severity, finding->status, finding->offset, false};
    return true;
}

static void findings_of(const char *data, size_t size, uint32_t flags, seen_findings *seen)
{
    st_memory memory = {.data = (void *)(uintptr_t)data, .size = size};
    st_open_options options = {.flags = flags};
    st_source *source = NULL;
    st_check_summary summary = {0};
    seen->count = 0;
    CHECK_OK(st_source_open_memory(&memory, &options, &source, &error));
    CHECK_OK(st_check(source, &options, finding_keep, seen, &summary, &error));
    st_source_release(source);
    assert_true(summary.file_size == size);
    assert_true(summary.errors + summary.warnings + summary.notes == seen->count);
}

static void finding_match(seen_findings *seen, const char *rule, uint64_t offset, int32_t severity)
{
    for (size_t i = 0; i < seen->count; i++) {
        seen_finding *one = &seen->at[i];
        if (one->matched || one->offset != offset || one->severity != severity ||
            strcmp(one->rule->id, rule) != 0)
            continue;
        one->matched = true;
        return;
    }
    fail_msg("%s at %" PRIu64 " was not found", rule, offset);
}

static void findings_all_matched(const seen_findings *seen, int32_t severity)
{
    for (size_t i = 0; i < seen->count; i++)
        if (!seen->at[i].matched && seen->at[i].severity <= severity)
            fail_msg("unexpected %s at %" PRIu64, seen->at[i].rule->id, seen->at[i].offset);
}

static int32_t severity_of(const char *text)
{
    if (strcmp(text, "error") == 0)
        return ST_SEVERITY_ERROR;
    return strcmp(text, "warning") == 0 ? ST_SEVERITY_WARNING : ST_SEVERITY_NOTE;
}

/* ---------------------------------------------------------------------------------- tests */

static void test_valid(void **state)
{
    (void)state;
    seen_findings seen;
    for (const node *one = member(manifest, "valid")->first; one; one = one->next) {
        const char *path = member_text(one, "file");
        size_t size;
        char *data = read_whole(cases_folder, path, &size);
        print_message("%s\n", path);
        assert_int_equal(size, node_u64(member(one, "size")));
        compare_open(path, data, size, 0, one);
        compare_open(path, data, size, ST_OPEN_UPSTREAM | ST_OPEN_UNKNOWN_DTYPES, one);
        findings_of(data, size, 0, &seen);
        for (const node *f = member(one, "findings")->first; f; f = f->next)
            finding_match(&seen, member_text(f, "rule"), node_u64(member(f, "offset")),
                          severity_of(member_text(f, "severity")));
        findings_all_matched(&seen, ST_SEVERITY_NOTE);
        free(data);
    }
}

/* Behind these a check cannot go on, and what it says of the text before is its own. */
static bool ends_check(const char *rule)
{
    return strcmp(rule, "json-syntax") == 0 || strcmp(rule, "json-depth") == 0 ||
           strcmp(rule, "header-utf8") == 0;
}

static void test_invalid(void **state)
{
    (void)state;
    seen_findings seen;
    for (const node *one = member(manifest, "invalid")->first; one; one = one->next) {
        const char *path = member_text(one, "file");
        size_t size;
        char *data = read_whole(cases_folder, path, &size);
        print_message("%s\n", path);
        compare_refusal(path, data, size, 0, one);
        findings_of(data, size, 0, &seen);
        for (const node *f = member(one, "errors")->first; f; f = f->next)
            finding_match(&seen, member_text(f, "rule"), node_u64(member(f, "offset")),
                          ST_SEVERITY_ERROR);
        if (!ends_check(member_text(one, "rule")))
            findings_all_matched(&seen, ST_SEVERITY_ERROR);
        free(data);
    }
}

static void flagged(const node *one, const char *path, const char *data, size_t size,
                    const char *key, uint32_t flags)
{
    seen_findings seen;
    uint64_t errors = 0;
    findings_of(data, size, flags, &seen);
    for (size_t i = 0; i < seen.count; i++) {
        errors += seen.at[i].severity == ST_SEVERITY_ERROR;
        assert_int_equal(seen.at[i].status != ST_OK, seen.at[i].severity == ST_SEVERITY_ERROR);
    }
    if (strcmp(member_text(one, key), "accept") == 0) {
        compare_open(path, data, size, flags, one);
        assert_true(errors == 0);
    } else {
        compare_refusal(path, data, size, flags, NULL);
        assert_true(errors > 0);
    }
}

static void test_invalid_flags(void **state)
{
    (void)state;
    for (const node *one = member(manifest, "invalid")->first; one; one = one->next) {
        const char *path = member_text(one, "file");
        size_t size;
        char *data = read_whole(cases_folder, path, &size);
        print_message("%s\n", path);
        flagged(one, path, data, size, "upstream", ST_OPEN_UPSTREAM);
        flagged(one, path, data, size, "unknown_dtypes", ST_OPEN_UNKNOWN_DTYPES);
        free(data);
    }
}

/* A status is that of the first error in the order of judgement: its stage is the lowest. */
static void test_status_is_of_lowest_stage(void **state)
{
    (void)state;
    seen_findings seen;
    for (const node *one = member(manifest, "invalid")->first; one; one = one->next) {
        size_t size;
        char *data = read_whole(cases_folder, member_text(one, "file"), &size);
        findings_of(data, size, 0, &seen);
        const char *rule = member_text(one, "rule");
        const st_rule *expected = st_rule_find(rule, strlen(rule));
        assert_non_null(expected);
        int stage = -1;
        for (size_t i = 0; i < ST__RULE_COUNT; i++)
            if (strcmp(st__rules[i].rule.id, rule) == 0)
                stage = st__rules[i].stage;
        for (size_t i = 0; i < seen.count; i++)
            for (size_t r = 0; r < ST__RULE_COUNT; r++)
                if (seen.at[i].severity == ST_SEVERITY_ERROR &&
                    strcmp(st__rules[r].rule.id, seen.at[i].rule->id) == 0)
                    assert_true(st__rules[r].stage >= stage);
        assert_string_equal(st_status_name(expected->status), member_text(one, "status"));
        free(data);
    }
}

/* ------------------------------------------------------------------------------- document */

/* Cuts a row of a Markdown table into its trimmed cells; gives their number. */
static size_t row_cells(char *line, char *cells[], size_t max)
{
    size_t count = 0;
    for (char *p = strtok(line, "|"); p && count < max; p = strtok(NULL, "|")) {
        while (*p == ' ' || *p == '`')
            p++;
        char *end = p + strlen(p);
        while (end > p && (end[-1] == ' ' || end[-1] == '`' || end[-1] == '\n'))
            *--end = '\0';
        cells[count++] = p;
    }
    return count;
}

/* Gives the next line of `*at`, cut out, that begins with `prefix`; NULL at the next heading. */
static char *next_row(char **at, const char *prefix)
{
    while (**at) {
        char *line = *at, *end = strchr(line, '\n');
        *at = end ? end + 1 : line + strlen(line);
        if (end)
            *end = '\0';
        if (strncmp(line, prefix, strlen(prefix)) == 0)
            return line;
        if (line[0] == '#')
            return NULL;
    }
    return NULL;
}

static void test_document_rules(void **state)
{
    (void)state;
    static const char *const severities[] = {"", "error", "warning", "note"};
    size_t size, count = 0;
    char *text = read_whole(environment("ST_SOURCE_DIR"), "docs/format.md", &size);
    char *at = strstr(text, "<!-- rules:"), *line;
    assert_non_null(at);
    while ((line = next_row(&at, "| `"))) {
        char *cells[8];
        assert_int_equal(row_cells(line, cells, 8), 5);
        const st_rule *rule = st_rule_at(count);
        assert_non_null(rule);
        assert_string_equal(cells[0], rule->id);
        assert_int_equal(atoi(cells[1]), st__rules[count].stage);
        assert_string_equal(cells[2], severities[rule->severity]);
        const char *status = st_status_name(rule->status);
        assert_string_equal(cells[3], status + (rule->status ? strlen("ST_ERR_") : strlen("ST_")));
        assert_string_equal(cells[4], rule->text);
        assert_ptr_equal(st_rule_find(cells[0], strlen(cells[0])), rule);
        count++;
    }
    assert_int_equal(count, st_rule_count());
    assert_null(st_rule_at(count));
    assert_null(st_rule_find("layout", 6));
    free(text);
}

static void test_document_dtypes(void **state)
{
    (void)state;
    size_t size, count = 0;
    char *text = read_whole(environment("ST_SOURCE_DIR"), "docs/format.md", &size);
    char *at = strstr(text, "| rank | code |"), *line;
    assert_non_null(at);
    while (at && (line = next_row(&at, "| "))) {
        char *cells[8];
        if (row_cells(line, cells, 8) != 4 || cells[0][0] < '0' || cells[0][0] > '9')
            continue;
        assert_int_equal(atoi(cells[0]), count);
        st_dtype dtype = st_dtype_find(cells[1], strlen(cells[1]));
        assert_int_not_equal(dtype, 0);
        assert_int_equal(atoi(cells[2]), st_dtype_bits(dtype));
        count++;
    }
    assert_int_equal(count, ST_DTYPE_COUNT);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),          cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_invalid_flags),  cmocka_unit_test(test_status_is_of_lowest_stage),
        cmocka_unit_test(test_document_rules), cmocka_unit_test(test_document_dtypes),
    };
    return cmocka_run_group_tests(tests, manifest_load, manifest_free);
}
