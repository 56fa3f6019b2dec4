/* SPDX-License-Identifier: Apache-2.0 */
/* Writing what an edit comes to. What does not change is copied, by file and neighbours together; the rest is made
 * block by block. To a stream all of it goes in the order of the new file, elsewhere each file's copies in
 * one go, and what is cast from several threads at once. */
#include "file/edit.h"
#include "base/alloc.h"
#include "base/error.h"
#include "file/file.h"
#include "io/takeover.h"

#include <inttypes.h>
#include <stdatomic.h>

typedef struct edit_writing {
    st_edit *edit;
    st__edit_plan plan;
    st_copy *copies; /* `count`, of the tensors that do not change */
    size_t count;
    uint64_t overflowed, underflowed;
    st__thread caller;
    atomic_bool untold; /* another thread had progress to tell */
} edit_writing;

static const st__edit_entry *edited_entry(const edit_writing *w, size_t index)
{
    return &w->edit->entries[w->plan.placed[index]];
}

/* ------------------------------------------------------------------------------------ streaming */

/* Where the next block goes. */
typedef struct written_place {
    st_writer *writer;
    size_t index;
    uint64_t offset;
} written_place;

static st_status packed_bytes_write(void *ctx, const void *data, size_t size, st_error *error)
{
    written_place *place = ctx;
    uint64_t offset = place->offset;
    place->offset += size;
    return st_writer_write(place->writer, place->index, offset, data, size, error);
}

static st_status cast_bytes_write(void *ctx, uint64_t offset, const void *data, size_t size,
                                  st_error *error)
{
    const written_place *place = ctx;
    return st_writer_write(place->writer, place->index, offset, data, size, error);
}

static st_status cast_tell(edit_writing *w, const st_tensor *tensor, const st_cast_report *report,
                           st_error *error)
{
    const st_edit *edit = w->edit;
    w->overflowed += report->overflowed;
    w->underflowed += report->underflowed;
    if (!edit->on_cast ||
        edit->on_cast(edit->on_cast_ctx, tensor, report->overflowed, report->underflowed))
        return ST_OK;
    return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET,
                    "%s: tensor %s: stopped by the caller: of its elements %" PRIu64
                    " overflowed, %" PRIu64 " underflowed",
                    edit->name, st__quote(tensor->name, tensor->name_len).text, report->overflowed,
                    report->underflowed);
}

static st_status tensor_stream(edit_writing *w, size_t index, st_error *error)
{
    const st__edit_entry *entry = edited_entry(w, index);
    st_writer *writer = w->plan.writer;
    written_place place = {writer, index, 0};
    const st__edit_place to = {cast_bytes_write, &place, writer->sequential};
    st_cast_report report = {0};
    if (entry->array)
        return st__edit_blocks(w->edit, entry, packed_bytes_write, &place, error);
    ST_TRY(st__edit_cast(w->edit, entry, &to, &report, error));
    if (atomic_exchange(&w->untold, false))
        ST_TRY(st__writer_count_moved(writer, 0, error));
    return cast_tell(w, entry->tensor, &report, error);
}

/* -------------------------------------------------------------------------------------- copying */

static st_status copies_make_room(edit_writing *w, st_error *error)
{
    w->copies = st__alloc_zeroed(w->edit->context, w->plan.room, sizeof *w->copies);
    if (w->copies)
        return ST_OK;
    return st__error_locate(error,
                            st__fail_nomem(error, (uint64_t)w->plan.room * sizeof *w->copies),
                            w->edit->name, NULL);
}

/* Copies what was gathered of one file. */
static st_status copies_flush(edit_writing *w, const st__edit_source *source, st_error *error)
{
    size_t count = w->count;
    w->count = 0;
    if (count == 0)
        return ST_OK;
    return st_writer_copy_from(w->plan.writer, source->file, w->copies, count, error);
}

/* In the order of the new file, for a stream. */
static st_status in_order_write(edit_writing *w, st_error *error)
{
    const st__edit_source *source = NULL;
    for (size_t i = 0; i < w->plan.count; i++) {
        size_t index = w->plan.order[i];
        const st__edit_entry *entry = edited_entry(w, index);
        bool moves = st__edit_moves(entry);
        if (!moves || entry->source != source)
            ST_TRY(copies_flush(w, source, error));
        source = entry->source;
        if (moves)
            w->copies[w->count++] = (st_copy){.index = index, .tensor = entry->tensor};
        else
            ST_TRY(tensor_stream(w, index, error));
    }
    return copies_flush(w, source, error);
}

/* Sorts the copies by their file: counts those of each, then deals them out. */
static void copies_sort(edit_writing *w)
{
    const st_edit *edit = w->edit;
    size_t at = 0;
    for (size_t s = 0; s < edit->source_count; s++)
        edit->sources[s]->copies = 0;
    for (size_t i = 0; i < w->plan.count; i++)
        if (st__edit_moves(edited_entry(w, i)))
            edited_entry(w, i)->source->copies++;
    for (size_t s = 0; s < edit->source_count; s++) {
        size_t count = edit->sources[s]->copies;
        edit->sources[s]->copies = at;
        at += count;
    }
    for (size_t i = 0; i < w->plan.count; i++) {
        size_t index = w->plan.order[i];
        const st__edit_entry *entry = edited_entry(w, index);
        if (st__edit_moves(entry))
            w->copies[entry->source->copies++] = (st_copy){.index = index, .tensor = entry->tensor};
    }
}

/* Each file's copies first, then all else. `copies` of a source is where the next one's begin by now. */
static st_status anywhere_write(edit_writing *w, st_error *error)
{
    const st_edit *edit = w->edit;
    size_t from = 0;
    copies_sort(w);
    for (size_t s = 0; s < edit->source_count; s++) {
        const st__edit_source *source = edit->sources[s];
        if (source->copies > from)
            ST_TRY(st_writer_copy_from(w->plan.writer, source->file, w->copies + from,
                                       source->copies - from, error));
        from = source->copies;
    }
    for (size_t i = 0; i < w->plan.count; i++) {
        size_t index = w->plan.order[i];
        if (!st__edit_moves(edited_entry(w, index)))
            ST_TRY(tensor_stream(w, index, error));
    }
    return ST_OK;
}

/* --------------------------------------------------------------------------------------- all of it */

/* Of several threads that write, the caller's own tells. */
static bool callers_progress(void *ctx, uint64_t done, uint64_t total)
{
    edit_writing *w = ctx;
    const st_progress *progress = &w->edit->options.progress;
    if (st__thread_is_here(&w->caller))
        return progress->fn(progress->ctx, done, total);
    atomic_store(&w->untold, true);
    return true;
}

/* Nothing is made of a file of which an edit in place has left only some of the bytes; and one that is to be replaced is
 * the one that was opened. */
static st_status sources_check(const edit_writing *w, st_sink *sink, st_error *error)
{
    for (size_t s = 0; s < w->edit->source_count; s++) {
        const st_file *file = w->edit->sources[s]->file;
        ST_TRY(st__source_settled(file->source, error));
        ST_TRY(st__sink_made_of(sink, file->source, &file->identity, error));
    }
    return ST_OK;
}

static st_status new_file_write(edit_writing *w, st_sink *sink, st_error *error)
{
    w->caller = st__thread_here();
    if (w->plan.writer->progress.fn)
        w->plan.writer->progress = (st_progress){callers_progress, w};
    ST_TRY(copies_make_room(w, error));
    ST_TRY(sources_check(w, sink, error));
    ST_TRY(st_writer_begin(w->plan.writer, sink, error));
    ST_TRY(w->plan.writer->sequential ? in_order_write(w, error) : anywhere_write(w, error));
    return st_writer_finish(w->plan.writer, error);
}

st_status st_edit_write(st_edit *edit, st_sink *sink, st_edit_summary *out, st_error *error)
{
    edit_writing w = {.edit = edit};
    st_edit_summary summary;
    if (out) {
        ST_TRY(st__edit_lay_out(edit, error));
        st__edit_sum_up(edit, &summary);
    }
    ST_TRY(st__edit_plan_make(edit, &w.plan, error));
    st_status status = new_file_write(&w, sink, error);
    st__free(edit->context, w.copies, w.plan.room * sizeof *w.copies);
    st__edit_plan_release(edit, &w.plan);
    if (status != ST_OK || !out)
        return status;
    summary.overflowed = w.overflowed;
    summary.underflowed = w.underflowed;
    *out = summary;
    return ST_OK;
}
