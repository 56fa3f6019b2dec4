/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors merge, safetensors cat: one file of the tensors of many. */
#include <safetensors/checkpoint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd.h"
#include "input.h"
#include "json.h"
#include "layout.h"
#include "leftover.h"
#include "memory.h"
#include "opt.h"
#include "progress.h"
#include "target.h"
#include "text.h"

struct join_options {
    struct common common;
    struct target target;
    struct layout layout;
    /* Of cat alone. */
    struct opt_list prefixes; /* one per FILE, or none */
    bool prefix_stem;
    int metadata; /* ST_CAT_METADATA_… */
};

/* In the order of ST_CAT_METADATA_... */
static const char *const metadata_choices[] = {"same", "first", "none", NULL};

/* Those of merge, which cat has too. */
static const struct opt merge_options[] = {
    TARGET_ROW_PATH(join_options, target),
    LAYOUT_ROW_CANONICAL(join_options, layout),
    LAYOUT_ROW_ALIGN(join_options, layout, "8"),
    LAYOUT_ROW_RESERVE(join_options, layout),
    TARGET_ROW_CLOBBER(join_options, target, "Fail if OUT is there already."),
    TARGET_ROW_DURABILITY(join_options, target),
    TARGET_ROW_DRY_RUN(join_options, target,
                       "Write nothing; print what would be made: name, bytes, number of tensors."),
    {0},
};

static const struct opt cat_options[] = {
    {OPT_LIST, 'p', "prefix", offsetof(struct join_options, prefixes), .arg = "PREFIX",
     .help = "Put this before the names of a FILE's tensors; given once for each FILE, in their "
             "order."},
    {OPT_FLAG, 'P', "prefix-stem", offsetof(struct join_options, prefix_stem),
     .help = "Put each FILE's own name and a dot before the names of its tensors: "
             "vae.safetensors makes vae.weight of weight."},
    {OPT_CHOICE, 'm', "metadata", offsetof(struct join_options, metadata), .arg = "WHICH",
     .choices = metadata_choices,
     .help = "Of a key that several FILEs have, want the same value everywhere (same, the "
             "default) or take the first one's (first); or leave metadata out (none)."},
    {0},
};

/* One FILE. */
struct input_file {
    const char *path;
    st_checkpoint *checkpoint;
    char *prefix; /* NULL: none */
    size_t prefix_len;
};

struct joining {
    const struct join_options *options;
    struct input_file *inputs;
    size_t count;
    bool cats;
    struct out *out;
    struct json *json; /* NULL: text */
    st_edit *edit;
    st_edit_summary summary;
    double seconds;
};

/* -------------------------------------------------------------------------------- the work */

static st_status inputs_open(struct joining *j, st_error *error)
{
    st_open_options options = input_options(&j->options->common);
    st_status status = ST_OK;
    for (size_t i = 0; i < j->count && status == ST_OK; i++) {
        const char *path = j->inputs[i].path;
        status = leftover_settle(path, !j->options->target.dry_run, error);
        if (status == ST_OK)
            status = st_checkpoint_open(path, &options, &j->inputs[i].checkpoint, error);
    }
    return status;
}

/* Says what to do about a clash in the verb's own words, in the place of the library's. */
static void hint_put(st_error *error)
{
    char *hint = strrchr(error->message, ';');
    size_t room = hint ? sizeof error->message - (size_t)(hint - error->message) : 0;
    if (hint && error->status == ST_ERR_NAME_DUPLICATE)
        snprintf(hint, room, "; --prefix or --prefix-stem makes two names of it");
    if (hint && error->status == ST_ERR_METADATA_DUPLICATE)
        snprintf(hint, room, "; --metadata first takes the first");
}

static st_status edit_make(struct joining *j, const st_edit_options *options, st_error *error)
{
    if (!j->cats)
        return st_checkpoint_merge(j->inputs[0].checkpoint, options, &j->edit, error);
    const st_cat_options how = {.metadata = (uint32_t)j->options->metadata};
    st_cat_input *inputs = memory_new(j->count, sizeof *inputs);
    for (size_t i = 0; i < j->count; i++)
        inputs[i] = (st_cat_input){.checkpoint = j->inputs[i].checkpoint,
                                   .prefix = j->inputs[i].prefix,
                                   .prefix_len = j->inputs[i].prefix_len};
    st_status status = st_checkpoint_cat(inputs, j->count, &how, options, &j->edit, error);
    if (status != ST_OK)
        hint_put(error);
    free(inputs);
    return status;
}

static st_status edit_save(struct joining *j, st_error *error)
{
    st_sink *sink;
    if (j->options->target.dry_run)
        return target_look(&j->options->target, error);
    st_status status = target_open(&j->options->target, &sink, error);
    if (status != ST_OK)
        return status;
    status = st_edit_write(j->edit, sink, &j->summary, error);
    st_sink_release(sink);
    return status;
}

static st_status files_join(struct joining *j, st_error *error)
{
    struct progress progress;
    uint64_t start = progress_now(), total = 0;
    st_status status = inputs_open(j, error);
    if (status != ST_OK)
        return status;
    for (size_t i = 0; i < j->count; i++)
        total += st_checkpoint_data_size(j->inputs[i].checkpoint);
    progress_start(&progress, total);
    progress_part(&progress, total);
    const struct layout *layout = &j->options->layout;
    st_edit_options options = {.order = layout_canonical_order(layout),
                               .alignment = (uint32_t)layout->alignment,
                               .reserve = layout->reserve,
                               .progress = progress_callback(&progress)};
    status = edit_make(j, &options, error);
    if (status == ST_OK)
        status = st_edit_look(j->edit, &j->summary, error);
    if (status == ST_OK)
        status = edit_save(j, error);
    progress_end(&progress);
    j->seconds = (double)(progress_now() - start) / 1e9;
    return status;
}

/* ------------------------------------------------------------------------------- printing */

static void inputs_json(const struct joining *j)
{
    st_json_emitter *emitter = j->json->emitter;
    json_key(j->json, "inputs");
    st_json_emit_array_begin(emitter);
    for (size_t i = 0; i < j->count; i++) {
        const struct input_file *input = &j->inputs[i];
        st_json_emit_object_begin(emitter);
        json_text(j->json, "file", input->path);
        json_string(j->json, "prefix", input->prefix ? input->prefix : "", input->prefix_len);
        json_u64(j->json, "tensors", st_checkpoint_count(input->checkpoint));
        st_json_emit_object_end(emitter);
    }
    st_json_emit_array_end(emitter);
}

static void joined_json(const struct joining *j, const struct made *made)
{
    if (j->cats)
        inputs_json(j);
    else
        json_text(j->json, "output", j->options->target.path);
    target_json(&j->options->target, made, j->json);
}

/* -------------------------------------------------------------------------------- the verbs */

static void joining_end(struct joining *j)
{
    st_edit_free(j->edit);
    for (size_t i = 0; i < j->count; i++) {
        st_checkpoint_close(j->inputs[i].checkpoint);
        free(j->inputs[i].prefix);
    }
    free(j->inputs);
}

static int join_main(struct joining *j)
{
    st_error error = {.status = ST_OK};
    struct out out;
    struct json json;
    out_open(&out, j->options->common.color);
    out_go_on(&out);
    j->out = &out;
    if (j->options->common.json) {
        j->json = &json;
        json_open_files(&json, &out);
        json_open_file(&json, j->cats ? j->options->target.path : j->inputs[0].path);
    }
    st_status status = files_join(j, &error);
    struct made made = {j->summary.count, j->summary.size, j->seconds};
    if (status != ST_OK)
        file_fail(&out, j->json, &error);
    else if (j->json)
        joined_json(j, &made);
    else
        target_print(&j->options->target, &made, &out);
    if (j->json) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

/* Gives what stands between the last slash of a path and its first ending, and a dot behind it. */
static char *stem_make(const char *path, size_t *len)
{
    size_t end = strlen(path), start;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/'; start--)
        ;
    const char *ending = strstr(path + start, ".safetensors");
    if (ending && (size_t)(ending - path) < end)
        end = (size_t)(ending - path);
    char *stem = memory_new(end - start + 2, 1);
    memcpy(stem, path + start, end - start);
    stem[end - start] = '.';
    *len = end - start + 1;
    return stem;
}

static void inputs_name(struct joining *j, const struct args *args)
{
    j->count = args->count;
    j->inputs = memory_new(j->count, sizeof *j->inputs);
    for (size_t i = 0; i < j->count; i++) {
        struct input_file *input = &j->inputs[i];
        input->path = args->at[i];
        if (j->options->prefix_stem) {
            input->prefix = stem_make(input->path, &input->prefix_len);
        } else if (j->options->prefixes.count) {
            const char *prefix = j->options->prefixes.at[i];
            input->prefix_len = strlen(prefix);
            input->prefix = memory_new(input->prefix_len + 1, 1);
            memcpy(input->prefix, prefix, input->prefix_len);
        }
    }
}

static bool is_file(const char *path)
{
    struct stat info;
    return !input_is_checkpoint(path) && stat(path, &info) == 0;
}

/* Gives OPT_GO, or the exit code. */
static int join_check(const struct verb *verb, const struct join_options *options,
                      const struct args *args)
{
    if (!options->target.path)
        return usage_error(verb, "where to? OUT is missing");
    for (size_t i = 0; i < args->count; i++)
        if (strcmp(args->at[i], "-") == 0)
            return usage_error(verb, "%s cannot read standard input: name a file or a folder",
                               verb->name);
    /* merge A B is no way to put two files together, and would write A over B. */
    if (verb == &verb_merge && is_file(args->at[0]))
        return usage_error(verb,
                           "IN is a folder of shards or an index, and \"%s\" is a file: cat puts "
                           "files together",
                           args->at[0]);
    if (options->prefix_stem && options->prefixes.count)
        return usage_error(verb, "--prefix and --prefix-stem exclude each other");
    if (options->prefixes.count && options->prefixes.count != args->count)
        return usage_error(verb, "--prefix is given once for each FILE: %zu for %zu",
                           options->prefixes.count, args->count);
    int code = layout_check(verb, &options->layout);
    return code == OPT_GO ? target_check(verb, &options->target, &options->common) : code;
}

/* Takes the OUT of merge, which stands behind IN where --output does not name it. Gives OPT_GO, or the exit code. */
static int output_take(const struct verb *verb, struct join_options *options, struct args *args)
{
    if (args->count < 2)
        return OPT_GO;
    if (options->target.path)
        return usage_error(verb, "OUT is given twice: \"%s\" and by --output", args->at[1]);
    options->target.path = args->at[1];
    args->count = 1;
    return OPT_GO;
}

static int join_run(const struct verb *verb, int argc, char **argv, bool cats)
{
    struct join_options options = {.target.durability = TARGET_DURABILITY_DEFAULT};
    struct joining joining = {.options = &options, .cats = cats};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO && !cats)
        code = output_take(verb, &options, &args);
    if (code == OPT_GO)
        code = join_check(verb, &options, &args);
    if (code == OPT_GO) {
        inputs_name(&joining, &args);
        code = join_main(&joining);
        joining_end(&joining);
    }
    free(options.prefixes.at);
    free(args.at);
    return code;
}

static int merge_run(const struct verb *verb, int argc, char **argv)
{
    return join_run(verb, argc, argv, false);
}

static int cat_run(const struct verb *verb, int argc, char **argv)
{
    return join_run(verb, argc, argv, true);
}

const struct verb verb_merge = {
    .name = "merge",
    .brief = "Write the shards of a checkpoint as one file",
    .about =
        "Writes all tensors and metadata of IN, a folder or an index, into the file OUT. Of a "
        "folder without an index all files count; with one, those that it names and no others. "
        "What the index says of the whole and what all files say alike becomes the metadata. OUT "
        "is written whole or not at all.",
    .args =
        (const struct arg[]){{ARG_FILE, "IN", 0, NULL}, {ARG_FILE, "OUT", ARG_OPTIONAL, NULL}, {0}},
    .options = merge_options,
    .examples =
        (const struct example[]){
            {"safetensors merge checkpoint/ model.safetensors", "All shards of a folder."},
            {"safetensors merge -O file model.safetensors.index.json model.safetensors",
             "Those of an index, in their own order."},
            {0},
        },
    .reads_files = true,
    .run = merge_run,
};

const struct verb verb_cat = {
    .name = "cat",
    .brief = "Write the tensors of several files into one",
    .about =
        "Writes the tensors of each FILE, which may also be a folder or an index, into the file "
        "OUT. A name that two of them have is an error, unless prefixes keep them apart. OUT is "
        "written whole or not at all.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", ARG_MANY, NULL}, {0}},
    .options = cat_options,
    .examples =
        (const struct example[]){
            {"safetensors cat unet.safetensors vae.safetensors -o model.safetensors",
             "Two files whose names differ."},
            {"safetensors cat -p a. -p b. 1.safetensors 2.safetensors -o both.safetensors",
             "Two files with the same names."},
            {0},
        },
    .picks = merge_options,
    .reads_files = true,
    .run = cat_run,
};
