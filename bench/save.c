/* SPDX-License-Identifier: Apache-2.0 */
/* Saving: this library and upstream beside plain writes of the same bytes, all in turn.
 *
 * Outside of what is timed, each turn first removes the last turn's file, unless the case is to save over
 * an older one. Who is timed does that itself and goes on at once: the memory that the file gave up is
 * then on the list of the same CPU, and taken again. Memory that lay idle may have gone back to a
 * hypervisor, and makes a write several times slower. */
#include "files.h"
#include "measure.h"
#include "options.h"
#include "raw.h"

#include <safetensors/safetensors.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB       (UINT64_C(1) << 20)
#define DATA_SIZE (1024 * MIB)
#define SLACK     (4 * MIB) /* behind the data, so that a plain write has the header's bytes too */
#define SIDE      UINT64_C(8192)
enum {
    WAYS_MAX = 8,
    KINDS_MAX = 5,
    NAME_SIZE = 64,
    PATH_SIZE = 4000,
    PAGE = 4096,
    SMALL_COUNT = 10000,
    FIRST_RUN = 1
};

typedef struct tensor_kind {
    st_dtype dtype;
    uint32_t ndim;
    uint64_t shape[2];
    size_t size;
} tensor_kind;

/* Tensor i is of kind i modulo `kinds`; peer_upstream.py has the same table. */
typedef struct save_model {
    const char *name;
    size_t count;
    size_t kinds;
    tensor_kind kind[KINDS_MAX];
} save_model;

static const save_model one = {"one", 1, 1, {{ST_F32, 2, {16384, 16384}, 1 << 30}}};
static const save_model ten = {"ten", 10, 1, {{ST_BF16, 2, {6400, 8192}, 100 << 20}}};
static const save_model mixed = {"mixed",
                                 SMALL_COUNT,
                                 5,
                                 {{ST_F32, 1, {1, 0}, 4},
                                  {ST_BF16, 1, {64, 0}, 128},
                                  {ST_F8_E4M3, 2, {16, 16}, 256},
                                  {ST_I64, 2, {2, 3}, 48},
                                  {ST_F16, 2, {32, 8}, 512}}};
static const save_model small = {"small", SMALL_COUNT, 1, {{ST_F32, 1, {256, 0}, 1024}}};
static const save_model tiny = {"tiny", 1, 1, {{ST_F32, 1, {256, 0}, 1024}}};
static const save_model square = {"square", 1, 1, {{ST_F32, 2, {SIDE, SIDE}, SIDE *SIDE * 4}}};

typedef struct bench_save {
    char path[PATH_SIZE];
    char temporary[PATH_SIZE + 8];
    char source[PATH_SIZE + 8]; /* what is copied from */
    char folder[PATH_SIZE];
    unsigned char *data;   /* DATA_SIZE + SLACK, warm */
    unsigned char *packed; /* `square`, transposed; NULL but where it is needed */
    const struct save_case *now;
    st_tensor *tensors; /* of its model, as a caller has them */
    char *names;        /* theirs */
    uint64_t file_size; /* of the case, header included */
    uint64_t data_size;
    st_file *from;
    bench_child *upstream;
} bench_save;

/* One way of saving; the peer is asked by a word instead. */
typedef struct save_way {
    const char *who;
    void (*save)(bench_save *c);
    const char *asked;
    bool packed; /* what is plainly written is `packed` */
} save_way;

typedef struct save_case {
    const char *name;
    const save_model *model;
    bool over;  /* saves over the file of the turn before */
    bool quick; /* milliseconds: several a turn */
    const save_way
        *ways[WAYS_MAX]; /* the first is what the others are compared with, see base_find */
} save_case;

static void check(st_status status, const st_error *error)
{
    if (status)
        bench_fail("%s", error->message);
}

/* ---------------------------------------------------------------------------- plain writes */

/* As many bytes as the header has first, so that the rest is copied from and to the same places within
 * pages as ours is: the kernel copies slower where these differ. */
static void write_all(const bench_save *c, int fd)
{
    bench_file_write(fd, c->data + DATA_SIZE, c->file_size - c->data_size);
    bench_file_write(fd, c->packed ? c->packed : c->data, c->data_size);
}

static void put_in_place(const bench_save *c, int fd)
{
    if (close(fd) || rename(c->temporary, c->path))
        bench_fail("cannot rename: %s", strerror(errno));
}

static void plain_allocated(bench_save *c)
{
    int fd = bench_file_new(c->temporary, c->file_size);
    write_all(c, fd);
    put_in_place(c, fd);
}

static void plain_growing(bench_save *c)
{
    int fd = bench_file_new(c->temporary, 0);
    write_all(c, fd);
    put_in_place(c, fd);
}

static void plain_fsync(bench_save *c)
{
    int fd = bench_file_new(c->temporary, c->file_size);
    write_all(c, fd);
    bench_file_sync(fd);
    put_in_place(c, fd);
}

static void plain_fsync_folder(bench_save *c)
{
    plain_fsync(c);
    bench_folder_sync(c->folder);
}

/* The most that the device takes: past the page cache, into space set aside, the bytes in place, and not a
 * call more than it needs to be on the device when this returns. */
static void raw_put(bench_save *c, void (*put)(int fd, const unsigned char *data, uint64_t size))
{
    int fd = bench_file_new(c->temporary, c->file_size);
    int direct = open(c->temporary, O_WRONLY | O_DIRECT | O_CLOEXEC);
    if (direct < 0)
        bench_fail("cannot open %s past the page cache: %s", c->temporary, strerror(errno));
    put(direct, c->data, (c->file_size + PAGE - 1) / PAGE * PAGE);
    if (ftruncate(fd, (off_t)c->file_size) || close(direct))
        bench_fail("cannot write: %s", strerror(errno));
    bench_file_sync(fd);
    put_in_place(c, fd);
    bench_folder_sync(c->folder);
}

static void raw_pwrite(bench_save *c)
{
    raw_put(c, bench_raw_write);
}

static void raw_ring(bench_save *c)
{
    raw_put(c, bench_raw_write_ring);
}

/* Transposes in blocks of 32 x 32, two cache lines a row. */
static void square_pack(const bench_save *c, float *to)
{
    enum { BLOCK = 32 };
    const float *from = (const float *)(const void *)c->data;
    for (size_t y = 0; y < SIDE; y += BLOCK)
        for (size_t x = 0; x < SIDE; x += BLOCK)
            for (size_t i = y; i < y + BLOCK; i++)
                for (size_t j = x; j < x + BLOCK; j++)
                    to[i * SIDE + j] = from[j * SIDE + i];
}

/* Makes the whole copy first, in new memory, as a caller without strides would. */
static void packed_write(bench_save *c)
{
    c->packed = bench_pages_new(square.kind[0].size);
    square_pack(c, (float *)(void *)c->packed);
    plain_allocated(c);
    bench_pages_free(c->packed, square.kind[0].size);
    c->packed = NULL;
}

/* ----------------------------------------------------------------------------- plain copies */

static void copy_cp(bench_save *c)
{
    if (bench_program_run((const char *[]){"cp", "--reflink=auto", c->source, c->path, NULL}))
        bench_fail("cp failed");
}

static void copy_kernel(bench_save *c)
{
    int from = bench_file_open(c->source), to = bench_file_new(c->temporary, c->file_size);
    bench_file_copy(from, 0, to, c->file_size);
    close(from);
    put_in_place(c, to);
}

static void copy_read_write(bench_save *c)
{
    static unsigned char block[256 << 10];
    int from = bench_file_open(c->source), to = bench_file_new(c->temporary, c->file_size);
    for (ssize_t got; (got = read(from, block, sizeof block)) != 0;) {
        if (got < 0 || write(to, block, (size_t)got) != got)
            bench_fail("cannot copy: %s", strerror(errno));
    }
    close(from);
    put_in_place(c, to);
}

/* ------------------------------------------------------------------------------------ ours */

/* Sets the case, and describes the tensors of its model. That is not timed: upstream is given names and
 * shapes that are there, too. */
static void case_set(bench_save *c, const save_case *now)
{
    const save_model *model = now->model;
    free(c->tensors);
    free(c->names);
    c->now = now;
    c->tensors = calloc(model->count, sizeof *c->tensors);
    c->names = malloc(model->count * NAME_SIZE);
    if (!c->tensors || !c->names)
        bench_fail("no memory");
    for (size_t i = 0; i < model->count; i++) {
        const tensor_kind *kind = &model->kind[i % model->kinds];
        char *name = c->names + i * NAME_SIZE;
        int len =
            snprintf(name, NAME_SIZE, "model.layers.%zu.mlp.experts.%zu.weight", i / 100, i % 100);
        c->tensors[i] = (st_tensor){.name = name,
                                    .name_len = (uint32_t)len,
                                    .dtype = kind->dtype,
                                    .shape = kind->shape,
                                    .ndim = kind->ndim};
    }
}

static st_writer *model_add(const bench_save *c)
{
    st_writer *writer;
    st_error error;
    check(st_writer_new(NULL, &writer, &error), &error);
    for (size_t i = 0; i < c->now->model->count; i++)
        check(st_writer_add(writer, &c->tensors[i], NULL, &error), &error);
    return writer;
}

static st_writer *model_begin(const bench_save *c, uint32_t durability)
{
    st_sink_options options = {.durability = durability};
    st_writer *writer = model_add(c);
    st_sink *sink;
    st_error error;
    check(st_sink_open(c->path, &options, &sink, &error), &error);
    check(st_writer_begin(writer, sink, &error), &error);
    st_sink_release(sink);
    return writer;
}

static void model_finish(st_writer *writer)
{
    st_error error;
    check(st_writer_finish(writer, &error), &error);
    st_writer_free(writer);
}

static void ours_save(const bench_save *c, uint32_t durability)
{
    const save_model *model = c->now->model;
    st_writer *writer = model_begin(c, durability);
    const unsigned char *from = c->data;
    st_error error;
    for (size_t i = 0; i < model->count; i++) {
        size_t size = model->kind[i % model->kinds].size;
        check(st_writer_write(writer, i, 0, from, size, &error), &error);
        from += size;
    }
    model_finish(writer);
}

static void ours_none(bench_save *c)
{
    ours_save(c, ST_DURABLE_NONE);
}

static void ours_file(bench_save *c)
{
    ours_save(c, ST_DURABLE_FILE);
}

static void ours_name(bench_save *c)
{
    ours_save(c, ST_DURABLE_NAME);
}

static void ours_strided(bench_save *c)
{
    const int64_t strides[] = {4, (int64_t)SIDE * 4};
    st_array array = {.data = c->data,
                      .shape = square.kind[0].shape,
                      .strides = strides,
                      .ndim = 2,
                      .dtype = ST_F32};
    st_writer *writer = model_begin(c, ST_DURABLE_NONE);
    st_error error;
    check(st_writer_write_array(writer, 0, &array, &error), &error);
    model_finish(writer);
}

static void ours_copy(bench_save *c)
{
    st_copy copies[16];
    size_t count = c->now->model->count;
    st_writer *writer = model_begin(c, ST_DURABLE_NONE);
    st_error error;
    for (size_t i = 0; i < count; i++) {
        const st_tensor *tensor = &c->tensors[i];
        copies[i] =
            (st_copy){.index = i, .tensor = st_file_find(c->from, tensor->name, tensor->name_len)};
    }
    check(st_writer_copy_from(writer, c->from, copies, count, &error), &error);
    model_finish(writer);
}

/* ----------------------------------------------------------------------------------- cases */

static const save_way allocated = {"preallocated", plain_allocated, NULL, false};
static const save_way growing = {"growing", plain_growing, NULL, false};
static const save_way with_fsync = {"preallocated+fsync", plain_fsync, NULL, false};
static const save_way with_folder = {"preallocated+fsync+folder", plain_fsync_folder, NULL, false};
static const save_way raw_direct = {"raw-pwrite", raw_pwrite, NULL, false};
static const save_way raw_uring = {"raw-uring", raw_ring, NULL, false};
static const save_way kernel_copy = {"copy_file_range", copy_kernel, NULL, false};
static const save_way cp_copy = {"cp", copy_cp, NULL, false};
static const save_way buffer_copy = {"read+write", copy_read_write, NULL, false};
static const save_way pack_first = {"pack+write", packed_write, NULL, true};
static const save_way ours = {"ours", ours_none, NULL, false};
static const save_way ours_data = {"ours-file", ours_file, NULL, false};
static const save_way ours_durable = {"ours", ours_name, NULL, false};
static const save_way ours_array = {"ours", ours_strided, NULL, true};
static const save_way ours_copied = {"ours", ours_copy, NULL, false};
static const save_way upstream = {"upstream", NULL, "save", false};
static const save_way upstream_over = {"upstream", NULL, "save-over", false};
static const save_way upstream_fsync = {"upstream+fsync", NULL, "save-fsync", false};
static const save_way upstream_array = {"upstream", NULL, "save-transposed", false};

static const save_case cases[] = {
    {"one-1GiB", &one, false, false, {&allocated, &growing, &ours, &upstream}},
    {"ten-100MiB", &ten, false, false, {&allocated, &growing, &ours, &upstream}},
    {"over-1GiB", &one, true, false, {&allocated, &growing, &ours, &upstream_over}},
    {"small-mixed", &mixed, false, true, {&allocated, &growing, &ours, &upstream}},
    {"small-1KiB", &small, false, true, {&allocated, &growing, &ours, &upstream}},
    {"durable-1GiB",
     &one,
     false,
     false,
     {&with_fsync, &with_folder, &ours_data, &ours_durable, &upstream_fsync}},
    /* `upstream` is not durable: it is what people use now. */
    {"raw-1GiB",
     &one,
     false,
     false,
     {&raw_direct, &raw_uring, &ours_data, &ours_durable, &upstream}},
    {"durable-1KiB",
     &tiny,
     false,
     true,
     {&with_fsync, &with_folder, &ours_data, &ours_durable, &upstream_fsync}},
    {"transposed-256MiB",
     &square,
     false,
     false,
     {&pack_first, &allocated, &ours_array, &upstream_array}},
    {"copy-10x100MiB", &ten, false, false, {&kernel_copy, &cp_copy, &buffer_copy, &ours_copied}},
};

typedef struct turn {
    bench_save *c;
    const save_way *way;
} turn;

static double upstream_asked(const turn *t, uint64_t loops)
{
    const bench_save *c = t->c;
    char line[PATH_SIZE + 128];
    snprintf(line, sizeof line, "%s:%s %" PRIu64 " %s", t->way->asked, c->now->model->name, loops,
             c->path);
    return bench_child_ask(c->upstream, line);
}

static double turn_asked(void *ctx, uint64_t loops)
{
    turn *t = ctx;
    double ns = 0;
    for (uint64_t i = 0; i < loops && t->way->save; i++) {
        if (!t->c->now->over)
            unlink(t->c->path);
        uint64_t start = bench_now();
        t->way->save(t->c);
        ns += (double)(bench_now() - start);
    }
    return t->way->save ? ns / (double)loops : upstream_asked(t, loops);
}

/* What is timed must also be right. */
static void result_check(const bench_save *c, bool transposed)
{
    const save_model *model = c->now->model;
    const unsigned char *want = c->data;
    st_buffer *map;
    st_file *file;
    st_error error;
    check(st_file_open(c->path, NULL, &file, &error), &error);
    check(st_file_map(file, ST_MAP_SHARED, &map, &error), &error);
    if (transposed) {
        unsigned char *packed = bench_pages_new(square.kind[0].size);
        square_pack(c, (float *)(void *)packed);
        want = packed;
    }
    for (size_t i = 0; i < model->count; i++) {
        size_t size = model->kind[i % model->kinds].size;
        const st_tensor *added = &c->tensors[i];
        const st_tensor *tensor = st_file_find(file, added->name, added->name_len);
        if (!tensor || st_tensor_size(tensor) != size ||
            memcmp((unsigned char *)st_buffer_data(map) + st_file_offset(file, tensor), want,
                   size) != 0)
            bench_fail("%s: tensor %zu came out wrong", c->now->name, i);
        want += size;
    }
    if (transposed)
        bench_pages_free((unsigned char *)(uintptr_t)want - square.kind[0].size,
                         square.kind[0].size);
    st_buffer_release(map);
    st_file_close(file);
}

/* What the others are compared with: the first; where it is raw, the fastest that is. */
static const bench_subject *base_find(const bench_subject *list, size_t n, unsigned runs)
{
    const bench_subject *base = &list[0];
    for (size_t i = 1; i < n && strncmp(base->who, "raw-", 4) == 0; i++) {
        if (strncmp(list[i].who, "raw-", 4) == 0 &&
            bench_median(&list[i], runs) < bench_median(base, runs))
            base = &list[i];
    }
    return base;
}

static void rows_print(const save_case *now, uint64_t bytes, const bench_subject *list, size_t n,
                       unsigned runs)
{
    const bench_subject *peer = bench_find(list, n, now->name, "upstream");
    if (!peer)
        peer = bench_find(list, n, now->name, "upstream+fsync");
    const bench_subject *base = base_find(list, n, runs);
    for (size_t i = 0; i < n; i++) {
        double ns = bench_median(&list[i], runs);
        printf("%s,%s,%" PRIu64 ",%zu,%u,%.0f,%.0f,%.3f", now->name, list[i].who, bytes,
               now->model->count, runs, ns, bench_min(&list[i], runs), (double)bytes / ns);
        bench_print_ratio(&list[i], base, runs);
        bench_print_ratio(&list[i], peer, runs);
        putchar('\n');
    }
    fflush(stdout);
}

static void case_run(bench_save *c, const save_case *now, unsigned runs)
{
    bench_subject list[WAYS_MAX];
    turn turns[WAYS_MAX];
    size_t n = 0;
    st_error error;
    case_set(c, now);
    st_writer *writer = model_add(c);
    check(st_writer_size(writer, &c->file_size, &error), &error);
    c->data_size = c->file_size - st_writer_data_offset(writer);
    st_writer_free(writer);
    for (size_t i = 0; i < WAYS_MAX && now->ways[i]; i++) {
        const save_way *way = now->ways[i];
        if ((!way->save && !c->upstream) || (way == &raw_uring && !bench_raw_ring()))
            continue;
        turns[n] = (turn){c, way};
        (void)turn_asked(&turns[n], FIRST_RUN);
        if (way->save && strncmp(way->who, "ours", 4) == 0)
            result_check(c, way->packed);
        list[n] = (bench_subject){.what = now->name,
                                  .who = way->who,
                                  .asked = turn_asked,
                                  .ctx = &turns[n],
                                  .single = !now->quick};
        n++;
    }
    bench_measure(list, n, runs);
    rows_print(now, c->file_size, list, n, runs);
    unlink(c->path);
}

/* The file that is copied, on the disk so that nothing is written back meanwhile. */
static void source_make(bench_save *c)
{
    st_error error;
    case_set(c, &(save_case){.model = &ten});
    ours_save(c, ST_DURABLE_FILE);
    if (rename(c->path, c->source))
        bench_fail("cannot rename: %s", strerror(errno));
    check(st_file_open(c->source, NULL, &c->from, &error), &error);
}

static void data_make(bench_save *c)
{
    c->data = bench_pages_new(DATA_SIZE + SLACK);
    uint64_t state = 1;
    for (size_t i = 0; i < (DATA_SIZE + SLACK) / sizeof state; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        memcpy(c->data + i * sizeof state, &state, sizeof state);
    }
}

int main(int argc, char **argv)
{
    static bench_save c;
    bench_options options = {.runs = 9};
    bench_options_read(&options, argc, argv, "c:n:p:s:", 1,
                       "bench_save [-c CASE] [-n RUNS] [-p PYTHON -s PEER] FOLDER");
    c.upstream = options.upstream;
    snprintf(c.folder, sizeof c.folder, "%s", argv[optind]);
    snprintf(c.path, sizeof c.path, "%.3900s/save.safetensors", c.folder);
    snprintf(c.temporary, sizeof c.temporary, "%s.new", c.path);
    snprintf(c.source, sizeof c.source, "%s.from", c.path);
    data_make(&c);
    puts("case,who,bytes,tensors,runs,ns_median,ns_min,gb_per_s,x_plain,x_upstream");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (options.only && strcmp(options.only, cases[i].name) != 0)
            continue;
        if (cases[i].ways[0] == &kernel_copy)
            source_make(&c);
        case_run(&c, &cases[i], options.runs);
    }
    st_file_close(c.from);
    unlink(c.source);
    free(c.tensors);
    free(c.names);
    bench_options_end(&options);
    return 0;
}
