/* SPDX-License-Identifier: Apache-2.0 */
/* A list that was left is carried out or given up, or it is told what would be done. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/exchange.h"

#include <errno.h>
#include <string.h>

int st__exchange_is_there(const st__exchange *exchange, bool *out)
{
    unsigned char bytes[8], head[ST__EXCHANGE_HEAD];
    st_segment segment = {bytes, sizeof bytes};
    size_t done = 0;
    int fd = -1;
    *out = false;
    int failed = st__os_open_name(exchange->directory, exchange->name, false, &fd);
    if (failed)
        return failed == ENOENT || failed == ELOOP ? 0 : failed;
    failed = st__os_read(fd, 0, &segment, 1, &done);
    st__os_close(fd);
    st__exchange_head_emit(head);
    *out = !failed && done == sizeof bytes && memcmp(bytes, head, sizeof bytes) == 0;
    return failed == EISDIR ? 0 : failed;
}

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
        return st__exchange_fail(
            exchange, failed,
            failed == EAGAIN ? "an edit of these files is under way" : "cannot be examined", error);
    return ST_OK;
}

/* Opens the list, and locks it if asked to; the descriptor is -1 where there is none. On NFS who may not write a file
 * cannot have it locked. */
static st_status list_open(st__exchange *exchange, bool lock, st_error *error)
{
    st__os_info held;
    int failed = st__os_open_name(exchange->directory, exchange->name, lock, &exchange->fd);
    if (failed == ENOENT)
        return ST_OK;
    if (failed == ELOOP)
        return st__exchange_refuse(exchange, "it is a symbolic link, which no edit makes", error);
    if (failed == EISDIR)
        return st__exchange_refuse(exchange, "it is no regular file", error);
    if (failed)
        return st__exchange_fail(exchange, failed, "cannot be opened", error);
    failed = st__os_info_fd(exchange->fd, &held);
    if (failed)
        return st__exchange_fail(exchange, failed, "cannot be examined", error);
    if (held.kind != ST__OS_REGULAR)
        return st__exchange_refuse(exchange, "it is no regular file", error);
    if (!st__os_trusted(exchange->fd, exchange->directory))
        return st__exchange_refuse(exchange, "it belongs to another user", error);
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
        return st__exchange_fail(exchange, failed, "cannot be examined", error);
    if (info.size > ST__EXCHANGE_MAX || !st__u64_to_size(info.size, &size))
        return st__exchange_damaged(exchange, ST__EXCHANGE_MAX, "it is too long for a list", error);
    unsigned char *bytes = st__alloc(exchange->context, size);
    if (!bytes)
        return st__error_locate(error, st__fail_nomem(error, size), exchange->folder, NULL);
    st_segment segment = {bytes, size};
    failed = st__os_read(exchange->fd, 0, &segment, 1, &done);
    st_status status = failed ? st__exchange_fail(exchange, failed, "cannot be read", error)
                              : st__exchange_parse(exchange, bytes, done, error);
    st__free(exchange->context, bytes, size);
    return status;
}

/* The mark is missing: no file took a place. One that has is proof that the list was damaged. */
static st_status unfinished_check(st__exchange *exchange, st_error *error)
{
    for (size_t i = 0; i < exchange->count; i++) {
        const st__exchange_record *record = &exchange->records[i];
        st__known here, aside;
        if (record->kind != ST__EXCHANGE_TAKES)
            continue;
        ST_TRY(st__exchange_record_look(exchange, record, &here, &aside, error));
        if (st__exchange_record_is_done(record, &here, &aside))
            return st__exchange_refuse(
                exchange, "it has no end, and yet a file that is in it took its place", error);
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
    return failed ? st__exchange_fail(exchange, failed,
                                      "the files are as they should be, but it cannot be removed",
                                      error)
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
    st_error said = {.status = ST_OK}, locked = said;
    st_status status = list_look(exchange, false, out, &said);
    if (status == ST_ERR_JOURNAL) {
        st_status then = list_look(exchange, true, out, &locked);
        /* Who may not have it locked is told what there was to see. */
        if (then != ST_ERR_IO || locked.sys_errno == EAGAIN) {
            status = then;
            said = locked;
        }
    }
    if (status != ST_OK && error)
        *error = said;
    return status;
}
