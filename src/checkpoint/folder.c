/* SPDX-License-Identifier: Apache-2.0 */
/* What of a folder belongs together: the shards of its one index, or else all files. */
#include "checkpoint/checkpoint.h"
#include "base/alloc.h"
#include "base/room.h"
#include "checkpoint/path.h"
#include "format/order.h"
#include "io/os.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct folder_names {
    st_checkpoint *checkpoint;
    st__folder *folder;
    st_status status; /* of what went wrong here */
    st_error *error;
} folder_names;

#define FILE_ENDING  ".safetensors"
#define INDEX_MIDDLE ".safetensors.index."

/* "NAME.safetensors.index.json", or with a variant: "NAME.safetensors.index.fp16.json". Names that begin with a dot are
 * other programs': what is being written, what a file system keeps beside a file. */
bool st__folder_has_index(const char *name)
{
    const char *middle = strstr(name, INDEX_MIDDLE);
    const char *variant = middle ? middle + strlen(INDEX_MIDDLE) : NULL;
    return middle && name[0] != '.' &&
           (strcmp(variant, "json") == 0 || st__name_ends(variant, strlen(variant), ".json"));
}

bool st__folder_has_file(const char *name)
{
    return name[0] != '.' && st__name_ends(name, strlen(name), FILE_ENDING);
}

static st_status index_add(folder_names *names, const char *name)
{
    st_checkpoint *checkpoint = names->checkpoint;
    st__folder *folder = names->folder;
    void *indices = folder->indices;
    size_t wanted = 0;
    bool fits = st__room_make(checkpoint->context, &indices, sizeof *folder->indices, folder->count,
                              &folder->room, &wanted);
    folder->indices = indices;
    const char *text = fits ? st__arena_text(&checkpoint->texts, name, strlen(name)) : NULL;
    if (!text)
        return st__checkpoint_nomem(checkpoint, wanted, names->error);
    folder->indices[folder->count++] = (st__key){.text = text, .len = (uint32_t)strlen(name)};
    return ST_OK;
}

static int name_note(void *ctx, const char *name)
{
    folder_names *names = ctx;
    if (st__folder_has_index(name))
        names->status = index_add(names, name);
    else if (st__folder_has_file(name))
        names->status =
            st__checkpoint_file_add(names->checkpoint, name, strlen(name), names->error);
    return names->status == ST_OK ? 0 : ECANCELED;
}

/* Puts records that start with a name in the order of their names. */
static st_status names_sort(const st_checkpoint *checkpoint, void *records, size_t stride,
                            size_t count, st_error *error)
{
    st_context *context = checkpoint->context;
    uint32_t *order = st__alloc_zeroed(context, count, sizeof *order);
    unsigned char *sorted = st__alloc_zeroed(context, count, stride);
    st_status status = ST_ERR_NOMEM;
    if (order && sorted)
        status = st__order_by_text(context, records, stride, count, order, error);
    else
        (void)st__checkpoint_nomem(checkpoint, (uint64_t)count * stride, error);
    for (size_t i = 0; i < count && status == ST_OK; i++)
        memcpy(sorted + i * stride, (unsigned char *)records + order[i] * stride, stride);
    if (status == ST_OK && count)
        memcpy(records, sorted, count * stride);
    st__free(context, sorted, count * stride);
    st__free(context, order, count * sizeof *order);
    return status;
}

/* Names as many of them as fit a line. */
st_status st__folder_judge(const st__folder *folder, const st__index_judge *judge)
{
    char list[300];
    size_t len = 0;
    if (folder->count <= 1)
        return ST_OK;
    for (size_t i = 0; i < folder->count; i++) {
        st__quoted quoted = st__quote(folder->indices[i].text, folder->indices[i].len);
        if (len + strlen(quoted.text) + 8 > sizeof list) {
            len += (size_t)snprintf(list + len, sizeof list - len, ", ...");
            break;
        }
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "", quoted.text);
    }
    return st__index_deviate(
        judge, ST__INDEX_RULE_SEVERAL, &(st__index_place){.offset = ST_NO_OFFSET},
        "holds %zu indices, %s; open the one that is meant", folder->count, list);
}

/* Puts what is in use in its order: the indices, or else the files. */
static st_status folder_sort(st_checkpoint *checkpoint, st__folder *folder, st_error *error)
{
    if (folder->count) {
        checkpoint->file_count = 0; /* those that the index does not name are no part of it */
        return names_sort(checkpoint, folder->indices, sizeof *folder->indices, folder->count,
                          error);
    }
    if (checkpoint->file_count == 0)
        return st__fail(error, ST_ERR_NOT_FOUND, ST_NO_OFFSET,
                        "%s: holds no .safetensors file and no index of any", checkpoint->name);
    return names_sort(checkpoint, checkpoint->files, sizeof *checkpoint->files,
                      checkpoint->file_count, error);
}

st_status st__folder_look(st_checkpoint *checkpoint, st__folder *folder, st_error *error)
{
    folder_names names = {.checkpoint = checkpoint, .folder = folder, .error = error};
    int failed = st__os_list(checkpoint->name, name_note, &names);
    st_status status = names.status;
    if (status == ST_OK && failed)
        status = st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be listed",
                                checkpoint->name);
    return status == ST_OK ? folder_sort(checkpoint, folder, error) : status;
}

void st__folder_release(const st_checkpoint *checkpoint, st__folder *folder)
{
    st__free(checkpoint->context, folder->indices, folder->room * sizeof *folder->indices);
}
