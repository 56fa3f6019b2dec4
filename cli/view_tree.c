/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of the browser, or the list, and the filter that is typed below it. */
#include <inttypes.h>
#include <string.h>
#include <wchar.h>

#include "text.h"
#include "view.h"

/* Columns of a size, "1023 KiB", and the least that the other columns take. */
#define SIZE_COLUMNS  9
#define DTYPE_COLUMNS 5
#define SHAPE_COLUMNS 12
/* Columns of the screen below which sizes, or dtypes and shapes, are left out. */
#define SIZES_FROM  30
#define DTYPES_FROM 50
/* Blanks between columns. */
#define GAP 2

/* Room for a shape; longer ones are cut. */
struct shape_text {
    char text[64];
};

static struct shape_text shape_of(const st_tensor *tensor)
{
    struct shape_text shape = {"["};
    size_t len = 1, room = sizeof shape.text - 6; /* for "...]" */
    for (uint32_t i = 0; i < tensor->ndim; i++) {
        char part[24];
        int more = snprintf(part, sizeof part, "%s%" PRIu64, i ? "," : "", tensor->shape[i]);
        if (len + (size_t)more > room) {
            memcpy(shape.text + len, "...", 4);
            len += 3;
            break;
        }
        memcpy(shape.text + len, part, (size_t)more + 1);
        len += (size_t)more;
    }
    memcpy(shape.text + len, "]", 2);
    return shape;
}

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
};

static int grown(int width, size_t need, int most)
{
    return need > (size_t)most ? most : (int)need > width ? (int)need : width;
}

/* Fits the columns to the rows that are to be seen. */
static struct columns columns_fit(const struct view *view, uint32_t first, int rows)
{
    int cols = view->screen.cols;
    struct columns columns = {0, 0, cols >= SIZES_FROM ? SIZE_COLUMNS : 0};
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
        columns.shape = grown(columns.shape, strlen(shape_of(node->tensor).text), cols / 4);
    }
    return columns;
}

static int columns_width(const struct columns *columns)
{
    return (columns->dtype ? columns->dtype + columns->shape + 2 * GAP : 0) +
           (columns->size ? columns->size + GAP : 0);
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
    int depth = line->node->depth < 256 ? (int)line->node->depth : 256;
    int indent = 2 * depth < room / 2 ? 2 * depth : room / 2;
    const char *mark = "  ";
    if (model->flat)
        return 0;
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
    if (flat)
        view_cell(&line->view->screen, node->tensor->name, node->tensor->name_len, width - used,
                  true);
    else if (node->label_len == 0) /* as in "a..b" */
        view_cell(&line->view->screen, "\"\"", 2, width - used, false);
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
    struct shape_text shape = shape_of(line->node->tensor);
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
    int width = line->view->screen.cols - columns_width(line->columns);
    screen_move(row, 0);
    label_draw(line, width);
    if (line->columns->dtype)
        kind_draw(line);
    if (line->columns->size)
        size_draw(line);
    line_style(line, STYLE_PLAIN);
}

/* ------------------------------------------------------------------------- around the rows */

static uint64_t bytes_shown(const struct view_model *model)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < model->count; i += model->nodes[i].span)
        bytes += model->nodes[i].bytes;
    return bytes;
}

static uint32_t tensors_shown(const struct view_model *model)
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
    uint32_t shown = tensors_shown(model);
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

/* Draws what the row at hand is in full. */
static void status_draw(const struct view *view, int row)
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
    if (node->span > 1)
        snprintf(text, sizeof text, "%" PRIu32 " tensors, %s", node->tensors,
                 text_bytes(node->bytes).text);
    int width = screen->cols - (int)strlen(text) - GAP;
    screen_move(row, 0);
    screen_style(screen, STYLE_NOTE, false);
    view_cell(screen, name, len, width > 20 ? width : screen->cols, true);
    screen_style(screen, STYLE_DIM, false);
    if (width > 20) {
        screen_blanks(GAP, screen->cols);
        screen_text(screen, text, strlen(text), screen->cols);
    }
}

/* Draws the last row while a filter is typed, and gives the column of the cursor. */
static int prompt_draw(const struct view *view)
{
    const struct screen *screen = &view->screen;
    char found[48];
    uint32_t shown = tensors_shown(&view->model);
    int len = snprintf(found, sizeof found, "  %" PRIu32 " tensor%s", shown, shown == 1 ? "" : "s");
    int room = screen->cols - 1 - len;
    screen_move(screen->rows - 1, 0);
    screen_style(screen, STYLE_NOTE, false);
    screen_text(screen, "/", 1, 1);
    size_t width = text_width(view->typed, view->typed_len, screen->text_flags);
    if (room < 10)
        room = screen->cols - 1;
    view_cell(screen, view->typed, view->typed_len, room, true);
    screen_style(screen, STYLE_DIM, false);
    screen_text(screen, found, (size_t)len, screen->cols);
    return 1 + ((int)width < room ? (int)width : room > 0 ? room - 1 : 0);
}

static void foot_draw(const struct view *view)
{
    char text[VIEW_FILTER_MAX + 80] = "?: help  /: filter  Enter: open  v: values  s: statistics  "
                                      "m: metadata  q: quit";
    const struct view_words *filter = &view->model.filter;
    if (filter->count)
        snprintf(text, sizeof text, "/%.*s  n, N: next, last  Esc: all tensors", (int)filter->len,
                 filter->text);
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
        status_draw(view, screen->rows - 2);
    if (!view->typing) {
        foot_draw(view);
        screen_show();
        return;
    }
    int col = prompt_draw(view);
    screen_show_at(screen->rows - 1, col);
}

/* ---------------------------------------------------------------------------------- typing */

static void filter_apply(struct view *view)
{
    view_model_filter(&view->model, view->typed, view->typed_len);
}

void view_filter_set(struct view *view, const char *text)
{
    size_t len = strlen(text);
    view->typed_len = len < VIEW_FILTER_MAX ? len : VIEW_FILTER_MAX;
    memcpy(view->typed, text, view->typed_len);
    filter_apply(view);
}

/* Takes the last character away, or the last word. */
static void typed_shorten(struct view *view, bool word)
{
    size_t len = view->typed_len;
    if (word) {
        while (len > 0 && view->typed[len - 1] == ' ')
            len--;
        while (len > 0 && view->typed[len - 1] != ' ')
            len--;
    } else {
        while (len > 0 && ((unsigned char)view->typed[len - 1] & 0xc0) == 0x80)
            len--;
        len -= len > 0;
    }
    view->typed_len = len;
}

static void typed_add(struct view *view, int key)
{
    char bytes[16];
    mbstate_t state = {0};
    if (key < ' ' || key >= SCREEN_NONE)
        return;
    size_t len = wcrtomb(bytes, (wchar_t)key, &state);
    if (len == (size_t)-1 || len > VIEW_FILTER_MAX - view->typed_len)
        return;
    memcpy(view->typed + view->typed_len, bytes, len);
    view->typed_len += len;
}

void view_typing_key(struct view *view, int key)
{
    size_t before = view->typed_len;
    uint64_t at = view->model.cursor, last = view->model.row_count ? view->model.row_count - 1 : 0;
    switch (key) {
    case SCREEN_ENTER: view->typing = false; return;
    case SCREEN_ESCAPE:
        view->typing = false;
        view_filter_set(view, "");
        return;
    case SCREEN_UP:
    case SCREEN_DOWN:
    case SCREEN_PAGE_UP:
    case SCREEN_PAGE_DOWN:
        view_scroll(key, 0, view->page, last, &at);
        view->model.cursor = (uint32_t)at;
        return;
    case SCREEN_BACKSPACE:
        view->typing = view->typed_len > 0;
        typed_shorten(view, false);
        break;
    case SCREEN_CONTROL('w'): typed_shorten(view, true); break;
    case SCREEN_CONTROL('u'): view->typed_len = 0; break;
    default: typed_add(view, key);
    }
    if (view->typed_len != before)
        filter_apply(view);
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

bool view_tree_key(struct view *view, int key, uint64_t number)
{
    uint64_t at = view->model.cursor, last = view->model.row_count ? view->model.row_count - 1 : 0;
    switch (key) {
    case '/': view->typing = true; return true;
    case 'n':
    case 'N': match_find(view, key == 'n'); return true;
    case 'o': order_next(view); return true;
    case 't': view_model_flatten(&view->model, !view->model.flat); return true;
    case '+':
    case '-': view_model_open_all(&view->model, key == '+'); return true;
    case 'h':
    case SCREEN_LEFT: here_close(view); return true;
    default: break;
    }
    if (!view_scroll(key, number, view->page, last, &at))
        return false;
    view->model.cursor = (uint32_t)at;
    return true;
}
