/* SPDX-License-Identifier: Apache-2.0 */
/* Times several ways of doing one thing in turn, so that a machine that drifts slows all of them.
 * Ratios are medians of the ratios within one turn. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BENCH_RUNS_MAX = 101 };

typedef struct bench_subject {
    const char *what; /* the operation; rows are compared where it is equal */
    const char *who;
    void (*once)(void *ctx);                    /* does it once; or, where NULL: */
    double (*asked)(void *ctx, uint64_t loops); /* has it done elsewhere, gives ns for one */
    void *ctx;
    double parts;   /* divides the time: operations that one call does; 0: 1 */
    uint64_t bytes; /* moved by one call; 0: does not apply */
    bool single;    /* never more than once a run */
    uint64_t loops; /* set by bench_measure, as is all below */
    double ns[BENCH_RUNS_MAX];
} bench_subject;

uint64_t bench_now(void);     /* ns */
uint64_t bench_cpu_now(void); /* ns that this process's threads have run, in the kernel too */

/* Ends the program with one line on stderr. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs each subject twice to warm up and to choose its loops, then `runs` times in turn. */
void bench_measure(bench_subject *subjects, size_t count, unsigned runs);

double bench_median(const bench_subject *subject, unsigned runs);
double bench_min(const bench_subject *subject, unsigned runs);
double bench_max(const bench_subject *subject, unsigned runs);
/* How many times as long `subject` took as `base`. */
double bench_ratio(const bench_subject *subject, const bench_subject *base, unsigned runs);

/* Finds a subject; NULL if there is none. */
const bench_subject *bench_find(const bench_subject *subjects, size_t count, const char *what,
                                const char *who);

/* Prints ",ratio", or "," alone where there is no base to compare with. */
void bench_print_ratio(const bench_subject *subject, const bench_subject *base, unsigned runs);

#endif
