/* SPDX-License-Identifier: Apache-2.0 */
/* The changes that `edit` is told of, as calls of the library's edit. */
#ifndef CLI_CHANGES_H
#define CLI_CHANGES_H

#include "rewrite.h"

struct change_options {
    struct opt_list renames; /* OPT_STEP: the option's name, then its value */
    struct opt_list drops;
    struct opt_list keeps;
    struct opt_list casts;
    struct opt_list replacements;
    struct opt_list additions;
};

/* What becomes of one of the tensors. */
struct change {
    bool kept; /* by a pattern */
    bool dropped;
    bool replaced;
    st_dtype cast; /* 0: none */
};

struct changes {
    const struct change_options *options;
    const struct common *common;
    const struct rewrite *rewrite; /* whose input and edits these are about */
    struct change **of;            /* by the file's index, then the tensor's in it */
    struct part *parts;            /* the files that tensors were taken out of */
    size_t part_count;
    size_t part_room;
};

/* Tells whether any are asked for. */
bool changes_any(const struct change_options *options);
/* Lists them in the edits. A pattern that matches nothing in any file is ST_ERR_NOT_FOUND. */
st_status changes_make(struct changes *changes, st_error *error);
/* Gives what becomes of a tensor of file `index`. */
struct change *changes_of(const struct changes *changes, size_t index, const st_tensor *tensor);
/* Frees what changes_make opened; after the edit. */
void changes_release(struct changes *changes);
void change_options_release(struct change_options *options);

#endif
