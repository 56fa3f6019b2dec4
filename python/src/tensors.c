/* SPDX-License-Identifier: Apache-2.0 */
/* All tensors of a file, or many, or those of many files, as a dict: in one call. */
#include "extension.h"

#include <stdlib.h>

/* How far a load may be ahead of the frameworks that copy what they are given. */
#define COPIED_AHEAD ((uint64_t)256 << 20)
/* From this size on jax takes memory over that is aligned for it, which the load's own is only by chance. */
#define JAX_TAKES_OVER ((uint64_t)1 << 20)

/* One of the dict's. */
typedef struct entry {
    stpy_file *file; /* borrowed */
    const st_tensor *tensor;
    PyObject *array;   /* owned; NULL: not there yet */
    st_buffer *buffer; /* owned: memory to load it into; NULL: the load's */
} entry;

/* The tensors that go into a dict, in its order. */
typedef struct selection {
    stpy_state *state;
    entry *entries;
    size_t count;
    /* While they are loaded: */
    st_load_item *items;
    size_t *entry_of; /* the items' entries, by number */
    size_t item_count;
    size_t taken;
    st_buffer *block; /* owned: where the last one lay, and */
    PyObject *memory; /* owned: _Memory over it */
} selection;

static void selection_release(selection *s)
{
    for (size_t i = 0; s->entries && i < s->count; i++) {
        Py_XDECREF(s->entries[i].array);
        st_buffer_release(s->entries[i].buffer);
    }
    st_buffer_release(s->block);
    Py_XDECREF(s->memory);
    PyMem_Free(s->entries);
    PyMem_Free(s->items);
    PyMem_Free(s->entry_of);
}

/* --------------------------------------------------------------------------------- one by one */

/* Whether a file's tensors are views of its one mapping. */
static bool is_seen(stpy_file *file)
{
    return !file->loads && !stpy_must_swap(ST_U64) && stpy_file_map(file);
}

/* Makes what is seen; what is to be loaded becomes an item. What has no bytes needs none. */
static int entries_begin(selection *s)
{
    const stpy_file *last = NULL;
    bool seen = false;
    for (size_t i = 0; i < s->count; i++) {
        entry *e = &s->entries[i];
        if (e->file != last)
            seen = is_seen(e->file);
        last = e->file;
        if (seen || st_tensor_size(e->tensor) == 0) {
            e->array = seen ? stpy_file_tensor(e->file, e->tensor)
                            : stpy_file_part(e->file, e->tensor, NULL);
            if (!e->array)
                return -1;
        } else {
            s->entry_of[s->item_count++] = i;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------------------------ loading */

/* Notes in `data` where a tensor was loaded to. All of one block share one _Memory. */
static int entry_place(selection *s, const entry *e, const st_loaded *done, stpy_data *data)
{
    st_buffer *buffer = e->buffer ? e->buffer : done->buffer;
    data->data = done->data;
    data->buffer = buffer;
    if (e->file->framework == STPY_TORCH)
        return 0;
    if (s->block != buffer) {
        st_buffer_release(s->block);
        Py_CLEAR(s->memory);
        s->block = st_buffer_retain(buffer);
        s->memory = stpy_memory_new(s->state, st_buffer_retain(buffer), false);
    }
    data->memory = s->memory;
    return s->memory ? 0 : -1;
}

/* Makes an array of what was loaded. A view that lies at an odd address is read instead, but for torch. */
static int entry_take(void *ctx, const st_loaded *done)
{
    selection *s = ctx;
    entry *e = &s->entries[s->entry_of[done->item]];
    s->taken++;
    stpy_data data = stpy_data_of(e->file, e->tensor, NULL);
    if (e->file->framework != STPY_TORCH && !stpy_is_aligned(done->data, e->tensor->dtype)) {
        e->array = stpy_file_part(e->file, e->tensor, NULL);
        return e->array ? 0 : -1;
    }
    stpy_loaded_swap(e->tensor->dtype, done);
    if (entry_place(s, e, done, &data))
        return -1;
    e->array = stpy_data_array(s->state, &data, e->file);
    st_buffer_release(e->buffer);
    e->buffer = NULL;
    return e->array ? 0 : -1;
}

static int items_make(selection *s)
{
    s->items = PyMem_Calloc(s->item_count, sizeof *s->items);
    if (!s->items) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < s->item_count; i++) {
        entry *e = &s->entries[s->entry_of[i]];
        uint64_t size = st_tensor_size(e->tensor);
        s->items[i] = (st_load_item){.file = e->file->file, .tensor = e->tensor};
        if (e->file->framework != STPY_FLAX || size < JAX_TAKES_OVER)
            continue;
        const stpy_data data = stpy_data_of(e->file, e->tensor, NULL);
        e->buffer = stpy_data_alloc(s->state, &data, size);
        if (!e->buffer)
            return -1;
        s->items[i].dst = st_buffer_data(e->buffer);
        s->items[i].size = (size_t)size;
    }
    return 0;
}

/* Reads one by one, which takes less memory, and tells for which tensor it cannot be. */
static int items_read(selection *s)
{
    for (size_t i = 0; i < s->item_count; i++) {
        entry *e = &s->entries[s->entry_of[i]];
        if (e->array)
            continue;
        e->array = stpy_file_part(e->file, e->tensor, NULL);
        if (!e->array)
            return -1;
    }
    return 0;
}

static int items_load(selection *s)
{
    enum stpy_framework framework = s->entries[0].file->framework;
    bool copied = framework == STPY_TENSORFLOW || framework == STPY_FLAX || framework == STPY_MLX;
    st_status status;
    st_error error;
    if (items_make(s))
        return -1;
    const stpy_loading loading = {.items = s->items,
                                  .count = s->item_count,
                                  .views = s->entries[s->entry_of[0]].file->backend == STPY_AUTO &&
                                           !stpy_must_swap(ST_U64),
                                  .max_ahead = copied ? COPIED_AHEAD : 0,
                                  .take = entry_take,
                                  .ctx = s};
    if (stpy_loading_run(s->state, &loading, &status, &error))
        return -1;
    /* Before the first tensor it can be the file that is wrong, and not one of them. */
    if (status == ST_ERR_NOMEM || (status != ST_OK && s->taken == 0))
        return items_read(s);
    if (status != ST_OK)
        stpy_raise(s->state, &error, STPY_READ, NULL);
    return status == ST_OK ? 0 : -1;
}

/* ---------------------------------------------------------------------------------- the dicts */

static PyObject *name_of(const st_tensor *tensor)
{
    return PyUnicode_DecodeUTF8(tensor->name, (Py_ssize_t)tensor->name_len, NULL);
}

static PyObject *dict_fill(const selection *s)
{
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < s->count; i++) {
        PyObject *name = name_of(s->entries[i].tensor);
        if (!name || PyDict_SetItem(dict, name, s->entries[i].array))
            Py_CLEAR(dict);
        Py_XDECREF(name);
    }
    return dict;
}

/* A dict of the selection; the collector rests. */
static PyObject *dict_of(selection *s)
{
    PyObject *dict = NULL;
    s->entry_of = PyMem_Calloc(s->count + 1, sizeof *s->entry_of);
    if (!s->entry_of)
        return PyErr_NoMemory();
    /* Tensors are tracked by the collector, which would go over all of them again and again. */
    int collecting = PyGC_Disable();
    if (entries_begin(s) == 0 && (s->item_count == 0 || items_load(s) == 0))
        dict = dict_fill(s);
    if (collecting)
        PyGC_Enable();
    return dict;
}

static int compare_entries(const void *a, const void *b)
{
    const st_tensor *x = ((const entry *)a)->tensor, *y = ((const entry *)b)->tensor;
    return (x > y) - (x < y);
}

/* Puts the named tensors of a file, each once, behind those that are there already; in data order. */
static int entries_add(selection *s, stpy_file *file, PyObject *names)
{
    size_t count = names ? (size_t)PyList_Size(names) : st_file_count(file->file), kept = 0;
    entry *all = PyMem_Realloc(s->entries, (s->count + count + 1) * sizeof *all);
    if (!all) {
        PyErr_NoMemory();
        return -1;
    }
    s->entries = all;
    entry *own = all + s->count;
    for (size_t i = 0; i < count; i++) {
        const st_tensor *tensor = names ? stpy_file_find(file, PyList_GetItem(names, (Py_ssize_t)i))
                                        : st_file_at(file->file, i);
        if (!tensor)
            return -1;
        own[i] = (entry){.file = file, .tensor = tensor};
    }
    if (names) /* tensors of one header lie one behind the other */
        qsort(own, count, sizeof *own, compare_entries);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || own[i].tensor != own[kept - 1].tensor)
            own[kept++] = own[i];
    s->count += kept;
    return 0;
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
    selection s = {.state = stpy_state_of((PyObject *)self)};
    PyObject *dict = entries_add(&s, self, names) ? NULL : dict_of(&s);
    selection_release(&s);
    return dict;
}

/* ------------------------------------------------------------------------------ several files */

static int file_add(selection *s, PyObject *file, PyObject *names)
{
    if (!Py_IS_TYPE(file, s->state->file_type) || (names != Py_None && !PyList_Check(names))) {
        PyErr_SetString(PyExc_TypeError, "files, each with a list of names or None, are needed");
        return -1;
    }
    return entries_add(s, (stpy_file *)file, names == Py_None ? NULL : names);
}

PyObject *stpy_load_files(PyObject *module, PyObject *args)
{
    selection s = {.state = stpy_state_of_module(module)};
    PyObject *files, *names, *dict = NULL;
    if (!PyArg_ParseTuple(args, "O!O!:_load_files", &PyTuple_Type, &files, &PyTuple_Type, &names))
        return NULL;
    Py_ssize_t count = PyTuple_Size(files);
    if (PyTuple_Size(names) != count)
        return PyErr_Format(PyExc_ValueError, "as many lists of names as files are needed");
    int failed = 0;
    for (Py_ssize_t i = 0; i < count && !failed; i++)
        failed = file_add(&s, PyTuple_GetItem(files, i), PyTuple_GetItem(names, i));
    if (!failed)
        dict = dict_of(&s);
    selection_release(&s);
    return dict;
}
