/* SPDX-License-Identifier: Apache-2.0 */
/* A file that is edited in place, or may have been: where it lies, itself, and the journal beside it. */
#ifndef ST_IO_EDITED_H
#define ST_IO_EDITED_H

#include "io/journal.h"
#include "io/location.h"

#include <safetensors/edit.h>

typedef struct st__edited {
    st_context *context;
    const char *path; /* for messages */
    st__location at;
    char journal[ST__OS_NAME]; /* empty: no name may be so long, and there is none */
    int file;                  /* -1: not open */
    bool locked;
} st__edited;

/* Finds where the file is. ST_ERR_IO, also where it is not. */
st_status st__edited_find(st__edited *edited, const char *path, st_context *context,
                          st_error *error);
/* Opens it: to change it, locked, or only to read. ST_ERR_IO; ST_ERR_UNSUPPORTED for what is no
 * regular file, or a link into the store of a hub cache; ST_ERR_CHANGED where it was replaced before it was locked. */
st_status st__edited_open(st__edited *edited, bool change, st_error *error);
/* Unlocks and closes it. */
void st__edited_let_go(st__edited *edited);
/* The same, and leaves the place that st__edited_find found. */
void st__edited_close(st__edited *edited);
/* ST_ERR_UNSUPPORTED for what is no regular file; it need not be open. */
st_status st__edited_regular(const st__edited *edited, st_error *error);

/* ST_ERR_CHANGED unless the file that is open is still the one of its name. */
st_status st__edited_there(const st__edited *edited, st_error *error);
/* ST_ERR_UNSUPPORTED for what lies in the store of a hub cache: it has its digest for a name, and other snapshots share
 * it. */
st_status st__edited_own(const st__edited *edited, st_error *error);
/* Tells whether there may be a journal. */
bool st__edited_has_journal(const st__edited *edited);
/* Removes it for good; an errno. */
int st__edited_settle(const st__edited *edited);
/* As st_recovery_look, of a file that is open. */
st_status st__edited_look(const st__edited *edited, st_recovery *out, st_error *error);
/* As st_edit_recover, of a file that is locked. */
st_status st__edited_recover(const st__edited *edited, st_recovery *out, st_error *error);

#endif
