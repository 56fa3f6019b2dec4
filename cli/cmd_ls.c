/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors ls: the tensors of files, as a tree or one per line. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "filter.h"
#include "input.h"
#include "json.h"
#include "listing.h"
#include "opt.h"

enum { LAYOUT_AUTO, LAYOUT_FLAT, LAYOUT_TREE, LAYOUT_TOTALS };
enum { SORT_NOT_SAID = -1, SORT_OFFSET, SORT_NAME, SORT_SIZE, SORT_DTYPE };

struct ls_options {
    struct filtered filtered;
    int layout;
    int sort;
    bool exact;
};

static const char *const sort_choices[] = {"offset", "name", "size", "dtype", NULL};

static const struct opt ls_options[] = {
    {OPT_SET, 'l', "flat", offsetof(struct ls_options, layout), .value = LAYOUT_FLAT,
     .help = "Print one line per tensor: dtype, shape, size in bytes, offset in the file, name. "
             "The default when the output is no terminal; there, tabs stand between."},
    {OPT_SET, 't', "tree", offsetof(struct ls_options, layout), .value = LAYOUT_TREE,
     .help = "Print a tree by the dots in the names, with layers that are alike shown once. The "
             "default on a terminal."},
    {OPT_SET, 'T', "totals", offsetof(struct ls_options, layout), .value = LAYOUT_TOTALS,
     .help = "Print only the totals per dtype and of all: tensors, elements, bytes."},
    {OPT_CHOICE, 's', "sort", offsetof(struct ls_options, sort), .arg = "KEY",
     .choices = sort_choices,
     .help = "Order the lines by offset (the default), name, size (the largest first), or dtype. "
             "Chooses --flat where no layout is named."},
    {OPT_FLAG, 'b', "bytes", offsetof(struct ls_options, exact),
     .help = "Print sizes in bytes. The default when the output is no terminal."},
    {0},
};

/* ---------------------------------------------------------------------------- picking */

static int size_compare(const void *a, const void *b)
{
    const st_tensor *x = *(const st_tensor *const *)a, *y = *(const st_tensor *const *)b;
    if (st_tensor_size(x) != st_tensor_size(y))
        return st_tensor_size(x) > st_tensor_size(y) ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int dtype_compare(const void *a, const void *b)
{
    const st_tensor *x = *(const st_tensor *const *)a, *y = *(const st_tensor *const *)b;
    if (x->dtype != y->dtype)
        return x->dtype < y->dtype ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Fills the listing with the tensors that pass the filter, in the order asked for. */
static st_status tensors_pick(struct listing *listing, const struct filter *filter, int sort,
                              st_error *error)
{
    st_status status = filter_pick(filter, listing->header, sort == SORT_NAME, &listing->tensors,
                                   &listing->count, error);
    if (status == ST_OK && (sort == SORT_SIZE || sort == SORT_DTYPE))
        qsort(listing->tensors, listing->count, sizeof *listing->tensors,
              sort == SORT_SIZE ? size_compare : dtype_compare);
    return status;
}

/* --------------------------------------------------------------------------- printing */

static void json_totals(struct json *json, const struct totals *totals)
{
    json_u64(json, "tensors", totals->tensors);
    json_u64(json, "elements", totals->elements);
    json_u64(json, "bytes", totals->bytes);
}

/* What there is of a checkpoint alone: its index, or null, and its files. */
static void json_checkpoint(struct json *json, const struct input *input)
{
    const char *index = st_checkpoint_index(input->checkpoint);
    json_key(json, "index");
    if (index)
        st_json_emit_string(json->emitter, index, strlen(index));
    else
        st_json_emit_null(json->emitter);
    json_key(json, "shards");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < input_file_count(input); i++) {
        const st_file *file = input_file(input, i);
        st_json_emit_object_begin(json->emitter);
        json_text(json, "shard", st_checkpoint_file_name(input->checkpoint, i));
        json_u64(json, "size", st_file_size(file));
        json_u64(json, "tensors", st_file_count(file));
        st_json_emit_object_end(json->emitter);
    }
    st_json_emit_array_end(json->emitter);
}

static void json_listing(struct json *json, const struct listing *listing)
{
    const st_header *header = listing->header;
    if (listing->input->checkpoint)
        json_checkpoint(json, listing->input);
    json_u64(json, "size", input_size(listing->input));
    json_u64(json, "header_size", input_header_size(listing->input));
    json_u64(json, "metadata", st_header_metadata_count(header));
    json_key(json, "tensors");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < listing->count; i++) {
        struct input_place place = input_place(listing->input, listing->tensors[i]);
        st_json_emit_object_begin(json->emitter);
        json_tensor(json, st_file_header(place.file), place.tensor);
        if (place.shard)
            json_text(json, "shard", place.shard);
        st_json_emit_object_end(json->emitter);
    }
    st_json_emit_array_end(json->emitter);

    struct totals all;
    size_t count;
    struct totals *dtypes = listing_sum(listing, &all, &count);
    json_key(json, "totals");
    st_json_emit_object_begin(json->emitter);
    json_totals(json, &all);
    json_key(json, "dtypes");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < count; i++) {
        st_json_emit_object_begin(json->emitter);
        size_t len;
        const char *code = st_header_dtype_code(header, dtypes[i].dtype, &len);
        json_string(json, "dtype", code, len);
        json_totals(json, &dtypes[i]);
        st_json_emit_object_end(json->emitter);
    }
    st_json_emit_array_end(json->emitter);
    st_json_emit_object_end(json->emitter);
    free(dtypes);
}

static int layout_choose(const struct ls_options *options, const struct out *out)
{
    if (options->layout != LAYOUT_AUTO)
        return options->layout;
    return out->tty && options->sort == SORT_NOT_SAID ? LAYOUT_TREE : LAYOUT_FLAT;
}

static void listing_print(const struct listing *listing, int layout, bool several, struct out *out)
{
    bool shards = out->tty && listing->input->checkpoint;
    if ((several || shards) && layout != LAYOUT_TREE) {
        listing_print_title(listing, out);
        out_text(out, ":\n");
    }
    if (layout == LAYOUT_TREE)
        listing_print_tree(listing, out);
    else if (layout == LAYOUT_FLAT)
        listing_print_flat(listing, out);
    /* The lines that go through a pipe are tensors, all of them. */
    if (layout == LAYOUT_FLAT && !out->tty)
        return;
    if (layout != LAYOUT_TOTALS)
        out_text(out, "\n");
    listing_print_totals(listing, out);
}

/* ---------------------------------------------------------------------------- the verb */

/* What ls does with each file. */
struct ls {
    const struct ls_options *options;
    const struct filter *filter;
    struct out *out;
    struct json *json; /* NULL: text */
    int layout;
    bool several;
};

static st_status file_list(const struct ls *ls, const char *path, bool first, st_error *error)
{
    struct input input;
    struct listing listing = {.input = &input, .exact = ls->options->exact || !ls->out->tty};
    st_status status = input_open(&input, path, &ls->options->filtered.common, error);
    if (status == ST_OK) {
        listing.file = input_title(&input);
        listing.header = input_header(&input);
        status = tensors_pick(&listing, ls->filter, ls->options->sort, error);
    }
    if (status == ST_OK && ls->json) {
        json_listing(ls->json, &listing);
    } else if (status == ST_OK) {
        if (!first)
            out_text(ls->out, "\n");
        listing_print(&listing, ls->layout, ls->several, ls->out);
    }
    free(listing.tensors);
    input_close(&input);
    return status;
}

static void files_list(struct ls *ls, const struct args *args)
{
    bool first = true;
    for (size_t i = 0; i < args->count; i++) {
        st_error error;
        if (ls->json)
            json_open_file(ls->json, args->at[i]);
        st_status status = file_list(ls, args->at[i], first, &error);
        if (status == ST_OK)
            first = false;
        else
            file_fail(ls->out, ls->json, &error);
        if (ls->json)
            st_json_emit_object_end(ls->json->emitter);
    }
}

static int ls_main(const struct ls_options *options, const struct filter *filter,
                   const struct args *args)
{
    struct out out;
    struct json json;
    out_open(&out, options->filtered.common.color);
    struct ls ls = {.options = options, .filter = filter, .out = &out};
    ls.layout = layout_choose(options, &out);
    ls.several = args->count > 1;
    if (options->filtered.common.json) {
        ls.json = &json;
        json_open_files(&json, &out);
    }
    files_list(&ls, args);
    if (ls.json)
        json_close_files(&json);
    return out_close(&out);
}

static int ls_run(const struct verb *verb, int argc, char **argv)
{
    struct ls_options options = {.sort = SORT_NOT_SAID};
    struct args args;
    struct filter filter;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO &&
        !filter_init(&filter, &options.filtered.filter, verb, &options.filtered.common))
        code = EXIT_USAGE;
    if (code == OPT_GO) {
        code = ls_main(&options, &filter, &args);
        filter_release(&filter);
    }
    filter_options_release(&options.filtered.filter);
    free(args.at);
    return code;
}

const struct verb verb_ls = {
    .name = "ls",
    .brief = "List the tensors of files",
    .about =
        "Lists tensors with dtype, shape, and size. On a terminal they are a tree by the dots in "
        "their names, in which siblings with consecutive numbers that hold the same are shown "
        "once: layers.[0-31] stands for 32 of them, its size is that of all 32, and below it "
        "stands what each one holds.\n\n"
        "Elsewhere each tensor is one line of five columns between tabs: dtype, shape, size in "
        "bytes, offset in the file, name; of a folder or an index a sixth tells the shard. Several "
        "files are headed by their names.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", ARG_MANY, NULL}, {0}},
    .options = ls_options,
    .examples =
        (const struct example[]){
            {"safetensors ls model.safetensors", "The tree."},
            {"safetensors ls --sort size model.safetensors | head",
             "The largest tensors, the largest first."},
            {"safetensors ls -g '*.weight' -d BF16 *.safetensors",
             "The BF16 weights of several files."},
            {"safetensors ls --json model.safetensors | jq -r '.files[].tensors[].name'",
             "All names."},
            {0},
        },
    .reads_files = true,
    .picks = filter_rows,
    .run = ls_run,
};
