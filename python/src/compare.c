/* SPDX-License-Identifier: Apache-2.0 */
/* _compare: how two files or checkpoints differ, for safetensors/_compare.py. */
#include "inputs.h"
#include "pick.h"
#include "watch.h"

#include <safetensors/inspect.h>

/* What a callback fills, called without the GIL on the thread that released it. */
typedef struct telling {
    stpy_watch watch;
    PyObject *metadata; /* lists */
    PyObject *tensors;
} telling;

static PyObject *optional_index(uint64_t index)
{
    return index == UINT64_MAX ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(index);
}

/* --------------------------------------------------------------------------------- changes */

/* (name, dtype, shape, elements, bytes, offset), or None. */
static PyObject *side_object(const st_side_tensor *side)
{
    if (!side)
        Py_RETURN_NONE;
    const st_tensor *tensor = side->tensor;
    const st_header *header = st_file_header(side->file);
    const char *code = st_header_dtype_code(header, tensor->dtype, NULL);
    const uint64_t offset = st_header_data_offset(header) + tensor->begin;
    PyObject *shape = stpy_shape_tuple(tensor->shape, tensor->ndim);
    if (!shape)
        return NULL;
    return Py_BuildValue("s#sNKKK", tensor->name, (Py_ssize_t)tensor->name_len, code, shape,
                         (unsigned long long)st_tensor_count(tensor),
                         (unsigned long long)st_tensor_size(tensor), (unsigned long long)offset);
}

/* A dict of the members that docs/json.md describes; of bytes only the first of them. */
static PyObject *values_object(const st_deviation *v)
{
    if (!v)
        Py_RETURN_NONE;
    bool bytes = v->flags & ST_DEVIATION_BYTES;
    PyObject *out =
        Py_BuildValue("{sssKsKsNsN}", "of", bytes ? "bytes" : "elements", "count",
                      (unsigned long long)v->count, "different", (unsigned long long)v->different,
                      "first", optional_index(v->first), "same", PyBool_FromLong((long)v->same));
    if (!out || bytes)
        return out;
    PyObject *rest = Py_BuildValue(
        "{sKsKsKsKsKsdsNsKsdsdsN}", "beyond", (unsigned long long)v->beyond, "nan_a",
        (unsigned long long)v->nan_a, "nan_b", (unsigned long long)v->nan_b, "nan_both",
        (unsigned long long)v->nan_both, "infinite", (unsigned long long)v->infinite,
        "max_absolute", v->max_absolute, "max_absolute_at", optional_index(v->max_absolute_at),
        "max_integer", (unsigned long long)v->max_integer, "mean_absolute", v->mean_absolute,
        "max_relative", v->max_relative, "max_relative_at", optional_index(v->max_relative_at));
    if (!rest || PyDict_Update(out, rest))
        Py_CLEAR(out);
    Py_XDECREF(rest);
    return out;
}

static PyObject *parts_object(uint32_t parts)
{
    static const char *const names[] = {"dtype", "shape", "values", "offset", "order"};
    PyObject *list = PyList_New(0);
    for (unsigned i = 0; i < sizeof names / sizeof names[0] && list; i++) {
        if (!(parts >> i & 1))
            continue;
        PyObject *name = PyUnicode_FromString(names[i]);
        if (!name || PyList_Append(list, name))
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static const char *change_text(int32_t kind)
{
    switch (kind) {
    case ST_CHANGE_REMOVED: return "removed";
    case ST_CHANGE_ADDED: return "added";
    case ST_CHANGE_RENAMED: return "renamed";
    default: return "changed";
    }
}

/* (change, key, a, b) */
static PyObject *entry_object(const st_change *change)
{
    const st_metadata *a = change->metadata_a, *b = change->metadata_b;
    const st_metadata *either = a ? a : b;
    return Py_BuildValue("ss#z#z#", change_text(change->kind), either->key,
                         (Py_ssize_t)either->key_len, a ? a->value : NULL,
                         (Py_ssize_t)(a ? a->value_len : 0), b ? b->value : NULL,
                         (Py_ssize_t)(b ? b->value_len : 0));
}

/* (change, differs, parts, a, b, values); Py_BuildValue gives back what was made where one could not be. */
static PyObject *tensor_object(const st_change *change)
{
    return Py_BuildValue("sNNNNN", change_text(change->kind), PyBool_FromLong(change->differs != 0),
                         parts_object(change->parts), side_object(change->a),
                         side_object(change->b), values_object(change->values));
}

static bool change_take(void *ctx, const st_change *change)
{
    telling *self = ctx;
    PyEval_RestoreThread(self->watch.thread);
    bool entry = change->metadata_a || change->metadata_b;
    PyObject *object = entry ? entry_object(change) : tensor_object(change);
    bool failed = !object || PyList_Append(entry ? self->metadata : self->tensors, object);
    Py_XDECREF(object);
    self->watch.thread = PyEval_SaveThread();
    return !failed;
}

static PyObject *compare_summary(const st_compare_summary *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"differences", s->differences},
                   {"same", s->same},
                   {"changed", s->changed},
                   {"removed", s->removed},
                   {"added", s->added},
                   {"renamed", s->renamed},
                   {"moved", s->moved},
                   {"metadata_same", s->metadata_same},
                   {"metadata_changed", s->metadata_changed},
                   {"metadata_removed", s->metadata_removed},
                   {"metadata_added", s->metadata_added},
                   {"elements", s->elements},
                   {"different", s->different},
                   {"beyond", s->beyond}};
    PyObject *out = PyDict_New();
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && out; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(numbers[i].value);
        if (!value || PyDict_SetItemString(out, numbers[i].name, value))
            Py_CLEAR(out);
        Py_XDECREF(value);
    }
    return out;
}

/* ----------------------------------------------------------------------------------- sides */

/* One of the two, with what st_side borrows. */
typedef struct side {
    st_checkpoint *checkpoint;
    st_side_tensor *tensors;
    st_metadata *metadata;
    st_side side;
} side;

/* Takes the tensors that are picked. */
static st_status side_fill(side *self, const stpy_pick *pick, st_error *error)
{
    for (size_t i = 0; i < st_checkpoint_count(self->checkpoint); i++) {
        const st_checkpoint_tensor found = st_checkpoint_at(self->checkpoint, i);
        bool taken;
        st_status status = stpy_pick_takes(pick, found.tensor, &taken, error);
        if (status != ST_OK)
            return status;
        if (taken)
            self->tensors[self->side.tensor_count++] = (st_side_tensor){found.file, found.tensor};
    }
    return ST_OK;
}

static int side_open(stpy_state *state, PyObject *path, const stpy_pick *pick, side *out)
{
    st_error error;
    st_status status;
    out->checkpoint = stpy_checkpoint_open(state, path);
    if (!out->checkpoint)
        return -1;
    size_t count = st_checkpoint_count(out->checkpoint);
    size_t entries = st_checkpoint_metadata_count(out->checkpoint);
    out->tensors = PyMem_Calloc(count + 1, sizeof *out->tensors);
    out->metadata = PyMem_Calloc(entries + 1, sizeof *out->metadata);
    if (!out->tensors || !out->metadata) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < entries; i++)
        out->metadata[i] = *st_checkpoint_metadata_at(out->checkpoint, i);
    out->side = (st_side){.name = st_checkpoint_name(out->checkpoint),
                          .tensors = out->tensors,
                          .metadata = out->metadata,
                          .metadata_count = entries};
    Py_BEGIN_ALLOW_THREADS /* an expression may take long */
    status = side_fill(out, pick, &error);
    Py_END_ALLOW_THREADS
    if (status == ST_OK)
        return 0;
    stpy_raise(state, &error, STPY_READ, NULL);
    return -1;
}

static void side_release(side *self)
{
    PyMem_Free(self->tensors);
    PyMem_Free(self->metadata);
    st_checkpoint_close(self->checkpoint);
}

/* ------------------------------------------------------------------------------- comparing */

/* A pattern that is spelled wrong would make any two files the same. */
static bool nothing_is_picked(const side *a, const side *b, PyObject *picked,
                              const st_compare_options *options)
{
    return picked != Py_None && (options->parts & ST_COMPARE_TENSORS) &&
           a->side.tensor_count == 0 && b->side.tensor_count == 0;
}

static PyObject *sides_compare(stpy_state *state, const side *a, const side *b,
                               st_compare_options *options, telling *told)
{
    st_compare_summary summary;
    st_error error;
    options->change = change_take;
    options->ctx = told;
    options->progress = stpy_watch_progress(&told->watch);
    stpy_watch_begin(&told->watch);
    st_status status = st_sides_compare(&a->side, &b->side, options, &summary, &error);
    if (stpy_watch_end(&told->watch))
        return NULL;
    if (status != ST_OK)
        return stpy_raise(state, &error, STPY_READ, NULL);
    return Py_BuildValue("OON", told->metadata, told->tensors, compare_summary(&summary));
}

PyObject *stpy_compare(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    st_compare_options options = {0};
    telling told;
    side a = {0}, b = {0};
    stpy_pick pick;
    PyObject *first, *second, *picked, *progress, *out = NULL;
    if (!PyArg_ParseTuple(args, "OOIIddOO:_compare", &first, &second, &options.parts,
                          &options.flags, &options.rtol, &options.atol, &picked, &progress) ||
        stpy_watch_read(progress, &told.watch))
        return NULL;
    told.metadata = PyList_New(0);
    told.tensors = PyList_New(0);
    if (!stpy_pick_read(state, picked, &pick) && told.metadata && told.tensors &&
        !side_open(state, first, &pick, &a) && !side_open(state, second, &pick, &b))
        out = nothing_is_picked(&a, &b, picked, &options)
                  ? stpy_raise_variant(state, PyExc_ValueError,
                                       "%S, %S: no tensor of either is picked by glob, regex, "
                                       "exclude and dtype",
                                       first, second)
                  : sides_compare(state, &a, &b, &options, &told);
    stpy_pick_release(&pick);
    side_release(&b);
    side_release(&a);
    Py_XDECREF(told.tensors);
    Py_XDECREF(told.metadata);
    return out;
}
