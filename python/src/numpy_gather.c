/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy arrays as entries to write. */
#include "gather.h"

/* What the capsule of __array_struct__ holds (NumPy's array interface, version 3). */
typedef struct array_interface {
    int two; /* 2: a sanity check */
    int nd;
    char typekind;
    int itemsize;
    int flags;
    Py_intptr_t *shape;
    Py_intptr_t *strides; /* in bytes */
    void *data;
    PyObject *descr;
} array_interface;

#define NOT_SWAPPED 0x200 /* of `flags`: elements are in the host's byte order */

/* ----------------------------------------------------------------------------------- dtypes */

static bool is_unpacked(st_dtype dtype)
{
    return st_dtype_bits(dtype) < 8;
}

/* By name, for instances that are not NumPy's own: np.longlong, a dtype with metadata. 0 without an
 * exception: none of ours. */
static st_dtype dtype_by_name(stpy_state *state, PyObject *dtype, const array_interface *array)
{
    Py_ssize_t len;
    PyObject *text = PyObject_GetAttr(dtype, state->names[STPY_NAME_name]);
    const char *name = text && PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;
    st_dtype found = 0;
    if (name)
        found = strcmp(name, "float4_e2m1fn") == 0 ? ST_F4 : stpy_dtype_find(name, (size_t)len);
    Py_XDECREF(text);
    uint32_t bits = is_unpacked(found) ? 8 : st_dtype_bits(found);
    if (!found || bits != (uint32_t)array->itemsize * 8)
        return 0;
    /* The next one is known by its address. */
    return stpy_numpy_dtype(state, found) || stpy_odd_error() == STPY_ODD ? found : 0;
}

static st_dtype dtype_of(stpy_state *state, PyObject *value, const array_interface *array)
{
    PyObject *dtype = PyObject_GetAttr(value, state->names[STPY_NAME_dtype]);
    st_dtype found = 0;
    if (!dtype)
        return 0;
    for (st_dtype d = 1; d <= ST_DTYPE_COUNT && !found; d++)
        if (state->numpy.dtypes[d] == dtype)
            found = d;
    if (!found)
        found = dtype_by_name(state, dtype, array);
    Py_DECREF(dtype);
    return found;
}

/* ---------------------------------------------------------------------------------- packing */

/* Elements of `bits` bits, one in the low bits of each byte of `from`, as a little-endian stream of bits. */
static void bits_pack(unsigned char *to, const unsigned char *from, uint64_t count, uint32_t bits)
{
    uint32_t mask = (1u << bits) - 1, held = 0, filled = 0;
    for (uint64_t i = 0; i < count; i++) {
        held |= (from[i] & mask) << filled;
        filled += bits;
        if (filled >= 8) {
            *to++ = (unsigned char)held;
            held >>= 8;
            filled -= 8;
        }
    }
}

/* ml_dtypes' F4 and F6 have a byte for each element; the file has none to spare. */
static int entry_pack(stpy_entry *entry)
{
    uint32_t bits = st_dtype_bits(entry->array.dtype);
    const unsigned char *from = entry->array.data;
    uint64_t count = 1;
    for (uint32_t d = 0; d < entry->array.ndim; d++)
        count *= entry->array.shape[d];
    PyObject *packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)entry->size);
    if (!packed)
        return -1;
    unsigned char *to = (unsigned char *)PyBytes_AsString(packed);
    Py_BEGIN_ALLOW_THREADS
    bits_pack(to, from, count, bits);
    Py_END_ALLOW_THREADS
    entry->array.data = to;
    Py_DECREF(entry->value);
    entry->value = packed;
    return 0;
}

/* -------------------------------------------------------------------------------- gathering */

static int describe(const array_interface *array, st_dtype dtype, stpy_entries *entries,
                    stpy_entry *entry)
{
    size_t ndim = (size_t)array->nd;
    uint64_t *shape = stpy_entries_dims(entries, 2 * ndim);
    if (!shape)
        return -1;
    int64_t *strides = (int64_t *)(void *)(shape + ndim);
    for (size_t d = 0; d < ndim; d++) {
        shape[d] = (uint64_t)array->shape[d];
        strides[d] = array->strides[d];
    }
    entry->array = (st_array){.data = array->data,
                              .shape = shape,
                              .strides = strides,
                              .ndim = (uint32_t)ndim,
                              .dtype = dtype};
    return 0;
}

/* F4 and F6 have to be packed in memory to be packed once more; other strides are the writer's affair. */
static bool is_unpacked_strided(const stpy_entry *entry, const array_interface *array)
{
    int64_t step = 1;
    if (!is_unpacked(entry->array.dtype) || !entry->size)
        return false;
    for (int d = array->nd; d-- > 0; step *= array->shape[d])
        if (array->shape[d] != 1 && array->strides[d] != step)
            return true;
    return false;
}

static int gather(stpy_state *state, PyObject *value, const array_interface *array,
                  stpy_entries *entries, stpy_entry *entry)
{
    st_dtype dtype = array->flags & NOT_SWAPPED ? dtype_of(state, value, array) : 0;
    if (!dtype)
        return PyErr_Occurred() ? stpy_odd_error() : STPY_ODD;
    if (describe(array, dtype, entries, entry))
        return STPY_FAILED;
    if (!stpy_entry_measure(entry) || is_unpacked_strided(entry, array))
        return STPY_ODD;
    entry->value = Py_NewRef(value);
    if (is_unpacked(dtype)) {
        entry->array.strides = NULL;
        if (entry_pack(entry))
            return STPY_FAILED;
    }
    return STPY_PLAIN;
}

int stpy_numpy_gather(stpy_state *state, PyObject *value, stpy_entries *entries, stpy_entry *entry)
{
    PyObject *capsule = PyObject_GetAttr(value, state->names[STPY_NAME___array_struct__]);
    if (!capsule)
        return stpy_odd_error();
    int plain = STPY_ODD;
    const array_interface *array = PyCapsule_GetPointer(capsule, NULL);
    if (!array)
        PyErr_Clear();
    else if (array->two == 2)
        plain = gather(state, value, array, entries, entry);
    Py_DECREF(capsule);
    return plain;
}
