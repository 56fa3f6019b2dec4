/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tensors that the browser shows, of one file or of several: as a tree by the dots in their names or as a
 * list, in some order, those that pass a filter, below groups that are open or closed. Knows no terminal and
 * reads nothing. What is on the screen are rows; all else is counted in nodes, whose numbers stay the same.
 */
#ifndef CLI_VIEW_MODEL_H
#define CLI_VIEW_MODEL_H

#include <safetensors/safetensors.h>

#include "view_words.h"

#define VIEW_NONE UINT32_MAX

enum view_order { VIEW_BY_NAME, VIEW_BY_SIZE, VIEW_BY_OFFSET, VIEW_ORDERS };

/* A tensor, and the number of the file it lies in. Names differ, across files too. */
struct view_entry {
    const st_tensor *tensor;
    uint32_t file;
};

/* A tensor or a group, or both: where "a" is a tensor and "a.b" too. */
struct view_node {
    const st_tensor *tensor; /* NULL: only a group */
    const char *label;       /* part of a name, not terminated */
    uint32_t label_len;
    uint32_t file;    /* of the tensor, else of what lies first below */
    uint32_t parent;  /* or VIEW_NONE */
    uint32_t depth;   /* 0: at the top */
    uint32_t span;    /* nodes: this one and those below; 1: nothing below */
    uint32_t tensors; /* that pass the filter, here and below */
    uint64_t bytes;   /* of those */
    uint64_t all;     /* bytes of all, filtered or not */
    uint64_t begin;   /* in its file, of the tensor or of what lies first below */
};

struct view_model {
    struct view_node *nodes; /* ordered by name, each before those below it */
    uint32_t count;
    uint32_t tensors; /* in all */
    uint32_t *order;  /* nodes as they follow each other when all are open */
    uint32_t *places; /* of each node in `order` */
    uint32_t *list;   /* the nodes of all tensors, in the order of the list */
    bool *open;       /* of each node: while nothing is filtered */
    bool *shut;       /* of each node: while something is */
    bool *passes;     /* of each node: its tensor does */
    uint32_t *rows;   /* nodes to be seen */
    uint32_t row_count;
    uint32_t cursor; /* the row at hand; 0 where there is none */
    enum view_order by;
    bool flat; /* a list, not a tree */
    struct view_words filter;
    struct view_words search; /* the last filter that was one */
};

/* Makes the model of `count` tensors; all groups are closed. */
void view_model_init(struct view_model *model, const struct view_entry *entries, size_t count);
void view_model_release(struct view_model *model);

/* Gives the node in a row, or of the row at hand: NULL where there are no rows. */
const struct view_node *view_model_at(const struct view_model *model, uint32_t row);
const struct view_node *view_model_here(const struct view_model *model);
/* Tells whether what is below a node is to be seen. */
bool view_model_is_open(const struct view_model *model, const struct view_node *node);

/* Opens group after group, level by level, as long as there are no more than so many rows. */
void view_model_open_rows(struct view_model *model, uint32_t rows);
/* Opens or closes the group at hand; false where there is none. */
bool view_model_open(struct view_model *model, bool open);
void view_model_open_all(struct view_model *model, bool open);
/* Goes to the group that the row at hand lies in; false at the top. */
bool view_model_leave(struct view_model *model);

/* Filters by words; no words: shows everything. The row at hand stays, if it passes, else becomes the first
 * tensor that does. */
void view_model_filter(struct view_model *model, const char *text, size_t len);
/* Goes to the next or the last tensor that passes the last filter, be it in force or not, opening groups for
 * it; around the end, too. False where there is none. */
bool view_model_find(struct view_model *model, bool forward);
/* The same for whichever tensor follows. */
bool view_model_step(struct view_model *model, bool forward);

void view_model_sort(struct view_model *model, enum view_order by);
/* Shows a list of tensors, or the tree. */
void view_model_flatten(struct view_model *model, bool flat);

#endif
