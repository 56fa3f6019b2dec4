/* SPDX-License-Identifier: Apache-2.0 */
/* A tensor named on the command line, with or without an index: weight, weight[0, :8]. */
#ifndef CLI_REQUEST_H
#define CLI_REQUEST_H

#include "input.h"

struct request {
    const st_file *file; /* that the tensor lies in */
    const st_tensor *tensor;
    const char *shard; /* the file's name, of a checkpoint; else NULL */
    const char *index; /* between the brackets; NULL: the whole tensor */
    size_t index_len;
    st_region region;
};

/* Finds what `word` names: a tensor's name, as it is or as ls prints it, or such a name and an index.
 * `index` holds for a word without one; NULL: the whole tensor. */
bool request_find(struct request *request, const struct input *input, const char *word,
                  const char *index);
/* Gives the request of a whole tensor, one of the input's header. */
struct request request_of(const struct input *input, const st_tensor *tensor);
/* Says that there is no such tensor, and which names are near. */
void request_complain(const struct input *input, const char *word);
/* Fills `region`, which st_region_release gives back. */
st_status request_resolve(struct request *request, st_error *error);

#endif
