/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors grep: names and metadata of many files. */
#include <inttypes.h>
#include <safetensors/inspect.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "json.h"
#include "leftover.h"
#include "opt.h"
#include "progress.h"
#include "text.h"
#include "walk.h"

struct grep_options {
    struct common common;
    bool names;
    bool keys;
    bool values;
    bool fixed;
    bool glob;
    bool ignore_case;
    bool files_only;
    bool count;
    bool recursive;
    uint64_t max; /* matches per file */
};

static const struct opt grep_options[] = {
    {OPT_FLAG, 'n', "names", offsetof(struct grep_options, names),
     .help = "Search the names of tensors. Of -n, -k and -v several may be given; without any all "
             "three are searched."},
    {OPT_FLAG, 'k', "keys", offsetof(struct grep_options, keys),
     .help = "Search the keys of the metadata."},
    {OPT_FLAG, 'v', "values", offsetof(struct grep_options, values),
     .help = "Search the values of the metadata."},
    {OPT_FLAG, 'F', "fixed-strings", offsetof(struct grep_options, fixed),
     .help = "Take PATTERN as it stands, not as a regular expression."},
    {OPT_FLAG, 'g', "glob", offsetof(struct grep_options, glob),
     .help = "Take PATTERN as a glob, which all of a name, key, or value has to match: * for any "
             "characters, ? for one, [a-z], [!a-z], and \\ before one that stands for itself."},
    {OPT_FLAG, 'i', "ignore-case", offsetof(struct grep_options, ignore_case),
     .help = "Take large and small letters for the same."},
    {OPT_FLAG, 'l', "files-with-matches", offsetof(struct grep_options, files_only),
     .help = "Print only the names of the files in which something is found."},
    {OPT_FLAG, 'c', "count", offsetof(struct grep_options, count),
     .help = "Print only how much is found in each file."},
    {OPT_NUMBER, 'm', "max-count", offsetof(struct grep_options, max), .arg = "COUNT",
     .help = "Go on to the next file when so much was found in one."},
    {OPT_FLAG, 'r', "recursive", offsetof(struct grep_options, recursive),
     .help = "Search the folders in a folder too."},
    {0},
};

/* What grep does. */
struct grep {
    const struct grep_options *options;
    struct out *out;
    struct json *json; /* NULL: text */
    st_name_rule *rule;
    const char *path; /* of the file at hand */
    bool any;         /* found, in any file */
    struct progress progress;
};

/* Where the pattern was found in a text. */
struct match {
    bool is;
    size_t from;
    size_t to;
};

/* ------------------------------------------------------------------------------- pattern */

/* Gives OPT_GO, or the exit code. */
static int pattern_compile(const struct verb *verb, struct grep *grep, const char *text)
{
    const struct grep_options *options = grep->options;
    st_error error;
    uint32_t kind = ST_NAME_REGEX;
    if (options->fixed && options->glob)
        return usage_error(verb,
                           "--fixed-strings and --glob are two ways to read PATTERN: give one");
    if (options->fixed || options->glob)
        kind = options->fixed ? ST_NAME_TEXT : ST_NAME_GLOB;
    if (options->ignore_case)
        kind |= ST_NAME_IGNORE_CASE;
    st_status status = st_name_rule_new(text, NULL, kind, NULL, &grep->rule, &error);
    if (status == ST_OK)
        return OPT_GO;
    if (status == ST_ERR_ARGUMENT)
        return usage_error(verb, "PATTERN is no pattern: %s", error.message);
    complain("%s", error.message);
    return exit_of(status);
}

/* ------------------------------------------------------------------------------ printing */

/* Gives the place in a text that is `columns` or a little less before `at`. */
static size_t columns_back(const struct out *out, const char *text, size_t at, size_t columns)
{
    struct text_piece piece;
    size_t width = 0;
    while (at > 0) {
        size_t before = at - 1;
        while (before > 0 && ((unsigned char)text[before] & 0xc0) == 0x80)
            before--;
        text_escape(text + before, at - before, out->text_flags, &piece);
        width += piece.width;
        if (width > columns)
            break;
        at = before;
    }
    return at;
}

/* Prints text from `at` on in `room` columns, the match in colour. Gives where it ended. */
static size_t columns_print(struct out *out, const char *text, size_t len, size_t at,
                            const struct match *match, size_t room)
{
    struct text_piece piece;
    size_t width = 0, used;
    bool lit = false;
    for (; at < len; at += used) {
        used = text_escape(text + at, len - at, out->text_flags, &piece);
        width += piece.width;
        if (width > room)
            break;
        bool inside = match->is && at >= match->from && at < match->to;
        if (inside != lit)
            out_style(out, inside ? STYLE_ERROR : STYLE_PLAIN);
        lit = inside;
        out_write(out, piece.text, piece.len);
    }
    if (lit)
        out_style(out, STYLE_PLAIN);
    return at;
}

/* Prints a text; on a terminal with the match in colour, and cut around it where it is longer than `room` columns. */
static void text_print(struct out *out, const char *text, size_t len, const struct match *match,
                       size_t room)
{
    const char *more = out->utf8 ? "\u2026" : "...";
    size_t from = match->is ? match->from : 0;
    if (!out->tty) {
        out_escaped(out, text, len);
        return;
    }
    /* What fits is looked for from the start, no further than that. */
    size_t start = columns_back(out, text, match->is ? match->to : 0, room);
    if (start > 0)
        start = columns_back(out, text, from, room / 3);
    if (start > 0)
        out_text(out, more);
    if (columns_print(out, text, len, start, match, room) < len)
        out_text(out, more);
}

static void place_print(struct out *out, const char *path, const char *what)
{
    out_style(out, STYLE_DIM);
    out_escaped(out, path, strlen(path));
    out_print(out, ":%s:", what);
    out_style(out, STYLE_PLAIN);
}

static void json_match(struct json *json, const char *kind)
{
    st_json_emit_object_begin(json->emitter);
    json_text(json, "kind", kind);
}

static void tensor_print(struct grep *grep, const st_tensor *tensor, const struct match *match)
{
    if (grep->json) {
        json_match(grep->json, "tensor");
        json_string(grep->json, "name", tensor->name, tensor->name_len);
        st_json_emit_object_end(grep->json->emitter);
        return;
    }
    place_print(grep->out, grep->path, "tensor");
    text_print(grep->out, tensor->name, tensor->name_len, match, SIZE_MAX);
    out_text(grep->out, "\n");
}

static void entry_json(struct json *json, const st_metadata *entry, bool in_key, bool in_value)
{
    json_match(json, "metadata");
    json_string(json, "key", entry->key, entry->key_len);
    json_string(json, "value", entry->value, entry->value_len);
    json_bool(json, "in_key", in_key);
    json_bool(json, "in_value", in_value);
    st_json_emit_object_end(json->emitter);
}

static void entry_print(struct grep *grep, const st_metadata *entry, const struct match *key,
                        const struct match *value)
{
    struct out *out = grep->out;
    size_t before = text_width(grep->path, strlen(grep->path), out->text_flags) +
                    strlen(":metadata:=..") +
                    text_width(entry->key, entry->key_len, out->text_flags);
    place_print(out, grep->path, "metadata");
    text_print(out, entry->key, entry->key_len, key, SIZE_MAX);
    out_text(out, "=");
    text_print(out, entry->value, entry->value_len, value,
               out->width > before + 30 ? out->width - before : 30);
    out_text(out, "\n");
}

/* Makes room on the terminal for what is printed. Elsewhere the bar is not in its way. */
static void bar_hide(struct grep *grep)
{
    if (grep->out->tty)
        progress_hide(&grep->progress);
}

static bool found_print(void *ctx, const st_found *found)
{
    struct grep *grep = ctx;
    const struct match name = {found->parts & (ST_SEARCH_NAMES | ST_SEARCH_KEYS),
                               (size_t)found->name.begin, (size_t)found->name.end};
    const struct match value = {found->parts & ST_SEARCH_VALUES, (size_t)found->value.begin,
                                (size_t)found->value.end};
    bar_hide(grep);
    if (found->tensor)
        tensor_print(grep, found->tensor, &name);
    else if (grep->json)
        entry_json(grep->json, found->metadata, name.is, value.is);
    else
        entry_print(grep, found->metadata, &name, &value);
    return true;
}

/* ----------------------------------------------------------------------------- searching */

/* Tells whether what is found is listed. */
static bool is_listing(const struct grep *grep)
{
    return !grep->options->files_only && !grep->options->count;
}

static st_status header_search(struct grep *grep, const st_header *header, uint64_t *found,
                               st_error *error)
{
    const struct grep_options *options = grep->options;
    const st_search_options search = {.found = is_listing(grep) ? found_print : NULL,
                                      .ctx = grep,
                                      .max = options->files_only ? 1 : options->max,
                                      .parts = (options->names ? ST_SEARCH_NAMES : 0u) |
                                               (options->keys ? ST_SEARCH_KEYS : 0u) |
                                               (options->values ? ST_SEARCH_VALUES : 0u),
                                      .progress = progress_callback(&grep->progress)};
    *found = 0;
    if (options->max == 0)
        return ST_OK;
    return st_header_search(header, grep->rule, &search, found, error);
}

/* What is to be said of a file as a whole. */
static void file_tell(struct grep *grep, uint64_t found)
{
    struct out *out = grep->out;
    const struct grep_options *options = grep->options;
    grep->any = grep->any || found > 0;
    if (grep->json)
        json_u64(grep->json, "count", found);
    else if (options->files_only && !found)
        return;
    else if (!is_listing(grep)) {
        bar_hide(grep);
        out_escaped(out, grep->path, strlen(grep->path));
        if (!options->files_only)
            out_print(out, ":%" PRIu64, found);
        out_text(out, "\n");
    }
}

/* One that cannot be searched does not end the search, but is not passed over in silence. */
static void path_fail(struct grep *grep, const st_error *error)
{
    progress_hide(&grep->progress);
    file_fail(grep->out, grep->json, error);
    out_worst(grep->out, EXIT_UNREADABLE);
}

static void file_search(void *ctx, const char *path)
{
    struct grep *grep = ctx;
    struct json *json = grep->json;
    st_error error;
    st_file *file = NULL;
    uint64_t found = 0;
    grep->path = path;
    if (!progress_file(&grep->progress))
        return;
    if (json) {
        bar_hide(grep);
        json_open_file(json, path);
    }
    st_status status = input_open_file(path, &grep->options->common, &file, &error);
    if (json && is_listing(grep)) {
        json_key(json, "matches");
        st_json_emit_array_begin(json->emitter);
    }
    if (status == ST_OK)
        status = header_search(grep, st_file_header(file), &found, &error);
    if (json && is_listing(grep))
        st_json_emit_array_end(json->emitter);
    if (status == ST_OK)
        file_tell(grep, found);
    else
        path_fail(grep, &error);
    if (status != ST_OK)
        leftover_mention(path, &grep->progress);
    if (json)
        st_json_emit_object_end(json->emitter);
    st_file_close(file);
}

/* Searches a file, or the files that an index names. */
static void argument_search(struct grep *grep, const char *path)
{
    st_error error;
    struct input_paths files = {0};
    if (input_list(path, &grep->options->common, &files, &error) != ST_OK) {
        progress_hide(&grep->progress);
        only_fail(grep->out, grep->json, path, &error);
        out_worst(grep->out, EXIT_UNREADABLE);
    } else {
        grep->progress.total += files.count - 1; /* it was counted as one */
    }
    for (size_t i = 0; i < files.count; i++)
        file_search(grep, files.at[i]);
    input_paths_release(&files);
}

static void folder_fail(void *ctx, const char *path)
{
    struct grep *grep = ctx;
    st_error error;
    io_error(path, &error);
    if (grep->json)
        json_open_file(grep->json, path);
    path_fail(grep, &error);
    if (grep->json)
        st_json_emit_object_end(grep->json->emitter);
}

/* ------------------------------------------------------------------------------ the verb */

static void file_count(void *ctx, const char *path)
{
    uint64_t *count = ctx;
    (void)path;
    ++*count;
}

/* It is told of when it is walked through to search. */
static void folder_skip(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
}

static bool is_folder(const char *path)
{
    return strcmp(path, "-") != 0 && walk_is_folder(path);
}

/* Counts the files, for the progress; those of an index count as one until it is read. */
static uint64_t files_count(const struct grep_options *options, const struct args *args)
{
    uint64_t count = 0;
    const struct walk walk = {
        .deep = options->recursive, .file = file_count, .fail = folder_skip, .ctx = &count};
    for (size_t i = 1; i < args->count; i++)
        if (is_folder(args->at[i]))
            walk_folder(&walk, args->at[i]);
        else
            count++;
    return count;
}

static void files_search(struct grep *grep, const struct args *args)
{
    const struct walk walk = {
        .deep = grep->options->recursive, .file = file_search, .fail = folder_fail, .ctx = grep};
    progress_start_files(&grep->progress, files_count(grep->options, args));
    for (size_t i = 1; i < args->count && !progress_signal(); i++)
        if (is_folder(args->at[i]))
            walk_folder(&walk, args->at[i]);
        else
            argument_search(grep, args->at[i]);
    progress_end(&grep->progress);
}

static int grep_main(const struct verb *verb, const struct grep_options *options,
                     const struct args *args)
{
    struct out out;
    struct json json;
    struct grep grep = {.options = options, .out = &out};
    int code = pattern_compile(verb, &grep, args->at[0]);
    if (code != OPT_GO)
        return code;
    out_open(&out, options->common.color);
    if (options->common.json) {
        grep.json = &json;
        json_open_files(&json, &out);
    }
    files_search(&grep, args);
    if (grep.json)
        json_close_files(&json);
    st_name_rule_free(grep.rule);
    if (!grep.any)
        out_worst(&out, EXIT_BAD);
    out_signal(&out);
    return out_close(&out);
}

static int grep_run(const struct verb *verb, int argc, char **argv)
{
    struct grep_options options = {.max = UINT64_MAX};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = grep_main(verb, &options, &args);
    free(args.at);
    return code;
}

const struct verb verb_grep = {
    .name = "grep",
    .brief = "Search names and metadata of many files",
    .about =
        "Searches the names of the tensors, and keys and values of the metadata, for PATTERN, an "
        "extended regular expression as grep -E takes it, and prints a line for each that it is "
        "found in: FILE:tensor:NAME or FILE:metadata:KEY=VALUE, escaped; on a terminal long values "
        "are cut around what was found.\n\n"
        "Of an index the files it names are searched, of a folder its files *.safetensors, with -r "
        "those of all folders below too. "
        "Headers are read, and no tensor. In values of more than 16 KiB matches of more than 32 "
        "KiB "
        "may not be found.\n\n"
        "The exit code is 0 if anything is found, 1 if nothing is, 3 if there is a file that "
        "cannot be read, or is no valid safetensors file; the others are searched all the same.",
    .args = (const struct arg[]){{ARG_WORD, "PATTERN", 0, NULL},
                                 {ARG_FILE, "FILE", ARG_MANY, NULL},
                                 {0}},
    .options = grep_options,
    .examples =
        (const struct example[]){
            {"safetensors grep -n 'lora_[AB]' *.safetensors", "Tensors of these names."},
            {"safetensors grep -rl -v sdxl ~/models", "Files whose metadata say so."},
            {"safetensors grep -c 'q_proj.weight$' model-*.safetensors",
             "How many of them each shard has."},
            {0},
        },
    .reads_files = true,
    .run = grep_run,
};
