/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of --json: the library's emitter on a stream of output. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <safetensors/inspect.h>

#include "out.h"

/* A JSON document on a stream; suspect characters are escaped there too. */
struct json {
    st_json_emitter *emitter;
    struct out *out;
    char part[4]; /* a character whose bytes are not all here yet */
    size_t part_len;
    bool markup; /* the document stands in an HTML script element: <, > and & are escaped too */
};

/* Begins a document; `indent` as in st_json_emitter_new. */
void json_open(struct json *json, struct out *out, uint32_t indent);
/* Ends it with a newline. */
void json_close(struct json *json);
void json_key(struct json *json, const char *key);
void json_text(struct json *json, const char *key, const char *text);
void json_string(struct json *json, const char *key, const char *text, size_t len);
void json_u64(struct json *json, const char *key, uint64_t value);
void json_bool(struct json *json, const char *key, bool value);
/* Writes a number; those that JSON has none for as "nan", "inf", "-inf". */
void json_double(struct json *json, double value);
void json_shape(struct json *json, const char *key, const uint64_t *shape, size_t ndim);
/* Writes what a header says of a tensor, as members: name, dtype, shape, sizes, offset. */
void json_tensor(struct json *json, const st_header *header, const st_tensor *tensor);
/* Writes a digest in hexadecimal, or null where there is none. */
void json_digest(struct json *json, const char *key, const st_digest *digest);
/* Begins and ends the document of every verb: {"files":[ … ]}, indented on a terminal. */
void json_open_files(struct json *json, struct out *out);
void json_close_files(struct json *json);
/* Begins the object of one file; st_json_emit_object_end ends it. */
void json_open_file(struct json *json, const char *path);

/* Reports a file that could not be used: complains, raises the exit code, and writes the member
 * "error" where there is a document. `json` may be NULL. */
void file_fail(struct out *out, struct json *json, const st_error *error);
/* The same, where the error is all that there is to say of `path`: its object in the document holds no more. */
void only_fail(struct out *out, struct json *json, const char *path, const st_error *error);

#endif
