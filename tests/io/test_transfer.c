/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: whatever the strategy, the threads and the budget, the same bytes arrive. What the runs
 * are is proven by format.region; here they are the oracle. */
#include "support/check.h"
#include "support/oom.h"

#include "io/transfer.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define DATA_SIZE ((size_t)12 << 20)
#define OFFSET    1043u /* of the tensor in the source: odd on purpose */

static unsigned char *data;

/* A source over `data` that notes what it is asked for and fails wherever a planted byte is read. */
typedef struct plant_source {
    uint64_t bad[2]; /* reads that cover one of these offsets fail there; 0: none */
    atomic_uint_fast64_t reads;
    atomic_uint_fast64_t bytes;
    atomic_int in_flight;
    atomic_int most_in_flight;
} plant_source;

static st_status plant_info(void *self, st_source_info *out, st_error *error)
{
    (void)self;
    (void)error;
    out->size = DATA_SIZE;
    return ST_OK;
}

static st_status plant_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                            st_error *error)
{
    plant_source *plant = self;
    int now = atomic_fetch_add(&plant->in_flight, 1) + 1,
        most = atomic_load(&plant->most_in_flight);
    while (now > most && !atomic_compare_exchange_weak(&plant->most_in_flight, &most, now))
        continue;
    st_status status = ST_OK;
    atomic_fetch_add(&plant->reads, 1);
    for (size_t i = 0; i < count && status == ST_OK; i++) {
        uint64_t size = segments[i].size;
        assert_true(offset <= DATA_SIZE && size <= DATA_SIZE - offset);
        for (int k = 0; k < 2; k++)
            if (plant->bad[k] && plant->bad[k] >= offset && plant->bad[k] < offset + size) {
                if (error)
                    *error = (st_error){ST_ERR_IO, 5, plant->bad[k], "planted"};
                status = ST_ERR_IO;
            }
        memcpy(segments[i].data, data + offset, segments[i].size);
        atomic_fetch_add(&plant->bytes, size);
        offset += size;
    }
    atomic_fetch_sub(&plant->in_flight, 1);
    return status;
}

static void plant_free(void *self)
{
    (void)self;
}

static st_source *plant_open(plant_source *plant)
{
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = plant_info, .read = plant_read, .free = plant_free};
    st_source *source = NULL;
    CHECK_OK(st_source_new(&vtable, plant, NULL, &source, &error));
    return source;
}

static int data_make(void **state)
{
    (void)state;
    data = malloc(DATA_SIZE);
    uint64_t z = 1;
    for (size_t i = 0; data && i < DATA_SIZE; i++) {
        z = z * UINT64_C(6364136223846793005) + 1442695040888963407;
        data[i] = (unsigned char)(z >> 56);
    }
    return data ? 0 : -1;
}

static int data_drop(void **state)
{
    (void)state;
    free(data);
    return 0;
}

/* ------------------------------------------------------------------------------------- cases */

typedef struct slice_case {
    const char *text;
    uint32_t ndim;
    uint64_t shape[4];
    st_dtype dtype;
    uint64_t least_reads; /* of a local source, one thread; 0: not said */
    uint64_t most_reads;
} slice_case;

/* Shapes and slices that take each road: whole, direct, staged, mixed, either direction. */
static const slice_case slice_cases[] = {
    {"...", 1, {8u << 20}, ST_U8, 1, 1},
    {"5:-5", 1, {8u << 20}, ST_U8, 1, 1},
    {"::2", 1, {3u << 20}, ST_U8, 2, 10},
    {"::-1", 1, {1u << 20}, ST_F64, 0, 0},
    {"::-3", 1, {1u << 20}, ST_F64, 0, 0},
    {":, 3:4", 2, {4096, 512}, ST_U16, 2, 12},
    {":, 3:200", 2, {4096, 512}, ST_F32, 0, 0},
    {":, :2048", 2, {640, 16384}, ST_U8, 2, 640},
    {":, 100:8292", 2, {64, 131072}, ST_U8, 64, 64},
    {"::-1, 100:8292", 2, {64, 131072}, ST_U8, 64, 64},
    {"::-1, ::-1", 2, {1000, 1001}, ST_I32, 0, 0},
    {"::2, ::2", 2, {1000, 1001}, ST_I32, 0, 0},
    {"::2, 1:3, ::3", 3, {100, 5, 1001}, ST_F16, 0, 0},
    {":, 1:2, :, 5:", 4, {10, 20, 30, 40}, ST_F64, 0, 0},
    {"7", 2, {64, 131072}, ST_U8, 1, 1},
    {":, 2:4", 2, {999, 6}, ST_F4, 0, 0},
    {":, 4:12", 2, {999, 16}, ST_F6_E2M3, 0, 0},
    {"3, 5", 2, {9, 9}, ST_U8, 1, 1},
};
#define SLICE_CASES (sizeof slice_cases / sizeof *slice_cases)

typedef struct sample {
    st_tensor tensor;
    st_region region;
    st__runs runs;
    unsigned char *want;
    unsigned char *got;
} sample;

static void sample_make(sample *s, const slice_case *c, st_context *context)
{
    uint64_t bits = st_dtype_bits(c->dtype);
    for (uint32_t d = 0; d < c->ndim; d++)
        bits *= c->shape[d];
    s->tensor = (st_tensor){.name = "w",
                            .name_len = 1,
                            .shape = c->shape,
                            .ndim = c->ndim,
                            .dtype = c->dtype,
                            .end = bits / 8};
    assert_true(OFFSET + s->tensor.end <= DATA_SIZE);
    CHECK_OK(st_region_parse(&s->region, NULL, &s->tensor, c->text, strlen(c->text), &error));
    CHECK_OK(st__runs_init(&s->runs, context, &s->tensor, &s->region, &error));
    s->want = malloc(s->runs.size + 1);
    s->got = malloc(s->runs.size + 64);
    st__cursor cursor;
    st__run run;
    CHECK_OK(st__cursor_init(&cursor, &s->runs, 0, &error));
    for (unsigned char *to = s->want; st__cursor_next(&cursor, UINT64_MAX, &run);)
        for (uint64_t i = 0; i < run.pieces; i++, to += run.length)
            memcpy(to, data + (size_t)(OFFSET + run.offset + i * (uint64_t)run.stride), run.length);
    st__cursor_release(&cursor);
}

static void sample_drop(sample *s)
{
    st__runs_release(&s->runs);
    st_region_release(&s->region);
    free(s->want);
    free(s->got);
}

static st__transfer transfer_of(st_source *source, const sample *s, st_context *context)
{
    return (st__transfer){.source = source,
                          .runs = &s->runs,
                          .offset = OFFSET,
                          .context = context,
                          .latency = ST_LATENCY_LOCAL};
}

static st_context *context_of(uint32_t threads, uint64_t memory)
{
    st_context_options options = {.max_threads = threads, .max_memory = memory};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

/* ------------------------------------------------------------------------------------- tests */

/* Every case, by every latency, several thread counts and budgets, and out of memory. */
static void test_strategies(void **state)
{
    (void)state;
    static const uint32_t latencies[] = {ST_LATENCY_LOCAL, ST_LATENCY_UNKNOWN, ST_LATENCY_MEMORY,
                                         ST_LATENCY_NETWORK};
    static const struct {
        uint32_t threads;
        uint64_t memory;
    } budgets[] = {{1, 0}, {4, 0}, {3, 20000}, {1, 1}};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i], NULL);
        for (size_t k = 0; k < 16; k++) {
            plant_source plant = {.bad = {0, 0}};
            st_source *source = plant_open(&plant);
            st_context *context = context_of(budgets[k / 4].threads, budgets[k / 4].memory);
            st__transfer t = transfer_of(source, &s, context);
            t.latency = latencies[k % 4];
            /* Every distance between the pages of destination and source. */
            unsigned char *got = s.got + (k * 5) % 64;
            memset(s.got, 0, s.runs.size + 64);
            CHECK_OK(st__transfer_read(&t, got, &error));
            assert_memory_equal(got, s.want, s.runs.size);
            if (k == 0 && slice_cases[i].most_reads) {
                print_message("%s: %u reads\n", slice_cases[i].text, (unsigned)plant.reads);
                assert_in_range(plant.reads, slice_cases[i].least_reads, slice_cases[i].most_reads);
            }
            if (budgets[k / 4].threads == 1)
                assert_int_equal(plant.most_in_flight, 1);
            t.memory = data + OFFSET;
            memset(s.got, 0, s.runs.size + 64);
            CHECK_OK(st__transfer_read(&t, got, &error));
            assert_memory_equal(got, s.want, s.runs.size);
            st_context_release(context);
            st_source_release(source);
        }
        sample_drop(&s);
    }
}

/* Copies to a few bytes ahead of the source, modulo a page, take a detour that changes nothing. */
static void test_phases(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    unsigned char *block = malloc(s.runs.size + 8192);
    for (unsigned ahead = 0; ahead < 20; ahead++) {
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        st__transfer t = transfer_of(source, &s, NULL);
        uintptr_t at = ((uintptr_t)block + 4095) / 4096 * 4096;
        unsigned char *got = block + (at - (uintptr_t)block) + (OFFSET + ahead) % 4096;
        CHECK_OK(st__transfer_read(&t, got, &error));
        assert_memory_equal(got, s.want, s.runs.size);
        st_source_release(source);
    }
    free(block);
    sample_drop(&s);
}

/* One read at a time where the source asks for it, whatever the context would allow. */
static void test_parallelism(void **state)
{
    (void)state;
    sample s;
    sample_make(&s, &slice_cases[0], NULL);
    plant_source plant = {.bad = {0, 0}};
    st_source *source = plant_open(&plant);
    st_context *context = context_of(4, 0);
    st__transfer t = transfer_of(source, &s, context);
    t.parallelism = 1;
    CHECK_OK(st__transfer_read(&t, s.got, &error));
    assert_int_equal(plant.most_in_flight, 1);
    st_context_release(context);
    st_source_release(source);
    sample_drop(&s);
}

/* Of two failures the lower one is told, however the threads run. */
static void test_first_failure(void **state)
{
    (void)state;
    static const size_t cases[] = {0, 8};
    for (size_t i = 0; i < 2; i++) {
        sample s;
        sample_make(&s, &slice_cases[cases[i]], NULL);
        for (int round = 0; round < 40; round++) {
            uint64_t low = OFFSET + 100 + (s.tensor.end / 64) * (uint64_t)round / 131072 * 131072;
            plant_source plant = {.bad = {low, OFFSET + s.tensor.end / 64 * 63 + 100}};
            st_source *source = plant_open(&plant);
            st_context *context = context_of(4, 0);
            st__transfer t = transfer_of(source, &s, context);
            CHECK_ERR(st__transfer_read(&t, s.got, &error), ST_ERR_IO, low);
            assert_int_equal(st__transfer_read(&t, s.got, NULL), ST_ERR_IO);
            st_context_release(context);
            st_source_release(source);
        }
        sample_drop(&s);
    }
}

/* ------------------------------------------------------------------------------------ blocks */

typedef struct block_log {
    const unsigned char *want;
    uint64_t size;
    uint64_t done;
    uint64_t calls;
    uint64_t largest;
    uint64_t stop_at; /* the call that says stop */
} block_log;

static st_status block_note(void *ctx, const void *block, size_t size, st_error *error)
{
    block_log *log = ctx;
    assert_true(size > 0 && size <= log->size - log->done);
    assert_memory_equal(block, log->want + log->done, size);
    log->done += size;
    assert_true(size % 24 == 0 || log->done == log->size);
    if (size > log->largest)
        log->largest = size;
    if (++log->calls != log->stop_at)
        return ST_OK;
    *error = (st_error){.status = ST_ERR_STOPPED, .message = "enough"};
    return ST_ERR_STOPPED;
}

static void test_blocks(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {0, 100000, 48, 1};
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i], NULL);
        for (size_t k = 0; k < 8; k++) {
            /* Tiny budgets make many reads: once on the small cases is enough. */
            if (budgets[k % 4] > 0 && budgets[k % 4] < 100 && s.runs.size > 300000)
                continue;
            plant_source plant = {.bad = {0, 0}};
            st_source *source = plant_open(&plant);
            st_context *context = context_of(2, budgets[k % 4]);
            st__transfer t = transfer_of(source, &s, context);
            t.memory = k / 4 ? data + OFFSET : NULL;
            block_log log = {.want = s.want, .size = s.runs.size};
            CHECK_OK(st__transfer_blocks(&t, block_note, &log, &error));
            assert_int_equal(log.done, s.runs.size);
            if (budgets[k % 4] >= 48 && !t.memory)
                assert_true(log.largest <= budgets[k % 4]);
            st_context_release(context);
            st_source_release(source);
        }
        sample_drop(&s);
    }
}

static void test_blocks_stopped(void **state)
{
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        sample s;
        sample_make(&s, &slice_cases[0], NULL);
        plant_source plant = {.bad = {OFFSET + (6u << 20), 0}};
        st_source *source = plant_open(&plant);
        st__transfer t = transfer_of(source, &s, NULL);
        t.memory = mapped ? data + OFFSET : NULL;
        block_log log = {.want = s.want, .size = s.runs.size, .stop_at = 3};
        CHECK_ERR_TEXT(st__transfer_blocks(&t, block_note, &log, &error), ST_ERR_STOPPED, 0,
                       "enough");
        assert_int_equal(log.calls, 3);
        log = (block_log){.want = s.want, .size = s.runs.size};
        if (!mapped)
            CHECK_ERR(st__transfer_blocks(&t, block_note, &log, &error), ST_ERR_IO,
                      OFFSET + (6u << 20));
        st_source_release(source);
        sample_drop(&s);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLICE_CASES; i++) {
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        ST_OOM_LOOP(context, status)
        {
            sample s;
            sample_make(&s, &slice_cases[i], NULL);
            st__transfer t = transfer_of(source, &s, context);
            status = st__transfer_read(&t, s.got, NULL);
            sample_drop(&s);
        }
        ST_OOM_LOOP(context, status)
        {
            sample s;
            sample_make(&s, &slice_cases[i], NULL);
            st__transfer t = transfer_of(source, &s, context);
            block_log log = {.want = s.want, .size = s.runs.size};
            status = st__transfer_blocks(&t, block_note, &log, NULL);
            sample_drop(&s);
        }
        st_source_release(source);
    }
}

/* Staging stays within the budget, whatever is read. */
static void test_memory_bound(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLICE_CASES; i++) {
        oom_allocator oom = {0};
        st_context *context = oom_context_new(&oom);
        plant_source plant = {.bad = {0, 0}};
        st_source *source = plant_open(&plant);
        sample s;
        sample_make(&s, &slice_cases[i], NULL);
        st__transfer t = transfer_of(source, &s, context);
        CHECK_OK(st__transfer_read(&t, s.got, &error));
        block_log log = {.want = s.want, .size = s.runs.size};
        CHECK_OK(st__transfer_blocks(&t, block_note, &log, &error));
        assert_true(oom.peak <= (1u << 20));
        sample_drop(&s);
        st_source_release(source);
        st_context_release(context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strategies),    cmocka_unit_test(test_phases),
        cmocka_unit_test(test_parallelism),   cmocka_unit_test(test_first_failure),
        cmocka_unit_test(test_blocks),        cmocka_unit_test(test_blocks_stopped),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_memory_bound),
    };
    return cmocka_run_group_tests_name("transfer", tests, data_make, data_drop);
}
