/* SPDX-License-Identifier: Apache-2.0 */
/**
 * json.h: the strict JSON reader and the emitter that the library itself uses, for tools around it:
 * index files, configurations, `--json` output. Part of the core library.
 *
 * The reader accepts RFC 8259 and nothing else (no BOM, comments, trailing commas, lone surrogates,
 * invalid UTF-8, or nesting deeper than 127) and reports every fault with its byte offset.
 */
#ifndef SAFETENSORS_JSON_H
#define SAFETENSORS_JSON_H

#include <safetensors/safetensors.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ST_JSON_END = 0, /**< the text is over */
    ST_JSON_OBJECT_BEGIN = 1,
    ST_JSON_OBJECT_END = 2,
    ST_JSON_ARRAY_BEGIN = 3,
    ST_JSON_ARRAY_END = 4,
    ST_JSON_KEY = 5, /**< always followed by its value */
    ST_JSON_STRING = 6,
    ST_JSON_NUMBER = 7, /**< `text` is the number as written */
    ST_JSON_TRUE = 8,
    ST_JSON_FALSE = 9,
    ST_JSON_NULL = 10
};

/** One token. `text` (decoded, terminated, UTF-8) is valid until the next call on the reader. */
typedef struct st_json_token {
    int32_t kind;
    uint32_t depth;   /**< containers open around the token */
    const char *text; /**< ST_JSON_KEY, _STRING, _NUMBER; else NULL */
    size_t len;
    uint64_t offset; /**< of the token's first byte */
} st_json_token;

/** Reads tokens from a text, which must stay as it is meanwhile. One thread at a time. */
typedef struct st_json_reader st_json_reader;

/** @param name  for messages, copied; may be NULL. @return ST_OK; ST_ERR_NOMEM. */
ST_API ST_WARN_UNUSED st_status st_json_reader_new(st_context *context, const char *text,
                                                   size_t len, const char *name,
                                                   st_json_reader **out, st_error *error);
ST_API void st_json_reader_free(st_json_reader *reader);
/**
 * Gives the next token; ST_JSON_END after the last. Duplicate keys are delivered, not judged.
 * @return ST_OK; ST_ERR_JSON with the offset; ST_ERR_NOMEM.
 */
ST_API ST_WARN_UNUSED st_status st_json_reader_next(st_json_reader *reader, st_json_token *out,
                                                    st_error *error);
/** Skips the value that follows a key or stands next in an array, whole. @return as st_json_reader_next. */
ST_API ST_WARN_UNUSED st_status st_json_reader_skip(st_json_reader *reader, st_error *error);

/** Reads an integer from 0 to 2^64-1 written without sign, fraction, or exponent; false otherwise. */
ST_API bool st_json_parse_u64(const char *text, size_t len, uint64_t *out);
/** Reads any JSON number, rounded to the nearest double whatever the locale; false if it is none or overflows. */
ST_API bool st_json_parse_double(const char *text, size_t len, double *out);

/** Receives emitted text, piece by piece; a status other than ST_OK is kept and ends the emitting. */
typedef st_status (*st_json_write_fn)(void *ctx, const char *text, size_t len, st_error *error);

/**
 * Emits one JSON text through a callback, adding separators by itself. Errors stick: calls after
 * the first failure do nothing, and st_json_emitter_finish reports it. A wrong order of calls (a
 * value without a key, an end without a begin) is such an error, ST_ERR_ARGUMENT.
 */
typedef struct st_json_emitter st_json_emitter;

/** @param indent  blanks per level; 0: everything on one line without blanks. */
ST_API ST_WARN_UNUSED st_status st_json_emitter_new(st_context *context, uint32_t indent,
                                                    st_json_write_fn write, void *ctx,
                                                    st_json_emitter **out, st_error *error);
ST_API void st_json_emitter_free(st_json_emitter *emitter);
ST_API void st_json_emit_object_begin(st_json_emitter *emitter);
ST_API void st_json_emit_object_end(st_json_emitter *emitter);
ST_API void st_json_emit_array_begin(st_json_emitter *emitter);
ST_API void st_json_emit_array_end(st_json_emitter *emitter);
ST_API void st_json_emit_key(st_json_emitter *emitter, const char *key, size_t len);
/** Emits a string as upstream does: only quotes, backslashes and controls escaped. Bytes that are no
 *  UTF-8 become U+FFFD. */
ST_API void st_json_emit_string(st_json_emitter *emitter, const char *text, size_t len);
ST_API void st_json_emit_u64(st_json_emitter *emitter, uint64_t value);
ST_API void st_json_emit_i64(st_json_emitter *emitter, int64_t value);
/** Emits the shortest digits that read back as the same double; null for NaN and infinities. */
ST_API void st_json_emit_double(st_json_emitter *emitter, double value);
ST_API void st_json_emit_bool(st_json_emitter *emitter, bool value);
ST_API void st_json_emit_null(st_json_emitter *emitter);
/** Ends the text. @return ST_OK if it is complete and all was written; else the first failure. */
ST_API ST_WARN_UNUSED st_status st_json_emitter_finish(st_json_emitter *emitter, st_error *error);

#ifdef __cplusplus
}
#endif

#endif
