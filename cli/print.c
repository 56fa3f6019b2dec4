/* SPDX-License-Identifier: Apache-2.0 */
#include "print.h"

#include <string.h>

void print_init(struct print *print, struct out *out, st_dtype dtype, const st_region *region,
                uint64_t edge)
{
    /* Beyond what NumPy itself has, dimensions of one are left out: brackets only. At most 64
     * others fit into 64 bits of elements. */
    bool squeeze = region->out_ndim > PRINT_DIMS;
    *print = (struct print){.out = out, .dtype = dtype};
    if (region->count == 0) { /* a single pair of brackets, as NumPy does */
        print->ndim = 1;
        return;
    }
    for (uint32_t i = 0; i < region->out_ndim; i++) {
        uint64_t count = region->shape[i];
        if (squeeze && count == 1)
            continue;
        bool cut = edge && (count / 2 > edge || (count / 2 == edge && count % 2));
        print->dims[print->ndim++] =
            (struct print_dim){.shown = cut ? 2 * edge : count, .gap = cut ? edge : 0};
    }
}

/* Gives how much of a number's text stands before the decimal point. */
static size_t text_before(const struct print *print, const char *text, size_t len)
{
    return st_dtype_kind(print->dtype) == ST_KIND_FLOAT ? strcspn(text, ".") : len;
}

void print_fit(void *ctx, const st_value *value)
{
    struct print *print = ctx;
    char text[ST_ELEMENT_TEXT_SIZE];
    size_t len = st_element_format(print->dtype, value, text, sizeof text);
    size_t before = text_before(print, text, len);
    if (before > print->before)
        print->before = before;
    if (len - before > print->after)
        print->after = len - before;
}

static void brackets_print(struct print *print, char bracket, size_t count)
{
    out_blanks(print->out, print->owed);
    print->owed = 0;
    for (size_t i = 0; i < count; i++)
        out_write(print->out, &bracket, 1);
}

static void lines_break(struct print *print, size_t count, size_t indent)
{
    for (size_t i = 0; i < count; i++)
        out_text(print->out, "\n");
    out_blanks(print->out, indent);
    print->column = indent;
    print->owed = 0;
}

/* Goes from one value of a row to the next, on a new line where `width` columns do not fit. */
static void value_part(struct print *print, size_t width)
{
    if (print->column + 1 + width + print->ndim > print->out->width && print->column > print->ndim)
        lines_break(print, 1, print->ndim);
    else {
        out_blanks(print->out, print->owed + 1);
        print->owed = 0;
        print->column++;
    }
}

/* Closes and opens the brackets between two values. */
static void value_separate(struct print *print, size_t width)
{
    size_t dim = print->ndim - 1, closed;
    while (print->dims[dim].at + 1 == print->dims[dim].shown)
        print->dims[dim--].at = 0;
    struct print_dim *moved = &print->dims[dim];
    bool gap = ++moved->at == moved->gap && moved->gap;
    closed = print->ndim - 1 - dim;
    if (closed == 0) {
        if (gap) {
            value_part(print, 3);
            out_text(print->out, "...");
            print->column += 3;
        }
        value_part(print, width);
        return;
    }
    brackets_print(print, ']', closed);
    lines_break(print, closed, dim + 1);
    if (gap) {
        out_text(print->out, "...");
        lines_break(print, closed, dim + 1);
    }
    brackets_print(print, '[', closed);
    print->column = print->ndim;
}

void print_put(void *ctx, const st_value *value)
{
    struct print *print = ctx;
    char text[ST_ELEMENT_TEXT_SIZE];
    size_t len = st_element_format(print->dtype, value, text, sizeof text);
    size_t before = text_before(print, text, len), width = print->before + print->after;
    if (print->begun) {
        value_separate(print, width);
    } else {
        brackets_print(print, '[', print->ndim);
        print->column = print->ndim;
        print->begun = true;
    }
    out_blanks(print->out, print->before - before);
    out_write(print->out, text, len);
    print->owed = print->after - (len - before);
    print->column += width;
}

void print_end(struct print *print)
{
    if (!print->begun)
        brackets_print(print, '[', print->ndim);
    brackets_print(print, ']', print->ndim);
    out_text(print->out, "\n");
}
