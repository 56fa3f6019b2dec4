/* SPDX-License-Identifier: Apache-2.0 */
#include "verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "json.h"
#include "memory.h"
#include "place.h"
#include "progress.h"
#include "text.h"

/* A manifest of a million tensors has some 200 MB; what is larger than this is something else. */
#define MANIFEST_MAX ((size_t)1 << 30)

struct verify {
    const struct common *common;
    const char *path; /* the manifest's */
    char *folder;     /* where it lies */
    st_manifest *manifest;
    struct out *out;
    struct json *json; /* NULL: text */
    const char *file;  /* the one at hand */
    uint64_t differences;
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

static const char *difference_name(int32_t kind)
{
    switch (kind) {
    case ST_DIFFERENCE_SIZE: return "size";
    case ST_DIFFERENCE_FILE: return "file";
    case ST_DIFFERENCE_DATA: return "data";
    case ST_DIFFERENCE_MISSING: return "missing";
    case ST_DIFFERENCE_EXTRA: return "extra";
    case ST_DIFFERENCE_DTYPE: return "dtype";
    case ST_DIFFERENCE_SHAPE: return "shape";
    case ST_DIFFERENCE_TENSOR: return "tensor";
    default: return "other";
    }
}

static void difference_json(struct json *json, const st_difference *difference)
{
    st_json_emit_object_begin(json->emitter);
    json_text(json, "kind", difference_name(difference->kind));
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

static bool difference_take(void *ctx, const st_difference *difference)
{
    struct verify *verify = ctx;
    out_worst(verify->out, EXIT_BAD);
    if (verify->json) {
        difference_json(verify->json, difference);
        return true;
    }
    out_escaped(verify->out, verify->file, strlen(verify->file));
    out_text(verify->out, ": ");
    out_message(verify->out, difference->message);
    out_text(verify->out, "\n");
    return true;
}

static st_status file_compare(struct verify *verify, size_t index, st_error *error)
{
    st_file *file;
    struct progress progress;
    st_status status = input_open_file(verify->file, verify->common, &file, error);
    if (status != ST_OK)
        return status;
    progress_start(&progress, st_file_size(file));
    progress_part(&progress, st_file_size(file));
    st_verify_options options = {
        .difference = difference_take, .ctx = verify, .progress = progress_callback(&progress)};
    status =
        st_manifest_verify(verify->manifest, index, file, &options, &verify->differences, error);
    progress_end(&progress);
    st_file_close(file);
    return status;
}

static void ok_print(const struct verify *verify)
{
    struct out *out = verify->out;
    out_escaped(out, verify->file, strlen(verify->file));
    out_text(out, ": ");
    out_style(out, STYLE_SIZE);
    out_text(out, "OK");
    out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
}

static void file_verify(struct verify *verify, const char *path, size_t index)
{
    st_error error;
    struct json *json = verify->json;
    const st_manifest_file *entry = st_manifest_at(verify->manifest, index);
    verify->file = path;
    verify->differences = 0;
    if (json) {
        json_open_file(json, path);
        json_string(json, "name", entry->name, entry->name_len);
        json_key(json, "differences");
        st_json_emit_array_begin(json->emitter);
    }
    st_status status = file_compare(verify, index, &error);
    if (json)
        st_json_emit_array_end(json->emitter);
    if (status != ST_OK)
        file_fail(verify->out, json, &error);
    else if (json)
        json_bool(json, "good", verify->differences == 0);
    else if (verify->differences == 0)
        ok_print(verify);
    if (json)
        st_json_emit_object_end(json->emitter);
}

/* -------------------------------------------------------------------------- which files */

static const char *name_end(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

/* Gives the number of entries that have the name, or, with `ends`, end in it; `*index` is the last. */
static size_t entries_named(const st_manifest *manifest, const char *name, bool ends, size_t *index)
{
    size_t found = 0;
    for (size_t i = 0; i < st_manifest_count(manifest); i++) {
        const char *entry = st_manifest_at(manifest, i)->name;
        if (strcmp(ends ? name_end(entry) : entry, name) == 0) {
            found++;
            *index = i;
        }
    }
    return found;
}

/* Finds the entry for a file: by where it lies, else by what it is called. Gives the number of entries
 * that it may be; 1: it is `*index`. */
static size_t entry_find(const struct verify *verify, const char *path, size_t *index)
{
    char *relative = place_relative(verify->folder, path);
    size_t found = relative ? entries_named(verify->manifest, relative, false, index) : 0;
    free(relative);
    return found ? found : entries_named(verify->manifest, name_end(path), true, index);
}

static void named_verify(struct verify *verify, const char *path)
{
    size_t index = 0, found = entry_find(verify, path, &index);
    if (found == 1) {
        file_verify(verify, path, index);
        return;
    }
    complain("%s: %s %s", verify->path,
             found ? "it has more than one file called" : "it has no file called",
             text_quote(name_end(path), strlen(name_end(path))).text);
    out_worst(verify->out, EXIT_USAGE);
}

/* Verifies what the manifest names. It may come from a stranger: it reaches nothing but what lies
 * beside it and below. */
static void entry_verify(struct verify *verify, size_t index)
{
    const st_manifest_file *entry = st_manifest_at(verify->manifest, index);
    if (!place_is_below(entry->name, entry->name_len)) {
        complain("%s: it names a file outside of its folder, %s; name that FILE to verify it",
                 verify->path, text_quote(entry->name, entry->name_len).text);
        out_worst(verify->out, EXIT_BAD);
        return;
    }
    char *path = place_join(verify->folder, entry->name);
    file_verify(verify, path, index);
    free(path);
}

static void all_verify(struct verify *verify, const struct args *args)
{
    size_t count = args->count ? args->count : st_manifest_count(verify->manifest);
    for (size_t i = 0; i < count && !progress_signal(); i++)
        if (args->count)
            named_verify(verify, args->at[i]);
        else
            entry_verify(verify, i);
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
    if (manifest_open(&verify, &error) == ST_OK) {
        all_verify(&verify, args);
    } else {
        if (verify.json)
            json_open_file(&json, manifest);
        file_fail(&out, verify.json, &error);
        if (verify.json)
            st_json_emit_object_end(json.emitter);
    }
    st_manifest_free(verify.manifest);
    free(verify.folder);
    if (verify.json)
        json_close_files(&json);
    return out_close(&out);
}
