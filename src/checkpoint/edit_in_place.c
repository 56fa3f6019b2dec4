/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the files of a checkpoint where they are. */
#include "checkpoint/edit.h"
#include "checkpoint/exchange.h"
#include "checkpoint/path.h"

#include <stdio.h>
#include <string.h>

static ST__COLD st_status index_refuses(const st_checkpoint *checkpoint, const char *why,
                                        st_error *error)
{
    return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                    "%s: %s would change in it and in its files, which cannot be in several files "
                    "at once where they are; write them anew instead",
                    checkpoint->index, why);
}

/* An index cannot be changed in the same moment as the files that it is of. */
static st_status index_stays(const st__outcome *outcome, st_error *error)
{
    const st_checkpoint *checkpoint = outcome->checkpoint;
    st__index_text text;
    bool same = true;
    if (!checkpoint->index)
        return ST_OK;
    if (outcome->names_change)
        return index_refuses(checkpoint, "names", error);
    if (outcome->elements == outcome->elements_old)
        return ST_OK;
    st_status status = st__outcome_index(outcome, &text, &same, error);
    st__index_text_release(&text);
    if (status == ST_OK && !same)
        return index_refuses(checkpoint, "the number of elements", error);
    return status;
}

/* Every file can be changed where it is. */
static st_status places_check(const st_checkpoint_edit *edit, const st__outcome *outcome,
                              st_error *error)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (outcome->fates[i] != ST__FILE_STAYS)
            ST_TRY(st__edit_in_place(edit->edits[i], error));
    return index_stays(outcome, error);
}

/* Bytes of tensors that a file's edit writes where they are. */
static uint64_t written_size(const st_edit *edit)
{
    st_edit_summary one;
    st__edit_sum_up(edit, &one);
    return one.written;
}

/* Says which files were changed before the one that failed. */
static ST__COLD void changed_tell(const st_checkpoint *checkpoint, const st__outcome *outcome,
                                  size_t failed, const st_error *said, st_error *error)
{
    char list[200] = "";
    size_t len = 0, count = 0;
    for (size_t i = 0; i < failed; i++) {
        const st__key *name = &checkpoint->files[i].name;
        st__quoted quoted = st__quote(name->text, name->len);
        if (outcome->fates[i] == ST__FILE_STAYS)
            continue;
        if (len + strlen(quoted.text) + 8 < sizeof list)
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", count ? ", " : "",
                                    quoted.text);
        count++;
    }
    if (!error)
        return;
    *error = *said;
    if (count == 0)
        return;
    (void)st__fail(error, said->status, said->offset, "%s; changed before it, %zu: %s",
                   said->message, count, list);
    error->sys_errno = said->sys_errno;
}

static st_status file_change_in_place(st_checkpoint_edit *edit, size_t file, st_error *error)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    char *path;
    uint64_t size = written_size(edit->edits[file]);
    ST_TRY(st__path_join(edit->context, checkpoint->folder, checkpoint->files[file].name.text,
                         &path, error));
    st_status status = st_edit_write_in_place(edit->edits[file], path, NULL, error);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(error, status, path, NULL);
    st__path_free(edit->context, path);
    edit->done += size;
    return status;
}

/* A list that was left is of the same files. */
static st_status list_recover(const st_checkpoint *checkpoint, st_error *error)
{
    st__exchange exchange = {.context = checkpoint->context};
    bool changed;
    if (st__checkpoint_is_file(checkpoint))
        return ST_OK;
    st_status status = st__exchange_open(&exchange, checkpoint->folder,
                                         st__checkpoint_index_name(checkpoint), error);
    if (status == ST_OK)
        status = st__exchange_start(&exchange, &changed, error);
    st__exchange_close(&exchange);
    return status;
}

static st_status files_change(st_checkpoint_edit *edit, const st__outcome *outcome, st_error *error)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    ST_TRY(list_recover(checkpoint, error));
    ST_TRY(st__checkpoint_unchanged(checkpoint, ST__OS_HERE, error));
    edit->done = edit->total = 0;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (outcome->fates[i] != ST__FILE_STAYS)
            edit->total += written_size(edit->edits[i]);
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        st_error said = {.status = ST_OK};
        if (outcome->fates[i] == ST__FILE_STAYS)
            continue;
        st_status status = file_change_in_place(edit, i, &said);
        if (status == ST_OK)
            continue;
        changed_tell(checkpoint, outcome, i, &said, error);
        return status;
    }
    return ST_OK;
}

/* Makes the outcome, and refuses it where it cannot be in place; it is to be released whatever comes of it. */
static st_status outcome_check(st_checkpoint_edit *edit, st__outcome *outcome, st_error *error)
{
    ST_TRY(st__outcome_make(edit, outcome, error));
    return places_check(edit, outcome, error);
}

static void outcome_tell(const st_checkpoint_edit *edit, const st__outcome *outcome,
                         st_edit_summary *out)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    if (!out)
        return;
    st__outcome_sum_up(edit, outcome, out);
    out->size = 0; /* the blanks behind the headers stay */
    for (size_t i = 0; i < checkpoint->file_count; i++)
        out->size += st_file_size(checkpoint->files[i].file);
}

st_status st_checkpoint_edit_look_in_place(st_checkpoint_edit *edit, st_edit_summary *out,
                                           st_error *error)
{
    st__outcome outcome;
    st_status status = outcome_check(edit, &outcome, error);
    if (status == ST_OK)
        outcome_tell(edit, &outcome, out);
    st__outcome_release(&outcome);
    return status;
}

st_status st_checkpoint_edit_write_in_place(st_checkpoint_edit *edit, st_edit_summary *out,
                                            st_error *error)
{
    st__outcome outcome;
    st_status status = outcome_check(edit, &outcome, error);
    if (status == ST_OK)
        status = files_change(edit, &outcome, error);
    edit->done = edit->total = 0;
    if (status == ST_OK)
        outcome_tell(edit, &outcome, out);
    st__outcome_release(&outcome);
    return status;
}
