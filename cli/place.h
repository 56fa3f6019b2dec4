/* SPDX-License-Identifier: Apache-2.0 */
/* Where files lie, and what lies there. */
#ifndef CLI_PLACE_H
#define CLI_PLACE_H

#include <safetensors/safetensors.h>
#include <stdbool.h>
#include <stddef.h>

/* Gives a copy; freed with free(). */
char *place_copy(const char *path);
/* Gives the folder a path lies in, "." if it names none; freed with free(). */
char *place_folder(const char *path);
/* Gives the path of `name` in `folder`; freed with free(). */
char *place_join(const char *folder, const char *name);
/* Gives the name by which `path` is reached from `folder`, both of which must exist; freed with
 * free(). NULL with the errno. */
char *place_relative(const char *folder, const char *path);
/* Tells whether a file is, or was before it was damaged, a model, or the index of one: nothing but another is to take
 * its place. */
bool place_is_model(const char *path);
/* Refuses a path at which no file can be made, or replaced, for what there is to see of it. */
st_status place_check(const char *path, st_error *error);
/* The same of a folder to write files into, which need not be there. */
st_status place_check_folder(const char *path, st_error *error);
/* Refuses a name that is taken. */
st_status place_check_name(const char *path, st_error *error);
/* Tells whether a name from a file leads to where it lies or below: it is relative, and has no "..". */
bool place_is_below(const char *name, size_t len);

#endif
