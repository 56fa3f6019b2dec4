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

/* False where the system refuses another thread: the caller does the work itself. */
bool st__thread_start(st__thread *thread, void *(*run)(void *arg), void *arg);
void st__thread_join(st__thread *thread);

/* The calling thread; and whether it is one that was asked for before. */
st__thread st__thread_here(void);
bool st__thread_is_here(const st__thread *thread);

/* CPUs this process may run on; at least 1. */
uint32_t st__cpu_count(void);

/* A lock, held for a few instructions and never across I/O or a callback, but across a fork (st_context_fork_begin):
 * the child's one thread lets go what its parent took. */
typedef struct st__lock {
    pthread_mutex_t mutex;
} st__lock;

/* False where the system has no more. */
bool st__lock_init(st__lock *lock);
void st__lock_release(st__lock *lock);
void st__lock_take(st__lock *lock);
void st__lock_drop(st__lock *lock);

/* A condition to wait for under a lock; may wake without a cause. */
typedef struct st__signal {
    pthread_cond_t condition;
} st__signal;

bool st__signal_init(st__signal *signal);
void st__signal_release(st__signal *signal);
void st__signal_wait(st__signal *signal, st__lock *lock);
void st__signal_wake_all(st__signal *signal);

#endif
