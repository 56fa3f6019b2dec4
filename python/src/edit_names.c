/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of an edit by their whole names: a program may have a name for each of very many tensors, and to look each
 * one up among all of them as a pattern would take it hours. */
#include "edit.h"

#include <string.h>

bool stpy_is_name(const char *pattern)
{
    return !strpbrk(pattern, "*?[\\");
}

/* Names and where they are, (file, index), of all that is in; None where one name is that of two. */
static PyObject *names_make(const stpy_edit *self)
{
    PyObject *names = PyDict_New();
    Py_ssize_t count = 0;
    for (size_t i = 0; i < self->count && names; i++) {
        const stpy_edited *file = &self->files[i];
        for (size_t t = 0; t < st_file_count(file->file) && names; t++) {
            const st_tensor *tensor = st_file_at(file->file, t);
            if (file->fates[t].dropped)
                continue;
            PyObject *name =
                PyUnicode_FromStringAndSize(tensor->name, (Py_ssize_t)tensor->name_len);
            PyObject *place = name ? Py_BuildValue("nn", (Py_ssize_t)i, (Py_ssize_t)t) : NULL;
            if (!place || PyDict_SetItem(names, name, place))
                Py_CLEAR(names);
            Py_XDECREF(place);
            Py_XDECREF(name);
            count++;
        }
    }
    if (!names || PyDict_Size(names) == count)
        return names;
    Py_DECREF(names);
    return Py_NewRef(Py_None);
}

void stpy_names_lose(stpy_edit *self)
{
    PyObject *old = self->names;
    self->names = Py_NewRef(Py_None);
    Py_XDECREF(old);
}

/* Gives the tensor at `place` its new name. */
static int name_give(stpy_edit *self, PyObject *place, PyObject *old, PyObject *new)
{
    Py_ssize_t file, index, len;
    st_error error;
    const char *text = PyUnicode_AsUTF8AndSize(new, &len);
    if (!text || !PyArg_ParseTuple(place, "nn", &file, &index))
        return -1;
    const stpy_edited *edited = &self->files[file];
    if (st_edit_rename(edited->edit, st_file_at(edited->file, (size_t)index), text, (size_t)len,
                       &error)) {
        stpy_edit_raise(self->state, &error);
        return -1;
    }
    Py_INCREF(place);
    int failed = PyDict_DelItem(self->names, old);
    int taken = failed ? -1 : PyDict_Contains(self->names, new);
    if (taken == 0)
        failed = PyDict_SetItem(self->names, new, place);
    else if (taken > 0)
        stpy_names_lose(self); /* both have it now, until one of the next renames both */
    Py_DECREF(place);
    return failed || taken < 0 ? -1 : 0;
}

int stpy_rename_exact(stpy_edit *self, const char *pattern, const char *replacement)
{
    if (!stpy_is_name(pattern) || strpbrk(replacement, "*\\"))
        return 0;
    if (!self->names && !(self->names = names_make(self)))
        return -1;
    if (self->names == Py_None)
        return 0;
    PyObject *old = PyUnicode_FromString(pattern);
    PyObject *new = PyUnicode_FromString(replacement);
    PyObject *place = old && new ? PyDict_GetItemWithError(self->names, old) : NULL;
    int done = PyErr_Occurred() ? -1 : place != NULL;
    if (done > 0 && name_give(self, place, old, new))
        done = -1;
    Py_XDECREF(new);
    Py_XDECREF(old);
    return done;
}
