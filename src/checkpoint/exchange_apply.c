/* SPDX-License-Identifier: Apache-2.0 */
/* Carrying a list out. All files are looked at before the first is changed, and none is that the list does not know. */
#include "checkpoint/exchange.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/checksum.h"
#include "base/error.h"
#include "checkpoint/path.h"
#include "io/takeover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* So many bytes at the start of a file are summed up. */
enum { KNOWN_BYTES = 16384 };

/* ---------------------------------------------------------------------------------- opening */

static ST__COLD st_status list_fail(const st__exchange *exchange, int failed, const char *what,
                                    st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s%s: %s", exchange->folder,
                          exchange->name, what);
}

static ST__COLD st_status list_refuse(const st__exchange *exchange, const char *what,
                                      st_error *error)
{
    return st__fail(error, ST_ERR_JOURNAL, ST_NO_OFFSET,
                    "%s%s: %s; it is left as it is, and so are the files: remove it if they are "
                    "as they should be",
                    exchange->folder, exchange->name, what);
}

st_status st__exchange_open(st__exchange *exchange, const char *folder, const char *index,
                            st_error *error)
{
    const char *of = index ? index : ST__EXCHANGE_NO_INDEX;
    exchange->folder = folder;
    exchange->index = index;
    exchange->directory = exchange->fd = -1;
    int written = snprintf(exchange->name, sizeof exchange->name, "%s" ST__JOURNAL_ENDING, of);
    int failed =
        written < 0 || (size_t)written >= sizeof exchange->name
            ? ENAMETOOLONG
            : st__os_open_directory(ST__OS_HERE, folder[0] ? folder : ".", &exchange->directory);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be opened",
                              folder[0] ? folder : ".");
    return ST_OK;
}

void st__exchange_close(st__exchange *exchange)
{
    if (exchange->fd >= 0) {
        /* A child of a fork may have the descriptor, too: closing it here would not unlock the list. */
        st__os_unlock(exchange->fd);
        st__os_close(exchange->fd);
    }
    if (exchange->directory >= 0)
        st__os_close(exchange->directory);
    exchange->fd = exchange->directory = -1;
    st__exchange_release(exchange);
}

bool st__exchange_is_there(const st__exchange *exchange)
{
    unsigned char bytes[8], head[ST__EXCHANGE_HEAD];
    st_segment segment = {bytes, sizeof bytes};
    size_t done = 0;
    int fd = -1;
    if (st__os_open_name(exchange->directory, exchange->name, false, &fd) != 0)
        return false;
    int failed = st__os_read(fd, 0, &segment, 1, &done);
    st__os_close(fd);
    st__exchange_head_emit(head);
    return !failed && done == sizeof bytes && memcmp(bytes, head, sizeof bytes) == 0;
}

/* ---------------------------------------------------------------------------------- looking */

/* Of a link, which is known by where it leads. */
static int link_known(int directory, const char *name, st__known *out)
{
    char target[ST__OS_PATH];
    st__os_info info;
    int failed = st__os_info_at(directory, name, false, &info);
    if (!failed)
        failed = st__os_link_target(directory, name, target);
    if (failed)
        return failed;
    size_t len = strlen(target);
    *out = (st__known){len, st__checksum(ST__CHECKSUM_NONE, target, len), info.mtime_ns, true};
    return 0;
}

static int bytes_known(int fd, st__known *out)
{
    unsigned char bytes[KNOWN_BYTES];
    st__os_info info;
    st_segment segment = {bytes, sizeof bytes};
    size_t done = 0;
    int failed = st__os_info_fd(fd, &info);
    if (!failed && info.kind != ST__OS_REGULAR)
        return EINVAL;
    if (!failed)
        failed = st__os_read(fd, 0, &segment, 1, &done);
    if (failed)
        return failed;
    *out =
        (st__known){info.size, st__checksum(ST__CHECKSUM_NONE, bytes, done), info.mtime_ns, true};
    return 0;
}

int st__known_read(int directory, const char *name, st__known *out)
{
    int fd = -1;
    int failed = st__os_open_name(directory, name, false, &fd);
    *out = (st__known){.there = false};
    if (failed == ENOENT)
        return 0;
    if (failed == ELOOP)
        return link_known(directory, name, out);
    if (failed)
        return failed;
    failed = bytes_known(fd, out);
    st__os_close(fd);
    return failed;
}

st_status st__exchange_locate(const st__exchange *exchange, const st__exchange_record *record,
                              st__location *out, st_error *error)
{
    char *path;
    bool there;
    ST_TRY(st__path_join(exchange->context, exchange->folder, record->name.text, &path, error));
    int failed = st__location_find(path, out, &there);
    st_status status = ST_OK;
    if (failed)
        status =
            st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be found", path);
    st__path_free(exchange->context, path);
    return status;
}

/* What stands where a file is to take a place or to go, and the new file beside it. */
static st_status record_look(const st__exchange *exchange, const st__exchange_record *record,
                             st__known *here, st__known *aside, st_error *error)
{
    st__location at;
    int failed;
    *aside = (st__known){.there = false};
    if (record->kind == ST__EXCHANGE_GOES) {
        failed = st__known_read(exchange->directory, record->name.text, here);
    } else {
        ST_TRY(st__exchange_locate(exchange, record, &at, error));
        failed = st__known_read(at.directory, at.name, here);
        if (!failed)
            failed = st__known_read(at.directory, record->aside.text, aside);
        st__location_leave(&at);
    }
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s%s: cannot be examined",
                              exchange->folder, record->name.text);
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- judging */

enum { RECORD_WAITS, RECORD_DONE, RECORD_LOST, RECORD_STRANGE };

static bool holds_old(const st__exchange_record *record, const st__known *here)
{
    return st__known_same(here, &record->old) &&
           (!here->there || here->mtime_ns == record->old.mtime_ns);
}

/* The bytes that are looked at may be those of the old file in the new one too: then its time tells. */
static bool holds_fresh(const st__exchange_record *record, const st__known *here)
{
    return st__known_same(here, &record->fresh) &&
           (!holds_old(record, here) || here->mtime_ns == record->fresh.mtime_ns);
}

static int record_judge(const st__exchange_record *record, const st__known *here,
                        const st__known *aside)
{
    if (record->kind == ST__EXCHANGE_GOES)
        return !here->there ? RECORD_DONE : holds_old(record, here) ? RECORD_WAITS : RECORD_STRANGE;
    if (aside->there)
        return st__known_same(aside, &record->fresh) && holds_old(record, here) ? RECORD_WAITS
                                                                                : RECORD_STRANGE;
    return holds_fresh(record, here) ? RECORD_DONE
           : holds_old(record, here) ? RECORD_LOST
                                     : RECORD_STRANGE;
}

static ST__COLD st_status record_strange(const st__exchange *exchange,
                                         const st__exchange_record *record, st_error *error)
{
    char what[256];
    (void)snprintf(what, sizeof what,
                   "%s, or what is to take its place, was changed by something else",
                   st__quote(record->name.text, record->name.len).text);
    return list_refuse(exchange, what, error);
}

st_status st__exchange_judge(st__exchange *exchange, int *out, st_error *error)
{
    size_t takes = 0, lost = 0, gone = 0;
    const st__exchange_record *first_lost = NULL;
    for (size_t i = 0; i < exchange->count; i++) {
        st__exchange_record *record = &exchange->records[i];
        st__known here, aside;
        ST_TRY(record_look(exchange, record, &here, &aside, error));
        int judged = record_judge(record, &here, &aside);
        if (judged == RECORD_STRANGE)
            return record_strange(exchange, record, error);
        record->done = judged == RECORD_DONE;
        takes += record->kind == ST__EXCHANGE_TAKES;
        gone += record->kind == ST__EXCHANGE_GOES && record->done;
        lost += judged == RECORD_LOST;
        if (judged == RECORD_LOST && !first_lost)
            first_lost = record;
    }
    /* Who gave the edit up removed its new files, and a power cut brought the list back. */
    bool untouched = lost > 0 && lost == takes && gone == 0;
    if (lost && !untouched)
        return record_strange(exchange, first_lost, error);
    *out = untouched ? ST__EXCHANGE_UNTOUCHED : ST__EXCHANGE_READY;
    return ST_OK;
}

/* ----------------------------------------------------------------------------- carrying out */

/* The names of the folder itself are synced once, behind all. */
static int place_sync(const st__exchange *exchange, const st__location *at)
{
    st__os_info here, folder;
    int failed = st__os_info_fd(at->directory, &here);
    if (!failed)
        failed = st__os_info_fd(exchange->directory, &folder);
    if (failed || (here.device == folder.device && here.inode == folder.inode))
        return failed;
    return st__os_sync_directory(at->directory);
}

static st_status place_take(const st__exchange *exchange, const st__exchange_record *record,
                            st_error *error)
{
    st__location at;
    char *path;
    ST_TRY(st__path_join(exchange->context, exchange->folder, record->name.text, &path, error));
    st_status status = st__exchange_locate(exchange, record, &at, error);
    if (status == ST_OK) {
        const st__takeover place = {.at = &at, .name = path, .context = exchange->context};
        status = st__takeover_make(&place, record->aside.text, error);
        int failed = status == ST_OK && exchange->durable ? place_sync(exchange, &at) : 0;
        st__location_leave(&at);
        if (failed)
            status = st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                                    "%s: the new file cannot be made to reach the disk", path);
    }
    st__path_free(exchange->context, path);
    return status;
}

static st_status place_leave(const st__exchange *exchange, const st__exchange_record *record,
                             st_error *error)
{
    int failed = st__os_remove(exchange->directory, record->name.text);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s%s: has no tensor left, and cannot be removed", exchange->folder,
                              record->name.text);
    return ST_OK;
}

st_status st__exchange_carry_out(const st__exchange *exchange, bool *changed, st_error *error)
{
    *changed = false;
    for (size_t i = 0; i < exchange->count; i++) {
        const st__exchange_record *record = &exchange->records[i];
        if (record->done)
            continue;
        *changed = true;
        ST_TRY(record->kind == ST__EXCHANGE_TAKES ? place_take(exchange, record, error)
                                                  : place_leave(exchange, record, error));
    }
    int failed = exchange->durable ? st__os_sync_directory(exchange->directory) : 0;
    return failed ? list_fail(exchange, failed,
                              "the names in its folder cannot be made to reach "
                              "the disk",
                              error)
                  : ST_OK;
}

int st__exchange_settle(const st__exchange *exchange)
{
    int failed = st__os_remove(exchange->directory, exchange->name);
    return failed || !exchange->durable ? failed : st__os_sync_directory(exchange->directory);
}

void st__exchange_clear(const st__exchange *exchange)
{
    for (size_t i = 0; i < exchange->count; i++) {
        const st__exchange_record *record = &exchange->records[i];
        st__location at;
        st__known aside;
        if (record->kind != ST__EXCHANGE_TAKES ||
            st__exchange_locate(exchange, record, &at, NULL) != ST_OK)
            continue;
        if (st__known_read(at.directory, record->aside.text, &aside) == 0 && aside.there &&
            st__known_same(&aside, &record->fresh))
            (void)st__os_remove(at.directory, record->aside.text);
        st__location_leave(&at);
    }
}

/* ------------------------------------------------------------------------------ recovering */

/* The list is locked, and still there. */
static st_status list_lock(const st__exchange *exchange, const st__os_info *held, st_error *error)
{
    st__os_info named;
    int failed = st__os_lock(exchange->fd);
    if (!failed)
        failed = st__os_info_at(exchange->directory, exchange->name, false, &named);
    /* The edit that made it came to its end at this moment. */
    if (failed == ENOENT ||
        (!failed && (named.device != held->device || named.inode != held->inode)))
        failed = EAGAIN;
    if (failed)
        return list_fail(
            exchange, failed,
            failed == EAGAIN ? "an edit of these files is under way" : "cannot be examined", error);
    return ST_OK;
}

/* Opens the list, and locks it if asked to; the descriptor is -1 where there is none. */
static st_status list_open(st__exchange *exchange, bool lock, st_error *error)
{
    st__os_info held;
    int failed = st__os_open_name(exchange->directory, exchange->name, false, &exchange->fd);
    if (failed == ENOENT)
        return ST_OK;
    if (failed == ELOOP)
        return list_refuse(exchange, "it is a symbolic link, which no edit makes", error);
    if (failed)
        return list_fail(exchange, failed, "cannot be opened", error);
    failed = st__os_info_fd(exchange->fd, &held);
    if (failed)
        return list_fail(exchange, failed, "cannot be examined", error);
    if (held.kind != ST__OS_REGULAR)
        return list_refuse(exchange, "it is no regular file", error);
    if (!st__os_trusted(exchange->fd, exchange->directory))
        return list_refuse(exchange, "it belongs to another user", error);
    return lock ? list_lock(exchange, &held, error) : ST_OK;
}

/* Closes it, locked or not, and forgets what was in it. */
static void list_leave(st__exchange *exchange)
{
    if (exchange->fd >= 0) {
        st__os_unlock(exchange->fd);
        st__os_close(exchange->fd);
        exchange->fd = -1;
    }
    st__exchange_release(exchange);
}

static st_status list_read(st__exchange *exchange, st_error *error)
{
    st__os_info info;
    size_t size, done = 0;
    int failed = st__os_info_fd(exchange->fd, &info);
    if (failed)
        return list_fail(exchange, failed, "cannot be examined", error);
    if (info.size > ST__EXCHANGE_MAX || !st__u64_to_size(info.size, &size))
        return st__exchange_damaged(exchange, ST__EXCHANGE_MAX, "it is too long for a list", error);
    unsigned char *bytes = st__alloc(exchange->context, size);
    if (!bytes)
        return st__error_locate(error, st__fail_nomem(error, size), exchange->folder, NULL);
    st_segment segment = {bytes, size};
    failed = st__os_read(exchange->fd, 0, &segment, 1, &done);
    st_status status = failed ? list_fail(exchange, failed, "cannot be read", error)
                              : st__exchange_parse(exchange, bytes, done, error);
    st__free(exchange->context, bytes, size);
    return status;
}

/* The mark is missing: no file took a place. One that has is proof that the list was damaged. */
static st_status unfinished_check(const st__exchange *exchange, st_error *error)
{
    for (size_t i = 0; i < exchange->count; i++) {
        const st__exchange_record *record = &exchange->records[i];
        st__known here, aside;
        if (record->kind != ST__EXCHANGE_TAKES)
            continue;
        ST_TRY(record_look(exchange, record, &here, &aside, error));
        if (record_judge(record, &here, &aside) == RECORD_DONE)
            return list_refuse(exchange,
                               "it has no end, and yet a file that is in it took its place", error);
    }
    return ST_OK;
}

static st_status list_judge(st__exchange *exchange, int *judged, st_error *error)
{
    *judged = ST__EXCHANGE_UNTOUCHED;
    ST_TRY(list_read(exchange, error));
    return exchange->finished ? st__exchange_judge(exchange, judged, error)
                              : unfinished_check(exchange, error);
}

static st_status list_end(st__exchange *exchange, bool *changed, st_error *error)
{
    int judged;
    ST_TRY(list_judge(exchange, &judged, error));
    if (judged == ST__EXCHANGE_READY)
        ST_TRY(st__exchange_carry_out(exchange, changed, error));
    if (!exchange->finished)
        st__exchange_clear(exchange);
    int failed = st__exchange_settle(exchange);
    return failed ? list_fail(exchange, failed,
                              "the files are as they should be, but it cannot be removed", error)
                  : ST_OK;
}

st_status st__exchange_recover(st__exchange *exchange, bool *changed, st_error *error)
{
    *changed = false;
    exchange->durable = true;
    st_status status = list_open(exchange, true, error);
    if (status == ST_OK && exchange->fd >= 0)
        status = list_end(exchange, changed, error);
    list_leave(exchange);
    return status;
}

/* --------------------------------------------------------------------- telling what is left */

static st_status list_look(st__exchange *exchange, bool lock, st_checkpoint_recovery *out,
                           st_error *error)
{
    int judged = ST__EXCHANGE_UNTOUCHED;
    out->files = out->left = 0;
    out->found.action = ST_RECOVERY_NONE;
    st_status status = list_open(exchange, lock, error);
    bool is_there = status == ST_OK && exchange->fd >= 0;
    if (is_there)
        status = list_judge(exchange, &judged, error);
    if (is_there && status == ST_OK) {
        bool forward = judged == ST__EXCHANGE_READY;
        out->found.action = forward ? ST_RECOVERY_FORWARD : ST_RECOVERY_UNFINISHED;
        out->files = exchange->count;
        for (size_t i = 0; i < exchange->count; i++)
            out->left += forward && !exchange->records[i].done;
    }
    list_leave(exchange);
    return status;
}

st_status st__exchange_look(st__exchange *exchange, st_checkpoint_recovery *out, st_error *error)
{
    st_error said = {.status = ST_OK};
    st_status status = list_look(exchange, false, out, &said);
    if (status == ST_ERR_JOURNAL)
        status = list_look(exchange, true, out, &said);
    if (status != ST_OK && error)
        *error = said;
    return status;
}
