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

static void index_metadata_put(st__index_text *out, const st_checkpoint *checkpoint)
{
    char number[64];
    (void)snprintf(number, sizeof number, "    \"total_size\": %" PRIu64, checkpoint->data_size);
    st__index_text_line(out, "  \"metadata\": {\n");
    st__index_text_line(out, number);
    for (size_t i = 0; i < checkpoint->metadata_count; i++) {
        const st_metadata *entry = &checkpoint->metadata[i];
        bool is_size = entry->key_len == 10 && memcmp(entry->key, "total_size", 10) == 0;
        if (is_size || st__split_is_of_shards(entry))
            continue;
        st__index_text_line(out, ",\n    ");
        st__index_text_string(out, entry->key, entry->key_len);
        st__index_text_line(out, ": ");
        st__index_text_string(out, entry->value, entry->value_len);
    }
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
    index_metadata_put(out, checkpoint);
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

st_status st_checkpoint_index_write(const st_checkpoint *checkpoint, const char *path,
                                    const st_sink_options *options, st_error *error)
{
    st__index_rows rows = {checkpoint->count, checkpoint_row, (void *)(uintptr_t)checkpoint};
    st__index_text out = {.context = checkpoint->context};
    st_sink *sink = NULL;
    st_status status = st__index_text_make(checkpoint, &rows, &out, error);
    if (status == ST_OK)
        status = st_sink_open(path, options, &sink, error);
    if (status == ST_OK)
        status = st__index_text_write(out.text, out.len, sink, error);
    if (status == ST_ERR_NOMEM)
        (void)st__error_locate(error, status, path, NULL);
    st_sink_release(sink);
    st__index_text_release(&out);
    return status;
}
