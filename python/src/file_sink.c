/* SPDX-License-Identifier: Apache-2.0 */
/* A sink over a Python object with a method write(). */
#include "extension.h"

/* So many bytes at most are copied for one write(). */
#define PIECE ((size_t)1 << 20)

typedef struct file_sink {
    stpy_state *state;
    PyObject *file;         /* borrowed */
    PyThreadState **thread; /* of the writing call; NULL: it holds the GIL */
} file_sink;

/* write() gave None: of io's raw files that means that nothing could be taken; other objects take all, and
 * do not count. */
static Py_ssize_t uncounted(const file_sink *self, size_t size)
{
    PyObject *raw = stpy_import("io", "RawIOBase");
    int is_raw = raw ? PyObject_IsInstance(self->file, raw) : -1;
    Py_XDECREF(raw);
    if (is_raw == 0)
        return (Py_ssize_t)size;
    if (is_raw > 0)
        PyErr_SetString(PyExc_BlockingIOError,
                        "the file object cannot take bytes without blocking");
    return -1;
}

/* Hands a copy of one piece over, which the object may keep; gives how many bytes were taken, or -1 with an
 * exception. */
static Py_ssize_t piece_hand(const file_sink *self, const char *data, size_t size)
{
    PyObject *piece = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    if (!piece)
        return -1;
    PyObject *said =
        PyObject_CallMethodObjArgs(self->file, self->state->names[STPY_NAME_write], piece, NULL);
    Py_DECREF(piece);
    if (!said)
        return -1;
    Py_ssize_t taken = said == Py_None ? uncounted(self, size) : PyLong_AsSsize_t(said);
    Py_DECREF(said);
    if (PyErr_Occurred())
        return -1;
    if (taken < 0 || (size_t)taken > size) {
        PyErr_Format(PyExc_ValueError, "write() says that it took %zd of %zu bytes", taken, size);
        return -1;
    }
    if (taken == 0)
        PyErr_SetString(PyExc_OSError, "write() took none of the bytes it was given");
    return taken ? taken : -1;
}

static int pieces_hand(const file_sink *self, const st_bytes *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *data = pieces[i].data;
        size_t size = pieces[i].size;
        while (size > 0) {
            Py_ssize_t taken = piece_hand(self, data, size < PIECE ? size : PIECE);
            if (taken < 0 || PyErr_CheckSignals())
                return -1;
            data += taken;
            size -= (size_t)taken;
        }
    }
    return 0;
}

static st_status sink_write(void *ctx, uint64_t offset, const st_bytes *pieces, size_t count,
                            st_error *error)
{
    file_sink *self = ctx;
    (void)offset; /* it is sequential */
    PyThreadState *thread = *self->thread;
    if (thread)
        PyEval_RestoreThread(thread);
    int failed = pieces_hand(self, pieces, count);
    if (thread)
        *self->thread = PyEval_SaveThread();
    if (!failed)
        return ST_OK;
    if (error)
        *error = (st_error){.status = ST_ERR_STOPPED,
                            .offset = ST_NO_OFFSET,
                            .message = "the file object raised an exception"};
    return ST_ERR_STOPPED;
}

/* Called under the GIL, by whoever drops the last reference of the sink. */
static void sink_free(void *ctx)
{
    PyMem_Free(ctx);
}

st_sink *stpy_file_sink(stpy_state *state, PyObject *file, PyThreadState **thread)
{
    static const st_sink_vtable vtable = {
        .size = sizeof vtable, .flags = ST_SINK_SEQUENTIAL, .write = sink_write, .free = sink_free};
    const st_sink_options options = {.context = state->context, .name = "<file object>"};
    st_sink *sink;
    st_error error;
    file_sink *self = PyMem_Malloc(sizeof *self);
    if (!self) {
        PyErr_NoMemory();
        return NULL;
    }
    *self = (file_sink){state, file, thread};
    if (st_sink_new(&vtable, self, &options, &sink, &error)) {
        sink_free(self);
        return stpy_raise(state, &error, STPY_SAVE, NULL);
    }
    return sink;
}
