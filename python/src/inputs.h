/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.h: files and checkpoints by their paths, for the functions that work on paths. */
#ifndef STPY_INPUTS_H
#define STPY_INPUTS_H

#include "extension.h"

#include <safetensors/checkpoint.h>

/* Reads a path, and nothing else. */
int stpy_path_read(stpy_state *state, PyObject *object, stpy_place *out);
/* Opens a file at a path; NULL with what opening it in another way raises. */
st_file *stpy_path_open(stpy_state *state, PyObject *path);
/* Opens a file, a folder, or an index. */
st_checkpoint *stpy_checkpoint_open(stpy_state *state, PyObject *path);
/* Whether it was opened by the path of its one file. */
bool stpy_checkpoint_is_file(const st_checkpoint *checkpoint);
/* What _name_rule made; NULL with an exception for anything else. Borrowed. */
const st_name_rule *stpy_name_rule_of(PyObject *capsule);
/* The file that a tensor lies in as an object: its name, or None where the checkpoint is that file. */
PyObject *stpy_shard_object(const st_checkpoint *checkpoint, size_t file_index);

#endif
