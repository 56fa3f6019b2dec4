/* SPDX-License-Identifier: Apache-2.0 */
/* What the browser shows as text: the metadata of files, what their headers say of them, and its own keys. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "expand.h"
#include "facts.h"
#include "listing.h"
#include "memory.h"
#include "view.h"

/* -------------------------------------------------------------------------------- metadata */

/* Prints a value of several lines below its key, indented. */
static void lines_print(struct out *out, const char *text, size_t len)
{
    for (size_t i = 0; i <= len;) {
        const char *end = memchr(text + i, '\n', len - i);
        size_t line = end ? (size_t)(end - text) - i : len - i;
        out_text(out, "\n  ");
        out_escaped(out, text + i, line);
        i += line + 1;
    }
    out_text(out, "\n");
}

static void entry_show(struct out *out, const st_metadata *entry)
{
    out_style(out, STYLE_GROUP);
    out_escaped(out, entry->key, entry->key_len);
    out_style(out, STYLE_PLAIN);
    out_text(out, ": ");
    if (expand_is_json(entry)) {
        expand_print(out, entry);
    } else if (memchr(entry->value, '\n', entry->value_len)) {
        lines_print(out, entry->value, entry->value_len);
    } else {
        out_escaped(out, entry->value, entry->value_len);
        out_text(out, "\n");
    }
}

/* Tells whether a header has an entry of the same key and value. */
static bool entry_is_in(const st_header *header, const st_metadata *entry)
{
    const st_metadata *found = st_header_metadata_find(header, entry->key, entry->key_len);
    return found && found->value_len == entry->value_len &&
           memcmp(found->value, entry->value, entry->value_len) == 0;
}

/* Prints what a shard says otherwise than the whole, below its name. Gives how many entries that were. */
static size_t shard_metadata_print(const struct view *view, size_t index, struct out *out)
{
    const st_header *header = st_file_header(input_file(view->input, index));
    const char *name = input_shard(view->input, index);
    size_t printed = 0;
    for (size_t i = 0; i < st_header_metadata_count(header); i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        if (entry_is_in(input_header(view->input), entry))
            continue;
        if (printed++ == 0) {
            out_style(out, STYLE_HEAD);
            out_escaped(out, name, strlen(name));
            out_style(out, STYLE_PLAIN);
            out_text(out, "\n");
        }
        entry_show(out, entry);
    }
    return printed;
}

void view_metadata_print(struct view *view)
{
    struct out out;
    const st_header *header = input_header(view->input);
    size_t printed = st_header_metadata_count(header);
    view_text_begin(&view->text, &view->screen, &out);
    for (size_t i = 0; i < st_header_metadata_count(header); i++)
        entry_show(&out, st_header_metadata_at(header, i));
    for (size_t i = 0; view->input->checkpoint && i < input_file_count(view->input); i++)
        printed += shard_metadata_print(view, i, &out);
    if (printed == 0)
        out_text(&out, "no metadata\n");
    view_text_end(&view->text, &out, false);
}

/* ----------------------------------------------------------------------------------- facts */

static void totals_print(const st_header *header, struct out *out)
{
    size_t count = st_header_count(header);
    struct listing listing = {.header = header, .count = count};
    listing.tensors = memory_new(count, sizeof *listing.tensors);
    for (size_t i = 0; i < count; i++)
        listing.tensors[i] = st_header_at(header, i);
    listing_print_totals(&listing, out);
    free(listing.tensors);
}

static void file_print(const st_file *file, const char *path, struct out *out)
{
    const st_header *header = st_file_header(file);
    uint64_t offset = st_header_data_offset(header);
    fact_begin(out, "path");
    out_escaped(out, path, strlen(path));
    out_text(out, "\n");
    fact_number(out, "bytes", st_file_size(file));
    fact_number(out, "header", st_header_size(header));
    fact_begin(out, "data");
    out_print(out, "%" PRIu64 " byte%s from offset %" PRIu64 " on, a multiple of %" PRIu64 "\n",
              st_header_data_size(header), st_header_data_size(header) == 1 ? "" : "s", offset,
              offset & (0 - offset));
    fact_number(out, "tensors", st_header_count(header));
    fact_number(out, "metadata", st_header_metadata_count(header));
    out_text(out, "\n");
    totals_print(header, out);
}

/* Prints what all shards are together. */
static void checkpoint_print(const struct input *input, struct out *out)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < input_file_count(input); i++)
        bytes += st_file_size(input_file(input, i));
    fact_begin(out, "path");
    out_escaped(out, input_title(input), strlen(input_title(input)));
    out_text(out, "\n");
    fact_number(out, "shards", input_file_count(input));
    fact_number(out, "bytes", bytes);
    fact_number(out, "tensors", st_header_count(input_header(input)));
    out_text(out, "\n");
    totals_print(input_header(input), out);
}

void view_facts_print(struct view *view)
{
    struct out out;
    view_text_begin(&view->text, &view->screen, &out);
    if (view->input->checkpoint)
        checkpoint_print(view->input, &out);
    for (size_t i = 0; i < input_file_count(view->input); i++) {
        const char *shard = input_shard(view->input, i);
        if (i || view->input->checkpoint)
            out_text(&out, "\n");
        file_print(input_file(view->input, i), shard ? shard : view->input->path, &out);
    }
    view_text_end(&view->text, &out, false);
}

/* ------------------------------------------------------------------------------------ help */

/* Where what a key does is told. */
#define HELP_COLUMN 18

static const char *const help[][2] = {
    {NULL, "Moving, here and everywhere"},
    {"j k, arrows", "a row down, up; with a number before it, so many"},
    {"d u, ^D ^U", "half a screen"},
    {"Space b, ^F ^B", "a screen"},
    {"g G", "the beginning, the end; with a number before it, that row"},
    {"^E ^Y", "a row down, up, the cursor staying where it is"},
    {"q, Esc", "back; in the tree q quits, as Q, :q, and ZZ do everywhere"},
    {NULL, "In the tree"},
    {"Enter", "open or close a group; show a tensor's values"},
    {"l h, arrows", "open a group or go into it, close it or leave it"},
    {"+ -", "open all groups, close them"},
    {"/", "filter by words that a name has to hold; Esc ends it"},
    {"n N", "the next tensor that passes the filter, the previous one"},
    {"o", "order by name, by size, by offset"},
    {"t", "a list of tensors instead of the tree, and back"},
    {"v s", "values, statistics of the tensor at hand"},
    {"m i", "metadata, what the file is made of"},
    {"H M L", "the first row that is seen, the one in the middle, the last"},
    {"zt zz zb", "puts the row at hand at the top, in the middle, at the bottom"},
    {NULL, "In values and statistics"},
    {"h l, arrows", "a column to the left, to the right"},
    {"< >", "as many columns as there are on the screen"},
    {"0 $", "the first column, the last one"},
    {"[ ]", "the previous matrix, the next one, of more than two dimensions"},
    {"n N", "the next tensor, the previous one"},
    {"L", "in statistics: bars by logarithms, so that few are seen beside many, and back"},
    {NULL, "In metadata, the file, and this help"},
    {"/", "find as you type; n and N go on, Esc ends it"},
    {NULL, "Everywhere"},
    {":", "a command: :12 goes to row 12, :$ to the end, :q quits"},
    {"^L", "draw everything again"},
};

/* Prints what a key does beside it, broken between words. */
static void key_print(struct out *out, const char *key, const char *text)
{
    size_t column = HELP_COLUMN, room = out->width > 2 * HELP_COLUMN ? out->width : SIZE_MAX;
    out_print(out, "  %-*s", HELP_COLUMN - 2, key);
    for (size_t len; *text; text += len) {
        len = strcspn(text, " ");
        if (column > HELP_COLUMN && column + len > room) {
            out_text(out, "\n");
            out_blanks(out, HELP_COLUMN);
            column = HELP_COLUMN;
        }
        len += text[len] == ' ';
        out_write(out, text, len);
        column += len;
    }
    out_text(out, "\n");
}

void view_help_print(struct view *view, bool again)
{
    struct out out;
    view_text_begin(&view->help, &view->screen, &out);
    for (size_t i = 0; i < sizeof help / sizeof help[0]; i++) {
        if (!help[i][0]) {
            out_style(&out, STYLE_HEAD);
            out_print(&out, "%s%s\n", i ? "\n" : "", help[i][1]);
            out_style(&out, STYLE_PLAIN);
        } else {
            key_print(&out, help[i][0], help[i][1]);
        }
    }
    view_text_end(&view->help, &out, again);
}
