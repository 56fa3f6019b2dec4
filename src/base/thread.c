/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <sched.h>
#include <unistd.h>

bool st__thread_start(st__thread *thread, void *(*run)(void *arg), void *arg)
{
    return pthread_create(&thread->id, NULL, run, arg) == 0;
}

void st__thread_join(st__thread *thread)
{
    pthread_join(thread->id, NULL);
}

uint32_t st__cpu_count(void)
{
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
#endif
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 1;
}
