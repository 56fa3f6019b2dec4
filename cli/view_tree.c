/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of the browser, or the list. */
#include <inttypes.h>
#include <string.h>

#include "text.h"
#include "view.h"

/* Columns of a size, "1023 KiB", and the least that the other columns take. */
#define SIZE_COLUMNS  9
#define DTYPE_COLUMNS 5
#define SHAPE_COLUMNS 12
/* Columns of the screen that are used, unless a name needs more: a row is hard to follow across a wide one. */
#define TABLE_COLUMNS 100
/* Columns of the screen below which sizes, or dtypes and shapes, are left out. */
#define SIZES_FROM  30
#define DTYPES_FROM 50
/* Blanks between columns. */
#define GAP 2

static const char *dtype_of(const struct view *view, const struct view_node *node, size_t *len)
{
    const st_header *header = st_file_header(input_file(view->input, node->file));
    return st_header_dtype_code(header, node->tensor->dtype, len);
}

/* ----------------------------------------------------------------------------------- columns */

struct columns {
    int dtype; /* 0: left out */
    int shape;
    int size;
    int table; /* all of them, and the names */
};

static int grown(int width, size_t need, int most)
{
    return need > (size_t)most ? most : (int)need > width ? (int)need : width;
}

static int columns_width(const struct columns *columns)
{
    return (columns->dtype ? columns->dtype + columns->shape + 2 * GAP : 0) +
           (columns->size ? columns->size + GAP : 0);
}

/* Gives the columns before a label: two for each level, and for what shows a group. */
static int indent_of(const struct view *view, const struct view_node *node)
{
    int depth = node->depth < 256 ? (int)node->depth : 256;
    return view->model.flat ? 0 : 2 * depth + 2;
}

/* Gives the columns that a row takes with its label in full, but no more than the screen has. */
static int row_width(const struct view *view, const struct view_node *node,
                     const struct columns *columns)
{
    bool flat = view->model.flat;
    int cols = view->screen.cols;
    size_t len = flat ? node->tensor->name_len : node->label_len;
    if (len > 4 * (size_t)cols) /* however long a name is, no more of it is looked at */
        return cols;
    size_t width = view_name_width(&view->screen, flat ? node->tensor->name : node->label, len);
    return grown(0, width + (size_t)(indent_of(view, node) + columns_width(columns)), cols);
}

/* Fits the columns to the rows that are to be seen. */
static struct columns columns_fit(const struct view *view, uint32_t first, int rows)
{
    int cols = view->screen.cols;
    struct columns columns = {0, 0, cols >= SIZES_FROM ? SIZE_COLUMNS : 0, cols};
    if (cols < DTYPES_FROM)
        return columns;
    columns.dtype = DTYPE_COLUMNS;
    columns.shape = SHAPE_COLUMNS;
    for (int row = 0; row < rows; row++) {
        const struct view_node *node = view_model_at(&view->model, first + (uint32_t)row);
        size_t len;
        if (!node || !node->tensor)
            continue;
        const char *code = dtype_of(view, node, &len);
        size_t width = len < 64 ? text_width(code, len, view->screen.text_flags) : 64;
        columns.dtype = grown(columns.dtype, width, cols / 6);
        columns.shape = grown(columns.shape, strlen(view_shape(node->tensor).text), cols / 4);
    }
    columns.table = cols < TABLE_COLUMNS ? cols : TABLE_COLUMNS;
    for (int row = 0; row < rows && columns.table < cols; row++) {
        const struct view_node *node = view_model_at(&view->model, first + (uint32_t)row);
        int width = node ? row_width(view, node, &columns) : 0;
        columns.table = width > columns.table ? width : columns.table;
    }
    return columns;
}

/* ------------------------------------------------------------------------------------- rows */

/* A row being drawn. */
struct line {
    const struct view *view;
    const struct view_node *node;
    const struct columns *columns;
    bool here; /* the cursor stands in it */
};

static void line_style(const struct line *line, enum style style)
{
    screen_style(&line->view->screen, style, line->here);
}

/* Draws the indentation and what shows a group as open or closed. */
static int branch_draw(const struct line *line, int room)
{
    const struct screen *screen = &line->view->screen;
    const struct view_model *model = &line->view->model;
    int indent = indent_of(line->view, line->node) - 2;
    const char *mark = "  ";
    if (model->flat)
        return 0;
    if (indent > room / 2)
        indent = room / 2;
    if (line->node->span > 1 && view_model_is_open(model, line->node))
        mark = screen->utf8 ? "\u25be " : "- ";
    else if (line->node->span > 1)
        mark = screen->utf8 ? "\u25b8 " : "+ ";
    line_style(line, STYLE_DIM);
    int used = screen_blanks(indent, room);
    return used + screen_text(screen, mark, strlen(mark), room - used);
}

static void label_draw(const struct line *line, int width)
{
    const struct view_node *node = line->node;
    bool flat = line->view->model.flat;
    int used = branch_draw(line, width);
    line_style(line, node->tensor ? STYLE_PLAIN : STYLE_GROUP);
    if (flat || node->label_len == 0) /* as in "a..b" */
        view_name_cell(&line->view->screen, flat ? node->tensor->name : "",
                       flat ? node->tensor->name_len : 0, width - used);
    else
        view_cell(&line->view->screen, node->label, node->label_len, width - used, false);
}

/* Draws dtype and shape, or how many tensors there are in a group. */
static void kind_draw(const struct line *line)
{
    const struct screen *screen = &line->view->screen;
    const struct columns *columns = line->columns;
    line_style(line, STYLE_DTYPE);
    screen_blanks(GAP, screen->cols);
    if (!line->node->tensor) {
        char text[40];
        snprintf(text, sizeof text, "%" PRIu32 " tensor%s", line->node->tensors,
                 line->node->tensors == 1 ? "" : "s");
        line_style(line, STYLE_DIM);
        view_cell(screen, text, strlen(text), columns->dtype + GAP + columns->shape, false);
        return;
    }
    size_t len;
    const char *code = dtype_of(line->view, line->node, &len);
    struct view_shape shape = view_shape(line->node->tensor);
    view_cell(screen, code, len, columns->dtype, false);
    line_style(line, STYLE_PLAIN);
    screen_blanks(GAP, screen->cols);
    view_cell(screen, shape.text, strlen(shape.text), columns->shape, false);
}

static void size_draw(const struct line *line)
{
    const struct screen *screen = &line->view->screen;
    const st_tensor *tensor = line->node->tensor;
    struct text_short size = text_bytes(tensor ? st_tensor_size(tensor) : line->node->bytes);
    line_style(line, STYLE_SIZE);
    screen_blanks(GAP + line->columns->size - (int)strlen(size.text), screen->cols);
    screen_text(screen, size.text, strlen(size.text), screen->cols);
}

static void line_draw(const struct line *line, int row)
{
    int cols = line->view->screen.cols, width = line->columns->table - columns_width(line->columns);
    screen_move(row, 0);
    label_draw(line, width);
    if (line->columns->dtype)
        kind_draw(line);
    if (line->columns->size)
        size_draw(line);
    line_style(line, STYLE_PLAIN);
    screen_blanks(cols - line->columns->table, cols);
}

/* ------------------------------------------------------------------------- around the rows */

static uint64_t bytes_shown(const struct view_model *model)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->count; i += model->nodes[i].span)
        bytes += model->nodes[i].bytes;
    return bytes;
}

uint32_t view_tensors_shown(const struct view_model *model)
{
    uint32_t tensors = 0;
    for (uint32_t i = 0; i < model->count; i += model->nodes[i].span)
        tensors += model->nodes[i].tensors;
    return tensors;
}

static void title_draw(const struct view *view)
{
    static const char *const orders[] = {"", ", by size", ", by offset"};
    const struct view_model *model = &view->model;
    uint32_t shown = view_tensors_shown(model);
    char part[40] = "", text[160];
    if (model->filter.count)
        snprintf(part, sizeof part, "%" PRIu32 " of ", shown);
    snprintf(text, sizeof text, "%s%" PRIu32 " tensor%s, %s%s", part, model->tensors,
             model->tensors == 1 ? "" : "s", text_bytes(bytes_shown(model)).text,
             orders[model->by]);
    view_title(view, input_title(view->input), strlen(input_title(view->input)), text);
}

/* Gives the name of a node: a tensor's, or what the names of all tensors of a group begin with. */
static const char *name_of(const struct view_node *node, size_t *len)
{
    const struct view_node *at = node;
    while (!at->tensor) /* a group has a tensor below it, whose name the labels are parts of */
        at++;
    *len = (size_t)(node->label - at->tensor->name) + node->label_len;
    return at->tensor->name;
}

#define SHARD_BEFORE " of "

/* Gives the columns of what tells the file of a tensor, if it is one of several and there is so much room. */
static int shard_columns(const struct view *view, const struct view_node *node, int room)
{
    const char *shard = node->tensor ? input_shard(view->input, node->file) : NULL;
    bool group = node->span > 1 && !view->model.flat;
    if (!shard || group || room <= 0 || strlen(shard) > (size_t)room)
        return 0;
    size_t width = strlen(SHARD_BEFORE) + text_width(shard, strlen(shard), view->screen.text_flags);
    return width <= (size_t)room ? (int)width : 0;
}

static void shard_draw(const struct view *view, const struct view_node *node, int columns)
{
    const char *shard = columns ? input_shard(view->input, node->file) : NULL;
    if (!shard)
        return;
    screen_text(&view->screen, SHARD_BEFORE, strlen(SHARD_BEFORE), columns);
    screen_text(&view->screen, shard, strlen(shard), columns);
}

/* Draws what the row at hand is in full. */
static void status_draw(const struct view *view, const struct columns *columns, int row)
{
    const struct screen *screen = &view->screen;
    const struct view_node *node = view_model_here(&view->model);
    char text[120] = "";
    size_t len;
    if (!node)
        return;
    const char *name = name_of(node, &len);
    if (node->tensor)
        snprintf(text, sizeof text, "%s element%s at %" PRIu64,
                 text_count(st_tensor_count(node->tensor)).text,
                 st_tensor_count(node->tensor) == 1 ? "" : "s",
                 st_file_offset(input_file(view->input, node->file), node->tensor));
    if (node->span > 1 && !view->model.flat)
        snprintf(text, sizeof text, "%" PRIu32 " tensors, %s", node->tensors,
                 text_bytes(node->bytes).text);
    int width = columns->table - (int)strlen(text) - GAP;
    int shard = shard_columns(view, node, width - (int)view_name_width(screen, name, len));
    screen_move(row, 0);
    screen_style(screen, STYLE_NOTE, false);
    view_name_cell(screen, name, len, width > 20 ? width - shard : columns->table);
    screen_style(screen, STYLE_DIM, false);
    if (width > 20) {
        screen_blanks(GAP, screen->cols);
        screen_text(screen, text, strlen(text), screen->cols);
        shard_draw(view, node, shard);
    }
}

static void foot_draw(const struct view *view)
{
    char text[VIEW_FILTER_MAX + 80] = "?: help  /: filter  Enter: open  v: values  s: statistics  "
                                      "m: metadata  q: quit";
    const struct view_words *filter = &view->model.filter;
    if (filter->count)
        snprintf(text, sizeof text, "/%.*s  n, N: next, previous  Esc: all tensors",
                 (int)filter->len, filter->text);
    view_last_row(view, text);
}

/* Gives the first row to be seen, so that the cursor is. */
static void top_follow(struct view *view, int rows)
{
    uint32_t cursor = view->model.cursor, page = rows > 0 ? (uint32_t)rows : 1;
    uint32_t last = view->model.row_count > page ? view->model.row_count - page : 0;
    if (view->top > last)
        view->top = last;
    if (cursor < view->top)
        view->top = cursor;
    else if (cursor - view->top >= page)
        view->top = cursor - page + 1;
    view->page = page;
}

void view_tree_draw(struct view *view)
{
    const struct screen *screen = &view->screen;
    struct view_body body = view_body(view);
    top_follow(view, body.rows);
    struct columns columns = columns_fit(view, view->top, body.rows);
    title_draw(view);
    for (int row = 0; row < body.rows; row++) {
        uint32_t at = view->top + (uint32_t)row;
        const struct view_node *node = view_model_at(&view->model, at);
        struct line line = {view, node, &columns, at == view->model.cursor};
        if (node)
            line_draw(&line, body.first + row);
    }
    if (view->model.row_count == 0 && body.rows > 0) {
        screen_move(body.first, 0);
        screen_style(screen, STYLE_DIM, false);
        screen_text(screen, "no tensors", strlen("no tensors"), screen->cols);
    }
    if (screen->rows >= 6)
        status_draw(view, &columns, screen->rows - 2);
    if (!view->prompt)
        foot_draw(view);
}

/* ------------------------------------------------------------------------------------- keys */

static void order_next(struct view *view)
{
    static const char *const orders[] = {"name", "size, the largest first", "offset"};
    enum view_order by = (enum view_order)((view->model.by + 1) % VIEW_ORDERS);
    view_model_sort(&view->model, by);
    view_say(view, STYLE_NOTE, "ordered by %s", orders[by]);
}

static void match_find(struct view *view, bool forward)
{
    if (!view_model_find(&view->model, forward))
        view_say(view, STYLE_NOTE, "%s",
                 view->model.search.count ? "no tensor passes the filter"
                                          : "there was no filter yet: / begins one");
}

bool view_tree_open(struct view *view, int key)
{
    const struct view_node *node = view_model_here(&view->model);
    bool group = node && node->span > 1 && !view->model.flat;
    if (!group || (key == SCREEN_ENTER && node->tensor))
        return false;
    bool open = view_model_is_open(&view->model, node);
    if (key == SCREEN_ENTER || !open)
        view_model_open(&view->model, !open);
    else
        view->model.cursor++; /* to the first below */
    return true;
}

static void here_close(struct view *view)
{
    if (!view_model_open(&view->model, false))
        view_model_leave(&view->model);
}

/* Moves the rows, the cursor going along only where it would be out of sight. */
static void top_move(struct view *view, int key, uint64_t number)
{
    uint64_t top = view->top, at = view->model.cursor, last = view->model.row_count;
    last = last > view->page ? last - view->page : 0;
    view_scroll(key, number, view->page, last, &top);
    view->top = (uint32_t)top;
    at = at < top ? top : at >= top + view->page ? top + view->page - 1 : at;
    if (view->model.row_count)
        view->model.cursor = (uint32_t)at;
}

/* Goes to the first row that is seen, the last, or the one between; counted from there on, if a number is given. */
static void sight_move(struct view *view, int key, uint64_t number)
{
    uint64_t rows = view->model.row_count - view->top, step = number ? number - 1 : 0;
    if (view->model.row_count == 0)
        return;
    if (rows > view->page)
        rows = view->page;
    step = step < rows ? step : rows - 1;
    uint64_t row = key == 'H' ? step : key == 'L' ? rows - 1 - step : (rows - 1) / 2;
    view->model.cursor = view->top + (uint32_t)row;
}

bool view_tree_place(struct view *view, int key)
{
    uint32_t above;
    switch (key) {
    case 't':
    case SCREEN_ENTER: above = 0; break;
    case 'z':
    case '.': above = view->page / 2; break;
    case 'b':
    case '-': above = view->page ? view->page - 1 : 0; break;
    default: return false;
    }
    view->top = view->model.cursor > above ? view->model.cursor - above : 0;
    return true;
}

bool view_tree_key(struct view *view, int key, uint64_t number)
{
    uint64_t at = view->model.cursor, last = view->model.row_count ? view->model.row_count - 1 : 0;
    switch (key) {
    case 'n':
    case 'N': match_find(view, key == 'n'); return true;
    case 'o': order_next(view); return true;
    case 't': view_model_flatten(&view->model, !view->model.flat); return true;
    case '+':
    case '-': view_model_open_all(&view->model, key == '+'); return true;
    case 'h':
    case SCREEN_LEFT: here_close(view); return true;
    case 'H':
    case 'M':
    case 'L': sight_move(view, key, number); return true;
    case SCREEN_CONTROL('e'):
    case SCREEN_CONTROL('y'): top_move(view, key, number); return true;
    default: break;
    }
    uint64_t before = at;
    if (!view_scroll(key, number, view->page, last, &at))
        return false;
    view->model.cursor = (uint32_t)at;
    /* What is seen moves by as much, so that the row at hand stays where it is on the screen. */
    if (view_scroll_is_page(key))
        view->top =
            at > before || before - at < view->top ? view->top + (uint32_t)(at - before) : 0;
    return true;
}
