/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of a strategy: what must come out in each regime, and what holds in all of them. */
#include "support/check.h"

#include "io/strategy.h"

#include <string.h>

#define KIB(n)  ((uint64_t)(n) << 10)
#define MIB(n)  ((uint64_t)(n) << 20)
#define GIB(n)  ((uint64_t)(n) << 30)
#define TIB(n)  ((uint64_t)(n) << 40)
#define UNKNOWN UINT64_MAX

#define BIT(io)   ST__IO_BIT(ST_IO_##io)
#define NO_DIRECT (BIT(DIRECT) | BIT(URING))
#define NO_VIEWS  (BIT(MAP) | BIT(POPULATE))

/* A contiguous range, `part` hundredths of which are in the page cache; -1: unknown. */
static st__facts whole(uint64_t size, uint32_t latency, int part)
{
    return (st__facts){.size = size,
                       .span = size,
                       .piece = size,
                       .resident = part < 0 ? UNKNOWN : (size + 99) / 100 * (uint64_t)part,
                       .memory = UNKNOWN,
                       .latency = latency,
                       .threads = 4,
                       .refused = NO_VIEWS};
}

/* One `share`-th of a span, in pieces. */
static st__facts strided(uint64_t span, uint64_t share, uint64_t piece, int part)
{
    st__facts facts = whole(span, ST_LATENCY_LOCAL, part);
    facts.size = span / share;
    facts.piece = piece;
    return facts;
}

static st__choice choose(const st__facts *facts, uint32_t forced)
{
    st__choice choice;
    st__strategy_choose(facts, forced, &choice);
    return choice;
}

static uint32_t choose_io(const st__facts *facts)
{
    return choose(facts, ST_IO_AUTO).io;
}

/* ------------------------------------------------------------------------------------ regimes */

typedef struct regime {
    const char *text;
    uint32_t latency;
    int part; /* hundredths in the page cache */
    uint32_t refused;
    uint32_t io; /* that must be chosen */
} regime;

static const regime regimes[] = {
    {"cold", ST_LATENCY_LOCAL, 0, NO_VIEWS, ST_IO_URING},
    {"cold, no ring", ST_LATENCY_LOCAL, 0, NO_VIEWS | BIT(URING), ST_IO_DIRECT},
    {"cold, no direct reads", ST_LATENCY_LOCAL, 0, NO_VIEWS | NO_DIRECT, ST_IO_DONTCACHE},
    {"cold, nothing but reads", ST_LATENCY_LOCAL, 0, NO_VIEWS | NO_DIRECT | BIT(DONTCACHE),
     ST_IO_PREAD},
    {"half warm, no direct reads", ST_LATENCY_LOCAL, 60, NO_VIEWS | NO_DIRECT, ST_IO_PREAD},
    {"nearly cold", ST_LATENCY_LOCAL, 20, NO_VIEWS, ST_IO_URING},
    {"nearly warm", ST_LATENCY_LOCAL, 90, NO_VIEWS, ST_IO_PREAD},
    {"warm", ST_LATENCY_LOCAL, 100, NO_VIEWS, ST_IO_PREAD},
    {"not to be told", ST_LATENCY_LOCAL, -1, NO_VIEWS, ST_IO_PREAD},
    {"network, cold", ST_LATENCY_NETWORK, 0, NO_VIEWS, ST_IO_PREAD},
    {"network, warm", ST_LATENCY_NETWORK, 100, NO_VIEWS, ST_IO_PREAD},
    {"unknown", ST_LATENCY_UNKNOWN, 0, NO_VIEWS, ST_IO_PREAD},
    {"a file in memory", ST_LATENCY_MEMORY, -1, NO_VIEWS, ST_IO_PREAD},
    {"memory", ST_LATENCY_MEMORY, -1, 0, ST_IO_MAP},
};

/* From 16 MiB to 1 TiB, by any number of threads. */
static void test_regimes(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {MIB(16), MIB(100), GIB(1), GIB(40), TIB(1)};
    static const uint32_t threads[] = {1, 2, 4, 16, 64};
    for (size_t i = 0; i < sizeof regimes / sizeof *regimes; i++)
        for (size_t k = 0; k < 25; k++) {
            const regime *r = &regimes[i];
            st__facts facts = whole(sizes[k / 5], r->latency, r->part);
            facts.refused = r->refused;
            facts.threads = threads[k % 5];
            st__choice choice = choose(&facts, ST_IO_AUTO);
            if (choice.io != r->io)
                print_error("%s: %s, %s\n", r->text, st_io_name(choice.io), choice.why);
            assert_int_equal(choice.io, r->io);
        }
}

/* Half of it in the page cache: past it, where few threads would have to fill the rest of it. */
static void test_half(void **state)
{
    (void)state;
    st__facts facts = whole(GIB(1), ST_LATENCY_LOCAL, 50);
    facts.threads = 1;
    assert_int_equal(choose_io(&facts), ST_IO_URING);
    facts.resident = facts.size / 100 * 80;
    facts.threads = 16;
    assert_int_equal(choose_io(&facts), ST_IO_PREAD);
    assert_non_null(strstr(choose(&facts, ST_IO_AUTO).why, "enough of it in the page cache"));
}

/* What must have a mapping handed out, if it may be. */
static void test_views(void **state)
{
    (void)state;
    st__facts facts = whole(GIB(1), ST_LATENCY_LOCAL, 100);
    facts.refused = 0;
    facts.views = true;
    facts.memory = GIB(8);
    assert_int_equal(choose_io(&facts), ST_IO_MAP);
    facts.resident = 0;
    assert_int_equal(choose_io(&facts), ST_IO_URING);
    facts.memory = GIB(2);
    assert_int_equal(choose_io(&facts), ST_IO_URING);
    /* A copy would take too much: pages of the cache can be had again. */
    facts.memory = GIB(2) - 2;
    assert_int_equal(choose_io(&facts), ST_IO_POPULATE);
    assert_non_null(strstr(choose(&facts, ST_IO_AUTO).why, "no memory for a copy"));
    facts.refused = BIT(POPULATE);
    assert_int_equal(choose_io(&facts), ST_IO_MAP);
    facts.refused = BIT(MAP) | BIT(POPULATE);
    assert_int_equal(choose_io(&facts), ST_IO_URING);
    facts.refused = BIT(POPULATE);
    facts.memory = UNKNOWN;
    assert_int_equal(choose_io(&facts), ST_IO_URING);
    /* Faults over a network are slow. */
    facts.refused = 0;
    facts.latency = ST_LATENCY_NETWORK;
    facts.resident = facts.size;
    assert_int_equal(choose_io(&facts), ST_IO_PREAD);
    facts.latency = ST_LATENCY_LOCAL;
    facts.resident = UNKNOWN;
    assert_int_equal(choose_io(&facts), ST_IO_MAP);
    facts.views = false;
    assert_int_equal(choose_io(&facts), ST_IO_PREAD);
}

/* ------------------------------------------------------------------------------------- forced */

/* Whatever the facts, what is asked for is taken, or what the ladder has for it. */
static void test_forced(void **state)
{
    (void)state;
    static const struct {
        uint32_t forced, refused, io;
    } rows[] = {
        {ST_IO_PREAD, 0, ST_IO_PREAD},
        {ST_IO_MAP, 0, ST_IO_MAP},
        {ST_IO_DIRECT, 0, ST_IO_DIRECT},
        {ST_IO_URING, 0, ST_IO_URING},
        {ST_IO_DONTCACHE, 0, ST_IO_DONTCACHE},
        {ST_IO_POPULATE, 0, ST_IO_POPULATE},
        {ST_IO_URING, BIT(URING), ST_IO_DIRECT},
        {ST_IO_URING, NO_DIRECT, ST_IO_DONTCACHE},
        {ST_IO_URING, NO_DIRECT | BIT(DONTCACHE), ST_IO_PREAD},
        {ST_IO_DIRECT, BIT(DIRECT), ST_IO_DONTCACHE},
        {ST_IO_DONTCACHE, BIT(DONTCACHE), ST_IO_PREAD},
        {ST_IO_POPULATE, BIT(POPULATE), ST_IO_MAP},
        {ST_IO_POPULATE, NO_VIEWS, ST_IO_PREAD},
        {ST_IO_MAP, BIT(MAP), ST_IO_PREAD},
        {ST_IO_PREAD, ~0u, ST_IO_PREAD},
        {ST_IO_URING, ~0u, ST_IO_PREAD},
        {ST_IO_AUTO, ~0u, ST_IO_PREAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (uint32_t latency = 0; latency <= ST_LATENCY_NETWORK + 1; latency++)
            for (int part = -1; part <= 100; part += 101) {
                st__facts facts = whole(latency ? GIB(1) : 100, latency, part);
                facts.refused = rows[i].refused;
                st__choice choice = choose(&facts, rows[i].forced);
                assert_int_equal(choice.io, rows[i].io);
                const char *why = rows[i].forced == rows[i].io ? "asked for" : "cannot be had here";
                if (rows[i].forced != ST_IO_AUTO)
                    assert_non_null(strstr(choice.why, why));
            }
}

static void test_ladder(void **state)
{
    (void)state;
    static const uint32_t instead[ST__IO_COUNT] = {
        [ST_IO_AUTO] = ST_IO_PREAD,   [ST_IO_PREAD] = ST_IO_PREAD,
        [ST_IO_MAP] = ST_IO_PREAD,    [ST_IO_DIRECT] = ST_IO_DONTCACHE,
        [ST_IO_URING] = ST_IO_DIRECT, [ST_IO_DONTCACHE] = ST_IO_PREAD,
        [ST_IO_POPULATE] = ST_IO_MAP,
    };
    for (uint32_t io = 0; io < ST__IO_COUNT; io++)
        assert_int_equal(st__strategy_instead(io), instead[io]);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"auto",  "pread",     "map",     "direct",
                                        "uring", "dontcache", "populate"};
    for (uint32_t io = 0; io < ST__IO_COUNT; io++)
        assert_string_equal(st_io_name(io), names[io]);
    assert_null(st_io_name(ST__IO_COUNT));
    assert_null(st_io_name(UINT32_MAX));
}

static void test_asks(void **state)
{
    (void)state;
    assert_false(st__strategy_asks(0));
    assert_false(st__strategy_asks(MIB(16) - 1));
    assert_true(st__strategy_asks(MIB(16)));
    assert_true(st__strategy_asks(UINT64_MAX));
}

/* -------------------------------------------------------------------------------------- gaps */

/* Warm reads merge over little, cold ones over much, the more the fewer are in flight; mappings over what
 * costs less than a step of the loop. */
static void test_gaps(void **state)
{
    (void)state;
    st__facts warm = strided(GIB(1), 8, KIB(2), 100), cold = strided(GIB(1), 8, KIB(2), 0);
    cold.threads = warm.threads = 1;
    cold.refused = 0;
    assert_int_equal(choose(&warm, ST_IO_PREAD).gap, KIB(8));
    assert_in_range(choose(&cold, ST_IO_PREAD).gap, KIB(150), KIB(250));
    assert_in_range(choose(&cold, ST_IO_DIRECT).gap, KIB(150), KIB(250));
    assert_in_range(choose(&warm, ST_IO_DIRECT).gap, KIB(150), KIB(250));
    assert_in_range(choose(&cold, ST_IO_URING).gap, KIB(10), KIB(40));
    cold.threads = 4;
    assert_in_range(choose(&cold, ST_IO_DIRECT).gap, KIB(40), KIB(80));
    cold.threads = 64;
    assert_in_range(choose(&cold, ST_IO_PREAD).gap, KIB(10), KIB(40));
    assert_int_equal(choose(&cold, ST_IO_MAP).gap, 64);
    assert_int_equal(choose(&cold, ST_IO_POPULATE).gap, 64);
    cold.latency = ST_LATENCY_NETWORK;
    assert_in_range(choose(&cold, ST_IO_AUTO).gap, KIB(900), MIB(4));
    cold.latency = ST_LATENCY_MEMORY;
    assert_int_equal(choose(&cold, ST_IO_AUTO).gap, 64);
    cold.latency = ST_LATENCY_UNKNOWN;
    assert_in_range(choose(&cold, ST_IO_AUTO).gap, KIB(16), KIB(64));
}

/* Of a strided read all of the span is read where gaps are small, and little more than the pieces where
 * they are not. */
static void test_strided(void **state)
{
    (void)state;
    for (uint64_t piece = 64; piece <= KIB(64); piece *= 2)
        for (uint64_t share = 2; share <= 64; share *= 2) {
            st__facts facts = strided(GIB(1), share, piece, 0);
            facts.refused = 0;
            for (uint32_t io = ST_IO_PREAD; io < ST__IO_COUNT; io++) {
                st__choice choice = choose(&facts, io);
                uint64_t pieces = facts.size / piece;
                uint64_t gap = (facts.span - facts.size) / (pieces - 1);
                if (gap <= choice.gap)
                    assert_int_equal(choice.read, facts.span);
                else
                    assert_in_range(choice.read, facts.size, facts.size + pieces * 4096);
                assert_in_range(choice.read, facts.size, facts.span);
            }
            /* Cold strides are never a mapping, and never one small read after the other. */
            st__choice choice = choose(&facts, ST_IO_AUTO);
            assert_true(choice.io == ST_IO_URING || choice.io == ST_IO_DIRECT);
        }
}

/* -------------------------------------------------------------------------------------- always */

static void check_choice(const st__facts *facts, uint32_t forced)
{
    st__choice choice = choose(facts, forced);
    assert_in_range(choice.io, ST_IO_PREAD, ST_IO_POPULATE);
    if (choice.io != ST_IO_PREAD)
        assert_false(facts->refused & ST__IO_BIT(choice.io));
    assert_in_range(choice.threads, 1, facts->threads ? facts->threads : 1);
    assert_in_range(choice.depth, 1, 64);
    if (facts->parallelism) {
        assert_in_range(choice.threads, 1, facts->parallelism);
        assert_in_range(choice.depth, 1, facts->parallelism);
    }
    assert_in_range(choice.unit, 4096, MIB(64));
    assert_int_equal(choice.unit % 4096, 0);
    assert_in_range(choice.gap, 1, MIB(64));
    assert_non_null(choice.why);
    assert_true(choice.seconds[ST_IO_AUTO] == 0);
    for (uint32_t io = ST_IO_PREAD; io < ST__IO_COUNT; io++)
        assert_true(io != ST_IO_PREAD && facts->refused & ST__IO_BIT(io) ? choice.seconds[io] == 0
                                                                         : choice.seconds[io] > 0);
    if (forced == ST_IO_URING && choice.io != ST_IO_URING)
        assert_true(facts->refused & BIT(URING));
}

static void test_always(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 4096, MIB(1), MIB(16), GIB(1), TIB(1), UINT64_MAX / 4};
    static const uint32_t threads[] = {0, 1, 2, 8, 64};
    for (uint32_t i = 0; i < 8 * 5 * 5 * 4 * 7 * 4; i++) {
        uint32_t k = i;
        st__facts facts = whole(sizes[k % 8], 0, 0);
        facts.threads = threads[(k /= 8) % 5];
        facts.latency = (k /= 5) % 5;
        int part = (int)((k /= 5) % 4);
        facts.resident = part == 3 ? UNKNOWN : facts.span / 2 * (uint64_t)part;
        uint32_t forced = (k /= 4) % 7;
        facts.refused = i * 2654435761u >> 25;
        facts.views = (k /= 7) % 2;
        facts.memory = k / 2 ? MIB(1) : UNKNOWN;
        facts.parallelism = i % 3 ? 0 : i % 5;
        check_choice(&facts, forced);
        facts.piece = 512;
        facts.span = facts.size * 8;
        check_choice(&facts, forced);
        facts.piece = 0;
        check_choice(&facts, forced);
    }
}

/* More in the page cache never makes a read through it take longer, nor do more threads. */
static void test_estimates(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 64; threads *= 2) {
        double before = 1e9;
        for (int part = 0; part <= 100; part += 10) {
            st__facts facts = whole(GIB(4), ST_LATENCY_LOCAL, part);
            facts.threads = threads;
            st__choice choice = choose(&facts, ST_IO_AUTO);
            assert_true(choice.seconds[ST_IO_PREAD] <= before);
            before = choice.seconds[ST_IO_PREAD];
            facts.threads = 2 * threads;
            assert_true(choose(&facts, ST_IO_AUTO).seconds[ST_IO_PREAD] <= before);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regimes),   cmocka_unit_test(test_half),
        cmocka_unit_test(test_views),     cmocka_unit_test(test_forced),
        cmocka_unit_test(test_ladder),    cmocka_unit_test(test_names),
        cmocka_unit_test(test_asks),      cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_strided),   cmocka_unit_test(test_always),
        cmocka_unit_test(test_estimates),
    };
    return cmocka_run_group_tests_name("strategy", tests, NULL, NULL);
}
