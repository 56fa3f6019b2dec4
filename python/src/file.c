/* SPDX-License-Identifier: Apache-2.0 */
/* The type _File: an open file with what its tensors become. */
#include "extension.h"

/* From so many names on, putting them in order is worth letting other threads run. */
#define LONG_SORT 1000

/* -------------------------------------------------------------------------------- opening */

static int framework_import(stpy_state *state, enum stpy_framework framework)
{
    if (framework == STPY_TORCH)
        return stpy_torch_load(state);
    if (framework == STPY_PADDLE) {
        PyObject *paddle = PyImport_ImportModule("paddle");
        if (!paddle)
            return -1;
        Py_DECREF(paddle);
    }
    return stpy_numpy_load(state);
}

/* What upstream checks between opening the file and reading its header. */
static int device_check(stpy_state *state, const stpy_open_arguments *arguments)
{
    if (!arguments->device || arguments->framework == STPY_TORCH ||
        arguments->framework == STPY_PADDLE)
        return 0;
    stpy_raise_text(state, "Device %S is not supported for framework %s", arguments->device,
                    stpy_framework_text(arguments->framework));
    return -1;
}

static stpy_file *file_new(stpy_state *state, const stpy_open_arguments *arguments)
{
    PyTypeObject *type = state->file_type;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    stpy_file *self = (stpy_file *)alloc(type, 0); /* zeroed */
    if (!self)
        return NULL;
    Py_XINCREF(arguments->device);
    self->device = arguments->device;
    self->framework = arguments->framework;
    self->backend = arguments->backend;
    self->packed = arguments->packed;
    self->maps = arguments->backend == STPY_MMAP || arguments->backend == STPY_AUTO;
    self->loads = !self->maps;
    return self;
}

/* Decides, for a path, what is best where it lies: a mapping waits for a network's disk page by page, and cannot say
 * that this failed. */
static void decide(stpy_file *self, st_source *source)
{
    st_source_info info;
    if (self->backend != STPY_AUTO)
        return;
    self->loads = true;
    self->maps = st_source_query(source, &info, NULL) == ST_OK &&
                 (info.latency == ST_LATENCY_LOCAL || info.latency == ST_LATENCY_MEMORY);
}

/* Reads the header of `source`, whose reference is taken over. */
static stpy_file *open_source(stpy_state *state, st_source *source, PyObject *shown,
                              const stpy_open_arguments *arguments)
{
    stpy_file *self = NULL;
    st_file *file = NULL;
    st_error error;
    st_status status = ST_OK;
    static const uint32_t ways[] = {[STPY_MMAP] = ST_IO_AUTO,
                                    [STPY_PREAD] = ST_IO_PREAD,
                                    [STPY_DIRECT] = ST_IO_URING,
                                    [STPY_AUTO] = ST_IO_AUTO};
    st_open_options options = {.context = state->context, .io = ways[arguments->backend]};
    if (device_check(state, arguments) == 0) {
        self = file_new(state, arguments);
        if (self) {
            Py_BEGIN_ALLOW_THREADS
            status = st_file_open_source(source, &options, &file, &error);
            Py_END_ALLOW_THREADS
        }
    }
    st_source_release(source);
    if (!self)
        return NULL;
    if (status != ST_OK)
        stpy_raise(state, &error, STPY_OPEN, shown);
    self->file = file;
    Py_XINCREF(shown);
    self->shown = shown;
    if (!file || framework_import(state, arguments->framework)) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    return self;
}

stpy_file *stpy_file_open_buffer(stpy_state *state, st_buffer *buffer, bool readonly,
                                 const stpy_open_arguments *arguments)
{
    st_buffer_retain(buffer);
    st_source *source = stpy_source_of_buffer(state, buffer, NULL);
    stpy_file *self = source ? open_source(state, source, NULL, arguments) : NULL;
    if (!self) {
        st_buffer_release(buffer);
        return NULL;
    }
    self->map = buffer;
    self->readonly = readonly;
    return self;
}

stpy_file *stpy_file_open(stpy_state *state, const stpy_open_arguments *arguments)
{
    stpy_place place;
    if (stpy_place_read(state, arguments->source, true, &place))
        return NULL;
    st_source *source = stpy_source_open(state, &place);
    st_source *kept = source && place.path ? st_source_retain(source) : NULL;
    stpy_file *self = source ? open_source(state, source, place.shown, arguments) : NULL;
    if (self && kept)
        decide(self, kept);
    st_source_release(kept);
    stpy_place_release(&place);
    return self;
}

/* -------------------------------------------------------------------------------- the mapping */

/* Makes the mapping outside of the lock, as that may wait for the disk; the first one made is kept. */
static bool map_make(stpy_file *self)
{
    st_buffer *made = NULL;
    bool mapped;
    st_status status;
    Py_BEGIN_ALLOW_THREADS
    status = st_file_map(self->file, ST_MAP_PRIVATE, &made, NULL);
    Py_END_ALLOW_THREADS
    STPY_BEGIN_LOCKED((PyObject *)self);
    if (status != ST_OK) {
        self->unmappable = true;
    } else if (!self->map) {
        self->map = made;
        made = NULL;
    }
    mapped = self->map;
    STPY_END_LOCKED();
    st_buffer_release(made);
    return mapped;
}

bool stpy_file_map(stpy_file *self)
{
    bool mapped, wanted;
    STPY_BEGIN_LOCKED((PyObject *)self);
    mapped = self->map;
    wanted = !mapped && !self->unmappable && self->maps;
    STPY_END_LOCKED();
    return wanted ? map_make(self) : mapped;
}

/* ------------------------------------------------------------------------------ what is in it */

const st_tensor *stpy_file_find(stpy_file *self, PyObject *name)
{
    Py_ssize_t len;
    if (!PyUnicode_Check(name))
        return stpy_raise_type("name", name, "an instance of 'str'");
    const char *text = PyUnicode_AsUTF8AndSize(name, &len);
    if (!text)
        return NULL;
    const st_tensor *tensor = st_file_find(self->file, text, (size_t)len);
    if (!tensor)
        stpy_raise_variant(stpy_state_of((PyObject *)self), PyExc_KeyError,
                           "File does not contain tensor %U", name);
    return tensor;
}

static PyObject *name_of(const st_tensor *tensor)
{
    return PyUnicode_DecodeUTF8(tensor->name, (Py_ssize_t)tensor->name_len, NULL);
}

/* The names of all tensors, in data order or in that of `order`. */
static PyObject *names_list(const stpy_file *self, const uint32_t *order)
{
    size_t count = st_file_count(self->file);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *name = name_of(st_file_at(self->file, order ? order[i] : i));
        if (!name || PyList_SetItem(list, (Py_ssize_t)i, name)) /* takes `name` over */
            Py_CLEAR(list);
    }
    return list;
}

PyObject *stpy_file_keys(stpy_file *self)
{
    size_t count = st_file_count(self->file);
    uint32_t *order = PyMem_Calloc(count ? count : 1, sizeof *order);
    st_error error;
    st_status status;
    if (!order)
        return PyErr_NoMemory();
    if (count < LONG_SORT) {
        status = st_header_sort(st_file_header(self->file), order, &error);
    } else {
        Py_BEGIN_ALLOW_THREADS
        status = st_header_sort(st_file_header(self->file), order, &error);
        Py_END_ALLOW_THREADS
    }
    PyObject *list =
        status ? stpy_raise(stpy_state_of((PyObject *)self), &error, STPY_READ, self->shown)
               : names_list(self, order);
    PyMem_Free(order);
    return list;
}

PyObject *stpy_file_offset_keys(stpy_file *self)
{
    return names_list(self, NULL);
}

static int metadata_add(PyObject *dict, const st_metadata *entry)
{
    PyObject *key = PyUnicode_DecodeUTF8(entry->key, (Py_ssize_t)entry->key_len, NULL);
    PyObject *value =
        key ? PyUnicode_DecodeUTF8(entry->value, (Py_ssize_t)entry->value_len, NULL) : NULL;
    int failed = !value || PyDict_SetItem(dict, key, value);
    Py_XDECREF(value);
    Py_XDECREF(key);
    return failed;
}

PyObject *stpy_file_metadata(stpy_file *self)
{
    const st_header *header = st_file_header(self->file);
    if (!st_header_has_metadata(header))
        Py_RETURN_NONE;
    PyObject *dict = PyDict_New();
    size_t count = st_header_metadata_count(header);
    for (size_t i = 0; dict && i < count; i++)
        if (metadata_add(dict, st_header_metadata_at(header, i)))
            Py_CLEAR(dict);
    return dict;
}

PyObject *stpy_tensor_shape(const st_tensor *tensor)
{
    PyObject *list = PyList_New((Py_ssize_t)tensor->ndim);
    for (uint32_t d = 0; list && d < tensor->ndim; d++) {
        PyObject *dim = PyLong_FromUnsignedLongLong(tensor->shape[d]);
        if (!dim || PyList_SetItem(list, (Py_ssize_t)d, dim)) /* takes `dim` over */
            Py_CLEAR(list);
    }
    return list;
}

PyObject *stpy_tensor_dtype(stpy_file *self, const st_tensor *tensor)
{
    size_t len;
    const char *code = st_header_dtype_code(st_file_header(self->file), tensor->dtype, &len);
    return PyUnicode_DecodeUTF8(code, (Py_ssize_t)len, NULL);
}

/* ----------------------------------------------------------------------------------- the type */

static PyObject *method_keys(PyObject *self, PyObject *none)
{
    (void)none;
    return stpy_file_keys((stpy_file *)self);
}

static PyObject *method_offset_keys(PyObject *self, PyObject *none)
{
    (void)none;
    return stpy_file_offset_keys((stpy_file *)self);
}

static PyObject *method_get_slice(PyObject *self, PyObject *name)
{
    const st_tensor *tensor = stpy_file_find((stpy_file *)self, name);
    return tensor ? stpy_slice_new((stpy_file *)self, tensor) : NULL;
}

static PyObject *get_framework(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(stpy_framework_text(((stpy_file *)self)->framework));
}

static PyObject *get_device(PyObject *self, void *closure)
{
    PyObject *device = ((stpy_file *)self)->device;
    (void)closure;
    if (!device)
        Py_RETURN_NONE;
    Py_INCREF(device);
    return device;
}

static PyObject *get_backend(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(stpy_backend_text(((stpy_file *)self)->backend));
}

static PyMethodDef file_methods[] = {
    {"keys", method_keys, METH_NOARGS, "keys($self)\n--\n\nThe names, in their order."},
    {"offset_keys", method_offset_keys, METH_NOARGS,
     "offset_keys($self)\n--\n\nThe names, in data order."},
    {"get_slice", method_get_slice, METH_O,
     "get_slice($self, name)\n--\n\nA tensor, of which parts can be read."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef file_getset[] = {
    {"framework", get_framework, NULL, "\"pytorch\", \"numpy\", and so on.", NULL},
    {"device", get_device, NULL, "What the framework takes for a device; None: the CPU.", NULL},
    {"backend", get_backend, NULL, "How the file is read, as it was asked for.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static void file_dealloc(PyObject *self)
{
    stpy_file *file = (stpy_file *)self;
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_XDECREF(file->shown);
    Py_XDECREF(file->device);
    Py_XDECREF(file->convert);
    Py_XDECREF(file->memory);
    st_buffer_release(file->map);
    PyMem_Free(file->given);
    st_file_close(file->file);
    release(self);
    Py_DECREF(type);
}

static PyType_Slot file_slots[] = {
    {Py_tp_doc, (void *)"An open file; safe_open and what comes from it hold references."},
    {Py_tp_dealloc, (void *)file_dealloc},
    {Py_tp_methods, file_methods},
    {Py_tp_getset, file_getset},
    {0, NULL},
};

PyType_Spec stpy_file_spec = {
    .name = "safetensors._safetensors_rust._File",
    .basicsize = sizeof(stpy_file),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = file_slots,
};

/* -------------------------------------------------------------------------- one of its tensors */

PyObject *stpy_tensor_ref_new(PyTypeObject *type, stpy_file *file, const st_tensor *tensor)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    stpy_tensor_ref *self = (stpy_tensor_ref *)alloc(type, 0);
    if (!self)
        return NULL;
    self->file = (stpy_file *)Py_NewRef((PyObject *)file);
    self->tensor = tensor;
    return (PyObject *)self;
}

void stpy_tensor_ref_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_XDECREF((PyObject *)((stpy_tensor_ref *)self)->file);
    release(self);
    Py_DECREF(type);
}
