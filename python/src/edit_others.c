/* SPDX-License-Identifier: Apache-2.0 */
/* What the steps of an edit take tensors from: opened and mapped once, however many they are. */
#include "edit.h"

#include "inputs.h"

st_checkpoint *stpy_other_open(stpy_edit *self, PyObject *path)
{
    for (size_t i = 0; i < self->held_count; i++)
        if (self->held[i].path && PyObject_RichCompareBool(self->held[i].path, path, Py_EQ) == 1)
            return self->held[i].checkpoint;
    st_checkpoint *checkpoint = stpy_checkpoint_open(self->state, path);
    if (checkpoint)
        self->held[self->held_count++] = (stpy_held){.path = path, .checkpoint = checkpoint};
    return checkpoint;
}

st_buffer *stpy_other_map(stpy_edit *self, const st_file *file)
{
    st_buffer *buffer;
    st_error error;
    for (size_t i = 0; i < self->held_count; i++)
        if (self->held[i].file == file)
            return self->held[i].buffer;
    if (st_file_map(file, ST_MAP_SHARED, &buffer, &error)) {
        stpy_edit_raise(self->state, &error);
        return NULL;
    }
    self->held[self->held_count++] = (stpy_held){.file = file, .buffer = buffer};
    return buffer;
}
