/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of reads and writes that the system carries out by itself: io_uring, through liburing where
 * that is installed. For one thread, the one that opens it. */
#ifndef ST_IO_RING_H
#define ST_IO_RING_H

#include <safetensors/safetensors.h>

typedef struct st__ring st__ring;

typedef struct st__ring_request {
    int fd;
    bool write;
    uint64_t offset;
    void *data;  /* only read of for a write */
    size_t size; /* at most 2^30 */
    uint64_t tag;
} st__ring_request;

typedef struct st__ring_done {
    uint64_t tag;
    int failed;  /* an errno, or 0 */
    size_t done; /* bytes, fewer than asked for as with pread and pwrite */
} st__ring_done;

/* For up to `depth` requests in flight. An errno where there is no such thing: ENOSYS, EPERM, ENOMEM. */
int st__ring_open(uint32_t depth, st_context *context, st__ring **out);
/* Waits for what is in flight, and frees; what was only added is never started. Once a wait has failed the kernel is
 * made to give up what it can instead; in either case it is through with the memory. NULL is fine. */
void st__ring_close(st__ring *ring);
/* Whether the calling thread is the one that opened it. */
bool st__ring_is_here(const st__ring *ring);
/* Adds a request; at most `depth` may be in flight. Nothing of it need begin before the next wait or submit.
 * Requests may be done in any order; a descriptor need only outlive its requests. */
void st__ring_add(st__ring *ring, const st__ring_request *request);
/* Starts what was added. An errno. */
int st__ring_submit(st__ring *ring);
/* Starts what was added, waits until at least one request is done, and takes up to `room` of those that are.
 * An errno, never EINTR, but ETIMEDOUT where nothing has been done for a minute: a ring that is to be closed then.
 * What is in flight stays in flight. With nothing in flight `*count` is 0. */
int st__ring_wait(st__ring *ring, st__ring_done *out, size_t room, size_t *count);

#endif
