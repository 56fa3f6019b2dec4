/* SPDX-License-Identifier: Apache-2.0 */
/* What the header says of a requested tensor: a line for each fact, or members of an object. */
#ifndef CLI_FACTS_H
#define CLI_FACTS_H

#include "json.h"
#include "request.h"

/* Prints the tensor's name, dtype, shape, size, and place, and the slice's. */
void facts_print(const struct request *request, struct out *out);
/* Writes the same as members of an object. */
void facts_json(const struct request *request, struct json *json);

/* Begins a line of a fact: its name. */
void fact_begin(struct out *out, const char *name);
void fact_number(struct out *out, const char *name, uint64_t number);

#endif
