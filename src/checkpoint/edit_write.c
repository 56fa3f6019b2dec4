/* SPDX-License-Identifier: Apache-2.0 */
/* Writing what the edits of all files come to: every new file beside the place that it takes, the index behind them, and
 * then all of them into their places, by a list. */
#include "base/alloc.h"
#include "checkpoint/edit.h"
#include "checkpoint/exchange.h"
#include "checkpoint/path.h"
#include "file/file.h"
#include "io/sink.h"

#include <errno.h>
#include <string.h>

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

/* ------------------------------------------------------------------------------------ folders */

/* Whether a folder is that of the checkpoint. */
static bool folder_is_own(const st_checkpoint *checkpoint, const char *folder)
{
    st__os_info own, given;
    const char *path = checkpoint->folder[0] ? checkpoint->folder : ".";
    return st__os_info_at(ST__OS_HERE, path, true, &own) == 0 &&
           st__os_info_at(ST__OS_HERE, folder, true, &given) == 0 && own.device == given.device &&
           own.inode == given.inode;
}

/* The folders below the new one that shards lie in. */
static st_status subfolders_make(const edit_writing_all *w, char *path)
{
    bool durable = w->options.durability == ST_DURABLE_NAME;
    for (char *slash = strchr(path + strlen(w->folder), '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        st_status status = st__folder_make(w->edit->context, path, durable, w->error);
        *slash = '/';
        ST_TRY(status);
    }
    return ST_OK;
}

/* Nothing is written where a name is taken that has to be free. */
static st_status target_check(const edit_writing_all *w, const char *path)
{
    st__os_info info;
    if (!(w->options.flags & ST_SINK_NEW) || st__os_info_at(ST__OS_HERE, path, false, &info) != 0)
        return ST_OK;
    return st__fail_errno(w->error, ST_ERR_IO, EEXIST, ST_NO_OFFSET, "%s: cannot be written", path);
}

static st_status target_prepare(const edit_writing_all *w, const char *name)
{
    char *path;
    ST_TRY(st__path_join(w->edit->context, w->folder, name, &path, w->error));
    st_status status = target_check(w, path);
    if (status == ST_OK && w->elsewhere)
        status = subfolders_make(w, path);
    st__path_free(w->edit->context, path);
    return status;
}

static st_status targets_prepare(const edit_writing_all *w)
{
    const st_checkpoint *checkpoint = w->checkpoint;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (is_written(w, i))
            ST_TRY(target_prepare(w, checkpoint->files[i].name.text));
    return w->writes_index ? target_prepare(w, st__checkpoint_index_name(checkpoint)) : ST_OK;
}

/* ------------------------------------------------------------------------------------- a file */

static st_status place_open(const edit_writing_all *w, const char *name, st_sink **out)
{
    st_sink_options options = w->options;
    char *path;
    options.name = NULL;
    ST_TRY(st__path_join(w->edit->context, w->folder, name, &path, w->error));
    st_status status = st_sink_open(path, &options, out, w->error);
    if (status == ST_OK && !st__sink_set_aside(*out)) {
        st_sink_release(*out);
        status = st__fail(w->error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                          "%s: is no regular file, in whose place another could come", path);
    }
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(w->error, status, path, NULL);
    st__path_free(w->edit->context, path);
    return status;
}

/* Puts what a sink was finished with into the list. */
static st_status aside_put(edit_writing_all *w, const char *name, const st_sink *sink)
{
    const char *aside = st__sink_aside_name(sink);
    st__exchange_record record = {.name = {name, (uint32_t)strlen(name), 0},
                                  .aside = {aside, (uint32_t)strlen(aside), 0},
                                  .kind = ST__EXCHANGE_TAKES};
    return st__exchange_put(&w->exchange, &record, w->error);
}

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
    ST_TRY(place_open(w, name, &sink));
    st_status status = one_edit_write(w, file, sink);
    if (status == ST_OK)
        status = aside_put(w, name, sink);
    st_sink_release(sink);
    return status;
}

static st_status new_index_write(edit_writing_all *w)
{
    const char *name = st__checkpoint_index_name(w->checkpoint);
    st_sink *sink;
    ST_TRY(place_open(w, name, &sink));
    st_status status = st__index_text_write(w->index.text, w->index.len, sink, w->error);
    if (status == ST_OK)
        status = aside_put(w, name, sink);
    st_sink_release(sink);
    return status;
}

/* ------------------------------------------------------------------------------------ all files */

static st_status going_put(edit_writing_all *w)
{
    for (size_t i = 0; i < w->checkpoint->file_count && !w->elsewhere; i++) {
        const st__key *name = &w->checkpoint->files[i].name;
        st__exchange_record record = {.name = *name, .kind = ST__EXCHANGE_GOES};
        if (w->outcome.fates[i] == ST__FILE_GOES)
            ST_TRY(st__exchange_put(&w->exchange, &record, w->error));
    }
    return ST_OK;
}

static st_status exchange_fill(edit_writing_all *w)
{
    for (size_t i = 0; i < w->checkpoint->file_count; i++)
        if (is_written(w, i))
            ST_TRY(file_write(w, i));
    if (w->writes_index)
        ST_TRY(new_index_write(w));
    ST_TRY(going_put(w));
    return w->elsewhere ? ST_OK : st__checkpoint_unchanged(w->checkpoint, w->error);
}

static bool anything_to_do(const edit_writing_all *w)
{
    for (size_t i = 0; i < w->checkpoint->file_count; i++)
        if (is_written(w, i) || (w->outcome.fates[i] == ST__FILE_GOES && !w->elsewhere))
            return true;
    return w->writes_index;
}

/* What an edit before left is ended first, and then this one may be of what is no more. */
static st_status start_check(edit_writing_all *w)
{
    bool changed;
    ST_TRY(st__exchange_recover(&w->exchange, &changed, w->error));
    w->exchange.durable = w->options.durability != ST_DURABLE_NONE;
    return w->elsewhere ? ST_OK : st__checkpoint_unchanged(w->checkpoint, w->error);
}

/* A file by what it is, rather than by its name. */
typedef struct file_identity {
    st__key key; /* of the numbers */
    uint64_t numbers[2];
} file_identity;

static st_status identities_check(const edit_writing_all *w, file_identity *identities)
{
    const st_checkpoint *checkpoint = w->checkpoint;
    st__map map = {0};
    st__hash_key key;
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const st_source_info *info = &checkpoint->files[i].file->identity;
        file_identity *one = &identities[i];
        one->numbers[0] = info->device;
        one->numbers[1] = info->inode;
        one->key = (st__key){(const char *)one->numbers, sizeof one->numbers, 0};
    }
    st__os_random(&key, sizeof key);
    if (!st__map_init(&map, w->edit->context, identities, sizeof *identities,
                      checkpoint->file_count, &key))
        return st__checkpoint_nomem(checkpoint, checkpoint->file_count, w->error);
    size_t twice = st__map_insert_all(&map, checkpoint->file_count, false);
    st__map_release(&map, w->edit->context);
    if (twice == ST__MAP_NONE)
        return ST_OK;
    return st__fail(w->error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                    "%s: %s is another of its files too, under another name; write into another "
                    "folder",
                    checkpoint->name, checkpoint->files[twice].name.text);
}

/* One file that has two names in the checkpoint cannot become two. */
static st_status files_differ(const edit_writing_all *w)
{
    size_t count = w->checkpoint->file_count;
    if (w->elsewhere)
        return ST_OK;
    file_identity *identities = st__alloc_zeroed(w->edit->context, count, sizeof *identities);
    if (!identities)
        return st__checkpoint_nomem(w->checkpoint, count * sizeof *identities, w->error);
    st_status status = identities_check(w, identities);
    st__free(w->edit->context, identities, count * sizeof *identities);
    return status;
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
    ST_TRY(start_check(w));
    ST_TRY(index_prepare(w));
    if (!anything_to_do(w))
        return ST_OK;
    ST_TRY(files_differ(w));
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
    ST_TRY(st__checkpoint_unchanged(checkpoint, w->error));
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
    w->elsewhere = folder && !folder_is_own(checkpoint, folder);
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
