/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <fnmatch.h>
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

static bool regexes_compile(struct filter *filter, const struct verb *verb)
{
    const struct opt_list *regexes = &filter->options->regexes;
    filter->compiled = memory_new(regexes->count, sizeof *filter->compiled);
    for (size_t i = 0; i < regexes->count; i++) {
        const char *pattern = regexes->at[i];
        regex_t *regex = &filter->compiled[i];
        int fault = regcomp(regex, pattern, REG_EXTENDED | REG_NOSUB);
        if (fault == 0)
            continue;
        char reason[128];
        regerror(fault, regex, reason, sizeof reason);
        usage_error(verb, "--regex %s: %s", text_quote(pattern, strlen(pattern)).text, reason);
        while (i-- > 0)
            regfree(&filter->compiled[i]);
        free(filter->compiled);
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
    return regexes_compile(filter, verb);
}

void filter_release(struct filter *filter)
{
    for (size_t i = 0; i < filter->options->regexes.count; i++)
        regfree(&filter->compiled[i]);
    free(filter->compiled);
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

static bool globs_match(const struct opt_list *globs, const char *name)
{
    for (size_t i = 0; i < globs->count; i++)
        if (fnmatch(globs->at[i], name, 0) == 0)
            return true;
    return false;
}

static bool name_matches(const struct filter *filter, const char *name)
{
    const struct filter_options *options = filter->options;
    if (globs_match(&options->excludes, name))
        return false;
    if (options->globs.count == 0 && options->regexes.count == 0)
        return true;
    for (size_t i = 0; i < options->regexes.count; i++)
        if (regexec(&filter->compiled[i], name, 0, NULL, 0) == 0)
            return true;
    return globs_match(&options->globs, name);
}

static bool name_passes(const struct filter *filter, const st_tensor *tensor)
{
    if (!memchr(tensor->name, '\0', tensor->name_len))
        return name_matches(filter, tensor->name);
    /* The C library's patterns end at a NUL: they see \001 in its place. */
    char *name = memory_new((size_t)tensor->name_len + 1, 1);
    for (size_t i = 0; i < tensor->name_len; i++)
        name[i] = tensor->name[i] ? tensor->name[i] : '\1';
    bool matches = name_matches(filter, name);
    free(name);
    return matches;
}

static bool passes(const struct filter *filter, const st_header *header, const st_tensor *tensor)
{
    const struct opt_list *dtypes = &filter->options->dtypes;
    const char *code = st_header_dtype_code(header, tensor->dtype, NULL);
    bool dtype_passes = dtypes->count == 0;
    for (size_t i = 0; i < dtypes->count && !dtype_passes; i++)
        dtype_passes = strcasecmp(dtypes->at[i], code) == 0;
    return dtype_passes && name_passes(filter, tensor);
}

st_status filter_pick(const struct filter *filter, const st_header *header, bool by_name,
                      const st_tensor ***out, size_t *count, st_error *error)
{
    size_t all = st_header_count(header);
    uint32_t *order = NULL;
    if (by_name) {
        order = memory_new(all, sizeof *order);
        st_status status = st_header_sort(header, order, error);
        if (status != ST_OK) {
            free(order);
            return status;
        }
    }
    *out = memory_new(all, sizeof **out);
    *count = 0;
    for (size_t i = 0; i < all; i++) {
        const st_tensor *tensor = st_header_at(header, order ? order[i] : i);
        if (passes(filter, header, tensor))
            (*out)[(*count)++] = tensor;
    }
    free(order);
    return ST_OK;
}
