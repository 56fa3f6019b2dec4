/* SPDX-License-Identifier: Apache-2.0 */
/* A file's tensors as arrays of its framework: views of one private mapping, or copies. */
#include "extension.h"

#include <stdarg.h>

/* A second copy-on-write view of a tensor costs a mapping of the file, of which a process may have some
 * 65 000: only for tensors of this size and more. */
#define REMAP_MIN ((uint64_t)1 << 20)
/* What is read past the page cache, and what devices count in, at most. */
#define DIRECT_MIN  ((uint64_t)1 << 20)
#define DEVICE_PAGE 4096

/* ----------------------------------------------------------------------------------- shapes */

void *stpy_data_refuse(stpy_state *state, const stpy_data *data, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    const char *own = data->name ? data->name : "";
    PyObject *name = text ? PyUnicode_DecodeUTF8(own, (Py_ssize_t)data->name_len, NULL) : NULL;
    if (name)
        stpy_raise_text(state, "tensor %R: %U", name, text);
    Py_XDECREF(text);
    Py_XDECREF(name);
    return NULL;
}

PyObject *stpy_shape_tuple(const uint64_t *shape, uint32_t ndim)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)ndim);
    for (uint32_t i = 0; tuple && i < ndim; i++) {
        PyObject *dim = PyLong_FromUnsignedLongLong(shape[i]);
        if (!dim || PyTuple_SetItem(tuple, (Py_ssize_t)i, dim))
            Py_CLEAR(tuple);
    }
    return tuple;
}

int stpy_data_packed_shape(stpy_state *state, const stpy_data *data, uint64_t *out)
{
    if (data->counted) {
        memcpy(out, data->shape, data->ndim * sizeof *out);
        return 0;
    }
    /* The fewest elements that fill whole bytes: 2 in 1, or 4 in 3. */
    uint64_t elements = data->dtype == ST_F4 ? 2 : 4;
    uint64_t bytes = data->dtype == ST_F4 ? 1 : 3;
    if (data->ndim == 0 || data->shape[data->ndim - 1] % elements) {
        (void)stpy_data_refuse(state, data,
                               "the last dimension of packed %s must be divisible by %d, to come "
                               "to whole bytes",
                               st_dtype_code(data->dtype), (int)elements);
        return -1;
    }
    memcpy(out, data->shape, data->ndim * sizeof *out);
    out[data->ndim - 1] = out[data->ndim - 1] / elements * bytes;
    return 0;
}

/* ---------------------------------------------------------------------------------- delivery */

static bool counts_bytes(const stpy_file *self, const st_tensor *tensor)
{
    bool packed = self->framework == STPY_TORCH || self->packed;
    return packed && st_dtype_bits(tensor->dtype) < 8;
}

stpy_data stpy_data_of(const stpy_file *self, const st_tensor *tensor, const st_region *region)
{
    return (stpy_data){.dtype = tensor->dtype,
                       .ndim = region ? region->out_ndim : tensor->ndim,
                       .shape = region ? region->shape : tensor->shape,
                       .size = region ? region->size : st_tensor_size(tensor),
                       .name = tensor->name,
                       .name_len = tensor->name_len,
                       .counted = region && counts_bytes(self, tensor)};
}

/* Looks the converter up. Meanwhile another thread may have done the same; one stays as long as the file. */
static PyObject *converter_find(stpy_file *file)
{
    PyObject *make = stpy_import("safetensors._frameworks", "converter");
    PyObject *convert =
        make ? PyObject_CallFunction(make, "s", stpy_framework_text(file->framework)) : NULL;
    Py_XDECREF(make);
    if (!convert)
        return NULL;
    STPY_BEGIN_LOCKED((PyObject *)file);
    if (!file->convert)
        file->convert = Py_NewRef(convert);
    STPY_END_LOCKED();
    return convert;
}

static PyObject *converter_of(stpy_file *file)
{
    PyObject *convert;
    STPY_BEGIN_LOCKED((PyObject *)file);
    convert = Py_XNewRef(file->convert);
    STPY_END_LOCKED();
    return convert ? convert : converter_find(file);
}

/* What frameworks behind NumPy make of an array: calls their converter with `arguments`, which are taken over. */
static PyObject *converted(stpy_file *file, PyObject *arguments)
{
    PyObject *convert = arguments ? converter_of(file) : NULL;
    PyObject *tensor = convert ? PyObject_CallObject(convert, arguments) : NULL;
    Py_XDECREF(convert);
    Py_XDECREF(arguments);
    return tensor;
}

/* What NumPy has no dtype for goes to frameworks that have one as bytes, with the dtype and the shape beside
 * them, so that ml_dtypes need not be installed. */
static PyObject *converted_bytes(stpy_state *state, const stpy_data *data, stpy_file *file)
{
    stpy_data bytes = *data;
    bytes.dtype = ST_U8;
    bytes.ndim = 1;
    bytes.shape = &data->size;
    PyObject *array = stpy_numpy_array(state, &bytes, false);
    PyObject *shape = array ? stpy_shape_tuple(data->shape, data->ndim) : NULL;
    if (!shape) {
        Py_XDECREF(array);
        return NULL;
    }
    return converted(file, Py_BuildValue("(NsN)", array, st_dtype_code(data->dtype), shape));
}

PyObject *stpy_data_array(stpy_state *state, const stpy_data *data, stpy_file *file)
{
    if (file->framework == STPY_TORCH)
        return stpy_torch_tensor(state, data);
    if (file->framework == STPY_NUMPY)
        return stpy_numpy_array(state, data, file->packed);
    bool has_dtypes = file->framework == STPY_MLX || file->framework == STPY_PADDLE;
    if (has_dtypes && !stpy_dtype_of(data->dtype)->in_numpy && st_dtype_bits(data->dtype) >= 8)
        return converted_bytes(state, data, file);
    PyObject *array = stpy_numpy_array(state, data, file->packed);
    return converted(file, array ? Py_BuildValue("(N)", array) : NULL);
}

st_status stpy_file_read_counted(const stpy_file *self, const st_tensor *counted,
                                 const st_region *region, void *dst, uint64_t size, st_error *error)
{
    st_status status = st_file_read(self->file, counted, region, dst, (size_t)size, error);
    if (status == ST_OK && stpy_must_swap(counted->dtype))
        st_elements_swap(counted->dtype, dst, size / (st_dtype_bits(counted->dtype) / 8));
    return status;
}

int stpy_file_fetch(stpy_file *self, const st_tensor *tensor, const st_region *region, void *dst,
                    uint64_t size)
{
    stpy_state *state = stpy_state_of((PyObject *)self);
    st_error error;
    void *memory = NULL;
    const st_tensor *counted = region ? stpy_file_counted(self, tensor, &memory) : tensor;
    if (!counted)
        return -1;
    PyThreadState *thread = PyEval_SaveThread();
    st_status status = stpy_file_read_counted(self, counted, region, dst, size, &error);
    PyEval_RestoreThread(thread);
    PyMem_Free(memory);
    if (status == ST_OK)
        return 0;
    stpy_raise(state, &error, STPY_READ, self->shown);
    return -1;
}

st_buffer *stpy_data_alloc(stpy_state *state, const stpy_data *data, uint64_t size)
{
    st_buffer *buffer = stpy_buffer_alloc(state, size);
    if (buffer || !data->name || !PyErr_ExceptionMatches(PyExc_MemoryError))
        return buffer;
    PyErr_Clear();
    PyObject *name = PyUnicode_DecodeUTF8(data->name, (Py_ssize_t)data->name_len, NULL);
    if (name)
        PyErr_Format(PyExc_MemoryError, "tensor %R: out of memory for its %llu bytes", name,
                     (unsigned long long)size);
    Py_XDECREF(name);
    return NULL;
}

/* Where in its memory a tensor is to lie: as in its page of the file, so that a device can write it there, unless its
 * elements, or the framework, want it aligned. */
static uint64_t lead_of(const stpy_file *file, const st_tensor *whole, uint64_t size)
{
    bool takes_any = file->framework == STPY_TORCH || file->framework == STPY_NUMPY;
    if (!whole || !takes_any || file->backend == STPY_PREAD || size < DIRECT_MIN)
        return 0;
    uint64_t lead = st_file_offset(file->file, whole) % DEVICE_PAGE;
    return stpy_is_aligned((const void *)(uintptr_t)lead, whole->dtype) ? lead : 0;
}

int stpy_data_place(stpy_state *state, stpy_data *data, const stpy_file *file,
                    const st_tensor *whole, uint64_t size)
{
    uint64_t lead = lead_of(file, whole, size);
    data->buffer = stpy_data_alloc(state, data, size + lead);
    if (!data->buffer)
        return -1;
    data->data = (char *)st_buffer_data(data->buffer) + lead;
    return 0;
}

int stpy_file_read_data(stpy_file *self, const st_tensor *tensor, const st_region *region,
                        stpy_data *data)
{
    const st_tensor *whole = region ? NULL : tensor;
    if (stpy_data_place(stpy_state_of((PyObject *)self), data, self, whole, data->size))
        return -1;
    if (stpy_file_fetch(self, tensor, region, data->data, data->size) == 0)
        return 0;
    st_buffer_release(data->buffer);
    data->buffer = NULL;
    return -1;
}

/* An array over memory of its own; `data` is all but the memory. */
static PyObject *read_array(stpy_file *self, const st_tensor *tensor, const st_region *region,
                            stpy_data *data)
{
    if (stpy_file_read_data(self, tensor, region, data))
        return NULL;
    PyObject *array = stpy_data_array(stpy_state_of((PyObject *)self), data, self);
    st_buffer_release(data->buffer);
    return array;
}

/* -------------------------------------------------------------------------------------- parts */

const st_tensor *stpy_file_counted(stpy_file *self, const st_tensor *tensor, void **memory)
{
    *memory = NULL;
    if (!counts_bytes(self, tensor))
        return tensor;
    size_t size = sizeof(st_tensor) + tensor->ndim * sizeof(uint64_t);
    st_tensor *counted = PyMem_Malloc(size);
    if (!counted) {
        PyErr_NoMemory();
        return NULL;
    }
    uint64_t *shape = (uint64_t *)(counted + 1);
    const stpy_data data = stpy_data_of(self, tensor, NULL);
    if (stpy_data_packed_shape(stpy_state_of((PyObject *)self), &data, shape)) {
        PyMem_Free(counted);
        return NULL;
    }
    *counted = *tensor;
    counted->dtype = ST_U8;
    counted->shape = shape;
    *memory = counted;
    return counted;
}

PyObject *stpy_file_part(stpy_file *self, const st_tensor *tensor, const st_region *region)
{
    stpy_data data = stpy_data_of(self, tensor, region);
    return read_array(self, tensor, region, &data);
}

/* ------------------------------------------------------------------------------------- views */

/* A bit per tensor. */
static int given_make(stpy_file *self)
{
    self->given = PyMem_Calloc(st_file_count(self->file) / 8 + 1, 1);
    if (self->given)
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Marks a tensor as given. Tells whether it was already. */
static bool given_before(stpy_file *self, const st_tensor *tensor)
{
    size_t index = st_header_index(st_file_header(self->file), tensor);
    uint8_t bit = (uint8_t)(1 << index % 8);
    bool before = self->given[index / 8] & bit;
    self->given[index / 8] |= bit;
    return before;
}

/* Replaces the mapping, whose arrays live on with it, by one that nobody has written to. */
static bool map_again(stpy_file *self)
{
    const st_buffer *old = self->map;
    st_buffer *fresh;
    PyThreadState *thread = PyEval_SaveThread();
    st_status status = st_file_map(self->file, ST_MAP_PRIVATE, &fresh, NULL);
    PyEval_RestoreThread(thread);
    if (status != ST_OK)
        return false;
    if (self->map != old) {
        /* Another thread did the same meanwhile. */
        st_buffer_release(fresh);
        return true;
    }
    st_buffer_release(self->map);
    self->map = fresh;
    Py_CLEAR(self->memory);
    memset(self->given, 0, st_file_count(self->file) / 8 + 1);
    return true;
}

static bool source_is_memory(const stpy_file *self)
{
    st_source_info info;
    return st_source_query(st_file_source(self->file), &info, NULL) == ST_OK &&
           info.latency == ST_LATENCY_MEMORY;
}

/* Frameworks whose arrays are writable views, and yet must not show what was written to another. */
static bool is_shared(enum stpy_framework framework)
{
    return framework == STPY_NUMPY || framework == STPY_PADDLE;
}

/* Whether the array may be a view: elements are aligned, and no other array can write to them. */
static int view_allowed(stpy_file *self, const st_tensor *tensor)
{
    /* Of a file torch has views at any alignment, as in upstream; out of memory, aligned copies. */
    const char *data = (const char *)st_buffer_data(self->map) + st_file_offset(self->file, tensor);
    if (!self->lent && !stpy_is_aligned(data, tensor->dtype) &&
        (self->framework != STPY_TORCH || source_is_memory(self)))
        return 0;
    /* Tensors of one file are torch's to share; F4 and F6 are unpacked, which is a copy; the other
     * frameworks make copies, or arrays that nobody can write to. */
    if (!is_shared(self->framework) || st_tensor_size(tensor) == 0 ||
        (st_dtype_bits(tensor->dtype) < 8 && !self->packed))
        return 1;
    if (!self->given && given_make(self))
        return -1;
    while (given_before(self, tensor))
        if (st_tensor_size(tensor) < REMAP_MIN || !map_again(self))
            return 0;
    return 1;
}

/* Fills in `data` a view of the mapping, with references of its own: 1; or 0: read instead. */
static int view_take(stpy_state *state, stpy_file *self, const st_tensor *tensor, stpy_data *data)
{
    int allowed = self->map ? view_allowed(self, tensor) : 0;
    if (allowed <= 0)
        return allowed;
    if (self->framework != STPY_TORCH && !self->memory) {
        self->memory = stpy_memory_new(state, st_buffer_retain(self->map), self->readonly);
        if (!self->memory)
            return -1;
    }
    Py_XINCREF(self->memory);
    data->memory = self->memory;
    data->buffer = st_buffer_retain(self->map);
    data->data = (char *)st_buffer_data(self->map) + st_file_offset(self->file, tensor);
    data->readonly = self->readonly;
    return 1;
}

/* -------------------------------------------------------------------------------- the tensors */

static PyObject *tensor_on_device(stpy_file *self, const st_tensor *tensor)
{
    PyObject *put = stpy_import("safetensors._device", "tensor");
    PyObject *slice = put ? stpy_slice_new(self, tensor) : NULL;
    PyObject *result = slice ? PyObject_CallFunctionObjArgs(put, slice, self->device, NULL) : NULL;
    Py_XDECREF(slice);
    Py_XDECREF(put);
    return result;
}

PyObject *stpy_file_host_tensor(stpy_file *self, const st_tensor *tensor)
{
    stpy_state *state = stpy_state_of((PyObject *)self);
    stpy_data data = stpy_data_of(self, tensor, NULL);
    int view = 0;
    if (self->maps && !stpy_must_swap(tensor->dtype)) {
        (void)stpy_file_map(self);
        STPY_BEGIN_LOCKED((PyObject *)self);
        view = view_take(state, self, tensor, &data);
        STPY_END_LOCKED();
    }
    if (view < 0)
        return NULL;
    if (view == 0)
        return read_array(self, tensor, NULL, &data);
    PyObject *array = stpy_data_array(state, &data, self);
    st_buffer_release(data.buffer);
    Py_XDECREF(data.memory);
    return array;
}

PyObject *stpy_file_tensor(stpy_file *self, const st_tensor *tensor)
{
    return self->device ? tensor_on_device(self, tensor) : stpy_file_host_tensor(self, tensor);
}
