/* SPDX-License-Identifier: Apache-2.0 */
/* The type _Writer: a file written tensor by tensor, so that they need not all be there at once. */
#include "gather.h"

enum writer_state { WRITER_ADDING, WRITER_WRITING, WRITER_CLOSED };

typedef struct writer_object {
    PyObject_HEAD st_writer *writer;
    PyObject *indices; /* dict: name -> number of the tensor */
    PyObject *shown;   /* str for messages, or NULL */
    PyObject *file;    /* the object that `sink` writes to, or NULL */
    st_sink *sink;
    PyThreadState
        *thread; /* of the call that moves bytes; NULL: it holds the GIL, or there is none */
    enum writer_state state;
    bool busy; /* a call is going on */
} writer_object;

/* Ends with the file as it was before, unless it was finished. */
static void writer_drop(writer_object *self)
{
    st_writer_free(self->writer);
    st_sink_release(self->sink);
    self->writer = NULL;
    self->sink = NULL;
    self->state = WRITER_CLOSED;
    Py_CLEAR(self->file);
}

static bool busy_swap(writer_object *self, bool busy)
{
    bool was;
    STPY_BEGIN_LOCKED((PyObject *)self);
    was = self->busy;
    self->busy = busy;
    STPY_END_LOCKED();
    return was;
}

/* Begins a call: from here on the object is this call's alone, the GIL or not. */
static int writer_take(writer_object *self, const char *what)
{
    if (!busy_swap(self, true))
        return 0;
    PyErr_Format(PyExc_RuntimeError, "%s: the writer is in use", what);
    return -1;
}

/* The same for a call that belongs to one state. */
static int writer_enter(writer_object *self, enum writer_state wanted, const char *what)
{
    if (writer_take(self, what))
        return -1;
    enum writer_state state = self->state;
    if (state == wanted)
        return 0;
    (void)busy_swap(self, false);
    stpy_raise_text(stpy_state_of((PyObject *)self), "%s: %s", what,
                    state == WRITER_CLOSED   ? "the writer is closed"
                    : state == WRITER_ADDING ? "begin() comes first"
                                             : "begin() has been called");
    return -1;
}

/* Ends the call, and gives what it gives. */
static PyObject *writer_leave(writer_object *self, PyObject *out)
{
    (void)busy_swap(self, false);
    return out;
}

/* None, or the exception of a failure. */
static PyObject *done(writer_object *self, st_status status, const st_error *error)
{
    if (status != ST_OK)
        return stpy_raise(stpy_state_of((PyObject *)self), error, STPY_SAVE, self->shown);
    Py_RETURN_NONE;
}

/* The calls that move bytes release the GIL, and tell the sink that they did. */
static void gil_release(writer_object *self)
{
    self->thread = PyEval_SaveThread();
}

static void gil_take(writer_object *self)
{
    PyEval_RestoreThread(self->thread);
    self->thread = NULL;
}

/* -------------------------------------------------------------------------- making, closing */

static int target_open(writer_object *self, stpy_state *state, PyObject *target, bool durable)
{
    stpy_place place;
    if (stpy_place_read(state, target, false, &place))
        return -1;
    self->file = Py_XNewRef(place.file);
    self->sink = stpy_sink_open(state, &place, durable, &self->thread);
    self->shown = Py_XNewRef(place.shown);
    stpy_place_release(&place);
    return self->sink ? 0 : -1;
}

static int writer_open(writer_object *self, stpy_state *state, PyObject *metadata)
{
    const st_writer_options options = {.context = state->context};
    st_error error;
    self->indices = PyDict_New();
    if (!self->indices)
        return -1;
    if (st_writer_new(&options, &self->writer, &error)) {
        stpy_raise(state, &error, STPY_SAVE, NULL);
        return -1;
    }
    return stpy_metadata_add(state, self->writer, metadata);
}

static PyObject *writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"target", "metadata", "durable", NULL};
    PyObject *target, *metadata = NULL;
    int durable = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$p:_Writer", (char **)(uintptr_t)names,
                                     &target, &metadata, &durable))
        return NULL;
    writer_object *self = (writer_object *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self)
        return NULL;
    stpy_state *state = PyType_GetModuleState(type);
    if (writer_open(self, state, metadata) || target_open(self, state, target, durable != 0))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void writer_dealloc(PyObject *object)
{
    writer_object *self = (writer_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    writer_drop(self);
    Py_XDECREF(self->indices);
    Py_XDECREF(self->shown);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* A file object may keep the writer that writes to it. */
static int writer_traverse(PyObject *object, visitproc visit, void *arg)
{
    writer_object *self = (writer_object *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->indices);
    Py_VISIT(self->shown);
    Py_VISIT(self->file);
    return 0;
}

/* Nobody can call it any more, so that no call is going on. */
static int writer_clear(PyObject *object)
{
    writer_drop((writer_object *)object);
    Py_CLEAR(((writer_object *)object)->indices);
    return 0;
}

static PyObject *writer_close(PyObject *object, PyObject *unused)
{
    writer_object *self = (writer_object *)object;
    (void)unused;
    if (writer_take(self, "close"))
        return NULL;
    writer_drop(self);
    return writer_leave(self, Py_NewRef(Py_None));
}

/* ---------------------------------------------------------------------------------- adding */

/* A dtype by its code in the header or by its name elsewhere; 0 with an exception. */
static st_dtype dtype_read(stpy_state *state, PyObject *name, PyObject *object)
{
    Py_ssize_t len;
    const char *text = PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &len) : NULL;
    st_dtype found = text ? st_dtype_find(text, (size_t)len) : 0;
    if (text && !found)
        found = stpy_dtype_find(text, (size_t)len);
    if (!found && !PyErr_Occurred())
        stpy_raise_text(state, "tensor %R: unknown dtype %R", name, object);
    return found;
}

static int tensor_add(writer_object *self, stpy_state *state, PyObject *name,
                      const st_tensor *tensor)
{
    st_error error;
    size_t index;
    int known = PyDict_Contains(self->indices, name);
    if (known > 0)
        stpy_raise_text(state, "tensor %R is there twice", name);
    if (known)
        return -1;
    if (st_writer_add(self->writer, tensor, &index, &error)) {
        stpy_raise(state, &error, STPY_SAVE, self->shown);
        return -1;
    }
    PyObject *number = PyLong_FromSize_t(index);
    int failed = number ? PyDict_SetItem(self->indices, name, number) : -1;
    Py_XDECREF(number);
    return failed;
}

/* The shape of a tensor to be announced; *out is given back with PyMem_Free. */
static int shape_read(PyObject *name, PyObject *shape, uint64_t **out, uint32_t *ndim)
{
    PyObject *what = PyUnicode_FromFormat("tensor %R: shape", name);
    const char *text = what ? PyUnicode_AsUTF8AndSize(what, NULL) : NULL;
    int failed = text ? stpy_shape_read(shape, text, out, ndim) : -1;
    Py_XDECREF(what);
    return failed;
}

/* `tensor` with its name; dtype and shape are added. */
static int tensor_read(writer_object *self, PyObject *name, st_tensor *tensor, PyObject *dtype,
                       PyObject *shape)
{
    stpy_state *state = stpy_state_of((PyObject *)self);
    uint64_t *dims;
    tensor->dtype = dtype_read(state, name, dtype);
    if (!tensor->dtype || shape_read(name, shape, &dims, &tensor->ndim))
        return -1;
    tensor->shape = dims;
    int failed = tensor_add(self, state, name, tensor);
    PyMem_Free(dims);
    return failed;
}

static PyObject *writer_add(PyObject *object, PyObject *args)
{
    writer_object *self = (writer_object *)object;
    PyObject *name, *dtype, *shape;
    st_tensor tensor = {0};
    if (!PyArg_ParseTuple(args, "UOO:add", &name, &dtype, &shape) ||
        stpy_name_read(name, &tensor.name, &tensor.name_len) ||
        writer_enter(self, WRITER_ADDING, "add"))
        return NULL;
    int failed = tensor_read(self, name, &tensor, dtype, shape);
    return writer_leave(self, failed ? NULL : Py_NewRef(Py_None));
}

/* ---------------------------------------------------------------------------------- writing */

static PyObject *writer_begin(PyObject *object, PyObject *unused)
{
    writer_object *self = (writer_object *)object;
    st_error error;
    (void)unused;
    if (writer_enter(self, WRITER_ADDING, "begin"))
        return NULL;
    gil_release(self);
    st_status status = st_writer_begin(self->writer, self->sink, &error);
    gil_take(self);
    if (status == ST_OK)
        self->state = WRITER_WRITING;
    return writer_leave(self, done(self, status, &error));
}

/* Checks that a value is what was announced, before the writer, whose words are about memory. */
static int entry_check(stpy_state *state, PyObject *name, const st_tensor *tensor,
                       const stpy_entry *entry)
{
    const st_array *array = &entry->array;
    if (array->dtype != tensor->dtype) {
        stpy_raise_text(state, "tensor %R: its dtype is %s, and %s was announced", name,
                        st_dtype_code(array->dtype), st_dtype_code(tensor->dtype));
        return -1;
    }
    if (array->ndim == tensor->ndim &&
        memcmp(array->shape, tensor->shape, array->ndim * sizeof *array->shape) == 0)
        return stpy_entry_check(state, name, entry, tensor);
    PyObject *own = stpy_shape_tuple(array->shape, array->ndim);
    PyObject *announced = own ? stpy_shape_tuple(tensor->shape, tensor->ndim) : NULL;
    if (announced)
        stpy_raise_text(state, "tensor %R: its shape is %S, and %S was announced", name, own,
                        announced);
    Py_XDECREF(announced);
    Py_XDECREF(own);
    return -1;
}

static PyObject *entry_write(writer_object *self, size_t index, const stpy_entry *entry)
{
    st_error error;
    gil_release(self);
    st_status status = stpy_entry_write(self->writer, index, entry, &error);
    gil_take(self);
    return done(self, status, &error);
}

static PyObject *value_write(writer_object *self, PyObject *name, PyObject *value)
{
    stpy_state *state = stpy_state_of((PyObject *)self);
    PyObject *out = NULL, *number = PyDict_GetItemWithError(self->indices, name);
    stpy_entries entries = {0};
    stpy_entry entry;
    if (!number)
        return PyErr_Occurred() ? NULL
                                : stpy_raise_text(state, "tensor %R was not announced", name);
    size_t index = PyLong_AsSize_t(number);
    int plain = stpy_gather_value(state, value, STPY_TAKE_ALL, &entries, &entry);
    if (plain == STPY_ODD)
        out = Py_NewRef(Py_NotImplemented);
    else if (plain == STPY_PLAIN &&
             !entry_check(state, name, st_writer_at(self->writer, index), &entry))
        out = entry_write(self, index, &entry);
    Py_XDECREF(entry.value);
    stpy_entries_release(&entries);
    return out;
}

static PyObject *writer_write(PyObject *object, PyObject *args)
{
    writer_object *self = (writer_object *)object;
    PyObject *name, *value;
    if (!PyArg_ParseTuple(args, "UO:write", &name, &value) ||
        writer_enter(self, WRITER_WRITING, "write"))
        return NULL;
    return writer_leave(self, value_write(self, name, value));
}

static PyObject *writer_finish(PyObject *object, PyObject *unused)
{
    writer_object *self = (writer_object *)object;
    st_error error;
    (void)unused;
    if (writer_enter(self, WRITER_WRITING, "finish"))
        return NULL;
    gil_release(self);
    st_status status = st_writer_finish(self->writer, &error);
    gil_take(self);
    PyObject *out = done(self, status, &error);
    if (out)
        writer_drop(self);
    return writer_leave(self, out);
}

/* ---------------------------------------------------------------------------------- names */

/* A list of (begin, name); tensors of the same begin, all empty but one, come in any order. */
static PyObject *begins_list(const st_writer *writer)
{
    size_t count = st_writer_count(writer);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        const st_tensor *tensor = st_writer_at(writer, i);
        PyObject *item = Py_BuildValue("(Ks#)", (unsigned long long)tensor->begin, tensor->name,
                                       (Py_ssize_t)tensor->name_len);
        if (!item || PyList_SetItem(list, (Py_ssize_t)i, item))
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *names_list(const st_writer *writer)
{
    PyObject *list = begins_list(writer);
    if (list && PyList_Sort(list))
        Py_CLEAR(list);
    for (Py_ssize_t i = 0; list && i < PyList_Size(list); i++) {
        PyObject *name = Py_NewRef(PyTuple_GetItem(PyList_GetItem(list, i), 1));
        if (PyList_SetItem(list, i, name))
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *writer_names(PyObject *object, PyObject *unused)
{
    writer_object *self = (writer_object *)object;
    (void)unused;
    if (writer_enter(self, WRITER_WRITING, "names"))
        return NULL;
    return writer_leave(self, names_list(self->writer));
}

/* ------------------------------------------------------------------------------------- type */

PyDoc_STRVAR(writer_doc,
             "_Writer(target, metadata=None, *, durable=False)\n--\n\n"
             "Writes a file tensor by tensor: `add` each, `begin`, `write` each, `finish`.\n\n"
             "Args:\n"
             "    target (`str`, `os.PathLike`, `int`, or a file object):\n"
             "        Where to write.\n"
             "    metadata (`Dict[str, str]`, *optional*):\n"
             "        Text that is kept in the header.\n"
             "    durable (`bool`, *optional*, defaults to `False`):\n"
             "        Whether `finish` waits until file and name survive a power cut.\n");
PyDoc_STRVAR(add_doc, "add($self, name, dtype, shape, /)\n--\n\n"
                      "Announces a tensor; `dtype` is a name or the header's code.\n");
PyDoc_STRVAR(begin_doc, "begin($self, /)\n--\n\nWrites the header; from here on `write`.\n");
PyDoc_STRVAR(write_doc, "write($self, name, tensor, /)\n--\n\n"
                        "Writes an announced tensor; NotImplemented where it is not plain.\n");
PyDoc_STRVAR(names_doc, "names($self, /)\n--\n\nThe names in the order of the file.\n");
PyDoc_STRVAR(finish_doc, "finish($self, /)\n--\n\nPuts the file in its place.\n");
PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nDiscards what was not finished.\n");

static PyMethodDef writer_methods[] = {
    {"add", writer_add, METH_VARARGS, add_doc},
    {"begin", writer_begin, METH_NOARGS, begin_doc},
    {"names", writer_names, METH_NOARGS, names_doc},
    {"write", writer_write, METH_VARARGS, write_doc},
    {"finish", writer_finish, METH_NOARGS, finish_doc},
    {"close", writer_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_new, (void *)writer_new},
    {Py_tp_dealloc, (void *)writer_dealloc},
    {Py_tp_traverse, (void *)writer_traverse},
    {Py_tp_clear, (void *)writer_clear},
    {Py_tp_methods, writer_methods},
    {Py_tp_doc, (void *)writer_doc},
    {0, NULL},
};

PyType_Spec stpy_writer_spec = {
    .name = "safetensors._Writer",
    .basicsize = sizeof(writer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = writer_slots,
};
