/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors copy: a file written anew. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "explain.h"
#include "filter.h"
#include "memory.h"
#include "rewrite.h"

/* As the upstream writer aligns. */
#define ALIGNMENT_DEFAULT 8

struct copy_options {
    struct filtered filtered;
    struct rewrite_options rewrite;
    bool no_metadata;
};

/* By their numbers, ST_CACHE_…. */
static const char *const cache_choices[] = {"auto", "keep", "drop", NULL};

static const struct opt copy_options[] = {
    LAYOUT_ROW_CANONICAL(copy_options, rewrite.layout),
    LAYOUT_ROW_ALIGN(copy_options, rewrite.layout, "8"),
    LAYOUT_ROW_RESERVE(copy_options, rewrite.layout),
    {OPT_FLAG, 'M', "no-metadata", offsetof(struct copy_options, no_metadata),
     .help = "Leave __metadata__ out."},
    TARGET_ROW_CLOBBER(copy_options, rewrite.target, "Fail if OUT is there already."),
    TARGET_ROW_DRY_RUN(copy_options, rewrite.target,
                       "Write nothing; print what would be made: name, bytes, number of tensors."),
    TARGET_ROW_DURABILITY(copy_options, rewrite.target),
    {OPT_CHOICE, 'C', "cache", offsetof(struct copy_options, rewrite.target.cache), .arg = "WHAT",
     .choices = cache_choices,
     .help =
         "Whether what was written stays in the page cache: keep, drop (it displaces nothing "
         "there), or auto (the default: a file of 256 MiB or more that is to survive a power cut "
         "is written past it where that can be done)."},
    {0},
};

/* What copy does. */
struct copy {
    const struct copy_options *options;
    const struct filter *filter;
    struct input input;
    const st_tensor **tensors; /* that were picked, of the input's header */
    size_t count;
    struct rewrite rewrite;
};

/* ------------------------------------------------------------------------------- the copy */

static st_status tensors_pick(struct copy *copy, st_error *error)
{
    st_status status = filter_pick(copy->filter, input_header(&copy->input), false, &copy->tensors,
                                   &copy->count, error);
    if (status == ST_OK && copy->count == 0 && !filter_is_empty(copy->filter))
        return error_fill(error, ST_ERR_NOT_FOUND, "%.300s: no tensor passes the filters",
                          copy->input.path);
    return status;
}

/* Drops what was not picked. */
static st_status tensors_drop(const struct copy *copy, st_error *error)
{
    const st_header *header = input_header(&copy->input);
    size_t count = st_header_count(header);
    st_status status = ST_OK;
    bool *picked = memory_new(count, sizeof *picked);
    for (size_t i = 0; i < copy->count; i++)
        picked[st_header_index(header, copy->tensors[i])] = true;
    for (size_t i = 0; i < count && status == ST_OK; i++) {
        if (picked[i])
            continue;
        struct input_place place = input_place(&copy->input, st_header_at(header, i));
        status = st_edit_drop(rewrite_edit(&copy->rewrite, place.index), place.tensor, error);
    }
    free(picked);
    return status;
}

/* What rewrite_run calls for the changes. */
static st_status copy_fill(struct rewrite *rewrite, st_error *error)
{
    const struct copy *copy = rewrite->ctx;
    for (size_t i = 0; i < input_file_count(&copy->input) && copy->options->no_metadata; i++)
        st_edit_clear_metadata(rewrite_edit(rewrite, i));
    return tensors_drop(copy, error);
}

/* Explains how what was picked would be read: whole files, if there are no filters. */
static st_status tensors_explain(const struct copy *copy, const struct explain *explain,
                                 st_error *error)
{
    st_status status = ST_OK;
    if (filter_is_empty(copy->filter))
        return explain_input(explain, &copy->input, error);
    explain_begin(explain);
    for (size_t i = 0; i < copy->count && status == ST_OK; i++) {
        struct request request = request_of(&copy->input, copy->tensors[i]);
        status = explain_one(explain, &request, error);
    }
    explain_end(explain);
    return status;
}

/* Copies, or explains if `explain` is there. */
static st_status input_copy(struct copy *copy, struct explain *explain, st_error *error)
{
    st_status status = tensors_pick(copy, error);
    if (status != ST_OK)
        return status;
    if (!explain)
        return rewrite_run(&copy->rewrite, error);
    explain->file = copy->input.file;
    return tensors_explain(copy, explain, error);
}

/* ------------------------------------------------------------------------------- the verb */

static void copy_tell(const struct copy *copy, struct out *out, struct json *json)
{
    const struct target *target = &copy->options->rewrite.target;
    const struct rewrite *rewrite = &copy->rewrite;
    struct made made = {rewrite->summary.count, rewrite->summary.size, rewrite->seconds};
    if (!json) {
        target_print(target, &made, out);
        return;
    }
    json_text(json, "output", target->path);
    target_json(target, &made, json);
}

static int copy_main(const struct copy_options *options, const struct filter *filter,
                     const char *path)
{
    st_error error;
    struct out out;
    struct json json;
    const struct common *common = &options->filtered.common;
    struct json *document = common->json ? &json : NULL;
    struct explain explain = {.path = path, .out = &out, .json = document};
    struct copy copy = {.options = options, .filter = filter};
    copy.rewrite = (struct rewrite){
        .options = &options->rewrite, .input = &copy.input, .fill = copy_fill, .ctx = &copy};
    out_open(&out, common->color);
    out_go_on(&out);
    if (document) {
        json_open_files(&json, &out);
        json_open_file(&json, path);
    }
    st_status status = rewrite_open(&options->rewrite, &copy.input, path, common, &error);
    if (status == ST_OK)
        status = input_copy(&copy, common->explain ? &explain : NULL, &error);
    if (status != ST_OK)
        file_fail(&out, document, &error);
    else if (!common->explain)
        copy_tell(&copy, &out, document);
    free(copy.tensors);
    input_close(&copy.input);
    if (document) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

/* Fills what stands in no option. */
static void options_finish(struct rewrite_options *options, const struct args *args)
{
    options->target.path = args->at[1];
    options->order = layout_canonical_order(&options->layout);
    if (options->layout.alignment == 0)
        options->layout.alignment = ALIGNMENT_DEFAULT;
}

static int copy_run(const struct verb *verb, int argc, char **argv)
{
    struct copy_options options = {.rewrite.target.durability = TARGET_DURABILITY_DEFAULT};
    const struct common *common = &options.filtered.common;
    struct args args;
    struct filter filter;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO) {
        options_finish(&options.rewrite, &args);
        code = rewrite_check(verb, &options.rewrite, common, args.at[0]);
    }
    if (code == OPT_GO && !filter_init(&filter, &options.filtered.filter, verb, common))
        code = EXIT_USAGE;
    if (code == OPT_GO) {
        code = copy_main(&options, &filter, args.at[0]);
        filter_release(&filter);
    }
    filter_options_release(&options.filtered.filter);
    free(args.at);
    return code;
}

const struct verb verb_copy = {
    .name = "copy",
    .brief = "Write a file anew, or some of its tensors",
    .about =
        "Writes the tensors and the metadata of FILE to OUT, whole or not at all: OUT is there "
        "under its name when everything is written, and whatever was there before until then. "
        "The two may be the same file. OUT may be -, standard output. Of a folder of shards or an "
        "index OUT is a folder, which gets a file for each, but for those of which no tensor is "
        "left, and the index.\n\n"
        "The new file is valid and laid out as the upstream writer does, unless --order, --align, "
        "or --reserve ask for something else; a file that is laid out so already, with its "
        "metadata in the order of its keys, stays the same, byte for byte. Where the file system "
        "can share blocks or copy by itself, the bytes do not "
        "pass through the program.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {ARG_FILE, "OUT", 0, NULL}, {0}},
    .options = copy_options,
    .examples =
        (const struct example[]){
            {"safetensors copy model.safetensors new.safetensors", "Into the canonical layout."},
            {"safetensors copy -x 'optimizer.*' checkpoint.safetensors model.safetensors",
             "Without the optimizer's state."},
            {"safetensors copy -A 4096 -R 64K model.safetensors model.safetensors",
             "In place: data at a page's start, and room for more metadata."},
            {"safetensors copy model.safetensors - | ssh host 'cat > model.safetensors'",
             "Through a pipe."},
            {"safetensors copy -g '*.layers.0.*' checkpoint/ first/",
             "Some tensors of all shards, and their index."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .picks = filter_rows,
    .run = copy_run,
};
