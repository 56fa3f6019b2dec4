/* SPDX-License-Identifier: Apache-2.0 */
/* What the page says of the file as a whole. */
#include <inttypes.h>
#include <string.h>

#include "html.h"
#include "report.h"
#include "text.h"

/* Tensors named in a notice; the order by which to find the rest is one of the script's. */
#define NAMED 10
/* So many shards are listed from the start; more are folded. */
#define SHARDS_OPEN 12

static uint64_t alignment_of(uint64_t offset)
{
    return offset & (0 - offset);
}

static void tile(struct out *out, const char *term, const char *large, uint64_t exact,
                 const char *unit)
{
    html_fact_begin(out, term);
    out_print(out, "<strong>%s</strong> <small>", large);
    html_count(out, exact, unit);
    out_text(out, "</small>");
    html_fact_end(out);
}

void report_tiles(const struct report *report)
{
    struct out *out = report->out;
    const struct totals *all = &report->all;
    html_fact_begin(out, report->filtered ? "Tensors chosen" : "Tensors");
    out_text(out, "<strong>");
    html_number(out, all->tensors);
    out_text(out, "</strong>");
    if (report->filtered) {
        out_text(out, " <small>of ");
        html_number(out, st_header_count(input_header(report->input)));
        out_text(out, "</small>");
    }
    html_fact_end(out);
    tile(out, "Parameters", text_count(all->elements).text, all->elements, "element");
    tile(out, "Data", text_bytes(all->bytes).text, all->bytes, "byte");
    html_fact_begin(out, "Dtype");
    size_t len = 0;
    const char *code = "none";
    if (report->dtype_count)
        code = st_header_dtype_code(input_header(report->input), report->dtypes[0].dtype, &len);
    out_text(out, "<strong>");
    html_text(out, code, len ? len : strlen(code), 0);
    out_text(out, "</strong>");
    if (report->dtype_count > 1)
        out_print(out, " <small>%s of the bytes, and %zu other%s</small>",
                  text_percent(report->dtypes[0].bytes, all->bytes).text, report->dtype_count - 1,
                  report->dtype_count > 2 ? "s" : "");
    html_fact_end(out);
}

/* ------------------------------------------------------------------------------- the file */

uint64_t report_offset(const struct report *report, const st_tensor *tensor)
{
    struct input_place place = input_place(report->input, tensor);
    return st_file_offset(place.file, place.tensor);
}

static void fact_size(struct out *out, const char *term, uint64_t bytes)
{
    html_fact_begin(out, term);
    html_count(out, bytes, "byte");
    if (bytes >= 1024)
        out_print(out, " <small>%s</small>", text_bytes(bytes).text);
    html_fact_end(out);
}

/* What every one of the tensors that have bytes starts at a multiple of, and how many start at none of their
 * element's size. */
static void alignment_fact(const struct report *report)
{
    uint64_t least = 0, misaligned = 0;
    struct out *out = report->out;
    for (size_t i = 0; i < report->count; i++) {
        const st_tensor *tensor = report->tensors[i];
        uint64_t offset = report_offset(report, tensor);
        uint64_t element = st_dtype_bits(tensor->dtype) / 8;
        if (st_tensor_size(tensor) == 0)
            continue;
        if (!least || alignment_of(offset) < least)
            least = alignment_of(offset);
        misaligned += element > 1 && offset % element != 0;
    }
    uint64_t data = 0;
    for (size_t i = 0; i < input_file_count(report->input); i++)
        data |= st_header_data_offset(st_file_header(input_file(report->input, i)));
    html_fact_begin(out, "Alignment");
    out_print(out, "data at a multiple of %" PRIu64, alignment_of(data));
    if (least)
        out_print(out, ", all tensors at one of %" PRIu64, least);
    if (misaligned)
        out_print(out, "; <strong>%" PRIu64 "</strong> not aligned to their elements", misaligned);
    html_fact_end(out);
}

void report_facts(const struct report *report)
{
    struct out *out = report->out;
    const st_header *header = input_header(report->input);
    bool single = !report->input->checkpoint;
    fact_size(out, single ? "File" : "Size", input_size(report->input));
    fact_size(out, single ? "Header" : "Headers", input_header_size(report->input));
    fact_size(out, "Data", st_header_data_size(header));
    if (single) {
        html_fact_begin(out, "Data offset");
        html_number(out, st_header_data_offset(header));
        html_fact_end(out);
    }
    alignment_fact(report);
    html_fact_begin(out, "Metadata");
    size_t entries = st_header_metadata_count(header);
    html_number(out, entries);
    out_text(out, entries == 1 ? " entry" : " entries");
    html_fact_end(out);
}

void report_shards(const struct report *report)
{
    struct out *out = report->out;
    const st_checkpoint *checkpoint = report->input->checkpoint;
    size_t count = checkpoint ? st_checkpoint_file_count(checkpoint) : 0;
    size_t shown = count < REPORT_ROWS ? count : REPORT_ROWS;
    if (!count)
        return;
    out_print(out, "<details class=\"shards\"%s><summary>", count <= SHARDS_OPEN ? " open" : "");
    html_count(out, count, "shard");
    out_text(out, "</summary><div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Shard</th>"
                  "<th scope=\"col\">Tensors</th><th scope=\"col\">Size</th></tr></thead>\n"
                  "<tbody>\n");
    for (size_t i = 0; i < shown; i++) {
        const char *name = input_shard(report->input, i);
        const st_file *file = st_checkpoint_file(checkpoint, i);
        out_text(out, "<tr><th scope=\"row\">");
        html_name(out, name, strlen(name));
        out_text(out, "</th><td>");
        html_number(out, st_file_count(file));
        out_print(out, "</td><td>%s</td></tr>\n", text_bytes(st_file_size(file)).text);
    }
    out_text(out, "</tbody>\n</table></div>");
    if (shown < count)
        out_print(out, "<p class=\"hint\">And %zu more.</p>", count - shown);
    out_text(out, "</details>\n");
}

/* ------------------------------------------------------------------------------ the dtypes */

/* One bar, of which each dtype has its share. */
static void shares_draw(const struct report *report)
{
    struct out *out = report->out;
    double x = 0;
    out_text(out, "<svg class=\"shares\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" "
                  "aria-hidden=\"true\">");
    for (size_t i = 0; i < report->dtype_count; i++) {
        double width = 1000 * (double)report->dtypes[i].bytes / (double)report->all.bytes;
        out_print(out, "<rect class=\"c%zu\" x=\"%.2f\" y=\"0\" width=\"%.2f\" height=\"10\"/>",
                  i % 8, x, width);
        x += width;
    }
    out_text(out, "</svg>\n");
}

void report_dtypes(const struct report *report)
{
    struct out *out = report->out;
    if (report->dtype_count == 0) {
        out_text(out, "<p class=\"hint\">There are no tensors to have any.</p>\n");
        return;
    }
    if (report->all.bytes)
        shares_draw(report);
    out_text(out,
             "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">Dtype</th>"
             "<th scope=\"col\">Tensors</th><th scope=\"col\">Elements</th>"
             "<th scope=\"col\">Size</th><th scope=\"col\">Share</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < report->dtype_count; i++) {
        const struct totals *totals = &report->dtypes[i];
        size_t len;
        const char *code = st_header_dtype_code(input_header(report->input), totals->dtype, &len);
        out_print(out, "<tr><th scope=\"row\"><i class=\"c%zu\"></i>", i % 8);
        html_text(out, code, len, 0);
        out_text(out, "</th><td>");
        html_number(out, totals->tensors);
        out_print(out, "</td><td>%s</td>", text_count(totals->elements).text);
        out_print(out, "<td>%s</td><td>", text_bytes(totals->bytes).text);
        html_words(out, text_percent(totals->bytes, report->all.bytes).text);
        out_text(out, "</td></tr>\n");
    }
    out_text(out, "</tbody>\n</table></div>\n");
}

/* ------------------------------------------------------------------------------ notices */

static bool is_sick(const st_stats *stats)
{
    return stats->nan || stats->positive_infinity || stats->negative_infinity;
}

void report_notices(const struct report *report)
{
    struct out *out = report->out;
    size_t sick = 0, named = 0;
    for (size_t i = 0; report->stats && i < report->count; i++)
        sick += is_sick(&report->stats[i]);
    if (!sick)
        return;
    out_print(out, "<p class=\"notice\" role=\"note\"><strong>%zu tensor%s</strong> ", sick,
              sick == 1 ? " holds" : "s hold");
    out_text(out, "NaN or infinite values: ");
    for (size_t i = 0; i < report->count && named < NAMED; i++) {
        if (!is_sick(&report->stats[i]))
            continue;
        out_text(out, named++ ? ", <code>" : "<code>");
        html_name(out, report->tensors[i]->name, report->tensors[i]->name_len);
        out_text(out, "</code>");
    }
    out_text(out, sick > named ? ", and others.</p>\n" : ".</p>\n");
}
