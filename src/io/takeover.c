/* SPDX-License-Identifier: Apache-2.0 */
#include "io/takeover.h"
#include "base/error.h"
#include "io/edited.h"

#include <errno.h>

/* So often the file in a place that others keep replacing is looked at. */
#define PLACE_LOOKS_MAX 100

/* ----------------------------------------------------------------------------- the journal */

/* What is beside the file: nothing, or what is no journal of an edit in place. The list of an edit over several files is
 * called so too, beside their index, and anybody's own file may be: what cannot be read is none that may be removed. An
 * errno. */
static int journal_look(const st__location *at, st__os_info *out, bool *there)
{
    char name[ST__OS_NAME];
    int fd = -1;
    *there = false;
    int failed =
        st__location_journal(at, name) ? st__os_info_at(at->directory, name, false, out) : ENOENT;
    if (!failed && out->kind != ST__OS_REGULAR)
        return 0;
    if (!failed)
        failed = st__os_open_name(at->directory, name, false, &fd);
    if (failed)
        return failed == ENOENT ? 0 : failed;
    failed = st__os_info_fd(fd, out);
    if (!failed && out->kind == ST__OS_REGULAR)
        failed = st__journal_begins(fd, there);
    st__os_close(fd);
    return failed;
}

static st_status beside_fail(const char *name, int failed, st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                          "%s: its journal (" ST__JOURNAL_ENDING ") cannot be examined", name);
}

static st_status journal_needed(const char *name, st_error *error)
{
    return st__fail(error, ST_ERR_JOURNAL, ST_NO_OFFSET,
                    "%s: an edit in place of it was interrupted, or is under way, and what it has "
                    "overwritten is in its journal (" ST__JOURNAL_ENDING ") only; recover the "
                    "file by that first",
                    name);
}

/* Of a file that is open, and has a journal. */
static st_status open_file_look(st__edited *edited, uint32_t *action, st_error *error)
{
    st_recovery found = {.action = ST_RECOVERY_NONE};
    if (!st__location_journal(&edited->at, edited->journal))
        edited->journal[0] = '\0';
    ST_TRY(st__edited_look(edited, &found, error));
    *action = found.action;
    return ST_OK;
}

/* ---------------------------------------------------------------------------- recovering */

static st_status old_file_recover(st__edited *edited, st_error *error)
{
    uint32_t action = ST_RECOVERY_NONE;
    st_recovery found;
    ST_TRY(st__edited_open(edited, false, error));
    st_status status = open_file_look(edited, &action, error);
    st__edited_let_go(edited);
    /* All else goes with the old file, which may be one that cannot be changed. */
    if (status != ST_OK || action != ST_RECOVERY_BACK)
        return status;
    ST_TRY(st__edited_open(edited, true, error));
    status = st__edited_recover(edited, &found, error);
    st__edited_let_go(edited);
    return status;
}

st_status st__takeover_recover(const st__takeover *place, st_error *error)
{
    st__os_info info;
    st__edited edited = {
        .context = place->context, .path = place->name, .at = *place->at, .file = -1};
    bool there;
    int failed = journal_look(place->at, &info, &there);
    if (failed)
        return beside_fail(place->name, failed, error);
    if (!there || st__os_info_at(place->at->directory, place->at->name, false, &info) != 0 ||
        info.kind != ST__OS_REGULAR)
        return ST_OK;
    return old_file_recover(&edited, error);
}

/* -------------------------------------------------------------------------------- holding */

static st_status place_fail(const st__takeover *place, int failed, const char *what,
                            st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: %s", place->name, what);
}

/* Locks the file, as far as that can be done: of who may not open it that is not asked. */
static int place_lock(st__takeover *place)
{
    const st__location *at = place->at;
    int failed = place->old ? st__os_lock(place->file) : st__os_lock_shared(place->file);
    if (failed != EBADF)
        return failed;
    /* NFS locks only what is open for writing. */
    st__os_close(place->file);
    place->file = -1;
    failed = st__os_open_name(at->directory, at->name, true, &place->file);
    if (failed)
        return failed == ENOENT ? ESTALE : 0;
    failed = st__os_lock(place->file);
    return failed == EBADF ? 0 : failed;
}

/* Opens and locks what is there: 0; ESTALE: it was replaced meanwhile. */
static int place_open(st__takeover *place)
{
    st__os_info named, held;
    const st__location *at = place->at;
    int failed = st__os_open_name(at->directory, at->name, false, &place->file);
    if (failed == ENOENT || failed == ELOOP || failed == EACCES || failed == EPERM ||
        failed == ENXIO)
        return 0;
    if (!failed)
        failed = place_lock(place);
    if (!failed && place->file >= 0)
        failed = st__os_info_fd(place->file, &held);
    if (!failed && place->file >= 0)
        failed = st__os_info_at(at->directory, at->name, false, &named);
    if (failed == ENOENT ||
        (!failed && place->file >= 0 && (named.device != held.device || named.inode != held.inode)))
        failed = ESTALE;
    return failed;
}

static void place_close(st__takeover *place)
{
    if (place->file < 0)
        return;
    st__os_unlock(place->file);
    st__os_close(place->file);
    place->file = -1;
}

/* The file that was there is there still, and has not been written to. */
static st_status old_check(const st__takeover *place, st_error *error)
{
    st__os_info now;
    const st__os_info *old = place->old;
    int failed = old ? st__os_info_at(place->at->directory, place->at->name, true, &now) : 0;
    if (!old)
        return ST_OK;
    if (failed && failed != ENOENT)
        return place_fail(place, failed, "cannot be examined", error);
    if (!failed && now.device == old->device && now.inode == old->inode && now.size == old->size &&
        now.mtime_ns == old->mtime_ns)
        return ST_OK;
    return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                    "%s: it was changed by something else while it was edited; open it again",
                    place->name);
}

static st_status journal_check(st__takeover *place, st_error *error)
{
    uint32_t action = ST_RECOVERY_UNFINISHED;
    st__os_info info;
    bool there;
    int failed = journal_look(place->at, &place->journal, &there);
    if (failed)
        return beside_fail(place->name, failed, error);
    if (!there)
        return ST_OK;
    failed = st__os_info_at(place->at->directory, place->at->name, false, &info);
    if (failed && failed != ENOENT)
        return place_fail(place, failed, "cannot be examined", error);
    if (!failed && info.kind != ST__OS_REGULAR)
        return ST_OK;
    if (!failed && place->file < 0)
        return place_fail(place, EACCES,
                          "has a journal (" ST__JOURNAL_ENDING
                          "), and cannot be opened to see whether it is needed",
                          error);
    if (!failed) {
        st__edited edited = {
            .context = place->context, .path = place->name, .at = *place->at, .file = place->file};
        ST_TRY(open_file_look(&edited, &action, error));
    }
    if (action == ST_RECOVERY_BACK)
        return journal_needed(place->name, error);
    place->stale = action != ST_RECOVERY_NONE;
    return ST_OK;
}

st_status st__takeover_begin(st__takeover *place, st_error *error)
{
    int failed = ESTALE;
    place->file = -1;
    place->stale = false;
    for (int looks = 0; failed == ESTALE && looks < PLACE_LOOKS_MAX; looks++) {
        place_close(place);
        failed = place_open(place);
    }
    st_status status = ST_OK;
    /* A file that nothing new is made of may be locked for reasons of its owner's; an edit of it has a journal, or will see
     * before it overwrites anything that the file is another one by then. */
    if (failed == EAGAIN && !place->old)
        failed = 0;
    if (failed == EAGAIN)
        status = place_fail(place, failed, "another edit of it is under way", error);
    else if (failed)
        status = place_fail(place, failed, "cannot be locked to be replaced", error);
    if (status == ST_OK)
        status = old_check(place, error);
    if (status == ST_OK)
        status = journal_check(place, error);
    if (status != ST_OK)
        place_close(place);
    return status;
}

static void journal_drop(const st__takeover *place)
{
    char name[ST__OS_NAME];
    st__os_info now;
    const st__os_info *stale = &place->journal;
    if (st__location_journal(place->at, name) &&
        st__os_info_at(place->at->directory, name, false, &now) == 0 &&
        now.device == stale->device && now.inode == stale->inode && now.ctime_ns == stale->ctime_ns)
        (void)st__os_remove(place->at->directory, name);
}

void st__takeover_end(st__takeover *place, bool taken)
{
    /* One that cannot be removed does no harm: it is never played back over bytes that it does not know. */
    if (taken && place->stale)
        journal_drop(place);
    place_close(place);
}

st_status st__takeover_make(const st__takeover *place, const char *from, st_error *error)
{
    st__takeover held = *place;
    ST_TRY(st__takeover_begin(&held, error));
    int failed = st__os_rename(place->at->directory, from, place->at->name);
    st__takeover_end(&held, failed == 0);
    return failed ? place_fail(place, failed, "the new file cannot be put in place", error) : ST_OK;
}

/* -------------------------------------------------------------------------------- sources */

/* Finds where the file behind a descriptor lies; false: that cannot be told, or another one is there. */
static bool beside_find(const st_source *source, int fd, st__edited *out)
{
    char path[ST__OS_PATH];
    st__os_info held, named;
    const char *at = st__os_path_fd(fd, path) == 0 ? path : source->name;
    if (st__edited_find(out, at, source->context, NULL) != ST_OK)
        return false;
    if (st__os_info_fd(fd, &held) == 0 &&
        st__os_info_at(out->at.directory, out->at.name, true, &named) == 0 &&
        held.device == named.device && held.inode == named.inode)
        return true;
    st__edited_close(out);
    return false;
}

static st_status source_look(const st_source *source, int fd, st_error *error)
{
    st__edited edited;
    st__os_info info;
    uint32_t action = ST_RECOVERY_NONE;
    if (!beside_find(source, fd, &edited))
        return ST_OK;
    edited.path = source->name;
    edited.file = fd;
    bool there;
    int failed = journal_look(&edited.at, &info, &there);
    st_status status = failed  ? beside_fail(source->name, failed, error)
                       : there ? open_file_look(&edited, &action, error)
                               : ST_OK;
    edited.file = -1; /* the source's own */
    st__edited_close(&edited);
    if (status == ST_OK && action == ST_RECOVERY_BACK)
        return journal_needed(source->name, error);
    return status;
}

st_status st__source_settled(st_source *source, st_error *error)
{
    int fd;
    ST_TRY(st__source_hold(source, &fd, error));
    if (fd < 0)
        return ST_OK;
    st_status status = source_look(source, fd, error);
    st__source_let_go(source);
    return status;
}
