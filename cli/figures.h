/* SPDX-License-Identifier: Apache-2.0 */
/* How stats prints what the values of a tensor are: as a line of a table, as a card, as JSON. */
#ifndef CLI_FIGURES_H
#define CLI_FIGURES_H

#include <safetensors/inspect.h>

#include "json.h"
#include "request.h"

/* What all tensors of one output have in common. */
struct figures {
    const double *quantiles; /* the probabilities asked for */
    size_t quantile_count;
    size_t dtype_width; /* of the table's columns, on a terminal */
    size_t shape_width;
};

/* Widens the columns for what will stand in them. */
void figures_fit(struct figures *figures, const struct request *request, const struct out *out);
/* Prints the columns' names. */
void figures_print_head(const struct figures *figures, struct out *out);
/* Prints a line; `stats` NULL: the tensor's dtype is unknown. */
void figures_print_line(const struct figures *figures, const struct request *request,
                        const st_stats *stats, struct out *out);
/* Prints everything, one fact per line, the histogram last. */
void figures_print_card(const struct figures *figures, const struct request *request,
                        const st_stats *stats, struct out *out);
/* Parts of it, a line for each fact: the counts; what the finite values are, where there are any; the
 * histogram. */
void figures_print_counts(const st_stats *stats, struct out *out);
void figures_print_moments(const st_stats *stats, struct out *out);
void figures_print_quantiles(const struct figures *figures, const st_stats *stats, struct out *out);
void figures_print_chart(const st_stats *stats, bool log, struct out *out);
/* Writes the members of an object. */
void figures_json(const struct figures *figures, const struct request *request,
                  const st_stats *stats, struct json *json);

/* Room for a number of any kind. */
struct number {
    char text[ST_ELEMENT_TEXT_SIZE];
};

/* Gives a number in the fewest digits that make the same double, or in so many significant ones. */
struct number number_exact(double value);
struct number number_short(double value, int digits);

/* Gives how many elements are infinite, of either sign. */
uint64_t figures_infinite(const st_stats *stats);

#endif
