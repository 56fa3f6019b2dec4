/* SPDX-License-Identifier: Apache-2.0 */
/* The types safe_open and _safe_open_handle: a file as the user sees it. One implementation, which
 * only the argument that they open tells apart. */
#include "extension.h"

typedef struct opened {
    PyObject_HEAD stpy_file *file; /* NULL: closed */
} opened;

/* -------------------------------------------------------------------------- opening and closing */

/* The file, a new reference, so that another thread may close meanwhile. */
static stpy_file *file_of(PyObject *self)
{
    stpy_file *file;
    STPY_BEGIN_LOCKED(self);
    file = ((opened *)self)->file;
    Py_XINCREF((PyObject *)file);
    STPY_END_LOCKED();
    if (!file)
        stpy_raise_text(stpy_state_of(self), "File is closed");
    return file;
}

static void close_file(PyObject *self)
{
    stpy_file *file;
    STPY_BEGIN_LOCKED(self);
    file = ((opened *)self)->file;
    ((opened *)self)->file = NULL;
    STPY_END_LOCKED();
    Py_XDECREF((PyObject *)file);
}

/* Reads the arguments in upstream's order, then opens. */
static PyObject *open_with(PyTypeObject *type, stpy_state *state, PyObject *const *arguments,
                           int packed)
{
    stpy_open_arguments open = {.source = arguments[0], .packed = packed != 0};
    if (stpy_framework_read(state, arguments[1], &open.framework) ||
        stpy_device_read(state, arguments[2], open.framework, &open.device))
        return NULL;
    stpy_file *file = NULL;
    if (stpy_backend_read(state, arguments[3], &open.backend) == 0)
        file = stpy_file_open(state, &open);
    Py_XDECREF(open.device);
    if (!file)
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    opened *self = (opened *)alloc(type, 0);
    if (!self) {
        Py_DECREF((PyObject *)file);
        return NULL;
    }
    self->file = file;
    return (PyObject *)self;
}

static PyObject *opened_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    stpy_state *state = PyType_GetModuleState(type);
    bool by_name = type == state->safe_open_type;
    const char *format = by_name ? "OO|O$Op:safe_open" : "OO|O$Op:_safe_open_handle";
    const char *const keywords[] = {
        by_name ? "filename" : "f", "framework", "device", "backend", "packed", NULL};
    PyObject *given[4] = {NULL};
    int packed = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, (char **)(uintptr_t)keywords, &given[0],
                                     &given[1], &given[2], &given[3], &packed))
        return NULL;
    return open_with(type, state, given, packed);
}

static void opened_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_XDECREF((PyObject *)((opened *)self)->file);
    release(self);
    Py_DECREF(type);
}

int stpy_true(PyObject *self)
{
    (void)self;
    return 1;
}

static PyObject *opened_enter(PyObject *self, PyObject *none)
{
    (void)none;
    Py_INCREF(self);
    return self;
}

static PyObject *opened_close(PyObject *self, PyObject *none)
{
    (void)none;
    close_file(self);
    Py_RETURN_NONE;
}

static PyObject *opened_closed(PyObject *self, void *closure)
{
    bool closed;
    (void)closure;
    STPY_BEGIN_LOCKED(self);
    closed = !((opened *)self)->file;
    STPY_END_LOCKED();
    return PyBool_FromLong(closed);
}

/* ------------------------------------------------------------------------------------- methods */

/* Calls `get` on the open file. */
static PyObject *with_file(PyObject *self, PyObject *(*get)(stpy_file *file))
{
    stpy_file *file = file_of(self);
    PyObject *result = file ? get(file) : NULL;
    Py_XDECREF((PyObject *)file);
    return result;
}

/* Calls `get` on the open file and its tensor `name`. */
static PyObject *with_tensor(PyObject *self, PyObject *name,
                             PyObject *(*get)(stpy_file *file, const st_tensor *tensor))
{
    stpy_file *file = file_of(self);
    const st_tensor *tensor = file ? stpy_file_find(file, name) : NULL;
    PyObject *result = tensor ? get(file, tensor) : NULL;
    Py_XDECREF((PyObject *)file);
    return result;
}

static PyObject *opened_keys(PyObject *self, PyObject *none)
{
    (void)none;
    return with_file(self, stpy_file_keys);
}

static PyObject *opened_offset_keys(PyObject *self, PyObject *none)
{
    (void)none;
    return with_file(self, stpy_file_offset_keys);
}

static PyObject *opened_metadata(PyObject *self, PyObject *none)
{
    (void)none;
    return with_file(self, stpy_file_metadata);
}

static PyObject *shape_of(stpy_file *file, const st_tensor *tensor)
{
    (void)file;
    return stpy_tensor_shape(tensor);
}

/* Calls `get` on the open file and its tensor of the name in `c`. */
static PyObject *with_name(PyObject *self, const stpy_call *c,
                           PyObject *(*get)(stpy_file *file, const st_tensor *tensor))
{
    PyObject *name;
    return stpy_call_read(c, &name, NULL) ? NULL : with_tensor(self, name, get);
}

#define NAME_METHOD(method, get)                                                           \
 static PyObject *opened_##method(PyObject *self, PyObject *const *args, Py_ssize_t count, \
                                  PyObject *keywords)                                      \
 {                                                                                         \
  return with_name(self, &(stpy_call){#method, args, count, keywords}, get);               \
 }

NAME_METHOD(get_slice, stpy_slice_new)
NAME_METHOD(get_tensor_meta, stpy_meta_new)
NAME_METHOD(get_dtype, stpy_tensor_dtype)
NAME_METHOD(get_shape, shape_of)

static PyObject *read_out(stpy_file *file, PyObject *name, PyObject *out)
{
    const st_tensor *tensor = stpy_file_find(file, name);
    if (!tensor || stpy_file_read_into(file, tensor, out))
        return NULL;
    Py_INCREF(out);
    return out;
}

static PyObject *opened_get_tensor(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                   PyObject *keywords)
{
    PyObject *name, *out = Py_None;
    if (stpy_call_read(&(stpy_call){"get_tensor", args, count, keywords}, &name, &out))
        return NULL;
    if (out == Py_None)
        return with_tensor(self, name, stpy_file_tensor);
    stpy_file *file = file_of(self);
    PyObject *result = file ? read_out(file, name, out) : NULL;
    Py_XDECREF((PyObject *)file);
    return result;
}

static PyObject *opened_get_tensors(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"names", NULL};
    PyObject *names = Py_None, *list = NULL, *result = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:get_tensors", (char **)(uintptr_t)keywords,
                                     &names))
        return NULL;
    if (PyUnicode_Check(names)) {
        PyErr_SetString(PyExc_TypeError, "names must be an iterable of str, not one str");
        return NULL;
    }
    stpy_file *file = file_of(self);
    if (file && names != Py_None)
        list = PySequence_List(names);
    if (file && (list || names == Py_None))
        result = stpy_file_tensors(file, list);
    Py_XDECREF(list);
    Py_XDECREF((PyObject *)file);
    return result;
}

static PyObject *opened_prefetch(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const keywords[] = {"plan", "device", "threads", NULL};
    PyObject *plan = Py_None, *device = Py_None, *threads = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OO:prefetch", (char **)(uintptr_t)keywords,
                                     &plan, &device, &threads))
        return NULL;
    stpy_file *file = file_of(self);
    PyObject *start = file ? stpy_import("safetensors._prefetch", "start") : NULL;
    PyObject *loader = NULL;
    if (start)
        loader = threads
                     ? PyObject_CallFunction(start, "OOOO", (PyObject *)file, plan, device, threads)
                     : PyObject_CallFunction(start, "OOOi", (PyObject *)file, plan, device, 8);
    Py_XDECREF(start);
    Py_XDECREF((PyObject *)file);
    return loader;
}

static PyObject *opened_backend(PyObject *self, void *closure)
{
    stpy_file *file = file_of(self);
    PyObject *name = file ? PyUnicode_FromString(stpy_backend_text(file->backend)) : NULL;
    (void)closure;
    Py_XDECREF((PyObject *)file);
    return name;
}

static PyObject *opened_file(PyObject *self, void *closure)
{
    (void)closure;
    return (PyObject *)file_of(self);
}

/* --------------------------------------------------------------------------------- as a mapping */

static Py_ssize_t opened_length(PyObject *self)
{
    stpy_file *file = file_of(self);
    Py_ssize_t count = file ? (Py_ssize_t)st_file_count(file->file) : -1;
    Py_XDECREF((PyObject *)file);
    return count;
}

static PyObject *opened_iter(PyObject *self)
{
    PyObject *keys = opened_keys(self, NULL);
    PyObject *iterator = keys ? PyObject_GetIter(keys) : NULL;
    Py_XDECREF(keys);
    return iterator;
}

/* What is no str, or is not UTF-8, is not among the names. */
static int opened_contains(PyObject *self, PyObject *name)
{
    Py_ssize_t len;
    stpy_file *file = file_of(self);
    if (!file)
        return -1;
    const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &len) : NULL;
    int found = text && st_file_find(file->file, text, (size_t)len);
    Py_DECREF((PyObject *)file);
    return stpy_forgive() ? -1 : found;
}

static PyObject *opened_subscript(PyObject *self, PyObject *name)
{
    return with_tensor(self, name, stpy_file_tensor);
}

/* ------------------------------------------------------------------------------------ the types */

#define OPEN_ARGUMENTS                                                                             \
 "    framework (`str`):\n"                                                                        \
 "        What the tensors become: `\"pt\"`, `\"np\"`, `\"tf\"`, `\"flax\"` (or `\"jax\"`),\n"     \
 "        `\"mlx\"` or `\"paddle\"`.\n"                                                            \
 "    device (`str`, `int` or `torch.device`, *optional*, defaults to `\"cpu\"`):\n"               \
 "        Where torch and paddle put them.\n"                                                      \
 "    backend (`str`, *optional*, defaults to `\"mmap\"`):\n"                                      \
 "        `\"mmap\"` hands out views of a private mapping where it can; `\"pread\"` never maps,\n" \
 "        and copies just the bytes that are asked for; `\"direct\"` does so past the page\n"      \
 "        cache; `\"auto\"` does what is fastest where the file lies.\n"                           \
 "    packed (`bool`, *optional*, defaults to `False`):\n"                                         \
 "        In NumPy, whether F4 and F6 tensors come as the bytes of the file (`uint8`, the last\n"  \
 "        dimension in bytes) instead of one value per element.\n"

PyDoc_STRVAR(
    safe_open_doc,
    "safe_open(filename, framework, device=..., *, backend=..., packed=False)\n--\n\n"
    "Opens a safetensors file, whose tensors are then read one by one.\n\n"
    "A mapping from names to tensors, and a context manager; what it handed out stays\n"
    "valid after it was closed.\n\n"
    "Args:\n"
    "    filename (`str`, `os.PathLike`, `int`, file object or buffer):\n"
    "        The file. Of a file object the descriptor is used, from the start of the file;\n"
    "        one without a descriptor is read. A buffer holds the bytes of a file.\n" OPEN_ARGUMENTS
    "\n"
    "Example:\n"
    "```python\n"
    "from safetensors import safe_open\n\n"
    "with safe_open(\"model.safetensors\", framework=\"pt\") as f:\n"
    "    for name in f:\n"
    "        tensor = f[name]\n"
    "```\n");
PyDoc_STRVAR(handle_doc,
             "_safe_open_handle(f, framework, device=..., *, backend=..., packed=False)\n"
             "--\n\n"
             "`safe_open` for a file that is open already.\n\n"
             "Args:\n"
             "    f (a file object, or `int`):\n"
             "        The file, or its descriptor. It stays open, and its position is\n"
             "        neither used nor moved.\n" OPEN_ARGUMENTS);
PyDoc_STRVAR(enter_doc, "__enter__($self)\n--\n\nReturns itself.\n");
PyDoc_STRVAR(exit_doc,
             "__exit__($self, _exc_type, _exc_value, _traceback)\n--\n\nCloses the file.\n");
PyDoc_STRVAR(close_doc, "close($self)\n--\n\n"
                        "Closes the file. Tensors and slices that came from it stay valid.\n");
PyDoc_STRVAR(keys_doc, "keys($self)\n--\n\n"
                       "The tensors' names.\n\n"
                       "Returns:\n"
                       "    `List[str]`: the names, in their order.\n");
PyDoc_STRVAR(offset_keys_doc, "offset_keys($self)\n--\n\n"
                              "The tensors' names as their data lies in the file.\n\n"
                              "Returns:\n"
                              "    `List[str]`: the names, in data order.\n");
PyDoc_STRVAR(metadata_doc,
             "metadata($self)\n--\n\n"
             "The text that was saved beside the tensors.\n\n"
             "Returns:\n"
             "    `Optional[Dict[str, str]]`: the metadata, or `None` without any.\n");
PyDoc_STRVAR(get_tensor_doc,
             "get_tensor($self, name, *, out=None)\n--\n\n"
             "Reads a tensor.\n\n"
             "Args:\n"
             "    name (`str`):\n"
             "        The tensor's name.\n"
             "    out (a tensor or an array, *optional*):\n"
             "        Where to read it to, of the same dtype and shape; also what is returned.\n\n"
             "Returns:\n"
             "    a tensor of the framework, on the file's device.\n\n"
             "Example:\n"
             "```python\n"
             "from safetensors import safe_open\n\n"
             "with safe_open(\"model.safetensors\", framework=\"pt\", device=\"cpu\") as f:\n"
             "    tensor = f.get_tensor(\"embedding\")\n"
             "```\n");
PyDoc_STRVAR(get_tensors_doc, "get_tensors($self, names=None)\n--\n\n"
                              "Reads all tensors, or some.\n\n"
                              "Args:\n"
                              "    names (an iterable of `str`, *optional*, defaults to all):\n"
                              "        The tensors' names.\n\n"
                              "Returns:\n"
                              "    `Dict[str, tensor]`: the tensors by name, in data order.\n");
PyDoc_STRVAR(get_slice_doc, "get_slice($self, name)\n--\n\n"
                            "A tensor of which parts can be read.\n\n"
                            "Args:\n"
                            "    name (`str`):\n"
                            "        The tensor's name.\n\n"
                            "Returns:\n"
                            "    `PySafeSlice`: what to index; nothing is read yet.\n\n"
                            "Example:\n"
                            "```python\n"
                            "from safetensors import safe_open\n\n"
                            "with safe_open(\"model.safetensors\", framework=\"pt\") as f:\n"
                            "    part = f.get_slice(\"embedding\")[:, ::8]\n"
                            "```\n");
PyDoc_STRVAR(get_tensor_meta_doc, "get_tensor_meta($self, name)\n--\n\n"
                                  "What the header says of a tensor.\n\n"
                                  "Args:\n"
                                  "    name (`str`):\n"
                                  "        The tensor's name.\n\n"
                                  "Returns:\n"
                                  "    `TensorMeta`: its dtype, shape and place.\n");
PyDoc_STRVAR(get_dtype_doc, "get_dtype($self, name)\n--\n\n"
                            "A tensor's dtype, as the header's code (`\"F32\"`).\n");
PyDoc_STRVAR(get_shape_doc, "get_shape($self, name)\n--\n\n"
                            "A tensor's shape in the header, a new list.\n");
PyDoc_STRVAR(
    prefetch_doc,
    "prefetch($self, plan=None, *, device=None, threads=8)\n--\n\n"
    "Starts reading tensors in the background.\n\n"
    "Args:\n"
    "    plan (`Dict[str, Optional[slice]]`, *optional*, defaults to every tensor whole):\n"
    "        What to read: the names, each with `None` or what part of it.\n"
    "    device (*optional*, defaults to the file's):\n"
    "        Where the tensors are to go.\n"
    "    threads (`int`, *optional*, defaults to 8):\n"
    "        How many threads may read at once.\n\n"
    "Returns:\n"
    "    `PrefetchLoader`: iterable over `(name, tensor)`.\n");

#define FAST_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef opened_methods[] = {
    {"__enter__", opened_enter, METH_NOARGS, enter_doc},
    {"__exit__", opened_close, METH_VARARGS, exit_doc},
    {"close", opened_close, METH_NOARGS, close_doc},
    {"keys", opened_keys, METH_NOARGS, keys_doc},
    {"offset_keys", opened_offset_keys, METH_NOARGS, offset_keys_doc},
    {"metadata", opened_metadata, METH_NOARGS, metadata_doc},
    {"get_tensor", STPY_WITH_KEYWORDS(opened_get_tensor), FAST_KEYWORDS, get_tensor_doc},
    {"get_tensors", STPY_WITH_KEYWORDS(opened_get_tensors), METH_VARARGS | METH_KEYWORDS,
     get_tensors_doc},
    {"get_slice", STPY_WITH_KEYWORDS(opened_get_slice), FAST_KEYWORDS, get_slice_doc},
    {"get_tensor_meta", STPY_WITH_KEYWORDS(opened_get_tensor_meta), FAST_KEYWORDS,
     get_tensor_meta_doc},
    {"get_dtype", STPY_WITH_KEYWORDS(opened_get_dtype), FAST_KEYWORDS, get_dtype_doc},
    {"get_shape", STPY_WITH_KEYWORDS(opened_get_shape), FAST_KEYWORDS, get_shape_doc},
    {"prefetch", STPY_WITH_KEYWORDS(opened_prefetch), METH_VARARGS | METH_KEYWORDS, prefetch_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef opened_getset[] = {
    {"closed", opened_closed, NULL, "Whether the file was closed.", NULL},
    {"backend", opened_backend, NULL, "How the file is read, as it was asked for.", NULL},
    {"_file", opened_file, NULL, "What the file's tensors are read by.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define OPENED_SLOTS                                                         \
 {Py_tp_dealloc, (void *)opened_dealloc}, {Py_tp_methods, opened_methods},   \
     {Py_tp_getset, opened_getset}, {Py_tp_iter, (void *)opened_iter},       \
     {Py_nb_bool, (void *)stpy_true}, {Py_mp_length, (void *)opened_length}, \
     {Py_mp_subscript, (void *)opened_subscript},                            \
 {                                                                           \
  Py_sq_contains, (void *)opened_contains                                    \
 }

static PyType_Slot safe_open_slots[] = {
    {Py_tp_doc, (void *)safe_open_doc},
    {Py_tp_new, (void *)opened_new},
    OPENED_SLOTS,
    {0, NULL},
};

PyType_Spec stpy_safe_open_spec = {
    .name = "safetensors.safe_open",
    .basicsize = sizeof(opened),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = safe_open_slots,
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, (void *)handle_doc},
    {Py_tp_new, (void *)opened_new},
    OPENED_SLOTS,
    {0, NULL},
};

PyType_Spec stpy_handle_spec = {
    .name = "safetensors._safe_open_handle",
    .basicsize = sizeof(opened),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handle_slots,
};
