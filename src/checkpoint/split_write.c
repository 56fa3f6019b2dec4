/* SPDX-License-Identifier: Apache-2.0 */
/* Writing shards, one after the other.
 *
 * Where one of them takes the place of a file that the checkpoint itself lies in, a crash must not lose what that
 * file holds: it is replaced once every shard that takes tensors out of it, but itself, has been written. Where
 * two such shards would have to wait for each other there is no such order, and nothing is written. */
#include "checkpoint/split.h"
#include "base/alloc.h"
#include "checkpoint/index_text.h"
#include "checkpoint/path.h"
#include "file/file.h"
#include "io/os.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NO_FILE UINT32_MAX

/* What is known of a shard while the shards are written. */
typedef struct shard_state {
    uint32_t replaces; /* the file of the checkpoint whose place it takes; NO_FILE: none */
    uint32_t waits;    /* shards to be written before it */
    bool written;
} shard_state;

typedef struct split_writing {
    const st_split *split;
    const char *folder;
    shard_state *states;
    uint32_t *replaced_by; /* of each file of the checkpoint: a shard's number + 1; 0: none */
    uint32_t *seen;        /* of each file: the last shard + 1 that was found to take from it */
    st_copy *copies;       /* room for those of the largest shard */
    size_t copies_room;
    uint64_t done; /* bytes of the shards that are written */
    st_error *error;
} split_writing;

/* ------------------------------------------------------------------------------- the order */

/* Finds the file of the checkpoint that lies where a shard goes. */
static uint32_t replaced_find(const split_writing *w, const st__os_info *there)
{
    const st_checkpoint *checkpoint = w->split->checkpoint;
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const st_source_info *id = &checkpoint->files[i].file->identity;
        if (id->inode == there->inode && id->device == there->device)
            return (uint32_t)i;
    }
    return NO_FILE;
}

/* Looks at what is where the shards and the index go. */
static st_status targets_look(split_writing *w, const char *name, shard_state *state)
{
    st__os_info there;
    char *path;
    ST_TRY(st__path_join(w->split->context, w->folder, name, &path, w->error));
    int missing = st__os_info_at(ST__OS_HERE, path, true, &there);
    st_status status = ST_OK;
    if (!missing && (w->split->flags & ST_SINK_NEW))
        status = st__fail_errno(w->error, ST_ERR_IO, EEXIST, ST_NO_OFFSET, "%s: cannot be written",
                                path);
    if (state)
        state->replaces = missing ? NO_FILE : replaced_find(w, &there);
    st__path_free(w->split->context, path);
    return status;
}

/* Counts for each shard that replaces a file the others that take tensors out of it, or, of one that was written, no
 * more. */
static void takers_count(split_writing *w, size_t shard, bool waits)
{
    const st_split *split = w->split;
    const st_shard *of = &split->shards[shard];
    /* Each file once, though many of its tensors are taken: a mark that no other shard, and not the other round, makes. */
    uint32_t mark = (uint32_t)shard * 2 + (waits ? 1 : 2);
    for (size_t i = of->first; i < of->first + of->count; i++) {
        uint32_t file = split->checkpoint->entries[split->order[i]].file;
        uint32_t by = w->replaced_by[file];
        if (by == 0 || by - 1 == shard || w->seen[file] == mark)
            continue;
        w->seen[file] = mark;
        w->states[by - 1].waits += waits ? 1u : UINT32_MAX;
    }
}

static st_status order_find(split_writing *w)
{
    const st_split *split = w->split;
    for (size_t s = 0; s < split->count; s++) {
        shard_state *state = &w->states[s];
        ST_TRY(targets_look(w, split->shards[s].name, state));
        if (state->replaces != NO_FILE)
            w->replaced_by[state->replaces] = (uint32_t)s + 1;
    }
    for (size_t s = 0; s < split->count; s++)
        takers_count(w, s, true);
    return targets_look(w, split->index_name, NULL);
}

/* Gives the next shard to write; the number of shards: none can be. */
static size_t shard_next(const split_writing *w, size_t from)
{
    size_t count = w->split->count;
    for (size_t i = 0; i < count; i++) {
        size_t s = (from + i) % count;
        if (!w->states[s].written && w->states[s].waits == 0)
            return s;
    }
    return count;
}

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

/* Goes through the whole order without writing. */
static st_status order_check(split_writing *w)
{
    const st_split *split = w->split;
    size_t next = 0;
    for (size_t done = 0; done < split->count; done++, next++) {
        next = shard_next(w, next);
        if (next == split->count)
            return st__fail(
                w->error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                "%s: shards would replace files of %s that other shards are made of, and "
                "these would too; write into another folder",
                w->folder, split->checkpoint->name);
        w->states[next].written = true;
        takers_count(w, next, false);
    }
    for (size_t s = 0; s < split->count; s++) {
        w->states[s].written = false;
        takers_count(w, s, true);
    }
    return ST_OK;
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

static st_status target_open(const split_writing *w, const char *name, st_sink **out)
{
    st_sink_options options = {
        .durability = w->split->durability, .flags = w->split->flags, .context = w->split->context};
    char *path;
    ST_TRY(st__path_join(w->split->context, w->folder, name, &path, w->error));
    st_status status = st_sink_open(path, &options, out, w->error);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(w->error, status, path, NULL);
    st__path_free(w->split->context, path);
    return status;
}

static st_status shard_write(split_writing *w, const st_shard *shard)
{
    st_writer_options options = {.alignment = w->split->alignment, .context = w->split->context};
    st_writer *writer;
    st_sink *sink;
    if (w->split->progress.fn)
        options.progress = (st_progress){shard_progress, w};
    ST_TRY(target_open(w, shard->name, &sink));
    st_status status = st_writer_new(&options, &writer, w->error);
    if (status == ST_OK) {
        status = shard_save(w, writer, shard, sink);
        st_writer_free(writer);
    }
    st_sink_release(sink);
    w->done += shard->size;
    return status;
}

/* ------------------------------------------------------------------------------- the index */

static st_status index_write(const split_writing *w)
{
    const st_split *split = w->split;
    st_sink *sink;
    ST_TRY(target_open(w, split->index_name, &sink));
    st_status status = st__index_text_write(split->index, split->index_len, sink, w->error);
    st_sink_release(sink);
    return status;
}

/* One shard has no index: one that is there leads to other files, and readers would follow it. */
static st_status index_remove(const split_writing *w)
{
    char *path;
    ST_TRY(st__path_join(w->split->context, w->folder, w->split->index_name, &path, w->error));
    int failed = st__os_remove(ST__OS_HERE, path);
    st_status status = ST_OK;
    if (failed && failed != ENOENT)
        status = st__fail_errno(w->error, ST_ERR_IO, failed, ST_NO_OFFSET,
                                "%s: is out of date, and cannot be removed", path);
    st__path_free(w->split->context, path);
    return status;
}

static st_status all_write(split_writing *w)
{
    const st_split *split = w->split;
    size_t next = 0;
    bool durable = split->durability == ST_DURABLE_NAME;
    ST_TRY(st__folder_make(split->context, w->folder, durable, w->error));
    ST_TRY(order_find(w));
    ST_TRY(order_check(w));
    if (!split->index)
        ST_TRY(strays_refuse(w));
    for (size_t done = 0; done < split->count; done++, next++) {
        next = shard_next(w, next);
        ST_TRY(shard_write(w, &split->shards[next]));
        w->states[next].written = true;
        takers_count(w, next, false);
    }
    return split->index ? index_write(w) : index_remove(w);
}

st_status st_split_write(const st_split *split, const char *folder, st_error *error)
{
    st_context *context = split->context;
    size_t files = split->checkpoint->file_count;
    st_error said = {.status = ST_OK};
    split_writing w = {.split = split, .folder = folder, .error = &said};
    for (size_t i = 0; i < split->count; i++)
        if (split->shards[i].count > w.copies_room)
            w.copies_room = split->shards[i].count;
    w.states = st__alloc_zeroed(context, split->count, sizeof *w.states);
    w.replaced_by = st__alloc_zeroed(context, files, sizeof *w.replaced_by);
    w.seen = st__alloc_zeroed(context, files, sizeof *w.seen);
    w.copies = st__alloc_zeroed(context, w.copies_room, sizeof *w.copies);
    st_status status =
        w.states && w.replaced_by && w.seen && w.copies
            ? all_write(&w)
            : st__error_locate(&said,
                               st__fail_nomem(&said, (uint64_t)w.copies_room * sizeof *w.copies),
                               folder, NULL);
    st__free(context, w.states, split->count * sizeof *w.states);
    st__free(context, w.replaced_by, files * sizeof *w.replaced_by);
    st__free(context, w.seen, files * sizeof *w.seen);
    st__free(context, w.copies, w.copies_room * sizeof *w.copies);
    if (status != ST_OK && error)
        *error = said;
    return status;
}
