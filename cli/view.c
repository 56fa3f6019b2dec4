/* SPDX-License-Identifier: Apache-2.0 */
#include "view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "text.h"

/* What stands for a name without characters. */
#define NAMELESS "\"\""
/* The most that can be typed before a key. */
#define NUMBER_MAX UINT64_C(1000000000000000000)

/* ----------------------------------------------------------------------------------- saying */

void view_say(struct view *view, enum style style, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(view->message, sizeof view->message, format, args);
    va_end(args);
    view->message_style = style;
}

const st_tensor *view_tensor(struct view *view, const st_file **file)
{
    const struct view_node *node = view_model_here(&view->model);
    if (!node || !node->tensor) {
        view_say(view, STYLE_NOTE, "%s",
                 node ? "a group has no values: Enter opens it" : "there is no tensor");
        return NULL;
    }
    if (st_dtype_bits(node->tensor->dtype) == 0) {
        view_say(view, STYLE_ERROR, "its dtype is unknown, so that it has no values");
        return NULL;
    }
    *file = input_file(view->input, node->file);
    return node->tensor;
}

/* ---------------------------------------------------------------------------------- drawing */

/* Gives where `text` is to begin for its rest to take no more than so many columns. */
static size_t front_cut(const struct screen *screen, const char *text, size_t len, size_t width)
{
    struct text_piece piece;
    size_t at = 0, columns = text_width(text, len, screen->text_flags);
    while (at < len && columns > width) {
        at += text_escape(text + at, len - at, screen->text_flags, &piece);
        columns -= piece.width;
    }
    return at;
}

void view_cell(const struct screen *screen, const char *text, size_t len, int width, bool cut_front)
{
    const char *more = screen->utf8 ? "\u2026" : "...";
    int more_width = screen->utf8 ? 1 : 3, used = 0;
    if (width <= 0)
        return;
    /* However long a name is, no more of it is looked at than can be seen. */
    size_t look = 16 * (size_t)width + 64;
    if (len <= look && text_width(text, len, screen->text_flags) <= (size_t)width) {
        used = screen_text(screen, text, len, width);
    } else if (width <= more_width) {
        used = screen_text(screen, more, strlen(more), width);
    } else if (cut_front) {
        size_t from = len > look ? len - look : 0;
        while (from < len && ((unsigned char)text[from] & 0xc0) == 0x80)
            from++;
        from += front_cut(screen, text + from, len - from, (size_t)(width - more_width));
        used = screen_text(screen, more, strlen(more), more_width);
        used += screen_text(screen, text + from, len - from, width - used);
    } else {
        used = screen_text(screen, text, len < look ? len : look, width - more_width);
        used += screen_text(screen, more, strlen(more), more_width);
    }
    screen_blanks(width - used, width);
}

size_t view_name_width(const struct screen *screen, const char *name, size_t len)
{
    return len ? text_width(name, len, screen->text_flags) : strlen(NAMELESS);
}

void view_name_cell(const struct screen *screen, const char *name, size_t len, int width)
{
    if (len)
        view_cell(screen, name, len, width, true);
    else
        view_cell(screen, NAMELESS, strlen(NAMELESS), width, false);
}

struct view_body view_body(const struct view *view)
{
    int rows = view->screen.rows;
    struct view_body body = {rows >= 3 ? 1 : 0, rows};
    body.rows -= body.first + (rows >= 2 ? 1 : 0);
    if (view->pane == VIEW_TREE && rows >= 6) /* what the row at hand is in full */
        body.rows--;
    return body;
}

void view_title(const struct view *view, const char *name, size_t len, const char *right)
{
    const struct screen *screen = &view->screen;
    int room = screen->cols - (int)strlen(right) - 2;
    if (screen->rows < 3)
        return;
    screen_move(0, 0);
    screen_style(screen, STYLE_HEAD, true);
    view_name_cell(screen, name, len, room > 8 ? room : screen->cols);
    if (room > 8) {
        screen_blanks(2, screen->cols);
        screen_text(screen, right, strlen(right), screen->cols);
    }
}

/* Gives how much of some hints, which two blanks part, is to be seen: as many as fit, but the first one always. */
static size_t hints_fit(const struct screen *screen, const char *text)
{
    size_t len = strlen(text), at = len;
    while (text_width(text, len, screen->text_flags) > (size_t)screen->cols && at > 0)
        if (text[--at] == ' ' && text[at + 1] == ' ')
            len = at;
    return len;
}

void view_last_row(const struct view *view, const char *text)
{
    const struct screen *screen = &view->screen;
    if (screen->rows < 2)
        return;
    if (*view->message) {
        int rows = screen_broken_rows(screen, view->message);
        if (rows > screen->rows - 1)
            rows = screen->rows - 1;
        screen_style(screen, view->message_style, false);
        screen_broken(screen, view->message, screen->rows - rows, rows);
    } else {
        screen_move(screen->rows - 1, 0);
        screen_style(screen, STYLE_DIM, false);
        screen_text(screen, text, hints_fit(screen, text), screen->cols);
    }
    screen_style(screen, STYLE_PLAIN, false);
}

/* Draws a pane of text, with how much of it there is to see. */
static void text_draw(struct view *view, struct view_text *text)
{
    char place[120];
    struct view_body body = view_body(view);
    view_text_draw(text, &view->screen, body.first, body.rows);
    size_t end = text->top + (size_t)(body.rows > 0 ? body.rows : 0);
    snprintf(place, sizeof place, "lines %zu-%zu of %zu  q: back  %s  ?: help",
             text->count ? text->top + 1 : 0, end < text->count ? end : text->count, text->count,
             view->pane == VIEW_STATS ? "v: values  L: logarithms" : "/: find");
    view_last_row(view, place);
}

struct view_shape view_shape(const st_tensor *tensor)
{
    struct view_shape shape = {"["};
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

void view_tensor_title(const struct view *view, const char *what)
{
    const struct view_node *node = view_model_here(&view->model);
    char text[160];
    size_t len;
    if (!node || !node->tensor)
        return;
    const st_tensor *tensor = node->tensor;
    const st_header *header = st_file_header(input_file(view->input, node->file));
    const char *code = st_header_dtype_code(header, tensor->dtype, &len);
    snprintf(text, sizeof text, "%.*s %s  %s", (int)len, code, view_shape(tensor).text, what);
    /* A name is worth more than what the tree said already. */
    size_t name = view_name_width(&view->screen, tensor->name, tensor->name_len);
    bool fits = (name > 9 ? name : 9) + strlen(text) + 2 <= (size_t)view->screen.cols;
    view_title(view, tensor->name, tensor->name_len, fits ? text : what);
}

static void input_title_draw(const struct view *view, const char *what)
{
    const char *title = input_title(view->input);
    view_title(view, title, strlen(title), what);
}

static void values_draw(struct view *view)
{
    char place[160], row[240];
    struct view_body body = view_body(view);
    view_tensor_title(view, "values");
    view_values_draw(&view->values, &view->screen, body.first, body.rows);
    view_values_place(&view->values, place, sizeof place);
    snprintf(row, sizeof row, "%s  q: back  s: statistics  ?: help", place);
    view_last_row(view, row);
}

void view_draw(struct view *view)
{
    screen_begin();
    switch (view->pane) {
    case VIEW_TREE: view_tree_draw(view); break;
    case VIEW_VALUES: values_draw(view); break;
    case VIEW_STATS:
        if (view->text.columns != view->screen.cols)
            view_stats_print(view, true);
        view_tensor_title(view, "statistics");
        text_draw(view, &view->text);
        break;
    case VIEW_METADATA:
        input_title_draw(view, "metadata");
        text_draw(view, &view->text);
        break;
    case VIEW_FACTS:
        input_title_draw(view, "file");
        text_draw(view, &view->text);
        break;
    case VIEW_HELP:
        if (view->help.columns != view->screen.cols)
            view_help_print(view, true);
        view_title(view, "safetensors view", strlen("safetensors view"), "help");
        text_draw(view, &view->help);
        break;
    }
    if (view->prompt)
        screen_show_at(view->screen.rows - 1, view_prompt_draw(view));
    else
        screen_show();
}

/* ------------------------------------------------------------------------------------- keys */

static void values_open(struct view *view)
{
    const st_file *file;
    const st_tensor *tensor = view_tensor(view, &file);
    if (!tensor)
        return;
    view_values_init(&view->values, file, tensor);
    view->pane = VIEW_VALUES;
}

static void stats_open(struct view *view)
{
    if (view_stats_open(view))
        view->pane = VIEW_STATS;
}

/* Goes to another tensor, and shows of it what was shown. */
static void tensor_step(struct view *view, bool forward)
{
    if (!view_model_step(&view->model, forward))
        return;
    if (view->pane == VIEW_VALUES)
        values_open(view);
    else if (!view_stats_open(view))
        view->pane = VIEW_TREE;
}

static void pane_leave(struct view *view)
{
    if (view->pane == VIEW_TREE)
        view->over = true;
    view->pane = view->pane == VIEW_HELP ? view->behind : VIEW_TREE;
}

void view_help_open(struct view *view)
{
    if (view->pane == VIEW_HELP)
        return;
    view_help_print(view, false);
    view->behind = view->pane;
    view->pane = VIEW_HELP;
}

/* Takes the keys that open panes. */
static bool open_key(struct view *view, int key)
{
    switch (key) {
    case 'v': values_open(view); return true;
    case 's': stats_open(view); return true;
    case 'm':
        view_metadata_print(view);
        view->pane = VIEW_METADATA;
        return true;
    case 'i':
        view_facts_print(view);
        view->pane = VIEW_FACTS;
        return true;
    case '?': view_help_open(view); return true;
    default: return false;
    }
}

/* Takes the keys that mean the same everywhere. */
static bool common_key(struct view *view, int key)
{
    if (view->pane == VIEW_HELP) /* in which keys that open panes would lose what is behind it */
        return key == '?' ? (pane_leave(view), true) : false;
    if (open_key(view, key))
        return true;
    if (view->pane == VIEW_TREE && (key == SCREEN_ENTER || key == 'l' || key == SCREEN_RIGHT)) {
        if (!view_tree_open(view, key))
            values_open(view);
        return true;
    }
    bool of_tensor = view->pane == VIEW_VALUES || view->pane == VIEW_STATS;
    if (of_tensor && (key == 'n' || key == 'N')) {
        tensor_step(view, key == 'n');
        return true;
    }
    return false;
}

bool view_pane_key(struct view *view, int key, uint64_t number)
{
    switch (view->pane) {
    case VIEW_TREE: return view_tree_key(view, key, number);
    case VIEW_VALUES: return view_values_key(&view->values, key, number);
    case VIEW_HELP: return view_text_key(&view->help, key, number);
    default: return view_text_key(&view->text, key, number);
    }
}

/* Takes the first of two keys, and the second one. */
static bool pair_key(struct view *view, int key, bool counted)
{
    int first = view->first;
    view->first = 0;
    if (first == 'g' && key == 'g') /* the first one went there, as in less */
        return true;
    if (first == 'Z' && (key == 'Z' || key == 'Q'))
        return view->over = true;
    if (first == 'z' && view_tree_place(view, key))
        return true;
    if (key == 'g' && counted)
        view->first = key;
    if (key == 'Z' || (key == 'z' && view->pane == VIEW_TREE)) {
        view->first = key;
        return true;
    }
    return false;
}

/* Takes a digit of a number that a key may follow. */
static bool digit_key(struct view *view, int key)
{
    if (key < (view->number ? '0' : '1') || key > '9')
        return false;
    if (view->number < NUMBER_MAX / 10)
        view->number = view->number * 10 + (uint64_t)(key - '0');
    return true;
}

static void view_key(struct view *view, int key)
{
    uint64_t number = view->number;
    if (key == SCREEN_RESIZE)
        return;
    if (key == SCREEN_END)
        view->over = true;
    *view->message = '\0';
    if (view->prompt) {
        view_prompt_key(view, key);
        return;
    }
    if (digit_key(view, key))
        return;
    view->number = 0;
    if (pair_key(view, key, number != 0) || view_prompt_open(view, key))
        return;
    if (key == 'Q')
        view->over = true;
    else if (key == SCREEN_CONTROL('l'))
        screen_redraw();
    else if (key == SCREEN_ESCAPE && view->pane == VIEW_TREE)
        view_filter_set(view, "");
    else if (key == 'q' || key == SCREEN_ESCAPE)
        pane_leave(view);
    else if (!common_key(view, key) && !view_search_key(view, key) && !view_stats_key(view, key) &&
             !view_pane_key(view, key, number) && key != SCREEN_END)
        view_say(view, STYLE_NOTE, "this key means nothing here; ? shows those that do");
}

/* ------------------------------------------------------------------------------- the object */

static void model_fill(struct view *view)
{
    const st_header *header = input_header(view->input);
    size_t count = st_header_count(header);
    struct view_entry *entries = memory_new(count, sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        struct input_place place = input_place(view->input, st_header_at(header, i));
        entries[i] = (struct view_entry){place.tensor, (uint32_t)place.index};
    }
    view_model_init(&view->model, entries, count);
    free(entries);
}

static void view_begin(struct view *view, const struct view_start *start)
{
    model_fill(view);
    struct view_body body = view_body(view);
    view_model_open_rows(&view->model, body.rows > 0 ? (uint32_t)body.rows : 1);
    if (start->order != VIEW_BY_NAME)
        view_model_sort(&view->model, start->order);
    if (start->flat)
        view_model_flatten(&view->model, true);
    view->model.cursor = 0;
    if (start->filter)
        view_filter_set(view, start->filter);
}

int view_run(const struct screen *screen, const struct view_start *start)
{
    struct view view = {.screen = *screen, .input = start->input};
    view_begin(&view, start);
    while (!view.over) {
        view_draw(&view);
        /* What was typed meanwhile is done before anything is drawn. */
        for (int key = screen_key(&view.screen, true); key != SCREEN_NONE && !view.over;
             key = screen_key(&view.screen, false))
            view_key(&view, key);
    }
    st_stats_release(&view.stats);
    view_model_release(&view.model);
    view_text_release(&view.text);
    view_text_release(&view.help);
    return screen_signal() ? 128 + screen_signal() : EXIT_GOOD;
}
