/* SPDX-License-Identifier: Apache-2.0 */
/* What is judged once all entries are there: duplicates, the order of the data, and that the tensors
 * cover the data section byte for byte. */
#include "format/scan.h"
#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

static uint64_t place_of(uint32_t relative)
{
    return (uint64_t)relative + 8;
}

static st__unit judged(const st__scan *scan, bool go_on)
{
    return go_on ? ST__UNIT_OK : scan->outcome;
}

#define TRY_UNIT(expr)         \
 do {                          \
  st__unit try_unit = (expr);  \
  if (try_unit != ST__UNIT_OK) \
   return try_unit;            \
 } while (0)

/* ---------------------------------------------------------------------------- duplicates */

static st__unit metadata_merge(st__scan *scan, st__map *map)
{
    st_header *header = scan->header;
    size_t kept = 0;
    for (size_t i = 0; i < header->metadata_count; i++) {
        st_metadata entry = header->metadata[i];
        uint32_t hash = st__hash(&header->hash_key, entry.key, entry.key_len);
        header->metadata[kept] = entry;
        size_t first = st__map_insert(map, kept, hash);
        if (first == ST__MAP_NONE) {
            scan->metadata_places[kept++] = scan->metadata_places[i];
            continue;
        }
        header->metadata[first] = entry;
        if (st__scan_wants(scan, ST__RULE_METADATA_DUPLICATE))
            TRY_UNIT(judged(scan, st__scan_deviates(scan, ST__RULE_METADATA_DUPLICATE,
                                                    place_of(scan->metadata_places[i]), NULL, 0,
                                                    "metadata key %s appears more than once",
                                                    st__quote(entry.key, entry.key_len).text)));
    }
    header->metadata_count = kept;
    return ST__UNIT_OK;
}

static bool keys_map(const st_header *header, st__map *map)
{
    return st__map_init(map, header->context, header->metadata, sizeof *header->metadata,
                        header->metadata_count, &header->hash_key);
}

st__unit st__metadata_unique(st__scan *scan)
{
    st_header *header = scan->header;
    st__map map = {0};
    st__unit unit = ST__UNIT_OK;
    if (!keys_map(header, &map))
        return ST__UNIT_NOMEM;
    if (scan->sink)
        unit = metadata_merge(scan, &map);
    else if (st__map_insert_all(&map, header->metadata_count, false) != ST__MAP_NONE)
        unit = ST__UNIT_DEVIATES;
    st__map_release(&map, header->context);
    return unit;
}

/* The index that stays. */
static st__unit metadata_index(st_header *header)
{
    if (header->metadata_count == 0)
        return ST__UNIT_OK;
    if (!keys_map(header, &header->by_key))
        return ST__UNIT_NOMEM;
    size_t twice = st__map_insert_all(&header->by_key, header->metadata_count, false);
    return twice == ST__MAP_NONE ? ST__UNIT_OK : ST__UNIT_DEVIATES;
}

static bool names_map(st_header *header)
{
    return st__map_init(&header->by_name, header->context, header->tensors, sizeof *header->tensors,
                        header->count, &header->hash_key);
}

/* Drops all but the last of equal names; the map knows only what is kept. */
static bool names_keep_last(st__scan *scan)
{
    st_header *header = scan->header;
    st__map_release(&header->by_name, header->context);
    if (!names_map(header))
        return false;
    for (size_t i = header->count; i-- > 0;)
        if (st__map_insert(&header->by_name, i, header->tensors[i].reserved) != ST__MAP_NONE)
            scan->places[i].name = UINT32_MAX;
    size_t kept = 0;
    for (size_t i = 0; i < header->count; i++) {
        if (scan->places[i].name == UINT32_MAX)
            continue;
        header->tensors[kept] = header->tensors[i];
        scan->places[kept++] = scan->places[i];
    }
    header->count = kept;
    return true;
}

/* With a sink, in the order of the header. */
static st__unit names_unique(st__scan *scan)
{
    st_header *header = scan->header;
    bool twice = false;
    if (!names_map(header))
        return ST__UNIT_NOMEM;
    for (size_t i = 0; i < header->count; i++) {
        const st_tensor *t = &header->tensors[i];
        size_t first = st__map_insert(&header->by_name, i, t->reserved);
        if (first == ST__MAP_NONE)
            continue;
        twice = true;
        if (!st__scan_wants(scan, ST__RULE_NAME_DUPLICATE))
            continue;
        TRY_UNIT(judged(scan,
                        st__scan_deviates(scan, ST__RULE_NAME_DUPLICATE,
                                          place_of(scan->places[i].name), t->name, t->name_len,
                                          "the name appears more than once, first at byte %" PRIu64,
                                          place_of(scan->places[first].name))));
    }
    if (twice && !names_keep_last(scan))
        return ST__UNIT_NOMEM;
    st__map_release(&header->by_name, header->context);
    return ST__UNIT_OK;
}

/* ------------------------------------------------------------------------------- sorting */

typedef struct sort_item {
    uint64_t key;
    uint32_t index;
} sort_item;

enum { RADIX_BITS = 11, RADIX_SIZE = 1 << RADIX_BITS };

/* Sorts by key, stably; the result is in `items`. `counts` has RADIX_SIZE elements. */
static void radix_sort(sort_item *items, sort_item *spare, size_t count, uint32_t *counts)
{
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++)
        all |= items[i].key;
    sort_item *from = items, *to = spare;
    for (unsigned shift = 0; shift < 64 && all >> shift; shift += RADIX_BITS) {
        memset(counts, 0, RADIX_SIZE * sizeof *counts);
        for (size_t i = 0; i < count; i++)
            counts[from[i].key >> shift & (RADIX_SIZE - 1)]++;
        uint32_t sum = 0;
        for (size_t d = 0; d < RADIX_SIZE; d++) {
            uint32_t here = counts[d];
            counts[d] = sum;
            sum += here;
        }
        for (size_t i = 0; i < count; i++)
            to[counts[from[i].key >> shift & (RADIX_SIZE - 1)]++] = from[i];
        sort_item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, count * sizeof *items);
}

/* Moves each record to its place along the cycles of the permutation, without a second table. */
static void permute(st__scan *scan, sort_item *items)
{
    st_header *header = scan->header;
    for (size_t i = 0; i < header->count; i++) {
        if (items[i].index == i)
            continue;
        st_tensor tensor = header->tensors[i];
        st__entry_place place = scan->sink ? scan->places[i] : (st__entry_place){0, 0};
        size_t at = i;
        for (;;) {
            size_t from = items[at].index;
            items[at].index = (uint32_t)at;
            if (from == i)
                break;
            header->tensors[at] = header->tensors[from];
            if (scan->sink)
                scan->places[at] = scan->places[from];
            at = from;
        }
        header->tensors[at] = tensor;
        if (scan->sink)
            scan->places[at] = place;
    }
}

/* Into data order: by begin, then end, then as in the header. */
static bool sort_by_data(st__scan *scan)
{
    st_header *header = scan->header;
    size_t count = header->count, bytes = count * sizeof(sort_item);
    sort_item *items = st__alloc(header->context, bytes);
    sort_item *spare = st__alloc(header->context, bytes);
    uint32_t *counts = st__alloc(header->context, RADIX_SIZE * sizeof *counts);
    if (items && spare && counts) {
        for (size_t i = 0; i < count; i++)
            items[i] = (sort_item){header->tensors[i].end, (uint32_t)i};
        radix_sort(items, spare, count, counts);
        for (size_t i = 0; i < count; i++)
            items[i].key = header->tensors[items[i].index].begin;
        radix_sort(items, spare, count, counts);
        permute(scan, items);
    }
    bool sorted = items && spare && counts;
    st__free(header->context, counts, RADIX_SIZE * sizeof *counts);
    st__free(header->context, spare, bytes);
    st__free(header->context, items, bytes);
    return sorted;
}

/* ------------------------------------------------------------------------------- judging */

#define AT(scan, index, rule, ...)                                                   \
 judged(scan, st__scan_deviates(scan, rule, place_of((scan)->places[index].offsets), \
                                (scan)->header->tensors[index].name,                 \
                                (scan)->header->tensors[index].name_len, __VA_ARGS__))

/* The first entry that stands before one of lower place in the data. */
static st__unit order_note(st__scan *scan)
{
    const st_tensor *t = scan->header->tensors;
    for (size_t i = 1; i < scan->header->count; i++) {
        if (t[i].begin > t[i - 1].begin ||
            (t[i].begin == t[i - 1].begin && t[i].end >= t[i - 1].end))
            continue;
        return judged(
            scan, st__scan_deviates(scan, ST__RULE_HEADER_ORDER, place_of(scan->places[i].name),
                                    t[i].name, t[i].name_len,
                                    "the entry stands behind one whose data is behind its own"));
    }
    return ST__UNIT_OK;
}

static st__unit judge_size(st__scan *scan, size_t index)
{
    const st_tensor *t = &scan->header->tensors[index];
    uint64_t bytes = 0, have = t->end - t->begin;
    if (t->dtype >= ST_DTYPE_UNKNOWN)
        return ST__UNIT_OK;
    switch (st__tensor_bytes(t->dtype, t->shape, t->ndim, &bytes)) {
    case ST_ERR_OVERFLOW:
        return AT(scan, index, ST__RULE_SIZE_OVERFLOW,
                  "the product of its %" PRIu32 " dimensions and %" PRIu32 " bits exceeds 64 bits",
                  t->ndim, st_dtype_bits(t->dtype));
    case ST_ERR_MISALIGNED:
        return AT(scan, index, ST__RULE_SIZE_BITS,
                  "its elements of %" PRIu32 " bits do not fill whole bytes",
                  st_dtype_bits(t->dtype));
    default: break;
    }
    if (bytes != have)
        return AT(scan, index, ST__RULE_SIZE_MISMATCH,
                  "data_offsets [%" PRIu64 ", %" PRIu64 "] span %" PRIu64
                  " bytes, but %s and its shape take %" PRIu64,
                  t->begin, t->end, have, st_dtype_code(t->dtype), bytes);
    uint64_t element = st_dtype_bits(t->dtype) / 8;
    uint64_t at = 8 + scan->header->size + t->begin;
    if (have > 0 && element > 1 && at % element)
        return AT(scan, index, ST__RULE_TENSOR_ALIGNMENT,
                  "it starts at byte %" PRIu64 ", no multiple of its element's %" PRIu64 " bytes",
                  at, element);
    return ST__UNIT_OK;
}

/* Tensor `index` against the end of those before it; `last` is the one that reaches there. */
static st__unit judge_place(st__scan *scan, size_t index, uint64_t running, size_t last)
{
    const st_tensor *t = &scan->header->tensors[index], *before = &scan->header->tensors[last];
    const char *name = index ? before->name : "";
    size_t len = index ? before->name_len : 0;
    if (t->begin == running || (t->begin > running && scan->incomplete))
        return ST__UNIT_OK;
    if (t->begin > running && index == 0)
        return AT(scan, index, ST__RULE_LAYOUT_HOLE,
                  "it begins at %" PRIu64 ", though it is the first: bytes 0 to %" PRIu64
                  " belong to no tensor",
                  t->begin, t->begin);
    if (t->begin > running)
        return AT(scan, index, ST__RULE_LAYOUT_HOLE,
                  "it begins at %" PRIu64 ", but tensor %s before it ends at %" PRIu64 ": %" PRIu64
                  " bytes belong to no tensor",
                  t->begin, st__quote(name, len).text, running, t->begin - running);
    return AT(scan, index, ST__RULE_LAYOUT_OVERLAP,
              "its bytes [%" PRIu64 ", %" PRIu64 ") overlap those of tensor %s [%" PRIu64
              ", %" PRIu64 ")",
              t->begin, t->end, st__quote(name, len).text, index ? before->begin : 0,
              index ? before->end : 0);
}

static st__unit judge_coverage(st__scan *scan, uint64_t running, uint64_t file_size)
{
    uint64_t have = scan->header->data_size;
    if (running > have)
        return judged(scan,
                      st__scan_deviates(
                          scan, ST__RULE_FILE_TRUNCATED, file_size, NULL, 0,
                          "the file has %" PRIu64 " bytes, its header describes %" PRIu64
                          " bytes of data from byte %" PRIu64 " on: %" PRIu64
                          " bytes are missing; the download or copy is incomplete, fetch it again",
                          file_size, running, 8 + scan->header->size, running - have));
    if (running < have && !scan->incomplete)
        return judged(
            scan, st__scan_deviates(scan, ST__RULE_TRAILING_BYTES, 8 + scan->header->size + running,
                                    NULL, 0,
                                    "%" PRIu64 " bytes stand behind the last tensor, at the end "
                                    "of a file of %" PRIu64 " bytes; something was appended to it",
                                    have - running, file_size));
    return ST__UNIT_OK;
}

/* With a sink: everything, one after the other. */
static st__unit judge_layout(st__scan *scan, uint64_t file_size)
{
    const st_header *header = scan->header;
    uint64_t running = 0;
    size_t last = 0;
    for (size_t i = 0; i < header->count; i++) {
        const st_tensor *t = &header->tensors[i];
        if (t->end < t->begin) {
            TRY_UNIT(AT(scan, i, ST__RULE_LAYOUT_REVERSED,
                        "it ends at %" PRIu64 ", before it begins at %" PRIu64, t->end, t->begin));
            continue;
        }
        TRY_UNIT(judge_place(scan, i, running, last));
        TRY_UNIT(judge_size(scan, i));
        if (t->end >= running) {
            running = t->end;
            last = i;
        }
    }
    TRY_UNIT(judge_coverage(scan, running, file_size));
    if (header->size % 8)
        return judged(scan, st__scan_deviates(scan, ST__RULE_HEADER_ALIGNMENT, 0, NULL, 0,
                                              "the data section starts at byte %" PRIu64
                                              ", no multiple of 8",
                                              header->size + 8));
    return ST__UNIT_OK;
}

/* Without a sink: sizes were checked on the way; only a header out of order is left to prove. */
static bool covers(const st__scan *scan)
{
    const st_header *header = scan->header;
    uint64_t running = scan->running;
    if (scan->unordered) {
        running = 0;
        for (size_t i = 0; i < header->count; i++) {
            if (header->tensors[i].begin != running)
                return false;
            running = header->tensors[i].end;
        }
    }
    return running == header->data_size;
}

/* ------------------------------------------------------------------------------- the end */

/* Gives back what was reserved but not needed of one array. */
static bool give_back(st_header *header, void **array, size_t old_size, size_t size)
{
    void *moved = st__realloc(header->context, *array, old_size, size);
    if (moved)
        *array = moved;
    return moved != NULL;
}

static bool shrink(st__scan *scan)
{
    st_header *header = scan->header;
    void *tensors = header->tensors, *metadata = header->metadata;
    size_t table = header->tensor_capacity * sizeof *header->tensors;
    size_t pairs = header->metadata_capacity * sizeof *header->metadata;
    if (!give_back(header, &tensors, table, header->count * sizeof *header->tensors))
        return false;
    header->tensors = tensors;
    header->tensor_capacity = header->count;
    if (metadata) {
        size_t used = header->metadata_count * sizeof *header->metadata;
        if (!give_back(header, &metadata, pairs, used))
            return false;
        header->metadata = metadata;
        header->metadata_capacity = header->metadata_count;
    }
    return st__text_resize(scan, (size_t)(scan->text - header->text));
}

st__unit st__layout_finish(st__scan *scan, uint64_t file_size)
{
    st_header *header = scan->header;
    if (scan->sink) {
        TRY_UNIT(st__metadata_unique(scan));
        TRY_UNIT(names_unique(scan));
        TRY_UNIT(order_note(scan));
        if (!sort_by_data(scan))
            return ST__UNIT_NOMEM;
        TRY_UNIT(judge_layout(scan, file_size));
    } else {
        if (scan->unordered && !sort_by_data(scan))
            return ST__UNIT_NOMEM;
        if (!covers(scan))
            return ST__UNIT_DEVIATES;
    }
    if (!shrink(scan))
        return ST__UNIT_NOMEM;
    TRY_UNIT(metadata_index(header));
    if (!names_map(header))
        return ST__UNIT_NOMEM;
    size_t twice = st__map_insert_all(&header->by_name, header->count, true);
    return twice == ST__MAP_NONE ? ST__UNIT_OK : ST__UNIT_DEVIATES;
}

st__unit st__layout_salvage(st__scan *scan)
{
    TRY_UNIT(st__metadata_unique(scan));
    TRY_UNIT(order_note(scan));
    return sort_by_data(scan) ? ST__UNIT_OK : ST__UNIT_NOMEM;
}
