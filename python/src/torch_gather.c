/* SPDX-License-Identifier: Apache-2.0 */
/* torch tensors as entries to write. */
#include "dlpack.h"
#include "gather.h"

/* A bit that torch keeps beside the memory, where DLPack does not show it: conjugated, negated. */
static int is_flagged(PyObject *tensor, PyObject *method)
{
    PyObject *flag = PyObject_CallMethodObjArgs(tensor, method, NULL);
    if (!flag)
        return -1;
    int is = flag != Py_False;
    Py_DECREF(flag);
    return is;
}

static int is_lazy(stpy_state *state, PyObject *tensor, st_dtype dtype)
{
    int is = is_flagged(tensor, state->names[STPY_NAME_is_neg]);
    if (!is && dtype == ST_C64)
        is = is_flagged(tensor, state->names[STPY_NAME_is_conj]);
    return is;
}

/* The dtype object tells what DLPack's codes do not: torch.uint4 calls itself U8 there. */
static st_dtype dtype_of(stpy_state *state, PyObject *tensor)
{
    PyObject *dtype = PyObject_GetAttr(tensor, state->names[STPY_NAME_dtype]);
    st_dtype found = 0;
    if (!dtype)
        return 0;
    for (st_dtype d = 1; d <= ST_DTYPE_COUNT && !found; d++)
        if (state->torch.dtypes[d] == dtype)
            found = d;
    Py_DECREF(dtype);
    return found;
}

/* torch before 2.10: a capsule, which is left as it is and frees by itself. */
static int by_capsule(PyObject *value, st_dtype dtype, stpy_entries *entries, stpy_entry *entry)
{
    PyObject *to_capsule = stpy_import("torch._C", "_to_dlpack");
    PyObject *capsule = to_capsule ? PyObject_CallFunctionObjArgs(to_capsule, value, NULL) : NULL;
    const dl_managed *managed = capsule ? PyCapsule_GetPointer(capsule, "dltensor") : NULL;
    int plain = managed ? STPY_ODD : stpy_odd_error();
    if (managed && managed->tensor.device.type == DL_CPU)
        plain = stpy_dl_gather(&managed->tensor, dtype, entries, entry);
    Py_XDECREF(capsule);
    Py_XDECREF(to_capsule);
    return plain;
}

/* Sparse, meta and quantized tensors are refused by torch; Python has the words for them. */
static int by_exchange(const dl_exchange *exchange, PyObject *value, st_dtype dtype,
                       stpy_entries *entries, stpy_entry *entry)
{
    dl_tensor tensor;
    if (exchange->borrow(value, &tensor))
        return stpy_odd_error();
    return tensor.device.type == DL_CPU ? stpy_dl_gather(&tensor, dtype, entries, entry) : STPY_ODD;
}

int stpy_torch_gather(stpy_state *state, PyObject *value, stpy_entries *entries, stpy_entry *entry)
{
    const dl_exchange *exchange = state->torch.exchange;
    st_dtype dtype = dtype_of(state, value);
    int lazy = dtype ? is_lazy(state, value, dtype) : 0;
    if (PyErr_Occurred())
        return stpy_odd_error();
    if (!dtype || lazy)
        return STPY_ODD;
    int plain = exchange && exchange->borrow ? by_exchange(exchange, value, dtype, entries, entry)
                                             : by_capsule(value, dtype, entries, entry);
    if (plain == STPY_PLAIN)
        entry->value = Py_NewRef(value);
    return plain;
}
