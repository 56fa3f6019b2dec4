/* SPDX-License-Identifier: Apache-2.0 */
/* What is saved of damaged files: each kind of damage, the whole corpus of cases, and good files damaged at every
 * place. Whatever was done to a file, what comes out is valid, and its tensors are stretches of what went in. */
#include "file/probe_sink.h"
#include "file/salvaged.h"
#include "support/check.h"
#include "support/fault.h"
#include "support/oom.h"

#include <dirent.h>

/* ---------------------------------------------------------------------------- kinds of damage */

#define U8(name, begin, end, count) \
 "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" #count "],\"data_offsets\":[" #begin "," #end "]}"

static const struct {
    const char *text;
    size_t data;
    const char *told;
    uint32_t flags;
} damages[] = {
    {"{" U8("a", 0, 2, 2) "}", 2, "saved a; ", 0},
    {"{}", 0, "", 0},
    /* bytes of no tensor */
    {"{" U8("a", 0, 2, 2) "}", 5, "saved a; changed trailing-bytes; ", 0},
    {"{" U8("a", 1, 3, 2) "," U8("b", 5, 6, 1) "}", 6,
     "changed layout-hole; saved a; changed layout-hole; saved b; ", 0},
    /* bytes that are not there */
    {"{" U8("a", 0, 2, 2) "," U8("b", 2, 6, 4) "}", 5, "saved a; lost file-truncated b; ", 0},
    {"{" U8("a", 0, 2, 2) "," U8("b", 2, 6, 4) "}", 2, "saved a; lost file-truncated b; ", 0},
    {"{" U8("a", 0, 2, 2) "}", 1, "lost file-truncated a; ", 0},
    {"{" U8("a", 0, 1, 1) "," U8("e", 7, 7, 0) "}", 1, "saved a; saved e; changed layout-hole e; ",
     0},
    /* order, shared bytes, reversed */
    {"{" U8("b", 2, 4, 2) "," U8("a", 0, 2, 2) "}", 4, "changed header-order a; saved a; saved b; ",
     0},
    {"{" U8("a", 0, 3, 3) "," U8("b", 1, 4, 3) "}", 4,
     "saved a; saved b; changed layout-overlap b; ", 0},
    {"{" U8("a", 0, 4, 4) "," U8("e", 2, 2, 0) "}", 4,
     "saved a; saved e; changed layout-overlap e; ", 0},
    {"{" U8("a", 3, 1, 2) "," U8("b", 0, 3, 3) "}", 3,
     "changed header-order b; saved b; lost layout-reversed a; ", 0},
    /* sizes */
    {"{" U8("a", 0, 3, 2) "," U8("b", 3, 4, 1) "}", 4, "lost size-mismatch a; saved b; ", 0},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}," U8("b", 1, 2, 1) "}", 2,
     "lost size-bits a; saved b; ", 0},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,1]}," U8(
         "b", 1, 2, 1) "}",
     2, "lost size-overflow a; saved b; ", 0},
    /* names */
    {"{" U8("a", 0, 2, 2) "," U8("a", 2, 3, 1) "}", 3,
     "saved a>a.duplicate-1; changed name-duplicate a; saved a; ", 0},
    {"{" U8("a", 2, 3, 1) "," U8("a", 0, 2, 2) "}", 3,
     "changed header-order a; saved a; saved a>a.duplicate-1; changed name-duplicate a; ", 0},
    {"{" U8("a", 0, 1, 1) "," U8("a", 1, 2, 1) "," U8("a.duplicate-1", 2, 3, 1) "," U8("a", 3, 4,
                                                                                       1) "}",
     4,
     "saved a>a.duplicate-2; changed name-duplicate a; saved a>a.duplicate-3; changed "
     "name-duplicate a; "
     "saved a.duplicate-1; saved a; ",
     0},
    {"{" U8("a", 0, 1, 1) "," U8("a", 0, 1, 1) "}", 1,
     "changed name-duplicate a; saved a; changed layout-overlap a; ", 0},
    {"{" U8("a", 0, 1, 1) "," U8("a", 1, 9, 8) "}", 1, "saved a; lost file-truncated a; ", 0},
    /* entries */
    {"{\"a\":5," U8("b", 0, 1, 1) "}", 1, "lost entry-type a; saved b; ", 0},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}," U8("b", 1, 2, 1) "}", 2,
     "lost shape-type a; lost layout-hole; saved b; ", 0},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}," U8("b", 0, 1, 1) "}", 3,
     "lost field-missing a; saved b; lost trailing-bytes; ", 0},
    {"{\"a\":[\"U8\",[1],[0,1]]}", 1, "changed entry-array a; saved a; ", 0},
    {"{\"a\":{\"dtype\":{\"U8\":null},\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "changed dtype-object a; saved a; ", 0},
    {"{\"a\":{\"dtype\":{\"Q\":null},\"shape\":[1],\"data_offsets\":[0,1]}," U8("b", 1, 2, 1) "}",
     2, "changed dtype-object a; lost dtype-unknown a; saved b; ", 0},
    {"{\"a\":{\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,1]}," U8("b", 1, 2, 1) "}", 2,
     "lost dtype-unknown a; saved b; ", 0},
    {"{\"a\":{\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,1]}," U8("b", 1, 2, 1) "}", 2,
     "saved a; saved b; ", ST_OPEN_UNKNOWN_DTYPES},
    {"{\"a\":{\"dtype\":\"\",\"shape\":[1],\"data_offsets\":[0,1]}," U8("b", 1, 2, 1) "}", 2,
     "lost dtype-unknown a; saved b; ", ST_OPEN_UNKNOWN_DTYPES},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "changed field-duplicate a; saved a; ", 0},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
     "lost field-unknown a; saved a; ", 0},
    /* metadata */
    {"{\"__metadata__\":{\"a\":1},\"b\":5}", 0, "changed metadata-type; lost entry-type b; ", 0},
    {"{\"__metadata__\":null}", 0, "changed metadata-null; ", 0},
    /* text */
    {" {" U8("a", 0, 1, 1) "}\t", 1, "changed leading-space; changed padding; saved a; ", 0},
    {"{" U8("a", 0, 1, 1) ",\"b\":{" U8("c", 1, 2, 1) "," U8("d", 2, 3, 1) "}}", 3,
     "lost field-unknown b; lost field-unknown b; lost field-missing b; saved a; lost "
     "trailing-bytes; ",
     0},
    {"{" U8("a", 0, 1, 1) ",\"b\"{\"dtype\":\"U8\"}," U8("d", 2, 3, 1) "}", 3,
     "lost json-syntax; saved a; lost layout-hole; saved d; ", 0},
    {"{" U8("a", 0, 1, 1) "," U8("b\xff", 1, 2, 1) "," U8("d", 2, 3, 1) "}", 3,
     "lost header-utf8; saved a; lost layout-hole; saved d; ", 0},
    {"{" U8("a", 0, 1, 1) "," U8("b", 1, 2, 1), 2, "lost json-syntax; saved a; saved b; ", 0},
    {"{" U8("a", 0, 1, 1) "} x", 1, "lost json-syntax; saved a; ", 0},
    {"[]", 0, "lost header-type; ", 0},
    {"nonsense", 4, "lost json-syntax; lost trailing-bytes; ", 0},
};

static void test_damages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        bytes from = sample_of(damages[i].text, damages[i].data);
        item_log log;
        print_message("%s\n", damages[i].text);
        bytes made = salvage(&from, damages[i].flags, &log, NULL);
        assert_string_equal(log.text, damages[i].told);
        free(made.data);
        free(from.data);
    }
}

static void check_entry(const st_header *header, const char *key, const char *value)
{
    const st_metadata *entry = st_header_metadata_find(header, key, strlen(key));
    if (!entry || strcmp(entry->value, value) != 0)
        fail_msg("metadata %s is %s, not %s", key, entry ? entry->value : "not there", value);
}

static void test_metadata(void **state)
{
    (void)state;
    bytes from = sample_of(
        "{\"__metadata__\":{\"s\":\"x\",\"n\":-1.5,\"t\":true,\"z\":null,"
        "\"o\":{\"k\":[1, \"\\u00e9\"]},\"d\":\"1\",\"d\":\"2\"},"
        "\"__metadata__\":[1,2],\"__metadata__\":{\"m\":\"y\",\"s\":\"w\"}," U8("a", 0, 1, 1) "}",
        1);
    item_log log;
    st_salvage_summary summary;
    bytes made = salvage(&from, 0, &log, &summary);
    assert_string_equal(log.text, "changed metadata-type; changed metadata-type; "
                                  "changed metadata-type; changed metadata-type; "
                                  "changed metadata-twice; changed metadata-type; "
                                  "changed metadata-twice; lost metadata-duplicate; "
                                  "lost metadata-duplicate; saved a; ");
    assert_int_equal(summary.metadata, 8);
    st_header *header = NULL;
    CHECK_OK(st_header_parse(made.data, made.size, made.size, NULL, &header, &error));
    assert_int_equal(st_header_metadata_count(header), 8);
    check_entry(header, "s", "w");
    check_entry(header, "n", "-1.5");
    check_entry(header, "t", "true");
    check_entry(header, "z", "null");
    check_entry(header, "o", "{\"k\":[1, \"\\u00e9\"]}");
    check_entry(header, "d", "2");
    check_entry(header, "__metadata__", "[1,2]");
    check_entry(header, "m", "y");
    st_header_release(header);
    free(made.data);
    free(from.data);
}

/* ---------------------------------------------------------------------------- the length */

#define LENGTH_TEXT "{" U8("a", 0, 2, 2) "," U8("b", 2, 6, 4) "}"

/* A wrong length, where the text and the sizes tell the right one. */
static void test_length(void **state)
{
    (void)state;
    static const char padded[] = LENGTH_TEXT "       ";
    size_t right = sizeof padded - 1, closes = strlen(LENGTH_TEXT);
    assert_int_equal(right % 8, 0);
    uint64_t wrong[] = {0,         1,         50,   closes,   right - 1, right - 2, right + 1,
                        right + 6, right + 7, 1000, 99999999, 100000001, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bytes from = frame(wrong[i], padded, right, 6);
        item_log log;
        bytes made = salvage(&from, 0, &log, NULL);
        print_message("%llu\n", (unsigned long long)wrong[i]);
        assert_string_equal(log.text, "changed header-length; saved a; saved b; ");
        assert_true(log.saved[0].offset == 8 + right && log.saved[1].offset == 8 + right + 2);
        free(made.data);
        free(from.data);
    }
}

/* A wrong length where there is no telling: nothing is guessed. */
static void test_length_unknown(void **state)
{
    (void)state;
    static const char padded[] = LENGTH_TEXT "       ";
    for (size_t data = 5; data <= 7; data += 2) {
        bytes from = frame(100000001, padded, sizeof padded - 1, data);
        item_log log;
        bytes made = salvage(&from, 0, &log, NULL);
        assert_null(made.data);
        assert_string_equal(log.text, "lost header-too-large; ");
        free(from.data);
    }
}

/* A text longer than the blocks in which one of unknown length is read. */
static void test_length_of_long_text(void **state)
{
    (void)state;
    enum { TENSORS = 3000, ROOM = 300000 };
    char *text = malloc(ROOM);
    assert_non_null(text);
    size_t used = (size_t)snprintf(text, ROOM, "{");
    for (int i = 0; i < TENSORS; i++)
        used +=
            (size_t)snprintf(text + used, ROOM - used,
                             "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%d,%d]}",
                             i ? "," : "", i, 2 * i, 2 * i + 2);
    text[used++] = '}';
    assert_true(used > 1 << 17 && used < ROOM);
    for (size_t pad = 0; pad < 2; pad++) {
        while (pad && used % 8)
            text[used++] = ' ';
        bytes from = frame(77, text, used, 2 * TENSORS);
        item_log log;
        st_salvage_summary summary;
        bytes made = salvage(&from, 0, &log, &summary);
        assert_int_equal(summary.saved, TENSORS);
        assert_int_equal(summary.lost, 0);
        assert_true(log.saved[63].offset == 8 + used + 126);
        free(made.data);
        free(from.data);
    }
    free(text);
}

/* The file ends within the header: what is named is told as lost, what takes no bytes is saved. */
static void test_cut_header(void **state)
{
    (void)state;
    static const char text[] =
        "{\"__metadata__\":{\"k\":\"v\"}," U8("e", 0, 0, 0) "," U8("a", 0, 2, 2) ",\"b\":{\"dty";
    bytes from = frame(500, text, sizeof text - 1, 0);
    item_log log;
    st_salvage_summary summary;
    bytes made = salvage(&from, 0, &log, &summary);
    assert_string_equal(log.text,
                        "lost file-truncated; lost json-syntax; saved e; lost file-truncated a; ");
    assert_int_equal(summary.metadata, 1);
    free(made.data);
    free(from.data);
}

/* ------------------------------------------------------------------------------- properties */

/* A file with a little of everything. */
static bytes good_file(void)
{
    return sample_of("{\"__metadata__\":{\"format\":\"pt\",\"n\":\"{\\\"a\\\": 1}, x\"},"
                     "\"w.0\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                     "\"w.1\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[16,22]},"
                     "\"e\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[22,22]},"
                     "\"q\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[22,25]},"
                     "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[25,26]}}    ",
                     26);
}

static void test_every_length(void **state)
{
    (void)state;
    bytes good = good_file(), all;
    st_salvage_summary summary;
    item_log log;
    all = salvage(&good, 0, &log, &summary);
    assert_int_equal(summary.saved, 5);
    assert_int_equal(summary.errors, 0);
    free(all.data);
    uint64_t ends[5], before = 0;
    for (size_t i = 0; i < 5; i++)
        ends[i] = log.saved[i].offset + log.saved[i].size;
    for (size_t size = 0; size < good.size; size++) {
        /* In a block of its own, so that a checker sees what is read beyond it. */
        bytes cut = {malloc(size + !size), size};
        assert_non_null(cut.data);
        memcpy(cut.data, good.data, size);
        bytes made = salvage(&cut, 0, &log, &summary);
        uint64_t expected = 0;
        for (size_t i = 0; i < 5; i++)
            expected += size >= ends[i];
        if (size >= ends[0])
            assert_true(summary.saved >= expected && summary.saved <= expected + 1);
        assert_true(summary.errors > 0);
        assert_true(summary.saved >= before || size < ends[0]);
        before = summary.saved;
        for (size_t i = 0; i < log.saved_count; i++)
            assert_memory_equal(cut.data + log.saved[i].offset, good.data + log.saved[i].offset,
                                log.saved[i].size);
        free(made.data);
        free(cut.data);
    }
    free(good.data);
}

/* Each byte of the file replaced by others, each bit among them. */
static void test_every_byte(void **state)
{
    (void)state;
    static const unsigned char others[] = {0x00, ' ', '"', ',', '0', '9', '[', ']', '{', '}', 0xff};
    bytes good = good_file();
    size_t data = good.size - 26;
    for (size_t at = 0; at < good.size; at++) {
        unsigned char was = good.data[at];
        for (unsigned k = 0; k < 8 + sizeof others; k++) {
            item_log log;
            st_salvage_summary summary;
            good.data[at] = k < 8 ? (unsigned char)(was ^ 1u << k) : others[k - 8];
            bytes made = salvage(&good, 0, &log, &summary);
            if (at >= data || at < 8) {
                assert_int_equal(summary.saved, 5);
                assert_true(log.saved[0].offset == data);
                assert_int_equal(summary.errors > 0, at < 8 && good.data[at] != was);
            }
            free(made.data);
        }
        good.data[at] = was;
    }
    free(good.data);
}

/* The corpus: good files stay as they are, but for their layout, and of bad ones something or nothing is saved. */
static size_t cases_run(const char *folder, bool valid)
{
    char path[4096];
    const char *cases = getenv("ST_TEST_CASES");
    size_t count = 0;
    assert_non_null(cases);
    snprintf(path, sizeof path, "%s/%s", cases, folder);
    DIR *listing = opendir(path);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing));) {
        unsigned char whole[4096];
        snprintf(path, sizeof path, "%s/%s/%s", cases, folder, entry->d_name);
        FILE *stream = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!stream)
            continue;
        size_t size = fread(whole, 1, sizeof whole, stream);
        assert_true(feof(stream));
        fclose(stream);
        bytes from = {whole, size};
        for (uint32_t flags = 0; flags < 4; flags++) {
            item_log log;
            st_salvage_summary summary;
            print_message("%s\n", entry->d_name);
            bytes made = salvage(&from, flags, &log, &summary);
            if (flags == 0)
                assert_int_equal(summary.errors == 0, valid);
            if (valid)
                assert_non_null(made.data);
            free(made.data);
        }
        count++;
    }
    closedir(listing);
    return count;
}

static void test_cases(void **state)
{
    (void)state;
    assert_true(cases_run("valid", true) > 100);
    assert_true(cases_run("invalid", false) > 300);
}

/* --------------------------------------------------------------------------------- failures */

#define FAULTY_TEXT                                                                                \
 "{\"__metadata__\":{\"k\":1,\"k\":\"v\"}," U8("a", 0, 2, 2) "," U8(                               \
     "a", 2, 4, 2) ",\"x\":5,\"y\""                                                                \
                   ":{\"dtype\":\"Q\",\"shape\":[1],\"data_offsets\":[4,5]},\"b\"}," U8("c", 5, 7, \
                                                                                        2)

static st_status salvage_into(st_source *source, st_context *context, st_sink *sink)
{
    st_open_options options = {.context = context, .flags = ST_OPEN_UNKNOWN_DTYPES};
    return st_salvage(source, &options, sink, NULL, NULL, NULL);
}

static void test_stop(void **state)
{
    (void)state;
    bytes from = sample_of(FAULTY_TEXT, 9);
    st_source *source = source_of(&from);
    item_log all = {.from = &from};
    st_salvage_options options = {.item = log_item, .ctx = &all};
    CHECK_OK(st_salvage(source, NULL, NULL, &options, NULL, &error));
    assert_true(all.count >= 8);
    for (uint64_t stop = 1; stop <= all.count; stop++) {
        item_log log = {.stop_at = stop};
        st_salvage_summary summary = {.saved = 77};
        options.ctx = &log;
        CHECK_ERR(st_salvage(source, NULL, NULL, &options, &summary, &error), ST_ERR_STOPPED,
                  ST_NO_OFFSET);
        assert_int_equal(log.count, stop);
        assert_int_equal(summary.saved, 77);
    }
    st_source_release(source);
    free(from.data);
}

static void test_arguments(void **state)
{
    (void)state;
    bytes from = sample_of(FAULTY_TEXT, 9);
    st_source *source = source_of(&from);
    st_open_options flags = {.flags = 0x80000000u};
    st_salvage_options reserved = {.reserved = {0, 1}};
    CHECK_ERR(st_salvage(source, &flags, NULL, NULL, NULL, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET);
    CHECK_ERR(st_salvage(source, NULL, NULL, &reserved, NULL, &error), ST_ERR_ARGUMENT,
              ST_NO_OFFSET);
    st_source_release(source);
    free(from.data);
}

/* Names that grow do not fit a header of the size allowed. */
static void test_too_large(void **state)
{
    (void)state;
    bytes from = sample_of("{" U8("a", 0, 2, 2) "," U8("a", 2, 4, 2) "}", 4);
    st_source *source = source_of(&from);
    st_open_options options = {.max_header_size = from.size - 8 - 4};
    probe_sink probe = {.fail_at = 0};
    st_sink *sink = probe_sink_new(&probe, NULL);
    CHECK_ERR(st_salvage(source, &options, sink, NULL, NULL, &error), ST_ERR_HEADER_TOO_LARGE,
              ST_NO_OFFSET);
    st_sink_release(sink);
    assert_false(probe.begun);
    st_source_release(source);
    free(from.data);
}

static void test_nothing_written(void **state)
{
    (void)state;
    bytes from = sample_of("nonsense", 100);
    st_source *source = source_of(&from);
    probe_sink probe = {.fail_at = 1};
    st_sink *sink = probe_sink_new(&probe, NULL);
    st_salvage_summary summary;
    CHECK_OK(st_salvage(source, NULL, sink, NULL, &summary, &error));
    st_sink_release(sink);
    assert_int_equal(summary.size, 0);
    assert_false(probe.begun);
    st_source_release(source);
    free(from.data);
}

static void test_memory(void **state)
{
    (void)state;
    bytes from = sample_of(FAULTY_TEXT, 9),
          strange = frame(12345678, LENGTH_TEXT, strlen(LENGTH_TEXT), 6);
    const bytes *const files[] = {&from, &strange};
    for (size_t i = 0; i < 2; i++) {
        st_source *source = source_of(files[i]);
        ST_OOM_LOOP(context, status)
        {
            probe_sink probe = {.fail_at = 0};
            st_sink *sink = probe_sink_new(&probe, NULL);
            status = salvage_into(source, context, sink);
            st_sink_release(sink);
            assert_int_equal(probe.finished, status == ST_OK);
            free(probe.data);
        }
        st_source_release(source);
    }
    free(from.data);
    free(strange.data);
}

static void test_reads(void **state)
{
    (void)state;
    static const fault_kind kinds[] = {FAULT_EIO, FAULT_SHORT, FAULT_SHRINK, FAULT_TOUCH};
    bytes from = sample_of(FAULTY_TEXT, 9),
          strange = frame(12345678, LENGTH_TEXT, strlen(LENGTH_TEXT), 6);
    const bytes *const files[] = {&from, &strange};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            ST_FAULT_LOOP(source, status, kinds[k], files[i]->data, files[i]->size)
            {
                probe_sink probe = {.fail_at = 0};
                st_sink *sink = probe_sink_new(&probe, NULL);
                status = salvage_into(source, context, sink);
                st_sink_release(sink);
                free(probe.data);
            }
        }
    st_context_release(context);
    free(from.data);
    free(strange.data);
}

static void test_writes(void **state)
{
    (void)state;
    bytes from = sample_of(FAULTY_TEXT, 9);
    st_source *source = source_of(&from);
    st_status status = ST_ERR_IO;
    unsigned failed = 0;
    for (unsigned at = 1; status != ST_OK; at++) {
        probe_sink probe = {.fail_at = at};
        st_sink *sink = probe_sink_new(&probe, NULL);
        status = salvage_into(source, NULL, sink);
        st_sink_release(sink);
        assert_true(status == ST_OK || status == ST_ERR_IO);
        assert_int_equal(probe.finished, status == ST_OK);
        failed += status != ST_OK;
        free(probe.data);
    }
    assert_true(failed >= 3);
    st_source_release(source);
    free(from.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damages),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_length_unknown),
        cmocka_unit_test(test_length_of_long_text),
        cmocka_unit_test(test_cut_header),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_nothing_written),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
