/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Tells what may end a script element, or begin one or a comment in it. In JSON it can only stand inside a
 * string. */
static bool is_markup(char c)
{
    return c == '<' || c == '>' || c == '&';
}

/* Writes the bytes of one character that is not ASCII, DEL, or markup, escaping it if need be. It can only
 * stand inside a string. */
static void json_write_char(struct out *out, const char *text, size_t len)
{
    uint32_t c = 0;
    text_decode(text, len, &c);
    if (c >= 0x80 && !text_is_suspect(c) && !(out->text_flags & TEXT_ASCII))
        out_write(out, text, len);
    else if (c > 0xffff)
        out_print(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                  (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
    else
        out_print(out, "\\u%04x", (unsigned)c);
}

/* Takes the emitter's text, which is valid UTF-8 as a whole but may be cut anywhere. */
static st_status json_write(void *ctx, const char *text, size_t len, st_error *error)
{
    struct json *json = ctx;
    (void)error;
    size_t start = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x7f && !(json->markup && is_markup(text[i])))
            continue;
        out_write(json->out, text + start, i - start);
        start = i + 1;
        json->part[json->part_len++] = text[i];
        unsigned char first = (unsigned char)json->part[0];
        size_t need = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
        if (json->part_len == need) {
            json_write_char(json->out, json->part, need);
            json->part_len = 0;
        }
    }
    out_write(json->out, text + start, len - start);
    return ST_OK;
}

static void json_fail(const st_error *error)
{
    complain("%s", error->message);
    exit(EXIT_UNREADABLE);
}

void json_open(struct json *json, struct out *out, uint32_t indent)
{
    st_error error;
    *json = (struct json){.out = out};
    if (st_json_emitter_new(NULL, indent, json_write, json, &json->emitter, &error) != ST_OK)
        json_fail(&error);
}

void json_close(struct json *json)
{
    st_error error;
    if (st_json_emitter_finish(json->emitter, &error) != ST_OK)
        json_fail(&error);
    st_json_emitter_free(json->emitter);
    out_text(json->out, "\n");
}

void json_key(struct json *json, const char *key)
{
    st_json_emit_key(json->emitter, key, strlen(key));
}

void json_string(struct json *json, const char *key, const char *text, size_t len)
{
    json_key(json, key);
    st_json_emit_string(json->emitter, text, len);
}

void json_text(struct json *json, const char *key, const char *text)
{
    json_string(json, key, text, strlen(text));
}

void json_u64(struct json *json, const char *key, uint64_t value)
{
    json_key(json, key);
    st_json_emit_u64(json->emitter, value);
}

void json_bool(struct json *json, const char *key, bool value)
{
    json_key(json, key);
    st_json_emit_bool(json->emitter, value);
}

static void json_error(struct json *json, const st_error *error)
{
    json_key(json, "error");
    st_json_emit_object_begin(json->emitter);
    json_text(json, "status", st_status_name(error->status));
    json_text(json, "message", error->message);
    json_key(json, "offset");
    if (error->offset == ST_NO_OFFSET)
        st_json_emit_null(json->emitter);
    else
        st_json_emit_u64(json->emitter, error->offset);
    st_json_emit_object_end(json->emitter);
}

void json_open_files(struct json *json, struct out *out)
{
    json_open(json, out, out->tty ? 2 : 0);
    st_json_emit_object_begin(json->emitter);
    json_key(json, "files");
    st_json_emit_array_begin(json->emitter);
}

void json_close_files(struct json *json)
{
    st_json_emit_array_end(json->emitter);
    st_json_emit_object_end(json->emitter);
    json_close(json);
}

void json_double(struct json *json, double value)
{
    const char *text = isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    if (isfinite(value))
        st_json_emit_double(json->emitter, value);
    else
        st_json_emit_string(json->emitter, text, strlen(text));
}

void json_shape(struct json *json, const char *key, const uint64_t *shape, size_t ndim)
{
    json_key(json, key);
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < ndim; i++)
        st_json_emit_u64(json->emitter, shape[i]);
    st_json_emit_array_end(json->emitter);
}

void json_tensor(struct json *json, const st_header *header, const st_tensor *tensor)
{
    size_t code_len;
    const char *code = st_header_dtype_code(header, tensor->dtype, &code_len);
    json_string(json, "name", tensor->name, tensor->name_len);
    json_string(json, "dtype", code, code_len);
    json_shape(json, "shape", tensor->shape, tensor->ndim);
    json_u64(json, "elements", st_tensor_count(tensor));
    json_u64(json, "bytes", st_tensor_size(tensor));
    json_u64(json, "offset", st_header_data_offset(header) + tensor->begin);
}

void json_digest(struct json *json, const char *key, const st_digest *digest)
{
    char text[80];
    json_key(json, key);
    if (digest->size)
        st_json_emit_string(json->emitter, text, st_digest_format(digest, text, sizeof text));
    else
        st_json_emit_null(json->emitter);
}

void json_open_file(struct json *json, const char *path)
{
    st_json_emit_object_begin(json->emitter);
    json_text(json, "file", path);
}

void file_fail(struct out *out, struct json *json, const st_error *error)
{
    out_worst(out, exit_of(error->status));
    complain("%s", error->message);
    if (json)
        json_error(json, error);
}

void only_fail(struct out *out, struct json *json, const char *path, const st_error *error)
{
    if (json)
        json_open_file(json, path);
    file_fail(out, json, error);
    if (json)
        st_json_emit_object_end(json->emitter);
}
