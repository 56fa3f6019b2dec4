/* SPDX-License-Identifier: Apache-2.0 */
/* The library's errors as Python exceptions. */
#include "extension.h"

#include <errno.h>

void *stpy_raise_text(stpy_state *state, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    if (text) {
        PyErr_SetObject(state->error, text);
        Py_DECREF(text);
    }
    return NULL;
}

int stpy_forgive(void)
{
    if (!PyErr_Occurred())
        return 0;
    if (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    return 0;
}

/* ------------------------------------------------- classes that are SafetensorError and more */

#define CLASS_PREFIX "safetensors._safetensors_rust."
#define OWN_PREFIX   "Safetensor"

/* X(name): the built-in exceptions of which SafetensorError has a variant. */
#define VARIANT_MAP(X)     \
 X(IndexError)             \
 X(KeyError)               \
 X(ValueError)             \
 X(OSError)                \
 X(BlockingIOError)        \
 X(BrokenPipeError)        \
 X(ChildProcessError)      \
 X(ConnectionAbortedError) \
 X(ConnectionError)        \
 X(ConnectionRefusedError) \
 X(ConnectionResetError)   \
 X(FileExistsError)        \
 X(FileNotFoundError)      \
 X(InterruptedError)       \
 X(IsADirectoryError)      \
 X(NotADirectoryError)     \
 X(PermissionError)        \
 X(ProcessLookupError)     \
 X(TimeoutError)

/* OSError's own __str__ begins with "[Errno 13]", and KeyError's quotes; here the message stands alone, as
 * upstream's does. */
static PyObject *message_str(PyObject *self)
{
    PyObject *text = PyObject_GetAttrString(self, "strerror");
    if (text && PyUnicode_Check(text))
        return text;
    Py_XDECREF(text);
    if (stpy_forgive())
        return NULL;
    reprfunc str = (reprfunc)PyType_GetSlot((PyTypeObject *)PyExc_BaseException, Py_tp_str);
    return str(self);
}

static PyObject *variant_make(stpy_state *state, PyObject *module, const char *full_name,
                              PyObject *builtin)
{
    PyType_Slot slots[] = {
        {Py_tp_doc,
         (void *)"A SafetensorError that is the built-in exception of its name as well."},
        {builtin == PyExc_IndexError ? 0 : Py_tp_str, (void *)message_str},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = full_name, .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, .slots = slots};
    PyObject *bases = PyTuple_Pack(2, state->error, builtin);
    if (!bases)
        return NULL;
    PyObject *made = PyType_FromModuleAndSpec(module, &spec, bases);
    Py_DECREF(bases);
    /* Python 3.11 does not always say that it is out of memory. */
    return made || PyErr_Occurred() ? made : PyErr_NoMemory();
}

/* The class that the module has already, or a new one; the module is locked. */
static PyObject *variant_of(stpy_state *state, PyObject *module, const char *full_name,
                            PyObject *builtin)
{
    const char *name = full_name + sizeof CLASS_PREFIX - 1;
    PyObject *members = PyModule_GetDict(module); /* borrowed */
    PyObject *key = PyUnicode_FromString(name);
    if (!members || !key) {
        Py_XDECREF(key);
        return NULL;
    }
    PyObject *class = PyDict_GetItemWithError(members, key);
    if (class) {
        Py_INCREF(class);
    } else if (!PyErr_Occurred()) {
        class = variant_make(state, module, full_name, builtin);
        if (class && PyDict_SetItem(members, key, class))
            Py_CLEAR(class);
    }
    Py_DECREF(key);
    return class;
}

PyObject *stpy_error_class(stpy_state *state, PyObject *module, const char *name)
{
    static const char *const full_names[] = {
#define FULL_NAME(builtin) CLASS_PREFIX OWN_PREFIX #builtin,
        VARIANT_MAP(FULL_NAME)
#undef FULL_NAME
    };
    PyObject *const builtins[] = {
#define BUILTIN(builtin) PyExc_##builtin,
        VARIANT_MAP(BUILTIN)
#undef BUILTIN
    };
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++)
        if (strcmp(full_names[i] + sizeof CLASS_PREFIX - 1, name) == 0) {
            PyObject *class;
            STPY_BEGIN_LOCKED(module);
            class = variant_of(state, module, full_names[i], builtins[i]);
            STPY_END_LOCKED();
            return class;
        }
    return PyErr_Format(PyExc_AttributeError,
                        "module 'safetensors._safetensors_rust' has no attribute '%s'", name);
}

/* The variant for a built-in class; `state->file_type` knows the module. */
static PyObject *variant_for(stpy_state *state, PyObject *builtin)
{
    char name[64] = OWN_PREFIX;
    PyObject *suffix = PyType_GetName((PyTypeObject *)builtin);
    const char *text = suffix ? PyUnicode_AsUTF8AndSize(suffix, NULL) : NULL;
    PyObject *module = PyType_GetModule(state->file_type); /* borrowed */
    PyObject *class = NULL;
    if (text && module) {
        PyOS_snprintf(name, sizeof name, OWN_PREFIX "%s", text);
        class = stpy_error_class(state, module, name);
    }
    Py_XDECREF(suffix);
    return class;
}

void *stpy_raise_variant(stpy_state *state, PyObject *builtin, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    PyObject *class = text ? variant_for(state, builtin) : NULL;
    if (class)
        PyErr_SetObject(class, text);
    Py_XDECREF(class);
    Py_XDECREF(text);
    return NULL;
}

/* ---------------------------------------------------------------------- the system's refusals */

/* Raises `class`, or the subclass of OSError that the errno asks for, with errno and text. */
static void *raise_errno(PyObject *class, int number, const char *message)
{
    PyObject *made = PyObject_CallFunction(class, "is", number, message);
    if (made) {
        PyErr_SetObject((PyObject *)Py_TYPE(made), made);
        Py_DECREF(made);
    }
    return NULL;
}

/* str() of it is upstream's text; OSError shows errno and file name in it only if they come as arguments. */
static void *raise_not_found(PyObject *path)
{
    PyObject *made = NULL;
    PyObject *number = PyLong_FromLong(ENOENT);
    PyObject *text = number ? PyUnicode_FromFormat("No such file or directory: %S", path) : NULL;
    if (text)
        made = PyObject_CallFunctionObjArgs(PyExc_FileNotFoundError, text, NULL);
    if (made && PyObject_SetAttrString(made, "errno", number) == 0)
        PyErr_SetObject(PyExc_FileNotFoundError, made);
    Py_XDECREF(made);
    Py_XDECREF(text);
    Py_XDECREF(number);
    return NULL;
}

int stpy_is_directory(PyObject *path)
{
    PyObject *ask = stpy_import("os.path", "isdir");
    PyObject *answer = ask ? PyObject_CallFunctionObjArgs(ask, path, NULL) : NULL;
    int yes = answer == Py_True;
    Py_XDECREF(answer);
    Py_XDECREF(ask);
    return stpy_forgive() ? -1 : yes;
}

static void *raise_open(const st_error *error, PyObject *path)
{
    int number = error->sys_errno;
    if (error->status == ST_ERR_NOT_REGULAR) {
        int directory = path ? stpy_is_directory(path) : 0;
        if (directory < 0)
            return NULL;
        number = directory ? EISDIR : 0;
    }
    if (number == 0)
        return PyErr_Format(PyExc_OSError, "%s", error->message);
    if (!path)
        return raise_errno(PyExc_OSError, number, error->message);
    if (number == ENOENT)
        return raise_not_found(path);
    errno = number;
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
}

static void *raise_save(stpy_state *state, const st_error *error, const char *beginning)
{
    char message[sizeof error->message + 32];
    PyOS_snprintf(message, sizeof message, "%s%s", beginning, error->message);
    PyObject *plain = PyObject_CallFunction(PyExc_OSError, "is", (int)error->sys_errno, "");
    if (!plain)
        return NULL;
    PyObject *class = variant_for(state, (PyObject *)Py_TYPE(plain));
    Py_DECREF(plain);
    if (class)
        raise_errno(class, error->sys_errno, message);
    Py_XDECREF(class);
    return NULL;
}

/* ------------------------------------------------------------------------- the library's own */

/* Upstream's short phrase for what is wrong with a file. */
static const char *phrase_of(st_status status)
{
    switch (status) {
    case ST_ERR_HEADER_TOO_SMALL: return "header too small";
    case ST_ERR_HEADER_TOO_LARGE: return "header too large";
    case ST_ERR_HEADER_LENGTH: return "invalid header length";
    case ST_ERR_HEADER_UTF8: return "invalid UTF-8 in header";
    case ST_ERR_OFFSETS: return "invalid offset for tensor";
    case ST_ERR_OVERFLOW: return "overflow computing buffer size from shape and/or element type";
    case ST_ERR_MISALIGNED: return "the tensor does not end up at a byte boundary";
    case ST_ERR_SIZE_MISMATCH: return "invalid shape, data type, or offset for tensor";
    case ST_ERR_FILE_TRUNCATED:
    case ST_ERR_TRAILING_BYTES: return "incomplete metadata, file not fully covered";
    default: return "invalid JSON in header";
    }
}

static bool is_bad_file(st_status status)
{
    return status >= ST_ERR_HEADER_TOO_SMALL && status <= ST_ERR_TRAILING_BYTES;
}

void *stpy_raise(stpy_state *state, const st_error *error, enum stpy_action action, PyObject *path)
{
    static const char *const beginnings[] = {
        [STPY_OPEN] = "Error while deserializing header: ",
        [STPY_DESERIALIZE] = "Error while deserializing: ",
        [STPY_READ] = "",
        [STPY_SAVE] = "Error while serializing: ",
        [STPY_EDIT] = "",
        [STPY_SLICE] = "",
    };
    if (PyErr_Occurred())
        return NULL;
    if (error->status == ST_ERR_NOMEM)
        return PyErr_Format(PyExc_MemoryError, "%s", error->message);
    if (action == STPY_OPEN && error->status == ST_ERR_NOT_REGULAR)
        return raise_open(error, path);
    if (error->status == ST_ERR_IO && error->sys_errno) {
        if (action == STPY_OPEN)
            return raise_open(error, path);
        if (action == STPY_SAVE || action == STPY_EDIT)
            return raise_save(state, error, beginnings[action]);
        return raise_errno(PyExc_OSError, error->sys_errno, error->message);
    }
    const char *beginning = beginnings[action];
    if (is_bad_file(error->status) && *beginning)
        return stpy_raise_text(state, "%s%s: %s", beginning, phrase_of(error->status),
                               error->message);
    return stpy_raise_text(state, "%s%s", beginning, error->message);
}
