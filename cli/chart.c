/* SPDX-License-Identifier: Apache-2.0 */
#include "chart.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Fewer columns say nothing. */
#define COLUMNS_MIN 10

size_t chart_bar(char *text, double part, size_t columns, bool utf8)
{
    /* U+2588 is a whole block, and the characters behind it 7, 6, ... 1 eighths of one. */
    static const char *const eighths[] = {"",       "\u258f", "\u258e", "\u258d",
                                          "\u258c", "\u258b", "\u258a", "\u2589"};
    size_t steps = utf8 ? 8 : 1, used = 0;
    if (columns > CHART_COLUMNS)
        columns = CHART_COLUMNS;
    size_t filled = (size_t)(part * (double)(columns * steps) + 0.5);
    if (filled == 0 && part > 0)
        filled = 1;
    if (filled > columns * steps)
        filled = columns * steps;
    *text = '\0';
    for (; filled >= steps; filled -= steps, used++)
        strcat(text, utf8 ? "\u2588" : "#");
    if (filled > 0) {
        strcat(text, eighths[filled]);
        used++;
    }
    return used;
}

/* Room for the edges of a bin. */
struct edges {
    char low[24];
    char high[24];
};

/* Gives where a bin begins. */
static double edge_of(const struct chart *chart, size_t bin)
{
    double range = chart->high - chart->low, part = (double)bin / (double)chart->count;
    if (bin == chart->count)
        return chart->high;
    if (isinf(range)) /* of two numbers that are far apart */
        return chart->low * (1 - part) + chart->high * part;
    return chart->low + range / (double)chart->count * (double)bin;
}

static struct edges edges_of(const struct chart *chart, size_t bin, int digits)
{
    struct edges edges;
    snprintf(edges.low, sizeof edges.low, "%.*g", digits, edge_of(chart, bin));
    snprintf(edges.high, sizeof edges.high, "%.*g", digits, edge_of(chart, bin + 1));
    return edges;
}

/* Gives as many digits as tell the edges apart, which take up to 17. */
static int digits_choose(const struct chart *chart)
{
    for (int digits = 4; digits < 17; digits++) {
        bool differ = true;
        for (size_t i = 0; i < chart->count && differ; i++) {
            struct edges edges = edges_of(chart, i, digits);
            differ = strcmp(edges.low, edges.high) != 0;
        }
        if (differ)
            return digits;
    }
    return 17;
}

/* Gives how much of the longest bar stands for a count. One element is seen by its logarithm, too. */
static double bar_part(const struct chart *chart, uint64_t count, uint64_t most)
{
    if (chart->log)
        return log1p((double)count) / log1p((double)most);
    return (double)count / (double)most;
}

static void outside_print(struct out *out, uint64_t count, const char *where)
{
    if (count)
        out_print(out, "  %" PRIu64 " %s\n", count, where);
}

void chart_print(const struct chart *chart, struct out *out)
{
    int digits = digits_choose(chart), low_width = 0, high_width = 0, count_width = 0;
    uint64_t most = 1;
    for (size_t i = 0; i < chart->count; i++) {
        struct edges edges = edges_of(chart, i, digits);
        int low = (int)strlen(edges.low), high = (int)strlen(edges.high);
        low_width = low > low_width ? low : low_width;
        high_width = high > high_width ? high : high_width;
        most = chart->bins[i] > most ? chart->bins[i] : most;
    }
    count_width = snprintf(NULL, 0, "%" PRIu64, most);
    /* Two blanks, brackets, comma and blank, two blanks, and two before the bar. */
    size_t used = (size_t)(low_width + high_width + count_width) + 10;
    size_t columns = out->width > used + COLUMNS_MIN ? out->width - used : COLUMNS_MIN;

    outside_print(out, chart->below, "below");
    for (size_t i = 0; i < chart->count; i++) {
        char bar[CHART_BAR];
        struct edges edges = edges_of(chart, i, digits);
        out_print(out, "  [%*s, %*s%c  %*" PRIu64, low_width, edges.low, high_width, edges.high,
                  i + 1 == chart->count ? ']' : ')', count_width, chart->bins[i]);
        chart_bar(bar, bar_part(chart, chart->bins[i], most), columns, out->utf8);
        if (*bar) {
            out_text(out, "  ");
            out_style(out, STYLE_GROUP);
            out_text(out, bar);
            out_style(out, STYLE_PLAIN);
        }
        out_text(out, "\n");
    }
    outside_print(out, chart->above, "above");
}
