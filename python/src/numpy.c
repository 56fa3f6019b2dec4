/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy's arrays over our memory. */
#include "extension.h"

/* -------------------------------------------------------------------------------- the import */

static PyObject *dtype_make(PyObject *make, PyObject *of)
{
    PyObject *dtype = of ? PyObject_CallFunctionObjArgs(make, of, NULL) : NULL;
    Py_XDECREF(of);
    return dtype;
}

/* Imports NumPy; meanwhile another thread may have done the same, whose findings then stay. */
static int numpy_find(stpy_state *state)
{
    PyObject *ndarray = stpy_import("numpy", "ndarray");
    PyObject *make = ndarray ? stpy_import("numpy", "dtype") : NULL;
    int failed = make ? 0 : -1;
    for (st_dtype d = 1; d <= ST_DTYPE_COUNT && !failed; d++) {
        if (!stpy_dtype_of(d)->in_numpy || state->numpy.dtypes[d])
            continue;
        PyObject *dtype = dtype_make(make, PyUnicode_FromString(stpy_dtype_of(d)->name));
        if (!dtype)
            failed = -1;
        else if (state->numpy.dtypes[d])
            Py_DECREF(dtype);
        else
            state->numpy.dtypes[d] = dtype;
    }
    Py_XDECREF(make);
    if (failed || state->numpy.ndarray)
        Py_XDECREF(ndarray);
    else
        state->numpy.ndarray = ndarray;
    return failed;
}

int stpy_numpy_load(stpy_state *state)
{
    int failed;
    STPY_BEGIN_LOCKED(state->error);
    failed = state->numpy.ndarray ? 0 : numpy_find(state);
    STPY_END_LOCKED();
    return failed;
}

/* ml_dtypes has the dtypes that NumPy lacks. */
static PyObject *ml_dtype(stpy_state *state, st_dtype dtype)
{
    PyObject *module = PyImport_ImportModule("ml_dtypes");
    if (!module) {
        if (!PyErr_ExceptionMatches(PyExc_ModuleNotFoundError))
            return NULL;
        PyErr_Clear();
        return stpy_raise_text(state, "NumPy has no dtype for %s by itself: pip install ml_dtypes",
                               st_dtype_code(dtype));
    }
    const char *name = dtype == ST_F4 ? "float4_e2m1fn" : stpy_dtype_of(dtype)->name;
    PyObject *type = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (!type && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return stpy_raise_text(state,
                               "this version of ml_dtypes has no %s: "
                               "pip install --upgrade ml_dtypes",
                               name);
    }
    PyObject *make = type ? stpy_import("numpy", "dtype") : NULL;
    if (!make) {
        Py_XDECREF(type);
        return NULL;
    }
    PyObject *made = dtype_make(make, type);
    Py_DECREF(make);
    return made;
}

/* Fills the slot of a dtype, under the lock, which an import gives up for a while. */
static int dtype_find(stpy_state *state, st_dtype dtype)
{
    PyObject **slot = &state->numpy.dtypes[dtype];
    PyObject *made = ml_dtype(state, dtype);
    if (!*slot) {
        *slot = made;
        return made ? 0 : -1;
    }
    /* Another thread came first, and that this one found no dtype does not matter. */
    Py_XDECREF(made);
    return stpy_forgive();
}

PyObject *stpy_numpy_dtype(stpy_state *state, st_dtype dtype)
{
    PyObject *found = NULL;
    if (stpy_numpy_load(state))
        return NULL;
    STPY_BEGIN_LOCKED(state->error);
    if (state->numpy.dtypes[dtype] || dtype_find(state, dtype) == 0)
        found = state->numpy.dtypes[dtype];
    STPY_END_LOCKED();
    return found;
}

/* --------------------------------------------------------------------------------- unpacking */

/* One value per byte, as ml_dtypes keeps them: 4 bits, 2 to the byte, low ones first. */
static void unpack_f4(const unsigned char *packed, uint64_t size, unsigned char *out)
{
    for (uint64_t i = 0; i < size; i++) {
        out[2 * i] = packed[i] & 15;
        out[2 * i + 1] = packed[i] >> 4;
    }
}

/* 6 bits, 4 to 3 bytes, low ones first. */
static void unpack_f6(const unsigned char *packed, uint64_t size, unsigned char *out)
{
    for (; size; size -= 3, packed += 3, out += 4) {
        uint32_t word = packed[0] | (uint32_t)packed[1] << 8 | (uint32_t)packed[2] << 16;
        for (int i = 0; i < 4; i++)
            out[i] = word >> (6 * i) & 63;
    }
}

static st_buffer *unpack(stpy_state *state, const stpy_data *data)
{
    uint64_t count = data->dtype == ST_F4 ? data->size * 2 : data->size / 3 * 4;
    st_buffer *out = stpy_data_alloc(state, data, count);
    if (!out)
        return NULL;
    PyThreadState *thread = data->size >= STPY_LONG_COPY ? PyEval_SaveThread() : NULL;
    if (data->dtype == ST_F4)
        unpack_f4(data->data, data->size, st_buffer_data(out));
    else
        unpack_f6(data->data, data->size, st_buffer_data(out));
    if (thread)
        PyEval_RestoreThread(thread);
    return out;
}

/* -------------------------------------------------------------------------------- the arrays */

/* NumPy's own check counts zero dimensions as 1, and says less. */
static int shape_check(stpy_state *state, const stpy_data *data, const uint64_t *shape,
                       uint32_t itemsize)
{
    uint64_t product = itemsize;
    for (uint32_t i = 0; i < data->ndim; i++) {
        if (shape[i] > 1 && product > (uint64_t)INT64_MAX / shape[i]) {
            (void)stpy_data_refuse(state, data,
                                   "its dimensions, those of 0 aside, come to more than the 2^63-1 "
                                   "bytes that NumPy can count");
            return -1;
        }
        product *= shape[i] ? shape[i] : 1;
    }
    return 0;
}

static PyObject *array_over(stpy_state *state, const stpy_data *data, const uint64_t *shape,
                            st_dtype dtype)
{
    PyObject *descr = stpy_numpy_dtype(state, dtype);
    uint32_t bits = st_dtype_bits(dtype);
    if (!descr || shape_check(state, data, shape, bits < 8 ? 1 : bits / 8))
        return NULL;
    const char *start = st_buffer_data(stpy_memory_buffer(data->memory));
    PyObject *dims = stpy_shape_tuple(shape, data->ndim);
    PyObject *offset = dims ? PyLong_FromSsize_t((const char *)data->data - start) : NULL;
    PyObject *array = NULL;
    if (offset)
        array = PyObject_CallFunctionObjArgs(state->numpy.ndarray, dims, descr, data->memory,
                                             offset, NULL);
    Py_XDECREF(dims);
    Py_XDECREF(offset);
    return array;
}

static PyObject *array_packed(stpy_state *state, const stpy_data *data)
{
    uint64_t few[64];
    if (data->ndim > sizeof few / sizeof few[0])
        return stpy_data_refuse(state, data, "%u dimensions, above NumPy's limit of 64",
                                data->ndim);
    if (stpy_data_packed_shape(state, data, few))
        return NULL;
    return array_over(state, data, few, ST_U8);
}

static PyObject *array_unpacked(stpy_state *state, const stpy_data *data)
{
    st_buffer *buffer = unpack(state, data);
    if (!buffer)
        return NULL;
    stpy_data values = *data;
    values.data = st_buffer_data(buffer);
    values.size = st_buffer_size(buffer);
    values.buffer = buffer;
    values.memory = stpy_memory_new(state, buffer, false);
    if (!values.memory)
        return NULL;
    PyObject *array = array_over(state, &values, data->shape, data->dtype);
    Py_DECREF(values.memory);
    return array;
}

PyObject *stpy_numpy_array(stpy_state *state, const stpy_data *data, bool packed)
{
    if (st_dtype_bits(data->dtype) < 8 && !packed)
        return array_unpacked(state, data);
    if (!data->memory) {
        stpy_data with = *data;
        with.memory = stpy_memory_new(state, st_buffer_retain(data->buffer), data->readonly);
        if (!with.memory)
            return NULL;
        PyObject *array = stpy_numpy_array(state, &with, packed);
        Py_DECREF(with.memory);
        return array;
    }
    if (st_dtype_bits(data->dtype) < 8)
        return array_packed(state, data);
    return array_over(state, data, data->shape, data->dtype);
}

/* --------------------------------------------------------------------------- the user's arrays */

/* Whether `out.flags.NAME` is set; -1 on failure. */
static int flag_of(PyObject *out, const char *name)
{
    PyObject *flags = PyObject_GetAttrString(out, "flags");
    PyObject *flag = flags ? PyObject_GetAttrString(flags, name) : NULL;
    int set = flag ? PyObject_IsTrue(flag) : -1;
    Py_XDECREF(flag);
    Py_XDECREF(flags);
    return set;
}

/* The memory of a contiguous array, by way of its bytes: ml_dtypes offer no buffer. */
static int memory_of(PyObject *out, Py_buffer *target)
{
    PyObject *flat = PyObject_CallMethod(out, "reshape", "i", -1);
    PyObject *bytes = flat ? PyObject_CallMethod(flat, "view", "s", "uint8") : NULL;
    int failed = bytes ? PyObject_GetBuffer(bytes, target, PyBUF_WRITABLE) : -1;
    Py_XDECREF(bytes);
    Py_XDECREF(flat);
    return failed;
}

int stpy_numpy_target(stpy_state *state, const stpy_data *data, bool packed, PyObject *out,
                      Py_buffer *target)
{
    uint64_t few[64];
    const uint64_t *shape = data->shape;
    bool small = st_dtype_bits(data->dtype) < 8;
    if (small && packed && data->ndim <= sizeof few / sizeof few[0]) {
        if (stpy_data_packed_shape(state, data, few))
            return -1;
        shape = few;
    }
    PyObject *dtype = stpy_numpy_dtype(state, small && packed ? ST_U8 : data->dtype);
    if (!dtype || stpy_data_match(state, data, shape, dtype, out))
        return -1;
    int writeable = flag_of(out, "writeable");
    int contiguous = writeable < 0 ? -1 : flag_of(out, "c_contiguous");
    if (contiguous < 0)
        return -1;
    if (!writeable) {
        (void)stpy_data_refuse(state, data, "out is read-only");
        return -1;
    }
    *target = (Py_buffer){.obj = NULL};
    /* A subclass may have its own idea of what is written to it. */
    if (!contiguous || (small && !packed) || (PyObject *)Py_TYPE(out) != state->numpy.ndarray)
        return 0;
    return memory_of(out, target);
}
