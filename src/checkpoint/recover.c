/* SPDX-License-Identifier: Apache-2.0 */
/* What interrupted edits have left of the files of a folder is found, and put right or told: first the lists of edits over
 * several files, then what edits in place have left beside each. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/room.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/exchange.h"
#include "checkpoint/path.h"

#include <safetensors/checkpoint.h>

#include <errno.h>
#include <string.h>

typedef struct recovering {
    st_context *context;
    const char *path;               /* that was asked about */
    bool looks;                     /* what is found is told, not put right */
    st_checkpoint_recovery_fn tell; /* NULL: nobody */
    void *tell_ctx;
    const char *folder; /* ends in a slash, or is empty */
    st__arena texts;
    uint64_t wanted; /* bytes that could not be had */
    bool changed;
    st_error *error;
} recovering;

/* Names in the folder. */
typedef struct name_list {
    recovering *r;
    st__key *at; /* `count` of `room` */
    size_t count;
    size_t room;
} name_list;

static st_status recovering_nomem(const recovering *r, uint64_t size)
{
    return st__error_locate(r->error, st__fail_nomem(r->error, size), r->folder, NULL);
}

static bool text_ends(const char *text, const char *ending)
{
    return st__name_ends(text, strlen(text), ending);
}

/* Keeps a name; ENOMEM. */
static int found_keep(name_list *names, const char *name, size_t len)
{
    recovering *r = names->r;
    void *at = names->at;
    size_t wanted = len;
    bool fits =
        st__room_make(r->context, &at, sizeof *names->at, names->count, &names->room, &wanted);
    names->at = at;
    const char *text = fits ? st__arena_text(&r->texts, name, len) : NULL;
    if (!text) {
        r->wanted = wanted;
        return ENOMEM;
    }
    names->at[names->count++] = (st__key){.text = text, .len = (uint32_t)len};
    return 0;
}

static void names_release(name_list *names)
{
    st__free(names->r->context, names->at, names->room * sizeof *names->at);
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
    if (!r->tell || r->tell(r->tell_ctx, found))
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

/* Whether a name that has something called as a list beside it is that of an index, or NULL: of a folder without one. A
 * file of any name may have a journal that is called so. An errno. */
static int is_of_list(const st__exchange *exchange, bool *out)
{
    st__os_info info;
    *out = true;
    if (exchange->index ? text_ends(exchange->index, ".json")
                        : st__os_info_at(exchange->directory, ST__EXCHANGE_NO_INDEX, true, &info))
        return 0;
    return st__exchange_is_there(exchange, out);
}

/* Ends the edit of this index, if it is one. */
static st_status list_visit(recovering *r, const char *index, bool *is_index)
{
    st__exchange exchange = {.context = r->context};
    bool changed = false;
    st_status status = st__exchange_open(&exchange, r->folder, index, r->error);
    int failed = status == ST_OK ? is_of_list(&exchange, is_index) : 0;
    if (failed)
        status = st__exchange_fail(&exchange, failed, "cannot be examined", r->error);
    else if (status == ST_OK && *is_index)
        status = r->looks ? list_tell(r, &exchange)
                          : st__exchange_recover(&exchange, &changed, r->error);
    st__exchange_close(&exchange);
    r->changed |= changed;
    return status;
}

/* ---------------------------------------------------------------------------------- the files */

static st_status file_visit(recovering *r, const char *path)
{
    bool changed = false;
    if (r->looks)
        return file_tell(r, path);
    st_status status = st_edit_recover(path, r->context, &changed, r->error);
    r->changed |= changed;
    return status == ST_ERR_NOMEM ? st__error_locate(r->error, status, path, NULL) : status;
}

/* A file of the folder, unless none is there: then nothing can be done. */
static st_status name_visit(recovering *r, const char *name)
{
    char *path;
    st__os_info info;
    ST_TRY(st__path_join(r->context, r->folder, name, &path, r->error));
    st_status status = ST_OK;
    int failed = st__os_info_at(ST__OS_HERE, path, true, &info);
    if (failed ? failed != ENOENT : info.kind == ST__OS_REGULAR)
        status = file_visit(r, path);
    st__path_free(r->context, path);
    return status;
}

/* Each once. */
static st_status names_visit(const name_list *names)
{
    recovering *r = names->r;
    st__map map = {0};
    st__hash_key key;
    st_status status = ST_OK;
    st__os_random(&key, sizeof key);
    if (!st__map_init(&map, r->context, names->at, sizeof *names->at, names->count, &key))
        return recovering_nomem(r, (uint64_t)names->count * sizeof *map.slots);
    for (size_t i = 0; i < names->count && status == ST_OK; i++) {
        const st__key *name = &names->at[i];
        if (st__map_insert(&map, i, st__hash(&key, name->text, name->len)) == ST__MAP_NONE)
            status = name_visit(r, name->text);
    }
    st__map_release(&map, r->context);
    return status;
}

static st_status index_text_parse(name_list *names, const st_memory *text, const char *path,
                                  bool *readable)
{
    recovering *r = names->r;
    st__arena kept = {.context = r->context};
    st__index index = {.context = r->context, .kept = &kept};
    const st__index_judge judge = {.name = path, .error = r->error};
    st_status status = st__index_parse(&index, text->data, text->size, &judge);
    *readable = status == ST_OK;
    for (size_t i = 0; i < index.file_count && *readable && status == ST_OK; i++)
        if (found_keep(names, index.files[i].name.text, index.files[i].name.len))
            status = recovering_nomem(r, r->wanted);
    st__index_release(&index);
    st__arena_release(&kept);
    return status;
}

/* Adds the files that an index names, which may lie in folders below, or be reached by links. Without a readable one it is
 * not known which these are. */
static st_status index_read(name_list *names, const char *path, bool *readable)
{
    recovering *r = names->r;
    const st_open_options options = {.context = r->context};
    st_memory text = {0};
    st_source_info info;
    bool parsed = false;
    st_status status =
        st__index_bytes_read(path, &options, ST__INDEX_MAX - 1, &text, &info, r->error);
    if (status == ST_OK)
        status = index_text_parse(names, &text, path, &parsed);
    st__free(r->context, text.data, text.size);
    *readable |= parsed;
    return parsed || status == ST_ERR_NOMEM ? status : ST_OK;
}

/* ------------------------------------------------------------------------------- the folder */

/* What has a journal, or a list, beside it: without the ending. */
static int journal_note(void *ctx, const char *name)
{
    return text_ends(name, ST__JOURNAL_ENDING)
               ? found_keep(ctx, name, strlen(name) - (sizeof ST__JOURNAL_ENDING - 1))
               : 0;
}

static int index_note(void *ctx, const char *name)
{
    return st__folder_has_index(name) ? found_keep(ctx, name, strlen(name)) : 0;
}

static int file_note(void *ctx, const char *name)
{
    return st__folder_has_file(name) ? found_keep(ctx, name, strlen(name)) : 0;
}

static st_status folder_list(name_list *names, int (*note)(void *ctx, const char *name))
{
    recovering *r = names->r;
    const char *path = r->folder[0] ? r->folder : ".";
    int failed = st__os_list(path, note, names);
    if (r->wanted)
        return recovering_nomem(r, r->wanted);
    if (failed)
        return st__fail_errno(r->error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed",
                              path);
    return ST_OK;
}

/* The lists, and which files have a journal. */
static st_status lists_visit(const name_list *journals, name_list *files)
{
    recovering *r = journals->r;
    for (size_t i = 0; i < journals->count; i++) {
        const st__key *of = &journals->at[i];
        bool lone = strcmp(of->text, ST__EXCHANGE_NO_INDEX) == 0, is_index = false;
        if (!text_ends(of->text, ".safetensors"))
            ST_TRY(list_visit(r, lone ? NULL : of->text, &is_index));
        if (!is_index && found_keep(files, of->text, of->len))
            return recovering_nomem(r, r->wanted);
    }
    return ST_OK;
}

/* Adds the files of the checkpoints that the folder is: those of its indices, or else all. */
static st_status files_gather(name_list *indices, name_list *files)
{
    recovering *r = files->r;
    bool readable = false;
    ST_TRY(folder_list(indices, index_note));
    for (size_t i = 0; i < indices->count; i++) {
        char *path;
        ST_TRY(st__path_join(r->context, r->folder, indices->at[i].text, &path, r->error));
        st_status status = index_read(files, path, &readable);
        st__path_free(r->context, path);
        ST_TRY(status);
    }
    return readable ? ST_OK : folder_list(files, file_note);
}

/* The lists come first: what they leave may have other indices. */
static st_status folder_visit(recovering *r)
{
    name_list journals = {.r = r}, indices = {.r = r}, files = {.r = r};
    st_status status = folder_list(&journals, journal_note);
    if (status == ST_OK)
        status = lists_visit(&journals, &files);
    if (status == ST_OK)
        status = files_gather(&indices, &files);
    if (status == ST_OK)
        status = names_visit(&files);
    names_release(&journals);
    names_release(&indices);
    names_release(&files);
    return status;
}

static st_status index_visit(recovering *r, const char *path)
{
    const char *name = strrchr(path, '/');
    name_list files = {.r = r};
    bool is_index, readable = false;
    ST_TRY(list_visit(r, name ? name + 1 : path, &is_index));
    if (!is_index)
        return file_visit(r, path);
    st_status status = index_read(&files, path, &readable);
    if (status == ST_OK)
        status = names_visit(&files);
    names_release(&files);
    return status;
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

/* Looks at the path. Of an index a list may be left alone. */
static int path_look(recovering *r, st__os_info *out)
{
    const char *path = r->path;
    size_t len = strlen(path), ending = sizeof ST__JOURNAL_ENDING;
    st__os_info list;
    int failed = st__os_info_at(ST__OS_HERE, path, true, out);
    if (failed != ENOENT || text_ends(path, ".safetensors"))
        return failed;
    char *name = st__arena_take(&r->texts, len + ending);
    if (!name) {
        r->wanted = len + ending;
        return ENOMEM;
    }
    memcpy(name, path, len);
    memcpy(name + len, ST__JOURNAL_ENDING, ending);
    return st__os_info_at(ST__OS_HERE, name, false, &list);
}

static st_status path_visit(recovering *r)
{
    const char *path = r->path;
    st__os_info info = {.kind = ST__OS_REGULAR};
    int failed = path_look(r, &info);
    if (r->wanted)
        return st__error_locate(r->error, st__fail_nomem(r->error, r->wanted), path, NULL);
    if (failed)
        return st__fail_errno(r->error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              path);
    bool folder = info.kind == ST__OS_DIRECTORY;
    ST_TRY(recovering_folder(r, path, folder));
    if (folder)
        return folder_visit(r);
    return text_ends(path, ".safetensors") ? file_visit(r, path) : index_visit(r, path);
}

/* Goes to all that was left, frees, and says what went wrong. */
static st_status recovering_run(recovering *r, st_error *error)
{
    st_error said = {.status = ST_OK};
    r->texts.context = r->context;
    r->error = &said;
    st_status status = path_visit(r);
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
    recovering r = {.context = context, .path = path, .looks = true, .tell = fn, .tell_ctx = ctx};
    return recovering_run(&r, error);
}
