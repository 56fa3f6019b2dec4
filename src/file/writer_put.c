/* SPDX-License-Identifier: Apache-2.0 */
/* Putting bytes into the sink: small ones combined in windows, a stream's in their order. */
#include "file/writer.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#include <inttypes.h>
#include <string.h>

/* Pieces that one call to a stream takes at most. */
#define STREAM_PIECES 64u

static void failure_keep(st_writer *writer, st_status status, const st_error *said)
{
    if (writer->failure.status != ST_OK)
        return;
    writer->failure = *said;
    writer->failure.status = status;
}

st_status st__writer_spoil(st_writer *writer, st_status status, const st_error *said)
{
    st__lock_take(&writer->lock);
    failure_keep(writer, status, said);
    st__lock_drop(&writer->lock);
    return status;
}

/* --------------------------------------------------------------------------------- windows */

static st__window window_detach(st__window *window)
{
    st__window out = *window;
    *window = (st__window){.data = NULL};
    return out;
}

static st__window *window_at(st_writer *writer, uint64_t offset)
{
    for (size_t i = 0; i < ST__WRITER_WINDOWS; i++) {
        st__window *window = &writer->windows[i];
        if (window->data && window->offset == offset)
            return window;
    }
    return NULL;
}

/* An empty one, or the one that has waited longest. */
static st__window *window_oldest(st_writer *writer)
{
    st__window *oldest = &writer->windows[0];
    for (size_t i = 0; i < ST__WRITER_WINDOWS; i++) {
        st__window *window = &writer->windows[i];
        if (!window->data)
            return window;
        if (window->turn < oldest->turn)
            oldest = window;
    }
    return oldest;
}

static st_status window_open(st_writer *writer, st__window *window, uint64_t offset,
                             st_error *error)
{
    unsigned char *data = writer->spare;
    if (!data)
        data = st__alloc(writer->context, writer->window_size);
    if (!data)
        return st__fail_nomem(error, writer->window_size);
    writer->spare = NULL;
    *window = (st__window){.data = data, .offset = offset};
    st__ranges_init(&window->filled, writer->context);
    return ST_OK;
}

static void window_give_back(st_writer *writer, unsigned char *data)
{
    st__lock_take(&writer->lock);
    if (!writer->spare) {
        writer->spare = data;
        data = NULL;
    }
    st__lock_drop(&writer->lock);
    st__free(writer->context, data, writer->window_size);
}

/* The bytes of the block at `offset`; the last one of the file may be short. */
static size_t block_size(const st_writer *writer, uint64_t offset)
{
    uint64_t rest = writer->header_size + writer->data_size - offset;
    return rest < writer->window_size ? (size_t)rest : writer->window_size;
}

/* Windows that were taken out to be written. */
typedef struct windows_out {
    st__window at[2];
    size_t count;
} windows_out;

/* Takes a small write, or what of it lies in the block at `start`. Windows that had to go, the oldest
 * because there was no other and this one because it is complete, are left in `out`. */
static st_status window_take(st_writer *writer, uint64_t start, uint64_t offset, st_bytes part,
                             windows_out *out, st_error *error)
{
    uint64_t twice;
    st__window *window = window_at(writer, start);
    if (!window) {
        window = window_oldest(writer);
        if (window->data)
            out->at[out->count++] = window_detach(window);
        ST_TRY(window_open(writer, window, start, error));
    }
    if (st__ranges_add(&window->filled, offset, offset + part.size, &twice) != ST_OK)
        return st__fail_nomem(error, sizeof window->filled);
    memcpy(window->data + (size_t)(offset - start), part.data, part.size);
    window->used += part.size;
    window->turn = ++writer->turns;
    if (window->used == block_size(writer, start))
        out->at[out->count++] = window_detach(window);
    return ST_OK;
}

/* Writes what a window holds, run by run; with the last of them `behind`, if it goes on where that ends. */
static st_status window_write(st_writer *writer, const st__window *window, const st_bytes *behind,
                              uint64_t behind_at, bool *joined, st_error *error)
{
    uint64_t end = window->offset + block_size(writer, window->offset), from = window->offset;
    while (from < end) {
        uint64_t gap = end, next = end;
        (void)st__ranges_gap(&window->filled, from, end, &gap, &next);
        st_bytes pieces[2] = {
            {window->data + (size_t)(from - window->offset), (size_t)(gap - from)}};
        bool joins = behind && gap == behind_at && gap > from;
        if (joins)
            pieces[1] = *behind;
        if (gap > from)
            ST_TRY(st__sink_write(writer->sink, from, pieces, joins ? 2 : 1, error));
        if (joins)
            *joined = true;
        from = next;
    }
    return ST_OK;
}

static void window_drop(st_writer *writer, st__window *window)
{
    st__ranges_release(&window->filled);
    window_give_back(writer, window->data);
}

/* A new window always has room left behind a small write. */
static bool combines(const st_writer *writer, size_t size)
{
    return size <= ST__WRITER_SMALL && size < writer->window_size;
}

/* Puts a small write into the window of its block, or of its two blocks. */
static st_status small_put(st_writer *writer, uint64_t offset, st_bytes bytes, bool *moved,
                           st_error *error)
{
    st_status status = ST_OK;
    const unsigned char *data = bytes.data;
    while (bytes.size && status == ST_OK) {
        windows_out out = {.count = 0};
        uint64_t start = offset - offset % writer->window_size;
        size_t room = writer->window_size - (size_t)(offset - start);
        st_bytes part = {data, bytes.size < room ? bytes.size : room};
        st__lock_take(&writer->lock);
        status = window_take(writer, start, offset, part, &out, error);
        st__lock_drop(&writer->lock);
        for (size_t i = 0; i < out.count; i++) {
            bool joined;
            if (status == ST_OK)
                status = window_write(writer, &out.at[i], NULL, 0, &joined, error);
            window_drop(writer, &out.at[i]);
            *moved = true;
        }
        data += part.size;
        offset += part.size;
        bytes.size -= part.size;
    }
    return status;
}

/* Writes at once, together with what a window holds before it. That one is most likely never completed:
 * the rest of its block is here. */
static st_status large_put(st_writer *writer, uint64_t offset, st_bytes bytes, st_error *error)
{
    st__window before = {.data = NULL};
    bool joined = false;
    st_status status = ST_OK;
    if (writer->window_size && offset > 0) {
        uint64_t last = offset - 1;
        st__lock_take(&writer->lock);
        st__window *window = window_at(writer, last - last % writer->window_size);
        if (window)
            before = window_detach(window);
        st__lock_drop(&writer->lock);
    }
    if (before.data) {
        status = window_write(writer, &before, &bytes, offset, &joined, error);
        window_drop(writer, &before);
    }
    if (status == ST_OK && !joined)
        status = st__sink_write(writer->sink, offset, &bytes, 1, error);
    return status;
}

/* To a sink that takes bytes anywhere. `*moved`: it was called. */
static st_status positional_put(st_writer *writer, uint64_t offset, st_bytes bytes, bool *moved,
                                st_error *error)
{
    if (combines(writer, bytes.size))
        return small_put(writer, offset, bytes, moved, error);
    *moved = true;
    return large_put(writer, offset, bytes, error);
}

/* --------------------------------------------------------------------------------- streams */

static void kept_swap(st__kept *a, st__kept *b)
{
    st__kept swap = *a;
    *a = *b;
    *b = swap;
}

static void kept_push(st_writer *writer, const st__kept *kept)
{
    size_t at = writer->kept_count++;
    writer->kept[at] = *kept;
    for (; at && writer->kept[(at - 1) / 2].offset > writer->kept[at].offset; at = (at - 1) / 2)
        kept_swap(&writer->kept[(at - 1) / 2], &writer->kept[at]);
}

static st__kept kept_pop(st_writer *writer)
{
    st__kept *heap = writer->kept;
    st__kept out = heap[0];
    size_t count = --writer->kept_count;
    heap[0] = heap[count];
    for (size_t at = 0, child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1].offset < heap[child].offset)
            child++;
        if (heap[at].offset <= heap[child].offset)
            break;
        kept_swap(&heap[at], &heap[child]);
    }
    return out;
}

static uint64_t kept_cost(size_t size)
{
    return (uint64_t)size + sizeof(st__kept);
}

/* Keeps a copy until its turn comes. */
static st_status stream_keep(st_writer *writer, uint64_t offset, const void *data, size_t size,
                             st_error *error)
{
    if (writer->kept_count == writer->kept_room) {
        size_t room = writer->kept_room ? writer->kept_room * 2 : 16, bytes;
        st__kept *grown = NULL;
        if (st__mul_size(room, sizeof *grown, &bytes))
            grown = st__realloc(writer->context, writer->kept, writer->kept_room * sizeof *grown,
                                bytes);
        if (!grown)
            return st__fail_nomem(error, (uint64_t)room * sizeof *grown);
        writer->kept = grown;
        writer->kept_room = room;
    }
    unsigned char *copy = st__alloc(writer->context, size);
    if (!copy)
        return st__fail_nomem(error, size);
    memcpy(copy, data, size);
    kept_push(writer, &(st__kept){offset, copy, size});
    writer->kept_bytes += kept_cost(size);
    return ST_OK;
}

static uint64_t stream_head(const st_writer *writer)
{
    return writer->windows[0].offset + writer->windows[0].used;
}

/* Comes back when it is this write's turn, or with its bytes kept. Whoever finds no room waits as long
 * as another thread writes: what that one does may make room, or be what comes before. */
static st_status stream_turn(st_writer *writer, uint64_t offset, const void *data, size_t size,
                             bool *kept, st_error *error)
{
    for (;;) {
        if (writer->failure.status != ST_OK) {
            *error = writer->failure;
            return writer->failure.status;
        }
        if (!writer->pumping && offset == stream_head(writer))
            return ST_OK;
        if (writer->kept_bytes <= writer->budget &&
            kept_cost(size) <= writer->budget - writer->kept_bytes) {
            *kept = true;
            return stream_keep(writer, offset, data, size, error);
        }
        if (!writer->pumping)
            return st__fail(error, ST_ERR_TOO_BIG, offset,
                            "%zu bytes came before their turn, and of the %" PRIu64
                            " bytes that may be kept for a stream %" PRIu64
                            " are taken; write in the order of the file (byte %" PRIu64
                            " is next), or raise st_context_options.max_memory",
                            size, writer->budget, writer->kept_bytes, stream_head(writer));
        st__signal_wait(&writer->turn, &writer->lock);
    }
}

/* Gathers what lies at the head: the window, the caller's own bytes, what was kept. */
static size_t stream_gather(st_writer *writer, const st_bytes *own, st_bytes *pieces,
                            size_t *own_count, uint64_t *end)
{
    const st__window *head = &writer->windows[0];
    size_t count = 0;
    if (head->used)
        pieces[count++] = (st_bytes){head->data, head->used};
    if (own->size)
        pieces[count++] = *own;
    *own_count = count;
    *end = stream_head(writer) + own->size;
    while (count < STREAM_PIECES && writer->kept_count && writer->kept[0].offset == *end) {
        st__kept kept = kept_pop(writer);
        pieces[count++] = (st_bytes){kept.data, kept.size};
        *end += kept.size;
    }
    return count;
}

/* Writes from the head on as far as there are bytes. Under the lock, which it drops for each call of the
 * sink; the window is its own meanwhile. */
static st_status stream_pump(st_writer *writer, st_bytes own, st_error *error)
{
    st__window *head = &writer->windows[0];
    st_bytes pieces[STREAM_PIECES];
    st_status status;
    writer->pumping = true;
    do {
        size_t own_count;
        uint64_t from = head->offset, end;
        size_t count = stream_gather(writer, &own, pieces, &own_count, &end);
        st__lock_drop(&writer->lock);
        status = count ? st__sink_write(writer->sink, from, pieces, count, error) : ST_OK;
        uint64_t freed = 0;
        for (size_t i = own_count; i < count; i++) {
            freed += kept_cost(pieces[i].size);
            /* Made by stream_keep. */
            st__free(writer->context, (void *)(uintptr_t)pieces[i].data, pieces[i].size);
        }
        st__lock_take(&writer->lock);
        writer->kept_bytes -= freed;
        own.size = 0;
        head->used = 0;
        head->offset = end;
    } while (status == ST_OK && writer->kept_count && writer->kept[0].offset == head->offset);
    writer->pumping = false;
    if (status != ST_OK)
        failure_keep(writer, st__writer_locate(writer, NULL, status, error), error);
    st__signal_wake_all(&writer->turn);
    return status;
}

/* To a sink that takes bytes in order only. */
static st_status stream_put(st_writer *writer, uint64_t offset, const unsigned char *data,
                            size_t size, bool *moved, st_error *error)
{
    st__window *head = &writer->windows[0];
    st_bytes own = {data, size};
    bool kept = false;
    st__lock_take(&writer->lock);
    st_status status = stream_turn(writer, offset, data, size, &kept, error);
    if (status == ST_OK && !kept) {
        if (combines(writer, size) && !head->data)
            status = window_open(writer, head, head->offset, error);
        if (status == ST_OK && combines(writer, size) && size <= writer->window_size - head->used) {
            memcpy(head->data + head->used, data, size);
            head->used += size;
            own.size = 0;
        }
        bool full = own.size || head->used == writer->window_size ||
                    (writer->kept_count && writer->kept[0].offset == stream_head(writer));
        if (status == ST_OK && full) {
            *moved = true;
            status = stream_pump(writer, own, error);
        }
    }
    st__lock_drop(&writer->lock);
    return status;
}

/* --------------------------------------------------------------------------------- putting */

static st_status moved_note(st_writer *writer, uint64_t size, bool tell, st_error *error)
{
    st__lock_take(&writer->lock);
    writer->done += size;
    uint64_t done = writer->done;
    st__lock_drop(&writer->lock);
    if (tell && writer->progress.fn &&
        !writer->progress.fn(writer->progress.ctx, done, writer->data_size))
        return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET,
                        "%s: stopped by the caller after %" PRIu64 " of %" PRIu64 " bytes",
                        st__writer_name(writer), done, writer->data_size);
    return ST_OK;
}

st_status st__writer_count_moved(st_writer *writer, uint64_t size, st_error *error)
{
    st_status status = moved_note(writer, size, true, error);
    return status == ST_OK ? ST_OK : st__writer_spoil(writer, status, error);
}

static st_status pieces_put(st_writer *writer, uint64_t offset, const unsigned char *data,
                            size_t size, st_error *error)
{
    bool is_data = offset >= writer->header_size;
    while (size > 0) {
        size_t part = size < ST__WRITER_PIECE ? size : ST__WRITER_PIECE;
        bool moved = false;
        st_status status =
            writer->sequential
                ? stream_put(writer, offset, data, part, &moved, error)
                : positional_put(writer, offset, (st_bytes){data, part}, &moved, error);
        if (status != ST_OK)
            return st__writer_locate(writer, NULL, status, error);
        if (is_data)
            ST_TRY(moved_note(writer, part, moved, error));
        offset += part;
        data += part;
        size -= part;
    }
    return ST_OK;
}

st_status st__writer_put(st_writer *writer, uint64_t offset, const void *data, size_t size,
                         st_error *error)
{
    st_error said = {.status = ST_OK};
    st_status status = pieces_put(writer, offset, data, size, &said);
    if (status == ST_OK)
        return ST_OK;
    if (error)
        *error = said;
    return st__writer_spoil(writer, status, &said);
}

st_status st__writer_flush(st_writer *writer, st_error *error)
{
    bool moved = false;
    if (writer->sequential) {
        st__lock_take(&writer->lock);
        moved = writer->windows[0].used > 0;
        st_status status = moved ? stream_pump(writer, (st_bytes){NULL, 0}, error) : ST_OK;
        st__lock_drop(&writer->lock);
        if (status != ST_OK)
            return st__writer_locate(writer, NULL, status, error);
    }
    for (size_t i = 0; i < ST__WRITER_WINDOWS && !writer->sequential; i++) {
        st__window *window = &writer->windows[i];
        if (!window->data || !window->used)
            continue;
        bool joined;
        st_status status = window_write(writer, window, NULL, 0, &joined, error);
        if (status != ST_OK)
            return st__writer_locate(writer, NULL, status, error);
        st__window done = window_detach(window);
        window_drop(writer, &done);
        moved = true;
    }
    return moved_note(writer, 0, moved, error);
}
