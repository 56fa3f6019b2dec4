/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One run of a short operation lasts this long, which is far above the clock's grain. */
#define RUN_NS    5e6
#define LOOPS_MAX 20000.0

uint64_t bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bench_cpu_now(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

_Noreturn void bench_fail(const char *format, ...)
{
    va_list arguments;
    fputs("bench: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static double run_once(const bench_subject *subject, uint64_t loops)
{
    double parts = subject->parts > 0 ? subject->parts : 1;
    if (!subject->once)
        return subject->asked(subject->ctx, loops) / parts;
    uint64_t start = bench_now();
    for (uint64_t i = 0; i < loops; i++)
        subject->once(subject->ctx);
    return (double)(bench_now() - start) / (double)loops / parts;
}

static uint64_t loops_for(const bench_subject *subject)
{
    if (subject->single)
        return 1;
    run_once(subject, 1);
    double ns = run_once(subject, 1) * (subject->parts > 0 ? subject->parts : 1);
    double loops = RUN_NS / (ns > 1 ? ns : 1);
    return loops < 1 ? 1 : loops > LOOPS_MAX ? (uint64_t)LOOPS_MAX : (uint64_t)loops;
}

void bench_measure(bench_subject *subjects, size_t count, unsigned runs)
{
    for (size_t i = 0; i < count; i++)
        subjects[i].loops = loops_for(&subjects[i]);
    for (unsigned run = 0; run < runs; run++) {
        for (size_t i = 0; i < count; i++)
            subjects[i].ns[run] = run_once(&subjects[i], subjects[i].loops);
    }
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median_of(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double bench_median(const bench_subject *subject, unsigned runs)
{
    double values[BENCH_RUNS_MAX];
    memcpy(values, subject->ns, runs * sizeof *values);
    return median_of(values, runs);
}

double bench_min(const bench_subject *subject, unsigned runs)
{
    double least = subject->ns[0];
    for (unsigned i = 1; i < runs; i++)
        least = subject->ns[i] < least ? subject->ns[i] : least;
    return least;
}

double bench_max(const bench_subject *subject, unsigned runs)
{
    double most = subject->ns[0];
    for (unsigned i = 1; i < runs; i++)
        most = subject->ns[i] > most ? subject->ns[i] : most;
    return most;
}

double bench_ratio(const bench_subject *subject, const bench_subject *base, unsigned runs)
{
    double values[BENCH_RUNS_MAX];
    for (unsigned i = 0; i < runs; i++)
        values[i] = subject->ns[i] / base->ns[i];
    return median_of(values, runs);
}

const bench_subject *bench_find(const bench_subject *subjects, size_t count, const char *what,
                                const char *who)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(subjects[i].what, what) && !strcmp(subjects[i].who, who))
            return &subjects[i];
    }
    return NULL;
}

void bench_print_ratio(const bench_subject *subject, const bench_subject *base, unsigned runs)
{
    if (base)
        printf(",%.4f", bench_ratio(subject, base, runs));
    else
        putchar(',');
}
