/* SPDX-License-Identifier: Apache-2.0 */
#include "salvage.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "input.h"
#include "severity.h"
#include "text.h"

static const char *const kind_names[] = {
    [ST_SALVAGE_SAVED] = "saved",
    [ST_SALVAGE_CHANGED] = "changed",
    [ST_SALVAGE_LOST] = "lost",
};

static const enum style kind_styles[] = {
    [ST_SALVAGE_SAVED] = STYLE_SIZE,
    [ST_SALVAGE_CHANGED] = STYLE_WARNING,
    [ST_SALVAGE_LOST] = STYLE_ERROR,
};

/* -------------------------------------------------------------------------------- items */

/* FILE:OFFSET: KIND: MESSAGE [RULE], as check prints findings. */
static void item_print(const struct salvage *salvage, const st_salvage_item *item)
{
    struct out *out = salvage->out;
    out_escaped(out, salvage->path, strlen(salvage->path));
    if (item->offset != ST_NO_OFFSET)
        out_print(out, ":%" PRIu64, item->offset);
    out_text(out, ": ");
    out_style(out, kind_styles[item->kind]);
    out_text(out, kind_names[item->kind]);
    out_style(out, STYLE_PLAIN);
    out_text(out, ": ");
    out_message(out, item->message);
    out_style(out, STYLE_DIM);
    if (item->rule)
        out_print(out, " [%s]", item->rule->id);
    out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
}

static void name_json(struct json *json, const char *key, const char *name, size_t len)
{
    json_key(json, key);
    if (name)
        st_json_emit_string(json->emitter, name, len);
    else
        st_json_emit_null(json->emitter);
}

static void item_json(struct json *json, const st_salvage_item *item)
{
    const char *rule = item->rule ? item->rule->id : NULL;
    const char *severity = item->rule ? severity_name(item->severity) : NULL;
    st_json_emit_object_begin(json->emitter);
    json_text(json, "kind", kind_names[item->kind]);
    name_json(json, "rule", rule, rule ? strlen(rule) : 0);
    name_json(json, "severity", severity, severity ? strlen(severity) : 0);
    name_json(json, "tensor", item->name, item->name_len);
    name_json(json, "new_name", item->new_name, item->new_name_len);
    json_key(json, "offset");
    if (item->offset == ST_NO_OFFSET)
        st_json_emit_null(json->emitter);
    else
        st_json_emit_u64(json->emitter, item->offset);
    json_u64(json, "bytes", item->size);
    json_text(json, "message", item->message);
    st_json_emit_object_end(json->emitter);
}

void salvage_list_begin(struct salvage *salvage)
{
    if (!salvage->json || salvage->listed)
        return;
    json_key(salvage->json, "items");
    st_json_emit_array_begin(salvage->json->emitter);
    salvage->listed = true;
}

void salvage_list_end(struct salvage *salvage)
{
    if (salvage->listed)
        st_json_emit_array_end(salvage->json->emitter);
    salvage->listed = false;
}

bool salvage_item(void *ctx, const st_salvage_item *item)
{
    struct salvage *salvage = ctx;
    const struct salvage_options *options = salvage->options;
    if (item->severity == ST_SEVERITY_ERROR ||
        (item->severity == ST_SEVERITY_WARNING && options->strict)) {
        salvage->bad = true;
        out_worst(salvage->out, EXIT_BAD);
    }
    /* For people what was saved is a number. */
    if (options->quiet || (item->kind == ST_SALVAGE_SAVED && salvage->out->tty && !salvage->json))
        return true;
    if (salvage->printed == options->max) {
        salvage->omitted++;
        return true;
    }
    salvage->printed++;
    progress_hide(&salvage->progress);
    salvage_list_begin(salvage);
    if (salvage->json)
        item_json(salvage->json, item);
    else
        item_print(salvage, item);
    return true;
}

/* ------------------------------------------------------------------------------ summary */

static void count_print(struct out *out, uint64_t count, const char *what)
{
    out_print(out, "%" PRIu64 " %s", count, what);
}

static void summary_print(const struct salvage *salvage, const st_salvage_summary *summary)
{
    struct out *out = salvage->out;
    bool dry = salvage->options->dry;
    out_escaped(out, salvage->path, strlen(salvage->path));
    out_text(out, ": ");
    out_style(out, summary->errors ? STYLE_ERROR : STYLE_SIZE);
    out_text(out, summary->errors ? "bad" : "good");
    out_style(out, STYLE_PLAIN);
    out_text(out, summary->errors ? ", " : ", nothing was wrong, ");
    count_print(out, summary->saved, summary->saved == 1 ? "tensor saved" : "tensors saved");
    if (out->tty)
        out_print(out, " (%s), ", text_bytes(summary->bytes).text);
    else
        out_print(out, " (%" PRIu64 " bytes), ", summary->bytes);
    count_print(out, summary->changed,
                summary->changed == 1 ? "thing changed, " : "things changed, ");
    count_print(out, summary->lost, "lost");
    if (salvage->omitted)
        out_print(out, ", of which %" PRIu64 " more %s not printed", salvage->omitted,
                  salvage->omitted == 1 ? "is" : "are");
    out_text(out, dry ? "; nothing was written to " : "; written to ");
    out_escaped(out, salvage->target, strlen(salvage->target));
    out_text(out, "\n");
}

static void summary_json(const struct salvage *salvage, const st_salvage_summary *summary)
{
    struct json *json = salvage->json;
    json_text(json, "output", salvage->target);
    json_bool(json, "written", summary->size > 0 && !salvage->options->dry);
    json_bool(json, "good", !salvage->bad);
    json_u64(json, "saved", summary->saved);
    json_u64(json, "changed", summary->changed);
    json_u64(json, "lost", summary->lost);
    json_u64(json, "omitted", salvage->omitted);
    json_u64(json, "bytes", summary->bytes);
    json_u64(json, "metadata", summary->metadata);
    json_u64(json, "size", summary->size);
}

void salvage_tell(struct salvage *salvage, const st_salvage_summary *summary)
{
    if (salvage->json)
        summary_json(salvage, summary);
    else if (summary->size && !salvage->options->quiet)
        summary_print(salvage, summary);
    salvage->files += summary->size > 0;
    salvage->tensors += summary->saved;
    if (summary->size)
        return;
    out_worst(salvage->out, EXIT_UNREADABLE);
    complain("%s: nothing can be saved of it, and %s was not written", salvage->path,
             salvage->target);
}

/* ------------------------------------------------------------------------------- salvage */

void salvage_begin(struct salvage *salvage, const char *path, const char *target)
{
    salvage->path = path;
    salvage->target = target;
    salvage->bad = salvage->listed = salvage->failed = false;
    salvage->printed = salvage->omitted = 0;
    if (salvage->json)
        json_open_file(salvage->json, path);
}

static st_status target_open(const struct salvage *salvage, st_sink **out, st_error *error)
{
    struct stat from, to;
    const char *target = salvage->target;
    *out = NULL;
    if (stat(salvage->path, &from) == 0 && stat(target, &to) == 0 && from.st_ino == to.st_ino &&
        from.st_dev == to.st_dev)
        return error_fill(error, ST_ERR_ARGUMENT,
                          "%.300s: this is the damaged file itself: what cannot be saved would be "
                          "gone with it; name another OUT",
                          target);
    return salvage->options->dry ? ST_OK : st_sink_open(target, NULL, out, error);
}

static st_status source_salvage(struct salvage *salvage, st_source *source, st_sink *sink,
                                st_salvage_summary *summary, st_error *error)
{
    st_open_options options = input_options(salvage->options->common);
    st_source_info info;
    st_status status = st_source_query(source, &info, error);
    if (status != ST_OK)
        return status;
    progress_start(&salvage->progress, info.size);
    progress_part(&salvage->progress, info.size);
    st_salvage_options how = {
        .item = salvage_item, .ctx = salvage, .progress = progress_callback(&salvage->progress)};
    salvage_list_begin(salvage);
    status = st_salvage(source, &options, sink, &how, summary, error);
    salvage_list_end(salvage);
    progress_end(&salvage->progress);
    return status;
}

static st_status path_salvage(struct salvage *salvage, st_error *error)
{
    st_source *source = NULL;
    st_sink *sink = NULL;
    st_salvage_summary summary;
    st_status status = input_open_source(salvage->path, salvage->options->common, &source, error);
    if (status == ST_OK)
        status = target_open(salvage, &sink, error);
    if (status == ST_OK)
        status = source_salvage(salvage, source, sink, &summary, error);
    st_sink_release(sink);
    st_source_release(source);
    if (status == ST_OK)
        salvage_tell(salvage, &summary);
    return status;
}

static void salvage_file(struct salvage *salvage, const char *path)
{
    st_error error;
    salvage_begin(salvage, path, salvage->options->target);
    if (path_salvage(salvage, &error) != ST_OK)
        file_fail(salvage->out, salvage->json, &error);
    if (salvage->json)
        st_json_emit_object_end(salvage->json->emitter);
}

int salvage_run(const struct salvage_options *options, const char *path)
{
    struct out out;
    struct json json;
    struct salvage salvage = {.options = options, .out = &out};
    out_open(&out, options->common->color);
    out_go_on(&out);
    if (options->common->json && !options->quiet) {
        salvage.json = &json;
        json_open_files(&json, &out);
    }
    if (input_is_checkpoint(path))
        salvage_checkpoint(&salvage, path);
    else
        salvage_file(&salvage, path);
    if (salvage.json)
        json_close_files(&json);
    return out_close(&out);
}
