/* SPDX-License-Identifier: Apache-2.0 */
/* The member "diff" of the document. */
#include "differences.h"

#include <string.h>

static void json_side(struct json *json, const char *key, const st_side_tensor *tensor)
{
    json_key(json, key);
    if (!tensor) {
        st_json_emit_null(json->emitter);
        return;
    }
    st_json_emit_object_begin(json->emitter);
    json_tensor(json, st_file_header(tensor->file), tensor->tensor);
    st_json_emit_object_end(json->emitter);
}

static void json_index(struct json *json, const char *key, uint64_t index)
{
    json_key(json, key);
    if (index == UINT64_MAX)
        st_json_emit_null(json->emitter);
    else
        st_json_emit_u64(json->emitter, index);
}

static void json_number_of(struct json *json, const char *key, double value)
{
    json_key(json, key);
    json_double(json, value);
}

static void json_measures(struct json *json, const st_deviation *v)
{
    json_u64(json, "beyond", v->beyond);
    json_u64(json, "nan_a", v->nan_a);
    json_u64(json, "nan_b", v->nan_b);
    json_u64(json, "nan_both", v->nan_both);
    json_u64(json, "infinite", v->infinite);
    json_number_of(json, "max_absolute", v->max_absolute);
    json_index(json, "max_absolute_at", v->max_absolute_at);
    json_u64(json, "max_integer", v->max_integer);
    json_number_of(json, "mean_absolute", v->mean_absolute);
    json_number_of(json, "max_relative", v->max_relative);
    json_index(json, "max_relative_at", v->max_relative_at);
}

static void json_values(struct json *json, const st_deviation *v)
{
    json_key(json, "values");
    if (!v) {
        st_json_emit_null(json->emitter);
        return;
    }
    const bool bytes = v->flags & ST_DEVIATION_BYTES;
    st_json_emit_object_begin(json->emitter);
    json_text(json, "of", bytes ? "bytes" : "elements");
    json_u64(json, "count", v->count);
    json_u64(json, "different", v->different);
    json_index(json, "first", v->first);
    json_bool(json, "same", v->same);
    if (!bytes)
        json_measures(json, v);
    st_json_emit_object_end(json->emitter);
}

static void json_parts(struct json *json, uint32_t parts)
{
    static const char *const names[] = {"dtype", "shape", "values", "offset", "order"};
    json_key(json, "parts");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (parts & 1u << i)
            st_json_emit_string(json->emitter, names[i], strlen(names[i]));
    st_json_emit_array_end(json->emitter);
}

static const char *kind_name(const st_change *change)
{
    switch (change->kind) {
    case ST_CHANGE_REMOVED: return "removed";
    case ST_CHANGE_ADDED: return "added";
    case ST_CHANGE_RENAMED: return "renamed";
    default: return "changed";
    }
}

static void json_entry(struct json *json, const char *key, const st_metadata *entry)
{
    json_key(json, key);
    if (entry)
        st_json_emit_string(json->emitter, entry->value, entry->value_len);
    else
        st_json_emit_null(json->emitter);
}

/* The metadata come first, and then the tensors. */
static void json_tensors_begin(struct differences *changes)
{
    if (changes->in_tensors)
        return;
    changes->in_tensors = true;
    st_json_emit_array_end(changes->json->emitter);
    json_key(changes->json, "tensors");
    st_json_emit_array_begin(changes->json->emitter);
}

void differences_json_take(struct differences *changes, const st_change *change)
{
    struct json *json = changes->json;
    const st_metadata *a = change->metadata_a, *b = change->metadata_b;
    if (!a && !b)
        json_tensors_begin(changes);
    st_json_emit_object_begin(json->emitter);
    json_text(json, "change", kind_name(change));
    if (a || b) {
        json_string(json, "key", (a ? a : b)->key, (a ? a : b)->key_len);
        json_entry(json, "a", a);
        json_entry(json, "b", b);
    } else {
        json_bool(json, "differs", change->differs);
        json_parts(json, change->parts);
        json_side(json, "a", change->a);
        json_side(json, "b", change->b);
        json_values(json, change->values);
    }
    st_json_emit_object_end(json->emitter);
}

void differences_json_summary(struct json *json, const st_compare_summary *s)
{
    json_key(json, "summary");
    st_json_emit_object_begin(json->emitter);
    json_u64(json, "differences", s->differences);
    json_u64(json, "same", s->same);
    json_u64(json, "changed", s->changed);
    json_u64(json, "removed", s->removed);
    json_u64(json, "added", s->added);
    json_u64(json, "renamed", s->renamed);
    json_u64(json, "moved", s->moved);
    json_u64(json, "metadata_same", s->metadata_same);
    json_u64(json, "metadata_changed", s->metadata_changed);
    json_u64(json, "metadata_removed", s->metadata_removed);
    json_u64(json, "metadata_added", s->metadata_added);
    json_u64(json, "elements", s->elements);
    json_u64(json, "different", s->different);
    json_u64(json, "beyond", s->beyond);
    st_json_emit_object_end(json->emitter);
}

void differences_begin(struct differences *changes)
{
    if (!changes->json)
        return;
    json_key(changes->json, "metadata");
    st_json_emit_array_begin(changes->json->emitter);
}

void differences_end(struct differences *changes)
{
    if (!changes->json)
        return;
    json_tensors_begin(changes);
    st_json_emit_array_end(changes->json->emitter);
}
