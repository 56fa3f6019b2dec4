/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors report: a page about a file, for a browser. */
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
#include "report.h"
#include "text.h"

struct report_options {
    struct filtered filtered;
    const char *output;
    const char *title;
    bool no_stats;
    bool dry_run;
};

static const struct opt report_options[] = {
    {OPT_FILE, 'o', "output", offsetof(struct report_options, output), .arg = "OUT",
     .help = "Write the page to this file instead of standard output. It is there when it is "
             "whole; until then what was there before stays."},
    {OPT_FLAG, 'S', "no-stats", offsetof(struct report_options, no_stats),
     .help = "Leave statistics and histograms out: only the header is read."},
    {OPT_TEXT, 't', "title", offsetof(struct report_options, title), .arg = "TEXT",
     .help = "Head the page with this instead of the file's name."},
    {OPT_FLAG, 'n', "dry-run", offsetof(struct report_options, dry_run),
     .help = "Tell what would be written and read, and write nothing."},
    {0},
};

/* What the verb does with its file. */
struct reporting {
    const struct report_options *options;
    const struct filter *filter;
    struct explain *explain; /* NULL: write the page */
    const char *target;      /* NULL: standard output */
    uint64_t reads;          /* bytes of tensors that are read for the statistics */
    uint64_t size;           /* of the page */
    double seconds;
    struct report report;
};

/* ------------------------------------------------------------------------------ measuring */

static st_status tensors_measure(const struct reporting *reporting, struct progress *progress,
                                 st_stats *stats, st_error *error)
{
    const struct report *report = &reporting->report;
    st_status status = ST_OK;
    st_stats_options wanted = {.bin_count = REPORT_BINS, .progress = progress_callback(progress)};
    for (size_t i = 0; i < report->count && status == ST_OK; i++) {
        const st_tensor *tensor = report->tensors[i];
        if (st_dtype_bits(tensor->dtype) == 0)
            continue;
        progress_part(progress, st_tensor_size(tensor));
        struct input_place place = input_place(report->input, tensor);
        status = st_stats_read(place.file, place.tensor, NULL, &wanted, &stats[i], error);
    }
    progress_hide(progress);
    return status;
}

/* Writes the page, the tensors being measured or not wanted to be. */
static void page_write(struct reporting *reporting, struct out *page)
{
    struct report *report = &reporting->report;
    const st_tensor **sorted = memory_new(report->count, sizeof *sorted);
    struct listing listing = {
        .header = input_header(report->input), .tensors = report->tensors, .count = report->count};
    for (size_t i = 0; i < report->count; i++)
        sorted[i] = report->tensors[i];
    tree_init_apart(&report->tree, sorted, report->count);
    report->dtypes = listing_sum(&listing, &report->all, &report->dtype_count);
    report->out = page;
    report_write(report);
    free(report->dtypes);
    tree_release(&report->tree);
    free(sorted);
}

/* ------------------------------------------------------------------------------ writing */

static st_status page_open(const struct reporting *reporting, struct out *page, st_error *error)
{
    if (reporting->target)
        return out_replace(page, reporting->target, error);
    out_open(page, COLOR_NEVER);
    page->text_flags = 0;
    return ST_OK;
}

/* Measures the tensors and writes the page, to an open stream. */
static st_status page_fill(struct reporting *reporting, struct progress *progress, struct out *page,
                           st_error *error)
{
    struct report *report = &reporting->report;
    st_stats *stats = NULL;
    st_status status = ST_OK;
    if (!reporting->options->no_stats) {
        stats = memory_new(report->count, sizeof *stats);
        status = tensors_measure(reporting, progress, stats, error);
    }
    /* A stream that somebody waits at the other end of may block: there a signal is to end the program. */
    if (!page->temporary)
        progress_end(progress);
    report->stats = stats;
    if (status == ST_OK && !progress_signal())
        page_write(reporting, page);
    if (status == ST_OK && progress_signal())
        status = error_fill(error, ST_ERR_STOPPED, "%.300s: stopped by a signal", report->path);
    for (size_t i = 0; stats && i < report->count; i++)
        st_stats_release(&stats[i]);
    free(stats);
    return status;
}

/* The signals are caught for as long as a temporary file is there that one of them would leave behind. */
static st_status page_make(struct reporting *reporting, struct out *out, st_error *error)
{
    struct out page;
    struct progress progress;
    uint64_t start = progress_now();
    progress_start(&progress, reporting->reads);
    st_status status = page_open(reporting, &page, error);
    if (status != ST_OK) {
        progress_end(&progress);
        return status;
    }
    bool held = page.temporary != NULL;
    status = page_fill(reporting, &progress, &page, error);
    if (reporting->target) {
        off_t size = ftello(page.stream);
        reporting->size = size > 0 ? (uint64_t)size : 0;
        if (status == ST_OK)
            out_worst(out, out_close(&page));
        else
            out_discard(&page);
    }
    if (held)
        progress_end(&progress);
    out_signal(out);
    reporting->seconds = (double)(progress_now() - start) / 1e9;
    return status;
}

/* Explains how what would be measured is read: the whole file, if there are no filters. */
static st_status reads_explain(const struct reporting *reporting, st_error *error)
{
    const struct report *report = &reporting->report;
    struct explain *explain = reporting->explain;
    st_status status = ST_OK;
    if (!report->filtered)
        return explain_input(explain, report->input, error);
    explain_begin(explain);
    for (size_t i = 0; i < report->count && status == ST_OK; i++) {
        struct request request = request_of(report->input, report->tensors[i]);
        status = explain_one(explain, &request, error);
    }
    explain_end(explain);
    return status;
}

static st_status file_report(struct reporting *reporting, struct out *out, st_error *error)
{
    struct report *report = &reporting->report;
    struct input input;
    st_status status =
        input_open(&input, report->path, &reporting->options->filtered.common, error);
    report->input = &input;
    if (status == ST_OK)
        status = filter_pick(reporting->filter, input_header(&input), false, &report->tensors,
                             &report->count, error);
    if (status == ST_OK && report->count == 0 && report->filtered)
        status = error_fill(error, ST_ERR_NOT_FOUND, "%.300s: no tensor passes the filters",
                            report->path);
    if (status == ST_OK && reporting->target)
        status = out_replace_look(reporting->target, error);
    for (size_t i = 0; i < report->count && !reporting->options->no_stats; i++)
        if (st_dtype_bits(report->tensors[i]->dtype))
            reporting->reads += st_tensor_size(report->tensors[i]);
    if (status == ST_OK && reporting->explain)
        status = reads_explain(reporting, error);
    else if (status == ST_OK && !reporting->options->dry_run)
        status = page_make(reporting, out, error);
    free(report->tensors);
    input_close(&input);
    return status;
}

/* ------------------------------------------------------------------------------- the verb */

static void summary_print(const struct reporting *reporting, struct out *out)
{
    const char *target = reporting->target ? reporting->target : "standard output";
    size_t count = reporting->report.count;
    const char *plural = count == 1 ? "" : "s";
    out_escaped(out, target, strlen(target));
    if (reporting->options->dry_run)
        out_print(out, ": would be a page about %zu tensor%s, of which %s are read\n", count,
                  plural, text_bytes(reporting->reads).text);
    else
        out_print(out, ": a page about %zu tensor%s, %s, in %.2f s\n", count, plural,
                  text_bytes(reporting->size).text, reporting->seconds);
}

static void summary_json(const struct reporting *reporting, struct json *json)
{
    bool dry = reporting->options->dry_run;
    json_key(json, "output");
    if (reporting->target)
        st_json_emit_string(json->emitter, reporting->target, strlen(reporting->target));
    else
        st_json_emit_null(json->emitter);
    json_bool(json, "dry_run", dry);
    json_u64(json, "tensors", reporting->report.count);
    json_u64(json, "reads", reporting->reads);
    json_key(json, "size");
    if (dry)
        st_json_emit_null(json->emitter);
    else
        st_json_emit_u64(json->emitter, reporting->size);
    json_key(json, "seconds");
    if (dry)
        st_json_emit_null(json->emitter);
    else
        json_double(json, reporting->seconds);
}

/* Gives OPT_GO, or the exit code. */
static int output_check(const struct verb *verb, const struct reporting *reporting,
                        const struct out *out)
{
    if (reporting->target || reporting->explain || reporting->options->dry_run)
        return OPT_GO;
    if (reporting->options->filtered.common.json)
        return usage_error(verb,
                           "--json would stand in the middle of the page: name an OUT with -o");
    if (out->tty)
        return usage_error(verb, "a terminal shows no pages: name an OUT with -o");
    return OPT_GO;
}

static int report_main(const struct verb *verb, struct reporting *reporting)
{
    const struct common *common = &reporting->options->filtered.common;
    st_error error;
    struct out out;
    struct json json;
    struct json *document = common->json ? &json : NULL;
    struct explain explain = {.path = reporting->report.path, .out = &out, .json = document};
    out_open(&out, common->color);
    out_go_on(&out);
    reporting->explain = common->explain ? &explain : NULL;
    int code = output_check(verb, reporting, &out);
    if (code != OPT_GO)
        return code;
    if (document) {
        json_open_files(&json, &out);
        json_open_file(&json, reporting->report.path);
    }
    st_status status = file_report(reporting, &out, &error);
    if (status != ST_OK)
        file_fail(&out, document, &error);
    else if (document && !common->explain)
        summary_json(reporting, &json);
    else if (!common->explain && (reporting->options->dry_run || (out.tty && reporting->target)))
        summary_print(reporting, &out);
    if (document) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

static int report_run(const struct verb *verb, int argc, char **argv)
{
    struct report_options options = {0};
    struct args args;
    struct filter filter;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO &&
        !filter_init(&filter, &options.filtered.filter, verb, &options.filtered.common))
        code = EXIT_USAGE;
    if (code == OPT_GO) {
        bool to_stdout = !options.output || strcmp(options.output, "-") == 0;
        struct reporting reporting = {.options = &options,
                                      .filter = &filter,
                                      .target = to_stdout ? NULL : options.output,
                                      .report = {.path = args.at[0],
                                                 .title = options.title,
                                                 .filtered = !filter_is_empty(&filter)}};
        code = report_main(verb, &reporting);
        filter_release(&filter);
    }
    filter_options_release(&options.filtered.filter);
    free(args.at);
    return code;
}

const struct verb verb_report = {
    .name = "report",
    .brief = "Write a page about a file for a browser",
    .about =
        "Writes one HTML page about a file: what its header says, a map of the sizes by layer and "
        "dtype to zoom into, the tree of the tensors with statistics and a histogram of each, and "
        "the metadata. The page loads nothing, from the network or elsewhere, and can be sent as "
        "it is. It can be read without scripts too, all but the map, if there are at most 2000 "
        "tensors; of more it has rows where they are looked at.\n\n"
        "Text from the file is escaped: control, invisible, and reordering characters as in ls, "
        "and what means something in HTML. The same file gives the same page.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {0}},
    .options = report_options,
    .examples =
        (const struct example[]){
            {"safetensors report model.safetensors -o report.html", "The page of a model."},
            {"safetensors report --no-stats model.safetensors -o report.html",
             "Without reading the tensors, in no time."},
            {"safetensors report -g '*.layers.0.*' model.safetensors > layer.html",
             "Of some tensors only."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .picks = filter_rows,
    .run = report_run,
};
