/* SPDX-License-Identifier: Apache-2.0 */
/* Routes: what is asked of the system and when, what comes of answers and refusals, and what is told of it. */
#include "io/os_faults.h"

#include "base/context.h"
#include "io/lane_sample.h"

#define MIB(n) ((uint64_t)(n) << 20)

static st_source *source_open(void)
{
    st_source *source = NULL;
    put_file(in_scratch("hole"), "", 0);
    assert_int_equal(truncate(in_scratch("hole"), (off_t)MIB(64)), 0);
    CHECK_OK(st_source_open(in_scratch("hole"), NULL, &source, &error));
    return source;
}

static const st_source_info local = {.size = MIB(64), .device = 7, .latency = ST_LATENCY_LOCAL};
static const st_source_info in_memory = {.size = MIB(64), .latency = ST_LATENCY_MEMORY};

static st__wanted wanted_of(uint64_t size, uint32_t io)
{
    return (st__wanted){.span = size, .size = size, .piece = size, .io = io, .info = &local};
}

/* System calls that opening a route makes. */
static unsigned calls_of(const st__wanted *wanted, st__route *route)
{
    st_source *source = source_open();
    os_plant(OS_NONE, 0);
    CHECK_OK(st__route_open(route, source, NULL, wanted, &error));
    unsigned calls = os_state.calls;
    st__route_close(route);
    st_source_release(source);
    return calls;
}

/* What is small, or in memory, or forced to be read as ever, costs no call. */
static void test_asks_little(void **state)
{
    (void)state;
    st__route route;
    st__wanted wanted = wanted_of(MIB(16) - 1, ST_IO_AUTO);
    assert_int_equal(calls_of(&wanted, &route), 0);
    assert_int_equal(route.choice.io, ST_IO_PREAD);
    assert_true(route.facts.resident == UINT64_MAX);
    wanted = wanted_of(MIB(3), ST_IO_AUTO);
    assert_int_equal(calls_of(&wanted, &route), 0);
    assert_int_equal(route.facts.threads, 1);
    wanted = wanted_of(MIB(64), ST_IO_PREAD);
    assert_int_equal(calls_of(&wanted, &route), 0);
    wanted = wanted_of(MIB(64), ST_IO_MAP);
    assert_int_equal(calls_of(&wanted, &route), 0);
    assert_int_equal(route.choice.io, ST_IO_PREAD);
    wanted = wanted_of(MIB(64), ST_IO_AUTO);
    wanted.info = &in_memory;
    assert_int_equal(calls_of(&wanted, &route), 0);
    wanted = wanted_of(MIB(16), ST_IO_AUTO);
    assert_true(calls_of(&wanted, &route) > 0);
    wanted = wanted_of(100, ST_IO_AUTO);
    wanted.told = true;
    assert_true(calls_of(&wanted, &route) > 0);
    assert_int_equal(route.choice.io, ST_IO_PREAD);
}

/* Two pieces far apart touch little of the span between them; a great many do not. */
static void test_asks_strided(void **state)
{
    (void)state;
    st__route route;
    st__wanted wanted = wanted_of(MIB(64), ST_IO_AUTO);
    wanted.size = 200;
    wanted.piece = 100;
    assert_int_equal(calls_of(&wanted, &route), 0);
    wanted.size = 8192 * 100;
    assert_true(calls_of(&wanted, &route) > 0);
    wanted.size = wanted.piece = 0;
    assert_int_equal(calls_of(&wanted, &route), 0);
}

static long refuse_syscall(long number, ...)
{
    (void)number;
    errno = ENOSYS;
    return -1;
}

static int refuse_mincore(void *at, size_t size, unsigned char *out)
{
    (void)at;
    (void)size;
    (void)out;
    errno = ENOSYS;
    return -1;
}

static ssize_t refuse_preadv2(int fd, const struct iovec *segments, int count, off_t offset,
                              int flags)
{
    (void)fd;
    (void)segments;
    (void)count;
    (void)offset;
    (void)flags;
    errno = EOPNOTSUPP;
    return -1;
}

/* Where residency cannot be told it is read as ever. */
static void test_residency_unknown(void **state)
{
    (void)state;
    st__route route;
    const st__wanted wanted = wanted_of(MIB(64), ST_IO_AUTO);
    st__os_calls.syscall = refuse_syscall;
    st__os_calls.mincore = refuse_mincore;
    st__os_calls.preadv2 = refuse_preadv2;
    (void)calls_of(&wanted, &route);
    st__os_calls = os_calls_planted;
    assert_true(route.facts.resident == UINT64_MAX);
    assert_int_equal(route.choice.io, ST_IO_PREAD);
    assert_non_null(strstr(route.choice.why, "cannot be told"));
}

static st_status nowhere_info(void *self, st_source_info *out, st_error *error)
{
    (void)error;
    if (self)
        return ST_ERR_IO;
    out->size = MIB(64);
    out->latency = ST_LATENCY_LOCAL;
    out->parallelism = 2;
    return ST_OK;
}

static st_status nowhere_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                              st_error *error)
{
    (void)self;
    (void)offset;
    (void)segments;
    (void)count;
    (void)error;
    return ST_ERR_IO;
}

static void nowhere_free(void *self)
{
    (void)self;
}

/* A source of somebody's own has no descriptor: reads as ever, however it is asked for. */
static void test_no_descriptor(void **state)
{
    (void)state;
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = nowhere_info, .read = nowhere_read, .free = nowhere_free};
    st_source *source = NULL;
    st__route route;
    CHECK_OK(st_source_new(&vtable, NULL, NULL, &source, &error));
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        st__wanted wanted = wanted_of(MIB(64), io);
        wanted.info = NULL; /* it is asked */
        CHECK_OK(st__route_open(&route, source, NULL, &wanted, &error));
        assert_int_equal(route.choice.io, ST_IO_PREAD);
        assert_int_equal(route.fd, -1);
        assert_in_range(route.choice.threads, 1, 2);
        st__route_close(&route);
    }
    st_source_release(source);
    CHECK_OK(st_source_new(&vtable, &route, NULL, &source, &error));
    st__wanted wanted = wanted_of(MIB(64), ST_IO_AUTO);
    wanted.info = NULL;
    CHECK_ERR(st__route_open(&route, source, NULL, &wanted, &error), ST_ERR_IO, ST_NO_OFFSET);
    st_source_release(source);
}

/* Too little staging memory for aligned blocks. */
static void test_little_memory(void **state)
{
    (void)state;
    const st_context_options options = {.max_memory = 1000000};
    const st__wanted wanted = wanted_of(MIB(64), ST_IO_URING);
    st_source *source = source_open();
    st_context *context;
    st__route route;
    CHECK_OK(st_context_new(&options, &context, &error));
    CHECK_OK(st__route_open(&route, source, context, &wanted, &error));
    assert_int_equal(route.choice.io, ST_IO_DONTCACHE);
    assert_int_equal(st__context_refused(context, local.device), 0);
    st__route_close(&route);
    st_context_release(context);
    st_source_release(source);
}

/* A refusal moves a route on by one, once, past what was refused before; and is told. */
static void test_refusals(void **state)
{
    (void)state;
    const st__wanted wanted = wanted_of(MIB(64), ST_IO_DONTCACHE);
    st_source *source = source_open();
    st_context *context;
    st__route route;
    st_explanation said;
    CHECK_OK(st_context_new(NULL, &context, &error));
    CHECK_OK(st__route_open(&route, source, context, &wanted, &error));
    st__route_explain(&route, &said);
    assert_int_equal(said.io, ST_IO_DONTCACHE);
    assert_non_null(strstr(said.text, "dontcache: asked for; 64 MiB"));
    st__route_failed(&route, ST_IO_URING, EINVAL); /* some other thread's, long since */
    assert_int_equal(atomic_load(&route.io), ST_IO_DONTCACHE);
    st__route_failed(&route, ST_IO_DONTCACHE, EIO);
    assert_int_equal(atomic_load(&route.io), ST_IO_PREAD);
    assert_int_equal(st__context_refused(context, local.device), ST__IO_BIT(ST_IO_URING));
    st__route_refuse(&route, ST_IO_DONTCACHE);
    assert_int_equal(st__context_refused(context, local.device),
                     ST__IO_BIT(ST_IO_URING) | ST__IO_BIT(ST_IO_DONTCACHE));
    st__route_explain(&route, &said);
    assert_int_equal(said.io, ST_IO_PREAD);
    assert_non_null(strstr(said.text, "pread: what was chosen turned out not to be had here"));
    assert_non_null(strstr(said.text, "not to be had: dontcache"));
    st__route_close(&route);
    st_context_release(context);
    st_source_release(source);
}

/* The longest text there can be fits. */
static void test_text(void **state)
{
    (void)state;
    st__route route = {.fd = -1, .direct_fd = -1};
    st_explanation said;
    route.facts = (st__facts){.size = UINT64_C(1023) << 50,
                              .span = UINT64_C(1) << 62,
                              .piece = 3,
                              .resident = UINT64_C(1) << 61,
                              .memory = UINT64_MAX,
                              .latency = ST_LATENCY_LOCAL,
                              .threads = 64};
    for (uint32_t io = ST_IO_PREAD; io <= ST_IO_POPULATE; io++) {
        st__strategy_choose(&route.facts, io, &route.choice);
        atomic_store(&route.io, io == ST_IO_PREAD ? io : st__strategy_instead(io));
        st__route_explain(&route, &said);
        assert_in_range(strlen(said.text), 100, sizeof said.text - 2);
    }
}

static void test_memory(void **state)
{
    (void)state;
    static const unsigned char bytes[] = "in memory";
    const st__extent none = {0, NULL, 0};
    st__route route;
    st__lane lane;
    char got[7];
    st__route_memory(&route, bytes, sizeof bytes, NULL);
    assert_int_equal(route.choice.io, ST_IO_MAP);
    st__lane_init(&lane, &route);
    CHECK_OK(st__lane_read(&lane, &(st__extent){3, got, 7}, 1, &error));
    assert_memory_equal(got, "memory", 7);
    CHECK_OK(st__lane_read(&lane, &none, 1, &error));
    st__lane_release(&lane);
    st__route_close(&route);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks_little),
        cmocka_unit_test(test_asks_strided),
        cmocka_unit_test(test_residency_unknown),
        cmocka_unit_test(test_no_descriptor),
        cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests_name("route", tests, lane_make, lane_drop);
}
