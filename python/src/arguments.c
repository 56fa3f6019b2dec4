/* SPDX-License-Identifier: Apache-2.0 */
/* Paths, devices, frameworks and file objects out of Python arguments. */
#include "extension.h"

void *stpy_raise_type(const char *argument, PyObject *object, const char *wanted)
{
    PyObject *type = PyType_GetName(Py_TYPE(object));
    if (type)
        PyErr_Format(PyExc_TypeError, "argument '%s': '%U' object is not %s", argument, type,
                     wanted);
    Py_XDECREF(type);
    return NULL;
}

int stpy_has(PyObject *object, const char *attribute)
{
    PyObject *found = PyObject_GetAttrString(object, attribute);
    Py_XDECREF(found);
    return found ? 1 : stpy_forgive();
}

static int check_text(PyObject *object, const char *argument)
{
    if (PyUnicode_Check(object))
        return 0;
    stpy_raise_type(argument, object, "an instance of 'str'");
    return -1;
}

/* --------------------------------------------------------------------------------------- calls */

/* One keyword argument; `out` NULL: the method takes none of that name. */
static int call_keyword(const stpy_call *c, Py_ssize_t i, PyObject **name, PyObject **out)
{
    PyObject *keyword = PyTuple_GetItem(c->keywords, i);
    PyObject *value = c->args[c->count + i];
    if (out && PyUnicode_CompareWithASCIIString(keyword, "out") == 0) {
        *out = value;
    } else if (!*name && PyUnicode_CompareWithASCIIString(keyword, "name") == 0) {
        *name = value;
    } else {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", c->method,
                     keyword);
        return -1;
    }
    return 0;
}

int stpy_call_read(const stpy_call *c, PyObject **name, PyObject **out)
{
    Py_ssize_t named = c->keywords ? PyTuple_Size(c->keywords) : 0;
    *name = c->count == 1 ? c->args[0] : NULL;
    for (Py_ssize_t i = 0; i < named && c->count <= 1; i++)
        if (call_keyword(c, i, name, out))
            return -1;
    if (*name)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes 1 positional argument ('name') but %zd were given",
                 c->method, c->count);
    return -1;
}

/* ----------------------------------------------------------------------- framework and backend */

int stpy_framework_read(stpy_state *state, PyObject *object, enum stpy_framework *out)
{
    static const struct {
        const char *name;
        enum stpy_framework framework;
    } names[] = {
        {"pt", STPY_TORCH}, {"torch", STPY_TORCH},           {"pytorch", STPY_TORCH},
        {"np", STPY_NUMPY}, {"numpy", STPY_NUMPY},           {"tf", STPY_TENSORFLOW},
        {"jax", STPY_FLAX}, {"tensorflow", STPY_TENSORFLOW}, {"flax", STPY_FLAX},
        {"mlx", STPY_MLX},  {"paddle", STPY_PADDLE},
    };
    if (check_text(object, "framework"))
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (PyUnicode_CompareWithASCIIString(object, names[i].name) == 0) {
            *out = names[i].framework;
            return 0;
        }
    stpy_raise_text(state, "framework %U is invalid", object);
    return -1;
}

const char *stpy_framework_text(enum stpy_framework framework)
{
    static const char *const texts[] = {
        [STPY_TORCH] = "pytorch", [STPY_NUMPY] = "numpy", [STPY_TENSORFLOW] = "tensorflow",
        [STPY_FLAX] = "flax",     [STPY_MLX] = "mlx",     [STPY_PADDLE] = "paddle",
    };
    return texts[framework];
}

const char *stpy_backend_text(enum stpy_backend backend)
{
    static const char *const texts[] = {[STPY_MMAP] = "mmap",
                                        [STPY_PREAD] = "pread",
                                        [STPY_DIRECT] = "direct",
                                        [STPY_AUTO] = "auto"};
    return texts[backend];
}

int stpy_backend_read(stpy_state *state, PyObject *object, enum stpy_backend *out)
{
    *out = STPY_MMAP;
    if (!object || object == Py_None)
        return 0;
    if (check_text(object, "backend"))
        return -1;
    for (; *out <= STPY_AUTO; ++*out)
        if (PyUnicode_CompareWithASCIIString(object, stpy_backend_text(*out)) == 0)
            return 0;
    stpy_raise_text(state,
                    "backend \"%U\" is invalid (expected one of: \"mmap\", \"pread\") or of this "
                    "package's own: \"direct\", \"auto\"",
                    object);
    return -1;
}

/* -------------------------------------------------------------------------------------- device */

static int device_invalid(stpy_state *state, PyObject *object)
{
    if (PyUnicode_Check(object))
        stpy_raise_text(state, "device %U is invalid", object);
    else
        stpy_raise_text(state, "device %R is invalid", object);
    return -1;
}

/* Reads the index of "cuda:7", or of "cuda", which is 0. */
static bool index_read(const char *text, unsigned long long *out)
{
    *out = 0;
    if (*text == '\0')
        return true;
    if (*text++ != ':')
        return false;
    if (*text == '+')
        text++;
    if (*text == '\0')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (*out > (UINT32_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (unsigned long long)(*text - '0');
    }
    return *text == '\0';
}

/* torch, a new reference; NULL without an exception where the program neither asks for it nor has imported it. */
static PyObject *torch_for(enum stpy_framework framework)
{
    if (framework == STPY_TORCH)
        return PyImport_ImportModule("torch");
    PyObject *name = PyUnicode_FromString("torch");
    PyObject *torch = name ? PyImport_GetModule(name) : NULL;
    Py_XDECREF(name);
    return torch;
}

/* str() of what torch.device makes of `object`; NULL, with an exception or without, where that is nothing. */
static PyObject *torch_device(PyObject *torch, PyObject *object)
{
    PyObject *type = PyObject_GetAttrString(torch, "device");
    PyObject *device = NULL;
    if (type && (PyUnicode_Check(object) || PyObject_IsInstance(object, type) == 1))
        device = PyObject_CallFunctionObjArgs(type, object, NULL);
    PyObject *text = device ? PyObject_Str(device) : NULL;
    Py_XDECREF(device);
    Py_XDECREF(type);
    return text;
}

static int device_of_torch(stpy_state *state, PyObject *object, enum stpy_framework framework,
                           PyObject **out)
{
    PyObject *torch = torch_for(framework);
    if (!torch && PyErr_Occurred())
        return -1;
    PyObject *text = torch ? torch_device(torch, object) : NULL;
    Py_XDECREF(torch);
    if (!text)
        return stpy_forgive() ? -1 : device_invalid(state, object);
    *out = text;
    return 0;
}

/* "cuda" and its kin as "cuda:0"; "mps"; the CPU as NULL; what only torch knows, as torch says. */
static int device_of_text(stpy_state *state, PyObject *object, enum stpy_framework framework,
                          PyObject **out)
{
    static const char *const kinds[] = {"cuda", "musa", "npu", "xpu", "xla", "mlu", "hpu"};
    const char *text = PyUnicode_AsUTF8AndSize(object, NULL);
    unsigned long long index;
    if (!text)
        return -1;
    if (strcmp(text, "cpu") == 0 || strcmp(text, "cpu:0") == 0)
        return 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t len = strlen(kinds[i]);
        if (strncmp(text, kinds[i], len) != 0 || (text[len] != '\0' && text[len] != ':'))
            continue;
        if (!index_read(text + len, &index))
            return device_invalid(state, object);
        *out = PyUnicode_FromFormat("%s:%llu", kinds[i], index);
        return *out ? 0 : -1;
    }
    if (strncmp(text, "mps", 3) == 0 && (text[3] == '\0' || text[3] == ':')) {
        if (!index_read(text + 3, &index))
            return device_invalid(state, object);
        if (index != 0) {
            stpy_raise_text(state, "device %U is invalid: only mps or mps:0 is supported", object);
            return -1;
        }
        *out = PyUnicode_FromString("mps");
        return *out ? 0 : -1;
    }
    return strncmp(text, "cpu", 3) == 0 ? device_invalid(state, object)
                                        : device_of_torch(state, object, framework, out);
}

int stpy_device_read(stpy_state *state, PyObject *object, enum stpy_framework framework,
                     PyObject **out)
{
    *out = NULL;
    if (!object || object == Py_None)
        return 0;
    if (PyUnicode_Check(object))
        return device_of_text(state, object, framework, out);
    if (PyIndex_Check(object)) {
        PyObject *index = PyNumber_Index(object);
        size_t number = index ? PyLong_AsSize_t(index) : (size_t)-1;
        if (number != (size_t)-1 || !PyErr_Occurred()) {
            *out = index;
            return 0;
        }
        Py_XDECREF(index);
        return stpy_forgive() ? -1 : device_invalid(state, object);
    }
    PyObject *text;
    if (device_of_torch(state, object, framework, &text))
        return -1;
    int failed = device_of_text(state, text, framework, out);
    Py_DECREF(text);
    return failed;
}

/* -------------------------------------------------------------------------------------- places */

/* Whether the object's descriptor gives other bytes than its read(): gzip, bz2 and lzma unpack. -1 on failure. */
static int is_unpacking(PyObject *file)
{
    PyObject *classes = PyObject_GetAttrString((PyObject *)Py_TYPE(file), "__mro__");
    Py_ssize_t count = classes ? PyTuple_Size(classes) : 0;
    int found = 0;
    for (Py_ssize_t i = 0; i < count && !found; i++) {
        PyObject *name = PyType_GetName((PyTypeObject *)PyTuple_GetItem(classes, i));
        found = name && PyUnicode_CompareWithASCIIString(name, "BaseStream") == 0;
        Py_XDECREF(name);
    }
    Py_XDECREF(classes);
    return stpy_forgive() ? -1 : found;
}

/* The object's descriptor in *out, or -1 where it has none that gives its bytes. */
static int descriptor_of(stpy_state *state, PyObject *file, int *out)
{
    PyObject *fileno = PyObject_GetAttr(file, state->names[STPY_NAME_fileno]);
    PyObject *number = fileno ? PyObject_CallNoArgs(fileno) : NULL;
    int overflow, unpacking = 0;
    long fd = number && PyLong_Check(number) ? PyLong_AsLongAndOverflow(number, &overflow) : -1;
    Py_XDECREF(number);
    Py_XDECREF(fileno);
    if (stpy_forgive())
        return -1;
    if (fd >= 0)
        unpacking = is_unpacking(file);
    *out = fd < 0 || fd > INT32_MAX || unpacking ? -1 : (int)fd;
    return unpacking < 0 ? -1 : 0;
}

static int place_of_path(PyObject *path, stpy_place *out)
{
    if (!PyUnicode_FSConverter(path, &out->path))
        return -1;
    if (PyUnicode_Check(path))
        out->shown = PyUnicode_FromObject(path); /* a str, where it is of a subclass */
    else if (!PyUnicode_FSDecoder(path, &out->shown))
        out->shown = NULL;
    if (out->shown)
        return 0;
    stpy_place_release(out);
    return -1;
}

static int place_of_file(stpy_state *state, PyObject *file, int fd, stpy_place *out)
{
    PyObject *name = PyObject_GetAttr(file, state->names[STPY_NAME_name]);
    if (!name && stpy_forgive())
        return -1;
    if (name && PyUnicode_Check(name))
        out->shown = PyUnicode_FromObject(name);
    Py_XDECREF(name);
    out->file = file;
    out->fd = fd;
    return PyErr_Occurred() ? -1 : 0;
}

static int place_of_number(PyObject *number, stpy_place *out)
{
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (fd < 0 || fd > INT32_MAX || overflow) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%R is not a file descriptor", number);
        return -1;
    }
    out->fd = (int)fd;
    return 0;
}

/* Whether the object holds a file's bytes. */
static bool is_contents(PyObject *object)
{
    char *data;
    Py_ssize_t size;
    uint64_t length;
    if (!PyBytes_Check(object))
        return PyObject_CheckBuffer(object);
    return PyBytes_AsStringAndSize(object, &data, &size) == 0 &&
           st_header_length(data, (size_t)size, (uint64_t)size, NULL, &length, NULL) == ST_OK;
}

int stpy_place_read(stpy_state *state, PyObject *object, bool reading, stpy_place *out)
{
    *out = (stpy_place){.fd = -1};
    if (PyUnicode_Check(object))
        return place_of_path(object, out);
    if (reading && is_contents(object)) {
        out->contents = object;
        return 0;
    }
    if (PyLong_Check(object) && !PyBool_Check(object))
        return place_of_number(object, out);
    int fd;
    if (descriptor_of(state, object, &fd))
        return -1;
    if (fd >= 0)
        return place_of_file(state, object, fd, out);
    int is = stpy_has(object, "__fspath__");
    if (is)
        return is < 0 ? -1 : place_of_path(object, out);
    is = stpy_has(object, "read");
    if (!is)
        is = stpy_has(object, "write");
    if (is)
        return is < 0 ? -1 : place_of_file(state, object, -1, out);
    stpy_raise_type("filename", object,
                    reading ? "a str, an os.PathLike, a file object or a file's bytes"
                            : "a str, an os.PathLike or a file object");
    return -1;
}

void stpy_place_release(stpy_place *place)
{
    Py_CLEAR(place->path);
    Py_CLEAR(place->shown);
    place->file = NULL;
    place->contents = NULL;
    place->fd = -1;
}
