/* SPDX-License-Identifier: Apache-2.0 */
/* The type TensorSpec: a tensor to write, described by dtype, shape and address. */
#include "gather.h"

typedef struct spec_object {
    PyObject_HEAD st_dtype dtype;
    uint32_t ndim;
    uint64_t *shape; /* in elements, as in the header */
    uint64_t data_ptr;
    uint64_t data_len;
} spec_object;

/* -------------------------------------------------------------------------------- arguments */

/* An integer from 0 to 2^64-1, of anything with __index__. */
static int unsigned_read(PyObject *object, const char *what, uint64_t *out)
{
    PyObject *number = PyNumber_Index(object);
    if (!number) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(PyExc_TypeError, "%s: expected an integer, not %R", what, Py_TYPE(object));
        return -1;
    }
    unsigned long long value = PyLong_AsUnsignedLongLong(number);
    bool failed = value == (unsigned long long)-1 && PyErr_Occurred();
    if (failed && PyErr_ExceptionMatches(PyExc_OverflowError))
        PyErr_Format(PyExc_OverflowError, "%s: %R is not from 0 to 2^64-1", what, number);
    Py_DECREF(number);
    *out = value;
    return failed ? -1 : 0;
}

/* Names every dtype that TensorSpec takes, in an order that is the format's own. */
static int raise_unknown(stpy_state *state, const char *name)
{
    char list[512];
    size_t len = 0;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        const stpy_dtype *names = stpy_dtype_of(dtype);
        if (names->in_spec)
            len += (size_t)PyOS_snprintf(list + len, sizeof list - len, "%s%s", len ? ", " : "",
                                         names->name);
    }
    stpy_raise_text(state, "Unknown dtype \"%s\". Supported dtypes: %s", name, list);
    return -1;
}

static int dtype_read(stpy_state *state, PyObject *object, st_dtype *out)
{
    Py_ssize_t len;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "dtype: expected a str, not %R", Py_TYPE(object));
        return -1;
    }
    const char *name = PyUnicode_AsUTF8AndSize(object, &len);
    if (!name)
        return -1;
    *out = stpy_dtype_find(name, (size_t)len);
    return *out && stpy_dtype_of(*out)->in_spec ? 0 : raise_unknown(state, name);
}

static int dims_read(PyObject *items, const char *what, uint64_t **out, uint32_t *ndim)
{
    Py_ssize_t count = PyList_Size(items);
    if ((size_t)count > UINT32_MAX / sizeof **out) {
        PyErr_Format(PyExc_ValueError, "%s: %zd dimensions are too many", what, count);
        return -1;
    }
    uint64_t *dims = PyMem_Malloc(count ? (size_t)count * sizeof *dims : 1);
    if (!dims) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(items, i);
        if (!item || unsigned_read(item, what, &dims[i])) {
            PyMem_Free(dims);
            return -1;
        }
    }
    *out = dims;
    *ndim = (uint32_t)count;
    return 0;
}

int stpy_shape_read(PyObject *object, const char *what, uint64_t **out, uint32_t *ndim)
{
    if (PyUnicode_Check(object) || !PySequence_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a sequence of integers, not %R", what,
                     Py_TYPE(object));
        return -1;
    }
    PyObject *items = PySequence_List(object);
    if (!items)
        return -1;
    int failed = dims_read(items, what, out, ndim);
    Py_DECREF(items);
    return failed;
}

/* The caller gives torch's shape, in which an element of F4 is a pair. */
static int shape_double(stpy_state *state, spec_object *self)
{
    uint64_t *last = &self->shape[self->ndim - 1];
    if (*last > UINT64_MAX / 2) {
        stpy_raise_text(state,
                        "shape: the last dimension of a float4_e2m1fn_x2 tensor counts %llu "
                        "pairs, too many",
                        (unsigned long long)*last);
        return -1;
    }
    *last *= 2;
    return 0;
}

/* ------------------------------------------------------------------------------------- type */

static void spec_dealloc(PyObject *object)
{
    spec_object *self = (spec_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyMem_Free(self->shape);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyObject *spec_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"dtype", "shape", "data_ptr", "data_len", NULL};
    PyObject *dtype, *shape, *data_ptr, *data_len;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOO:TensorSpec", (char **)(uintptr_t)names,
                                     &dtype, &shape, &data_ptr, &data_len))
        return NULL;
    spec_object *self = (spec_object *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self)
        return NULL;
    stpy_state *state = PyType_GetModuleState(type);
    if (dtype_read(state, dtype, &self->dtype) ||
        stpy_shape_read(shape, "shape", &self->shape, &self->ndim) ||
        unsigned_read(data_ptr, "data_ptr", &self->data_ptr) ||
        unsigned_read(data_len, "data_len", &self->data_len) ||
        (self->dtype == ST_F4 && self->ndim && shape_double(state, self)))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *get_dtype(PyObject *object, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(st_dtype_code(((spec_object *)object)->dtype));
}

static PyObject *get_shape(PyObject *object, void *closure)
{
    spec_object *self = (spec_object *)object;
    (void)closure;
    return stpy_tensor_shape(&(st_tensor){.shape = self->shape, .ndim = self->ndim});
}

static PyObject *get_data_ptr(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(((spec_object *)object)->data_ptr);
}

static PyObject *get_data_len(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(((spec_object *)object)->data_len);
}

static PyObject *spec_repr(PyObject *object)
{
    spec_object *self = (spec_object *)object;
    PyObject *shape = get_shape(object, NULL);
    if (!shape)
        return NULL;
    PyObject *text =
        PyUnicode_FromFormat("TensorSpec(dtype='%s', shape=%R, data_ptr=%llu, data_len=%llu)",
                             st_dtype_code(self->dtype), shape, (unsigned long long)self->data_ptr,
                             (unsigned long long)self->data_len);
    Py_DECREF(shape);
    return text;
}

PyDoc_STRVAR(
    spec_doc,
    "TensorSpec(*, dtype, shape, data_ptr, data_len)\n--\n\n"
    "A tensor in memory, for `serialize` and `serialize_file`.\n\n"
    "The memory is not kept alive: whoever passes the address has to, until the call that\n"
    "writes it has returned.\n\n"
    "Args:\n"
    "    dtype (`str`):\n"
    "        The dtype's name as in NumPy and torch: `\"float32\"`.\n"
    "    shape (`Sequence[int]`):\n"
    "        The shape; that of a `float4_e2m1fn_x2` tensor counts pairs, as torch's does.\n"
    "    data_ptr (`int`):\n"
    "        The address of the first byte; elements are little-endian, in row-major order.\n"
    "    data_len (`int`):\n"
    "        The number of bytes.\n");

static PyGetSetDef spec_getset[] = {
    {"dtype", get_dtype, NULL, "The dtype's code in the header: `\"F32\"`.", NULL},
    {"shape", get_shape, NULL, "The shape in elements, as in the header.", NULL},
    {"data_ptr", get_data_ptr, NULL, "The address of the first byte.", NULL},
    {"data_len", get_data_len, NULL, "The number of bytes.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot spec_slots[] = {
    {Py_tp_new, (void *)spec_new},   {Py_tp_dealloc, (void *)spec_dealloc},
    {Py_tp_repr, (void *)spec_repr}, {Py_tp_getset, spec_getset},
    {Py_tp_doc, (void *)spec_doc},   {0, NULL},
};

PyType_Spec stpy_tensor_spec_spec = {
    .name = "safetensors.TensorSpec",
    .basicsize = sizeof(spec_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = spec_slots,
};

/* -------------------------------------------------------------------------------- gathering */

int stpy_spec_gather(stpy_state *state, PyObject *value, stpy_entries *entries, stpy_entry *entry)
{
    spec_object *self = (spec_object *)value;
    (void)state;
    uint64_t *shape = stpy_entries_dims(entries, self->ndim);
    if (!shape)
        return STPY_FAILED;
    if (self->ndim)
        memcpy(shape, self->shape, self->ndim * sizeof *shape);
    entry->array = (st_array){.data = (void *)(uintptr_t)self->data_ptr,
                              .shape = shape,
                              .ndim = self->ndim,
                              .dtype = self->dtype};
    entry->size = self->data_len; /* st_writer_write judges it */
    entry->value = Py_NewRef(value);
    return STPY_PLAIN;
}
