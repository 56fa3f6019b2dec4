/* SPDX-License-Identifier: Apache-2.0 */
/* Peers in other processes: one that stays and answers lines, and one started afresh each time. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <stdio.h>
#include <sys/types.h>

typedef struct bench_child {
    FILE *to;
    FILE *from;
    pid_t pid;
} bench_child;

/* Starts `argv` (NULL-terminated) with both ends of its standard streams in our hands. */
void bench_child_start(bench_child *child, const char *const *argv);
/* Sends one line, waits for one with a number: the ns that an operation took. */
double bench_child_ask(bench_child *child, const char *line);
/* The same for an answer of any kind, without the end of its line. */
void bench_child_tell(bench_child *child, const char *line, char *answer, size_t size);
/* Ends its input, and waits for it. */
void bench_child_end(bench_child *child);

/* Runs a program that prints one number, and gives that. */
double bench_child_number(const char *const *argv);

#endif
