/* SPDX-License-Identifier: Apache-2.0 */
/* Ways of doing one thing to files, timed in turn: what bench_edit, bench_diff, and bench_split share. */
#ifndef BENCH_CONTEST_H
#define BENCH_CONTEST_H

#include "child.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BENCH_WAYS_MAX = 10 };

typedef struct bench_way {
    const char *who;
    void (*once)(void *ctx, uint32_t threads); /* NULL: the peer is asked for `asked` */
    const char *asked;
    uint32_t threads;         /* 0: as many as the library takes */
    const char *base;         /* who it is compared with; NULL: the case's first */
    void (*check)(void *ctx); /* ends the program unless what was left is right; may be NULL */
} bench_way;

typedef struct bench_contest {
    const char *name;
    uint64_t bytes;
    size_t tensors;
    bool quick;                /* milliseconds: several a turn */
    void (*before)(void *ctx); /* before each time, and not timed; may be NULL */
    void *ctx;
    bench_child *peer; /* NULL: its ways are left out, as are those that it cannot go */
    const char *paths; /* for the peer, with tabs between them */
    const bench_way *ways[BENCH_WAYS_MAX];
} bench_contest;

void bench_contest_head(void);
/* Prints a row for each way. */
void bench_contest_run(const bench_contest *contest, unsigned runs);

#endif
