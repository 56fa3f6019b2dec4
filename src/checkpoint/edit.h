/* SPDX-License-Identifier: Apache-2.0 */
/* An edit of a checkpoint, as its own files see it.
 *
 * edit.c has the edits of the files and what they come to together (st__outcome); edit_index.c makes the new text of
 * the index; edit_write.c writes all of it beside the old files, by a list (exchange.h) of what is to take whose
 * place; edit_in_place.c changes the files where they are; recover.c ends what a crash left of either. */
#ifndef ST_CHECKPOINT_EDIT_H
#define ST_CHECKPOINT_EDIT_H

#include "checkpoint/checkpoint.h"
#include "checkpoint/index_text.h"
#include "file/edit.h"

struct st_checkpoint_edit {
    st_context *context;
    const st_checkpoint *checkpoint;
    st_edit **edits; /* one for each file */
    st_progress progress;
    uint64_t done,
        total; /* bytes of data sections while they are written: of files before, of all */
};

/* A tensor that the index names, or will; without an index each tensor of a file. */
typedef struct st__outcome_row {
    st__key name;            /* first; of the edit's layout */
    const st_tensor *tensor; /* as it will be */
    uint32_t file;
    bool listed; /* it stands where an old one stood in the index */
} st__outcome_row;

/* What becomes of a file. */
enum { ST__FILE_STAYS = 0, ST__FILE_CHANGES, ST__FILE_GOES };

/* What the changes of all files come to; until the next change. */
typedef struct st__outcome {
    st_context *context;
    const st_checkpoint *checkpoint;
    unsigned char *fates;  /* ST__FILE_… of each file */
    st__outcome_row *rows; /* `count` of `room` */
    size_t count;
    size_t room;
    uint32_t *now; /* of each tensor of the checkpoint: its row + 1; 0: it is gone */
    uint64_t size; /* bytes of the rows */
    uint64_t elements_old, elements; /* modulo 2^64 */
    bool names_change;               /* so that the map of an index does */
} st__outcome;

/* Lays all files out. As st_checkpoint_edit_look; to be released in both cases. */
st_status st__outcome_make(st_checkpoint_edit *edit, st__outcome *out, st_error *error);
void st__outcome_release(st__outcome *outcome);
/* The numbers of all files. */
void st__outcome_sum_up(const st_checkpoint_edit *edit, const st__outcome *outcome,
                        st_edit_summary *out);
/* The checkpoint is one file that was opened by its own path. */
bool st__checkpoint_is_file(const st_checkpoint *checkpoint);
/* The name of its index within its folder; NULL: it has none. */
const char *st__checkpoint_index_name(const st_checkpoint *checkpoint);

/* Reads the index once more, and makes its new text. ST_ERR_CHANGED where it is not the one that was opened;
 * ST_ERR_UNSUPPORTED for one that would be none without tensors. `*same` is whether the text is the old one.
 * `out` is to be released in all cases. */
st_status st__outcome_index(const st__outcome *outcome, st__index_text *out, bool *same,
                            st_error *error);

/* All files, and the index, are those that were opened: ST_ERR_CHANGED. They are looked for in their folder where that is
 * open; ST__OS_HERE: by their paths. */
st_status st__checkpoint_unchanged(const st_checkpoint *checkpoint, int directory, st_error *error);

#endif
