/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memory.h"
#include "opt.h"
#include "text.h"

static bool regexes_compile(struct filter *filter, const struct verb *verb)
{
    filter->compiled = memory_new(filter->regexes->count, sizeof *filter->compiled);
    for (size_t i = 0; i < filter->regexes->count; i++) {
        const char *pattern = filter->regexes->at[i];
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

bool filter_init(struct filter *filter, const struct verb *verb, const struct common *common)
{
    for (size_t i = 0; i < filter->dtypes->count; i++) {
        const char *code = filter->dtypes->at[i];
        if (!common->unknown_dtypes && !dtype_is_known(code)) {
            usage_error(verb, "--dtype %s: no such dtype", text_quote(code, strlen(code)).text);
            return false;
        }
    }
    return regexes_compile(filter, verb);
}

void filter_release(struct filter *filter)
{
    for (size_t i = 0; i < filter->regexes->count; i++)
        regfree(&filter->compiled[i]);
    free(filter->compiled);
}

static bool name_matches(const struct filter *filter, const char *name)
{
    for (size_t i = 0; i < filter->globs->count; i++)
        if (fnmatch(filter->globs->at[i], name, 0) == 0)
            return true;
    for (size_t i = 0; i < filter->regexes->count; i++)
        if (regexec(&filter->compiled[i], name, 0, NULL, 0) == 0)
            return true;
    return false;
}

static bool name_passes(const struct filter *filter, const st_tensor *tensor)
{
    if (filter->globs->count == 0 && filter->regexes->count == 0)
        return true;
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

bool filter_passes(const struct filter *filter, const st_header *header, const st_tensor *tensor)
{
    const char *code = st_header_dtype_code(header, tensor->dtype, NULL);
    bool passes = filter->dtypes->count == 0;
    for (size_t i = 0; i < filter->dtypes->count && !passes; i++)
        passes = strcasecmp(filter->dtypes->at[i], code) == 0;
    return passes && name_passes(filter, tensor);
}
