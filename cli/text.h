/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: strings from files made safe to print, and numbers made short. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one UTF-8 character; gives its length, or 0 where the bytes are none. */
size_t text_decode(const char *text, size_t len, uint32_t *out);

/* Tells a control, an invisible character, or one that reorders its neighbours. */
bool text_is_suspect(uint32_t c);

enum {
    TEXT_ASCII = 1,          /* the terminal shows no UTF-8: escape whatever is not ASCII */
    TEXT_KEEP_BACKSLASH = 2, /* the text was escaped before */
    TEXT_KEEP_LINES = 4      /* newlines and tabs are wanted as they are */
};

/* One character as it may be printed. */
struct text_piece {
    char text[12];
    size_t len;
    size_t width; /* columns */
};

/*
 * Escapes the first character of `text`: backslash, newline, tab, and carriage return as \\ \n \t
 * \r, other suspects as \uXXXX or \UXXXXXXXX, bytes that are no UTF-8 as \xNN. Gives the bytes it
 * took.
 */
size_t text_escape(const char *text, size_t len, unsigned flags, struct text_piece *piece);

/* Gives how many bytes text_escape would leave as they are, at the least: printable ASCII. */
size_t text_plain_len(const char *text, size_t len);

/* Gives the columns that the escaped text takes. */
size_t text_width(const char *text, size_t len, unsigned flags);

/* Reverses text_escape in place; gives the new length. Unknown escapes stay as they are. */
size_t text_unescape(char *text, size_t len);

/* Room for a quoted name, cut where it is longer. */
struct text_quoted {
    char text[160];
};

/* Gives the text escaped and in quotes. Use it inside one expression. */
struct text_quoted text_quote(const char *text, size_t len);

/* Room for a short number. */
struct text_short {
    char text[24];
};

/* Gives "86.7 MiB". */
struct text_short text_bytes(uint64_t bytes);
/* Reads a whole number and a unit: K, M, G, T, or KiB and so on for powers of 1024, KB and so on for
 * those of 1000, B or nothing for bytes, in either case. False for anything else, or too much. */
bool text_read_bytes(const char *text, uint64_t *out);
/* Gives "22.7M". */
struct text_short text_count(uint64_t count);
/* Gives "16.7%"; "<0.1%" and ">99.9%" for what is not quite nothing or all. */
struct text_short text_percent(uint64_t part, uint64_t whole);

#endif
