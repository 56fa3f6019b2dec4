/* SPDX-License-Identifier: Apache-2.0 */
/* _split, _merge and _cat: many files as one, for safetensors/checkpoint.py. */
#include "edit.h"

static PyObject *name_object(const st_tensor *tensor)
{
    return PyUnicode_FromStringAndSize(tensor->name, tensor->name_len);
}

/* ---------------------------------------------------------------------------------- _split */

/* (name, size, [tensor, ...]) */
static PyObject *shard_object(const st_split *split, size_t index)
{
    const st_shard shard = st_split_at(split, index);
    PyObject *names = PyList_New(0);
    for (size_t i = 0; i < shard.count && names; i++) {
        PyObject *name = name_object(st_split_tensor(split, shard.first + i).tensor);
        if (!name || PyList_Append(names, name))
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names ? Py_BuildValue("sKN", shard.name, (unsigned long long)shard.size, names) : NULL;
}

/* (index or None, [shard, ...], [name of a stale shard, ...]) */
static PyObject *split_object(const st_split *split, PyObject *stale)
{
    PyObject *shards = PyList_New(0);
    for (size_t i = 0; i < st_split_count(split) && shards; i++) {
        PyObject *shard = shard_object(split, i);
        if (!shard || PyList_Append(shards, shard))
            Py_CLEAR(shards);
        Py_XDECREF(shard);
    }
    return shards ? Py_BuildValue("zNO", st_split_index_name(split), shards, stale) : NULL;
}

/* What _split was asked for. */
typedef struct splitting {
    stpy_state *state;
    stpy_making making;
    stpy_watch watch;
    unsigned long long max_size;
    unsigned long long count;
    const char *pattern;
    const char *folder;
    int clean;
    PyObject *stale; /* a list of names */
} splitting;

static bool stale_take(void *ctx, const char *name)
{
    splitting *self = ctx;
    PyEval_RestoreThread(self->watch.thread);
    PyObject *object = PyUnicode_DecodeFSDefault(name);
    bool failed = !object || PyList_Append(self->stale, object);
    Py_XDECREF(object);
    self->watch.thread = PyEval_SaveThread();
    return !failed;
}

/* What is to be cleaned away is found before anything is written. */
static int stale_find(splitting *self, const st_split *split)
{
    st_error error;
    if (!self->clean)
        return 0;
    stpy_watch_begin(&self->watch);
    st_status status = st_split_stale(split, self->folder, stale_take, self, &error);
    if (stpy_watch_end(&self->watch))
        return -1;
    if (status != ST_OK)
        stpy_edit_raise(self->state, &error);
    return status == ST_OK ? 0 : -1;
}

static PyObject *checkpoint_split(splitting *self, const st_checkpoint *checkpoint)
{
    const st_split_options options = {.max_shard_size = self->max_size,
                                      .shard_count = self->count,
                                      .pattern = self->pattern,
                                      .durability = self->making.durability,
                                      .flags = self->making.flags,
                                      .alignment = self->making.alignment,
                                      .clean = self->clean != 0,
                                      .context = self->state->context,
                                      .progress = stpy_watch_progress(&self->watch)};
    st_split *split;
    st_error error;
    if (st_split_new(checkpoint, &options, &split, &error))
        return stpy_edit_raise(self->state, &error);
    PyObject *out = stale_find(self, split) ? NULL : split_object(split, self->stale);
    if (out && !self->making.dry_run) {
        stpy_watch_begin(&self->watch);
        st_status status = st_split_write(split, self->folder, &error);
        if (stpy_watch_end(&self->watch) || status != ST_OK) {
            Py_CLEAR(out);
            stpy_edit_raise(self->state, &error);
        }
    }
    st_split_free(split);
    return out;
}

PyObject *stpy_split(PyObject *module, PyObject *args)
{
    splitting self = {.state = stpy_state_of_module(module)};
    PyObject *path, *folder, *made, *out = NULL;
    stpy_place to;
    if (!PyArg_ParseTuple(args, "OOKKspO!:_split", &path, &folder, &self.max_size, &self.count,
                          &self.pattern, &self.clean, &PyTuple_Type, &made) ||
        stpy_making_read(made, &self.making, &self.watch) ||
        stpy_path_read(self.state, folder, &to))
        return NULL;
    self.folder = PyBytes_AsString(to.path);
    self.stale = PyList_New(0);
    st_checkpoint *checkpoint =
        self.stale ? stpy_checkpoint_open_source(self.state, path, &self.making) : NULL;
    if (checkpoint)
        out = checkpoint_split(&self, checkpoint);
    st_checkpoint_close(checkpoint);
    Py_XDECREF(self.stale);
    stpy_place_release(&to);
    return out;
}

PyObject *stpy_size_parse(PyObject *module, PyObject *object)
{
    stpy_state *state = stpy_state_of_module(module);
    Py_ssize_t len;
    uint64_t size;
    st_error error;
    const char *text = PyUnicode_AsUTF8AndSize(object, &len);
    if (!text)
        return NULL;
    if (st_size_parse(text, (size_t)len, 0, &size, &error) == ST_OK)
        return PyLong_FromUnsignedLongLong(size);
    if (error.status == ST_ERR_NOMEM)
        return stpy_edit_raise(state, &error);
    return PyErr_Format(PyExc_ValueError, "%s", error.message);
}

/* ---------------------------------------------------------------------------------- _merge */

/* The tensors of many files, to become one. */
typedef struct joined {
    stpy_state *state;
    stpy_watch watch;
    stpy_making making;
    st_edit *edit;
} joined;

/* Tells what it comes to, having written it unless it is to be dry. */
static PyObject *joined_save(joined *self, const stpy_place *out)
{
    st_edit_summary summary;
    st_error error;
    st_status status = st_edit_look(self->edit, &summary, &error);
    if (status == ST_OK && !self->making.dry_run) {
        const char *path = PyBytes_AsString(out->path);
        stpy_watch_begin(&self->watch);
        status = stpy_making_write(&self->making, self->state, self->edit, path, &summary, &error);
        if (stpy_watch_end(&self->watch))
            return NULL;
    }
    return status == ST_OK ? stpy_summary_object(&summary) : stpy_edit_raise(self->state, &error);
}

PyObject *stpy_merge(PyObject *module, PyObject *args)
{
    joined self = {.state = stpy_state_of_module(module)};
    PyObject *path, *target, *made, *out = NULL;
    stpy_place to;
    st_error error;
    if (!PyArg_ParseTuple(args, "OOO!:_merge", &path, &target, &PyTuple_Type, &made) ||
        stpy_making_read(made, &self.making, &self.watch) ||
        stpy_path_read(self.state, target, &to))
        return NULL;
    const st_edit_options options = stpy_making_options(&self.making, self.state, &self.watch);
    st_checkpoint *checkpoint = stpy_checkpoint_open_source(self.state, path, &self.making);
    if (checkpoint) {
        if (st_checkpoint_merge(checkpoint, &options, &self.edit, &error))
            stpy_edit_raise(self.state, &error);
        else
            out = joined_save(&self, &to);
    }
    st_edit_free(self.edit);
    st_checkpoint_close(checkpoint);
    stpy_place_release(&to);
    return out;
}

/* ------------------------------------------------------------------------------------ _cat */

/* Of checkpoints, as many as are open yet. */
typedef struct joining {
    joined to;
    PyObject *inputs; /* a list of (path, prefix) */
    st_cat_input *parts;
    size_t count;
} joining;

static int input_open(joining *self, PyObject *input)
{
    st_cat_input *part = &self->parts[self->count];
    Py_ssize_t len;
    part->prefix = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(input, 1), &len);
    if (!part->prefix)
        return -1;
    part->prefix_len = (size_t)len;
    part->checkpoint =
        stpy_checkpoint_open_alone(self->to.state, PyTuple_GetItem(input, 0), &self->to.making);
    if (!part->checkpoint)
        return -1;
    self->count++;
    return 0;
}

/* The index of a name is the rule's number. */
static int rule_read(const char *metadata, uint32_t *out)
{
    static const char *const names[] = {"same", "first", "none"};
    for (*out = ST_CAT_METADATA_SAME; *out <= ST_CAT_METADATA_NONE; ++*out)
        if (strcmp(metadata, names[*out]) == 0)
            return 0;
    PyErr_Format(PyExc_ValueError, "no such rule of metadata: %s", metadata);
    return -1;
}

static int joining_fill(joining *self, const st_cat_options *how)
{
    const st_edit_options options =
        stpy_making_options(&self->to.making, self->to.state, &self->to.watch);
    Py_ssize_t count = PyList_Size(self->inputs);
    st_error error;
    self->parts = PyMem_Calloc((size_t)count + 1, sizeof *self->parts);
    if (!self->parts) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (input_open(self, PyList_GetItem(self->inputs, i)))
            return -1;
    if (st_checkpoint_cat(self->parts, self->count, how, &options, &self->to.edit, &error)) {
        stpy_edit_raise(self->to.state, &error);
        return -1;
    }
    return 0;
}

PyObject *stpy_cat(PyObject *module, PyObject *args)
{
    joining self = {.to.state = stpy_state_of_module(module)};
    st_cat_options how = {.metadata = ST_CAT_METADATA_SAME};
    const char *metadata;
    PyObject *target, *made, *out = NULL;
    stpy_place place;
    if (!PyArg_ParseTuple(args, "O!OsO!:_cat", &PyList_Type, &self.inputs, &target, &metadata,
                          &PyTuple_Type, &made) ||
        rule_read(metadata, &how.metadata) ||
        stpy_making_read(made, &self.to.making, &self.to.watch) ||
        stpy_path_read(self.to.state, target, &place))
        return NULL;
    if (!joining_fill(&self, &how))
        out = joined_save(&self.to, &place);
    st_edit_free(self.to.edit);
    for (size_t i = 0; i < self.count; i++)
        st_checkpoint_close((st_checkpoint *)(uintptr_t)self.parts[i].checkpoint);
    PyMem_Free(self.parts);
    stpy_place_release(&place);
    return out;
}
