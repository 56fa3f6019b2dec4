/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What safetensors/_prefetch.py and _device.py read by: many tensors, or parts of them, in one load, without
 * the GIL. One that cannot be read does not keep the others back.
 */
#include "extension.h"

/* ------------------------------------------------------------------------------------ parts */

/* One tensor, or a part of it. */
typedef struct part {
    const st_tensor *tensor;  /* of the header */
    const st_tensor *counted; /* as its framework counts it */
    void *memory;             /* owned: of `counted` */
    st_region region;
    bool is_part;      /* `region` is made */
    PyObject *index;   /* borrowed of `parts`: what is applied to the whole array; or NULL */
    uint64_t size;     /* bytes to read */
    st_buffer *buffer; /* owned, or NULL */
    void *data;
    bool loaded; /* its bytes are there */
    st_status status;
    st_error error;
    PyObject *failure; /* owned: the exception, instead of a result */
} part;

/* The exception that is set, taken away. NULL: it is none of a tensor's, such as KeyboardInterrupt, and
 * stays set. */
static PyObject *exception_taken(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback && value)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static int part_index(stpy_state *state, part *self, PyObject *index)
{
    stpy_index items;
    enum stpy_index_kind kind = stpy_index_read(state, index, self->counted, false, &items);
    if (kind == STPY_INDEX_FAILED)
        return -1;
    if (kind == STPY_INDEX_OTHER || items.empty_list) {
        PyErr_Format(PyExc_TypeError,
                     "only integers, slices, Ellipsis and None can be read ahead, not %R", index);
        return -1;
    }
    st_error error;
    st_status status = st_region_init(&self->region, state->context, self->counted, items.items,
                                      items.count, &error);
    if (status == ST_ERR_INDEX_MISALIGNED) {
        /* F4 or F6 to be unpacked, which a part of a byte cannot be: all of it is, and then indexed. */
        self->index = index;
        return 0;
    }
    if (status != ST_OK) {
        stpy_raise(state, &error, STPY_SLICE, NULL);
        return -1;
    }
    self->is_part = true;
    self->size = self->region.size;
    return 0;
}

/* Resolves `index`, None being the whole tensor. `self` is zeroed. */
static int part_open(stpy_state *state, part *self, stpy_file *file, PyObject *name,
                     PyObject *index)
{
    self->tensor = stpy_file_find(file, name);
    if (!self->tensor)
        return -1;
    self->size = st_tensor_size(self->tensor);
    self->counted = stpy_file_counted(file, self->tensor, &self->memory);
    if (!self->counted)
        return -1;
    return index == Py_None ? 0 : part_index(state, self, index);
}

static void part_close(part *self)
{
    if (self->is_part)
        st_region_release(&self->region);
    PyMem_Free(self->memory);
    st_buffer_release(self->buffer);
    Py_CLEAR(self->failure);
}

/* Called without the GIL. */
static void part_read(const stpy_file *file, part *self)
{
    self->status = stpy_file_read_counted(file, self->counted, self->is_part ? &self->region : NULL,
                                          self->data, self->size, &self->error);
}

/* What the framework makes of the bytes. */
static PyObject *part_array(stpy_state *state, stpy_file *file, const part *self)
{
    const stpy_data data = {
        .dtype = self->tensor->dtype,
        .ndim = self->is_part ? self->region.out_ndim : self->counted->ndim,
        .shape = self->is_part ? self->region.shape : self->counted->shape,
        .size = self->size,
        .data = self->data,
        .buffer = self->buffer,
        .name = self->tensor->name,
        .name_len = self->tensor->name_len,
        .counted = self->counted != self->tensor,
    };
    PyObject *array = stpy_data_array(state, &data, file);
    if (!array || !self->index)
        return array;
    PyObject *indexed = PyObject_GetItem(array, self->index);
    Py_DECREF(array);
    return indexed;
}

/* ------------------------------------------------------------------------------------- many */

typedef struct parts {
    part *at;
    Py_ssize_t count;
    PyObject
        *names; /* tuples, as an index may run Python code, which may change the caller's lists */
    PyObject *indices;
} parts;

static void parts_close(parts *self)
{
    for (Py_ssize_t i = 0; i < self->count; i++)
        part_close(&self->at[i]);
    PyMem_Free(self->at);
    Py_XDECREF(self->names);
    Py_XDECREF(self->indices);
}

static int parts_alloc(parts *self, PyObject *names, PyObject *indices)
{
    *self = (parts){.names = PyList_AsTuple(names)};
    self->indices = self->names ? PyList_AsTuple(indices) : NULL;
    if (!self->indices)
        return -1;
    Py_ssize_t count = PyTuple_Size(self->names);
    if (PyTuple_Size(self->indices) != count) {
        PyErr_SetString(PyExc_ValueError, "as many indices as names are needed");
        return -1;
    }
    self->at = PyMem_Calloc((size_t)count + 1, sizeof *self->at);
    if (!self->at) {
        PyErr_NoMemory();
        return -1;
    }
    self->count = count;
    return 0;
}

static int parts_open(stpy_state *state, parts *self, stpy_file *file, PyObject *names,
                      PyObject *indices)
{
    if (parts_alloc(self, names, indices))
        return -1;
    for (Py_ssize_t i = 0; i < self->count; i++)
        if (part_open(state, &self->at[i], file, PyTuple_GetItem(self->names, i),
                      PyTuple_GetItem(self->indices, i))) {
            self->at[i].failure = exception_taken();
            if (!self->at[i].failure)
                return -1;
        }
    return 0;
}

static int part_take(void *ctx, const st_loaded *done)
{
    part *one = ((part **)ctx)[done->item];
    stpy_loaded_swap(one->counted->dtype, done);
    one->loaded = true;
    return 0;
}

/* Loads all that has memory to be read into; `items` and `of`, their parts, have room for as many as there are. What
 * the load did not get to before it failed is left as it is. */
static int parts_load_into(stpy_state *state, const parts *self, const stpy_file *file,
                           st_load_item *items, part **of)
{
    size_t count = 0;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        part *one = &self->at[i];
        if (one->failure || one->size == 0)
            continue;
        items[count] = (st_load_item){.file = file->file,
                                      .tensor = one->counted,
                                      .region = one->is_part ? &one->region : NULL,
                                      .dst = one->data,
                                      .size = (size_t)one->size};
        of[count++] = one;
    }
    st_status status;
    st_error error;
    const stpy_loading loading = {.items = items, .count = count, .take = part_take, .ctx = of};
    return count ? stpy_loading_run(state, &loading, &status, &error) : 0;
}

static int parts_load(stpy_state *state, const parts *self, const stpy_file *file)
{
    st_load_item *items = PyMem_Calloc((size_t)self->count + 1, sizeof *items);
    part **of = PyMem_Calloc((size_t)self->count + 1, sizeof(part *));
    int failed = -1;
    if (items && of)
        failed = parts_load_into(state, self, file, items, of);
    else
        PyErr_NoMemory();
    PyMem_Free(of);
    PyMem_Free(items);
    return failed;
}

/* Reads all that has memory to be read into: in one load, and what that did not get to alone, so that each part has
 * its own failure. */
static int parts_read(stpy_state *state, const parts *self, stpy_file *file)
{
    if (parts_load(state, self, file))
        return -1;
    PyThreadState *thread = PyEval_SaveThread();
    for (Py_ssize_t i = 0; i < self->count; i++)
        if (!self->at[i].failure && !self->at[i].loaded)
            part_read(file, &self->at[i]);
    PyEval_RestoreThread(thread);
    for (Py_ssize_t i = 0; i < self->count; i++)
        if (!self->at[i].failure && self->at[i].status != ST_OK) {
            stpy_raise(state, &self->at[i].error, STPY_READ, file->shown);
            self->at[i].failure = exception_taken();
            if (!self->at[i].failure)
                return -1;
        }
    return 0;
}

/* A list of what `result` makes of each part, or of its exception. */
static PyObject *parts_results(stpy_state *state, const parts *self, stpy_file *file,
                               PyObject *(*result)(stpy_state *, stpy_file *, const part *))
{
    PyObject *list = PyList_New(self->count);
    for (Py_ssize_t i = 0; list && i < self->count; i++) {
        part *one = &self->at[i];
        PyObject *item = one->failure ? Py_NewRef(one->failure) : result(state, file, one);
        if (!item)
            item = exception_taken();
        if (!item || PyList_SetItem(list, i, item))
            Py_CLEAR(list);
    }
    return list;
}

static int arguments_read(PyObject *module, PyObject *args, const char *format, stpy_file **file,
                          PyObject **names, PyObject **indices, PyObject **buffer)
{
    stpy_state *state = stpy_state_of_module(module);
    return PyArg_ParseTuple(args, format, state->file_type, file, &PyList_Type, names, &PyList_Type,
                            indices, buffer)
               ? 0
               : -1;
}

/* Gives each part memory of its own. */
static int buffers_make(stpy_state *state, const parts *self, const stpy_file *file)
{
    for (Py_ssize_t i = 0; i < self->count; i++) {
        part *one = &self->at[i];
        if (one->failure)
            continue;
        stpy_data data = {.name = one->tensor->name, .name_len = one->tensor->name_len};
        if (stpy_data_place(state, &data, file, one->is_part ? NULL : one->tensor, one->size)) {
            one->failure = exception_taken();
            if (!one->failure)
                return -1;
        }
        one->buffer = data.buffer;
        one->data = data.data;
    }
    return 0;
}

PyObject *stpy_read_many(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    stpy_file *file;
    PyObject *names, *indices;
    parts all;
    if (arguments_read(module, args, "O!O!O!:_read_many", &file, &names, &indices, NULL))
        return NULL;
    PyObject *list = NULL;
    if (parts_open(state, &all, file, names, indices) == 0 &&
        buffers_make(state, &all, file) == 0 && parts_read(state, &all, file) == 0)
        list = parts_results(state, &all, file, part_array);
    parts_close(&all);
    return list;
}

static PyObject *part_none(stpy_state *state, stpy_file *file, const part *self)
{
    (void)state;
    (void)file;
    (void)self;
    return Py_NewRef(Py_None);
}

/* Gives each part its place in `size` bytes at `data`. All must be there: what is behind a gap would not be
 * where the caller looks for it. */
static int parts_place(const parts *self, void *data, size_t size)
{
    char *at = data;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        part *one = &self->at[i];
        if (one->failure) {
            PyErr_SetObject((PyObject *)Py_TYPE(one->failure), one->failure);
            return -1;
        }
        if (one->size > size) {
            PyErr_Format(PyExc_ValueError,
                         "tensor %R: %llu bytes are to be read, and the buffer has room for %zu",
                         PyTuple_GetItem(self->names, i), (unsigned long long)one->size, size);
            return -1;
        }
        one->data = at;
        at += one->size;
        size -= (size_t)one->size;
    }
    return 0;
}

PyObject *stpy_read_many_into(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    stpy_file *file;
    PyObject *names, *indices, *target, *list = NULL;
    Py_buffer buffer;
    parts all;
    if (arguments_read(module, args, "O!O!O!O:_read_many_into", &file, &names, &indices, &target))
        return NULL;
    if (PyObject_GetBuffer(target, &buffer, PyBUF_WRITABLE))
        return NULL;
    if (parts_open(state, &all, file, names, indices) == 0 &&
        parts_place(&all, buffer.buf, (size_t)buffer.len) == 0 &&
        parts_read(state, &all, file) == 0)
        list = parts_results(state, &all, file, part_none);
    parts_close(&all);
    PyBuffer_Release(&buffer);
    return list;
}

/* ------------------------------------------------------------------------------------ sizes */

PyObject *stpy_part_of(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    stpy_file *file;
    PyObject *name, *index, *result = NULL;
    part one = {.size = 0};
    if (!PyArg_ParseTuple(args, "O!OO:_part_of", state->file_type, &file, &name, &index))
        return NULL;
    if (part_open(state, &one, file, name, index) == 0) {
        PyObject *shape = one.is_part ? stpy_shape_tuple(one.region.shape, one.region.out_ndim)
                                      : stpy_shape_tuple(one.counted->shape, one.counted->ndim);
        result = shape ? Py_BuildValue("NK", shape, (unsigned long long)one.size) : NULL;
    }
    part_close(&one);
    return result;
}
