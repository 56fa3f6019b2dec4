/* SPDX-License-Identifier: Apache-2.0 */
/* edit.h: edits of files, as edit.c and edit_steps.c make them of lists of steps, and checkpoint.c of many files. */
#ifndef STPY_EDIT_H
#define STPY_EDIT_H

#include "gather.h"
#include "inputs.h"
#include "watch.h"

/* How a file is to be made: a tuple that safetensors/_editing.py has checked. */
typedef struct stpy_making {
    uint32_t order; /* ST_EDIT_ORDER_... */
    uint32_t alignment;
    unsigned long long reserve;
    uint32_t durability; /* ST_DURABLE_... */
    uint32_t flags;      /* ST_SINK_... */
    int dry_run;
} stpy_making;

/* What a cast lost of one tensor. */
typedef struct stpy_loss {
    const st_tensor *tensor;
    uint64_t overflowed;
    uint64_t underflowed;
} stpy_loss;

/* What memory of a step lies in: a file that was opened for it, what it maps, or somebody's buffer. */
typedef struct stpy_held {
    st_file *file;
    st_buffer *buffer;
} stpy_held;

/* An edit, and all that has to stay as long as it. */
typedef struct stpy_edit {
    stpy_state *state;
    stpy_watch watch;
    PyObject *shown; /* the file's name in messages; borrowed */
    st_file *file;   /* NULL: the edit began with nothing */
    st_edit *edit;
    bool *dropped;   /* by a tensor's index in the file */
    st_dtype *casts; /* the same; 0: none */
    bool changed;    /* the file is another one than before */
    stpy_held *held; /* one for each step at most */
    size_t held_count;
    stpy_entries entries; /* the arrays of the steps */
    stpy_loss *losses;
    size_t loss_count;
    st_edit_summary summary;
    bool copies;  /* the data is written anew */
    bool strict;  /* no file where a number overflows */
    bool lossy;   /* one did */
    bool refused; /* and so nothing was written */
} stpy_edit;

/* Reads it, and who is told of the progress. */
int stpy_making_read(PyObject *tuple, stpy_making *out, stpy_watch *watch);
/* The library's options: `self` takes the progress. */
st_edit_options stpy_making_options(const stpy_making *making, stpy_edit *self);
/* Raises what an edit, or the writing of files, came to. Always NULL. */
void *stpy_edit_raise(stpy_state *state, const st_error *error);
/* Looks, and writes to `out` unless it is to be dry: -1 with an exception. */
int stpy_edit_save(stpy_edit *self, const stpy_making *making, const stpy_place *out);
/* What was done, as a dict. */
PyObject *stpy_summary_object(const st_edit_summary *summary);
/* Runs steps, a list of tuples, each a word and what it needs. */
int stpy_steps_run(stpy_edit *self, PyObject *steps);
/* Puts the digests of a file's tensors into its metadata. */
int stpy_edit_record(stpy_edit *self, const st_file *file, st_edit *edit, const char *algorithm);
void stpy_edit_release(stpy_edit *self);

#endif
