/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of a file's tensors, put into its own metadata by a step of an edit. */
#include "edit.h"

#include <safetensors/inspect.h>

/* Removes what is recorded so far, of whatever algorithm: it may be of tensors as they were. */
static st_status records_remove(st_edit *edit, const st_header *header, st_error *error)
{
    st_status status = ST_OK;
    for (size_t i = 0; i < st_header_metadata_count(header) && status == ST_OK; i++) {
        const st_metadata *entry = st_header_metadata_at(header, i);
        if (st_hash_record_is(entry->key, entry->key_len))
            status = st_edit_remove_metadata(edit, entry->key, entry->key_len, error);
    }
    return status;
}

static st_status record_make(const st_file *file, st_edit *edit, const st_hashes *hashes,
                             st_error *error)
{
    st_hash_record record;
    st_status status = st_hash_record_init(&record, file, hashes, error);
    if (status != ST_OK)
        return status;
    status = records_remove(edit, st_file_header(file), error);
    if (status == ST_OK)
        status = st_edit_set_metadata(edit, &record.entry, error);
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
