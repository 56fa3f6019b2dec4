/* SPDX-License-Identifier: Apache-2.0 */
/* Manual pages, written from the verbs' tables. */
#ifndef CLI_MAN_H
#define CLI_MAN_H

#include "out.h"
#include "verb.h"

/* Writes the mdoc page of a verb, or the program's for &verb_main. */
void man_write(struct out *out, const struct verb *verb);
/* Writes the name of its file: "safetensors-meta-get.1". */
void man_name(const struct verb *verb, char *name, size_t size);

#endif
