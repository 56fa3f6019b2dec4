/* SPDX-License-Identifier: Apache-2.0 */
/* The finished header: everything here only reads. */
#include "format/scan.h"
#include "base/alloc.h"
#include "base/endian.h"
#include "base/error.h"

#include <assert.h>
#include <string.h>

st_header *st_header_retain(st_header *header)
{
    if (header)
        st__ref_retain(&header->ref);
    return header;
}

void st_header_release(st_header *header)
{
    if (!header || !st__ref_release(&header->ref))
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
    st_context_release(context);
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

/* ---------------------------------------------------------------------------- name order */

/* UTF-8 compared as bytes is code point order. Names share long beginnings: 8 bytes at a time. */
static bool name_before(const st_header *header, uint32_t a, uint32_t b)
{
    const st_tensor *x = &header->tensors[a], *y = &header->tensors[b];
    size_t shorter = x->name_len < y->name_len ? x->name_len : y->name_len;
    if (shorter >= 8) {
        /* The last step may look at bytes known to be equal once more. */
        for (size_t i = 0;; i = i + 16 <= shorter ? i + 8 : shorter - 8) {
            uint64_t u = st__load_le64(x->name + i), v = st__load_le64(y->name + i);
            if (u != v)
                return st__swap64(u) < st__swap64(v);
            if (i + 8 == shorter)
                return x->name_len < y->name_len;
        }
    }
    int order = memcmp(x->name, y->name, shorter);
    return order < 0 || (order == 0 && x->name_len < y->name_len);
}

static void merge_runs(const st_header *header, const uint32_t *from, uint32_t *to, size_t start,
                       size_t middle, size_t end)
{
    size_t a = start, b = middle;
    for (size_t i = start; i < end; i++) {
        bool second = a == middle || (b < end && name_before(header, from[b], from[a]));
        to[i] = from[second ? b++ : a++];
    }
}

/* Files are written in a few ascending runs, one per dtype: merging what is there beats sorting. The ends of
 * the runs are kept behind the spare order. */
st_status st_header_sort(const st_header *header, uint32_t *out, st_error *error)
{
    size_t count = header->count, runs = 0, bytes = (2 * count + 1) * sizeof(uint32_t);
    uint32_t *spare = st__alloc(header->context, bytes);
    if (!spare)
        return st__fail_nomem(error, bytes);
    uint32_t *ends = spare + count, *from = out, *to = spare;
    for (size_t i = 0; i < count; i++) {
        out[i] = (uint32_t)i;
        if (i + 1 == count || name_before(header, (uint32_t)i + 1, (uint32_t)i))
            ends[runs++] = (uint32_t)(i + 1);
    }
    while (runs > 1) {
        size_t merged = 0, start = 0;
        for (size_t r = 0; r < runs; r += 2) {
            size_t middle = ends[r], end = r + 1 < runs ? ends[r + 1] : middle;
            merge_runs(header, from, to, start, middle, end);
            ends[merged++] = (uint32_t)end;
            start = end;
        }
        runs = merged;
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != out && count > 0)
        memcpy(out, from, count * sizeof *out);
    st__free(header->context, spare, bytes);
    return ST_OK;
}
