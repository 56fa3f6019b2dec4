/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors bench: how fast a file gets into memory, by each strategy. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_run.h"
#include "cmd.h"
#include "explain.h"
#include "json.h"
#include "nearest.h"
#include "opt.h"
#include "text.h"

#define RUNS_DEFAULT 3
#define RUNS_MAX     1000
#define THREADS_MAX  1024
#define MEMORY_MIN   (UINT64_C(1) << 20)
#define GB           1e9

struct bench_options {
    struct common common;
    uint64_t runs;
    uint64_t threads; /* 0: not said */
    uint64_t memory;  /* 0: not said */
    const char *ways;
    bool cold;
    bool warm;
};

static const struct opt bench_options[] = {
    {OPT_NUMBER, 'n', "runs", offsetof(struct bench_options, runs), .arg = "COUNT",
     .help = "Load so many times by each strategy, which take turns (default 3)."},
    {OPT_TEXT, 'i', "io", offsetof(struct bench_options, ways), .arg = "LIST",
     .help = "Try these only, with commas between: auto, pread, map, direct, uring, dontcache, "
             "populate, views."},
    {OPT_NUMBER, 't', "threads", offsetof(struct bench_options, threads), .arg = "COUNT",
     .help =
         "Let so many threads work at once, at most. The default is as many as there are CPUs, up "
         "to 8."},
    {OPT_SIZE, 'm', "memory", offsetof(struct bench_options, memory), .arg = "BYTES",
     .help =
         "Load piece by piece, with so much in memory at once. The default is everything, or 256 "
         "MiB of a file that takes more than half of the spare memory."},
    {OPT_FLAG, 0, "cold", offsetof(struct bench_options, cold),
     .help = "Measure with the file dropped from the page cache before each run, and not with the "
             "file in it, unless --warm is given too."},
    {OPT_FLAG, 0, "warm", offsetof(struct bench_options, warm),
     .help = "Measure with the file in the page cache only."},
    {0},
};

static const char *const state_names[STATES] = {[STATE_COLD] = "cold", [STATE_WARM] = "warm"};
static const char *const ceiling_names[STATES] = {[STATE_COLD] = "disk", [STATE_WARM] = "memory"};

/* --------------------------------------------------------------------------------- figures */

/* Gives the part of the ceiling that a strategy reaches; NaN without a ceiling. */
static double share_of(const struct bench_state *state, const struct bench_series *series)
{
    return state->ceiling.count ? series->rate / state->ceiling.rate : NAN;
}

static bool is_measured(const struct bench_state *state, unsigned way)
{
    return state->results[way].series.count > 0;
}

/* Tells whether a strategy is the one that was chosen where the choice was left to the library. */
static bool is_chosen(const struct bench_state *state, unsigned way)
{
    return way != WAY_AUTO && is_measured(state, WAY_AUTO) &&
           state->results[WAY_AUTO].said.io == way;
}

/* ---------------------------------------------------------------------------- for programs */

/* What stands in a line between tabs: "-" for what is not there. */
static void field_print(struct out *out, double value, int digits)
{
    if (isnan(value))
        out_text(out, "\t-");
    else
        out_print(out, "\t%.*f", digits, value);
}

static void line_print(struct out *out, const struct bench *bench, int number, const char *name,
                       const char *io, const struct bench_series *series)
{
    const struct bench_state *state = &bench->at[number];
    bool ceiling = series == &state->ceiling, there = series->count > 0;
    out_print(out, "%s\t%s\t%s", state_names[number], name, io);
    field_print(out, there ? series->median : NAN, 6);
    field_print(out, there ? series->low : NAN, 6);
    field_print(out, there ? series->high : NAN, 6);
    field_print(out, there ? series->rate / GB : NAN, 3);
    field_print(out, there && !ceiling ? share_of(state, series) : NAN, 3);
    field_print(out, there ? series->cpu_median : NAN, 6);
    out_text(out, "\t");
    out_escaped(out, bench->path, strlen(bench->path));
    out_text(out, "\n");
}

static void lines_print(struct out *out, const struct bench *bench)
{
    for (int i = 0; i < STATES; i++) {
        const struct bench_state *state = &bench->at[i];
        if (*state->reason)
            continue;
        line_print(out, bench, i, ceiling_names[i], "-", &state->ceiling);
        for (unsigned way = 0; way < WAYS; way++)
            if (is_measured(state, way))
                line_print(out, bench, i, bench_way_name(way),
                           st_io_name(state->results[way].said.io), &state->results[way].series);
    }
}

/* ------------------------------------------------------------------------------ for people */

static void head_print(struct out *out, const struct bench *bench)
{
    static const char *const places[] = {
        [ST_LATENCY_UNKNOWN] = "somewhere",
        [ST_LATENCY_MEMORY] = "in memory",
        [ST_LATENCY_LOCAL] = "on a local disk",
        [ST_LATENCY_NETWORK] = "on a network",
    };
    bool known = bench->latency < sizeof places / sizeof places[0];
    out_style(out, STYLE_HEAD);
    out_escaped(out, bench->path, strlen(bench->path));
    out_style(out, STYLE_PLAIN);
    if (input_is_checkpoint(bench->path))
        out_print(out, " (%zu file%s)", bench->files.count, bench->files.count == 1 ? "" : "s");
    out_print(out, ": %zu tensor%s, %s, %s, %zu run%s each\n", bench->tensors,
              bench->tensors == 1 ? "" : "s", text_bytes(bench->bytes).text,
              places[known ? bench->latency : ST_LATENCY_UNKNOWN], bench->runs,
              bench->runs == 1 ? "" : "s");
    if (bench->ahead)
        out_print(out, "Loaded piece by piece, %s in memory at once.\n",
                  text_bytes(bench->ahead).text);
}

static void row_print(struct out *out, const struct bench_state *state, const char *name, char mark,
                      const struct bench_series *series)
{
    double share = share_of(state, series);
    out_print(out, "  %-9s %c ", name, mark);
    out_style(out, STYLE_SIZE);
    out_print(out, "%8.3f", series->median);
    out_style(out, STYLE_PLAIN);
    out_print(out, " %8.3f %8.3f %8.2f", series->low, series->high, series->rate / GB);
    if (series == &state->ceiling || isnan(share))
        out_blanks(out, 10);
    else
        out_print(out, " %7.0f %%", 100 * share);
    out_print(out, " %8.3f\n", series->cpu_median);
}

static void table_print(struct out *out, const struct bench *bench, int number)
{
    const struct bench_state *state = &bench->at[number];
    out_text(out, "\n");
    out_style(out, STYLE_DIM);
    out_print(out, "%-13s %8s %8s %8s %8s %9s %8s\n", state_names[number], "seconds", "least",
              "most", "GB/s", number == STATE_COLD ? "of disk" : "of memory", "CPU s");
    out_style(out, STYLE_PLAIN);
    if (state->ceiling.count)
        row_print(out, state, ceiling_names[number], ' ', &state->ceiling);
    for (unsigned way = 0; way < WAYS; way++)
        if (is_measured(state, way))
            row_print(out, state, bench_way_name(way), is_chosen(state, way) ? '*' : ' ',
                      &state->results[way].series);
}

/* One sentence of a state: below the tables, or beside what goes through a pipe. */
static void note_print(struct out *out, const struct bench *bench, int number, const char *what,
                       const char *why)
{
    if (!*why)
        return;
    if (out->tty)
        out_print(out, "%s: %s%s\n", state_names[number], what, why);
    else
        complain("%s: %s: %s%s", bench->path, state_names[number], what, why);
}

static void notes_print(struct out *out, const struct bench *bench, int number)
{
    const struct bench_state *state = &bench->at[number];
    if (bench->states >> number & 1u)
        note_print(out, bench, number, "not measured: ", state->reason);
    note_print(out, bench, number, "no ceiling: ", state->no_ceiling);
    note_print(out, bench, number, "", state->note);
}

/* Says how what was left to the library was done, and what was not done as it was asked for. */
static void choices_print(struct out *out, const struct bench *bench, int number)
{
    const struct bench_state *state = &bench->at[number];
    for (unsigned way = 0; way < WAYS; way++)
        if (is_measured(state, way) && bench_is_replaced(state, way)) {
            out_print(out, "%s: %s could not be had: ", state_names[number], bench_way_name(way));
            out_message(out, state->results[way].said.text);
            out_text(out, "\n");
        }
    if (is_measured(state, WAY_AUTO)) {
        out_print(out, "%s: auto chose ", state_names[number]);
        out_message(out, state->results[WAY_AUTO].said.text);
        out_text(out, "\n");
    }
}

static void report_print(struct out *out, const struct bench *bench, bool first)
{
    if (!out->tty) {
        lines_print(out, bench);
        for (int i = 0; i < STATES; i++)
            notes_print(out, bench, i);
        return;
    }
    if (!first)
        out_text(out, "\n");
    head_print(out, bench);
    for (int i = 0; i < STATES; i++)
        if (!*bench->at[i].reason)
            table_print(out, bench, i);
    out_text(out, "\n");
    for (int i = 0; i < STATES; i++) {
        notes_print(out, bench, i);
        choices_print(out, bench, i);
    }
}

/* ------------------------------------------------------------------------------------ JSON */

static void text_or_null(struct json *json, const char *key, const char *text)
{
    json_key(json, key);
    if (text && *text)
        st_json_emit_string(json->emitter, text, strlen(text));
    else
        st_json_emit_null(json->emitter);
}

static void number_json(struct json *json, const char *key, double value)
{
    json_key(json, key);
    if (isnan(value))
        st_json_emit_null(json->emitter);
    else
        json_double(json, value);
}

static void series_json(struct json *json, const struct bench_series *series)
{
    json_u64(json, "bytes", series->bytes);
    json_key(json, "seconds");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < series->count; i++)
        json_double(json, series->seconds[i]);
    st_json_emit_array_end(json->emitter);
    number_json(json, "median", series->median);
    number_json(json, "cpu", series->cpu_median);
    number_json(json, "rate", series->rate);
}

static void ceiling_json(struct json *json, const struct bench_state *state, int number)
{
    json_key(json, "ceiling");
    st_json_emit_object_begin(json->emitter);
    json_text(json, "name", ceiling_names[number]);
    text_or_null(json, "reason", state->no_ceiling);
    if (state->ceiling.count)
        series_json(json, &state->ceiling);
    st_json_emit_object_end(json->emitter);
}

static void result_json(struct json *json, const struct bench_state *state, unsigned way)
{
    const struct bench_result *result = &state->results[way];
    st_json_emit_object_begin(json->emitter);
    json_text(json, "strategy", bench_way_name(way));
    series_json(json, &result->series);
    number_json(json, "share", share_of(state, &result->series));
    json_bool(json, "replaced", bench_is_replaced(state, way));
    json_key(json, "explanation");
    st_json_emit_object_begin(json->emitter);
    explain_json(&result->said, json);
    st_json_emit_object_end(json->emitter);
    st_json_emit_object_end(json->emitter);
}

static void state_json(struct json *json, const struct bench_state *state, int number)
{
    st_json_emit_object_begin(json->emitter);
    json_text(json, "state", state_names[number]);
    text_or_null(json, "reason", state->reason);
    text_or_null(json, "note", state->note);
    json_key(json, "resident");
    if (state->resident == UINT64_MAX)
        st_json_emit_null(json->emitter);
    else
        st_json_emit_u64(json->emitter, state->resident);
    text_or_null(json, "auto",
                 is_measured(state, WAY_AUTO) ? st_io_name(state->results[WAY_AUTO].said.io)
                                              : NULL);
    if (!*state->reason)
        ceiling_json(json, state, number);
    json_key(json, "results");
    st_json_emit_array_begin(json->emitter);
    for (unsigned way = 0; way < WAYS; way++)
        if (is_measured(state, way))
            result_json(json, state, way);
    st_json_emit_array_end(json->emitter);
    st_json_emit_object_end(json->emitter);
}

static void bench_json(struct json *json, const struct bench *bench)
{
    json_u64(json, "size", bench->size);
    if (input_is_checkpoint(bench->path))
        json_u64(json, "shards", bench->files.count);
    json_u64(json, "tensors", bench->tensors);
    json_u64(json, "bytes", bench->bytes);
    json_text(json, "latency", explain_latency(bench->latency));
    json_u64(json, "runs", bench->runs);
    json_key(json, "memory");
    if (bench->ahead)
        st_json_emit_u64(json->emitter, bench->ahead);
    else
        st_json_emit_null(json->emitter);
    json_key(json, "states");
    st_json_emit_array_begin(json->emitter);
    for (int i = 0; i < STATES; i++)
        if (bench->states >> i & 1u)
            state_json(json, &bench->at[i], i);
    st_json_emit_array_end(json->emitter);
}

/* -------------------------------------------------------------------------------- the verb */

/* Gives the way of this name, or complains and gives WAYS. */
static unsigned way_find(const struct verb *verb, const char *name, size_t len)
{
    char hint[512];
    struct nearest nearest;
    nearest_init(&nearest, name, len);
    for (unsigned way = 0; way < WAYS; way++) {
        const char *known = bench_way_name(way);
        if (strlen(known) == len && memcmp(known, name, len) == 0)
            return way;
        nearest_offer(&nearest, known, strlen(known));
    }
    nearest_print(&nearest, hint, sizeof hint);
    usage_error(verb, "--io takes strategies with commas between, and %s is none%s",
                text_quote(name, len).text, hint);
    return WAYS;
}

/* Reads names between commas. Gives OPT_GO, or the exit code. */
static int ways_read(const struct verb *verb, const char *list, unsigned *ways)
{
    *ways = list ? 0 : (1u << WAYS) - 1;
    while (list) {
        size_t len = strcspn(list, ",");
        unsigned way = way_find(verb, list, len);
        if (way == WAYS)
            return EXIT_USAGE;
        *ways |= 1u << way;
        list = list[len] ? list + len + 1 : NULL;
    }
    return OPT_GO;
}

/* Gives OPT_GO, or the exit code. */
static int asked_read(const struct verb *verb, const struct bench_options *options,
                      const struct args *args, struct bench *asked)
{
    if (options->runs == 0 || options->runs > RUNS_MAX)
        return usage_error(verb, "--runs takes a number from 1 to %d", RUNS_MAX);
    if (options->threads > THREADS_MAX)
        return usage_error(verb, "--threads takes a number up to %d", THREADS_MAX);
    if (options->memory && options->memory < MEMORY_MIN)
        return usage_error(verb, "--memory takes 1M or more");
    for (size_t i = 0; i < args->count; i++)
        if (strcmp(args->at[i], "-") == 0)
            return usage_error(verb, "standard input lies nowhere: name the FILE");
    *asked = (struct bench){.common = &options->common,
                            .runs = (size_t)options->runs,
                            .threads = (uint32_t)options->threads,
                            .ahead = options->memory};
    bool both = options->cold == options->warm;
    asked->states = (both || options->cold ? 1u << STATE_COLD : 0) |
                    (both || options->warm ? 1u << STATE_WARM : 0);
    return ways_read(verb, options->ways, &asked->ways);
}

static int bench_main(const struct bench *asked, const struct args *args)
{
    struct out out;
    struct json json;
    bool document = asked->common->json;
    out_open(&out, asked->common->color);
    if (document)
        json_open_files(&json, &out);
    for (size_t i = 0; i < args->count && !progress_signal(); i++) {
        st_error error;
        struct bench bench = *asked;
        bench.path = args->at[i];
        if (document)
            json_open_file(&json, bench.path);
        if (bench_run(&bench, &error) != ST_OK)
            file_fail(&out, document ? &json : NULL, &error);
        else if (document)
            bench_json(&json, &bench);
        else
            report_print(&out, &bench, i == 0);
        if (document)
            st_json_emit_object_end(json.emitter);
        bench_release(&bench);
    }
    out_signal(&out);
    if (document)
        json_close_files(&json);
    return out_close(&out);
}

static int bench_verb_run(const struct verb *verb, int argc, char **argv)
{
    struct bench_options options = {.runs = RUNS_DEFAULT};
    struct bench asked;
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = asked_read(verb, &options, &args, &asked);
    if (code == OPT_GO)
        code = bench_main(&asked, &args);
    free(args.at);
    return code;
}

const struct verb verb_bench = {
    .name = "bench",
    .brief = "Measure how fast files get into memory, by each strategy",
    .about =
        "Loads all tensors of each FILE, those of all shards at once if it is a folder or an "
        "index, "
        "by every strategy, first with the file dropped from the "
        "page cache before each run (cold), then with the file in it (warm), and prints the "
        "median of the seconds, the least and the most, GB (1000000000 bytes) per second, and "
        "the seconds of all CPUs. The strategies take turns. views are loads that give a "
        "mapping instead of copies, with every byte of it read once.\n\n"
        "The ceiling when cold is reading the file past the page cache (O_DIRECT), 16 MiB at a "
        "time into the same memory; when warm, copying as much by all threads into memory that "
        "was not touched before, or with --memory into so much again and again. Its GB/s are "
        "those of its best run, and of them a strategy has a share. * marks the strategy that "
        "auto chose. One that the system refuses is measured as what replaces it, and named "
        "below the table.\n\n"
        "Into a pipe each line has ten columns between tabs: cold or warm; the strategy, or "
        "disk and memory, the ceilings; what it came to; seconds, least, most; GB/s; share; CPU "
        "seconds; and the file's name. - stands for what is not there.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", ARG_MANY, NULL}, {0}},
    .options = bench_options,
    .examples =
        (const struct example[]){
            {"safetensors bench model.safetensors", "Everything, on this disk."},
            {"safetensors bench --cold -i auto,pread -n 9 model.safetensors",
             "Is the choice better than plain reads?"},
            {"safetensors bench --json model.safetensors > bench.json",
             "All figures, with every run."},
            {0},
        },
    .reads_files = true,
    .run = bench_verb_run,
};
