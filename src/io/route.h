/* SPDX-License-Identifier: Apache-2.0 */
/* How bytes of one source get into memory during one transfer or load: the strategy that was chosen, and
 * what it needs that threads share. Immutable once open, but for what is refused on the way. */
#ifndef ST_IO_ROUTE_H
#define ST_IO_ROUTE_H

#include "io/source.h"
#include "io/strategy.h"

#include <stdatomic.h>

typedef struct st__route {
    st_source *source; /* not counted: outlives the route */
    st_context *context;
    st__facts facts;
    st__choice choice;
    _Atomic uint32_t io; /* in use: the choice, or, after a refusal, what stands in for it */
    int fd;              /* of the source, held; -1: it has none */
    int direct_fd;       /* of the route; -1: none */
    uint32_t align;      /* of offsets, sizes and memory of direct reads */
    uint64_t device;     /* the mount, for what is remembered of it */
    const unsigned char
        *memory; /* the source's first byte, where it is in memory or mapped; or NULL */
} st__route;

/* What is asked of a route. */
typedef struct st__wanted {
    uint64_t offset; /* of the first byte of the source that is wanted */
    uint64_t span;   /* from there to behind the last */
    uint64_t size;   /* bytes that are wanted of it */
    uint64_t piece;  /* what is contiguous of them; `size` where all is */
    uint32_t io;     /* ST_IO_…: forced, or ST_IO_AUTO */
    bool views;
    bool told;                   /* for st__route_explain: everything is asked, whatever it costs */
    const unsigned char *memory; /* the source's first byte, if it is in memory or mapped already */
    const st_source_info *info;  /* what the source said of itself at its open; NULL: it is asked */
} st__wanted;

/* Chooses, and opens what the choice needs. What the system refuses is remembered in the context by mount and
 * replaced, and is no failure. */
st_status st__route_open(st__route *route, st_source *source, st_context *context,
                         const st__wanted *wanted, st_error *error);
void st__route_close(st__route *route);
/* A route out of `memory` alone, without a source: nothing is opened, and closing it does nothing. */
void st__route_memory(st__route *route, const void *memory, uint64_t size, st_context *context);
/* For st_explanation. */
void st__route_explain(const st__route *route, st_explanation *out);

/* The strategy `io` turned out not to work here: from now on what stands in for it is used. */
void st__route_refuse(st__route *route, uint32_t io);
/* The same after it failed with an errno; where that need not be about the file system, but may be about this
 * file, this memory or this moment, nothing is remembered of the mount. */
void st__route_failed(st__route *route, uint32_t io, int failed);

#endif
