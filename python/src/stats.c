/* SPDX-License-Identifier: Apache-2.0 */
/* _stats: what the values of tensors are, for safetensors/_stats.py. */
#include "inputs.h"
#include "pick.h"
#include "watch.h"

#include <safetensors/inspect.h>

/* A tensor, or a part of it. */
typedef struct measured {
    st_checkpoint_tensor place;
    st_region region;
    bool is_part;
} measured;

typedef struct measuring {
    stpy_state *state;
    stpy_watch watch;
    st_checkpoint *checkpoint;
    double *quantiles;
    st_stats_options options;
    measured *items;
    size_t count;
    stpy_pick pick;
} measuring;

/* --------------------------------------------------------------------------------- results */

/* A number, or None where nothing is finite. */
static PyObject *finite_object(const st_stats *s, double value)
{
    return s->finite ? PyFloat_FromDouble(value) : Py_NewRef(Py_None);
}

static PyObject *extreme_object(const st_value *value)
{
    switch (value->kind) {
    case ST_KIND_BOOL:
    case ST_KIND_UINT: return PyLong_FromUnsignedLongLong(value->as.u);
    case ST_KIND_INT: return PyLong_FromLongLong(value->as.i);
    case ST_KIND_FLOAT: return PyFloat_FromDouble(value->as.f[0]);
    default: Py_RETURN_NONE;
    }
}

/* A list of (probability, value). */
static PyObject *quantiles_object(const measuring *self, const st_stats *s)
{
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; i < s->quantile_count && list; i++) {
        PyObject *pair = Py_BuildValue("dN", self->quantiles[i], finite_object(s, s->quantiles[i]));
        if (!pair || PyList_Append(list, pair))
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static PyObject *bins_object(const st_stats *s)
{
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; i < s->bin_count && list; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(s->bins[i]);
        if (!count || PyList_Append(list, count))
            Py_CLEAR(list);
        Py_XDECREF(count);
    }
    return list;
}

/* (low, high, below, above, [count, ...]), or None. */
static PyObject *histogram_object(const st_stats *s)
{
    if (s->bin_count == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("ddKKN", s->low, s->high, (unsigned long long)s->below,
                         (unsigned long long)s->above, bins_object(s));
}

/* The fields of safetensors.Statistics, in their order; None for a dtype that is not known. */
static PyObject *statistics_object(const measuring *self, const st_stats *s)
{
    if (!s)
        Py_RETURN_NONE;
    return Py_BuildValue("KKKKKKKNNNNNN", (unsigned long long)s->count,
                         (unsigned long long)s->finite, (unsigned long long)s->nan,
                         (unsigned long long)s->positive_infinity,
                         (unsigned long long)s->negative_infinity, (unsigned long long)s->zeros,
                         (unsigned long long)s->negatives, extreme_object(&s->min),
                         extreme_object(&s->max), finite_object(s, s->mean),
                         finite_object(s, s->std), quantiles_object(self, s), histogram_object(s));
}

/* (name, dtype, shape, elements, bytes, offset, shard, statistics) */
static PyObject *tensor_object(const measuring *self, const measured *item, const st_stats *s)
{
    const st_tensor *tensor = item->place.tensor;
    const st_file *file = item->place.file;
    size_t len;
    const char *code = st_header_dtype_code(st_file_header(file), tensor->dtype, &len);
    return Py_BuildValue(
        "s#s#NKKKNN", tensor->name, (Py_ssize_t)tensor->name_len, code, (Py_ssize_t)len,
        stpy_shape_tuple(tensor->shape, tensor->ndim), (unsigned long long)st_tensor_count(tensor),
        (unsigned long long)st_tensor_size(tensor),
        (unsigned long long)st_file_offset(file, tensor),
        stpy_shard_object(self->checkpoint, item->place.file_index), statistics_object(self, s));
}

/* --------------------------------------------------------------------------------- measuring */

static uint64_t item_size(const measured *item)
{
    return item->is_part ? item->region.size : st_tensor_size(item->place.tensor);
}

static PyObject *item_measure(measuring *self, const measured *item)
{
    st_stats stats;
    st_error error;
    stpy_watch_part(&self->watch, item_size(item));
    if (st_dtype_bits(item->place.tensor->dtype) == 0)
        return tensor_object(self, item, NULL);
    stpy_watch_begin(&self->watch);
    st_status status =
        st_stats_read(item->place.file, item->place.tensor, item->is_part ? &item->region : NULL,
                      &self->options, &stats, &error);
    int failed = stpy_watch_end(&self->watch);
    PyObject *out = NULL;
    if (status != ST_OK)
        return stpy_raise(self->state, &error, STPY_READ, NULL);
    if (!failed)
        out = tensor_object(self, item, &stats);
    st_stats_release(&stats);
    return out;
}

static PyObject *all_measure(measuring *self)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < self->count; i++)
        self->watch.total += item_size(&self->items[i]);
    for (size_t i = 0; i < self->count && list; i++) {
        PyObject *found = item_measure(self, &self->items[i]);
        if (!found || PyList_Append(list, found))
            Py_CLEAR(list);
        Py_XDECREF(found);
    }
    return list;
}

/* ----------------------------------------------------------------------------------- asking */

/* (name, index or None) */
static int item_read(measuring *self, PyObject *wanted, measured *out)
{
    PyObject *name, *index;
    Py_ssize_t len;
    stpy_index items;
    st_error error;
    const char *text;
    if (!PyArg_ParseTuple(wanted, "UO", &name, &index) ||
        !(text = PyUnicode_AsUTF8AndSize(name, &len)))
        return -1;
    if (!st_checkpoint_find(self->checkpoint, text, (size_t)len, &out->place)) {
        stpy_raise_variant(self->state, PyExc_KeyError, "%s: no tensor %R",
                           st_checkpoint_name(self->checkpoint), name);
        return -1;
    }
    if (index == Py_None)
        return 0;
    switch (stpy_index_read(self->state, index, out->place.tensor, false, &items)) {
    case STPY_INDEX_FAILED: return -1;
    case STPY_INDEX_OTHER:
        PyErr_Format(PyExc_TypeError,
                     "tensor %R: %R is no index of integers, slices, Ellipsis and None", name,
                     index);
        return -1;
    default: break;
    }
    if (st_region_init(&out->region, self->state->context, out->place.tensor, items.items,
                       items.count, &error)) {
        stpy_raise(self->state, &error, STPY_SLICE, NULL);
        return -1;
    }
    out->is_part = true;
    return 0;
}

/* Everything that is picked; there is room. */
static st_status items_pick(measuring *self, st_error *error)
{
    for (size_t i = 0; i < st_checkpoint_count(self->checkpoint); i++) {
        const st_checkpoint_tensor found = st_checkpoint_at(self->checkpoint, i);
        bool taken;
        st_status status = stpy_pick_takes(&self->pick, found.tensor, &taken, error);
        if (status != ST_OK)
            return status;
        if (taken)
            self->items[self->count++].place = found;
    }
    return ST_OK;
}

static int all_read(measuring *self)
{
    st_error error;
    st_status status;
    Py_BEGIN_ALLOW_THREADS /* an expression may take long */
    status = items_pick(self, &error);
    Py_END_ALLOW_THREADS
    if (status == ST_OK)
        return 0;
    stpy_raise(self->state, &error, STPY_READ, NULL);
    return -1;
}

/* A tuple of what is wanted; None: everything that is picked. */
static int items_read(measuring *self, PyObject *wanted)
{
    bool all = wanted == Py_None;
    size_t count = all ? st_checkpoint_count(self->checkpoint) : (size_t)PyTuple_Size(wanted);
    self->items = PyMem_Calloc(count + 1, sizeof *self->items);
    if (!self->items) {
        PyErr_NoMemory();
        return -1;
    }
    if (all)
        return all_read(self);
    for (; self->count < count; self->count++)
        if (item_read(self, PyTuple_GetItem(wanted, (Py_ssize_t)self->count),
                      &self->items[self->count]))
            return -1;
    return 0;
}

static int quantiles_read(measuring *self, PyObject *tuple)
{
    size_t count = (size_t)PyTuple_Size(tuple);
    self->quantiles = PyMem_Calloc(count + 1, sizeof *self->quantiles);
    if (!self->quantiles) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        self->quantiles[i] = PyFloat_AsDouble(PyTuple_GetItem(tuple, (Py_ssize_t)i));
        if (PyErr_Occurred())
            return -1;
    }
    self->options.quantiles = self->quantiles;
    self->options.quantile_count = (uint32_t)count;
    self->options.progress = stpy_watch_progress(&self->watch);
    return 0;
}

PyObject *stpy_stats(PyObject *module, PyObject *args)
{
    measuring self = {.state = stpy_state_of_module(module)};
    PyObject *path, *wanted, *picked, *quantiles, *progress, *out = NULL;
    if (!PyArg_ParseTuple(args, "OOOO!IddO:_stats", &path, &wanted, &picked, &PyTuple_Type,
                          &quantiles, &self.options.bin_count, &self.options.low,
                          &self.options.high, &progress) ||
        stpy_watch_read(progress, &self.watch))
        return NULL;
    if (wanted != Py_None && !PyTuple_Check(wanted))
        return stpy_raise_type("wanted", wanted, "a tuple, or None");
    if (!stpy_pick_read(self.state, picked, &self.pick))
        self.checkpoint = stpy_checkpoint_open(self.state, path);
    if (self.checkpoint && !quantiles_read(&self, quantiles) && !items_read(&self, wanted))
        out = all_measure(&self);
    for (size_t i = 0; i < self.count; i++)
        st_region_release(&self.items[i].region);
    PyMem_Free(self.items);
    PyMem_Free(self.quantiles);
    stpy_pick_release(&self.pick);
    st_checkpoint_close(self.checkpoint);
    return out;
}
