/* SPDX-License-Identifier: Apache-2.0 */
/* check --repair of a folder or an index: each file by itself, and a new index of what was saved. */
#include <safetensors/checkpoint.h>

#include <inttypes.h>
#include <string.h>

#include "input.h"
#include "salvage.h"

static void index_print(const struct salvage *salvage)
{
    struct out *out = salvage->out;
    out_escaped(out, salvage->path, strlen(salvage->path));
    out_print(out, ": %s of %" PRIu64 " tensor%s in %" PRIu64 " file%s; written to ",
              salvage->options->dry ? "would be made anew" : "made anew", salvage->tensors,
              salvage->tensors == 1 ? "" : "s", salvage->files, salvage->files == 1 ? "" : "s");
    out_escaped(out, salvage->target, strlen(salvage->target));
    out_text(out, "\n");
}

static void index_json(const struct salvage *salvage)
{
    struct json *json = salvage->json;
    json_text(json, "output", salvage->target);
    json_bool(json, "written", !salvage->options->dry);
    json_bool(json, "good", !salvage->bad);
    json_u64(json, "omitted", salvage->omitted);
    json_u64(json, "tensors", salvage->tensors);
    json_u64(json, "shards", salvage->files);
}

static void index_tell(const struct salvage *salvage)
{
    if (salvage->json)
        index_json(salvage);
    else if (!salvage->options->quiet)
        index_print(salvage);
}

/* ------------------------------------------------------------------------------ callbacks */

static bool part_begin(void *ctx, const st_checkpoint_salvage_part *part)
{
    progress_hide(&((struct salvage *)ctx)->progress);
    salvage_begin(ctx, part->path, part->target);
    return true;
}

/* Goes on without what failed, if the library can. */
static bool part_end(void *ctx, const st_checkpoint_salvage_part *part)
{
    struct salvage *salvage = ctx;
    progress_hide(&salvage->progress);
    if (part->summary || part->index)
        salvage_list_begin(salvage);
    salvage_list_end(salvage);
    salvage->failed = part->why != NULL;
    if (part->why)
        file_fail(salvage->out, salvage->json, part->why);
    else if (part->index)
        index_tell(salvage);
    else
        salvage_tell(salvage, part->summary);
    if (salvage->json)
        st_json_emit_object_end(salvage->json->emitter);
    return true;
}

/* How many bytes there are is known once the files have been found. */
static bool bytes_tell(void *ctx, uint64_t done, uint64_t total)
{
    struct progress *progress = &((struct salvage *)ctx)->progress;
    const st_progress bar = progress_callback(progress);
    progress->total = progress->part = total;
    return bar.fn(bar.ctx, done, total);
}

/* ------------------------------------------------------------------------------- salvage */

void salvage_checkpoint(struct salvage *salvage, const char *path)
{
    st_error error;
    const char *folder = salvage->options->target;
    st_open_options options = input_options(salvage->options->common);
    const st_checkpoint_salvage_options how = {.begin = part_begin,
                                               .item = salvage_item,
                                               .end = part_end,
                                               .ctx = salvage,
                                               .progress = {bytes_tell, salvage},
                                               .dry_run = salvage->options->dry};
    progress_start(&salvage->progress, 0);
    st_status status = st_checkpoint_salvage(path, &options, folder, &how, NULL, &error);
    progress_end(&salvage->progress);
    out_signal(salvage->out);
    if (status == ST_OK)
        return;
    if (!salvage->failed)
        only_fail(salvage->out, salvage->json, path, &error);
    if (salvage->files && !salvage->options->dry)
        complain("%s: nothing is left of what was written", folder);
}
