/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's JSON; docs/manifest.md describes it. The text is read twice: for what stands at the top, which
 * may come in any order and decides how the rest is to be understood, and then for the files. */
#include "base/alloc.h"
#include "base/error.h"
#include "inspect/digest.h"
#include "inspect/manifest.h"
#include <safetensors/json.h>

#include <inttypes.h>
#include <string.h>

/* -------------------------------------------------------------------------------- emitting */

static void emit_text(st_json_emitter *emitter, const char *key, const char *text, size_t len)
{
    st_json_emit_key(emitter, key, strlen(key));
    st_json_emit_string(emitter, text, len);
}

static void emit_number(st_json_emitter *emitter, const char *key, uint64_t value)
{
    st_json_emit_key(emitter, key, strlen(key));
    st_json_emit_u64(emitter, value);
}

static void emit_digest(st_json_emitter *emitter, const char *key, const st_digest *digest)
{
    char text[2 * sizeof digest->bytes + 1];
    emit_text(emitter, key, text, st_digest_format(digest, text, sizeof text));
}

void st__manifest_emit_tensor(st_json_emitter *emitter, const st__manifest_tensor *tensor)
{
    st_json_emit_key(emitter, tensor->name.text, tensor->name.len);
    st_json_emit_object_begin(emitter);
    emit_text(emitter, "dtype", tensor->dtype, tensor->dtype_len);
    st_json_emit_key(emitter, "shape", 5);
    st_json_emit_array_begin(emitter);
    for (uint32_t i = 0; i < tensor->ndim; i++)
        st_json_emit_u64(emitter, tensor->shape[i]);
    st_json_emit_array_end(emitter);
    emit_digest(emitter, "digest", &tensor->digest);
    st_json_emit_object_end(emitter);
}

static void emit_file(st_json_emitter *emitter, const st__manifest_entry *entry)
{
    const st_manifest_file *file = &entry->file;
    st_json_emit_object_begin(emitter);
    emit_text(emitter, "name", file->name, file->name_len);
    emit_number(emitter, "size", file->size);
    if (file->parts & ST_HASH_FILE)
        emit_digest(emitter, "digest", &file->file);
    if (file->parts & ST_HASH_DATA)
        emit_digest(emitter, "data", &file->data);
    if (file->parts & ST_HASH_TENSORS) {
        st_json_emit_key(emitter, "tensors", 7);
        st_json_emit_object_begin(emitter);
        for (size_t i = 0; i < file->tensor_count; i++)
            st__manifest_emit_tensor(emitter, &entry->tensors[i]);
        st_json_emit_object_end(emitter);
    }
    st_json_emit_object_end(emitter);
}

st_status st_manifest_emit(const st_manifest *manifest, st_json_write_fn write, void *ctx,
                           st_error *error)
{
    const char *hash = st_hash_name(manifest->hash);
    st_json_emitter *emitter;
    ST_TRY(st_json_emitter_new(manifest->context, 0, write, ctx, &emitter, error));
    st_json_emit_object_begin(emitter);
    emit_text(emitter, "format", ST__MANIFEST_FORMAT, strlen(ST__MANIFEST_FORMAT));
    emit_number(emitter, "version", ST__MANIFEST_VERSION);
    emit_text(emitter, "hash", hash, strlen(hash));
    st_json_emit_key(emitter, "files", 5);
    st_json_emit_array_begin(emitter);
    for (size_t i = 0; i < manifest->count; i++)
        emit_file(emitter, &manifest->entries[i]);
    st_json_emit_array_end(emitter);
    st_json_emit_object_end(emitter);
    st_status status = st_json_emitter_finish(emitter, error);
    st_json_emitter_free(emitter);
    return status;
}

/* --------------------------------------------------------------------------------- parsing */

typedef struct manifest_parse {
    st_json_reader *reader;
    st_json_token token; /* the last one read */
    const char *name;    /* of the text, for messages */
    st_manifest *manifest;
    uint64_t *shape; /* of the tensor being read */
    size_t shape_room;
    st__map tensor_names; /* of the file being read */
    st_error *error;
} manifest_parse;

static st_status parse_fail(manifest_parse *p, uint64_t offset, const char *what)
{
    return st__fail(p->error, ST_ERR_JSON, offset, "%s: %s, at byte %" PRIu64, p->name, what,
                    offset);
}

static st_status parse_next(manifest_parse *p)
{
    return st_json_reader_next(p->reader, &p->token, p->error);
}

static st_status parse_expect(manifest_parse *p, int32_t kind, const char *otherwise)
{
    ST_TRY(parse_next(p));
    return p->token.kind == kind ? ST_OK : parse_fail(p, p->token.offset, otherwise);
}

/* The members that an object of the manifest is known to have. */
typedef struct known_members {
    const char *const *names; /* `count` */
    size_t count;
    uint32_t required; /* bits; by the place in `names` */
    const char *missing;
} known_members;

/* Which one the key just read is; `count` for one that is not known, whose value has been skipped. */
static st_status member_find(manifest_parse *p, const known_members *known, uint32_t *seen,
                             size_t *out)
{
    size_t i = 0;
    while (i < known->count && (strlen(known->names[i]) != p->token.len ||
                                memcmp(known->names[i], p->token.text, p->token.len) != 0))
        i++;
    *out = i;
    if (i == known->count)
        return st_json_reader_skip(p->reader, p->error);
    if (*seen & UINT32_C(1) << i)
        return parse_fail(p, p->token.offset, "a member stands there twice");
    *seen |= UINT32_C(1) << i;
    return ST_OK;
}

/* Reads an object whose brace has been read, handing each known member's value to `member`. */
static st_status object_read(manifest_parse *p, const known_members *known,
                             st_status (*member)(manifest_parse *p, void *ctx, size_t which),
                             void *ctx)
{
    uint64_t begin = p->token.offset;
    uint32_t seen = 0;
    size_t which;
    ST_TRY(parse_next(p));
    while (p->token.kind == ST_JSON_KEY) {
        ST_TRY(member_find(p, known, &seen, &which));
        if (which < known->count)
            ST_TRY(member(p, ctx, which));
        ST_TRY(parse_next(p));
    }
    return (seen & known->required) == known->required ? ST_OK
                                                       : parse_fail(p, begin, known->missing);
}

static st_status size_read(manifest_parse *p, const char *otherwise, uint64_t *out)
{
    ST_TRY(parse_expect(p, ST_JSON_NUMBER, otherwise));
    return st_json_parse_u64(p->token.text, p->token.len, out)
               ? ST_OK
               : parse_fail(p, p->token.offset, otherwise);
}

static st_status digest_read(manifest_parse *p, st_digest *out)
{
    static const char otherwise[] = "a digest is not a string of hexadecimal digits";
    st_digest digest;
    ST_TRY(parse_expect(p, ST_JSON_STRING, otherwise));
    if (!st__digest_parse(p->token.text, p->token.len, &digest))
        return parse_fail(p, p->token.offset, otherwise);
    if (digest.size != st__hash_size(p->manifest->hash))
        return parse_fail(p, p->token.offset, "a digest is of another length than the algorithm's");
    *out = digest;
    return ST_OK;
}

static st_status token_keep(manifest_parse *p, const char **out, uint32_t *len)
{
    const uint64_t size = p->token.len;
    if (size > UINT32_MAX)
        return parse_fail(p, p->token.offset, "a string is longer than 4 GiB");
    *out = st__manifest_keep(p->manifest, p->token.text, p->token.len, p->error);
    *len = (uint32_t)size;
    return *out ? ST_OK : ST_ERR_NOMEM;
}

/* --------------------------------------------------------------------------------- tensors */

static st_status shape_read(manifest_parse *p, st__manifest_tensor *tensor)
{
    static const char otherwise[] = "shape is not an array of integers from 0 to 2^64-1";
    size_t ndim = 0;
    ST_TRY(parse_expect(p, ST_JSON_ARRAY_BEGIN, otherwise));
    ST_TRY(parse_next(p));
    for (; p->token.kind != ST_JSON_ARRAY_END; ndim++) {
        void *shape = p->shape;
        bool fits =
            st__manifest_reserve(p->manifest, &shape, sizeof *p->shape, ndim, &p->shape_room, NULL);
        p->shape = shape;
        if (!fits)
            return st__fail_nomem(p->error,
                                  (uint64_t)st__manifest_grown(p->shape_room) * sizeof *p->shape);
        if (p->token.kind != ST_JSON_NUMBER ||
            !st_json_parse_u64(p->token.text, p->token.len, &p->shape[ndim]))
            return parse_fail(p, p->token.offset, otherwise);
        ST_TRY(parse_next(p));
    }
    tensor->shape = st__manifest_keep(p->manifest, p->shape, ndim * sizeof *p->shape, p->error);
    tensor->ndim = (uint32_t)ndim;
    return tensor->shape ? ST_OK : ST_ERR_NOMEM;
}

enum { TENSOR_DTYPE, TENSOR_SHAPE, TENSOR_DIGEST };

static st_status tensor_member(manifest_parse *p, void *ctx, size_t which)
{
    st__manifest_tensor *tensor = ctx;
    if (which == TENSOR_SHAPE)
        return shape_read(p, tensor);
    if (which == TENSOR_DIGEST)
        return digest_read(p, &tensor->digest);
    ST_TRY(parse_expect(p, ST_JSON_STRING, "dtype is not a string"));
    return token_keep(p, &tensor->dtype, &tensor->dtype_len);
}

/* Reads one tensor, whose name has been read; no two of a file have the same. */
static st_status tensor_read(manifest_parse *p, st__manifest_entry *entry)
{
    static const char *const names[] = {"dtype", "shape", "digest"};
    static const known_members known = {names, 3, 7, "a tensor lacks dtype, shape, or digest"};
    uint64_t offset = p->token.offset;
    void *tensors = entry->tensors;
    size_t index = entry->file.tensor_count;
    bool fits = st__manifest_reserve(p->manifest, &tensors, sizeof *entry->tensors, index,
                                     &entry->room, &p->tensor_names);
    entry->tensors = tensors;
    if (!fits)
        return st__fail_nomem(p->error,
                              (uint64_t)st__manifest_grown(entry->room) * sizeof *entry->tensors);
    st__manifest_tensor *tensor = &entry->tensors[index];
    *tensor = (st__manifest_tensor){.ndim = 0};
    ST_TRY(token_keep(p, &tensor->name.text, &tensor->name.len));
    uint32_t hash = st__hash(&p->manifest->key, tensor->name.text, tensor->name.len);
    if (st__map_insert(&p->tensor_names, index, hash) != ST__MAP_NONE)
        return parse_fail(p, offset, "a tensor's name stands there twice");
    entry->file.tensor_count++;
    ST_TRY(parse_expect(p, ST_JSON_OBJECT_BEGIN, "a tensor is not an object"));
    return object_read(p, &known, tensor_member, tensor);
}

static st_status tensors_read(manifest_parse *p, st__manifest_entry *entry)
{
    st_status status = parse_expect(p, ST_JSON_OBJECT_BEGIN, "tensors is not an object");
    if (status == ST_OK)
        status = parse_next(p);
    while (status == ST_OK && p->token.kind == ST_JSON_KEY) {
        status = tensor_read(p, entry);
        if (status == ST_OK)
            status = parse_next(p);
    }
    st__map_release(&p->tensor_names, p->manifest->context);
    return status;
}

/* ----------------------------------------------------------------------------------- files */

enum { FILE_NAME, FILE_SIZE, FILE_DIGEST, FILE_DATA, FILE_TENSORS };

static st_status name_read(manifest_parse *p, st__manifest_entry *entry)
{
    ST_TRY(parse_expect(p, ST_JSON_STRING, "a file's name is not a string"));
    uint64_t offset = p->token.offset;
    const char *refused = st__manifest_refuses(p->manifest, p->token.text, p->token.len);
    if (refused)
        return st__fail(p->error, ST_ERR_JSON, offset, "%s: a file's name %s, at byte %" PRIu64,
                        p->name, refused, offset);
    return token_keep(p, &entry->name.text, &entry->name.len);
}

static st_status entry_member(manifest_parse *p, void *ctx, size_t which)
{
    st__manifest_entry *entry = ctx;
    static const uint32_t parts[] = {
        [FILE_DIGEST] = ST_HASH_FILE, [FILE_DATA] = ST_HASH_DATA, [FILE_TENSORS] = ST_HASH_TENSORS};
    entry->file.parts |= parts[which];
    switch (which) {
    case FILE_NAME: return name_read(p, entry);
    case FILE_SIZE:
        return size_read(p, "size is not an integer from 0 to 2^64-1", &entry->file.size);
    case FILE_DIGEST: return digest_read(p, &entry->file.file);
    case FILE_DATA: return digest_read(p, &entry->file.data);
    default: return tensors_read(p, entry);
    }
}

static st_status entry_read(manifest_parse *p)
{
    static const char *const names[] = {"name", "size", "digest", "data", "tensors"};
    static const known_members known = {names, 5, 3, "a file lacks name or size"};
    st__manifest_entry entry = {.room = 0};
    if (p->token.kind != ST_JSON_OBJECT_BEGIN)
        return parse_fail(p, p->token.offset, "a file is not an object");
    st_status status = object_read(p, &known, entry_member, &entry);
    if (status == ST_OK)
        status = st__manifest_insert(p->manifest, &entry, p->error);
    if (status != ST_OK)
        st__free(p->manifest->context, entry.tensors, entry.room * sizeof *entry.tensors);
    return status;
}

/* ------------------------------------------------------------------------------------- top */

enum { TOP_FORMAT, TOP_VERSION, TOP_HASH, TOP_FILES };

static st_status format_read(manifest_parse *p)
{
    static const char otherwise[] = "format is not \"" ST__MANIFEST_FORMAT "\"";
    ST_TRY(parse_expect(p, ST_JSON_STRING, otherwise));
    bool same = p->token.len == strlen(ST__MANIFEST_FORMAT) &&
                memcmp(p->token.text, ST__MANIFEST_FORMAT, p->token.len) == 0;
    return same ? ST_OK : parse_fail(p, p->token.offset, otherwise);
}

static st_status version_read(manifest_parse *p)
{
    uint64_t version;
    ST_TRY(size_read(p, "version is not an integer", &version));
    if (version == ST__MANIFEST_VERSION)
        return ST_OK;
    return st__fail(p->error, ST_ERR_JSON, p->token.offset,
                    "%s: version %" PRIu64
                    " of the manifest's format is not known, at byte %" PRIu64
                    "; a newer program may read it",
                    p->name, version, p->token.offset);
}

static st_status hash_read(manifest_parse *p)
{
    ST_TRY(parse_expect(p, ST_JSON_STRING, "hash is not a string"));
    p->manifest->hash = st_hash_find(p->token.text, p->token.len);
    if (p->manifest->hash)
        return ST_OK;
    return st__fail(p->error, ST_ERR_JSON, p->token.offset,
                    "%s: unknown hash algorithm %s, at byte %" PRIu64, p->name,
                    st__quote(p->token.text, p->token.len).text, p->token.offset);
}

/* The first time: all but the files. */
static st_status head_member(manifest_parse *p, void *ctx, size_t which)
{
    (void)ctx;
    switch (which) {
    case TOP_FORMAT: return format_read(p);
    case TOP_VERSION: return version_read(p);
    case TOP_HASH: return hash_read(p);
    default: return st_json_reader_skip(p->reader, p->error);
    }
}

/* The second time: the files alone. */
static st_status body_member(manifest_parse *p, void *ctx, size_t which)
{
    (void)ctx;
    if (which != TOP_FILES)
        return st_json_reader_skip(p->reader, p->error);
    ST_TRY(parse_expect(p, ST_JSON_ARRAY_BEGIN, "files is not an array"));
    ST_TRY(parse_next(p));
    while (p->token.kind != ST_JSON_ARRAY_END) {
        ST_TRY(entry_read(p));
        ST_TRY(parse_next(p));
    }
    return ST_OK;
}

static st_status top_read(manifest_parse *p,
                          st_status (*member)(manifest_parse *p, void *ctx, size_t which))
{
    static const char *const names[] = {"format", "version", "hash", "files"};
    static const known_members known = {names, 4, 15, "it lacks format, version, hash, or files"};
    ST_TRY(parse_expect(p, ST_JSON_OBJECT_BEGIN, "a manifest is an object"));
    ST_TRY(object_read(p, &known, member, NULL));
    return parse_next(p); /* nothing may follow */
}

static st_status text_read(manifest_parse *p, const char *text, size_t len)
{
    st_context *context = p->manifest->context;
    ST_TRY(st_json_reader_new(context, text, len, p->name, &p->reader, p->error));
    st_status status = top_read(p, head_member);
    st_json_reader_free(p->reader);
    if (status != ST_OK)
        return status;
    ST_TRY(st_json_reader_new(context, text, len, p->name, &p->reader, p->error));
    status = top_read(p, body_member);
    st_json_reader_free(p->reader);
    return status;
}

st_status st_manifest_parse(st_context *context, const char *text, size_t len, const char *name,
                            st_manifest **out, st_error *error)
{
    manifest_parse p = {.name = name ? name : "manifest", .error = error};
    st_status status = st_manifest_new(context, ST_HASH_SHA256, &p.manifest, error);
    if (status == ST_OK)
        status = text_read(&p, text, len);
    st__free(context, p.shape, p.shape_room * sizeof *p.shape);
    if (status == ST_OK)
        *out = p.manifest;
    else
        st_manifest_free(p.manifest);
    return st__error_locate(error, status, p.name, NULL);
}

/* The text of one file's tensors and nothing else. */
static st_status tensors_text_read(manifest_parse *p, const st_metadata *text, st_error *error)
{
    st__manifest_entry entry = {.file = {.parts = ST_HASH_TENSORS}};
    ST_TRY(st_json_reader_new(p->manifest->context, text->value, text->value_len, p->name,
                              &p->reader, error));
    st_status status = tensors_read(p, &entry);
    if (status == ST_OK)
        status = parse_next(p); /* nothing may follow */
    st_json_reader_free(p->reader);
    if (status == ST_OK) {
        entry.name = (st__key){.text = "recorded", .len = strlen("recorded")};
        status = st__manifest_insert(p->manifest, &entry, error);
    }
    if (status != ST_OK)
        st__free(p->manifest->context, entry.tensors, entry.room * sizeof *entry.tensors);
    return status;
}

st_status st__manifest_parse_tensors(st_context *context, st_hash hash, const st_metadata *entry,
                                     const char *name, st_manifest **out, st_error *error)
{
    manifest_parse p = {.name = name, .error = error};
    st_status status = st_manifest_new(context, hash, &p.manifest, error);
    if (status == ST_OK)
        status = tensors_text_read(&p, entry, error);
    st__free(context, p.shape, p.shape_room * sizeof *p.shape);
    if (status == ST_OK)
        *out = p.manifest;
    else
        st_manifest_free(p.manifest);
    return st__error_locate(error, status, p.name, NULL);
}
