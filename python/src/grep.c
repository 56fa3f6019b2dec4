/* SPDX-License-Identifier: Apache-2.0 */
/* _name_rule and _search: what st_header_search finds in files, for safetensors/_grep.py. */
#include "inputs.h"

#include <safetensors/inspect.h>

/* ------------------------------------------------------------------------------------- rules */

#define RULE_NAME "safetensors.name_rule"

const st_name_rule *stpy_name_rule_of(PyObject *capsule)
{
    return PyCapsule_GetPointer(capsule, RULE_NAME);
}

static void rule_destroy(PyObject *capsule)
{
    st_name_rule_free(PyCapsule_GetPointer(capsule, RULE_NAME));
}

PyObject *stpy_name_rule(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    const char *pattern;
    unsigned int kind;
    st_name_rule *rule;
    st_error error;
    if (!PyArg_ParseTuple(args, "sI:_name_rule", &pattern, &kind))
        return NULL;
    st_status status = st_name_rule_new(pattern, NULL, kind, state->context, &rule, &error);
    if (status == ST_ERR_ARGUMENT)
        stpy_raise_variant(state, PyExc_ValueError, "%s", error.message);
    else if (status != ST_OK)
        stpy_raise(state, &error, STPY_READ, NULL);
    if (status != ST_OK)
        return NULL;
    PyObject *capsule = PyCapsule_New(rule, RULE_NAME, rule_destroy);
    if (!capsule)
        st_name_rule_free(rule);
    return capsule;
}

/* ------------------------------------------------------------------------------------ search */

typedef struct searching {
    PyObject *list;
    PyThreadState *thread; /* of the call, while it has released the GIL */
    bool failed;           /* an exception is set */
} searching;

/* How many characters begin in so many bytes of UTF-8. */
static unsigned long long characters_of(const char *text, uint64_t bytes)
{
    unsigned long long count = 0;
    for (uint64_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* (begin, end) in characters; None where nothing was found. */
static PyObject *span_object(const char *text, const st_match *match, bool is)
{
    return is ? Py_BuildValue("KK", characters_of(text, match->begin),
                              characters_of(text, match->end))
              : Py_NewRef(Py_None);
}

/* (name, span) of a tensor, (key, value, span, span) of an entry. */
static PyObject *found_object(const st_found *found)
{
    bool named = found->parts & (ST_SEARCH_NAMES | ST_SEARCH_KEYS);
    const st_tensor *tensor = found->tensor;
    const st_metadata *entry = found->metadata;
    PyObject *first = span_object(tensor ? tensor->name : entry->key, &found->name, named);
    if (tensor)
        return first ? Py_BuildValue("s#N", tensor->name, (Py_ssize_t)tensor->name_len, first)
                     : NULL;
    PyObject *second =
        first ? span_object(entry->value, &found->value, (found->parts & ST_SEARCH_VALUES) != 0)
              : NULL;
    if (second)
        return Py_BuildValue("s#s#NN", entry->key, (Py_ssize_t)entry->key_len, entry->value,
                             (Py_ssize_t)entry->value_len, first, second);
    Py_XDECREF(first);
    return NULL;
}

/* Called without the GIL, on the thread that released it. */
static bool found_collect(void *ctx, const st_found *found)
{
    searching *self = ctx;
    PyEval_RestoreThread(self->thread);
    PyObject *object = found_object(found);
    self->failed = !object || PyList_Append(self->list, object);
    Py_XDECREF(object);
    self->thread = PyEval_SaveThread();
    return !self->failed;
}

static bool signals_look(void *ctx, uint64_t done, uint64_t total)
{
    searching *self = ctx;
    (void)done;
    (void)total;
    PyEval_RestoreThread(self->thread);
    self->failed = PyErr_CheckSignals() != 0;
    self->thread = PyEval_SaveThread();
    return !self->failed;
}

PyObject *stpy_search(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *capsule, *path;
    unsigned int parts;
    unsigned long long max;
    if (!PyArg_ParseTuple(args, "OOIK:_search", &capsule, &path, &parts, &max))
        return NULL;
    const st_name_rule *rule = stpy_name_rule_of(capsule);
    st_file *file = rule ? stpy_path_open(state, path) : NULL;
    if (!file)
        return NULL;
    searching self = {.list = PyList_New(0)};
    const st_search_options options = {.found = found_collect,
                                       .ctx = &self,
                                       .max = max,
                                       .parts = parts,
                                       .progress = {signals_look, &self}};
    st_error error;
    st_status status = ST_OK;
    if (self.list) {
        self.thread = PyEval_SaveThread();
        status = st_header_search(st_file_header(file), rule, &options, NULL, &error);
        PyEval_RestoreThread(self.thread);
    }
    st_file_close(file);
    if (status == ST_OK)
        return self.list;
    if (!self.failed)
        stpy_raise(state, &error, STPY_READ, NULL);
    Py_XDECREF(self.list);
    return NULL;
}
