/* SPDX-License-Identifier: Apache-2.0 */
/* What the sink's own thread does: writes blocks and parts of spans by a ring, several in flight, or one after the
 * other where there is none. What the device or the file system will not take goes through the cache. */
#include "io/os.h"
#include "io/output_direct.h"
#include "io/ring.h"

#include <errno.h>

/* Interruptions of one request before it is taken for refused. */
#define TRIES_MAX 16u

/* ------------------------------------------------------------------------------ one part */

/* Errors that tell of the way the bytes were to go, not of the file. */
static bool is_other_way(int failed)
{
    return failed == EINVAL || failed == EOPNOTSUPP || failed == ENOTSUP || failed == ENOSYS ||
           failed == EFAULT || failed == EAGAIN || failed == EINTR || failed == ENOMEM;
}

static bool cached_write(st__direct *d, uint64_t at, const unsigned char *data, size_t size)
{
    const st_bytes piece = {data, size};
    size_t done = 0;
    int failed = size > 0 ? st__os_write(d->fd, at, &piece, 1, &done) : 0;
    if (failed)
        st__direct_fail(d, failed, at + done);
    return failed == 0;
}

/* Writes what of a block comes before its whole units. False where nothing is left to be written. */
static bool part_begin(st__direct *d, st__direct_part *part)
{
    const st__direct_block *block = part->block;
    if (st__direct_stops(d))
        return false;
    if (!block)
        return true;
    const size_t unit = d->unit, from = block->from, to = block->to;
    const size_t first = (from + unit - 1) / unit * unit, last = to / unit * unit;
    if (first >= last || st__direct_is_refused(d)) {
        (void)cached_write(d, block->at + from, block->data + from, to - from);
        return false;
    }
    part->data = block->data + first;
    part->at = block->at + first;
    part->size = last - first;
    return cached_write(d, block->at + from, block->data + from, first - from);
}

/* And what comes behind them, last, so that of several failures the one further ahead is told. */
static void part_end(st__direct *d, const st__direct_part *part)
{
    const st__direct_block *block = part->block;
    size_t last = block ? block->to / d->unit * d->unit : 0;
    if (block && part->size > 0 && !st__direct_stops(d))
        (void)cached_write(d, block->at + last, block->data + last, block->to - last);
    st__direct_give(d, part);
}

/* Writes what is missing through the cache, from the last whole unit on. */
static void part_rest(st__direct *d, const st__direct_part *part)
{
    size_t from = part->done / d->unit * d->unit;
    (void)cached_write(d, part->at + from, part->data + from, part->size - from);
}

static void part_failed(st__direct *d, const st__direct_part *part, int failed)
{
    if (!is_other_way(failed)) {
        st__direct_fail(d, failed, part->at + part->done);
        return;
    }
    if (part->done == 0)
        atomic_store_explicit(&d->refused, true, memory_order_relaxed);
    part_rest(d, part);
}

static void part_write(st__direct *d, st__direct_part *part)
{
    const st_bytes rest = {part->data + part->done, part->size - part->done};
    size_t done = 0;
    if (st__direct_is_refused(d)) {
        part_rest(d, part);
        return;
    }
    int failed = st__os_write(d->direct_fd, part->at + part->done, &rest, 1, &done);
    part->done += done;
    if (failed)
        part_failed(d, part, failed);
}

static void parts_write(st__direct *d, bool waits)
{
    st__direct_part part;
    while (st__direct_take(d, waits, &part)) {
        if (part_begin(d, &part))
            part_write(d, &part);
        part_end(d, &part);
    }
}

void st__direct_work(st__direct *d)
{
    parts_write(d, false);
}

/* ------------------------------------------------------------------------------- by a ring */

typedef struct flight {
    st__direct *d;
    st__ring *ring;
    uint32_t count; /* in flight */
    bool used[ST__DIRECT_BLOCKS];
    st__direct_part parts[ST__DIRECT_BLOCKS];
} flight;

static void part_launch(flight *f, uint32_t number)
{
    const st__direct_part *part = &f->parts[number];
    const st__ring_request request = {
        .fd = f->d->direct_fd,
        .write = true,
        .offset = part->at + part->done,
        .data = (unsigned char *)(uintptr_t)part->data + part->done,
        .size = part->size - part->done,
        .tag = number,
    };
    st__ring_add(f->ring, &request);
}

static void part_land(flight *f, uint32_t number)
{
    f->used[number] = false;
    f->count--;
    part_end(f->d, &f->parts[number]);
}

static void part_return(flight *f, const st__ring_done *done)
{
    const uint32_t number = (uint32_t)done->tag;
    st__direct_part *part = &f->parts[number];
    if ((done->failed == EINTR || done->failed == EAGAIN) && part->tries++ < TRIES_MAX) {
        part_launch(f, number);
        return;
    }
    size_t reached = part->done + done->done, whole = reached / f->d->unit * f->d->unit;
    if (done->failed) {
        part_failed(f->d, part, done->failed);
    } else if (reached < part->size && whole > part->done) {
        part->done = whole;
        part_launch(f, number);
        return;
    } else if (reached < part->size) {
        part_rest(f->d, part); /* it goes no further by this way, which tells why or not */
    }
    part_land(f, number);
}

/* Launches what there is, after waiting for it where nothing is in flight. False: nothing comes any more. */
static bool flight_fill(flight *f)
{
    for (uint32_t i = 0; i < ST__DIRECT_BLOCKS; i++) {
        st__direct_part *part = &f->parts[i];
        while (!f->used[i] && st__direct_take(f->d, f->count == 0, part)) {
            if (!part_begin(f->d, part)) {
                part_end(f->d, part);
            } else if (st__direct_is_refused(f->d)) {
                part_write(f->d, part);
                part_end(f->d, part);
            } else {
                f->used[i] = true;
                f->count++;
                part_launch(f, i);
            }
        }
    }
    return f->count > 0;
}

/* Until the end, or until the ring fails: what was in flight then may have been written or not. */
static void flight_run(st__direct *d, st__ring *ring)
{
    flight f = {.d = d, .ring = ring};
    while (flight_fill(&f)) {
        st__ring_done done[ST__DIRECT_BLOCKS];
        size_t count = 0;
        if (st__ring_wait(ring, done, ST__DIRECT_BLOCKS, &count) != 0)
            break;
        for (size_t i = 0; i < count; i++)
            part_return(&f, &done[i]);
    }
    st__ring_close(ring);
    for (uint32_t i = 0; i < ST__DIRECT_BLOCKS; i++) {
        if (!f.used[i])
            continue;
        f.parts[i].done = 0;
        part_write(d, &f.parts[i]);
        part_land(&f, i);
    }
}

void st__direct_run(void *ctx, uint32_t worker)
{
    st__direct *d = ctx;
    st__ring *ring = NULL;
    (void)worker;
    if (st__ring_open(ST__DIRECT_BLOCKS, d->context, &ring) == 0)
        flight_run(d, ring);
    parts_write(d, true);
}
