/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint as an edit of one file. */
#include "checkpoint/checkpoint.h"

static st_status all_include(const st_checkpoint *checkpoint, st_edit *edit, st_error *error)
{
    for (size_t i = 0; i < checkpoint->count; i++) {
        st_checkpoint_tensor found = st_checkpoint_at(checkpoint, i);
        ST_TRY(st_edit_include(edit, found.file, found.tensor, NULL, 0, error));
    }
    for (size_t i = 0; i < checkpoint->metadata_count; i++)
        ST_TRY(st_edit_set_metadata(edit, &checkpoint->metadata[i], error));
    return ST_OK;
}

st_status st_checkpoint_merge(const st_checkpoint *checkpoint, const st_edit_options *options,
                              st_edit **out, st_error *error)
{
    st_edit *edit;
    ST_TRY(st_edit_new(NULL, options, &edit, error));
    st_status status = all_include(checkpoint, edit, error);
    if (status == ST_OK)
        *out = edit;
    else
        st_edit_free(edit);
    return status;
}
