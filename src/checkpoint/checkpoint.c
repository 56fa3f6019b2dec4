/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a checkpoint, and finding its tensors. */
#include "checkpoint/checkpoint.h"
#include "checkpoint/path.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/room.h"
#include "format/order.h"
#include "io/os.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---------------------------------------------------------------------------------- memory */

st_status st__checkpoint_nomem(const st_checkpoint *checkpoint, uint64_t size, st_error *error)
{
    return st__error_locate(error, st__fail_nomem(error, size), checkpoint->name, NULL);
}

void st_checkpoint_close(st_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    st_context *context = checkpoint->context;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        st_file_close(checkpoint->files[i].file);
    st__map_release(&checkpoint->names, context);
    st__free(context, checkpoint->files, checkpoint->file_room * sizeof *checkpoint->files);
    st__free(context, checkpoint->entries, checkpoint->room * sizeof *checkpoint->entries);
    st__free(context, checkpoint->metadata,
             checkpoint->metadata_room * sizeof *checkpoint->metadata);
    st__arena_release(&checkpoint->texts);
    st__free(context, checkpoint, sizeof *checkpoint);
    st_context_release(context);
}

/* ----------------------------------------------------------------------------------- files */

st_status st__checkpoint_file_add(st_checkpoint *checkpoint, const char *name, size_t len,
                                  st_error *error)
{
    void *files = checkpoint->files;
    size_t wanted = len;
    bool fits = st__room_make(checkpoint->context, &files, sizeof *checkpoint->files,
                              checkpoint->file_count, &checkpoint->file_room, &wanted);
    checkpoint->files = files;
    const char *text = fits ? st__arena_text(&checkpoint->texts, name, len) : NULL;
    if (!text)
        return st__checkpoint_nomem(checkpoint, wanted, error);
    checkpoint->files[checkpoint->file_count++] =
        (st__checkpoint_file){.name = {.text = text, .len = (uint32_t)len}};
    return ST_OK;
}

/* Opens what is called `name` in the folder of the checkpoint. */
static st_status shard_open(const st_checkpoint *checkpoint, const char *name,
                            const st_open_options *options, st_file **out, st_error *error)
{
    char *path;
    ST_TRY(st__path_join(checkpoint->context, checkpoint->folder, name, &path, error));
    st_status status = st_file_open(path, options, out, error);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(error, status, path, NULL);
    st__path_free(checkpoint->context, path);
    return status;
}

/* Says which index wants a file that is not there. */
static st_status missing_tell(const st_checkpoint *checkpoint, st_status status, st_error *error)
{
    if (status != ST_ERR_IO || !error || error->sys_errno != ENOENT || !checkpoint->index)
        return status;
    char said[sizeof error->message];
    memcpy(said, error->message, sizeof said);
    (void)st__fail(error, status, error->offset, "%s; %s names it", said, checkpoint->index);
    error->sys_errno = ENOENT;
    return status;
}

static st_status files_open(st_checkpoint *checkpoint, const st_open_options *options,
                            st_error *error)
{
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        st__checkpoint_file *file = &checkpoint->files[i];
        st_status status = shard_open(checkpoint, file->name.text, options, &file->file, error);
        if (status != ST_OK)
            return missing_tell(checkpoint, status, error);
    }
    return ST_OK;
}

/* --------------------------------------------------------------------------------- tensors */

/* Memory for so many, and a map of their names. */
static st_status entries_reserve(st_checkpoint *checkpoint, size_t count, st_error *error)
{
    checkpoint->entries = st__alloc_zeroed(checkpoint->context, count, sizeof *checkpoint->entries);
    if (!checkpoint->entries)
        return st__checkpoint_nomem(checkpoint, (uint64_t)count * sizeof *checkpoint->entries,
                                    error);
    checkpoint->room = count;
    return ST_OK;
}

st_status st__checkpoint_size_add(st_checkpoint *checkpoint, uint64_t size,
                                  const st__index_judge *judge)
{
    if (checkpoint->data_size == UINT64_MAX ||
        st__add_u64(checkpoint->data_size, size, &checkpoint->data_size))
        return ST_OK;
    checkpoint->data_size = UINT64_MAX;
    return st__index_deviate(judge, ST__INDEX_RULE_OVERFLOW,
                             &(st__index_place){.offset = ST_NO_OFFSET},
                             "all tensors together have more bytes than 64 bits count");
}

static st_status tensor_take(st_checkpoint *checkpoint, const st_tensor *tensor, size_t file,
                             const st__index_judge *judge)
{
    checkpoint->entries[checkpoint->count++] =
        (st__checkpoint_entry){.name = {.text = tensor->name, .len = tensor->name_len},
                               .tensor = tensor,
                               .file = (uint32_t)file};
    return st__checkpoint_size_add(checkpoint, st_tensor_size(tensor), judge);
}

st_status st__index_tensor_miss(const st_checkpoint *checkpoint, const st__index_entry *entry,
                                const st__index_judge *judge)
{
    const st__key *shard = &checkpoint->files[entry->file].name;
    return st__index_deviate(
        judge, ST__INDEX_RULE_TENSOR_MISSING,
        &(st__index_place){
            .offset = entry->offset, .name = entry->tensor.text, .name_len = entry->tensor.len},
        "is not in %s, where the index puts it", st__quote(shard->text, shard->len).text);
}

st__index_entry *st__index_find(const st__index *index, const st_tensor *tensor, size_t file)
{
    size_t found = st__map_find(&index->names, tensor->name, tensor->name_len);
    if (found == ST__MAP_NONE || index->entries[found].file != file)
        return NULL;
    return &index->entries[found];
}

/* The tensors that the index names, in the files' order. */
static st_status named_take(st_checkpoint *checkpoint, const st__index *index,
                            const st__index_judge *judge)
{
    ST_TRY(entries_reserve(checkpoint, index->count, judge->error));
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const st_file *file = checkpoint->files[i].file;
        for (size_t t = 0; t < st_file_count(file); t++) {
            const st_tensor *tensor = st_file_at(file, t);
            st__index_entry *entry = st__index_find(index, tensor, i);
            if (!entry)
                continue;
            entry->found = true;
            ST_TRY(tensor_take(checkpoint, tensor, i, judge));
        }
    }
    for (size_t i = 0; i < index->count && checkpoint->count < index->count; i++)
        if (!index->entries[i].found)
            return st__index_tensor_miss(checkpoint, &index->entries[i], judge);
    return ST_OK;
}

static ST__COLD st_status name_again(const st_checkpoint *checkpoint, size_t first, size_t again,
                                     const st__index_judge *judge)
{
    const st__checkpoint_entry *entry = &checkpoint->entries[again];
    const st__key *one = &checkpoint->files[checkpoint->entries[first].file].name;
    const st__key *other = &checkpoint->files[entry->file].name;
    return st__index_deviate(
        judge, ST__INDEX_RULE_NAME_DUPLICATE,
        &(st__index_place){
            .offset = ST_NO_OFFSET, .name = entry->name.text, .name_len = entry->name.len},
        "stands in %s and in %s; open the one that is meant, or an index",
        st__quote(one->text, one->len).text, st__quote(other->text, other->len).text);
}

static st_status tensor_names_map(st_checkpoint *checkpoint, const st__index_judge *judge)
{
    st__hash_key key;
    st__os_random(&key, sizeof key);
    if (!st__map_init(&checkpoint->names, checkpoint->context, checkpoint->entries,
                      sizeof *checkpoint->entries, checkpoint->count, &key))
        return st__checkpoint_nomem(checkpoint, (uint64_t)checkpoint->count * sizeof(uint32_t),
                                    judge->error);
    size_t twice = st__map_insert_all(&checkpoint->names, checkpoint->count, false);
    for (size_t i = twice; twice != ST__MAP_NONE && i < checkpoint->count; i++) {
        const st__key *name = &checkpoint->entries[i].name;
        size_t first = st__map_insert(&checkpoint->names, i, st__hash(&key, name->text, name->len));
        if (first != ST__MAP_NONE)
            ST_TRY(name_again(checkpoint, first, i, judge));
    }
    return ST_OK;
}

st_status st__checkpoint_take_all(st_checkpoint *checkpoint, const st__index_judge *judge)
{
    size_t count = 0;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        if (checkpoint->files[i].file)
            count += st_file_count(checkpoint->files[i].file);
    ST_TRY(entries_reserve(checkpoint, count, judge->error));
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const st_file *file = checkpoint->files[i].file;
        for (size_t t = 0; file && t < st_file_count(file); t++)
            ST_TRY(tensor_take(checkpoint, st_file_at(file, t), i, judge));
    }
    return tensor_names_map(checkpoint, judge);
}

/* ----------------------------------------------------------------------------------- index */

static st_status index_follow(st_checkpoint *checkpoint, st__index *index,
                              const st_open_options *options, const st__index_judge *judge)
{
    st_error *error = judge->error;
    ST_TRY(st__index_files_take(checkpoint, index, error));
    ST_TRY(files_open(checkpoint, options, error));
    ST_TRY(named_take(checkpoint, index, judge));
    ST_TRY(tensor_names_map(checkpoint, judge));
    return st__checkpoint_metadata_make(checkpoint, index, error);
}

static st_status index_open(st_checkpoint *checkpoint, const char *path,
                            const st_open_options *options, st_error *error)
{
    st_memory text = {0};
    st__index index = {.context = checkpoint->context, .kept = &checkpoint->texts};
    const st__index_judge judge = {.name = path, .error = error};
    checkpoint->index = path;
    ST_TRY(st__index_text_read(checkpoint, path, options, &text, error));
    st_status status = st__index_parse(&index, text.data, text.size, &judge);
    if (status == ST_OK)
        status = index_follow(checkpoint, &index, options, &judge);
    st__index_release(&index);
    st__free(checkpoint->context, text.data, text.size);
    return status;
}

/* --------------------------------------------------------------------------------- opening */

/* Opens all files, of which no index tells. */
static st_status every_open(st_checkpoint *checkpoint, const st_open_options *options,
                            st_error *error)
{
    const st__index_judge judge = {.name = checkpoint->name, .error = error};
    ST_TRY(files_open(checkpoint, options, error));
    ST_TRY(st__checkpoint_take_all(checkpoint, &judge));
    return st__checkpoint_metadata_make(checkpoint, NULL, error);
}

/* Keeps the path of the one index that a folder has. */
static st_status index_choose(st_checkpoint *checkpoint, const st__folder *folder,
                              const char **index, st_error *error)
{
    const st__index_judge judge = {.name = checkpoint->name, .error = error};
    char *path;
    ST_TRY(st__folder_judge(folder, &judge));
    ST_TRY(st__path_join(checkpoint->context, checkpoint->folder, folder->indices[0].text, &path,
                         error));
    size_t len = strlen(path);
    *index = st__arena_text(&checkpoint->texts, path, len);
    st__path_free(checkpoint->context, path);
    return *index ? ST_OK : st__checkpoint_nomem(checkpoint, len, error);
}

static st_status folder_open(st_checkpoint *checkpoint, const st_open_options *options,
                             st_error *error)
{
    st__folder folder = {0};
    const char *index = NULL;
    st_status status = st__folder_look(checkpoint, &folder, error);
    if (status == ST_OK && folder.count)
        status = index_choose(checkpoint, &folder, &index, error);
    st__folder_release(checkpoint, &folder);
    ST_TRY(status);
    return index ? index_open(checkpoint, index, options, error)
                 : every_open(checkpoint, options, error);
}

static st_status checkpoint_fill(st_checkpoint *checkpoint, const st_open_options *options,
                                 const char *shown, st_error *error)
{
    st__checkpoint_kind kind;
    st_open_options one = *options;
    ST_TRY(st__checkpoint_look(checkpoint, options, &kind, error));
    if (kind == ST__OF_FOLDER)
        return folder_open(checkpoint, options, error);
    if (kind == ST__OF_INDEX)
        return index_open(checkpoint, checkpoint->name, options, error);
    one.name = shown;
    return every_open(checkpoint, &one, error);
}

st_status st__checkpoint_new(st_context *context, const char *path, st_checkpoint **out,
                             st_error *error)
{
    st_checkpoint *checkpoint = st__alloc_zeroed(context, 1, sizeof *checkpoint);
    if (!checkpoint)
        return st__fail_nomem(error, sizeof *checkpoint);
    checkpoint->texts.context = context;
    checkpoint->name = st__arena_text(&checkpoint->texts, path, strlen(path));
    if (!checkpoint->name) {
        st__free(context, checkpoint, sizeof *checkpoint);
        return st__fail_nomem(error, strlen(path));
    }
    checkpoint->context = context;
    *out = checkpoint;
    return ST_OK;
}

st_status st_checkpoint_open(const char *path, const st_open_options *options, st_checkpoint **out,
                             st_error *error)
{
    st_open_options of_files = options ? *options : (st_open_options){.flags = 0};
    st_checkpoint *checkpoint = NULL;
    ST_TRY(st__options_check(options, error));
    st_context *context = st_context_retain(of_files.context);
    if (!context)
        ST_TRY(st_context_new(NULL, &context, error));
    of_files.context = context;
    of_files.name = NULL;
    st_status status = st__checkpoint_new(context, path, &checkpoint, error);
    if (status != ST_OK) {
        st_context_release(context);
        return status;
    }
    status = checkpoint_fill(checkpoint, &of_files, options ? options->name : NULL, error);
    if (status == ST_OK)
        *out = checkpoint;
    else
        st_checkpoint_close(checkpoint);
    return status;
}

/* --------------------------------------------------------------------------------- getters */

const char *st_checkpoint_name(const st_checkpoint *checkpoint)
{
    return checkpoint->name;
}

const char *st_checkpoint_index(const st_checkpoint *checkpoint)
{
    return checkpoint->index;
}

size_t st_checkpoint_file_count(const st_checkpoint *checkpoint)
{
    return checkpoint->file_count;
}

const st_file *st_checkpoint_file(const st_checkpoint *checkpoint, size_t index)
{
    return checkpoint->files[index].file;
}

const char *st_checkpoint_file_name(const st_checkpoint *checkpoint, size_t index)
{
    return checkpoint->files[index].name.text;
}

size_t st_checkpoint_count(const st_checkpoint *checkpoint)
{
    return checkpoint->count;
}

st_checkpoint_tensor st_checkpoint_at(const st_checkpoint *checkpoint, size_t index)
{
    const st__checkpoint_entry *entry = &checkpoint->entries[index];
    return (st_checkpoint_tensor){.tensor = entry->tensor,
                                  .file = checkpoint->files[entry->file].file,
                                  .file_index = entry->file};
}

bool st_checkpoint_find(const st_checkpoint *checkpoint, const char *name, size_t len,
                        st_checkpoint_tensor *out)
{
    size_t found = st__map_find(&checkpoint->names, name, len);
    if (found == ST__MAP_NONE)
        return false;
    *out = st_checkpoint_at(checkpoint, found);
    return true;
}

uint64_t st_checkpoint_data_size(const st_checkpoint *checkpoint)
{
    return checkpoint->data_size;
}
