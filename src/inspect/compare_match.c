/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs together by its name: metadata entries and tensors. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "inspect/compare.h"
#include "io/os.h"

#include <string.h>

/* What an index by names can hold. */
#define NAMES_MAX ((size_t)1 << 29)

/* ---------------------------------------------------------------------------------- names */

/* Records that begin with a st__key each. */
typedef struct name_list {
    const void *records;
    size_t stride;
    size_t count;
    const char *side;
    const char *what; /* they are of */
} name_list;

/* Fills an index, which is to be released; none is there after a failure. */
static st_status names_index(st_context *context, const name_list *names, st__map *out,
                             st_error *error)
{
    st__hash_key key;
    st__key twice;
    if (names->count > NAMES_MAX)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%s: %zu %ss; at most %zu",
                        names->side, names->count, names->what, NAMES_MAX);
    st__os_random(&key, sizeof key);
    if (!st__map_init(out, context, names->records, names->stride, names->count, &key))
        return st__fail_nomem(error, (uint64_t)names->count * 12 + 48);
    const size_t at = st__map_insert_all(out, names->count, false);
    if (at == ST__MAP_NONE)
        return ST_OK;
    memcpy(&twice, (const unsigned char *)names->records + at * names->stride, sizeof twice);
    st__map_release(out, context);
    return st__fail(error, ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET, "%s: %s %s: it is there twice",
                    names->side, names->what, st__quote(twice.text, twice.len).text);
}

/* Only looks for names that are there twice. */
static st_status names_check(st_context *context, const name_list *names, st_error *error)
{
    st__map map = {0};
    ST_TRY(names_index(context, names, &map, error));
    st__map_release(&map, context);
    return ST_OK;
}

/* ------------------------------------------------------------------------------- metadata */

static st_status entry_tell(st__compare_run *run, const st_metadata *a, const st_metadata *b,
                            st_error *error)
{
    st_change change = {.differs = 1, .metadata_a = a, .metadata_b = b};
    st_compare_summary *s = &run->summary;
    if (a && b && a->value_len == b->value_len && memcmp(a->value, b->value, a->value_len) == 0) {
        s->metadata_same++;
        return ST_OK;
    }
    change.kind = !b ? ST_CHANGE_REMOVED : !a ? ST_CHANGE_ADDED : ST_CHANGE_CHANGED;
    *(!b ? &s->metadata_removed : !a ? &s->metadata_added : &s->metadata_changed) += 1;
    return st__change_tell(run, &change, error);
}

static st_status entries_tell(st__compare_run *run, const st__map *map, unsigned char *known,
                              st_error *error)
{
    const st_side *a = run->sides[0], *b = run->sides[1];
    for (size_t i = 0; i < a->metadata_count && !run->ended; i++) {
        const st_metadata *entry = &a->metadata[i];
        const size_t at = st__map_find(map, entry->key, entry->key_len);
        if (at != ST__MAP_NONE)
            known[at] = 1;
        ST_TRY(entry_tell(run, entry, at != ST__MAP_NONE ? &b->metadata[at] : NULL, error));
    }
    for (size_t i = 0; i < b->metadata_count && !run->ended; i++)
        if (!known[i])
            ST_TRY(entry_tell(run, NULL, &b->metadata[i], error));
    return ST_OK;
}

static name_list metadata_names(const st_side *side)
{
    return (name_list){side->metadata, sizeof *side->metadata, side->metadata_count, side->name,
                       "metadata key"};
}

st_status st__metadata_compare(st__compare_run *run, st_error *error)
{
    st_context *context = run->comparer.context;
    const name_list a = metadata_names(run->sides[0]), b = metadata_names(run->sides[1]);
    st__map map = {0};
    ST_TRY(names_check(context, &a, error));
    ST_TRY(names_index(context, &b, &map, error));
    st_status status;
    unsigned char *known = st__alloc_zeroed(context, b.count, 1);
    if (known)
        status = entries_tell(run, &map, known, error);
    else
        status = st__fail_nomem(error, b.count);
    st__free(context, known, b.count);
    st__map_release(&map, context);
    return status;
}

/* ------------------------------------------------------------------------------- partners */

const char *st__side_dtype(const st_side_tensor *tensor, size_t *len)
{
    return st_header_dtype_code(st_file_header(tensor->file), tensor->tensor->dtype, len);
}

uint32_t st__side_apart(const st_side_tensor *a, const st_side_tensor *b)
{
    size_t a_len, b_len;
    const char *a_code = st__side_dtype(a, &a_len), *b_code = st__side_dtype(b, &b_len);
    const st_tensor *x = a->tensor, *y = b->tensor;
    uint32_t apart = 0;
    if (a_len != b_len || memcmp(a_code, b_code, a_len) != 0)
        apart |= ST_APART_DTYPE;
    if (x->ndim != y->ndim || memcmp(x->shape, y->shape, x->ndim * sizeof *x->shape) != 0)
        apart |= ST_APART_SHAPE;
    return apart;
}

/* Finds the tensors of a in b, whose names are in the map. */
static void partners_find(st__compare_run *run, const st__map *map)
{
    const st_side *a = run->sides[0], *b = run->sides[1];
    uint32_t *const at = run->partners.at[0], *const back = run->partners.at[1];
    for (size_t i = 0; i < a->tensor_count; i++) {
        const st_tensor *tensor = a->tensors[i].tensor;
        const size_t found = st__map_find(map, tensor->name, tensor->name_len);
        if (found == ST__MAP_NONE)
            continue;
        at[i] = (uint32_t)found + 1;
        back[found] = (uint32_t)i + 1;
        run->apart[i] = (unsigned char)st__side_apart(&a->tensors[i], &b->tensors[found]);
        if (tensor->begin != b->tensors[found].tensor->begin ||
            tensor->end != b->tensors[found].tensor->end)
            run->apart[i] |= ST_APART_OFFSET;
    }
    /* The n-th of those that both have is to be the n-th in the other, too. */
    for (size_t i = 0, k = 0; i < a->tensor_count; i++) {
        if (!at[i])
            continue;
        while (!back[k])
            k++;
        if (back[k++] != i + 1)
            run->apart[i] |= ST_APART_ORDER;
    }
}

static st_status keys_make(st_context *context, const st_side *side, name_list *out,
                           st_error *error)
{
    st__key *keys = st__alloc_zeroed(context, side->tensor_count, sizeof *keys);
    if (!keys)
        return st__fail_nomem(error, (uint64_t)side->tensor_count * sizeof *keys);
    for (size_t i = 0; i < side->tensor_count; i++) {
        const st_tensor *tensor = side->tensors[i].tensor;
        keys[i] = (st__key){tensor->name, tensor->name_len, 0};
    }
    *out = (name_list){keys, sizeof *keys, side->tensor_count, side->name, "tensor"};
    return ST_OK;
}

static void keys_free(st_context *context, const name_list *names)
{
    st__free(context, (void *)(uintptr_t)names->records, names->count * names->stride);
}

st_status st__partners_make(st__compare_run *run, st_error *error)
{
    st_context *context = run->comparer.context;
    name_list names;
    st__map map = {0};
    ST_TRY(keys_make(context, run->sides[0], &names, error));
    st_status status = names_check(context, &names, error);
    keys_free(context, &names);
    if (status != ST_OK)
        return status;
    ST_TRY(keys_make(context, run->sides[1], &names, error));
    status = names_index(context, &names, &map, error);
    if (status == ST_OK)
        partners_find(run, &map);
    st__map_release(&map, context);
    keys_free(context, &names);
    return status;
}
