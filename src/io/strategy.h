/* SPDX-License-Identifier: Apache-2.0 */
/* Which strategy is the cheapest: a pure function of what is known. Figures and where they were measured
 * stand in strategy.c. */
#ifndef ST_IO_STRATEGY_H
#define ST_IO_STRATEGY_H

#include <safetensors/safetensors.h>

/* ST_IO_AUTO to ST_IO_POPULATE. */
#define ST__IO_COUNT 7u
/* A bit for each. */
#define ST__IO_BIT(io) (1u << (io))

typedef struct st__facts {
    uint64_t size;        /* bytes to be delivered */
    uint64_t span;        /* from the first byte wanted to the last */
    uint64_t piece;       /* what is contiguous; `size` where all is */
    uint64_t resident;    /* bytes of the span in the page cache; UINT64_MAX: unknown */
    uint64_t memory;      /* bytes the system has to spare; UINT64_MAX: unknown */
    uint32_t latency;     /* ST_LATENCY_… */
    uint32_t threads;     /* that may be used, the caller's included */
    uint32_t parallelism; /* reads in flight that help, as the source says; 0: unknown */
    uint32_t refused;     /* ST__IO_BIT of what cannot be had here */
    bool views;           /* a mapping may be handed out in place of a copy */
} st__facts;

typedef struct st__choice {
    uint32_t io;      /* never ST_IO_AUTO */
    uint32_t threads; /* at least 1 */
    uint32_t depth;   /* requests in flight per thread */
    size_t unit;      /* bytes of a request, at most: a multiple of a page */
    uint64_t
        gap; /* between two pieces, up to which one read that takes it along is cheaper than two */
    uint64_t read;                /* bytes that will be read, by this */
    double seconds[ST__IO_COUNT]; /* expected of each strategy; 0: not considered */
    const char *why;              /* for people: what the choice came from */
} st__choice;

/* `forced` ST_IO_AUTO: the cheapest. Else it, or what stands in for it where it was refused. */
void st__strategy_choose(const st__facts *facts, uint32_t forced, st__choice *out);

/* What is used where `io` is refused; ST_IO_PREAD for itself. */
uint32_t st__strategy_instead(uint32_t io);

/* Whether it leaves the page cache out of it: ST_IO_DIRECT and ST_IO_URING. */
bool st__strategy_is_direct(uint32_t io);

/* Whether it is worth asking how much of a range of this size is in the page cache: below, the answer costs
 * more than a wrong choice. */
bool st__strategy_asks(uint64_t size);

/* Whether a mapping would be handed out whatever memory there is to spare. */
bool st__strategy_maps(const st__facts *facts);

#endif
