/* SPDX-License-Identifier: Apache-2.0 */
/* What the path of a checkpoint leads to, and where its files lie. */
#include "base/alloc.h"
#include "base/checked.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/path.h"
#include "format/order.h"
#include "io/os.h"

#include <inttypes.h>
#include <string.h>

/* ----------------------------------------------------------------------------------- paths */

/* Keeps what comes before the last name of a path. */
static st_status above_keep(st_checkpoint *checkpoint, const char *path, st_error *error)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    checkpoint->folder = st__arena_text(&checkpoint->texts, path, len);
    return checkpoint->folder ? ST_OK : st__checkpoint_nomem(checkpoint, len, error);
}

/* Keeps the path of a folder with a slash behind it. */
static st_status folder_keep(st_checkpoint *checkpoint, st_error *error)
{
    size_t len = strlen(checkpoint->name);
    bool ends = len > 0 && checkpoint->name[len - 1] == '/';
    char *folder = st__arena_take(&checkpoint->texts, len + 2);
    if (!folder)
        return st__checkpoint_nomem(checkpoint, len + 2, error);
    memcpy(folder, checkpoint->name, len);
    memcpy(folder + len, ends ? "" : "/", ends ? 1 : 2);
    checkpoint->folder = folder;
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ kind */

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

st_status st__checkpoint_look(st_checkpoint *checkpoint, const st_open_options *options,
                              st__checkpoint_kind *out, st_error *error)
{
    const char *path = checkpoint->name;
    st__os_info info;
    int failed = st__os_info_at(ST__OS_HERE, path, true, &info);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be opened", path);
    *out = ST__OF_FOLDER;
    if (info.kind == ST__OS_DIRECTORY)
        return folder_keep(checkpoint, error);
    ST_TRY(above_keep(checkpoint, path, error));
    *out = ST__OF_INDEX;
    size_t len = strlen(path);
    if (st__name_ends(path, len, ".json") ||
        (!st__name_ends(path, len, ".safetensors") && looks_like_json(path, options)))
        return ST_OK;
    *out = ST__OF_FILE;
    const char *name = path + strlen(checkpoint->folder);
    return st__checkpoint_file_add(checkpoint, name, strlen(name), error);
}

/* ----------------------------------------------------------------------------------- index */

static st_status source_read_all(st_source *source, st_context *context, uint64_t most,
                                 st_memory *out, st_source_info *info, st_error *error)
{
    size_t size;
    ST_TRY(st_source_query(source, info, error));
    if (info->size > most || !st__u64_to_size(info->size, &size))
        return st__fail(error, ST_ERR_JSON, most,
                        "%s: %" PRIu64 " bytes are too many for an index; at most %" PRIu64
                        " are read",
                        st_source_name(source), info->size, most);
    char *text = st__alloc(context, size);
    if (!text)
        return st__fail_nomem(error, size);
    st_status status = st_source_read(source, 0, text, size, error);
    info->etag = NULL; /* the source's */
    if (status == ST_OK)
        *out = (st_memory){.data = text, .size = size};
    else
        st__free(context, text, size);
    return status;
}

st_status st__index_bytes_read(const char *path, const st_open_options *options, uint64_t most,
                               st_memory *out, st_source_info *info, st_error *error)
{
    st_source *source;
    st_status status = st_source_open(path, options, &source, error);
    if (status == ST_OK) {
        status = source_read_all(source, options->context, most, out, info, error);
        st_source_release(source);
    }
    return status == ST_ERR_NOMEM ? st__error_locate(error, status, path, NULL) : status;
}

st_status st__index_text_read(st_checkpoint *checkpoint, const char *path,
                              const st_open_options *options, st_memory *out, st_error *error)
{
    uint64_t most = options->max_header_size ? options->max_header_size : ST_HEADER_MAX;
    return st__index_bytes_read(path, options, most, out, &checkpoint->index_identity, error);
}

st_status st__index_files_take(st_checkpoint *checkpoint, st__index *index, st_error *error)
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
