/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of any other library that speaks DLPack as entries to write. */
#include "dlpack.h"
#include "gather.h"

static st_dtype dtype_of(const dl_tensor *tensor)
{
    for (st_dtype d = 1; d <= ST_DTYPE_COUNT; d++) {
        const stpy_dtype *names = stpy_dtype_of(d);
        if (names->dl_code == tensor->dtype.code && names->dl_bits == tensor->dtype.bits &&
            names->dl_lanes == tensor->dtype.lanes && d != ST_F6_E2M3 && d != ST_F6_E3M2)
            return d;
    }
    return 0;
}

/* The strides in bytes, or false where they are those of packed elements. F4's come in pairs. */
static bool strides_fill(const dl_tensor *tensor, uint64_t step, int64_t *out)
{
    uint64_t expected = 1; /* may wrap where a tensor is empty, and its strides do not matter */
    bool packed = true;
    for (int32_t d = tensor->ndim; d-- > 0;) {
        uint64_t stride = tensor->strides ? (uint64_t)tensor->strides[d] : expected;
        packed = packed && (tensor->shape[d] == 1 || stride == expected);
        out[d] = (int64_t)(stride * step);
        expected *= (uint64_t)tensor->shape[d];
    }
    return !packed;
}

int stpy_dl_gather(const dl_tensor *tensor, st_dtype dtype, stpy_entries *entries,
                   stpy_entry *entry)
{
    if (tensor->ndim < 0)
        return STPY_ODD;
    size_t ndim = (size_t)tensor->ndim;
    uint64_t *shape = stpy_entries_dims(entries, 2 * ndim);
    if (!shape)
        return STPY_FAILED;
    int64_t *strides = (int64_t *)(void *)(shape + ndim);
    for (size_t d = 0; d < ndim; d++) {
        if (tensor->shape[d] < 0)
            return STPY_ODD;
        shape[d] = (uint64_t)tensor->shape[d];
    }
    bool strided = strides_fill(tensor, dtype == ST_F4 ? 1 : st_dtype_bits(dtype) / 8, strides);
    if (dtype == ST_F4 && ndim)
        shape[ndim - 1] *= 2;  /* of 2^63-1 at most */
    char *data = tensor->data; /* NULL where there is no element */
    entry->array = (st_array){.data = data ? data + tensor->byte_offset : NULL,
                              .shape = shape,
                              .strides = strided ? strides : NULL,
                              .ndim = (uint32_t)ndim,
                              .dtype = dtype};
    if (!stpy_entry_measure(entry) || (!tensor->data && entry->size))
        return STPY_ODD;
    /* The writer gathers whole bytes only. */
    return dtype == ST_F4 && entry->array.strides ? STPY_ODD : STPY_PLAIN;
}

int stpy_dlpack_gather(stpy_state *state, PyObject *value, stpy_entries *entries, stpy_entry *entry)
{
    PyObject *capsule = PyObject_CallMethodObjArgs(value, state->names[STPY_NAME___dlpack__], NULL);
    const dl_tensor *tensor = NULL;
    int plain = STPY_ODD;
    if (!capsule)
        return stpy_odd_error();
    if (PyCapsule_IsValid(capsule, "dltensor")) {
        tensor = &((dl_managed *)PyCapsule_GetPointer(capsule, "dltensor"))->tensor;
    } else if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        dl_managed_versioned *managed = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        tensor = managed->version.major == 1 ? &managed->tensor : NULL;
    }
    st_dtype dtype = tensor ? dtype_of(tensor) : 0;
    if (dtype && tensor->device.type == DL_CPU)
        plain = stpy_dl_gather(tensor, dtype, entries, entry);
    if (plain == STPY_PLAIN)
        entry->value = Py_NewRef(capsule); /* not taken: it frees when it goes */
    Py_DECREF(capsule);
    return plain;
}
