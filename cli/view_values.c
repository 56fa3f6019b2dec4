/* SPDX-License-Identifier: Apache-2.0 */
#include "view_values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "view_text.h"

/* Blanks before a number. */
#define GAP 2
/* The widest index; of more dimensions the row's number stands there. */
#define LABEL_MAX 40

static int digits_of(uint64_t number)
{
    int digits = 1;
    for (; number > 9; number /= 10)
        digits++;
    return digits;
}

/* ---------------------------------------------------------------------------------- opening */

/* Gives the columns of the widest "[2,17]" of all dimensions but the last, or 0 for more than there is room for. */
static int label_width(const st_tensor *tensor)
{
    int width = 1;
    for (uint32_t d = 0; d + 1 < tensor->ndim && width <= LABEL_MAX; d++)
        width += digits_of(tensor->shape[d] ? tensor->shape[d] - 1 : 0) + 1;
    return width <= LABEL_MAX ? width : 0;
}

void view_values_init(struct view_values *values, const st_file *file, const st_tensor *tensor)
{
    uint64_t last = tensor->ndim ? tensor->shape[tensor->ndim - 1] : 1;
    *values = (struct view_values){.file = file, .tensor = tensor};
    values->count = st_tensor_count(tensor);
    values->cols = last;
    values->rows = values->count ? values->count / last : 0;
    values->broken = values->rows <= 1;
    values->label = values->broken ? 0 : label_width(tensor);
    if (values->label == 0)
        values->label = 2 + digits_of(values->broken ? values->count
                                      : values->rows ? values->rows - 1
                                                     : 0);
    values->before = 1;
}

/* ---------------------------------------------------------------------------------- reading */

/* What is on the screen: so many values of each row, one row behind the other. */
struct window {
    st_value *at;
    uint64_t rows;
    uint64_t cols;
};

/* Reads elements of the tensor, counted as if it had one dimension, and some neighbours where elements are
 * no whole bytes. */
static st_status range_read(const struct view_values *values, uint64_t first, uint64_t count,
                            st_value *out, st_error *error)
{
    uint32_t bits = st_dtype_bits(values->tensor->dtype);
    uint64_t unit = bits % 8 == 0 ? 1 : bits % 4 == 0 ? 2 : 4;
    uint64_t from = first - first % unit, to = first + count;
    while (to % unit && to < values->count)
        to++;
    st_tensor flat = *values->tensor;
    flat.shape = &values->count;
    flat.ndim = 1;
    st_index index = {.kind = ST_INDEX_SLICE,
                      .has = ST_INDEX_START | ST_INDEX_STOP,
                      .start = (int64_t)from,
                      .stop = (int64_t)to};
    st_region region = {0};
    st_status status = st_region_init(&region, NULL, &flat, &index, 1, error);
    if (status != ST_OK)
        return status;
    void *data = memory_new((size_t)region.size, 1);
    status = st_file_read(values->file, &flat, &region, data, (size_t)region.size, error);
    for (uint64_t i = 0; status == ST_OK && i < count; i++)
        out[i] = st_element_decode(flat.dtype, data, first - from + i);
    free(data);
    st_region_release(&region);
    return status;
}

/* Gives the element in the first column of a row of the window. */
static uint64_t element_at(const struct view_values *values, uint64_t row)
{
    if (values->broken)
        return values->top + row * values->cols;
    return (values->top + row) * values->cols + values->left;
}

static st_status window_read(const struct view_values *values, const struct window *window,
                             st_error *error)
{
    uint64_t first = element_at(values, 0);
    if (window->cols == values->cols) {
        uint64_t all = window->rows * window->cols, left = values->count - first;
        return range_read(values, first, all < left ? all : left, window->at, error);
    }
    st_status status = ST_OK;
    for (uint64_t row = 0; row < window->rows && status == ST_OK; row++)
        status = range_read(values, element_at(values, row), window->cols,
                            window->at + row * window->cols, error);
    return status;
}

/* Gives how many values of a row of the window there are. */
static uint64_t row_count(const struct view_values *values, const struct window *window,
                          uint64_t row)
{
    uint64_t left = values->count - element_at(values, row);
    return left < window->cols ? left : window->cols;
}

/* ---------------------------------------------------------------------------------- fitting */

/* A number as text, and how much of it stands before the decimal point. */
struct view_number {
    char text[ST_ELEMENT_TEXT_SIZE];
    int len;
    int before;
};

static struct view_number number_of(const struct view_values *values, const st_value *value)
{
    struct view_number number;
    st_dtype dtype = values->tensor->dtype;
    number.len = (int)st_element_format(dtype, value, number.text, sizeof number.text);
    number.before =
        st_dtype_kind(dtype) == ST_KIND_FLOAT ? (int)strcspn(number.text, ".") : number.len;
    return number;
}

/* Widens the columns for the numbers to be seen; they never narrow, so that they stay where they are. Gives
 * true where they had to. */
static bool columns_widen(struct view_values *values, const struct window *window)
{
    int before = values->before, after = values->after;
    for (uint64_t row = 0; row < window->rows; row++)
        for (uint64_t i = 0; i < row_count(values, window, row); i++) {
            struct view_number number = number_of(values, &window->at[row * window->cols + i]);
            if (number.before > values->before)
                values->before = number.before;
            if (number.len - number.before > values->after)
                values->after = number.len - number.before;
        }
    return values->before > before || values->after > after;
}

/* A row is broken after a number of values that is easy to count by. */
static uint64_t break_choose(uint64_t fit)
{
    return fit >= 10 ? fit - fit % 10 : fit >= 8 ? 8 : fit >= 4 ? fit - fit % 2 : fit;
}

/* Finds what part of the tensor is to be seen on so many rows and columns. */
static void window_fit(struct view_values *values, struct window *window, int rows, int cols)
{
    int cell = GAP + values->before + values->after, room = cols - values->label;
    uint64_t fit = room > cell ? (uint64_t)(room / cell) : 1, height = (uint64_t)rows;
    if (values->broken) {
        values->cols = break_choose(fit < values->count ? fit : values->count);
        values->rows = (values->count + values->cols - 1) / values->cols;
        uint64_t last = values->rows > height ? values->rows - height : 0;
        uint64_t row = values->top / values->cols;
        values->top = (row < last ? row : last) * values->cols;
        window->rows = height < values->rows ? height : values->rows;
        window->cols = values->cols;
    } else {
        uint64_t last = values->rows > height ? values->rows - height : 0;
        values->top = values->top < last ? values->top : last;
        last = values->cols > fit ? values->cols - fit : 0;
        values->left = values->left < last ? values->left : last;
        window->rows = height < values->rows ? height : values->rows;
        window->cols = fit < values->cols ? fit : values->cols;
    }
    values->seen_rows = window->rows;
    values->seen_cols = window->cols;
}

/* ---------------------------------------------------------------------------------- drawing */

static void label_print(const struct view_values *values, uint64_t row, char *text, size_t size)
{
    const st_tensor *tensor = values->tensor;
    uint64_t index = values->broken ? values->top + row * values->cols : values->top + row;
    uint64_t strides[LABEL_MAX], stride = 1;
    if (values->broken || label_width(tensor) == 0) {
        snprintf(text, size, "[%" PRIu64 "]", index);
        return;
    }
    uint32_t ndim = tensor->ndim - 1; /* fewer than LABEL_MAX, as each takes two columns */
    for (uint32_t d = ndim; d-- > 0; stride *= tensor->shape[d])
        strides[d] = stride;
    int len = 0;
    for (uint32_t d = 0; d < ndim; d++)
        len += snprintf(text + len, size - (size_t)len, "%s%" PRIu64, d ? "," : "[",
                        index / strides[d] % tensor->shape[d]);
    snprintf(text + len, size - (size_t)len, "]");
}

static void cell_draw(const struct screen *screen, const char *text, int len, int width)
{
    screen_blanks(width - len, screen->cols);
    screen_text(screen, text, (size_t)len, screen->cols);
}

/* Draws the columns' numbers about where the decimal points are; where they are wider than columns, only some. */
static void head_draw(const struct view_values *values, const struct screen *screen, int row,
                      const struct window *window)
{
    int cell = GAP + values->before + values->after, after = values->after < 2 ? values->after : 2;
    int widest = digits_of(values->left + window->cols - 1), step = (widest + cell) / cell;
    screen_move(row, 0);
    screen_style(screen, STYLE_DIM, false);
    screen_blanks(values->label, screen->cols);
    for (uint64_t i = 0; i < window->cols; i += (uint64_t)step) {
        char text[24];
        int len = snprintf(text, sizeof text, "%" PRIu64, values->left + i);
        int lead = GAP + values->before + after - len;
        lead = step == 1 && lead > 1 ? lead : 1;
        if (values->label + (int)i * cell + lead + len > screen->cols)
            break; /* part of a number would be another */
        screen_blanks(lead, screen->cols);
        screen_text(screen, text, (size_t)len, screen->cols);
        screen_blanks(step * cell - lead - len, screen->cols);
    }
}

static void row_draw(const struct view_values *values, const struct screen *screen, uint64_t row,
                     const struct window *window)
{
    char label[2 * LABEL_MAX + 24];
    label_print(values, row, label, sizeof label);
    screen_style(screen, STYLE_DIM, false);
    cell_draw(screen, label, (int)strlen(label), values->label);
    screen_style(screen, STYLE_PLAIN, false);
    for (uint64_t i = 0; i < row_count(values, window, row); i++) {
        struct view_number number = number_of(values, &window->at[row * window->cols + i]);
        int blanks = values->after - (number.len - number.before);
        cell_draw(screen, number.text, number.len,
                  GAP + values->before + values->after - (blanks > 0 ? blanks : 0));
        screen_blanks(blanks, screen->cols);
    }
}

/* Reads what is to be seen, and once more where the numbers turn out wider than there was room for. */
static st_status window_open(struct view_values *values, struct window *window, int rows, int cols,
                             st_error *error)
{
    st_status status;
    do {
        free(window->at);
        window_fit(values, window, rows, cols);
        window->at = memory_new((size_t)(window->rows * window->cols), sizeof *window->at);
        status = window_read(values, window, error);
    } while (status == ST_OK && columns_widen(values, window));
    return status;
}

void view_values_draw(struct view_values *values, const struct screen *screen, int first, int rows)
{
    st_error error;
    struct window window = {0};
    int head = rows > 1 ? 1 : 0;
    if (rows <= 0)
        return;
    screen_move(first, 0);
    if (values->count == 0) {
        screen_text(screen, "no elements", strlen("no elements"), screen->cols);
        return;
    }
    if (window_open(values, &window, rows - head, screen->cols, &error) != ST_OK) {
        screen_style(screen, STYLE_ERROR, false);
        screen_broken(screen, error.message, first, rows);
        free(window.at);
        return;
    }
    if (head)
        head_draw(values, screen, first, &window);
    for (uint64_t row = 0; row < window.rows; row++) {
        screen_move(first + head + (int)row, 0);
        row_draw(values, screen, row, &window);
    }
    free(window.at);
}

/* ------------------------------------------------------------------------------------- keys */

/* Moves along the columns. */
static bool columns_key(struct view_values *values, int key, uint64_t number)
{
    uint64_t step = number ? number : 1, page = values->seen_cols;
    uint64_t last = values->cols > page ? values->cols - page : 0;
    switch (key) {
    case '>': step = page; break;
    case 'l':
    case SCREEN_RIGHT: break;
    case '<': values->left -= values->left < page ? values->left : page; return true;
    case 'h':
    case SCREEN_LEFT: values->left -= values->left < step ? values->left : step; return true;
    case '0':
    case '^': values->left = 0; return true;
    case '$': values->left = last; return true;
    default: return false;
    }
    if (!values->broken)
        values->left = step > last || values->left > last - step ? last : values->left + step;
    return true;
}

/* Moves to the next matrix, or the last one, of a tensor of more than two dimensions. */
static bool matrix_key(struct view_values *values, int key, uint64_t last)
{
    const st_tensor *tensor = values->tensor;
    if (key != '[' && key != ']')
        return false;
    if (values->broken || tensor->ndim < 3 || values->count == 0)
        return true;
    uint64_t height = tensor->shape[tensor->ndim - 2], row = values->top % height;
    uint64_t next = values->top + (height - row);
    if (key == ']')
        values->top = next < last ? next : last;
    else if (values->top > 0)
        values->top -= row ? row : height;
    return true;
}

bool view_values_key(struct view_values *values, int key, uint64_t number)
{
    uint64_t page = values->seen_rows, row = values->top;
    if (values->broken)
        row /= values->cols ? values->cols : 1;
    uint64_t last = values->rows > page ? values->rows - page : 0;
    if (matrix_key(values, key, last) || columns_key(values, key, number))
        return true;
    if (number && (key == 'g' || key == 'G')) { /* rows and elements are counted from 0 */
        row = values->broken && values->cols ? number / values->cols : number;
        row = row < last ? row : last;
    } else if (!view_scroll(key, number, page, last, &row)) {
        return false;
    }
    values->top = values->broken ? row * values->cols : row;
    return true;
}

void view_values_place(const struct view_values *values, char *text, size_t size)
{
    uint64_t row = values->broken ? values->top / (values->cols ? values->cols : 1) : values->top;
    if (values->broken && values->count) {
        uint64_t end = values->top + values->seen_rows * values->cols;
        snprintf(text, size, "elements %" PRIu64 "-%" PRIu64 " of %" PRIu64, values->top,
                 (end < values->count ? end : values->count) - 1, values->count);
    } else if (values->count) {
        snprintf(text, size,
                 "rows %" PRIu64 "-%" PRIu64 " of %" PRIu64 ", columns %" PRIu64 "-%" PRIu64
                 " of %" PRIu64,
                 row, row + values->seen_rows - 1, values->rows, values->left,
                 values->left + values->seen_cols - 1, values->cols);
    } else {
        snprintf(text, size, "no elements");
    }
}
