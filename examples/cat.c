/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a file's tensors, and the same once more under other names, into one file beside it: cat FILE. */
#include <safetensors/checkpoint.h>

#include <inttypes.h>
#include <stdio.h>

#define INPUTS 2

/* Tells what it comes to, and writes it, whole or not at all. */
static st_status edit_save(st_edit *edit, const char *path, st_error *error)
{
    st_edit_summary summary;
    st_sink *sink;
    st_status status = st_sink_open(path, NULL, &sink, error);
    if (status != ST_OK)
        return status;
    status = st_edit_write(edit, sink, &summary, error);
    st_sink_release(sink);
    if (status != ST_OK)
        return status;
    for (size_t i = 0; i < summary.count; i++)
        printf("%s: %" PRIu64 " bytes\n", st_edit_at(edit, i)->name,
               st_tensor_size(st_edit_at(edit, i)));
    return ST_OK;
}

/* Without a prefix the second one would be refused, and named. */
static st_status files_join(st_checkpoint *const *opened, const char *path, st_error *error)
{
    const st_cat_input inputs[INPUTS] = {
        {.checkpoint = opened[0]},
        {.checkpoint = opened[1], .prefix = "copy.", .prefix_len = 5},
    };
    const st_cat_options how = {.metadata = ST_CAT_METADATA_FIRST};
    const st_edit_options options = {.order = ST_EDIT_ORDER_CANONICAL};
    st_edit *edit;
    st_status status = st_checkpoint_cat(inputs, INPUTS, &how, &options, &edit, error);
    if (status != ST_OK)
        return status;
    status = edit_save(edit, path, error);
    st_edit_free(edit);
    return status;
}

int main(int argc, char **argv)
{
    char path[4096];
    st_checkpoint *opened[INPUTS] = {NULL};
    st_error error = {0};
    if (argc != 2 || snprintf(path, sizeof path, "%s.twice", argv[1]) >= (int)sizeof path) {
        fprintf(stderr, "usage: cat FILE\n");
        return 2;
    }
    /* Each of them may also be a folder of shards, or an index. */
    st_status status = ST_OK;
    for (int i = 0; i < INPUTS && status == ST_OK; i++)
        status = st_checkpoint_open(argv[1], NULL, &opened[i], &error);
    if (status == ST_OK)
        status = files_join(opened, path, &error);
    if (status != ST_OK)
        fprintf(stderr, "%s\n", error.message);
    for (int i = 0; i < INPUTS; i++)
        st_checkpoint_close(opened[i]);
    return status != ST_OK;
}
