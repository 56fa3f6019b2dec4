/* SPDX-License-Identifier: Apache-2.0 */
/* Digests that a file carries in its own metadata: what a manifest has of one file's tensors, and nothing that
 * changes when metadata do. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "file/file.h"
#include "inspect/digest.h"
#include "inspect/manifest.h"

#include <stdio.h>
#include <string.h>

#define RECORD_KEY      "st.hash."
#define RECORD_KEY_SIZE 32u /* with an algorithm's name and a terminator */

bool st_hash_record_is(const char *key, size_t key_len)
{
    return key_len > strlen(RECORD_KEY) && memcmp(key, RECORD_KEY, strlen(RECORD_KEY)) == 0;
}

/* ---------------------------------------------------------------------------------- making */

/* The key with its terminator, then the value that grows. */
typedef struct record_text {
    st_context *context;
    char *data;
    size_t used;
    size_t room;
} record_text;

static st_status record_write(void *ctx, const char *text, size_t len, st_error *error)
{
    record_text *out = ctx;
    size_t need, grown = out->room ? out->room : 512;
    if (!st__add_size(out->used, len, &need) || !st__add_size(need, 1, &need))
        return st__fail_nomem(error, len);
    while (grown < need)
        if (!st__mul_size(grown, 2, &grown))
            return st__fail_nomem(error, need);
    if (grown > out->room) {
        char *moved = st__realloc(out->context, out->data, out->room, grown);
        if (!moved)
            return st__fail_nomem(error, grown);
        out->data = moved;
        out->room = grown;
    }
    memcpy(out->data + out->used, text, len);
    out->used += len;
    out->data[out->used] = '\0';
    return ST_OK;
}

/* The tensors in the order of their names, so that it does not matter in which they lie in the file. */
static st_status record_emit(const st__manifest_entry *entry, const uint32_t *order,
                             record_text *out, st_error *error)
{
    st_json_emitter *emitter;
    ST_TRY(st_json_emitter_new(out->context, 0, record_write, out, &emitter, error));
    st_json_emit_object_begin(emitter);
    for (size_t i = 0; i < entry->file.tensor_count; i++)
        st__manifest_emit_tensor(emitter, &entry->tensors[order[i]]);
    st_json_emit_object_end(emitter);
    st_status status = st_json_emitter_finish(emitter, error);
    st_json_emitter_free(emitter);
    return status;
}

static st_status record_fill(const st_file *file, const st_manifest *manifest, record_text *out,
                             st_error *error)
{
    char key[RECORD_KEY_SIZE];
    size_t count = st_file_count(file), bytes = count * sizeof(uint32_t);
    int len = snprintf(key, sizeof key, RECORD_KEY "%s", st_hash_name(manifest->hash));
    ST_TRY(record_write(out, key, (size_t)len + 1, error));
    uint32_t *order = st__alloc(out->context, bytes);
    if (!order)
        return st__fail_nomem(error, bytes);
    st_status status = st_header_sort(st_file_header(file), order, error);
    if (status == ST_OK)
        status = record_emit(&manifest->entries[0], order, out, error);
    st__free(out->context, order, bytes);
    return status;
}

st_status st_hash_record_init(st_hash_record *record, const st_file *file, const st_hashes *hashes,
                              st_error *error)
{
    record_text out = {.context = file->context};
    st_manifest *manifest;
    if (!(hashes->parts & ST_HASH_TENSORS))
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: there are no digests of its tensors to record", st_file_name(file));
    ST_TRY(st_manifest_new(file->context, hashes->hash, &manifest, error));
    st_status status = st_manifest_add(manifest, "recorded", file, hashes, error);
    if (status == ST_OK)
        status = record_fill(file, manifest, &out, error);
    st_manifest_free(manifest);
    size_t key_len = status == ST_OK ? strlen(out.data) : 0;
    if (status == ST_OK && out.used - key_len - 1 > UINT32_MAX)
        status = st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                          "%s: the digests of its %zu tensors are more than metadata can hold",
                          st_file_name(file), st_file_count(file));
    if (status != ST_OK) {
        st__free(out.context, out.data, out.room);
        return st__error_locate(error, status, st_file_name(file), NULL);
    }
    *record = (st_hash_record){
        .entry = {out.data, (uint32_t)key_len, (uint32_t)(out.used - key_len - 1),
                  out.data + key_len + 1},
        .memory = out.data,
        .memory_size = out.room,
        .context = st_context_retain(file->context),
    };
    return ST_OK;
}

st_status st_hash_record_set(const st_hash_record *record, const st_file *file, st_edit *edit,
                             st_error *error)
{
    const st_header *header = st_file_header(file);
    for (size_t i = 0; i < st_header_metadata_count(header); i++) {
        const st_metadata *old = st_header_metadata_at(header, i);
        st_error said;
        if (!st_hash_record_is(old->key, old->key_len))
            continue;
        st_status status = st_edit_remove_metadata(edit, old->key, old->key_len, &said);
        if (status == ST_OK || status == ST_ERR_NOT_FOUND) /* the edit has removed it already */
            continue;
        if (error)
            *error = said;
        return status;
    }
    return st_edit_set_metadata(edit, &record->entry, error);
}

void st_hash_record_release(st_hash_record *record)
{
    st_context *context = record->context;
    st__free(context, record->memory, record->memory_size);
    *record = (st_hash_record){.memory = NULL};
    st_context_release(context);
}

/* ------------------------------------------------------------------------------- verifying */

/* Compares the file with one record. */
static st_status record_verify(const st_file *file, const st_metadata *entry, st_hash hash,
                               const st_verify_options *options, uint64_t *differences,
                               st_error *error)
{
    char name[512];
    uint64_t found = 0;
    st_manifest *manifest;
    snprintf(name, sizeof name, "%.400s: metadata %s", st_file_name(file), entry->key);
    ST_TRY(st__manifest_parse_tensors(file->context, hash, entry, name, &manifest, error));
    manifest->recorded = true;
    st_status status = st_manifest_verify(manifest, 0, file, options, &found, error);
    st_manifest_free(manifest);
    *differences += found;
    return status;
}

st_status st_hash_record_verify(const st_file *file, const st_verify_options *options,
                                uint64_t *records, uint64_t *differences, st_error *error)
{
    static const char *const names[] = {
#define RECORD_NAME(name, number, text, bytes) text,
        ST_HASH_MAP(RECORD_NAME)
#undef RECORD_NAME
    };
    uint64_t count = 0, found = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char key[RECORD_KEY_SIZE];
        int len = snprintf(key, sizeof key, RECORD_KEY "%s", names[i]);
        const st_metadata *entry = st_header_metadata_find(st_file_header(file), key, (size_t)len);
        if (!entry)
            continue;
        count++;
        ST_TRY(record_verify(file, entry, st_hash_find(names[i], strlen(names[i])), options, &found,
                             error));
    }
    *records = count;
    *differences = found;
    return ST_OK;
}
