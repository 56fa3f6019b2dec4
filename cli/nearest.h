/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the names nearest to a mistyped one. */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include <stddef.h>

#define NEAREST_COUNT 3

struct nearest {
    const char *name;
    size_t len;
    struct {
        const char *name; /* borrowed from the offer */
        size_t len;
        size_t distance;
    } best[NEAREST_COUNT]; /* nearest first */
    size_t count;
};

void nearest_init(struct nearest *nearest, const char *name, size_t len);
/* Keeps a candidate if it is near, and nearer than what is there. */
void nearest_offer(struct nearest *nearest, const char *name, size_t len);
/* Prints `; did you mean "a", "b"?` into `text`, or nothing where nothing is near. */
void nearest_print(const struct nearest *nearest, char *text, size_t size);

#endif
