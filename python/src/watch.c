/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

/* Between two looks for signals, for each of which the GIL has to be waited for, no more is done than this, */
#define LOOK_BYTES ((uint64_t)64 << 20)
/* and where somebody is told, about so many times in all. */
#define TELLS 100

int stpy_watch_read(PyObject *progress, stpy_watch *out)
{
    if (progress != Py_None && !PyCallable_Check(progress)) {
        stpy_raise_type("progress", progress, "a function, or None");
        return -1;
    }
    *out = (stpy_watch){.progress = progress == Py_None ? NULL : progress};
    return 0;
}

/* Calls what is told; False where it raises or says so. */
static bool progress_tell(const stpy_watch *self, uint64_t done, uint64_t total)
{
    PyObject *said = PyObject_CallFunction(self->progress, "KK", (unsigned long long)done,
                                           (unsigned long long)total);
    bool goes_on = said && said != Py_False;
    Py_XDECREF(said);
    return goes_on;
}

/* The bytes of all parts, where there are some. */
static void parts_add(const stpy_watch *self, uint64_t *done, uint64_t *total)
{
    if (self->total == 0)
        return;
    double share = *total ? (double)*done / (double)*total : 1;
    *done = self->before + (uint64_t)(share * (double)self->part);
    *total = self->total;
}

/* Whether so much was done since the last look that it is time for another one. */
static bool is_due(const stpy_watch *self, uint64_t done, uint64_t total)
{
    uint64_t step = LOOK_BYTES;
    if (self->progress && total / TELLS < step)
        step = total / TELLS;
    if (done <= self->told)
        return false;
    return done - self->told >= step || (self->progress && done >= total);
}

static bool progress_take(void *ctx, uint64_t done, uint64_t total)
{
    stpy_watch *self = ctx;
    if (self->ended || !self->thread)
        return !self->ended;
    parts_add(self, &done, &total);
    if (!is_due(self, done, total))
        return true;
    self->told = done;
    PyEval_RestoreThread(self->thread);
    self->ended =
        PyErr_CheckSignals() != 0 || (self->progress && !progress_tell(self, done, total));
    self->thread = PyEval_SaveThread();
    return !self->ended;
}

st_progress stpy_watch_progress(stpy_watch *watch)
{
    return (st_progress){progress_take, watch};
}

void stpy_watch_begin(stpy_watch *watch)
{
    watch->thread = PyEval_SaveThread();
}

int stpy_watch_end(stpy_watch *watch)
{
    PyEval_RestoreThread(watch->thread);
    watch->thread = NULL;
    return PyErr_Occurred() ? -1 : 0;
}

void stpy_watch_part(stpy_watch *watch, uint64_t size)
{
    watch->before += watch->part;
    watch->part = size;
}
