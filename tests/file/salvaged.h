/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged files in memory, what is told when they are salvaged, and what has to be true of what comes out. */
#ifndef TESTS_FILE_SALVAGED_H
#define TESTS_FILE_SALVAGED_H

#include <safetensors/inspect.h>

#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bytes {
    unsigned char *data;
    size_t size;
} bytes;

/* What was told, in words: "kind rule name>new_name; " for each. */
typedef struct item_log {
    char text[4096];
    size_t used;
    const bytes *from;
    st_salvage_item saved[64]; /* names and messages are gone */
    char names[64][64];        /* in the new file */
    size_t saved_count;
    uint64_t count;
    uint64_t stop_at;
} item_log;

static inline void log_text(item_log *log, const char *text, size_t len)
{
    for (size_t i = 0; i < len && log->used + 1 < sizeof log->text; i++)
        log->text[log->used++] = text[i];
    log->text[log->used] = '\0';
}

static inline bool log_item(void *ctx, const st_salvage_item *item)
{
    static const char *const kinds[] = {"", "saved ", "changed ", "lost "};
    item_log *log = ctx;
    assert_true(item->kind >= ST_SALVAGE_SAVED && item->kind <= ST_SALVAGE_LOST);
    assert_true(strlen(item->message) > 0);
    assert_null(strpbrk(item->message, "\n\r\x1b"));
    assert_int_equal(item->rule == NULL, item->kind == ST_SALVAGE_SAVED);
    assert_int_equal(item->severity == 0, item->kind == ST_SALVAGE_SAVED);
    log_text(log, kinds[item->kind], strlen(kinds[item->kind]));
    if (item->rule)
        log_text(log, item->rule->id, strlen(item->rule->id));
    if (item->rule && item->name)
        log_text(log, " ", 1);
    if (item->name)
        log_text(log, item->name, item->name_len);
    if (item->new_name && (item->new_name_len != item->name_len ||
                           memcmp(item->name, item->new_name, item->name_len) != 0)) {
        log_text(log, ">", 1);
        log_text(log, item->new_name, item->new_name_len);
    }
    log_text(log, "; ", 2);
    if (item->kind == ST_SALVAGE_SAVED && log->saved_count < 64) {
        log->saved[log->saved_count] = *item;
        memcpy(log->names[log->saved_count++], item->new_name,
               item->new_name_len < 64 ? item->new_name_len : 0);
    }
    return ++log->count != log->stop_at;
}

static inline bytes frame(uint64_t n, const char *text, size_t text_len, size_t data_size)
{
    bytes out = {.size = 8 + text_len + data_size};
    out.data = malloc(out.size);
    assert_non_null(out.data);
    for (int i = 0; i < 8; i++)
        out.data[i] = (unsigned char)(n >> (8 * i));
    memcpy(out.data + 8, text, text_len);
    for (size_t i = 0; i < data_size; i++)
        out.data[8 + text_len + i] = (unsigned char)('A' + i % 26);
    return out;
}

static inline bytes sample_of(const char *text, size_t data_size)
{
    return frame(strlen(text), text, strlen(text), data_size);
}

static inline st_source *source_of(const bytes *from)
{
    st_source *source = NULL;
    st_memory memory = {.data = from->data, .size = from->size};
    CHECK_OK(
        st_source_open_memory(&memory, &(st_open_options){.name = "damaged"}, &source, &error));
    return source;
}

static inline bool count_error(void *ctx, const st_finding *finding)
{
    *(uint64_t *)ctx += finding->severity == ST_SEVERITY_ERROR;
    return true;
}

static inline uint64_t errors_of(st_source *source, uint32_t flags)
{
    uint64_t errors = 0;
    st_open_options options = {.flags = flags};
    CHECK_OK(st_check(source, &options, count_error, &errors, NULL, &error));
    return errors;
}

/* Compares the new file with what was told and with the damaged one. */
static inline void compare_saved(const bytes *out, const bytes *from, const item_log *log,
                                 uint32_t flags)
{
    st_file *file = NULL;
    st_memory memory = {.data = out->data, .size = out->size};
    st_open_options options = {.flags = flags & ST_OPEN_UNKNOWN_DTYPES};
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    st_source *source = st_file_source(file);
    assert_int_equal(errors_of(source, options.flags), 0);
    if (log->saved_count < 64)
        assert_int_equal(st_file_count(file), log->saved_count);
    for (size_t i = 0; i < log->saved_count; i++) {
        const st_salvage_item *item = &log->saved[i];
        const st_tensor *t =
            st_file_find(file, log->names[i], item->new_name_len < 64 ? item->new_name_len : 0);
        if (item->new_name_len >= 64)
            continue;
        assert_non_null(t);
        assert_true(st_tensor_size(t) == item->size);
        if (item->size == 0)
            continue;
        assert_true(item->offset <= from->size && item->size <= from->size - item->offset);
        assert_memory_equal(out->data + st_file_offset(file, t), from->data + item->offset,
                            (size_t)item->size);
    }
    st_file_close(file);
}

/* Salvages, once to tell and once to write, and compares. Gives the new file; its data is for free(), NULL where nothing
 * could be saved. */
static inline bytes salvage(const bytes *from, uint32_t flags, item_log *log,
                            st_salvage_summary *out)
{
    bytes made = {NULL, 0};
    st_salvage_summary told, summary;
    item_log first = {.from = from};
    st_open_options options = {.flags = flags};
    st_salvage_options telling = {.item = log_item, .ctx = &first};
    st_salvage_options writing = {.item = log_item, .ctx = log};
    st_source *source = source_of(from);
    *log = (item_log){.from = from};
    CHECK_OK(st_salvage(source, &options, NULL, &telling, &told, &error));
    made.size = (size_t)told.size;
    made.data = malloc(made.size + 1);
    assert_non_null(made.data);
    st_sink *sink = NULL;
    CHECK_OK(st_sink_open_memory(made.data, made.size, NULL, &sink, &error));
    CHECK_OK(st_salvage(source, &options, sink, &writing, &summary, &error));
    st_sink_release(sink);
    assert_memory_equal(&told, &summary, sizeof told);
    assert_string_equal(first.text, log->text);
    assert_true(summary.saved + summary.changed + summary.lost == log->count);
    if (flags == 0 && (summary.errors == 0) != (errors_of(source, flags) == 0))
        fail_msg("the check and the salvage do not agree: %s", log->text);
    if (summary.size)
        compare_saved(&made, from, log, flags);
    st_source_release(source);
    if (out)
        *out = summary;
    if (!summary.size) {
        assert_true(summary.errors > 0);
        free(made.data);
        made.data = NULL;
    }
    return made;
}

#endif
