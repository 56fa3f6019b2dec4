/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors and slices of them in a source that counts and fails as planted, for the tests of the engine. */
#ifndef TESTS_IO_TRANSFER_SAMPLE_H
#define TESTS_IO_TRANSFER_SAMPLE_H

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

static void sample_make(sample *s, const slice_case *c)
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
    CHECK_OK(st__runs_init(&s->runs, NULL, &s->tensor, &s->region, &error));
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

static st_context *context_of(uint32_t threads, uint64_t memory)
{
    st_context_options options = {.max_threads = threads, .max_memory = memory};
    st_context *context = NULL;
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

/* ------------------------------------------------------------------------------------ memory */

/* An allocator for any thread that fails where told and counts what is out. */
typedef struct tally {
    uint64_t fail_at; /* the number of the allocation that fails, from 1; 0: none */
    atomic_uint_fast64_t calls;
    atomic_uint_fast64_t out;
    atomic_uint_fast64_t peak;
} tally;

static void *tally_alloc(void *ctx, size_t size)
{
    tally *t = ctx;
    if (atomic_fetch_add(&t->calls, 1) + 1 == t->fail_at)
        return NULL;
    uint64_t now = atomic_fetch_add(&t->out, size) + size, peak = atomic_load(&t->peak);
    while (now > peak && !atomic_compare_exchange_weak(&t->peak, &peak, now))
        continue;
    return malloc(size);
}

static void *tally_realloc(void *ctx, void *memory, size_t old_size, size_t size)
{
    tally *t = ctx;
    (void)t;
    (void)memory;
    (void)old_size;
    (void)size;
    return NULL; /* the engine never asks */
}

static void tally_free(void *ctx, void *memory, size_t size)
{
    tally *t = ctx;
    atomic_fetch_sub(&t->out, size);
    free(memory);
}

/* A context over it, whose own memory is not counted. */
static st_context *tally_context(tally *t, uint32_t threads, uint64_t memory)
{
    st_allocator allocator = {tally_alloc, tally_realloc, tally_free, t};
    st_context_options options = {
        .allocator = &allocator, .max_threads = threads, .max_memory = memory};
    st_context *context = NULL;
    uint64_t fail_at = t->fail_at;
    t->fail_at = 0;
    CHECK_OK(st_context_new(&options, &context, &error));
    t->fail_at = fail_at;
    atomic_store(&t->calls, 0);
    atomic_store(&t->out, 0);
    atomic_store(&t->peak, 0);
    return context;
}

/* ------------------------------------------------------------------------------------ trials */

/* One transfer to be tried: a sample's, out of a source and with a context of its own. Stays where it was made. */
typedef struct trial {
    plant_source plant;
    st_source *source;
    st_source_info info; /* what the source says of itself */
    st_context *context;
    st__wanted wanted;
    st__route route;
    st__transfer transfer;
} trial;

/* Chooses the way once more, after `info` or `wanted` was changed. */
static void trial_route(trial *t)
{
    st__route_close(&t->route);
    CHECK_OK(st__route_open(&t->route, t->source, t->context, &t->wanted, &error));
}

/* By reads from a source of that latency, or out of memory. */
static void trial_way(trial *t, uint32_t latency, bool mapped)
{
    t->info.latency = latency;
    t->wanted.io = mapped ? ST_IO_MAP : ST_IO_AUTO;
    t->wanted.memory = mapped ? data : NULL;
    trial_route(t);
}

/* Takes the context over. */
static void trial_make(trial *t, const sample *s, st_context *context)
{
    uint64_t low, high;
    memset(t, 0, sizeof *t);
    st__runs_span(&s->runs, &low, &high);
    t->source = plant_open(&t->plant);
    t->context = context;
    t->wanted = (st__wanted){.offset = OFFSET + low,
                             .span = high - low,
                             .size = s->runs.size,
                             .piece = s->runs.piece,
                             .info = &t->info};
    t->transfer =
        (st__transfer){.route = &t->route, .runs = &s->runs, .offset = OFFSET, .context = context};
    t->route.fd = t->route.direct_fd = -1;
    trial_way(t, ST_LATENCY_LOCAL, false);
}

static void trial_drop(trial *t)
{
    st__route_close(&t->route);
    st_context_release(t->context);
    st_source_release(t->source);
}

/* Carries a transfer out, by the threads that its context allows, and checks what arrived of it. */
typedef st_status (*trial_run)(const st__transfer *transfer, const sample *s);

static void check_out_of_memory(trial_run run)
{
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        ST_OOM_LOOP(context, status)
        {
            trial t;
            trial_make(&t, &s, st_context_retain(context));
            status = run(&t.transfer, &s);
            trial_drop(&t);
        }
        sample_drop(&s);
    }
}

/* What is out when a context is gone that was made before the count began. */
static uint64_t tally_after_context(void)
{
    tally memory = {.fail_at = 0};
    st_context_release(tally_context(&memory, 4, 0));
    return atomic_load(&memory.out);
}

/* The same with threads: which one is refused is chance, not what comes of it. What the context keeps for the
 * next transfer goes with it. */
static void check_out_of_memory_together(trial_run run)
{
    for (size_t i = 0; i < SLICE_CASES; i++) {
        sample s;
        sample_make(&s, &slice_cases[i]);
        bool refused = true;
        for (uint64_t n = 1; refused; n++) {
            tally memory = {.fail_at = n};
            trial t;
            trial_make(&t, &s, tally_context(&memory, 4, 0));
            st_status status = run(&t.transfer, &s);
            refused = atomic_load(&memory.calls) >= n;
            assert_int_equal(status, refused ? ST_ERR_NOMEM : ST_OK);
            trial_drop(&t);
            assert_int_equal(atomic_load(&memory.out), tally_after_context());
        }
        sample_drop(&s);
    }
}

/* The most memory that is out at a time while a sample is carried over in a budget. */
static uint64_t memory_peak(const sample *s, uint32_t threads, uint64_t budget, uint32_t latency,
                            trial_run run)
{
    tally memory = {.fail_at = 0};
    trial t;
    trial_make(&t, s, tally_context(&memory, threads, budget));
    trial_way(&t, latency, false);
    assert_int_equal(run(&t.transfer, s), ST_OK);
    uint64_t peak = atomic_load(&memory.peak);
    trial_drop(&t);
    return peak;
}

#endif
