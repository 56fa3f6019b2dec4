/* SPDX-License-Identifier: Apache-2.0 */
/* What is opened, as the library's source: paths, descriptors, file objects and memory. */
#include "extension.h"

/* ---------------------------------------------------------------------------------- memory */

/* Releases memory that an st_buffer, the `ctx`, keeps. */
static void buffer_drop(void *ctx, void *data, size_t size)
{
    (void)data;
    (void)size;
    st_buffer_release(ctx);
}

st_memory stpy_buffer_memory(st_buffer *buffer)
{
    return (st_memory){st_buffer_data(buffer), st_buffer_size(buffer), buffer_drop, buffer};
}

st_source *stpy_source_of_buffer(stpy_state *state, st_buffer *buffer, const char *name)
{
    const st_memory memory = stpy_buffer_memory(buffer);
    st_open_options options = {.context = state->context, .name = name};
    st_source *source;
    st_error error;
    if (st_source_open_memory(&memory, &options, &source, &error)) {
        st_buffer_release(buffer);
        return stpy_raise(state, &error, STPY_OPEN, NULL);
    }
    return source;
}

/* ---------------------------------------------------------------------------- file objects */

/* Whole contents of a file object that has no descriptor, from its start where it can seek. */
static PyObject *contents_of(stpy_state *state, PyObject *file)
{
    PyObject *const *names = state->names;
    PyObject *zero = PyLong_FromLong(0);
    if (!zero)
        return NULL;
    PyObject *position = PyObject_CallMethodObjArgs(file, names[STPY_NAME_tell], NULL);
    PyObject *moved =
        position ? PyObject_CallMethodObjArgs(file, names[STPY_NAME_seek], zero, NULL) : NULL;
    Py_DECREF(zero);
    /* What cannot seek is read from where it stands. */
    PyObject *contents =
        stpy_forgive() ? NULL : PyObject_CallMethodObjArgs(file, names[STPY_NAME_read], NULL);
    if (moved && contents) {
        PyObject *back = PyObject_CallMethodObjArgs(file, names[STPY_NAME_seek], position, NULL);
        if (!back)
            Py_CLEAR(contents);
        Py_XDECREF(back);
    }
    Py_XDECREF(moved);
    Py_XDECREF(position);
    if (contents && PyUnicode_Check(contents)) {
        Py_DECREF(contents);
        PyErr_SetString(PyExc_TypeError, "the file is open as text; open it in binary mode");
        return NULL;
    }
    return contents;
}

/* The name for messages in *out, as bytes; NULL where there is none, or none that the system could have. */
static int name_encode(PyObject *shown, PyObject **out)
{
    *out = shown ? PyUnicode_EncodeFSDefault(shown) : NULL;
    return stpy_forgive();
}

static st_source *source_of_contents(stpy_state *state, PyObject *contents, PyObject *shown)
{
    bool readonly;
    PyObject *name;
    if (name_encode(shown, &name))
        return NULL;
    st_buffer *buffer = stpy_buffer_of_object(state, contents, &readonly);
    if (!buffer) {
        Py_XDECREF(name);
        return NULL;
    }
    st_source *source = stpy_source_of_buffer(state, buffer, name ? PyBytes_AsString(name) : NULL);
    Py_XDECREF(name);
    return source;
}

static st_source *source_of_object(stpy_state *state, PyObject *file, PyObject *shown)
{
    PyObject *contents = contents_of(state, file);
    st_source *source = contents ? source_of_contents(state, contents, shown) : NULL;
    Py_XDECREF(contents);
    return source;
}

/* What was written to a file object reaches its descriptor; one that cannot flush has nothing to. */
static int flush_file(PyObject *file)
{
    PyObject *flush = PyObject_GetAttrString(file, "flush");
    if (!flush && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return 0;
    }
    PyObject *done = flush ? PyObject_CallNoArgs(flush) : NULL;
    Py_XDECREF(flush);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

st_source *stpy_source_open(stpy_state *state, const stpy_place *place)
{
    st_source *source;
    st_error error;
    st_status status;
    PyObject *name = NULL;
    if (place->contents)
        return source_of_contents(state, place->contents, NULL);
    if (!place->path && place->fd < 0)
        return source_of_object(state, place->file, place->shown);
    if ((place->file && flush_file(place->file)) ||
        name_encode(place->path ? NULL : place->shown, &name))
        return NULL;
    const char *path = place->path ? PyBytes_AsString(place->path) : NULL;
    st_open_options options = {.context = state->context,
                               .name = name ? PyBytes_AsString(name) : NULL};
    Py_BEGIN_ALLOW_THREADS
    status = path ? st_source_open(path, &options, &source, &error)
                  : st_source_open_fd(place->fd, &options, &source, &error);
    Py_END_ALLOW_THREADS
    Py_XDECREF(name);
    return status ? stpy_raise(state, &error, STPY_OPEN, place->shown) : source;
}
