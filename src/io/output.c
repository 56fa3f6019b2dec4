/* SPDX-License-Identifier: Apache-2.0 */
/* Everything is written into space set aside before, in one of two ways. In seconds for 1 GiB made durable, and
 * seconds of CPU (ext4 on virtio, Linux 6.18): past the page cache 0.36 to 0.54 and 0.02 from memory that lies right
 * for the device, 0.40 to 0.48 and 0.13 to 0.25 from any other, which tensors behind a header nearly always are;
 * through the cache 0.35 to 0.55 and 0.65, if the disk is put to work while the rest is still being written, and 0.5
 * to 0.6 and 1.2 if it is not. So the cache costs little time and much of the CPU, and memory that others may want
 * more; but what went past it must come from the disk again. By itself only what is large and to be durable goes
 * past it: whoever waits for the disk rarely reads back at once. */
#include "io/output.h"
#include "base/checked.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

/* After so many bytes the disk is put to work. */
#define WRITE_BACK_EVERY (8u << 20)
/* The kernel's copies end at multiples of this in the new file: copies that start out of step with large
 * pages take half as long again. */
#define COPY_STEP (UINT64_C(64) << 20)
/* From these sizes on files go past the cache: what is to be durable by itself, and what the caller wants to. */
#define AUTO_LEAST (UINT64_C(256) << 20)
#define DROP_LEAST (UINT64_C(1) << 20)

void st__output_init(st__output *output, int fd, uint64_t base, const st_sink *sink)
{
    output->sink = sink;
    output->fd = fd;
    output->base = base;
    output->size = 0;
    atomic_init(&output->dirty, 0);
    atomic_init(&output->shares_nothing, false);
    output->direct = NULL;
}

/* ------------------------------------------------------------------------------ failures */

static bool is_space(int failed)
{
    return failed == ENOSPC || failed == EDQUOT;
}

/* `at` counts from the sink's own first byte, as all offsets in errors do. */
static st_status write_failure(const st__output *output, int failed, uint64_t at, st_error *error)
{
    uint64_t room = is_space(failed) ? st__os_free_space(output->fd) : UINT64_MAX;
    if (room != UINT64_MAX)
        return st__fail_errno(error, ST_ERR_IO, failed, at,
                              "%s: cannot be written at byte %" PRIu64 ", %" PRIu64
                              " bytes are free",
                              output->sink->name, at, room);
    return st__fail_errno(error, ST_ERR_IO, failed, at, "%s: cannot be written at byte %" PRIu64,
                          output->sink->name, at);
}

static st_status output_reserve(st__output *output, uint64_t size, uint32_t flags, st_error *error)
{
    const char *name = output->sink->name;
    int failed = st__os_allocate(output->fd, output->base, size, flags);
    if (failed == 0)
        return ST_OK;
    uint64_t room = is_space(failed) ? st__os_free_space(output->fd) : UINT64_MAX;
    if (room != UINT64_MAX)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: needs %" PRIu64 " bytes, %" PRIu64
                              " are free; make room or write elsewhere",
                              name, size, room);
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                          "%s: there is no room for %" PRIu64 " bytes", name, size);
}

/* ------------------------------------------------------------------------------- the way */

/* Network file systems do more with a cache than without, and those in memory have nothing else. */
static bool goes_direct(const st__output *output, uint64_t size)
{
    const st_sink *sink = output->sink;
    bool wanted = sink->cache == ST_CACHE_DROP
                      ? size >= DROP_LEAST
                      : sink->cache == ST_CACHE_AUTO && size >= AUTO_LEAST &&
                            sink->durability != ST_DURABLE_NONE;
    return wanted && st__os_storage(output->fd) == ST_LATENCY_LOCAL;
}

st_status st__output_begin(st__output *output, uint64_t size, uint32_t flags, st_error *error)
{
    ST_TRY(output_reserve(output, size, flags, error));
    output->size = size;
    if (!goes_direct(output, size))
        return ST_OK;
    return st__direct_open(output->fd, size, output->sink->context, &output->direct, error);
}

/* `at` counts from the start of the file. */
static st_status direct_failure(const st__output *output, int failed, uint64_t at, st_error *error)
{
    return failed ? write_failure(output, failed, at - output->base, error) : ST_OK;
}

st_status st__output_finish(st__output *output, st_error *error)
{
    uint64_t at = 0;
    int failed = output->direct ? st__direct_finish(output->direct, &at) : 0;
    ST_TRY(direct_failure(output, failed, at, error));
    ST_TRY(st__sink_settle(output->sink, output->fd, error));
    if (output->sink->cache == ST_CACHE_DROP)
        st__os_drop(output->fd, output->base, output->size);
    return ST_OK;
}

void st__output_release(st__output *output)
{
    st__direct_close(output->direct);
    output->direct = NULL;
}

/* ------------------------------------------------------------------------------- writing */

static void cache_took(st__output *output, uint64_t size)
{
    if (output->sink->durability == ST_DURABLE_NONE)
        return;
    unsigned more = (unsigned)size;
    unsigned before = atomic_fetch_add_explicit(&output->dirty, more, memory_order_relaxed);
    if (size >= WRITE_BACK_EVERY || before / WRITE_BACK_EVERY != (before + more) / WRITE_BACK_EVERY)
        st__os_write_back(output->fd);
}

/* `at` counts from the start of the file. */
static st_status pieces_write(st__output *output, uint64_t at, const st_bytes *pieces, size_t count,
                              st_error *error)
{
    size_t done = 0;
    int failed = st__os_write(output->fd, at, pieces, count, &done);
    if (failed)
        return write_failure(output, failed, at + done - output->base, error);
    cache_took(output, done);
    return ST_OK;
}

static st_status large_write(st__output *output, uint64_t at, st_bytes piece, st_error *error)
{
    while (piece.size > 0) {
        st_bytes part = {piece.data, piece.size < WRITE_BACK_EVERY ? piece.size : WRITE_BACK_EVERY};
        ST_TRY(pieces_write(output, at, &part, 1, error));
        piece.data = (const unsigned char *)piece.data + part.size;
        piece.size -= part.size;
        at += part.size;
    }
    return ST_OK;
}

static st_status pages_write(st__output *output, uint64_t at, const st_bytes *pieces, size_t count,
                             st_error *error)
{
    uint64_t small = 0;
    size_t first = 0;
    for (size_t i = 0; i < count; at += pieces[i++].size) {
        if (pieces[i].size <= WRITE_BACK_EVERY) {
            small += pieces[i].size;
            continue;
        }
        ST_TRY(pieces_write(output, at - small, pieces + first, i - first, error));
        ST_TRY(large_write(output, at, pieces[i], error));
        first = i + 1;
        small = 0;
    }
    return pieces_write(output, at - small, pieces + first, count - first, error);
}

static st_status direct_write(st__output *output, uint64_t at, const st_bytes *pieces, size_t count,
                              st_error *error)
{
    int failed = 0;
    uint64_t failed_at = 0;
    for (size_t i = 0; i < count && !failed; at += pieces[i++].size)
        failed = st__direct_write(output->direct, at, pieces[i], &failed_at);
    return direct_failure(output, failed, failed_at, error);
}

st_status st__output_write(st__output *output, uint64_t offset, const st_bytes *pieces,
                           size_t count, st_error *error)
{
    uint64_t at, end, size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    if (!st__add_u64(output->base, offset, &at) || !st__add_u64(at, size, &end))
        return write_failure(output, EFBIG, offset, error);
    if (output->direct && !st__direct_is_refused(output->direct))
        return direct_write(output, at, pieces, count, error);
    return pages_write(output, at, pieces, count, error);
}

/* ------------------------------------------------------------------------------- copying */

/* One range of another file, and where it goes; `copied` bytes of it have been moved. */
typedef struct moved_range {
    int from_fd;
    uint64_t from;
    uint64_t at;
    uint64_t size;
    uint64_t copied;
} moved_range;

/* Copies up to `end`; an errno. */
static int range_copy(st__output *output, moved_range *c, uint64_t end)
{
    while (c->copied < end) {
        uint64_t done = 0, to = c->at + c->copied;
        uint64_t step = st__min_u64(end - c->copied, COPY_STEP - to % COPY_STEP);
        int failed = st__os_copy(c->from_fd, c->from + c->copied, output->fd, to, step, &done);
        c->copied += done;
        cache_took(output, done);
        if (failed || done < step)
            return failed;
    }
    return 0;
}

/* Shares the whole blocks, if the two ranges are in step, and copies what is before and behind them.
 * True where that was all that could be done; else the range is to be copied from its start. */
static bool blocks_share(st__output *output, moved_range *c, int *failed)
{
    uint64_t block = st__os_block_size(output->fd);
    uint64_t head = (block - c->from % block) % block;
    if (c->from % block != c->at % block || c->size < head + block ||
        atomic_load_explicit(&output->shares_nothing, memory_order_relaxed))
        return false;
    uint64_t whole = c->size - head - (c->size - head) % block;
    if (st__os_clone(c->from_fd, c->from + head, output->fd, c->at + head, whole) != 0) {
        atomic_store_explicit(&output->shares_nothing, true, memory_order_relaxed);
        return false;
    }
    *failed = range_copy(output, c, head);
    if (*failed || c->copied < head)
        return true;
    c->copied += whole;
    *failed = range_copy(output, c, c->size);
    return true;
}

static st_status range_move(st__output *output, moved_range *c, uint64_t offset, st_error *error)
{
    uint64_t end;
    int failed = 0;
    if (!st__add_u64(output->base, offset, &c->at) || !st__add_u64(c->at, c->size, &end) ||
        !st__add_u64(c->from, c->size, &end))
        return ST_OK;
    if (!blocks_share(output, c, &failed))
        failed = range_copy(output, c, c->size);
    return failed ? write_failure(output, failed, offset + c->copied, error) : ST_OK;
}

st_status st__output_copy(st__output *output, uint64_t offset, const st__stretch *stretch,
                          uint64_t *done, st_error *error)
{
    moved_range c = {.from_fd = -1, .from = stretch->from, .size = stretch->size};
    *done = 0;
    /* A source that cannot be had says why when it is read. */
    if (st__source_hold(stretch->source, &c.from_fd, NULL) != ST_OK || c.from_fd < 0)
        return ST_OK;
    st_status status = range_move(output, &c, offset, error);
    st__source_let_go(stretch->source);
    if (status == ST_OK)
        *done = c.copied;
    return status;
}
