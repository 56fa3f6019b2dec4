/* SPDX-License-Identifier: Apache-2.0 */
/* Forks of the process: while other threads read, each module's context has to be fit for them.
 *
 * The hooks of os.register_at_fork would be too early and too late. They run one after the other, and those of other
 * modules would run with the context's locks taken: what they set free, or what another thread does when its turn
 * comes meanwhile, may close a file, and wait for ever. Between the handlers here and fork() no Python code runs. They
 * take no argument and nobody can take them back, so that there is one list for the process. */
#include "extension.h"

#ifdef _WIN32 /* which has no forks */

int stpy_fork_join(stpy_state *state)
{
    (void)state;
    return 0;
}

void stpy_fork_leave(stpy_state *state)
{
    (void)state;
}

#else

# include <pthread.h>

static pthread_mutex_t members_lock = PTHREAD_MUTEX_INITIALIZER; /* over the next two */
static stpy_state *members;                                      /* whose contexts live */
static bool members_known;                                       /* to fork() */

static void fork_begin(void)
{
    pthread_mutex_lock(&members_lock);
    for (stpy_state *state = members; state; state = state->fork_next)
        st_context_fork_begin(state->context);
}

static void fork_end(bool child)
{
    for (stpy_state *state = members; state; state = state->fork_next)
        st_context_fork_end(state->context, child);
    pthread_mutex_unlock(&members_lock);
}

static void fork_end_parent(void)
{
    fork_end(false);
}

static void fork_end_child(void)
{
    fork_end(true);
}

int stpy_fork_join(stpy_state *state)
{
    pthread_mutex_lock(&members_lock);
    if (!members_known)
        members_known = pthread_atfork(fork_begin, fork_end_parent, fork_end_child) == 0;
    bool known = members_known;
    if (known) {
        state->fork_next = members;
        members = state;
    }
    pthread_mutex_unlock(&members_lock);
    if (!known)
        PyErr_NoMemory();
    return known ? 0 : -1;
}

void stpy_fork_leave(stpy_state *state)
{
    pthread_mutex_lock(&members_lock);
    stpy_state **link = &members;
    while (*link && *link != state)
        link = &(*link)->fork_next;
    if (*link)
        *link = state->fork_next;
    pthread_mutex_unlock(&members_lock);
}

#endif
