/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of files that can be opened again: a context has no more of them open than its budget says, as far as
 * they are not in use. */
#ifndef ST_IO_DESCRIPTORS_H
#define ST_IO_DESCRIPTORS_H

#include "io/os.h"

/* Those of a context. */
typedef struct st__descriptors st__descriptors;

typedef struct st__descriptor {
    st__descriptors *among; /* NULL: open until the end, and nothing below is used */
    int fd;                 /* -1: closed */
    uint32_t holders;
    char *path; /* absolute */
    size_t path_size;
    const char *name;                     /* for messages */
    st__os_info first;                    /* what the file was when it was seen first */
    struct st__descriptor *older, *newer; /* of those that are open and that nobody holds */
} st__descriptor;

/* NULL without a context, and where there is no memory for it. */
st__descriptors *st__descriptors_of(st_context *context);
/* As st__os_open, counted; one that nobody holds is closed for it where the budget, or the process's limit, is
 * reached. */
int st__descriptors_open(st__descriptors *all, const char *path, int *out);
void st__descriptors_close(st__descriptors *all, int fd);

/* Makes a descriptor, opened by st__descriptors_open or -1, one that may be closed and opened again. `first` and
 * `name` stand in it already. Where the path is relative and the working directory cannot be told it stays open for
 * good; ST_ERR_UNSUPPORTED for -1. ST_ERR_NOMEM. Nothing has changed after a failure. */
st_status st__descriptor_join(st__descriptor *descriptor, st__descriptors *all, const char *path,
                              st_error *error);
/* Closes it. */
void st__descriptor_leave(st__descriptor *descriptor);

/* Gives the descriptor, opened if need be, and open until it is let go as often as it was held. ST_ERR_IO;
 * ST_ERR_CHANGED where another file is there now. */
st_status st__descriptor_hold(st__descriptor *descriptor, int *fd, st_error *error);
void st__descriptor_let_go(st__descriptor *descriptor);

#endif
