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

static st_status file_write(struct meta_write *write, struct out *out, struct json *json,
                            st_error *error)
{
    struct rewrite rewrite = {.options = &write->options->rewrite,
                              .path = write->path,
                              .file = write->file,
                              .fill = change_fill,
                              .ctx = write};
    st_status status = write->collect(write, error);
    if (status == ST_OK)
        status = rewrite_run(&rewrite, error);
    if (status != ST_OK)
        return status;
    if (json) {
        meta_json(&write->list, json);
        rewrite_json(&rewrite, json);
    } else {
        change_print(write, &rewrite, out);
    }
    return ST_OK;
}

int meta_write_main(struct meta_write *write)
{
    const struct common *common = &write->options->common;
    st_error error;
    st_file *file = NULL;
    struct out out;
    struct json json, *document = common->json ? &json : NULL;
    write->path = write->args->at[0];
    out_open(&out, common->color);
    if (document) {
        json_open_files(document, &out);
        json_open_file(document, write->path);
    }
    st_status status = input_open_file(write->path, common, &file, &error);
    write->file = file;
    if (status == ST_OK)
        status = file_write(write, &out, document, &error);
    if (status != ST_OK)
        file_fail(&out, document, &error);
    if (document) {
        st_json_emit_object_end(document->emitter);
        json_close_files(document);
    }
    meta_release(&write->list);
    st_file_close(file);
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
