/* SPDX-License-Identifier: Apache-2.0 */
/* Differences of two files: of such as are the same, of such as differ in few values or in all, and of such as are not
 * in the page cache, beside memcmp over mappings, cmp, and what people do with torch and NumPy. */
#include "cache.h"
#include "contest.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "raw.h"
#include "weights.h"

#include <safetensors/inspect.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB UINT64_C(1048576)
enum { PATH_SIZE = 4000, THREADS_MAX = 4, BLOCK = 64 << 10 };

typedef struct bench_diff {
    char files[2][PATH_SIZE];
    const char *list[2]; /* the same */
    char paths[2 * PATH_SIZE];
    uint64_t size;    /* of each */
    size_t tensors;   /* in each */
    uint64_t differs; /* how many values do */
} bench_diff;

/* --------------------------------------------------------------------------------- ceilings */

typedef struct compared_part {
    const bench_diff *c;
    const unsigned char *maps[2]; /* NULL: it is read instead */
    uint64_t from, to;
    size_t differing; /* blocks */
} compared_part;

static void *part_memcmp(void *ctx)
{
    compared_part *part = ctx;
    for (uint64_t at = part->from; at < part->to; at += BLOCK) {
        uint64_t left = part->to - at;
        size_t size = left < BLOCK ? (size_t)left : BLOCK;
        part->differing += memcmp(part->maps[0] + at, part->maps[1] + at, size) != 0;
    }
    return NULL;
}

/* Into memory that stays in the core's cache. */
static void *part_pread(void *ctx)
{
    compared_part *part = ctx;
    unsigned char *block = malloc((size_t)2 * BLOCK);
    int fds[2] = {bench_file_open(part->c->files[0]), bench_file_open(part->c->files[1])};
    if (!block)
        bench_fail("no memory");
    for (uint64_t at = part->from; at < part->to; at += BLOCK) {
        uint64_t left = part->to - at;
        size_t size = left < BLOCK ? (size_t)left : BLOCK;
        for (int side = 0; side < 2; side++) {
            if (pread(fds[side], block + (size_t)side * BLOCK, size, (off_t)at) != (ssize_t)size)
                bench_fail("a file got shorter");
        }
        part->differing += memcmp(block, block + BLOCK, size) != 0;
    }
    close(fds[0]);
    close(fds[1]);
    free(block);
    return NULL;
}

static void parts_run(const compared_part *all, uint32_t count, void *(*run)(void *))
{
    compared_part parts[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    uint64_t share = all->c->size / count / BLOCK * BLOCK;
    size_t differing = 0;
    for (uint32_t i = 0; i < count; i++) {
        parts[i] = *all;
        parts[i].from = i * share;
        parts[i].to = i + 1 < count ? (i + 1) * share : all->c->size;
        if (i && pthread_create(&threads[i], NULL, run, &parts[i]))
            bench_fail("no thread");
    }
    run(&parts[0]);
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            pthread_join(threads[i], NULL);
        differing += parts[i].differing;
    }
    if ((differing > 0) != (all->c->differs > 0))
        bench_fail("the files are not what they are to be");
}

static void memcmp_maps(void *ctx, uint32_t threads)
{
    const bench_diff *c = ctx;
    compared_part all = {.c = c};
    for (int side = 0; side < 2; side++) {
        int fd = bench_file_open(c->files[side]);
        void *map = mmap(NULL, (size_t)c->size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            bench_fail("cannot map %s", c->files[side]);
        all.maps[side] = map;
        close(fd);
    }
    parts_run(&all, threads, part_memcmp);
    for (int side = 0; side < 2; side++)
        munmap((void *)(uintptr_t)all.maps[side], (size_t)c->size);
}

static void memcmp_reads(void *ctx, uint32_t threads)
{
    parts_run(&(compared_part){.c = ctx}, threads, part_pread);
}

/* Which stops at the first difference. */
static void cmp_program(void *ctx, uint32_t threads)
{
    const bench_diff *c = ctx;
    (void)threads;
    if (bench_program_run((const char *[]){"cmp", c->files[0], c->files[1], NULL}))
        bench_fail("cmp failed");
}

static void raw_read(void *ctx, uint32_t threads)
{
    const bench_diff *c = ctx;
    (void)threads;
    bench_raw_read(c->list, 2);
}

static void raw_read_ring(void *ctx, uint32_t threads)
{
    const bench_diff *c = ctx;
    (void)threads;
    if (bench_raw_ring())
        bench_raw_read_ring(c->list, 2);
    else
        bench_raw_read(c->list, 2);
}

/* ------------------------------------------------------------------------------------- ours */

static void ours(void *ctx, uint32_t threads)
{
    const bench_diff *c = ctx;
    st_context_options budgets = {.max_threads = threads};
    st_open_options options = {0};
    st_compare_summary summary;
    st_file *files[2];
    st_error error;
    bench_check(st_context_new(&budgets, &options.context, &error), &error);
    for (int side = 0; side < 2; side++)
        bench_check(st_file_open(c->files[side], &options, &files[side], &error), &error);
    bench_check(st_files_compare(files[0], files[1], NULL, &summary, &error), &error);
    if (summary.different != c->differs || summary.elements != c->tensors * BENCH_WEIGHTS_COUNT)
        bench_fail("what differs came out wrong");
    for (int side = 0; side < 2; side++)
        st_file_close(files[side]);
    st_context_release(options.context);
}

/* ------------------------------------------------------------------------------------ cases */

static const bench_way memcmp_1 = {.who = "memcmp-1", .once = memcmp_maps, .threads = 1};
static const bench_way memcmp_4 = {.who = "memcmp-4", .once = memcmp_maps, .threads = 4};
static const bench_way pread_1 = {.who = "pread+memcmp-1", .once = memcmp_reads, .threads = 1};
static const bench_way pread_4 = {
    .who = "pread+memcmp-4", .once = memcmp_reads, .threads = 4, .base = "memcmp-4"};
static const bench_way cmp = {.who = "cmp", .once = cmp_program};
static const bench_way raw = {.who = "raw-pread", .once = raw_read};
static const bench_way raw_ring = {.who = "raw-uring", .once = raw_read_ring};
static const bench_way ours_1 = {.who = "ours-1", .once = ours, .threads = 1};
static const bench_way ours_4 = {.who = "ours-4", .once = ours, .threads = 4, .base = "memcmp-4"};
static const bench_way ours_cold = {.who = "ours-4", .once = ours, .threads = 4};
static const bench_way torch_equal = {.who = "torch-equal", .asked = "equal"};
static const bench_way torch_errors = {.who = "torch-errors", .asked = "errors"};
static const bench_way numpy_close = {.who = "numpy-allclose", .asked = "close"};

static void files_drop(void *ctx)
{
    const bench_diff *c = ctx;
    (void)bench_cache_drop(c->list, 2);
}

static void files_fill(void *ctx)
{
    const bench_diff *c = ctx;
    bench_cache_fill(c->list, 2);
}

typedef struct diff_case {
    bench_contest contest;
    bench_weights_change change;
} diff_case;

static const diff_case cases[] = {
    {{.name = "equal",
      .before = files_fill,
      .ways = {&memcmp_1, &memcmp_4, &pread_1, &pread_4, &cmp, &ours_1, &ours_4, &torch_equal,
               &numpy_close}},
     BENCH_WEIGHTS_SAME},
    {{.name = "equal-cold",
      .before = files_drop,
      .ways = {&raw_ring, &raw, &cmp, &ours_cold, &torch_equal}},
     BENCH_WEIGHTS_SAME},
    {{.name = "few",
      .before = files_fill,
      .ways = {&memcmp_1, &memcmp_4, &ours_1, &ours_4, &torch_equal}},
     BENCH_WEIGHTS_FEW},
    {{.name = "all",
      .before = files_fill,
      .ways = {&memcmp_1, &memcmp_4, &ours_1, &ours_4, &torch_errors, &numpy_close}},
     BENCH_WEIGHTS_ALL},
};

static uint64_t differing(const bench_diff *c, bench_weights_change change)
{
    if (change == BENCH_WEIGHTS_SAME)
        return 0;
    if (change == BENCH_WEIGHTS_FEW)
        return (c->tensors + BENCH_WEIGHTS_FEWER - 1) / BENCH_WEIGHTS_FEWER;
    return c->tensors * BENCH_WEIGHTS_COUNT - 1; /* 0 times anything is 0 */
}

static void case_run(bench_diff *c, const diff_case *now, const bench_options *options)
{
    bench_contest contest = now->contest;
    uint64_t data = bench_mib() * MIB;
    c->tensors = (size_t)(data / BENCH_WEIGHTS_TENSOR);
    c->differs = differing(c, now->change);
    c->size = bench_weights_make(c->files[1], data, now->change);
    contest.bytes = c->size;
    contest.tensors = c->tensors;
    contest.ctx = c;
    contest.peer = options->upstream;
    contest.paths = c->paths;
    bench_contest_run(&contest, options->runs);
}

int main(int argc, char **argv)
{
    static bench_diff c;
    bench_options options = {.runs = 7};
    bench_options_read(&options, argc, argv, "c:n:p:s:", 1,
                       "bench_diff [-c CASE] [-n RUNS] [-p PYTHON -s PEER] FOLDER");
    for (int side = 0; side < 2; side++) {
        snprintf(c.files[side], sizeof *c.files, "%.3900s/%c.safetensors", argv[optind],
                 'a' + side);
        c.list[side] = c.files[side];
    }
    snprintf(c.paths, sizeof c.paths, "%.3950s\t%.3950s", c.files[0], c.files[1]);
    bench_folder_clear(argv[optind]);
    bench_weights_make(c.files[0], bench_mib() * MIB, BENCH_WEIGHTS_SAME);
    bench_contest_head();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!options.only || strcmp(options.only, cases[i].contest.name) == 0)
            case_run(&c, &cases[i], &options);
    }
    bench_options_end(&options);
    bench_folder_clear(argv[optind]);
    return 0;
}
