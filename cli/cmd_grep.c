/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors grep: names and metadata of many files. */
#include <errno.h>
#include <inttypes.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "json.h"
#include "memory.h"
#include "opt.h"
#include "text.h"
#include "walk.h"

struct grep_options {
    struct common common;
    bool names;
    bool keys;
    bool values;
    bool fixed;
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
    regex_t regex;
    const char *path; /* of the file at hand */
    uint64_t found;   /* in it */
    bool any;         /* in any file */
};

/* Where the pattern was found in a text. */
struct match {
    bool is;
    size_t from;
    size_t to;
};

/* ------------------------------------------------------------------------------- pattern */

/* Gives the regular expression that matches just this text; freed with free(). */
static char *pattern_quote(const char *text)
{
    char *quoted = memory_new(2 * strlen(text) + 1, 1), *at = quoted;
    for (; *text; text++) {
        if (strchr("\\.[]()*+?{}^$|", *text))
            *at++ = '\\';
        *at++ = *text;
    }
    return quoted;
}

/* Gives OPT_GO, or the exit code. */
static int pattern_compile(const struct verb *verb, struct grep *grep, const char *text)
{
    char why[200];
    int flags = REG_EXTENDED | (grep->options->ignore_case ? REG_ICASE : 0);
    char *quoted = grep->options->fixed ? pattern_quote(text) : NULL;
    int failed = regcomp(&grep->regex, quoted ? quoted : text, flags);
    free(quoted);
    if (!failed)
        return OPT_GO;
    regerror(failed, &grep->regex, why, sizeof why);
    return usage_error(verb, "%s is no pattern: %s", text_quote(text, strlen(text)).text, why);
}

/* Searches a terminated text. One with NULs in it is searched piece by piece: regexec knows no other way. */
static struct match text_search(const struct grep *grep, const char *text, size_t len)
{
    for (size_t start = 0; start <= len; start += strlen(text + start) + 1) {
        regmatch_t found;
        if (regexec(&grep->regex, text + start, 1, &found, 0) == 0)
            return (struct match){true, start + (size_t)found.rm_so, start + (size_t)found.rm_eo};
    }
    return (struct match){false, 0, 0};
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

/* Counts a match. Tells whether it is to be printed. */
static bool match_count(struct grep *grep)
{
    grep->found++;
    return !grep->options->files_only && !grep->options->count;
}

static void tensor_found(struct grep *grep, const st_tensor *tensor, const struct match *match)
{
    if (!match_count(grep))
        return;
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

static void metadata_found(struct grep *grep, const st_metadata *entry, const struct match *key,
                           const struct match *value)
{
    struct out *out = grep->out;
    if (!match_count(grep))
        return;
    if (grep->json) {
        json_match(grep->json, "metadata");
        json_string(grep->json, "key", entry->key, entry->key_len);
        json_string(grep->json, "value", entry->value, entry->value_len);
        json_bool(grep->json, "in_key", key->is);
        json_bool(grep->json, "in_value", value->is);
        st_json_emit_object_end(grep->json->emitter);
        return;
    }
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

/* ----------------------------------------------------------------------------- searching */

/* Tells whether no more of the file is to be searched. */
static bool is_enough(const struct grep *grep)
{
    return grep->found >= grep->options->max || (grep->found && grep->options->files_only);
}

static void header_search(struct grep *grep, const st_header *header)
{
    const struct grep_options *options = grep->options;
    bool all = !options->names && !options->keys && !options->values;
    const struct match none = {false, 0, 0};
    for (size_t i = 0; i < st_header_count(header) && (all || options->names); i++) {
        const st_tensor *tensor = st_header_at(header, i);
        if (is_enough(grep))
            return;
        struct match match = text_search(grep, tensor->name, tensor->name_len);
        if (match.is)
            tensor_found(grep, tensor, &match);
    }
    for (size_t i = 0;
         i < st_header_metadata_count(header) && (all || options->keys || options->values); i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        if (is_enough(grep))
            return;
        struct match key =
            all || options->keys ? text_search(grep, entry->key, entry->key_len) : none;
        struct match value =
            all || options->values ? text_search(grep, entry->value, entry->value_len) : none;
        if (key.is || value.is)
            metadata_found(grep, entry, &key, &value);
    }
}

/* What is to be said of a file as a whole. */
static void file_tell(struct grep *grep)
{
    struct out *out = grep->out;
    const struct grep_options *options = grep->options;
    grep->any = grep->any || grep->found > 0;
    if (grep->json)
        json_u64(grep->json, "count", grep->found);
    else if (options->files_only && !grep->found)
        return;
    else if (options->files_only || options->count) {
        out_escaped(out, grep->path, strlen(grep->path));
        if (!options->files_only)
            out_print(out, ":%" PRIu64, grep->found);
        out_text(out, "\n");
    }
}

/* One that cannot be searched does not end the search, but is not passed over in silence. */
static void path_fail(struct grep *grep, const st_error *error)
{
    file_fail(grep->out, grep->json, error);
    out_worst(grep->out, EXIT_UNREADABLE);
}

static void file_search(void *ctx, const char *path)
{
    struct grep *grep = ctx;
    struct json *json = grep->json;
    bool lists = json && !grep->options->files_only && !grep->options->count;
    st_error error;
    st_file *file = NULL;
    grep->path = path;
    grep->found = 0;
    if (json)
        json_open_file(json, path);
    st_status status = input_open_file(path, &grep->options->common, &file, &error);
    if (lists) {
        json_key(json, "matches");
        st_json_emit_array_begin(json->emitter);
    }
    if (status == ST_OK)
        header_search(grep, st_file_header(file));
    if (lists)
        st_json_emit_array_end(json->emitter);
    if (status == ST_OK)
        file_tell(grep);
    else
        path_fail(grep, &error);
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
        only_fail(grep->out, grep->json, path, &error);
        out_worst(grep->out, EXIT_UNREADABLE);
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

static int grep_main(const struct verb *verb, const struct grep_options *options,
                     const struct args *args)
{
    struct out out;
    struct json json;
    struct grep grep = {.options = options, .out = &out};
    struct walk walk = {
        .deep = options->recursive, .file = file_search, .fail = folder_fail, .ctx = &grep};
    int code = pattern_compile(verb, &grep, args->at[0]);
    if (code != OPT_GO)
        return code;
    out_open(&out, options->common.color);
    if (options->common.json) {
        grep.json = &json;
        json_open_files(&json, &out);
    }
    for (size_t i = 1; i < args->count; i++)
        if (strcmp(args->at[i], "-") != 0 && walk_is_folder(args->at[i]))
            walk_folder(&walk, args->at[i]);
        else
            argument_search(&grep, args->at[i]);
    if (grep.json)
        json_close_files(&json);
    regfree(&grep.regex);
    if (!grep.any)
        out_worst(&out, EXIT_BAD);
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
        "Headers are read, and no tensor.\n\n"
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
