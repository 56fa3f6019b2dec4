/* SPDX-License-Identifier: Apache-2.0 */
/* What each strategy is expected to take. The figures are of one machine (4 cores of a Zen 4, a virtual disk of
 * 2.3 GB/s, ext4, Linux 6.18); what counts is their order, which faster disks only make clearer. Where more
 * than one run is given they were taken in turn. */
#include "io/strategy.h"
#include "base/checked.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* Asking costs 5 to 300 us; reading this much out of the page cache 2 ms, from a disk 7 ms and more. */
#define ASKS_FROM MIB(16)

/* Seconds for a byte. Out of the page cache into memory that is at hand, one thread: 6.5 GB/s. Between two places
 * in memory: 8 GB/s. */
#define COPY_CACHE  (1 / 6.5e9)
#define COPY_MEMORY (1 / 8e9)
/* A mapping that is in the page cache: 64 GB/s of pages made present. */
#define MAP_TOUCH (1 / 64e9)
/* What one byte costs the processor on its way from a disk through the page cache: 1 GiB took 2.1 s by one
 * thread, 1.3 s by four, of which 0.43 s are the disk's; more than two threads only wait for each other. */
#define CACHE_FILL    1.7e-9
#define CACHE_FILLERS 2u
/* The same without keeping it (RWF_DONTCACHE): 1.1 to 1.6 GB/s, one thread; and by faults of a mapping, 0.5 to
 * 1.2 s for 1 GiB, or ahead of them, 0.6 to 1.1 s. */
#define PASS_FILL     0.4e-9
#define FAULT_FILL    0.5e-9
#define POPULATE_FILL 0.3e-9
/* A system call that finds its bytes in the page cache. */
#define CALL 0.7e-6
/* Making and closing a ring. */
#define RING_SETUP 1e-4

/* Direct reads of one thread: 2.1 GB/s by 16 MiB; 1.7 GB/s by two threads of 8 MiB, 1.6 by four of 4 MiB. A ring of
 * 16 or 32 requests of 1 MiB: 2.0 to 2.5 GB/s; two rings of 32 into fresh memory 0.52 s for 1 GiB, of 16 0.66 s. */
#define DIRECT_UNIT    MIB(8)
#define DIRECT_THREADS 4u
#define DIRECT_SLOWER  1.05
#define RING_UNIT      MIB(1)
#define RING_DEPTH     16u
#define RING_DEPTH_MAX 32u
#define RING_HUGE      MIB(256)
#define RING_SHARED    MIB(64)

/* What a thread takes at a time of the page cache: enough to hide the taking, little enough that all end
 * together; and what is worth a trip. */
#define CACHE_UNIT MIB(1)
#define TRIP_UNIT  MIB(4)

/* Up to which gap two pieces are read as one where bytes are at hand: a system call against copying what is
 * between (bench/slice), and a step of a loop against the same. */
#define GAP_MEMORY 64u
#define GAP_CACHE  KIB(8)
/* Direct reads come in blocks. */
#define BLOCK 4096u

const char *st_io_name(uint32_t io)
{
    static const char *const names[ST__IO_COUNT] = {
        [ST_IO_AUTO] = "auto",         [ST_IO_PREAD] = "pread", [ST_IO_MAP] = "map",
        [ST_IO_DIRECT] = "direct",     [ST_IO_URING] = "uring", [ST_IO_DONTCACHE] = "dontcache",
        [ST_IO_POPULATE] = "populate",
    };
    return io < ST__IO_COUNT ? names[io] : NULL;
}

/* A device or server. */
typedef struct storage {
    double bandwidth; /* bytes per second, of all requests together */
    double trip;      /* seconds that one small request takes */
    double rate;      /* small requests per second, however many are in flight */
} storage;

/* Local: 10,500 requests of 2 KiB per second one at a time, 37,000 by four, 112,000 by 64. Network file systems
 * move 1 MiB at a time. Unknown: a call into somebody's source. */
static const storage storages[] = {
    [ST_LATENCY_UNKNOWN] = {1e9, 3.3e-5, 3e4},
    [ST_LATENCY_MEMORY] = {1 / COPY_CACHE, 1e-8, 1e8},
    [ST_LATENCY_LOCAL] = {2.3e9, 9.5e-5, 1e5},
    [ST_LATENCY_NETWORK] = {1e9, 1.05e-3, 950},
};

static const storage *storage_of(const st__facts *facts)
{
    return &storages[facts->latency <= ST_LATENCY_NETWORK ? facts->latency : ST_LATENCY_UNKNOWN];
}

static double requests_per_second(const storage *s, uint32_t in_flight)
{
    double rate = in_flight / s->trip;
    return rate < s->rate ? rate : s->rate;
}

/* Of the span, from 0 to 1; what nobody asked for counts as there. */
static double resident_part(const st__facts *facts)
{
    if (facts->resident == UINT64_MAX || facts->span == 0 || facts->resident >= facts->span)
        return 1;
    return (double)facts->resident / (double)facts->span;
}

static bool is_warm(const st__facts *facts)
{
    return resident_part(facts) >= 0.9;
}

bool st__strategy_is_direct(uint32_t io)
{
    return io == ST_IO_DIRECT || io == ST_IO_URING;
}

static bool is_mapped(uint32_t io)
{
    return io == ST_IO_MAP || io == ST_IO_POPULATE;
}

/* ------------------------------------------------------------------------------ what is used */

static uint32_t threads_for(const st__facts *facts, uint32_t io, uint64_t unit)
{
    uint64_t threads = facts->threads ? facts->threads : 1;
    if (io == ST_IO_URING) /* one submits and waits; of two, one can scatter what the other reads */
        threads =
            st__min_u64(threads, facts->piece < facts->size || facts->size >= RING_HUGE ? 2 : 1);
    if (io == ST_IO_DIRECT || io == ST_IO_DONTCACHE)
        threads = st__min_u64(threads, DIRECT_THREADS);
    if (facts->parallelism)
        threads = st__min_u64(threads, facts->parallelism);
    uint64_t parts = facts->span / unit + 1;
    return (uint32_t)st__min_u64(threads, parts);
}

static uint32_t depth_for(const st__facts *facts, uint32_t io)
{
    uint32_t depth = facts->size >= RING_HUGE ? RING_DEPTH_MAX : RING_DEPTH;
    if (io != ST_IO_URING)
        return 1;
    return facts->parallelism && facts->parallelism < depth ? facts->parallelism : depth;
}

static uint64_t unit_for(const st__facts *facts, uint32_t io)
{
    if (io == ST_IO_URING)
        return RING_UNIT;
    if (io == ST_IO_DIRECT)
        return DIRECT_UNIT;
    if (io == ST_IO_DONTCACHE)
        return TRIP_UNIT;
    return facts->latency == ST_LATENCY_LOCAL || facts->latency == ST_LATENCY_MEMORY ? CACHE_UNIT
                                                                                     : TRIP_UNIT;
}

/* The gap over which reading on takes as long as another request. */
static uint64_t gap_for(const st__facts *facts, uint32_t io, uint32_t in_flight)
{
    const storage *s = storage_of(facts);
    if (is_mapped(io))
        return GAP_MEMORY;
    if (facts->latency == ST_LATENCY_MEMORY)
        return GAP_MEMORY;
    if (facts->latency == ST_LATENCY_LOCAL && is_warm(facts) && !st__strategy_is_direct(io))
        return GAP_CACHE;
    return (uint64_t)(s->bandwidth / requests_per_second(s, in_flight));
}

static void choice_fill(const st__facts *facts, uint32_t io, st__choice *out)
{
    uint64_t unit = unit_for(facts, io);
    out->io = io;
    out->unit = (size_t)unit;
    out->threads = threads_for(facts, io, unit);
    out->depth = depth_for(facts, io);
    out->gap = gap_for(facts, io, out->threads * out->depth);
}

/* ------------------------------------------------------------------------------ what it takes */

typedef struct amount {
    double bytes; /* to be read */
    double requests;
} amount;

static uint64_t pieces_of(const st__facts *facts)
{
    return facts->piece && facts->piece < facts->size ? facts->size / facts->piece : 1;
}

/* Pieces one by one, or all of the span, as the gap has it. */
static amount amount_of(const st__facts *facts, const st__choice *choice)
{
    uint64_t pieces = pieces_of(facts);
    uint64_t between = facts->span > facts->size ? facts->span - facts->size : 0;
    uint64_t gap = pieces > 1 ? between / (pieces - 1) : between;
    double span = (double)facts->span, unit = (double)choice->unit;
    double apart = (double)facts->size;
    if (st__strategy_is_direct(choice->io))
        apart += (double)pieces * BLOCK;
    if (pieces == 1 || gap <= choice->gap || apart >= span)
        return (amount){pieces == 1 ? (double)facts->size : span, span / unit + 1};
    return (amount){apart, (double)pieces + apart / unit};
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* A byte's cost to the processor, of what is not in the page cache. */
static double fill_seconds(uint32_t io, uint32_t threads)
{
    double share = least(threads, CACHE_FILLERS);
    switch (io) {
    case ST_IO_PREAD: return CACHE_FILL / share;
    case ST_IO_DONTCACHE: return PASS_FILL / share;
    case ST_IO_MAP: return FAULT_FILL;
    case ST_IO_POPULATE: return POPULATE_FILL;
    default: return 0;
    }
}

/* A byte's cost to the processor, of what is. */
static double copy_seconds(const st__facts *facts, uint32_t io)
{
    if (!is_mapped(io))
        return COPY_CACHE;
    return facts->views ? MAP_TOUCH : COPY_MEMORY;
}

static double seconds_for(const st__facts *facts, const st__choice *choice)
{
    const storage *s = storage_of(facts);
    amount a = amount_of(facts, choice);
    uint32_t in_flight = choice->threads * choice->depth;
    double cold = st__strategy_is_direct(choice->io) ? 1 : 1 - resident_part(facts);
    double seconds = cold * a.bytes / s->bandwidth;
    seconds += cold * a.requests / requests_per_second(s, in_flight);
    if (choice->io == ST_IO_URING)
        return seconds + RING_SETUP;
    if (choice->io == ST_IO_DIRECT)
        return seconds * DIRECT_SLOWER;
    seconds += cold * a.bytes * fill_seconds(choice->io, choice->threads);
    seconds += (1 - cold) * a.bytes * copy_seconds(facts, choice->io) / choice->threads;
    return seconds + CALL * (is_mapped(choice->io) ? 1 : a.requests / choice->threads);
}

/* --------------------------------------------------------------------------------- the choice */

uint32_t st__strategy_instead(uint32_t io)
{
    switch (io) {
    case ST_IO_URING: return ST_IO_DIRECT;
    case ST_IO_DIRECT: return ST_IO_DONTCACHE;
    case ST_IO_POPULATE: return ST_IO_MAP;
    default: return ST_IO_PREAD;
    }
}

bool st__strategy_asks(uint64_t size)
{
    return size >= ASKS_FROM;
}

/* Reads as such are always to be had. */
static bool is_granted(const st__facts *facts, uint32_t io)
{
    return io == ST_IO_PREAD || !(facts->refused & ST__IO_BIT(io));
}

static uint32_t first_granted(const st__facts *facts, uint32_t io)
{
    while (!is_granted(facts, io))
        io = st__strategy_instead(io);
    return io;
}

/* Whether a copy would take more than half of the memory there is to spare. */
static bool memory_is_short(const st__facts *facts)
{
    return facts->memory != UINT64_MAX && facts->size > facts->memory / 2;
}

bool st__strategy_maps(const st__facts *facts)
{
    return facts->views && is_granted(facts, ST_IO_MAP) && is_warm(facts) &&
           facts->latency != ST_LATENCY_NETWORK;
}

/* A mapping, where one may be handed out and is worth it; ST_IO_AUTO: no. What is not in the page cache comes
 * sooner past it, at a fraction of the processor's time, than through a mapping that is filled ahead: 0.6 s against
 * 1.0 s for 1 GiB. A mapping needs no memory that cannot be taken back. */
static uint32_t view_choose(const st__facts *facts, const char **why)
{
    if (st__strategy_maps(facts)) {
        *why = facts->resident == UINT64_MAX ? "little enough to be mapped as it is"
                                             : "in the page cache, and may be mapped";
        return ST_IO_MAP;
    }
    if (!memory_is_short(facts))
        return ST_IO_AUTO;
    *why = "there is no memory for a copy, but the page cache can be mapped";
    if (facts->latency == ST_LATENCY_LOCAL && is_granted(facts, ST_IO_POPULATE))
        return ST_IO_POPULATE;
    return is_granted(facts, ST_IO_MAP) ? ST_IO_MAP : ST_IO_AUTO;
}

static void all_estimate(const st__facts *facts, st__choice *out)
{
    for (uint32_t io = ST_IO_PREAD; io < ST__IO_COUNT; io++) {
        st__choice one = {0};
        if (!is_granted(facts, io))
            continue;
        choice_fill(facts, io, &one);
        out->seconds[io] = seconds_for(facts, &one);
    }
}

/* Of reads into memory, in the order of the ladder where two are alike. Reads that keep nothing stand in for direct
 * ones, and not where half is in the page cache already. */
static uint32_t cheapest(const st__facts *facts, const double seconds[ST__IO_COUNT])
{
    uint32_t best = ST_IO_PREAD;
    if (!is_granted(facts, ST_IO_DIRECT) && !is_granted(facts, ST_IO_URING))
        return is_granted(facts, ST_IO_DONTCACHE) && resident_part(facts) < 0.5 ? ST_IO_DONTCACHE
                                                                                : ST_IO_PREAD;
    if (is_granted(facts, ST_IO_DIRECT) && seconds[ST_IO_DIRECT] < seconds[best])
        best = ST_IO_DIRECT;
    if (is_granted(facts, ST_IO_URING) && seconds[ST_IO_URING] <= seconds[best])
        best = ST_IO_URING;
    return best;
}

static const char *local_why(const st__facts *facts, uint32_t io)
{
    if (is_warm(facts))
        return "in the page cache";
    if (io == ST_IO_PREAD && resident_part(facts) > 0.1)
        return "on a local disk, enough of it in the page cache";
    if (io == ST_IO_PREAD)
        return "on a local disk; reads past the page cache are refused here or cost more";
    return facts->resident ? "on a local disk, not enough of it in the page cache"
                           : "on a local disk, nothing of it in the page cache";
}

static uint32_t auto_choose(const st__facts *facts, const double seconds[ST__IO_COUNT],
                            const char **why)
{
    if (facts->latency == ST_LATENCY_MEMORY) {
        *why = "in memory";
        return is_granted(facts, ST_IO_MAP) ? ST_IO_MAP : ST_IO_PREAD;
    }
    if (facts->views) {
        uint32_t io = view_choose(facts, why);
        if (io != ST_IO_AUTO)
            return io;
    }
    if (facts->latency != ST_LATENCY_LOCAL) {
        *why =
            facts->latency == ST_LATENCY_NETWORK ? "over a network" : "where it lies is not known";
        return ST_IO_PREAD;
    }
    if (facts->resident == UINT64_MAX) {
        *why =
            st__strategy_asks(facts->span) ? "what is in the page cache cannot be told" : "small";
        return ST_IO_PREAD;
    }
    uint32_t io = is_warm(facts) ? ST_IO_PREAD : cheapest(facts, seconds);
    *why = local_why(facts, io);
    return io;
}

void st__strategy_choose(const st__facts *facts, uint32_t forced, st__choice *out)
{
    st__choice choice = {0};
    uint32_t io;
    all_estimate(facts, &choice);
    if (forced == ST_IO_AUTO) {
        io = auto_choose(facts, choice.seconds, &choice.why);
    } else {
        io = first_granted(facts, forced);
        choice.why = io == forced ? "asked for" : "what was asked for cannot be had here";
    }
    choice_fill(facts, io, &choice);
    double bytes = amount_of(facts, &choice).bytes;
    choice.read = bytes < 0x1p63 ? (uint64_t)bytes : UINT64_MAX;
    *out = choice;
}
