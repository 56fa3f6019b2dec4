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

st__thread st__thread_here(void)
{
    return (st__thread){pthread_self()};
}

bool st__thread_is_here(const st__thread *thread)
{
    return pthread_equal(thread->id, pthread_self()) != 0;
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

/* What cannot fail on a mutex or condition that was initialised and is used as the header says is not
 * looked at. */

bool st__lock_init(st__lock *lock)
{
    return pthread_mutex_init(&lock->mutex, NULL) == 0;
}

void st__lock_release(st__lock *lock)
{
    (void)pthread_mutex_destroy(&lock->mutex);
}

void st__lock_take(st__lock *lock)
{
    (void)pthread_mutex_lock(&lock->mutex);
}

void st__lock_drop(st__lock *lock)
{
    (void)pthread_mutex_unlock(&lock->mutex);
}

bool st__signal_init(st__signal *signal)
{
    return pthread_cond_init(&signal->condition, NULL) == 0;
}

void st__signal_release(st__signal *signal)
{
    (void)pthread_cond_destroy(&signal->condition);
}

void st__signal_wait(st__signal *signal, st__lock *lock)
{
    (void)pthread_cond_wait(&signal->condition, &lock->mutex);
}

void st__signal_wake_all(st__signal *signal)
{
    (void)pthread_cond_broadcast(&signal->condition);
}
