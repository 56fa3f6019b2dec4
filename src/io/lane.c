/* SPDX-License-Identifier: Apache-2.0 */
/* Extents one after the other; those of a ring are in lane_ring.c. */
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "io/lane_parts.h"
#include "io/os.h"

#include <string.h>

/* The kernel copies out of the page cache by pages; phases are kept modulo this, whatever the page. */
#define PHASE 4096u
/* Below this a second copy costs more than the phase. */
#define DETOUR_FROM 65536u
/* What goes through the block is to stay in the second-level cache on its way. */
#define DETOUR_SIZE  ((size_t)512 << 10)
#define DETOUR_LEAST ((size_t)4 << 10)
/* Direct reads that cannot land in place: large enough for the device, little against the budget. */
#define BOUNCE_SIZE ((size_t)4 << 20)
/* How much is read by one strategy before it is asked again which: a direct read of this size was as fast as
 * any, and a refusal of the first one costs no more than this through the page cache. */
#define PART_SIZE ((size_t)16 << 20)

void st__lane_init(st__lane *lane, st__route *route)
{
    uint64_t threads =
        route->choice.io == ST_IO_URING ? route->choice.threads : route->facts.threads;
    uint64_t limit = st__context_memory(route->context) / 4 / (threads ? threads : 1);
    *lane = (st__lane){.route = route};
    lane->limit = limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
}

static void block_drop(st__lane *lane)
{
    lane->slab.present = true;
    if (lane->slab.memory)
        st__slab_give(lane->route->context, &lane->slab);
    lane->slab.memory = NULL;
}

void st__lane_release(st__lane *lane)
{
    st__ring_close(lane->ring);
    lane->ring = NULL;
    block_drop(lane);
}

/* -------------------------------------------------------------------------------------- block */

static size_t align_of(const st__lane *lane)
{
    return lane->route->align > PHASE ? lane->route->align : PHASE;
}

st_status st__lane_block(st__lane *lane, size_t size, size_t least, st_error *error)
{
    st_context *context = lane->route->context;
    size_t align = align_of(lane), total;
    if (size > lane->limit)
        size = lane->limit / align * align;
    if (size < least)
        size = least;
    if (lane->slab.memory && lane->block_size >= size)
        return ST_OK;
    block_drop(lane);
    if (!st__add_size(size, align - PHASE, &total))
        return st__fail_nomem(error, size);
    ST_TRY(st__slab_take(context, total, &lane->slab, error));
    size_t past = (size_t)((uintptr_t)lane->slab.data % align);
    lane->block_size = size;
    lane->block = lane->slab.data + (past ? align - past : 0);
    return ST_OK;
}

/* ----------------------------------------------------------------------- through the page cache */

st_status st__lane_read_plain(st__lane *lane, const st__extent *extent, st_error *error)
{
    return st_source_read(lane->route->source, extent->offset, extent->data, extent->size, error);
}

/* Leaves nothing in the page cache, where that can be had. */
static st_status uncached_read(st__lane *lane, const st__extent *extent, st_error *error)
{
    const st_segment segment = {extent->data, extent->size};
    size_t done;
    int failed = st__os_read_uncached(lane->route->fd, extent->offset, &segment, 1, &done);
    if (failed)
        st__route_failed(lane->route, ST_IO_DONTCACHE, failed);
    if (done == extent->size)
        return ST_OK;
    const st__extent rest = {extent->offset + done, (unsigned char *)extent->data + done,
                             extent->size - done};
    return st__lane_read_plain(lane, &rest, error);
}

static st_status cached_read(st__lane *lane, uint32_t io, const st__extent *extent, st_error *error)
{
    return io == ST_IO_DONTCACHE ? uncached_read(lane, extent, error)
                                 : st__lane_read_plain(lane, extent, error);
}

/* Several x86 CPUs copy by pages three times slower to addresses that are 1 to 15 bytes ahead of the
 * source's, modulo a page (measured on Zen 4: 2.4 against 5.7 GB/s). */
static bool phase_unlucky(const st__lane *lane, const st__extent *extent)
{
    uint64_t ahead = ((uint64_t)(uintptr_t)extent->data - extent->offset) % PHASE;
    return extent->size >= DETOUR_FROM && lane->route->facts.latency == ST_LATENCY_LOCAL &&
           ahead > 0 && ahead < 16;
}

/* Such an extent goes through the block, at a place that is unlucky for neither copy. */
static st_status detour_read(st__lane *lane, uint32_t io, const st__extent *extent, st_error *error)
{
    ST_TRY(st__lane_block(lane, DETOUR_SIZE + PHASE, DETOUR_LEAST + PHASE, error));
    for (size_t done = 0; done < extent->size;) {
        uint64_t from = extent->offset + done;
        unsigned char *stage = lane->block + (from + PHASE / 2) % PHASE;
        size_t size = (size_t)st__min_u64(lane->block_size - PHASE, extent->size - done);
        const st__extent part = {from, stage, size};
        ST_TRY(cached_read(lane, io, &part, error));
        memcpy((unsigned char *)extent->data + done, stage, size);
        done += size;
    }
    return ST_OK;
}

/* ---------------------------------------------------------------------------- past the page cache */

/* A direct read: bytes `from` to `to` of the whole blocks that it covers are wanted. */
typedef struct direct_part {
    uint64_t offset;
    unsigned char *data;
    size_t size;
    size_t from;
    size_t to;
} direct_part;

/* What a direct read does not give, at the end of the file or by a failure, the page cache is asked for; only if
 * that fails too it is a failure. */
static st_status blocks_read(st__lane *lane, const direct_part *asked, st_error *error)
{
    const st_segment segment = {asked->data, asked->size};
    size_t done;
    int failed = st__os_read(lane->route->direct_fd, asked->offset, &segment, 1, &done);
    if (done >= asked->to)
        return ST_OK;
    size_t at = done > asked->from ? done : asked->from;
    const st__extent rest = {asked->offset + at, asked->data + at, asked->to - at};
    ST_TRY(st__lane_read_plain(lane, &rest, error));
    /* A file system may call it EINVAL when the next read does not start at a block. */
    if (failed && done % lane->route->align == 0)
        st__route_failed(lane->route, ST_IO_DIRECT, failed);
    return ST_OK;
}

/* Through the block. */
static st_status bounced_read(st__lane *lane, const st__extent *extent, st_error *error)
{
    const size_t align = lane->route->align;
    unsigned char *to = extent->data;
    uint64_t at = extent->offset, end = at + extent->size;
    size_t reach = (size_t)st__min_u64(BOUNCE_SIZE, extent->size + 2 * align);
    ST_TRY(st__lane_block(lane, reach / align * align + align, align, error));
    size_t room = lane->block_size / align * align;
    while (at < end) {
        size_t skip = (size_t)(at % align);
        size_t size = (size_t)st__min_u64(room - skip, end - at);
        const direct_part asked = {at - skip, lane->block,
                                   (skip + size + align - 1) / align * align, skip, skip + size};
        ST_TRY(blocks_read(lane, &asked, error));
        memcpy(to, lane->block + skip, size);
        to += size;
        at += size;
    }
    return ST_OK;
}

/* The whole blocks in the middle land in place where they can. */
static st_status direct_read(st__lane *lane, const st__extent *extent, st_error *error)
{
    const uint32_t align = lane->route->align;
    const uint64_t offset = extent->offset;
    size_t head = (size_t)(align - offset % align) % align;
    unsigned char *data = extent->data;
    if (((uint64_t)(uintptr_t)data - offset) % align || extent->size < head + align)
        return bounced_read(lane, extent, error);
    size_t body = (extent->size - head) / align * align;
    const st__extent before = {offset, data, head};
    const st__extent after = {offset + head + body, data + head + body, extent->size - head - body};
    if (before.size)
        ST_TRY(bounced_read(lane, &before, error));
    const direct_part whole = {offset + head, data + head, body, 0, body};
    ST_TRY(blocks_read(lane, &whole, error));
    return after.size ? bounced_read(lane, &after, error) : ST_OK;
}

/* -------------------------------------------------------------------------------- out of memory */

static void mapped_read(const st__lane *lane, uint32_t io, const st__extent *extent)
{
    const unsigned char *from = lane->route->memory + (size_t)extent->offset;
    if (io == ST_IO_POPULATE)
        st__os_populate((void *)(uintptr_t)from, extent->size, false);
    memcpy(extent->data, from, extent->size);
}

/* ------------------------------------------------------------------------------------------ all */

static st_status part_read(st__lane *lane, uint32_t io, const st__extent *part, st_error *error)
{
    if ((io == ST_IO_MAP || io == ST_IO_POPULATE) && lane->route->memory) {
        mapped_read(lane, io, part);
        return ST_OK;
    }
    if (io == ST_IO_DIRECT)
        return direct_read(lane, part, error);
    return phase_unlucky(lane, part) ? detour_read(lane, io, part, error)
                                     : cached_read(lane, io, part, error);
}

/* In parts that end at blocks, each by what the route has then. */
static st_status extent_read(st__lane *lane, const st__extent *extent, st_error *error)
{
    for (size_t done = 0; done < extent->size;) {
        uint32_t io = atomic_load_explicit(&lane->route->io, memory_order_relaxed);
        uint64_t offset = extent->offset + done;
        size_t size = PART_SIZE - (size_t)(offset % align_of(lane));
        if (size > extent->size - done)
            size = extent->size - done;
        const st__extent part = {offset, (unsigned char *)extent->data + done, size};
        ST_TRY(part_read(lane, io, &part, error));
        done += size;
    }
    return ST_OK;
}

st_status st__lane_read(st__lane *lane, const st__extent *extents, size_t count, st_error *error)
{
    for (size_t i = 0; i < count;) {
        uint32_t io = atomic_load_explicit(&lane->route->io, memory_order_relaxed);
        if (io == ST_IO_URING)
            ST_TRY(st__lane_read_ring(lane, extents, count, &i, error));
        else
            ST_TRY(extent_read(lane, &extents[i++], error));
    }
    return ST_OK;
}

void st__lane_prepare(st__lane *lane)
{
    size_t none = 0;
    if (atomic_load_explicit(&lane->route->io, memory_order_relaxed) == ST_IO_URING)
        (void)st__lane_read_ring(lane, NULL, 0, &none, NULL);
}
