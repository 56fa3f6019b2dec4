/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as JSON. What is accepted is emitted again and read again, and gives the same
 * tokens. */
#include "output.h"

#include <safetensors/json.h>

#include <string.h>

static st_json_reader *reader_open(const char *text, size_t len)
{
    st_json_reader *reader;
    require(st_json_reader_new(NULL, text, len, NULL, &reader, NULL) == ST_OK);
    return reader;
}

static double number_of(const st_json_token *token)
{
    double number = 0;
    require(st_json_parse_double(token->text, token->len, &number));
    return number;
}

static void token_emit(const st_json_token *token, st_json_emitter *emitter)
{
    uint64_t integer;
    switch (token->kind) {
    case ST_JSON_OBJECT_BEGIN: st_json_emit_object_begin(emitter); break;
    case ST_JSON_OBJECT_END: st_json_emit_object_end(emitter); break;
    case ST_JSON_ARRAY_BEGIN: st_json_emit_array_begin(emitter); break;
    case ST_JSON_ARRAY_END: st_json_emit_array_end(emitter); break;
    case ST_JSON_KEY: st_json_emit_key(emitter, token->text, token->len); break;
    case ST_JSON_STRING: st_json_emit_string(emitter, token->text, token->len); break;
    case ST_JSON_NUMBER:
        if (st_json_parse_u64(token->text, token->len, &integer))
            st_json_emit_u64(emitter, integer);
        else
            st_json_emit_double(emitter, number_of(token));
        break;
    case ST_JSON_NULL: st_json_emit_null(emitter); break;
    default: st_json_emit_bool(emitter, token->kind == ST_JSON_TRUE);
    }
}

/* False if the text is refused, at a byte of it or at its end. Each token takes at least a byte. */
static bool text_copy(const char *text, size_t len, st_json_emitter *emitter)
{
    st_json_reader *reader = reader_open(text, len);
    st_json_token token = {.kind = ST_JSON_NULL};
    st_error error;
    st_status status = ST_OK;
    for (size_t steps = 0; status == ST_OK && token.kind != ST_JSON_END; steps++) {
        require(steps <= len);
        status = st_json_reader_next(reader, &token, &error);
        if (status == ST_OK && token.kind != ST_JSON_END)
            token_emit(&token, emitter);
    }
    require(status == ST_OK || (status == ST_ERR_JSON && error.offset <= len));
    st_json_reader_free(reader);
    return status == ST_OK;
}

static bool same_token(const st_json_token *a, const st_json_token *b)
{
    if (a->kind != b->kind || a->depth != b->depth)
        return false;
    if (a->kind == ST_JSON_NUMBER)
        return number_of(a) == number_of(b);
    return a->len == b->len && (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
}

static void texts_compare(const char *text, size_t len, const output *again)
{
    st_json_reader *one = reader_open(text, len), *two = reader_open(again->text, again->len);
    st_json_token a, b;
    do {
        require(st_json_reader_next(one, &a, NULL) == ST_OK);
        require(st_json_reader_next(two, &b, NULL) == ST_OK);
        require(same_token(&a, &b));
    } while (a.kind != ST_JSON_END);
    st_json_reader_free(one);
    st_json_reader_free(two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    output out = {0};
    st_json_emitter *emitter;
    require(st_json_emitter_new(NULL, (uint32_t)(size % 3), output_write, &out, &emitter, NULL) ==
            ST_OK);
    bool accepted = text_copy(text, size, emitter);
    if (accepted) {
        require(st_json_emitter_finish(emitter, NULL) == ST_OK);
        texts_compare(text, size, &out);
    }
    st_json_emitter_free(emitter);
    free(out.text);

    /* Skipping judges as reading does. */
    st_json_reader *reader = reader_open(text, size);
    st_json_token end;
    bool skipped = st_json_reader_skip(reader, NULL) == ST_OK &&
                   st_json_reader_next(reader, &end, NULL) == ST_OK;
    require(skipped == accepted);
    st_json_reader_free(reader);
    return 0;
}
