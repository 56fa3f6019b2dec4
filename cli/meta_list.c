/* SPDX-License-Identifier: Apache-2.0 */
#include "meta_list.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "text.h"

static char *text_copy(const char *text, size_t len)
{
    char *copy = memory_new(len + 1, 1);
    memcpy(copy, text, len);
    return copy;
}

void meta_add(struct meta_list *list, const st_metadata *entry, uint64_t offset)
{
    list->at = memory_grow(list->at, &list->room, list->count + 1, sizeof *list->at);
    list->at[list->count++] = (struct meta_item){
        .key = text_copy(entry->key, entry->key_len),
        .key_len = entry->key_len,
        .value = text_copy(entry->value, entry->value_len),
        .value_len = entry->value_len,
        .offset = offset,
    };
}

void meta_release(struct meta_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->at[i].key);
        free(list->at[i].value);
    }
    free(list->at);
    free(list->sorted);
    free(list->removed);
    *list = (struct meta_list){0};
}

/* --------------------------------------------------------------------------------- order */

static int bytes_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

/* Entries of one key stay in the order in which they were added. */
static int items_compare(const void *left, const void *right)
{
    const struct meta_item *a = *(const struct meta_item *const *)left;
    const struct meta_item *b = *(const struct meta_item *const *)right;
    int order = bytes_compare(a->key, a->key_len, b->key, b->key_len);
    return order ? order : (a > b) - (a < b);
}

const struct meta_item *meta_sort(struct meta_list *list)
{
    list->sorted = memory_new(list->count, sizeof *list->sorted);
    for (size_t i = 0; i < list->count; i++)
        list->sorted[i] = &list->at[i];
    if (list->count)
        qsort(list->sorted, list->count, sizeof *list->sorted, items_compare);
    for (size_t i = 1; i < list->count; i++) {
        const struct meta_item *a = list->sorted[i - 1], *b = list->sorted[i];
        if (bytes_compare(a->key, a->key_len, b->key, b->key_len) == 0)
            return b;
    }
    return NULL;
}

static int entry_compare(const void *key, const void *member)
{
    const st_metadata *entry = key;
    const struct meta_item *item = *(const struct meta_item *const *)member;
    return bytes_compare(entry->key, entry->key_len, item->key, item->key_len);
}

bool meta_has(const struct meta_list *list, const st_metadata *entry)
{
    return list->count &&
           bsearch(entry, list->sorted, list->count, sizeof *list->sorted, entry_compare) != NULL;
}

/* ------------------------------------------------------------------------------- JSON text */

/* Says where in the text a message is about, for people who have it in an editor. */
static st_status error_place(const char *text, size_t len, st_error *error)
{
    size_t line = 1, column = 1, at = strlen(error->message);
    for (size_t i = 0; i < len && i < error->offset; i++) {
        bool newline = text[i] == '\n', first = ((unsigned char)text[i] & 0xc0) != 0x80;
        line += newline;
        column = newline ? 1 : column + first;
    }
    if (error->offset != ST_NO_OFFSET)
        snprintf(error->message + at, sizeof error->message - at, " (line %zu, column %zu)", line,
                 column);
    return error->status;
}

static st_status text_fail(const char *name, uint64_t offset, st_error *error, const char *what)
{
    error_fill(error, ST_ERR_JSON, "%.200s: %.200s, at byte %" PRIu64, name, what, offset);
    error->offset = offset;
    return ST_ERR_JSON;
}

static const char *kind_name(int32_t kind)
{
    switch (kind) {
    case ST_JSON_OBJECT_BEGIN: return "an object";
    case ST_JSON_ARRAY_BEGIN: return "an array";
    case ST_JSON_STRING: return "a string";
    case ST_JSON_NUMBER: return "a number";
    case ST_JSON_NULL: return "null";
    default: return "a boolean";
    }
}

/* Reads a member, whose key was just read. */
static st_status member_read(struct meta_list *list, st_json_reader *reader,
                             const st_json_token *key, const char *name, st_error *error)
{
    st_json_token value;
    char what[256];
    char *text = text_copy(key->text, key->len);
    uint64_t offset = key->offset;
    st_metadata entry = {.key = text, .key_len = (uint32_t)key->len};
    st_status status = st_json_reader_next(reader, &value, error);
    if (status == ST_OK && value.kind != ST_JSON_STRING) {
        snprintf(what, sizeof what,
                 "the value of %s is %s; metadata holds strings only: put it into quotes",
                 text_quote(text, entry.key_len).text, kind_name(value.kind));
        status = text_fail(name, value.offset, error, what);
    }
    if (status == ST_OK) {
        entry.value = value.text;
        entry.value_len = (uint32_t)value.len;
        meta_add(list, &entry, offset);
    }
    free(text);
    return status;
}

static st_status members_read(struct meta_list *list, st_json_reader *reader, const char *name,
                              st_error *error)
{
    st_json_token token;
    char what[128];
    st_status status = st_json_reader_next(reader, &token, error);
    if (status == ST_OK && token.kind != ST_JSON_OBJECT_BEGIN) {
        snprintf(what, sizeof what, "metadata is a JSON object of strings, not %s",
                 kind_name(token.kind));
        return text_fail(name, token.offset, error, what);
    }
    while (status == ST_OK) {
        status = st_json_reader_next(reader, &token, error);
        if (status == ST_OK && token.kind == ST_JSON_OBJECT_END)
            return st_json_reader_next(reader, &token, error); /* the end, or what follows it */
        if (status == ST_OK)
            status = member_read(list, reader, &token, name, error);
    }
    return status;
}

st_status meta_read(struct meta_list *list, const char *text, size_t len, const char *name,
                    st_error *error)
{
    st_json_reader *reader;
    char what[256];
    st_status status = st_json_reader_new(NULL, text, len, name, &reader, error);
    if (status != ST_OK)
        return status;
    status = members_read(list, reader, name, error);
    st_json_reader_free(reader);
    const struct meta_item *twice = status == ST_OK ? meta_sort(list) : NULL;
    if (twice) {
        snprintf(what, sizeof what, "the key %s is there twice",
                 text_quote(twice->key, twice->key_len).text);
        status = text_fail(name, twice->offset, error, what);
    }
    return status == ST_ERR_JSON ? error_place(text, len, error) : status;
}

/* -------------------------------------------------------------------------------- changes */

void meta_remove(struct meta_list *list, const st_metadata *entry)
{
    for (size_t i = 0; i < list->removed_count; i++)
        if (list->removed[i] == entry)
            return;
    size_t room = list->removed_count;
    list->removed =
        memory_grow(list->removed, &room, list->removed_count + 1, sizeof *list->removed);
    list->removed[list->removed_count++] = entry;
}

void meta_resolve(struct meta_list *list, const st_header *header, bool replace)
{
    size_t count = st_header_metadata_count(header);
    free(list->removed);
    list->removed = NULL;
    list->removed_count = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct meta_item *item = &list->at[i];
        item->old = st_header_metadata_find(header, item->key, item->key_len);
        item->same = item->old && item->old->value_len == item->value_len &&
                     memcmp(item->old->value, item->value, item->value_len) == 0;
    }
    if (!replace)
        return;
    list->removed = memory_new(count, sizeof *list->removed);
    for (size_t i = 0; i < count; i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        if (!meta_has(list, entry))
            list->removed[list->removed_count++] = entry;
    }
}

bool meta_is_change(const struct meta_list *list, const st_header *header)
{
    if (list->removed_count || (list->cleared && st_header_has_metadata(header)))
        return true;
    for (size_t i = 0; i < list->count; i++)
        if (!list->at[i].same)
            return true;
    return false;
}

st_status meta_apply(const struct meta_list *list, st_edit *edit, st_error *error)
{
    st_status status = ST_OK;
    if (list->cleared)
        st_edit_clear_metadata(edit);
    for (size_t i = 0; i < list->removed_count && !list->cleared && status == ST_OK; i++) {
        const st_metadata *entry = list->removed[i];
        status = st_edit_remove_metadata(edit, entry->key, entry->key_len, error);
    }
    for (size_t i = 0; i < list->count && status == ST_OK; i++) {
        const struct meta_item *item = &list->at[i];
        st_metadata entry = {item->key, (uint32_t)item->key_len, (uint32_t)item->value_len,
                             item->value};
        if (!item->same)
            status = st_edit_set_metadata(edit, &entry, error);
    }
    return status;
}

/* -------------------------------------------------------------------------------- printing */

/* Writes a field, "-" for one that is not there, and on a terminal nothing. */
static void field_print(struct out *out, const char *between, const char *text, size_t len)
{
    if (!text && out->tty)
        return;
    out_text(out, out->tty ? between : "\t");
    if (text)
        out_escaped(out, text, len);
    else
        out_text(out, "-");
}

static void change_print(struct out *out, char sign, const st_metadata *entry, const char *shard)
{
    const char *value = sign == '-' ? NULL : entry->value;
    out_print(out, out->tty ? "%c " : "%c\t", sign);
    out_style(out, STYLE_GROUP);
    out_escaped(out, entry->key, entry->key_len);
    out_style(out, STYLE_PLAIN);
    if (value || shard)
        field_print(out, ": ", value, value ? entry->value_len : 0);
    if (shard)
        field_print(out, "  ", shard, strlen(shard));
    out_text(out, "\n");
}

void meta_print(const struct meta_list *list, const char *shard, struct out *out)
{
    for (size_t i = 0; i < list->removed_count; i++)
        change_print(out, '-', list->removed[i], shard);
    for (size_t i = 0; i < list->count; i++) {
        const struct meta_item *item = &list->at[i];
        st_metadata entry = {item->key, (uint32_t)item->key_len, (uint32_t)item->value_len,
                             item->value};
        if (!item->same)
            change_print(out, item->old ? '~' : '+', &entry, shard);
    }
}

void meta_json_set(const struct meta_list *list, const char *shard, struct json *json)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct meta_item *item = &list->at[i];
        if (item->same)
            continue;
        st_json_emit_object_begin(json->emitter);
        if (shard)
            json_text(json, "shard", shard);
        json_string(json, "key", item->key, item->key_len);
        json_string(json, "value", item->value, item->value_len);
        json_key(json, "old");
        if (item->old)
            st_json_emit_string(json->emitter, item->old->value, item->old->value_len);
        else
            st_json_emit_null(json->emitter);
        st_json_emit_object_end(json->emitter);
    }
}

void meta_json_removed(const struct meta_list *list, const char *shard, struct json *json)
{
    for (size_t i = 0; i < list->removed_count; i++) {
        const st_metadata *entry = list->removed[i];
        st_json_emit_object_begin(json->emitter);
        if (shard)
            json_text(json, "shard", shard);
        json_string(json, "key", entry->key, entry->key_len);
        json_string(json, "old", entry->value, entry->value_len);
        st_json_emit_object_end(json->emitter);
    }
}
