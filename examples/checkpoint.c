/* SPDX-License-Identifier: Apache-2.0 */
/* Splits a file into shards beside it, checks their index, opens them as one, lists all tensors and reads one of them:
 * checkpoint FILE. */
#include <safetensors/checkpoint.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Two shards, or fewer, and their index, in a folder. */
static st_status model_split(const char *path, const char *folder, st_error *error)
{
    st_split_options options = {.shard_count = 2};
    st_checkpoint *checkpoint;
    st_split *split;
    st_status status = st_checkpoint_open(path, NULL, &checkpoint, error);
    if (status != ST_OK)
        return status;
    status = st_split_new(checkpoint, &options, &split, error);
    if (status == ST_OK) {
        status = st_split_write(split, folder, error);
        st_split_free(split);
    }
    st_checkpoint_close(checkpoint);
    return status;
}

static bool finding_print(void *ctx, const char *path, const st_finding *finding)
{
    (void)ctx;
    printf("%s: %s [%s]\n", path, finding->message, finding->rule->id);
    return true;
}

/* Says all that is wrong with the index, where opening it would tell the first. */
static st_status index_check(const char *path, st_error *error)
{
    const st_checkpoint_observer observer = {.finding = finding_print};
    st_checkpoint_summary summary;
    st_status status = st_checkpoint_check(path, NULL, &observer, &summary, error);
    if (status == ST_OK)
        printf("%" PRIu64 " files, %" PRIu64 " tensors, %" PRIu64 " errors\n", summary.files,
               summary.tensors, summary.errors);
    return status;
}

/* Reads a tensor wherever it lies. */
static st_status tensor_sum(const st_checkpoint *checkpoint, st_error *error)
{
    st_checkpoint_tensor found = st_checkpoint_at(checkpoint, st_checkpoint_count(checkpoint) - 1);
    size_t size = (size_t)st_tensor_size(found.tensor);
    unsigned char *bytes = malloc(size ? size : 1);
    unsigned sum = 0;
    if (!bytes)
        return ST_ERR_NOMEM;
    st_status status = st_file_read(found.file, found.tensor, NULL, bytes, size, error);
    for (size_t i = 0; i < size && status == ST_OK; i++)
        sum += bytes[i];
    if (status == ST_OK)
        printf("the bytes of %s add up to %u\n", found.tensor->name, sum);
    free(bytes);
    return status;
}

int main(int argc, char **argv)
{
    char folder[4096];
    st_checkpoint *checkpoint;
    st_error error = {0};
    if (argc != 2 || snprintf(folder, sizeof folder, "%s.shards", argv[1]) >= (int)sizeof folder) {
        fprintf(stderr, "usage: checkpoint FILE\n");
        return 2;
    }
    /* A folder: the index in it says which files belong together. */
    if (model_split(argv[1], folder, &error) != ST_OK || index_check(folder, &error) != ST_OK ||
        st_checkpoint_open(folder, NULL, &checkpoint, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (size_t i = 0; i < st_checkpoint_count(checkpoint); i++) {
        st_checkpoint_tensor one = st_checkpoint_at(checkpoint, i);
        fwrite(one.tensor->name, 1, one.tensor->name_len, stdout);
        printf(": %" PRIu64 " bytes in %s\n", st_tensor_size(one.tensor),
               st_checkpoint_file_name(checkpoint, one.file_index));
    }
    st_status status = tensor_sum(checkpoint, &error);
    st_checkpoint_close(checkpoint);
    return status != ST_OK;
}
