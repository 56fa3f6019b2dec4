/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors repair: what interrupted edits have left is put right. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include "cmd.h"
#include "input.h"
#include "memory.h"
#include "place.h"
#include "target.h"
#include "text.h"
#include "walk.h"

#define JOURNAL ".st-journal"

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

/* What an edit has left in a folder: beside a file, or for several of them. */
struct journal {
    char *path; /* of what it is about */
    bool list;  /* of files that are to take their places */
    st_recovery found;
    st_status status; /* of looking at it */
    st_error error;
};

struct journals {
    struct journal *at;
    size_t count;
    size_t room;
    st_status status; /* of reading the folder */
    st_error error;
};

static bool ends_with(const char *text, const char *ending)
{
    size_t len = strlen(text), ending_len = strlen(ending);
    return len >= ending_len && strcmp(text + len - ending_len, ending) == 0;
}

/* What walk_folder calls: PATH.st-journal. */
static void journal_take(void *ctx, const char *path)
{
    struct journals *journals = ctx;
    size_t len = strlen(path) - strlen(JOURNAL);
    journals->at =
        memory_grow(journals->at, &journals->room, journals->count + 1, sizeof *journals->at);
    struct journal *journal = &journals->at[journals->count++];
    *journal = (struct journal){.path = memory_new(len + 1, 1)};
    memcpy(journal->path, path, len);
    journal->list = !ends_with(journal->path, ".safetensors");
    if (!journal->list)
        journal->status = st_recovery_look(journal->path, NULL, &journal->found, &journal->error);
}

static void folder_fail(void *ctx, const char *path)
{
    struct journals *journals = ctx;
    journals->status = io_error(path, &journals->error);
}

/* Tells whether a journal is still there. */
static bool is_left(const struct journal *journal)
{
    struct stat info;
    char *path = memory_new(strlen(journal->path) + sizeof JOURNAL, 1);
    strcpy(path, journal->path);
    strcat(path, JOURNAL);
    bool left = lstat(path, &info) == 0;
    free(path);
    return left;
}

static void list_tell(const struct repair *repair)
{
    bool dry = repair->options->dry_run;
    if (repair->json) {
        json_text(repair->json, "recovery", "several");
        json_u64(repair->json, "stretches", 0);
        json_u64(repair->json, "bytes", 0);
        json_bool(repair->json, "done", !dry);
        return;
    }
    out_escaped(repair->out, repair->path, strlen(repair->path));
    out_print(repair->out,
              ": an edit of several files was interrupted; what it left %s put right\n",
              dry ? "would be" : "is");
}

/* `path`: of the checkpoint, which a list without an index is about. */
static void journal_tell(struct repair *repair, const struct journal *journal, const char *path)
{
    repair->path = journal->list && !ends_with(journal->path, ".json") ? path : journal->path;
    if (repair->json)
        json_open_file(repair->json, repair->path);
    if (journal->list)
        list_tell(repair);
    else if (journal->status != ST_OK)
        file_fail(repair->out, repair->json, &journal->error);
    else
        found_tell(repair, &journal->found);
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

/* Tells whether a journal is not of the checkpoint at `path`: it was left, or, in a dry run, is another index's. */
static bool is_foreign(const struct repair *repair, const struct journal *journal, const char *path)
{
    if (!repair->options->dry_run)
        return is_left(journal);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return journal->list && !walk_is_folder(path) && !ends_with(journal->path, name);
}

static void journals_tell(struct repair *repair, const struct journals *journals, const char *path)
{
    size_t told = 0;
    for (size_t i = 0; i < journals->count; i++) {
        if (is_foreign(repair, &journals->at[i], path))
            continue;
        journal_tell(repair, &journals->at[i], path);
        told++;
    }
    if (told == 0)
        nothing_tell(repair, path);
}

/* Looks at what lies in the folder before it is put right, to tell what it was. */
static void checkpoint_repair(struct repair *repair, const char *path)
{
    struct journals journals = {0};
    st_error error;
    char *folder = walk_is_folder(path) ? NULL : place_folder(path);
    walk_folder(
        &(struct walk){
            .ending = JOURNAL, .file = journal_take, .fail = folder_fail, .ctx = &journals},
        folder ? folder : path);
    st_status status = journals.status;
    if (status != ST_OK)
        error = journals.error;
    else if (!repair->options->dry_run)
        status = st_checkpoint_recover(path, NULL, NULL, &error);
    if (status == ST_OK)
        journals_tell(repair, &journals, path);
    else
        only_fail(repair->out, repair->json, path, &error);
    for (size_t i = 0; i < journals.count; i++)
        free(journals.at[i].path);
    free(journals.at);
    free(folder);
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
            {"safetensors repair checkpoint/", "All of a folder, after a crash."},
            {0},
        },
    .reads_files = true,
    .run = repair_run,
};
