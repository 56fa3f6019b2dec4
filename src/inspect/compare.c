/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing two sides: the calls. */
#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "inspect/compare.h"

#include <inttypes.h>
#include <math.h>

/* -------------------------------------------------------------------------------- request */

static st_status options_refuse(st_error *error, const char *what, uint32_t bits)
{
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                    "st_compare_options: unknown %s 0x%" PRIx32, what, bits);
}

/* NaN is refused by asking what must hold, not what must not. */
static st_status compare_options_check(const st_compare_options *o, st_error *error)
{
    const uint32_t parts = ST_COMPARE_METADATA | ST_COMPARE_TENSORS | ST_COMPARE_VALUES;
    const uint32_t flags = ST_COMPARE_CLOSE | ST_COMPARE_EQUAL_NAN | ST_COMPARE_CAST |
                           ST_COMPARE_PLACES | ST_COMPARE_RENAMES | ST_COMPARE_BRIEF;
    ST_TRY(st__reserved_check(o->reserved, sizeof o->reserved / sizeof *o->reserved,
                              "st_compare_options", error));
    if (o->parts & ~parts)
        return options_refuse(error, "parts", o->parts & ~parts);
    if (o->flags & ~flags)
        return options_refuse(error, "flags", o->flags & ~flags);
    if (!(o->atol >= 0 && o->rtol >= 0 && isfinite(o->atol) && isfinite(o->rtol)))
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_compare_options: atol %g and rtol %g; both must be finite, and not "
                        "below 0",
                        o->atol, o->rtol);
    return ST_OK;
}

st_status st__change_tell(st__compare_run *run, const st_change *change, st_error *error)
{
    const st_compare_options *o = run->options;
    if ((o->flags & ST_COMPARE_BRIEF) && !change->differs)
        return ST_OK;
    run->summary.differences += change->differs;
    run->ended = change->differs && (o->flags & ST_COMPARE_BRIEF);
    if (!o->change || o->change(o->ctx, change))
        return ST_OK;
    return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the comparing was stopped",
                    run->comparer.name);
}

/* ---------------------------------------------------------------------------------- calls */

/* What the first file has, for what does not belong to any. */
static st_context *sides_context(const st_side *a, const st_side *b)
{
    const st_side *side = a->tensor_count ? a : b;
    return side->tensor_count ? side->tensors[0].file->context : NULL;
}

st_status st_sides_compare(const st_side *a, const st_side *b, const st_compare_options *options,
                           st_compare_summary *out, st_error *error)
{
    static const st_compare_options defaults = {0};
    const uint32_t all = ST_COMPARE_METADATA | ST_COMPARE_TENSORS | ST_COMPARE_VALUES;
    options = options ? options : &defaults;
    ST_TRY(compare_options_check(options, error));
    ST_TRY(st__reserved_check(a->reserved, 4, "st_side", error));
    ST_TRY(st__reserved_check(b->reserved, 4, "st_side", error));
    st__compare_run run = {
        .sides = {a, b},
        .options = options,
        .parts = options->parts ? options->parts : all,
        .comparer = {.context = sides_context(a, b),
                     .name = a->name,
                     .progress = options->progress},
        .partners = {.sides = {a, b}},
    };
    atomic_init(&run.comparer.done, 0);
    if (run.parts & ST_COMPARE_METADATA)
        ST_TRY(st__metadata_compare(&run, error));
    if ((run.parts & (ST_COMPARE_TENSORS | ST_COMPARE_VALUES)) && !run.ended)
        ST_TRY(st__side_tensors_compare(&run, error));
    *out = run.summary;
    return ST_OK;
}

static void side_release(st_context *context, const st_side *side)
{
    st__free(context, (void *)(uintptr_t)side->tensors, side->tensor_count * sizeof *side->tensors);
    st__free(context, (void *)(uintptr_t)side->metadata,
             side->metadata_count * sizeof *side->metadata);
}

/* A side of all that a file has. */
static st_status side_make(const st_file *file, st_side *out, st_error *error)
{
    const st_header *header = st_file_header(file);
    const size_t count = st_header_count(header), entries = st_header_metadata_count(header);
    st_side_tensor *tensors = st__alloc_zeroed(file->context, count, sizeof *tensors);
    st_metadata *metadata = st__alloc_zeroed(file->context, entries, sizeof *metadata);
    *out = (st_side){.name = st_file_name(file),
                     .tensors = tensors,
                     .tensor_count = count,
                     .metadata = metadata,
                     .metadata_count = entries};
    if (!tensors || !metadata) {
        side_release(file->context, out);
        return st__fail_nomem(error, (uint64_t)count * sizeof *tensors +
                                         (uint64_t)entries * sizeof *metadata);
    }
    for (size_t i = 0; i < count; i++)
        tensors[i] = (st_side_tensor){file, st_header_at(header, i)};
    for (size_t i = 0; i < entries; i++)
        metadata[i] = *st_header_metadata_at(header, i);
    return ST_OK;
}

st_status st_files_compare(const st_file *a, const st_file *b, const st_compare_options *options,
                           st_compare_summary *out, st_error *error)
{
    st_side sides[2];
    ST_TRY(side_make(a, &sides[0], error));
    st_status status = side_make(b, &sides[1], error);
    if (status == ST_OK) {
        status = st_sides_compare(&sides[0], &sides[1], options, out, error);
        side_release(b->context, &sides[1]);
    }
    side_release(a->context, &sides[0]);
    return status;
}

static st_status pair_refuse(const st__pair *pair, st_status status, const char *why,
                             st_error *error)
{
    const st_tensor *a = pair->sides[0]->tensor, *b = pair->sides[1]->tensor;
    return st__fail(error, status, ST_NO_OFFSET, "%s: tensor %s, and %s of %s: %s",
                    st_file_name(pair->sides[0]->file), st__quote(a->name, a->name_len).text,
                    st__quote(b->name, b->name_len).text, st_file_name(pair->sides[1]->file), why);
}

st_status st_tensors_compare(const st_side_tensor *a, const st_side_tensor *b,
                             const st_compare_options *options, st_deviation *out, st_error *error)
{
    st_compare_options how = {0};
    if (options)
        how = *options;
    ST_TRY(compare_options_check(&how, error));
    how.flags &= ~(uint32_t)ST_COMPARE_BRIEF; /* it would leave the numbers out */
    const st__pair pair = {{a, b}, &how};
    const uint64_t sizes[2] = {st_tensor_size(a->tensor), st_tensor_size(b->tensor)};
    const uint32_t apart = st__side_apart(a, b);
    const bool known = st_dtype_bits(a->tensor->dtype) && st_dtype_bits(b->tensor->dtype);
    if ((apart & ST_APART_DTYPE) && !known)
        return pair_refuse(&pair, ST_ERR_DTYPE_UNKNOWN, "the dtypes differ, and one is unknown",
                           error);
    if ((apart & ST_APART_SHAPE) || (!known && sizes[0] != sizes[1]))
        return pair_refuse(&pair, ST_ERR_ARGUMENT, "the shapes differ", error);
    st__comparer comparer = {.context = a->file->context,
                             .name = st_file_name(a->file),
                             .progress = how.progress,
                             .total = sizes[0] + sizes[1]};
    st_deviation deviation;
    atomic_init(&comparer.done, 0);
    ST_TRY(st__comparer_init(&comparer, comparer.total, error));
    const st__pair_team team = {0, comparer.worker_count};
    st_status status = st__pair_compare(&comparer, &pair, team, &deviation, error);
    if (status == ST_OK)
        status = st__comparer_tell(&comparer, 0, 0, error);
    st__comparer_release(&comparer);
    if (status == ST_OK)
        *out = deviation;
    return status;
}
