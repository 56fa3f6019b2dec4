/* SPDX-License-Identifier: Apache-2.0 */
/* Where the file of a path lies: a name in a directory that is held open, so that neither a change of the working
 * directory nor a renamed parent comes between the steps of a save. */
#ifndef ST_IO_LOCATION_H
#define ST_IO_LOCATION_H

#include "io/os.h"

typedef struct st__location {
    int directory;
    char name[ST__OS_NAME];
} st__location;

/* Finds it, and whether there is a file: at the end of a chain of links, or at a link into the store of a hub
 * cache, as what lies there is shared and named by its digest. An errno. */
int st__location_find(const char *path, st__location *out, bool *there);
/* The same of a path that begins in a directory that is open, be it ST__OS_HERE. */
int st__location_find_at(int directory, const char *path, st__location *out, bool *there);
void st__location_leave(st__location *at);
/* Tells whether a directory is the store of a hub cache: a folder `blobs` beside a folder `snapshots`, whose links lead
 * into it. */
bool st__location_is_hub_store(int directory);

/* What the name of the journal of an edit in place ends with (docs/journal.md). */
#define ST__JOURNAL_ENDING ".st-journal"
/* The journal's name, beside the file; false where no name may be so long. */
bool st__location_journal(const st__location *at, char out[ST__OS_NAME]);

#endif
