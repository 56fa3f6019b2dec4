/* SPDX-License-Identifier: Apache-2.0 */
/* Another file that tensors are taken out of: a safetensors file, a checkpoint, or plain bytes. */
#ifndef CLI_PART_H
#define CLI_PART_H

#include "input.h"

struct part {
    char *path;
    bool raw;           /* plain bytes */
    struct input input; /* else */
    st_buffer **maps;   /* of its files; NULL: not mapped yet */
    void *bytes;        /* mapped; NULL: none */
    size_t size;
};

st_status part_open(struct part *part, const char *path, bool raw, const struct common *common,
                    st_error *error);
void part_close(struct part *part);
/* Gives a tensor where it lies in memory; as long as the part is open. */
st_status part_array(struct part *part, const struct input_place *place, st_array *out,
                     st_error *error);
/* Gives its bytes as the data of a tensor like this one: ST_ERR_BUFFER_SIZE for more or fewer. */
st_status part_bytes(const struct part *part, const st_tensor *tensor, st_array *out,
                     st_error *error);

#endif
