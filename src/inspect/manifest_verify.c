/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing a file with a manifest: first what the header tells, then the digests, so that a callback
 * that ends it early saves the reading. */
#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "file/file.h"
#include "inspect/digest.h"
#include "inspect/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct verify_run {
    const st__manifest_entry *entry;
    const st_file *file;
    const st_header *header;
    const st_verify_options *options;
    bool recorded;  /* of what the file's own metadata say: it has no size */
    uint64_t count; /* differences */
    uint32_t
        *places; /* per tensor of the manifest: 1 + its index in the file; 0: not to be compared */
    unsigned char *known; /* per tensor of the file: the manifest has it */
} verify_run;

static st_status difference_tell(verify_run *run, const st_difference *difference, st_error *error)
{
    run->count++;
    if (run->options->difference && !run->options->difference(run->options->ctx, difference))
        return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the verifying was stopped",
                        st_file_name(run->file));
    return ST_OK;
}

/* -------------------------------------------------------------------------- what is in words */

const char *st_difference_name(int32_t kind)
{
    switch (kind) {
    case ST_DIFFERENCE_SIZE: return "size";
    case ST_DIFFERENCE_FILE: return "file";
    case ST_DIFFERENCE_DATA: return "data";
    case ST_DIFFERENCE_MISSING: return "missing";
    case ST_DIFFERENCE_EXTRA: return "extra";
    case ST_DIFFERENCE_DTYPE: return "dtype";
    case ST_DIFFERENCE_SHAPE: return "shape";
    case ST_DIFFERENCE_TENSOR: return "tensor";
    default: return NULL;
    }
}

typedef struct shape_text {
    char text[96];
} shape_text;

/* "[2,3]"; the rest of a long one is cut. */
static shape_text shape_print(const uint64_t *shape, uint32_t ndim)
{
    shape_text out = {"["};
    size_t len = 1;
    for (uint32_t i = 0; i < ndim; i++) {
        if (len > sizeof out.text - 32) {
            len += (size_t)snprintf(out.text + len, sizeof out.text - len, ",...");
            break;
        }
        len += (size_t)snprintf(out.text + len, sizeof out.text - len, "%s%" PRIu64, i ? "," : "",
                                shape[i]);
    }
    snprintf(out.text + len, sizeof out.text - len, "]");
    return out;
}

/* What says otherwise. */
static const char *says(const verify_run *run)
{
    return run->recorded ? "its metadata say" : "the manifest says";
}

/* One difference of a tensor; its message is the tensor's name and what follows from `format`. */
static st_status tensor_tell(verify_run *run, int32_t kind, const char *name, uint32_t name_len,
                             const char *what, st_error *error)
{
    char message[512];
    snprintf(message, sizeof message, "tensor %s: %s", st__quote(name, name_len).text, what);
    st_difference difference = {
        .kind = kind, .name = name, .name_len = name_len, .message = message};
    return difference_tell(run, &difference, error);
}

static st_status digest_tell(verify_run *run, st_difference *difference, const char *what,
                             st_error *error)
{
    char expected[80] = "", found[80] = "", message[512];
    if (st__digest_equal(&difference->expected, &difference->found))
        return ST_OK;
    (void)st_digest_format(&difference->expected, expected, sizeof expected);
    (void)st_digest_format(&difference->found, found, sizeof found);
    snprintf(message, sizeof message, "%s: its digest is %s, and %s %s", what, found, says(run),
             expected);
    difference->message = message;
    return difference_tell(run, difference, error);
}

/* ------------------------------------------------------------------------ what the header tells */

static st_status size_compare(verify_run *run, st_error *error)
{
    char message[128];
    uint64_t size = st_file_size(run->file), wanted = run->entry->file.size;
    if (size == wanted || run->recorded)
        return ST_OK;
    snprintf(message, sizeof message, "it has %" PRIu64 " bytes, and the manifest says %" PRIu64,
             size, wanted);
    return difference_tell(run, &(st_difference){.kind = ST_DIFFERENCE_SIZE, .message = message},
                           error);
}

static st_status shape_compare(verify_run *run, const st__manifest_tensor *wanted,
                               const st_tensor *tensor, bool *same, st_error *error)
{
    char what[288];
    size_t code_len;
    const char *code = st_header_dtype_code(run->header, tensor->dtype, &code_len);
    *same = true;
    if (code_len != wanted->dtype_len || memcmp(code, wanted->dtype, code_len) != 0) {
        *same = false;
        snprintf(what, sizeof what, "its dtype is %s, and %s %s", st__quote(code, code_len).text,
                 says(run), st__quote(wanted->dtype, wanted->dtype_len).text);
        ST_TRY(tensor_tell(run, ST_DIFFERENCE_DTYPE, tensor->name, tensor->name_len, what, error));
    }
    if (tensor->ndim != wanted->ndim ||
        memcmp(tensor->shape, wanted->shape, wanted->ndim * sizeof *wanted->shape) != 0) {
        *same = false;
        snprintf(what, sizeof what, "its shape is %s, and %s %s",
                 shape_print(tensor->shape, tensor->ndim).text, says(run),
                 shape_print(wanted->shape, wanted->ndim).text);
        ST_TRY(tensor_tell(run, ST_DIFFERENCE_SHAPE, tensor->name, tensor->name_len, what, error));
    }
    return ST_OK;
}

/* Finds each tensor of the manifest in the file. The digest of one with another dtype or shape would
 * say nothing more. */
static st_status tensors_compare(verify_run *run, st_error *error)
{
    const st__manifest_entry *entry = run->entry;
    for (size_t i = 0; i < entry->file.tensor_count; i++) {
        const st__manifest_tensor *wanted = &entry->tensors[i];
        const st_tensor *tensor = st_header_find(run->header, wanted->name.text, wanted->name.len);
        bool same;
        if (!tensor) {
            ST_TRY(tensor_tell(run, ST_DIFFERENCE_MISSING, wanted->name.text, wanted->name.len,
                               run->recorded ? "its metadata name it, but the file has it not"
                                             : "it is in the manifest, but not in the file",
                               error));
            continue;
        }
        size_t index = st_header_index(run->header, tensor);
        run->known[index] = 1;
        ST_TRY(shape_compare(run, wanted, tensor, &same, error));
        run->places[i] = same ? (uint32_t)index + 1 : 0;
    }
    for (size_t i = 0; i < st_header_count(run->header); i++) {
        const st_tensor *tensor = st_header_at(run->header, i);
        if (!run->known[i])
            ST_TRY(tensor_tell(run, ST_DIFFERENCE_EXTRA, tensor->name, tensor->name_len,
                               run->recorded ? "the file has it, but its metadata do not name it"
                                             : "it is in the file, but not in the manifest",
                               error));
    }
    return ST_OK;
}

/* --------------------------------------------------------------------------------- the digests */

static st_status digests_tell(verify_run *run, const st_hashes *hashes, st_error *error)
{
    const st__manifest_entry *entry = run->entry;
    st_difference of_file = {
        .kind = ST_DIFFERENCE_FILE, .expected = entry->file.file, .found = hashes->file};
    st_difference of_data = {
        .kind = ST_DIFFERENCE_DATA, .expected = entry->file.data, .found = hashes->data};
    ST_TRY(digest_tell(run, &of_file, "the whole file", error));
    ST_TRY(digest_tell(run, &of_data, "the data section", error));
    for (size_t i = 0; i < entry->file.tensor_count; i++) {
        const st__manifest_tensor *wanted = &entry->tensors[i];
        char what[160];
        if (!run->places[i])
            continue;
        st_difference of_tensor = {.kind = ST_DIFFERENCE_TENSOR,
                                   .name = wanted->name.text,
                                   .name_len = wanted->name.len,
                                   .expected = wanted->digest,
                                   .found = hashes->tensors[run->places[i] - 1]};
        snprintf(what, sizeof what, "tensor %s",
                 st__quote(wanted->name.text, wanted->name.len).text);
        ST_TRY(digest_tell(run, &of_tensor, what, error));
    }
    return ST_OK;
}

static st_status digests_compare(verify_run *run, st_hash hash, st_error *error)
{
    st_hash_options options = {
        .hash = hash, .parts = run->entry->file.parts, .progress = run->options->progress};
    st_hashes hashes;
    if (options.parts == 0)
        return ST_OK;
    ST_TRY(st_hashes_read(run->file, &options, &hashes, error));
    st_status status = digests_tell(run, &hashes, error);
    st_hashes_release(&hashes);
    return status;
}

static st_status verify_all(verify_run *run, st_hash hash, st_error *error)
{
    ST_TRY(size_compare(run, error));
    if (run->entry->file.parts & ST_HASH_TENSORS)
        ST_TRY(tensors_compare(run, error));
    return digests_compare(run, hash, error);
}

st_status st_manifest_verify(const st_manifest *manifest, size_t index, const st_file *file,
                             const st_verify_options *options, uint64_t *differences,
                             st_error *error)
{
    static const st_verify_options defaults;
    verify_run run = {
        .file = file, .header = st_file_header(file), .options = options ? options : &defaults};
    ST_TRY(st__reserved_check(run.options->reserved, 8, "st_verify_options", error));
    if (index >= manifest->count)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "file %zu of a manifest that has %zu",
                        index, manifest->count);
    run.entry = &manifest->entries[index];
    run.recorded = manifest->recorded;
    /* Before anything is compared: a part of an answer would look like a whole one. */
    if (run.entry->file.parts)
        ST_TRY(st__hash_check(manifest->hash, error));
    size_t count = run.entry->file.tensor_count, in_file = st_file_count(file);
    run.places = st__alloc_zeroed(file->context, count, sizeof *run.places);
    run.known = st__alloc_zeroed(file->context, in_file, sizeof *run.known);
    st_status status;
    if (!run.places || !run.known)
        status = st__fail_nomem(error, (uint64_t)count * sizeof *run.places + in_file);
    else
        status = verify_all(&run, manifest->hash, error);
    st__free(file->context, run.places, count * sizeof *run.places);
    st__free(file->context, run.known, in_file * sizeof *run.known);
    if (status == ST_OK)
        *differences = run.count;
    return st__error_locate(error, status, st_file_name(file), NULL);
}
