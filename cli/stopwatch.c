/* SPDX-License-Identifier: Apache-2.0 */
#include "stopwatch.h"

#include <sys/resource.h>

#include "progress.h"

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double cpu_now(void)
{
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) != 0)
        return 0;
    return seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
}

void stopwatch_start(struct stopwatch *watch)
{
    watch->cpu_before = cpu_now();
    watch->started = progress_now();
}

void stopwatch_stop(struct stopwatch *watch)
{
    watch->seconds = (double)(progress_now() - watch->started) / 1e9;
    watch->cpu = cpu_now() - watch->cpu_before;
}
