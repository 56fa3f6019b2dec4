/* SPDX-License-Identifier: Apache-2.0 */
/* What the disk and the memory give without the library: nothing that fills memory from a file is faster for
 * long. */
#ifndef CLI_CEILING_H
#define CLI_CEILING_H

#include "progress.h"
#include "stopwatch.h"

/* What a ceiling took, and how many bytes it is of. */
struct ceiling {
    struct stopwatch watch;
    uint64_t bytes;
    uint64_t before;             /* bytes of other files that are done */
    const st_progress *progress; /* told how far it has come */
};

/* Reads the file past the page cache (O_DIRECT) by two threads, 16 MiB at a time into the same memory. A status
 * other than
 * ST_OK and ST_ERR_STOPPED: that is refused here, and the error tells why. */
st_status ceiling_disk(struct ceiling *ceiling, const char *path, st_error *error);
/* Copies `bytes` by some threads into memory that is touched for the first time, or, where there are more than
 * `most`, into so much again and again. */
st_status ceiling_memory(struct ceiling *ceiling, uint64_t most, unsigned threads, st_error *error);

#endif
