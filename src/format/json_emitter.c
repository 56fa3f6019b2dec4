/* SPDX-License-Identifier: Apache-2.0 */
#include <safetensors/json.h>

#include "base/alloc.h"
#include "base/error.h"
#include "format/float_text.h"
#include "format/json.h"
#include "format/json_escape.h"

#include <string.h>

#define PIECE_SIZE 4096 /* bytes handed to the callback at once */

struct st_json_emitter {
    st_context *context;
    st_json_write_fn write;
    void *ctx;
    uint32_t indent;
    uint32_t depth; /* containers open */
    struct {
        bool is_object, has_members;
    } levels[ST__JSON_DEPTH];
    bool has_key;  /* a key waits for its value */
    bool has_text; /* the outermost value has begun */
    bool finished;
    size_t used;
    st_error error; /* the first failure; its status is ST_OK until there is one */
    char piece[PIECE_SIZE];
};

st_status st_json_emitter_new(st_context *context, uint32_t indent, st_json_write_fn write,
                              void *ctx, st_json_emitter **out, st_error *error)
{
    st_json_emitter *emitter = st__alloc_zeroed(context, 1, sizeof *emitter);
    if (!emitter)
        return st__fail_nomem(error, sizeof *emitter);
    emitter->context = st_context_retain(context);
    emitter->indent = indent;
    emitter->write = write;
    emitter->ctx = ctx;
    *out = emitter;
    return ST_OK;
}

void st_json_emitter_free(st_json_emitter *emitter)
{
    if (!emitter)
        return;
    st_context *context = emitter->context;
    st__free(context, emitter, sizeof *emitter);
    st_context_release(context);
}

static bool emitter_failed(const st_json_emitter *emitter)
{
    return emitter->error.status != ST_OK;
}

static void emitter_misuse(st_json_emitter *emitter, const char *what)
{
    if (!emitter_failed(emitter))
        st__fail(&emitter->error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "JSON emitter: %s", what);
}

static void piece_flush(st_json_emitter *emitter)
{
    size_t len = emitter->used;
    emitter->used = 0;
    if (len == 0 || emitter_failed(emitter))
        return;
    st_error error = {.status = ST_OK, .offset = ST_NO_OFFSET};
    st_status status = emitter->write(emitter->ctx, emitter->piece, len, &error);
    if (status == ST_OK)
        return;
    /* A callback may return a status and no message. */
    if (error.status != status)
        st__fail(&error, status, ST_NO_OFFSET, "JSON emitter: %s", st_status_text(status));
    emitter->error = error;
}

static void emit_bytes(st_json_emitter *emitter, const char *text, size_t len)
{
    while (len > 0) {
        if (emitter->used == PIECE_SIZE)
            piece_flush(emitter);
        size_t room = PIECE_SIZE - emitter->used, n = len < room ? len : room;
        memcpy(emitter->piece + emitter->used, text, n);
        emitter->used += n;
        text += n;
        len -= n;
    }
}

static void emit_line(st_json_emitter *emitter)
{
    static const char blanks[] = "                                ";
    if (emitter->indent == 0)
        return;
    emit_bytes(emitter, "\n", 1);
    for (uint64_t left = (uint64_t)emitter->indent * emitter->depth; left > 0;) {
        size_t n = left < sizeof blanks - 1 ? (size_t)left : sizeof blanks - 1;
        emit_bytes(emitter, blanks, n);
        left -= n;
    }
}

static bool expects_key(const st_json_emitter *emitter)
{
    return emitter->depth > 0 && emitter->levels[emitter->depth - 1].is_object && !emitter->has_key;
}

/* The comma and the line break before a member or an item. */
static void emit_separator(st_json_emitter *emitter)
{
    if (emitter->levels[emitter->depth - 1].has_members)
        emit_bytes(emitter, ",", 1);
    emitter->levels[emitter->depth - 1].has_members = true;
    emit_line(emitter);
}

/* Checks that a value may come now and writes what goes before it. */
static bool value_begin(st_json_emitter *emitter)
{
    if (emitter->finished)
        emitter_misuse(emitter, "a value after the text was finished");
    else if (emitter->depth == 0 && emitter->has_text)
        emitter_misuse(emitter, "a second value outside of any container");
    else if (expects_key(emitter))
        emitter_misuse(emitter, "a value in an object without a key");
    if (emitter_failed(emitter))
        return false;
    emitter->has_text = true;
    if (emitter->depth > 0 && !emitter->has_key)
        emit_separator(emitter);
    emitter->has_key = false;
    return true;
}

static void container_begin(st_json_emitter *emitter, bool is_object)
{
    if (emitter->depth == ST__JSON_DEPTH)
        emitter_misuse(emitter, "nested deeper than 127 levels");
    if (!value_begin(emitter))
        return;
    emitter->levels[emitter->depth].is_object = is_object;
    emitter->levels[emitter->depth].has_members = false;
    emitter->depth++;
    emit_bytes(emitter, is_object ? "{" : "[", 1);
}

static void container_end(st_json_emitter *emitter, bool is_object)
{
    if (emitter->depth == 0 || emitter->levels[emitter->depth - 1].is_object != is_object)
        emitter_misuse(emitter, is_object ? "the end of an object that is not open"
                                          : "the end of an array that is not open");
    else if (emitter->has_key)
        emitter_misuse(emitter, "the end of an object after a key without a value");
    if (emitter_failed(emitter))
        return;
    bool has_members = emitter->levels[--emitter->depth].has_members;
    if (has_members)
        emit_line(emitter);
    emit_bytes(emitter, is_object ? "}" : "]", 1);
}

void st_json_emit_object_begin(st_json_emitter *emitter)
{
    container_begin(emitter, true);
}

void st_json_emit_object_end(st_json_emitter *emitter)
{
    container_end(emitter, true);
}

void st_json_emit_array_begin(st_json_emitter *emitter)
{
    container_begin(emitter, false);
}

void st_json_emit_array_end(st_json_emitter *emitter)
{
    container_end(emitter, false);
}

static void emit_quoted(st_json_emitter *emitter, const char *text, size_t len)
{
    emit_bytes(emitter, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        size_t plain = st__json_plain_len(text + i, len - i);
        emit_bytes(emitter, text + i, plain);
        i += plain;
        if (i == len)
            break;
        char escape[6];
        if ((unsigned char)text[i] < 0x80)
            emit_bytes(emitter, escape, st__json_escape((unsigned char)text[i], escape));
        else
            emit_bytes(emitter, "\xef\xbf\xbd", 3); /* U+FFFD */
    }
    emit_bytes(emitter, "\"", 1);
}

void st_json_emit_key(st_json_emitter *emitter, const char *key, size_t len)
{
    if (!expects_key(emitter))
        emitter_misuse(emitter, "a key where none may be");
    if (emitter_failed(emitter))
        return;
    emit_separator(emitter);
    emit_quoted(emitter, key, len);
    emit_bytes(emitter, ": ", emitter->indent ? 2 : 1);
    emitter->has_key = true;
}

void st_json_emit_string(st_json_emitter *emitter, const char *text, size_t len)
{
    if (value_begin(emitter))
        emit_quoted(emitter, text, len);
}

static void emit_scalar(st_json_emitter *emitter, const char *text, size_t len)
{
    if (value_begin(emitter))
        emit_bytes(emitter, text, len);
}

void st_json_emit_u64(st_json_emitter *emitter, uint64_t value)
{
    char text[21];
    emit_scalar(emitter, text, st__integer_print(value, false, text));
}

void st_json_emit_i64(st_json_emitter *emitter, int64_t value)
{
    char text[21];
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    emit_scalar(emitter, text, st__integer_print(magnitude, value < 0, text));
}

void st_json_emit_double(st_json_emitter *emitter, double value)
{
    char text[ST__FLOAT_TEXT_SIZE];
    size_t len = st__double_print(value, text);
    bool finite = text[len - 1] != 'f' && text[len - 1] != 'n';
    emit_scalar(emitter, finite ? text : "null", finite ? len : 4);
}

void st_json_emit_bool(st_json_emitter *emitter, bool value)
{
    emit_scalar(emitter, value ? "true" : "false", value ? 4 : 5);
}

void st_json_emit_null(st_json_emitter *emitter)
{
    emit_scalar(emitter, "null", 4);
}

st_status st_json_emitter_finish(st_json_emitter *emitter, st_error *error)
{
    if (emitter->depth > 0)
        emitter_misuse(emitter, "finished inside a container");
    else if (!emitter->has_text)
        emitter_misuse(emitter, "finished without a value");
    piece_flush(emitter);
    emitter->finished = true;
    if (emitter_failed(emitter) && error)
        *error = emitter->error;
    return emitter->error.status;
}
