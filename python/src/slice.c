/* SPDX-License-Identifier: Apache-2.0 */
/* The type PySafeSlice: a tensor of a file, of which parts can be had. */
#include "extension.h"

/* From so many bytes on, DLPack's consumers get a mapping rather than a copy. */
#define MAP_MIN ((uint64_t)1 << 20)

/* DLPack's number of the CPU. */
#define DLPACK_CPU 1

typedef struct slice {
    PyObject_HEAD stpy_file *file;
    const st_tensor *tensor; /* of the file's header */
} slice;

PyObject *stpy_slice_new(stpy_file *file, const st_tensor *tensor)
{
    PyTypeObject *type = stpy_state_of((PyObject *)file)->slice_type;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    slice *self = (slice *)alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF((PyObject *)file);
    self->file = file;
    self->tensor = tensor;
    return (PyObject *)self;
}

static void slice_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_XDECREF((PyObject *)((slice *)self)->file);
    release(self);
    Py_DECREF(type);
}

/* ------------------------------------------------------------------------------------- indexing */

/* The framework's own indexing of the whole tensor. */
static PyObject *item_of_whole(const slice *self, PyObject *index)
{
    PyObject *whole = stpy_file_host_tensor(self->file, self->tensor);
    PyObject *part = whole ? PyObject_GetItem(whole, index) : NULL;
    Py_XDECREF(whole);
    return part;
}

/* Reads what `items` say of the tensor as its framework counts it. */
static PyObject *item_read(const slice *self, const st_tensor *counted, const stpy_index *items,
                           PyObject *index)
{
    stpy_state *state = stpy_state_of((PyObject *)self->file);
    st_region region;
    st_error error;
    st_status status =
        st_region_init(&region, state->context, counted, items->items, items->count, &error);
    if (status == ST_ERR_INDEX_MISALIGNED) /* elements of less than a byte, which NumPy unpacks */
        return item_of_whole(self, index);
    if (status != ST_OK)
        return stpy_raise(state, &error, STPY_SLICE, NULL);
    PyObject *part = stpy_file_part(self->file, self->tensor, &region);
    st_region_release(&region);
    return part;
}

/* Reads just the bytes that the index asks for, where the library understands it. */
static PyObject *item_native(const slice *self, PyObject *index)
{
    stpy_file *file = self->file;
    void *memory = NULL;
    stpy_index items;
    if (file->framework == STPY_TORCH && PyList_Check(index))
        return item_of_whole(self, index);
    const st_tensor *counted = stpy_file_counted(file, self->tensor, &memory);
    if (!counted)
        return NULL;
    PyObject *part = NULL;
    bool strict = file->framework == STPY_NUMPY;
    switch (stpy_index_read(stpy_state_of((PyObject *)file), index, counted, strict, &items)) {
    case STPY_INDEX_BASIC: part = item_read(self, counted, &items, index); break;
    case STPY_INDEX_OTHER: part = item_of_whole(self, index); break;
    default: break;
    }
    PyMem_Free(memory);
    return part;
}

static PyObject *item_on_device(PyObject *self, PyObject *index)
{
    PyObject *read = stpy_import("safetensors._device", "part");
    PyObject *part =
        read ? PyObject_CallFunctionObjArgs(read, self, index, ((slice *)self)->file->device, NULL)
             : NULL;
    Py_XDECREF(read);
    return part;
}

/* torch's views of a mapping are indexed by torch itself, which does all but negative steps; anything
 * else is read, in part. */
static PyObject *slice_subscript(PyObject *self, PyObject *index)
{
    stpy_file *file = ((slice *)self)->file;
    if (file->device)
        return item_on_device(self, index);
    if (file->framework == STPY_TORCH && stpy_file_map(file) &&
        stpy_index_suits_torch(stpy_state_of(self), index))
        return item_of_whole((slice *)self, index);
    return PyErr_Occurred() ? NULL : item_native((slice *)self, index);
}

/* For iteration, which an IndexError ends. */
static PyObject *slice_item(PyObject *self, Py_ssize_t i)
{
    PyObject *index = PyLong_FromSsize_t(i);
    PyObject *part = index ? slice_subscript(self, index) : NULL;
    Py_XDECREF(index);
    return part;
}

static Py_ssize_t slice_length(PyObject *self)
{
    const st_tensor *tensor = ((slice *)self)->tensor;
    if (tensor->ndim == 0) {
        PyErr_SetString(PyExc_TypeError, "len() of a 0-d tensor");
        return -1;
    }
    if (tensor->shape[0] > PY_SSIZE_T_MAX) {
        PyErr_SetString(PyExc_OverflowError, "the first dimension does not fit a Py_ssize_t");
        return -1;
    }
    return (Py_ssize_t)tensor->shape[0];
}

/* ------------------------------------------------------------------------------------ description */

static PyObject *slice_get_shape(PyObject *self, PyObject *none)
{
    (void)none;
    return stpy_tensor_shape(((slice *)self)->tensor);
}

static PyObject *slice_get_dtype(PyObject *self, PyObject *none)
{
    (void)none;
    return stpy_tensor_dtype(((slice *)self)->file, ((slice *)self)->tensor);
}

static PyObject *slice_nbytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(st_tensor_size(((slice *)self)->tensor));
}

static PyObject *slice_file(PyObject *self, void *closure)
{
    PyObject *file = (PyObject *)((slice *)self)->file;
    (void)closure;
    Py_INCREF(file);
    return file;
}

static PyObject *slice_name(PyObject *self, void *closure)
{
    const st_tensor *tensor = ((slice *)self)->tensor;
    (void)closure;
    return PyUnicode_DecodeUTF8(tensor->name, (Py_ssize_t)tensor->name_len, NULL);
}

/* -------------------------------------------------------------------------------------- bytes */

/* Whether the elements of a file lie the other way round in memory. */
static bool must_swap(st_dtype dtype)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 0 && st_dtype_bits(dtype) > 8;
}

/* Reads the whole tensor into memory of its own. */
static st_buffer *bytes_read(const slice *self)
{
    const st_tensor *tensor = self->tensor;
    stpy_state *state = stpy_state_of((PyObject *)self->file);
    st_buffer *buffer = stpy_buffer_alloc(state, st_tensor_size(tensor));
    st_error error;
    st_status status;
    if (!buffer)
        return NULL;
    void *data = st_buffer_data(buffer);
    size_t size = st_buffer_size(buffer);
    Py_BEGIN_ALLOW_THREADS
    status = st_file_read(self->file->file, tensor, NULL, data, size, &error);
    if (status == ST_OK && must_swap(tensor->dtype))
        st_elements_swap(tensor->dtype, data, size / (st_dtype_bits(tensor->dtype) / 8));
    Py_END_ALLOW_THREADS
    if (status == ST_OK)
        return buffer;
    st_buffer_release(buffer);
    return stpy_raise(state, &error, STPY_READ, self->file->shown);
}

static stpy_data data_of(const st_tensor *tensor, st_buffer *buffer)
{
    return (stpy_data){.dtype = tensor->dtype,
                       .ndim = tensor->ndim,
                       .shape = tensor->shape,
                       .size = st_tensor_size(tensor),
                       .data = st_buffer_data(buffer),
                       .buffer = buffer,
                       .name = tensor->name,
                       .name_len = tensor->name_len};
}

static PyObject *slice_read_into(PyObject *self, PyObject *args)
{
    const slice *s = (slice *)self;
    uint64_t whole = st_tensor_size(s->tensor);
    Py_buffer into;
    unsigned long long offset, size;
    if (!PyArg_ParseTuple(args, "w*KK:_read_into", &into, &offset, &size))
        return NULL;
    st_status status = ST_OK;
    st_error error;
    bool fits = offset <= whole && size <= whole - offset && size <= (size_t)into.len;
    if (fits) {
        const st_tensor bytes = {.name = s->tensor->name,
                                 .name_len = s->tensor->name_len,
                                 .shape = (const uint64_t[]){size},
                                 .ndim = 1,
                                 .dtype = ST_U8,
                                 .begin = s->tensor->begin + offset,
                                 .end = s->tensor->begin + offset + size};
        Py_BEGIN_ALLOW_THREADS
        status = st_file_read(s->file->file, &bytes, NULL, into.buf, (size_t)size, &error);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&into);
    if (!fits)
        return PyErr_Format(PyExc_ValueError,
                            "%llu bytes from byte %llu on do not lie in tensor and buffer", size,
                            offset);
    if (status != ST_OK)
        return stpy_raise(stpy_state_of(self), &error, STPY_READ, s->file->shown);
    Py_RETURN_NONE;
}

static PyObject *slice_torch(PyObject *self, PyObject *none)
{
    (void)none;
    return stpy_file_host_tensor(((slice *)self)->file, ((slice *)self)->tensor);
}

/* -------------------------------------------------------------------------------- as an array */

static PyObject *array_of(const slice *self)
{
    stpy_state *state = stpy_state_of((PyObject *)self->file);
    if (self->file->framework == STPY_NUMPY)
        return stpy_file_host_tensor(self->file, self->tensor);
    if (stpy_numpy_load(state))
        return NULL;
    st_buffer *buffer = bytes_read(self);
    if (!buffer)
        return NULL;
    stpy_data data = data_of(self->tensor, buffer);
    PyObject *array = stpy_numpy_array(state, &data, self->file->packed);
    st_buffer_release(buffer);
    return array;
}

static PyObject *slice_array(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"dtype", "copy", NULL};
    PyObject *dtype = Py_None, *copy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:__array__", (char **)keywords, &dtype,
                                     &copy))
        return NULL;
    if (copy == Py_False) {
        PyErr_SetString(PyExc_ValueError,
                        "the tensor is in a file: copy=False cannot be kept; use copy=None");
        return NULL;
    }
    PyObject *array = array_of((slice *)self);
    if (!array || dtype == Py_None)
        return array;
    PyObject *cast = PyObject_CallMethod(array, "astype", "O", dtype);
    Py_DECREF(array);
    return cast;
}

/* A private mapping that nobody else has, and the tensor's place in it; NULL without an exception where a
 * copy serves better. */
static st_buffer *mapping_of(const slice *self, void **data)
{
    const stpy_file *file = self->file;
    uint32_t bits = st_dtype_bits(self->tensor->dtype);
    uint64_t offset = st_file_offset(file->file, self->tensor);
    st_buffer *map = NULL;
    st_status status;
    if (file->backend != STPY_MMAP || st_tensor_size(self->tensor) < MAP_MIN || bits < 8 ||
        offset % (bits / 8) || must_swap(self->tensor->dtype))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = st_file_map(file->file, ST_MAP_PRIVATE, &map, NULL);
    Py_END_ALLOW_THREADS
    if (status != ST_OK)
        return NULL;
    *data = (char *)st_buffer_data(map) + (size_t)offset;
    return map;
}

/* A pair of integers, such as a version; None leaves it as it is. */
static int pair_read(PyObject *pair, const char *argument, int *first, int *second)
{
    if (pair == Py_None)
        return 0;
    if (PyTuple_Check(pair))
        return PyArg_ParseTuple(pair, "ii", first, second) ? 0 : -1;
    PyErr_Format(PyExc_TypeError, "%s must be a tuple of two integers, not %R", argument, pair);
    return -1;
}

/* The dlpack protocol's arguments. Sets *versioned to whether the consumer takes that kind of capsule. */
static int dlpack_arguments(PyObject *args, PyObject *kwargs, PyObject **copy, bool *versioned)
{
    static const char *const keywords[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *stream = Py_None, *version = Py_None, *device = Py_None;
    int major = 0, minor = 0, type = DLPACK_CPU, number = 0;
    *copy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOO:__dlpack__", (char **)keywords, &stream,
                                     &version, &device, copy))
        return -1;
    if (pair_read(version, "max_version", &major, &minor) ||
        pair_read(device, "dl_device", &type, &number))
        return -1;
    if (stream != Py_None || type != DLPACK_CPU) {
        PyErr_SetString(PyExc_BufferError, "tensors of a file are in the CPU's memory");
        return -1;
    }
    *versioned = major >= 1;
    return 0;
}

static PyObject *slice_dlpack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const slice *s = (slice *)self;
    PyObject *copy;
    bool versioned;
    void *mapped = NULL;
    if (dlpack_arguments(args, kwargs, &copy, &versioned))
        return NULL;
    st_buffer *buffer = copy == Py_True ? NULL : mapping_of(s, &mapped);
    if (!buffer && copy == Py_False) {
        PyErr_SetString(PyExc_BufferError, "the tensor cannot be had without a copy");
        return NULL;
    }
    if (!buffer)
        buffer = bytes_read(s);
    if (!buffer)
        return NULL;
    stpy_data data = data_of(s->tensor, buffer);
    if (mapped)
        data.data = mapped;
    PyObject *capsule = stpy_dlpack_capsule(stpy_state_of(self), &data, versioned);
    st_buffer_release(buffer);
    return capsule;
}

static PyObject *slice_dlpack_device(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    return Py_BuildValue("(ii)", DLPACK_CPU, 0);
}

/* ----------------------------------------------------------------------------------- the type */

PyDoc_STRVAR(slice_doc,
             "A tensor of an open file, of which parts are read by indexing it.\n\n"
             "What `safe_open.get_slice` returns. It stays usable after the file was closed.\n\n"
             "Example:\n"
             "```python\n"
             "from safetensors import safe_open\n\n"
             "with safe_open(\"model.safetensors\", framework=\"pt\") as f:\n"
             "    embedding = f.get_slice(\"embedding\")\n"
             "    rows, columns = embedding.get_shape()\n"
             "    half = embedding[: rows // 2]\n"
             "```\n");
PyDoc_STRVAR(get_shape_doc, "get_shape($self)\n--\n\n"
                            "The shape of the whole tensor.\n\n"
                            "Returns:\n"
                            "    `List[int]`: the shape in the header.\n");
PyDoc_STRVAR(get_dtype_doc, "get_dtype($self)\n--\n\n"
                            "The dtype of the tensor.\n\n"
                            "Returns:\n"
                            "    `str`: the dtype's code in the header, such as `\"F32\"`.\n");
PyDoc_STRVAR(array_doc, "__array__($self, dtype=None, copy=None)\n--\n\n"
                        "The whole tensor as a NumPy array.\n");
PyDoc_STRVAR(
    dlpack_doc,
    "__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
    "The whole tensor as a DLPack capsule, in memory that nobody else sees.\n");
PyDoc_STRVAR(dlpack_device_doc, "__dlpack_device__($self)\n--\n\n"
                                "The DLPack device: always the CPU.\n");
PyDoc_STRVAR(read_into_doc, "_read_into($self, buffer, offset, size)\n--\n\n"
                            "Reads `size` of the tensor's bytes from `offset` on into `buffer`.\n");
PyDoc_STRVAR(torch_doc, "_torch($self)\n--\n\n"
                        "The whole tensor on the CPU, whatever the file's device is.\n");

#define WITH_KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef slice_methods[] = {
    {"get_shape", slice_get_shape, METH_NOARGS, get_shape_doc},
    {"get_dtype", slice_get_dtype, METH_NOARGS, get_dtype_doc},
    {"__array__", WITH_KEYWORDS(slice_array), METH_VARARGS | METH_KEYWORDS, array_doc},
    {"__dlpack__", WITH_KEYWORDS(slice_dlpack), METH_VARARGS | METH_KEYWORDS, dlpack_doc},
    {"__dlpack_device__", slice_dlpack_device, METH_NOARGS, dlpack_device_doc},
    {"_read_into", slice_read_into, METH_VARARGS, read_into_doc},
    {"_torch", slice_torch, METH_NOARGS, torch_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef slice_getset[] = {
    {"nbytes", slice_nbytes, NULL, "The size of the whole tensor in bytes.", NULL},
    {"_file", slice_file, NULL, "The open file.", NULL},
    {"_name", slice_name, NULL, "The tensor's name.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slice_slots[] = {
    {Py_tp_doc, (void *)slice_doc},
    {Py_tp_dealloc, (void *)slice_dealloc},
    {Py_tp_methods, slice_methods},
    {Py_tp_getset, slice_getset},
    {Py_mp_subscript, (void *)slice_subscript},
    {Py_mp_length, (void *)slice_length},
    {Py_sq_item, (void *)slice_item},
    {0, NULL},
};

PyType_Spec stpy_slice_spec = {
    .name = "safetensors.PySafeSlice",
    .basicsize = sizeof(slice),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slice_slots,
};
