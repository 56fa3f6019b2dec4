/* SPDX-License-Identifier: Apache-2.0 */
/* A file is changed where it lies. First all that will be overwritten is in the journal and on the disk, then it is
 * overwritten, out of the journal, then the journal goes: docs/journal.md has the steps, and why no crash between any
 * two of them loses the old bytes. */
#include "io/edited.h"
#include "base/alloc.h"
#include "base/error.h"
#include "file/edit.h"
#include "file/file.h"
#include "format/header.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct in_place {
    st_edit *edit;
    st__edited edited;
    st__journal journal;
    unsigned char *header; /* the new one: 8 + N bytes */
    size_t header_size;
    uint64_t done, total; /* new bytes in the journal, and that there will be */
} in_place;

/* ------------------------------------------------------------------------------ the same file */

/* ST_ERR_CHANGED unless the file is the one that the edit was made of. */
static st_status file_check(const in_place *work, const st_recovery *recovered, st__os_info *now,
                            st_error *error)
{
    const st_source_info *then = &work->edit->file->identity;
    const char *path = work->edited.path;
    int failed = st__os_info_fd(work->edited.file, now);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              path);
    if (now->device == then->device && now->inode == then->inode && now->size == then->size &&
        now->mtime_ns == then->mtime_ns)
        return ST_OK;
    if (recovered->action >= ST_RECOVERY_FORWARD)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: an interrupted edit was %s just now; open the file again", path,
                        recovered->action == ST_RECOVERY_BACK ? "undone" : "ended");
    if (now->device != then->device || now->inode != then->inode)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: is another file than the one that the edit was made of", path);
    return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                    "%s: it was changed since it was opened; open it again", path);
}

/* -------------------------------------------------------------------------------- stretches */

/* A piece of memory that a stretch will hold. */
static st_status memory_make(void *ctx, st_block_fn block, void *block_ctx, st_error *error)
{
    const st_bytes *bytes = ctx;
    return block(block_ctx, bytes->data, bytes->size, error);
}

/* Where the new header begins to differ from what is in the file, and where it ends to; equal: nowhere. */
static st_status header_difference(const in_place *work, unsigned char *block, size_t *first,
                                   size_t *end, st_error *error)
{
    *first = *end = 0;
    for (size_t at = 0; at < work->header_size; at += ST__JOURNAL_BLOCK) {
        size_t done, size = work->header_size - at;
        if (size > ST__JOURNAL_BLOCK)
            size = ST__JOURNAL_BLOCK;
        st_segment segment = {block, size};
        int failed = st__os_read(work->edited.file, at, &segment, 1, &done);
        if (failed)
            return st__fail_errno(error, ST_ERR_IO, failed, at + done,
                                  "%s: cannot be read at byte %" PRIu64, work->edited.path,
                                  (uint64_t)(at + done));
        if (done < size)
            return st__fail(error, ST_ERR_CHANGED, at + done,
                            "%s: it ends at byte %" PRIu64 " now; open it again", work->edited.path,
                            (uint64_t)(at + done));
        for (size_t i = 0; i < size; i++) {
            if (block[i] == work->header[at + i])
                continue;
            if (*end == 0)
                *first = at + i;
            *end = at + i + 1;
        }
    }
    return ST_OK;
}

static st_status header_add(in_place *work, st_error *error)
{
    size_t first = 0, end = 0;
    if (!st__edit_describes_anew(work->edit)) /* others write the same in other ways */
        return ST_OK;
    unsigned char *block = st__alloc(work->edit->context, ST__JOURNAL_BLOCK);
    if (!block)
        return st__fail_nomem(error, ST__JOURNAL_BLOCK);
    st_status status = header_difference(work, block, &first, &end, error);
    st__free(work->edit->context, block, ST__JOURNAL_BLOCK);
    ST_TRY(status);
    /* The length of the header stays: it can only differ if something else wrote another one. */
    if (first < 8 && end > 0)
        return st__fail(error, ST_ERR_CHANGED, first,
                        "%s: its header has another length than when it was opened; open it again",
                        work->edited.path);
    if (end == 0)
        return ST_OK;
    st_bytes bytes = {work->header + first, end - first};
    st__journal_stretch stretch = {first, end - first, memory_make, &bytes};
    return st__journal_add(&work->journal, work->edited.file, &stretch, error);
}

/* The new bytes of a tensor on their way into the journal. */
typedef struct new_bytes {
    in_place *work;
    const st__edit_entry *entry;
    st_block_fn block;
    void *block_ctx;
} new_bytes;

static st_status new_bytes_pass(void *ctx, const void *data, size_t size, st_error *error)
{
    new_bytes *making = ctx;
    in_place *work = making->work;
    const st_progress *progress = &work->edit->options.progress;
    ST_TRY(making->block(making->block_ctx, data, size, error));
    work->done += size;
    if (!progress->fn || progress->fn(progress->ctx, work->done, work->total))
        return ST_OK;
    return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET,
                    "%s: stopped by the caller; the file is unchanged", work->edited.path);
}

static st_status new_bytes_make(void *ctx, st_block_fn block, void *block_ctx, st_error *error)
{
    new_bytes *making = ctx;
    making->block = block;
    making->block_ctx = block_ctx;
    return st__edit_blocks(making->work->edit, making->entry, new_bytes_pass, making, error);
}

/* The writer's tensor at a place of the file, if its bytes are to be overwritten: NULL, if not. */
static const st_tensor *replaced_at(const st_edit *edit, size_t place, const st__edit_entry **entry)
{
    size_t number = edit->plan.order[place];
    const st_tensor *tensor = st_writer_at(edit->plan.writer, number);
    *entry = &edit->entries[edit->plan.placed[number]];
    return (*entry)->array && tensor->end > tensor->begin ? tensor : NULL;
}

static st_status tensors_add(in_place *work, st_error *error)
{
    const st_edit *edit = work->edit;
    new_bytes making = {.work = work};
    for (size_t i = 0; i < edit->plan.count; i++) {
        const st_tensor *tensor = replaced_at(edit, i, &making.entry);
        if (!tensor)
            continue;
        st__journal_stretch stretch = {work->header_size + tensor->begin,
                                       tensor->end - tensor->begin, new_bytes_make, &making};
        ST_TRY(st__journal_add(&work->journal, work->edited.file, &stretch, error));
    }
    return ST_OK;
}

/* ------------------------------------------------------------------------------ the journal */

static st_status journal_fill(in_place *work, const st__os_info *info, st_error *error)
{
    const st__edited *edited = &work->edited;
    /* It holds bytes of the file: nobody may read it who may not read that one. */
    int failed = st__os_copy_attributes(edited->at.directory, edited->at.name, work->journal.fd,
                                        edited->context);
    if (failed == ENOMEM)
        return st__fail_nomem(error, sizeof *work);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: its access rights cannot be handed on to the journal",
                              edited->path);
    st__journal_begin(&work->journal, info);
    ST_TRY(header_add(work, error));
    ST_TRY(tensors_add(work, error));
    if (work->journal.count == 0)
        return ST_OK;
    ST_TRY(st__journal_finish(&work->journal, error));
    failed = st__os_sync_directory(edited->at.directory);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s" ST__JOURNAL_ENDING ": its name cannot be made to reach the "
                              "disk; %s is unchanged",
                              edited->path, edited->path);
    return ST_OK;
}

static st_status overwritten_sync(const in_place *work, st_error *error)
{
    int failed = st__os_sync(work->edited.file);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: cannot be made to reach the disk", work->edited.path);
    return ST_OK;
}

static st_status journal_apply(const in_place *work, bool forward, st_error *error)
{
    ST_TRY(st__journal_play(&work->journal, work->edited.file, forward, error));
    return overwritten_sync(work, error);
}

/* Some of the new bytes may be in the file. The journal is left where they cannot be taken back. */
static st_status roll_back(const in_place *work, st_status status, const st_error *said,
                           st_error *error)
{
    const char *outcome = "; the old bytes have been put back";
    if (journal_apply(work, false, NULL) != ST_OK)
        outcome = "; its journal (" ST__JOURNAL_ENDING ") is left: recover the file by it";
    else if (st__edited_settle(&work->edited) != 0)
        outcome =
            "; the old bytes have been put back, and the journal (" ST__JOURNAL_ENDING ") is left";
    st__fail(error, status, said->offset, "%s%s", said->message, outcome);
    if (error)
        error->sys_errno = said->sys_errno;
    return status;
}

/* Who does not ask for the lock, or cannot, may have replaced the file, or taken the journal for one that was left. */
static st_status held_check(const in_place *work, st_error *error)
{
    const st__edited *edited = &work->edited;
    st__os_info named, held;
    ST_TRY(st__edited_there(edited, error));
    int failed = st__os_info_fd(work->journal.fd, &held);
    if (!failed)
        failed = st__os_info_at(edited->at.directory, edited->journal, false, &named);
    if (failed && failed != ENOENT)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s" ST__JOURNAL_ENDING ": cannot be examined", edited->path);
    if (failed || named.device != held.device || named.inode != held.inode)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s" ST__JOURNAL_ENDING
                        ": something else removed it at this moment; %s is unchanged",
                        edited->path, edited->path);
    return ST_OK;
}

/* Nothing was overwritten: without its mark, or with it, the journal says nothing. One that is not ours stays. */
static void journal_give_up(const in_place *work)
{
    const st__edited *edited = &work->edited;
    st__os_info named, held;
    if (st__os_info_fd(work->journal.fd, &held) != 0 ||
        st__os_info_at(edited->at.directory, edited->journal, false, &named) != 0 ||
        (named.device == held.device && named.inode == held.inode))
        (void)st__edited_settle(edited);
}

static st_status journal_end(in_place *work, st_error *error)
{
    st_error said = {.status = ST_OK};
    st_status status = journal_apply(work, true, &said);
    if (status != ST_OK)
        return roll_back(work, status, &said, error);
    /* The bytes went into a file that has no such name; what has may be a copy, made when some were there. */
    if (st__edited_there(&work->edited, NULL) == ST_ERR_CHANGED)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: it was replaced by something else while it was edited; the journal "
                        "(" ST__JOURNAL_ENDING ") is left",
                        work->edited.path);
    int failed = st__edited_settle(&work->edited);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: the new bytes are in place, but its journal (" ST__JOURNAL_ENDING
                              ") cannot be removed for good",
                              work->edited.path);
    return ST_OK;
}

static st_status journal_use(in_place *work, const st__os_info *info, st_error *error)
{
    const st__edited *edited = &work->edited;
    int failed = edited->journal[0]
                     ? st__os_create(edited->at.directory, edited->journal, 0600, &work->journal.fd)
                     : ENAMETOOLONG;
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s" ST__JOURNAL_ENDING ": cannot be created", edited->path);
    st_status status = journal_fill(work, info, error);
    if (status == ST_OK && work->journal.count > 0)
        status = held_check(work, error);
    if (status != ST_OK || work->journal.count == 0)
        journal_give_up(work);
    else
        status = journal_end(work, error);
    st__os_close(work->journal.fd);
    return status;
}

/* ------------------------------------------------------------------------------------ the call */

static st_status file_change(in_place *work, st_error *error)
{
    st__os_info info;
    st_recovery recovered = {.action = ST_RECOVERY_NONE};
    ST_TRY(st__edited_recover(&work->edited, &recovered, error));
    ST_TRY(file_check(work, &recovered, &info, error));
    return journal_use(work, &info, error);
}

static st_status in_place_run(in_place *work, const char *path, st_error *error)
{
    st__edited *edited = &work->edited;
    ST_TRY(st__edited_find(edited, path, work->edit->context, error));
    work->journal.context = work->edit->context;
    work->journal.name = path;
    st_status status = st__edited_own(edited, error);
    if (status == ST_OK)
        status = st__edited_open(edited, true, error);
    if (status == ST_OK)
        status = file_change(work, error);
    st__edited_close(edited);
    return status;
}

/* Refuses what does not depend on what is there now. */
static st_status changes_check(st_edit *edit, const char *name, st_error *error)
{
    if (!edit->file)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: the edit was made of no file, and can only be written to a new one",
                        name);
    ST_TRY(st__edit_lay_out(edit, error));
    return st__edit_in_place(edit, error);
}

static void changed_sum_up(const st_edit *edit, st_edit_summary *out)
{
    if (!out)
        return;
    st__edit_sum_up(edit, out);
    out->size = st_file_size(edit->file); /* the blanks behind the header stay */
}

st_status st_edit_look_in_place(st_edit *edit, st_edit_summary *out, st_error *error)
{
    ST_TRY(changes_check(edit, edit->name, error));
    changed_sum_up(edit, out);
    return ST_OK;
}

st_status st_edit_write_in_place(st_edit *edit, const char *path, st_edit_summary *out,
                                 st_error *error)
{
    in_place work = {.edit = edit};
    ST_TRY(changes_check(edit, path, error));
    for (size_t i = 0; i < edit->plan.count; i++) {
        const st__edit_entry *entry;
        const st_tensor *tensor = replaced_at(edit, i, &entry);
        work.total += tensor ? tensor->end - tensor->begin : 0;
    }
    ST_TRY(st__edit_header_emit(edit, &work.header, &work.header_size, error));
    st_status status = in_place_run(&work, path, error);
    st__free(edit->context, work.header, work.header_size);
    if (status == ST_OK)
        changed_sum_up(edit, out);
    return status;
}
