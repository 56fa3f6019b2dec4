/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of two sides, told in the order of the first. Small ones are compared side by side, each by one thread; a
 * large one by all threads. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/team.h"
#include "inspect/compare.h"

/* Bytes of two tensors that are worth a team of their own. */
#define SMALL_SIZE (UINT64_C(2) << 20)
/* How many smaller ones are compared before they are told of. */
#define WINDOW 256u

/* ---------------------------------------------------------------------------------- items */

static const st_side_tensor *partner_of(const st__compare_run *run, size_t i)
{
    const uint32_t at = run->partners.at[0][i];
    return at ? &run->sides[1]->tensors[at - 1] : NULL;
}

/* Whether two dtypes can be compared as numbers, and are to be. */
static bool is_cast(const st__compare_run *run, const st_side_tensor *a, const st_side_tensor *b)
{
    return (run->options->flags & ST_COMPARE_CAST) && st_dtype_bits(a->tensor->dtype) &&
           st_dtype_bits(b->tensor->dtype);
}

/* Bytes of an unknown dtype may be more than those of another tensor of the same shape. */
static bool is_longer(const st_side_tensor *a, const st_side_tensor *b)
{
    return st_tensor_size(a->tensor) != st_tensor_size(b->tensor);
}

static bool item_has_values(const st__compare_run *run, size_t i)
{
    const st_side_tensor *a = &run->sides[0]->tensors[i], *b = partner_of(run, i);
    if (!b || run->renamed[i] || !(run->parts & ST_COMPARE_VALUES) ||
        (run->apart[i] & ST_APART_SHAPE))
        return false;
    return run->apart[i] & ST_APART_DTYPE ? is_cast(run, a, b) : !is_longer(a, b);
}

/* Bytes of both sides. */
static uint64_t item_bytes(const st__compare_run *run, size_t i)
{
    if (!item_has_values(run, i))
        return 0;
    return st_tensor_size(run->sides[0]->tensors[i].tensor) +
           st_tensor_size(partner_of(run, i)->tensor);
}

static st_status item_compare(st__compare_run *run, size_t i, st__pair_team team, st_deviation *out,
                              st_error *error)
{
    const st__pair pair = {{&run->sides[0]->tensors[i], partner_of(run, i)}, run->options};
    return st__pair_compare(&run->comparer, &pair, team, out, error);
}

/* What is known of a tensor that both have. */
static st_change item_change(const st__compare_run *run, size_t i, const st_deviation *values)
{
    const uint32_t flags = run->options->flags, places = ST_APART_OFFSET | ST_APART_ORDER;
    st_change change = {.kind = ST_CHANGE_CHANGED,
                        .a = &run->sides[0]->tensors[i],
                        .b = partner_of(run, i),
                        .parts = run->apart[i],
                        .values = values};
    const bool longer = !(change.parts & (ST_APART_DTYPE | ST_APART_SHAPE)) &&
                        (run->parts & ST_COMPARE_VALUES) && is_longer(change.a, change.b);
    if (longer || (values && values->different))
        change.parts |= ST_APART_VALUES;
    change.differs = (change.parts & ST_APART_SHAPE) || longer || (values && !values->same) ||
                     ((change.parts & ST_APART_DTYPE) && !is_cast(run, change.a, change.b)) ||
                     ((change.parts & places) && (flags & ST_COMPARE_PLACES));
    return change;
}

static void item_count(st__compare_run *run, const st_change *change)
{
    st_compare_summary *s = &run->summary;
    *(change->differs ? &s->changed : &s->same) += 1;
    s->moved += (change->parts & (ST_APART_OFFSET | ST_APART_ORDER)) != 0;
    if (!change->values)
        return;
    if (!(change->values->flags & ST_DEVIATION_BYTES))
        s->elements += change->values->count;
    s->different += change->values->different;
    s->beyond += change->values->beyond;
}

static st_status item_tell(st__compare_run *run, size_t i, const st_deviation *values,
                           st_error *error)
{
    st_change change = {.kind = ST_CHANGE_REMOVED, .differs = 1, .a = &run->sides[0]->tensors[i]};
    if (!partner_of(run, i)) {
        run->summary.removed++;
    } else if (run->renamed[i]) {
        change.kind = ST_CHANGE_RENAMED;
        change.b = partner_of(run, i);
        run->summary.renamed++;
    } else {
        change = item_change(run, i, values);
        item_count(run, &change);
    }
    return change.differs || change.parts ? st__change_tell(run, &change, error) : ST_OK;
}

/* --------------------------------------------------------------------------------- window */

typedef struct window_run {
    st__compare_run *run;
    size_t first;
} window_run;

static st_status window_unit(void *ctx, uint32_t worker, uint64_t unit, st_error *error)
{
    const window_run *w = ctx;
    const size_t i = w->first + (size_t)unit;
    if (!item_has_values(w->run, i))
        return ST_OK;
    return item_compare(w->run, i, (st__pair_team){worker, 1}, &w->run->window[unit], error);
}

/* Compares the small tensors from `first` on side by side, or the one there if it is large. Gives how many. */
static st_status window_compare(st__compare_run *run, size_t first, size_t *count, st_error *error)
{
    st__comparer *comparer = &run->comparer;
    const size_t all = run->sides[0]->tensor_count;
    uint64_t bytes = 0;
    for (*count = 0; *count < WINDOW && first + *count < all; ++*count) {
        const uint64_t size = item_bytes(run, first + *count);
        if (size > SMALL_SIZE)
            break;
        bytes += size;
    }
    if (*count == 0) {
        *count = 1;
        return item_compare(run, first, (st__pair_team){0, comparer->worker_count}, run->window,
                            error);
    }
    window_run w = {run, first};
    const st__shared_work work = {*count, window_unit, &w};
    uint64_t threads = st__min_u64(comparer->worker_count, bytes / SMALL_SIZE + 1);
    return st__team_share(comparer->context, (uint32_t)threads, &work, error);
}

/* What headers tell, as far as it is a difference: before anything is read, where no more is asked for. */
static st_status structure_tell(st__compare_run *run, st_error *error)
{
    const st_compare_summary before = run->summary;
    for (size_t i = 0; i < run->sides[0]->tensor_count && !run->ended; i++)
        ST_TRY(item_tell(run, i, NULL, error));
    if (!run->ended)
        run->summary = before;
    return ST_OK;
}

static st_status added_tell(st__compare_run *run, st_error *error)
{
    const st_side *b = run->sides[1];
    for (size_t i = 0; i < b->tensor_count && !run->ended; i++) {
        const st_change change = {.kind = ST_CHANGE_ADDED, .differs = 1, .b = &b->tensors[i]};
        if (run->partners.at[1][i])
            continue;
        run->summary.added++;
        ST_TRY(st__change_tell(run, &change, error));
    }
    return ST_OK;
}

static st_status items_tell(st__compare_run *run, st_error *error)
{
    size_t count;
    for (size_t i = 0; i < run->sides[0]->tensor_count && !run->ended; i += count) {
        ST_TRY(window_compare(run, i, &count, error));
        for (size_t k = 0; k < count && !run->ended; k++)
            ST_TRY(
                item_tell(run, i + k, item_has_values(run, i + k) ? &run->window[k] : NULL, error));
    }
    return ST_OK;
}

/* -------------------------------------------------------------------------------- tensors */

/* Bytes of tensors without a partner, as far as they are looked at. */
static uint64_t alone_bytes(const st__compare_run *run)
{
    uint64_t bytes = 0;
    if (!(run->options->flags & ST_COMPARE_RENAMES))
        return 0;
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < run->sides[side]->tensor_count; i++)
            if (!run->partners.at[side][i])
                bytes += st_tensor_size(run->sides[side]->tensors[i].tensor);
    return bytes;
}

static st_status tensors_tell(st__compare_run *run, st_error *error)
{
    const bool brief = run->options->flags & ST_COMPARE_BRIEF;
    uint64_t total = 0;
    for (size_t i = 0; i < run->sides[0]->tensor_count; i++)
        total += item_bytes(run, i);
    run->comparer.total = total;
    if (brief)
        ST_TRY(structure_tell(run, error));
    if (brief && !run->ended)
        ST_TRY(added_tell(run, error));
    if (run->ended)
        return ST_OK;
    ST_TRY(st__comparer_init(&run->comparer, total + alone_bytes(run), error));
    st_status status = ST_OK;
    if (run->options->flags & ST_COMPARE_RENAMES)
        status = st__renames_find(&run->comparer, &run->partners, run->renamed, error);
    if (status == ST_OK)
        status = items_tell(run, error);
    if (status == ST_OK)
        status = added_tell(run, error);
    if (status == ST_OK && !run->ended && run->comparer.total) /* all of it */
        status = st__comparer_tell(&run->comparer, 0, run->comparer.total, error);
    st__comparer_release(&run->comparer);
    return status;
}

/* Per tensor of a: its partner and two marks; per tensor of b its partner. */
st_status st__side_tensors_compare(st__compare_run *run, st_error *error)
{
    st_context *context = run->comparer.context;
    const size_t a = run->sides[0]->tensor_count, b = run->sides[1]->tensor_count;
    run->partners.at[0] = st__alloc_zeroed(context, a, sizeof(uint32_t));
    run->partners.at[1] = st__alloc_zeroed(context, b, sizeof(uint32_t));
    run->apart = st__alloc_zeroed(context, a, 1);
    run->renamed = st__alloc_zeroed(context, a, 1);
    run->window = st__alloc_zeroed(context, WINDOW, sizeof *run->window);
    st_status status;
    if (run->partners.at[0] && run->partners.at[1] && run->apart && run->renamed && run->window)
        status = st__partners_make(run, error);
    else
        status = st__fail_nomem(error, ((uint64_t)a + b) * sizeof(uint32_t) + 2 * (uint64_t)a +
                                           WINDOW * sizeof *run->window);
    if (status == ST_OK)
        status = tensors_tell(run, error);
    st__free(context, run->window, WINDOW * sizeof *run->window);
    st__free(context, run->renamed, a);
    st__free(context, run->apart, a);
    st__free(context, run->partners.at[1], b * sizeof(uint32_t));
    st__free(context, run->partners.at[0], a * sizeof(uint32_t));
    return status;
}
