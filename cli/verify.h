/* SPDX-License-Identifier: Apache-2.0 */
/* hash --verify: compares files with a manifest. */
#ifndef CLI_VERIFY_H
#define CLI_VERIFY_H

#include "opt.h"

/* Verifies the files named in `args`, or, where there are none, all those of the manifest. Gives the
 * exit code. */
int verify_files(const struct common *common, const char *manifest, const struct args *args);

#endif
