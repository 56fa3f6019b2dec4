/* SPDX-License-Identifier: Apache-2.0 */
/* What interrupted edits have left of the files of a folder is found, and put right or told: first the lists of edits over
 * several files, then what edits in place have left beside each. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/room.h"
#include "checkpoint/exchange.h"
#include "checkpoint/index.h"
#include "checkpoint/path.h"

#include <safetensors/checkpoint.h>

#include <errno.h>
#include <string.h>

typedef struct recovering {
    st_context *context;
    const char *path;               /* that was asked about */
    st_checkpoint_recovery_fn tell; /* NULL: what is found is put right */
    void *tell_ctx;
    const char *folder; /* ends in a slash, or is empty */
    st__arena texts;
    st__key *found; /* `count` of `room`: names of the folder */
    size_t count;
    size_t room;
    uint64_t wanted; /* bytes that could not be had */
    bool changed;
    st_error *error;
} recovering;

static st_status recovering_nomem(const recovering *r, uint64_t size)
{
    return st__error_locate(r->error, st__fail_nomem(r->error, size), r->folder, NULL);
}

static bool text_ends(const char *text, const char *ending)
{
    size_t len = strlen(text), ending_len = strlen(ending);
    return len >= ending_len && strcmp(text + len - ending_len, ending) == 0;
}

/* ---------------------------------------------------------------------------------- telling */

/* `status` and `why`: of looking at it, with which the search goes on. */
static st_status recovering_tell(const recovering *r, st_checkpoint_recovery *found,
                                 st_status status, const st_error *why)
{
    if (status == ST_ERR_NOMEM) {
        *r->error = *why;
        return status;
    }
    if (status != ST_OK) {
        found->found = (st_recovery){.action = ST_RECOVERY_NONE};
        found->why = why;
    } else if (found->found.action == ST_RECOVERY_NONE) {
        return ST_OK;
    }
    if (r->tell(r->tell_ctx, found))
        return ST_OK;
    return st__fail(r->error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the search was stopped", r->path);
}

static st_status list_tell(const recovering *r, st__exchange *exchange)
{
    st_error why = {.status = ST_OK};
    st_checkpoint_recovery found = {.path = r->path, .several = true};
    char *path = NULL;
    if (exchange->index)
        ST_TRY(st__path_join(r->context, r->folder, exchange->index, &path, r->error));
    if (path)
        found.path = path;
    st_status status = st__exchange_look(exchange, &found, &why);
    status = recovering_tell(r, &found, status, &why);
    st__path_free(r->context, path);
    return status;
}

static st_status file_tell(const recovering *r, const char *path)
{
    st_error why = {.status = ST_OK};
    st_checkpoint_recovery found = {.path = path};
    st_status status = st_recovery_look(path, r->context, &found.found, &why);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(&why, status, path, NULL);
    return recovering_tell(r, &found, status, &why);
}

/* --------------------------------------------------------------------------------- the lists */

/* Ends the edit of this index; NULL: of a folder without one. What is not called as an index is only looked at, unless
 * it has a list: it may be a file, and have a journal of that name. */
static st_status list_visit(recovering *r, const char *index, bool *is_index)
{
    st__exchange exchange = {.context = r->context};
    bool changed = false;
    st_status status = st__exchange_open(&exchange, r->folder, index, r->error);
    *is_index = !index || text_ends(index, ".json") ||
                (status == ST_OK && st__exchange_is_there(&exchange));
    if (status == ST_OK && *is_index)
        status =
            r->tell ? list_tell(r, &exchange) : st__exchange_recover(&exchange, &changed, r->error);
    st__exchange_close(&exchange);
    r->changed |= changed;
    return status;
}

/* ------------------------------------------------------------------------------- the folder */

/* Keeps a name, without the ending that it has. */
static int name_keep_bare(recovering *r, const char *name, size_t ending)
{
    void *found = r->found;
    size_t len = strlen(name) - ending, wanted = len;
    bool fits = st__room_make(r->context, &found, sizeof *r->found, r->count, &r->room, &wanted);
    r->found = found;
    const char *text = fits ? st__arena_text(&r->texts, name, len) : NULL;
    if (!text) {
        r->wanted = wanted;
        return ENOMEM;
    }
    r->found[r->count++] = (st__key){.text = text, .len = (uint32_t)len};
    return 0;
}

/* What has a journal beside it. */
static int journal_note(void *ctx, const char *name)
{
    return text_ends(name, ST__JOURNAL_ENDING)
               ? name_keep_bare(ctx, name, sizeof ST__JOURNAL_ENDING - 1)
               : 0;
}

static st_status folder_list(recovering *r)
{
    const char *path = r->folder[0] ? r->folder : ".";
    int failed = st__os_list(path, journal_note, r);
    if (r->wanted)
        return recovering_nomem(r, r->wanted);
    if (failed)
        return st__fail_errno(r->error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed",
                              path);
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- the files */

static st_status file_visit(recovering *r, const char *path)
{
    bool changed = false;
    if (r->tell)
        return file_tell(r, path);
    st_status status = st_edit_recover(path, r->context, &changed, r->error);
    r->changed |= changed;
    return status == ST_ERR_NOMEM ? st__error_locate(r->error, status, path, NULL) : status;
}

/* A file of the folder, unless it is not there: then nothing can be done. */
static st_status name_visit(recovering *r, const char *name)
{
    char *path;
    st__os_info info;
    ST_TRY(st__path_join(r->context, r->folder, name, &path, r->error));
    st_status status = ST_OK;
    if (st__os_info_at(ST__OS_HERE, path, true, &info) != ENOENT)
        status = file_visit(r, path);
    st__path_free(r->context, path);
    return status;
}

static st_status index_text_visit(recovering *r, const char *text, size_t size, const char *path)
{
    st__arena kept = {.context = r->context};
    st__index index = {.context = r->context, .kept = &kept};
    const st__index_judge judge = {.name = path, .error = r->error};
    st_status status = st__index_parse(&index, text, size, &judge);
    bool readable = status == ST_OK;
    for (size_t i = 0; i < index.file_count && status == ST_OK; i++)
        status = name_visit(r, index.files[i].name.text);
    st__index_release(&index);
    st__arena_release(&kept);
    /* Without a readable index it is not known which other files there are. */
    return readable || status == ST_ERR_NOMEM ? status : ST_OK;
}

/* The files that an index names, which may lie in folders below, or be reached by links. */
static st_status index_files_visit(recovering *r, const char *path)
{
    st_open_options options = {.context = r->context};
    st_source_info info;
    st_source *source;
    size_t size;
    char *text = NULL;
    st_status status = st_source_open(path, &options, &source, r->error);
    if (status != ST_OK)
        return status == ST_ERR_NOMEM ? st__error_locate(r->error, status, path, NULL) : ST_OK;
    status = st_source_query(source, &info, r->error);
    if (status == ST_OK && info.size < ST__INDEX_MAX && st__u64_to_size(info.size, &size)) {
        text = st__alloc(r->context, size);
        status =
            text ? st_source_read(source, 0, text, size, r->error) : recovering_nomem(r, info.size);
        if (status == ST_OK)
            status = index_text_visit(r, text, size, path);
        st__free(r->context, text, size);
    }
    st_source_release(source);
    return status;
}

/* Of a folder: the lists that are in it, then the files that have a journal. */
static st_status found_visit(recovering *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const char *of = r->found[i].text;
        bool lone = strcmp(of, ST__EXCHANGE_NO_INDEX) == 0, is_index;
        if (!text_ends(of, ".safetensors"))
            ST_TRY(list_visit(r, lone ? NULL : of, &is_index));
    }
    for (size_t i = 0; i < r->count; i++)
        if (text_ends(r->found[i].text, ".safetensors"))
            ST_TRY(name_visit(r, r->found[i].text));
    return ST_OK;
}

static st_status index_visit(recovering *r, const char *path)
{
    const char *name = strrchr(path, '/');
    bool is_index;
    ST_TRY(list_visit(r, name ? name + 1 : path, &is_index));
    return is_index ? index_files_visit(r, path) : file_visit(r, path);
}

static st_status folder_visit(recovering *r)
{
    ST_TRY(folder_list(r));
    return found_visit(r);
}

/* -------------------------------------------------------------------------------- the calls */

/* Makes the folder: the path itself, or what stands before its last name. */
static st_status recovering_folder(recovering *r, const char *path, bool whole)
{
    const char *slash = strrchr(path, '/');
    size_t len = whole ? strlen(path) : slash ? (size_t)(slash - path) + 1 : 0;
    char *folder = st__arena_take(&r->texts, len + 2);
    if (!folder)
        return st__error_locate(r->error, st__fail_nomem(r->error, len + 2), path, NULL);
    memcpy(folder, path, len);
    if (whole && len && path[len - 1] != '/')
        folder[len++] = '/';
    folder[len] = '\0';
    r->folder = folder;
    return ST_OK;
}

static st_status path_visit(recovering *r)
{
    const char *path = r->path;
    bool is_file = text_ends(path, ".safetensors");
    st__os_info info = {.kind = ST__OS_REGULAR};
    int failed = st__os_info_at(ST__OS_HERE, path, true, &info);
    if (failed && (failed != ENOENT || is_file))
        return st__fail_errno(r->error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              path);
    bool folder = info.kind == ST__OS_DIRECTORY;
    ST_TRY(recovering_folder(r, path, folder));
    if (folder)
        return folder_visit(r);
    return is_file ? file_visit(r, path) : index_visit(r, path);
}

/* Goes to all that was left, frees, and says what went wrong. */
static st_status recovering_run(recovering *r, st_error *error)
{
    st_error said = {.status = ST_OK};
    r->texts.context = r->context;
    r->error = &said;
    st_status status = path_visit(r);
    st__free(r->context, r->found, r->room * sizeof *r->found);
    st__arena_release(&r->texts);
    if (status != ST_OK && error)
        *error = said;
    return status;
}

st_status st_checkpoint_recover(const char *path, st_context *context, bool *recovered,
                                st_error *error)
{
    recovering r = {.context = context, .path = path};
    ST_TRY(recovering_run(&r, error));
    if (recovered)
        *recovered = r.changed;
    return ST_OK;
}

st_status st_checkpoint_recovery_look(const char *path, st_context *context,
                                      st_checkpoint_recovery_fn fn, void *ctx, st_error *error)
{
    recovering r = {.context = context, .path = path, .tell = fn, .tell_ctx = ctx};
    return recovering_run(&r, error);
}
