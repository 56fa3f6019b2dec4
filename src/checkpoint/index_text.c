/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint/index_text.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "checkpoint/split.h"
#include "io/sink.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------ text */

void st__index_text_release(st__index_text *out)
{
    st__free(out->context, out->text, out->size);
    out->text = NULL;
    out->len = out->size = 0;
}

void st__index_text_put(st__index_text *out, const char *text, size_t len)
{
    size_t need, grown = out->size ? out->size : 4096;
    if (out->wanted)
        return;
    if (!st__add_size(out->len, len, &need) || need > SIZE_MAX / 2) {
        out->wanted = UINT64_MAX;
        return;
    }
    while (grown < need)
        grown *= 2;
    if (grown > out->size) {
        char *moved = st__realloc(out->context, out->text, out->size, grown);
        if (!moved) {
            out->wanted = grown;
            return;
        }
        out->text = moved;
        out->size = grown;
    }
    if (len)
        memcpy(out->text + out->len, text, len);
    out->len = need;
}

void st__index_text_line(st__index_text *out, const char *text)
{
    st__index_text_put(out, text, strlen(text));
}

/* Puts what stands for a character that is a quote, a backslash, or none of printable ASCII. */
static void escape_put(st__index_text *out, uint32_t c)
{
    static const char letters[] = "\"\"\\\\\nn\rr\tt\bb\ff"; /* each with what is put for it */
    char text[16];
    for (size_t i = 0; i < sizeof letters - 1; i += 2)
        if ((uint32_t)letters[i] == c) {
            st__index_text_put(out, "\\", 1);
            st__index_text_put(out, &letters[i + 1], 1);
            return;
        }
    if (c > 0xffff)
        (void)snprintf(text, sizeof text, "\\u%04" PRIx32 "\\u%04" PRIx32,
                       0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
    else
        (void)snprintf(text, sizeof text, "\\u%04" PRIx32, c);
    st__index_text_line(out, text);
}

void st__index_text_string(st__index_text *out, const char *text, size_t len)
{
    size_t plain = 0; /* where what was not put yet begins */
    st__index_text_put(out, "\"", 1);
    for (size_t i = 0; i < len;) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t c = byte;
        if (byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\') {
            i++;
            continue;
        }
        st__index_text_put(out, text + plain, i - plain);
        /* Names and metadata were checked to be UTF-8 when they were read. */
        size_t used = st__utf8_decode((const unsigned char *)text + i, len - i, &c);
        i += used ? used : 1;
        plain = i;
        escape_put(out, c);
    }
    st__index_text_put(out, text + plain, len - plain);
    st__index_text_put(out, "\"", 1);
}

/* --------------------------------------------------------------------------- a whole index */

static void pair_lead_put(st__index_text *out, const char *key, size_t key_len)
{
    st__index_text_line(out, ",\n    ");
    st__index_text_string(out, key, key_len);
    st__index_text_line(out, ": ");
}

/* Puts what an old index says, as it stands there. */
static void old_metadata_put(st__index_text *out, const st__index *old)
{
    if (old->parameters.text) {
        pair_lead_put(out, "total_parameters", strlen("total_parameters"));
        st__index_text_put(out, old->parameters.text, old->parameters.len);
    }
    for (size_t i = 0; i < old->pair_count; i++) {
        const st__index_pair *entry = &old->pairs[i];
        if (entry->passed)
            continue;
        pair_lead_put(out, entry->pair.key, entry->pair.key_len);
        if (entry->string)
            st__index_text_string(out, entry->pair.value, entry->pair.value_len);
        else
            st__index_text_put(out, entry->pair.value, entry->pair.value_len);
    }
}

static bool old_has(const st__index *old, const st_metadata *entry)
{
    return old && st__map_find(&old->keys, entry->key, entry->key_len) != ST__MAP_NONE;
}

static void index_metadata_put(st__index_text *out, const st_checkpoint *checkpoint,
                               const st__index *old)
{
    char number[64];
    (void)snprintf(number, sizeof number, "    \"total_size\": %" PRIu64, checkpoint->data_size);
    st__index_text_line(out, "  \"metadata\": {\n");
    st__index_text_line(out, number);
    for (size_t i = 0; i < checkpoint->metadata_count; i++) {
        const st_metadata *entry = &checkpoint->metadata[i];
        bool is_size = entry->key_len == 10 && memcmp(entry->key, "total_size", 10) == 0;
        if (is_size || st__split_is_of_shards(entry) || old_has(old, entry))
            continue;
        pair_lead_put(out, entry->key, entry->key_len);
        st__index_text_string(out, entry->value, entry->value_len);
    }
    if (old)
        old_metadata_put(out, old);
    st__index_text_line(out, "\n  },\n");
}

static void index_rows_put(st__index_text *out, const st__index_rows *rows)
{
    st__index_text_line(out, "  \"weight_map\": {");
    for (size_t i = 0; i < rows->count; i++) {
        const st_tensor *tensor;
        const char *shard = rows->at(rows->ctx, i, &tensor);
        st__index_text_line(out, i ? ",\n    " : "\n    ");
        st__index_text_string(out, tensor->name, tensor->name_len);
        st__index_text_line(out, ": ");
        st__index_text_string(out, shard, strlen(shard));
    }
    st__index_text_line(out, "\n  }\n");
}

st_status st__index_text_make(const st_checkpoint *checkpoint, const st__index_rows *rows,
                              st__index_text *out, st_error *error)
{
    st__index_text_line(out, "{\n");
    index_metadata_put(out, checkpoint, rows->old);
    index_rows_put(out, rows);
    st__index_text_put(out, "}", 2); /* with its end */
    out->len -= out->wanted ? 0 : 1;
    return out->wanted ? st__checkpoint_nomem(checkpoint, out->wanted, error) : ST_OK;
}

/* --------------------------------------------------------------------------------- writing */

st_status st__index_text_write(const char *text, size_t len, st_sink *sink, st_error *error)
{
    st_bytes piece = {text, len};
    ST_TRY(st__sink_begin(sink, len, error));
    ST_TRY(st__sink_write(sink, 0, &piece, 1, error));
    return st__sink_finish(sink, error);
}

static const char *checkpoint_row(void *ctx, size_t row, const st_tensor **tensor)
{
    const st_checkpoint *checkpoint = ctx;
    *tensor = checkpoint->entries[row].tensor;
    return checkpoint->files[checkpoint->entries[row].file].name.text;
}

static st__index_rows checkpoint_rows(const st_checkpoint *checkpoint)
{
    return (st__index_rows){
        .count = checkpoint->count, .at = checkpoint_row, .ctx = (void *)(uintptr_t)checkpoint};
}

st_status st__index_text_of(const st_checkpoint *checkpoint, st__index_text *out, st_error *error)
{
    const st__index_rows rows = checkpoint_rows(checkpoint);
    return st__index_text_make(checkpoint, &rows, out, error);
}

/* ------------------------------------------------------------------------- in an old one's place */

/* Whether it names just the tensors of a checkpoint. */
static bool names_the_same(const st__index *old, const st_checkpoint *checkpoint)
{
    size_t count = 0;
    for (size_t i = 0; i < old->count; i++) {
        const st__index_entry *entry = &old->entries[i];
        if (entry->passed)
            continue;
        if (st__map_find(&checkpoint->names, entry->tensor.text, entry->tensor.len) == ST__MAP_NONE)
            return false;
        count++;
    }
    return count == checkpoint->count && !old->partial;
}

static bool deviation_pass(void *ctx, const st_finding *finding)
{
    (void)ctx;
    (void)finding;
    return true;
}

static st_status old_take(const st_checkpoint *checkpoint, const st_memory *text, const char *name,
                          st__index_text *out, st_error *error)
{
    st__index_rows rows = checkpoint_rows(checkpoint);
    st__arena kept = {.context = checkpoint->context};
    st__index index = {.context = checkpoint->context, .kept = &kept};
    const st__index_sink anything = {.report = deviation_pass};
    const st__index_judge judge = {.name = name, .sink = &anything, .error = error};
    st_status status = st__index_parse(&index, text->data, text->size, &judge);
    if (!names_the_same(&index, checkpoint))
        index.parameters.text = NULL;
    rows.old = index.broken ? NULL : &index;
    if (status == ST_OK)
        status = st__index_text_make(checkpoint, &rows, out, error);
    st__index_release(&index);
    st__arena_release(&kept);
    return status;
}

st_status st__index_text_renew(st_checkpoint *checkpoint, const char *old,
                               const st_open_options *options, st__index_text *out, st_error *error)
{
    st_memory text = {0};
    st_status status = st__index_text_read(checkpoint, old, options, &text, error);
    if (status == ST_ERR_JSON) /* it is too long */
        return st__index_text_of(checkpoint, out, error);
    if (status == ST_OK)
        status = old_take(checkpoint, &text, old, out, error);
    st__free(checkpoint->context, text.data, text.size);
    return status;
}
