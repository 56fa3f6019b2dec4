/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors check: every rule that files break. */
#include <inttypes.h>
#include <safetensors/checkpoint.h>
#include <safetensors/edit.h>
#include <safetensors/inspect.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "findings.h"
#include "input.h"
#include "json.h"
#include "leftover.h"
#include "opt.h"
#include "progress.h"
#include "salvage.h"
#include "severity.h"
#include "text.h"

struct check_options {
    struct common common;
    bool quiet;
    bool strict;
    bool rules;
    bool dry;
    const char *repair;
    uint64_t max; /* findings printed per file */
};

static const struct opt check_options[] = {
    {OPT_FLAG, 'q', "quiet", offsetof(struct check_options, quiet),
     .help = "Print nothing: the exit code tells."},
    {OPT_FLAG, 'S', "strict", offsetof(struct check_options, strict),
     .help = "Exit with 1 for warnings too."},
    {OPT_NUMBER, 'm', "max", offsetof(struct check_options, max), .arg = "COUNT",
     .help = "Print at most so many findings per file (default 1000); all are counted."},
    {OPT_FILE, 'r', "repair", offsetof(struct check_options, repair), .arg = "OUT",
     .help = "Save what can be saved of FILE, which stays as it is, in a new file that is valid, "
             "and print what was saved, changed, and lost. Of a folder or an index OUT is a new "
             "folder."},
    {OPT_FLAG, 'n', "dry-run", offsetof(struct check_options, dry),
     .help = "With --repair: print the same, and write nothing."},
    {OPT_FLAG, 0, "rules", offsetof(struct check_options, rules),
     .help = "Print all rules instead: identifier, severity, text."},
    {0},
};

/* What check does with each file. */
struct check {
    const struct check_options *options;
    const char *path;
    struct out *out;
    struct json *json;    /* NULL: text */
    uint64_t printed;     /* findings of this file */
    struct findings kept; /* of an index, until its files have been checked */
    struct progress progress;
};

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* Makes room on the terminal for what is printed. Elsewhere the bar is not in its way. */
static void bar_hide(struct check *check)
{
    if (check->out->tty)
        progress_hide(&check->progress);
}

/* ------------------------------------------------------------------------------ findings */

/* FILE:OFFSET: SEVERITY: MESSAGE [RULE], as compilers print. */
static void finding_print(const struct check *check, const st_finding *finding)
{
    struct out *out = check->out;
    out_escaped(out, check->path, strlen(check->path));
    if (finding->offset != ST_NO_OFFSET)
        out_print(out, ":%" PRIu64, finding->offset);
    out_text(out, ": ");
    severity_print(out, finding->severity);
    out_text(out, ": ");
    out_message(out, finding->message);
    out_style(out, STYLE_DIM);
    out_print(out, " [%s]", finding->rule->id);
    out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
}

static void finding_json(struct json *json, const st_finding *finding)
{
    st_json_emit_object_begin(json->emitter);
    json_text(json, "rule", finding->rule->id);
    json_text(json, "severity", severity_name(finding->severity));
    json_text(json, "status", st_status_name(finding->status));
    json_key(json, "offset");
    if (finding->offset == ST_NO_OFFSET)
        st_json_emit_null(json->emitter);
    else
        st_json_emit_u64(json->emitter, finding->offset);
    json_key(json, "tensor");
    if (finding->name)
        st_json_emit_string(json->emitter, finding->name, finding->name_len);
    else
        st_json_emit_null(json->emitter);
    json_text(json, "message", finding->message);
    st_json_emit_object_end(json->emitter);
}

static void finding_judge(const struct check *check, const st_finding *finding)
{
    if (finding->severity == ST_SEVERITY_ERROR ||
        (finding->severity == ST_SEVERITY_WARNING && check->options->strict))
        out_worst(check->out, EXIT_BAD);
}

static bool finding_take(void *ctx, const st_finding *finding)
{
    struct check *check = ctx;
    finding_judge(check, finding);
    if (check->options->quiet || check->printed == check->options->max)
        return progress_signal() == 0;
    check->printed++;
    bar_hide(check);
    if (check->json)
        finding_json(check->json, finding);
    else
        finding_print(check, finding);
    return progress_signal() == 0;
}

/* ------------------------------------------------------------------------------- summary */

static uint64_t findings_of(const st_check_summary *summary)
{
    return summary->errors + summary->warnings + summary->notes;
}

/* What was found, in a line that is not yet at its end. */
static void counts_print(const struct check *check, const st_check_summary *summary)
{
    struct out *out = check->out;
    uint64_t omitted = findings_of(summary) - check->printed;
    out_escaped(out, check->path, strlen(check->path));
    out_text(out, ": ");
    out_style(out, summary->errors ? STYLE_ERROR : STYLE_SIZE);
    out_text(out, summary->errors ? "bad" : "good");
    out_style(out, STYLE_PLAIN);
    out_print(out, ", %" PRIu64 " error%s, %" PRIu64 " warning%s, %" PRIu64 " note%s",
              summary->errors, plural(summary->errors), summary->warnings,
              plural(summary->warnings), summary->notes, plural(summary->notes));
    if (omitted)
        out_print(out, ", of which %" PRIu64 " more %s not printed", omitted,
                  omitted == 1 ? "is" : "are");
}

static void summary_print(const struct check *check, const st_check_summary *summary)
{
    struct out *out = check->out;
    counts_print(check, summary);
    out_print(out, "; %" PRIu64 " tensor%s in ", summary->tensors, plural(summary->tensors));
    if (out->tty)
        out_print(out, "%s\n", text_bytes(summary->file_size).text);
    else
        out_print(out, "%" PRIu64 " bytes\n", summary->file_size);
}

static void counts_json(const struct check *check, const st_check_summary *summary)
{
    struct json *json = check->json;
    json_bool(json, "good", summary->errors == 0 && !(check->options->strict && summary->warnings));
    json_u64(json, "errors", summary->errors);
    json_u64(json, "warnings", summary->warnings);
    json_u64(json, "notes", summary->notes);
    json_u64(json, "omitted", findings_of(summary) - check->printed);
}

static void summary_json(const struct check *check, const st_check_summary *summary)
{
    struct json *json = check->json;
    counts_json(check, summary);
    json_u64(json, "size", summary->file_size);
    json_u64(json, "header_size", summary->header_size);
    json_u64(json, "data_size", summary->data_size);
    json_u64(json, "tensors", summary->tensors);
    json_u64(json, "metadata", summary->metadata);
}

/* --------------------------------------------------------------------------------- rules */

static void rule_print(struct out *out, const st_rule *rule)
{
    out_print(out, out->tty ? "%-20s" : "%s\t", rule->id);
    severity_print(out, rule->severity);
    out_blanks(out, out->tty ? 9 - strlen(severity_name(rule->severity)) : 0);
    out_text(out, out->tty ? "" : "\t");
    out_print(out, "%s\n", rule->text);
}

/* Gives a rule of files, or behind these one of checkpoints; NULL behind the last. */
static const st_rule *rule_at(size_t index)
{
    size_t count = st_rule_count();
    if (index < count)
        return st_rule_at(index);
    return st_checkpoint_rule_at(index - count);
}

static int rules_list(const struct check_options *options)
{
    struct out out;
    struct json json;
    out_open(&out, options->common.color);
    if (!options->common.json) {
        for (size_t i = 0; rule_at(i); i++)
            rule_print(&out, rule_at(i));
        return out_close(&out);
    }
    json_open(&json, &out, out.tty ? 2 : 0);
    st_json_emit_object_begin(json.emitter);
    json_key(&json, "rules");
    st_json_emit_array_begin(json.emitter);
    for (size_t i = 0; rule_at(i); i++) {
        const st_rule *rule = rule_at(i);
        st_json_emit_object_begin(json.emitter);
        json_text(&json, "rule", rule->id);
        json_text(&json, "severity", severity_name(rule->severity));
        json_text(&json, "status", st_status_name(rule->status));
        json_text(&json, "text", rule->text);
        st_json_emit_object_end(json.emitter);
    }
    json_close_files(&json);
    return out_close(&out);
}

/* ------------------------------------------------------------------------------ the verb */

static st_status source_check(struct check *check, st_source *source, st_error *error)
{
    st_open_options options = input_options(&check->options->common);
    st_check_summary summary;
    if (check->json) {
        json_key(check->json, "findings");
        st_json_emit_array_begin(check->json->emitter);
    }
    st_status status = st_check(source, &options, finding_take, check, &summary, error);
    bar_hide(check);
    if (check->json)
        st_json_emit_array_end(check->json->emitter);
    if (status == ST_OK && check->json)
        summary_json(check, &summary);
    else if (status == ST_OK && !check->options->quiet)
        summary_print(check, &summary);
    return status;
}

/* A file that looks wrong, or right, may be in the middle of an edit. */
static void edits_mention(struct check *check, const char *path)
{
    if (!check->options->quiet)
        leftover_mention(path, &check->progress);
}

static void file_begin(struct check *check, const char *path)
{
    check->path = path;
    check->printed = 0;
    if (check->json) {
        bar_hide(check);
        json_open_file(check->json, path);
    }
}

/* `looked`: at a file, which may have a journal. */
static void file_end(struct check *check, bool looked)
{
    if (looked)
        edits_mention(check, check->path);
    if (check->json)
        st_json_emit_object_end(check->json->emitter);
}

static void check_fail(struct check *check, const st_error *error)
{
    progress_hide(&check->progress);
    file_fail(check->out, check->json, error);
}

static void file_check(struct check *check, const char *path)
{
    st_error error;
    st_source *source = NULL;
    if (!progress_file(&check->progress))
        return;
    file_begin(check, path);
    st_status status = input_open_source(path, &check->options->common, &source, &error);
    if (status == ST_OK)
        status = source_check(check, source, &error);
    if (status != ST_OK)
        check_fail(check, &error);
    file_end(check, source != NULL);
    st_source_release(source);
}

/* ---------------------------------------------------------------------------- checkpoints */

/* Exit codes are raised at once, what is said of an index comes behind what is said of its files. */
static bool index_finding_take(void *ctx, const char *path, const st_finding *finding)
{
    struct check *check = ctx;
    (void)path;
    finding_judge(check, finding);
    if (!check->options->quiet && check->kept.count < check->options->max)
        findings_keep(&check->kept, finding);
    return progress_signal() == 0;
}

static bool shard_check(void *ctx, const st_checkpoint_shard *shard)
{
    struct check *check = ctx;
    st_error error;
    if (!progress_file(&check->progress))
        return false;
    file_begin(check, shard->path);
    if (!shard->source)
        check_fail(check, shard->why);
    else if (source_check(check, shard->source, &error) != ST_OK)
        check_fail(check, &error);
    file_end(check, shard->source != NULL);
    return progress_signal() == 0;
}

/* Begins what is said of an index, or of a folder, as of a file. */
static void index_begin(struct check *check, const char *path)
{
    file_begin(check, path);
    if (check->json) {
        json_key(check->json, "findings");
        st_json_emit_array_begin(check->json->emitter);
    }
    for (size_t i = 0; i < check->kept.count; i++)
        finding_take(check, &check->kept.at[i]);
    findings_clear(&check->kept);
    if (check->json)
        st_json_emit_array_end(check->json->emitter);
}

static bool index_tell(void *ctx, const char *path, const st_checkpoint_summary *summary)
{
    struct check *check = ctx;
    struct json *json = check->json;
    const st_check_summary counts = {
        .errors = summary->errors, .warnings = summary->warnings, .notes = summary->notes};
    if (progress_signal())
        return false; /* what was found by now is not all there is */
    bar_hide(check);
    index_begin(check, path);
    if (json) {
        counts_json(check, &counts);
        json_u64(json, "size", summary->index_size);
        json_u64(json, "shards", summary->files);
        json_u64(json, "tensors", summary->tensors);
    } else if (!check->options->quiet) {
        counts_print(check, &counts);
        out_print(check->out, "; %" PRIu64 " tensor%s in %" PRIu64 " file%s\n", summary->tensors,
                  plural(summary->tensors), summary->files, plural(summary->files));
    }
    file_end(check, false);
    return true;
}

static void checkpoint_check(struct check *check, const char *path)
{
    st_error error;
    st_open_options options = input_options(&check->options->common);
    const st_checkpoint_observer observer = {
        .finding = index_finding_take, .shard = shard_check, .end = index_tell, .ctx = check};
    if (st_checkpoint_check(path, &options, &observer, NULL, &error) != ST_OK) {
        bar_hide(check);
        index_begin(check, path);
        check_fail(check, &error);
        file_end(check, false);
    }
    if (!progress_signal())
        edits_mention(check, path);
}

static int check_main(const struct verb *verb, const struct check_options *options,
                      const struct args *args)
{
    struct out out;
    struct json json;
    struct check check = {.options = options, .out = &out};
    if (options->rules)
        return rules_list(options);
    if (args->count == 0)
        return usage_error(verb, "FILE is missing");
    check.path = args->at[0];
    if (options->repair)
        edits_mention(&check, check.path);
    if (options->repair)
        return salvage_run(&(struct salvage_options){.common = &options->common,
                                                     .target = options->repair,
                                                     .dry = options->dry,
                                                     .quiet = options->quiet,
                                                     .strict = options->strict,
                                                     .max = options->max},
                           args->at[0]);
    out_open(&out, options->common.color);
    if (options->common.json && !options->quiet) {
        check.json = &json;
        json_open_files(&json, &out);
    }
    progress_start_files(&check.progress, args->count);
    for (size_t i = 0; i < args->count && !progress_signal(); i++) {
        check.progress.open = check.progress.open || input_is_checkpoint(args->at[i]);
        if (input_is_checkpoint(args->at[i]))
            checkpoint_check(&check, args->at[i]);
        else
            file_check(&check, args->at[i]);
    }
    progress_end(&check.progress);
    out_signal(&out);
    if (check.json)
        json_close_files(&json);
    return out_close(&out);
}

/* Gives OPT_GO, or the exit code. */
static int usage_check(const struct verb *verb, const struct check_options *options,
                       const struct args *args)
{
    if (options->dry && !options->repair)
        return usage_error(verb, "--dry-run goes with --repair: a check writes nothing");
    if (!options->repair || options->rules)
        return OPT_GO;
    if (strcmp(options->repair, "-") == 0)
        return usage_error(verb, "--repair needs a file: standard output takes the list");
    if (args->count > 1)
        return usage_error(verb, "--repair takes one FILE at a time");
    return OPT_GO;
}

static int check_run(const struct verb *verb, int argc, char **argv)
{
    struct check_options options = {.max = 1000};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = usage_check(verb, &options, &args);
    if (code == OPT_GO)
        code = check_main(verb, &options, &args);
    free(args.at);
    return code;
}

const struct verb verb_check = {
    .name = "check",
    .brief = "Check files against the rules of the format",
    .about =
        "Reads the header of each file and lists every rule that it breaks, going on after each: "
        "FILE:OFFSET: SEVERITY: MESSAGE [RULE], the offset being that of the byte at fault. No "
        "tensor is read. Of a folder or an index each file is checked, and what the index says "
        "against what they hold.\n\n"
        "An error means that the file is not valid and is refused by the other verbs. A warning "
        "means that it is valid, but other readers may refuse it or read it differently. A note "
        "is worth knowing. With --upstream the file is judged as the upstream reader would: what "
        "only this program refuses becomes a warning.\n\n"
        "Where an edit in place of the file was interrupted, or is under way, that is said on "
        "standard error, and changes nothing else.\n\n"
        "With --repair OUT a new file is made of what can be saved of FILE: tensors of which all "
        "bytes are there. Bytes that belong to no tensor are left out; tensors that share bytes "
        "each get a copy; of several of one name the last keeps it, and the others are renamed; an "
        "end of the header that is missing costs the entries in it. Nothing is made up, and what "
        "is in OUT passes the check. A line for each thing: FILE:OFFSET: WHAT: MESSAGE [RULE], "
        "where WHAT is saved (on a terminal only counted), changed, or lost.\n\n"
        "Of a folder or an index each file that is there is saved so, under its name in the folder "
        "OUT, which has to be new or empty, and the index, if there is one, is made anew of the "
        "tensors that are in them, with the metadata of the old one. A file that cannot be read is "
        "left out. What was written is removed again where OUT cannot be written to its end.\n\n"
        "The exit code is 1 if there is an error in any file, repaired or not; 3 if nothing can be "
        "saved of one.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", ARG_OPTIONAL | ARG_MANY, NULL}, {0}},
    .options = check_options,
    .examples =
        (const struct example[]){
            {"safetensors check *.safetensors", "Everything that is to be said of these files."},
            {"safetensors check -q download.safetensors && mv download.safetensors models/",
             "In a script."},
            {"safetensors check --repair saved.safetensors damaged.safetensors",
             "What a download that broke off still holds."},
            {"safetensors check --rules", "The rules."},
            {0},
        },
    .reads_files = true,
    .run = check_run,
};
