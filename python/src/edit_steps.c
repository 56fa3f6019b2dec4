/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of an edit. Patterns see the names that the files have; renames those that the last step left. */
#include "edit.h"

/* ----------------------------------------------------------------------------------- errors */

static int raise_error(const stpy_edit *self, const st_error *error)
{
    stpy_edit_raise(self->state, error);
    return -1;
}

/* Says which argument an error of the library is about. */
static int raise_about(const stpy_edit *self, const char *argument, const char *value,
                       const st_error *error)
{
    if (error->status == ST_ERR_NOMEM)
        return raise_error(self, error);
    PyObject *shown = PyUnicode_FromString(value);
    if (shown && error->status == ST_ERR_ARGUMENT)
        stpy_raise_variant(self->state, PyExc_ValueError, "%s %R: %s", argument, shown,
                           error->message);
    else if (shown)
        stpy_raise_text(self->state, "%s %R: %s", argument, shown, error->message);
    Py_XDECREF(shown);
    return -1;
}

/* `what` is not there. */
static int raise_missing(const stpy_edit *self, const char *argument, const char *value,
                         const char *what)
{
    PyObject *shown = PyUnicode_FromString(value);
    if (shown)
        stpy_raise_text(self->state, "%U: %s %R: %s", self->shown, argument, shown, what);
    Py_XDECREF(shown);
    return -1;
}

/* --------------------------------------------------------------------------------- patterns */

/* What a step does with a tensor that matches. */
typedef struct matching {
    stpy_edit *edit;
    const char *argument;
    const char *pattern;
    int (*take)(struct matching *self, stpy_edited *file, size_t index);
    st_dtype to;   /* of cast */
    size_t count;  /* that matched */
    size_t floats; /* of these, which cast took */
} matching;

/* Takes the tensor that a pattern is the name of. */
static int file_find(matching *self, stpy_edited *file)
{
    const st_tensor *tensor = st_file_find(file->file, self->pattern, strlen(self->pattern));
    if (!tensor)
        return 0;
    size_t index = st_header_index(st_file_header(file->file), tensor);
    self->count++;
    return file->fates[index].dropped ? 0 : self->take(self, file, index);
}

/* Takes the tensors of one file that match and are still in. */
static int file_match(matching *self, const st_name_rule *rule, stpy_edited *file)
{
    for (size_t i = 0; i < st_file_count(file->file); i++) {
        const st_tensor *tensor = st_file_at(file->file, i);
        bool matches;
        st_error error;
        if (st_name_rule_match(rule, tensor->name, tensor->name_len, &matches, &error))
            return raise_error(self->edit, &error);
        self->count += matches;
        if (matches && !file->fates[i].dropped && self->take(self, file, i))
            return -1;
    }
    return 0;
}

/* At least one of all files' tensors has to match. */
static int matching_run(matching *self)
{
    st_name_rule *rule;
    st_error error;
    int failed = 0;
    for (size_t i = 0; stpy_is_name(self->pattern) && i < self->edit->count; i++)
        if (file_find(self, &self->edit->files[i]))
            return -1;
    if (self->count)
        return 0;
    if (st_name_rule_new(self->pattern, NULL, ST_NAME_GLOB, self->edit->state->context, &rule,
                         &error))
        return raise_about(self->edit, self->argument, self->pattern, &error);
    for (size_t i = 0; i < self->edit->count && !failed; i++)
        failed = file_match(self, rule, &self->edit->files[i]);
    st_name_rule_free(rule);
    if (failed || self->count)
        return failed;
    return raise_missing(self->edit, self->argument, self->pattern, "no tensor matches");
}

static int drop_take(matching *self, stpy_edited *file, size_t index)
{
    st_error error;
    file->fates[index].dropped = true;
    if (st_edit_drop(file->edit, st_file_at(file->file, index), &error))
        return raise_error(self->edit, &error);
    return 0;
}

static int keep_take(matching *self, stpy_edited *file, size_t index)
{
    (void)self;
    file->fates[index].kept = true;
    return 0;
}

static int cast_take(matching *self, stpy_edited *file, size_t index)
{
    const st_tensor *tensor = st_file_at(file->file, index);
    st_error error;
    if (st_dtype_kind(tensor->dtype) != ST_KIND_FLOAT)
        return 0;
    if (st_edit_cast(file->edit, tensor, self->to, &error))
        return raise_error(self->edit, &error);
    file->fates[index].cast = self->to;
    self->floats++;
    return 0;
}

/* ("drop", pattern) */
static int drop_run(stpy_edit *self, PyObject *step)
{
    const char *kind;
    matching drop = {.edit = self, .argument = "drop", .take = drop_take};
    return PyArg_ParseTuple(step, "ss", &kind, &drop.pattern) ? matching_run(&drop) : -1;
}

static int kept_mark(stpy_edit *self, PyObject *patterns)
{
    for (Py_ssize_t i = 0; i < PyList_Size(patterns); i++) {
        matching keep = {.edit = self, .argument = "keep", .take = keep_take};
        /* A tuple of its own, so that it is read as all others are. */
        PyObject *one = PyTuple_Pack(1, PyList_GetItem(patterns, i));
        int failed = one && PyArg_ParseTuple(one, "s", &keep.pattern) ? matching_run(&keep) : -1;
        Py_XDECREF(one);
        if (failed || PyErr_CheckSignals())
            return -1;
    }
    return 0;
}

/* ("keep", [pattern, ...]) */
static int keep_run(stpy_edit *self, PyObject *step)
{
    const char *kind;
    PyObject *patterns;
    if (!PyArg_ParseTuple(step, "sO!", &kind, &PyList_Type, &patterns))
        return -1;
    matching drop = {.edit = self};
    int failed = kept_mark(self, patterns);
    for (size_t i = 0; i < self->count && !failed; i++)
        for (size_t t = 0; t < st_file_count(self->files[i].file) && !failed; t++)
            if (!self->files[i].fates[t].kept)
                failed = drop_take(&drop, &self->files[i], t);
    return failed;
}

/* ("cast", dtype, pattern) */
static int cast_run(stpy_edit *self, PyObject *step)
{
    const char *kind, *dtype;
    matching cast = {.edit = self, .argument = "cast", .take = cast_take};
    if (!PyArg_ParseTuple(step, "sss", &kind, &dtype, &cast.pattern))
        return -1;
    cast.to = stpy_dtype_named(dtype);
    if (!cast.to || st_dtype_kind(cast.to) != ST_KIND_FLOAT) {
        stpy_raise_variant(self->state, PyExc_ValueError, "cast: '%s' is no dtype of floats",
                           dtype);
        return -1;
    }
    if (matching_run(&cast))
        return -1;
    return cast.floats ? 0
                       : raise_missing(self, "cast", cast.pattern, "no tensor of floats matches");
}

/* ---------------------------------------------------------------------------------- renames */

/* ("glob" or "regex", pattern, replacement) */
static int rename_run(stpy_edit *self, PyObject *step)
{
    const char *kind, *pattern, *replacement;
    if (!PyArg_ParseTuple(step, "sss", &kind, &pattern, &replacement))
        return -1;
    bool regex = strcmp(kind, "regex") == 0;
    int done = regex ? 0 : stpy_rename_exact(self, pattern, replacement);
    if (done)
        return done > 0 ? 0 : -1;
    stpy_names_lose(self);
    const char *argument = regex ? "rename_regex" : "rename";
    st_name_rule *rule = NULL;
    st_error error;
    uint64_t matched = 0, of_file;
    st_status status = st_name_rule_new(pattern, replacement, regex ? ST_NAME_REGEX : ST_NAME_GLOB,
                                        self->state->context, &rule, &error);
    Py_BEGIN_ALLOW_THREADS /* an expression may take long */
    for (size_t i = 0; i < self->count && status == ST_OK; i++) {
        status = st_edit_rename_all(self->files[i].edit, rule, &of_file, &error);
        matched += status == ST_OK ? of_file : 0;
    }
    Py_END_ALLOW_THREADS
    st_name_rule_free(rule);
    if (status != ST_OK)
        return raise_about(self, argument, pattern, &error);
    return matched ? 0 : raise_missing(self, argument, pattern, "no tensor matches");
}

/* ------------------------------------------------------------------------ what is put in */

/* A tensor of a checkpoint by its name; NULL with an exception. */
static const st_tensor *tensor_find(const stpy_edit *self, const st_checkpoint *checkpoint,
                                    PyObject *name, st_checkpoint_tensor *out)
{
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(name, &len);
    if (!text)
        return NULL;
    if (st_checkpoint_find(checkpoint, text, (size_t)len, out))
        return out->tensor;
    PyObject *path = PyUnicode_DecodeFSDefault(st_checkpoint_name(checkpoint));
    if (path)
        stpy_raise_variant(self->state, PyExc_KeyError, "%U: no tensor %R", path, name);
    Py_XDECREF(path);
    return NULL;
}

/* The memory of an array, a tensor, or whatever else can be saved, which the entries keep. */
static int array_gather(stpy_edit *self, PyObject *name, PyObject *value, st_array *out)
{
    stpy_entry *entry = &self->entries.at[self->entries.count];
    int plain = stpy_gather_value(self->state, value, STPY_TAKE_ALL, &self->entries, entry);
    if (plain == STPY_ODD)
        PyErr_Format(PyExc_TypeError,
                     "tensor %R: %R is no array or tensor that lies in the host's memory", name,
                     Py_TYPE(value));
    if (plain != STPY_PLAIN)
        return -1;
    self->entries.count++;
    *out = entry->array;
    return 0;
}

/* Bytes as the file has them, as many as the tensor's. */
static int bytes_take(stpy_edit *self, const st_tensor *tensor, PyObject *name, PyObject *value,
                      st_array *out)
{
    static unsigned char none;
    bool readonly;
    st_buffer *buffer = stpy_buffer_of_object(self->state, value, &readonly);
    if (!buffer)
        return -1;
    self->held[self->held_count++].buffer = buffer;
    if (st_buffer_size(buffer) != st_tensor_size(tensor)) {
        stpy_raise_text(self->state, "%U: tensor %R has %llu bytes, and is to have %llu others",
                        self->shown, name, (unsigned long long)st_tensor_size(tensor),
                        (unsigned long long)st_buffer_size(buffer));
        return -1;
    }
    *out = (st_array){.data = st_buffer_data(buffer) ? st_buffer_data(buffer) : &none,
                      .shape = tensor->shape,
                      .ndim = tensor->ndim,
                      .dtype = tensor->dtype};
    return 0;
}

/* A tensor of something else, (path, name), whose file is mapped if `out` is given. */
static const st_tensor *other_find(stpy_edit *self, PyObject *value, st_checkpoint_tensor *place,
                                   st_array *out)
{
    PyObject *path, *name;
    if (!PyArg_ParseTuple(value, "OU", &path, &name))
        return NULL;
    st_checkpoint *other = stpy_other_open(self, path);
    const st_tensor *tensor = other ? tensor_find(self, other, name, place) : NULL;
    st_buffer *buffer = tensor && out ? stpy_other_map(self, place->file) : NULL;
    if (!buffer)
        return out ? NULL : tensor;
    unsigned char *bytes = st_buffer_data(buffer);
    *out = (st_array){.data = bytes + (size_t)st_file_offset(place->file, tensor),
                      .shape = tensor->shape,
                      .ndim = tensor->ndim,
                      .dtype = tensor->dtype};
    return tensor;
}

/* ("replace", name, value): an array, bytes, or a tuple of a path and a name. */
static int replace_run(stpy_edit *self, PyObject *step)
{
    const char *kind;
    PyObject *name, *value;
    st_checkpoint_tensor own = {0}, other;
    st_array array = {0};
    st_error error;
    if (!PyArg_ParseTuple(step, "sUO", &kind, &name, &value))
        return -1;
    const st_tensor *tensor = tensor_find(self, self->checkpoint, name, &own);
    int failed = -1;
    if (tensor && PyTuple_Check(value))
        failed = other_find(self, value, &other, &array) ? 0 : -1;
    else if (tensor &&
             (PyBytes_Check(value) || PyByteArray_Check(value) || PyMemoryView_Check(value)))
        failed = bytes_take(self, tensor, name, value, &array);
    else if (tensor)
        failed = array_gather(self, name, value, &array);
    if (failed)
        return -1;
    const stpy_edited *file = &self->files[own.file_index];
    if (st_edit_replace(file->edit, tensor, &array, &error))
        return raise_error(self, &error);
    file->fates[st_header_index(st_file_header(file->file), tensor)].cast = 0;
    return 0;
}

/* ("add", name, value): an array, or a tuple of a path and a name. Of several files the last one gets it. */
static int add_run(stpy_edit *self, PyObject *step)
{
    const char *kind, *text;
    PyObject *name, *value;
    Py_ssize_t len;
    st_array array = {0};
    st_error error;
    st_status status;
    if (!PyArg_ParseTuple(step, "sUO", &kind, &name, &value) ||
        !(text = PyUnicode_AsUTF8AndSize(name, &len)))
        return -1;
    if (self->count == 0)
        return raise_missing(self, "add", text, "there is no file to add to");
    st_edit *edit = self->files[self->count - 1].edit;
    if (PyTuple_Check(value)) {
        st_checkpoint_tensor other;
        if (!other_find(self, value, &other, NULL))
            return -1;
        status = st_edit_include(edit, other.file, other.tensor, text, (size_t)len, &error);
    } else {
        if (array_gather(self, name, value, &array))
            return -1;
        status = st_edit_add(edit, text, (size_t)len, &array, &error);
    }
    return status == ST_OK ? 0 : raise_error(self, &error);
}

/* --------------------------------------------------------------------------------- metadata */

/* ("set", key, value), in every file. */
static int set_run(stpy_edit *self, PyObject *step)
{
    const char *kind;
    st_metadata entry;
    Py_ssize_t key_len, value_len;
    st_error error;
    if (!PyArg_ParseTuple(step, "ss#s#", &kind, &entry.key, &key_len, &entry.value, &value_len))
        return -1;
    if ((size_t)key_len > UINT32_MAX || (size_t)value_len > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "metadata: a text is longer than 2^32-1 bytes");
        return -1;
    }
    entry.key_len = (uint32_t)key_len;
    entry.value_len = (uint32_t)value_len;
    for (size_t i = 0; i < self->count; i++)
        if (st_edit_set_metadata(self->files[i].edit, &entry, &error))
            return raise_error(self, &error);
    return 0;
}

/* ("unset", key), of every file; one at least has to have it. */
static int unset_run(stpy_edit *self, PyObject *step)
{
    const char *kind, *key;
    Py_ssize_t len;
    st_error error;
    bool found = false;
    if (!PyArg_ParseTuple(step, "ss#", &kind, &key, &len))
        return -1;
    for (size_t i = 0; i < self->count; i++) {
        st_status status = st_edit_remove_metadata(self->files[i].edit, key, (size_t)len, &error);
        found = found || status == ST_OK;
        if (status != ST_OK && status != ST_ERR_NOT_FOUND)
            return raise_error(self, &error);
    }
    if (found)
        return 0;
    PyObject *shown = PyUnicode_FromStringAndSize(key, len);
    if (shown)
        stpy_raise_variant(self->state, PyExc_KeyError, "%U: remove_metadata %R: no such key",
                           self->shown, shown);
    Py_XDECREF(shown);
    return -1;
}

/* ("clear",) */
static int clear_run(stpy_edit *self, PyObject *step)
{
    (void)step;
    for (size_t i = 0; i < self->count; i++)
        st_edit_clear_metadata(self->files[i].edit);
    return 0;
}

#if STPY_HASHES
/* ("record", algorithm): the one step of its list, as the digests are those of the files as they are. */
static int record_run(stpy_edit *self, PyObject *step)
{
    const char *kind, *algorithm;
    int failed = 0;
    if (!PyArg_ParseTuple(step, "ss", &kind, &algorithm))
        return -1;
    for (size_t i = 0; i < self->count; i++)
        self->watch.total += st_header_data_size(st_file_header(self->files[i].file));
    self->watch.total *= self->copies ? 2 : 1;
    for (size_t i = 0; i < self->count && !failed; i++)
        failed = stpy_edit_record(&self->files[i], algorithm);
    return failed;
}
#endif

/* -------------------------------------------------------------------------------- the list */

static int step_run(stpy_edit *self, PyObject *step)
{
    static const struct {
        const char *kind;
        int (*run)(stpy_edit *self, PyObject *step);
    } kinds[] = {
        {"keep", keep_run},
        {"drop", drop_run},
        {"cast", cast_run},
        {"replace", replace_run},
        {"glob", rename_run},
        {"regex", rename_run},
        {"add", add_run},
        {"unset", unset_run},
        {"clear", clear_run},
        {"set", set_run},
#if STPY_HASHES
        {"record", record_run},
#endif
    };
    PyObject *kind = PyTuple_Check(step) && PyTuple_Size(step) ? PyTuple_GetItem(step, 0) : NULL;
    for (size_t i = 0; kind && PyUnicode_Check(kind) && i < sizeof kinds / sizeof kinds[0]; i++)
        if (PyUnicode_CompareWithASCIIString(kind, kinds[i].kind) == 0)
            return kinds[i].run(self, step);
    PyErr_Format(PyExc_TypeError, "%R is no step of an edit", step);
    return -1;
}

int stpy_steps_run(stpy_edit *self, PyObject *steps)
{
    /* What a step runs might change the list, and what it takes is borrowed of it. */
    PyObject *kept = PyList_AsTuple(steps);
    if (!kept)
        return -1;
    size_t count = (size_t)PyTuple_Size(kept);
    self->held = PyMem_Calloc(2 * count + 1, sizeof *self->held);
    self->entries.at = PyMem_Calloc(count + 1, sizeof *self->entries.at);
    self->entries.capacity = count + 1;
    int failed = self->held && self->entries.at ? 0 : -1;
    if (failed)
        PyErr_NoMemory();
    for (size_t i = 0; i < count && !failed; i++)
        failed = step_run(self, PyTuple_GetItem(kept, (Py_ssize_t)i)) || PyErr_CheckSignals();
    Py_DECREF(kept);
    return failed;
}
