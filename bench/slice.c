/* SPDX-License-Identifier: Apache-2.0 */
/* Column slices of a matrix: rows of `part` runs of `run` bytes, of which one run each is wanted.
 *
 * One file of 1 GiB serves all shapes: its header has a fixed size and is written anew for each.
 * The ceilings: memcpy of as many bytes between warm buffers, and a memcpy of each run out of a
 * mapping that is warm. All is in the page cache; only `-fresh` has a destination that is new.
 * slice_forced.c has the cases that begin with an empty page cache. */
#include "cache.h"
#include "measure.h"
#include "options.h"
#include "slice_forced.h"

#include <safetensors/safetensors.h>

#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_SIZE SLICE_DATA_SIZE
enum { HEADER_SIZE = SLICE_HEADER_SIZE, SUBJECTS_MAX = 16 };

static const uint64_t run_sizes[] = {64, 256, 1024, 4096, 16384, 65536};
static const uint64_t parts[] = {2, 8};

typedef struct slice_case {
    const char *path;
    bench_child *upstream;
    unsigned char *to;   /* warm, of `bytes` */
    unsigned char *from; /* likewise */
    const unsigned char *mapping;
    uint64_t run, part, rows, bytes;
} slice_case;

/* One way of opening the file for reading. */
typedef struct reader {
    const slice_case *slice;
    st_context *context;
    st_file *file;
    st_region region;
    bool fresh;
} reader;

void slice_header_write(const char *path, uint64_t row_size)
{
    char header[HEADER_SIZE];
    uint64_t text = HEADER_SIZE - 8;
    memset(header, ' ', sizeof header);
    for (unsigned i = 0; i < 8; i++)
        header[i] = (char)(text >> (8 * i) & 0xff);
    int len = snprintf(header + 8, sizeof header - 8,
                       "{\"w\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64 ",%" PRIu64
                       "],\"data_offsets\":[0,%" PRIu64 "]}}",
                       DATA_SIZE / row_size, row_size, DATA_SIZE);
    header[8 + len] = ' ';
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    /* A dirty page would stay in the page cache. */
    if (fd < 0 || pwrite(fd, header, sizeof header, 0) != HEADER_SIZE || fsync(fd) || close(fd))
        bench_fail("cannot write %s", path);
}

/* Makes the file unless it is there, and leaves it in the page cache. */
static void file_make(const char *path)
{
    static uint64_t block[1 << 17];
    struct stat facts;
    uint64_t state = 1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || fstat(fd, &facts))
        bench_fail("cannot make %s", path);
    bool made = (uint64_t)facts.st_size == HEADER_SIZE + DATA_SIZE;
    for (uint64_t at = HEADER_SIZE; at < HEADER_SIZE + DATA_SIZE; at += sizeof block) {
        if (made) {
            if (pread(fd, block, sizeof block, (off_t)at) != (ssize_t)sizeof block)
                bench_fail("cannot read %s", path);
            continue;
        }
        for (size_t i = 0; i < sizeof block / sizeof *block; i++)
            block[i] = state = state * 6364136223846793005u + 1442695040888963407u;
        if (pwrite(fd, block, sizeof block, (off_t)at) != (ssize_t)sizeof block)
            bench_fail("cannot write %s", path);
    }
    /* Dirty pages would be written while we measure. */
    if (!made && fsync(fd))
        bench_fail("cannot write %s", path);
    close(fd);
}

static void reader_open(reader *r, const slice_case *c, uint32_t io, uint32_t threads)
{
    st_context_options options = {.max_threads = threads};
    st_error error;
    r->slice = c;
    st_index index[2] = {{.kind = ST_INDEX_SLICE},
                         {.kind = ST_INDEX_SLICE,
                          .has = ST_INDEX_START | ST_INDEX_STOP,
                          .start = (int64_t)c->run,
                          .stop = (int64_t)(2 * c->run)}};
    if (st_context_new(&options, &r->context, &error))
        bench_fail("%s", error.message);
    st_open_options open_options = {.io = io, .context = r->context};
    if (st_file_open(c->path, &open_options, &r->file, &error) ||
        st_region_init(&r->region, r->context, st_file_at(r->file, 0), index, 2, &error))
        bench_fail("%s", error.message);
}

static void reader_close(reader *r)
{
    st_region_release(&r->region);
    st_file_close(r->file);
    st_context_release(r->context);
}

static void reader_once(void *ctx)
{
    reader *r = ctx;
    st_error error;
    size_t size = (size_t)r->slice->bytes;
    void *to = r->fresh ? malloc(size) : r->slice->to;
    if (!to)
        bench_fail("no memory");
    if (st_file_read(r->file, st_file_at(r->file, 0), &r->region, to, size, &error))
        bench_fail("%s", error.message);
    if (r->fresh)
        free(to);
}

static void memcpy_once(void *ctx)
{
    slice_case *c = ctx;
    memcpy(c->to, c->from, (size_t)c->bytes);
}

static void gather_once(void *ctx)
{
    slice_case *c = ctx;
    const unsigned char *from = c->mapping + HEADER_SIZE + c->run;
    for (uint64_t row = 0; row < c->rows; row++)
        memcpy(c->to + row * c->run, from + row * c->run * c->part, (size_t)c->run);
}

static double upstream_asked(const slice_case *c, const char *what, uint64_t loops)
{
    char line[4200];
    snprintf(line, sizeof line, "%s:%" PRIu64 ":%" PRIu64 " %" PRIu64 " %s", what, c->run,
             2 * c->run, loops, c->path);
    return bench_child_ask(c->upstream, line);
}

static double upstream_mmap(void *ctx, uint64_t loops)
{
    return upstream_asked(ctx, "slice-mmap", loops);
}

static double upstream_pread(void *ctx, uint64_t loops)
{
    return upstream_asked(ctx, "slice-pread", loops);
}

static double numpy_mmap(void *ctx, uint64_t loops)
{
    return upstream_asked(ctx, "numpy", loops);
}

static const struct {
    const char *who;
    uint32_t io;
    uint32_t threads; /* 0: the default */
    bool fresh;
} readers[] = {
    {"ours-auto", ST_IO_AUTO, 0, false},        {"ours-auto-1-thread", ST_IO_AUTO, 1, false},
    {"ours-pread", ST_IO_PREAD, 0, false},      {"ours-map", ST_IO_MAP, 0, false},
    {"ours-map-1-thread", ST_IO_MAP, 1, false}, {"ours-auto-fresh", ST_IO_AUTO, 0, true},
};
enum { READERS = sizeof readers / sizeof *readers };

/* What is timed must also be right. */
static void result_check(slice_case *c, reader *r)
{
    gather_once(c);
    memcpy(c->from, c->to, (size_t)c->bytes);
    memset(c->to, 0, (size_t)c->bytes);
    bool fresh = r->fresh;
    r->fresh = false;
    reader_once(r);
    r->fresh = fresh;
    if (memcmp(c->to, c->from, (size_t)c->bytes))
        bench_fail("a slice came out wrong");
}

static void rows_print(const slice_case *c, const bench_subject *list, size_t n, unsigned runs)
{
    for (size_t i = 0; i < n; i++) {
        const bench_subject *s = &list[i];
        double ns = bench_median(s, runs);
        printf("run-%" PRIu64 "-of-%" PRIu64 ",%s,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64
               ",%u,%.0f,%.0f,%.3f",
               c->run, c->part, s->what, s->who, c->bytes, c->run, c->part, runs, ns,
               bench_min(s, runs), (double)c->bytes / ns);
        bench_print_ratio(s, bench_find(list, n, "slice", "memcpy"), runs);
        bench_print_ratio(s, bench_find(list, n, "slice", "gather"), runs);
        bench_print_ratio(s, bench_find(list, n, "slice", "upstream-mmap"), runs);
        puts(",,,");
    }
    fflush(stdout);
}

static size_t ceilings_and_peers(slice_case *c, bench_subject *list)
{
    size_t n = 0;
    list[n++] = (bench_subject){.what = "slice", .who = "memcpy", .once = memcpy_once};
    list[n++] = (bench_subject){.what = "slice", .who = "gather", .once = gather_once};
    if (c->upstream) {
        list[n++] =
            (bench_subject){.what = "slice", .who = "upstream-mmap", .asked = upstream_mmap};
        list[n++] =
            (bench_subject){.what = "slice", .who = "upstream-pread", .asked = upstream_pread};
        list[n++] = (bench_subject){.what = "slice", .who = "numpy-memmap", .asked = numpy_mmap};
    }
    for (size_t i = 0; i < n; i++)
        list[i].ctx = c;
    return n;
}

static void case_run(slice_case *c, unsigned runs)
{
    bench_subject list[SUBJECTS_MAX];
    reader open_readers[READERS] = {{.slice = NULL}};
    c->rows = DATA_SIZE / (c->run * c->part);
    c->bytes = c->rows * c->run;
    slice_header_write(c->path, c->run * c->part);
    size_t n = ceilings_and_peers(c, list);
    for (size_t i = 0; i < READERS; i++) {
        open_readers[i].fresh = readers[i].fresh;
        reader_open(&open_readers[i], c, readers[i].io, readers[i].threads);
        result_check(c, &open_readers[i]);
        list[n++] = (bench_subject){
            .what = "slice", .who = readers[i].who, .once = reader_once, .ctx = &open_readers[i]};
    }
    bench_measure(list, n, runs);
    rows_print(c, list, n, runs);
    for (size_t i = 0; i < READERS; i++)
        reader_close(&open_readers[i]);
}

static unsigned char *buffer_new(size_t size)
{
    unsigned char *buffer = malloc(size);
    if (!buffer)
        bench_fail("no memory");
    memset(buffer, 1, size);
    return buffer;
}

static const unsigned char *file_map(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *bytes =
        mmap(NULL, (size_t)(HEADER_SIZE + DATA_SIZE), PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (fd < 0 || bytes == MAP_FAILED)
        bench_fail("cannot map %s", path);
    close(fd);
    return bytes;
}

int main(int argc, char **argv)
{
    slice_case c = {.path = NULL};
    bench_options options = {.runs = 9};
    bench_options_read(&options, argc, argv, "n:p:s:", 1,
                       "bench_slice [-n RUNS] [-p PYTHON -s PEER] FILE (made if not there)");
    c.upstream = options.upstream;
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    c.path = argv[optind];
    file_make(c.path);
    c.to = buffer_new(DATA_SIZE / 2);
    c.from = buffer_new(DATA_SIZE / 2);
    puts("case,what,who,bytes,run,part,runs,ns_median,ns_min,gb_per_s,x_memcpy,x_gather,"
         "x_upstream,x_best,io,read");
    slice_forced_run(c.path, c.to, c.from, options.runs);
    bench_cache_fill(&c.path, 1);
    c.mapping = file_map(c.path);
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
        for (size_t run = 0; run < sizeof run_sizes / sizeof *run_sizes; run++) {
            c.run = run_sizes[run];
            c.part = parts[part];
            case_run(&c, options.runs);
        }
    }
    if (c.upstream)
        bench_child_end(c.upstream);
    return 0;
}
