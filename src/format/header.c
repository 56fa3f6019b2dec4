/* SPDX-License-Identifier: Apache-2.0 */
/* The finished header: everything here only reads. */
#include "format/header.h"
#include "format/scan.h"
#include "base/alloc.h"
#include "format/order.h"

#include <assert.h>
#include <string.h>

/* Every reference to a header is one to its context too, but for those that a cache within the context keeps: they
 * would keep it alive for good. */

st_header *st_header_retain(st_header *header)
{
    if (header) {
        st__ref_retain(&header->ref);
        (void)st_context_retain(header->context);
    }
    return header;
}

void st_header_release(st_header *header)
{
    if (!header)
        return;
    st_context *context = header->context;
    st__header_drop(header);
    st_context_release(context);
}

void st__header_keep(st_header *header)
{
    st__ref_retain(&header->ref);
}

void st__header_drop(st_header *header)
{
    if (!st__ref_release(&header->ref))
        return;
    st_context *context = header->context;
    for (st__dims *chunk = header->dims, *next; chunk; chunk = next) {
        next = chunk->next;
        st__free(context, chunk, sizeof *chunk + chunk->capacity * sizeof *chunk->at);
    }
    st__map_release(&header->by_name, context);
    st__map_release(&header->by_key, context);
    st__free(context, header->tensors, header->tensor_capacity * sizeof *header->tensors);
    st__free(context, header->metadata, header->metadata_capacity * sizeof *header->metadata);
    st__free(context, header->unknown_dtypes,
             ST__UNKNOWN_DTYPES_MAX * sizeof *header->unknown_dtypes);
    st__free(context, header->text, header->text_size);
    st__free(context, header, sizeof *header);
}

static uint64_t map_memory(const st__map *map)
{
    return map->slots ? ((uint64_t)map->mask + 1) * sizeof *map->slots : 0;
}

uint64_t st__header_memory(const st_header *header)
{
    uint64_t bytes = sizeof *header + header->text_size;
    bytes += header->tensor_capacity * sizeof *header->tensors;
    bytes += header->metadata_capacity * sizeof *header->metadata;
    bytes += map_memory(&header->by_name) + map_memory(&header->by_key);
    if (header->unknown_dtypes)
        bytes += ST__UNKNOWN_DTYPES_MAX * sizeof *header->unknown_dtypes;
    for (const st__dims *chunk = header->dims; chunk; chunk = chunk->next)
        bytes += sizeof *chunk + chunk->capacity * sizeof *chunk->at;
    return bytes;
}

size_t st_header_count(const st_header *header)
{
    return header->count;
}

const st_tensor *st_header_at(const st_header *header, size_t index)
{
    assert(index < header->count);
    return &header->tensors[index];
}

const st_tensor *st_header_find(const st_header *header, const char *name, size_t name_len)
{
    size_t index = st__map_find(&header->by_name, name, name_len);
    return index == ST__MAP_NONE ? NULL : &header->tensors[index];
}

size_t st_header_index(const st_header *header, const st_tensor *tensor)
{
    assert(tensor >= header->tensors && tensor < header->tensors + header->count);
    return (size_t)(tensor - header->tensors);
}

uint64_t st_header_size(const st_header *header)
{
    return header->size;
}

uint64_t st_header_data_offset(const st_header *header)
{
    return header->size + 8;
}

uint64_t st_header_data_size(const st_header *header)
{
    return header->data_size;
}

const char *st_header_dtype_code(const st_header *header, st_dtype dtype, size_t *code_len)
{
    const char *code = st_dtype_code(dtype);
    size_t len = code ? strlen(code) : 0;
    if (dtype >= ST_DTYPE_UNKNOWN) {
        size_t index = (size_t)(dtype - ST_DTYPE_UNKNOWN);
        assert(index < header->unknown_count);
        code = header->unknown_dtypes[index].text;
        len = header->unknown_dtypes[index].len;
    }
    if (code_len)
        *code_len = len;
    return code;
}

bool st_header_has_metadata(const st_header *header)
{
    return header->has_metadata;
}

size_t st_header_metadata_count(const st_header *header)
{
    return header->metadata_count;
}

const st_metadata *st_header_metadata_at(const st_header *header, size_t index)
{
    assert(index < header->metadata_count);
    return &header->metadata[index];
}

const st_metadata *st_header_metadata_find(const st_header *header, const char *key, size_t key_len)
{
    size_t index = st__map_find(&header->by_key, key, key_len);
    return index == ST__MAP_NONE ? NULL : &header->metadata[index];
}

st_status st_header_sort(const st_header *header, uint32_t *out, st_error *error)
{
    return st__order_by_text(header->context, header->tensors, sizeof *header->tensors,
                             header->count, out, error);
}
