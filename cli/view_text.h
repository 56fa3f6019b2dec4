/* SPDX-License-Identifier: Apache-2.0 */
/* Text of any length to scroll through: what prints to a struct out is kept with its styles, and broken into lines
 * as wide as the screen. */
#ifndef CLI_VIEW_TEXT_H
#define CLI_VIEW_TEXT_H

#include "view_screen.h"

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
    size_t top;  /* the first line to be seen */
    int columns; /* that the lines were broken for; 0: not yet */
    int rows;    /* of the screen that they last had */
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

/* What a key does to a place from 0 to `last`, of which a page holds `page`. False: it does not move. */
bool view_scroll(int key, uint64_t number, uint64_t page, uint64_t last, uint64_t *at);

#endif
