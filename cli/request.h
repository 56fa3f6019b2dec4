/* SPDX-License-Identifier: Apache-2.0 */
/* A tensor named on the command line, with or without an index: weight, weight[0, :8]. */
#ifndef CLI_REQUEST_H
#define CLI_REQUEST_H

#include <safetensors/safetensors.h>

struct request {
    const st_tensor *tensor;
    const char *index; /* between the brackets; NULL: the whole tensor */
    size_t index_len;
    st_region region;
};

/* Finds what `word` names: a tensor's name, as it is or as ls prints it, or such a name and an index.
 * `index` holds for a word without one; NULL: the whole tensor. */
bool request_find(struct request *request, const st_file *file, const char *word,
                  const char *index);
/* Says that there is no such tensor, and which names are near. */
void request_complain(const st_file *file, const char *path, const char *word);
/* Fills `region`, which st_region_release gives back. */
st_status request_resolve(struct request *request, st_error *error);

#endif
