/* SPDX-License-Identifier: Apache-2.0 */
/* The text of an index, to the byte as huggingface_hub's json.dump(index, indent=2) writes it: in ASCII, with no newline
 * at the end. */
#include "checkpoint/split.h"
#include "base/alloc.h"
#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A text that grows; once there is no memory for it, nothing more is put. */
typedef struct index_writing {
    st_context *context;
    char *text;
    size_t len;
    size_t size;
    uint64_t wanted; /* that there was no memory for; 0: all is well */
} index_writing;

static void text_put(index_writing *out, const char *text, size_t len)
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
    memcpy(out->text + out->len, text, len);
    out->len = need;
}

static void line_put(index_writing *out, const char *text)
{
    text_put(out, text, strlen(text));
}

/* Puts what stands for a character that is a quote, a backslash, or none of printable ASCII. */
static void escape_put(index_writing *out, uint32_t c)
{
    static const char letters[] = "\"\"\\\\\nn\rr\tt\bb\ff"; /* each with what is put for it */
    char text[16];
    for (size_t i = 0; i < sizeof letters - 1; i += 2)
        if ((uint32_t)letters[i] == c) {
            text_put(out, "\\", 1);
            text_put(out, &letters[i + 1], 1);
            return;
        }
    if (c > 0xffff)
        (void)snprintf(text, sizeof text, "\\u%04" PRIx32 "\\u%04" PRIx32,
                       0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
    else
        (void)snprintf(text, sizeof text, "\\u%04" PRIx32, c);
    line_put(out, text);
}

static void string_put(index_writing *out, const char *text, size_t len)
{
    size_t plain = 0; /* where what was not put yet begins */
    text_put(out, "\"", 1);
    for (size_t i = 0; i < len;) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t c = byte;
        if (byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\') {
            i++;
            continue;
        }
        text_put(out, text + plain, i - plain);
        /* Names and metadata were checked to be UTF-8 when they were read. */
        size_t used = st__utf8_decode((const unsigned char *)text + i, len - i, &c);
        i += used ? used : 1;
        plain = i;
        escape_put(out, c);
    }
    text_put(out, text + plain, len - plain);
    text_put(out, "\"", 1);
}

static void metadata_put(index_writing *out, const st_checkpoint *checkpoint)
{
    char number[64];
    (void)snprintf(number, sizeof number, "    \"total_size\": %" PRIu64, checkpoint->data_size);
    line_put(out, "  \"metadata\": {\n");
    line_put(out, number);
    for (size_t i = 0; i < checkpoint->metadata_count; i++) {
        const st_metadata *entry = &checkpoint->metadata[i];
        bool is_size = entry->key_len == 10 && memcmp(entry->key, "total_size", 10) == 0;
        if (is_size || st__split_is_of_shards(entry))
            continue;
        line_put(out, ",\n    ");
        string_put(out, entry->key, entry->key_len);
        line_put(out, ": ");
        string_put(out, entry->value, entry->value_len);
    }
    line_put(out, "\n  },\n");
}

static void weight_map_put(index_writing *out, const st_split *split)
{
    line_put(out, "  \"weight_map\": {");
    for (size_t s = 0, first = 0; s < split->count; first += split->shards[s++].count) {
        const st_shard *shard = &split->shards[s];
        for (size_t i = first; i < first + shard->count; i++) {
            const st_tensor *tensor = split->checkpoint->entries[split->order[i]].tensor;
            line_put(out, i ? ",\n    " : "\n    ");
            string_put(out, tensor->name, tensor->name_len);
            line_put(out, ": ");
            string_put(out, shard->name, strlen(shard->name));
        }
    }
    line_put(out, "\n  }\n");
}

st_status st__split_index_make(st_split *split, st_error *error)
{
    index_writing out = {.context = split->context};
    line_put(&out, "{\n");
    metadata_put(&out, split->checkpoint);
    weight_map_put(&out, split);
    text_put(&out, "}", 2); /* with its end */
    split->index = out.text;
    split->index_size = out.size;
    split->index_len = out.len - 1;
    return out.wanted ? st__checkpoint_nomem(split->checkpoint, out.wanted, error) : ST_OK;
}
