/* SPDX-License-Identifier: Apache-2.0 */
/* Bars made of characters: of a histogram, and of progress. */
#ifndef CLI_CHART_H
#define CLI_CHART_H

#include "out.h"

/* The most columns that a bar has, and the bytes of its text. */
#define CHART_COLUMNS 60
#define CHART_BAR     (3 * CHART_COLUMNS + 1)

/* Writes a bar of `part` (0 to 1) of so many columns into `text`: eighths of blocks, or #. Anything
 * above 0 is seen. Gives the columns used. */
size_t chart_bar(char *text, double part, size_t columns, bool utf8);

/* A histogram: `count` bins of equal width from `low` to `high`. */
struct chart {
    const uint64_t *bins;
    size_t count;
    double low;
    double high;
    uint64_t below; /* what lies outside */
    uint64_t above;
    bool
        log; /* bars are as long as the logarithms of what they stand for, so that few are seen beside many */
};

/* Draws one line per bin: its range, what is in it, and a bar. */
void chart_print(const struct chart *chart, struct out *out);

#endif
