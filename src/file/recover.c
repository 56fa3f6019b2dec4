/* SPDX-License-Identifier: Apache-2.0 */
/* What an interrupted edit in place has left of a path is told, or put right. */
#include "io/edited.h"
#include "base/error.h"

/* Without a journal the file is not opened: who may not change it need not. */
static st_status path_recover(const char *path, st_context *context, bool change, st_recovery *out,
                              st_error *error)
{
    st__edited edited;
    st_recovery found = {.action = ST_RECOVERY_NONE};
    ST_TRY(st__edited_find(&edited, path, context, error));
    if (!st__edited_has_journal(&edited)) {
        st_status known = st__edited_regular(&edited, error);
        st__edited_close(&edited);
        if (known == ST_OK)
            *out = found;
        return known;
    }
    st_status status = st__edited_open(&edited, change, error);
    if (status == ST_OK)
        status = change ? st__edited_recover(&edited, &found, error)
                        : st__edited_look(&edited, &found, error);
    st__edited_close(&edited);
    if (status == ST_OK)
        *out = found;
    return status;
}

st_status st_recovery_look(const char *path, st_context *context, st_recovery *out, st_error *error)
{
    return path_recover(path, context, false, out, error);
}

st_status st_edit_recover(const char *path, st_context *context, bool *recovered, st_error *error)
{
    st_recovery found;
    ST_TRY(path_recover(path, context, true, &found, error));
    if (recovered)
        *recovered = found.action == ST_RECOVERY_BACK;
    return ST_OK;
}
