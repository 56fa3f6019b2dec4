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

/* CPUs this process may run on; at least 1. */
uint32_t st__cpu_count(void);

#endif
