/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of files in a folder, and folders that are made for them. */
#ifndef ST_CHECKPOINT_PATH_H
#define ST_CHECKPOINT_PATH_H

#include <safetensors/safetensors.h>

/* Joins a folder, with or without a slash at its end, and a name in it. Freed with st__path_free. ST_ERR_NOMEM. */
st_status st__path_join(st_context *context, const char *folder, const char *name, char **out,
                        st_error *error);
/* NULL is fine. */
void st__path_free(st_context *context, char *path);

/* Makes a folder unless it is there; its name reaches the disk if `durable`. ST_ERR_IO; ST_ERR_NOMEM. */
st_status st__folder_make(st_context *context, const char *folder, bool durable, st_error *error);

#endif
