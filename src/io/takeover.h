/* SPDX-License-Identifier: Apache-2.0 */
/* The place that a new file takes, with the file that is in it until then: nobody edits that one in place meanwhile, and
 * it does not go while the bytes that such an edit has overwritten are in its journal only. Such a file is no source of a
 * new one either. */
#ifndef ST_IO_TAKEOVER_H
#define ST_IO_TAKEOVER_H

#include "io/location.h"
#include "io/source.h"

typedef struct st__takeover {
    const st__location *at;
    const char *name; /* for messages */
    st_context *context;
    const st__os_info *old; /* the file that has to be there, unchanged; NULL: any, or none */
    int file;               /* that is there, locked; -1: none, or one that cannot be */
    bool stale;             /* there is a journal, of no use to a new file: */
    st__os_info journal;
} st__takeover;

/* Puts back what an edit in place has overwritten of the file in a place, if it was interrupted. ST_ERR_JOURNAL, ST_ERR_IO
 * and ST_ERR_CHANGED as st_edit_recover. */
st_status st__takeover_recover(const st__takeover *place, st_error *error);

/* Keeps out whoever edits the file there in place. ST_ERR_IO; with EAGAIN where one file has to be there, and somebody
 * edits or replaces it; ST_ERR_CHANGED where that one is not; ST_ERR_JOURNAL where the journal is needed, or damaged. */
st_status st__takeover_begin(st__takeover *place, st_error *error);
/* Lets them go on. If the place was `taken`, what is left of the old file's journal is removed; one that came meanwhile
 * is of an edit of the new file, and stays. */
void st__takeover_end(st__takeover *place, bool taken);

/* Puts a file of the same directory in a place that any file may be in, with all three. */
st_status st__takeover_make(const st__takeover *place, const char *from, st_error *error);

/* ST_ERR_JOURNAL where an edit in place of a source's file was interrupted, or is under way, so that what it holds is
 * neither the old nor the new bytes; ST_ERR_IO. As far as it can be told where the file lies. */
st_status st__source_settled(st_source *source, st_error *error);

#endif
