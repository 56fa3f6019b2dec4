/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <inttypes.h>
#include <safetensors/edit.h>
#include <string.h>

#include "explain.h"
#include "input.h"
#include "json.h"
#include "progress.h"
#include "text.h"
#include "verify.h"

struct record {
    const struct common *common;
    const struct record_options *options; /* NULL: verifies */
    const char *path;
    struct out *out;
    struct json *json;        /* NULL: text */
    struct progress progress; /* of all files */
};

/* Makes room on the terminal for what is printed. Elsewhere the bar is not in its way. */
static void bar_hide(struct record *record)
{
    if (record->out->tty)
        progress_hide(&record->progress);
}

/* Tells whether a file that is hashed is then written as well, all of it. */
static bool is_copied(const struct record *record)
{
    return record->options && !record->options->dry && !record->options->in_place;
}

/* Gives the bytes that are read and written of a file of so many. */
static uint64_t work_of(const struct record *record, uint64_t size)
{
    return is_copied(record) ? 2 * size : size;
}

/* ------------------------------------------------------------------------------ recording */

/* Removes what is recorded so far, of whatever algorithm: it may be of tensors as they were. */
static st_status records_remove(st_edit *edit, const st_header *header, st_error *error)
{
    st_status status = ST_OK;
    for (size_t i = 0; i < st_header_metadata_count(header) && status == ST_OK; i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        if (st_hash_record_is(entry->key, entry->key_len))
            status = st_edit_remove_metadata(edit, entry->key, entry->key_len, error);
    }
    return status;
}

static st_status edit_write(const struct record *record, st_edit *edit, st_error *error)
{
    st_edit_summary summary;
    st_sink *sink = NULL;
    if (record->options->dry)
        return st_edit_look(edit, &summary, error);
    if (record->options->in_place)
        return st_edit_write_in_place(edit, record->path, &summary, error);
    st_status status = st_sink_open(record->path, NULL, &sink, error);
    if (status == ST_OK)
        status = st_edit_write(edit, sink, &summary, error);
    st_sink_release(sink);
    return status;
}

/* Writes an entry into the file that it is about. */
static st_status entry_write(struct record *record, const st_file *file, const st_metadata *entry,
                             st_error *error)
{
    st_edit *edit;
    st_edit_options options = {.progress = progress_callback(&record->progress)};
    st_status status = st_edit_new(file, &options, &edit, error);
    if (status != ST_OK)
        return status;
    progress_part(&record->progress, is_copied(record) ? st_file_size(file) : 0);
    status = records_remove(edit, st_file_header(file), error);
    if (status == ST_OK)
        status = st_edit_set_metadata(edit, entry, error);
    if (status == ST_OK)
        status = edit_write(record, edit, error);
    st_edit_free(edit);
    return status;
}

static void record_tell(struct record *record, const st_file *file, const st_metadata *entry)
{
    struct out *out = record->out;
    struct json *json = record->json;
    bar_hide(record);
    if (json) {
        json_text(json, "algorithm", st_hash_name(record->options->algorithm));
        json_string(json, "key", entry->key, entry->key_len);
        json_u64(json, "tensors", st_file_count(file));
        json_bool(json, "written", !record->options->dry);
        return;
    }
    out_escaped(out, record->path, strlen(record->path));
    out_print(out, ": %s digests of %zu tensor%s, %" PRIu32 " bytes\n",
              record->options->dry ? "would record" : "recorded", st_file_count(file),
              st_file_count(file) == 1 ? "" : "s", entry->value_len);
}

static st_status file_record(struct record *record, const st_file *file, st_error *error)
{
    st_hashes hashes = {0};
    st_hash_record made = {0};
    progress_part(&record->progress, st_file_size(file));
    st_hash_options options = {.hash = record->options->algorithm,
                               .parts = ST_HASH_TENSORS,
                               .progress = progress_callback(&record->progress)};
    st_status status = st_hashes_read(file, &options, &hashes, error);
    if (status == ST_OK)
        status = st_hash_record_init(&made, file, &hashes, error);
    if (status == ST_OK)
        status = entry_write(record, file, &made.entry, error);
    if (status == ST_OK)
        record_tell(record, file, &made.entry);
    st_hash_record_release(&made);
    st_hashes_release(&hashes);
    return status;
}

/* ------------------------------------------------------------------------------ verifying */

static bool difference_take(void *ctx, const st_difference *difference)
{
    struct record *record = ctx;
    bar_hide(record);
    verify_difference(record->out, record->json, record->path, difference);
    return true;
}

static st_status file_compare(struct record *record, const st_file *file, uint64_t *records,
                              uint64_t *differences, st_error *error)
{
    progress_part(&record->progress, st_file_size(file));
    st_verify_options options = {.difference = difference_take,
                                 .ctx = record,
                                 .progress = progress_callback(&record->progress)};
    st_status status = st_hash_record_verify(file, &options, records, differences, error);
    bar_hide(record);
    return status;
}

static st_status file_verify(struct record *record, const st_file *file, st_error *error)
{
    struct json *json = record->json;
    uint64_t records = 0, differences = 0;
    if (json) {
        json_key(json, "differences");
        st_json_emit_array_begin(json->emitter);
    }
    st_status status = file_compare(record, file, &records, &differences, error);
    if (json)
        st_json_emit_array_end(json->emitter);
    if (status == ST_OK && records == 0)
        return error_fill(
            error, ST_ERR_NOT_FOUND,
            "%.300s: no digests are recorded in its metadata; hash --record does that",
            record->path);
    if (status == ST_OK && json)
        json_bool(json, "good", differences == 0);
    else if (status == ST_OK && differences == 0)
        verify_good(record->out, record->path);
    return status;
}

/* ---------------------------------------------------------------------------------- files */

static st_status path_take(struct record *record, st_error *error)
{
    st_file *file;
    st_status status = input_open_file(record->path, record->common, &file, error);
    if (status != ST_OK)
        return status;
    if (strcmp(record->path, "-") == 0)
        record->progress.total += work_of(record, st_file_size(file));
    struct explain explain = {
        .path = record->path, .file = file, .out = record->out, .json = record->json};
    if (record->common->explain)
        status = explain_file(&explain, error);
    else if (record->options)
        status = file_record(record, file, error);
    else
        status = file_verify(record, file, error);
    st_file_close(file);
    return status;
}

static void one_take(struct record *record, const char *path)
{
    st_error error;
    record->path = path;
    if (record->json) {
        bar_hide(record);
        json_open_file(record->json, path);
    }
    if (path_take(record, &error) != ST_OK) {
        progress_hide(&record->progress);
        file_fail(record->out, record->json, &error);
    }
    if (record->json)
        st_json_emit_object_end(record->json->emitter);
}

/* Takes a file, or those of a checkpoint. */
static void argument_take(struct record *record, const char *path)
{
    st_error error;
    struct input_paths files = {0};
    if (input_list(path, record->common, &files, &error) != ST_OK) {
        progress_hide(&record->progress);
        only_fail(record->out, record->json, path, &error);
    }
    bool counted = !input_is_checkpoint(path);
    for (size_t i = 0; i < files.count && !counted; i++)
        record->progress.total += work_of(record, input_path_size(files.at[i]));
    for (size_t i = 0; i < files.count && !progress_signal(); i++)
        one_take(record, files.at[i]);
    input_paths_release(&files);
}

static int files_take(struct record *record, const struct args *args)
{
    struct out out;
    struct json json;
    out_open(&out, record->common->color);
    record->out = &out;
    if (record->common->json) {
        record->json = &json;
        json_open_files(&json, &out);
    }
    uint64_t total = 0;
    for (size_t i = 0; i < args->count; i++)
        if (!input_is_checkpoint(args->at[i]))
            total += work_of(record, input_path_size(args->at[i]));
    progress_start(&record->progress, total);
    for (size_t i = 0; i < args->count && !progress_signal(); i++)
        argument_take(record, args->at[i]);
    progress_end(&record->progress);
    out_signal(&out);
    if (record->json)
        json_close_files(&json);
    return out_close(&out);
}

int record_files(const struct record_options *options, const struct args *args)
{
    struct record record = {.common = options->common, .options = options};
    return files_take(&record, args);
}

int record_verify(const struct common *common, const struct args *args)
{
    struct record record = {.common = common};
    return files_take(&record, args);
}
