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

bool st__mutex_init(st__mutex *mutex)
{
    return pthread_mutex_init(&mutex->os, NULL) == 0;
}

void st__mutex_release(st__mutex *mutex)
{
    pthread_mutex_destroy(&mutex->os);
}

void st__mutex_lock(st__mutex *mutex)
{
    pthread_mutex_lock(&mutex->os);
}

void st__mutex_unlock(st__mutex *mutex)
{
    pthread_mutex_unlock(&mutex->os);
}

bool st__cond_init(st__cond *cond)
{
    return pthread_cond_init(&cond->os, NULL) == 0;
}

void st__cond_release(st__cond *cond)
{
    pthread_cond_destroy(&cond->os);
}

void st__cond_wait(st__cond *cond, st__mutex *mutex)
{
    pthread_cond_wait(&cond->os, &mutex->os);
}

void st__cond_broadcast(st__cond *cond)
{
    pthread_cond_broadcast(&cond->os);
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
