/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors meta set, meta rm, meta import: changes to the strings in a file's __metadata__. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "content.h"
#include "meta_write.h"
#include "nearest.h"
#include "text.h"

static const struct opt set_options[] = {
    {OPT_FILE, 'f', "from", offsetof(struct meta_write_options, from), .arg = "PATH",
     .help = "Take the value from this file, all of its bytes, which have to be UTF-8; - is "
             "standard input."},
    REWRITE_ROWS(meta_write_options, rewrite),
    {0},
};

static const struct opt rm_options[] = {
    {OPT_FLAG, 'a', "all", offsetof(struct meta_write_options, all),
     .help = "Remove all metadata, and __metadata__ itself."},
    REWRITE_ROWS(meta_write_options, rewrite),
    {0},
};

static const struct opt import_options[] = {
    {OPT_FLAG, 'r', "replace", offsetof(struct meta_write_options, replace),
     .help = "Remove what is not in JSON. Without, it stays."},
    REWRITE_ROWS(meta_write_options, rewrite),
    {0},
};

/* ----------------------------------------------------------------------------- meta set */

static void pair_add(struct meta_list *list, const char *key, const char *value, size_t len)
{
    st_metadata entry = {key, (uint32_t)strlen(key), (uint32_t)len, value};
    meta_add(list, &entry, 0);
}

static st_status set_collect(struct meta_write *write, st_error *error)
{
    const struct args *args = write->args;
    if (write->options->from) {
        struct content content;
        st_status status = content_read(write->options->from, &content, error);
        if (status != ST_OK)
            return status;
        pair_add(&write->list, args->at[1], content.text, content.len);
        free(content.text);
    }
    for (size_t i = 1; i + 1 < args->count; i += 2)
        pair_add(&write->list, args->at[i], args->at[i + 1], strlen(args->at[i + 1]));
    const struct meta_item *twice = meta_sort(&write->list);
    if (twice)
        return error_fill(error, ST_ERR_ARGUMENT, "%.200s: the key %s is given twice", args->at[0],
                          text_quote(twice->key, twice->key_len).text);
    return ST_OK;
}

static void set_resolve(struct meta_write *write, const st_header *header)
{
    meta_resolve(&write->list, header, false);
}

static int set_check(const struct verb *verb, const struct meta_write_options *options,
                     const struct args *args)
{
    const char *last = args->at[args->count - 1];
    if (options->from && args->count > 2)
        return usage_error(verb, "--from gives the value of one KEY: no VALUE beside it");
    if (options->from && strcmp(options->from, "-") == 0 && strcmp(args->at[0], "-") == 0)
        return usage_error(verb, "standard input is one file, not two");
    if (!options->from && args->count % 2 == 0)
        return usage_error(verb, "the key %s has no VALUE", text_quote(last, strlen(last)).text);
    return OPT_GO;
}

/* ------------------------------------------------------------------------------ meta rm */

static void keys_offer(struct nearest *nearest, const st_header *header)
{
    for (size_t i = 0; i < st_header_metadata_count(header); i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        nearest_offer(nearest, entry->key, entry->key_len);
    }
}

/* Refuses a key that is in none of the files. */
static st_status key_check(const struct meta_write *write, const char *key, st_error *error)
{
    struct nearest nearest;
    char hint[200];
    nearest_init(&nearest, key, strlen(key));
    for (size_t i = 0; i < input_file_count(write->input); i++) {
        const st_header *header = st_file_header(input_file(write->input, i));
        if (st_header_metadata_find(header, key, strlen(key)))
            return ST_OK;
        keys_offer(&nearest, header);
    }
    nearest_print(&nearest, hint, sizeof hint);
    return error_fill(error, ST_ERR_NOT_FOUND, "%.120s: no metadata %s%s", write->args->at[0],
                      text_quote(key, strlen(key)).text, hint);
}

static st_status rm_collect(struct meta_write *write, st_error *error)
{
    st_status status = ST_OK;
    write->list.cleared = write->options->all;
    for (size_t i = 1; i < write->args->count && status == ST_OK; i++)
        status = key_check(write, write->args->at[i], error);
    return status;
}

static void rm_resolve(struct meta_write *write, const st_header *header)
{
    meta_resolve(&write->list, header, write->options->all);
    for (size_t i = 1; i < write->args->count; i++) {
        const char *key = write->args->at[i];
        const st_metadata *entry = st_header_metadata_find(header, key, strlen(key));
        if (entry)
            meta_remove(&write->list, entry);
    }
}

static int rm_check(const struct verb *verb, const struct meta_write_options *options,
                    const struct args *args)
{
    if (options->all && args->count > 1)
        return usage_error(verb, "--all removes every KEY: name none");
    if (!options->all && args->count == 1)
        return usage_error(verb, "KEY is missing; --all removes them all");
    return OPT_GO;
}

/* -------------------------------------------------------------------------- meta import */

static st_status import_collect(struct meta_write *write, st_error *error)
{
    const char *path = write->args->at[1];
    struct content content;
    st_status status = content_read(path, &content, error);
    if (status != ST_OK)
        return status;
    status = meta_read(&write->list, content.text, content.len,
                       strcmp(path, "-") == 0 ? "standard input" : path, error);
    free(content.text);
    return status;
}

static void import_resolve(struct meta_write *write, const st_header *header)
{
    meta_resolve(&write->list, header, write->options->replace);
}

static int import_check(const struct verb *verb, const struct meta_write_options *options,
                        const struct args *args)
{
    (void)options;
    if (strcmp(args->at[0], "-") == 0 && strcmp(args->at[1], "-") == 0)
        return usage_error(verb, "standard input is one file, not two");
    return OPT_GO;
}

/* ----------------------------------------------------------------------------- the verbs */

static int change_run(const struct verb *verb, int argc, char **argv,
                      int (*check)(const struct verb *verb,
                                   const struct meta_write_options *options,
                                   const struct args *args),
                      struct meta_write write)
{
    struct meta_write_options options;
    struct args args;
    int code = meta_write_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = check(verb, &options, &args);
    write.options = &options;
    write.args = &args;
    if (code == OPT_GO)
        code = meta_write_main(&write);
    free(args.at);
    return code;
}

static int set_run(const struct verb *verb, int argc, char **argv)
{
    return change_run(verb, argc, argv, set_check,
                      (struct meta_write){.collect = set_collect, .resolve = set_resolve});
}

static int rm_run(const struct verb *verb, int argc, char **argv)
{
    return change_run(verb, argc, argv, rm_check,
                      (struct meta_write){.collect = rm_collect, .resolve = rm_resolve});
}

static int import_run(const struct verb *verb, int argc, char **argv)
{
    return change_run(verb, argc, argv, import_check,
                      (struct meta_write){.collect = import_collect, .resolve = import_resolve});
}

#define ABOUT_WRITING                                                                            \
 "The file is written anew, whole or not at all: until everything is written, and after any "    \
 "failure, the old one is there. Tensors stay as they are, and in their order; where the file "  \
 "system can share blocks, or copy by itself, their bytes do not pass through the program. "     \
 "Where nothing changes, nothing is written.\n\n"                                                \
 "FILE may be a folder of shards or an index: the same is done to every file of it or to none; " \
 "--dry-run then names the file behind each change. The index, whose own metadata is another "   \
 "one, stays as it is."

const struct verb verb_meta_set = {
    .name = "meta set",
    .brief = "Set metadata of a file",
    .about = "Sets each KEY to the VALUE behind it, whether it was there or not.\n\n" ABOUT_WRITING,
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL},
                                 {ARG_KEY, "KEY", 0, NULL},
                                 {ARG_WORD, "VALUE", ARG_OPTIONAL | ARG_MANY, NULL},
                                 {0}},
    .options = set_options,
    .examples =
        (const struct example[]){
            {"safetensors meta set model.safetensors format pt license apache-2.0",
             "Two of them at once."},
            {"safetensors meta set --from recipe.json lora.safetensors recipe",
             "What is in a file."},
            {"safetensors meta set --in-place big.safetensors title 'A title'",
             "Without writing a large file anew."},
            {0},
        },
    .reads_files = true,
    .run = set_run,
};

const struct verb verb_meta_rm = {
    .name = "meta rm",
    .brief = "Remove metadata of a file",
    .about = "Removes each KEY; if one of them is not there, in no file, none.\n\n" ABOUT_WRITING,
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL},
                                 {ARG_KEY, "KEY", ARG_OPTIONAL | ARG_MANY, NULL},
                                 {0}},
    .options = rm_options,
    .examples =
        (const struct example[]){
            {"safetensors meta rm lora.safetensors ss_tag_frequency", "One of them."},
            {"safetensors meta rm --all model.safetensors -o bare.safetensors",
             "All of it, in a copy."},
            {0},
        },
    .reads_files = true,
    .run = rm_run,
};

const struct verb verb_meta_import = {
    .name = "meta import",
    .brief = "Set a file's metadata from a JSON object",
    .about = "Sets each member of JSON, a file that holds one object of strings, or - for standard "
             "input: what meta export writes.\n\n" ABOUT_WRITING,
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {ARG_FILE, "JSON", 0, NULL}, {0}},
    .options = import_options,
    .examples =
        (const struct example[]){
            {"safetensors meta import model.safetensors metadata.json", "Beside what is there."},
            {"safetensors meta import --replace model.safetensors metadata.json",
             "Just what is in the file."},
            {0},
        },
    .reads_files = true,
    .run = import_run,
};
