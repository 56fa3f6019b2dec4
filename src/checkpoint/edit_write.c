/* SPDX-License-Identifier: Apache-2.0 */
/* Writing what the edits of all files come to: every new file beside the place that it takes, the index behind them, and
 * then all of them into their places, by a list. */
#include "checkpoint/edit.h"
#include "checkpoint/exchange.h"
#include "checkpoint/path.h"
#include "file/file.h"

typedef struct edit_writing_all {
    st_checkpoint_edit *edit;
    const st_checkpoint *checkpoint;
    const char *folder; /* ends in a slash, or is empty */
    bool elsewhere;     /* in another folder than the checkpoint's: all files are written */
    st_sink_options options;
    st__outcome outcome;
    st__index_text index;
    bool writes_index;
    st_edit_summary summary;
    st__exchange exchange;
    st_error *error;
} edit_writing_all;

static bool is_written(const edit_writing_all *w, size_t file)
{
    unsigned char fate = w->outcome.fates[file];
    return fate == ST__FILE_CHANGES || (fate == ST__FILE_STAYS && w->elsewhere);
}

/* Into another folder, what has no tensor left is not written. */
static bool goes(const edit_writing_all *w, size_t file)
{
    return w->outcome.fates[file] == ST__FILE_GOES && !w->elsewhere;
}

/* Each place, before anything is written. */
static st_status targets_prepare(edit_writing_all *w)
{
    const st_checkpoint *checkpoint = w->checkpoint;
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        uint32_t kind = is_written(w, i) ? ST__EXCHANGE_TAKES
                        : goes(w, i)     ? ST__EXCHANGE_GOES
                                         : ST__EXCHANGE_STAYS;
        if (kind != ST__EXCHANGE_STAYS || !w->elsewhere)
            ST_TRY(st__exchange_plan(&w->exchange, checkpoint->files[i].name.text, kind, w->error));
    }
    return w->writes_index ? st__exchange_plan(&w->exchange, st__checkpoint_index_name(checkpoint),
                                               ST__EXCHANGE_TAKES, w->error)
                           : ST_OK;
}

/* ------------------------------------------------------------------------------------- a file */

static st_status one_edit_write(edit_writing_all *w, size_t file, st_sink *sink)
{
    st_edit_summary one;
    st_status status = st_edit_write(w->edit->edits[file], sink, &one, w->error);
    w->edit->done += w->edit->edits[file]->plan.writer->data_size;
    if (status != ST_OK)
        return status;
    w->summary.overflowed += one.overflowed;
    w->summary.underflowed += one.underflowed;
    return ST_OK;
}

static st_status file_write(edit_writing_all *w, size_t file)
{
    const char *name = w->checkpoint->files[file].name.text;
    st_sink *sink;
    ST_TRY(st__exchange_sink_open(&w->exchange, name, &sink, w->error));
    st_status status = one_edit_write(w, file, sink);
    if (status == ST_OK)
        status = st__exchange_put(&w->exchange, name, sink, w->error);
    st_sink_release(sink);
    return status;
}

/* ------------------------------------------------------------------------------------ all files */

/* What is open is still what lies in the folder, which may no longer be found by its path. */
static st_status own_unchanged(const edit_writing_all *w)
{
    return w->elsewhere ? ST_OK
                        : st__checkpoint_unchanged(w->checkpoint, w->exchange.directory, w->error);
}

static st_status exchange_fill(edit_writing_all *w)
{
    const st_checkpoint *checkpoint = w->checkpoint;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (is_written(w, i))
            ST_TRY(file_write(w, i));
    if (w->writes_index)
        ST_TRY(st__exchange_put_text(&w->exchange, st__checkpoint_index_name(checkpoint),
                                     w->index.text, w->index.len, w->error));
    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (goes(w, i))
            ST_TRY(st__exchange_put_going(&w->exchange, checkpoint->files[i].name.text, w->error));
    return own_unchanged(w);
}

static bool anything_to_do(const edit_writing_all *w)
{
    for (size_t i = 0; i < w->checkpoint->file_count; i++)
        if (is_written(w, i) || goes(w, i))
            return true;
    return w->writes_index;
}

static st_status index_prepare(edit_writing_all *w)
{
    bool same;
    if (!w->checkpoint->index)
        return ST_OK;
    ST_TRY(st__outcome_index(&w->outcome, &w->index, &same, w->error));
    w->writes_index = w->elsewhere || !same;
    return ST_OK;
}

static st_status exchange_make(edit_writing_all *w)
{
    bool changed;
    /* What an edit before left is ended first, and then this one may be of what is no more. */
    ST_TRY(st__exchange_start(&w->exchange, &changed, w->error));
    ST_TRY(own_unchanged(w));
    ST_TRY(index_prepare(w));
    if (!anything_to_do(w))
        return ST_OK;
    ST_TRY(targets_prepare(w));
    ST_TRY(st__exchange_begin(&w->exchange, w->error));
    st_status status = exchange_fill(w);
    if (status == ST_OK)
        return st__exchange_finish(&w->exchange, w->error);
    st__exchange_give_up(&w->exchange);
    return status;
}

static st_status folder_write(edit_writing_all *w)
{
    const st_checkpoint *checkpoint = w->checkpoint;
    bool durable = w->options.durability == ST_DURABLE_NAME;
    if (w->elsewhere)
        ST_TRY(st__folder_make(w->edit->context, w->folder, durable, w->error));
    w->exchange.context = w->edit->context;
    w->exchange.options = w->options;
    st_status status =
        st__exchange_open(&w->exchange, w->folder, st__checkpoint_index_name(checkpoint), w->error);
    if (status == ST_OK)
        status = exchange_make(w);
    st__exchange_close(&w->exchange);
    return status;
}

/* One file by itself needs no list: its sink has it all or nothing. */
static st_status lone_file_write(edit_writing_all *w)
{
    const st_checkpoint *checkpoint = w->checkpoint;
    st_sink_options options = w->options;
    st_sink *sink;
    options.name = NULL;
    ST_TRY(st__checkpoint_unchanged(checkpoint, ST__OS_HERE, w->error));
    if (!is_written(w, 0))
        return ST_OK;
    ST_TRY(st_sink_open(checkpoint->name, &options, &sink, w->error));
    st_status status = one_edit_write(w, 0, sink);
    st_sink_release(sink);
    return status;
}

static st_status all_edits_write(edit_writing_all *w, const char *folder)
{
    const st_checkpoint *checkpoint = w->checkpoint;
    char *path = NULL;
    ST_TRY(st__outcome_make(w->edit, &w->outcome, w->error));
    st__outcome_sum_up(w->edit, &w->outcome, &w->summary);
    w->elsewhere = folder && !st__folder_same(checkpoint->folder, folder);
    w->edit->done = w->edit->total = 0;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (is_written(w, i))
            w->edit->total += w->edit->edits[i]->plan.writer->data_size;
    if (!w->elsewhere && st__checkpoint_is_file(checkpoint))
        return lone_file_write(w);
    w->folder = checkpoint->folder;
    if (w->elsewhere)
        ST_TRY(st__path_join(w->edit->context, folder, "", &path, w->error));
    w->folder = path ? path : checkpoint->folder;
    st_status status = folder_write(w);
    st__path_free(w->edit->context, path);
    return status;
}

st_status st_checkpoint_edit_write(st_checkpoint_edit *edit, const char *folder,
                                   const st_sink_options *options, st_edit_summary *out,
                                   st_error *error)
{
    st_error said = {.status = ST_OK};
    edit_writing_all w = {.edit = edit, .checkpoint = edit->checkpoint, .error = &said};
    ST_TRY(st__sink_options_check(options, error));
    if (options)
        w.options = *options;
    if (!w.options.context)
        w.options.context = edit->context;
    st_status status = all_edits_write(&w, folder);
    edit->done = edit->total = 0;
    st__index_text_release(&w.index);
    st__outcome_release(&w.outcome);
    if (status != ST_OK && error)
        *error = said;
    if (status == ST_OK && out)
        *out = w.summary;
    return status;
}
