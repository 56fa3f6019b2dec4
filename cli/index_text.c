/* SPDX-License-Identifier: Apache-2.0 */
#include "index_text.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <safetensors/json.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "out.h"
#include "place.h"
#include "walk.h"

/* ------------------------------------------------------------------------------ finding */

/* Names that begin with a dot are passed over, as st_checkpoint_open does. */
static bool is_index(const char *name)
{
    return fnmatch("*.safetensors.index.json", name, FNM_PERIOD) == 0 ||
           fnmatch("*.safetensors.index.*.json", name, FNM_PERIOD) == 0;
}

static char *copy_make(const char *text, size_t len)
{
    char *copy = memory_new(len + 1, 1);
    memcpy(copy, text, len);
    return copy;
}

st_status index_text_find(const char *path, char **out, st_error *error)
{
    *out = NULL;
    if (!walk_is_folder(path)) {
        *out = copy_make(path, strlen(path));
        return ST_OK;
    }
    DIR *folder = opendir(path);
    if (!folder)
        return io_error(path, error);
    errno = 0;
    for (const struct dirent *entry = readdir(folder); entry && !*out; entry = readdir(folder))
        if (is_index(entry->d_name))
            *out = place_join(path, entry->d_name);
    closedir(folder);
    return ST_OK;
}

/* ------------------------------------------------------------------------------ reading */

static void entry_add(struct index_text *text, const st_json_token *key, char *name,
                      const st_json_token *value)
{
    text->entries = memory_grow(text->entries, &text->room, text->count + 1, sizeof *text->entries);
    text->entries[text->count++] =
        (struct index_entry){name, key->len, copy_make(value->text, value->len), key->offset};
}

static void entries_clear(struct index_text *text)
{
    for (size_t i = 0; i < text->count; i++) {
        free(text->entries[i].name);
        free(text->entries[i].shard);
    }
    text->count = 0;
}

static void total_read(struct index_text *text, const st_json_token *value)
{
    double real;
    text->total_offset = value->offset;
    text->has_total = st_json_parse_u64(value->text, value->len, &text->total);
    /* 2^63, beyond which a double is no total; huggingface_hub has written 123.0 too. */
    if (!text->has_total && st_json_parse_double(value->text, value->len, &real) && real >= 0 &&
        real < 9223372036854775808.0) {
        text->total = (uint64_t)real;
        text->has_total = true;
    }
}

/* Which object's members are read. */
enum within { WITHIN_ALL, WITHIN_METADATA, WITHIN_MAP };

static st_status object_read(struct index_text *text, st_json_reader *reader, enum within within,
                             st_error *error);

/* Reads an object that is the value of the key at hand. */
static st_status inner_read(struct index_text *text, st_json_reader *reader, enum within within,
                            st_error *error)
{
    st_json_token value;
    st_status status = st_json_reader_next(reader, &value, error);
    if (status == ST_OK && value.kind == ST_JSON_OBJECT_BEGIN)
        status = object_read(text, reader, within, error);
    return status;
}

static st_status total_member(struct index_text *text, st_json_reader *reader, st_error *error)
{
    st_json_token value;
    st_status status = st_json_reader_next(reader, &value, error);
    if (status == ST_OK && value.kind == ST_JSON_NUMBER)
        total_read(text, &value);
    return status;
}

static st_status entry_member(struct index_text *text, st_json_reader *reader,
                              const st_json_token *key, st_error *error)
{
    st_json_token value;
    char *name = copy_make(key->text, key->len);
    st_status status = st_json_reader_next(reader, &value, error);
    if (status == ST_OK && value.kind == ST_JSON_STRING)
        entry_add(text, key, name, &value);
    else
        free(name);
    return status;
}

static bool key_is(const st_json_token *key, const char *name)
{
    return key->len == strlen(name) && memcmp(key->text, name, key->len) == 0;
}

static st_status member_read(struct index_text *text, st_json_reader *reader, enum within within,
                             const st_json_token *key, st_error *error)
{
    bool map = within == WITHIN_MAP || (within == WITHIN_ALL && !text->mapped);
    if (within == WITHIN_METADATA && key_is(key, "total_size"))
        return total_member(text, reader, error);
    if (within == WITHIN_ALL && text->mapped && key_is(key, "weight_map"))
        return inner_read(text, reader, WITHIN_MAP, error);
    if (within == WITHIN_ALL && text->mapped && key_is(key, "metadata"))
        return inner_read(text, reader, WITHIN_METADATA, error);
    return map ? entry_member(text, reader, key, error) : st_json_reader_skip(reader, error);
}

static st_status object_read(struct index_text *text, st_json_reader *reader, enum within within,
                             st_error *error)
{
    st_json_token key;
    for (;;) {
        st_status status = st_json_reader_next(reader, &key, error);
        if (status == ST_OK && key.kind == ST_JSON_KEY)
            status = member_read(text, reader, within, &key, error);
        if (status != ST_OK || key.kind != ST_JSON_KEY)
            return status;
    }
}

/* Looks whether there is a "weight_map": without, the whole object is one. */
static st_status map_look(struct index_text *text, st_json_reader *reader, st_error *error)
{
    st_json_token token;
    st_status status = st_json_reader_next(reader, &token, error);
    if (status != ST_OK || token.kind != ST_JSON_OBJECT_BEGIN)
        return status;
    for (;;) {
        status = st_json_reader_next(reader, &token, error);
        if (status != ST_OK || token.kind != ST_JSON_KEY)
            return status;
        text->mapped = text->mapped || key_is(&token, "weight_map");
        status = st_json_reader_skip(reader, error);
        if (status != ST_OK)
            return status;
    }
}

/* ------------------------------------------------------------------------------ ordering */

static int names_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int entries_compare(const void *a, const void *b)
{
    const struct index_entry *x = a, *y = b;
    int order = strcmp(x->shard, y->shard);
    return order ? order : names_compare(x->name, x->name_len, y->name, y->name_len);
}

bool index_text_has(const struct index_entry *entries, size_t count, const char *name, size_t len)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = names_compare(name, len, entries[middle].name, entries[middle].name_len);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

st_status index_text_read(struct index_text *text, const char *bytes, size_t len, const char *name,
                          st_error *error)
{
    st_json_reader *reader;
    st_status status = st_json_reader_new(NULL, bytes, len, name, &reader, error);
    if (status != ST_OK)
        return status;
    status = map_look(text, reader, error);
    st_json_reader_free(reader);
    if (status == ST_OK)
        status = st_json_reader_new(NULL, bytes, len, name, &reader, error);
    if (status != ST_OK)
        return status;
    status = inner_read(text, reader, WITHIN_ALL, error);
    st_json_reader_free(reader);
    if (text->count)
        qsort(text->entries, text->count, sizeof *text->entries, entries_compare);
    return status;
}

void index_text_release(struct index_text *text)
{
    entries_clear(text);
    free(text->entries);
}
