/* SPDX-License-Identifier: Apache-2.0 */
/* _salvage and _salvage_checkpoint: what can be saved of a damaged file, or of many, for safetensors/_compare.py. */
#include "edit.h"

#include <safetensors/checkpoint.h>

/* What a callback fills, called without the GIL on the thread that released it. */
typedef struct saving {
    stpy_watch watch;
    PyObject *items; /* a list; of many files, borrowed, that of the one at hand */
    PyObject *parts; /* of many files: a list */
} saving;

static const char *salvage_text(int32_t kind)
{
    switch (kind) {
    case ST_SALVAGE_SAVED: return "saved";
    case ST_SALVAGE_CHANGED: return "changed";
    default: return "lost";
    }
}

static PyObject *offset_object(uint64_t offset)
{
    return offset == ST_NO_OFFSET ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(offset);
}

/* (kind, message, rule, severity, tensor, new_name, offset, bytes) */
static PyObject *item_object(const st_salvage_item *item)
{
    const char *rule = item->rule ? item->rule->id : NULL;
    const char *severity = item->rule ? stpy_severity_text(item->severity) : NULL;
    return Py_BuildValue("sNzzNNNK", salvage_text(item->kind),
                         stpy_shown_object(item->message, strlen(item->message)), rule, severity,
                         stpy_shown_object(item->name, item->name_len),
                         stpy_shown_object(item->new_name, item->new_name_len),
                         offset_object(item->offset), (unsigned long long)item->size);
}

static bool item_take(void *ctx, const st_salvage_item *item)
{
    saving *self = ctx;
    PyEval_RestoreThread(self->watch.thread);
    PyObject *object = item_object(item);
    bool failed = !object || PyList_Append(self->items, object);
    Py_XDECREF(object);
    self->watch.thread = PyEval_SaveThread();
    return !failed;
}

static PyObject *numbers_object(const st_salvage_summary *s)
{
    return Py_BuildValue("{sKsKsKsKsKsKsK}", "saved", (unsigned long long)s->saved, "changed",
                         (unsigned long long)s->changed, "lost", (unsigned long long)s->lost,
                         "errors", (unsigned long long)s->errors, "bytes",
                         (unsigned long long)s->bytes, "metadata", (unsigned long long)s->metadata,
                         "size", (unsigned long long)s->size);
}

/* -------------------------------------------------------------------------------- _salvage */

static st_status source_salvage(stpy_state *state, st_source *source, const char *path,
                                saving *told, st_salvage_summary *summary, st_error *error)
{
    const st_open_options open = {.context = state->context};
    const st_sink_options how = {.context = state->context};
    const st_salvage_options options = {
        .item = item_take, .ctx = told, .progress = stpy_watch_progress(&told->watch)};
    st_sink *sink = NULL;
    st_status status = path ? st_sink_open(path, &how, &sink, error) : ST_OK;
    if (status == ST_OK)
        status = st_salvage(source, &open, sink, &options, summary, error);
    st_sink_release(sink);
    return status;
}

static PyObject *salvage_run(stpy_state *state, st_source *source, const char *path, saving *told)
{
    st_salvage_summary s;
    st_error error;
    stpy_watch_begin(&told->watch);
    st_status status = source_salvage(state, source, path, told, &s, &error);
    if (stpy_watch_end(&told->watch))
        return NULL;
    if (status != ST_OK)
        return stpy_edit_raise(state, &error);
    return Py_BuildValue("ON", told->items, numbers_object(&s));
}

PyObject *stpy_salvage(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *damaged, *target, *progress, *out = NULL;
    stpy_place from, to = {.fd = -1};
    saving told;
    if (!PyArg_ParseTuple(args, "OOO:_salvage", &damaged, &target, &progress) ||
        stpy_watch_read(progress, &told.watch) || stpy_path_read(state, damaged, &from))
        return NULL;
    told.items = PyList_New(0);
    if (told.items && (target == Py_None || !stpy_path_read(state, target, &to))) {
        st_source *source = stpy_source_open(state, &from);
        if (source)
            out = salvage_run(state, source, to.path ? PyBytes_AsString(to.path) : NULL, &told);
        st_source_release(source);
    }
    Py_XDECREF(told.items);
    stpy_place_release(&to);
    stpy_place_release(&from);
    return out;
}

/* --------------------------------------------------------------------- _salvage_checkpoint */

static int part_begin(saving *self, const st_checkpoint_salvage_part *part)
{
    PyObject *items = PyList_New(0);
    PyObject *object = items ? Py_BuildValue("NNOO", PyUnicode_DecodeFSDefault(part->path),
                                             PyBool_FromLong(part->index), items, Py_None)
                             : NULL;
    int failed = object ? PyList_Append(self->parts, object) : -1;
    Py_XDECREF(object);
    Py_XDECREF(items);
    self->items = failed ? NULL : items; /* the part has it */
    return failed;
}

/* Puts the numbers of the last part in their place. */
static int part_end(saving *self, const st_checkpoint_salvage_part *part)
{
    Py_ssize_t last = PyList_Size(self->parts) - 1;
    PyObject *begun = PyList_GetItem(self->parts, last);
    PyObject *object =
        begun ? Py_BuildValue("OOON", PyTuple_GetItem(begun, 0), PyTuple_GetItem(begun, 1),
                              PyTuple_GetItem(begun, 2), numbers_object(part->summary))
              : NULL;
    return object ? PyList_SetItem(self->parts, last, object) : -1;
}

static bool part_take(void *ctx, const st_checkpoint_salvage_part *part)
{
    saving *self = ctx;
    if (part->why) /* which is raised */
        return false;
    PyEval_RestoreThread(self->watch.thread);
    int failed = part->summary ? part_end(self, part) : part_begin(self, part);
    self->watch.thread = PyEval_SaveThread();
    return !failed;
}

static PyObject *checkpoint_salvage_run(stpy_state *state, const char *path, const char *folder,
                                        bool dry, saving *told)
{
    const st_open_options open = {.context = state->context};
    const st_checkpoint_salvage_options options = {.begin = part_take,
                                                   .item = item_take,
                                                   .end = part_take,
                                                   .ctx = told,
                                                   .progress = stpy_watch_progress(&told->watch),
                                                   .dry_run = dry};
    st_checkpoint_salvage_summary summary;
    st_error error;
    stpy_watch_begin(&told->watch);
    st_status status = st_checkpoint_salvage(path, &open, folder, &options, &summary, &error);
    if (stpy_watch_end(&told->watch))
        return NULL;
    if (status != ST_OK)
        return stpy_edit_raise(state, &error);
    return Py_BuildValue("ON", told->parts, numbers_object(&summary.sum));
}

PyObject *stpy_salvage_checkpoint(PyObject *module, PyObject *args)
{
    stpy_state *state = stpy_state_of_module(module);
    PyObject *damaged, *folder, *progress, *out = NULL;
    stpy_place from, to;
    int dry;
    saving told = {.items = NULL};
    if (!PyArg_ParseTuple(args, "OOpO:_salvage_checkpoint", &damaged, &folder, &dry, &progress) ||
        stpy_watch_read(progress, &told.watch) || stpy_path_read(state, damaged, &from))
        return NULL;
    if (stpy_path_read(state, folder, &to) == 0) {
        told.parts = PyList_New(0);
        if (told.parts)
            out = checkpoint_salvage_run(state, PyBytes_AsString(from.path),
                                         PyBytes_AsString(to.path), dry != 0, &told);
        Py_XDECREF(told.parts);
        stpy_place_release(&to);
    }
    stpy_place_release(&from);
    return out;
}
