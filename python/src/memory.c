/* SPDX-License-Identifier: Apache-2.0 */
/* Memory with a count: made here, borrowed from Python objects, and shown to Python as _Memory. */
#include "extension.h"

#include <stdlib.h>

#ifndef _WIN32
# include <sys/mman.h>
# include <unistd.h>
#endif

/* ----------------------------------------------------------------------------- fresh memory */

/* From here on memory starts at a multiple of the size of a huge page, so that it can be made of them. */
#define HUGE_PAGE ((size_t)2 << 20)

/* The least alignment: what jax asks for before it takes memory over, and a cache line. */
#define MEMORY_ALIGNMENT 64

void stpy_huge_pages(void *data, size_t size)
{
#ifdef MADV_HUGEPAGE
    /* First touch of small pages costs several times the copy into them. Whole pages only: the
     * kernel wants the start at a page's, and the neighbours are none of our business. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)data + size) & ~(page - 1);
    if (size >= HUGE_PAGE && begin < end)
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)data;
    (void)size;
#endif
}

/* malloc's own, not Python's: freed on any thread, without the GIL, even after the interpreter's end,
 * where Python's raw allocator may be traced and would take the GIL. */
static void memory_free(void *ctx, void *data, size_t size)
{
    (void)ctx;
    (void)size;
#ifdef _WIN32
    _aligned_free(data);
#else
    free(data);
#endif
}

static void *memory_alloc(size_t size)
{
    size_t alignment = size >= HUGE_PAGE ? HUGE_PAGE : MEMORY_ALIGNMENT;
#ifdef _WIN32
    return _aligned_malloc(size ? size : 1, alignment);
#else
    void *data;
    if (posix_memalign(&data, alignment, size ? size : 1))
        return NULL;
    stpy_huge_pages(data, size);
    return data;
#endif
}

/* Takes `memory` over, also on failure. */
static st_buffer *buffer_over(stpy_state *state, const st_memory *memory)
{
    st_error error;
    st_buffer *buffer;
    if (st_buffer_new(state->context, memory, &buffer, &error) == ST_OK)
        return buffer;
    memory->release(memory->ctx, memory->data, memory->size);
    return stpy_raise(state, &error, STPY_READ, NULL);
}

st_buffer *stpy_buffer_alloc(stpy_state *state, uint64_t size)
{
    void *data = size <= PY_SSIZE_T_MAX - HUGE_PAGE ? memory_alloc((size_t)size) : NULL;
    if (!data) {
        PyErr_Format(PyExc_MemoryError, "out of memory: %llu bytes", (unsigned long long)size);
        return NULL;
    }
    return buffer_over(state, &(st_memory){data, (size_t)size, memory_free, NULL});
}

/* -------------------------------------------------------------------------- Python's memory */

/* Gives an export back. After the interpreter's end there is nobody left to give it to. */
static void export_release(void *ctx, void *data, size_t size)
{
    (void)data;
    (void)size;
    if (!Py_IsInitialized())
        return;
    PyGILState_STATE gil = PyGILState_Ensure();
    /* The last reference may go while an exception is on its way. */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyBuffer_Release(ctx);
    PyErr_Restore(type, value, traceback);
    PyMem_Free(ctx);
    PyGILState_Release(gil);
}

/* Whether export_release could not get the GIL: before 3.12, PyGILState_Ensure goes back to the main
 * interpreter, for which a thread that is in another one would wait for ever. */
static bool is_stranded(void)
{
    return Py_Version < 0x030C0000 && PyInterpreterState_GetID(PyInterpreterState_Get()) != 0;
}

/* A copy, instead of an export to be given back later. */
static st_buffer *export_copy(stpy_state *state, Py_buffer *export)
{
    st_buffer *copy = stpy_buffer_alloc(state, (uint64_t) export->len);
    if (copy && export->len)
        memcpy(st_buffer_data(copy), export->buf, (size_t) export->len);
    PyBuffer_Release(export);
    PyMem_Free(export);
    return copy;
}

st_buffer *stpy_buffer_of_object(stpy_state *state, PyObject *object, bool *readonly)
{
    Py_buffer *export = PyMem_Malloc(sizeof *export);
    if (!export) {
        PyErr_NoMemory();
        return NULL;
    }
    bool writable = PyObject_GetBuffer(object, export, PyBUF_WRITABLE) == 0;
    if (!writable) {
        /* Without writing, or not at all: the second refusal is the one to tell. */
        if (stpy_forgive() || PyObject_GetBuffer(object, export, PyBUF_SIMPLE)) {
            PyMem_Free(export);
            return NULL;
        }
    }
    *readonly = !writable;
    if (is_stranded())
        return export_copy(state, export);
    return buffer_over(state,
                       &(st_memory){export->buf, (size_t) export->len, export_release, export});
}

/* ---------------------------------------------------------------------------------- _Memory */

typedef struct memory_object {
    PyObject_HEAD st_buffer *buffer;
    bool readonly;
} memory_object;

PyObject *stpy_memory_new(stpy_state *state, st_buffer *buffer, bool readonly)
{
    memory_object *self = PyObject_New(memory_object, state->memory_type);
    if (!self) {
        st_buffer_release(buffer);
        return NULL;
    }
    self->buffer = buffer;
    self->readonly = readonly;
    return (PyObject *)self;
}

st_buffer *stpy_memory_buffer(PyObject *memory)
{
    return ((memory_object *)memory)->buffer;
}

static void memory_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    st_buffer_release(((memory_object *)self)->buffer);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static int memory_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    const memory_object *memory = (const memory_object *)self;
    return PyBuffer_FillInfo(view, self, st_buffer_data(memory->buffer),
                             (Py_ssize_t)st_buffer_size(memory->buffer), memory->readonly, flags);
}

PyDoc_STRVAR(memory_doc,
             "Memory that arrays are views of: a mapped file, or what was read of one.");

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, (void *)memory_doc},
    {Py_tp_dealloc, (void *)memory_dealloc},
    {Py_bf_getbuffer, (void *)memory_getbuffer},
    {0, NULL},
};

PyType_Spec stpy_memory_spec = {
    .name = "safetensors._Memory",
    .basicsize = sizeof(memory_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memory_slots,
};
