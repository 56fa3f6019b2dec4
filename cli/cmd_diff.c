/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors diff: what two files have not in common. */
#include <stdlib.h>
#include <string.h>

#include "differences.h"
#include "cmd.h"
#include "explain.h"
#include "filter.h"
#include "input.h"
#include "memory.h"
#include "opt.h"
#include "progress.h"
#include "text.h"

struct diff_options {
    struct filtered filtered;
    bool brief;
    bool structure;
    bool metadata;
    bool no_metadata;
    const char *rtol;
    const char *atol;
    bool equal_nan;
    bool cast;
    bool renames;
    bool places;
};

static const struct opt diff_options[] = {
    {OPT_FLAG, 'q', "brief", offsetof(struct diff_options, brief),
     .help = "Print only whether the two differ, and look no further than the first difference."},
    {OPT_FLAG, 's', "structure", offsetof(struct diff_options, structure),
     .help = "Compare what the headers tell, and read nothing more, but for --renames."},
    {OPT_FLAG, 'm', "metadata", offsetof(struct diff_options, metadata),
     .help = "Compare only the metadata."},
    {OPT_FLAG, 'M', "no-metadata", offsetof(struct diff_options, no_metadata),
     .help = "Leave the metadata out."},
    {OPT_TEXT, 0, "rtol", offsetof(struct diff_options, rtol), .arg = "NUMBER",
     .help =
         "Take elements for the same where |a - b| <= atol + rtol * |b|. One of the two that is "
         "not given is 0; without both, only the same bits are the same."},
    {OPT_TEXT, 0, "atol", offsetof(struct diff_options, atol), .arg = "NUMBER",
     .help = "See --rtol."},
    {OPT_FLAG, 'n', "equal-nan", offsetof(struct diff_options, equal_nan),
     .help = "Take NaN for the same as NaN of other bits. Of the same bits it always is."},
    {OPT_FLAG, 'c', "cast", offsetof(struct diff_options, cast),
     .help = "Compare the numbers of tensors of two dtypes, which then are no difference by "
             "themselves."},
    {OPT_FLAG, 'R', "renames", offsetof(struct diff_options, renames),
     .help = "Look for tensors that have another name, but the same dtype, shape, and bytes."},
    {OPT_FLAG, 'p', "places", offsetof(struct diff_options, places),
     .help = "Count another offset, or another order of the tensors, as a difference."},
    {0},
};

/* One of the two: what of it passes the filters. */
struct side {
    const char *path;
    struct input input;
    const st_tensor **picked;
    st_side_tensor *tensors;
    st_metadata *metadata;
    st_side side;
};

struct diff {
    const struct diff_options *options;
    const struct filter *filter;
    struct out *out;
    struct json *json; /* NULL: text */
    struct side sides[2];
    st_compare_options wanted;
    st_compare_summary summary;
    struct differences changes;
    struct progress progress;
};

/* -------------------------------------------------------------------------------- sides */

static void side_fill(struct side *side, size_t count)
{
    const st_header *header = input_header(&side->input);
    const size_t entries = st_header_metadata_count(header);
    side->tensors = memory_new(count, sizeof *side->tensors);
    side->metadata = memory_new(entries, sizeof *side->metadata);
    for (size_t i = 0; i < count; i++) {
        struct input_place place = input_place(&side->input, side->picked[i]);
        side->tensors[i] = (st_side_tensor){place.file, place.tensor};
    }
    for (size_t i = 0; i < entries; i++)
        side->metadata[i] = *st_header_metadata_at(header, i);
    side->side = (st_side){.name = side->path,
                           .tensors = side->tensors,
                           .tensor_count = count,
                           .metadata = side->metadata,
                           .metadata_count = entries};
}

static st_status side_open(const struct diff *diff, struct side *side, st_error *error)
{
    size_t count = 0;
    st_status status = input_open(&side->input, side->path, &diff->options->filtered.common, error);
    if (status == ST_OK)
        status = filter_pick(diff->filter, input_header(&side->input), false, &side->picked, &count,
                             error);
    if (status == ST_OK)
        side_fill(side, count);
    return status;
}

static void side_close(struct side *side)
{
    free(side->picked);
    free(side->tensors);
    free(side->metadata);
    input_close(&side->input);
}

/* A pattern that is spelled wrong would make any two files the same. */
static bool nothing_passes(const struct diff *diff)
{
    return !diff->options->metadata && !filter_is_empty(diff->filter) &&
           diff->sides[0].side.tensor_count == 0 && diff->sides[1].side.tensor_count == 0;
}

/* Opens both; of each that cannot be it is said. A file that breaks the rules is no file that differs. */
static bool sides_open(struct diff *diff)
{
    bool opened = true;
    for (int i = 0; i < 2; i++) {
        st_error error;
        struct side *side = &diff->sides[i];
        if (diff->json)
            json_open_file(diff->json, side->path);
        if (side_open(diff, side, &error) != ST_OK) {
            file_fail(diff->out, diff->json, &error);
            out_worst(diff->out, EXIT_UNREADABLE);
            opened = false;
        } else if (i == 1 && opened && nothing_passes(diff)) {
            error_fill(&error, ST_ERR_NOT_FOUND,
                       "%.200s, %.200s: no tensor of either passes the filters",
                       diff->sides[0].path, side->path);
            file_fail(diff->out, diff->json, &error);
            opened = false;
        }
        if (diff->json)
            st_json_emit_object_end(diff->json->emitter);
    }
    return opened;
}

/* ---------------------------------------------------------------------------- comparing */

static bool change_taken(void *ctx, const st_change *change)
{
    struct diff *diff = ctx;
    if (change->differs)
        out_worst(diff->out, EXIT_BAD); /* before it is printed to a reader that may leave */
    if (diff->options->brief)
        return true;
    progress_hide(&diff->progress);
    differences_take(&diff->changes, change);
    return true;
}

static st_status sides_compare(struct diff *diff, st_error *error)
{
    uint64_t total = 0;
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < diff->sides[i].side.tensor_count; k++)
            total += st_tensor_size(diff->sides[i].tensors[k].tensor);
    progress_start(&diff->progress, total);
    progress_part(&diff->progress, total);
    diff->wanted.change = change_taken;
    diff->wanted.ctx = diff;
    diff->wanted.progress = progress_callback(&diff->progress);
    st_status status = st_sides_compare(&diff->sides[0].side, &diff->sides[1].side, &diff->wanted,
                                        &diff->summary, error);
    progress_end(&diff->progress);
    return status;
}

static void brief_print(const struct diff *diff)
{
    struct out *out = diff->out;
    if (diff->json || !diff->summary.differences)
        return;
    out_escaped(out, diff->sides[0].path, strlen(diff->sides[0].path));
    out_text(out, " and ");
    out_escaped(out, diff->sides[1].path, strlen(diff->sides[1].path));
    out_text(out, " differ\n");
}

static void result_json(struct diff *diff)
{
    json_bool(diff->json, "same", diff->summary.differences == 0);
    if (!diff->options->brief)
        differences_json_summary(diff->json, &diff->summary);
}

/* Compares, prints, and writes the member "diff". */
static void diff_print(struct diff *diff)
{
    st_error error;
    const bool whole = !diff->options->brief;
    if (diff->json) {
        json_key(diff->json, "diff");
        st_json_emit_object_begin(diff->json->emitter);
    }
    if (whole)
        differences_begin(&diff->changes);
    st_status status = sides_compare(diff, &error);
    if (whole)
        differences_end(&diff->changes);
    if (status != ST_OK) {
        file_fail(diff->out, diff->json, &error);
        out_worst(diff->out, EXIT_UNREADABLE);
    } else if (diff->json) {
        result_json(diff);
    } else if (whole) {
        differences_print(&diff->changes, &diff->summary);
    } else {
        brief_print(diff);
    }
    if (diff->json)
        st_json_emit_object_end(diff->json->emitter);
}

/* Explains how the tensors that were picked of a file would be read, or the file, if all are. */
static st_status side_explain(const struct diff *diff, const struct side *side, st_error *error)
{
    struct explain explain = {.path = side->path, .out = diff->out, .json = diff->json};
    st_status status = ST_OK;
    if (filter_is_empty(diff->filter))
        return explain_input(&explain, &side->input, error);
    explain_begin(&explain);
    for (size_t i = 0; i < side->side.tensor_count && status == ST_OK; i++) {
        struct request request = request_of(&side->input, side->picked[i]);
        status = explain_one(&explain, &request, error);
    }
    explain_end(&explain);
    return status;
}

static void sides_explain(struct diff *diff)
{
    for (int i = 0; i < 2; i++) {
        st_error error;
        struct side *side = &diff->sides[i];
        if (diff->json)
            json_open_file(diff->json, side->path);
        st_status status = side_open(diff, side, &error);
        if (status == ST_OK)
            status = side_explain(diff, side, &error);
        if (status != ST_OK)
            file_fail(diff->out, diff->json, &error);
        if (diff->json)
            st_json_emit_object_end(diff->json->emitter);
    }
}

/* -------------------------------------------------------------------------------- the verb */

static int diff_main(struct diff *diff)
{
    struct out out;
    struct json json;
    const struct common *common = &diff->options->filtered.common;
    out_open(&out, common->color);
    diff->out = &out;
    if (common->json) {
        diff->json = &json;
        json_open_files(&json, &out);
    }
    diff->changes = (struct differences){.names = {diff->sides[0].path, diff->sides[1].path},
                                         .out = &out,
                                         .json = diff->json,
                                         .places = diff->options->places};
    bool opened = false;
    if (common->explain)
        sides_explain(diff);
    else
        opened = sides_open(diff);
    if (diff->json)
        st_json_emit_array_end(json.emitter);
    if (opened)
        diff_print(diff);
    if (diff->json) {
        st_json_emit_object_end(json.emitter);
        json_close(&json);
    }
    differences_release(&diff->changes);
    side_close(&diff->sides[0]);
    side_close(&diff->sides[1]);
    return out_close(&out);
}

/* Reads a number that is not below 0; gives OPT_GO, or the exit code. */
static int tolerance_read(const struct verb *verb, const char *name, const char *text, double *out)
{
    *out = 0;
    if (!text || (st_json_parse_double(text, strlen(text), out) && *out >= 0))
        return OPT_GO;
    return usage_error(verb, "--%s takes a number that is not below 0, as 1e-5, not %s", name,
                       text_quote(text, strlen(text)).text);
}

static uint32_t parts_wanted(const struct diff_options *options)
{
    if (options->metadata)
        return ST_COMPARE_METADATA;
    return (options->no_metadata ? 0 : ST_COMPARE_METADATA) | ST_COMPARE_TENSORS |
           (options->structure ? 0 : ST_COMPARE_VALUES);
}

/* Turns the options into what the library is asked for. Gives OPT_GO, or the exit code. */
static int diff_read(const struct verb *verb, const struct diff_options *options,
                     st_compare_options *wanted)
{
    const bool close = options->rtol || options->atol;
    if (options->metadata && (options->structure || options->no_metadata))
        return usage_error(verb, "--metadata compares nothing else: leave --structure and "
                                 "--no-metadata out");
    if ((options->metadata || options->structure) && (close || options->equal_nan))
        return usage_error(verb, "no values are read: leave --rtol, --atol, and --equal-nan out");
    *wanted = (st_compare_options){.parts = parts_wanted(options)};
    wanted->flags =
        (close ? ST_COMPARE_CLOSE : 0) | (options->equal_nan ? ST_COMPARE_EQUAL_NAN : 0) |
        (options->cast ? ST_COMPARE_CAST : 0) | (options->renames ? ST_COMPARE_RENAMES : 0) |
        (options->places ? ST_COMPARE_PLACES : 0) | (options->brief ? ST_COMPARE_BRIEF : 0);
    int code = tolerance_read(verb, "rtol", options->rtol, &wanted->rtol);
    return code == OPT_GO ? tolerance_read(verb, "atol", options->atol, &wanted->atol) : code;
}

static int diff_run(const struct verb *verb, int argc, char **argv)
{
    struct diff_options options = {.brief = false};
    struct args args;
    struct filter filter;
    struct diff diff = {.options = &options, .filter = &filter};
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = diff_read(verb, &options, &diff.wanted);
    if (code == OPT_GO &&
        !filter_init(&filter, &options.filtered.filter, verb, &options.filtered.common))
        code = EXIT_USAGE;
    if (code == OPT_GO) {
        diff.sides[0].path = args.at[0];
        diff.sides[1].path = args.at[1];
        code = diff_main(&diff);
        filter_release(&filter);
    }
    filter_options_release(&options.filtered.filter);
    free(args.at);
    return code;
}

const struct verb verb_diff = {
    .name = "diff",
    .brief = "Compare two files: tensors, values, and metadata",
    .about =
        "Tells which tensors and metadata entries only one of two files has, which have another "
        "dtype, shape, or value, and of values how far they are apart: how many elements differ, "
        "the largest error and where it is, the mean error, and the largest error relative to the "
        "second file. Tensors are found by name; filters hold for both files, and not for the "
        "metadata. That tensors lie elsewhere is no difference, unless --places asks for it.\n\n"
        "The exit code is 0 when the files are the same, or as near as --rtol and --atol ask, 1 "
        "when "
        "they differ, and 3 when one cannot be read or breaks the rules of the format.\n\n"
        "Into a pipe each difference is one line of columns between tabs. The first is - (only in "
        "the first file), + (only in the second), > (renamed), ~ (changed), or = (changed, and "
        "near enough); the second says of what: metadata (key, values), tensor (name, dtype, "
        "shape; then the new name, or dtype and shape in the second file), values (name, both "
        "dtypes, shape, elements that differ, of these those beyond the tolerance, largest "
        "absolute error, where, mean absolute error, largest relative error, NaN, Inf), or place "
        "(name, both offsets). Values of an unknown dtype are compared as bytes.",
    .args = (const struct arg[]){{ARG_FILE, "A", 0, NULL}, {ARG_FILE, "B", 0, NULL}, {0}},
    .options = diff_options,
    .examples =
        (const struct example[]){
            {"safetensors diff model.safetensors tuned.safetensors", "All that differs."},
            {"safetensors diff -q a.safetensors b.safetensors && echo same",
             "Whether anything does."},
            {"safetensors diff --cast --rtol 0.01 full.safetensors half.safetensors",
             "Is the file in half precision what the other one is?"},
            {"safetensors diff -s --renames old.safetensors new.safetensors",
             "What was added, removed, and renamed."},
            {"safetensors diff -g 'model.layers.0.*' --atol 1e-6 a.safetensors b.safetensors",
             "One layer, to six decimals."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .picks = filter_rows,
    .run = diff_run,
};
