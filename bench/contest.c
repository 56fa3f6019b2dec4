/* SPDX-License-Identifier: Apache-2.0 */
#include "contest.h"
#include "measure.h"

#include <inttypes.h>
#include <stdio.h>

enum { LINE_SIZE = 12000, FIRST_RUN = 1 };

typedef struct turn {
    const bench_contest *contest;
    const bench_way *way;
} turn;

static double peer_ask(const turn *t, const char *what)
{
    char line[LINE_SIZE];
    snprintf(line, sizeof line, "%s\t%s", what, t->contest->paths);
    return bench_child_ask(t->contest->peer, line);
}

static double turn_asked(void *ctx, uint64_t loops)
{
    const turn *t = ctx;
    const bench_contest *c = t->contest;
    double ns = 0;
    for (uint64_t i = 0; i < loops; i++) {
        if (c->before)
            c->before(c->ctx);
        uint64_t start = bench_now();
        if (t->way->once)
            t->way->once(c->ctx, t->way->threads);
        double taken = (double)(bench_now() - start);
        ns += t->way->once ? taken : peer_ask(t, t->way->asked);
    }
    return ns / (double)loops;
}

static bool can_go(const bench_contest *c, const bench_way *way)
{
    char line[LINE_SIZE];
    if (way->once)
        return true;
    snprintf(line, sizeof line, "can\t%s", way->asked);
    return c->peer && bench_child_ask(c->peer, line) > 0;
}

/* The one of the peers that took least. */
static const bench_subject *peer_find(const bench_subject *list, size_t n, unsigned runs)
{
    const bench_subject *best = NULL;
    for (size_t i = 0; i < n; i++) {
        const turn *t = list[i].ctx;
        if (!t->way->once && (!best || bench_median(&list[i], runs) < bench_median(best, runs)))
            best = &list[i];
    }
    return best;
}

static void rows_print(const bench_contest *c, const bench_subject *list, size_t n, unsigned runs)
{
    const bench_subject *peer = peer_find(list, n, runs);
    for (size_t i = 0; i < n; i++) {
        const turn *t = list[i].ctx;
        const bench_subject *base =
            t->way->base ? bench_find(list, n, c->name, t->way->base) : &list[0];
        double ns = bench_median(&list[i], runs);
        printf("%s,%s,%" PRIu64 ",%zu,%u,%.0f,%.0f,%.3f", c->name, list[i].who, c->bytes,
               c->tensors, runs, ns, bench_min(&list[i], runs), (double)c->bytes / ns);
        bench_print_ratio(&list[i], base, runs);
        bench_print_ratio(&list[i], peer, runs);
        putchar('\n');
    }
    fflush(stdout);
}

void bench_contest_head(void)
{
    puts("case,who,bytes,tensors,runs,ns_median,ns_min,gb_per_s,x_ceiling,x_peer");
}

void bench_contest_run(const bench_contest *c, unsigned runs)
{
    bench_subject list[BENCH_WAYS_MAX];
    turn turns[BENCH_WAYS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < BENCH_WAYS_MAX && c->ways[i]; i++) {
        const bench_way *way = c->ways[i];
        if (!can_go(c, way))
            continue;
        turns[n] = (turn){c, way};
        (void)turn_asked(&turns[n], FIRST_RUN);
        if (way->check)
            way->check(c->ctx);
        list[n] = (bench_subject){.what = c->name,
                                  .who = way->who,
                                  .asked = turn_asked,
                                  .ctx = &turns[n],
                                  .single = !c->quick};
        n++;
    }
    bench_measure(list, n, runs);
    rows_print(c, list, n, runs);
}
