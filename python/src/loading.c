/* SPDX-License-Identifier: Apache-2.0 */
/* Many tensors, or parts of them, in one load of the library's. */
#include "extension.h"

/* What is waited for at once without the GIL: getting that back may take milliseconds where other threads compute,
 * too much for every small tensor; and a signal waits as long. */
#define BATCH_ITEMS 256
#define BATCH_BYTES ((uint64_t)32 << 20)

typedef struct batch {
    st_load *load;
    st_loaded done[BATCH_ITEMS];
    size_t count;
    bool ended;
    st_status status;
    st_error error;
} batch;

/* Called without the GIL. */
static void batch_fill(batch *b)
{
    uint64_t size = 0;
    for (b->count = 0; b->count < BATCH_ITEMS && size < BATCH_BYTES; b->count++) {
        st_loaded *next = &b->done[b->count];
        b->status = st_load_next(b->load, next, &b->error);
        b->ended = b->status != ST_OK || next->item == ST_LOAD_END;
        if (b->ended)
            return;
        size += next->size;
    }
}

/* Hands everything on, or at least lets go of it. */
static int batch_take(batch *b, const stpy_loading *loading)
{
    int failed = 0;
    for (size_t i = 0; i < b->count; i++) {
        failed = failed ? failed : loading->take(loading->ctx, &b->done[i]);
        st_buffer_release(b->done[i].buffer);
    }
    return failed;
}

static int batches_run(batch *b, const stpy_loading *loading)
{
    int failed = 0;
    while (!b->ended && !failed) {
        Py_BEGIN_ALLOW_THREADS
        batch_fill(b);
        Py_END_ALLOW_THREADS
        failed = batch_take(b, loading);
        if (!failed)
            failed = PyErr_CheckSignals();
    }
    return failed;
}

int stpy_loading_run(stpy_state *state, const stpy_loading *loading, st_status *status,
                     st_error *error)
{
    st_load_options options = {.flags = loading->views ? ST_LOAD_VIEWS : 0,
                               .context = state->context,
                               .max_ahead = loading->max_ahead};
    batch *b = PyMem_Malloc(sizeof *b);
    if (!b) {
        PyErr_NoMemory();
        return -1;
    }
    b->load = NULL;
    b->ended = false;
    Py_BEGIN_ALLOW_THREADS
    b->status = st_load_start(loading->items, loading->count, &options, &b->load, &b->error);
    Py_END_ALLOW_THREADS
    int failed = b->status == ST_OK ? batches_run(b, loading) : 0;
    Py_BEGIN_ALLOW_THREADS
    st_load_free(b->load);
    Py_END_ALLOW_THREADS
    *status = b->status;
    if (b->status != ST_OK)
        *error = b->error;
    PyMem_Free(b);
    return failed;
}

void stpy_loaded_swap(st_dtype dtype, const st_loaded *done)
{
    if (stpy_must_swap(dtype) && done->size)
        st_elements_swap(dtype, done->data, done->size / (st_dtype_bits(dtype) / 8));
}
