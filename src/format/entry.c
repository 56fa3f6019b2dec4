/* SPDX-License-Identifier: Apache-2.0 */
/* Entries as they are taken: the fast path that matches one against the pattern of the one before, the
 * arena of shapes, and the table of tensors. */
#include "format/scan.h"
#include "format/dtype.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/endian.h"
#include "base/error.h"

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
    const unsigned char *last = first + 19;
    for (unsigned digit; (digit = (unsigned)*p - '0') <= 9 && p < last; p++)
        value = value * 10 + digit;
    size_t len = (size_t)(p - first);
    if (len - 1 > 17 || (*first == '0' && len > 1))
        return NULL;
    *out = value;
    return p;
}

/* ----------------------------------------------------------------------------------- text */

bool st__text_resize(st__scan *scan, size_t size)
{
    st_header *header = scan->header;
    uintptr_t before = (uintptr_t)header->text;
    size_t used = (size_t)(scan->text - header->text);
    char *text = st__realloc(header->context, header->text, header->text_size, size);
    if (!text)
        return false;
    header->text = text;
    header->text_size = size;
    scan->text = text + used;
    if ((uintptr_t)text == before)
        return true;
    for (size_t i = 0; i < header->count; i++)
        header->tensors[i].name = text + ((uintptr_t)header->tensors[i].name - before);
    for (size_t i = 0; i < header->metadata_count; i++) {
        st_metadata *m = &header->metadata[i];
        m->key = text + ((uintptr_t)m->key - before);
        m->value = text + ((uintptr_t)m->value - before);
    }
    for (size_t i = 0; i < header->unknown_count; i++) {
        st__key *code = &header->unknown_dtypes[i];
        code->text = text + ((uintptr_t)code->text - before);
    }
    return true;
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

/* What is checked at once where no sink waits; st__layout_finish checks the rest. */
static inline bool place_checks(st__scan *scan, const st__entry *entry)
{
    if (entry->begin != scan->running)
        scan->unordered = true;
    scan->running = entry->end;
    return entry->end >= entry->begin;
}

static bool size_checks(const st__entry *entry)
{
    uint64_t bytes;
    if (entry->dtype >= ST_DTYPE_UNKNOWN)
        return true;
    return st__tensor_bytes(entry->dtype, entry->shape, entry->ndim, &bytes) == ST_OK &&
           bytes == entry->end - entry->begin;
}

static ST__COLD bool table_grow(st_header *header)
{
    size_t row = sizeof *header->tensors, old = header->tensor_capacity, bytes;
    if (!st__mul_size(old, 2 * row, &bytes))
        return false;
    st_tensor *grown = st__realloc(header->context, header->tensors, old * row, bytes);
    if (!grown)
        return false;
    header->tensors = grown;
    header->tensor_capacity = 2 * old;
    return true;
}

/* False: out of memory. */
static inline bool table_append(st_header *header, const st__entry *entry)
{
    if (header->count == header->tensor_capacity && !table_grow(header))
        return false;
    st_tensor *tensor = &header->tensors[header->count++];
    tensor->name = entry->name;
    tensor->name_len = (uint32_t)entry->name_len;
    tensor->reserved = st__hash(&header->hash_key, entry->name, entry->name_len);
    tensor->shape = entry->shape;
    tensor->ndim = entry->ndim;
    tensor->dtype = entry->dtype;
    tensor->begin = entry->begin;
    tensor->end = entry->end;
    return true;
}

st__unit st__entry_commit(st__scan *scan, const st__entry *entry)
{
    size_t index = scan->header->count;
    if (!scan->sink && !(place_checks(scan, entry) && size_checks(entry)))
        return ST__UNIT_DEVIATES;
    if (!table_append(scan->header, entry))
        return ST__UNIT_NOMEM;
    if (scan->sink) {
        uint64_t name = st__json_offset(&scan->json, entry->name_at) - 8;
        uint64_t offsets = st__json_offset(&scan->json, entry->offsets_at) - 8;
        scan->places[index] = (st__entry_place){(uint32_t)name, (uint32_t)offsets};
    }
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
        *out = st__dtype_find((const char *)p, len);
        return *out ? p + len : NULL;
    }
    unsigned bits = st__ctz64(found) - 7;
    if (bits == 0)
        return NULL;
    uint64_t code = word & (UINT64_MAX >> (64 - bits));
    size_t slot = (size_t)(code * UINT64_C(0x9e3779b97f4a7c15) >> 61);
    if (scan->dtypes[slot].code != code || code == 0) {
        st_dtype dtype = st__dtype_find((const char *)p, bits / 8);
        if (!dtype)
            return NULL;
        scan->dtypes[slot].code = code;
        scan->dtypes[slot].dtype = dtype;
    }
    *out = scan->dtypes[slot].dtype;
    return p + bits / 8;
}

static inline const unsigned char *skip_comma(const st__scan *scan, const unsigned char *p)
{
    p++;
    while (*p <= ' ' && p < scan->limit && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

enum { LEARNED_NDIM = 8 };

/* The lowest bytes of a word. */
static inline uint64_t low_bytes(uint64_t word, unsigned bytes)
{
    return bytes >= 8 ? word : word & ~(UINT64_MAX << 8 * bytes);
}

/* The place of the closing bracket in a word, 8 if there is none. */
static inline unsigned bracket_at(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t x = word ^ ones * ']';
    uint64_t found = (x - ones) & ~x & ones * 0x80;
    return found ? st__ctz64(found) / 8 : 8;
}

/* Reads a shape's numbers, and stores them and their product unless that is huge. */
static const unsigned char *shape_numbers(st__scan *scan, const unsigned char *p,
                                          st__shape_text *out)
{
    uint64_t dims[LEARNED_NDIM], count = 1;
    uint32_t n = 0;
    for (bool more = true; more; n++) {
        if (n == LEARNED_NDIM)
            return NULL;
        p = short_u64(p, false, &dims[n]);
        if (!p || !st__mul_u64(count, dims[n], &count))
            return NULL;
        more = *p == ',';
        if (more)
            p = skip_comma(scan, p);
    }
    out->at = count >> 57 ? NULL : shape_store(scan, dims, n);
    out->count = count;
    out->ndim = n;
    return out->at ? p : NULL;
}

static inline const unsigned char *learned_shape(st__scan *scan, const unsigned char *p,
                                                 st__entry *entry, uint64_t *count)
{
    uint64_t a = st__load_le64(p), b = st__load_le64(p + 8);
    unsigned low = bracket_at(a), high = low < 8 ? 0 : bracket_at(b), size = low + high;
    a = low_bytes(a, low);
    b = low_bytes(b, high);
    size_t slot = (size_t)((a ^ b << 1) * UINT64_C(0x9e3779b97f4a7c15) >> 60);
    st__shape_text *known = &scan->shape_texts[slot], fresh;
    if (known->size == size && known->words[0] == a && known->words[1] == b && size > 0) {
        p += size;
    } else {
        p = shape_numbers(scan, p, &fresh);
        if (!p)
            return NULL;
        fresh.words[0] = a;
        fresh.words[1] = b;
        fresh.size = size;
        if (scan->pattern.brackets && size < 16)
            *known = fresh;
        else
            known = &fresh;
    }
    entry->shape = known->at;
    entry->ndim = known->ndim;
    *count = known->count;
    return p;
}

/* Keeps the text of an end, `size` bytes at `p`. */
static inline void end_keep(st__end_text *end, const unsigned char *p, size_t size, uint64_t value)
{
    unsigned low = size < 8 ? (unsigned)size : 8, high = (unsigned)size - low;
    end->words[0] = low_bytes(st__load_le64(p), low);
    end->words[1] = low_bytes(st__load_le64(p + 8), high);
    end->value = value;
    end->size = size <= 16 ? (uint32_t)size : 0;
}

/* A begin: the end before it as it was written, or any number. */
static inline const unsigned char *learned_begin(const st__end_text *end, const unsigned char *p,
                                                 uint64_t *out)
{
    unsigned low = end->size < 8 ? end->size : 8, high = end->size - low;
    if (end->size && p[end->size] == ',' && low_bytes(st__load_le64(p), low) == end->words[0] &&
        low_bytes(st__load_le64(p + 8), high) == end->words[1]) {
        *out = end->value;
        return p + end->size;
    }
    return short_u64(p, true, out);
}

static inline const unsigned char *learned_offsets(st__scan *scan, const unsigned char *p,
                                                   st__entry *entry)
{
    p = learned_begin(&scan->end_text, p, &entry->begin);
    if (!p || *p != ',')
        return NULL;
    const unsigned char *end = skip_comma(scan, p);
    p = short_u64(end, true, &entry->end);
    if (p)
        end_keep(&scan->end_text, end, (size_t)(p - end), entry->end);
    return p;
}

/* One entry whose name's opening quote is at json.p. */
static inline bool learned_entry(st__scan *scan)
{
    const st__pattern *pattern = &scan->pattern;
    const unsigned char *first = scan->json.p + 1;
    if (first >= scan->limit || first[-1] != '"')
        return false;
    char *text = scan->text;
    const unsigned char *p = st__json_plain(first, scan->limit, (unsigned char *)text);
    size_t len = (size_t)(p - first);
    if (p >= scan->limit || *p != '"' || (len == 12 && memcmp(first, "__metadata__", 12) == 0))
        return false;
    st__entry entry = {.name = text, .name_len = len};
    uint64_t count = 0;
    for (int i = 0; i < 3; i++) {
        if (!literal_matches(&pattern->before[i], p))
            return false;
        p += pattern->before[i].size;
        switch (pattern->order[i]) {
        case ST__FIELD_DTYPE: p = learned_dtype(scan, p, &entry.dtype); break;
        case ST__FIELD_SHAPE: p = learned_shape(scan, p, &entry, &count); break;
        default: p = learned_offsets(scan, p, &entry); break;
        }
        if (!p)
            return false;
    }
    /* What fails here, the general path meets again, and says what it is. */
    if (!literal_matches(&pattern->after, p) || !place_checks(scan, &entry) ||
        count * st__dtype_info_of(entry.dtype)->bits != (entry.end - entry.begin) * 8 ||
        !table_append(scan->header, &entry))
        return false;
    text[len] = '\0';
    scan->text = text + len + 1;
    scan->json.p = p + pattern->after.size - 1;
    return true;
}

void st__scan_learned(st__scan *scan)
{
    while (learned_entry(scan))
        ;
}
