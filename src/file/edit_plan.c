/* SPDX-License-Identifier: Apache-2.0 */
/* What the changes come to: the new file, laid out, and whether it can be made of the old one where that lies. */
#include "file/edit.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/endian.h"
#include "base/error.h"
#include "format/order.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Of file systems that share blocks: XFS, Btrfs, ZFS, bcachefs, at least. */
#define DATA_PAGE 4096u
/* Data of fewer bytes are not worth the blanks. */
#define SETTLED_LEAST (UINT64_C(1) << 20)

/* ----------------------------------------------------------------------------------- filling */

static st_status plan_nomem(const st_edit *edit, uint64_t size, st_error *error)
{
    return st__error_locate(error, st__fail_nomem(error, size), edit->name, NULL);
}

/* Adds a tensor as it will be, of an unknown dtype under that which the writer knows it by. */
static st_status plan_add(const st_edit *edit, st__edit_plan *plan, uint32_t number,
                          st_error *error)
{
    const st__edit_entry *entry = &edit->entries[number];
    const st_array *array = entry->array;
    st__key name = st__edit_name(entry);
    st_tensor tensor = {.dtype = 0};
    if (array) {
        tensor = (st_tensor){.shape = array->shape, .ndim = array->ndim, .dtype = array->dtype};
    } else {
        tensor = *entry->tensor;
        tensor.dtype = entry->cast ? entry->cast : tensor.dtype;
    }
    tensor.name = name.text;
    tensor.name_len = name.len;
    if (tensor.dtype >= ST_DTYPE_UNKNOWN) {
        size_t len;
        const st_header *header = st_file_header(entry->source->file);
        const char *code = st_header_dtype_code(header, tensor.dtype, &len);
        ST_TRY(st_writer_add_dtype(plan->writer, code, len, &tensor.dtype, error));
    }
    size_t index;
    ST_TRY(st_writer_add(plan->writer, &tensor, &index, error));
    plan->placed[index] = number;
    return ST_OK;
}

/* The names of what stays, `*count` of them, each with the number of its entry, and their order in that of the plan. */
static st_status names_order(const st_edit *edit, const st__edit_plan *plan, st__key *names,
                             size_t *count, st_error *error)
{
    *count = 0;
    for (size_t i = 0; i < edit->count; i++) {
        if (edit->entries[i].dropped)
            continue;
        names[*count] = st__edit_name(&edit->entries[i]);
        names[(*count)++].other = (uint32_t)i;
    }
    st_status status = ST_OK;
    if (*count)
        status = st__order_by_text(edit->context, names, sizeof *names, *count, plan->order, error);
    return status == ST_OK ? ST_OK : st__error_locate(error, status, edit->name, NULL);
}

/* The same in the order of names. */
static st_status plan_add_by_name(const st_edit *edit, st__edit_plan *plan, st_error *error)
{
    size_t count;
    st__key *names = st__alloc_zeroed(edit->context, plan->room, sizeof *names);
    if (!names)
        return plan_nomem(edit, (uint64_t)plan->room * sizeof *names, error);
    st_status status = names_order(edit, plan, names, &count, error);
    for (size_t i = 0; i < count && status == ST_OK; i++)
        status = plan_add(edit, plan, names[plan->order[i]].other, error);
    st__free(edit->context, names, plan->room * sizeof *names);
    return status;
}

/* ------------------------------------------------------------------------------- name clashes */

typedef struct origin_text {
    char text[sizeof(st__quoted) + 32];
} origin_text;

/* What one of two tensors of the same name was before. */
static origin_text origin_name(const st__edit_entry *entry)
{
    origin_text origin;
    const st_tensor *tensor = entry->tensor;
    if (!tensor)
        (void)snprintf(origin.text, sizeof origin.text, "one that is added");
    else
        (void)snprintf(origin.text, sizeof origin.text, "%s%s",
                       st__quote(tensor->name, tensor->name_len).text,
                       entry->added ? " of another file" : "");
    return origin;
}

static void clash_tell(const st_edit *edit, const st__edit_plan *plan, const st__key *names,
                       size_t count, st_error *error)
{
    for (size_t i = 1; i < count; i++) {
        const st__key *a = &names[plan->order[i - 1]], *b = &names[plan->order[i]];
        if (a->len != b->len || memcmp(a->text, b->text, a->len) != 0)
            continue;
        (void)st__fail(
            error, ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
            "%s: tensor %s: two tensors have this name, now %s and %s; rename or drop one "
            "of them",
            edit->name, st__quote(a->text, a->len).text, origin_name(&edit->entries[a->other]).text,
            origin_name(&edit->entries[b->other]).text);
        return;
    }
}

/* The writer knows two tensors by their numbers, and not what they were. Without memory its message stays. */
static void plan_clash(const st_edit *edit, const st__edit_plan *plan, st_error *error)
{
    size_t count;
    st_error unused;
    st__key *names = st__alloc_zeroed(edit->context, plan->room, sizeof *names);
    if (names && names_order(edit, plan, names, &count, &unused) == ST_OK)
        clash_tell(edit, plan, names, count, error);
    st__free(edit->context, names, plan->room * sizeof *names);
}

static st_status plan_metadata(const st_edit *edit, st__edit_plan *plan, st_error *error)
{
    if (edit->has_metadata)
        ST_TRY(st_writer_add_metadata(plan->writer, NULL, error));
    for (size_t i = 0; i < edit->pair_count; i++)
        if (!edit->pairs[i].removed)
            ST_TRY(st_writer_add_metadata(plan->writer, &edit->pairs[i].pair, error));
    return ST_OK;
}

/* Lets the data begin as far behind a page as they do now, where nothing else is asked for and they are worth the
 * blanks: what a file system shares, and what it copies without shifting, are whole blocks of the old file. */
static void plan_settle(const st_edit *edit, st_writer *writer)
{
    if (!edit->file || edit->options.alignment)
        return;
    const st_header *header = st_file_header(edit->file);
    uint32_t offset = (uint32_t)(st_header_data_offset(header) % DATA_PAGE);
    if (offset % writer->alignment || (offset && st_header_data_size(header) < SETTLED_LEAST))
        return;
    writer->page = DATA_PAGE;
    writer->page_offset = offset;
}

static st_status plan_fill(const st_edit *edit, st__edit_plan *plan, st_error *error)
{
    uint64_t size;
    plan->writer->name = edit->name;
    plan_settle(edit, plan->writer);
    if (edit->options.order == ST_EDIT_ORDER_NAME) {
        ST_TRY(plan_add_by_name(edit, plan, error));
    } else {
        for (size_t i = 0; i < edit->count; i++)
            if (!edit->entries[i].dropped)
                ST_TRY(plan_add(edit, plan, (uint32_t)i, error));
    }
    ST_TRY(plan_metadata(edit, plan, error));
    plan->count = st_writer_count(plan->writer);
    plan->writer->placed = plan->order;
    st_status status = st_writer_size(plan->writer, &size, error);
    if (status == ST_ERR_NAME_DUPLICATE)
        plan_clash(edit, plan, error);
    return status;
}

void st__edit_plan_release(const st_edit *edit, st__edit_plan *plan)
{
    st_writer_free(plan->writer);
    st__free(edit->context, plan->placed, plan->room * sizeof *plan->placed);
    st__free(edit->context, plan->order, plan->room * sizeof *plan->order);
    *plan = (st__edit_plan){0};
}

st_status st__edit_plan_make(const st_edit *edit, st__edit_plan *out, st_error *error)
{
    const st_edit_options *o = &edit->options;
    const st_writer_options options = {
        .order = o->order == ST_EDIT_ORDER_CANONICAL ? ST_ORDER_CANONICAL : ST_ORDER_ADDED,
        .alignment = o->alignment,
        .reserve = o->reserve,
        .max_header_size = o->max_header_size,
        .context = edit->context,
        .progress = o->progress};
    st__edit_plan plan = {.room = edit->count + 1}; /* never 0 */
    st_status status = ST_OK;
    plan.placed = st__alloc_zeroed(edit->context, plan.room, sizeof *plan.placed);
    plan.order = st__alloc_zeroed(edit->context, plan.room, sizeof *plan.order);
    if (!plan.placed || !plan.order)
        status = plan_nomem(edit, (uint64_t)plan.room * sizeof *plan.order, error);
    if (status == ST_OK)
        status = st_writer_new(&options, &plan.writer, error);
    if (status == ST_OK)
        status = plan_fill(edit, &plan, error);
    if (status != ST_OK) {
        st__edit_plan_release(edit, &plan);
        return status;
    }
    *out = plan;
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ looking */

void st__edit_layout_drop(st_edit *edit)
{
    st__edit_plan_release(edit, &edit->plan);
}

/* The bytes of a header's text: blanks stand behind its closing brace. */
static size_t text_measure(const st_writer *writer)
{
    size_t end = writer->header_size;
    while (writer->header[end - 1] == ' ')
        end--;
    return end - 8;
}

st_status st__edit_lay_out(st_edit *edit, st_error *error)
{
    if (edit->plan.writer)
        return ST_OK;
    ST_TRY(st__edit_plan_make(edit, &edit->plan, error));
    edit->header_text = text_measure(edit->plan.writer);
    return ST_OK;
}

const st_tensor *st_edit_at(const st_edit *edit, size_t index)
{
    const st__edit_plan *plan = &edit->plan;
    return index < plan->count ? st_writer_at(plan->writer, plan->order[index]) : NULL;
}

const st_tensor *st_edit_origin(const st_edit *edit, size_t index, const st_file **file)
{
    const st__edit_plan *plan = &edit->plan;
    if (index >= plan->count)
        return NULL;
    const st__edit_entry *entry = &edit->entries[plan->placed[plan->order[index]]];
    if (file && entry->source)
        *file = entry->source->file;
    return entry->tensor;
}

static void tensors_sum_up(const st_edit *edit, st_edit_summary *out)
{
    for (size_t i = 0; i < edit->count; i++) {
        const st__edit_entry *entry = &edit->entries[i];
        out->dropped += entry->dropped && !entry->added;
        if (entry->dropped)
            continue;
        out->added += entry->added;
        out->renamed += entry->name && !entry->added;
        out->cast += entry->cast != 0;
        out->replaced += entry->array && entry->tensor;
    }
    for (size_t i = 0; i < edit->plan.count; i++) {
        uint64_t size = st_tensor_size(st_writer_at(edit->plan.writer, i));
        if (st__edit_moves(&edit->entries[edit->plan.placed[i]]))
            out->moved += size;
        else
            out->written += size;
    }
}

void st__edit_sum_up(const st_edit *edit, st_edit_summary *out)
{
    const st_writer *writer = edit->plan.writer;
    *out = (st_edit_summary){.size = writer->header_size + writer->data_size,
                             .count = edit->plan.count,
                             .header = edit->header_text};
    if (edit->file)
        out->room = st_header_size(st_file_header(edit->file));
    out->in_place = st__edit_in_place(edit, NULL) == ST_OK;
    tensors_sum_up(edit, out);
}

st_status st_edit_look(st_edit *edit, st_edit_summary *out, st_error *error)
{
    ST_TRY(st__edit_lay_out(edit, error));
    st__edit_sum_up(edit, out);
    return ST_OK;
}

/* ----------------------------------------------------------------------------------- in place */

/* Tells whether tensor `index` of the plan can be where it is to be without one that exists being moved. */
static st_status standing_check(const st_edit *edit, size_t index, st_error *error)
{
    const st__edit_entry *entry = &edit->entries[edit->plan.placed[index]];
    const st_tensor *to = st_writer_at(edit->plan.writer, index);
    if (entry->array)
        return ST_OK;
    if (entry->cast)
        return st__fail(error, ST_ERR_NO_ROOM, ST_NO_OFFSET,
                        "%s: tensor %s: it is to be cast, which needs the file to be written anew",
                        edit->name, st__quote(to->name, to->name_len).text);
    if (entry->source->file != edit->file)
        return st__fail(error, ST_ERR_NO_ROOM, ST_NO_OFFSET,
                        "%s: tensor %s: it is taken in from %s, which needs the file to be "
                        "written anew",
                        edit->name, st__quote(to->name, to->name_len).text,
                        st_file_name(entry->source->file));
    if (entry->tensor->begin == to->begin)
        return ST_OK;
    return st__fail(error, ST_ERR_NO_ROOM, ST_NO_OFFSET,
                    "%s: tensor %s: its data would have to move from byte %" PRIu64
                    " of the data section to byte %" PRIu64 "; write the file anew",
                    edit->name, st__quote(to->name, to->name_len).text, entry->tensor->begin,
                    to->begin);
}

static st_status header_room_check(const st_edit *edit, st_error *error)
{
    uint64_t room = st_header_size(st_file_header(edit->file)), needed;
    uint32_t alignment = edit->options.alignment ? edit->options.alignment : 1;
    if (!st__add_u64(edit->header_text, edit->options.reserve, &needed))
        needed = UINT64_MAX;
    if (needed > room)
        return st__fail(error, ST_ERR_NO_ROOM, ST_NO_OFFSET,
                        "%s: the header needs %" PRIu64 " bytes and has room for %" PRIu64
                        "; write the file anew, with a reserve for the next time",
                        edit->name, needed, room);
    if ((8 + room) % alignment)
        return st__fail(error, ST_ERR_NO_ROOM, ST_NO_OFFSET,
                        "%s: the data start at byte %" PRIu64 ", no multiple of %" PRIu32
                        "; write the file anew",
                        edit->name, 8 + room, alignment);
    return ST_OK;
}

st_status st__edit_in_place(const st_edit *edit, st_error *error)
{
    const st_writer *writer = edit->plan.writer;
    if (!edit->file)
        return st__fail(error, ST_ERR_NO_ROOM, ST_NO_OFFSET,
                        "%s: the edit was made without a file to change", edit->name);
    const st_header *header = st_file_header(edit->file);
    ST_TRY(header_room_check(edit, error));
    for (size_t i = 0; i < edit->plan.count; i++)
        ST_TRY(standing_check(edit, i, error));
    if (writer->data_size == st_header_data_size(header))
        return ST_OK;
    return st__fail(error, ST_ERR_NO_ROOM, ST_NO_OFFSET,
                    "%s: the data would take %" PRIu64 " bytes and take %" PRIu64
                    " now; write the file anew",
                    edit->name, writer->data_size, st_header_data_size(header));
}

st_status st__edit_header_emit(const st_edit *edit, unsigned char **out, size_t *size,
                               st_error *error)
{
    uint64_t length = st_header_size(st_file_header(edit->file));
    size_t bytes;
    unsigned char *memory = NULL;
    if (st__u64_to_size(8 + length, &bytes))
        memory = st__alloc(edit->context, bytes);
    if (!memory)
        return plan_nomem(edit, 8 + length, error);
    st__store_le64(memory, length);
    memcpy(memory + 8, edit->plan.writer->header + 8, edit->header_text);
    memset(memory + 8 + edit->header_text, ' ', bytes - 8 - edit->header_text);
    *out = memory;
    *size = bytes;
    return ST_OK;
}

/* --------------------------------------------------------------------------------- anything new */

static bool tensors_change(const st_edit *edit)
{
    for (size_t i = 0; i < edit->count; i++) {
        const st__edit_entry *entry = &edit->entries[i];
        if (entry->added ? !entry->dropped
                         : entry->dropped || entry->name || entry->cast || entry->array)
            return true;
    }
    for (size_t i = 0; i < edit->plan.count; i++)
        if (standing_check(edit, i, NULL) != ST_OK)
            return true;
    return false;
}

static bool metadata_change(const st_edit *edit)
{
    const st_header *header = st_file_header(edit->file);
    size_t kept = 0;
    for (size_t i = 0; i < edit->pair_count; i++) {
        const st_metadata *pair = &edit->pairs[i].pair;
        if (edit->pairs[i].removed)
            continue;
        const st_metadata *old = st_header_metadata_find(header, pair->key, pair->key_len);
        if (!old || old->value_len != pair->value_len ||
            memcmp(old->value, pair->value, pair->value_len) != 0)
            return true;
        kept++;
    }
    return kept != st_header_metadata_count(header) ||
           edit->has_metadata != st_header_has_metadata(header);
}

static bool entry_describes_anew(const st__edit_entry *entry)
{
    const st_tensor *tensor = entry->tensor;
    const st_array *array = entry->array;
    if (entry->dropped || entry->added || entry->cast)
        return true;
    if (entry->name && (entry->name_len != tensor->name_len ||
                        memcmp(entry->name, tensor->name, tensor->name_len) != 0))
        return true;
    return array && (array->dtype != tensor->dtype || array->ndim != tensor->ndim ||
                     (array->ndim && memcmp(array->shape, tensor->shape,
                                            array->ndim * sizeof *array->shape) != 0));
}

bool st__edit_describes_anew(const st_edit *edit)
{
    for (size_t i = 0; i < edit->count; i++)
        if (entry_describes_anew(&edit->entries[i]))
            return true;
    return metadata_change(edit);
}

bool st__edit_changes(const st_edit *edit)
{
    const st_edit_options *o = &edit->options;
    if (!edit->file || tensors_change(edit) || metadata_change(edit))
        return true;
    return (o->alignment || o->reserve) && header_room_check(edit, NULL) != ST_OK;
}
