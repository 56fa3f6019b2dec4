/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors that have another name in the other side: of one dtype and shape, and of the same bytes. What only one side
 * has of its dtype and shape is not read. The others are hashed, and where hashes agree the bytes are compared, so
 * that the hash need only tell most of them apart; it is keyed, for the files may come from strangers. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/team.h"
#include "inspect/compare.h"
#include "io/os.h"

#include <string.h>

/* Bytes: what blocks are whole multiples of, whatever their size. */
#define HASH_PIECE 24u

/* A tensor without a partner. Its key is what its partner must agree in: dtype, shape, and behind these, not
 * counted by `len` until it is known, the hash. */
typedef struct candidate {
    st__key key;
    const st_side_tensor *tensor;
    uint32_t index; /* in its side */
    uint32_t next;  /* 1 + the next candidate of this side with the same key; 0: none */
    uint32_t last;  /* of the first one: 1 + the last of its chain */
    uint32_t alone; /* and 1 + the first that is without a partner; 0: all have one */
    bool wanted;    /* the other side has such a dtype and shape */
} candidate;

typedef struct candidate_list {
    candidate *at;
    size_t count;
    unsigned char *texts; /* of the keys */
    size_t text_size;
} candidate_list;

typedef struct renames_run {
    st__comparer *comparer;
    const st__partners *partners;
    unsigned char *renamed;
    st__hash_key key;
    candidate_list lists[2];
    candidate **wanted; /* of both sides, those to be hashed */
    size_t wanted_count;
} renames_run;

/* ----------------------------------------------------------------------------- candidates */

/* Bytes of a key, its hash included. */
static size_t key_size(const st_side_tensor *tensor)
{
    size_t len;
    (void)st__side_dtype(tensor, &len);
    return len + 1 + tensor->tensor->ndim * sizeof *tensor->tensor->shape + sizeof(uint64_t);
}

/* The code's end is marked: what follows could go on with it. */
static void key_write(candidate *c, unsigned char *text)
{
    const st_tensor *tensor = c->tensor->tensor;
    const size_t shape_size = tensor->ndim * sizeof *tensor->shape;
    size_t len;
    const char *code = st__side_dtype(c->tensor, &len);
    memcpy(text, code, len);
    text[len] = 0;
    memcpy(text + len + 1, tensor->shape, shape_size);
    c->key = (st__key){(const char *)text, (uint32_t)(len + 1 + shape_size), 0};
}

static st_status candidates_make(renames_run *run, int side, st_error *error)
{
    const st_side *from = run->partners->sides[side];
    candidate_list *list = &run->lists[side];
    st_context *context = run->comparer->context;
    for (size_t i = 0; i < from->tensor_count; i++) {
        if (run->partners->at[side][i])
            continue;
        list->count++;
        list->text_size += key_size(&from->tensors[i]);
    }
    list->at = st__alloc_zeroed(context, list->count, sizeof *list->at);
    list->texts = st__alloc(context, list->text_size);
    if (!list->at || !list->texts)
        return st__fail_nomem(error, (uint64_t)list->count * sizeof *list->at + list->text_size);
    candidate *c = list->at;
    unsigned char *text = list->texts;
    for (size_t i = 0; i < from->tensor_count; i++) {
        if (run->partners->at[side][i])
            continue;
        c->tensor = &from->tensors[i];
        c->index = (uint32_t)i;
        key_write(c++, text);
        text += key_size(&from->tensors[i]);
    }
    return ST_OK;
}

/* An index of the first candidate of each key; the others are chained to it, in their order. */
static st_status candidates_index(renames_run *run, int side, st__map *map, st_error *error)
{
    candidate_list *list = &run->lists[side];
    if (!st__map_init(map, run->comparer->context, list->at, sizeof *list->at, list->count,
                      &run->key))
        return st__fail_nomem(error, (uint64_t)list->count * 12 + 48);
    for (size_t i = 0; i < list->count; i++) {
        candidate *c = &list->at[i];
        c->next = 0;
        c->last = c->alone = (uint32_t)i + 1;
        const size_t there = st__map_insert(map, i, st__hash(&run->key, c->key.text, c->key.len));
        if (there == ST__MAP_NONE)
            continue;
        candidate *first = &list->at[there];
        list->at[first->last - 1].next = (uint32_t)i + 1;
        first->last = (uint32_t)i + 1;
    }
    return ST_OK;
}

/* Marks the candidates of one side whose key the other one has. */
static st_status candidates_mark(renames_run *run, int side, st_error *error)
{
    candidate_list *list = &run->lists[side];
    st__map map = {0};
    ST_TRY(candidates_index(run, !side, &map, error));
    for (size_t i = 0; i < list->count; i++) {
        candidate *c = &list->at[i];
        c->wanted = st__map_find(&map, c->key.text, c->key.len) != ST__MAP_NONE;
        if (c->wanted)
            run->wanted[run->wanted_count++] = c;
    }
    st__map_release(&map, run->comparer->context);
    return ST_OK;
}

/* --------------------------------------------------------------------------------- hashes */

typedef struct hashing {
    const renames_run *run;
    uint32_t worker;
    uint64_t hash;
} hashing;

/* By pieces that do not depend on the blocks: these are multiples of them but for the last one. */
static st_status hashing_block(void *ctx, const void *data, size_t size, st_error *error)
{
    hashing *h = ctx;
    const char *at = data;
    for (size_t left = size; left > 0;) {
        const size_t piece = left < HASH_PIECE ? left : HASH_PIECE;
        h->hash = (h->hash ^ st__hash(&h->run->key, at, piece)) * UINT64_C(0x9e3779b97f4a7c15);
        h->hash ^= h->hash >> 29;
        at += piece;
        left -= piece;
    }
    return st__comparer_tell(h->run->comparer, h->worker, size, error);
}

static st_status candidate_hash(void *ctx, uint32_t worker, uint64_t unit, st_error *error)
{
    const renames_run *run = ctx;
    candidate *c = run->wanted[unit];
    hashing h = {run, worker, 0};
    st__reading reading;
    ST_TRY(st__reading_open(&reading, c->tensor->file, c->tensor->tensor, NULL, error));
    st_status status = st__reading_blocks(&reading, 1, hashing_block, &h, error);
    status = st__reading_close(&reading, status, error);
    memcpy((char *)(uintptr_t)c->key.text + c->key.len, &h.hash, sizeof h.hash);
    return status;
}

static st_status candidates_hash(renames_run *run, st_error *error)
{
    st__comparer *comparer = run->comparer;
    const st__shared_work work = {run->wanted_count, candidate_hash, run};
    for (size_t i = 0; i < run->wanted_count; i++)
        comparer->total += 3 * st_tensor_size(run->wanted[i]->tensor->tensor);
    ST_TRY(st__team_share(comparer->context, comparer->worker_count, &work, error));
    for (size_t i = 0; i < run->wanted_count; i++)
        run->wanted[i]->key.len += (uint32_t)sizeof(uint64_t);
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- pairs */

static st_status bytes_same(renames_run *run, const candidate *a, const candidate *b, bool *same,
                            st_error *error)
{
    static const st_compare_options exactly = {.flags = ST_COMPARE_BRIEF};
    const st__pair pair = {{a->tensor, b->tensor}, &exactly};
    const st__pair_team team = {0, run->comparer->worker_count};
    st_deviation deviation;
    *same = false;
    if (st_tensor_size(a->tensor->tensor) != st_tensor_size(b->tensor->tensor))
        return ST_OK;
    ST_TRY(st__pair_compare(run->comparer, &pair, team, &deviation, error));
    *same = deviation.same;
    return ST_OK;
}

/* Looks along a chain of b for one that holds the same, and takes it out: of many that are all alike none is passed
 * twice. */
static st_status candidate_pair(renames_run *run, const candidate *a, size_t chain, st_error *error)
{
    uint32_t *const *at = run->partners->at;
    candidate *b;
    for (uint32_t *link = &run->lists[1].at[chain].alone; *link; link = &b->next) {
        bool same = false;
        b = &run->lists[1].at[*link - 1];
        ST_TRY(bytes_same(run, a, b, &same, error));
        if (!same)
            continue;
        *link = b->next;
        at[0][a->index] = b->index + 1;
        at[1][b->index] = a->index + 1;
        run->renamed[a->index] = 1;
        return ST_OK;
    }
    return ST_OK;
}

static st_status candidates_pair(renames_run *run, st_error *error)
{
    st__map map = {0};
    st_status status = candidates_index(run, 1, &map, error);
    for (size_t i = 0; i < run->lists[0].count && status == ST_OK; i++) {
        const candidate *a = &run->lists[0].at[i];
        const size_t chain = a->wanted ? st__map_find(&map, a->key.text, a->key.len) : ST__MAP_NONE;
        if (chain != ST__MAP_NONE)
            status = candidate_pair(run, a, chain, error);
    }
    st__map_release(&map, run->comparer->context);
    return status;
}

static st_status renames_run_all(renames_run *run, st_error *error)
{
    ST_TRY(candidates_make(run, 0, error));
    ST_TRY(candidates_make(run, 1, error));
    const size_t all = run->lists[0].count + run->lists[1].count;
    run->wanted = st__alloc_zeroed(run->comparer->context, all, sizeof *run->wanted);
    if (!run->wanted)
        return st__fail_nomem(error, (uint64_t)all * sizeof *run->wanted);
    ST_TRY(candidates_mark(run, 0, error));
    ST_TRY(candidates_mark(run, 1, error));
    ST_TRY(candidates_hash(run, error));
    return candidates_pair(run, error);
}

st_status st__renames_find(st__comparer *comparer, const st__partners *partners,
                           unsigned char *renamed, st_error *error)
{
    renames_run run = {.comparer = comparer, .partners = partners, .renamed = renamed};
    st_context *context = comparer->context;
    st__os_random(&run.key, sizeof run.key);
    st_status status = renames_run_all(&run, error);
    st__free(context, run.wanted, (run.lists[0].count + run.lists[1].count) * sizeof *run.wanted);
    for (int side = 0; side < 2; side++) {
        st__free(context, run.lists[side].texts, run.lists[side].text_size);
        st__free(context, run.lists[side].at, run.lists[side].count * sizeof *run.lists[side].at);
    }
    return status;
}
