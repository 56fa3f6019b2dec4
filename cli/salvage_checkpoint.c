/* SPDX-License-Identifier: Apache-2.0 */
/* check --repair of a folder or an index: each file by itself, and a new index of what was saved. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "findings.h"
#include "input.h"
#include "memory.h"
#include "place.h"
#include "salvage.h"

/* The files of a checkpoint that are there, and what is wrong with its index. */
struct shards {
    struct input_paths names; /* in its folder */
    struct input_paths paths;
    struct findings findings;
    char *index; /* its path; NULL: there is none */
    bool made;   /* OUT was not there */
};

static bool finding_note(void *ctx, const char *path, const st_finding *finding)
{
    struct shards *shards = ctx;
    (void)path;
    findings_keep(&shards->findings, finding);
    return true;
}

static bool shard_note(void *ctx, const st_checkpoint_shard *shard)
{
    struct shards *shards = ctx;
    input_paths_add(&shards->names, shard->name);
    input_paths_add(&shards->paths, shard->path);
    return true;
}

static bool index_note(void *ctx, const char *path, const st_checkpoint_summary *summary)
{
    struct shards *shards = ctx;
    if (summary->indices > 0 && !shards->index)
        shards->index = place_copy(path);
    return true;
}

/* Refuses a folder in which something is: it might be taken for a part of what was saved. */
static st_status folder_check(const char *path, st_error *error)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool empty = true;
    if (!folder)
        return errno == ENOENT ? ST_OK : io_error(path, error);
    while (empty && (entry = readdir(folder)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(folder);
    if (empty)
        return ST_OK;
    return error_fill(error, ST_ERR_ARGUMENT,
                      "%.300s: is not empty; name a new folder for what can be saved", path);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int last_parts_compare(const void *a, const void *b)
{
    return strcmp(last_part(*(char *const *)a), last_part(*(char *const *)b));
}

/* Refuses files of one name in two folders: OUT is one. */
static st_status names_check(const struct shards *shards, const char *path, st_error *error)
{
    size_t count = shards->names.count;
    st_status status = ST_OK;
    char **sorted = memory_new(count, sizeof *sorted);
    memcpy(sorted, shards->names.at, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, last_parts_compare);
    for (size_t i = 1; i < count && status == ST_OK; i++)
        if (strcmp(last_part(sorted[i - 1]), last_part(sorted[i])) == 0)
            status = error_fill(error, ST_ERR_ARGUMENT,
                                "%.200s: %.100s and %.100s would be one file; save them one by one",
                                path, sorted[i - 1], sorted[i]);
    free(sorted);
    return status;
}

/* Makes OUT. */
static st_status folder_make(struct shards *shards, const struct salvage *salvage, st_error *error)
{
    const char *path = salvage->options->target;
    if (salvage->options->dry)
        return ST_OK;
    shards->made = mkdir(path, 0777) == 0;
    return shards->made || errno == EEXIST ? ST_OK : io_error(path, error);
}

static void shards_salvage(struct salvage *salvage, const struct shards *shards)
{
    for (size_t i = 0; i < shards->paths.count && !progress_signal(); i++) {
        char *target = place_join(salvage->options->target, last_part(shards->paths.at[i]));
        salvage_file(salvage, shards->paths.at[i], target);
        free(target);
    }
}

/* Says what was wrong with the index: errors are losses, and the rest is right in the new one. */
static void findings_tell(struct salvage *salvage, const struct findings *findings)
{
    salvage->printed = salvage->omitted = 0;
    salvage->bad = false;
    for (size_t i = 0; i < findings->count; i++) {
        const st_finding *found = &findings->at[i];
        bool lost = found->severity == ST_SEVERITY_ERROR;
        salvage_item(salvage,
                     &(st_salvage_item){.kind = lost ? ST_SALVAGE_LOST : ST_SALVAGE_CHANGED,
                                        .rule = found->rule,
                                        .severity = found->severity,
                                        .offset = found->offset,
                                        .message = found->message});
    }
}

static st_status index_write(const struct salvage *salvage, st_error *error)
{
    st_checkpoint *checkpoint;
    st_open_options options = input_options(salvage->options->common);
    st_status status = st_checkpoint_open(salvage->options->target, &options, &checkpoint, error);
    if (status != ST_OK)
        return status;
    status = st_checkpoint_index_write(checkpoint, salvage->target, NULL, error);
    st_checkpoint_close(checkpoint);
    return status;
}

static void index_print(const struct salvage *salvage)
{
    struct out *out = salvage->out;
    out_escaped(out, salvage->path, strlen(salvage->path));
    out_print(out, ": %s of %" PRIu64 " tensor%s in %" PRIu64 " file%s; written to ",
              salvage->options->dry ? "would be made anew" : "made anew", salvage->tensors,
              salvage->tensors == 1 ? "" : "s", salvage->files, salvage->files == 1 ? "" : "s");
    out_escaped(out, salvage->target, strlen(salvage->target));
    out_text(out, "\n");
}

static void index_json(const struct salvage *salvage)
{
    struct json *json = salvage->json;
    json_text(json, "output", salvage->target);
    json_bool(json, "written", !salvage->options->dry);
    json_bool(json, "good", !salvage->bad);
    json_u64(json, "omitted", salvage->omitted);
    json_u64(json, "tensors", salvage->tensors);
    json_u64(json, "shards", salvage->files);
}

/* Makes the index anew, if there was one. */
static void index_salvage(struct salvage *salvage, const struct shards *shards)
{
    st_error error;
    const char *path = shards->index;
    char *target = place_join(salvage->options->target, last_part(path));
    salvage->path = path;
    salvage->target = target;
    if (salvage->json) {
        json_open_file(salvage->json, path);
        json_key(salvage->json, "items");
        st_json_emit_array_begin(salvage->json->emitter);
    }
    findings_tell(salvage, &shards->findings);
    if (salvage->json)
        st_json_emit_array_end(salvage->json->emitter);
    st_status status = salvage->options->dry ? ST_OK : index_write(salvage, &error);
    if (status != ST_OK)
        file_fail(salvage->out, salvage->json, &error);
    else if (salvage->json)
        index_json(salvage);
    else if (!salvage->options->quiet)
        index_print(salvage);
    if (salvage->json)
        st_json_emit_object_end(salvage->json->emitter);
    free(target);
}

static st_status shards_find(struct shards *shards, const struct salvage *salvage, const char *path,
                             st_error *error)
{
    st_checkpoint_summary summary;
    st_open_options options = input_options(salvage->options->common);
    const st_checkpoint_observer observer = {
        .finding = finding_note, .shard = shard_note, .end = index_note, .ctx = shards};
    st_status status = st_checkpoint_check(path, &options, &observer, &summary, error);
    if (status != ST_OK)
        return status;
    if (summary.indices > 1)
        return error_fill(error, ST_ERR_ARGUMENT,
                          "%.300s: holds %" PRIu64 " indices; name the one to be saved", path,
                          summary.indices);
    if (shards->paths.count == 0)
        return error_fill(error, ST_ERR_NOT_FOUND, "%.300s: none of its files is there", path);
    status = names_check(shards, path, error);
    return status == ST_OK ? folder_check(salvage->options->target, error) : status;
}

void salvage_checkpoint(struct salvage *salvage, const char *path)
{
    struct shards shards = {.index = NULL};
    st_error error;
    st_status status = shards_find(&shards, salvage, path, &error);
    if (status == ST_OK)
        status = folder_make(&shards, salvage, &error);
    if (status == ST_OK)
        shards_salvage(salvage, &shards);
    else
        only_fail(salvage->out, salvage->json, path, &error);
    if (status == ST_OK && shards.index && salvage->files > 0 && !progress_signal())
        index_salvage(salvage, &shards);
    if (shards.made && salvage->files == 0)
        (void)rmdir(salvage->options->target);
    out_signal(salvage->out);
    findings_clear(&shards.findings);
    input_paths_release(&shards.names);
    input_paths_release(&shards.paths);
    free(shards.index);
}
