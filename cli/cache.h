/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing a file into the page cache, and out of it. */
#ifndef CLI_CACHE_H
#define CLI_CACHE_H

#include "progress.h"

/* Asks the system to drop what it keeps of the file, once it is on the disk. What is mapped or held otherwise
 * stays. False where nothing can be dropped by asking; errors are none: what stays is looked at after. */
bool cache_drop(int fd);
/* Reads all of it through the cache. Gives ST_ERR_STOPPED after a signal, ST_ERR_IO. */
st_status cache_fill(int fd, const char *path, st_error *error);

#endif
