/* SPDX-License-Identifier: Apache-2.0 */
/* Python indices as the library's: NumPy's rules, and upstream's texts for what is out of range. */
#include "extension.h"

/* ------------------------------------------------------------------------------ one item at a time */

/* A Python integer as int64_t, saturated, as slices of NumPy are; `*beyond` tells whether that was needed. */
static int number_read(PyObject *object, int64_t *out, int *beyond)
{
    PyObject *number = PyNumber_Index(object);
    if (!number)
        return -1;
    long long value = PyLong_AsLongLongAndOverflow(number, beyond);
    Py_DECREF(number);
    if (value == -1 && PyErr_Occurred())
        return -1;
    *out = *beyond ? (*beyond < 0 ? INT64_MIN : INT64_MAX) : value;
    return 0;
}

static int integer_read(PyObject *object, int64_t *out)
{
    int beyond;
    return number_read(object, out, &beyond);
}

/* One bound of a slice, or its step; `flag` tells that it is there. */
static int bound_read(stpy_state *state, PyObject *slice, enum stpy_name attribute, st_index *item,
                      uint32_t flag, int64_t *out)
{
    PyObject *bound = PyObject_GetAttr(slice, state->names[attribute]);
    int failed = bound ? 0 : -1;
    if (bound && bound != Py_None) {
        item->has |= flag;
        if (PyIndex_Check(bound)) {
            failed = integer_read(bound, out);
        } else {
            failed = -1;
            PyErr_SetString(PyExc_TypeError,
                            "slice indices must be integers or None or have an __index__ method");
        }
    }
    Py_XDECREF(bound);
    return failed;
}

static int slice_read(stpy_state *state, PyObject *slice, st_index *item)
{
    item->kind = ST_INDEX_SLICE;
    if (bound_read(state, slice, STPY_NAME_start, item, ST_INDEX_START, &item->start) ||
        bound_read(state, slice, STPY_NAME_stop, item, ST_INDEX_STOP, &item->stop) ||
        bound_read(state, slice, STPY_NAME_step, item, ST_INDEX_STEP, &item->step))
        return STPY_INDEX_FAILED;
    if (item->has & ST_INDEX_STEP && item->step == 0) {
        PyErr_SetString(PyExc_ValueError, "slice step cannot be zero");
        return STPY_INDEX_FAILED;
    }
    return STPY_INDEX_BASIC;
}

/* Whether the name of an array's dtype speaks of truth values; -1 on failure. */
static int is_mask(PyObject *array)
{
    PyObject *dtype = PyObject_GetAttrString(array, "dtype");
    PyObject *name = dtype ? PyObject_Str(dtype) : NULL;
    const char *text = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    int mask = text && strstr(text, "bool");
    Py_XDECREF(name);
    Py_XDECREF(dtype);
    return stpy_forgive() ? -1 : mask;
}

/* Whether an object is one integer. Arrays and tensors of one element have an __index__ as well, but only
 * those without dimensions stand for a number. -1 on failure. */
static int is_number(PyObject *object)
{
    if (PyLong_Check(object))
        return !PyBool_Check(object);
    if (!PyIndex_Check(object))
        return 0;
    PyObject *ndim = PyObject_GetAttrString(object, "ndim");
    bool scalar = !ndim || (PyLong_Check(ndim) && PyLong_AsLong(ndim) == 0);
    bool is_array = ndim != NULL;
    Py_XDECREF(ndim);
    if (stpy_forgive())
        return -1;
    int mask = scalar && is_array ? is_mask(object) : 0;
    return mask < 0 ? -1 : scalar && !mask;
}

/* Whether a framework may make sense of it: a mask, or positions one by one; -1 on failure. */
static int is_fancy(PyObject *object)
{
    if (PyUnicode_Check(object) || PyBytes_Check(object) || PyByteArray_Check(object))
        return 0;
    if (PyBool_Check(object) || PySequence_Check(object))
        return 1;
    int is = stpy_has(object, "__array__");
    return is ? is : stpy_has(object, "ndim");
}

static int item_read(stpy_state *state, PyObject *object, st_index *item)
{
    int number, fancy;
    if (object == Py_None) {
        item->kind = ST_INDEX_NEWAXIS;
    } else if (object == Py_Ellipsis) {
        item->kind = ST_INDEX_ELLIPSIS;
    } else if (PySlice_Check(object)) {
        return slice_read(state, object, item);
    } else if ((number = is_number(object)) != 0) {
        item->kind = ST_INDEX_INTEGER;
        if (number < 0 || integer_read(object, &item->start))
            return STPY_INDEX_FAILED;
    } else if ((fancy = is_fancy(object)) != 0) {
        return fancy < 0 ? STPY_INDEX_FAILED : STPY_INDEX_OTHER;
    } else {
        stpy_raise_variant(state, PyExc_IndexError,
                           "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) "
                           "and integer or boolean arrays are valid indices");
        return STPY_INDEX_FAILED;
    }
    return STPY_INDEX_BASIC;
}

/* --------------------------------------------------------------------------------- as upstream's text */

/* A slice's bound as it was given, blank for None; with a colon in front where `colon` says so. */
static PyObject *bound_text(PyObject *slice, const char *attribute, bool colon)
{
    PyObject *bound = PyObject_GetAttrString(slice, attribute);
    PyObject *text = NULL;
    if (bound == Py_None)
        text = PyUnicode_FromString("");
    else if (bound)
        text = PyUnicode_FromFormat(colon ? ":%S" : "%S", bound);
    Py_XDECREF(bound);
    return text;
}

static PyObject *slice_text(PyObject *slice)
{
    PyObject *start = bound_text(slice, "start", false);
    PyObject *stop = start ? bound_text(slice, "stop", false) : NULL;
    PyObject *step = stop ? bound_text(slice, "step", true) : NULL;
    PyObject *text = step ? PyUnicode_FromFormat("%U:%U%U", start, stop, step) : NULL;
    Py_XDECREF(step);
    Py_XDECREF(stop);
    Py_XDECREF(start);
    return text;
}

/* What is indexed, and with what. */
typedef struct request {
    stpy_state *state;
    PyObject *object; /* the tuple, or the one item */
    const st_tensor *tensor;
    const stpy_index *index;
} request;

static PyObject *object_at(const request *r, size_t i)
{
    return PyTuple_Check(r->object) ? PyTuple_GetItem(r->object, (Py_ssize_t)i) : r->object;
}

/* Item `i`, which addresses dimension `d`; a negative integer as what it comes to. */
static PyObject *item_text(const request *r, size_t i, uint32_t d)
{
    PyObject *object = object_at(r, i);
    if (r->index->empty_list)
        return PyUnicode_FromString("[]");
    if (PySlice_Check(object))
        return slice_text(object);
    if (object == Py_Ellipsis)
        return PyUnicode_FromString("...");
    const st_index *item = &r->index->items[i];
    if (item->kind == ST_INDEX_INTEGER && item->start < 0)
        return PyUnicode_FromFormat("%llu", (unsigned long long)r->tensor->shape[d] +
                                                (unsigned long long)item->start);
    return PyObject_Str(object);
}

/* The dimension that the first item after an ellipsis addresses is counted from the end. */
static uint32_t dimension_next(const request *r, size_t i, uint32_t d)
{
    const stpy_index *index = r->index;
    switch (index->items[i].kind) {
    case ST_INDEX_NEWAXIS: return d;
    case ST_INDEX_ELLIPSIS: break;
    default: return d + 1;
    }
    uint32_t after = 0;
    for (size_t k = i + 1; k < index->count; k++)
        after += index->items[k].kind != ST_INDEX_NEWAXIS;
    return r->tensor->ndim - after;
}

/* All items between brackets. */
static PyObject *index_text(const request *r)
{
    PyObject *text = PyUnicode_FromString("[");
    uint32_t d = 0;
    for (size_t i = 0; text && i < r->index->count; i++) {
        PyObject *item = item_text(r, i, d);
        PyObject *longer = item ? PyUnicode_FromFormat(i ? "%U, %U" : "%U%U", text, item) : NULL;
        Py_XDECREF(item);
        Py_DECREF(text);
        text = longer;
        d = dimension_next(r, i, d);
    }
    PyObject *closed = text ? PyUnicode_FromFormat("%U]", text) : NULL;
    Py_XDECREF(text);
    return closed;
}

/* ------------------------------------------------------------------------------------- out of range */

/* `asked` is an index of its own reference. */
static int raise_outside(const request *r, PyObject *asked, uint32_t d)
{
    PyObject *index = asked ? index_text(r) : NULL;
    PyObject *shape = index ? stpy_tensor_shape(r->tensor) : NULL;
    if (shape)
        stpy_raise_variant(
            r->state, PyExc_IndexError,
            "Error during slicing %U with shape %R: index %S out of bounds for tensor "
            "dimension #%u of size %llu",
            index, shape, asked, (unsigned)d, (unsigned long long)r->tensor->shape[d]);
    Py_XDECREF(shape);
    Py_XDECREF(index);
    Py_XDECREF(asked);
    return STPY_INDEX_FAILED;
}

/* Refuses an integer below the first element of its dimension. */
static int check_low(const request *r, size_t i, uint32_t d)
{
    const st_index *item = &r->index->items[i];
    if (item->kind != ST_INDEX_INTEGER || item->start >= 0)
        return STPY_INDEX_BASIC;
    uint64_t dim = r->tensor->shape[d];
    if (0 - (uint64_t)item->start <= dim)
        return STPY_INDEX_BASIC;
    PyObject *number = PyNumber_Index(object_at(r, i));
    if (number)
        stpy_raise_variant(r->state, PyExc_IndexError,
                           "Invalid index %S for dimension %u of size %llu", number, (unsigned)d,
                           (unsigned long long)dim);
    Py_XDECREF(number);
    return STPY_INDEX_FAILED;
}

/* Refuses an integer behind the last element, and with `strict` a slice's stop there. */
static int check_high(const request *r, size_t i, uint32_t d, bool strict)
{
    const st_index *item = &r->index->items[i];
    bool integer = item->kind == ST_INDEX_INTEGER && item->start >= 0;
    bool stop =
        strict && item->kind == ST_INDEX_SLICE && item->has == ST_INDEX_STOP && item->stop > 0;
    if (integer && (uint64_t)item->start >= r->tensor->shape[d])
        return raise_outside(r, PyNumber_Index(object_at(r, i)), d);
    if (stop && (uint64_t)item->stop > r->tensor->shape[d])
        return raise_outside(r, PyLong_FromLongLong(item->stop - 1), d);
    return STPY_INDEX_BASIC;
}

/* Upstream's order: first all that are too low, then from the last dimension down what is too high. */
static int check_ranges(const request *r, bool strict)
{
    uint32_t dims[sizeof r->index->items / sizeof r->index->items[0]];
    uint32_t d = 0;
    size_t count = r->index->count;
    for (size_t i = 0; i < count; i++) {
        dims[i] = d;
        if (check_low(r, i, d))
            return STPY_INDEX_FAILED;
        d = dimension_next(r, i, d);
    }
    for (size_t i = count; i-- > 0;)
        if (check_high(r, i, dims[i], strict && !r->index->empty_list))
            return STPY_INDEX_FAILED;
    return STPY_INDEX_BASIC;
}

static int check_counts(const request *r)
{
    uint32_t taken = 0, ellipses = 0;
    for (size_t i = 0; i < r->index->count; i++) {
        int32_t kind = r->index->items[i].kind;
        ellipses += kind == ST_INDEX_ELLIPSIS;
        taken += kind == ST_INDEX_INTEGER || kind == ST_INDEX_SLICE;
    }
    if (ellipses > 1)
        stpy_raise_variant(r->state, PyExc_IndexError,
                           "an index can only have a single ellipsis ('...')");
    else if (taken > r->tensor->ndim)
        stpy_raise_variant(
            r->state, PyExc_IndexError,
            "too many indices for array: array is %u-dimensional, but %u were indexed",
            (unsigned)r->tensor->ndim, (unsigned)taken);
    else
        return STPY_INDEX_BASIC;
    return STPY_INDEX_FAILED;
}

/* ------------------------------------------------------------------------------------------ the whole */

/* All items of a tuple; those of other kinds win over errors in what follows them. */
static int tuple_read(stpy_state *state, PyObject *tuple, stpy_index *out)
{
    size_t count = (size_t)PyTuple_Size(tuple);
    if (count > sizeof out->items / sizeof out->items[0])
        return STPY_INDEX_OTHER;
    for (size_t i = 0; i < count; i++) {
        int kind = item_read(state, PyTuple_GetItem(tuple, (Py_ssize_t)i), &out->items[i]);
        if (kind != STPY_INDEX_BASIC)
            return kind;
    }
    out->count = count;
    return STPY_INDEX_BASIC;
}

static int list_read(stpy_state *state, PyObject *list, stpy_index *out)
{
    if (PyList_Size(list) > 0) {
        stpy_raise_text(state, "Non empty lists are not implemented");
        return STPY_INDEX_FAILED;
    }
    out->empty_list = true;
    out->count = 1;
    out->items[0] = (st_index){.kind = ST_INDEX_SLICE, .has = ST_INDEX_STOP};
    return STPY_INDEX_BASIC;
}

int stpy_index_read(stpy_state *state, PyObject *object, const st_tensor *tensor, bool strict,
                    stpy_index *out)
{
    memset(out, 0, sizeof *out);
    int kind;
    if (PyTuple_Check(object)) {
        kind = tuple_read(state, object, out);
    } else if (PyList_Check(object)) {
        kind = list_read(state, object, out);
    } else {
        kind = item_read(state, object, &out->items[0]);
        out->count = 1;
    }
    if (kind != STPY_INDEX_BASIC)
        return kind;
    request r = {state, object, tensor, out};
    if (check_counts(&r) || check_ranges(&r, strict))
        return STPY_INDEX_FAILED;
    return STPY_INDEX_BASIC;
}

/* One bound of a slice, or its step: whether torch takes it; -1 on failure. */
static int torch_takes(stpy_state *state, PyObject *slice, enum stpy_name attribute)
{
    PyObject *bound = PyObject_GetAttr(slice, state->names[attribute]);
    int64_t number = 1;
    int beyond = 0;
    if (bound && bound != Py_None && PyIndex_Check(bound))
        (void)number_read(bound, &number, &beyond);
    Py_XDECREF(bound);
    if (stpy_forgive())
        return -1;
    return !beyond && (attribute != STPY_NAME_step || (number >= 0 && number <= INT32_MAX));
}

int stpy_index_suits_torch(stpy_state *state, PyObject *object)
{
    static const enum stpy_name bounds[] = {STPY_NAME_start, STPY_NAME_stop, STPY_NAME_step};
    Py_ssize_t count = PyTuple_Check(object) ? PyTuple_Size(object) : 1;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_Check(object) ? PyTuple_GetItem(object, i) : object;
        int takes = 1;
        for (size_t b = 0; takes == 1 && b < 3 && PySlice_Check(item); b++)
            takes = torch_takes(state, item, bounds[b]);
        if (takes != 1)
            return takes;
    }
    return 1;
}
