/* SPDX-License-Identifier: Apache-2.0 */
#include "pick.h"

#include "inputs.h"

#include <string.h>

static int dtypes_read(stpy_state *state, PyObject *dtypes, stpy_pick *out)
{
    out->any_dtype = PyTuple_Size(dtypes) == 0;
    for (Py_ssize_t i = 0; i < PyTuple_Size(dtypes); i++) {
        PyObject *name = PyTuple_GetItem(dtypes, i); /* borrowed */
        const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
        st_dtype dtype = text ? stpy_dtype_named(text) : 0;
        if (text && !dtype)
            stpy_raise_variant(state, PyExc_ValueError, "dtype: %R is no dtype", name);
        if (!dtype)
            return -1;
        out->dtypes[dtype] = true;
    }
    return 0;
}

static int rules_read(PyObject *capsules, stpy_pick *out)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(capsules); i++) {
        const st_name_rule *rule = stpy_name_rule_of(PyTuple_GetItem(capsules, i));
        if (!rule)
            return -1;
        out->rules[out->show_count + out->hide_count] = rule;
        out->hide_count++;
    }
    return 0;
}

int stpy_pick_read(stpy_state *state, PyObject *tuple, stpy_pick *out)
{
    PyObject *show, *hide, *dtypes;
    *out = (stpy_pick){.any_dtype = true};
    if (tuple == Py_None)
        return 0;
    if (!PyTuple_Check(tuple)) {
        stpy_raise_type("picked", tuple, "a tuple, or None");
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "O!O!O!:pick", &PyTuple_Type, &show, &PyTuple_Type, &hide,
                          &PyTuple_Type, &dtypes))
        return -1;
    size_t count = (size_t)PyTuple_Size(show) + (size_t)PyTuple_Size(hide);
    out->rules = PyMem_Calloc(count + 1, sizeof *out->rules);
    if (!out->rules) {
        PyErr_NoMemory();
        return -1;
    }
    if (rules_read(show, out))
        return -1;
    out->show_count = out->hide_count;
    out->hide_count = 0;
    return rules_read(hide, out) || dtypes_read(state, dtypes, out) ? -1 : 0;
}

void stpy_pick_release(stpy_pick *self)
{
    PyMem_Free(self->rules);
}

/* Whether one of the rules from `first` on matches. */
static st_status any_matches(const stpy_pick *self, const st_tensor *tensor, size_t first,
                             size_t count, bool *out, st_error *error)
{
    *out = false;
    for (size_t i = first; i < first + count && !*out; i++) {
        st_status status =
            st_name_rule_match(self->rules[i], tensor->name, tensor->name_len, out, error);
        if (status != ST_OK)
            return status;
    }
    return ST_OK;
}

st_status stpy_pick_takes(const stpy_pick *self, const st_tensor *tensor, bool *out,
                          st_error *error)
{
    bool shown = true, hidden = false;
    st_status status = ST_OK;
    *out = self->any_dtype || (tensor->dtype <= ST_DTYPE_COUNT && self->dtypes[tensor->dtype]);
    if (*out && self->show_count)
        status = any_matches(self, tensor, 0, self->show_count, &shown, error);
    if (*out && status == ST_OK)
        status = any_matches(self, tensor, self->show_count, self->hide_count, &hidden, error);
    *out = *out && shown && !hidden;
    return status;
}
