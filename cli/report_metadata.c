/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata on the page: strings, and what is JSON in them indented. */
#include <stdlib.h>
#include <string.h>

#include "expand.h"
#include "html.h"
#include "memory.h"
#include "report.h"
#include "text.h"

/* Bytes of one value, and of all entries together, that a page shows: a header may have 100 MB of them. */
#define VALUE_MAX   (UINT32_C(64) << 10)
#define ENTRIES_MAX (UINT32_C(4) << 20)
/* Longer values, and those of several lines, are folded. */
#define LINE_MAX_LEN 160

/* Text that is collected up to VALUE_MAX. */
struct collected {
    char *text;
    size_t len;
    size_t room;
    bool cut;
};

static st_status collect(void *ctx, const char *text, size_t len, st_error *error)
{
    struct collected *collected = ctx;
    (void)error;
    if (len > VALUE_MAX - collected->len) {
        len = VALUE_MAX - collected->len;
        collected->cut = true;
    }
    collected->text = memory_grow(collected->text, &collected->room, collected->len + len + 1, 1);
    if (len > 0)
        memcpy(collected->text + collected->len, text, len);
    collected->len += len;
    return collected->cut ? ST_ERR_STOPPED : ST_OK;
}

/* Where the text was cut inside a character, that one goes too. */
static void collected_trim(struct collected *collected)
{
    size_t at = collected->len;
    uint32_t c = 0;
    if (!collected->cut)
        return;
    while (at > 0 && ((unsigned char)collected->text[at - 1] & 0xc0) == 0x80)
        at--;
    if (at > 0 && !text_decode(collected->text + at - 1, collected->len - at + 1, &c))
        collected->len = at - 1;
}

static void value_collect(const st_metadata *entry, bool json, struct collected *out)
{
    st_json_emitter *emitter;
    if (json && st_json_emitter_new(NULL, 2, collect, out, &emitter, NULL) == ST_OK) {
        expand_emit(emitter, entry, true);
        if (st_json_emitter_finish(emitter, NULL) != ST_OK)
            out->cut = true;
        st_json_emitter_free(emitter);
    } else if (collect(out, entry->value, (size_t)entry->value_len, NULL) != ST_OK) {
        out->cut = true;
    }
    collected_trim(out);
}

static void entry_write(struct out *out, const st_metadata *entry, size_t *budget)
{
    bool json = expand_is_json(entry);
    struct collected value = {0};
    value_collect(entry, json, &value);
    bool folded = json || value.len > LINE_MAX_LEN || memchr(value.text, '\n', value.len);
    size_t used = value.len + entry->key_len;
    *budget -= used < *budget ? used : *budget;

    out_text(out, "<div><dt>");
    html_name(out, entry->key, entry->key_len);
    out_text(out, "</dt><dd>");
    if (folded)
        out_print(out, "<details><summary>%s, %s</summary>", json ? "JSON" : "text",
                  text_bytes(entry->value_len).text);
    /* A newline that begins a pre element would be dropped. */
    out_text(out, "<pre>\n");
    html_text(out, value.text, value.len, TEXT_KEEP_LINES | TEXT_KEEP_BACKSLASH);
    out_text(out, "</pre>");
    if (value.cut)
        out_print(out,
                  "<p class=\"hint\">Cut after %s; <code>safetensors meta get</code> prints it "
                  "whole.</p>",
                  text_bytes(VALUE_MAX).text);
    out_text(out, folded ? "</details></dd></div>\n" : "</dd></div>\n");
    free(value.text);
}

void report_metadata(const struct report *report)
{
    const st_header *header = input_header(report->input);
    struct out *out = report->out;
    size_t count = st_header_metadata_count(header), budget = ENTRIES_MAX, i = 0;
    if (count == 0) {
        out_text(out, "<p class=\"hint\">The file has no metadata.</p>\n");
        return;
    }
    out_text(out, "<dl class=\"metadata\">\n");
    for (; i < count && st_header_metadata_at(header, i)->key_len < budget; i++)
        entry_write(out, st_header_metadata_at(header, i), &budget);
    out_text(out, "</dl>\n");
    if (i < count)
        out_print(out,
                  "<p class=\"hint\">Some of the %zu entries are left out: a page shows %s of "
                  "metadata, and <code>safetensors meta export</code> all.</p>\n",
                  count, text_bytes(ENTRIES_MAX).text);
}
