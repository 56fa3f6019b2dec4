/* SPDX-License-Identifier: Apache-2.0 */
/* Picks tensors by name and dtype. */
#ifndef CLI_FILTER_H
#define CLI_FILTER_H

#include <safetensors/edit.h>

#include "verb.h"

/* A tensor passes if any glob or regex matches its name, no exclude does, and its dtype is any of
 * those given; where none of a kind are given, that kind lets all pass. */
struct filter_options {
    struct opt_list globs;    /* ST_NAME_GLOB */
    struct opt_list regexes;  /* ST_NAME_REGEX */
    struct opt_list excludes; /* ST_NAME_GLOB */
    struct opt_list dtypes;   /* codes, in either case */
};

/* What the options of a verb that picks tensors begin with. */
struct filtered {
    struct common common;
    struct filter_options filter;
};

/* The rows that such a verb has besides its own. */
extern const struct opt filter_rows[];

struct filter {
    const struct filter_options *options;
    st_name_rule **globs; /* one for each of the options' */
    st_name_rule **regexes;
    st_name_rule **excludes;
};

/* Gives false, having complained, for a pattern or a dtype that is none. */
bool filter_init(struct filter *filter, const struct filter_options *options,
                 const struct verb *verb, const struct common *common);
void filter_release(struct filter *filter);
/* Frees what the parser put into the options. */
void filter_options_release(struct filter_options *options);

/* Tells whether there is nothing to pick by. */
bool filter_is_empty(const struct filter *filter);

/* Gives the tensors that pass, `*count` of them, ordered by offset or by name, to be freed with
 * free(). */
st_status filter_pick(const struct filter *filter, const st_header *header, bool by_name,
                      const st_tensor ***out, size_t *count, st_error *error);

#endif
