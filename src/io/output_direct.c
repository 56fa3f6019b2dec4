/* SPDX-License-Identifier: Apache-2.0 */
/* What callers do: bytes go into blocks, which are handed to the thread once they are full or their memory is
 * wanted for others. One lock is over the books, and dropped while bytes are copied or written. */
#include "io/output_direct.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "io/os.h"

#include <string.h>

/* 8 of these keep a disk busy; 1 MiB and 16 MiB are no faster (ext4 on virtio). */
#define BLOCK_MOST  ((size_t)4 << 20)
#define BLOCK_LEAST ((size_t)64 << 10)
#define BLOCKS_FEW  4u
/* From this size on waiting for the disk costs less than copying. */
#define SPAN_LEAST ((size_t)8 << 20)
#define UNIT_MOST  ((size_t)64 << 10)

/* ------------------------------------------------------------------------------- the books */

static void block_push(st__direct *d, st__direct_block *block)
{
    block->next = NULL;
    if (d->last)
        d->last->next = block;
    else
        d->first = block;
    d->last = block;
    st__signal_wake_all(&d->work);
}

/* No more comes to it. The lock is held, here and below where nothing else is said. */
static void block_close(st__direct *d, st__direct_block *block)
{
    if (block->open)
        d->open--;
    block->open = false;
    if (block->copies == 0)
        block_push(d, block);
}

/* The open one that ends at a place. */
static st__direct_block *block_at(st__direct *d, uint64_t at)
{
    for (uint32_t i = 0; i < d->count; i++)
        if (d->blocks[i].open && d->blocks[i].at + d->blocks[i].to == at)
            return &d->blocks[i];
    return NULL;
}

/* The open one that nobody has added to for longest; NULL: all are being added to. */
static st__direct_block *block_oldest(st__direct *d)
{
    st__direct_block *oldest = NULL;
    for (uint32_t i = 0; i < d->count; i++) {
        st__direct_block *block = &d->blocks[i];
        if (block->open && block->copies == 0 && (!oldest || block->turn < oldest->turn))
            oldest = block;
    }
    return oldest;
}

/* Makes an idle block one for what goes to `at`. Blocks end where multiples of their size are. */
static st__direct_block *block_begin(st__direct *d, uint64_t at)
{
    st__direct_block *block = d->idle;
    d->idle = block->next;
    block->from = block->to = (size_t)(at % d->unit);
    block->at = at - block->from;
    block->room = d->block_size - (size_t)(block->at % d->block_size);
    block->open = true;
    d->open++;
    return block;
}

/* Without a thread of the sink's own the caller writes what waits. */
static void work_wait(st__direct *d)
{
    if (d->crew.count > 0 || !(d->first || d->first_span)) {
        st__signal_wait(&d->moved, &d->lock);
        return;
    }
    st__lock_drop(&d->lock);
    st__direct_work(d);
    st__lock_take(&d->lock);
}

/* The block that bytes for `at` are added to; NULL after a failure. Half of the blocks stay in use for what is being
 * written, however many places the callers write at. */
static st__direct_block *block_find(st__direct *d, uint64_t at)
{
    while (!d->failed) {
        st__direct_block *block = block_at(d, at), *oldest;
        if (block)
            return block;
        if (d->open >= d->count / 2 && (oldest = block_oldest(d)))
            block_close(d, oldest);
        else if (d->idle)
            return block_begin(d, at);
        else
            work_wait(d);
    }
    return NULL;
}

static int failure_tell(const st__direct *d, uint64_t *failed_at)
{
    if (d->failed)
        *failed_at = d->failed_at;
    return d->failed;
}

/* ----------------------------------------------------------------------------- for the thread */

bool st__direct_stops(st__direct *d)
{
    st__lock_take(&d->lock);
    bool stops = d->failed || d->discards;
    st__lock_drop(&d->lock);
    return stops;
}

void st__direct_fail(st__direct *d, int failed, uint64_t at)
{
    st__lock_take(&d->lock);
    if (!d->failed || at < d->failed_at) {
        d->failed = failed;
        d->failed_at = at;
    }
    st__signal_wake_all(&d->moved);
    st__lock_drop(&d->lock);
}

static void span_cut(st__direct *d, st__direct_part *out)
{
    st__direct_span *span = d->first_span;
    size_t rest = span->size - span->begun;
    *out = (st__direct_part){.span = span,
                             .data = span->data + span->begun,
                             .at = span->at + span->begun,
                             .size = rest < d->block_size ? rest : d->block_size};
    span->begun += out->size;
    if (span->begun < span->size)
        return;
    d->first_span = span->next;
    if (!d->first_span)
        d->last_span = NULL;
}

bool st__direct_take(st__direct *d, bool waits, st__direct_part *out)
{
    st__lock_take(&d->lock);
    while (waits && !d->first && !d->first_span && !d->ending)
        st__signal_wait(&d->work, &d->lock);
    bool taken = d->first || d->first_span;
    if (d->first) {
        st__direct_block *block = d->first;
        d->first = block->next;
        if (!d->first)
            d->last = NULL;
        *out = (st__direct_part){.block = block};
    } else if (taken) {
        span_cut(d, out);
    }
    st__lock_drop(&d->lock);
    return taken;
}

void st__direct_give(st__direct *d, const st__direct_part *part)
{
    st__lock_take(&d->lock);
    if (part->block) {
        part->block->next = d->idle;
        d->idle = part->block;
    } else {
        part->span->landed += part->size;
    }
    st__signal_wake_all(&d->moved);
    st__lock_drop(&d->lock);
}

/* -------------------------------------------------------------------------------- taking bytes */

/* Takes what fits into one block. */
static size_t bytes_gather(st__direct *d, uint64_t at, const st_bytes *bytes)
{
    st__direct_block *block = block_find(d, at);
    if (!block)
        return 0;
    size_t to = block->to, room = block->room - to;
    size_t size = bytes->size < room ? bytes->size : room;
    block->to += size;
    block->turn = ++d->turns;
    block->copies++;
    if (size == room) { /* before the lock is dropped: others look for open ones */
        block->open = false;
        d->open--;
    }
    st__lock_drop(&d->lock);
    memcpy(block->data + to, bytes->data, size);
    st__lock_take(&d->lock);
    block->copies--;
    if (!block->open && block->copies == 0)
        block_push(d, block);
    else if (block->copies == 0)
        st__signal_wake_all(&d->moved); /* it may be closed now */
    return size;
}

static void all_gather(st__direct *d, uint64_t at, st_bytes bytes)
{
    while (bytes.size > 0 && !d->failed) {
        size_t size = bytes_gather(d, at, &bytes);
        bytes = (st_bytes){(const unsigned char *)bytes.data + size, bytes.size - size};
        at += size;
    }
}

static void span_push(st__direct *d, st__direct_span *span)
{
    /* What was written before it ends here: nothing comes to that block any more. */
    st__direct_block *before = block_at(d, span->at);
    if (before)
        block_close(d, before);
    if (d->last_span)
        d->last_span->next = span;
    else
        d->first_span = span;
    d->last_span = span;
    st__signal_wake_all(&d->work);
}

int st__direct_write(st__direct *d, uint64_t at, st_bytes bytes, uint64_t *failed_at)
{
    const unsigned char *data = bytes.data;
    size_t head = (size_t)(-at & (d->unit - 1)), whole = 0;
    if (bytes.size >= SPAN_LEAST + head && ((uint64_t)(uintptr_t)data - at) % d->align == 0)
        whole = (bytes.size - head) / d->unit * d->unit;
    st__direct_span span = {.data = data + head, .at = at + head, .size = whole};
    st__lock_take(&d->lock);
    if (whole == 0) {
        all_gather(d, at, bytes);
    } else if (!d->failed) {
        size_t past = head + whole;
        all_gather(d, at, (st_bytes){data, head});
        span_push(d, &span);
        all_gather(d, at + past, (st_bytes){data + past, bytes.size - past});
        while (span.landed < span.size)
            work_wait(d);
    }
    st__lock_drop(&d->lock);
    if (d->crew.count == 0)
        st__direct_work(d);
    st__lock_take(&d->lock);
    int failed = failure_tell(d, failed_at);
    st__lock_drop(&d->lock);
    return failed;
}

/* ------------------------------------------------------------------------------ begin and end */

/* What may be written past the cache by itself: what the device wants, a page, and a block of the file system, as
 * the cache keeps no less. */
static size_t unit_choose(int fd, uint32_t align)
{
    uint64_t block = st__os_block_size(fd), page = st__os_page_size();
    uint64_t unit = align > page ? align : page;
    return (size_t)(block > unit && block <= UNIT_MOST ? block : unit);
}

/* Half of the memory budget, and no more than a part of a short file. */
static void blocks_choose(st__direct *d, uint64_t size)
{
    uint64_t memory = st__min_u64(st__context_memory(d->context) / 2, size);
    size_t least = d->unit > BLOCK_LEAST ? d->unit : BLOCK_LEAST;
    d->block_size = BLOCK_MOST;
    while (d->block_size > least && memory / d->block_size < BLOCKS_FEW)
        d->block_size /= 2;
    d->count = (uint32_t)st__min_u64(memory / d->block_size, ST__DIRECT_BLOCKS);
}

static bool locks_init(st__direct *d)
{
    if (!st__lock_init(&d->lock))
        return false;
    if (st__signal_init(&d->moved)) {
        if (st__signal_init(&d->work))
            return true;
        st__signal_release(&d->moved);
    }
    st__lock_release(&d->lock);
    return false;
}

static void direct_free(st__direct *d)
{
    st__os_memory_give(d->memory, d->count * d->block_size);
    st__os_close(d->direct_fd);
    st__free(d->context, d, sizeof *d);
}

/* Memory, locks, the thread. */
static st_status direct_start(st__direct *d, st_error *error)
{
    size_t size = d->count * d->block_size;
    void *memory = NULL;
    if (st__os_memory_take(size, &memory) != 0)
        return st__fail_nomem(error, size);
    d->memory = memory;
    for (uint32_t i = d->count; i-- > 0;) {
        d->blocks[i].data = d->memory + i * d->block_size;
        d->blocks[i].next = d->idle;
        d->idle = &d->blocks[i];
    }
    if (!locks_init(d))
        return st__fail_nomem(error, sizeof *d);
    st_status status = st__crew_start(&d->crew, d->context, 1, st__direct_run, d, error);
    if (status == ST_OK)
        return ST_OK;
    st__signal_release(&d->work);
    st__signal_release(&d->moved);
    st__lock_release(&d->lock);
    return status;
}

st_status st__direct_open(int fd, uint64_t size, st_context *context, st__direct **out,
                          st_error *error)
{
    int direct_fd = -1;
    uint32_t align = 0;
    *out = NULL;
    if (st__os_open_direct(fd, true, &direct_fd, &align) != 0)
        return ST_OK;
    st__direct *d = st__alloc_zeroed(context, 1, sizeof *d);
    if (!d) {
        st__os_close(direct_fd);
        return st__fail_nomem(error, sizeof *d);
    }
    d->context = context;
    d->fd = fd;
    d->direct_fd = direct_fd;
    d->align = align;
    d->unit = unit_choose(fd, align);
    atomic_init(&d->refused, false);
    blocks_choose(d, size);
    st_status status = d->count < BLOCKS_FEW ? ST_OK : direct_start(d, error);
    if (status != ST_OK || d->count < BLOCKS_FEW)
        direct_free(d);
    else
        *out = d;
    return status;
}

static void direct_end(st__direct *d, bool discards)
{
    st__lock_take(&d->lock);
    for (uint32_t i = 0; i < d->count; i++)
        if (d->blocks[i].open)
            block_close(d, &d->blocks[i]);
    d->ending = true;
    d->discards = discards;
    st__signal_wake_all(&d->work);
    st__lock_drop(&d->lock);
    st__crew_join(&d->crew);
    st__direct_work(d); /* where there was no thread */
}

int st__direct_finish(st__direct *d, uint64_t *failed_at)
{
    direct_end(d, false);
    return failure_tell(d, failed_at);
}

void st__direct_close(st__direct *d)
{
    if (!d)
        return;
    direct_end(d, true);
    st__signal_release(&d->work);
    st__signal_release(&d->moved);
    st__lock_release(&d->lock);
    direct_free(d);
}
