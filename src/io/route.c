/* SPDX-License-Identifier: Apache-2.0 */
#include "io/route.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "io/os.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Reads up to this are done by the caller's thread alone, so that nobody asks how many CPUs there are. */
#define THREADS_FROM (UINT64_C(4) << 20)
#define THREADS_MAX  64u
/* What a piece may touch of the page cache beyond itself. */
#define PIECE_TOUCHES 8192u
/* Below this much staging memory aligned blocks are not worth having. */
#define DIRECT_MEMORY_LEAST (UINT64_C(1) << 20)

#define DIRECT_BITS (ST__IO_BIT(ST_IO_DIRECT) | ST__IO_BIT(ST_IO_URING))
#define MAPPED_BITS (ST__IO_BIT(ST_IO_MAP) | ST__IO_BIT(ST_IO_POPULATE))

/* ------------------------------------------------------------------------------------- facts */

/* What a read of this touches of the page cache, about: where pieces lie far apart, less than the span. */
static uint64_t touched_by(const st__wanted *wanted)
{
    uint64_t pieces = wanted->piece ? wanted->size / wanted->piece : 0, touched;
    if (!st__mul_u64(pieces, wanted->piece + PIECE_TOUCHES, &touched))
        return wanted->span;
    return st__min_u64(touched, wanted->span);
}

static uint32_t threads_allowed(const st_context *context, uint64_t touched)
{
    if (touched < THREADS_FROM)
        return 1;
    uint32_t threads = st__context_threads(context);
    return threads < THREADS_MAX ? threads : THREADS_MAX;
}

/* Whether the descriptor is needed, be it to be looked at. */
static bool is_held(const st__wanted *wanted, uint64_t touched, uint32_t latency)
{
    switch (wanted->io) {
    case ST_IO_DIRECT:
    case ST_IO_URING:
    case ST_IO_DONTCACHE: return true;
    case ST_IO_AUTO:
        return latency != ST_LATENCY_MEMORY && (wanted->told || st__strategy_asks(touched));
    default: return wanted->told && latency != ST_LATENCY_MEMORY;
    }
}

/* What the system knows of the file and of itself. */
static void facts_ask(st__route *route, const st__wanted *wanted)
{
    st__facts *facts = &route->facts;
    if (route->fd < 0) {
        facts->refused |= DIRECT_BITS | ST__IO_BIT(ST_IO_DONTCACHE);
        return;
    }
    if (st__os_resident(route->fd, wanted->offset, wanted->span, &facts->resident) != 0)
        facts->resident = UINT64_MAX;
    /* A third of a millisecond, and of no matter where nothing is copied. */
    if (wanted->views && !st__strategy_maps(facts))
        facts->memory = st__os_memory_available();
    facts->refused |= st__context_refused(route->context, route->device);
}

static void facts_begin(st__route *route, const st__wanted *wanted, const st_source_info *info)
{
    route->device = info->device;
    route->memory = wanted->memory;
    route->facts = (st__facts){.size = wanted->size,
                               .span = wanted->span,
                               .piece = wanted->piece,
                               .resident = UINT64_MAX,
                               .memory = UINT64_MAX,
                               .latency = info->latency,
                               .threads = 1,
                               .parallelism = info->parallelism,
                               .views = wanted->views};
    if (!wanted->memory && !wanted->views)
        route->facts.refused |= MAPPED_BITS;
}

/* ----------------------------------------------------------------------------------- opening */

static void route_choose(st__route *route, uint32_t io)
{
    st__strategy_choose(&route->facts, io, &route->choice);
    atomic_store_explicit(&route->io, route->choice.io, memory_order_relaxed);
}

/* Whether an errno tells of the file system, and so of the next file too, rather than of this moment. */
static bool is_lasting(int failed)
{
    return failed == EINVAL || failed == EOPNOTSUPP || failed == ENOSYS || failed == EPERM;
}

/* Opens what the choice needs, or makes another choice. */
static void direct_open(st__route *route, uint32_t io)
{
    if (route->choice.io != ST_IO_DIRECT && route->choice.io != ST_IO_URING)
        return;
    int failed = st__os_open_direct(route->fd, false, &route->direct_fd, &route->align);
    if (failed == 0)
        return;
    route->direct_fd = -1;
    if (is_lasting(failed))
        st__context_refuse(route->context, route->device, DIRECT_BITS);
    route->facts.refused |= DIRECT_BITS;
    route_choose(route, io);
}

st_status st__route_open(st__route *route, st_source *source, st_context *context,
                         const st__wanted *wanted, st_error *error)
{
    st_source_info info = {0};
    uint64_t touched = touched_by(wanted);
    memset(route, 0, sizeof *route);
    route->source = source;
    route->context = context;
    route->fd = route->direct_fd = -1;
    if (wanted->info)
        info = *wanted->info;
    else
        ST_TRY(st_source_query(source, &info, error));
    facts_begin(route, wanted, &info);
    route->facts.threads = threads_allowed(context, touched);
    if (is_held(wanted, touched, info.latency)) {
        ST_TRY(st__source_hold(source, &route->fd, error));
        facts_ask(route, wanted);
    }
    if (wanted->told)
        route->facts.memory = st__os_memory_available();
    if (st__context_memory(context) < DIRECT_MEMORY_LEAST)
        route->facts.refused |= DIRECT_BITS;
    /* What nobody would have asked for an explanation may not change the choice. */
    uint64_t resident = route->facts.resident;
    if (wanted->told && !st__strategy_asks(touched))
        route->facts.resident = UINT64_MAX;
    route_choose(route, wanted->io);
    route->facts.resident = resident;
    direct_open(route, wanted->io);
    return ST_OK;
}

void st__route_memory(st__route *route, const void *memory, uint64_t size, st_context *context)
{
    const st_source_info info = {.latency = ST_LATENCY_MEMORY};
    const st__wanted wanted = {.span = size, .size = size, .piece = size, .memory = memory};
    memset(route, 0, sizeof *route);
    route->context = context;
    route->fd = route->direct_fd = -1;
    facts_begin(route, &wanted, &info);
    route->facts.threads = threads_allowed(context, size);
    route_choose(route, ST_IO_AUTO);
}

void st__route_close(st__route *route)
{
    if (route->direct_fd >= 0)
        st__os_close(route->direct_fd);
    if (route->fd >= 0)
        st__source_let_go(route->source);
    route->direct_fd = route->fd = -1;
}

/* --------------------------------------------------------------------------------- on the way */

static uint32_t stand_in(const st__route *route, uint32_t io)
{
    do
        io = st__strategy_instead(io);
    while (io != ST_IO_PREAD && route->facts.refused & ST__IO_BIT(io));
    return io;
}

/* Threads find out at about the same time: whoever is first moves the route on, once. */
static void route_leave(st__route *route, uint32_t io)
{
    uint32_t expected = io;
    (void)atomic_compare_exchange_strong_explicit(&route->io, &expected, stand_in(route, io),
                                                  memory_order_relaxed, memory_order_relaxed);
}

void st__route_refuse(st__route *route, uint32_t io)
{
    st__context_refuse(route->context, route->device, ST__IO_BIT(io));
    route_leave(route, io);
}

void st__route_failed(st__route *route, uint32_t io, int failed)
{
    if (is_lasting(failed))
        st__route_refuse(route, io);
    else
        route_leave(route, io);
}

/* -------------------------------------------------------------------------------- explaining */

/* "1.5 GiB" and the like. */
static const char *size_text(char out[24], uint64_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    double value = (double)size;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    (void)snprintf(out, 24, unit && value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

/* Appends as far as there is room. */
static void text_add(st_explanation *out, const char *format, ...) ST__PRINTF(2, 3);

static void text_add(st_explanation *out, const char *format, ...)
{
    size_t used = strlen(out->text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(out->text + used, sizeof out->text - used, format, args);
    va_end(args);
}

static void explain_figures(const st__facts *facts, const st__choice *choice, st_explanation *out)
{
    char a[24], b[24], c[24];
    text_add(out, "%s: %s; %s to be delivered, %s to be read", st_io_name(choice->io), choice->why,
             size_text(a, facts->size), size_text(b, choice->read));
    if (facts->resident != UINT64_MAX && facts->span)
        text_add(out, ", %.0f %% of it in the page cache",
                 100.0 * (double)facts->resident / (double)facts->span);
    text_add(out, "; %" PRIu32 " %s, %" PRIu32 " %s of %s in flight for each", choice->threads,
             choice->threads == 1 ? "thread" : "threads", choice->depth,
             choice->depth == 1 ? "request" : "requests", size_text(c, choice->unit));
}

static void explain_others(const st__choice *choice, uint32_t refused, st_explanation *out)
{
    const char *before = "; about ";
    for (uint32_t io = ST_IO_PREAD; io < ST__IO_COUNT; io++)
        if (choice->seconds[io] > 0) {
            text_add(out, "%s%s %.2g s", before, st_io_name(io), choice->seconds[io]);
            before = ", ";
        }
    before = "; not to be had: ";
    for (uint32_t io = ST_IO_PREAD; io < ST__IO_COUNT; io++)
        if (refused & ~MAPPED_BITS & ST__IO_BIT(io)) {
            text_add(out, "%s%s", before, st_io_name(io));
            before = ", ";
        }
}

void st__route_explain(const st__route *route, st_explanation *out)
{
    uint32_t io = atomic_load_explicit(&route->io, memory_order_relaxed);
    st__facts facts = route->facts;
    st__choice choice = route->choice;
    if (io != choice.io) {
        facts.refused |= ST__IO_BIT(choice.io);
        st__strategy_choose(&facts, io, &choice);
        choice.why = "what was chosen turned out not to be had here";
    }
    *out = (st_explanation){.io = io,
                            .threads = choice.threads,
                            .depth = choice.depth,
                            .latency = facts.latency,
                            .unit = choice.unit,
                            .bytes = facts.size,
                            .read = choice.read,
                            .resident = facts.resident,
                            .memory = facts.memory};
    explain_figures(&facts, &choice, out);
    explain_others(&choice, facts.refused, out);
}
