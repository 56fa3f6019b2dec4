/* SPDX-License-Identifier: Apache-2.0 */
/* From what the caller asks for to what is planned. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "format/dtype.h"
#include "load/load.h"

#include <inttypes.h>

/* Neighbours no further apart are one piece to whoever chooses how to read. */
#define TOUCHING 4096u

/* --------------------------------------------------------------------------------- one item */

static st_status item_size(const st_load_item *item, uint64_t size, st_error *error)
{
    const char *name = st_file_name(item->file);
    st__quoted tensor = st__quote(item->tensor->name, item->tensor->name_len);
    size_t fits;
    if (!st__u64_to_size(size, &fits))
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                        "%s: tensor %s: %" PRIu64 " bytes do not fit this process's address "
                        "space; load it in parts",
                        name, tensor.text, size);
    if (item->size != (item->dst ? fits : 0))
        return st__fail(error, ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                        "%s: tensor %s: the buffer has %zu bytes, and %zu are to be loaded%s", name,
                        tensor.text, item->size, fits,
                        item->dst ? "" : "; without a buffer its size is 0");
    return ST_OK;
}

/* Of an element, up to 16 bytes. */
static uint8_t alignment_of(st_dtype dtype)
{
    uint32_t bits = st__dtype_info_of(dtype)->bits;
    return bits > 8 ? (uint8_t)(bits / 8) : 1;
}

static st_status region_fill(st__load_entry *entry, const st_load_item *item, st_context *context,
                             st_error *error)
{
    st__runs runs;
    ST_TRY(st__region_check(item->region, item->tensor, error));
    ST_TRY(st__runs_init(&runs, context, item->tensor, item->region, error));
    entry->size = runs.size;
    if (runs.size && runs.depth) {
        entry->kind = ST__LOAD_STRIDED;
        entry->region = item->region;
        entry->piece = runs.piece <= UINT32_MAX ? (uint32_t)runs.piece : 4096;
    } else {
        entry->offset += runs.offset;
    }
    st__runs_release(&runs);
    return ST_OK;
}

static st_status entry_fill(st__load_entry *entry, const st_load_item *item, st_context *context,
                            st_error *error)
{
    ST_TRY(st__reserved_check(item->reserved, 3, "st_load_item", error));
    *entry = (st__load_entry){.tensor = item->tensor,
                              .offset = st_file_offset(item->file, item->tensor),
                              .size = st_tensor_size(item->tensor),
                              .dst = item->dst,
                              .block = ST__LOAD_NONE,
                              .align = alignment_of(item->tensor->dtype)};
    if (item->region) {
        st_status status = region_fill(entry, item, context, error);
        if (status != ST_OK)
            return st__error_locate(error, status, st_file_name(item->file), item->tensor);
    }
    return item_size(item, entry->size, error);
}

/* ------------------------------------------------------------------------------------- files */

/* Numbers files in the order in which they are named: an open table of numbers, + 1. */
typedef struct file_table {
    uint32_t *slots;
    size_t count; /* a power of 2, at least twice as many as there can be files */
    const st_file **files;
    uint32_t file_count;
} file_table;

static uint32_t file_number(file_table *table, const st_file *file)
{
    uint64_t hash = (uint64_t)(uintptr_t)file * UINT64_C(0x9e3779b97f4a7c15);
    size_t slot = (size_t)(hash >> 20) & (table->count - 1);
    for (; table->slots[slot]; slot = (slot + 1) & (table->count - 1))
        if (table->files[table->slots[slot] - 1] == file)
            return table->slots[slot] - 1;
    table->files[table->file_count] = file;
    table->slots[slot] = ++table->file_count;
    return table->file_count - 1;
}

static st_status files_number(st_load *load, file_table *table, const st_load_item *items,
                              st_error *error)
{
    st__load_plan *plan = &load->plan;
    for (uint32_t i = 0; i < plan->count; i++) {
        const st_load_item *item = &items[i];
        ST_TRY(entry_fill(&plan->entries[i], item, load->context, error));
        plan->entries[i].file = i && items[i - 1].file == item->file
                                    ? plan->entries[i - 1].file
                                    : file_number(table, item->file);
    }
    return ST_OK;
}

static st_status files_make(st_load *load, const file_table *table, uint32_t io, st_error *error)
{
    uint32_t count = table->file_count;
    load->plan.file_count = count;
    load->files = st__alloc_zeroed(load->context, count, sizeof *load->files);
    load->facts = st__alloc_zeroed(load->context, count, sizeof *load->facts);
    if (!load->files || !load->facts)
        return st__fail_nomem(error, (uint64_t)count * sizeof *load->files);
    load->plan.files = load->facts;
    for (uint32_t i = 0; i < count; i++) {
        const st_file *file = table->files[i];
        load->files[i].file = file;
        load->files[i].changes = !file->source->memory.data;
        load->files[i].wanted.io = io ? io : file->io;
    }
    return ST_OK;
}

/* -------------------------------------------------------------------------- what is wanted */

/* What the strategy is chosen by. `pieces` counts what is contiguous. */
static void wanted_add(st__load_file *file, const st__load_entry *entry, uint64_t *pieces)
{
    st__wanted *w = &file->wanted;
    uint64_t high = w->offset + w->span, size = entry->size;
    if (entry->kind == ST__LOAD_STRIDED) {
        size = st_tensor_size(entry->tensor);
        *pieces += entry->size / entry->piece + 1;
    } else {
        *pieces += w->span == 0 || entry->offset > high + TOUCHING;
        file->viewable += entry->dst ? 0 : entry->size;
    }
    if (w->span == 0)
        w->offset = high = entry->offset;
    if (entry->offset + size > high)
        high = entry->offset + size;
    w->span = high - w->offset;
    w->size += entry->size;
}

static void wanted_sum(st_load *load)
{
    const st__load_plan *plan = &load->plan;
    for (uint32_t i = 0; i < plan->order_count;) {
        uint32_t number = plan->entries[plan->order[i]].file;
        st__load_file *file = &load->files[number];
        uint64_t pieces = 0;
        for (; i < plan->order_count && plan->entries[plan->order[i]].file == number; i++)
            wanted_add(file, &plan->entries[plan->order[i]], &pieces);
        st__wanted *w = &file->wanted;
        load->total += w->size;
        w->size = st__min_u64(w->size, w->span); /* where items share bytes */
        w->piece = pieces > 1 ? w->size / pieces + 1 : w->size;
    }
}

static st_status list_fill(st_load *load, file_table *table, const st_load_item *items, uint32_t io,
                           st_error *error)
{
    uint32_t count = load->plan.count;
    load->plan.entries = st__alloc_zeroed(load->context, count, sizeof *load->plan.entries);
    load->ready = st__alloc_zeroed(load->context, count, sizeof *load->ready);
    table->slots = st__alloc_zeroed(load->context, table->count, sizeof *table->slots);
    table->files = st__alloc_zeroed(load->context, count, sizeof *table->files);
    if (!load->plan.entries || !load->ready || !table->slots || !table->files)
        return st__fail_nomem(error, (uint64_t)count * sizeof *load->plan.entries);
    ST_TRY(files_number(load, table, items, error));
    ST_TRY(files_make(load, table, io, error));
    ST_TRY(st__load_plan_sort(&load->plan, error));
    wanted_sum(load);
    return ST_OK;
}

st_status st__load_list(st_load *load, const st_load_item *items, size_t count, uint32_t io,
                        st_error *error)
{
    file_table table = {.count = 16};
    if (count >= UINT32_MAX / 4)
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET, "%zu items are too many for one load",
                        count);
    while (table.count < 2 * count)
        table.count *= 2;
    load->plan.count = (uint32_t)count;
    st_status status = list_fill(load, &table, items, io, error);
    st__free(load->context, table.slots, table.count * sizeof *table.slots);
    st__free(load->context, table.files, count * sizeof *table.files);
    return status;
}
