/* SPDX-License-Identifier: Apache-2.0 */
/* The list of an edit's changes to metadata. A pair that is removed keeps its place, by which it is found again. */
#include "file/edit.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/room.h"
#include "format/json_escape.h"

#include <string.h>

static st_status pairs_nomem(const st_edit *edit, uint64_t size, st_error *error)
{
    return st__error_locate(error, st__fail_nomem(error, size), edit->name, NULL);
}

static void pair_free(const st_edit *edit, const st__edit_pair *pair)
{
    st__free(edit->context, pair->memory, pair->memory_size);
}

void st__edit_pairs_release(st_edit *edit)
{
    st__map_release(&edit->by_key, edit->context);
    for (size_t i = 0; i < edit->pair_count; i++)
        pair_free(edit, &edit->pairs[i]);
    st__free(edit->context, edit->pairs, edit->pair_room * sizeof *edit->pairs);
    edit->pairs = NULL;
    edit->pair_count = edit->pair_room = edit->pair_mapped = 0;
}

/* Makes the index of what is there, with places for all that there is room for. */
static bool pairs_map(st_edit *edit)
{
    st__map map = {0};
    if (!st__map_init(&map, edit->context, edit->pairs, sizeof *edit->pairs, edit->pair_room,
                      &edit->hash_key))
        return false;
    (void)st__map_insert_all(&map, edit->pair_count, false);
    st__map_release(&edit->by_key, edit->context);
    edit->by_key = map;
    edit->pair_mapped = edit->pair_room;
    return true;
}

st_status st__edit_pairs_take(st_edit *edit, st_error *error)
{
    const st_header *header = st_file_header(edit->file);
    size_t count = st_header_metadata_count(header);
    edit->has_metadata = st_header_has_metadata(header);
    if (count == 0)
        return ST_OK;
    edit->pairs = st__alloc_zeroed(edit->context, count, sizeof *edit->pairs);
    if (!edit->pairs)
        return pairs_nomem(edit, (uint64_t)count * sizeof *edit->pairs, error);
    edit->pair_room = count;
    for (; edit->pair_count < count; edit->pair_count++)
        edit->pairs[edit->pair_count].pair = *st_header_metadata_at(header, edit->pair_count);
    return pairs_map(edit) ? ST_OK : pairs_nomem(edit, (uint64_t)count * sizeof(uint32_t), error);
}

static st_status entry_check(const st_edit *edit, const st_metadata *entry, st_error *error)
{
    uint64_t size;
    bool key_good = st__json_quoted_size(entry->key, entry->key_len, &size);
    if (key_good && st__json_quoted_size(entry->value, entry->value_len, &size))
        return ST_OK;
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%s: %smetadata key %s is not UTF-8",
                    edit->name, key_good ? "the value of " : "",
                    st__quote(entry->key, entry->key_len).text);
}

static st_status pair_make(const st_edit *edit, const st_metadata *entry, st__edit_pair *out,
                           st_error *error)
{
    size_t key_size = (size_t)entry->key_len + 1, size;
    ST_TRY(entry_check(edit, entry, error));
    char *memory = NULL;
    if (st__add_size(key_size, (size_t)entry->value_len + 1, &size))
        memory = st__alloc(edit->context, size);
    if (!memory)
        return pairs_nomem(edit, (uint64_t)entry->key_len + entry->value_len + 2, error);
    char *value = memory + key_size;
    memset(memory, 0, key_size);
    if (entry->key_len)
        memcpy(memory, entry->key, entry->key_len);
    if (entry->value_len)
        memcpy(value, entry->value, entry->value_len);
    value[entry->value_len] = '\0';
    *out = (st__edit_pair){.pair = {memory, entry->key_len, entry->value_len, value},
                           .memory = memory,
                           .memory_size = size};
    return ST_OK;
}

/* Puts a pair behind all others. */
static st_status pair_append(st_edit *edit, const st__edit_pair *pair, st_error *error)
{
    size_t wanted = SIZE_MAX;
    void *pairs = edit->pairs;
    /* A map counts to 2^30. */
    if (edit->pair_count >= UINT32_MAX / 8 ||
        !st__room_make(edit->context, &pairs, sizeof *edit->pairs, edit->pair_count,
                       &edit->pair_room, &wanted))
        return pairs_nomem(edit, wanted, error);
    edit->pairs = pairs;
    edit->by_key.records = pairs;
    if (edit->pair_mapped != edit->pair_room && !pairs_map(edit))
        return pairs_nomem(edit, (uint64_t)edit->pair_room * sizeof(uint32_t), error);
    edit->pairs[edit->pair_count] = *pair;
    uint32_t hash = st__hash(&edit->by_key.key, pair->pair.key, pair->pair.key_len);
    (void)st__map_insert(&edit->by_key, edit->pair_count, hash);
    edit->pair_count++;
    return ST_OK;
}

st_status st_edit_set_metadata(st_edit *edit, const st_metadata *entry, st_error *error)
{
    st__edit_pair pair;
    ST_TRY(pair_make(edit, entry, &pair, error));
    size_t at = st__map_find(&edit->by_key, entry->key, entry->key_len);
    if (at == ST__MAP_NONE) {
        st_status status = pair_append(edit, &pair, error);
        if (status != ST_OK) {
            pair_free(edit, &pair);
            return status;
        }
    } else {
        pair_free(edit, &edit->pairs[at]);
        edit->pairs[at] = pair;
    }
    edit->has_metadata = true;
    st__edit_layout_drop(edit);
    return ST_OK;
}

st_status st_edit_remove_metadata(st_edit *edit, const char *key, size_t len, st_error *error)
{
    size_t at = st__map_find(&edit->by_key, key, len);
    if (at == ST__MAP_NONE || edit->pairs[at].removed)
        return st__fail(error, ST_ERR_NOT_FOUND, ST_NO_OFFSET, "%s: there is no metadata key %s",
                        edit->name, st__quote(key, len).text);
    edit->pairs[at].removed = true;
    st__edit_layout_drop(edit);
    return ST_OK;
}

void st_edit_clear_metadata(st_edit *edit)
{
    st__edit_pairs_release(edit);
    edit->has_metadata = false;
    st__edit_layout_drop(edit);
}
