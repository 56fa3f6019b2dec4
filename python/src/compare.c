/* SPDX-License-Identifier: Apache-2.0 */
/* _compare and _salvage: how two files differ, and what can be saved of one, for safetensors/_compare.py. */
#include "edit.h"

#include <safetensors/inspect.h>

/* What a callback fills, called without the GIL on the thread that released it. */
typedef struct telling {
    stpy_watch watch;
    PyObject *metadata; /* lists */
    PyObject *tensors;
    bool failed; /* an exception is set */
} telling;

static PyObject *optional_index(uint64_t index)
{
    return index == UINT64_MAX ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(index);
}

/* --------------------------------------------------------------------------------- _compare */

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
    self->failed = !object || PyList_Append(entry ? self->metadata : self->tensors, object);
    Py_XDECREF(object);
    self->watch.thread = PyEval_SaveThread();
    return !self->failed;
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

static PyObject *files_compare(stpy_state *state, const st_file *a, const st_file *b,
                               st_compare_options *options)
{
    telling told = {.metadata = PyList_New(0), .tensors = PyList_New(0)};
    st_compare_summary summary;
    st_error error;
    PyObject *out = NULL;
    options->change = change_take;
    options->ctx = &told;
    options->progress = (st_progress){stpy_watch_progress, &told.watch};
    if (told.metadata && told.tensors) {
        stpy_watch_begin(&told.watch);
        st_status status = st_files_compare(a, b, options, &summary, &error);
        stpy_watch_end(&told.watch);
        if (status == ST_OK)
            out = Py_BuildValue("OON", told.metadata, told.tensors, compare_summary(&summary));
        else
            stpy_raise(state, &error, STPY_READ, NULL);
    }
    Py_XDECREF(told.metadata);
    Py_XDECREF(told.tensors);
    return out;
}

PyObject *stpy_compare(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    st_compare_options options = {0};
    PyObject *first, *second, *out = NULL;
    if (!PyArg_ParseTuple(args, "OOIIdd:_compare", &first, &second, &options.parts, &options.flags,
                          &options.rtol, &options.atol))
        return NULL;
    st_file *a = stpy_path_open(state, first);
    st_file *b = a ? stpy_path_open(state, second) : NULL;
    if (b)
        out = files_compare(state, a, b, &options);
    st_file_close(b);
    st_file_close(a);
    return out;
}

/* --------------------------------------------------------------------------------- _salvage */

static const char *salvage_text(int32_t kind)
{
    switch (kind) {
    case ST_SALVAGE_SAVED: return "saved";
    case ST_SALVAGE_CHANGED: return "changed";
    default: return "lost";
    }
}

static const char *severity_text_of(int32_t severity)
{
    switch (severity) {
    case ST_SEVERITY_ERROR: return "error";
    case ST_SEVERITY_WARNING: return "warning";
    default: return "note";
    }
}

/* What is not UTF-8 is shown. */
static PyObject *shown_text(const char *text, size_t len)
{
    return text ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)len, "backslashreplace")
                : Py_NewRef(Py_None);
}

/* (kind, message, rule, severity, tensor, new_name, offset, bytes) */
static PyObject *item_object(const st_salvage_item *item)
{
    const char *rule = item->rule ? item->rule->id : NULL;
    const char *severity = item->rule ? severity_text_of(item->severity) : NULL;
    uint64_t offset = item->offset == ST_NO_OFFSET ? UINT64_MAX : item->offset;
    return Py_BuildValue("sNzzNNNK", salvage_text(item->kind),
                         shown_text(item->message, strlen(item->message)), rule, severity,
                         shown_text(item->name, item->name_len),
                         shown_text(item->new_name, item->new_name_len), optional_index(offset),
                         (unsigned long long)item->size);
}

static bool item_take(void *ctx, const st_salvage_item *item)
{
    telling *self = ctx;
    PyEval_RestoreThread(self->watch.thread);
    PyObject *object = item_object(item);
    self->failed = !object || PyList_Append(self->tensors, object);
    Py_XDECREF(object);
    self->watch.thread = PyEval_SaveThread();
    return !self->failed;
}

static st_status source_salvage(stpy_state *state, st_source *source, const char *path,
                                telling *told, st_salvage_summary *summary, st_error *error)
{
    const st_open_options open = {.context = state->context};
    const st_sink_options how = {.context = state->context};
    const st_salvage_options options = {
        .item = item_take, .ctx = told, .progress = {stpy_watch_progress, &told->watch}};
    st_sink *sink = NULL;
    st_status status = path ? st_sink_open(path, &how, &sink, error) : ST_OK;
    if (status == ST_OK)
        status = st_salvage(source, &open, sink, &options, summary, error);
    st_sink_release(sink);
    return status;
}

static PyObject *salvage_run(stpy_state *state, st_source *source, const char *path)
{
    telling told = {.tensors = PyList_New(0)};
    st_salvage_summary s;
    st_error error;
    PyObject *out = NULL;
    if (!told.tensors)
        return NULL;
    stpy_watch_begin(&told.watch);
    st_status status = source_salvage(state, source, path, &told, &s, &error);
    stpy_watch_end(&told.watch);
    if (status == ST_OK)
        out = Py_BuildValue("O{sKsKsKsKsKsKsK}", told.tensors, "saved", (unsigned long long)s.saved,
                            "changed", (unsigned long long)s.changed, "lost",
                            (unsigned long long)s.lost, "errors", (unsigned long long)s.errors,
                            "bytes", (unsigned long long)s.bytes, "metadata",
                            (unsigned long long)s.metadata, "size", (unsigned long long)s.size);
    else
        stpy_edit_raise(state, &error);
    Py_DECREF(told.tensors);
    return out;
}

PyObject *stpy_salvage(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *damaged, *target, *out = NULL;
    stpy_place from, to = {.fd = -1};
    if (!PyArg_ParseTuple(args, "OO:_salvage", &damaged, &target) ||
        stpy_path_read(state, damaged, &from))
        return NULL;
    if (target == Py_None || !stpy_path_read(state, target, &to)) {
        st_source *source = stpy_source_open(state, &from);
        if (source)
            out = salvage_run(state, source, to.path ? PyBytes_AsString(to.path) : NULL);
        st_source_release(source);
    }
    stpy_place_release(&to);
    stpy_place_release(&from);
    return out;
}
