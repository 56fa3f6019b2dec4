/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of edits over several files, made by hand. */
#ifndef TESTS_CHECKPOINT_LIST_H
#define TESTS_CHECKPOINT_LIST_H

#include "checkpoint/changes.h"

#include "base/checksum.h"
#include "base/endian.h"
#include "checkpoint/exchange.h"

#define LIST        CHANGES_INDEX ".st-journal"
#define ASIDE       ".m-1-part.0123456789abcdef.tmp"
#define INDEX_ASIDE ".m-index-part.0123456789abcdef.tmp"

/* A list, as it is made. */
typedef struct list_bytes {
    unsigned char bytes[4096];
    size_t size;
    uint64_t count;
    size_t mark;
} list_bytes;

static inline void list_start(list_bytes *list)
{
    st__exchange_head_emit(list->bytes);
    list->size = ST__EXCHANGE_HEAD;
    list->count = 0;
}

static inline void list_record(list_bytes *list, const st__exchange_record *record)
{
    st__exchange_record_emit(record, list->bytes + list->size);
    list->size += st__exchange_record_size(record);
    list->count++;
}

static inline void list_mark(list_bytes *list)
{
    uint64_t chain = st__checksum(ST__CHECKSUM_NONE, list->bytes, list->size);
    list->mark = list->size;
    st__exchange_mark_emit(list->count, chain, list->bytes + list->size);
    list->size += ST__EXCHANGE_MARK;
}

static inline st__key key_of(const char *text)
{
    return (st__key){text, (uint32_t)strlen(text), 0};
}

static inline st__known known_of(const char *name)
{
    st__known known;
    assert_int_equal(st__known_read(ST__OS_HERE, model_path(name), &known), 0);
    assert_true(known.there);
    return known;
}

static inline st__exchange_record takes(const char *name, const char *aside)
{
    return (st__exchange_record){.name = key_of(name),
                                 .aside = key_of(aside),
                                 .kind = ST__EXCHANGE_TAKES,
                                 .old = known_of("m-1.safetensors"),
                                 .fresh = known_of(ASIDE)};
}

/* A model whose first shard and index are to be replaced, and whose third is to go; and the list of that. */
static inline void list_of_model(list_bytes *list)
{
    changes_model();
    model_tensors(ASIDE, "x:3 b:5", NULL);
    model_text(INDEX_ASIDE, "{\"weight_map\":{\"x\":\"m-1.safetensors\"}}");
    st__exchange_record index = takes(CHANGES_INDEX, INDEX_ASIDE);
    index.old = known_of(CHANGES_INDEX);
    index.fresh = known_of(INDEX_ASIDE);
    st__exchange_record first = takes("m-1.safetensors", ASIDE);
    st__exchange_record third = {.name = key_of("m-3.safetensors"),
                                 .kind = ST__EXCHANGE_GOES,
                                 .old = known_of("m-3.safetensors")};
    list_start(list);
    list_record(list, &first);
    list_record(list, &index);
    list_record(list, &third);
    list_mark(list);
}

static inline void list_store(const list_bytes *list)
{
    model_store(LIST, list->bytes, list->size);
}

#define ALL_NAMES \
 ASIDE " " INDEX_ASIDE " m-1.safetensors m-2.safetensors m-3.safetensors " CHANGES_INDEX " " LIST

#endif
