/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of tensors as HTML, of which report.js makes the same elements, classes, and words where there are
 * too many of them: what is changed here is to be changed there.
 */
#include <inttypes.h>
#include <string.h>

#include "html.h"
#include "report.h"
#include "text.h"

/* Height of a histogram in units of its drawing; a bar is 4 wide. */
#define BAR_HEIGHT 100
/* Whole numbers from here on are shortened in rows. */
#define ROW_LARGE UINT64_C(10000000)
/* From the start groups are open of the top level, if there and in them is so little to read, and those without
 * siblings. */
#define FEW 12

size_t report_index(const struct report *report, const st_tensor *tensor)
{
    const st_header *header = input_header(report->input);
    size_t low = 0, high = report->count, wanted = st_header_index(header, tensor);
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (st_header_index(header, report->tensors[middle]) <= wanted)
            low = middle;
        else
            high = middle;
    }
    return low;
}

size_t report_dtype(const struct report *report, st_dtype dtype)
{
    size_t i = 0;
    while (i + 1 < report->dtype_count && report->dtypes[i].dtype != dtype)
        i++;
    return i;
}

bool report_measured(const struct report *report, size_t index)
{
    return report->stats && st_dtype_bits(report->tensors[index]->dtype) != 0;
}

/* ------------------------------------------------------------------------------ numbers */

static void shape_write(struct out *out, const st_tensor *tensor)
{
    if (tensor->ndim == 0)
        out_text(out, "scalar");
    for (uint32_t i = 0; i < tensor->ndim; i++)
        out_print(out, "%s%" PRIu64, i ? " \u00d7 " : "", tensor->shape[i]);
}

/* Writes an extreme value: integers exactly, others in so many digits. */
static void value_write(struct out *out, const st_value *value, int digits)
{
    if (value->kind == ST_KIND_BOOL || value->kind == ST_KIND_UINT)
        out_print(out, "%" PRIu64, value->as.u);
    else if (value->kind == ST_KIND_INT)
        out_print(out, "%" PRId64, value->as.i);
    else if (value->kind == ST_KIND_FLOAT)
        out_print(out, "%.*g", digits, value->as.f[0]);
    else
        out_text(out, "-");
}

static void double_write(struct out *out, double value, const st_stats *stats, int digits)
{
    if (stats->finite)
        out_print(out, "%.*g", digits, value);
    else
        out_text(out, "-");
}

/* Writes the outline of the bars, from left to right and back along the base. */
static void bars_write(struct out *out, const st_stats *stats)
{
    uint64_t most = 1;
    for (uint32_t i = 0; i < stats->bin_count; i++)
        most = stats->bins[i] > most ? stats->bins[i] : most;
    out_print(out, "<path d=\"M0 %d", BAR_HEIGHT);
    for (uint32_t i = 0; i < stats->bin_count; i++) {
        double height = BAR_HEIGHT * ((double)stats->bins[i] / (double)most);
        int y = BAR_HEIGHT - (int)(height + 0.5);
        /* One element in a million is still to be seen. */
        out_print(out, "V%dh4", stats->bins[i] && y > BAR_HEIGHT - 2 ? BAR_HEIGHT - 2 : y);
    }
    out_print(out, "V%dz\"/>", BAR_HEIGHT);
}

static void svg_open(struct out *out, const char *class)
{
    out_print(out,
              "<svg class=\"%s\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" "
              "aria-hidden=\"true\">",
              class, 4 * REPORT_BINS, BAR_HEIGHT);
}

/* -------------------------------------------------------------------------------- card */

static void count_fact(struct out *out, const char *term, uint64_t count, uint64_t whole)
{
    html_fact_begin(out, term);
    html_number(out, count);
    if (count) {
        out_text(out, ", ");
        html_words(out, text_percent(count, whole).text);
    }
    html_fact_end(out);
}

static void value_fact(struct out *out, const char *term, const st_value *value)
{
    html_fact_begin(out, term);
    value_write(out, value, 7);
    html_fact_end(out);
}

static void double_fact(struct out *out, const char *term, double value, const st_stats *stats)
{
    html_fact_begin(out, term);
    double_write(out, value, stats, 7);
    html_fact_end(out);
}

static void stats_facts(struct out *out, const st_stats *stats)
{
    count_fact(out, "zeros", stats->zeros, stats->count);
    count_fact(out, "negatives", stats->negatives, stats->count);
    count_fact(out, "NaN", stats->nan, stats->count);
    count_fact(out, "+Inf", stats->positive_infinity, stats->count);
    count_fact(out, "-Inf", stats->negative_infinity, stats->count);
    value_fact(out, "min", &stats->min);
    value_fact(out, "max", &stats->max);
    double_fact(out, "mean", stats->mean, stats);
    double_fact(out, "std", stats->std, stats);
}

static void histogram_write(struct out *out, const st_stats *stats)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < stats->bin_count; i++)
        most = stats->bins[i] > most ? stats->bins[i] : most;
    out_text(out, "<figure class=\"histogram\">");
    svg_open(out, "bars");
    bars_write(out, stats);
    out_print(out, "</svg><figcaption><span>%.4g</span><span>%d bars, the highest of ", stats->low,
              REPORT_BINS);
    html_number(out, most);
    out_print(out, "</span><span>%.4g</span></figcaption></figure>", stats->high);
}

static void card_write(const struct report *report, size_t index)
{
    struct out *out = report->out;
    const st_tensor *tensor = report->tensors[index];
    const char *shard = input_place(report->input, tensor).shard;
    size_t len;
    const char *code = st_header_dtype_code(input_header(report->input), tensor->dtype, &len);
    out_text(out, "<div class=\"card\"><p class=\"full\">");
    html_name(out, tensor->name, tensor->name_len);
    out_text(out, "</p><dl class=\"facts\">");
    html_fact_begin(out, "dtype");
    html_text(out, code, len, 0);
    html_fact_end(out);
    html_fact_begin(out, "shape");
    shape_write(out, tensor);
    html_fact_end(out);
    html_fact_begin(out, "elements");
    html_number(out, st_tensor_count(tensor));
    html_fact_end(out);
    html_fact_begin(out, "bytes");
    html_number(out, st_tensor_size(tensor));
    html_fact_end(out);
    if (shard) {
        html_fact_begin(out, "shard");
        html_name(out, shard, strlen(shard));
        html_fact_end(out);
    }
    html_fact_begin(out, "offset");
    html_number(out, report_offset(report, tensor));
    html_fact_end(out);
    if (report_measured(report, index))
        stats_facts(out, &report->stats[index]);
    out_text(out, "</dl>");
    if (report_measured(report, index) && report->stats[index].finite)
        histogram_write(out, &report->stats[index]);
    out_text(out, "</div>");
}

/* -------------------------------------------------------------------------------- tree */

/* Writes an extreme value into a row: whole numbers of many digits as others, too. */
static void value_row(struct out *out, const st_value *value)
{
    st_value shown = *value;
    if (value->kind == ST_KIND_UINT && value->as.u >= ROW_LARGE)
        shown = (st_value){.kind = ST_KIND_FLOAT, .as.f = {(double)value->as.u}};
    else if (value->kind == ST_KIND_INT &&
             (value->as.i >= (int64_t)ROW_LARGE || value->as.i <= -(int64_t)ROW_LARGE))
        shown = (st_value){.kind = ST_KIND_FLOAT, .as.f = {(double)value->as.i}};
    value_write(out, &shown, 4);
}

/* Writes the cells of statistics in a row: a part of them, the card has all. */
static void row_stats(struct out *out, const st_stats *stats)
{
    out_text(out, "<span class=\"range\">");
    value_row(out, &stats->min);
    if (stats->finite) {
        out_text(out, " \u2026 ");
        value_row(out, &stats->max);
    }
    out_text(out, "</span><span class=\"moments\">");
    double_write(out, stats->mean, stats, 3);
    if (stats->finite) {
        out_text(out, " \u00b1 ");
        double_write(out, stats->std, stats, 3);
    }
    out_text(out, "</span>");
    svg_open(out, "spark");
    if (stats->finite)
        bars_write(out, stats);
    out_text(out, "</svg>");
    if (stats->nan || stats->positive_infinity || stats->negative_infinity)
        out_text(out, "<span class=\"sick\">NaN or Inf</span>");
}

static void row_write(const struct report *report, const struct tree_node *node)
{
    struct out *out = report->out;
    size_t index = report_index(report, node->tensor), len;
    const st_tensor *tensor = node->tensor;
    const char *code = st_header_dtype_code(input_header(report->input), tensor->dtype, &len);
    out_text(out, "<li><details class=\"tensor\"><summary><span class=\"name\">");
    html_name(out, node->label, node->label_len);
    out_print(out, "</span><span class=\"dtype\"><i class=\"c%zu\"></i>",
              report_dtype(report, tensor->dtype) % 8);
    html_text(out, code, len, 0);
    out_text(out, "</span><span class=\"shape\">");
    shape_write(out, tensor);
    out_print(out, "</span><span class=\"size\">%s</span>",
              text_bytes(st_tensor_size(tensor)).text);
    if (report_measured(report, index))
        row_stats(out, &report->stats[index]);
    out_text(out, "</summary>");
    card_write(report, index);
    out_text(out, "</details></li>\n");
}

static size_t siblings_count(const struct report *report, uint32_t first)
{
    size_t count = 0;
    for (uint32_t at = first; at != TREE_END; at = report->tree.nodes[at].next)
        count++;
    return count;
}

static void level_write(const struct report *report, uint32_t first, unsigned depth);

static void group_write(const struct report *report, const struct tree_node *node, bool open,
                        unsigned depth)
{
    struct out *out = report->out;
    out_print(out, "<li><details class=\"group\"%s><summary><span class=\"name\">",
              open ? " open" : "");
    html_name(out, node->label, node->label_len);
    out_text(out, "</span><span class=\"count\">");
    html_count(out, node->tensors, "tensor");
    out_print(out, "</span><span class=\"size\">%s</span></summary>\n<ul>\n",
              text_bytes(node->bytes).text);
    if (node->tensor)
        row_write(report, node);
    level_write(report, node->child, depth + 1);
    out_text(out, "</ul></details></li>\n");
}

/* Writes siblings. The recursion is as deep as the tree, TREE_DEPTH at most. */
static void level_write(const struct report *report, uint32_t first, unsigned depth)
{
    size_t siblings = siblings_count(report, first);
    for (uint32_t at = first; at != TREE_END; at = report->tree.nodes[at].next) {
        const struct tree_node *node = &report->tree.nodes[at];
        if (node->child == TREE_END)
            row_write(report, node);
        else
            group_write(report, node,
                        siblings == 1 || (depth == 0 && siblings <= FEW &&
                                          siblings_count(report, node->child) <= FEW),
                        depth);
    }
}

void report_tensors(const struct report *report)
{
    struct out *out = report->out;
    if (report->count == 0)
        out_text(out, "<p class=\"hint\">There are no tensors to show.</p>\n");
    if (report->count > REPORT_ROWS)
        out_print(out,
                  "<noscript><p class=\"notice\">Of more than %d tensors a page has no rows until "
                  "its script makes them. Without scripts, <code>safetensors stats</code> prints "
                  "them all, and the filters of <code>safetensors report</code> choose "
                  "some.</p></noscript>\n",
                  REPORT_ROWS);
    /* What the cells of a row are stands in each card in words. */
    if (report->count)
        out_print(out,
                  "<div class=\"heads\" aria-hidden=\"true\"><span>name</span><span>dtype</span>"
                  "<span>shape</span><span class=\"size\">size</span>%s</div>\n",
                  report->stats ? "<span>min \u2026 max</span><span>mean \u00b1 std</span>"
                                  "<span>histogram</span>"
                                : "");
    out_text(out, "<ul class=\"tree\" id=\"tree\">\n");
    if (report->count <= REPORT_ROWS)
        level_write(report, report->tree.first, 0);
    out_text(out, "</ul>\n");
}
