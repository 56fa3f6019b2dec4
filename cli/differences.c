/* SPDX-License-Identifier: Apache-2.0 */
#include "differences.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "figures.h"
#include "listing.h"
#include "memory.h"
#include "text.h"

/* Columns of the terminal's table: "-1.234e-05", "100.0%". */
#define NUMBER_WIDTH  10
#define PERCENT_WIDTH 6
#define PLACE_MAX     32
/* Characters of a metadata value that a terminal is given. */
#define VALUE_SHOWN 60

static const char *code_of(const st_side_tensor *tensor, size_t *len)
{
    return st_header_dtype_code(st_file_header(tensor->file), tensor->tensor->dtype, len);
}

static bool dtypes_differ(const st_change *change)
{
    return change->parts & ST_APART_DTYPE;
}

static bool is_moved(const st_change *change)
{
    return change->parts & (ST_APART_OFFSET | ST_APART_ORDER);
}

/* Where an element is: "[1,2]", or its number where there is no room for that. */
struct place_text {
    char text[PLACE_MAX];
};

static struct place_text place_of(const st_tensor *tensor, uint64_t index)
{
    struct place_text place = {"-"};
    char text[PLACE_MAX];
    size_t at = sizeof text - 1;
    uint64_t rest = index;
    if (index == UINT64_MAX)
        return place;
    text[at] = '\0';
    text[--at] = ']';
    for (uint32_t d = tensor->ndim; d-- > 0;) {
        uint64_t dim = tensor->shape[d];
        char number[24];
        int len = snprintf(number, sizeof number, "%" PRIu64 "%s", dim ? rest % dim : 0,
                           d + 1 < tensor->ndim ? "," : "");
        rest = dim ? rest / dim : 0;
        if ((size_t)len + 1 > at) {
            snprintf(place.text, sizeof place.text, "%" PRIu64, index);
            return place;
        }
        at -= (size_t)len;
        memcpy(text + at, number, (size_t)len);
    }
    text[--at] = '[';
    strcpy(place.text, text + at);
    return place;
}

/* ------------------------------------------------------------------------------ lines */

static void cell_text(struct out *out, const char *text, size_t len)
{
    out_text(out, "\t");
    out_escaped(out, text, len);
}

static void cell_number(struct out *out, uint64_t number)
{
    out_print(out, "\t%" PRIu64, number);
}

static void cell_dtype(struct out *out, const st_side_tensor *tensor)
{
    size_t len;
    const char *code = code_of(tensor, &len);
    cell_text(out, code, len);
}

static void cell_shape(struct out *out, const st_side_tensor *tensor)
{
    out_text(out, "\t");
    listing_print_shape(out, tensor->tensor->shape, tensor->tensor->ndim);
}

static const char *sign_of(const st_change *change)
{
    switch (change->kind) {
    case ST_CHANGE_REMOVED: return "-";
    case ST_CHANGE_ADDED: return "+";
    case ST_CHANGE_RENAMED: return ">";
    default: return change->differs ? "~" : "=";
    }
}

static void metadata_line(struct out *out, const st_change *change)
{
    const st_metadata *a = change->metadata_a, *b = change->metadata_b;
    out_print(out, "%s\tmetadata", sign_of(change));
    cell_text(out, (a ? a : b)->key, (a ? a : b)->key_len);
    if (a)
        cell_text(out, a->value, a->value_len);
    if (b)
        cell_text(out, b->value, b->value_len);
    out_text(out, "\n");
}

static void values_line(struct out *out, const st_change *change)
{
    const st_deviation *v = change->values;
    const bool bytes = v->flags & ST_DEVIATION_BYTES;
    const st_side_tensor *a = change->a;
    out_print(out, "%s\tvalues", sign_of(change));
    cell_text(out, a->tensor->name, a->tensor->name_len);
    cell_dtype(out, a);
    cell_dtype(out, change->b);
    cell_shape(out, a);
    cell_number(out, v->different);
    if (bytes) {
        out_text(out, "\t-\t-\t-\t-\t-\t-\t-\n");
        return;
    }
    cell_number(out, v->beyond);
    out_print(out, "\t%s", number_exact(v->max_absolute).text);
    out_print(out, "\t%s", place_of(a->tensor, v->max_absolute_at).text);
    out_print(out, "\t%s", number_exact(v->mean_absolute).text);
    out_print(out, "\t%s", number_exact(v->max_relative).text);
    cell_number(out, v->nan_a + v->nan_b + v->nan_both);
    cell_number(out, v->infinite);
    out_text(out, "\n");
}

/* What headers tell of a tensor. */
static void tensor_line(struct out *out, const st_change *change)
{
    const st_side_tensor *a = change->a, *b = change->b, *first = a ? a : b;
    out_print(out, "%s\ttensor", sign_of(change));
    cell_text(out, first->tensor->name, first->tensor->name_len);
    cell_dtype(out, first);
    cell_shape(out, first);
    if (change->kind == ST_CHANGE_RENAMED)
        cell_text(out, b->tensor->name, b->tensor->name_len);
    if (change->kind == ST_CHANGE_CHANGED) {
        cell_dtype(out, b);
        cell_shape(out, b);
    }
    out_text(out, "\n");
}

static void place_line(struct out *out, const st_change *change)
{
    const st_side_tensor *a = change->a, *b = change->b;
    out_print(out, "%s\tplace", sign_of(change));
    cell_text(out, a->tensor->name, a->tensor->name_len);
    cell_number(out, st_file_offset(a->file, a->tensor));
    cell_number(out, st_file_offset(b->file, b->tensor));
    out_text(out, "\n");
}

static void change_line(const struct differences *changes, const st_change *change)
{
    struct out *out = changes->out;
    const bool values = change->values && (change->values->different || dtypes_differ(change));
    if (change->metadata_a || change->metadata_b)
        metadata_line(out, change);
    else if (values)
        values_line(out, change);
    else if (change->kind != ST_CHANGE_CHANGED ||
             change->parts & (ST_APART_DTYPE | ST_APART_SHAPE | ST_APART_VALUES))
        tensor_line(out, change);
    if (changes->places && is_moved(change))
        place_line(out, change);
}

/* ------------------------------------------------------------------------- the terminal */

static void heading(struct out *out, const char *text)
{
    out_style(out, STYLE_HEAD);
    out_text(out, text);
    out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
}

static void sign_print(struct out *out, const st_change *change)
{
    enum style style = change->kind == ST_CHANGE_REMOVED ? STYLE_ERROR
                       : change->kind == ST_CHANGE_ADDED ? STYLE_SIZE
                       : change->differs                 ? STYLE_WARNING
                                                         : STYLE_DIM;
    out_text(out, "  ");
    out_style(out, style);
    out_text(out, sign_of(change));
    out_style(out, STYLE_PLAIN);
    out_text(out, " ");
}

static const char *arrow(const struct out *out)
{
    return out->utf8 ? " \u2192 " : " -> ";
}

static void value_show(struct out *out, const st_metadata *entry)
{
    size_t len = entry->value_len;
    if (len > VALUE_SHOWN) {
        len = VALUE_SHOWN;
        while (len && ((unsigned char)entry->value[len] & 0xc0) == 0x80)
            len--;
    }
    out_text(out, "\"");
    out_escaped(out, entry->value, len);
    out_text(out, len < entry->value_len ? "...\"" : "\"");
}

static void metadata_show(struct differences *changes, const st_change *change)
{
    struct out *out = changes->out;
    const st_metadata *a = change->metadata_a, *b = change->metadata_b;
    if (!changes->in_metadata)
        heading(out, "metadata");
    changes->in_metadata = true;
    sign_print(out, change);
    out_escaped(out, (a ? a : b)->key, (a ? a : b)->key_len);
    out_text(out, ": ");
    if (a)
        value_show(out, a);
    if (a && b)
        out_text(out, arrow(out));
    if (b)
        value_show(out, b);
    out_text(out, "\n");
}

/* Prints tensors of one side as ls does, layers that are alike once. */
static void tree_show(struct out *out, const char *title, const st_side_tensor **list, size_t count)
{
    const st_tensor **tensors = memory_new(count, sizeof *tensors);
    for (size_t i = 0; i < count; i++)
        tensors[i] = list[i]->tensor;
    const struct listing listing = {
        .file = title, .header = st_file_header(list[0]->file), .tensors = tensors, .count = count};
    listing_print_tree(&listing, out);
    free(tensors);
}

/* Dtypes unknown to the program are numbered file by file: a tree names those of one file. */
static bool in_tree(const st_side_tensor *tensor, const st_side_tensor *first)
{
    return tensor->file == first->file ||
           (st_dtype_bits(tensor->tensor->dtype) && st_dtype_bits(first->tensor->dtype));
}

/* Tells whether a change goes under the heading that `first` begins. */
static bool change_joins(const st_change *first, const st_change *change)
{
    if (change->kind != first->kind)
        return false;
    if (change->kind != ST_CHANGE_CHANGED)
        return change->kind == ST_CHANGE_REMOVED ? in_tree(change->a, first->a)
                                                 : in_tree(change->b, first->b);
    if (change->values || change->parts & ST_APART_SHAPE || !dtypes_differ(change))
        return false;
    size_t len, first_len;
    const char *code = code_of(change->b, &len), *first_code = code_of(first->b, &first_len);
    return change->a->tensor->dtype == first->a->tensor->dtype && in_tree(change->a, first->a) &&
           len == first_len && memcmp(code, first_code, len) == 0;
}

static void group_title(const struct differences *changes, const st_change *first, char *title,
                        size_t size)
{
    const int side = first->kind == ST_CHANGE_REMOVED ? 0 : 1;
    if (first->kind == ST_CHANGE_CHANGED)
        snprintf(title, size, "dtype %.100s%s%.100s", code_of(first->a, NULL), arrow(changes->out),
                 code_of(first->b, NULL));
    else
        snprintf(title, size, "only in %.400s", changes->names[side]);
}

/* Prints the changes that belong with number `first`. */
static void group_show(struct differences *changes, size_t first)
{
    const st_change *head = &changes->kept[first].change;
    const st_side_tensor **list = memory_new(changes->count - first, sizeof *list);
    char title[512];
    size_t count = 0;
    for (size_t i = first; i < changes->count; i++) {
        struct kept_change *kept = &changes->kept[i];
        if (kept->printed || !change_joins(head, &kept->change))
            continue;
        kept->printed = true;
        list[count++] = head->kind == ST_CHANGE_ADDED ? kept->change.b : kept->change.a;
    }
    group_title(changes, head, title, sizeof title);
    tree_show(changes->out, title, list, count);
    free(list);
}

static bool is_grouped(const st_change *change)
{
    return change->kind == ST_CHANGE_REMOVED || change->kind == ST_CHANGE_ADDED ||
           (change->kind == ST_CHANGE_CHANGED && change_joins(change, change));
}

static void tensor_name(struct out *out, const st_side_tensor *tensor)
{
    out_escaped(out, tensor->tensor->name, tensor->tensor->name_len);
}

static void dtype_show(struct out *out, const st_side_tensor *tensor)
{
    size_t len;
    const char *code = code_of(tensor, &len);
    out_style(out, STYLE_DTYPE);
    out_escaped(out, code, len);
    out_style(out, STYLE_PLAIN);
}

static void tensor_show(struct out *out, const st_side_tensor *tensor)
{
    dtype_show(out, tensor);
    out_text(out, " ");
    listing_print_shape(out, tensor->tensor->shape, tensor->tensor->ndim);
}

/* A line by itself: another name, another shape, another place. */
static void single_show(struct out *out, const st_change *change)
{
    sign_print(out, change);
    tensor_name(out, change->a);
    out_text(out, "  ");
    if (change->kind == ST_CHANGE_RENAMED) {
        out_text(out, arrow(out) + 1);
        tensor_name(out, change->b);
        out_text(out, "  ");
        tensor_show(out, change->a);
    } else if (is_moved(change) &&
               !(change->parts & (ST_APART_DTYPE | ST_APART_SHAPE | ST_APART_VALUES))) {
        out_print(out, "offset %" PRIu64 "%s%" PRIu64,
                  st_file_offset(change->a->file, change->a->tensor), arrow(out),
                  st_file_offset(change->b->file, change->b->tensor));
    } else {
        tensor_show(out, change->a);
        out_text(out, arrow(out));
        tensor_show(out, change->b);
    }
    out_text(out, "\n");
}

static void right(struct out *out, const char *text, size_t width)
{
    size_t len = strlen(text);
    out_blanks(out, 1 + (width > len ? width - len : 0));
    out_text(out, text);
}

static void values_head(struct out *out)
{
    out_text(out, "\n");
    heading(out, "values");
    out_style(out, STYLE_DIM);
    out_text(out, "   ");
    right(out, "differ", PERCENT_WIDTH);
    right(out, "max abs", NUMBER_WIDTH);
    right(out, "mean abs", NUMBER_WIDTH);
    right(out, "max rel", NUMBER_WIDTH);
    out_text(out, "  name\n");
    out_style(out, STYLE_PLAIN);
}

static void anomaly_show(struct out *out, uint64_t count, const char *what)
{
    if (!count)
        return;
    out_style(out, STYLE_ERROR);
    out_print(out, "  %" PRIu64 " %s", count, what);
    out_style(out, STYLE_PLAIN);
}

static void values_show(struct out *out, const st_change *change)
{
    const st_deviation *v = change->values;
    const bool bytes = v->flags & ST_DEVIATION_BYTES;
    sign_print(out, change);
    right(out, text_percent(v->different, v->count).text, PERCENT_WIDTH - 1);
    right(out, bytes ? "-" : number_short(v->max_absolute, 4).text, NUMBER_WIDTH);
    right(out, bytes ? "-" : number_short(v->mean_absolute, 4).text, NUMBER_WIDTH);
    right(out, bytes ? "-" : number_short(v->max_relative, 4).text, NUMBER_WIDTH);
    out_text(out, "  ");
    tensor_name(out, change->a);
    out_text(out, "  ");
    tensor_show(out, change->a);
    if (dtypes_differ(change)) {
        out_text(out, arrow(out));
        dtype_show(out, change->b);
    }
    if (v->max_absolute_at != UINT64_MAX)
        out_print(out, "  max at %s", place_of(change->a->tensor, v->max_absolute_at).text);
    anomaly_show(out, v->nan_a, "NaN in the first");
    anomaly_show(out, v->nan_b, "NaN in the second");
    anomaly_show(out, v->nan_both, "NaN in both");
    anomaly_show(out, v->infinite, "Inf");
    out_text(out, "\n");
}

static void singles_show(struct differences *changes)
{
    bool begun = false;
    for (size_t i = 0; i < changes->count; i++) {
        const st_change *change = &changes->kept[i].change;
        if (changes->kept[i].printed || change->values || is_grouped(change))
            continue;
        if (!begun) {
            out_text(changes->out, "\n");
            heading(changes->out, "tensors");
        }
        begun = true;
        single_show(changes->out, change);
    }
}

static void tables_show(struct differences *changes)
{
    bool begun = false;
    for (size_t i = 0; i < changes->count; i++) {
        const st_change *change = &changes->kept[i].change;
        if (!change->values)
            continue;
        if (!begun)
            values_head(changes->out);
        begun = true;
        values_show(changes->out, change);
    }
}

static void count_show(struct out *out, uint64_t count, const char *what, bool *begun)
{
    if (!count)
        return;
    out_print(out, "%s%" PRIu64 " %s", *begun ? ", " : "", count, what);
    *begun = true;
}

static void summary_show(struct out *out, const st_compare_summary *s)
{
    bool begun = false;
    out_text(out, s->differences || s->moved ? "\n" : "");
    count_show(out, s->changed, s->changed == 1 ? "tensor differs" : "tensors differ", &begun);
    count_show(out, s->removed, "removed", &begun);
    count_show(out, s->added, "added", &begun);
    count_show(out, s->renamed, "renamed", &begun);
    count_show(out, s->same, s->same == 1 ? "tensor the same" : "tensors the same", &begun);
    count_show(out, s->moved, "at another place", &begun);
    const uint64_t entries = s->metadata_changed + s->metadata_removed + s->metadata_added;
    count_show(out, entries, entries == 1 ? "metadata entry differs" : "metadata entries differ",
               &begun);
    if (!begun)
        out_text(out, "nothing to compare, and so the same");
    out_text(out, "\n");
}

/* -------------------------------------------------------------------------- the object */

void differences_release(struct differences *changes)
{
    free(changes->kept);
}

static void change_keep(struct differences *changes, const st_change *change)
{
    changes->kept =
        memory_grow(changes->kept, &changes->room, changes->count + 1, sizeof *changes->kept);
    struct kept_change *kept = &changes->kept[changes->count++];
    *kept = (struct kept_change){.change = *change};
    if (change->values)
        kept->values = *change->values;
}

void differences_take(struct differences *changes, const st_change *change)
{
    const bool noted = change->kind == ST_CHANGE_CHANGED && !change->differs;
    const bool only_moved = noted && !(change->parts & (ST_APART_DTYPE | ST_APART_VALUES));
    if (changes->json)
        differences_json_take(changes, change);
    else if (only_moved)
        return;
    else if (!changes->out->tty)
        change_line(changes, change);
    else if (change->metadata_a || change->metadata_b)
        metadata_show(changes, change);
    else
        change_keep(changes, change);
}

void differences_print(struct differences *changes, const st_compare_summary *summary)
{
    if (changes->json || !changes->out->tty)
        return;
    for (size_t i = 0; i < changes->count; i++) {
        struct kept_change *kept = &changes->kept[i];
        /* Values that are all alike are of no table: places then are what is told. */
        bool told = kept->values.different || dtypes_differ(&kept->change);
        kept->change.values = kept->change.values && told ? &kept->values : NULL;
    }
    for (size_t i = 0; i < changes->count; i++) {
        if (changes->kept[i].printed || !is_grouped(&changes->kept[i].change))
            continue;
        out_text(changes->out, i || changes->in_metadata ? "\n" : "");
        group_show(changes, i);
    }
    singles_show(changes);
    tables_show(changes);
    summary_show(changes->out, summary);
}
