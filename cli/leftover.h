/* SPDX-License-Identifier: Apache-2.0 */
/* What interrupted edits have left beside a FILE: of itself, or of the files of a folder or an index. */
#ifndef CLI_LEFTOVER_H
#define CLI_LEFTOVER_H

#include "progress.h"

/* Complains where what is read may be half of an edit, be it under way or interrupted; the bar goes from the terminal
 * first, unless `progress` is NULL. */
void leftover_mention(const char *path, struct progress *progress);
/* Puts it right, as safetensors repair does, and says so on standard error. Gives what st_checkpoint_recover gives; what
 * cannot be looked at is left for the opening of the file to tell. */
st_status leftover_repair(const char *path, st_error *error);
/* The latter, to change what is there; else the former. */
st_status leftover_settle(const char *path, bool change, st_error *error);

#endif
