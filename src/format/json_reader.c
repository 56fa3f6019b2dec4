/* SPDX-License-Identifier: Apache-2.0 */
/* The pull reader. It works on a padded copy of the text, as the lexer wants, and decodes
 * strings into a buffer that grows to the longest one. The cursor moves only when a token is
 * complete, so that a call that ran out of memory can be made again. */
#include <safetensors/json.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/json.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* What the last token was, as far as it decides what may come next. */
enum { AT_START, AFTER_BEGIN, AFTER_KEY, AFTER_VALUE, AFTER_COMMA };

/* What comes next. */
enum { NEXT_VALUE, NEXT_KEY, NEXT_CLOSE, NEXT_END };

struct st_json_reader {
    st_context *context;
    st__json json;
    int position;   /* AT_START, … */
    uint32_t depth; /* containers open */
    bool is_object[ST__JSON_DEPTH];
    unsigned char *text; /* the copy, ST__JSON_PAD bytes longer than the text */
    size_t text_size;
    unsigned char *decoded;
    size_t decoded_size;
    char *name;
    size_t name_size;
};

static st_status reader_fill(st_json_reader *reader, const char *text, size_t len, const char *name,
                             st_error *error)
{
    reader->name_size = strlen(name) + 1;
    if (!st__add_size(len, ST__JSON_PAD, &reader->text_size))
        return st__fail_nomem(error, UINT64_MAX);
    reader->name = st__alloc(reader->context, reader->name_size);
    if (!reader->name)
        return st__fail_nomem(error, reader->name_size);
    memcpy(reader->name, name, reader->name_size);
    reader->text = st__alloc(reader->context, reader->text_size);
    if (!reader->text)
        return st__fail_nomem(error, reader->text_size);
    if (len)
        memcpy(reader->text, text, len);
    memset(reader->text + len, 0, ST__JSON_PAD);
    reader->json.start = reader->json.p = reader->text;
    reader->json.end = reader->text + len;
    return ST_OK;
}

st_status st_json_reader_new(st_context *context, const char *text, size_t len, const char *name,
                             st_json_reader **out, st_error *error)
{
    st_json_reader *reader = st__alloc_zeroed(context, 1, sizeof *reader);
    if (!reader)
        return st__fail_nomem(error, sizeof *reader);
    reader->context = st_context_retain(context);
    st_status status = reader_fill(reader, text, len, name ? name : "JSON text", error);
    if (status == ST_OK)
        *out = reader;
    else
        st_json_reader_free(reader);
    return status;
}

void st_json_reader_free(st_json_reader *reader)
{
    if (!reader)
        return;
    st_context *context = reader->context;
    st__free(context, reader->name, reader->name_size);
    st__free(context, reader->text, reader->text_size);
    st__free(context, reader->decoded, reader->decoded_size);
    st__free(context, reader, sizeof *reader);
    st_context_release(context);
}

/* Reports the lexer's fault. A reader that met one meets it again in every call. */
static st_status reader_fail(const st_json_reader *reader, st_error *error)
{
    uint64_t offset = st__json_offset(&reader->json, reader->json.at);
    return st__fail(error, ST_ERR_JSON, offset, "%s: %s, at byte %" PRIu64, reader->name,
                    reader->json.what, offset);
}

static bool in_object(const st_json_reader *reader)
{
    return reader->depth > 0 && reader->is_object[reader->depth - 1];
}

/* Passes blanks and a comma and finds out what stands next; false on a fault. */
static bool next_find(st_json_reader *reader, int *next)
{
    st__json *json = &reader->json;
    if (json->fault)
        return false;
    st__json_space(json);
    bool object = in_object(reader);
    unsigned char close = object ? '}' : ']';
    bool value_done = reader->position == AFTER_VALUE;
    if (reader->depth == 0 && value_done) {
        *next = NEXT_END;
        return json->p == json->end ||
               st__json_fail(json, ST__JSON_SYNTAX, json->p, "more text after the value");
    }
    if ((value_done || reader->position == AFTER_BEGIN) && *json->p == close) {
        *next = NEXT_CLOSE;
        return true;
    }
    if (value_done) {
        if (!st__json_take(json, ',', object ? "expected ',' or '}'" : "expected ',' or ']'"))
            return false;
        reader->position = AFTER_COMMA;
        st__json_space(json);
    }
    *next = object && reader->position != AFTER_KEY ? NEXT_KEY : NEXT_VALUE;
    if (*next == NEXT_KEY && *json->p != '"')
        return st__json_fail(json, ST__JSON_SYNTAX, json->p, "expected a key");
    return true;
}

/* Makes `decoded` at least this large. */
static st_status decoded_reserve(st_json_reader *reader, size_t size, st_error *error)
{
    if (size <= reader->decoded_size)
        return ST_OK;
    size_t grown = size < SIZE_MAX / 2 ? size + size / 2 : size;
    unsigned char *memory =
        st__realloc(reader->context, reader->decoded, reader->decoded_size, grown);
    if (!memory)
        return st__fail_nomem(error, grown);
    reader->decoded = memory;
    reader->decoded_size = grown;
    return ST_OK;
}

/* What the lexer may write beyond a string's decoded bytes. */
#define STRING_ROOM 16

static st_status string_read(st_json_reader *reader, st_json_token *token, st_error *error)
{
    st__json *json = &reader->json;
    const unsigned char *first = json->p;
    size_t len;
    if (!st__json_string(json, NULL, &len))
        return reader_fail(reader, error);
    size_t source = (size_t)(json->p - first);
    json->p = first;
    ST_TRY(decoded_reserve(reader, source + STRING_ROOM, error));
    bool valid = st__json_string(json, reader->decoded, &len);
    assert(valid);
    (void)valid;
    reader->decoded[len] = '\0';
    token->kind = ST_JSON_STRING;
    token->text = (const char *)reader->decoded;
    token->len = len;
    return ST_OK;
}

static st_status key_read(st_json_reader *reader, st_json_token *token, st_error *error)
{
    ST_TRY(string_read(reader, token, error));
    st__json_space(&reader->json);
    if (!st__json_take(&reader->json, ':', "expected ':'"))
        return reader_fail(reader, error);
    token->kind = ST_JSON_KEY;
    reader->position = AFTER_KEY;
    return ST_OK;
}

static st_status number_read(st_json_reader *reader, st_json_token *token, st_error *error)
{
    const unsigned char *first = reader->json.p;
    if (!st__json_number(&reader->json))
        return reader_fail(reader, error);
    size_t len = (size_t)(reader->json.p - first);
    const unsigned char *last = reader->json.p;
    reader->json.p = first;
    ST_TRY(decoded_reserve(reader, len + 1, error));
    reader->json.p = last;
    memcpy(reader->decoded, first, len);
    reader->decoded[len] = '\0';
    token->kind = ST_JSON_NUMBER;
    token->text = (const char *)reader->decoded;
    token->len = len;
    return ST_OK;
}

static st_status begin_read(st_json_reader *reader, st_json_token *token, st_error *error)
{
    st__json *json = &reader->json;
    bool object = *json->p == '{';
    if (reader->depth == ST__JSON_DEPTH) {
        st__json_fail(json, ST__JSON_TOO_DEEP, json->p, "nested deeper than 127 levels");
        return reader_fail(reader, error);
    }
    token->kind = object ? ST_JSON_OBJECT_BEGIN : ST_JSON_ARRAY_BEGIN;
    reader->is_object[reader->depth++] = object;
    reader->position = AFTER_BEGIN;
    json->p++;
    return ST_OK;
}

static st_status literal_read(st_json_reader *reader, st_json_token *token, st_error *error)
{
    static const struct {
        const char *word;
        int32_t kind;
    } literals[] = {{"true", ST_JSON_TRUE}, {"false", ST_JSON_FALSE}, {"null", ST_JSON_NULL}};
    st__json *json = &reader->json;
    for (size_t i = 0; i < sizeof literals / sizeof *literals; i++) {
        if (*json->p == (unsigned char)literals[i].word[0]) {
            token->kind = literals[i].kind;
            return st__json_literal(json, literals[i].word) ? ST_OK : reader_fail(reader, error);
        }
    }
    st__json_fail(json, ST__JSON_SYNTAX, json->p, "expected a value");
    return reader_fail(reader, error);
}

static st_status value_read(st_json_reader *reader, st_json_token *token, st_error *error)
{
    unsigned char c = *reader->json.p;
    if (c == '{' || c == '[')
        return begin_read(reader, token, error);
    if (c == '"')
        ST_TRY(string_read(reader, token, error));
    else if (c == '-' || (c >= '0' && c <= '9'))
        ST_TRY(number_read(reader, token, error));
    else
        ST_TRY(literal_read(reader, token, error));
    reader->position = AFTER_VALUE;
    return ST_OK;
}

static void close_read(st_json_reader *reader, st_json_token *token)
{
    reader->json.p++;
    token->depth = --reader->depth;
    token->kind = reader->is_object[reader->depth] ? ST_JSON_OBJECT_END : ST_JSON_ARRAY_END;
    reader->position = AFTER_VALUE;
}

st_status st_json_reader_next(st_json_reader *reader, st_json_token *out, st_error *error)
{
    int next;
    if (!next_find(reader, &next))
        return reader_fail(reader, error);
    st_json_token token = {.depth = reader->depth,
                           .offset = st__json_offset(&reader->json, reader->json.p)};
    switch (next) {
    case NEXT_VALUE: ST_TRY(value_read(reader, &token, error)); break;
    case NEXT_KEY: ST_TRY(key_read(reader, &token, error)); break;
    case NEXT_CLOSE: close_read(reader, &token); break;
    default: token.kind = ST_JSON_END;
    }
    *out = token;
    return ST_OK;
}

st_status st_json_reader_skip(st_json_reader *reader, st_error *error)
{
    int next;
    if (!next_find(reader, &next))
        return reader_fail(reader, error);
    if (next != NEXT_VALUE)
        return st__fail(error, ST_ERR_ARGUMENT, st__json_offset(&reader->json, reader->json.p),
                        "%s: no value to skip: %s stands next", reader->name,
                        next == NEXT_KEY     ? "a key"
                        : next == NEXT_CLOSE ? "the end of a container"
                                             : "the end of the text");
    if (!st__json_skip(&reader->json, reader->depth))
        return reader_fail(reader, error);
    reader->position = AFTER_VALUE;
    return ST_OK;
}
