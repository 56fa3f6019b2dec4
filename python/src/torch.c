/* SPDX-License-Identifier: Apache-2.0 */
/* torch's tensors over our memory. */
#include "dlpack.h"

/* -------------------------------------------------------------------------------- the import */

/* The C exchange table of a version we know in *out, or NULL: older torch has none. */
static int exchange_find(stpy_state *state, PyObject *tensor_type, const void **out)
{
    PyObject *capsule =
        PyObject_GetAttr(tensor_type, state->names[STPY_NAME___dlpack_c_exchange_api__]);
    const dl_exchange *table =
        capsule ? PyCapsule_GetPointer(capsule, "dlpack_exchange_api") : NULL;
    Py_XDECREF(capsule);
    if (stpy_forgive())
        return -1;
    while (table && table->version.major != 1)
        table = table->previous;
    *out = table && table->tensor_of ? table : NULL;
    return 0;
}

static int dtypes_find(PyObject *torch, PyObject **out)
{
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        const stpy_dtype *names = stpy_dtype_of(dtype);
        /* Read of the bytes, where torch has no such dtype. */
        const char *name = names->in_torch ? names->name : "uint8";
        out[dtype] = PyObject_GetAttrString(torch, name);
        if (out[dtype])
            continue;
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
    }
    return 0;
}

static int torch_find(stpy_state *state, PyObject *torch, stpy_torch *out)
{
    out->tensor = PyObject_GetAttrString(torch, "Tensor");
    out->parameter = stpy_import("torch.nn", "Parameter");
    out->from_capsule = stpy_import("torch._C", "_from_dlpack");
    if (!out->tensor || !out->parameter || !out->from_capsule ||
        exchange_find(state, out->tensor, &out->exchange))
        return -1;
    return dtypes_find(torch, out->dtypes);
}

static void torch_drop(stpy_torch *torch)
{
    Py_XDECREF(torch->tensor);
    Py_XDECREF(torch->parameter);
    Py_XDECREF(torch->from_capsule);
    for (size_t i = 0; i <= ST_DTYPE_COUNT; i++)
        Py_XDECREF(torch->dtypes[i]);
}

/* Imports torch; meanwhile another thread may have done the same, whose findings then stay. */
static int torch_import(stpy_state *state)
{
    PyObject *torch = PyImport_ImportModule("torch");
    if (!torch)
        return -1;
    stpy_torch found = {0};
    int failed = torch_find(state, torch, &found);
    Py_DECREF(torch);
    if (failed || state->torch.tensor)
        torch_drop(&found);
    else
        state->torch = found;
    return failed;
}

int stpy_torch_load(stpy_state *state)
{
    int failed;
    STPY_BEGIN_LOCKED(state->error);
    failed = state->torch.tensor ? 0 : torch_import(state);
    STPY_END_LOCKED();
    return failed;
}

/* --------------------------------------------------------------------------------- switches */

PyObject *stpy_use_exchange(PyObject *module, PyObject *use)
{
    stpy_state *state = stpy_state_of_module(module);
    int wanted = PyObject_IsTrue(use);
    const void *table = NULL;
    if (wanted < 0 || stpy_torch_load(state) ||
        (wanted && exchange_find(state, state->torch.tensor, &table)))
        return NULL;
    bool had = state->torch.exchange;
    state->torch.exchange = table;
    return PyBool_FromLong(had);
}

PyObject *stpy_refuse_dtypes(PyObject *module, PyObject *codes)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *list = PySequence_List(codes);
    if (!list)
        return NULL;
    uint32_t refused = 0;
    for (Py_ssize_t i = 0; i < PyList_Size(list) && !PyErr_Occurred(); i++) {
        Py_ssize_t len;
        const char *code = PyUnicode_AsUTF8AndSize(PyList_GetItem(list, i), &len);
        st_dtype dtype = code ? st_dtype_find(code, (size_t)len) : 0;
        if (code && !dtype)
            PyErr_Format(PyExc_ValueError, "no dtype %R", PyList_GetItem(list, i));
        refused |= UINT32_C(1) << dtype;
    }
    Py_DECREF(list);
    if (PyErr_Occurred() || stpy_torch_load(state))
        return NULL;
    state->torch.refused = refused;
    return Py_NewRef(Py_None);
}

/* ------------------------------------------------------------------------------ the tensors */

static PyObject *import_by_table(const dl_exchange *table, stpy_managed *managed)
{
    void *tensor = NULL;
    if (table->tensor_of(&managed->as.versioned, &tensor) == 0)
        return tensor;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "torch refused a tensor without saying why");
    return NULL;
}

static PyObject *import_by_capsule(stpy_state *state, stpy_managed *managed)
{
    PyObject *capsule = stpy_managed_capsule(managed);
    if (!capsule)
        return NULL;
    PyObject *tensor = PyObject_CallFunctionObjArgs(state->torch.from_capsule, capsule, NULL);
    Py_DECREF(capsule);
    return tensor;
}

/* A tensor over `data`, described in `form`. */
static PyObject *tensor_import(stpy_state *state, const stpy_data *data, enum stpy_form form)
{
    const dl_exchange *table = state->torch.exchange;
    stpy_managed *managed = stpy_managed_new(state, data, form, table != NULL);
    if (!managed)
        return NULL;
    PyObject *tensor = table ? import_by_table(table, managed) : import_by_capsule(state, managed);
    if (tensor)
        stpy_managed_hand_over(managed);
    else
        stpy_managed_free(managed);
    return tensor;
}

/* Replaces *tensor by the result of its `method` with one argument. */
static void tensor_call(PyObject **tensor, PyObject *method, PyObject *argument)
{
    PyObject *result =
        argument ? PyObject_CallMethodObjArgs(*tensor, method, argument, NULL) : NULL;
    Py_DECREF(*tensor);
    *tensor = result;
}

/* By way of bytes, for what this torch does not take by its own dtype. */
static PyObject *tensor_by_bytes(stpy_state *state, const stpy_data *data)
{
    PyObject *tensor = tensor_import(state, data, STPY_BYTES);
    if (!tensor || !stpy_dtype_of(data->dtype)->in_torch)
        return tensor;
    tensor_call(&tensor, state->names[STPY_NAME_view], state->torch.dtypes[data->dtype]);
    if (!tensor || st_dtype_bits(data->dtype) <= 8)
        return tensor;
    PyObject *shape = stpy_shape_tuple(data->shape, data->ndim);
    tensor_call(&tensor, state->names[STPY_NAME_view], shape);
    Py_XDECREF(shape);
    return tensor;
}

/* Torch reports what it cannot import as BufferError by capsule, as RuntimeError by the table; and that it is out
 * of memory as a subclass, which is another matter. */
static PyObject *tensor_refused(stpy_state *state, const stpy_data *data)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type != PyExc_BufferError && type != PyExc_RuntimeError) {
        PyErr_Restore(type, value, traceback);
        return NULL;
    }
    PyObject *tensor = tensor_by_bytes(state, data);
    if (tensor) {
        state->torch.refused |= UINT32_C(1) << data->dtype;
    } else if (stpy_forgive() == 0) {
        PyErr_Restore(type, value, traceback); /* which tells what torch has against it */
        return NULL;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return tensor;
}

PyObject *stpy_torch_tensor(stpy_state *state, const stpy_data *data)
{
    const stpy_dtype *dtype = stpy_dtype_of(data->dtype);
    if (!state->torch.dtypes[data->dtype])
        return stpy_data_refuse(state, data, "this version of torch has no dtype %s", dtype->name);
    if (!dtype->in_torch || state->torch.refused & UINT32_C(1) << data->dtype)
        return tensor_by_bytes(state, data);
    PyObject *tensor = tensor_import(state, data, STPY_EXACT);
    return tensor ? tensor : tensor_refused(state, data);
}

/* -------------------------------------------------------------------------- the user's tensors */

/* Whether a method without arguments says yes; -1 on failure. */
static int says(PyObject *tensor, const char *method)
{
    PyObject *answer = PyObject_CallMethod(tensor, method, NULL);
    int yes = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return yes;
}

/* Whether `tensor.device.type` is `type`; -1 on failure. */
static int is_on(stpy_state *state, PyObject *tensor, const char *type)
{
    PyObject *device = PyObject_GetAttr(tensor, state->names[STPY_NAME_device]);
    PyObject *kind = device ? PyObject_GetAttrString(device, "type") : NULL;
    int same = kind ? 0 : -1;
    if (kind && PyUnicode_Check(kind))
        same = PyUnicode_CompareWithASCIIString(kind, type) == 0;
    Py_XDECREF(kind);
    Py_XDECREF(device);
    return same;
}

/* Whether the elements lie in this process's memory, packed and as they are; -1 on failure. */
static int is_plain(stpy_state *state, PyObject *tensor)
{
    PyObject *type = (PyObject *)Py_TYPE(tensor);
    if (type != state->torch.tensor && type != state->torch.parameter)
        return 0;
    int plain = is_on(state, tensor, "cpu");
    if (plain == 1)
        plain = says(tensor, "is_contiguous");
    if (plain != 1)
        return plain;
    int negative = says(tensor, "is_neg");
    int conjugate = negative ? 0 : says(tensor, "is_conj");
    return negative < 0 || conjugate < 0 ? -1 : !negative && !conjugate;
}

int stpy_torch_target(stpy_state *state, const stpy_data *data, PyObject *out, void **target)
{
    PyObject *dtype = state->torch.dtypes[data->dtype];
    const uint64_t *shape = data->shape;
    uint64_t *packed = NULL;
    int failed = -1;
    if (!dtype) {
        (void)stpy_data_refuse(state, data, "this version of torch has no dtype %s",
                               stpy_dtype_of(data->dtype)->name);
        return -1;
    }
    if (st_dtype_bits(data->dtype) < 8) {
        shape = packed = PyMem_Calloc(data->ndim + 1, sizeof *packed);
        if (!packed)
            PyErr_NoMemory();
        else
            failed = stpy_data_packed_shape(state, data, packed);
    } else {
        failed = 0;
    }
    if (!failed)
        failed = stpy_data_match(state, data, shape, dtype, out);
    PyMem_Free(packed);
    int meta = failed ? -1 : is_on(state, out, "meta");
    int plain = meta ? -1 : is_plain(state, out);
    if (meta > 0)
        (void)stpy_data_refuse(state, data, "out is on the device meta, where nothing is kept");
    *target = NULL;
    if (plain <= 0)
        return plain;
    PyObject *address = PyObject_CallMethodObjArgs(out, state->names[STPY_NAME_data_ptr], NULL);
    if (address)
        *target = PyLong_AsVoidPtr(address);
    Py_XDECREF(address);
    if (!*target && data->size && !PyErr_Occurred())
        (void)stpy_data_refuse(state, data,
                               "out has no memory: its storage was resized to nothing");
    return PyErr_Occurred() ? -1 : 0;
}
