/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of a file's tensors, put into its own metadata by a step of an edit. */
#include "edit.h"

#include <safetensors/inspect.h>

static st_status record_make(const st_file *file, st_edit *edit, const st_hashes *hashes,
                             st_error *error)
{
    st_hash_record record;
    st_status status = st_hash_record_init(&record, file, hashes, error);
    if (status != ST_OK)
        return status;
    status = st_hash_record_set(&record, file, edit, error);
    st_hash_record_release(&record);
    return status;
}

int stpy_edit_record(stpy_edited *self, const char *algorithm)
{
    stpy_watch *watch = &self->owner->watch;
    const st_hash_options options = {.hash = st_hash_find(algorithm, strlen(algorithm)),
                                     .parts = ST_HASH_TENSORS,
                                     .progress = stpy_watch_progress(watch)};
    st_hashes hashes;
    st_error error;
    stpy_watch_part(watch, st_header_data_size(st_file_header(self->file)));
    stpy_watch_begin(watch);
    st_status status = st_hashes_read(self->file, &options, &hashes, &error);
    int failed = stpy_watch_end(watch);
    if (status == ST_OK) {
        status = failed ? ST_OK : record_make(self->file, self->edit, &hashes, &error);
        st_hashes_release(&hashes);
    }
    if (status != ST_OK) {
        stpy_edit_raise(self->owner->state, &error);
        return -1;
    }
    return failed;
}
