/* SPDX-License-Identifier: Apache-2.0 */
/* Opening what the command line names: a path, or "-" for standard input. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <safetensors/safetensors.h>

#include "verb.h"

/* Opens the bytes. Standard input that is no regular file is first copied into a temporary one, in
 * TMPDIR or /tmp. Gives what st_source_open gives. */
st_status input_open_source(const char *path, const struct common *common, st_source **out,
                            st_error *error);
/* Opens the file on them. */
st_status input_open_file(const char *path, const struct common *common, st_file **out,
                          st_error *error);
/* Fills the library's options from the common ones. */
st_open_options input_options(const struct common *common);

#endif
