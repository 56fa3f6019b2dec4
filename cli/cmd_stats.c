/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors stats: what the values of tensors are. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "explain.h"
#include "figures.h"
#include "filter.h"
#include "input.h"
#include "memory.h"
#include "opt.h"
#include "progress.h"
#include "text.h"

#define BINS_NOT_SAID UINT64_MAX

struct stats_options {
    struct filtered filtered;
    const char *quantiles;
    bool histogram;
    uint64_t bins;
    const char *range;
    bool flat;
    bool check;
};

static const struct opt stats_options[] = {
    {OPT_TEXT, 'q', "quantiles", offsetof(struct stats_options, quantiles), .arg = "LIST",
     .help = "Compute quantiles for these probabilities, with commas between: 0.01,0.5,0.99. In "
             "the table each is a column."},
    {OPT_FLAG, 'H', "histogram", offsetof(struct stats_options, histogram),
     .help = "Draw a histogram of each tensor, below all that there is to say of it."},
    {OPT_NUMBER, 'b', "bins", offsetof(struct stats_options, bins), .arg = "COUNT",
     .help = "Draw the histogram with so many bins (default 20)."},
    {OPT_TEXT, 'R', "range", offsetof(struct stats_options, range), .arg = "LOW:HIGH",
     .help = "Draw the histogram of this range. The default is from the least value to the "
             "greatest."},
    {OPT_FLAG, 'l', "flat", offsetof(struct stats_options, flat),
     .help = "Print one line per tensor for a single TENSOR too."},
    {OPT_FLAG, 'c', "check", offsetof(struct stats_options, check),
     .help = "Exit with 1 if any element is NaN or infinite."},
    {0},
};

/* What a card has quantiles for, if nothing else is asked for. */
static const double card_quantiles[] = {0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1};
#define CARD_QUANTILES (sizeof card_quantiles / sizeof card_quantiles[0])
#define CARD_BINS      20

/* What stats does with its file. */
struct stats {
    const struct stats_options *options;
    const char *path;
    struct input input;
    struct out *out;
    struct json *json; /* NULL: text */
    struct progress progress;
    struct figures figures;
    st_stats_options wanted;
    struct request *requests;
    size_t count;
    size_t room;
    bool cards;
    uint64_t seen; /* tensors */
    uint64_t with_nan;
    uint64_t with_infinity;
};

/* ---------------------------------------------------------------------------- asking for */

/* Reads probabilities between commas into `out`, which has room for ST_QUANTILES_MAX. */
static bool quantiles_read(const char *text, double *out, uint32_t *count)
{
    *count = 0;
    for (;;) {
        size_t len = strcspn(text, ",");
        double p;
        if (*count == ST_QUANTILES_MAX || !st_json_parse_double(text, len, &p) || p < 0 || p > 1)
            return false;
        out[(*count)++] = p;
        if (!text[len])
            return true;
        text += len + 1;
    }
}

static bool range_read(const char *text, double *low, double *high)
{
    const char *colon = strchr(text, ':');
    return colon && st_json_parse_double(text, (size_t)(colon - text), low) &&
           st_json_parse_double(colon + 1, strlen(colon + 1), high) && *low < *high;
}

/* Turns the options into what the library is asked for. Gives OPT_GO, or the exit code. */
static int wanted_read(const struct verb *verb, const struct stats_options *options,
                       double *quantiles, st_stats_options *wanted)
{
    *wanted = (st_stats_options){.quantiles = quantiles};
    if (options->quantiles &&
        !quantiles_read(options->quantiles, quantiles, &wanted->quantile_count))
        return usage_error(verb,
                           "--quantiles takes up to %d numbers from 0 to 1, written as 0.5, with "
                           "commas between, not %s",
                           ST_QUANTILES_MAX,
                           text_quote(options->quantiles, strlen(options->quantiles)).text);
    if (options->bins == 0 || (options->bins > ST_BINS_MAX && options->bins != BINS_NOT_SAID))
        return usage_error(verb, "--bins takes a number from 1 to %d", ST_BINS_MAX);
    if (options->range && !range_read(options->range, &wanted->low, &wanted->high))
        return usage_error(verb,
                           "--range takes two numbers, the lower one first, as -0.5:0.5, not %s",
                           text_quote(options->range, strlen(options->range)).text);
    bool said = options->bins != BINS_NOT_SAID;
    if (options->histogram || said || options->range)
        wanted->bin_count = said ? (uint32_t)options->bins : CARD_BINS;
    return OPT_GO;
}

/* ------------------------------------------------------------------------------- picking */

static void request_add(struct stats *stats, const struct request *request)
{
    stats->requests =
        memory_grow(stats->requests, &stats->room, stats->count + 1, sizeof *stats->requests);
    stats->requests[stats->count++] = *request;
}

static void word_add(struct stats *stats, const char *word)
{
    st_error error;
    struct request request;
    if (!request_find(&request, &stats->input, word, NULL)) {
        request_complain(&stats->input, word);
        out_worst(stats->out, EXIT_USAGE);
        return;
    }
    st_status status = request_resolve(&request, &error);
    if (status != ST_OK) {
        complain("%s: %s", stats->path, error.message);
        out_worst(stats->out, exit_of(status));
        return;
    }
    request_add(stats, &request);
}

static st_status requests_fill(struct stats *stats, const struct filter *filter,
                               const struct args *args, st_error *error)
{
    const st_tensor **tensors = NULL;
    size_t count = 0;
    for (size_t i = 1; i < args->count; i++)
        word_add(stats, args->at[i]);
    if (args->count > 1)
        return ST_OK;
    st_status status =
        filter_pick(filter, input_header(&stats->input), false, &tensors, &count, error);
    for (size_t i = 0; i < count; i++) {
        struct request request = request_of(&stats->input, tensors[i]);
        request_add(stats, &request);
    }
    free(tensors);
    return status;
}

static uint64_t request_size(const struct request *request)
{
    return request->index ? request->region.size : st_tensor_size(request->tensor);
}

/* ------------------------------------------------------------------------------ printing */

/* Prints one tensor's; `result` is NULL where its dtype is unknown. */
static void result_print(struct stats *stats, const struct request *request, const st_stats *result)
{
    const st_tensor *tensor = request->tensor;
    progress_hide(&stats->progress);
    if (stats->json) {
        st_json_emit_object_begin(stats->json->emitter);
        figures_json(&stats->figures, request, result, stats->json);
        st_json_emit_object_end(stats->json->emitter);
    } else if (!stats->cards) {
        figures_print_line(&stats->figures, request, result, stats->out);
    } else if (result) {
        if (stats->seen)
            out_text(stats->out, "\n");
        figures_print_card(&stats->figures, request, result, stats->out);
    } else {
        complain("%s: tensor %s: its dtype is unknown, so that it has no values", stats->path,
                 text_quote(tensor->name, tensor->name_len).text);
        out_worst(stats->out, EXIT_USAGE);
    }
    stats->seen++;
}

static void result_count(struct stats *stats, const st_stats *result)
{
    bool infinite = figures_infinite(result) > 0;
    stats->with_nan += result->nan > 0;
    stats->with_infinity += infinite;
    if (stats->options->check && (result->nan || infinite))
        out_worst(stats->out, EXIT_BAD);
}

static st_status request_run(struct stats *stats, const struct request *request, st_error *error)
{
    if (st_dtype_bits(request->tensor->dtype) == 0) {
        result_print(stats, request, NULL);
        return ST_OK;
    }
    st_stats result;
    const st_region *region = request->index ? &request->region : NULL;
    progress_part(&stats->progress, request_size(request));
    st_status status =
        st_stats_read(request->file, request->tensor, region, &stats->wanted, &result, error);
    if (status != ST_OK)
        return status;
    result_count(stats, &result);
    result_print(stats, request, &result);
    st_stats_release(&result);
    return ST_OK;
}

static void totals_count(struct out *out, uint64_t count, const char *what)
{
    out_style(out, count ? STYLE_ERROR : STYLE_SIZE);
    out_print(out, "%" PRIu64, count);
    out_style(out, STYLE_PLAIN);
    out_text(out, what);
}

/* The lines that go through a pipe are tensors, all of them. */
static void totals_print(const struct stats *stats)
{
    struct out *out = stats->out;
    if (stats->cards || !out->tty)
        return;
    out_print(out, "\n%" PRIu64 " tensor%s, ", stats->seen, stats->seen == 1 ? "" : "s");
    totals_count(out, stats->with_nan, " with NaN, ");
    totals_count(out, stats->with_infinity, " with Inf\n");
}

static void totals_json(const struct stats *stats)
{
    json_key(stats->json, "totals");
    st_json_emit_object_begin(stats->json->emitter);
    json_u64(stats->json, "tensors", stats->seen);
    json_u64(stats->json, "with_nan", stats->with_nan);
    json_u64(stats->json, "with_infinity", stats->with_infinity);
    st_json_emit_object_end(stats->json->emitter);
}

/* -------------------------------------------------------------------------------- the verb */

/* One TENSOR is told of at length: with quantiles, and on a terminal with a histogram. */
static void form_choose(struct stats *stats, size_t words)
{
    bool single = words == 1 && !stats->options->flat && !stats->json;
    stats->cards = !stats->json && (single || stats->wanted.bin_count > 0);
    if (stats->cards && stats->wanted.quantile_count == 0) {
        stats->wanted.quantiles = card_quantiles;
        stats->wanted.quantile_count = CARD_QUANTILES;
    }
    if (single && stats->out->tty && stats->wanted.bin_count == 0)
        stats->wanted.bin_count = CARD_BINS;
    stats->figures = (struct figures){.quantiles = stats->wanted.quantiles,
                                      .quantile_count = stats->wanted.quantile_count,
                                      .dtype_width = strlen("dtype"),
                                      .shape_width = strlen("shape")};
}

static st_status requests_run(struct stats *stats, st_error *error)
{
    st_status status = ST_OK;
    uint64_t total = 0;
    for (size_t i = 0; i < stats->count; i++) {
        figures_fit(&stats->figures, &stats->requests[i], stats->out);
        total += request_size(&stats->requests[i]);
    }
    if (!stats->cards && !stats->json && stats->out->tty)
        figures_print_head(&stats->figures, stats->out);
    progress_start(&stats->progress, total);
    stats->wanted.progress = progress_callback(&stats->progress);
    for (size_t i = 0; i < stats->count && status == ST_OK; i++)
        status = request_run(stats, &stats->requests[i], error);
    progress_end(&stats->progress);
    return status;
}

/* Prints the tensors' statistics, and what they come to. */
static st_status requests_measure(struct stats *stats, st_error *error)
{
    if (stats->json) {
        json_key(stats->json, "tensors");
        st_json_emit_array_begin(stats->json->emitter);
    }
    st_status status = requests_run(stats, error);
    if (stats->json) {
        st_json_emit_array_end(stats->json->emitter);
        totals_json(stats);
    } else if (status == ST_OK) {
        totals_print(stats);
    }
    return status;
}

/* Explains how the tensors that were picked would be read, or the file, if all are. */
static st_status requests_explain(const struct stats *stats, bool all, st_error *error)
{
    struct explain explain = {.path = stats->path, .out = stats->out, .json = stats->json};
    st_status status = ST_OK;
    if (all)
        return explain_input(&explain, &stats->input, error);
    explain_begin(&explain);
    for (size_t i = 0; i < stats->count && status == ST_OK; i++)
        status = explain_one(&explain, &stats->requests[i], error);
    explain_end(&explain);
    return status;
}

static st_status file_stats(struct stats *stats, const struct filter *filter,
                            const struct args *args, st_error *error)
{
    st_status status =
        input_open(&stats->input, stats->path, &stats->options->filtered.common, error);
    form_choose(stats, args->count - 1);
    if (status == ST_OK)
        status = requests_fill(stats, filter, args, error);
    if (status == ST_OK && stats->options->filtered.common.explain)
        status = requests_explain(stats, args->count == 1 && filter_is_empty(filter), error);
    else if (status == ST_OK)
        status = requests_measure(stats, error);
    for (size_t i = 0; i < stats->count; i++)
        st_region_release(&stats->requests[i].region);
    free(stats->requests);
    input_close(&stats->input);
    return status;
}

static int stats_main(const struct stats_options *options, const struct filter *filter,
                      const struct args *args, const st_stats_options *wanted)
{
    st_error error;
    struct out out;
    struct json json;
    struct stats stats = {.options = options, .path = args->at[0], .out = &out, .wanted = *wanted};
    out_open(&out, options->filtered.common.color);
    if (options->filtered.common.json) {
        stats.json = &json;
        json_open_files(&json, &out);
        json_open_file(&json, stats.path);
    }
    if (file_stats(&stats, filter, args, &error) != ST_OK)
        file_fail(&out, stats.json, &error);
    if (stats.json) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

static int stats_run(const struct verb *verb, int argc, char **argv)
{
    struct stats_options options = {.bins = BINS_NOT_SAID};
    struct args args;
    struct filter filter;
    st_stats_options wanted;
    double *quantiles = memory_new(ST_QUANTILES_MAX, sizeof *quantiles);
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = wanted_read(verb, &options, quantiles, &wanted);
    if (code == OPT_GO &&
        !filter_init(&filter, &options.filtered.filter, verb, &options.filtered.common))
        code = EXIT_USAGE;
    if (code == OPT_GO) {
        if (args.count > 1 && !filter_is_empty(&filter))
            code = usage_error(verb, "a TENSOR is named: leave --glob, --regex, --exclude and "
                                     "--dtype out");
        else
            code = stats_main(&options, &filter, &args, &wanted);
        filter_release(&filter);
    }
    filter_options_release(&options.filtered.filter);
    free(quantiles);
    free(args.at);
    return code;
}

const struct verb verb_stats = {
    .name = "stats",
    .brief = "Count and measure the values of tensors",
    .about =
        "Reads tensors and prints of each the least and the greatest value, mean, standard "
        "deviation, and how many elements are zero, NaN, and infinite. All but these counts are "
        "of the finite values. BOOL counts as 0 and 1, and a C64 by its absolute value.\n\n"
        "Into a pipe each tensor is one line of ten columns between tabs: dtype, shape, min, max, "
        "mean, std, zeros, NaN, Inf, name; quantiles that are asked for stand before the name. - "
        "stands where no value is finite.\n\n"
        "Of a single TENSOR, and with --histogram of each one, everything is printed: facts, "
        "quantiles, and on a terminal the histogram. An index in brackets after a name picks a "
        "part, as in show.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL},
                                 {ARG_TENSOR, "TENSOR[INDEX]", ARG_OPTIONAL | ARG_MANY, NULL},
                                 {0}},
    .options = stats_options,
    .examples =
        (const struct example[]){
            {"safetensors stats model.safetensors", "A table of all tensors."},
            {"safetensors stats model.safetensors lm_head.weight",
             "All about one, with its histogram."},
            {"safetensors stats -c model.safetensors > /dev/null || echo broken",
             "Is anything NaN or infinite?"},
            {"safetensors stats -g '*.weight' -q 0.001,0.999 model.safetensors",
             "Where the outliers of the weights begin."},
            {"safetensors stats -b 40 -R -0.1:0.1 model.safetensors 'wte.weight[:99]'",
             "The histogram of some rows."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .picks = filter_rows,
    .run = stats_run,
};
