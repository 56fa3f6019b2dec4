/* SPDX-License-Identifier: Apache-2.0 */
#include "load_ways.h"
#include "measure.h"
#include "memory.h"
#include "raw.h"
#include "touch.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
enum { THREADS_MAX = 64 };

static void check(st_status status, const st_error *error)
{
    if (status)
        bench_fail("%s", error->message);
}

/* ------------------------------------------------------------------------------------ ours */

/* Opens the files and says what is wanted of them: all, in the files' order. */
static void ours_open(const load_model *model, load_held *held)
{
    st_open_options options = {.flags = 0};
    st_error error;
    check(st_context_new(NULL, &held->context, &error), &error);
    options.context = held->context;
    held->items = calloc(model->tensors, sizeof *held->items);
    held->buffers = calloc(model->tensors, sizeof(st_buffer *));
    if (!held->items || !held->buffers)
        bench_fail("no memory");
    size_t n = 0;
    for (size_t i = 0; i < model->files; i++) {
        check(st_file_open(model->paths[i], &options, &held->files[i], &error), &error);
        for (size_t k = 0; k < st_file_count(held->files[i]) && n < model->tensors; k++, n++)
            held->items[n] =
                (st_load_item){.file = held->files[i], .tensor = st_file_at(held->files[i], k)};
    }
    if (n != model->tensors)
        bench_fail("%s: %zu tensors", model->folder, n);
}

static uint64_t ours_run(const load_way *way, const load_model *model, load_held *held)
{
    uint64_t sum = 0;
    size_t taken = 0;
    st_loaded done;
    st_error error;
    bool touched = strcmp(way->gives, "untouched") != 0;
    ours_open(model, held);
    st_load_options options = {
        .flags = way->flags, .context = held->context, .max_ahead = way->max_ahead};
    check(st_load_start(held->items, model->tensors, &options, &held->load, &error), &error);
    st_load_explain(held->load, 0, &held->how);
    for (;; taken++) {
        check(st_load_next(held->load, &done, &error), &error);
        if (done.item == ST_LOAD_END)
            break;
        if (touched)
            sum += bench_touch(done.data, done.size);
        if (way->max_ahead)
            st_buffer_release(done.buffer);
        else
            held->buffers[held->count++] = done.buffer;
    }
    if (taken != model->tensors)
        bench_fail("%s: %zu tensors came", model->folder, taken);
    return touched ? sum : model->sum;
}

/* -------------------------------------------------------------------------------- ceilings */

static uint64_t raw_run(const load_way *way, const load_model *model, load_held *held)
{
    (void)way, (void)held;
    bench_raw_read(model->paths, model->files);
    return model->sum;
}

static uint64_t raw_ring_run(const load_way *way, const load_model *model, load_held *held)
{
    (void)way, (void)held;
    bench_raw_read_ring(model->paths, model->files);
    return model->sum;
}

static void files_map(const load_model *model, load_held *held, int flags)
{
    struct stat facts;
    for (size_t i = 0; i < model->files; i++) {
        int fd = open(model->paths[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &facts))
            bench_fail("cannot open %s: %s", model->paths[i], strerror(errno));
        held->map_sizes[i] = (size_t)facts.st_size;
        held->maps[i] = mmap(NULL, held->map_sizes[i], PROT_READ, MAP_SHARED | flags, fd, 0);
        if (held->maps[i] == MAP_FAILED)
            bench_fail("cannot map %s: %s", model->paths[i], strerror(errno));
        close(fd);
    }
}

static void maps_prepare(const load_model *model, load_held *held)
{
    files_map(model, held, MAP_POPULATE);
}

/* The data stands at the end of each file. */
static const unsigned char *mapped_data(const load_model *model, const load_held *held, size_t file,
                                        size_t *size)
{
    size_t first = model->tensors * file / model->files;
    size_t last = model->tensors * (file + 1) / model->files;
    *size = (last - first) * model->tensor_size;
    return (const unsigned char *)held->maps[file] + held->map_sizes[file] - *size;
}

static uint64_t sum_run(const load_way *way, const load_model *model, load_held *held)
{
    uint64_t sum = 0;
    size_t size;
    (void)way;
    files_map(model, held, 0);
    for (size_t i = 0; i < model->files; i++) {
        const unsigned char *data = mapped_data(model, held, i, &size);
        sum += bench_touch(data, size);
    }
    return sum;
}

typedef struct copy_part {
    const load_model *model;
    const load_held *held;
    unsigned part, parts;
} copy_part;

/* Its part of each file. */
static void *part_copy(void *ctx)
{
    const copy_part *c = ctx;
    size_t at = 0, size;
    for (size_t i = 0; i < c->model->files; i++, at += size) {
        const unsigned char *data = mapped_data(c->model, c->held, i, &size);
        size_t begin = size / c->parts * c->part;
        size_t end = c->part + 1 == c->parts ? size : size / c->parts * (c->part + 1);
        memcpy(c->held->copy + at + begin, data + begin, end - begin);
    }
    return NULL;
}

static uint64_t memcpy_run(const load_way *way, const load_model *model, load_held *held)
{
    pthread_t threads[THREADS_MAX];
    copy_part parts[THREADS_MAX];
    held->copy_size = (size_t)model->bytes;
    held->copy = bench_pages_new(held->copy_size);
    for (unsigned i = 0; i < way->threads; i++) {
        parts[i] = (copy_part){model, held, i, way->threads};
        if (i && pthread_create(&threads[i], NULL, part_copy, &parts[i]))
            bench_fail("no thread");
    }
    part_copy(&parts[0]);
    for (unsigned i = 1; i < way->threads; i++)
        pthread_join(threads[i], NULL);
    return model->sum;
}

/* ---------------------------------------------------------------------------------- tables */

const load_way load_ours[] = {
    {.who = "ours-views", .gives = "views", .run = ours_run, .flags = ST_LOAD_VIEWS},
    {.who = "ours-streamed", .gives = "streamed", .run = ours_run, .max_ahead = 128 * MIB},
    {.who = "ours-owned", .gives = "owned", .run = ours_run},
    {.who = "ours-untouched", .gives = "untouched", .run = ours_run},
};
const size_t load_ours_count = sizeof load_ours / sizeof *load_ours;

const load_way load_ceilings[] = {
    {.who = "raw-pread", .gives = "ceiling", .run = raw_run},
    {.who = "raw-uring", .gives = "ceiling", .run = raw_ring_run},
    {.who = "mmap-sum", .gives = "ceiling", .run = sum_run},
    {.who = "memcpy-1",
     .gives = "ceiling",
     .run = memcpy_run,
     .prepare = maps_prepare,
     .threads = 1},
    {.who = "memcpy-2",
     .gives = "ceiling",
     .run = memcpy_run,
     .prepare = maps_prepare,
     .threads = 2},
    {.who = "memcpy-4",
     .gives = "ceiling",
     .run = memcpy_run,
     .prepare = maps_prepare,
     .threads = 4},
    {.who = "memcpy-8",
     .gives = "ceiling",
     .run = memcpy_run,
     .prepare = maps_prepare,
     .threads = 8},
};
const size_t load_ceilings_count = sizeof load_ceilings / sizeof *load_ceilings;

static void held_release(load_held *held)
{
    for (size_t i = 0; i < held->count; i++)
        st_buffer_release(held->buffers[i]);
    st_load_free(held->load);
    for (size_t i = 0; i < LOAD_FILES_MAX; i++) {
        st_file_close(held->files[i]);
        if (held->maps[i])
            munmap(held->maps[i], held->map_sizes[i]);
    }
    free(held->items);
    free(held->buffers);
    st_context_release(held->context);
    if (held->copy)
        bench_pages_free(held->copy, held->copy_size);
}

load_cost load_way_run(const load_way *way, const load_model *model, st_explanation *how)
{
    load_held held = {.context = NULL};
    load_cost cost;
    if (way->prepare)
        way->prepare(model, &held);
    (void)malloc_trim(0); /* memory is to be new, as in a process's first load */
    bench_peak_reset();
    uint64_t before = bench_status_bytes("RssAnon");
    uint64_t cpu = bench_cpu_now(), start = bench_now();
    uint64_t sum = way->run(way, model, &held);
    cost.ns = (double)(bench_now() - start);
    cost.cpu_ns = (double)(bench_cpu_now() - cpu);
    uint64_t peak = bench_status_bytes("VmHWM"), files = bench_status_bytes("RssFile");
    cost.memory = peak > files + before ? (double)(peak - files - before) : 0;
    if (sum != model->sum)
        bench_fail("%s: %s gave other bytes", model->folder, way->who);
    *how = held.how;
    held_release(&held);
    return cost;
}
