/* SPDX-License-Identifier: Apache-2.0 */
/* What an older split has left beside the shards of this one. */
#include "base/alloc.h"
#include "base/room.h"
#include "checkpoint/path.h"
#include "checkpoint/split.h"
#include "format/order.h"
#include "io/os.h"

#include <errno.h>
#include <string.h>

typedef struct stale_finding {
    const st_split *split;
    const char *folder;
    st__stale *out;
    st_status status;
    st_error *error;
} stale_finding;

static st_status stale_nomem(const stale_finding *find, uint64_t size)
{
    return st__error_locate(find->error, st__fail_nomem(find->error, size), find->folder, NULL);
}

/* A folder may be called so too, and is none of ours. */
static st_status is_file(const stale_finding *find, const char *name, bool *out)
{
    st_context *context = find->split->context;
    st__os_info info;
    char *path;
    ST_TRY(st__path_join(context, find->folder, name, &path, find->error));
    int failed = st__os_info_at(ST__OS_HERE, path, false, &info);
    st_status status = ST_OK;
    if (failed && failed != ENOENT)
        status = st__fail_errno(find->error, ST_ERR_IO, failed, ST_NO_OFFSET,
                                "%s: cannot be examined", path);
    /* What is neither is a link, or a thing that no split has made. */
    *out = !failed && (info.kind == ST__OS_REGULAR || info.kind == ST__OS_OTHER);
    st__path_free(context, path);
    return status;
}

static st_status stale_add(const stale_finding *find, const char *name)
{
    st__stale *out = find->out;
    void *names = out->names;
    size_t wanted = strlen(name), len = wanted;
    bool file, fits;
    ST_TRY(is_file(find, name, &file));
    if (!file)
        return ST_OK;
    fits = st__room_make(find->split->context, &names, sizeof *out->names, out->count, &out->room,
                         &wanted);
    out->names = names;
    const char *text = fits ? st__arena_text(&out->texts, name, len) : NULL;
    if (!text)
        return stale_nomem(find, wanted);
    out->names[out->count++] = (st__key){.text = text, .len = (uint32_t)len};
    return ST_OK;
}

static int stale_note(void *ctx, const char *name)
{
    stale_finding *find = ctx;
    if (!st__split_is_numbered(find->split, name) || st__split_has(find->split, name))
        return 0;
    find->status = stale_add(find, name);
    return find->status == ST_OK ? 0 : ECANCELED;
}

static st_status stale_sort(const stale_finding *find)
{
    st_context *context = find->split->context;
    st__stale *out = find->out;
    uint32_t *order = st__alloc_zeroed(context, out->count, sizeof *order);
    st__key *sorted = st__alloc_zeroed(context, out->count, sizeof *sorted);
    st_status status = ST_ERR_NOMEM;
    if (order && sorted)
        status =
            st__order_by_text(context, out->names, sizeof *sorted, out->count, order, find->error);
    for (size_t i = 0; i < out->count && status == ST_OK; i++)
        sorted[i] = out->names[order[i]];
    if (status == ST_OK)
        memcpy(out->names, sorted, out->count * sizeof *sorted);
    st__free(context, sorted, out->count * sizeof *sorted);
    st__free(context, order, out->count * sizeof *order);
    return status == ST_OK ? ST_OK : stale_nomem(find, (uint64_t)out->count * sizeof *sorted);
}

st_status st__stale_find(const st_split *split, const char *folder, st__stale *out, st_error *error)
{
    stale_finding find = {.split = split, .folder = folder, .out = out, .error = error};
    out->texts.context = split->context;
    int failed = st__os_list(folder, stale_note, &find);
    ST_TRY(find.status);
    if (failed && failed != ENOENT)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed",
                              folder);
    return out->count ? stale_sort(&find) : ST_OK;
}

void st__stale_release(const st_split *split, st__stale *stale)
{
    st__free(split->context, stale->names, stale->room * sizeof *stale->names);
    st__arena_release(&stale->texts);
}

st_status st_split_stale(const st_split *split, const char *folder, st_split_stale_fn fn, void *ctx,
                         st_error *error)
{
    st__stale stale = {.count = 0};
    st_status status = st__stale_find(split, folder, &stale, error);
    for (size_t i = 0; i < stale.count && status == ST_OK; i++)
        if (!fn(ctx, stale.names[i].text))
            status = st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the telling was stopped",
                              folder);
    st__stale_release(split, &stale);
    return status;
}
