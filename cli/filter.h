/* SPDX-License-Identifier: Apache-2.0 */
/* Picks tensors by name and dtype. */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include <regex.h>
#include <safetensors/safetensors.h>

#include "verb.h"

/* A tensor passes if any pattern matches its name, and its dtype is any of those given; where none
 * are given, all do. */
struct filter {
    const struct opt_list *globs;   /* fnmatch's; "*" matches dots too */
    const struct opt_list *regexes; /* POSIX extended, found anywhere in the name */
    const struct opt_list *dtypes;  /* codes, in either case */
    regex_t *compiled;
};

/* Gives false, having complained, for a pattern or a dtype that is none. */
bool filter_init(struct filter *filter, const struct verb *verb, const struct common *common);
void filter_release(struct filter *filter);
bool filter_passes(const struct filter *filter, const st_header *header, const st_tensor *tensor);

#endif
