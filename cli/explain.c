/* SPDX-License-Identifier: Apache-2.0 */
#include "explain.h"

#include <string.h>

#include "text.h"

const char *explain_latency(uint32_t latency)
{
    switch (latency) {
    case ST_LATENCY_MEMORY: return "memory";
    case ST_LATENCY_LOCAL: return "local";
    case ST_LATENCY_NETWORK: return "network";
    default: return "unknown";
    }
}

static void known_json(struct json *json, const char *key, uint64_t figure)
{
    json_key(json, key);
    if (figure == UINT64_MAX)
        st_json_emit_null(json->emitter);
    else
        st_json_emit_u64(json->emitter, figure);
}

void explain_json(const st_explanation *explanation, struct json *json)
{
    json_text(json, "io", st_io_name(explanation->io));
    json_u64(json, "threads", explanation->threads);
    json_u64(json, "depth", explanation->depth);
    json_u64(json, "unit", explanation->unit);
    json_text(json, "latency", explain_latency(explanation->latency));
    json_u64(json, "bytes", explanation->bytes);
    json_u64(json, "read", explanation->read);
    known_json(json, "resident", explanation->resident);
    known_json(json, "memory", explanation->memory);
    json_text(json, "text", explanation->text);
}

static void name_json(const struct request *request, struct json *json)
{
    json_key(json, "tensor");
    if (request)
        st_json_emit_string(json->emitter, request->tensor->name, request->tensor->name_len);
    else
        st_json_emit_null(json->emitter);
    json_key(json, "index");
    if (request && request->index)
        st_json_emit_string(json->emitter, request->index, request->index_len);
    else
        st_json_emit_null(json->emitter);
}

static void name_print(const struct explain *explain, const char *shard,
                       const struct request *request)
{
    struct out *out = explain->out;
    out_escaped(out, explain->path, strlen(explain->path));
    if (shard) {
        out_text(out, ": ");
        out_escaped(out, shard, strlen(shard));
    }
    if (request) {
        out_text(out, ": tensor ");
        out_message(out, text_quote(request->tensor->name, request->tensor->name_len).text);
    }
    if (request && request->index) {
        out_text(out, "[");
        out_escaped(out, request->index, request->index_len);
        out_text(out, "]");
    }
    out_text(out, ": ");
}

st_status explain_one(const struct explain *explain, const struct request *request, st_error *error)
{
    st_explanation said;
    const char *shard = request ? request->shard : explain->shard;
    st_status status =
        st_file_explain(request ? request->file : explain->file, request ? request->tensor : NULL,
                        request && request->index ? &request->region : NULL, &said, error);
    if (status != ST_OK)
        return status;
    if (explain->json) {
        st_json_emit_object_begin(explain->json->emitter);
        if (shard)
            json_text(explain->json, "shard", shard);
        name_json(request, explain->json);
        explain_json(&said, explain->json);
        st_json_emit_object_end(explain->json->emitter);
    } else {
        name_print(explain, shard, request);
        out_message(explain->out, said.text);
        out_text(explain->out, "\n");
    }
    return ST_OK;
}

void explain_begin(const struct explain *explain)
{
    if (!explain->json)
        return;
    json_key(explain->json, "explanations");
    st_json_emit_array_begin(explain->json->emitter);
}

void explain_end(const struct explain *explain)
{
    if (explain->json)
        st_json_emit_array_end(explain->json->emitter);
}

st_status explain_file(const struct explain *explain, st_error *error)
{
    explain_begin(explain);
    st_status status = explain_one(explain, NULL, error);
    explain_end(explain);
    return status;
}

st_status explain_input(const struct explain *explain, const struct input *input, st_error *error)
{
    st_status status = ST_OK;
    explain_begin(explain);
    for (size_t i = 0; i < input_file_count(input) && status == ST_OK; i++) {
        struct explain one = *explain;
        one.file = input_file(input, i);
        if (input->checkpoint)
            one.shard = st_checkpoint_file_name(input->checkpoint, i);
        status = explain_one(&one, NULL, error);
    }
    explain_end(explain);
    return status;
}
