/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of files in a folder, and folders that are made for them. */
#ifndef ST_CHECKPOINT_PATH_H
#define ST_CHECKPOINT_PATH_H

#include <safetensors/safetensors.h>

#include <string.h>

static inline bool st__name_ends(const char *name, size_t len, const char *ending)
{
    size_t ending_len = strlen(ending);
    return len >= ending_len && memcmp(name + len - ending_len, ending, ending_len) == 0;
}

/* Joins a folder, with or without a slash at its end, and a name in it. Freed with st__path_free. ST_ERR_NOMEM. */
st_status st__path_join(st_context *context, const char *folder, const char *name, char **out,
                        st_error *error);
/* NULL is fine. */
void st__path_free(st_context *context, char *path);

/* Tells whether two paths lead to one folder; an empty one is that of the process. */
bool st__folder_same(const char *one, const char *other);
/* Makes a folder unless it is there; its name reaches the disk if `durable`. ST_ERR_IO; ST_ERR_NOMEM. */
st_status st__folder_make(st_context *context, const char *folder, bool durable, st_error *error);

#endif
