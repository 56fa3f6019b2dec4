/* SPDX-License-Identifier: Apache-2.0 */
#include "verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "explain.h"
#include "input.h"
#include "json.h"
#include "leftover.h"
#include "memory.h"
#include "place.h"
#include "progress.h"
#include "text.h"

/* A manifest of a million tensors has some 200 MB; what is larger than this is something else. */
#define MANIFEST_MAX ((size_t)1 << 30)

/* An entry of the manifest by the last part of its name. */
struct ending {
    const char *name;
    size_t index;
};

struct verify {
    const struct common *common;
    const char *path; /* the manifest's */
    char *folder;     /* where it lies */
    st_manifest *manifest;
    struct out *out;
    struct json *json;      /* NULL: text */
    const char *file;       /* the one at hand */
    struct ending *endings; /* sorted by name; NULL until they are asked for */
    uint64_t differences;
    struct progress progress; /* of all files */
};

/* -------------------------------------------------------------------------- the manifest */

/* Reads the whole stream into memory that is freed with free(). Gives false with the errno. */
static bool stream_read(FILE *stream, char **text, size_t *len)
{
    size_t room = 0;
    *text = NULL;
    *len = 0;
    do {
        *text = memory_grow(*text, &room, *len + 65536, 1);
        *len += fread(*text + *len, 1, room - *len, stream);
    } while (!feof(stream) && !ferror(stream) && *len <= MANIFEST_MAX);
    if (*len > MANIFEST_MAX)
        errno = EFBIG;
    return feof(stream) && *len <= MANIFEST_MAX;
}

static st_status manifest_open(struct verify *verify, st_error *error)
{
    bool piped = strcmp(verify->path, "-") == 0;
    const char *name = piped ? "standard input" : verify->path;
    FILE *stream = piped ? stdin : fopen(verify->path, "rb");
    char *text = NULL;
    size_t len = 0;
    st_status status = ST_OK;
    if (!stream || !stream_read(stream, &text, &len))
        status = io_error(name, error);
    if (stream && !piped)
        fclose(stream);
    if (status == ST_OK)
        status = st_manifest_parse(NULL, text, len, name, &verify->manifest, error);
    free(text);
    return status;
}

/* ----------------------------------------------------------------------------- one file */

static void difference_json(struct json *json, const st_difference *difference)
{
    st_json_emit_object_begin(json->emitter);
    json_text(json, "kind", st_difference_name(difference->kind));
    json_key(json, "tensor");
    if (difference->name)
        st_json_emit_string(json->emitter, difference->name, difference->name_len);
    else
        st_json_emit_null(json->emitter);
    json_digest(json, "expected", &difference->expected);
    json_digest(json, "found", &difference->found);
    json_text(json, "message", difference->message);
    st_json_emit_object_end(json->emitter);
}

void verify_difference(struct out *out, struct json *json, const char *path,
                       const st_difference *difference)
{
    out_worst(out, EXIT_BAD);
    if (json) {
        difference_json(json, difference);
        return;
    }
    out_escaped(out, path, strlen(path));
    out_text(out, ": ");
    out_message(out, difference->message);
    out_text(out, "\n");
}

/* Makes room on the terminal for what is printed. Elsewhere the bar is not in its way. */
static void bar_hide(struct verify *verify)
{
    if (verify->out->tty)
        progress_hide(&verify->progress);
}

static bool difference_take(void *ctx, const st_difference *difference)
{
    struct verify *verify = ctx;
    bar_hide(verify);
    verify_difference(verify->out, verify->json, verify->file, difference);
    return true;
}

static st_status file_compare(struct verify *verify, const st_file *file, size_t index,
                              st_error *error)
{
    progress_part(&verify->progress, st_file_size(file));
    st_verify_options options = {.difference = difference_take,
                                 .ctx = verify,
                                 .progress = progress_callback(&verify->progress)};
    st_status status =
        st_manifest_verify(verify->manifest, index, file, &options, &verify->differences, error);
    bar_hide(verify);
    return status;
}

void verify_good(struct out *out, const char *path)
{
    out_escaped(out, path, strlen(path));
    out_text(out, ": ");
    out_style(out, STYLE_SIZE);
    out_text(out, "OK");
    out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
}

static void verify_fail(struct verify *verify, const st_error *error)
{
    progress_hide(&verify->progress);
    file_fail(verify->out, verify->json, error);
}

/* The same of a path that nothing else is to be told of. */
static void verify_only_fail(struct verify *verify, const char *path, const st_error *error)
{
    progress_hide(&verify->progress);
    only_fail(verify->out, verify->json, path, error);
}

/* Tells of what the file holds whether it is what the manifest says; `file` NULL: nothing was there to
 * compare, as `status` and `error` tell. */
static void file_verify(struct verify *verify, const st_file *file, size_t index, st_status status,
                        st_error *error)
{
    struct json *json = verify->json;
    if (json) {
        json_key(json, "differences");
        st_json_emit_array_begin(json->emitter);
    }
    if (status == ST_OK)
        status = file_compare(verify, file, index, error);
    if (json)
        st_json_emit_array_end(json->emitter);
    if (status != ST_OK)
        verify_fail(verify, error);
    else if (json)
        json_bool(json, "good", verify->differences == 0);
    else if (verify->differences == 0)
        verify_good(verify->out, verify->file);
}

static void file_tell(struct verify *verify, const st_file *file, st_status status, st_error *error)
{
    struct explain explain = {
        .path = verify->file, .file = file, .out = verify->out, .json = verify->json};
    if (status == ST_OK)
        status = explain_file(&explain, error);
    if (status != ST_OK)
        verify_fail(verify, error);
}

static void path_verify(struct verify *verify, const char *path, size_t index)
{
    st_error error;
    st_file *file = NULL;
    struct json *json = verify->json;
    const st_manifest_file *entry = st_manifest_at(verify->manifest, index);
    verify->file = path;
    verify->differences = 0;
    if (json) {
        bar_hide(verify);
        json_open_file(json, path);
        json_string(json, "name", entry->name, entry->name_len);
    }
    leftover_mention(path, &verify->progress);
    st_status status = input_open_file(path, verify->common, &file, &error);
    if (verify->common->explain)
        file_tell(verify, file, status, &error);
    else
        file_verify(verify, file, index, status, &error);
    st_file_close(file);
    if (json)
        st_json_emit_object_end(json->emitter);
}

/* -------------------------------------------------------------------------- which files */

static const char *name_end(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static int endings_compare(const void *a, const void *b)
{
    return strcmp(((const struct ending *)a)->name, ((const struct ending *)b)->name);
}

static void endings_sort(struct verify *verify)
{
    size_t count = st_manifest_count(verify->manifest);
    verify->endings = memory_new(count, sizeof *verify->endings);
    for (size_t i = 0; i < count; i++)
        verify->endings[i] =
            (struct ending){name_end(st_manifest_at(verify->manifest, i)->name), i};
    qsort(verify->endings, count, sizeof *verify->endings, endings_compare);
}

/* Gives how many entries end in the name, 2 for more than one; 1: it is `*index`. */
static size_t entries_ending(struct verify *verify, const char *name, size_t *index)
{
    if (!verify->endings)
        endings_sort(verify);
    const struct ending wanted = {name, 0}, *first = verify->endings;
    const struct ending *last = first + st_manifest_count(verify->manifest);
    const struct ending *found =
        bsearch(&wanted, first, (size_t)(last - first), sizeof wanted, endings_compare);
    if (!found)
        return 0;
    *index = found->index;
    bool again = (found > first && endings_compare(found - 1, found) == 0) ||
                 (found + 1 < last && endings_compare(found + 1, found) == 0);
    return again ? 2 : 1;
}

/* Finds the entry for a file: by where it lies, else by what it is called. Gives the number of entries
 * that it may be, 2 for more than one; 1: it is `*index`. */
static size_t entry_find(struct verify *verify, const char *path, size_t *index)
{
    char *relative = place_relative(verify->folder, path);
    size_t count = st_manifest_count(verify->manifest);
    *index = relative ? st_manifest_find(verify->manifest, relative, strlen(relative)) : count;
    free(relative);
    return *index < count ? 1 : entries_ending(verify, name_end(path), index);
}

static void named_verify(struct verify *verify, const char *path)
{
    st_error error;
    const char *end = name_end(path);
    size_t index = 0, found = entry_find(verify, path, &index);
    if (found == 1) {
        path_verify(verify, path, index);
        return;
    }
    error_fill(&error, found ? ST_ERR_ARGUMENT : ST_ERR_NOT_FOUND, "%.200s: it has %s called %s",
               verify->path, found ? "more than one file" : "no file",
               text_quote(end, strlen(end)).text);
    verify_only_fail(verify, path, &error);
}

/* Verifies what the manifest names. It may come from a stranger: it reaches nothing but what lies
 * beside it and below. */
static void entry_verify(struct verify *verify, size_t index)
{
    st_error error;
    const st_manifest_file *entry = st_manifest_at(verify->manifest, index);
    if (!place_is_below(entry->name, entry->name_len)) {
        error_fill(&error, ST_ERR_JSON,
                   "%.200s: it names a file outside of its folder, %s; name that FILE to verify it",
                   verify->path, text_quote(entry->name, entry->name_len).text);
        verify_only_fail(verify, entry->name, &error);
        return;
    }
    char *path = place_join(verify->folder, entry->name);
    path_verify(verify, path, index);
    free(path);
}

static void all_verify(struct verify *verify, const struct args *args)
{
    size_t count = args->count ? args->count : st_manifest_count(verify->manifest);
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total +=
            args->count ? input_path_size(args->at[i]) : st_manifest_at(verify->manifest, i)->size;
    progress_start(&verify->progress, total);
    for (size_t i = 0; i < count && !progress_signal(); i++)
        if (args->count)
            named_verify(verify, args->at[i]);
        else
            entry_verify(verify, i);
    progress_end(&verify->progress);
    out_signal(verify->out);
}

int verify_files(const struct common *common, const char *manifest, const struct args *args)
{
    st_error error;
    struct out out;
    struct json json;
    struct verify verify = {.common = common, .path = manifest, .out = &out};
    out_open(&out, common->color);
    if (common->json) {
        verify.json = &json;
        json_open_files(&json, &out);
    }
    verify.folder = place_folder(manifest);
    if (manifest_open(&verify, &error) == ST_OK)
        all_verify(&verify, args);
    else
        only_fail(&out, verify.json, manifest, &error);
    st_manifest_free(verify.manifest);
    free(verify.endings);
    free(verify.folder);
    if (verify.json)
        json_close_files(&json);
    return out_close(&out);
}
