/* SPDX-License-Identifier: Apache-2.0 */
/* Splits a file into shards beside it, loses one of them, and tells what could be saved: salvage FILE. */
#include <safetensors/checkpoint.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static st_status damaged_make(const char *path, const char *folder, st_error *error)
{
    const st_split_options options = {.shard_count = 2};
    st_checkpoint *checkpoint;
    st_split *split = NULL;
    st_status status = st_checkpoint_open(path, NULL, &checkpoint, error);
    if (status != ST_OK)
        return status;
    status = st_split_new(checkpoint, &options, &split, error);
    if (status == ST_OK)
        status = st_split_write(split, folder, error);
    if (status == ST_OK) {
        char shard[4096];
        snprintf(shard, sizeof shard, "%s/%s", folder, st_split_at(split, 0).name);
        (void)remove(shard);
    }
    st_split_free(split);
    st_checkpoint_close(checkpoint);
    return status;
}

static bool print_item(void *ctx, const st_salvage_item *item)
{
    static const char *const kinds[] = {"", "saved", "changed", "lost"};
    (void)ctx;
    printf("  %s: %s\n", kinds[item->kind], item->message);
    return true;
}

static bool print_begin(void *ctx, const st_checkpoint_salvage_part *part)
{
    (void)ctx;
    printf("%s\n", strrchr(part->path, '/') + 1);
    return true;
}

/* What cannot be read is left out. */
static bool print_end(void *ctx, const st_checkpoint_salvage_part *part)
{
    (void)ctx;
    if (part->why)
        printf("  %s\n", part->why->message);
    else if (!part->index && part->summary->size == 0)
        printf("  nothing can be saved\n");
    return true;
}

int main(int argc, char **argv)
{
    char folder[4000];
    /* Without a folder for what can be saved it can only be told. */
    const st_checkpoint_salvage_options options = {
        .begin = print_begin, .item = print_item, .end = print_end, .dry_run = true};
    st_checkpoint_salvage_summary summary;
    st_error error;
    if (argc != 2 || snprintf(folder, sizeof folder, "%s.damaged", argv[1]) >= (int)sizeof folder) {
        fprintf(stderr, "usage: salvage FILE\n");
        return 2;
    }
    if (damaged_make(argv[1], folder, &error) != ST_OK ||
        st_checkpoint_salvage(folder, NULL, NULL, &options, &summary, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    printf("%" PRIu64 " saved, %" PRIu64 " lost, %" PRIu64 " files\n", summary.sum.saved,
           summary.sum.lost, summary.files);
    return 0;
}
