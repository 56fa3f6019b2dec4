/* SPDX-License-Identifier: Apache-2.0 */
/* _edit: a file or a checkpoint changed, or written anew with changes, for safetensors/edit.py. */
#include "edit.h"

#include <errno.h>

/* ----------------------------------------------------------------------------------- losses */

/* Behind the last one tells whether anything is to be written, so that an error can count them all. Called without the
 * GIL; there is room for each cast. */
static bool loss_note(void *ctx, const st_tensor *tensor, uint64_t overflowed, uint64_t underflowed)
{
    const stpy_edited *file = ctx;
    stpy_edit *self = file->owner;
    self->losses[self->loss_count++] =
        (stpy_loss){(size_t)(file - self->files), tensor, overflowed, underflowed};
    self->lossy = self->lossy || overflowed > 0;
    self->refused = self->strict && self->lossy && self->loss_count == self->summary.cast;
    return !self->refused;
}

static const char *loss_dtype(const stpy_edit *self, const stpy_loss *loss)
{
    const stpy_edited *file = &self->files[loss->file];
    return st_dtype_code(
        file->fates[st_header_index(st_file_header(file->file), loss->tensor)].cast);
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

/* (name, dtype, elements, overflowed, underflowed, shard) of each tensor that was cast. */
static PyObject *losses_object(const stpy_edit *self)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < self->loss_count && list; i++) {
        const stpy_loss *loss = &self->losses[i];
        PyObject *item = Py_BuildValue(
            "s#sKKKN", loss->tensor->name, (Py_ssize_t)loss->tensor->name_len,
            loss_dtype(self, loss), (unsigned long long)st_tensor_count(loss->tensor),
            (unsigned long long)loss->overflowed, (unsigned long long)loss->underflowed,
            stpy_shard_object(self->checkpoint, loss->file));
        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* ---------------------------------------------------------------------------------- writing */

/* Learns what there is to do, and makes room for what the casts will tell. */
static int edit_look(stpy_edit *self)
{
    st_error error;
    if (st_checkpoint_edit_look(self->edit, &self->summary, &error)) {
        stpy_edit_raise(self->state, &error);
        return -1;
    }
    if (self->summary.cast == 0)
        return 0;
    self->losses = PyMem_Calloc((size_t)self->summary.cast, sizeof *self->losses);
    if (!self->losses) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < self->count; i++)
        st_edit_on_cast(self->files[i].edit, loss_note, &self->files[i]);
    return 0;
}

/* Whether the one file there is is written whatever it holds: elsewhere, or as it is asked to be. */
static bool is_made(const stpy_edit *self, const stpy_making *making, const char *target)
{
    return stpy_checkpoint_is_file(self->checkpoint) &&
           (target || making->reserve || making->alignment || making->order != ST_EDIT_ORDER_FILE);
}

/* Writes to `target`; NULL: in the place of what was opened. */
static st_status all_write(stpy_edit *self, const stpy_making *making, const char *target,
                           st_error *error)
{
    const st_sink_options options = stpy_making_sink(making, self->state);
    if (!self->copies)
        return st_checkpoint_edit_write_in_place(self->edit, &self->summary, error);
    if (is_made(self, making, target))
        return stpy_making_write(making, self->state, self->files[0].edit,
                                 target ? target : st_checkpoint_name(self->checkpoint),
                                 &self->summary, error);
    return st_checkpoint_edit_write(self->edit, target, &options, &self->summary, error);
}

static int edit_write(stpy_edit *self, const stpy_making *making, const stpy_place *target)
{
    const char *path = target ? PyBytes_AsString(target->path) : NULL;
    st_error error;
    stpy_watch_part(&self->watch, self->summary.moved + self->summary.written);
    stpy_watch_begin(&self->watch);
    st_status status = all_write(self, making, path, &error);
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

/* Refuses what changing the files in place would refuse. */
static int dry_in_place(stpy_edit *self)
{
    st_error error;
    if (st_checkpoint_edit_look_in_place(self->edit, &self->summary, &error) == ST_OK)
        return 0;
    stpy_edit_raise(self->state, &error);
    return -1;
}

/* -------------------------------------------------------------------------- the whole way */

static void edit_release(stpy_edit *self)
{
    st_checkpoint_edit_free(self->edit);
    for (size_t i = 0; i < self->held_count; i++) {
        st_buffer_release(self->held[i].buffer);
        st_checkpoint_close(self->held[i].checkpoint);
    }
    for (size_t i = 0; i < self->count; i++)
        PyMem_Free(self->files[i].fates);
    PyMem_Free(self->files);
    PyMem_Free(self->held);
    PyMem_Free(self->losses);
    stpy_entries_release(&self->entries);
    Py_XDECREF(self->names);
    st_checkpoint_close(self->checkpoint);
}

static int files_take(stpy_edit *self)
{
    size_t count = st_checkpoint_file_count(self->checkpoint);
    self->files = PyMem_Calloc(count + 1, sizeof *self->files);
    if (!self->files) {
        PyErr_NoMemory();
        return -1;
    }
    for (self->count = 0; self->count < count; self->count++) {
        const st_file *file = st_checkpoint_file(self->checkpoint, self->count);
        stpy_fate *fates = PyMem_Calloc(st_file_count(file) + 1, sizeof *fates);
        if (!fates) {
            PyErr_NoMemory();
            return -1;
        }
        self->files[self->count] =
            (stpy_edited){self, file, st_checkpoint_edit_at(self->edit, self->count), fates};
    }
    return 0;
}

/* Opens, and makes an edit. */
static int edit_begin(stpy_edit *self, PyObject *path, const stpy_making *making)
{
    st_error error;
    self->checkpoint = stpy_checkpoint_open_source(self->state, path, making);
    if (!self->checkpoint)
        return -1;
    const st_edit_options options = stpy_making_options(making, self->state, &self->watch);
    if (st_checkpoint_edit_new(self->checkpoint, &options, &self->edit, &error)) {
        stpy_edit_raise(self->state, &error);
        return -1;
    }
    return files_take(self);
}

static int edit_finish(stpy_edit *self, const stpy_making *making, const stpy_place *target,
                       bool in_place)
{
    if (edit_look(self))
        return -1;
    if (making->dry_run)
        return in_place ? dry_in_place(self) : 0;
    return edit_write(self, making, target);
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
        !edit_finish(&self, &making, to.path ? &to : NULL, in_place)) {
        PyObject *summary = stpy_summary_object(&self.summary);
        PyObject *losses = summary ? losses_object(&self) : NULL;
        if (losses)
            out = PyTuple_Pack(2, summary, losses);
        Py_XDECREF(losses);
        Py_XDECREF(summary);
    }
    edit_release(&self);
    stpy_place_release(&to);
    stpy_place_release(&from);
    return out;
}
