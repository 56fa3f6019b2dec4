/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h: long calls that have released the GIL, look for signals now and then, and tell how far they have come. */
#ifndef STPY_WATCH_H
#define STPY_WATCH_H

#include "extension.h"

/* One call of ours, which may consist of several of the library's. */
typedef struct stpy_watch {
    PyThreadState *thread; /* of the call; NULL: it holds the GIL */
    PyObject *progress;    /* borrowed: what is told; NULL: nothing */
    uint64_t told;         /* bytes that the last look came after */
    uint64_t total;        /* of all parts; 0: there are none, and the library's call counts */
    uint64_t before;       /* of the parts that are over */
    uint64_t part;         /* of the one at hand, whatever the library's call makes of it */
    bool ended;            /* an exception is set, or what is told said False */
} stpy_watch;

/* Reads the argument `progress`: None, or what can be called. */
int stpy_watch_read(PyObject *progress, stpy_watch *out);
/* The library's progress: ends the work where a signal's handler or what is told raises, or the latter says False. */
st_progress stpy_watch_progress(stpy_watch *watch);
/* Release the GIL for a call of the library's, and take it back: -1 where an exception is set by then, whatever the
 * library says. */
void stpy_watch_begin(stpy_watch *watch);
int stpy_watch_end(stpy_watch *watch);
/* Begins a part of `size` bytes; the one before is over. */
void stpy_watch_part(stpy_watch *watch, uint64_t size);

#endif
