/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values of a tensor as a grid: a row for each index of all dimensions but the last, whose indices are the
 * columns; a tensor of a single such row as a text that is broken where the screen ends. Nothing is read but what is
 * to be seen.
 */
#ifndef CLI_VIEW_VALUES_H
#define CLI_VIEW_VALUES_H

#include <safetensors/safetensors.h>

#include "view_screen.h"

struct view_values {
    const st_file *file;
    const st_tensor *tensor;
    uint64_t count; /* elements */
    uint64_t cols;  /* of a row; where it is broken, as many as are on the screen */
    uint64_t rows;
    bool broken;
    uint64_t top;  /* the first row to be seen, or the first element of it */
    uint64_t left; /* the first column */
    int before;    /* the columns of the widest number so far: before the decimal point */
    int after;     /* and from it on */
    int label;     /* columns of a row's index */
    uint64_t seen_rows;
    uint64_t seen_cols;
};

/* Begins at the first element; the tensor's dtype is a known one. */
void view_values_init(struct view_values *values, const st_file *file, const st_tensor *tensor);
/* Draws what is to be seen into so many rows of the screen. */
void view_values_draw(struct view_values *values, const struct screen *screen, int first, int rows);
/* Takes a key that moves, with the number typed before it or 0; false: it is no such key. */
bool view_values_key(struct view_values *values, int key, uint64_t number);
/* Says what is to be seen. */
void view_values_place(const struct view_values *values, char *text, size_t size);

#endif
