/* SPDX-License-Identifier: Apache-2.0 */
/* _recover: what interrupted edits have left, told and put right, for safetensors/edit.py. */
#include "inputs.h"

#include <errno.h>

/* What a callback fills, called without the GIL on the thread that released it. */
typedef struct finding {
    PyObject *list;
    PyThreadState *thread;
    const char *path;
    st_error refused; /* ST_OK, or why the path itself cannot be looked at */
    bool failed;      /* an exception is set */
} finding;

/* The words of docs/json.md; a list of several files is never of another edit, nor is anything put back. */
static const char *recovery_word(const st_checkpoint_recovery *found)
{
    if (found->several)
        return found->found.action == ST_RECOVERY_FORWARD ? "several-forward"
                                                          : "several-unfinished";
    switch (found->found.action) {
    case ST_RECOVERY_UNFINISHED: return "unfinished";
    case ST_RECOVERY_FOREIGN: return "foreign";
    case ST_RECOVERY_FORWARD: return "forward";
    default: return "back";
    }
}

/* Of several files only. */
static PyObject *count_object(const st_checkpoint_recovery *found, uint64_t count)
{
    return found->several && !found->why ? PyLong_FromUnsignedLongLong(count) : Py_NewRef(Py_None);
}

/* (file, kind, stretches, bytes, files, left, error) */
static PyObject *recovery_object(const st_checkpoint_recovery *found)
{
    const char *why = found->why ? found->why->message : NULL;
    PyObject *error = why ? PyUnicode_DecodeUTF8(why, (Py_ssize_t)strlen(why), "backslashreplace")
                          : Py_NewRef(Py_None);
    return Py_BuildValue(
        "NzKKNNN", PyUnicode_DecodeFSDefault(found->path), why ? NULL : recovery_word(found),
        (unsigned long long)(why ? 0 : found->found.stretches),
        (unsigned long long)(why ? 0 : found->found.size), count_object(found, found->files),
        count_object(found, found->left), error);
}

static bool recovery_take(void *ctx, const st_checkpoint_recovery *found)
{
    finding *self = ctx;
    if (found->why && found->why->status == ST_ERR_IO && found->why->sys_errno != EAGAIN &&
        strcmp(found->path, self->path) == 0) {
        self->refused = *found->why;
        return false;
    }
    PyEval_RestoreThread(self->thread);
    PyObject *object = recovery_object(found);
    self->failed = !object || PyList_Append(self->list, object) || PyErr_CheckSignals();
    Py_XDECREF(object);
    self->thread = PyEval_SaveThread();
    return !self->failed;
}

/* What is there is told as it was before it is put right. */
static st_status path_recover(stpy_state *state, bool dry_run, finding *self, st_error *error)
{
    self->thread = PyEval_SaveThread();
    st_status status =
        st_checkpoint_recovery_look(self->path, state->context, recovery_take, self, error);
    if (self->refused.status != ST_OK)
        *error = self->refused;
    else if (status == ST_OK && !dry_run)
        status = st_checkpoint_recover(self->path, state->context, NULL, error);
    PyEval_RestoreThread(self->thread);
    return status;
}

PyObject *stpy_recover(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *path;
    int dry_run;
    stpy_place place;
    st_error error;
    if (!PyArg_ParseTuple(args, "Op:_recover", &path, &dry_run) ||
        stpy_path_read(state, path, &place))
        return NULL;
    finding self = {.list = PyList_New(0), .path = PyBytes_AsString(place.path)};
    st_status status = ST_ERR_NOMEM;
    if (self.list)
        status = path_recover(state, dry_run, &self, &error);
    stpy_place_release(&place);
    if (status == ST_OK)
        return self.list;
    if (self.list && !self.failed)
        stpy_raise(state, &error, STPY_EDIT, NULL);
    Py_XDECREF(self.list);
    return NULL;
}
