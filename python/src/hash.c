/* SPDX-License-Identifier: Apache-2.0 */
/* _hash, _manifest_names and _hash_verify: digests of files, and what is compared with them, for safetensors/hash.py. */
#include "inputs.h"
#include "watch.h"

#include <safetensors/inspect.h>

/* ---------------------------------------------------------------------------------- digests */

/* In hexadecimal digits, or None where there is none. */
static PyObject *digest_object(const st_digest *digest)
{
    char text[80];
    if (digest->size == 0)
        Py_RETURN_NONE;
    st_digest_format(digest, text, sizeof text);
    return PyUnicode_FromString(text);
}

/* A list of (name, digest), or None. */
static PyObject *digests_object(const st_file *file, const st_hashes *hashes)
{
    if (!(hashes->parts & ST_HASH_TENSORS))
        Py_RETURN_NONE;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < hashes->count && list; i++) {
        const st_tensor *tensor = st_file_at(file, i);
        PyObject *pair = Py_BuildValue("s#N", tensor->name, (Py_ssize_t)tensor->name_len,
                                       digest_object(&hashes->tensors[i]));
        if (!pair || PyList_Append(list, pair))
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

typedef struct hashing {
    stpy_state *state;
    stpy_watch watch;
    st_hash_options options;
    st_manifest *manifest; /* NULL: none is made */
} hashing;

/* (digest, data_digest, tensors) */
static PyObject *file_hash(hashing *self, const st_file *file, const char *name)
{
    st_hashes hashes;
    st_error error;
    PyObject *out = NULL;
    stpy_watch_part(&self->watch, st_file_size(file));
    stpy_watch_begin(&self->watch);
    st_status status = st_hashes_read(file, &self->options, &hashes, &error);
    int failed = stpy_watch_end(&self->watch);
    if (status != ST_OK)
        return stpy_raise(self->state, &error, STPY_READ, NULL);
    if (!failed && self->manifest && st_manifest_add(self->manifest, name, file, &hashes, &error)) {
        stpy_raise(self->state, &error, STPY_READ, NULL);
        failed = -1;
    }
    if (!failed)
        out = Py_BuildValue("NNN", digest_object(&hashes.file), digest_object(&hashes.data),
                            digests_object(file, &hashes));
    st_hashes_release(&hashes);
    return out;
}

/* `input` is (path, its name in the manifest). */
static PyObject *input_hash(hashing *self, PyObject *input)
{
    PyObject *path, *out = NULL;
    const char *name;
    if (!PyArg_ParseTuple(input, "Os", &path, &name))
        return NULL;
    st_file *file = stpy_path_open(self->state, path);
    if (file)
        out = file_hash(self, file, name);
    st_file_close(file);
    return out;
}

static PyObject *inputs_hash(hashing *self, PyObject *inputs)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; i < PyTuple_Size(inputs) && list; i++) {
        PyObject *found = input_hash(self, PyTuple_GetItem(inputs, i));
        if (!found || PyList_Append(list, found))
            Py_CLEAR(list);
        Py_XDECREF(found);
    }
    return list;
}

/* --------------------------------------------------------------------------------- manifests */

static st_status text_take(void *ctx, const char *text, size_t len, st_error *error)
{
    PyObject **bytes = ctx;
    PyObject *more = PyBytes_FromStringAndSize(text, (Py_ssize_t)len);
    (void)error;
    /* Clears what it adds to where it fails. */
    PyBytes_ConcatAndDel(bytes, more);
    return *bytes ? ST_OK : ST_ERR_STOPPED;
}

/* The manifest's text as bytes, or None where there is no manifest. */
static PyObject *manifest_object(const hashing *self)
{
    st_error error;
    if (!self->manifest)
        Py_RETURN_NONE;
    PyObject *text = PyBytes_FromStringAndSize(NULL, 0);
    if (!text || st_manifest_emit(self->manifest, text_take, &text, &error) == ST_OK)
        return text;
    Py_CLEAR(text);
    return stpy_raise(self->state, &error, STPY_READ, NULL);
}

/* ([(digest, data_digest, tensors), ...], text of the manifest or None) */
PyObject *stpy_hash(PyObject *module, PyObject *args)
{
    hashing self = {.state = stpy_state_of_module(module)};
    PyObject *inputs, *progress, *out = NULL;
    const char *algorithm;
    unsigned long long total;
    int manifest;
    st_error error;
    if (!PyArg_ParseTuple(args, "O!sIpKO:_hash", &PyTuple_Type, &inputs, &algorithm,
                          &self.options.parts, &manifest, &total, &progress) ||
        stpy_watch_read(progress, &self.watch))
        return NULL;
    self.watch.total = total;
    self.options.hash = st_hash_find(algorithm, strlen(algorithm));
    self.options.progress = stpy_watch_progress(&self.watch);
    if (manifest && st_manifest_new(self.state->context, self.options.hash, &self.manifest, &error))
        return stpy_raise(self.state, &error, STPY_READ, NULL);
    PyObject *found = inputs_hash(&self, inputs);
    PyObject *text = found ? manifest_object(&self) : NULL;
    if (text)
        out = PyTuple_Pack(2, found, text);
    Py_XDECREF(text);
    Py_XDECREF(found);
    st_manifest_free(self.manifest);
    return out;
}

static st_manifest *manifest_parse(stpy_state *state, PyObject *text, const char *name)
{
    st_manifest *manifest;
    st_error error;
    if (st_manifest_parse(state->context, PyBytes_AsString(text), (size_t)PyBytes_Size(text), name,
                          &manifest, &error))
        return stpy_raise(state, &error, STPY_READ, NULL);
    return manifest;
}

PyObject *stpy_manifest_names(PyObject *module, PyObject *args)
{
    PyObject *text;
    const char *name;
    if (!PyArg_ParseTuple(args, "O!s:_manifest_names", &PyBytes_Type, &text, &name))
        return NULL;
    st_manifest *manifest = manifest_parse(stpy_state_of_module(module), text, name);
    PyObject *list = manifest ? PyList_New(0) : NULL;
    for (size_t i = 0; list && i < st_manifest_count(manifest); i++) {
        const st_manifest_file *file = st_manifest_at(manifest, i);
        PyObject *one = PyUnicode_FromStringAndSize(file->name, (Py_ssize_t)file->name_len);
        if (!one || PyList_Append(list, one))
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    st_manifest_free(manifest);
    return list;
}

/* --------------------------------------------------------------------------------- verifying */

typedef struct verifying {
    stpy_state *state;
    stpy_watch watch;
    st_manifest *manifest; /* NULL: what is recorded in the files' metadata counts */
    PyObject *differences; /* of the file at hand, a list */
} verifying;

/* (kind, tensor, expected, found, message) */
static bool difference_take(void *ctx, const st_difference *difference)
{
    verifying *self = ctx;
    PyEval_RestoreThread(self->watch.thread);
    PyObject *object =
        Py_BuildValue("sz#NNs", st_difference_name(difference->kind), difference->name,
                      (Py_ssize_t)difference->name_len, digest_object(&difference->expected),
                      digest_object(&difference->found), difference->message);
    bool failed = !object || PyList_Append(self->differences, object);
    Py_XDECREF(object);
    self->watch.thread = PyEval_SaveThread();
    return !failed;
}

/* Compares a file with an entry of the manifest, or with what is recorded in it: ([difference, ...], records). */
static PyObject *file_verify(verifying *self, const st_file *file, size_t index)
{
    const st_verify_options options = {
        .difference = difference_take, .ctx = self, .progress = stpy_watch_progress(&self->watch)};
    uint64_t differences, records = 0;
    st_error error;
    self->differences = PyList_New(0);
    if (!self->differences)
        return NULL;
    stpy_watch_part(&self->watch, st_file_size(file));
    stpy_watch_begin(&self->watch);
    st_status status =
        self->manifest
            ? st_manifest_verify(self->manifest, index, file, &options, &differences, &error)
            : st_hash_record_verify(file, &options, &records, &differences, &error);
    PyObject *out = NULL;
    if (!stpy_watch_end(&self->watch) && status == ST_OK)
        out = Py_BuildValue("OK", self->differences, (unsigned long long)records);
    else
        stpy_raise(self->state, &error, STPY_READ, NULL);
    Py_CLEAR(self->differences);
    return out;
}

/* `input` is (path, index of its entry). */
static PyObject *input_verify(verifying *self, PyObject *input)
{
    PyObject *path, *out = NULL;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(input, "On", &path, &index))
        return NULL;
    st_file *file = stpy_path_open(self->state, path);
    if (file)
        out = file_verify(self, file, (size_t)index);
    st_file_close(file);
    return out;
}

PyObject *stpy_hash_verify(PyObject *module, PyObject *args)
{
    verifying self = {.state = stpy_state_of_module(module)};
    PyObject *inputs, *text, *progress;
    const char *name;
    unsigned long long total;
    if (!PyArg_ParseTuple(args, "O!OsKO:_hash_verify", &PyTuple_Type, &inputs, &text, &name, &total,
                          &progress) ||
        stpy_watch_read(progress, &self.watch))
        return NULL;
    self.watch.total = total;
    if (PyBytes_Check(text) && !(self.manifest = manifest_parse(self.state, text, name)))
        return NULL;
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; i < PyTuple_Size(inputs) && list; i++) {
        PyObject *found = input_verify(&self, PyTuple_GetItem(inputs, i));
        if (!found || PyList_Append(list, found))
            Py_CLEAR(list);
        Py_XDECREF(found);
    }
    st_manifest_free(self.manifest);
    return list;
}
