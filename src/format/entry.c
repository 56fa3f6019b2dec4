/* SPDX-License-Identifier: Apache-2.0 */
/* Entries as they are taken: the fast path that matches one against the pattern of the one before, the
 * arena of shapes, and the table of tensors. */
#include "format/scan.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/endian.h"

#include <assert.h>
#include <string.h>

/* ------------------------------------------------------------------------------ literals */

bool st__literal_learn(st__literal *literal, const unsigned char *from, const unsigned char *to)
{
    size_t size = (size_t)(to - from);
    if (size == 0 || size > sizeof literal->words)
        return false;
    memset(literal, 0, sizeof *literal);
    memcpy(literal->words, from, size);
    literal->size = (uint32_t)size;
    literal->count = (uint32_t)((size + 7) / 8);
    unsigned char mask[8];
    memset(mask, 0, sizeof mask);
    memset(mask, 0xff, size - (literal->count - 1) * 8);
    memcpy(&literal->last_mask, mask, sizeof mask);
    return true;
}

/* Reads up to 7 bytes beyond the literal, which the window's pad allows. */
static inline bool literal_matches(const st__literal *literal, const unsigned char *p)
{
    const uint64_t *expected = literal->words, *last = expected + literal->count - 1;
    uint64_t word;
    for (; expected < last; expected++, p += 8) {
        memcpy(&word, p, sizeof word);
        if (word != *expected)
            return false;
    }
    memcpy(&word, p, sizeof word);
    return ((word ^ *expected) & literal->last_mask) == 0;
}

/* ------------------------------------------------------------------------------- numbers */

/* Tells whether the 8 bytes at `p` are all digits, and what they are worth. */
static inline bool digits8(const unsigned char *p, uint64_t *out)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t v = st__load_le64(p) ^ ones * '0'; /* a digit's byte is now 0 to 9 */
    if (((v + ones * 0x76) | v) & ones * 0x80)
        return false;
    v = v * 10 + (v >> 8);
    *out = ((v & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064) +
            (v >> 16 & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001)) >>
           32;
    return true;
}

/* An integer of up to 18 digits; NULL for any other text, longer integers included. `eights`: long ones
 * are likely, take 8 digits at a time. */
static inline const unsigned char *short_u64(const unsigned char *p, bool eights, uint64_t *out)
{
    uint64_t value = 0;
    const unsigned char *first = p;
    if (eights && digits8(p, &value))
        p += 8;
    for (unsigned digit; (digit = (unsigned)*p - '0') <= 9; p++)
        value = value * 10 + digit;
    size_t len = (size_t)(p - first);
    if (len - 1 > 17 || (*first == '0' && len > 1))
        return NULL;
    *out = value;
    return p;
}

/* --------------------------------------------------------------------------------- shapes */

uint64_t *st__dims_alloc(st_header *header, size_t count)
{
    st__dims *chunk = header->dims;
    if (!chunk || chunk->capacity - chunk->used < count) {
        size_t capacity = chunk ? chunk->capacity * 2 : 64, bytes;
        if (capacity > 4096)
            capacity = 4096;
        if (capacity < count)
            capacity = count;
        if (!st__mul_size(capacity, sizeof *chunk->at, &bytes) ||
            !st__add_size(bytes, sizeof *chunk, &bytes))
            return NULL;
        st__dims *fresh = st__alloc(header->context, bytes);
        if (!fresh)
            return NULL;
        fresh->next = chunk;
        fresh->used = 0;
        fresh->capacity = capacity;
        header->dims = chunk = fresh;
    }
    uint64_t *at = chunk->at + chunk->used;
    chunk->used += count;
    return at;
}

static inline const uint64_t *shape_store(st__scan *scan, const uint64_t *dims, uint32_t ndim)
{
    uint64_t hash = ndim ? dims[0] ^ dims[ndim - 1] << 7 ^ ndim : 0;
    size_t slot = (size_t)(hash * UINT64_C(0x9e3779b97f4a7c15) >> 58);
    const uint64_t *known = scan->shapes[slot].at;
    if (known && scan->shapes[slot].ndim == ndim) {
        uint32_t i = 0;
        while (i < ndim && known[i] == dims[i])
            i++;
        if (i == ndim)
            return known;
    }
    uint64_t *at = st__dims_alloc(scan->header, ndim);
    if (!at)
        return NULL;
    memcpy(at, dims, ndim * sizeof *at);
    scan->shapes[slot].at = at;
    scan->shapes[slot].ndim = ndim;
    return at;
}

const uint64_t *st__shape_store(st__scan *scan, const uint64_t *dims, uint32_t ndim, bool stored)
{
    return stored ? dims : shape_store(scan, dims, ndim);
}

/* --------------------------------------------------------------------------------- table */

st_status st__tensor_bytes(st_dtype dtype, const uint64_t *shape, uint32_t ndim, uint64_t *out)
{
    uint64_t bits = 1;
    for (uint32_t i = 0; i < ndim; i++)
        if (!st__mul_u64(bits, shape[i], &bits))
            return ST_ERR_OVERFLOW;
    if (!st__mul_u64(bits, st_dtype_bits(dtype), &bits))
        return ST_ERR_OVERFLOW;
    *out = bits / 8;
    return bits % 8 ? ST_ERR_MISALIGNED : ST_OK;
}

/* What the fast path checks at once; st__layout_finish checks the rest or, with a sink, all. */
static inline bool commit_checks(st__scan *scan, const st__entry *entry)
{
    uint64_t bytes;
    if (entry->begin != scan->running)
        scan->unordered = true;
    scan->running = entry->end;
    if (entry->end < entry->begin)
        return false;
    if (entry->dtype >= ST_DTYPE_UNKNOWN)
        return true;
    return st__tensor_bytes(entry->dtype, entry->shape, entry->ndim, &bytes) == ST_OK &&
           bytes == entry->end - entry->begin;
}

static inline void table_append(st_header *header, const st__entry *entry)
{
    assert(header->count < header->tensor_capacity);
    st_tensor *tensor = &header->tensors[header->count++];
    tensor->name = entry->name;
    tensor->name_len = (uint32_t)entry->name_len;
    tensor->reserved = st__hash(&header->hash_key, entry->name, entry->name_len);
    tensor->shape = entry->shape;
    tensor->ndim = entry->ndim;
    tensor->dtype = entry->dtype;
    tensor->begin = entry->begin;
    tensor->end = entry->end;
}

st__unit st__entry_commit(st__scan *scan, const st__entry *entry)
{
    if (!scan->sink && !commit_checks(scan, entry))
        return ST__UNIT_DEVIATES;
    if (scan->sink) {
        uint64_t name = st__json_offset(&scan->json, entry->name_at) - 8;
        uint64_t offsets = st__json_offset(&scan->json, entry->offsets_at) - 8;
        scan->places[scan->header->count] = (st__entry_place){(uint32_t)name, (uint32_t)offsets};
    }
    table_append(scan->header, entry);
    return ST__UNIT_OK;
}

/* ----------------------------------------------------------------------------- fast path */

/* A dtype's code up to its closing quote; NULL if it is not found among those met before or known. */
static inline const unsigned char *learned_dtype(st__scan *scan, const unsigned char *p,
                                                 st_dtype *out)
{
    const uint64_t quotes = UINT64_C(0x2222222222222222);
    uint64_t word = st__load_le64(p), x = word ^ quotes;
    uint64_t found = (x - UINT64_C(0x0101010101010101)) & ~x & UINT64_C(0x8080808080808080);
    if (!found) { /* 8 bytes or more: F8_E4M3FNUZ, F8_E5M2FNUZ */
        size_t len = 8;
        while (len < 16 && p[len] > '"')
            len++;
        *out = st_dtype_find((const char *)p, len);
        return *out ? p + len : NULL;
    }
    unsigned bits = st__ctz64(found) - 7;
    if (bits == 0)
        return NULL;
    uint64_t code = word & (UINT64_MAX >> (64 - bits));
    size_t slot = (size_t)(code * UINT64_C(0x9e3779b97f4a7c15) >> 61);
    if (scan->dtypes[slot].code != code || code == 0) {
        st_dtype dtype = st_dtype_find((const char *)p, bits / 8);
        if (!dtype)
            return NULL;
        scan->dtypes[slot].code = code;
        scan->dtypes[slot].dtype = dtype;
    }
    *out = scan->dtypes[slot].dtype;
    return p + bits / 8;
}

static inline const unsigned char *skip_comma(const unsigned char *p)
{
    p++;
    while (*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

enum { LEARNED_NDIM = 8 };

static inline const unsigned char *learned_shape(const unsigned char *p, uint64_t *dims,
                                                 uint32_t *ndim)
{
    uint32_t n = 0;
    for (;;) {
        p = short_u64(p, false, &dims[n++]);
        if (!p)
            return NULL;
        if (*p != ',') {
            *ndim = n;
            return p;
        }
        if (n == LEARNED_NDIM)
            return NULL;
        p = skip_comma(p);
    }
}

bool st__scan_learned(st__scan *scan)
{
    const st__pattern *pattern = &scan->pattern;
    const unsigned char *first = scan->json.p + 1;
    if (first[-1] != '"')
        return false;
    const unsigned char *p = st__json_plain(first, (unsigned char *)scan->text);
    size_t len = (size_t)(p - first);
    if (*p != '"' || (len == 12 && memcmp(first, "__metadata__", 12) == 0))
        return false;
    st__entry entry = {.name = scan->text, .name_len = len};
    uint64_t dims[LEARNED_NDIM];
    for (int i = 0; i < 3; i++) {
        if (!literal_matches(&pattern->before[i], p))
            return false;
        p += pattern->before[i].size;
        switch (pattern->order[i]) {
        case ST__FIELD_DTYPE: p = learned_dtype(scan, p, &entry.dtype); break;
        case ST__FIELD_SHAPE: p = learned_shape(p, dims, &entry.ndim); break;
        default:
            p = short_u64(p, true, &entry.begin);
            if (!p || *p != ',')
                return false;
            p = short_u64(skip_comma(p), true, &entry.end);
        }
        if (!p)
            return false;
    }
    if (!literal_matches(&pattern->after, p))
        return false;
    char *text = scan->text;
    text[len] = '\0';
    scan->text = text + len + 1;
    entry.shape = shape_store(scan, dims, entry.ndim);
    if (!entry.shape || !commit_checks(scan, &entry)) {
        scan->text = text;
        return false; /* the general path meets the same, and says what it is */
    }
    table_append(scan->header, &entry);
    scan->json.p = p + pattern->after.size - 1;
    return true;
}
