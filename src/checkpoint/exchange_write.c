/* SPDX-License-Identifier: Apache-2.0 */
/* How a list comes to be. It is there, locked, before the first new file is, so that edits of the same files do not meet,
 * and so that what a crash leaves of new files is known by it. Only its mark makes it hold. */
#include "checkpoint/exchange.h"
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/error.h"

#include <errno.h>
#include <string.h>

static ST__COLD st_status list_put_fail(const st__exchange *exchange, int failed, const char *what,
                                        st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s%s: %s", exchange->folder,
                          exchange->name, what);
}

static st_status list_put(st__exchange *exchange, const unsigned char *bytes, size_t size,
                          st_error *error)
{
    st_bytes piece = {bytes, size};
    size_t done;
    int failed = st__os_write(exchange->fd, exchange->size, &piece, 1, &done);
    if (failed)
        return list_put_fail(exchange, failed, "cannot be written", error);
    exchange->size += size;
    exchange->chain = st__checksum(exchange->chain, bytes, size);
    return ST_OK;
}

st_status st__exchange_begin(st__exchange *exchange, st_error *error)
{
    unsigned char head[ST__EXCHANGE_HEAD];
    st__os_info named, held;
    int failed = st__os_create(exchange->directory, exchange->name, 0666, &exchange->fd);
    if (failed == EEXIST)
        return list_put_fail(exchange, EAGAIN, "an edit of these files is under way", error);
    if (failed)
        return list_put_fail(exchange, failed, "cannot be created", error);
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
        return list_put_fail(exchange, EAGAIN, "an edit of these files is under way", error);
    }
    if (failed) {
        st__exchange_give_up(exchange);
        return list_put_fail(exchange, failed, "cannot be locked", error);
    }
    exchange->size = 0;
    exchange->chain = ST__CHECKSUM_NONE;
    st__exchange_head_emit(head);
    st_status status = list_put(exchange, head, sizeof head, error);
    if (status != ST_OK)
        st__exchange_give_up(exchange);
    return status;
}

/* Learns what both files are. */
static st_status record_learn(const st__exchange *exchange, st__exchange_record *record,
                              st_error *error)
{
    int failed;
    if (record->kind == ST__EXCHANGE_GOES) {
        failed = st__known_read(exchange->directory, record->name.text, &record->old);
    } else {
        st__location at;
        ST_TRY(st__exchange_locate(exchange, record, &at, error));
        failed = st__known_read(at.directory, at.name, &record->old);
        if (!failed)
            failed = st__known_read(at.directory, record->aside.text, &record->fresh);
        st__location_leave(&at);
        if (!failed && !record->fresh.there)
            failed = ENOENT;
    }
    if (!failed && record->kind == ST__EXCHANGE_GOES && !record->old.there)
        failed = ENOENT;
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s%s: cannot be examined",
                              exchange->folder, record->name.text);
    return ST_OK;
}

/* Nobody knows of it yet. */
static void aside_drop(const st__exchange *exchange, const st__exchange_record *record)
{
    st__location at;
    if (record->kind != ST__EXCHANGE_TAKES ||
        st__exchange_locate(exchange, record, &at, NULL) != ST_OK)
        return;
    (void)st__os_remove(at.directory, record->aside.text);
    st__location_leave(&at);
}

static st_status record_put(st__exchange *exchange, st__exchange_record *record, bool *known,
                            st_error *error)
{
    ST_TRY(record_learn(exchange, record, error));
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

st_status st__exchange_put(st__exchange *exchange, st__exchange_record *record, st_error *error)
{
    bool known = false;
    st_status status = record_put(exchange, record, &known, error);
    if (status != ST_OK && !known)
        aside_drop(exchange, record);
    return status;
}

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
    return failed ? list_put_fail(exchange, failed, "cannot be made to reach the disk", error)
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
        return failed ? list_put_fail(exchange, failed,
                                      "the new files are in place, but it cannot be removed", error)
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
