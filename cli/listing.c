/* SPDX-License-Identifier: Apache-2.0 */
#include "listing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "text.h"
#include "tree.h"

/* A column grows with what stands in it up to here; longer entries push their line's rest aside. */
#define COLUMN_MAX 60

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t column_grow(size_t width, size_t need)
{
    return need <= COLUMN_MAX ? larger(width, need) : width;
}

static size_t digits_of(uint64_t number)
{
    size_t digits = 1;
    for (; number > 9; number /= 10)
        digits++;
    return digits;
}

void listing_print_shape(struct out *out, const uint64_t *shape, size_t ndim)
{
    out_text(out, "[");
    for (size_t i = 0; i < ndim; i++)
        out_print(out, "%s%" PRIu64, i ? "," : "", shape[i]);
    out_text(out, "]");
}

size_t listing_shape_width(const uint64_t *shape, size_t ndim)
{
    size_t width = 2 + (ndim ? ndim - 1 : 0);
    for (size_t i = 0; i < ndim; i++)
        width += digits_of(shape[i]);
    return width;
}

/* ---------------------------------------------------------------------------- totals */

static uint64_t add_clamped(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static int dtype_compare(const void *a, const void *b)
{
    const st_tensor *x = *(const st_tensor *const *)a, *y = *(const st_tensor *const *)b;
    return (x->dtype > y->dtype) - (x->dtype < y->dtype);
}

static int totals_compare(const void *a, const void *b)
{
    const struct totals *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x->dtype > y->dtype) - (x->dtype < y->dtype);
}

static void totals_add(struct totals *totals, const st_tensor *tensor)
{
    totals->tensors++;
    totals->elements = add_clamped(totals->elements, st_tensor_count(tensor));
    totals->bytes = add_clamped(totals->bytes, st_tensor_size(tensor));
}

struct totals *listing_sum(const struct listing *listing, struct totals *all, size_t *count)
{
    struct totals *dtypes = NULL;
    size_t room = 0, n = 0;
    const st_tensor **sorted = memory_new(listing->count, sizeof *sorted);
    for (size_t i = 0; i < listing->count; i++)
        sorted[i] = listing->tensors[i];
    qsort(sorted, listing->count, sizeof *sorted, dtype_compare);
    *all = (struct totals){0};
    for (size_t i = 0; i < listing->count; i++) {
        if (n == 0 || dtypes[n - 1].dtype != sorted[i]->dtype) {
            dtypes = memory_grow(dtypes, &room, n + 1, sizeof *dtypes);
            dtypes[n++] = (struct totals){.dtype = sorted[i]->dtype};
        }
        totals_add(&dtypes[n - 1], sorted[i]);
        totals_add(all, sorted[i]);
    }
    free(sorted);
    if (n > 1)
        qsort(dtypes, n, sizeof *dtypes, totals_compare);
    *count = n;
    return dtypes;
}

static void totals_line(const struct listing *listing, struct out *out, const struct totals *totals,
                        size_t name_width)
{
    const char *name =
        totals->dtype ? st_header_dtype_code(listing->header, totals->dtype, NULL) : "total";
    size_t name_len = strlen(name);
    if (!out->tty) {
        out_escaped(out, name, name_len);
        out_print(out, "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", totals->tensors,
                  totals->elements, totals->bytes);
        return;
    }
    out_style(out, totals->dtype ? STYLE_DTYPE : STYLE_HEAD);
    out_escaped(out, name, name_len);
    out_style(out, STYLE_PLAIN);
    size_t width = text_width(name, name_len, out->text_flags);
    out_blanks(out, name_width > width ? name_width - width : 0);
    out_print(out, "  %" PRIu64 " tensor%s, ", totals->tensors, totals->tensors == 1 ? "" : "s");
    if (listing->exact)
        out_print(out, "%" PRIu64 " element%s, %" PRIu64 " byte%s\n", totals->elements,
                  totals->elements == 1 ? "" : "s", totals->bytes, totals->bytes == 1 ? "" : "s");
    else
        out_print(out, "%s element%s, %s\n", text_count(totals->elements).text,
                  totals->elements == 1 ? "" : "s", text_bytes(totals->bytes).text);
}

void listing_print_totals(const struct listing *listing, struct out *out)
{
    struct totals all;
    size_t count, width = strlen("total");
    struct totals *dtypes = listing_sum(listing, &all, &count);
    for (size_t i = 0; i < count; i++) {
        size_t len;
        const char *code = st_header_dtype_code(listing->header, dtypes[i].dtype, &len);
        width = column_grow(width, text_width(code, len, out->text_flags));
    }
    for (size_t i = 0; i < count; i++)
        totals_line(listing, out, &dtypes[i], width);
    totals_line(listing, out, &all, width);
    free(dtypes);
}

/* ------------------------------------------------------------------------------ lines */

/* Widths of the columns. */
struct columns {
    size_t label;
    size_t dtype;
    size_t shape;
    size_t size;
    size_t offset;
    size_t name;
};

static struct text_short size_text(const struct listing *listing, uint64_t bytes)
{
    struct text_short text;
    if (!listing->exact)
        return text_bytes(bytes);
    snprintf(text.text, sizeof text.text, "%" PRIu64, bytes);
    return text;
}

/* Gives where a tensor begins in its file. */
static uint64_t offset_of(const struct input_place *place)
{
    return st_file_offset(place->file, place->tensor);
}

static void columns_fit(struct columns *columns, const struct listing *listing, struct out *out,
                        const st_tensor *tensor)
{
    struct input_place place = input_place(listing->input, tensor);
    size_t code_len;
    const char *code = st_header_dtype_code(listing->header, tensor->dtype, &code_len);
    columns->dtype = column_grow(columns->dtype, text_width(code, code_len, out->text_flags));
    columns->shape = column_grow(columns->shape, listing_shape_width(tensor->shape, tensor->ndim));
    columns->size = larger(columns->size, strlen(size_text(listing, st_tensor_size(tensor)).text));
    columns->offset = larger(columns->offset, digits_of(offset_of(&place)));
    columns->name =
        column_grow(columns->name, text_width(tensor->name, tensor->name_len, out->text_flags));
}

static void pad(struct out *out, size_t column, size_t width)
{
    out_blanks(out, (column > width ? column - width : 0) + 2);
}

static void dtype_cell(const struct listing *listing, struct out *out, const st_tensor *tensor,
                       const struct columns *columns)
{
    size_t len;
    const char *code = st_header_dtype_code(listing->header, tensor->dtype, &len);
    out_style(out, STYLE_DTYPE);
    out_escaped(out, code, len);
    out_style(out, STYLE_PLAIN);
    if (columns)
        pad(out, columns->dtype, text_width(code, len, out->text_flags));
}

static void size_cell(const struct listing *listing, struct out *out, uint64_t bytes, size_t width)
{
    struct text_short text = size_text(listing, bytes);
    size_t len = strlen(text.text);
    out_blanks(out, width > len ? width - len : 0);
    out_style(out, STYLE_SIZE);
    out_text(out, text.text);
    out_style(out, STYLE_PLAIN);
}

/* Of a checkpoint: the shard, behind the name. */
static void shard_cell(struct out *out, const st_tensor *tensor, const char *shard,
                       const struct columns *columns)
{
    if (!shard)
        return;
    if (columns)
        pad(out, columns->name, text_width(tensor->name, tensor->name_len, out->text_flags));
    else
        out_text(out, "\t");
    out_style(out, STYLE_DIM);
    out_escaped(out, shard, strlen(shard));
    out_style(out, STYLE_PLAIN);
}

static void flat_line(const struct listing *listing, struct out *out, const st_tensor *tensor,
                      const struct columns *columns)
{
    struct input_place place = input_place(listing->input, tensor);
    uint64_t offset = offset_of(&place);
    dtype_cell(listing, out, tensor, columns);
    if (!columns)
        out_text(out, "\t");
    listing_print_shape(out, tensor->shape, tensor->ndim);
    if (columns) {
        pad(out, columns->shape, listing_shape_width(tensor->shape, tensor->ndim));
        size_cell(listing, out, st_tensor_size(tensor), columns->size);
        out_print(out, "  %*" PRIu64 "  ", (int)columns->offset, offset);
    } else {
        out_print(out, "\t%" PRIu64 "\t%" PRIu64 "\t", st_tensor_size(tensor), offset);
    }
    out_escaped(out, tensor->name, tensor->name_len);
    shard_cell(out, tensor, place.shard, columns);
    out_text(out, "\n");
}

void listing_print_title(const struct listing *listing, struct out *out)
{
    out_style(out, STYLE_HEAD);
    out_escaped(out, listing->file, strlen(listing->file));
    out_style(out, STYLE_PLAIN);
    if (listing->input && listing->input->checkpoint) {
        size_t count = input_file_count(listing->input);
        out_print(out, " (%zu file%s)", count, count == 1 ? "" : "s");
    }
}

void listing_print_flat(const struct listing *listing, struct out *out)
{
    struct columns columns = {0};
    if (out->tty)
        for (size_t i = 0; i < listing->count; i++)
            columns_fit(&columns, listing, out, listing->tensors[i]);
    for (size_t i = 0; i < listing->count; i++)
        flat_line(listing, out, listing->tensors[i], out->tty ? &columns : NULL);
}

/* ------------------------------------------------------------------------------- tree */

/* One walk over the tree: the first one fits the columns, the second prints. */
struct walk {
    const struct listing *listing;
    struct out *out;
    struct tree tree;
    struct columns columns;
    bool printing;
    bool last[TREE_DEPTH + 2]; /* per level: the node at hand has no sibling after it */
};

/* The label of a node, joined with those below that have no choice: "layers.[0-5].attention". */
static size_t label_one(struct walk *walk, const struct tree_node *node)
{
    uint64_t number;
    char range[64] = "";
    /* A part with nothing in it, as in "a..b", is to be seen. */
    const char *rest = node->label_len ? node->label : "\"\"";
    size_t rest_len = node->label_len ? node->label_len : 2;
    if (node->repeat > 1) {
        size_t digits = tree_number(node->label, node->label_len, &number);
        rest += digits;
        rest_len -= digits;
        snprintf(range, sizeof range, "[%" PRIu64 "-%" PRIu64 "]", node->number,
                 node->number + node->repeat - 1);
    }
    if (walk->printing) {
        if (!node->tensor)
            out_style(walk->out, STYLE_GROUP);
        out_text(walk->out, range);
        out_escaped(walk->out, rest, rest_len);
        if (!node->tensor)
            out_style(walk->out, STYLE_PLAIN);
    }
    return strlen(range) + text_width(rest, rest_len, walk->out->text_flags);
}

/* Prints the label of `node` and of what joins it; `node` becomes the last of these. Gives the
 * width. */
static size_t label_print(struct walk *walk, const struct tree_node **node)
{
    size_t width = label_one(walk, *node);
    while (!(*node)->tensor && (*node)->child != TREE_END &&
           walk->tree.nodes[(*node)->child].next == TREE_END) {
        *node = &walk->tree.nodes[(*node)->child];
        if (walk->printing)
            out_text(walk->out, ".");
        width += 1 + label_one(walk, *node);
    }
    return width;
}

static void branches_print(const struct walk *walk, size_t level)
{
    bool utf8 = walk->out->utf8;
    out_style(walk->out, STYLE_DIM);
    for (size_t i = 0; i < level; i++)
        out_text(walk->out, walk->last[i] ? "    " : utf8 ? "\u2502   " : "|   ");
    if (walk->last[level])
        out_text(walk->out, utf8 ? "\u2514\u2500\u2500 " : "`-- ");
    else
        out_text(walk->out, utf8 ? "\u251c\u2500\u2500 " : "|-- ");
    out_style(walk->out, STYLE_PLAIN);
}

/* What a line says behind its label: for a tensor dtype, shape, and how many there are; for a
 * group how many tensors. */
struct cells {
    const st_tensor *tensor; /* NULL: a group */
    uint64_t count;
    uint64_t bytes;
};

/* `node` is the last of the nodes on the line, `head` the first: a number of copies of it. */
static struct cells cells_of(const struct tree_node *head, const struct tree_node *node)
{
    if (!node->tensor)
        return (struct cells){NULL, head->tensors, head->bytes};
    uint64_t copies = head->tensors / node->tensors * node->repeat;
    return (struct cells){node->tensor, copies, copies * st_tensor_size(node->tensor)};
}

/* Gives how wide the shape's cell is, with its "x 32". */
static size_t shape_cell_width(const struct cells *cells)
{
    size_t width = listing_shape_width(cells->tensor->shape, cells->tensor->ndim);
    return cells->count == 1 ? width : width + 3 + digits_of(cells->count);
}

static void cells_print(const struct walk *walk, const struct cells *cells)
{
    struct out *out = walk->out;
    const struct columns *columns = &walk->columns;
    if (cells->tensor) {
        dtype_cell(walk->listing, out, cells->tensor, columns);
        listing_print_shape(out, cells->tensor->shape, cells->tensor->ndim);
        if (cells->count > 1)
            out_print(out, " %s %" PRIu64, out->utf8 ? "\u00d7" : "x", cells->count);
        pad(out, columns->shape, shape_cell_width(cells));
    } else {
        char text[48];
        snprintf(text, sizeof text, "%" PRIu64 " tensor%s", cells->count,
                 cells->count == 1 ? "" : "s");
        out_text(out, text);
        pad(out, columns->dtype + 2 + columns->shape, strlen(text));
    }
    size_cell(walk->listing, out, cells->bytes, columns->size);
    out_text(out, "\n");
}

static void cells_fit(struct walk *walk, const struct cells *cells)
{
    struct columns *columns = &walk->columns;
    if (cells->tensor) {
        size_t len;
        const char *code = st_header_dtype_code(walk->listing->header, cells->tensor->dtype, &len);
        columns->dtype = column_grow(columns->dtype, text_width(code, len, walk->out->text_flags));
        columns->shape = column_grow(columns->shape, shape_cell_width(cells));
    }
    columns->size = larger(columns->size, strlen(size_text(walk->listing, cells->bytes).text));
}

static void level_walk(struct walk *walk, uint32_t first, size_t level)
{
    for (uint32_t at = first; at != TREE_END; at = walk->tree.nodes[at].next) {
        const struct tree_node *head = &walk->tree.nodes[at], *node = head;
        size_t width = 4 * (level + 1);
        walk->last[level] = head->next == TREE_END;
        if (walk->printing)
            branches_print(walk, level);
        width += label_print(walk, &node);
        struct cells cells = cells_of(head, node);
        if (walk->printing) {
            pad(walk->out, walk->columns.label, width);
            cells_print(walk, &cells);
        } else {
            walk->columns.label = column_grow(walk->columns.label, width);
            cells_fit(walk, &cells);
        }
        level_walk(walk, node->child, level + 1);
    }
}

void listing_print_tree(const struct listing *listing, struct out *out)
{
    struct walk walk = {.listing = listing, .out = out};
    listing_print_title(listing, out);
    out_text(out, "\n");
    tree_init(&walk.tree, listing->tensors, listing->count);
    level_walk(&walk, walk.tree.first, 0);
    walk.printing = true;
    level_walk(&walk, walk.tree.first, 0);
    tree_release(&walk.tree);
}
