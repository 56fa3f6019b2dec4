/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors copy: a file written anew. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "explain.h"
#include "filter.h"
#include "input.h"
#include "json.h"
#include "memory.h"
#include "opt.h"
#include "progress.h"
#include "target.h"
#include "text.h"

#define ALIGNMENT_MIN 8
#define ALIGNMENT_MAX 4096

struct copy_options {
    struct filtered filtered;
    int order;
    uint64_t alignment; /* 0: not said */
    uint64_t reserve;
    struct target target;
    bool no_metadata;
};

enum { ORDER_CANONICAL, ORDER_FILE, ORDER_NAME };
static const char *const order_choices[] = {"canonical", "file", "name", NULL};

/* By their numbers, ST_CACHE_…. */
static const char *const cache_choices[] = {"auto", "keep", "drop", NULL};

static const struct opt copy_options[] = {
    {OPT_CHOICE, 'o', "order", offsetof(struct copy_options, order), .arg = "ORDER",
     .choices = order_choices,
     .help = "Lay the tensors out in canonical order (the default: by dtype, the wide ones first, "
             "then by name, as the upstream writer does), as in the file, or by name."},
    {OPT_SIZE, 'a', "align", offsetof(struct copy_options, alignment), .arg = "BYTES",
     .help = "Let the data start at a multiple of this: a power of 2 from 8 (the default) to "
             "4096."},
    {OPT_SIZE, 'R', "reserve", offsetof(struct copy_options, reserve), .arg = "BYTES",
     .help = "Leave so much room in the header, in which other programs can edit the metadata in "
             "place. K, M, and KiB, MiB count by 1024; KB, MB by 1000."},
    {OPT_FLAG, 'M', "no-metadata", offsetof(struct copy_options, no_metadata),
     .help = "Leave __metadata__ out."},
    TARGET_ROW_CLOBBER(copy_options, target, "Fail if OUT is there already."),
    TARGET_ROW_DURABILITY(copy_options, target),
    {OPT_CHOICE, 'C', "cache", offsetof(struct copy_options, target.cache), .arg = "WHAT",
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
    const char *path;
    const char *target;
    const st_file *file;
    st_writer *writer;
    const st_tensor **tensors;
    size_t count;
    st_copy *copies;
    uint64_t size; /* of the new file */
    double seconds;
};

/* ------------------------------------------------------------------------------- the copy */

/* Adds a tensor under the dtype that the writer knows it by. */
static st_status tensor_add(struct copy *copy, size_t i, st_error *error)
{
    st_tensor tensor = *copy->tensors[i];
    size_t len;
    const char *code = st_header_dtype_code(st_file_header(copy->file), tensor.dtype, &len);
    st_status status = ST_OK;
    if (tensor.dtype >= ST_DTYPE_UNKNOWN)
        status = st_writer_add_dtype(copy->writer, code, len, &tensor.dtype, error);
    copy->copies[i] = (st_copy){.tensor = copy->tensors[i]};
    if (status == ST_OK)
        status = st_writer_add(copy->writer, &tensor, &copy->copies[i].index, error);
    return status;
}

static st_status metadata_add(struct copy *copy, st_error *error)
{
    const st_header *header = st_file_header(copy->file);
    st_status status = ST_OK;
    if (copy->options->no_metadata)
        return ST_OK;
    if (st_header_has_metadata(header))
        status = st_writer_add_metadata(copy->writer, NULL, error);
    for (size_t i = 0; i < st_header_metadata_count(header) && status == ST_OK; i++)
        status = st_writer_add_metadata(copy->writer, st_header_metadata_at(header, i), error);
    return status;
}

static st_status writer_fill(struct copy *copy, st_error *error)
{
    st_status status = ST_OK;
    copy->copies = memory_new(copy->count, sizeof *copy->copies);
    for (size_t i = 0; i < copy->count && status == ST_OK; i++)
        status = tensor_add(copy, i, error);
    if (status == ST_OK)
        status = metadata_add(copy, error);
    if (status == ST_OK)
        status = st_writer_size(copy->writer, &copy->size, error);
    return status;
}

static st_status bytes_write(struct copy *copy, st_error *error)
{
    struct target target = copy->options->target;
    st_sink *sink;
    target.path = copy->target;
    st_status status = target_open(&target, &sink, error);
    if (status != ST_OK)
        return status;
    status = st_writer_begin(copy->writer, sink, error);
    if (status == ST_OK)
        status = st_writer_copy_from(copy->writer, copy->file, copy->copies, copy->count, error);
    if (status == ST_OK)
        status = st_writer_finish(copy->writer, error);
    st_sink_release(sink);
    return status;
}

/* Writes the tensors that were picked. */
static st_status tensors_write(struct copy *copy, st_error *error)
{
    struct progress progress;
    uint64_t total = 0;
    uint64_t start = progress_now();
    for (size_t i = 0; i < copy->count; i++)
        total += st_tensor_size(copy->tensors[i]);
    progress_start(&progress, total);
    progress_part(&progress, total);
    st_writer_options options = {
        .order = copy->options->order == ORDER_CANONICAL ? ST_ORDER_CANONICAL : ST_ORDER_ADDED,
        .alignment = (uint32_t)copy->options->alignment,
        .reserve = copy->options->reserve,
        .progress = progress_callback(&progress)};
    st_status status = st_writer_new(&options, &copy->writer, error);
    if (status == ST_OK)
        status = writer_fill(copy, error);
    if (status == ST_OK)
        status = bytes_write(copy, error);
    st_writer_free(copy->writer);
    free(copy->copies);
    progress_end(&progress);
    copy->seconds = (double)(progress_now() - start) / 1e9;
    return status;
}

/* Explains how what was picked would be read: the whole file, if there are no filters. */
static st_status tensors_explain(const struct copy *copy, const struct explain *explain,
                                 st_error *error)
{
    st_status status = ST_OK;
    if (filter_is_empty(copy->filter))
        return explain_file(explain, error);
    explain_begin(explain);
    for (size_t i = 0; i < copy->count && status == ST_OK; i++)
        status = explain_one(
            explain, &(struct request){.file = explain->file, .tensor = copy->tensors[i]}, error);
    explain_end(explain);
    return status;
}

/* Copies, or explains if `explain` is there. */
static st_status file_copy(struct copy *copy, struct explain *explain, st_error *error)
{
    st_file *file;
    bool by_name = copy->options->order == ORDER_NAME;
    st_status status = input_open_file(copy->path, &copy->options->filtered.common, &file, error);
    if (status != ST_OK)
        return status;
    copy->file = file;
    status = filter_pick(copy->filter, st_file_header(file), by_name, &copy->tensors, &copy->count,
                         error);
    if (status == ST_OK && copy->count == 0 && !filter_is_empty(copy->filter))
        status =
            error_fill(error, ST_ERR_NOT_FOUND, "%.300s: no tensor passes the filters", copy->path);
    if (status == ST_OK && explain) {
        explain->file = file;
        status = tensors_explain(copy, explain, error);
    } else if (status == ST_OK) {
        status = tensors_write(copy, error);
    }
    free(copy->tensors);
    st_file_close(file);
    return status;
}

/* ------------------------------------------------------------------------------- the verb */

static void summary_print(const struct copy *copy, struct out *out)
{
    double rate = (double)copy->size / (copy->seconds > 1e-6 ? copy->seconds : 1e-6);
    out_escaped(out, copy->target, strlen(copy->target));
    out_print(out, ": %zu tensor%s, %s in %.2f s, %s/s\n", copy->count, copy->count == 1 ? "" : "s",
              text_bytes(copy->size).text, copy->seconds, text_bytes((uint64_t)rate).text);
}

static void summary_json(const struct copy *copy, struct json *json)
{
    json_text(json, "output", copy->target);
    json_u64(json, "tensors", copy->count);
    json_u64(json, "size", copy->size);
    json_key(json, "seconds");
    json_double(json, copy->seconds);
}

static int copy_main(const struct verb *verb, const struct copy_options *options,
                     const struct filter *filter, const struct args *args)
{
    st_error error;
    struct out out;
    struct json json;
    bool explains = options->filtered.common.explain, document = options->filtered.common.json;
    bool piped = strcmp(args->at[1], "-") == 0 && !explains;
    struct explain explain = {.path = args->at[0], .out = &out, .json = document ? &json : NULL};
    struct copy copy = {
        .options = options, .filter = filter, .path = args->at[0], .target = args->at[1]};
    out_open(&out, options->filtered.common.color);
    if (piped && document)
        return usage_error(verb, "--json would stand in the middle of the file: name an OUT");
    if (piped && out.tty)
        return usage_error(verb, "a terminal does not take a file's bytes; send them through a "
                                 "pipe or into a file");
    if (document) {
        json_open_files(&json, &out);
        json_open_file(&json, copy.path);
    }
    st_status status = file_copy(&copy, explains ? &explain : NULL, &error);
    if (status != ST_OK)
        file_fail(&out, document ? &json : NULL, &error);
    else if (document && !explains)
        summary_json(&copy, &json);
    else if (out.tty && !explains)
        summary_print(&copy, &out);
    if (document) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

/* Gives OPT_GO, or the exit code. */
static int usage_check(const struct verb *verb, const struct copy_options *options)
{
    uint64_t alignment = options->alignment;
    if (alignment && (alignment < ALIGNMENT_MIN || alignment > ALIGNMENT_MAX ||
                      (alignment & (alignment - 1)) != 0))
        return usage_error(verb, "--align takes a power of 2 from 8 to 4096, not %" PRIu64,
                           alignment);
    return OPT_GO;
}

static int copy_run(const struct verb *verb, int argc, char **argv)
{
    struct copy_options options = {.target.durability = TARGET_DURABILITY_DEFAULT};
    struct args args;
    struct filter filter;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = usage_check(verb, &options);
    if (code == OPT_GO &&
        !filter_init(&filter, &options.filtered.filter, verb, &options.filtered.common))
        code = EXIT_USAGE;
    if (code == OPT_GO) {
        code = copy_main(verb, &options, &filter, &args);
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
        "The two may be the same file. OUT may be -, standard output.\n\n"
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
            {"safetensors copy -a 4096 -R 64K model.safetensors model.safetensors",
             "In place: data at a page's start, and room for more metadata."},
            {"safetensors copy model.safetensors - | ssh host 'cat > model.safetensors'",
             "Through a pipe."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .picks = filter_rows,
    .run = copy_run,
};
