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

bool view_scroll_is_page(int key)
{
    switch (key) {
    case ' ':
    case 'f':
    case 'b':
    case 'd':
    case 'u':
    case SCREEN_PAGE_DOWN:
    case SCREEN_PAGE_UP:
    case SCREEN_CONTROL('f'):
    case SCREEN_CONTROL('b'):
    case SCREEN_CONTROL('d'):
    case SCREEN_CONTROL('u'): return true;
    default: return false;
    }
}

bool view_scroll(int key, uint64_t number, uint64_t page, uint64_t last, uint64_t *at)
{
    uint64_t step = number ? number : 1, half = page / 2 ? page / 2 : 1;
    if (page == 0)
        page = 1;
    switch (key) {
    case 'j':
    case SCREEN_DOWN:
    case SCREEN_ENTER:
    case SCREEN_CONTROL('e'):
    case SCREEN_CONTROL('n'): *at = place_down(*at, step, last); return true;
    case 'k':
    case SCREEN_UP:
    case SCREEN_CONTROL('y'):
    case SCREEN_CONTROL('p'): *at = place_up(*at, step); return true;
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

void view_text_end(struct view_text *text, struct out *out, bool again)
{
    out_close(out);
    /* Now, as keys may move in it before it is drawn. */
    lines_break(text, out->width ? (int)out->width : 1);
    if (again)
        return;
    text->top = 0;
    text->sought.len = 0;
}

/* Gives where a line begins in the text. */
static size_t line_start(const struct view_text *text, size_t line)
{
    return line < text->count ? text->lines[line].at : 0;
}

/* Gives the line that a place in the text lies in. */
static size_t line_of(const struct view_text *text, size_t at)
{
    size_t low = 0, high = text->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (text->lines[middle].at <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Breaks the lines for a screen of other columns; what was at the top stays in sight. */
static void lines_fit(struct view_text *text, int columns)
{
    if (text->columns == columns)
        return;
    size_t at = line_start(text, text->top);
    lines_break(text, columns);
    text->top = line_of(text, at);
}

static size_t top_last(const struct view_text *text)
{
    size_t rows = text->rows > 0 ? (size_t)text->rows : 1;
    return text->count > rows ? text->count - rows : 0;
}

/* ------------------------------------------------------------------------------- searching */

/* Gives where what is looked for ends, if it stands here, else 0. */
static size_t match_end(const struct view_text *text, size_t at)
{
    const struct view_typed *sought = &text->sought;
    enum style style;
    bool fold = text->fold;
    for (size_t i = 0; i < sought->len; i++, at++) {
        for (size_t used = 1; i && used && at < text->len; at += used)
            used = out_style_read(text->text + at, text->len - at, &style);
        if (at >= text->len)
            return 0;
        char c = text->text[at];
        if ((fold ? view_letter_fold(c) : c) != sought->text[i])
            return 0;
    }
    return sought->len ? at : 0;
}

/* Gives the first place from `from` to before `end` where it stands, or the last one; `end` where it does not. */
static size_t match_find(const struct view_text *text, size_t from, size_t end, bool last)
{
    enum style style;
    size_t found = end, used;
    for (size_t i = from; i < end && (last || found == end); i += used ? used : 1) {
        used = text->text[i] == '\033' ? out_style_read(text->text + i, text->len - i, &style) : 0;
        if (!used && match_end(text, i))
            found = i;
    }
    return found;
}

enum view_found view_text_find(struct view_text *text, enum view_find find)
{
    text->fold = view_typed_is_small(&text->sought);
    size_t line = line_of(text, text->found), rows = text->rows > 0 ? (size_t)text->rows : 1;
    size_t from = line_start(text, text->top);
    /* From what was found last on, unless that is out of sight. */
    if (find != VIEW_FIND_HERE && line >= text->top && line - text->top < rows)
        from = text->found + (find == VIEW_FIND_NEXT);
    bool last = find == VIEW_FIND_PREVIOUS;
    size_t begin = last ? 0 : from, end = last ? from : text->len;
    enum view_found how = VIEW_FOUND;
    size_t found = match_find(text, begin, end, last);
    if (found == end) {
        how = VIEW_FOUND_AROUND;
        end = text->len;
        found = match_find(text, 0, end, last);
    }
    if (found == end)
        return VIEW_FOUND_NOT;
    text->found = found;
    line = line_of(text, found);
    if (line < text->top || line - text->top >= rows)
        text->top = line;
    return how;
}

/* --------------------------------------------------------------------------------- drawing */

/* `until` is where what was found last ends, be it in a line before. */
static void line_draw(const struct view_text *text, const struct screen *screen, size_t line,
                      size_t *until)
{
    enum style style = text->lines[line].style;
    size_t start = text->lines[line].at;
    size_t end = line + 1 < text->count ? text->lines[line + 1].at : text->len;
    while (end > start && text->text[end - 1] == ' ')
        end--;
    for (size_t i = start, used; i < end && text->text[i] != '\n'; i += used) {
        const char *at = text->text + i;
        used = out_style_read(at, end - i, &style);
        if (used)
            continue;
        size_t match = i < *until ? 0 : match_end(text, i);
        *until = match ? match : *until;
        bool found = i < *until;
        /* Up to the next style, where something is found or that ends, or the end of the line. */
        for (used = 1; i + used < end && at[used] != '\n' && at[used] != '\033';) {
            if (found ? i + used >= *until : match_end(text, i + used) != 0)
                break;
            used++;
        }
        screen_style(screen, style, found);
        screen_escaped(screen, at, used, screen->cols);
    }
    screen_style(screen, STYLE_PLAIN, false);
}

void view_text_draw(struct view_text *text, const struct screen *screen, int first, int rows)
{
    size_t until = 0;
    text->rows = rows;
    lines_fit(text, screen->cols > 0 ? screen->cols : 1);
    if (text->top > top_last(text))
        text->top = top_last(text);
    for (int row = 0; row < rows && text->top + (size_t)row < text->count; row++) {
        screen_move(first + row, 0);
        line_draw(text, screen, text->top + (size_t)row, &until);
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
