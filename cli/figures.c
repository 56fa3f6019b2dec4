/* SPDX-License-Identifier: Apache-2.0 */
#include "figures.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "chart.h"
#include "facts.h"
#include "listing.h"
#include "text.h"

/* Columns of a number on a terminal: "-1.234e-05", and "100.0%", "1.2M". */
#define NUMBER_WIDTH  10
#define PERCENT_WIDTH 6
#define COUNT_WIDTH   5
/* Columns grow with what stands in them up to here. */
#define COLUMN_MAX 40

uint64_t figures_infinite(const st_stats *stats)
{
    return stats->positive_infinity + stats->negative_infinity;
}

/* ------------------------------------------------------------------------------ numbers */

struct number number_exact(double value)
{
    struct number number;
    st_value as = {.kind = ST_KIND_FLOAT, .as.f = {value}};
    st_element_format(ST_F64, &as, number.text, sizeof number.text);
    return number;
}

struct number number_short(double value, int digits)
{
    struct number number;
    snprintf(number.text, sizeof number.text, "%.*g", digits, value);
    return number;
}

/* Prints an extreme value: as its dtype does where it is of the dtype's kind. A BOOL's counts as a
 * number, and a C64's is an absolute value. */
static struct number number_value(const st_stats *stats, const st_value *value)
{
    struct number number = {"-"};
    st_kind kind = st_dtype_kind(stats->dtype);
    if (value->kind == ST_KIND_BOOL || value->kind == ST_KIND_UINT)
        snprintf(number.text, sizeof number.text, "%" PRIu64, value->as.u);
    else if (value->kind == ST_KIND_INT)
        snprintf(number.text, sizeof number.text, "%" PRId64, value->as.i);
    else if (value->kind == ST_KIND_FLOAT)
        st_element_format(kind == ST_KIND_FLOAT ? stats->dtype : ST_F64, value, number.text,
                          sizeof number.text);
    return number;
}

/* The same for a column of the terminal's table. */
static struct number number_value_short(const st_stats *stats, const st_value *value)
{
    struct number number = number_value(stats, value);
    if (value->kind == ST_KIND_FLOAT)
        return number_short(value->as.f[0], 4);
    if (strlen(number.text) <= NUMBER_WIDTH)
        return number;
    return number_short(value->kind == ST_KIND_INT ? (double)value->as.i : (double)value->as.u, 4);
}

/* -------------------------------------------------------------------------------- table */

static void shape_of(const struct request *request, const uint64_t **shape, size_t *ndim)
{
    bool part = request->index != NULL;
    *shape = part ? request->region.shape : request->tensor->shape;
    *ndim = part ? request->region.out_ndim : request->tensor->ndim;
}

static size_t column_grow(size_t width, size_t need)
{
    return need > width && need <= COLUMN_MAX ? need : width;
}

void figures_fit(struct figures *figures, const struct request *request, const struct out *out)
{
    const uint64_t *shape;
    size_t ndim, len;
    const char *code =
        st_header_dtype_code(st_file_header(request->file), request->tensor->dtype, &len);
    shape_of(request, &shape, &ndim);
    figures->dtype_width =
        column_grow(figures->dtype_width, text_width(code, len, out->text_flags));
    figures->shape_width = column_grow(figures->shape_width, listing_shape_width(shape, ndim));
}

/* Prints a cell: its text behind a tab, or to the right of `width` columns on a terminal. */
static void cell(struct out *out, const char *text, size_t width, enum style style)
{
    size_t len = strlen(text);
    if (out->tty)
        out_blanks(out, 1 + (width > len ? width - len : 0));
    else
        out_text(out, "\t");
    if (style != STYLE_PLAIN)
        out_style(out, style);
    out_text(out, text);
    if (style != STYLE_PLAIN)
        out_style(out, STYLE_PLAIN);
}

static void cell_left(struct out *out, size_t width, size_t column)
{
    if (out->tty)
        out_blanks(out, column > width ? column - width : 0);
}

void figures_print_head(const struct figures *figures, struct out *out)
{
    static const char *const numbers[] = {"min", "max", "mean", "std"};
    out_style(out, STYLE_DIM);
    out_text(out, "dtype");
    cell_left(out, strlen("dtype"), figures->dtype_width);
    out_text(out, " shape");
    cell_left(out, strlen("shape"), figures->shape_width);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cell(out, numbers[i], NUMBER_WIDTH, STYLE_DIM);
    cell(out, "zeros", PERCENT_WIDTH, STYLE_DIM);
    cell(out, "NaN", COUNT_WIDTH, STYLE_DIM);
    cell(out, "Inf", COUNT_WIDTH, STYLE_DIM);
    for (size_t i = 0; i < figures->quantile_count; i++)
        cell(out, number_short(figures->quantiles[i], 6).text, NUMBER_WIDTH, STYLE_DIM);
    out_style(out, STYLE_DIM);
    out_text(out, "  name\n");
    out_style(out, STYLE_PLAIN);
}

static void count_cell(struct out *out, uint64_t count, bool is_anomaly)
{
    enum style style = !is_anomaly ? STYLE_PLAIN : count ? STYLE_ERROR : STYLE_DIM;
    struct number exact;
    snprintf(exact.text, sizeof exact.text, "%" PRIu64, count);
    cell(out, out->tty ? text_count(count).text : exact.text, COUNT_WIDTH, style);
}

static void double_cell(struct out *out, double value, bool is_there)
{
    struct number number = !is_there  ? (struct number){"-"}
                           : out->tty ? number_short(value, 4)
                                      : number_exact(value);
    cell(out, number.text, NUMBER_WIDTH, STYLE_PLAIN);
}

static void value_cell(struct out *out, const st_stats *stats, const st_value *value)
{
    struct number number = out->tty ? number_value_short(stats, value) : number_value(stats, value);
    cell(out, number.text, NUMBER_WIDTH, STYLE_PLAIN);
}

static void number_cells(const struct figures *figures, const st_stats *stats, struct out *out)
{
    bool is_there = stats->finite > 0;
    value_cell(out, stats, &stats->min);
    value_cell(out, stats, &stats->max);
    double_cell(out, stats->mean, is_there);
    double_cell(out, stats->std, is_there);
    if (out->tty)
        cell(out, text_percent(stats->zeros, stats->count).text, PERCENT_WIDTH, STYLE_PLAIN);
    else
        count_cell(out, stats->zeros, false);
    count_cell(out, stats->nan, true);
    count_cell(out, figures_infinite(stats), true);
    for (size_t i = 0; i < figures->quantile_count; i++)
        double_cell(out, stats->quantiles[i], is_there);
}

static void empty_cells(const struct figures *figures, struct out *out)
{
    static const size_t widths[] = {NUMBER_WIDTH,  NUMBER_WIDTH, NUMBER_WIDTH, NUMBER_WIDTH,
                                    PERCENT_WIDTH, COUNT_WIDTH,  COUNT_WIDTH};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        cell(out, "-", widths[i], STYLE_DIM);
    for (size_t i = 0; i < figures->quantile_count; i++)
        cell(out, "-", NUMBER_WIDTH, STYLE_DIM);
}

void figures_print_line(const struct figures *figures, const struct request *request,
                        const st_stats *stats, struct out *out)
{
    const uint64_t *shape;
    size_t ndim, len;
    const st_tensor *tensor = request->tensor;
    const char *code = st_header_dtype_code(st_file_header(request->file), tensor->dtype, &len);
    shape_of(request, &shape, &ndim);
    out_style(out, STYLE_DTYPE);
    out_escaped(out, code, len);
    out_style(out, STYLE_PLAIN);
    cell_left(out, text_width(code, len, out->text_flags), figures->dtype_width);
    out_text(out, out->tty ? " " : "\t");
    listing_print_shape(out, shape, ndim);
    cell_left(out, listing_shape_width(shape, ndim), figures->shape_width);
    if (stats)
        number_cells(figures, stats, out);
    else
        empty_cells(figures, out);
    out_text(out, out->tty ? "  " : "\t");
    out_escaped(out, tensor->name, tensor->name_len);
    if (request->index) {
        out_text(out, "[");
        out_escaped(out, request->index, request->index_len);
        out_text(out, "]");
    }
    out_text(out, "\n");
}

/* --------------------------------------------------------------------------------- card */

static void fact_text(struct out *out, const char *name, const char *text)
{
    fact_begin(out, name);
    out_print(out, "%s\n", text);
}

/* Prints a number of elements and its share of all; coloured where such elements are an anomaly. */
static void fact_share(struct out *out, const char *name, uint64_t count, const st_stats *stats,
                       bool is_anomaly)
{
    fact_begin(out, name);
    if (count && is_anomaly)
        out_style(out, STYLE_ERROR);
    out_print(out, "%" PRIu64, count);
    if (count)
        out_print(out, ", %s", text_percent(count, stats->count).text);
    if (count && is_anomaly)
        out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
}

void figures_print_counts(const st_stats *stats, struct out *out)
{
    fact_share(out, "zeros", stats->zeros, stats, false);
    fact_share(out, "negatives", stats->negatives, stats, false);
    fact_share(out, "NaN", stats->nan, stats, true);
    fact_share(out, "+Inf", stats->positive_infinity, stats, true);
    fact_share(out, "-Inf", stats->negative_infinity, stats, true);
}

void figures_print_moments(const st_stats *stats, struct out *out)
{
    fact_text(out, "min", number_value(stats, &stats->min).text);
    fact_text(out, "max", number_value(stats, &stats->max).text);
    fact_text(out, "mean", number_short(stats->mean, 7).text);
    fact_text(out, "std", number_short(stats->std, 7).text);
}

void figures_print_quantiles(const struct figures *figures, const st_stats *stats, struct out *out)
{
    char name[32];
    for (size_t i = 0; i < figures->quantile_count; i++) {
        snprintf(name, sizeof name, "q %g", figures->quantiles[i]);
        fact_text(out, name, number_short(stats->quantiles[i], 7).text);
    }
}

void figures_print_chart(const st_stats *stats, bool log, struct out *out)
{
    struct chart chart = {stats->bins,  stats->bin_count, stats->low, stats->high,
                          stats->below, stats->above,     log};
    chart_print(&chart, out);
}

void figures_print_card(const struct figures *figures, const struct request *request,
                        const st_stats *stats, struct out *out)
{
    facts_print(request, out);
    figures_print_counts(stats, out);
    if (stats->finite == 0)
        return;
    figures_print_moments(stats, out);
    figures_print_quantiles(figures, stats, out);
    if (stats->bin_count) {
        out_text(out, "\n");
        figures_print_chart(stats, false, out);
    }
}

/* --------------------------------------------------------------------------------- JSON */

/* Writes a number, or null where there is nothing finite. */
static void json_number(struct json *json, const char *key, double value, const st_stats *stats)
{
    json_key(json, key);
    if (stats->finite)
        json_double(json, value);
    else
        st_json_emit_null(json->emitter);
}

static void json_extreme(struct json *json, const char *key, const st_value *value)
{
    json_key(json, key);
    switch (value->kind) {
    case ST_KIND_BOOL:
    case ST_KIND_UINT: st_json_emit_u64(json->emitter, value->as.u); break;
    case ST_KIND_INT: st_json_emit_i64(json->emitter, value->as.i); break;
    case ST_KIND_FLOAT: json_double(json, value->as.f[0]); break;
    default: st_json_emit_null(json->emitter);
    }
}

static void json_quantiles(const struct figures *figures, const st_stats *stats, struct json *json)
{
    json_key(json, "quantiles");
    st_json_emit_array_begin(json->emitter);
    for (size_t i = 0; i < figures->quantile_count; i++) {
        st_json_emit_object_begin(json->emitter);
        json_key(json, "p");
        json_double(json, figures->quantiles[i]);
        json_number(json, "value", stats->quantiles[i], stats);
        st_json_emit_object_end(json->emitter);
    }
    st_json_emit_array_end(json->emitter);
}

static void json_histogram(const st_stats *stats, struct json *json)
{
    json_key(json, "histogram");
    if (stats->bin_count == 0) {
        st_json_emit_null(json->emitter);
        return;
    }
    st_json_emit_object_begin(json->emitter);
    json_key(json, "low");
    json_double(json, stats->low);
    json_key(json, "high");
    json_double(json, stats->high);
    json_u64(json, "below", stats->below);
    json_u64(json, "above", stats->above);
    json_key(json, "bins");
    st_json_emit_array_begin(json->emitter);
    for (uint32_t i = 0; i < stats->bin_count; i++)
        st_json_emit_u64(json->emitter, stats->bins[i]);
    st_json_emit_array_end(json->emitter);
    st_json_emit_object_end(json->emitter);
}

void figures_json(const struct figures *figures, const struct request *request,
                  const st_stats *stats, struct json *json)
{
    facts_json(request, json);
    json_key(json, "stats");
    if (!stats) {
        st_json_emit_null(json->emitter);
        return;
    }
    st_json_emit_object_begin(json->emitter);
    json_u64(json, "count", stats->count);
    json_u64(json, "finite", stats->finite);
    json_u64(json, "nan", stats->nan);
    json_u64(json, "positive_infinity", stats->positive_infinity);
    json_u64(json, "negative_infinity", stats->negative_infinity);
    json_u64(json, "zeros", stats->zeros);
    json_u64(json, "negatives", stats->negatives);
    json_extreme(json, "min", &stats->min);
    json_extreme(json, "max", &stats->max);
    json_number(json, "mean", stats->mean, stats);
    json_number(json, "std", stats->std, stats);
    json_quantiles(figures, stats, json);
    json_histogram(stats, json);
    st_json_emit_object_end(json->emitter);
}
