/* SPDX-License-Identifier: Apache-2.0 */
/* Everything is written through the page cache, into space set aside before. For what must be on the disk
 * soon the cache is asked to start on it while the rest is still being written: 1 GiB takes 0.36 s then,
 * where writing all and syncing takes 0.5 to 0.6, and past the cache (O_DIRECT) 0.32 s from memory that
 * lies right for the device, but 0.38 to 0.48 from any other, which tensors behind a header nearly always
 * are (ext4 on virtio, Linux 6.18). So nothing goes past the cache, and what was saved can be read back
 * at once. */
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

void st__output_init(st__output *output, int fd, uint64_t base, const st_sink *sink)
{
    output->sink = sink;
    output->fd = fd;
    output->base = base;
    atomic_init(&output->dirty, 0);
    atomic_init(&output->shares_nothing, false);
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

st_status st__output_reserve(st__output *output, uint64_t size, uint32_t flags, st_error *error)
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

st_status st__output_write(st__output *output, uint64_t offset, const st_bytes *pieces,
                           size_t count, st_error *error)
{
    uint64_t at, small = 0;
    size_t first = 0;
    if (!st__add_u64(output->base, offset, &at))
        return write_failure(output, EFBIG, offset, error);
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
