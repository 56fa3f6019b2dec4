/* SPDX-License-Identifier: Apache-2.0 */
/* pick.h: which tensors of a file a function is about, by their names and dtypes. */
#ifndef STPY_PICK_H
#define STPY_PICK_H

#include "extension.h"

#include <safetensors/edit.h>

/* A tensor is taken if one of the rules that show matches its name, none of those that hide does, and its dtype is one
 * of the dtypes; where none of a kind are given, that kind takes all. */
typedef struct stpy_pick {
    const st_name_rule **rules; /* first those that show; borrowed of the capsules */
    size_t show_count;
    size_t hide_count;
    bool dtypes[ST_DTYPE_COUNT + 1];
    bool any_dtype;
} stpy_pick;

/* Reads None, or what safetensors/_picking.py made, a tuple of three: rules that show, rules that hide, and dtypes. What
 * it has has to stay as long as this. */
int stpy_pick_read(stpy_state *state, PyObject *tuple, stpy_pick *out);
void stpy_pick_release(stpy_pick *self);
/* Whether a tensor is taken. Needs no GIL. */
st_status stpy_pick_takes(const stpy_pick *self, const st_tensor *tensor, bool *out,
                          st_error *error);

#endif
