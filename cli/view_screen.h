/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole terminal as a screen to draw on, and the keys typed at it: all that knows ncurses. There is one
 * screen at a time. Whatever is written is escaped on its way. However the program ends, the terminal is put
 * back: at screen_close, before a complaint, and when SIGINT, SIGTERM, SIGHUP, or SIGQUIT ends the reading of keys.
 */
#ifndef CLI_VIEW_SCREEN_H
#define CLI_VIEW_SCREEN_H

#include "out.h"

struct screen {
    int rows;
    int cols;
    bool color;
    bool utf8;
    unsigned text_flags; /* for text_escape */
};

/* Keys that are no characters; a character is its number in Unicode. */
enum {
    SCREEN_NONE = 0x110000, /* nothing was typed in time */
    SCREEN_END,             /* a signal asks to end, or the terminal is gone */
    SCREEN_RESIZE,
    SCREEN_UP,
    SCREEN_DOWN,
    SCREEN_LEFT,
    SCREEN_RIGHT,
    SCREEN_HOME,
    SCREEN_LAST, /* the key End */
    SCREEN_PAGE_UP,
    SCREEN_PAGE_DOWN,
    SCREEN_BACKSPACE,
    SCREEN_OTHER,
    SCREEN_ESCAPE = 27,
    SCREEN_ENTER = '\n'
};
/* The character that a letter and the control key make. */
#define SCREEN_CONTROL(letter) ((letter)&0x1f)

/* Takes the terminal; `color` is COLOR_…. Gives ST_ERR_UNSUPPORTED where there is none, or one that cannot do this. */
st_status screen_open(struct screen *screen, int color, st_error *error);
/* Gives it back as it was; once more does nothing. */
void screen_close(void);
/* Gives the signal that asked to end, or 0. */
int screen_signal(void);

/* Gives the next key; waits for one if `wait`. */
int screen_key(struct screen *screen, bool wait);

/* Begins a new picture, which is empty, and shows it, without a cursor or with one. */
void screen_begin(void);
void screen_show(void);
void screen_show_at(int row, int col);
/* Has all of it drawn again, as something else may have written on the terminal. */
void screen_redraw(void);

/* Goes to a place; what is written from there on is cut where the row, or `width`, ends. */
void screen_move(int row, int col);
void screen_style(const struct screen *screen, enum style style, bool reversed);
/* Write text and give the columns that it took, no more than `width`: text of a file; text that is escaped already,
 * which is made sure of; so many blanks. */
int screen_text(const struct screen *screen, const char *text, size_t len, int width);
int screen_escaped(const struct screen *screen, const char *text, size_t len, int width);
int screen_blanks(int count, int width);
/* Writes text that is escaped already, broken between words or where rows end, from the first column of `row` on into so many rows. */
void screen_broken(const struct screen *screen, const char *text, int row, int rows);
/* Gives the rows that it takes, at least 1. */
int screen_broken_rows(const struct screen *screen, const char *text);

#endif
