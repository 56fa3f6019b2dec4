/* SPDX-License-Identifier: Apache-2.0 */
/* Casts between float dtypes, on one core, of numbers spread as the weights of a model are.
 *
 * The ceiling: memcpy of the source's bytes. The elements are too many for the caches; the memory is warm. */
#include "measure.h"

#include <safetensors/safetensors.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COUNT = 1 << 24 };

typedef struct cast_case {
    st_dtype from;
    st_dtype to;
    uint64_t bytes; /* of the source */
    const unsigned char *src;
    unsigned char *dst;
} cast_case;

static const st_dtype pairs[][2] = {
    {ST_F32, ST_BF16},     {ST_BF16, ST_F32},     {ST_F32, ST_F16},     {ST_F16, ST_F32},
    {ST_BF16, ST_F16},     {ST_F16, ST_BF16},     {ST_F32, ST_F64},     {ST_F64, ST_F32},
    {ST_F64, ST_BF16},     {ST_F32, ST_F8_E4M3},  {ST_F32, ST_F8_E5M2}, {ST_BF16, ST_F8_E4M3},
    {ST_F8_E4M3, ST_BF16}, {ST_F8_E5M2, ST_BF16}, {ST_F32, ST_F8_E8M0}, {ST_F32, ST_F6_E2M3},
    {ST_F32, ST_F4},       {ST_F4, ST_BF16},
};
enum { PAIRS = sizeof pairs / sizeof *pairs };

static unsigned char *memory_make(void)
{
    unsigned char *memory = malloc((size_t)COUNT * 8);
    if (!memory)
        bench_fail("no memory");
    memset(memory, 1, (size_t)COUNT * 8);
    return memory;
}

/* Sums of four uniform numbers: about a bell of a deviation of 0.02. */
static void weights_make(unsigned char *memory)
{
    uint64_t state = 1;
    for (uint64_t i = 0; i < COUNT; i++) {
        double sum = -2;
        for (int k = 0; k < 4; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (double)(state >> 11) * 0x1p-53;
        }
        st_value value = {.kind = ST_KIND_FLOAT, .as.f = {sum * 0.035, 0}};
        st_element_encode(ST_F64, memory, i, &value);
    }
}

static void cast_once(void *ctx)
{
    cast_case *c = ctx;
    st_cast_report report = {0};
    if (st_elements_cast(c->from, c->src, c->to, c->dst, COUNT, &report))
        bench_fail("no such cast");
}

static void copy_once(void *ctx)
{
    cast_case *c = ctx;
    memcpy(c->dst, c->src, (size_t)c->bytes);
}

/* What is timed must also be right. */
static void cast_check(cast_case *c)
{
    unsigned char element[8] = {0}, expected[8] = {0};
    cast_once(c);
    for (uint64_t i = 0; i < COUNT; i += 4099) {
        st_value value = st_element_decode(c->from, c->src, i);
        st_value got = st_element_decode(c->to, c->dst, i);
        st_element_encode(c->to, expected, 0, &value);
        st_element_encode(c->to, element, 0, &got);
        if (memcmp(element, expected, sizeof element))
            bench_fail("%s to %s came out wrong", st_dtype_code(c->from), st_dtype_code(c->to));
    }
}

static void pair_run(cast_case *c, const unsigned char *weights, unsigned char *src, unsigned runs)
{
    bench_subject list[2];
    if (st_elements_cast(ST_F64, weights, c->from, src, COUNT, NULL))
        bench_fail("no such cast");
    c->src = src;
    c->bytes = (uint64_t)COUNT / 8 * st_dtype_bits(c->from);
    cast_check(c);
    list[0] = (bench_subject){.what = "cast", .who = "memcpy", .once = copy_once, .ctx = c};
    list[1] = (bench_subject){.what = "cast", .who = "ours", .once = cast_once, .ctx = c};
    bench_measure(list, 2, runs);
    for (int i = 0; i < 2; i++) {
        double ns = bench_median(&list[i], runs);
        printf("%s-%s,cast,%s,%" PRIu64 ",%d,%u,%.0f,%.0f,%.3f,%.3f", st_dtype_code(c->from),
               st_dtype_code(c->to), list[i].who, c->bytes, COUNT, runs, ns,
               bench_min(&list[i], runs), (double)c->bytes / ns, ns / COUNT);
        bench_print_ratio(&list[i], &list[0], runs);
        putchar('\n');
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    unsigned runs = 9;
    for (int option; (option = getopt(argc, argv, "n:")) != -1;)
        runs = option == 'n' ? (unsigned)strtoul(optarg, NULL, 10) : 0;
    if (!runs || runs > BENCH_RUNS_MAX || optind < argc)
        bench_fail("usage: bench_cast [-n RUNS]");
    unsigned char *weights = memory_make(), *src = memory_make();
    cast_case c = {.dst = memory_make()};
    weights_make(weights);
    puts("case,what,who,bytes,elements,runs,ns_median,ns_min,gb_per_s,ns_per_element,x_memcpy");
    for (size_t i = 0; i < PAIRS; i++) {
        c.from = pairs[i][0];
        c.to = pairs[i][1];
        pair_run(&c, weights, src, runs);
    }
    free(weights);
    free(src);
    free(c.dst);
    return 0;
}
