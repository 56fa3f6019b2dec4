/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "explain.h"
#include "json.h"
#include "leftover.h"
#include "memory.h"
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
static bool is_copied(const struct record_options *options)
{
    return options && !options->rewrite.target.dry_run && !options->rewrite.in_place;
}

/* Gives the bytes that are read and written of files of so many. */
static uint64_t work_of(const struct record *record, uint64_t size)
{
    return is_copied(record->options) ? 2 * size : size;
}

/* What is recorded of the files of one input. */
struct recording {
    st_hash algorithm;
    st_hash_record *made;
};

/* ------------------------------------------------------------------------------ recording */

/* Hashes one of the files, and sets its entry. */
static st_status file_record(struct recording *recording, struct rewrite *rewrite, size_t index,
                             st_error *error)
{
    st_hashes hashes = {0};
    const st_file *file = input_file(rewrite->input, index);
    st_hash_record *made = &recording->made[index];
    st_hash_options options = {.hash = recording->algorithm,
                               .parts = ST_HASH_TENSORS,
                               .progress = progress_callback(rewrite->progress)};
    progress_part(rewrite->progress, st_file_size(file));
    st_status status = st_hashes_read(file, &options, &hashes, error);
    if (status == ST_OK)
        status = st_hash_record_init(made, file, &hashes, error);
    if (status == ST_OK)
        status = st_hash_record_set(made, file, rewrite_edit(rewrite, index), error);
    st_hashes_release(&hashes);
    return status;
}

/* What rewrite_run calls for the changes. */
static st_status records_fill(struct rewrite *rewrite, st_error *error)
{
    struct recording *recording = rewrite->ctx;
    st_status status = ST_OK;
    rewrite->changed = true;
    for (size_t i = 0; i < input_file_count(rewrite->input) && status == ST_OK; i++)
        status = file_record(recording, rewrite, i, error);
    return status;
}

static void record_tell(struct record *record, const st_file *file, const st_metadata *entry)
{
    struct out *out = record->out;
    struct json *json = record->json;
    bool dry = record->options->rewrite.target.dry_run;
    if (json) {
        json_text(json, "algorithm", st_hash_name(record->options->algorithm));
        json_string(json, "key", entry->key, entry->key_len);
        json_u64(json, "tensors", st_file_count(file));
        json_bool(json, "written", !dry);
        return;
    }
    out_escaped(out, record->path, strlen(record->path));
    out_print(out, ": %s digests of %zu tensor%s, %" PRIu32 " bytes\n",
              dry ? "would record" : "recorded", st_file_count(file),
              st_file_count(file) == 1 ? "" : "s", entry->value_len);
}

/* Tells of each file once all have their digests. */
static void records_tell(struct record *record, const struct input *input,
                         const st_hash_record *made)
{
    for (size_t i = 0; i < input_file_count(input); i++) {
        const st_file *file = input_file(input, i);
        record->path = input->checkpoint ? st_file_name(file) : input->path;
        if (record->json)
            json_open_file(record->json, record->path);
        record_tell(record, file, &made[i].entry);
        if (record->json)
            st_json_emit_object_end(record->json->emitter);
    }
}

/* Tells whether its size was known before it was opened. */
static bool is_counted(const char *path)
{
    return strcmp(path, "-") != 0 && !input_is_checkpoint(path);
}

/* Records in a file, or in all files of a checkpoint or none. */
static void path_record(struct record *record, const char *path)
{
    st_error error;
    struct input input;
    struct recording recording = {.algorithm = record->options->algorithm};
    struct rewrite rewrite = {.options = &record->options->rewrite,
                              .input = &input,
                              .fill = records_fill,
                              .ctx = &recording,
                              .progress = &record->progress};
    st_status status =
        rewrite_open(&record->options->rewrite, &input, path, record->common, &error);
    size_t count = status == ST_OK ? input_file_count(&input) : 0;
    if (status == ST_OK && !is_counted(path))
        record->progress.total += work_of(record, input_size(&input));
    recording.made = memory_new(count, sizeof *recording.made);
    if (status == ST_OK)
        status = rewrite_run(&rewrite, &error);
    progress_hide(&record->progress);
    if (status == ST_OK)
        records_tell(record, &input, recording.made);
    else
        only_fail(record->out, record->json, path, &error);
    for (size_t i = 0; i < count; i++)
        st_hash_record_release(&recording.made[i]);
    free(recording.made);
    input_close(&input);
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
    leftover_mention(record->path, &record->progress);
    st_status status = input_open_file(record->path, record->common, &file, error);
    if (status != ST_OK)
        return status;
    if (strcmp(record->path, "-") == 0)
        record->progress.total += st_file_size(file);
    struct explain explain = {
        .path = record->path, .file = file, .out = record->out, .json = record->json};
    if (record->common->explain)
        status = explain_file(&explain, error);
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

/* Verifies a file, or those of a checkpoint. */
static void path_verify(struct record *record, const char *path)
{
    st_error error;
    struct input_paths files = {0};
    if (input_list(path, record->common, &files, &error) != ST_OK) {
        progress_hide(&record->progress);
        only_fail(record->out, record->json, path, &error);
    }
    for (size_t i = 0; i < files.count && !is_counted(path); i++)
        record->progress.total += input_path_size(files.at[i]);
    for (size_t i = 0; i < files.count && !progress_signal(); i++)
        one_take(record, files.at[i]);
    input_paths_release(&files);
}

static int files_take(struct record *record, const struct args *args)
{
    struct out out;
    struct json json;
    uint64_t total = 0;
    out_open(&out, record->common->color);
    out_go_on(&out);
    record->out = &out;
    if (record->common->json) {
        record->json = &json;
        json_open_files(&json, &out);
    }
    for (size_t i = 0; i < args->count; i++)
        total += is_counted(args->at[i]) ? work_of(record, input_path_size(args->at[i])) : 0;
    progress_start(&record->progress, total);
    for (size_t i = 0; i < args->count && !progress_signal(); i++)
        if (record->options && !record->common->explain)
            path_record(record, args->at[i]);
        else
            path_verify(record, args->at[i]);
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
