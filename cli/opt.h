/* SPDX-License-Identifier: Apache-2.0 */
/* The one option parser. Long options take no abbreviations; options and arguments mix; "--" ends
 * the options. */
#ifndef CLI_OPT_H
#define CLI_OPT_H

#include "out.h"
#include "verb.h"

/* What the command line holds besides options; `at` is freed with free(). */
struct args {
    char **at;
    size_t count;
};

/* opt_parse's answer when there is work to do. */
#define OPT_GO (-1)

/*
 * Reads a verb's options into `values`, which begins with a struct common, and its arguments into
 * `args`. Gives OPT_GO, or the code to exit with: help was asked for and printed, or the usage is
 * wrong and the complaint printed.
 */
int opt_parse(const struct verb *verb, int argc, char **argv, void *values, struct args *args);

/* Complains of wrong usage, shows the right one, and gives EXIT_USAGE. */
int usage_error(const struct verb *verb, const char *format, ...) CLI_PRINTF(2, 3);

/* Gives option `index` of a verb, its own first and the common ones after; NULL after the last. */
const struct opt *opt_at(const struct verb *verb, size_t index);

/* Tells whether an option takes a value. */
bool opt_has_value(const struct opt *opt);

#endif
