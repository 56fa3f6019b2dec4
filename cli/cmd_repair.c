/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors repair: what interrupted edits have left is put right. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"
#include "json.h"
#include "memory.h"
#include "opt.h"
#include "out.h"
#include "place.h"
#include "text.h"

struct repair_options {
    struct common common;
    bool dry_run;
};

static const struct opt repair_options[] = {
    {OPT_FLAG, 'n', "dry-run", offsetof(struct repair_options, dry_run),
     .help = "Say what would be done, and do nothing."},
    {0},
};

/* What repair does with each file. */
struct repair {
    const struct repair_options *options;
    struct out *out;
    struct json *json; /* NULL: text */
    const char *path;
};

/* By their numbers, ST_RECOVERY_…. */
static const char *const actions[] = {"none", "unfinished", "foreign", "forward", "back"};

static const char *removed_text(const struct repair *repair)
{
    return repair->options->dry_run ? "; its journal would be removed" : "; its journal is removed";
}

static void found_print(const struct repair *repair, const st_recovery *found)
{
    struct out *out = repair->out;
    bool dry = repair->options->dry_run;
    out_escaped(out, repair->path, strlen(repair->path));
    switch (found->action) {
    case ST_RECOVERY_NONE: out_text(out, ": no edit in place was interrupted\n"); break;
    case ST_RECOVERY_UNFINISHED:
        out_print(out, ": an edit in place was interrupted before it changed anything%s\n",
                  removed_text(repair));
        break;
    case ST_RECOVERY_FOREIGN:
        out_print(out, ": the edit in place that was interrupted was one of another file%s\n",
                  removed_text(repair));
        break;
    case ST_RECOVERY_FORWARD:
        out_print(out, ": an edit in place was interrupted when all was written%s\n",
                  removed_text(repair));
        break;
    default:
        out_print(out,
                  ": an edit in place was interrupted; %s in %" PRIu64 " place%s %s put back\n",
                  text_bytes(found->size).text, found->stretches, found->stretches == 1 ? "" : "s",
                  dry ? "would be" : "are");
    }
}

static void found_json(const struct repair *repair, const st_recovery *found)
{
    struct json *json = repair->json;
    json_text(json, "recovery", actions[found->action]);
    json_u64(json, "stretches", found->stretches);
    json_u64(json, "bytes", found->size);
    json_bool(json, "done", !repair->options->dry_run && found->action != ST_RECOVERY_NONE);
}

static void found_tell(const struct repair *repair, const st_recovery *found)
{
    if (repair->json)
        found_json(repair, found);
    else
        found_print(repair, found);
}

static void file_repair(const struct repair *repair)
{
    st_error error;
    st_recovery found;
    if (repair->json)
        json_open_file(repair->json, repair->path);
    st_status status = st_recovery_look(repair->path, NULL, &found, &error);
    if (status == ST_OK && !repair->options->dry_run)
        status = st_edit_recover(repair->path, NULL, NULL, &error);
    if (status != ST_OK)
        file_fail(repair->out, repair->json, &error);
    else
        found_tell(repair, &found);
    if (repair->json)
        st_json_emit_object_end(repair->json->emitter);
}

/* ----------------------------------------------------------------------------- checkpoints */

/* What interrupted edits have left of a checkpoint: of a file, or of several. */
struct leftover {
    char *path;
    st_checkpoint_recovery found; /* without the pointers in it */
    bool lost;                    /* it cannot be recovered, and `error` says why */
    st_error error;
};

struct leftovers {
    struct leftover *at;
    size_t count;
    size_t room;
};

static bool leftover_take(void *ctx, const st_checkpoint_recovery *found)
{
    struct leftovers *leftovers = ctx;
    leftovers->at =
        memory_grow(leftovers->at, &leftovers->room, leftovers->count + 1, sizeof *leftovers->at);
    struct leftover *leftover = &leftovers->at[leftovers->count++];
    *leftover = (struct leftover){
        .path = place_copy(found->path), .found = *found, .lost = found->why != NULL};
    if (found->why)
        leftover->error = *found->why;
    leftover->found.path = NULL;
    leftover->found.why = NULL;
    return true;
}

static void leftovers_free(struct leftovers *leftovers)
{
    for (size_t i = 0; i < leftovers->count; i++)
        free(leftovers->at[i].path);
    free(leftovers->at);
}

static void several_print(const struct repair *repair, const st_checkpoint_recovery *found)
{
    struct out *out = repair->out;
    bool dry = repair->options->dry_run;
    out_escaped(out, repair->path, strlen(repair->path));
    out_text(out, ": an edit of several files was interrupted");
    if (found->found.action == ST_RECOVERY_UNFINISHED)
        out_print(out, " before it changed any; what it left %s removed\n",
                  dry ? "would be" : "is");
    else if (found->left == 0)
        out_print(out, " when all %" PRIu64 " were changed; its list %s removed\n", found->files,
                  dry ? "would be" : "is");
    else
        out_print(out, "; %" PRIu64 " of %" PRIu64 " %s changed%s\n", found->left, found->files,
                  dry ? "would be" : "are",
                  found->left < found->files ? ", as the others were" : "");
}

static void several_json(const struct repair *repair, const st_checkpoint_recovery *found)
{
    bool forward = found->found.action == ST_RECOVERY_FORWARD;
    json_text(repair->json, "recovery", forward ? "several-forward" : "several-unfinished");
    json_u64(repair->json, "stretches", 0);
    json_u64(repair->json, "bytes", 0);
    json_u64(repair->json, "files", found->files);
    json_u64(repair->json, "left", found->left);
    json_bool(repair->json, "done", !repair->options->dry_run);
}

static void leftover_tell(struct repair *repair, const struct leftover *leftover)
{
    repair->path = leftover->path;
    if (repair->json)
        json_open_file(repair->json, repair->path);
    if (leftover->lost)
        file_fail(repair->out, repair->json, &leftover->error);
    else if (!leftover->found.several)
        found_tell(repair, &leftover->found.found);
    else if (repair->json)
        several_json(repair, &leftover->found);
    else
        several_print(repair, &leftover->found);
    if (repair->json)
        st_json_emit_object_end(repair->json->emitter);
}

/* Says of a checkpoint that nothing was to be done. */
static void nothing_tell(struct repair *repair, const char *path)
{
    const st_recovery none = {.action = ST_RECOVERY_NONE};
    repair->path = path;
    if (repair->json) {
        json_open_file(repair->json, path);
        found_json(repair, &none);
        st_json_emit_object_end(repair->json->emitter);
        return;
    }
    out_escaped(repair->out, path, strlen(path));
    out_text(repair->out, ": no edit was interrupted\n");
}

/* Looks at what is there before it is put right, to tell what it was. */
static void checkpoint_repair(struct repair *repair, const char *path)
{
    struct leftovers leftovers = {0};
    st_error error;
    st_status status = st_checkpoint_recovery_look(path, NULL, leftover_take, &leftovers, &error);
    if (status == ST_OK && !repair->options->dry_run)
        status = st_checkpoint_recover(path, NULL, NULL, &error);
    if (status != ST_OK)
        only_fail(repair->out, repair->json, path, &error);
    for (size_t i = 0; i < leftovers.count && status == ST_OK; i++)
        leftover_tell(repair, &leftovers.at[i]);
    if (status == ST_OK && leftovers.count == 0)
        nothing_tell(repair, path);
    leftovers_free(&leftovers);
}

static int repair_main(const struct repair_options *options, const struct args *args)
{
    struct out out;
    struct json json;
    struct repair repair = {.options = options, .out = &out};
    out_open(&out, options->common.color);
    out_go_on(&out);
    if (options->common.json) {
        repair.json = &json;
        json_open_files(&json, &out);
    }
    for (size_t i = 0; i < args->count; i++) {
        repair.path = args->at[i];
        if (input_is_checkpoint(args->at[i]))
            checkpoint_repair(&repair, args->at[i]);
        else
            file_repair(&repair);
    }
    if (repair.json)
        json_close_files(&json);
    return out_close(&out);
}

static int repair_run(const struct verb *verb, int argc, char **argv)
{
    struct repair_options options = {0};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    for (size_t i = 0; code == OPT_GO && i < args.count; i++)
        if (strcmp(args.at[i], "-") == 0)
            code = usage_error(verb, "standard input has no journal: name a file or a folder");
    if (code == OPT_GO)
        code = repair_main(&options, &args);
    free(args.at);
    return code;
}

const struct verb verb_repair = {
    .name = "repair",
    .brief = "Put right what interrupted edits left",
    .about =
        "An edit in place that is interrupted, by a crash or a power cut, leaves a journal beside "
        "its FILE: FILE.st-journal. With it the file is put right: the bytes that were overwritten "
        "are put back, or, where all of the new ones are there, the edit is ended. Then the "
        "journal is removed.\n\n"
        "An edit of a folder of shards or of an index that is interrupted while the new files take "
        "the places of the old ones leaves a list of them. With a folder or an index as FILE the "
        "rest of them take their places, or, where none had, what was made for them is removed; "
        "then each of the files is put right as above.\n\n"
        "The verbs that change a file, or make others of it, do the same first. Those that only "
        "read do not, and say so: they see the file as it was left, which may be no valid one. A "
        "journal that is damaged, or whose file was changed by something else since, is reported, "
        "and left with the file as it is; the exit code is 1 then.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", ARG_MANY, NULL}, {0}},
    .options = repair_options,
    .examples =
        (const struct example[]){
            {"safetensors repair model.safetensors", "After a crash."},
            {"safetensors repair -n *.safetensors", "What there is to repair."},
            {"safetensors repair checkpoint/", "All of a folder, after a crash."},
            {0},
        },
    .reads_files = true,
    .run = repair_run,
};
