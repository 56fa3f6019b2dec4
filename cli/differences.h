/* SPDX-License-Identifier: Apache-2.0 */
/* How diff prints what two sides have not in common: as lines between tabs, as sections on a terminal, as JSON. */
#ifndef CLI_DIFFERENCES_H
#define CLI_DIFFERENCES_H

#include <safetensors/inspect.h>

#include "json.h"

/* A change of a tensor that is kept until all are there. */
struct kept_change {
    st_change change;
    st_deviation values; /* `change.values` points here, or nowhere */
    bool printed;
};

/* Where changes go. */
struct differences {
    const char *names[2]; /* of the sides, as the command line has them */
    struct out *out;
    struct json *json; /* NULL: text */
    bool places;       /* where tensors lie is asked for */
    bool in_tensors;   /* of the document: the metadata are written */
    bool in_metadata;  /* of the terminal: their heading is */
    struct kept_change *kept;
    size_t count;
    size_t room;
};

/* Begins and ends the document's arrays; nothing where there is none. */
void differences_begin(struct differences *changes);
void differences_end(struct differences *changes);
void differences_release(struct differences *changes);

/* Takes one change: prints it, or keeps it for the terminal's sections. */
void differences_take(struct differences *changes, const st_change *change);
/* Prints what was kept, and what it comes to. */
void differences_print(struct differences *changes, const st_compare_summary *summary);
/* Writes one change into the document. */
void differences_json_take(struct differences *changes, const st_change *change);
/* Writes the same sums as an object. */
void differences_json_summary(struct json *json, const st_compare_summary *summary);

#endif
