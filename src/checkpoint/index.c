/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an index. The text is gone through twice: whether it has a weight_map, or is one itself, is known only at its
 * end. */
#include "checkpoint/index.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/room.h"
#include "io/os.h"

#include <safetensors/json.h>

#include <inttypes.h>
#include <string.h>

typedef struct index_parse {
    st__index *index;
    const char *text;
    size_t len;
    const char *name;
    st_json_reader *reader;
    st_json_token token;
    bool has_map;
    st_error *error;
} index_parse;

/* -------------------------------------------------------------------------------- the rule */

static bool name_ends(const char *text, size_t len, const char *ending)
{
    size_t ending_len = strlen(ending);
    return len >= ending_len && memcmp(text + len - ending_len, ending, ending_len) == 0;
}

static bool climbs(const char *name, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(name + at, '/', len - at);
        size_t part = slash ? (size_t)(slash - name) - at : len - at;
        if (part == 2 && memcmp(name + at, "..", 2) == 0)
            return true;
        at += part + 1;
    }
    return false;
}

const char *st__shard_name_fault(const char *name, size_t len)
{
    if (len == 0)
        return "is empty";
    if (memchr(name, '\0', len))
        return "holds a NUL";
    if (memchr(name, '\\', len))
        return "holds a backslash";
    if (name[0] == '/')
        return "is absolute";
    if (len > 1 && name[1] == ':')
        return "names a drive";
    if (climbs(name, len))
        return "climbs out of the folder";
    return name_ends(name, len, ".safetensors") ? NULL : "does not end in .safetensors";
}

/* --------------------------------------------------------------------------------- reading */

static ST__COLD st_status index_refuse(const index_parse *p, st_status status, uint64_t offset,
                                       const char *what)
{
    return st__fail(p->error, status, offset, "%s: %s, at byte %" PRIu64, p->name, what, offset);
}

static ST__COLD st_status index_nomem(const index_parse *p, uint64_t size)
{
    return st__error_locate(p->error, st__fail_nomem(p->error, size), p->name, NULL);
}

static st_status index_token_next(index_parse *p)
{
    return st_json_reader_next(p->reader, &p->token, p->error);
}

static bool token_is(const index_parse *p, const char *text)
{
    return p->token.len == strlen(text) && memcmp(p->token.text, text, p->token.len) == 0;
}

/* Copies the token's text. */
static st_status token_copy(index_parse *p, st__arena *arena, st__key *out)
{
    /* It is no longer than the text, whose length counts in 32 bits. */
    out->len = (uint32_t)p->token.len;
    out->text = st__arena_text(arena, p->token.text, p->token.len);
    return out->text ? ST_OK : index_nomem(p, (uint64_t)p->token.len + 1);
}

/* ------------------------------------------------------------------------------- the files */

/* Makes the map of the files as large as their array. */
static st_status files_map(index_parse *p)
{
    st__index *index = p->index;
    st__map grown;
    if (index->file_mapped == index->file_room)
        return ST_OK;
    if (!st__map_init(&grown, index->context, index->files, sizeof *index->files, index->file_room,
                      &index->hash_key))
        return index_nomem(p, (uint64_t)index->file_room * sizeof *grown.slots);
    (void)st__map_insert_all(&grown, index->file_count, false);
    st__map_release(&index->file_names, index->context);
    index->file_names = grown;
    index->file_mapped = index->file_room;
    return ST_OK;
}

static st_status file_add(index_parse *p)
{
    st__index *index = p->index;
    void *files = index->files;
    size_t wanted = 0;
    const char *fault = st__shard_name_fault(p->token.text, p->token.len);
    if (fault)
        return st__fail(p->error, ST_ERR_SHARD_NAME, p->token.offset,
                        "%s: tensor %s: the name of its shard, %s, %s, at byte %" PRIu64, p->name,
                        st__quote(index->entries[index->count].tensor.text,
                                  index->entries[index->count].tensor.len)
                            .text,
                        st__quote(p->token.text, p->token.len).text, fault, p->token.offset);
    bool fits = st__room_make(index->context, &files, sizeof *index->files, index->file_count,
                              &index->file_room, &wanted);
    index->files = files;
    index->file_names.records = files;
    if (!fits)
        return index_nomem(p, wanted);
    ST_TRY(files_map(p));
    st__index_file *file = &index->files[index->file_count];
    file->offset = p->token.offset;
    ST_TRY(token_copy(p, &index->texts, &file->name));
    uint32_t hash = st__hash(&index->hash_key, file->name.text, file->name.len);
    (void)st__map_insert(&index->file_names, index->file_count, hash);
    index->file_count++;
    return ST_OK;
}

/* Finds the file that the token names; tensors that follow each other mostly lie in one. */
static st_status file_find(index_parse *p, uint32_t *out)
{
    const st__index *index = p->index;
    const st__index_entry *last = index->count ? &index->entries[index->count - 1] : NULL;
    const st__key *name = last ? &index->files[last->file].name : NULL;
    if (name && name->len == p->token.len && memcmp(name->text, p->token.text, name->len) == 0) {
        *out = last->file;
        return ST_OK;
    }
    size_t found = st__map_find(&index->file_names, p->token.text, p->token.len);
    if (found == ST__MAP_NONE) {
        ST_TRY(file_add(p));
        found = index->file_count - 1;
    }
    *out = (uint32_t)found;
    return ST_OK;
}

/* ----------------------------------------------------------------------------- the tensors */

static st_status index_entry_add(index_parse *p)
{
    st__index *index = p->index;
    void *entries = index->entries;
    size_t wanted = 0;
    bool fits = st__room_make(index->context, &entries, sizeof *index->entries, index->count,
                              &index->room, &wanted);
    index->entries = entries;
    if (!fits)
        return index_nomem(p, wanted);
    st__index_entry *entry = &index->entries[index->count];
    *entry = (st__index_entry){.offset = p->token.offset};
    ST_TRY(token_copy(p, &index->texts, &entry->tensor));
    ST_TRY(index_token_next(p));
    if (p->token.kind != ST_JSON_STRING)
        return index_refuse(p, ST_ERR_JSON, p->token.offset,
                            p->has_map ? "the name of a tensor's shard is not a string"
                                       : "it is no index: it has no weight_map, and what is here "
                                         "is not the name of a shard");
    ST_TRY(file_find(p, &entry->file));
    index->count++;
    return ST_OK;
}

/* Reads an object of tensors, whose brace has been read. */
static st_status weight_map_read(index_parse *p)
{
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        ST_TRY(index_entry_add(p));
        ST_TRY(index_token_next(p));
    }
    return ST_OK;
}

/* Makes the map of names; each may stand there once. */
static st_status entries_map(index_parse *p)
{
    st__index *index = p->index;
    if (!st__map_init(&index->names, index->context, index->entries, sizeof *index->entries,
                      index->count, &index->hash_key))
        return index_nomem(p, (uint64_t)index->count * sizeof *index->names.slots);
    size_t twice = st__map_insert_all(&index->names, index->count, false);
    if (twice == ST__MAP_NONE)
        return ST_OK;
    const st__index_entry *entry = &index->entries[twice];
    return st__fail(p->error, ST_ERR_NAME_DUPLICATE, entry->offset,
                    "%s: tensor %s: stands there twice, at byte %" PRIu64, p->name,
                    st__quote(entry->tensor.text, entry->tensor.len).text, entry->offset);
}

/* ---------------------------------------------------------------------------- the metadata */

/* Gives a value as text: a string's own, or what stands there. */
static st_status pair_value_read(index_parse *p, st__key *out)
{
    ST_TRY(index_token_next(p));
    const uint64_t begin = p->token.offset;
    const uint32_t depth = p->token.depth;
    if (p->token.kind == ST_JSON_STRING || p->token.kind == ST_JSON_NUMBER)
        return token_copy(p, p->index->kept, out);
    size_t size = p->token.kind == ST_JSON_FALSE ? 5 : 4; /* true, null */
    if (p->token.kind == ST_JSON_OBJECT_BEGIN || p->token.kind == ST_JSON_ARRAY_BEGIN) {
        do
            ST_TRY(index_token_next(p));
        while (p->token.depth > depth);
        size = (size_t)(p->token.offset - begin) + 1;
    }
    p->token.text = p->text + begin;
    p->token.len = size;
    return token_copy(p, p->index->kept, out);
}

static st_status index_pair_add(index_parse *p)
{
    st__index *index = p->index;
    st__key key, value;
    void *pairs = index->pairs;
    size_t wanted = 0;
    uint64_t offset = p->token.offset;
    bool fits = st__room_make(index->context, &pairs, sizeof *index->pairs, index->pair_count,
                              &index->pair_room, &wanted);
    index->pairs = pairs;
    if (!fits)
        return index_nomem(p, wanted);
    ST_TRY(token_copy(p, index->kept, &key));
    ST_TRY(pair_value_read(p, &value));
    index->pairs[index->pair_count++] = (st__index_pair){
        .pair = {.key = key.text, .key_len = key.len, .value_len = value.len, .value = value.text},
        .offset = offset};
    return ST_OK;
}

static st_status index_metadata_read(index_parse *p)
{
    ST_TRY(index_token_next(p));
    if (p->token.kind == ST_JSON_NULL)
        return ST_OK;
    if (p->token.kind != ST_JSON_OBJECT_BEGIN)
        return index_refuse(p, ST_ERR_JSON, p->token.offset, "metadata is not an object");
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        if (token_is(p, "total_size") || token_is(p, "total_parameters"))
            ST_TRY(st_json_reader_skip(p->reader, p->error));
        else
            ST_TRY(index_pair_add(p));
        ST_TRY(index_token_next(p));
    }
    return ST_OK;
}

/* Makes the map of keys; each may stand there once. */
static st_status index_pairs_map(index_parse *p)
{
    st__index *index = p->index;
    if (!st__map_init(&index->keys, index->context, index->pairs, sizeof *index->pairs,
                      index->pair_count, &index->hash_key))
        return index_nomem(p, (uint64_t)index->pair_count * sizeof *index->keys.slots);
    size_t twice = st__map_insert_all(&index->keys, index->pair_count, false);
    if (twice == ST__MAP_NONE)
        return ST_OK;
    const st__index_pair *again = &index->pairs[twice];
    return st__fail(p->error, ST_ERR_METADATA_DUPLICATE, again->offset,
                    "%s: the metadata have %s twice, at byte %" PRIu64, p->name,
                    st__quote(again->pair.key, again->pair.key_len).text, again->offset);
}

/* ------------------------------------------------------------------------------------ top */

/* The first time: all of the text is checked, and it is found out whether it has a weight_map. */
static st_status index_top_look(index_parse *p)
{
    bool metadata = false;
    ST_TRY(index_token_next(p));
    if (p->token.kind != ST_JSON_OBJECT_BEGIN)
        return index_refuse(p, ST_ERR_JSON, p->token.offset, "an index is an object");
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        bool map = token_is(p, "weight_map"), about = token_is(p, "metadata");
        if ((map && p->has_map) || (about && metadata))
            return index_refuse(p, ST_ERR_JSON, p->token.offset, "a member stands there twice");
        p->has_map |= map;
        metadata |= about;
        ST_TRY(st_json_reader_skip(p->reader, p->error));
        ST_TRY(index_token_next(p));
    }
    return index_token_next(p); /* nothing may follow */
}

static st_status index_member_read(index_parse *p)
{
    if (token_is(p, "metadata"))
        return index_metadata_read(p);
    if (!token_is(p, "weight_map"))
        return st_json_reader_skip(p->reader, p->error);
    ST_TRY(index_token_next(p));
    if (p->token.kind != ST_JSON_OBJECT_BEGIN)
        return index_refuse(p, ST_ERR_JSON, p->token.offset, "weight_map is not an object");
    return weight_map_read(p);
}

/* The second time. */
static st_status index_top_read(index_parse *p)
{
    ST_TRY(index_token_next(p));
    uint64_t begin = p->token.offset;
    if (!p->has_map) {
        ST_TRY(weight_map_read(p));
        return p->index->count
                   ? ST_OK
                   : index_refuse(p, ST_ERR_JSON, begin, "it is no index: it has no weight_map");
    }
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        ST_TRY(index_member_read(p));
        ST_TRY(index_token_next(p));
    }
    return ST_OK;
}

static st_status index_text_read(index_parse *p, st_status (*top)(index_parse *p))
{
    st_context *context = p->index->context;
    st_status status = st_json_reader_new(context, p->text, p->len, p->name, &p->reader, p->error);
    if (status == ST_OK) {
        status = top(p);
        st_json_reader_free(p->reader);
    }
    return status == ST_ERR_NOMEM ? st__error_locate(p->error, status, p->name, NULL) : status;
}

st_status st__index_parse(st__index *index, const char *text, size_t len, const char *name,
                          st_error *error)
{
    index_parse p = {.index = index, .text = text, .len = len, .name = name, .error = error};
    index->texts.context = index->context;
    st__os_random(&index->hash_key, sizeof index->hash_key);
    if (len >= ST__INDEX_MAX)
        return st__fail(error, ST_ERR_JSON, ST__INDEX_MAX,
                        "%s: %zu bytes are too many for an index", name, len);
    ST_TRY(index_text_read(&p, index_top_look));
    ST_TRY(index_text_read(&p, index_top_read));
    ST_TRY(entries_map(&p));
    return index_pairs_map(&p);
}

void st__index_release(st__index *index)
{
    st__map_release(&index->names, index->context);
    st__map_release(&index->file_names, index->context);
    st__map_release(&index->keys, index->context);
    st__free(index->context, index->entries, index->room * sizeof *index->entries);
    st__free(index->context, index->files, index->file_room * sizeof *index->files);
    st__free(index->context, index->pairs, index->pair_room * sizeof *index->pairs);
    st__arena_release(&index->texts);
}
