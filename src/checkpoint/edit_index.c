/* SPDX-License-Identifier: Apache-2.0 */
/* The new text of an index, out of the old one: what does not change stands as it stood, blanks and all, and what comes
 * in is written as its neighbours are. */
#include "base/alloc.h"
#include "base/checked.h"
#include "checkpoint/edit.h"
#include "checkpoint/index.h"

#include <safetensors/json.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A stretch of the old text. */
typedef struct old_piece {
    size_t begin, end;
} old_piece;

typedef struct index_rewriting {
    const st__outcome *outcome;
    const char *text;
    size_t len;
    st_json_reader *reader;
    st_json_token token;
    st__index_text *out;
    size_t put; /* of the old text: what has been put, or is not to be */
    st_error *error;
    /* How the map is written: before the first key, before others, between a key and its value. */
    old_piece first_lead, lead, colon;
    size_t entries; /* in the old map, so far */
    size_t emitted; /* in the new one */
} index_rewriting;

static st_status old_token_next(index_rewriting *w)
{
    return st_json_reader_next(w->reader, &w->token, w->error);
}

static bool old_token_is(const index_rewriting *w, const char *text)
{
    return w->token.len == strlen(text) && memcmp(w->token.text, text, w->token.len) == 0;
}

/* Puts the old text up to a byte. */
static void old_put_until(index_rewriting *w, size_t end)
{
    st__index_text_put(w->out, w->text + w->put, end - w->put);
    w->put = end;
}

static void old_piece_put(index_rewriting *w, old_piece piece)
{
    st__index_text_put(w->out, w->text + piece.begin, piece.end - piece.begin);
}

/* Where a string that begins at a byte ends; the text has been read, so that it does. */
static size_t string_end(const index_rewriting *w, size_t begin)
{
    size_t at = begin + 1;
    while (at < w->len && w->text[at] != '"')
        at += w->text[at] == '\\' ? 2 : 1;
    return at + 1;
}

/* --------------------------------------------------------------------------------- the map */

/* One entry of the old map, whose key has been read: it stays, changes, or is left out. */
static st_status map_entry_rewrite(index_rewriting *w, size_t lead_begin)
{
    const st_checkpoint *checkpoint = w->outcome->checkpoint;
    size_t number = st__map_find(&checkpoint->names, w->token.text, w->token.len);
    old_piece key = {(size_t)w->token.offset, string_end(w, (size_t)w->token.offset)};
    old_piece lead = {lead_begin, key.begin};
    ST_TRY(old_token_next(w));
    old_piece value = {(size_t)w->token.offset, string_end(w, (size_t)w->token.offset)};
    old_piece colon = {key.end, value.begin};
    if (w->token.kind != ST_JSON_STRING || number == ST__MAP_NONE)
        return st__fail(w->error, ST_ERR_CHANGED, key.begin,
                        "%s: is not the index that was opened; open the checkpoint again",
                        checkpoint->index);
    if (w->entries == 0) {
        w->first_lead = lead;
        w->colon = colon;
    } else if (w->entries == 1) {
        w->lead = lead;
    }
    w->entries++;
    w->put = value.end;
    if (w->outcome->now[number] == 0)
        return ST_OK;
    const st__outcome_row *row = &w->outcome->rows[w->outcome->now[number] - 1];
    const st__checkpoint_entry *old = &checkpoint->entries[number];
    old_piece_put(w, w->emitted++ ? lead : w->first_lead);
    if (row->name.len == old->name.len &&
        memcmp(row->name.text, old->name.text, old->name.len) == 0)
        old_piece_put(w, key);
    else
        st__index_text_string(w->out, row->name.text, row->name.len);
    old_piece_put(w, colon);
    if (row->file == old->file)
        old_piece_put(w, value);
    else
        st__index_text_string(w->out, checkpoint->files[row->file].name.text,
                              checkpoint->files[row->file].name.len);
    return ST_OK;
}

/* What stands before a new entry: as before the second one of the old, made of what is before the first, or as Python
 * writes it. */
static void map_lead_put(index_rewriting *w)
{
    if (w->entries == 0) {
        st__index_text_line(w->out, w->emitted ? ",\n    " : "\n    ");
    } else if (w->emitted == 0) {
        old_piece_put(w, w->first_lead);
    } else if (w->entries > 1) {
        old_piece_put(w, w->lead);
    } else {
        st__index_text_line(w->out, ",");
        old_piece_put(w, w->first_lead);
    }
}

/* What no old entry stood for. */
static void map_new_put(index_rewriting *w)
{
    const st__outcome *outcome = w->outcome;
    for (size_t i = 0; i < outcome->count; i++) {
        const st__outcome_row *row = &outcome->rows[i];
        const st__key *file = &outcome->checkpoint->files[row->file].name;
        if (row->listed)
            continue;
        map_lead_put(w);
        st__index_text_string(w->out, row->name.text, row->name.len);
        if (w->entries)
            old_piece_put(w, w->colon);
        else
            st__index_text_line(w->out, ": ");
        st__index_text_string(w->out, file->text, file->len);
        w->emitted++;
    }
}

/* The object of names, whose brace has been read. */
static st_status map_rewrite(index_rewriting *w)
{
    size_t lead = (size_t)w->token.offset + 1;
    old_put_until(w, lead);
    ST_TRY(old_token_next(w));
    for (; w->token.kind == ST_JSON_KEY; lead = w->put) {
        ST_TRY(map_entry_rewrite(w, lead));
        ST_TRY(old_token_next(w));
    }
    map_new_put(w);
    if (w->entries == 0 && w->emitted)
        st__index_text_line(w->out, "\n  ");
    else if (w->emitted)
        old_put_until(w, (size_t)w->token.offset);
    w->put = (size_t)w->token.offset;
    return ST_OK;
}

/* ----------------------------------------------------------------------------- the metadata */

static void count_put(index_rewriting *w, uint64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%" PRIu64, number);
    old_put_until(w, (size_t)w->token.offset);
    st__index_text_line(w->out, digits);
    w->put = w->token.kind == ST_JSON_STRING ? string_end(w, (size_t)w->token.offset)
                                             : (size_t)w->token.offset + w->token.len;
}

/* What counts parameters may count others than these: it changes by as many as came and went. */
static void parameters_put(index_rewriting *w)
{
    uint64_t then = w->outcome->elements_old, now = w->outcome->elements, told, sum;
    if (then == now || !st_json_parse_u64(w->token.text, w->token.len, &told))
        return;
    if (now < then)
        sum = told > then - now ? told - (then - now) : 0;
    else if (!st__add_u64(told, now - then, &sum))
        return;
    count_put(w, sum);
}

/* Whether the token is a number, or a string in which one may stand. */
static bool counts(const index_rewriting *w)
{
    return w->token.kind == ST_JSON_NUMBER || w->token.kind == ST_JSON_STRING;
}

static st_status value_pass(index_rewriting *w)
{
    const uint32_t depth = w->token.depth;
    if (w->token.kind == ST_JSON_OBJECT_BEGIN || w->token.kind == ST_JSON_ARRAY_BEGIN)
        do
            ST_TRY(old_token_next(w));
        while (w->token.depth > depth);
    return ST_OK;
}

static st_status metadata_rewrite(index_rewriting *w)
{
    uint64_t told;
    ST_TRY(old_token_next(w));
    while (w->token.kind == ST_JSON_KEY) {
        bool size = old_token_is(w, "total_size"), elements = old_token_is(w, "total_parameters");
        ST_TRY(old_token_next(w));
        if (elements && counts(w))
            parameters_put(w);
        else if (size && counts(w) &&
                 (!st_json_parse_u64(w->token.text, w->token.len, &told) ||
                  told != w->outcome->size || w->token.kind == ST_JSON_STRING))
            count_put(w, w->outcome->size);
        else
            ST_TRY(value_pass(w));
        ST_TRY(old_token_next(w));
    }
    return ST_OK;
}

/* ------------------------------------------------------------------------------ all of it */

static st_status members_rewrite(index_rewriting *w, bool *mapped)
{
    ST_TRY(old_token_next(w));
    ST_TRY(old_token_next(w));
    while (w->token.kind == ST_JSON_KEY) {
        bool map = old_token_is(w, "weight_map"), about = old_token_is(w, "metadata");
        ST_TRY(old_token_next(w));
        bool object = w->token.kind == ST_JSON_OBJECT_BEGIN;
        *mapped |= map;
        if (map && object)
            ST_TRY(map_rewrite(w));
        else if (about && object)
            ST_TRY(metadata_rewrite(w));
        else
            ST_TRY(value_pass(w));
        ST_TRY(old_token_next(w));
    }
    return ST_OK;
}

/* One that is itself the map. */
static st_status bare_rewrite(index_rewriting *w)
{
    ST_TRY(old_token_next(w));
    ST_TRY(map_rewrite(w));
    if (w->emitted)
        return ST_OK;
    return st__fail(w->error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                    "%s: without tensors it would be no index, as it has no weight_map; keep one, "
                    "or remove the files",
                    w->outcome->checkpoint->index);
}

static st_status old_text_read(index_rewriting *w, bool bare, bool *mapped)
{
    ST_TRY(st_json_reader_new(w->outcome->context, w->text, w->len, w->outcome->checkpoint->index,
                              &w->reader, w->error));
    w->put = w->entries = w->emitted = 0;
    w->out->len = 0;
    st_status status = bare ? bare_rewrite(w) : members_rewrite(w, mapped);
    st_json_reader_free(w->reader);
    return status;
}

static st_status text_rewrite(const st__outcome *outcome, const char *text, size_t len,
                              st__index_text *out, st_error *error)
{
    index_rewriting w = {.outcome = outcome, .text = text, .len = len, .out = out, .error = error};
    bool mapped = false;
    st_status status = old_text_read(&w, false, &mapped);
    if (status == ST_OK && !mapped)
        status = old_text_read(&w, true, &mapped);
    if (status == ST_OK)
        old_put_until(&w, len);
    if (status == ST_OK && out->wanted)
        status = st__checkpoint_nomem(outcome->checkpoint, out->wanted, error);
    return status == ST_ERR_NOMEM
               ? st__error_locate(error, status, outcome->checkpoint->index, NULL)
               : status;
}

st_status st__outcome_index(const st__outcome *outcome, st__index_text *out, bool *same,
                            st_error *error)
{
    const st_checkpoint *checkpoint = outcome->checkpoint;
    const st_source_info *then = &checkpoint->index_identity;
    st_open_options options = {.context = checkpoint->context};
    st_memory text = {0};
    st_source_info now;
    *out = (st__index_text){.context = outcome->context};
    st_status status =
        st__index_bytes_read(checkpoint->index, &options, ST__INDEX_MAX - 1, &text, &now, error);
    if (status == ST_OK && !st__identity_same(then, &now))
        status = st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                          "%s: is not the index that was opened; open the checkpoint again",
                          checkpoint->index);
    if (status == ST_OK)
        status = text_rewrite(outcome, text.data, text.size, out, error);
    *same = status == ST_OK && out->len == text.size && memcmp(out->text, text.data, out->len) == 0;
    st__free(checkpoint->context, text.data, text.size);
    return status;
}
