/* SPDX-License-Identifier: Apache-2.0 */
/* What --explain prints: how data would be read, and why, as a line or as an object. */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include "json.h"
#include "request.h"

struct explain {
    const char *path;
    const st_file *file; /* where no request names one */
    struct out *out;
    struct json *json; /* NULL: text */
    const char *shard; /* the file's name, of a checkpoint; else NULL */
};

/* Begins and ends the member "explanations", where there is a document. */
void explain_begin(const struct explain *explain);
void explain_end(const struct explain *explain);
/* Explains between the two how a tensor, or the part of it in a resolved request, would be read; `request`
 * NULL: the whole file. */
st_status explain_one(const struct explain *explain, const struct request *request,
                      st_error *error);
/* All three for the whole file. */
st_status explain_file(const struct explain *explain, st_error *error);
/* The same for all files of an input, one after the other. */
st_status explain_input(const struct explain *explain, const struct input *input, st_error *error);

/* Writes the members of an explanation. */
void explain_json(const st_explanation *explanation, struct json *json);
/* Gives "local" and the like for ST_LATENCY_…. */
const char *explain_latency(uint32_t latency);

#endif
