/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an index. The text is gone through twice: whether it has a weight_map, or is one itself, is known only at its
 * end. */
#include "checkpoint/index.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/room.h"
#include "io/os.h"

#include <safetensors/json.h>

#include <string.h>

/* An entry's whose shard may not be called so. */
#define FILE_NONE UINT32_MAX

typedef struct index_parse {
    st__index *index;
    const char *text;
    size_t len;
    const st__index_judge *judge;
    st_error *error; /* the judge's */
    st_json_reader *reader;
    st_json_token token;
    bool has_map;
} index_parse;

/* --------------------------------------------------------------------------------- reading */

/* Tells what is wrong at the token. */
static ST__COLD st_status index_refuse(const index_parse *p, const char *what)
{
    return st__index_deviate(p->judge, ST__INDEX_RULE_JSON,
                             &(st__index_place){.offset = p->token.offset}, "%s", what);
}

/* The same, where nothing is left to go on with. */
static ST__COLD st_status index_refuse_all(const index_parse *p, const char *what)
{
    p->index->broken = true;
    return index_refuse(p, what);
}

static ST__COLD st_status index_nomem(const index_parse *p, uint64_t size)
{
    return st__error_locate(p->error, st__fail_nomem(p->error, size), p->judge->name, NULL);
}

static st_status index_token_next(index_parse *p)
{
    return st_json_reader_next(p->reader, &p->token, p->error);
}

/* Passes over what is left of the value whose first token has been read, and leaves its last. */
static st_status value_end(index_parse *p)
{
    const uint32_t depth = p->token.depth;
    if (p->token.kind != ST_JSON_OBJECT_BEGIN && p->token.kind != ST_JSON_ARRAY_BEGIN)
        return ST_OK;
    do
        ST_TRY(index_token_next(p));
    while (p->token.depth > depth);
    return ST_OK;
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

/* Tells of the entry that is being read. */
static ST__COLD st_status shard_name_refuse(const index_parse *p, const char *fault)
{
    const st__key *tensor = &p->index->entries[p->index->count].tensor;
    return st__index_deviate(
        p->judge, ST__INDEX_RULE_SHARD_NAME,
        &(st__index_place){
            .offset = p->token.offset, .name = tensor->text, .name_len = tensor->len},
        "the name of its shard, %s, %s", st__quote(p->token.text, p->token.len).text, fault);
}

static st_status file_add(index_parse *p)
{
    st__index *index = p->index;
    void *files = index->files;
    size_t wanted = 0;
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

/* Finds the file that the token names, or gives FILE_NONE for a name that none may have; tensors that follow each other
 * mostly lie in one. */
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
        const char *fault = st__shard_name_fault(p->token.text, p->token.len);
        *out = FILE_NONE;
        if (fault)
            return shard_name_refuse(p, fault);
        ST_TRY(file_add(p));
        found = index->file_count - 1;
    }
    *out = (uint32_t)found;
    return ST_OK;
}

/* ----------------------------------------------------------------------------- the tensors */

/* Tells of a value that is no string, and passes over it. */
static ST__COLD st_status shard_name_miss(index_parse *p, uint32_t *file)
{
    *file = FILE_NONE;
    if (!p->has_map)
        return index_refuse_all(p, "it is no index: it has no weight_map, and what is here is not "
                                   "the name of a shard");
    ST_TRY(index_refuse(p, "the name of a tensor's shard is not a string"));
    return value_end(p);
}

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
    if (p->token.kind == ST_JSON_STRING)
        ST_TRY(file_find(p, &entry->file));
    else
        ST_TRY(shard_name_miss(p, &entry->file));
    if (entry->file == FILE_NONE)
        index->partial = true;
    else
        index->count++;
    return ST_OK;
}

/* Reads an object of tensors, whose brace has been read. */
static st_status weight_map_read(index_parse *p)
{
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        ST_TRY(index_entry_add(p));
        if (p->index->broken)
            return ST_OK;
        ST_TRY(index_token_next(p));
    }
    return ST_OK;
}

/* Tells of an entry whose name stands there before, as `first`, which becomes the same. */
static ST__COLD st_status entry_again(const index_parse *p, size_t first, size_t again)
{
    st__index_entry *entry = &p->index->entries[again], *before = &p->index->entries[first];
    ST_TRY(st__index_deviate(p->judge, ST__INDEX_RULE_NAME_DUPLICATE,
                             &(st__index_place){.offset = entry->offset,
                                                .name = entry->tensor.text,
                                                .name_len = entry->tensor.len},
                             "stands there twice"));
    /* The one in the map is found by its name: it takes the other's place. */
    st__index_entry kept = *entry;
    *entry = *before;
    *before = kept;
    entry->passed = true;
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
    for (size_t i = twice; twice != ST__MAP_NONE && i < index->count; i++) {
        const st__key *name = &index->entries[i].tensor;
        uint32_t hash = st__hash(&index->hash_key, name->text, name->len);
        size_t first = st__map_insert(&index->names, i, hash);
        if (first != ST__MAP_NONE)
            ST_TRY(entry_again(p, first, i));
    }
    return ST_OK;
}

/* ---------------------------------------------------------------------------- the metadata */

/* Gives a value as text: a string's own, or what stands there. */
static st_status pair_value_read(index_parse *p, st__key *out, bool *string)
{
    ST_TRY(index_token_next(p));
    const uint64_t begin = p->token.offset;
    *string = p->token.kind == ST_JSON_STRING;
    if (p->token.kind == ST_JSON_STRING || p->token.kind == ST_JSON_NUMBER)
        return token_copy(p, p->index->kept, out);
    size_t size = p->token.kind == ST_JSON_FALSE ? 5 : 4; /* true, null */
    if (p->token.kind == ST_JSON_OBJECT_BEGIN || p->token.kind == ST_JSON_ARRAY_BEGIN) {
        ST_TRY(value_end(p));
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
    bool string;
    bool fits = st__room_make(index->context, &pairs, sizeof *index->pairs, index->pair_count,
                              &index->pair_room, &wanted);
    index->pairs = pairs;
    if (!fits)
        return index_nomem(p, wanted);
    ST_TRY(token_copy(p, index->kept, &key));
    ST_TRY(pair_value_read(p, &value, &string));
    index->pairs[index->pair_count++] = (st__index_pair){
        .pair = {.key = key.text, .key_len = key.len, .value_len = value.len, .value = value.text},
        .offset = offset,
        .string = string};
    return ST_OK;
}

/* Reads a number that is whole, as a float too: huggingface_hub has written 123.0. */
static bool total_parse(const st_json_token *token, uint64_t *out)
{
    double real;
    if (token->kind != ST_JSON_NUMBER)
        return false;
    if (st_json_parse_u64(token->text, token->len, out))
        return true;
    /* 2^63, beyond which no total is. */
    if (!st_json_parse_double(token->text, token->len, &real) || !(real >= 0) ||
        real >= 9223372036854775808.0)
        return false;
    *out = (uint64_t)real;
    return (double)*out == real;
}

static st_status total_read(index_parse *p)
{
    st__index *index = p->index;
    ST_TRY(index_token_next(p));
    index->total_offset = p->token.offset;
    index->has_total = total_parse(&p->token, &index->total);
    if (!index->has_total)
        ST_TRY(st__index_deviate(p->judge, ST__INDEX_RULE_TOTAL_SIZE,
                                 &(st__index_place){.offset = p->token.offset},
                                 "total_size is not a whole number of bytes"));
    return value_end(p);
}

static st_status parameters_read(index_parse *p)
{
    ST_TRY(index_token_next(p));
    if (p->token.kind == ST_JSON_NUMBER)
        return token_copy(p, p->index->kept, &p->index->parameters);
    return value_end(p);
}

static st_status index_metadata_read(index_parse *p)
{
    ST_TRY(index_token_next(p));
    if (p->token.kind == ST_JSON_NULL)
        return ST_OK;
    if (p->token.kind != ST_JSON_OBJECT_BEGIN) {
        ST_TRY(index_refuse(p, "metadata is not an object"));
        return value_end(p);
    }
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        if (token_is(p, "total_size"))
            ST_TRY(total_read(p));
        else if (token_is(p, "total_parameters"))
            ST_TRY(parameters_read(p));
        else
            ST_TRY(index_pair_add(p));
        ST_TRY(index_token_next(p));
    }
    return ST_OK;
}

/* Tells of a key that stands there before, as `first`: there stands the last value then, as readers of JSON have it. */
static ST__COLD st_status pair_again(const index_parse *p, size_t first, size_t again)
{
    st__index_pair *pair = &p->index->pairs[again], *before = &p->index->pairs[first];
    ST_TRY(st__index_deviate(
        p->judge, ST__INDEX_RULE_METADATA_DUPLICATE, &(st__index_place){.offset = pair->offset},
        "the metadata have %s twice", st__quote(pair->pair.key, pair->pair.key_len).text));
    st__index_pair kept = *pair;
    *pair = *before;
    *before = kept;
    pair->passed = true;
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
    for (size_t i = twice; twice != ST__MAP_NONE && i < index->pair_count; i++) {
        const st_metadata *pair = &index->pairs[i].pair;
        uint32_t hash = st__hash(&index->hash_key, pair->key, pair->key_len);
        size_t first = st__map_insert(&index->keys, i, hash);
        if (first != ST__MAP_NONE)
            ST_TRY(pair_again(p, first, i));
    }
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ top */

/* The first time: all of the text is checked, and it is found out whether it has a weight_map. */
static st_status index_top_look(index_parse *p)
{
    bool metadata = false;
    ST_TRY(index_token_next(p));
    if (p->token.kind != ST_JSON_OBJECT_BEGIN)
        return index_refuse_all(p, "an index is an object");
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        bool map = token_is(p, "weight_map"), about = token_is(p, "metadata");
        if ((map && p->has_map) || (about && metadata))
            ST_TRY(index_refuse(p, "a member stands there twice"));
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
    return p->token.kind == ST_JSON_OBJECT_BEGIN
               ? weight_map_read(p)
               : index_refuse_all(p, "weight_map is not an object");
}

/* The second time. */
static st_status index_top_read(index_parse *p)
{
    ST_TRY(index_token_next(p));
    const st_json_token begin = p->token;
    if (!p->has_map) {
        ST_TRY(weight_map_read(p));
        p->token = begin;
        return p->index->count || p->index->partial
                   ? ST_OK
                   : index_refuse_all(p, "it is no index: it has no weight_map");
    }
    ST_TRY(index_token_next(p));
    while (p->token.kind == ST_JSON_KEY && !p->index->broken) {
        ST_TRY(index_member_read(p));
        if (!p->index->broken)
            ST_TRY(index_token_next(p));
    }
    return ST_OK;
}

static st_status index_text_read(index_parse *p, st_status (*top)(index_parse *p))
{
    st_context *context = p->index->context;
    const char *name = p->judge->name;
    st_status status = st_json_reader_new(context, p->text, p->len, name, &p->reader, p->error);
    if (status == ST_OK) {
        status = top(p);
        st_json_reader_free(p->reader);
    }
    return status == ST_ERR_NOMEM ? st__error_locate(p->error, status, name, NULL) : status;
}

/* The first reading, which alone meets what is no JSON; only the reader gives ST_ERR_JSON where there is a sink. */
static st_status index_text_look(index_parse *p)
{
    st_status status = index_text_read(p, index_top_look);
    if (status != ST_ERR_JSON || !p->judge->sink)
        return status;
    p->index->broken = true;
    return st__index_deviate_by(p->judge, ST__INDEX_RULE_JSON, p->error);
}

static st_status index_parse_all(index_parse *p)
{
    p->token.offset = ST__INDEX_MAX;
    if (p->len >= ST__INDEX_MAX)
        return index_refuse_all(p, "the text is too long for an index");
    ST_TRY(index_text_look(p));
    if (!p->index->broken)
        ST_TRY(index_text_read(p, index_top_read));
    if (p->index->broken)
        return ST_OK;
    ST_TRY(entries_map(p));
    return index_pairs_map(p);
}

st_status st__index_parse(st__index *index, const char *text, size_t len,
                          const st__index_judge *judge)
{
    st_error own; /* what the reader says of no JSON may be a deviation, and no error */
    const st__index_judge of_all = {.name = judge->name, .sink = judge->sink, .error = &own};
    index_parse p = {.index = index, .text = text, .len = len, .judge = &of_all, .error = &own};
    index->texts.context = index->context;
    st__os_random(&index->hash_key, sizeof index->hash_key);
    st_status status = index_parse_all(&p);
    if (status != ST_OK && judge->error)
        *judge->error = own;
    return status;
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
