/* SPDX-License-Identifier: Apache-2.0 */
/* Splits a file into shards beside it, renames and drops tensors in them, and prints the index that follows from that:
 * model_edit FILE. */
#include <safetensors/checkpoint.h>

#include <inttypes.h>
#include <stdio.h>

static st_status shards_make(const char *path, const char *folder, st_error *error)
{
    st_split_options options = {.shard_count = 2};
    st_checkpoint *checkpoint;
    st_split *split = NULL;
    st_status status = st_checkpoint_open(path, NULL, &checkpoint, error);
    if (status != ST_OK)
        return status;
    status = st_split_new(checkpoint, &options, &split, error);
    if (status == ST_OK)
        status = st_split_write(split, folder, error);
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    return status;
}

/* Each file has an edit of its own. Nothing is read or written here. */
static st_status changes_make(st_checkpoint_edit *edit, const st_checkpoint *checkpoint,
                              const st_name_rule *rule, st_error *error)
{
    st_checkpoint_tensor steps;
    st_status status = ST_OK;
    if (st_checkpoint_find(checkpoint, "steps", 5, &steps))
        status = st_edit_drop(st_checkpoint_edit_at(edit, steps.file_index), steps.tensor, error);
    for (size_t i = 0; i < st_checkpoint_file_count(checkpoint) && status == ST_OK; i++)
        status = st_edit_rename_all(st_checkpoint_edit_at(edit, i), rule, NULL, error);
    return status;
}

/* All files and the index, or none: what a crash leaves st_checkpoint_recover ends. */
static st_status shards_edit(const char *folder, st_edit_summary *summary, st_error *error)
{
    st_checkpoint *checkpoint;
    st_checkpoint_edit *edit = NULL;
    st_name_rule *rule = NULL;
    st_status status = st_checkpoint_recover(folder, NULL, NULL, error);
    if (status == ST_OK)
        status = st_checkpoint_open(folder, NULL, &checkpoint, error);
    if (status != ST_OK)
        return status;
    status = st_name_rule_new("*", "model.*", ST_NAME_GLOB, NULL, &rule, error);
    if (status == ST_OK)
        status = st_checkpoint_edit_new(checkpoint, NULL, &edit, error);
    if (status == ST_OK)
        status = changes_make(edit, checkpoint, rule, error);
    if (status == ST_OK)
        status = st_checkpoint_edit_write(edit, NULL, NULL, summary, error);
    st_checkpoint_edit_free(edit);
    st_name_rule_free(rule);
    st_checkpoint_close(checkpoint);
    return status;
}

static st_status index_print(const char *folder, st_error *error)
{
    char line[256];
    st_checkpoint *checkpoint;
    st_status status = st_checkpoint_open(folder, NULL, &checkpoint, error);
    if (status != ST_OK)
        return status;
    FILE *index = fopen(st_checkpoint_index(checkpoint), "r");
    while (index && fgets(line, sizeof line, index))
        fputs(line, stdout);
    putchar('\n'); /* which an index of huggingface_hub's does not end with */
    if (index)
        fclose(index);
    st_checkpoint_close(checkpoint);
    return ST_OK;
}

int main(int argc, char **argv)
{
    char folder[4096];
    st_error error = {0};
    st_edit_summary summary;
    if (argc != 2 || snprintf(folder, sizeof folder, "%s.edited", argv[1]) >= (int)sizeof folder) {
        fprintf(stderr, "usage: model_edit FILE\n");
        return 2;
    }
    if (shards_make(argv[1], folder, &error) != ST_OK ||
        shards_edit(folder, &summary, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    printf("%" PRIu64 " renamed, %" PRIu64 " dropped\n", summary.renamed, summary.dropped);
    if (index_print(folder, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    return 0;
}
