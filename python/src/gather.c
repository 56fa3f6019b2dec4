/* SPDX-License-Identifier: Apache-2.0 */
/* A dict of tensors as entries to write, and whether their memory overlaps. */
#include "gather.h"

#include <stdlib.h>

/* ----------------------------------------------------------------------------------- arena */

typedef struct dims_block {
    struct dims_block *next;
    size_t used;
    size_t room;
    uint64_t at[];
} dims_block;

#define BLOCK_ROOM ((size_t)1000)

uint64_t *stpy_entries_dims(stpy_entries *entries, size_t n)
{
    dims_block *block = entries->arena;
    if (!block || n > block->room - block->used) {
        size_t room = n > BLOCK_ROOM ? n : BLOCK_ROOM;
        if (room > (SIZE_MAX - sizeof *block) / sizeof block->at[0] ||
            !(block = PyMem_Malloc(sizeof *block + room * sizeof block->at[0]))) {
            PyErr_NoMemory();
            return NULL;
        }
        *block = (dims_block){.next = entries->arena, .room = room};
        entries->arena = block;
    }
    uint64_t *out = block->at + block->used;
    block->used += n;
    return out;
}

void stpy_entries_release(stpy_entries *entries)
{
    stpy_entries gone = *entries;
    *entries = (stpy_entries){0}; /* a finaliser may run Python code */
    for (size_t i = 0; i < gone.count; i++) {
        Py_XDECREF(gone.at[i].key);
        Py_XDECREF(gone.at[i].value);
    }
    PyMem_Free(gone.at);
    for (dims_block *block = gone.arena, *next; block; block = next) {
        next = block->next;
        PyMem_Free(block);
    }
}

/* --------------------------------------------------------------------------------- measures */

/* Whether the strides, in bytes, are those of elements of `step` bytes packed in row-major order. */
static bool is_packed(const st_array *array, uint64_t step)
{
    for (uint32_t d = array->ndim; d-- > 0;) {
        uint64_t dim = array->shape[d];
        if (dim != 1 && (array->strides[d] < 0 || (uint64_t)array->strides[d] != step))
            return false;
        step *= dim;
    }
    return true;
}

bool stpy_entry_measure(stpy_entry *entry)
{
    st_array *array = &entry->array;
    uint64_t bits = st_dtype_bits(array->dtype), count = bits;
    bool fits = true;
    for (uint32_t d = 0; d < array->ndim; d++) {
        if (array->shape[d] == 0)
            count = 0;
        else if (count > UINT64_MAX / array->shape[d])
            fits = false;
        else
            count *= array->shape[d];
    }
    if (!fits && count != 0)
        return false;
    entry->size = count / 8;
    if (array->strides && (entry->size == 0 || (bits >= 8 && is_packed(array, bits / 8))))
        array->strides = NULL;
    return true;
}

/* -------------------------------------------------------------------------------- gathering */

/* NumPy or torch are only looked at where they were imported: by whoever made the values. */
static int find_frameworks(stpy_state *state, unsigned take, unsigned *found)
{
    if ((take & STPY_TAKE_NUMPY) && stpy_is_imported("numpy")) {
        if (stpy_numpy_load(state))
            return -1;
        *found |= STPY_TAKE_NUMPY;
    }
    if ((take & STPY_TAKE_TORCH) && stpy_is_imported("torch")) {
        if (stpy_torch_load(state))
            return -1;
        *found |= STPY_TAKE_TORCH;
    }
    return 0;
}

/* Subclasses have hooks of their own, which only the Python side honours. */
static int is_subclass_instance(stpy_state *state, PyObject *value, unsigned found)
{
    int is = 0;
    if (found & STPY_TAKE_NUMPY)
        is = PyObject_IsInstance(value, state->numpy.ndarray);
    if (!is && (found & STPY_TAKE_TORCH))
        is = PyObject_IsInstance(value, state->torch.tensor);
    return is;
}

static int gather_object(stpy_state *state, PyObject *value, unsigned take, unsigned found,
                         stpy_entries *entries, stpy_entry *entry)
{
    PyTypeObject *type = Py_TYPE(value);
    if ((found & STPY_TAKE_NUMPY) && type == (PyTypeObject *)state->numpy.ndarray)
        return stpy_numpy_gather(state, value, entries, entry);
    if ((found & STPY_TAKE_TORCH) && (type == (PyTypeObject *)state->torch.tensor ||
                                      type == (PyTypeObject *)state->torch.parameter)) {
        int plain = stpy_torch_gather(state, value, entries, entry);
        bool refused = plain == STPY_PLAIN && entry->array.strides && !(take & STPY_TAKE_STRIDED);
        return refused ? STPY_ODD : plain;
    }
    if (!(take & STPY_TAKE_DLPACK))
        return STPY_ODD;
    int subclass = is_subclass_instance(state, value, found);
    if (subclass)
        return subclass < 0 ? STPY_FAILED : STPY_ODD;
    return stpy_dlpack_gather(state, value, entries, entry);
}

static int gather_one(stpy_state *state, PyObject *value, unsigned take, unsigned found,
                      stpy_entries *entries, stpy_entry *entry)
{
    if (Py_TYPE(value) == state->spec_type)
        return take & STPY_TAKE_SPECS ? stpy_spec_gather(state, value, entries, entry) : STPY_ODD;
    int plain = gather_object(state, value, take, found, entries, entry);
    /* Elements of the host's order; only specs promise the file's. */
    if (PY_BIG_ENDIAN && plain == STPY_PLAIN && st_dtype_bits(entry->array.dtype) > 8)
        plain = STPY_ODD;
    if (plain != STPY_PLAIN)
        Py_CLEAR(entry->value);
    return plain;
}

int stpy_gather_value(stpy_state *state, PyObject *value, unsigned take, stpy_entries *entries,
                      stpy_entry *entry)
{
    unsigned found = 0;
    *entry = (stpy_entry){0};
    if (find_frameworks(state, take, &found))
        return STPY_FAILED;
    return gather_one(state, value, take, found, entries, entry);
}

int stpy_name_read(PyObject *name, const char **text, uint32_t *len)
{
    Py_ssize_t size;
    *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (!*text)
        return -1;
    if ((size_t)size > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError,
                     "the name of a tensor has %zd bytes, above the limit of 2^32-1", size);
        return -1;
    }
    *len = (uint32_t)size;
    return 0;
}

static int key_read(PyObject *key, stpy_entry *entry)
{
    if (!PyUnicode_Check(key)) {
        PyErr_Format(PyExc_TypeError, "the names of tensors must be str, not %R (%R)", Py_TYPE(key),
                     key);
        return -1;
    }
    if (stpy_name_read(key, &entry->name, &entry->name_len))
        return -1;
    entry->key = Py_NewRef(key);
    return 0;
}

static int raise_changed(void)
{
    PyErr_SetString(PyExc_RuntimeError, "the dict changed while it was saved");
    return STPY_FAILED;
}

static int gather_dict(stpy_state *state, PyObject *dict, unsigned take, stpy_entries *out,
                       PyObject **odd)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    unsigned found = 0;
    if (find_frameworks(state, take, &found))
        return STPY_FAILED;
    while (PyDict_Next(dict, &at, &key, &value)) {
        if (out->count == out->capacity)
            return raise_changed();
        /* What follows may run Python code, which may take them out of the dict. */
        Py_INCREF(key);
        Py_INCREF(value);
        stpy_entry *entry = &out->at[out->count++];
        int plain =
            key_read(key, entry) ? STPY_FAILED : gather_one(state, value, take, found, out, entry);
        if (plain == STPY_ODD)
            *odd = Py_NewRef(key);
        Py_DECREF(value);
        Py_DECREF(key);
        if (plain != STPY_PLAIN)
            return plain;
    }
    /* Nothing is left out in silence. */
    bool all = out->count == out->capacity && (size_t)PyDict_Size(dict) == out->capacity;
    return all ? STPY_PLAIN : raise_changed();
}

int stpy_gather(stpy_state *state, PyObject *dict, unsigned take, stpy_entries *out, PyObject **odd)
{
    int plain = STPY_FAILED;
    *odd = NULL;
    *out = (stpy_entries){0};
    if (!PyDict_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "tensors must be given as a dict, not as %R", Py_TYPE(dict));
        return -1;
    }
    STPY_BEGIN_LOCKED(dict);
    size_t count = (size_t)PyDict_Size(dict);
    out->at = PyMem_Calloc(count ? count : 1, sizeof *out->at);
    if (out->at) {
        out->capacity = count;
        plain = gather_dict(state, dict, take, out, odd);
    } else {
        PyErr_NoMemory();
    }
    STPY_END_LOCKED();
    if (plain != STPY_PLAIN)
        stpy_entries_release(out);
    return plain == STPY_FAILED ? -1 : 0;
}

/* ---------------------------------------------------------------------------------- writing */

int stpy_entry_check(stpy_state *state, PyObject *name, const stpy_entry *entry,
                     const st_tensor *tensor)
{
    uint64_t size = st_tensor_size(tensor);
    if (size == entry->size && (entry->array.data || size == 0))
        return 0;
    const char *beginning =
        "Error while serializing: invalid shape, data type, or offset for tensor";
    if (size == entry->size)
        stpy_raise_text(state, "%s: %R takes %llu bytes, and its address is 0", beginning, name,
                        (unsigned long long)size);
    else
        stpy_raise_text(state, "%s: %R takes %llu bytes, it is given as %llu", beginning, name,
                        (unsigned long long)size, (unsigned long long)entry->size);
    return -1;
}

st_status stpy_entry_write(st_writer *writer, size_t index, const stpy_entry *entry,
                           st_error *error)
{
    const st_array *array = &entry->array;
    if (array->strides)
        return st_writer_write_array(writer, index, array, error);
    return st_writer_write(writer, index, 0, array->data, (size_t)entry->size, error);
}

/* ---------------------------------------------------------------------------------- overlap */

typedef struct extent {
    uintptr_t begin;
    uintptr_t end;
} extent;

static int extents_compare(const void *a, const void *b)
{
    const extent *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* The memory from an entry's first byte to its last. */
static extent extent_of(const stpy_entry *entry)
{
    const st_array *array = &entry->array;
    uintptr_t begin = (uintptr_t)array->data, end = begin;
    if (!array->strides)
        return (extent){begin, begin + (uintptr_t)entry->size};
    for (uint32_t d = 0; d < array->ndim; d++) {
        int64_t stride = array->strides[d];
        uint64_t steps = array->shape[d] - 1;
        if (stride < 0)
            begin -= (uintptr_t)(steps * (0 - (uint64_t)stride));
        else
            end += (uintptr_t)(steps * (uint64_t)stride);
    }
    return (extent){begin, end + st_dtype_bits(array->dtype) / 8};
}

bool stpy_entries_overlap(const stpy_entries *entries)
{
    size_t count = 0;
    uintptr_t end = 0;
    bool overlap = false, sorted = true;
    extent *extents = malloc((entries->count + 1) * sizeof *extents);
    if (!extents)
        return true; /* the exact rule will be asked */
    for (size_t i = 0; i < entries->count; i++) {
        if (entries->at[i].size == 0)
            continue;
        extents[count] = extent_of(&entries->at[i]);
        sorted = sorted && (count == 0 || extents[count - 1].begin <= extents[count].begin);
        count++;
    }
    if (!sorted)
        qsort(extents, count, sizeof *extents, extents_compare);
    for (size_t i = 0; i < count && !overlap; i++) {
        overlap = extents[i].begin < end;
        end = extents[i].end > end ? extents[i].end : end;
    }
    free(extents);
    return overlap;
}
