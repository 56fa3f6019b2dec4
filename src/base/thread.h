/* SPDX-License-Identifier: Apache-2.0 */
/* The only door to threads: a port to another system replaces thread.c. Whoever starts a thread
 * joins it before its own call returns. */
#ifndef ST_BASE_THREAD_H
#define ST_BASE_THREAD_H

#include <stdbool.h>
#include <stdint.h>
#include <pthread.h>

typedef struct st__thread {
    pthread_t id;
} st__thread;

typedef struct st__mutex {
    pthread_mutex_t os;
} st__mutex;

typedef struct st__cond {
    pthread_cond_t os;
} st__cond;

/* False where the system refuses another thread: the caller does the work itself. */
bool st__thread_start(st__thread *thread, void *(*run)(void *arg), void *arg);
void st__thread_join(st__thread *thread);

/* False where the system lacks the means. */
bool st__mutex_init(st__mutex *mutex);
void st__mutex_release(st__mutex *mutex);
void st__mutex_lock(st__mutex *mutex);
void st__mutex_unlock(st__mutex *mutex);

bool st__cond_init(st__cond *cond);
void st__cond_release(st__cond *cond);
void st__cond_wait(st__cond *cond, st__mutex *mutex);
void st__cond_broadcast(st__cond *cond);

/* CPUs this process may run on; at least 1. */
uint32_t st__cpu_count(void);

#endif
