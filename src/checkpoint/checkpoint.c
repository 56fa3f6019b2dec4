/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a checkpoint, and finding its tensors. */
#include "checkpoint/checkpoint.h"
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
    size_t folder_len = strlen(checkpoint->folder), name_len = strlen(name), size;
    if (!st__add_size(folder_len, name_len + 1, &size))
        return st__checkpoint_nomem(checkpoint, UINT64_MAX, error);
    char *path = st__alloc(checkpoint->context, size);
    if (!path)
        return st__checkpoint_nomem(checkpoint, size, error);
    memcpy(path, checkpoint->folder, folder_len);
    memcpy(path + folder_len, name, name_len + 1);
    st_status status = st_file_open(path, options, out, error);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(error, status, path, NULL);
    st__free(checkpoint->context, path, size);
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

static st_status tensor_take(st_checkpoint *checkpoint, const st_tensor *tensor, size_t file,
                             st_error *error)
{
    checkpoint->entries[checkpoint->count++] =
        (st__checkpoint_entry){.name = {.text = tensor->name, .len = tensor->name_len},
                               .tensor = tensor,
                               .file = (uint32_t)file};
    if (st__add_u64(checkpoint->data_size, st_tensor_size(tensor), &checkpoint->data_size))
        return ST_OK;
    return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                    "%s: all tensors together have more bytes than 64 bits count",
                    checkpoint->name);
}

/* All tensors of all files. */
static st_status all_take(st_checkpoint *checkpoint, st_error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < checkpoint->file_count; i++)
        count += st_file_count(checkpoint->files[i].file);
    ST_TRY(entries_reserve(checkpoint, count, error));
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const st_file *file = checkpoint->files[i].file;
        for (size_t t = 0; t < st_file_count(file); t++)
            ST_TRY(tensor_take(checkpoint, st_file_at(file, t), i, error));
    }
    return ST_OK;
}

static ST__COLD st_status lacking(const st_checkpoint *checkpoint, const st__index_entry *entry,
                                  st_error *error)
{
    return st__fail(error, ST_ERR_SHARD_TENSOR, entry->offset,
                    "%s: tensor %s: %s%s does not hold it, at byte %" PRIu64, checkpoint->index,
                    st__quote(entry->tensor.text, entry->tensor.len).text, checkpoint->folder,
                    checkpoint->files[entry->file].name.text, entry->offset);
}

/* The tensors that the index names, in the files' order. */
static st_status named_take(st_checkpoint *checkpoint, st__index *index, st_error *error)
{
    ST_TRY(entries_reserve(checkpoint, index->count, error));
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        const st_file *file = checkpoint->files[i].file;
        for (size_t t = 0; t < st_file_count(file); t++) {
            const st_tensor *tensor = st_file_at(file, t);
            size_t found = st__map_find(&index->names, tensor->name, tensor->name_len);
            if (found == ST__MAP_NONE || index->entries[found].file != i)
                continue;
            index->entries[found].found = true;
            ST_TRY(tensor_take(checkpoint, tensor, i, error));
        }
    }
    for (size_t i = 0; i < index->count && checkpoint->count < index->count; i++)
        if (!index->entries[i].found)
            return lacking(checkpoint, &index->entries[i], error);
    return ST_OK;
}

static st_status tensor_names_map(st_checkpoint *checkpoint, st_error *error)
{
    st__hash_key key;
    st__os_random(&key, sizeof key);
    if (!st__map_init(&checkpoint->names, checkpoint->context, checkpoint->entries,
                      sizeof *checkpoint->entries, checkpoint->count, &key))
        return st__checkpoint_nomem(checkpoint, (uint64_t)checkpoint->count * sizeof(uint32_t),
                                    error);
    size_t twice = st__map_insert_all(&checkpoint->names, checkpoint->count, false);
    if (twice == ST__MAP_NONE)
        return ST_OK;
    const st__checkpoint_entry *again = &checkpoint->entries[twice];
    size_t first = st__map_find(&checkpoint->names, again->name.text, again->name.len);
    return st__fail(
        error, ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
        "%s: tensor %s: stands in %s and in %s; open the one that is meant, or an index",
        checkpoint->name, st__quote(again->name.text, again->name.len).text,
        checkpoint->files[checkpoint->entries[first].file].name.text,
        checkpoint->files[again->file].name.text);
}

/* ----------------------------------------------------------------------------------- index */

/* Takes the index's files over in the order of their names, and tells its entries their new numbers. */
static st_status index_files_take(st_checkpoint *checkpoint, st__index *index, st_error *error)
{
    st_context *context = checkpoint->context;
    size_t count = index->file_count;
    uint32_t *order = st__alloc_zeroed(context, count, 2 * sizeof *order);
    if (!order)
        return st__checkpoint_nomem(checkpoint, (uint64_t)count * 2 * sizeof *order, error);
    uint32_t *places = order + count;
    st_status status =
        st__order_by_text(context, index->files, sizeof *index->files, count, order, error);
    for (size_t i = 0; i < count && status == ST_OK; i++) {
        const st__key *name = &index->files[order[i]].name;
        places[order[i]] = (uint32_t)i;
        status = st__checkpoint_file_add(checkpoint, name->text, name->len, error);
    }
    for (size_t i = 0; i < index->count && status == ST_OK; i++)
        index->entries[i].file = places[index->entries[i].file];
    st__free(context, order, count * 2 * sizeof *order);
    return status;
}

static st_status index_follow(st_checkpoint *checkpoint, st__index *index,
                              const st_open_options *options, st_error *error)
{
    ST_TRY(index_files_take(checkpoint, index, error));
    ST_TRY(files_open(checkpoint, options, error));
    ST_TRY(named_take(checkpoint, index, error));
    return st__checkpoint_metadata_make(checkpoint, index, error);
}

static st_status index_text_use(st_checkpoint *checkpoint, const char *text, size_t len,
                                const st_open_options *options, st_error *error)
{
    st__index index = {.context = checkpoint->context, .kept = &checkpoint->texts};
    st_status status = st__index_parse(&index, text, len, checkpoint->index, error);
    if (status == ST_OK)
        status = index_follow(checkpoint, &index, options, error);
    st__index_release(&index);
    return status;
}

/* Reads all of an index, which may be as long as a header. */
static st_status index_source_use(st_checkpoint *checkpoint, st_source *source,
                                  const st_open_options *options, st_error *error)
{
    st_source_info info;
    size_t size;
    uint64_t most = options->max_header_size ? options->max_header_size : ST_HEADER_MAX;
    ST_TRY(st_source_query(source, &info, error));
    if (info.size > most || !st__u64_to_size(info.size, &size))
        return st__fail(error, ST_ERR_JSON, most,
                        "%s: %" PRIu64 " bytes are too many for an index; at most %" PRIu64
                        " are read",
                        checkpoint->index, info.size, most);
    char *text = st__alloc(checkpoint->context, size);
    if (!text)
        return st__checkpoint_nomem(checkpoint, size, error);
    st_status status = st_source_read(source, 0, text, size, error);
    checkpoint->index_identity = info;
    checkpoint->index_identity.etag = NULL;
    if (status == ST_OK)
        status = index_text_use(checkpoint, text, size, options, error);
    st__free(checkpoint->context, text, size);
    return status;
}

static st_status index_open(st_checkpoint *checkpoint, const char *path,
                            const st_open_options *options, st_error *error)
{
    st_source *source;
    checkpoint->index = path;
    ST_TRY(st_source_open(path, options, &source, error));
    st_status status = index_source_use(checkpoint, source, options, error);
    st_source_release(source);
    return status;
}

/* --------------------------------------------------------------------------------- opening */

/* Keeps what comes before the last name of a path. */
static st_status folder_keep(st_checkpoint *checkpoint, const char *path, st_error *error)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    checkpoint->folder = st__arena_text(&checkpoint->texts, path, len);
    return checkpoint->folder ? ST_OK : st__checkpoint_nomem(checkpoint, len, error);
}

static st_status folder_open(st_checkpoint *checkpoint, const st_open_options *options,
                             st_error *error)
{
    size_t len = strlen(checkpoint->name);
    const char *index;
    bool ends = len > 0 && checkpoint->name[len - 1] == '/';
    char *folder = st__arena_take(&checkpoint->texts, len + 2);
    if (!folder)
        return st__checkpoint_nomem(checkpoint, len + 2, error);
    memcpy(folder, checkpoint->name, len);
    memcpy(folder + len, ends ? "" : "/", ends ? 1 : 2);
    checkpoint->folder = folder;
    ST_TRY(st__folder_look(checkpoint, &index, error));
    if (index)
        return index_open(checkpoint, index, options, error);
    ST_TRY(files_open(checkpoint, options, error));
    ST_TRY(all_take(checkpoint, error));
    return st__checkpoint_metadata_make(checkpoint, NULL, error);
}

/* Whether a file is text that begins as an index does. A file of tensors has at least one NUL among its first 8 bytes,
 * which count the header's. Where it cannot be read it is none, and opening it tells why. */
static bool looks_like_json(const char *path, const st_open_options *options)
{
    unsigned char head[8];
    st_source_info info;
    st_source *source;
    size_t size = 0, at = 0;
    if (st_source_open(path, options, &source, NULL) != ST_OK)
        return false;
    if (st_source_query(source, &info, NULL) == ST_OK)
        size = info.size < sizeof head ? (size_t)info.size : sizeof head;
    if (size && st_source_read(source, 0, head, size, NULL) != ST_OK)
        size = 0;
    st_source_release(source);
    while (at < size && (head[at] == ' ' || (head[at] >= '\t' && head[at] <= '\r')))
        at++;
    return at < size && head[at] == '{' && !memchr(head, '\0', size);
}

static bool path_ends(const char *path, const char *ending)
{
    size_t len = strlen(path), ending_len = strlen(ending);
    return len >= ending_len && strcmp(path + len - ending_len, ending) == 0;
}

static st_status checkpoint_fill(st_checkpoint *checkpoint, const st_open_options *options,
                                 const char *shown, st_error *error)
{
    const char *path = checkpoint->name;
    st__os_info info;
    st_open_options one = *options;
    int failed = st__os_info_at(ST__OS_HERE, path, true, &info);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be opened", path);
    if (info.kind == ST__OS_DIRECTORY)
        return folder_open(checkpoint, options, error);
    ST_TRY(folder_keep(checkpoint, path, error));
    if (path_ends(path, ".json") ||
        (!path_ends(path, ".safetensors") && looks_like_json(path, options)))
        return index_open(checkpoint, path, options, error);
    const char *name = path + strlen(checkpoint->folder);
    one.name = shown;
    ST_TRY(st__checkpoint_file_add(checkpoint, name, strlen(name), error));
    ST_TRY(files_open(checkpoint, &one, error));
    ST_TRY(all_take(checkpoint, error));
    return st__checkpoint_metadata_make(checkpoint, NULL, error);
}

/* Takes the caller's reference to `context` over on success. */
static st_status checkpoint_new(st_context *context, const char *path, st_checkpoint **out,
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
    st_status status = checkpoint_new(context, path, &checkpoint, error);
    if (status != ST_OK) {
        st_context_release(context);
        return status;
    }
    status = checkpoint_fill(checkpoint, &of_files, options ? options->name : NULL, error);
    if (status == ST_OK)
        status = tensor_names_map(checkpoint, error);
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
