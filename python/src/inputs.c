/* SPDX-License-Identifier: Apache-2.0 */
/* Opening by path; and _checkpoint: which files a checkpoint has, and which tensors lie in them. */
#include "edit.h"

#include <errno.h>

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

/* Puts right what edits that were interrupted have left. What cannot be found or changed is left to the opening. */
static st_status path_settle(const char *path, st_context *context, st_error *error)
{
    st_status status = st_checkpoint_recover(path, context, NULL, error);
    if (status == ST_ERR_UNSUPPORTED)
        return ST_OK;
    int reason = status == ST_ERR_IO ? error->sys_errno : 0;
    bool is_left = reason == ENOENT || reason == ENOTDIR || reason == EACCES || reason == EPERM ||
                   reason == EROFS;
    return is_left ? ST_OK : status;
}

static st_checkpoint *checkpoint_open(stpy_state *state, PyObject *path, st_context *context,
                                      bool settles)
{
    stpy_place place;
    st_error error;
    st_checkpoint *checkpoint = NULL;
    st_status settled = ST_OK, status = ST_OK;
    if (stpy_path_read(state, path, &place))
        return NULL;
    const st_open_options options = {.context = context};
    const char *name = PyBytes_AsString(place.path);
    Py_BEGIN_ALLOW_THREADS
    if (settles)
        settled = path_settle(name, state->context, &error);
    if (settled == ST_OK)
        status = st_checkpoint_open(name, &options, &checkpoint, &error);
    Py_END_ALLOW_THREADS
    if (settled != ST_OK)
        stpy_edit_raise(state, &error);
    else if (status != ST_OK)
        checkpoint = checkpoint_raise(state, &error, &place);
    stpy_place_release(&place);
    return checkpoint;
}

st_checkpoint *stpy_checkpoint_open(stpy_state *state, PyObject *path)
{
    return checkpoint_open(state, path, state->context, false);
}

st_checkpoint *stpy_checkpoint_open_source(stpy_state *state, PyObject *path,
                                           const stpy_making *making)
{
    return checkpoint_open(state, path, state->context, !making->dry_run);
}

st_checkpoint *stpy_checkpoint_open_alone(stpy_state *state, PyObject *path,
                                          const stpy_making *making)
{
    return checkpoint_open(state, path, NULL, !making->dry_run);
}

bool stpy_checkpoint_is_file(const st_checkpoint *checkpoint)
{
    return !st_checkpoint_index(checkpoint) && st_checkpoint_file_count(checkpoint) == 1 &&
           strcmp(st_file_name(st_checkpoint_file(checkpoint, 0)),
                  st_checkpoint_name(checkpoint)) == 0;
}

PyObject *stpy_shard_object(const st_checkpoint *checkpoint, size_t file_index)
{
    if (stpy_checkpoint_is_file(checkpoint))
        Py_RETURN_NONE;
    return PyUnicode_DecodeFSDefault(st_checkpoint_file_name(checkpoint, file_index));
}

/* -------------------------------------------------------------------------------- _checkpoint */

/* [(name, [tensor, ...]), ...], in the order of the data. */
static PyObject *files_object(const st_checkpoint *checkpoint)
{
    PyObject *files = PyList_New(0);
    for (size_t i = 0, at = 0; i < st_checkpoint_file_count(checkpoint) && files; i++) {
        PyObject *names = PyList_New(0);
        PyObject *file = Py_BuildValue(
            "NO", PyUnicode_DecodeFSDefault(st_checkpoint_file_name(checkpoint, i)), names);
        int failed = file ? PyList_Append(files, file) : -1;
        for (; at < st_checkpoint_count(checkpoint) && !failed; at++) {
            const st_checkpoint_tensor found = st_checkpoint_at(checkpoint, at);
            if (found.file_index != i)
                break;
            PyObject *name =
                PyUnicode_FromStringAndSize(found.tensor->name, found.tensor->name_len);
            failed = name ? PyList_Append(names, name) : -1;
            Py_XDECREF(name);
        }
        Py_XDECREF(file);
        Py_XDECREF(names);
        if (failed)
            Py_CLEAR(files);
    }
    return files;
}

/* A dict, or None where there is nothing. */
static PyObject *metadata_object(const st_checkpoint *checkpoint)
{
    size_t count = st_checkpoint_metadata_count(checkpoint);
    if (count == 0)
        Py_RETURN_NONE;
    PyObject *dict = PyDict_New();
    for (size_t i = 0; i < count && dict; i++) {
        const st_metadata *entry = st_checkpoint_metadata_at(checkpoint, i);
        PyObject *key = PyUnicode_FromStringAndSize(entry->key, entry->key_len);
        PyObject *value = PyUnicode_FromStringAndSize(entry->value, entry->value_len);
        if (!key || !value || PyDict_SetItem(dict, key, value))
            Py_CLEAR(dict);
        Py_XDECREF(value);
        Py_XDECREF(key);
    }
    return dict;
}

/* (index or None, [(name, [tensor, ...]), ...], metadata or None) */
PyObject *stpy_checkpoint_read(PyObject *module, PyObject *path)
{
    st_checkpoint *checkpoint = stpy_checkpoint_open(stpy_state_of_module(module), path);
    if (!checkpoint)
        return NULL;
    const char *index = st_checkpoint_index(checkpoint);
    PyObject *out =
        Py_BuildValue("NNN", index ? PyUnicode_DecodeFSDefault(index) : Py_NewRef(Py_None),
                      files_object(checkpoint), metadata_object(checkpoint));
    st_checkpoint_close(checkpoint);
    return out;
}
