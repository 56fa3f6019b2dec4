/* SPDX-License-Identifier: Apache-2.0 */
/* What is there of a damaged checkpoint: by the check, which goes on behind what is wrong; and where the index cannot be
 * read at all, by the names in its folder. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/room.h"
#include "checkpoint/path.h"
#include "checkpoint/salvage.h"
#include "format/order.h"
#include "io/os.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define DAMAGED_ENDING ".safetensors"

st_status st__damaged_nomem(const st__damaged *found, uint64_t size, st_error *error)
{
    return st__error_locate(error, st__fail_nomem(error, size), found->path, NULL);
}

st_status st__damaged_stopped(const st__damaged *found, st_error *error)
{
    return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the salvage was stopped",
                    found->path);
}

/* --------------------------------------------------------------------------------------- files */

/* Tells that there may be so many bytes. */
static st_status total_tell(const st__damaged *found)
{
    const st_progress *progress = &found->progress;
    if (!progress->fn || progress->fn(progress->ctx, 0, found->total))
        return ST_OK;
    return st__damaged_stopped(found, found->error);
}

static st_status damaged_add(st__damaged *found, const char *path, const char *shown, uint64_t size)
{
    void *files = found->files;
    size_t wanted = strlen(path);
    bool fits = st__room_make(found->context, &files, sizeof *found->files, found->count,
                              &found->room, &wanted);
    found->files = files;
    char *kept = fits ? st__arena_text(&found->texts, path, strlen(path)) : NULL;
    char *name = kept ? st__arena_text(&found->texts, shown, strlen(shown)) : NULL;
    if (!name)
        return st__damaged_nomem(found, wanted, found->error);
    const char *slash = strrchr(kept, '/'), *last = slash ? slash + 1 : kept;
    found->files[found->count++] =
        (st__damaged_file){.name = {.text = last, .len = (uint32_t)strlen(last)},
                           .path = kept,
                           .shown = name,
                           .size = size};
    if (!st__add_u64(found->total, size, &found->total))
        found->total = UINT64_MAX;
    return total_tell(found);
}

static bool damaged_note(void *ctx, const st_checkpoint_shard *shard)
{
    st__damaged *found = ctx;
    st_source_info info = {.size = 0};
    if (shard->source && st_source_query(shard->source, &info, NULL) != ST_OK)
        info.size = 0;
    found->status = damaged_add(found, shard->path, shard->name, info.size);
    return found->status == ST_OK;
}

/* Refuses files of one name in two folders: the new folder is one. */
static st_status last_names_check(const st__damaged *found)
{
    st__map names = {0};
    st__hash_key key;
    st__os_random(&key, sizeof key);
    if (!st__map_init(&names, found->context, found->files, sizeof *found->files, found->count,
                      &key))
        return st__damaged_nomem(found, (uint64_t)found->count * sizeof *names.slots, found->error);
    size_t twice = st__map_insert_all(&names, found->count, false);
    const st__damaged_file *again = twice == ST__MAP_NONE ? NULL : &found->files[twice];
    size_t first = again ? st__map_find(&names, again->name.text, again->name.len) : 0;
    st__map_release(&names, found->context);
    if (!again)
        return ST_OK;
    const char *one = found->files[first].shown;
    return st__fail(found->error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                    "%s: %s and %s would be one file; save them one by one", found->path,
                    st__quote(one, strlen(one)).text,
                    st__quote(again->shown, strlen(again->shown)).text);
}

/* ------------------------------------------------------------------------------------ the index */

static bool finding_keep(void *ctx, const char *path, const st_finding *finding)
{
    st__damaged *found = ctx;
    void *findings = found->findings;
    size_t wanted = strlen(finding->message);
    (void)path;
    bool fits = st__room_make(found->context, &findings, sizeof *found->findings,
                              found->finding_count, &found->finding_room, &wanted);
    found->findings = findings;
    char *message =
        fits ? st__arena_text(&found->texts, finding->message, strlen(finding->message)) : NULL;
    if (!message) {
        found->status = st__damaged_nomem(found, wanted, found->error);
        return false;
    }
    st_finding *kept = &found->findings[found->finding_count++];
    *kept = *finding;
    kept->message = message;
    kept->name = NULL; /* the message has it */
    kept->name_len = 0;
    return true;
}

static bool index_keep(void *ctx, const char *path, const st_checkpoint_summary *summary)
{
    st__damaged *found = ctx;
    if (summary->indices == 0 || found->index)
        return true;
    found->index = st__arena_text(&found->texts, path, strlen(path));
    if (!found->index)
        found->status = st__damaged_nomem(found, strlen(path), found->error);
    return found->index != NULL;
}

/* --------------------------------------------------------------------------- without the index */

typedef struct index_neighbours {
    st__damaged *found;
    char *folder; /* with a slash at its end */
} index_neighbours;

static st_status neighbour_add(const index_neighbours *in, const char *name)
{
    st__damaged *found = in->found;
    st__os_info info = {.size = 0};
    char *path;
    ST_TRY(st__path_join(found->context, in->folder, name, &path, found->error));
    if (st__os_info_at(ST__OS_HERE, path, true, &info) != 0)
        info.size = 0; /* opening it will tell why */
    st_status status = damaged_add(found, path, name, info.size);
    st__path_free(found->context, path);
    return status;
}

static int neighbour_note(void *ctx, const char *name)
{
    index_neighbours *in = ctx;
    size_t len = strlen(name), ending = strlen(DAMAGED_ENDING);
    if (name[0] == '.' || len < ending || strcmp(name + len - ending, DAMAGED_ENDING) != 0)
        return 0;
    in->found->status = neighbour_add(in, name);
    return in->found->status == ST_OK ? 0 : ECANCELED;
}

/* Puts the files in the order of their names, as an index does. */
static st_status neighbours_sort(st__damaged *found)
{
    size_t count = found->count;
    uint32_t *order = st__alloc_zeroed(found->context, count, sizeof *order);
    st__damaged_file *sorted = st__alloc_zeroed(found->context, count, sizeof *sorted);
    st_status status = ST_ERR_NOMEM;
    if (order && sorted)
        status = st__order_by_text(found->context, found->files, sizeof *sorted, count, order,
                                   found->error);
    if (status == ST_ERR_NOMEM)
        (void)st__damaged_nomem(found, (uint64_t)count * sizeof *sorted, found->error);
    for (size_t i = 0; i < count && status == ST_OK; i++)
        sorted[i] = found->files[order[i]];
    for (size_t i = 0; i < count && status == ST_OK; i++)
        found->files[i] = sorted[i];
    st__free(found->context, sorted, count * sizeof *sorted);
    st__free(found->context, order, count * sizeof *order);
    return status;
}

/* All files beside an index that names none: it may have named any of them. */
static st_status neighbours_find(st__damaged *found)
{
    const char *slash = strrchr(found->index, '/');
    size_t len = slash ? (size_t)(slash - found->index) + 1 : 0;
    index_neighbours in = {
        .found = found,
        .folder = st__arena_text(&found->texts, len ? found->index : "./", len ? len : 2)};
    if (!in.folder)
        return st__damaged_nomem(found, len, found->error);
    int failed = st__os_list(in.folder, neighbour_note, &in);
    ST_TRY(found->status);
    if (failed)
        return st__fail_errno(found->error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed",
                              in.folder);
    return found->count ? neighbours_sort(found) : ST_OK;
}

/* ----------------------------------------------------------------------------------- all of it */

static st_status damaged_check(st__damaged *found, st_checkpoint_summary *summary)
{
    st_error own = {.status = ST_OK};
    const st_checkpoint_observer observer = {
        .finding = finding_keep, .shard = damaged_note, .end = index_keep, .ctx = found};
    st_status status = st_checkpoint_check(found->path, &found->options, &observer, summary, &own);
    ST_TRY(found->status);
    if (status != ST_OK)
        *found->error = own;
    return status == ST_ERR_NOMEM ? st__error_locate(found->error, status, found->path, NULL)
                                  : status;
}

st_status st__damaged_find(st__damaged *found, st_error *error)
{
    st_checkpoint_summary summary;
    found->texts.context = found->context;
    found->error = error;
    ST_TRY(damaged_check(found, &summary));
    if (summary.indices > 1)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: holds %" PRIu64 " indices; name the one to be saved", found->path,
                        summary.indices);
    if (found->index && summary.files == 0 && summary.errors)
        ST_TRY(neighbours_find(found));
    if (found->count == 0)
        return st__fail(error, ST_ERR_NOT_FOUND, ST_NO_OFFSET, "%s: none of its files is there",
                        found->path);
    return last_names_check(found);
}

void st__damaged_release(st__damaged *found)
{
    st__free(found->context, found->files, found->room * sizeof *found->files);
    st__free(found->context, found->findings, found->finding_room * sizeof *found->findings);
    st__arena_release(&found->texts);
}
