/* SPDX-License-Identifier: Apache-2.0 */
/* Planning shards. */
#include "checkpoint/split.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "checkpoint/split_rule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_SIZE_DEFAULT UINT64_C(5000000000)
#define PATTERN_DEFAULT    "model{suffix}.safetensors"
#define SUFFIX_MARK        "{suffix}"
#define SUFFIX_SIZE        48 /* room for "-%05zu-of-%05zu" */

/* ----------------------------------------------------------------------------------- names */

/* Puts a suffix in the pattern's mark, or marks; NULL: out of memory. `behind` follows. */
static const char *pattern_fill(st__arena *arena, const char *pattern, const char *suffix,
                                const char *behind)
{
    size_t mark_len = strlen(SUFFIX_MARK), suffix_len = strlen(suffix), marks = 0, size;
    for (const char *at = pattern; (at = strstr(at, SUFFIX_MARK)); at += mark_len)
        marks++;
    if (!st__mul_size(marks, suffix_len, &size) ||
        !st__add_size(size, strlen(pattern) + strlen(behind) + 1, &size))
        return NULL;
    char *out = st__arena_take(arena, size), *to = out;
    if (!out)
        return NULL;
    for (const char *mark; (mark = strstr(pattern, SUFFIX_MARK)); pattern = mark + mark_len) {
        memcpy(to, pattern, (size_t)(mark - pattern));
        to += mark - pattern;
        memcpy(to, suffix, suffix_len);
        to += suffix_len;
    }
    memcpy(to, pattern, strlen(pattern));
    to += strlen(pattern);
    memcpy(to, behind, strlen(behind) + 1);
    return out;
}

static ST__COLD st_status pattern_refuse(const char *pattern, const char *why, st_error *error)
{
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "the pattern %s %s",
                    st__quote(pattern, strlen(pattern)).text, why);
}

/* What follows the mark does not change what may be a shard's name, but where it ends. */
static st_status pattern_check(st_split *split, const char *pattern, st_error *error)
{
    const char *mark = strstr(pattern, SUFFIX_MARK);
    size_t braces = 0, marks = 0;
    if (!mark)
        return pattern_refuse(pattern, "has no {suffix}", error);
    if (strchr(pattern, '/'))
        return pattern_refuse(pattern, "names another folder", error);
    for (const char *at = pattern; (at = strstr(at, SUFFIX_MARK)); at++)
        marks++;
    for (const char *at = pattern; *at; at++)
        braces += *at == '{' || *at == '}';
    if (braces != 2 * marks)
        return pattern_refuse(pattern, "has braces besides {suffix}", error);
    const char *one = pattern_fill(&split->texts, pattern, "", "");
    const char *more = pattern_fill(&split->texts, pattern, "-00001-of-00002", "");
    if (!one || !more)
        return st__checkpoint_nomem(split->checkpoint, strlen(pattern), error);
    const char *fault = st__shard_name_fault(one, strlen(one));
    if (!fault)
        fault = st__shard_name_fault(more, strlen(more));
    return fault ? pattern_refuse(pattern, fault, error) : ST_OK;
}

static st_status shards_name(st_split *split, const char *pattern, st_error *error)
{
    char suffix[SUFFIX_SIZE] = "";
    for (size_t i = 0; i < split->count; i++) {
        if (split->count > 1)
            (void)snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu", i + 1, split->count);
        split->shards[i].name = pattern_fill(&split->texts, pattern, suffix, "");
        if (!split->shards[i].name)
            return st__checkpoint_nomem(split->checkpoint, strlen(pattern), error);
    }
    split->index_name = pattern_fill(&split->texts, pattern, "", ".index.json");
    split->pattern = st__arena_text(&split->texts, pattern, strlen(pattern));
    return split->index_name && split->pattern
               ? ST_OK
               : st__checkpoint_nomem(split->checkpoint, strlen(pattern), error);
}

/* Gives the length of the five digits or more that a text begins with; else 0. */
static size_t number_len(const char *text)
{
    size_t len = strspn(text, "0123456789");
    return len >= 5 ? len : 0;
}

/* Gives the length of "-00001-of-00003" where a text begins with the like; else 0. */
static size_t suffix_len(const char *text)
{
    size_t first = text[0] == '-' ? number_len(text + 1) : 0, behind = 1 + first;
    if (!first || strncmp(text + behind, "-of-", 4) != 0)
        return 0;
    size_t second = number_len(text + behind + 4);
    return second ? behind + 4 + second : 0;
}

bool st__split_is_numbered(const st_split *split, const char *name)
{
    size_t mark_len = strlen(SUFFIX_MARK), len = 0;
    const char *at = split->pattern, *suffix = NULL; /* which is the same in each mark */
    for (const char *mark; (mark = strstr(at, SUFFIX_MARK)); at = mark + mark_len) {
        size_t plain = (size_t)(mark - at);
        if (strncmp(name, at, plain) != 0)
            return false;
        name += plain;
        size_t found = suffix_len(name);
        if (!found || (suffix && (found != len || memcmp(name, suffix, len) != 0)))
            return false;
        suffix = name;
        len = found;
        name += len;
    }
    return strcmp(name, at) == 0;
}

bool st__split_has(const st_split *split, const char *name)
{
    if (!st__split_is_numbered(split, name))
        return false;
    const char *mark = strstr(split->pattern, SUFFIX_MARK);
    unsigned long long number = strtoull(name + (mark - split->pattern) + 1, NULL, 10);
    return number >= 1 && number <= split->count &&
           strcmp(split->shards[number - 1].name, name) == 0;
}

/* -------------------------------------------------------------------------------- grouping */

/* Puts the tensors in order, shard by shard: those that have bytes as they are in the checkpoint, then, but for the
 * first such, those that have none. */
static void shards_fill(st_split *split, const uint64_t *sizes, const uint32_t *shard)
{
    size_t at = 0;
    for (size_t i = 0; i < split->tensor_count; i++) {
        split->shards[shard[i]].count++;
        split->shards[shard[i]].size += sizes[i];
    }
    for (size_t s = 0; s < split->count; s++) {
        split->shards[s].first = at;
        at += split->shards[s].count;
        split->shards[s].count = 0;
    }
    for (int last = 0; last < 2; last++) {
        bool empty_seen = false;
        for (size_t i = 0; i < split->tensor_count; i++) {
            bool follows = sizes[i] == 0 && empty_seen;
            empty_seen |= sizes[i] == 0;
            st_shard *to = &split->shards[shard[i]];
            if (follows == (last == 1))
                split->order[to->first + to->count++] = (uint32_t)i;
        }
    }
}

/* A checkpoint without tensors is one empty shard, as a file without tensors is one. */
static st_status shards_make(st_split *split, const uint64_t *sizes, uint64_t limit,
                             uint32_t *shard, st_error *error)
{
    size_t count = st__split_assign(sizes, split->tensor_count, limit, shard);
    split->count = count ? count : 1;
    split->shards = st__alloc_zeroed(split->context, split->count, sizeof *split->shards);
    if (!split->shards)
        return st__checkpoint_nomem(split->checkpoint,
                                    (uint64_t)split->count * sizeof *split->shards, error);
    shards_fill(split, sizes, shard);
    return ST_OK;
}

static st_status split_group(st_split *split, const st_split_options *options, uint64_t *sizes,
                             uint32_t *shard, st_error *error)
{
    uint64_t limit = options->max_shard_size ? options->max_shard_size : SHARD_SIZE_DEFAULT;
    for (size_t i = 0; i < split->tensor_count; i++)
        sizes[i] = st_tensor_size(split->checkpoint->entries[i].tensor);
    if (options->shard_count) {
        st_status status = st__split_limit_find(split->context, sizes, split->tensor_count,
                                                options->shard_count, &limit, error);
        if (status != ST_OK)
            return st__error_locate(error, status, split->checkpoint->name, NULL);
    }
    return shards_make(split, sizes, limit, shard, error);
}

static st_status split_fill(st_split *split, const st_split_options *options, st_error *error)
{
    st_context *context = split->context;
    const char *pattern = options->pattern ? options->pattern : PATTERN_DEFAULT;
    size_t count = split->tensor_count;
    ST_TRY(pattern_check(split, pattern, error));
    uint64_t *sizes = st__alloc_zeroed(context, count, sizeof *sizes);
    uint32_t *shard = st__alloc_zeroed(context, count, sizeof *shard);
    split->order = st__alloc_zeroed(context, count, sizeof *split->order);
    st_status status =
        sizes && shard && split->order
            ? split_group(split, options, sizes, shard, error)
            : st__checkpoint_nomem(split->checkpoint, (uint64_t)count * sizeof *sizes, error);
    st__free(context, sizes, count * sizeof *sizes);
    st__free(context, shard, count * sizeof *shard);
    if (status == ST_OK)
        status = shards_name(split, pattern, error);
    if (status == ST_OK && split->count > 1)
        status = st__split_index_make(split, error);
    return status;
}

/* ----------------------------------------------------------------------------- the object */

/* The writer knows what its own options may be. */
static st_status split_options_check(const st_split_options *options, st_error *error)
{
    st_writer_options of_writer = {.alignment = options->alignment, .context = options->context};
    st_writer *writer;
    if (options->max_shard_size && options->shard_count)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_split_options: max_shard_size %" PRIu64 " and shard_count %" PRIu64
                        " exclude each other",
                        options->max_shard_size, options->shard_count);
    if (options->durability > ST_DURABLE_NONE)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_split_options: unknown durability %" PRIu32, options->durability);
    if (options->flags & ~(uint32_t)ST_SINK_NEW)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_split_options: unknown flags 0x%" PRIx32, options->flags);
    ST_TRY(st__reserved_check(options->reserved, 8, "st_split_options", error));
    ST_TRY(st_writer_new(&of_writer, &writer, error));
    st_writer_free(writer);
    return ST_OK;
}

st_status st_split_new(const st_checkpoint *checkpoint, const st_split_options *options,
                       st_split **out, st_error *error)
{
    static const st_split_options defaults;
    const st_split_options *o = options ? options : &defaults;
    st_context *context = o->context ? o->context : checkpoint->context;
    ST_TRY(split_options_check(o, error));
    st_split *split = st__alloc_zeroed(context, 1, sizeof *split);
    if (!split)
        return st__checkpoint_nomem(checkpoint, sizeof *split, error);
    split->context = st_context_retain(context);
    split->texts.context = context;
    split->checkpoint = checkpoint;
    split->tensor_count = checkpoint->count;
    split->durability = o->durability;
    split->flags = o->flags;
    split->alignment = o->alignment;
    split->clean = o->clean;
    split->progress = o->progress;
    st_status status = split_fill(split, o, error);
    if (status == ST_OK)
        *out = split;
    else
        st_split_free(split);
    return status;
}

void st_split_free(st_split *split)
{
    if (!split)
        return;
    st_context *context = split->context;
    st__free(context, split->order, split->tensor_count * sizeof *split->order);
    st__free(context, split->shards, split->count * sizeof *split->shards);
    st__free(context, split->index, split->index_size);
    st__arena_release(&split->texts);
    st__free(context, split, sizeof *split);
    st_context_release(context);
}

size_t st_split_count(const st_split *split)
{
    return split->count;
}

st_shard st_split_at(const st_split *split, size_t index)
{
    return split->shards[index];
}

st_checkpoint_tensor st_split_tensor(const st_split *split, size_t index)
{
    return st_checkpoint_at(split->checkpoint, split->order[index]);
}

const char *st_split_index_text(const st_split *split, size_t *len)
{
    if (split->index && len)
        *len = split->index_len;
    return split->index;
}

const char *st_split_index_name(const st_split *split)
{
    return split->index ? split->index_name : NULL;
}

bool st__split_is_of_shards(const st_metadata *entry)
{
    return entry->key_len == 6 && memcmp(entry->key, "format", 6) == 0;
}
