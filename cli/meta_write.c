/* SPDX-License-Identifier: Apache-2.0 */
#include "meta_write.h"

#include <string.h>

#include "input.h"
#include "nearest.h"
#include "text.h"

st_status meta_find(const struct meta_write *write, const char *key, const st_metadata **out,
                    st_error *error)
{
    const st_header *header = st_file_header(write->file);
    struct nearest nearest;
    char hint[200];
    *out = st_header_metadata_find(header, key, strlen(key));
    if (*out)
        return ST_OK;
    nearest_init(&nearest, key, strlen(key));
    for (size_t i = 0; i < st_header_metadata_count(header); i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        nearest_offer(&nearest, entry->key, entry->key_len);
    }
    nearest_print(&nearest, hint, sizeof hint);
    return error_fill(error, ST_ERR_NOT_FOUND, "%.120s: no metadata %s%s", write->path,
                      text_quote(key, strlen(key)).text, hint);
}

static st_status change_fill(struct rewrite *rewrite, st_edit *edit, st_error *error)
{
    const struct meta_write *write = rewrite->ctx;
    rewrite->changed = meta_is_change(&write->list, st_file_header(write->file));
    return meta_apply(&write->list, edit, error);
}

/* Says what was done: on a terminal, and to a pipe of a dry run alone, which is there to be read. */
static void change_print(const struct meta_write *write, const struct rewrite *rewrite,
                         struct out *out)
{
    if (write->options->rewrite.dry_run)
        meta_print(&write->list, out);
    if (out->tty)
        rewrite_print(rewrite, out);
}

/* Makes the change, or, with `dry`, only sees whether it can be made. */
static st_status file_change(struct meta_write *write, bool dry, struct rewrite *rewrite,
                             st_error *error)
{
    struct rewrite_options options = write->options->rewrite;
    options.dry_run = options.dry_run || dry;
    *rewrite = (struct rewrite){.options = &options,
                                .path = write->path,
                                .file = write->file,
                                .fill = change_fill,
                                .ctx = write};
    st_status status = write->collect(write, error);
    if (status == ST_OK)
        status = rewrite_run(rewrite, error);
    rewrite->options = &write->options->rewrite;
    return status;
}

/* Opens a file for `write`, and changes it. The list refers to the file, which the caller closes behind it. */
static st_status path_change(struct meta_write *write, const char *path, bool dry, st_file **file,
                             struct rewrite *rewrite, st_error *error)
{
    *file = NULL;
    st_status status = input_open_file(path, &write->options->common, file, error);
    write->path = path;
    write->file = *file;
    return status == ST_OK ? file_change(write, dry, rewrite, error) : status;
}

static void path_end(struct meta_write *write, st_file *file)
{
    meta_release(&write->list);
    write->file = NULL;
    st_file_close(file);
}

static void path_write(struct meta_write *write, const char *path, struct out *out,
                       struct json *json)
{
    st_error error;
    st_file *file;
    struct rewrite rewrite;
    if (json)
        json_open_file(json, path);
    if (path_change(write, path, false, &file, &rewrite, &error) != ST_OK) {
        file_fail(out, json, &error);
    } else if (json) {
        meta_json(&write->list, json);
        rewrite_json(&rewrite, json);
    } else {
        change_print(write, &rewrite, out);
    }
    if (json)
        st_json_emit_object_end(json->emitter);
    path_end(write, file);
}

/* Looks at all files of a checkpoint before the first is written; what goes wrong after that leaves those before it
 * changed, each of them whole. */
static void shards_write(struct meta_write *write, struct out *out, struct json *json)
{
    st_error error;
    struct rewrite rewrite;
    struct input_paths files = {0};
    const char *path = write->args->at[0];
    st_status status = input_list(path, &write->options->common, &files, &error);
    for (size_t i = 0; i < files.count && status == ST_OK; i++) {
        path = files.at[i];
        st_file *file;
        status = path_change(write, path, true, &file, &rewrite, &error);
        path_end(write, file);
    }
    if (status != ST_OK)
        only_fail(out, json, path, &error);
    for (size_t i = 0; i < files.count && status == ST_OK && out->exit_code == EXIT_GOOD; i++)
        path_write(write, files.at[i], out, json);
    input_paths_release(&files);
}

int meta_write_main(struct meta_write *write)
{
    const struct common *common = &write->options->common;
    struct out out;
    struct json json, *document = common->json ? &json : NULL;
    out_open(&out, common->color);
    if (document)
        json_open_files(document, &out);
    if (write->shards && input_is_checkpoint(write->args->at[0]))
        shards_write(write, &out, document);
    else
        path_write(write, write->args->at[0], &out, document);
    if (document)
        json_close_files(document);
    return out_close(&out);
}

int meta_write_parse(const struct verb *verb, int argc, char **argv,
                     struct meta_write_options *options, struct args *args)
{
    *options = (struct meta_write_options){.rewrite.durability = TARGET_DURABILITY_DEFAULT};
    int code = opt_parse(verb, argc, argv, options, args);
    if (code == OPT_GO)
        code = rewrite_check(verb, &options->rewrite, &options->common, args->at[0]);
    return code;
}
