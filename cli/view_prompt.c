/* SPDX-License-Identifier: Apache-2.0 */
/* What is typed in the last row: the filter of the tree, what is looked for in a text, and commands as in vim. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "text.h"
#include "view.h"

/* The text that is looked through here; NULL: there is none. */
static struct view_text *text_here(struct view *view)
{
    switch (view->pane) {
    case VIEW_METADATA:
    case VIEW_FACTS: return &view->text;
    case VIEW_HELP: return &view->help;
    default: return NULL;
    }
}

static struct view_typed *typed_here(struct view *view)
{
    struct view_text *text = text_here(view);
    if (view->prompt == ':')
        return &view->command;
    return text ? &text->sought : &view->filter;
}

/* ---------------------------------------------------------------------------------- filtering */

static void filter_apply(struct view *view)
{
    view_model_filter(&view->model, view->filter.text, view->filter.len);
}

void view_filter_set(struct view *view, const char *text)
{
    size_t len = strlen(text);
    view->filter.len = len < VIEW_FILTER_MAX ? len : VIEW_FILTER_MAX;
    memcpy(view->filter.text, text, view->filter.len);
    filter_apply(view);
}

/* ---------------------------------------------------------------------------------- searching */

/* Goes to the first place at or behind the line where the search began; back to that line, if there is none. */
static void search_apply(struct view *view, struct view_text *text)
{
    text->top = view->search_top;
    view->search_lost = text->sought.len && !view_text_find(text, VIEW_FIND_HERE);
}

static void search_end(struct view *view, const struct view_text *text)
{
    if (view->search_lost)
        view_say(view, STYLE_NOTE, "nothing here reads %s",
                 text_quote(text->sought.text, text->sought.len).text);
}

static void search_next(struct view *view, struct view_text *text, bool forward)
{
    if (text->sought.len == 0) {
        view_say(view, STYLE_NOTE, "nothing was looked for yet: / begins that");
        return;
    }
    enum view_found found = view_text_find(text, forward ? VIEW_FIND_NEXT : VIEW_FIND_PREVIOUS);
    if (found == VIEW_FOUND_AROUND)
        view_say(view, STYLE_NOTE, forward ? "on from the beginning" : "on from the end");
    view->search_lost = found == VIEW_FOUND_NOT;
    search_end(view, text);
}

bool view_search_key(struct view *view, int key)
{
    struct view_text *text = text_here(view);
    if (!text || (key != 'n' && key != 'N'))
        return false;
    search_next(view, text, key == 'n');
    return true;
}

/* ----------------------------------------------------------------------------------- commands */

static bool is_one_of(const char *const *words, const struct view_typed *typed)
{
    for (; *words; words++)
        if (strlen(*words) == typed->len && memcmp(*words, typed->text, typed->len) == 0)
            return true;
    return false;
}

/* Reads a row's number; false for anything else, and for one that no file has rows for. */
static bool row_read(const struct view_typed *typed, uint64_t *row)
{
    *row = 0;
    if (typed->len == 0 || typed->len > 18)
        return false;
    for (size_t i = 0; i < typed->len; i++) {
        if (typed->text[i] < '0' || typed->text[i] > '9')
            return false;
        *row = *row * 10 + (uint64_t)(typed->text[i] - '0');
    }
    return true;
}

static void command_run(struct view *view)
{
    static const char *const quits[] = {"q", "q!", "qa", "qa!", "quit", "x", NULL};
    static const char *const helps[] = {"h", "help", NULL};
    const struct view_typed *typed = &view->command;
    uint64_t row;
    if (typed->len == 0)
        return;
    if (is_one_of(quits, typed))
        view->over = true;
    else if (is_one_of(helps, typed))
        view_help_open(view);
    else if (row_read(typed, &row))
        view_pane_key(view, row ? 'G' : 'g', row);
    else if (is_one_of((const char *const[]){"$", NULL}, typed))
        view_pane_key(view, 'G', 0);
    else
        view_say(view, STYLE_NOTE, "there is no command %s: :q quits, :12 goes to row 12",
                 text_quote(typed->text, typed->len).text);
}

/* ------------------------------------------------------------------------------------ opening */

bool view_prompt_open(struct view *view, int key)
{
    struct view_text *text = text_here(view);
    if (key != ':' && (key != '/' || (!text && view->pane != VIEW_TREE)))
        return false;
    view->prompt = (char)key;
    if (key == ':' || text)
        typed_here(view)->len = 0; /* a filter that is in force is typed on */
    if (text)
        view->search_top = text->top;
    view->search_lost = false;
    return true;
}

/* Draws the bytes that are typed, and behind them what they have come to. */
static int row_draw(const struct view *view, const struct view_typed *typed, const char *said)
{
    const struct screen *screen = &view->screen;
    int room = screen->cols - 1 - (int)strlen(said);
    screen_move(screen->rows - 1, 0);
    screen_style(screen, STYLE_NOTE, false);
    screen_text(screen, &view->prompt, 1, 1);
    size_t width = text_width(typed->text, typed->len, screen->text_flags);
    if (room < 10)
        room = screen->cols - 1;
    view_cell(screen, typed->text, typed->len, room, true);
    screen_style(screen, STYLE_DIM, false);
    screen_text(screen, said, strlen(said), screen->cols);
    screen_blanks(screen->cols, screen->cols);
    return 1 + ((int)width < room ? (int)width : room > 0 ? room - 1 : 0);
}

int view_prompt_draw(struct view *view)
{
    char said[48] = "";
    const struct view_typed *typed = typed_here(view);
    if (typed == &view->filter) {
        uint32_t shown = view_tensors_shown(&view->model);
        snprintf(said, sizeof said, "  %" PRIu32 " tensor%s", shown, shown == 1 ? "" : "s");
    } else if (view->search_lost) {
        snprintf(said, sizeof said, "  not here");
    }
    return row_draw(view, typed, said);
}

/* ------------------------------------------------------------------------------------- typing */

/* Takes the last character away, or the last word. */
static void typed_shorten(struct view_typed *typed, bool word)
{
    size_t len = typed->len;
    if (word) {
        while (len > 0 && typed->text[len - 1] == ' ')
            len--;
        while (len > 0 && typed->text[len - 1] != ' ')
            len--;
    } else {
        while (len > 0 && ((unsigned char)typed->text[len - 1] & 0xc0) == 0x80)
            len--;
        len -= len > 0;
    }
    typed->len = len;
}

static void typed_add(struct view_typed *typed, int key)
{
    char bytes[16];
    mbstate_t state = {0};
    if (key < ' ' || key >= SCREEN_NONE)
        return;
    size_t len = wcrtomb(bytes, (wchar_t)key, &state);
    if (len == (size_t)-1 || len > VIEW_FILTER_MAX - typed->len)
        return;
    memcpy(typed->text + typed->len, bytes, len);
    typed->len += len;
}

/* What is typed is done, or not. */
static void prompt_close(struct view *view, bool done)
{
    bool command = view->prompt == ':';
    struct view_text *text = text_here(view);
    view->prompt = 0;
    if (command && done) {
        command_run(view);
    } else if (!command && text && done) {
        search_end(view, text);
    } else if (!command && text) {
        text->sought.len = 0;
        search_apply(view, text);
    } else if (!command && !done) {
        view_filter_set(view, "");
    }
}

/* What else is typed changes it. */
static void prompt_type(struct view *view, int key)
{
    struct view_typed *typed = typed_here(view);
    struct view_text *text = text_here(view);
    size_t before = typed->len;
    switch (key) {
    case SCREEN_BACKSPACE:
        if (before == 0)
            view->prompt = 0;
        typed_shorten(typed, false);
        break;
    case SCREEN_CONTROL('w'): typed_shorten(typed, true); break;
    case SCREEN_CONTROL('u'): typed->len = 0; break;
    default: typed_add(typed, key);
    }
    if (typed->len == before)
        return;
    if (typed == &view->filter)
        filter_apply(view);
    else if (typed != &view->command)
        search_apply(view, text);
}

void view_prompt_key(struct view *view, int key)
{
    switch (key) {
    case SCREEN_ENTER: prompt_close(view, true); return;
    case SCREEN_ESCAPE: prompt_close(view, false); return;
    case SCREEN_UP:
    case SCREEN_DOWN:
    case SCREEN_PAGE_UP:
    case SCREEN_PAGE_DOWN:
    case SCREEN_CONTROL('n'):
    case SCREEN_CONTROL('p'):
        if (typed_here(view) == &view->filter)
            view_tree_key(view, key, 0);
        return;
    default: prompt_type(view, key);
    }
}
