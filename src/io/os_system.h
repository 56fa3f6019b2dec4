/* SPDX-License-Identifier: Apache-2.0 */
/* What the files behind os.h begin with: the system's own calls shown, 64 bits for a file's size, and the
 * calls that a test replaces. Comes before any header of the system. */
#ifndef ST_IO_OS_SYSTEM_H
#define ST_IO_OS_SYSTEM_H

#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#if !defined(_FILE_OFFSET_BITS)
# define _FILE_OFFSET_BITS 64
#endif
#include "io/os.h"

#include <sys/uio.h>

#if defined(ST_FAULTS)
# define OS_CALL(name) st__os_calls.name
#else
# define OS_CALL(name) name
#endif

/* One call takes at most so many pieces of memory (IOV_MAX is 1024 on Linux, macOS and the BSDs)... */
#define ST__OS_PIECES 64
/* ...and so many bytes: Linux itself stops 4 KiB short of 2 GiB. */
#define ST__OS_BYTES ((size_t)1 << 30)

/* What one call is given of pieces that follow each other, without what calls before it have moved. */
typedef struct st__os_batch {
    struct iovec parts[ST__OS_PIECES];
    int count;
    size_t skip; /* moved bytes of the pieces yet to be added */
    size_t room; /* bytes that may yet be added */
} st__os_batch;

static inline void st__os_batch_init(st__os_batch *batch, size_t moved)
{
    batch->count = 0;
    batch->skip = moved;
    batch->room = ST__OS_BYTES;
}

/* False once no more will be taken. */
static inline bool st__os_batch_add(st__os_batch *batch, const void *data, size_t size)
{
    if (batch->skip >= size) {
        batch->skip -= size;
        return true;
    }
    size -= batch->skip;
    if (size > batch->room)
        size = batch->room;
    struct iovec *part = &batch->parts[batch->count++];
    part->iov_base = (unsigned char *)(uintptr_t)data + batch->skip;
    part->iov_len = size;
    batch->room -= size;
    batch->skip = 0;
    return batch->count < ST__OS_PIECES && batch->room > 0;
}

/* Describes what follows `moved` bytes into the segments, for one call; the count of parts. */
int st__os_segments_rest(const st_segment *segments, size_t count, size_t moved, st__os_batch *out);

/* openat, close-on-exec and through interruptions; `flags` and `mode` are the system's own. */
int st__os_open_at(int directory, const char *path, int flags, uint32_t mode, int *out);

#endif
