/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors meta get, meta export: the strings in a file's __metadata__. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "expand.h"
#include "input.h"
#include "nearest.h"
#include "target.h"
#include "text.h"

struct meta_options {
    struct common common;
    bool all;
    bool expand;
    struct target target; /* no path: standard output */
};

#define EXPAND_OPTION                                                                         \
 {                                                                                            \
  OPT_FLAG, 'e', "expand", offsetof(struct meta_options, expand),                             \
      .help = "Print values that are themselves JSON objects or arrays as such: indented in " \
              "text, as a part of the document in JSON."                                      \
 }

static const struct opt get_options[] = {
    {OPT_FLAG, 'a', "all", offsetof(struct meta_options, all),
     .help = "Print long values whole on a terminal too."},
    EXPAND_OPTION,
    {0},
};

static const struct opt export_options[] = {
    {OPT_FILE, 'o', "output", offsetof(struct meta_options, target.path), .arg = "OUT",
     .help = "Write to this file instead of standard output, which - is, too."},
    TARGET_ROW_DRY_RUN(meta_options, target, "Say what would be written, and write nothing."),
    EXPAND_OPTION,
    {0},
};

/* ------------------------------------------------------------------------------- documents */

/* Emits an object of all entries, or of the one given. */
static void entries_emit(struct json *json, const st_header *header, const st_metadata *only,
                         bool expand)
{
    st_json_emit_object_begin(json->emitter);
    for (size_t i = 0; i < st_header_metadata_count(header); i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        if (only && entry != only)
            continue;
        st_json_emit_key(json->emitter, entry->key, entry->key_len);
        expand_emit(json->emitter, entry, expand);
    }
    st_json_emit_object_end(json->emitter);
}

/* What a verb does with its file. */
struct meta {
    const struct meta_options *options;
    const char *path;
    const char *key; /* NULL: all */
    struct out *out;
    const st_header *header;
};

/* ---------------------------------------------------------------------------- meta get */

/* Prints the first columns of a value that fit the line. */
static void value_shorten(struct out *out, const st_metadata *entry, size_t column)
{
    const char *more = out->utf8 ? "\u2026" : "...";
    size_t width = out->width > column + 20 ? out->width - column : 20, used, i = 0, at = 0;
    struct text_piece piece;
    size_t len = (size_t)entry->value_len;
    size_t room = width - 3;
    /* What fits whole is printed whole; the text is looked at no further than the line is wide. */
    for (; i < len && at <= width; i += used, at += piece.width)
        used = text_escape(entry->value + i, len - i, out->text_flags, &piece);
    if (at <= width) {
        out_escaped(out, entry->value, len);
        return;
    }
    for (i = at = 0; i < len; i += used, at += piece.width) {
        used = text_escape(entry->value + i, len - i, out->text_flags, &piece);
        if (at + piece.width > room)
            break;
        out_write(out, piece.text, piece.len);
    }
    out_text(out, more);
}

static void entry_print(const struct meta *meta, const st_metadata *entry)
{
    struct out *out = meta->out;
    bool json = meta->options->expand && expand_is_json(entry);
    out_style(out, STYLE_GROUP);
    out_escaped(out, entry->key, entry->key_len);
    out_style(out, STYLE_PLAIN);
    if (json) {
        out_text(out, ":\n");
        expand_print(out, entry);
        return;
    }
    out_text(out, out->tty ? ": " : "\t");
    if (out->tty && !meta->options->all)
        value_shorten(out, entry, text_width(entry->key, entry->key_len, out->text_flags) + 2);
    else
        out_escaped(out, entry->value, (size_t)entry->value_len);
    out_text(out, "\n");
}

/* Prints one value: its very bytes, but on a terminal. */
static void value_print(const struct meta *meta, const st_metadata *entry)
{
    struct out *out = meta->out;
    if (meta->options->expand && expand_is_json(entry)) {
        expand_print(out, entry);
    } else if (out->tty) {
        out->text_flags |= TEXT_KEEP_LINES | TEXT_KEEP_BACKSLASH;
        out_escaped(out, entry->value, (size_t)entry->value_len);
        out_text(out, "\n");
    } else {
        out_write(out, entry->value, (size_t)entry->value_len);
    }
}

static void key_complain(const struct meta *meta)
{
    char hint[600];
    struct nearest nearest;
    nearest_init(&nearest, meta->key, strlen(meta->key));
    for (size_t i = 0; i < st_header_metadata_count(meta->header); i++) {
        const st_metadata *entry = st_header_metadata_at(meta->header, i);
        nearest_offer(&nearest, entry->key, entry->key_len);
    }
    nearest_print(&nearest, hint, sizeof hint);
    complain("%s: no metadata %s%s", meta->path, text_quote(meta->key, strlen(meta->key)).text,
             hint);
    out_worst(meta->out, EXIT_USAGE);
}

static void get_text(const struct meta *meta)
{
    if (meta->key) {
        const st_metadata *entry =
            st_header_metadata_find(meta->header, meta->key, strlen(meta->key));
        if (entry)
            value_print(meta, entry);
        else
            key_complain(meta);
        return;
    }
    for (size_t i = 0; i < st_header_metadata_count(meta->header); i++)
        entry_print(meta, st_header_metadata_at(meta->header, i));
}

static void document_print(const struct meta *meta, struct json *json)
{
    const st_metadata *only = NULL;
    if (meta->key) {
        only = st_header_metadata_find(meta->header, meta->key, strlen(meta->key));
        if (!only)
            key_complain(meta);
    }
    json_key(json, "metadata");
    if (meta->key && !only)
        st_json_emit_null(json->emitter);
    else
        entries_emit(json, meta->header, only, meta->options->expand);
}

/* ---------------------------------------------------------------------------- the verbs */

static void export_look(const struct meta *meta)
{
    size_t count = st_header_metadata_count(meta->header);
    const char *path = meta->options->target.path;
    path = path ? path : "standard output";
    out_escaped(meta->out, path, strlen(path));
    out_print(meta->out, ": would be %zu entr%s\n", count, count == 1 ? "y" : "ies");
}

static void export_text(const struct meta *meta)
{
    struct json json;
    if (meta->options->target.dry_run) {
        export_look(meta);
        return;
    }
    json_open(&json, meta->out, 2);
    entries_emit(&json, meta->header, NULL, meta->options->expand);
    json_close(&json);
}

/* Writes the object into OUT, unless that is only looked at. */
static st_status export_save(const struct meta *meta, st_error *error)
{
    const struct target *target = &meta->options->target;
    struct out file;
    struct json json;
    if (target->dry_run)
        return out_replace_look(target->path, error);
    st_status status = out_replace(&file, target->path, error);
    if (status != ST_OK)
        return status;
    json_open(&json, &file, 2);
    entries_emit(&json, meta->header, NULL, meta->options->expand);
    json_close(&json);
    out_worst(meta->out, out_close(&file));
    return ST_OK;
}

static void meta_json(const struct meta *meta, struct json *json)
{
    const struct target *target = &meta->options->target;
    document_print(meta, json);
    if (!target->path)
        return;
    json_text(json, "output", target->path);
    json_bool(json, "written", !target->dry_run);
}

/* Reads the header and prints what `text` does, or the document. */
static int meta_main(const struct meta_options *options, const struct args *args,
                     void (*text)(const struct meta *meta))
{
    st_error error;
    struct input input;
    struct json json;
    struct out out;
    const struct target *target = &options->target;
    struct meta meta = {.options = options, .path = args->at[0], .key = args->at[1], .out = &out};
    out_open(&out, options->common.color);
    if (options->common.json) {
        json_open_files(&json, &out);
        json_open_file(&json, meta.path);
    }
    st_status status = input_open(&input, meta.path, &options->common, &error);
    meta.header = status == ST_OK ? input_header(&input) : NULL;
    if (status == ST_OK && target->path)
        status = export_save(&meta, &error);
    if (status != ST_OK)
        file_fail(&out, options->common.json ? &json : NULL, &error);
    else if (options->common.json)
        meta_json(&meta, &json);
    else if (!target->path || target->dry_run)
        text(&meta);
    if (options->common.json) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    input_close(&input);
    return out_close(&out);
}

static int meta_run(const struct verb *verb, int argc, char **argv,
                    void (*text)(const struct meta *meta))
{
    struct meta_options options = {0};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (options.target.path && strcmp(options.target.path, "-") == 0)
        options.target.path = NULL;
    if (code == OPT_GO)
        code = meta_main(&options, &args, text);
    free(args.at);
    return code;
}

static int get_run(const struct verb *verb, int argc, char **argv)
{
    return meta_run(verb, argc, argv, get_text);
}

static int export_run(const struct verb *verb, int argc, char **argv)
{
    return meta_run(verb, argc, argv, export_text);
}

const struct verb verb_meta_get = {
    .name = "meta get",
    .brief = "Print a file's metadata, or one value of it",
    .about =
        "Prints the strings of __metadata__, one line each, escaped: the key, a tab, the value; "
        "on a terminal, a colon between, and long values cut.\n\n"
        "With a KEY prints its value alone: to a pipe its very bytes, without a newline after "
        "them.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL},
                                 {ARG_KEY, "KEY", ARG_OPTIONAL, NULL},
                                 {0}},
    .options = get_options,
    .examples =
        (const struct example[]){
            {"safetensors meta get model.safetensors", "All of it."},
            {"safetensors meta get --expand lora.safetensors ss_tag_frequency",
             "A value that is JSON, indented."},
            {0},
        },
    .reads_files = true,
    .run = get_run,
};

const struct verb verb_meta_export = {
    .name = "meta export",
    .brief = "Write a file's metadata as a JSON object",
    .about = "Writes __metadata__ as one JSON object of strings, in the file's order; {} where "
             "there is none.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {0}},
    .options = export_options,
    .examples =
        (const struct example[]){
            {"safetensors meta export model.safetensors -o metadata.json", "Into a file."},
            {0},
        },
    .reads_files = true,
    .run = export_run,
};
