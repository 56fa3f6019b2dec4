/* SPDX-License-Identifier: Apache-2.0 */
/* What all files of a checkpoint, or its index, say of it. */
#include "checkpoint/checkpoint.h"
#include "base/alloc.h"
#include "base/room.h"

#include <string.h>

/* Tells whether every file but the first has this entry too. */
static bool all_have(const st_checkpoint *checkpoint, const st_metadata *entry)
{
    for (size_t i = 1; i < checkpoint->file_count; i++) {
        const st_header *header = st_file_header(checkpoint->files[i].file);
        const st_metadata *other = st_header_metadata_find(header, entry->key, entry->key_len);
        if (!other || other->value_len != entry->value_len ||
            memcmp(other->value, entry->value, entry->value_len) != 0)
            return false;
    }
    return true;
}

static st_status metadata_take(st_checkpoint *checkpoint, const st_metadata *entry, st_error *error)
{
    void *metadata = checkpoint->metadata;
    size_t wanted = 0;
    bool fits = st__room_make(checkpoint->context, &metadata, sizeof *checkpoint->metadata,
                              checkpoint->metadata_count, &checkpoint->metadata_room, &wanted);
    checkpoint->metadata = metadata;
    if (!fits)
        return st__checkpoint_nomem(checkpoint, wanted, error);
    checkpoint->metadata[checkpoint->metadata_count++] = *entry;
    return ST_OK;
}

st_status st__checkpoint_metadata_make(st_checkpoint *checkpoint, const st__index *index,
                                       st_error *error)
{
    const st_header *first =
        checkpoint->file_count ? st_file_header(checkpoint->files[0].file) : NULL;
    size_t count = first ? st_header_metadata_count(first) : 0;
    for (size_t i = 0; i < count; i++) {
        const st_metadata *entry = st_header_metadata_at(first, i);
        bool in_index =
            index && st__map_find(&index->keys, entry->key, entry->key_len) != ST__MAP_NONE;
        if (!in_index && all_have(checkpoint, entry))
            ST_TRY(metadata_take(checkpoint, entry, error));
    }
    for (size_t i = 0; index && i < index->pair_count; i++)
        ST_TRY(metadata_take(checkpoint, &index->pairs[i].pair, error));
    return ST_OK;
}

size_t st_checkpoint_metadata_count(const st_checkpoint *checkpoint)
{
    return checkpoint->metadata_count;
}

const st_metadata *st_checkpoint_metadata_at(const st_checkpoint *checkpoint, size_t index)
{
    return &checkpoint->metadata[index];
}
