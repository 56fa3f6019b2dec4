/* SPDX-License-Identifier: Apache-2.0 */
/* Opening by path. */
#include "inputs.h"

/* ---------------------------------------------------------------------------------- opening */

int stpy_path_read(stpy_state *state, PyObject *object, stpy_place *out)
{
    *out = (stpy_place){.fd = -1};
    PyObject *path = PyOS_FSPath(object);
    if (!path)
        return -1;
    int failed = -1;
    if (PyUnicode_Check(path))
        failed = stpy_place_read(state, path, false, out);
    else
        stpy_raise_type("path", object, "a str or an os.PathLike of one");
    Py_DECREF(path);
    return failed;
}

st_file *stpy_path_open(stpy_state *state, PyObject *path)
{
    stpy_place place;
    st_error error;
    st_file *file;
    st_status status;
    if (stpy_path_read(state, path, &place))
        return NULL;
    const st_open_options options = {.context = state->context};
    const char *name = PyBytes_AsString(place.path);
    Py_BEGIN_ALLOW_THREADS
    status = st_file_open(name, &options, &file, &error);
    Py_END_ALLOW_THREADS
    if (status != ST_OK)
        file = stpy_raise(state, &error, STPY_OPEN, place.shown);
    stpy_place_release(&place);
    return file;
}

/* Whether a path is that of several files: a folder, or an index; -1 with an exception. */
static int is_several(const stpy_place *place)
{
    static const char ending[] = ".json";
    const size_t len = strlen(PyBytes_AsString(place->path)), ends = sizeof ending - 1;
    if (len > ends && strcmp(PyBytes_AsString(place->path) + len - ends, ending) == 0)
        return 1;
    return stpy_is_directory(place->shown);
}

/* Raises what is wrong with one file as for any other file that is opened. What is wrong with one of several files, or
 * with an index, is named by the library's message, and not by the path. */
static void *checkpoint_raise(stpy_state *state, const st_error *error, const stpy_place *place)
{
    int several = is_several(place);
    if (several < 0)
        return NULL;
    return stpy_raise(state, error, several ? STPY_READ : STPY_OPEN, several ? NULL : place->shown);
}

st_checkpoint *stpy_checkpoint_open(stpy_state *state, PyObject *path)
{
    stpy_place place;
    st_error error;
    st_checkpoint *checkpoint;
    st_status status;
    if (stpy_path_read(state, path, &place))
        return NULL;
    const st_open_options options = {.context = state->context};
    const char *name = PyBytes_AsString(place.path);
    Py_BEGIN_ALLOW_THREADS
    status = st_checkpoint_open(name, &options, &checkpoint, &error);
    Py_END_ALLOW_THREADS
    if (status != ST_OK)
        checkpoint = checkpoint_raise(state, &error, &place);
    stpy_place_release(&place);
    return checkpoint;
}
