/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors repair: what an interrupted edit in place has left is put right. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <safetensors/edit.h>

#include "cmd.h"
#include "json.h"
#include "opt.h"
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
    else if (repair->json)
        found_json(repair, &found);
    else
        found_print(repair, &found);
    if (repair->json)
        st_json_emit_object_end(repair->json->emitter);
}

static int repair_main(const struct repair_options *options, const struct args *args)
{
    struct out out;
    struct json json;
    struct repair repair = {.options = options, .out = &out};
    out_open(&out, options->common.color);
    if (options->common.json) {
        repair.json = &json;
        json_open_files(&json, &out);
    }
    for (size_t i = 0; i < args->count; i++) {
        repair.path = args->at[i];
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
    if (code == OPT_GO)
        code = repair_main(&options, &args);
    free(args.at);
    return code;
}

const struct verb verb_repair = {
    .name = "repair",
    .brief = "Undo edits in place that were interrupted",
    .about =
        "An edit in place that is interrupted, by a crash or a power cut, leaves a journal beside "
        "its FILE: FILE.st-journal. With it the file is put right: the bytes that were overwritten "
        "are put back, or, where all of the new ones are there, the edit is ended. Then the "
        "journal "
        "is removed.\n\n"
        "The next edit in place of the file does the same. The verbs that read do not: until then "
        "they see the file as it was left, which may be no valid one. A journal that is damaged, "
        "or whose file was changed by something else since, is reported, and left with the file as "
        "it is; the exit code is 1 then.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", ARG_MANY, NULL}, {0}},
    .options = repair_options,
    .examples =
        (const struct example[]){
            {"safetensors repair model.safetensors", "After a crash."},
            {"safetensors repair -n *.safetensors", "What there is to repair."},
            {0},
        },
    .reads_files = true,
    .run = repair_run,
};
