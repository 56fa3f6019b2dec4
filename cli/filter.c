/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memory.h"
#include "opt.h"
#include "text.h"

const struct opt filter_rows[] = {
    {OPT_LIST, 'g', "glob", offsetof(struct filtered, filter.globs), .arg = "PATTERN",
     .help = "Take tensors whose names match a shell pattern, whose * matches dots too. May be "
             "given again, and with --regex: a tensor needs to match one."},
    {OPT_LIST, 'r', "regex", offsetof(struct filtered, filter.regexes), .arg = "PATTERN",
     .help = "Take tensors in whose names an extended regular expression is found."},
    {OPT_LIST, 'x', "exclude", offsetof(struct filtered, filter.excludes), .arg = "PATTERN",
     .help = "Leave out tensors whose names match a shell pattern. May be given again."},
    {OPT_LIST, 'd', "dtype", offsetof(struct filtered, filter.dtypes), .arg = "DTYPE",
     .help = "Take tensors of this dtype. May be given again."},
    {0},
};

static void rules_free(st_name_rule **rules, const struct opt_list *patterns)
{
    for (size_t i = 0; rules && i < patterns->count; i++)
        st_name_rule_free(rules[i]);
    free(rules);
}

/* Gives false, having complained. */
static bool rules_make(const struct verb *verb, const struct opt_list *patterns, uint32_t kind,
                       st_name_rule ***out)
{
    st_error error;
    *out = memory_new(patterns->count, sizeof **out);
    for (size_t i = 0; i < patterns->count; i++)
        if (st_name_rule_new(patterns->at[i], NULL, kind, NULL, &(*out)[i], &error) != ST_OK) {
            usage_error(verb, "%s", error.message);
            return false;
        }
    return true;
}

static bool dtype_is_known(const char *code)
{
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++)
        if (strcasecmp(st_dtype_code(dtype), code) == 0)
            return true;
    return false;
}

bool filter_init(struct filter *filter, const struct filter_options *options,
                 const struct verb *verb, const struct common *common)
{
    *filter = (struct filter){.options = options};
    for (size_t i = 0; i < options->dtypes.count; i++) {
        const char *code = options->dtypes.at[i];
        if (!common->unknown_dtypes && !dtype_is_known(code)) {
            usage_error(verb, "--dtype %s: no such dtype", text_quote(code, strlen(code)).text);
            return false;
        }
    }
    if (rules_make(verb, &options->globs, ST_NAME_GLOB, &filter->globs) &&
        rules_make(verb, &options->regexes, ST_NAME_REGEX, &filter->regexes) &&
        rules_make(verb, &options->excludes, ST_NAME_GLOB, &filter->excludes))
        return true;
    filter_release(filter);
    return false;
}

void filter_release(struct filter *filter)
{
    rules_free(filter->globs, &filter->options->globs);
    rules_free(filter->regexes, &filter->options->regexes);
    rules_free(filter->excludes, &filter->options->excludes);
}

void filter_options_release(struct filter_options *options)
{
    free(options->globs.at);
    free(options->regexes.at);
    free(options->excludes.at);
    free(options->dtypes.at);
}

bool filter_is_empty(const struct filter *filter)
{
    const struct filter_options *options = filter->options;
    return options->globs.count == 0 && options->regexes.count == 0 &&
           options->excludes.count == 0 && options->dtypes.count == 0;
}

/* Stops at the first of them that matches. */
static st_status any_matches(st_name_rule *const *rules, size_t count, const st_tensor *tensor,
                             bool *matches, st_error *error)
{
    st_status status = ST_OK;
    for (size_t i = 0; i < count && status == ST_OK && !*matches; i++)
        status = st_name_rule_match(rules[i], tensor->name, tensor->name_len, matches, error);
    return status;
}

static st_status name_passes(const struct filter *filter, const st_tensor *tensor, bool *out,
                             st_error *error)
{
    const struct filter_options *options = filter->options;
    bool excluded = false;
    *out = options->globs.count == 0 && options->regexes.count == 0;
    st_status status =
        any_matches(filter->excludes, options->excludes.count, tensor, &excluded, error);
    if (status == ST_OK)
        status = any_matches(filter->regexes, options->regexes.count, tensor, out, error);
    if (status == ST_OK)
        status = any_matches(filter->globs, options->globs.count, tensor, out, error);
    *out = *out && !excluded;
    return status;
}

static st_status passes(const struct filter *filter, const st_header *header,
                        const st_tensor *tensor, bool *out, st_error *error)
{
    const struct opt_list *dtypes = &filter->options->dtypes;
    const char *code = st_header_dtype_code(header, tensor->dtype, NULL);
    bool dtype_passes = dtypes->count == 0;
    for (size_t i = 0; i < dtypes->count && !dtype_passes; i++)
        dtype_passes = strcasecmp(dtypes->at[i], code) == 0;
    *out = false;
    return dtype_passes ? name_passes(filter, tensor, out, error) : ST_OK;
}

st_status filter_pick(const struct filter *filter, const st_header *header, bool by_name,
                      const st_tensor ***out, size_t *count, st_error *error)
{
    size_t all = st_header_count(header);
    st_status status = ST_OK;
    uint32_t *order = by_name ? memory_new(all, sizeof *order) : NULL;
    if (by_name)
        status = st_header_sort(header, order, error);
    const st_tensor **picked = memory_new(all, sizeof *picked);
    size_t found = 0;
    for (size_t i = 0; i < all && status == ST_OK; i++) {
        const st_tensor *tensor = st_header_at(header, order ? order[i] : i);
        bool wanted;
        status = passes(filter, header, tensor, &wanted, error);
        if (status == ST_OK && wanted)
            picked[found++] = tensor;
    }
    free(order);
    if (status != ST_OK) {
        free(picked);
        return status;
    }
    *out = picked;
    *count = found;
    return ST_OK;
}
