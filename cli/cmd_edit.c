/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors edit: tensors renamed, left out, cast, replaced, taken in, and laid out anew. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "cmd.h"
#include "input.h"
#include "memory.h"
#include "progress.h"
#include "rewrite.h"
#include "text.h"

#define ALIGNMENT_MIN 8
#define ALIGNMENT_MAX 4096

struct edit_options {
    struct common common;
    struct rewrite_options rewrite;
    struct change_options changes;
    int order; /* ST_EDIT_ORDER_… */
    bool strict;
};

/* By their numbers, ST_EDIT_ORDER_…. */
static const char *const order_choices[] = {"file", "canonical", "name", NULL};

#define CHANGES(member) offsetof(struct edit_options, changes.member)

static const struct opt edit_options[] = {
    {OPT_STEP, 'r', "rename", CHANGES(renames), .arg = "OLD=NEW",
     .help = "Rename tensors: OLD is a name, or a pattern, in which * is any characters, ? is one, "
             "and [a-z] one of those; each * of NEW stands for what the * of the same number "
             "matched. \\= is an equals sign. All renames are done one after the other, each on "
             "the names that the last one left."},
    {OPT_STEP, 'e', "rename-regex", CHANGES(renames), .arg = "RE=NEW",
     .help = "Rename tensors by a POSIX extended regular expression: every match in a name becomes "
             "NEW, in which \\1 is what the first group matched, and \\0 all of it."},
    {OPT_LIST, 'x', "drop", CHANGES(drops), .arg = "PATTERN",
     .help = "Leave out the tensors whose names match."},
    {OPT_LIST, 'k', "keep", CHANGES(keeps), .arg = "PATTERN",
     .help = "Leave out all tensors whose names do not match; of several, any one."},
    {OPT_LIST, 'c', "cast", CHANGES(casts), .arg = "DTYPE[:PATTERN]",
     .help = "Convert all tensors of floats, or those whose names match, to another dtype of "
             "floats, rounding to nearest. What went out of range is told on standard error."},
    {OPT_FLAG, 's', "strict", offsetof(struct edit_options, strict),
     .help = "With --cast: where a number is beyond the range of the new dtype write nothing, and "
             "exit with 1."},
    {OPT_LIST, 'p', "replace", CHANGES(replacements), .arg = "NAME=FILE[:TENSOR]",
     .help = "Put other data in a tensor's place: a tensor of another file, NAME=OTHER.safetensors"
             ":TENSOR, or the bytes of any other file, as many as the tensor has."},
    {OPT_LIST, 'a', "add", CHANGES(additions), .arg = "NAME=FILE[:TENSOR]",
     .help = "Take a tensor of another file in as NAME: NAME=OTHER.safetensors:TENSOR; without "
             "TENSOR the one of the same name."},
    {OPT_CHOICE, 0, "order", offsetof(struct edit_options, order), .arg = "ORDER",
     .choices = order_choices,
     .help = "Lay the tensors out as they are in the file (the default), in canonical order (by "
             "dtype, the wide ones first, then by name), or by name."},
    {OPT_SIZE, 0, "align", offsetof(struct edit_options, rewrite.alignment), .arg = "BYTES",
     .help = "Let the data start at a multiple of this: a power of 2 from 8 to 4096."},
    REWRITE_ROWS(edit_options, rewrite),
    {0},
};

/* What a cast lost of one tensor. */
struct loss {
    const st_tensor *tensor;
    uint64_t overflowed;
    uint64_t underflowed;
};

/* What edit does. */
struct editing {
    const struct edit_options *options;
    struct changes changes;
    struct rewrite rewrite;
    struct out *out;
    struct json *json; /* NULL: text */
    struct loss *losses;
    size_t loss_count;
    size_t loss_room;
    bool lossy;   /* a number overflowed */
    bool refused; /* and so nothing was written */
};

/* ------------------------------------------------------------------------------- what is changed */

/* One line of the list: either tensor may be NULL. */
struct row {
    const st_tensor *before;
    const st_tensor *after;
    const char *from; /* their dtypes */
    const char *to;
    struct change change;
    bool renamed;
};

static void words_write(struct out *out, const struct row *row)
{
    const char *between = "";
    const struct {
        bool is;
        const char *word;
    } words[] = {{!row->after, "dropped"},
                 {!row->before, "added"},
                 {row->renamed, "renamed"},
                 {row->change.cast != 0, "cast"},
                 {row->change.replaced, "replaced"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!words[i].is)
            continue;
        out_text(out, between);
        out_text(out, words[i].word);
        between = ",";
    }
}

/* Writes "-" for what is not there. */
static void field_write(struct out *out, const char *text, size_t len)
{
    out_text(out, "\t");
    if (text)
        out_escaped(out, text, len);
    else
        out_text(out, "-");
}

static void row_print(const struct row *row, struct out *out)
{
    const st_tensor *before = row->before, *after = row->after;
    words_write(out, row);
    field_write(out, before ? before->name : NULL, before ? before->name_len : 0);
    field_write(out, after ? after->name : NULL, after ? after->name_len : 0);
    field_write(out, row->from, row->from ? strlen(row->from) : 0);
    field_write(out, row->to, row->to ? strlen(row->to) : 0);
    out_text(out, "\n");
}

static void name_json(struct json *json, const char *key, const st_tensor *tensor)
{
    json_key(json, key);
    if (tensor)
        st_json_emit_string(json->emitter, tensor->name, tensor->name_len);
    else
        st_json_emit_null(json->emitter);
}

static void dtype_json(struct json *json, const char *key, const char *code)
{
    json_key(json, key);
    if (code)
        st_json_emit_string(json->emitter, code, strlen(code));
    else
        st_json_emit_null(json->emitter);
}

static void row_json(const struct row *row, struct json *json)
{
    st_json_emit_object_begin(json->emitter);
    name_json(json, "name", row->before);
    name_json(json, "new_name", row->after);
    dtype_json(json, "dtype", row->from);
    dtype_json(json, "new_dtype", row->to);
    json_bool(json, "cast", row->change.cast != 0);
    json_bool(json, "replaced", row->change.replaced);
    st_json_emit_object_end(json->emitter);
}

static void row_show(struct editing *editing, const struct row *row)
{
    if (editing->json)
        row_json(row, editing->json);
    else if (editing->options->rewrite.dry_run)
        row_print(row, editing->out);
}

/* The dtype of a tensor of the new file; one that this program does not know has the code it had. */
static const char *code_after(const st_tensor *after, const st_tensor *before, const st_file *from)
{
    const char *code = st_dtype_code(after->dtype);
    return code || !before ? code : st_header_dtype_code(st_file_header(from), before->dtype, NULL);
}

/* Shows tensor `i` of the new file, if it is another one than before. */
static void tensor_show(struct editing *editing, const st_edit *edit, size_t i)
{
    const struct changes *changes = &editing->changes;
    const st_file *from = NULL;
    struct row row = {.after = st_edit_at(edit, i), .before = st_edit_origin(edit, i, &from)};
    row.to = code_after(row.after, row.before, from);
    if (from != changes->file)
        row.before = NULL;
    if (row.before) {
        const st_header *header = st_file_header(from);
        row.change = changes->of[st_header_index(header, row.before)];
        row.from = st_header_dtype_code(header, row.before->dtype, NULL);
        row.renamed = row.before->name_len != row.after->name_len ||
                      memcmp(row.before->name, row.after->name, row.after->name_len) != 0;
        if (!row.renamed && !row.change.cast && !row.change.replaced)
            return;
    }
    row_show(editing, &row);
}

/* Shows what becomes of each tensor that changes: what is dropped, then the others as they will lie. */
static void changes_show(struct editing *editing, const st_edit *edit)
{
    const struct changes *changes = &editing->changes;
    if (editing->json) {
        json_key(editing->json, "changes");
        st_json_emit_array_begin(editing->json->emitter);
    }
    for (size_t i = 0; i < st_file_count(changes->file); i++) {
        struct row row = {.before = st_file_at(changes->file, i)};
        row.from = st_header_dtype_code(st_file_header(changes->file), row.before->dtype, NULL);
        if (changes->of[i].dropped)
            row_show(editing, &row);
    }
    for (size_t i = 0; st_edit_at(edit, i); i++)
        tensor_show(editing, edit, i);
    if (editing->json)
        st_json_emit_array_end(editing->json->emitter);
}

/* ----------------------------------------------------------------------------------- losses */

/* Keeps what a cast lost; behind the last one tells whether the file is to be made. */
static bool loss_note(void *ctx, const st_tensor *tensor, uint64_t overflowed, uint64_t underflowed)
{
    struct editing *editing = ctx;
    editing->losses = memory_grow(editing->losses, &editing->loss_room, editing->loss_count + 1,
                                  sizeof *editing->losses);
    editing->losses[editing->loss_count++] = (struct loss){tensor, overflowed, underflowed};
    editing->lossy = editing->lossy || overflowed > 0;
    editing->refused = editing->options->strict && editing->lossy &&
                       editing->loss_count == editing->rewrite.summary.cast;
    return !editing->refused;
}

static const char *loss_dtype(const struct editing *editing, const struct loss *loss)
{
    const struct changes *changes = &editing->changes;
    size_t index = st_header_index(st_file_header(changes->file), loss->tensor);
    return st_dtype_code(changes->of[index].cast);
}

static void losses_complain(const struct editing *editing)
{
    for (size_t i = 0; i < editing->loss_count; i++) {
        const struct loss *loss = &editing->losses[i];
        if (!loss->overflowed && !loss->underflowed)
            continue;
        complain("%s: tensor %s: of %" PRIu64 " numbers %" PRIu64
                 " are beyond the range of %s, and %" PRIu64 " became 0",
                 editing->changes.path, text_quote(loss->tensor->name, loss->tensor->name_len).text,
                 st_tensor_count(loss->tensor), loss->overflowed, loss_dtype(editing, loss),
                 loss->underflowed);
    }
}

static void losses_json(const struct editing *editing, struct json *json)
{
    json_key(json, "casts");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < editing->loss_count; i++) {
        const struct loss *loss = &editing->losses[i];
        st_json_emit_object_begin(json->emitter);
        json_string(json, "name", loss->tensor->name, loss->tensor->name_len);
        json_text(json, "new_dtype", loss_dtype(editing, loss));
        json_u64(json, "elements", st_tensor_count(loss->tensor));
        json_u64(json, "overflowed", loss->overflowed);
        json_u64(json, "underflowed", loss->underflowed);
        st_json_emit_object_end(json->emitter);
    }
    st_json_emit_array_end(json->emitter);
}

/* ------------------------------------------------------------------------------- the verb */

/* What rewrite_run calls for the changes. */
static st_status edit_fill(struct rewrite *rewrite, st_edit *edit, st_error *error)
{
    struct editing *editing = rewrite->ctx;
    st_status status = changes_make(&editing->changes, edit, error);
    if (status == ST_OK)
        status = st_edit_look(edit, &rewrite->summary, error);
    if (status != ST_OK)
        return status;
    const st_edit_summary *summary = &rewrite->summary;
    rewrite->changed = (summary->renamed | summary->dropped | summary->cast | summary->replaced |
                        summary->added) != 0;
    st_edit_on_cast(edit, loss_note, editing);
    changes_show(editing, edit);
    return ST_OK;
}

static void counts_print(const struct editing *editing)
{
    const st_edit_summary *summary = &editing->rewrite.summary;
    struct out *out = editing->out;
    out_print(out,
              "%" PRIu64 " tensor%s: %" PRIu64 " renamed, %" PRIu64 " dropped, %" PRIu64
              " cast, %" PRIu64 " replaced, %" PRIu64 " added; ",
              summary->count, summary->count == 1 ? "" : "s", summary->renamed, summary->dropped,
              summary->cast, summary->replaced, summary->added);
    out_print(out, "%s stay as they are\n", text_bytes(summary->moved).text);
}

static void counts_json(const struct editing *editing, struct json *json)
{
    const st_edit_summary *summary = &editing->rewrite.summary;
    losses_json(editing, json);
    json_bool(json, "refused", editing->refused);
    json_u64(json, "tensors", summary->count);
    json_u64(json, "renamed", summary->renamed);
    json_u64(json, "dropped", summary->dropped);
    json_u64(json, "cast", summary->cast);
    json_u64(json, "replaced", summary->replaced);
    json_u64(json, "added", summary->added);
    json_u64(json, "moved", summary->moved);
    rewrite_json(&editing->rewrite, json);
}

/* Says how it went. */
static void editing_tell(const struct editing *editing, st_status status, const st_error *error)
{
    struct out *out = editing->out;
    bool text = !editing->json && (out->tty || editing->options->rewrite.dry_run);
    losses_complain(editing);
    if (editing->refused) {
        complain("%s: nothing was written, as --strict asks", editing->changes.path);
        out_worst(out, EXIT_BAD);
    } else if (status != ST_OK) {
        file_fail(out, editing->json, error);
        return;
    }
    if (editing->json)
        counts_json(editing, editing->json);
    else if (text && !editing->refused) {
        counts_print(editing);
        rewrite_print(&editing->rewrite, out);
    }
}

static st_status file_edit(struct editing *editing, st_error *error)
{
    st_file *file;
    const char *path = editing->changes.path;
    st_status status = input_open_file(path, &editing->options->common, &file, error);
    if (status != ST_OK)
        return status;
    editing->changes.file = file;
    editing->rewrite.file = file;
    status = rewrite_run(&editing->rewrite, error);
    editing_tell(editing, status, error);
    changes_release(&editing->changes);
    free(editing->losses);
    st_file_close(file);
    return ST_OK;
}

static int edit_main(const struct edit_options *options, const struct args *args)
{
    st_error error;
    struct out out;
    struct json json;
    struct editing editing = {
        .options = options,
        .changes = {.options = &options->changes, .common = &options->common, .path = args->at[0]},
        .rewrite = {.options = &options->rewrite,
                    .path = args->at[0],
                    .fill = edit_fill,
                    .ctx = &editing},
        .out = &out,
        .json = options->common.json ? &json : NULL};
    out_open(&out, options->common.color);
    if (editing.json) {
        json_open_files(&json, &out);
        json_open_file(&json, args->at[0]);
    }
    if (file_edit(&editing, &error) != ST_OK)
        file_fail(&out, editing.json, &error);
    if (editing.json) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

/* Gives OPT_GO, or the exit code. */
static int usage_check(const struct verb *verb, const struct edit_options *options,
                       const char *path)
{
    const struct rewrite_options *rewrite = &options->rewrite;
    uint64_t alignment = rewrite->alignment;
    if (alignment && (alignment < ALIGNMENT_MIN || alignment > ALIGNMENT_MAX ||
                      (alignment & (alignment - 1)) != 0))
        return usage_error(verb, "--align takes a power of 2 from 8 to 4096, not %" PRIu64,
                           alignment);
    if (!changes_any(&options->changes) && !alignment && !rewrite->reserve && !rewrite->order)
        return usage_error(verb, "nothing is to be changed: --rename, --drop, --keep, --cast, "
                                 "--replace, --add, --order, --align, or --reserve is missing");
    return rewrite_check(verb, rewrite, &options->common, path);
}

static int edit_run(const struct verb *verb, int argc, char **argv)
{
    struct edit_options options = {.rewrite.durability = TARGET_DURABILITY_DEFAULT};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    options.rewrite.order = (uint32_t)options.order;
    if (code == OPT_GO)
        code = usage_check(verb, &options, args.at[0]);
    if (code == OPT_GO)
        code = edit_main(&options, &args);
    change_options_release(&options.changes);
    free(args.at);
    return code;
}

const struct verb verb_edit = {
    .name = "edit",
    .brief = "Rename, drop, cast, replace, or add tensors",
    .about =
        "Changes what FILE holds. A new file is written and takes its place, whole or not at all: "
        "until then, and after any failure, the old one is there; --output writes elsewhere. "
        "Bytes that stay as they are do not pass through the program where the file system can "
        "share blocks or copy by itself.\n\n"
        "--keep and --drop come first, then --cast and --replace: all of them see the names that "
        "FILE has. Then come the renames, in their order, and last what is added. A pattern that "
        "matches nothing is an error, and nothing is changed.\n\n"
        "--dry-run prints a line for every tensor that changes: what is done to it, its name, its "
        "new one, its dtype, and its new one, with tabs between and - for what is not there. "
        "Metadata is changed by meta set and its like.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {0}},
    .options = edit_options,
    .examples =
        (const struct example[]){
            {"safetensors edit model.safetensors -r 'layers.*.weight=blk.*.w'",
             "Other names for every layer's weight."},
            {"safetensors edit full.safetensors -x 'optim*' -c BF16 -o small.safetensors",
             "Without the optimizer's state, all floats in BF16, in a new file."},
            {"safetensors edit model.safetensors -e '^module\\.=' --dry-run",
             "What would be renamed if a prefix went."},
            {"safetensors edit model.safetensors -i -r lm_head.weight=head.weight",
             "One name, in milliseconds, where the header has room."},
            {"safetensors edit model.safetensors -p w=new.bin -a b=other.safetensors",
             "A tensor's bytes out of a file, and a tensor of another model."},
            {0},
        },
    .reads_files = true,
    .run = edit_run,
};
