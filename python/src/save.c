/* SPDX-License-Identifier: Apache-2.0 */
/* serialize, serialize_file and _save: a dict of tensors as bytes or as a file, in one call. */
#include "gather.h"

#include <limits.h>
#include <stdlib.h>

typedef struct saving {
    stpy_state *state;
    stpy_entries entries;
    st_writer *writer;
    PyThreadState *thread; /* NULL: this thread holds the GIL */
} saving;

/* -------------------------------------------------------------------------------- arguments */

static int text_read(PyObject *object, const char *what, const char **text, uint32_t *len)
{
    Py_ssize_t size;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "metadata must be a dict of str to str; a %s is %R", what,
                     Py_TYPE(object));
        return -1;
    }
    *text = PyUnicode_AsUTF8AndSize(object, &size);
    if (!*text)
        return -1;
    if ((size_t)size > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "metadata: a %s is longer than 2^32-1 bytes", what);
        return -1;
    }
    *len = (uint32_t)size;
    return 0;
}

static int entries_add(stpy_state *state, st_writer *writer, PyObject *metadata)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    st_error error;
    while (PyDict_Next(metadata, &at, &key, &value)) {
        st_metadata entry;
        if (text_read(key, "key", &entry.key, &entry.key_len) ||
            text_read(value, "value", &entry.value, &entry.value_len))
            return -1;
        if (st_writer_add_metadata(writer, &entry, &error)) {
            stpy_raise(state, &error, STPY_SAVE, NULL);
            return -1;
        }
    }
    return 0;
}

int stpy_metadata_add(stpy_state *state, st_writer *writer, PyObject *metadata)
{
    st_error error;
    int failed;
    if (!metadata || metadata == Py_None)
        return 0;
    if (!PyDict_Check(metadata)) {
        PyErr_Format(PyExc_TypeError, "metadata must be a dict of str to str, not %R",
                     Py_TYPE(metadata));
        return -1;
    }
    if (st_writer_add_metadata(writer, NULL, &error)) {
        stpy_raise(state, &error, STPY_SAVE, NULL);
        return -1;
    }
    STPY_BEGIN_LOCKED(metadata);
    failed = entries_add(state, writer, metadata);
    STPY_END_LOCKED();
    return failed;
}

/* ---------------------------------------------------------------------------------- writing */

/* Where a tensor lies in the file, and which entry it is. */
typedef struct turn {
    uint64_t begin;
    size_t index;
} turn;

static int turns_compare(const void *a, const void *b)
{
    const turn *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* The entries in the order of the file; NULL: no memory. Given back with free. */
static turn *turns_sort(const saving *self)
{
    size_t count = self->entries.count;
    bool sorted = true;
    turn *turns =
        count <= SIZE_MAX / sizeof *turns - 1 ? malloc((count + 1) * sizeof *turns) : NULL;
    for (size_t i = 0; turns && i < count; i++) {
        turns[i] = (turn){st_writer_at(self->writer, i)->begin, i};
        sorted = sorted && (i == 0 || turns[i - 1].begin <= turns[i].begin);
    }
    if (turns && !sorted)
        qsort(turns, count, sizeof *turns, turns_compare);
    return turns;
}

/* Everything that moves bytes; runs without the GIL. */
static st_status file_write(const saving *self, st_sink *sink, st_error *error)
{
    st_status status = st_writer_begin(self->writer, sink, error);
    if (status != ST_OK)
        return status;
    turn *turns = turns_sort(self);
    for (size_t i = 0; i < self->entries.count && status == ST_OK; i++) {
        size_t index = turns ? turns[i].index : i;
        status = stpy_entry_write(self->writer, index, &self->entries.at[index], error);
    }
    free(turns);
    return status == ST_OK ? st_writer_finish(self->writer, error) : status;
}

/* ---------------------------------------------------------------------------------- targets */

st_sink *stpy_sink_open(stpy_state *state, const stpy_place *place, bool durable,
                        PyThreadState **thread)
{
    if (place->file)
        return stpy_file_sink(state, place->file, thread);
    st_sink_options options = {.durability = durable ? ST_DURABLE_NAME : ST_DURABLE_NONE,
                               .context = state->context};
    const char *path = place->path ? PyBytes_AsString(place->path) : NULL;
    st_status status;
    st_sink *sink;
    st_error error;
    options.name = place->shown ? PyUnicode_AsUTF8AndSize(place->shown, NULL) : NULL;
    if (stpy_forgive()) /* of a name that is no text the path's bytes are shown */
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = path ? st_sink_open(path, &options, &sink, &error)
                  : st_sink_open_fd(place->fd, &options, &sink, &error);
    Py_END_ALLOW_THREADS
    return status == ST_OK ? sink : stpy_raise(state, &error, STPY_SAVE, place->shown);
}

static PyObject *save_to_place(saving *self, const stpy_place *place, bool durable)
{
    st_error error;
    st_sink *sink = stpy_sink_open(self->state, place, durable, &self->thread);
    if (!sink)
        return NULL;
    self->thread = PyEval_SaveThread();
    st_status status = file_write(self, sink, &error);
    if (!place->file) { /* the last reference: what was not finished is discarded */
        st_writer_free(self->writer);
        self->writer = NULL;
        st_sink_release(sink);
    }
    PyEval_RestoreThread(self->thread);
    self->thread = NULL;
    if (place->file)
        st_sink_release(sink);
    if (status != ST_OK)
        return stpy_raise(self->state, &error, STPY_SAVE, place->shown);
    Py_RETURN_NONE;
}

static PyObject *save_to_bytes(saving *self)
{
    st_error error;
    uint64_t size;
    if (st_writer_size(self->writer, &size, &error))
        return stpy_raise(self->state, &error, STPY_SAVE, NULL);
    PyObject *bytes = NULL;
    if (size <= (uint64_t)PY_SSIZE_T_MAX)
        bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!bytes)
        return PyErr_Format(PyExc_MemoryError, "out of memory: %llu bytes",
                            (unsigned long long)size);
    char *data = PyBytes_AsString(bytes);
    st_sink_options options = {.context = self->state->context};
    st_sink *sink;
    st_status status;
    Py_BEGIN_ALLOW_THREADS
    stpy_huge_pages(data, (size_t)size);
    status = st_sink_open_memory(data, (size_t)size, &options, &sink, &error);
    if (status == ST_OK) {
        status = file_write(self, sink, &error);
        st_sink_release(sink);
    }
    Py_END_ALLOW_THREADS
    if (status == ST_OK)
        return bytes;
    Py_DECREF(bytes);
    return stpy_raise(self->state, &error, STPY_SAVE, NULL);
}

/* ----------------------------------------------------------------------------- the whole way */

static int tensors_add(saving *self)
{
    st_error error;
    for (size_t i = 0; i < self->entries.count; i++) {
        const stpy_entry *entry = &self->entries.at[i];
        st_tensor tensor = {.name = entry->name,
                            .name_len = entry->name_len,
                            .shape = entry->array.shape,
                            .ndim = entry->array.ndim,
                            .dtype = entry->array.dtype};
        if (st_writer_add(self->writer, &tensor, NULL, &error)) {
            stpy_raise(self->state, &error, STPY_SAVE, NULL);
            return -1;
        }
        if (stpy_entry_check(self->state, entry->key, entry, st_writer_at(self->writer, i)))
            return -1;
    }
    return 0;
}

/* Lays the tensors out; the entries are gathered. */
static int prepare(saving *self, PyObject *metadata)
{
    const st_writer_options options = {.context = self->state->context};
    st_error error;
    if (st_writer_new(&options, &self->writer, &error)) {
        stpy_raise(self->state, &error, STPY_SAVE, NULL);
        return -1;
    }
    if (stpy_metadata_add(self->state, self->writer, metadata))
        return -1;
    return tensors_add(self);
}

static void saving_release(saving *self)
{
    st_writer_free(self->writer);
    stpy_entries_release(&self->entries);
}

/* Specs only: anything else is refused. */
static int gather_specs(saving *self, PyObject *tensors)
{
    PyObject *odd;
    if (stpy_gather(self->state, tensors, STPY_TAKE_SPECS, &self->entries, &odd))
        return -1;
    if (!odd)
        return 0;
    PyErr_Format(PyExc_TypeError, "the value of %R is not a TensorSpec", odd);
    Py_DECREF(odd);
    return -1;
}

PyObject *stpy_serialize(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"tensor_dict", "metadata", NULL};
    saving self = {.state = stpy_state_of_module(module)};
    PyObject *tensors, *metadata = NULL, *bytes = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:serialize", (char **)(uintptr_t)names,
                                     &tensors, &metadata))
        return NULL;
    if (!gather_specs(&self, tensors) && !prepare(&self, metadata))
        bytes = save_to_bytes(&self);
    saving_release(&self);
    return bytes;
}

PyObject *stpy_serialize_file(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"tensor_dict", "filename", "metadata", NULL};
    saving self = {.state = stpy_state_of_module(module)};
    PyObject *tensors, *filename, *metadata = NULL, *out = NULL;
    stpy_place place;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O:serialize_file", (char **)(uintptr_t)names,
                                     &tensors, &filename, &metadata) ||
        stpy_place_read(self.state, filename, false, &place))
        return NULL;
    if (!gather_specs(&self, tensors) && !prepare(&self, metadata))
        out = save_to_place(&self, &place, false);
    saving_release(&self);
    stpy_place_release(&place);
    return out;
}

/* What _save was asked for. */
typedef struct save_arguments {
    PyObject *tensors;
    PyObject *target;
    PyObject *metadata;
    int durable;
    int alone;
    unsigned take;
} save_arguments;

static int save_arguments_read(PyObject *args, PyObject *kwargs, save_arguments *out)
{
    static const char *const names[] = {"tensors", "target", "metadata", "durable",
                                        "alone",   "only",   "strided",  NULL};
    const char *only = NULL;
    int strided = 0;
    *out = (save_arguments){.take = STPY_TAKE_ALL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$ppzp:_save", (char **)(uintptr_t)names,
                                     &out->tensors, &out->target, &out->metadata, &out->durable,
                                     &out->alone, &only, &strided))
        return -1;
    if (only && strcmp(only, "pt") == 0) {
        out->take = STPY_TAKE_TORCH;
    } else if (only) {
        PyErr_Format(PyExc_ValueError, "_save: only must be None or 'pt', not '%s'", only);
        return -1;
    }
    if (strided)
        out->take |= STPY_TAKE_STRIDED;
    else
        out->take &= ~(unsigned)STPY_TAKE_STRIDED;
    return 0;
}

/* The entries, or NotImplemented in *out where they are not plain. */
static int gather_all(saving *self, const save_arguments *asked, PyObject **out)
{
    PyObject *odd;
    if (stpy_gather(self->state, asked->tensors, asked->take, &self->entries, &odd))
        return -1;
    bool plain = !odd;
    Py_XDECREF(odd);
    if (plain && asked->alone) {
        bool overlap;
        Py_BEGIN_ALLOW_THREADS
        overlap = stpy_entries_overlap(&self->entries);
        Py_END_ALLOW_THREADS
        plain = !overlap;
    }
    if (!plain)
        *out = Py_NewRef(Py_NotImplemented);
    return 0;
}

PyObject *stpy_save(PyObject *module, PyObject *args, PyObject *kwargs)
{
    saving self = {.state = stpy_state_of_module(module)};
    save_arguments asked;
    stpy_place place = {.fd = -1};
    PyObject *out = NULL;
    if (save_arguments_read(args, kwargs, &asked))
        return NULL;
    bool to_bytes = asked.target == Py_None;
    if (!to_bytes && stpy_place_read(self.state, asked.target, false, &place))
        return NULL;
    if (!gather_all(&self, &asked, &out) && !out && !prepare(&self, asked.metadata))
        out = to_bytes ? save_to_bytes(&self) : save_to_place(&self, &place, asked.durable);
    saving_release(&self);
    if (!to_bytes)
        stpy_place_release(&place);
    return out;
}
