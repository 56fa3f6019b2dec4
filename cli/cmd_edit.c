/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors edit: tensors renamed, left out, cast, replaced, taken in, and laid out anew. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "cmd.h"
#include "memory.h"
#include "text.h"

struct edit_options {
    struct common common;
    struct rewrite_options rewrite;
    struct change_options changes;
    bool strict;
};

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
             "floats, rounding to nearest. What is out of its range becomes infinity, or NaN in a "
             "dtype without (F8_E4M3), or the largest number in one without both (F6, F4), and is "
             "told on standard error."},
    {OPT_FLAG, 's', "strict", offsetof(struct edit_options, strict),
     .help = "With --cast: where a number is beyond the range of the new dtype write nothing, and "
             "exit with 1."},
    {OPT_LIST, 'p', "replace", CHANGES(replacements), .arg = "NAME=FILE[:TENSOR]",
     .help = "Put other data in a tensor's place: a tensor of another file, NAME=OTHER.safetensors"
             ":TENSOR, or the bytes of any other file, as many as the tensor has."},
    {OPT_LIST, 'a', "add", CHANGES(additions), .arg = "NAME=FILE[:TENSOR]",
     .help = "Take a tensor of another file in as NAME: NAME=OTHER.safetensors:TENSOR; without "
             "TENSOR the one of the same name. FILE may be INDEX.json or FOLDER/ too. Of several "
             "shards the last one gets it."},
    LAYOUT_ROW_FILE(edit_options, rewrite.layout),
    LAYOUT_ROW_ALIGN(edit_options, rewrite.layout,
                     "8, or where the file system can share the old file's blocks,"),
    REWRITE_ROWS(edit_options, rewrite),
    {0},
};

/* What a cast lost of one tensor. */
struct loss {
    size_t file;
    const st_tensor *tensor;
    uint64_t overflowed;
    uint64_t underflowed;
};

/* Who is told of the casts in a file. */
struct caster {
    struct editing *editing;
    size_t file;
};

/* What edit does. */
struct editing {
    const struct edit_options *options;
    struct changes changes;
    struct rewrite rewrite;
    struct input input;
    struct caster *casters; /* by the file's index */
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
    const char *shard; /* NULL: there is one file */
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
    if (row->shard)
        field_write(out, row->shard, strlen(row->shard));
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
    if (row->shard)
        json_text(json, "shard", row->shard);
    st_json_emit_object_end(json->emitter);
}

static void row_show(struct editing *editing, const struct row *row)
{
    if (editing->json)
        row_json(row, editing->json);
    else if (editing->options->rewrite.target.dry_run)
        row_print(row, editing->out);
}

/* The dtype of a tensor of the new file; one that this program does not know has the code it had. */
static const char *code_after(const st_tensor *after, const st_tensor *before, const st_file *from)
{
    const char *code = st_dtype_code(after->dtype);
    return code || !before ? code : st_header_dtype_code(st_file_header(from), before->dtype, NULL);
}

/* Shows tensor `i` of the new file, if it is another one than before. */
static void tensor_show(struct editing *editing, size_t file, size_t i)
{
    const st_edit *edit = rewrite_edit(&editing->rewrite, file);
    const st_file *from = NULL;
    struct row row = {.after = st_edit_at(edit, i),
                      .before = st_edit_origin(edit, i, &from),
                      .shard = input_shard(&editing->input, file)};
    row.to = code_after(row.after, row.before, from);
    if (from != input_file(&editing->input, file))
        row.before = NULL;
    if (row.before) {
        row.change = *changes_of(&editing->changes, file, row.before);
        row.from = st_header_dtype_code(st_file_header(from), row.before->dtype, NULL);
        row.renamed = row.before->name_len != row.after->name_len ||
                      memcmp(row.before->name, row.after->name, row.after->name_len) != 0;
        if (!row.renamed && !row.change.cast && !row.change.replaced)
            return;
    }
    row_show(editing, &row);
}

/* Shows what becomes of each tensor that changes in a file: what is dropped, then the others as they will lie. */
static void file_show(struct editing *editing, size_t index)
{
    const st_file *file = input_file(&editing->input, index);
    for (size_t i = 0; i < st_file_count(file); i++) {
        struct row row = {.before = st_file_at(file, i),
                          .shard = input_shard(&editing->input, index)};
        row.from = st_header_dtype_code(st_file_header(file), row.before->dtype, NULL);
        if (changes_of(&editing->changes, index, row.before)->dropped)
            row_show(editing, &row);
    }
    for (size_t i = 0; st_edit_at(rewrite_edit(&editing->rewrite, index), i); i++)
        tensor_show(editing, index, i);
}

static void changes_show(struct editing *editing)
{
    if (editing->json) {
        json_key(editing->json, "changes");
        st_json_emit_array_begin(editing->json->emitter);
    }
    for (size_t i = 0; i < input_file_count(&editing->input); i++)
        file_show(editing, i);
    if (editing->json)
        st_json_emit_array_end(editing->json->emitter);
}

/* ----------------------------------------------------------------------------------- losses */

/* Keeps what a cast lost; behind the last one tells whether anything is to be written. */
static bool loss_note(void *ctx, const st_tensor *tensor, uint64_t overflowed, uint64_t underflowed)
{
    const struct caster *caster = ctx;
    struct editing *editing = caster->editing;
    editing->losses = memory_grow(editing->losses, &editing->loss_room, editing->loss_count + 1,
                                  sizeof *editing->losses);
    editing->losses[editing->loss_count++] =
        (struct loss){caster->file, tensor, overflowed, underflowed};
    editing->lossy = editing->lossy || overflowed > 0;
    editing->refused = editing->options->strict && editing->lossy &&
                       editing->loss_count == editing->rewrite.summary.cast;
    return !editing->refused;
}

static const char *loss_dtype(const struct editing *editing, const struct loss *loss)
{
    return st_dtype_code(changes_of(&editing->changes, loss->file, loss->tensor)->cast);
}

/* What stands for a number that is beyond a dtype's range. */
static const char *beyond_text(st_dtype dtype)
{
    unsigned char element[8] = {0};
    st_value value = {.kind = ST_KIND_FLOAT, .as.f = {DBL_MAX}};
    st_element_encode(dtype, element, 0, &value);
    value = st_element_decode(dtype, element, 0);
    return isinf(value.as.f[0]) ? "infinity" : isnan(value.as.f[0]) ? "NaN" : "the largest number";
}

/* Says of what there was how much. */
static void loss_complain(const struct editing *editing, const struct loss *loss)
{
    char beyond[128] = "", zero[48] = "";
    st_dtype dtype = changes_of(&editing->changes, loss->file, loss->tensor)->cast;
    if (loss->overflowed)
        snprintf(beyond, sizeof beyond, " %" PRIu64 " %s beyond the range of %s (%s there)",
                 loss->overflowed, loss->overflowed == 1 ? "is" : "are", st_dtype_code(dtype),
                 beyond_text(dtype));
    if (loss->underflowed)
        snprintf(zero, sizeof zero, "%s %" PRIu64 " became 0", loss->overflowed ? ", and" : "",
                 loss->underflowed);
    complain("%s: tensor %s: of %" PRIu64 " number%s%s%s",
             st_file_name(input_file(&editing->input, loss->file)),
             text_quote(loss->tensor->name, loss->tensor->name_len).text,
             st_tensor_count(loss->tensor), st_tensor_count(loss->tensor) == 1 ? "" : "s", beyond,
             zero);
}

static void losses_complain(const struct editing *editing)
{
    for (size_t i = 0; i < editing->loss_count; i++) {
        const struct loss *loss = &editing->losses[i];
        if (!loss->overflowed && !loss->underflowed)
            continue;
        loss_complain(editing, loss);
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
        if (input_shard(&editing->input, loss->file))
            json_text(json, "shard", input_shard(&editing->input, loss->file));
        st_json_emit_object_end(json->emitter);
    }
    st_json_emit_array_end(json->emitter);
}

/* ------------------------------------------------------------------------------- the verb */

/* What rewrite_run calls for the changes. */
static st_status edit_fill(struct rewrite *rewrite, st_error *error)
{
    struct editing *editing = rewrite->ctx;
    st_status status = changes_make(&editing->changes, error);
    if (status == ST_OK)
        status = rewrite_look(rewrite, error);
    if (status != ST_OK)
        return status;
    const st_edit_summary *summary = &rewrite->summary;
    rewrite->changed = (summary->renamed | summary->dropped | summary->cast | summary->replaced |
                        summary->added) != 0;
    editing->casters = memory_new(input_file_count(&editing->input), sizeof *editing->casters);
    for (size_t i = 0; i < input_file_count(&editing->input); i++) {
        editing->casters[i] = (struct caster){editing, i};
        st_edit_on_cast(rewrite_edit(rewrite, i), loss_note, &editing->casters[i]);
    }
    changes_show(editing);
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

static bool has_record(const st_header *header)
{
    static const char start[] = "st.hash.";
    for (size_t i = 0; i < st_header_metadata_count(header); i++)
        if (strncmp(st_header_metadata_at(header, i)->key, start, strlen(start)) == 0)
            return true;
    return false;
}

/* Digests that hash --record has put into the metadata are of the tensors as they were. */
static void records_complain(const struct editing *editing)
{
    const st_edit_summary *summary = &editing->rewrite.summary;
    const struct input *input = &editing->input;
    if (!summary->renamed && !summary->dropped && !summary->cast && !summary->replaced &&
        !summary->added)
        return;
    for (size_t i = 0; i < input_file_count(input); i++)
        if (has_record(st_file_header(input_file(input, i)))) {
            complain("%s: its metadata have digests of the tensors as they were; hash --record "
                     "makes them anew",
                     st_file_name(input_file(input, i)));
            return;
        }
}

/* Says how it went. */
static void editing_tell(const struct editing *editing, st_status status, const st_error *error)
{
    struct out *out = editing->out;
    bool text = !editing->json && (out->tty || editing->options->rewrite.target.dry_run);
    losses_complain(editing);
    if (editing->refused) {
        complain("%s: nothing was written, as --strict asks", editing->input.path);
        out_worst(out, EXIT_BAD);
    } else if (status != ST_OK) {
        file_fail(out, editing->json, error);
        return;
    } else {
        records_complain(editing);
    }
    if (editing->json)
        counts_json(editing, editing->json);
    else if (text && !editing->refused) {
        counts_print(editing);
        rewrite_print(&editing->rewrite, out);
    }
}

static int edit_main(const struct edit_options *options, const struct args *args)
{
    st_error error;
    struct out out;
    struct json json;
    struct editing editing = {
        .options = options, .out = &out, .json = options->common.json ? &json : NULL};
    editing.changes = (struct changes){
        .options = &options->changes, .common = &options->common, .rewrite = &editing.rewrite};
    editing.rewrite = (struct rewrite){
        .options = &options->rewrite, .input = &editing.input, .fill = edit_fill, .ctx = &editing};
    out_open(&out, options->common.color);
    out_go_on(&out);
    if (editing.json) {
        json_open_files(&json, &out);
        json_open_file(&json, args->at[0]);
    }
    st_status status =
        rewrite_open(&options->rewrite, &editing.input, args->at[0], &options->common, &error);
    if (status == ST_OK)
        status = rewrite_run(&editing.rewrite, &error);
    editing_tell(&editing, status, &error);
    changes_release(&editing.changes);
    free(editing.casters);
    free(editing.losses);
    input_close(&editing.input);
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
    const struct layout *layout = &rewrite->layout;
    if (!changes_any(&options->changes) && !layout->alignment && !layout->reserve && !layout->order)
        return usage_error(verb, "nothing is to be changed: --rename, --drop, --keep, --cast, "
                                 "--replace, --add, --order, --align, or --reserve is missing");
    return rewrite_check(verb, rewrite, &options->common, path);
}

static int edit_run(const struct verb *verb, int argc, char **argv)
{
    struct edit_options options = {.rewrite.target.durability = TARGET_DURABILITY_DEFAULT};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    options.rewrite.order = layout_file_order(&options.rewrite.layout);
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
        "FILE may be a folder of shards or an index: a pattern then sees the tensors of all of "
        "them, "
        "each change is made in the shard that its tensor lies in, and the index follows. The "
        "shards that change are written beside the old ones first, and take their places when all "
        "are whole; of a crash in between safetensors repair makes an end. A shard without tensors "
        "left goes. --in-place changes one shard after the other, and no name that an index "
        "has.\n\n"
        "--dry-run prints a line for every tensor that changes: what is done to it, its name, its "
        "new one, its dtype, and its new one, with tabs between and - for what is not there; of "
        "several shards the name of its shard, too. "
        "Metadata is changed by meta set and its like.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL}, {0}},
    .options = edit_options,
    .examples =
        (const struct example[]){
            {"safetensors edit model.safetensors -r 'layers.*.weight=blk.*.w'",
             "Other names for every layer's weight."},
            {"safetensors edit full.safetensors -x 'optim*' -c BF16 -o small.safetensors",
             "Without the optimizer's state, all floats in BF16, in a new file."},
            {"safetensors edit checkpoint/ -c BF16 -o small/",
             "All shards of a folder, and their index, in another folder."},
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
