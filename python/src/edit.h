/* SPDX-License-Identifier: Apache-2.0 */
/* edit.h: edits of files and checkpoints, as edit.c and edit_steps.c make them of lists of steps, and checkpoint.c of many
 * files. */
#ifndef STPY_EDIT_H
#define STPY_EDIT_H

#include "gather.h"
#include "inputs.h"
#include "watch.h"

/* --------------------------------------------------------------------------------- making.c */

/* How a file is to be made: a tuple that safetensors/_editing.py has checked. */
typedef struct stpy_making {
    uint32_t order; /* ST_EDIT_ORDER_... */
    uint32_t alignment;
    unsigned long long reserve;
    uint32_t durability; /* ST_DURABLE_... */
    uint32_t flags;      /* ST_SINK_... */
    int dry_run;
} stpy_making;

/* Reads it, and who is told of the progress. */
int stpy_making_read(PyObject *tuple, stpy_making *out, stpy_watch *watch);
/* The library's options. */
st_edit_options stpy_making_options(const stpy_making *making, stpy_state *state,
                                    stpy_watch *watch);
st_sink_options stpy_making_sink(const stpy_making *making, stpy_state *state);
/* Opens what is to be changed, or made a file of, put right first where an edit was interrupted. */
st_checkpoint *stpy_checkpoint_open_source(stpy_state *state, PyObject *path,
                                           const stpy_making *making);
/* The same with nothing shared: two of one file do not have the same tensors, by which an edit tells them apart. */
st_checkpoint *stpy_checkpoint_open_alone(stpy_state *state, PyObject *path,
                                          const stpy_making *making);
/* Writes an edit to a path, without the GIL. */
st_status stpy_making_write(const stpy_making *making, stpy_state *state, st_edit *edit,
                            const char *path, st_edit_summary *out, st_error *error);
/* Raises what an edit, or the writing of files, came to: for an argument a ValueError as well. Always NULL. */
void *stpy_edit_raise(stpy_state *state, const st_error *error);
/* What was done, as a dict. */
PyObject *stpy_summary_object(const st_edit_summary *summary);

/* ------------------------------------------------------------------ edit.c and edit_steps.c */

/* What becomes of a tensor. */
typedef struct stpy_fate {
    bool kept; /* by a pattern */
    bool dropped;
    st_dtype cast; /* 0: none */
} stpy_fate;

/* What a cast lost of one tensor. */
typedef struct stpy_loss {
    size_t file;
    const st_tensor *tensor;
    uint64_t overflowed;
    uint64_t underflowed;
} stpy_loss;

/* What memory of a step lies in: what was opened for it, what of that is mapped, or somebody's buffer. */
typedef struct stpy_held {
    PyObject *path; /* of the checkpoint, borrowed of its step */
    st_checkpoint *checkpoint;
    const st_file *file; /* that the buffer is of; NULL: of none */
    st_buffer *buffer;
} stpy_held;

/* One of the files of an edit. */
typedef struct stpy_edited {
    struct stpy_edit *owner;
    const st_file *file;
    st_edit *edit;
    stpy_fate *fates; /* by a tensor's index in the file */
} stpy_edited;

/* An edit, and all that has to stay as long as it. */
typedef struct stpy_edit {
    stpy_state *state;
    stpy_watch watch;
    PyObject *shown; /* the path in messages; borrowed */
    st_checkpoint *checkpoint;
    st_checkpoint_edit *edit;
    stpy_edited *files; /* `count` of them */
    size_t count;
    stpy_held *held; /* two for each step at most */
    size_t held_count;
    stpy_entries entries; /* the arrays of the steps */
    PyObject *
        names; /* of edit_names.c: NULL before the first rename, None when they are not known any more */
    stpy_loss *losses;
    size_t loss_count;
    st_edit_summary summary;
    bool copies;  /* the data is written anew */
    bool strict;  /* nothing is written where a number overflows */
    bool lossy;   /* one did */
    bool refused; /* and so nothing was written */
} stpy_edit;

/* Runs steps, a list of tuples, each a word and what it needs. */
int stpy_steps_run(stpy_edit *self, PyObject *steps);
/* edit_names.c: whether a pattern matches the name that it is, and no other. */
bool stpy_is_name(const char *pattern);
/* Renames the tensor that is called so by now. 1: it is done; 0: a rule has to do it; -1: an exception is set. */
int stpy_rename_exact(stpy_edit *self, const char *pattern, const char *replacement);
/* A rule has renamed some. */
void stpy_names_lose(stpy_edit *self);
/* What lies at a path, and the mapping of one of its files: the edit's, for all its steps. NULL with the error set. */
st_checkpoint *stpy_other_open(stpy_edit *self, PyObject *path);
st_buffer *stpy_other_map(stpy_edit *self, const st_file *file);
/* Puts the digests of a file's tensors into its metadata. */
int stpy_edit_record(stpy_edited *self, const char *algorithm);

#endif
