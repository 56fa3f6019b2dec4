/* SPDX-License-Identifier: Apache-2.0 */
/* _check: what st_check finds in a file, for safetensors/_check.py. */
#include "extension.h"

#include <safetensors/inspect.h>

/* A header of 100 MB has room for millions of them; all are counted, these are kept. */
#define FINDINGS_MAX 10000

/* ---------------------------------------------------------------------------------- findings */

typedef struct collection {
    PyObject *list;
    PyThreadState *thread; /* of the call, while it has released the GIL */
    bool failed;           /* an exception is set */
} collection;

static const char *severity_text(int32_t severity)
{
    switch (severity) {
    case ST_SEVERITY_ERROR: return "error";
    case ST_SEVERITY_WARNING: return "warning";
    default: return "note";
    }
}

/* What is not UTF-8 is a finding itself, and is shown. */
static PyObject *text_object(const char *text, size_t size)
{
    return text ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "backslashreplace")
                : Py_NewRef(Py_None);
}

/* (severity, rule, message, tensor, offset) */
static PyObject *finding_object(const st_finding *finding)
{
    PyObject *message = text_object(finding->message, strlen(finding->message));
    PyObject *tensor = message ? text_object(finding->name, finding->name_len) : NULL;
    PyObject *offset = NULL;
    if (tensor)
        offset = finding->offset == ST_NO_OFFSET ? Py_NewRef(Py_None)
                                                 : PyLong_FromUnsignedLongLong(finding->offset);
    if (offset)
        return Py_BuildValue("ssNNN", severity_text(finding->severity), finding->rule->id, message,
                             tensor, offset);
    Py_XDECREF(message);
    Py_XDECREF(tensor);
    return NULL;
}

/* Called without the GIL, on the thread that released it. */
static bool finding_collect(void *ctx, const st_finding *finding)
{
    collection *self = ctx;
    PyEval_RestoreThread(self->thread);
    if (PyList_Size(self->list) < FINDINGS_MAX) {
        PyObject *object = finding_object(finding);
        self->failed = !object || PyList_Append(self->list, object);
        Py_XDECREF(object);
    }
    self->thread = PyEval_SaveThread();
    return !self->failed;
}

/* ------------------------------------------------------------------------------------ source */

/* What safe_open takes, and a buffer with any contents, be it no file at all. */
static st_source *source_of(stpy_state *state, PyObject *object)
{
    bool readonly;
    if (PyObject_CheckBuffer(object)) {
        st_buffer *buffer = stpy_buffer_of_object(state, object, &readonly);
        return buffer ? stpy_source_of_buffer(state, buffer, NULL) : NULL;
    }
    stpy_place place;
    if (stpy_place_read(state, object, true, &place))
        return NULL;
    st_source *source = stpy_source_open(state, &place);
    stpy_place_release(&place);
    return source;
}

/* ------------------------------------------------------------------------------------- check */

static PyObject *summary_object(const st_check_summary *summary)
{
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsK}", "errors", (unsigned long long)summary->errors, "warnings",
        (unsigned long long)summary->warnings, "notes", (unsigned long long)summary->notes,
        "tensors", (unsigned long long)summary->tensors, "metadata",
        (unsigned long long)summary->metadata, "file_size", (unsigned long long)summary->file_size,
        "header_size", (unsigned long long)summary->header_size, "data_size",
        (unsigned long long)summary->data_size);
}

PyObject *stpy_check(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *object;
    int upstream;
    if (!PyArg_ParseTuple(args, "Op:_check", &object, &upstream))
        return NULL;
    st_source *source = source_of(state, object);
    if (!source)
        return NULL;
    collection found = {.list = PyList_New(0)};
    st_open_options options = {.flags = upstream ? ST_OPEN_UPSTREAM : 0, .context = state->context};
    st_check_summary summary;
    st_error error;
    st_status status = ST_ERR_NOMEM;
    if (found.list) {
        found.thread = PyEval_SaveThread();
        status = st_check(source, &options, finding_collect, &found, &summary, &error);
        PyEval_RestoreThread(found.thread);
    }
    st_source_release(source);
    PyObject *result = NULL;
    if (status == ST_OK)
        result = Py_BuildValue("ON", found.list, summary_object(&summary));
    else
        stpy_raise(state, &error, STPY_OPEN, NULL);
    Py_XDECREF(found.list);
    return result;
}
