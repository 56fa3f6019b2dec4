/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program says, and how it ends. A struct out is one stream of output: standard output or
 * a file. A write that fails ends the program: with a message and EXIT_UNREADABLE, or, where the
 * reader of a pipe has gone, silently with the exit code reached so far; unless there is other work to do.
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <safetensors/safetensors.h>
#include <stdarg.h>
#include <stdio.h>

#if defined(__GNUC__)
# define CLI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
# define CLI_PRINTF(text, first)
#endif

enum {
    EXIT_GOOD = 0,
    EXIT_BAD = 1,       /* a file breaks the rules */
    EXIT_USAGE = 2,     /* wrong usage, what was asked for not being there included */
    EXIT_UNREADABLE = 3 /* something cannot be read or written */
};

/* What they mean, and those above 128 too, for people. */
#define EXIT_CODES                                                                                \
 "0 when all is well, 1 when a file breaks the rules of the format or differs from what it "      \
 "should be, 2 for wrong usage (a tensor or a key that is not there included), 3 when something " \
 "cannot be read or written, and 130 when Ctrl-C ended long work, which leaves nothing half "     \
 "done. Of several files the highest counts."

/* Gives the exit code that a library status means. */
int exit_of(st_status status);

/* Fills an error of no certain offset. Gives `status`. */
st_status error_fill(st_error *error, st_status status, const char *format, ...) CLI_PRINTF(3, 4);
/* Fills an error from errno, as the library does for a file. Gives ST_ERR_IO. */
st_status io_error(const char *path, st_error *error);

/* Prints "safetensors: MESSAGE" to standard error, controls escaped. */
void complain(const char *format, ...) CLI_PRINTF(1, 2);
/* Has `first` called before that: whoever draws on the whole terminal puts it back there. NULL: nothing. */
void complain_after(void (*first)(void));

enum { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

enum style {
    STYLE_PLAIN,
    STYLE_HEAD,
    STYLE_GROUP,
    STYLE_DTYPE,
    STYLE_SIZE,
    STYLE_DIM,
    STYLE_ERROR,
    STYLE_WARNING,
    STYLE_NOTE
};

struct out {
    FILE *stream;
    const char *name;
    bool tty;
    bool color;
    bool utf8;           /* what reads it shows UTF-8 */
    unsigned text_flags; /* for text_escape */
    size_t width;        /* columns */
    int exit_code;       /* the worst so far */
    bool goes_on;        /* whether anybody reads it or not */
    char *temporary;     /* what takes the place of `target` at the end, or NULL */
    char *target;
};

/* Starts on standard output; `color` is COLOR_…. */
void out_open(struct out *out, int color);
/* Says that this verb is there for what it does to files: a reader that leaves does not end it. */
void out_go_on(struct out *out);
/* Starts on a new or emptied file. Gives false, having complained, if it cannot be made. */
bool out_create(struct out *out, const char *path);
/* The same, but the file takes its place only when out_close ends it: until then, and after any failure,
 * what was there stays. What is no regular file is written to as it is. Gives ST_ERR_IO where it cannot be
 * made, ST_ERR_ARGUMENT where a model is. */
st_status out_replace(struct out *out, const char *path, st_error *error);
/* Refuses what that would refuse: for a dry run, and for work that is long. */
st_status out_replace_look(const char *path, st_error *error);
/* Ends the stream; gives the exit code. */
int out_close(struct out *out);
/* Ends the stream without its file: what out_replace was to replace stays. */
void out_discard(struct out *out);
/* Raises the exit code to at least `code`. */
void out_worst(struct out *out, int code);
/* Raises it where a signal has asked to stop: no call may be there to report it, if it came between two. */
void out_signal(struct out *out);

void out_write(struct out *out, const char *text, size_t len);
void out_text(struct out *out, const char *text);
void out_print(struct out *out, const char *format, ...) CLI_PRINTF(2, 3);
void out_blanks(struct out *out, size_t count);
/* Writes text that came from a file, escaped. */
void out_escaped(struct out *out, const char *text, size_t len);
/* Writes a message of the library's, in which names are escaped already. */
void out_message(struct out *out, const char *message);
/* Switches the colour, where there are colours. */
void out_style(struct out *out, enum style style);
/* Reads what out_style wrote, where text begins with it; gives its length, else 0. */
size_t out_style_read(const char *text, size_t len, enum style *style);

#endif
