/* SPDX-License-Identifier: Apache-2.0 */
/* check --repair: what can be saved of a damaged file, in a new one; of a checkpoint, in a new folder. */
#ifndef CLI_SALVAGE_H
#define CLI_SALVAGE_H

#include "verb.h"

struct salvage_options {
    const struct common *common;
    const char *target; /* the new file, or folder */
    bool dry;           /* it is not written */
    bool quiet;
    bool strict;  /* a warning counts as an error does */
    uint64_t max; /* items printed */
};

/* Saves what can be saved of the file at `path`, or of each file of a checkpoint, and tells what was saved, changed and
 * lost. Gives the exit code. */
int salvage_run(const struct salvage_options *options, const char *path);

#endif
