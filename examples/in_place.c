/* SPDX-License-Identifier: Apache-2.0 */
/* Room for later edits, and an edit of the metadata in place. in_place FILE. */
#include <safetensors/edit.h>
#include <stdio.h>
#include <string.h>

/* Writes the file anew, with blanks in its header. */
static st_status make_room(const char *path, uint64_t bytes, st_error *error)
{
    st_file *file = NULL;
    st_edit *edit = NULL;
    st_sink *sink = NULL;
    st_edit_options options = {.reserve = bytes};
    st_status status = st_file_open(path, NULL, &file, error);
    if (status == ST_OK)
        status = st_edit_new(file, &options, &edit, error);
    if (status == ST_OK)
        status = st_sink_open(path, NULL, &sink, error);
    if (status == ST_OK)
        status = st_edit_write(edit, sink, NULL, error);
    st_sink_release(sink);
    st_edit_free(edit);
    st_file_close(file);
    return status;
}

/* Sets an entry where the file is, without moving a byte of its tensors. */
static st_status set_in_place(const char *path, const char *key, const char *value, st_error *error)
{
    st_file *file = NULL;
    st_edit *edit = NULL;
    st_edit_summary summary = {0};
    st_metadata entry = {.key = key,
                         .key_len = (uint32_t)strlen(key),
                         .value = value,
                         .value_len = (uint32_t)strlen(value)};
    st_status status = st_file_open(path, NULL, &file, error);
    if (status == ST_OK)
        status = st_edit_new(file, NULL, &edit, error);
    if (status == ST_OK)
        status = st_edit_set_metadata(edit, &entry, error);
    if (status == ST_OK)
        status = st_edit_look(edit, &summary, error);
    if (status == ST_OK) {
        printf("in place: %s\n", summary.in_place ? "yes" : "no");
        status = st_edit_write_in_place(edit, path, NULL, error);
    }
    st_edit_free(edit);
    st_file_close(file);
    return status;
}

int main(int argc, char **argv)
{
    static char much[4096];
    st_error error;
    bool recovered;
    if (argc != 2) {
        fprintf(stderr, "usage: in_place FILE\n");
        return 2;
    }
    const char *path = argv[1];
    memset(much, '.', sizeof much - 1);
    st_status status = make_room(path, 1024, &error);
    /* What an edit that crashed has left would be undone by the next one; this does it at once. */
    if (status == ST_OK)
        status = st_edit_recover(path, NULL, &recovered, &error);
    if (status == ST_OK)
        status = set_in_place(path, "author", "somebody", &error);
    if (status != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    status = set_in_place(path, "author", much, &error);
    printf("%s\n", st_status_name(status));
    return status != ST_ERR_NO_ROOM;
}
