/* SPDX-License-Identifier: Apache-2.0 */
/* A file that is edited in place is found, opened and locked; what an interrupted edit has left of it is put right. */
#include "io/edited.h"
#include "base/error.h"
#include "io/source.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* -------------------------------------------------------------------------------- the file */

static st_status edited_fail(const st__edited *edited, int failed, const char *what,
                             st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: %s", edited->path, what);
}

st_status st__edited_regular(const st__edited *edited, st_error *error)
{
    st__os_info info;
    int failed = st__os_info_at(edited->at.directory, edited->at.name, true, &info);
    if (failed)
        return edited_fail(edited, failed, "cannot be examined", error);
    if (info.kind == ST__OS_REGULAR)
        return ST_OK;
    return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                    "%s: is %s; only a regular file can be edited in place", edited->path,
                    st__kind_text(info.kind));
}

static st_status store_refused(const st__edited *edited, st_error *error)
{
    return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                    "%s: lies in the store of a hub cache, where others share it; write a new "
                    "file instead of an edit in place",
                    edited->path);
}

st_status st__edited_own(const st__edited *edited, st_error *error)
{
    return st__location_is_hub_store(edited->at.directory) ? store_refused(edited, error) : ST_OK;
}

/* At a link into the store of a hub cache the finding ends. */
static st_status link_check(const st__edited *edited, st_error *error)
{
    char target[ST__OS_PATH];
    int failed = st__os_link_target(edited->at.directory, edited->at.name, target);
    if (failed == EINVAL)
        return ST_OK;
    if (failed)
        return edited_fail(edited, failed, "cannot be examined", error);
    return store_refused(edited, error);
}

st_status st__edited_there(const st__edited *edited, st_error *error)
{
    st__os_info named, held;
    int failed = st__os_info_at(edited->at.directory, edited->at.name, false, &named);
    if (!failed)
        failed = st__os_info_fd(edited->file, &held);
    if (failed && failed != ENOENT)
        return edited_fail(edited, failed, "cannot be examined", error);
    if (failed || named.device != held.device || named.inode != held.inode)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: it was replaced at this moment; open it again", edited->path);
    return ST_OK;
}

static st_status edited_open(st__edited *edited, bool change, st_error *error)
{
    ST_TRY(st__edited_regular(edited, error));
    ST_TRY(link_check(edited, error));
    int failed = st__os_open_name(edited->at.directory, edited->at.name, change, &edited->file);
    if (failed)
        return edited_fail(edited, failed,
                           change ? "cannot be opened to be changed" : "cannot be opened", error);
    failed = change ? st__os_lock(edited->file) : 0;
    if (failed == EAGAIN)
        return edited_fail(edited, failed, "another edit in place is under way", error);
    if (failed)
        return edited_fail(edited, failed, "cannot be locked", error);
    edited->locked = change;
    return st__edited_there(edited, error);
}

st_status st__edited_find(st__edited *edited, const char *path, st_context *context,
                          st_error *error)
{
    bool there = false;
    *edited = (st__edited){.context = context, .path = path, .file = -1};
    int failed = st__location_find(path, &edited->at, &there);
    if (failed)
        return edited_fail(edited, failed, "cannot be opened", error);
    if (!there) {
        st__location_leave(&edited->at);
        return edited_fail(edited, ENOENT, "cannot be opened", error);
    }
    if (!st__location_journal(&edited->at, edited->journal))
        edited->journal[0] = '\0';
    return ST_OK;
}

st_status st__edited_open(st__edited *edited, bool change, st_error *error)
{
    st_status status = edited_open(edited, change, error);
    if (status != ST_OK)
        st__edited_let_go(edited);
    return status;
}

void st__edited_let_go(st__edited *edited)
{
    /* A child of a fork may have the descriptor, too: closing it here would not unlock the file. */
    if (edited->locked)
        st__os_unlock(edited->file);
    if (edited->file >= 0)
        st__os_close(edited->file);
    edited->locked = false;
    edited->file = -1;
}

void st__edited_close(st__edited *edited)
{
    st__edited_let_go(edited);
    st__location_leave(&edited->at);
}

int st__edited_settle(const st__edited *edited)
{
    int failed = st__os_remove(edited->at.directory, edited->journal);
    return failed ? failed : st__os_sync_directory(edited->at.directory);
}

/* ------------------------------------------------------------------------------ what is left */

static st_status refused(const st__edited *edited, const char *what, st_error *error)
{
    return st__fail(error, ST_ERR_JOURNAL, ST_NO_OFFSET,
                    "%s" ST__JOURNAL_ENDING ": %s; both are left as they are: remove the journal "
                    "if the file is as it should be",
                    edited->path, what);
}

/* Opens the journal; `*fd` is -1 where there is none. */
static st_status journal_open(const st__edited *edited, int *fd, st_error *error)
{
    st__os_info info;
    *fd = -1;
    int failed = edited->journal[0]
                     ? st__os_open_name(edited->at.directory, edited->journal, false, fd)
                     : ENOENT;
    if (failed == ENOENT)
        return ST_OK;
    if (failed == ELOOP)
        return refused(edited, "it is a symbolic link, which no edit makes", error);
    if (failed)
        return edited_fail(edited, failed, "its journal (" ST__JOURNAL_ENDING ") cannot be opened",
                           error);
    failed = st__os_info_fd(*fd, &info);
    st_status status = ST_OK;
    if (failed)
        status = edited_fail(edited, failed,
                             "its journal (" ST__JOURNAL_ENDING ") cannot be examined", error);
    else if (info.kind != ST__OS_REGULAR)
        status = refused(edited, "it is no regular file", error);
    else if (!st__os_trusted(*fd, edited->file))
        status = refused(edited, "it belongs to another user", error);
    if (status != ST_OK)
        st__os_close(*fd);
    return status;
}

/* What is to be done, of a finished journal of a file of this size. The bytes tell more than the inode: a program may
 * write a new file into the old one's inode, or its number may be used again. */
static st_status action_choose(const st__edited *edited, st__journal *journal, bool same_inode,
                               uint32_t *action, st_error *error)
{
    int holds;
    ST_TRY(st__journal_compare(journal, edited->file, &holds, error));
    if (same_inode && holds == ST__FILE_OTHER)
        return refused(edited, "the file has been changed by something else since it was written",
                       error);
    if (!same_inode && holds == ST__FILE_MIXED)
        return refused(edited,
                       "it was written for another file, which held the same bytes as this one "
                       "in part",
                       error);
    *action = !same_inode             ? ST_RECOVERY_FOREIGN
              : holds == ST__FILE_NEW ? ST_RECOVERY_FORWARD
                                      : ST_RECOVERY_BACK;
    return ST_OK;
}

static st_status journal_judge(const st__edited *edited, st__journal *journal, st_recovery *out,
                               st_error *error)
{
    bool finished, lasts;
    st__os_info info;
    ST_TRY(st__journal_read(journal, &finished, error));
    int failed = st__os_info_fd(edited->file, &info);
    if (!failed)
        failed = st__os_inode_lasts(edited->file, &lasts);
    if (failed)
        return edited_fail(edited, failed, "cannot be examined", error);
    /* The number of the device is no part of it: after a restart it may be another. */
    bool same = info.inode == journal->inode || !lasts;
    out->action = ST_RECOVERY_UNFINISHED;
    if (!finished)
        return ST_OK;
    if (same && info.size != journal->file_size)
        return refused(edited, "the file has another size than when it was written", error);
    out->action = ST_RECOVERY_FOREIGN;
    if (info.size == journal->file_size)
        ST_TRY(action_choose(edited, journal, same, &out->action, error));
    if (out->action == ST_RECOVERY_FOREIGN)
        return ST_OK;
    out->stretches = journal->count;
    out->size = journal->bytes;
    return ST_OK;
}

/* What is there is written once more: a sync that failed may have left the page cache and the disk with different
 * bytes, and no later one would write them. */
static st_status journal_carry_out(const st__edited *edited, const st__journal *journal,
                                   uint32_t action, st_error *error)
{
    if (action < ST_RECOVERY_FORWARD)
        return ST_OK;
    ST_TRY(st__journal_play(journal, edited->file, action == ST_RECOVERY_FORWARD, error));
    int failed = st__os_sync(edited->file);
    if (failed)
        return edited_fail(edited, failed, "cannot be made to reach the disk; its journal is left",
                           error);
    return ST_OK;
}

bool st__edited_has_journal(const st__edited *edited)
{
    st__os_info info;
    return edited->journal[0] &&
           st__os_info_at(edited->at.directory, edited->journal, false, &info) != ENOENT;
}

static st_status edited_recover(const st__edited *edited, bool change, st_recovery *out,
                                st_error *error)
{
    st_recovery found = {.action = ST_RECOVERY_NONE};
    st__journal journal = {.context = edited->context, .name = edited->path, .fd = -1};
    ST_TRY(journal_open(edited, &journal.fd, error));
    if (journal.fd >= 0) {
        st_status status = journal_judge(edited, &journal, &found, error);
        if (status == ST_OK && change)
            status = journal_carry_out(edited, &journal, found.action, error);
        st__os_close(journal.fd);
        ST_TRY(status);
    }
    int failed = change && journal.fd >= 0 ? st__edited_settle(edited) : 0;
    if (failed)
        return edited_fail(edited, failed,
                           "is as it should be, but its journal (" ST__JOURNAL_ENDING
                           ") cannot be removed",
                           error);
    *out = found;
    return ST_OK;
}

st_status st__edited_recover(const st__edited *edited, st_recovery *out, st_error *error)
{
    return edited_recover(edited, true, out, error);
}

st_status st__edited_look(const st__edited *edited, st_recovery *out, st_error *error)
{
    return edited_recover(edited, false, out, error);
}
