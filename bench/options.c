/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"
#include "measure.h"

#include <stdlib.h>
#include <unistd.h>

void bench_options_read(bench_options *options, int argc, char **argv, const char *letters,
                        int most, const char *usage)
{
    for (int option; (option = getopt(argc, argv, letters)) != -1;) {
        switch (option) {
        case 'c': options->only = optarg; break;
        case 'n': options->runs = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'o': options->once = optarg; break;
        case 'p': options->python = optarg; break;
        case 's': options->script = optarg; break;
        default: options->runs = 0;
        }
    }
    int count = argc - optind;
    if (!options->runs || options->runs > BENCH_RUNS_MAX || count < 1 || count > most)
        bench_fail("usage: %s", usage);
    if (!options->python || !options->script)
        return;
    bench_child_start(&options->child,
                      (const char *[]){options->python, options->script, "serve", NULL});
    options->upstream = &options->child;
}

void bench_options_end(bench_options *options)
{
    if (options->upstream)
        bench_child_end(options->upstream);
}
