/* SPDX-License-Identifier: Apache-2.0 */
/* Writing shards: all of them and the index beside the places that they are to take, by a list. Some of these may be
 * those of the files that the checkpoint itself lies in. */
#include "base/alloc.h"
#include "checkpoint/edit.h"
#include "checkpoint/exchange.h"
#include "checkpoint/path.h"
#include "checkpoint/split.h"
#include "file/file.h"

#include <errno.h>
#include <string.h>

typedef struct split_writing {
    const st_split *split;
    const char *folder; /* ends in a slash */
    bool own;           /* it is that of the checkpoint */
    st__exchange exchange;
    st__stale stale; /* what goes of an older split */
    st_copy *copies; /* room for those of the largest shard */
    size_t copies_room;
    uint64_t done; /* bytes of the shards that are written */
    st_error *error;
} split_writing;

/* ------------------------------------------------------------------------------ the folder */

typedef struct stray_search {
    const split_writing *w;
    st_status status;
} stray_search;

static int stray_note(void *ctx, const char *name)
{
    stray_search *search = ctx;
    const split_writing *w = search->w;
    if (!st__split_is_numbered(w->split, name))
        return 0;
    search->status =
        st__fail(w->error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                 "%s: %s is there, and beside one file without an index would count as "
                 "a part of it; remove it first, or write into another folder",
                 w->folder, st__quote(name, strlen(name)).text);
    return EEXIST;
}

/* One file has no index that would tell it from the shards of an older split. Who may not list the folder leaves
 * them to those who may. */
static st_status strays_refuse(const split_writing *w)
{
    stray_search search = {w, ST_OK};
    int failed = st__os_list(w->folder, stray_note, &search);
    if (search.status != ST_OK || !failed || failed == EACCES)
        return search.status;
    return st__fail_errno(w->error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed",
                          w->folder);
}

/* --------------------------------------------------------------------------------- a shard */

/* Adds tensor `at` of the split under the dtype that the writer knows it by. */
static st_status shard_tensor_add(const split_writing *w, st_writer *writer, size_t at,
                                  st_copy *copy)
{
    st_checkpoint_tensor found = st_split_tensor(w->split, at);
    st_tensor tensor = *found.tensor;
    if (tensor.dtype >= ST_DTYPE_UNKNOWN) {
        size_t len;
        const char *code = st_header_dtype_code(st_file_header(found.file), tensor.dtype, &len);
        ST_TRY(st_writer_add_dtype(writer, code, len, &tensor.dtype, w->error));
    }
    *copy = (st_copy){.tensor = found.tensor};
    return st_writer_add(writer, &tensor, &copy->index, w->error);
}

/* What is said of the whole goes into the index where there is one, and into the file otherwise. */
static st_status shard_metadata_add(const split_writing *w, st_writer *writer)
{
    const st_checkpoint *checkpoint = w->split->checkpoint;
    for (size_t i = 0; i < checkpoint->metadata_count; i++) {
        const st_metadata *entry = &checkpoint->metadata[i];
        if (w->split->count == 1 || st__split_is_of_shards(entry))
            ST_TRY(st_writer_add_metadata(writer, entry, w->error));
    }
    return ST_OK;
}

/* Copies the tensors, those that follow each other in one file together. */
static st_status shard_copy(const split_writing *w, st_writer *writer, const st_shard *shard)
{
    for (size_t i = 0, n; i < shard->count; i += n) {
        const st_file *file = st_split_tensor(w->split, shard->first + i).file;
        for (n = 1; i + n < shard->count; n++)
            if (st_split_tensor(w->split, shard->first + i + n).file != file)
                break;
        ST_TRY(st_writer_copy_from(writer, file, w->copies + i, n, w->error));
    }
    return ST_OK;
}

static st_status shard_save(const split_writing *w, st_writer *writer, const st_shard *shard,
                            st_sink *sink)
{
    for (size_t i = 0; i < shard->count; i++)
        ST_TRY(shard_tensor_add(w, writer, shard->first + i, &w->copies[i]));
    ST_TRY(shard_metadata_add(w, writer));
    ST_TRY(st_writer_begin(writer, sink, w->error));
    ST_TRY(shard_copy(w, writer, shard));
    return st_writer_finish(writer, w->error);
}

/* What a shard's writer tells, told of all shards. */
static bool shard_progress(void *ctx, uint64_t done, uint64_t total)
{
    const split_writing *w = ctx;
    (void)total;
    return w->split->progress.fn(w->split->progress.ctx, w->done + done,
                                 w->split->checkpoint->data_size);
}

static st_status shard_write(split_writing *w, const st_shard *shard)
{
    st_writer_options options = {.alignment = w->split->alignment, .context = w->split->context};
    st_writer *writer;
    st_sink *sink;
    if (w->split->progress.fn)
        options.progress = (st_progress){shard_progress, w};
    ST_TRY(st__exchange_sink_open(&w->exchange, shard->name, &sink, w->error));
    st_status status = st_writer_new(&options, &writer, w->error);
    if (status == ST_OK) {
        status = shard_save(w, writer, shard, sink);
        st_writer_free(writer);
    }
    if (status == ST_OK)
        status = st__exchange_put(&w->exchange, shard->name, sink, w->error);
    st_sink_release(sink);
    w->done += shard->size;
    return status;
}

/* ------------------------------------------------------------------------------- all of them */

/* One shard has no index: one that is there leads to other files, and readers would follow it. */
static bool index_goes(const split_writing *w)
{
    st__os_info info;
    return !w->split->index &&
           st__os_info_at(w->exchange.directory, w->split->index_name, false, &info) == 0;
}

/* What is left of an older split goes last, when nothing leads there any more. */
static st_status stale_plan(split_writing *w)
{
    ST_TRY(st__stale_find(w->split, w->folder, &w->stale, w->error));
    for (size_t i = 0; i < w->stale.count; i++)
        ST_TRY(
            st__exchange_plan(&w->exchange, w->stale.names[i].text, ST__EXCHANGE_GOES, w->error));
    return ST_OK;
}

static st_status split_plan(split_writing *w)
{
    const st_split *split = w->split;
    st__exchange *exchange = &w->exchange;
    for (size_t s = 0; s < split->count; s++)
        ST_TRY(st__exchange_plan(exchange, split->shards[s].name, ST__EXCHANGE_TAKES, w->error));
    /* Its name has to be free where that was asked for, be there an index or not. */
    uint32_t kind =
        split->index || (split->flags & ST_SINK_NEW) ? ST__EXCHANGE_TAKES : ST__EXCHANGE_GOES;
    if (split->index || index_goes(w))
        ST_TRY(st__exchange_plan(exchange, split->index_name, kind, w->error));
    if (split->clean)
        return stale_plan(w);
    return split->index ? ST_OK : strays_refuse(w);
}

static st_status shards_put(split_writing *w)
{
    const st_split *split = w->split;
    st__exchange *exchange = &w->exchange;
    for (size_t s = 0; s < split->count; s++)
        ST_TRY(shard_write(w, &split->shards[s]));
    if (split->index)
        ST_TRY(st__exchange_put_text(exchange, split->index_name, split->index, split->index_len,
                                     w->error));
    else if (index_goes(w))
        ST_TRY(st__exchange_put_going(exchange, split->index_name, w->error));
    for (size_t i = 0; i < w->stale.count; i++)
        ST_TRY(st__exchange_put_going(exchange, w->stale.names[i].text, w->error));
    return ST_OK;
}

/* What an edit before left is ended first, and then the checkpoint may be no more. */
static st_status start_check(split_writing *w)
{
    bool changed;
    ST_TRY(st__exchange_start(&w->exchange, &changed, w->error));
    if (w->own)
        return st__checkpoint_unchanged(w->split->checkpoint, w->exchange.directory, w->error);
    return changed ? st__checkpoint_unchanged(w->split->checkpoint, ST__OS_HERE, w->error) : ST_OK;
}

static st_status shards_exchange(split_writing *w)
{
    ST_TRY(start_check(w));
    ST_TRY(split_plan(w));
    ST_TRY(st__exchange_begin(&w->exchange, w->error));
    st_status status = shards_put(w);
    if (status == ST_OK)
        return st__exchange_finish(&w->exchange, w->error);
    st__exchange_give_up(&w->exchange);
    return status;
}

static st_status all_write(split_writing *w)
{
    const st_split *split = w->split;
    st__exchange *exchange = &w->exchange;
    bool durable = split->durability == ST_DURABLE_NAME;
    ST_TRY(st__folder_make(split->context, w->folder, durable, w->error));
    w->own = st__folder_same(split->checkpoint->folder, w->folder);
    exchange->context = split->context;
    exchange->options = (st_sink_options){.durability = split->durability, .flags = split->flags};
    st_status status = st__exchange_open(exchange, w->folder, split->index_name, w->error);
    if (status == ST_OK)
        status = shards_exchange(w);
    st__exchange_close(exchange);
    return status;
}

st_status st_split_write(const st_split *split, const char *folder, st_error *error)
{
    st_context *context = split->context;
    st_error said = {.status = ST_OK};
    split_writing w = {.split = split, .error = &said};
    char *path = NULL;
    for (size_t i = 0; i < split->count; i++)
        if (split->shards[i].count > w.copies_room)
            w.copies_room = split->shards[i].count;
    w.copies = st__alloc_zeroed(context, w.copies_room, sizeof *w.copies);
    st_status status =
        w.copies
            ? st__path_join(context, folder, "", &path, &said)
            : st__error_locate(&said,
                               st__fail_nomem(&said, (uint64_t)w.copies_room * sizeof *w.copies),
                               folder, NULL);
    w.folder = path;
    if (status == ST_OK)
        status = all_write(&w);
    st__stale_release(split, &w.stale);
    st__path_free(context, path);
    st__free(context, w.copies, w.copies_room * sizeof *w.copies);
    if (status != ST_OK && error)
        *error = said;
    return status;
}
