/* SPDX-License-Identifier: Apache-2.0 */
/* All tensors of a file, or many, as a dict: in one call, and small ones in few reads. */
#include "extension.h"

#include <stdlib.h>

/* Small tensors that lie side by side are read together, as far as this: a read costs more than the bytes. One
 * that outlives the others keeps all of them in memory, so it is not much. */
#define BLOCK_MAX     ((uint64_t)256 << 10)
#define BLOCK_ELEMENT ((uint64_t)16 << 10) /* the largest tensor to share a block */

typedef struct block {
    st_buffer *buffer; /* NULL: none */
    PyObject *memory;  /* _Memory over it, for NumPy and what is behind it */
    char *data;        /* of the byte `begin` of the data section */
    uint64_t begin;
    uint64_t end;
} block;

/* The tensors that go into a dict, in data order. */
typedef struct selection {
    stpy_file *file;
    const size_t *indices; /* NULL: all */
    size_t count;
} selection;

static const st_tensor *selected(const selection *s, size_t i)
{
    return st_file_at(s->file->file, s->indices ? s->indices[i] : i);
}

static void block_drop(block *b)
{
    st_buffer_release(b->buffer);
    Py_XDECREF(b->memory);
    *b = (block){.buffer = NULL};
}

/* Where the small tensors that lie behind one another from `i` on end; its begin if it stands alone. */
static uint64_t block_end(const selection *s, size_t i)
{
    const st_tensor *first = selected(s, i);
    uint64_t end = first->begin;
    size_t n = 0;
    for (; i < s->count; i++, n++) {
        const st_tensor *next = selected(s, i);
        if (next->begin != end || st_tensor_size(next) > BLOCK_ELEMENT ||
            next->end - first->begin > BLOCK_MAX)
            break;
        end = next->end;
    }
    return n > 1 ? end : first->begin;
}

/* Fills the block, whose bytes' place is known. */
static int block_fill(const selection *s, block *b)
{
    stpy_state *state = stpy_state_of((PyObject *)s->file);
    uint64_t size = b->end - b->begin, lead = b->begin % 64; /* as aligned as in the data section */
    const st_tensor bytes = {
        .name = "", .dtype = ST_U8, .shape = &size, .ndim = 1, .begin = b->begin, .end = b->end};
    b->buffer = stpy_buffer_alloc(state, lead + size);
    if (!b->buffer)
        return -1;
    b->data = (char *)st_buffer_data(b->buffer) + lead;
    if (stpy_file_fetch(s->file, &bytes, NULL, b->data, size))
        return -1;
    if (s->file->framework != STPY_TORCH)
        b->memory = stpy_memory_new(state, st_buffer_retain(b->buffer), false);
    return s->file->framework == STPY_TORCH || b->memory ? 0 : -1;
}

/* Reads the block that begins with tensor `i`; leaves none where there is none to read, or where it cannot be:
 * then each tensor is read alone, and one that fails is named. */
static int block_read(const selection *s, size_t i, block *b)
{
    block_drop(b);
    b->begin = selected(s, i)->begin;
    b->end = block_end(s, i);
    if (b->end == b->begin || block_fill(s, b) == 0)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    block_drop(b);
    return 0;
}

/* Tensor `i`, out of the block where it lies in it. */
static PyObject *selected_array(const selection *s, size_t i, bool blocks, block *b)
{
    const st_tensor *tensor = selected(s, i);
    bool inside = b->buffer && tensor->begin >= b->begin && tensor->end <= b->end;
    if (blocks && !inside && block_read(s, i, b))
        return NULL;
    stpy_data data = stpy_data_of(s->file, tensor, NULL);
    data.data = b->buffer ? b->data + (tensor->begin - b->begin) : NULL;
    if (!b->buffer || !stpy_is_aligned(data.data, tensor->dtype))
        return stpy_file_tensor(s->file, tensor);
    data.buffer = b->buffer;
    data.memory = b->memory;
    return stpy_data_array(stpy_state_of((PyObject *)s->file), &data, s->file);
}

/* Whether tensors are going to be read rather than seen. */
static bool reads_tensors(stpy_file *self)
{
    if (self->device || stpy_must_swap(ST_U64))
        return false;
    return self->backend == STPY_PREAD || !stpy_file_map(self);
}

static int dict_fill(const selection *s, PyObject *dict)
{
    block b = {.buffer = NULL};
    bool blocks = reads_tensors(s->file);
    int failed = 0;
    for (size_t i = 0; i < s->count && !failed; i++) {
        const st_tensor *tensor = selected(s, i);
        PyObject *name = PyUnicode_DecodeUTF8(tensor->name, (Py_ssize_t)tensor->name_len, NULL);
        PyObject *array = name ? selected_array(s, i, blocks, &b) : NULL;
        failed = array ? PyDict_SetItem(dict, name, array) : -1;
        Py_XDECREF(array);
        Py_XDECREF(name);
    }
    block_drop(&b);
    return failed;
}

static int compare_indices(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Finds the named tensors, each once: their number, or -1. */
static Py_ssize_t indices_of(stpy_file *self, PyObject *names, size_t *out)
{
    Py_ssize_t count = PyList_Size(names), kept = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        const st_tensor *tensor = stpy_file_find(self, PyList_GetItem(names, i));
        if (!tensor)
            return -1;
        out[i] = st_header_index(st_file_header(self->file), tensor);
    }
    qsort(out, (size_t)count, sizeof *out, compare_indices);
    for (Py_ssize_t i = 0; i < count; i++)
        if (kept == 0 || out[i] != out[kept - 1])
            out[kept++] = out[i];
    return kept;
}

/* A dict of the selection; the collector rests. */
static PyObject *dict_of(const selection *s)
{
    PyObject *dict = PyDict_New();
    if (!dict)
        return NULL;
    /* Tensors are tracked by the collector, which would go over all of them again and again. */
    int collecting = PyGC_Disable();
    if (dict_fill(s, dict))
        Py_CLEAR(dict);
    if (collecting)
        PyGC_Enable();
    return dict;
}

/* All in one go, so that the copies to the device follow each other. */
static PyObject *dict_on_device(stpy_file *self, PyObject *names)
{
    PyObject *read = stpy_import("safetensors._device", "tensors");
    PyObject *dict = NULL;
    names = names ? Py_NewRef(names) : stpy_file_offset_keys(self);
    if (read && names)
        dict = PyObject_CallFunctionObjArgs(read, (PyObject *)self, names, self->device, NULL);
    Py_XDECREF(names);
    Py_XDECREF(read);
    return dict;
}

PyObject *stpy_file_tensors(stpy_file *self, PyObject *names)
{
    if (self->device)
        return dict_on_device(self, names);
    selection s = {self, NULL, st_file_count(self->file)};
    if (!names)
        return dict_of(&s);
    size_t *indices = PyMem_Calloc((size_t)PyList_Size(names) + 1, sizeof *indices);
    if (!indices)
        return PyErr_NoMemory();
    Py_ssize_t kept = indices_of(self, names, indices);
    s.indices = indices;
    s.count = (size_t)kept;
    PyObject *dict = kept < 0 ? NULL : dict_of(&s);
    PyMem_Free(indices);
    return dict;
}
