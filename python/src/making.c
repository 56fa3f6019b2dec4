/* SPDX-License-Identifier: Apache-2.0 */
/* How files are made, and what came of it, for the functions that write them. */
#include "edit.h"

int stpy_making_read(PyObject *tuple, stpy_making *out, stpy_watch *watch)
{
    PyObject *progress;
    if (!PyArg_ParseTuple(tuple, "IIKIIpO:making", &out->order, &out->alignment, &out->reserve,
                          &out->durability, &out->flags, &out->dry_run, &progress))
        return -1;
    return stpy_watch_read(progress, watch);
}

st_edit_options stpy_making_options(const stpy_making *making, stpy_state *state, stpy_watch *watch)
{
    return (st_edit_options){.order = making->order,
                             .alignment = making->alignment,
                             .reserve = making->reserve,
                             .context = state->context,
                             .progress = stpy_watch_progress(watch)};
}

st_sink_options stpy_making_sink(const stpy_making *making, stpy_state *state)
{
    return (st_sink_options){
        .durability = making->durability, .flags = making->flags, .context = state->context};
}

st_status stpy_making_write(const stpy_making *making, stpy_state *state, st_edit *edit,
                            const char *path, st_edit_summary *out, st_error *error)
{
    const st_sink_options options = stpy_making_sink(making, state);
    st_sink *sink;
    st_status status = st_sink_open(path, &options, &sink, error);
    if (status != ST_OK)
        return status;
    status = st_edit_write(edit, sink, out, error);
    st_sink_release(sink);
    return status;
}

void *stpy_edit_raise(stpy_state *state, const st_error *error)
{
    if (error->status == ST_ERR_ARGUMENT && !PyErr_Occurred())
        return stpy_raise_variant(state, PyExc_ValueError, "%s", error->message);
    return stpy_raise(state, error, STPY_EDIT, NULL);
}

PyObject *stpy_summary_object(const st_edit_summary *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"size", s->size},
                   {"count", s->count},
                   {"renamed", s->renamed},
                   {"dropped", s->dropped},
                   {"cast", s->cast},
                   {"replaced", s->replaced},
                   {"added", s->added},
                   {"moved", s->moved},
                   {"written", s->written},
                   {"room", s->room},
                   {"header", s->header},
                   {"overflowed", s->overflowed},
                   {"underflowed", s->underflowed}};
    PyObject *out = PyDict_New();
    int failed = out ? PyDict_SetItemString(out, "in_place", s->in_place ? Py_True : Py_False) : -1;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !failed; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(numbers[i].value);
        failed = value ? PyDict_SetItemString(out, numbers[i].name, value) : -1;
        Py_XDECREF(value);
    }
    if (failed)
        Py_CLEAR(out);
    return out;
}
