/* SPDX-License-Identifier: Apache-2.0 */
/* The check of a whole file: the parser's deviations, judged and counted. */
#include <safetensors/inspect.h>

#include "base/context.h"
#include "base/error.h"
#include "format/header.h"
#include "io/os.h"
#include "io/source.h"

#include <string.h>

typedef struct check_run {
    st_source *source;
    uint32_t flags;
    st_finding_fn finding;
    void *ctx;
    uint64_t counts[ST_SEVERITY_NOTE + 1]; /* of findings, by severity */
} check_run;

static st_status check_read(void *ctx, uint64_t offset, void *dst, size_t size, st_error *error)
{
    const check_run *run = ctx;
    return st_source_read(run->source, offset, dst, size, error);
}

static bool check_report(void *ctx, const st__deviation *deviation)
{
    check_run *run = ctx;
    const st_rule *rule = st_rule_at((size_t)deviation->rule);
    int32_t severity = st__rule_severity(deviation->rule, run->flags);
    bool error = severity == ST_SEVERITY_ERROR;
    run->counts[severity]++;
    if (!run->finding)
        return true;
    st_finding finding = {
        .rule = rule,
        .severity = severity,
        .status = error ? rule->status : ST_OK,
        .offset = deviation->offset,
        .name = deviation->name,
        .name_len = deviation->name_len,
        .message = deviation->message,
    };
    return run->finding(run->ctx, &finding);
}

st_status st_check(st_source *source, const st_open_options *options, st_finding_fn finding,
                   void *ctx, st_check_summary *out, st_error *error)
{
    ST_TRY(st__options_check(options, error));
    st_source_info info;
    ST_TRY(st_source_query(source, &info, error));
    check_run run = {.source = source, .finding = finding, .ctx = ctx};
    run.flags = options ? options->flags : 0;
    st__header_input input = {
        .read = check_read,
        .ctx = &run,
        .file_size = info.size,
        .name = st_source_name(source),
    };
    st__os_random(input.hash_key, sizeof input.hash_key);
    st__sink sink = {.report = check_report, .ctx = &run, .below = ST__STAGES};
    st_check_summary summary = {0};
    ST_TRY(st__header_check(&input, options, &sink, &summary, error));
    summary.errors = run.counts[ST_SEVERITY_ERROR];
    summary.warnings = run.counts[ST_SEVERITY_WARNING];
    summary.notes = run.counts[ST_SEVERITY_NOTE];
    if (out)
        *out = summary;
    return ST_OK;
}
