/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors split: a checkpoint in shards. */
#include <inttypes.h>
#include <safetensors/checkpoint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "json.h"
#include "layout.h"
#include "leftover.h"
#include "opt.h"
#include "progress.h"
#include "target.h"
#include "text.h"

#define COUNT_UNSAID UINT64_MAX

struct split_options {
    struct common common;
    struct target target; /* of every file; its path is the folder */
    const char *max_size;
    uint64_t max_bytes; /* what that says; 0: not said */
    uint64_t count;     /* COUNT_UNSAID: not said */
    const char *name;
    bool clean;
    struct layout layout; /* of every file */
};

static const struct opt split_options[] = {
    {OPT_TEXT, 's', "max-size", offsetof(struct split_options, max_size), .arg = "SIZE",
     .help =
         "Let no shard hold more than this, but for a tensor that is larger by itself: 5GB (the "
         "default), 500MiB. KB, MB, GB, TB count by 1000; KiB, MiB, GiB, TiB by 1024."},
    {OPT_NUMBER, 'c', "count", offsetof(struct split_options, count), .arg = "N",
     .help = "Make at most so many shards, by the least size that does."},
    {OPT_TEXT, 'p', "name", offsetof(struct split_options, name), .arg = "PATTERN",
     .help = "Name the files by this: {suffix} becomes -00001-of-00003, or nothing where there is "
             "one file; model{suffix}.safetensors unless given."},
    {OPT_FLAG, 0, "clean", offsetof(struct split_options, clean),
     .help = "Once all is written, remove the shards of older splits from OUTDIR: files named by "
             "the same pattern with any numbers, that are none of the new ones. Nothing else is."},
    LAYOUT_ROW_ALIGN(split_options, layout, "8"),
    TARGET_ROW_CLOBBER(split_options, target, "Fail if any of the files is there already."),
    TARGET_ROW_DURABILITY(split_options, target),
    TARGET_ROW_DRY_RUN(split_options, target,
                       "Write nothing; print the files that would be made: name, bytes of tensors, "
                       "number of tensors. With --clean also those that would be removed."),
    {0},
};

/* What split does. */
struct splitting {
    const struct split_options *options;
    const char *path;
    struct out *out;
    struct json *json; /* NULL: text */
    const st_split *split;
    struct input_paths stale; /* names that --clean removes */
    uint64_t size;            /* bytes of all tensors */
    size_t tensors;
    double seconds;
};

/* ------------------------------------------------------------------------------- printing */

static void name_json(st_json_emitter *emitter, const st_tensor *tensor)
{
    st_json_emit_string(emitter, tensor->name, tensor->name_len);
}

static void removed_json(const struct splitting *s)
{
    st_json_emitter *emitter = s->json->emitter;
    json_key(s->json, "removed");
    st_json_emit_array_begin(emitter);
    for (size_t i = 0; i < s->stale.count; i++)
        st_json_emit_string(emitter, s->stale.at[i], strlen(s->stale.at[i]));
    st_json_emit_array_end(emitter);
}

static void shards_json(const struct splitting *s)
{
    st_json_emitter *emitter = s->json->emitter;
    json_text(s->json, "folder", s->options->target.path);
    json_key(s->json, "index");
    if (st_split_index_name(s->split))
        st_json_emit_string(emitter, st_split_index_name(s->split),
                            strlen(st_split_index_name(s->split)));
    else
        st_json_emit_null(emitter);
    json_u64(s->json, "size", s->size);
    json_key(s->json, "shards");
    st_json_emit_array_begin(emitter);
    for (size_t i = 0; i < st_split_count(s->split); i++) {
        st_shard shard = st_split_at(s->split, i);
        st_json_emit_object_begin(emitter);
        json_text(s->json, "name", shard.name);
        json_u64(s->json, "size", shard.size);
        json_key(s->json, "tensors");
        st_json_emit_array_begin(emitter);
        for (size_t t = shard.first; t < shard.first + shard.count; t++)
            name_json(emitter, st_split_tensor(s->split, t).tensor);
        st_json_emit_array_end(emitter);
        st_json_emit_object_end(emitter);
    }
    st_json_emit_array_end(emitter);
    if (s->options->clean)
        removed_json(s);
    if (!s->options->target.dry_run) {
        json_key(s->json, "seconds");
        json_double(s->json, s->seconds);
    }
}

/* A line for each shard: for people with a short size, for programs with tabs. */
static void shards_text(const struct splitting *s)
{
    struct out *out = s->out;
    for (size_t i = 0; i < st_split_count(s->split); i++) {
        st_shard shard = st_split_at(s->split, i);
        out_escaped(out, shard.name, strlen(shard.name));
        if (out->tty)
            out_print(out, "  %s  %zu tensor%s\n", text_bytes(shard.size).text, shard.count,
                      shard.count == 1 ? "" : "s");
        else
            out_print(out, "\t%" PRIu64 "\t%zu\n", shard.size, shard.count);
    }
    for (size_t i = 0; i < s->stale.count; i++) {
        out_escaped(out, s->stale.at[i], strlen(s->stale.at[i]));
        out_text(out, out->tty ? "  removed\n" : "\tremoved\n");
    }
}

static void split_summary(const struct splitting *s)
{
    double rate = (double)s->size / (s->seconds > 1e-6 ? s->seconds : 1e-6);
    size_t count = st_split_count(s->split);
    out_escaped(s->out, s->options->target.path, strlen(s->options->target.path));
    out_print(s->out, ": %zu shard%s, %zu tensor%s, %s in %.2f s, %s/s", count,
              count == 1 ? "" : "s", s->tensors, s->tensors == 1 ? "" : "s",
              text_bytes(s->size).text, s->seconds, text_bytes((uint64_t)rate).text);
    if (s->stale.count)
        out_print(s->out, "; %zu old shard%s removed", s->stale.count,
                  s->stale.count == 1 ? "" : "s");
    out_text(s->out, "\n");
}

static void split_print(const struct splitting *s)
{
    if (s->json)
        shards_json(s);
    else if (s->options->target.dry_run)
        shards_text(s);
    else if (s->out->tty)
        split_summary(s);
}

/* -------------------------------------------------------------------------------- the work */

/* Refuses names that are taken: for a dry run. */
static st_status names_look(const struct splitting *s, const st_split *split, st_error *error)
{
    const struct target *target = &s->options->target;
    const char *index = st_split_index_name(split);
    st_status status = target_look_folder(target, error);
    for (size_t i = 0; i < st_split_count(split) && status == ST_OK; i++)
        status = target_look_in(target, st_split_at(split, i).name, error);
    return status == ST_OK && index ? target_look_in(target, index, error) : status;
}

static bool stale_keep(void *ctx, const char *name)
{
    input_paths_add(ctx, name);
    return true;
}

static st_status split_carry_out(struct splitting *s, const st_split *split, st_error *error)
{
    const char *folder = s->options->target.path;
    st_status status = ST_OK;
    if (s->options->clean)
        status = st_split_stale(split, folder, stale_keep, &s->stale, error);
    if (status != ST_OK)
        return status;
    return s->options->target.dry_run ? names_look(s, split, error)
                                      : st_split_write(split, folder, error);
}

static st_status checkpoint_split(struct splitting *s, const st_checkpoint *checkpoint,
                                  st_error *error)
{
    struct progress progress;
    st_split *split = NULL;
    st_split_options options = {.max_shard_size = s->options->max_bytes,
                                .shard_count =
                                    s->options->count == COUNT_UNSAID ? 0 : s->options->count,
                                .pattern = s->options->name,
                                .durability = target_durable(s->options->target.durability),
                                .flags = s->options->target.no_clobber ? ST_SINK_NEW : 0,
                                .clean = s->options->clean,
                                .alignment = (uint32_t)s->options->layout.alignment};
    s->size = st_checkpoint_data_size(checkpoint);
    s->tensors = st_checkpoint_count(checkpoint);
    uint64_t start = progress_now();
    progress_start(&progress, s->size);
    progress_part(&progress, s->size);
    options.progress = progress_callback(&progress);
    st_status status = st_split_new(checkpoint, &options, &split, error);
    if (status == ST_OK)
        status = split_carry_out(s, split, error);
    progress_end(&progress);
    s->seconds = (double)(progress_now() - start) / 1e9;
    s->split = split;
    if (status == ST_OK)
        split_print(s);
    input_paths_release(&s->stale);
    st_split_free(split);
    return status;
}

static int split_main(const struct split_options *options, const struct args *args)
{
    st_error error = {.status = ST_OK};
    struct out out;
    struct json json;
    struct splitting s = {.options = options, .path = args->at[0], .out = &out};
    st_open_options open = input_options(&options->common);
    st_checkpoint *checkpoint;
    out_open(&out, options->common.color);
    out_go_on(&out);
    if (options->common.json) {
        s.json = &json;
        json_open_files(&json, &out);
        json_open_file(&json, s.path);
    }
    st_status status = leftover_settle(s.path, !options->target.dry_run, &error);
    if (status == ST_OK)
        status = st_checkpoint_open(s.path, &open, &checkpoint, &error);
    if (status == ST_OK) {
        status = checkpoint_split(&s, checkpoint, &error);
        st_checkpoint_close(checkpoint);
    }
    if (status != ST_OK)
        file_fail(&out, s.json, &error);
    if (s.json) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

/* Gives OPT_GO, or the exit code. */
static int split_check(const struct verb *verb, struct split_options *options,
                       const struct args *args)
{
    st_error error;
    const char *size = options->max_size;
    if (size && options->count != COUNT_UNSAID)
        return usage_error(verb, "--max-size and --count exclude each other");
    if (size && st_size_parse(size, strlen(size), 0, &options->max_bytes, &error) != ST_OK)
        return usage_error(verb, "--max-size: %s", error.message);
    if (options->count == 0)
        return usage_error(verb, "--count is at least one shard");
    if (size && options->max_bytes == 0)
        return usage_error(verb, "--max-size is at least one byte");
    if (strcmp(args->at[0], "-") == 0)
        return usage_error(verb, "split cannot read standard input: name a file or a folder");
    options->target.path = args->at[1];
    return layout_check(verb, &options->layout);
}

static int split_run(const struct verb *verb, int argc, char **argv)
{
    struct split_options options = {.target.durability = TARGET_DURABILITY_DEFAULT,
                                    .count = COUNT_UNSAID};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = split_check(verb, &options, &args);
    if (code == OPT_GO)
        code = split_main(&options, &args);
    free(args.at);
    return code;
}

const struct verb verb_split = {
    .name = "split",
    .brief = "Write a file anew in shards, with their index",
    .about =
        "Writes the tensors of IN into as many files as their sizes need, and an index that tells "
        "which one each lies in: in the folder OUTDIR, which is made if it is not there. IN is a "
        "file, a folder, or an index. Names, sizes, and the index are those that huggingface_hub "
        "makes of the same tensors in the same order: one behind the other into a shard until one "
        "does not fit, a tensor larger than the limit in a shard of its own. One file alone has "
        "no number and no index; an index of its name that is there is removed, and beside "
        "numbered shards of its name it is not written, unless --clean removes them.\n\n"
        "Each file is written whole or not at all, the index last. Data is moved by the file "
        "system itself where it can do that. A file of IN that lies where a shard goes is "
        "replaced once nothing more is needed of it; where that cannot be, nothing is written.\n\n"
        "The metadata go into the index, but for \"format\", which every shard has.",
    .args =
        (const struct arg[]){{ARG_FILE, "IN", 0, NULL}, {ARG_DIRECTORY, "OUTDIR", 0, NULL}, {0}},
    .options = split_options,
    .examples =
        (const struct example[]){
            {"safetensors split model.safetensors shards", "Into shards of 5 GB."},
            {"safetensors split --max-size 500MB --dry-run model.safetensors shards",
             "Only what would be made."},
            {"safetensors split --count 8 checkpoint/ eight", "Eight shards of about one size."},
            {"safetensors split --clean --max-size 2GB model/ model", "Anew, in its own folder."},
            {0},
        },
    .reads_files = true,
    .run = split_run,
};
