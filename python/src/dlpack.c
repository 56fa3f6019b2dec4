/* SPDX-License-Identifier: Apache-2.0 */
/* Memory described as the DLPack standard has it, for torch and for any other consumer. */
#include "dlpack.h"

#include <stdlib.h>

static const dl_version own_version = {1, 3};

/* ------------------------------------------------------------------------------ descriptions */

static void managed_free(stpy_managed *managed)
{
    st_buffer_release(managed->buffer);
    free(managed);
}

void stpy_managed_free(stpy_managed *managed)
{
    managed_free(managed);
}

void stpy_managed_hand_over(stpy_managed *managed)
{
    managed->guarded = false;
    if (managed->released)
        managed_free(managed);
}

static void managed_release(stpy_managed *managed)
{
    if (managed->guarded)
        managed->released = true;
    else
        managed_free(managed);
}

static void legacy_delete(dl_managed *self)
{
    if (self)
        managed_release((stpy_managed *)self);
}

static void versioned_delete(dl_managed_versioned *self)
{
    if (self)
        managed_release((stpy_managed *)self);
}

/* Dimensions that no framework could count: a tensor without elements may have them. */
static int dims_check(stpy_state *state, const stpy_data *data)
{
    for (uint32_t i = 0; i < data->ndim; i++)
        if (data->shape[i] > INT64_MAX) {
            (void)stpy_data_refuse(state, data, "dimension %u is %llu, above the limit of 2^63-1",
                                   i, (unsigned long long)data->shape[i]);
            return -1;
        }
    return 0;
}

/* The shape as the other side counts it, and the strides of packed elements: those of a tensor without
 * elements mean nothing, but must not overflow. */
static void dims_fill(int64_t *out, const uint64_t *shape, uint32_t ndim)
{
    int64_t stride = 1;
    for (uint32_t i = ndim; i-- > 0;) {
        out[i] = (int64_t)shape[i];
        out[ndim + i] = stride;
        if (out[i] > 1)
            stride = stride > INT64_MAX / out[i] ? INT64_MAX : stride * out[i];
    }
}

static stpy_managed *managed_alloc(const stpy_data *data, uint32_t ndim)
{
    /* malloc's own: see memory_free of memory.c. A validated header has fewer than 2^27 dimensions. */
    stpy_managed *managed = malloc(sizeof *managed + 2 * (size_t)ndim * sizeof(int64_t));
    if (!managed) {
        PyErr_NoMemory();
        return NULL;
    }
    managed->buffer = st_buffer_retain(data->buffer);
    managed->guarded = true;
    managed->released = false;
    return managed;
}

/* How many dimensions the other side is told, and which: `packed` has room for the tensor's own. */
static const uint64_t *told_shape(stpy_state *state, const stpy_data *data, enum stpy_form form,
                                  uint64_t *packed, uint32_t *ndim)
{
    uint32_t bits = st_dtype_bits(data->dtype);
    *ndim = data->ndim;
    if (data->dtype == ST_F4 || (form == STPY_BYTES && bits < 8))
        return stpy_data_packed_shape(state, data, packed) ? NULL : packed;
    if (form == STPY_EXACT || bits == 8)
        return data->shape;
    *ndim = 1;
    return &data->size;
}

static void describe(stpy_managed *managed, const stpy_data *data, enum stpy_form form,
                     uint32_t ndim, bool versioned)
{
    const stpy_dtype *dtype = stpy_dtype_of(form == STPY_BYTES ? ST_U8 : data->dtype);
    dl_tensor tensor = {.data = data->size ? data->data : NULL,
                        .device = {DL_CPU, 0},
                        .ndim = (int32_t)ndim,
                        .dtype = {dtype->dl_code, dtype->dl_bits, dtype->dl_lanes},
                        .shape = managed->dims,
                        .strides = managed->dims + ndim};
    if (versioned)
        managed->as.versioned = (dl_managed_versioned){.version = own_version,
                                                       .deleter = versioned_delete,
                                                       .flags = data->readonly ? DL_READ_ONLY : 0,
                                                       .tensor = tensor};
    else
        managed->as.legacy = (dl_managed){.tensor = tensor, .deleter = legacy_delete};
}

stpy_managed *stpy_managed_new(stpy_state *state, const stpy_data *data, enum stpy_form form,
                               bool versioned)
{
    uint64_t few[8], *packed = few;
    if (dims_check(state, data))
        return NULL;
    if (data->ndim > 8 && st_dtype_bits(data->dtype) < 8) {
        packed = malloc(data->ndim * sizeof *packed);
        if (!packed) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    uint32_t ndim;
    stpy_managed *managed = NULL;
    const uint64_t *shape = told_shape(state, data, form, packed, &ndim);
    if (shape)
        managed = managed_alloc(data, ndim);
    if (managed) {
        dims_fill(managed->dims, shape, ndim);
        describe(managed, data, form, ndim, versioned);
    }
    if (packed != few)
        free(packed);
    return managed;
}

/* ---------------------------------------------------------------------------------- capsules */

PyObject *stpy_managed_capsule(stpy_managed *managed)
{
    return PyCapsule_New(managed, "dltensor", NULL);
}

/* Of a capsule that nobody took: with the GIL, where a deleter has none. */
static void capsule_drop(PyObject *capsule)
{
    static const char *const untaken[] = {"dltensor", "dltensor_versioned"};
    for (size_t i = 0; i < 2; i++)
        if (PyCapsule_IsValid(capsule, untaken[i]))
            managed_free(PyCapsule_GetPointer(capsule, untaken[i]));
}

PyObject *stpy_dlpack_capsule(stpy_state *state, const stpy_data *data, bool versioned)
{
    if (data->readonly && !versioned) {
        PyErr_SetString(
            PyExc_BufferError,
            "read-only memory can only be exported to consumers of DLPack 1.0 and later");
        return NULL;
    }
    stpy_managed *managed = stpy_managed_new(state, data, STPY_EXACT, versioned);
    if (!managed)
        return NULL;
    PyObject *capsule =
        PyCapsule_New(managed, versioned ? "dltensor_versioned" : "dltensor", capsule_drop);
    if (!capsule)
        managed_free(managed);
    else
        stpy_managed_hand_over(managed);
    return capsule;
}
