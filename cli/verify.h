/* SPDX-License-Identifier: Apache-2.0 */
/* hash --verify: compares files with a manifest; and how such comparing is told. */
#ifndef CLI_VERIFY_H
#define CLI_VERIFY_H

#include <safetensors/inspect.h>

#include "json.h"
#include "opt.h"

/* Verifies the files named in `args`, or, where there are none, all those of the manifest. Gives the
 * exit code. */
int verify_files(const struct common *common, const char *manifest, const struct args *args);

/* Tells one difference of the file at `path`: a line, or an object of the document. Raises the exit code. */
void verify_difference(struct out *out, struct json *json, const char *path,
                       const st_difference *difference);
/* Prints that a file is what it was. */
void verify_good(struct out *out, const char *path);

#endif
