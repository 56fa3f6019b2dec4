/* SPDX-License-Identifier: Apache-2.0 */
/* What some work takes: time, and that of all CPUs for this process. */
#ifndef CLI_STOPWATCH_H
#define CLI_STOPWATCH_H

#include <stdint.h>

struct stopwatch {
    uint64_t started;
    double cpu_before;
    double seconds; /* once it is stopped */
    double cpu;
};

void stopwatch_start(struct stopwatch *watch);
void stopwatch_stop(struct stopwatch *watch);

#endif
