/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a long job has come, on standard error where that is a terminal, and its end by Ctrl-C: while a
 * progress runs, SIGINT and SIGTERM make the library stop and clean up, rather than kill the program. A
 * second one kills it.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <safetensors/safetensors.h>
#include <stdio.h>

struct progress {
    FILE *stream; /* NULL: draw nothing */
    bool utf8;
    size_t width;            /* columns; 0: as many as the terminal has */
    uint64_t (*clock)(void); /* nanoseconds */
    uint64_t delay;          /* nanoseconds until the first drawing */
    const char *unit;        /* what is counted; NULL: bytes */
    bool open;               /* there may be more than `total` of them */
    uint64_t total;          /* of the whole job */
    uint64_t before;         /* of the parts that are done */
    uint64_t part;           /* of the part at hand */
    uint64_t start;
    uint64_t drawn_at;
    size_t drawn; /* columns that stand on the terminal */
};

/* Starts on standard error, to draw from the second second on. */
void progress_start(struct progress *progress, uint64_t total);
/* The same for a job that is counted in files, however large each one is. */
void progress_start_files(struct progress *progress, uint64_t total);
/* Ends it: the terminal is as it was, and so are the signals. */
void progress_end(struct progress *progress);

/* Begins the next part of the job, of so many bytes of its total. */
void progress_part(struct progress *progress, uint64_t size);
/* Begins the next of the files. False: a signal has asked to stop. */
bool progress_file(struct progress *progress);
/* Gives what the library is to call during a part. */
st_progress progress_callback(struct progress *progress);
/* Takes the bar off the terminal, so that something else can be printed. */
void progress_hide(struct progress *progress);

/* Gives the nanoseconds of a clock that is not set. */
uint64_t progress_now(void);
/* Gives the signal that asked to stop, or 0. */
int progress_signal(void);

#endif
