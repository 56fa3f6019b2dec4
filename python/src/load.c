/* SPDX-License-Identifier: Apache-2.0 */
/* deserialize and load: files whose bytes are in memory already. */
#include "extension.h"

/* At the start of fresh memory the data section lies at a multiple of this, so that jax can take it over. */
#define DATA_ALIGNMENT 64

/* All of the data section as one tensor of bytes, so that the engine divides one copy over its threads. */
static st_tensor data_section(const st_file *file, uint64_t *shape)
{
    *shape = st_header_data_size(st_file_header(file));
    return (st_tensor){.name = "all of the data",
                       .name_len = 15,
                       .dtype = ST_U8,
                       .shape = shape,
                       .ndim = 1,
                       .end = *shape};
}

/* -------------------------------------------------------------------------------- deserialize */

static PyObject *bytes_of(stpy_state *state, const st_file *file, const st_tensor *tensor)
{
    uint64_t size = st_tensor_size(tensor);
    PyObject *array = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!array)
        return NULL;
    char *data = PyByteArray_AsString(array);
    st_error error;
    st_status status;
    PyThreadState *thread = size >= STPY_LONG_COPY ? PyEval_SaveThread() : NULL;
    stpy_huge_pages(data, (size_t)size);
    status = st_file_read(file, tensor, NULL, data, (size_t)size, &error);
    if (thread)
        PyEval_RestoreThread(thread);
    if (status == ST_OK)
        return array;
    Py_DECREF(array);
    return stpy_raise(state, &error, STPY_DESERIALIZE, NULL);
}

/* (name, {"shape": ..., "dtype": ..., "data": ...}) */
static PyObject *entry_of(stpy_state *state, const st_file *file, const st_tensor *tensor)
{
    PyObject *shape = stpy_tensor_shape(tensor);
    PyObject *data = shape ? bytes_of(state, file, tensor) : NULL;
    if (!data) {
        Py_XDECREF(shape);
        return NULL;
    }
    return Py_BuildValue("(s#{s:N,s:s,s:N})", tensor->name, (Py_ssize_t)tensor->name_len, "shape",
                         shape, "dtype", st_dtype_code(tensor->dtype), "data", data);
}

static PyObject *entries_of(stpy_state *state, const st_file *file)
{
    size_t count = st_file_count(file);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *entry = entry_of(state, file, st_file_at(file, i));
        if (!entry || PyList_SetItem(list, (Py_ssize_t)i, entry))
            Py_CLEAR(list);
    }
    return list;
}

/* Opens over `buffer`, of which one reference is taken over, also on failure. */
static st_file *file_over(stpy_state *state, st_buffer *buffer)
{
    const st_memory memory = stpy_buffer_memory(buffer);
    const st_open_options options = {.context = state->context};
    st_error error;
    st_file *file;
    PyThreadState *thread = PyEval_SaveThread();
    st_status status = st_file_open_memory(&memory, &options, &file, &error);
    PyEval_RestoreThread(thread);
    if (status == ST_OK)
        return file;
    st_buffer_release(buffer);
    return stpy_raise(state, &error, STPY_DESERIALIZE, NULL);
}

PyObject *stpy_deserialize(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"bytes", NULL};
    stpy_state *state = stpy_state_of_module(module);
    PyObject *object;
    bool readonly;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:deserialize", (char **)(uintptr_t)names,
                                     &object))
        return NULL;
    st_buffer *buffer = stpy_buffer_of_object(state, object, &readonly);
    st_file *file = buffer ? file_over(state, buffer) : NULL;
    if (!file)
        return NULL;
    PyObject *list = entries_of(state, file);
    st_file_close(file);
    return list;
}

/* ---------------------------------------------------------------------------------------- load */

/* Fresh memory laid out as the file, with its data section aligned. */
static st_buffer *arena_alloc(stpy_state *state, const st_file *file)
{
    uint64_t start = st_header_data_offset(st_file_header(file));
    uint64_t lead = (DATA_ALIGNMENT - start % DATA_ALIGNMENT) % DATA_ALIGNMENT;
    st_buffer *room = stpy_buffer_alloc(state, lead + st_file_size(file));
    if (!room)
        return NULL;
    st_memory memory = stpy_buffer_memory(room);
    memory.data = (char *)memory.data + lead;
    memory.size = (size_t)st_file_size(file);
    st_error error;
    st_buffer *arena;
    if (st_buffer_new(state->context, &memory, &arena, &error) == ST_OK)
        return arena;
    st_buffer_release(room);
    return stpy_raise(state, &error, STPY_DESERIALIZE, NULL);
}

/* Copies all of the file's bytes, once, and lets the copy stand where a mapping would. */
static int file_copy(stpy_state *state, stpy_file *self, st_buffer *original)
{
    st_buffer *arena = arena_alloc(state, self->file);
    if (!arena)
        return -1;
    uint64_t shape, start = st_header_data_offset(st_file_header(self->file));
    const st_tensor all = data_section(self->file, &shape);
    char *data = st_buffer_data(arena);
    st_error error;
    PyThreadState *thread = PyEval_SaveThread();
    memcpy(data, st_buffer_data(original), (size_t)start);
    st_status status = st_file_read(self->file, &all, NULL, data + start, (size_t)shape, &error);
    PyEval_RestoreThread(thread);
    if (status != ST_OK) {
        st_buffer_release(arena);
        stpy_raise(state, &error, STPY_DESERIALIZE, NULL);
        return -1;
    }
    st_buffer_release(self->map);
    self->map = arena;
    self->readonly = false;
    return 0;
}

typedef struct load_arguments {
    PyObject *data;
    int copy; /* -1: as the memory and the framework ask */
    stpy_open_arguments open;
} load_arguments;

static int arguments_read(stpy_state *state, PyObject *args, PyObject *kwargs, load_arguments *out)
{
    static const char *const names[] = {"data", "framework", "copy", "packed", NULL};
    PyObject *framework, *copy = Py_None;
    int packed = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$Op:_load", (char **)(uintptr_t)names,
                                     &out->data, &framework, &copy, &packed) ||
        stpy_framework_read(state, framework, &out->open.framework))
        return -1;
    out->copy = copy == Py_None ? -1 : PyObject_IsTrue(copy);
    out->open.packed = packed;
    out->open.backend = STPY_MMAP;
    return out->copy < 0 && copy != Py_None ? -1 : 0;
}

/* Whether the memory must be copied before arrays are made of it. */
static bool copy_wanted(const load_arguments *arguments, bool readonly)
{
    if (arguments->copy >= 0)
        return arguments->copy;
    switch (arguments->open.framework) {
    case STPY_TORCH:
    case STPY_NUMPY:
    case STPY_PADDLE: return readonly;
    case STPY_FLAX:
        return !PyBytes_Check(arguments->data); /* jax may take over what never changes */
    default: return false;                      /* these copy by themselves */
    }
}

static PyObject *buffer_load(stpy_state *state, st_buffer *buffer, bool readonly,
                             const load_arguments *arguments)
{
    bool copy = copy_wanted(arguments, readonly);
    stpy_file *file =
        stpy_file_open_buffer(state, st_buffer_retain(buffer), readonly, &arguments->open);
    if (!file)
        return NULL;
    file->lent = !copy;
    PyObject *dict = NULL;
    if (!copy || !file_copy(state, file, buffer))
        dict = stpy_file_tensors(file, NULL);
    Py_DECREF(file);
    return dict;
}

PyObject *stpy_load(PyObject *module, PyObject *args, PyObject *kwargs)
{
    stpy_state *state = stpy_state_of_module(module);
    load_arguments arguments = {0};
    if (arguments_read(state, args, kwargs, &arguments))
        return NULL;
    bool readonly;
    st_buffer *buffer = stpy_buffer_of_object(state, arguments.data, &readonly);
    if (!buffer)
        return NULL;
    PyObject *dict = NULL;
    if (readonly && arguments.copy == 0 && arguments.open.framework == STPY_TORCH)
        PyErr_SetString(PyExc_ValueError,
                        "copy=False: torch has no read-only tensors, and this memory is read-only");
    else
        dict = buffer_load(state, buffer, readonly, &arguments);
    st_buffer_release(buffer);
    return dict;
}
