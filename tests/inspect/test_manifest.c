/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: made from files, as JSON and back, every fault of the text at its byte, and each kind of
 * difference. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include <safetensors/inspect.h>

#include "inspect/image.h"
#include "support/fault.h"
#include "support/oom.h"

#include <inttypes.h>

/* The digest of no bytes at all, in XXH3. */
#define NONE "2d06800538d394c2"

typedef struct output {
    char text[8192];
    size_t len;
    st_status refuse; /* what writing returns */
} output;

static st_status output_write(void *ctx, const char *text, size_t len, st_error *error)
{
    output *out = ctx;
    (void)error;
    if (out->refuse)
        return out->refuse;
    assert_true(len < sizeof out->text - out->len);
    memcpy(out->text + out->len, text, len);
    out->len += len;
    out->text[out->len] = '\0';
    return ST_OK;
}

static void check_emits(const st_manifest *manifest, const char *wanted)
{
    output out = {.len = 0};
    CHECK_OK(st_manifest_emit(manifest, output_write, &out, &error));
    assert_string_equal(out.text, wanted);
}

static st_manifest *parse(const char *text)
{
    st_manifest *manifest = NULL;
    CHECK_OK(st_manifest_parse(NULL, text, strlen(text), NULL, &manifest, &error));
    return manifest;
}

static st_manifest *manifest_of(const st_file *file, const char *name, st_hash hash, uint32_t parts)
{
    st_manifest *manifest;
    st_hashes hashes;
    CHECK_OK(st_manifest_new(NULL, hash, &manifest, &error));
    CHECK_OK(
        st_hashes_read(file, &(st_hash_options){.hash = hash, .parts = parts}, &hashes, &error));
    CHECK_OK(st_manifest_add(manifest, name, file, &hashes, &error));
    st_hashes_release(&hashes);
    return manifest;
}

/* --------------------------------------------------------------------------------- making */

#define TWO_TENSORS                                                   \
 "{\"e\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]}," \
 "\"s \\\"\\u0000\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}"

static void test_text(void **state)
{
    (void)state;
    image im;
    image_frame(&im, TWO_TENSORS, 1);
    st_file *file = image_open(&im, NULL);
    st_manifest *manifest = manifest_of(file, "a/\xc3\xa9.safetensors", ST_HASH_XXH3, 7);
    char wanted[1024], whole[40], one[40];
    st_hashes hashes;
    CHECK_OK(st_hashes_read(file, &(st_hash_options){.hash = ST_HASH_XXH3, .parts = 7}, &hashes,
                            &error));
    st_digest_format(&hashes.file, whole, sizeof whole);
    st_digest_format(&hashes.tensors[1], one, sizeof one);
    snprintf(wanted, sizeof wanted,
             "{\"format\":\"safetensors-manifest\",\"version\":1,\"hash\":\"xxh3\",\"files\":[{"
             "\"name\":\"a/\xc3\xa9.safetensors\",\"size\":%zu,\"digest\":\"%s\",\"data\":\"%s\","
             "\"tensors\":{\"e\":{\"dtype\":\"F32\",\"shape\":[0,3],\"digest\":\"" NONE
             "\"},\"s \\\"\\u0000\":{\"dtype\":\"U8\",\"shape\":[],\"digest\":\"%s\"}}}]}",
             im.size, whole, one, one);
    check_emits(manifest, wanted);

    const st_manifest_file *entry = st_manifest_at(manifest, 0);
    assert_int_equal(st_manifest_hash(manifest), ST_HASH_XXH3);
    assert_int_equal(st_manifest_count(manifest), 1);
    assert_null(st_manifest_at(manifest, 1));
    assert_string_equal(entry->name, "a/\xc3\xa9.safetensors");
    assert_int_equal(entry->name_len, strlen(entry->name));
    assert_int_equal(entry->size, im.size);
    assert_int_equal(entry->parts, 7);
    assert_int_equal(entry->tensor_count, 2);
    assert_memory_equal(&entry->file, &hashes.file, sizeof entry->file);
    assert_memory_equal(&entry->data, &hashes.data, sizeof entry->data);

    st_manifest *again = parse(wanted);
    check_emits(again, wanted);
    assert_memory_equal(&st_manifest_at(again, 0)->file, &hashes.file, sizeof hashes.file);
    st_manifest_free(again);
    st_hashes_release(&hashes);
    st_manifest_free(manifest);
    st_manifest_free(NULL);
    st_file_close(file);
    image_free(&im);
}

/* A member is there exactly where there is a digest. */
static void test_text_of_parts(void **state)
{
    (void)state;
    image im;
    image_frame(&im, "{}", 0);
    st_file *file = image_open(&im, NULL);
    for (uint32_t parts = 1; parts <= 7; parts++) {
        output out = {.len = 0};
        st_manifest *manifest = manifest_of(file, "x", ST_HASH_XXH128, parts);
        CHECK_OK(st_manifest_emit(manifest, output_write, &out, &error));
        assert_int_equal(strstr(out.text, "\"digest\"") != NULL, (parts & ST_HASH_FILE) != 0);
        assert_int_equal(strstr(out.text, "\"data\"") != NULL, (parts & ST_HASH_DATA) != 0);
        assert_int_equal(strstr(out.text, "\"tensors\":{}") != NULL,
                         (parts & ST_HASH_TENSORS) != 0);
        st_manifest *again = parse(out.text);
        assert_int_equal(st_manifest_at(again, 0)->parts, parts);
        check_emits(again, out.text);
        st_manifest_free(again);
        st_manifest_free(manifest);
    }
    st_file_close(file);
    image_free(&im);
}

static void test_add_refuses(void **state)
{
    (void)state;
    image im, other;
    image_make(&im, (const size_t[]){1, 2}, 2);
    image_frame(&other, "{}", 0);
    st_file *file = image_open(&im, NULL), *small = image_open(&other, NULL);
    st_manifest *manifest = manifest_of(file, "x", ST_HASH_XXH3, ST_HASH_TENSORS);
    st_hash_options options = {.hash = ST_HASH_XXH3, .parts = ST_HASH_TENSORS};
    st_hashes hashes, wide;
    CHECK_OK(st_hashes_read(file, &options, &hashes, &error));
    options.hash = ST_HASH_XXH128;
    CHECK_OK(st_hashes_read(file, &options, &wide, &error));
    char *longest = malloc(65537);
    assert_non_null(longest);
    memset(longest, 'n', 65536);
    longest[65536] = '\0';
    const struct {
        const char *name, *said;
    } names[] = {{"", "is empty"},
                 {"x", "already"},
                 {"\xff", "not UTF-8"},
                 {"a\xe2\x82", "not UTF-8"},
                 {longest, "longer than 65535"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK_ERR_TEXT(st_manifest_add(manifest, names[i].name, file, &hashes, &error),
                       ST_ERR_ARGUMENT, ST_NO_OFFSET, names[i].said);
    CHECK_ERR_TEXT(st_manifest_add(manifest, "y", file, &wide, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "digests are xxh128, and the manifest's are xxh3");
    wide.hash = 99;
    CHECK_ERR_TEXT(st_manifest_add(manifest, "y", file, &wide, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "unknown");
    CHECK_ERR_TEXT(st_manifest_add(manifest, "y", small, &hashes, &error), ST_ERR_ARGUMENT,
                   ST_NO_OFFSET, "0 tensors, and there are digests of 2");
    assert_int_equal(st_manifest_count(manifest), 1);
    longest[65535] = '\0';
    CHECK_OK(st_manifest_add(manifest, longest, file, &hashes, &error));
    assert_int_equal(st_manifest_at(manifest, 1)->name_len, 65535);
    free(longest);
    st_hashes_release(&hashes);
    st_hashes_release(&wide);
    st_manifest_free(manifest);
    CHECK_ERR(st_manifest_new(NULL, 0, &manifest, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_manifest_new(NULL, 4, &manifest, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    st_file_close(file);
    st_file_close(small);
    image_free(&im);
    image_free(&other);
}

/* Enough files that their index grows several times; each name stays known. */
static void test_many_files(void **state)
{
    (void)state;
    image im;
    image_frame(&im, "{}", 0);
    st_file *file = image_open(&im, NULL);
    st_manifest *manifest = manifest_of(file, "0", ST_HASH_XXH3, ST_HASH_FILE);
    st_hashes hashes;
    CHECK_OK(st_hashes_read(file, &(st_hash_options){.hash = ST_HASH_XXH3}, &hashes, &error));
    for (int i = 1; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        CHECK_OK(st_manifest_add(manifest, name, file, &hashes, &error));
        snprintf(name, sizeof name, "%d", i / 2);
        CHECK_ERR(st_manifest_add(manifest, name, file, &hashes, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
    }
    assert_int_equal(st_manifest_count(manifest), 1000);
    assert_string_equal(st_manifest_at(manifest, 999)->name, "999");
    for (int i = 0; i < 1000; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "%d", i);
        assert_int_equal(st_manifest_find(manifest, name, (size_t)len), i);
    }
    assert_int_equal(st_manifest_find(manifest, "1000", 3), 100); /* not beyond its length */
    assert_int_equal(st_manifest_find(manifest, "1000", 4), 1000);
    assert_int_equal(st_manifest_find(manifest, "", 0), 1000);
    assert_null(st_manifest_at(manifest, 1000));
    st_manifest *empty;
    CHECK_OK(st_manifest_new(NULL, ST_HASH_XXH3, &empty, &error));
    assert_int_equal(st_manifest_find(empty, "0", 1), 0);
    st_manifest_free(empty);
    st_hashes_release(&hashes);
    st_manifest_free(manifest);
    st_file_close(file);
    image_free(&im);
}

/* -------------------------------------------------------------------------------- parsing */

#define HEAD "{\"format\":\"safetensors-manifest\",\"version\":1,\"hash\":\"xxh3\",\"files\":["

/* What is accepted beyond what is emitted. */
static void test_parse_accepts(void **state)
{
    (void)state;
    static const char *const rows[] = {
        /* members in any order, unknown ones with anything in them */
        "{\"files\":[],\"x\":[{\"format\":1,\"format\":2}],\"hash\":\"xxh3\",\"version\":1,\"x\":"
        "null,"
        "\"format\":\"safetensors-manifest\"}",
        " " HEAD " ] } \n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        st_manifest *manifest = parse(rows[i]);
        check_emits(manifest, HEAD "]}");
        st_manifest_free(manifest);
    }
    st_manifest *manifest = parse(
        HEAD
        "{\"new\":{},\"tensors\":{\"w\":{\"digest\":\"2D06800538D394C2\",\"shape\":"
        "[18446744073709551615],\"new\":1,\"dtype\":\"F99\"}},\"size\":0,\"name\":\"../x\"}]}");
    check_emits(manifest,
                HEAD "{\"name\":\"../x\",\"size\":0,\"tensors\":{\"w\":{\"dtype\":\"F99\","
                     "\"shape\":[18446744073709551615],\"digest\":\"" NONE "\"}}}]}");
    st_manifest_free(manifest);
}

#define IN_FILE(text)   HEAD "{\"name\":\"a\",\"size\":1," text "}]}"
#define IN_TENSOR(text) IN_FILE("\"tensors\":{\"w\":" text "}")

/* A '@', which is taken out first, stands before the byte at fault. */
static const struct {
    const char *text, *said;
} faults[] = {
    {"@", "ends too early"},
    {"@[]", "a manifest is an object"},
    {"@1", "a manifest is an object"},
    {HEAD "]}@x", "more text"},
    {HEAD "]@", "ends too early"},
    {"@{}", "lacks format, version, hash, or files"},
    {"@{\"version\":1,\"hash\":\"xxh3\",\"files\":[]}", "lacks"},
    {"@{\"format\":\"safetensors-manifest\",\"hash\":\"xxh3\",\"files\":[]}", "lacks"},
    {"@{\"format\":\"safetensors-manifest\",\"version\":1,\"files\":[]}", "lacks"},
    {"@{\"format\":\"safetensors-manifest\",\"version\":1,\"hash\":\"xxh3\"}", "lacks"},
    {"{\"format\":@\"safetensors\"}", "format is not"},
    {"{\"format\":@1}", "format is not"},
    {"{\"version\":@2,\"files\":7}", "version 2"},
    {"{\"version\":@1.0}", "version is not an integer"},
    {"{\"version\":@\"1\"}", "version is not an integer"},
    {"{\"hash\":@\"md5\"}", "unknown hash algorithm \"md5\""},
    {"{\"hash\":@null}", "hash is not a string"},
    {"{\"hash\":\"xxh3\",@\"hash\":\"xxh3\"}", "twice"},
    {"{\"files\":[],@\"fil\\u0065s\":[]}", "twice"},
    {"{\"format\":\"safetensors-manifest\",\"version\":1,\"hash\":\"xxh3\",\"files\":@{}}",
     "files is not an array"},
    {HEAD "@1]}", "a file is not an object"},
    {HEAD "@[]]}", "a file is not an object"},
    {HEAD "@{}]}", "a file lacks name or size"},
    {HEAD "@{\"name\":\"a\"}]}", "a file lacks name or size"},
    {HEAD "@{\"size\":1}]}", "a file lacks name or size"},
    {HEAD "{\"name\":@1}]}", "a file's name is not a string"},
    {HEAD "{\"name\":@\"\"}]}", "a file's name is empty"},
    {HEAD "{\"name\":@\"a\\u0000b\"}]}", "NUL"},
    {HEAD "{\"name\":\"a\",@\"name\":\"b\"}]}", "twice"},
    {HEAD "{\"name\":\"a\",\"size\":1},{\"name\":@\"a\",\"size\":1}]}", "already"},
    {HEAD "{\"size\":@-1}]}", "size is not an integer"},
    {HEAD "{\"size\":@18446744073709551616}]}", "size is not an integer"},
    {HEAD "{\"size\":@\"1\"}]}", "size is not an integer"},
    {IN_FILE("\"digest\":@1"), "hexadecimal"},
    {IN_FILE("\"digest\":@\"\""), "another length"},
    {IN_FILE("\"digest\":@\"2d06800538d394\""), "another length"},
    {IN_FILE("\"digest\":@\"2d06800538d394c20\""), "hexadecimal"},
    {IN_FILE("\"digest\":@\"2d06800538d394c200\""), "another length"},
    {IN_FILE("\"digest\":@\"2d06800538d394cg\""), "hexadecimal"},
    {IN_FILE("\"data\":@\" 2d06800538d394c\""), "hexadecimal"},
    {IN_FILE("\"data\":@null"), "hexadecimal"},
    {IN_FILE("\"tensors\":@[]"), "tensors is not an object"},
    {IN_TENSOR("@1"), "a tensor is not an object"},
    {IN_TENSOR("@{}"), "a tensor lacks dtype, shape, or digest"},
    {IN_TENSOR("@{\"shape\":[],\"digest\":\"" NONE "\"}"), "a tensor lacks"},
    {IN_TENSOR("@{\"dtype\":\"U8\",\"digest\":\"" NONE "\"}"), "a tensor lacks"},
    {IN_TENSOR("@{\"dtype\":\"U8\",\"shape\":[]}"), "a tensor lacks"},
    {IN_TENSOR("{\"dtype\":@8}"), "dtype is not a string"},
    {IN_TENSOR("{\"dtype\":\"U8\",@\"dtype\":\"U8\"}"), "twice"},
    {IN_TENSOR("{\"shape\":@{}}"), "shape is not an array"},
    {IN_TENSOR("{\"shape\":[1,@-1]}"), "shape is not an array"},
    {IN_TENSOR("{\"shape\":[@\"1\"]}"), "shape is not an array"},
    {IN_TENSOR("{\"shape\":[@[]]}"), "shape is not an array"},
    {IN_TENSOR("{\"digest\":@\"2d\"}"), "another length"},
    {IN_TENSOR("{\"dtype\":\"U8\",\"shape\":[],\"digest\":\"" NONE "\"},@\"w\":{}"), "twice"},
    {IN_TENSOR("{\"dtype\":\"U8\",\"shape\":[],\"digest\":\"" NONE "\"},@w"), "expected a key"},
};

static void test_parse_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        char text[512];
        const char *mark = strchr(faults[i].text, '@');
        assert_non_null(mark);
        size_t at = (size_t)(mark - faults[i].text);
        memcpy(text, faults[i].text, at);
        strcpy(text + at, mark + 1);
        st_manifest *manifest = NULL;
        st_error said = {.status = ST_OK};
        st_status status = st_manifest_parse(NULL, text, strlen(text), "x.json", &manifest, &said);
        if (status != ST_ERR_JSON || said.status != status || said.offset != at ||
            strncmp(said.message, "x.json: ", 8) != 0 || !strstr(said.message, faults[i].said))
            fail_msg("%s: %s at %" PRIu64 ": %s", faults[i].text, st_status_name(status),
                     said.offset, said.message);
        CHECK_ERR(st_manifest_parse(NULL, text, strlen(text), NULL, &manifest, &error), ST_ERR_JSON,
                  at);
        assert_null(manifest);
    }
}

/* A text that ends anywhere is refused, at its end at the latest. */
static void test_parse_cut(void **state)
{
    (void)state;
    static const char text[] =
        IN_TENSOR("{\"dtype\":\"U8\",\"shape\":[1,2,3,4,5],\"digest\":\"" NONE "\",\"x\":[{}]}");
    for (size_t len = 0; len < sizeof text - 1; len++) {
        st_manifest *manifest = NULL;
        st_error error = {.status = ST_OK};
        assert_int_equal(st_manifest_parse(NULL, text, len, NULL, &manifest, &error), ST_ERR_JSON);
        assert_true(error.offset <= len);
        assert_null(manifest);
    }
    st_manifest_free(parse(text));
}

/* ------------------------------------------------------------------------------- verifying */

typedef struct difference_log {
    char text[2048]; /* "kind name;" for each */
    char messages[4096];
    unsigned count;
    unsigned stop_at;
} difference_log;

static bool note_difference(void *ctx, const st_difference *difference)
{
    difference_log *log = ctx;
    assert_true(strpbrk(difference->message, "\n\r\x1b") == NULL);
    bool digests = difference->kind == ST_DIFFERENCE_FILE ||
                   difference->kind == ST_DIFFERENCE_DATA ||
                   difference->kind == ST_DIFFERENCE_TENSOR;
    assert_int_equal(difference->expected.size, digests ? 8 : 0);
    assert_int_equal(difference->found.size, digests ? 8 : 0);
    size_t len = strlen(log->text);
    snprintf(log->text + len, sizeof log->text - len, "%d %.*s;", difference->kind,
             (int)difference->name_len, difference->name ? difference->name : "");
    len = strlen(log->messages);
    snprintf(log->messages + len, sizeof log->messages - len, "%s\n", difference->message);
    return ++log->count != log->stop_at;
}

static void check_verify(const st_manifest *manifest, const st_file *file, const char *wanted,
                         const char *said)
{
    difference_log log = {.count = 0};
    uint64_t differences = 99;
    st_verify_options options = {.difference = note_difference, .ctx = &log};
    CHECK_OK(st_manifest_verify(manifest, 0, file, &options, &differences, &error));
    assert_string_equal(log.text, wanted);
    assert_int_equal(differences, log.count);
    if (said && !strstr(log.messages, said))
        fail_msg("\"%s\" is not in %s", said, log.messages);
    uint64_t again = 99;
    CHECK_OK(st_manifest_verify(manifest, 0, file, NULL, &again, &error));
    assert_int_equal(again, differences);
    for (unsigned at = 1; at <= log.count; at++) {
        difference_log stopped = {.stop_at = at};
        options.ctx = &stopped;
        CHECK_ERR_TEXT(st_manifest_verify(manifest, 0, file, &options, &again, &error),
                       ST_ERR_STOPPED, ST_NO_OFFSET, "stopped");
        assert_int_equal(stopped.count, at);
        assert_int_equal(again, differences);
    }
}

#define ONE(name, dtype, shape, from, to) \
 "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" from "," to "]}"

/* The files that are compared with a manifest of the first one. */
static const struct {
    const char *header;
    size_t size;
    int touch; /* this byte of the data differs; -1: none */
    const char *wanted, *said;
} versions[] = {
    {"{" ONE("a", "U8", "4", "0", "4") "," ONE("b", "F32", "1", "4", "8") "}", 8, -1, "", NULL},
    {"{" ONE("a", "U8", "4", "0", "4") "," ONE("b", "F32", "1", "4", "8") "}", 8, 5, "2 ;3 ;8 b;",
     "tensor \"b\": its digest is "},
    {"{" ONE("b", "F32", "1", "4", "8") "," ONE("a", "U8", "4", "0", "4") "}", 8, -1, "2 ;",
     "the whole file: its digest is "},
    {"{" ONE("a", "I8", "4", "0", "4") "," ONE("b", "F32", "1", "4", "8") "}", 8, -1, "6 a;2 ;",
     "tensor \"a\": its dtype is \"I8\", and the manifest says \"U8\""},
    {"{" ONE("a", "U8", "2,2", "0", "4") "," ONE("b", "I32", "", "4", "8") "}", 8, 0,
     "1 ;7 a;6 b;7 b;2 ;3 ;", "tensor \"a\": its shape is [2,2], and the manifest says [4]"},
    {"{" ONE("c", "U8", "4", "0", "4") "," ONE("b", "F32", "1", "4", "8") "}", 8, -1, "4 a;5 c;2 ;",
     "tensor \"a\": it is in the manifest, but not in the file"},
    {"{" ONE("a", "U8", "4", "0", "4") "," ONE("b", "F32", "1", "4",
                                               "8") "," ONE("c\\u001b", "U8", "1", "8", "9") "}",
     9, -1, "1 ;5 c\x1b;2 ;3 ;", "tensor \"c\\u001b\": it is in the file, but not in the manifest"},
    {"{}", 0, -1, "1 ;4 a;4 b;2 ;3 ;", "it has 10 bytes, and the manifest says "},
};

static void test_verify(void **state)
{
    (void)state;
    image first;
    image_frame(&first, versions[0].header, versions[0].size);
    st_file *file = image_open(&first, NULL);
    st_manifest *manifest = manifest_of(file, "x", ST_HASH_XXH3, 7);
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        image im;
        image_frame(&im, versions[i].header, versions[i].size);
        if (versions[i].touch >= 0)
            im.bytes[im.data_offset + (size_t)versions[i].touch] ^= 1;
        st_file *other = image_open(&im, NULL);
        check_verify(manifest, other, versions[i].wanted, versions[i].said);
        st_file_close(other);
        image_free(&im);
    }
    st_manifest_free(manifest);

    /* Only what the manifest has digests of. */
    manifest = manifest_of(file, "x", ST_HASH_XXH3, ST_HASH_DATA);
    image touched;
    image_frame(&touched, versions[1].header, versions[1].size);
    touched.bytes[touched.data_offset] ^= 1;
    st_file *other = image_open(&touched, NULL);
    check_verify(manifest, other, "3 ;", NULL);
    st_manifest_free(manifest);
    manifest = parse(HEAD "{\"name\":\"x\",\"size\":1}]}");
    check_verify(manifest, other, "1 ;", NULL);
    st_manifest_free(manifest);
    st_file_close(other);
    image_free(&touched);
    st_file_close(file);
    image_free(&first);
}

/* Long shapes and names do not make long messages. */
static void test_verify_long(void **state)
{
    (void)state;
    image im;
    char header[4096] = "{\"", wanted[4400];
    memset(header + 2, 'n', 600);
    strcat(header, "\":{\"dtype\":\"U8\",\"shape\":[0");
    for (int i = 0; i < 100; i++)
        strcat(header, ",4294967295");
    strcat(header, "],\"data_offsets\":[0,0]}}");
    image_frame(&im, header, 0);
    st_file *file = image_open(&im, NULL);
    const st_tensor *tensor = st_file_at(file, 0);
    snprintf(wanted, sizeof wanted,
             HEAD
             "{\"name\":\"x\",\"size\":%zu,\"tensors\":{\"%.*s\":{\"dtype\":\"\",\"shape\":[1],"
             "\"digest\":\"" NONE "\"}}}]}",
             im.size, (int)tensor->name_len, tensor->name);
    st_manifest *manifest = parse(wanted);
    difference_log log = {.count = 0};
    uint64_t differences;
    st_verify_options options = {.difference = note_difference, .ctx = &log};
    CHECK_OK(st_manifest_verify(manifest, 0, file, &options, &differences, &error));
    assert_int_equal(differences, 2);
    assert_non_null(strstr(log.messages, ",4294967295,...], and the manifest says [1]"));
    st_manifest_free(manifest);
    st_file_close(file);
    image_free(&im);
}

static bool stop_at_once(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    *(uint64_t *)ctx = total;
    return false;
}

static void test_verify_refuses(void **state)
{
    (void)state;
    image im;
    image_make(&im, (const size_t[]){5, 6}, 2);
    st_file *file = image_open(&im, NULL);
    st_manifest *manifest = manifest_of(file, "x", ST_HASH_XXH3, ST_HASH_FILE);
    uint64_t differences = 99, total = 0;
    CHECK_ERR_TEXT(st_manifest_verify(manifest, 1, file, NULL, &differences, &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "file 1 of a manifest that has 1");
    CHECK_ERR_TEXT(st_manifest_verify(manifest, 0, file,
                                      &(st_verify_options){.reserved = {[7] = 1}}, &differences,
                                      &error),
                   ST_ERR_ARGUMENT, ST_NO_OFFSET, "reserved");
    st_verify_options options = {.progress = {stop_at_once, &total}};
    CHECK_ERR(st_manifest_verify(manifest, 0, file, &options, &differences, &error), ST_ERR_STOPPED,
              ST_NO_OFFSET);
    assert_int_equal(total, im.size);
    assert_int_equal(differences, 99);
    st_manifest_free(manifest);
#if !ST_OPENSSL
    /* A manifest that this build cannot check can still be read. */
    static const char text[] =
        "{\"format\":\"safetensors-manifest\",\"version\":1,\"hash\":\"sha256\",\"files\":[{"
        "\"name\":"
        "\"x\",\"size\":1,\"digest\":"
        "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}]}";
    manifest = parse(text);
    check_emits(manifest, text);
    CHECK_ERR_TEXT(st_manifest_verify(manifest, 0, file, NULL, &differences, &error),
                   ST_ERR_UNSUPPORTED, ST_NO_OFFSET, "libcrypto");
    st_manifest_free(manifest);
#endif
    st_file_close(file);
    image_free(&im);
}

/* ------------------------------------------------------------------------------- out of luck */

/* More than the first arrays and the first chunk of memory hold. */
static void large_text(char *text, size_t size)
{
    size_t len = (size_t)snprintf(text, size, "%s", HEAD);
    for (int f = 0; f < 6; f++) {
        len += (size_t)snprintf(text + len, size - len,
                                "%s{\"name\":\"file %d\",\"size\":%d,\"tensors\":{", f ? "," : "",
                                f, f);
        for (int t = 0; t < 10; t++)
            len += (size_t)snprintf(text + len, size - len,
                                    "%s\"tensor %d\":{\"dtype\":\"F32\",\"shape\":[1,2,3,4,5,%d],"
                                    "\"digest\":\"" NONE "\"}",
                                    t ? "," : "", t, t);
        len += (size_t)snprintf(text + len, size - len, "}}");
    }
    snprintf(text + len, size - len, "]}");
}

/* Memory that is refused is told with the file that it was for, in front and once. */
static void check_named(st_status status, const st_error *error, const char *named)
{
    size_t len = strlen(named);
    if (status == ST_OK)
        return;
    check_error(CHECK_PLACE(named), status, error, ST_ERR_NOMEM, ST_NO_OFFSET, named);
    assert_memory_equal(error->message, named, len);
    assert_null(strstr(error->message + len, named));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static char text[16384];
    large_text(text, sizeof text);
    ST_OOM_LOOP(context, status)
    {
        st_manifest *manifest = NULL;
        st_error error = {.status = ST_OK};
        status = st_manifest_parse(context, text, strlen(text), "x", &manifest, &error);
        check_named(status, &error, "x: ");
        if (status == ST_OK)
            assert_int_equal(st_manifest_count(manifest), 6);
        else
            assert_null(manifest);
        st_manifest_free(manifest);
    }
    image im;
    image_make(&im, (const size_t[]){5, 6, 0, 7, 8}, 5);
    st_file *file = image_open(&im, NULL);
    st_hashes hashes;
    CHECK_OK(st_hashes_read(file, &(st_hash_options){.hash = ST_HASH_XXH3, .parts = 7}, &hashes,
                            &error));
    ST_OOM_LOOP(context, status)
    {
        st_manifest *manifest = NULL;
        status = st_manifest_new(context, ST_HASH_XXH3, &manifest, NULL);
        for (int i = 0; i < 6 && status == ST_OK; i++) {
            char name[2] = {(char)('a' + i), '\0'};
            st_error error = {.status = ST_OK};
            status = st_manifest_add(manifest, name, file, &hashes, &error);
            check_named(status, &error, "image: ");
        }
        if (status == ST_OK) {
            output out = {.len = 0};
            status = st_manifest_emit(manifest, output_write, &out, NULL);
        }
        st_manifest_free(manifest);
    }
    st_hashes_release(&hashes);
    st_file_close(file);
    image_free(&im);
}

static void test_verify_out_of_luck(void **state)
{
    (void)state;
    image im;
    image_make(&im, (const size_t[]){5, 6, 0, 7, 8}, 5);
    st_file *file = image_open(&im, NULL);
    st_manifest *manifest = manifest_of(file, "x", ST_HASH_XXH3, 7);
    st_file_close(file);
    ST_OOM_LOOP(context, status)
    {
        st_memory memory = {.data = im.bytes, .size = im.size};
        st_open_options options = {.context = context, .name = "image"};
        st_error error = {.status = ST_OK};
        uint64_t differences = 1;
        status = st_file_open_memory(&memory, &options, &file, NULL);
        if (status == ST_OK) {
            status = st_manifest_verify(manifest, 0, file, NULL, &differences, &error);
            check_named(status, &error, "image: ");
            assert_int_equal(differences, status == ST_OK ? 0 : 1);
            st_file_close(file);
        }
    }
    st_context *single;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &single, &error));
    ST_FAULT_LOOP(source, status, FAULT_EIO, im.bytes, im.size)
    {
        uint64_t differences = 1;
        status = st_file_open_source(source, &(st_open_options){.context = single}, &file, NULL);
        if (status == ST_OK) {
            status = st_manifest_verify(manifest, 0, file, NULL, &differences, NULL);
            assert_int_equal(differences, status == ST_OK ? 0 : 1);
            st_file_close(file);
        }
    }
    st_context_release(single);
    st_manifest_free(manifest);
    image_free(&im);
}

static void test_emit_fails(void **state)
{
    (void)state;
    st_manifest *manifest = parse(HEAD "{\"name\":\"x\",\"size\":1}]}");
    output out = {.refuse = ST_ERR_IO};
    CHECK_ERR(st_manifest_emit(manifest, output_write, &out, &error), ST_ERR_IO, ST_NO_OFFSET);
    st_manifest_free(manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),          cmocka_unit_test(test_text_of_parts),
        cmocka_unit_test(test_add_refuses),   cmocka_unit_test(test_many_files),
        cmocka_unit_test(test_parse_accepts), cmocka_unit_test(test_parse_faults),
        cmocka_unit_test(test_parse_cut),     cmocka_unit_test(test_verify),
        cmocka_unit_test(test_verify_long),   cmocka_unit_test(test_verify_refuses),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_verify_out_of_luck),
        cmocka_unit_test(test_emit_fails),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
