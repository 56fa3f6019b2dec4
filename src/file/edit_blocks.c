/* SPDX-License-Identifier: Apache-2.0 */
/* The new bytes of one tensor, block by block: cast, or packed out of an array. */
#include "file/edit.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "file/file.h"
#include "format/region.h"
#include "io/transfer.h"

#include <string.h>

/* Elements whose bits fill whole bytes in every dtype that is cast: four of 6 bits fill three. */
#define CAST_GROUP ((size_t)4)
/* Elements that are cast at a time; with the widest dtype 256 KiB, which stay in a core's own cache. */
#define CAST_CHUNK ((size_t)32 << 10)
/* A group of the widest dtype, in bytes. */
#define CAST_CARRY ((size_t)32)

/* ------------------------------------------------------------------------------------ casting */

typedef struct casting {
    st_dtype from, to;
    size_t group; /* bytes of a group of `from` */
    st_block_fn block;
    void *ctx;
    st_cast_report *report;
    unsigned char *stage; /* for `chunk` elements of `to`, whole groups */
    size_t chunk;
    size_t stage_size;
    unsigned char carry[CAST_CARRY]; /* the begin of a group whose end is in the next block */
    size_t carried;                  /* bytes, fewer than a group */
} casting;

static size_t elements_bytes(st_dtype dtype, size_t count)
{
    return count * st_dtype_bits(dtype) / 8;
}

/* Casts and hands on `size` bytes: whole groups, or the tensor's end. */
static st_status groups_cast(casting *c, const unsigned char *at, size_t size, st_error *error)
{
    size_t most = elements_bytes(c->from, c->chunk);
    while (size > 0) {
        size_t taken = size < most ? size : most, count = taken * 8 / st_dtype_bits(c->from);
        ST_TRY(st_elements_cast(c->from, at, c->to, c->stage, count, c->report));
        ST_TRY(c->block(c->ctx, c->stage, elements_bytes(c->to, count), error));
        at += taken;
        size -= taken;
    }
    return ST_OK;
}

static st_status block_cast(void *ctx, const void *data, size_t size, st_error *error)
{
    casting *c = ctx;
    const unsigned char *at = data;
    if (c->carried > 0) {
        size_t lacks = c->group - c->carried;
        size_t part = size < lacks ? size : lacks;
        memcpy(c->carry + c->carried, at, part);
        c->carried += part;
        at += part;
        size -= part;
        if (c->carried < c->group)
            return ST_OK;
        c->carried = 0;
        ST_TRY(groups_cast(c, c->carry, c->group, error));
    }
    size_t whole = size - size % c->group;
    ST_TRY(groups_cast(c, at, whole, error));
    c->carried = size - whole;
    memcpy(c->carry, at + whole, c->carried);
    return ST_OK;
}

static st_status cast_blocks(const st_edit *edit, const st__edit_entry *entry, casting *c,
                             st_error *error)
{
    c->from = entry->tensor->dtype;
    c->to = entry->cast;
    c->group = elements_bytes(c->from, CAST_GROUP);
    c->chunk = (size_t)st__min_u64(CAST_CHUNK, st_tensor_count(entry->tensor) + CAST_GROUP) /
               CAST_GROUP * CAST_GROUP;
    c->stage_size = elements_bytes(c->to, c->chunk);
    c->stage = st__alloc(edit->context, c->stage_size);
    if (!c->stage)
        return st__error_locate(error, st__fail_nomem(error, c->stage_size), edit->name,
                                entry->tensor);
    st_status status =
        st_file_read_blocks(entry->source->file, entry->tensor, NULL, block_cast, c, error);
    if (status == ST_OK)
        status = groups_cast(c, c->carry, c->carried, error);
    st__free(edit->context, c->stage, c->stage_size);
    return status;
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

static st_status array_blocks(const st_edit *edit, const st__edit_entry *entry, packing *p,
                              st_error *error)
{
    const st_array *array = entry->array;
    st__key name = st__edit_name(entry);
    st_tensor named = {.name = name.text, .name_len = name.len};
    st__runs runs;
    uint64_t below = 0;
    st_status status = st__runs_init_array(&runs, edit->context, array, &below, error);
    if (status == ST_OK) {
        const unsigned char *data = array->data;
        status = runs_pack(edit, &runs, runs.size ? data - (size_t)below : data, p, error);
        st__runs_release(&runs);
    }
    return p->refused ? status : st__error_locate(error, status, edit->name, &named);
}

st_status st__edit_blocks(const st_edit *edit, const st__edit_entry *entry, st_block_fn block,
                          void *ctx, st_cast_report *report, st_error *error)
{
    packing pack = {.block = block, .ctx = ctx};
    casting cast = {.block = block, .ctx = ctx, .report = report};
    if (entry->array)
        return array_blocks(edit, entry, &pack, error);
    if (entry->cast)
        return cast_blocks(edit, entry, &cast, error);
    return st_file_read_blocks(entry->source->file, entry->tensor, NULL, block, ctx, error);
}
