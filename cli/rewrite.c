/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite.h"

#include <inttypes.h>
#include <string.h>

#include "leftover.h"
#include "place.h"
#include "text.h"

static bool is_stdio(const char *path)
{
    return strcmp(path, "-") == 0;
}

int rewrite_check(const struct verb *verb, const struct rewrite_options *options,
                  const struct common *common, const char *path)
{
    const struct target *target = &options->target;
    int code = layout_check(verb, &options->layout);
    if (code != OPT_GO)
        return code;
    if (target->path && is_stdio(target->path) && input_is_checkpoint(path))
        return usage_error(verb, "several files cannot go to standard output: name a folder, or "
                                 "let merge make one file of them");
    if (is_stdio(path) && !target->path && !target->dry_run)
        return usage_error(verb, "standard input cannot be changed: name an --output");
    if (options->in_place && target->path)
        return usage_error(verb, "--in-place changes FILE itself: it takes no --output");
    if (target->no_clobber && !target->path)
        return usage_error(verb, "--no-clobber spares an OUT that is there: it needs --output");
    if (options->in_place && options->layout.reserve)
        return usage_error(verb, "--in-place has the room that is there: --reserve needs the file "
                                 "written anew");
    return target_check(verb, target, common);
}

st_status rewrite_open(const struct rewrite_options *options, struct input *input, const char *path,
                       const struct common *common, st_error *error)
{
    *input = (struct input){.path = path};
    if (!options->target.dry_run && !common->explain && leftover_repair(path, error) != ST_OK)
        return error->status;
    return input_open(input, path, common, error);
}

const char *rewrite_target(const struct rewrite *rewrite)
{
    const char *path = rewrite->options->target.path;
    return path ? path : rewrite->input->path;
}

st_edit *rewrite_edit(const struct rewrite *rewrite, size_t index)
{
    return rewrite->edits ? st_checkpoint_edit_at(rewrite->edits, index) : rewrite->edit;
}

st_status rewrite_look(struct rewrite *rewrite, st_error *error)
{
    if (rewrite->edits)
        return st_checkpoint_edit_look(rewrite->edits, &rewrite->summary, error);
    return st_edit_look(rewrite->edit, &rewrite->summary, error);
}

/* Tells whether there is anything to write. */
static bool is_wanted(const struct rewrite *rewrite)
{
    const struct rewrite_options *options = rewrite->options;
    return rewrite->changed || options->target.path || options->layout.reserve ||
           options->layout.alignment || options->order != ST_EDIT_ORDER_FILE;
}

/* ------------------------------------------------------------------------------ writing */

static st_status file_write(struct rewrite *rewrite, st_error *error)
{
    struct target target = rewrite->options->target;
    st_sink *sink;
    target.path = rewrite_target(rewrite);
    if (rewrite->options->in_place)
        return st_edit_write_in_place(rewrite->edit, rewrite->input->path, &rewrite->summary,
                                      error);
    st_status status = target_open(&target, &sink, error);
    if (status != ST_OK)
        return status;
    status = st_edit_write(rewrite->edit, sink, &rewrite->summary, error);
    st_sink_release(sink);
    return status;
}

static st_status files_write(struct rewrite *rewrite, st_error *error)
{
    const struct target *target = &rewrite->options->target;
    st_sink_options options = target_options(target);
    if (rewrite->options->in_place)
        return st_checkpoint_edit_write_in_place(rewrite->edits, &rewrite->summary, error);
    return st_checkpoint_edit_write(rewrite->edits, target->path, &options, &rewrite->summary,
                                    error);
}

/* ------------------------------------------------------------------------------ dry runs */

static st_status in_place_look(struct rewrite *rewrite, st_error *error)
{
    if (rewrite->edits)
        return st_checkpoint_edit_look_in_place(rewrite->edits, &rewrite->summary, error);
    return st_edit_look_in_place(rewrite->edit, &rewrite->summary, error);
}

/* Refuses names that are taken, those of files to be. */
static st_status names_check(const struct rewrite *rewrite, st_error *error)
{
    const struct target *target = &rewrite->options->target;
    const struct input *input = rewrite->input;
    st_status status = ST_OK;
    if (!rewrite->edits)
        return target_look(target, error);
    status = target_look_folder(target, error);
    for (size_t i = 0; i < input_file_count(input) && status == ST_OK; i++)
        if (st_edit_at(rewrite_edit(rewrite, i), 0))
            status = target_look_in(target, input_shard(input, i), error);
    const char *index = st_checkpoint_index(input->checkpoint), *slash;
    if (status != ST_OK || !index)
        return status;
    slash = strrchr(index, '/');
    return target_look_in(target, slash ? slash + 1 : index, error);
}

/* Refuses what the writing would refuse. */
static st_status dry_run(struct rewrite *rewrite, st_error *error)
{
    const char *path = rewrite->input->path;
    if (rewrite->options->target.path)
        return names_check(rewrite, error);
    if (rewrite->options->in_place)
        return is_wanted(rewrite) ? in_place_look(rewrite, error) : ST_OK;
    return is_wanted(rewrite) && !rewrite->edits && !is_stdio(path) ? place_check(path, error)
                                                                    : ST_OK;
}

/* ------------------------------------------------------------------------------ the work */

/* What there is to write is known once the changes are; what there was to read for them came before. */
static void work_begin(const struct rewrite *rewrite)
{
    const st_edit_summary *summary = &rewrite->summary;
    struct progress *progress = rewrite->progress;
    uint64_t work = summary->written + (rewrite->options->in_place ? 0 : summary->moved);
    uint64_t least = progress->before + progress->part + work;
    progress->total = progress->total < least ? least : progress->total;
    progress_part(progress, work);
}

static st_status edit_new(struct rewrite *rewrite, const st_edit_options *options, st_error *error)
{
    const struct input *input = rewrite->input;
    if (input->checkpoint)
        return st_checkpoint_edit_new(input->checkpoint, options, &rewrite->edits, error);
    return st_edit_new(input->file, options, &rewrite->edit, error);
}

static st_status edit_write(struct rewrite *rewrite, st_error *error)
{
    if (rewrite->options->target.dry_run)
        return dry_run(rewrite, error);
    if (!is_wanted(rewrite))
        return ST_OK;
    st_status status = rewrite->edits ? files_write(rewrite, error) : file_write(rewrite, error);
    rewrite->written = status == ST_OK;
    return status;
}

static st_status edit_run(struct rewrite *rewrite, const st_edit_options *options, st_error *error)
{
    st_status status = edit_new(rewrite, options, error);
    if (status == ST_OK)
        status = rewrite->fill(rewrite, error);
    if (status == ST_OK)
        status = rewrite_look(rewrite, error);
    if (status == ST_OK) {
        work_begin(rewrite);
        status = edit_write(rewrite, error);
    }
    st_edit_free(rewrite->edit);
    st_checkpoint_edit_free(rewrite->edits);
    return status;
}

st_status rewrite_run(struct rewrite *rewrite, st_error *error)
{
    uint64_t start = progress_now();
    struct progress own;
    bool alone = !rewrite->progress;
    if (alone) {
        progress_start(&own, 0);
        rewrite->progress = &own;
    }
    st_edit_options options = {.order = rewrite->options->order,
                               .alignment = (uint32_t)rewrite->options->layout.alignment,
                               .reserve = rewrite->options->layout.reserve,
                               .progress = progress_callback(rewrite->progress)};
    st_status status = edit_run(rewrite, &options, error);
    if (alone)
        progress_end(&own);
    rewrite->seconds = (double)(progress_now() - start) / 1e9;
    return status;
}

/* ----------------------------------------------------------------------------- printing */

void rewrite_print(const struct rewrite *rewrite, struct out *out)
{
    const struct rewrite_options *options = rewrite->options;
    const st_edit_summary *summary = &rewrite->summary;
    const char *target = rewrite_target(rewrite);
    bool dry = options->target.dry_run;
    out_escaped(out, target, strlen(target));
    if (!is_wanted(rewrite)) {
        out_text(out, ": nothing to change\n");
    } else if (options->in_place) {
        out_print(out, ": %schanged in place; the header%s %" PRIu64 " bytes of %" PRIu64 "\n",
                  dry ? "would be " : "", rewrite->input->checkpoint ? "s need" : " needs",
                  summary->header, summary->room);
    } else if (dry) {
        out_print(out, ": would be written anew, %s%s\n", text_bytes(summary->size).text,
                  !options->target.path && summary->in_place ? "; --in-place could do it" : "");
    } else {
        double rate = (double)summary->size / (rewrite->seconds > 1e-6 ? rewrite->seconds : 1e-6);
        out_print(out, ": %s in %.2f s, %s/s\n", text_bytes(summary->size).text, rewrite->seconds,
                  text_bytes((uint64_t)rate).text);
    }
}

void rewrite_json(const struct rewrite *rewrite, struct json *json)
{
    const st_edit_summary *summary = &rewrite->summary;
    json_text(json, "output", rewrite_target(rewrite));
    json_bool(json, "changed", rewrite->changed);
    json_bool(json, "written", rewrite->written);
    json_bool(json, "in_place", rewrite->options->in_place);
    json_bool(json, "in_place_possible", summary->in_place);
    json_u64(json, "size", summary->size);
    json_u64(json, "header_text", summary->header);
    json_u64(json, "header_room", summary->room);
    json_key(json, "seconds");
    json_double(json, rewrite->seconds);
}
