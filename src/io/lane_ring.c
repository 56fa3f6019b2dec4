/* SPDX-License-Identifier: Apache-2.0 */
/* Extents by a ring: cut into requests, as many of which as the choice says are in flight. Whatever a request
 * does not give is read through the source, whose word on the end of the file or a failure counts. */
#include "base/checked.h"
#include "base/error.h"
#include "io/lane_parts.h"

#include <errno.h>
#include <string.h>

#define IN_FLIGHT_MAX 64u
/* Interruptions of one request before it is read another way. */
#define TRIES_MAX 16u

typedef struct request {
    uint64_t offset;     /* in the file: aligned */
    unsigned char *data; /* what it is read into: in place, or a slot */
    unsigned char *to;   /* where the wanted bytes belong */
    size_t size;         /* whole blocks */
    size_t skip;         /* bytes of them that come before those wanted */
    size_t wanted;
    size_t done;
    uint32_t tries;
    bool flying;
    uint64_t order;
} request;

typedef struct flow {
    st__lane *lane;
    const st__extent *extents;
    size_t count;
    size_t extent; /* the one being cut... */
    size_t at;     /* ...and how far */
    size_t slot;   /* bytes of a slot; each request has one */
    uint32_t depth;
    uint32_t flying;
    bool stopped; /* nothing is begun any more */
    uint64_t orders;
    uint64_t failed; /* the lowest order that failed; UINT64_MAX: none */
    st_status status;
    st_error failure;
    request requests[IN_FLIGHT_MAX];
} flow;

static bool lands_in_place(const flow *f, const void *data, uint64_t offset)
{
    return ((uint64_t)(uintptr_t)data - offset) % f->lane->route->align == 0;
}

/* ----------------------------------------------------------------------------------- requests */

/* The next part of the extents; false when there is none. */
static bool request_cut(flow *f, request *r, unsigned char *slot)
{
    const size_t align = f->lane->route->align, unit = f->lane->route->choice.unit;
    while (f->extent < f->count && f->at == f->extents[f->extent].size) {
        f->extent++;
        f->at = 0;
    }
    if (f->extent == f->count)
        return false;
    const st__extent *e = &f->extents[f->extent];
    const uint64_t offset = e->offset + f->at;
    const size_t left = e->size - f->at, skip = (size_t)(offset % align);
    const bool congruent = lands_in_place(f, e->data, e->offset);
    *r = (request){.to = (unsigned char *)e->data + f->at, .order = f->orders++};
    r->offset = offset - skip;
    r->skip = skip;
    if (congruent && skip == 0 && left >= align) {
        r->data = r->to;
        r->wanted = (size_t)st__min_u64(unit, left) / align * align;
    } else {
        r->data = slot;
        r->wanted = (size_t)st__min_u64((congruent ? align : f->slot) - skip, left);
    }
    r->size = (skip + r->wanted + align - 1) / align * align;
    f->at += r->wanted;
    return true;
}

static void request_launch(flow *f, uint32_t number)
{
    request *r = &f->requests[number];
    const st__ring_request asked = {.fd = f->lane->route->direct_fd,
                                    .offset = r->offset + r->done,
                                    .data = r->data + r->done,
                                    .size = r->size - r->done,
                                    .tag = number};
    if (!r->flying)
        f->flying++;
    r->flying = true;
    st__ring_add(f->lane->ring, &asked);
}

static void request_land(flow *f, request *r)
{
    if (r->data != r->to)
        memcpy(r->to, r->data + r->skip, r->wanted);
    r->flying = false;
    f->flying--;
}

/* What is still missing, through the source. */
static void request_complete(flow *f, request *r)
{
    size_t from = r->done > r->skip ? r->done : r->skip;
    const st__extent rest = {r->offset + from, r->data + from, r->skip + r->wanted - from};
    st_error error;
    st_status status = st__lane_read_plain(f->lane, &rest, &error);
    if (status != ST_OK) {
        f->stopped = true;
        if (r->order < f->failed) {
            f->failed = r->order;
            f->status = status;
            f->failure = error;
        }
    }
    request_land(f, r);
}

static void request_return(flow *f, const st__ring_done *done)
{
    request *r = &f->requests[done->tag];
    const size_t align = f->lane->route->align;
    if ((done->failed == EINTR || done->failed == EAGAIN) && r->tries++ < TRIES_MAX) {
        request_launch(f, (uint32_t)done->tag);
        return;
    }
    if (done->failed) {
        st__route_failed(f->lane->route, ST_IO_URING, done->failed);
        f->stopped = true;
        request_complete(f, r);
        return;
    }
    size_t reached = r->done + done->done;
    if (reached >= r->skip + r->wanted) {
        request_land(f, r);
        return;
    }
    /* Direct reads go on at a block. One that brings no further is at the end of the file. */
    bool further = reached / align * align > r->done;
    r->done = further ? reached / align * align : reached;
    if (further)
        request_launch(f, (uint32_t)done->tag);
    else
        request_complete(f, r);
}

/* --------------------------------------------------------------------------------------- flow */

/* Room for what does not land in place, of which ends of extents are less than a block each. */
static st_status flow_slots(flow *f, st_error *error)
{
    const size_t align = f->lane->route->align, unit = f->lane->route->choice.unit;
    size_t slot = align;
    for (size_t i = 0; i < f->count; i++)
        if (!lands_in_place(f, f->extents[i].data, f->extents[i].offset)) {
            size_t size = (size_t)st__min_u64(f->extents[i].size, unit) / align * align + 2 * align;
            slot = size > slot ? size : slot;
        }
    slot = (size_t)st__min_u64(slot, unit > align ? unit : align);
    ST_TRY(st__lane_block(f->lane, f->depth * slot, f->depth * align, error));
    size_t fits = f->lane->block_size / f->depth / align * align;
    f->slot = fits < slot ? fits : slot;
    return ST_OK;
}

static bool flow_fill(flow *f)
{
    for (uint32_t i = 0; i < f->depth && f->flying < f->depth && !f->stopped; i++) {
        if (f->requests[i].flying)
            continue;
        if (!request_cut(f, &f->requests[i], f->lane->block + i * f->slot))
            break;
        request_launch(f, i);
    }
    return f->flying > 0;
}

/* The ring itself failed: what was in flight may have arrived or not. */
static void flow_break(flow *f, int failed)
{
    st__ring_close(f->lane->ring);
    f->lane->ring = NULL;
    f->stopped = true;
    /* Nobody is to wait for as long again. */
    if (failed == ETIMEDOUT)
        st__route_refuse(f->lane->route, ST_IO_URING);
    else
        st__route_failed(f->lane->route, ST_IO_URING, failed == EINVAL ? EIO : failed);
    for (uint32_t i = 0; i < f->depth; i++)
        if (f->requests[i].flying) {
            f->requests[i].done = 0;
            request_complete(f, &f->requests[i]);
        }
}

static void flow_run(flow *f)
{
    while (flow_fill(f)) {
        st__ring_done done[IN_FLIGHT_MAX];
        size_t count = 0;
        int failed = st__ring_wait(f->lane->ring, done, IN_FLIGHT_MAX, &count);
        if (failed) {
            flow_break(f, failed);
            return;
        }
        for (size_t i = 0; i < count; i++)
            request_return(f, &done[i]);
    }
}

/* What was not begun of an extent, by what the route has now. */
static st_status flow_rest(flow *f, st_error *error)
{
    if (f->extent == f->count)
        return ST_OK;
    const st__extent *e = &f->extents[f->extent++];
    const st__extent rest = {e->offset + f->at, (unsigned char *)e->data + f->at, e->size - f->at};
    return rest.size ? st__lane_read(f->lane, &rest, 1, error) : ST_OK;
}

static bool ring_open(st__lane *lane, uint32_t depth)
{
    /* A load without threads of its own is stepped by one thread now and another then. Between two calls nothing
     * is in flight. */
    if (lane->ring && st__ring_is_here(lane->ring))
        return true;
    st__ring_close(lane->ring);
    int failed = st__ring_open(depth, lane->route->context, &lane->ring);
    if (failed) {
        lane->ring = NULL;
        st__route_failed(lane->route, ST_IO_URING, failed);
    }
    return failed == 0;
}

st_status st__lane_read_ring(st__lane *lane, const st__extent *extents, size_t count, size_t *done,
                             st_error *error)
{
    uint32_t depth = lane->route->choice.depth;
    if (depth > IN_FLIGHT_MAX)
        depth = IN_FLIGHT_MAX;
    if (!ring_open(lane, depth) || *done == count)
        return ST_OK;
    flow f = {.lane = lane,
              .extents = extents + *done,
              .count = count - *done,
              .depth = depth,
              .failed = UINT64_MAX};
    ST_TRY(flow_slots(&f, error));
    flow_run(&f);
    if (f.failed != UINT64_MAX) {
        if (error)
            *error = f.failure;
        return f.status;
    }
    ST_TRY(flow_rest(&f, error));
    *done += f.extent;
    return ST_OK;
}
