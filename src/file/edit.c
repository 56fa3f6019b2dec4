/* SPDX-License-Identifier: Apache-2.0 */
/* The list of an edit's changes to tensors. */
#include "file/edit.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/room.h"
#include "format/header_emit.h"
#include "format/region.h"
#include "io/os.h"

#include <inttypes.h>
#include <string.h>

#define EDIT_NO_FILE "<new file>"

/* -------------------------------------------------------------------------------- messages */

/* `tensor` may be NULL. */
static st_status edit_nomem(const st_edit *edit, const st_tensor *tensor, uint64_t size,
                            st_error *error)
{
    return st__error_locate(error, st__fail_nomem(error, size), edit->name, tensor);
}

static st_status tensor_refuse(const st_edit *edit, const st_tensor *tensor, st_status status,
                               const char *what, st_error *error)
{
    return st__fail(error, status, ST_NO_OFFSET, "%s: tensor %s: %s", edit->name,
                    st__quote(tensor->name, tensor->name_len).text, what);
}

/* --------------------------------------------------------------------------------- sources */

/* Where the source is whose tensors lie at `tensors`, or is to be put. */
static size_t source_place(const st_edit *edit, const st_tensor *tensors)
{
    size_t low = 0, high = edit->source_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)edit->sources[middle]->tensors < (uintptr_t)tensors)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The source that a tensor lies in; NULL: none of this edit. */
static st__edit_source *source_find(const st_edit *edit, const st_tensor *tensor)
{
    size_t at = source_place(edit, tensor);
    if (at < edit->source_count && edit->sources[at]->tensors == tensor)
        return edit->sources[at];
    if (at == 0)
        return NULL;
    st__edit_source *source = edit->sources[at - 1];
    uintptr_t away = (uintptr_t)tensor - (uintptr_t)source->tensors;
    return away < source->count * sizeof *tensor && away % sizeof *tensor == 0 ? source : NULL;
}

static void source_free(const st_edit *edit, st__edit_source *source)
{
    st__free(edit->context, source->entries, source->count * sizeof *source->entries);
    st__free(edit->context, source, sizeof *source);
}

/* Adds a file of at least one tensor. */
static st_status source_add(st_edit *edit, const st_file *file, st__edit_source **out,
                            st_error *error)
{
    size_t wanted = sizeof **out;
    void *sources = edit->sources;
    if (!st__room_make(edit->context, &sources, sizeof *edit->sources, edit->source_count,
                       &edit->source_room, &wanted))
        return edit_nomem(edit, NULL, wanted, error);
    edit->sources = sources;
    st__edit_source *source = st__alloc_zeroed(edit->context, 1, sizeof *source);
    if (!source)
        return edit_nomem(edit, NULL, wanted, error);
    source->file = file;
    source->tensors = st_file_at(file, 0);
    source->count = st_file_count(file);
    source->entries = st__alloc_zeroed(edit->context, source->count, sizeof *source->entries);
    if (!source->entries) {
        wanted = source->count * sizeof *source->entries;
        st__free(edit->context, source, sizeof *source);
        return edit_nomem(edit, NULL, wanted, error);
    }
    size_t at = source_place(edit, source->tensors);
    memmove(edit->sources + at + 1, edit->sources + at,
            (edit->source_count - at) * sizeof *edit->sources);
    edit->sources[at] = source;
    edit->source_count++;
    *out = source;
    return ST_OK;
}

/* --------------------------------------------------------------------------------- entries */

static void entry_release(const st_edit *edit, st__edit_entry *entry)
{
    if (entry->array)
        st_buffer_release(entry->array->buffer);
    st__free(edit->context, entry->array, entry->array_size);
    if (entry->name)
        st__free(edit->context, entry->name, (size_t)entry->name_len + 1);
}

/* Gives the entry of a tensor that is in. */
static st_status edit_entry_find(const st_edit *edit, const st_tensor *tensor, st__edit_entry **out,
                                 st_error *error)
{
    const st__edit_source *source = source_find(edit, tensor);
    uint32_t number = source ? source->entries[tensor - source->tensors] : 0;
    if (number == 0) /* its memory is not to be looked at: it may be anybody's */
        return st__fail(error, ST_ERR_NOT_FOUND, ST_NO_OFFSET,
                        "%s: the tensor is of no file of this edit, or was not taken in",
                        edit->name);
    *out = &edit->entries[number - 1];
    if ((*out)->dropped)
        return tensor_refuse(edit, tensor, ST_ERR_NOT_FOUND, "it was dropped", error);
    return ST_OK;
}

/* Makes room for one more. */
static st_status entries_grow(st_edit *edit, st_error *error)
{
    size_t wanted = SIZE_MAX;
    void *entries = edit->entries;
    if (edit->count >= UINT32_MAX - 1 ||
        !st__room_make(edit->context, &entries, sizeof *edit->entries, edit->count, &edit->room,
                       &wanted))
        return edit_nomem(edit, NULL, wanted, error);
    edit->entries = entries;
    return ST_OK;
}

/* A copy of a name that a tensor may have. */
static st_status name_keep(const st_edit *edit, const char *name, size_t len, char **out,
                           st_error *error)
{
    uint64_t size;
    uint32_t quoted;
    st_tensor named = {.name = name, .name_len = (uint32_t)len, .shape = &size, .dtype = ST_U8};
    if (len >= UINT32_MAX)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: a tensor's name of %zu bytes is too long", edit->name, len);
    ST_TRY(st__emission_check(&named, edit->name, &size, &quoted, error));
    char *copy = st__alloc(edit->context, len + 1);
    if (!copy)
        return edit_nomem(edit, &named, len + 1, error);
    if (len)
        memcpy(copy, name, len);
    copy[len] = '\0';
    *out = copy;
    return ST_OK;
}

/* Gives an entry a name that name_keep made, or, with NULL, that of its tensor. */
static void name_give(const st_edit *edit, st__edit_entry *entry, char *name, size_t len)
{
    const st_tensor *tensor = entry->tensor;
    if (entry->name)
        st__free(edit->context, entry->name, (size_t)entry->name_len + 1);
    if (name && tensor && tensor->name_len == len && memcmp(tensor->name, name, len) == 0) {
        st__free(edit->context, name, len + 1);
        name = NULL;
    }
    entry->name = name;
    entry->name_len = name ? (uint32_t)len : 0;
}

/* --------------------------------------------------------------------------- making, freeing */

static st_status edit_options_check(const st_edit_options *options, st_error *error)
{
    st_writer_options writer = {.alignment = options->alignment,
                                .reserve = options->reserve,
                                .max_header_size = options->max_header_size};
    if (options->order > ST_EDIT_ORDER_NAME)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_edit_options: unknown order %" PRIu32, options->order);
    memcpy(writer.reserved, options->reserved, sizeof writer.reserved);
    return st__writer_options_check(&writer, "st_edit_options", error);
}

/* Takes all tensors of the edited file in. */
static st_status tensors_take(st_edit *edit, st_error *error)
{
    st__edit_source *source;
    size_t count = st_file_count(edit->file);
    if (count == 0)
        return ST_OK;
    ST_TRY(source_add(edit, edit->file, &source, error));
    edit->entries = st__alloc_zeroed(edit->context, count, sizeof *edit->entries);
    if (!edit->entries)
        return edit_nomem(edit, NULL, (uint64_t)count * sizeof *edit->entries, error);
    edit->room = count;
    for (; edit->count < count; edit->count++) {
        edit->entries[edit->count] =
            (st__edit_entry){.tensor = &source->tensors[edit->count], .source = source};
        source->entries[edit->count] = (uint32_t)edit->count + 1;
    }
    return ST_OK;
}

st_status st_edit_new(const st_file *file, const st_edit_options *options, st_edit **out,
                      st_error *error)
{
    static const st_edit_options defaults;
    const st_edit_options *o = options ? options : &defaults;
    ST_TRY(edit_options_check(o, error));
    st_edit *edit = st__alloc_zeroed(o->context, 1, sizeof *edit);
    if (!edit)
        return st__error_locate(error, st__fail_nomem(error, sizeof *edit),
                                file ? st_file_name(file) : EDIT_NO_FILE, NULL);
    edit->context = st_context_retain(o->context);
    edit->options = *o;
    edit->file = file;
    edit->name = file ? st_file_name(file) : EDIT_NO_FILE;
    st__os_random(edit->hash_key.words, sizeof edit->hash_key.words);
    st_status status = ST_OK;
    if (file)
        status = tensors_take(edit, error);
    if (file && status == ST_OK)
        status = st__edit_pairs_take(edit, error);
    if (status != ST_OK) {
        st_edit_free(edit);
        return status;
    }
    *out = edit;
    return ST_OK;
}

void st_edit_free(st_edit *edit)
{
    if (!edit)
        return;
    st_context *context = edit->context;
    st__edit_layout_drop(edit);
    for (size_t i = 0; i < edit->count; i++)
        entry_release(edit, &edit->entries[i]);
    st__free(context, edit->entries, edit->room * sizeof *edit->entries);
    for (size_t i = 0; i < edit->source_count; i++)
        source_free(edit, edit->sources[i]);
    st__free(context, edit->sources, edit->source_room * sizeof *edit->sources);
    st__edit_pairs_release(edit);
    st__free(context, edit, sizeof *edit);
    st_context_release(context);
}

void st_edit_on_cast(st_edit *edit, st_edit_cast_fn fn, void *ctx)
{
    edit->on_cast = fn;
    edit->on_cast_ctx = ctx;
}

/* --------------------------------------------------------------------------------- changes */

st_status st_edit_rename(st_edit *edit, const st_tensor *tensor, const char *name, size_t len,
                         st_error *error)
{
    st__edit_entry *entry;
    char *copy;
    ST_TRY(edit_entry_find(edit, tensor, &entry, error));
    ST_TRY(name_keep(edit, name, len, &copy, error));
    name_give(edit, entry, copy, len);
    st__edit_layout_drop(edit);
    return ST_OK;
}

/* The new name of one that matches; ST_ERR_NOT_FOUND for another. `*out` is the edit's to free. */
static st_status name_make(const st_edit *edit, const st_name_rule *rule, st__key name, char **out,
                           size_t *len, st_error *error)
{
    size_t size = 0;
    st_status status = st_name_rule_apply(rule, name.text, name.len, NULL, &size, error);
    if (status != ST_ERR_BUFFER_SIZE)
        return status;
    size_t room = size + 1;
    char *text = st__alloc(edit->context, room);
    if (!text)
        return edit_nomem(edit, NULL, room, error);
    size = room;
    status = st_name_rule_apply(rule, name.text, name.len, text, &size, error);
    *len = size;
    if (status == ST_OK)
        status = name_keep(edit, text, size, out, error);
    st__free(edit->context, text, room);
    return status;
}

/* The names that are to be given, by entry. */
typedef struct new_name {
    char *text; /* NULL: the old one stays */
    size_t len;
} new_name;

static st_status names_make(const st_edit *edit, const st_name_rule *rule, new_name *names,
                            uint64_t *matched, st_error *error)
{
    for (size_t i = 0; i < edit->count; i++) {
        const st__edit_entry *entry = &edit->entries[i];
        if (entry->dropped)
            continue;
        st_error said;
        st_status status =
            name_make(edit, rule, st__edit_name(entry), &names[i].text, &names[i].len, &said);
        if (status == ST_OK)
            (*matched)++;
        if (status == ST_OK || status == ST_ERR_NOT_FOUND)
            continue;
        if (error)
            *error = said;
        return status;
    }
    return ST_OK;
}

st_status st_edit_rename_all(st_edit *edit, const st_name_rule *rule, uint64_t *matched,
                             st_error *error)
{
    uint64_t count = 0;
    new_name *names = st__alloc_zeroed(edit->context, edit->count + 1, sizeof *names);
    if (!names)
        return edit_nomem(edit, NULL, (uint64_t)edit->count * sizeof *names, error);
    st_status status = names_make(edit, rule, names, &count, error);
    for (size_t i = 0; i < edit->count; i++) {
        if (!names[i].text)
            continue;
        if (status == ST_OK)
            name_give(edit, &edit->entries[i], names[i].text, names[i].len);
        else
            st__free(edit->context, names[i].text, names[i].len + 1);
    }
    st__free(edit->context, names, (edit->count + 1) * sizeof *names);
    if (status != ST_OK)
        return status;
    if (matched)
        *matched = count;
    st__edit_layout_drop(edit);
    return ST_OK;
}

st_status st_edit_drop(st_edit *edit, const st_tensor *tensor, st_error *error)
{
    st__edit_entry *entry;
    ST_TRY(edit_entry_find(edit, tensor, &entry, error));
    entry->dropped = true;
    st__edit_layout_drop(edit);
    return ST_OK;
}

st_status st_edit_cast(st_edit *edit, const st_tensor *tensor, st_dtype dtype, st_error *error)
{
    st__edit_entry *entry;
    uint64_t size;
    uint32_t quoted;
    ST_TRY(edit_entry_find(edit, tensor, &entry, error));
    if (entry->array)
        return tensor_refuse(edit, tensor, ST_ERR_ARGUMENT,
                             "its data are replaced; cast what replaces them", error);
    if (dtype != tensor->dtype && !st_dtype_casts(tensor->dtype, dtype)) {
        const char *to = st_dtype_code(dtype);
        return st__fail(
            error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
            "%s: tensor %s: %s cannot be cast to %s; only floats can, to floats", edit->name,
            st__quote(tensor->name, tensor->name_len).text,
            st_header_dtype_code(st_file_header(entry->source->file), tensor->dtype, NULL),
            to ? to : "a dtype that is none");
    }
    if (dtype != tensor->dtype) {
        st_tensor cast = *tensor;
        cast.dtype = dtype;
        ST_TRY(st__emission_check(&cast, edit->name, &size, &quoted, error));
    }
    entry->cast = dtype == tensor->dtype ? 0 : dtype;
    st__edit_layout_drop(edit);
    return ST_OK;
}

/* --------------------------------------------------------------------------- out of memory */

static st_status edit_array_check(const st_edit *edit, const st_tensor *named,
                                  const st_array *array, st_error *error)
{
    st_tensor tensor = *named;
    st__runs runs;
    uint64_t size, below;
    uint32_t quoted;
    tensor.dtype = array->dtype;
    tensor.shape = array->shape;
    tensor.ndim = array->ndim;
    if (st_dtype_bits(array->dtype) == 0)
        return tensor_refuse(edit, named, ST_ERR_DTYPE_UNKNOWN, "the array's dtype is none", error);
    if (array->device != 0)
        return tensor_refuse(edit, named, ST_ERR_UNSUPPORTED,
                             "the array lies on a device; copy it to the host's memory first",
                             error);
    ST_TRY(st__emission_check(&tensor, edit->name, &size, &quoted, error));
    st_status status = st__runs_init_array(&runs, edit->context, array, &below, error);
    if (status != ST_OK)
        return st__error_locate(error, status, edit->name, named);
    st__runs_release(&runs);
    return ST_OK;
}

/* Copies the description of an array, shape and strides included. `named` is what it will be called. */
static st_status array_keep(const st_edit *edit, const st_tensor *named, const st_array *array,
                            st__edit_entry *entry, st_error *error)
{
    size_t numbers, size;
    ST_TRY(edit_array_check(edit, named, array, error));
    if (!st__mul_size(array->ndim, 2 * sizeof(uint64_t), &numbers) ||
        !st__add_size(numbers, sizeof *array, &size))
        return edit_nomem(edit, named, UINT64_MAX, error);
    st_array *copy = st__alloc(edit->context, size);
    if (!copy)
        return edit_nomem(edit, named, size, error);
    uint64_t *shape = (uint64_t *)(void *)(copy + 1);
    int64_t *strides = (int64_t *)(void *)(shape + array->ndim);
    *copy = *array;
    if (array->ndim)
        memcpy(shape, array->shape, array->ndim * sizeof *shape);
    if (array->ndim && array->strides)
        memcpy(strides, array->strides, array->ndim * sizeof *strides);
    copy->shape = shape;
    copy->strides = array->strides ? strides : NULL;
    copy->buffer = array->buffer ? st_buffer_retain(array->buffer) : NULL;
    if (entry->array)
        st_buffer_release(entry->array->buffer);
    st__free(edit->context, entry->array, entry->array_size);
    entry->array = copy;
    entry->array_size = size;
    return ST_OK;
}

st_status st_edit_replace(st_edit *edit, const st_tensor *tensor, const st_array *array,
                          st_error *error)
{
    st__edit_entry *entry;
    ST_TRY(edit_entry_find(edit, tensor, &entry, error));
    ST_TRY(array_keep(edit, tensor, array, entry, error));
    entry->cast = 0;
    st__edit_layout_drop(edit);
    return ST_OK;
}

st_status st_edit_add(st_edit *edit, const char *name, size_t len, const st_array *array,
                      st_error *error)
{
    st__edit_entry entry = {.added = true};
    ST_TRY(entries_grow(edit, error));
    ST_TRY(name_keep(edit, name, len, &entry.name, error));
    entry.name_len = (uint32_t)len;
    st_tensor named = {.name = entry.name, .name_len = entry.name_len};
    st_status status = array_keep(edit, &named, array, &entry, error);
    if (status != ST_OK) {
        entry_release(edit, &entry);
        return status;
    }
    edit->entries[edit->count++] = entry;
    st__edit_layout_drop(edit);
    return ST_OK;
}

/* ------------------------------------------------------------------------------- other files */

/* Gives the source of a file that has `tensor`, adding it if it is a new one. */
static st_status source_get(st_edit *edit, const st_file *file, const st_tensor *tensor,
                            st__edit_source **out, st_error *error)
{
    size_t count = st_file_count(file);
    uintptr_t away = count ? (uintptr_t)tensor - (uintptr_t)st_file_at(file, 0) : 0;
    if (away >= count * sizeof *tensor || away % sizeof *tensor)
        return st__fail(error, ST_ERR_NOT_FOUND, ST_NO_OFFSET,
                        "%s: the tensor to take in is none of %s", edit->name, st_file_name(file));
    *out = source_find(edit, tensor);
    return *out ? ST_OK : source_add(edit, file, out, error);
}

st_status st_edit_include(st_edit *edit, const st_file *file, const st_tensor *tensor,
                          const char *name, size_t len, st_error *error)
{
    st__edit_source *source;
    char *copy = NULL;
    ST_TRY(source_get(edit, file, tensor, &source, error));
    size_t index = (size_t)(tensor - source->tensors);
    uint32_t number = source->entries[index];
    if (number && !edit->entries[number - 1].dropped)
        return tensor_refuse(edit, tensor, ST_ERR_ARGUMENT, "it is in already", error);
    ST_TRY(entries_grow(edit, error));
    if (name)
        ST_TRY(name_keep(edit, name, len, &copy, error));
    st__edit_entry *entry = &edit->entries[edit->count++];
    *entry = (st__edit_entry){.tensor = tensor, .source = source, .added = true};
    name_give(edit, entry, copy, len);
    source->entries[index] = (uint32_t)edit->count;
    st__edit_layout_drop(edit);
    return ST_OK;
}
