/* SPDX-License-Identifier: Apache-2.0 */
/* _edit: a file changed, or written anew with changes, for safetensors/edit.py. */
#include "edit.h"

/* A data section that begins at a page does so on purpose, and is to go on doing so. */
#define PAGE 4096

/* -------------------------------------------------------------------------------- arguments */

int stpy_making_read(PyObject *tuple, stpy_making *out, stpy_watch *watch)
{
    PyObject *progress;
    if (!PyArg_ParseTuple(tuple, "IIKIIpO:making", &out->order, &out->alignment, &out->reserve,
                          &out->durability, &out->flags, &out->dry_run, &progress))
        return -1;
    return stpy_watch_read(progress, watch);
}

/* --------------------------------------------------------------------------------- callbacks */

/* Behind the last one tells whether the file is to be made, so that an error can count them all. Called without the
 * GIL; there is room for each cast. */
static bool loss_note(void *ctx, const st_tensor *tensor, uint64_t overflowed, uint64_t underflowed)
{
    stpy_edit *self = ctx;
    self->losses[self->loss_count++] = (stpy_loss){tensor, overflowed, underflowed};
    self->lossy = self->lossy || overflowed > 0;
    self->refused = self->strict && self->lossy && self->loss_count == self->summary.cast;
    return !self->refused;
}

/* ----------------------------------------------------------------------------------- errors */

void *stpy_edit_raise(stpy_state *state, const st_error *error)
{
    bool system = error->status == ST_ERR_IO && error->sys_errno;
    return stpy_raise(state, error, system ? STPY_SAVE : STPY_SLICE, NULL);
}

static const char *loss_dtype(const stpy_edit *self, const stpy_loss *loss)
{
    size_t index = st_header_index(st_file_header(self->file), loss->tensor);
    return st_dtype_code(self->casts[index]);
}

/* Raises what `strict` is for: of the first tensor, and how many more there are. */
static void refusal_raise(const stpy_edit *self)
{
    const stpy_loss *first = NULL;
    size_t more = 0;
    char rest[64] = "";
    for (size_t i = 0; i < self->loss_count; i++) {
        if (self->losses[i].overflowed == 0)
            continue;
        more += first != NULL;
        first = first ? first : &self->losses[i];
    }
    if (more)
        PyOS_snprintf(rest, sizeof rest, ", and so in %zu more tensor%s", more,
                      more == 1 ? "" : "s");
    PyObject *name = PyUnicode_FromStringAndSize(first->tensor->name, first->tensor->name_len);
    if (name)
        stpy_raise_text(self->state,
                        "%U: tensor %R: %llu of %llu numbers are beyond the range of %s%s; as "
                        "strict asks, nothing was written",
                        self->shown, name, (unsigned long long)first->overflowed,
                        (unsigned long long)st_tensor_count(first->tensor), loss_dtype(self, first),
                        rest);
    Py_XDECREF(name);
}

/* ---------------------------------------------------------------------------------- results */

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

/* (name, dtype, elements, overflowed, underflowed) of each tensor that was cast. */
static PyObject *losses_object(const stpy_edit *self)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < self->loss_count && list; i++) {
        const stpy_loss *loss = &self->losses[i];
        PyObject *item = Py_BuildValue(
            "s#sKKK", loss->tensor->name, (Py_ssize_t)loss->tensor->name_len,
            loss_dtype(self, loss), (unsigned long long)st_tensor_count(loss->tensor),
            (unsigned long long)loss->overflowed, (unsigned long long)loss->underflowed);
        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* ---------------------------------------------------------------------------------- writing */

st_edit_options stpy_making_options(const stpy_making *making, stpy_edit *self)
{
    return (st_edit_options){.order = making->order,
                             .alignment = making->alignment,
                             .reserve = making->reserve,
                             .context = self->state->context,
                             .progress = stpy_watch_progress(&self->watch)};
}

/* Learns what there is to do, and makes room for what the casts will tell. */
static int edit_look(stpy_edit *self)
{
    st_error error;
    if (st_edit_look(self->edit, &self->summary, &error)) {
        stpy_edit_raise(self->state, &error);
        return -1;
    }
    const st_edit_summary *s = &self->summary;
    self->changed =
        self->changed || (s->renamed | s->dropped | s->cast | s->replaced | s->added) != 0;
    if (s->cast == 0)
        return 0;
    self->losses = PyMem_Calloc((size_t)s->cast, sizeof *self->losses);
    if (!self->losses) {
        PyErr_NoMemory();
        return -1;
    }
    st_edit_on_cast(self->edit, loss_note, self);
    return 0;
}

static st_status write_anew(stpy_edit *self, const stpy_making *making, const char *path,
                            st_error *error)
{
    const st_sink_options options = {
        .durability = making->durability, .flags = making->flags, .context = self->state->context};
    st_sink *sink;
    st_status status = st_sink_open(path, &options, &sink, error);
    if (status != ST_OK)
        return status;
    status = st_edit_write(self->edit, sink, &self->summary, error);
    st_sink_release(sink);
    return status;
}

/* Writes, `making` NULL: in place. */
static int edit_write(stpy_edit *self, const stpy_making *making, const stpy_place *out)
{
    const char *path = PyBytes_AsString(out->path);
    st_error error;
    stpy_watch_part(&self->watch, self->summary.moved + self->summary.written);
    stpy_watch_begin(&self->watch);
    st_status status = making ? write_anew(self, making, path, &error)
                              : st_edit_write_in_place(self->edit, path, &self->summary, &error);
    if (stpy_watch_end(&self->watch))
        return -1;
    if (status == ST_OK)
        return 0;
    if (self->refused)
        refusal_raise(self);
    else
        stpy_edit_raise(self->state, &error);
    return -1;
}

int stpy_edit_save(stpy_edit *self, const stpy_making *making, const stpy_place *out)
{
    if (edit_look(self))
        return -1;
    return making->dry_run ? 0 : edit_write(self, making, out);
}

/* Refuses what the writing would refuse. */
static int dry_in_place(const stpy_edit *self)
{
    const st_edit_summary *s = &self->summary;
    if (!self->changed || s->in_place)
        return 0;
    if (s->header <= s->room)
        stpy_raise_text(self->state,
                        "%U: cannot be changed in place: data would have to move, or to be cast; "
                        "without in_place the file is written anew",
                        self->shown);
    else
        stpy_raise_text(self->state,
                        "%U: cannot be changed in place: the header needs %llu bytes, and has room "
                        "for %llu; without in_place the file is written anew",
                        self->shown, (unsigned long long)s->header, (unsigned long long)s->room);
    return -1;
}

/* -------------------------------------------------------------------------- the whole way */

void stpy_edit_release(stpy_edit *self)
{
    st_edit_free(self->edit);
    for (size_t i = 0; i < self->held_count; i++) {
        st_buffer_release(self->held[i].buffer);
        st_file_close(self->held[i].file);
    }
    PyMem_Free(self->held);
    PyMem_Free(self->dropped);
    PyMem_Free(self->casts);
    PyMem_Free(self->losses);
    stpy_entries_release(&self->entries);
    st_file_close(self->file);
}

/* Opens the file, and makes an edit of it. */
static int edit_begin(stpy_edit *self, PyObject *path, stpy_making *making)
{
    st_error error;
    self->file = stpy_path_open(self->state, path);
    if (!self->file)
        return -1;
    size_t count = st_file_count(self->file) + 1;
    self->dropped = PyMem_Calloc(count, sizeof *self->dropped);
    self->casts = PyMem_Calloc(count, sizeof *self->casts);
    if (!self->dropped || !self->casts) {
        PyErr_NoMemory();
        return -1;
    }
    stpy_making asked = *making;
    if (!asked.alignment && st_header_data_offset(st_file_header(self->file)) % PAGE == 0)
        asked.alignment = PAGE;
    const st_edit_options options = stpy_making_options(&asked, self);
    if (st_edit_new(self->file, &options, &self->edit, &error)) {
        stpy_edit_raise(self->state, &error);
        return -1;
    }
    return 0;
}

/* Whether there is anything to write over the file itself. */
static bool is_wanted(const stpy_edit *self, const stpy_making *making)
{
    return self->changed || making->reserve || making->alignment ||
           making->order != ST_EDIT_ORDER_FILE;
}

/* Writes to `target`; NULL: the file itself, if there is anything to change. */
static int edit_finish(stpy_edit *self, const stpy_making *making, const stpy_place *path,
                       const stpy_place *target, bool in_place)
{
    if (edit_look(self))
        return -1;
    if (making->dry_run)
        return in_place ? dry_in_place(self) : 0;
    if (!target && !is_wanted(self, making))
        return 0;
    return edit_write(self, in_place ? NULL : making, target ? target : path);
}

PyObject *stpy_edit_file(PyObject *module, PyObject *args)
{
    stpy_edit self = {.state = stpy_state_of_module(module)};
    stpy_making making;
    PyObject *path, *target, *steps, *made, *out = NULL;
    int in_place, strict;
    stpy_place from, to = {.fd = -1};
    if (!PyArg_ParseTuple(args, "OOO!O!pp:_edit", &path, &target, &PyList_Type, &steps,
                          &PyTuple_Type, &made, &in_place, &strict) ||
        stpy_making_read(made, &making, &self.watch) || stpy_path_read(self.state, path, &from))
        return NULL;
    self.shown = from.shown;
    self.strict = strict;
    self.copies = !in_place && !making.dry_run;
    if ((target == Py_None || !stpy_path_read(self.state, target, &to)) &&
        !edit_begin(&self, path, &making) && !stpy_steps_run(&self, steps) &&
        !edit_finish(&self, &making, &from, to.path ? &to : NULL, in_place)) {
        PyObject *summary = stpy_summary_object(&self.summary);
        PyObject *losses = losses_object(&self);
        if (summary && losses)
            out = PyTuple_Pack(2, summary, losses);
        Py_XDECREF(losses);
        Py_XDECREF(summary);
    }
    stpy_edit_release(&self);
    stpy_place_release(&to);
    stpy_place_release(&from);
    return out;
}

PyObject *stpy_edit_recover(PyObject *module, PyObject *path)
{
    stpy_state *state = stpy_state_of_module(module);
    stpy_place place;
    st_error error;
    st_status status;
    bool recovered;
    if (stpy_path_read(state, path, &place))
        return NULL;
    const char *name = PyBytes_AsString(place.path);
    Py_BEGIN_ALLOW_THREADS
    status = st_edit_recover(name, state->context, &recovered, &error);
    Py_END_ALLOW_THREADS
    stpy_place_release(&place);
    return status == ST_OK ? PyBool_FromLong(recovered) : stpy_edit_raise(state, &error);
}
