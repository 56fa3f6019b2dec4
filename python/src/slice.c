/* SPDX-License-Identifier: Apache-2.0 */
/* The type PySafeSlice: a tensor of a file, of which parts can be had. */
#include "dlpack.h"

/* From so many bytes on, DLPack's consumers get a mapping rather than a copy. */
#define MAP_MIN ((uint64_t)1 << 20)

PyObject *stpy_slice_new(stpy_file *file, const st_tensor *tensor)
{
    return stpy_tensor_ref_new(stpy_state_of((PyObject *)file)->slice_type, file, tensor);
}

/* Raises `class` with "tensor NAME: " and a text made as by PyErr_Format. Always NULL. */
static PyObject *raise_of(const st_tensor *tensor, PyObject *class, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    PyObject *name =
        text ? PyUnicode_DecodeUTF8(tensor->name, (Py_ssize_t)tensor->name_len, NULL) : NULL;
    if (name)
        PyErr_Format(class, "tensor %R: %U", name, text);
    Py_XDECREF(name);
    Py_XDECREF(text);
    return NULL;
}

/* ------------------------------------------------------------------------------------- indexing */

/* torch's indexing, after what it does not take was turned into what it does. */
static PyObject *item_by_torch(PyObject *whole, PyObject *index)
{
    PyObject *take = stpy_import("safetensors._frameworks", "index_torch");
    PyObject *part = take ? PyObject_CallFunctionObjArgs(take, whole, index, NULL) : NULL;
    Py_XDECREF(take);
    return part;
}

/* The framework's own indexing of the whole tensor. */
static PyObject *item_of_whole(const stpy_tensor_ref *self, PyObject *index)
{
    stpy_state *state = stpy_state_of((PyObject *)self->file);
    PyObject *whole = stpy_file_host_tensor(self->file, self->tensor);
    if (!whole)
        return NULL;
    int suits = self->file->framework == STPY_TORCH ? stpy_index_suits_torch(state, index) : 1;
    PyObject *part = NULL;
    if (suits == 0)
        part = item_by_torch(whole, index);
    else if (suits > 0)
        part = PyObject_GetItem(whole, index);
    Py_DECREF(whole);
    return part;
}

/* Reads what `items` say of the tensor as its framework counts it. */
static PyObject *item_read(const stpy_tensor_ref *self, const st_tensor *counted,
                           const stpy_index *items, PyObject *index)
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
static PyObject *item_native(const stpy_tensor_ref *self, PyObject *index)
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
    PyObject *part = read ? PyObject_CallFunctionObjArgs(
                                read, self, index, ((stpy_tensor_ref *)self)->file->device, NULL)
                          : NULL;
    Py_XDECREF(read);
    return part;
}

/* torch's views of a mapping are indexed by torch itself, which does all but negative steps; anything
 * else is read, in part. */
static PyObject *slice_subscript(PyObject *self, PyObject *index)
{
    stpy_file *file = ((stpy_tensor_ref *)self)->file;
    if (file->device)
        return item_on_device(self, index);
    int whole = 0;
    if (file->framework == STPY_TORCH && stpy_file_map(file))
        whole = stpy_index_suits_torch(stpy_state_of(self), index);
    if (whole < 0)
        return NULL;
    if (whole)
        return item_of_whole((stpy_tensor_ref *)self, index);
    return item_native((stpy_tensor_ref *)self, index);
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
    const st_tensor *tensor = ((stpy_tensor_ref *)self)->tensor;
    if (tensor->ndim == 0) {
        (void)raise_of(tensor, PyExc_TypeError, "len() of a 0-d tensor");
        return -1;
    }
    if (tensor->shape[0] > PY_SSIZE_T_MAX) {
        (void)raise_of(tensor, PyExc_OverflowError, "its first dimension is %llu, above 2^63-1",
                       (unsigned long long)tensor->shape[0]);
        return -1;
    }
    return (Py_ssize_t)tensor->shape[0];
}

/* ------------------------------------------------------------------------------------ description */

static PyObject *slice_get_shape(PyObject *self, PyObject *none)
{
    (void)none;
    return stpy_tensor_shape(((stpy_tensor_ref *)self)->tensor);
}

static PyObject *slice_get_dtype(PyObject *self, PyObject *none)
{
    (void)none;
    return stpy_tensor_dtype(((stpy_tensor_ref *)self)->file, ((stpy_tensor_ref *)self)->tensor);
}

static PyObject *slice_nbytes(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(st_tensor_size(((stpy_tensor_ref *)self)->tensor));
}

static PyObject *slice_file(PyObject *self, void *closure)
{
    PyObject *file = (PyObject *)((stpy_tensor_ref *)self)->file;
    (void)closure;
    Py_INCREF(file);
    return file;
}

static PyObject *slice_name(PyObject *self, void *closure)
{
    const st_tensor *tensor = ((stpy_tensor_ref *)self)->tensor;
    (void)closure;
    return PyUnicode_DecodeUTF8(tensor->name, (Py_ssize_t)tensor->name_len, NULL);
}

/* -------------------------------------------------------------------------------- as an array */

static PyObject *array_of(const stpy_tensor_ref *self)
{
    stpy_state *state = stpy_state_of((PyObject *)self->file);
    if (self->file->framework == STPY_NUMPY)
        return stpy_file_host_tensor(self->file, self->tensor);
    if (stpy_numpy_load(state))
        return NULL;
    stpy_data data = stpy_data_of(self->file, self->tensor, NULL);
    if (stpy_file_read_data(self->file, self->tensor, NULL, &data))
        return NULL;
    PyObject *array = stpy_numpy_array(state, &data, self->file->packed);
    st_buffer_release(data.buffer);
    return array;
}

static PyObject *slice_array(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"dtype", "copy", NULL};
    PyObject *dtype = Py_None, *copy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:__array__", (char **)keywords, &dtype,
                                     &copy))
        return NULL;
    if (copy == Py_False)
        return raise_of(((stpy_tensor_ref *)self)->tensor, PyExc_ValueError,
                        "it is in a file: copy=False cannot be kept; use copy=None");
    PyObject *array = array_of((stpy_tensor_ref *)self);
    if (!array || dtype == Py_None)
        return array;
    PyObject *cast = PyObject_CallMethod(array, "astype", "O", dtype);
    Py_DECREF(array);
    return cast;
}

/* Fills in `data` a private mapping that nobody else has, and the tensor's place in it; leaves the buffer NULL
 * where a copy serves better. */
static void mapping_take(const stpy_tensor_ref *self, stpy_data *data)
{
    const stpy_file *file = self->file;
    uint32_t bits = st_dtype_bits(data->dtype);
    uint64_t offset = st_file_offset(file->file, self->tensor);
    st_status status;
    if (!file->maps || data->size < MAP_MIN || bits < 8 || offset % (bits / 8) ||
        stpy_must_swap(data->dtype))
        return;
    st_buffer *map = NULL;
    Py_BEGIN_ALLOW_THREADS
    status = st_file_map(file->file, ST_MAP_PRIVATE, &map, NULL);
    Py_END_ALLOW_THREADS
    if (status != ST_OK)
        return;
    data->buffer = map;
    data->data = (char *)st_buffer_data(map) + (size_t)offset;
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
    int major = 0, minor = 0, type = DL_CPU, number = 0;
    *copy = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOO:__dlpack__", (char **)keywords, &stream,
                                     &version, &device, copy))
        return -1;
    if (pair_read(version, "max_version", &major, &minor) ||
        pair_read(device, "dl_device", &type, &number))
        return -1;
    if (stream != Py_None || type != DL_CPU) {
        PyErr_SetString(PyExc_BufferError, "tensors of a file are in the CPU's memory");
        return -1;
    }
    *versioned = major >= 1;
    return 0;
}

static PyObject *slice_dlpack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const stpy_tensor_ref *s = (stpy_tensor_ref *)self;
    PyObject *copy;
    bool versioned;
    if (dlpack_arguments(args, kwargs, &copy, &versioned))
        return NULL;
    stpy_data data = stpy_data_of(s->file, s->tensor, NULL);
    if (copy != Py_True)
        mapping_take(s, &data);
    if (!data.buffer && copy == Py_False)
        return raise_of(s->tensor, PyExc_BufferError, "its %llu bytes cannot be had without a copy",
                        (unsigned long long)data.size);
    if (!data.buffer && stpy_file_read_data(s->file, s->tensor, NULL, &data))
        return NULL;
    PyObject *capsule = stpy_dlpack_capsule(stpy_state_of(self), &data, versioned);
    st_buffer_release(data.buffer);
    return capsule;
}

static PyObject *slice_dlpack_device(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    return Py_BuildValue("(ii)", DL_CPU, 0);
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

static PyMethodDef slice_methods[] = {
    {"get_shape", slice_get_shape, METH_NOARGS, get_shape_doc},
    {"get_dtype", slice_get_dtype, METH_NOARGS, get_dtype_doc},
    {"__array__", STPY_WITH_KEYWORDS(slice_array), METH_VARARGS | METH_KEYWORDS, array_doc},
    {"__dlpack__", STPY_WITH_KEYWORDS(slice_dlpack), METH_VARARGS | METH_KEYWORDS, dlpack_doc},
    {"__dlpack_device__", slice_dlpack_device, METH_NOARGS, dlpack_device_doc},
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
    {Py_tp_dealloc, (void *)stpy_tensor_ref_dealloc},
    {Py_tp_methods, slice_methods},
    {Py_tp_getset, slice_getset},
    {Py_mp_subscript, (void *)slice_subscript},
    {Py_mp_length, (void *)slice_length},
    {Py_sq_item, (void *)slice_item},
    {Py_nb_bool, (void *)stpy_true},
    {0, NULL},
};

PyType_Spec stpy_slice_spec = {
    .name = "safetensors.PySafeSlice",
    .basicsize = sizeof(stpy_tensor_ref),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slice_slots,
};
