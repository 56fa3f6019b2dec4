/* SPDX-License-Identifier: Apache-2.0 */
/* Small writes to a sink that takes bytes anywhere, combined. What goes out of a window is written from its
 * own memory with the lock dropped; no list has the window meanwhile, so that nobody else finds it. */
#include "file/writer.h"
#include "base/alloc.h"
#include "base/endian.h"

#include <string.h>

/* ------------------------------------------------------------------------- bytes that are there */

static uint64_t *window_bits(const st_writer *writer, const st__window *window)
{
    return (uint64_t *)(void *)(window->data + writer->window_size);
}

static size_t window_memory(const st_writer *writer)
{
    return writer->window_size + writer->window_size / 8;
}

static void bits_set(uint64_t *bits, size_t from, size_t to)
{
    size_t first = from / 64, last = (to - 1) / 64;
    uint64_t head = UINT64_MAX << from % 64, tail = UINT64_MAX >> (63 - (to - 1) % 64);
    if (first == last) {
        bits[first] |= head & tail;
        return;
    }
    bits[first] |= head;
    memset(bits + first + 1, 0xff, (last - first - 1) * sizeof *bits);
    bits[last] |= tail;
}

/* The first place from `at` on where the bit is `set`; `end`: none before that. */
static size_t bits_find(const uint64_t *bits, size_t at, size_t end, bool set)
{
    while (at < end) {
        uint64_t rest = (set ? bits[at / 64] : ~bits[at / 64]) >> at % 64;
        size_t skip = rest ? st__ctz64(rest) : 64 - at % 64;
        if (rest)
            return at + skip < end ? at + skip : end;
        at += skip;
    }
    return end;
}

/* ---------------------------------------------------------------------------------- lists */

void st__windows_init(st_writer *writer, size_t count)
{
    writer->idle = NULL;
    for (size_t i = count; i-- > 0;) {
        writer->windows[i].next = writer->idle;
        writer->idle = &writer->windows[i];
    }
}

void st__windows_release(st_writer *writer)
{
    for (size_t i = 0; i < ST__WRITER_WINDOWS && !writer->sequential; i++)
        st__free(writer->context, writer->windows[i].data, window_memory(writer));
}

/* Where the window of a block is found, if there is one. */
static st__window **filling_list(st_writer *writer, uint64_t start)
{
    /* Fibonacci hashing: blocks of tensors of one size lie at multiples of it. */
    uint64_t mixed = start / writer->window_size * UINT64_C(0x9e3779b97f4a7c15);
    return &writer->filling[(mixed >> 32) % ST__WRITER_WINDOWS];
}

static st__window *filling_find(st_writer *writer, uint64_t start)
{
    st__window *window = *filling_list(writer, start);
    while (window && window->offset != start)
        window = window->next;
    return window;
}

static st__window *filling_oldest(st_writer *writer)
{
    st__window *oldest = NULL;
    for (size_t i = 0; i < ST__WRITER_WINDOWS; i++)
        for (st__window *window = writer->filling[i]; window; window = window->next)
            if (!oldest || window->turn < oldest->turn)
                oldest = window;
    return oldest;
}

/* -------------------------------------------------------------------------------- writing out */

static uint64_t block_start(const st_writer *writer, uint64_t offset)
{
    return offset & ~(uint64_t)(writer->window_size - 1);
}

/* The bytes of the block at `start`; the last one of the file may be short. */
static size_t block_size(const st_writer *writer, uint64_t start)
{
    uint64_t rest = writer->header_size + writer->data_size - start;
    return rest < writer->window_size ? (size_t)rest : writer->window_size;
}

/* Writes a window run by run; with the last of them `behind`, if that goes on where it ends. */
static st_status runs_write_out(st_writer *writer, const st__window *window, const st_bytes *behind,
                                uint64_t behind_at, bool *joined, st_error *error)
{
    const uint64_t *bits = window_bits(writer, window);
    size_t size = block_size(writer, window->offset);
    for (size_t end, from = 0; (from = bits_find(bits, from, size, true)) < size; from = end) {
        end = bits_find(bits, from, size, false);
        st_bytes pieces[2] = {{window->data + from, end - from}};
        bool joins = behind && window->offset + end == behind_at;
        if (joins)
            pieces[1] = *behind;
        ST_TRY(st__sink_write(writer->sink, window->offset + from, pieces, joins ? 2 : 1, error));
        if (joins)
            *joined = true;
    }
    return ST_OK;
}

/* Writes a window, which is idle then. */
static st_status window_write(st_writer *writer, st__window *window, const st_bytes *behind,
                              uint64_t behind_at, bool *joined, st_error *error)
{
    st__window **link = filling_list(writer, window->offset);
    while (*link != window)
        link = &(*link)->next;
    *link = window->next;
    st__lock_drop(&writer->lock);
    st_status status = runs_write_out(writer, window, behind, behind_at, joined, error);
    st__lock_take(&writer->lock);
    window->next = writer->idle;
    writer->idle = window;
    return status;
}

st_status st__windows_flush(st_writer *writer, bool *moved, st_error *error)
{
    for (st__window *window; (window = filling_oldest(writer));) {
        *moved = true;
        ST_TRY(window_write(writer, window, NULL, 0, NULL, error));
    }
    return ST_OK;
}

/* -------------------------------------------------------------------------------------- putting */

/* Finds the window of a block or opens one, for which the oldest has to go where none is idle. `*out` is NULL
 * if all are being written. */
static st_status window_open(st_writer *writer, uint64_t start, st__window **out, bool *moved,
                             st_error *error)
{
    *out = filling_find(writer, start);
    st__window *oldest = *out || writer->idle ? NULL : filling_oldest(writer);
    if (oldest) {
        *moved = true;
        ST_TRY(window_write(writer, oldest, NULL, 0, NULL, error));
        *out = filling_find(writer, start); /* another thread may have been here */
    }
    st__window *window = writer->idle;
    if (*out || !window)
        return ST_OK;
    if (!window->data)
        window->data = st__alloc(writer->context, window_memory(writer));
    if (!window->data)
        return st__fail_nomem(error, window_memory(writer));
    writer->idle = window->next;
    memset(window_bits(writer, window), 0, writer->window_size / 8);
    st__window **list = filling_list(writer, start);
    window->offset = start;
    window->used = 0;
    window->next = *list;
    *list = *out = window;
    return ST_OK;
}

/* Writes at once, together with what a window holds before it. That one is most likely never completed:
 * the rest of its block is here. */
static st_status large_put(st_writer *writer, uint64_t offset, st_bytes bytes, st_error *error)
{
    st__window *before = NULL;
    bool joined = false;
    if (writer->window_size && offset > 0)
        before = filling_find(writer, block_start(writer, offset - 1));
    if (before)
        ST_TRY(window_write(writer, before, &bytes, offset, &joined, error));
    if (joined)
        return ST_OK;
    st__lock_drop(&writer->lock);
    st_status status = st__sink_write(writer->sink, offset, &bytes, 1, error);
    st__lock_take(&writer->lock);
    return status;
}

/* Puts what of a small write lies in one block. */
static st_status part_put(st_writer *writer, uint64_t offset, st_bytes part, bool *moved,
                          st_error *error)
{
    uint64_t start = block_start(writer, offset);
    size_t at = (size_t)(offset - start);
    st__window *window;
    ST_TRY(window_open(writer, start, &window, moved, error));
    if (!window) {
        *moved = true;
        return large_put(writer, offset, part, error);
    }
    memcpy(window->data + at, part.data, part.size);
    bits_set(window_bits(writer, window), at, at + part.size);
    window->used += part.size;
    window->turn = ++writer->turns;
    if (window->used < block_size(writer, start))
        return ST_OK;
    *moved = true;
    return window_write(writer, window, NULL, 0, NULL, error);
}

st_status st__windows_put(st_writer *writer, uint64_t offset, st_bytes bytes, bool *moved,
                          st_error *error)
{
    if (!st__writer_combines(writer, bytes.size)) {
        *moved = true;
        return large_put(writer, offset, bytes, error);
    }
    while (bytes.size > 0) {
        size_t room = writer->window_size - (size_t)(offset - block_start(writer, offset));
        st_bytes part = {bytes.data, bytes.size < room ? bytes.size : room};
        ST_TRY(part_put(writer, offset, part, moved, error));
        bytes = (st_bytes){(const unsigned char *)bytes.data + part.size, bytes.size - part.size};
        offset += part.size;
    }
    return ST_OK;
}
