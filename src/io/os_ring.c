/* SPDX-License-Identifier: Apache-2.0 */
/* io_uring by liburing, which is looked for when a ring is opened: the library runs without it, and where
 * the kernel has none or a sandbox refuses it. */
#include "io/os_system.h"
#include "io/ring.h"
#include "base/alloc.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#if defined(ST_LIBURING)
# include <liburing.h>
#endif

#if defined(ST_LIBURING)

/* What of liburing is called. Of its header only structures and inline functions that call nothing and rely
 * on nothing younger than its version 2.0 are used, since the library found may be older than the header. */
typedef struct ring_library {
    void *handle;
    int (*init)(unsigned entries, struct io_uring *ring, struct io_uring_params *params);
    void (*leave)(struct io_uring *ring);
    int (*register_files)(struct io_uring *ring, const int *files, unsigned count);
    int (*submit)(struct io_uring *ring);
    int (*wait)(struct io_uring *ring, struct io_uring_cqe **out, unsigned count,
                struct __kernel_timespec *limit, sigset_t *signals);
    unsigned (*peek)(struct io_uring *ring, struct io_uring_cqe **out, unsigned count);
} ring_library;

struct st__ring {
    struct io_uring uring;
    ring_library library;
    st_context *context;
    unsigned entries; /* a power of 2 */
    unsigned added;   /* and not yet started */
    unsigned flying;  /* started and not yet taken */
    bool broken;      /* the last wait failed, or was in vain */
    int witness;      /* a pipe that ends when the kernel is through with the ring */
    st__thread opener;
};

/* How long a wait may bring nothing at all. Linux gives a disk 30 seconds to answer (SCSI and NVMe), resets it and
 * asks again: what takes twice as long is stuck, or lost in the kernel, or as slow for every other way of reading.
 * A signal begins the time anew. */
# define STALL_SECONDS 60

static int library_open(ring_library *library)
{
    void *handle;
    int failed = st__os_library_open("liburing.so.2", &handle);
    if (failed)
        return failed;
    library->handle = handle;
    if (st__os_library_find(handle, "io_uring_queue_init_params", &library->init) &&
        st__os_library_find(handle, "io_uring_queue_exit", &library->leave) &&
        st__os_library_find(handle, "io_uring_register_files", &library->register_files) &&
        st__os_library_find(handle, "io_uring_submit", &library->submit) &&
        st__os_library_find(handle, "io_uring_wait_cqes", &library->wait) &&
        st__os_library_find(handle, "io_uring_peek_batch_cqe", &library->peek))
        return 0;
    st__os_library_close(handle);
    return ENOSYS;
}

/* Completions without interrupts for the thread that waits, from Linux 6.1 on. */
# if defined(IORING_SETUP_COOP_TASKRUN) && defined(IORING_SETUP_SINGLE_ISSUER) && \
     defined(IORING_SETUP_DEFER_TASKRUN)
#  define RING_FLAGS \
   (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
# else
#  define RING_FLAGS 0u
# endif

/* Hands the ring the only other end of a pipe. The kernel closes it when it frees the ring, which it does when the
 * last request has let go of its memory; by nothing else can that be told of a ring that cannot be waited for. To
 * cancel a request tells nothing: of a read that a device has begun the kernel says ENOENT. */
static int witness_call(st__ring *ring)
{
    int ends[2];
    if (OS_CALL(pipe2)(ends, O_CLOEXEC) != 0)
        return errno;
    int failed = -ring->library.register_files(&ring->uring, &ends[1], 1);
    st__os_close(ends[1]);
    if (failed)
        st__os_close(ends[0]);
    else
        ring->witness = ends[0];
    return failed;
}

static int ring_init(st__ring *ring, uint32_t depth, unsigned flags)
{
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    memset(&ring->uring, 0, sizeof ring->uring);
    params.flags = flags;
    int failed = -ring->library.init(depth, &ring->uring, &params);
    if (failed)
        return failed;
    /* Waits that end came with Linux 5.11, after the reads and writes that need no iovec. */
    failed = params.features & IORING_FEAT_EXT_ARG ? witness_call(ring) : ENOSYS;
    if (failed)
        ring->library.leave(&ring->uring);
    ring->entries = params.sq_entries;
    return failed;
}

int st__ring_open(uint32_t depth, st_context *context, st__ring **out)
{
    st__ring *ring = st__alloc_zeroed(context, 1, sizeof *ring);
    if (!ring)
        return ENOMEM;
    ring->context = context;
    int failed = library_open(&ring->library);
    if (failed) {
        st__free(context, ring, sizeof *ring);
        return failed;
    }
    depth = depth > 0 ? depth : 1;
    failed = ring_init(ring, depth, RING_FLAGS);
    if (failed == EINVAL)
        failed = ring_init(ring, depth, 0);
    if (failed) {
        st__os_library_close(ring->library.handle);
        st__free(context, ring, sizeof *ring);
        return failed;
    }
    ring->opener = st__thread_here();
    *out = ring;
    return 0;
}

bool st__ring_is_here(const st__ring *ring)
{
    return st__thread_is_here(&ring->opener);
}

void st__ring_add(st__ring *ring, const st__ring_request *request)
{
    struct io_uring_sq *queue = &ring->uring.sq;
    struct io_uring_sqe *entry = &queue->sqes[queue->sqe_tail & (ring->entries - 1)];
    uint64_t offset = request->offset;
    /* What no file reaches is refused in any case; -1 would stand for the descriptor's position. */
    if (offset > (uint64_t)INT64_MAX)
        offset = (uint64_t)INT64_MAX;
    memset(entry, 0, sizeof *entry);
    io_uring_prep_rw(request->write ? IORING_OP_WRITE : IORING_OP_READ, entry, request->fd,
                     request->data, (unsigned)request->size, offset);
    entry->user_data = request->tag;
    queue->sqe_tail++;
    ring->added++;
}

/* Books what a call says to have started; an errno. */
static int ring_started(st__ring *ring, int result)
{
    if (result <= 0)
        return result < 0 ? -result : EAGAIN;
    unsigned started = (unsigned)result < ring->added ? (unsigned)result : ring->added;
    ring->added -= started;
    ring->flying += started;
    return 0;
}

int st__ring_submit(st__ring *ring)
{
    while (ring->added > 0) {
        int failed = ring_started(ring, ring->library.submit(&ring->uring));
        if (failed && failed != EINTR)
            return failed;
    }
    return 0;
}

static size_t done_take(st__ring *ring, st__ring_done *out, size_t room)
{
    struct io_uring_cqe *entries[16];
    size_t taken = 0;
    while (taken < room) {
        size_t most = sizeof entries / sizeof *entries;
        unsigned wanted = (unsigned)(room - taken < most ? room - taken : most);
        unsigned got = ring->library.peek(&ring->uring, entries, wanted);
        for (unsigned i = 0; i < got; i++) {
            int result = entries[i]->res;
            out[taken].tag = entries[i]->user_data;
            out[taken].failed = result < 0 ? -result : 0;
            out[taken++].done = result < 0 ? 0 : (size_t)result;
        }
        io_uring_cq_advance(&ring->uring, got);
        ring->flying -= got;
        if (got < wanted)
            break;
    }
    return taken;
}

/* Until one that was started is done; starts nothing. ETIMEDOUT: none was, for too long. */
static int ring_pause(st__ring *ring)
{
    struct __kernel_timespec limit = {.tv_sec = STALL_SECONDS};
    struct io_uring_cqe *first;
    int failed;
    do
        failed = -ring->library.wait(&ring->uring, &first, 1, &limit, NULL);
    while (failed == EINTR);
    ring->broken = failed != 0;
    return failed == ETIME ? ETIMEDOUT : failed;
}

int st__ring_wait(st__ring *ring, st__ring_done *out, size_t room, size_t *count)
{
    *count = 0;
    while (room > 0 && ring->added + ring->flying > 0) {
        int failed = st__ring_submit(ring);
        *count = done_take(ring, out, room);
        if (*count > 0)
            return 0;
        /* Short of something that what is in flight may hold. */
        if ((!failed || failed == EAGAIN || failed == EBUSY) && ring->flying > 0)
            failed = ring_pause(ring);
        if (failed)
            return failed;
    }
    return 0;
}

/* Waits as long as a read would that cannot be interrupted: the memory is the caller's, who has it back after this. A
 * process forked meanwhile holds the ring too, until it ends or runs another program. */
static void ring_settle(const st__ring *ring)
{
    char byte;
    while (read(ring->witness, &byte, 1) < 0 && errno == EINTR)
        ;
}

void st__ring_close(st__ring *ring)
{
    st__ring_done done[16];
    if (!ring)
        return;
    while (ring->flying > 0 && !ring->broken)
        if (done_take(ring, done, 16) == 0)
            (void)ring_pause(ring);
    /* This alone waits for nothing, and the kernel then cancels what has not begun. */
    ring->library.leave(&ring->uring);
    if (ring->flying > 0)
        ring_settle(ring);
    st__os_close(ring->witness);
    st__os_library_close(ring->library.handle);
    st__free(ring->context, ring, sizeof *ring);
}

#else

int st__ring_open(uint32_t depth, st_context *context, st__ring **out)
{
    (void)depth;
    (void)context;
    (void)out;
    return ENOSYS;
}

void st__ring_close(st__ring *ring)
{
    (void)ring;
}

bool st__ring_is_here(const st__ring *ring)
{
    (void)ring;
    return true;
}

void st__ring_add(st__ring *ring, const st__ring_request *request)
{
    (void)ring;
    (void)request;
}

int st__ring_submit(st__ring *ring)
{
    (void)ring;
    return ENOSYS;
}

int st__ring_wait(st__ring *ring, st__ring_done *out, size_t room, size_t *count)
{
    (void)ring;
    (void)out;
    (void)room;
    *count = 0;
    return ENOSYS;
}

#endif
