/* SPDX-License-Identifier: Apache-2.0 */
/* _check and _check_checkpoint: what st_check finds in a file, and st_checkpoint_check in many, for
 * safetensors/_check.py. */
#include "edit.h"

#include <safetensors/checkpoint.h>
#include <safetensors/inspect.h>

/* A header of 100 MB has room for millions of them; all are counted, these are kept. */
#define FINDINGS_MAX 10000

/* ---------------------------------------------------------------------------------- findings */

/* A call that has released the GIL, and takes it back in callbacks, which are on its thread. */
typedef struct checking {
    PyThreadState *thread;
    Py_ssize_t kept; /* findings */
    bool failed;     /* an exception is set */
} checking;

typedef struct collection {
    PyObject *list;
    checking *call;
} collection;

const char *stpy_severity_text(int32_t severity)
{
    switch (severity) {
    case ST_SEVERITY_ERROR: return "error";
    case ST_SEVERITY_WARNING: return "warning";
    default: return "note";
    }
}

/* What is not UTF-8 is a finding itself, and is shown. */
PyObject *stpy_shown_object(const char *text, size_t size)
{
    return text ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "backslashreplace")
                : Py_NewRef(Py_None);
}

/* (severity, rule, message, tensor, offset) */
static PyObject *finding_object(const st_finding *finding)
{
    PyObject *message = stpy_shown_object(finding->message, strlen(finding->message));
    PyObject *tensor = message ? stpy_shown_object(finding->name, finding->name_len) : NULL;
    PyObject *offset = NULL;
    if (tensor)
        offset = finding->offset == ST_NO_OFFSET ? Py_NewRef(Py_None)
                                                 : PyLong_FromUnsignedLongLong(finding->offset);
    if (offset)
        return Py_BuildValue("ssNNN", stpy_severity_text(finding->severity), finding->rule->id,
                             message, tensor, offset);
    Py_XDECREF(message);
    Py_XDECREF(tensor);
    return NULL;
}

/* Called without the GIL, on the thread that released it. */
static bool finding_collect(void *ctx, const st_finding *finding)
{
    const collection *self = ctx;
    checking *call = self->call;
    if (call->kept == FINDINGS_MAX)
        return true;
    call->kept++;
    PyEval_RestoreThread(call->thread);
    PyObject *object = finding_object(finding);
    call->failed = !object || PyList_Append(self->list, object);
    Py_XDECREF(object);
    call->thread = PyEval_SaveThread();
    return !call->failed;
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
    checking call = {.kept = 0};
    collection found = {.list = PyList_New(0), .call = &call};
    st_open_options options = {.flags = upstream ? ST_OPEN_UPSTREAM : 0, .context = state->context};
    st_check_summary summary;
    st_error error;
    st_status status = ST_ERR_NOMEM;
    if (found.list) {
        call.thread = PyEval_SaveThread();
        status = st_check(source, &options, finding_collect, &found, &summary, &error);
        PyEval_RestoreThread(call.thread);
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

/* ------------------------------------------------------------------------------- checkpoints */

typedef struct checkpoint_checking {
    checking call;
    const st_open_options *options;
    PyObject *
        reports; /* a list of (path, findings, summary, files), the last None but of an index or a folder */
    collection index; /* what is found of the one at hand */
    st_error error;   /* of a shard, where it is one */
} checkpoint_checking;

/* Adds a report; takes the findings over, and sets an exception where they are NULL. With the GIL. */
static bool report_add(checkpoint_checking *self, const char *path, PyObject *findings,
                       const st_check_summary *summary, PyObject *files)
{
    PyObject *shown = findings && files ? PyUnicode_DecodeFSDefault(path) : NULL;
    PyObject *seen = shown ? summary_object(summary) : NULL;
    PyObject *report = seen ? PyTuple_Pack(4, shown, findings, seen, files) : NULL;
    self->call.failed = !report || PyList_Append(self->reports, report);
    Py_XDECREF(report);
    Py_XDECREF(seen);
    Py_XDECREF(shown);
    Py_XDECREF(findings);
    Py_XDECREF(files);
    return !self->call.failed;
}

static bool shard_report(void *ctx, const st_checkpoint_shard *shard)
{
    checkpoint_checking *self = ctx;
    st_check_summary summary;
    if (!shard->source)
        return false; /* and why is what the check gives */
    PyEval_RestoreThread(self->call.thread);
    collection found = {.list = PyList_New(0), .call = &self->call};
    self->call.failed = !found.list;
    self->call.thread = PyEval_SaveThread();
    if (self->call.failed)
        return false;
    st_status status =
        st_check(shard->source, self->options, finding_collect, &found, &summary, &self->error);
    PyEval_RestoreThread(self->call.thread);
    bool added = false;
    if (status == ST_OK)
        added = report_add(self, shard->path, found.list, &summary, Py_NewRef(Py_None));
    else
        Py_DECREF(found.list);
    self->call.thread = PyEval_SaveThread();
    return added;
}

static bool index_finding(void *ctx, const char *path, const st_finding *finding)
{
    checkpoint_checking *self = ctx;
    (void)path;
    return finding_collect(&self->index, finding);
}

static bool index_report(void *ctx, const char *path, const st_checkpoint_summary *summary)
{
    checkpoint_checking *self = ctx;
    const st_check_summary seen = {.errors = summary->errors,
                                   .warnings = summary->warnings,
                                   .notes = summary->notes,
                                   .tensors = summary->tensors,
                                   .file_size = summary->index_size};
    PyEval_RestoreThread(self->call.thread);
    bool added = report_add(self, path, self->index.list, &seen,
                            PyLong_FromUnsignedLongLong(summary->files));
    self->index.list = added ? PyList_New(0) : NULL;
    self->call.failed = !self->index.list;
    self->call.thread = PyEval_SaveThread();
    return !self->call.failed;
}

/* Fills the reports, or raises. */
static st_status checkpoint_run(stpy_state *state, checkpoint_checking *self, const char *path)
{
    const st_checkpoint_observer observer = {
        .finding = index_finding, .shard = shard_report, .end = index_report, .ctx = self};
    st_error error;
    self->call.thread = PyEval_SaveThread();
    st_status status = st_checkpoint_check(path, self->options, &observer, NULL, &error);
    PyEval_RestoreThread(self->call.thread);
    if (status != ST_OK)
        stpy_raise(state, self->error.status == ST_OK ? &error : &self->error, STPY_READ, NULL);
    return status;
}

PyObject *stpy_check_checkpoint(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *path;
    int upstream;
    stpy_place place;
    if (!PyArg_ParseTuple(args, "Op:_check_checkpoint", &path, &upstream) ||
        stpy_path_read(state, path, &place))
        return NULL;
    const st_open_options options = {.flags = upstream ? ST_OPEN_UPSTREAM : 0,
                                     .context = state->context};
    checkpoint_checking self = {.options = &options, .reports = PyList_New(0)};
    self.index = (collection){.list = PyList_New(0), .call = &self.call};
    st_status status = ST_ERR_NOMEM;
    if (self.reports && self.index.list)
        status = checkpoint_run(state, &self, PyBytes_AsString(place.path));
    stpy_place_release(&place);
    Py_XDECREF(self.index.list);
    if (status == ST_OK)
        return self.reports;
    Py_XDECREF(self.reports);
    return NULL;
}
