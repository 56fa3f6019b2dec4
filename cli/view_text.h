/* SPDX-License-Identifier: Apache-2.0 */
/* Text of any length to scroll through: what prints to a struct out is kept with its styles, and broken into lines
 * as wide as the screen. */
#ifndef CLI_VIEW_TEXT_H
#define CLI_VIEW_TEXT_H

#include "view_screen.h"
#include "view_words.h"

struct view_line {
    size_t at;        /* in the text */
    enum style style; /* that it begins in */
};

struct view_text {
    char *text; /* escaped, but for newlines and the codes of styles */
    size_t len;
    struct view_line *lines;
    size_t count;
    size_t room;
    size_t top;               /* the first line to be seen */
    int columns;              /* that the lines were broken for */
    int rows;                 /* of the screen that they last had */
    struct view_typed sought; /* is seen as found, wherever it stands */
    bool fold;                /* it has no capital: capitals count as small letters */
    size_t found;             /* where it was found last */
};

/* Begins to keep what is printed to `out`; what was kept is gone. */
void view_text_begin(struct view_text *text, const struct screen *screen, struct out *out);
/* Ends it. The text is seen from its beginning, or from where it was, where it was there before: `again`. */
void view_text_end(struct view_text *text, struct out *out, bool again);
void view_text_release(struct view_text *text);

/* Draws what is to be seen into so many rows of the screen. */
void view_text_draw(struct view_text *text, const struct screen *screen, int first, int rows);
/* Takes a key that scrolls, with the number typed before it or 0; false: it is no such key. */
bool view_text_key(struct view_text *text, int key, uint64_t number);

/* Where what is looked for is to be: in the first line seen or behind it, or behind or before where it was found. */
enum view_find { VIEW_FIND_HERE, VIEW_FIND_NEXT, VIEW_FIND_PREVIOUS };
enum view_found { VIEW_FOUND_NOT, VIEW_FOUND, VIEW_FOUND_AROUND /* the end, or the beginning */ };
enum view_found view_text_find(struct view_text *text, enum view_find find);

/* Tells whether a key moves by whole or half screens. */
bool view_scroll_is_page(int key);
/* What a key does to a place from 0 to `last`, of which a page holds `page`. False: it does not move. */
bool view_scroll(int key, uint64_t number, uint64_t page, uint64_t last, uint64_t *at);

#endif
