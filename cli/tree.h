/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensors as a tree by the dots in their names. Siblings are in natural order (2 before 10), a run
 * of nodes with nothing to choose between is one node ("encoder.layer"), and siblings that begin
 * with consecutive numbers and hold the same below are one node with a repeat count.
 */
#ifndef CLI_TREE_H
#define CLI_TREE_H

#include <safetensors/safetensors.h>

/* Below this many levels names are not split any more, so that no file makes a tree that is mostly
 * indentation. */
#define TREE_DEPTH 48

#define TREE_END UINT32_MAX

struct tree_node {
    const char *label; /* part of the tensor's name, not terminated */
    uint32_t label_len;
    uint32_t next;           /* sibling, or TREE_END */
    uint32_t child;          /* first, or TREE_END */
    uint32_t repeat;         /* 1, or how many siblings this one stands for */
    uint64_t number;         /* the first one's, where repeat > 1 */
    const st_tensor *tensor; /* the first one's, or NULL where there are only children */
    uint64_t tensors;        /* in the node and below, repeats included */
    uint64_t bytes;          /* of those */
};

struct tree {
    struct tree_node *nodes;
    size_t count;
    size_t room;
    uint32_t first; /* of the top level, or TREE_END */
    bool apart;     /* siblings that hold the same stay nodes of their own */
};

/* Builds the tree of `count` tensors, whose order it changes. */
void tree_init(struct tree *tree, const st_tensor **tensors, size_t count);
/* The same, but each node stands for itself alone. */
void tree_init_apart(struct tree *tree, const st_tensor **tensors, size_t count);
void tree_release(struct tree *tree);

/* Gives the length of the number with which a label begins, if it is a whole segment and has no
 * leading zero; else 0. */
size_t tree_number(const char *label, size_t len, uint64_t *out);

#endif
