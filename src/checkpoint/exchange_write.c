/* SPDX-License-Identifier: Apache-2.0 */
/* How a list comes to be. It is there, locked, before the first new file is, so that edits of the same files do not meet,
 * and so that what a crash leaves of new files is known by it. Only its mark makes it hold. */
#include "checkpoint/exchange.h"
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/room.h"
#include "checkpoint/index_text.h"
#include "checkpoint/path.h"

#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------------------- other lists */

/* The lists of a folder but one, by the names that they are of. */
typedef struct other_lists {
    const st__exchange *exchange;
    st__arena texts;
    st__key *names; /* `count` of `room` */
    size_t count;
    size_t room;
    bool full; /* there is no memory */
} other_lists;

static int other_note(void *ctx, const char *name)
{
    other_lists *others = ctx;
    const size_t ending = sizeof ST__JOURNAL_ENDING - 1, len = strlen(name);
    void *names = others->names;
    size_t wanted = 0;
    if (!st__name_ends(name, len, ST__JOURNAL_ENDING) || strcmp(name, others->exchange->name) == 0)
        return 0;
    bool fits = st__room_make(others->exchange->context, &names, sizeof *others->names,
                              others->count, &others->room, &wanted);
    others->names = names;
    const char *text = fits ? st__arena_text(&others->texts, name, len - ending) : NULL;
    others->full = text == NULL;
    if (!text)
        return ENOMEM;
    others->names[others->count++] = (st__key){.text = text, .len = (uint32_t)strlen(text)};
    return 0;
}

/* What is done with a list of another name that is there. */
typedef st_status other_fn(st__exchange *other, bool *changed, st_error *error);

static st_status other_visit(const st__exchange *exchange, const char *name, other_fn *fn,
                             bool *changed, st_error *error)
{
    st__exchange other = {.context = exchange->context};
    bool lone = strcmp(name, ST__EXCHANGE_NO_INDEX) == 0, there = false, of_it = false;
    st_status status = st__exchange_open(&other, exchange->folder, lone ? NULL : name, error);
    int failed = status == ST_OK ? st__exchange_is_there(&other, &there) : 0;
    if (failed)
        status = st__exchange_fail(&other, failed, "cannot be examined", error);
    else if (there)
        status = fn(&other, &of_it, error);
    st__exchange_close(&other);
    *changed |= of_it;
    return status;
}

static st_status others_visit(const st__exchange *exchange, other_fn *fn, bool *changed,
                              st_error *error)
{
    other_lists others = {.exchange = exchange, .texts = {.context = exchange->context}};
    const char *path = exchange->folder[0] ? exchange->folder : ".";
    int failed = st__os_list(path, other_note, &others);
    st_status status = ST_OK;
    if (others.full)
        status = st__error_locate(error, st__fail_nomem(error, sizeof *others.names), path, NULL);
    else if (failed && failed != EACCES) /* who may not list it may write into it all the same */
        status =
            st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed", path);
    for (size_t i = 0; i < others.count && status == ST_OK; i++)
        status = other_visit(exchange, others.names[i].text, fn, changed, error);
    st__free(exchange->context, others.names, others.room * sizeof *others.names);
    st__arena_release(&others.texts);
    return status;
}

static st_status other_refuse(st__exchange *other, bool *changed, st_error *error)
{
    (void)changed;
    return st__exchange_fail(other, EAGAIN, "an edit of files of this folder is under way", error);
}

st_status st__exchange_start(st__exchange *exchange, bool *changed, st_error *error)
{
    *changed = false;
    ST_TRY(st__exchange_recover(exchange, changed, error));
    exchange->durable = exchange->options.durability != ST_DURABLE_NONE;
    return others_visit(exchange, st__exchange_recover, changed, error);
}

/* ------------------------------------------------------------------------------------ places */

/* The folders that a new file lies in. */
static st_status folders_make(const st__exchange *exchange, const char *name, st_error *error)
{
    bool durable = exchange->options.durability == ST_DURABLE_NAME;
    char *path;
    ST_TRY(st__path_join(exchange->context, exchange->folder, name, &path, error));
    st_status status = ST_OK;
    for (char *slash = strchr(path + strlen(exchange->folder), '/'); slash && status == ST_OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        status = st__folder_make(exchange->context, path, durable, error);
        *slash = '/';
    }
    st__path_free(exchange->context, path);
    return status;
}

st_status st__exchange_plan(st__exchange *exchange, const char *name, uint32_t kind,
                            st_error *error)
{
    const st__exchange_record record = {.name = {name, (uint32_t)strlen(name), 0}, .kind = kind};
    st__os_info info;
    st__location at;
    if (kind == ST__EXCHANGE_TAKES && (exchange->options.flags & ST_SINK_NEW) &&
        st__os_info_at(exchange->directory, name, false, &info) == 0)
        return st__exchange_place_fail(exchange, &record, EEXIST, "cannot be written", error);
    if (kind == ST__EXCHANGE_TAKES)
        ST_TRY(folders_make(exchange, name, error));
    int failed = st__exchange_locate(exchange, &record, &at);
    if (failed == ELOOP && kind == ST__EXCHANGE_GOES)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "%s%s: has no tensor left, and cannot be removed where a link leads to; "
                        "write into another folder",
                        exchange->folder, name);
    if (failed)
        return st__exchange_place_fail(exchange, &record, failed, "cannot be found", error);
    st_status status = st__exchange_place_note(exchange, &record, &at, error);
    st__location_leave(&at);
    return status;
}

/* Tells by the list, which is there, whether its name in capitals is its name too. */
static bool folder_folds(const st__exchange *exchange)
{
    char name[ST__OS_NAME];
    st__os_info held, found;
    size_t i = 0;
    for (; exchange->name[i]; i++) {
        char c = exchange->name[i];
        name[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    name[i] = '\0';
    return st__os_info_fd(exchange->fd, &held) == 0 &&
           st__os_info_at(exchange->directory, name, false, &found) == 0 &&
           held.device == found.device && held.inode == found.inode;
}

static st_status plan_check(const st__exchange *exchange, st_error *error)
{
    const char *one, *two;
    ST_TRY(st__exchange_places_compare(exchange, folder_folds(exchange), &one, &two, error));
    if (!two)
        return ST_OK;
    return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                    "%s%s: is %s too, under another name; write into another folder",
                    exchange->folder, two, st__quote(one, strlen(one)).text);
}

/* ---------------------------------------------------------------------------------- the list */

static st_status list_put(st__exchange *exchange, const unsigned char *bytes, size_t size,
                          st_error *error)
{
    st_bytes piece = {bytes, size};
    size_t done;
    int failed = st__os_write(exchange->fd, exchange->size, &piece, 1, &done);
    if (failed)
        return st__exchange_fail(exchange, failed, "cannot be written", error);
    exchange->size += size;
    exchange->chain = st__checksum(exchange->chain, bytes, size);
    return ST_OK;
}

/* Creates and locks it. */
static st_status list_create(st__exchange *exchange, st_error *error)
{
    st__os_info named, held;
    int failed = st__os_create(exchange->directory, exchange->name, 0666, &exchange->fd);
    if (failed == EEXIST)
        return st__exchange_fail(exchange, EAGAIN, "an edit of these files is under way", error);
    if (failed)
        return st__exchange_fail(exchange, failed, "cannot be created", error);
    failed = st__os_lock(exchange->fd);
    if (!failed)
        failed = st__os_info_fd(exchange->fd, &held);
    if (!failed)
        failed = st__os_info_at(exchange->directory, exchange->name, false, &named);
    if (failed == EAGAIN || failed == ENOENT ||
        (!failed && (named.device != held.device || named.inode != held.inode))) {
        /* Somebody took it for one that was left, and removes it. */
        st__os_close(exchange->fd);
        exchange->fd = -1;
        return st__exchange_fail(exchange, EAGAIN, "an edit of these files is under way", error);
    }
    return failed ? st__exchange_fail(exchange, failed, "cannot be locked", error) : ST_OK;
}

/* Others are looked for once this one can be seen: of two edits that begin at a time at least one finds the other's. */
static st_status list_start(st__exchange *exchange, st_error *error)
{
    unsigned char head[ST__EXCHANGE_HEAD];
    bool changed = false;
    ST_TRY(list_create(exchange, error));
    exchange->size = 0;
    exchange->chain = ST__CHECKSUM_NONE;
    st__exchange_head_emit(head);
    ST_TRY(list_put(exchange, head, sizeof head, error));
    ST_TRY(others_visit(exchange, other_refuse, &changed, error));
    return plan_check(exchange, error);
}

st_status st__exchange_begin(st__exchange *exchange, st_error *error)
{
    st_status status = list_start(exchange, error);
    if (status != ST_OK)
        st__exchange_give_up(exchange);
    return status;
}

/* ---------------------------------------------------------------------------------- records */

/* Learns what both files are. */
static int record_learn(const st__location *at, st__exchange_record *record)
{
    int failed = st__known_read(at->directory, at->name, &record->old);
    if (failed)
        return failed;
    if (record->kind == ST__EXCHANGE_GOES)
        return record->old.there ? 0 : ENOENT;
    failed = st__known_read(at->directory, record->aside.text, &record->fresh);
    return failed || record->fresh.there ? failed : ENOENT;
}

static st_status record_put(st__exchange *exchange, const st__exchange_record *record, bool *known,
                            st_error *error)
{
    size_t size = st__exchange_record_size(record);
    unsigned char *bytes = st__alloc(exchange->context, size);
    if (!bytes)
        return st__error_locate(error, st__fail_nomem(error, size), exchange->folder, NULL);
    st__exchange_record_emit(record, bytes);
    /* In memory first: by that the new file is removed after a failure. */
    st_status status = st__exchange_add(exchange, record, error);
    *known = status == ST_OK;
    if (status == ST_OK)
        status = list_put(exchange, bytes, size, error);
    st__free(exchange->context, bytes, size);
    return status;
}

/* Nobody else knows of it yet. */
static void aside_drop(const st__exchange *exchange, const st__exchange_record *record)
{
    st__location at;
    if (record->kind != ST__EXCHANGE_TAKES || st__exchange_locate(exchange, record, &at) != 0)
        return;
    (void)st__os_remove(at.directory, record->aside.text);
    st__location_leave(&at);
}

/* Learns of a record what is in its place, and of the new file; puts it into the list. */
static st_status place_put(st__exchange *exchange, st__exchange_record *record, bool *known,
                           st_error *error)
{
    st__location at;
    int failed = st__exchange_locate(exchange, record, &at);
    if (failed)
        return st__exchange_place_fail(exchange, record, failed, "cannot be found", error);
    failed = record_learn(&at, record);
    st__location_leave(&at);
    if (failed)
        return st__exchange_place_fail(exchange, record, failed, "cannot be examined", error);
    return record_put(exchange, record, known, error);
}

static st_status place_put_or_drop(st__exchange *exchange, st__exchange_record *record,
                                   st_error *error)
{
    bool known = false;
    st_status status = place_put(exchange, record, &known, error);
    if (status != ST_OK && !known)
        aside_drop(exchange, record);
    return status;
}

st_status st__exchange_put_going(st__exchange *exchange, const char *name, st_error *error)
{
    st__exchange_record record = {.name = {name, (uint32_t)strlen(name), 0},
                                  .kind = ST__EXCHANGE_GOES};
    return place_put_or_drop(exchange, &record, error);
}

st_status st__exchange_put(st__exchange *exchange, const char *name, const st_sink *sink,
                           st_error *error)
{
    const char *aside = st__sink_aside_name(sink);
    st__exchange_record record = {.name = {name, (uint32_t)strlen(name), 0},
                                  .aside = {aside, (uint32_t)strlen(aside), 0},
                                  .kind = ST__EXCHANGE_TAKES};
    return place_put_or_drop(exchange, &record, error);
}

/* --------------------------------------------------------------------------------- new files */

st_status st__exchange_sink_open(const st__exchange *exchange, const char *name, st_sink **out,
                                 st_error *error)
{
    st_sink_options options = exchange->options;
    char *path;
    ST_TRY(st__path_join(exchange->context, exchange->folder, name, &path, error));
    options.name = path;
    if (!options.context)
        options.context = exchange->context;
    st_status status = st__sink_open_aside(exchange->directory, name, &options, out, error);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(error, status, path, NULL);
    st__path_free(exchange->context, path);
    return status;
}

st_status st__exchange_put_text(st__exchange *exchange, const char *name, const char *text,
                                size_t len, st_error *error)
{
    st_sink *sink;
    ST_TRY(st__exchange_sink_open(exchange, name, &sink, error));
    st_status status = st__index_text_write(text, len, sink, error);
    if (status == ST_OK)
        status = st__exchange_put(exchange, name, sink, error);
    st_sink_release(sink);
    return status;
}

/* ------------------------------------------------------------------------------- its end */

void st__exchange_give_up(st__exchange *exchange)
{
    if (exchange->fd < 0)
        return;
    /* What may have its mark needs its files for as long as it may come back. */
    if (st__exchange_settle(exchange) == 0 || !exchange->finished)
        st__exchange_clear(exchange);
    st__os_unlock(exchange->fd);
    st__os_close(exchange->fd);
    exchange->fd = -1;
}

/* All of it is on the disk, and its name, before its mark is. */
static st_status list_sync(const st__exchange *exchange, st_error *error)
{
    int failed = exchange->durable ? st__os_sync(exchange->fd) : 0;
    if (!failed && exchange->durable)
        failed = st__os_sync_directory(exchange->directory);
    return failed ? st__exchange_fail(exchange, failed, "cannot be made to reach the disk", error)
                  : ST_OK;
}

static st_status nothing_changed(st__exchange *exchange, st_error *error)
{
    st_error said = {.status = ST_OK};
    int judged = ST__EXCHANGE_READY;
    st_status status = st__exchange_judge(exchange, &judged, &said);
    for (size_t i = 0; i < exchange->count && status == ST_OK; i++)
        if (exchange->records[i].done || judged != ST__EXCHANGE_READY)
            status = ST_ERR_JOURNAL;
    if (status == ST_ERR_JOURNAL)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: the files were changed while they were edited; open them again",
                        exchange->folder);
    if (status != ST_OK && error)
        *error = said;
    return status;
}

/* What fails from here on leaves the list, by which it can be gone on with. */
static st_status list_carry_out(st__exchange *exchange, st_error *error)
{
    st_error said = {.status = ST_OK};
    bool changed;
    st_status status = st__exchange_carry_out(exchange, &changed, &said);
    if (status == ST_OK) {
        int failed = st__exchange_settle(exchange);
        return failed ? st__exchange_fail(exchange, failed,
                                          "the new files are in place, but it cannot be removed",
                                          error)
                      : ST_OK;
    }
    (void)st__fail(error, status, said.offset, "%s; %s%s is left: recover the files by it",
                   said.message, exchange->folder, exchange->name);
    if (error)
        error->sys_errno = said.sys_errno;
    return status;
}

st_status st__exchange_finish(st__exchange *exchange, st_error *error)
{
    unsigned char mark[ST__EXCHANGE_MARK];
    st_status status = nothing_changed(exchange, error);
    if (status == ST_OK)
        status = list_sync(exchange, error);
    st__exchange_mark_emit(exchange->count, exchange->chain, mark);
    exchange->finished = status == ST_OK;
    if (status == ST_OK)
        status = list_put(exchange, mark, sizeof mark, error);
    if (status == ST_OK)
        status = list_sync(exchange, error);
    if (status != ST_OK) {
        st__exchange_give_up(exchange);
        return status;
    }
    return list_carry_out(exchange, error);
}
