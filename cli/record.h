/* SPDX-License-Identifier: Apache-2.0 */
/* hash --record and --verify-metadata: digests that files carry in their own metadata. */
#ifndef CLI_RECORD_H
#define CLI_RECORD_H

#include <safetensors/inspect.h>

#include "rewrite.h"

struct record_options {
    const struct common *common;
    st_hash algorithm;
    struct rewrite_options rewrite;
};

/* Records the digests of the tensors in each file, of a checkpoint in all or none. Gives the exit code. */
int record_files(const struct record_options *options, const struct args *args);
/* Compares each file with the digests recorded in it. Gives the exit code. */
int record_verify(const struct common *common, const struct args *args);

#endif
