/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes on their way into a regular file past the page cache, at any offset and from any thread.
 *
 * Bytes that follow each other gather in blocks, each at the place it has in the file modulo what the device asks
 * for; large pieces of memory that lie right as they are go from where they lie. Only whole units of the file are
 * written past the cache: what is before and behind them goes through it. Since each byte is written once, no unit
 * is then ever written in both ways. Offsets count from the start of the file. */
#ifndef ST_IO_OUTPUT_DIRECT_H
#define ST_IO_OUTPUT_DIRECT_H

#include "base/team.h"
#include "base/thread.h"

#include <stdatomic.h>

#define ST__DIRECT_BLOCKS 8u

/* Memory that gathers bytes [from, to) of it, for a part of the file from `at` on. */
typedef struct st__direct_block {
    unsigned char *data;
    uint64_t at;     /* at a unit */
    size_t from, to; /* filled, or about to be by those who copy */
    size_t room;     /* where the next one begins */
    uint32_t copies; /* threads that copy into it */
    bool open;       /* more may come */
    uint64_t turn;   /* when it was added to last */
    struct st__direct_block *next;
} st__direct_block;

/* A caller's memory that is written from where it lies, while the caller waits. */
typedef struct st__direct_span {
    const unsigned char *data;
    uint64_t at; /* at a unit */
    size_t size; /* whole units */
    size_t begun;
    size_t landed;
    struct st__direct_span *next;
} st__direct_span;

typedef struct st__direct {
    st_context *context;
    int fd;        /* through the cache; not its own */
    int direct_fd; /* past it */
    size_t unit;   /* of the file, a power of 2: no smaller part goes past the cache */
    size_t align;  /* of memory */
    unsigned char *memory;
    size_t block_size; /* a power of 2 */
    uint32_t count;
    st__crew crew;       /* of one thread or none: then callers do the writing */
    atomic_bool refused; /* nothing goes past the cache any more */
    st__lock lock;       /* over all that follows */
    st__signal moved;    /* a block or a part of a span is done with */
    st__signal work;     /* there is something for the thread */
    st__direct_block blocks[ST__DIRECT_BLOCKS];
    st__direct_block *idle;
    st__direct_block *first, *last;          /* that wait to be written */
    st__direct_span *first_span, *last_span; /* with parts that were not begun */
    uint32_t open;
    uint64_t turns;
    bool ending;   /* nothing will be added */
    bool discards; /* nor written */
    int failed;    /* an errno: that of the lowest byte... */
    uint64_t failed_at;
} st__direct;

/* For about `size` bytes to come. `*out` is NULL where there is no such writing, or no use in it. ST_ERR_NOMEM. */
st_status st__direct_open(int fd, uint64_t size, st_context *context, st__direct **out,
                          st_error *error);
/* Takes bytes; when it returns the memory is the caller's again. An errno, be it of a write before, with the byte
 * that could not be written. */
int st__direct_write(st__direct *d, uint64_t at, st_bytes bytes, uint64_t *failed_at);
/* Writes all that was taken, and waits for it. An errno as above. No call but close may follow. */
int st__direct_finish(st__direct *d, uint64_t *failed_at);
/* Waits for what is being written, drops what is not, and frees. NULL is fine. */
void st__direct_close(st__direct *d);

/* That it turned out to be impossible: what comes may as well be written through the cache. */
static inline bool st__direct_is_refused(st__direct *d)
{
    return atomic_load_explicit(&d->refused, memory_order_relaxed);
}

/* What is written in one go: a block, or a part of a span. */
typedef struct st__direct_part {
    st__direct_block *block;
    st__direct_span *span;
    const unsigned char *data;
    uint64_t at;
    size_t size; /* whole units, from here on; may be 0 */
    size_t done;
    uint32_t tries;
} st__direct_part;

/* Gives the next thing to write, after waiting for it if `waits`. False: there is none; if `waits`, nor will there
 * be. */
bool st__direct_take(st__direct *d, bool waits, st__direct_part *out);
/* Gives it back, written or not. */
void st__direct_give(st__direct *d, const st__direct_part *part);
/* Notes a failure, unless there is one further ahead. */
void st__direct_fail(st__direct *d, int failed, uint64_t at);
bool st__direct_stops(st__direct *d);

/* Writes all that waits. */
void st__direct_work(st__direct *d);
/* The thread: writes until the end. */
void st__direct_run(void *ctx, uint32_t worker);

#endif
