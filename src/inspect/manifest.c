/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/manifest.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "file/file.h"
#include "inspect/digest.h"
#include "io/os.h"

#include <string.h>

/* Chunks grow with the manifest between these; a longer text has one of its own. */
#define CHUNK_LEAST ((size_t)4 << 10)
#define CHUNK_MOST  ((size_t)1 << 20)

/* ---------------------------------------------------------------------------------- memory */

static st__manifest_chunk *manifest_grow(st_manifest *manifest, size_t need, st_error *error)
{
    size_t size = manifest->chunks ? manifest->chunks->size * 2 : CHUNK_LEAST, bytes;
    if (size > CHUNK_MOST)
        size = CHUNK_MOST;
    if (size < need)
        size = need;
    st__manifest_chunk *chunk = NULL;
    if (st__add_size(size, sizeof(st__manifest_chunk), &bytes))
        chunk = st__alloc(manifest->context, bytes);
    if (!chunk) {
        (void)st__fail_nomem(error, (uint64_t)size + sizeof(st__manifest_chunk));
        return NULL;
    }
    chunk->next = manifest->chunks;
    chunk->size = size;
    chunk->used = 0;
    manifest->chunks = chunk;
    return chunk;
}

void *st__manifest_keep(st_manifest *manifest, const void *data, size_t size, st_error *error)
{
    const size_t unit = sizeof(uint64_t);
    size_t need;
    if (!st__add_size(size, unit, &need)) {
        (void)st__fail_nomem(error, size);
        return NULL;
    }
    need -= need % unit; /* a terminator at least */
    st__manifest_chunk *chunk = manifest->chunks;
    if (!chunk || chunk->size - chunk->used < need)
        chunk = manifest_grow(manifest, need, error);
    if (!chunk)
        return NULL;
    char *at = (char *)chunk->bytes + chunk->used;
    chunk->used += need;
    if (size)
        memcpy(at, data, size);
    memset(at + size, 0, need - size);
    return at;
}

bool st__manifest_reserve(const st_manifest *manifest, void **records, size_t stride, size_t count,
                          size_t *room, st__map *names)
{
    size_t grown = st__manifest_grown(*room), bytes;
    if (count < *room)
        return true;
    /* The index counts up to 2^30. */
    if (grown > (size_t)1 << 29 || !st__mul_size(grown, stride, &bytes))
        return false;
    st__map larger = {0};
    if (names && !st__map_init(&larger, manifest->context, NULL, stride, grown, &manifest->key))
        return false;
    void *moved = st__realloc(manifest->context, *records, *room * stride, bytes);
    if (!moved) {
        st__map_release(&larger, manifest->context);
        return false;
    }
    *records = moved;
    *room = grown;
    if (names) {
        larger.records = moved;
        (void)st__map_insert_all(&larger, count, false);
        st__map_release(names, manifest->context);
        *names = larger;
    }
    return true;
}

st_status st_manifest_new(st_context *context, st_hash hash, st_manifest **out, st_error *error)
{
    if (!st__hash_size(hash))
        return st__hash_check(hash, error);
    st_manifest *manifest = st__alloc_zeroed(context, 1, sizeof *manifest);
    if (!manifest)
        return st__fail_nomem(error, sizeof *manifest);
    manifest->context = st_context_retain(context);
    manifest->hash = hash;
    st__os_random(&manifest->key, sizeof manifest->key);
    *out = manifest;
    return ST_OK;
}

void st_manifest_free(st_manifest *manifest)
{
    if (!manifest)
        return;
    st_context *context = manifest->context;
    for (size_t i = 0; i < manifest->count; i++)
        st__free(context, manifest->entries[i].tensors,
                 manifest->entries[i].room * sizeof *manifest->entries[i].tensors);
    st__free(context, manifest->entries, manifest->room * sizeof *manifest->entries);
    st__map_release(&manifest->names, context);
    for (st__manifest_chunk *chunk = manifest->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        st__free(context, chunk, sizeof *chunk + chunk->size);
    }
    st__free(context, manifest, sizeof *manifest);
    st_context_release(context);
}

/* --------------------------------------------------------------------------------- getters */

st_hash st_manifest_hash(const st_manifest *manifest)
{
    return manifest->hash;
}

size_t st_manifest_count(const st_manifest *manifest)
{
    return manifest->count;
}

const st_manifest_file *st_manifest_at(const st_manifest *manifest, size_t index)
{
    return index < manifest->count ? &manifest->entries[index].file : NULL;
}

size_t st_manifest_find(const st_manifest *manifest, const char *name, size_t name_len)
{
    size_t index = st__map_find(&manifest->names, name, name_len);
    return index == ST__MAP_NONE ? manifest->count : index;
}

/* ---------------------------------------------------------------------------------- adding */

static bool name_is_utf8(const char *text, size_t len)
{
    uint32_t c;
    for (size_t i = 0, n; i < len; i += n) {
        n = st__utf8_decode((const unsigned char *)text + i, len - i, &c);
        if (n == 0)
            return false;
    }
    return true;
}

const char *st__manifest_refuses(const st_manifest *manifest, const char *name, size_t name_len)
{
    if (name_len == 0)
        return "is empty";
    if (name_len > UINT16_MAX)
        return "is longer than 65535 bytes";
    if (memchr(name, 0, name_len))
        return "has a NUL in it";
    if (!name_is_utf8(name, name_len))
        return "is not UTF-8";
    if (st__map_find(&manifest->names, name, name_len) != ST__MAP_NONE)
        return "is in the manifest already";
    return NULL;
}

st_status st__manifest_insert(st_manifest *manifest, const st__manifest_entry *entry,
                              st_error *error)
{
    void *entries = manifest->entries;
    bool fits = st__manifest_reserve(manifest, &entries, sizeof *manifest->entries, manifest->count,
                                     &manifest->room, &manifest->names);
    manifest->entries = entries;
    if (!fits)
        return st__fail_nomem(error, (uint64_t)st__manifest_grown(manifest->room) *
                                         sizeof *manifest->entries);
    st__manifest_entry *added = &manifest->entries[manifest->count];
    *added = *entry;
    added->file.name = entry->name.text;
    added->file.name_len = entry->name.len;
    (void)st__map_insert(&manifest->names, manifest->count,
                         st__hash(&manifest->key, entry->name.text, entry->name.len));
    manifest->count++;
    return ST_OK;
}

static st_status tensor_keep(st_manifest *manifest, const st_header *header, const st_tensor *from,
                             st__manifest_tensor *to, st_error *error)
{
    size_t dtype_len, shape_size = from->ndim * sizeof *from->shape;
    const char *dtype = st_header_dtype_code(header, from->dtype, &dtype_len);
    to->name.text = st__manifest_keep(manifest, from->name, from->name_len, error);
    to->name.len = from->name_len;
    if (to->name.text)
        to->dtype = st__manifest_keep(manifest, dtype, dtype_len, error);
    to->dtype_len = (uint32_t)dtype_len;
    if (to->dtype)
        to->shape = st__manifest_keep(manifest, from->shape, shape_size, error);
    to->ndim = from->ndim;
    return to->shape ? ST_OK : ST_ERR_NOMEM;
}

static st_status tensors_keep(st_manifest *manifest, const st_file *file, const st_hashes *hashes,
                              st__manifest_entry *entry, st_error *error)
{
    entry->room = hashes->count;
    entry->tensors = st__alloc_zeroed(manifest->context, entry->room, sizeof *entry->tensors);
    if (!entry->tensors)
        return st__fail_nomem(error, (uint64_t)entry->room * sizeof *entry->tensors);
    for (size_t i = 0; i < hashes->count; i++) {
        ST_TRY(tensor_keep(manifest, st_file_header(file), st_file_at(file, i), &entry->tensors[i],
                           error));
        entry->tensors[i].digest = hashes->tensors[i];
    }
    entry->file.tensor_count = hashes->count;
    return ST_OK;
}

static st_status hashes_check(const st_manifest *manifest, const st_file *file,
                              const st_hashes *hashes, st_error *error)
{
    if (hashes->hash != manifest->hash) {
        const char *name = st_hash_name(hashes->hash);
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: its digests are %s, and the manifest's are %s", st_file_name(file),
                        name ? name : "unknown", st_hash_name(manifest->hash));
    }
    if ((hashes->parts & ST_HASH_TENSORS) && hashes->count != st_file_count(file))
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: it has %zu tensors, and there are digests of %zu", st_file_name(file),
                        st_file_count(file), hashes->count);
    return ST_OK;
}

st_status st_manifest_add(st_manifest *manifest, const char *name, const st_file *file,
                          const st_hashes *hashes, st_error *error)
{
    size_t name_len = strlen(name);
    const char *refused = st__manifest_refuses(manifest, name, name_len);
    if (refused)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "the name %s %s",
                        st__quote(name, name_len).text, refused);
    ST_TRY(hashes_check(manifest, file, hashes, error));
    st__manifest_entry entry = {.file = {.size = st_file_size(file),
                                         .parts = hashes->parts,
                                         .file = hashes->file,
                                         .data = hashes->data}};
    entry.name.text = st__manifest_keep(manifest, name, name_len, error);
    entry.name.len = (uint32_t)name_len;
    st_status status = entry.name.text ? ST_OK : ST_ERR_NOMEM;
    if (status == ST_OK && (hashes->parts & ST_HASH_TENSORS))
        status = tensors_keep(manifest, file, hashes, &entry, error);
    if (status == ST_OK)
        status = st__manifest_insert(manifest, &entry, error);
    if (status != ST_OK)
        st__free(manifest->context, entry.tensors, entry.room * sizeof *entry.tensors);
    return st__error_locate(error, status, st_file_name(file), NULL);
}
