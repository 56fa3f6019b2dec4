/* SPDX-License-Identifier: Apache-2.0 */
/* The new bytes of one tensor, block by block: cast, on as many threads as there are, or packed out of an array. */
#include "file/edit.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "file/file.h"
#include "format/cast.h"
#include "format/region.h"
#include "io/transfer.h"

#include <string.h>

/* Elements whose bits fill whole bytes in every dtype that is cast: four of 6 bits fill three. */
#define CAST_GROUP ((size_t)4)
/* Bytes that casting makes at a time: they stay in a core's own cache, beside those that they are made of. */
#define CAST_STAGE ((size_t)256 << 10)

/* ------------------------------------------------------------------------------------ casting */

typedef struct casting {
    const st_edit *edit;
    const st__edit_entry *entry;
    const st__edit_place *to;
    st__cast cast;
    uint64_t next; /* in order: where the next block begins in the tensor */
    size_t chunk;  /* elements that are cast at a time, whole groups */
    size_t stage_size;
    unsigned char *stages; /* one per worker, as all below */
    st_cast_report *reports;
    uint32_t workers;
} casting;

/* Casts and hands on a block: whole groups, but for the tensor's end. */
static st_status block_cast(void *ctx, uint32_t worker, uint64_t offset, const void *data,
                            size_t size, st_error *error)
{
    const casting *c = ctx;
    const unsigned char *at = data;
    unsigned char *stage = c->stages + worker * c->stage_size;
    /* The place of a group, without a number larger than it. */
    uint64_t place = offset / c->cast.from_bits * c->cast.to_bits;
    place += offset % c->cast.from_bits * c->cast.to_bits / c->cast.from_bits;
    for (size_t most = c->chunk / CAST_GROUP * (c->cast.from_bits * CAST_GROUP / 8); size > 0;) {
        size_t taken = size < most ? size : most, count = taken * 8 / c->cast.from_bits;
        size_t made = count * c->cast.to_bits / 8;
        st__cast_elements(&c->cast, at, stage, count, &c->reports[worker]);
        ST_TRY(c->to->block(c->to->ctx, place, stage, made, error));
        place += made;
        at += taken;
        size -= taken;
    }
    return ST_OK;
}

static st_status next_block_cast(void *ctx, const void *data, size_t size, st_error *error)
{
    casting *c = ctx;
    uint64_t offset = c->next;
    c->next += size;
    return block_cast(c, 0, offset, data, size, error);
}

/* As many workers as the reading can have, and the edit's own context. */
static uint32_t cast_workers(const casting *c, const st__reading *reading)
{
    const st_context *context = c->edit->context;
    uint64_t count = c->to->in_order ? 1 : st__reading_workers(reading);
    count = st__min_u64(count, st__context_threads(context));
    count = st__min_u64(count, st__context_memory(context) / 2 / c->stage_size);
    return count ? (uint32_t)count : 1;
}

static st_status cast_begin(casting *c, const st__reading *reading, st_error *error)
{
    st_context *context = c->edit->context;
    const st_tensor *tensor = c->entry->tensor;
    st__cast_init(&c->cast, tensor->dtype, c->entry->cast);
    c->chunk = (size_t)st__min_u64(CAST_STAGE * 8 / c->cast.to_bits,
                                   st_tensor_count(tensor) + CAST_GROUP) /
               CAST_GROUP * CAST_GROUP;
    c->stage_size = c->chunk / CAST_GROUP * (c->cast.to_bits * CAST_GROUP / 8);
    c->workers = cast_workers(c, reading);
    c->reports = st__alloc_zeroed(context, c->workers, sizeof *c->reports);
    c->stages = c->reports ? st__alloc(context, c->workers * c->stage_size) : NULL;
    if (c->stages)
        return ST_OK;
    return st__error_locate(error, st__fail_nomem(error, c->workers * c->stage_size), c->edit->name,
                            tensor);
}

static void cast_end(casting *c, st_cast_report *report)
{
    st_context *context = c->edit->context;
    for (uint32_t i = 0; c->reports && i < c->workers; i++) {
        report->overflowed += c->reports[i].overflowed;
        report->underflowed += c->reports[i].underflowed;
    }
    st__free(context, c->stages, c->workers * c->stage_size);
    st__free(context, c->reports, c->workers * sizeof *c->reports);
}

static st_status cast_read(casting *c, st__reading *reading, st_error *error)
{
    const uint32_t readers = st__context_threads(c->entry->source->file->context);
    const st__consumer consumer = {block_cast, c, c->workers};
    if (c->to->in_order)
        return st__reading_blocks(reading, readers, next_block_cast, c, error);
    return st__reading_scan(reading, &consumer, error);
}

st_status st__edit_cast(const st_edit *edit, const st__edit_entry *entry, const st__edit_place *to,
                        st_cast_report *report, st_error *error)
{
    casting c = {.edit = edit, .entry = entry, .to = to};
    st__reading reading;
    ST_TRY(st__reading_open(&reading, entry->source->file, entry->tensor, NULL, error));
    st_status status = cast_begin(&c, &reading, error);
    if (status == ST_OK)
        status = cast_read(&c, &reading, error);
    cast_end(&c, report);
    return st__reading_close(&reading, status, error);
}

/* ------------------------------------------------------------------------------------- packing */

/* Passes blocks on, and knows whose failure it was. */
typedef struct packing {
    st_block_fn block;
    void *ctx;
    bool refused;
} packing;

static st_status packed_block(void *ctx, const void *data, size_t size, st_error *error)
{
    packing *p = ctx;
    st_status status = p->block(p->ctx, data, size, error);
    p->refused = status != ST_OK;
    return status;
}

static st_status runs_pack(const st_edit *edit, const st__runs *runs, const unsigned char *lowest,
                           packing *p, st_error *error)
{
    st__route route;
    st__transfer transfer = {.route = &route, .runs = runs, .context = edit->context};
    if (runs->size == 0)
        return ST_OK;
    if (runs->piece == runs->size)
        return packed_block(p, lowest + (size_t)runs->offset, (size_t)runs->size, error);
    st__route_memory(&route, lowest, runs->size, edit->context);
    return st__transfer_blocks(&transfer, st__context_threads(edit->context), packed_block, p,
                               error);
}

st_status st__edit_blocks(const st_edit *edit, const st__edit_entry *entry, st_block_fn block,
                          void *ctx, st_error *error)
{
    const st_array *array = entry->array;
    packing p = {.block = block, .ctx = ctx};
    st__key name = st__edit_name(entry);
    st_tensor named = {.name = name.text, .name_len = name.len};
    st__runs runs;
    uint64_t below = 0;
    st_status status = st__runs_init_array(&runs, edit->context, array, &below, error);
    if (status == ST_OK) {
        const unsigned char *data = array->data;
        status = runs_pack(edit, &runs, runs.size ? data - (size_t)below : data, &p, error);
        st__runs_release(&runs);
    }
    return p.refused ? status : st__error_locate(error, status, edit->name, &named);
}
