/* SPDX-License-Identifier: Apache-2.0 */
#include "meta_write.h"

#include <string.h>

static const st_header *header_at(const struct meta_write *write, size_t index)
{
    return st_file_header(input_file(write->input, index));
}

/* What rewrite_run calls for the changes. */
static st_status changes_fill(struct rewrite *rewrite, st_error *error)
{
    struct meta_write *write = rewrite->ctx;
    st_status status = ST_OK;
    for (size_t i = 0; i < input_file_count(write->input) && status == ST_OK; i++) {
        write->resolve(write, header_at(write, i));
        rewrite->changed = meta_is_change(&write->list, header_at(write, i)) || rewrite->changed;
        status = meta_apply(&write->list, rewrite_edit(rewrite, i), error);
    }
    return status;
}

/* ------------------------------------------------------------------------------ printing */

/* Says what was done: on a terminal, and to a pipe of a dry run alone, which is there to be read. */
static void changes_print(struct meta_write *write, const struct rewrite *rewrite, struct out *out)
{
    for (size_t i = 0; i < input_file_count(write->input) && rewrite->options->target.dry_run;
         i++) {
        write->resolve(write, header_at(write, i));
        meta_print(&write->list, input_shard(write->input, i), out);
    }
    if (out->tty)
        rewrite_print(rewrite, out);
}

static void array_json(struct meta_write *write, struct json *json, const char *key,
                       void (*emit)(const struct meta_list *list, const char *shard,
                                    struct json *json))
{
    json_key(json, key);
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < input_file_count(write->input); i++) {
        write->resolve(write, header_at(write, i));
        emit(&write->list, input_shard(write->input, i), json);
    }
    st_json_emit_array_end(json->emitter);
}

static void changes_json(struct meta_write *write, const struct rewrite *rewrite, struct json *json)
{
    array_json(write, json, "set", meta_json_set);
    array_json(write, json, "removed", meta_json_removed);
    rewrite_json(rewrite, json);
}

/* ------------------------------------------------------------------------------- the work */

static st_status input_change(struct meta_write *write, struct rewrite *rewrite, st_error *error)
{
    st_status status = write->collect(write, error);
    return status == ST_OK ? rewrite_run(rewrite, error) : status;
}

int meta_write_main(struct meta_write *write)
{
    const struct common *common = &write->options->common;
    const char *path = write->args->at[0];
    st_error error;
    struct out out;
    struct input input;
    struct json json, *document = common->json ? &json : NULL;
    struct rewrite rewrite = {
        .options = &write->options->rewrite, .input = &input, .fill = changes_fill, .ctx = write};
    out_open(&out, common->color);
    out_go_on(&out);
    if (document) {
        json_open_files(document, &out);
        json_open_file(document, path);
    }
    write->input = &input;
    st_status status = rewrite_open(&write->options->rewrite, &input, path, common, &error);
    if (status == ST_OK)
        status = input_change(write, &rewrite, &error);
    if (status != ST_OK)
        file_fail(&out, document, &error);
    else if (document)
        changes_json(write, &rewrite, document);
    else
        changes_print(write, &rewrite, &out);
    meta_release(&write->list);
    input_close(&input);
    if (document) {
        st_json_emit_object_end(document->emitter);
        json_close_files(document);
    }
    return out_close(&out);
}

int meta_write_parse(const struct verb *verb, int argc, char **argv,
                     struct meta_write_options *options, struct args *args)
{
    *options = (struct meta_write_options){.rewrite.target.durability = TARGET_DURABILITY_DEFAULT};
    int code = opt_parse(verb, argc, argv, options, args);
    if (code == OPT_GO)
        code = rewrite_check(verb, &options->rewrite, &options->common, args->at[0]);
    return code;
}
