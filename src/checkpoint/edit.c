/* SPDX-License-Identifier: Apache-2.0 */
/* The edits of all files of a checkpoint, and what they come to. */
#include "checkpoint/edit.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "checkpoint/path.h"
#include "file/file.h"
#include "io/os.h"

#include <errno.h>
#include <string.h>

/* -------------------------------------------------------------------------- making, freeing */

/* What the edit of one file tells, told of all; of a file that is written by itself as it is. */
static bool file_progress(void *ctx, uint64_t done, uint64_t total)
{
    const st_checkpoint_edit *edit = ctx;
    if (edit->total)
        total = edit->total;
    return edit->progress.fn(edit->progress.ctx, edit->done + done, total);
}

static st_status edits_make(st_checkpoint_edit *edit, const st_edit_options *options,
                            st_error *error)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    st_edit_options of_file = options ? *options : (st_edit_options){.order = 0};
    of_file.context = edit->context;
    if (of_file.progress.fn)
        of_file.progress = (st_progress){file_progress, edit};
    for (size_t i = 0; i < checkpoint->file_count; i++)
        ST_TRY(st_edit_new(checkpoint->files[i].file, &of_file, &edit->edits[i], error));
    return ST_OK;
}

st_status st_checkpoint_edit_new(const st_checkpoint *checkpoint, const st_edit_options *options,
                                 st_checkpoint_edit **out, st_error *error)
{
    st_context *context = options && options->context ? options->context : checkpoint->context;
    st_checkpoint_edit *edit = st__alloc_zeroed(context, 1, sizeof *edit);
    if (!edit)
        return st__checkpoint_nomem(checkpoint, sizeof *edit, error);
    edit->context = st_context_retain(context);
    edit->checkpoint = checkpoint;
    if (options)
        edit->progress = options->progress;
    edit->edits = st__alloc_zeroed(context, checkpoint->file_count, sizeof(st_edit *));
    st_status status =
        edit->edits
            ? edits_make(edit, options, error)
            : st__checkpoint_nomem(checkpoint, checkpoint->file_count * sizeof(st_edit *), error);
    if (status != ST_OK) {
        st_checkpoint_edit_free(edit);
        return status;
    }
    *out = edit;
    return ST_OK;
}

void st_checkpoint_edit_free(st_checkpoint_edit *edit)
{
    if (!edit)
        return;
    st_context *context = edit->context;
    size_t count = edit->checkpoint->file_count;
    for (size_t i = 0; i < count && edit->edits; i++)
        st_edit_free(edit->edits[i]);
    st__free(context, edit->edits, count * sizeof(st_edit *));
    st__free(context, edit, sizeof *edit);
    st_context_release(context);
}

st_edit *st_checkpoint_edit_at(const st_checkpoint_edit *edit, size_t index)
{
    return edit->edits[index];
}

/* ---------------------------------------------------------------------------- the checkpoint */

bool st__checkpoint_is_file(const st_checkpoint *checkpoint)
{
    return !checkpoint->index && checkpoint->file_count == 1 &&
           strlen(checkpoint->folder) + checkpoint->files[0].name.len == strlen(checkpoint->name);
}

const char *st__checkpoint_index_name(const st_checkpoint *checkpoint)
{
    return checkpoint->index ? checkpoint->index + strlen(checkpoint->folder) : NULL;
}

static st_status identity_check(int directory, const char *name, const char *path,
                                const st_source_info *then, st_error *error)
{
    st__os_info now = {.size = 0};
    int failed = st__os_info_at(directory, directory == ST__OS_HERE ? path : name, true, &now);
    if (failed && failed != ENOENT)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              path);
    const st_source_info seen = {
        .size = now.size, .device = now.device, .inode = now.inode, .mtime_ns = now.mtime_ns};
    if (failed || !st__identity_same(then, &seen))
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: is not the file that was opened; open the checkpoint again", path);
    return ST_OK;
}

st_status st__checkpoint_unchanged(const st_checkpoint *checkpoint, int directory, st_error *error)
{
    if (checkpoint->index)
        ST_TRY(identity_check(directory, st__checkpoint_index_name(checkpoint), checkpoint->index,
                              &checkpoint->index_identity, error));
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const st__checkpoint_file *file = &checkpoint->files[i];
        const char *name = file->name.text;
        char *path;
        ST_TRY(st__path_join(checkpoint->context, checkpoint->folder, name, &path, error));
        st_status status = identity_check(directory, name, path, &file->file->identity, error);
        st__path_free(checkpoint->context, path);
        ST_TRY(status);
    }
    return ST_OK;
}

/* ------------------------------------------------------------------------------ the outcome */

static st_status outcome_nomem(const st__outcome *outcome, uint64_t size, st_error *error)
{
    return st__checkpoint_nomem(outcome->checkpoint, size, error);
}

void st__outcome_release(st__outcome *outcome)
{
    st_context *context = outcome->context;
    if (!outcome->checkpoint)
        return;
    st__free(context, outcome->fates, outcome->checkpoint->file_count);
    st__free(context, outcome->rows, outcome->room * sizeof *outcome->rows);
    st__free(context, outcome->now, outcome->checkpoint->count * sizeof *outcome->now);
}

static st_status outcome_reserve(st__outcome *outcome, size_t rows, st_error *error)
{
    const st_checkpoint *checkpoint = outcome->checkpoint;
    if (rows >= UINT32_MAX / 4) /* a map counts to 2^30 */
        return outcome_nomem(outcome, UINT64_MAX, error);
    outcome->rows = st__alloc_zeroed(outcome->context, rows, sizeof *outcome->rows);
    outcome->room = rows;
    outcome->now = st__alloc_zeroed(outcome->context, checkpoint->count, sizeof *outcome->now);
    if (!outcome->rows || !outcome->now)
        return outcome_nomem(outcome, (uint64_t)rows * sizeof *outcome->rows, error);
    return ST_OK;
}

/* Says what becomes of each file, and how many tensors there will be. */
static st_status fates_find(st_checkpoint_edit *edit, st__outcome *outcome, size_t *rows,
                            st_error *error)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    size_t going = 0;
    outcome->fates = st__alloc_zeroed(outcome->context, checkpoint->file_count, 1);
    if (!outcome->fates)
        return outcome_nomem(outcome, checkpoint->file_count, error);
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        st_edit *one = edit->edits[i];
        ST_TRY(st__edit_lay_out(one, error));
        bool goes = one->plan.count == 0 && st_file_count(checkpoint->files[i].file) > 0;
        outcome->fates[i] = goes                    ? ST__FILE_GOES
                            : st__edit_changes(one) ? ST__FILE_CHANGES
                                                    : ST__FILE_STAYS;
        going += goes;
        *rows += one->plan.count;
    }
    /* Without an index nothing else would say that there is a checkpoint. */
    if (!checkpoint->index && going == checkpoint->file_count && going > 0)
        outcome->fates[0] = ST__FILE_CHANGES;
    return ST_OK;
}

static uint64_t element_count(const st_tensor *tensor)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->ndim; i++)
        count *= tensor->shape[i];
    return count;
}

/* The checkpoint's number of a tensor of its files; ST__MAP_NONE: the index does not name it there. */
static size_t number_find(const st_checkpoint *checkpoint, const st_tensor *tensor)
{
    size_t found = st__map_find(&checkpoint->names, tensor->name, tensor->name_len);
    return found != ST__MAP_NONE && checkpoint->entries[found].tensor == tensor ? found
                                                                                : ST__MAP_NONE;
}

/* Takes the tensors of one file in. What an index did not name it does not name by another name either. */
static st_status file_rows_take(const st_edit *one, uint32_t file, st__outcome *outcome,
                                st_error *error)
{
    const st_checkpoint *checkpoint = outcome->checkpoint;
    for (size_t i = 0; i < one->plan.count; i++) {
        size_t index = one->plan.order[i];
        const st__edit_entry *entry = &one->entries[one->plan.placed[index]];
        const st_tensor *tensor = st_writer_at(one->plan.writer, index);
        size_t number = entry->added ? ST__MAP_NONE : number_find(checkpoint, entry->tensor);
        if (!entry->added && number == ST__MAP_NONE)
            continue;
        outcome->rows[outcome->count] =
            (st__outcome_row){.name = {tensor->name, tensor->name_len, 0},
                              .tensor = tensor,
                              .file = file,
                              .listed = number != ST__MAP_NONE};
        if (number != ST__MAP_NONE)
            outcome->now[number] = (uint32_t)outcome->count + 1;
        outcome->count++;
        outcome->elements += element_count(tensor);
        if (!st__add_u64(outcome->size, st_tensor_size(tensor), &outcome->size))
            return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                            "%s: all tensors together would have more bytes than 64 bits count",
                            checkpoint->name);
    }
    return ST_OK;
}

static st_status rows_check(const st__outcome *outcome, st_error *error)
{
    const st_checkpoint *checkpoint = outcome->checkpoint;
    st__map names = {0};
    st__hash_key key;
    st__os_random(&key, sizeof key);
    if (!st__map_init(&names, outcome->context, outcome->rows, sizeof *outcome->rows,
                      outcome->count, &key))
        return outcome_nomem(outcome, (uint64_t)outcome->count * sizeof *names.slots, error);
    size_t twice = st__map_insert_all(&names, outcome->count, false);
    const st__outcome_row *again = twice == ST__MAP_NONE ? NULL : &outcome->rows[twice];
    size_t first = again ? st__map_find(&names, again->name.text, again->name.len) : 0;
    st__map_release(&names, outcome->context);
    if (!again)
        return ST_OK;
    return st__fail(error, ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
                    "%s: tensor %s: would stand in %s and in %s; rename or drop one of them",
                    checkpoint->name, st__quote(again->name.text, again->name.len).text,
                    checkpoint->files[outcome->rows[first].file].name.text,
                    checkpoint->files[again->file].name.text);
}

/* What comes in under the name of one that went takes its place in the index, and it is found out whether anything of
 * the map changes. */
static void rows_compare(st__outcome *outcome)
{
    const st_checkpoint *checkpoint = outcome->checkpoint;
    for (size_t i = 0; i < outcome->count; i++) {
        st__outcome_row *row = &outcome->rows[i];
        if (row->listed)
            continue;
        size_t number = st__map_find(&checkpoint->names, row->name.text, row->name.len);
        row->listed = number != ST__MAP_NONE && outcome->now[number] == 0;
        if (row->listed)
            outcome->now[number] = (uint32_t)i + 1;
        outcome->names_change |= !row->listed;
    }
    for (size_t i = 0; i < checkpoint->count; i++) {
        const st__checkpoint_entry *old = &checkpoint->entries[i];
        outcome->elements_old += element_count(old->tensor);
        const st__outcome_row *row = outcome->now[i] ? &outcome->rows[outcome->now[i] - 1] : NULL;
        outcome->names_change |= !row || row->file != old->file || row->name.len != old->name.len ||
                                 memcmp(row->name.text, old->name.text, old->name.len) != 0;
    }
}

st_status st__outcome_make(st_checkpoint_edit *edit, st__outcome *out, st_error *error)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    size_t rows = 0;
    *out = (st__outcome){.context = edit->context, .checkpoint = checkpoint};
    ST_TRY(fates_find(edit, out, &rows, error));
    ST_TRY(outcome_reserve(out, rows, error));
    for (size_t i = 0; i < checkpoint->file_count; i++)
        ST_TRY(file_rows_take(edit->edits[i], (uint32_t)i, out, error));
    ST_TRY(rows_check(out, error));
    rows_compare(out);
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ looking */

static void summary_add(st_edit_summary *to, const st_edit_summary *one)
{
    to->size += one->size;
    to->count += one->count;
    to->renamed += one->renamed;
    to->dropped += one->dropped;
    to->cast += one->cast;
    to->replaced += one->replaced;
    to->added += one->added;
    to->moved += one->moved;
    to->written += one->written;
    to->room += one->room;
    to->header += one->header;
    to->in_place &= one->in_place;
}

void st__outcome_sum_up(const st_checkpoint_edit *edit, const st__outcome *outcome,
                        st_edit_summary *out)
{
    const st_checkpoint *checkpoint = edit->checkpoint;
    *out = (st_edit_summary){.in_place = !checkpoint->index || !outcome->names_change};
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        st_edit_summary one;
        st__edit_sum_up(edit->edits[i], &one);
        if (outcome->fates[i] == ST__FILE_GOES)
            one.size = one.room = one.header = 0;
        summary_add(out, &one);
    }
}

st_status st_checkpoint_edit_look(st_checkpoint_edit *edit, st_edit_summary *out, st_error *error)
{
    st__outcome outcome;
    st_status status = st__outcome_make(edit, &outcome, error);
    if (status == ST_OK)
        st__outcome_sum_up(edit, &outcome, out);
    st__outcome_release(&outcome);
    return status;
}
