/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors show: one tensor's facts and values. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "explain.h"
#include "facts.h"
#include "hex.h"
#include "input.h"
#include "json.h"
#include "memory.h"
#include "opt.h"
#include "print.h"
#include "request.h"
#include "text.h"
#include "values.h"

/* NumPy's own: above so many values only the edges are printed. */
#define SUMMARY_ABOVE 1000
#define SUMMARY_EDGE  3
/* The summary of a tensor of many dimensions gets a smaller edge rather than more values than
 * this. */
#define SUMMARY_MOST 20000

enum { FORM_ARRAY, FORM_VALUES, FORM_HEX, FORM_RAW };

struct show_options {
    struct common common;
    const char *slice;
    int form;
    bool all;
};

static const struct opt show_options[] = {
    {OPT_TEXT, 's', "slice", offsetof(struct show_options, slice), .arg = "INDEX",
     .help = "Show a part, indexed as in NumPy: 0, 2:8, ::-1, ..., None, and commas between. Holds "
             "for each TENSOR that has no index of its own in brackets."},
    {OPT_FLAG, 'a', "all", offsetof(struct show_options, all),
     .help = "Print all values. Otherwise of more than 1000 only those at the edges are printed."},
    {OPT_SET, 'v', "values", offsetof(struct show_options, form), .value = FORM_VALUES,
     .help = "Print nothing but the values, one per line, all of them."},
    {OPT_SET, 'x', "hex", offsetof(struct show_options, form), .value = FORM_HEX,
     .help = "Print the bytes in hexadecimal, as hexdump -C does, counted from the first one "
             "shown; * stands for lines that repeat the one before."},
    {OPT_SET, 0, "raw", offsetof(struct show_options, form), .value = FORM_RAW,
     .help = "Write the bytes themselves, into a pipe or a file: little-endian, row-major."},
    {0},
};

/* What show does with each tensor. */
struct show {
    const struct show_options *options;
    const char *path;
    struct input input;
    struct out *out;
    struct json *json; /* NULL: text */
    struct explain explain;
};

/* ---------------------------------------------------------------------------- bytes */

static st_status raw_block(void *ctx, const void *data, size_t size, st_error *error)
{
    (void)error;
    out_write(ctx, data, size);
    return ST_OK;
}

static st_status bytes_show(const struct show *show, const struct request *request, st_error *error)
{
    struct hex hex = {.out = show->out};
    bool raw = show->options->form == FORM_RAW;
    st_status status = st_file_read_blocks(
        request->file, request->tensor, request->index ? &request->region : NULL,
        raw ? raw_block : hex_block, raw ? (void *)show->out : &hex, error);
    if (status == ST_OK && !raw)
        hex_end(&hex);
    return status;
}

/* ------------------------------------------------------------------------------- values */

static void line_put(void *ctx, const st_value *value)
{
    const struct print *print = ctx;
    char text[ST_ELEMENT_TEXT_SIZE];
    size_t len = st_element_format(print->dtype, value, text, sizeof text - 1);
    text[len] = '\n';
    out_write(print->out, text, len + 1);
}

/* Values in the order of printing, kept because they are printed after all were seen. */
struct kept {
    st_value *at;
    size_t count;
    size_t room;
};

static void kept_add(void *ctx, const st_value *value)
{
    struct kept *kept = ctx;
    kept->at = memory_grow(kept->at, &kept->room, kept->count + 1, sizeof *kept->at);
    kept->at[kept->count++] = *value;
}

/* Gives the edge with which a summary stays within SUMMARY_MOST values. */
static uint64_t edge_choose(const st_region *region)
{
    for (uint64_t edge = SUMMARY_EDGE;; edge--) {
        double shown = 1;
        for (uint32_t i = 0; i < region->out_ndim; i++)
            shown *= fmin((double)region->shape[i], 2.0 * (double)edge);
        if (shown <= SUMMARY_MOST || edge == 1)
            return edge;
    }
}

static st_status summary_print(const struct values *values, struct print *print, uint64_t edge,
                               st_error *error)
{
    struct kept kept = {0};
    st_status status = values_edges(values, edge, kept_add, &kept, error);
    if (status == ST_OK) {
        for (size_t i = 0; i < kept.count; i++)
            print_fit(print, &kept.at[i]);
        for (size_t i = 0; i < kept.count; i++)
            print_put(print, &kept.at[i]);
        print_end(print);
    }
    free(kept.at);
    return status;
}

/* Reads twice rather than keeping everything. */
static st_status all_print(const struct values *values, struct print *print, st_error *error)
{
    st_status status = values_each(values, print_fit, print, error);
    if (status == ST_OK)
        status = values_each(values, print_put, print, error);
    if (status == ST_OK)
        print_end(print);
    return status;
}

static st_status values_show(const struct show *show, const struct request *request,
                             st_error *error)
{
    struct values values = {request->file, request->tensor, &request->region};
    bool cut = !show->options->all && request->region.count > SUMMARY_ABOVE;
    uint64_t edge = cut ? edge_choose(&request->region) : 0;
    struct print print;
    print_init(&print, show->out, request->tensor->dtype, &request->region, edge);
    if (show->options->form == FORM_VALUES)
        return values_each(&values, line_put, &print, error);
    return cut ? summary_print(&values, &print, edge, error) : all_print(&values, &print, error);
}

/* --------------------------------------------------------------------------------- JSON */

static void json_value(void *ctx, const st_value *value)
{
    const struct show *show = ctx;
    st_json_emitter *emitter = show->json->emitter;
    switch (value->kind) {
    case ST_KIND_BOOL: st_json_emit_bool(emitter, value->as.u != 0); break;
    case ST_KIND_UINT: st_json_emit_u64(emitter, value->as.u); break;
    case ST_KIND_INT: st_json_emit_i64(emitter, value->as.i); break;
    case ST_KIND_COMPLEX:
        st_json_emit_array_begin(emitter);
        json_double(show->json, value->as.f[0]);
        json_double(show->json, value->as.f[1]);
        st_json_emit_array_end(emitter);
        break;
    default: json_double(show->json, value->as.f[0]);
    }
}

static st_status json_values(const struct show *show, const struct request *request,
                             st_error *error)
{
    struct values values = {request->file, request->tensor, &request->region};
    bool wanted = show->options->all || show->options->form == FORM_VALUES ||
                  request->region.count <= SUMMARY_ABOVE;
    json_key(show->json, "values");
    if (!wanted || st_dtype_bits(request->tensor->dtype) == 0) {
        st_json_emit_null(show->json->emitter);
        return ST_OK;
    }
    struct show each = *show;
    st_json_emit_array_begin(show->json->emitter);
    st_status status = values_each(&values, json_value, &each, error);
    st_json_emit_array_end(show->json->emitter);
    return status;
}

static st_status json_show(const struct show *show, const struct request *request, st_error *error)
{
    facts_json(request, show->json);
    return json_values(show, request, error);
}

/* ------------------------------------------------------------------------------ the verb */

static st_status request_show(const struct show *show, const struct request *request,
                              st_error *error)
{
    bool known = st_dtype_bits(request->tensor->dtype) != 0;
    int form = show->options->form;
    if (show->json)
        return json_show(show, request, error);
    if (form == FORM_HEX || form == FORM_RAW)
        return bytes_show(show, request, error);
    if (form == FORM_ARRAY)
        facts_print(request, show->out);
    if (known)
        return values_show(show, request, error);
    complain("%s: tensor %s: its dtype is unknown, so that it has no values to print; --hex and "
             "--raw give its bytes",
             show->path, text_quote(request->tensor->name, request->tensor->name_len).text);
    out_worst(show->out, EXIT_USAGE);
    return ST_OK;
}

/* Shows a tensor, with an empty line before it where one is wanted, or an object in the document. */
static void request_tell(const struct show *show, const struct request *request, bool first)
{
    st_error error;
    st_status status;
    bool explain = show->options->common.explain, object = show->json && !explain;
    if (!first && !explain && !object && show->options->form == FORM_ARRAY)
        out_text(show->out, "\n");
    if (object)
        st_json_emit_object_begin(show->json->emitter);
    if (explain)
        status = explain_one(&show->explain, request, &error);
    else
        status = request_show(show, request, &error);
    if (status != ST_OK)
        file_fail(show->out, object ? show->json : NULL, &error);
    if (object)
        st_json_emit_object_end(show->json->emitter);
}

static void word_show(const struct show *show, const char *word, bool first)
{
    st_error error;
    struct request request;
    if (!request_find(&request, &show->input, word, show->options->slice)) {
        request_complain(&show->input, word);
        out_worst(show->out, EXIT_USAGE);
        return;
    }
    st_status status = request_resolve(&request, &error);
    if (status != ST_OK) {
        complain("%s: %s", show->path, error.message);
        out_worst(show->out, exit_of(status));
        return;
    }
    request_tell(show, &request, first);
    st_region_release(&request.region);
}

static void file_show(struct show *show, const struct args *args)
{
    st_error error;
    st_status status = input_open(&show->input, show->path, &show->options->common, &error);
    if (status != ST_OK) {
        file_fail(show->out, show->json, &error);
        input_close(&show->input);
        return;
    }
    show->explain = (struct explain){.path = show->path, .out = show->out, .json = show->json};
    if (show->json) {
        json_key(show->json, show->options->common.explain ? "explanations" : "tensors");
        st_json_emit_array_begin(show->json->emitter);
    }
    for (size_t i = 1; i < args->count; i++)
        word_show(show, args->at[i], i == 1);
    if (show->json)
        st_json_emit_array_end(show->json->emitter);
    input_close(&show->input);
}

static int show_main(const struct verb *verb, const struct show_options *options,
                     const struct args *args)
{
    struct out out;
    struct json json;
    bool bytes =
        (options->form == FORM_HEX || options->form == FORM_RAW) && !options->common.explain;
    struct show show = {.options = options, .path = args->at[0], .out = &out};
    out_open(&out, options->common.color);
    if (bytes && options->common.json)
        return usage_error(verb, "--json prints no bytes: leave --hex or --raw out");
    if (bytes && options->form == FORM_RAW && out.tty)
        return usage_error(verb, "--raw writes bytes that a terminal does not take; send them "
                                 "through a pipe or into a file");
    if (options->common.json) {
        show.json = &json;
        json_open_files(&json, &out);
        json_open_file(&json, show.path);
    }
    file_show(&show, args);
    if (show.json) {
        st_json_emit_object_end(json.emitter);
        json_close_files(&json);
    }
    return out_close(&out);
}

static int show_run(const struct verb *verb, int argc, char **argv)
{
    struct show_options options = {.form = FORM_ARRAY};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = show_main(verb, &options, &args);
    free(args.at);
    return code;
}

const struct verb verb_show = {
    .name = "show",
    .brief = "Show tensors: their facts, values, or bytes",
    .about =
        "Prints dtype, shape, size, and place of each TENSOR, and its values in the fewest digits "
        "that make the same element. Of more than 1000 values only those at the edges of each "
        "dimension are read and printed.\n\n"
        "An index in brackets after the name, as in NumPy, picks a part: weight[0, :8], "
        "weight[::-1], weight[..., 3]. A name that itself ends in brackets is tried first. A name "
        "may be given as ls prints it, with its escapes.",
    .args = (const struct arg[]){{ARG_FILE, "FILE", 0, NULL},
                                 {ARG_TENSOR, "TENSOR[INDEX]", ARG_MANY, NULL},
                                 {0}},
    .options = show_options,
    .examples =
        (const struct example[]){
            {"safetensors show model.safetensors embeddings.LayerNorm.bias",
             "Facts and values of one tensor."},
            {"safetensors show model.safetensors 'lm_head.weight[:4, :4]'",
             "Its upper left corner."},
            {"safetensors show --values model.safetensors bias | sort -g | tail -n 1",
             "The largest value."},
            {"safetensors show --raw model.safetensors bias > bias.bin", "Its bytes."},
            {0},
        },
    .reads_files = true,
    .reads_data = true,
    .run = show_run,
};
