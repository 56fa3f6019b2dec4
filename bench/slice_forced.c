/* SPDX-License-Identifier: Apache-2.0 */
#include "slice_forced.h"
#include "cache.h"
#include "measure.h"

#include <safetensors/safetensors.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANKS = 2 };

static const uint32_t strategies[] = {ST_IO_AUTO,  ST_IO_PREAD,     ST_IO_MAP,     ST_IO_DIRECT,
                                      ST_IO_URING, ST_IO_DONTCACHE, ST_IO_POPULATE};
enum { STRATEGIES = sizeof strategies / sizeof *strategies };

/* Rows of 16 KiB, of which a half or an eighth is wanted, and of 1 MiB. */
static const struct {
    uint64_t run, part;
} forced_shapes[] = {{8192, 2}, {2048, 8}, {131072, 8}};

typedef struct forced_case {
    const char *path;
    unsigned char *to, *from; /* `from`: what is to come */
    uint64_t run, part, rows, bytes;
    bool cold;
} forced_case;

typedef struct forced_turn {
    const forced_case *c;
    uint32_t io;
    st_explanation how;
} forced_turn;

static void check(st_status status, const st_error *error)
{
    if (status)
        bench_fail("%s", error->message);
}

/* Opens the file, and says what is wanted of it: `count` items from `start` in dimension `dim` of two. */
typedef struct part_reader {
    st_context *context;
    st_file *file;
    st_region region;
} part_reader;

static void part_open(part_reader *r, const char *path, uint32_t io, unsigned dim, uint64_t start,
                      uint64_t count)
{
    st_open_options options = {.io = io};
    st_error error;
    st_index index[2] = {{.kind = ST_INDEX_SLICE}, {.kind = ST_INDEX_SLICE}};
    index[dim].has = ST_INDEX_START | ST_INDEX_STOP;
    index[dim].start = (int64_t)start;
    index[dim].stop = (int64_t)(start + count);
    check(st_context_new(NULL, &r->context, &error), &error);
    options.context = r->context;
    check(st_file_open(path, &options, &r->file, &error), &error);
    check(st_region_init(&r->region, r->context, st_file_at(r->file, 0), index, 2, &error), &error);
}

static void part_close(part_reader *r)
{
    st_region_release(&r->region);
    st_file_close(r->file);
    st_context_release(r->context);
}

/* ------------------------------------------------------------------------------ strategies */

static double forced_asked(void *ctx, uint64_t loops)
{
    forced_turn *t = ctx;
    const forced_case *c = t->c;
    part_reader r;
    st_error error;
    (void)loops;
    memset(c->to, 0, (size_t)c->bytes);
    if (c->cold)
        (void)bench_cache_drop(&c->path, 1);
    else
        bench_cache_fill(&c->path, 1);
    /* A new handle each time: what one has mapped cannot be dropped. */
    part_open(&r, c->path, t->io, 1, c->run, c->run);
    const st_tensor *tensor = st_file_at(r.file, 0);
    check(st_file_explain(r.file, tensor, &r.region, &t->how, &error), &error);
    uint64_t start = bench_now();
    check(st_file_read(r.file, tensor, &r.region, c->to, (size_t)c->bytes, &error), &error);
    double ns = (double)(bench_now() - start);
    part_close(&r);
    if (memcmp(c->to, c->from, (size_t)c->bytes) != 0)
        bench_fail("a slice came out wrong by %s", st_io_name(t->io));
    return ns;
}

/* What is to come, read run by run. */
static void expected_read(const forced_case *c)
{
    int fd = open(c->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        bench_fail("cannot open %s", c->path);
    for (uint64_t row = 0; row < c->rows; row++) {
        uint64_t at = SLICE_HEADER_SIZE + (row * c->part + 1) * c->run;
        if (pread(fd, c->from + row * c->run, (size_t)c->run, (off_t)at) != (ssize_t)c->run)
            bench_fail("cannot read %s", c->path);
    }
    close(fd);
}

/* The fastest of those that were forced. */
static const bench_subject *best_forced(const bench_subject *list, unsigned runs)
{
    const bench_subject *best = &list[1];
    for (size_t i = 2; i < STRATEGIES; i++) {
        if (bench_median(&list[i], runs) < bench_median(best, runs))
            best = &list[i];
    }
    return best;
}

static void forced_case_run(forced_case *c, unsigned runs)
{
    bench_subject list[STRATEGIES];
    forced_turn turns[STRATEGIES];
    const char *what = c->cold ? "cold" : "warm";
    for (size_t i = 0; i < STRATEGIES; i++) {
        turns[i] = (forced_turn){.c = c, .io = strategies[i]};
        list[i] = (bench_subject){.what = what,
                                  .who = st_io_name(strategies[i]),
                                  .asked = forced_asked,
                                  .ctx = &turns[i],
                                  .single = true};
    }
    bench_measure(list, STRATEGIES, runs);
    for (size_t i = 0; i < STRATEGIES; i++) {
        double ns = bench_median(&list[i], runs);
        printf("%s-run-%" PRIu64 "-of-%" PRIu64 ",%s,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64
               ",%u,%.0f,%.0f,%.3f,,,",
               what, c->run, c->part, what, list[i].who, c->bytes, c->run, c->part, runs, ns,
               bench_min(&list[i], runs), (double)c->bytes / ns);
        bench_print_ratio(&list[i], best_forced(list, runs), runs);
        printf(",%s,\n", st_io_name(turns[i].how.io));
    }
    fflush(stdout);
}

/* ----------------------------------------------------------------------------------- ranks */

typedef struct rank_result {
    uint64_t ns, bytes, read;
} rank_result;

/* Bytes that this process has had read from the device, past the page cache or into it. */
static uint64_t device_bytes(void)
{
    char line[128];
    uint64_t bytes = UINT64_MAX;
    FILE *file = fopen("/proc/self/io", "r");
    if (!file)
        return bytes;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "read_bytes:", 11) == 0)
            bytes = strtoull(line + 11, NULL, 10);
    }
    fclose(file);
    return bytes;
}

/* In a process of its own: reads a half, and sends what that took. */
static void rank_run(const forced_case *c, unsigned rank, unsigned dim, int to)
{
    uint64_t half = (dim ? c->run * c->part : c->rows) / RANKS;
    part_reader r;
    st_error error;
    part_open(&r, c->path, ST_IO_AUTO, dim, rank * half, half);
    rank_result result = {.bytes = r.region.size, .read = device_bytes()};
    uint64_t start = bench_now();
    check(st_file_read(r.file, st_file_at(r.file, 0), &r.region, c->to, (size_t)r.region.size,
                       &error),
          &error);
    result.ns = bench_now() - start;
    result.read = device_bytes() - result.read;
    part_close(&r);
    if (write(to, &result, sizeof result) != (ssize_t)sizeof result)
        bench_fail("nobody listens to rank %u", rank);
}

/* Both at once, of a file that is cold for both. */
static void ranks_run(const forced_case *c, unsigned dim)
{
    int pipes[RANKS][2];
    pid_t pids[RANKS];
    rank_result result;
    int status;
    (void)bench_cache_drop(&c->path, 1);
    fflush(stdout);
    for (unsigned i = 0; i < RANKS; i++) {
        if (pipe(pipes[i]) || (pids[i] = fork()) < 0)
            bench_fail("no process: %s", strerror(errno));
        if (pids[i] == 0) {
            rank_run(c, i, dim, pipes[i][1]);
            _exit(0);
        }
        close(pipes[i][1]);
    }
    for (unsigned i = 0; i < RANKS; i++) {
        ssize_t got = read(pipes[i][0], &result, sizeof result);
        close(pipes[i][0]);
        if (waitpid(pids[i], &status, 0) != pids[i] || status || got != (ssize_t)sizeof result)
            bench_fail("rank %u failed", i);
        printf("ranks-%s,ranks,rank-%u,%" PRIu64 ",,,1,%" PRIu64 ",%" PRIu64 ",%.3f,,,,,,%" PRIu64
               "\n",
               dim ? "columns" : "rows", i, result.bytes, result.ns, result.ns,
               (double)result.bytes / (double)result.ns, result.read);
    }
    fflush(stdout);
}

static void shape_set(forced_case *c, uint64_t run, uint64_t part)
{
    c->run = run;
    c->part = part;
    c->rows = SLICE_DATA_SIZE / (run * part);
    c->bytes = c->rows * run;
    slice_header_write(c->path, run * part);
}

void slice_forced_run(const char *path, unsigned char *to, unsigned char *from, unsigned runs)
{
    forced_case c = {.path = path, .to = to, .from = from};
    for (size_t i = 0; i < sizeof forced_shapes / sizeof *forced_shapes; i++) {
        shape_set(&c, forced_shapes[i].run, forced_shapes[i].part);
        expected_read(&c);
        for (int cold = 1; cold >= 0; cold--) {
            c.cold = cold;
            forced_case_run(&c, runs);
        }
    }
    if (device_bytes() == UINT64_MAX) {
        fprintf(stderr, "bench: no /proc/self/io: what ranks read is left out\n");
        return;
    }
    shape_set(&c, forced_shapes[0].run, forced_shapes[0].part);
    for (unsigned dim = 0; dim < 2; dim++)
        ranks_run(&c, dim);
}
