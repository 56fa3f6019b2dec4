/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing a file into the page cache, and out of it. */
#ifndef CLI_CACHE_H
#define CLI_CACHE_H

#include "progress.h"

/* Asks the system to drop what it keeps of the file, once it is on the disk. What is mapped or held otherwise
 * stays, and so does all where nothing can be dropped by asking: that is looked at after. Gives ST_ERR_IO for a file
 * that cannot be opened. */
st_status cache_drop(const char *path, st_error *error);
/* Reads all of it through the cache. Gives ST_ERR_STOPPED after a signal, ST_ERR_IO. */
st_status cache_fill(const char *path, st_error *error);

#endif
