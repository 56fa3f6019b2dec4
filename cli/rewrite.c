/* SPDX-License-Identifier: Apache-2.0 */
#include "rewrite.h"

#include <inttypes.h>
#include <string.h>

#include "progress.h"
#include "term.h"
#include "text.h"

/* A data section that begins at a page does so on purpose. */
#define PAGE 4096

static bool is_stdio(const char *path)
{
    return strcmp(path, "-") == 0;
}

int rewrite_check(const struct verb *verb, const struct rewrite_options *options,
                  const struct common *common, const char *path)
{
    bool piped = options->output && is_stdio(options->output) && !options->dry_run;
    if (is_stdio(path) && !options->output && !options->dry_run)
        return usage_error(verb, "standard input cannot be changed: name an --output");
    if (options->in_place && options->output)
        return usage_error(verb, "--in-place changes FILE itself: it takes no --output");
    if (options->in_place && options->reserve)
        return usage_error(verb, "--in-place has the room that is there: --reserve needs the file "
                                 "written anew");
    if (piped && common->json)
        return usage_error(verb, "--json would stand in the middle of the file: name an OUT");
    if (piped && term_is(stdout))
        return usage_error(verb, "a terminal does not take a file's bytes; send them through a "
                                 "pipe or into a file");
    return OPT_GO;
}

const char *rewrite_target(const struct rewrite *rewrite)
{
    return rewrite->options->output ? rewrite->options->output : rewrite->path;
}

static st_status edit_write(struct rewrite *rewrite, st_edit *edit, st_error *error)
{
    const struct rewrite_options *options = rewrite->options;
    struct target target = {.path = rewrite_target(rewrite), .durability = options->durability};
    st_sink *sink;
    if (options->in_place)
        return st_edit_write_in_place(edit, rewrite->path, &rewrite->summary, error);
    st_status status = target_open(&target, &sink, error);
    if (status != ST_OK)
        return status;
    status = st_edit_write(edit, sink, &rewrite->summary, error);
    st_sink_release(sink);
    return status;
}

/* Tells whether there is anything to write. */
static bool is_wanted(const struct rewrite *rewrite)
{
    const struct rewrite_options *options = rewrite->options;
    return rewrite->changed || options->output || options->reserve || options->alignment ||
           options->order != ST_EDIT_ORDER_FILE;
}

/* Refuses what the writing would refuse. */
static st_status dry_run(const struct rewrite *rewrite, st_error *error)
{
    const st_edit_summary *summary = &rewrite->summary;
    if (!rewrite->options->in_place || !rewrite->changed || summary->in_place)
        return ST_OK;
    if (summary->header <= summary->room)
        return error_fill(error, ST_ERR_NO_ROOM,
                          "%.200s: cannot be changed in place: data would have to move, or to be "
                          "cast; without --in-place the file is written anew",
                          rewrite->path);
    return error_fill(error, ST_ERR_NO_ROOM,
                      "%.200s: cannot be changed in place: the header needs %" PRIu64
                      " bytes, and has room for %" PRIu64 "; without --in-place the file is "
                      "written anew",
                      rewrite->path, summary->header, summary->room);
}

/* What there is to do is known once the changes are. */
static void work_begin(const struct rewrite *rewrite, struct progress *progress)
{
    const st_edit_summary *summary = &rewrite->summary;
    progress->total = summary->written + (rewrite->options->in_place ? 0 : summary->moved);
    progress_part(progress, progress->total);
}

static st_status edit_run(struct rewrite *rewrite, const st_edit_options *options, st_error *error)
{
    st_edit *edit;
    st_status status = st_edit_new(rewrite->file, options, &edit, error);
    if (status != ST_OK)
        return status;
    status = rewrite->fill(rewrite, edit, error);
    if (status == ST_OK)
        status = st_edit_look(edit, &rewrite->summary, error);
    if (status == ST_OK)
        work_begin(rewrite, options->progress.ctx);
    if (status == ST_OK && rewrite->options->dry_run) {
        status = dry_run(rewrite, error);
    } else if (status == ST_OK && is_wanted(rewrite)) {
        status = edit_write(rewrite, edit, error);
        rewrite->written = status == ST_OK;
    }
    st_edit_free(edit);
    return status;
}

st_status rewrite_run(struct rewrite *rewrite, st_error *error)
{
    const st_header *header = st_file_header(rewrite->file);
    uint64_t start = progress_now();
    struct progress progress;
    progress_start(&progress, 0);
    uint32_t aligned = st_header_data_offset(header) % PAGE ? 0 : PAGE;
    uint64_t alignment = rewrite->options->alignment;
    st_edit_options options = {.order = rewrite->options->order,
                               .alignment = alignment ? (uint32_t)alignment : aligned,
                               .reserve = rewrite->options->reserve,
                               .progress = progress_callback(&progress)};
    st_status status = edit_run(rewrite, &options, error);
    progress_end(&progress);
    rewrite->seconds = (double)(progress_now() - start) / 1e9;
    return status;
}

void rewrite_print(const struct rewrite *rewrite, struct out *out)
{
    const struct rewrite_options *options = rewrite->options;
    const st_edit_summary *summary = &rewrite->summary;
    const char *target = rewrite_target(rewrite);
    bool dry = options->dry_run;
    out_escaped(out, target, strlen(target));
    if (!is_wanted(rewrite)) {
        out_text(out, ": nothing to change\n");
    } else if (options->in_place) {
        out_print(out, ": %schanged in place; the header needs %" PRIu64 " bytes of %" PRIu64 "\n",
                  dry ? "would be " : "", summary->header, summary->room);
    } else if (dry) {
        out_print(out, ": would be written anew, %s%s\n", text_bytes(summary->size).text,
                  !options->output && summary->in_place ? "; --in-place could do it" : "");
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
