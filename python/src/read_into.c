/* SPDX-License-Identifier: Apache-2.0 */
/* A file's tensors read into the user's own arrays, tensors and buffers. */
#include "extension.h"

int stpy_data_match(stpy_state *state, const stpy_data *data, const uint64_t *shape,
                    PyObject *dtype, PyObject *out)
{
    PyObject *wanted = stpy_shape_tuple(shape, data->ndim);
    PyObject *own_shape = wanted ? PyObject_GetAttr(out, state->names[STPY_NAME_shape]) : NULL;
    PyObject *own_dtype = own_shape ? PyObject_GetAttr(out, state->names[STPY_NAME_dtype]) : NULL;
    int same = own_dtype ? PyObject_RichCompareBool(own_dtype, dtype, Py_EQ) : -1;
    if (same == 1)
        same = PyObject_RichCompareBool(own_shape, wanted, Py_EQ);
    if (same == 0)
        (void)stpy_data_refuse(state, data, "out has dtype %S and shape %S, the tensor %S and %S",
                               own_dtype, own_shape, dtype, wanted);
    Py_XDECREF(own_dtype);
    Py_XDECREF(own_shape);
    Py_XDECREF(wanted);
    return same == 1 ? 0 : -1;
}

/* What kind of memory the user offers. */
enum place_kind { PLACE_BYTES, PLACE_NUMPY, PLACE_TORCH };

/* Whether `object` is an instance of a type of `module`, which is not imported for the question. */
static int is_of(stpy_state *state, PyObject *object, const char *module,
                 int (*load)(stpy_state *state), PyObject *const *type)
{
    if (!*type && !stpy_is_imported(module))
        return 0;
    return load(state) ? -1 : PyObject_IsInstance(object, *type);
}

static int place_kind_of(stpy_state *state, PyObject *out)
{
    int is = is_of(state, out, "torch", stpy_torch_load, &state->torch.tensor);
    if (is)
        return is < 0 ? -1 : PLACE_TORCH;
    is = is_of(state, out, "numpy", stpy_numpy_load, &state->numpy.ndarray);
    return is < 0 ? -1 : is ? PLACE_NUMPY : PLACE_BYTES;
}

/* Reads into any writable memory of the right size. */
static int read_into_bytes(stpy_state *state, stpy_file *self, const st_tensor *tensor,
                           PyObject *out)
{
    const stpy_data data = stpy_data_of(self, tensor, NULL);
    Py_buffer export;
    if (PyObject_GetBuffer(out, &export, PyBUF_WRITABLE))
        return -1;
    int failed = -1;
    if ((uint64_t) export.len != data.size)
        (void)stpy_data_refuse(state, &data, "out has %zd bytes, the tensor %llu", export.len,
                               (unsigned long long)data.size);
    else
        failed = stpy_file_fetch(self, tensor, NULL, export.buf, data.size);
    PyBuffer_Release(&export);
    return failed;
}

/* What autograd saved of a tensor is no longer what is in it, as after every in-place operation of torch's. */
static int tell_autograd(PyObject *out)
{
    PyObject *tell = stpy_import("torch.autograd.graph", "increment_version");
    PyObject *told = tell ? PyObject_CallFunctionObjArgs(tell, out, NULL) : NULL;
    Py_XDECREF(tell);
    Py_XDECREF(told);
    return told ? 0 : -1;
}

/* Assigns an array of its own to one that cannot be read into: strided, on a device, of another type. */
static int assign(stpy_state *state, enum place_kind kind, const stpy_data *data, bool packed,
                  PyObject *out)
{
    PyObject *done = NULL;
    if (kind == PLACE_NUMPY) {
        PyObject *array = stpy_numpy_array(state, data, packed);
        int failed = array ? PyObject_SetItem(out, Py_Ellipsis, array) : -1;
        Py_XDECREF(array);
        return failed;
    }
    PyObject *tensor = stpy_torch_tensor(state, data);
    /* Detached, as one may not write to what autograd watches. */
    PyObject *plain = tensor ? PyObject_CallMethod(out, "detach", NULL) : NULL;
    if (plain)
        done = PyObject_CallMethod(plain, "copy_", "O", tensor);
    Py_XDECREF(plain);
    Py_XDECREF(tensor);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int read_and_assign(stpy_state *state, stpy_file *self, const st_tensor *tensor,
                           enum place_kind kind, PyObject *out)
{
    stpy_data data = stpy_data_of(self, tensor, NULL);
    if (stpy_file_read_data(self, tensor, NULL, &data))
        return -1;
    int failed = assign(state, kind, &data, self->packed, out);
    st_buffer_release(data.buffer);
    return failed;
}

static int read_into_array(stpy_state *state, stpy_file *self, const st_tensor *tensor,
                           PyObject *out)
{
    const stpy_data data = stpy_data_of(self, tensor, NULL);
    Py_buffer target = {.obj = NULL};
    if (stpy_numpy_target(state, &data, self->packed, out, &target))
        return -1;
    int failed = 0;
    if (data.size && target.obj)
        failed = stpy_file_fetch(self, tensor, NULL, target.buf, data.size);
    else if (data.size)
        failed = read_and_assign(state, self, tensor, PLACE_NUMPY, out);
    PyBuffer_Release(&target);
    return failed;
}

static int read_into_tensor(stpy_state *state, stpy_file *self, const st_tensor *tensor,
                            PyObject *out)
{
    const stpy_data data = stpy_data_of(self, tensor, NULL);
    void *target;
    if (stpy_torch_target(state, &data, out, &target))
        return -1;
    if (data.size == 0)
        return 0;
    if (!target)
        return read_and_assign(state, self, tensor, PLACE_TORCH, out);
    return stpy_file_fetch(self, tensor, NULL, target, data.size) ? -1 : tell_autograd(out);
}

int stpy_file_read_into(stpy_file *self, const st_tensor *tensor, PyObject *out)
{
    stpy_state *state = stpy_state_of((PyObject *)self);
    switch (place_kind_of(state, out)) {
    case PLACE_BYTES: return read_into_bytes(state, self, tensor, out);
    case PLACE_NUMPY: return read_into_array(state, self, tensor, out);
    case PLACE_TORCH: return read_into_tensor(state, self, tensor, out);
    default: return -1;
    }
}
