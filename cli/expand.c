/* SPDX-License-Identifier: Apache-2.0 */
#include "expand.h"

static bool is_container_begin(int32_t kind)
{
    return kind == ST_JSON_OBJECT_BEGIN || kind == ST_JSON_ARRAY_BEGIN;
}

bool expand_is_json(const st_metadata *entry)
{
    st_json_reader *reader;
    st_json_token token = {0};
    bool first = true, valid = true;
    if (st_json_reader_new(NULL, entry->value, (size_t)entry->value_len, NULL, &reader, NULL) !=
        ST_OK)
        return false;
    while (valid && (first || token.kind != ST_JSON_END)) {
        valid = st_json_reader_next(reader, &token, NULL) == ST_OK &&
                (!first || is_container_begin(token.kind));
        first = false;
    }
    st_json_reader_free(reader);
    return valid;
}

/* Emits a number as it was; one that no double and no integer holds, as a string. */
static void number_emit(st_json_emitter *emitter, const char *text, size_t len)
{
    uint64_t whole;
    double real;
    if (st_json_parse_u64(text, len, &whole))
        st_json_emit_u64(emitter, whole);
    else if (text[0] == '-' && st_json_parse_u64(text + 1, len - 1, &whole) && whole > 0 &&
             whole <= INT64_MAX)
        st_json_emit_i64(emitter, -(int64_t)whole);
    else if (st_json_parse_double(text, len, &real))
        st_json_emit_double(emitter, real);
    else
        st_json_emit_string(emitter, text, len);
}

static void token_emit(st_json_emitter *emitter, const st_json_token *token)
{
    switch (token->kind) {
    case ST_JSON_OBJECT_BEGIN: st_json_emit_object_begin(emitter); break;
    case ST_JSON_OBJECT_END: st_json_emit_object_end(emitter); break;
    case ST_JSON_ARRAY_BEGIN: st_json_emit_array_begin(emitter); break;
    case ST_JSON_ARRAY_END: st_json_emit_array_end(emitter); break;
    case ST_JSON_KEY: st_json_emit_key(emitter, token->text, token->len); break;
    case ST_JSON_STRING: st_json_emit_string(emitter, token->text, token->len); break;
    case ST_JSON_NUMBER: number_emit(emitter, token->text, token->len); break;
    case ST_JSON_TRUE: st_json_emit_bool(emitter, true); break;
    case ST_JSON_FALSE: st_json_emit_bool(emitter, false); break;
    case ST_JSON_NULL: st_json_emit_null(emitter); break;
    default: break;
    }
}

void expand_emit(st_json_emitter *emitter, const st_metadata *entry, bool expand)
{
    st_json_reader *reader;
    st_json_token token = {0};
    if (!expand || !expand_is_json(entry) ||
        st_json_reader_new(NULL, entry->value, (size_t)entry->value_len, NULL, &reader, NULL) !=
            ST_OK) {
        st_json_emit_string(emitter, entry->value, (size_t)entry->value_len);
        return;
    }
    while (st_json_reader_next(reader, &token, NULL) == ST_OK && token.kind != ST_JSON_END)
        token_emit(emitter, &token);
    st_json_reader_free(reader);
}

void expand_print(struct out *out, const st_metadata *entry)
{
    struct json json;
    json_open(&json, out, 2);
    expand_emit(json.emitter, entry, true);
    json_close(&json);
}
