/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as a manifest. What is accepted is emitted and read again, and is then the same: its
 * getters agree, and so does its text. A file is compared with each of its entries. */
#include "output.h"

#include <safetensors/inspect.h>

#include <string.h>

static output emit(const st_manifest *manifest)
{
    output out = {0};
    require(st_manifest_emit(manifest, output_write, &out, NULL) == ST_OK);
    return out;
}

static bool same_digest(const st_digest *a, const st_digest *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void manifests_compare(const st_manifest *a, const st_manifest *b)
{
    require(st_manifest_hash(a) == st_manifest_hash(b));
    require(st_manifest_count(a) == st_manifest_count(b));
    for (size_t i = 0; i < st_manifest_count(a); i++) {
        const st_manifest_file *x = st_manifest_at(a, i), *y = st_manifest_at(b, i);
        require(x->name_len == y->name_len && strlen(x->name) == x->name_len);
        require(strcmp(x->name, y->name) == 0 && x->size == y->size && x->parts == y->parts);
        require(same_digest(&x->file, &y->file) && same_digest(&x->data, &y->data));
        require(x->tensor_count == y->tensor_count);
    }
}

/* A file with the tensors "a" and "b", which small manifests may have as well. No tensor of the manifest
 * makes more than two differences, and each of the file's at most one more. */
static void manifest_verify(const st_manifest *manifest)
{
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                                 "\"b\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[2,3]}}";
    unsigned char bytes[8 + sizeof header - 1 + 3] = {(unsigned char)(sizeof header - 1)};
    memcpy(bytes + 8, header, sizeof header - 1);
    st_memory memory = {.data = bytes, .size = sizeof bytes};
    st_file *file;
    require(st_file_open_memory(&memory, NULL, &file, NULL) == ST_OK);
    for (size_t i = 0; i < st_manifest_count(manifest); i++) {
        uint64_t differences = UINT64_MAX;
        st_status status = st_manifest_verify(manifest, i, file, NULL, &differences, NULL);
        require(status == ST_OK || status == ST_ERR_UNSUPPORTED);
        require(status != ST_OK ||
                differences <= 5 + 2 * st_manifest_at(manifest, i)->tensor_count);
    }
    st_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    st_manifest *manifest, *again;
    st_error error;
    st_status status = st_manifest_parse(NULL, (const char *)data, size, NULL, &manifest, &error);
    if (status != ST_OK) {
        require(status == ST_ERR_JSON && error.status == status && error.offset <= size);
        return 0;
    }
    output first = emit(manifest);
    require(st_manifest_parse(NULL, first.text, first.len, NULL, &again, NULL) == ST_OK);
    output second = emit(again);
    manifests_compare(manifest, again);
    require(first.len == second.len && memcmp(first.text, second.text, first.len) == 0);
    manifest_verify(manifest);
    free(first.text);
    free(second.text);
    st_manifest_free(manifest);
    st_manifest_free(again);
    return 0;
}
