/* SPDX-License-Identifier: Apache-2.0 */
/* To a sink that takes bytes in order only: small writes gather in a window at its head, and what comes
 * before its turn is kept. */
#include "file/writer.h"
#include "base/alloc.h"
#include "base/checked.h"

#include <inttypes.h>
#include <string.h>

/* Pieces that one call to a stream takes at most. */
#define STREAM_PIECES 64u

void st__stream_release(st_writer *writer)
{
    if (writer->sequential)
        st__free(writer->context, writer->windows[0].data, writer->window_size);
    for (size_t i = 0; i < writer->kept_count; i++) /* made by stream_keep */
        st__free(writer->context, (void *)(uintptr_t)writer->kept[i].data, writer->kept[i].size);
    st__free(writer->context, writer->kept, writer->kept_room * sizeof *writer->kept);
}

static uint64_t kept_cost(size_t size)
{
    return (uint64_t)size + sizeof(st__heap_item);
}

/* Keeps a copy until its turn comes. */
static st_status stream_keep(st_writer *writer, uint64_t offset, st_bytes bytes, st_error *error)
{
    if (writer->kept_count == writer->kept_room) {
        size_t room = writer->kept_room ? writer->kept_room * 2 : 16, size;
        st__heap_item *grown = NULL;
        if (st__mul_size(room, sizeof *grown, &size))
            grown =
                st__realloc(writer->context, writer->kept, writer->kept_room * sizeof *grown, size);
        if (!grown)
            return st__fail_nomem(error, (uint64_t)room * sizeof *grown);
        writer->kept = grown;
        writer->kept_room = room;
    }
    void *copy = st__alloc(writer->context, bytes.size);
    if (!copy)
        return st__fail_nomem(error, bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    st__heap_push(writer->kept, writer->kept_count++, (st__heap_item){offset, copy, bytes.size});
    writer->kept_bytes += kept_cost(bytes.size);
    return ST_OK;
}

static uint64_t stream_head(const st_writer *writer)
{
    return writer->windows[0].offset + writer->windows[0].used;
}

/* What was kept has its turn at `offset`. */
static bool kept_follows(const st_writer *writer, uint64_t offset)
{
    return writer->kept_count && writer->kept[0].place == offset;
}

/* Comes back when it is this write's turn, or with its bytes kept. Whoever finds no room waits as long
 * as another thread writes: what that one does may make room, or be what comes before. */
static st_status stream_turn(st_writer *writer, uint64_t offset, st_bytes bytes, bool *kept,
                             st_error *error)
{
    for (;;) {
        if (writer->failure.status != ST_OK)
            return st__writer_told(writer, error);
        if (!writer->pumping && offset == stream_head(writer))
            return ST_OK;
        if (writer->kept_bytes <= writer->budget &&
            kept_cost(bytes.size) <= writer->budget - writer->kept_bytes) {
            *kept = true;
            return stream_keep(writer, offset, bytes, error);
        }
        if (!writer->pumping)
            return st__fail(error, ST_ERR_TOO_BIG, offset,
                            "%zu bytes came before their turn, and of the %" PRIu64
                            " bytes that may be kept for a stream %" PRIu64
                            " are taken; write in the order of the file (byte %" PRIu64
                            " is next), or raise st_context_options.max_memory",
                            bytes.size, writer->budget, writer->kept_bytes, stream_head(writer));
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
    while (count < STREAM_PIECES && kept_follows(writer, *end)) {
        st__heap_item kept = st__heap_pop(writer->kept, writer->kept_count--);
        pieces[count++] = (st_bytes){kept.data, kept.size};
        *end += kept.size;
    }
    return count;
}

/* Writes from the head on as far as there are bytes. The window is its own meanwhile. */
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
            st__free(writer->context, (void *)(uintptr_t)pieces[i].data, pieces[i].size);
        }
        st__lock_take(&writer->lock);
        writer->kept_bytes -= freed;
        own.size = 0;
        head->used = 0;
        head->offset = end;
    } while (status == ST_OK && kept_follows(writer, head->offset));
    writer->pumping = false;
    if (status != ST_OK) /* before anyone who waits looks again */
        (void)st__writer_spoil(writer, st__writer_locate(writer, NULL, status, error), error);
    st__signal_wake_all(&writer->turn);
    return status;
}

st_status st__stream_put(st_writer *writer, uint64_t offset, st_bytes bytes, bool *moved,
                         st_error *error)
{
    st__window *head = &writer->windows[0];
    bool kept = false, combines = st__writer_combines(writer, bytes.size);
    ST_TRY(stream_turn(writer, offset, bytes, &kept, error));
    if (kept)
        return ST_OK;
    if (combines && !head->data)
        head->data = st__alloc(writer->context, writer->window_size);
    if (combines && !head->data)
        return st__fail_nomem(error, writer->window_size);
    if (combines && bytes.size <= writer->window_size - head->used) {
        memcpy(head->data + head->used, bytes.data, bytes.size);
        head->used += bytes.size;
        bytes.size = 0;
    }
    if (!bytes.size && head->used < writer->window_size &&
        !kept_follows(writer, stream_head(writer)))
        return ST_OK;
    *moved = true;
    return stream_pump(writer, bytes, error);
}

st_status st__stream_flush(st_writer *writer, bool *moved, st_error *error)
{
    *moved = writer->windows[0].used > 0;
    return *moved ? stream_pump(writer, (st_bytes){NULL, 0}, error) : ST_OK;
}
