/* SPDX-License-Identifier: Apache-2.0 */
/* The changes that `edit` is told of, as calls of the library's edit. */
#ifndef CLI_CHANGES_H
#define CLI_CHANGES_H

#include <safetensors/edit.h>

#include "verb.h"

struct change_options {
    struct opt_list renames; /* OPT_STEP: the option's name, then its value */
    struct opt_list drops;
    struct opt_list keeps;
    struct opt_list casts;
    struct opt_list replacements;
    struct opt_list additions;
};

/* What becomes of one of the file's tensors. */
struct change {
    bool dropped;
    bool replaced;
    st_dtype cast; /* 0: none */
};

struct changes {
    const struct change_options *options;
    const struct common *common;
    const char *path;
    const st_file *file;
    struct change *of;  /* by the tensor's index in the file */
    struct part *parts; /* the files that tensors were taken out of */
    size_t part_count;
    size_t part_room;
};

/* Tells whether any are asked for. */
bool changes_any(const struct change_options *options);
/* Lists them in `edit`. A pattern that matches nothing is ST_ERR_NOT_FOUND. */
st_status changes_make(struct changes *changes, st_edit *edit, st_error *error);
/* Frees what changes_make opened; after the edit. */
void changes_release(struct changes *changes);
void change_options_release(struct change_options *options);

#endif
