/* SPDX-License-Identifier: Apache-2.0 */
/* What can be saved of a damaged checkpoint: of each file by itself, and a new index of that. All of it is written into
 * an empty folder, and taken out again where one part of it cannot be written. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "checkpoint/index_text.h"
#include "checkpoint/path.h"
#include "checkpoint/salvage.h"
#include "io/os.h"
#include "io/sink.h"

#include <errno.h>
#include <string.h>

typedef struct salvage_many {
    const char *folder; /* NULL: none was named */
    const st_checkpoint_salvage_options *how;
    st_sink_options sink;
    st__damaged found;
    bool made;       /* the folder is ours */
    uint64_t before; /* bytes of the files that are done */
    uint64_t size;   /* of the one at hand */
    st_checkpoint_salvage_summary summary;
    st_error *error;
} salvage_many;

static st_status all_stopped(const salvage_many *all, st_error *error)
{
    return st__damaged_stopped(&all->found, error);
}

/* ------------------------------------------------------------------------------------ progress */

/* Tells that so much of the file at hand is done; false: that is the end. */
static bool all_progress(const salvage_many *all, uint64_t done)
{
    const st_progress *progress = &all->how->progress;
    return !progress->fn || progress->fn(progress->ctx, all->before + done, all->found.total);
}

/* The bytes written of a file, as a part of those of the damaged one. */
static bool damaged_progress(void *ctx, uint64_t done, uint64_t total)
{
    const salvage_many *all = ctx;
    double part = total ? (double)done / (double)total : 0;
    uint64_t of_it = (uint64_t)(part * (double)all->size);
    return all_progress(all, of_it < all->size ? of_it : all->size);
}

/* ---------------------------------------------------------------------------------- the folder */

static int name_refuse(void *ctx, const char *name)
{
    (void)name;
    *(bool *)ctx = true;
    return EEXIST;
}

/* Refuses a folder in which something is: it might be taken for a part of what was saved. */
static st_status empty_check(const salvage_many *all, bool *there)
{
    bool full = false;
    int failed = st__os_list(all->folder, name_refuse, &full);
    *there = failed != ENOENT;
    if (full)
        return st__fail(all->error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: is not empty; name a new folder for what can be saved", all->folder);
    if (failed && *there)
        return st__fail_errno(all->error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed",
                              all->folder);
    return ST_OK;
}

static st_status new_folder_make(salvage_many *all)
{
    bool there = true;
    if (all->folder)
        ST_TRY(empty_check(all, &there));
    if (all->how->dry_run || there)
        return ST_OK;
    all->made = true; /* also where its name cannot be made to reach the disk */
    return st__folder_make(all->found.context, all->folder, all->sink.durability == ST_DURABLE_NAME,
                           all->error);
}

/* Takes out what a failed writing has left in its place: the name was there, and could not be made to reach the disk. */
static void unfinished_remove(const char *target, const st_error *why)
{
    if (why->sys_errno != EEXIST) /* that one is not ours */
        (void)st__os_remove(ST__OS_HERE, target);
}

/* Takes everything out again. */
static void written_remove(const salvage_many *all)
{
    for (size_t i = 0; i < all->found.count; i++)
        if (all->found.files[i].target)
            (void)st__os_remove(ST__OS_HERE, all->found.files[i].target);
    if (all->made)
        (void)st__os_remove_directory(ST__OS_HERE, all->folder);
}

/* -------------------------------------------------------------------------------------- a part */

static bool part_tell(const salvage_many *all, st_checkpoint_salvage_fn fn,
                      const st_checkpoint_salvage_part *part)
{
    return !fn || fn(all->how->ctx, part);
}

/* Tells what became of a part, and gives ST_OK to go on. `of_part`: a failure is that of this part only. */
static st_status part_finish(salvage_many *all, const st_checkpoint_salvage_part *part,
                             bool of_part)
{
    bool goes_on = part_tell(all, all->how->end, part);
    if (part->why && of_part && all->how->end && goes_on) {
        all->summary.files_failed += !part->index;
        return ST_OK;
    }
    if (part->why) {
        *all->error = *part->why;
        return part->why->status;
    }
    return goes_on ? ST_OK : all_stopped(all, all->error);
}

static void sum_add(salvage_many *all, const st_salvage_summary *one)
{
    st_salvage_summary *sum = &all->summary.sum;
    sum->saved += one->saved;
    sum->changed += one->changed;
    sum->lost += one->lost;
    sum->errors += one->errors;
    sum->bytes += one->bytes;
    sum->metadata += one->metadata;
}

/* Gives the path of a part in the new folder, which lives as long as the rest. */
static st_status target_name(salvage_many *all, const char *name, char **out)
{
    char *path;
    *out = NULL;
    if (!all->folder)
        return ST_OK;
    ST_TRY(st__path_join(all->found.context, all->folder, name, &path, all->error));
    *out = st__arena_text(&all->found.texts, path, strlen(path));
    st_status status = *out ? ST_OK : st__damaged_nomem(&all->found, strlen(path), all->error);
    st__path_free(all->found.context, path);
    return status;
}

/* --------------------------------------------------------------------------------------- files */

/* Whether all of a file can be read: tells, after a failure, whose it was. */
static bool is_readable(const salvage_many *all, st_source *source)
{
    const size_t most = (size_t)1 << 20;
    st_source_info info = {.size = 0};
    char *room = st__alloc(all->found.context, most);
    bool reads = room && st_source_query(source, &info, NULL) == ST_OK;
    for (uint64_t at = 0; reads && at < info.size; at += most) {
        size_t size = info.size - at < most ? (size_t)(info.size - at) : most;
        reads = st_source_read(source, at, room, size, NULL) == ST_OK;
    }
    st__free(all->found.context, room, most);
    return reads || !room;
}

/* `*of_file`: a failure is the damaged file's, not that of the writing. */
static st_status source_save(salvage_many *all, st_source *source, const char *target,
                             st_salvage_summary *out, st_error *why)
{
    const st_salvage_options how = {
        .item = all->how->item,
        .ctx = all->how->ctx,
        .progress = {all->how->progress.fn ? damaged_progress : NULL, all}};
    st_sink *sink = NULL;
    if (target && !all->how->dry_run)
        ST_TRY(st_sink_open(target, &all->sink, &sink, why));
    st_status status = st_salvage(source, &all->found.options, sink, &how, out, why);
    if (sink && status != ST_OK)
        unfinished_remove(target, why);
    st_sink_release(sink);
    return status;
}

static st_status damaged_save(salvage_many *all, const st__damaged_file *file, const char *target,
                              st_salvage_summary *out, st_error *why)
{
    st_source *source;
    bool of_file = true;
    st_status status = st_source_open(file->path, &all->found.options, &source, why);
    if (status == ST_OK) {
        status = source_save(all, source, target, out, why);
        of_file = status != ST_ERR_IO || all->how->dry_run || !is_readable(all, source);
        st_source_release(source);
    }
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(why, status, file->path, NULL);
    const st_checkpoint_salvage_part part = {.path = file->path,
                                             .target = target,
                                             .summary = status == ST_OK ? out : NULL,
                                             .why = status == ST_OK ? NULL : why};
    return part_finish(all, &part, of_file && status != ST_ERR_NOMEM && status != ST_ERR_STOPPED);
}

static st_status file_salvage(salvage_many *all, st__damaged_file *file)
{
    st_salvage_summary one = {0};
    st_error why = {.status = ST_OK};
    char *target;
    ST_TRY(target_name(all, file->name.text, &target));
    const st_checkpoint_salvage_part part = {.path = file->path, .target = target};
    if (!part_tell(all, all->how->begin, &part))
        return all_stopped(all, all->error);
    all->size = file->size;
    st_status status = damaged_save(all, file, target, &one, &why);
    if (one.size && !all->how->dry_run)
        file->target = target;
    ST_TRY(status);
    sum_add(all, &one);
    all->summary.sum.size += one.size;
    all->summary.files += one.size > 0;
    all->summary.files_lost += one.size == 0 && why.status == ST_OK;
    if (!all_progress(all, file->size))
        return all_stopped(all, all->error);
    if (!st__add_u64(all->before, file->size, &all->before))
        all->before = UINT64_MAX;
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ the index */

/* Errors are losses, and the rest is right in the new one. */
static bool findings_tell(const salvage_many *all, st_salvage_summary *out)
{
    bool goes_on = true;
    for (size_t i = 0; i < all->found.finding_count && goes_on; i++) {
        const st_finding *found = &all->found.findings[i];
        bool lost = found->severity == ST_SEVERITY_ERROR;
        const st_salvage_item item = {.kind = lost ? ST_SALVAGE_LOST : ST_SALVAGE_CHANGED,
                                      .severity = found->severity,
                                      .rule = found->rule,
                                      .offset = found->offset,
                                      .message = found->message};
        out->lost += lost;
        out->changed += !lost;
        out->errors += lost;
        goes_on = !all->how->item || all->how->item(all->how->ctx, &item);
    }
    return goes_on;
}

static st_status new_index_save(salvage_many *all, st_checkpoint *saved, const char *target,
                                uint64_t *size, st_error *why)
{
    st__index_text text = {.context = all->found.context};
    st_sink *sink = NULL;
    st_status status =
        st__index_text_renew(saved, all->found.index, &all->found.options, &text, why);
    if (status == ST_OK)
        status = st_sink_open(target, &all->sink, &sink, why);
    if (status == ST_OK)
        status = st__index_text_write(text.text, text.len, sink, why);
    if (sink && status != ST_OK)
        unfinished_remove(target, why);
    st_sink_release(sink);
    if (status == ST_OK)
        *size = text.len;
    st__index_text_release(&text);
    return status;
}

static st_status index_make_anew(salvage_many *all, const char *target, uint64_t *size,
                                 st_error *why)
{
    st_checkpoint *saved;
    st_status status = st_checkpoint_open(all->folder, &all->found.options, &saved, why);
    if (status == ST_OK) {
        status = new_index_save(all, saved, target, size, why);
        st_checkpoint_close(saved);
    }
    return status == ST_ERR_NOMEM ? st__error_locate(why, status, target, NULL) : status;
}

static st_status index_part_save(salvage_many *all, const st_checkpoint_salvage_part *part,
                                 st_salvage_summary *out, st_error *why)
{
    if (!findings_tell(all, out))
        return all_stopped(all, why);
    sum_add(all, out);
    return all->how->dry_run ? ST_OK : index_make_anew(all, part->target, &out->size, why);
}

static st_status index_salvage(salvage_many *all)
{
    st_salvage_summary one = {0};
    st_error why = {.status = ST_OK};
    const char *slash = strrchr(all->found.index, '/');
    char *target;
    ST_TRY(target_name(all, slash ? slash + 1 : all->found.index, &target));
    st_checkpoint_salvage_part part = {.path = all->found.index, .target = target, .index = true};
    if (!part_tell(all, all->how->begin, &part))
        return all_stopped(all, all->error);
    st_status status = index_part_save(all, &part, &one, &why);
    part.summary = status == ST_OK ? &one : NULL;
    part.why = status == ST_OK ? NULL : &why;
    bool of_part = status != ST_ERR_IO && status != ST_ERR_NOMEM && status != ST_ERR_STOPPED;
    all->summary.index = status == ST_OK;
    status = part_finish(all, &part, of_part);
    if (status != ST_OK && one.size)
        (void)st__os_remove(ST__OS_HERE, target);
    return status;
}

/* ------------------------------------------------------------------------------------ all of it */

static st_status parts_salvage(salvage_many *all)
{
    for (size_t i = 0; i < all->found.count; i++)
        ST_TRY(file_salvage(all, &all->found.files[i]));
    return all->found.index && all->summary.files ? index_salvage(all) : ST_OK;
}

static st_status salvage_many_run(salvage_many *all)
{
    ST_TRY(st__damaged_find(&all->found, all->error));
    st_status status = new_folder_make(all);
    if (status == ST_OK)
        status = parts_salvage(all);
    if (status != ST_OK || all->summary.files == 0)
        written_remove(all);
    return status;
}

static st_status salvage_options_check(const salvage_many *all, st_error *error)
{
    ST_TRY(st__options_check(&all->found.options, error));
    ST_TRY(st__reserved_check(all->how->reserved, 8, "st_checkpoint_salvage_options", error));
    ST_TRY(st__sink_options_check(&all->sink, error));
    if (all->folder || all->how->dry_run)
        return ST_OK;
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                    "%s: what can be saved needs a folder, unless dry_run is set", all->found.path);
}

st_status st_checkpoint_salvage(const char *path, const st_open_options *options,
                                const char *folder, const st_checkpoint_salvage_options *salvage,
                                st_checkpoint_salvage_summary *out, st_error *error)
{
    static const st_checkpoint_salvage_options defaults;
    st_error said = {.status = ST_OK};
    salvage_many all = {.folder = folder, .how = salvage ? salvage : &defaults, .error = &said};
    st__damaged *found = &all.found;
    if (options)
        found->options = *options;
    found->options.name = NULL;
    found->path = path;
    found->progress = all.how->progress;
    all.sink = (st_sink_options){.durability = all.how->durability, .flags = ST_SINK_NEW};
    ST_TRY(salvage_options_check(&all, error));
    found->context = st_context_retain(found->options.context);
    if (!found->context)
        ST_TRY(st_context_new(NULL, &found->context, error));
    found->options.context = all.sink.context = found->context;
    st_status status = salvage_many_run(&all);
    st__damaged_release(found);
    st_context_release(found->context);
    if (status == ST_OK && out)
        *out = all.summary;
    if (status != ST_OK && error)
        *error = said;
    return status;
}
