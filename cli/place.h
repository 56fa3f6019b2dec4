/* SPDX-License-Identifier: Apache-2.0 */
/* Where files lie, as seen from a manifest. */
#ifndef CLI_PLACE_H
#define CLI_PLACE_H

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
/* Tells whether a name from a file leads to where it lies or below: it is relative, and has no "..". */
bool place_is_below(const char *name, size_t len);

#endif
