/* SPDX-License-Identifier: Apache-2.0 */
/* What all programs that compare take: how often to run, and which program answers for upstream. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "child.h"

typedef struct bench_options {
    unsigned runs;      /* -n; set to the default beforehand */
    const char *only;   /* -c CASE, or NULL */
    const char *once;   /* -o PROGRAM, or NULL */
    const char *python; /* -p and -s: both or none */
    const char *script;
    bench_child *upstream; /* serves; NULL: none was named */
    bench_child child;
} bench_options;

/* Reads the options of `letters` (getopt's), leaves optind at the first of the arguments, of which there are
 * at least one and at most `most`, and starts upstream's program. Ends with `usage` where they are wrong. */
void bench_options_read(bench_options *options, int argc, char **argv, const char *letters,
                        int most, const char *usage);
/* Ends upstream's program. */
void bench_options_end(bench_options *options);

#endif
