/* SPDX-License-Identifier: Apache-2.0 */
/* The page's data as JSON inside a script element. docs/report.md describes it. */
#include <math.h>
#include <string.h>

#include "json.h"
#include "report.h"

/* JavaScript's numbers are doubles: greater whole numbers are written as strings of digits. */
#define SAFE_MAX (UINT64_C(1) << 53)

static const char *const columns[] = {"name",   "dtype", "shape", "elements", "bytes",
                                      "offset", "stats", "shard", NULL};
static const char *const stats_columns[] = {"count",
                                            "finite",
                                            "nan",
                                            "positive_infinity",
                                            "negative_infinity",
                                            "zeros",
                                            "negatives",
                                            "min",
                                            "max",
                                            "mean",
                                            "std",
                                            "low",
                                            "high",
                                            "bins",
                                            NULL};

static void words_emit(struct json *json, const char *key, const char *const *words)
{
    json_key(json, key);
    st_json_emit_array_begin(json->emitter);
    for (; *words; words++)
        st_json_emit_string(json->emitter, *words, strlen(*words));
    st_json_emit_array_end(json->emitter);
}

static void whole_emit(struct json *json, uint64_t number, bool negative)
{
    char text[24];
    if (number <= SAFE_MAX && !negative)
        st_json_emit_u64(json->emitter, number);
    else if (number <= SAFE_MAX)
        st_json_emit_i64(json->emitter, -(int64_t)number);
    else
        st_json_emit_string(json->emitter, text,
                            (size_t)snprintf(text, sizeof text, "%s%llu", negative ? "-" : "",
                                             (unsigned long long)number));
}

static void u64_emit(struct json *json, uint64_t number)
{
    whole_emit(json, number, false);
}

static void extreme_emit(struct json *json, const st_value *value)
{
    switch (value->kind) {
    case ST_KIND_BOOL:
    case ST_KIND_UINT: u64_emit(json, value->as.u); break;
    case ST_KIND_INT:
        whole_emit(json, value->as.i < 0 ? 0 - (uint64_t)value->as.i : (uint64_t)value->as.i,
                   value->as.i < 0);
        break;
    case ST_KIND_FLOAT: json_double(json, value->as.f[0]); break;
    default: st_json_emit_null(json->emitter);
    }
}

static void real_emit(struct json *json, double value, const st_stats *stats)
{
    if (stats->finite)
        json_double(json, value);
    else
        st_json_emit_null(json->emitter);
}

static void stats_emit(struct json *json, const st_stats *stats)
{
    st_json_emit_array_begin(json->emitter);
    u64_emit(json, stats->count);
    u64_emit(json, stats->finite);
    u64_emit(json, stats->nan);
    u64_emit(json, stats->positive_infinity);
    u64_emit(json, stats->negative_infinity);
    u64_emit(json, stats->zeros);
    u64_emit(json, stats->negatives);
    extreme_emit(json, &stats->min);
    extreme_emit(json, &stats->max);
    real_emit(json, stats->mean, stats);
    real_emit(json, stats->std, stats);
    json_double(json, stats->low);
    json_double(json, stats->high);
    st_json_emit_array_begin(json->emitter);
    for (uint32_t i = 0; i < stats->bin_count; i++)
        u64_emit(json, stats->bins[i]);
    st_json_emit_array_end(json->emitter);
    st_json_emit_array_end(json->emitter);
}

static void tensor_emit(struct json *json, const struct report *report, size_t index)
{
    const st_tensor *tensor = report->tensors[index];
    st_json_emit_array_begin(json->emitter);
    st_json_emit_string(json->emitter, tensor->name, tensor->name_len);
    u64_emit(json, report_dtype(report, tensor->dtype));
    st_json_emit_array_begin(json->emitter);
    for (uint32_t i = 0; i < tensor->ndim; i++)
        u64_emit(json, tensor->shape[i]);
    st_json_emit_array_end(json->emitter);
    u64_emit(json, st_tensor_count(tensor));
    u64_emit(json, st_tensor_size(tensor));
    u64_emit(json, report_offset(report, tensor));
    if (report_measured(report, index))
        stats_emit(json, &report->stats[index]);
    else
        st_json_emit_null(json->emitter);
    if (report->input->checkpoint)
        u64_emit(json, input_place(report->input, tensor).index);
    else
        st_json_emit_null(json->emitter);
    st_json_emit_array_end(json->emitter);
}

/* Each node with its depth, label, and tensor or -1, in the order of the tree. */
static void nodes_emit(struct json *json, const struct report *report, uint32_t first,
                       unsigned depth)
{
    for (uint32_t at = first; at != TREE_END; at = report->tree.nodes[at].next) {
        const struct tree_node *node = &report->tree.nodes[at];
        st_json_emit_u64(json->emitter, depth);
        st_json_emit_string(json->emitter, node->label, node->label_len);
        if (node->tensor)
            st_json_emit_u64(json->emitter, report_index(report, node->tensor));
        else
            st_json_emit_i64(json->emitter, -1);
        nodes_emit(json, report, node->child, depth + 1);
    }
}

static void dtypes_emit(struct json *json, const struct report *report)
{
    json_key(json, "dtypes");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < report->dtype_count; i++) {
        size_t len;
        const char *code =
            st_header_dtype_code(input_header(report->input), report->dtypes[i].dtype, &len);
        st_json_emit_string(json->emitter, code, len);
    }
    st_json_emit_array_end(json->emitter);
}

/* None of a file. */
static void shards_emit(struct json *json, const st_checkpoint *checkpoint)
{
    size_t count = checkpoint ? st_checkpoint_file_count(checkpoint) : 0;
    json_key(json, "shards");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < count; i++) {
        const char *name = st_checkpoint_file_name(checkpoint, i);
        st_json_emit_string(json->emitter, name, strlen(name));
    }
    st_json_emit_array_end(json->emitter);
}

void report_data(const struct report *report)
{
    struct json json;
    json_open(&json, report->out, 0);
    json.markup = true;
    st_json_emit_object_begin(json.emitter);
    json_text(&json, "file", report->path);
    json_u64(&json, "size", input_size(report->input));
    json_u64(&json, "header_size", input_header_size(report->input));
    json_bool(&json, "rows", report->count <= REPORT_ROWS);
    dtypes_emit(&json, report);
    shards_emit(&json, report->input->checkpoint);
    words_emit(&json, "columns", columns);
    words_emit(&json, "stats_columns", stats_columns);
    json_key(&json, "tensors");
    st_json_emit_array_begin(json.emitter);
    for (size_t i = 0; i < report->count; i++)
        tensor_emit(&json, report, i);
    st_json_emit_array_end(json.emitter);
    json_key(&json, "tree");
    st_json_emit_array_begin(json.emitter);
    nodes_emit(&json, report, report->tree.first, 0);
    st_json_emit_array_end(json.emitter);
    st_json_emit_object_end(json.emitter);
    json_close(&json);
}
