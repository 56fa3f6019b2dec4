/* SPDX-License-Identifier: Apache-2.0 */
#include "leftover.h"

#include <safetensors/checkpoint.h>
#include <string.h>

#include "out.h"

#define INTERRUPTED "is under way or was interrupted; \"safetensors repair\" "

static bool mention_take(void *ctx, const st_checkpoint_recovery *found)
{
    struct progress *progress = ctx;
    const char *what = found->several ? "of several files " INTERRUPTED "removes what it left"
                                      : "in place " INTERRUPTED "undoes it";
    if (found->several && found->found.action == ST_RECOVERY_FORWARD)
        what = "of several files " INTERRUPTED "brings it to its end";
    /* A file that is as it was, or as it should be; one that cannot be opened says so itself. */
    if (!found->several && (found->why ? found->why->status != ST_ERR_JOURNAL
                                       : found->found.action != ST_RECOVERY_BACK))
        return true;
    if (progress)
        progress_hide(progress);
    if (found->why)
        complain("%s", found->why->message);
    else
        complain("%s: an edit %s", found->path, what);
    return true;
}

void leftover_mention(const char *path, struct progress *progress)
{
    st_error error;
    if (strcmp(path, "-") != 0)
        (void)(st_checkpoint_recovery_look(path, NULL, mention_take, progress, &error) == ST_OK);
}

/* ------------------------------------------------------------------------------ putting right */

static bool repair_tell(void *ctx, const st_checkpoint_recovery *found)
{
    bool *any = ctx;
    *any = true;
    if (found->why)
        return true; /* st_checkpoint_recover says so */
    if (found->several)
        complain("%s: an edit of several files was interrupted; %s", found->path,
                 found->found.action == ST_RECOVERY_FORWARD ? "it is brought to its end first"
                                                            : "what it left is removed first");
    else if (found->found.action == ST_RECOVERY_BACK)
        complain("%s: an edit in place was interrupted; it is undone first", found->path);
    return true;
}

st_status leftover_repair(const char *path, st_error *error)
{
    st_error unknown;
    bool any = false;
    if (strcmp(path, "-") == 0 ||
        st_checkpoint_recovery_look(path, NULL, repair_tell, &any, &unknown) != ST_OK || !any)
        return ST_OK;
    return st_checkpoint_recover(path, NULL, NULL, error);
}

st_status leftover_settle(const char *path, bool change, st_error *error)
{
    if (change)
        return leftover_repair(path, error);
    leftover_mention(path, NULL);
    return ST_OK;
}
