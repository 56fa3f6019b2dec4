/* SPDX-License-Identifier: Apache-2.0 */
#include "view_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "text.h"

/* ------------------------------------------------------------------------------- scrolling */

static uint64_t place_down(uint64_t at, uint64_t step, uint64_t last)
{
    return at >= last || step >= last - at ? last : at + step;
}

static uint64_t place_up(uint64_t at, uint64_t step)
{
    return step < at ? at - step : 0;
}

bool view_scroll(int key, uint64_t number, uint64_t page, uint64_t last, uint64_t *at)
{
    uint64_t step = number ? number : 1, half = page / 2 ? page / 2 : 1;
    if (page == 0)
        page = 1;
    switch (key) {
    case 'j':
    case SCREEN_DOWN:
    case SCREEN_ENTER: *at = place_down(*at, step, last); return true;
    case 'k':
    case SCREEN_UP: *at = place_up(*at, step); return true;
    case ' ':
    case 'f':
    case SCREEN_PAGE_DOWN:
    case SCREEN_CONTROL('f'): *at = place_down(*at, page, last); return true;
    case 'b':
    case SCREEN_PAGE_UP:
    case SCREEN_CONTROL('b'): *at = place_up(*at, page); return true;
    case 'd':
    case SCREEN_CONTROL('d'): *at = place_down(*at, half, last); return true;
    case 'u':
    case SCREEN_CONTROL('u'): *at = place_up(*at, half); return true;
    case 'g':
    case SCREEN_HOME: *at = number ? place_down(0, number - 1, last) : 0; return true;
    case 'G':
    case SCREEN_LAST: *at = number ? place_down(0, number - 1, last) : last; return true;
    default: return false;
    }
}

/* --------------------------------------------------------------------------------- keeping */

void view_text_begin(struct view_text *text, const struct screen *screen, struct out *out)
{
    free(text->text);
    text->text = NULL;
    *out = (struct out){.name = "memory",
                        .tty = true,
                        .color = true, /* the screen shows as much of it as it may */
                        .utf8 = screen->utf8,
                        .text_flags = screen->text_flags,
                        .width = (size_t)screen->cols};
    out->stream = open_memstream(&text->text, &text->len);
    if (!out->stream) {
        complain("%s", strerror(errno));
        exit(EXIT_UNREADABLE);
    }
}

void view_text_end(struct view_text *text, struct out *out, bool again)
{
    out_close(out);
    text->columns = 0;
    text->count = 0;
    if (!again)
        text->top = 0;
}

void view_text_release(struct view_text *text)
{
    free(text->text);
    free(text->lines);
}

/* -------------------------------------------------------------------------------- breaking */

static void line_add(struct view_text *text, size_t at, enum style style)
{
    text->lines = memory_grow(text->lines, &text->room, text->count + 1, sizeof *text->lines);
    text->lines[text->count++] = (struct view_line){at, style};
}

/* Behind the last blank of the line that is broken. */
struct view_gap {
    struct view_line line; /* that would begin there */
    size_t column;         /* 0: there is none */
};

/* Breaks a line before the piece at `at`: between two words, if that leaves more than half of the line full. Gives
 * the columns that have gone to the new line. */
static size_t line_break(struct view_text *text, struct view_line at, size_t column,
                         const struct view_gap *gap)
{
    if (gap->column > column / 2) {
        line_add(text, gap->line.at, gap->line.style);
        return column - gap->column;
    }
    line_add(text, at.at, at.style);
    return 0;
}

/* Breaks the text into lines, at newlines and where the columns end. */
static void lines_break(struct view_text *text, int columns)
{
    enum style style = STYLE_PLAIN;
    struct text_piece piece;
    struct view_gap gap = {{0, STYLE_PLAIN}, 0};
    size_t column = 0, used;
    text->count = 0;
    if (text->len)
        line_add(text, 0, style);
    for (size_t i = 0; i < text->len; i += used) {
        const char *at = text->text + i;
        if (*at == '\n') {
            used = 1;
            column = gap.column = 0;
            if (i + 1 < text->len)
                line_add(text, i + 1, style);
        } else if ((used = out_style_read(at, text->len - i, &style)) == 0) {
            used = text_escape(at, text->len - i, TEXT_KEEP_BACKSLASH, &piece);
            /* A blank may stand in the column behind the last: there it is not drawn. */
            if (column > 0 && column + piece.width > (size_t)columns && *at != ' ') {
                column = line_break(text, (struct view_line){i, style}, column, &gap);
                gap.column = 0;
            }
            column += piece.width;
            if (*at == ' ')
                gap = (struct view_gap){{i + used, style}, column};
        }
    }
    text->columns = columns;
}

/* Breaks the lines for a screen of other columns; what was at the top stays in sight. */
static void lines_fit(struct view_text *text, int columns)
{
    if (text->columns == columns)
        return;
    size_t at = text->columns && text->top < text->count ? text->lines[text->top].at : 0;
    bool moved = text->columns != 0;
    lines_break(text, columns);
    if (!moved)
        return;
    text->top = 0;
    while (text->top + 1 < text->count && text->lines[text->top + 1].at <= at)
        text->top++;
}

static size_t top_last(const struct view_text *text)
{
    size_t rows = text->rows > 0 ? (size_t)text->rows : 1;
    return text->count > rows ? text->count - rows : 0;
}

/* --------------------------------------------------------------------------------- drawing */

static void line_draw(const struct view_text *text, const struct screen *screen, size_t line)
{
    enum style style = text->lines[line].style;
    size_t start = text->lines[line].at;
    size_t end = line + 1 < text->count ? text->lines[line + 1].at : text->len;
    while (end > start && text->text[end - 1] == ' ')
        end--;
    screen_style(screen, style, false);
    for (size_t i = start, used; i < end && text->text[i] != '\n'; i += used) {
        const char *at = text->text + i;
        used = out_style_read(at, end - i, &style);
        if (used) {
            screen_style(screen, style, false);
            continue;
        }
        /* Up to the next style, or the end of the line. */
        for (used = 1; i + used < end && at[used] != '\n' && at[used] != '\033';)
            used++;
        screen_escaped(screen, at, used, screen->cols);
    }
    screen_style(screen, STYLE_PLAIN, false);
}

void view_text_draw(struct view_text *text, const struct screen *screen, int first, int rows)
{
    text->rows = rows;
    lines_fit(text, screen->cols > 0 ? screen->cols : 1);
    if (text->top > top_last(text))
        text->top = top_last(text);
    for (int row = 0; row < rows && text->top + (size_t)row < text->count; row++) {
        screen_move(first + row, 0);
        line_draw(text, screen, text->top + (size_t)row);
    }
}

bool view_text_key(struct view_text *text, int key, uint64_t number)
{
    uint64_t at = text->top, page = text->rows > 0 ? (uint64_t)text->rows : 1;
    if (!view_scroll(key, number, page, top_last(text), &at))
        return false;
    text->top = (size_t)at;
    return true;
}
