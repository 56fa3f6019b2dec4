/* SPDX-License-Identifier: Apache-2.0 */
/* check --repair: what can be saved of a damaged file, in a new one; of a checkpoint, in a new folder. */
#ifndef CLI_SALVAGE_H
#define CLI_SALVAGE_H

#include <safetensors/salvage.h>

#include "json.h"
#include "progress.h"
#include "verb.h"

struct salvage_options {
    const struct common *common;
    const char *target; /* the new file, or folder */
    bool dry;           /* it is not written */
    bool quiet;
    bool strict;  /* a warning counts as an error does */
    uint64_t max; /* items printed */
};

/* What is done with each file. */
struct salvage {
    const struct salvage_options *options;
    const char *path;
    const char *target;
    struct out *out;
    struct json *json; /* NULL: text */
    struct progress progress;
    bool listed;      /* the document's list of items has begun */
    bool failed;      /* this file did, and that was told */
    bool bad;         /* something was wrong with the file */
    uint64_t printed; /* items */
    uint64_t omitted; /* by --max */
    uint64_t files;   /* of a checkpoint: that were written, or would be */
    uint64_t tensors;
};

/* Begins what is told of a file. */
void salvage_begin(struct salvage *salvage, const char *path, const char *target);
/* Receives what was saved, changed or lost, and prints it. */
bool salvage_item(void *ctx, const st_salvage_item *item);
/* Begins and ends the list of items in the document, if there is one. */
void salvage_list_begin(struct salvage *salvage);
void salvage_list_end(struct salvage *salvage);
/* Tells of a file that was looked through. */
void salvage_tell(struct salvage *salvage, const st_salvage_summary *summary);
/* Saves the files of a checkpoint, and makes its index anew. */
void salvage_checkpoint(struct salvage *salvage, const char *path);

/* Saves what can be saved of the file at `path`, or of each file of a checkpoint, and tells what was saved, changed and
 * lost. Gives the exit code. */
int salvage_run(const struct salvage_options *options, const char *path);

#endif
