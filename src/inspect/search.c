/* SPDX-License-Identifier: Apache-2.0 */
/* Names and metadata by a rule. The C library's matcher takes memory by the size of a text and, for some expressions, time
 * by its square, and it cannot be interrupted; a value may have 100 MB. So it is given stretches. */
#include <safetensors/inspect.h>

#include "base/context.h"
#include "base/error.h"
#include "format/name_rule.h"

#include <inttypes.h>

/* Bytes of a stretch, and from the beginning of one to that of the next: seconds for `a.*b` in a text of nothing but
 * a, with glibc 2.36 in UTF-8. */
#define STRETCH 16384u
#define STRIDE  (STRETCH / 2)

#define PARTS_ALL ((uint32_t)(ST_SEARCH_NAMES | ST_SEARCH_KEYS | ST_SEARCH_VALUES))

typedef struct search_run {
    const st_name_rule *rule;
    const st_search_options *options;
    uint32_t parts;
    uint64_t total; /* bytes of text */
    uint64_t done;  /* of them, in texts that are behind */
    uint64_t told;
    uint64_t count;
    st_error *error;
} search_run;

static ST__COLD st_status search_stop(const search_run *run)
{
    return st__fail(run->error, ST_ERR_STOPPED, ST_NO_OFFSET, "the search was stopped");
}

/* Tells the progress, if there is enough to tell; `at` is how far the search is in the text at hand. */
static st_status search_tell(search_run *run, uint64_t at)
{
    const st_progress *progress = &run->options->progress;
    if (!progress->fn || run->done + at - run->told < STRIDE)
        return ST_OK;
    run->told = run->done + at;
    return progress->fn(progress->ctx, run->told, run->total) ? ST_OK : search_stop(run);
}

/* --------------------------------------------------------------------------------- a text */

/* Gives the stretch that begins at `at`, whole characters, and its place in the text. */
static st__span stretch_at(st__span text, size_t at, uint32_t *place)
{
    st__span stretch = {text.at + at, text.len - at};
    *place = at == 0 ? ST__TEXT_BEGINS : 0;
    if (stretch.len <= STRETCH)
        *place |= ST__TEXT_ENDS;
    else
        stretch.len = st__utf8_cut(stretch.at, STRETCH);
    return stretch;
}

/* A match that ends with its stretch may be longer: a stretch that begins with it tells. */
static st_status stretches_search(search_run *run, st__span text, st__span *where)
{
    for (size_t at = 0;;) {
        uint32_t place;
        st__span stretch = stretch_at(text, at, &place);
        ST_TRY(st__name_rule_find(run->rule, stretch, place, where, run->error));
        bool ends = place & ST__TEXT_ENDS;
        if (where->at &&
            (ends || where->at == stretch.at || where->at + where->len < stretch.at + stretch.len))
            return ST_OK;
        if (where->at)
            at = (size_t)(where->at - text.at);
        else if (ends)
            return ST_OK;
        else
            at += st__utf8_cut(stretch.at, STRIDE);
        ST_TRY(search_tell(run, at));
    }
}

/* Searches a text, if `part` is asked for. Sets the part in `found`. */
static st_status text_search(search_run *run, uint32_t part, st__span text, st_found *found)
{
    st__span where;
    if (!(run->parts & part))
        return ST_OK;
    if (st__name_rule_is_partial(run->rule))
        ST_TRY(stretches_search(run, text, &where));
    else
        ST_TRY(st__name_rule_find(run->rule, text, ST__TEXT_BEGINS | ST__TEXT_ENDS, &where,
                                  run->error));
    run->done += text.len;
    ST_TRY(search_tell(run, 0));
    if (!where.at)
        return ST_OK;
    st_match *match = part == ST_SEARCH_VALUES ? &found->value : &found->name;
    match->begin = (uint64_t)(where.at - text.at);
    match->end = match->begin + where.len;
    found->parts |= part;
    return ST_OK;
}

/* ------------------------------------------------------------------------------ the header */

static bool search_is_enough(const search_run *run)
{
    return run->options->max && run->count == run->options->max;
}

static st_status found_tell(search_run *run, const st_found *found)
{
    if (!found->parts)
        return ST_OK;
    run->count++;
    if (run->options->found && !run->options->found(run->options->ctx, found))
        return search_stop(run);
    return ST_OK;
}

static st_status tensors_search(search_run *run, const st_header *header)
{
    if (!(run->parts & ST_SEARCH_NAMES))
        return ST_OK;
    for (size_t i = 0; i < st_header_count(header) && !search_is_enough(run); i++) {
        const st_tensor *tensor = st_header_at(header, i);
        st_found found = {.tensor = tensor};
        const st__span name = {tensor->name, tensor->name_len};
        ST_TRY(text_search(run, ST_SEARCH_NAMES, name, &found));
        ST_TRY(found_tell(run, &found));
    }
    return ST_OK;
}

static st_status metadata_search(search_run *run, const st_header *header)
{
    if (!(run->parts & (ST_SEARCH_KEYS | ST_SEARCH_VALUES)))
        return ST_OK;
    for (size_t i = 0; i < st_header_metadata_count(header) && !search_is_enough(run); i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        st_found found = {.metadata = entry};
        const st__span key = {entry->key, entry->key_len};
        const st__span value = {entry->value, entry->value_len};
        ST_TRY(text_search(run, ST_SEARCH_KEYS, key, &found));
        ST_TRY(text_search(run, ST_SEARCH_VALUES, value, &found));
        ST_TRY(found_tell(run, &found));
    }
    return ST_OK;
}

/* They all stand in one header: the sum is no more than the bytes in memory. */
static uint64_t texts_size(const search_run *run, const st_header *header)
{
    uint64_t size = 0;
    for (size_t i = 0; run->parts & ST_SEARCH_NAMES && i < st_header_count(header); i++)
        size += st_header_at(header, i)->name_len;
    for (size_t i = 0; i < st_header_metadata_count(header); i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        size += run->parts & ST_SEARCH_KEYS ? entry->key_len : 0;
        size += run->parts & ST_SEARCH_VALUES ? entry->value_len : 0;
    }
    return size;
}

st_status st_header_search(const st_header *header, const st_name_rule *rule,
                           const st_search_options *options, uint64_t *count, st_error *error)
{
    static const st_search_options none;
    search_run run = {.rule = rule, .options = options ? options : &none, .error = error};
    ST_TRY(st__reserved_check(run.options->reserved, 8, "st_search_options", error));
    if (run.options->parts & ~PARTS_ALL)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_header_search: unknown parts 0x%" PRIx32, run.options->parts);
    run.parts = run.options->parts ? run.options->parts : PARTS_ALL;
    if (run.options->progress.fn)
        run.total = texts_size(&run, header);
    ST_TRY(tensors_search(&run, header));
    ST_TRY(metadata_search(&run, header));
    if (count)
        *count = run.count;
    return ST_OK;
}
